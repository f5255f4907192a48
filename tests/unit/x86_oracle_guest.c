/*
 * x86_oracle_guest.c - executes a case in a vcpu, through the processor's public interface only.
 *
 * The guest is at CPL 3 with identity paging; every exception leaves the vcpu. A case ends at the
 * HLT behind its code, which faults there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "x86_oracle.h"
#include "x86_parts.h"

#define TABLES		0x1000u /* PML4, PDPT, PD, PT */
#define TABLES_SIZE	0x4000u
#define TASK		0x10180000u /* a TSS without an I/O map, for the supervisor only */
#define TASK_LIMIT	0x67u
#define PRESENT_RW_USER 7u

static struct x86_machine *machine;
static struct x86_vcpu *vcpu;
static uint8_t *data, *code;
static struct x86_features features;

static void identity(uint64_t *table, uint32_t from, uint32_t size)
{
	for (uint32_t gpa = from; gpa < from + size; gpa += 4096)
		table[gpa >> 12 & 511] = gpa | PRESENT_RW_USER;
}

void oracle_guest_init(void)
{
	uint64_t *tables;

	machine = parts_machine(1, 16u << 20);
	vcpu = machine ? x86_vcpu_create(machine, 0, &parts_ops, NULL) : NULL;
	if (!vcpu) {
		fprintf(stderr, "x86_oracle: no memory for a vcpu\n");
		exit(1);
	}
	tables = (uint64_t *)parts_memory(machine, TABLES, TABLES_SIZE);
	data = parts_memory(machine, ORACLE_DATA, ORACLE_DATA_SIZE);
	code = parts_memory(machine, ORACLE_CODE, ORACLE_CODE_SIZE);
	/* All addresses lie below 1 GiB; data and code are in the same 2 MiB. */
	tables[0] = (TABLES + 0x1000) | PRESENT_RW_USER;
	tables[512] = (TABLES + 0x2000) | PRESENT_RW_USER;
	tables[1024 + (ORACLE_DATA >> 21)] = (TABLES + 0x3000) | PRESENT_RW_USER;
	identity(tables + 1536, ORACLE_DATA, ORACLE_DATA_SIZE);
	identity(tables + 1536, ORACLE_CODE, ORACLE_CODE_SIZE);
	tables[1536 + (TASK >> 12 & 511)] = TASK | 3;
	parts_memory(machine, TASK, 4096)[0x66] = 0xff; /* where the I/O map begins */
	x86_vcpu_intercept_exceptions(vcpu, ~0ull);
	x86_features(&features);
}

void oracle_guest_destroy(void)
{
	x86_vcpu_destroy(vcpu);
	x86_machine_destroy(machine);
}

bool oracle_guest_has(enum oracle_feature feature)
{
	return oracle_feature_in(&features, feature);
}

static struct x86_segment segment(uint16_t selector, unsigned bits, bool code)
{
	struct x86_segment s = parts_segment(bits, code, 3);

	s.selector = selector;
	return s;
}

static void load(const struct oracle_case *c)
{
	struct x86_state *s = x86_vcpu_state(vcpu);

	memcpy(s->gpr, c->in.gpr, sizeof(s->gpr));
	s->rip = c->in.rip;
	s->rflags = c->in.rflags;
	s->fx = c->in.fx;
	s->seg[X86_CS] = c->bits32 ? segment(0x23, 32, true) : segment(0x33, 64, true);
	s->seg[X86_SS] = segment(0x2b, 32, false);
	s->seg[X86_DS] = s->seg[X86_ES] = s->seg[X86_SS];
	s->seg[X86_FS] = s->seg[X86_GS] = s->seg[X86_SS];
	s->seg[X86_TR] = (struct x86_segment){.base = TASK, .limit = TASK_LIMIT, .selector = 0x40};
	s->seg[X86_TR].attributes = X86_SEG_P | 0xb;
	s->cpl = 3;
	s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |
		 X86_CR0_PG;
	s->cr3 = TABLES;
	s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	if (oracle_guest_has(FSGSBASE))
		s->cr4 |= X86_CR4_FSGSBASE;
	if (oracle_guest_has(XSAVE)) {
		s->cr4 |= X86_CR4_OSXSAVE;
		s->xcr0 = 3;
	}
	s->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	s->interrupt_shadow = false;
	x86_vcpu_changed(vcpu);
}

void oracle_guest_run(const struct oracle_case *c, struct oracle_outcome *out)
{
	uint8_t *at = code + (ORACLE_START - ORACLE_CODE);
	struct x86_exit exit;
	struct x86_state *s;

	memcpy(at, c->code, c->length);
	at[c->length] = 0xf4;
	x86_machine_written(machine, ORACLE_START, c->length + 1);
	memcpy(data, c->data, ORACLE_DATA_SIZE);
	load(c);
	x86_vcpu_run(vcpu, &exit);
	s = x86_vcpu_state(vcpu);
	memset(out, 0, offsetof(struct oracle_outcome, data));
	memcpy(out->state.gpr, s->gpr, sizeof(out->state.gpr));
	out->state.rip = s->rip;
	out->state.rflags = s->rflags;
	out->state.fx = s->fx;
	out->vector = -1;
	if (exit.reason != X86_EXIT_EXCEPTION) {
		out->vector = 256 + (int)exit.reason;
	} else if (s->rip != ORACLE_START + c->length || exit.exception.vector != X86_VEC_GP) {
		out->vector = exit.exception.vector;
		out->error = exit.exception.has_error ? exit.exception.error : 0;
		if (out->vector == X86_VEC_PF)
			out->address = exit.exception.parameter;
	}
	memcpy(out->data, data, ORACLE_DATA_SIZE);
}
