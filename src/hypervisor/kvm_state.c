/*
 * kvm_state.c - registers between KVM's structures and struct x86_state. What did not change since
 * it was fetched is not set again.
 */
#include "hypervisor/kvm.h"

#include <asm/kvm.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MSR_COUNT (sizeof(msr_numbers) / sizeof(msr_numbers[0]))

static const uint32_t msr_numbers[] = {
	0xC0000081, /* STAR */
	0xC0000082, /* LSTAR */
	0xC0000083, /* CSTAR */
	0xC0000084, /* SFMASK */
	0xC0000102, /* KERNEL_GS_BASE */
	0xC0000103, /* TSC_AUX */
	0x174,	    /* SYSENTER_CS */
	0x175,	    /* SYSENTER_ESP */
	0x176,	    /* SYSENTER_EIP */
	0x277,	    /* PAT */
};
_Static_assert(sizeof(msr_numbers) / 4 == sizeof(((struct kvm_vp *)0)->msrs) / 8, "MSRs");

union msr_buffer {
	struct kvm_msrs head;
	uint8_t room[sizeof(struct kvm_msrs) + MSR_COUNT * sizeof(struct kvm_msr_entry)];
};

/* The state's own fields, in the order of msr_numbers. */
static uint64_t *msr_field(struct x86_state *s, unsigned i)
{
	switch (i) {
	case 0:
		return &s->star;
	case 1:
		return &s->lstar;
	case 2:
		return &s->cstar;
	case 3:
		return &s->sfmask;
	case 4:
		return &s->kernel_gs_base;
	case 5:
		return &s->tsc_aux;
	case 6:
		return &s->sysenter_cs;
	case 7:
		return &s->sysenter_esp;
	case 8:
		return &s->sysenter_eip;
	default:
		return &s->pat;
	}
}

static struct x86_segment segment_from(const struct kvm_segment *k)
{
	struct x86_segment s = {
		.base = k->base,
		.limit = k->limit,
		.selector = k->selector,
		.attributes = (uint16_t)(k->type | k->s << 4 | k->dpl << 5 | k->present << 7 |
					 k->avl << 12 | k->l << 13 | k->db << 14 | k->g << 15),
	};

	if (k->unusable || !k->present)
		s.attributes = (s.attributes & (uint16_t)~X86_SEG_P) | X86_SEG_NULL;
	return s;
}

static struct kvm_segment segment_to(const struct x86_segment *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = s->attributes & 15,
		.s = s->attributes >> 4 & 1,
		.dpl = s->attributes >> 5 & 3,
		.present = s->attributes >> 7 & 1,
		.avl = s->attributes >> 12 & 1,
		.l = s->attributes >> 13 & 1,
		.db = s->attributes >> 14 & 1,
		.g = s->attributes >> 15 & 1,
		.unusable = !(s->attributes & X86_SEG_P),
	};
}

/* KVM's general registers in the order of enum x86_gpr. */
static __u64 *gpr(struct kvm_regs *r, unsigned i)
{
	__u64 *in_order[] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi,
		&r->r8, &r->r9, &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15};

	return in_order[i];
}

static struct kvm_segment *segment(struct kvm_sregs *r, unsigned i)
{
	struct kvm_segment *in_order[] = {
		&r->es, &r->cs, &r->ss, &r->ds, &r->fs, &r->gs, &r->ldt, &r->tr};

	return in_order[i];
}

static void from_regs(struct x86_state *s, struct kvm_regs *r)
{
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = *gpr(r, i);
	s->rip = r->rip;
	s->rflags = r->rflags;
}

static void from_sregs(struct x86_state *s, struct kvm_sregs *r)
{
	for (unsigned i = 0; i < X86_SEG_COUNT; i++)
		s->seg[i] = segment_from(segment(r, i));
	s->gdtr = (struct x86_table){r->gdt.base, r->gdt.limit};
	s->idtr = (struct x86_table){r->idt.base, r->idt.limit};
	s->cr0 = r->cr0;
	s->cr2 = r->cr2;
	s->cr3 = r->cr3;
	s->cr4 = r->cr4;
	s->efer = r->efer;
	s->cpl = r->cr0 & X86_CR0_PE ? r->ss.dpl : 0;
}

static void from_fpu(struct x86_state *s, const struct kvm_fpu *f)
{
	s->fx.fcw = f->fcw;
	s->fx.fsw = f->fsw;
	s->fx.ftw = f->ftwx;
	s->fx.fop = f->last_opcode;
	s->fx.fip = f->last_ip;
	s->fx.fdp = f->last_dp;
	s->fx.mxcsr = f->mxcsr;
	memcpy(s->fx.st, f->fpr, sizeof(s->fx.st));
	memcpy(s->fx.xmm, f->xmm, sizeof(s->fx.xmm));
}

static int fetch_msrs(struct kvm_vp *v)
{
	union msr_buffer b = {.head = {.nmsrs = MSR_COUNT}};

	for (unsigned i = 0; i < MSR_COUNT; i++)
		b.head.entries[i].index = msr_numbers[i];
	if (ioctl(v->fd, KVM_GET_MSRS, &b) < 0)
		return -errno;
	for (unsigned i = 0; i < MSR_COUNT; i++) {
		v->msrs[i] = b.head.entries[i].data;
		*msr_field(&v->state, i) = b.head.entries[i].data;
	}
	return 0;
}

