/*
 * pass.h - descriptors that are passed over a Unix socket, beside bytes (SCM_RIGHTS, unix(7)).
 */
#ifndef PARTITA_BASE_PASS_H
#define PARTITA_BASE_PASS_H

#include <stddef.h>
#include <sys/types.h>

#define PASS_MOST 253u /* that the kernel passes at once (SCM_MAX_FD) */

/*
 * pass_send - send @n bytes, and with the first of them copies of @n_fds descriptors, which stay
 * the caller's. Never raises SIGPIPE. Returns how many bytes went, which is all or none where the
 * socket keeps messages apart; or a negative errno.
 */
ssize_t pass_send(int socket, const void *bytes, size_t n, const int *fds, unsigned n_fds);

/*
 * pass_receive - what there is now, of up to @room bytes and up to *@n_fds descriptors, which are
 * the caller's and close on exec; *@n_fds becomes how many came. More than that are closed. Returns
 * how many bytes came, 0 at the end; -EAGAIN: there is nothing yet; or another negative errno.
 */
ssize_t pass_receive(int socket, void *bytes, size_t room, int *fds, unsigned *n_fds);

#endif
