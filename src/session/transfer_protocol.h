/*
 * transfer_protocol.h - the bytes of a file transfer, in one direction, inside a session's stdin or
 * stdout: a struct transfer_head, then entries. Numbers are little-endian.
 *
 * The first entry is what is copied. A directory's entries follow it up to its TRANSFER_UP, so that
 * names are single components. The last entry is TRANSFER_END: without it, nothing was copied.
 * The transfer has no answers: whether it was received is said by the exit status.
 */
#ifndef PARTITA_SESSION_TRANSFER_PROTOCOL_H
#define PARTITA_SESSION_TRANSFER_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

#define TRANSFER_MAGIC	   0x58465450u /* "PTFX" */
#define TRANSFER_VERSION   1
#define TRANSFER_NAME_MAX  255u
#define TRANSFER_LINK_MAX  4095u
#define TRANSFER_DEPTH_MAX 200u
#define TRANSFER_CHUNK_MAX (128u << 10)

struct transfer_head {
	uint32_t magic;
	uint32_t version;
} __attribute__((packed));

enum transfer_kind {
	TRANSFER_FILE = 1,  /* its chunks follow */
	TRANSFER_DIRECTORY, /* its entries follow */
	TRANSFER_LINK,	    /* @size bytes follow: where it points to */
	TRANSFER_UP,	    /* the directory's end */
	TRANSFER_END,
};

/* @name_length bytes of the name follow. */
struct transfer_entry {
	uint8_t kind;
	uint8_t zero;
	uint16_t mode; /* 0777 */
	uint16_t name_length;
	uint16_t zero_too;
	int64_t seconds; /* of the time of modification */
	uint32_t nanoseconds;
	uint32_t zero_as_well;
	uint64_t size; /* a file's is what it was at first: for showing progress */
} __attribute__((packed));
static_assert(sizeof(struct transfer_entry) == 32, "layout");

/*
 * A part of a file, of which @length bytes follow. It begins where the one before ended, or later:
 * in between is a hole. The last one has none, and is at the file's end.
 */
struct transfer_chunk {
	uint64_t offset;
	uint32_t length;
} __attribute__((packed));
static_assert(sizeof(struct transfer_chunk) == 12, "layout");

#endif
