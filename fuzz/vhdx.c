/*
 * vhdx.c - hostile VHDX files: whatever is in one, opening it, reading it all over, checking,
 * repairing, writing, resizing and compacting it neither crashes nor hangs nor reads past the file;
 * a file that could be opened and was closed can be opened again.
 *
 * Input: a byte that selects the sound file to begin with and what is done with it, then changes of
 * the file (struct change). Checksums are put right afterwards, unless the first byte says not, so
 * that what stands behind them is reached. The file is in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/guid.h"
#include "disk/vhdx.h"

#define PAGE	   4096u
#define FILE_PAGES 4096u /* a file has at most 16 MiB */
#define KINDS	   3

/* The first byte. */
#define KIND	   3u
#define KEEP_SUMS  4u  /* checksums stay as they are */
#define MANY_TIMES 8u  /* compact and resize too, and metadata that outgrows its region */
#define FIRST	   16u /* repair before all else */
#define LONG_ITEM  32u /* metadata that outgrows its region */

/* A change: @length bytes that follow, at @offset of @area; or one without bytes. */
struct change {
	uint8_t area;
	uint8_t length;
	uint16_t offset;
} __attribute__((packed));

enum area {
	HEADERS,
	REGIONS,
	METADATA,
	ITEMS,
	BAT,
	BAT_END, /* a bitmap's entry */
	LOG,
	BLOCKS,
	FILE_SIZE, /* offset: in units of 4 KiB */
	LOG_ENTRY, /* bytes: struct made_entry and descriptors */
	IDENTIFIER,
	AREAS
};

struct made_descriptor {
	uint8_t zeros;
	uint8_t area; /* as above, or anywhere: page in units of 64 KiB */
	uint16_t page;
} __attribute__((packed));

struct made_entry {
	uint8_t at, tail, sequence; /* at, tail: sectors of the log */
	uint8_t flags;		    /* 1: the file shall be longer */
} __attribute__((packed));

static const uint64_t areas[AREAS] = {
	[HEADERS] = VHDX_HEADER_AT(0),
	[REGIONS] = VHDX_REGION_TABLE_AT(0),
	[METADATA] = 2 * VHDX_MB,
	[ITEMS] = 2 * VHDX_MB + VHDX_METADATA_TABLE,
	[BAT] = 3 * VHDX_MB,
	[BAT_END] = 3 * VHDX_MB + 4096 * 8,
	[LOG] = VHDX_MB,
	[BLOCKS] = 4 * VHDX_MB,
};

static const GUID log_id = {0x10, 0x20, 0x30, {0x40}};

/* A sound file: those of its pages that are not zeros. */
struct base {
	uint64_t size;
	unsigned n;
	uint32_t at[FILE_PAGES];
	uint8_t (*page)[PAGE];
};

static struct base bases[KINDS];
static struct disk_engine *engine;
static int image = -1; /* the file */

/* ---- Sound files ----------------------------------------------------------------------------- */

static int open_image(void *ctx, const char *path, int flags)
{
	char name[64];

	/* There is no other file. */
	if (strcmp(path, "image"))
		return -ENOENT;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", image);
	return open(name, (flags & O_ACCMODE) | O_CLOEXEC);
}

static struct disk *open_disk(unsigned flags)
{
	struct disk_open_options o = {
		.flags = flags | DISK_OPEN_NO_PARENTS | DISK_OPEN_SHARED,
		.format = DISK_FORMAT_VHDX,
		.cache = 1,
		.open_file = open_image,
	};
	struct disk_problem problem = {0};
	struct disk *d;
	int r = disk_open(engine, "image", &o, &d, &problem);

	if (r && strchr(disk_problem_text(&problem, "image", r), '\n'))
		abort();
	return r ? NULL : d;
}

static void must(int r)
{
	if (r)
		abort();
}

static void write_some(struct disk *d)
{
	uint8_t bytes[8192];

	memset(bytes, 0x5a, sizeof(bytes));
	must(disk_write(d, bytes, sizeof(bytes), 0));
	must(disk_write(d, bytes, sizeof(bytes), 3 * VHDX_MB - sizeof(bytes) / 2));
	must(disk_close(d));
}

static void remember(struct base *b)
{
	uint8_t page[PAGE];
	static const uint8_t zeros[PAGE];

	b->size = lseek(image, 0, SEEK_END);
	b->page = malloc(b->size);
	for (uint32_t i = 0; i < b->size / PAGE; i++) {
		must(pread(image, page, PAGE, (uint64_t)i * PAGE) != PAGE);
		if (!memcmp(page, zeros, PAGE))
			continue;
		memcpy(b->page[b->n], page, PAGE);
		b->at[b->n++] = i;
	}
}

