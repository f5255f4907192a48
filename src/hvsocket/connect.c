/*
 * connect.c - connecting a host program to a service. See connect.h for what is said on the way.
 */
#include "hvsocket/connect.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/rundir.h"
#include "hvsocket/places.h"
#include "hvsocket/system.h"

/* What a machine has beyond the timeout, which it keeps itself, before it counts as hung: ms. */
#define GRACE	  1000
#define LOOKS_MAX 10000 /* at a socket that is being closed */

/* ---- The line ------------------------------------------------------------------------------- */

size_t hv_greeting_format(const struct hv_greeting *g, char text[HV_GREETING_TEXT])
{
	char id[GUID_TEXT];

	return snprintf(text, HV_GREETING_TEXT, "HVCONNECT %s %u %u\n",
		guid_format(&g->service, id), g->padding, g->timeout_ms);
}

/* A decimal number up to @max, and @after behind it; NULL: there is none. */
static const char *parse_number(const char *text, unsigned long max, char after, unsigned *n)
{
	unsigned long value = 0;

	if (*text < '0' || *text > '9')
		return NULL;
	for (; *text >= '0' && *text <= '9'; text++) {
		value = 10 * value + (*text - '0');
		if (value > max)
			return NULL;
	}
	*n = value;
	return *text == after ? text + 1 : NULL;
}

bool hv_greeting_parse(const char *line, struct hv_greeting *g)
{
	static const char word[] = "HVCONNECT ";
	char id[GUID_TEXT] = {0};

	if (strncmp(line, word, sizeof(word) - 1))
		return false;
	line += sizeof(word) - 1;
	strncpy(id, line, GUID_TEXT - 1);
	if (!guid_parse(id, &g->service) || line[GUID_TEXT - 1] != ' ')
		return false;
	line = parse_number(line + GUID_TEXT, INT_MAX, ' ', &g->padding);
	return line && parse_number(line, HVSOCKET_CONNECT_TIMEOUT_MAX, 0, &g->timeout_ms) &&
	       g->timeout_ms;
}

size_t hv_refusal_format(int err, char text[HV_GREETING_TEXT])
{
	return snprintf(text, HV_GREETING_TEXT, "E%d\n", -err);
}

/* ---- On the way ----------------------------------------------------------------------------- */

/* Connect to @path. A full backlog is waited for, @timeout_ms at most, where @fd blocks. */
static int connect_path(int fd, const char *path, int timeout_ms)
{
	const struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	struct timeval before;
	socklen_t length = sizeof(before);
	int err = sys_getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &before, &length);

	if (!err)
		err = sys_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (err)
		return err;
	err = hv_place_connect(fd, path);
	sys_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &before, sizeof(before));
	if (err == -EAGAIN)
		return fcntl(fd, F_GETFL) & O_NONBLOCK ? -ECONNREFUSED : -ETIMEDOUT;
	return err;
}

/* Nobody is there, and never was or was killed. */
static bool is_absent(int err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -ECONNREFUSED;
}

static int connect_host(int fd, const GUID *service, int timeout_ms)
{
	static const GUID *const scopes[] = {&hv_loopback, &hv_zero};
	char base[PATH_MAX], path[PATH_MAX];

	for (unsigned i = 0; rundir_look(i, base); i++)
		for (unsigned j = 0; j < 2; j++) {
			int err;

			hv_place_listener(base, scopes[j], service, path);
			err = connect_path(fd, path, timeout_ms);
			if (!is_absent(err))
				return err;
		}
	return -ECONNREFUSED;
}

