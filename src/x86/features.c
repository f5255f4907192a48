/*
 * features.c - what CPUID says this processor can do.
 *
 * A bit is here when the instruction families implement what it stands for: those that run as the
 * host's own instructions (HOST_*) only where the host has them.
 *
 * Facts: Intel SDM vol. 2, CPUID; the x86-64 psABI for the x86-64-v2 level, which this reaches.
 */
#include "x86/x86.h"

#include <cpuid.h>

/* Leaf 1 ECX: SSE3, PCLMULQDQ, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT, AES. */
#define HOST_1_ECX                                                                                 \
	(1u << 0 | 1u << 1 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23 | 1u << 25)
/* PCID, XSAVE, RDRAND. */
#define OWN_1_ECX (1u << 17 | 1u << 26 | 1u << 30)
/* EDX: FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, CLFSH. */
#define OWN_1_EDX                                                                                  \
	(1u << 0 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 |           \
		1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15 | 1u << 16 | 1u << 17 |       \
		1u << 19)
/* MMX, FXSR, SSE, SSE2: every x86-64 host has them. */
#define HOST_1_EDX (1u << 23 | 1u << 24 | 1u << 25 | 1u << 26)
/* Leaf 7 EBX: FSGSBASE, SMEP, ERMS, INVPCID, RDSEED, SMAP, CLFLUSHOPT. */
#define OWN_7_EBX (1u << 0 | 1u << 7 | 1u << 9 | 1u << 10 | 1u << 18 | 1u << 20 | 1u << 23)
/* Leaf 7 ECX: UMIP, RDPID. */
#define OWN_7_ECX (1u << 2 | 1u << 22)
/* Leaf 7 EDX: FSRM. */
#define OWN_7_EDX (1u << 4)
/* Leaf 0x80000001 ECX: LAHF in 64-bit mode, PREFETCHW. */
#define OWN_EXT1_ECX (1u << 0 | 1u << 8)
/* EDX: SYSCALL, NX, 1 GiB pages, RDTSCP, LM. */
#define OWN_EXT1_EDX (1u << 11 | 1u << 20 | 1u << 26 | 1u << 27 | 1u << 29)
/* Leaf 0xD.1 EAX: XSAVEOPT, XSAVEC, XGETBV with ECX = 1. */
#define OWN_XSAVE1_EAX (1u << 0 | 1u << 1 | 1u << 2)

#define XCR0_X87_SSE 3u

void x86_features(struct x86_features *f)
{
	unsigned eax, ebx, ecx = 0, edx = 0;

	__get_cpuid(1, &eax, &ebx, &ecx, &edx);
	*f = (struct x86_features){
		.leaf1_ecx = (HOST_1_ECX & ecx) | OWN_1_ECX,
		.leaf1_edx = (HOST_1_EDX & edx) | OWN_1_EDX,
		.leaf7_ebx = OWN_7_EBX,
		.leaf7_ecx = OWN_7_ECX,
		.leaf7_edx = OWN_7_EDX,
		.ext1_ecx = OWN_EXT1_ECX,
		.ext1_edx = OWN_EXT1_EDX,
		.xsave1_eax = OWN_XSAVE1_EAX,
		.xcr0 = XCR0_X87_SSE,
	};
}
