/*
 * emulator_guest.c - see emulator_guest.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "emulator_guest.h"

static WHV_REGISTER_VALUE *find(struct guest *g, WHV_REGISTER_NAME name)
{
	if (name <= WHvX64RegisterR15)
		return &g->gpr[name];
	if (name >= WHvX64RegisterEs && name <= WHvX64RegisterGs)
		return &g->segment[name - WHvX64RegisterEs];
	if (name >= WHvX64RegisterXmm0 && name <= WHvX64RegisterXmm15)
		return &g->xmm[name - WHvX64RegisterXmm0];
	switch (name) {
	case WHvX64RegisterRip:
		return &g->rip;
	case WHvX64RegisterRflags:
		return &g->rflags;
	case WHvX64RegisterCr0:
		return &g->cr0;
	case WHvX64RegisterCr4:
		return &g->cr4;
	case WHvX64RegisterDr6:
		return &g->dr6;
	case WHvRegisterPendingEvent:
		return &g->event;
	case WHvRegisterInterruptState:
		return &g->interrupt_state;
	default:
		return NULL;
	}
}

static HRESULT get_registers(
	VOID *ctx, const WHV_REGISTER_NAME *names, UINT32 n, WHV_REGISTER_VALUE *values)
{
	struct guest *g = ctx;

	g->gets++;
	g->got += n;
	if (g->fail_get)
		return E_FAIL;
	for (UINT32 i = 0; i < n; i++) {
		const WHV_REGISTER_VALUE *v = find(g, names[i]);

		if (!v)
			return E_INVALIDARG;
		values[i] = *v;
	}
	return S_OK;
}

static HRESULT set_registers(
	VOID *ctx, const WHV_REGISTER_NAME *names, UINT32 n, const WHV_REGISTER_VALUE *values)
{
	struct guest *g = ctx;

	g->sets++;
	g->set += n;
	if (g->fail_set)
		return E_FAIL;
	for (UINT32 i = 0; i < n; i++) {
		WHV_REGISTER_VALUE *v = find(g, names[i]);

		if (!v)
			return E_INVALIDARG;
		*v = values[i];
	}
	return S_OK;
}

static void log_access(struct guest_access *log, unsigned *n, uint64_t address, unsigned size,
	bool write, const void *data)
{
	struct guest_access *a = &log[(*n)++ % LOG_SIZE];

	*a = (struct guest_access){.address = address, .size = size, .write = write};
	memcpy(&a->value, data, size);
}

static HRESULT memory(VOID *ctx, WHV_EMULATOR_MEMORY_ACCESS_INFO *info)
{
	struct guest *g = ctx;
	uint64_t gpa = info->GpaAddress;
	unsigned size = info->AccessSize;
	uint8_t *at;

	/* Promised: 1 to 8 bytes within a page. */
	if (!size || size > 8 || (gpa & 4095) + size > 4096)
		abort();
	if (g->fail_memory)
		return E_FAIL;
	if (gpa + size <= GUEST_RAM)
		at = g->ram + gpa;
	else if (gpa >= GUEST_DEVICE && gpa + size <= GUEST_DEVICE + DEVICE_SIZE)
		at = g->device + (gpa - GUEST_DEVICE);
	else
		return E_BOUNDS;
	if (info->Direction)
		memcpy(at, info->Data, size);
	else
		memcpy(info->Data, at, size);
	if (gpa >= GUEST_DEVICE)
		log_access(
			g->device_log, &g->device_accesses, gpa, size, info->Direction, info->Data);
	return S_OK;
}

static HRESULT port(VOID *ctx, WHV_EMULATOR_IO_ACCESS_INFO *info)
{
	struct guest *g = ctx;

	if (g->fail_port)
		return E_FAIL;
	if (!info->Direction)
		info->Data = g->port_data++;
	log_access(g->port_log, &g->port_accesses, info->Port, info->AccessSize, info->Direction,
		&info->Data);
	return S_OK;
}

static HRESULT translate(VOID *ctx, WHV_GUEST_VIRTUAL_ADDRESS gva, WHV_TRANSLATE_GVA_FLAGS flags,
	WHV_TRANSLATE_GVA_RESULT_CODE *result, WHV_GUEST_PHYSICAL_ADDRESS *gpa)
{
	struct guest *g = ctx;

	if (gva & 4095)
		abort();
	g->translations++;
	if (g->fail_translate)
		return E_FAIL;
	*gpa = g->misaligned ? gva + 1 : gva;
	*result = WHvTranslateGvaResultSuccess;
	if (g->absent_page && gva == g->absent_page)
		*result = WHvTranslateGvaResultPageNotPresent;
	else if (g->read_only_page && gva == g->read_only_page &&
		 (flags & WHvTranslateGvaFlagValidateWrite))
		*result = WHvTranslateGvaResultPrivilegeViolation;
	else if (gva >= GUEST_RAM)
		*result = WHvTranslateGvaResultGpaUnmapped;
	return S_OK;
}

const WHV_EMULATOR_CALLBACKS guest_callbacks = {
	.Size = sizeof(WHV_EMULATOR_CALLBACKS),
	.WHvEmulatorIoPortCallback = port,
	.WHvEmulatorMemoryCallback = memory,
	.WHvEmulatorGetVirtualProcessorRegisters = get_registers,
	.WHvEmulatorSetVirtualProcessorRegisters = set_registers,
	.WHvEmulatorTranslateGvaPage = translate,
};

