/*
 * emulator.c - the public functions of libWinHvEmulation.
 *
 * An emulator holds one x86 machine without memory and up to EMULATOR_CALLS vcpus of it, made when
 * first needed; a call takes an idle one, so threads do not wait for one another.
 *
 * Source: Microsoft Learn, "WHvEmulatorTryIoEmulation and WHvEmulatorTryMmioEmulation".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/emulator.h"

/* No code is cached: instructions are executed from the bytes at hand. */
#define CODE_BYTES 8192u

/* ----- one instruction ----- */

void emulation_raise(
	struct emulation *e, uint8_t vector, bool has_error, uint32_t error, uint64_t parameter)
{
	e->exit.reason = X86_EXIT_EXCEPTION;
	e->exit.exception.vector = vector;
	e->exit.exception.has_error = has_error;
	e->exit.exception.error = error;
	e->exit.exception.parameter = parameter;
}

bool emulation_execute(struct emulation *e, const uint8_t *insn, unsigned length)
{
	x86_vcpu_emulate(e->vcpu, insn, length, &e->exit);
	if (e->status.AsUINT32) /* a callback failed: whatever follows from that is void */
		return false;
	if (e->exit.reason == X86_EXIT_STOPPED)
		return true;
	if (e->exit.reason != X86_EXIT_EXCEPTION)
		e->status.InternalEmulationFailure = 1;
	return false;
}

/* A repeated string instruction stays where it is until it is done, or has done enough. */
static void execute_repeated(struct emulation *e)
{
	bool repeated = emulation_is_repeated(e), progress = false;

	x86_vcpu_changed(e->vcpu);
	do {
		if (!emulation_execute(e, e->insn, e->decoded.length))
			break;
		progress = true;
	} while (repeated && !e->single_step && e->state->rip == e->vp->Rip &&
		 e->moved < EMULATOR_STRING_BYTES);
	if (!e->status.AsUINT32)
		emulation_store(e, progress);
}

static void emulate_memory(struct emulation *e, const WHV_MEMORY_ACCESS_CONTEXT *mmio)
{
	if (mmio->AccessInfo.GvaValid && mmio->AccessInfo.AccessType != WHvMemoryAccessExecute)
		emulation_remember(e, mmio->Gva, mmio->Gpa,
			mmio->AccessInfo.AccessType == WHvMemoryAccessWrite);
	if (emulation_decode(e) && emulation_requirements(e) && emulation_load(e))
		execute_repeated(e);
}

/* ----- taking turns ----- */

static struct emulation *take(struct emulator *em)
{
	while (sem_wait(&em->idle) && errno == EINTR)
		;
	for (unsigned i = 0;; i = (i + 1) % EMULATOR_CALLS) {
		struct emulation *e = &em->calls[i];

		if (atomic_exchange_explicit(&e->busy, true, memory_order_acquire))
			continue;
		if (!e->vcpu) {
			e->emulator = em;
			e->vcpu = x86_vcpu_create(em->machine, i, &emulation_ops, e);
			if (e->vcpu)
				e->state = x86_vcpu_state(e->vcpu);
		}
		return e;
	}
}

static void give_back(struct emulation *e)
{
	struct emulator *em = e->emulator;

	atomic_store_explicit(&e->busy, false, memory_order_release);
	sem_post(&em->idle);
}

/* Takes a turn for one instruction; NULL when memory is short. */
static struct emulation *begin(struct emulator *em, void *context, const WHV_VP_EXIT_CONTEXT *vp,
	const uint8_t *insn, unsigned insn_bytes)
{
	struct emulation *e = take(em);

	if (!e->vcpu) {
		give_back(e);
		return NULL;
	}
	e->context = context;
	e->vp = vp;
	e->status.AsUINT32 = 0;
	e->needed = e->written = 0;
	e->n_translations = e->next_translation = 0;
	e->moved = 0;
	e->exit.reason = X86_EXIT_STOPPED;
	e->insn_bytes =
		insn_bytes < EMULATOR_INSTRUCTION_MAX ? insn_bytes : EMULATOR_INSTRUCTION_MAX;
	memcpy(e->insn, insn, e->insn_bytes);
	return e;
}

