/*
 * x86_oracle.c - compares the software processor with the processor it runs on.
 *
 * Each family of instructions is one test. Every template of it is executed in some hundred random
 * cases on both processors (see x86_oracle.h); a difference is printed with the code, what went in
 * and what came out, once a template.
 *
 * Usage: x86_oracle [family...]. The environment: ORACLE_SEED repeats a run, ORACLE_CASES sets the
 * cases a template gets, ORACLE_ONLY is a template's name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>

#include "x86_oracle.h"

#define DEFAULT_SEED  20240229u
#define DEFAULT_CASES 300u
/* Bits of RFLAGS that a signal frame and an exit may rightly disagree about. */
#define FLAGS_NOT_COMPARED X86_FLAG_RF

/* Where Linux's part of the address space begins, as far as page faults tell. */
#define LINUX_TASK_SIZE 0x7ffffffff000ull

struct run {
	uint64_t seed;
	unsigned cases;
	const char *only;
	struct oracle_case c;
	struct oracle_outcome host, guest;
};

static struct run run;

static const struct {
	uint16_t word;
	uint8_t bit;
} features[] = {
#define BIT(feature, word_, bit_) [feature] = {offsetof(struct x86_features, word_), bit_}
	BIT(SSE3, leaf1_ecx, 0),
	BIT(PCLMUL, leaf1_ecx, 1),
	BIT(SSSE3, leaf1_ecx, 9),
	BIT(CX16, leaf1_ecx, 13),
	BIT(SSE41, leaf1_ecx, 19),
	BIT(SSE42, leaf1_ecx, 20),
	BIT(MOVBE, leaf1_ecx, 22),
	BIT(POPCNT, leaf1_ecx, 23),
	BIT(AES, leaf1_ecx, 25),
	BIT(XSAVE, leaf1_ecx, 26),
	BIT(LZCNT, ext1_ecx, 5),
	BIT(LAHF, ext1_ecx, 0),
	BIT(BMI1, leaf7_ebx, 3),
	BIT(FSGSBASE, leaf7_ebx, 0),
	BIT(SHA, leaf7_ebx, 29),
	BIT(ADX, leaf7_ebx, 19),
	BIT(RDPID, leaf7_ecx, 22),
	BIT(XSAVEOPT, xsave1_eax, 0),
	BIT(XSAVEC, xsave1_eax, 1),
#undef BIT
};

bool oracle_feature_in(const struct x86_features *f, enum oracle_feature feature)
{
	uint32_t word;

	if (feature == ALWAYS)
		return true;
	memcpy(&word, (const uint8_t *)f + features[feature].word, 4);
	return word >> features[feature].bit & 1;
}

/* ----- comparing ----- */

static void hide(struct oracle_outcome *o, const struct oracle_case *c)
{
	struct x86_fx *fx = &o->state.fx;

	o->state.rflags &= ~(uint64_t)FLAGS_NOT_COMPARED;
	if (o->vector < 0)
		o->state.rflags &= ~c->undefined_flags;
	/* Linux does not tell users which pages of its part are present. */
	if (o->vector == X86_VEC_PF && o->address >= LINUX_TASK_SIZE)
		o->error |= 1;
	if (c->template->how & WIDE)
		o->address = 0;
	/* Alignment and a segment's limit: which is checked first is the model's. */
	if (o->vector == X86_VEC_SS && (c->template->how & (ALIGNED | ALIGNED64)))
		o->vector = X86_VEC_GP;
	/* Whether a result is inexact that is not delivered. */
	if (o->vector == X86_VEC_XM)
		fx->mxcsr &= ~0x20u;
	/* The pointers of the last x87 instruction: processors keep them or not (AMD APM 4). */
	fx->fop = 0;
	fx->fip = 0;
	fx->fdp = 0;
	fx->mxcsr_mask = 0;
	fx->reserved0 = 0;
	memset(fx->reserved1, 0, sizeof(fx->reserved1));
	for (int i = 0; i < 8; i++)
		memset(fx->st[i] + 10, 0, 6);
	for (int i = 0; i < 2; i++)
		if (c->ignore[i].size)
			memset(o->data + (c->ignore[i].at - ORACLE_DATA), 0, c->ignore[i].size);
}

