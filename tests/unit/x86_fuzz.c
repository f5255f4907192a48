/*
 * x86_fuzz.c - random code in every mode: whatever a guest executes, the process survives, the run
 * ends in an exit that x86.h names, and a guest that never ends can be stopped.
 *
 * Half of the code is random bytes, half random picks from the instructions that do most to the
 * processor's state. The seed is fixed; X86_FUZZ_SEED and X86_FUZZ_RUNS (per mode) change a run.
 */
#include "x86_guest.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#define CODE_BYTES 512u
#define EXITS	   16u
#define SLICE_US   2000
#define RUNS	   150u
#define SEED	   0x5eed

static const struct {
	enum guest_mode mode;
	unsigned cpl;
	const char *name;
} modes[] = {
	{MODE_REAL, 0, "real"},
	{MODE_PROTECTED16, 0, "16-bit protected"},
	{MODE_PROTECTED32, 0, "32-bit protected"},
	{MODE_PROTECTED32, 3, "32-bit protected, CPL 3"},
	{MODE_VM86, 3, "virtual-8086"},
	{MODE_COMPATIBILITY, 0, "compatibility"},
	{MODE_COMPATIBILITY, 3, "compatibility, CPL 3"},
	{MODE_LONG, 0, "long"},
	{MODE_LONG, 3, "long, CPL 3"},
};

/* ---- Random -------------------------------------------------------------------------------- */

static uint64_t seed_state;

static uint64_t next_random(void)
{
	seed_state ^= seed_state << 13;
	seed_state ^= seed_state >> 7;
	seed_state ^= seed_state << 17;
	return seed_state * 0x2545f4914f6cdd1dul;
}

static unsigned below(unsigned n)
{
	return (unsigned)(next_random() >> 33) % n;
}

/* Opcodes of instructions with much to get wrong; random bytes follow as ModRM and operands. */
static const struct {
	uint8_t length, bytes[3];
} opcodes[] = {
	{2, {0x0f, 0x00}}, /* SLDT.. VERW */
	{2, {0x0f, 0x01}}, /* SGDT.. INVLPG, SWAPGS, STAC */
	{2, {0x0f, 0x02}}, /* LAR */
	{2, {0x0f, 0x03}}, /* LSL */
	{2, {0x0f, 0x05}}, /* SYSCALL */
	{2, {0x0f, 0x07}}, /* SYSRET */
	{2, {0x0f, 0x20}}, /* MOV from and to CR, DR */
	{2, {0x0f, 0x21}},
	{2, {0x0f, 0x22}},
	{2, {0x0f, 0x23}},
	{2, {0x0f, 0x30}},	 /* WRMSR */
	{2, {0x0f, 0x34}},	 /* SYSENTER */
	{2, {0x0f, 0x35}},	 /* SYSEXIT */
	{2, {0x0f, 0xa1}},	 /* POP FS */
	{2, {0x0f, 0xb2}},	 /* LSS */
	{2, {0x0f, 0xc7}},	 /* CMPXCHG8B, XSAVEC, RDRAND */
	{2, {0x0f, 0xae}},	 /* FXSAVE.. XSAVEOPT, RDFSBASE */
	{3, {0x66, 0x0f, 0x38}}, /* SSSE3 to SSE4, INVPCID */
	{1, {0x8e}},		 /* MOV to segment */
	{1, {0x17}},		 /* POP SS */
	{1, {0xc4}},		 /* LES */
	{1, {0xca}},		 /* far RET */
	{1, {0xcb}},
	{1, {0xcc}}, /* INT3 */
	{1, {0xcd}}, /* INT */
	{1, {0xce}}, /* INTO */
	{1, {0xcf}}, /* IRET */
	{2, {0x48, 0xcf}},
	{1, {0x9a}},	   /* far CALL */
	{1, {0xea}},	   /* far JMP */
	{1, {0xff}},	   /* CALL, JMP, PUSH */
	{1, {0x9d}},	   /* POPF */
	{1, {0x6c}},	   /* INS */
	{1, {0xee}},	   /* OUT */
	{1, {0xf1}},	   /* INT1 */
	{1, {0xfa}},	   /* CLI */
	{1, {0xfb}},	   /* STI */
	{2, {0xf3, 0xa4}}, /* REP MOVS */
	{1, {0xd9}},	   /* x87 */
	{1, {0xdd}},
};

