/*
 * hypervisor_guest.c - see hypervisor_guest.h.
 */
#include "hypervisor_guest.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define CODE_SELECTOR 8
#define DATA_SELECTOR 16

bool guest_exact(void)
{
	return strcmp(getenv("PARTITA_ENGINE"), "kvm") != 0;
}

bool guest_has_hardware(void)
{
	unsigned eax, ebx, ecx = 0, edx, extended = 0;

	if (guest_exact())
		return true;
	__get_cpuid(1, &eax, &ebx, &ecx, &edx);
	__get_cpuid(0x80000001, &eax, &ebx, &extended, &edx);
	return (ecx >> 5 & 1) || (extended >> 2 & 1); /* VMX, SVM */
}

uint64_t guest_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* Vectors with an error code have it popped. */
static bool has_error(unsigned vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* push %eax; mov $vector,%eax; out %eax,$PORT_VECTOR; pop %eax; [add $4,%esp]; iret */
static void build_idt(uint8_t *ram)
{
	for (unsigned vector = 0; vector < 256; vector++) {
		uint32_t at = GUEST_STUBS + vector * 16;
		uint8_t *stub = ram + at, *gate = ram + GUEST_IDT + vector * 8;
		unsigned n = 0;

		stub[n++] = 0x50;
		stub[n++] = 0xB8;
		memcpy(stub + n, &vector, 4);
		n += 4;
		stub[n++] = 0xE7;
		stub[n++] = PORT_VECTOR;
		stub[n++] = 0x58;
		if (has_error(vector)) {
			memcpy(stub + n, "\x83\xC4\x04", 3);
			n += 3;
		}
		stub[n] = 0xCF;
		gate[0] = (uint8_t)at;
		gate[1] = (uint8_t)(at >> 8);
		gate[2] = CODE_SELECTOR;
		gate[5] = 0x8E;
	}
	memcpy(ram + GUEST_GDT + CODE_SELECTOR, "\xFF\xFF\0\0\0\x9B\xCF\0", 8);
	memcpy(ram + GUEST_GDT + DATA_SELECTOR, "\xFF\xFF\0\0\0\x93\xCF\0", 8);
}

static void set_property(
	struct guest *g, WHV_PARTITION_PROPERTY_CODE code, const WHV_PARTITION_PROPERTY *value)
{
	assert_int_equal(WHvSetPartitionProperty(g->partition, code, value, sizeof(*value)), S_OK);
}

static void configure(struct guest *g, const struct guest_options *options)
{
	WHV_PARTITION_PROPERTY p = {.ProcessorCount = g->vps};

	set_property(g, WHvPartitionPropertyCodeProcessorCount, &p);
	if (!options->no_apic) {
		memset(&p, 0, sizeof(p));
		p.LocalApicEmulationMode = WHvX64LocalApicEmulationModeX2Apic;
		set_property(g, WHvPartitionPropertyCodeLocalApicEmulationMode, &p);
	}
	memset(&p, 0, sizeof(p));
	p.ExtendedVmExits = options->exits;
	set_property(g, WHvPartitionPropertyCodeExtendedVmExits, &p);
	memset(&p, 0, sizeof(p));
	p.ExceptionExitBitmap = options->exceptions;
	set_property(g, WHvPartitionPropertyCodeExceptionExitBitmap, &p);
}

void guest_start(struct guest *g)
{
	static const WHV_REGISTER_NAME names[] = {
		WHvX64RegisterCr0,
		WHvX64RegisterCs,
		WHvX64RegisterDs,
		WHvX64RegisterEs,
		WHvX64RegisterSs,
		WHvX64RegisterGdtr,
		WHvX64RegisterIdtr,
		WHvX64RegisterRip,
		WHvX64RegisterRsp,
		WHvX64RegisterRflags,
	};
	WHV_REGISTER_VALUE code = {
		.Segment = {.Limit = ~0u, .Selector = CODE_SELECTOR, .Attributes = 0xC09B}};
	WHV_REGISTER_VALUE data = {
		.Segment = {.Limit = ~0u, .Selector = DATA_SELECTOR, .Attributes = 0xC093}};
	WHV_REGISTER_VALUE values[] = {
		{.Reg64 = 0x11},
		code,
		data,
		data,
		data,
		{.Table = {.Base = GUEST_GDT, .Limit = 23}},
		{.Table = {.Base = GUEST_IDT, .Limit = 2047}},
		{.Reg64 = GUEST_CODE},
		{.Reg64 = GUEST_STACK},
		{.Reg64 = 2},
	};

	assert_int_equal(WHvSetVirtualProcessorRegisters(
				 g->partition, 0, names, sizeof(names) / sizeof(names[0]), values),
		S_OK);
}

struct guest *guest_new(
	const struct guest_options *options, const uint8_t *code, const uint8_t *end)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->vps = options->vps ? options->vps : 1;
	g->ram = mmap(
		NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g->ram != MAP_FAILED);
	assert_int_equal(WHvCreatePartition(&g->partition), S_OK);
	configure(g, options);
	assert_int_equal(WHvSetupPartition(g->partition), S_OK);
	build_idt(g->ram);
	memcpy(g->ram + GUEST_CODE, code, (size_t)(end - code));
	assert_int_equal(WHvMapGpaRange(g->partition, g->ram, 0, GUEST_MEMORY,
				 WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite |
					 WHvMapGpaRangeFlagExecute),
		S_OK);
	for (unsigned i = 0; i < g->vps; i++)
		assert_int_equal(WHvCreateVirtualProcessor(g->partition, i, 0), S_OK);
	guest_start(g);
	return g;
}

