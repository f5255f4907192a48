/*
 * tlb.c - the translation look-aside buffer: filling, flushing, and who may write what.
 *
 * Promises: an entry with a write tag names a page from which no code is decoded (see claim_write
 * and x86_translate's counterpart), so that a write through the TLB never makes code stale; a
 * flush request of another vcpu has taken effect when x86_vcpu_flush() returns.
 *
 * Facts: Intel SDM vol. 3A, 4.10.
 */
#include "x86/mem.h"
#include "x86/system.h"

#include <sched.h>
#include <string.h>

/* ---- Generations ---------------------------------------------------------------------------- */

void x86_tlb_select(struct x86_vcpu *c)
{
	enum x86_tlb_kind exec = c->s.cpl == 3 ? X86_TLB_USER : X86_TLB_KERNEL;

	uint16_t ring = exec == X86_TLB_USER ? 8 * X86_RETURNS : 0;

	if ((c->returns & 0xff00) != ring) {
		uint8_t other = (uint8_t)c->returns;

		c->returns = ring | c->returns_other;
		c->returns_other = other;
	}
	c->code_page = c->tlbs[exec].code_page;
	c->code_gen = c->tlbs[exec].gen;
	c->tlb = c->tlbs[c->tlb_kind].entry;
	c->tlb_gen = c->tlbs[c->tlb_kind].gen;
	c->jc_tag = (uint32_t)c->tlbs[exec].gen << 8 | c->mode | X86_JC_NATIVE;
}

_Static_assert(8 * X86_RETURNS == 0x100, "a ring of vcpu.returns");

static void forget_returns(struct x86_vcpu *c, enum x86_tlb_kind exec)
{
	unsigned first = exec == X86_TLB_USER ? X86_RETURNS : 0;

	memset(c->return_lin + first, 0, X86_RETURNS * sizeof(*c->return_lin));
	memset(c->return_where + first, 0, X86_RETURNS * sizeof(*c->return_where));
}

void x86_returns_forget(struct x86_vcpu *c)
{
	forget_returns(c, X86_TLB_KERNEL);
	forget_returns(c, X86_TLB_USER);
}

static uint64_t new_generation(struct x86_vcpu *c)
{
	if (c->gen_next < 4096)
		return c->gen_next++;
	x86_returns_forget(c);
	for (unsigned kind = 0; kind < X86_TLB_KINDS; kind++) {
		if (c->tlbs[kind].code_page)
			memset(c->tlbs[kind].code_page, 0,
				X86_CODE_PAGES * sizeof(struct x86_code_page));
		memset(c->tlbs[kind].entry, 0, X86_TLB_ENTRIES * sizeof(struct x86_tlb_entry));
		c->tlbs[kind].gen = 1;
		c->tlbs[kind].has_nonglobal = false;
	}
	memset(c->jc, 0, X86_JC_ENTRIES * sizeof(*c->jc));
	memset(c->pcid_gen, 0, 4096 * sizeof(*c->pcid_gen));
	c->gen_next = 3;
	return 2;
}

static unsigned current_pcid(const struct x86_vcpu *c)
{
	return c->s.cr4 & X86_CR4_PCIDE ? c->s.cr3 & 0xfff : 0;
}

static void renew_kernel(struct x86_vcpu *c)
{
	forget_returns(c, X86_TLB_KERNEL);
	c->tlbs[X86_TLB_KERNEL].gen = new_generation(c);
	c->tlbs[X86_TLB_KERNEL].has_nonglobal = false;
}

static void renew_others(struct x86_vcpu *c)
{
	uint64_t gen = new_generation(c);

	forget_returns(c, X86_TLB_USER);
	c->tlbs[X86_TLB_USER].gen = gen;
	c->tlbs[X86_TLB_KERNEL_AC].gen = gen;
	c->pcid_gen[current_pcid(c)] = (uint16_t)gen;
}

void x86_tlb_flush_all(struct x86_vcpu *c)
{
	memset(c->pcid_gen, 0, 4096 * sizeof(*c->pcid_gen));
	memset(c->large_2m, 0, sizeof(c->large_2m));
	memset(c->large_1g, 0, sizeof(c->large_1g));
	renew_kernel(c);
	renew_others(c);
	x86_tlb_select(c);
}

