/*
 * machine.c - builds a machine, runs it to its end, starts it again if that is asked for, and takes
 * it down. Set-up and taking down mirror each other.
 */
#include "worker/machine.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "chipset/acpi.h"
#include "vmbus/vmbus_protocol.h"
#include "worker/confine.h"
#include "worker/control.h"
#include "worker/sockets.h"
#include "worker/stats.h"
#include "base/terminal.h"

/* What VMBus may hand out to its devices; the guest finds it in the DSDT. */
#define MMIO_LOW_BASE  0xf8000000ull
#define MMIO_LOW_SIZE  0x06000000ull
#define MMIO_HIGH_SIZE 0x1000000000ull /* from the first 64 GiB boundary above RAM */

void machine_stop(struct machine *m, enum machine_end end)
{
	enum machine_end running = MACHINE_RUNNING;

	if (!atomic_compare_exchange_strong(&m->end, &running, end))
		return;
	console_hurry(m->console, true);
	for (unsigned i = 0; i < m->config->processors; i++)
		WHvCancelRunVirtualProcessor(m->partition, i, 0);
	loop_quit(m->loop);
}

static void signal_ready(void *ctx, uint32_t events)
{
	struct machine *m = ctx;
	struct signalfd_siginfo info;

	if (read(m->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCONT) {
		terminal_continued();
		return;
	}
	board_console_ops.quit(m, info.ssi_signo);
}

/* Signals arrive through the loop, so that the terminal is given back and output is written. */
static int watch_signals(struct machine *m)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGCONT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0)
		return -errno;
	m->signals = loop_watch_create(m->loop, m->signal_fd, EPOLLIN, signal_ready, m);
	return m->signals ? 0 : -errno;
}

static HRESULT set_property(
	struct machine *m, WHV_PARTITION_PROPERTY_CODE code, const WHV_PARTITION_PROPERTY *property)
{
	return WHvSetPartitionProperty(m->partition, code, property, sizeof(*property));
}

/*
 * The variable is how Partita's hypervisor is told what the SDK has no word for. Returns whether
 * that engine can be used here.
 */
static bool choose_engine(enum worker_engine engine)
{
	static const char *const names[] = {"auto", "software", "kvm"};
	WHV_CAPABILITY capability = {0};
	UINT32 written;

	setenv("PARTITA_ENGINE", names[engine], 1);
	if (SUCCEEDED(WHvGetCapability(WHvCapabilityCodeHypervisorPresent, &capability,
		    sizeof(capability), &written)) &&
		capability.HypervisorPresent)
		return true;
	log_error("--engine %s cannot be used on this host; --engine software can", names[engine]);
	return false;
}

/* AccessTscInvariantControls of the TLFS: a partition has it only when its client asks. */
static HRESULT offer_invariant_tsc(struct machine *m)
{
	WHV_CAPABILITY capability = {0};
	WHV_PARTITION_PROPERTY features = {0};
	UINT32 written;
	HRESULT hr = WHvGetCapability(
		WHvCapabilityCodeProcessorFeaturesBanks, &capability, sizeof(capability), &written);

	if (FAILED(hr))
		return hr;
	features.ProcessorFeaturesBanks = capability.ProcessorFeaturesBanks;
	features.ProcessorFeaturesBanks.Bank1.TscInvariantSupport = 1;
	return set_property(m, WHvPartitionPropertyCodeProcessorFeaturesBanks, &features);
}

static HRESULT create_partition(struct machine *m)
{
	WHV_PARTITION_PROPERTY count = {.ProcessorCount = m->config->processors};
	WHV_PARTITION_PROPERTY apic = {
		.LocalApicEmulationMode = WHvX64LocalApicEmulationModeX2Apic};
	WHV_PARTITION_PROPERTY exits = {.ExtendedVmExits = {.X64MsrExit = 1, .HypercallExit = 1}};
	/* With these the partition has reset and crash registers: see msr.c. */
	WHV_PARTITION_PROPERTY msrs = {.X64MsrExitBitmap = {.UnhandledMsrs = 1}};
	HRESULT hr;

	hr = WHvCreatePartition(&m->partition);
	if (SUCCEEDED(hr))
		hr = set_property(m, WHvPartitionPropertyCodeProcessorCount, &count);
	if (SUCCEEDED(hr))
		hr = set_property(m, WHvPartitionPropertyCodeLocalApicEmulationMode, &apic);
	if (SUCCEEDED(hr))
		hr = set_property(m, WHvPartitionPropertyCodeExtendedVmExits, &exits);
	if (SUCCEEDED(hr))
		hr = set_property(m, WHvPartitionPropertyCodeX64MsrExitBitmap, &msrs);
	if (SUCCEEDED(hr) && m->config->invariant_tsc)
		hr = offer_invariant_tsc(m);
	if (SUCCEEDED(hr))
		hr = WHvSetupPartition(m->partition);
	if (SUCCEEDED(hr))
		hr = ram_map(&m->ram, m->partition);
	for (unsigned i = 0; i < m->config->processors && SUCCEEDED(hr); i++)
		hr = vp_create(m, i);
	return hr;
}

