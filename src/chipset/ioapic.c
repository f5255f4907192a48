/*
 * ioapic.c - the Intel 82093AA, in the version that Hyper-V shows (0x11, without an EOI register).
 *
 * An input counts as asserted whatever polarity its entry names: devices and tables agree on it.
 * An edge on a masked input is lost, as on the chip. A level-triggered entry that was delivered
 * waits with its Remote IRR set for the EOI; turning it into an edge-triggered one clears that,
 * which is how guests end an interrupt themselves on this version.
 */
#include "chipset/ioapic.h"

#include <string.h>

/* Memory-mapped registers */
#define IOREGSEL 0x00
#define IOWIN	 0x10

/* Registers behind IOREGSEL */
#define IOAPIC_ID      0x00
#define IOAPIC_VERSION 0x01
#define IOAPIC_ARB     0x02
#define IOAPIC_TABLE   0x10 /* two words an entry */

#define ID_SHIFT 24
#define ID_MASK	 0x0f

#define VERSION_82093AA	  0x11
#define VERSION_MAX_SHIFT 16

/* Redirection entries */
#define ENTRY_VECTOR	 0x000000ffull
#define ENTRY_MODE_SHIFT 8
#define ENTRY_MODE_MASK	 7
#define ENTRY_LOGICAL	 0x00000800ull
#define ENTRY_STATUS	 0x00001000ull /* read-only; a delivery is over at once: always 0 */
#define ENTRY_REMOTE_IRR 0x00004000ull /* read-only */
#define ENTRY_LEVEL	 0x00008000ull
#define ENTRY_MASKED	 0x00010000ull
#define ENTRY_WRITABLE	 0xff0000000001afffull
#define ENTRY_DEST_SHIFT 56

static void deliver(struct ioapic *a, unsigned pin)
{
	uint64_t *entry = &a->entry[pin];
	struct chipset_interrupt interrupt = {
		.vector = *entry & ENTRY_VECTOR,
		.delivery_mode = *entry >> ENTRY_MODE_SHIFT & ENTRY_MODE_MASK,
		.destination = *entry >> ENTRY_DEST_SHIFT,
		.logical = *entry & ENTRY_LOGICAL,
		.level = *entry & ENTRY_LEVEL,
	};

	if (interrupt.level)
		*entry |= ENTRY_REMOTE_IRR;
	a->deliver(a->ctx, &interrupt);
}

/* A level-triggered entry that is asserted, unmasked and not under way goes out. */
static void service_level(struct ioapic *a, unsigned pin)
{
	uint64_t entry = a->entry[pin];

	if (a->lines & 1u << pin && entry & ENTRY_LEVEL &&
		!(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)))
		deliver(a, pin);
}

void ioapic_set(struct ioapic *a, unsigned pin, bool level)
{
	uint32_t bit = 1u << pin;
	bool rising;

	pthread_mutex_lock(&a->lock);
	rising = level && !(a->lines & bit);
	a->lines = level ? a->lines | bit : a->lines & ~bit;
	if (a->entry[pin] & ENTRY_LEVEL)
		service_level(a, pin);
	else if (rising && !(a->entry[pin] & ENTRY_MASKED))
		deliver(a, pin);
	pthread_mutex_unlock(&a->lock);
}

void ioapic_eoi(struct ioapic *a, uint8_t vector)
{
	pthread_mutex_lock(&a->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *entry = &a->entry[pin];

		if ((*entry & ENTRY_VECTOR) != vector || !(*entry & ENTRY_REMOTE_IRR))
			continue;
		*entry &= ~ENTRY_REMOTE_IRR;
		service_level(a, pin);
	}
	pthread_mutex_unlock(&a->lock);
}

static uint32_t read_register(const struct ioapic *a)
{
	unsigned word = a->select - IOAPIC_TABLE;

	switch (a->select) {
	case IOAPIC_ID:
	case IOAPIC_ARB:
		return (uint32_t)a->id << ID_SHIFT;
	case IOAPIC_VERSION:
		return VERSION_82093AA | (IOAPIC_PINS - 1) << VERSION_MAX_SHIFT;
	}
	if (a->select >= IOAPIC_TABLE && word < 2 * IOAPIC_PINS)
		return a->entry[word / 2] >> (word & 1) * 32;
	return 0;
}

static void write_entry(struct ioapic *a, unsigned word, uint32_t value)
{
	unsigned pin = word / 2, shift = (word & 1) * 32;
	uint64_t writable = ENTRY_WRITABLE & 0xffffffffull << shift;

	a->entry[pin] = (a->entry[pin] & ~writable) | ((uint64_t)value << shift & writable);
	if (!(a->entry[pin] & ENTRY_LEVEL))
		a->entry[pin] &= ~ENTRY_REMOTE_IRR;
	service_level(a, pin);
}

static void write_register(struct ioapic *a, uint32_t value)
{
	unsigned word = a->select - IOAPIC_TABLE;

	if (a->select == IOAPIC_ID)
		a->id = value >> ID_SHIFT & ID_MASK;
	else if (a->select >= IOAPIC_TABLE && word < 2 * IOAPIC_PINS)
		write_entry(a, word, value);
}

/* Registers are 32 bits wide; narrower accesses see their low bytes. */
static uint64_t ioapic_read(void *device, uint64_t offset, unsigned size)
{
	struct ioapic *a = device;
	uint32_t value = 0;

	pthread_mutex_lock(&a->lock);
	if (offset == IOREGSEL)
		value = a->select;
	else if (offset == IOWIN)
		value = read_register(a);
	pthread_mutex_unlock(&a->lock);
	return value;
}

static void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *a = device;

	pthread_mutex_lock(&a->lock);
	if (offset == IOREGSEL)
		a->select = value;
	else if (offset == IOWIN)
		write_register(a, value);
	pthread_mutex_unlock(&a->lock);
}

const struct bus_ops ioapic_bus_ops = {
	.width = 4,
	.read = ioapic_read,
	.write = ioapic_write,
};

void ioapic_init(struct ioapic *a, uint8_t id,
	void (*deliver)(void *ctx, const struct chipset_interrupt *interrupt), void *ctx)
{
	memset(a, 0, sizeof(*a));
	pthread_mutex_init(&a->lock, NULL);
	a->id = id & ID_MASK;
	a->deliver = deliver;
	a->ctx = ctx;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		a->entry[pin] = ENTRY_MASKED;
}

void ioapic_destroy(struct ioapic *a)
{
	pthread_mutex_destroy(&a->lock);
}
