/*
 * hvsocket_broker.c - a broker, asked what a machine asks: who serves a guest, in which order, who
 * may, live; programs started on demand; listeners whose queue is full; and its end.
 */
#include "hvsocket/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/guid.h"
#include "hvsocket/places.h"
#include "hvsocket_machine.h"

#define FOREVER 20000 /* ms; only a test that fails waits so long */
#define OTHER	65534 /* a user who is neither root nor the owner */

static const GUID endpoint = {
	0x4321, 0xfacb, 0x11e6, {0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3}};

struct world {
	struct broker_config config;
	char registry[PATH_MAX], hybrid[PATH_MAX], left[PATH_MAX];
	char *paths[2];
	int fd;
	uint32_t tag;
};

static void write_registry(struct world *w, const char *services)
{
	FILE *f = fopen(w->registry, "w");

	assert_non_null(f);
	fprintf(f, "{\"services\": [%s]}", services);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (machine_directory(NULL))
		return -1;
	snprintf(w->registry, PATH_MAX, "%s/services.json", machine_base());
	snprintf(w->hybrid, PATH_MAX, "%s/hybrid", machine_base());
	snprintf(w->left, PATH_MAX, "%s/left", machine_base());
	setenv("PARTITA_SERVICES", w->registry, 1);
	w->paths[0] = w->left;
	w->config = (struct broker_config){
		.name = "test", .owner = geteuid(), .hybrid = w->hybrid, .paths = w->paths};
	guid_new(&w->config.vm);
	write_registry(w, "");
	fclose(fopen(w->left, "w"));
	assert_int_equal(broker_start(&w->config, &w->fd), 0);
	*state = w;
	return 0;
}

/* The broker has no other sign of its end than that its other processes may be waited for. */
static int tear_down(void **state)
{
	struct world *w = *state;

	if (w->fd >= 0)
		close(w->fd);
	while (wait(NULL) > 0)
		;
	free(w);
	return machine_directory_gone(NULL);
}

/* ---- Questions ------------------------------------------------------------------------------- */

static void ask(struct world *w, uint32_t kind, uint32_t port, uid_t uid)
{
	struct broker_question q = {.kind = kind,
		.tag = ++w->tag,
		.service = hv_service_of_port(port),
		.endpoint = endpoint,
		.uid = uid};

	assert_int_equal(send(w->fd, &q, sizeof(q), 0), sizeof(q));
}

static int answer(struct world *w, int *given)
{
	struct pollfd pfd = {.fd = w->fd, .events = POLLIN};
	struct broker_answer a;

	assert_int_equal(poll(&pfd, 1, FOREVER), 1);
	assert_int_equal(broker_receive(w->fd, &a, given), 1);
	assert_int_equal(a.tag, w->tag);
	assert_true(!a.err || *given < 0);
	return a.err;
}

/* A guest connects: its descriptor, or why not. */
static int connects(struct world *w, uint32_t port)
{
	int given, err;

	ask(w, BROKER_GUEST_CONNECTS, port, 0);
	err = answer(w, &given);
	return err ? err : given;
}

static int may_connect(struct world *w, uint32_t port, uid_t uid)
{
	int given;

	ask(w, BROKER_MAY_CONNECT, port, uid);
	return answer(w, &given);
}

/* ---- Those who serve ------------------------------------------------------------------------- */

