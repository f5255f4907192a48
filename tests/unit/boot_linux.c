/*
 * boot_linux.c - loading bzImages: made up here, so that every field is known, and Debian's own
 * where PARTITA_TEST_KERNEL or /boot has one.
 */
#include "boot_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>

#include "boot/linux_protocol.h"

#define SETUP_BYTES (3 * 512)
#define CODE_BYTES  2048
#define IMAGE_BYTES (SETUP_BYTES + CODE_BYTES)

static uint8_t image[IMAGE_BYTES];

static struct linux_header *header(void)
{
	return (void *)(image + LINUX_HEADER_OFFSET);
}

/* A kernel like Debian's 6.1, but small. */
static void make_image(void)
{
	struct linux_header *h = header();

	memset(image, 0, sizeof(image));
	for (unsigned i = 0; i < CODE_BYTES; i++)
		image[SETUP_BYTES + i] = i * 7 + i / 256;
	*h = (struct linux_header){
		.setup_sects = 2,
		.syssize = CODE_BYTES / 16,
		.boot_flag = LINUX_BOOT_FLAG,
		.jump = {0xeb, sizeof(*h) - offsetof(struct linux_header, magic)},
		.magic = LINUX_MAGIC,
		.version = 0x20f,
		.loadflags = LINUX_LOADED_HIGH,
		.code32_start = 0x100000,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = LINUX_XLF_KERNEL_64 | LINUX_XLF_ABOVE_4G,
		.cmdline_size = 2047,
		.pref_address = 0x1000000,
		.init_size = 0x1800000,
	};
}

static int setup(void **state)
{
	static struct machine m;

	machine_create(&m, 128 * MIB, 0);
	make_image();
	file_set(&m.request.kernel, image, sizeof(image));
	*state = &m;
	return 0;
}

static struct linux_zero_page *zero_page(struct machine *m)
{
	return guest(m, m->result.state.rsi, 4096);
}

static void test_64_bit_entry(void **state)
{
	struct machine *m = *state;
	struct linux_zero_page *zero;

	m->request.cmdline = "console=ttyS0 quiet";
	check_loads(m);
	assert_int_equal(m->result.kind, BOOT_LINUX_64);
	assert_int_equal(m->result.state.rip, 0x1000200);
	check_64(m);
	assert_memory_equal(guest(m, 0x1000000, CODE_BYTES), image + SETUP_BYTES, CODE_BYTES);
	zero = zero_page(m);
	assert_memory_equal(&zero->header.magic, "HdrS", 4);
	assert_int_equal(zero->header.type_of_loader, 0xff);
	assert_int_equal(zero->header.code32_start, 0x1000000);
	assert_int_equal(zero->header.ramdisk_size, 0);
	assert_int_equal(zero->acpi_rsdp_addr, 0xe0000);
	assert_int_equal(((uint8_t *)zero)[0x1ef], 0); /* the sentinel */
	assert_string_equal(guest(m, zero->header.cmd_line_ptr, 64), "console=ttyS0 quiet");
	assert_int_equal(zero->e820_entries, 3);
	assert_int_equal(zero->e820[0].start, 0);
	assert_int_equal(zero->e820[0].size, 0x9fc00);
	assert_int_equal(zero->e820[1].type, 2);
	assert_int_equal(zero->e820[2].start, 0x100000);
	assert_int_equal(zero->e820[2].size, 127 * MIB);
}

static void test_initrd_goes_high(void **state)
{
	struct machine *m = *state;
	static uint8_t initrd[70000];
	struct linux_zero_page *zero;

	for (unsigned i = 0; i < sizeof(initrd); i++)
		initrd[i] = i % 251;
	file_set(&m->request.initrd, initrd, sizeof(initrd));
	check_loads(m);
	zero = zero_page(m);
	assert_int_equal(zero->header.ramdisk_size, sizeof(initrd));
	assert_int_equal(zero->header.ramdisk_image, 128 * MIB - 18 * 4096);
	assert_memory_equal(
		guest(m, zero->header.ramdisk_image, sizeof(initrd)), initrd, sizeof(initrd));
	/* as far as the kernel reaches, when it says so */
	header()->xloadflags = LINUX_XLF_KERNEL_64;
	header()->initrd_addr_max = 0x3ffffff;
	file_set(&m->request.kernel, image, sizeof(image));
	check_loads(m);
	assert_int_equal(zero_page(m)->header.ramdisk_image, 64 * MIB - 18 * 4096);
}

