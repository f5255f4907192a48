/*
 * worker_control.c - the control socket: what clients may ask, and that clients who send anything
 * at all, too much, too little or nothing get an answer or the door, while others are served.
 *
 * The machine is that of worker_machine.h, with disks.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/pass.h"
#include "disk/disk.h"
#include "worker_machine.h"

#define SIZE (1u << 20)

static struct test_machine *f;

/* In place of the C library's: so many times there is no descriptor left. */
static _Atomic int refuse_accept;

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	if (refuse_accept > 0) {
		refuse_accept--;
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_accept4, fd, address, size, flags);
}

/*
 * The same: while it is set, files do not change their size, and who wants that says so and waits.
 */
static atomic_bool hold_sizes;
static sem_t held, go_on;

int ftruncate(int fd, off_t size)
{
	if (hold_sizes) {
		sem_post(&held);
		sem_wait(&go_on);
	}
	return (int)syscall(SYS_ftruncate, fd, size);
}

static int set_up(void **state)
{
	struct disk_engine_options later = {.threads_later = true};
	const struct worker_config config = {
		.name = "test", .processors = 1, .disk_engine = disk_engine_create(&later)};

	f = test_machine_create(&config, disks_create, disks_destroy);
	return 0;
}

static int tear_down(void **state)
{
	test_machine_destroy(f);
	return 0;
}

/* ---- A client -------------------------------------------------------------------------------- */

static int client(void)
{
	return test_machine_connect(f);
}

/* Sends bytes with descriptors; false: the machine has closed. */
static bool put(int client, const void *bytes, size_t n, const int *fds, unsigned n_fds)
{
	return pass_send(client, bytes, n, fds, n_fds) == (ssize_t)n;
}

static const char *take(int client)
{
	return test_machine_hear(f, client);
}

static const char *ask_with(const char *line, const int *fds, unsigned n_fds)
{
	int c = client();

	assert_true(put(c, line, strlen(line), fds, n_fds));
	return take(c);
}

static const char *ask(const char *line)
{
	return ask_with(line, NULL, 0);
}

static void assert_refused(const char *reply)
{
	struct json_object *json = json_tokener_parse(reply), *error;

	assert_true(json_object_object_get_ex(json, "error", &error));
	assert_int_equal(json_object_object_length(json), 1);
	assert_null(strchr(json_object_get_string(error), '\n'));
	assert_int_equal(reply[strlen(reply) - 1], '\n');
	json_object_put(json);
}

static void assert_serves(void)
{
	assert_string_equal(ask("{\"command\": \"disks\"}\n"), "{\"disks\":[]}\n");
}

/* A file that is a raw disk, which the caller closes. */
static int raw_disk(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, SIZE), 0);
	return fd;
}

/* ---- What may be asked ----------------------------------------------------------------------- */

#define ATTACH "{\"command\": \"attach-disk\", \"paths\": [\"/d/a\"]"

static void test_attach_and_detach(void **state)
{
	int fd = raw_disk();

	assert_string_equal(
		ask_with(ATTACH ", \"lun\": 3}\n", &fd, 1), "{\"controller\":0,\"lun\":3}\n");
	assert_string_equal(ask("{\"command\": \"disks\"}\n"),
		"{\"disks\":[{\"path\":\"\\/d\\/a\",\"controller\":0,\"lun\":3,\"dvd\":false}]}\n");
	/* The place is taken. */
	assert_refused(ask_with(ATTACH ", \"lun\": 3}\n", &fd, 1));
	assert_refused(ask("{\"command\": \"detach-disk\", \"path\": \"/d/b\"}\n"));
	assert_refused(ask("{\"command\": \"detach-disk\", \"path\": null}\n"));
	assert_refused(ask("{\"command\": \"detach-disk\", \"lun\": 2}\n"));
	assert_string_equal(ask("{\"command\": \"detach-disk\", \"path\": \"/d/a\"}\n"),
		"{\"controller\":0,\"lun\":3}\n");
	/* A drive, its medium out and in; it stays. */
	assert_string_equal(ask_with(ATTACH ", \"dvd\": true, \"controller\": 2}\n", &fd, 1),
		"{\"controller\":2,\"lun\":0}\n");
	assert_string_equal(ask("{\"command\": \"detach-disk\", \"controller\": 2, \"lun\": 0}\n"),
		"{\"controller\":2,\"lun\":0}\n");
	assert_string_equal(
		ask_with(ATTACH ", \"dvd\": true, \"controller\": 2, \"lun\": 0}\n", &fd, 1),
		"{\"controller\":2,\"lun\":0}\n");
	close(fd);
}

