/*
 * listen.h - the place of a host program that listens (places.h).
 */
#ifndef PARTITA_HVSOCKET_LISTEN_H
#define PARTITA_HVSOCKET_LISTEN_H

#include "hvsocket/address.h"

/*
 * hv_listener_bind - bind the Unix socket @fd to the place of @a, whose machine is the scope: zero
 * (everybody), children, loopback, or one machine. What killed programs left behind is removed.
 * Returns 0, -EADDRINUSE, -EADDRNOTAVAIL: there is no such scope, or a negative errno of the file
 * system.
 */
int hv_listener_bind(int fd, const struct hv_address *a);

#endif
