/*
 * mem.h - how operations reach guest memory: inline fast paths over the TLB.
 *
 * An access that hits the TLB is a host load or store; everything else (misses, page crossings,
 * memory-mapped devices, pages with decoded code, alignment checks) takes the slow path in tlb.c.
 * The host's memory model is the guest's: both are x86.
 */
#ifndef PARTITA_X86_MEM_H
#define PARTITA_X86_MEM_H

#include "x86/cpu.h"

#include <string.h>

/* Effective addresses: base + disp, and the full form. */
static inline uint64_t x86_ea_s(const struct x86_vcpu *c, const struct x86_op *o)
{
	return X86_REG(c, o->base, const uint64_t) + (int64_t)o->disp;
}

static inline uint64_t x86_ea_f(const struct x86_vcpu *c, const struct x86_op *o)
{
	return X86_REG(c, o->base, const uint64_t) +
	       (X86_REG(c, o->index, const uint64_t) << o->scale) + (int64_t)o->disp +
	       c->seg_base[o->seg];
}

/*
 * x86_segment_address - outside 64-bit mode: the linear address of [@offset, @offset + @size) in
 * segment @seg, after the limit and rights checks of SDM vol. 3A, 5.3 and 5.5. Raises #GP(0) or
 * #SS(0). In 64-bit mode (where only FS and GS have a base) it just adds the base.
 */
uint64_t x86_segment_address(struct x86_vcpu *c, const struct x86_op *o, unsigned seg,
	uint64_t offset, unsigned size, bool write);
/*
 * x86_segment_room - how many bytes from there on x86_segment_address() would allow, too; with
 * @down: how many from the operand's end downwards.
 */
uint64_t x86_segment_room(
	const struct x86_vcpu *c, unsigned seg, uint64_t offset, unsigned size, bool down);

static inline struct x86_tlb_entry *x86_tlb_slot(const struct x86_vcpu *c, uint64_t va)
{
	return &c->tlb[(va >> 12) & (X86_TLB_ENTRIES - 1)];
}

/* The tag that an access of @size bytes at @va needs: one that crosses pages matches none. */
static inline uint64_t x86_tlb_tag(const struct x86_vcpu *c, uint64_t va, unsigned size)
{
	return ((va + size - 1) & X86_PAGE_MASK) | c->tlb_gen;
}

/* Host address for reading, or NULL: take the slow path. */
static inline void *x86_host_r(const struct x86_vcpu *c, uint64_t va, unsigned size)
{
	struct x86_tlb_entry *e = x86_tlb_slot(c, va);

	return likely(e->tag_r == x86_tlb_tag(c, va, size)) ? (void *)(va + e->addend) : NULL;
}

static inline void *x86_host_w(const struct x86_vcpu *c, uint64_t va, unsigned size)
{
	struct x86_tlb_entry *e = x86_tlb_slot(c, va);

	return likely(e->tag_w == x86_tlb_tag(c, va, size)) ? (void *)(va + e->addend) : NULL;
}

/*
 * What to do on a miss, without making the operation pay for the possibility: miss.S calls the slow
 * path and preserves every register, so that the compiler sees no call and needs no stack frame.
 */
#if X86_TAIL_CALLS
#define X86_MISS_CLOBBERS                                                                          \
	"memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",    \
		"xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static inline uint64_t x86_load_miss(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint64_t size)
{
	uint64_t value;

	asm volatile("call x86_load_miss_keep"
		: "=a"(value)
		: "D"(c), "S"(o), "d"(va), "c"(size)
		: X86_MISS_CLOBBERS);
	return value;
}

static inline void x86_store_miss(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint64_t size, uint64_t value)
{
	register uint64_t v asm("r8") = value;

	asm volatile("call x86_store_miss_keep"
		:
		: "D"(c), "S"(o), "d"(va), "c"(size), "r"(v)
		: X86_MISS_CLOBBERS);
}

static inline void *x86_rmw_miss(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint64_t size, uint64_t locked)
{
	register uint64_t l asm("r8") = locked;
	void *p;

	asm volatile("call x86_rmw_miss_keep"
		: "=a"(p)
		: "D"(c), "S"(o), "d"(va), "c"(size), "r"(l)
		: X86_MISS_CLOBBERS);
	return p;
}

static inline void x86_rmw_rest(struct x86_vcpu *c, const struct x86_op *o)
{
	asm volatile("call x86_rmw_rest_keep" : : "D"(c), "S"(o) : X86_MISS_CLOBBERS);
}
#else
#define x86_load_miss  x86_load_slow
#define x86_store_miss x86_store_slow
#define x86_rmw_miss   x86_rmw_slow
#define x86_rmw_rest   x86_rmw_finish
#endif

#define X86_DEFINE_ACCESS(bits)                                                                    \
	static inline uint##bits##_t x86_load##bits(                                               \
		struct x86_vcpu *c, const struct x86_op *o, uint64_t va)                           \
	{                                                                                          \
		struct x86_tlb_entry *e = x86_tlb_slot(c, va);                                     \
                                                                                                   \
		if (likely(e->tag_r == x86_tlb_tag(c, va, bits / 8)))                              \
			return __atomic_load_n(                                                    \
				(uint##bits##_t *)(va + e->addend), __ATOMIC_RELAXED);             \
		return (uint##bits##_t)x86_load_miss(c, o, va, bits / 8);                          \
	}                                                                                          \
	static inline void x86_store##bits(                                                        \
		struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint##bits##_t value)     \
	{                                                                                          \
		struct x86_tlb_entry *e = x86_tlb_slot(c, va);                                     \
                                                                                                   \
		if (likely(e->tag_w == x86_tlb_tag(c, va, bits / 8)))                              \
			__atomic_store_n((uint##bits##_t *)(va + e->addend), value,                \
				__ATOMIC_RELAXED);                                                 \
		else                                                                               \
			x86_store_miss(c, o, va, bits / 8, value);                                 \
	}

X86_DEFINE_ACCESS(8)
X86_DEFINE_ACCESS(16)
X86_DEFINE_ACCESS(32)
X86_DEFINE_ACCESS(64)

/*
 * Read-modify-write: the operation works on *x86_rmw(), then calls x86_rmw_end(). @locked: the
 * operation uses a LOCK prefix on that address; where the host cannot do it in place (a page
 * crossing, a device) everybody else is stopped until x86_rmw_end().
 */
static inline void *x86_rmw(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, bool locked)
{
	struct x86_tlb_entry *e = x86_tlb_slot(c, va);

	if (likely(e->tag_w == x86_tlb_tag(c, va, size)))
		return (void *)(va + e->addend);
	return x86_rmw_miss(c, o, va, size, locked);
}

static inline void x86_rmw_end(struct x86_vcpu *c, const struct x86_op *o)
{
	if (unlikely(c->rmw_pending))
		x86_rmw_rest(c, o);
}

#endif
