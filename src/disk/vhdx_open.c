/*
 * vhdx_open.c - the VHDX format for the core: recognizing, opening and closing a file, and the
 * table of its operations.
 *
 * Source: [MS-VHDX] 2.1; the order of opening is 2.2.2 (header), 2.3.3 (log), 2.2.3 (regions), 2.6
 * (metadata).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhdx.h"

/* Half of the signature is enough: opening then says what is wrong, and repair can mend it. */
static bool vhdx_probe(const uint8_t *head, size_t n_head, const uint8_t *tail, uint64_t file_size)
{
	static const char signature[] = VHDX_IDENTIFIER_SIGNATURE;

	return n_head >= 8 && (!memcmp(head, signature, 4) || !memcmp(head + 4, signature + 4, 4));
}

static void free_structure(struct vhdx *v)
{
	vhdx_overlay_free(v->overlay);
	free(v->regions);
	free(v->items);
	for (size_t i = 0; i < sizeof(v->locator) / sizeof(v->locator[0]); i++)
		free(v->locator[i]);
	pthread_mutex_destroy(&v->header_lock);
	pthread_mutex_destroy(&v->metadata_lock);
}

static int read_structure(struct vhdx *v, struct disk_problem *problem)
{
	int r = vhdx_headers_read(v, problem);

	if (!r)
		r = vhdx_replay(v, problem);
	if (!r)
		r = vhdx_regions_read(v, problem);
	if (!r)
		r = vhdx_metadata_read(v, problem);
	if (!r && v->has_parent)
		r = vhdx_locator_read(v, problem);
	return r;
}

static int vhdx_open(struct disk_engine *e, struct disk_file *file,
	const struct disk_open_options *options, struct disk **disk, struct disk_problem *problem)
{
	struct vhdx *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	disk_init(&v->disk, &disk_vhdx, e, file, options);
	pthread_mutex_init(&v->header_lock, NULL);
	pthread_mutex_init(&v->metadata_lock, NULL);
	r = read_structure(v, problem);
	if (!r)
		r = vhdx_live_open(v, problem);
	if (r) {
		/* The file is still the caller's. */
		disk_gate_fini(&v->disk.gate);
		free_structure(v);
		free(v);
		return r;
	}
	*disk = &v->disk;
	return 0;
}

static int vhdx_close(struct disk *d)
{
	struct vhdx *v = vhdx_of(d);
	int r = vhdx_live_close(v);

	/* What could not be put in place is replayed at the next opening. */
	if (!r && d->file.writable)
		r = vhdx_log_end(v);
	if (d->parent)
		vhdx_of(d->parent)->child = NULL;
	free_structure(v);
	disk_fini(d);
	free(v);
	return r;
}

static void vhdx_info(struct disk *d, struct disk_info *info)
{
	struct vhdx *v = vhdx_of(d);

	pthread_mutex_lock(&v->header_lock);
	info->data_id = v->header.data_write;
	pthread_mutex_unlock(&v->header_lock);
	pthread_mutex_lock(&v->metadata_lock);
	info->parent_id = v->linkage[0];
	pthread_mutex_unlock(&v->metadata_lock);
	info->has_log = v->replayed;
	info->min_size = vhdx_min_size(v);
}

const struct disk_format_ops disk_vhdx = {
	.format = DISK_FORMAT_VHDX,
	.name = "VHDX",
	.probe = vhdx_probe,
	.open = vhdx_open,
	.close = vhdx_close,
	.create = vhdx_create,
	.map = vhdx_map,
	.place = vhdx_place,
	.settle = vhdx_settle,
	.flush = vhdx_flush,
	.zero = vhdx_zero,
	.resize = vhdx_resize,
	.compact = vhdx_compact,
	.set_parent = vhdx_set_parent,
	.set_id = vhdx_set_id,
	.set_physical_sector = vhdx_set_physical_sector,
	.check = vhdx_check,
	.locator = vhdx_locator_get,
	.parent_fits = vhdx_parent_fits,
	.info = vhdx_info,
	.metadata_list = vhdx_metadata_list,
	.metadata_get = vhdx_metadata_get,
	.metadata_set = vhdx_metadata_set,
	.metadata_delete = vhdx_metadata_delete,
};
