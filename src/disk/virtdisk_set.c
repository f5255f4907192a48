/*
 * virtdisk_set.c - the snapshots of VHD sets.
 *
 * The images of a set are a tree. What the set names are its snapshots and the image of its present
 * state, which is a leaf; an image that is named no more but that others stand on stays, unnamed.
 *
 * The order of steps keeps a set whole at any moment: new images are durable before the set names
 * them, and old ones are removed after it names them no more. The disk is closed meanwhile and
 * opened again at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guid.h"
#include "disk/operations.h"
#include "disk/tracking.h"
#include "disk/vhdset.h"
#include "disk/virtdisk_handle.h"

static DWORD set_code(const struct disk_problem *problem, int err)
{
	if (err && problem && problem->win32)
		return problem->win32;
	switch (err) {
	case -EEXIST:
		return ERROR_ALREADY_EXISTS;
	case -ENOENT:
		return ERROR_NOT_FOUND;
	default:
		return disk_problem_win32(NULL, err);
	}
}

/* ---- Images ---------------------------------------------------------------------------------- */

/* A new differencing image on @parent, which goes on with its change tracking. */
static int new_child(struct vdisk *v, const char *parent, char **path)
{
	struct disk_create create = {.format = DISK_FORMAT_VHDX,
		.kind = DISK_DIFFERENCING,
		.parent = parent,
		.parent_format = DISK_FORMAT_VHDX};
	int err = vhdset_new_image_path(v->how.path, path);

	if (!err)
		err = disk_create(v->engine, *path, &create, NULL, NULL);
	if (!err) {
		err = tracking_inherit(parent, *path);
		if (err)
			unlink(*path);
	}
	if (err) {
		free(*path);
		*path = NULL;
	}
	return err;
}

static void remove_image(const char *path)
{
	char *tracking = tracking_path(path);

	unlink(path);
	if (tracking)
		unlink(tracking);
	free(tracking);
}

static bool same_path(const char *a, const char *b)
{
	char *ra = realpath(a, NULL), *rb = realpath(b, NULL);
	bool same = ra && rb && !strcmp(ra, rb);

	free(ra);
	free(rb);
	return same;
}

/* Images, as a list of paths. */
struct images {
	char **path;
	unsigned n;
};

static void images_free(struct images *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->path[i]);
	free(l->path);
}

static int images_add(struct images *l, const char *path)
{
	char **paths;

	for (unsigned i = 0; i < l->n; i++)
		if (same_path(l->path[i], path))
			return 0;
	paths = realloc(l->path, (l->n + 1) * sizeof(*paths));
	if (!paths)
		return -ENOMEM;
	l->path = paths;
	paths[l->n] = strdup(path);
	return paths[l->n] ? (l->n++, 0) : -ENOMEM;
}

/* The image in the chain of @leaf that stands on @parent. */
static int add_child_in(
	struct vdisk *v, const char *leaf, const char *parent, struct images *children)
{
	struct disk_open_options options = {.flags = DISK_OPEN_SHARED};
	struct disk *d;
	int err = disk_open(v->engine, leaf, &options, &d, NULL);

	if (err)
		return err;
	for (struct disk *at = d; !err && disk_parent(at); at = disk_parent(at))
		if (same_path(disk_path(disk_parent(at)), parent))
			err = images_add(children, disk_path(at));
	disk_close(d);
	return err;
}

/* All images of the set that stand on @parent. */
static int find_children(struct vdisk *v, const char *parent, struct images *children)
{
	const struct vhdset_snapshot *one;
	int err = add_child_in(v, vhdset_default(v->set), parent, children);

	for (unsigned i = 0; !err && (one = vhdset_at(v->set, i)); i++)
		err = add_child_in(v, one->image, parent, children);
	return err;
}

/* ---- Claiming -------------------------------------------------------------------------------- */

static DWORD claim_set(HANDLE h, struct vdisk **v)
{
	DWORD err = vdisk_claim(h, VIRTUAL_DISK_ACCESS_METAOPS, true, v);

	if (err)
		return err;
	if (!(*v)->set)
		err = ERROR_VHD_INVALID_TYPE;
	else if (!((*v)->how.flags & DISK_OPEN_WRITE))
		err = ERROR_ACCESS_DENIED;
	if (err)
		vdisk_unclaim(*v);
	return err;
}

