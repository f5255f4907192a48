/*
 * debug.c - breakpoints and single-step.
 *
 * While DR7 enables a breakpoint or TF is set, instructions run one at a time and every data access
 * takes the slow path (X86_ATTN_SINGLE, X86_TLB_NONE), which is where these functions are called.
 *
 * Facts: Intel SDM vol. 3B, 17.2 and 17.3.
 */
#include "x86/system.h"

enum condition {
	CONDITION_EXECUTE = 0,
	CONDITION_WRITE = 1,
	CONDITION_IO = 2,
	CONDITION_ACCESS = 3,
};

static bool enabled(const struct x86_vcpu *c, unsigned i)
{
	return c->s.dr7 >> (i * 2) & 3;
}

static enum condition condition_of(const struct x86_vcpu *c, unsigned i)
{
	return (enum condition)(c->s.dr7 >> (16 + i * 4) & 3);
}

static unsigned length_of(const struct x86_vcpu *c, unsigned i)
{
	static const uint8_t bytes[] = {1, 2, 8, 4};

	return bytes[c->s.dr7 >> (18 + i * 4) & 3];
}

/* Whether breakpoint @i covers a byte of [at, at + size). */
static bool overlaps(const struct x86_vcpu *c, unsigned i, uint64_t at, unsigned size)
{
	unsigned length = length_of(c, i);
	uint64_t start = c->s.dr[i] & ~(uint64_t)(length - 1);

	return at < start + length && start < at + size;
}

bool x86_debug_active(const struct x86_vcpu *c)
{
	return c->s.dr7 & 0xff;
}

_Noreturn void x86_raise_debug(struct x86_vcpu *c, const struct x86_op *o, uint64_t dr6)
{
	struct x86_event event = {
		.valid = true,
		.type = 3,
		.vector = X86_VEC_DB,
		.parameter = dr6,
	};

	x86_raise_event(c, o, &event);
}

void x86_debug_before(struct x86_vcpu *c, uint64_t lin)
{
	uint64_t hit = 0;

	if (c->rflags & X86_FLAG_RF) { /* for one instruction */
		c->rflags &= ~X86_FLAG_RF;
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		if (enabled(c, i) && condition_of(c, i) == CONDITION_EXECUTE && c->s.dr[i] == lin)
			hit |= 1ul << i;
	if (hit)
		x86_raise_debug(c, NULL, hit);
}

void x86_debug_data(struct x86_vcpu *c, uint64_t va, unsigned size, bool write)
{
	for (unsigned i = 0; i < 4; i++) {
		enum condition when = condition_of(c, i);

		if (enabled(c, i) &&
			(when == CONDITION_ACCESS || (when == CONDITION_WRITE && write)) &&
			overlaps(c, i, va, size))
			c->pending_db |= 1ul << i;
	}
}

uint64_t x86_debug_io(const struct x86_vcpu *c, uint16_t port, unsigned size)
{
	uint64_t hit = 0;

	for (unsigned i = 0; i < 4 && (c->s.cr4 & X86_CR4_DE); i++)
		if (enabled(c, i) && condition_of(c, i) == CONDITION_IO &&
			overlaps(c, i, port, size))
			hit |= 1ul << i;
	return hit;
}

void x86_debug_after(struct x86_vcpu *c, bool single_step)
{
	uint64_t hit = c->pending_db;

	c->pending_db = 0;
	if (single_step && !(hit & X86_DB_NO_STEP))
		hit |= X86_DR6_BS;
	hit &= ~X86_DB_NO_STEP;
	if (hit)
		x86_raise_debug(c, NULL, hit);
}
