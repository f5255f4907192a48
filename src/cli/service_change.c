/*
 * service_change.c - partita service register, unregister, enable and disable: what changes the
 * registry of services. See partita-service(1).
 */
#include "cli/service.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "base/log.h"

#define REPEATS_MAX 64 /* of an option */

/* Change the registry, saying what goes wrong that @change does not say. Returns the status. */
static int change_registry(int (*change)(struct service_list *list, void *ctx), void *ctx)
{
	char problem[SERVICES_PROBLEM] = "", *path = cli_service_path();
	int err = path ? services_change(path, change, ctx, problem) : -ENOENT;

	if (*problem || err == -ENOMEM)
		log_error("%s", *problem ? problem : strerror(ENOMEM));
	free(path);
	return err ? CLI_FAILURE : 0;
}

/* ---- register ------------------------------------------------------------------------------- */

static const char register_help[] =
	"Usage: partita service register SERVICE --name NAME [OPTION]...\n"
	"       partita service register SERVICE --name NAME [OPTION]... -- PROGRAM [ARGUMENT]...\n"
	"\n"
	"Let guests reach a service of this host. SERVICE is a GUID, vsock:PORT, or 'new' for\n"
	"a new GUID, which is printed. A guest's connection goes to the program that listens;\n"
	"if none does, PROGRAM is started with it as standard input and output. Machines that\n"
	"run follow at once.\n"
	"\n"
	"  --name NAME      what people call it\n"
	"  --connect USER   also this user may connect to it in guests; * is everybody.\n"
	"                   Root and the machine's owner always may. May be repeated\n"
	"  --serve USER     also this user's programs may listen for guests. May be repeated\n"
	"  --machine ID     only this machine may use it. May be repeated\n"
	"  --socket PATH    if no program listens, connect to this Unix socket\n"
	"  --disabled       nobody may use it until 'partita service enable'\n"
	"  --replace        in place of what is registered for SERVICE\n"
	"  --help           this help\n";

struct words {
	const char *word[REPEATS_MAX];
	unsigned n;
};

struct arguments {
	GUID id;
	const char *name, *socket;
	struct words connect, serve;
	GUID machines[REPEATS_MAX];
	unsigned n_machines;
	bool disabled, replace;
	char **command; /* what is left of the command line; NULL: nothing */
};

static bool too_many(const char *option, unsigned n)
{
	if (n < REPEATS_MAX)
		return false;
	log_error("%s: at most %u times", option, REPEATS_MAX);
	return true;
}

/* A user who exists, a number, or everybody. */
static bool take_user(const char *option, const char *value, void *words)
{
	struct words *users = words;
	uint64_t number;

	if (too_many(option, users->n))
		return false;
	if (strcmp(value, "*") && cli_parse_count(value, (uid_t)-2, &number) && !getpwnam(value)) {
		log_error("%s: there is no user '%s'; give a name, a number, or *", option, value);
		return false;
	}
	users->word[users->n++] = value;
	return true;
}

static bool take_machine(const char *option, const char *value, void *arguments)
{
	struct arguments *a = arguments;

	if (too_many(option, a->n_machines))
		return false;
	if (!guid_parse(value, &a->machines[a->n_machines]) ||
		!hv_is_machine(&a->machines[a->n_machines])) {
		log_error("%s: '%s' is no machine's ID; 'partita list' shows those that run",
			option, value);
		return false;
	}
	a->n_machines++;
	return true;
}

static bool take_name(const char *option, const char *value, void *name)
{
	const char *end = value;

	*(const char **)name = value;
	while ((unsigned char)*end >= ' ' && *end != 0x7f)
		end++;
	if (end > value && !*end && end - value <= SERVICE_NAME_MAX)
		return true;
	log_error("%s: must be a line of 1 to %u bytes", option, SERVICE_NAME_MAX);
	return false;
}

static bool take_socket(const char *option, const char *value, void *path)
{
	*(const char **)path = value;
	if (*value == '/')
		return true;
	log_error("%s: '%s' must be an absolute path", option, value);
	return false;
}

static const struct cli_option register_options[] = {
	CLI_VALUE("name", name, const char *, take_name),
	CLI_VALUE("connect", connect, struct words, take_user),
	CLI_VALUE("serve", serve, struct words, take_user),
	CLI_TAKE("machine", take_machine),
	CLI_VALUE("socket", socket, const char *, take_socket),
	CLI_FLAG("disabled", disabled),
	CLI_FLAG("replace", replace),
	{0},
};

static const struct cli_syntax register_syntax = {
	.command = "service register",
	.help = register_help,
	.options = register_options,
	.min = 1,
	.max = 1024,
	.arguments = "the SERVICE",
};

