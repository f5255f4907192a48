/*
 * hypervisor.c - a guest that does anything at all to the hypervisor: MSRs, the local APIC, every
 * form of hypercall, the pages it shares; while time passes, its host sends it interrupts, messages
 * and events, and it takes what is pending. The processor is the fake one of the unit tests.
 *
 * Input: one byte that says how many processors there are and what the client wants to hear of,
 * then operations of sixteen bytes (struct operation).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "hypervisor/hypercall.h"
#include "hypervisor_fixture.h"

#define CONNECTION   7u
#define DOORBELL     0xD0000000ull
#define REGISTERS    28u /* 16 general ones, and the halves of six XMM registers */
#define SVR_ENABLE   0x1FFu
#define OPERATIONS   256u
#define TIME_MAX     (31556926ull * 1000000) /* a year in microseconds, in all */
#define STATUS_MASK  0xFFFFull
#define RESULT_VALID (STATUS_MASK | 0xFFFull << 32)

#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

enum {
	READ_MSR,
	WRITE_MSR,
	READ_APIC,
	WRITE_APIC,
	SET_REGISTER,
	FAST_CALL,
	MEMORY_CALL,
	SET_MODE,
	WRITE_MEMORY,
	PASS_TIME,
	REQUEST_INTERRUPT,
	POST_MESSAGE,
	SIGNAL_EVENT,
	TAKE_INTERRUPT,
	RUN,
	QUERY_CPUID,
	KINDS
};

struct operation {
	uint8_t kind, vp;
	uint16_t which;
	uint32_t where;
	uint64_t value;
};

static struct {
	struct fixture *fixture;
	struct vp *vp; /* whose operation it is */
	uint64_t passed;
} world;

static void check_answer(enum x86_answer answer)
{
	CHECK(answer == X86_DONE || answer == X86_FAULT || answer == X86_EXIT);
}

/* Guest memory, and a page after it that is not there. */
static uint64_t address(uint32_t where)
{
	return where % (FIXTURE_MEMORY + HV_PAGE_SIZE);
}

/* ---- What the guest does -------------------------------------------------------------------- */

/* Where registers are, mostly. */
static uint32_t msr_of(const struct operation *o)
{
	static const uint32_t single[] = {0x10, APIC_MSR_BASE, 0x17, 0x3A, 0x79, 0x8B, 0xCE, 0xFE,
		0x10A, 0x179, 0x17A, 0x198, 0x199, 0x1A0, 0x1D9, 0x277, 0x2FF, APIC_MSR_DEADLINE,
		0xC0000080, 0xC0000103, HV_MSR_TSC_INVARIANT_CONTROL};

	switch (o->which % 6) {
	case 0:
		return HV_MSR_FIRST + o->where % (HV_MSR_LAST + 1 - HV_MSR_FIRST);
	case 1:
		return HV_MSR_SCONTROL + o->where % (HV_MSR_STIMER3_COUNT + 1 - HV_MSR_SCONTROL);
	case 2:
		return APIC_MSR_FIRST + o->where % (APIC_SELF_IPI + 1);
	case 3:
		return 0x200 + o->where % 0x100;
	case 4:
		return single[o->where % ELEMENTS(single)];
	default:
		return o->where;
	}
}

/* Registers that hold a page are given one of guest memory, if the guest wants it so. */
static uint64_t msr_value_of(const struct operation *o)
{
	return o->which & 0x8000 ? address((uint32_t)o->value) : o->value;
}

static uint64_t apic_address(const struct operation *o)
{
	uint64_t base = world.vp->lapic.base & ~0xFFFull;

	return o->which & 1 ? base + o->where % HV_PAGE_SIZE : base + o->where % 64 * 16;
}

static unsigned access_size(const struct operation *o)
{
	return 1u << (o->which >> 1 & 3);
}

static void read_msr(const struct operation *o)
{
	uint64_t value;

	check_answer(vp_ops.rdmsr(world.vp, msr_of(o), &value));
}

static void write_msr(const struct operation *o)
{
	uint32_t msr = msr_of(o);
	uint64_t value = msr_value_of(o), back;
	enum x86_answer answer = vp_ops.wrmsr(world.vp, msr, value);

	check_answer(answer);
	/* What was taken stays: a page register, which no time and no event changes. */
	if (answer == X86_DONE && (msr == HV_MSR_SIMP || msr == HV_MSR_SIEFP) &&
		vp_ops.rdmsr(world.vp, msr, &back) == X86_DONE)
		CHECK(HV_PAGE_GPA(back) == HV_PAGE_GPA(value));
}

