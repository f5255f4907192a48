/*
 * state.c - a virtual processor's state in blocks, for saving and restoring: extended registers,
 * interrupt controller, SynIC pages and timers.
 */
#include "hypervisor/partition.h"

#include <string.h>

#define XSAVE_BYTES   576u /* the legacy region and the header: x87 and SSE */
#define XSAVE_XSTATE  512u /* where the header's component bitmap is */
#define XSAVE_X87_SSE 3ull

/* Does the buffer hold @need bytes? *written says how many it must. */
static HRESULT fits(const void *buffer, uint32_t size, uint32_t need, uint32_t *written)
{
	if (written)
		*written = need;
	if (size < need)
		return WHV_E_INSUFFICIENT_BUFFER;
	return buffer ? S_OK : E_POINTER;
}

static HRESULT save_xsave(struct vp *vp, void *buffer, uint32_t size, uint32_t *written)
{
	uint64_t components = XSAVE_X87_SSE;
	HRESULT hr = fits(buffer, size, XSAVE_BYTES, written);

	if (FAILED(hr))
		return hr;
	memset(buffer, 0, XSAVE_BYTES);
	memcpy(buffer, &vp_state(vp)->fx, sizeof(struct x86_fx));
	memcpy((uint8_t *)buffer + XSAVE_XSTATE, &components, sizeof(components));
	return S_OK;
}

static HRESULT restore_xsave(struct vp *vp, const void *buffer, uint32_t size)
{
	uint64_t header[3];
	struct x86_fx fx;

	if (!buffer || size < XSAVE_BYTES)
		return E_INVALIDARG;
	memcpy(&fx, buffer, sizeof(fx));
	memcpy(header, (const uint8_t *)buffer + XSAVE_XSTATE, sizeof(header));
	/* XCOMP_BV only says compacted, which for these two components looks the same. */
	if ((header[0] & ~XSAVE_X87_SSE) || (header[1] & ~(1ull << 63) & ~XSAVE_X87_SSE) ||
		header[2] || (fx.mxcsr & ~0xFFFFu))
		return E_INVALIDARG;
	vp_state(vp)->fx = fx;
	vp_changed(vp);
	return S_OK;
}

static HRESULT save_page(
	struct vp *vp, uint64_t msr, void *buffer, uint32_t size, uint32_t *written)
{
	HRESULT hr = fits(buffer, size, HV_PAGE_SIZE, written);

	if (FAILED(hr))
		return hr;
	memset(buffer, 0, HV_PAGE_SIZE);
	if ((msr & HV_PAGE_ENABLE) &&
		memory_read(&vp->partition->memory, HV_PAGE_GPA(msr), buffer, HV_PAGE_SIZE))
		return E_ACCESSDENIED;
	return S_OK;
}

static HRESULT restore_page(struct vp *vp, uint64_t msr, const void *buffer, uint32_t size)
{
	if (!buffer || size != HV_PAGE_SIZE)
		return E_INVALIDARG;
	if (!(msr & HV_PAGE_ENABLE))
		return S_OK;
	return memory_write(&vp->partition->memory, HV_PAGE_GPA(msr), buffer, HV_PAGE_SIZE)
		       ? E_ACCESSDENIED
		       : S_OK;
}

static HRESULT save_timers(struct vp *vp, void *buffer, uint32_t size, uint32_t *written)
{
	struct hv_stimers_state state = {0};
	HRESULT hr = fits(buffer, size, sizeof(state), written);

	if (FAILED(hr))
		return hr;
	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		const struct stimer *t = &vp->stimers[i];

		state.timer[i] = (struct hv_stimer_state){
			.undelivered = t->undelivered,
			.config = t->config,
			.count = t->count,
			/* For a periodic timer: when it expires next. */
			.adjustment = t->deadline != CLOCK_NEVER ? t->expires : 0,
			.undelivered_expiration = t->undelivered ? t->late : 0,
		};
	}
	memcpy(buffer, &state, sizeof(state));
	return S_OK;
}

static HRESULT restore_timers(struct vp *vp, const void *buffer, uint32_t size)
{
	struct hv_stimers_state state;

	if (!buffer || size != sizeof(state))
		return E_INVALIDARG;
	memcpy(&state, buffer, sizeof(state));
	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		if (state.timer[i].config & ~HV_STIMER_CONFIG_VALID)
			return E_INVALIDARG;
	}
	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		const struct hv_stimer_state *from = &state.timer[i];
		struct stimer *t = &vp->stimers[i];

		*t = (struct stimer){
			.config = from->config,
			.count = from->count,
			.expires = from->adjustment ? from->adjustment : from->count,
			.deadline = CLOCK_NEVER,
			.undelivered = from->undelivered != 0,
			.late = from->undelivered_expiration,
		};
		if ((t->config & HV_STIMER_ENABLE) && !t->undelivered)
			t->deadline = clock_from_ref(&vp->partition->clock, t->expires);
	}
	vp_rearm(vp);
	return S_OK;
}