static int create_chipset(struct machine *m)
{
	struct chipset_config config = {
		.ops = &board_ops,
		.ctx = m,
		.low_memory = m->ram.range[0].size,
		.high_memory = m->ram.ranges > 1 ? m->ram.range[1].size : 0,
		.ioapic_id = m->config->processors,
	};

	atomic_store(&m->pic_output, false);
	return chipset_create(&config, &m->chipset);
}

static uint64_t round_up(uint64_t value, uint64_t step)
{
	return (value + step - 1) / step * step;
}

static int write_acpi(struct machine *m)
{
	const struct boot_memory *top = &m->ram.range[m->ram.ranges - 1];
	uint64_t high = round_up(
		top->gpa + top->size > RAM_HIGH_BASE ? top->gpa + top->size : RAM_HIGH_BASE,
		MMIO_HIGH_SIZE);
	struct acpi_config config = {
		.processors = m->config->processors,
		.ioapic_id = m->config->processors,
		.low_mmio = {MMIO_LOW_BASE, MMIO_LOW_SIZE},
		.high_mmio = {high, MMIO_HIGH_SIZE},
	};
	uint8_t *area = ram_at(&m->ram, ACPI_AREA_BASE, ACPI_AREA_SIZE);

	return acpi_build(&config, ACPI_AREA_BASE, area, ACPI_AREA_SIZE);
}

/* Fill memory and the first vp as at power-on. Returns an enum worker_status, 0 for success. */
static int load(struct machine *m)
{
	const struct worker_config *config = m->config;
	struct boot_request request = {
		.memory = m->ram.range,
		.memory_count = m->ram.ranges,
		.kernel = {.fd = config->kernel_fd, .name = config->kernel_path},
		.initrd = {.fd = config->initrd_fd, .name = config->initrd_path},
		.cmdline = config->cmdline,
		.rsdp = ACPI_AREA_BASE,
	};
	struct boot_result result;
	HRESULT hr;

	if (write_acpi(m) < 0) {
		log_error("%s: the ACPI tables do not fit their area", config->name);
		return WORKER_FAILED;
	}
	if (boot_load(&request, &result) < 0) {
		log_error("%s", result.error);
		return WORKER_BAD_INPUT;
	}
	hr = registers_enter(m->partition, &result.state);
	if (FAILED(hr)) {
		log_error("%s: cannot set the entry registers: 0x%08x", config->name, (unsigned)hr);
		return WORKER_FAILED;
	}
	return 0;
}

static int build(struct machine *m)
{
	const struct worker_config *config = m->config;
	HRESULT hr;
	int err;

	if (!choose_engine(config->engine))
		return WORKER_BAD_INPUT;
	err = ram_create(&m->ram, config->memory);
	if (err) {
		log_error("cannot reserve %llu MiB for the guest: %s; give --memory less",
			(unsigned long long)(config->memory >> 20), strerror(-err));
		return WORKER_BAD_INPUT;
	}
	hr = create_partition(m);
	if (FAILED(hr)) {
		log_error("%s: cannot create the partition: error 0x%08x", config->name,
			(unsigned)hr);
		return WORKER_FAILED;
	}
	m->loop = loop_create();
	err = m->loop ? create_chipset(m) : -errno;
	if (!err)
		return load(m);
	log_error("%s: cannot build the machine: %s", config->name, strerror(-err));
	return WORKER_FAILED;
}

/* What a machine with power-on reset forgets, it forgets here. */
static int rebuild(struct machine *m)
{
	HRESULT hr;

	chipset_destroy(m->chipset);
	m->chipset = NULL;
	vmbus_reset(m->vmbus);
	hr = WHvResetPartition(m->partition);
	/* Unmapped, so that nothing that was made from the memory outlives its contents. */
	if (SUCCEEDED(hr))
		hr = ram_unmap(&m->ram, m->partition);
	ram_clear(&m->ram);
	if (SUCCEEDED(hr))
		hr = ram_map(&m->ram, m->partition);
	if (FAILED(hr) || create_chipset(m) < 0) {
		log_error("%s: cannot start again after the reset: error 0x%08x", m->config->name,
			(unsigned)hr);
		return WORKER_FAILED;
	}
	return load(m) ? WORKER_FAILED : 0;
}

/* From the first instruction until the machine ends. */
static int run_once(struct machine *m)
{
	int err;

	atomic_store(&m->end, MACHINE_RUNNING);
	console_hurry(m->console, false);
	err = vp_start_all(m);
	if (!err)
		err = loop_run(m->loop);
	if (err) {
		log_error("%s: cannot run the machine: %s", m->config->name, strerror(-err));
		machine_stop(m, MACHINE_CRASHED);
	}
	vp_join_all(m);
	return err;
}

