/*
 * main.c - the partita command: finds the command that is meant.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"

static const char help[] = "Usage: partita COMMAND [ARGUMENT]...\n"
			   "\n"
			   "Partita runs machines that were built for Microsoft Hyper-V.\n"
			   "\n"
			   "Commands:\n"
			   "  run        run a machine in this terminal\n"
			   "\n"
			   "Options:\n"
			   "  --help     this help; 'partita COMMAND --help' tells of a command\n"
			   "  --version  which version this is\n";

static int show_help(int argc, char **argv)
{
	fputs(help, stdout);
	return 0;
}

static int show_version(int argc, char **argv)
{
	puts("partita " PARTITA_VERSION);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", cli_run},
	{"help", show_help},
	{"--help", show_help},
	{"-h", show_help},
	{"--version", show_version},
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
	if (argc < 2) {
		log_error("no command given; 'partita --help' lists them");
		return CLI_USAGE_ERROR;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	log_error("'%s' is not a command; 'partita --help' lists them", argv[1]);
	return CLI_USAGE_ERROR;
}