static int fetch_xcr0(struct kvm_vp *v)
{
	struct kvm_xcrs xcrs;

	if (ioctl(v->fd, KVM_GET_XCRS, &xcrs) < 0)
		return -errno;
	v->xcr0 = xcrs.nr_xcrs ? xcrs.xcrs[0].value : 1;
	v->state.xcr0 = v->xcr0;
	return 0;
}

static int tsc_offset(struct kvm_vp *v, unsigned long request, uint64_t *value)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)value,
	};

	return ioctl(v->fd, request, &attr) < 0 ? -errno : 0;
}

int kvm_state_fetch(struct kvm_vp *v)
{
	struct x86_state *s = &v->state;
	int err;

	if (v->fetched)
		return 0;
	if (ioctl(v->fd, KVM_GET_REGS, &v->regs) < 0 ||
		ioctl(v->fd, KVM_GET_SREGS, &v->sregs) < 0 ||
		ioctl(v->fd, KVM_GET_FPU, &v->fpu) < 0 ||
		ioctl(v->fd, KVM_GET_DEBUGREGS, &v->debug) < 0 ||
		ioctl(v->fd, KVM_GET_VCPU_EVENTS, &v->events) < 0)
		return -errno;
	from_regs(s, &v->regs);
	from_sregs(s, &v->sregs);
	from_fpu(s, &v->fpu);
	memcpy(s->dr, v->debug.db, sizeof(s->dr));
	s->dr6 = v->debug.dr6;
	s->dr7 = v->debug.dr7;
	s->interrupt_shadow = v->events.interrupt.shadow != 0;
	s->nmi_masked = v->events.nmi.masked;
	s->nmi_pending = v->events.nmi.pending;
	err = fetch_msrs(v);
	if (!err)
		err = fetch_xcr0(v);
	if (!err)
		err = tsc_offset(v, KVM_GET_DEVICE_ATTR, &v->tsc_offset);
	s->tsc_offset = v->tsc_offset;
	v->fetched = !err;
	return err;
}

void kvm_state_forget(struct kvm_vp *v)
{
	/* Values that nothing real equals. */
	memset(&v->regs, 0xA5, sizeof(v->regs));
	memset(&v->sregs.cs, 0xA5, sizeof(v->sregs.cs));
	memset(&v->fpu, 0xA5, sizeof(v->fpu));
	memset(&v->debug, 0xA5, sizeof(v->debug));
	memset(&v->msrs, 0xA5, sizeof(v->msrs));
	v->xcr0 = ~0ull;
	v->tsc_offset = v->state.tsc_offset + 1;
	v->changed = true;
	v->fetched = true;
}

static int store_regs(struct kvm_vp *v)
{
	struct kvm_regs r = {.rip = v->state.rip, .rflags = v->state.rflags};

	for (unsigned i = 0; i < 16; i++)
		*gpr(&r, i) = v->state.gpr[i];
	if (!memcmp(&r, &v->regs, sizeof(r)))
		return 0;
	v->regs = r;
	return ioctl(v->fd, KVM_SET_REGS, &r) < 0 ? -errno : 0;
}

static int store_sregs(struct kvm_vp *v)
{
	const struct x86_state *s = &v->state;
	struct kvm_sregs r = v->sregs;

	for (unsigned i = 0; i < X86_SEG_COUNT; i++)
		*segment(&r, i) = segment_to(&s->seg[i]);
	r.gdt.base = s->gdtr.base;
	r.gdt.limit = s->gdtr.limit;
	r.idt.base = s->idtr.base;
	r.idt.limit = s->idtr.limit;
	r.cr0 = s->cr0;
	r.cr2 = s->cr2;
	r.cr3 = s->cr3;
	r.cr4 = s->cr4;
	r.efer = s->efer;
	r.cr8 = v->ops->read_cr8(v->ctx);
	if (!memcmp(&r, &v->sregs, sizeof(r)))
		return 0;
	v->sregs = r;
	/* An interrupt that is under way is in the events. */
	memset(r.interrupt_bitmap, 0, sizeof(r.interrupt_bitmap));
	return ioctl(v->fd, KVM_SET_SREGS, &r) < 0 ? -errno : 0;
}

static int store_fpu(struct kvm_vp *v)
{
	const struct x86_fx *fx = &v->state.fx;
	struct kvm_fpu f = {
		.fcw = fx->fcw,
		.fsw = fx->fsw,
		.ftwx = fx->ftw,
		.last_opcode = fx->fop,
		.last_ip = fx->fip,
		.last_dp = fx->fdp,
		.mxcsr = fx->mxcsr,
	};

	memcpy(f.fpr, fx->st, sizeof(f.fpr));
	memcpy(f.xmm, fx->xmm, sizeof(f.xmm));
	if (!memcmp(&f, &v->fpu, sizeof(f)))
		return 0;
	v->fpu = f;
	return ioctl(v->fd, KVM_SET_FPU, &f) < 0 ? -errno : 0;
}

