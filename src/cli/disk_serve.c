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

enum option_code { OPT_SOCKET = CLI_OPTION, OPT_READ_ONLY, OPT_NAME, OPT_FORMAT };

static const struct option options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"read-only", no_argument, NULL, OPT_READ_ONLY},
	{"name", required_argument, NULL, OPT_NAME},
	{"format", required_argument, NULL, OPT_FORMAT},
	{0},
};

struct arguments {
	const char *socket, *name;
	bool read_only;
	enum disk_format format;
};

static bool take_name(struct arguments *a, const char *value)
{
	a->name = value;
	if (strlen(value) <= NBD_MAX_STRING)
		return true;
	log_error("--name: a name has at most %u bytes", NBD_MAX_STRING);
	return false;
}

static bool take(void *ctx, int code, const char *value)
{
	struct arguments *a = ctx;

	switch (code) {
	case OPT_SOCKET:
		a->socket = value;
		return true;
	case OPT_READ_ONLY:
		return a->read_only = true;
	case OPT_NAME:
		return take_name(a, value);
	default:
		return cli_parse_format("--format", value, &a->format);
	}
}

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
	.take = take,
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