/* The line, and padding that takes more than a quarter of the send buffer. */
static int greet(int fd, const GUID *service, int timeout_ms)
{
	struct hv_greeting g = {.service = *service, .timeout_ms = timeout_ms};
	socklen_t length = sizeof(int);
	char line[HV_GREETING_TEXT], *text;
	size_t line_length, total, sent = 0;
	int room, err;
	ssize_t n;

	err = sys_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &length);
	if (err)
		return err;
	g.padding = (unsigned)room / 4 + 1;
	line_length = hv_greeting_format(&g, line);
	total = line_length + g.padding;
	text = calloc(1, total);
	if (!text)
		return -ENOMEM;
	memcpy(text, line, line_length);
	/* What is less than its buffer has room for, a new socket takes without waiting. */
	do {
		n = send(fd, text + sent, total - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
	} while (n > 0 && sent < total);
	err = n < 0 ? -errno : -EINPROGRESS;
	free(text);
	if (err != -EPIPE)
		return err;
	/* Who has read the line may refuse before the padding is whole: the end tells why. */
	return sent ? -EINPROGRESS : -ECONNRESET;
}

static int connect_machine(int fd, const GUID *vm, const GUID *service, int timeout_ms)
{
	char base[PATH_MAX], path[PATH_MAX];

	for (unsigned i = 0; rundir_look(i, base); i++) {
		int err;

		hv_place_machine(base, vm, path);
		err = connect_path(fd, path, timeout_ms);
		if (!is_absent(err))
			return err ? err : greet(fd, service, timeout_ms);
	}
	return -ENETUNREACH;
}

int hv_connect_begin(int fd, const GUID *vm, const GUID *service, int timeout_ms)
{
	if (hv_is_host(vm))
		return connect_host(fd, service, timeout_ms);
	if (hv_is_machine(vm))
		return connect_machine(fd, vm, service, timeout_ms);
	return -EADDRNOTAVAIL;
}

/* ---- The end -------------------------------------------------------------------------------- */

/* Why the machine has closed the connection before it stood. */
static int read_refusal(int fd)
{
	char line[HV_GREETING_TEXT];
	ssize_t n = recv(fd, line, sizeof(line) - 1, MSG_DONTWAIT);
	unsigned err;

	if (n < 3 || line[0] != 'E' || line[n - 1] != '\n')
		return -ECONNRESET;
	line[n - 1] = 0;
	return parse_number(line + 1, 4095, 0, &err) && err ? -(int)err : -ECONNRESET;
}

int hv_connect_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int n = poll(&p, 1, 0), err = 0, unread, looks = 0;
	socklen_t length = sizeof(err);

	/* A signal may interrupt the look at what is not writable. */
	if (n <= 0)
		return n < 0 && errno != EINTR ? -errno : -EINPROGRESS;
	/*
	 * Closing hangs up first, then resets if something is unread, then drops that. One who
	 * looks in between waits for the last; not for ever, since what is unread may be the
	 * program's own, sent on a connection that stood and was shut down.
	 */
	do {
		if (ioctl(fd, SIOCOUTQ, &unread))
			return -errno;
		if (unread)
			sched_yield();
		n = sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &length);
		if (n)
			return n;
	} while (!err && unread && (p.revents & POLLHUP) && ++looks < LOOKS_MAX);
	return err == ECONNRESET ? read_refusal(fd) : -err;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

int hv_connect_wait(int fd, int timeout_ms)
{
	const int64_t until = now_ms() + timeout_ms + GRACE;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		int64_t left = until - now_ms();
		int n = poll(&p, 1, left > 0 ? (int)left : 0);

		if (n < 0)
			return -errno;
		if (n)
			return hv_connect_end(fd);
		if (left <= 0)
			return -ETIMEDOUT;
	}
}

int hv_connect(const GUID *vm, const GUID *service, int timeout_ms)
{
	struct hv_address self = {.vm = hv_loopback};
	int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return fd;
	if (!timeout_ms)
		timeout_ms = HV_CONNECT_TIMEOUT;
	guid_new(&self.service);
	err = hv_address_bind(fd, &self);
	if (!err)
		err = hv_connect_begin(fd, vm, service, timeout_ms);
	if (err == -EINPROGRESS)
		err = hv_connect_wait(fd, timeout_ms);
	if (!err)
		return fd;
	close(fd);
	return err;
}
