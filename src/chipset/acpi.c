/*
 * acpi.c - see acpi.h. The tables carry the names that Hyper-V's do, which guests know it by.
 */
#include "chipset/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "chipset/acpi_tables.h"
#include "chipset/aml.h"
#include "chipset/chipset.h"
#include "chipset/pm.h"
#include "chipset/rtc.h"

#define OEM_ID		  "VRTUAL"
#define OEM_TABLE_ID	  "MICROSFT"
#define DSDT_OEM_ID	  "MSFTVM"
#define DSDT_OEM_TABLE_ID "DSDT01  "
#define CREATOR_ID	  "MSFT"

/* IDs from here on do not fit a local APIC entry, or mean "all". */
#define X2APIC_UID 255

#define TABLE_ALIGN 16
#define FACS_ALIGN  64

/* The area as it fills up. After it overflows nothing more is written. */
struct area {
	uint64_t base;
	uint8_t *data;
	size_t size, used;
	bool overflow;
};

static uint8_t negative_sum(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	while (size--)
		sum -= *bytes++;
	return sum;
}

/* Appends bytes, or with @data NULL as many zeros. Returns where they begin. */
static void *append(struct area *area, const void *data, size_t size)
{
	uint8_t *at = area->data + area->used;

	if (area->overflow || size > area->size - area->used) {
		area->overflow = true;
		return NULL;
	}
	area->used += size;
	return data ? memcpy(at, data, size) : memset(at, 0, size);
}

/* Where the next thing that needs @alignment goes. */
static uint64_t align(struct area *area, size_t alignment)
{
	append(area, NULL, -(area->base + area->used) & (alignment - 1));
	return area->base + area->used;
}

static void fill_header(struct acpi_header *header, const char *signature, uint8_t revision)
{
	memcpy(header->signature, signature, sizeof(header->signature));
	header->revision = revision;
	memcpy(header->oem_id, OEM_ID, sizeof(header->oem_id));
	memcpy(header->oem_table_id, OEM_TABLE_ID, sizeof(header->oem_table_id));
	header->oem_revision = 1;
	memcpy(header->creator_id, CREATOR_ID, sizeof(header->creator_id));
	header->creator_revision = 1;
}

/* Completes the table that began at @address and ends here. */
static void finish(struct area *area, uint64_t address)
{
	struct acpi_header *header = (void *)(area->data + (address - area->base));

	if (area->overflow)
		return;
	header->length = area->base + area->used - address;
	header->checksum = 0;
	header->checksum = negative_sum(header, header->length);
}

/* A device on the ISA bus: ports and an interrupt. */
struct isa_device {
	const char *name, *id, *description;
	unsigned uid;
	uint16_t port;
	uint8_t ports;
	unsigned irq;
};

static const struct isa_device isa_devices[] = {
	{"UAR1", "PNP0501", "COM1", 1, CHIPSET_COM1_PORT, 8, CHIPSET_COM1_IRQ},
	{"UAR2", "PNP0501", "COM2", 2, CHIPSET_COM2_PORT, 8, CHIPSET_COM2_IRQ},
	{"RTC0", "PNP0B00", NULL, 0, CHIPSET_RTC_PORT, RTC_PORTS, CHIPSET_RTC_IRQ},
};

static void write_isa_device(struct aml *a, const struct isa_device *d)
{
	size_t device = aml_open_device(a, d->name), resources;

	aml_name_eisa_id(a, "_HID", d->id);
	aml_name_integer(a, "_UID", d->uid);
	if (d->description)
		aml_name_string(a, "_DDN", d->description);
	resources = aml_open_resources(a);
	aml_io_ports(a, d->port, d->ports);
	aml_irq(a, d->irq);
	aml_close_resources(a, resources);
	aml_close(a, device);
}

/*
 * The VMBus device, in a module device that holds the memory windows from which the guest places
 * what its VMBus devices map. Guests look for windows in the ancestors of the VMBus device, and
 * take an evaluation of its own _CRS that fails for its absence.
 */
static void write_vmbus(struct aml *a, const struct acpi_config *config)
{
	const struct acpi_window *windows[] = {&config->low_mmio, &config->high_mmio};
	size_t module = aml_open_device(a, "VMOD"), vmbus, resources;

	aml_name_string(a, "_HID", "ACPI0004");
	aml_name_integer(a, "_UID", 0);
	resources = aml_open_resources(a);
	for (unsigned i = 0; i < 2; i++)
		if (windows[i]->size)
			aml_memory_window(a, windows[i]->base, windows[i]->size);
	aml_close_resources(a, resources);

	vmbus = aml_open_device(a, "VMBS");
	aml_name_string(a, "_HID", "VMBus");
	aml_name_integer(a, "_UID", 0);
	aml_name_string(a, "_DDN", "VMBUS");
	aml_name_integer(a, "_STA", 0xf);
	resources = aml_open_resources(a);
	aml_close_resources(a, resources);
	aml_close(a, vmbus);
	aml_close(a, module);
}

