/*
 * sockets.h - Hyper-V sockets of a machine: the Unix sockets at which programs of the host ask to
 * be connected to the guest (greeting.h).
 */
#ifndef PARTITA_WORKER_SOCKETS_H
#define PARTITA_WORKER_SOCKETS_H

struct machine;
struct machine_sockets;

/*
 * sockets_start - listen, on the machine's loop. Returns NULL with errno set when that fails.
 * sockets_stop - end all connections, after the loop and the processors. NULL is allowed.
 */
struct machine_sockets *sockets_start(struct machine *m);
void sockets_stop(struct machine_sockets *s);

#endif
