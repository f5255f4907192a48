/*
 * hello.c - the smallest monitor, as one writes it for Windows: a guest in real mode prints a word
 * through a port and halts. Prints the word; status 1 when a call fails.
 */
#include <windows.h>

#include <WinHvEmulation.h>
#include <WinHvPlatform.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT 0xe9

/* mov si, word; next: lodsb; test al, al; jz end; out 0xe9, al; jmp next; end: hlt; word: */
static const UINT8 code[] = "\xbe\x0d\x00\xac\x84\xc0\x74\x04\xe6\xe9\xeb\xf7\xf4Hello, Hyper-V";

static WHV_PARTITION_HANDLE partition;

static void check(const char *what, HRESULT result)
{
	if (SUCCEEDED(result))
		return;
	fprintf(stderr, "%s: 0x%08x\n", what, (UINT32)result);
	exit(1);
}

static HRESULT CALLBACK io_port(VOID *context, WHV_EMULATOR_IO_ACCESS_INFO *access)
{
	if (access->Direction == 1 && access->Port == PORT && access->AccessSize == 1)
		putchar((int)access->Data);
	return S_OK;
}

static HRESULT CALLBACK memory(VOID *context, WHV_EMULATOR_MEMORY_ACCESS_INFO *access)
{
	return E_NOTIMPL;
}

static HRESULT CALLBACK get_registers(VOID *context, const WHV_REGISTER_NAME *names, UINT32 count,
	WHV_REGISTER_VALUE *values)
{
	return WHvGetVirtualProcessorRegisters(partition, 0, names, count, values);
}

static HRESULT CALLBACK set_registers(VOID *context, const WHV_REGISTER_NAME *names, UINT32 count,
	const WHV_REGISTER_VALUE *values)
{
	return WHvSetVirtualProcessorRegisters(partition, 0, names, count, values);
}

static HRESULT CALLBACK translate(VOID *context, WHV_GUEST_VIRTUAL_ADDRESS gva,
	WHV_TRANSLATE_GVA_FLAGS flags, WHV_TRANSLATE_GVA_RESULT_CODE *code,
	WHV_GUEST_PHYSICAL_ADDRESS *gpa)
{
	WHV_TRANSLATE_GVA_RESULT result;
	HRESULT done = WHvTranslateGva(partition, 0, gva, flags, &result, gpa);

	*code = result.ResultCode;
	return done;
}

static WHV_EMULATOR_HANDLE create_emulator(void)
{
	static const WHV_EMULATOR_CALLBACKS callbacks = {sizeof(callbacks), 0, io_port, memory,
		get_registers, set_registers, translate};
	WHV_EMULATOR_HANDLE emulator;

	check("WHvEmulatorCreateEmulator", WHvEmulatorCreateEmulator(&callbacks, &emulator));
	return emulator;
}

static void create_partition(void *page)
{
	static const WHV_REGISTER_NAME names[] = {
		WHvX64RegisterRip, WHvX64RegisterCs, WHvX64RegisterDs};
	const WHV_X64_SEGMENT_REGISTER cs = {.Limit = 0xffff, .Attributes = 0x9b},
				       ds = {.Limit = 0xffff, .Attributes = 0x93};
	const WHV_REGISTER_VALUE values[] = {{.Reg64 = 0}, {.Segment = cs}, {.Segment = ds}};
	WHV_PARTITION_PROPERTY property = {.ProcessorCount = 1};

	check("WHvCreatePartition", WHvCreatePartition(&partition));
	check("WHvSetPartitionProperty",
		WHvSetPartitionProperty(partition, WHvPartitionPropertyCodeProcessorCount,
			&property, sizeof(property)));
	check("WHvSetupPartition", WHvSetupPartition(partition));
	check("WHvMapGpaRange",
		WHvMapGpaRange(partition, page, 0, 4096,
			WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagExecute));
	check("WHvCreateVirtualProcessor", WHvCreateVirtualProcessor(partition, 0, 0));
	check("WHvSetVirtualProcessorRegisters",
		WHvSetVirtualProcessorRegisters(partition, 0, names, 3, values));
}

int main(void)
{
	void *page = aligned_alloc(4096, 4096);
	WHV_EMULATOR_HANDLE emulator = create_emulator();
	WHV_RUN_VP_EXIT_CONTEXT exit;
	WHV_EMULATOR_STATUS status;

	memset(page, 0, 4096);
	memcpy(page, code, sizeof(code));
	create_partition(page);
	for (;;) {
		check("WHvRunVirtualProcessor",
			WHvRunVirtualProcessor(partition, 0, &exit, sizeof(exit)));
		if (exit.ExitReason != WHvRunVpExitReasonX64IoPortAccess)
			break;
		check("WHvEmulatorTryIoEmulation",
			WHvEmulatorTryIoEmulation(emulator, NULL, &exit.VpContext,
				&exit.IoPortAccess, &status));
		if (!status.EmulationSuccessful)
			break;
	}
	putchar('\n');
	check("WHvEmulatorDestroyEmulator", WHvEmulatorDestroyEmulator(emulator));
	check("WHvDeletePartition", WHvDeletePartition(partition));
	free(page);
	return exit.ExitReason == WHvRunVpExitReasonX64Halt ? 0 : 1;
}
