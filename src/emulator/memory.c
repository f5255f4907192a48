/*
 * memory.c - the guest's memory, as the caller's callbacks show it.
 *
 * Promises: a translation is asked for once a page and kind of access in a call; what the exit
 * itself tells is not asked for at all. Nothing is kept beyond the call.
 */
#include <string.h>

#include "emulator/emulator.h"

#define PAGE_OFFSET 0xfffull

/* Page-fault error code: SDM vol. 3A, 4.7. */
#define PF_PRESENT  0x01u
#define PF_WRITE    0x02u
#define PF_USER	    0x04u
#define PF_RESERVED 0x08u
#define PF_FETCH    0x10u

void emulation_remember(struct emulation *e, uint64_t gva, uint64_t gpa, bool write)
{
	const unsigned room = sizeof(e->translations) / sizeof(e->translations[0]);

	e->translations[e->next_translation] = (struct emulator_translation){
		.gva = gva & ~PAGE_OFFSET,
		.gpa = gpa & ~PAGE_OFFSET,
		.write = write,
	};
	e->next_translation = (e->next_translation + 1) % room;
	if (e->n_translations < room)
		e->n_translations++;
}

/* What may be written may be read. */
static bool recall(const struct emulation *e, uint64_t gva, bool write, uint64_t *gpa)
{
	for (unsigned i = 0; i < e->n_translations; i++) {
		const struct emulator_translation *t = &e->translations[i];

		if (t->gva != (gva & ~PAGE_OFFSET) || (write && !t->write))
			continue;
		*gpa = t->gpa | (gva & PAGE_OFFSET);
		return true;
	}
	return false;
}

static WHV_TRANSLATE_GVA_FLAGS flags_of(unsigned access)
{
	switch (access) {
	case X86_ACCESS_WRITE:
		return WHvTranslateGvaFlagValidateRead | WHvTranslateGvaFlagValidateWrite |
		       WHvTranslateGvaFlagSetPageTableBits;
	case X86_ACCESS_EXEC:
		return WHvTranslateGvaFlagValidateExecute | WHvTranslateGvaFlagSetPageTableBits;
	default:
		return WHvTranslateGvaFlagValidateRead | WHvTranslateGvaFlagSetPageTableBits;
	}
}

static uint32_t fault_code(
	const struct emulation *e, unsigned access, WHV_TRANSLATE_GVA_RESULT_CODE result)
{
	uint32_t code = X86_TRANSLATE_FAULT;

	if (result != WHvTranslateGvaResultPageNotPresent)
		code |= PF_PRESENT;
	if (result == WHvTranslateGvaResultInvalidPageTableFlags)
		code |= PF_RESERVED;
	if (access == X86_ACCESS_WRITE)
		code |= PF_WRITE;
	/* Told where no-execute exists, as it does for every long mode guest. */
	if (access == X86_ACCESS_EXEC && e->vp->ExecutionState.EferLma)
		code |= PF_FETCH;
	if (e->vp->ExecutionState.Cpl == 3)
		code |= PF_USER;
	return code;
}

/* Returns 0, a page-fault code, or X86_TRANSLATE_FAULT with the status set. */
static uint32_t translate(void *ctx, uint64_t gva, unsigned access, uint64_t *gpa)
{
	struct emulation *e = ctx;
	WHV_TRANSLATE_GVA_RESULT_CODE result = WHvTranslateGvaResultSuccess;
	WHV_GUEST_PHYSICAL_ADDRESS page = ~0ull;

	if (access != X86_ACCESS_EXEC && recall(e, gva, access == X86_ACCESS_WRITE, gpa))
		return 0;
	if (e->emulator->callbacks.WHvEmulatorTranslateGvaPage(
		    e->context, gva & ~PAGE_OFFSET, flags_of(access), &result, &page) != S_OK) {
		e->status.TranslateGvaPageCallbackFailed = 1;
		return X86_TRANSLATE_FAULT;
	}
	switch (result) {
	case WHvTranslateGvaResultPageNotPresent:
	case WHvTranslateGvaResultPrivilegeViolation:
	case WHvTranslateGvaResultInvalidPageTableFlags:
		return fault_code(e, access, result);
	case WHvTranslateGvaResultIntercept:
		e->status.InternalEmulationFailure = 1;
		return X86_TRANSLATE_FAULT;
	default: /* that there is no memory there is why the emulator is at work */
		break;
	}
	if (page & PAGE_OFFSET) {
		e->status.TranslateGvaPageCallbackGpaIsNotAligned = 1;
		return X86_TRANSLATE_FAULT;
	}
	if (access != X86_ACCESS_EXEC)
		emulation_remember(e, gva, page, access == X86_ACCESS_WRITE);
	*gpa = page | (gva & PAGE_OFFSET);
	return 0;
}

bool emulation_memory(struct emulation *e, uint64_t gpa, unsigned size, bool write, void *data)
{
	WHV_EMULATOR_MEMORY_ACCESS_INFO info = {
		.GpaAddress = gpa,
		.Direction = write,
		.AccessSize = (UINT8)size,
	};

	if (write)
		memcpy(info.Data, data, size);
	if (e->emulator->callbacks.WHvEmulatorMemoryCallback(e->context, &info) != S_OK) {
		e->status.MemoryCallbackFailed = 1;
		return false;
	}
	if (!write)
		memcpy(data, info.Data, size);
	return true;
}

bool emulation_fetch(struct emulation *e, uint64_t linear, uint8_t *to, unsigned size)
{
	uint64_t gpa;
	uint32_t fault = translate(e, linear, X86_ACCESS_EXEC, &gpa);

	if (e->status.AsUINT32)
		return false;
	if (fault) {
		emulation_raise(e, X86_VEC_PF, true, fault & ~X86_TRANSLATE_FAULT, linear);
		return false;
	}
	return emulation_memory(e, gpa, size, false, to);
}

static enum x86_answer mmio_read(void *ctx, uint64_t gpa, unsigned size, uint64_t *value)
{
	struct emulation *e = ctx;

	*value = 0;
	e->moved += size;
	return emulation_memory(e, gpa, size, false, value) ? X86_DONE : X86_EXIT;
}

static enum x86_answer mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	struct emulation *e = ctx;

	if (e->probing) {
		if (e->n_pieces == sizeof(e->pieces) / sizeof(e->pieces[0]))
			return X86_EXIT;
		e->pieces[e->n_pieces].gpa = gpa;
		e->pieces[e->n_pieces++].size = size;
		return X86_DONE;
	}
	e->moved += size;
	return emulation_memory(e, gpa, size, true, &value) ? X86_DONE : X86_EXIT;
}

/* Instructions that need more of the world than memory are not emulated. */

static enum x86_answer refuse_cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	return X86_EXIT;
}

static enum x86_answer refuse_rdmsr(void *ctx, uint32_t msr, uint64_t *value)
{
	return X86_EXIT;
}

static enum x86_answer refuse_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return X86_EXIT;
}

static enum x86_answer refuse_hypercall(void *ctx)
{
	return X86_EXIT;
}

static int no_interrupt(void *ctx)
{
	return -1;
}

static uint64_t read_cr8(void *ctx)
{
	return ((struct emulation *)ctx)->vp->Cr8;
}

static void write_cr8(void *ctx, uint64_t value)
{
}

const struct x86_ops emulation_ops = {
	.cpuid = refuse_cpuid,
	.rdmsr = refuse_rdmsr,
	.wrmsr = refuse_wrmsr,
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.hypercall = refuse_hypercall,
	.interrupt = no_interrupt,
	.read_cr8 = read_cr8,
	.write_cr8 = write_cr8,
	.translate = translate,
};
