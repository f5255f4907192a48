/*
 * tracking_protocol.h - the bytes of a change tracking file, IMAGE.rct beside the image. The format
 * is Partita's own: what Hyper-V keeps in its files of this name is not documented, and neither
 * reads the other's. All numbers are little-endian.
 *
 *	0	header, copy 0		two copies, written in turn; the one that is whole and has
 *	4096	header, copy 1		the higher sequence counts
 *	8192	touched			a bit for each region that may have changed in this session;
 *					512 bytes, so that a write of it is whole or not at all
 *	16384	generations		a u32 for each chunk: in which it changed last, 0 never
 */
#ifndef PARTITA_DISK_TRACKING_PROTOCOL_H
#define PARTITA_DISK_TRACKING_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "guiddef.h"

#define TRACKING_SIGNATURE   0x31544352544B5250 /* "PRKTRCT1" */
#define TRACKING_SLOT	     4096
#define TRACKING_TOUCHED     8192
#define TRACKING_TOUCHED_MAX 512 /* bytes */
#define TRACKING_GENERATIONS 16384

enum {
	TRACKING_CLEAN = 1 << 0, /* nobody writes: touched means nothing */
	TRACKING_NEWER = 1 << 1, /* something changed in the current generation */
};

/*
 * Identifiers must never name two states. Where a tracking may go on in two places, as in two
 * children of one parent, or a copy, each gets an identity of its own, and remembers up to which
 * generation that of before was its too.
 */
#define TRACKING_ANCESTORS 32

struct tracking_ancestor {
	GUID id;
	uint32_t last; /* generation */
};

struct tracking_header {
	uint64_t signature;
	uint64_t sequence;
	GUID id;	      /* of this tracking; part of its change identifiers */
	uint64_t disk_size;   /* bytes */
	uint64_t chunk_size;  /* bytes of the disk, a power of two */
	uint64_t region_size; /* bytes of the disk, a multiple of chunk_size */
	uint32_t current;     /* the generation that changes get now */
	uint32_t floor;	      /* every chunk counts as changed in this one at least */
	uint32_t flags;
	/* The image when it was closed; another one was changed by somebody who does not track. */
	uint32_t image_nanoseconds;
	int64_t image_seconds; /* st_mtim */
	uint64_t image_size;   /* bytes of the file */
	uint64_t image_inode;
	GUID image_data_id; /* while not clean: disk_info.data_id, where the format has one */
	uint32_t n_ancestors;
	struct tracking_ancestor ancestors[TRACKING_ANCESTORS]; /* the oldest first */
	uint32_t checksum; /* CRC-32C of the header with this field 0 */
};

_Static_assert(sizeof(struct tracking_ancestor) == 20, "size");
_Static_assert(sizeof(struct tracking_header) == 760, "size");
_Static_assert(offsetof(struct tracking_header, disk_size) == 32, "offset");
_Static_assert(offsetof(struct tracking_header, current) == 56, "offset");
_Static_assert(offsetof(struct tracking_header, image_seconds) == 72, "offset");
_Static_assert(offsetof(struct tracking_header, n_ancestors) == 112, "offset");
_Static_assert(offsetof(struct tracking_header, checksum) == 756, "offset");

#endif