void x86_tlb_flush_nonglobal(struct x86_vcpu *c)
{
	if (c->tlbs[X86_TLB_KERNEL].has_nonglobal)
		renew_kernel(c);
	renew_others(c);
	x86_tlb_select(c);
}

void x86_tlb_flush_pcid(struct x86_vcpu *c, unsigned pcid)
{
	if (pcid == current_pcid(c))
		x86_tlb_flush_nonglobal(c);
	else
		c->pcid_gen[pcid] = 0;
}

void x86_tlb_switch(struct x86_vcpu *c, bool keep_pcid)
{
	uint64_t gen = keep_pcid ? c->pcid_gen[current_pcid(c)] : 0;

	if (!gen) {
		x86_tlb_flush_nonglobal(c);
		return;
	}
	forget_returns(c, X86_TLB_USER);
	c->tlbs[X86_TLB_USER].gen = gen;
	c->tlbs[X86_TLB_KERNEL_AC].gen = gen;
	if (c->tlbs[X86_TLB_KERNEL].has_nonglobal)
		renew_kernel(c);
	x86_tlb_select(c);
}

/* ---- Single pages --------------------------------------------------------------------------- */

static void bloom_add(uint64_t *filter, uint64_t region)
{
	filter[(region >> 6) & 63] |= 1ul << (region & 63);
}

static bool bloom_has(const uint64_t *filter, uint64_t region)
{
	return filter[(region >> 6) & 63] >> (region & 63) & 1;
}

static void drop_page(struct x86_vcpu *c, uint64_t page)
{
	for (unsigned kind = 0; kind < X86_TLB_NONE; kind++) {
		struct x86_tlb_entry *e =
			&c->tlbs[kind].entry[(page >> 12) & (X86_TLB_ENTRIES - 1)];

		if ((e->tag_r & X86_PAGE_MASK) == page || (e->tag_w & X86_PAGE_MASK) == page ||
			(e->tag_x & X86_PAGE_MASK) == page)
			e->tag_r = e->tag_w = e->tag_x = 0;
		if (c->tlbs[kind].code_page &&
			(x86_code_page(c->tlbs[kind].code_page, page)->key & X86_PAGE_MASK) == page)
			x86_code_page(c->tlbs[kind].code_page, page)->key = 0;
	}
	for (unsigned i = 0; i < 2 * X86_RETURNS; i++)
		if ((c->return_lin[i] & X86_PAGE_MASK) == page)
			c->return_lin[i] = c->return_where[i] = 0;
	struct x86_jc_entry *jc = x86_jc_page(c, page);

	for (unsigned i = 0; i < X86_JC_OF_PAGE; i++)
		if ((jc[i].lin & X86_PAGE_MASK) == page)
			jc[i].tag = 0;
}

void x86_tlb_flush_page(struct x86_vcpu *c, uint64_t va)
{
	if (bloom_has(c->large_1g, va >> 30)) {
		x86_tlb_flush_all(c);
		return;
	}
	if (!bloom_has(c->large_2m, va >> 21)) {
		drop_page(c, va & X86_PAGE_MASK);
		return;
	}
	uint64_t base = va & ~0x1ffffful;

	for (uint64_t page = base; page < base + 0x200000; page += X86_PAGE_SIZE)
		drop_page(c, page);
}

/* ---- Requests from other threads ------------------------------------------------------------ */

void x86_tlb_serve_requests(struct x86_vcpu *c)
{
	pthread_mutex_lock(&c->flush_lock);
	if (c->flush.all && c->flush.global)
		x86_tlb_flush_all(c);
	else if (c->flush.all)
		x86_tlb_flush_nonglobal(c);
	for (unsigned i = 0; i < c->flush.count && !c->flush.all; i++)
		x86_tlb_flush_page(c, c->flush.gva[i]);
	c->flush.all = c->flush.global = false;
	c->flush.count = 0;
	atomic_store(&c->flush_done, atomic_load(&c->flush_asked));
	pthread_mutex_unlock(&c->flush_lock);
}

static void flush_request(struct x86_vcpu *v, bool global, const uint64_t *gva, unsigned count)
{
	pthread_mutex_lock(&v->flush_lock);
	if (!count || v->flush.count + count > 16) {
		v->flush.all = true;
		v->flush.global |= global || count;
	} else {
		memcpy(&v->flush.gva[v->flush.count], gva, count * sizeof(*gva));
		v->flush.count += count;
	}
	atomic_fetch_add(&v->flush_asked, 1);
	x86_attend(v, X86_ATTN_FLUSH);
	pthread_mutex_unlock(&v->flush_lock);
}

