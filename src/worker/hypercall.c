/*
 * hypercall.c - the hypercalls that the hypervisor leaves to its client: HvCallPostMessage, which
 * is how a guest reaches VMBus, and those that nobody knows.
 *
 * Source: TLFS, "Hypercall Interface" and "HvCallPostMessage". That the input block lies on 8 bytes
 * and in one page was checked before the call came here.
 */
#include "worker/machine.h"

#include <stdbool.h>
#include <string.h>

#define HV_CALL_POST_MESSAGE  0x005Cu
#define HV_CALL_SIGNAL_EVENT  0x005Du
#define HV_CALL_CODE(control) ((uint16_t)(control))
#define HV_CALL_FAST	      (1ull << 16)

#define HV_STATUS_INVALID_HYPERCALL_CODE  0x02
#define HV_STATUS_INVALID_HYPERCALL_INPUT 0x03
#define HV_STATUS_INVALID_ALIGNMENT	  0x04
#define HV_STATUS_INVALID_PARAMETER	  0x05
#define HV_STATUS_INVALID_CONNECTION_ID	  0x12

/* The input of HvCallPostMessage. */
struct post_message {
	uint32_t connection;
	uint32_t reserved;
	uint32_t type;
	uint32_t size;
	uint8_t payload[240];
};
_Static_assert(sizeof(struct post_message) == 256, "HvCallPostMessage");

static uint16_t post_message(struct machine *m, uint64_t gpa)
{
	const uint8_t *block = ram_at(&m->ram, gpa, sizeof(struct post_message));
	struct post_message input;

	if (!block)
		return HV_STATUS_INVALID_ALIGNMENT;
	memcpy(&input, block, sizeof(input));
	if (input.reserved || input.size > sizeof(input.payload))
		return HV_STATUS_INVALID_PARAMETER;
	return vmbus_post_message(
		m->vmbus, input.connection, input.type, input.payload, input.size);
}

HRESULT hypercall_complete(struct machine *m, uint32_t vp, const WHV_VP_EXIT_CONTEXT *context,
	const WHV_HYPERCALL_CONTEXT *call)
{
	static const WHV_REGISTER_NAME names[] = {
		WHvX64RegisterRip, WHvX64RegisterRax, WHvX64RegisterRdx};
	WHV_REGISTER_VALUE values[3] = {{.Reg64 = context->Rip + context->InstructionLength}};
	bool wide = context->ExecutionState.EferLma && context->Cs.Long;
	uint64_t control = wide ? call->Rcx : call->Rdx << 32 | (uint32_t)call->Rax;
	uint64_t input = wide ? call->Rdx : call->Rbx << 32 | (uint32_t)call->Rcx;
	uint16_t status = HV_STATUS_INVALID_HYPERCALL_CODE;

	if (HV_CALL_CODE(control) == HV_CALL_POST_MESSAGE)
		status = control & HV_CALL_FAST ? HV_STATUS_INVALID_HYPERCALL_INPUT
						: post_message(m, input);
	else if (HV_CALL_CODE(control) == HV_CALL_SIGNAL_EVENT)
		status = HV_STATUS_INVALID_CONNECTION_ID;
	values[1].Reg64 = status;
	/* The result is RAX, or EDX:EAX. */
	return WHvSetVirtualProcessorRegisters(m->partition, vp, names, wide ? 2 : 3, values);
}