static void test_initrd_above_4_gib(void **state)
{
	struct machine *m = *state;
	const uint64_t size = 100 * MIB;
	struct linux_zero_page *zero;
	uint64_t start;

	machine_destroy(m);
	machine_create(m, 128 * MIB, 256 * MIB);
	file_set(&m->request.kernel, image, sizeof(image));
	file_set(&m->request.initrd, "070701", 6);
	assert_int_equal(ftruncate(m->request.initrd.fd, size), 0);
	check_loads(m);
	zero = zero_page(m);
	start = zero->header.ramdisk_image | (uint64_t)zero->ext_ramdisk_image << 32;
	assert_int_equal(start, 4 * GIB + 156 * MIB);
	assert_int_equal(zero->header.ramdisk_size, size);
	assert_memory_equal(guest(m, start, size), "070701", 6);
	assert_int_equal(zero->e820_entries, 4);
	assert_int_equal(zero->e820[3].start, 4 * GIB);
	/* a kernel that cannot reach there */
	header()->xloadflags = LINUX_XLF_KERNEL_64;
	file_set(&m->request.kernel, image, sizeof(image));
	check_refused(m, -ENOMEM, "initrd");
}

static void test_small_machine_relocates(void **state)
{
	struct machine *m = *state;

	machine_destroy(m);
	machine_create(m, 32 * MIB, 0);
	file_set(&m->request.kernel, image, sizeof(image));
	check_loads(m);
	assert_int_equal(m->result.state.rip, 0x200200);
	assert_int_equal(zero_page(m)->header.code32_start, 0x200000);
	header()->relocatable_kernel = 0;
	file_set(&m->request.kernel, image, sizeof(image));
	check_refused(m, -ENOMEM, "40 MiB");
}

static void resize(struct machine *m, uint64_t size)
{
	munmap(m->memory[0].host - GUARD, m->memory[0].size + 2 * GUARD);
	m->memory[0].size = size;
	m->memory[0].host = guarded(size);
}

static unsigned megabytes_asked_for(struct machine *m)
{
	const char *at = strstr(m->result.error, "at least ");

	assert_non_null(at);
	return atoi(at + strlen("at least "));
}

static void test_the_size_asked_for_suffices(void **state)
{
	struct machine *m = *state;

	resize(m, 20 * MIB);
	check_refused(m, -ENOMEM, "vmlinuz: the kernel does not fit");
	assert_int_equal(megabytes_asked_for(m), 26);
	resize(m, 25 * MIB);
	check_refused(m, -ENOMEM, "the kernel does not fit");
	resize(m, 26 * MIB);
	check_loads(m);
	/* now with an initrd: there is too little room beside the kernel */
	file_set(&m->request.initrd, "x", 1);
	assert_int_equal(ftruncate(m->request.initrd.fd, 18 * MIB + 5), 0);
	check_refused(m, -ENOMEM, "initrd.img: the initrd does not fit");
	resize(m, megabytes_asked_for(m) * MIB);
	check_loads(m);
}

static void test_command_line_limit(void **state)
{
	struct machine *m = *state;
	char line[2049];

	memset(line, 'a', sizeof(line));
	line[2047] = 0;
	m->request.cmdline = line;
	check_loads(m);
	assert_string_equal(guest(m, zero_page(m)->header.cmd_line_ptr, 2048), line);
	line[2047] = 'a';
	line[2048] = 0;
	check_refused(m, -E2BIG, "2048 bytes and the kernel takes 2047");
}

static void test_old_protocols(void **state)
{
	struct machine *m = *state;

	header()->xloadflags = 0;
	file_set(&m->request.kernel, image, sizeof(image));
	check_loads(m);
	assert_int_equal(m->result.kind, BOOT_LINUX_32);
	assert_int_equal(m->result.state.rip, 0x1000000);
	check_32(m);
	/* 2.02: everything that came later is not there, whatever the bytes say */
	header()->version = 0x202;
	header()->jump[1] = offsetof(struct linux_header, initrd_addr_max) -
			    offsetof(struct linux_header, magic);
	file_set(&m->request.kernel, image, sizeof(image));
	check_loads(m);
	assert_int_equal(m->result.state.rip, 0x100000);
	header()->version = 0x201;
	file_set(&m->request.kernel, image, sizeof(image));
	check_refused(m, -ENOEXEC, "older");
}

