/*
 * service.h - the commands of partita service (partita-service(1)), which work on the registry of
 * services (hvsocket/services.h).
 */
#ifndef PARTITA_CLI_SERVICE_H
#define PARTITA_CLI_SERVICE_H

#include "cli/cli.h"
#include "hvsocket/services.h"

int cli_service_register(int argc, char **argv);
int cli_service_unregister(int argc, char **argv);
int cli_service_enable(int argc, char **argv);
int cli_service_disable(int argc, char **argv);

/*
 * cli_service_find - the service of @list that a person calls @word: its GUID, "vsock:PORT", or its
 * friendly name. NULL: said why.
 */
struct service *cli_service_find(const struct service_list *list, const char *word);

/* cli_service_path - of the registry, the caller's; NULL: said why. */
char *cli_service_path(void);

#endif
