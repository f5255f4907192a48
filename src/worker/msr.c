/*
 * msr.c - the model-specific registers that the hypervisor leaves to its client: the synthetic
 * reset and crash registers (TLFS, chapter "Partition properties": guest crash enlightenment), and
 * those that nobody knows, which raise #GP(0) as on a processor without them.
 */
#include "worker/machine.h"

#include <stdbool.h>

#include "base/log.h"

#define HV_X64_MSR_RESET     0x40000003u
#define HV_X64_MSR_CRASH_P0  0x40000100u
#define HV_X64_MSR_CRASH_CTL 0x40000105u
#define HV_CRASH_CTL_NOTIFY  (1ull << 63)
#define HV_CRASH_CTL_NOTIFY_MESSAGE                                                                \
	(1ull << 62) /* parameters 3 and 4: GPA and length of a text                               \
		      */

#define CRASH_TEXT_MAX 512u
#define VECTOR_GP      13

/* The end of the guest's last words, as one line. */
static void crash_text(const struct machine *m, char *text)
{
	uint64_t gpa = m->crash[3], length = m->crash[4];
	const uint8_t *from;

	text[0] = 0;
	if (length > CRASH_TEXT_MAX - 1) {
		gpa += length - (CRASH_TEXT_MAX - 1);
		length = CRASH_TEXT_MAX - 1;
	}
	from = ram_at(&m->ram, gpa, length);
	if (!from)
		return;
	for (uint64_t i = 0; i < length; i++)
		text[i] = from[i] >= ' ' && from[i] < 0x7f ? from[i] : ' ';
	text[length] = 0;
}

static void report_crash(const struct machine *m, uint64_t control)
{
	const unsigned long long *p = m->crash;
	char text[CRASH_TEXT_MAX] = "";

	if (control & HV_CRASH_CTL_NOTIFY_MESSAGE)
		crash_text(m, text);
	log_error("%s: the guest says that it crashed: 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx %s",
		m->config->name, p[0], p[1], p[2], p[3], p[4], text);
}

static bool write_msr(struct machine *m, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case HV_X64_MSR_RESET:
		if (value & 1)
			machine_stop(m, MACHINE_RESET);
		return true;
	case HV_X64_MSR_CRASH_P0 ... HV_X64_MSR_CRASH_P0 + MACHINE_CRASH_PARAMETERS - 1:
		m->crash[msr - HV_X64_MSR_CRASH_P0] = value;
		return true;
	case HV_X64_MSR_CRASH_CTL:
		if (value & HV_CRASH_CTL_NOTIFY)
			report_crash(m, value);
		return true;
	default:
		return false;
	}
}

static bool read_msr(struct machine *m, uint32_t msr, uint64_t *value)
{
	switch (msr) {
	case HV_X64_MSR_RESET:
		*value = 0;
		return true;
	case HV_X64_MSR_CRASH_P0 ... HV_X64_MSR_CRASH_P0 + MACHINE_CRASH_PARAMETERS - 1:
		*value = m->crash[msr - HV_X64_MSR_CRASH_P0];
		return true;
	case HV_X64_MSR_CRASH_CTL:
		*value = HV_CRASH_CTL_NOTIFY | HV_CRASH_CTL_NOTIFY_MESSAGE;
		return true;
	default:
		return false;
	}
}

static HRESULT raise_gp(struct machine *m, uint32_t vp)
{
	static const WHV_REGISTER_NAME name = WHvRegisterPendingEvent;
	WHV_REGISTER_VALUE event = {.ExceptionEvent = {
					    .EventPending = 1,
					    .EventType = WHvX64PendingEventException,
					    .DeliverErrorCode = 1,
					    .Vector = VECTOR_GP,
				    }};

	return WHvSetVirtualProcessorRegisters(m->partition, vp, &name, 1, &event);
}

HRESULT msr_access(struct machine *m, uint32_t vp, const WHV_VP_EXIT_CONTEXT *context,
	const WHV_X64_MSR_ACCESS_CONTEXT *access)
{
	static const WHV_REGISTER_NAME names[] = {
		WHvX64RegisterRip, WHvX64RegisterRax, WHvX64RegisterRdx};
	WHV_REGISTER_VALUE values[3] = {{.Reg64 = context->Rip + context->InstructionLength}};
	uint64_t value = access->Rdx << 32 | (uint32_t)access->Rax;
	bool known;

	/* The parameters are one set for all processors. */
	pthread_mutex_lock(&m->crash_lock);
	known = access->AccessInfo.IsWrite ? write_msr(m, access->MsrNumber, value)
					   : read_msr(m, access->MsrNumber, &value);
	pthread_mutex_unlock(&m->crash_lock);
	if (!known)
		return raise_gp(m, vp);
	values[1].Reg64 = (uint32_t)value;
	values[2].Reg64 = value >> 32;
	return WHvSetVirtualProcessorRegisters(
		m->partition, vp, names, access->AccessInfo.IsWrite ? 1 : 3, values);
}
