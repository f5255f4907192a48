/*
 * survey.h - how an image's data lies in its file.
 */
#ifndef PARTITA_DISK_SURVEY_H
#define PARTITA_DISK_SURVEY_H

#include "disk/disk.h"

struct disk_survey {
	bool aligned_4k;	     /* every run of data begins as 4 KiB aligned as on the disk */
	unsigned fragmented_percent; /* of the blocks do not follow the one before them */
};

/* disk_survey - walk the tables of @d, not of its parents. 0 or a negative errno. */
int disk_survey(struct disk *d, struct disk_survey *survey);

#endif
