/*
 * machine.h - machines that run, by their names: each listens at a socket NAME in
 * /run/partita/machines for root, in $XDG_RUNTIME_DIR/partita/machines for others.
 */
#ifndef PARTITA_CLI_MACHINE_H
#define PARTITA_CLI_MACHINE_H

#include <stdbool.h>

struct json_object;

/*
 * cli_machine_listen - the socket of a machine that is to run. With @must, what is wrong is said;
 * without, a machine that cannot have one (its name is taken, there is no directory) does without.
 * The descriptor; -1: none. The socket's file stays when the machine ends, and the next machine of
 * the name takes its place.
 */
int cli_machine_listen(const char *name, bool must);

/*
 * cli_machine_ask - send a request (worker/control.h) with descriptors to the machine @name, and
 * wait for its reply, which the caller puts (json_object_put). NULL: what is wrong was said, also
 * when it was the machine that refused.
 */
struct json_object *cli_machine_ask(
	const char *name, struct json_object *request, const int *fds, unsigned n_fds);

/*
 * cli_machine_hear - the same, for a request whose reply may have progress before it: hear(ctx,
 * line) is called for each such line, and may return false to end the request; then, as for
 * whatever fails, NULL is returned.
 */
struct json_object *cli_machine_hear(const char *name, struct json_object *request, const int *fds,
	unsigned n_fds, bool (*hear)(void *ctx, struct json_object *line), void *ctx);

#endif
