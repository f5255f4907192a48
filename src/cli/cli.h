/*
 * cli.h - the commands of partita(1). Each takes its arguments from its own name on, and returns
 * the exit status.
 */
#ifndef PARTITA_CLI_CLI_H
#define PARTITA_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
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

/*
 * An option of a command, and where its value goes: into a field of the file's struct arguments.
 * Made by one of the macros below; a table of them ends with one that has no name.
 */
struct cli_option {
	const char *name;
	char letter; /* that means the same; 0: none */
	size_t field;
	/*
	 * take - put the value into @field, or say what is wrong with it and return false; @option
	 * is the name for that, as the user writes it ("--size"). NULL: the option has no value,
	 * and the field is a bool that becomes true.
	 */
	bool (*take)(const char *option, const char *value, void *field);
};

/* clang-format off */
/* Where @field is in struct arguments; the compiler refuses it if it is no @type. */
#define CLI_FIELD(field, type)                                                                     \
	(offsetof(struct arguments, field) +                                                       \
		0 * sizeof((type *){0} == &((struct arguments *)0)->field))
/* --name: a bool becomes true. With -letter for short. */
#define CLI_FLAG(name, field)		{name, 0, CLI_FIELD(field, bool), NULL}
#define CLI_LETTER(letter, name, field) {name, letter, CLI_FIELD(field, bool), NULL}
/* --name VALUE: a const char * points to it; a field of another type takes it; all of them do. */
#define CLI_STRING(name, field)		CLI_VALUE(name, field, const char *, cli_take_string)
#define CLI_VALUE(name, field, type, take) {name, 0, CLI_FIELD(field, type), take}
#define CLI_TAKE(name, take)		{name, 0, 0, take}
/* clang-format on */

bool cli_take_string(const char *option, const char *value, void *field);

/* What a command understands on its command line. */
struct cli_syntax {
	const char *command; /* as messages name it: "disk create" */
	const char *help;
	const struct cli_option *options; /* --help is added; NULL: no others */
	unsigned min, max;		  /* arguments beside the options */
	const char *arguments;		  /* what those are, for messages: "SOURCE and TARGET" */
};

#define CLI_GO_ON (-1)
/*
 * cli_options - read the command line into the caller's struct arguments: takes options in any
 * place, answers --help, and says what is wrong. Returns CLI_GO_ON (the arguments beside the
 * options are then argv[optind] to argv[argc - 1]), or the exit status.
 */
int cli_options(const struct cli_syntax *syntax, int argc, char **argv, void *arguments);

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
