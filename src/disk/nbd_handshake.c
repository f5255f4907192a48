/*
 * nbd_handshake.c - option haggling: what the client wants, and whether it can have it.
 *
 * A client sends one option and waits for its answer, so this goes step by step, with a deadline
 * over all: who connects and says nothing does not keep his place. Facts: "The NBD protocol",
 * chapter "Fixed newstyle negotiation" and "Option types".
 */
#include "disk/nbd_session.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HANDSHAKE_SECONDS 30
/* The longest option with sense in it: an export's name and a few queries. */
#define MAX_OPTION 65536u

struct haggle {
	const struct nbd_export *x;
	struct nbd_terms *terms;
	int fd, stop;
	struct timespec deadline;
	bool no_zeroes;
	uint32_t option; /* the one that is being answered */
	uint8_t *data;	 /* its data, MAX_OPTION bytes of room */
};

/* What is left of an option's data. */
struct cursor {
	const uint8_t *at;
	size_t left;
};

/* ---- Bytes in and out ------------------------------------------------------------------------ */

static int wait_for(struct haggle *h, short events)
{
	struct pollfd fds[2] = {{.fd = h->fd, .events = events}, {.fd = h->stop, .events = POLLIN}};
	struct timespec now;
	int64_t left;
	int n;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (h->deadline.tv_sec - now.tv_sec) * 1000 +
	       (h->deadline.tv_nsec - now.tv_nsec) / 1000000;
	n = left > 0 ? poll(fds, 2, left) : 0;
	if (n < 0 && errno != EINTR)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	return n > 0 && fds[1].revents ? -ESHUTDOWN : 0;
}

/* Returns 0; 1: the client hung up before the first byte. */
static int receive(struct haggle *h, void *to, size_t length)
{
	size_t got = 0;

	while (got < length) {
		ssize_t n = recv(h->fd, (uint8_t *)to + got, length - got, 0);
		int err;

		if (n > 0) {
			got += n;
			continue;
		}
		if (n == 0)
			return got ? -EPROTO : 1;
		if (errno == EINTR)
			continue;
		err = errno == EAGAIN ? wait_for(h, POLLIN) : -errno;
		if (err)
			return err;
	}
	return 0;
}

static int send_all(struct haggle *h, const void *from, size_t length)
{
	size_t sent = 0;

	while (sent < length) {
		ssize_t n = send(h->fd, (const uint8_t *)from + sent, length - sent, MSG_NOSIGNAL);
		int err;

		if (n >= 0) {
			sent += n;
			continue;
		}
		if (errno == EINTR)
			continue;
		err = errno == EAGAIN ? wait_for(h, POLLOUT) : -errno;
		if (err)
			return err;
	}
	return 0;
}

static int reply(struct haggle *h, uint32_t type, const void *data, uint32_t length)
{
	struct nbd_option_reply head = {
		.magic = htobe64(NBD_OPTION_REPLY_MAGIC),
		.option = htobe32(h->option),
		.type = htobe32(type),
		.length = htobe32(length),
	};
	int err = send_all(h, &head, sizeof(head));

	return err ? err : send_all(h, data, length);
}

/* An error with a sentence for the user. */
static int refuse(struct haggle *h, uint32_t type, const char *why)
{
	return reply(h, type, why, strlen(why));
}

/* ---- An option's data ------------------------------------------------------------------------ */

static bool take(struct cursor *c, void *to, uint32_t size)
{
	if (c->left < size)
		return false;
	memcpy(to, c->at, size);
	c->at += size;
	c->left -= size;
	return true;
}

static bool take_u16(struct cursor *c, uint16_t *value)
{
	if (!take(c, value, sizeof(*value)))
		return false;
	*value = be16toh(*value);
	return true;
}

static bool take_u32(struct cursor *c, uint32_t *value)
{
	if (!take(c, value, sizeof(*value)))
		return false;
	*value = be32toh(*value);
	return true;
}

/* A length, and so many bytes. */
static bool take_string(struct cursor *c, struct cursor *string)
{
	uint32_t length;

	if (!take_u32(c, &length) || length > c->left || length > NBD_MAX_STRING)
		return false;
	*string = (struct cursor){c->at, length};
	c->at += length;
	c->left -= length;
	return true;
}

static bool is(const struct cursor *string, const char *text)
{
	return string->left == strlen(text) && memcmp(string->at, text, string->left) == 0;
}

static bool is_export(const struct haggle *h, const struct cursor *name)
{
	return !name->left || is(name, h->x->name);
}

/* ---- What is offered ------------------------------------------------------------------------- */

