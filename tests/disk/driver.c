/*
 * driver.c - does to an image, over disk.h, what a seed says, and the same to a raw file beside it:
 * the hands of tests/disk/agree, which then asks other programs what they see.
 *
 * usage: disk_driver create FORMAT KIND IMAGE SIZE BLOCK LOGICAL PHYSICAL [PARENT]
 *	  disk_driver work IMAGE REFERENCE SEED N [resize] [compact]
 *	  disk_driver compare IMAGE REFERENCE
 *	  disk_driver check IMAGE
 *	  disk_driver convert IMAGE TO FORMAT KIND BLOCK
 *	  disk_driver info IMAGE
 * Numbers are bytes. The raw file is sparse; work makes it when it is not there. One line on stderr
 * says what is wrong; the exit status is then 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/disk.h"
#include "disk/operations.h"

#define PIECE	(1u << 20)
#define ANCHORS 6u
#define BURST	12u

static struct disk_engine *engine;

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void *memory(size_t n)
{
	void *p = malloc(n);

	if (!p)
		die("out of memory");
	return p;
}

static struct disk *open_disk(const char *path, unsigned flags)
{
	struct disk_open_options options = {.flags = flags};
	struct disk_problem problem = {0};
	struct disk *d;
	int err = disk_open(engine, path, &options, &d, &problem);

	if (err)
		die("%s", disk_problem_text(&problem, path, err));
	return d;
}

static void close_disk(struct disk *d)
{
	int err = disk_close(d);

	if (err)
		die("close: %s", strerror(-err));
}

/* ---- The reference --------------------------------------------------------------------------- */

static int open_reference(const char *path, bool make)
{
	int fd = open(path, O_RDWR | (make ? O_CREAT : 0), 0600);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static void reference_size(int fd, uint64_t size)
{
	if (ftruncate(fd, size) < 0)
		die("reference: %s", strerror(errno));
}

static void reference_write(int fd, const void *bytes, uint64_t n, uint64_t offset)
{
	if (pwrite(fd, bytes, n, offset) != (ssize_t)n)
		die("reference: %s", strerror(errno));
}

static void reference_zero(int fd, uint64_t offset, uint64_t n)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, n) < 0)
		die("reference: %s", strerror(errno));
}

/* ---- Comparing ------------------------------------------------------------------------------- */

static void compare_range(struct disk *d, int fd, uint64_t offset, uint64_t n)
{
	uint8_t *image = memory(PIECE), *reference = memory(PIECE);

	while (n) {
		uint64_t more = n < PIECE ? n : PIECE;
		int err = disk_read(d, image, more, offset);

		if (err)
			die("reading %" PRIu64 " bytes at %" PRIu64 ": %s", more, offset,
				strerror(-err));
		if (pread(fd, reference, more, offset) != (ssize_t)more)
			die("reference: cannot be read at %" PRIu64, offset);
		for (uint64_t i = 0; i < more; i++)
			if (image[i] != reference[i])
				die("byte %" PRIu64 " is %02x, should be %02x", offset + i,
					image[i], reference[i]);
		offset += more;
		n -= more;
	}
	free(image);
	free(reference);
}

/* What neither has needs no look. */
static void compare_all(struct disk *d, int fd)
{
	uint64_t size = disk_size(d), at = 0;
	struct stat st;

	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != size)
		die("the disk has %" PRIu64 " bytes, should have %" PRIu64, size,
			(uint64_t)st.st_size);
	while (at < size) {
		enum disk_where where;
		int64_t n = disk_extent(d, at, size, UINT_MAX, &where);
		uint64_t end;

		if (n <= 0)
			die("extent at %" PRIu64 ": %s", at, strerror((int)-n));
		end = at + (uint64_t)n;
		while (at < end) {
			off_t data = where == DISK_DATA ? (off_t)at : lseek(fd, at, SEEK_DATA);
			uint64_t stop = end;

			if (data < 0 || (uint64_t)data >= end)
				break;
			if (where != DISK_DATA)
				stop = lseek(fd, data, SEEK_HOLE);
			if (stop > end)
				stop = end;
			compare_range(d, fd, data, stop - data);
			at = stop;
		}
		at = end;
	}
}