static void make_base(struct base *b, const char *path, const char *parent, enum disk_kind kind)
{
	struct disk_create c = {
		.format = DISK_FORMAT_VHDX,
		.kind = kind,
		.size = 4 * VHDX_MB,
		.block_size = VHDX_BLOCK_MIN,
		.parent = parent,
	};

	must(disk_create(engine, path, &c, NULL, NULL));
	image = open(path, O_RDWR | O_CLOEXEC);
	must(image < 0);
	write_some(open_disk(DISK_OPEN_WRITE));
	remember(b);
	close(image);
}

static void begin(void)
{
	char folder[] = "/tmp/fuzz-vhdx-XXXXXX", parent[64], path[64];

	engine = disk_engine_create(&(struct disk_engine_options){.threads = 1});
	must(!engine || !mkdtemp(folder));
	snprintf(parent, sizeof(parent), "%s/parent", folder);
	snprintf(path, sizeof(path), "%s/image", folder);
	make_base(&bases[0], parent, NULL, DISK_DYNAMIC);
	make_base(&bases[1], path, parent, DISK_DIFFERENCING);
	unlink(path);
	make_base(&bases[2], path, NULL, DISK_FIXED);
	unlink(path);
	unlink(parent);
	rmdir(folder);
	image = memfd_create("vhdx", MFD_CLOEXEC);
	must(image < 0);
}

static void restore(const struct base *b)
{
	must(ftruncate(image, 0));
	must(ftruncate(image, b->size));
	for (unsigned i = 0; i < b->n; i++)
		must(pwrite(image, b->page[i], PAGE, (uint64_t)b->at[i] * PAGE) != PAGE);
}

/* ---- Changes --------------------------------------------------------------------------------- */

static void poke(const void *data, size_t n, uint64_t offset)
{
	if (offset + n <= (uint64_t)FILE_PAGES * PAGE && pwrite(image, data, n, offset) < 0)
		abort();
}

static void poke_descriptor(
	struct vhdx_log_descriptor *d, const struct made_descriptor *m, uint64_t sequence)
{
	d->signature = m->zeros ? VHDX_LOG_ZERO_SIGNATURE : VHDX_LOG_DATA_SIGNATURE;
	d->sequence = sequence;
	d->offset = m->area < FILE_SIZE ? areas[m->area] + m->page % 16 * PAGE
					: (uint64_t)m->page * VHDX_KB64;
	if (m->zeros)
		d->length = m->zeros * (uint64_t)PAGE;
	else
		d->leading = m->page;
}

/* A valid entry of the log, whose data sectors hold the bytes of the file that they replace. */
static void make_entry(const uint8_t *data, size_t n)
{
	static uint8_t bytes[130 * PAGE];
	struct vhdx_log_header *h = (void *)bytes;
	struct vhdx_log_descriptor *d = (void *)(h + 1);
	struct made_descriptor m;
	struct made_entry e;

	if (n < sizeof(e))
		return;
	memcpy(&e, data, sizeof(e));
	memset(bytes, 0, sizeof(bytes));
	*h = (struct vhdx_log_header){
		.signature = VHDX_LOG_ENTRY_SIGNATURE,
		.length = PAGE,
		.tail = e.tail * PAGE,
		.sequence = e.sequence,
		.log = log_id,
		.flushed_file_offset = 4 * VHDX_MB,
		.last_file_offset = (e.flags & 1 ? 12 : 4) * VHDX_MB,
	};
	for (data += sizeof(e), n -= sizeof(e); n >= sizeof(m); data += sizeof(m), n -= sizeof(m)) {
		struct vhdx_log_sector *s = (void *)(bytes + h->length);

		memcpy(&m, data, sizeof(m));
		poke_descriptor(d + h->descriptors, &m, e.sequence);
		if (!m.zeros) {
			if (pread(image, s, PAGE, d[h->descriptors].offset) == PAGE) {
				memcpy(&d[h->descriptors].leading, s, 8);
				memcpy(&d[h->descriptors].trailing, &s->sequence_low, 4);
			}
			s->signature = VHDX_LOG_SECTOR_SIGNATURE;
			s->sequence_high = 0;
			s->sequence_low = e.sequence;
			h->length += PAGE;
		}
		h->descriptors++;
	}
	h->checksum = vhdx_checksum(bytes, h->length);
	for (uint32_t done = 0; done < h->length; done += PAGE)
		poke(bytes + done, PAGE, VHDX_MB + (e.at * PAGE + done) % VHDX_MB);
}

/* Returns whether there is a log. */
static bool change_all(const uint8_t *data, size_t size)
{
	bool log = false;
	struct change c;

	while (size >= sizeof(c)) {
		memcpy(&c, data, sizeof(c));
		data += sizeof(c);
		size -= sizeof(c);
		if (c.length > size)
			c.length = size;
		c.area %= AREAS;
		if (c.area == FILE_SIZE) {
			must(ftruncate(image, (uint64_t)(c.offset % FILE_PAGES) * PAGE));
		} else if (c.area == LOG_ENTRY) {
			make_entry(data, c.length);
			log = true;
		} else {
			/* The second header and table, too. */
			uint64_t beyond = c.offset & 0x8000 && c.area <= REGIONS ? VHDX_KB64 : 0;

			poke(data, c.length, areas[c.area] + beyond + (c.offset & 0x7fff));
		}
		data += c.length;
		size -= c.length;
	}
	return log;
}

