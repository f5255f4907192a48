/*
 * vhd_parent.c - what a differencing disk says of its parent: who it is, and where.
 *
 * The parent is known by its unique ID and by its time stamp. What a time stamp is of is not agreed
 * on: programs store the footer's (then it is equal as long as nobody changed the parent) or the
 * time when the parent's file was changed last (not earlier than the footer's, and worthless after
 * a copy). A parent that was changed since by a program that marks changes, as we do, has a footer
 * later than either. So: what we made must be equal; what others made must not be earlier. A disk
 * that is merged into its parent accepts every time, the latest one for others.
 *
 * Source: VHD 1.0, "Dynamic Disk Header Format", "Identification of the Parent Hard Disk Image".
 */
#include <endian.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "base/utf16.h"
#include "disk/path.h"
#include "disk/vhd.h"
#include "winerror.h"

/* ---- Who ------------------------------------------------------------------------------------- */

#define ANY_TIME UINT32_MAX

/* The time stamp that @parent has; only VHDs have one. */
static uint32_t time_of(struct disk *parent)
{
	return parent->ops == &disk_vhd ? be32toh(vhd_of(parent)->footer.time_stamp) : 0;
}

int vhd_parent_fits(struct disk *d, struct disk *parent, struct disk_problem *problem)
{
	struct vhd *v = vhd_of(d);
	uint32_t known = be32toh(v->header.parent_time), now = time_of(parent);
	bool ours = memcmp(v->footer.creator, VHD_CREATOR, 4) == 0 &&
		    be32toh(v->footer.creator_version) == VHD_CREATOR_VERSION;
	struct disk_info info;

	disk_info(parent, &info);
	if (!guid_equal(&info.data_id, &d->fixed.parent_id)) {
		char wanted[GUID_TEXT], found[GUID_TEXT];

		return disk_problem_note(problem, &d->file, -ESTALE,
			ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
			"%s is not its parent: that has the ID %s, this one %s; give the right one",
			disk_path(parent), guid_format(&d->fixed.parent_id, wanted),
			guid_format(&info.data_id, found));
	}
	if (ours ? now != known && known != ANY_TIME : now > known)
		return disk_problem_note(problem, &d->file, -ESTALE,
			ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH,
			"its parent %s was changed after this disk was made from it; restore the "
			"parent, or set it again by force if the change did not matter",
			disk_path(parent));
	if (parent->ops == &disk_vhd)
		vhd_of(parent)->child = v;
	return 0;
}

/* ---- Where ----------------------------------------------------------------------------------- */

