/*
 * hvsocket.h - Hyper-V sockets: the address family that reaches a virtual machine without a
 * network. Names, values and layouts are the Windows SDK's (the page "Make your own integration
 * services" of Microsoft's virtualization documentation, and hvsocket.h). Link with -lhvsocket, or
 * preload libhvsocket.so:
 *
 *	SOCKADDR_HV to = {.Family = AF_HYPERV, .VmId = vm, .ServiceId = service};
 *	int s = socket(AF_HYPERV, SOCK_STREAM, HV_PROTOCOL_RAW);
 *
 *	connect(s, (struct sockaddr *)&to, sizeof(to));
 *
 * From there on the descriptor is a stream socket of the kernel: send, recv, poll, epoll, shutdown
 * and all else are the kernel's own. Errors are errno's: ENETUNREACH (no such machine runs),
 * ECONNREFUSED (nobody serves that, or the machine refused), EACCES (the user may not),
 * ECONNRESET, ETIMEDOUT. See docs/sockets.md.
 */
#ifndef PARTITA_HVSOCKET_H
#define PARTITA_HVSOCKET_H

#include <sys/socket.h>

#include <guiddef.h>

/*
 * The SDK's value. Linux has it as AF_ISDN, which knows no SOCK_STREAM: the two never meet, and
 * whatever is not SOCK_STREAM goes to the kernel. A program that was compiled with another value is
 * told to the library by the environment: PARTITA_AF_HYPERV=43.
 */
#ifndef AF_HYPERV
#define AF_HYPERV 34
#endif
#ifndef PF_HYPERV
#define PF_HYPERV AF_HYPERV
#endif

/* The protocol of a socket, and the level of its options. */
#define HV_PROTOCOL_RAW 1

/*
 * Options, with level HV_PROTOCOL_RAW; each is a ULONG.
 *
 * HVSOCKET_CONNECT_TIMEOUT: milliseconds that connect() waits for the other side, up to
 * HVSOCKET_CONNECT_TIMEOUT_MAX. 0, as at first: two seconds.
 * HVSOCKET_CONTAINER_PASSTHRU: what is meant for a container's host is meant for the host's host.
 * There are no containers here: it can be set and read, and changes nothing.
 * HVSOCKET_CONNECTED_SUSPEND: the connection stays while its machine is suspended, which it always
 * does here. It can be set.
 *
 * The level has the value that Linux gives SOL_SOCKET, so on such a socket the first takes the
 * place of SO_DEBUG, the second is SO_REUSEADDR, which changes nothing either, and reading the
 * third is reading SO_ERROR.
 */
#define HVSOCKET_CONNECT_TIMEOUT     0x01
#define HVSOCKET_CONNECT_TIMEOUT_MAX 300000
#define HVSOCKET_CONTAINER_PASSTHRU  0x02
#define HVSOCKET_CONNECTED_SUSPEND   0x04

/* Flags of HVSOCKET_ADDRESS_INFO. */
#define HVSOCKET_ADDRESS_FLAG_PASSTHRU 0x00000001

typedef struct _SOCKADDR_HV {
	sa_family_t Family; /* ADDRESS_FAMILY in the SDK */
	USHORT Reserved;    /* 0 */
	GUID VmId;
	GUID ServiceId;
} SOCKADDR_HV, *PSOCKADDR_HV;

C_ASSERT(sizeof(SOCKADDR_HV) == 36);
C_ASSERT(offsetof(SOCKADDR_HV, VmId) == 4);
C_ASSERT(offsetof(SOCKADDR_HV, ServiceId) == 20);

typedef struct _HVSOCKET_ADDRESS_INFO {
	GUID SystemId;
	GUID VirtualMachineId;
	GUID SiloId;
	ULONG Flags;
} HVSOCKET_ADDRESS_INFO, *PHVSOCKET_ADDRESS_INFO;

C_ASSERT(sizeof(HVSOCKET_ADDRESS_INFO) == 52);

/* Who may connect, to bind to: every machine, and the host itself. */
DEFINE_GUID(
	HV_GUID_ZERO, 0x00000000, 0x0000, 0x0000, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00);
#define HV_GUID_WILDCARD HV_GUID_ZERO
DEFINE_GUID(HV_GUID_BROADCAST, 0xffffffff, 0xffff, 0xffff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff);
/* To bind to: every machine. */
DEFINE_GUID(HV_GUID_CHILDREN, 0x90db8b89, 0x0d35, 0x4f79, 0x8c, 0xe9, 0x49, 0xea, 0x0a, 0xc8, 0xb7,
	0xcd);
/* This host, to bind and to connect to. */
DEFINE_GUID(HV_GUID_LOOPBACK, 0xe0e16197, 0xdd56, 0x4a10, 0x91, 0x95, 0x5e, 0xe7, 0xa1, 0x55, 0xa8,
	0x38);
/* In a guest, its host; on the host, the host itself. */
DEFINE_GUID(
	HV_GUID_PARENT, 0xa42e7cda, 0xd03f, 0x480c, 0x9c, 0xc2, 0xa4, 0xde, 0x20, 0xab, 0xb8, 0x78);
/* In a container, its host. There are no containers here. */
DEFINE_GUID(HV_GUID_SILOHOST, 0x36bd0c5c, 0x7276, 0x4223, 0x88, 0xba, 0x7d, 0x03, 0xb6, 0x54, 0xc5,
	0x68);
/* The service of a vsock port: this, with the port in Data1. */
DEFINE_GUID(HV_GUID_VSOCK_TEMPLATE, 0x00000000, 0xfacb, 0x11e6, 0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79,
	0x86, 0xd3);

#endif
