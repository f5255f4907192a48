/*
 * cli.h - the commands of partita(1). Each takes its arguments from its own name on, and returns
 * the exit status.
 */
#ifndef PARTITA_CLI_CLI_H
#define PARTITA_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#define CLI_FAILURE	1
#define CLI_USAGE_ERROR 2

int cli_run(int argc, char **argv);
int cli_copy(int argc, char **argv);
int cli_service(int argc, char **argv);
int cli_disk(int argc, char **argv);
int cli_guest(int argc, char **argv);
int cli_list(int argc, char **argv);
int cli_enter(int argc, char **argv);
int cli_exec(int argc, char **argv);
int cli_host_key(int argc, char **argv);

/* What a command understands on its command line. */
struct cli_syntax {
	const char *command; /* as messages name it: "disk create" */
	const char *help;
	const struct option *options; /* --help is added; codes are CLI_OPTION and up */
	const char *letters;	      /* as getopt(3): their codes are the letters; NULL: none */
	unsigned min, max;	      /* arguments beside the options */
	const char *arguments;	      /* what those are, for messages: "SOURCE and TARGET" */
	/* take - an option with its value; says what is wrong and returns false. */
	bool (*take)(void *ctx, int code, const char *value);
};

#define CLI_OPTION 256
#define CLI_GO_ON  (-1)
/*
 * cli_options - read the command line: takes options in any place, answers --help, and says what is
 * wrong. Returns CLI_GO_ON (the arguments are then argv[optind] to argv[argc - 1]), or the exit
 * status.
 */
int cli_options(const struct cli_syntax *syntax, int argc, char **argv, void *ctx);

/* A command, and the table of those below one word, which ends with a command without a name. */
struct cli_command {
	const char *name, *summary;
	int (*run)(int argc, char **argv);
};

/*
 * cli_choose - run the command that argv[1] names. @word: what comes before it ("partita disk"),
 * @intro: the help's text ahead of the list of commands.
 */
int cli_choose(const struct cli_command *commands, const char *word, const char *intro, int argc,
	char **argv);

/*
 * cli_listen - a socket that listens at @path, in place of one that a process left behind. @what
 * names it for messages: "the serial socket". The descriptor; -1: said why there is none.
 */
int cli_listen(const char *what, const char *path, int backlog);

/*
 * cli_parse_size - a size with a unit, such as 512M or 2G (K, M, G, T, P: powers of 1024).
 * Returns 0, or -EINVAL.
 */
int cli_parse_size(const char *text, uint64_t *bytes);
/*
 * cli_parse_bytes - as people write disk sizes: 10G, 1.5T, 512MB, 64MiB, or plain bytes. Units are
 * powers of 1024 (K, M, G, T, P); what a fraction leaves below 4 KiB is cut off. Returns 0, or
 * -EINVAL.
 */
int cli_parse_bytes(const char *text, uint64_t *bytes);
/* cli_parse_count - a decimal number without sign, up to @max. Returns 0, or -EINVAL. */
int cli_parse_count(const char *text, uint64_t max, uint64_t *count);
/* cli_take_number - likewise, from @min on; otherwise what to give @option is said. */
bool cli_take_number(
	const char *option, const char *text, unsigned min, unsigned max, unsigned *number);

#endif
