/*
 * kvm_access.c - port and memory accesses that KVM stopped in the middle of, as the platform API
 * shows them.
 *
 * The client sees an instruction that is not the guest's: IN or OUT with the accumulator, or a MOV
 * between the accumulator (or an immediate) and memory, of just the datum KVM asks for, and RIP in
 * front of it. Whether the client skips it, or emulates it from the bytes given, RIP ends where KVM
 * has it and the accumulator holds the datum; kvm_access_finish() gives KVM the datum and the guest
 * its accumulator back. String instructions are shown one element at a time.
 */
#include "hypervisor/kvm.h"

#include <string.h>

static uint8_t *io_data(struct kvm_vp *v)
{
	return (uint8_t *)v->run + v->run->io.data_offset + v->element * v->run->io.size;
}

static bool wide(const struct x86_state *s)
{
	return (s->efer & X86_EFER_LMA) && (s->seg[X86_CS].attributes & X86_SEG_L);
}

/* An operand-size prefix where this mode needs one for 16 or 32 bits. */
static bool needs_66(const struct x86_state *s, unsigned size)
{
	bool default32 = wide(s) || (s->seg[X86_CS].attributes & X86_SEG_DB);

	return (size == 2 && default32) || (size == 4 && !default32);
}

/* Put RIP before an instruction of @length bytes. */
static void place(struct kvm_vp *v, struct x86_exit *exit, unsigned length)
{
	v->real_rip = v->resume_rip = v->state.rip;
	v->real_rax = v->state.gpr[X86_RAX];
	v->real_rdx = v->state.gpr[X86_RDX];
	v->state.rip -= length;
	v->shown_rip = v->state.rip;
	v->changed = true;
	exit->insn_len = (uint8_t)length;
	exit->next = (uint8_t)length;
}

static void show_io(struct kvm_vp *v, struct x86_exit *exit)
{
	const struct kvm_run *run = v->run;
	bool write = run->io.direction == KVM_EXIT_IO_OUT;
	unsigned n = 0;

	exit->reason = X86_EXIT_IO;
	exit->io.port = run->io.port;
	exit->io.size = run->io.size;
	exit->io.write = write;
	if (needs_66(&v->state, run->io.size))
		exit->insn[n++] = 0x66;
	/* With DX, whatever DX is: the exit names the port. */
	exit->insn[n++] = (write ? 0xEE : 0xEC) | (run->io.size > 1);
	place(v, exit, n);
	v->pending = write ? KVM_PENDING_OUT : KVM_PENDING_IN;
	if (write) {
		uint64_t data = 0;

		memcpy(&data, io_data(v), run->io.size);
		v->state.gpr[X86_RAX] = data;
	}
}

/* The absolute address of the operand: 32 bits, sign-extended in 64-bit mode. */
static void show_memory(struct kvm_vp *v, struct x86_exit *exit)
{
	const struct kvm_run *run = v->run;
	unsigned size = run->mmio.len, n = 0;
	bool write = run->mmio.is_write, in64 = wide(&v->state);
	uint64_t gva = KVM_ACCESS_GVA | (run->mmio.phys_addr & 0xFFF);
	uint32_t offset = (uint32_t)(gva - (in64 ? 0 : v->state.seg[X86_DS].base));

	exit->reason = X86_EXIT_MEMORY;
	exit->memory.gpa = run->mmio.phys_addr;
	exit->memory.gva = in64 ? gva : (uint32_t)gva;
	exit->memory.write = write;
	exit->memory.unmapped = true;
	if (!in64 && !(v->state.seg[X86_CS].attributes & X86_SEG_DB))
		exit->insn[n++] = 0x67;
	if (needs_66(&v->state, size))
		exit->insn[n++] = 0x66;
	if (size == 8)
		exit->insn[n++] = 0x48;
	exit->insn[n++] = (write ? 0x88 : 0x8A) | (size > 1);
	exit->insn[n++] = 0x04; /* AL..RAX, and an address without registers: */
	exit->insn[n++] = 0x25;
	memcpy(exit->insn + n, &offset, sizeof(offset));
	n += sizeof(offset);
	place(v, exit, n);
	v->access_gpa = run->mmio.phys_addr & ~0xFFFull;
	v->pending = write ? KVM_PENDING_WRITE : KVM_PENDING_READ;
	if (write) {
		uint64_t data = 0;

		memcpy(&data, run->mmio.data, size);
		v->state.gpr[X86_RAX] = data;
	}
}