static void set_segment(struct guest *g, unsigned n, bool code)
{
	WHV_X64_SEGMENT_REGISTER *s = &g->segment[n].Segment;

	s->Limit = g->bits == 16 ? 0xffff : 0xffffffff;
	s->SegmentType = code ? 0xb : 3;
	s->NonSystemSegment = 1;
	s->Present = 1;
	s->DescriptorPrivilegeLevel = g->cpl;
	s->Long = code && g->bits == 64;
	s->Default = g->bits == 32 || (!code && g->bits == 64);
	s->Granularity = g->bits != 16;
	s->Selector = (UINT16)(8 * (n + 1));
}

void guest_init(struct guest *g, unsigned bits)
{
	memset(g, 0, sizeof(*g));
	g->bits = bits;
	g->insn_bytes = 15;
	for (unsigned i = 0; i < DEVICE_SIZE; i++)
		g->device[i] = (uint8_t)(i * 7 + 1);
	for (unsigned i = 0; i < GUEST_RAM; i++)
		g->ram[i] = (uint8_t)(i * 5 + 3);
	for (unsigned i = 0; i < 16; i++)
		g->gpr[i].Reg64 = 0x1111111111111111ull * i;
	for (unsigned i = 0; i < 6; i++)
		set_segment(g, i, i == 1);
	GPR(g, Rsp) = 0x8000;
	g->rip.Reg64 = GUEST_RIP;
	g->rflags.Reg64 = 2;
	g->cr0.Reg64 = 0x80000031;
	g->cr4.Reg64 = 0x620;
}

void guest_code(struct guest *g, const void *code, unsigned length)
{
	assert(length <= 16);
	memset(g->ram + GUEST_RIP, 0xcc, 16);
	memcpy(g->ram + GUEST_RIP, code, length);
}

static WHV_VP_EXIT_CONTEXT vp_context(const struct guest *g)
{
	WHV_VP_EXIT_CONTEXT vp = {0};

	vp.ExecutionState.Cpl = (UINT16)g->cpl;
	vp.ExecutionState.Cr0Pe = g->bits != 16;
	vp.ExecutionState.EferLma = g->bits == 64;
	vp.ExecutionState.InterruptionPending = g->interruption_pending;
	vp.ExecutionState.InterruptShadow = g->interrupt_shadow;
	vp.Cs = g->segment[1].Segment;
	vp.Rip = g->rip.Reg64;
	vp.Rflags = g->rflags.Reg64;
	return vp;
}

uint32_t guest_mmio(struct guest *g, WHV_EMULATOR_HANDLE emulator, uint64_t gpa, bool write)
{
	WHV_VP_EXIT_CONTEXT vp = vp_context(g);
	WHV_MEMORY_ACCESS_CONTEXT mmio = {0};

	mmio.InstructionByteCount = (UINT8)g->insn_bytes;
	memcpy(mmio.InstructionBytes, g->ram + GUEST_RIP, g->insn_bytes);
	mmio.AccessInfo.AccessType = write ? WHvMemoryAccessWrite : WHvMemoryAccessRead;
	mmio.AccessInfo.GpaUnmapped = 1;
	mmio.AccessInfo.GvaValid = 1;
	mmio.Gpa = mmio.Gva = gpa;
	if (WHvEmulatorTryMmioEmulation(emulator, g, &vp, &mmio, &g->status) != S_OK)
		abort();
	return g->status.AsUINT32;
}

uint32_t guest_port(struct guest *g, WHV_EMULATOR_HANDLE emulator, uint16_t port_number,
	unsigned size, bool write, bool string, bool rep, unsigned length)
{
	WHV_VP_EXIT_CONTEXT vp = vp_context(g);
	WHV_X64_IO_PORT_ACCESS_CONTEXT io = {0};

	vp.InstructionLength = length & 15;
	io.InstructionByteCount = (UINT8)g->insn_bytes;
	memcpy(io.InstructionBytes, g->ram + GUEST_RIP, g->insn_bytes);
	io.AccessInfo.IsWrite = write;
	io.AccessInfo.AccessSize = size & 7;
	io.AccessInfo.StringOp = string;
	io.AccessInfo.RepPrefix = rep;
	io.PortNumber = port_number;
	io.Rax = GPR(g, Rax);
	io.Rcx = GPR(g, Rcx);
	io.Rsi = GPR(g, Rsi);
	io.Rdi = GPR(g, Rdi);
	io.Ds = g->segment[3].Segment;
	io.Es = g->segment[0].Segment;
	if (WHvEmulatorTryIoEmulation(emulator, g, &vp, &io, &g->status) != S_OK)
		abort();
	return g->status.AsUINT32;
}

WHV_EMULATOR_HANDLE emulator;

int emulator_setup(void **state)
{
	return WHvEmulatorCreateEmulator(&guest_callbacks, &emulator) == S_OK ? 0 : -1;
}

int emulator_teardown(void **state)
{
	return WHvEmulatorDestroyEmulator(emulator) == S_OK ? 0 : -1;
}
