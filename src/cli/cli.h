/*
 * cli.h - the commands of partita(1). Each takes its arguments from its own name on, and returns
 * the exit status.
 */
#ifndef PARTITA_CLI_CLI_H
#define PARTITA_CLI_CLI_H

#include <stdint.h>

#define CLI_USAGE_ERROR 2

int cli_run(int argc, char **argv);

/*
 * cli_parse_size - a size with a unit, such as 512M or 2G (K, M, G, T: powers of 1024).
 * Returns 0, or -EINVAL.
 */
int cli_parse_size(const char *text, uint64_t *bytes);
/* cli_parse_count - a decimal number without sign, up to @max. Returns 0, or -EINVAL. */
int cli_parse_count(const char *text, uint64_t max, uint64_t *count);

#endif
