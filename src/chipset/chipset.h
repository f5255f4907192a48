/*
 * chipset.h - what a PC still needs beside its processors: the public face of this room.
 *
 * One struct chipset is a whole board: bus, COM1 and COM2, PIC pair, PIT, I/O APIC, RTC, power
 * management, wired as the ACPI tables (chipset/acpi.h) describe them. It knows no hypervisor:
 * whoever owns it feeds it the guest's port and memory accesses and connects its outputs through
 * struct chipset_ops.
 *
 * Threads: every function here may be called from any thread at any time between create and
 * destroy, unless it says otherwise. Each device has its own lock. The callbacks in chipset_ops
 * are called with a device's lock held: they must not call back into the chipset and should not
 * block for long.
 */
#ifndef PARTITA_CHIPSET_CHIPSET_H
#define PARTITA_CHIPSET_CHIPSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chipset;
struct chipset_timer;

/* The fixed places of the board. GSI: global system interrupt, the I/O APIC's pin. */
#define CHIPSET_IOAPIC_BASE 0xfec00000u
#define CHIPSET_IOAPIC_SIZE 0x1000u
#define CHIPSET_LAPIC_BASE  0xfee00000u
#define CHIPSET_COM1_PORT   0x3f8
#define CHIPSET_COM1_IRQ    4
#define CHIPSET_COM2_PORT   0x2f8
#define CHIPSET_COM2_IRQ    3
#define CHIPSET_RTC_PORT    0x70
#define CHIPSET_RTC_IRQ	    8
#define CHIPSET_PIT_IRQ	    0
#define CHIPSET_PIT_GSI	    2
#define CHIPSET_SCI_IRQ	    9
#define CHIPSET_PM_PORT	    0x600 /* PM1a event; control at +4, timer at +8 */
#define CHIPSET_RESET_PORT  0xcf9
#define CHIPSET_RESET_VALUE 0x06

#define CHIPSET_SERIAL_PORTS 2

/* What an I/O APIC sends: the fields of a redirection entry (82093AA datasheet, 3.2.4). */
struct chipset_interrupt {
	uint8_t vector;
	uint8_t delivery_mode; /* 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT */
	uint8_t destination;   /* APIC ID, or logical destination */
	bool logical;	       /* destination mode */
	bool level;	       /* trigger mode: the EOI must come back through chipset_eoi() */
};

enum chipset_power {
	CHIPSET_POWER_OFF, /* the guest entered S5 */
	CHIPSET_RESET, /* the guest asked for a reset: port 0xcf9, or the keyboard controller's */
};

/* What the board asks of its owner. None may be NULL. */
struct chipset_ops {
	/* Nanoseconds on a monotonic clock that stands still when the machine is suspended. */
	uint64_t (*now)(void *ctx);
	/* Nanoseconds since 1970-01-01 00:00 UTC. */
	int64_t (*wall_clock)(void *ctx);
	/*
	 * Timers on the clock of now(). A timer calls expired(arg) once, on any thread, at or soon
	 * after its deadline. timer_set() replaces the deadline (CHIPSET_NEVER disarms it); an
	 * expired() that was already under way may still be called. Devices call timer_set() with
	 * their lock held and take it in expired(): call expired() with no lock that timer_set()
	 * takes. timer_destroy() returns when no expired() is running and none will.
	 * timer_create() returns NULL when memory is short.
	 */
	struct chipset_timer *(*timer_create)(void *ctx, void (*expired)(void *arg), void *arg);
	void (*timer_set)(struct chipset_timer *timer, uint64_t deadline);
	void (*timer_destroy)(struct chipset_timer *timer);
	/* The I/O APIC sends an interrupt: WHvRequestInterrupt. */
	void (*deliver)(void *ctx, const struct chipset_interrupt *interrupt);
	/*
	 * The PIC's output, wired to LINT0 of the first processor, changed. While it is high, a
	 * processor that accepts ExtINT takes the vector from chipset_pic_acknowledge().
	 */
	void (*extint)(void *ctx, bool level);
	/* The machine should end. Called on the thread of the access that asked. */
	void (*power)(void *ctx, enum chipset_power event);
	/* The guest sent a byte on COM port @index + 1. Bytes of a port come in order. */
	void (*serial_output)(void *ctx, unsigned index, uint8_t byte);
	/* The receiver of a COM port that had refused input has room again. */
	void (*serial_room)(void *ctx, unsigned index);
};
#define CHIPSET_NEVER UINT64_MAX

struct chipset_config {
	const struct chipset_ops *ops; /* kept: must outlive the chipset */
	void *ctx;		       /* given to ops */
	uint64_t low_memory;	       /* bytes of RAM below 4 GiB, shown in CMOS */
	uint64_t high_memory;	       /* bytes of RAM from 4 GiB */
	uint8_t ioapic_id;	       /* as the MADT says */
};

/* chipset_create - a board at power-on. Returns 0 or -ENOMEM. */
int chipset_create(const struct chipset_config *config, struct chipset **chipset);
/* chipset_destroy - no other call may be under way or come after. */
void chipset_destroy(struct chipset *chipset);

/*
 * chipset_io_read, chipset_io_write - the guest's IN and OUT. @size: 1, 2 or 4 bytes. A port
 * without device reads as all ones, and writes to it are lost. Returns the value, zero-extended.
 */
uint32_t chipset_io_read(struct chipset *chipset, uint16_t port, unsigned size);
void chipset_io_write(struct chipset *chipset, uint16_t port, unsigned size, uint32_t value);
/*
 * chipset_mmio_read, chipset_mmio_write - accesses to guest-physical addresses without memory.
 * @size: 1, 2, 4 or 8 bytes. Like the port functions where no device answers.
 */
uint64_t chipset_mmio_read(struct chipset *chipset, uint64_t gpa, unsigned size);
void chipset_mmio_write(struct chipset *chipset, uint64_t gpa, unsigned size, uint64_t value);

/* chipset_eoi - a local APIC ended a level-triggered interrupt (WHvRunVpExitReasonX64ApicEoi). */
void chipset_eoi(struct chipset *chipset, uint8_t vector);
/* chipset_pic_acknowledge - the INTA cycle: takes the PIC's vector (a spurious one if none). */
uint8_t chipset_pic_acknowledge(struct chipset *chipset);
/*
 * chipset_serial_input - bytes arrive at COM port @index + 1. Returns how many it took; when
 * fewer than @count, ops->serial_room() tells when to offer the rest.
 */
size_t chipset_serial_input(
	struct chipset *chipset, unsigned index, const uint8_t *bytes, size_t count);
/* chipset_power_button - press it: the guest is asked to shut down. */
void chipset_power_button(struct chipset *chipset);

#endif
