/*
 * vhdx_locator.c - the parent locator of a differencing VHDX: which disk the parent is, and the
 * paths by which it may be found.
 *
 * The relative and the absolute form are made; the volume form is only read: it names Windows'
 * volumes.
 *
 * Source: [MS-VHDX] 2.6.2.6.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "base/utf16.h"
#include "disk/path.h"
#include "disk/vhdx.h"
#include "winerror.h"

static const GUID item_id = VHDX_ITEM_PARENT_LOCATOR;
static const GUID type_id = VHDX_LOCATOR_TYPE;

enum key { LINKAGE, LINKAGE_2, RELATIVE_PATH, ABSOLUTE_PATH, VOLUME_PATH, KEYS };

static const char *const key_names[KEYS] = {
	[LINKAGE] = "parent_linkage",
	[LINKAGE_2] = "parent_linkage2",
	[RELATIVE_PATH] = "relative_path",
	[ABSOLUTE_PATH] = "absolute_win32_path",
	[VOLUME_PATH] = "volume_path",
};

static const enum key key_of[] = {
	[DISK_LOCATOR_RELATIVE] = RELATIVE_PATH,
	[DISK_LOCATOR_ABSOLUTE] = ABSOLUTE_PATH,
	[DISK_LOCATOR_VOLUME] = VOLUME_PATH,
};

/* ---- Reading --------------------------------------------------------------------------------- */

static void free_values(char *values[KEYS])
{
	for (unsigned i = 0; i < KEYS; i++) {
		free(values[i]);
		values[i] = NULL;
	}
}

/* A key or value: @length bytes at @offset of the item. -EUCLEAN: not inside it. */
static int get_text(const void *item, uint32_t n, uint32_t offset, uint16_t length, char **text)
{
	if (!length || length % 2 || offset > n || length > n - offset)
		return -EUCLEAN;
	*text = utf16_to_utf8((const uint8_t *)item + offset, length / 2);
	return *text ? 0 : -ENOMEM;
}

/* Take the value of one of our keys; others are nobody's business. A key stands there only once. */
static int take_value(const char *key, char **value, char *values[KEYS])
{
	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(key, key_names[i]))
			continue;
		if (values[i])
			return -EUCLEAN;
		values[i] = *value;
		*value = NULL;
	}
	return 0;
}

static int get_pair(
	const void *item, uint32_t n, const struct vhdx_locator_entry *e, char *values[KEYS])
{
	char *key = NULL, *value = NULL;
	int r = get_text(item, n, e->key_offset, e->key_length, &key);

	if (!r)
		r = get_text(item, n, e->value_offset, e->value_length, &value);
	if (!r)
		r = take_value(key, &value, values);
	free(key);
	free(value);
	return r;
}

static int parse(const void *item, uint32_t n, char *values[KEYS])
{
	const struct vhdx_locator *l = item;
	int r = 0;

	if (n < sizeof(*l))
		return -EUCLEAN;
	if (!guid_equal(&l->type, &type_id))
		return -ENOTSUP;
	if (l->count > VHDX_LOCATOR_KEYS_MAX || n < sizeof(*l) + l->count * sizeof(l->entry[0]))
		return -EUCLEAN;
	for (unsigned i = 0; !r && i < l->count; i++)
		r = get_pair(item, n, &l->entry[i], values);
	return r;
}

/* The values of a locator that was parsed become those of @v. */
static int adopt(struct vhdx *v, char *values[KEYS])
{
	GUID linkage[2] = {0};

	if (!values[LINKAGE] || !guid_parse(values[LINKAGE], &linkage[0]))
		return -EUCLEAN;
	if (values[LINKAGE_2] && !guid_parse(values[LINKAGE_2], &linkage[1]))
		return -EUCLEAN;
	if (!values[RELATIVE_PATH] && !values[ABSOLUTE_PATH] && !values[VOLUME_PATH])
		return -EUCLEAN;
	memcpy(v->linkage, linkage, sizeof(linkage));
	v->disk.fixed.parent_id = linkage[0];
	for (unsigned i = 0; i < sizeof(key_of) / sizeof(key_of[0]); i++) {
		free(v->locator[i]);
		v->locator[i] = values[key_of[i]];
		values[key_of[i]] = NULL;
	}
	return 0;
}

