/*
 * vhd_footer.c - the footer: what a VHD is, at the end of its file and, where there are blocks, at
 * the beginning too.
 *
 * Source: VHD 1.0, "Hard Disk Footer Format", "Appendix: CHS Calculation".
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/guid.h"
#include "disk/vhd.h"
#include "winerror.h"

uint32_t vhd_checksum(const void *structure, size_t size, size_t at)
{
	const uint8_t *bytes = structure;
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i++)
		if (i < at || i >= at + sizeof(sum))
			sum += bytes[i];
	return htobe32(~sum);
}

static uint32_t checksum(const struct vhd_footer *f)
{
	return vhd_checksum(f, sizeof(*f), offsetof(struct vhd_footer, checksum));
}

void vhd_footer_seal(struct vhd_footer *f)
{
	f->checksum = checksum(f);
}

/* What an ATA disk of that size would be: up to 255 sectors a track, 16 heads, 65535 cylinders. */
void vhd_geometry(struct vhd_footer *f, uint64_t size)
{
	uint64_t total = size / VHD_SECTOR, tracks;
	uint32_t heads, sectors;

	if (total > 65535u * 16 * 255)
		total = 65535u * 16 * 255;
	if (total >= 65535u * 16 * 63) {
		sectors = 255;
		heads = 16;
		tracks = total / sectors;
	} else {
		sectors = 17;
		tracks = total / sectors;
		heads = (tracks + 1023) / 1024;
		if (heads < 4)
			heads = 4;
		if (tracks >= heads * 1024 || heads > 16) {
			sectors = 31;
			heads = 16;
			tracks = total / sectors;
		}
		if (tracks >= heads * 1024) {
			sectors = 63;
			heads = 16;
			tracks = total / sectors;
		}
	}
	f->cylinders = htobe16(tracks / heads);
	f->heads = heads;
	f->sectors = sectors;
}

uint32_t vhd_time(uint32_t last)
{
	time_t now = time(NULL);
	uint32_t stamp = now > VHD_EPOCH ? (uint32_t)(now - VHD_EPOCH) : 0;

	return stamp > last ? stamp : last + 1;
}

void vhd_guid_load(const uint8_t from[16], GUID *to)
{
	memcpy(to, from, sizeof(*to));
	to->Data1 = be32toh(to->Data1);
	to->Data2 = be16toh(to->Data2);
	to->Data3 = be16toh(to->Data3);
}

void vhd_guid_store(const GUID *from, uint8_t to[16])
{
	GUID g = *from;

	g.Data1 = htobe32(g.Data1);
	g.Data2 = htobe16(g.Data2);
	g.Data3 = htobe16(g.Data3);
	memcpy(to, &g, sizeof(g));
}

int vhd_footer_check(
	const struct vhd_footer *f, const struct disk_file *file, struct disk_problem *problem)
{
	uint32_t type = be32toh(f->type);
	uint64_t size = be64toh(f->size), data = be64toh(f->data_offset);

	if (memcmp(f->cookie, VHD_FOOTER_COOKIE, sizeof(f->cookie)) != 0)
		return disk_problem_note(problem, file, -EMEDIUMTYPE,
			ERROR_VHD_DRIVE_FOOTER_MISSING,
			"there is no VHD footer; the file is not a VHD or was cut off");
	if (f->checksum != checksum(f))
		return disk_problem_note(problem, file, -EUCLEAN,
			ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH,
			"the footer's checksum is wrong; check it with --repair");
	if (be32toh(f->version) >> 16 != VHD_VERSION >> 16)
		return disk_problem_note(problem, file, -ENOTSUP,
			ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
			"the footer is of version %u.%u, known is 1.0", be32toh(f->version) >> 16,
			be32toh(f->version) & 0xffff);
	if (type < VHD_FIXED || type > VHD_DIFFERENCING)
		return disk_problem_note(problem, file, -EUCLEAN, ERROR_VHD_INVALID_TYPE,
			"the disk's type is %u; known are fixed (2), dynamic (3), differencing (4)",
			type);
	if (!size || size % VHD_SECTOR || size > INT64_MAX / 2)
		return disk_problem_note(problem, file, -EUCLEAN, ERROR_VHD_DRIVE_FOOTER_CORRUPT,
			"the footer says the disk has %llu bytes, which cannot be",
			(unsigned long long)size);
	if (type != VHD_FIXED && (data < VHD_SECTOR || data % VHD_SECTOR || data > VHD_ROOM_MAX))
		return disk_problem_note(problem, file, -EUCLEAN, ERROR_VHD_DRIVE_FOOTER_CORRUPT,
			"the footer says the header is at %llu, which cannot be",
			(unsigned long long)data);
	return 0;
}

