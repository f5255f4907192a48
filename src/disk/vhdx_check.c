/*
 * vhdx_check.c - examining a VHDX file, and mending what can be mended without losing data.
 *
 * Opening has refused what makes the tables unreadable (or noted it, for a damaged file that is to
 * be repaired); here every entry of the block allocation table is looked at: its state, its place,
 * and whether it has that place for itself. Two blocks in one place are parted by giving the second
 * a copy: both then read as they did. A block whose place the file does not have has no data; its
 * entry is emptied.
 *
 * Memory: a bit for each MiB of the file.
 *
 * Source: [MS-VHDX] 2.5 (entries); 2.2.2, 2.2.3, 2.3.3 (what is there twice, and the log).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "disk/vhdx.h"

#define STEP 1024 /* entries between two looks at progress */

/* What can be wrong with an entry. */
enum fault {
	SOUND,
	BAD_STATE, /* a state that does not exist, or not for this entry */
	RESERVED,  /* bits that must be zero */
	CUT_OFF,   /* begins inside the file and ends outside */
	OUTSIDE,   /* lies outside the file, or where headers, log or regions are */
	SHARED,	   /* in the place of another block */
	NO_BITMAP, /* partially present, and no bitmap says which part */
	FAULTS
};

static const char *const fault_texts[FAULTS] = {
	[BAD_STATE] = "has a state that does not exist",
	[RESERVED] = "has reserved bits set",
	[CUT_OFF] = "is cut off by the end of the file",
	[OUTSIDE] = "lies where no block can be; its contents are lost",
	[SHARED] = "lies where another block is",
	[NO_BITMAP] = "is partially present, but its sector bitmap is missing",
};

struct examination {
	struct vhdx *v;
	struct disk_check *check;
	uint8_t *taken; /* a bit for each MiB of the file */
	uint64_t file_length;
	uint64_t used; /* MiB */
	/* A run of entries with the same fault and fate, told as one finding. */
	enum fault fault;
	bool mended;
	uint64_t first, last;
};

/* ---- Findings -------------------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static void found(
	struct examination *x, uint64_t n, bool mended, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	x->check->errors += n;
	if (mended)
		x->check->repaired += n;
	if (x->check->found)
		x->check->found(x->check->ctx, mended, text);
}

static void tell_run(struct examination *x)
{
	uint64_t n = x->last - x->first + 1;

	if (!x->fault)
		return;
	if (n == 1)
		found(x, 1, x->mended, "entry %llu of the block allocation table %s",
			(unsigned long long)x->first, fault_texts[x->fault]);
	else
		found(x, n, x->mended,
			"each of the entries %llu to %llu of the block allocation "
			"table %s",
			(unsigned long long)x->first, (unsigned long long)x->last,
			fault_texts[x->fault]);
	x->fault = SOUND;
}

static void add_to_run(struct examination *x, uint64_t index, enum fault fault, bool mended)
{
	if (x->fault == fault && x->mended == mended && x->last + 1 == index) {
		x->last = index;
		return;
	}
	tell_run(x);
	x->fault = fault;
	x->mended = mended;
	x->first = x->last = index;
}

/* ---- The file's room ------------------------------------------------------------------------- */

static bool is_taken(const struct examination *x, uint64_t offset, uint64_t length)
{
	for (uint64_t m = offset / VHDX_MB; m < (offset + length) / VHDX_MB; m++)
		if (x->taken[m / 8] >> m % 8 & 1)
			return true;
	return false;
}

/* Only what lies in the file as it was when the examination began. */
static void take(struct examination *x, uint64_t offset, uint64_t length)
{
	uint64_t end = (offset + length + VHDX_MB - 1) / VHDX_MB;
	uint64_t last = (x->file_length + VHDX_MB - 1) / VHDX_MB;

	for (uint64_t m = offset / VHDX_MB; m < end && m < last; m++) {
		x->used += !(x->taken[m / 8] >> m % 8 & 1);
		x->taken[m / 8] |= 1 << m % 8;
	}
}

static void take_structure(struct examination *x)
{
	struct vhdx *v = x->v;

	take(x, 0, VHDX_HEADER_AREA);
	take(x, v->log_offset, v->log_length);
	for (unsigned i = 0; i < v->n_regions; i++)
		take(x, v->regions[i].offset, v->regions[i].length);
}

/* ---- Entries --------------------------------------------------------------------------------- */