void x86_vcpu_flush(struct x86_machine *m, struct x86_vcpu *caller, uint64_t mask, bool global,
	const uint64_t *gva, unsigned count)
{
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpu[i] && (mask >> i & 1))
			flush_request(m->vcpu[i], global, gva, count);
	if (caller)
		atomic_store(&caller->parked, true);
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		struct x86_vcpu *v = m->vcpu[i];

		if (!v || v == caller || !(mask >> i & 1))
			continue;
		while (!atomic_load(&v->parked) &&
			(int32_t)(atomic_load(&v->flush_asked) - atomic_load(&v->flush_done)) > 0)
			sched_yield();
	}
	if (!caller)
		return;
	x86_lock(m, caller);
	x86_unlock(m);
	if (mask >> caller->index & 1)
		x86_tlb_serve_requests(caller);
}

/* ---- Filling -------------------------------------------------------------------------------- */

/*
 * A vcpu is about to hold @page writable. The translator marks a page as code, then looks who may
 * write it; here it is the other way round, with full ordering: one of the two sees the other.
 */
static bool claim_write(struct x86_vcpu *c, struct x86_page *page)
{
	uint8_t me = (uint8_t)(c->index + 1), seen = 0;

	if (!atomic_compare_exchange_strong(&page->writer, &seen, me) && seen != me)
		atomic_store(&page->writer, 255);
	return !atomic_load(&page->code);
}

static void enter(struct x86_vcpu *c, enum x86_tlb_kind kind, uint64_t va,
	const struct x86_walk *w, struct x86_slot *slot)
{
	struct x86_tlb *tlb = &c->tlbs[kind];
	unsigned i = (va >> 12) & (X86_TLB_ENTRIES - 1);
	struct x86_tlb_entry *e = &tlb->entry[i];
	uint64_t page = va & X86_PAGE_MASK, tag = page | tlb->gen;
	uint64_t gpa = w->gpa & X86_PAGE_MASK;
	bool user = kind == X86_TLB_USER;
	bool data = user ? w->user : !(kind == X86_TLB_KERNEL && w->user);
	bool exec = w->exec && (user ? w->user : !(w->user && (c->s.cr4 & X86_CR4_SMEP)));
	bool write = data && w->dirty && (w->writable || (!user && !(c->s.cr0 & X86_CR0_WP)));

	if (kind == X86_TLB_KERNEL && !(c->s.cr4 & X86_CR4_SMAP))
		data = false; /* data goes through KERNEL_AC then */
	if (!(w->global && (c->s.cr4 & X86_CR4_PGE)))
		tlb->has_nonglobal = true;
	if (~w->page_mask > 0x1fffff)
		bloom_add(c->large_1g, va >> 30);
	else if (~w->page_mask > 0xfff)
		bloom_add(c->large_2m, va >> 21);
	e->tag_r = data ? tag : 0;
	e->tag_x = exec && (slot->flags & X86_MAP_EXEC) ? tag : 0;
	e->tag_w = 0;
	e->addend = (uintptr_t)(slot->host + (gpa - slot->gpa)) - page;
	tlb->gpa[i] = gpa;
	if (write && (slot->flags & X86_MAP_WRITE) &&
		claim_write(c, &slot->page[(gpa - slot->gpa) >> 12]))
		e->tag_w = tag;
}

/* Where an access within one page goes. */
struct target {
	uint64_t gpa;
	struct x86_slot *slot; /* NULL: no memory */
	uint8_t *host;
	bool code; /* a write must be told to x86_code_written() */
};

/* A non-canonical address is #SS through the stack segment, else #GP: SDM vol. 3A, 6.15. */
static unsigned noncanonical_vector(const struct x86_op *o)
{
	bool stack = o && (o->base == X86_R(X86_RSP) || o->base == X86_R(X86_RBP));

	return stack && o->seg != X86_FS && o->seg != X86_GS ? X86_VEC_SS : X86_VEC_GP;
}

static enum x86_tlb_kind system_kind(const struct x86_vcpu *c)
{
	return c->s.cr4 & X86_CR4_SMAP ? X86_TLB_KERNEL : X86_TLB_KERNEL_AC;
}