static void read_apic(const struct operation *o)
{
	uint64_t value;

	check_answer(vp_ops.mmio_read(world.vp, apic_address(o), access_size(o), &value));
	vp_ops.read_cr8(world.vp);
}

/*
 * The clock stands: a one-shot count that was just written is all still there. Short periods are
 * made longer.
 */
static void check_timer(void)
{
	bool one_shot = !(lapic_register(world.vp, APIC_LVT + LVT_TIMER) >> 17 & 3);
	uint32_t initial = lapic_register(world.vp, APIC_TIMER_INITIAL);
	uint32_t current = lapic_register(world.vp, APIC_TIMER_CURRENT);

	CHECK(!one_shot || initial - current <= 1);
}

static void write_apic(const struct operation *o)
{
	uint64_t gpa = o->which & 0x4000 ? DOORBELL : apic_address(o);
	unsigned size = access_size(o);

	check_answer(vp_ops.mmio_write(world.vp, gpa, size, o->value));
	if (size >= 4 && gpa == (world.vp->lapic.base & ~0xFFFull) + APIC_TIMER_INITIAL * 16 &&
		lapic_mmio(world.vp, gpa))
		check_timer();
	if (o->which & 0x8000)
		vp_ops.write_cr8(world.vp, o->value);
}

static void set_register(const struct operation *o)
{
	struct x86_state *s = vp_state(world.vp);
	unsigned n = o->where % REGISTERS;

	if (n < 16)
		s->gpr[n] = o->value;
	else
		memcpy((uint8_t *)s->fx.xmm + (n - 16) * 8, &o->value, 8);
}

static void set_mode(const struct operation *o)
{
	struct x86_state *s = vp_state(world.vp);
	bool wide = !(o->which & 1);

	s->cr0 = X86_CR0_PE | X86_CR0_PG;
	s->efer = wide ? X86_EFER_LMA | X86_EFER_LME : 0;
	s->seg[X86_CS].attributes = wide ? 0xA09B : 0xC09B;
	s->rflags = X86_FLAG_1 | (o->which & 2 ? X86_FLAG_IF : 0);
	s->cpl = o->which >> 2 & o->which >> 4 & 3; /* mostly 0 */
}

static uint64_t control_of(const struct operation *o)
{
	static const uint16_t codes[] = {HV_CALL_FLUSH_SPACE, HV_CALL_FLUSH_LIST,
		HV_CALL_LONG_SPIN_WAIT, HV_CALL_SEND_IPI, HV_CALL_FLUSH_SPACE_EX,
		HV_CALL_FLUSH_LIST_EX, HV_CALL_SEND_IPI_EX, HV_CALL_POST_MESSAGE,
		HV_CALL_SIGNAL_EVENT, HV_CALL_QUERY_CAPABILITIES};
	unsigned n = o->which % (ELEMENTS(codes) + 1);

	return n < ELEMENTS(codes) ? (o->value & ~0xFFFFull) | codes[n] : o->value;
}

static bool wide_mode(const struct x86_state *s)
{
	return (s->efer & X86_EFER_LMA) && (s->seg[X86_CS].attributes & X86_SEG_L);
}

static void check_result(uint64_t control, uint64_t result)
{
	CHECK(!(result & ~RESULT_VALID));
	CHECK((result & STATUS_MASK) <= HV_STATUS_INVALID_SYNIC_STATE);
	CHECK(result >> 32 <= HV_CALL_REP_COUNT(control));
	if ((result & STATUS_MASK) == HV_STATUS_SUCCESS)
		CHECK(result >> 32 == HV_CALL_REP_COUNT(control));
}

/* With what registers hold, but for the control word. */
static void hypercall(uint64_t control)
{
	struct x86_state *s = vp_state(world.vp);
	enum x86_answer answer;

	if (wide_mode(s)) {
		s->gpr[X86_RCX] = control;
	} else {
		s->gpr[X86_RDX] = control >> 32;
		s->gpr[X86_RAX] = (uint32_t)control;
	}
	answer = vp_ops.hypercall(world.vp);
	check_answer(answer);
	if (answer != X86_DONE)
		return;
	if (wide_mode(s))
		check_result(control, s->gpr[X86_RAX]);
	else
		check_result(control, s->gpr[X86_RDX] << 32 | s->gpr[X86_RAX]);
}

