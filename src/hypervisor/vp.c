/*
 * vp.c - the life of a virtual processor: created, run, asleep, woken, cancelled, reset, deleted.
 *
 * WHvRunVirtualProcessor goes around: take what other threads asked for, decide whether to sleep or
 * to execute, hand what the engine stopped for to the client or deal with it here. A vp sleeps
 * where the processor waits: for SIPI, after HLT, in the idle state.
 */
#include "hypervisor/partition.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* ---- Claims --------------------------------------------------------------------------------- */

static bool claim(struct vp *vp, enum vp_claim_state as)
{
	for (;;) {
		int state = VP_IDLE;

		if (atomic_compare_exchange_strong(&vp->claim, &state, as))
			return true;
		if (state == VP_RUNNING)
			return false;
		sched_yield(); /* somebody reads or sets registers: soon over */
	}
}

bool vp_claim(struct vp *vp)
{
	return claim(vp, VP_ACCESSED);
}

HRESULT vp_claim_by_index(
	WHV_PARTITION_HANDLE partition, uint32_t index, bool sound, struct vp **vp)
{
	struct partition *p = partition_ready(partition);

	if (!p || !sound)
		return E_INVALIDARG;
	*vp = partition_vp(p, index);
	if (!*vp)
		return WHV_E_VP_DOES_NOT_EXIST;
	return vp_claim(*vp) ? S_OK : WHV_E_INVALID_VP_STATE;
}

void vp_release(struct vp *vp)
{
	atomic_store(&vp->claim, VP_IDLE);
}

static bool begin_run(struct vp *vp)
{
	return claim(vp, VP_RUNNING);
}

/* ---- Getting a vp's attention ---------------------------------------------------------------- */

static void wake(struct vp *vp)
{
	if (atomic_load(&vp->asleep) && atomic_exchange(&vp->asleep, 0))
		timers_futex_wake(&vp->asleep);
}

void vp_post(struct vp *vp, uint32_t events)
{
	atomic_fetch_or(&vp->events, events);
	/* Expired timers are seen where interrupts are; all else must leave the engine. */
	if (events == VP_EVENT_TIMER && !stimers_use_messages(vp))
		vp->engine->vp_interrupt(vp->engine_vp);
	else
		vp->engine->vp_stop(vp->engine_vp);
	wake(vp);
}

void vp_notify(struct vp *vp)
{
	vp->engine->vp_interrupt(vp->engine_vp);
	wake(vp);
}

void vp_nmi(struct vp *vp)
{
	vp->engine->vp_nmi(vp->engine_vp);
	atomic_fetch_or(&vp->events, VP_EVENT_NMI);
	wake(vp);
}

/* ---- Timers --------------------------------------------------------------------------------- */

void vp_rearm(struct vp *vp)
{
	uint64_t deadline = stimers_deadline(vp);

	if (vp->lapic.timer_deadline < deadline)
		deadline = vp->lapic.timer_deadline;
	timers_arm(vp, deadline);
}

void vp_expire_timers(struct vp *vp)
{
	uint64_t now = clock_now(&vp->partition->clock);

	lapic_timer_expire(vp, now);
	stimers_expire(vp, now);
	vp_rearm(vp);
}

uint64_t vp_runtime(const struct vp *vp)
{
	const struct clock *c = &vp->partition->clock;
	uint64_t tsc = vp->runtime_tsc;

	if (vp->run_since)
		tsc += clock_host(c) - vp->run_since;
	return (uint64_t)(((unsigned __int128)tsc * c->scale) >> 64);
}

static void runtime_start(struct vp *vp)
{
	vp->run_since = clock_host(&vp->partition->clock);
}

static void runtime_stop(struct vp *vp)
{
	vp->runtime_tsc += clock_host(&vp->partition->clock) - vp->run_since;
	vp->run_since = 0;
}

/* ---- Creation, reset ------------------------------------------------------------------------- */

void vp_reset(struct vp *vp)
{
	struct partition *p = vp->partition;

	vp->engine->vp_reset(vp->engine_vp, false);
	vp_state(vp)->tsc_offset = (uint64_t)p->clock.tsc_offset;
	vp_changed(vp);
	atomic_store(&vp->events, 0);
	vp->halt_suspend = vp->idle_suspend = false;
	vp->startup_suspend = p->apic && vp->index != 0;
	vp->eoi_pending = false;
	memset(vp->eoi_exits, 0, sizeof(vp->eoi_exits));
	vp->extint_pending = false;
	vp->interruption.AsUINT64 = 0;
	memset(&vp->exception_event, 0, sizeof(vp->exception_event));
	vp->notify.AsUINT64 = 0;
	vp->assist_page = 0;
	lapic_reset(vp, false);
	synic_reset(vp);
	msr_machine_reset(vp);
	vp_rearm(vp);
}