void vhd_footer_fill(struct vhd_footer *f, enum vhd_type type, uint64_t size, const GUID *id)
{
	GUID fresh;

	if (guid_is_zero(id)) {
		guid_new(&fresh);
		id = &fresh;
	}
	*f = (struct vhd_footer){
		.features = htobe32(VHD_FEATURES),
		.version = htobe32(VHD_VERSION),
		.data_offset = htobe64(type == VHD_FIXED ? VHD_NO_OFFSET : VHD_SECTOR),
		.time_stamp = htobe32(vhd_time(0)),
		.creator_version = htobe32(VHD_CREATOR_VERSION),
		.original_size = htobe64(size),
		.size = htobe64(size),
		.type = htobe32(type),
	};
	memcpy(f->cookie, VHD_FOOTER_COOKIE, sizeof(f->cookie));
	memcpy(f->creator, VHD_CREATOR, sizeof(f->creator));
	memcpy(f->creator_host, VHD_CREATOR_HOST, sizeof(f->creator_host));
	vhd_geometry(f, size);
	vhd_guid_store(id, f->id);
}

static void creator(const struct vhd_footer *f, char text[64])
{
	static const struct {
		char id[4];
		const char *name;
	} known[] = {
		{"vpc ", "Virtual PC"},
		{"vs  ", "Virtual Server"},
		{"win ", "Windows"},
		{"d2v", "Disk2vhd"},
		{"qemu", "QEMU"},
		{"qem2", "QEMU"},
		{"vbox", "VirtualBox"},
		{"tap", "Xen"},
		{"CTXS", "Citrix XenConverter"},
		{"wa", "Azure"},
	};
	uint32_t version = be32toh(f->creator_version);
	char id[5] = {0};
	const char *name = id;

	for (unsigned i = 0; i < 4 && f->creator[i]; i++)
		id[i] = f->creator[i] >= ' ' && f->creator[i] < 0x7f ? f->creator[i] : '?';
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (memcmp(known[i].id, f->creator, 4) == 0)
			name = known[i].name;
	if (memcmp(f->creator, VHD_CREATOR, 4) == 0 && version == VHD_CREATOR_VERSION)
		name = "Partita";
	snprintf(text, 64, "%s %u.%u", name, version >> 16, version & 0xffff);
}

void vhd_footer_info(const struct vhd_footer *f, struct disk_info *info)
{
	static const enum disk_kind kinds[] = {
		[VHD_FIXED] = DISK_FIXED,
		[VHD_DYNAMIC] = DISK_DYNAMIC,
		[VHD_DIFFERENCING] = DISK_DIFFERENCING,
	};

	info->format = DISK_FORMAT_VHD;
	info->kind = kinds[be32toh(f->type)];
	info->size = be64toh(f->size);
	info->logical_sector = info->physical_sector = VHD_SECTOR;
	vhd_guid_load(f->id, &info->id);
	info->data_id = info->id;
	creator(f, info->creator);
}

int vhd_footers_write(struct vhd *v)
{
	int err = 0;

	vhd_footer_seal(&v->footer);
	if (vhd_has_blocks(v))
		err = disk_file_write(&v->disk.file, &v->footer, sizeof(v->footer), 0);
	if (!err)
		err = disk_file_write(&v->disk.file, &v->footer, sizeof(v->footer), v->end);
	if (!err)
		v->end_lost = v->end_missing = v->copy_bad = false;
	return err;
}

int vhd_stamp(struct vhd *v)
{
	struct vhd_footer *f = &v->footer;
	int err = 0;

	if (atomic_load_explicit(&v->stamped, memory_order_acquire))
		return 0;
	pthread_mutex_lock(&v->lock);
	if (!v->stamped) {
		/* A child that is open for writing, as in a merge, must know this disk again. */
		if (v->child && v->child->disk.file.writable)
			err = vhd_parent_follow(v->child);
		f->time_stamp = htobe32(vhd_time(be32toh(f->time_stamp)));
		if (!err)
			err = v->end_lost && vhd_has_blocks(v) ? vhd_room_cut(v) : 0;
		if (!err)
			err = vhd_footers_write(v);
		if (!err)
			err = disk_file_flush(&v->disk.file);
		if (!err)
			atomic_store_explicit(&v->stamped, true, memory_order_release);
	}
	pthread_mutex_unlock(&v->lock);
	return err;
}

int vhd_set_id(struct disk *d, const GUID *id, struct disk_problem *problem)
{
	struct vhd *v = vhd_of(d);
	int err;

	err = vhd_stamp(v);
	if (err)
		return err;
	pthread_mutex_lock(&v->lock);
	vhd_guid_store(id, v->footer.id);
	err = vhd_footers_write(v);
	if (!err)
		err = disk_file_flush(&d->file);
	pthread_mutex_unlock(&v->lock);
	if (err)
		return disk_problem_note(problem, &d->file, err, ERROR_VHD_METADATA_WRITE_FAILURE,
			"its footer cannot be written: %s", strerror(-err));
	d->fixed.id = d->fixed.data_id = *id;
	return 0;
}
