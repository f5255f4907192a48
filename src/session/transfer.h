/*
 * transfer.h - files and directories from one end of a direct session to the other: the two halves,
 * of which either runs on either end, as the user whose files they are. See transfer_protocol.h.
 *
 * Contents, their holes, permissions (0777) and times of modification are kept. What is named is
 * followed when it is a symbolic link; links inside a directory stay links. What is neither file,
 * directory nor link is left out, with a warning. Whatever fails, the receiver has either
 * everything or nothing.
 */
#ifndef PARTITA_SESSION_TRANSFER_H
#define PARTITA_SESSION_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

struct transfer {
	const char *where; /* begins messages: "", or "guest: " */
	/*
	 * progress - @done bytes of the file @name were moved, of about @size. NULL: nobody looks.
	 */
	void (*progress)(void *ctx, const char *name, uint64_t done, uint64_t size);
	void *ctx;
};

/*
 * transfer_send - write what is at @path to @out. @recursive: also a directory. Returns 0, or 1
 * after an error message.
 */
int transfer_send(const struct transfer *t, const char *path, bool recursive, int out);

/*
 * transfer_receive - put what comes from @in at @path: into it under its own name when that is a
 * directory ("" is the current one), else in place of the file there. @as: the name that it has in
 * the directory, where the sender is not to be believed; NULL: the sender's. A directory is never
 * replaced. It appears there whole, or not at all. @in is hostile: it reaches nothing outside of
 * @path. Returns as transfer_send().
 */
int transfer_receive(const struct transfer *t, const char *path, const char *as, int in);

#endif
