/*
 * hypercall_message.c - HvCallPostMessage, HvCallSignalEvent, HvExtCallQueryCapabilities.
 *
 * Connections for events are the client's notification ports. Messages have no ports in the
 * platform API: a client that wants them sets HypercallExit and gets the call.
 *
 * Source: TLFS "Inter-Partition Communication".
 */
#include "hypervisor/hypercall.h"

#define AT_CONNECTION	   0u
#define AT_FLAG		   4u
#define AT_MESSAGE_TYPE	   8u
#define AT_PAYLOAD_SIZE	   12u
#define CONNECTION_ID_BITS 0x00FFFFFFu

enum hv_status hypercall_post_message(struct hypercall *h)
{
	uint32_t type = hypercall_u32(h, AT_MESSAGE_TYPE);

	h->vp->synthetic_counters.OtherHypercallsCount++;
	if (type == HV_MESSAGE_NONE || (type & HV_MESSAGE_HYPERVISOR) ||
		hypercall_u32(h, AT_PAYLOAD_SIZE) > HV_MESSAGE_PAYLOAD_MAX)
		return HV_STATUS_INVALID_PARAMETER;
	h->to_client = h->vp->partition->prop.exits.HypercallExit;
	return HV_STATUS_INVALID_CONNECTION_ID;
}

enum hv_status hypercall_signal_event(struct hypercall *h)
{
	struct partition *p = h->vp->partition;
	uint32_t connection = hypercall_u32(h, AT_CONNECTION);

	h->vp->synthetic_counters.OtherHypercallsCount++;
	if (!(p->privileges[1] & HV_PRIV2_SIGNAL_EVENTS))
		return HV_STATUS_ACCESS_DENIED;
	if (connection & ~CONNECTION_ID_BITS)
		return HV_STATUS_INVALID_CONNECTION_ID;
	/* A port has one flag, and the field after its number is zero. */
	if (hypercall_u32(h, AT_FLAG))
		return HV_STATUS_INVALID_PARAMETER;
	if (ports_signal(&p->ports, connection))
		return HV_STATUS_SUCCESS;
	h->to_client = p->prop.exits.UnknownSynicConnection || p->prop.exits.HypercallExit;
	return HV_STATUS_INVALID_CONNECTION_ID;
}

enum hv_status hypercall_query_capabilities(struct hypercall *h)
{
	if (!(h->vp->partition->privileges[1] & HV_PRIV2_EXTENDED_CALLS))
		return HV_STATUS_ACCESS_DENIED;
	/* None of the other extended calls exists: the output stays zero. */
	return HV_STATUS_SUCCESS;
}