void guest_free(struct guest *g)
{
	assert_int_equal(WHvDeletePartition(g->partition), S_OK);
	munmap(g->ram, GUEST_MEMORY);
	free(g);
}

void guest_run(struct guest *g, unsigned vp, WHV_RUN_VP_EXIT_CONTEXT *exit)
{
	assert_int_equal(WHvRunVirtualProcessor(g->partition, vp, exit, sizeof(*exit)), S_OK);
}

uint64_t guest_get(struct guest *g, unsigned vp, WHV_REGISTER_NAME name)
{
	WHV_REGISTER_VALUE value;

	assert_int_equal(WHvGetVirtualProcessorRegisters(g->partition, vp, &name, 1, &value), S_OK);
	return value.Reg64;
}

void guest_set(struct guest *g, unsigned vp, WHV_REGISTER_NAME name, uint64_t value)
{
	WHV_REGISTER_VALUE v = {.Reg64 = value};

	assert_int_equal(WHvSetVirtualProcessorRegisters(g->partition, vp, &name, 1, &v), S_OK);
}

void guest_skip(struct guest *g, unsigned vp, const WHV_RUN_VP_EXIT_CONTEXT *exit)
{
	assert_true(exit->VpContext.InstructionLength > 0);
	guest_set(
		g, vp, WHvX64RegisterRip, exit->VpContext.Rip + exit->VpContext.InstructionLength);
}

void guest_complete_io(struct guest *g, unsigned vp, const WHV_RUN_VP_EXIT_CONTEXT *exit)
{
	assert_int_equal(exit->ExitReason, WHvRunVpExitReasonX64IoPortAccess);
	guest_skip(g, vp, exit);
}

uint32_t guest_expect(struct guest *g, unsigned vp, uint16_t port)
{
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_run(g, vp, &exit);
	if (exit.ExitReason != WHvRunVpExitReasonX64IoPortAccess)
		print_error("exit 0x%x at rip 0x%llx\n", exit.ExitReason,
			(unsigned long long)exit.VpContext.Rip);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64IoPortAccess);
	if (exit.IoPortAccess.PortNumber != port)
		print_error("port 0x%x says 0x%x\n", exit.IoPortAccess.PortNumber,
			(unsigned)exit.IoPortAccess.Rax);
	assert_int_equal(exit.IoPortAccess.PortNumber, port);
	assert_true(exit.IoPortAccess.AccessInfo.IsWrite);
	guest_complete_io(g, vp, &exit);
	return (uint32_t)exit.IoPortAccess.Rax;
}

int guest_run_tests(const struct CMUnitTest *tests, size_t count, const char *name)
{
	static const char *const engines[] = {"software", "kvm"};
	int failed = 0;

	for (unsigned i = 0; i < 2; i++) {
		BOOL present = FALSE;
		char group[64];

		setenv("PARTITA_ENGINE", engines[i], 1);
		WHvGetCapability(
			WHvCapabilityCodeHypervisorPresent, &present, sizeof(present), NULL);
		if (!present) {
			print_message(
				"%s: skipped on %s, which cannot be used here\n", name, engines[i]);
			continue;
		}
		snprintf(group, sizeof(group), "%s on %s", name, engines[i]);
		failed += _cmocka_run_group_tests(group, tests, count, NULL, NULL);
	}
	return failed;
}