/* INIT: the bootstrap processor starts over, the others wait for SIPI. */
static void take_init(struct vp *vp)
{
	uint64_t tsc_offset = vp_state(vp)->tsc_offset;

	vp->engine->vp_reset(vp->engine_vp, true);
	vp_state(vp)->tsc_offset = tsc_offset;
	vp_changed(vp);
	lapic_reset(vp, true);
	vp->halt_suspend = vp->idle_suspend = false;
	vp->startup_suspend = !(vp->lapic.base & APIC_BASE_BSP);
	vp->extint_pending = false;
	vp->interruption.AsUINT64 = 0;
	vp->exception_event.EventPending = 0;
	vp_rearm(vp);
}

static void take_sipi(struct vp *vp)
{
	struct x86_state *s = vp_state(vp);
	uint8_t vector = atomic_load(&vp->sipi_vector);

	if (!vp->startup_suspend)
		return;
	s->seg[X86_CS].selector = (uint16_t)(vector << 8);
	s->seg[X86_CS].base = (uint64_t)vector << 12;
	s->rip = 0;
	vp_changed(vp);
	vp->startup_suspend = false;
}

void vp_free(struct vp *vp)
{
	if (vp->engine_vp)
		vp->engine->vp_destroy(vp->engine_vp);
	synic_free(vp);
	free(vp);
}

static struct vp *create(struct partition *p, uint32_t index)
{
	struct vp *vp = aligned_alloc(64, (sizeof(*vp) + 63) / 64 * 64);

	if (!vp)
		return NULL;
	memset(vp, 0, sizeof(*vp));
	vp->partition = p;
	vp->index = index;
	vp->engine = p->engine;
	if (synic_init(vp)) {
		free(vp);
		return NULL;
	}
	vp->engine_vp = p->engine->vp_create(p->machine, index, &vp_ops, vp);
	if (!vp->engine_vp) {
		vp_free(vp);
		return NULL;
	}
	return vp;
}

/* A vp that was deleted under this index, or a new one; partition.lock is held. */
static HRESULT add(struct partition *p, uint32_t index)
{
	struct vp *vp = p->deleted[index];

	if (partition_vp(p, index))
		return WHV_E_VP_ALREADY_EXISTS;
	p->deleted[index] = NULL;
	if (!vp)
		vp = create(p, index);
	if (!vp)
		return E_OUTOFMEMORY;
	vp_reset(vp);
	if (p->info.exception_exits && p->prop.exits.ExceptionExit)
		p->engine->vp_intercept_exceptions(vp->engine_vp, p->prop.exception_exits);
	vp_release(vp);
	atomic_store_explicit(&p->vps[index], vp, memory_order_release);
	return S_OK;
}

HRESULT WINAPI WHvCreateVirtualProcessor2(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const WHV_VIRTUAL_PROCESSOR_PROPERTY *Properties, UINT32 PropertyCount)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr;

	if (!p || VpIndex >= p->prop.processor_count || (PropertyCount && !Properties))
		return E_INVALIDARG;
	for (UINT32 i = 0; i < PropertyCount; i++) {
		/* Threads run where the client lets them: the node is noted nowhere. */
		if (Properties[i].PropertyCode != WHvVirtualProcessorPropertyCodeNumaNode ||
			Properties[i].Reserved)
			return E_INVALIDARG;
	}
	pthread_mutex_lock(&p->lock);
	hr = add(p, VpIndex);
	pthread_mutex_unlock(&p->lock);
	return hr;
}

HRESULT WINAPI WHvCreateVirtualProcessor(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, UINT32 Flags)
{
	return Flags ? E_INVALIDARG : WHvCreateVirtualProcessor2(Partition, VpIndex, NULL, 0);
}

HRESULT WINAPI WHvDeleteVirtualProcessor(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex)
{
	struct partition *p = partition_ready(Partition);
	HRESULT hr = S_OK;
	struct vp *vp;

	if (!p)
		return E_INVALIDARG;
	pthread_mutex_lock(&p->lock);
	vp = partition_vp(p, VpIndex);
	if (!vp) {
		hr = WHV_E_VP_DOES_NOT_EXIST;
	} else if (!begin_run(vp)) { /* the claim is kept: nobody runs it again */
		hr = WHV_E_INVALID_VP_STATE;
	} else {
		atomic_store(&p->vps[VpIndex], NULL);
		p->deleted[VpIndex] = vp;
	}
	pthread_mutex_unlock(&p->lock);
	return hr;
}

/* ---- Sleeping -------------------------------------------------------------------------------- */

