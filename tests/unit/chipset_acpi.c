/*
 * chipset_acpi.c - the ACPI tables as a guest finds them: checksums, pointers, the facts that they
 * state. Where ACPICA's iasl is installed it disassembles every table and must find nothing amiss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "chipset/acpi.h"
#include "chipset/acpi_tables.h"
#include "chipset/aml.h"
#include "folder.h"

static uint8_t area[ACPI_AREA_SIZE] __attribute__((aligned(4096)));

static const struct acpi_config two_processors = {
	.processors = 2,
	.ioapic_id = 2,
	.low_mmio = {0xf8000000, 0x06c00000},
	.high_mmio = {0xfe0000000, 0x20000000},
};

static uint8_t sum(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint8_t total = 0;

	while (size--)
		total += *bytes++;
	return total;
}

static void *at(uint64_t address)
{
	assert_in_range(address, ACPI_AREA_BASE, ACPI_AREA_BASE + ACPI_AREA_SIZE - 64);
	return area + (address - ACPI_AREA_BASE);
}

/* A valid table with this signature. */
static void *table(uint64_t address, const char *signature)
{
	struct acpi_header *header = at(address);

	assert_memory_equal(header->signature, signature, 4);
	assert_in_range(header->length, sizeof(*header), ACPI_AREA_BASE + ACPI_AREA_SIZE - address);
	assert_int_equal(sum(header, header->length), 0);
	return header;
}

static struct acpi_rsdp *build(const struct acpi_config *config)
{
	memset(area, 0xaa, sizeof(area));
	assert_true(acpi_build(config, ACPI_AREA_BASE, area, sizeof(area)) > 0);
	return (void *)area;
}

static void *find(const struct acpi_rsdp *rsdp, const char *signature)
{
	struct acpi_header *xsdt = table(rsdp->xsdt, "XSDT");
	unsigned count = (xsdt->length - sizeof(*xsdt)) / 8;
	uint64_t address;

	for (unsigned i = 0; i < count; i++) {
		memcpy(&address, (uint8_t *)(xsdt + 1) + i * 8, 8);
		if (!memcmp(at(address), signature, 4))
			return table(address, signature);
	}
	fail_msg("no %s", signature);
	return NULL;
}

