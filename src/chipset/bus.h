/*
 * bus.h - where the devices of a board are found: I/O port and memory ranges, interrupt lines.
 *
 * Ranges are registered while the board is built; from then on the bus is only read, so accesses
 * from several processors need no lock here. Each device guards its own registers.
 */
#ifndef PARTITA_CHIPSET_BUS_H
#define PARTITA_CHIPSET_BUS_H

#include <stdbool.h>
#include <stdint.h>

#define BUS_MAX_RANGES 16

struct bus_ops {
	/*
	 * The widest access the device takes: 1, 2, 4 or 8 bytes. Wider ones reach it in pieces,
	 * low bytes first, as on ISA.
	 */
	unsigned width;
	/* Take no pieces of an access that is wider or that begins outside the range. */
	bool exact;
	/*
	 * @offset: from the start of the range, a multiple of @size (unless exact). @size: 1, 2, 4
	 * or 8 and at most width; the access never reaches past the range's end.
	 */
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

struct bus_range {
	uint64_t base, size;
	const struct bus_ops *ops;
	void *device;
};

struct bus_space {
	struct bus_range range[BUS_MAX_RANGES]; /* ascending */
	unsigned count;
};

struct bus {
	struct bus_space io, mmio;
};

/* Ranges must not overlap, nor number more than BUS_MAX_RANGES: the board's author sees to it. */
void bus_add_io(
	struct bus *bus, uint16_t port, unsigned size, const struct bus_ops *ops, void *device);
void bus_add_mmio(
	struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *device);

/* Accesses of 1, 2, 4 or (memory) 8 bytes. Bytes that no device answers read as ones. */
uint32_t bus_io_read(const struct bus *bus, uint16_t port, unsigned size);
void bus_io_write(const struct bus *bus, uint16_t port, unsigned size, uint32_t value);
uint64_t bus_mmio_read(const struct bus *bus, uint64_t gpa, unsigned size);
void bus_mmio_write(const struct bus *bus, uint64_t gpa, unsigned size, uint64_t value);

/* An interrupt output of a device. Callers hold the device's lock, receivers take their own. */
struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin;
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
	line->set(line->ctx, line->pin, level);
}

#endif
