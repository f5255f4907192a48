/*
 * ports.h - notification ports: host events that a guest's HvCallSignalEvent or its write to a
 * guest physical address signals without an exit to the client.
 *
 * A machine may have thousands (a connection of Hyper-V sockets is one) and each signal of its
 * guest looks for one, so they are hashed by what they wait for.
 */
#ifndef PARTITA_HYPERVISOR_PORTS_H
#define PARTITA_HYPERVISOR_PORTS_H

#include <WinHvPlatform.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define PORT_BUCKETS 2048u /* as VMBus has channels, whose connections are numbered in a row */

struct port {
	struct port *next;
	uintptr_t handle; /* its bucket, in the low bits, and a number that was never used before */
	WHV_NOTIFICATION_PORT_PARAMETERS parameters;
	int event; /* our own duplicate of the caller's eventfd */
	uint32_t target_vp;
	uint64_t target_duration;
};

struct ports {
	pthread_rwlock_t lock;
	struct port *bucket[PORT_BUCKETS];
	uintptr_t made;		    /* so many until now */
	_Atomic unsigned doorbells; /* so that memory exits without any look no further */
};

int ports_init(struct ports *ports);
void ports_free(struct ports *ports);

/* Signal the event port of @connection. False: there is none. */
bool ports_signal(struct ports *ports, uint32_t connection);
/* Signal the doorbells that a write matches. False: none does. */
bool ports_doorbell(struct ports *ports, uint64_t gpa, unsigned size, uint64_t value);

#endif
