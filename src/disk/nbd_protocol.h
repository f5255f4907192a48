/*
 * nbd_protocol.h - the bytes of the Network Block Device protocol: fixed newstyle negotiation,
 * simple and structured replies. Every field is big-endian.
 *
 * Source: "The NBD protocol" (doc/proto.md of the NBD project), chapters "Handshake",
 * "Transmission" and "Values".
 */
#ifndef PARTITA_DISK_NBD_PROTOCOL_H
#define PARTITA_DISK_NBD_PROTOCOL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_MAGIC		   0x4e42444d41474943u /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC	   0x49484156454f5054u /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC	   0x0003e889045565a9u
#define NBD_REQUEST_MAGIC	   0x25609513u
#define NBD_SIMPLE_REPLY_MAGIC	   0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu

/* A string (a name, a query) is at most this long. */
#define NBD_MAX_STRING 4096

/* Handshake flags, the server's and then the client's. */
#define NBD_FLAG_FIXED_NEWSTYLE (1u << 0)
#define NBD_FLAG_NO_ZEROES	(1u << 1)

/* Transmission flags. */
#define NBD_FLAG_HAS_FLAGS	   (1u << 0)
#define NBD_FLAG_READ_ONLY	   (1u << 1)
#define NBD_FLAG_SEND_FLUSH	   (1u << 2)
#define NBD_FLAG_SEND_FUA	   (1u << 3)
#define NBD_FLAG_SEND_TRIM	   (1u << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES (1u << 6)
#define NBD_FLAG_SEND_DF	   (1u << 7)
#define NBD_FLAG_CAN_MULTI_CONN	   (1u << 8)
#define NBD_FLAG_SEND_CACHE	   (1u << 10)

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ACK	     1u
#define NBD_REP_SERVER	     2u
#define NBD_REP_INFO	     3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_ERR_UNSUP    0x80000001u
#define NBD_REP_ERR_INVALID  0x80000003u
#define NBD_REP_ERR_UNKNOWN  0x80000006u

enum nbd_info {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_BLOCK_SIZE = 3,
};

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

#define NBD_CMD_FLAG_FUA     (1u << 0)
#define NBD_CMD_FLAG_NO_HOLE (1u << 1)
#define NBD_CMD_FLAG_DF	     (1u << 2)
#define NBD_CMD_FLAG_REQ_ONE (1u << 3)

#define NBD_REPLY_FLAG_DONE (1u << 0)

#define NBD_REPLY_TYPE_NONE	    0u
#define NBD_REPLY_TYPE_OFFSET_DATA  1u
#define NBD_REPLY_TYPE_BLOCK_STATUS 5u
#define NBD_REPLY_TYPE_ERROR	    0x8001u

#define NBD_STATE_HOLE (1u << 0)
#define NBD_STATE_ZERO (1u << 1)

#define NBD_EPERM     1u
#define NBD_EIO	      5u
#define NBD_ENOMEM    12u
#define NBD_EINVAL    22u
#define NBD_ENOSPC    28u
#define NBD_EOVERFLOW 75u
#define NBD_ENOTSUP   95u

#define NBD_WIRE __attribute__((packed))

struct NBD_WIRE nbd_greeting {
	uint64_t magic, option_magic;
	uint16_t flags;
};
static_assert(sizeof(struct nbd_greeting) == 18, "server's greeting");

struct NBD_WIRE nbd_option_head {
	uint64_t magic;
	uint32_t option, length;
};
static_assert(sizeof(struct nbd_option_head) == 16, "option");

struct NBD_WIRE nbd_option_reply {
	uint64_t magic;
	uint32_t option, type, length;
};
static_assert(sizeof(struct nbd_option_reply) == 20, "option reply");

/* The answer to NBD_OPT_EXPORT_NAME; the zeroes are left out when both sides said so. */
struct NBD_WIRE nbd_export_reply {
	uint64_t size;
	uint16_t flags;
	uint8_t zeroes[124];
};
static_assert(sizeof(struct nbd_export_reply) == 134, "export reply");

struct NBD_WIRE nbd_info_export {
	uint16_t type;
	uint64_t size;
	uint16_t flags;
};
static_assert(sizeof(struct nbd_info_export) == 12, "NBD_INFO_EXPORT");

struct NBD_WIRE nbd_info_block_size {
	uint16_t type;
	uint32_t minimum, preferred, maximum_payload;
};
static_assert(sizeof(struct nbd_info_block_size) == 14, "NBD_INFO_BLOCK_SIZE");

struct NBD_WIRE nbd_request_head {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t length;
};
static_assert(sizeof(struct nbd_request_head) == 28, "request");

struct NBD_WIRE nbd_simple_reply {
	uint32_t magic, error;
	uint64_t cookie;
};
static_assert(sizeof(struct nbd_simple_reply) == 16, "simple reply");

/* Payload follows; here with the fixed beginning that each type has. */
struct NBD_WIRE nbd_structured_reply {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie;
	uint32_t length;
	union NBD_WIRE {
		uint64_t offset;  /* NBD_REPLY_TYPE_OFFSET_DATA */
		uint32_t context; /* NBD_REPLY_TYPE_BLOCK_STATUS */
		struct NBD_WIRE {
			uint32_t code;
			uint16_t message_length;
		} error; /* NBD_REPLY_TYPE_ERROR */
	};
};
static_assert(offsetof(struct nbd_structured_reply, offset) == 20, "structured reply");
static_assert(sizeof(struct nbd_structured_reply) == 28, "structured reply");

struct NBD_WIRE nbd_block_descriptor {
	uint32_t length, flags;
};
static_assert(sizeof(struct nbd_block_descriptor) == 8, "block status descriptor");

#endif
