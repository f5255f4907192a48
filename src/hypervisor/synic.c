/*
 * synic.c - message and event pages, SINTs. See synic.h.
 */
#include "hypervisor/partition.h"

#include <errno.h>
#include <string.h>

#define SINT_DEFAULT HV_SINT_MASKED

int synic_init(struct vp *vp)
{
	return -pthread_mutex_init(&vp->synic.lock, NULL);
}

void synic_free(struct vp *vp)
{
	pthread_mutex_destroy(&vp->synic.lock);
}

/* Note the vectors of all SINTs; the lock is held. */
static void update_vectors(struct synic *s)
{
	uint32_t used[8] = {0}, automatic[8] = {0};

	for (unsigned i = 0; i < HV_SINT_COUNT; i++) {
		unsigned vector = s->sint[i] & HV_SINT_VECTOR;

		if (s->sint[i] & HV_SINT_MASKED)
			continue;
		used[vector / 32] |= 1u << (vector & 31);
		if (s->sint[i] & HV_SINT_AUTO_EOI)
			automatic[vector / 32] |= 1u << (vector & 31);
	}
	for (unsigned i = 0; i < 8; i++) {
		atomic_store_explicit(&s->vectors[i], used[i], memory_order_relaxed);
		atomic_store_explicit(&s->auto_eoi[i], automatic[i], memory_order_relaxed);
	}
}

void synic_reset(struct vp *vp)
{
	struct synic *s = &vp->synic;

	pthread_mutex_lock(&s->lock);
	s->scontrol = s->siefp = s->simp = 0;
	for (unsigned i = 0; i < HV_SINT_COUNT; i++)
		s->sint[i] = SINT_DEFAULT;
	update_vectors(s);
	pthread_mutex_unlock(&s->lock);
	stimers_reset(vp);
}

/* The slot of @sint in a page that stays mapped until memory_unlock(), or NULL. */
static void *slot(struct vp *vp, uint64_t page, unsigned sint)
{
	uint8_t *host;

	if (!(vp->synic.scontrol & HV_SCONTROL_ENABLE) || !(page & HV_PAGE_ENABLE))
		return NULL;
	host = memory_lock_page(&vp->partition->memory, HV_PAGE_GPA(page));
	return host ? host + sint * 256u : NULL;
}

/* Raise the interrupt of a SINT unless it is masked or polled. */
static void raise_sint(struct vp *vp, uint64_t sint)
{
	if (sint & (HV_SINT_MASKED | HV_SINT_POLLING))
		return;
	vp->synthetic_counters.SyntheticInterruptsCount++;
	lapic_post(vp, (uint8_t)(sint & HV_SINT_VECTOR), false);
}

int synic_post(struct vp *vp, unsigned sint, const struct hv_message *message)
{
	struct synic *s = &vp->synic;
	struct hv_message *to;
	uint64_t config = 0;
	int result = 0;

	pthread_mutex_lock(&s->lock);
	to = slot(vp, s->simp, sint);
	if (!to) {
		result = -EINVAL;
	} else if (__atomic_load_n(&to->type, __ATOMIC_ACQUIRE) != HV_MESSAGE_NONE) {
		/*
		 * The guest looks at this flag after it emptied the slot; or it emptied it by now.
		 */
		__atomic_fetch_or(&to->flags, HV_MESSAGE_PENDING, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&to->type, __ATOMIC_SEQ_CST) != HV_MESSAGE_NONE)
			result = -EBUSY;
	}
	if (!result) {
		to->payload_size = message->payload_size;
		to->flags = 0;
		to->reserved = 0;
		to->origin = message->origin;
		memcpy(to->payload, message->payload, sizeof(to->payload));
		/* The type makes the message visible: everything else is there before it. */
		__atomic_store_n(&to->type, message->type, __ATOMIC_RELEASE);
		config = s->sint[sint];
	}
	if (to)
		memory_unlock(&vp->partition->memory);
	pthread_mutex_unlock(&s->lock);
	if (!result)
		raise_sint(vp, config);
	return result;
}

