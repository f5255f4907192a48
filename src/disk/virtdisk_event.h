/*
 * virtdisk_event.h - events, as the rest of the library uses them. They return false for what is no
 * event.
 */
#ifndef PARTITA_DISK_VIRTDISK_EVENT_H
#define PARTITA_DISK_VIRTDISK_EVENT_H

#include <stdbool.h>

#include <winbase.h>

bool event_is(HANDLE h);
bool event_set(HANDLE h);
bool event_reset(HANDLE h);

#endif
