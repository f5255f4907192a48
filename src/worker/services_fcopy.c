/*
 * services_fcopy.c - copying a file into the guest; see services.h. The file comes as a descriptor,
 * since the machine may open none.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/services.h"

#define PROGRESS_NS 200000000u

struct copy_job {
	struct job job;
	struct fcopy_request request;
	struct loop_timer *progress;
	int err; /* of submitting */
};

static void tell_progress(void *ctx)
{
	struct copy_job *j = ctx;
	struct json_object *line, *progress;

	if (!j->job.client)
		return;
	progress = json_object_new_object();
	json_object_object_add(
		progress, "copied", json_object_new_int64((int64_t)j->request.copied));
	json_object_object_add(progress, "size", json_object_new_int64((int64_t)j->request.size));
	line = json_object_new_object();
	json_object_object_add(line, "progress", progress);
	control_progress(j->job.client, line);
}

static void on_done(struct fcopy_request *r)
{
	job_done(&((struct copy_job *)((char *)r - offsetof(struct copy_job, request)))->job);
}

/* What only copying a file ends with; false: something else. */
static bool told_why(struct copy_job *j, int err)
{
	switch (err) {
	case -EBUSY:
		job_error(&j->job, "another file is being copied into the guest");
		return true;
	case -EINVAL:
		job_error(&j->job, "the path in the guest is not an absolute one of a file");
		return true;
	case -ENAMETOOLONG:
		job_error(&j->job,
			"the path in the guest is too long: its directory and its name have %u "
			"bytes at most",
			FCOPY_NAME_MAX);
		return true;
	case -ENODATA:
		job_error(&j->job, "the file became shorter while it was copied");
		return true;
	default:
		return false;
	}
}

static void finish(struct job *job)
{
	struct copy_job *j = (struct copy_job *)job;
	int err = j->err ? j->err : j->request.err;
	struct json_object *reply;

	if (!told_why(j, err) &&
		!service_failed(job, WORKER_FCOPY, err, err ? 0 : j->request.status)) {
		reply = json_object_new_object();
		json_object_object_add(
			reply, "size", json_object_new_int64((int64_t)j->request.size));
		job_answer(job, reply);
	}
	loop_timer_destroy(j->progress);
	close(j->request.fd);
	free(j);
}

static void cancel(struct job *job)
{
	fcopy_cancel(&((struct copy_job *)job)->request);
}

static bool usable(struct control_request *r, uint64_t *size)
{
	struct stat st;

	if (r->n_fds != 1 || r->fds[0] < 0 || fstat(r->fds[0], &st) || !S_ISREG(st.st_mode)) {
		control_error(r, "the request has no file that could be copied");
		return false;
	}
	*size = (uint64_t)st.st_size;
	return true;
}

void services_copy_file_request(struct machine *m, struct control_request *r)
{
	struct services *s = m->services;
	const char *path = service_string(r, "path");
	unsigned flags = (service_flag(r, "overwrite") ? IC_FCOPY_OVERWRITE : 0u) |
			 (service_flag(r, "create-directories") ? IC_FCOPY_MAKE_PATH : 0u);
	struct copy_job *j;
	uint64_t size;

	if (!services_enabled(s, r, WORKER_FCOPY) || !usable(r, &size))
		return;
	j = calloc(1, sizeof(*j));
	if (j)
		j->progress = loop_timer_create(m->loop, tell_progress, j);
	if (!j || !j->progress) {
		control_error(r, "memory is short");
		free(j);
		return;
	}
	j->job = (struct job){.finish = finish, .cancel = cancel};
	if (!job_begin(m, r, &j->job)) {
		loop_timer_destroy(j->progress);
		free(j);
		return;
	}
	j->request.fd = r->fds[0];
	r->fds[0] = -1;
	j->request.size = size;
	j->request.done = on_done;
	loop_timer_arm(j->progress, loop_now() + PROGRESS_NS, PROGRESS_NS);
	j->err = fcopy_submit(s->fcopy, &j->request, path ? path : "", flags);
	if (j->err)
		job_done(&j->job);
}