static uint16_t transmission_flags(const struct haggle *h)
{
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
			 NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE;

	if (h->x->read_only)
		flags |= NBD_FLAG_READ_ONLY;
	else
		flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
	if (h->terms->structured)
		flags |= NBD_FLAG_SEND_DF;
	return flags;
}

static int send_export(struct haggle *h)
{
	struct nbd_info_export info = {
		.type = htobe16(NBD_INFO_EXPORT),
		.size = htobe64(disk_size(h->x->disk)),
		.flags = htobe16(transmission_flags(h)),
	};

	return reply(h, NBD_REP_INFO, &info, sizeof(info));
}

static int send_name(struct haggle *h)
{
	size_t length = strlen(h->x->name);
	uint8_t info[sizeof(uint16_t) + NBD_MAX_STRING];
	uint16_t type = htobe16(NBD_INFO_NAME);

	memcpy(info, &type, sizeof(type));
	memcpy(info + sizeof(type), h->x->name, length);
	return reply(h, NBD_REP_INFO, info, sizeof(type) + length);
}

static int send_block_size(struct haggle *h)
{
	struct nbd_info_block_size info = {.type = htobe16(NBD_INFO_BLOCK_SIZE)};
	struct disk_info disk;

	disk_info(h->x->disk, &disk);
	info.minimum = htobe32(disk.logical_sector);
	info.preferred = htobe32(disk.physical_sector > 4096 ? disk.physical_sector : 4096);
	info.maximum_payload = htobe32(NBD_MAX_PAYLOAD);
	return reply(h, NBD_REP_INFO, &info, sizeof(info));
}

/* ---- The options: each returns 0 to go on with the next one, or what ends the haggling ------- */

#define BEGIN_TRANSMISSION 1
#define CLIENT_LEAVES	   2

static int option_export_name(struct haggle *h, struct cursor data)
{
	struct nbd_export_reply answer = {
		.size = htobe64(disk_size(h->x->disk)),
		.flags = htobe16(transmission_flags(h)),
	};
	int err;

	/* There is no way to say no. */
	if (!is_export(h, &data))
		return -EPROTO;
	err = send_all(h, &answer,
		h->no_zeroes ? offsetof(struct nbd_export_reply, zeroes) : sizeof(answer));
	return err ? err : BEGIN_TRANSMISSION;
}

static int option_abort(struct haggle *h, struct cursor data)
{
	int err = reply(h, NBD_REP_ACK, NULL, 0);

	return err ? err : CLIENT_LEAVES;
}

static int option_list(struct haggle *h, struct cursor data)
{
	uint8_t server[sizeof(uint32_t) + NBD_MAX_STRING];
	uint32_t length = strlen(h->x->name), wire = htobe32(length);
	int err;

	if (data.left)
		return refuse(h, NBD_REP_ERR_INVALID, "NBD_OPT_LIST takes no data");
	memcpy(server, &wire, sizeof(wire));
	memcpy(server + sizeof(wire), h->x->name, length);
	err = reply(h, NBD_REP_SERVER, server, sizeof(wire) + length);
	return err ? err : reply(h, NBD_REP_ACK, NULL, 0);
}

/* NBD_OPT_INFO and NBD_OPT_GO differ in what follows the answer. */
static int option_info(struct haggle *h, struct cursor data)
{
	struct cursor name;
	uint16_t count, info;
	int err;

	if (!take_string(&data, &name) || !take_u16(&data, &count) ||
		data.left != count * sizeof(info))
		return refuse(h, NBD_REP_ERR_INVALID, "a name, a count and so many requests");
	if (!is_export(h, &name))
		return refuse(h, NBD_REP_ERR_UNKNOWN, "there is no export of this name");
	err = send_export(h);
	while (!err && take_u16(&data, &info)) {
		if (info == NBD_INFO_NAME)
			err = send_name(h);
		else if (info == NBD_INFO_BLOCK_SIZE)
			err = send_block_size(h);
	}
	if (!err)
		err = reply(h, NBD_REP_ACK, NULL, 0);
	return !err && h->option == NBD_OPT_GO ? BEGIN_TRANSMISSION : err;
}

static int option_structured_reply(struct haggle *h, struct cursor data)
{
	if (data.left)
		return refuse(h, NBD_REP_ERR_INVALID, "NBD_OPT_STRUCTURED_REPLY takes no data");
	h->terms->structured = true;
	return reply(h, NBD_REP_ACK, NULL, 0);
}

