/*
 * survey.c - how an image's data lies in its file: one walk over what the format's tables say.
 */
#include "disk/survey.h"

#include "disk/format.h"

struct walk {
	uint64_t bytes, breaks;
	uint64_t next;	/* file offset at which the next block is expected */
	uint64_t shift; /* file offset minus disk offset of the last run */
	bool began;
	bool aligned;
};

/* A run continues the last one in the file, or is a later part of the same block. */
static void add_run(struct walk *w, uint64_t offset, const struct disk_extent *e)
{
	uint64_t shift = e->file_offset - offset;

	if (w->began && e->file_offset != w->next && shift != w->shift)
		w->breaks++;
	if (shift % 4096)
		w->aligned = false;
	w->began = true;
	w->next = e->file_offset + e->length;
	w->shift = shift;
	w->bytes += e->length;
}

int disk_survey(struct disk *d, struct disk_survey *survey)
{
	struct walk w = {.aligned = true};
	uint64_t size = disk_size(d), blocks;
	struct disk_extent e;

	for (uint64_t offset = 0; offset < size; offset += e.length) {
		int err = d->ops->map(d, offset, size - offset, false, &e);

		if (err)
			return err;
		if (e.place == DISK_HERE)
			add_run(&w, offset, &e);
	}
	blocks = d->fixed.block_size ? w.bytes / d->fixed.block_size : 0;
	survey->aligned_4k = w.aligned;
	survey->fragmented_percent = 0;
	if (blocks > 1)
		survey->fragmented_percent =
			w.breaks < blocks - 1 ? w.breaks * 100 / (blocks - 1) : 100;
	return 0;
}
