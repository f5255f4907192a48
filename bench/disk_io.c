/*
 * disk_io - how fast a disk or a plain file is read and written, with a number of requests under
 * way at once, in the pattern of `qemu-img bench`: each request STEP bytes behind the last, modulo
 * the size.
 *
 * usage: disk_io WAY FILE OP SIZE STEP DEPTH COUNT [direct]
 * WAY: partita (an image of any format), threads (the same without io_uring), plain (pread, pwrite;
 * depth 1), uring (the file itself). OP: read, write. SIZE, STEP in bytes. Prints requests per
 * second.
 *
 * usage: disk_io beside FILE OTHER OP SIZE STEP DEPTH COUNT PAIRS [direct]
 * Two images in turn, COUNT requests to each, as many times as PAIRS says, first the one and then
 * the other first: what disturbs the host for longer than a slice disturbs both. Prints the median
 * requests per second of FILE and of OTHER, and the quartiles and the median of the ratio of the
 * times that a pair took.
 *
 * usage: disk_io convert FROM TO FORMAT
 * usage: disk_io create FILE FORMAT SIZE
 * Print seconds.
 *
 * usage: disk_io warm FILE
 * Puts the file into the page cache page by page. How a file came there matters: in large folios,
 * as large writes leave them, ext4 takes several times as long for a 4 KiB write.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk/disk.h"
#include "disk/operations.h"

#define MAX_DEPTH 256
#define MAX_PAIRS 1000

struct load {
	bool write, direct;
	uint64_t length, step, size, offset;
	unsigned depth;
	uint64_t left;
	uint8_t *memory;
};

static void fail(const char *what, int err)
{
	fprintf(stderr, "disk_io: %s: %s\n", what, strerror(-err));
	exit(1);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static uint64_t next_offset(struct load *l)
{
	uint64_t at = l->offset;

	l->offset = (l->offset + l->step) % l->size;
	return at + l->length <= l->size ? at : 0;
}

/* ---- The file itself ------------------------------------------------------------------------- */

static int open_file(struct load *l, const char *path)
{
	int fd = open(path, (l->write ? O_RDWR : O_RDONLY) | (l->direct ? O_DIRECT : 0));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		fail(path, -errno);
	l->size = st.st_size;
	return fd;
}

static void run_plain(struct load *l, const char *path)
{
	int fd = open_file(l, path);

	while (l->left--) {
		ssize_t n = l->write ? pwrite(fd, l->memory, l->length, next_offset(l))
				     : pread(fd, l->memory, l->length, next_offset(l));

		if (n != (ssize_t)l->length)
			fail(path, n < 0 ? -errno : -EIO);
	}
}

static void run_uring(struct load *l, const char *path)
{
	int fd = open_file(l, path), err;
	struct io_uring ring;
	unsigned under_way = 0, head, n;
	struct io_uring_cqe *cqe;

	err = io_uring_queue_init(MAX_DEPTH, &ring, 0);
	if (err)
		fail("io_uring", err);
	while (l->left || under_way) {
		while (l->left && under_way < l->depth) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
			uint8_t *data = l->memory + l->left % l->depth * l->length;

			if (l->write)
				io_uring_prep_write(sqe, fd, data, l->length, next_offset(l));
			else
				io_uring_prep_read(sqe, fd, data, l->length, next_offset(l));
			l->left--;
			under_way++;
		}
		io_uring_submit_and_wait(&ring, 1);
		n = 0;
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			if (cqe->res != (int)l->length)
				fail(path, cqe->res < 0 ? cqe->res : -EIO);
			n++;
		}
		io_uring_cq_advance(&ring, n);
		under_way -= n;
	}
}

/* ---- A disk ---------------------------------------------------------------------------------- */

struct slot {
	struct disk_request request;
	struct iovec iov;
	struct load *load;
	struct disk_queue *queue;
	struct disk *disk;
};

