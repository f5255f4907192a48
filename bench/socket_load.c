/*
 * socket_load - both ends of what bench/socket measures, the same program in the guest and on the
 * host; linked statically, since the guest has no libraries.
 *
 * usage: socket_load serve ADDRESS
 * Says "READY ADDRESS" and answers requests at connections to it, one connection after the other,
 * for ever.
 *
 * usage: socket_load measure ADDRESS SECONDS [LISTEN CALLBACK]
 * Asks the server at ADDRESS to take data, to send data, to echo bytes; connects to it again and
 * again; and has it connect again and again to CALLBACK, which is what LISTEN here is called there.
 * Without LISTEN there is but one connection. Prints a line "NAME VALUE" each: bytes, round trips
 * and connections per second, and nanoseconds. A connection is made, carries a byte each way, and
 * is closed, before the next.
 *
 * ADDRESS: vsock:CID:PORT; tcp:IP:PORT; unix:PATH; hybrid:PORT:PATH, a machine's Unix socket at
 * which "CONNECT PORT" is said; port:PATH, a virtio-serial port in the guest.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define PIECE	    65536u /* bytes of one write or read */
#define PROBE_BYTES (8u << 20)
#define PROBE_TRIPS 200u
#define PROBE_CALLS 50u
#define NS	    1000000000ull

enum op { SINK, SOURCE, ECHO, CALL };

struct request {
	uint32_t op;
	uint32_t padding;
	uint64_t count;	  /* bytes, or connections */
	char address[48]; /* CALL: to which */
};

static uint8_t piece[PIECE];

