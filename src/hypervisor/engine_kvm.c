/*
 * engine_kvm.c - the engine that uses /dev/kvm: machines and processors, and what engine.h asks.
 * See kvm.h for how it goes about it.
 *
 * Needs from the kernel: user-space MSRs with a filter (5.10), the TSC offset of a vcpu (5.16),
 * immediate exit, read-only memory.
 */
#include "hypervisor/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPUID_ENTRIES 256u
#define SLOT_LIMIT    1024u
#define SCRATCH_CODE  65536u

static const uint8_t out_ret[] = {0xE7, KVM_HYPERCALL_PORT, 0xC3};

static const int needed[] = {
	KVM_CAP_USER_MEMORY,
	KVM_CAP_IMMEDIATE_EXIT,
	KVM_CAP_READONLY_MEM,
	KVM_CAP_X86_USER_SPACE_MSR,
	KVM_CAP_X86_MSR_FILTER,
	KVM_CAP_VCPU_EVENTS,
	KVM_CAP_XCRS,
	KVM_CAP_EXT_CPUID,
};

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int probe(void)
{
	int fd = open_kvm(), err = 0, vm;

	if (fd < 0)
		return fd;
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		err = -ENOSYS;
	for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]) && !err; i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i]) <= 0)
			err = -ENOSYS;
	}
	if (!err) {
		vm = ioctl(fd, KVM_CREATE_VM, 0);
		if (vm < 0)
			err = -errno;
		else
			close(vm);
	}
	close(fd);
	return err;
}

/* What the host's KVM can lend: NULL when it cannot be asked. */
static struct kvm_cpuid2 *supported_cpuid(void)
{
	struct kvm_cpuid2 *table =
		calloc(1, sizeof(*table) + CPUID_ENTRIES * sizeof(table->entries[0]));
	int fd = open_kvm();

	if (table && fd >= 0) {
		table->nent = CPUID_ENTRIES;
		if (ioctl(fd, KVM_GET_SUPPORTED_CPUID, table) < 0)
			table->nent = 0;
	}
	if (fd >= 0)
		close(fd);
	return table;
}

static struct kvm_cpuid_entry2 entry(const struct kvm_cpuid2 *table, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; table && i < table->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entries[i];

		if (e->function == leaf &&
			(!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == sub))
			return *e;
	}
	return (struct kvm_cpuid_entry2){0};
}

/*
 * Features whose state is more than x87, SSE and AVX, or whose MSRs this engine does not carry, are
 * left out: MPX, AVX-512, PKU, CET, AMX, SGX, PMU, virtualization, TSC_ADJUST, monitor.
 */
#define LEAF1_ECX_OUT (1u << 3 | 1u << 5 | 1u << 15 | 1u << 21 | 1u << 24 | 1u << 27 | 1u << 31)
#define LEAF7_EBX_IN                                                                               \
	(1u << 0 | 1u << 3 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 18 |         \
		1u << 19 | 1u << 20 | 1u << 23 | 1u << 24 | 1u << 29)
#define LEAF7_ECX_IN  (1u << 2 | 1u << 9 | 1u << 10 | 1u << 22)
#define LEAF7_EDX_IN  (1u << 4 | 1u << 10 | 1u << 26 | 1u << 27 | 1u << 31)
#define EXT1_ECX_IN   (1u << 0 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8)
#define EXT1_EDX_IN   (1u << 11 | 1u << 20 | 1u << 22 | 1u << 26 | 1u << 27 | 1u << 29)
#define XSAVE1_EAX_IN 7u

static void info(struct engine_info *to)
{
	struct kvm_cpuid2 *table = supported_cpuid();
	struct kvm_cpuid_entry2 basic = entry(table, 0, 0), one = entry(table, 1, 0);
	struct kvm_cpuid_entry2 seven = entry(table, 7, 0), ext = entry(table, 0x80000001, 0);

	memset(to, 0, sizeof(*to));
	to->features = (struct x86_features){
		.leaf1_ecx = one.ecx & ~LEAF1_ECX_OUT,
		.leaf1_edx = one.edx,
		.leaf7_ebx = seven.ebx & LEAF7_EBX_IN,
		.leaf7_ecx = seven.ecx & LEAF7_ECX_IN,
		.leaf7_edx = seven.edx & LEAF7_EDX_IN,
		.ext1_ecx = ext.ecx & EXT1_ECX_IN,
		.ext1_edx = ext.edx & EXT1_EDX_IN,
		.xsave1_eax = entry(table, 0xD, 1).eax & XSAVE1_EAX_IN,
		.xcr0 = entry(table, 0xD, 0).eax & 7,
	};
	to->intel = basic.ebx != 0x68747541; /* "Auth" */
	to->signature = one.eax;
	to->physical_bits = entry(table, 0x80000008, 0).eax & 0xFF;
	if (to->physical_bits < 36 || to->physical_bits > X86_PHYSICAL_BITS)
		to->physical_bits = X86_PHYSICAL_BITS;
	to->hypercall_code = out_ret;
	to->hypercall_code_size = sizeof(out_ret);
	free(table);
}