static void go_on(struct slot *s)
{
	struct load *l = s->load;

	if (!l->left)
		return;
	l->left--;
	s->request.offset = next_offset(l);
	disk_submit(s->queue, s->disk, &s->request);
}

static void slot_done(struct disk_request *r)
{
	if (r->result)
		fail("request", r->result);
	go_on((struct slot *)r);
}

static struct disk *open_disk(struct disk_engine *e, const char *path, unsigned flags)
{
	struct disk_open_options options = {.flags = flags};
	struct disk_problem problem = {0};
	struct disk *d;
	int err = disk_open(e, path, &options, &d, &problem);

	if (err) {
		fprintf(stderr, "disk_io: %s\n", disk_problem_text(&problem, path, err));
		exit(1);
	}
	return d;
}

/* Returns the seconds it took. */
static double run_disk(struct load *l, struct disk_engine *e, struct disk *d)
{
	static struct slot slots[MAX_DEPTH];
	struct disk_queue *q = disk_queue_create(e, l->depth);
	double began;

	if (!q)
		fail("queue", -errno);
	began = seconds();
	for (unsigned i = 0; i < l->depth; i++) {
		slots[i] = (struct slot){
			.request = {.op = l->write ? DISK_WRITE : DISK_READ,
				.length = l->length,
				.iov = &slots[i].iov,
				.n_iov = 1,
				.done = slot_done},
			.iov = {l->memory + i * l->length, l->length},
			.load = l,
			.queue = q,
			.disk = d,
		};
		go_on(&slots[i]);
	}
	while (disk_queue_run(q, true))
		;
	began = seconds() - began;
	disk_queue_destroy(q);
	return began;
}

/* ---- Commands -------------------------------------------------------------------------------- */

static enum disk_format format_of(const char *name)
{
	return strcmp(name, "raw") == 0	  ? DISK_FORMAT_RAW
	       : strcmp(name, "vhd") == 0 ? DISK_FORMAT_VHD
					  : DISK_FORMAT_VHDX;
}

static int do_warm(char **argv)
{
	int fd = open(argv[2], O_RDONLY);
	uint8_t page[4096];
	struct stat st;

	if (fd < 0 || fdatasync(fd) < 0 || fstat(fd, &st) < 0)
		fail(argv[2], -errno);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (off_t at = 0; at < st.st_size; at += sizeof(page))
		if (pread(fd, page, sizeof(page), at) < 0)
			fail(argv[2], -errno);
	close(fd);
	return 0;
}

static int do_create(char **argv)
{
	struct disk_engine *e = disk_engine_create(NULL);
	struct disk_create create = {
		.format = format_of(argv[3]),
		.kind = DISK_DYNAMIC,
		.size = strtoull(argv[4], NULL, 0),
	};
	double began = seconds();
	int err = disk_create(e, argv[2], &create, NULL, NULL);

	if (err)
		fail(argv[2], err);
	printf("%.6f\n", seconds() - began);
	disk_engine_destroy(e);
	return 0;
}

static int do_convert(char **argv)
{
	struct disk_engine *e = disk_engine_create(NULL);
	struct disk *source = open_disk(e, argv[2], 0);
	struct disk_problem problem = {0};
	struct disk_convert convert = {
		.target = {.format = format_of(argv[4]), .kind = DISK_DYNAMIC, .overwrite = true}};
	double began = seconds();
	int err;

	if (convert.target.format == DISK_FORMAT_RAW)
		convert.target.kind = DISK_FIXED;
	err = disk_convert(e, source, argv[3], &convert, NULL, &problem);
	if (err) {
		fprintf(stderr, "disk_io: %s\n", disk_problem_text(&problem, argv[3], err));
		exit(1);
	}
	printf("%.6f\n", seconds() - began);
	disk_close(source);
	disk_engine_destroy(e);
	return 0;
}

/* OP SIZE STEP DEPTH COUNT */
static struct load parse_load(char **argv, bool direct)
{
	struct load l = {
		.write = strcmp(argv[0], "write") == 0,
		.length = strtoull(argv[1], NULL, 0),
		.step = strtoull(argv[2], NULL, 0),
		.depth = strtoul(argv[3], NULL, 0),
		.left = strtoull(argv[4], NULL, 0),
		.direct = direct,
	};

