/* x86_parts.c - see x86_parts.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "x86_parts.h"

static enum x86_answer answer_cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 16);
	return X86_DONE;
}

static enum x86_answer answer_rdmsr(void *ctx, uint32_t msr, uint64_t *value)
{
	return X86_FAULT;
}

static enum x86_answer answer_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return X86_FAULT;
}

static enum x86_answer answer_read(void *ctx, uint64_t gpa, unsigned size, uint64_t *value)
{
	return X86_EXIT;
}

static enum x86_answer answer_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	return X86_EXIT;
}

static enum x86_answer answer_hypercall(void *ctx)
{
	return X86_FAULT;
}

static int answer_interrupt(void *ctx)
{
	return -1;
}

static uint64_t answer_read_cr8(void *ctx)
{
	return 0;
}

static void answer_write_cr8(void *ctx, uint64_t value)
{
}

const struct x86_ops parts_ops = {
	.cpuid = answer_cpuid,
	.rdmsr = answer_rdmsr,
	.wrmsr = answer_wrmsr,
	.mmio_read = answer_read,
	.mmio_write = answer_write,
	.hypercall = answer_hypercall,
	.interrupt = answer_interrupt,
	.read_cr8 = answer_read_cr8,
	.write_cr8 = answer_write_cr8,
};

struct x86_machine *parts_machine(unsigned vcpus, size_t code_bytes)
{
	struct x86_machine *m = x86_machine_create(vcpus, code_bytes);
	const char *after = getenv("X86_COMPILE");

	if (m && after && x86_machine_compile(m, (unsigned)atoi(after))) {
		x86_machine_destroy(m);
		return NULL;
	}
	return m;
}

uint8_t *parts_memory(struct x86_machine *machine, uint64_t gpa, uint64_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_int_equal(x86_machine_map(machine, gpa, memory, size,
				 X86_MAP_READ | X86_MAP_WRITE | X86_MAP_EXEC),
		0);
	return memory;
}

void parts_memory_free(uint8_t *memory, uint64_t size)
{
	munmap(memory, size);
}

struct x86_segment parts_segment(unsigned bits, bool code, unsigned cpl)
{
	struct x86_segment s = {.limit = bits == 16 ? 0xffff : 0xffffffff};

	s.attributes = (code ? 0xb : 0x3) | X86_SEG_S | X86_SEG_P | (uint16_t)(cpl << 5);
	if (bits == 16)
		return s;
	s.selector = (uint16_t)((code ? 0x8 : 0x10) | cpl);
	s.attributes |= X86_SEG_G | (bits == 64 && code ? X86_SEG_L : X86_SEG_DB);
	return s;
}
