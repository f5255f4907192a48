/*
 * hvsocket_services.c - the registry of services: who may, what a file says, and how it changes.
 */
#include "hvsocket/services.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/guid.h"

#define VM     "11111111-2222-3333-4444-555555555555"
#define OWNER  1000u
#define FRIEND 1001u
#define OTHER  1002u

#define FILE_OF(services) "{\"services\": [" services "]}"
#define SERVICE(more)	  "{\"id\": \"vsock:1\", \"name\": \"n\", \"enabled\": true" more "}"

static char directory[64], path[96];

static int setup(void **state)
{
	strcpy(directory, "/tmp/services-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/services.json", directory);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(directory);
}

static void write_file(const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
}

static GUID guid(const char *text)
{
	GUID g;

	assert_true(hv_service_parse(text, &g));
	return g;
}

/* The one service that the text says. */
static struct service_list read_one(const char *text)
{
	char problem[SERVICES_PROBLEM] = "";
	struct service_list list;

	write_file(text);
	assert_int_equal(services_read(path, &list, problem), 0);
	assert_int_equal(list.n, 1);
	return list;
}

/* ---- Who may -------------------------------------------------------------------------------- */

static void unregistered_services(void **state)
{
	const GUID vm = guid(VM);

	assert_true(service_may_connect(NULL, 0, OWNER, &vm));
	assert_true(service_may_connect(NULL, OWNER, OWNER, &vm));
	assert_false(service_may_connect(NULL, OTHER, OWNER, &vm));
	assert_false(service_may_serve(NULL, 0, OWNER, &vm));
	assert_false(service_may_serve(NULL, OWNER, OWNER, &vm));
}

static void registered_services(void **state)
{
	struct service_list list =
		read_one(FILE_OF(SERVICE(", \"connect\": [\"1001\"], \"serve\": [\"1002\"]")));
	const struct service *s = list.services;
	const GUID vm = guid(VM);

	assert_true(service_may_connect(s, 0, OWNER, &vm));
	assert_true(service_may_connect(s, OWNER, OWNER, &vm));
	assert_true(service_may_connect(s, FRIEND, OWNER, &vm));
	assert_false(service_may_connect(s, OTHER, OWNER, &vm));
	assert_true(service_may_serve(s, 0, OWNER, &vm));
	assert_true(service_may_serve(s, OWNER, OWNER, &vm));
	assert_false(service_may_serve(s, FRIEND, OWNER, &vm));
	assert_true(service_may_serve(s, OTHER, OWNER, &vm));
	service_list_free(&list);
}

static void disabled_services(void **state)
{
	struct service_list list = read_one(FILE_OF("{\"id\": \"vsock:1\", \"name\": \"\", "
						    "\"enabled\": false, \"connect\": [\"*\"]}"));
	const GUID vm = guid(VM);

	assert_false(service_may_connect(list.services, 0, OWNER, &vm));
	assert_false(service_may_serve(list.services, OWNER, OWNER, &vm));
	service_list_free(&list);
}

static void services_of_some_machines(void **state)
{
	struct service_list list =
		read_one(FILE_OF(SERVICE(", \"connect\": [\"*\"], \"machines\": [\"" VM "\"]")));
	const GUID vm = guid(VM), other = guid("vsock:9");

	assert_true(service_may_connect(list.services, OTHER, OWNER, &vm));
	assert_false(service_may_connect(list.services, OWNER, OWNER, &other));
	assert_true(service_may_serve(list.services, OWNER, OWNER, &vm));
	assert_false(service_may_serve(list.services, OWNER, OWNER, &other));
	service_list_free(&list);
}

static void users_by_name(void **state)
{
	struct service_list list =
		read_one(FILE_OF(SERVICE(", \"connect\": [\"root\", \"no such user\"]")));
	const struct service_users *u = &list.services->connect;
	const GUID vm = guid(VM);

	assert_int_equal(u->n, 2);
	assert_int_equal(u->ids[0], 0);
	assert_true(u->ids[1] == (uid_t)-1);
	assert_false(service_may_connect(list.services, -1, OWNER, &vm));
	service_list_free(&list);
}

/* ---- The file ------------------------------------------------------------------------------- */