static void test_roots(void **state)
{
	struct acpi_rsdp *rsdp = build(&two_processors);
	struct acpi_header *rsdt, *xsdt;

	assert_memory_equal(rsdp->signature, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	rsdt = table(rsdp->rsdt, "RSDT");
	xsdt = table(rsdp->xsdt, "XSDT");
	for (unsigned i = 0; i < 3; i++) {
		uint32_t narrow;
		uint64_t wide;

		memcpy(&narrow, (uint8_t *)(rsdt + 1) + i * 4, 4);
		memcpy(&wide, (uint8_t *)(xsdt + 1) + i * 8, 8);
		assert_int_equal(narrow, wide);
	}
	assert_memory_equal(xsdt->oem_id, "VRTUAL", 6);
	assert_memory_equal(xsdt->oem_table_id, "MICROSFT", 8);
}

static void test_fadt(void **state)
{
	struct acpi_fadt *fadt = find(build(&two_processors), "FACP");
	struct acpi_facs *facs = at(fadt->facs);

	assert_int_equal(fadt->header.length, 276);
	assert_int_equal(fadt->header.revision, 6);
	table(fadt->x_dsdt, "DSDT");
	assert_int_equal(fadt->dsdt, fadt->x_dsdt);
	assert_memory_equal(facs->signature, "FACS", 4);
	assert_int_equal(fadt->facs % 64, 0);
	assert_int_equal(fadt->sci, 9);
	assert_int_equal(fadt->smi_command, 0);
	assert_int_equal(fadt->pm1a_event, 0x600);
	assert_int_equal(fadt->x_pm1a_event.bits, 8 * fadt->pm1_event_length);
	assert_int_equal(fadt->pm1a_control, 0x604);
	assert_int_equal(fadt->x_pm1a_control.bits, 8 * fadt->pm1_control_length);
	assert_int_equal(fadt->x_pm_timer.address, 0x608);
	assert_int_equal(fadt->x_pm_timer.bits, 8 * fadt->pm_timer_length);
	assert_int_equal(fadt->reset.address, 0xcf9);
	assert_int_equal(fadt->reset_value, 6);
	/* legacy devices, no 8042, no VGA, a CMOS clock */
	assert_int_equal(fadt->boot_flags, 0x5);
	/* not hardware-reduced; power button is a fixed feature; reset register; 32-bit timer */
	assert_int_equal(fadt->flags & 0x100530, 0x520);
}

/* Walks the MADT; every entry must lie within. */
static unsigned count_entries(const struct acpi_madt *madt, uint8_t type, const void **first)
{
	const uint8_t *p = (const uint8_t *)(madt + 1);
	const uint8_t *end = (const uint8_t *)madt + madt->header.length;
	unsigned count = 0;

	while (p < end) {
		assert_in_range(p[1], 2, end - p);
		if (p[0] == type && !count++)
			*first = p;
		p += p[1];
	}
	return count;
}

static void test_madt(void **state)
{
	struct acpi_madt *madt = find(build(&two_processors), "APIC");
	const void *first = NULL;
	const struct madt_local_apic *local;
	const struct madt_io_apic *io;
	const struct madt_override *override;
	const struct madt_nmi *nmi;

	assert_int_equal(madt->local_apic, 0xfee00000);
	assert_int_equal(madt->flags, 1);
	assert_int_equal(count_entries(madt, 0, &first), 2);
	local = first;
	assert_int_equal(local[1].apic_id, 1);
	assert_int_equal(local[1].uid, 2);
	assert_int_equal(local[1].flags, 1);
	assert_int_equal(count_entries(madt, 1, &first), 1);
	io = first;
	assert_int_equal(io->address, 0xfec00000);
	assert_int_equal(io->id, 2);
	assert_int_equal(count_entries(madt, 2, &first), 2);
	override = first;
	assert_int_equal(override[0].irq, 0);
	assert_int_equal(override[0].gsi, 2);
	assert_int_equal(override[0].flags, 0);
	assert_int_equal(override[1].irq, 9);
	assert_int_equal(override[1].gsi, 9);
	assert_int_equal(override[1].flags, 0xd);
	assert_int_equal(count_entries(madt, 4, &first), 1);
	nmi = first;
	assert_int_equal(nmi->lint, 1);
	assert_int_equal(count_entries(madt, 9, &first), 0);
}

static void test_many_processors(void **state)
{
	struct acpi_config config = two_processors;
	const void *first = NULL;
	struct acpi_madt *madt;

	config.processors = ACPI_MAX_PROCESSORS;
	madt = find(build(&config), "APIC");
	assert_int_equal(count_entries(madt, 0, &first), 254);
	assert_int_equal(count_entries(madt, 9, &first), ACPI_MAX_PROCESSORS - 254);
	assert_int_equal(((const struct madt_local_x2apic *)first)->apic_id, 254);
	assert_int_equal(count_entries(madt, 10, &first), 1);
}

static void test_limits(void **state)
{
	struct acpi_config config = two_processors;
	int used = acpi_build(&config, ACPI_AREA_BASE, area, sizeof(area));

	/* every size that is too small is refused, and nothing past it is written */
	for (int size = 64; size < used; size++) {
		memset(area, 0xaa, sizeof(area));
		assert_true(acpi_build(&config, ACPI_AREA_BASE, area, size) < 0);
		assert_int_equal(area[size], 0xaa);
	}
	assert_int_equal(acpi_build(&config, ACPI_AREA_BASE, area, used), used);
	config.processors = 0;
	assert_true(acpi_build(&config, ACPI_AREA_BASE, area, sizeof(area)) < 0);
	config.processors = ACPI_MAX_PROCESSORS + 1;
	assert_true(acpi_build(&config, ACPI_AREA_BASE, area, sizeof(area)) < 0);
	assert_true(acpi_build(&two_processors, ACPI_AREA_BASE + 8, area, sizeof(area)) < 0);
	assert_true(acpi_build(&two_processors, 0xfffffff0, area, sizeof(area)) < 0);
}

/* ACPI 6.3, 20.2.4 gives the encodings. */
static void test_aml_lengths(void **state)
{
	static uint8_t buffer[1 << 21];

	for (size_t payload = 0; payload < 1100000; payload = payload * 3 / 2 + 1) {
		struct aml a = {buffer, sizeof(buffer), 0, false};
		size_t mark = aml_open_scope(&a, "ABCD"), length;
		unsigned follow;

		assert_true(a.size - a.used > payload);
		memset(buffer + a.used, 0x5a, payload);
		a.used += payload;
		aml_close(&a, mark);
		assert_false(a.overflow);
		follow = buffer[1] >> 6;
		length = buffer[1] & (follow ? 0x0f : 0x3f);
		for (unsigned i = 0; i < follow; i++)
			length |= (size_t)buffer[2 + i] << (4 + 8 * i);
		assert_int_equal(length, a.used - 1);
		assert_memory_equal(buffer + 2 + follow, "ABCD", 4);
	}
}

static void write_table(const char *folder, const char *name, const struct acpi_header *header)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.dat", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(header, header->length, 1, f), 1);
	fclose(f);
}

