/*
 * fcopy.h - the file copy service: writes a file into the guest, whose daemon makes it.
 *
 * One file at a time, on the service's own thread. A copy that does not come to its end is
 * cancelled at the guest, which removes what it wrote.
 */
#ifndef PARTITA_VSP_FCOPY_H
#define PARTITA_VSP_FCOPY_H

#include "vsp/ic.h"

/* The longest directory and file name: bytes of UTF-8, which Linux has no more room for. */
#define FCOPY_NAME_MAX (IC_FCOPY_NAME - 1)

struct fcopy;

struct fcopy_request {
	int fd;			 /* a regular file, read from its beginning */
	uint64_t size;		 /* of it; bytes */
	_Atomic uint64_t copied; /* so far; any thread */
	/* Called once, on the serving thread. */
	void (*done)(struct fcopy_request *r);
	/*
	 * How it ended. @err 0: with the guest's @status; -ETIMEDOUT, -ECANCELED, -ENOTCONN,
	 * -ENODATA (the file is shorter than it was), or an error of reading it.
	 */
	int err;
	uint32_t status;

	/* fcopy.c's. */
	struct fcopy *fcopy;
	struct ic_request ic;
	_Atomic bool cancel;
	enum ic_fcopy_operation step; /* that the guest is asked for */
	uint32_t piece;		      /* bytes that are being written */
	union {
		struct ic_fcopy_start start;
		struct ic_fcopy_write write;
	} message;
};

/* fcopy_create - returns 0, or what ic_create() returned. */
int fcopy_create(struct vmbus *bus, struct fcopy **f);
void fcopy_destroy(struct fcopy *f);
struct ic *fcopy_ic(struct fcopy *f);
/*
 * fcopy_submit - copy r->fd to the absolute @path of the guest. @flags of enum ic_fcopy_flags.
 * Returns 0; or, and then done() is not called, what ic_submit() does, -EBUSY (there is a copy
 * under way), -EINVAL (the path has no directory or no name), -ENAMETOOLONG, -ENOMEM.
 */
int fcopy_submit(struct fcopy *f, struct fcopy_request *r, const char *path, unsigned flags);
/* fcopy_cancel - let it end soon. Any thread, while @r is there. */
void fcopy_cancel(struct fcopy_request *r);

#endif
