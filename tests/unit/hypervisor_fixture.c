/*
 * hypervisor_fixture.c - see hypervisor_fixture.h.
 */
#include "hypervisor_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const uint8_t code[] = {0x0F, 0x01, 0xC1, 0xC3};

static int probe(void)
{
	return 0;
}

static void info(struct engine_info *to)
{
	memset(to, 0, sizeof(*to));
	to->features = (struct x86_features){
		.leaf1_ecx = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 17 | 1u << 26 | 1u << 30,
		.leaf1_edx = 0x0783FBFF,
		.leaf7_ebx = 1u << 0 | 1u << 7 | 1u << 10 | 1u << 20,
		.ext1_ecx = 1,
		.ext1_edx = 1u << 11 | 1u << 20 | 1u << 26 | 1u << 27 | 1u << 29,
		.xsave1_eax = 7,
		.xcr0 = 3,
	};
	to->intel = true;
	to->signature = 0x00030661;
	to->cpuid_exits = true;
	to->exception_exits = true;
	to->physical_bits = 40;
	to->hypercall_code = code;
	to->hypercall_code_size = sizeof(code);
}

static void *machine_create(unsigned vps)
{
	return calloc(1, sizeof(struct fake_machine));
}

static void machine_destroy(void *machine)
{
	free(machine);
}

static int map(void *machine, uint64_t gpa, void *host, uint64_t size, unsigned flags)
{
	return 0;
}

static int unmap(void *machine, uint64_t gpa, uint64_t size)
{
	return 0;
}

static void written(void *machine, uint64_t gpa, uint64_t size)
{
}

static void *vp_create(void *machine, unsigned index, const struct x86_ops *ops, struct vp *ctx)
{
	struct fake_machine *m = machine;

	m->vps[index].index = index;
	return &m->vps[index];
}

static void vp_destroy(void *vp)
{
}

static void fake_reset(void *vp, bool init)
{
	struct fake_vp *v = vp;

	v->resets += !init;
	v->inits += init;
	memset(&v->state, 0, sizeof(v->state));
	v->state.rflags = X86_FLAG_1;
	v->state.xcr0 = 1;
}

static struct x86_state *fake_state(void *vp)
{
	return &((struct fake_vp *)vp)->state;
}

static void fake_changed(void *vp)
{
}

static void vp_run(void *vp, struct x86_exit *exit)
{
	memset(exit, 0, sizeof(*exit));
	exit->reason = X86_EXIT_SHUTDOWN;
}

static void vp_stop(void *vp)
{
	((struct fake_vp *)vp)->stops++;
}

static void vp_interrupt(void *vp)
{
	((struct fake_vp *)vp)->interrupts++;
}

static void fake_nmi(void *vp)
{
	((struct fake_vp *)vp)->nmis++;
}

static void vp_request_window(void *vp)
{
	((struct fake_vp *)vp)->windows++;
}

static void vp_intercept_exceptions(void *vp, uint64_t bitmap)
{
}

static void vp_inject(void *vp, unsigned type, uint8_t vector, bool has_error, uint32_t error,
	uint64_t parameter, unsigned length)
{
	struct fake_vp *v = vp;

	v->injected.valid = true;
	v->injected.type = type;
	v->injected.vector = vector;
}

/* Paging is off: every address is its own. */
static uint32_t vp_translate(void *vp, uint64_t gva, unsigned access, unsigned cpl, uint64_t *gpa)
{
	*gpa = gva;
	return 0;
}

static void flush(void *machine, void *caller, uint64_t mask, bool global, const uint64_t *gva,
	unsigned count)
{
	struct fake_machine *m = machine;

	m->flush.calls++;
	m->flush.mask = mask;
	m->flush.global = global;
	m->flush.count = count;
	m->flush.first = count ? gva[0] : 0;
}

static uint64_t vp_instructions(void *vp)
{
	return 0;
}

