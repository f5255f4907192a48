/*
 * guest.h - the commands of partita guest(1), and what they share. A command gets the machine's
 * name as its first argument: "partita guest VM COMMAND ..." is turned around for that.
 */
#ifndef PARTITA_CLI_GUEST_H
#define PARTITA_CLI_GUEST_H

#include "cli/cli.h"
#include "cli/machine.h"

struct json_object;

/* A request with a command and nothing else yet. */
struct json_object *cli_guest_request(const char *command);
void cli_guest_add_string(struct json_object *request, const char *name, const char *value);
/* The string, or "" if there is none of that name. */
const char *cli_guest_string(const struct json_object *o, const char *name);
/* Sends the request, which is put, as cli_machine_ask() does. */
struct json_object *cli_guest_ask(const char *machine, struct json_object *request);
/*
 * cli_guest_end - put the reply, NULL for a failure, of a command that says nothing on success but
 * {} with --json. Returns the exit status.
 */
int cli_guest_end(struct json_object *reply, bool json);

int cli_guest_kvp(int argc, char **argv);
int cli_guest_ip(int argc, char **argv);
int cli_guest_freeze(int argc, char **argv);
int cli_guest_thaw(int argc, char **argv);
int cli_guest_copy_file(int argc, char **argv);

#endif