/* ---- Machines -------------------------------------------------------------------------------- */

/* Send the MSRs that are ours, and all KVM does not know, to us. */
static int take_msrs(int vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			 KVM_MSR_EXIT_REASON_FILTER},
	};
	static uint8_t none[0x200 / 8];
	static uint8_t ranges[0x100 / 8] = {[0x77 / 8] = 1u << (0x77 & 7)}; /* all but PAT */
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges =
			{
				{.base = 0x1B, .nmsrs = 1},
				{.base = 0xFE, .nmsrs = 1},
				{.base = 0x200, .nmsrs = 0x100, .bitmap = ranges},
				{.base = 0x6E0, .nmsrs = 1},
				{.base = 0x40000000, .nmsrs = 0x200},
			},
	};

	for (unsigned i = 0; i < 5; i++) {
		filter.ranges[i].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
		if (!filter.ranges[i].bitmap)
			filter.ranges[i].bitmap = none;
	}
	if (ioctl(vm, KVM_ENABLE_CAP, &cap) < 0 || ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter) < 0)
		return -errno;
	return 0;
}

static void machine_destroy(void *machine)
{
	struct kvm_machine *m = machine;

	if (m->scratch)
		x86_vcpu_destroy(m->scratch);
	if (m->scratch_machine)
		x86_machine_destroy(m->scratch_machine);
	if (m->vm >= 0)
		close(m->vm);
	if (m->kvm >= 0)
		close(m->kvm);
	pthread_mutex_destroy(&m->lock);
	free(m->slots);
	free(m);
}

static const struct x86_ops scratch_ops;

