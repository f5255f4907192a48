/*
 * whp/nested.h - state of a guest hypervisor.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_NESTED_H
#define PARTITA_WHP_NESTED_H

#include <windows.h>

typedef enum WHV_NESTED_STATE_TYPE {
	WHvNestedStateTypeVmx,
	WHvNestedStateTypeSvm,
} WHV_NESTED_STATE_TYPE;

typedef struct WHV_NESTED_ENLIGHTENMENTS_CONTROL {
	union {
		UINT32 AsUINT32;
		struct {
			UINT32 DirectHypercall : 1;
			UINT32 VirtualizationException : 1;
			UINT32 Reserved : 30;
		};
	} Features;
	union {
		UINT32 AsUINT32;
		struct {
			UINT32 InterPartitionCommunication : 1;
			UINT32 Reserved : 31;
		};
	} HypercallControls;
} WHV_NESTED_ENLIGHTENMENTS_CONTROL;

typedef struct WHV_X64_VMX_NESTED_STATE {
	WHV_NESTED_STATE_TYPE Vendor;
	struct {
		UINT32 GuestMode : 1;
		UINT32 Vmxon : 1;
		UINT32 CurrentVmcsValid : 1;
		UINT32 VmEntryPending : 1;
		UINT32 VmcsEnlightened : 1;
		UINT32 EnlightenedVmEntry : 1;
		UINT32 Reserved : 26;
	} Flags;
	WHV_NESTED_ENLIGHTENMENTS_CONTROL NestedEnlightenmentsControl;
	UINT64 Pdpt[4];
	UINT64 VmxonRegionGpa;
	UINT64 VmcsGpa;
	UINT64 CurrentEnlightenedVmcs;
	struct {
		UINT32 Tpr;
		UINT32 Ppr;
		UINT32 Isr[8];
		UINT32 Irr[8];
		UINT32 IcrLow;
		UINT32 IcrHigh;
	} VirtualApicRegs;
	UINT8 Reserved[3944];
	DECLSPEC_ALIGN(4096) UINT8 VmcsBytes[4096];
} WHV_X64_VMX_NESTED_STATE;

typedef struct WHV_SVM_VMCB_SELECTOR {
	UINT16 Selector;
	UINT16 Attrib;
	UINT32 Limit;
	UINT64 Base;
} WHV_SVM_VMCB_SELECTOR;

typedef struct WHV_SVM_NESTED_HOST_STATE {
	UINT64 Rip;
	UINT64 Rsp;
	UINT64 Rflags;
	UINT64 Rax;
	WHV_SVM_VMCB_SELECTOR Es;
	WHV_SVM_VMCB_SELECTOR Cs;
	WHV_SVM_VMCB_SELECTOR Ss;
	WHV_SVM_VMCB_SELECTOR Ds;
	WHV_SVM_VMCB_SELECTOR Gdtr;
	WHV_SVM_VMCB_SELECTOR Idtr;
	UINT64 Efer;
	UINT64 Cr0;
	UINT64 Cr3;
	UINT64 Cr4;
	UINT64 VirtualTpr;
	UINT64 Reserved[6];
} WHV_SVM_NESTED_HOST_STATE;

typedef struct WHV_X64_SVM_NESTED_STATE {
	WHV_NESTED_STATE_TYPE Vendor;
	struct {
		UINT32 GuestMode : 1;
		UINT32 VmEntryPending : 1;
		UINT32 HostSaveGpaValid : 1;
		UINT32 CurrentVmcbValid : 1;
		UINT32 Reserved : 28;
	} Flags;
	WHV_NESTED_ENLIGHTENMENTS_CONTROL NestedEnlightenmentsControl;
	UINT64 HostSaveGpa;
	UINT64 VmControlMsr;
	UINT64 VirtualTscRatioMsr;
	UINT64 VmcbGpa;
	WHV_SVM_NESTED_HOST_STATE HostState;
	UINT8 Reserved[3832];
	DECLSPEC_ALIGN(4096) UINT8 VmcbBytes[4096];
} WHV_X64_SVM_NESTED_STATE;

typedef union WHV_X64_NESTED_STATE {
	WHV_X64_VMX_NESTED_STATE Vmx;
	WHV_X64_SVM_NESTED_STATE Svm;
} WHV_X64_NESTED_STATE;

#endif
