/*
 * service.c - partita service: the table of its commands, and those that show the registry of
 * services. See partita-service(1).
 */
#include "cli/service.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "base/log.h"
#include "cli/disk.h"

/* ---- For all -------------------------------------------------------------------------------- */

char *cli_service_path(void)
{
	char *path = services_path();

	if (!path)
		log_error("the registry of services has no place; set HOME, or PARTITA_SERVICES to "
			  "the file's name");
	return path;
}

struct service *cli_service_find(const struct service_list *list, const char *word)
{
	struct service *found = NULL;
	GUID id;

	if (hv_service_parse(word, &id))
		found = service_list_find(list, &id);
	for (unsigned i = 0; !found && i < list->n; i++)
		if (!strcmp(list->services[i].name, word))
			found = &list->services[i];
	for (struct service *s = found ? found + 1 : NULL; s && s < list->services + list->n; s++)
		if (!strcmp(s->name, word)) {
			log_error("%s: two services have this name; say which by its GUID or port, "
				  "which 'partita service list' shows",
				word);
			return NULL;
		}
	if (!found)
		log_error("%s: not registered; 'partita service list' shows what is", word);
	return found;
}

/* All that are registered. False: said why there are none. */
static bool read_registry(struct service_list *list)
{
	char problem[SERVICES_PROBLEM], *path = cli_service_path();
	bool ok = path && !services_read(path, list, problem);

	if (path && !ok) {
		log_error("%s", problem);
		service_list_free(list);
	}
	free(path);
	return ok;
}

/* ---- list ----------------------------------------------------------------------------------- */

struct arguments {
	bool json;
};

static const struct cli_option options[] = {
	CLI_FLAG("json", json),
	{0},
};

static const char list_help[] =
	"Usage: partita service list [--json]\n"
	"\n"
	"List the services that are registered.\n"
	"\n"
	"  --json  for programs: an array of objects, as in the registry's file\n"
	"  --help  this help\n";

static const struct cli_syntax list_syntax = {
	.command = "service list",
	.help = list_help,
	.options = options,
	.max = 0,
	.arguments = "nothing but options",
};

/* What happens to a connection from a guest when no program listens. */
static const char *start_word(const struct service *s)
{
	return s->command ? s->command[0] : s->socket ? s->socket : "";
}

static void print_list(const struct service_list *list)
{
	char id[HV_SERVICE_TEXT];

	for (unsigned i = 0; i < list->n; i++) {
		const struct service *s = &list->services[i];

		printf("%-36s  %-8s  %s%s%s\n", hv_service_format(&s->id, id),
			s->enabled ? "enabled" : "disabled", s->name, *start_word(s) ? "  -> " : "",
			start_word(s));
	}
}

static void print_list_json(const struct service_list *list)
{
	struct json_object *all = json_object_new_array();

	for (unsigned i = 0; i < list->n; i++)
		json_object_array_add(all, service_json(&list->services[i]));
	cli_print_json(all);
}

static int cli_service_list(int argc, char **argv)
{
	struct arguments a = {0};
	struct service_list list;
	int status = cli_options(&list_syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!read_registry(&list))
		return CLI_FAILURE;
	if (a.json)
		print_list_json(&list);
	else
		print_list(&list);
	service_list_free(&list);
	return 0;
}

/* ---- show ----------------------------------------------------------------------------------- */

static const char show_help[] =
	"Usage: partita service show SERVICE [--json]\n"
	"\n"
	"Show what is registered of a service, which is a GUID, vsock:PORT, or its name.\n"
	"\n"
	"  --json  for programs: one JSON object, as in the registry's file\n"
	"  --help  this help\n";

static const struct cli_syntax show_syntax = {
	.command = "service show",
	.help = show_help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the SERVICE",
};

static void print_users(const char *what, const struct service_users *u)
{
	printf("%s", what);
	if (u->all)
		puts("everybody");
	else
		fputs("root and the machine's owner", stdout);
	for (unsigned i = 0; !u->all && i < u->n; i++)
		printf(", %s", u->names[i]);
	if (!u->all)
		putchar('\n');
}

static void print_service(const struct service *s)
{
	char id[HV_SERVICE_TEXT], guid[GUID_TEXT];

	printf("service:   %s\n", hv_service_format(&s->id, id));
	if (strcmp(id, guid_format(&s->id, guid)))
		printf("GUID:      %s\n", guid);
	printf("name:      %s\n", s->name);
	printf("enabled:   %s\n", s->enabled ? "yes" : "no");
	print_users("connect:   ", &s->connect);
	print_users("serve:     ", &s->serve);
	printf("machines:  %s", s->n_machines ? "" : "all");
	for (unsigned i = 0; i < s->n_machines; i++)
		printf("%s%s", i ? ", " : "", guid_format(&s->machines[i], guid));
	putchar('\n');
	if (s->socket)
		printf("passed to: %s\n", s->socket);
	if (!s->command)
		return;
	printf("starts:   ");
	for (char **word = s->command; *word; word++)
		printf(" %s", *word);
	putchar('\n');
}

static int cli_service_show(int argc, char **argv)
{
	struct arguments a = {0};
	struct service_list list;
	struct service *s;
	int status = cli_options(&show_syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!read_registry(&list))
		return CLI_FAILURE;
	s = cli_service_find(&list, argv[optind]);
	if (s && a.json)
		cli_print_json(service_json(s));
	else if (s)
		print_service(s);
	service_list_free(&list);
	return s ? 0 : CLI_FAILURE;
}

/* ---- All commands --------------------------------------------------------------------------- */

static const char intro[] = "Say which services of this host guests may reach by Hyper-V sockets, "
			    "and who may use them.";

static const struct cli_command commands[] = {
	{"register", "let guests reach a service", cli_service_register},
	{"unregister", "forget a service", cli_service_unregister},
	{"enable", "let a service be used", cli_service_enable},
	{"disable", "let nobody use a service", cli_service_disable},
	{"list", "list all services", cli_service_list},
	{"show", "show one service", cli_service_show},
	{0},
};

int cli_service(int argc, char **argv)
{
	return cli_choose(commands, "partita service", intro, argc, argv);
}