static void set_locator(
	struct vhd_locator *l, const char *platform, uint64_t offset, uint32_t length)
{
	memcpy(l->platform, platform, sizeof(l->platform));
	l->space = htobe32((length + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR);
	l->length = htobe32(length);
	l->offset = htobe64(offset);
}

static int set_name(struct vhd_header *h, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n;
	uint16_t *name = utf16_from_utf8(slash ? slash + 1 : path, &n);

	if (!name)
		return -ENOMEM;
	memset(h->parent_name, 0, sizeof(h->parent_name));
	for (size_t i = 0; i < n && i < VHD_NAME_UNITS; i++)
		h->parent_name[i] = htobe16(name[i]);
	free(name);
	return 0;
}

/* The two paths, each from a sector's beginning. */
static int set_locators(struct vhd_header *h, const char *relative, const char *absolute,
	uint64_t offset, void **data, uint32_t *length)
{
	static const char *const platform[2] = {VHD_LOCATOR_RELATIVE, VHD_LOCATOR_ABSOLUTE};
	const char *const path[2] = {relative, absolute};
	uint16_t *text[2];
	size_t n[2];
	uint32_t at[2], room = 0;

	for (int i = 0; i < 2; i++) {
		text[i] = utf16_from_utf8(path[i], &n[i]);
		at[i] = room;
		if (text[i])
			room += (n[i] * 2 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
	}
	*data = text[0] && text[1] ? calloc(1, room) : NULL;
	*length = room;
	memset(h->locator, 0, sizeof(h->locator));
	for (int i = 0; i < 2; i++) {
		if (*data) {
			memcpy((char *)*data + at[i], text[i], n[i] * 2);
			set_locator(&h->locator[i], platform[i], offset + at[i], n[i] * 2);
		}
		free(text[i]);
	}
	return *data ? 0 : -ENOMEM;
}

int vhd_parent_fill(struct vhd_header *h, struct disk *parent, const char *path, const char *child,
	uint64_t offset, void **data, uint32_t *length)
{
	char *relative, *absolute;
	struct disk_info info;
	int err;

	disk_info(parent, &info);
	vhd_guid_store(&info.data_id, h->parent_id);
	h->parent_time = htobe32(time_of(parent));
	err = set_name(h, path);
	if (!err)
		err = disk_path_locators(child, path, &relative, &absolute);
	if (err)
		return err;
	err = set_locators(h, relative, absolute, offset, data, length);
	free(relative);
	free(absolute);
	return err;
}

/*
 * The header has two sectors, and a name and locators in both: a power cut could leave half of
 * it. So the new header and the paths are written behind all else, and then a footer names them.
 */
int vhd_set_parent(
	struct disk *d, const char *path, struct disk *parent, struct disk_problem *problem)
{
	struct vhd *v = vhd_of(d);
	struct disk_file *f = &d->file;
	struct vhd_header header = v->header;
	uint64_t offset = 0;
	void *data = NULL;
	uint32_t length = 0;
	int err = vhd_parent_fill(&header, parent, path, d->file.path, 0, &data, &length);

	/* Another path does not change what a child of this disk sees; another parent may. */
	if (!err && (memcmp(header.parent_id, v->header.parent_id, sizeof(header.parent_id)) ||
			    header.parent_time != v->header.parent_time))
		err = vhd_stamp(v);
	if (err)
		return disk_problem_note(problem, f, err, disk_problem_win32(NULL, err),
			"the path of the parent %s cannot be stored: %s", path, strerror(-err));
	pthread_mutex_lock(&v->lock);
	err = vhd_room_append(v, sizeof(header) + length, &offset);
	for (int i = 0; i < 2; i++)
		header.locator[i].offset =
			htobe64(offset + sizeof(header) + be64toh(header.locator[i].offset));
	vhd_header_seal(&header);
	if (!err)
		err = disk_file_write(f, &header, sizeof(header), offset);
	if (!err)
		err = disk_file_write(f, data, length, offset + sizeof(header));
	if (!err)
		err = disk_file_flush(f);
	if (!err) {
		v->footer.data_offset = htobe64(offset);
		err = vhd_footers_write(v);
	}
	if (!err)
		err = disk_file_flush(f);
	if (!err)
		v->header = header;
	pthread_mutex_unlock(&v->lock);
	free(data);
	if (err)
		return disk_problem_note(problem, f, err, ERROR_VHD_METADATA_WRITE_FAILURE,
			"its header cannot be written: %s", strerror(-err));
	vhd_guid_load(header.parent_id, &d->fixed.parent_id);
	if (parent->ops == &disk_vhd)
		vhd_of(parent)->child = v;
	return 0;
}

/* Time stamp and checksum are in the header's first sector: a power cut leaves either. */
int vhd_parent_follow(struct vhd *v)
{
	struct disk_file *f = &v->disk.file;
	struct vhd_header header;
	int err;

	pthread_mutex_lock(&v->lock);
	header = v->header;
	header.parent_time = htobe32(ANY_TIME);
	vhd_header_seal(&header);
	err = disk_file_write(f, &header, VHD_SECTOR, be64toh(v->footer.data_offset));
	if (!err)
		err = disk_file_flush(f);
	if (!err)
		v->header = header;
	pthread_mutex_unlock(&v->lock);
	return err;
}

/* ---- Reading a locator ----------------------------------------------------------------------- */

static const struct vhd_locator *find(const struct vhd_header *h, const char *platform)
{
	for (unsigned i = 0; i < VHD_LOCATORS; i++)
		if (memcmp(h->locator[i].platform, platform, 4) == 0)
			return &h->locator[i];
	return NULL;
}

/* The data of a locator, followed by two zeros. */
static int read_locator(struct vhd *v, const struct vhd_locator *l, char **data, uint32_t *length)
{
	uint64_t offset = be64toh(l->offset);
	int err;

	*length = be32toh(l->length);
	if (!*length || *length > VHD_LOCATOR_MAX || offset > v->disk.file.size ||
		*length > v->disk.file.size - offset)
		return -ENOENT; /* there may be others */
	*data = calloc(1, *length + 2);
	if (!*data)
		return -ENOMEM;
	err = disk_file_read(&v->disk.file, *data, *length, offset);
	if (err)
		free(*data);
	return err;
}

static int digit(char c)
{
	return c >= '0' && c <= '9'		    ? c - '0'
	       : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
						    : -1;
}

/* The path in a file URL, "file:///srv/base%201.vhd", in place. */
static void path_of_url(char *url)
{
	char *from = url, *to = url;

	if (strncmp(from, "file://", 7) == 0) {
		from += 7;
		if (strncmp(from, "localhost/", 10) == 0)
			from += 9;
	}
	while (*from) {
		int high = from[0] == '%' ? digit(from[1]) : -1;
		int low = high < 0 ? -1 : digit(from[2]);

		*to++ = low < 0 ? *from : (char)(high << 4 | low);
		from += low < 0 ? 1 : 3;
	}
	*to = 0;
}

/* What a disk without locators has: a name, or, in some programs' files, a path. */
static int name_of(const struct vhd_header *h, char **path)
{
	uint16_t name[VHD_NAME_UNITS];

	for (unsigned i = 0; i < VHD_NAME_UNITS; i++)
		name[i] = be16toh(h->parent_name[i]);
	if (!name[0])
		return -ENOENT;
	*path = utf16_to_utf8(name, VHD_NAME_UNITS);
	return *path ? 0 : -ENOMEM;
}

int vhd_locator(struct disk *d, enum disk_locator which, char **path)
{
	struct vhd *v = vhd_of(d);
	const struct vhd_locator *l;
	bool url = false;
	char *data;
	uint32_t length;
	int err;

	if (d->fixed.kind != DISK_DIFFERENCING || which == DISK_LOCATOR_VOLUME)
		return -ENOENT;
	l = find(&v->header,
		which == DISK_LOCATOR_RELATIVE ? VHD_LOCATOR_RELATIVE : VHD_LOCATOR_ABSOLUTE);
	if (!l && which == DISK_LOCATOR_RELATIVE)
		return name_of(&v->header, path);
	if (!l) {
		l = find(&v->header, VHD_LOCATOR_URL);
		url = true;
	}
	if (!l)
		return -ENOENT;
	err = read_locator(v, l, &data, &length);
	if (err)
		return err;
	if (url) {
		path_of_url(data);
		*path = data;
		return 0;
	}
	*path = utf16_to_utf8(data, length / 2);
	free(data);
	return *path ? 0 : -ENOMEM;
}
