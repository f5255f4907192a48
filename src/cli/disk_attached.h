/*
 * disk_attached.h - partita disk attach --list.
 */
#ifndef PARTITA_CLI_DISK_ATTACHED_H
#define PARTITA_CLI_DISK_ATTACHED_H

#include <stdbool.h>

/* cli_list_attached - print what this user has attached. Returns the exit status. */
int cli_list_attached(bool json);

#endif
