/*
 * vp.c - the threads of the virtual processors: each runs its processor and answers its exits with
 * the chipset.
 *
 * Plain IN and OUT are completed here; string I/O and device memory through the instruction
 * emulator, whose callbacks are here too. Application processors wait for their start-up IPI
 * inside WHvRunVirtualProcessor, and so does a processor that halted.
 */
#include "worker/machine.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* Fields of a local APIC's LVT entry: SDM vol. 3, 11.5.1. */
#define LVT_DELIVERY	    0x700u
#define LVT_DELIVERY_EXTINT 0x700u
#define LVT_MASKED	    0x10000u

/* The machine ends with a line that says why. */
static void crash(struct vp *vp, const char *what)
{
	struct machine *m = vp->machine;

	/* Of several processors that fail together, one speaks. */
	if (atomic_load(&m->end) == MACHINE_RUNNING)
		registers_report(vp->machine->partition, m->config->name, vp->index, what);
	machine_stop(m, MACHINE_CRASHED);
}

static void host_failed(struct vp *vp, const char *function, HRESULT hr)
{
	struct machine *m = vp->machine;

	log_error("%s: processor %u: %s failed with 0x%08x", m->config->name, vp->index, function,
		(unsigned)hr);
	machine_stop(m, MACHINE_CRASHED);
}

/* OUT; afterwards, with no device locked, is the time to wait for a reader of the console. */
static void port_write(struct machine *m, uint16_t port, unsigned size, uint32_t value)
{
	chipset_io_write(m->chipset, port, size, value);
	console_throttle(m->console);
}

static HRESULT emulator_io(VOID *context, WHV_EMULATOR_IO_ACCESS_INFO *io)
{
	struct vp *vp = context;

	if (io->Direction)
		port_write(vp->machine, io->Port, io->AccessSize, io->Data);
	else
		io->Data = chipset_io_read(vp->machine->chipset, io->Port, io->AccessSize);
	return S_OK;
}

static HRESULT emulator_memory(VOID *context, WHV_EMULATOR_MEMORY_ACCESS_INFO *access)
{
	static const WHV_ACCESS_GPA_CONTROLS controls = {.CacheType = WHvCacheTypeWriteBack};
	struct vp *vp = context;
	uint64_t value = 0;

	/* An operand of the instruction may well be RAM. */
	if (ram_at(&vp->machine->ram, access->GpaAddress, access->AccessSize))
		return access->Direction ? WHvWriteGpaRange(vp->machine->partition, vp->index,
						   access->GpaAddress, controls, access->Data,
						   access->AccessSize)
					 : WHvReadGpaRange(vp->machine->partition, vp->index,
						   access->GpaAddress, controls, access->Data,
						   access->AccessSize);
	if (access->Direction) {
		memcpy(&value, access->Data, access->AccessSize);
		chipset_mmio_write(
			vp->machine->chipset, access->GpaAddress, access->AccessSize, value);
	} else {
		value = chipset_mmio_read(
			vp->machine->chipset, access->GpaAddress, access->AccessSize);
		memcpy(access->Data, &value, access->AccessSize);
	}
	return S_OK;
}

static HRESULT emulator_get_registers(
	VOID *context, const WHV_REGISTER_NAME *names, UINT32 count, WHV_REGISTER_VALUE *values)
{
	struct vp *vp = context;

	return WHvGetVirtualProcessorRegisters(
		vp->machine->partition, vp->index, names, count, values);
}

static HRESULT emulator_set_registers(VOID *context, const WHV_REGISTER_NAME *names, UINT32 count,
	const WHV_REGISTER_VALUE *values)
{
	struct vp *vp = context;

	return WHvSetVirtualProcessorRegisters(
		vp->machine->partition, vp->index, names, count, values);
}

static HRESULT emulator_translate(VOID *context, WHV_GUEST_VIRTUAL_ADDRESS gva,
	WHV_TRANSLATE_GVA_FLAGS flags, WHV_TRANSLATE_GVA_RESULT_CODE *code,
	WHV_GUEST_PHYSICAL_ADDRESS *gpa)
{
	struct vp *vp = context;
	WHV_TRANSLATE_GVA_RESULT result;
	HRESULT hr = WHvTranslateGva(vp->machine->partition, vp->index, gva, flags, &result, gpa);

	if (SUCCEEDED(hr))
		*code = result.ResultCode;
	return hr;
}

