/*
 * hvsocket_machine.c - a machine for tests of host programs. See hvsocket_machine.h.
 */
#include "hvsocket_machine.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/guid.h"
#include "folder.h"
#include "hvsocket/places.h"
#include "hvsocket/system.h"

static char directory[FOLDER];

const char *machine_base(void)
{
	return directory;
}

int machine_directory(void **state)
{
	folder_make(directory);
	setenv("PARTITA_RUN_DIR", directory, 1);
	return hv_place_make(directory);
}

int machine_directory_gone(void **state)
{
	folder_remove(directory);
	return 0;
}

/* ---- The other end --------------------------------------------------------------------------- */

struct connection {
	struct machine *machine;
	enum machine_answer answer;
	int error;
	int fd;
};

/* Byte by byte, so that what follows the line stays unread. */
static bool read_greeting(int fd, struct hv_greeting *g)
{
	char line[HV_GREETING_TEXT];
	size_t n = 0;

	while (n < sizeof(line) && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	if (n == sizeof(line) || line[n] != '\n')
		return false;
	line[n] = 0;
	return hv_greeting_parse(line, g);
}

static void drop(int fd, unsigned n)
{
	char buffer[4096];

	while (n) {
		ssize_t got = read(fd, buffer, n < sizeof(buffer) ? n : sizeof(buffer));

		if (got <= 0)
			return;
		n -= got;
	}
}

static void echo(int fd)
{
	char buffer[65536];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0, sent; done < n; done += sent) {
			sent = send(fd, buffer + done, n - done, MSG_NOSIGNAL);
			if (sent <= 0)
				return;
		}
}

static void answer(struct machine *m, const struct connection *c, const struct hv_greeting *g)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
	char text[HV_GREETING_TEXT];

	switch (c->answer) {
	case MACHINE_ACCEPTS:
		drop(c->fd, g->padding);
		echo(c->fd);
		break;
	case MACHINE_SPEAKS:
		drop(c->fd, g->padding);
		send(c->fd, m->speech, strlen(m->speech), MSG_NOSIGNAL);
		break;
	case MACHINE_REFUSES:
		send(c->fd, text, hv_refusal_format(c->error, text), MSG_NOSIGNAL);
		break;
	case MACHINE_IS_SILENT:
		poll(&p, 1, -1);
		break;
	case MACHINE_DIES:
		break;
	}
}

static void *serve(void *p)
{
	struct connection *c = p;
	struct machine *m = c->machine;
	struct hv_greeting g = {0};
	bool ok = read_greeting(c->fd, &g);

	pthread_mutex_lock(&m->lock);
	m->heard = g;
	pthread_mutex_unlock(&m->lock);
	if (ok)
		answer(m, c, &g);
	close(c->fd);
	free(c);
	pthread_mutex_lock(&m->lock);
	m->connections--;
	pthread_cond_broadcast(&m->ended);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static void *accept_all(void *p)
{
	struct machine *m = p;
	int fd;

	while ((fd = syscall(SYS_accept4, m->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct connection *c = malloc(sizeof(*c));
		pthread_t thread;

		pthread_mutex_lock(&m->lock);
		m->connections++;
		*c = (struct connection){m, m->answer, m->error, fd};
		pthread_mutex_unlock(&m->lock);
		if (pthread_create(&thread, NULL, serve, c))
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

void machine_start(struct machine *m)
{
	char path[PATH_MAX];

	guid_new(&m->id);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->ended, NULL);
	hv_place_machine(directory, &m->id, path);
	m->listener = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(m->listener >= 0);
	assert_int_equal(hv_place_bind(m->listener, path), 0);
	assert_int_equal(sys_listen(m->listener, 64), 0);
	assert_int_equal(pthread_create(&m->thread, NULL, accept_all, m), 0);
}

void machine_answers(struct machine *m, enum machine_answer answer)
{
	pthread_mutex_lock(&m->lock);
	m->answer = answer;
	pthread_mutex_unlock(&m->lock);
}

void machine_refuses(struct machine *m, int error)
{
	pthread_mutex_lock(&m->lock);
	m->answer = MACHINE_REFUSES;
	m->error = error;
	pthread_mutex_unlock(&m->lock);
}

struct hv_greeting machine_heard(struct machine *m)
{
	struct hv_greeting g;

	pthread_mutex_lock(&m->lock);
	g = m->heard;
	pthread_mutex_unlock(&m->lock);
	return g;
}

void machine_gets_cid(struct machine *m, unsigned cid)
{
	char path[PATH_MAX], id[GUID_TEXT];

	hv_place_cid(directory, cid, path);
	assert_int_equal(symlink(guid_format(&m->id, id), path), 0);
	m->cid = cid;
}

void machine_stop(struct machine *m)
{
	char path[PATH_MAX];

	if (m->cid) {
		hv_place_cid(directory, m->cid, path);
		unlink(path);
	}
	hv_place_machine(directory, &m->id, path);
	unlink(path);
	shutdown(m->listener, SHUT_RDWR); /* ends accept() */
	pthread_join(m->thread, NULL);
	close(m->listener);
	pthread_mutex_lock(&m->lock);
	while (m->connections)
		pthread_cond_wait(&m->ended, &m->lock);
	pthread_mutex_unlock(&m->lock);
}