/* ---- Working --------------------------------------------------------------------------------- */

struct work {
	const char *path;
	struct disk *d;
	int fd;
	uint64_t state; /* of the random numbers */
	uint64_t sector, block;
	uint64_t anchor[ANCHORS]; /* places where things happen */
	struct disk_queue *queue;
};

static uint64_t chance(struct work *w, uint64_t below)
{
	/* splitmix64 */
	uint64_t z = w->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % below;
}

static void set_anchors(struct work *w)
{
	uint64_t size = disk_size(w->d);

	w->anchor[0] = 0;
	w->anchor[1] = size > 65536 ? size - 65536 : 0;
	for (unsigned i = 2; i < ANCHORS; i++) {
		w->anchor[i] = chance(w, size);
		/* Half of them around the end of a block. */
		if (w->block && i % 2)
			w->anchor[i] -= w->anchor[i] % w->block;
		w->anchor[i] -= w->anchor[i] < 32768 ? w->anchor[i] : 32768;
	}
}

/* A run of sectors inside the disk, of at most @most bytes. */
static void choose(struct work *w, uint64_t most, uint64_t *offset, uint64_t *n)
{
	uint64_t size = disk_size(w->d);

	*offset = w->anchor[chance(w, ANCHORS)] + chance(w, 131072);
	*offset = *offset % size / w->sector * w->sector;
	*n = (1 + chance(w, most / w->sector)) * w->sector;
	if (*n > size - *offset)
		*n = size - *offset;
}

static void make_bytes(struct work *w, uint8_t *bytes, uint64_t n)
{
	uint64_t value = chance(w, UINT64_MAX);

	/* Some of it is all alike, and some of that zeros. */
	if (chance(w, 4) == 0) {
		memset(bytes, chance(w, 3) ? (int)value : 0, n);
		return;
	}
	for (uint64_t i = 0; i < n; i += 8) {
		uint64_t word = value + i * 0x9e3779b97f4a7c15;

		memcpy(bytes + i, &word, 8);
	}
}

static void write_once(struct work *w, uint64_t most)
{
	uint8_t *bytes;
	uint64_t offset, n;
	int err;

	choose(w, most, &offset, &n);
	bytes = memory(n);
	make_bytes(w, bytes, n);
	err = disk_write(w->d, bytes, n, offset);
	if (err)
		die("writing %" PRIu64 " bytes at %" PRIu64 ": %s", n, offset, strerror(-err));
	reference_write(w->fd, bytes, n, offset);
	free(bytes);
}

static void answered(struct disk_request *r)
{
	if (r->result)
		die("writing %" PRIu64 " bytes at %" PRIu64 ": %s", r->length, r->offset,
			strerror(-r->result));
}

/* Many writes at once, none over another. */
static void write_many(struct work *w)
{
	struct disk_request request[BURST] = {0};
	struct iovec iov[BURST];
	unsigned n = 0, left;

	for (unsigned i = 0; i < BURST; i++) {
		struct disk_request *r = &request[n];
		bool over = false;

		choose(w, 16384, &r->offset, &r->length);
		for (unsigned j = 0; j < n; j++)
			over |= r->offset < request[j].offset + request[j].length &&
				request[j].offset < r->offset + r->length;
		if (over)
			continue;
		iov[n] = (struct iovec){memory(r->length), r->length};
		make_bytes(w, iov[n].iov_base, r->length);
		reference_write(w->fd, iov[n].iov_base, r->length, r->offset);
		r->op = DISK_WRITE;
		r->fua = chance(w, 16) == 0;
		r->iov = &iov[n];
		r->n_iov = 1;
		r->done = answered;
		n++;
	}
	for (unsigned i = 0; i < n; i++)
		disk_submit(w->queue, w->d, &request[i]);
	for (left = n; left;)
		left -= disk_queue_run(w->queue, true);
	for (unsigned i = 0; i < n; i++)
		free(iov[i].iov_base);
}

