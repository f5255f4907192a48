/*
 * nbd_peer.h - an NBD server in a thread, which serves a raw disk of zeros, and a client that says
 * and hears every byte itself. What does not come as it should fails the test.
 */
#ifndef PARTITA_TESTS_NBD_PEER_H
#define PARTITA_TESTS_NBD_PEER_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/nbd.h"
#include "disk/nbd_protocol.h"

#define MIB	  (1u << 20)
#define DISK_SIZE (128ull * MIB)

/* The server's side, in a thread, and the client's. */
struct peer {
	struct nbd_export x;
	char path[64];
	int server, client, stop;
	pthread_t thread;
	int result;
};

/* For cmocka: a disk and its export; *state is the struct peer. */
int peer_set_up(void **state);
int peer_tear_down(void **state);
/* meet - connect; the server begins. */
void meet(struct peer *p);
/* part - hang up. Returns what the server returned. */
int part(struct peer *p);

void put(struct peer *p, const void *data, size_t length);
void get(struct peer *p, void *data, size_t length);
void assert_hung_up(struct peer *p);

/* greet - take the server's greeting and answer with the client's @flags. */
void greet(struct peer *p, uint32_t flags);
void put_option(struct peer *p, uint32_t option, const void *data, uint32_t length);
/* get_reply - its type; its data goes to @data, @room bytes, and its length to *@length. */
uint32_t get_reply(struct peer *p, uint32_t option, void *data, size_t room, uint32_t *length);
void assert_reply(struct peer *p, uint32_t option, uint32_t type);
/* ask_for_structured, ask_for_allocation - structured replies; and base:allocation with them. */
void ask_for_structured(struct peer *p);
void ask_for_allocation(struct peer *p);
/* allocation - what that option's data are: the default export and the one context. */
#define ALLOCATION 27u
extern const char allocation[ALLOCATION + 1];
/* go - to the default export, without further information. Returns the transmission flags. */
uint16_t go(struct peer *p);

void put_request(struct peer *p, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t offset,
	uint32_t length);
/* get_simple - a simple reply's error. */
uint32_t get_simple(struct peer *p, uint64_t cookie);
/* get_structured - the type of a structured reply's one chunk, and its length. */
uint16_t get_structured(struct peer *p, uint64_t cookie, uint32_t *length);
/* request - one without data, answered simply. Returns the error. */
uint32_t request(struct peer *p, uint16_t type, uint16_t flags, uint64_t offset, uint32_t length);
/* write_bytes - @length times @byte. Returns the error. */
uint32_t write_bytes(struct peer *p, uint8_t byte, uint64_t offset, uint32_t length);
/* assert_bytes - that they are read. */
void assert_bytes(struct peer *p, uint8_t byte, uint64_t offset, uint32_t length);

#endif
