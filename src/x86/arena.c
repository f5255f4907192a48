/* arena.c - see arena.h. */
#include "x86/arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int x86_arena_create(struct x86_arena *a, size_t size, const char *name)
{
	void *write = MAP_FAILED, *exec = MAP_FAILED;
	int fd = memfd_create(name, MFD_CLOEXEC), err = 0;

	*a = (struct x86_arena){.size = size};
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0) {
		write = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		exec = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	}
	if (write == MAP_FAILED || exec == MAP_FAILED)
		err = -errno;
	close(fd);
	if (write != MAP_FAILED)
		a->write = write;
	if (exec != MAP_FAILED)
		a->exec = exec;
	if (err)
		x86_arena_destroy(a);
	return err;
}

void x86_arena_destroy(struct x86_arena *a)
{
	if (a->write)
		munmap(a->write, a->size);
	if (a->exec)
		munmap((void *)a->exec, a->size);
	*a = (struct x86_arena){0};
}
