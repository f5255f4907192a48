/*
 * block.c - the machine: guest-physical memory and the cache of decoded code.
 *
 * Blocks are found by guest-physical address and mode, without a lock; made and dropped under the
 * machine's lock. Their memory comes from an arena of two halves. When one is full the other takes
 * over, empty; nobody's block disappears under it, since a half is only used again once every vcpu
 * has been at a block boundary after the last change (vcpu.code_epoch). A dropped block stays where
 * it is: its operations become op_stale(), so whoever is inside it leaves at the next
 * instruction, which is how self-modifying code is exact.
 *
 * "Parked" says of a vcpu that it is not between looking into its TLB and the access: it is
 * outside x86_vcpu_run(), or waits for the lock. Whoever holds the lock may wait for all others to
 * be parked, and then nothing of theirs moves until the unlock.
 */
#include "x86/cpu.h"
#include "x86/native.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- The lock ------------------------------------------------------------------------------- */

void x86_lock(struct x86_machine *m, struct x86_vcpu *c)
{
	if (!c)
		c = x86_current(m);
	if (c && pthread_mutex_trylock(&m->lock) != 0) {
		atomic_store(&c->parked, true);
		pthread_mutex_lock(&m->lock);
	} else if (!c) {
		pthread_mutex_lock(&m->lock);
	}
	if (c)
		atomic_store(&c->parked, false);
}

void x86_unlock(struct x86_machine *m)
{
	pthread_mutex_unlock(&m->lock);
}

void x86_stop_others(struct x86_machine *m, struct x86_vcpu *c)
{
	if (!c)
		c = x86_current(m);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpu[i] && m->vcpu[i] != c)
			x86_attend(m->vcpu[i], X86_ATTN_SAFE);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		while (m->vcpu[i] && m->vcpu[i] != c && !atomic_load(&m->vcpu[i]->parked))
			sched_yield();
}

/* ---- Memory map ----------------------------------------------------------------------------- */

struct x86_slot *x86_slot_find(struct x86_machine *m, uint64_t gpa)
{
	unsigned low = 0, high = m->n_slots;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		struct x86_slot *s = &m->slots[middle];

		if (gpa < s->gpa)
			high = middle;
		else if (gpa - s->gpa >= s->size)
			low = middle + 1;
		else
			return s;
	}
	return NULL;
}

void *x86_machine_host(struct x86_machine *m, uint64_t gpa, uint64_t *left, unsigned *flags)
{
	struct x86_slot *slot = x86_slot_find(m, gpa);

	if (!slot)
		return NULL;
	if (left)
		*left = slot->size - (gpa - slot->gpa);
	if (flags)
		*flags = slot->flags;
	return slot->host + (gpa - slot->gpa);
}

/* Appends [gpa, gpa + size) of memory to a new map. */
static int slot_append(struct x86_slot *slots, unsigned *n, uint64_t gpa, uint64_t size,
	uint8_t *host, unsigned flags)
{
	struct x86_slot *s = &slots[*n];

	if (!size)
		return 0;
	*s = (struct x86_slot){.gpa = gpa, .size = size, .host = host, .flags = flags};
	s->page = calloc(size / X86_PAGE_SIZE, sizeof(*s->page));
	if (!s->page)
		return -ENOMEM;
	(*n)++;
	return 0;
}

static void slots_free(struct x86_slot *slots, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(slots[i].page);
	free(slots);
}

static void code_forget(struct x86_machine *m);

/* The map without [gpa, gpa + size), plus, with @host, new memory there. */
static int map_change(
	struct x86_machine *m, uint64_t gpa, uint8_t *host, uint64_t size, unsigned flags)
{
	struct x86_slot *slots = calloc(m->n_slots + 2, sizeof(*slots));
	uint64_t end = gpa + size;
	bool placed = !host;
	unsigned n = 0;
	int err = slots ? 0 : -ENOMEM;

	for (unsigned i = 0; i < m->n_slots && !err; i++) {
		struct x86_slot *s = &m->slots[i];
		uint64_t s_end = s->gpa + s->size;

		if (s->gpa < gpa)
			err = slot_append(slots, &n, s->gpa, (s_end < gpa ? s_end : gpa) - s->gpa,
				s->host, s->flags);
		if (!err && !placed && s_end > gpa) {
			err = slot_append(slots, &n, gpa, size, host, flags);
			placed = true;
		}
		if (!err && s_end > end) {
			uint64_t from = s->gpa > end ? s->gpa : end;

			err = slot_append(slots, &n, from, s_end - from,
				s->host + (from - s->gpa), s->flags);
		}
	}
	if (!err && !placed)
		err = slot_append(slots, &n, gpa, size, host, flags);
	if (err) {
		if (slots)
			slots_free(slots, n);
		return err;
	}
	slots_free(m->slots, m->n_slots);
	m->slots = slots;
	m->n_slots = n;
	return 0;
}