/* Runs iasl on a table; returns whether its output, or the disassembly, contains each word. */
static void disassemble(const char *folder, const char *name, const char *const *words)
{
	char command[512], path[256];
	static char text[1 << 20];
	size_t n;
	FILE *f;

	snprintf(command, sizeof(command), "cd %s && iasl -d %s.dat > %s.log 2>&1", folder, name,
		name);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/%s.log", folder, name);
	f = fopen(path, "r");
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	assert_null(strstr(text, "rror"));
	assert_null(strstr(text, "arning"));
	snprintf(path, sizeof(path), "%s/%s.dsl", folder, name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	for (; *words; words++)
		if (!strstr(text, *words))
			fail_msg("%s: no %s in:\n%s", name, *words, text);
}

static void test_iasl_agrees(void **state)
{
	static const char *const dsdt_words[] = {"\"VMBus\"", "\"ACPI0004\"", "\"ACPI0007\"",
		"Device (VMBS)", "PNP0501", "PNP0B00", "_S5", "0x00000000F8000000",
		"0x0000000FE0000000", "0x0000000FFFFFFFFF", "0x03F8", "{4}", "{8}", NULL};
	static const char *const fadt_words[] = {"Reset Register Supported (V2) : 1", NULL};
	static const char *const madt_words[] = {"Local APIC NMI", NULL};
	static const char *const waet_words[] = {"Windows ACPI Emulated", NULL};
	char folder[FOLDER], command[128];
	struct acpi_rsdp *rsdp = build(&two_processors);
	struct acpi_fadt *fadt = find(rsdp, "FACP");

	if (system("command -v iasl > /dev/null 2>&1"))
		skip();
	folder_make(folder);
	write_table(folder, "dsdt", table(fadt->x_dsdt, "DSDT"));
	write_table(folder, "facp", &fadt->header);
	write_table(folder, "apic", find(rsdp, "APIC"));
	write_table(folder, "waet", find(rsdp, "WAET"));
	disassemble(folder, "dsdt", dsdt_words);
	disassemble(folder, "facp", fadt_words);
	disassemble(folder, "apic", madt_words);
	disassemble(folder, "waet", waet_words);
	/*
	 * What it disassembled compiles again. Message 6033 is that "VMBus" has not the form of a
	 * HID: Hyper-V's has not either.
	 */
	snprintf(command, sizeof(command), "cd %s && iasl -vw 6033 dsdt.dsl > log", folder);
	assert_int_equal(system(command), 0);
	folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roots),
		cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_many_processors),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_aml_lengths),
		cmocka_unit_test(test_iasl_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