	if (!l.depth || l.depth > MAX_DEPTH ||
		posix_memalign((void **)&l.memory, 4096, l.depth * l.length))
		fail("arguments", -EINVAL);
	memset(l.memory, 0x5a, l.depth * l.length);
	return l;
}

static unsigned flags_of(const struct load *l)
{
	return (l->write ? DISK_OPEN_WRITE : 0) | (l->direct ? DISK_OPEN_DIRECT : 0);
}

/* One of two disks that are loaded in turn. */
struct side {
	struct disk *disk;
	struct load load;
	double took[MAX_PAIRS];
};

static void run_slice(struct side *s, struct disk_engine *e, uint64_t count, unsigned pair)
{
	s->load.left = count;
	s->took[pair] = run_disk(&s->load, e, s->disk);
	/* The next slice shall not wait for what this one left in memory. */
	if (s->load.write && disk_flush(s->disk))
		fail("flush", -EIO);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static int do_beside(int argc, char **argv)
{
	static struct side sides[2];
	static double ratio[MAX_PAIRS];
	struct disk_engine *e = disk_engine_create(NULL);
	unsigned pairs = strtoul(argv[9], NULL, 0);
	uint64_t count;

	if (!pairs || pairs > MAX_PAIRS)
		fail("arguments", -EINVAL);
	for (unsigned i = 0; i < 2; i++) {
		struct load *l = &sides[i].load;

		*l = parse_load(argv + 4, argc > 10);
		sides[i].disk = open_disk(e, argv[2 + i], flags_of(l));
		l->size = disk_size(sides[i].disk);
	}
	count = sides[0].load.left;
	for (unsigned i = 0; i < pairs; i++) {
		run_slice(&sides[i % 2], e, count, i);
		run_slice(&sides[1 - i % 2], e, count, i);
		ratio[i] = sides[0].took[i] / sides[1].took[i];
	}
	qsort(ratio, pairs, sizeof(ratio[0]), by_value);
	for (unsigned i = 0; i < 2; i++) {
		qsort(sides[i].took, pairs, sizeof(double), by_value);
		printf("%.1f ", count / sides[i].took[pairs / 2]);
		disk_close(sides[i].disk);
	}
	printf("%.3f %.3f %.3f\n", ratio[pairs / 4], ratio[pairs / 2], ratio[pairs * 3 / 4]);
	disk_engine_destroy(e);
	return 0;
}

static int do_load(int argc, char **argv)
{
	struct load l = parse_load(argv + 3, argc > 8);
	uint64_t count = l.left;
	double began, took;

	if (strcmp(argv[1], "plain") == 0 || strcmp(argv[1], "uring") == 0) {
		began = seconds();
		(argv[1][0] == 'p' ? run_plain : run_uring)(&l, argv[2]);
		took = seconds() - began;
	} else {
		struct disk_engine_options options = {.no_uring = argv[1][0] == 't'};
		struct disk_engine *e = disk_engine_create(&options);
		struct disk *d = open_disk(e, argv[2], flags_of(&l));

		l.size = disk_size(d);
		took = run_disk(&l, e, d);
		disk_close(d);
		disk_engine_destroy(e);
	}
	printf("%.1f\n", count / took);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "warm") == 0)
		return do_warm(argv);
	if (argc == 5 && strcmp(argv[1], "create") == 0)
		return do_create(argv);
	if (argc == 5 && strcmp(argv[1], "convert") == 0)
		return do_convert(argv);
	if ((argc == 10 || argc == 11) && strcmp(argv[1], "beside") == 0)
		return do_beside(argc, argv);
	if (argc == 8 || argc == 9)
		return do_load(argc, argv);
	fprintf(stderr, "disk_io: see the head of disk_io.c\n");
	return 2;
}
