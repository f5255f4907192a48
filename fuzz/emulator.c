/*
 * emulator.c (fuzz) - the instruction emulator under random instructions, registers, memory and
 * failing callbacks, in every mode.
 *
 * What it must keep to whatever the guest executes: each register callback is called at most once
 * and with names the API has, memory accesses are 1 to 8 bytes within a page, a failure sets no
 * register, and the status says either success or what failed.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <WinHvEmulation.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

/* The input, taken apart from the front; when it is used up, zeros follow. */
struct input {
	const uint8_t *data;
	size_t left;
	unsigned gets, sets;
};

static void take(struct input *in, void *to, size_t size)
{
	size_t n = size < in->left ? size : in->left;

	memset(to, 0, size);
	memcpy(to, in->data, n);
	in->data += n;
	in->left -= n;
}

static uint8_t take8(struct input *in)
{
	uint8_t value;

	take(in, &value, 1);
	return value;
}

/* Mostly addresses where something may happen. */
static uint64_t take_value(struct input *in)
{
	uint64_t value;

	take(in, &value, 8);
	return value & 1 ? value : (value & 0xffff) << (take8(in) & 15);
}

static bool known(WHV_REGISTER_NAME name)
{
	return name <= WHvX64RegisterGs ||
	       (name >= WHvX64RegisterXmm0 && name <= WHvX64RegisterXmmControlStatus) ||
	       name == WHvX64RegisterCr0 || name == WHvX64RegisterCr4 ||
	       name == WHvX64RegisterDr6 || name == WHvRegisterInterruptState ||
	       name == WHvRegisterPendingEvent;
}

static HRESULT get_registers(
	VOID *ctx, const WHV_REGISTER_NAME *names, UINT32 n, WHV_REGISTER_VALUE *values)
{
	struct input *in = ctx;

	CHECK(!in->gets++ && n);
	for (UINT32 i = 0; i < n; i++) {
		CHECK(known(names[i]));
		values[i].Reg128.Low64 = take_value(in);
		values[i].Reg128.High64 = take_value(in);
	}
	return take8(in) == 0xff ? E_FAIL : S_OK;
}

static HRESULT set_registers(
	VOID *ctx, const WHV_REGISTER_NAME *names, UINT32 n, const WHV_REGISTER_VALUE *values)
{
	struct input *in = ctx;

	CHECK(!in->sets++ && n);
	for (UINT32 i = 0; i < n; i++) {
		CHECK(known(names[i]));
		for (UINT32 j = 0; j < i; j++)
			CHECK(names[i] != names[j]);
	}
	return take8(in) == 0xff ? E_FAIL : S_OK;
}

static HRESULT memory(VOID *ctx, WHV_EMULATOR_MEMORY_ACCESS_INFO *info)
{
	struct input *in = ctx;

	CHECK(info->AccessSize >= 1 && info->AccessSize <= 8);
	CHECK((info->GpaAddress & 4095) + info->AccessSize <= 4096);
	if (!info->Direction)
		take(in, info->Data, sizeof(info->Data));
	return take8(in) == 0xff ? E_FAIL : S_OK;
}

static HRESULT port(VOID *ctx, WHV_EMULATOR_IO_ACCESS_INFO *info)
{
	struct input *in = ctx;

	CHECK(info->AccessSize == 1 || info->AccessSize == 2 || info->AccessSize == 4);
	if (!info->Direction)
		take(in, &info->Data, sizeof(info->Data));
	return take8(in) == 0xff ? E_FAIL : S_OK;
}

static HRESULT translate(VOID *ctx, WHV_GUEST_VIRTUAL_ADDRESS gva, WHV_TRANSLATE_GVA_FLAGS flags,
	WHV_TRANSLATE_GVA_RESULT_CODE *result, WHV_GUEST_PHYSICAL_ADDRESS *gpa)
{
	struct input *in = ctx;
	uint8_t how = take8(in);

	CHECK(!(gva & 4095));
	*gpa = how == 0xfe ? gva + 1 : gva;
	*result = how >= 0xe0 && how < 0xf0 ? (how & 15) % 9 : WHvTranslateGvaResultSuccess;
	return how == 0xff ? E_FAIL : S_OK;
}

