/*
 * vhdx_header.c - the file type identifier and the two headers of a VHDX file.
 *
 * A header is never written over while it is the current one, and both copies are brought up to
 * date, each durable before the next is touched: one torn or lost sector never costs the file.
 *
 * Source: [MS-VHDX] 2.2.1, 2.2.2, 2.2.2.1.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/guid.h"
#include "base/utf16.h"
#include "disk/vhdx.h"
#include "winerror.h"

bool vhdx_sealed(const void *structure, size_t size)
{
	uint32_t stored;

	memcpy(&stored, (const uint8_t *)structure + VHDX_CHECKSUM_AT, sizeof(stored));
	return vhdx_checksum(structure, size) == stored;
}

uint32_t vhdx_checksum(const void *structure, size_t size)
{
	static const uint32_t zero;
	const uint8_t *p = structure;
	uint32_t crc = crc32c(0, p, VHDX_CHECKSUM_AT);

	crc = crc32c(crc, &zero, sizeof(zero));
	return crc32c(crc, p + VHDX_CHECKSUM_AT + 4, size - VHDX_CHECKSUM_AT - 4);
}

void vhdx_header_seal(struct vhdx_header *h)
{
	h->signature = VHDX_HEADER_SIGNATURE;
	h->checksum = vhdx_checksum(h, sizeof(*h));
}

static bool is_valid(const struct vhdx_header *h)
{
	return h->signature == VHDX_HEADER_SIGNATURE && vhdx_sealed(h, sizeof(*h));
}

/*
 * Which of both is current. Equal sequence numbers make neither current, unless the headers are
 * the same: some tools write them so.
 */
static int choose(struct vhdx *v, const struct vhdx_header h[2], struct disk_problem *problem)
{
	v->header_bad = (!is_valid(&h[0])) | (!is_valid(&h[1])) << 1;
	if (v->header_bad == 3)
		return vhdx_damaged(
			v, problem, "both headers are damaged; only a copy of the file can help");
	if (!v->header_bad && h[0].sequence == h[1].sequence &&
		memcmp(&h[0], &h[1], sizeof(h[0]))) {
		if (!(v->disk.flags & DISK_OPEN_DAMAGED))
			return vhdx_damaged(v, problem,
				"its two headers differ and neither is the newer one; "
				"run partita disk check --repair on it");
		v->header_bad = 2;
	}
	if (v->header_bad)
		v->header_at = v->header_bad == 1;
	else
		v->header_at = h[1].sequence > h[0].sequence;
	v->header = h[v->header_at];
	return 0;
}

static int check_header(struct vhdx *v, struct disk_problem *problem)
{
	const struct vhdx_header *h = &v->header;

	if (h->version != VHDX_VERSION)
		return disk_problem_note(problem, &v->disk.file, -ENOTSUP,
			ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
			"it has version %u of the VHDX format, and only version 1 is known",
			h->version);
	if (h->log_version != VHDX_LOG_VERSION && !guid_is_zero(&h->log))
		return disk_problem_note(problem, &v->disk.file, -ENOTSUP,
			ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
			"its log has version %u, which is not known; "
			"open it once with the system that wrote it",
			h->log_version);
	if (!h->log_length && guid_is_zero(&h->log) && !v->disk.file.writable)
		return 0;
	if (!h->log_length || h->log_length % VHDX_ALIGNMENT || h->log_offset % VHDX_ALIGNMENT ||
		h->log_offset < VHDX_HEADER_AREA || h->log_offset > v->disk.file.size ||
		h->log_length > v->disk.file.size - h->log_offset)
		return vhdx_damaged(v, problem,
			"its header places the log at %#llx (%#x bytes), which is not inside the "
			"file; the file is cut short or damaged, use a copy",
			(unsigned long long)h->log_offset, h->log_length);
	return 0;
}

/* The creator is shown to people: what is not for a terminal becomes a question mark. */
static void read_creator(struct vhdx *v, const struct vhdx_identifier *id)
{
	char *text = utf16_to_utf8(id->creator, sizeof(id->creator) / sizeof(id->creator[0]));

	if (!text)
		return;
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	snprintf(v->disk.fixed.creator, sizeof(v->disk.fixed.creator), "%s", text);
	free(text);
}

void vhdx_identifier_make(struct vhdx_identifier *id)
{
	static const char creator[] = "Partita " PARTITA_VERSION;

	memset(id, 0, sizeof(*id));
	memcpy(id->signature, VHDX_IDENTIFIER_SIGNATURE, sizeof(id->signature));
	for (size_t i = 0; creator[i]; i++)
		id->creator[i] = creator[i];
}

