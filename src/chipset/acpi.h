/*
 * acpi.h - the ACPI tables of the machine that chipset.h builds, as Hyper-V names and shapes them.
 *
 * The tables (RSDP, RSDT, XSDT, FADT, FACS, MADT, WAET, DSDT) are written as one block to guest
 * memory. ACPI specification 6.3, chapters 5 and 6.
 */
#ifndef PARTITA_CHIPSET_ACPI_H
#define PARTITA_CHIPSET_ACPI_H

#include <stddef.h>
#include <stdint.h>

/* Where a guest without firmware searches for the RSDP, and where the tables fit. */
#define ACPI_AREA_BASE 0xe0000u
#define ACPI_AREA_SIZE 0x20000u

#define ACPI_MAX_PROCESSORS 1024

struct acpi_window {
	uint64_t base, size; /* size 0: no such window */
};

struct acpi_config {
	unsigned processors; /* APIC IDs are 0 to processors-1, processor UIDs one more */
	uint8_t ioapic_id;
	struct acpi_window low_mmio;  /* given to VMBus, below 4 GiB */
	struct acpi_window high_mmio; /* given to VMBus, above 4 GiB */
};

/*
 * acpi_build - write the tables.
 * @base: guest-physical address of @area, a multiple of 16; the RSDP is the first thing there.
 * @area, @size: host memory behind it, @size bytes.
 * Returns the bytes used, or -EINVAL (processors) or -ENOSPC.
 */
int acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *area, size_t size);

#endif
