/*
 * iov.c - see iov.h.
 */
#include "disk/iov.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

void disk_iov_advance(struct disk_iov *at, uint64_t bytes)
{
	while (at->n && bytes >= at->iov->iov_len - at->skip) {
		bytes -= at->iov->iov_len - at->skip;
		at->iov++;
		at->n--;
		at->skip = 0;
	}
	at->skip += bytes;
}

/* The next area, at most @length bytes of it; moves on. */
static struct iovec next(struct disk_iov *at, uint64_t length)
{
	struct iovec area;

	while (at->skip == at->iov->iov_len) {
		at->iov++;
		at->n--;
		at->skip = 0;
	}
	area.iov_base = (char *)at->iov->iov_base + at->skip;
	area.iov_len = at->iov->iov_len - at->skip;
	if (area.iov_len > length)
		area.iov_len = length;
	at->skip += area.iov_len;
	return area;
}

unsigned disk_iov_window(const struct disk_iov *at, uint64_t length,
	struct iovec room[DISK_IOV_ROOM], const struct iovec **window, uint64_t *bytes)
{
	struct disk_iov from = *at;
	unsigned n = 0;

	*bytes = 0;
	if (!at->skip) {
		while (n < at->n && n < IOV_MAX && at->iov[n].iov_len <= length - *bytes &&
			*bytes < length)
			*bytes += at->iov[n++].iov_len;
		if (*bytes && (*bytes == length || n > DISK_IOV_ROOM)) {
			*window = at->iov;
			return n;
		}
	}
	*bytes = 0;
	for (n = 0; n < DISK_IOV_ROOM && *bytes < length; n++) {
		room[n] = next(&from, length - *bytes);
		*bytes += room[n].iov_len;
	}
	*window = room;
	return n;
}

bool disk_iov_is_zero(struct disk_iov at, uint64_t length)
{
	while (length) {
		struct iovec area = next(&at, length);

		if (!bytes_are_zero(area.iov_base, area.iov_len))
			return false;
		length -= area.iov_len;
	}
	return true;
}

void disk_iov_zero(struct disk_iov at, uint64_t length)
{
	while (length) {
		struct iovec area = next(&at, length);

		memset(area.iov_base, 0, area.iov_len);
		length -= area.iov_len;
	}
}

void disk_iov_read(struct disk_iov at, void *to, uint64_t length)
{
	while (length) {
		struct iovec area = next(&at, length);

		memcpy(to, area.iov_base, area.iov_len);
		to = (char *)to + area.iov_len;
		length -= area.iov_len;
	}
}

void disk_iov_write(struct disk_iov at, const void *from, uint64_t length)
{
	while (length) {
		struct iovec area = next(&at, length);

		memcpy(area.iov_base, from, area.iov_len);
		from = (const char *)from + area.iov_len;
		length -= area.iov_len;
	}
}

struct iovec *disk_iov_slice(struct disk_iov at, uint64_t length, unsigned *n)
{
	struct iovec *slice = calloc(at.n ? at.n : 1, sizeof(*slice));

	for (*n = 0; slice && length; ++*n) {
		slice[*n] = next(&at, length);
		length -= slice[*n].iov_len;
	}
	return slice;
}