int synic_signal(struct vp *vp, unsigned sint, unsigned flag)
{
	struct synic *s = &vp->synic;
	uint64_t config;
	uint32_t *flags, bit = 1u << (flag & 31);
	int result = -EINVAL;

	pthread_mutex_lock(&s->lock);
	config = s->sint[sint];
	flags = config & HV_SINT_MASKED ? NULL : slot(vp, s->siefp, sint);
	if (flags) {
		uint32_t before = __atomic_fetch_or(&flags[flag / 32], bit, __ATOMIC_SEQ_CST);

		result = !(before & bit);
		memory_unlock(&vp->partition->memory);
	}
	pthread_mutex_unlock(&s->lock);
	if (result == 1)
		raise_sint(vp, config);
	return result;
}

uint16_t synic_deliverable(struct vp *vp, uint16_t wanted)
{
	struct synic *s = &vp->synic;
	struct hv_message *slots;
	uint16_t ready = 0;

	pthread_mutex_lock(&s->lock);
	slots = slot(vp, s->simp, 0);
	for (unsigned i = 0; slots && i < HV_SINT_COUNT; i++) {
		if ((wanted >> i & 1) &&
			__atomic_load_n(&slots[i].type, __ATOMIC_ACQUIRE) == HV_MESSAGE_NONE)
			ready |= 1u << i;
	}
	/* A full slot gets the flag that makes the guest tell us when it is empty. */
	for (unsigned i = 0; slots && i < HV_SINT_COUNT; i++) {
		if ((wanted & ~ready) >> i & 1)
			__atomic_fetch_or(&slots[i].flags, HV_MESSAGE_PENDING, __ATOMIC_SEQ_CST);
	}
	if (slots)
		memory_unlock(&vp->partition->memory);
	pthread_mutex_unlock(&s->lock);
	return ready;
}

/* The guest may have emptied slots: send what waits for one. */
static void slots_emptied(struct vp *vp)
{
	stimers_retry(vp);
	if (vp->notify.Sint)
		vp_post(vp, VP_EVENT_LOOK);
}

void synic_end_of_interrupt(struct vp *vp, uint8_t vector)
{
	if (atomic_load_explicit(&vp->synic.vectors[vector / 32], memory_order_relaxed) >>
			(vector & 31) &
		1)
		slots_emptied(vp);
}

enum x86_answer synic_msr_read(struct vp *vp, uint32_t msr, uint64_t *value)
{
	struct synic *s = &vp->synic;

	switch (msr) {
	case HV_MSR_SCONTROL:
		*value = s->scontrol;
		return X86_DONE;
	case HV_MSR_SVERSION:
		*value = HV_SYNIC_VERSION;
		return X86_DONE;
	case HV_MSR_SIEFP:
		*value = s->siefp;
		return X86_DONE;
	case HV_MSR_SIMP:
		*value = s->simp;
		return X86_DONE;
	case HV_MSR_EOM:
		*value = 0;
		return X86_DONE;
	case HV_MSR_SINT0 ... HV_MSR_SINT15:
		*value = s->sint[msr - HV_MSR_SINT0];
		return X86_DONE;
	default:
		return X86_FAULT;
	}
}

/* Is the page that a register names within the guest physical address space? */
static bool page_in_space(const struct vp *vp, uint64_t value)
{
	return !(HV_PAGE_GPA(value) >> vp->partition->prop.physical_width);
}

/* SIEFP, SIMP: a page that becomes enabled, or moves, starts out as zeros. */
static enum x86_answer write_page(struct vp *vp, uint64_t *reg, uint64_t value)
{
	uint64_t before = *reg;