static _Noreturn void raise_translation(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint32_t fault)
{
	if (fault & X86_TRANSLATE_NONCANONICAL)
		x86_raise_error(c, o, noncanonical_vector(o), 0);
	struct x86_event event = {.valid = true,
		.type = 3,
		.vector = X86_VEC_PF,
		.has_error = true,
		.error = fault & 0xffff,
		.parameter = va};
	x86_raise_event(c, o, &event);
}

static void leave_memory(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint64_t gpa,
	unsigned access, bool unmapped)
{
	c->exit->memory.gpa = gpa;
	c->exit->memory.gva = va;
	c->exit->memory.write = access == X86_ACCESS_WRITE;
	c->exit->memory.exec = access == X86_ACCESS_EXEC;
	c->exit->memory.unmapped = unmapped;
	x86_leave(c, o, X86_EXIT_MEMORY);
}

static struct target translate(struct x86_vcpu *c, const struct x86_op *o, uint64_t va,
	unsigned access, enum x86_tlb_kind kind)
{
	bool user = kind == X86_TLB_USER || (kind == X86_TLB_NONE && c->s.cpl == 3);
	bool smap = (c->s.cr4 & X86_CR4_SMAP) &&
		    (kind == X86_TLB_KERNEL ||
			    (kind == X86_TLB_NONE && !(c->rflags & X86_FLAG_AC)));
	struct x86_walk w;
	struct target t;
	uint32_t fault;

	/* Compatibility mode's own addresses are 32 bits wide already, the system's are not. */
	if (!(c->mode & X86_MODE_LMA))
		va &= 0xffffffff;
	if (c->ops->translate)
		x86_sync(c, o);
	fault = x86_walk(c, va, access, user, smap, true, &w);
	if (fault)
		raise_translation(c, o, va, fault);
	t.gpa = w.gpa;
	t.slot = x86_slot_find(c->machine, w.gpa);
	t.host = NULL;
	t.code = false;
	if (!t.slot)
		return t;
	if (access == X86_ACCESS_WRITE && !(t.slot->flags & X86_MAP_WRITE))
		leave_memory(c, o, va, w.gpa, access, false);
	t.host = t.slot->host + (w.gpa - t.slot->gpa);
	if (kind == X86_TLB_NONE) {
		/* Nothing is cached, so this may be a write nobody could have been told of. */
		struct x86_page *page = &t.slot->page[(w.gpa - t.slot->gpa) >> 12];

		t.code = access == X86_ACCESS_WRITE && !claim_write(c, page);
		return t;
	}
	enter(c, kind, va, &w, t.slot);
	if (access == X86_ACCESS_WRITE)
		t.code = atomic_load(&t.slot->page[(w.gpa - t.slot->gpa) >> 12].code);
	return t;
}

uint64_t x86_fetch_gpa(struct x86_vcpu *c, uint64_t lin, const uint8_t **host)
{
	enum x86_tlb_kind kind = c->s.cpl == 3 ? X86_TLB_USER : X86_TLB_KERNEL;
	struct x86_tlb *tlb = &c->tlbs[kind];
	unsigned i = (lin >> 12) & (X86_TLB_ENTRIES - 1);
	struct x86_tlb_entry *e = &tlb->entry[i];

	if (likely(e->tag_x == ((lin & X86_PAGE_MASK) | tlb->gen))) {
		*host = (const uint8_t *)(lin + e->addend);
		return tlb->gpa[i] | (lin & 0xfff);
	}
	struct target t = translate(c, NULL, lin, X86_ACCESS_EXEC, kind);

	if (!t.slot)
		leave_memory(c, NULL, lin, t.gpa, X86_ACCESS_EXEC, true);
	if (!(t.slot->flags & X86_MAP_EXEC))
		leave_memory(c, NULL, lin, t.gpa, X86_ACCESS_EXEC, false);
	*host = t.host;
	return t.gpa;
}

/* ---- Slow paths ----------------------------------------------------------------------------- */