/* The present state is open: close it, so that its image can be worked on. */
static DWORD claim_present(HANDLE h, struct vdisk **v)
{
	DWORD err = claim_set(h, v);

	if (err)
		return err;
	if (!(*v)->disk || !guid_is_zero(&(*v)->snapshot))
		err = ERROR_VHD_INVALID_STATE;
	else
		err = vdisk_close_disk(*v);
	if (err)
		vdisk_unclaim(*v);
	return err;
}

/* Done, or not: then the set is as it was. @problem: what of it is known; NULL: nothing. */
static DWORD unclaim_present(struct vdisk *v, const struct disk_problem *problem, int err)
{
	DWORD code = set_code(problem, err), opening;

	if (err)
		vhdset_revert(v->set);
	opening = vdisk_open(v);
	vdisk_unclaim(v);
	return code ? code : opening;
}

/* ---- Take ------------------------------------------------------------------------------------ */

static int take(struct vdisk *v, const GUID *id, bool writeable)
{
	const char *leaf = vhdset_default(v->set);
	char *next = NULL, *own = NULL;
	int err;

	if (vhdset_find(v->set, id))
		return -EEXIST;
	err = new_child(v, leaf, &next);
	if (!err && writeable)
		err = new_child(v, leaf, &own);
	if (!err)
		err = vhdset_add(v->set, id, writeable, writeable ? own : leaf);
	if (!err)
		err = vhdset_set_default(v->set, next);
	if (!err)
		err = vhdset_store(v->set);
	if (err && next)
		remove_image(next);
	if (err && own)
		remove_image(own);
	free(next);
	free(own);
	return err;
}

DWORD WINAPI TakeSnapshotVhdSet(HANDLE VirtualDiskHandle,
	const PTAKE_SNAPSHOT_VHDSET_PARAMETERS Parameters, TAKE_SNAPSHOT_VHDSET_FLAG Flags)
{
	struct vdisk *v;
	DWORD err;

	if (!Parameters || Parameters->Version != TAKE_SNAPSHOT_VHDSET_VERSION_1 ||
		guid_is_zero(&Parameters->Version1.SnapshotId) ||
		(unsigned)Flags & ~TAKE_SNAPSHOT_VHDSET_FLAG_WRITEABLE)
		return ERROR_INVALID_PARAMETER;
	err = claim_present(VirtualDiskHandle, &v);
	if (err)
		return err;
	return unclaim_present(v, NULL,
		take(v, &Parameters->Version1.SnapshotId,
			Flags & TAKE_SNAPSHOT_VHDSET_FLAG_WRITEABLE));
}

/* ---- Apply ----------------------------------------------------------------------------------- */

/* A writeable snapshot becomes the present state itself; another one gets a child that does. */
static int apply_image(struct vdisk *v, const struct vhdset_snapshot *s, char **created)
{
	GUID id = s->id;
	int err;

	*created = NULL;
	if (!s->writeable) {
		err = new_child(v, s->image, created);
		return err ? err : vhdset_set_default(v->set, *created);
	}
	err = vhdset_set_default(v->set, s->image);
	return err ? err : vhdset_remove(v->set, &id);
}

static int apply(struct vdisk *v, const GUID *id, const GUID *leaf_id, bool writeable)
{
	const struct vhdset_snapshot *s = vhdset_find(v->set, id);
	char *leaf, *created = NULL;
	int err = 0;

	if (!s || s->writeable != writeable)
		return s ? -EINVAL : -ENOENT;
	leaf = strdup(vhdset_default(v->set));
	if (!leaf)
		return -ENOMEM;
	err = apply_image(v, s, &created);
	if (!err && !guid_is_zero(leaf_id))
		err = vhdset_add(v->set, leaf_id, true, leaf);
	if (!err)
		err = vhdset_store(v->set);
	if (err && created)
		remove_image(created);
	if (!err && guid_is_zero(leaf_id))
		remove_image(leaf);
	free(created);
	free(leaf);
	return err;
}