/* Is there a reason for a waiting processor to execute? */
static bool should_wake(struct vp *vp)
{
	const struct x86_state *s;

	if (vp->startup_suspend)
		return false;
	if (vp->interruption.InterruptionPending || vp->exception_event.EventPending)
		return true;
	if (vp->idle_suspend)
		return lapic_requested(vp) || vp->extint_pending;
	s = vp_state(vp);
	return (s->rflags & X86_FLAG_IF) && (lapic_pending(vp) >= 0 || vp->extint_pending);
}

static bool suspended(const struct vp *vp)
{
	return vp->startup_suspend || vp->halt_suspend || vp->idle_suspend;
}

/* Sleep until an event, an interrupt that wakes, or the next deadline. */
static void sleep_once(struct vp *vp)
{
	const struct clock *c = &vp->partition->clock;
	uint64_t deadline = atomic_load(&vp->deadline);
	uint64_t ns = deadline == CLOCK_NEVER ? UINT64_MAX : clock_ns_until(c, deadline);

	if (!vp->slack_set || !pthread_equal(vp->thread, pthread_self())) {
		prctl(PR_SET_TIMERSLACK, 1ul);
		vp->thread = pthread_self();
		vp->slack_set = true;
	}
	atomic_store(&vp->asleep, 1);
	/* Whoever posts after this store wakes us; what was posted before is seen here. */
	if (ns && !atomic_load(&vp->events) && !should_wake(vp))
		timers_futex_wait(&vp->asleep, 1, ns);
	atomic_store(&vp->asleep, 0);
}

/* Wait for the same. */
static void wait_once(struct vp *vp)
{
	const struct clock *c = &vp->partition->clock;
	bool came;

	spin_begin(&vp->spin);
	do
		came = atomic_load(&vp->events) || should_wake(vp) ||
		       atomic_load(&vp->deadline) <= clock_now(c);
	while (!came && spin_on(&vp->spin));
	if (!came)
		sleep_once(vp);
	spin_end(&vp->spin);
}

/* ---- Running --------------------------------------------------------------------------------- */

/* Take what other threads asked for. True: the client cancelled the run. */
static bool take_events(struct vp *vp)
{
	uint32_t events;

	if (!atomic_load_explicit(&vp->events, memory_order_relaxed))
		return false;
	events = atomic_exchange(&vp->events, 0);
	if (events & VP_EVENT_INIT)
		take_init(vp);
	if (events & VP_EVENT_SIPI)
		take_sipi(vp);
	if (events & VP_EVENT_NMI)
		vp->halt_suspend = vp->idle_suspend = false;
	if (events & VP_EVENT_TIMER)
		vp_expire_timers(vp);
	return events & VP_EVENT_CANCEL;
}

/* Exits that do not come from the engine. */
static bool own_exit(struct vp *vp, WHV_RUN_VP_EXIT_CONTEXT *context)
{
	if (vp->eoi_pending) {
		for (unsigned i = 0; i < 4; i++) {
			if (!vp->eoi_exits[i])
				continue;
			exit_header(vp, context, WHvRunVpExitReasonX64ApicEoi, 0);
			context->ApicEoi.InterruptVector =
				i * 64 + (unsigned)__builtin_ctzll(vp->eoi_exits[i]);
			vp->eoi_exits[i] &= vp->eoi_exits[i] - 1;
			return true;
		}
		vp->eoi_pending = false;
	}
	if (vp->notify.Sint) {
		uint16_t ready = synic_deliverable(vp, vp->notify.Sint);

		if (ready) {
			exit_header(vp, context, WHvRunVpExitReasonSynicSintDeliverable, 0);
			context->SynicSintDeliverable.DeliverableSints = ready;
			vp->notify.Sint &= ~ready;
			return true;
		}
	}
	if (vp->notify.NmiNotification && !vp_state(vp)->nmi_masked) {
		exit_header(vp, context, WHvRunVpExitReasonX64InterruptWindow, 0);
		context->InterruptWindow.DeliverableType = WHvX64PendingNmi;
		vp->notify.NmiNotification = 0;
		return true;
	}
	/* A halted processor with interrupts open has its window open. */
	if (vp->notify.InterruptNotification && vp->halt_suspend &&
		(vp_state(vp)->rflags & X86_FLAG_IF)) {
		exit_header(vp, context, WHvRunVpExitReasonX64InterruptWindow, 0);
		context->InterruptWindow.DeliverableType = WHvX64PendingInterrupt;
		vp->notify.InterruptNotification = 0;
		return true;
	}
	return false;
}

