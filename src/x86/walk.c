/*
 * walk.c - page tables: from a linear address to a guest-physical one.
 *
 * Follows Intel SDM vol. 3A chapter 4 for every paging mode: none, 32-bit (with 4 MiB pages and
 * PSE-36), PAE and 4-level (with 2 MiB and 1 GiB pages). Accessed and dirty bits are set with
 * atomic operations, as other processors and the guest itself write the same entries. An entry is
 * read once.
 */
#include "x86/cpu.h"

#define PTE_P  0x001ul
#define PTE_W  0x002ul
#define PTE_U  0x004ul
#define PTE_A  0x020ul
#define PTE_D  0x040ul
#define PTE_PS 0x080ul
#define PTE_G  0x100ul
#define PTE_NX (1ul << 63)

#define PTE_ADDR (((1ul << X86_PHYSICAL_BITS) - 1) & X86_PAGE_MASK)
#define PTE_HIGH (((1ul << 52) - 1) & ~((1ul << X86_PHYSICAL_BITS) - 1)) /* reserved */

#define PF_P	0x01u
#define PF_W	0x02u
#define PF_U	0x04u
#define PF_RSVD 0x08u
#define PF_I	0x10u

/* A paging-structure entry in guest memory, of 4 or 8 bytes. */
struct entry {
	void *host;
	bool wide;
	uint64_t value;
};

static bool entry_load(struct x86_vcpu *c, uint64_t gpa, bool wide, struct entry *e)
{
	struct x86_slot *slot = x86_slot_find(c->machine, gpa);

	if (!slot)
		return false;
	e->host = slot->host + (gpa - slot->gpa);
	e->wide = wide;
	e->value = wide ? atomic_load_explicit((_Atomic uint64_t *)e->host, memory_order_relaxed)
			: atomic_load_explicit((_Atomic uint32_t *)e->host, memory_order_relaxed);
	return true;
}

/* Sets bits unless the entry changed meanwhile, in which case the walk starts anew. */
static bool entry_set(struct entry *e, uint64_t bits)
{
	if ((e->value & bits) == bits)
		return true;
	if (e->wide) {
		uint64_t old = e->value;

		return atomic_compare_exchange_strong(
			(_Atomic uint64_t *)e->host, &old, old | bits);
	}
	uint32_t old = (uint32_t)e->value;

	return atomic_compare_exchange_strong(
		(_Atomic uint32_t *)e->host, &old, old | (uint32_t)bits);
}

struct format {
	unsigned levels;    /* level of the first table: 4, 3 or 2 */
	unsigned index_bits; /* 9 or 10 */
	bool wide;
	bool pdpte; /* the first table is PAE's, whose entries carry no rights */
};

static struct format paging_format(const struct x86_vcpu *c)
{
	if (c->s.efer & X86_EFER_LMA)
		return (struct format){4, 9, true, false};
	if (c->s.cr4 & X86_CR4_PAE)
		return (struct format){3, 9, true, true};
	return (struct format){2, 10, false, false};
}

/* Bits that must be zero in an entry of @level; @leaf: it maps a page. */
static uint64_t reserved_bits(
	const struct x86_vcpu *c, const struct format *f, unsigned level, bool leaf)
{
	uint64_t bits;

	if (!f->wide) /* PSE-36 puts address bits 32-39 in 13-20 */
		return leaf && level == 2 ? 1ul << 21 : 0;
	bits = PTE_HIGH;
	if (!(c->s.efer & X86_EFER_NXE))
		bits |= PTE_NX;
	if (f->pdpte) {
		bits |= 0x7ff0000000000000ul;
		if (level == 3)
			return bits | PTE_NX | 0x1e6;
	}
	if (level == 4)
		bits |= PTE_PS;
	if (leaf && level == 3)
		bits |= 0x3fffe000ul;
	if (leaf && level == 2)
		bits |= 0x1fe000ul;
	return bits;
}

static bool is_leaf(
	const struct x86_vcpu *c, const struct format *f, unsigned level, uint64_t value)
{
	if (level == 1)
		return true;
	if (!(value & PTE_PS) || level == 4 || (f->pdpte && level == 3))
		return false;
	return f->wide || (c->s.cr4 & X86_CR4_PSE);
}

/* What an access with these rights is refused for: 0 or the P bit of the error code. */
static uint32_t check_rights(const struct x86_vcpu *c, const struct x86_walk *w, unsigned access,
	bool user, bool smap)
{
	if (user && !w->user)
		return PF_P;
	if (access == X86_ACCESS_EXEC) {
		if (!w->exec || (!user && w->user && (c->s.cr4 & X86_CR4_SMEP)))
			return PF_P;
		return 0;
	}
	if (!user && smap && w->user)
		return PF_P;
	if (access == X86_ACCESS_WRITE && !w->writable && (user || (c->s.cr0 & X86_CR0_WP)))
		return PF_P;
	return 0;
}