#define RESIZE "{\"command\": \"resize-disk\", \"path\": \"/d/a\""

static void test_resize(void **state)
{
	int fd = raw_disk();
	struct stat st;

	ask_with(ATTACH ", \"lun\": 3}\n", &fd, 1);
	assert_string_equal(
		ask(RESIZE ", \"size\": 2097152}\n"), "{\"before\":1048576,\"size\":2097152}\n");
	assert_string_equal(ask("{\"command\": \"resize-disk\", \"lun\": 3, \"size\": 512, "
				"\"more\": true}\n"),
		"{\"before\":2097152,\"size\":2097664}\n");
	/* A part of a sector; less than it holds, which of a raw disk is everything; nonsense. */
	assert_refused(ask(RESIZE ", \"size\": 3000000}\n"));
	assert_refused(ask(RESIZE ", \"size\": 1048576}\n"));
	assert_refused(ask(RESIZE ", \"size\": 0}\n"));
	assert_refused(ask(RESIZE ", \"size\": -512}\n"));
	assert_refused(ask(RESIZE ", \"size\": \"512\"}\n"));
	assert_refused(ask(RESIZE ", \"size\": 18446744073709551104, \"more\": true}\n"));
	assert_refused(ask(RESIZE "}\n"));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 2097664);
	/* A DVD has the size of its image, an empty drive none. */
	ask_with(ATTACH ", \"dvd\": true, \"lun\": 4}\n", &fd, 1);
	assert_refused(ask("{\"command\": \"resize-disk\", \"lun\": 4, \"size\": 4096}\n"));
	ask("{\"command\": \"detach-disk\", \"lun\": 4}\n");
	assert_refused(ask("{\"command\": \"resize-disk\", \"lun\": 4, \"size\": 4096}\n"));
	close(fd);
}

/* Starts to change the size of /d/a, which goes on until sem_post(&go_on). Returns the client. */
static int start_resize(void)
{
	int c = client();

	hold_sizes = true;
	assert_true(put(c, RESIZE ", \"size\": 2097152}\n",
		sizeof(RESIZE ", \"size\": 2097152}\n") - 1, NULL, 0));
	assert_int_equal(sem_wait(&held), 0);
	hold_sizes = false;
	return c;
}

/* It may take long: others are served meanwhile, but for those who want something of that disk. */
static void test_long_resize(void **state)
{
	int fd = raw_disk(), c;

	ask_with(ATTACH ", \"lun\": 3}\n", &fd, 1);
	c = start_resize();
	assert_non_null(strstr(ask("{\"command\": \"disks\"}\n"), "\"lun\":3"));
	assert_non_null(strstr(ask(RESIZE ", \"size\": 4194304}\n"), "is being changed"));
	assert_non_null(strstr(
		ask("{\"command\": \"detach-disk\", \"path\": \"/d/a\"}\n"), "is being changed"));
	sem_post(&go_on);
	assert_string_equal(take(c), "{\"before\":1048576,\"size\":2097152}\n");
	/* Whoever asked for it may go; and the machine may end, which waits for it. */
	assert_string_equal(
		ask(RESIZE ", \"size\": 4194304}\n"), "{\"before\":2097152,\"size\":4194304}\n");
	ask("{\"command\": \"detach-disk\", \"path\": \"/d/a\"}\n");
	assert_int_equal(ftruncate(fd, SIZE), 0);
	ask_with(ATTACH ", \"lun\": 4}\n", &fd, 1);
	close(start_resize());
	sem_post(&go_on);
	close(fd);
}

/* A request may come in pieces, each as small as can be. */
static void test_pieces(void **state)
{
	const char *line = ATTACH "}\n";
	int fd = raw_disk(), c = client();

	for (const char *p = line; *p; p++)
		assert_true(put(c, p, 1, &fd, p == line));
	assert_string_equal(take(c), "{\"controller\":0,\"lun\":0}\n");
	close(fd);
}

/* ---- What may not ---------------------------------------------------------------------------- */

