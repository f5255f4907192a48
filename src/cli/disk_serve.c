/*
 * disk_serve.c - partita disk serve: lets clients of the NBD protocol use a disk, at a socket; see
 * partita-disk(1).
 */
#include "cli/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/nbd.h"
#include "disk/nbd_protocol.h"

static const char help[] =
	"Usage: partita disk serve FILE --socket PATH [OPTION]...\n"
	"\n"
	"Let clients of the NBD protocol, such as qemu, nbdcopy or nbd-client, use\n"
	"a disk, until a signal ends it. Who may write to the socket's file may\n"
	"use the disk.\n"
	"\n"
	"  --socket PATH    the Unix socket to listen at\n"
	"  --read-only      clients cannot write\n"
	"  --name NAME      a name that clients may ask for, beside none\n"
	"  --format FORMAT  vhdx, vhd or raw, instead of what the contents say\n"
	"  --help           this help\n";

struct arguments {
	const char *socket, *name;
	bool read_only;
	enum disk_format format;
};

static bool take_name(const char *option, const char *value, void *name)
{
	*(const char **)name = value;
	if (strlen(value) <= NBD_MAX_STRING)
		return true;
	log_error("%s: a name has at most %u bytes", option, NBD_MAX_STRING);
	return false;
}

static const struct cli_option options[] = {
	CLI_STRING("socket", socket),
	CLI_FLAG("read-only", read_only),
	CLI_VALUE("name", name, const char *, take_name),
	CLI_VALUE("format", format, enum disk_format, cli_parse_format),
	{0},
};

static int serve(struct cli_service *s, const struct arguments *a)
{
	const struct nbd_export export = {
		.engine = s->engine, .disk = s->disk, .name = a->name, .read_only = a->read_only};
	struct nbd_server *server;
	int listener = cli_listen("the NBD socket", a->socket, NBD_MAX_CLIENTS), err;

	if (listener < 0)
		return CLI_FAILURE;
	err = nbd_server_start(&export, listener, &server);
	if (err) {
		log_error("cannot serve: %s", strerror(-err));
	} else {
		cli_service_wait(s, -1);
		nbd_server_stop(server);
	}
	unlink(a->socket);
	close(listener);
	return err ? CLI_FAILURE : 0;
}

static const struct cli_syntax syntax = {
	.command = "disk serve",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE",
};

int cli_disk_serve(int argc, char **argv)
{
	struct arguments a = {.name = ""};
	struct cli_service service;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!a.socket) {
		log_error("disk serve: give --socket PATH, where clients connect");
		return CLI_USAGE_ERROR;
	}
	if (!cli_service_begin(&service, argv[optind], a.read_only, a.format))
		return CLI_FAILURE;
	return cli_service_end(&service, argv[optind], serve(&service, &a));
}
