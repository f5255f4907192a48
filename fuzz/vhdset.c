/*
 * vhdset.c - a hostile VHD set: read, asked for all that it has, changed and stored.
 *
 * Input: a byte that says what is done, then the file. Its checksum is put right, or put behind it
 * where it has none, unless the byte says not.
 *
 * Promises that are tested: reading writes nothing; what was stored is what is read again.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/guid.h"
#include "disk/vhdset.h"

#define SUM "\nchecksum "

enum { KEEP_SUM = 1, ADD = 2, REMOVE = 4, SET_IMAGES = 8 };

static char folder[] = "/dev/shm/partita-fuzz-XXXXXX";
static char path[sizeof(folder) + 16];

static void remove_folder(void)
{
	unlink(path);
	rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (!mkdtemp(folder))
		abort();
	snprintf(path, sizeof(path), "%s/set.vhds", folder);
	atexit(remove_folder);
	return 0;
}

/* The file, with its checksum; the caller's. */
static char *seal(const uint8_t *data, size_t *n, bool keep)
{
	char *text = malloc(*n + 32), *sum;

	memcpy(text, data, *n);
	if (keep)
		return text;
	sum = memmem(text, *n, SUM, strlen(SUM));
	if (sum)
		*n = sum + 1 - text;
	*n += sprintf(text + *n, "checksum %08" PRIX32 "\n", crc32c(0, text, *n));
	return text;
}

static void put_file(const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, n) != (ssize_t)n)
		abort();
	close(fd);
}

static void check_unchanged(const char *text, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *now = malloc(n + 1);

	assert(fd >= 0 && read(fd, now, n + 1) == (ssize_t)n && memcmp(now, text, n) == 0);
	free(now);
	close(fd);
}

static void look(const struct vhdset *s)
{
	const struct vhdset_reference *reference;
	const struct vhdset_snapshot *one;
	char *image;

	assert(vhdset_default(s));
	for (unsigned i = 0; (one = vhdset_at(s, i)); i++) {
		assert(one->image && one->image[0]);
		assert(vhdset_find(s, &one->id) == one);
		assert(vhdset_image(s, &one->id, &image) == 0 && strcmp(image, one->image) == 0);
		free(image);
	}
	for (unsigned i = 0; (reference = vhdset_reference_at(s, i)); i++) {
		assert(reference->point && reference->point[0]);
		assert(vhdset_reference(s, &reference->id) == reference);
		assert(!vhdset_find(s, &reference->id));
	}
}

static void check_same(const struct vhdset *a, const struct vhdset *b)
{
	const struct vhdset_reference *r, *t;
	const struct vhdset_snapshot *x, *y;

	assert(strcmp(vhdset_default(a), vhdset_default(b)) == 0);
	for (unsigned i = 0; (r = vhdset_reference_at(a, i)); i++) {
		t = vhdset_reference_at(b, i);
		assert(t && guid_equal(&r->id, &t->id) && strcmp(r->point, t->point) == 0);
	}
	for (unsigned i = 0; (x = vhdset_at(a, i)); i++) {
		y = vhdset_at(b, i);
		assert(y && guid_equal(&x->id, &y->id) && x->writeable == y->writeable);
		assert(strcmp(x->image, y->image) == 0);
	}
}

static void change(struct vhdset *s, unsigned what)
{
	const struct vhdset_snapshot *first = vhdset_at(s, 0);
	GUID id = first ? first->id : (GUID){.Data1 = what};
	char beside[sizeof(path) + 32];

	snprintf(beside, sizeof(beside), "%s/added %%\n image", folder);
	if (what & REMOVE)
		assert(vhdset_remove(s, &id) == (first || vhdset_reference(s, &id) ? 0 : -ENOENT));
	if (what & ADD)
		vhdset_add(s, &id, what & 16, beside);
	id.Data2++;
	if (what & ADD)
		vhdset_add_reference(s, &id, "a point %");
	if (what & SET_IMAGES)
		assert(vhdset_set_default(s, "/another/image.avhdx") == 0);
}

static void store(unsigned what)
{
	struct vhdset *s, *again;

	if (vhdset_open(path, true, &s, NULL))
		return;
	change(s, what);
	if (vhdset_store(s) == 0) {
		assert(vhdset_open(path, false, &again, NULL) == 0);
		check_same(s, again);
		check_same(again, s);
		vhdset_close(again);
	}
	vhdset_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct disk_problem problem = {0};
	struct vhdset *s;
	char *text;
	size_t n = size - 1;
	int err;

	if (!size || size > VHDSET_FILE_MAX + 100)
		return 0;
	text = seal(data + 1, &n, data[0] & KEEP_SUM);
	put_file(text, n);
	err = vhdset_open(path, false, &s, &problem);
	assert(!err || problem.text[0]);
	if (!err) {
		assert(vhdset_probe(path));
		look(s);
		vhdset_close(s);
	}
	check_unchanged(text, n);
	store(data[0]);
	free(text);
	return 0;
}
