/*
 * table.c - the sockets of libhvsocket. See table.h.
 */
#include "hvsocket/table.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hvsocket/system.h"

#define SLOTS_MIN 64 /* a power of two */

/* Open addressing; inode 0 is a free slot. At most half of the slots are taken. */
static struct {
	pthread_mutex_t lock;
	struct hv_socket *slots;
	size_t room;
	size_t used;
	atomic_bool any;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- fork() in one thread while another has the lock ----------------------------------------- */

static void lock(void)
{
	pthread_mutex_lock(&table.lock);
}

static void unlock(void)
{
	pthread_mutex_unlock(&table.lock);
}

__attribute__((constructor)) static void prepare_for_fork(void)
{
	pthread_atfork(lock, unlock, unlock);
}

/* ---- Slots ---------------------------------------------------------------------------------- */

/* 0: @fd is no socket. */
static ino_t inode_of(int fd)
{
	struct stat st;

	return sys_fstat(fd, &st) || !S_ISSOCK(st.st_mode) ? 0 : st.st_ino;
}

/* Where @inode is, or would be put. */
static struct hv_socket *slot_of(struct hv_socket *slots, size_t room, ino_t inode)
{
	size_t i = (inode * 0x9e3779b97f4a7c15ull) >> 32 & (room - 1);

	while (slots[i].inode && slots[i].inode != inode)
		i = (i + 1) & (room - 1);
	return &slots[i];
}

/* The inodes of the process's sockets, in order; NULL: it cannot be told. */
static ino_t *open_inodes(size_t *n)
{
	size_t room = 256;
	ino_t *all = malloc(room * sizeof(*all));
	DIR *d = all ? opendir("/proc/self/fd") : NULL;
	struct dirent *e;

	*n = 0;
	while (d && all && (e = readdir(d))) {
		if (*n == room) {
			ino_t *more = realloc(all, 2 * room * sizeof(*all));

			if (!more) {
				free(all);
				all = NULL;
				break;
			}
			all = more;
			room *= 2;
		}
		all[*n] = inode_of(atoi(e->d_name));
		*n += all[*n] != 0;
	}
	if (d)
		closedir(d);
	if (!d) {
		free(all);
		return NULL;
	}
	return all;
}

static int compare(const void *a, const void *b)
{
	const ino_t x = *(const ino_t *)a, y = *(const ino_t *)b;

	return (x > y) - (x < y);
}

/* Is @s a socket that is still open? @open: all that are, in order; NULL: nobody knows. */
static bool is_live(const struct hv_socket *s, const ino_t *open, size_t n_open)
{
	return s->inode && (!open || bsearch(&s->inode, open, n_open, sizeof(*open), compare));
}

/* Make room for one more: drop what is closed, and double what is still a quarter full. */
static int make_room(void)
{
	size_t n_open, live = 0, room = table.room ? table.room : SLOTS_MIN;
	ino_t *open = open_inodes(&n_open);
	struct hv_socket *slots;

	if (open)
		qsort(open, n_open, sizeof(*open), compare);
	for (size_t i = 0; i < table.room; i++)
		live += is_live(&table.slots[i], open, n_open);
	if (live >= room / 4)
		room *= 2;
	slots = calloc(room, sizeof(*slots));
	for (size_t i = 0; slots && i < table.room; i++)
		if (is_live(&table.slots[i], open, n_open))
			*slot_of(slots, room, table.slots[i].inode) = table.slots[i];
	free(open);
	if (!slots)
		return -ENOMEM;
	free(table.slots);
	table.slots = slots;
	table.room = room;
	table.used = live;
	return 0;
}

/* ---- Entries -------------------------------------------------------------------------------- */

bool table_is_empty(void)
{
	return !atomic_load_explicit(&table.any, memory_order_acquire);
}

bool table_find(int fd, struct hv_socket *s)
{
	ino_t inode = table_is_empty() ? 0 : inode_of(fd);
	bool found;

	if (!inode)
		return false;
	lock();
	*s = *slot_of(table.slots, table.room, inode);
	found = s->inode;
	unlock();
	return found;
}

int table_put(int fd, struct hv_socket *s)
{
	struct hv_socket *slot;
	int err = 0;

	s->inode = inode_of(fd);
	if (!s->inode)
		return -ENOTSOCK;
	lock();
	if (2 * (table.used + 1) > table.room)
		err = make_room();
	if (!err) {
		slot = slot_of(table.slots, table.room, s->inode);
		table.used += !slot->inode;
		*slot = *s;
		atomic_store_explicit(&table.any, true, memory_order_release);
	}
	unlock();
	return err;
}