static void check_access(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, bool write)
{
	if (c->tlb_kind != X86_TLB_NONE || c->emulating)
		return;
	/* A non-canonical address comes first: translating it raises that. */
	if (c->s.cpl == 3 && (c->s.cr0 & X86_CR0_AM) && (c->rflags & X86_FLAG_AC) && size <= 8 &&
		(va & (size - 1)) && x86_canonical(va))
		x86_raise_error(c, o, X86_VEC_AC, 0);
	x86_debug_data(c, va, size, write);
}

static uint64_t mmio_load(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	x86_sync(c, o);
	if (c->ops->mmio_read(c->ctx, gpa, size, &value) != X86_DONE)
		leave_memory(c, o, va, gpa, X86_ACCESS_READ, true);
	return value;
}

static void mmio_store(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, uint64_t gpa,
	unsigned size, uint64_t value)
{
	x86_sync(c, o);
	if (c->ops->mmio_write(c->ctx, gpa, size, value) != X86_DONE)
		leave_memory(c, o, va, gpa, X86_ACCESS_WRITE, true);
}

static void target_read(struct x86_vcpu *c, const struct x86_op *o, uint64_t va,
	const struct target *t, void *data, unsigned size)
{
	if (t->host) {
		memcpy(data, t->host, size);
		return;
	}
	for (unsigned done = 0; done < size;) {
		unsigned n = size - done > 8 ? 8 : size - done;
		uint64_t value = mmio_load(c, o, va + done, t->gpa + done, n);

		memcpy((uint8_t *)data + done, &value, n);
		done += n;
	}
}

static void target_write(struct x86_vcpu *c, const struct x86_op *o, uint64_t va,
	const struct target *t, const void *data, unsigned size)
{
	if (t->host) {
		memcpy(t->host, data, size);
		if (t->code)
			x86_code_written(c->machine, c, t->gpa, size);
		return;
	}
	for (unsigned done = 0; done < size;) {
		unsigned n = size - done > 8 ? 8 : size - done;
		uint64_t value = 0;

		memcpy(&value, (const uint8_t *)data + done, n);
		mmio_store(c, o, va + done, t->gpa + done, n, value);
		done += n;
	}
}

static unsigned to_page_end(uint64_t va, unsigned size)
{
	unsigned left = (unsigned)(X86_PAGE_SIZE - (va & ~X86_PAGE_MASK));

	return size < left ? size : left;
}

static void read_kind(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, void *data,
	unsigned size, enum x86_tlb_kind kind)
{
	unsigned first = to_page_end(va, size);
	struct target a = translate(c, o, va, X86_ACCESS_READ, kind), b;

	if (first < size)
		b = translate(c, o, va + first, X86_ACCESS_READ, kind);
	target_read(c, o, va, &a, data, first);
	if (first < size)
		target_read(c, o, va + first, &b, (uint8_t *)data + first, size - first);
}

static void write_kind(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, const void *data,
	unsigned size, enum x86_tlb_kind kind)
{
	unsigned first = to_page_end(va, size);
	struct target a = translate(c, o, va, X86_ACCESS_WRITE, kind), b;

	if (first < size)
		b = translate(c, o, va + first, X86_ACCESS_WRITE, kind);
	target_write(c, o, va, &a, data, first);
	if (first < size)
		target_write(c, o, va + first, &b, (const uint8_t *)data + first, size - first);
}

void x86_read(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, void *data, unsigned size)
{
	check_access(c, o, va, size, false);
	read_kind(c, o, va, data, size, c->tlb_kind);
}

void x86_write(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, const void *data, unsigned size)
{
	check_access(c, o, va, size, true);
	write_kind(c, o, va, data, size, c->tlb_kind);
}

void x86_probe_write(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size)
{
	unsigned first = to_page_end(va, size);

	check_access(c, o, va, size, true);
	translate(c, o, va, X86_ACCESS_WRITE, c->tlb_kind);
	if (first < size)
		translate(c, o, va + first, X86_ACCESS_WRITE, c->tlb_kind);
}

void x86_sys_read(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, void *data, unsigned size)
{
	read_kind(c, o, va, data, size, c->emulating ? X86_TLB_NONE : system_kind(c));
}

void x86_sys_write(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, const void *data, unsigned size)
{
	write_kind(c, o, va, data, size, c->emulating ? X86_TLB_NONE : system_kind(c));
}

