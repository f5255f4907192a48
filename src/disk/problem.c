/*
 * problem.c - what went wrong, for people and for programs: one line, and a Win32 error.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "disk/format.h"
#include "winerror.h"

static const struct {
	int err;
	uint32_t win32;
} codes[] = {
	{ENOENT, ERROR_FILE_NOT_FOUND},
	{ENOTDIR, ERROR_PATH_NOT_FOUND},
	{EACCES, ERROR_ACCESS_DENIED},
	{EPERM, ERROR_ACCESS_DENIED},
	{EROFS, ERROR_WRITE_PROTECT},
	{EBADF, ERROR_ACCESS_DENIED},
	{EBUSY, ERROR_SHARING_VIOLATION},
	{EEXIST, ERROR_FILE_EXISTS},
	{EINVAL, ERROR_INVALID_PARAMETER},
	{ENOMEM, ERROR_NOT_ENOUGH_MEMORY},
	{ENOSPC, ERROR_DISK_FULL},
	{EDQUOT, ERROR_DISK_FULL},
	{EFBIG, ERROR_DISK_FULL},
	{ENOTSUP, ERROR_NOT_SUPPORTED},
	{ERANGE, ERROR_MORE_DATA},
	{ECANCELED, ERROR_OPERATION_ABORTED},
	{EMEDIUMTYPE, ERROR_FILE_CORRUPT},
	{EUCLEAN, ERROR_FILE_CORRUPT},
	{ESTALE, ERROR_VHD_CHILD_PARENT_ID_MISMATCH},
	{ENOLINK, ERROR_VHD_PARENT_VHD_NOT_FOUND},
	{ELOOP, ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED},
	{ENXIO, ERROR_VHD_PARENT_VHD_NOT_FOUND},
	{ENOTEMPTY, ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA},
};

uint32_t disk_problem_win32(const struct disk_problem *p, int err)
{
	if (!err)
		return ERROR_SUCCESS;
	if (p && p->win32)
		return p->win32;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].err == -err)
			return codes[i].win32;
	return ERROR_GEN_FAILURE;
}

const char *disk_problem_text(struct disk_problem *p, const char *path, int err)
{
	if (!p->text[0])
		snprintf(p->text, sizeof(p->text), "%s: %s", path, strerror(-err));
	return p->text;
}

static int note(struct disk_problem *p, const char *path, int err, uint32_t win32,
	const char *format, va_list ap)
{
	int n;

	if (!p || p->win32)
		return err;
	p->win32 = win32;
	n = snprintf(p->text, sizeof(p->text), "%s: ", path);
	if (n > 0 && (size_t)n < sizeof(p->text))
		vsnprintf(p->text + n, sizeof(p->text) - n, format, ap);
	return err;
}

int disk_problem_note(struct disk_problem *p, const struct disk_file *f, int err, uint32_t win32,
	const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	note(p, f->path, err, win32, format, ap);
	va_end(ap);
	return err;
}

int disk_problem_say(struct disk_problem *p, const char *path, int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	note(p, path, err, disk_problem_win32(NULL, err), format, ap);
	va_end(ap);
	return err;
}