static void show_msr(struct kvm_vp *v, struct x86_exit *exit)
{
	bool write = v->run->exit_reason == KVM_EXIT_X86_WRMSR;

	exit->reason = write ? X86_EXIT_WRMSR : X86_EXIT_RDMSR;
	exit->insn[0] = 0x0F;
	exit->insn[1] = write ? 0x30 : 0x32;
	/* KVM has not stepped over it yet: the client's step and KVM's are the same one. */
	v->real_rip = v->shown_rip = v->state.rip;
	v->resume_rip = v->state.rip + 2;
	v->real_rax = v->state.gpr[X86_RAX];
	v->real_rdx = v->state.gpr[X86_RDX];
	exit->insn_len = exit->next = 2;
	v->pending = write ? KVM_PENDING_WRMSR : KVM_PENDING_RDMSR;
}

void kvm_access_show(struct kvm_vp *v, struct x86_exit *exit)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		show_io(v, exit);
		break;
	case KVM_EXIT_MMIO:
		show_memory(v, exit);
		break;
	default:
		show_msr(v, exit);
	}
}

/* An access that was not carried out is made to the memory that may be there by now. */
static bool retry(struct kvm_vp *v)
{
	struct kvm_run *run = v->run;
	bool write = v->pending == KVM_PENDING_WRITE;
	uint64_t left = 0;
	unsigned flags = 0;
	void *host;

	if (!write && v->pending != KVM_PENDING_READ)
		return false;
	host = x86_machine_host(v->machine->scratch_machine, run->mmio.phys_addr, &left, &flags);
	if (!host || left < run->mmio.len || (write && !(flags & X86_MAP_WRITE)))
		return false;
	if (write)
		memcpy(host, run->mmio.data, run->mmio.len);
	else
		memcpy(run->mmio.data, host, run->mmio.len);
	return true;
}

/* What the client left in the accumulator is what was read. */
static void take_data(struct kvm_vp *v)
{
	struct kvm_run *run = v->run;
	struct x86_state *s = &v->state;
	uint64_t data = s->gpr[X86_RAX];

	switch (v->pending) {
	case KVM_PENDING_IN:
		memcpy(io_data(v), &data, run->io.size);
		break;
	case KVM_PENDING_READ:
		memcpy(run->mmio.data, &data, run->mmio.len);
		break;
	case KVM_PENDING_RDMSR:
		run->msr.data = s->gpr[X86_RDX] << 32 | (uint32_t)data;
		break;
	default:
		break;
	}
	run->msr.error = 0;
}

enum kvm_finish kvm_access_finish(struct kvm_vp *v)
{
	struct x86_state *s = &v->state;
	bool untouched = s->rip == v->shown_rip;

	if (v->inject.valid || (s->rip != v->resume_rip && !untouched)) {
		if (v->pending == KVM_PENDING_OUT || v->pending == KVM_PENDING_WRITE)
			s->gpr[X86_RAX] = v->real_rax;
		if (untouched)
			s->rip = v->real_rip;
		v->pending = KVM_PENDING_NONE;
		return KVM_ABANDON;
	}
	if (untouched && !retry(v))
		return KVM_AGAIN;
	if (!untouched)
		take_data(v);
	s->gpr[X86_RAX] = v->real_rax;
	s->gpr[X86_RDX] = v->real_rdx;
	s->rip = v->real_rip;
	v->pending = KVM_PENDING_NONE;
	return KVM_FINISHED;
}
