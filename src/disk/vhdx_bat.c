/*
 * vhdx_bat.c - blocks: what the block allocation table and the sector bitmaps say, and how it
 * changes.
 *
 * A payload block's life, as we lead it:
 *   without a parent	NOT_PRESENT (zeros) -> PRESENT at the first write, in memory before the data
 *			is written, which is as good as after: its room is zeros.
 *   with a parent	NOT_PRESENT (the parent's) -> PARTIAL at the first write, with no bit set;
 *			a bit is set when its sector's data is written, and the last one makes it
 *			PRESENT. The bits of other states mean nothing, so they are cleared first.
 *   either		-> ZERO when it is zeroed or unmapped whole -> PRESENT.
 * Nothing goes back to NOT_PRESENT while the disk is in use.
 *
 * Source: [MS-VHDX] 2.4, 2.5.
 */
#include <errno.h>
#include <string.h>

#include "disk/vhdx_live.h"

#define PAGE_BITS (VHDX_PAGE * 8)

/* ---- Reading --------------------------------------------------------------------------------- */

static bool has_room(enum vhdx_block_state state)
{
	return state == VHDX_BLOCK_PRESENT || state == VHDX_BLOCK_PARTIAL;
}

static int decode(const struct vhdx *v, uint64_t entry, struct vhdx_block *b)
{
	b->entry = entry;
	b->state = entry & VHDX_BAT_STATE;
	b->offset = 0;
	if (!has_room(b->state))
		return b->state <= VHDX_BLOCK_UNMAPPED ? 0 : -EUCLEAN;
	b->offset = VHDX_BAT_OFFSET(entry);
	if (b->state == VHDX_BLOCK_PARTIAL && !v->has_parent)
		return -EUCLEAN;
	return vhdx_payload_fits(v, b->offset, v->block_size) ? 0 : -EUCLEAN;
}

int vhdx_block(struct vhdx *v, uint64_t block, bool nowait, struct vhdx_block *b)
{
	uint64_t entry;
	int err = vhdx_word(v, vhdx_entry_at(v, vhdx_bat_index(v, block)), nowait, &entry);

	return err ? err : decode(v, entry, b);
}

int vhdx_bitmap(struct vhdx *v, uint64_t block, bool nowait, uint64_t *offset)
{
	uint64_t index = vhdx_bitmap_index(v, block >> v->chunk_shift), entry;
	int err = vhdx_word(v, vhdx_entry_at(v, index), nowait, &entry);

	if (err)
		return err;
	*offset = VHDX_BAT_OFFSET(entry);
	switch (entry & VHDX_BAT_STATE) {
	case VHDX_BLOCK_NOT_PRESENT:
		*offset = 0;
		return 0;
	case VHDX_BLOCK_PRESENT:
		return vhdx_payload_fits(v, *offset, VHDX_BITMAP_BLOCK) ? 0 : -EUCLEAN;
	default:
		return -EUCLEAN;
	}
}

/* The sectors of a block, and the first bit of the block in its bitmap block. */
static uint32_t block_sectors(const struct vhdx *v)
{
	return v->block_size >> v->sector_shift;
}

static uint32_t first_bit(const struct vhdx *v, uint64_t block)
{
	return (block & ((1ull << v->chunk_shift) - 1)) * block_sectors(v);
}

/* Where the bitmap of a partial block is; one without is damage. */
static int partial_bitmap(struct vhdx *v, uint64_t block, bool nowait, uint64_t *bitmap)
{
	int err = vhdx_bitmap(v, block, nowait, bitmap);

	return !err && !*bitmap ? -EUCLEAN : err;
}

int vhdx_bits_run(struct vhdx *v, uint64_t block, uint32_t sector, uint32_t n, bool nowait,
	bool *here, uint32_t *run)
{
	uint32_t bit = first_bit(v, block) + sector, end = (bit / PAGE_BITS + 1) * PAGE_BITS;
	uint64_t bitmap, word;
	uint32_t at = bit;
	int err = partial_bitmap(v, block, nowait, &bitmap);

	if (end > bit + n)
		end = bit + n;
	while (!err && at < end) {
		uint32_t left = 64 - at % 64, same;

		err = vhdx_word(v, bitmap + at / 64 * 8, nowait, &word);
		if (err)
			break;
		word >>= at % 64;
		if (at == bit)
			*here = word & 1;
		if (*here)
			word = ~word;
		same = word ? __builtin_ctzll(word) : 64;
		at += same < left ? same : left;
		if (same < left)
			break;
	}
	*run = (at < end ? at : end) - bit;
	return err;
}