	if (!page_in_space(vp, value))
		return X86_FAULT;
	if ((value & HV_PAGE_ENABLE) &&
		(!(before & HV_PAGE_ENABLE) || HV_PAGE_GPA(before) != HV_PAGE_GPA(value)))
		memory_zero(&vp->partition->memory, HV_PAGE_GPA(value), HV_PAGE_SIZE);
	pthread_mutex_lock(&vp->synic.lock);
	*reg = value;
	pthread_mutex_unlock(&vp->synic.lock);
	slots_emptied(vp);
	return X86_DONE;
}

enum x86_answer synic_msr_write(struct vp *vp, uint32_t msr, uint64_t value)
{
	struct synic *s = &vp->synic;

	switch (msr) {
	case HV_MSR_SCONTROL:
		pthread_mutex_lock(&s->lock);
		s->scontrol = value;
		pthread_mutex_unlock(&s->lock);
		slots_emptied(vp);
		return X86_DONE;
	case HV_MSR_SIEFP:
		return write_page(vp, &s->siefp, value);
	case HV_MSR_SIMP:
		return write_page(vp, &s->simp, value);
	case HV_MSR_EOM:
		slots_emptied(vp);
		return X86_DONE;
	case HV_MSR_SINT0 ... HV_MSR_SINT15:
		/* A masked SINT may hold any vector: that is its state after reset. */
		if (!(value & HV_SINT_MASKED) && (value & HV_SINT_VECTOR) < 16)
			return X86_FAULT;
		pthread_mutex_lock(&s->lock);
		s->sint[msr - HV_MSR_SINT0] = value;
		update_vectors(s);
		pthread_mutex_unlock(&s->lock);
		return X86_DONE;
	default:
		return X86_FAULT; /* SVERSION is read-only */
	}
}

HRESULT WINAPI WHvPostVirtualProcessorSynicMessage(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	UINT32 SintIndex, const VOID *Message, UINT32 MessageSizeInBytes)
{
	struct partition *p = partition_ready(Partition);
	struct hv_message message = {0};
	struct vp *vp;

	if (!p || !Message || SintIndex >= HV_SINT_COUNT || !MessageSizeInBytes ||
		MessageSizeInBytes > WHV_SYNIC_MESSAGE_SIZE)
		return E_INVALIDARG;
	vp = partition_vp(p, VpIndex);
	if (!vp)
		return WHV_E_VP_DOES_NOT_EXIST;
	memcpy(&message, Message, MessageSizeInBytes);
	if (message.type == HV_MESSAGE_NONE || message.payload_size > HV_MESSAGE_PAYLOAD_MAX)
		return E_INVALIDARG;
	switch (synic_post(vp, SintIndex, &message)) {
	case 0:
		return S_OK;
	case -EBUSY:
		return HRESULT_FROM_WIN32(ERROR_HV_OBJECT_IN_USE);
	default:
		return HRESULT_FROM_WIN32(ERROR_HV_INVALID_SYNIC_STATE);
	}
}

HRESULT WINAPI WHvSignalVirtualProcessorSynicEvent(
	WHV_PARTITION_HANDLE Partition, WHV_SYNIC_EVENT_PARAMETERS SynicEvent, BOOL *NewlySignaled)
{
	struct partition *p = partition_ready(Partition);
	struct vp *vp;
	int result;

	if (!p || SynicEvent.TargetVtl || SynicEvent.TargetSint >= HV_SINT_COUNT ||
		SynicEvent.FlagNumber >= HV_EVENT_FLAGS_COUNT)
		return E_INVALIDARG;
	vp = partition_vp(p, SynicEvent.VpIndex);
	if (!vp)
		return WHV_E_VP_DOES_NOT_EXIST;
	result = synic_signal(vp, SynicEvent.TargetSint, SynicEvent.FlagNumber);
	if (result < 0)
		return HRESULT_FROM_WIN32(ERROR_HV_INVALID_SYNIC_STATE);
	if (NewlySignaled)
		*NewlySignaled = result;
	return S_OK;
}