static void make_code(uint8_t *code)
{
	bool picked = below(2);
	unsigned at = 0;

	while (at < CODE_BYTES) {
		unsigned pick = below(sizeof(opcodes) / sizeof(opcodes[0]));
		unsigned tail = picked ? 1 + below(4) : 8;

		for (unsigned i = 0; picked && i < opcodes[pick].length && at < CODE_BYTES; i++)
			code[at++] = opcodes[pick].bytes[i];
		for (unsigned i = 0; i < tail && at < CODE_BYTES; i++)
			code[at++] = (uint8_t)next_random();
	}
}

static uint64_t random_register(void)
{
	switch (below(4)) {
	case 0:
		return next_random();
	case 1:
		return below(SEL_END);
	case 2:
		return below(2) ? 0xc0000080 + below(5) : 0x170 + below(8); /* MSRs */
	default:
		return below(GUEST_MEMORY);
	}
}

/* ---- Running ------------------------------------------------------------------------------- */

static struct x86_vcpu *running;

static void stop_running(int signal)
{
	x86_vcpu_stop(running);
}

static void set_timer(unsigned us)
{
	const struct itimerval t = {.it_interval.tv_usec = us, .it_value.tv_usec = us};

	setitimer(ITIMER_REAL, &t, NULL);
}

/* Go on where a client would: past the instruction that left. Returns false at the end of a run. */
static bool resume(struct guest *g, const char *name)
{
	switch (g->exit.reason) {
	case X86_EXIT_STOPPED:
	case X86_EXIT_SHUTDOWN:
		return false;
	case X86_EXIT_HALT:
		g->interrupt = (int)below(256);
		x86_vcpu_interrupt(g->vcpu);
		return true;
	case X86_EXIT_IO:
	case X86_EXIT_MEMORY:
	case X86_EXIT_RDMSR:
	case X86_EXIT_WRMSR:
		g->s->rip += g->exit.next ? g->exit.next : 1;
		return true;
	default:
		fail_msg("%s mode: exit %d, which nobody asked for", name, g->exit.reason);
		return false;
	}
}

static void run_once(unsigned mode)
{
	uint8_t code[CODE_BYTES];
	struct guest *g;

	make_code(code);
	g = guest_create(modes[mode].mode, modes[mode].cpl, code, code + CODE_BYTES);
	for (unsigned i = 0; i < 16; i++)
		if (i != X86_RSP)
			g->s->gpr[i] = random_register();
	g->s->rflags |= below(4) ? X86_FLAG_IF : below(2) ? X86_FLAG_TF : X86_FLAG_AC;
	if (!below(4))
		x86_vcpu_nmi(g->vcpu);
	running = g->vcpu;
	set_timer(SLICE_US);
	for (unsigned i = 0; i < EXITS; i++) {
		x86_vcpu_run(g->vcpu, &g->exit);
		if (!resume(g, modes[mode].name))
			break;
	}
	set_timer(0);
	assert_true(g->s->cpl <= 3);
	guest_destroy(g);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void random_code(void **state)
{
	uint64_t seed = setting("X86_FUZZ_SEED", SEED), runs = setting("X86_FUZZ_RUNS", RUNS);

	for (unsigned mode = 0; mode < sizeof(modes) / sizeof(modes[0]); mode++) {
		for (uint64_t i = 0; i < runs; i++) {
			/* Each run has a seed of its own, so that it can be had again alone. */
			seed_state = (seed + i) * 0x9e3779b97f4a7c15ul + mode + 1;
			run_once(mode);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_code)};
	const struct sigaction stop = {.sa_handler = stop_running, .sa_flags = SA_RESTART};

	sigaction(SIGALRM, &stop, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