DWORD WINAPI ApplySnapshotVhdSet(HANDLE VirtualDiskHandle,
	const PAPPLY_SNAPSHOT_VHDSET_PARAMETERS Parameters, APPLY_SNAPSHOT_VHDSET_FLAG Flags)
{
	struct vdisk *v;
	DWORD err;

	if (!Parameters || Parameters->Version != APPLY_SNAPSHOT_VHDSET_VERSION_1 ||
		(unsigned)Flags & ~APPLY_SNAPSHOT_VHDSET_FLAG_WRITEABLE)
		return ERROR_INVALID_PARAMETER;
	err = claim_present(VirtualDiskHandle, &v);
	if (err)
		return err;
	return unclaim_present(v, NULL,
		apply(v, &Parameters->Version1.SnapshotId, &Parameters->Version1.LeafSnapshotId,
			Flags & APPLY_SNAPSHOT_VHDSET_FLAG_WRITEABLE));
}

/* ---- Delete ---------------------------------------------------------------------------------- */

static int merge_into_parent(struct vdisk *v, const char *child)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE | DISK_OPEN_WRITE_PARENTS};
	struct disk_merge merge = {0};
	struct disk *d;
	int err = disk_open(v->engine, child, &options, &d, NULL), closing;

	if (err)
		return err;
	err = disk_merge(v->engine, d, &merge, NULL, NULL);
	closing = disk_close(d);
	return err ? err : closing;
}

static int set_parent(struct vdisk *v, const char *child, const char *parent)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS};
	struct disk *d;
	int err = disk_open(v->engine, child, &options, &d, NULL), closing;

	if (err)
		return err;
	err = disk_set_parent(d, parent, true, NULL);
	closing = disk_close(d);
	return err ? err : closing;
}

/* Whoever names @old names @new. */
static int rename_image(struct vdisk *v, const char *old, const char *new)
{
	const struct vhdset_snapshot *one;
	int err = 0;

	for (unsigned i = 0; !err && (one = vhdset_at(v->set, i)); i++)
		if (same_path(one->image, old))
			err = vhdset_set_image(v->set, &one->id, new);
	if (!err && same_path(vhdset_default(v->set), old))
		err = vhdset_set_default(v->set, new);
	return err;
}

/* The only image on @image goes into it, and @image takes its place. */
static int absorb(struct vdisk *v, const char *image, const char *child)
{
	struct images grandchildren = {0};
	int err = find_children(v, child, &grandchildren);

	if (!err)
		err = merge_into_parent(v, child);
	for (unsigned i = 0; !err && i < grandchildren.n; i++)
		err = set_parent(v, grandchildren.path[i], image);
	if (!err)
		err = rename_image(v, child, image);
	if (!err)
		err = vhdset_store(v->set);
	/* The points that are known of the child are those of what it has become. */
	if (!err)
		err = tracking_move(child, image);
	if (!err)
		remove_image(child);
	images_free(&grandchildren);
	return err;
}

/*
 * The snapshot of @image shall be known as a point of the present state's change tracking; that one
 * must know it: the present goes on from there.
 */
static int find_point(struct vdisk *v, const char *image, char point[TRACKING_ID],
	struct disk_problem *problem)
{
	const char *present = vhdset_default(v->set);
	struct tracking_state state;
	struct tracking_range none;
	uint64_t processed;
	uint32_t n = 0;
	int err = tracking_state(image, &state);

	if (!err)
		err = state.newer ? -ESRCH
				  : tracking_query(present, state.id, 0, 0, &none, &n, &processed);
	memcpy(point, state.id, TRACKING_ID);
	return err ? tracking_problem(problem, present, state.id, err) : 0;
}

static int keep_reference(struct vdisk *v, const GUID *id, struct disk_problem *problem)
{
	const struct vhdset_snapshot *s = vhdset_find(v->set, id);
	GUID snapshot = *id;
	char point[TRACKING_ID];
	int err = s ? find_point(v, s->image, point, problem) : -ENOENT;

	if (!err)
		err = vhdset_remove(v->set, id);
	return err ? err : vhdset_add_reference(v->set, &snapshot, point);
}

