/*
 * jobs.h - requests over the control socket that are answered later, because the guest or a disk
 * takes its time.
 *
 * A job begins and ends on the main thread. In between it belongs to whoever does it, on whatever
 * thread, and comes back by job_done(), as often as it takes. A client that goes away does not take
 * its job along.
 */
#ifndef PARTITA_WORKER_JOBS_H
#define PARTITA_WORKER_JOBS_H

#include "worker/control.h"
#include "worker/machine.h"

struct job {
	struct machine *machine;
	struct control_client *client;	 /* NULL: it has gone, or was answered */
	void (*finish)(struct job *job); /* on the main thread, after job_done() */
	void (*cancel)(struct job *job); /* the client has gone; may be NULL */
	struct job *next;		 /* jobs.c's */
};

/*
 * job_begin - make a job of a request; finish and cancel are the caller's to set. False: an error
 * was replied. The main thread.
 */
bool job_begin(struct machine *m, struct control_request *r, struct job *job);
/*
 * job_done - let finish() be called, which may go on with the job. In the order of these calls. Any
 * thread.
 */
void job_done(struct job *job);
/* job_answer - reply, which is put, to the client if there is one. The main thread. */
void job_answer(struct job *job, struct json_object *reply);
/* job_error - reply with an error, one line. */
void job_error(struct job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* job_finish_all - finish those that are done, where the loop does not run any more. */
void job_finish_all(struct machine *m);

#endif
