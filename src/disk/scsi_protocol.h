/*
 * scsi_protocol.h - numbers and layouts of SCSI: commands, sense data, pages.
 *
 * Facts: SPC-4 (r37) for primary commands, SBC-3 (r36) for disks, MMC-6 (r02g) for DVD drives. All
 * fields of more than a byte are big-endian, unaligned.
 */
#ifndef PARTITA_DISK_SCSI_PROTOCOL_H
#define PARTITA_DISK_SCSI_PROTOCOL_H

#include <stdint.h>

enum scsi_opcode {
	SCSI_TEST_UNIT_READY = 0x00,
	SCSI_REQUEST_SENSE = 0x03,
	SCSI_FORMAT_UNIT = 0x04,
	SCSI_READ_6 = 0x08,
	SCSI_WRITE_6 = 0x0a,
	SCSI_INQUIRY = 0x12,
	SCSI_MODE_SELECT_6 = 0x15,
	SCSI_RESERVE_6 = 0x16,
	SCSI_RELEASE_6 = 0x17,
	SCSI_MODE_SENSE_6 = 0x1a,
	SCSI_START_STOP_UNIT = 0x1b,
	SCSI_SEND_DIAGNOSTIC = 0x1d,
	SCSI_PREVENT_ALLOW_REMOVAL = 0x1e,
	SCSI_READ_CAPACITY_10 = 0x25,
	SCSI_READ_10 = 0x28,
	SCSI_WRITE_10 = 0x2a,
	SCSI_WRITE_VERIFY_10 = 0x2e,
	SCSI_VERIFY_10 = 0x2f,
	SCSI_SYNCHRONIZE_CACHE_10 = 0x35,
	SCSI_WRITE_SAME_10 = 0x41,
	SCSI_UNMAP = 0x42,
	SCSI_READ_TOC = 0x43,
	SCSI_GET_CONFIGURATION = 0x46,
	SCSI_GET_EVENT_STATUS = 0x4a,
	SCSI_READ_DISC_INFORMATION = 0x51,
	SCSI_READ_TRACK_INFORMATION = 0x52,
	SCSI_MODE_SELECT_10 = 0x55,
	SCSI_MODE_SENSE_10 = 0x5a,
	SCSI_PERSISTENT_RESERVE_IN = 0x5e,
	SCSI_PERSISTENT_RESERVE_OUT = 0x5f,
	SCSI_READ_16 = 0x88,
	SCSI_WRITE_16 = 0x8a,
	SCSI_WRITE_VERIFY_16 = 0x8e,
	SCSI_VERIFY_16 = 0x8f,
	SCSI_SYNCHRONIZE_CACHE_16 = 0x91,
	SCSI_WRITE_SAME_16 = 0x93,
	SCSI_SERVICE_ACTION_IN_16 = 0x9e,
	SCSI_REPORT_LUNS = 0xa0,
	SCSI_READ_12 = 0xa8,
	SCSI_WRITE_12 = 0xaa,
	SCSI_READ_DVD_STRUCTURE = 0xad,
	SCSI_WRITE_VERIFY_12 = 0xae,
	SCSI_VERIFY_12 = 0xaf,
	SCSI_MECHANISM_STATUS = 0xbd,
};

#define SCSI_SAI_READ_CAPACITY_16 0x10

/* Sense keys (SPC-4, table 48). */
enum scsi_key {
	SCSI_KEY_NOT_READY = 0x2,
	SCSI_KEY_MEDIUM_ERROR = 0x3,
	SCSI_KEY_HARDWARE_ERROR = 0x4,
	SCSI_KEY_ILLEGAL_REQUEST = 0x5,
	SCSI_KEY_UNIT_ATTENTION = 0x6,
	SCSI_KEY_DATA_PROTECT = 0x7,
	SCSI_KEY_MISCOMPARE = 0xe,
};

/* Additional sense codes and their qualifiers, in one number (SPC-4, table F.1). */
enum scsi_code {
	SCSI_NO_SENSE = 0x0000,
	SCSI_WRITE_ERROR = 0x0c00,
	SCSI_UNRECOVERED_READ_ERROR = 0x1100,
	SCSI_PARAMETER_LIST_LENGTH = 0x1a00,
	SCSI_MISCOMPARE = 0x1d00,
	SCSI_INVALID_OPCODE = 0x2000,
	SCSI_LBA_OUT_OF_RANGE = 0x2100,
	SCSI_INVALID_FIELD_IN_CDB = 0x2400,
	SCSI_INVALID_LUN = 0x2500,
	SCSI_INVALID_FIELD_IN_LIST = 0x2600,
	SCSI_INVALID_RELEASE = 0x2604,
	SCSI_WRITE_PROTECTED = 0x2700,
	SCSI_SPACE_EXHAUSTED = 0x2707,
	SCSI_MEDIUM_CHANGED = 0x2800,
	SCSI_RESERVATIONS_PREEMPTED = 0x2a03,
	SCSI_RESERVATIONS_RELEASED = 0x2a04,
	SCSI_REGISTRATIONS_PREEMPTED = 0x2a05,
	SCSI_CAPACITY_CHANGED = 0x2a09,
	SCSI_NO_MEDIUM_TRAY_CLOSED = 0x3a01,
	SCSI_NO_MEDIUM_TRAY_OPEN = 0x3a02,
	SCSI_INTERNAL_FAILURE = 0x4400,
	SCSI_REMOVAL_PREVENTED = 0x5302,
	SCSI_INSUFFICIENT_REGISTRATION = 0x5504,
};

/* Vital product data pages (SPC-4, 7.8); the last two are Microsoft's. */
enum scsi_vpd {
	SCSI_VPD_SUPPORTED = 0x00,
	SCSI_VPD_SERIAL = 0x80,
	SCSI_VPD_IDENTIFICATION = 0x83,
	SCSI_VPD_BLOCK_LIMITS = 0xb0,
	SCSI_VPD_CHARACTERISTICS = 0xb1,
	SCSI_VPD_PROVISIONING = 0xb2,
	SCSI_VPD_PAGING_EXTENT = 0xce,
	SCSI_VPD_VIRTUAL_DEVICE = 0xcf,
};

enum scsi_mode_page {
	SCSI_MODE_CACHING = 0x08,
	SCSI_MODE_RECOVERY = 0x01, /* MMC */
	SCSI_MODE_POWER = 0x1a,	   /* MMC */
	SCSI_MODE_TIMEOUT = 0x1d,  /* MMC */
	SCSI_MODE_ALL = 0x3f,
};

static inline uint16_t scsi_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t scsi_get24(const uint8_t *p)
{
	return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static inline uint32_t scsi_get32(const uint8_t *p)
{
	return (uint32_t)scsi_get16(p) << 16 | scsi_get16(p + 2);
}

static inline uint64_t scsi_get64(const uint8_t *p)
{
	return (uint64_t)scsi_get32(p) << 32 | scsi_get32(p + 4);
}

static inline void scsi_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void scsi_put24(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 16);
	scsi_put16(p + 1, (uint16_t)v);
}

static inline void scsi_put32(uint8_t *p, uint32_t v)
{
	scsi_put16(p, (uint16_t)(v >> 16));
	scsi_put16(p + 2, (uint16_t)v);
}

static inline void scsi_put64(uint8_t *p, uint64_t v)
{
	scsi_put32(p, (uint32_t)(v >> 32));
	scsi_put32(p + 4, (uint32_t)v);
}

#endif
