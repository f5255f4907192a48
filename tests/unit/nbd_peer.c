/*
 * nbd_peer.c - see nbd_peer.h.
 */
#include "nbd_peer.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void *serve(void *arg)
{
	struct peer *p = arg;

	p->result = nbd_serve_client(&p->x, p->server, p->stop);
	close(p->server);
	return NULL;
}

int peer_set_up(void **state)
{
	const struct disk_open_options options = {
		.flags = DISK_OPEN_WRITE, .format = DISK_FORMAT_RAW};
	struct peer *p = calloc(1, sizeof(*p));
	int fd;

	strcpy(p->path, "/tmp/disk_nbd-XXXXXX");
	fd = mkstemp(p->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
	close(fd);
	p->x.engine = disk_engine_create(NULL);
	p->x.name = "home";
	assert_non_null(p->x.engine);
	assert_int_equal(disk_open(p->x.engine, p->path, &options, &p->x.disk, NULL), 0);
	p->stop = eventfd(0, EFD_CLOEXEC);
	p->client = -1;
	*state = p;
	return 0;
}

void meet(struct peer *p)
{
	const struct timeval patience = {.tv_sec = 60};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	p->server = pair[0];
	p->client = pair[1];
	setsockopt(p->client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

int part(struct peer *p)
{
	if (p->client < 0)
		return 0;
	close(p->client);
	p->client = -1;
	pthread_join(p->thread, NULL);
	return p->result;
}

int peer_tear_down(void **state)
{
	struct peer *p = *state;

	part(p);
	assert_int_equal(disk_close(p->x.disk), 0);
	disk_engine_destroy(p->x.engine);
	close(p->stop);
	unlink(p->path);
	free(p);
	return 0;
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

/* The engine's io_uring may interrupt this thread's calls: both of these go on. */
void put(struct peer *p, const void *data, size_t length)
{
	size_t sent = 0;

	while (sent < length) {
		ssize_t n =
			send(p->client, (const uint8_t *)data + sent, length - sent, MSG_NOSIGNAL);

		assert_true(n > 0 || (n < 0 && errno == EINTR));
		sent += n > 0 ? n : 0;
	}
}

void get(struct peer *p, void *data, size_t length)
{
	size_t got = 0;

	while (got < length) {
		ssize_t n = recv(p->client, (uint8_t *)data + got, length - got, MSG_WAITALL);

		assert_true(n > 0 || (n < 0 && errno == EINTR));
		got += n > 0 ? n : 0;
	}
}

void assert_hung_up(struct peer *p)
{
	char byte;
	ssize_t n;

	do
		n = recv(p->client, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

void greet(struct peer *p, uint32_t flags)
{
	struct nbd_greeting greeting;

	get(p, &greeting, sizeof(greeting));
	assert_true(be64toh(greeting.magic) == NBD_MAGIC);
	assert_true(be64toh(greeting.option_magic) == NBD_OPTION_MAGIC);
	assert_int_equal(be16toh(greeting.flags), NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	flags = htobe32(flags);
	put(p, &flags, sizeof(flags));
}

void put_option(struct peer *p, uint32_t option, const void *data, uint32_t length)
{
	struct nbd_option_head head = {
		.magic = htobe64(NBD_OPTION_MAGIC),
		.option = htobe32(option),
		.length = htobe32(length),
	};

	put(p, &head, sizeof(head));
	if (length)
		put(p, data, length);
}

uint32_t get_reply(struct peer *p, uint32_t option, void *data, size_t room, uint32_t *length)
{
	struct nbd_option_reply reply;

	get(p, &reply, sizeof(reply));
	assert_true(be64toh(reply.magic) == NBD_OPTION_REPLY_MAGIC);
	assert_int_equal(be32toh(reply.option), option);
	*length = be32toh(reply.length);
	assert_true(*length <= room);
	if (*length)
		get(p, data, *length);
	return be32toh(reply.type);
}

void assert_reply(struct peer *p, uint32_t option, uint32_t type)
{
	char text[256];
	uint32_t length;

	assert_int_equal(get_reply(p, option, text, sizeof(text), &length), type);
}

void ask_for_structured(struct peer *p)
{
	put_option(p, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	assert_reply(p, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
}

const char allocation[ALLOCATION + 1] = "\0\0\0\0\0\0\0\1\0\0\0\17base:allocation";

void ask_for_allocation(struct peer *p)
{
	ask_for_structured(p);
	put_option(p, NBD_OPT_SET_META_CONTEXT, allocation, ALLOCATION);
	assert_reply(p, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT);
	assert_reply(p, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
}

uint16_t go(struct peer *p)
{
	struct nbd_info_export info;
	uint32_t length;

	put_option(p, NBD_OPT_GO, "\0\0\0\0\0\0", 6);
	assert_int_equal(get_reply(p, NBD_OPT_GO, &info, sizeof(info), &length), NBD_REP_INFO);
	assert_int_equal(length, sizeof(info));
	assert_int_equal(be16toh(info.type), NBD_INFO_EXPORT);
	assert_true(be64toh(info.size) == disk_size(p->x.disk));
	assert_reply(p, NBD_OPT_GO, NBD_REP_ACK);
	return be16toh(info.flags);
}

void put_request(struct peer *p, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t offset,
	uint32_t length)
{
	struct nbd_request_head head = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.flags = htobe16(flags),
		.type = htobe16(type),
		.cookie = htobe64(cookie),
		.offset = htobe64(offset),
		.length = htobe32(length),
	};

	put(p, &head, sizeof(head));
}

uint32_t get_simple(struct peer *p, uint64_t cookie)
{
	struct nbd_simple_reply reply;

	get(p, &reply, sizeof(reply));
	assert_int_equal(be32toh(reply.magic), NBD_SIMPLE_REPLY_MAGIC);
	assert_true(be64toh(reply.cookie) == cookie);
	return be32toh(reply.error);
}

uint16_t get_structured(struct peer *p, uint64_t cookie, uint32_t *length)
{
	struct nbd_structured_reply reply;

	get(p, &reply, offsetof(struct nbd_structured_reply, offset));
	assert_int_equal(be32toh(reply.magic), NBD_STRUCTURED_REPLY_MAGIC);
	assert_int_equal(be16toh(reply.flags), NBD_REPLY_FLAG_DONE);
	assert_true(be64toh(reply.cookie) == cookie);
	*length = be32toh(reply.length);
	return be16toh(reply.type);
}

uint32_t request(struct peer *p, uint16_t type, uint16_t flags, uint64_t offset, uint32_t length)
{
	static uint64_t cookie = 0x1122334455667788;

	put_request(p, type, flags, ++cookie, offset, length);
	return get_simple(p, cookie);
}

uint32_t write_bytes(struct peer *p, uint8_t byte, uint64_t offset, uint32_t length)
{
	uint8_t *data = malloc(length);

	memset(data, byte, length);
	put_request(p, NBD_CMD_WRITE, 0, 7, offset, length);
	put(p, data, length);
	free(data);
	return get_simple(p, 7);
}

void assert_bytes(struct peer *p, uint8_t byte, uint64_t offset, uint32_t length)
{
	uint8_t *data = malloc(length);

	assert_int_equal(request(p, NBD_CMD_READ, 0, offset, length), 0);
	get(p, data, length);
	for (uint32_t i = 0; i < length; i++)
		assert_int_equal(data[i], byte);
	free(data);
}
