/*
 * transfer.c - any bytes as a transfer of files: what is received is whole and under its name, or
 * nothing is there, and nothing beside it ever.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "session/transfer.h"

static char folder[] = "/tmp/partita-fuzz-XXXXXX", box[64];

/* Also of directories that nobody may write. */
static void remove_all(const char *path)
{
	char below[4096];
	struct dirent *member;
	DIR *directory;

	if (unlink(path) == 0)
		return;
	chmod(path, 0700);
	directory = opendir(path);
	while (directory && (member = readdir(directory))) {
		snprintf(below, sizeof(below), "%s/%s", path, member->d_name);
		if (strcmp(member->d_name, ".") != 0 && strcmp(member->d_name, "..") != 0)
			remove_all(below);
	}
	if (directory)
		closedir(directory);
	rmdir(path);
}

static void remove_folder(void)
{
	remove_all(folder);
}

/* What a folder has: at most @name. */
static bool has_only(const char *path, const char *name)
{
	DIR *directory = opendir(path);
	struct dirent *member;
	bool ok = directory;

	while (ok && (member = readdir(directory)))
		ok = !strcmp(member->d_name, ".") || !strcmp(member->d_name, "..") ||
		     !strcmp(member->d_name, name);
	if (directory)
		closedir(directory);
	return ok;
}

/* Its messages are for people. */
static int receive(int in)
{
	const struct transfer t = {.where = ""};
	int kept = dup(STDERR_FILENO), nothing = open("/dev/null", O_WRONLY | O_CLOEXEC), status;

	dup2(nothing, STDERR_FILENO);
	status = transfer_receive(&t, box, "it", in);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(nothing);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[sizeof(box) + 8];
	struct stat status;
	bool there;
	int in = memfd_create("fuzz", MFD_CLOEXEC), result;

	if (!box[0]) {
		if (!mkdtemp(folder))
			abort();
		snprintf(box, sizeof(box), "%s/box", folder);
		atexit(remove_folder);
	}
	if (mkdir(box, 0700) || in < 0 || write(in, data, size) != (ssize_t)size ||
		lseek(in, 0, SEEK_SET))
		abort();
	result = receive(in);
	snprintf(path, sizeof(path), "%s/it", box);
	there = lstat(path, &status) == 0;
	if (there != (result == 0) || !has_only(box, "it") || !has_only(folder, "box"))
		abort();
	close(in);
	remove_all(box);
	return 0;
}
