/*
 * services.c - a damaged or hostile registry of services (hvsocket/services.h).
 *
 * Promises that are tested: no crash; a file is taken or refused, with a line that says why; and
 * what is taken is written as a file that says the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "hvsocket/services_file.h"

static unsigned count(char *const *strings)
{
	unsigned n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

static void assert_same(const struct service *a, const struct service *b)
{
	assert(guid_equal(&a->id, &b->id));
	assert(!strcmp(a->name, b->name));
	assert(a->enabled == b->enabled);
	assert(a->connect.n == b->connect.n && a->connect.all == b->connect.all);
	assert(a->serve.n == b->serve.n && a->serve.all == b->serve.all);
	assert(a->n_machines == b->n_machines);
	assert(count(a->command) == count(b->command));
	assert(!a->socket == !b->socket);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char problem[SERVICES_PROBLEM] = "", *text;
	struct service_list list, again;
	const GUID vm = {1};

	if (services_parse("file", (const char *)data, size, &list, problem)) {
		assert(!strncmp(problem, "file: ", 6) && !strchr(problem, '\n'));
	} else {
		text = services_text(&list);
		assert(text && !services_parse("file", text, strlen(text), &again, problem));
		assert(again.n == list.n);
		for (unsigned i = 0; i < list.n; i++) {
			assert_same(&list.services[i], &again.services[i]);
			service_may_serve(&list.services[i], 1, 2, &vm);
			service_may_connect(&list.services[i], 1, 2, &vm);
		}
		service_list_free(&again);
		free(text);
	}
	service_list_free(&list);
	return 0;
}