const struct engine fixture_engine = {
	.name = "fake",
	.probe = probe,
	.info = info,
	.machine_create = machine_create,
	.machine_destroy = machine_destroy,
	.map = map,
	.unmap = unmap,
	.written = written,
	.vp_create = vp_create,
	.vp_destroy = vp_destroy,
	.vp_reset = fake_reset,
	.vp_state = fake_state,
	.vp_changed = fake_changed,
	.vp_run = vp_run,
	.vp_stop = vp_stop,
	.vp_interrupt = vp_interrupt,
	.vp_nmi = fake_nmi,
	.vp_request_window = vp_request_window,
	.vp_intercept_exceptions = vp_intercept_exceptions,
	.vp_inject = vp_inject,
	.vp_translate = vp_translate,
	.flush = flush,
	.vp_instructions = vp_instructions,
};

struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->tsc = 1000000;
	f->p = partition_new(&fixture_engine);
	assert_non_null(f->p);
	f->p->clock.fake = &f->tsc;
	f->p->prop.clock_frequency = FIXTURE_HZ;
	return f;
}

struct fixture *fixture_ready(unsigned vps)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY count = {.ProcessorCount = vps};
	WHV_PARTITION_PROPERTY apic = {
		.LocalApicEmulationMode = WHvX64LocalApicEmulationModeX2Apic};

	assert_int_equal(WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeProcessorCount,
				 &count, sizeof(count)),
		S_OK);
	assert_int_equal(
		WHvSetPartitionProperty(
			f->p, WHvPartitionPropertyCodeLocalApicEmulationMode, &apic, sizeof(apic)),
		S_OK);
	assert_int_equal(WHvSetupPartition(f->p), S_OK);
	f->ram = mmap(
		NULL, FIXTURE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(f->ram != MAP_FAILED);
	assert_int_equal(WHvMapGpaRange(f->p, f->ram, 0, FIXTURE_MEMORY,
				 WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite |
					 WHvMapGpaRangeFlagExecute),
		S_OK);
	for (unsigned i = 0; i < vps; i++)
		assert_int_equal(WHvCreateVirtualProcessor(f->p, i, 0), S_OK);
	return f;
}

void fixture_free(struct fixture *f)
{
	assert_int_equal(WHvDeletePartition(f->p), S_OK);
	if (f->ram)
		munmap(f->ram, FIXTURE_MEMORY);
	free(f);
}

struct vp *fixture_vp(struct fixture *f, unsigned index)
{
	struct vp *vp = partition_vp(f->p, index);

	assert_non_null(vp);
	return vp;
}

struct fake_vp *fixture_fake(struct vp *vp)
{
	return vp->engine_vp;
}

struct fake_machine *fixture_machine(struct fixture *f)
{
	return f->p->machine;
}

void fixture_set_tsc(struct fixture *f, uint64_t tsc)
{
	__atomic_store_n(&f->tsc, tsc, __ATOMIC_RELAXED);
}

void fixture_advance_us(struct fixture *f, uint64_t us)
{
	fixture_set_tsc(f, f->tsc + us * (FIXTURE_HZ / 1000000));
	for (unsigned i = 0; i < f->p->prop.processor_count; i++)
		vp_expire_timers(fixture_vp(f, i));
}

uint64_t fixture_rdmsr(struct vp *vp, uint32_t msr)
{
	uint64_t value;

	assert_int_equal(msr_read(vp, msr, &value), X86_DONE);
	return value;
}

void fixture_wrmsr(struct vp *vp, uint32_t msr, uint64_t value)
{
	assert_int_equal(msr_write(vp, msr, value), X86_DONE);
}

void fixture_rdmsr_faults(struct vp *vp, uint32_t msr)
{
	uint64_t value;

	assert_int_equal(msr_read(vp, msr, &value), X86_FAULT);
}

void fixture_wrmsr_faults(struct vp *vp, uint32_t msr, uint64_t value)
{
	assert_int_equal(msr_write(vp, msr, value), X86_FAULT);
}

void fixture_enable_synic(struct vp *vp, uint64_t simp, uint64_t siefp)
{
	fixture_wrmsr(vp, HV_MSR_SIMP, simp | HV_PAGE_ENABLE);
	fixture_wrmsr(vp, HV_MSR_SIEFP, siefp | HV_PAGE_ENABLE);
	fixture_wrmsr(vp, HV_MSR_SCONTROL, HV_SCONTROL_ENABLE);
}

struct hv_message *fixture_slot(struct fixture *f, uint64_t simp, unsigned sint)
{
	return (struct hv_message *)(f->ram + simp) + sint;
}
