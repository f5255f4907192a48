/*
 * disk_nbd.c - the NBD server as a client sees it, byte by byte: what is agreed on, what requests
 * do, and that what no client may do costs it the connection and nothing else.
 */
#include <errno.h>
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nbd_peer.h"

#define SECTOR 512u

/* ---- Haggling ------------------------------------------------------------------------------- */

static void test_go_tells_size_flags_and_block_sizes(void **state)
{
	struct peer *p = *state;
	static const char home[] = "\0\0\0\4home\0\2\0\3\0\1";
	struct nbd_info_export export;
	struct nbd_info_block_size sizes;
	uint32_t length;
	char name[8];

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(p, NBD_OPT_GO, home, sizeof(home) - 1);
	assert_int_equal(get_reply(p, NBD_OPT_GO, &export, sizeof(export), &length), NBD_REP_INFO);
	assert_int_equal(be16toh(export.type), NBD_INFO_EXPORT);
	assert_true(be64toh(export.size) == DISK_SIZE);
	assert_int_equal(be16toh(export.flags),
		NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
			NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE);
	assert_int_equal(get_reply(p, NBD_OPT_GO, &sizes, sizeof(sizes), &length), NBD_REP_INFO);
	assert_int_equal(length, sizeof(sizes));
	assert_int_equal(be16toh(sizes.type), NBD_INFO_BLOCK_SIZE);
	assert_int_equal(be32toh(sizes.minimum), SECTOR);
	assert_int_equal(be32toh(sizes.maximum_payload), NBD_MAX_PAYLOAD);
	assert_int_equal(get_reply(p, NBD_OPT_GO, name, sizeof(name), &length), NBD_REP_INFO);
	assert_int_equal(length, 6);
	assert_memory_equal(name, "\0\1home", 6);
	assert_reply(p, NBD_OPT_GO, NBD_REP_ACK);
	assert_bytes(p, 0, 0, SECTOR);
	assert_int_equal(part(p), 0);
}

static void test_info_leaves_the_haggling_open(void **state)
{
	struct peer *p = *state;

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(p, NBD_OPT_INFO, "\0\0\0\0\0\0", 6);
	assert_reply(p, NBD_OPT_INFO, NBD_REP_INFO);
	assert_reply(p, NBD_OPT_INFO, NBD_REP_ACK);
	assert_int_equal(go(p) & NBD_FLAG_READ_ONLY, 0);
}

static void test_export_name_of_the_first_newstyle(void **state)
{
	struct peer *p = *state;
	struct nbd_export_reply reply;

	meet(p);
	greet(p, 0);
	put_option(p, NBD_OPT_EXPORT_NAME, "home", 4);
	get(p, &reply, sizeof(reply));
	assert_true(be64toh(reply.size) == DISK_SIZE);
	for (size_t i = 0; i < sizeof(reply.zeroes); i++)
		assert_int_equal(reply.zeroes[i], 0);
	assert_bytes(p, 0, 0, SECTOR);
	part(p);

	meet(p);
	greet(p, NBD_FLAG_NO_ZEROES);
	put_option(p, NBD_OPT_EXPORT_NAME, NULL, 0);
	get(p, &reply, offsetof(struct nbd_export_reply, zeroes));
	assert_bytes(p, 0, 0, SECTOR);
}

static void test_list_names_the_export(void **state)
{
	struct peer *p = *state;
	char server[16];
	uint32_t length;

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(p, NBD_OPT_LIST, NULL, 0);
	assert_int_equal(
		get_reply(p, NBD_OPT_LIST, server, sizeof(server), &length), NBD_REP_SERVER);
	assert_int_equal(length, 8);
	assert_memory_equal(server, "\0\0\0\4home", 8);
	assert_reply(p, NBD_OPT_LIST, NBD_REP_ACK);
	put_option(p, NBD_OPT_LIST, "x", 1);
	assert_reply(p, NBD_OPT_LIST, NBD_REP_ERR_INVALID);
}

