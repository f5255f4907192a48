/*
 * ic_protocol.h - what the host and a guest's integration components say to each other: the frame
 * that all services share, and the messages of each.
 *
 * A packet carries one message: the pipe's header, the frame's, and the service's message. The host
 * asks, the guest answers with the same message, changed where the answer stands; the host has at
 * most one message of a service under way. First of all the host names the versions that it knows
 * and the guest picks one of each list.
 *
 * Facts: Linux 6.1, include/linux/hyperv.h, include/uapi/linux/hyperv.h, drivers/hv/hv_util.c,
 * hv_kvp.c, hv_snapshot.c, hv_fcopy.c (the guest's side); OpenVMM, hyperv_ic_protocol (the host's,
 * and the only source of the binary addresses of key-value exchange 5.0).
 * Little-endian; strings are UTF-16.
 */
#ifndef PARTITA_VSP_IC_PROTOCOL_H
#define PARTITA_VSP_IC_PROTOCOL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define IC_PACKED	    __attribute__((packed))
#define IC_SIZE(type, size) static_assert(sizeof(struct type) == (size), #type)
#define IC_AT(type, member, offset)                                                                \
	static_assert(offsetof(struct type, member) == (offset), #type "." #member)

/* Interface and instance of each service; the instances are those of Hyper-V's machines. */
#define IC_GUID(a, b, c, ...) ((GUID){a, b, c, {__VA_ARGS__}})
/* 57164f39-9115-4e78-ab55-382f3bd5422d, fd149e91-82e0-4a7d-afa6-2a4166cbd7c0 */
#define IC_HEARTBEAT_INTERFACE                                                                     \
	IC_GUID(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d)
#define IC_HEARTBEAT_INSTANCE                                                                      \
	IC_GUID(0xfd149e91, 0x82e0, 0x4a7d, 0xaf, 0xa6, 0x2a, 0x41, 0x66, 0xcb, 0xd7, 0xc0)
/* 9527e630-d0ae-497b-adce-e80ab0175caf, 2dd1ce17-079e-403c-b352-a1921ee207ee */
#define IC_TIMESYNC_INTERFACE                                                                      \
	IC_GUID(0x9527e630, 0xd0ae, 0x497b, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf)
#define IC_TIMESYNC_INSTANCE                                                                       \
	IC_GUID(0x2dd1ce17, 0x079e, 0x403c, 0xb3, 0x52, 0xa1, 0x92, 0x1e, 0xe2, 0x07, 0xee)
/* 0e0b6031-5213-4934-818b-38d90ced39db, b6650ff7-33bc-4840-8048-e0676786f393 */
#define IC_SHUTDOWN_INTERFACE                                                                      \
	IC_GUID(0x0e0b6031, 0x5213, 0x4934, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb)
#define IC_SHUTDOWN_INSTANCE                                                                       \
	IC_GUID(0xb6650ff7, 0x33bc, 0x4840, 0x80, 0x48, 0xe0, 0x67, 0x67, 0x86, 0xf3, 0x93)
/* a9a0f4e7-5a45-4d96-b827-8a841e8c03e6, 242ff919-07db-4180-9c2e-b86cb68c8c55 */
#define IC_KVP_INTERFACE                                                                           \
	IC_GUID(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6)
#define IC_KVP_INSTANCE                                                                            \
	IC_GUID(0x242ff919, 0x07db, 0x4180, 0x9c, 0x2e, 0xb8, 0x6c, 0xb6, 0x8c, 0x8c, 0x55)
/* 35fa2e29-ea23-4236-96ae-3a6ebacba440, 2450ee40-33bf-4fbd-892e-9fb06e9214cf */
#define IC_VSS_INTERFACE                                                                           \
	IC_GUID(0x35fa2e29, 0xea23, 0x4236, 0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb, 0xa4, 0x40)
#define IC_VSS_INSTANCE                                                                            \
	IC_GUID(0x2450ee40, 0x33bf, 0x4fbd, 0x89, 0x2e, 0x9f, 0xb0, 0x6e, 0x92, 0x14, 0xcf)
/* 34d14be3-dee4-41c8-9ae7-6b174977c192, eb765408-105f-49b6-b4aa-c123b64d17d4 */
#define IC_FCOPY_INTERFACE                                                                         \
	IC_GUID(0x34d14be3, 0xdee4, 0x41c8, 0x9a, 0xe7, 0x6b, 0x17, 0x49, 0x77, 0xc1, 0x92)
#define IC_FCOPY_INSTANCE                                                                          \
	IC_GUID(0xeb765408, 0x105f, 0x49b6, 0xb4, 0xaa, 0xc1, 0x23, 0xb6, 0x4d, 0x17, 0xd4)

/* ---- The frame ------------------------------------------------------------------------------ */

#define IC_PIPE_DATA 1u

struct ic_pipe_header {
	uint32_t type; /* IC_PIPE_DATA */
	uint32_t size; /* of what follows */
} IC_PACKED;
IC_SIZE(ic_pipe_header, 8);

struct ic_version {
	uint16_t major, minor;
} IC_PACKED;
IC_SIZE(ic_version, 4);

enum ic_type {
	IC_NEGOTIATE = 0,
	IC_HEARTBEAT = 1,
	IC_KVP = 2,
	IC_SHUTDOWN = 3,
	IC_TIMESYNC = 4,
	IC_VSS = 5,
	IC_FCOPY = 7,
};

enum ic_flags {
	IC_TRANSACTION = 1,
	IC_REQUEST = 2,
	IC_RESPONSE = 4,
};

enum ic_status { /* HRESULTs */
	IC_OK = 0,
	IC_FAIL = 0x80004005,
	IC_NOT_SUPPORTED = 0x80070032,
	IC_EXISTS = 0x80070050,
	IC_INVALID = 0x80070057,
	IC_DISK_FULL = 0x80070070,
	IC_NO_MORE_ITEMS = 0x80070103,
	IC_LOCKED = 0x800704f7,
	IC_NOT_CONNECTED = 0x8007048f,
	IC_NOT_FOUND = 0x80041002,
};

struct ic_header {
	struct ic_version framework;
	uint16_t type; /* enum ic_type */
	struct ic_version message;
	uint16_t size; /* of the message that follows */
	uint32_t status;
	uint8_t transaction;
	uint8_t flags; /* enum ic_flags */
	uint8_t reserved[2];
} IC_PACKED;
IC_SIZE(ic_header, 20);

/* The versions of the framework follow, then those of the service; an answer has one of each. */
struct ic_negotiate {
	uint16_t frameworks, messages;
	uint32_t reserved;
} IC_PACKED;
IC_SIZE(ic_negotiate, 8);

/* ---- Heartbeat ------------------------------------------------------------------------------ */

enum ic_application_state {
	IC_APPLICATIONS_UNKNOWN = 0,
	IC_APPLICATIONS_HEALTHY = 1,
	IC_APPLICATIONS_CRITICAL = 2,
	IC_APPLICATIONS_STOPPED = 3,
};

struct ic_heartbeat {
	uint64_t sequence; /* the answer's is one higher */
	uint32_t state;	   /* enum ic_application_state, in the answer, from 3.0 on */
	uint32_t reserved[7];
} IC_PACKED;
IC_SIZE(ic_heartbeat, 40);

/* ---- Time synchronisation ------------------------------------------------------------------- */

enum ic_time_flags {
	IC_TIME_SYNC = 1,   /* the guest shall set its clock */
	IC_TIME_SAMPLE = 2, /* for the guest to use as it likes */
};

/* Times are in units of 100 ns since 1601. */
struct ic_timesync {
	uint64_t parent_time, child_time, round_trip;
	uint8_t flags;
	uint8_t reserved[3];
} IC_PACKED;
IC_SIZE(ic_timesync, 28);
IC_AT(ic_timesync, flags, 24);

/* From 4.0 on. */
struct ic_timesync_reference {
	uint64_t parent_time;
	uint64_t reference; /* the partition's reference time at that moment */
	uint8_t flags, leap, stratum;
	uint8_t reserved[5];
} IC_PACKED;
IC_SIZE(ic_timesync_reference, 24);
IC_AT(ic_timesync_reference, flags, 16);

/* ---- Shutdown ------------------------------------------------------------------------------- */

enum ic_shutdown_flags {
	IC_SHUTDOWN_FORCE = 1,
	IC_SHUTDOWN_RESTART = 2,   /* from 3.1 on */
	IC_SHUTDOWN_HIBERNATE = 4, /* from 3.2 on */
};

#define IC_REASON_PLANNED 0x80000000u

struct ic_shutdown {
	uint32_t reason;
	uint32_t timeout; /* seconds */
	uint32_t flags;
	uint16_t text[1024];
} IC_PACKED;
IC_SIZE(ic_shutdown, 2060);

/* ---- Key-value exchange --------------------------------------------------------------------- */

enum ic_kvp_operation {
	IC_KVP_GET = 0,
	IC_KVP_SET = 1,
	IC_KVP_DELETE = 2,
	IC_KVP_ENUMERATE = 3,
	IC_KVP_GET_IP = 4, /* from 4.0 on */
	IC_KVP_SET_IP = 5,
};

enum ic_kvp_type { /* registry types; Linux has another number for the last one */
	IC_KVP_STRING = 1,
	IC_KVP_EXPAND_STRING = 2,
	IC_KVP_U32 = 4,
	IC_KVP_U64_LINUX = 8,
	IC_KVP_U64 = 11,
};

#define IC_KVP_KEY   512u  /* bytes, with the terminator */
#define IC_KVP_VALUE 2048u /* bytes, with the terminator of a string */

struct ic_kvp_value {
	uint32_t type;
	uint32_t key_size, value_size; /* bytes, with the terminator of a string */
	uint16_t key[IC_KVP_KEY / 2];
	union {
		uint16_t text[IC_KVP_VALUE / 2];
		uint32_t u32;
		uint64_t u64;
	} IC_PACKED;
} IC_PACKED;
IC_SIZE(ic_kvp_value, 2572);
IC_AT(ic_kvp_value, text, 524);

struct ic_kvp {
	uint8_t operation, pool;
	uint16_t reserved;
	union {
		struct ic_kvp_value value; /* get, set */
		struct {
			uint32_t index;
			struct ic_kvp_value value;
		} IC_PACKED item; /* enumerate */
		struct {
			uint32_t key_size;
			uint16_t key[IC_KVP_KEY / 2];
		} IC_PACKED name; /* delete */
	} IC_PACKED;
} IC_PACKED;
IC_SIZE(ic_kvp, 2580);
IC_AT(ic_kvp, item.value, 8);

enum ic_kvp_family {
	IC_KVP_NO_FAMILY = 0,
	IC_KVP_IPV4 = 1,
	IC_KVP_IPV6 = 2, /* the two may be combined */
};

#define IC_KVP_ADAPTER	 128u /* UTF-16 units, with the terminator */
#define IC_KVP_ADDRESSES 1024u
#define IC_KVP_GATEWAYS	 512u

/* Up to 4.0; lists are separated by ';'. */
struct ic_kvp_ip {
	uint8_t operation, pool;
	uint16_t adapter[IC_KVP_ADAPTER];
	uint8_t family, dhcp;
	uint16_t addresses[IC_KVP_ADDRESSES];
	uint16_t subnets[IC_KVP_ADDRESSES];
	uint16_t gateways[IC_KVP_GATEWAYS];
	uint16_t dns[IC_KVP_ADDRESSES];
} IC_PACKED;
IC_SIZE(ic_kvp_ip, 7428);
IC_AT(ic_kvp_ip, addresses, 260);

enum ic_kvp_origin {
	IC_KVP_ORIGIN_UNKNOWN = 0,
	IC_KVP_ORIGIN_OTHER = 1, /* than static: DHCP, say */
	IC_KVP_ORIGIN_STATIC = 2,
};

#define IC_KVP_BINARY_ADDRESSES 64u /* of each family */
#define IC_KVP_BINARY_GATEWAYS	5u

struct ic_kvp_counts {
	uint32_t ipv4, ipv6;
} IC_PACKED;
IC_SIZE(ic_kvp_counts, 8);

/* From 5.0 on, in a message of the same size. Addresses are in the order of the network. */
struct ic_kvp_ip_binary {
	uint8_t operation, pool;
	uint16_t reserved;
	struct ic_kvp_counts addresses, gateways, dns;
	uint16_t adapter[IC_KVP_ADAPTER];
	uint8_t family, dhcp;
	uint16_t reserved2;
	uint8_t ipv4_addresses[IC_KVP_BINARY_ADDRESSES][4];
	uint8_t ipv6_addresses[IC_KVP_BINARY_ADDRESSES][16];
	uint8_t ipv4_subnets[IC_KVP_BINARY_ADDRESSES][4]; /* masks, one for each address */
	uint32_t ipv6_subnets[IC_KVP_BINARY_ADDRESSES];	  /* lengths of prefixes */
	uint8_t ipv4_gateways[IC_KVP_BINARY_GATEWAYS][4];
	uint8_t ipv6_gateways[IC_KVP_BINARY_GATEWAYS][16];
	uint8_t ipv4_dns[IC_KVP_BINARY_ADDRESSES][4];
	uint8_t ipv6_dns[IC_KVP_BINARY_ADDRESSES][16];
	/* enum ic_kvp_origin: of the IPv4 addresses, and behind them of the IPv6 ones. */
	uint16_t origins[2 * IC_KVP_BINARY_ADDRESSES];
} IC_PACKED;
IC_SIZE(ic_kvp_ip_binary, 3716);
IC_AT(ic_kvp_ip_binary, adapter, 28);
IC_AT(ic_kvp_ip_binary, family, 284);
IC_AT(ic_kvp_ip_binary, ipv4_addresses, 288);
IC_AT(ic_kvp_ip_binary, ipv6_subnets, 1824);
IC_AT(ic_kvp_ip_binary, ipv4_dns, 2180);
IC_AT(ic_kvp_ip_binary, origins, 3460);

/* ---- Volume shadow copy --------------------------------------------------------------------- */

enum ic_vss_operation {
	IC_VSS_HOT_BACKUP = 2, /* can there be a backup now? */
	IC_VSS_FREEZE = 5,     /* from 5.0 on */
	IC_VSS_THAW = 6,
};

enum ic_vss_hot_backup {
	IC_VSS_NO_AUTO_RECOVERY = 5,
};

struct ic_vss {
	uint8_t operation;
	uint8_t reserved[7];
	uint32_t flags; /* of the answer to HOT_BACKUP: enum ic_vss_hot_backup */
	uint8_t rest[27];
} IC_PACKED;
IC_SIZE(ic_vss, 39);

/* FREEZE names the disks that the backup is of; none: all. */
struct ic_vss_freeze {
	uint8_t operation;
	uint8_t reserved[7];
	uint32_t backup_type, flags, disks;
	uint8_t disk[260][24];
} IC_PACKED;
IC_SIZE(ic_vss_freeze, 6260);

/* ---- File copy ------------------------------------------------------------------------------ */

enum ic_fcopy_operation {
	IC_FCOPY_START = 0,
	IC_FCOPY_WRITE = 1,
	IC_FCOPY_COMPLETE = 2,
	IC_FCOPY_CANCEL = 3,
};

enum ic_fcopy_flags {
	IC_FCOPY_OVERWRITE = 1,
	IC_FCOPY_MAKE_PATH = 2,
};

#define IC_FCOPY_NAME 260u  /* UTF-16 units, with the terminator */
#define IC_FCOPY_DATA 6144u /* bytes in a message */

struct ic_fcopy_header {
	uint32_t operation;
	uint8_t service[16], session[16];
} IC_PACKED;
IC_SIZE(ic_fcopy_header, 36);

struct ic_fcopy_start {
	struct ic_fcopy_header header;
	uint16_t file[IC_FCOPY_NAME];
	uint16_t directory[IC_FCOPY_NAME];
	uint32_t flags;
	uint64_t size;
} IC_PACKED;
IC_SIZE(ic_fcopy_start, 1088);

struct ic_fcopy_write {
	struct ic_fcopy_header header;
	uint32_t reserved;
	uint64_t offset;
	uint32_t size;
	uint8_t data[IC_FCOPY_DATA];
} IC_PACKED;
IC_SIZE(ic_fcopy_write, 6196);

#endif