static void *machine_create(unsigned vps)
{
	struct kvm_machine *m = calloc(1, sizeof(*m));
	int slots, size;

	if (!m)
		return NULL;
	pthread_mutex_init(&m->lock, NULL);
	m->vm = -1;
	m->kvm = open_kvm();
	if (m->kvm < 0)
		goto fail;
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	slots = ioctl(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	if (m->vm < 0 || size < (int)sizeof(struct kvm_run) || take_msrs(m->vm))
		goto fail;
	m->run_size = (size_t)size;
	m->slot_max = slots > 0 && slots < (int)SLOT_LIMIT ? (unsigned)slots : SLOT_LIMIT;
	m->slots = calloc(m->slot_max, sizeof(*m->slots));
	m->scratch_machine = x86_machine_create(1, SCRATCH_CODE);
	if (!m->slots || !m->scratch_machine)
		goto fail;
	m->scratch = x86_vcpu_create(m->scratch_machine, 0, &scratch_ops, NULL);
	if (m->scratch)
		return m;
fail:
	machine_destroy(m);
	return NULL;
}

static int map(void *machine, uint64_t gpa, void *host, uint64_t size, unsigned flags)
{
	return kvm_memory_map(machine, gpa, host, size, flags);
}

static int unmap(void *machine, uint64_t gpa, uint64_t size)
{
	return kvm_memory_unmap(machine, gpa, size);
}

static void written(void *machine, uint64_t gpa, uint64_t size)
{
	/* The processor sees writes to memory itself. */
}

/* ---- Processors ----------------------------------------------------------------------------- */

static void vp_destroy(void *vp)
{
	struct kvm_vp *v = vp;

	if (v->run)
		munmap(v->run, v->machine->run_size);
	if (v->fd >= 0)
		close(v->fd);
	free(v);
}

static void *vp_create(void *machine, unsigned index, const struct x86_ops *ops, struct vp *ctx)
{
	struct kvm_machine *m = machine;
	struct kvm_vp *v = aligned_alloc(64, (sizeof(*v) + 63) / 64 * 64);

	if (!v)
		return NULL;
	memset(v, 0, sizeof(*v));
	v->machine = m;
	v->index = index;
	v->ops = ops;
	v->ctx = ctx;
	v->fd = ioctl(m->vm, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd >= 0)
		v->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		v->run = NULL;
	if (!v->run || kvm_state_fetch(v)) {
		vp_destroy(v);
		return NULL;
	}
	return v;
}

static struct x86_state *kvm_vp_state(void *vp)
{
	struct kvm_vp *v = vp;

	kvm_state_fetch(v);
	return &v->state;
}

static void kvm_vp_changed(void *vp)
{
	((struct kvm_vp *)vp)->changed = true;
}

static void kvm_vp_reset(void *vp, bool init)
{
	struct kvm_vp *v = vp;
	struct kvm_machine *m = v->machine;

	if (v->unfinished || v->pending != KVM_PENDING_NONE)
		kvm_complete(v);
	kvm_state_fetch(v);
	v->pending = KVM_PENDING_NONE;
	v->inject.valid = false;
	v->window = false;
	atomic_store(&v->nmi, false);
	pthread_mutex_lock(&m->lock);
	*x86_vcpu_state(m->scratch) = v->state;
	x86_vcpu_changed(m->scratch);
	x86_vcpu_reset(m->scratch, init);
	v->state = *x86_vcpu_state(m->scratch);
	pthread_mutex_unlock(&m->lock);
	kvm_state_forget(v);
}

static void vp_run(void *vp, struct x86_exit *exit)
{
	kvm_run_vp(vp, exit);
}

static void vp_stop(void *vp)
{
	struct kvm_vp *v = vp;

	atomic_store(&v->stop, true);
	kvm_kick(v);
}

static void vp_interrupt(void *vp)
{
	struct kvm_vp *v = vp;

	atomic_store(&v->look, true);
	kvm_kick(v);
}

static void kvm_vp_nmi(void *vp)
{
	struct kvm_vp *v = vp;

	atomic_store(&v->nmi, true);
	kvm_kick(v);
}

static void vp_request_window(void *vp)
{
	((struct kvm_vp *)vp)->window = true;
}

static void vp_inject(void *vp, unsigned type, uint8_t vector, bool has_error, uint32_t error,
	uint64_t parameter, unsigned length)
{
	struct kvm_vp *v = vp;

	v->inject.valid = true;
	v->inject.type = type;
	v->inject.vector = vector;
	v->inject.has_error = has_error;
	v->inject.error = error;
	v->inject.parameter = parameter;
	if (type == 4) {
		kvm_state_fetch(v);
		v->state.rip += length;
		v->changed = true;
	}
}

static uint32_t vp_translate(void *vp, uint64_t gva, unsigned access, unsigned cpl, uint64_t *gpa)
{
	struct kvm_vp *v = vp;
	struct kvm_machine *m = v->machine;
	uint64_t shown = KVM_ACCESS_GVA;
	uint32_t fault;

	/* The operand of the instruction that kvm_access.c made up. */
	if ((v->pending == KVM_PENDING_READ || v->pending == KVM_PENDING_WRITE) &&
		((gva ^ shown) & 0xFFFFF000) == 0) {
		*gpa = v->access_gpa | (gva & 0xFFF);
		return 0;
	}
	kvm_state_fetch(v);
	pthread_mutex_lock(&m->lock);
	*x86_vcpu_state(m->scratch) = v->state;
	x86_vcpu_changed(m->scratch);
	fault = x86_vcpu_translate(m->scratch, gva, access, cpl, gpa);
	pthread_mutex_unlock(&m->lock);
	return fault;
}

static uint64_t vp_instructions(void *vp)
{
	return 0; /* KVM does not count them */
}

const struct engine engine_kvm = {
	.name = "kvm",
	.probe = probe,
	.info = info,
	.machine_create = machine_create,
	.machine_destroy = machine_destroy,
	.map = map,
	.unmap = unmap,
	.written = written,
	.vp_create = vp_create,
	.vp_destroy = vp_destroy,
	.vp_reset = kvm_vp_reset,
	.vp_state = kvm_vp_state,
	.vp_changed = kvm_vp_changed,
	.vp_run = vp_run,
	.vp_stop = vp_stop,
	.vp_interrupt = vp_interrupt,
	.vp_nmi = kvm_vp_nmi,
	.vp_request_window = vp_request_window,
	.vp_inject = vp_inject,
	.vp_translate = vp_translate,
	.vp_instructions = vp_instructions,
};
