/*
 * services_vss.c - freezing the guest for a backup, and thawing it; see services.h.
 *
 *            freeze            the guest agrees            thaw, the limit, or the
 *   THAWED ──────────▶ FREEZING ───────────────▶ FROZEN ─── client has gone ───▶ THAWING ──▶ THAWED
 *
 * Whatever happens to the client, and when: what was frozen is thawed. All of this is the main
 * thread's.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>

#include "base/log.h"
#include "worker/services.h"

#define LIMIT_DEFAULT 60  /* seconds */
#define LIMIT_MOST    900 /* Linux's own for the freeze */

struct freeze_job {
	struct job job;
	struct vss_request request;
	int err;
	enum ic_vss_operation step;
	bool check; /* only whether there could be a freeze */
	bool hold;
	unsigned limit; /* seconds; 0: none */
};

struct freezer {
	enum { THAWED, FREEZING, FROZEN, THAWING } state;
	struct freeze_job *job; /* FROZEN: of the client that holds it so; NULL: none does */
	struct loop_timer *limit;
	struct job thaw_job;
	struct vss_request thaw;
	int thaw_err;
};

/* ---- Thawing -------------------------------------------------------------------------------- */

static int thaw_answered(struct ic_request *ic)
{
	struct vss_request *r = (struct vss_request *)ic;
	struct freezer *f = (struct freezer *)((char *)r - offsetof(struct freezer, thaw));

	f->thaw_err = ic->err;
	job_done(&f->thaw_job);
	return 0;
}

static void thaw_finish(struct job *job)
{
	struct services *s = job->machine->services;
	struct freezer *f = s->freezer;
	uint32_t status = f->thaw_err ? 0 : f->thaw.ic.status;

	f->state = THAWED;
	if (status && !job->client)
		log_warning("%s: the guest could not thaw its file systems: error 0x%08x",
			s->machine->config->name, status);
	if (!service_failed(job, WORKER_VSS, f->thaw_err, status))
		job_answer(job, json_object_new_object());
}

/* The thaw's client, if it has one, was made its job's before. */
static void thaw(struct services *s)
{
	struct freezer *f = s->freezer;
	int err;

	loop_timer_disarm(f->limit);
	f->state = THAWING;
	f->thaw.ic = (struct ic_request){.done = thaw_answered};
	err = s->vss ? vss_submit(s->vss, &f->thaw, IC_VSS_THAW) : -ENOTCONN;
	if (!err)
		return;
	f->thaw_err = err;
	job_done(&f->thaw_job);
}

/* The client that holds the guest frozen, if there is one, hears that it is no longer. */
static void let_holder_go(struct services *s, const char *why)
{
	struct freeze_job *j = s->freezer->job;

	s->freezer->job = NULL;
	if (!j)
		return;
	if (why)
		job_error(&j->job, "%s", why);
	else
		job_answer(&j->job, json_object_new_object());
	free(j);
}

static void limit_reached(void *ctx)
{
	struct services *s = ctx;

	let_holder_go(s, "the time limit was reached, and the guest is being thawed");
	thaw(s);
}

void freezer_gone(struct services *s)
{
	struct freezer *f = s->freezer;

	if (f->state != FROZEN)
		return; /* what is under way ends by itself */
	loop_timer_disarm(f->limit);
	f->state = THAWED;
	let_holder_go(s, "the guest has ended, or closed the service, while it was frozen");
}

/* ---- Freezing ------------------------------------------------------------------------------- */

static int freeze_answered(struct ic_request *ic)
{
	struct vss_request *r = (struct vss_request *)ic;
	struct freeze_job *j =
		(struct freeze_job *)((char *)r - offsetof(struct freeze_job, request));

	j->err = ic->err;
	job_done(&j->job);
	return 0;
}

static void take_step(struct freeze_job *j, enum ic_vss_operation step)
{
	struct vss *vss = j->job.machine->services->vss; /* NULL: disabled meanwhile */
	int err;

	j->step = step;
	j->request.ic = (struct ic_request){
		.deadline = loop_now() + SERVICE_PATIENCE_NS, .done = freeze_answered};
	err = vss ? vss_submit(vss, &j->request, step) : -ENOTCONN;
	if (!err)
		return; /* the job is the provider's, and may have been answered */
	j->err = err;
	job_done(&j->job);
}