static int run(struct machine *m)
{
	int err;

	for (;;) {
		err = run_once(m);
		if (err)
			return WORKER_FAILED;
		if (m->end != MACHINE_RESET || !m->config->restart)
			break;
		log_debug("%s: starting again after a reset", m->config->name);
		err = rebuild(m);
		if (err)
			return err;
	}
	if (m->end == MACHINE_RESET)
		log_error("%s: the guest reset the machine; with --restart it would start again",
			m->config->name);
	return m->end == MACHINE_POWERED_OFF || m->end == MACHINE_QUIT ? WORKER_POWERED_OFF
								       : WORKER_FAILED;
}

static int guest_connects(void *ctx, const GUID *endpoint, const GUID *service)
{
	const struct machine *m = ctx;

	return sockets_guest_connects(m->sockets, endpoint, service);
}

/* After the worker was confined: a thread's capabilities are its own. */
static int create_vmbus(struct machine *m)
{
	struct vmbus_config config = {
		.name = m->config->name,
		.partition = m->partition,
		.processors = m->config->processors,
		.memory_count = m->ram.ranges,
		.tl_connect = guest_connects,
		.ctx = m,
	};
	int err;

	for (unsigned i = 0; i < m->ram.ranges; i++)
		config.memory[i] = (struct vmbus_memory){
			.gpa = m->ram.range[i].gpa,
			.size = m->ram.range[i].size,
			.host = m->ram.range[i].host,
			.fd = m->ram.fd,
			.offset = (uint64_t)(m->ram.range[i].host - m->ram.host),
		};
	err = vmbus_create(&config, &m->vmbus);
	if (err)
		log_error("%s: cannot create the VMBus: %s", m->config->name, strerror(-err));
	return err;
}

static int listen_for_control(struct machine *m)
{
	if (m->config->control_fd < 0)
		return 0;
	m->control = control_create(m, m->config->control_fd);
	if (m->control)
		return 0;
	log_error("%s: cannot listen at the control socket: %s", m->config->name, strerror(errno));
	return -1;
}

/* A connection of Hyper-V sockets takes three, and there may be as many as there are channels. */
#define DESCRIPTORS (3 * VMBUS_MAX_CHANNELS + 1024)

static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS) {
		limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int start_sockets(struct machine *m)
{
	m->sockets = sockets_start(m);
	if (m->sockets)
		return 0;
	log_error("%s: cannot offer Hyper-V sockets: %s", m->config->name, strerror(errno));
	return -1;
}

static int start(struct machine *m)
{
	const struct worker_config *config = m->config;
	int err = watch_signals(m);

	if (!err) {
		m->console = console_create(m->loop, config->serial, config->serial_fd,
			config->serial_path, &board_console_ops, m);
		err = m->console ? 0 : -errno;
	}
	if (err) {
		log_error("%s: cannot open the console: %s", config->name, strerror(-err));
		return WORKER_FAILED;
	}
	allow_descriptors();
	err = confine();
	if (err) {
		log_error("%s: cannot give up privileges: %s", config->name, strerror(-err));
		return WORKER_FAILED;
	}
	if (create_vmbus(m) || jobs_create(m) || disks_create(m) || services_create(m) ||
		start_sockets(m) || listen_for_control(m))
		return WORKER_FAILED;
	return run(m);
}

static void take_down(struct machine *m)
{
	control_destroy(m->control);
	sockets_stop(m->sockets);
	services_destroy(m);
	disks_destroy(m);
	jobs_destroy(m);
	vmbus_destroy(m->vmbus);
	console_destroy(m->console);
	loop_watch_destroy(m->signals);
	if (m->signal_fd >= 0)
		close(m->signal_fd);
	if (m->chipset)
		chipset_destroy(m->chipset);
	loop_destroy(m->loop);
	for (unsigned i = 0; i < m->config->processors; i++)
		vp_destroy(m, i);
	if (m->partition)
		WHvDeletePartition(m->partition);
	ram_destroy(&m->ram);
}

/* End as a program does that does not handle the signal. */
static void die_of(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	raise(number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int worker_run(const struct worker_config *config)
{
	struct machine *m = calloc(1, sizeof(*m));
	uint64_t began = loop_now();
	int status, number;

	if (!m) {
		log_error("no memory to build a machine");
		return WORKER_FAILED;
	}
	m->config = config;
	m->signal_fd = -1;
	pthread_mutex_init(&m->crash_lock, NULL);
	status = build(m);
	if (!status) {
		status = start(m);
		stats_write(m, loop_now() - began);
	}
	take_down(m);
	number = m->end == MACHINE_QUIT ? m->signal : 0;
	free(m);
	if (number)
		die_of(number);
	return status;
}
