/*
 * guest_freeze.c - partita guest VM freeze and thaw: file systems of the guest that hold still
 * while something is done with its disks. See partita-guest(1).
 */
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/disk.h"
#include "cli/guest.h"

static const char freeze_help[] =
	"Usage: partita guest VM freeze [--limit SECONDS] [--json]\n"
	"       partita guest VM freeze [--limit SECONDS] [--json] -- COMMAND [ARGUMENT]...\n"
	"       partita guest VM freeze --check [--json]\n"
	"\n"
	"Have the guest write out its file systems and hold them still: whoever writes to them "
	"waits. With\n"
	"a COMMAND, run it meanwhile, and thaw when it has ended, however that was; the exit "
	"status "
	"is the\n"
	"command's. Without, thaw with 'partita guest VM thaw'; by itself it thaws after a "
	"minute.\n"
	"\n"
	"  --limit SECONDS  thaw after so long, 1 to 900, whatever happens (default 60; with a "
	"COMMAND, when\n"
	"                   it has ended)\n"
	"  --check          only ask the guest whether it could be frozen\n"
	"  --json           {} on success; with a COMMAND an object with its status\n"
	"  --help           this help\n";

struct arguments {
	bool json, check;
	unsigned limit; /* 0: not given */
	const char *machine;
	char **command; /* NULL: none */
	int status;	/* the command's; -1: it was not run */
	bool thawed;
};

static bool take_limit(const char *option, const char *value, void *seconds)
{
	return cli_take_number(option, value, 1, 900, seconds);
}

static const struct cli_option freeze_options[] = {
	CLI_FLAG("json", json),
	CLI_VALUE("limit", limit, unsigned, take_limit),
	CLI_FLAG("check", check),
	{0},
};

static const struct cli_option thaw_options[] = {
	CLI_FLAG("json", json),
	{0},
};

/* As a shell has it: 128 and the signal, 127 where there is no such command. */
static int run_command(char **command)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, interrupt, quit;
	int status = 127 << 8;
	pid_t parent = getpid(), child;

	/* What is typed at a terminal is for the command; the thaw comes in any case. */
	sigaction(SIGINT, &ignore, &interrupt);
	sigaction(SIGQUIT, &ignore, &quit);
	child = fork();
	if (child == 0) {
		/* When we are killed the guest thaws, and what it copies would not be whole. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(128 + SIGTERM);
		sigaction(SIGINT, &interrupt, NULL);
		sigaction(SIGQUIT, &quit, NULL);
		execvp(command[0], command);
		log_error("cannot run %s: %s", command[0], strerror(errno));
		_exit(127);
	}
	if (child < 0)
		log_error("cannot run %s: %s", command[0], strerror(errno));
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	sigaction(SIGINT, &interrupt, NULL);
	sigaction(SIGQUIT, &quit, NULL);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool thaw_guest(const char *machine)
{
	struct json_object *reply = cli_guest_ask(machine, cli_guest_request("thaw"));
	bool thawed = reply;

	json_object_put(reply);
	return thawed;
}

/* The guest is frozen. The reply to the freeze comes after the thaw. */
static bool frozen(void *ctx, struct json_object *progress)
{
	struct arguments *f = ctx;

	fflush(stdout);
	f->status = run_command(f->command);
	f->thawed = thaw_guest(f->machine);
	return true;
}

/* Sends the request, which is put. */
static int freeze_around(struct arguments *f, struct json_object *request)
{
	struct json_object *reply, *shown;
	bool heard;

	f->status = -1;
	json_object_object_add(request, "hold", json_object_new_boolean(true));
	reply = cli_machine_hear(f->machine, request, NULL, 0, frozen, f);
	json_object_put(request);
	heard = reply;
	json_object_put(reply);
	if (f->status < 0 || !heard || !f->thawed)
		return f->status > 0 ? f->status : CLI_FAILURE;
	if (f->json) {
		shown = json_object_new_object();
		json_object_object_add(shown, "status", json_object_new_int(f->status));
		cli_print_json(shown);
	}
	return f->status;
}

int cli_guest_freeze(int argc, char **argv)
{
	static const struct cli_syntax syntax = {.command = "guest VM freeze",
		.help = freeze_help,
		.options = freeze_options,
		.min = 1,
		.max = 4096,
		.arguments = "the machine"};
	struct arguments f = {0};
	int status = cli_options(&syntax, argc, argv, &f);
	struct json_object *request;

	if (status != CLI_GO_ON)
		return status;
	f.machine = argv[optind];
	f.command = argc - optind > 1 ? argv + optind + 1 : NULL;
	if (f.check && (f.command || f.limit)) {
		log_error("freeze --check freezes nothing: give it alone");
		return CLI_USAGE_ERROR;
	}
	request = cli_guest_request(f.check ? "check-backup" : "freeze");
	if (f.limit)
		json_object_object_add(request, "limit", json_object_new_int((int)f.limit));
	return f.command ? freeze_around(&f, request)
			 : cli_guest_end(cli_guest_ask(f.machine, request), f.json);
}

static const char thaw_help[] =
	"Usage: partita guest VM thaw [--json]\n"
	"\n"
	"Let the guest that was frozen write to its file systems again. A 'freeze' with a command "
	"that\n"
	"waits elsewhere learns of it.\n"
	"\n"
	"  --json   {} on success\n"
	"  --help   this help\n";

int cli_guest_thaw(int argc, char **argv)
{
	static const struct cli_syntax syntax = {.command = "guest VM thaw",
		.help = thaw_help,
		.options = thaw_options,
		.min = 1,
		.max = 1,
		.arguments = "the machine"};
	struct arguments f = {0};
	int status = cli_options(&syntax, argc, argv, &f);

	if (status != CLI_GO_ON)
		return status;
	if (!thaw_guest(argv[optind]))
		return CLI_FAILURE;
	return cli_guest_end(json_object_new_object(), f.json);
}