static void memory_call(const struct operation *o)
{
	struct x86_state *s = vp_state(world.vp);
	uint64_t input = address(o->where), output = address(o->where >> 12);

	if (wide_mode(s)) {
		s->gpr[X86_RDX] = input;
		s->gpr[X86_R8] = output;
	} else {
		s->gpr[X86_RBX] = s->gpr[X86_RDI] = 0;
		s->gpr[X86_RCX] = input;
		s->gpr[X86_RSI] = output;
	}
	hypercall(control_of(o) & ~HV_CALL_FAST);
}

/* The value, several times over. */
static void write_memory(const struct operation *o)
{
	uint64_t gpa = o->where % FIXTURE_MEMORY & ~7ull;

	for (unsigned i = 0; i <= o->which % 64u && gpa < FIXTURE_MEMORY; i++, gpa += 8)
		memcpy(world.fixture->ram + gpa, &o->value, 8);
}

static void take_interrupt(const struct operation *o)
{
	int pending = lapic_pending(world.vp), taken = vp_ops.interrupt(world.vp);

	CHECK(taken == -1 || (taken >= 16 && taken < 256));
	if (pending >= 0 && taken >= 0 && !synic_auto_eoi(&world.vp->synic, (uint8_t)taken))
		CHECK(lapic_priority(world.vp) >> 4 >= (unsigned)taken >> 4);
	if (o->which & 1)
		lapic_end(world.vp);
}

static void query_cpuid(const struct operation *o)
{
	static const uint32_t bases[] = {0, 0x40000000, 0x80000000};
	unsigned n = o->which % (ELEMENTS(bases) + 1);
	uint32_t leaf = n < ELEMENTS(bases) ? bases[n] + o->where % 32 : o->where, out[4];

	check_answer(vp_ops.cpuid(world.vp, leaf, (uint32_t)o->value, out));
}

/* ---- What the host does --------------------------------------------------------------------- */

/*
 * Whatever is due happens once, and the next deadline lies ahead; or nobody has noticed yet that
 * time passed.
 */
static void pass_time(const struct operation *o)
{
	struct fixture *f = world.fixture;
	uint64_t us = (o->value & UINT32_MAX) << o->which % 24;

	if (us > TIME_MAX - world.passed)
		us = TIME_MAX - world.passed;
	world.passed += us;
	if (o->which & 0x8000) {
		fixture_set_tsc(f, f->tsc + us * (FIXTURE_HZ / 1000000));
		return;
	}
	fixture_advance_us(f, us);
	CHECK(world.vp->deadline > clock_now(&f->p->clock));
}

static void request_interrupt(const struct operation *o)
{
	WHV_INTERRUPT_CONTROL interrupt = {
		.Type = o->which & 0xF,
		.DestinationMode = o->which >> 4 & 1,
		.TriggerMode = o->which >> 5 & 1,
		.Destination = o->where,
		.Vector = (uint32_t)o->value,
	};

	WHvRequestInterrupt(world.fixture->p, &interrupt, sizeof(interrupt));
}

static void post_message(const struct operation *o)
{
	struct hv_message message = {
		.type = o->where, .payload_size = (uint8_t)o->value, .origin = o->value};

	memset(message.payload, 0x5a, sizeof(message.payload));
	WHvPostVirtualProcessorSynicMessage(
		world.fixture->p, world.vp->index, o->which % 17u, &message, sizeof(message));
}

static void signal_event(const struct operation *o)
{
	WHV_SYNIC_EVENT_PARAMETERS event = {
		.VpIndex = world.vp->index,
		.TargetSint = o->which % 17u,
		.FlagNumber = (uint16_t)o->where,
	};
	BOOL newly;

	WHvSignalVirtualProcessorSynicEvent(world.fixture->p, event, &newly);
}

