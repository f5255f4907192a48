/*
 * vhdx_live.h - the live half of the VHDX format: what its files share, and nobody else's business.
 *
 * Tables (the BAT, sector bitmaps, and what vhdx_write_logged() changes) are cached in pages of
 * 4 KiB. A change lives in memory until a commit: (1) the file is flushed, so that everything that
 * the changes refer to is durable, and so are the pages that earlier commits put in place; (2) one
 * log entry with all changed pages is written and flushed; (3) the pages are written in place.
 * Because of (1) an entry never needs those before it: its tail is itself, and a commit is one
 * entry, whole or not there. The only thing never overwritten is the last durable entry.
 *
 * Locks, in the order in which they are taken:
 *   change	whoever changes tables or takes room, one at a time. File I/O may happen under it,
 *		so with @nowait it is only tried.
 *   lock	the state of pages, the log and the room. Never held during I/O.
 * Looking up a cached word takes none. A commit takes only `lock`: it may run while its caller or
 * somebody else holds `change`. disk_synchronize() is called with neither.
 */
#ifndef PARTITA_DISK_VHDX_LIVE_H
#define PARTITA_DISK_VHDX_LIVE_H

#include <pthread.h>

#include "disk/vhdx.h"

#define VHDX_PAGE	  4096u
#define VHDX_CACHE_MIN	  (2u << 20) /* bytes: a smaller disk.cache counts as this */
#define VHDX_CHANGE_PAGES 20	     /* of one change: a block's bits (16), entries (2) */

/* ---- Pages (vhdx_pages.c) -------------------------------------------------------------------- */

/* A frame holds a page. Under `lock`. */
struct vhdx_frame {
	_Atomic bool used; /* since the hand passed; not under the lock */
	uint64_t loading;  /* the number of the page that is being read, or 0 */
	uint16_t generation;
	bool dirty;	 /* changed since the last commit began */
	bool held;	 /* dirty, but no commit takes it before vhdx_commit() */
	bool committing; /* a commit has its contents and did not put them in place yet */
	uint8_t pins;	 /* by the holder of `change` */
};

/*
 * A cache of sets of some ways. A tag is the page's number (file offset / VHDX_PAGE) << 12 and the
 * frame's generation; number 0, a header's, says empty. A word is read without a lock: tag, word,
 * tag again.
 */
struct vhdx_pages {
	unsigned sets, ways;
	_Atomic uint64_t *tags;
	struct vhdx_frame *frames;
	uint8_t *hands; /* of each set: where the search for a victim goes on */
	_Atomic uint64_t *words;
	size_t mapped; /* bytes of @words */
	pthread_cond_t loaded;
	_Atomic unsigned dirty; /* frames that are dirty and not held; changes under the lock */
	unsigned held;		/* frames that are dirty and held */
	unsigned committing;	/* frames */
	unsigned limit;		/* of dirty + committing */
};

/* ---- The file's room (vhdx_space.c) ---------------------------------------------------------- */

struct vhdx_room {
	uint64_t offset, length; /* bytes */
};

/*
 * Sorted and merged. When full, the smallest gives way: the file keeps that room for a later scan.
 */
struct vhdx_runs {
	struct vhdx_room *run;
	unsigned n, room;
};

struct vhdx_space {
	struct vhdx_runs clean;	    /* free, zeros */
	struct vhdx_runs stale;	    /* free, contents unknown */
	struct vhdx_runs freed;	    /* by changes that are not committed */
	struct vhdx_runs going;	    /* by those of the commit under way */
	struct vhdx_runs committed; /* durable, but requests may still be inside */
	struct vhdx_runs draining;  /* of those, what somebody waits for and zeroes just now */
	pthread_mutex_t drain;	    /* one does so at a time; taken before all other locks */
	uint64_t end;		    /* behind it there is nothing but zeros, up to the file's end */
	bool scanned;
};

/* ---- The log (vhdx_log.c) -------------------------------------------------------------------- */