static int listen_path(const char *path, int backlog)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(hv_place_bind(fd, path), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static int listen_for(const GUID *scope, uint32_t port)
{
	const GUID service = hv_service_of_port(port);
	char path[PATH_MAX];

	hv_place_listener(machine_base(), scope, &service, path);
	return listen_path(path, 8);
}

/* @listener has that connection and no other; its other end is the guest's. */
static void assert_accepts(struct world *w, int listener, int connection)
{
	struct sockaddr_un name;
	socklen_t length = sizeof(name);
	struct hv_address peer;
	int fd = accept(listener, (struct sockaddr *)&name, &length);
	char byte = 0;

	assert_true(connection >= 0);
	assert_true(fd >= 0);
	assert_true(hv_address_decode(&name, length, &peer));
	assert_true(guid_equal(&peer.vm, &w->config.vm));
	assert_true(guid_equal(&peer.service, &endpoint));
	assert_int_equal(write(connection, "x", 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(byte, 'x');
	close(fd);
	close(connection);
	assert_int_equal(accept(listener, NULL, NULL), -1);
}

/* All that a program has to say. */
static void assert_says(int connection, const char *expected)
{
	char text[4096] = "";
	size_t n = 0;
	ssize_t got;

	assert_true(connection >= 0);
	fcntl(connection, F_SETFL, 0);
	while ((got = read(connection, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	close(connection);
	assert_string_equal(text, expected);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void what_is_not_registered(void **state)
{
	struct world *w = *state;
	int listener = listen_for(&hv_zero, 5000);

	assert_int_equal(connects(w, 5000), -ECONNREFUSED);
	assert_int_equal(accept(listener, NULL, NULL), -1);
	close(listener);
}

static void live(void **state)
{
	struct world *w = *state;
	int listener = listen_for(&hv_zero, 5000);

	for (int i = 0; i < 3; i++) {
		write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true}");
		assert_accepts(w, listener, connects(w, 5000));
		write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": false}");
		assert_int_equal(connects(w, 5000), -ECONNREFUSED);
	}
	write_registry(w, "{");
	assert_int_equal(connects(w, 5000), -EACCES);
	write_registry(w, "");
	assert_int_equal(connects(w, 5000), -ECONNREFUSED);
	close(listener);
}

static void by_machine(void **state)
{
	struct world *w = *state;
	char id[GUID_TEXT], text[256];
	int listener = listen_for(&hv_zero, 5000);

	write_registry(w,
		"{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true, \"machines\":"
		" [\"11111111-2222-3333-4444-555555555555\"]}");
	assert_int_equal(connects(w, 5000), -ECONNREFUSED);
	assert_int_equal(may_connect(w, 5000, w->config.owner), -EACCES);
	snprintf(text, sizeof(text),
		"{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true, \"machines\": "
		"[\"%s\"]}",
		guid_format(&w->config.vm, id));
	write_registry(w, text);
	assert_accepts(w, listener, connects(w, 5000));
	assert_int_equal(may_connect(w, 5000, w->config.owner), 0);
	close(listener);
}

/*
 * This machine's, all machines', everybody's; then the socket or the program; then the hybrid form.
 */
static void in_this_order(void **state)
{
	struct world *w = *state;
	const GUID *scopes[] = {&w->config.vm, &hv_children, &hv_zero};
	char path[PATH_MAX + 8], text[PATH_MAX + 128];
	int listeners[3], other;

	snprintf(path, sizeof(path), "%s/other", machine_base());
	snprintf(text, sizeof(text),
		"{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true, \"socket\": \"%s\"}",
		path);
	write_registry(w, text);
	other = listen_path(path, 8);
	for (unsigned i = 0; i < 3; i++)
		listeners[i] = listen_for(scopes[i], 5000);
	for (unsigned i = 0; i < 3; i++) {
		assert_accepts(w, listeners[i], connects(w, 5000));
		close(listeners[i]);
	}
	/* Whose program ended without a word counts no more. */
	assert_accepts(w, other, connects(w, 5000));
	close(other);
	assert_int_equal(connects(w, 5000), -ECONNREFUSED);
	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true}");
	assert_int_equal(connects(w, 5000), -ENOENT);
	snprintf(path, sizeof(path), "%s_5000", w->hybrid);
	other = listen_path(path, 8);
	assert_accepts(w, other, connects(w, 5000));
	close(other);
}

static void started_on_demand(void **state)
{
	struct world *w = *state;
	char id[GUID_TEXT], service[GUID_TEXT], end[GUID_TEXT], expected[256];
	const GUID called = hv_service_of_port(5000);
	int fd;

	write_registry(w,
		"{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true, \"command\":"
		" [\"/bin/sh\", \"-c\", \"echo $PARTITA_VM_ID $PARTITA_SERVICE_ID"
		" $PARTITA_PEER_SERVICE_ID; cat; echo $0\", \"done\"]}");
	for (int i = 0; i < 3; i++) {
		fd = connects(w, 5000);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, "hello\n", 6), 6);
		shutdown(fd, SHUT_WR);
		snprintf(expected, sizeof(expected), "%s %s %s\nhello\ndone\n",
			guid_format(&w->config.vm, id), guid_format(&called, service),
			guid_format(&endpoint, end));
		assert_says(fd, expected);
	}
}

/* A program has the connection and messages, no end of the machine's; and signals as usual. */
static void a_clean_slate(void **state)
{
	struct world *w = *state;

	write_registry(w,
		"{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true, \"command\":"
		" [\"/bin/sh\", \"-c\", \"cd /proc/self/fd; echo *; "
		"grep -c -E '^Sig(Blk|Ign):.0*$' /proc/self/status\"]}");
	/* 3 is the shell's own, of the directory. */
	assert_says(connects(w, 5000), "0 1 2 3\n2\n");
}

static void programs_that_fail(void **state)
{
	struct world *w = *state;

	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true,"
			  " \"command\": [\"/nonexistent/program\"]}");
	assert_says(connects(w, 5000), "");
	assert_says(connects(w, 5000), "");
}

/* As many as may run at once: the next waits for one to end. */
static void too_many_programs(void **state)
{
	struct world *w = *state;
	struct rlimit limit;
	int fds[BROKER_PROGRAMS], given;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true,"
			  " \"command\": [\"/bin/cat\"]}");
	for (unsigned i = 0; i < BROKER_PROGRAMS; i++) {
		fds[i] = connects(w, 5000);
		assert_true(fds[i] >= 0);
	}
	ask(w, BROKER_GUEST_CONNECTS, 5000, 0);
	close(fds[7]);
	assert_int_equal(answer(w, &given), 0);
	assert_true(given >= 0);
	fds[7] = given;
	for (unsigned i = 0; i < BROKER_PROGRAMS; i++)
		close(fds[i]);
}