static void no_file_is_no_services(void **state)
{
	char problem[SERVICES_PROBLEM];
	struct service_list list;

	unlink(path);
	assert_int_equal(services_read(path, &list, problem), 0);
	assert_int_equal(list.n, 0);
	service_list_free(&list);
}

static void damaged_files(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "ends too early"},
		{"{", "line 1: ends too early"},
		{"{\n\"services\": [\n{,", "line 3"},
		{"{\"services\": []} x", "line 1"},
		{"[]", "must be {\"services\": [...]}"},
		{"{\"services\": {}}", "must be {\"services\": [...]}"},
		{"{\"services\": [], \"more\": 1}", "must be {\"services\": [...]}"},
		{FILE_OF("1"), "services[0]"},
		{FILE_OF("{}"), "services[0].id: missing"},
		{FILE_OF(SERVICE("") ", {\"id\": \"vsock:2\", \"name\": \"n\"}"),
			"services[1].enabled: missing"},
		{FILE_OF(SERVICE("") ", " SERVICE("")), "services[1].id: another service has it"},
		{FILE_OF(SERVICE(", \"enabeld\": true")), "services[0].enabeld: is no field"},
		{FILE_OF("{\"id\": \"vsock:1\", \"name\": 5, \"enabled\": true}"), "].name: must"},
		{FILE_OF("{\"id\": \"vsock:1\", \"name\": \"\", \"enabled\": 1}"),
			"].enabled: must"},
		{FILE_OF("{\"id\": \"ssh\", \"name\": \"\", \"enabled\": true}"), "].id: must"},
		{FILE_OF(SERVICE(", \"name\": \"a\\u0000b\"")), "].name: must"},
		{FILE_OF(SERVICE(", \"name\": \"a\\nb\"")), "].name: must be one line"},
		{FILE_OF(SERVICE(", \"a\\u001b[2Jb\": 1")), "].a?[2Jb: is no field"},
		{FILE_OF(SERVICE(", \"connect\": \"alice\"")), "].connect: must be a list"},
		{FILE_OF(SERVICE(", \"connect\": [1]")), "].connect: [0] must be a string"},
		{FILE_OF(SERVICE(", \"connect\": [\"\"]")), "].connect: [0] must be a string"},
		{FILE_OF(SERVICE(", \"machines\": []")), "].machines: must have 1"},
		{FILE_OF(SERVICE(", \"machines\": [\"x\"]")), "].machines: [0] must be a machine"},
		{FILE_OF(SERVICE(", \"command\": []")), "].command: must have 1"},
		{FILE_OF(SERVICE(", \"command\": [\"cat\"]")),
			"].command: [0] must be an absolute"},
		{FILE_OF(SERVICE(", \"socket\": \"x\"")), "].socket: must be an absolute"},
		{FILE_OF(SERVICE(", \"socket\": \"/x\", \"command\": [\"/x\"]")),
			"].socket: there"},
		{"{\"services\": [\"\xff\"]}", "line 1"},
		{"[[[[[[[[[[[[", "line 1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char problem[SERVICES_PROBLEM] = "";
		struct service_list list;

		write_file(cases[i].text);
		assert_int_equal(services_read(path, &list, problem), -EBADMSG);
		service_list_free(&list);
		if (!strstr(problem, cases[i].says) || !strstr(problem, path) ||
			!strstr(problem, "correct the file"))
			fail_msg("%s: %s", cases[i].text, problem);
	}
}

static int remove_all(struct service_list *list, void *ctx)
{
	while (list->n)
		service_list_remove(list, list->services);
	return 0;
}

static void a_damaged_file_stays(void **state)
{
	char problem[SERVICES_PROBLEM], text[32] = "";
	FILE *f;

	write_file("{\"services\": [}");
	assert_int_equal(services_change(path, remove_all, NULL, problem), -EBADMSG);
	f = fopen(path, "re");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "{\"services\": [}");
}

#define EVERYTHING                                                                                 \
	FILE_OF("{\"id\": \"vsock:5000\", \"name\": \"Name \\\"\\u00e4\", \"enabled\": false, "    \
		"\"connect\": [\"root\", \"*\"], \"serve\": [\"1001\"], "                          \
		"\"machines\": [\"" VM "\"], \"command\": [\"/bin/cat\", \"-u\"]}, "               \
		"{\"id\": \"" VM "\", \"name\": \"\", \"enabled\": true, \"socket\": \"/s\"}")