static bool equal(const struct oracle_case *c, struct oracle_outcome *a, struct oracle_outcome *b)
{
	hide(a, c);
	hide(b, c);
	if (a->vector != b->vector || a->state.rip != b->state.rip)
		return false;
	if (c->undefined)
		return true;
	return a->error == b->error && a->address == b->address &&
	       !memcmp(&a->state, &b->state, sizeof(a->state)) &&
	       !memcmp(a->data, b->data, sizeof(a->data));
}

/* ----- telling ----- */

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};

static void print_code(const struct oracle_case *c)
{
	ZydisDisassembledInstruction insn;
	unsigned at = 0;

	printf("   ");
	for (unsigned i = 0; i < c->length; i++)
		printf(" %02x", c->code[i]);
	printf("\n");
	while (at < c->length &&
		ZYAN_SUCCESS(ZydisDisassembleIntel(
			c->bits32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 : ZYDIS_MACHINE_MODE_LONG_64,
			ORACLE_START + at, c->code + at, c->length - at, &insn))) {
		printf("    %s\n", insn.text);
		at += insn.info.length;
	}
}

static void print_number(const char *name, uint64_t in, uint64_t host, uint64_t guest)
{
	if (host != guest)
		printf("    %-7s in %016llx host %016llx guest %016llx\n", name,
			(unsigned long long)in, (unsigned long long)host,
			(unsigned long long)guest);
}

static void print_bytes(const char *name, unsigned n, const uint8_t *in, const uint8_t *host,
	const uint8_t *guest, unsigned size)
{
	const uint8_t *rows[3] = {in, host, guest};
	static const char *const titles[3] = {"in", "host", "guest"};

	if (!memcmp(host, guest, size))
		return;
	for (int row = 0; row < 3; row++) {
		printf("    %s%-4x %-5s", name, n, titles[row]);
		for (unsigned i = size; i--;)
			printf(" %02x", rows[row][i]);
		printf("\n");
	}
}

static void print_inputs(const struct oracle_case *c)
{
	printf("    in:");
	for (int i = 0; i < 16; i++)
		printf("%s %s=%llx", i && i % 4 == 0 ? "\n       " : "", gpr_names[i],
			(unsigned long long)c->in.gpr[i]);
	printf("\n        rflags=%llx fcw=%04x fsw=%04x ftw=%02x mxcsr=%04x",
		(unsigned long long)c->in.rflags, c->in.fx.fcw, c->in.fx.fsw, c->in.fx.ftw,
		c->in.fx.mxcsr);
	if (c->memory) {
		printf("\n        [%llx]", (unsigned long long)c->target);
		for (unsigned i = 16; i--;)
			printf(" %02x", c->data[c->target - ORACLE_DATA + i]);
	}
	printf("\n");
}

static void print_outcome(const char *who, const struct oracle_outcome *o)
{
	printf("    %s: ", who);
	if (o->vector < 0)
		printf("completed, ");
	else if (o->vector >= 256)
		printf("exit %d, ", o->vector - 256);
	else
		printf("exception %d error %x address %llx, ", o->vector, o->error,
			(unsigned long long)o->address);
	printf("rip %llx\n", (unsigned long long)o->state.rip);
}

static void print_difference(const struct run *f)
{
	const struct oracle_state *in = &f->c.in, *host = &f->host.state, *guest = &f->guest.state;

	print_code(&f->c);
	print_inputs(&f->c);
	print_outcome("host", &f->host);
	print_outcome("guest", &f->guest);
	for (int i = 0; i < 16; i++)
		print_number(gpr_names[i], in->gpr[i], host->gpr[i], guest->gpr[i]);
	print_number("rflags", in->rflags, host->rflags, guest->rflags);
	print_number("fcw", in->fx.fcw, host->fx.fcw, guest->fx.fcw);
	print_number("fsw", in->fx.fsw, host->fx.fsw, guest->fx.fsw);
	print_number("ftw", in->fx.ftw, host->fx.ftw, guest->fx.ftw);
	print_number("mxcsr", in->fx.mxcsr, host->fx.mxcsr, guest->fx.mxcsr);
	for (unsigned i = 0; i < 8; i++)
		print_bytes("st", i, in->fx.st[i], host->fx.st[i], guest->fx.st[i], 10);
	for (unsigned i = 0; i < 16; i++)
		print_bytes("xmm", i, in->fx.xmm[i], host->fx.xmm[i], guest->fx.xmm[i], 16);
	for (unsigned i = 0; i < ORACLE_DATA_SIZE; i += 16)
		print_bytes("", ORACLE_DATA + i, f->c.data + i, f->host.data + i, f->guest.data + i,
			16);
}

