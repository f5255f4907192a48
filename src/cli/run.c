/*
 * run.c - partita run: checks what the user asks for, opens what it names, and becomes the worker.
 *
 * Whatever is wrong is said in one line, before anything was started: see partita(1).
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/machine.h"
#include "cli/run_disks.h"
#include "cli/run_sockets.h"
#include "worker/worker.h"

static const char help[] =
	"Usage: partita run --kernel FILE [OPTION]...\n"
	"\n"
	"Run a machine in this terminal, until it powers off.\n"
	"\n"
	"  --kernel FILE       what to start: a Linux bzImage, an ELF kernel with a PVH note,\n"
	"                      or a Multiboot 1 kernel\n"
	"  --initrd FILE       initial RAM disk, or first Multiboot module\n"
	"  --cmdline TEXT      the kernel's command line; for Linux console=ttyS0 shows its "
	"console\n"
	"  --disk FILE[,ro][,controller=N][,lun=N]\n"
	"                      a disk of the guest: VHD, VHDX or raw, by its contents; may be "
	"given\n"
	"                      more than once (controllers 0 to 3, LUNs 0 to 63; default: the "
	"next\n"
	"                      LUN of controller 0)\n"
	"  --disk FILE[,ro],ide=C.L\n"
	"                      the same at location L (0 or 1) of IDE controller C (0 or 1), where "
	"it\n"
	"                      stays while the machine runs\n"
	"  --dvd FILE          an ISO image in a DVD drive, at the next LUN of controller 0\n"
	"  --memory SIZE       memory of the guest, with a unit: K, M, G or T (default 512M)\n"
	"  --processors N      virtual processors, 1 to 64 (default 1)\n"
	"  --serial stdio      COM1 is this terminal (the default): Ctrl-A h shows its keys\n"
	"  --serial file:PATH  COM1 is written to a file\n"
	"  --serial unix:PATH  COM1 is a socket, for one client at a time\n"
	"  --engine NAME       software, kvm, or auto (the default: software in this version)\n"
	"  --restart           when the guest resets the machine, start it again\n"
	"  --invariant-tsc     let the guest rely on its time-stamp counter\n"
	"  --disable-service NAME\n"
	"                      do not offer the guest an integration service; may be given more "
	"than "
	"once\n"
	"                      (heartbeat, timesync, shutdown, kvp, vss, fcopy)\n"
	"  --id GUID           the machine's ID, by which programs reach it (default: a new one)\n"
	"  --cid N             its vsock context, for programs that know those (default: the first "
	"that\n"
	"                      is free, from 3 on)\n"
	"  --vsock PATH        a Unix socket for connections to the guest, \"CONNECT PORT\" and "
	"the "
	"stream;\n"
	"                      the guest's connections to port N go to the socket PATH_N\n"
	"  --name NAME         what messages call the machine (default: the kernel's file name)\n"
	"  --stats FILE        write figures about the run to a file when it ends\n"
	"  --verbose           say more about what happens\n"
	"  --help              this help\n"
	"\n"
	"Exit status: 0 the guest powered off, or Ctrl-A x; 1 it reset without --restart, or "
	"crashed;\n"
	"2 nothing was started, because of what stderr says.\n";

enum option_code {
	OPT_KERNEL = CLI_OPTION,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_DISK,
	OPT_DVD,
	OPT_MEMORY,
	OPT_PROCESSORS,
	OPT_SERIAL,
	OPT_ENGINE,
	OPT_RESTART,
	OPT_INVARIANT_TSC,
	OPT_DISABLE_SERVICE,
	OPT_NAME,
	OPT_STATS,
	OPT_VSOCK,
	OPT_ID,
	OPT_CID,
	OPT_VERBOSE,
};

static const struct option options[] = {
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"cmdline", required_argument, NULL, OPT_CMDLINE},
	{"disk", required_argument, NULL, OPT_DISK},
	{"dvd", required_argument, NULL, OPT_DVD},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"processors", required_argument, NULL, OPT_PROCESSORS},
	{"serial", required_argument, NULL, OPT_SERIAL},
	{"engine", required_argument, NULL, OPT_ENGINE},
	{"restart", no_argument, NULL, OPT_RESTART},
	{"invariant-tsc", no_argument, NULL, OPT_INVARIANT_TSC},
	{"disable-service", required_argument, NULL, OPT_DISABLE_SERVICE},
	{"name", required_argument, NULL, OPT_NAME},
	{"stats", required_argument, NULL, OPT_STATS},
	{"id", required_argument, NULL, OPT_ID},
	{"cid", required_argument, NULL, OPT_CID},
	{"vsock", required_argument, NULL, OPT_VSOCK},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{0},
};

/* Each of these says what is wrong, and returns false. */