static int delete (
	struct vdisk *v, const GUID *id, bool keep_point, struct disk_problem *problem)
{
	const struct vhdset_snapshot *s = vhdset_find(v->set, id);
	struct images children = {0};
	char *image;
	int err;

	if (!s)
		return -ENOENT;
	image = strdup(s->image);
	if (!image)
		return -ENOMEM;
	err = find_children(v, image, &children);
	if (!err)
		err = keep_point ? keep_reference(v, id, problem) : vhdset_remove(v->set, id);
	/* Several stand on it: it stays for them, without a name. */
	if (!err && children.n == 1)
		err = absorb(v, image, children.path[0]);
	else if (!err)
		err = vhdset_store(v->set);
	if (!err && !children.n)
		remove_image(image);
	images_free(&children);
	free(image);
	return err;
}

DWORD WINAPI DeleteSnapshotVhdSet(HANDLE VirtualDiskHandle,
	const PDELETE_SNAPSHOT_VHDSET_PARAMETERS Parameters, DELETE_SNAPSHOT_VHDSET_FLAG Flags)
{
	struct disk_problem problem = {0};
	struct vdisk *v;
	DWORD err;

	if (!Parameters || Parameters->Version != DELETE_SNAPSHOT_VHDSET_VERSION_1 ||
		(unsigned)Flags & ~DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT)
		return ERROR_INVALID_PARAMETER;
	err = claim_present(VirtualDiskHandle, &v);
	if (err)
		return err;
	return unclaim_present(v, &problem,
		delete (v, &Parameters->Version1.SnapshotId,
			Flags & DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT, &problem));
}

/* ---- Modify ---------------------------------------------------------------------------------- */

static int modify(struct vdisk *v, const MODIFY_VHDSET_PARAMETERS *p, const char *path)
{
	int err;

	switch (p->Version) {
	case MODIFY_VHDSET_SNAPSHOT_PATH:
		err = vhdset_set_image(v->set, &p->SnapshotPath.SnapshotId, path);
		break;
	case MODIFY_VHDSET_REMOVE_SNAPSHOT:
		err = vhdset_remove(v->set, &p->SnapshotId);
		break;
	default:
		err = vhdset_set_default(v->set, path);
	}
	if (!err)
		err = vhdset_store(v->set);
	if (err)
		vhdset_revert(v->set);
	return err;
}

/* The path that a version has; ERROR_INVALID_PARAMETER without one. */
static DWORD modify_path(const MODIFY_VHDSET_PARAMETERS *p, char **path)
{
	PCWSTR from;

	*path = NULL;
	switch (p->Version) {
	case MODIFY_VHDSET_SNAPSHOT_PATH:
		from = p->SnapshotPath.SnapshotFilePath;
		break;
	case MODIFY_VHDSET_REMOVE_SNAPSHOT:
		return ERROR_SUCCESS;
	case MODIFY_VHDSET_DEFAULT_SNAPSHOT_PATH:
		from = p->DefaultFilePath;
		break;
	default:
		return ERROR_INVALID_PARAMETER;
	}
	if (!from || !from[0])
		return ERROR_INVALID_PARAMETER;
	*path = vdisk_path(from);
	return *path ? ERROR_SUCCESS : ERROR_NOT_ENOUGH_MEMORY;
}

DWORD WINAPI ModifyVhdSet(HANDLE VirtualDiskHandle, const PMODIFY_VHDSET_PARAMETERS Parameters,
	MODIFY_VHDSET_FLAG Flags)
{
	struct vdisk *v;
	char *path;
	DWORD err;

	if (!Parameters || (unsigned)Flags & ~MODIFY_VHDSET_FLAG_WRITEABLE_SNAPSHOT)
		return ERROR_INVALID_PARAMETER;
	err = modify_path(Parameters, &path);
	if (err)
		return err;
	err = claim_set(VirtualDiskHandle, &v);
	if (!err) {
		/* A disk that is open is another one, if its path was changed. */
		if (v->disk)
			err = vdisk_close_disk(v);
		if (!err)
			err = set_code(NULL, modify(v, Parameters, path));
		if (!v->file_only && vdisk_open(v) && !err)
			err = ERROR_VHD_INVALID_STATE;
		vdisk_unclaim(v);
	}
	free(path);
	return err;
}
