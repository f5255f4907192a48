/*
 * vcpu.c - one processor: creating it, running it, leaving it.
 *
 * Between blocks vcpu.lin is where execution stands; inside a block the operation tells (x86_sync).
 * Faults and exits unwind to x86_vcpu_run() with longjmp, from any depth.
 */
#include "x86/cpu.h"
#include "x86/fpu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What longjmp brings. */
#define UNWIND_EXCEPTION 1
#define UNWIND_EXIT	 2

/* Whom this thread runs; set only inside x86_vcpu_run(). */
static _Thread_local struct x86_vcpu *current;

struct x86_vcpu *x86_current(const struct x86_machine *m)
{
	return current && current->machine == m ? current : NULL;
}

/* ---- State ---------------------------------------------------------------------------------- */

struct x86_state *x86_vcpu_state(struct x86_vcpu *v)
{
	return &v->s;
}

static uint32_t mode_of(const struct x86_vcpu *c)
{
	const struct x86_state *s = &c->s;
	uint16_t cs = s->seg[X86_CS].attributes;
	uint32_t mode = 0;

	if (s->efer & X86_EFER_LMA)
		mode |= X86_MODE_LMA;
	if ((mode & X86_MODE_LMA) && (cs & X86_SEG_L))
		mode |= X86_MODE_64;
	else if (cs & X86_SEG_DB)
		mode |= X86_MODE_32;
	if (!(mode & X86_MODE_64) && (s->seg[X86_SS].attributes & X86_SEG_DB))
		mode |= X86_MODE_SS32;
	if (s->cpl == 3)
		mode |= X86_MODE_USER;
	if ((s->cr0 & X86_CR0_PE) && !(c->rflags & X86_FLAG_VM))
		mode |= X86_MODE_PROT;
	return mode;
}

static enum x86_tlb_kind tlb_kind_of(const struct x86_vcpu *c)
{
	bool ac = c->rflags & X86_FLAG_AC;

	if (c->emulating || x86_debug_active(c))
		return X86_TLB_NONE;
	if (c->s.cpl == 3)
		return ac && (c->s.cr0 & X86_CR0_AM) ? X86_TLB_NONE : X86_TLB_USER;
	return (c->s.cr4 & X86_CR4_SMAP) && !ac ? X86_TLB_KERNEL : X86_TLB_KERNEL_AC;
}

/* Whether the next instruction must be executed alone. Nobody else changes this bit. */
static void select_stepping(struct x86_vcpu *c)
{
	bool step = (c->rflags & X86_FLAG_TF) || c->s.interrupt_shadow || x86_debug_active(c);
	uint32_t now = atomic_load_explicit(&c->attention, memory_order_relaxed);

	if (step == !!(now & X86_ATTN_SINGLE))
		return;
	if (step)
		x86_attend(c, X86_ATTN_SINGLE);
	else
		atomic_fetch_and(&c->attention, ~X86_ATTN_SINGLE);
}

void x86_update_mode(struct x86_vcpu *c)
{
	uint64_t cr0 = c->s.cr0;
	bool flat;

	c->mode = mode_of(c);
	flat = c->mode & X86_MODE_64;
	c->cs_base = flat ? 0 : c->s.seg[X86_CS].base;
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		c->seg_base[i] = flat && i < X86_FS ? 0 : c->s.seg[i].base;
	c->simd_trap = (cr0 & (X86_CR0_EM | X86_CR0_TS)) || !(c->s.cr4 & X86_CR4_OSFXSR);
	c->x87_trap = !!(cr0 & (X86_CR0_EM | X86_CR0_TS));
	c->tlb_kind = tlb_kind_of(c);
	x86_tlb_select(c);
	select_stepping(c);
}

void x86_set_flags(struct x86_vcpu *c, uint32_t flags)
{
	uint32_t changed = c->rflags ^ flags;

	x86_set_arith(c, flags);
	c->rflags = flags & ~(X86_FLAGS_ARITH | X86_FLAG_1);
	if ((flags & X86_FLAG_IF) && c->irq_waiting) {
		c->irq_waiting = false;
		x86_attend(c, X86_ATTN_INTERRUPT);
	}
	if (changed & X86_FLAG_TF)
		select_stepping(c);
	if (changed & X86_FLAG_AC) {
		c->tlb_kind = tlb_kind_of(c);
		x86_tlb_select(c);
	}
}