static const WHV_EMULATOR_CALLBACKS callbacks = {
	.Size = sizeof(callbacks),
	.WHvEmulatorIoPortCallback = emulator_io,
	.WHvEmulatorMemoryCallback = emulator_memory,
	.WHvEmulatorGetVirtualProcessorRegisters = emulator_get_registers,
	.WHvEmulatorSetVirtualProcessorRegisters = emulator_set_registers,
	.WHvEmulatorTranslateGvaPage = emulator_translate,
};

/* IN or OUT with a register, the bulk of all port accesses. */
static void plain_io(
	struct vp *vp, const WHV_VP_EXIT_CONTEXT *context, const WHV_X64_IO_PORT_ACCESS_CONTEXT *io)
{
	static const WHV_REGISTER_NAME names[] = {
		WHvX64RegisterRip, WHvX64RegisterRax, WHvRegisterInterruptState};
	unsigned size = io->AccessInfo.AccessSize;
	uint64_t rip = context->Rip + context->InstructionLength;
	WHV_REGISTER_VALUE values[3] = {
		{.Reg64 = context->Cs.Long ? rip : (uint32_t)rip},
		{.Reg64 = io->Rax},
	};
	HRESULT hr;

	if (io->AccessInfo.IsWrite) {
		port_write(vp->machine, io->PortNumber, size, (uint32_t)io->Rax);
	} else {
		uint32_t in = chipset_io_read(vp->machine->chipset, io->PortNumber, size);

		/* As every 32-bit result, that of IN EAX clears the upper half. */
		if (size == 4)
			values[1].Reg64 = in;
		else
			memcpy(&values[1].Reg64, &in, size);
	}
	/*
	 * The instruction ends a shadow; the NMI mask, if any, stays as it was by not writing it.
	 */
	hr = WHvSetVirtualProcessorRegisters(vp->machine->partition, vp->index, names,
		context->ExecutionState.InterruptShadow ? 3 : 2, values);
	if (FAILED(hr))
		host_failed(vp, "WHvSetVirtualProcessorRegisters", hr);
}

static void string_io(struct vp *vp, const WHV_RUN_VP_EXIT_CONTEXT *exit)
{
	WHV_EMULATOR_STATUS status = {0};
	HRESULT hr = WHvEmulatorTryIoEmulation(
		vp->emulator, vp, &exit->VpContext, &exit->IoPortAccess, &status);

	if (FAILED(hr) || !status.EmulationSuccessful)
		crash(vp, "met a string I/O instruction that cannot be completed");
}

static void device_memory(struct vp *vp, const WHV_RUN_VP_EXIT_CONTEXT *exit)
{
	WHV_EMULATOR_STATUS status = {0};
	char what[96];
	HRESULT hr;

	if (exit->MemoryAccess.AccessInfo.AccessType == WHvMemoryAccessExecute) {
		snprintf(what, sizeof(what),
			"executed at guest-physical 0x%llx, where no memory is",
			(unsigned long long)exit->MemoryAccess.Gpa);
		crash(vp, what);
		return;
	}
	hr = WHvEmulatorTryMmioEmulation(
		vp->emulator, vp, &exit->VpContext, &exit->MemoryAccess, &status);
	if (SUCCEEDED(hr) && status.EmulationSuccessful)
		return;
	snprintf(what, sizeof(what),
		"met an access to guest-physical 0x%llx that cannot be completed (status 0x%x)",
		(unsigned long long)exit->MemoryAccess.Gpa, status.AsUINT32);
	crash(vp, what);
}

/* Whether LINT0, where the PIC is wired to, is open for it. */
static bool lint0_accepts(struct vp *vp)
{
	static const WHV_REGISTER_NAME name = WHvX64RegisterApicLvtLint0;
	WHV_REGISTER_VALUE lvt;

	return SUCCEEDED(WHvGetVirtualProcessorRegisters(
		       vp->machine->partition, 0, &name, 1, &lvt)) &&
	       !(lvt.Reg32 & LVT_MASKED) && (lvt.Reg32 & LVT_DELIVERY) == LVT_DELIVERY_EXTINT;
}

/*
 * Before a vp runs, say what we want to be told of: on the first, while the PIC has something, that
 * it can be taken; on any, that a message slot is free that VMBus waits for.
 */
static void ask_to_be_told(struct vp *vp)
{
	static const WHV_REGISTER_NAME name = WHvX64RegisterDeliverabilityNotifications;
	struct machine *m = vp->machine;
	WHV_REGISTER_VALUE wanted = {.DeliverabilityNotifications = {
					     .Sint = vmbus_sints_wanted(m->vmbus, vp->index),
				     }};

	if (vp->index == 0 && atomic_load(&m->pic_output) && lint0_accepts(vp))
		wanted.DeliverabilityNotifications.InterruptNotification = 1;
	if (wanted.DeliverabilityNotifications.AsUINT64)
		WHvSetVirtualProcessorRegisters(m->partition, vp->index, &name, 1, &wanted);
}

