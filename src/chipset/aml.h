/*
 * aml.h - writes ACPI Machine Language: just the terms that our DSDT is made of.
 *
 * Terms are appended to a caller's buffer. Those that contain others are opened, which gives a
 * mark, and closed with it. What does not fit is dropped and remembered in overflow. ACPI
 * specification 6.3, chapter 20 (AML encoding) and 6.4 (resource descriptors).
 */
#ifndef PARTITA_CHIPSET_AML_H
#define PARTITA_CHIPSET_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *data;
	size_t size, used;
	bool overflow;
};

/* Containers. Names are up to four characters; a scope's may begin with a backslash. */
size_t aml_open_scope(struct aml *a, const char *name);
size_t aml_open_device(struct aml *a, const char *name);
void aml_close(struct aml *a, size_t mark);

/* Name(@name, value) */
void aml_name_integer(struct aml *a, const char *name, uint64_t value);
void aml_name_string(struct aml *a, const char *name, const char *value);
/* @id: as "PNP0501" */
void aml_name_eisa_id(struct aml *a, const char *name, const char *id);
/* A package of integers. */
void aml_name_package(struct aml *a, const char *name, const uint64_t *value, unsigned count);

/* Name(_CRS, ResourceTemplate() { ... }), to be closed with aml_close_resources(). */
size_t aml_open_resources(struct aml *a);
void aml_close_resources(struct aml *a, size_t mark);
/* Ports that a device decodes, at a fixed place. */
void aml_io_ports(struct aml *a, uint16_t base, uint8_t count);
/* An ISA interrupt, edge-triggered, active-high, not shared. */
void aml_irq(struct aml *a, unsigned irq);
/* A window of memory addresses that a bus hands to its children. */
void aml_memory_window(struct aml *a, uint64_t base, uint64_t size);

#endif