static void zero(struct work *w, bool unmap)
{
	uint64_t offset, n, size = disk_size(w->d);
	int err;

	choose(w, 262144, &offset, &n);
	/* Now and then whole blocks. */
	if (w->block && chance(w, 3) == 0) {
		offset -= offset % w->block;
		n = w->block * (1 + chance(w, 2));
		if (n > size - offset)
			n = size - offset;
	}
	err = unmap ? disk_unmap(w->d, offset, n) : disk_zero(w->d, offset, n);
	if (err)
		die("%s %" PRIu64 " bytes at %" PRIu64 ": %s", unmap ? "unmapping" : "zeroing", n,
			offset, strerror(-err));
	reference_zero(w->fd, offset, n);
}

static void verify(struct work *w)
{
	uint64_t offset, n;

	choose(w, 262144, &offset, &n);
	compare_range(w->d, w->fd, offset, n);
}

static void reopen(struct work *w)
{
	close_disk(w->d);
	w->d = open_disk(w->path, DISK_OPEN_WRITE);
}

static void compact(struct work *w)
{
	struct disk_problem problem = {0};
	int err = disk_compact(w->d, chance(w, 4), NULL, &problem);

	if (err)
		die("compacting: %s", disk_problem_text(&problem, w->path, err));
}

static void resize(struct work *w)
{
	struct disk_problem problem = {0};
	struct disk_info info;
	uint64_t size = disk_size(w->d);
	int err;

	disk_info(w->d, &info);
	if (chance(w, 3) == 0 && info.min_size && info.min_size < size)
		size = info.min_size + chance(w, size - info.min_size) / w->sector * w->sector;
	else
		size += chance(w, 8u << 20) / w->sector * w->sector;
	err = disk_resize(w->d, size, false, &problem);
	if (err)
		die("resizing to %" PRIu64 ": %s", size, disk_problem_text(&problem, w->path, err));
	reference_size(w->fd, size);
	set_anchors(w);
}

static void operate(struct work *w, bool may_resize, bool may_compact)
{
	uint64_t what = chance(w, 100);
	int err;

	if (what < 40)
		write_once(w, 65536);
	else if (what < 44)
		write_once(w, 3u << 20);
	else if (what < 52)
		write_many(w);
	else if (what < 62)
		zero(w, false);
	else if (what < 74)
		zero(w, true);
	else if (what < 84)
		verify(w);
	else if (what < 90)
		reopen(w);
	else if (what < 93 && may_compact)
		compact(w);
	else if (what < 96 && may_resize)
		resize(w);
	else if ((err = disk_flush(w->d)) < 0)
		die("flushing: %s", strerror(-err));
}

static int work(char **argv, int argc)
{
	struct work w = {.path = argv[0], .state = strtoull(argv[2], NULL, 0)};
	unsigned long n = strtoul(argv[3], NULL, 0);
	bool may_resize = false, may_compact = false;
	struct disk_info info;
	struct stat st;

	for (int i = 4; i < argc; i++) {
		may_resize |= strcmp(argv[i], "resize") == 0;
		may_compact |= strcmp(argv[i], "compact") == 0;
	}
	w.d = open_disk(w.path, DISK_OPEN_WRITE);
	w.fd = open_reference(argv[1], true);
	w.queue = disk_queue_create(engine, 8);
	disk_info(w.d, &info);
	w.sector = info.logical_sector;
	w.block = info.block_size;
	if (fstat(w.fd, &st) == 0 && st.st_size == 0)
		reference_size(w.fd, disk_size(w.d));
	set_anchors(&w);
	while (n--)
		operate(&w, may_resize, may_compact);
	compare_all(w.d, w.fd);
	close_disk(w.d);
	disk_queue_destroy(w.queue);
	close(w.fd);
	return 0;
}

