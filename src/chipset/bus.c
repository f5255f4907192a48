/*
 * bus.c - see bus.h.
 */
#include "chipset/bus.h"

#include <assert.h>
#include <stddef.h>

static void add(struct bus_space *space, struct bus_range range)
{
	unsigned i = space->count;

	assert(i < BUS_MAX_RANGES && range.size);
	while (i > 0 && space->range[i - 1].base > range.base) {
		space->range[i] = space->range[i - 1];
		i--;
	}
	assert(i == 0 || space->range[i - 1].base + space->range[i - 1].size <= range.base);
	assert(i == space->count || range.base + range.size <= space->range[i + 1].base);
	space->range[i] = range;
	space->count++;
}

void bus_add_io(
	struct bus *bus, uint16_t port, unsigned size, const struct bus_ops *ops, void *device)
{
	add(&bus->io, (struct bus_range){port, size, ops, device});
}

void bus_add_mmio(
	struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *device)
{
	add(&bus->mmio, (struct bus_range){base, size, ops, device});
}

/* The range that holds @address, or NULL. */
static const struct bus_range *find(const struct bus_space *space, uint64_t address)
{
	unsigned low = 0, high = space->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct bus_range *r = &space->range[middle];

		if (address < r->base)
			high = middle;
		else if (address - r->base >= r->size)
			low = middle + 1;
		else
			return r;
	}
	return NULL;
}

/*
 * How many bytes of the access [address, address + size), of which done bytes are over, go to @r
 * at once; 0 when @r takes none of it.
 */
static unsigned piece(const struct bus_range *r, uint64_t address, unsigned size, unsigned done)
{
	uint64_t offset = address + done - r->base, room = r->size - offset;
	unsigned n = r->ops->width;

	if (r->ops->exact)
		return done == 0 && size <= n && size <= room ? size : 0;
	while (n > size - done || n > room || offset % n)
		n /= 2;
	return n;
}

static uint64_t low_bytes(unsigned n)
{
	return n >= 8 ? UINT64_MAX : (1ull << n * 8) - 1;
}

static uint64_t space_read(const struct bus_space *space, uint64_t address, unsigned size)
{
	uint64_t value = 0;
	unsigned n, done;

	for (done = 0; done < size; done += n) {
		const struct bus_range *r = find(space, address + done);
		uint64_t part = UINT64_MAX;

		n = r ? piece(r, address, size, done) : 0;
		if (n)
			part = r->ops->read(r->device, address + done - r->base, n);
		else
			n = 1;
		value |= (part & low_bytes(n)) << done * 8;
	}
	return value;
}

static void space_write(
	const struct bus_space *space, uint64_t address, unsigned size, uint64_t value)
{
	unsigned n, done;

	for (done = 0; done < size; done += n) {
		const struct bus_range *r = find(space, address + done);

		n = r ? piece(r, address, size, done) : 0;
		if (n)
			r->ops->write(r->device, address + done - r->base, n,
				value >> done * 8 & low_bytes(n));
		else
			n = 1;
	}
}

uint32_t bus_io_read(const struct bus *bus, uint16_t port, unsigned size)
{
	return space_read(&bus->io, port, size);
}

void bus_io_write(const struct bus *bus, uint16_t port, unsigned size, uint32_t value)
{
	space_write(&bus->io, port, size, value);
}

uint64_t bus_mmio_read(const struct bus *bus, uint64_t gpa, unsigned size)
{
	return space_read(&bus->mmio, gpa, size);
}

void bus_mmio_write(const struct bus *bus, uint64_t gpa, unsigned size, uint64_t value)
{
	space_write(&bus->mmio, gpa, size, value);
}
