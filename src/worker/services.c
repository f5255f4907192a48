/*
 * services.c - see services.h: offers, jobs, and the services that need no file of their own.
 */
#include "worker/services.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

const char *const worker_service_names[WORKER_SERVICES] = {
	[WORKER_HEARTBEAT] = "heartbeat",
	[WORKER_TIMESYNC] = "timesync",
	[WORKER_SHUTDOWN] = "shutdown",
	[WORKER_KVP] = "kvp",
	[WORKER_VSS] = "vss",
	[WORKER_FCOPY] = "fcopy",
};

/* ---- Offers --------------------------------------------------------------------------------- */

static uint64_t reference_time(void *ctx)
{
	struct machine *m = ctx;
	WHV_PARTITION_PROPERTY p = {0};
	UINT32 written;

	WHvGetPartitionProperty(
		m->partition, WHvPartitionPropertyCodeReferenceTime, &p, sizeof(p), &written);
	return p.ReferenceTime;
}

static void vss_gone(void *ctx)
{
	struct services *s = ctx;

	if (!atomic_exchange(&s->vss_closing, true))
		job_done(&s->vss_closed);
}

static void vss_closed_finish(struct job *job)
{
	struct services *s = job->machine->services;

	s->vss_closing = false;
	freezer_gone(s);
}

static int offer(struct services *s, enum worker_service service)
{
	struct vmbus *bus = s->machine->vmbus;
	struct timesync_config time = {.reference_time = reference_time, .ctx = s->machine};

	switch (service) {
	case WORKER_HEARTBEAT:
		return heartbeat_create(bus, &s->heartbeat);
	case WORKER_TIMESYNC:
		return timesync_create(bus, &time, &s->timesync);
	case WORKER_SHUTDOWN:
		return shutdown_create(bus, &s->shutdown);
	case WORKER_KVP:
		return kvp_create(bus, s->items, SERVICE_ITEMS, &s->kvp);
	case WORKER_VSS:
		return vss_create(bus, vss_gone, s, &s->vss);
	case WORKER_FCOPY:
		return fcopy_create(bus, &s->fcopy);
	case WORKER_SERVICES:
		break;
	}
	return -EINVAL;
}

static void withdraw(struct services *s, enum worker_service service)
{
	switch (service) {
	case WORKER_HEARTBEAT:
		heartbeat_destroy(s->heartbeat);
		s->heartbeat = NULL;
		break;
	case WORKER_TIMESYNC:
		timesync_destroy(s->timesync);
		s->timesync = NULL;
		break;
	case WORKER_SHUTDOWN:
		shutdown_destroy(s->shutdown);
		s->shutdown = NULL;
		break;
	case WORKER_KVP:
		kvp_destroy(s->kvp);
		s->kvp = NULL;
		break;
	case WORKER_VSS:
		vss_destroy(s->vss);
		s->vss = NULL;
		break;
	case WORKER_FCOPY:
		fcopy_destroy(s->fcopy);
		s->fcopy = NULL;
		break;
	case WORKER_SERVICES:
		break;
	}
}

/* NULL: the service is disabled. */
static struct ic *ic_of(struct services *s, enum worker_service service)
{
	switch (service) {
	case WORKER_HEARTBEAT:
		return s->heartbeat ? heartbeat_ic(s->heartbeat) : NULL;
	case WORKER_TIMESYNC:
		return s->timesync ? timesync_ic(s->timesync) : NULL;
	case WORKER_SHUTDOWN:
		return s->shutdown ? shutdown_ic(s->shutdown) : NULL;
	case WORKER_KVP:
		return s->kvp ? kvp_ic(s->kvp) : NULL;
	case WORKER_VSS:
		return s->vss ? vss_ic(s->vss) : NULL;
	case WORKER_FCOPY:
		return s->fcopy ? fcopy_ic(s->fcopy) : NULL;
	case WORKER_SERVICES:
		break;
	}
	return NULL;
}

/* ---- Failures ------------------------------------------------------------------------------- */

/* What a person can make of an HRESULT. */
static const char *status_text(uint32_t status)
{
	switch (status) {
	case IC_NOT_SUPPORTED:
		return "it does not support that";
	case IC_EXISTS:
		return "the file exists";
	case IC_DISK_FULL:
		return "its disk is full";
	case IC_NO_MORE_ITEMS:
	case IC_NOT_FOUND:
		return "there is no such thing";
	case IC_FAIL:
		return "it failed, or its daemon is not running";
	default:
		return "unknown to us";
	}
}