static void test_abort_is_acknowledged(void **state)
{
	struct peer *p = *state;

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(p, NBD_OPT_ABORT, NULL, 0);
	assert_reply(p, NBD_OPT_ABORT, NBD_REP_ACK);
	assert_hung_up(p);
	assert_int_equal(part(p), 0);
}

static void test_what_is_wrong_with_an_option_is_said(void **state)
{
	struct peer *p = *state;
	static const struct {
		uint32_t option, type;
		const char *data;
		uint32_t length;
	} wrong[] = {
		{77, NBD_REP_ERR_UNSUP, "data", 4},
		{NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, "x", 1},
		{NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID, "\0\0\0\0\0\0\0\0", 8},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, NULL, 0},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, "\0\0", 2},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, "\0\0\0\0", 4},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, "\0\0\0\5home\0\0", 10},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, "\377\377\377\377home\0\0", 10},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, "\0\0\0\4home\0\2\0\1", 12},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, "\0\0\0\4home\0\0\0", 11},
		{NBD_OPT_GO, NBD_REP_ERR_INVALID, "\0\0\0\4home\377\377\0\1", 12},
		{NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, "\0\0\0\4work\0\0", 10},
		{NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN, "\0\0\0\1h\0\0", 7},
	};

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		put_option(p, wrong[i].option, wrong[i].data, wrong[i].length);
		assert_reply(p, wrong[i].option, wrong[i].type);
	}
	go(p);
	assert_bytes(p, 0, 0, SECTOR);
}

