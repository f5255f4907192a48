/*
 * work.h - lists of work (struct disk_work), first in, first out. Who has one locks it.
 */
#ifndef PARTITA_DISK_WORK_H
#define PARTITA_DISK_WORK_H

#include "disk/disk.h"

struct disk_work_list {
	struct disk_work *first, **end;
};

static inline void disk_work_list_init(struct disk_work_list *l)
{
	l->first = NULL;
	l->end = &l->first;
}

static inline void disk_work_append(struct disk_work_list *l, struct disk_work *w)
{
	w->next = NULL;
	*l->end = w;
	l->end = &w->next;
}

/* disk_work_pop - the oldest of a list that is not empty. */
static inline struct disk_work *disk_work_pop(struct disk_work_list *l)
{
	struct disk_work *w = l->first;

	l->first = w->next;
	if (!l->first)
		l->end = &l->first;
	return w;
}

#endif
