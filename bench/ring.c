/*
 * ring.c - what the rings of VMBus carry: packets per second of several sizes, put by one thread
 * and taken by another or by the same, and bytes per second against memcpy of the same sizes.
 *
 * Both ends are src/vmbus/ring.c's, with the guest's pages out of order, as a guest's are. The
 * figures are of the rings alone: no signals, no guest.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmbus/memory.h"
#include "vmbus/ring.h"

#define DATA_PAGES 256u /* 1 MiB */
#define SECONDS	   0.1
#define TURNS	   8u
#define BATCH	   32u

struct bench {
	struct memory memory;
	struct memory_view in_view, out_view;
	struct ring_in in;
	struct ring_out out;
	uint8_t from[65536], to[65536];
	uint32_t payload;
	uint64_t packets; /* that the reader shall take */
};

/* Of one thread its processor time, so that what else the host does counts little. */
static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "bench/ring: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct ring view(struct bench *b, struct memory_view *v)
{
	uint64_t pfn[DATA_PAGES + 1];

	for (unsigned i = 0; i <= DATA_PAGES; i++)
		pfn[i] = i * 97 % (DATA_PAGES + 1);
	errno = -memory_view_create(&b->memory, pfn, DATA_PAGES + 1, 1, v);
	if (errno)
		fail("cannot map the ring");
	return (struct ring){.control = (struct vmbus_ring_control *)v->base,
		.data = v->base + VMBUS_PAGE,
		.size = DATA_PAGES * VMBUS_PAGE};
}

static void create(struct bench *b)
{
	uint64_t size = (DATA_PAGES + 1) * VMBUS_PAGE;
	int fd = memfd_create("ring", MFD_CLOEXEC);
	struct ring in, out;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		fail("cannot create the guest's memory");
	b->memory.range[0] = (struct vmbus_memory){.size = size, .fd = fd};
	b->memory.count = 1;
	in = view(b, &b->in_view);
	out = view(b, &b->out_view);
	if (ring_in_init(&b->in, &in) || ring_out_init(&b->out, &out))
		fail("cannot begin");
}

/* Put up to @most packets; returns how many there was room for. */
static unsigned put(struct bench *b, uint64_t most)
{
	uint32_t bytes = 16 + b->payload;
	struct vmbus_descriptor d = {
		.type = VMBUS_PACKET_INBAND, .offset8 = 2, .length8 = (uint16_t)(bytes / 8)};
	unsigned n;
	uint8_t *at;

	for (n = 0; n < most && ring_out_put(&b->out, bytes, &at) == 0; n++) {
		memcpy(at, &d, sizeof(d));
		memcpy(at + sizeof(d), b->from, b->payload);
		ring_out_commit(&b->out, bytes);
	}
	ring_out_publish(&b->out);
	return n;
}

static unsigned take(struct bench *b)
{
	struct ring_packet p;
	unsigned n;

	for (n = 0; n < BATCH && ring_in_next(&b->in, &p) == 1; n++) {
		memcpy(b->to, p.start + p.header_bytes, p.bytes - p.header_bytes);
		ring_in_take(&b->in, &p);
	}
	ring_in_publish(&b->in);
	return n;
}

static void *reader(void *arg)
{
	struct bench *b = arg;
	uint64_t taken = 0;

	while (taken < b->packets) {
		unsigned n = take(b);

		taken += n;
		if (!n)
			sched_yield();
	}
	return NULL;
}

/* Packets per second with a reader on another processor. */
static double two_threads(struct bench *b, uint64_t packets)
{
	double began = now(CLOCK_MONOTONIC);
	pthread_t thread;

	b->packets = packets;
	if (pthread_create(&thread, NULL, reader, b))
		fail("cannot start a thread");
	for (uint64_t sent = 0; sent < packets;) {
		unsigned n = put(b, packets - sent < BATCH ? packets - sent : BATCH);

		sent += n;
		if (!n)
			sched_yield();
	}
	pthread_join(thread, NULL);
	return (double)packets / (now(CLOCK_MONOTONIC) - began);
}

/* Packets per second that go in and out again on one processor. */
static double one_thread(struct bench *b)
{
	double began = now(CLOCK_THREAD_CPUTIME_ID), passed;
	uint64_t packets = 0;

	do {
		for (unsigned i = 0; i < 64; i++) {
			put(b, BATCH);
			packets += take(b);
		}
		passed = now(CLOCK_THREAD_CPUTIME_ID) - began;
	} while (passed < SECONDS);
	return (double)packets / passed;
}

/* The same bytes into the same memory and out of it again, without a ring. */
static double plain_copy(struct bench *b)
{
	uint32_t size = b->out.ring.size, batch = BATCH * b->payload, at = 0;
	double began = now(CLOCK_THREAD_CPUTIME_ID), passed;
	uint64_t copies = 0;

	do {
		for (unsigned i = 0; i < 64; i++) {
			for (unsigned n = 0; n < BATCH; n++)
				memcpy(b->out.ring.data + at + n * b->payload, b->from, b->payload);
			asm volatile("" : : : "memory");
			for (unsigned n = 0; n < BATCH; n++)
				memcpy(b->to, b->in.ring.data + at + n * b->payload, b->payload);
			asm volatile("" : : : "memory");
			at = (at + batch) % size;
			copies += BATCH;
		}
		passed = now(CLOCK_THREAD_CPUTIME_ID) - began;
	} while (passed < SECONDS);
	return (double)copies / passed;
}

static double greater(double a, double b)
{
	return a > b ? a : b;
}

/* The best of several turns: what else the host does only makes it slower. */
static void measure(struct bench *b, uint32_t payload)
{
	double one = 0, two = 0, plain = 0;

	b->payload = payload;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		one = greater(one, one_thread(b));
		plain = greater(plain, plain_copy(b));
		two = greater(two, two_threads(b, (uint64_t)(one * SECONDS)));
	}
	printf("%8u %10.2f M/s %11.2f M/s %7.2f GB/s %7.2f GB/s %8.2f\n", payload, one / 1e6,
		two / 1e6, one * payload / 1e9, plain * payload / 1e9, one / plain);
}

int main(void)
{
	static const uint32_t payloads[] = {8, 64, 256, 1024, 4096, 16384};
	struct bench *b = calloc(1, sizeof(*b));

	if (!b)
		fail("no memory");
	create(b);
	printf("%8s %16s %16s %12s %12s %8s\n", "payload", "one thread", "two threads", "ring",
		"memcpy", "ratio");
	for (unsigned i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		measure(b, payloads[i]);
	memory_view_destroy(&b->memory, &b->in_view);
	memory_view_destroy(&b->memory, &b->out_view);
	close(b->memory.range[0].fd);
	free(b);
	return 0;
}
