/*
 * x86_oracle_host.c - executes a case on the host processor.
 *
 * A thunk below 2 GiB loads every register (RSP too: signals have their own stack), jumps to the
 * case's code, and afterwards stores every register. An exception arrives as a signal, whose frame
 * holds the registers, the vector and the error code as the processor delivered them (Linux,
 * arch/x86 signal frames: REG_TRAPNO, REG_ERR, REG_CR2).
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "x86_oracle.h"

/* Away from where stray addresses tend to fall. */
#define THUNK	   0x5b3a7000u
#define THUNK_SIZE 0x4000u
#define AREA	   (THUNK + 0x2000u)
#define CODE32	   0x23 /* Linux's user code selectors on x86-64 */
#define CODE64	   0x33

/* What the thunk addresses absolutely. */
struct area {
	struct oracle_state in, out;
	uint64_t host_rsp;
	uint32_t host_mxcsr;
};

#define AT(member) (AREA + (uint32_t)offsetof(struct area, member))

static struct area *const area = (struct area *)(uintptr_t)AREA;
static uint32_t epilogue32, epilogue64;
static void (*enter64)(void), (*enter32)(void);
static sigjmp_buf escape;
static struct oracle_outcome *volatile faulting;
static bool compatibility; /* the running case is 32-bit code */

struct writer {
	uint8_t *at;
};

static void put(struct writer *w, const char *hex)
{
	for (; *hex; hex += hex[2] ? 3 : 2)
		*w->at++ = (uint8_t)strtoul((char[]){hex[0], hex[1], 0}, NULL, 16);
}

static void put32(struct writer *w, uint32_t value)
{
	memcpy(w->at, &value, 4);
	w->at += 4;
}

/* An instruction on an absolute address: @hex up to and with its ModRM and SIB. */
static void put_at(struct writer *w, const char *hex, uint32_t address)
{
	put(w, hex);
	put32(w, address);
}

static uint32_t here(const struct writer *w)
{
	return (uint32_t)(uintptr_t)w->at;
}

static void put_jump(struct writer *w, uint32_t to)
{
	put(w, "e9");
	put32(w, to - (here(w) + 4));
}

/* MOV between register @n and memory, in 64-bit code. */
static void put_register(struct writer *w, bool load, unsigned n, uint32_t address)
{
	*w->at++ = n < 8 ? 0x48 : 0x4c;
	*w->at++ = load ? 0x8b : 0x89;
	*w->at++ = (uint8_t)(0x04 | (n & 7) << 3);
	*w->at++ = 0x25;
	put32(w, address);
}

/* The same in 32-bit code. */
static void put_register32(struct writer *w, bool load, unsigned n, uint32_t address)
{
	*w->at++ = load ? 0x8b : 0x89;
	*w->at++ = (uint8_t)(0x05 | n << 3);
	put32(w, address);
}

static void put_enter(struct writer *w, bool bits32)
{
	put(w, "53 55 41 54 41 55 41 56 41 57");
	put_at(w, "48 89 24 25", AT(host_rsp));
	put_at(w, "0f ae 1c 25", AT(host_mxcsr));
	put_at(w, "48 0f ae 0c 25", AT(in.fx));
	if (bits32) { /* a far jump; the 32-bit half loads flags and registers */
		put_at(w, "ff 2c 25", here(w) + 7);
		put32(w, here(w) + 6);
		*w->at++ = CODE32;
		*w->at++ = 0;
		/* Legacy code needs data segments: 64-bit code leaves them null. */
		put(w, "b8 2b 00 00 00 8e d8 8e c0 8e d0");
		put_at(w, "8d 25", AT(host_rsp) + 0x800);
		put_at(w, "ff 35", AT(in.rflags));
		put(w, "9d");
		for (unsigned n = 0; n < 8; n++)
			put_register32(w, true, n, AT(in.gpr) + 8 * n);
	} else {
		put_at(w, "ff 34 25", AT(in.rflags));
		put(w, "9d");
		for (unsigned n = 0; n < 16; n++)
			if (n != X86_RSP)
				put_register(w, true, n, AT(in.gpr) + 8 * n);
		put_register(w, true, X86_RSP, AT(in.gpr[X86_RSP]));
	}
	put_jump(w, ORACLE_START);
}

