/*
 * boot.c - any file as a kernel, and as an initrd: loading fails with a sentence, or loads into
 * guest memory and nowhere else.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"

#define MEMORY (8u << 20)

static int file_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size))
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *memory;
	struct boot_memory range;
	struct boot_result result;
	struct boot_request request = {.memory = &range, .memory_count = 1};

	/* From the heap, so that the address sanitizer sees both ends of it. */
	if (!memory)
		memory = aligned_alloc(4096, MEMORY);
	range = (struct boot_memory){.gpa = 0, .size = MEMORY, .host = memory};
	request.kernel = (struct boot_file){.fd = file_of(data, size), .name = "kernel"};
	request.initrd = (struct boot_file){.fd = -1};
	if (size && data[size - 1] & 1)
		request.initrd = request.kernel;
	request.cmdline = "console=ttyS0";
	memset(&result, 0, sizeof(result));
	if (boot_load(&request, &result) < 0 &&
		(!result.error[0] || strlen(result.error) >= sizeof(result.error)))
		abort();
	close(request.kernel.fd);
	return 0;
}