int vhdx_locator_read(struct vhdx *v, struct disk_problem *problem)
{
	char *values[KEYS] = {0};
	uint32_t n;
	void *item;
	int r = vhdx_item_load(v, &item_id, &item, &n);

	if (r == -ENOENT)
		return vhdx_damaged(v, problem,
			"it is a differencing disk and does not say of what; use a copy of the "
			"file");
	if (r)
		return r;
	r = parse(item, n, values);
	free(item);
	if (!r)
		r = adopt(v, values);
	free_values(values);
	if (r == -ENOTSUP)
		return disk_problem_note(problem, &v->disk.file, r,
			ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
			"what it says of its parent has a form that is not known; "
			"open it with the system that made it");
	if (r == -EUCLEAN)
		return vhdx_damaged(v, problem,
			"what it says of its parent is damaged; use a copy of the file");
	return r;
}

int vhdx_locator_get(struct disk *d, enum disk_locator which, char **path)
{
	struct vhdx *v = vhdx_of(d);
	int r = -ENOENT;

	pthread_mutex_lock(&v->metadata_lock);
	if (v->locator[which]) {
		*path = strdup(v->locator[which]);
		r = *path ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&v->metadata_lock);
	return r;
}

/* ---- Making ---------------------------------------------------------------------------------- */

/* Append @text as UTF-16, unterminated. Returns its bytes; 0: it does not fit. */
static uint16_t put_text(uint8_t *item, uint32_t room, uint32_t *n, const char *text)
{
	size_t units;
	uint16_t *wide = utf16_from_utf8(text, &units);

	if (wide && (units > UINT16_MAX / 2 || units * 2 > room - *n))
		units = 0;
	if (!wide)
		return 0;
	memcpy(item + *n, wide, units * 2);
	free(wide);
	*n += units * 2;
	return units * 2;
}

/* The item for @values, those that are not NULL. */
static int make(char *const values[KEYS], void **data, uint32_t *n)
{
	struct vhdx_locator *l;
	uint32_t room = sizeof(*l);
	struct vhdx_locator_entry *e;
	unsigned count = 0;
	int r = 0;

	for (unsigned i = 0; i < KEYS; i++)
		if (values[i]) {
			count++;
			room += sizeof(*e) + 2 * (strlen(key_names[i]) + strlen(values[i]));
		}
	l = calloc(1, room);
	if (!l)
		return -ENOMEM;
	l->type = type_id;
	*n = sizeof(*l) + count * sizeof(*e);
	for (unsigned i = 0; i < KEYS; i++) {
		if (!values[i])
			continue;
		e = &l->entry[l->count++];
		e->key_offset = *n;
		e->key_length = put_text((uint8_t *)l, room, n, key_names[i]);
		e->value_offset = *n;
		e->value_length = put_text((uint8_t *)l, room, n, values[i]);
		if (!e->key_length || !e->value_length)
			r = -ENAMETOOLONG;
	}
	*data = l;
	if (r)
		free(l);
	return r;
}

static char *linkage_text(const GUID *id)
{
	char guid[GUID_TEXT], *text;

	return asprintf(&text, "{%s}", guid_format(id, guid)) < 0 ? NULL : text;
}

int vhdx_locator_make(
	const char *child, const char *path, const GUID *linkage, void **data, uint32_t *n)
{
	static const GUID none;
	char *values[KEYS] = {0};
	int r = disk_path_locators(child, path, &values[RELATIVE_PATH], &values[ABSOLUTE_PATH]);

	if (r)
		return r;
	values[LINKAGE] = linkage_text(linkage);
	/* There already, so that there is room for it when it is needed. */
	values[LINKAGE_2] = linkage_text(&none);
	r = values[LINKAGE] && values[LINKAGE_2] ? make(values, data, n) : -ENOMEM;
	free_values(values);
	return r;
}

