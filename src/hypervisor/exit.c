/*
 * exit.c - turn what an engine stopped for into the exit context of the platform API.
 */
#include "hypervisor/partition.h"

#include <string.h>

static WHV_X64_SEGMENT_REGISTER segment(const struct x86_segment *s)
{
	return (WHV_X64_SEGMENT_REGISTER){
		.Base = s->base,
		.Limit = s->limit,
		.Selector = s->selector,
		.Attributes = s->attributes & (uint16_t)~X86_SEG_NULL,
	};
}

void exit_header(struct vp *vp, WHV_RUN_VP_EXIT_CONTEXT *context, WHV_RUN_VP_EXIT_REASON reason,
	unsigned instruction_length)
{
	const struct x86_state *s = vp_state(vp);
	WHV_X64_VP_EXIT_CONTEXT *v = &context->VpContext;

	context->ExitReason = reason;
	v->ExecutionState.Cpl = s->cpl;
	v->ExecutionState.Cr0Pe = (s->cr0 & X86_CR0_PE) != 0;
	v->ExecutionState.Cr0Am = (s->cr0 & X86_CR0_AM) != 0;
	v->ExecutionState.EferLma = (s->efer & X86_EFER_LMA) != 0;
	v->ExecutionState.DebugActive = (s->dr7 & 0xFF) != 0;
	v->ExecutionState.InterruptionPending = vp->interruption.InterruptionPending;
	v->ExecutionState.InterruptShadow = s->interrupt_shadow;
	v->InstructionLength = instruction_length & 15;
	v->Cr8 = vp->lapic.tpr >> 4 & 15;
	v->Cs = segment(&s->seg[X86_CS]);
	v->Rip = s->rip;
	v->Rflags = s->rflags;
}

static void fill_io(struct vp *vp, WHV_X64_IO_PORT_ACCESS_CONTEXT *io, const struct x86_exit *exit)
{
	const struct x86_state *s = vp_state(vp);

	io->InstructionByteCount = exit->insn_len;
	memcpy(io->InstructionBytes, exit->insn, sizeof(io->InstructionBytes));
	io->AccessInfo.IsWrite = exit->io.write;
	io->AccessInfo.AccessSize = exit->io.size;
	io->AccessInfo.StringOp = exit->io.string;
	io->AccessInfo.RepPrefix = exit->io.rep;
	io->PortNumber = exit->io.port;
	io->Rax = s->gpr[X86_RAX];
	io->Rcx = s->gpr[X86_RCX];
	io->Rsi = s->gpr[X86_RSI];
	io->Rdi = s->gpr[X86_RDI];
	io->Ds = segment(&s->seg[X86_DS]);
	io->Es = segment(&s->seg[X86_ES]);
}

static void fill_memory(WHV_MEMORY_ACCESS_CONTEXT *memory, const struct x86_exit *exit)
{
	memory->InstructionByteCount = exit->insn_len;
	memcpy(memory->InstructionBytes, exit->insn, sizeof(memory->InstructionBytes));
	memory->AccessInfo.AccessType = exit->memory.exec    ? WHvMemoryAccessExecute
					: exit->memory.write ? WHvMemoryAccessWrite
							     : WHvMemoryAccessRead;
	memory->AccessInfo.GpaUnmapped = exit->memory.unmapped;
	memory->AccessInfo.GvaValid = 1;
	memory->Gpa = exit->memory.gpa;
	memory->Gva = exit->memory.gva;
}

static void fill_cpuid(struct vp *vp, WHV_X64_CPUID_ACCESS_CONTEXT *cpuid)
{
	const struct x86_state *s = vp_state(vp);
	uint32_t out[4];

	cpuid_query(vp, (uint32_t)s->gpr[X86_RAX], (uint32_t)s->gpr[X86_RCX], out);
	cpuid->Rax = s->gpr[X86_RAX];
	cpuid->Rcx = s->gpr[X86_RCX];
	cpuid->Rdx = s->gpr[X86_RDX];
	cpuid->Rbx = s->gpr[X86_RBX];
	cpuid->DefaultResultRax = out[0];
	cpuid->DefaultResultRbx = out[1];
	cpuid->DefaultResultRcx = out[2];
	cpuid->DefaultResultRdx = out[3];
}

static void fill_msr(struct vp *vp, WHV_X64_MSR_ACCESS_CONTEXT *msr, bool write)
{
	const struct x86_state *s = vp_state(vp);

	msr->AccessInfo.IsWrite = write;
	msr->MsrNumber = (uint32_t)s->gpr[X86_RCX];
	msr->Rax = s->gpr[X86_RAX];
	msr->Rdx = s->gpr[X86_RDX];
}

static void fill_exception(WHV_VP_EXCEPTION_CONTEXT *e, const struct x86_exit *exit)
{
	e->InstructionByteCount = exit->insn_len;
	memcpy(e->InstructionBytes, exit->insn, sizeof(e->InstructionBytes));
	e->ExceptionInfo.ErrorCodeValid = exit->exception.has_error;
	e->ExceptionType = exit->exception.vector;
	e->ErrorCode = exit->exception.error;
	e->ExceptionParameter = exit->exception.parameter;
}

void exit_fill(struct vp *vp, WHV_RUN_VP_EXIT_CONTEXT *context, const struct x86_exit *exit)
{
	switch (exit->reason) {
	case X86_EXIT_IO:
		vp->intercepts.IoInstructions.Count++;
		exit_header(vp, context, WHvRunVpExitReasonX64IoPortAccess, exit->next);
		fill_io(vp, &context->IoPortAccess, exit);
		return;
	case X86_EXIT_MEMORY:
		vp->intercepts.NestedPageFaultIntercepts.Count++;
		exit_header(vp, context, WHvRunVpExitReasonMemoryAccess, exit->next);
		fill_memory(&context->MemoryAccess, exit);
		return;
	case X86_EXIT_CPUID:
		exit_header(vp, context, WHvRunVpExitReasonX64Cpuid, exit->next);
		fill_cpuid(vp, &context->CpuidAccess);
		return;
	case X86_EXIT_RDMSR:
	case X86_EXIT_WRMSR:
		exit_header(vp, context, WHvRunVpExitReasonX64MsrAccess, exit->next);
		fill_msr(vp, &context->MsrAccess, exit->reason == X86_EXIT_WRMSR);
		return;
	case X86_EXIT_HYPERCALL:
		exit_header(vp, context, WHvRunVpExitReasonHypercall, exit->next);
		context->Hypercall = vp->hypercall;
		return;
	case X86_EXIT_EXCEPTION:
		vp->guest_events.ExceptionCount++;
		exit_header(vp, context, WHvRunVpExitReasonException, exit->next);
		fill_exception(&context->VpException, exit);
		return;
	case X86_EXIT_INTERRUPT_WINDOW:
		exit_header(vp, context, WHvRunVpExitReasonX64InterruptWindow, 0);
		context->InterruptWindow.DeliverableType = WHvX64PendingInterrupt;
		return;
	case X86_EXIT_HALT:
		exit_header(vp, context, WHvRunVpExitReasonX64Halt, 0);
		return;
	default:
		exit_header(vp, context, WHvRunVpExitReasonUnrecoverableException, 0);
		return;
	}
}