static void frozen(struct freeze_job *j)
{
	struct services *s = j->job.machine->services;
	struct json_object *line, *progress;

	s->freezer->state = FROZEN;
	if (j->limit)
		loop_timer_arm(s->freezer->limit, loop_now() + j->limit * 1000000000ull, 0);
	if (!j->hold) {
		job_answer(&j->job, json_object_new_object());
		free(j);
		return;
	}
	s->freezer->job = j;
	progress = json_object_new_object();
	json_object_object_add(progress, "frozen", json_object_new_boolean(true));
	line = json_object_new_object();
	json_object_object_add(line, "progress", progress);
	control_progress(j->job.client, line);
}

static void freeze_finish(struct job *job)
{
	struct freeze_job *j = (struct freeze_job *)job;
	struct services *s = job->machine->services;
	bool was_freezing = j->step == IC_VSS_FREEZE;
	bool bad = service_failed(job, WORKER_VSS, j->err, j->err ? 0 : j->request.ic.status);

	if (!bad && job->client && !j->check) {
		if (was_freezing)
			frozen(j);
		else
			take_step(j, IC_VSS_FREEZE);
		return;
	}
	if (j->check) {
		if (!bad)
			job_answer(job, json_object_new_object());
	} else if (was_freezing && (!bad || j->err == -ETIMEDOUT)) {
		thaw(s); /* it is frozen, or may still come to be: and nobody is there who wants it
			  */
	} else {
		s->freezer->state = THAWED;
	}
	free(j);
}

static void freeze_cancel(struct job *job)
{
	struct services *s = job->machine->services;

	if (s->freezer->job != (struct freeze_job *)job)
		return; /* freeze_finish() sees that the client has gone */
	s->freezer->job = NULL;
	free(job);
	thaw(s);
}

/* ---- Requests ------------------------------------------------------------------------------- */

/* NULL: an error was replied. */
static struct freeze_job *begin(struct machine *m, struct control_request *r)
{
	struct freeze_job *j = calloc(1, sizeof(*j));

	if (!j) {
		control_error(r, "memory is short");
		return NULL;
	}
	j->job = (struct job){.finish = freeze_finish, .cancel = freeze_cancel};
	if (job_begin(m, r, &j->job))
		return j;
	free(j);
	return NULL;
}

void services_check_backup_request(struct machine *m, struct control_request *r)
{
	struct freeze_job *j;

	if (!services_enabled(m->services, r, WORKER_VSS) || !(j = begin(m, r)))
		return;
	j->check = true;
	take_step(j, IC_VSS_HOT_BACKUP);
}

void services_freeze_request(struct machine *m, struct control_request *r)
{
	struct services *s = m->services;
	bool hold = service_flag(r, "hold");
	int64_t limit = hold ? 0 : LIMIT_DEFAULT;
	struct json_object *value;
	struct freeze_job *j;

	if (json_object_object_get_ex(r->json, "limit", &value))
		limit = json_object_get_int64(value);
	if (limit < !hold || limit > LIMIT_MOST) {
		control_error(r, "a time limit is 1 to %u seconds", LIMIT_MOST);
		return;
	}
	if (s->freezer->state != THAWED) {
		control_error(r, "the guest is frozen already, or about to freeze or thaw");
		return;
	}
	if (!services_enabled(s, r, WORKER_VSS) || !(j = begin(m, r)))
		return;
	j->hold = hold;
	j->limit = (unsigned)limit;
	s->freezer->state = FREEZING;
	take_step(j, IC_VSS_HOT_BACKUP);
}

void services_thaw_request(struct machine *m, struct control_request *r)
{
	struct services *s = m->services;
	struct freezer *f = s->freezer;

	if (!services_enabled(s, r, WORKER_VSS))
		return;
	if (f->state == FREEZING || f->state == THAWING) {
		control_error(r, "the guest is about to freeze or thaw");
		return;
	}
	if (f->state == THAWED) {
		control_error(r, "the guest is not frozen");
		return;
	}
	if (!job_begin(m, r, &f->thaw_job))
		return;
	let_holder_go(s, NULL);
	thaw(s);
}

/* ---- The service's state -------------------------------------------------------------------- */

bool freezer_busy(const struct services *s)
{
	return s->freezer->state != THAWED;
}

int freezer_create(struct services *s)
{
	struct freezer *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	s->freezer = f;
	f->thaw_job = (struct job){.machine = s->machine, .finish = thaw_finish};
	f->limit = loop_timer_create(s->machine->loop, limit_reached, s);
	return f->limit ? 0 : -errno;
}

void freezer_destroy(struct services *s)
{
	if (!s->freezer)
		return;
	loop_timer_destroy(s->freezer->limit);
	free(s->freezer->job);
	free(s->freezer);
	s->freezer = NULL;
}