void x86_sync(struct x86_vcpu *c, const struct x86_op *o)
{
	if (o)
		c->s.rip = x86_op_rip(c, o);
	c->s.rflags = x86_flags(c);
}

/* The state may have been changed from outside: derive everything from it. */
void x86_vcpu_changed(struct x86_vcpu *c)
{
	struct x86_state *s = &c->s;
	bool same = c->seen.cr0 == s->cr0 && c->seen.cr3 == s->cr3 && c->seen.cr4 == s->cr4 &&
		    c->seen.efer == s->efer;

	X86_REG(c, X86_R_ZERO, uint64_t) = 0;
	s->rflags |= X86_FLAG_1;
	x86_fx_normalise(&s->fx);
	x86_set_flags(c, (uint32_t)s->rflags);
	if (!(s->cr0 & X86_CR0_PE))
		s->cpl = 0;
	else if (s->rflags & X86_FLAG_VM)
		s->cpl = 3;
	else
		s->cpl = (s->seg[X86_SS].attributes & X86_SEG_DPL) >> 5;
	x86_update_mode(c);
	if (!same)
		x86_tlb_flush_all(c);
	c->seen.cr0 = s->cr0;
	c->seen.cr3 = s->cr3;
	c->seen.cr4 = s->cr4;
	c->seen.efer = s->efer;
}

/* ---- Leaving -------------------------------------------------------------------------------- */

_Noreturn void x86_raise_event(
	struct x86_vcpu *c, const struct x86_op *o, const struct x86_event *event)
{
	x86_sync(c, o);
	c->exception = *event;
	longjmp(*c->unwind, UNWIND_EXCEPTION);
}

_Noreturn void x86_raise(struct x86_vcpu *c, const struct x86_op *o, unsigned vector)
{
	struct x86_event event = {.valid = true, .type = 3, .vector = (uint8_t)vector};

	x86_raise_event(c, o, &event);
}

_Noreturn void x86_raise_error(
	struct x86_vcpu *c, const struct x86_op *o, unsigned vector, uint32_t error)
{
	struct x86_event event = {.valid = true,
		.type = 3,
		.vector = (uint8_t)vector,
		.has_error = true,
		.error = error};

	x86_raise_event(c, o, &event);
}

/* The bytes at RIP, as far as they can be had without faulting. */
static void fill_instruction(struct x86_vcpu *c, struct x86_exit *exit)
{
	uint64_t lin = c->s.rip + c->cs_base;

	exit->insn_len = 0;
	while (exit->insn_len < 15 && !c->emulating) {
		unsigned have = exit->insn_len;
		unsigned left = (unsigned)(X86_PAGE_SIZE - ((lin + have) & ~X86_PAGE_MASK));
		unsigned n = 15u - have < left ? 15u - have : left;
		struct x86_walk w;
		const void *host;

		if (x86_walk(c, lin + have, X86_ACCESS_EXEC, c->s.cpl == 3, false, false, &w))
			break;
		host = x86_machine_host(c->machine, w.gpa, NULL, NULL);
		if (!host)
			break;
		memcpy(exit->insn + have, host, n);
		exit->insn_len += n;
	}
}

_Noreturn void x86_leave(
	struct x86_vcpu *c, const struct x86_op *o, enum x86_exit_reason reason)
{
	x86_sync(c, o);
	c->exit->reason = reason;
	c->exit->next = o ? o->len : 0;
	fill_instruction(c, c->exit);
	longjmp(*c->unwind, UNWIND_EXIT);
}

/* ---- Between blocks ------------------------------------------------------------------------- */

static void rip_from_lin(struct x86_vcpu *c)
{
	c->s.rip = (c->lin - c->cs_base) & x86_rip_mask(c);
}

static void lin_from_rip(struct x86_vcpu *c)
{
	c->lin = c->s.rip + c->cs_base;
	if (!(c->mode & X86_MODE_64))
		c->lin &= 0xffffffff;
	c->link_from = NULL;
}

static bool finish(struct x86_exit *exit, enum x86_exit_reason reason)
{
	exit->reason = reason;
	exit->next = 0;
	exit->insn_len = 0;
	return false;
}

/* Returns false when the vcpu shut down. */
static bool deliver(struct x86_vcpu *c, const struct x86_event *event)
{
	bool alive;

	x86_sync(c, NULL);
	c->s.interrupt_shadow = false;
	alive = event ? x86_deliver_event(c, event) : x86_deliver_exception(c);
	lin_from_rip(c);
	select_stepping(c);
	return alive || finish(c->exit, X86_EXIT_SHUTDOWN);
}

