/*
 * disk_queue - requests on queues: from several threads, through a format with every difficulty
 * (disk_toy.h) and its parent, with io_uring and without.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk_toy.h"

#define SECTORS	 1024u
#define PARENTS	 700u /* sectors of the parent, which is smaller */
#define THREADS	 3u
#define REQUESTS 400u /* of each thread */
#define AT_ONCE	 12u
#define LARGEST	 24u /* sectors of a request */

struct fixture {
	struct disk_engine *engine;
	char folder[64];
	struct toy *child, *parent;
};

static bool want_uring;
static unsigned want_flags;

static struct toy *new_toy(
	struct fixture *f, uint64_t sectors, uint64_t begin, const struct disk_recorder *recorder)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/toy", f->folder);
	return toy_create(f->engine, path, sectors, begin, DISK_OPEN_WRITE | want_flags, recorder);
}

static int set_up(void **state)
{
	struct disk_engine_options options = {.no_uring = !want_uring, .threads = 4};
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	/* A file system that has O_DIRECT. */
	snprintf(f->folder, sizeof(f->folder), "./disk_queue-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->engine = disk_engine_create(&options);
	assert_non_null(f->engine);
	assert_true(want_uring || !disk_engine_uses_uring(f->engine));
	f->child = new_toy(f, SECTORS, TOY_IN_PARENT, NULL);
	f->parent = new_toy(f, PARENTS, TOY_NOWHERE, NULL);
	f->child->disk.parent = &f->parent->disk;
	f->child->reluctant = 7;
	f->parent->reluctant = 5;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(disk_close(&f->child->disk), 0);
	disk_engine_destroy(f->engine);
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

/* ---- One request at a time ------------------------------------------------------------------- */

static void noted(struct disk_request *r)
{
	/* Nothing: the result is there. */
}

static int run_one(struct disk_queue *q, struct disk *d, struct disk_request *r)
{
	r->done = noted;
	disk_submit(q, d, r);
	assert_int_equal(disk_queue_run(q, true), 1);
	return r->result;
}

static void test_bounds(void **state)
{
	struct fixture *f = *state;
	struct disk_queue *q = disk_queue_create(f->engine, 2);
	uint8_t data[2 * TOY_SECTOR];
	struct iovec area = {data, sizeof(data)};
	struct disk_request r = {.op = DISK_READ, .iov = &area, .n_iov = 1};

	assert_int_equal(disk_queue_run(q, true), 0);
	r.length = 2 * TOY_SECTOR;
	r.offset = (SECTORS - 1) * TOY_SECTOR;
	assert_int_equal(run_one(q, &f->child->disk, &r), -ENOSPC);
	r.offset = -(uint64_t)TOY_SECTOR;
	assert_int_equal(run_one(q, &f->child->disk, &r), -ENOSPC);
	r.offset = 512;
	assert_int_equal(run_one(q, &f->child->disk, &r), -EINVAL);
	r.offset = 0;
	r.length = 3 * TOY_SECTOR;
	assert_int_equal(run_one(q, &f->child->disk, &r), -EINVAL);
	r.length = 0;
	assert_int_equal(run_one(q, &f->child->disk, &r), 0);
	disk_queue_destroy(q);
}

static void test_read_only(void **state)
{
	struct fixture *f = *state;
	struct disk_queue *q = disk_queue_create(f->engine, 2);
	static const enum disk_op changes[] = {DISK_WRITE, DISK_UNMAP, DISK_ZERO};
	uint8_t data[TOY_SECTOR];
	struct iovec area = {data, sizeof(data)};

	f->child->disk.file.writable = false;
	for (unsigned i = 0; i < 3; i++) {
		struct disk_request r = {
			.op = changes[i], .length = TOY_SECTOR, .iov = &area, .n_iov = 1};

		assert_int_equal(run_one(q, &f->child->disk, &r), -EROFS);
	}
	f->child->disk.file.writable = true;
	disk_queue_destroy(q);
}

static void test_parents_end_and_absence(void **state)
{
	struct fixture *f = *state;
	struct disk_queue *q = disk_queue_create(f->engine, 2);
	uint8_t out[4 * TOY_SECTOR], in[4 * TOY_SECTOR];
	struct iovec area = {in, sizeof(in)};
	struct disk_request r = {.op = DISK_READ,
		.offset = (PARENTS - 2) * TOY_SECTOR,
		.length = sizeof(in),
		.iov = &area,
		.n_iov = 1};

	memset(out, 7, sizeof(out));
	assert_int_equal(disk_write(&f->parent->disk, out, 2 * TOY_SECTOR, r.offset), 0);
	memset(out + 2 * TOY_SECTOR, 0, 2 * TOY_SECTOR);
	assert_int_equal(run_one(q, &f->child->disk, &r), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(disk_read(&f->child->disk, in, sizeof(in), r.offset), 0);
	assert_memory_equal(in, out, sizeof(in));

	f->child->disk.parent = NULL;
	assert_int_equal(run_one(q, &f->child->disk, &r), -ENXIO);
	f->child->disk.parent = &f->parent->disk;
	disk_queue_destroy(q);
}

/* A part that fails is the request's result, when all are done; settle() learns of it. */
static void test_failing_part(void **state)
{
	struct fixture *f = *state;
	struct disk_queue *q = disk_queue_create(f->engine, 2);
	static uint8_t data[8 * TOY_SECTOR];
	struct iovec area = {data, sizeof(data)};
	struct disk_request r = {.op = DISK_READ, .length = sizeof(data), .iov = &area, .n_iov = 1};

	assert_int_equal(disk_write(&f->child->disk, data, sizeof(data), 0), 0);
	f->child->table[3] = 1ull << 40; /* behind the file's end */
	assert_int_equal(run_one(q, &f->child->disk, &r), -EIO);
	assert_int_equal(disk_read(&f->child->disk, data, sizeof(data), 0), -EIO);
	f->child->refuse = -ENOSPC;
	r.op = DISK_WRITE;
	assert_int_equal(run_one(q, &f->child->disk, &r), -ENOSPC);
	disk_queue_destroy(q);
}

static void test_hundreds_of_areas(void **state)
{
	struct fixture *f = *state;
	struct disk_queue *q = disk_queue_create(f->engine, 4);
	enum { LENGTH = 128 * TOY_SECTOR, AREAS = LENGTH / 512 };
	static uint8_t out[LENGTH], in[LENGTH];
	static struct iovec gather[AREAS + 2], scatter[2 * AREAS + 1];
	struct disk_request w = {.op = DISK_WRITE, .length = LENGTH, .iov = gather};
	struct disk_request r = {.op = DISK_READ, .length = LENGTH, .iov = scatter};

	for (unsigned i = 0; i < LENGTH; i++)
		out[i] = i * 2654435761u >> 24;
	/* Of all sizes, empty ones among them, none at a sector's edge. */
	for (uint64_t at = 0; at < LENGTH; w.n_iov++) {
		uint64_t n = w.n_iov % 9 == 4 ? 0 : 300 + w.n_iov % 700;

		gather[w.n_iov] = (struct iovec){out + at, n < LENGTH - at ? n : LENGTH - at};
		at += gather[w.n_iov].iov_len;
		assert_true(w.n_iov < AREAS + 1);
	}
	for (unsigned i = 0; i < 2 * AREAS; i++)
		scatter[r.n_iov++] = (struct iovec){in + i * 256, 256};
	assert_int_equal(run_one(q, &f->child->disk, &w), 0);
	assert_int_equal(run_one(q, &f->child->disk, &r), 0);
	assert_memory_equal(in, out, LENGTH);
	disk_queue_destroy(q);
}

static void test_zeroing(void **state)
{
	struct fixture *f = *state;
	struct disk_queue *q = disk_queue_create(f->engine, 2);
	static uint8_t data[16 * TOY_SECTOR], zeros[16 * TOY_SECTOR];
	struct disk_request r = {.op = DISK_ZERO, .length = 14 * TOY_SECTOR, .offset = TOY_SECTOR};

	f->child->can_zero = true;
	memset(data, 1, sizeof(data));
	assert_int_equal(disk_write(&f->parent->disk, data, sizeof(data), 0), 0);
	assert_int_equal(disk_write(&f->child->disk, data, sizeof(data) / 2, 0), 0);
	assert_int_equal(run_one(q, &f->child->disk, &r), 0);
	assert_int_equal(disk_read(&f->child->disk, data, sizeof(data), 0), 0);
	assert_int_equal(data[0], 1);
	assert_memory_equal(data + TOY_SECTOR, zeros, 14 * TOY_SECTOR);
	assert_int_equal(data[15 * TOY_SECTOR], 1);
	disk_queue_destroy(q);
}

/* ---- Many, from several threads -------------------------------------------------------------- */

struct slot {
	struct disk_request request;
	struct job *job;
	struct iovec iov[LARGEST + 1];
	uint8_t *data;
	uint64_t sector, n;
	bool busy;
};

/* A thread's work, on sectors of its own. */
struct job {
	struct disk *disk;
	struct disk_queue *queue;
	unsigned number, left, in_flight;
	uint64_t random;
	bool polled;
	uint32_t expected[SECTORS / THREADS]; /* what a sector was last written with */
	bool owned[SECTORS / THREADS];	      /* by a request under way */
	struct slot slots[AT_ONCE];
};

static uint64_t next_random(struct job *j)
{
	j->random ^= j->random << 13;
	j->random ^= j->random >> 7;
	j->random ^= j->random << 17;
	return j->random;
}

static void stamp(uint8_t *sector, uint32_t value)
{
	uint32_t words[TOY_SECTOR / 4];

	for (unsigned i = 0; i < TOY_SECTOR / 4; i++)
		words[i] = value ? value + i : 0;
	memcpy(sector, words, TOY_SECTOR);
}

static void check_stamp(const uint8_t *sector, uint32_t value)
{
	uint8_t wanted[TOY_SECTOR];

	stamp(wanted, value);
	assert_memory_equal(sector, wanted, TOY_SECTOR);
}

static void go_on(struct job *j, struct slot *s);

static void slot_done(struct disk_request *r)
{
	struct slot *s = (struct slot *)r;
	struct job *j = s->job;

	assert_int_equal(r->result, 0);
	for (uint64_t i = 0; i < s->n; i++) {
		if (r->op == DISK_READ)
			check_stamp(s->data + i * TOY_SECTOR, j->expected[s->sector + i]);
		j->owned[s->sector + i] = false;
	}
	j->in_flight--;
	go_on(j, s);
}

/* Split at odd places: the areas are not the sectors. */
static void slice(struct slot *s)
{
	uint64_t at = 0, length = s->n * TOY_SECTOR;

	s->request.n_iov = 0;
	while (at < length) {
		uint64_t n = s->n % 3 ? TOY_SECTOR - 512 : length;

		if (n > length - at || s->request.n_iov == LARGEST)
			n = length - at;
		s->iov[s->request.n_iov++] = (struct iovec){s->data + at, n};
		at += n;
	}
}

static void go_on(struct job *j, struct slot *s)
{
	enum disk_op op;
	uint64_t random = next_random(j);

	if (!j->left)
		return;
	j->left--;
	op = random % 16 == 0	? DISK_FLUSH
	     : random % 16 == 1 ? DISK_ZERO
	     : random % 2	? DISK_READ
				: DISK_WRITE;
	s->sector = (random >> 8) % (SECTORS / THREADS);
	s->n = 0;
	while (op != DISK_FLUSH && s->n <= (random >> 32) % LARGEST &&
		s->sector + s->n < SECTORS / THREADS && !j->owned[s->sector + s->n]) {
		uint64_t sector = s->sector + s->n;

		j->owned[sector] = true;
		if (op == DISK_WRITE || op == DISK_ZERO)
			j->expected[sector] = op == DISK_ZERO ? 0 : (uint32_t)next_random(j) | 1;
		if (op == DISK_WRITE)
			stamp(s->data + s->n * TOY_SECTOR, j->expected[sector]);
		s->n++;
	}
	if (!s->n)
		op = DISK_FLUSH;
	s->request = (struct disk_request){
		.op = op,
		.fua = random >> 58 == 1,
		.offset = (s->sector + j->number * (SECTORS / THREADS)) * TOY_SECTOR,
		.length = s->n * TOY_SECTOR,
		.iov = s->iov,
		.done = slot_done,
	};
	if (op == DISK_FLUSH)
		s->request.offset = 0;
	slice(s);
	j->in_flight++;
	disk_submit(j->queue, j->disk, &s->request);
}

static void *work(void *arg)
{
	struct job *j = arg;
	struct pollfd fd = {.fd = j->polled ? disk_queue_fd(j->queue) : -1, .events = POLLIN};

	for (unsigned i = 0; i < AT_ONCE; i++)
		go_on(j, &j->slots[i]);
	disk_queue_kick(j->queue);
	while (j->in_flight) {
		if (j->polled)
			assert_int_equal(poll(&fd, 1, 60000), 1);
		disk_queue_run(j->queue, !j->polled);
	}
	return NULL;
}

static void job_init(struct job *j, struct disk *d, struct disk_engine *e, unsigned number)
{
	j->disk = d;
	/* Fewer operations than requests: some wait their turn. */
	j->queue = disk_queue_create(e, number ? AT_ONCE : 3);
	assert_non_null(j->queue);
	j->number = number;
	j->left = REQUESTS;
	j->random = 0x9e3779b97f4a7c15 * (number + 1);
	j->polled = number & 1;
	for (unsigned i = 0; i < AT_ONCE; i++) {
		j->slots[i].job = j;
		j->slots[i].data = malloc(LARGEST * TOY_SECTOR);
		assert_non_null(j->slots[i].data);
	}
}

static void job_fini(struct job *j)
{
	uint8_t data[TOY_SECTOR];

	for (unsigned i = 0; i < SECTORS / THREADS; i++) {
		assert_int_equal(disk_read(j->disk, data, TOY_SECTOR,
					 (i + j->number * (SECTORS / THREADS)) * TOY_SECTOR),
			0);
		check_stamp(data, j->expected[i]);
	}
	for (unsigned i = 0; i < AT_ONCE; i++)
		free(j->slots[i].data);
	disk_queue_destroy(j->queue);
}

/* Run the jobs while @beside(@ctx, &stop) does something else, until @stop. */
static void run_jobs(struct fixture *f, void (*beside)(struct fixture *f, _Atomic bool *stop))
{
	struct job *jobs = calloc(THREADS, sizeof(*jobs));
	pthread_t threads[THREADS];
	_Atomic bool stop = false;

	assert_non_null(jobs);
	for (unsigned i = 0; i < THREADS; i++)
		job_init(&jobs[i], &f->child->disk, f->engine, i);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
	if (beside)
		beside(f, &stop);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		job_fini(&jobs[i]);
	free(jobs);
}

static void test_many_requests(void **state)
{
	struct fixture *f = *state;

	f->child->can_zero = true;
	run_jobs(f, NULL);
	assert_true(f->child->settled > 0);
	assert_true(f->child->flushes > 0);
	assert_int_equal(f->child->failed, 0);
}

static void freeze_often(struct fixture *f, _Atomic bool *stop)
{
	for (unsigned i = 0; i < 200; i++) {
		disk_freeze(&f->child->disk);
		disk_freeze(&f->child->disk);
		atomic_store(&f->child->frozen, true);
		sched_yield();
		if (i % 4 == 0) {
			disk_freeze(&f->parent->disk);
			atomic_store(&f->parent->frozen, true);
			sched_yield();
			atomic_store(&f->parent->frozen, false);
			disk_thaw(&f->parent->disk);
		}
		atomic_store(&f->child->frozen, false);
		disk_thaw(&f->child->disk);
		disk_thaw(&f->child->disk);
	}
}

static void test_freezing_under_load(void **state)
{
	struct fixture *f = *state;

	run_jobs(f, freeze_often);
}

/* ---- Places that are used again -------------------------------------------------------------- */

struct reader {
	struct fixture *f;
	_Atomic bool *stop;
	pthread_t thread;
};

static void *read_on(void *arg)
{
	struct reader *r = arg;
	struct disk_queue *q = disk_queue_create(r->f->engine, 4);
	static const unsigned n = 16;
	uint8_t *data = malloc(n * TOY_SECTOR);
	struct iovec area = {data, n * TOY_SECTOR};

	assert_true(q && data);
	while (!atomic_load(r->stop)) {
		struct disk_request read = {
			.op = DISK_READ, .length = n * TOY_SECTOR, .iov = &area, .n_iov = 1};

		assert_int_equal(run_one(q, &r->f->child->disk, &read), 0);
		for (unsigned i = 0; i < n; i++)
			check_stamp(data + i * TOY_SECTOR, 100 + i);
	}
	free(data);
	disk_queue_destroy(q);
	return NULL;
}

/*
 * Sectors move about in the file. When disk_synchronize() has returned nobody reads from the old
 * place, which therefore may hold something else.
 */
static void test_synchronizing(void **state)
{
	struct fixture *f = *state;
	struct toy *t = f->child;
	struct reader readers[2];
	_Atomic bool stop = false;
	uint8_t data[TOY_SECTOR], garbage[TOY_SECTOR];
	uint64_t spare;

	memset(garbage, 0xee, sizeof(garbage));
	for (unsigned i = 0; i < 16; i++) {
		stamp(data, 100 + i);
		assert_int_equal(disk_write(&t->disk, data, sizeof(data), i * TOY_SECTOR), 0);
	}
	spare = t->end;
	for (unsigned i = 0; i < 2; i++) {
		readers[i] = (struct reader){.f = f, .stop = &stop};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
	}
	for (unsigned i = 0; i < 1000; i++) {
		unsigned sector = i * 7 % 16;
		uint64_t old = t->table[sector];

		stamp(data, 100 + sector);
		assert_int_equal(disk_file_write(&t->disk.file, data, TOY_SECTOR, spare), 0);
		pthread_mutex_lock(&t->lock);
		t->table[sector] = spare;
		pthread_mutex_unlock(&t->lock);
		disk_synchronize(&t->disk);
		assert_int_equal(disk_file_write(&t->disk.file, garbage, TOY_SECTOR, old), 0);
		spare = old;
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
}

/* ---- Watchers -------------------------------------------------------------------------------- */

struct watcher {
	struct disk_watcher face;
	_Atomic unsigned before, after, failed, flushed;
	_Atomic uint64_t size;
	int refuse;
};

static int before(struct disk_watcher *face, const struct disk_request *r)
{
	struct watcher *w = (struct watcher *)face;

	if (w->refuse)
		return w->refuse;
	atomic_fetch_add(&w->before, 1);
	return 0;
}

static void after(struct disk_watcher *face, const struct disk_request *r)
{
	struct watcher *w = (struct watcher *)face;

	atomic_fetch_add(&w->after, 1);
	atomic_fetch_add(&w->failed, !!r->result);
}

static void flushed(struct disk_watcher *face)
{
	atomic_fetch_add(&((struct watcher *)face)->flushed, 1);
}

static void resized(struct disk_watcher *face, uint64_t size)
{
	atomic_store(&((struct watcher *)face)->size, size);
}

static const struct disk_watcher watcher_face = {
	.before = before, .after = after, .flushed = flushed, .resized = resized};

static void watch_often(struct fixture *f, _Atomic bool *stop)
{
	for (unsigned i = 0; i < 100; i++) {
		struct watcher a = {.face = watcher_face}, b = {.face = watcher_face};

		disk_watch(&f->child->disk, &a.face);
		disk_watch(&f->child->disk, &b.face);
		sched_yield();
		disk_unwatch(&f->child->disk, i % 2 ? &a.face : &b.face);
		sched_yield();
		disk_unwatch(&f->child->disk, i % 2 ? &b.face : &a.face);
		assert_int_equal(a.before, a.after);
		assert_int_equal(b.before, b.after);
	}
}

static void test_watching_under_load(void **state)
{
	run_jobs(*state, watch_often);
}

static void test_watcher(void **state)
{
	struct fixture *f = *state;
	struct disk *d = &f->child->disk;
	struct disk_queue *q = disk_queue_create(f->engine, 2);
	struct watcher first = {.face = watcher_face}, second = {.face = watcher_face};
	uint8_t data[TOY_SECTOR] = {0};
	struct iovec area = {data, sizeof(data)};
	struct disk_request w = {
		.op = DISK_WRITE, .length = TOY_SECTOR, .iov = &area, .n_iov = 1, .fua = true};
	struct disk_request z = {.op = DISK_UNMAP, .length = TOY_SECTOR};
	struct disk_request flush = {.op = DISK_FLUSH};

	disk_watch(d, &first.face);
	disk_watch(d, &second.face);
	assert_int_equal(run_one(q, d, &w), 0);
	assert_int_equal(run_one(q, d, &z), 0);
	assert_int_equal(run_one(q, d, &flush), 0);
	assert_int_equal(disk_read(d, data, sizeof(data), 0), 0);
	assert_int_equal(first.before, 2);
	assert_int_equal(first.after, 2);
	assert_int_equal(first.flushed, 2);
	/* One that refuses is not told the end; one that had agreed is. */
	first.refuse = -EDQUOT;
	assert_int_equal(run_one(q, d, &w), -EDQUOT);
	assert_int_equal(disk_write(d, data, sizeof(data), 0), -EDQUOT);
	assert_int_equal(first.after, 2);
	assert_int_equal(second.before, 4);
	assert_int_equal(second.after, 4);
	assert_int_equal(second.failed, 2);
	assert_int_equal(disk_resize(d, 100 * TOY_SECTOR, true, NULL), 0);
	assert_int_equal(second.size, 100 * TOY_SECTOR);
	disk_unwatch(d, &first.face);
	assert_int_equal(run_one(q, d, &w), 0);
	disk_unwatch(d, &second.face);
	assert_int_equal(run_one(q, d, &w), 0);
	assert_int_equal(second.after, 5);
	disk_queue_destroy(q);
}

/* ---- The recorder ---------------------------------------------------------------------------- */

struct record {
	pthread_mutex_t lock;
	unsigned writes, flushes, open, open_at_flush;
	uint64_t bytes;
};

static uint64_t began(void *ctx, const char *path, enum disk_event event, uint64_t offset,
	uint64_t length, const struct iovec *iov, unsigned n_iov)
{
	struct record *r = ctx;
	uint64_t held = 0;

	pthread_mutex_lock(&r->lock);
	if (event == DISK_EVENT_WRITE) {
		for (unsigned i = 0; i < n_iov; i++) {
			held += iov[i].iov_len;
			assert_int_equal(*(uint8_t *)iov[i].iov_base, 0x5a);
		}
		assert_int_equal(held, length);
		r->writes++;
		r->bytes += length;
	}
	if (event == DISK_EVENT_FLUSH) {
		r->flushes++;
		r->open_at_flush += r->open;
	}
	r->open++;
	pthread_mutex_unlock(&r->lock);
	return event;
}

static void ended(void *ctx, uint64_t id, int result)
{
	struct record *r = ctx;

	pthread_mutex_lock(&r->lock);
	assert_int_equal(result, 0);
	r->open--;
	pthread_mutex_unlock(&r->lock);
}

static void test_recorder(void **state)
{
	struct fixture *f = *state;
	struct record record = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct disk_recorder recorder = {.began = began, .ended = ended, .ctx = &record};
	struct toy *t = new_toy(f, 64, TOY_NOWHERE, &recorder);
	struct disk_queue *q = disk_queue_create(f->engine, 4);
	static uint8_t data[32 * TOY_SECTOR];
	struct iovec areas[2] = {{data, 700}, {data + 700, sizeof(data) - 700}};
	struct disk_request w = {
		.op = DISK_WRITE, .length = sizeof(data), .iov = areas, .n_iov = 2, .fua = true};

	memset(data, 0x5a, sizeof(data));
	for (unsigned i = 0; i < 3; i++) {
		t->reluctant = i == 1 ? 3 : 0;
		assert_int_equal(run_one(q, &t->disk, &w), 0);
	}
	assert_int_equal(record.bytes, 3 * sizeof(data));
	assert_int_equal(record.flushes, 3);
	assert_int_equal(record.open, 0);
	assert_int_equal(record.open_at_flush, 0);
	disk_queue_destroy(q);
	assert_int_equal(disk_close(&t->disk), 0);
	pthread_mutex_destroy(&record.lock);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bounds),
		TEST(test_read_only),
		TEST(test_parents_end_and_absence),
		TEST(test_failing_part),
		TEST(test_hundreds_of_areas),
		TEST(test_zeroing),
		TEST(test_many_requests),
		TEST(test_freezing_under_load),
		TEST(test_synchronizing),
		TEST(test_watching_under_load),
		TEST(test_watcher),
		TEST(test_recorder),
	};
	int failed = 0;

	for (unsigned i = 0; i < 4; i++) {
		want_uring = i & 1;
		want_flags = i & 2 ? DISK_OPEN_DIRECT : 0;
		failed += cmocka_run_group_tests_name(
			want_flags   ? want_uring ? "direct, io_uring" : "direct, threads"
			: want_uring ? "io_uring"
				     : "threads",
			tests, NULL, NULL);
	}
	return failed;
}
