/*
 * windows.h - lets a program that was written against the SDK include what it always included.
 * It holds base types, result codes, and the few functions that handles need; there is no other
 * Win32 here.
 */
#ifndef PARTITA_WINDOWS_H
#define PARTITA_WINDOWS_H

#include <minwindef.h>
#include <guiddef.h>
#include <winerror.h>
#include <winbase.h>

#endif