static bool is_bitmap(const struct vhdx *v, uint64_t index)
{
	uint64_t chunk = (1ull << v->chunk_shift) + 1;

	return index % chunk == chunk - 1;
}

static uint64_t length_of(const struct vhdx *v, uint64_t index)
{
	return is_bitmap(v, index) ? VHDX_BITMAP_BLOCK : v->block_size;
}

static bool has_place(uint64_t entry)
{
	unsigned state = entry & VHDX_BAT_STATE;

	return state == VHDX_BLOCK_PRESENT || state == VHDX_BLOCK_PARTIAL;
}

static bool state_holds(const struct vhdx *v, uint64_t index, unsigned state)
{
	if (is_bitmap(v, index))
		return state == VHDX_BLOCK_NOT_PRESENT ||
		       (state == VHDX_BLOCK_PRESENT && v->has_parent);
	return state <= VHDX_BLOCK_UNMAPPED || state == VHDX_BLOCK_PRESENT ||
	       (state == VHDX_BLOCK_PARTIAL && v->has_parent);
}

/* Is the bitmap of the partially present block with entry @index there? */
static int bitmap_there(struct vhdx *v, uint64_t index)
{
	uint64_t chunk = index / ((1ull << v->chunk_shift) + 1);
	uint64_t entry;
	int r = vhdx_bat_get(v, vhdx_bitmap_index(v, chunk), &entry);

	return r ? r : (entry & VHDX_BAT_STATE) == VHDX_BLOCK_PRESENT;
}

static int find_fault(struct examination *x, uint64_t index, uint64_t entry, enum fault *fault)
{
	uint64_t offset = VHDX_BAT_OFFSET(entry), length = length_of(x->v, index);
	int r;

	*fault = SOUND;
	if (!state_holds(x->v, index, entry & VHDX_BAT_STATE)) {
		*fault = BAD_STATE;
	} else if (!has_place(entry)) {
		/* What stands there besides the state is nobody's business. */
	} else if (!vhdx_block_fits(x->v, offset, length, VHDX_FILE_MAX) ||
		   offset >= x->file_length) {
		*fault = OUTSIDE;
	} else if (length > x->file_length - offset) {
		*fault = CUT_OFF;
	} else if (is_taken(x, offset, length)) {
		*fault = SHARED;
	} else if (entry & VHDX_BAT_RESERVED) {
		*fault = RESERVED;
	} else if ((entry & VHDX_BAT_STATE) == VHDX_BLOCK_PARTIAL) {
		r = bitmap_there(x->v, index);
		if (r < 0)
			return r;
		*fault = r ? SOUND : NO_BITMAP;
	}
	return 0;
}

/* ---- Mending --------------------------------------------------------------------------------- */

static int copy_bytes(struct vhdx *v, uint64_t from, uint64_t to, uint64_t length)
{
	void *piece = malloc(VHDX_MB);
	int r = piece ? 0 : -ENOMEM;

	for (uint64_t done = 0; !r && done < length; done += VHDX_MB) {
		r = disk_file_read(&v->disk.file, piece, VHDX_MB, from + done);
		if (!r)
			r = disk_file_write(&v->disk.file, piece, VHDX_MB, to + done);
	}
	free(piece);
	return r;
}

/* A place of its own for the block, with what it reads as now. The log makes it durable first. */
static int part(struct vhdx *v, uint64_t index, uint64_t entry)
{
	uint64_t length = length_of(v, index);
	uint64_t to;
	int r = vhdx_space_take(v, length, &to);

	if (r)
		return r;
	r = copy_bytes(v, VHDX_BAT_OFFSET(entry), to, length);
	if (!r)
		r = vhdx_bat_set(v, index, VHDX_BAT_ENTRY(entry & VHDX_BAT_STATE, to));
	if (r)
		vhdx_space_give(v, to, length);
	return r;
}

/*
 * An entry with a state that does not exist: when its place is one that a block can have, and
 * nobody else has, the data there is most likely the block's.
 */
static int mend_state(struct examination *x, uint64_t index, uint64_t entry)
{
	uint64_t offset = VHDX_BAT_OFFSET(entry), length = length_of(x->v, index);
	uint64_t mended = VHDX_BLOCK_NOT_PRESENT;

	if (!is_bitmap(x->v, index) && vhdx_block_fits(x->v, offset, length, x->file_length) &&
		!is_taken(x, offset, length))
		mended = VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, offset);
	return vhdx_bat_set(x->v, index, mended);
}

