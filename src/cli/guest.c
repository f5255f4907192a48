/*
 * guest.c - partita guest: what a machine's guest can be asked for through its integration
 * services. See partita-guest(1). The machine does it: worker/services.h.
 */
#include "cli/guest.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "cli/disk.h"

struct json_object *cli_guest_request(const char *command)
{
	struct json_object *request = json_object_new_object();

	cli_guest_add_string(request, "command", command);
	return request;
}

void cli_guest_add_string(struct json_object *request, const char *name, const char *value)
{
	json_object_object_add(request, name, json_object_new_string(value));
}

const char *cli_guest_string(const struct json_object *o, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(o, name, &value) ? json_object_get_string(value) : "";
}

struct json_object *cli_guest_ask(const char *machine, struct json_object *request)
{
	struct json_object *reply = cli_machine_ask(machine, request, NULL, 0);

	json_object_put(request);
	return reply;
}

int cli_guest_end(struct json_object *reply, bool json)
{
	int status = reply ? 0 : CLI_FAILURE;

	if (reply && json)
		cli_print_json(reply);
	else
		json_object_put(reply);
	return status;
}

struct arguments {
	bool json, force, hibernate, sample;
};

static const struct cli_option only_json[] = {
	CLI_FLAG("json", json),
	{0},
};

/* The options of a command for a machine, and with @service for one of its services. */
static int read_flags(const char *command, const char *help, const struct cli_option *options,
	bool service, int argc, char **argv, struct arguments *a)
{
	const struct cli_syntax syntax = {.command = command,
		.help = help,
		.options = options,
		.min = service ? 2 : 1,
		.max = service ? 2 : 1,
		.arguments = service ? "the machine and a SERVICE" : "the machine"};

	return cli_options(&syntax, argc, argv, a);
}

/* ---- heartbeat ------------------------------------------------------------------------------ */

static const char heartbeat_help[] =
	"Usage: partita guest VM heartbeat [--json]\n"
	"\n"
	"Tell whether the guest is alive: 'ok' with what it says of its applications, 'lost' when "
	"it has\n"
	"not answered for ten seconds, 'no contact' when it never has. The exit status is 0 for "
	"'ok'.\n"
	"\n"
	"  --json   an object with status, applications, since (seconds since 1970), sequence\n"
	"  --help   this help\n";

static int heartbeat(int argc, char **argv)
{
	struct arguments a = {0};
	int status =
		read_flags("guest VM heartbeat", heartbeat_help, only_json, false, argc, argv, &a);
	struct json_object *reply, *value;
	char since[64] = "";
	const char *contact;
	time_t t;

	if (status != CLI_GO_ON)
		return status;
	reply = cli_guest_ask(argv[optind], cli_guest_request("heartbeat"));
	if (!reply)
		return CLI_FAILURE;
	contact = cli_guest_string(reply, "status");
	status = strcmp(contact, "ok") == 0 ? 0 : CLI_FAILURE;
	if (a.json)
		return cli_print_json(reply), status;
	if (json_object_object_get_ex(reply, "since", &value)) {
		t = json_object_get_int64(value);
		strftime(since, sizeof(since), " since %F %T", localtime(&t));
	}
	if (status == 0)
		printf("ok (applications %s)%s\n", cli_guest_string(reply, "applications"), since);
	else
		printf("%s%s\n", contact, since);
	json_object_put(reply);
	return status;
}

/* ---- time ----------------------------------------------------------------------------------- */

static const char time_help[] =
	"Usage: partita guest VM time [--sample] [--json]\n"
	"\n"
	"Have the guest set its clock to the host's time now. It does so by itself when it starts, "
	"and when\n"
	"the two have moved apart.\n"
	"\n"
	"  --sample  only tell it the time, for a program that follows the host's (Linux: "
	"/dev/ptp_hyperv)\n"
	"  --json    {} on success\n"
	"  --help    this help\n";

static const struct cli_option time_options[] = {
	CLI_FLAG("json", json),
	CLI_FLAG("sample", sample),
	{0},
};

static int set_time(int argc, char **argv)
{
	struct arguments a = {0};
	int status = read_flags("guest VM time", time_help, time_options, false, argc, argv, &a);
	struct json_object *request;

	if (status != CLI_GO_ON)
		return status;
	request = cli_guest_request("set-time");
	json_object_object_add(request, "sample", json_object_new_boolean(a.sample));
	return cli_guest_end(cli_guest_ask(argv[optind], request), a.json);
}

/* ---- shutdown, reboot ----------------------------------------------------------------------- */

static const char shutdown_help[] =
	"Usage: partita guest VM shutdown [--force] [--hibernate] [--json]\n"
	"\n"
	"Ask the guest's system to shut down and power off; the command ends when it has agreed.\n"
	"\n"
	"  --force      do not let programs hold it up (Linux: always)\n"
	"  --hibernate  keep what runs, and go on after the next start\n"
	"  --json       {} on success\n"
	"  --help       this help\n";

static const char reboot_help[] =
	"Usage: partita guest VM reboot [--force] [--json]\n"
	"\n"
	"Ask the guest's system to start again; the command ends when it has agreed. The machine "
	"starts\n"
	"again when it was run with --restart; otherwise it ends.\n"
	"\n"
	"  --force      do not let programs hold it up (Linux: always)\n"
	"  --json       {} on success\n"
	"  --help       this help\n";

