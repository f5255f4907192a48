/*
 * family.h - the address families that libhvsocket gives a program: AF_HYPERV, with the value that
 * it was compiled with, and AF_VSOCK (vsock(7)), whose contexts and ports stand for machines and
 * services.
 */
#ifndef PARTITA_HVSOCKET_FAMILY_H
#define PARTITA_HVSOCKET_FAMILY_H

#include "hvsocket/address.h"

/*
 * family_is_ours - does libhvsocket serve socket(@family, @type, @protocol)? PARTITA_AF_HYPERV in
 * the environment is another value of AF_HYPERV; PARTITA_VSOCK=0 leaves AF_VSOCK to the kernel.
 */
bool family_is_ours(int family, int type, int protocol);

/*
 * family_read - the address that a program gives. Returns 0; -EINVAL: it is too short;
 * -EAFNOSUPPORT: it is another family's; -ENODEV: no machine has that context. A port or service
 * that the program leaves open becomes zero.
 */
int family_read(int family, const struct sockaddr *name, socklen_t length, struct hv_address *a);
/*
 * family_write - @a as a program of @family sees it: as much as has room in *@length bytes, which
 * becomes the whole length.
 */
void family_write(int family, const struct hv_address *a, struct sockaddr *name, socklen_t *length);

/* family_free_service - a service that nobody has, for who leaves it open. */
GUID family_free_service(int family);

#endif
