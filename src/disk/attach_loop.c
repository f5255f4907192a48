/*
 * attach_loop.c - the loop device on the file, and the questions that are asked of the kernel's
 * block layer: who uses a device, and which device a path belongs to.
 *
 * Facts: loop(4); LOOP_CONFIGURE of linux/loop.h (Linux 5.8); proc(5) on mountinfo; the sysfs files
 * block/loopN/loop/backing_file and dev/block/MAJOR:MINOR.
 */
#include "disk/attach_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define CREATE_ATTEMPTS 64	    /* others take free devices too */
#define GONE_WAIT_MS	5000	    /* for who looks at the device just now, such as udev */
#define READ_AHEAD	(2ul << 20) /* bytes: two of the largest requests of FUSE */
#define PAUSE_MS	10	    /* between two looks */

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* ---- Mounts ---------------------------------------------------------------------------------- */

/* A line of mountinfo: what this needs of it. */
struct mount_row {
	unsigned id;
	char *point, *source; /* in the line */
};

/* mountinfo writes blanks, newlines and backslashes as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		unsigned byte;

		if (from[0] == '\\' && sscanf(from + 1, "%3o", &byte) == 1) {
			*to = byte;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD]... - TYPE SOURCE OPTIONS */
static bool parse_mount(char *line, struct mount_row *row)
{
	char *rest = strstr(line, " - "), *save;

	if (!rest || sscanf(line, "%u", &row->id) != 1)
		return false;
	*rest = '\0';
	if (!strtok_r(rest + 3, " ", &save))
		return false;
	row->source = strtok_r(NULL, " ", &save);
	row->point = strtok_r(line, " ", &save);
	for (int i = 0; i < 4 && row->point; i++)
		row->point = strtok_r(NULL, " ", &save);
	if (!row->source || !row->point)
		return false;
	unescape(row->source);
	unescape(row->point);
	return true;
}

/* The first mount that @wanted says yes to; @which gets its source or its mount point. */
static char *find_mount(
	bool (*wanted)(const struct mount_row *row, const void *ctx), const void *ctx, bool source)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *found = NULL;
	struct mount_row row;
	size_t room = 0;

	if (!mounts)
		return NULL;
	while (!found && getline(&line, &room, mounts) > 0)
		if (parse_mount(line, &row) && wanted(&row, ctx))
			found = strdup(source ? row.source : row.point);
	free(line);
	fclose(mounts);
	return found;
}

static bool has_id(const struct mount_row *row, const void *ctx)
{
	return row->id == *(const unsigned *)ctx;
}

/* Whether @name, of @length bytes, is the device or a partition: /dev/loop3p1. */
static bool is_device_or_partition(const char *name, size_t length, const char *device)
{
	const size_t n = strlen(device);

	return length >= n && memcmp(name, device, n) == 0 && (length == n || name[n] == 'p');
}

static bool is_from(const struct mount_row *row, const void *ctx)
{
	return is_device_or_partition(row->source, strlen(row->source), ctx);
}

/* ---- Which device ---------------------------------------------------------------------------- */

/* The loop device that the block device @number is, or is a partition of. */
static int loop_of_number(dev_t number, char **device)
{
	char link[64], *path, *name;
	int err = -ENOENT;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(number), minor(number));
	path = realpath(link, NULL);
	name = path ? strstr(path, "/block/loop") : NULL;
	if (name) {
		name += strlen("/block/");
		name[strcspn(name, "/")] = '\0';
		err = asprintf(device, "/dev/%s", name) < 0 ? -ENOMEM : 0;
	}
	free(path);
	return err;
}

int attach_loop_of(const char *path, char **device)
{
	struct statx stx;
	struct stat st;
	unsigned id;
	char *source;
	int err;

	if (stat(path, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return loop_of_number(st.st_rdev, device);
	if (major(st.st_dev))
		return loop_of_number(st.st_dev, device);
	/* A file system that makes up device numbers of its own, such as btrfs. */
	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &stx) || !(stx.stx_mask & STATX_MNT_ID))
		return -ENOENT;
	id = stx.stx_mnt_id;
	source = find_mount(has_id, &id, true);
	err = source && stat(source, &st) == 0 && S_ISBLK(st.st_mode)
		      ? loop_of_number(st.st_rdev, device)
		      : -ENOENT;
	free(source);
	return err;
}

/* Whether @device still is a loop device on @path. */
static bool is_ours(const char *device, const char *path)
{
	const char *name = strrchr(device, '/');
	char file[PATH_MAX], backing[PATH_MAX + 16];
	ssize_t n;
	int fd;

	snprintf(file, sizeof(file), "/sys/block%s/loop/backing_file", name ? name : "/");
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, backing, sizeof(backing) - 1);
	close(fd);
	if (n <= 0)
		return false;
	backing[n] = '\0';
	backing[strcspn(backing, "\n")] = '\0';
	/* After a lazy unmount the kernel adds that the file is "(deleted)". */
	n = strlen(path);
	return strncmp(backing, path, n) == 0 && (!backing[n] || backing[n] == ' ');
}

/* ---- Making one ------------------------------------------------------------------------------ */

/* Returns 0, -EBUSY: somebody else was faster, or another negative errno. */
static int configure(int control, const struct loop_config *config, char **device)
{
	int n = ioctl(control, LOOP_CTL_GET_FREE), fd, err = 0;

	if (n < 0)
		return -errno;
	if (asprintf(device, "/dev/loop%d", n) < 0)
		return -ENOMEM;
	fd = open(*device,
		(config->info.lo_flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, config))
		err = -errno;
	else
		/* Without it, who reads in sequence waits for each small piece. */
		(void)ioctl(fd, BLKRASET, READ_AHEAD / 512);
	if (fd >= 0)
		close(fd);
	if (err)
		free(*device);
	return err;
}