static void write_processor(struct aml *a, unsigned index)
{
	char name[5];
	size_t device;

	snprintf(name, sizeof(name), "P%03X", (index + 1) & 0xfff);
	device = aml_open_device(a, name);
	aml_name_string(a, "_HID", "ACPI0007");
	aml_name_integer(a, "_UID", index + 1);
	aml_close(a, device);
}

static void write_aml(struct aml *a, const struct acpi_config *config)
{
	/* SLP_TYPa and SLP_TYPb, and two reserved elements that some guests expect. */
	const uint64_t s5[4] = {PM_SLEEP_TYPE_S5, PM_SLEEP_TYPE_S5, 0, 0};
	size_t system_bus;

	aml_name_package(a, "\\_S5", s5, 4);
	system_bus = aml_open_scope(a, "\\_SB");
	for (unsigned i = 0; i < config->processors; i++)
		write_processor(a, i);
	for (unsigned i = 0; i < sizeof(isa_devices) / sizeof(isa_devices[0]); i++)
		write_isa_device(a, &isa_devices[i]);
	write_vmbus(a, config);
	aml_close(a, system_bus);
}

static uint64_t write_dsdt(struct area *area, const struct acpi_config *config)
{
	uint64_t address = align(area, TABLE_ALIGN);
	struct acpi_header *header = append(area, NULL, sizeof(*header));
	struct aml a = {area->data + area->used, area->size - area->used, 0, false};

	if (!header)
		return 0;
	fill_header(header, "DSDT", 2);
	memcpy(header->oem_id, DSDT_OEM_ID, sizeof(header->oem_id));
	memcpy(header->oem_table_id, DSDT_OEM_TABLE_ID, sizeof(header->oem_table_id));
	write_aml(&a, config);
	area->used += a.used;
	area->overflow |= a.overflow;
	finish(area, address);
	return address;
}

static uint64_t write_facs(struct area *area)
{
	uint64_t address = align(area, FACS_ALIGN);
	struct acpi_facs facs = {.signature = "FACS", .length = sizeof(facs), .version = 2};

	append(area, &facs, sizeof(facs));
	return address;
}

static struct acpi_address io_register(uint16_t port, unsigned bytes, unsigned access)
{
	return (struct acpi_address){
		.space = ACPI_SPACE_IO, .bits = bytes * 8, .access = access, .address = port};
}

static void fill_power_management(struct acpi_fadt *fadt)
{
	const unsigned event_bytes = 4, control_bytes = 2;

	fadt->sci = CHIPSET_SCI_IRQ;
	fadt->pm1a_event = CHIPSET_PM_PORT;
	fadt->pm1a_control = CHIPSET_PM_PORT + event_bytes;
	fadt->pm_timer = CHIPSET_PM_PORT + PM_TIMER_OFFSET;
	fadt->pm1_event_length = event_bytes;
	fadt->pm1_control_length = control_bytes;
	fadt->pm_timer_length = PM_TIMER_SIZE;
	/* access: 2 is 16 bits, 3 is 32 bits, 1 is 8 bits */
	fadt->x_pm1a_event = io_register(fadt->pm1a_event, event_bytes, 2);
	fadt->x_pm1a_control = io_register(fadt->pm1a_control, control_bytes, 2);
	fadt->x_pm_timer = io_register(fadt->pm_timer, PM_TIMER_SIZE, 3);
	fadt->reset = io_register(CHIPSET_RESET_PORT, 1, 1);
	fadt->reset_value = CHIPSET_RESET_VALUE;
}

static uint64_t write_fadt(struct area *area, uint64_t dsdt, uint64_t facs)
{
	uint64_t address = align(area, TABLE_ALIGN);
	struct acpi_fadt fadt = {
		.facs = facs,
		.dsdt = dsdt,
		.x_dsdt = dsdt,
		.profile = FADT_PROFILE_DESKTOP,
		.c2_latency = FADT_NO_C2,
		.c3_latency = FADT_NO_C3,
		.century = RTC_CENTURY,
		.boot_flags = FADT_LEGACY_DEVICES | FADT_NO_VGA,
		.flags = FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE |
			 FADT_TIMER_32 | FADT_RESET,
		.minor_revision = 3,
	};

	fill_header(&fadt.header, "FACP", 6);
	fill_power_management(&fadt);
	append(area, &fadt, sizeof(fadt));
	finish(area, address);
	return address;
}

