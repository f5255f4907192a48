/*
 * jobs.c - see jobs.h.
 */
#include "worker/jobs.h"

#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"
#include "base/loop.h"

struct jobs {
	int event; /* eventfd: one is done */
	struct loop_watch *watch;
	pthread_mutex_t lock;
	struct job *done, **last; /* guarded by the lock */
};

static void client_gone(void *ctx)
{
	struct job *job = ctx;

	job->client = NULL;
	if (job->cancel)
		job->cancel(job);
}

bool job_begin(struct machine *m, struct control_request *r, struct job *job)
{
	job->machine = m;
	job->client = control_defer(r, client_gone, job);
	return job->client;
}

void job_done(struct job *job)
{
	struct jobs *jobs = job->machine->jobs;

	job->next = NULL;
	pthread_mutex_lock(&jobs->lock);
	*jobs->last = job;
	jobs->last = &job->next;
	pthread_mutex_unlock(&jobs->lock);
	event_signal(jobs->event);
}

void job_finish_all(struct machine *m)
{
	struct jobs *jobs = m->jobs;
	struct job *job, *next;

	pthread_mutex_lock(&jobs->lock);
	job = jobs->done;
	jobs->done = NULL;
	jobs->last = &jobs->done;
	pthread_mutex_unlock(&jobs->lock);
	for (; job; job = next) {
		next = job->next;
		job->finish(job);
	}
}

void job_answer(struct job *job, struct json_object *reply)
{
	if (job->client)
		control_answer(job->client, reply);
	else
		json_object_put(reply);
	job->client = NULL;
}

void job_error(struct job *job, const char *format, ...)
{
	struct json_object *reply = json_object_new_object();
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	json_object_object_add(reply, "error", json_object_new_string(text));
	job_answer(job, reply);
}

/* ---- The machine's -------------------------------------------------------------------------- */

static void on_event(void *ctx, uint32_t events)
{
	struct machine *m = ctx;
	eventfd_t count;

	eventfd_read(m->jobs->event, &count);
	job_finish_all(m);
}

int jobs_create(struct machine *m)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));

	if (!jobs)
		return -ENOMEM;
	m->jobs = jobs;
	jobs->last = &jobs->done;
	pthread_mutex_init(&jobs->lock, NULL);
	jobs->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (jobs->event >= 0)
		jobs->watch = loop_watch_create(m->loop, jobs->event, EPOLLIN, on_event, m);
	return jobs->watch ? 0 : -errno;
}

void jobs_destroy(struct machine *m)
{
	struct jobs *jobs = m->jobs;

	if (!jobs)
		return;
	loop_watch_destroy(jobs->watch);
	if (jobs->event >= 0)
		close(jobs->event);
	pthread_mutex_destroy(&jobs->lock);
	free(jobs);
	m->jobs = NULL;
}