int attach_loop_create(const char *path, uint32_t sector, const struct disk_attach_options *options,
	char **device, struct disk_problem *problem)
{
	struct loop_config config = {.block_size = sector};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), err = -EBUSY;

	if (control < 0)
		return disk_problem_say(problem, "/dev/loop-control", -errno,
			"%s; a block device needs root and the loop driver", strerror(errno));
	config.info.lo_flags = LO_FLAGS_DIRECT_IO;
	if (options->read_only)
		config.info.lo_flags |= LO_FLAGS_READ_ONLY;
	if (!options->no_partitions)
		config.info.lo_flags |= LO_FLAGS_PARTSCAN;
	snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s", path);
	config.fd = open(path, (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if ((int)config.fd < 0) {
		err = disk_problem_say(problem, path, -errno, "%s", strerror(errno));
		close(control);
		return err;
	}
	for (int i = 0; i < CREATE_ATTEMPTS && err == -EBUSY; i++)
		err = configure(control, &config, device);
	close(config.fd);
	close(control);
	return err ? disk_problem_say(
			     problem, path, err, "no loop device for it: %s", strerror(-err))
		   : 0;
}

/* ---- Giving it up ---------------------------------------------------------------------------- */

/* What holds the device or a partition of it in the block layer: "dm-0". NULL: nothing. */
static char *find_holder(const char *device)
{
	const char *name = strrchr(device, '/') + 1;
	char pattern[128], *found = NULL;
	glob_t holders;

	snprintf(pattern, sizeof(pattern), "/sys/block/%s/{,%sp*/}holders/*", name, name);
	if (glob(pattern, GLOB_BRACE, NULL, &holders) == 0)
		found = strdup(strrchr(holders.gl_pathv[0], '/') + 1);
	globfree(&holders);
	return found;
}

static bool is_swap(const char *device)
{
	FILE *swaps = fopen("/proc/swaps", "re");
	char *line = NULL;
	bool found = false;
	size_t room = 0;

	while (swaps && !found && getline(&line, &room, swaps) > 0)
		found = is_device_or_partition(line, strcspn(line, " \t"), device);
	free(line);
	if (swaps)
		fclose(swaps);
	return found;
}

/* Whether it can be seen who claims the device; the problem says who. */
static bool is_seen_in_use(const char *device, struct disk_problem *problem)
{
	char *point = find_mount(is_from, device, false);
	char *holder = point ? NULL : find_holder(device);
	const bool swap = !point && !holder && is_swap(device);

	if (point)
		disk_problem_say(problem, device, -EBUSY, "mounted on %s; unmount it first", point);
	else if (holder)
		disk_problem_say(problem, device, -EBUSY, "part of %s; end that first", holder);
	else if (swap)
		disk_problem_say(problem, device, -EBUSY,
			"in use as swap space; end that with swapoff first");
	free(point);
	free(holder);
	return swap || point || holder;
}

/*
 * Claim the device, as mounting and the like claim it or its partitions. A file system lets go only
 * some time after umount(8) where somebody looks at it just then, or a new mount namespace has a
 * copy of the mount: who claims the device unseen is waited for. The descriptor, or a negative
 * errno, noted.
 */
static int claim(const char *device, unsigned wait_ms, struct disk_problem *problem)
{
	for (unsigned waited = 0;; waited += PAUSE_MS) {
		int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC), err = fd < 0 ? -errno : 0;

		if (!err)
			return fd;
		if (err != -EBUSY)
			return disk_problem_say(problem, device, err, "%s", strerror(-err));
		if (is_seen_in_use(device, problem))
			return -EBUSY;
		if (waited >= wait_ms)
			return disk_problem_say(problem, device, -EBUSY,
				"in use, though not mounted here, by a container perhaps; end that "
				"first");
		pause_ms(PAUSE_MS);
	}
}

/*
 * The device goes with its last user. Somebody may look at it just now; but who stays keeps it, and
 * then it shall not go behind our back.
 */
static int wait_until_gone(const char *device, const char *path, struct disk_problem *problem)
{
	struct loop_info64 info;
	int fd, err = -EBUSY;

	for (int waited = 0; waited < GONE_WAIT_MS; waited += PAUSE_MS) {
		if (!is_ours(device, path))
			return 0;
		pause_ms(PAUSE_MS);
	}
	fd = open(device, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && is_ours(device, path)) {
		info.lo_flags &= ~LO_FLAGS_AUTOCLEAR;
		ioctl(fd, LOOP_SET_STATUS64, &info);
	} else {
		err = 0;
	}
	if (fd >= 0)
		close(fd);
	return err ? disk_problem_say(
			     problem, device, err, "open in another program; end that first")
		   : 0;
}

int attach_loop_remove(
	const char *device, const char *path, unsigned wait_ms, struct disk_problem *problem)
{
	int fd, lost, err;

	if (!is_ours(device, path))
		return 0;
	/* Nobody else comes to use it until it is gone. */
	fd = claim(device, wait_ms, problem);
	if (fd < 0)
		return fd;
	lost = fsync(fd) ? -errno : 0;
	err = ioctl(fd, LOOP_CLR_FD) && errno != ENXIO ? -errno : 0;
	close(fd);
	if (err)
		return disk_problem_say(problem, device, err, "%s", strerror(-err));
	err = wait_until_gone(device, path, problem);
	if (!err && lost)
		err = disk_problem_say(problem, device, lost, "what was written last is lost: %s",
			strerror(-lost));
	return err;
}

int attach_loop_resized(const char *device)
{
	int fd = open(device, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = ioctl(fd, LOOP_SET_CAPACITY) ? -errno : 0;
	close(fd);
	return err;
}
