/*
 * hypervisor_guest.h - small guests on a real engine, through nothing but WinHvPlatform.h.
 *
 * A guest starts in 32-bit protected mode, flat, without paging, at GUEST_CODE, with a stack and an
 * IDT all of whose gates lead to handlers that report their vector: OUT to PORT_VECTOR, then IRET.
 * What it has to say it says with OUT to PORT_REPORT.
 */
#ifndef PARTITA_TESTS_HYPERVISOR_GUEST_H
#define PARTITA_TESTS_HYPERVISOR_GUEST_H

#include <WinHvPlatform.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define GUEST_MEMORY (2u << 20)
#define GUEST_CODE   0x10000u
#define GUEST_STACK  0x80000u
#define GUEST_IDT    0x1000u
#define GUEST_GDT    0x2000u
#define GUEST_STUBS  0x3000u
#define PORT_REPORT  0x10u
#define PORT_VECTOR  0x11u

struct guest {
	WHV_PARTITION_HANDLE partition;
	uint8_t *ram;
	unsigned vps;
};

/* Defines guest code: GUEST_PROGRAM(name, "...") makes name and name_end. 32-bit AT&T syntax. */
#define GUEST_PROGRAM(name, text)                                                                  \
	extern const uint8_t name[], name##_end[];                                                 \
	__asm__(".pushsection .rodata\n.code32\n" #name ":\n" text "\n" #name                      \
		"_end:\n.code64\n.popsection\n")

struct guest_options {
	unsigned vps;
	WHV_EXTENDED_VM_EXITS exits;
	uint64_t exceptions;
	bool no_apic;
};

/* A partition with @options, the program of vp 0 loaded. */
struct guest *guest_new(
	const struct guest_options *options, const uint8_t *code, const uint8_t *end);
#define GUEST(options, name) guest_new(options, name, name##_end)
/* Set the registers of vp 0 as the program wants them, which guest_new() does. */
void guest_start(struct guest *g);
void guest_free(struct guest *g);
/* Run a vp until it does something that is an exit. */
void guest_run(struct guest *g, unsigned vp, WHV_RUN_VP_EXIT_CONTEXT *exit);
/* Run until it says something on @port, which must be the next exit; it may go on. */
uint32_t guest_expect(struct guest *g, unsigned vp, uint16_t port);
uint64_t guest_get(struct guest *g, unsigned vp, WHV_REGISTER_NAME name);
void guest_set(struct guest *g, unsigned vp, WHV_REGISTER_NAME name, uint64_t value);
/* Step over the instruction that exited. */
void guest_skip(struct guest *g, unsigned vp, const WHV_RUN_VP_EXIT_CONTEXT *exit);
/* Make a port exit complete. */
void guest_complete_io(struct guest *g, unsigned vp, const WHV_RUN_VP_EXIT_CONTEXT *exit);

/*
 * Whether exits show the guest's own instruction. The kvm engine shows accesses as plain moves: see
 * src/hypervisor/kvm.h.
 */
bool guest_exact(void);
/*
 * Leave the test where KVM has no hardware to run a guest with: what it emulates then lacks IRET
 * from protected mode, among others.
 */
#define GUEST_NEEDS_HARDWARE()                                                                     \
	do {                                                                                       \
		if (!guest_has_hardware())                                                         \
			skip();                                                                    \
	} while (0)
bool guest_has_hardware(void);

/* The monotonic clock, in microseconds. */
uint64_t guest_now_us(void);

/* Run the tests on each engine; those that cannot be had here are said to be skipped. */
int guest_run_tests(const struct CMUnitTest *tests, size_t count, const char *name);
#define GUEST_RUN_TESTS(tests, name)                                                               \
	guest_run_tests(tests, sizeof(tests) / sizeof((tests)[0]), name)

#endif