/* Give the engine what the client set in the pending event registers. */
static void inject(struct vp *vp)
{
	WHV_X64_PENDING_INTERRUPTION_REGISTER i = vp->interruption;
	WHV_X64_PENDING_EXCEPTION_EVENT e = vp->exception_event;

	if (i.InterruptionPending) {
		vp->engine->vp_inject(vp->engine_vp, i.InterruptionType,
			(uint8_t)i.InterruptionVector, i.DeliverErrorCode, i.ErrorCode, 0,
			i.InstructionLength);
		vp->interruption.AsUINT64 = 0;
	} else if (e.EventPending) {
		vp->engine->vp_inject(vp->engine_vp, WHvX64PendingException, (uint8_t)e.Vector,
			e.DeliverErrorCode, e.ErrorCode, e.ExceptionParameter, 0);
		memset(&vp->exception_event, 0, sizeof(vp->exception_event));
	}
}

/* Is RIP still at the instruction, so that it can exit again later? */
static bool restartable(const struct x86_exit *exit)
{
	switch (exit->reason) {
	case X86_EXIT_IO:
	case X86_EXIT_MEMORY:
	case X86_EXIT_CPUID:
	case X86_EXIT_RDMSR:
	case X86_EXIT_WRMSR:
	case X86_EXIT_HYPERCALL:
		return true;
	default:
		return false;
	}
}

/* What the engine stopped for. True: the client gets it. */
static bool engine_exit(
	struct vp *vp, const struct x86_exit *exit, WHV_RUN_VP_EXIT_CONTEXT *context)
{
	/* The client hears of an end of interrupt before what the guest did after it. */
	if (vp->eoi_pending && restartable(exit))
		return false;
	switch (exit->reason) {
	case X86_EXIT_STOPPED:
		return false;
	case X86_EXIT_HALT:
		vp->intercepts.HaltInstructions.Count++;
		if (vp->partition->apic) {
			vp->halt_suspend = true;
			return false;
		}
		break;
	case X86_EXIT_INTERRUPT_WINDOW:
		vp->notify.InterruptNotification = 0;
		break;
	default:
		break;
	}
	exit_fill(vp, context, exit);
	return true;
}

static void execute(struct vp *vp, struct x86_exit *exit)
{
	inject(vp);
	if (vp->notify.InterruptNotification)
		vp->engine->vp_request_window(vp->engine_vp);
	/* From here on the timer thread watches the deadline. */
	atomic_store(&vp->in_engine, true);
	timers_arm(vp, atomic_load(&vp->deadline));
	vp->engine->vp_run(vp->engine_vp, exit);
	atomic_store(&vp->in_engine, false);
}

static void run(struct vp *vp, WHV_RUN_VP_EXIT_CONTEXT *context)
{
	struct x86_exit exit;

	for (;;) {
		if (take_events(vp)) {
			exit_header(vp, context, WHvRunVpExitReasonCanceled, 0);
			context->CancelReason.CancelReason = WHvRunVpCancelReasonUser;
			return;
		}
		if (own_exit(vp, context))
			return;
		if (suspended(vp)) {
			if (should_wake(vp)) {
				vp->halt_suspend = vp->idle_suspend = false;
				continue;
			}
			runtime_stop(vp);
			wait_once(vp);
			runtime_start(vp);
			vp_expire_timers(vp);
			continue;
		}
		if (atomic_load(&vp->deadline) <= clock_now(&vp->partition->clock))
			vp_expire_timers(vp);
		execute(vp, &exit);
		if (engine_exit(vp, &exit, context))
			return;
	}
}

HRESULT WINAPI WHvRunVirtualProcessor(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	VOID *ExitContext, UINT32 ExitContextSizeInBytes)
{
	struct partition *p = partition_ready(Partition);
	struct vp *vp = p ? partition_vp(p, VpIndex) : NULL;
	WHV_RUN_VP_EXIT_CONTEXT context;

	if (!p || !ExitContext)
		return E_INVALIDARG;
	if (!vp)
		return WHV_E_VP_DOES_NOT_EXIST;
	if (ExitContextSizeInBytes < sizeof(context.ExitReason))
		return WHV_E_INSUFFICIENT_BUFFER;
	if (p->clock.suspended)
		WHvResumePartitionTime(Partition);
	if (!begin_run(vp))
		return WHV_E_INVALID_VP_STATE;
	memset(&context, 0, sizeof(context));
	runtime_start(vp);
	run(vp, &context);
	runtime_stop(vp);
	vp_release(vp);
	memcpy(ExitContext, &context,
		ExitContextSizeInBytes < sizeof(context) ? ExitContextSizeInBytes
							 : sizeof(context));
	return S_OK;
}

HRESULT WINAPI WHvCancelRunVirtualProcessor(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, UINT32 Flags)
{
	struct partition *p = partition_ready(Partition);
	struct vp *vp = p ? partition_vp(p, VpIndex) : NULL;

	if (!p || Flags)
		return E_INVALIDARG;
	if (!vp)
		return WHV_E_VP_DOES_NOT_EXIST;
	vp_post(vp, VP_EVENT_CANCEL);
	return S_OK;
}
