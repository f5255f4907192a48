/*
 * socket_protocol.h - the bytes of Hyper-V sockets: what the offer of a connection says, and the
 * header of its packets.
 *
 * A connection is a channel. Its interface is the service that was connected to, its instance the
 * end that connected. A packet without data is the end of one direction; a connection ends when the
 * host rescinds the channel, which guests wait for.
 *
 * Sources: Linux net/vmw_vsock/hyperv_transport.c and include/linux/hyperv.h (the guest's side);
 * OpenVMM vmbus_core (the rest of the offer's user data).
 */
#ifndef PARTITA_VSP_SOCKET_PROTOCOL_H
#define PARTITA_VSP_SOCKET_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include <WinHvPlatform.h>

#include "vmbus/vmbus_protocol.h"

/* The offer's user data. */
struct socket_offer {
	uint32_t pipe;		  /* VMBUS_PIPE_BYTES */
	uint8_t for_guest_accept; /* the host connects to a socket that the guest listens on */
	uint8_t for_guest_container;
	uint32_t version;
	GUID silo; /* where the container is not the host itself */
	uint8_t padding[94];
} VMBUS_PACKED;
VMBUS_SIZE(socket_offer, VMBUS_USER_DATA);
VMBUS_AT(socket_offer, for_guest_accept, 4);

#define SOCKET_OFFER_FLAGS (VMBUS_OFFER_ENUMERATE | VMBUS_OFFER_PIPE | VMBUS_OFFER_TLNPI)

/* Before the data of every packet. */
struct socket_header {
	uint32_t type; /* SOCKET_DATA */
	uint32_t size; /* of the data that follows; 0: no more will come */
} VMBUS_PACKED;
VMBUS_SIZE(socket_header, 8);

#define SOCKET_DATA	1u
#define SOCKET_DATA_MAX 16384u /* that the guest takes in a packet */

#endif
