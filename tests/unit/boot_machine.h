/*
 * boot_machine.h - guest memory with guard pages around it, files made of bytes, and the checks
 * that every loaded kernel must stand.
 */
#ifndef PARTITA_TESTS_BOOT_MACHINE_H
#define PARTITA_TESTS_BOOT_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "boot/boot.h"

#define MIB   (1ull << 20)
#define GIB   (1ull << 30)
#define GUARD 4096

struct machine {
	struct boot_memory memory[2];
	struct boot_request request;
	struct boot_result result;
};

static inline uint8_t *guarded(uint64_t size)
{
	uint8_t *all = mmap(NULL, size + 2 * GUARD, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(all, MAP_FAILED);
	assert_int_equal(mprotect(all + GUARD, size, PROT_READ | PROT_WRITE), 0);
	return all + GUARD;
}

/* @high: bytes from 4 GiB. */
static inline void machine_create(struct machine *m, uint64_t low, uint64_t high)
{
	memset(m, 0, sizeof(*m));
	m->memory[0] = (struct boot_memory){0, low, guarded(low)};
	if (high)
		m->memory[1] = (struct boot_memory){4 * GIB, high, guarded(high)};
	m->request = (struct boot_request){
		.memory = m->memory,
		.memory_count = high ? 2 : 1,
		.kernel = {-1, "vmlinuz"},
		.initrd = {-1, "initrd.img"},
		.rsdp = 0xe0000,
	};
}

static inline void machine_destroy(struct machine *m)
{
	for (unsigned i = 0; i < m->request.memory_count; i++)
		munmap(m->memory[i].host - GUARD, m->memory[i].size + 2 * GUARD);
	if (m->request.kernel.fd >= 0)
		close(m->request.kernel.fd);
	if (m->request.initrd.fd >= 0)
		close(m->request.initrd.fd);
}

/* For cmocka. */
static inline int machine_teardown(void **state)
{
	machine_destroy(*state);
	return 0;
}

static inline void file_set(struct boot_file *file, const void *bytes, size_t size)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = memfd_create("file", MFD_CLOEXEC);
	assert_true(file->fd >= 0);
	assert_int_equal(write(file->fd, bytes, size), size);
}

/* Guest memory, which must be there. */
static inline void *guest(struct machine *m, uint64_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < m->request.memory_count; i++) {
		struct boot_memory *r = &m->memory[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && size <= r->size - (gpa - r->gpa))
			return r->host + (gpa - r->gpa);
	}
	fail_msg("%#llx is no memory", (unsigned long long)gpa);
	return NULL;
}

static inline void check_segments(struct machine *m, uint16_t code)
{
	struct boot_state *s = &m->result.state;
	const uint64_t *gdt = guest(m, s->gdtr.base, s->gdtr.limit + 1);

	assert_int_equal(s->cs.attributes, code);
	assert_int_equal(s->cs.selector, 0x10);
	assert_int_equal(s->data.selector, 0x18);
	assert_int_equal(s->cs.limit, UINT32_MAX);
	/* descriptors say what the registers do */
	assert_int_equal(gdt[2] >> 40 & 0xf0ff, code);
	assert_int_equal(gdt[3] >> 40 & 0xf0ff, s->data.attributes);
	assert_int_equal(gdt[2] & 0xf00000000ffff, 0xf00000000ffff);
	assert_int_equal(s->gdtr.limit, 47);
	assert_int_equal(s->rflags, 2);
	guest(m, s->rsp - 4096, 4096);
}

static inline void check_32(struct machine *m)
{
	check_segments(m, 0xc09b);
	assert_int_equal(m->result.state.cr0, 0x11);
	assert_int_equal(m->result.state.efer, 0);
	assert_true(m->result.state.rip <= UINT32_MAX);
}

/* Where the page tables map @va. */
static inline uint64_t walk(struct machine *m, uint64_t va)
{
	uint64_t *table = guest(m, m->result.state.cr3, 4096), entry = table[va >> 39 & 511];

	assert_int_equal(entry & 3, 3);
	table = guest(m, entry & ~4095ull, 4096);
	entry = table[va >> 30 & 511];
	assert_int_equal(entry & 0x83, 3);
	table = guest(m, entry & ~4095ull, 4096);
	entry = table[va >> 21 & 511];
	assert_int_equal(entry & 0x83, 0x83);
	return (entry & ~0x1fffffull) + (va & 0x1fffff);
}

static inline void check_64(struct machine *m)
{
	check_segments(m, 0xa09b);
	assert_int_equal(m->result.state.cr0, 0x80000011);
	assert_int_equal(m->result.state.cr4, 0x20);
	assert_int_equal(m->result.state.efer, 0x500);
	for (uint64_t va = 0; va < 4 * GIB; va += 127 * 4096)
		assert_int_equal(walk(m, va), va);
}

/* A failure: @error, and one sentence with the file's name first. */
static inline void check_refused(struct machine *m, int error, const char *words)
{
	const char *text = m->result.error;

	assert_int_equal(boot_load(&m->request, &m->result), error);
	assert_true(strlen(text) > 10 && strlen(text) < sizeof(m->result.error) - 1);
	assert_null(strchr(text, '\n'));
	if (!strstr(text, words))
		fail_msg("no \"%s\" in: %s", words, text);
}

static inline void check_loads(struct machine *m)
{
	if (boot_load(&m->request, &m->result))
		fail_msg("%s", m->result.error);
	assert_string_equal(m->result.error, "");
}

/* ---- Broken images -------------------------------------------------------------------------- */

/* Makes @byte another one: any, or one that differs in a bit. */
static inline void corrupt(uint8_t *byte, bool any)
{
	*byte = any ? rand() : *byte ^ 1 << rand() % 8;
}

/* The kernel file with other contents is loaded, or refused in one line. Returns which. */
static inline bool survives(struct machine *m, const void *image, size_t size)
{
	assert_int_equal(pwrite(m->request.kernel.fd, image, size, 0), size);
	if (!boot_load(&m->request, &m->result))
		return true;
	assert_true(*m->result.error && !strchr(m->result.error, '\n'));
	return false;
}

#endif