/* ---- The others ------------------------------------------------------------------------------ */

static enum disk_format format_of(const char *word)
{
	return !strcmp(word, "vhd")    ? DISK_FORMAT_VHD
	       : !strcmp(word, "vhdx") ? DISK_FORMAT_VHDX
	       : !strcmp(word, "raw")  ? DISK_FORMAT_RAW
				       : (die("%s is no format", word), 0);
}

static enum disk_kind kind_of(const char *word)
{
	return !strcmp(word, "fixed")	       ? DISK_FIXED
	       : !strcmp(word, "dynamic")      ? DISK_DYNAMIC
	       : !strcmp(word, "differencing") ? DISK_DIFFERENCING
					       : (die("%s is no kind", word), 0);
}

static int create(char **argv, int argc)
{
	struct disk_problem problem = {0};
	struct disk_create c = {
		.format = format_of(argv[0]),
		.kind = kind_of(argv[1]),
		.size = strtoull(argv[3], NULL, 0),
		.block_size = strtoul(argv[4], NULL, 0),
		.logical_sector = strtoul(argv[5], NULL, 0),
		.physical_sector = strtoul(argv[6], NULL, 0),
		.parent = argc > 7 ? argv[7] : NULL,
		.parent_format = argc > 7 ? format_of(argv[0]) : DISK_FORMAT_ANY,
	};
	int err = disk_create(engine, argv[2], &c, NULL, &problem);

	if (err)
		die("%s", disk_problem_text(&problem, argv[2], err));
	return 0;
}

static int compare(char **argv, int argc)
{
	struct disk *d = open_disk(argv[0], 0);
	int fd = open_reference(argv[1], false);

	compare_all(d, fd);
	close(fd);
	close_disk(d);
	return 0;
}

static void found(void *ctx, bool repaired, const char *text)
{
	fprintf(stderr, "%s: %s\n", (const char *)ctx, text);
}

static int check(char **argv, int argc)
{
	struct disk *d = open_disk(argv[0], DISK_OPEN_DAMAGED);
	struct disk_check c = {.found = found, .ctx = argv[0]};
	int err = disk_check(d, &c, NULL);

	if (err)
		die("%s: checking: %s", argv[0], strerror(-err));
	close_disk(d);
	return c.errors != 0;
}

static int convert(char **argv, int argc)
{
	struct disk *d = open_disk(argv[0], 0);
	struct disk_problem problem = {0};
	struct disk_convert c = {
		.target =
			{
				.format = format_of(argv[2]),
				.kind = kind_of(argv[3]),
				.block_size = strtoul(argv[4], NULL, 0),
				.overwrite = true,
			},
	};
	int err = disk_convert(engine, d, argv[1], &c, NULL, &problem);

	if (err)
		die("%s", disk_problem_text(&problem, argv[1], err));
	close_disk(d);
	return 0;
}

static int info(char **argv, int argc)
{
	struct disk *d = open_disk(argv[0], DISK_OPEN_NO_PARENTS);
	struct disk_info i;

	disk_info(d, &i);
	printf("size %" PRIu64 " block %u logical %u physical %u\n", i.size, i.block_size,
		i.logical_sector, i.physical_sector);
	close_disk(d);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int arguments; /* at least */
		int (*run)(char **argv, int argc);
	} commands[] = {
		{"create", 7, create},
		{"work", 4, work},
		{"compare", 2, compare},
		{"check", 1, check},
		{"convert", 5, convert},
		{"info", 1, info},
	};
	int status;

	engine = disk_engine_create(NULL);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (argc < 2 || strcmp(argv[1], commands[i].name) != 0 ||
			argc - 2 < commands[i].arguments)
			continue;
		status = commands[i].run(argv + 2, argc - 2);
		disk_engine_destroy(engine);
		return status;
	}
	die("usage: disk_driver create|work|compare|check|convert|info ARGUMENT...");
}
