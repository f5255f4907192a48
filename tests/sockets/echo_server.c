/*
 * echo_server.c - an echo server, written as for Windows: with the names of hvsocket.h, and of the
 * C library nothing that has to do with Unix sockets or vsock.
 *
 * usage: echo_server SERVICE-GUID [VM-GUID]
 * Listens for everybody, or for one machine. Prints "ready", and for each client its VM ID; serves
 * each from a thread, and sends back what comes until the client has sent all.
 */
#include <initguid.h>
#include <hvsocket.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sample.h"

static void *serve(void *p)
{
	int s = (int)(intptr_t)p;
	char buffer[65536];
	ssize_t n;

	while ((n = recv(s, buffer, sizeof(buffer), 0)) > 0)
		for (ssize_t done = 0, sent; done < n; done += sent) {
			sent = send(s, buffer + done, n - done, MSG_NOSIGNAL);
			if (sent <= 0)
				break;
		}
	close(s);
	return NULL;
}

int main(int argc, char **argv)
{
	SOCKADDR_HV address = {.Family = AF_HYPERV, .VmId = HV_GUID_WILDCARD}, client;
	int s = socket(AF_HYPERV, SOCK_STREAM, HV_PROTOCOL_RAW);

	if (argc < 2)
		return 2;
	address.ServiceId = sample_guid(argv[1]);
	if (argc > 2)
		address.VmId = sample_guid(argv[2]);
	if (s < 0)
		sample_fail("socket");
	if (bind(s, (struct sockaddr *)&address, sizeof(address)))
		sample_fail("bind");
	if (listen(s, SOMAXCONN))
		sample_fail("listen");
	puts("ready");
	fflush(stdout);
	for (;;) {
		socklen_t length = sizeof(client);
		int c = accept(s, (struct sockaddr *)&client, &length);
		pthread_t thread;

		if (c < 0)
			sample_fail("accept");
		sample_print(&client.VmId);
		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)c))
			sample_fail("pthread_create");
		pthread_detach(thread);
	}
}