/* Store the item and take over what it says. */
static int store(struct vhdx *v, const void *item, uint32_t n)
{
	char *values[KEYS] = {0};
	int r = vhdx_item_set(v, &item_id, VHDX_METADATA_REQUIRED, item, n);

	if (!r)
		r = vhdx_commit(v);
	if (!r)
		r = parse(item, n, values);
	if (!r) {
		pthread_mutex_lock(&v->metadata_lock);
		r = adopt(v, values);
		pthread_mutex_unlock(&v->metadata_lock);
	}
	free_values(values);
	return r;
}

int vhdx_locator_follow(struct vhdx *v, const GUID *now, const GUID *next)
{
	char *values[KEYS] = {[LINKAGE] = linkage_text(now), [LINKAGE_2] = linkage_text(next)};
	void *item = NULL;
	uint32_t n;
	int r = 0;

	for (unsigned i = 0; i < sizeof(key_of) / sizeof(key_of[0]); i++)
		if (v->locator[i] && !(values[key_of[i]] = strdup(v->locator[i])))
			r = -ENOMEM;
	if (!values[LINKAGE] || !values[LINKAGE_2])
		r = -ENOMEM;
	if (!r)
		r = make(values, &item, &n);
	free_values(values);
	if (!r) {
		r = store(v, item, n);
		free(item);
	}
	return r;
}

static void data_id_of(struct disk *d, GUID *id)
{
	struct vhdx *v = vhdx_of(d);

	pthread_mutex_lock(&v->header_lock);
	*id = v->header.data_write;
	pthread_mutex_unlock(&v->header_lock);
}

int vhdx_set_parent(
	struct disk *d, const char *path, struct disk *parent, struct disk_problem *problem)
{
	struct vhdx *v = vhdx_of(d);
	GUID id;
	void *item;
	uint32_t n;
	int r;

	if (!v->has_parent || parent->ops != d->ops)
		return disk_problem_note(problem, &d->file, -EINVAL, ERROR_VHD_INVALID_TYPE,
			v->has_parent ? "its parent must be a VHDX file too"
				      : "it is not a differencing disk, which alone has a parent");
	data_id_of(parent, &id);
	r = vhdx_locator_make(d->file.path, path, &id, &item, &n);
	if (r)
		return r;
	r = store(v, item, n);
	free(item);
	if (!r)
		vhdx_of(parent)->child = v;
	return r;
}

int vhdx_parent_fits(struct disk *d, struct disk *parent, struct disk_problem *problem)
{
	struct vhdx *v = vhdx_of(d);
	GUID id;

	if (parent->ops != d->ops)
		return disk_problem_note(problem, &d->file, -ESTALE,
			ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
			"its parent %s is not a VHDX file, so it is not the one it was made from; "
			"name the right one with partita disk set --parent",
			parent->file.path);
	data_id_of(parent, &id);
	if (!guid_equal(&id, &v->linkage[0]) &&
		(guid_is_zero(&v->linkage[1]) || !guid_equal(&id, &v->linkage[1])))
		return disk_problem_note(problem, &d->file, -ESTALE,
			ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
			"its parent %s was changed after this disk was made from it; "
			"use the parent as it was",
			parent->file.path);
	if (parent->fixed.logical_sector != d->fixed.logical_sector)
		return disk_problem_note(problem, &d->file, -ESTALE,
			ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
			"its sectors have %u bytes and those of its parent %s have %u; "
			"name the right parent",
			d->fixed.logical_sector, parent->file.path, parent->fixed.logical_sector);
	vhdx_of(parent)->child = v;
	return 0;
}