/* ----- running ----- */

/* A template's cases do not depend on which others run. */
static struct oracle_random template_random(const char *family, const struct oracle_template *t)
{
	struct oracle_random r = {run.seed};

	for (const char *s = family; *s; s++)
		r.state = r.state * 31 + (uint8_t)*s;
	for (const char *s = t->name; *s; s++)
		r.state = r.state * 31 + (uint8_t)*s;
	for (const char *s = t->code ? t->code : ""; *s; s++)
		r.state = r.state * 31 + (uint8_t)*s;
	return r;
}

/* Instructions that the vcpu does not report must not exist. Returns whether that is so. */
static bool run_missing(const struct oracle_template *t, struct oracle_random *r)
{
	if (t->how & DEGRADES)
		return true;
	for (unsigned n = 0; n < 20; n++) {
		oracle_make(&run.c, t, r);
		oracle_guest_run(&run.c, &run.guest);
		if (run.guest.vector == X86_VEC_UD)
			continue;
		printf("  %s (%s): is not reported, yet does not raise #UD\n", t->name, t->code);
		print_code(&run.c);
		print_outcome("guest", &run.guest);
		return false;
	}
	return true;
}

static bool run_template(const char *family, const struct oracle_template *t)
{
	struct oracle_random r = template_random(family, t);
	unsigned failures = 0;

	if (!oracle_guest_has(t->feature))
		return run_missing(t, &r);
	if (!oracle_host_has(t->feature))
		return true;
	for (unsigned n = 0; n < run.cases; n++) {
		oracle_make(&run.c, t, &r);
		oracle_host_run(&run.c, &run.host);
		oracle_guest_run(&run.c, &run.guest);
		if (equal(&run.c, &run.host, &run.guest))
			continue;
		if (!failures++) {
			printf("  %s %s (%s): case %u differs\n", family, t->name,
				t->code ? t->code : "sequence", n);
			print_difference(&run);
		}
	}
	if (failures)
		printf("  %s (%s): %u of %u cases differ\n", t->name,
			t->code ? t->code : "sequence", failures, run.cases);
	return !failures;
}

static void test_family(void **state)
{
	const struct oracle_family *f = *state;
	unsigned bad = 0;

	oracle_host_catch();
	for (unsigned i = 0; i < f->count; i++)
		if (!run.only || !strcmp(run.only, f->templates[i].name))
			bad += !run_template(f->name, &f->templates[i]);
	if (bad)
		fail_msg("%u of %u templates differ from the host", bad, f->count);
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc <= 1;
}

static unsigned long from_environment(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	static const struct {
		const struct oracle_family *families;
		const unsigned *count;
	} tables[] = {
		{oracle_integer, &oracle_integer_count},
		{oracle_flow, &oracle_flow_count},
		{oracle_sse, &oracle_sse_count},
		{oracle_x87, &oracle_x87_count},
	};
	struct CMUnitTest tests[128];
	size_t count = 0;
	int failed;

	run.seed = from_environment("ORACLE_SEED", DEFAULT_SEED);
	run.cases = (unsigned)from_environment("ORACLE_CASES", DEFAULT_CASES);
	run.only = getenv("ORACLE_ONLY");
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (unsigned i = 0; i < *tables[t].count; i++)
			if (wanted(tables[t].families[i].name, argc, argv))
				tests[count++] = (struct CMUnitTest){
					.name = tables[t].families[i].name,
					.test_func = test_family,
					.initial_state = (void *)&tables[t].families[i],
				};
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %llu, %u cases a template\n", (unsigned long long)run.seed, run.cases);
	oracle_host_init();
	oracle_guest_init();
	failed = _cmocka_run_group_tests("x86_oracle", tests, count, NULL, NULL);
	oracle_guest_destroy();
	return failed ? 1 : 0;
}