/* What is left of the command line: a service, and perhaps a program. */
static bool take_rest(struct arguments *a, char **rest)
{
	if (!strcmp(rest[0], "new"))
		guid_new(&a->id);
	else if (!hv_service_parse(rest[0], &a->id)) {
		log_error("'%s' is no service; give a GUID, vsock:PORT, or new", rest[0]);
		return false;
	}
	a->command = rest[1] ? rest + 1 : NULL;
	if (!a->name)
		log_error("service register: --name is missing; --help shows how");
	else if (a->command && a->socket)
		log_error("--socket: a PROGRAM is given, too; a service has one of them");
	else if (a->command && *a->command[0] != '/')
		log_error("'%s': a program needs an absolute path", a->command[0]);
	else
		return true;
	return false;
}

static char **copy_words(const char *const *words, unsigned n)
{
	char **copy = calloc(n + 1, sizeof(*copy));

	for (unsigned i = 0; copy && i < n; i++)
		copy[i] = strdup(words[i]);
	return copy;
}

static void set_users(struct service_users *u, const struct words *words)
{
	u->n = words->n;
	u->names = words->n ? copy_words(words->word, words->n) : NULL;
}

static int add_service(struct service_list *list, void *ctx)
{
	const struct arguments *a = ctx;
	struct service *s = service_list_find(list, &a->id);
	unsigned n = 0;

	if (s && !a->replace) {
		char id[HV_SERVICE_TEXT];

		log_error("%s: registered already, as '%s'; --replace replaces it",
			hv_service_format(&a->id, id), s->name);
		return -EEXIST;
	}
	if (s)
		service_list_remove(list, s);
	s = service_list_add(list, &a->id);
	if (!s)
		return -ENOMEM;
	free(s->name);
	s->name = strdup(a->name);
	if (!s->name)
		return -ENOMEM;
	s->enabled = !a->disabled;
	set_users(&s->connect, &a->connect);
	set_users(&s->serve, &a->serve);
	s->n_machines = a->n_machines;
	s->machines = a->n_machines ? calloc(a->n_machines, sizeof(GUID)) : NULL;
	if (s->machines)
		memcpy(s->machines, a->machines, a->n_machines * sizeof(GUID));
	s->socket = a->socket ? strdup(a->socket) : NULL;
	while (a->command && a->command[n])
		n++;
	s->command = n ? copy_words((const char *const *)a->command, n) : NULL;
	return 0;
}

int cli_service_register(int argc, char **argv)
{
	struct arguments a = {0};
	char id[HV_SERVICE_TEXT];
	int status = cli_options(&register_syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!take_rest(&a, argv + optind))
		return CLI_USAGE_ERROR;
	status = change_registry(add_service, &a);
	if (!status && !strcmp(argv[optind], "new"))
		puts(hv_service_format(&a.id, id));
	return status;
}

/* ---- Those that change one that is there ----------------------------------------------------- */

struct change {
	const char *word; /* for the service */
	enum { UNREGISTER, ENABLE, DISABLE } verb;
};

static int change_service(struct service_list *list, void *ctx)
{
	const struct change *c = ctx;
	struct service *s = cli_service_find(list, c->word);

	if (!s)
		return -ENOENT;
	if (c->verb == UNREGISTER)
		service_list_remove(list, s);
	else
		s->enabled = c->verb == ENABLE;
	return 0;
}

static int run_change(const struct cli_syntax *syntax, int verb, int argc, char **argv)
{
	struct change c = {.verb = verb};
	int status = cli_options(syntax, argc, argv, NULL);

	if (status != CLI_GO_ON)
		return status;
	c.word = argv[optind];
	return change_registry(change_service, &c);
}

#define CHANGE_SYNTAX(verb, what)                                                                  \
	{                                                                                          \
		.command = "service " verb, .min = 1, .max = 1, .arguments = "the SERVICE",        \
		.help = "Usage: partita service " verb " SERVICE\n"                                \
			"\n" what "\n"                                                             \
			"SERVICE is a GUID, vsock:PORT, or the service's name. Connections that "  \
			"stand stay.\n"                                                            \
			"\n"                                                                       \
			"  --help  this help\n"                                                    \
	}

int cli_service_unregister(int argc, char **argv)
{
	static const struct cli_syntax syntax =
		CHANGE_SYNTAX("unregister", "Forget a service: guests cannot reach it any more.");

	return run_change(&syntax, UNREGISTER, argc, argv);
}

int cli_service_enable(int argc, char **argv)
{
	static const struct cli_syntax syntax = CHANGE_SYNTAX("enable", "Let a service be used.");

	return run_change(&syntax, ENABLE, argc, argv);
}

int cli_service_disable(int argc, char **argv)
{
	static const struct cli_syntax syntax = CHANGE_SYNTAX(
		"disable", "Let nobody use a service, neither guests nor host programs.");

	return run_change(&syntax, DISABLE, argc, argv);
}
