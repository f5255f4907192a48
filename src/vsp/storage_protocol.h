/*
 * storage_protocol.h - what the guest's storage driver and the host say to each other over VMBus: a
 * packet of fixed size for everything, SCSI commands among it.
 *
 * Facts: Linux 6.1, drivers/scsi/storvsc_drv.c (the guest's side); OpenVMM, storvsp_protocol (the
 * host's). Little-endian.
 */
#ifndef PARTITA_VSP_STORAGE_PROTOCOL_H
#define PARTITA_VSP_STORAGE_PROTOCOL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* ba6163d9-04a1-4d29-b605-72e2ffb1dc7f: a SCSI controller */
#define STORAGE_SCSI_INTERFACE                                                                     \
	{                                                                                          \
		0xba6163d9, 0x04a1, 0x4d29,                                                        \
		{                                                                                  \
			0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f                             \
		}                                                                                  \
	}
/* 32412632-86cb-44a2-9b5c-50d1417354f5: the fast path to a disk of an IDE controller */
#define STORAGE_IDE_INTERFACE                                                                      \
	{                                                                                          \
		0x32412632, 0x86cb, 0x44a2,                                                        \
		{                                                                                  \
			0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5                             \
		}                                                                                  \
	}

enum storage_operation {
	STORAGE_COMPLETE_IO = 1,
	STORAGE_REMOVE_DEVICE = 2,
	STORAGE_EXECUTE_SRB = 3,
	STORAGE_RESET_LUN = 4,
	STORAGE_RESET_ADAPTER = 5,
	STORAGE_RESET_BUS = 6,
	STORAGE_BEGIN_INITIALIZATION = 7,
	STORAGE_END_INITIALIZATION = 8,
	STORAGE_QUERY_PROTOCOL_VERSION = 9,
	STORAGE_QUERY_PROPERTIES = 10,
	STORAGE_ENUMERATE_BUS = 11,
	STORAGE_CREATE_SUB_CHANNELS = 13,
};

/* Protocol versions, major in the upper byte; those before Windows 8 have the short SRB. */
#define STORAGE_VERSION_WIN6	  0x0200
#define STORAGE_VERSION_WIN7	  0x0402
#define STORAGE_VERSION_WIN8	  0x0501
#define STORAGE_VERSION_WIN8_1	  0x0600
#define STORAGE_VERSION_THRESHOLD 0x0602

enum storage_status { /* NTSTATUS */
	STORAGE_SUCCESS = 0x00000000,
	STORAGE_INVALID_PARAMETER = 0xc000000d,
	STORAGE_INVALID_DEVICE_REQUEST = 0xc0000010,
	STORAGE_REVISION_MISMATCH = 0xc0000059,
	STORAGE_INVALID_DEVICE_STATE = 0xc0000184,
};

enum storage_srb_status {
	SRB_STATUS_SUCCESS = 0x01,
	SRB_STATUS_ERROR = 0x04,
	SRB_STATUS_INVALID_REQUEST = 0x06,
	SRB_STATUS_DATA_OVERRUN = 0x12,
	SRB_STATUS_INVALID_LUN = 0x20,
	SRB_STATUS_AUTOSENSE_VALID = 0x80, /* a flag beside the others */
};

#define STORAGE_CDB   16
#define STORAGE_SENSE 20 /* room for sense data */

struct storage_srb {
	uint16_t length;
	uint8_t srb_status, scsi_status;
	uint8_t port, path, target, lun;
	uint8_t cdb_length, sense_length, data_in, properties;
	uint32_t data_transfer_length;
	union {
		uint8_t cdb[STORAGE_CDB];
		uint8_t sense[STORAGE_SENSE];
	};
	/* Since Windows 8. */
	uint16_t reserved;
	uint8_t queue_tag, queue_action;
	uint32_t srb_flags, timeout, queue_sort_key;
} __attribute__((packed));

static_assert(offsetof(struct storage_srb, data_transfer_length) == 12, "SRB");
static_assert(offsetof(struct storage_srb, reserved) == 0x24, "the SRB before Windows 8");
static_assert(sizeof(struct storage_srb) == 0x34, "SRB");

struct storage_properties {
	uint32_t reserved;
	uint16_t max_sub_channels, reserved1;
	uint32_t flags;
	uint32_t max_transfer_bytes;
	uint64_t reserved2;
} __attribute__((packed));

static_assert(sizeof(struct storage_properties) == 24, "properties");

#define STORAGE_MULTI_CHANNEL 0x1

struct storage_packet {
	uint32_t operation; /* enum storage_operation */
	uint32_t flags;
	uint32_t status; /* enum storage_status */
	union {
		struct storage_srb srb;
		struct storage_properties properties;
		struct {
			uint16_t major_minor, revision;
		} version;
		uint16_t sub_channels;
	};
} __attribute__((packed));

static_assert(sizeof(struct storage_packet) == 64, "packet");
#define STORAGE_PACKET_SHORT (12u + 0x24u) /* before Windows 8 */

/* In the offer of an IDE disk's channel, for old drivers. */
struct storage_offer {
	uint16_t reserved;
	uint8_t path, target;
	uint32_t reserved1;
	uint32_t flags;
	uint32_t reserved2[3];
} __attribute__((packed));

static_assert(sizeof(struct storage_offer) == 24, "offer");

#define STORAGE_OFFER_EMULATED_IDE 0x2

#endif
