/*
 * run_sockets.h - the options of partita run about who the machine is to Hyper-V sockets, and what
 * is made for that while the process still may: places to listen at, and a broker.
 */
#ifndef PARTITA_CLI_RUN_SOCKETS_H
#define PARTITA_CLI_RUN_SOCKETS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "hvsocket/address.h"
#include "hvsocket/broker.h"

struct worker_config;

struct run_sockets {
	GUID id;
	bool id_given;
	uint32_t cid;	    /* 0: any */
	const char *hybrid; /* NULL: none */

	struct broker_config broker;
	char machine_path[PATH_MAX], cid_path[PATH_MAX], entry_path[PATH_MAX];
	char *paths[5]; /* what is there of these, and the hybrid form's */
};

/*
 * Take the value of --id and --cid into struct run_sockets. False: what is wrong with it was said.
 */
bool run_sockets_id(const char *option, const char *value, void *sockets);
bool run_sockets_cid(const char *option, const char *value, void *sockets);

/*
 * run_sockets_open - choose what was not given, listen, and start the broker, into @config, which
 * has the machine's name. What was not asked for the machine can do without, where the user has no
 * directory for it. False: what is wrong was said.
 */
bool run_sockets_open(struct run_sockets *s, struct worker_config *config);

#endif
