/*
 * WinHvEmulation.h - the instruction emulator: completes the instruction that caused a memory or
 * an I/O port exit of a virtual processor.
 *
 * Names, values and layouts are the Windows SDK's (Microsoft Learn, "Windows Hypervisor Platform
 * Instruction Emulator API"). The emulator reaches the guest through the caller's callbacks only;
 * each is given the Context of the Try call and returns S_OK or a failure that ends the call.
 *
 * The Try functions return S_OK when EmulatorReturnStatus says how it went; E_INVALIDARG: the
 * handle or a context is malformed; anything else: the status is not to be looked at. On
 * EmulationSuccessful the virtual processor is to be run again. A guest fault that the instruction
 * raises is a success too: it has been made pending in the virtual processor. A long string
 * instruction may be left partly done, RIP still at it, so that interrupts are not held up.
 *
 * More than this API promises: one emulator may be used by several threads at once.
 */
#ifndef _WINHVEMUAPI_H_
#define _WINHVEMUAPI_H_

#include <WinHvPlatformDefs.h>

typedef union WHV_EMULATOR_STATUS {
	struct {
		UINT32 EmulationSuccessful : 1;
		/* The emulator cannot execute the instruction. */
		UINT32 InternalEmulationFailure : 1;
		UINT32 IoPortCallbackFailed : 1;
		UINT32 MemoryCallbackFailed : 1;
		UINT32 TranslateGvaPageCallbackFailed : 1;
		UINT32 TranslateGvaPageCallbackGpaIsNotAligned : 1;
		UINT32 GetVirtualProcessorRegistersCallbackFailed : 1;
		UINT32 SetVirtualProcessorRegistersCallbackFailed : 1;
		/* Not the instruction but the delivery of an event met the memory. */
		UINT32 InterruptCausedIntercept : 1;
		/* The instruction faults and the guest has no way to take a fault. */
		UINT32 GuestCannotBeFaulted : 1;
		UINT32 Reserved : 22;
	};
	UINT32 AsUINT32;
} WHV_EMULATOR_STATUS;
C_ASSERT(sizeof(WHV_EMULATOR_STATUS) == 4);

/* Bytes of guest physical memory: Data lies as in memory. No access crosses a page. */
typedef struct WHV_EMULATOR_MEMORY_ACCESS_INFO {
	WHV_GUEST_PHYSICAL_ADDRESS GpaAddress;
	UINT8 Direction;  /* 0: read into Data, 1: write Data */
	UINT8 AccessSize; /* 1 to 8 bytes */
	UINT8 Data[8];
} WHV_EMULATOR_MEMORY_ACCESS_INFO;
C_ASSERT(sizeof(WHV_EMULATOR_MEMORY_ACCESS_INFO) == 24);
C_ASSERT(offsetof(WHV_EMULATOR_MEMORY_ACCESS_INFO, Data) == 10);

typedef struct WHV_EMULATOR_IO_ACCESS_INFO {
	UINT8 Direction; /* 0: in, 1: out */
	UINT16 Port;
	UINT16 AccessSize; /* 1, 2 or 4 bytes */
	UINT32 Data;
} WHV_EMULATOR_IO_ACCESS_INFO;
C_ASSERT(sizeof(WHV_EMULATOR_IO_ACCESS_INFO) == 12);
C_ASSERT(offsetof(WHV_EMULATOR_IO_ACCESS_INFO, Data) == 8);

typedef HRESULT(CALLBACK *WHV_EMULATOR_IO_PORT_CALLBACK)(
	VOID *Context, WHV_EMULATOR_IO_ACCESS_INFO *IoAccess);

typedef HRESULT(CALLBACK *WHV_EMULATOR_MEMORY_CALLBACK)(
	VOID *Context, WHV_EMULATOR_MEMORY_ACCESS_INFO *MemoryAccess);

typedef HRESULT(CALLBACK *WHV_EMULATOR_GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK)(VOID *Context,
	const WHV_REGISTER_NAME *RegisterNames, UINT32 RegisterCount,
	WHV_REGISTER_VALUE *RegisterValues);

/* Called at most once, at the end of an emulation that succeeds. */
typedef HRESULT(CALLBACK *WHV_EMULATOR_SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK)(VOID *Context,
	const WHV_REGISTER_NAME *RegisterNames, UINT32 RegisterCount,
	const WHV_REGISTER_VALUE *RegisterValues);

/* Gva is the start of a 4 KiB page; so must *Gpa be. The result is as of WHvTranslateGva. */
typedef HRESULT(CALLBACK *WHV_EMULATOR_TRANSLATE_GVA_PAGE_CALLBACK)(VOID *Context,
	WHV_GUEST_VIRTUAL_ADDRESS Gva, WHV_TRANSLATE_GVA_FLAGS TranslateFlags,
	WHV_TRANSLATE_GVA_RESULT_CODE *TranslationResult, WHV_GUEST_PHYSICAL_ADDRESS *Gpa);

typedef struct WHV_EMULATOR_CALLBACKS {
	UINT32 Size; /* of this structure */
	UINT32 Reserved;
	WHV_EMULATOR_IO_PORT_CALLBACK WHvEmulatorIoPortCallback;
	WHV_EMULATOR_MEMORY_CALLBACK WHvEmulatorMemoryCallback;
	WHV_EMULATOR_GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK
	WHvEmulatorGetVirtualProcessorRegisters;
	WHV_EMULATOR_SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK
	WHvEmulatorSetVirtualProcessorRegisters;
	WHV_EMULATOR_TRANSLATE_GVA_PAGE_CALLBACK WHvEmulatorTranslateGvaPage;
} WHV_EMULATOR_CALLBACKS;
C_ASSERT(sizeof(WHV_EMULATOR_CALLBACKS) == 48);
C_ASSERT(offsetof(WHV_EMULATOR_CALLBACKS, WHvEmulatorIoPortCallback) == 8);

typedef VOID *WHV_EMULATOR_HANDLE;

#ifdef __cplusplus
extern "C" {
#endif

/* All callbacks are needed. E_INVALIDARG: one is missing or Size is wrong. E_OUTOFMEMORY. */
HRESULT WINAPI WHvEmulatorCreateEmulator(
	const WHV_EMULATOR_CALLBACKS *Callbacks, WHV_EMULATOR_HANDLE *Emulator);

/* No call may be under way. */
HRESULT WINAPI WHvEmulatorDestroyEmulator(WHV_EMULATOR_HANDLE Emulator);

/* IN, OUT, INS, OUTS. The contexts are those of the exit, unchanged. */
HRESULT WINAPI WHvEmulatorTryIoEmulation(WHV_EMULATOR_HANDLE Emulator, VOID *Context,
	const WHV_VP_EXIT_CONTEXT *VpContext,
	const WHV_X64_IO_PORT_ACCESS_CONTEXT *IoInstructionContext,
	WHV_EMULATOR_STATUS *EmulatorReturnStatus);

/* Any instruction that accesses memory. */
HRESULT WINAPI WHvEmulatorTryMmioEmulation(WHV_EMULATOR_HANDLE Emulator, VOID *Context,
	const WHV_VP_EXIT_CONTEXT *VpContext,
	const WHV_MEMORY_ACCESS_CONTEXT *MmioInstructionContext,
	WHV_EMULATOR_STATUS *EmulatorReturnStatus);

#ifdef __cplusplus
}
#endif

#endif
