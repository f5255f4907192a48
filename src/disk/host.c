/*
 * host.c - what the host keeps a file on: from statfs(2), /sys/dev/block and the device numbers
 * along a path.
 */
#include "disk/host.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#define CIFS_MAGIC 0xFF534D42
#define CEPH_MAGIC 0x00C36400

static bool is_remote(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs))
		return false;
	switch ((unsigned long)fs.f_type & 0xFFFFFFFF) {
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CIFS_MAGIC:
	case CEPH_MAGIC:
	case CODA_SUPER_MAGIC:
	case AFS_FS_MAGIC:
	case V9FS_MAGIC:
		return true;
	default:
		return false;
	}
}

/* A number from the queue of the device or, for a partition, of the disk it is on. */
static bool read_queue(dev_t device, const char *name, uint32_t *value)
{
	static const char *const forms[] = {
		"/sys/dev/block/%u:%u/queue/%s", "/sys/dev/block/%u:%u/../queue/%s"};
	bool found = false;

	for (size_t i = 0; i < 2 && !found; i++) {
		char path[128];
		FILE *f;

		snprintf(path, sizeof(path), forms[i], major(device), minor(device), name);
		f = fopen(path, "re");
		if (!f)
			continue;
		found = fscanf(f, "%u", value) == 1;
		fclose(f);
	}
	return found;
}

void host_storage(const char *path, struct host_storage *storage)
{
	struct stat st;
	dev_t device;

	*storage = (struct host_storage){512, 4096, is_remote(path)};
	if (stat(path, &st))
		return;
	device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	read_queue(device, "logical_block_size", &storage->logical_sector);
	read_queue(device, "physical_block_size", &storage->physical_sector);
}

char *host_mount(const char *path)
{
	char *at = realpath(path, NULL), *cut;
	struct stat st, above;

	if (!at || stat(at, &st))
		goto unknown;
	while ((cut = strrchr(at, '/')) && cut[1]) {
		char saved = cut == at ? cut[1] : cut[0];
		char *end = cut == at ? cut + 1 : cut;

		*end = '\0';
		if (stat(at, &above))
			goto unknown;
		if (above.st_dev != st.st_dev) {
			*end = saved;
			return at;
		}
	}
	return at;
unknown:
	free(at);
	return NULL;
}