static int map_locked(
	struct x86_machine *m, uint64_t gpa, uint8_t *host, uint64_t size, unsigned flags)
{
	uint64_t limit = 1ul << X86_PHYSICAL_BITS;
	int err;

	if ((gpa | size | (uintptr_t)host) & ~X86_PAGE_MASK || !size || gpa >= limit ||
		size > limit - gpa)
		return -EINVAL;
	x86_lock(m, NULL);
	x86_stop_others(m, NULL);
	err = map_change(m, gpa, host, size, flags);
	if (!err)
		code_forget(m);
	for (unsigned i = 0; i < m->n_vcpus && !err; i++)
		if (m->vcpu[i])
			x86_tlb_flush_all(m->vcpu[i]);
	x86_unlock(m);
	return err;
}

int x86_machine_map(
	struct x86_machine *m, uint64_t gpa, void *host, uint64_t size, unsigned flags)
{
	return host ? map_locked(m, gpa, host, size, flags) : -EINVAL;
}

int x86_machine_unmap(struct x86_machine *m, uint64_t gpa, uint64_t size)
{
	return map_locked(m, gpa, NULL, size, 0);
}

/* ---- The arena ------------------------------------------------------------------------------ */

static void code_forget(struct x86_machine *m)
{
	for (unsigned i = 0; i < X86_HASH_BUCKETS; i++)
		atomic_store_explicit(&m->hash[i], NULL, memory_order_relaxed);
	memset(m->pages, 0, sizeof(m->pages));
	for (unsigned i = 0; i < m->n_slots; i++)
		for (uint64_t p = 0; p < m->slots[i].size / X86_PAGE_SIZE; p++)
			atomic_store_explicit(
				&m->slots[i].page[p].code, 0, memory_order_relaxed);
	atomic_fetch_add(&m->epoch, 1);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpu[i])
			x86_attend(m->vcpu[i], X86_ATTN_SAFE);
}

void x86_code_sync(struct x86_vcpu *c)
{
	uint64_t epoch = atomic_load(&c->machine->epoch);

	if (c->jc_epoch != epoch) {
		memset(c->jc, 0, X86_JC_ENTRIES * sizeof(*c->jc));
		x86_returns_forget(c);
		c->jc_epoch = epoch;
		c->link_from = NULL;
	}
	atomic_store(&c->code_epoch, epoch);
}

static bool all_synced(struct x86_machine *m, const struct x86_vcpu *c)
{
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		uint64_t seen;

		if (!m->vcpu[i] || m->vcpu[i] == c)
			continue;
		seen = atomic_load(&m->vcpu[i]->code_epoch);
		if (seen != X86_EPOCH_IDLE && seen != atomic_load(&m->epoch))
			return false;
	}
	return true;
}

/* Go over to the other half once nobody can be in it any more. Lock held; may drop it meanwhile. */
static void code_switch(struct x86_machine *m, struct x86_vcpu *c)
{
	uint64_t epoch = atomic_load(&m->epoch);

	while (!all_synced(m, c)) {
		x86_unlock(m);
		sched_yield();
		x86_lock(m, c);
		if (atomic_load(&m->epoch) != epoch)
			return; /* somebody else did it */
	}
	m->half ^= 1;
	m->used = 0;
	x86_compiled_forget(m);
	code_forget(m);
	x86_code_sync(c);
}

#define BLOCK_ALIGN 32u

static struct x86_block *code_alloc(struct x86_machine *m, unsigned n_ops)
{
	size_t bytes = sizeof(struct x86_block) + n_ops * sizeof(struct x86_op);
	struct x86_block *b;

	bytes = (bytes + BLOCK_ALIGN - 1) & ~(size_t)(BLOCK_ALIGN - 1);
	if (m->used + bytes > m->half_bytes)
		return NULL;
	b = (struct x86_block *)(m->code + m->half * m->half_bytes + m->used);
	m->used += bytes;
	return b;
}

size_t x86_machine_code_bytes(struct x86_machine *m)
{
	return m->used;
}

/* ---- Finding and dropping ------------------------------------------------------------------- */

