/*
 * options.c - what all commands have in common: finding the command that is meant, reading its
 * options, and saying in one line what is wrong with them. See cli.h.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define OPTIONS_MAX 32

/* What getopt_long() returns for them; an option of the command's own is its place in the table. */
enum { OPTION_HELP = 256, OPTION_FIRST };

/* A command's options, in the words of getopt_long(). */
struct words {
	struct option names[OPTIONS_MAX];
	char letters[2 * OPTIONS_MAX];
};

static void put_into_words(const struct cli_option *options, struct words *words)
{
	char *letter = words->letters;
	unsigned n = 0;

	for (const struct cli_option *o = options; o && o->name && n < OPTIONS_MAX - 2; o++, n++) {
		words->names[n] = (struct option){o->name,
			o->take ? required_argument : no_argument, NULL, OPTION_FIRST + (int)n};
		if (o->letter)
			*letter++ = o->letter;
		if (o->letter && o->take)
			*letter++ = ':';
	}
	words->names[n] = (struct option){"help", no_argument, NULL, OPTION_HELP};
}

/* The argument that getopt_long() refused. */
static void report_option(
	const struct cli_syntax *syntax, const struct option *options, char **argv)
{
	const char *argument = argv[optind - 1];
	const size_t length = strcspn(argument, "=");

	if (optopt > 0 && optopt < OPTION_HELP) { /* one letter, maybe of several */
		log_error("-%c: no such option; see 'partita %s --help'", optopt, syntax->command);
		return;
	}
	for (const struct option *o = options; o->name; o++)
		if (strlen(o->name) + 2 == length &&
			strncmp(argument + 2, o->name, length - 2) == 0) {
			log_error("%.*s %s; see 'partita %s --help'", (int)length, argument,
				o->has_arg ? "needs a value" : "takes no value", syntax->command);
			return;
		}
	log_error("%s: no such option; see 'partita %s --help'", argument, syntax->command);
}

bool cli_take_string(const char *option, const char *value, void *field)
{
	*(const char **)field = value;
	return true;
}

static bool take_option(const struct cli_option *o, const char *value, void *arguments)
{
	void *field = (char *)arguments + o->field;
	char name[64];

	if (!o->take)
		return *(bool *)field = true;
	snprintf(name, sizeof(name), "--%s", o->name);
	return o->take(name, value, field);
}

static const struct cli_option *find_option(const struct cli_option *options, int code)
{
	const struct cli_option *o = options;

	if (code >= OPTION_FIRST)
		return options + (code - OPTION_FIRST);
	while (o->letter != code)
		o++;
	return o;
}

static int take_options(const struct cli_syntax *syntax, int argc, char **argv, void *arguments)
{
	struct words words = {0};
	int code;

	put_into_words(syntax->options, &words);
	opterr = 0;
	optind = 1;
	while ((code = getopt_long(argc, argv, words.letters, words.names, NULL)) != -1) {
		if (code == OPTION_HELP) {
			fputs(syntax->help, stdout);
			return 0;
		}
		if (code == '?') {
			report_option(syntax, words.names, argv);
			return CLI_USAGE_ERROR;
		}
		if (!take_option(find_option(syntax->options, code), optarg, arguments))
			return CLI_USAGE_ERROR;
	}
	return CLI_GO_ON;
}

int cli_options(const struct cli_syntax *syntax, int argc, char **argv, void *arguments)
{
	unsigned given;
	int status = take_options(syntax, argc, argv, arguments);

	if (status != CLI_GO_ON)
		return status;
	given = argc - optind;
	if (given > syntax->max) {
		log_error("%s: unexpected argument; see 'partita %s --help'",
			argv[optind + syntax->max], syntax->command);
		return CLI_USAGE_ERROR;
	}
	if (given < syntax->min) {
		log_error("%s: name %s; see 'partita %s --help'", syntax->command,
			syntax->arguments, syntax->command);
		return CLI_USAGE_ERROR;
	}
	return CLI_GO_ON;
}

bool cli_take_number(
	const char *option, const char *text, unsigned min, unsigned max, unsigned *number)
{
	uint64_t value;

	if (cli_parse_count(text, max, &value) || value < min) {
		log_error("%s %s: give a number from %u to %u", option, text, min, max);
		return false;
	}
	*number = (unsigned)value;
	return true;
}

static int show_commands(const struct cli_command *commands, const char *word, const char *intro)
{
	printf("Usage: %s COMMAND [ARGUMENT]...\n\n%s\n\nCommands:\n", word, intro);
	for (const struct cli_command *c = commands; c->name; c++)
		printf("  %-11s %s\n", c->name, c->summary);
	printf("  %-11s this help; '%s COMMAND --help' tells of a command\n", "--help", word);
	return 0;
}

/* "help COMMAND..." is "COMMAND... --help". */
static void turn_help(int argc, char **argv)
{
	static char option[] = "--help";

	if (argc < 3 || strcmp(argv[1], "help") != 0)
		return;
	memmove(&argv[1], &argv[2], (argc - 2) * sizeof(argv[0]));
	argv[argc - 1] = option;
}

int cli_choose(const struct cli_command *commands, const char *word, const char *intro, int argc,
	char **argv)
{
	static const char *const help[] = {"--help", "-h", "help"};

	turn_help(argc, argv);
	if (argc < 2) {
		log_error("no command given; '%s --help' lists them", word);
		return CLI_USAGE_ERROR;
	}
	for (const struct cli_command *c = commands; c->name; c++)
		if (strcmp(argv[1], c->name) == 0)
			return c->run(argc - 1, argv + 1);
	for (size_t i = 0; i < sizeof(help) / sizeof(help[0]); i++)
		if (strcmp(argv[1], help[i]) == 0)
			return show_commands(commands, word, intro);
	log_error("'%s' is not a command; '%s --help' lists them", argv[1], word);
	return CLI_USAGE_ERROR;
}