static void a_full_queue(void **state)
{
	struct world *w = *state;
	const GUID service = hv_service_of_port(5000);
	char path[PATH_MAX];
	int listener, first, given;

	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true}");
	hv_place_listener(machine_base(), &hv_zero, &service, path);
	listener = listen_path(path, 0);
	first = connects(w, 5000);
	assert_true(first >= 0);
	/* It waits, and others do not wait for it. */
	ask(w, BROKER_GUEST_CONNECTS, 5000, 0);
	w->tag += 100;
	assert_int_equal(may_connect(w, 5000, 0), 0);
	w->tag -= 101;
	close(accept(listener, NULL, NULL));
	assert_int_equal(answer(w, &given), 0);
	assert_true(given >= 0);
	close(given);
	close(accept(listener, NULL, NULL));
	close(first);
	close(listener);
}

static void who_may_connect(void **state)
{
	struct world *w = *state;

	assert_int_equal(may_connect(w, 5000, 0), 0);
	assert_int_equal(may_connect(w, 5000, w->config.owner), 0);
	assert_int_equal(may_connect(w, 5000, OTHER), -EACCES);
	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true,"
			  " \"connect\": [\"65534\"]}");
	assert_int_equal(may_connect(w, 5000, OTHER), 0);
	assert_int_equal(may_connect(w, 5000, OTHER - 1), -EACCES);
	assert_int_equal(may_connect(w, 5001, OTHER), -EACCES);
	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": false,"
			  " \"connect\": [\"*\"]}");
	assert_int_equal(may_connect(w, 5000, OTHER), -EACCES);
	assert_int_equal(may_connect(w, 5000, 0), -EACCES);
}