bool service_failed(struct job *job, enum worker_service service, int err, uint32_t status)
{
	const char *name = worker_service_names[service];

	switch (err) {
	case 0:
		if (!status)
			return false;
		job_error(job, "the guest reports error 0x%08x: %s", status, status_text(status));
		return true;
	case -ENOTCONN:
		job_error(job,
			"the guest does not use the service '%s': its driver (Linux: hv_utils) is "
			"not loaded, or has not started yet",
			name);
		return true;
	case -EAGAIN:
		job_error(job,
			"the guest has not taken up the service '%s' yet: its daemon does not run",
			name);
		return true;
	case -EPROTONOSUPPORT:
	case -EOPNOTSUPP:
		job_error(job, "the guest's version of the service '%s' cannot do that", name);
		return true;
	case -ETIMEDOUT:
		job_error(job, "the guest did not answer in time%s",
			service == WORKER_KVP || service == WORKER_VSS || service == WORKER_FCOPY
				? ": does its daemon run (Linux: hyperv-daemons)?"
				: "");
		return true;
	default:
		job_error(job, "the service '%s' failed: %s", name, strerror(-err));
		return true;
	}
}

/* ---- Which services there are ---------------------------------------------------------------- */

bool services_enabled(struct services *s, struct control_request *r, enum worker_service service)
{
	if (ic_of(s, service))
		return true;
	control_error(r, "the service '%s' is disabled", worker_service_names[service]);
	return false;
}

bool services_find(struct control_request *r, enum worker_service *service)
{
	const char *name = service_string(r, "service");

	for (unsigned i = 0; name && i < WORKER_SERVICES; i++)
		if (strcmp(name, worker_service_names[i]) == 0) {
			*service = i;
			return true;
		}
	control_error(r, "there is no service '%s'", name ? name : "");
	return false;
}

const char *service_string(const struct control_request *r, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(r->json, name, &value) &&
			       json_object_is_type(value, json_type_string)
		       ? json_object_get_string(value)
		       : NULL;
}

bool service_flag(const struct control_request *r, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(r->json, name, &value) && json_object_get_boolean(value);
}

static struct json_object *version_text(struct ic_version v)
{
	char text[16];

	snprintf(text, sizeof(text), "%u.%u", v.major, v.minor);
	return json_object_new_string(text);
}

void services_list_request(struct machine *m, struct control_request *r)
{
	static const char *const stages[] = {[IC_CLOSED] = "closed",
		[IC_NEGOTIATING] = "negotiating",
		[IC_REFUSED] = "refused",
		[IC_READY] = "ready"};
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < WORKER_SERVICES; i++) {
		struct ic *ic = ic_of(m->services, i);
		struct ic_state state = ic ? ic_state(ic) : (struct ic_state){0};
		struct json_object *one = json_object_new_object();

		json_object_object_add(
			one, "name", json_object_new_string(worker_service_names[i]));
		json_object_object_add(one, "enabled", json_object_new_boolean(ic != NULL));
		json_object_object_add(one, "state", json_object_new_string(stages[state.stage]));
		if (state.stage == IC_READY) {
			json_object_object_add(one, "version", version_text(state.message));
			json_object_object_add(one, "framework", version_text(state.framework));
		}
		json_object_array_add(list, one);
	}
	json_object_object_add(r->reply, "services", list);
}

void services_enable_request(struct machine *m, struct control_request *r)
{
	enum worker_service service;
	int err;

	if (!services_find(r, &service) || ic_of(m->services, service))
		return;
	err = offer(m->services, service);
	if (err)
		control_error(r, "cannot offer the guest the service '%s': %s",
			worker_service_names[service], strerror(-err));
}

void services_disable_request(struct machine *m, struct control_request *r)
{
	enum worker_service service;

	if (!services_find(r, &service))
		return;
	if (service == WORKER_VSS && freezer_busy(m->services))
		control_error(r, "the guest is frozen; thaw it first");
	else
		withdraw(m->services, service);
}

/* ---- Heartbeat, time, shutdown --------------------------------------------------------------- */

void services_heartbeat_request(struct machine *m, struct control_request *r)
{
	static const char *const contacts[] = {[HEARTBEAT_NO_CONTACT] = "no contact",
		[HEARTBEAT_OK] = "ok",
		[HEARTBEAT_LOST] = "lost"};
	static const char *const applications[] = {[IC_APPLICATIONS_UNKNOWN] = "unknown",
		[IC_APPLICATIONS_HEALTHY] = "healthy",
		[IC_APPLICATIONS_CRITICAL] = "critical",
		[IC_APPLICATIONS_STOPPED] = "stopped"};
	struct heartbeat_status status;

	if (!m->services->heartbeat) {
		json_object_object_add(r->reply, "status", json_object_new_string("disabled"));
		return;
	}
	status = heartbeat_status(m->services->heartbeat);
	json_object_object_add(
		r->reply, "status", json_object_new_string(contacts[status.contact]));
	json_object_object_add(r->reply, "applications",
		json_object_new_string(applications[status.applications]));
	json_object_object_add(r->reply, "since", json_object_new_int64(status.since));
	json_object_object_add(
		r->reply, "sequence", json_object_new_int64((int64_t)status.sequence));
}