/* A client selects contexts by their names, but may list them by namespace, or all. */
static bool matches(const struct haggle *h, const struct cursor *query)
{
	return is(query, "base:allocation") ||
	       (h->option == NBD_OPT_LIST_META_CONTEXT && is(query, "base:"));
}

static int option_meta_context(struct haggle *h, struct cursor data)
{
	static const char context[] = "base:allocation";
	const bool set = h->option == NBD_OPT_SET_META_CONTEXT;
	struct cursor name, query;
	uint32_t count, id = htobe32(set ? NBD_CONTEXT_ALLOCATION : 0);
	uint8_t answer[sizeof(id) + sizeof(context) - 1];
	bool found;
	int err = 0;

	if (set)
		h->terms->allocation = false;
	if (!h->terms->structured)
		return refuse(h, NBD_REP_ERR_INVALID, "negotiate structured replies first");
	if (!take_string(&data, &name) || !take_u32(&data, &count))
		return refuse(h, NBD_REP_ERR_INVALID, "a name, a count and so many queries");
	if (!is_export(h, &name))
		return refuse(h, NBD_REP_ERR_UNKNOWN, "there is no export of this name");
	found = !set && !count;
	for (uint32_t i = 0; i < count; i++) {
		if (!take_string(&data, &query))
			return refuse(h, NBD_REP_ERR_INVALID, "a query is cut off");
		found |= matches(h, &query);
	}
	if (data.left)
		return refuse(h, NBD_REP_ERR_INVALID, "there is more than the queries");
	if (found) {
		memcpy(answer, &id, sizeof(id));
		memcpy(answer + sizeof(id), context, sizeof(context) - 1);
		err = reply(h, NBD_REP_META_CONTEXT, answer, sizeof(answer));
	}
	if (set)
		h->terms->allocation = found;
	return err ? err : reply(h, NBD_REP_ACK, NULL, 0);
}

static const struct {
	enum nbd_option option;
	int (*answer)(struct haggle *h, struct cursor data);
} options[] = {
	{NBD_OPT_EXPORT_NAME, option_export_name},
	{NBD_OPT_ABORT, option_abort},
	{NBD_OPT_LIST, option_list},
	{NBD_OPT_INFO, option_info},
	{NBD_OPT_GO, option_info},
	{NBD_OPT_STRUCTURED_REPLY, option_structured_reply},
	{NBD_OPT_LIST_META_CONTEXT, option_meta_context},
	{NBD_OPT_SET_META_CONTEXT, option_meta_context},
};

static int haggle(struct haggle *h)
{
	struct nbd_option_head head;
	int err = receive(h, &head, sizeof(head));

	if (err)
		return err > 0 ? CLIENT_LEAVES : err;
	if (be64toh(head.magic) != NBD_OPTION_MAGIC || be32toh(head.length) > MAX_OPTION)
		return -EPROTO;
	h->option = be32toh(head.option);
	err = receive(h, h->data, be32toh(head.length));
	if (err)
		return err > 0 ? -EPROTO : err;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].option == h->option)
			return options[i].answer(h, (struct cursor){h->data, be32toh(head.length)});
	return refuse(h, NBD_REP_ERR_UNSUP, "this option is not supported");
}

static int greet(struct haggle *h)
{
	struct nbd_greeting greeting = {
		.magic = htobe64(NBD_MAGIC),
		.option_magic = htobe64(NBD_OPTION_MAGIC),
		.flags = htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
	};
	uint32_t flags;
	int err = send_all(h, &greeting, sizeof(greeting));

	if (!err)
		err = receive(h, &flags, sizeof(flags));
	if (err)
		return err > 0 ? CLIENT_LEAVES : err;
	if (be32toh(flags) & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
		return -EPROTO;
	h->no_zeroes = be32toh(flags) & NBD_FLAG_NO_ZEROES;
	return 0;
}

int nbd_handshake(const struct nbd_export *x, int fd, int stop, struct nbd_terms *terms)
{
	struct haggle h = {.x = x, .terms = terms, .fd = fd, .stop = stop};
	int next;

	*terms = (struct nbd_terms){0};
	h.data = malloc(MAX_OPTION);
	if (!h.data)
		return -ENOMEM;
	clock_gettime(CLOCK_MONOTONIC, &h.deadline);
	h.deadline.tv_sec += HANDSHAKE_SECONDS;
	next = greet(&h);
	while (!next)
		next = haggle(&h);
	free(h.data);
	if (next == CLIENT_LEAVES || next == -ECONNRESET || next == -EPIPE)
		return 1;
	return next == BEGIN_TRANSMISSION ? 0 : next;
}