static void test_metadata_contexts_are_selected_and_listed(void **state)
{
	struct peer *p = *state;
	static const char all[] = "\0\0\0\4home\0\0\0";
	static const char base[] = "\0\0\0\0\0\0\0\1\0\0\0\5base:";
	static const char other[] = "\0\0\0\0\0\0\0\2\0\0\0\5base:\0\0\0\3x:y";
	static const char cut[] = "\0\0\0\0\0\0\0\2\0\0\0\5base:";
	static const char name[] = "\0\0\0\4work\0\0\0";
	char context[32];
	uint32_t length;

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	ask_for_structured(p);
	/* The arrays' own ends are the last zero of the count. */
	put_option(p, NBD_OPT_LIST_META_CONTEXT, all, sizeof(all));
	assert_int_equal(get_reply(p, NBD_OPT_LIST_META_CONTEXT, context, sizeof(context), &length),
		NBD_REP_META_CONTEXT);
	assert_int_equal(length, 19);
	assert_memory_equal(context, "\0\0\0\0base:allocation", 19);
	assert_reply(p, NBD_OPT_LIST_META_CONTEXT, NBD_REP_ACK);
	put_option(p, NBD_OPT_LIST_META_CONTEXT, base, sizeof(base) - 1);
	assert_reply(p, NBD_OPT_LIST_META_CONTEXT, NBD_REP_META_CONTEXT);
	assert_reply(p, NBD_OPT_LIST_META_CONTEXT, NBD_REP_ACK);
	put_option(p, NBD_OPT_SET_META_CONTEXT, allocation, ALLOCATION);
	assert_int_equal(get_reply(p, NBD_OPT_SET_META_CONTEXT, context, sizeof(context), &length),
		NBD_REP_META_CONTEXT);
	assert_memory_equal(context, "\0\0\0\1base:allocation", 19);
	assert_reply(p, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
	put_option(p, NBD_OPT_SET_META_CONTEXT, cut, sizeof(cut) - 1);
	assert_reply(p, NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID);
	put_option(p, NBD_OPT_SET_META_CONTEXT, name, sizeof(name));
	assert_reply(p, NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_UNKNOWN);
	/* A namespace selects nothing, and takes back what was selected. */
	put_option(p, NBD_OPT_SET_META_CONTEXT, other, sizeof(other) - 1);
	assert_reply(p, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
	go(p);
	put_request(p, NBD_CMD_BLOCK_STATUS, 0, 1, 0, SECTOR);
	assert_int_equal(get_structured(p, 1, &length), NBD_REPLY_TYPE_ERROR);
}

static void test_who_does_not_speak_nbd_is_hung_up_on(void **state)
{
	struct peer *p = *state;
	static const struct nbd_option_head heads[] = {{0}};
	struct nbd_option_head huge = {
		.magic = htobe64(NBD_OPTION_MAGIC),
		.option = htobe32(NBD_OPT_LIST),
		.length = htobe32(UINT32_MAX),
	};
	struct nbd_request_head request = {0};

	meet(p);
	greet(p, 1u << 7);
	assert_hung_up(p);
	assert_int_equal(part(p), -EPROTO);

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put(p, heads, sizeof(heads[0]));
	assert_hung_up(p);
	assert_int_equal(part(p), -EPROTO);

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put(p, &huge, sizeof(huge));
	assert_hung_up(p);
	assert_int_equal(part(p), -EPROTO);

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put_option(p, NBD_OPT_EXPORT_NAME, "work", 4);
	assert_hung_up(p);
	assert_int_equal(part(p), -EPROTO);

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	go(p);
	put(p, &request, sizeof(request));
	assert_hung_up(p);
	assert_int_equal(part(p), -EPROTO);
}

static void test_leaving_anywhere_is_no_trouble(void **state)
{
	struct peer *p = *state;
	static const char option[] = "IHAVEOPT\0\0\0\7\0\0\0\6\0\0\0";

	meet(p);
	assert_int_equal(part(p), 0);
	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	put(p, option, sizeof(option) - 1);
	part(p);
	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	go(p);
	put_request(p, NBD_CMD_WRITE, 0, 1, 0, MIB);
	put(p, option, sizeof(option));
	assert_int_equal(part(p), 0);
}

/* ---- Transmission --------------------------------------------------------------------------- */

static void begin(struct peer *p)
{
	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	go(p);
}

static void test_what_is_written_is_read(void **state)
{
	struct peer *p = *state;
	uint8_t byte;

	begin(p);
	assert_int_equal(write_bytes(p, 0xa5, 4096, 3 * SECTOR), 0);
	assert_int_equal(write_bytes(p, 0x5a, DISK_SIZE - MIB, MIB), 0);
	assert_int_equal(request(p, NBD_CMD_FLUSH, 0, 0, 0), 0);
	assert_int_equal(request(p, NBD_CMD_CACHE, 0, 0, 5 * MIB + SECTOR), 0);
	assert_bytes(p, 0, 4096 - SECTOR, SECTOR);
	assert_bytes(p, 0xa5, 4096, 3 * SECTOR);
	assert_bytes(p, 0, 4096 + 3 * SECTOR, SECTOR);
	assert_bytes(p, 0x5a, DISK_SIZE - MIB, MIB);
	assert_int_equal(disk_read(p->x.disk, &byte, 0, 0), 0);
}

static void test_trimmed_and_zeroed_ranges_read_as_zeros(void **state)
{
	struct peer *p = *state;

	begin(p);
	assert_int_equal(write_bytes(p, 0xff, 0, 4 * MIB), 0);
	assert_int_equal(request(p, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, MIB, MIB), 0);
	assert_int_equal(
		request(p, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 2 * MIB, SECTOR), 0);
	assert_int_equal(request(p, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA, 3 * MIB, MIB), 0);
	assert_bytes(p, 0xff, 0, MIB);
	assert_bytes(p, 0, MIB, MIB + SECTOR);
	assert_bytes(p, 0xff, 2 * MIB + SECTOR, MIB - SECTOR);
	assert_bytes(p, 0, 3 * MIB, MIB);
	/* More than any data could be. */
	assert_int_equal(request(p, NBD_CMD_WRITE_ZEROES, 0, 0, DISK_SIZE), 0);
	assert_bytes(p, 0, 0, MIB);
}

static void test_what_cannot_be_is_refused(void **state)
{
	struct peer *p = *state;
	static const struct {
		uint16_t type, flags;
		uint64_t offset;
		uint32_t length, error;
	} wrong[] = {
		{NBD_CMD_READ, 0, 0, 0, NBD_EINVAL},
		{NBD_CMD_READ, 0, 0, 100, NBD_EINVAL},
		{NBD_CMD_READ, 0, 100, SECTOR, NBD_EINVAL},
		{NBD_CMD_READ, 0, DISK_SIZE, SECTOR, NBD_EINVAL},
		{NBD_CMD_READ, 0, DISK_SIZE - SECTOR, 2 * SECTOR, NBD_EINVAL},
		{NBD_CMD_READ, 0, UINT64_MAX - SECTOR + 1, SECTOR, NBD_EINVAL},
		{NBD_CMD_READ, 0, UINT64_MAX - SECTOR + 1, 2 * SECTOR, NBD_EINVAL},
		{NBD_CMD_READ, 0, 0, NBD_MAX_PAYLOAD + SECTOR, NBD_EINVAL},
		{NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, NBD_MAX_PAYLOAD + SECTOR, NBD_EOVERFLOW},
		{NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE, 0, SECTOR, NBD_EINVAL},
		{NBD_CMD_READ, 1u << 15, 0, SECTOR, NBD_EINVAL},
		{NBD_CMD_TRIM, 0, DISK_SIZE - SECTOR, 2 * SECTOR, NBD_ENOSPC},
		{NBD_CMD_TRIM, 0, 0, 1, NBD_EINVAL},
		{NBD_CMD_WRITE_ZEROES, 0, DISK_SIZE, UINT32_MAX - SECTOR + 1, NBD_ENOSPC},
		{NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_DF, 0, SECTOR, NBD_EINVAL},
		{NBD_CMD_FLUSH, 0, SECTOR, 0, NBD_EINVAL},
		{NBD_CMD_FLUSH, 0, 0, SECTOR, NBD_EINVAL},
		{NBD_CMD_BLOCK_STATUS, 0, 0, SECTOR, NBD_EINVAL},
		{NBD_CMD_CACHE, 0, DISK_SIZE, SECTOR, NBD_EINVAL},
		{8, 0, 0, 0, NBD_EINVAL},
		{UINT16_MAX, UINT16_MAX, UINT64_MAX, UINT32_MAX, NBD_EINVAL},
	};

	begin(p);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(
			request(p, wrong[i].type, wrong[i].flags, wrong[i].offset, wrong[i].length),
			wrong[i].error);
	assert_bytes(p, 0, 0, SECTOR);
}

static void test_a_refused_writes_data_is_skipped(void **state)
{
	struct peer *p = *state;

	begin(p);
	assert_int_equal(write_bytes(p, 1, DISK_SIZE, SECTOR), NBD_ENOSPC);
	assert_int_equal(write_bytes(p, 1, 1, 100000), NBD_EINVAL);
	put_request(p, NBD_CMD_WRITE, 0, 3, 0, 0);
	assert_int_equal(get_simple(p, 3), NBD_EINVAL);
	assert_bytes(p, 0, 0, MIB);
	put_request(p, NBD_CMD_WRITE, 0, 3, 0, NBD_MAX_PAYLOAD + SECTOR);
	assert_hung_up(p);
	assert_int_equal(part(p), -EPROTO);
}

static void test_a_read_only_export_is_not_written(void **state)
{
	struct peer *p = *state;

	p->x.read_only = true;
	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	assert_int_equal(
		go(p) & (NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES),
		NBD_FLAG_READ_ONLY);
	assert_int_equal(write_bytes(p, 1, 0, SECTOR), NBD_EPERM);
	assert_int_equal(request(p, NBD_CMD_TRIM, 0, 0, SECTOR), NBD_EPERM);
	assert_int_equal(request(p, NBD_CMD_WRITE_ZEROES, 0, 0, SECTOR), NBD_EPERM);
	assert_int_equal(request(p, NBD_CMD_FLUSH, 0, 0, 0), 0);
	assert_bytes(p, 0, 0, SECTOR);
}

static void test_structured_reads(void **state)
{
	struct peer *p = *state;
	uint8_t data[8 + 2 * SECTOR], error[6];
	uint32_t length;

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	ask_for_structured(p);
	assert_true(go(p) & NBD_FLAG_SEND_DF);
	assert_int_equal(write_bytes(p, 9, MIB, SECTOR), 0);
	put_request(p, NBD_CMD_READ, NBD_CMD_FLAG_DF, 5, MIB - SECTOR, 2 * SECTOR);
	assert_int_equal(get_structured(p, 5, &length), NBD_REPLY_TYPE_OFFSET_DATA);
	assert_int_equal(length, sizeof(data));
	get(p, data, length);
	assert_memory_equal(data, "\0\0\0\0\0\017\376\0", 8);
	assert_int_equal(data[8 + SECTOR - 1], 0);
	assert_int_equal(data[8 + SECTOR], 9);
	put_request(p, NBD_CMD_READ, 0, 6, DISK_SIZE, SECTOR);
	assert_int_equal(get_structured(p, 6, &length), NBD_REPLY_TYPE_ERROR);
	assert_int_equal(length, sizeof(error));
	get(p, error, length);
	assert_memory_equal(error, "\0\0\0\26\0\0", 6);
}

static void test_block_status_tells_data_from_holes(void **state)
{
	struct peer *p = *state;
	struct {
		uint32_t context;
		struct nbd_block_descriptor descriptors[3];
	} status;
	uint32_t length;

	meet(p);
	greet(p, NBD_FLAG_FIXED_NEWSTYLE);
	ask_for_allocation(p);
	go(p);
	assert_int_equal(write_bytes(p, 1, 8 * MIB, MIB), 0);
	put_request(p, NBD_CMD_BLOCK_STATUS, 0, 1, 0, DISK_SIZE);
	assert_int_equal(get_structured(p, 1, &length), NBD_REPLY_TYPE_BLOCK_STATUS);
	assert_int_equal(length, sizeof(status));
	get(p, &status, length);
	assert_int_equal(be32toh(status.context), 1);
	assert_int_equal(be32toh(status.descriptors[0].length), 8 * MIB);
	assert_int_equal(be32toh(status.descriptors[0].flags), NBD_STATE_HOLE | NBD_STATE_ZERO);
	assert_int_equal(be32toh(status.descriptors[1].length), MIB);
	assert_int_equal(be32toh(status.descriptors[1].flags), 0);
	assert_int_equal(be32toh(status.descriptors[2].length), DISK_SIZE - 9 * MIB);
	put_request(p, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 2, 8 * MIB, 2 * MIB);
	assert_int_equal(get_structured(p, 2, &length), NBD_REPLY_TYPE_BLOCK_STATUS);
	assert_int_equal(length, 12);
	get(p, &status, length);
	assert_int_equal(be32toh(status.descriptors[0].length), MIB);
}

/* ---- Many at once --------------------------------------------------------------------------- */

#define CROWD 2000

static void *ask_many(void *arg)
{
	struct peer *p = arg;

	for (uint64_t i = 0; i < CROWD; i++)
		put_request(p, NBD_CMD_READ, 0, i, i % 256 * SECTOR, 64 * SECTOR);
	return NULL;
}

static void test_every_request_is_answered_once_by_its_cookie(void **state)
{
	struct peer *p = *state;
	static uint8_t data[64 * SECTOR];
	bool answered[CROWD] = {false};
	pthread_t thread;

	for (unsigned i = 0; i < 512; i++) {
		memset(data, i, SECTOR);
		assert_int_equal(disk_write(p->x.disk, data, SECTOR, i * SECTOR), 0);
	}
	begin(p);
	/* The answers are many times what socket and server hold: who asks must be made to wait. */
	pthread_create(&thread, NULL, ask_many, p);
	for (unsigned n = 0; n < CROWD; n++) {
		struct nbd_simple_reply reply;
		uint64_t cookie;

		get(p, &reply, sizeof(reply));
		assert_int_equal(reply.error, 0);
		cookie = be64toh(reply.cookie);
		assert_true(cookie < CROWD && !answered[cookie]);
		answered[cookie] = true;
		get(p, data, sizeof(data));
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(data[i * SECTOR], (uint8_t)(cookie % 256 + i));
	}
	pthread_join(thread, NULL);
}

static void test_more_than_it_may_hold_is_answered_in_turns(void **state)
{
	struct peer *p = *state;
	uint8_t *data = malloc(NBD_MAX_PAYLOAD);

	begin(p);
	for (unsigned i = 0; i < 8; i++)
		put_request(p, NBD_CMD_READ, 0, i, 0, NBD_MAX_PAYLOAD);
	for (unsigned i = 0; i < 8; i++) {
		struct nbd_simple_reply reply;

		get(p, &reply, sizeof(reply));
		assert_int_equal(reply.error, 0);
		get(p, data, NBD_MAX_PAYLOAD);
	}
	free(data);
}

static void test_a_disconnect_comes_after_the_answers(void **state)
{
	struct peer *p = *state;
	uint8_t data[SECTOR];

	begin(p);
	put_request(p, NBD_CMD_READ, 0, 1, 0, SECTOR);
	put_request(p, NBD_CMD_DISC, 0, 2, 0, 0);
	assert_int_equal(get_simple(p, 1), 0);
	get(p, data, sizeof(data));
	assert_hung_up(p);
	assert_int_equal(part(p), 0);
}

static void test_the_servers_end_comes_after_the_answers(void **state)
{
	struct peer *p = *state;
	struct nbd_greeting greeting;
	const uint64_t one = 1;

	begin(p);
	assert_int_equal(write_bytes(p, 3, 0, MIB), 0);
	assert_int_equal(write(p->stop, &one, sizeof(one)), sizeof(one));
	assert_hung_up(p);
	assert_int_equal(part(p), 0);

	meet(p); /* who comes too late */
	get(p, &greeting, sizeof(greeting));
	assert_hung_up(p);
	assert_int_equal(part(p), -ESHUTDOWN);
}

static void test_clients_of_one_server_see_each_others_writes(void **state)
{
	struct peer *p = *state, other = *p;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct nbd_server *server;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s.socket", p->path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(nbd_server_start(&p->x, listener, &server), 0);
	for (struct peer *c = p; c; c = c == p ? &other : NULL) {
		c->client = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(
			connect(c->client, (struct sockaddr *)&address, sizeof(address)), 0);
		greet(c, NBD_FLAG_FIXED_NEWSTYLE);
		go(c);
	}
	assert_int_equal(write_bytes(p, 0x77, MIB, MIB), 0);
	assert_bytes(&other, 0x77, MIB, MIB);
	close(other.client);
	assert_bytes(p, 0x77, MIB, MIB);
	nbd_server_stop(server);
	assert_hung_up(p);
	close(p->client);
	p->client = -1;
	close(listener);
	unlink(address.sun_path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_set_up, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_go_tells_size_flags_and_block_sizes),
		TEST(test_info_leaves_the_haggling_open),
		TEST(test_export_name_of_the_first_newstyle),
		TEST(test_list_names_the_export),
		TEST(test_abort_is_acknowledged),
		TEST(test_what_is_wrong_with_an_option_is_said),
		TEST(test_metadata_contexts_are_selected_and_listed),
		TEST(test_who_does_not_speak_nbd_is_hung_up_on),
		TEST(test_leaving_anywhere_is_no_trouble),
		TEST(test_what_is_written_is_read),
		TEST(test_trimmed_and_zeroed_ranges_read_as_zeros),
		TEST(test_what_cannot_be_is_refused),
		TEST(test_a_refused_writes_data_is_skipped),
		TEST(test_a_read_only_export_is_not_written),
		TEST(test_structured_reads),
		TEST(test_block_status_tells_data_from_holes),
		TEST(test_every_request_is_answered_once_by_its_cookie),
		TEST(test_more_than_it_may_hold_is_answered_in_turns),
		TEST(test_a_disconnect_comes_after_the_answers),
		TEST(test_the_servers_end_comes_after_the_answers),
		TEST(test_clients_of_one_server_see_each_others_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
