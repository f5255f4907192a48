/*
 * disks.c - the guest's storage: synthetic SCSI controllers with disks and DVD drives, those that
 * the machine starts with and those that come and go while it runs (control.h); and the fast path
 * to disks of the two IDE controllers, which stay as long as the machine runs.
 *
 * The instance GUIDs are those of Hyper-V, by which images for Azure and Hyper-V tell controllers
 * and IDE disks apart. The first controller is always there; the others come with their first disk.
 * Everything here runs on the main thread, but for changes of a disk's size.
 */
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/scsi.h"
#include "vsp/storage.h"
#include "worker/control.h"
#include "worker/jobs.h"
#include "worker/machine.h"

#define IDE(c, location)                                                                           \
	[WORKER_IDE(c, location)] = {.name = "ide" #c "." #location,                               \
		.instance = {c, location, 0x8899, {0}},                                            \
		.ide = true,                                                                       \
		.path = c,                                                                         \
		.target = location}

static const struct {
	const char *name;
	GUID instance;
	bool ide;
	uint8_t path, target;
} names[WORKER_PLACES] = {
	{"scsi0", {0xf8b3781a, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
	{"scsi1", {0xf8b3781b, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
	{"scsi2", {0xf8b3781c, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
	{"scsi3", {0xf8b3781d, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
	IDE(0, 0),
	IDE(0, 1),
	IDE(1, 0),
	IDE(1, 1),
};

/* A unit of the guest's. */
struct entry {
	struct scsi_unit *unit; /* NULL: no unit here */
	struct disk *disk;	/* NULL: a drive without a medium */
	bool dvd;
	struct resize *resize; /* that is under way; NULL: none is */
};

/* A disk's change of size, which may take long: a job on a thread of its own. */
struct resize {
	struct job job;
	struct entry *entry; /* whose disk stays meanwhile */
	unsigned controller;
	uint64_t before, size; /* bytes */
	int err;
	struct disk_problem problem;
	pthread_t thread;
	bool joined;
};

struct disks {
	struct storage *controllers[WORKER_PLACES];
	struct entry entries[WORKER_PLACES][WORKER_LUNS];
};

/* ---- Units ----------------------------------------------------------------------------------- */

/* Closes a disk that no unit uses any more. The path goes with it, so it is flushed first. */
static int let_go(struct machine *m, struct disk *d)
{
	int err, end;

	if (!d)
		return 0;
	err = disk_flush(d);
	if (err)
		log_error("%s: not all that the guest wrote reached %s: %s; check it with "
			  "'partita disk check'",
			m->config->name, disk_path(d), strerror(-err));
	end = disk_close(d);
	return err ? err : end;
}

static int offer_controller(struct machine *m, unsigned i)
{
	struct storage_config config = {.name = names[i].name,
		.instance = names[i].instance,
		.sub_channels = names[i].ide ? 0 : m->config->processors - 1,
		.engine = m->config->disk_engine,
		.ide = names[i].ide,
		.ide_path = names[i].path,
		.ide_target = names[i].target};

	if (m->disks->controllers[i])
		return 0;
	return storage_create(m->vmbus, &config, &m->disks->controllers[i]);
}

/* Shows the guest a disk or a drive; @at->disk stays the caller's when that fails. */
static int attach(struct machine *m, const struct worker_disk *at)
{
	struct entry *e = &m->disks->entries[at->controller][at->lun];
	struct scsi_disk_options options = {.read_only = at->read_only};
	int err = offer_controller(m, at->controller);

	if (err)
		return err;
	if (e->unit)
		return -EEXIST;
	e->unit = at->dvd ? scsi_dvd_create(at->disk) : scsi_disk_create(at->disk, &options);
	if (!e->unit)
		return -ENOMEM;
	e->disk = at->disk;
	e->dvd = at->dvd;
	err = storage_attach(m->disks->controllers[at->controller], at->lun, e->unit);
	if (err) {
		scsi_unit_destroy(e->unit);
		*e = (struct entry){0};
	}
	return err;
}

static int detach(struct machine *m, unsigned controller, unsigned lun)
{
	struct entry *e = &m->disks->entries[controller][lun], was = *e;

	storage_detach(m->disks->controllers[controller], lun);
	*e = (struct entry){0};
	scsi_unit_destroy(was.unit);
	return let_go(m, was.disk);
}

int disks_create(struct machine *m)
{
	const struct worker_config *config = m->config;
	int err;

	m->disks = calloc(1, sizeof(*m->disks));
	err = m->disks ? disk_engine_start(config->disk_engine) : -ENOMEM;
	if (!err)
		err = offer_controller(m, 0);
	for (unsigned i = 0; i < config->n_disks && !err; i++) {
		err = attach(m, &config->disks[i]);
		if (!err)
			config->disks[i].disk = NULL; /* is the entry's now */
	}
	if (err)
		log_error("%s: cannot offer the guest its disks: %s", config->name, strerror(-err));
	return err;
}

static void resize_join(struct resize *z)
{
	if (!z->joined)
		pthread_join(z->thread, NULL);
	z->joined = true;
}

static void await_resizes(struct machine *m)
{
	for (unsigned i = 0; i < WORKER_PLACES; i++)
		for (unsigned lun = 0; lun < WORKER_LUNS; lun++)
			if (m->disks->entries[i][lun].resize)
				resize_join(m->disks->entries[i][lun].resize);
	job_finish_all(m);
}

void disks_destroy(struct machine *m)
{
	const struct worker_config *config = m->config;

	if (m->disks)
		await_resizes(m);
	for (unsigned i = 0; m->disks && i < WORKER_PLACES; i++) {
		storage_destroy(m->disks->controllers[i]);
		for (unsigned lun = 0; lun < WORKER_LUNS; lun++) {
			scsi_unit_destroy(m->disks->entries[i][lun].unit);
			let_go(m, m->disks->entries[i][lun].disk);
		}
	}
	for (unsigned i = 0; i < config->n_disks; i++)
		let_go(m, config->disks[i].disk);
	disk_engine_destroy(config->disk_engine);
	free(m->disks);
	m->disks = NULL;
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* The files of a request: the first is the image, the others are its parents. */
struct files {
	struct control_request *r;
	struct json_object *paths;
};

/* In place of open(2): gives out what came with the request. */
static int open_passed(void *ctx, const char *path, int flags)
{
	struct files *f = ctx;

	for (unsigned i = 0; i < f->r->n_fds; i++) {
		struct json_object *named = json_object_array_get_idx(f->paths, i);

		if (f->r->fds[i] >= 0 && named &&
			strcmp(json_object_get_string(named), path) == 0) {
			int fd = f->r->fds[i];

			f->r->fds[i] = -1;
			return fd;
		}
	}
	return -ENOENT;
}

static bool flag(const struct control_request *r, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(r->json, name, &value) && json_object_get_boolean(value);
}

/* A number below @limit; -1: not given; -2: an error was replied. */
static int number(struct control_request *r, const char *name, unsigned limit)
{
	struct json_object *value;
	int64_t n;

	if (!json_object_object_get_ex(r->json, name, &value))
		return -1;
	n = json_object_get_int64(value);
	if (json_object_is_type(value, json_type_int) && n >= 0 && n < limit)
		return (int)n;
	control_error(r, "there are %ss 0 to %u", name, limit - 1);
	return -2;
}

static void add_place(struct json_object *to, unsigned controller, unsigned lun)
{
	json_object_object_add(to, "controller", json_object_new_int((int)controller));
	json_object_object_add(to, "lun", json_object_new_int((int)lun));
}

static int open_disk(struct machine *m, struct control_request *r, struct worker_disk *at)
{
	struct files files = {.r = r};
	struct disk_open_options options = {
		.flags = at->read_only || at->dvd ? 0 : DISK_OPEN_WRITE,
		.format = at->dvd ? DISK_FORMAT_RAW : DISK_FORMAT_ANY,
		.open_file = open_passed,
		.ctx = &files,
	};
	struct disk_problem problem = {0};
	struct json_object *first;
	int err;

	if (!json_object_object_get_ex(r->json, "paths", &files.paths) ||
		!json_object_is_type(files.paths, json_type_array) ||
		!(first = json_object_array_get_idx(files.paths, 0)) ||
		!json_object_is_type(first, json_type_string))
		return control_error(r, "the request names no files");
	err = disk_open(m->config->disk_engine, json_object_get_string(first), &options, &at->disk,
		&problem);
	if (err)
		return control_error(
			r, "%s", disk_problem_text(&problem, json_object_get_string(first), err));
	return 0;
}

/*
 * Puts a medium into a drive, or takes the old one out (@medium NULL), also out of a locked drive
 * with "force". -EBUSY: replied that it is locked; @medium stays the caller's.
 */
static int change_medium(struct machine *m, struct control_request *r, const struct worker_disk *at)
{
	struct entry *e = &m->disks->entries[at->controller][at->lun];
	struct disk *old, *before = e->disk;

	if (scsi_dvd_insert(e->unit, at->disk, flag(r, "force"), &old)) {
		control_error(r,
			"the guest has locked the drive at controller %u, LUN %u; --force changes "
			"its medium all the same",
			at->controller, at->lun);
		return -EBUSY;
	}
	e->disk = at->disk;
	let_go(m, before); /* which the guest may have ejected: then it is not @old */
	storage_changed(m->disks->controllers[at->controller]);
	return 0;
}

/* Where a new unit goes: the place asked for, or the first free one. False: replied. */
static bool find_place(struct machine *m, struct control_request *r, struct worker_disk *at)
{
	int controller = number(r, "controller", WORKER_CONTROLLERS);
	int lun = number(r, "lun", WORKER_LUNS);

	if (controller == -2 || lun == -2)
		return false;
	at->controller = controller < 0 ? 0 : (unsigned)controller;
	for (at->lun = 0; lun < 0 && m->disks->entries[at->controller][at->lun].unit;)
		if (++at->lun == WORKER_LUNS) {
			control_error(r, "controller %u has no LUN left", at->controller);
			return false;
		}
	if (lun >= 0)
		at->lun = (unsigned)lun;
	return true;
}

void disks_attach_request(struct machine *m, struct control_request *r)
{
	struct worker_disk at = {.dvd = flag(r, "dvd"), .read_only = flag(r, "read-only")};
	struct entry *e;
	int err;

	if (!find_place(m, r, &at))
		return;
	e = &m->disks->entries[at.controller][at.lun];
	if (e->unit && !(at.dvd && e->dvd)) {
		control_error(r, "there is a %s already at controller %u, LUN %u",
			e->dvd ? "DVD drive" : "disk", at.controller, at.lun);
		return;
	}
	if (open_disk(m, r, &at))
		return;
	if (e->unit) {
		err = change_medium(m, r, &at);
	} else {
		err = attach(m, &at);
		if (err)
			control_error(
				r, "cannot attach %s: %s", disk_path(at.disk), strerror(-err));
	}
	if (err)
		disk_close(at.disk);
	else
		add_place(r->reply, at.controller, at.lun);
}

static struct entry *find_path(
	struct machine *m, const char *path, unsigned *controller, unsigned *lun)
{
	for (*controller = 0; *controller < WORKER_PLACES; ++*controller)
		for (*lun = 0; *lun < WORKER_LUNS; ++*lun) {
			struct entry *e = &m->disks->entries[*controller][*lun];

			if (e->disk && strcmp(disk_path(e->disk), path) == 0)
				return e;
		}
	return NULL;
}

/* The unit that a request names by its path, or by controller and LUN; NULL: replied. */
static struct entry *find_unit(
	struct machine *m, struct control_request *r, unsigned *controller, unsigned *lun)
{
	struct json_object *path;
	struct entry *e;
	int c, l;

	if (json_object_object_get_ex(r->json, "path", &path)) {
		if (!json_object_is_type(path, json_type_string)) {
			control_error(r, "the path is not a string");
			return NULL;
		}
		e = find_path(m, json_object_get_string(path), controller, lun);
		if (!e)
			control_error(
				r, "the machine has no disk %s", json_object_get_string(path));
		return e;
	}
	c = number(r, "controller", WORKER_CONTROLLERS);
	l = number(r, "lun", WORKER_LUNS);
	if (c == -2 || l == -2)
		return NULL;
	*controller = c < 0 ? 0 : (unsigned)c;
	*lun = l < 0 ? 0 : (unsigned)l;
	e = &m->disks->entries[*controller][*lun];
	if (l >= 0 && e->unit)
		return e;
	control_error(r, "the machine has no disk there");
	return NULL;
}

/* A disk whose size changes stays as it is otherwise. True: an error was replied. */
static bool being_resized(struct control_request *r, const struct entry *e)
{
	if (e->resize)
		control_error(r, "the size of %s is being changed", disk_path(e->disk));
	return e->resize;
}

void disks_detach_request(struct machine *m, struct control_request *r)
{
	struct worker_disk at = {0};
	struct entry *e = find_unit(m, r, &at.controller, &at.lun);
	int err;

	if (!e || being_resized(r, e))
		return;
	if (names[at.controller].ide) {
		control_error(r, "a disk of an IDE controller stays as long as the machine runs");
		return;
	}
	if (e->dvd) { /* the drive stays */
		err = change_medium(m, r, &at);
	} else {
		err = detach(m, at.controller, at.lun);
		if (err)
			control_error(r,
				"the disk was detached, but not all that the guest wrote reached "
				"it: %s",
				strerror(-err));
	}
	if (!err)
		add_place(r->reply, at.controller, at.lun);
}

/* The size in bytes that a request wants of a disk that has @before; 0: replied. */
static uint64_t wanted_size(struct control_request *r, uint64_t before)
{
	struct json_object *value;
	uint64_t size;

	if (!json_object_object_get_ex(r->json, "size", &value) ||
		!json_object_is_type(value, json_type_int) || json_object_get_int64(value) <= 0) {
		control_error(r, "the request names no size");
		return 0;
	}
	size = json_object_get_uint64(value);
	if (!flag(r, "more"))
		return size;
	if (size <= UINT64_MAX - before)
		return size + before;
	control_error(r, "no disk can be that large");
	return 0;
}

static void *resize_main(void *ctx)
{
	struct resize *z = ctx;

	z->err = disk_resize(z->entry->disk, z->size, false, &z->problem);
	job_done(&z->job);
	return NULL;
}

static void resize_answer(struct resize *z)
{
	const char *path = disk_path(z->entry->disk);
	struct json_object *reply;

	if (z->err == -ENOTEMPTY) {
		job_error(&z->job,
			"%s holds data behind that size; have the guest make its file systems "
			"smaller and discard what is behind them",
			path);
	} else if (z->err) {
		job_error(&z->job, "%s", disk_problem_text(&z->problem, path, z->err));
	} else {
		reply = json_object_new_object();
		json_object_object_add(reply, "before", json_object_new_uint64(z->before));
		json_object_object_add(reply, "size", json_object_new_uint64(z->size));
		job_answer(&z->job, reply);
	}
}

static void resize_finish(struct job *job)
{
	struct resize *z = (struct resize *)job;

	resize_join(z);
	z->entry->resize = NULL;
	if (!z->err)
		storage_changed(job->machine->disks->controllers[z->controller]);
	resize_answer(z);
	free(z);
}

static void start_resize(struct machine *m, struct control_request *r, struct resize *z)
{
	int err;

	z->job.finish = resize_finish;
	if (!job_begin(m, r, &z->job)) {
		free(z);
		return;
	}
	z->entry->resize = z;
	err = pthread_create(&z->thread, NULL, resize_main, z);
	if (!err)
		return; /* the thread has it */
	z->err = -err;
	z->entry->resize = NULL;
	resize_answer(z);
	free(z);
}

/* The guest's commands wait meanwhile; the next one is told, and the guest has one sent soon. */
void disks_resize_request(struct machine *m, struct control_request *r)
{
	unsigned controller, lun;
	struct entry *e = find_unit(m, r, &controller, &lun);
	uint64_t before, size;
	struct resize *z;

	if (!e || being_resized(r, e))
		return;
	if (e->dvd) {
		control_error(r, "a DVD has the size of its image");
		return;
	}
	before = disk_size(e->disk);
	size = wanted_size(r, before);
	if (!size)
		return;
	z = calloc(1, sizeof(*z));
	if (!z) {
		control_error(r, "memory is short");
		return;
	}
	*z = (struct resize){.entry = e, .controller = controller, .before = before, .size = size};
	start_resize(m, r, z);
}

void disks_list_request(struct machine *m, struct control_request *r)
{
	struct json_object *list = json_object_new_array();

	for (unsigned c = 0; c < WORKER_PLACES; c++)
		for (unsigned lun = 0; lun < WORKER_LUNS; lun++) {
			const struct entry *e = &m->disks->entries[c][lun];
			struct json_object *one;

			if (!e->unit)
				continue;
			one = json_object_new_object();
			json_object_object_add(one, "path",
				e->disk ? json_object_new_string(disk_path(e->disk)) : NULL);
			if (names[c].ide)
				json_object_object_add(
					one, "ide", json_object_new_string(names[c].name + 3));
			else
				add_place(one, c, lun);
			json_object_object_add(one, "dvd", json_object_new_boolean(e->dvd));
			json_object_array_add(list, one);
		}
	json_object_object_add(r->reply, "disks", list);
}