static unsigned hash_of(uint64_t gpa, uint32_t mode)
{
	return (unsigned)((gpa ^ (gpa >> 15) ^ (mode * 0x9e5u)) & (X86_HASH_BUCKETS - 1));
}

static struct x86_block **page_bucket(struct x86_machine *m, uint64_t gpa)
{
	return &m->pages[(gpa >> 12) & (X86_PAGE_BUCKETS - 1)];
}

static bool on_page(const struct x86_block *b, unsigned which, uint64_t gpa)
{
	uint64_t start = which ? b->gpa2 : b->gpa;

	return (start || !which) && ((start ^ gpa) & X86_PAGE_MASK) == 0;
}

static void page_insert(struct x86_machine *m, struct x86_block *b, unsigned which)
{
	struct x86_block **head = page_bucket(m, which ? b->gpa2 : b->gpa);

	b->page_next[which] = *head;
	*head = b;
}

/*
 * Two pages of one block may share a bucket, so each link is told by the page it belongs to: a
 * bucket's chain is walked with the block's own links for that bucket, first page first.
 */
static unsigned link_for(struct x86_machine *m, const struct x86_block *b, struct x86_block **head)
{
	return page_bucket(m, b->gpa) == head ? 0 : 1;
}

static void page_remove(struct x86_machine *m, struct x86_block *b, unsigned which)
{
	struct x86_block **head = page_bucket(m, which ? b->gpa2 : b->gpa);
	struct x86_block **p = head;

	while (*p != b)
		p = &(*p)->page_next[link_for(m, *p, head)];
	*p = b->page_next[which];
}

static void hash_remove(struct x86_machine *m, struct x86_block *b)
{
	struct x86_block *_Atomic *p = &m->hash[hash_of(b->gpa, b->mode)];

	while (atomic_load(p) != b)
		p = &atomic_load(p)->hash_next;
	atomic_store(p, atomic_load(&b->hash_next));
}

static bool two_buckets(struct x86_machine *m, const struct x86_block *b)
{
	return b->gpa2 && page_bucket(m, b->gpa2) != page_bucket(m, b->gpa);
}

/*
 * What a dropped block's operations become: back to the loop, to go on where the last executed
 * instruction ended. That is not always where this operation's begins: instructions that do
 * nothing have no operations.
 */
static void op_stale(struct x86_vcpu *c, const struct x86_op *o)
{
	x86_end_here(c, o - 1);
}

void x86_op_stale_block(struct x86_vcpu *c, const struct x86_op *o)
{
	c->lin = x86_block_lin(c, x86_block_of(o));
	x86_jc_at(c, c->lin)->tag = 0; /* or it would be found there again */
}

/* Out of line: its local variable would keep x86_op_crosses() from jumping on. */
__attribute__((noinline)) static bool crosses_to(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t gpa2)
{
	const uint8_t *host;

	x86_sync(c, o);
	return x86_fetch_gpa(c, *x86_page(c) + X86_PAGE_SIZE, &host) == gpa2;
}

void x86_op_crosses(struct x86_vcpu *c, const struct x86_op *o)
{
	if (likely(crosses_to(c, o, x86_block_of(o)->gpa2)))
		NEXT;
	x86_op_stale_block(c, o);
}

static void block_drop(struct x86_machine *m, struct x86_block *b)
{
	hash_remove(m, b);
	page_remove(m, b, 0);
	if (two_buckets(m, b))
		page_remove(m, b, 1);
	for (unsigned i = 0; i < b->n_ops; i++)
		if (i == 0 || b->ops[i].off != b->ops[i - 1].off)
			__atomic_store_n(&b->ops[i].fn, i ? op_stale : x86_op_stale_block,
				__ATOMIC_RELEASE);
	x86_compiled_drop(m, b);
}

/* Does the block hold bytes of [gpa, gpa + size), which lies in one page? */
static bool block_overlaps(const struct x86_block *b, uint64_t gpa, unsigned size)
{
	unsigned first = b->bytes;

	if (b->gpa2) {
		unsigned here = (unsigned)(X86_PAGE_SIZE - (b->gpa & ~X86_PAGE_MASK));
		unsigned there = b->bytes - here;

		if (on_page(b, 1, gpa) && gpa < b->gpa2 + there && b->gpa2 < gpa + size)
			return true;
		first = here;
	}
	return on_page(b, 0, gpa) && gpa < b->gpa + first && b->gpa < gpa + size;
}

