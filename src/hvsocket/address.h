/*
 * address.h - who a Hyper-V socket belongs to, in the forms that it takes on the host: a machine
 * and a service (SOCKADDR_HV), a vsock context and port, the name of a Unix socket.
 *
 * Connections between host programs, and those that a guest makes to one, are connections of Unix
 * sockets. The connecting end is bound to an abstract name that tells the accepting end who it is,
 * so that no byte of the stream does:
 *
 *	\0partita/hv/<machine's ID>/<service's ID>/<a number that makes it unique, hexadecimal>
 *
 * GUIDs are spelled as guid_format() does. A name proves nothing: who may connect to a listening
 * socket at all is said by the permissions of its file.
 */
#ifndef PARTITA_HVSOCKET_ADDRESS_H
#define PARTITA_HVSOCKET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "hvsocket.h"

struct hv_address {
	GUID vm, service;
};

/* The constants of hvsocket.h. */
#define hv_zero	     HV_GUID_ZERO
#define hv_broadcast HV_GUID_BROADCAST
#define hv_children  HV_GUID_CHILDREN
#define hv_loopback  HV_GUID_LOOPBACK
#define hv_parent    HV_GUID_PARENT
#define hv_silohost  HV_GUID_SILOHOST

/*
 * hv_address_encode - the abstract name of the end @a of a connection; @unique: any number, another
 * one if the name is taken (EADDRINUSE). Returns the length to bind with.
 */
socklen_t hv_address_encode(const struct hv_address *a, uint64_t unique, struct sockaddr_un *name);
/* hv_address_decode - false: @name, of @length bytes, is not of that form. */
bool hv_address_decode(const struct sockaddr_un *name, socklen_t length, struct hv_address *a);

/*
 * hv_address_bind - bind the Unix socket @fd to a free abstract name of @a, before it connects.
 * Returns 0, or a negative errno.
 */
int hv_address_bind(int fd, const struct hv_address *a);

/* hv_service_of_port - the service that a guest of Linux knows as a vsock port. */
GUID hv_service_of_port(uint32_t port);
/* hv_port_of_service - false: @service is no vsock port. */
bool hv_port_of_service(const GUID *service, uint32_t *port);

/* hv_is_machine - @vm may be a machine's ID: it is none of the constants. */
bool hv_is_machine(const GUID *vm);
/* hv_is_host - what connects to @vm from the host connects to the host. */
bool hv_is_host(const GUID *vm);

/* Room for a service as text, its end included. */
#define HV_SERVICE_TEXT 40
/* hv_service_format - "vsock:22", or a GUID; returns @text. */
const char *hv_service_format(const GUID *service, char text[HV_SERVICE_TEXT]);
/* hv_service_parse - of either form. False: @text is neither. */
bool hv_service_parse(const char *text, GUID *service);

#endif