static void write_madt_processor(struct area *area, unsigned index)
{
	struct madt_local_apic small = {
		.length = sizeof(small), .uid = index + 1, .apic_id = index, .flags = MADT_ENABLED};
	struct madt_local_x2apic large = {.type = 9,
		.length = sizeof(large),
		.apic_id = index,
		.flags = MADT_ENABLED,
		.uid = index + 1};

	if (index + 1 < X2APIC_UID)
		append(area, &small, sizeof(small));
	else
		append(area, &large, sizeof(large));
}

static uint64_t write_madt(struct area *area, const struct acpi_config *config)
{
	uint64_t address = align(area, TABLE_ALIGN);
	struct acpi_madt madt = {.local_apic = CHIPSET_LAPIC_BASE, .flags = MADT_PCAT_COMPAT};
	struct madt_io_apic io_apic = {.type = 1,
		.length = sizeof(io_apic),
		.id = config->ioapic_id,
		.address = CHIPSET_IOAPIC_BASE};
	struct madt_override overrides[] = {
		{2, sizeof(overrides[0]), 0, CHIPSET_PIT_IRQ, CHIPSET_PIT_GSI, MADT_CONFORMING},
		{2, sizeof(overrides[0]), 0, CHIPSET_SCI_IRQ, CHIPSET_SCI_IRQ, MADT_LEVEL_HIGH},
	};
	struct madt_nmi nmi = {
		.type = 4, .length = sizeof(nmi), .uid = 0xff, .flags = MADT_CONFORMING, .lint = 1};
	struct madt_x2apic_nmi x2apic_nmi = {.type = 10,
		.length = sizeof(x2apic_nmi),
		.flags = MADT_CONFORMING,
		.uid = UINT32_MAX,
		.lint = 1};

	fill_header(&madt.header, "APIC", 4);
	append(area, &madt, sizeof(madt));
	for (unsigned i = 0; i < config->processors; i++)
		write_madt_processor(area, i);
	append(area, &io_apic, sizeof(io_apic));
	append(area, overrides, sizeof(overrides));
	append(area, &nmi, sizeof(nmi));
	if (config->processors >= X2APIC_UID)
		append(area, &x2apic_nmi, sizeof(x2apic_nmi));
	finish(area, address);
	return address;
}

static uint64_t write_waet(struct area *area)
{
	uint64_t address = align(area, TABLE_ALIGN);
	struct acpi_waet waet = {.flags = WAET_RTC_GOOD | WAET_PM_TIMER_GOOD};

	fill_header(&waet.header, "WAET", 1);
	append(area, &waet, sizeof(waet));
	finish(area, address);
	return address;
}

/* RSDT or XSDT: pointers of @bytes bytes to the tables. */
static uint64_t write_root(struct area *area, const char *signature, unsigned bytes,
	const uint64_t *tables, unsigned count)
{
	uint64_t address = align(area, TABLE_ALIGN);
	struct acpi_header header = {0};

	fill_header(&header, signature, 1);
	append(area, &header, sizeof(header));
	for (unsigned i = 0; i < count; i++)
		append(area, &tables[i], bytes); /* little-endian */
	finish(area, address);
	return address;
}

static void fill_rsdp(struct acpi_rsdp *rsdp, uint64_t rsdt, uint64_t xsdt)
{
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->rsdt = rsdt;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt;
	rsdp->checksum = negative_sum(rsdp, offsetof(struct acpi_rsdp, length));
	rsdp->extended_checksum = negative_sum(rsdp, sizeof(*rsdp));
}

int acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *data, size_t size)
{
	struct area area = {.base = base, .data = data, .size = size};
	struct acpi_rsdp *rsdp = append(&area, NULL, sizeof(*rsdp));
	uint64_t dsdt, facs, tables[3], rsdt, xsdt;

	/* The RSDT, FADT and RSDP hold 32-bit addresses. */
	if (!config->processors || config->processors > ACPI_MAX_PROCESSORS || base % TABLE_ALIGN ||
		base > UINT32_MAX - size)
		return -EINVAL;
	dsdt = write_dsdt(&area, config);
	facs = write_facs(&area);
	tables[0] = write_fadt(&area, dsdt, facs);
	tables[1] = write_madt(&area, config);
	tables[2] = write_waet(&area);
	rsdt = write_root(&area, "RSDT", 4, tables, 3);
	xsdt = write_root(&area, "XSDT", 8, tables, 3);
	if (area.overflow)
		return -ENOSPC;
	fill_rsdp(rsdp, rsdt, xsdt);
	return area.used;
}
