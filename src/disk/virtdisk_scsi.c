/*
 * virtdisk_scsi.c - RawSCSIVirtualDisk: a command through the SCSI target of scsi.h, waited for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/scsi.h"
#include "disk/virtdisk_handle.h"

#define MAX_TRANSFER (64u << 20) /* bytes of a command */

struct command {
	struct scsi_request request; /* the first member */
	bool done;
};

static void mark_done(struct scsi_request *r)
{
	((struct command *)r)->done = true;
}

/* The unit stays with the handle: reservations and prevented removal outlive a command. */
static int get_unit(struct vdisk *v, struct scsi_unit **unit)
{
	pthread_mutex_lock(&v->lock);
	if (!v->scsi) {
		struct scsi_disk_options options = {.read_only = !(v->access & VDISK_ACCESS_WRITES),
			.max_transfer = MAX_TRANSFER};

		v->scsi = scsi_disk_create(v->disk, &options);
	}
	*unit = v->scsi;
	pthread_mutex_unlock(&v->lock);
	return *unit ? 0 : -ENOMEM;
}

static int execute(struct vdisk *v, struct command *c)
{
	struct disk_queue *q;
	struct scsi_unit *unit;
	int err = get_unit(v, &unit);

	if (err)
		return err;
	q = disk_queue_create(v->engine, 32);
	if (!q)
		return -ENOMEM;
	scsi_submit(unit, q, &c->request);
	while (!c->done)
		disk_queue_run(q, true);
	disk_queue_destroy(q);
	return 0;
}

static bool is_valid(const RAW_SCSI_VIRTUAL_DISK_PARAMETERS *p)
{
	return p->Version == RAW_SCSI_VIRTUAL_DISK_VERSION_1 && p->Version1.Cdb &&
	       p->Version1.CdbLength >= 6 && p->Version1.CdbLength <= SCSI_CDB &&
	       (!p->Version1.DataTransferLength || p->Version1.DataBuffer) &&
	       p->Version1.DataTransferLength <= MAX_TRANSFER &&
	       (!p->Version1.SenseInfoLength || p->Version1.SenseInfo);
}

static void respond(const struct scsi_request *r, const RAW_SCSI_VIRTUAL_DISK_PARAMETERS *p,
	RAW_SCSI_VIRTUAL_DISK_RESPONSE *response)
{
	UCHAR sense = r->sense_length;

	if (sense > p->Version1.SenseInfoLength)
		sense = p->Version1.SenseInfoLength;
	if (sense)
		memcpy(p->Version1.SenseInfo, r->sense, sense);
	response->Version = RAW_SCSI_VIRTUAL_DISK_VERSION_1;
	response->Version1.ScsiStatus = r->status;
	response->Version1.SenseInfoLength = sense;
	response->Version1.DataTransferLength = r->moved;
}

DWORD WINAPI RawSCSIVirtualDisk(HANDLE VirtualDiskHandle,
	const PRAW_SCSI_VIRTUAL_DISK_PARAMETERS Parameters, RAW_SCSI_VIRTUAL_DISK_FLAG Flags,
	PRAW_SCSI_VIRTUAL_DISK_RESPONSE Response)
{
	struct command c = {.request = {.n_iov = 1, .done = mark_done}};
	struct iovec data;
	struct vdisk *v;
	DWORD err;
	int errn;

	if (!Parameters || !Response || Flags != RAW_SCSI_VIRTUAL_DISK_FLAG_NONE ||
		!is_valid(Parameters))
		return ERROR_INVALID_PARAMETER;
	if (Parameters->Version1.RSVDHandle)
		return ERROR_NOT_SUPPORTED;
	err = vdisk_enter(VirtualDiskHandle,
		VIRTUAL_DISK_ACCESS_ATTACH_RO | VIRTUAL_DISK_ACCESS_ATTACH_RW, &v);
	if (err)
		return err;
	data = (struct iovec){
		Parameters->Version1.DataBuffer, Parameters->Version1.DataTransferLength};
	memcpy(c.request.cdb, Parameters->Version1.Cdb, Parameters->Version1.CdbLength);
	c.request.iov = &data;
	c.request.length = data.iov_len;
	errn = execute(v, &c);
	if (!errn)
		respond(&c.request, Parameters, Response);
	vdisk_leave(v);
	return disk_problem_win32(NULL, errn);
}
