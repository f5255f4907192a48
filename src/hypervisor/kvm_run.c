/*
 * kvm_run.c - KVM_RUN, over and over: what must be done before it, and what it came back for.
 */
#include "hypervisor/kvm.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define HYPERCALL_LENGTH    2u /* of OUT to KVM_HYPERCALL_PORT */
#define KERNEL_SIGSET_BYTES 8u
#define ACCESSES_MAX	    16u /* of one instruction, as KVM splits them */

void kvm_kick(struct kvm_vp *v)
{
	/* The thread stores in_kvm before it looks at what it was kicked for. */
	if (atomic_load(&v->in_kvm))
		pthread_kill(v->thread, KVM_KICK_SIGNAL);
}

/*
 * The kick is blocked in this thread and open inside KVM_RUN: none is lost, none interrupts more.
 */
static int prepare_thread(struct kvm_vp *v)
{
	union {
		struct kvm_signal_mask head;
		uint8_t room[sizeof(struct kvm_signal_mask) + KERNEL_SIGSET_BYTES];
	} open = {.head = {.len = KERNEL_SIGSET_BYTES}};
	sigset_t kick, before;

	if (v->signal_blocked && pthread_equal(v->thread, pthread_self()))
		return 0;
	sigemptyset(&kick);
	sigaddset(&kick, KVM_KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, &before);
	sigdelset(&before, KVM_KICK_SIGNAL);
	memcpy(open.head.sigset, &before, KERNEL_SIGSET_BYTES);
	v->thread = pthread_self();
	v->signal_blocked = true;
	return ioctl(v->fd, KVM_SET_SIGNAL_MASK, &open) < 0 ? -errno : 0;
}

static void swallow_kick(void)
{
	struct timespec none = {0, 0};
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KVM_KICK_SIGNAL);
	while (sigtimedwait(&kick, NULL, &none) > 0)
		;
}

static int enter(struct kvm_vp *v)
{
	int err;

	v->fetched = false;
	v->unfinished = false;
	err = ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	if (v->ops->read_cr8(v->ctx) != v->run->cr8)
		v->ops->write_cr8(v->ctx, v->run->cr8);
	return err;
}

void kvm_complete(struct kvm_vp *v)
{
	v->run->immediate_exit = 1;
	/* An instruction may have several accesses; it is over when the call is interrupted. */
	for (unsigned i = 0; i < ACCESSES_MAX && enter(v) != -EINTR; i++)
		;
	v->run->immediate_exit = 0;
}

/*
 * The client's part of an access is done: hand over, or make KVM forget the instruction. False: the
 * client must see it again, or the next element of a string.
 */
static bool finish_pending(struct kvm_vp *v, struct x86_exit *exit)
{
	bool port = v->pending == KVM_PENDING_IN || v->pending == KVM_PENDING_OUT;
	struct x86_state wanted;

	if (v->pending == KVM_PENDING_NONE)
		return true;
	switch (kvm_access_finish(v)) {
	case KVM_FINISHED:
		if (!port || v->element + 1 >= v->run->io.count)
			return true;
		v->element++;
		kvm_access_show(v, exit);
		return false;
	case KVM_AGAIN:
		v->state.rip = v->real_rip;
		v->state.gpr[X86_RAX] = v->real_rax;
		kvm_access_show(v, exit);
		return false;
	default:
		wanted = v->state;
		kvm_complete(v);
		v->state = wanted;
		kvm_state_forget(v);
		return true;
	}
}

/* Could an interrupt be delivered right now? */
static bool open_for_interrupts(struct kvm_vp *v)
{
	if (v->inject.valid)
		return false;
	if (v->fetched)
		return (v->state.rflags & X86_FLAG_IF) && !v->state.interrupt_shadow &&
		       !v->events.interrupt.injected;
	return v->run->ready_for_interrupt_injection;
}

static int give_interrupt(struct kvm_vp *v)
{
	struct kvm_interrupt irq;
	int vector;

	v->run->request_interrupt_window = 0;
	if (!atomic_load(&v->look) && !v->window)
		return 0;
	if (!open_for_interrupts(v)) {
		v->run->request_interrupt_window = 1;
		return 0;
	}
	atomic_store(&v->look, false);
	vector = v->ops->interrupt(v->ctx);
	if (vector < 0) {
		v->run->request_interrupt_window = v->window;
		return 0;
	}
	/* What is behind it makes itself known when this one ends. */
	irq.irq = (unsigned)vector;
	return ioctl(v->fd, KVM_INTERRUPT, &irq) < 0 ? -errno : 0;
}

/* Bring KVM up to date. */
static int before_run(struct kvm_vp *v)
{
	int err = v->cpuid_set ? 0 : kvm_state_set_cpuid(v);

	if (!err)
		err = kvm_state_store(v);
	if (!err && atomic_exchange(&v->nmi, false) && ioctl(v->fd, KVM_NMI) < 0)
		err = -errno;
	if (!err)
		err = give_interrupt(v);
	v->run->cr8 = v->ops->read_cr8(v->ctx);
	return err;
}

