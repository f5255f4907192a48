/*
 * engine_software.c - the engine that is the software processor: src/x86 behind engine.h.
 */
#include "hypervisor/engine.h"

/* The most memory that decoded guest code may take, and again as much that compiled code may. */
#define CODE_BYTES (32u << 20)
/* How often a block is executed before it is worth compiling. */
#define HOT 32u
/* Family 6, model 0x36: an in-order processor, which this one is; stepping 1. */
#define SIGNATURE 0x00030661u

static int probe(void)
{
	return 0;
}

static void info(struct engine_info *to)
{
	static const uint8_t vmcall_ret[] = {0x0F, 0x01, 0xC1, 0xC3};

	x86_features(&to->features);
	to->intel = true;
	to->signature = SIGNATURE;
	to->cpuid_exits = true;
	to->exception_exits = true;
	to->physical_bits = X86_PHYSICAL_BITS;
	to->hypercall_code = vmcall_ret;
	to->hypercall_code_size = sizeof(vmcall_ret);
}

static void *machine_create(unsigned vps)
{
	struct x86_machine *m = x86_machine_create(vps, CODE_BYTES);

	if (m && x86_machine_compile(m, HOT)) {
		x86_machine_destroy(m);
		return NULL;
	}
	return m;
}

static void machine_destroy(void *machine)
{
	x86_machine_destroy(machine);
}

static int map(void *machine, uint64_t gpa, void *host, uint64_t size, unsigned flags)
{
	return x86_machine_map(machine, gpa, host, size, flags);
}

static int unmap(void *machine, uint64_t gpa, uint64_t size)
{
	return x86_machine_unmap(machine, gpa, size);
}

static void written(void *machine, uint64_t gpa, uint64_t size)
{
	x86_machine_written(machine, gpa, size);
}

static void *vp_create(void *machine, unsigned index, const struct x86_ops *ops, struct vp *ctx)
{
	return x86_vcpu_create(machine, index, ops, ctx);
}

static void vp_destroy(void *vp)
{
	x86_vcpu_destroy(vp);
}

static void vp_reset(void *vp, bool init)
{
	x86_vcpu_reset(vp, init);
}

static struct x86_state *vp_state(void *vp)
{
	return x86_vcpu_state(vp);
}

static void vp_changed(void *vp)
{
	x86_vcpu_changed(vp);
}

static void vp_run(void *vp, struct x86_exit *exit)
{
	x86_vcpu_run(vp, exit);
}

static void vp_stop(void *vp)
{
	x86_vcpu_stop(vp);
}

static void vp_interrupt(void *vp)
{
	x86_vcpu_interrupt(vp);
}

static void vp_nmi(void *vp)
{
	x86_vcpu_nmi(vp);
}

static void vp_request_window(void *vp)
{
	x86_vcpu_request_window(vp);
}

static void vp_intercept_exceptions(void *vp, uint64_t bitmap)
{
	x86_vcpu_intercept_exceptions(vp, bitmap);
}

static void vp_inject(void *vp, unsigned type, uint8_t vector, bool has_error, uint32_t error,
	uint64_t parameter, unsigned length)
{
	x86_vcpu_inject(vp, type, vector, has_error, error, parameter, length);
}

static uint32_t vp_translate(void *vp, uint64_t gva, unsigned access, unsigned cpl, uint64_t *gpa)
{
	return x86_vcpu_translate(vp, gva, access, cpl, gpa);
}

static void flush(void *machine, void *caller, uint64_t mask, bool global, const uint64_t *gva,
	unsigned count)
{
	x86_vcpu_flush(machine, caller, mask, global, gva, count);
}

static uint64_t vp_instructions(void *vp)
{
	return x86_vcpu_instructions(vp);
}

const struct engine engine_software = {
	.name = "software",
	.probe = probe,
	.info = info,
	.machine_create = machine_create,
	.machine_destroy = machine_destroy,
	.map = map,
	.unmap = unmap,
	.written = written,
	.vp_create = vp_create,
	.vp_destroy = vp_destroy,
	.vp_reset = vp_reset,
	.vp_state = vp_state,
	.vp_changed = vp_changed,
	.vp_run = vp_run,
	.vp_stop = vp_stop,
	.vp_interrupt = vp_interrupt,
	.vp_nmi = vp_nmi,
	.vp_request_window = vp_request_window,
	.vp_intercept_exceptions = vp_intercept_exceptions,
	.vp_inject = vp_inject,
	.vp_translate = vp_translate,
	.flush = flush,
	.vp_instructions = vp_instructions,
};