static void page_written(struct x86_machine *m, struct x86_slot *slot, uint64_t gpa, unsigned size)
{
	struct x86_page *page = &slot->page[(gpa - slot->gpa) >> 12];
	struct x86_block **head = page_bucket(m, gpa), *b = *head;
	bool left = false;

	if (!atomic_load(&page->code))
		return;
	while (b) {
		struct x86_block *next = b->page_next[link_for(m, b, head)];

		if (block_overlaps(b, gpa, size))
			block_drop(m, b);
		else
			left |= on_page(b, 0, gpa) || on_page(b, 1, gpa);
		b = next;
	}
	if (!left)
		atomic_store(&page->code, 0);
}

void x86_code_written(struct x86_machine *m, struct x86_vcpu *c, uint64_t gpa, unsigned size)
{
	struct x86_slot *slot;

	x86_lock(m, c);
	slot = x86_slot_find(m, gpa);
	if (slot)
		page_written(m, slot, gpa, size);
	x86_unlock(m);
}

/* One lock for all pages: most hold no code, and then there is nothing more to it than a look. */
void x86_machine_written(struct x86_machine *m, uint64_t gpa, uint64_t size)
{
	x86_lock(m, NULL);
	while (size) {
		uint64_t left = X86_PAGE_SIZE - (gpa & ~X86_PAGE_MASK);
		unsigned n = (unsigned)(size < left ? size : left);
		struct x86_slot *slot = x86_slot_find(m, gpa);

		if (slot)
			page_written(m, slot, gpa, n);
		gpa += n;
		size -= n;
	}
	x86_unlock(m);
}

/* ---- Making --------------------------------------------------------------------------------- */

/* Takes the right to write the page through the TLB away from a vcpu. */
static void revoke_write(struct x86_vcpu *v, const uint8_t *host_page)
{
	for (unsigned kind = 0; kind < X86_TLB_NONE; kind++)
		for (unsigned i = 0; i < X86_TLB_ENTRIES; i++) {
			struct x86_tlb_entry *e = &v->tlbs[kind].entry[i];

			if (e->tag_w && (const uint8_t *)((e->tag_w & X86_PAGE_MASK) +
						 e->addend) == host_page)
				e->tag_w = 0;
		}
}

/* From now on every write to the page is told to x86_code_written(). Lock held. */
static void mark_code(struct x86_machine *m, struct x86_vcpu *c, uint64_t gpa)
{
	struct x86_slot *slot = x86_slot_find(m, gpa);
	uint64_t offset = (gpa - slot->gpa) & X86_PAGE_MASK;
	struct x86_page *page = &slot->page[offset >> 12];
	uint8_t writer;

	if (atomic_load(&page->code))
		return;
	atomic_store(&page->code, 1);
	writer = atomic_exchange(&page->writer, 0);
	if (!writer)
		return;
	if (writer != c->index + 1)
		x86_stop_others(m, c);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpu[i] && (writer == 255 || writer == i + 1))
			revoke_write(m->vcpu[i], slot->host + offset);
}

static struct x86_block *hash_next(
	struct x86_block *b, uint64_t gpa, uint32_t mode)
{
	while (b && (b->gpa != gpa || b->mode != mode))
		b = atomic_load(&b->hash_next);
	return b;
}

/* The block at @lin and @gpa; where it reaches into the next page, that is looked up as well. */
static struct x86_block *hash_find(struct x86_vcpu *c, uint64_t lin, uint64_t gpa, uint32_t mode)
{
	struct x86_block *b = atomic_load(&c->machine->hash[hash_of(gpa, mode)]);
	const uint8_t *host;

	for (b = hash_next(b, gpa, mode); b;
		b = hash_next(atomic_load(&b->hash_next), gpa, mode))
		if (!b->gpa2 || x86_fetch_gpa(c, (lin | ~X86_PAGE_MASK) + 1, &host) == b->gpa2)
			return b;
	return NULL;
}

/* The same by addresses alone, with the lock held: somebody may have made it meanwhile. */
static struct x86_block *hash_find_locked(
	struct x86_machine *m, uint64_t gpa, uint64_t gpa2, uint32_t mode)
{
	struct x86_block *b = atomic_load(&m->hash[hash_of(gpa, mode)]);

	b = hash_next(b, gpa, mode);
	while (b && b->gpa2 != gpa2)
		b = hash_next(atomic_load(&b->hash_next), gpa, mode);
	return b;
}