/* A job of one request, whose answer has nothing in it but success. */
struct simple_job {
	struct job job;
	enum worker_service service;
	int err;
	union {
		struct ic_request ic;
		struct timesync_request time;
		struct shutdown_request shutdown;
	} request;
};

static int simple_answered(struct ic_request *r)
{
	struct simple_job *j =
		(struct simple_job *)((char *)r - offsetof(struct simple_job, request));

	j->err = r->err;
	job_done(&j->job);
	return 0;
}

static void simple_finish(struct job *job)
{
	struct simple_job *j = (struct simple_job *)job;

	if (!service_failed(job, j->service, j->err, j->err ? 0 : j->request.ic.status))
		job_answer(job, json_object_new_object());
	free(j);
}

/* NULL: an error was replied. */
static struct simple_job *simple_begin(
	struct machine *m, struct control_request *r, enum worker_service service)
{
	struct simple_job *j;

	if (!services_enabled(m->services, r, service))
		return NULL;
	j = calloc(1, sizeof(*j));
	if (!j) {
		control_error(r, "memory is short");
		return NULL;
	}
	j->job.finish = simple_finish;
	j->service = service;
	j->request.ic.done = simple_answered;
	j->request.ic.deadline = loop_now() + SERVICE_PATIENCE_NS;
	if (job_begin(m, r, &j->job))
		return j;
	free(j);
	return NULL;
}

/* A request that could not be submitted ends like one that failed. */
static void simple_submitted(struct simple_job *j, int err)
{
	if (!err)
		return;
	j->err = err;
	job_done(&j->job);
}

void services_time_request(struct machine *m, struct control_request *r)
{
	struct simple_job *j = simple_begin(m, r, WORKER_TIMESYNC);

	if (j)
		simple_submitted(j, timesync_submit(m->services->timesync, &j->request.time,
					    !service_flag(r, "sample")));
}

void services_shutdown_request(struct machine *m, struct control_request *r)
{
	static const struct {
		const char *name;
		unsigned flags;
	} actions[] = {{"shutdown", 0}, {"reboot", IC_SHUTDOWN_RESTART},
		{"hibernate", IC_SHUTDOWN_HIBERNATE}};
	const char *action = service_string(r, "action");
	struct simple_job *j;

	for (unsigned i = 0; action && i < sizeof(actions) / sizeof(actions[0]); i++) {
		unsigned flags = actions[i].flags;

		if (strcmp(actions[i].name, action) != 0)
			continue;
		if (service_flag(r, "force"))
			flags |= IC_SHUTDOWN_FORCE;
		j = simple_begin(m, r, WORKER_SHUTDOWN);
		if (j)
			simple_submitted(j, shutdown_submit(m->services->shutdown,
						    &j->request.shutdown, flags));
		return;
	}
	control_error(r, "there is no action '%s'", action ? action : "");
}

/* ---- The machine's -------------------------------------------------------------------------- */

/* As Hyper-V tells its guests, by the same names. */
static void describe_host(struct services *s)
{
	const char *host = s->machine->config->host_name;

	if (!host)
		host = "";
	s->items[0] = (struct kvp_item){"HostName", host};
	s->items[1] = (struct kvp_item){"PhysicalHostName", host};
	s->items[2] = (struct kvp_item){"PhysicalHostNameFullyQualified", host};
	s->items[3] = (struct kvp_item){"VirtualMachineName", s->machine->config->name};
	s->items[4] =
		(struct kvp_item){"VirtualMachineId", guid_format(&s->machine->config->id, s->id)};
}

int services_create(struct machine *m)
{
	struct services *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	m->services = s;
	s->machine = m;
	s->vss_closed = (struct job){.machine = m, .finish = vss_closed_finish};
	err = freezer_create(s);
	describe_host(s);
	for (unsigned i = 0; i < WORKER_SERVICES && !err; i++)
		if (!(m->config->disabled_services & 1u << i))
			err = offer(s, i);
	if (err)
		log_error("%s: cannot offer the guest the integration services: %s",
			m->config->name, strerror(-err));
	return err;
}

void services_destroy(struct machine *m)
{
	struct services *s = m->services;

	if (!s)
		return;
	for (unsigned i = 0; i < WORKER_SERVICES; i++)
		withdraw(s, i);
	job_finish_all(m);
	freezer_destroy(s);
	free(s);
	m->services = NULL;
}
