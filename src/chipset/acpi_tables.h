/*
 * acpi_tables.h - the layouts of the ACPI tables that acpi.c writes. ACPI specification 6.3, 5.2;
 * WAET: "Windows ACPI Emulated Devices Table", version 1.0.
 */
#ifndef PARTITA_CHIPSET_ACPI_TABLES_H
#define PARTITA_CHIPSET_ACPI_TABLES_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_PACKED __attribute__((packed))

/* 5.2.6 */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum; /* makes the whole table's bytes sum to 0 */
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_header) == 36, "table header");

/* 5.2.5.3 */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");

/* 5.2.3.2: a register's address */
struct acpi_address {
	uint8_t space; /* ACPI_SPACE_IO */
	uint8_t bits;
	uint8_t bit_offset;
	uint8_t access; /* log2 of its bytes, plus 1; 0: not said */
	uint64_t address;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_address) == 12, "generic address");
#define ACPI_SPACE_IO 1

/* 5.2.9 */
struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint8_t reserved0;
	uint8_t profile;
	uint16_t sci;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios_request, pstate_control;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
	uint32_t gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
	uint8_t gpe0_length, gpe1_length, gpe1_base;
	uint8_t cstate_control;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_flags;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor_revision;
	uint64_t x_facs, x_dsdt;
	struct acpi_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
	struct acpi_address x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
	struct acpi_address sleep_control, sleep_status;
	uint64_t hypervisor;
} ACPI_PACKED;
_Static_assert(offsetof(struct acpi_fadt, pm_timer) == 76, "FADT");
_Static_assert(offsetof(struct acpi_fadt, boot_flags) == 109, "FADT");
_Static_assert(offsetof(struct acpi_fadt, reset) == 116, "FADT");
_Static_assert(offsetof(struct acpi_fadt, x_pm_timer) == 208, "FADT");
_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT");

#define FADT_PROFILE_DESKTOP 1
/* boot_flags: 5.2.9.3 */
#define FADT_LEGACY_DEVICES 0x0001
#define FADT_NO_VGA	    0x0004
/* flags: table 5-35 */
#define FADT_WBINVD	     0x00000001
#define FADT_C1		     0x00000004
#define FADT_NO_SLEEP_BUTTON 0x00000020
#define FADT_NO_RTC_WAKE     0x00000040
#define FADT_TIMER_32	     0x00000100
#define FADT_RESET	     0x00000400
/* latencies from which on a state does not exist, microseconds */
#define FADT_NO_C2 101
#define FADT_NO_C3 1001

/* 5.2.10 */
struct acpi_facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_facs) == 64, "FACS");

/* 5.2.12, followed by its entries */
struct acpi_madt {
	struct acpi_header header;
	uint32_t local_apic;
	uint32_t flags;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_madt) == 44, "MADT");
#define MADT_PCAT_COMPAT 1 /* there is a pair of 8259s, too */

struct madt_local_apic {
	uint8_t type, length; /* 0 */
	uint8_t uid, apic_id;
	uint32_t flags;
} ACPI_PACKED;
_Static_assert(sizeof(struct madt_local_apic) == 8, "MADT local APIC");
#define MADT_ENABLED 1

struct madt_io_apic {
	uint8_t type, length; /* 1 */
	uint8_t id, reserved;
	uint32_t address, gsi_base;
} ACPI_PACKED;
_Static_assert(sizeof(struct madt_io_apic) == 12, "MADT I/O APIC");

struct madt_override {
	uint8_t type, length; /* 2 */
	uint8_t bus, irq;
	uint32_t gsi;
	uint16_t flags;
} ACPI_PACKED;
_Static_assert(sizeof(struct madt_override) == 10, "MADT interrupt source override");
#define MADT_CONFORMING 0x0 /* as the bus has it: ISA's are edge-triggered, active-high */
#define MADT_LEVEL_HIGH 0xd

struct madt_nmi {
	uint8_t type, length; /* 4 */
	uint8_t uid;	      /* 0xff: all */
	uint16_t flags;
	uint8_t lint;
} ACPI_PACKED;
_Static_assert(sizeof(struct madt_nmi) == 6, "MADT local APIC NMI");

struct madt_local_x2apic {
	uint8_t type, length; /* 9 */
	uint16_t reserved;
	uint32_t apic_id, flags, uid;
} ACPI_PACKED;
_Static_assert(sizeof(struct madt_local_x2apic) == 16, "MADT local x2APIC");

struct madt_x2apic_nmi {
	uint8_t type, length; /* 10 */
	uint16_t flags;
	uint32_t uid; /* all ones: all */
	uint8_t lint;
	uint8_t reserved[3];
} ACPI_PACKED;
_Static_assert(sizeof(struct madt_x2apic_nmi) == 12, "MADT local x2APIC NMI");

struct acpi_waet {
	struct acpi_header header;
	uint32_t flags;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_waet) == 40, "WAET");
#define WAET_RTC_GOOD	   1 /* its interrupts need no acknowledgement */
#define WAET_PM_TIMER_GOOD 2 /* reading it once is enough */

#endif