static int store_debug(struct kvm_vp *v)
{
	struct kvm_debugregs d = {.dr6 = v->state.dr6, .dr7 = v->state.dr7};

	memcpy(d.db, v->state.dr, sizeof(d.db));
	if (!memcmp(&d, &v->debug, sizeof(d)))
		return 0;
	v->debug = d;
	return ioctl(v->fd, KVM_SET_DEBUGREGS, &d) < 0 ? -errno : 0;
}

static int store_msrs(struct kvm_vp *v)
{
	union msr_buffer b = {0};

	for (unsigned i = 0; i < MSR_COUNT; i++) {
		uint64_t value = *msr_field(&v->state, i);

		if (value == v->msrs[i])
			continue;
		v->msrs[i] = value;
		b.head.entries[b.head.nmsrs].index = msr_numbers[i];
		b.head.entries[b.head.nmsrs++].data = value;
	}
	if (!b.head.nmsrs)
		return 0;
	return ioctl(v->fd, KVM_SET_MSRS, &b) < 0 ? -errno : 0;
}

static int store_xcr0(struct kvm_vp *v)
{
	struct kvm_xcrs x = {.nr_xcrs = 1};

	if (v->state.xcr0 == v->xcr0)
		return 0;
	v->xcr0 = v->state.xcr0;
	x.xcrs[0].value = v->xcr0;
	return ioctl(v->fd, KVM_SET_XCRS, &x) < 0 ? -errno : 0;
}

/* Shadow, NMI mask, and the event to inject. */
static int store_events(struct kvm_vp *v)
{
	struct kvm_vcpu_events e;

	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
		return -errno;
	e.flags = KVM_VCPUEVENT_VALID_SHADOW;
	e.interrupt.shadow =
		v->state.interrupt_shadow ? KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0;
	e.nmi.masked = v->state.nmi_masked;
	if (v->inject.valid && v->inject.type == 3) {
		e.exception.injected = 1;
		e.exception.pending = 0;
		e.exception.nr = v->inject.vector;
		e.exception.has_error_code = v->inject.has_error;
		e.exception.error_code = v->inject.error;
	} else if (v->inject.valid && v->inject.type == 2) {
		e.nmi.injected = 1;
	} else if (v->inject.valid) {
		e.interrupt.injected = 1;
		e.interrupt.nr = v->inject.vector;
		e.interrupt.soft = v->inject.type == 4;
	}
	v->inject.valid = false;
	return ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e) < 0 ? -errno : 0;
}

int kvm_state_store(struct kvm_vp *v)
{
	int err = 0;

	if (v->inject.valid && v->inject.type == 3 && v->inject.vector == X86_VEC_PF) {
		v->state.cr2 = v->inject.parameter;
		v->changed = true;
	}
	if (v->changed) {
		err = store_sregs(v);
		if (!err)
			err = store_regs(v);
		if (!err)
			err = store_fpu(v);
		if (!err)
			err = store_debug(v);
		if (!err)
			err = store_msrs(v);
		if (!err)
			err = store_xcr0(v);
		if (!err && v->state.tsc_offset != v->tsc_offset) {
			v->tsc_offset = v->state.tsc_offset;
			err = tsc_offset(v, KVM_SET_DEVICE_ATTR, &v->tsc_offset);
		}
	}
	if (!err && (v->changed || v->inject.valid))
		err = store_events(v);
	v->changed = false;
	return err;
}

/* The leaves a guest may ask for; those not in the list read as zeros. */
static const struct {
	uint32_t first, last;
	uint8_t subleaves;
} leaves[] = {
	{0, 3, 1},
	{4, 4, 4},
	{5, 6, 1},
	{7, 7, 1},
	{8, 0xA, 1},
	{0xB, 0xB, 3},
	{0xC, 0xC, 1},
	{0xD, 0xD, 3},
	{0x40000000, 0x4000000A, 1},
	{0x80000000, 0x80000008, 1},
};

static bool has_subleaves(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xB || leaf == 0xD;
}

int kvm_state_set_cpuid(struct kvm_vp *v)
{
	struct kvm_cpuid2 *table = calloc(1, sizeof(*table) + 64 * sizeof(table->entries[0]));
	int err;

	if (!table)
		return -ENOMEM;
	for (unsigned i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
		for (uint32_t leaf = leaves[i].first; leaf <= leaves[i].last; leaf++) {
			for (uint32_t sub = 0; sub < leaves[i].subleaves; sub++) {
				struct kvm_cpuid_entry2 *e = &table->entries[table->nent++];
				uint32_t out[4];

				v->ops->cpuid(v->ctx, leaf, sub, out);
				e->function = leaf;
				e->index = sub;
				e->flags =
					has_subleaves(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
				e->eax = out[0];
				e->ebx = out[1];
				e->ecx = out[2];
				e->edx = out[3];
			}
		}
	}
	err = ioctl(v->fd, KVM_SET_CPUID2, table) < 0 ? -errno : 0;
	free(table);
	v->cpuid_set = !err;
	return err;
}