static const WHV_EMULATOR_CALLBACKS callbacks = {
	.Size = sizeof(callbacks),
	.WHvEmulatorIoPortCallback = port,
	.WHvEmulatorMemoryCallback = memory,
	.WHvEmulatorGetVirtualProcessorRegisters = get_registers,
	.WHvEmulatorSetVirtualProcessorRegisters = set_registers,
	.WHvEmulatorTranslateGvaPage = translate,
};

static WHV_VP_EXIT_CONTEXT take_vp(struct input *in)
{
	WHV_VP_EXIT_CONTEXT vp;

	take(in, &vp.ExecutionState, sizeof(vp.ExecutionState));
	take(in, &vp.Cs.Attributes, sizeof(vp.Cs.Attributes));
	vp.InstructionLength = take8(in) & 15;
	vp.Cr8 = 0;
	vp.Cs.Base = take_value(in);
	vp.Cs.Limit = (UINT32)take_value(in);
	vp.Cs.Selector = take8(in);
	vp.Rip = take_value(in);
	vp.Rflags = take_value(in);
	return vp;
}

static void take_instruction(struct input *in, UINT8 *count, UINT8 bytes[16])
{
	*count = take8(in) % 17;
	take(in, bytes, 16);
}

static HRESULT try_memory(
	WHV_EMULATOR_HANDLE emulator, struct input *in, WHV_EMULATOR_STATUS *status)
{
	WHV_VP_EXIT_CONTEXT vp = take_vp(in);
	WHV_MEMORY_ACCESS_CONTEXT mmio = {0};

	take_instruction(in, &mmio.InstructionByteCount, mmio.InstructionBytes);
	mmio.AccessInfo.AsUINT32 = take8(in) & 15;
	mmio.Gva = take_value(in);
	mmio.Gpa = take_value(in);
	return WHvEmulatorTryMmioEmulation(emulator, in, &vp, &mmio, status);
}

static HRESULT try_port(WHV_EMULATOR_HANDLE emulator, struct input *in, WHV_EMULATOR_STATUS *status)
{
	WHV_VP_EXIT_CONTEXT vp = take_vp(in);
	WHV_X64_IO_PORT_ACCESS_CONTEXT io = {0};

	take_instruction(in, &io.InstructionByteCount, io.InstructionBytes);
	io.AccessInfo.AsUINT32 = take8(in) & 63;
	io.PortNumber = take8(in);
	io.Rax = take_value(in);
	io.Rcx = take_value(in);
	io.Rsi = take_value(in);
	io.Rdi = take_value(in);
	take(in, &io.Ds, sizeof(io.Ds));
	take(in, &io.Es, sizeof(io.Es));
	return WHvEmulatorTryIoEmulation(emulator, in, &vp, &io, status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static WHV_EMULATOR_HANDLE emulator; /* one for all inputs, as a machine has one */
	struct input in = {.data = data, .left = size};
	WHV_EMULATOR_STATUS status;
	HRESULT result;

	if (!emulator)
		CHECK(WHvEmulatorCreateEmulator(&callbacks, &emulator) == S_OK);
	status.AsUINT32 = 0;
	result = take8(&in) & 1 ? try_port(emulator, &in, &status)
				: try_memory(emulator, &in, &status);
	CHECK(result == S_OK || result == E_INVALIDARG);
	if (result != S_OK)
		return 0;
	CHECK(status.AsUINT32 && !status.Reserved);
	CHECK(status.EmulationSuccessful == (status.AsUINT32 == 1));
	CHECK(status.EmulationSuccessful || status.SetVirtualProcessorRegistersCallbackFailed ||
		!in.sets);
	return 0;
}