static void test_bad_lines(void **state)
{
	static const char *const lines[] = {
		"",
		"{",
		"hello",
		"null",
		"[]",
		"7",
		"\"disks\"",
		"{}",
		"{\"command\": null}",
		"{\"command\": 7}",
		"{\"command\": [\"disks\"]}",
		"{\"command\": \"\"}",
		"{\"command\": \"reboot\"}",
		"{\"command\": \"%s%n\"}",
		"{\"command\": \"attach-disk\"}",
		"{\"command\": \"attach-disk\", \"paths\": null}",
		"{\"command\": \"attach-disk\", \"paths\": \"/d/a\"}",
		"{\"command\": \"attach-disk\", \"paths\": []}",
		"{\"command\": \"attach-disk\", \"paths\": [null]}",
		"{\"command\": \"attach-disk\", \"paths\": [7, {}]}",
		ATTACH "}", /* without a descriptor */
		ATTACH ", \"lun\": null}",
		ATTACH ", \"lun\": \"0\"}",
		ATTACH ", \"lun\": -1}",
		ATTACH ", \"lun\": 64}",
		ATTACH ", \"lun\": 18446744073709551616}",
		ATTACH ", \"controller\": 4}",
		ATTACH ", \"controller\": 0.5}",
		"{\"command\": \"detach-disk\"}",
		"{\"command\": \"detach-disk\", \"path\": null}",
		"{\"command\": \"detach-disk\", \"path\": []}",
		"{\"command\": \"detach-disk\", \"lun\": 0}",
		"{\"command\": \"detach-disk\", \"controller\": 3, \"lun\": 63}",
		"{\"command\": \"detach-disk\", \"controller\": 4, \"lun\": 0}",
		"{\"command\": \"detach-disk\", \"controller\": []}",
	};
	char line[256];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(line, sizeof(line), "%s\n", lines[i]);
		assert_refused(ask(line));
	}
	assert_serves();
}

static void test_nested_deep(void **state)
{
	char line[20001];

	memset(line, '[', 20000);
	line[19999] = '\n';
	line[20000] = 0;
	assert_refused(ask(line));
	assert_serves();
}

/* A line without an end is not waited for; one that ends just in time is answered. */
static void test_too_long(void **state)
{
	char *line = malloc(CONTROL_LINE);
	int c = client();

	memset(line, ' ', CONTROL_LINE);
	put(c, line, CONTROL_LINE, NULL, 0);
	assert_string_equal(take(c), "");
	line[CONTROL_LINE - 2] = '\n';
	c = client();
	assert_true(put(c, line, CONTROL_LINE - 1, NULL, 0));
	assert_refused(take(c));
	free(line);
	assert_serves();
}

static void test_gone_in_the_middle(void **state)
{
	int c = client();

	assert_true(put(c, "{\"comm", 6, NULL, 0));
	shutdown(c, SHUT_WR);
	assert_string_equal(take(c), "");
	/* And without waiting for the reply. */
	for (unsigned i = 0; i < 50; i++) {
		c = client();
		put(c, "{\"command\": \"disks\"}\n", 21, NULL, 0);
		close(c);
	}
	assert_serves();
}

/* More than are taken: whatever came is closed again. */
static void test_too_many_descriptors(void **state)
{
	int fds[PASS_MOST], ends[2], c = client();
	char byte;

	assert_int_equal(pipe(ends), 0);
	for (unsigned i = 0; i < PASS_MOST; i++)
		fds[i] = ends[1];
	for (unsigned i = 0; i < 3; i++)
		assert_true(put(c, " ", 1, fds, PASS_MOST));
	assert_true(put(c, ATTACH "}\n", sizeof(ATTACH "}\n") - 1, NULL, 0));
	assert_refused(take(c));
	close(ends[1]);
	assert_true(test_machine_readable(ends[0]));
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	assert_serves();
}

/* Descriptors that are no files. */
static void test_wrong_descriptors(void **state)
{
	int fds[4], ends[2];

	assert_int_equal(pipe(ends), 0);
	fds[0] = ends[0];
	fds[1] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[3] = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (unsigned i = 0; i < 4; i++) {
		assert_refused(ask_with(ATTACH "}\n", &fds[i], 1));
		close(fds[i]);
	}
	close(ends[1]);
	assert_serves();
}

/* Clients that say nothing keep nobody from being served for long. */
static void test_silent_clients(void **state)
{
	int silent[12];

	for (unsigned i = 0; i < 12; i++)
		silent[i] = client();
	assert_serves();
	for (unsigned i = 0; i < 12; i++)
		close(silent[i]);
	assert_serves();
}

/*
 * While there is no descriptor for a client it waits, and the loop does not ask again and again: no
 * sooner than it sends clients away who are silent.
 */
static void test_no_descriptor(void **state)
{
	uint64_t began = loop_now();

	refuse_accept = 1;
	assert_serves();
	assert_true(loop_now() - began > 1000000000);
	assert_int_equal(refuse_accept, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_attach_and_detach, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_resize, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_resize, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bad_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nested_deep, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gone_in_the_middle, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_many_descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_silent_clients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_descriptor, set_up, tear_down),
	};

	sem_init(&held, 0, 0);
	sem_init(&go_on, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
