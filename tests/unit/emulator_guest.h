/*
 * emulator_guest.h - a guest for the emulator's tests: registers, RAM, a device and identity
 * paging, reached through the emulator's callbacks, which count and can be made to fail.
 */
#ifndef PARTITA_TESTS_EMULATOR_GUEST_H
#define PARTITA_TESTS_EMULATOR_GUEST_H

#include <stdbool.h>

#include <WinHvEmulation.h>

#define GUEST_RAM    0x10000u /* from address 0 */
#define GUEST_DEVICE 0x100000u
#define DEVICE_SIZE  0x2000u
#define GUEST_RIP    0x1000u
#define LOG_SIZE     64u

struct guest_access {
	uint64_t address; /* or port */
	unsigned size;
	bool write;
	uint64_t value;
};

struct guest {
	uint8_t ram[GUEST_RAM];
	uint8_t device[DEVICE_SIZE];
	WHV_REGISTER_VALUE gpr[16], segment[6], xmm[16], rip, rflags, event, dr6, cr0, cr4;
	WHV_REGISTER_VALUE interrupt_state;
	uint32_t port_data; /* what a port reads; incremented with each */
	unsigned bits;	    /* 16, 32 or 64 */
	unsigned cpl;

	uint64_t absent_page;	 /* not present, if not 0 */
	uint64_t read_only_page; /* not writable, if not 0 */
	bool fail_memory, fail_port, fail_translate, fail_get, fail_set, misaligned;
	bool interruption_pending, interrupt_shadow;
	unsigned insn_bytes; /* that the exit brings */

	unsigned gets, sets, got, set, translations;
	struct guest_access device_log[LOG_SIZE], port_log[LOG_SIZE];
	unsigned device_accesses, port_accesses;

	WHV_EMULATOR_STATUS status;
};

extern const WHV_EMULATOR_CALLBACKS guest_callbacks;

/* For cmocka: a group's emulator, with these callbacks. */
extern WHV_EMULATOR_HANDLE emulator;
int emulator_setup(void **state);
int emulator_teardown(void **state);

/* A guest whose general registers hold recognisable values, RSP pointing into RAM. */
void guest_init(struct guest *g, unsigned bits);
void guest_code(struct guest *g, const void *code, unsigned length);
/* The exit for an access to the device at @gpa, given to the emulator. Returns the status. */
uint32_t guest_mmio(struct guest *g, WHV_EMULATOR_HANDLE emulator, uint64_t gpa, bool write);
uint32_t guest_port(struct guest *g, WHV_EMULATOR_HANDLE emulator, uint16_t port, unsigned size,
	bool write, bool string, bool rep, unsigned length);

#define GPR(g, name) ((g)->gpr[WHvX64Register##name - WHvX64RegisterRax].Reg64)
#define SUCCESS	     1u

#endif
