/*
 * hvsocket_machine.h - a machine for tests of host programs: a thread that listens where a machine
 * does, and does with each connection what a test says. The directory of sockets is the test's own.
 */
#ifndef PARTITA_TESTS_HVSOCKET_MACHINE_H
#define PARTITA_TESTS_HVSOCKET_MACHINE_H

#include <pthread.h>

#include "hvsocket/connect.h"

/* The machine's answer to a connection. */
enum machine_answer {
	MACHINE_ACCEPTS,   /* and echoes until the end of the stream */
	MACHINE_REFUSES,   /* with machine.error */
	MACHINE_IS_SILENT, /* closes when the program did */
	MACHINE_DIES,	   /* closes without a word */
	MACHINE_SPEAKS,	   /* accepts, says machine.speech, and closes */
};

struct machine {
	GUID id;
	enum machine_answer answer;
	int error; /* negative errno */
	const char *speech;
	/* private: */
	pthread_mutex_t lock;
	struct hv_greeting heard;
	unsigned connections;
	pthread_cond_t ended; /* one of them */
	int listener;
	unsigned cid; /* 0: none */
	pthread_t thread;
};

/* machine_directory - make the directory of sockets; for a group's setup and teardown. */
int machine_directory(void **state);
int machine_directory_gone(void **state);
/* The directory. */
const char *machine_base(void);

/* machine_start - let @m, whose answer is set, run with a new ID. Fails the test if it cannot. */
void machine_start(struct machine *m);
/* machine_answers - let @m do another thing from now on. */
void machine_answers(struct machine *m, enum machine_answer answer);
/* machine_heard - the last connection's line; all zero if it was malformed. */
struct hv_greeting machine_heard(struct machine *m);
/* machine_refuses - from now on, with @error. */
void machine_refuses(struct machine *m, int error);
/* machine_gets_cid - until it stops, vsock context @cid is @m. */
void machine_gets_cid(struct machine *m, unsigned cid);
/* machine_stop - end it, when all connections are closed. */
void machine_stop(struct machine *m);

#endif