/* ---- What KVM came back for. False: the caller of the engine gets it
 * ----------------------------- */

static bool hypercall(struct kvm_vp *v, struct x86_exit *exit)
{
	enum x86_answer answer;

	kvm_complete(v);
	kvm_state_fetch(v);
	v->state.rip -= HYPERCALL_LENGTH;
	v->changed = true;
	answer = v->ops->hypercall(v->ctx);
	if (answer == X86_DONE) {
		v->state.rip += HYPERCALL_LENGTH;
		return true;
	}
	if (answer == X86_FAULT) {
		v->inject.valid = true;
		v->inject.type = 3;
		v->inject.vector = X86_VEC_UD;
		v->inject.has_error = false;
		return true;
	}
	exit->reason = X86_EXIT_HYPERCALL;
	exit->next = HYPERCALL_LENGTH;
	return false;
}

static bool port(struct kvm_vp *v, struct x86_exit *exit)
{
	const struct kvm_run *run = v->run;

	if (run->io.port == KVM_HYPERCALL_PORT && run->io.direction == KVM_EXIT_IO_OUT &&
		run->io.size == 4 && run->io.count == 1)
		return hypercall(v, exit);
	v->element = 0;
	kvm_state_fetch(v);
	kvm_access_show(v, exit);
	return false;
}

static bool memory(struct kvm_vp *v, struct x86_exit *exit)
{
	struct kvm_run *run = v->run;
	uint64_t value = 0;
	enum x86_answer answer;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, run->mmio.len);
		answer = v->ops->mmio_write(v->ctx, run->mmio.phys_addr, run->mmio.len, value);
	} else {
		answer = v->ops->mmio_read(v->ctx, run->mmio.phys_addr, run->mmio.len, &value);
		memcpy(run->mmio.data, &value, run->mmio.len);
	}
	if (answer == X86_DONE) {
		v->unfinished = true;
		return true;
	}
	kvm_state_fetch(v);
	kvm_access_show(v, exit);
	return false;
}

static bool msr(struct kvm_vp *v, struct x86_exit *exit)
{
	struct kvm_run *run = v->run;
	uint64_t value = run->msr.data;
	enum x86_answer answer;

	if (run->exit_reason == KVM_EXIT_X86_WRMSR)
		answer = v->ops->wrmsr(v->ctx, run->msr.index, value);
	else
		answer = v->ops->rdmsr(v->ctx, run->msr.index, &value);
	if (answer == X86_EXIT) {
		kvm_state_fetch(v);
		kvm_access_show(v, exit);
		return false;
	}
	run->msr.data = value;
	run->msr.error = answer == X86_FAULT;
	v->unfinished = true;
	return true;
}

static bool failed(struct kvm_vp *v, struct x86_exit *exit, int err)
{
	if (err)
		log_error("kvm: processor %u cannot run: %s", v->index, strerror(-err));
	else
		log_error("kvm: processor %u stopped for reason %u, detail %u; --engine software "
			  "may do better",
			v->index, v->run->exit_reason, v->run->internal.suberror);
	kvm_state_fetch(v);
	exit->reason = X86_EXIT_SHUTDOWN;
	return false;
}

static bool handle(struct kvm_vp *v, struct x86_exit *exit)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		return port(v, exit);
	case KVM_EXIT_MMIO:
		return memory(v, exit);
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		return msr(v, exit);
	case KVM_EXIT_HLT:
		kvm_state_fetch(v);
		exit->reason = X86_EXIT_HALT;
		return false;
	case KVM_EXIT_SHUTDOWN:
		kvm_state_fetch(v);
		exit->reason = X86_EXIT_SHUTDOWN;
		return false;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		if (v->window && !atomic_load(&v->look)) {
			v->window = false;
			kvm_state_fetch(v);
			exit->reason = X86_EXIT_INTERRUPT_WINDOW;
			return false;
		}
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_SET_TPR:
		return true;
	default:
		return failed(v, exit, 0);
	}
}

void kvm_run_vp(struct kvm_vp *v, struct x86_exit *exit)
{
	int err = prepare_thread(v);

	memset(exit, 0, sizeof(*exit));
	if (err) {
		failed(v, exit, err);
		return;
	}
	for (;;) {
		atomic_store(&v->in_kvm, true);
		if (atomic_exchange(&v->stop, false)) {
			if (v->unfinished)
				kvm_complete(v);
			atomic_store(&v->in_kvm, false);
			swallow_kick();
			kvm_state_fetch(v);
			exit->reason = X86_EXIT_STOPPED;
			return;
		}
		if (!finish_pending(v, exit)) {
			atomic_store(&v->in_kvm, false);
			return;
		}
		err = before_run(v);
		if (!err)
			err = enter(v);
		atomic_store(&v->in_kvm, false);
		if (err == -EINTR || err == -EAGAIN) {
			swallow_kick();
			continue;
		}
		if (err) {
			failed(v, exit, err);
			return;
		}
		if (!handle(v, exit))
			return;
	}
}