/* A listener of another user: only where the registry lets him serve. */
static void who_may_serve(void **state)
{
	struct world *w = *state;
	const GUID service = hv_service_of_port(5000);
	char path[PATH_MAX];
	int listener;
	pid_t child;

	if (geteuid())
		skip(); /* only root can be another user */
	hv_place_listener(machine_base(), &hv_zero, &service, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(hv_place_bind(listener, path), 0);
	child = fork();
	if (child == 0) {
		/* Who calls listen() is whom the kernel names. */
		_exit(setresuid(OTHER, OTHER, OTHER) || listen(listener, 8));
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true}");
	assert_int_equal(connects(w, 5000), -ENOENT);
	close(accept(listener, NULL, NULL));
	write_registry(w, "{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true,"
			  " \"serve\": [\"65534\"]}");
	assert_accepts(w, listener, connects(w, 5000));
	close(listener);
}

static void nonsense(void **state)
{
	struct world *w = *state;
	int given;

	assert_int_equal(send(w->fd, "short", 5, 0), 5);
	ask(w, 99, 5000, 0);
	assert_int_equal(answer(w, &given), -EINVAL);
	ask(w, 0, 5000, 0);
	assert_int_equal(answer(w, &given), -EINVAL);
}

/* The machine ends, and the broker with it. */
static void end(struct world *w)
{
	close(w->fd);
	w->fd = -1;
	while (wait(NULL) > 0)
		;
}

static void the_end(void **state)
{
	struct world *w = *state;

	assert_int_equal(access(w->left, F_OK), 0);
	end(w);
	assert_int_equal(access(w->left, F_OK), -1);
}

static void what_is_anothers_stays(void **state)
{
	struct world *w = *state;
	char kept[PATH_MAX + 8];

	snprintf(kept, sizeof(kept), "%s.new", w->left);
	/* An answer: it has noted which file it was. */
	assert_int_equal(may_connect(w, 5000, 0), 0);
	fclose(fopen(kept, "w"));
	assert_int_equal(rename(kept, w->left), 0);
	end(w);
	assert_int_equal(access(w->left, F_OK), 0);
}

static struct statx stat_of(const char *path)
{
	struct statx file;

	assert_int_equal(statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &file), 0);
	return file;
}

/* Another's file may have the inode of the one that was there. */
static void an_inode_that_is_given_again(void **state)
{
	struct world *w = *state;
	struct statx old = stat_of(w->left), new = old;

	assert_int_equal(may_connect(w, 5000, 0), 0);
	if (!(old.stx_mask & STATX_BTIME))
		skip(); /* the file system cannot tell them apart */
	/* Times go on in ticks: until one has passed they would be the same in everything. */
	for (unsigned i = 0; i < 100000; i++) {
		assert_int_equal(unlink(w->left), 0);
		fclose(fopen(w->left, "w"));
		new = stat_of(w->left);
		if (new.stx_ino == old.stx_ino &&
			memcmp(&new.stx_btime, &old.stx_btime, sizeof(new.stx_btime)) != 0)
			break;
	}
	if (new.stx_ino != old.stx_ino)
		skip(); /* the file system gives no inode again so soon */
	end(w);
	assert_int_equal(access(w->left, F_OK), 0);
}

static void a_broker_that_is_killed(void **state)
{
	struct world *w = *state;
	struct pollfd pfd = {.fd = w->fd, .events = POLLIN};
	struct broker_answer a;
	int given;

	assert_int_equal(broker_receive(w->fd, &a, &given), 0);
	write_registry(w,
		"{\"id\": \"vsock:5000\", \"name\": \"x\", \"enabled\": true, \"command\":"
		" [\"/bin/sh\", \"-c\", \"kill -9 $PPID\"]}");
	ask(w, BROKER_GUEST_CONNECTS, 5000, 0);
	while (poll(&pfd, 1, FOREVER) == 1 && broker_receive(w->fd, &a, &given) == 1)
		close(given);
	assert_int_equal(broker_receive(w->fd, &a, &given), -EPIPE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_not_registered),
		TEST(live),
		TEST(by_machine),
		TEST(in_this_order),
		TEST(started_on_demand),
		TEST(a_clean_slate),
		TEST(programs_that_fail),
		TEST(too_many_programs),
		TEST(a_full_queue),
		TEST(who_may_connect),
		TEST(who_may_serve),
		TEST(nonsense),
		TEST(the_end),
		TEST(what_is_anothers_stays),
		TEST(an_inode_that_is_given_again),
		TEST(a_broker_that_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
