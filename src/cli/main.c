/*
 * main.c - the partita command: finds the command that is meant.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

static const char intro[] =
	"Partita runs machines that were built for Microsoft Hyper-V, and works on "
	"their disks.";

static int show_version(int argc, char **argv)
{
	puts("partita " PARTITA_VERSION);
	return 0;
}

static const struct cli_command commands[] = {
	{"run", "run a machine in this terminal", cli_run},
	{"disk", "make, examine, change, convert and attach virtual disks", cli_disk},
	{"guest", "ask a machine's guest for something: its heartbeat, an end, a file", cli_guest},
	{"list", "list the machines that run", cli_list},
	{"copy", "files into a guest, or out of it", cli_copy},
	{"enter", "a login shell in a guest", cli_enter},
	{"exec", "run a command in a guest", cli_exec},
	{"service", "say which services of this host guests may reach", cli_service},
	{"host-key", "show the key by which guests know this host", cli_host_key},
	{"--version", "which version this is", show_version},
	{0},
};

/* A file that is opened must not become stdin, stdout or stderr because those were closed. */
static void open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	open_standard_descriptors();
	return cli_choose(commands, "partita", intro, argc, argv);
}