static void publish(struct x86_machine *m, struct x86_block *b)
{
	struct x86_block *_Atomic *bucket = &m->hash[hash_of(b->gpa, b->mode)];

	page_insert(m, b, 0);
	if (two_buckets(m, b))
		page_insert(m, b, 1);
	atomic_store(&b->hash_next, atomic_load(bucket));
	atomic_store(bucket, b);
}

/* Where a block's bytes are: its page and, for an instruction that crosses, the next one. */
struct source {
	uint64_t gpa, gpa2;
	const uint8_t *host, *host2; /* host2 NULL: one page is hoped to do */
};

/* The memory map may have changed while the lock was waited for. */
static bool source_valid(struct x86_machine *m, const struct source *s)
{
	return x86_machine_host(m, s->gpa, NULL, NULL) == s->host &&
	       (!s->host2 || x86_machine_host(m, s->gpa2, NULL, NULL) == s->host2);
}

/* Returns the block, or NULL when it needs the second page. Lock held. */
static struct x86_block *make_locked(
	struct x86_vcpu *c, uint64_t lin, const struct source *s, uint32_t mode)
{
	struct x86_machine *m = c->machine;
	unsigned here = (unsigned)(X86_PAGE_SIZE - (lin & ~X86_PAGE_MASK));
	struct x86_op ops[X86_BLOCK_OPS];
	struct x86_block *b;
	unsigned n, bytes;

	for (;;) {
		mark_code(m, c, s->gpa);
		if (s->host2)
			mark_code(m, c, s->gpa2);
		n = x86_translate(
			c, lin, mode, s->host, here, s->host2, s->host2 ? 15 : 0, ops, &bytes);
		if (!n)
			return NULL;
		b = code_alloc(m, n);
		if (b)
			break;
		code_switch(m, c);
	}
	b->gpa = s->gpa;
	b->gpa2 = bytes > here ? s->gpa2 : 0;
	b->mode = mode;
	b->bytes = (uint16_t)bytes;
	b->n_ops = (uint16_t)n;
	b->heat = 0;
	b->native = 0;
	memcpy(b->ops, ops, n * sizeof(*ops));
	publish(m, b);
	return b;
}

struct x86_block *x86_block_find(struct x86_vcpu *c, uint64_t lin, uint32_t mode)
{
	struct x86_machine *m = c->machine;
	struct source s = {0};
	bool two = false;

	if (!(c->mode & X86_MODE_64) &&
		(uint32_t)(lin - c->cs_base) > c->s.seg[X86_CS].limit)
		x86_raise_error(c, NULL, X86_VEC_GP, 0);

	for (;;) {
		struct x86_block *b = NULL;

		s.gpa = x86_fetch_gpa(c, lin, &s.host);
		b = hash_find(c, lin, s.gpa, mode);
		if (b)
			return b;
		if (two) /* raises what fetching the instruction's end raises */
			s.gpa2 = x86_fetch_gpa(c, (lin | ~X86_PAGE_MASK) + 1, &s.host2);
		x86_lock(m, c);
		if (source_valid(m, &s)) {
			b = hash_find_locked(m, s.gpa, s.gpa2, mode);
			if (!b)
				b = make_locked(c, lin, &s, mode);
			two = !b;
		}
		x86_unlock(m);
		if (b)
			return b;
	}
}

/* ---- Life ----------------------------------------------------------------------------------- */

struct x86_machine *x86_machine_create(unsigned vcpus, size_t code_bytes)
{
	struct x86_machine *m = calloc(1, sizeof(*m));
	pthread_mutexattr_t attr;

	/* Jump caches have offsets of 32 bits. */
	if (!m || vcpus < 1 || vcpus > 64 || code_bytes > UINT32_MAX)
		goto fail;
	m->emitters = x86_emitters_create();
	m->native = x86_native_create();
	if (!m->emitters || !m->native)
		goto fail;
	m->n_vcpus = vcpus;
	m->half_bytes = code_bytes / 2 & ~(size_t)(BLOCK_ALIGN - 1);
	m->code = mmap(NULL, 2 * m->half_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->code == MAP_FAILED)
		goto fail;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&m->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return m;
fail:
	if (m) {
		x86_native_destroy(m->native);
		x86_emitters_destroy(m->emitters);
	}
	free(m);
	return NULL;
}

void x86_machine_destroy(struct x86_machine *m)
{
	if (!m)
		return;
	slots_free(m->slots, m->n_slots);
	munmap(m->code, 2 * m->half_bytes);
	x86_compiled_destroy(m);
	x86_native_destroy(m->native);
	x86_emitters_destroy(m->emitters);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