static void end(struct emulation *e, WHV_EMULATOR_STATUS *status)
{
	e->status.EmulationSuccessful = !e->status.AsUINT32;
	*status = e->status;
	give_back(e);
}

/* ----- the API ----- */

static bool callbacks_valid(const WHV_EMULATOR_CALLBACKS *c)
{
	return c && c->Size == sizeof(*c) && !c->Reserved && c->WHvEmulatorIoPortCallback &&
	       c->WHvEmulatorMemoryCallback && c->WHvEmulatorGetVirtualProcessorRegisters &&
	       c->WHvEmulatorSetVirtualProcessorRegisters && c->WHvEmulatorTranslateGvaPage;
}

HRESULT WINAPI WHvEmulatorCreateEmulator(
	const WHV_EMULATOR_CALLBACKS *Callbacks, WHV_EMULATOR_HANDLE *Emulator)
{
	struct emulator *em;

	if (!callbacks_valid(Callbacks) || !Emulator)
		return E_INVALIDARG;
	em = calloc(1, sizeof(*em));
	if (!em)
		return E_OUTOFMEMORY;
	em->machine = x86_machine_create(EMULATOR_CALLS, CODE_BYTES);
	if (!em->machine) {
		free(em);
		return E_OUTOFMEMORY;
	}
	em->callbacks = *Callbacks;
	ZydisDecoderInit(&em->decoder16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&em->decoder32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&em->decoder64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	sem_init(&em->idle, 0, EMULATOR_CALLS);
	*Emulator = em;
	return S_OK;
}

HRESULT WINAPI WHvEmulatorDestroyEmulator(WHV_EMULATOR_HANDLE Emulator)
{
	struct emulator *em = Emulator;

	if (!em)
		return E_INVALIDARG;
	for (unsigned i = 0; i < EMULATOR_CALLS; i++)
		x86_vcpu_destroy(em->calls[i].vcpu);
	x86_machine_destroy(em->machine);
	sem_destroy(&em->idle);
	free(em);
	return S_OK;
}

HRESULT WINAPI WHvEmulatorTryIoEmulation(WHV_EMULATOR_HANDLE Emulator, VOID *Context,
	const WHV_VP_EXIT_CONTEXT *VpContext,
	const WHV_X64_IO_PORT_ACCESS_CONTEXT *IoInstructionContext,
	WHV_EMULATOR_STATUS *EmulatorReturnStatus)
{
	const WHV_X64_IO_PORT_ACCESS_CONTEXT *io = IoInstructionContext;
	struct emulation *e;
	unsigned size;

	if (!Emulator || !VpContext || !io || !EmulatorReturnStatus ||
		io->InstructionByteCount > sizeof(io->InstructionBytes))
		return E_INVALIDARG;
	size = io->AccessInfo.AccessSize;
	if (size != 1 && size != 2 && size != 4)
		return E_INVALIDARG;
	e = begin(Emulator, Context, VpContext, io->InstructionBytes, io->InstructionByteCount);
	if (!e)
		return E_OUTOFMEMORY;
	emulation_port(e, io);
	end(e, EmulatorReturnStatus);
	return S_OK;
}

HRESULT WINAPI WHvEmulatorTryMmioEmulation(WHV_EMULATOR_HANDLE Emulator, VOID *Context,
	const WHV_VP_EXIT_CONTEXT *VpContext,
	const WHV_MEMORY_ACCESS_CONTEXT *MmioInstructionContext,
	WHV_EMULATOR_STATUS *EmulatorReturnStatus)
{
	const WHV_MEMORY_ACCESS_CONTEXT *mmio = MmioInstructionContext;
	struct emulation *e;

	if (!Emulator || !VpContext || !mmio || !EmulatorReturnStatus ||
		mmio->InstructionByteCount > sizeof(mmio->InstructionBytes))
		return E_INVALIDARG;
	e = begin(Emulator, Context, VpContext, mmio->InstructionBytes, mmio->InstructionByteCount);
	if (!e)
		return E_OUTOFMEMORY;
	if (VpContext->ExecutionState.InterruptionPending)
		e->status.InterruptCausedIntercept = 1;
	else
		emulate_memory(e, mmio);
	end(e, EmulatorReturnStatus);
	return S_OK;
}