static void fail(const char *what)
{
	fprintf(stderr, "socket_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* False: the stream ended. */
static bool get(int fd, void *at, size_t bytes)
{
	for (size_t have = 0; have < bytes;) {
		ssize_t n = read(fd, (uint8_t *)at + have, bytes - have);

		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

static bool put(int fd, const void *from, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t n = write(fd, (const uint8_t *)from + done, bytes - done);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool get_many(int fd, uint64_t bytes)
{
	while (bytes) {
		ssize_t n = read(fd, piece, bytes < PIECE ? bytes : PIECE);

		if (n <= 0)
			return false;
		bytes -= (uint64_t)n;
	}
	return true;
}

static bool put_many(int fd, uint64_t bytes)
{
	while (bytes) {
		size_t part = bytes < PIECE ? bytes : PIECE;

		if (!put(fd, piece, part))
			return false;
		bytes -= part;
	}
	return true;
}

/* ---- Addresses ------------------------------------------------------------------------------- */

union socket_address {
	struct sockaddr any;
	struct sockaddr_vm vm;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

/* Returns how long *at is; *port is what a hybrid socket is asked for, or 0. */
static socklen_t parse(const char *text, union socket_address *at, unsigned *port)
{
	char ip[16];
	int path = 0;

	*at = (union socket_address){0};
	*port = 0;
	if (sscanf(text, "vsock:%u:%u", &at->vm.svm_cid, &at->vm.svm_port) == 2) {
		at->vm.svm_family = AF_VSOCK;
		return sizeof(at->vm);
	}
	at->vm = (struct sockaddr_vm){0};
	if (sscanf(text, "tcp:%15[0-9.]:%u", ip, port) == 2) {
		at->in.sin_family = AF_INET;
		at->in.sin_port = htons((uint16_t)*port);
		*port = 0;
		if (inet_pton(AF_INET, ip, &at->in.sin_addr) == 1)
			return sizeof(at->in);
	}
	if (strncmp(text, "unix:", 5) == 0)
		path = 5;
	else
		sscanf(text, "hybrid:%u:%n", port, &path);
	errno = EINVAL;
	if (!path || strlen(text + path) >= sizeof(at->un.sun_path))
		fail(text);
	at->un.sun_family = AF_UNIX;
	strcpy(at->un.sun_path, text + path);
	return sizeof(at->un);
}

static int stream_socket(const union socket_address *at)
{
	int one = 1;
	int s = socket(at->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		fail("socket");
	if (at->any.sa_family == AF_INET) {
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	}
	return s;
}

/* A hybrid socket's first lines. */
static void introduce(int s, unsigned port)
{
	char line[32];
	size_t have = 0;

	dprintf(s, "CONNECT %u\n", port);
	do {
		if (have == sizeof(line) || !get(s, line + have, 1))
			fail("the machine refuses to connect");
	} while (line[have++] != '\n');
}

static int connect_to(const char *address)
{
	union socket_address at;
	unsigned port;
	socklen_t size = parse(address, &at, &port);
	int s = stream_socket(&at);

	if (connect(s, &at.any, size) < 0)
		fail(address);
	if (port)
		introduce(s, port);
	return s;
}

static int open_port(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		fail(path);
	return fd;
}

static int listen_at(const char *address)
{
	union socket_address at;
	unsigned port;
	socklen_t size = parse(address, &at, &port);
	int s = stream_socket(&at);

	if (bind(s, &at.any, size) < 0 || listen(s, 64) < 0)
		fail(address);
	return s;
}

/* ---- The server ------------------------------------------------------------------------------ */

static bool echo(int fd, uint64_t count)
{
	for (; count; count--) {
		if (!get(fd, piece, 1) || !put(fd, piece, 1))
			return false;
	}
	return true;
}

/* Connects, has a byte echoed, and closes. */
static void calls(const char *address, uint64_t count)
{
	struct {
		struct request request;
		uint8_t byte;
	} first = {.request = {.op = ECHO, .count = 1}};

	for (; count; count--) {
		int s = connect_to(address);

		if (!put(s, &first, sizeof(first.request) + 1) || !get(s, piece, 1))
			fail(address);
		close(s);
	}
}

/* Until the stream ends. */
static void serve_stream(int fd)
{
	struct request r;
	bool ok = true;

	while (ok && get(fd, &r, sizeof(r))) {
		switch (r.op) {
		case SINK:
			ok = get_many(fd, r.count) && put(fd, piece, 1);
			break;
		case SOURCE:
			ok = put_many(fd, r.count);
			break;
		case ECHO:
			ok = echo(fd, r.count);
			break;
		case CALL:
			calls(r.address, r.count);
			ok = put(fd, piece, 1);
			break;
		default:
			ok = false;
		}
	}
}

/* A port without anybody at the host's end reads as if it were at its end. */
static void serve_port(int fd)
{
	static const struct timespec pause = {.tv_nsec = 100000000};

	for (;;) {
		serve_stream(fd);
		nanosleep(&pause, NULL);
	}
}

static void serve_socket(int listener)
{
	for (;;) {
		int one = 1, s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (s < 0)
			fail("accept");
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		serve_stream(s);
		close(s);
	}
}

/* ---- Measuring ------------------------------------------------------------------------------- */

static void ask(int fd, enum op op, uint64_t count, const char *address)
{
	struct request r = {.op = op, .count = count};

	snprintf(r.address, sizeof(r.address), "%s", address);
	if (!put(fd, &r, sizeof(r)))
		fail("asking the server");
}

static void must(bool ok)
{
	if (!ok)
		fail("the server went away");
}

static uint64_t *trips; /* ns each, of the last time_echo() */

/* The rest return how long it took, in ns. */
static uint64_t time_sink(int fd, uint64_t bytes, const char *address)
{
	uint64_t began = now();

	ask(fd, SINK, bytes, "");
	must(put_many(fd, bytes) && get(fd, piece, 1));
	return now() - began;
}

static uint64_t time_source(int fd, uint64_t bytes, const char *address)
{
	uint64_t began = now();

	ask(fd, SOURCE, bytes, "");
	must(get_many(fd, bytes));
	return now() - began;
}

static uint64_t time_echo(int fd, uint64_t count, const char *address)
{
	uint64_t began = now(), last = began;

	trips = realloc(trips, count * sizeof(*trips));
	if (!trips)
		fail("memory");
	ask(fd, ECHO, count, "");
	for (uint64_t i = 0; i < count; i++) {
		uint64_t t;

		must(put(fd, piece, 1) && get(fd, piece, 1));
		t = now();
		trips[i] = t - last;
		last = t;
	}
	return last - began;
}

static uint64_t time_connects(int fd, uint64_t count, const char *address)
{
	uint64_t began = now();

	calls(address, count);
	return now() - began;
}

static uint64_t time_calls(int fd, uint64_t count, const char *address)
{
	uint64_t began = now();

	ask(fd, CALL, count, address);
	must(get(fd, piece, 1));
	return now() - began;
}

typedef uint64_t (*measurement)(int fd, uint64_t count, const char *address);

/* First a little, to know how much takes so many seconds. Returns how many it were. */
static uint64_t measure(const char *name, measurement time, int fd, uint64_t probe, double seconds,
	const char *address)
{
	double rate = (double)probe * (double)NS / (double)time(fd, probe, address);
	uint64_t count = (uint64_t)(rate * seconds) + 1;

	rate = (double)count * (double)NS / (double)time(fd, count, address);
	printf("%s %.1f\n", name, rate);
	return count;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure_stream(int fd, double seconds)
{
	uint64_t count;

	measure("to-guest", time_sink, fd, PROBE_BYTES, seconds, NULL);
	measure("to-host", time_source, fd, PROBE_BYTES, seconds, NULL);
	count = measure("trips", time_echo, fd, PROBE_TRIPS, seconds, NULL);
	qsort(trips, count, sizeof(*trips), compare);
	printf("trip-median %llu\n", (unsigned long long)trips[count / 2]);
	printf("trip-99th %llu\n", (unsigned long long)trips[count * 99 / 100]);
}

/* The server of connections from the guest is another process, which ends with this one. */
static void measure_connections(
	const char *address, double seconds, const char *here, const char *callback)
{
	int listener = listen_at(here), fd;
	pid_t server = fork();

	if (server < 0)
		fail("fork");
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_socket(listener);
	}
	measure("connects-to-guest", time_connects, -1, PROBE_CALLS, seconds, address);
	fd = connect_to(address);
	measure("connects-to-host", time_calls, fd, PROBE_CALLS, seconds, callback);
	close(fd);
	kill(server, SIGKILL);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		int fd = strncmp(argv[2], "port:", 5) ? listen_at(argv[2]) : open_port(argv[2] + 5);

		printf("READY %s\n", argv[2]);
		if (strncmp(argv[2], "port:", 5))
			serve_socket(fd);
		serve_port(fd);
	}
	if ((argc == 4 || argc == 6) && strcmp(argv[1], "measure") == 0) {
		int fd = connect_to(argv[2]);
		double seconds = atof(argv[3]);

		measure_stream(fd, seconds);
		close(fd);
		if (argc == 6)
			measure_connections(argv[2], seconds, argv[4], argv[5]);
		return 0;
	}
	fprintf(stderr, "usage: see the head of bench/socket_load.c\n");
	return 2;
}