static bool deliver_interrupt(struct x86_vcpu *c)
{
	struct x86_event event = {.valid = true};
	int vector;

	atomic_fetch_and(&c->attention, ~X86_ATTN_INTERRUPT);
	if (!(c->rflags & X86_FLAG_IF)) {
		c->irq_waiting = true;
		return true;
	}
	x86_sync(c, NULL);
	vector = c->ops->interrupt(c->ctx);
	if (vector < 0)
		return true;
	x86_attend(c, X86_ATTN_INTERRUPT); /* there may be more */
	event.vector = (uint8_t)vector;
	return deliver(c, &event);
}

/* Serves what asks for attention. Returns false to leave x86_vcpu_run(). */
static bool attend(struct x86_vcpu *c, uint32_t attention)
{
	if (attention & X86_ATTN_SAFE) {
		atomic_fetch_and(&c->attention, ~X86_ATTN_SAFE);
		atomic_store(&c->parked, true);
		x86_lock(c->machine, c);
		x86_unlock(c->machine);
		x86_code_sync(c);
	}
	if (attention & X86_ATTN_FLUSH) {
		atomic_fetch_and(&c->attention, ~X86_ATTN_FLUSH);
		x86_tlb_serve_requests(c);
	}
	rip_from_lin(c);
	if (attention & X86_ATTN_STOP) {
		atomic_fetch_and(&c->attention, ~X86_ATTN_STOP);
		return finish(c->exit, X86_EXIT_STOPPED);
	}
	if (attention & X86_ATTN_INJECT) {
		struct x86_event event = c->injected;

		atomic_fetch_and(&c->attention, ~X86_ATTN_INJECT);
		c->injected.valid = false;
		if (event.valid)
			return deliver(c, &event);
	}
	if (c->s.interrupt_shadow)
		return true;
	if ((attention & X86_ATTN_NMI) && !c->s.nmi_masked) {
		struct x86_event event = {.valid = true, .type = 2, .vector = X86_VEC_NMI};

		atomic_fetch_and(&c->attention, ~X86_ATTN_NMI);
		c->s.nmi_pending = false;
		return deliver(c, &event);
	}
	if (attention & X86_ATTN_INTERRUPT)
		return deliver_interrupt(c);
	if ((attention & X86_ATTN_WINDOW) && (c->rflags & X86_FLAG_IF)) {
		atomic_fetch_and(&c->attention, ~X86_ATTN_WINDOW);
		return finish(c->exit, X86_EXIT_INTERRUPT_WINDOW);
	}
	return true;
}

static void execute(struct x86_vcpu *c, struct x86_block *b)
{
	*x86_page(c) = c->lin & X86_PAGE_MASK;
#if X86_TAIL_CALLS
	x86_enter(c, b->ops);
#else
	c->next_op = b->ops;
	while (c->next_op) {
		const struct x86_op *o = c->next_op;

		c->next_op = NULL;
		x86_enter(c, o);
	}
#endif
}

static void execute_single(struct x86_vcpu *c)
{
	bool tf = c->rflags & X86_FLAG_TF, shadow = c->s.interrupt_shadow;
	struct x86_block *b;

	rip_from_lin(c);
	if (!shadow)
		x86_debug_before(c, c->lin);
	b = x86_block_find(c, c->lin, c->mode | X86_MODE_SINGLE);
	c->s.interrupt_shadow = false;
	execute(c, b);
	c->link_from = NULL;
	rip_from_lin(c);
	select_stepping(c);
	x86_debug_after(c, tf);
}

/* Outside 64-bit mode the block's address is to be checked against CS's limit. */
static struct x86_block *jump_cache_find(const struct x86_vcpu *c)
{
	const struct x86_jc_entry *e = x86_jc_at(c, c->lin);

	return x86_jc_is(c, e, c->lin) && (c->mode & X86_MODE_64) ? x86_jc_block(c, e) : NULL;
}

/* An address has one entry at most. What is at its first place moves to the other. */
static void jump_cache_add(struct x86_vcpu *c, const struct x86_block *b)
{
	struct x86_jc_entry *e = x86_jc_at(c, c->lin);

	if (e->lin != c->lin) {
		struct x86_jc_entry *first = x86_jc_first(c, c->lin);

		if (first->tag)
			*e = *first;
		e = first;
	}
	*e = (struct x86_jc_entry){.lin = c->lin,
		.tag = c->jc_tag & ~X86_JC_NATIVE,
		.where = (uint32_t)((const uint8_t *)b - c->code)};
}