static int change_nothing(struct service_list *list, void *ctx)
{
	return 0;
}

static void what_is_written_is_read(void **state)
{
	char problem[SERVICES_PROBLEM];
	struct json_object *before = json_tokener_parse(EVERYTHING), *after;

	write_file(EVERYTHING);
	assert_int_equal(services_change(path, change_nothing, NULL, problem), 0);
	after = json_object_from_file(path);
	assert_true(json_object_equal(before, after));
	json_object_put(before);
	json_object_put(after);
}

static int refuse(struct service_list *list, void *ctx)
{
	remove_all(list, ctx);
	return -EEXIST;
}

static void a_refused_change_is_none(void **state)
{
	char problem[SERVICES_PROBLEM];
	struct stat before, after;

	write_file(EVERYTHING);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(services_change(path, refuse, NULL, problem), -EEXIST);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
}

static void mode_and_links_stay(void **state)
{
	char problem[SERVICES_PROBLEM], link[128];
	struct stat st;

	write_file(EVERYTHING);
	assert_int_equal(chmod(path, 0640), 0);
	snprintf(link, sizeof(link), "%s/link", directory);
	assert_int_equal(symlink("services.json", link), 0);
	assert_int_equal(services_change(link, remove_all, NULL, problem), 0);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(unlink(link), 0);
}

static void folders_are_made(void **state)
{
	char problem[SERVICES_PROBLEM], deep[128], *slash;

	snprintf(deep, sizeof(deep), "%s/a/b/services.json", directory);
	assert_int_equal(services_change(deep, change_nothing, NULL, problem), 0);
	assert_int_equal(unlink(deep), 0);
	for (int i = 0; i < 2; i++) {
		slash = strrchr(deep, '/');
		*slash = 0;
		assert_int_equal(rmdir(deep), 0);
	}
}

static int add_port(struct service_list *list, void *ctx)
{
	const GUID id = hv_service_of_port(list->n + 1);

	return service_list_add(list, &id) ? 0 : -ENOMEM;
}

/* Several at once: no change is lost. */
static void changes_at_once(void **state)
{
	char problem[SERVICES_PROBLEM];
	struct service_list list;
	int status;

	unlink(path);
	for (int i = 0; i < 4; i++)
		if (!fork()) {
			int err = 0;

			for (int j = 0; !err && j < 10; j++)
				err = services_change(path, add_port, NULL, problem);
			_exit(err != 0);
		}
	while (wait(&status) > 0)
		assert_int_equal(status, 0);
	assert_int_equal(services_read(path, &list, problem), 0);
	assert_int_equal(list.n, 40);
	service_list_free(&list);
}

/* ---- Looking up ----------------------------------------------------------------------------- */

static void changes_are_seen(void **state)
{
	const GUID id = guid("vsock:1"), other = guid("vsock:2");
	struct services *r = services_open(path);
	const struct service *s;

	unlink(path);
	assert_int_equal(services_lookup(r, &id, &s), 0);
	assert_null(s);
	write_file(FILE_OF(SERVICE("")));
	assert_int_equal(services_lookup(r, &id, &s), 0);
	assert_string_equal(s->name, "n");
	assert_int_equal(services_lookup(r, &other, &s), 0);
	assert_null(s);
	write_file("damaged");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(services_lookup(r, &id, &s), -EBADMSG);
		assert_null(s);
	}
	write_file(FILE_OF(SERVICE("")));
	assert_int_equal(services_lookup(r, &id, &s), 0);
	assert_non_null(s);
	unlink(path);
	assert_int_equal(services_lookup(r, &id, &s), 0);
	assert_null(s);
	services_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unregistered_services),
		cmocka_unit_test(registered_services),
		cmocka_unit_test(disabled_services),
		cmocka_unit_test(services_of_some_machines),
		cmocka_unit_test(users_by_name),
		cmocka_unit_test(no_file_is_no_services),
		cmocka_unit_test(damaged_files),
		cmocka_unit_test(a_damaged_file_stays),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(a_refused_change_is_none),
		cmocka_unit_test(mode_and_links_stay),
		cmocka_unit_test(folders_are_made),
		cmocka_unit_test(changes_at_once),
		cmocka_unit_test(changes_are_seen),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