static bool parse_memory(const char *text, uint64_t *bytes)
{
	struct sysinfo host;

	if (cli_parse_size(text, bytes)) {
		log_error("--memory %s: give a number and a unit, such as 512M or 2G", text);
		return false;
	}
	if (*bytes < WORKER_MIN_MEMORY || *bytes % WORKER_MEMORY_STEP) {
		log_error("--memory %s: a machine has at least %uM, in steps of %uK", text,
			WORKER_MIN_MEMORY >> 20, WORKER_MEMORY_STEP >> 10);
		return false;
	}
	if (sysinfo(&host) == 0 && *bytes / host.mem_unit > host.totalram) {
		log_error("--memory %s: this host has only %lluM", text,
			(unsigned long long)host.totalram * host.mem_unit >> 20);
		return false;
	}
	return true;
}

static bool parse_engine(const char *text, enum worker_engine *engine)
{
	if (strcmp(text, "auto") == 0)
		*engine = WORKER_ENGINE_AUTO;
	else if (strcmp(text, "software") == 0)
		*engine = WORKER_ENGINE_SOFTWARE;
	else if (strcmp(text, "kvm") == 0)
		*engine = WORKER_ENGINE_KVM;
	else {
		log_error("--engine %s: there are auto, software and kvm", text);
		return false;
	}
	return true;
}

static bool parse_serial(const char *text, struct worker_config *config)
{
	const char *path = strchr(text, ':');

	if (strcmp(text, "stdio") == 0) {
		config->serial = WORKER_SERIAL_STDIO;
		return true;
	}
	config->serial_path = path ? path + 1 : "";
	if (strncmp(text, "file:", 5) == 0)
		config->serial = WORKER_SERIAL_FILE;
	else if (strncmp(text, "unix:", 5) == 0)
		config->serial = WORKER_SERIAL_UNIX;
	else
		path = NULL;
	if (path && path[1])
		return true;
	log_error("--serial %s: there are stdio, file:PATH and unix:PATH", text);
	return false;
}

static bool disable_service(const char *name, unsigned *disabled)
{
	for (unsigned i = 0; i < WORKER_SERVICES; i++)
		if (strcmp(name, worker_service_names[i]) == 0) {
			*disabled |= 1u << i;
			return true;
		}
	log_error("--disable-service %s: there is no such service; 'partita run --help' names them",
		name);
	return false;
}

struct arguments {
	struct worker_config config;
	struct run_disks disks;
	const char *stats;
	struct run_sockets sockets;
};