static uint32_t fault_code(
	const struct x86_vcpu *c, unsigned access, bool user, uint32_t cause)
{
	uint32_t code = X86_TRANSLATE_FAULT | cause;

	if (access == X86_ACCESS_WRITE)
		code |= PF_W;
	if (user)
		code |= PF_U;
	if (access == X86_ACCESS_EXEC &&
		((c->s.cr4 & X86_CR4_SMEP) ||
			((c->s.cr4 & X86_CR4_PAE) && (c->s.efer & X86_EFER_NXE))))
		code |= PF_I;
	return code;
}

static void fill_result(
	const struct format *f, uint64_t va, unsigned level, uint64_t value, struct x86_walk *w)
{
	uint64_t size = 1ul << (12 + (level - 1) * f->index_bits);
	uint64_t base = value & PTE_ADDR & ~(size - 1);

	if (!f->wide) {
		base = value & 0xfffff000ul & ~(size - 1);
		if (level == 2)
			base |= (value & 0x1fe000ul) << 19;
	}
	w->gpa = base | (va & (size - 1));
	w->page_mask = ~(size - 1);
	w->global = value & PTE_G;
	w->dirty = value & PTE_D;
}

/* One attempt: returns false when an entry changed under it. */
static bool walk_once(struct x86_vcpu *c, uint64_t va, unsigned access, bool user, bool smap,
	bool set, struct x86_walk *w, uint32_t *fault)
{
	struct format f = paging_format(c);
	uint64_t table = c->s.cr3 & (f.pdpte ? 0xffffffe0ul : f.wide ? PTE_ADDR : 0xfffff000ul);

	w->user = w->writable = w->exec = true;
	for (unsigned level = f.levels;; level--) {
		unsigned shift = 12 + (level - 1) * f.index_bits;
		uint64_t index = (va >> shift) & ((1ul << f.index_bits) - 1);
		struct entry e;
		bool leaf, rights = !(f.pdpte && level == 3);

		if (f.pdpte && level == 3)
			index &= 3;
		if (!entry_load(c, table + index * (f.wide ? 8 : 4), f.wide, &e)) {
			*fault = fault_code(c, access, user, PF_P | PF_RSVD);
			return true;
		}
		if (!(e.value & PTE_P)) {
			*fault = fault_code(c, access, user, 0);
			return true;
		}
		leaf = is_leaf(c, &f, level, e.value);
		if (e.value & reserved_bits(c, &f, level, leaf)) {
			*fault = fault_code(c, access, user, PF_P | PF_RSVD);
			return true;
		}
		if (rights) {
			w->user &= !!(e.value & PTE_U);
			w->writable &= !!(e.value & PTE_W);
			w->exec &= !(f.wide && (e.value & PTE_NX));
		}
		if (!leaf) {
			if (set && rights && !entry_set(&e, PTE_A))
				return false;
			table = e.value & (f.wide ? PTE_ADDR : 0xfffff000ul);
			continue;
		}
		uint32_t refused = check_rights(c, w, access, user, smap);

		if (refused) {
			*fault = fault_code(c, access, user, refused);
			return true;
		}
		uint64_t bits = PTE_A | (access == X86_ACCESS_WRITE ? PTE_D : 0);

		if (set) {
			if (!entry_set(&e, bits))
				return false;
			e.value |= bits;
		}
		fill_result(&f, va, level, e.value, w);
		*fault = 0;
		return true;
	}
}

uint32_t x86_walk(struct x86_vcpu *c, uint64_t va, unsigned access, bool user, bool smap, bool set,
	struct x86_walk *w)
{
	uint32_t fault;

	if (c->s.efer & X86_EFER_LMA) {
		int64_t high = (int64_t)va >> (X86_LINEAR_BITS - 1);

		if (high != 0 && high != -1)
			return X86_TRANSLATE_FAULT | X86_TRANSLATE_NONCANONICAL;
	}
	if (c->ops->translate) {
		*w = (struct x86_walk){.page_mask = X86_PAGE_MASK};
		return c->ops->translate(c->ctx, va, access, &w->gpa);
	}
	if (!(c->s.cr0 & X86_CR0_PG)) {
		*w = (struct x86_walk){.gpa = va & 0xffffffff,
			.page_mask = X86_PAGE_MASK,
			.user = true,
			.writable = true,
			.exec = true,
			.dirty = true};
		return 0;
	}
	while (!walk_once(c, va, access, user, smap, set, w, &fault))
		;
	return fault;
}

uint32_t x86_vcpu_translate(
	struct x86_vcpu *v, uint64_t gva, unsigned access, unsigned cpl, uint64_t *gpa)
{
	struct x86_walk w;
	bool smap = (v->s.cr4 & X86_CR4_SMAP) && !(v->s.rflags & X86_FLAG_AC);
	uint32_t fault = x86_walk(v, gva, access, cpl == 3, smap, false, &w);

	if (!fault)
		*gpa = w.gpa;
	return fault;
}