int vhdx_bat_read(struct vhdx *v, uint64_t first, unsigned n, uint64_t *entries)
{
	return vhdx_read_cached(v, entries, n * 8ull, vhdx_entry_at(v, first));
}

int vhdx_bat_get(struct vhdx *v, uint64_t index, uint64_t *entry)
{
	return vhdx_word(v, vhdx_entry_at(v, index), false, entry);
}

/* ---- Getting room ---------------------------------------------------------------------------- */

/* What a block becomes, while it is being allocated. */
struct becoming {
	uint64_t block;
	uint64_t bitmap;      /* the new bitmap block, 0: none is needed */
	uint64_t clear;	      /* where the block's bits begin in the file ... */
	uint32_t clear_bytes; /* ... and how many bytes of them must be 0 */
};

/* The block becomes a partial one: it needs a bitmap block, and bits that are 0. */
static int need_bits(struct vhdx_change *c, struct becoming *n)
{
	struct vhdx *v = c->v;
	uint64_t index = vhdx_bitmap_index(v, n->block >> v->chunk_shift), bitmap;
	int err = vhdx_bitmap(v, n->block, c->nowait, &bitmap);

	if (err)
		return err;
	if (!bitmap) {
		err = vhdx_change_need(c, vhdx_entry_at(v, index));
		return err ? err : vhdx_space_zeros(v, VHDX_BITMAP_BLOCK, c->nowait, &n->bitmap);
	}
	n->clear = bitmap + first_bit(v, n->block) / 8;
	n->clear_bytes = block_sectors(v) / 8;
	for (uint64_t at = n->clear; at < n->clear + n->clear_bytes; at += VHDX_PAGE) {
		err = vhdx_change_need(c, at);
		if (err)
			return err;
	}
	return 0;
}

static void store_bits(struct vhdx_change *c, const struct becoming *n)
{
	struct vhdx *v = c->v;
	uint64_t index = vhdx_bitmap_index(v, n->block >> v->chunk_shift), word;

	if (n->bitmap)
		vhdx_change_store(
			c, vhdx_entry_at(v, index), VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, n->bitmap));
	for (uint64_t at = n->clear; at < n->clear + n->clear_bytes; at += 8)
		if (vhdx_word(v, at, true, &word) || word)
			vhdx_change_store(c, at, 0);
}

static int allocate(struct vhdx_change *c, uint64_t block, struct vhdx_block *b)
{
	struct vhdx *v = c->v;
	uint64_t at = vhdx_entry_at(v, vhdx_bat_index(v, block)), offset;
	bool partial = v->has_parent && b->state == VHDX_BLOCK_NOT_PRESENT;
	struct becoming n = {.block = block};
	int err = vhdx_change_need(c, at);

	if (!err && partial)
		err = need_bits(c, &n);
	if (!err)
		err = vhdx_space_zeros(v, v->block_size, c->nowait, &offset);
	if (err) {
		if (n.bitmap)
			vhdx_space_back(v, n.bitmap, VHDX_BITMAP_BLOCK);
		return err;
	}
	b->offset = offset;
	b->state = partial ? VHDX_BLOCK_PARTIAL : VHDX_BLOCK_PRESENT;
	b->entry = VHDX_BAT_ENTRY(b->state, offset);
	vhdx_change_apply(c);
	if (partial)
		store_bits(c, &n);
	vhdx_change_store(c, at, b->entry);
	return 0;
}

int vhdx_block_allocate(struct vhdx *v, uint64_t block, bool nowait, struct vhdx_block *b)
{
	struct vhdx_change c;
	int err = vhdx_change_begin(&c, v, nowait);

	if (err)
		return err;
	/* Somebody may have been faster. */
	err = vhdx_block(v, block, nowait, b);
	if (!err && !b->offset)
		err = allocate(&c, block, b);
	vhdx_change_end(&c);
	return err;
}

/* ---- Changing -------------------------------------------------------------------------------- */

