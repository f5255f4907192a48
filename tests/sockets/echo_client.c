/*
 * echo_client.c - a client of an echo server, written as for Windows: with the names of hvsocket.h.
 *
 * usage: echo_client VM-GUID SERVICE-GUID BYTES [CONNECTIONS]
 * Each connection sends bytes that nobody could guess, shuts its sending down, and must get them
 * all back and then the end. CONNECTIONS are open at once. Prints "ok", or what failed.
 */
#include <initguid.h>
#include <hvsocket.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sample.h"

struct connection {
	int s;
	size_t sent, received;
	unsigned seed;
};

/* The byte at @at of a connection's data. */
static unsigned char byte_at(const struct connection *c, size_t at)
{
	size_t x = (at + c->seed * 2654435761u) * 0x9e3779b97f4a7c15ull;

	return x >> 56;
}

static void open_connection(struct connection *c, const SOCKADDR_HV *to)
{
	ULONG timeout = 30000;

	c->s = socket(AF_HYPERV, SOCK_STREAM, HV_PROTOCOL_RAW);
	if (c->s < 0)
		sample_fail("socket");
	if (setsockopt(c->s, HV_PROTOCOL_RAW, HVSOCKET_CONNECT_TIMEOUT, &timeout, sizeof(timeout)))
		sample_fail("setsockopt");
	if (connect(c->s, (const struct sockaddr *)to, sizeof(*to)))
		sample_fail("connect");
}

static void send_some(struct connection *c, size_t total)
{
	unsigned char buffer[16384];
	size_t n = total - c->sent < sizeof(buffer) ? total - c->sent : sizeof(buffer);
	ssize_t sent;

	for (size_t i = 0; i < n; i++)
		buffer[i] = byte_at(c, c->sent + i);
	sent = send(c->s, buffer, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		sample_fail("send");
	c->sent += sent;
	if (c->sent == total && shutdown(c->s, SHUT_WR))
		sample_fail("shutdown");
}

/* False: the end. */
static int receive_some(struct connection *c, size_t total)
{
	unsigned char buffer[16384];
	ssize_t n = recv(c->s, buffer, sizeof(buffer), 0);

	if (n < 0)
		sample_fail("recv");
	for (ssize_t i = 0; i < n; i++)
		if (c->received + i >= total || buffer[i] != byte_at(c, c->received + i)) {
			fprintf(stderr, "byte %zu is another\n", c->received + i);
			exit(1);
		}
	c->received += n;
	return n > 0;
}

int main(int argc, char **argv)
{
	SOCKADDR_HV to = {.Family = AF_HYPERV};
	unsigned n = argc > 4 ? strtoul(argv[4], NULL, 10) : 1, open = n;
	struct connection *all = calloc(n, sizeof(*all));
	struct pollfd *polled = calloc(n, sizeof(*polled));
	size_t total;

	if (argc < 4 || !all || !polled)
		return 2;
	to.VmId = sample_guid(argv[1]);
	to.ServiceId = sample_guid(argv[2]);
	total = strtoul(argv[3], NULL, 10);
	for (unsigned i = 0; i < n; i++) {
		all[i].seed = getpid() + i;
		open_connection(&all[i], &to);
		polled[i] = (struct pollfd){.fd = all[i].s, .events = POLLIN | POLLOUT};
	}
	while (open) {
		if (poll(polled, n, -1) < 0)
			sample_fail("poll");
		for (unsigned i = 0; i < n; i++) {
			if (polled[i].revents & polled[i].events & POLLOUT)
				send_some(&all[i], total);
			if (all[i].sent == total)
				polled[i].events = POLLIN;
			if (!(polled[i].revents & (POLLIN | POLLHUP)) ||
				receive_some(&all[i], total))
				continue;
			if (all[i].received != total) {
				fprintf(stderr, "%zu bytes came back\n", all[i].received);
				return 1;
			}
			close(all[i].s);
			polled[i].fd = -1;
			open--;
		}
	}
	puts("ok");
	return 0;
}