static const struct cli_option shutdown_options[] = {
	CLI_FLAG("json", json),
	CLI_FLAG("force", force),
	CLI_FLAG("hibernate", hibernate),
	{0},
};
static const struct cli_option reboot_options[] = {
	CLI_FLAG("json", json),
	CLI_FLAG("force", force),
	{0},
};

/* After its options were read. */
static int end_guest(int status, const struct arguments *a, const char *action, char **argv)
{
	struct json_object *request;

	if (status != CLI_GO_ON)
		return status;
	request = cli_guest_request("shutdown");
	cli_guest_add_string(request, "action", a->hibernate ? "hibernate" : action);
	json_object_object_add(request, "force", json_object_new_boolean(a->force));
	return cli_guest_end(cli_guest_ask(argv[optind], request), a->json);
}

static int shut_down(int argc, char **argv)
{
	struct arguments a = {0};
	int status = read_flags(
		"guest VM shutdown", shutdown_help, shutdown_options, false, argc, argv, &a);

	return end_guest(status, &a, "shutdown", argv);
}

static int reboot(int argc, char **argv)
{
	struct arguments a = {0};
	int status =
		read_flags("guest VM reboot", reboot_help, reboot_options, false, argc, argv, &a);

	return end_guest(status, &a, "reboot", argv);
}

/* ---- services, enable, disable -------------------------------------------------------------- */

static const char services_help[] =
	"Usage: partita guest VM services [--json]\n"
	"\n"
	"List the integration services: which are enabled, and how far each is. 'ready': the guest "
	"uses it;\n"
	"'closed': the guest has no driver for it; 'negotiating': its driver waits for a daemon;\n"
	"'refused': its driver knows none of the versions.\n"
	"\n"
	"  --json   an object with services, an array: name, enabled, state, version, framework\n"
	"  --help   this help\n";

static int services(int argc, char **argv)
{
	struct arguments a = {0};
	int status =
		read_flags("guest VM services", services_help, only_json, false, argc, argv, &a);
	struct json_object *reply, *list, *enabled;

	if (status != CLI_GO_ON)
		return status;
	reply = cli_guest_ask(argv[optind], cli_guest_request("services"));
	if (!reply || a.json || !json_object_object_get_ex(reply, "services", &list))
		return cli_guest_end(reply, a.json);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);

		json_object_object_get_ex(one, "enabled", &enabled);
		printf("%-10s %-12s %s\n", cli_guest_string(one, "name"),
			json_object_get_boolean(enabled) ? cli_guest_string(one, "state")
							 : "disabled",
			cli_guest_string(one, "version"));
	}
	json_object_put(reply);
	return 0;
}

/* After its options were read. */
static int change_service(int status, const struct arguments *a, const char *command, char **argv)
{
	struct json_object *request;

	if (status != CLI_GO_ON)
		return status;
	request = cli_guest_request(command);
	cli_guest_add_string(request, "service", argv[optind + 1]);
	return cli_guest_end(cli_guest_ask(argv[optind], request), a->json);
}

static const char enable_help[] =
	"Usage: partita guest VM enable SERVICE [--json]\n"
	"\n"
	"Offer the guest an integration service that it has not; 'partita guest VM services' lists "
	"them.\n";

static const char disable_help[] = "Usage: partita guest VM disable SERVICE [--json]\n"
				   "\n"
				   "Take an integration service away from the guest; 'partita "
				   "guest VM services' lists them.\n";

static int enable(int argc, char **argv)
{
	struct arguments a = {0};
	int status = read_flags("guest VM enable", enable_help, only_json, true, argc, argv, &a);

	return change_service(status, &a, "enable-service", argv);
}

static int disable(int argc, char **argv)
{
	struct arguments a = {0};
	int status = read_flags("guest VM disable", disable_help, only_json, true, argc, argv, &a);

	return change_service(status, &a, "disable-service", argv);
}

/* ---- The table ------------------------------------------------------------------------------ */

static const struct cli_command commands[] = {
	{"heartbeat", "whether the guest is alive", heartbeat},
	{"time", "have the guest set its clock", set_time},
	{"shutdown", "shut the guest down", shut_down},
	{"reboot", "start the guest again", reboot},
	{"kvp", "read and change the items that host and guest leave for each other",
		cli_guest_kvp},
	{"ip", "show and change the guest's addresses", cli_guest_ip},
	{"freeze", "hold the guest's file systems still", cli_guest_freeze},
	{"thaw", "let them go on", cli_guest_thaw},
	{"copy-file", "copy a file into the guest", cli_guest_copy_file},
	{"services", "list the integration services", services},
	{"enable", "offer the guest a service", enable},
	{"disable", "take a service away from the guest", disable},
	{0},
};

int cli_guest(int argc, char **argv)
{
	static const char intro[] = "Ask the guest of the machine VM, which runs, for something.";
	char *machine;

	/* The machine's name comes before the command; commands have it as their first argument. */
	if (argc >= 3) {
		machine = argv[1];
		argv[1] = argv[2];
		argv[2] = machine;
	} else if (argc == 2 && argv[1][0] != '-') {
		log_error("what shall the guest of '%s' do? 'partita guest --help' lists commands",
			argv[1]);
		return CLI_USAGE_ERROR;
	}
	return cli_choose(commands, "partita guest VM", intro, argc, argv);
}