static HRESULT get_state(struct vp *vp, WHV_VIRTUAL_PROCESSOR_STATE_TYPE type, void *buffer,
	uint32_t size, uint32_t *written)
{
	switch (type) {
	case WHvVirtualProcessorStateTypeSynicMessagePage:
		return save_page(vp, vp->synic.simp, buffer, size, written);
	case WHvVirtualProcessorStateTypeSynicEventFlagPage:
		return save_page(vp, vp->synic.siefp, buffer, size, written);
	case WHvVirtualProcessorStateTypeSynicTimerState:
		return save_timers(vp, buffer, size, written);
	case WHvVirtualProcessorStateTypeInterruptControllerState2:
		return lapic_save(vp, buffer, size, written);
	case WHvVirtualProcessorStateTypeXsaveState:
		return save_xsave(vp, buffer, size, written);
	default:
		return E_INVALIDARG;
	}
}

static HRESULT set_state(
	struct vp *vp, WHV_VIRTUAL_PROCESSOR_STATE_TYPE type, const void *buffer, uint32_t size)
{
	switch (type) {
	case WHvVirtualProcessorStateTypeSynicMessagePage:
		return restore_page(vp, vp->synic.simp, buffer, size);
	case WHvVirtualProcessorStateTypeSynicEventFlagPage:
		return restore_page(vp, vp->synic.siefp, buffer, size);
	case WHvVirtualProcessorStateTypeSynicTimerState:
		return restore_timers(vp, buffer, size);
	case WHvVirtualProcessorStateTypeInterruptControllerState2:
		return lapic_restore(vp, buffer, size);
	case WHvVirtualProcessorStateTypeXsaveState:
		return restore_xsave(vp, buffer, size);
	default:
		return E_INVALIDARG;
	}
}

HRESULT WINAPI WHvGetVirtualProcessorState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_VIRTUAL_PROCESSOR_STATE_TYPE StateType, VOID *Buffer, UINT32 BufferSizeInBytes,
	UINT32 *BytesWritten)
{
	struct vp *vp;
	HRESULT hr = vp_claim_by_index(Partition, VpIndex, true, &vp);

	if (FAILED(hr))
		return hr;
	hr = get_state(vp, StateType, Buffer, BufferSizeInBytes, BytesWritten);
	vp_release(vp);
	return hr;
}

HRESULT WINAPI WHvSetVirtualProcessorState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_VIRTUAL_PROCESSOR_STATE_TYPE StateType, const VOID *Buffer, UINT32 BufferSizeInBytes)
{
	struct vp *vp;
	HRESULT hr = vp_claim_by_index(Partition, VpIndex, true, &vp);

	if (FAILED(hr))
		return hr;
	hr = set_state(vp, StateType, Buffer, BufferSizeInBytes);
	vp_release(vp);
	return hr;
}

/* The older functions, each for one of the states. */

HRESULT WINAPI WHvGetVirtualProcessorXsaveState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	VOID *Buffer, UINT32 BufferSizeInBytes, UINT32 *BytesWritten)
{
	return WHvGetVirtualProcessorState(Partition, VpIndex,
		WHvVirtualProcessorStateTypeXsaveState, Buffer, BufferSizeInBytes, BytesWritten);
}

HRESULT WINAPI WHvSetVirtualProcessorXsaveState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const VOID *Buffer, UINT32 BufferSizeInBytes)
{
	return WHvSetVirtualProcessorState(Partition, VpIndex,
		WHvVirtualProcessorStateTypeXsaveState, Buffer, BufferSizeInBytes);
}

HRESULT WINAPI WHvGetVirtualProcessorInterruptControllerState2(WHV_PARTITION_HANDLE Partition,
	UINT32 VpIndex, VOID *State, UINT32 StateSize, UINT32 *WrittenSize)
{
	struct partition *p = partition_ready(Partition);

	if (p && !p->apic)
		return HRESULT_FROM_WIN32(ERROR_HV_OPERATION_DENIED);
	return WHvGetVirtualProcessorState(Partition, VpIndex,
		WHvVirtualProcessorStateTypeInterruptControllerState2, State, StateSize,
		WrittenSize);
}

HRESULT WINAPI WHvSetVirtualProcessorInterruptControllerState2(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, const VOID *State, UINT32 StateSize)
{
	struct partition *p = partition_ready(Partition);

	if (p && !p->apic)
		return HRESULT_FROM_WIN32(ERROR_HV_OPERATION_DENIED);
	return WHvSetVirtualProcessorState(Partition, VpIndex,
		WHvVirtualProcessorStateTypeInterruptControllerState2, State, StateSize);
}

HRESULT WINAPI WHvGetVirtualProcessorInterruptControllerState(WHV_PARTITION_HANDLE Partition,
	UINT32 VpIndex, VOID *State, UINT32 StateSize, UINT32 *WrittenSize)
{
	return WHvGetVirtualProcessorInterruptControllerState2(
		Partition, VpIndex, State, StateSize, WrittenSize);
}

HRESULT WINAPI WHvSetVirtualProcessorInterruptControllerState(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, const VOID *State, UINT32 StateSize)
{
	return WHvSetVirtualProcessorInterruptControllerState2(
		Partition, VpIndex, State, StateSize);
}
