/*
 * kvm_memory.c - guest memory as KVM's slots. KVM cannot split a slot: one that is cut is taken
 * away, and its remaining parts put back. A processor that runs meanwhile may find the memory
 * missing for a moment; clients change maps of running guests for devices, not for RAM.
 */
#include "hypervisor/kvm.h"

#include <errno.h>
#include <sys/ioctl.h>

static int set_slot(struct kvm_machine *m, unsigned index, const struct kvm_slot *slot)
{
	struct kvm_userspace_memory_region region = {
		.slot = index,
		.flags = slot->flags & X86_MAP_WRITE ? 0 : KVM_MEM_READONLY,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->used ? slot->size : 0,
		.userspace_addr = (uintptr_t)slot->host,
	};

	return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

static int remove_slot(struct kvm_machine *m, unsigned index)
{
	m->slots[index].used = false;
	return set_slot(m, index, &m->slots[index]);
}

static int add_slot(struct kvm_machine *m, struct kvm_slot slot)
{
	for (unsigned i = 0; i < m->slot_max; i++) {
		int err;

		if (m->slots[i].used)
			continue;
		slot.used = true;
		err = set_slot(m, i, &slot);
		if (!err)
			m->slots[i] = slot;
		return err;
	}
	return -ENOMEM;
}

/* Take [gpa, gpa + size) out of every slot. */
static int cut(struct kvm_machine *m, uint64_t gpa, uint64_t size)
{
	uint64_t end = gpa + size;
	int err = 0;

	for (unsigned i = 0; i < m->slot_max && !err; i++) {
		struct kvm_slot old = m->slots[i], part;

		if (!old.used || old.gpa >= end || old.gpa + old.size <= gpa)
			continue;
		err = remove_slot(m, i);
		if (!err && old.gpa < gpa) {
			part = old;
			part.size = gpa - old.gpa;
			err = add_slot(m, part);
		}
		if (!err && old.gpa + old.size > end) {
			part = old;
			part.gpa = end;
			part.size = old.gpa + old.size - end;
			part.host += end - old.gpa;
			err = add_slot(m, part);
		}
	}
	return err;
}

int kvm_memory_map(struct kvm_machine *m, uint64_t gpa, void *host, uint64_t size, unsigned flags)
{
	struct kvm_slot slot = {.gpa = gpa, .size = size, .host = host, .flags = flags};
	int err;

	pthread_mutex_lock(&m->lock);
	err = cut(m, gpa, size);
	if (!err)
		err = add_slot(m, slot);
	if (!err)
		err = x86_machine_map(m->scratch_machine, gpa, host, size, flags);
	pthread_mutex_unlock(&m->lock);
	return err;
}

int kvm_memory_unmap(struct kvm_machine *m, uint64_t gpa, uint64_t size)
{
	int err;

	pthread_mutex_lock(&m->lock);
	err = cut(m, gpa, size);
	if (!err)
		err = x86_machine_unmap(m->scratch_machine, gpa, size);
	pthread_mutex_unlock(&m->lock);
	return err;
}
