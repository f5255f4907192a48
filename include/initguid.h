/*
 * initguid.h - makes the headers that are included after it define their GUIDs instead of declaring
 * them. Several files of a program may do so: the constants are one.
 */
#ifndef PARTITA_INITGUID_H
#define PARTITA_INITGUID_H

#ifndef INITGUID
#define INITGUID
#endif
#include <guiddef.h>

#undef DEFINE_GUID
#define DEFINE_GUID PARTITA_GUID_CONSTANT

#endif
