/*
 * vhdx_live.c - the live half of an open VHDX file: made, and ended with everything in place.
 */
#include <errno.h>
#include <stdlib.h>

#include "disk/vhdx_live.h"

/* Shares of disk.cache: pages, and (vhdx_pages.c, vhdx_log.c) a commit; lists of room. */
#define PAGES_SHARE(bytes) ((bytes) / 8 * 5)
#define RUNS_SHARE(bytes)  ((bytes) / 4096)

static void live_free(struct vhdx *v)
{
	struct vhdx_live *l = v->live;

	vhdx_log_fini(&l->log);
	vhdx_space_fini(&l->space);
	vhdx_pages_fini(&l->pages);
	pthread_rwlock_destroy(&l->zeroing);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->change);
	free(l);
	v->live = NULL;
}

int vhdx_live_open(struct vhdx *v, struct disk_problem *problem)
{
	size_t cache = v->disk.cache > VHDX_CACHE_MIN ? v->disk.cache : VHDX_CACHE_MIN;
	struct vhdx_live *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	v->live = l;
	pthread_mutex_init(&l->change, NULL);
	pthread_mutex_init(&l->lock, NULL);
	pthread_rwlock_init(&l->zeroing, NULL);
	vhdx_low(v);
	err = vhdx_pages_init(v, PAGES_SHARE(cache));
	if (!err)
		err = vhdx_log_init(v);
	if (!err)
		err = vhdx_space_init(v, RUNS_SHARE(cache));
	if (err)
		live_free(v);
	return err;
}

/* Nobody is inside any more: what was freed is free without waiting. */
static int finish(struct vhdx *v)
{
	int err = vhdx_commit(v);

	if (err)
		return err;
	vhdx_space_drain(v);
	err = vhdx_log_rest(v);
	return err ? err : vhdx_space_trim(v);
}

int vhdx_live_close(struct vhdx *v)
{
	int err = 0;

	if (!v->live)
		return 0;
	if (v->disk.file.writable && v->file_begun)
		err = finish(v);
	live_free(v);
	return err;
}