static void test_every_truncation_is_refused(void **state)
{
	struct machine *m = *state;

	for (size_t n = 1; n < sizeof(image); n++) {
		file_set(&m->request.kernel, image, n);
		check_refused(m, -ENOEXEC, "vmlinuz: ");
		if (n > 0x206)
			assert_non_null(strstr(m->result.error, "truncated"));
	}
	file_set(&m->request.kernel, image, 0);
	check_refused(m, -ENOEXEC, "empty");
}

static void test_header_corruption_never_harms(void **state)
{
	struct machine *m = *state;
	unsigned loaded = 0;

	srand(1);
	for (unsigned round = 0; round < 20000; round++) {
		make_image();
		for (unsigned i = 0; i <= round % 4; i++)
			corrupt(image + LINUX_HEADER_OFFSET + rand() % sizeof(struct linux_header),
				round & 1);
		loaded += survives(m, image, sizeof(image));
	}
	assert_in_range(loaded, 1000, 19999);
}

static void test_not_a_kernel(void **state)
{
	struct machine *m = *state;
	int ends[2];

	file_set(&m->request.kernel, "hello, world\n", 13);
	check_refused(
		m, -ENOEXEC, "vmlinuz: not a kernel I know (Linux bzImage, ELF with PVH note");
	/* an empty initrd, an unreadable one */
	file_set(&m->request.kernel, image, sizeof(image));
	file_set(&m->request.initrd, "", 0);
	check_refused(m, -EINVAL, "initrd.img: the initrd is empty");
	close(m->request.initrd.fd);
	m->request.initrd.fd = open("/", O_RDONLY);
	check_refused(m, -EISDIR, "initrd.img: cannot be read: Is a directory");
	/* larger than memory, endless */
	close(m->request.initrd.fd);
	m->request.initrd.fd = open("/dev/zero", O_RDONLY);
	check_refused(m, -ENOMEM, "initrd.img: larger than the machine's 128 MiB");
	/* a pipe does as well as a file */
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "070701", 6), 6);
	close(ends[1]);
	close(m->request.initrd.fd);
	m->request.initrd.fd = ends[0];
	check_loads(m);
	assert_int_equal(zero_page(m)->header.ramdisk_size, 6);
}

static void test_bad_memory_maps(void **state)
{
	struct machine *m = *state;
	struct boot_memory good = m->memory[0];

	m->request.memory_count = 0;
	check_refused(m, -EINVAL, "memory");
	m->request.memory_count = 1;
	m->memory[0].size = 1 * MIB;
	check_refused(m, -EINVAL, "memory");
	m->memory[0].size = good.size + 1;
	check_refused(m, -EINVAL, "memory");
	m->memory[0].size = good.size;
	m->memory[0].gpa = 4096;
	check_refused(m, -EINVAL, "memory");
	m->memory[0] = good;
	m->memory[1] = good;
	m->request.memory_count = 2;
	check_refused(m, -EINVAL, "memory");
	m->request.memory_count = 1;
}

static void test_real_kernels(void **state)
{
	const char *given = getenv("PARTITA_TEST_KERNEL");
	struct machine *m = *state;
	glob_t found;

	if (glob(given ? given : "/boot/vmlinuz-*", 0, NULL, &found))
		skip();
	machine_destroy(m);
	machine_create(m, 512 * MIB, 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		m->request.kernel.fd = open(found.gl_pathv[i], O_RDONLY);
		if (m->request.kernel.fd < 0)
			continue;
		check_loads(m);
		assert_int_equal(m->result.kind, BOOT_LINUX_64);
		assert_int_equal(m->result.state.rip, 0x1000200);
		check_64(m);
		/* its first instruction: cld */
		assert_int_equal(*(uint8_t *)guest(m, 0x1000200, 1), 0xfc);
		close(m->request.kernel.fd);
		m->request.kernel.fd = -1;
	}
	globfree(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, machine_teardown)
		TEST(test_64_bit_entry),
		TEST(test_initrd_goes_high),
		TEST(test_initrd_above_4_gib),
		TEST(test_small_machine_relocates),
		TEST(test_the_size_asked_for_suffices),
		TEST(test_command_line_limit),
		TEST(test_old_protocols),
		TEST(test_every_truncation_is_refused),
		TEST(test_header_corruption_never_harms),
		TEST(test_not_a_kernel),
		TEST(test_bad_memory_maps),
		TEST(test_real_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