/* Finds the block to go on in and remembers it for the next time. */
static void execute_next(struct x86_vcpu *c)
{
	const struct x86_op *from = c->link_from;
	uint64_t epoch = c->jc_epoch;
	struct x86_block *b;

	c->link_from = NULL;
	rip_from_lin(c);
	b = jump_cache_find(c);
	if (!b) {
		b = x86_block_find(c, c->lin, c->mode);
		jump_cache_add(c, b);
	}
	if (from && c->jc_epoch == epoch)
		__atomic_store_n((uint64_t *)&from->imm, (uint64_t)b, __ATOMIC_RELEASE);
	execute(c, b);
}

static bool intercepted(struct x86_vcpu *c)
{
	const struct x86_event *e = &c->exception;

	if (e->vector > 63 || !(c->exception_intercepts >> e->vector & 1))
		return false;
	c->exit->exception.vector = e->vector;
	c->exit->exception.has_error = e->has_error;
	c->exit->exception.error = e->error;
	c->exit->exception.parameter = e->parameter;
	c->exit->reason = X86_EXIT_EXCEPTION;
	c->exit->next = 0;
	fill_instruction(c, c->exit);
	return true;
}

/* ---- Running -------------------------------------------------------------------------------- */

static void run(struct x86_vcpu *c)
{
	jmp_buf env;

	c->unwind = &env;
	switch (setjmp(env)) {
	case UNWIND_EXIT:
		return;
	case UNWIND_EXCEPTION:
		if (intercepted(c) || !deliver(c, NULL))
			return;
		break;
	}
	for (;;) {
		uint32_t attention = atomic_load_explicit(&c->attention, memory_order_acquire);

		if (attention && !attend(c, attention))
			return;
		if (atomic_load_explicit(&c->attention, memory_order_relaxed) & X86_ATTN_SINGLE)
			execute_single(c);
		else
			execute_next(c);
	}
}

static void enter(struct x86_vcpu *c, struct x86_exit *exit)
{
	c->exit = exit;
	c->rmw_pending = 0;
	x86_vcpu_changed(c);
	if (c->s.nmi_pending)
		x86_attend(c, X86_ATTN_NMI);
	lin_from_rip(c);
}

void x86_vcpu_run(struct x86_vcpu *c, struct x86_exit *exit)
{
	x86_lock(c->machine, c);
	x86_unlock(c->machine);
	x86_code_sync(c);
	current = c;
	enter(c, exit);
	run(c);
	current = NULL;
	x86_sync(c, NULL);
	c->seen.cr0 = c->s.cr0;
	c->seen.cr3 = c->s.cr3;
	c->seen.cr4 = c->s.cr4;
	c->seen.efer = c->s.efer;
	atomic_store(&c->code_epoch, X86_EPOCH_IDLE);
	atomic_store(&c->parked, true);
}

void x86_vcpu_stop(struct x86_vcpu *v)
{
	x86_attend(v, X86_ATTN_STOP);
}

void x86_vcpu_interrupt(struct x86_vcpu *v)
{
	x86_attend(v, X86_ATTN_INTERRUPT);
}

void x86_vcpu_nmi(struct x86_vcpu *v)
{
	x86_attend(v, X86_ATTN_NMI);
}

void x86_vcpu_request_window(struct x86_vcpu *v)
{
	x86_attend(v, X86_ATTN_WINDOW);
}

void x86_vcpu_intercept_exceptions(struct x86_vcpu *v, uint64_t bitmap)
{
	v->exception_intercepts = bitmap;
}

void x86_vcpu_inject(struct x86_vcpu *v, unsigned type, uint8_t vector, bool has_error,
	uint32_t error, uint64_t parameter, unsigned length)
{
	v->injected = (struct x86_event){.valid = true,
		.type = (uint8_t)type,
		.vector = vector,
		.has_error = has_error,
		.error = error,
		.parameter = parameter,
		.length = (uint8_t)length};
	x86_attend(v, X86_ATTN_INJECT);
}

uint64_t x86_vcpu_instructions(struct x86_vcpu *v)
{
	return v->instructions;
}

/* ---- Emulating one instruction -------------------------------------------------------------- */