static bool parse_option(void *ctx, int code, const char *value)
{
	struct arguments *arguments = ctx;
	struct worker_config *config = &arguments->config;

	switch (code) {
	case OPT_KERNEL:
		config->kernel_path = value;
		return true;
	case OPT_INITRD:
		config->initrd_path = value;
		return true;
	case OPT_CMDLINE:
		config->cmdline = value;
		return true;
	case OPT_DISK:
		return run_disks_add(&arguments->disks, value);
	case OPT_DVD:
		return run_disks_add_dvd(&arguments->disks, value);
	case OPT_MEMORY:
		return parse_memory(value, &config->memory);
	case OPT_PROCESSORS:
		return cli_take_number(
			"--processors", value, 1, WORKER_MAX_PROCESSORS, &config->processors);
	case OPT_SERIAL:
		return parse_serial(value, config);
	case OPT_ENGINE:
		return parse_engine(value, &config->engine);
	case OPT_RESTART:
		config->restart = true;
		return true;
	case OPT_INVARIANT_TSC:
		config->invariant_tsc = true;
		return true;
	case OPT_DISABLE_SERVICE:
		return disable_service(value, &config->disabled_services);
	case OPT_NAME:
		config->name = value;
		return true;
	case OPT_STATS:
		arguments->stats = value;
		return true;
	case OPT_VSOCK:
		arguments->sockets.hybrid = value;
		return true;
	case OPT_ID:
		return run_sockets_id(&arguments->sockets, value);
	case OPT_CID:
		return run_sockets_cid(&arguments->sockets, value);
	default:
		log_set_verbose(true);
		return true;
	}
}

static bool open_input(const char *what, const char *path, int *fd)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd >= 0 && fstat(*fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(*fd);
		*fd = -1;
		errno = EISDIR;
	}
	if (*fd >= 0)
		return true;
	log_error("cannot open the %s %s: %s", what, path, strerror(errno));
	return false;
}

static bool open_output(const char *what, const char *path, int *fd)
{
	*fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (*fd >= 0)
		return true;
	log_error("cannot write %s %s: %s; name a file that you may write", what, path,
		strerror(errno));
	return false;
}

static bool open_serial(struct worker_config *config)
{
	switch (config->serial) {
	case WORKER_SERIAL_FILE:
		return open_output("the serial output", config->serial_path, &config->serial_fd);
	case WORKER_SERIAL_UNIX:
		config->serial_fd = cli_listen("the serial socket", config->serial_path, 1);
		return config->serial_fd >= 0;
	default:
		return true;
	}
}

/* Outputs come last: they are made only for a machine whose input is there. */
static bool open_all(struct arguments *arguments)
{
	struct worker_config *config = &arguments->config;
	const char *stats = arguments->stats;

	return open_input("kernel", config->kernel_path, &config->kernel_fd) &&
	       (!config->initrd_path ||
		       open_input("initrd", config->initrd_path, &config->initrd_fd)) &&
	       run_disks_open(&arguments->disks, config) &&
	       (!stats || open_output("the figures to", stats, &config->stats_fd)) &&
	       open_serial(config);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static const struct cli_syntax syntax = {
	.command = "run",
	.help = help,
	.options = options,
	.take = parse_option,
};

int cli_run(int argc, char **argv)
{
	struct arguments arguments = {
		.config =
			{
				.kernel_fd = -1,
				.initrd_fd = -1,
				.memory = 512ull << 20,
				.processors = 1,
				.serial_fd = -1,
				.stats_fd = -1,
				.socket_fds = {-1, -1},
				.broker_fd = -1,
			},
	};
	struct worker_config *config = &arguments.config;
	int status = cli_options(&syntax, argc, argv, &arguments);
	struct utsname host = {0};
	bool named;

	if (status != CLI_GO_ON)
		return status;
	if (!config->kernel_path) {
		log_error("nothing to start: give --kernel FILE");
		return CLI_USAGE_ERROR;
	}
	uname(&host);
	config->host_name = host.nodename;
	named = config->name;
	if (!named)
		config->name = base_name(config->kernel_path);
	if (!open_all(&arguments))
		return CLI_USAGE_ERROR;
	config->control_fd = cli_machine_listen(config->name, named);
	if ((named && config->control_fd < 0) || !run_sockets_open(&arguments.sockets, config))
		return CLI_USAGE_ERROR;
	return worker_run(config);
}