struct vhdx_log {
	GUID id;
	bool begun; /* the header has @id */
	uint64_t sequence;
	uint32_t last, last_length; /* the last durable entry; 0, 0: there is none */
	/* Of whoever runs a commit: */
	uint8_t *buffer; /* an entry, aligned to pages */
	uint8_t *copies; /* in it: the pages */
	uint64_t *pages; /* where in the file they belong, ascending */
	struct vhdx_log_descriptor *zeros;
	unsigned room; /* pages */

	/* Commits, numbered; under `lock`. */
	uint64_t started, done;
	int result; /* of the last */
	bool running;
	pthread_cond_t moved;
};

struct vhdx_live {
	pthread_mutex_t change;
	pthread_mutex_t lock;
	/* Read-held while a room is zeroed in place, outside of requests. */
	pthread_rwlock_t zeroing;
	struct vhdx_pages pages;
	struct vhdx_space space;
	struct vhdx_log log;
	_Atomic uint64_t low; /* the log and all regions end here; see vhdx_payload_fits() */
};

/* vhdx_pages.c */
int vhdx_pages_init(struct vhdx *v, size_t bytes);
void vhdx_pages_fini(struct vhdx_pages *p);
/*
 * vhdx_word - the 8 bytes at @offset of the file, a multiple of 8, as changed. @nowait: -EAGAIN
 * when they are not in memory.
 */
int vhdx_word(struct vhdx *v, uint64_t offset, bool nowait, uint64_t *value);
/* vhdx_pages_forget - all that are not changed: places in the file get another meaning. */
void vhdx_pages_forget(struct vhdx *v);

/*
 * A change of tables, atomic in memory and in the log. begin: takes `change` (@nowait: or -EAGAIN).
 * need: the page around @offset will be changed; it is read and stays (@nowait: or -EAGAIN). Then
 * apply: takes `lock`; store: words of the needed pages; end: gives up what was taken. Between
 * begin and end a commit may run, but none sees half of what was stored.
 */
struct vhdx_change {
	struct vhdx *v;
	bool nowait;
	bool applied;
	bool held; /* the pages wait for vhdx_commit() */
	unsigned n;
	unsigned frame[VHDX_CHANGE_PAGES];
};

int vhdx_change_begin(struct vhdx_change *c, struct vhdx *v, bool nowait);
int vhdx_change_need(struct vhdx_change *c, uint64_t offset);
void vhdx_change_apply(struct vhdx_change *c);
void vhdx_change_store(struct vhdx_change *c, uint64_t offset, uint64_t value);
void vhdx_change_end(struct vhdx_change *c);

/* How many pages vhdx_write_logged() may change before vhdx_commit(). */
unsigned vhdx_held_max(const struct vhdx *v);
/*
 * For the log, under `lock`. take: the dirty pages go into a commit, ascending; returns how many.
 * taken: they are in place, or it @failed and they are dirty again.
 */
unsigned vhdx_pages_take(struct vhdx *v, uint64_t *offsets, uint8_t *copies);
void vhdx_pages_taken(struct vhdx *v, bool failed);

/* vhdx_space.c */
int vhdx_space_init(struct vhdx *v, unsigned runs);
void vhdx_space_fini(struct vhdx_space *s);
/*
 * vhdx_space_zeros - room for a block: zeros, durably so before any table that refers to it, since
 * a commit flushes first. `change` is held. @nowait: -EAGAIN when it takes file I/O.
 */
int vhdx_space_zeros(struct vhdx *v, uint64_t length, bool nowait, uint64_t *offset);
/* vhdx_space_back - the room was not used after all. */
void vhdx_space_back(struct vhdx *v, uint64_t offset, uint64_t length);
/*
 * vhdx_space_drain - what was freed and committed becomes free: waits for requests that may be
 * inside, and gives the file system its space back. Neither lock may be held, and the caller not be
 * inside.
 */
void vhdx_space_drain(struct vhdx *v);
/* vhdx_space_trim - the file ends with what is used. The log is not in use. */
int vhdx_space_trim(struct vhdx *v);
/* vhdx_space_punch - the file has holes where it is free; `change` is held. */
int vhdx_space_punch(struct vhdx *v);
/* vhdx_space_scan - find the free room below the end; `change` is held. Done once, or @again. */
int vhdx_space_scan(struct vhdx *v, bool again);
/* The lowest free room of @length below @below is taken, stale; -ENOSPC: there is none. */
int vhdx_space_below(struct vhdx *v, uint64_t length, uint64_t below, uint64_t *offset);
/* Do more than so many runs wait to be handed back? */
bool vhdx_space_waiting(struct vhdx *v, unsigned runs);
/* For the log, under `lock`: what was freed goes with the commit, and where it then belongs. */
void vhdx_space_taken(struct vhdx *v);
void vhdx_space_done(struct vhdx *v, bool failed);

