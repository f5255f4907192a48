/*
 * vmbus_protocol.h - the bytes that VMBus is made of: control messages, ring buffers, packets, the
 * monitor page.
 *
 * Sources: Linux include/linux/hyperv.h and drivers/hv/hyperv_vmbus.h (the guest's side); OpenVMM
 * vmbus_core, vmbus_ring (the host's side, and what versions have what); TLFS "Inter-Partition
 * Communication", "Monitored Notifications".
 */
#ifndef PARTITA_VMBUS_PROTOCOL_H
#define PARTITA_VMBUS_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include <WinHvPlatform.h>

#define VMBUS_PACKED __attribute__((packed))
#define VMBUS_SIZE(type, bytes)                                                                    \
	_Static_assert(sizeof(struct type) == (bytes), "size of struct " #type)
#define VMBUS_AT(type, field, offset)                                                              \
	_Static_assert(offsetof(struct type, field) == (offset), #field " of struct " #type)

#define VMBUS_PAGE 4096u

/* ---- Connections and interrupts ------------------------------------------------------------- */

/* Where the guest posts messages: the first before version 5.0, the second since. */
#define VMBUS_MESSAGE_CONNECTION   1u
#define VMBUS_MESSAGE_CONNECTION_4 4u
/* What the guest signals when its bit in the interrupt page says which channel is meant. */
#define VMBUS_SHARED_CONNECTION 2u
/* What it signals for a channel with an interrupt of its own is this plus the channel's number. */
#define VMBUS_CHANNEL_CONNECTIONS 0x2000u

#define VMBUS_SINT	   2u /* where messages arrive unless the guest names another, and events */
#define VMBUS_SINT_COUNT   16u
#define VMBUS_MESSAGE_TYPE 1u
#define VMBUS_MESSAGE_PORT 1u

/* A channel's number (relid) is also its flag in the SynIC event page; 0 is no channel. */
#define VMBUS_MAX_CHANNELS 2048u

/* A processor's number that asks for no interrupts. */
#define VMBUS_NO_VP 0xFFFFFFFFu

/* The message as the SynIC delivers it: TLFS, HV_MESSAGE. */
struct vmbus_synic_message {
	uint32_t type;
	uint8_t payload_size;
	uint8_t flags;
	uint16_t reserved;
	uint64_t port;
	uint8_t payload[240];
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_synic_message, 256);

#define VMBUS_PAYLOAD_MAX 240u

/* ---- Versions ------------------------------------------------------------------------------- */

#define VMBUS_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))
#define VMBUS_WIN8		    VMBUS_VERSION(2, 4)
#define VMBUS_WIN8_1		    VMBUS_VERSION(3, 0)
#define VMBUS_WIN10		    VMBUS_VERSION(4, 0)
#define VMBUS_WIN10_RS3		    VMBUS_VERSION(4, 1) /* TL connect results */
#define VMBUS_WIN10_5_0		    VMBUS_VERSION(5, 0) /* message connection, SINT named */
#define VMBUS_WIN10_5_1		    VMBUS_VERSION(5, 1)
#define VMBUS_WIN10_5_2		    VMBUS_VERSION(5, 2) /* silo in TL connect requests */
#define VMBUS_WIN10_5_3		    VMBUS_VERSION(5, 3) /* response to modify-channel */

/* ---- Control messages ----------------------------------------------------------------------- */

enum vmbus_message_type {
	VMBUS_OFFER_CHANNEL = 1,
	VMBUS_RESCIND_OFFER = 2,
	VMBUS_REQUEST_OFFERS = 3,
	VMBUS_ALL_OFFERS_DELIVERED = 4,
	VMBUS_OPEN_CHANNEL = 5,
	VMBUS_OPEN_RESULT = 6,
	VMBUS_CLOSE_CHANNEL = 7,
	VMBUS_GPADL_HEADER = 8,
	VMBUS_GPADL_BODY = 9,
	VMBUS_GPADL_CREATED = 10,
	VMBUS_GPADL_TEARDOWN = 11,
	VMBUS_GPADL_TORNDOWN = 12,
	VMBUS_RELID_RELEASED = 13,
	VMBUS_INITIATE_CONTACT = 14,
	VMBUS_VERSION_RESPONSE = 15,
	VMBUS_UNLOAD = 16,
	VMBUS_UNLOAD_RESPONSE = 17,
	VMBUS_TL_CONNECT_REQUEST = 21,
	VMBUS_MODIFY_CHANNEL = 22,
	VMBUS_TL_CONNECT_RESULT = 23,
	VMBUS_MODIFY_CHANNEL_RESPONSE = 24,
	VMBUS_MESSAGE_TYPES
};

/* Status in results: NTSTATUS values. */
#define VMBUS_STATUS_SUCCESS	  0u
#define VMBUS_STATUS_UNSUCCESSFUL 0xC0000001u
#define VMBUS_STATUS_REFUSED	  0xC0000236u

/* Also the whole of REQUEST_OFFERS, ALL_OFFERS_DELIVERED, UNLOAD and UNLOAD_RESPONSE. */
struct vmbus_header {
	uint32_t type;
	uint32_t padding;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_header, 8);

/* Also of RESCIND_OFFER, CLOSE_CHANNEL and RELID_RELEASED. */
struct vmbus_relid_message {
	struct vmbus_header header;
	uint32_t relid;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_relid_message, 12);

struct vmbus_initiate_contact {
	struct vmbus_header header;
	uint32_t version;
	uint32_t target_vp; /* where messages to the guest go */
	union {
		uint64_t interrupt_page; /* before 5.0; its second half is the guest's to set */
		struct {
			uint8_t sint; /* since 5.0; as are the next */
			uint8_t vtl;
			uint16_t padding;
			uint32_t features;
		} VMBUS_PACKED;
	};
	uint64_t monitor_page_to_guest; /* 0: none */
	uint64_t monitor_page_to_host;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_initiate_contact, 40);
VMBUS_AT(vmbus_initiate_contact, interrupt_page, 16);
VMBUS_AT(vmbus_initiate_contact, monitor_page_to_host, 32);

struct vmbus_version_response {
	struct vmbus_header header;
	uint8_t supported;
	uint8_t connection_state;
	uint16_t padding;
	uint32_t connection; /* since 5.0: where to post from now on */
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_version_response, 16);

#define VMBUS_USER_DATA 120u

/* vmbus_offer_channel.flags */
#define VMBUS_OFFER_ENUMERATE 0x0001u
#define VMBUS_OFFER_PIPE      0x0010u /* user data begins with the pipe's mode */
#define VMBUS_OFFER_TLNPI     0x2000u /* a socket: the interface is its service */
#define VMBUS_PIPE_BYTES      0u
#define VMBUS_PIPE_MESSAGES   4u
/* vmbus_offer_channel.dedicated */
#define VMBUS_OFFER_DEDICATED 1u

struct vmbus_offer_channel {
	struct vmbus_header header;
	GUID interface;
	GUID instance;
	uint64_t reserved[2];
	uint16_t flags;
	uint16_t mmio_megabytes;
	uint8_t user_data[VMBUS_USER_DATA];
	uint16_t subchannel; /* 0: a primary channel */
	uint16_t mmio_megabytes_optional;
	uint32_t relid;
	uint8_t monitor;
	uint8_t monitor_allocated;
	uint16_t dedicated;
	uint32_t connection;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_offer_channel, 196);
VMBUS_AT(vmbus_offer_channel, user_data, 60);
VMBUS_AT(vmbus_offer_channel, relid, 184);

struct vmbus_open_channel {
	struct vmbus_header header;
	uint32_t relid;
	uint32_t open_id;
	uint32_t ring_gpadl;
	uint32_t target_vp;
	uint32_t downstream_page; /* where in the GPADL the ring from host to guest begins */
	uint8_t user_data[VMBUS_USER_DATA];
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_open_channel, 148);

struct vmbus_open_result {
	struct vmbus_header header;
	uint32_t relid;
	uint32_t open_id;
	uint32_t status;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_open_result, 20);

/* Followed by ranges (struct vmbus_gpa_range), continued in body messages. */
struct vmbus_gpadl_header {
	struct vmbus_header header;
	uint32_t relid;
	uint32_t gpadl;
	uint16_t range_bytes; /* of all ranges, in all messages */
	uint16_t range_count;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_gpadl_header, 20);

struct vmbus_gpadl_body {
	struct vmbus_header header;
	uint32_t number;
	uint32_t gpadl;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_gpadl_body, 16);

/* Page numbers follow: as many as the bytes touch. */
struct vmbus_gpa_range {
	uint32_t byte_count;
	uint32_t byte_offset; /* in the first page */
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_gpa_range, 8);

struct vmbus_gpadl_created {
	struct vmbus_header header;
	uint32_t relid;
	uint32_t gpadl;
	uint32_t status;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_gpadl_created, 20);

struct vmbus_gpadl_teardown {
	struct vmbus_header header;
	uint32_t relid;
	uint32_t gpadl;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_gpadl_teardown, 16);

struct vmbus_gpadl_torndown {
	struct vmbus_header header;
	uint32_t gpadl;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_gpadl_torndown, 12);

struct vmbus_modify_channel {
	struct vmbus_header header;
	uint32_t relid;
	uint32_t target_vp;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_modify_channel, 16);

struct vmbus_modify_response {
	struct vmbus_header header;
	uint32_t relid;
	uint32_t status;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_modify_response, 16);

/* Since 5.2 a silo's GUID may follow. */
struct vmbus_tl_connect {
	struct vmbus_header header;
	GUID endpoint;
	GUID service;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_tl_connect, 40);

struct vmbus_tl_connect_result {
	struct vmbus_header header;
	GUID endpoint;
	GUID service;
	uint32_t status;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_tl_connect_result, 44);

/* ---- Rings ---------------------------------------------------------------------------------- */

/*
 * The first page of a ring; the data pages follow. Indices are offsets into the data. This and the
 * monitor page are not packed (they need not be): their words are accessed as wholes.
 */
struct vmbus_ring_control {
	uint32_t write_index;
	uint32_t read_index;
	uint32_t interrupt_mask;    /* the reader's: not 0, it looks without being told */
	uint32_t pending_send_size; /* the writer's: it waits for more room than this */
	uint32_t reserved[12];
	uint32_t features;
	uint8_t padding[VMBUS_PAGE - 68];
};
VMBUS_SIZE(vmbus_ring_control, VMBUS_PAGE);
VMBUS_AT(vmbus_ring_control, features, 64);

#define VMBUS_RING_PENDING_SEND 1u /* features: pending_send_size is set and honoured */

enum vmbus_packet_type {
	VMBUS_PACKET_INBAND = 6,
	VMBUS_PACKET_TRANSFER_PAGES = 7,
	VMBUS_PACKET_GPA_DIRECT = 9,
	VMBUS_PACKET_COMPLETION = 11,
};

#define VMBUS_PACKET_WANTS_COMPLETION 1u /* flags */

/* Lengths count units of 8 bytes, this header included. */
struct vmbus_descriptor {
	uint16_t type;
	uint16_t offset8; /* of the payload */
	uint16_t length8;
	uint16_t flags;
	uint64_t transaction;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_descriptor, 16);

/* Each packet ends with this. */
struct vmbus_trailer {
	uint32_t reserved;
	uint32_t start; /* the packet's offset in the ring */
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_trailer, 8);

/* After the descriptor of a GPA-direct packet; ranges (struct vmbus_gpa_range) follow. */
struct vmbus_gpa_direct {
	uint32_t reserved;
	uint32_t range_count;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_gpa_direct, 8);

/* After the descriptor of a transfer-page packet; ranges (struct vmbus_transfer_range) follow. */
struct vmbus_transfer_pages {
	uint16_t set;
	uint8_t sender_owns_set;
	uint8_t reserved;
	uint32_t range_count;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_transfer_pages, 8);

struct vmbus_transfer_range {
	uint32_t byte_count;
	uint32_t byte_offset;
} VMBUS_PACKED;
VMBUS_SIZE(vmbus_transfer_range, 8);

/* ---- Monitored notifications ---------------------------------------------------------------- */

#define VMBUS_MONITOR_GROUPS 4u
#define VMBUS_MONITORS	     (VMBUS_MONITOR_GROUPS * 32)

struct vmbus_monitor_group {
	uint32_t pending; /* a bit per monitor, set by who signals */
	uint32_t armed;
};

struct vmbus_monitor_parameter {
	uint32_t connection;
	uint16_t flag;
	uint16_t reserved;
};

struct vmbus_monitor_page {
	uint32_t group_enable; /* bits 0..3 */
	uint32_t reserved0;
	struct vmbus_monitor_group group[VMBUS_MONITOR_GROUPS];
	uint64_t reserved1[3];
	uint32_t next_check[VMBUS_MONITORS];
	uint16_t latency[VMBUS_MONITORS]; /* in 100 ns */
	uint64_t reserved2[32];
	struct vmbus_monitor_parameter parameter[VMBUS_MONITORS];
	uint8_t reserved3[1984];
};
VMBUS_SIZE(vmbus_monitor_page, VMBUS_PAGE);
VMBUS_AT(vmbus_monitor_page, next_check, 0x40);
VMBUS_AT(vmbus_monitor_page, latency, 0x240);
VMBUS_AT(vmbus_monitor_page, parameter, 0x440);

#endif
