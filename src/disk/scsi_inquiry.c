/*
 * scsi_inquiry.c - what a disk tells of itself: standard INQUIRY data and vital product data pages.
 *
 * Facts: SPC-4, 6.6 and 7.8; SBC-3, 6.5. The names, the set of pages and the two pages of
 * Microsoft's own (0xce, 0xcf) are those of Hyper-V's disks, after OpenVMM's scsidisk.
 */
#include <string.h>

#include "disk/scsi_unit.h"

#define INQUIRY_BYTES	  104
#define UNMAP_DESCRIPTORS 4096
#define WRITE_SAME_MOST	  (8u << 20) /* bytes */
#define PAGE_ROOM	  96

static size_t page_supported(const struct scsi_unit *u, uint8_t *p)
{
	size_t n = 0;

	p[n++] = SCSI_VPD_SUPPORTED;
	if (u->serial[0])
		p[n++] = SCSI_VPD_SERIAL;
	p[n++] = SCSI_VPD_IDENTIFICATION;
	p[n++] = SCSI_VPD_BLOCK_LIMITS;
	p[n++] = SCSI_VPD_CHARACTERISTICS;
	p[n++] = SCSI_VPD_PROVISIONING;
	p[n++] = SCSI_VPD_PAGING_EXTENT;
	p[n++] = SCSI_VPD_VIRTUAL_DEVICE;
	return n;
}

static size_t page_serial(const struct scsi_unit *u, uint8_t *p)
{
	size_t n = strlen(u->serial);

	memcpy(p, u->serial, n);
	return n;
}

/*
 * Two designators, both binary and of the unit: the vendor's (the disk's GUID), and an NAA of the
 * registered extended kind with Microsoft's company number and the most random bytes of that GUID.
 */
static size_t page_identification(const struct scsi_unit *u, uint8_t *p)
{
	static const uint8_t naa[4] = {0x60, 0x02, 0x24, 0x80};
	struct disk_info info;
	const uint8_t *id = (const uint8_t *)&info.id;

	disk_info(u->disk, &info);
	p[0] = 1;
	p[1] = 1;
	p[3] = 24;
	memcpy(p + 4, "Msft    ", 8);
	memcpy(p + 12, id, 16);
	p += 28;
	p[0] = 1;
	p[1] = 3;
	p[3] = 16;
	memcpy(p + 4, naa, 4);
	memcpy(p + 8, id, 6);
	memcpy(p + 14, id + 10, 6);
	return 48;
}

static size_t page_block_limits(const struct scsi_unit *u, uint8_t *p)
{
	uint32_t same = u->max_transfer < WRITE_SAME_MOST ? u->max_transfer : WRITE_SAME_MOST;
	struct disk_info info;
	uint32_t granule;

	disk_info(u->disk, &info);
	granule = info.physical_sector > info.logical_sector ? info.physical_sector
							     : info.logical_sector;
	if (u->read_only)
		return 60;
	/* Counted from the page's fifth byte. */
	scsi_put32(p + 16, UINT32_MAX);
	scsi_put32(p + 20, UNMAP_DESCRIPTORS);
	scsi_put32(p + 24, granule >> u->block_shift);
	p[28] = 0x80; /* the alignment is valid, and 0 */
	scsi_put64(p + 32, same >> u->block_shift);
	return 60;
}

static size_t page_characteristics(const struct scsi_unit *u, uint8_t *p)
{
	scsi_put16(p, 1); /* it does not rotate */
	return 60;
}

/* SBC-3, 6.5.6: UNMAP, WRITE SAME(16) and (10) with UNMAP, zeros read afterwards; thin. */
static size_t page_provisioning(const struct scsi_unit *u, uint8_t *p)
{
	uint64_t blocks = scsi_blocks(u);
	uint8_t exponent = 1;

	while (blocks >> exponent > UINT32_MAX)
		exponent++;
	p[0] = exponent;
	if (!u->read_only)
		p[1] = 0xe4;
	p[2] = 2;
	return 4;
}

static size_t page_paging_extent(const struct scsi_unit *u, uint8_t *p)
{
	p[0] = 1;
	p[1] = 1;
	return 4;
}

static size_t page_virtual_device(const struct scsi_unit *u, uint8_t *p)
{
	/* 89a98f15-c928-4d8b-94cd-ef51faa99d33 marks the page */
	static const uint8_t signature[16] = {0x15, 0x8f, 0xa9, 0x89, 0x28, 0xc9, 0x8b, 0x4d, 0x94,
		0xcd, 0xef, 0x51, 0xfa, 0xa9, 0x9d, 0x33};

	p[0] = 1;
	memcpy(p + 4, signature, sizeof(signature));
	return 20;
}

static const struct {
	uint8_t code;
	size_t (*fill)(const struct scsi_unit *u, uint8_t *p);
} pages[] = {
	{SCSI_VPD_SUPPORTED, page_supported},
	{SCSI_VPD_SERIAL, page_serial},
	{SCSI_VPD_IDENTIFICATION, page_identification},
	{SCSI_VPD_BLOCK_LIMITS, page_block_limits},
	{SCSI_VPD_CHARACTERISTICS, page_characteristics},
	{SCSI_VPD_PROVISIONING, page_provisioning},
	{SCSI_VPD_PAGING_EXTENT, page_paging_extent},
	{SCSI_VPD_VIRTUAL_DEVICE, page_virtual_device},
};

static void standard(struct scsi_request *r, size_t allocation)
{
	uint8_t data[INQUIRY_BYTES] = {0};

	data[2] = 5; /* SPC-3 */
	data[3] = 2; /* the format of this data */
	data[4] = INQUIRY_BYTES - 5;
	data[7] = 2; /* command queuing */
	memcpy(data + 8, "Msft    Virtual Disk    1.0 ", 28);
	scsi_reply(r, data, sizeof(data), allocation);
}

void scsi_disk_inquiry(struct scsi_unit *u, struct scsi_request *r)
{
	uint8_t data[PAGE_ROOM] = {0};
	size_t allocation;
	int page;

	if (!scsi_inquiry_page(r, &page, &allocation))
		return;
	if (page < 0) {
		standard(r, allocation);
		return;
	}
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		size_t n;

		if (pages[i].code != page || (page == SCSI_VPD_SERIAL && !u->serial[0]))
			continue;
		n = pages[i].fill(u, data + 4);
		data[1] = (uint8_t)page;
		scsi_put16(data + 2, (uint16_t)n);
		scsi_reply(r, data, 4 + n, allocation);
		return;
	}
	scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
}