/* 1: mended; 0: cannot be; or a negative errno. */
static int mend(struct examination *x, uint64_t index, uint64_t entry, enum fault fault)
{
	struct vhdx *v = x->v;
	int r = 0;

	switch (fault) {
	case BAD_STATE:
		r = mend_state(x, index, entry);
		break;
	case RESERVED:
		r = vhdx_bat_set(v, index, entry & ~VHDX_BAT_RESERVED);
		break;
	case CUT_OFF:
		r = disk_file_set_size(&v->disk.file, VHDX_BAT_OFFSET(entry) + length_of(v, index));
		break;
	case OUTSIDE:
		/* Without its bitmap a partially present block is lost: that is for people. */
		if (is_bitmap(v, index))
			return 0;
		r = vhdx_bat_set(v, index, VHDX_BLOCK_NOT_PRESENT);
		break;
	case SHARED:
		r = part(v, index, entry);
		break;
	default:
		return 0;
	}
	return r ? r : 1;
}

static int examine_entry(struct examination *x, uint64_t index)
{
	enum fault fault;
	uint64_t entry;
	int r = vhdx_bat_get(x->v, index, &entry);

	if (!r)
		r = find_fault(x, index, entry, &fault);
	if (r)
		return r;
	if (fault) {
		if (x->check->repair)
			r = mend(x, index, entry, fault);
		if (r < 0)
			return r;
		add_to_run(x, index, fault, r);
	}
	if (r)
		r = vhdx_bat_get(x->v, index, &entry); /* as it was mended */
	if (!r && has_place(entry))
		take(x, VHDX_BAT_OFFSET(entry), length_of(x->v, index));
	return r;
}

/* ---- The rest -------------------------------------------------------------------------------- */

static int examine_headers(struct examination *x)
{
	struct vhdx *v = x->v;
	bool repair = x->check->repair;
	bool identifier = v->identifier_bad, header = v->header_bad;
	int r = 0;

	if (repair && (identifier || header))
		r = vhdx_headers_renew(v);
	if (!r && repair && v->log_lost)
		r = vhdx_log_end(v);
	if (r)
		return r;
	if (identifier)
		found(x, 1, repair, "the file does not begin with a VHDX file's identifier");
	if (header)
		found(x, 1, repair, "one of the two headers is damaged");
	if (v->log_lost)
		found(x, 1, repair,
			"the file was not closed and its log is damaged; "
			"what was last written may be missing");
	if (repair)
		v->log_lost = false;
	return 0;
}

static int examine_regions(struct examination *x)
{
	int r = 0;

	if (!x->v->region_bad)
		return 0;
	if (x->check->repair)
		r = vhdx_regions_renew(x->v);
	if (r)
		return r;
	found(x, 1, x->check->repair, "one of the two region tables is damaged");
	if (x->check->repair)
		x->v->region_bad = 0;
	return 0;
}

static int examine_entries(struct examination *x, struct disk_progress *progress)
{
	int r = 0;

	progress->total = x->v->bat_entries;
	for (uint64_t i = 0; !r && i < x->v->bat_entries; i++) {
		r = examine_entry(x, i);
		if (i % STEP)
			continue;
		progress->done = i;
		if (!r && progress->cancel)
			r = -ECANCELED;
	}
	tell_run(x);
	progress->done = x->v->bat_entries;
	return r;
}

static void count_leaked(struct examination *x)
{
	uint64_t used = x->used * VHDX_MB;

	x->check->leaked = used < x->file_length ? x->file_length - used : 0;
}

int vhdx_check(struct disk *d, struct disk_check *check, struct disk_progress *progress)
{
	struct examination x = {.v = vhdx_of(d), .check = check, .file_length = d->file.size};
	int r;

	/* A file whose log was replayed in memory may be as long as the log says. */
	if (x.v->overlay && x.v->length > x.file_length)
		x.file_length = x.v->length;
	if (x.file_length > VHDX_FILE_MAX)
		x.file_length = VHDX_FILE_MAX;
	x.taken = calloc(x.file_length / VHDX_MB / 8 + 1, 1);
	if (!x.taken)
		return -ENOMEM;
	r = examine_headers(&x);
	if (!r)
		r = examine_regions(&x);
	if (!r) {
		take_structure(&x);
		r = examine_entries(&x, progress);
	}
	if (check->repair && !r)
		r = vhdx_commit(x.v);
	if (!r)
		count_leaked(&x);
	free(x.taken);
	return r;
}
