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

/* Each of these takes the value of an option, or says what is wrong and returns false. */

static bool take_memory(const char *option, const char *text, void *memory)
{
	uint64_t *bytes = memory;
	struct sysinfo host;

	if (cli_parse_size(text, bytes)) {
		log_error("%s %s: give a number and a unit, such as 512M or 2G", option, text);
		return false;
	}
	if (*bytes < WORKER_MIN_MEMORY || *bytes % WORKER_MEMORY_STEP) {
		log_error("%s %s: a machine has at least %uM, in steps of %uK", option, text,
			WORKER_MIN_MEMORY >> 20, WORKER_MEMORY_STEP >> 10);
		return false;
	}
	if (sysinfo(&host) == 0 && *bytes / host.mem_unit > host.totalram) {
		log_error("%s %s: this host has only %lluM", option, text,
			(unsigned long long)host.totalram * host.mem_unit >> 20);
		return false;
	}
	return true;
}

static bool take_engine(const char *option, const char *text, void *chosen)
{
	enum worker_engine *engine = chosen;

	if (strcmp(text, "auto") == 0)
		*engine = WORKER_ENGINE_AUTO;
	else if (strcmp(text, "software") == 0)
		*engine = WORKER_ENGINE_SOFTWARE;
	else if (strcmp(text, "kvm") == 0)
		*engine = WORKER_ENGINE_KVM;
	else {
		log_error("%s %s: there are auto, software and kvm", option, text);
		return false;
	}
	return true;
}

static bool take_serial(const char *option, const char *text, void *machine)
{
	struct worker_config *config = machine;
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
	log_error("%s %s: there are stdio, file:PATH and unix:PATH", option, text);
	return false;
}

static bool take_disabled_service(const char *option, const char *name, void *disabled)
{
	for (unsigned i = 0; i < WORKER_SERVICES; i++)
		if (strcmp(name, worker_service_names[i]) == 0) {
			*(unsigned *)disabled |= 1u << i;
			return true;
		}
	log_error("%s %s: there is no such service; 'partita run --help' names them", option, name);
	return false;
}

static bool take_processors(const char *option, const char *text, void *n)
{
	return cli_take_number(option, text, 1, WORKER_MAX_PROCESSORS, n);
}

struct arguments {
	struct worker_config config;
	struct run_disks disks;
	const char *stats;
	struct run_sockets sockets;
	bool verbose;
};

static const struct cli_option options[] = {
	CLI_STRING("kernel", config.kernel_path),
	CLI_STRING("initrd", config.initrd_path),
	CLI_STRING("cmdline", config.cmdline),
	CLI_VALUE("disk", disks, struct run_disks, run_disks_add),
	CLI_VALUE("dvd", disks, struct run_disks, run_disks_add_dvd),
	CLI_VALUE("memory", config.memory, uint64_t, take_memory),
	CLI_VALUE("processors", config.processors, unsigned, take_processors),
	CLI_VALUE("serial", config, struct worker_config, take_serial),
	CLI_VALUE("engine", config.engine, enum worker_engine, take_engine),
	CLI_FLAG("restart", config.restart),
	CLI_FLAG("invariant-tsc", config.invariant_tsc),
	CLI_VALUE("disable-service", config.disabled_services, unsigned, take_disabled_service),
	CLI_STRING("name", config.name),
	CLI_STRING("stats", stats),
	CLI_VALUE("id", sockets, struct run_sockets, run_sockets_id),
	CLI_VALUE("cid", sockets, struct run_sockets, run_sockets_cid),
	CLI_STRING("vsock", sockets.hybrid),
	CLI_FLAG("verbose", verbose),
	{0},
};

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
	log_set_verbose(arguments.verbose);
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
