/*
 * worker_machine.h - a machine for the tests of what it is asked over its control socket: a loop on
 * a thread of its own, a VMBus with the guest of vmbus_guest.h, jobs and the socket. What else
 * there is, disks or services, is the test's.
 */
#ifndef PARTITA_TESTS_WORKER_MACHINE_H
#define PARTITA_TESTS_WORKER_MACHINE_H

#include <sys/socket.h>
#include <sys/un.h>

#include "vmbus_guest.h"
#include "worker/control.h"
#include "worker/machine.h"
#include "worker/worker.h"

#define PATIENCE 30000 /* milliseconds until a test fails */

struct test_machine {
	struct machine m;
	struct worker_config config;
	struct guest *guest;
	struct sockaddr_un address; /* of the control socket */
	socklen_t address_size;
	pthread_t thread;
	void (*take_down)(struct machine *m);
	char reply[CONTROL_LINE];
};

/* build() makes what the machine has, take_down() the reverse; neither is on the loop's thread. */
struct test_machine *test_machine_create(const struct worker_config *config,
	int (*build)(struct machine *m), void (*take_down)(struct machine *m));
void test_machine_destroy(struct test_machine *t);

/* A client's descriptor. */
int test_machine_connect(const struct test_machine *t);
bool test_machine_readable(int client);
/* Everything up to the end of the connection, which must come and is closed; in t->reply. */
const char *test_machine_hear(struct test_machine *t, int client);

#endif