int vhdx_headers_read(struct vhdx *v, struct disk_problem *problem)
{
	struct vhdx_identifier id;
	struct vhdx_header h[2];
	int r;

	if (v->disk.file.size < VHDX_HEADER_AREA)
		return vhdx_damaged(
			v, problem, "it is too short for a VHDX file; it was cut off, use a copy");
	r = disk_file_read(&v->disk.file, &id, sizeof(id), VHDX_IDENTIFIER_AT);
	for (unsigned i = 0; !r && i < 2; i++)
		r = disk_file_read(&v->disk.file, &h[i], sizeof(h[i]), VHDX_HEADER_AT(i));
	if (r)
		return r;
	v->identifier_bad = memcmp(id.signature, VHDX_IDENTIFIER_SIGNATURE, sizeof(id.signature));
	if (v->identifier_bad && !(v->disk.flags & DISK_OPEN_DAMAGED))
		return disk_problem_note(problem, &v->disk.file, -EMEDIUMTYPE, ERROR_FILE_CORRUPT,
			"it does not begin as a VHDX file; name its right format, or run partita "
			"disk check --repair on it if it was one");
	read_creator(v, &id);
	r = choose(v, h, problem);
	if (!r)
		r = check_header(v, problem);
	v->log_offset = v->header.log_offset;
	v->log_length = v->header.log_length;
	return r;
}

/* Put @h, with the next sequence number, over the copy that is not current. */
static int write_next(struct vhdx *v, struct vhdx_header *h)
{
	unsigned at = !v->header_at;
	int r;

	if (v->header.sequence == UINT64_MAX)
		return -EUCLEAN;
	h->sequence = v->header.sequence + 1;
	vhdx_header_seal(h);
	r = disk_file_write(&v->disk.file, h, sizeof(*h), VHDX_HEADER_AT(at));
	if (!r)
		r = disk_file_flush(&v->disk.file);
	if (r)
		return r;
	v->header = *h;
	v->header_at = at;
	return 0;
}

/* The changed header @h into both copies, the older one first. */
static int update(struct vhdx *v, struct vhdx_header *h)
{
	int r;

	if (!v->file_begun)
		guid_new(&h->file_write);
	r = write_next(v, h);
	if (r)
		return r;
	v->file_begun = true;
	return write_next(v, h);
}

int vhdx_headers_renew(struct vhdx *v)
{
	struct vhdx_identifier id;
	struct vhdx_header h;
	int r = 0;

	vhdx_identifier_make(&id);
	if (v->identifier_bad)
		r = disk_file_write(&v->disk.file, &id, sizeof(id), VHDX_IDENTIFIER_AT);
	pthread_mutex_lock(&v->header_lock);
	h = v->header;
	if (!r)
		r = update(v, &h);
	if (!r) {
		v->header_bad = 0;
		v->identifier_bad = false;
	}
	pthread_mutex_unlock(&v->header_lock);
	return r;
}

int vhdx_file_begin(struct vhdx *v)
{
	struct vhdx_header h;
	int r = 0;

	if (v->file_begun)
		return 0;
	pthread_mutex_lock(&v->header_lock);
	if (!v->file_begun) {
		h = v->header;
		r = update(v, &h);
	}
	pthread_mutex_unlock(&v->header_lock);
	return r;
}

/* A child that is open for writing, as in a merge into this disk, must know the disk again. */
static int tell_child(struct vhdx *v, const GUID *next)
{
	if (!v->child || !v->child->disk.file.writable)
		return 0;
	return vhdx_locator_follow(v->child, &v->header.data_write, next);
}

int vhdx_data_begin(struct vhdx *v)
{
	struct vhdx_header h;
	int r = 0;

	if (v->data_begun)
		return 0;
	pthread_mutex_lock(&v->header_lock);
	if (!v->data_begun) {
		h = v->header;
		guid_new(&h.data_write);
		r = tell_child(v, &h.data_write);
		if (!r)
			r = update(v, &h);
		v->data_begun = !r;
	}
	pthread_mutex_unlock(&v->header_lock);
	return r;
}

int vhdx_log_begin(struct vhdx *v, const GUID *log)
{
	struct vhdx_header h;
	int r;

	pthread_mutex_lock(&v->header_lock);
	h = v->header;
	h.log = *log;
	h.log_version = VHDX_LOG_VERSION;
	r = update(v, &h);
	pthread_mutex_unlock(&v->header_lock);
	return r;
}

int vhdx_log_end(struct vhdx *v)
{
	struct vhdx_header h;
	int r = 0;

	pthread_mutex_lock(&v->header_lock);
	if (!guid_is_zero(&v->header.log)) {
		h = v->header;
		memset(&h.log, 0, sizeof(h.log));
		r = update(v, &h);
	}
	pthread_mutex_unlock(&v->header_lock);
	return r;
}