uint64_t x86_load_slow(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size)
{
	uint64_t value = 0;

	check_access(c, o, va, size, false);
	if (to_page_end(va, size) < size) {
		read_kind(c, o, va, c->bounce, size, c->tlb_kind);
		memcpy(&value, c->bounce, size);
		return value;
	}
	struct target t = translate(c, o, va, X86_ACCESS_READ, c->tlb_kind);

	if (!t.host)
		return mmio_load(c, o, va, t.gpa, size);
	switch (size) { /* one access of the natural size: others may be writing */
	case 1:
		return __atomic_load_n((uint8_t *)t.host, __ATOMIC_RELAXED);
	case 2:
		return __atomic_load_n((uint16_t *)t.host, __ATOMIC_RELAXED);
	case 4:
		return __atomic_load_n((uint32_t *)t.host, __ATOMIC_RELAXED);
	default:
		return __atomic_load_n((uint64_t *)t.host, __ATOMIC_RELAXED);
	}
}

void x86_store_slow(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, uint64_t value)
{
	check_access(c, o, va, size, true);
	if (to_page_end(va, size) < size) {
		memcpy(c->bounce, &value, sizeof(value));
		write_kind(c, o, va, c->bounce, size, c->tlb_kind);
		return;
	}
	struct target t = translate(c, o, va, X86_ACCESS_WRITE, c->tlb_kind);

	if (!t.host) {
		mmio_store(c, o, va, t.gpa, size, value);
		return;
	}
	switch (size) {
	case 1:
		__atomic_store_n((uint8_t *)t.host, (uint8_t)value, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)t.host, (uint16_t)value, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)t.host, (uint32_t)value, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)t.host, value, __ATOMIC_RELAXED);
		break;
	}
	if (t.code)
		x86_code_written(c->machine, c, t.gpa, size);
}

/* What x86_rmw_finish() has to do. */
#define RMW_CODE   1 /* the write went to memory that code was decoded from */
#define RMW_BOUNCE 2 /* write the bounce buffer back */
#define RMW_LOCKED 4 /* and let the others go on */

/* The memory map may have changed while the lock was waited for. */
static bool target_valid(struct x86_vcpu *c, const struct target *t)
{
	return x86_machine_host(c->machine, t->gpa, NULL, NULL) == t->host;
}

/* A locked access across two pages of memory: everybody else stands still until it is done. */
static void *rmw_alone(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size,
	const struct target *a, const struct target *b)
{
	unsigned first = to_page_end(va, size);

	x86_lock(c->machine, c);
	x86_stop_others(c->machine, c);
	if (!target_valid(c, a) || !target_valid(c, b)) {
		x86_unlock(c->machine);
		return NULL;
	}
	c->rmw_pending = RMW_BOUNCE | RMW_LOCKED;
	target_read(c, o, va, a, c->bounce, first);
	target_read(c, o, va + first, b, c->bounce + first, size - first);
	return c->bounce;
}

void *x86_rmw_slow(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, bool locked)
{
	unsigned first = to_page_end(va, size);
	struct target a, b;

	check_access(c, o, va, size, true);
	c->rmw_va = va;
	c->rmw_size = size;
	for (;;) {
		a = translate(c, o, va, X86_ACCESS_WRITE, c->tlb_kind);
		c->rmw_gpa = a.gpa;
		if (first == size)
			break;
		b = translate(c, o, va + first, X86_ACCESS_WRITE, c->tlb_kind);
		if (!locked || !a.host || !b.host)
			break;
		if (rmw_alone(c, o, va, size, &a, &b))
			return c->bounce;
	}
	if (first == size && a.host) {
		c->rmw_pending = a.code ? RMW_CODE : 0;
		return a.host;
	}
	target_read(c, o, va, &a, c->bounce, first);
	if (first < size)
		target_read(c, o, va + first, &b, c->bounce + first, size - first);
	c->rmw_pending = RMW_BOUNCE;
	return c->bounce;
}

void x86_rmw_finish(struct x86_vcpu *c, const struct x86_op *o)
{
	uint8_t pending = c->rmw_pending;

	c->rmw_pending = 0;
	if (pending & RMW_CODE)
		x86_code_written(c->machine, c, c->rmw_gpa, c->rmw_size);
	if (pending & RMW_BOUNCE)
		write_kind(c, o, c->rmw_va, c->bounce, c->rmw_size, c->tlb_kind);
	if (pending & RMW_LOCKED)
		x86_unlock(c->machine);
}
