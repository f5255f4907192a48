/*
 * aml.c - see aml.h.
 */
#include "chipset/aml.h"

#include <string.h>

/* Opcodes: ACPI 6.3, 20.3 */
#define ZERO_OP	      0x00
#define ONE_OP	      0x01
#define NAME_OP	      0x08
#define BYTE_PREFIX   0x0a
#define WORD_PREFIX   0x0b
#define DWORD_PREFIX  0x0c
#define STRING_PREFIX 0x0d
#define QWORD_PREFIX  0x0e
#define SCOPE_OP      0x10
#define BUFFER_OP     0x11
#define PACKAGE_OP    0x12
#define EXT_PREFIX    0x5b
#define DEVICE_OP     0x82 /* after EXT_PREFIX */
#define ROOT_CHAR     '\\'

/* Resource descriptors: ACPI 6.3, 6.4.2 and 6.4.3 */
#define IRQ_DESCRIPTOR	 0x22 /* two bytes of mask; without flags: edge, high, exclusive */
#define IO_DESCRIPTOR	 0x47
#define IO_DECODE_16	 0x01
#define END_TAG		 0x79
#define QWORD_DESCRIPTOR 0x8a
#define QWORD_LENGTH	 43
#define QWORD_MEMORY	 0
#define QWORD_FIXED	 0x0c /* both ends are fixed; produced, positively decoded */
#define QWORD_READ_WRITE 0x01 /* and not cacheable */

static void byte(struct aml *a, uint8_t value)
{
	if (a->used < a->size)
		a->data[a->used++] = value;
	else
		a->overflow = true;
}

/* @bytes bytes of @value, low byte first. */
static void number(struct aml *a, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		byte(a, value >> i * 8);
}

/* Puts bytes before what was appended since @mark. */
static void insert(struct aml *a, size_t mark, const uint8_t *bytes, size_t count)
{
	if (a->overflow || count > a->size - a->used) {
		a->overflow = true;
		return;
	}
	memmove(a->data + mark + count, a->data + mark, a->used - mark);
	memcpy(a->data + mark, bytes, count);
	a->used += count;
}

static void integer(struct aml *a, uint64_t value)
{
	static const uint8_t prefix[] = {BYTE_PREFIX, WORD_PREFIX, DWORD_PREFIX, QWORD_PREFIX};
	unsigned log = value > UINT32_MAX ? 3 : value > UINT16_MAX ? 2 : value > UINT8_MAX;

	if (value <= 1) {
		byte(a, value ? ONE_OP : ZERO_OP);
		return;
	}
	byte(a, prefix[log]);
	number(a, value, 1u << log);
}

static void name_string(struct aml *a, const char *name)
{
	unsigned n = 0;

	if (*name == ROOT_CHAR)
		byte(a, *name++);
	for (; *name && n < 4; n++)
		byte(a, *name++);
	for (; n < 4; n++)
		byte(a, '_');
}

/*
 * PkgLength of something that contains @content bytes; it counts itself. One byte to 63, otherwise
 * four bits and as many further bytes as the first one's top two bits say.
 */
static unsigned package_length(uint8_t out[4], size_t content)
{
	unsigned n = 1;

	if (content + 1 < 0x40) {
		out[0] = content + 1;
		return 1;
	}
	for (n = 2; n < 4 && content + n >= 1ul << (4 + 8 * (n - 1)); n++)
		;
	content += n;
	out[0] = (n - 1) << 6 | (content & 0x0f);
	for (unsigned i = 1; i < n; i++)
		out[i] = content >> (4 + 8 * (i - 1));
	return n;
}

void aml_close(struct aml *a, size_t mark)
{
	uint8_t length[4];
	unsigned n = package_length(length, a->used - mark);

	insert(a, mark, length, n);
}

size_t aml_open_scope(struct aml *a, const char *name)
{
	size_t mark;

	byte(a, SCOPE_OP);
	mark = a->used;
	name_string(a, name);
	return mark;
}

size_t aml_open_device(struct aml *a, const char *name)
{
	size_t mark;

	byte(a, EXT_PREFIX);
	byte(a, DEVICE_OP);
	mark = a->used;
	name_string(a, name);
	return mark;
}

static void name_op(struct aml *a, const char *name)
{
	byte(a, NAME_OP);
	name_string(a, name);
}

void aml_name_integer(struct aml *a, const char *name, uint64_t value)
{
	name_op(a, name);
	integer(a, value);
}

void aml_name_string(struct aml *a, const char *name, const char *value)
{
	name_op(a, name);
	byte(a, STRING_PREFIX);
	do
		byte(a, *value);
	while (*value++);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Three letters of five bits, four hexadecimal digits, big-endian: ACPI 6.3, 19.3.4. */
void aml_name_eisa_id(struct aml *a, const char *name, const char *id)
{
	unsigned letters = (id[0] & 31) << 10 | (id[1] & 31) << 5 | (id[2] & 31);

	name_op(a, name);
	byte(a, DWORD_PREFIX);
	byte(a, letters >> 8);
	byte(a, letters);
	byte(a, hex_digit(id[3]) << 4 | hex_digit(id[4]));
	byte(a, hex_digit(id[5]) << 4 | hex_digit(id[6]));
}

void aml_name_package(struct aml *a, const char *name, const uint64_t *value, unsigned count)
{
	size_t mark;

	name_op(a, name);
	byte(a, PACKAGE_OP);
	mark = a->used;
	byte(a, count);
	for (unsigned i = 0; i < count; i++)
		integer(a, value[i]);
	aml_close(a, mark);
}

size_t aml_open_resources(struct aml *a)
{
	name_op(a, "_CRS");
	byte(a, BUFFER_OP);
	return a->used;
}

void aml_close_resources(struct aml *a, size_t mark)
{
	uint8_t size[3] = {WORD_PREFIX};
	size_t bytes;

	byte(a, END_TAG);
	byte(a, 0); /* no checksum */
	bytes = a->used - mark;
	size[1] = bytes;
	size[2] = bytes >> 8;
	insert(a, mark, size, sizeof(size));
	aml_close(a, mark);
}

void aml_io_ports(struct aml *a, uint16_t base, uint8_t count)
{
	byte(a, IO_DESCRIPTOR);
	byte(a, IO_DECODE_16);
	number(a, base, 2);
	number(a, base, 2);
	byte(a, 1); /* alignment */
	byte(a, count);
}

void aml_irq(struct aml *a, unsigned irq)
{
	byte(a, IRQ_DESCRIPTOR);
	number(a, 1u << irq, 2);
}

void aml_memory_window(struct aml *a, uint64_t base, uint64_t size)
{
	byte(a, QWORD_DESCRIPTOR);
	number(a, QWORD_LENGTH, 2);
	byte(a, QWORD_MEMORY);
	byte(a, QWORD_FIXED);
	byte(a, QWORD_READ_WRITE);
	number(a, 0, 8); /* granularity */
	number(a, base, 8);
	number(a, base + size - 1, 8);
	number(a, 0, 8); /* translation */
	number(a, size, 8);
}