/* Take what other processors asked of this one; then, if it does not sleep, let it run. */
static void run(const struct operation *o)
{
	struct vp *vp = world.vp;
	WHV_RUN_VP_EXIT_CONTEXT exit;
	WHV_PARTITION_HANDLE p = world.fixture->p;

	vp->notify.Sint = o->which;
	vp->notify.InterruptNotification = o->value & 1;
	CHECK(WHvCancelRunVirtualProcessor(p, vp->index, 0) == S_OK);
	CHECK(WHvRunVirtualProcessor(p, vp->index, &exit, sizeof(exit)) == S_OK);
	CHECK(exit.ExitReason == WHvRunVpExitReasonCanceled);
	if (vp->startup_suspend || vp->halt_suspend || vp->idle_suspend)
		return;
	CHECK(WHvRunVirtualProcessor(p, vp->index, &exit, sizeof(exit)) == S_OK);
	CHECK(exit.ExitReason == WHvRunVpExitReasonUnrecoverableException ||
		exit.ExitReason == WHvRunVpExitReasonX64ApicEoi ||
		exit.ExitReason == WHvRunVpExitReasonSynicSintDeliverable);
}

static void operate(const struct operation *o)
{
	world.vp = fixture_vp(world.fixture, o->vp % world.fixture->p->prop.processor_count);
	switch (o->kind % KINDS) {
	case READ_MSR:
		read_msr(o);
		break;
	case WRITE_MSR:
		write_msr(o);
		break;
	case READ_APIC:
		read_apic(o);
		break;
	case WRITE_APIC:
		write_apic(o);
		break;
	case SET_REGISTER:
		set_register(o);
		break;
	case FAST_CALL:
		hypercall(control_of(o) | HV_CALL_FAST);
		break;
	case MEMORY_CALL:
		memory_call(o);
		break;
	case SET_MODE:
		set_mode(o);
		break;
	case WRITE_MEMORY:
		write_memory(o);
		break;
	case PASS_TIME:
		pass_time(o);
		break;
	case REQUEST_INTERRUPT:
		request_interrupt(o);
		break;
	case POST_MESSAGE:
		post_message(o);
		break;
	case SIGNAL_EVENT:
		signal_event(o);
		break;
	case TAKE_INTERRUPT:
		take_interrupt(o);
		break;
	case RUN:
		run(o);
		break;
	default:
		query_cpuid(o);
	}
}

/* ---- The partition -------------------------------------------------------------------------- */

static void add_ports(struct fixture *f, int event)
{
	WHV_NOTIFICATION_PORT_PARAMETERS connection = {
		.NotificationPortType = WHvNotificationPortTypeEvent,
		.Event = {.ConnectionId = CONNECTION}};
	WHV_NOTIFICATION_PORT_PARAMETERS doorbell = {
		.NotificationPortType = WHvNotificationPortTypeDoorbell,
		.Doorbell = {.GuestAddress = DOORBELL}};
	WHV_NOTIFICATION_PORT_HANDLE handle;

	CHECK(WHvCreateNotificationPort(
		      f->p, &connection, PARTITA_HANDLE_FROM_FD(event), &handle) == S_OK);
	CHECK(WHvCreateNotificationPort(f->p, &doorbell, PARTITA_HANDLE_FROM_FD(event), &handle) ==
		S_OK);
}

/* Processors that a guest has brought up: hypercalls are on, and so are local APICs. */
static void start(struct fixture *f)
{
	static const struct operation mode = {.kind = SET_MODE, .which = 2};

	fixture_wrmsr(fixture_vp(f, 0), HV_MSR_GUEST_OS_ID, 1);
	fixture_wrmsr(fixture_vp(f, 0), HV_MSR_HYPERCALL, HV_PAGE_SIZE | HV_PAGE_ENABLE);
	for (unsigned i = 0; i < f->p->prop.processor_count; i++) {
		world.vp = fixture_vp(f, i);
		world.vp->startup_suspend = false;
		lapic_mmio_write(world.vp, APIC_BASE_DEFAULT + APIC_SVR * 16, 4, SVR_ENABLE);
		set_mode(&mode);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int event = -1;
	struct operation o;

	if (event < 0)
		event = eventfd(0, EFD_NONBLOCK);
	if (!size)
		return 0;
	world.fixture = fixture_ready(2 + data[0] % 3);
	world.passed = 0;
	world.fixture->p->prop.exits.HypercallExit = data[0] >> 4 & 1;
	world.fixture->p->prop.exits.UnknownSynicConnection = data[0] >> 5 & 1;
	add_ports(world.fixture, event);
	start(world.fixture);
	data++;
	size--;
	for (unsigned n = 0; n < OPERATIONS && size >= sizeof(o); n++) {
		memcpy(&o, data, sizeof(o));
		operate(&o);
		data += sizeof(o);
		size -= sizeof(o);
	}
	fixture_free(world.fixture);
	return 0;
}
