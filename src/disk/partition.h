/*
 * partition.h - the partitions of a disk, as its own table says: GPT (the copy at the disk's end
 * where the first is damaged) or MBR with logical partitions.
 */
#ifndef PARTITA_DISK_PARTITION_H
#define PARTITA_DISK_PARTITION_H

#include "disk/disk.h"

struct disk_partition {
	unsigned number;	 /* as the kernel counts: logical ones from 5 on */
	uint64_t offset, length; /* bytes, inside the disk */
	bool data;		 /* not one that a computer starts or mends itself from */
};

/*
 * disk_partitions - those of @d, in the order of their numbers: *@list, which the caller frees, and
 * *@n. -ENOENT: the disk has no table; -EUCLEAN: a table that is damaged; both noted.
 */
int disk_partitions(
	struct disk *d, struct disk_partition **list, unsigned *n, struct disk_problem *problem);
/*
 * disk_partition_find - partition @number, 0: the only one with data. Errors as above; -ENOENT:
 * there is no such; -EINVAL: there is more than one with data. Noted.
 */
int disk_partition_find(struct disk *d, unsigned number, struct disk_partition *found,
	struct disk_problem *problem);

#endif