/* The processor takes an interrupt now: run the PIC's INTA cycle. */
static void deliver_pic(struct vp *vp)
{
	static const WHV_REGISTER_NAME name = WHvRegisterPendingEvent;
	WHV_REGISTER_VALUE event = {.ExtIntEvent = {
					    .EventPending = 1,
					    .EventType = WHvX64PendingEventExtInt,
				    }};

	if (!atomic_load(&vp->machine->pic_output) || !lint0_accepts(vp))
		return;
	event.ExtIntEvent.Vector = chipset_pic_acknowledge(vp->machine->chipset);
	WHvSetVirtualProcessorRegisters(vp->machine->partition, 0, &name, 1, &event);
}

static void handle(struct vp *vp, const WHV_RUN_VP_EXIT_CONTEXT *exit)
{
	char what[64];
	HRESULT hr;

	switch (exit->ExitReason) {
	case WHvRunVpExitReasonX64IoPortAccess:
		if (exit->IoPortAccess.AccessInfo.StringOp)
			string_io(vp, exit);
		else
			plain_io(vp, &exit->VpContext, &exit->IoPortAccess);
		break;
	case WHvRunVpExitReasonMemoryAccess:
		device_memory(vp, exit);
		break;
	case WHvRunVpExitReasonX64MsrAccess:
		hr = msr_access(vp->machine, vp->index, &exit->VpContext, &exit->MsrAccess);
		if (FAILED(hr))
			host_failed(vp, "WHvSetVirtualProcessorRegisters", hr);
		break;
	case WHvRunVpExitReasonHypercall:
		hr = hypercall_complete(vp->machine, vp->index, &exit->VpContext, &exit->Hypercall);
		if (FAILED(hr))
			host_failed(vp, "WHvSetVirtualProcessorRegisters", hr);
		break;
	case WHvRunVpExitReasonSynicSintDeliverable:
		vmbus_sints_deliverable(
			vp->machine->vmbus, vp->index, exit->SynicSintDeliverable.DeliverableSints);
		break;
	case WHvRunVpExitReasonX64ApicEoi:
		chipset_eoi(vp->machine->chipset, exit->ApicEoi.InterruptVector);
		break;
	case WHvRunVpExitReasonX64InterruptWindow:
		deliver_pic(vp);
		break;
	case WHvRunVpExitReasonCanceled:
		break;
	case WHvRunVpExitReasonUnrecoverableException:
		crash(vp, "stopped with a triple fault");
		break;
	default:
		snprintf(what, sizeof(what), "stopped for an unexpected reason, 0x%x",
			exit->ExitReason);
		crash(vp, what);
	}
}

static void *vp_main(void *arg)
{
	struct vp *vp = arg;
	struct machine *m = vp->machine;
	WHV_RUN_VP_EXIT_CONTEXT exit;
	char name[16];

	/* Of another thread, the system call filter would not let us. */
	snprintf(name, sizeof(name), "vp%u", vp->index);
	pthread_setname_np(pthread_self(), name);
	while (atomic_load(&m->end) == MACHINE_RUNNING) {
		HRESULT hr;

		ask_to_be_told(vp);
		hr = WHvRunVirtualProcessor(m->partition, vp->index, &exit, sizeof(exit));
		if (FAILED(hr)) {
			host_failed(vp, "WHvRunVirtualProcessor", hr);
			break;
		}
		vp->exits++;
		handle(vp, &exit);
	}
	return NULL;
}

HRESULT vp_create(struct machine *m, uint32_t index)
{
	struct vp *vp = &m->vps[index];
	HRESULT hr;

	vp->machine = m;
	vp->index = index;
	hr = WHvCreateVirtualProcessor(m->partition, index, 0);
	return SUCCEEDED(hr) ? WHvEmulatorCreateEmulator(&callbacks, &vp->emulator) : hr;
}

void vp_destroy(struct machine *m, uint32_t index)
{
	if (m->vps[index].emulator)
		WHvEmulatorDestroyEmulator(m->vps[index].emulator);
}

int vp_start_all(struct machine *m)
{
	for (m->running = 0; m->running < m->config->processors; m->running++) {
		struct vp *vp = &m->vps[m->running];
		int err = pthread_create(&vp->thread, NULL, vp_main, vp);

		if (err)
			return -err;
	}
	return 0;
}

void vp_join_all(struct machine *m)
{
	while (m->running)
		pthread_join(m->vps[--m->running].thread, NULL);
}