static void emulate(struct x86_vcpu *c, const uint8_t *insn, unsigned length)
{
	struct x86_block *b = c->emulate_block;
	unsigned bytes;
	jmp_buf env;

	c->unwind = &env;
	switch (setjmp(env)) {
	case UNWIND_EXIT:
		return;
	case UNWIND_EXCEPTION:
		c->exception_intercepts = ~0ul;
		intercepted(c);
		return;
	}
	c->exit->reason = X86_EXIT_STOPPED;
	if (!x86_translate(c, c->lin, c->mode | X86_MODE_SINGLE, insn, length, NULL, 0, b->ops,
		    &bytes))
		x86_raise_error(c, NULL, X86_VEC_GP, 0); /* longer than 15 bytes */
	execute(c, b);
	rip_from_lin(c);
}

void x86_vcpu_emulate(
	struct x86_vcpu *c, const uint8_t *insn, unsigned length, struct x86_exit *exit)
{
	c->emulating = true;
	atomic_store(&c->attention, X86_ATTN_STOP); /* nothing chains; strings leave soon */
	*exit = (struct x86_exit){0};
	enter(c, exit);
	emulate(c, insn, length);
	x86_sync(c, NULL);
	c->emulating = false;
}

/* ---- Life ----------------------------------------------------------------------------------- */

#define JUMP_CACHE_BYTES (X86_JC_ENTRIES * sizeof(struct x86_jc_entry))

/* A page's entries must be aligned (x86_jc_other), and memory that is not used costs nothing. */
static struct x86_jc_entry *jump_cache_map(void)
{
	void *jc = mmap(NULL, JUMP_CACHE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return jc == MAP_FAILED ? NULL : jc;
}

static bool allocate(struct x86_vcpu *c)
{
	for (unsigned kind = 0; kind < X86_TLB_KINDS; kind++) {
		c->tlbs[kind].entry = calloc(X86_TLB_ENTRIES, sizeof(struct x86_tlb_entry));
		c->tlbs[kind].gpa = calloc(X86_TLB_ENTRIES, sizeof(uint64_t));
		c->tlbs[kind].gen = 1;
		if (!c->tlbs[kind].entry || !c->tlbs[kind].gpa)
			return false;
	}
	for (unsigned user = 0; user < 2; user++) {
		struct x86_tlb *tlb = &c->tlbs[user ? X86_TLB_USER : X86_TLB_KERNEL];

		tlb->code_page = calloc(X86_CODE_PAGES, sizeof(*tlb->code_page));
		if (!tlb->code_page)
			return false;
	}
	c->jc = jump_cache_map();
	c->pcid_gen = calloc(4096, sizeof(*c->pcid_gen));
	c->emulate_block =
		calloc(1, sizeof(struct x86_block) + X86_BLOCK_OPS * sizeof(struct x86_op));
	return c->jc && c->pcid_gen && c->emulate_block;
}

struct x86_vcpu *x86_vcpu_create(
	struct x86_machine *m, unsigned index, const struct x86_ops *ops, void *ctx)
{
	struct x86_vcpu *c;

	if (index >= m->n_vcpus || m->vcpu[index])
		return NULL;
	c = aligned_alloc(64, (sizeof(*c) + 63) & ~63ul);
	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->machine = m;
	c->code = m->code;
	c->native = x86_compiled_base(m);
	c->index = index;
	c->ops = ops;
	c->ctx = ctx;
	c->gen_next = 2;
	c->parked = true;
	c->code_epoch = X86_EPOCH_IDLE;
	pthread_mutex_init(&c->flush_lock, NULL);
	if (!allocate(c)) {
		x86_vcpu_destroy(c);
		return NULL;
	}
	x86_vcpu_reset(c, false);
	x86_vcpu_changed(c);
	x86_lock(m, NULL);
	m->vcpu[index] = c;
	x86_unlock(m);
	return c;
}

void x86_vcpu_destroy(struct x86_vcpu *c)
{
	if (!c)
		return;
	x86_lock(c->machine, NULL);
	if (c->machine->vcpu[c->index] == c)
		c->machine->vcpu[c->index] = NULL;
	x86_unlock(c->machine);
	for (unsigned kind = 0; kind < X86_TLB_KINDS; kind++) {
		free(c->tlbs[kind].entry);
		free(c->tlbs[kind].gpa);
		free(c->tlbs[kind].code_page);
	}
	if (c->jc)
		munmap(c->jc, JUMP_CACHE_BYTES);
	free(c->pcid_gen);
	free(c->emulate_block);
	pthread_mutex_destroy(&c->flush_lock);
	free(c);
}
