/*
 * sockets.h - Hyper-V sockets of a machine: the Unix sockets at which programs of the host ask to
 * be connected to the guest (greeting.h),
 * and what its guest connects to.
 */
#ifndef PARTITA_WORKER_SOCKETS_H
#define PARTITA_WORKER_SOCKETS_H

#include <WinHvPlatform.h>

struct machine;
struct machine_sockets;

/*
 * sockets_start - listen, on the machine's loop. Returns NULL with errno set when that fails.
 * sockets_stop - end all connections, after the loop and the processors. NULL is allowed.
 */
struct machine_sockets *sockets_start(struct machine *m);
void sockets_stop(struct machine_sockets *s);

/*
 * sockets_guest_connects - the guest wants to be connected from @endpoint to @service of the host.
 * Any thread. Returns 0, the answer will come; or a negative errno: it is refused.
 */
int sockets_guest_connects(struct machine_sockets *s, const GUID *endpoint, const GUID *service);

#endif