static void mend_sums(bool log)
{
	static struct vhdx_region_table t;
	struct vhdx_header h;

	for (unsigned i = 0; i < 2; i++) {
		if (pread(image, &h, sizeof(h), VHDX_HEADER_AT(i)) == sizeof(h)) {
			if (log)
				h.log = log_id;
			vhdx_header_seal(&h);
			poke(&h, sizeof(h), VHDX_HEADER_AT(i));
		}
		if (pread(image, &t, sizeof(t), VHDX_REGION_TABLE_AT(i)) == sizeof(t)) {
			t.checksum = vhdx_checksum(&t, sizeof(t));
			poke(&t, sizeof(t), VHDX_REGION_TABLE_AT(i));
		}
	}
}

/* ---- What is done with it -------------------------------------------------------------------- */

static void read_all(struct disk *d)
{
	static uint8_t bytes[65536];
	uint64_t size = disk_size(d), offset = 0;
	enum disk_where where;
	int64_t n;

	for (unsigned i = 0; i < 64 && offset < size; i++, offset += n) {
		uint64_t length = size - offset < sizeof(bytes) ? size - offset : sizeof(bytes);

		disk_read(d, bytes, length, offset);
		n = disk_extent(d, offset, size, UINT32_MAX, &where);
		if (n <= 0)
			n = VHDX_MB - offset % VHDX_MB;
		if (offset + n > size && offset + n - size >= VHDX_MB)
			abort();
	}
	disk_read(d, bytes, 4096, (size - 4096) / 4096 * 4096);
}

static void ask(struct disk *d)
{
	struct disk_info info;
	GUID items[64];
	uint8_t bytes[1024];
	uint32_t length;
	unsigned n;
	char *path;

	disk_info(d, &info);
	for (unsigned i = 0; i <= DISK_LOCATOR_VOLUME; i++)
		if (!disk_parent_locator(d, i, &path))
			free(path);
	disk_metadata_list(d, items, 64, &n);
	for (unsigned i = 0; i < n && i < 64; i++) {
		length = sizeof(bytes);
		disk_metadata_get(d, &items[i], bytes, &length);
	}
}

static void check(struct disk *d, bool repair)
{
	struct disk_check c = {.repair = repair};

	disk_check(d, &c, NULL);
	if (c.repaired > c.errors)
		abort();
}

static void repair(void)
{
	struct disk *d = open_disk(DISK_OPEN_WRITE | DISK_OPEN_DAMAGED);

	if (d) {
		check(d, true);
		disk_close(d);
	}
}

static void change(struct disk *d, uint8_t how)
{
	static const uint8_t long_item[VHDX_METADATA_ITEM_MAX] = {4};
	uint8_t bytes[12288] = {1, 2, 3};
	const GUID item = {5};
	uint64_t size = disk_size(d);

	disk_write(d, bytes, sizeof(bytes), 0);
	disk_write(d, bytes, 4096, (VHDX_MB - 4096));
	disk_write(d, bytes, 4096, (size - 4096) / 4096 * 4096);
	disk_flush(d);
	disk_unmap(d, 2 * VHDX_MB, VHDX_MB);
	disk_zero(d, 4096, 8192);
	disk_metadata_set(d, &item, bytes, 100);
	if (how & LONG_ITEM)
		disk_metadata_set(d, &item, long_item, sizeof(long_item));
	if (how & MANY_TIMES) {
		disk_compact(d, DISK_COMPACT_ALL, NULL, NULL);
		if (size < 8 * VHDX_MB)
			disk_resize(d, 8 * VHDX_MB, false, NULL);
		disk_metadata_delete(d, &item);
		disk_resize(d, 3 * VHDX_MB, true, NULL);
	}
	disk_write(d, bytes, 4096, VHDX_MB);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct disk *d;
	bool log;

	if (!size)
		return 0;
	if (!engine)
		begin();
	restore(&bases[(data[0] & KIND) % KINDS]);
	log = change_all(data + 1, size - 1);
	if (!(data[0] & KEEP_SUMS))
		mend_sums(log);

	if (data[0] & FIRST)
		repair();
	d = open_disk(0);
	if (d) {
		read_all(d);
		ask(d);
		check(d, false);
		must(disk_close(d));
	}
	d = open_disk(DISK_OPEN_WRITE);
	if (d) {
		change(d, data[0]);
		read_all(d);
		if (!disk_close(d)) {
			d = open_disk(0);
			must(!d);
			disk_close(d);
		}
	}
	repair();
	return 0;
}