static void put_leave(struct writer *w)
{
	for (unsigned n = 0; n < 16; n++)
		put_register(w, false, n, AT(out.gpr) + 8 * n);
	put_register(w, true, X86_RSP, AT(host_rsp));
	put(w, "9c");
	put_at(w, "8f 04 25", AT(out.rflags));
	/* Neither direction nor alignment checks may outlive the case. */
	put(w, "48 c7 c0 02 02 00 00 50 9d");
	put_at(w, "48 0f ae 04 25", AT(out.fx));
	put(w, "db e3");
	put_at(w, "0f ae 14 25", AT(host_mxcsr));
	put(w, "41 5f 41 5e 41 5d 41 5c 5d 5b c3");
}

/* 32-bit code leaves through a far jump, which changes neither flags nor registers. */
static void put_leave32(struct writer *w, uint32_t to)
{
	put(w, "ea");
	put32(w, to);
	*w->at++ = CODE64;
	*w->at++ = 0;
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
	const ucontext_t *u = context;
	const greg_t *g = u->uc_mcontext.gregs;
	static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
		REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
	struct oracle_outcome *out = faulting;

	/* Linux leaves AC set; nothing of ours is to be checked. */
	asm volatile("pushfq; andl %0, (%%rsp); popfq" : : "i"(~X86_FLAG_AC) : "memory", "cc");
	if (!out) { /* not a case's fault: ours */
		static const char message[] = "x86_oracle: a fault outside a case\n";

		if (write(2, message, sizeof(message) - 1) < 0)
			_exit(127);
		_exit(126);
	}
	faulting = NULL;
	for (int i = 0; i < 16; i++)
		out->state.gpr[i] = compatibility ? (uint32_t)g[order[i]] : (uint64_t)g[order[i]];
	out->state.rip = (uint64_t)g[REG_RIP];
	out->state.rflags = (uint64_t)g[REG_EFL];
	memcpy(&out->state.fx, u->uc_mcontext.fpregs, sizeof(out->state.fx));
	out->vector = (int)g[REG_TRAPNO];
	out->error = (uint32_t)g[REG_ERR];
	out->address = out->vector == X86_VEC_PF ? (uint64_t)g[REG_CR2] : 0;
	siglongjmp(escape, 1);
}

static void *map_at(uint32_t address, size_t size)
{
	void *p = mmap((void *)(uintptr_t)address, size, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED) {
		perror("x86_oracle: mmap");
		exit(1);
	}
	return p;
}

void oracle_host_catch(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	static uint8_t stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_sigaction = on_signal};

	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	sigaltstack(&alternate, NULL);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

void oracle_host_init(void)
{
	struct writer w = {map_at(THUNK, THUNK_SIZE)};

	map_at(ORACLE_DATA, ORACLE_DATA_SIZE);
	map_at(ORACLE_CODE, ORACLE_CODE_SIZE);
	enter64 = (void (*)(void))w.at;
	put_enter(&w, false);
	enter32 = (void (*)(void))w.at;
	put_enter(&w, true);
	epilogue64 = here(&w);
	put_leave(&w);
	epilogue32 = here(&w);
	put_leave32(&w, epilogue64);
}

void oracle_host_run(const struct oracle_case *c, struct oracle_outcome *out)
{
	struct writer w = {(uint8_t *)(uintptr_t)ORACLE_START};

	memcpy(w.at, c->code, c->length);
	w.at += c->length;
	put_jump(&w, c->bits32 ? epilogue32 : epilogue64);
	memcpy((void *)(uintptr_t)ORACLE_DATA, c->data, ORACLE_DATA_SIZE);
	area->in = c->in;
	compatibility = c->bits32;
	memset(&out->state, 0, sizeof(out->state));
	if (!sigsetjmp(escape, 0)) {
		faulting = out;
		(c->bits32 ? enter32 : enter64)();
		faulting = NULL;
		out->state = area->out;
		out->state.rip = ORACLE_START + c->length;
		out->vector = -1;
		out->error = 0;
		out->address = 0;
	}
	if (c->bits32)
		for (int i = 8; i < 16; i++)
			out->state.gpr[i] = 0;
	memcpy(out->data, (void *)(uintptr_t)ORACLE_DATA, ORACLE_DATA_SIZE);
}

static void host_features(struct x86_features *f)
{
	uint32_t a, b, c, d;

	memset(f, 0, sizeof(*f));
	__cpuid(1, a, b, f->leaf1_ecx, f->leaf1_edx);
	__cpuid_count(7, 0, a, f->leaf7_ebx, f->leaf7_ecx, f->leaf7_edx);
	__cpuid(0x80000001, a, b, f->ext1_ecx, f->ext1_edx);
	__cpuid_count(0xd, 1, f->xsave1_eax, b, c, d);
}

bool oracle_host_has(enum oracle_feature feature)
{
	struct x86_features f;

	host_features(&f);
	return oracle_feature_in(&f, feature);
}