static int store_entry(struct vhdx_change *c, uint64_t index, uint64_t entry)
{
	int err = vhdx_change_need(c, vhdx_entry_at(c->v, index));

	if (err)
		return err;
	vhdx_change_apply(c);
	vhdx_change_store(c, vhdx_entry_at(c->v, index), entry);
	return 0;
}

int vhdx_block_change(struct vhdx *v, uint64_t block, const struct vhdx_block *old, uint64_t entry)
{
	struct vhdx_change c;
	struct vhdx_block now;
	int err = vhdx_change_begin(&c, v, false);

	if (err)
		return err;
	err = vhdx_block(v, block, false, &now);
	if (!err && now.entry != old->entry)
		err = -EAGAIN;
	if (!err)
		err = store_entry(&c, vhdx_bat_index(v, block), entry);
	vhdx_change_end(&c);
	/* Not before the change: a commit that frees the room must have it. */
	if (!err && old->offset && old->offset != VHDX_BAT_OFFSET(entry))
		vhdx_space_give(v, old->offset, v->block_size);
	return err;
}

int vhdx_bat_set(struct vhdx *v, uint64_t index, uint64_t entry)
{
	struct vhdx_change c;
	int err = vhdx_change_begin(&c, v, false);

	if (err)
		return err;
	err = store_entry(&c, index, entry);
	vhdx_change_end(&c);
	return err;
}

/* Applied: has the block all of the disk's sectors? Pages that are not in memory are not asked. */
static bool is_complete(struct vhdx *v, uint64_t block, uint64_t bitmap)
{
	uint64_t bytes = v->disk.size - (block << v->block_shift);
	uint32_t bit = first_bit(v, block), end, sectors = block_sectors(v);

	if (bytes < v->block_size)
		sectors = bytes >> v->sector_shift;
	end = bit + sectors;
	for (; bit < end; bit += 64) {
		uint64_t word, want = end - bit < 64 ? (1ull << (end - bit)) - 1 : ~0ull;

		if (vhdx_word(v, bitmap + bit / 8, true, &word) || (word & want) != want)
			return false;
	}
	return true;
}

static int set_bits(struct vhdx_change *c, uint64_t block, const struct vhdx_block *b,
	uint32_t sector, uint32_t n)
{
	struct vhdx *v = c->v;
	uint64_t at = vhdx_entry_at(v, vhdx_bat_index(v, block)), bitmap, word;
	uint32_t bit = first_bit(v, block) + sector, end = bit + n;
	int err = partial_bitmap(v, block, false, &bitmap);

	if (!err)
		err = vhdx_change_need(c, at);
	if (!err)
		err = vhdx_change_need(c, bitmap + bit / 8);
	if (err)
		return err;
	vhdx_change_apply(c);
	while (bit < end) {
		uint32_t count = 64 - bit % 64 < end - bit ? 64 - bit % 64 : end - bit;
		uint64_t mask = (count < 64 ? (1ull << count) - 1 : ~0ull) << bit % 64;

		if (vhdx_word(v, bitmap + bit / 64 * 8, true, &word) || (word & mask) != mask)
			vhdx_change_store(c, bitmap + bit / 64 * 8, word | mask);
		bit += count;
	}
	if (is_complete(v, block, bitmap))
		vhdx_change_store(c, at, VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, b->offset));
	return 0;
}

int vhdx_bits_set(
	struct vhdx *v, uint64_t block, const struct vhdx_block *b, uint32_t sector, uint32_t n)
{
	struct vhdx_change c;
	struct vhdx_block now;
	int err = vhdx_change_begin(&c, v, false);

	if (err)
		return err;
	err = vhdx_block(v, block, false, &now);
	if (!err && now.entry == b->entry)
		err = set_bits(&c, block, b, sector, n);
	vhdx_change_end(&c);
	return err;
}

uint32_t vhdx_bits_page(const struct vhdx *v, uint64_t block, uint32_t sector, uint32_t n)
{
	uint32_t left = PAGE_BITS - (first_bit(v, block) + sector) % PAGE_BITS;

	return n < left ? n : left;
}

void vhdx_low(struct vhdx *v)
{
	uint64_t low = v->log_offset + v->log_length;

	for (unsigned i = 0; i < v->n_regions; i++)
		if (v->regions[i].offset + v->regions[i].length > low)
			low = v->regions[i].offset + v->regions[i].length;
	v->live->low = low;
}
