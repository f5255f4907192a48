/*
 * WinHvPlatformDefs.h - the types of the hypervisor platform API, for x86-64.
 *
 * Names, values and layouts are the Windows SDK's; the parts stand in whp/, one subject a file.
 */
#ifndef _WINHVAPIDEFS_H_
#define _WINHVAPIDEFS_H_

#include <windows.h>

#ifdef _AMD64_
#include <whp/registers.h>
#include <whp/features.h>
#include <whp/memory.h>
#include <whp/partition.h>
#include <whp/exits.h>
#include <whp/interrupts.h>
#include <whp/nested.h>
#include <whp/vpci.h>
#endif

#endif