/* vhdx_log.c */
int vhdx_log_init(struct vhdx *v);
void vhdx_log_fini(struct vhdx_log *log);
/* vhdx_sync - a commit of what is changed now; joins others that want the same. */
int vhdx_sync(struct vhdx *v);
/*
 * vhdx_log_rest - all is in place and durable, and no entry is needed any more; as long as the
 * caller has `change`, so it stays.
 */
int vhdx_log_rest(struct vhdx *v);
/* How many pages an entry may have beside the last one, and how many alone in the log. */
unsigned vhdx_log_pages(const struct vhdx *v);
unsigned vhdx_log_pages_alone(const struct vhdx *v);

/* vhdx_bat.c */
static inline uint64_t vhdx_entry_at(const struct vhdx *v, uint64_t index)
{
	return v->bat->offset + index * 8;
}

/* The length of the file that blocks must lie in, bytes. */
static inline uint64_t vhdx_file_length(const struct vhdx *v)
{
	uint64_t size = atomic_load_explicit(&v->disk.file.size, memory_order_relaxed);

	return v->overlay && v->length > size ? v->length : size;
}

static inline bool vhdx_payload_fits(const struct vhdx *v, uint64_t offset, uint64_t length)
{
	uint64_t size = vhdx_file_length(v);

	if (offset >= atomic_load_explicit(&v->live->low, memory_order_relaxed) && offset <= size &&
		length <= size - offset)
		return true;
	return vhdx_block_fits(v, offset, length, size);
}

/* A payload block's entry, checked. */
struct vhdx_block {
	uint64_t entry;
	enum vhdx_block_state state;
	uint64_t offset; /* in the file; 0: it has no room there */
};

int vhdx_block(struct vhdx *v, uint64_t block, bool nowait, struct vhdx_block *b);
/* Where the sector bitmap block of the chunk around @block begins in the file, 0: nowhere. */
int vhdx_bitmap(struct vhdx *v, uint64_t block, bool nowait, uint64_t *offset);
/*
 * vhdx_bits_run - of @n sectors of @block from @sector on (in the block), how many have the same
 * bit (*@here) as the first. At most to the end of the bitmap's page.
 */
int vhdx_bits_run(struct vhdx *v, uint64_t block, uint32_t sector, uint32_t n, bool nowait,
	bool *here, uint32_t *run);
/* The block without room gets one; *@b is what it is then, whoever did it. */
int vhdx_block_allocate(struct vhdx *v, uint64_t block, bool nowait, struct vhdx_block *b);
/* The block gets another entry, and its old room is free; -EAGAIN when it is @old no more. */
int vhdx_block_change(struct vhdx *v, uint64_t block, const struct vhdx_block *old, uint64_t entry);
/* How many of @n sectors of @block from @sector on have their bits in the same page. */
uint32_t vhdx_bits_page(const struct vhdx *v, uint64_t block, uint32_t sector, uint32_t n);
/*
 * vhdx_bits_set - @n sectors of the partial block @b from @sector on (of one page) are here;
 * nothing when the block has changed meanwhile. The last one missing makes the block present.
 */
int vhdx_bits_set(
	struct vhdx *v, uint64_t block, const struct vhdx_block *b, uint32_t sector, uint32_t n);
/* @n entries from @first on, as changed, for scans; unchecked. */
int vhdx_bat_read(struct vhdx *v, uint64_t first, unsigned n, uint64_t *entries);
/* Is @index a bitmap's entry? */
static inline bool vhdx_is_bitmap(const struct vhdx *v, uint64_t index)
{
	uint64_t stride = (1ull << v->chunk_shift) + 1;

	return index % stride == stride - 1;
}
/* Recompute live->low. */
void vhdx_low(struct vhdx *v);

#endif
