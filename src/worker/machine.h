/*
 * machine.h - the parts of one machine and how they hold together; private to this room.
 *
 * The main thread builds the machine, runs the loop (console, chipset timers, signals) and takes
 * the machine down; each virtual processor has a thread (vp.c). Whoever finds that the machine must
 * end says so with machine_stop(); the first to say so decides how it ends.
 */
#ifndef PARTITA_WORKER_MACHINE_H
#define PARTITA_WORKER_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <WinHvEmulation.h>
#include <WinHvPlatform.h>

#include "base/loop.h"
#include "boot/boot.h"
#include "chipset/chipset.h"
#include "vmbus/vmbus.h"
#include "worker/console.h"
#include "worker/ram.h"
#include "worker/worker.h"

enum machine_end {
	MACHINE_RUNNING,
	MACHINE_POWERED_OFF,
	MACHINE_RESET,
	MACHINE_CRASHED, /* what happened was said already */
	MACHINE_QUIT,	 /* by the user, or by the signal in machine.signal */
};

/* What a guest can say about its crash, by MSR. */
#define MACHINE_CRASH_PARAMETERS 5

struct vp {
	struct machine *machine;
	uint32_t index;
	WHV_EMULATOR_HANDLE emulator;
	pthread_t thread;
	uint64_t exits; /* of this vp; its thread's until joined */
};

struct machine {
	const struct worker_config *config;
	WHV_PARTITION_HANDLE partition;
	struct ram ram;
	struct loop *loop;
	struct console *console;
	struct chipset *chipset; /* replaced at a restart, while no vp runs */
	struct vmbus *vmbus;
	struct jobs *jobs;
	struct disks *disks;
	struct services *services;
	struct control *control;
	struct machine_sockets *sockets;
	struct loop_watch *signals;
	int signal_fd;
	_Atomic enum machine_end end;
	int signal;		    /* MACHINE_QUIT: the signal to die of, or 0 */
	atomic_bool pic_output;	    /* the chipset's ExtINT line */
	pthread_mutex_t crash_lock; /* guards crash */
	unsigned long long crash[MACHINE_CRASH_PARAMETERS];
	unsigned running; /* vps whose thread was started */
	struct vp vps[WORKER_MAX_PROCESSORS];
};

/*
 * machine_stop - end the machine; only the first call counts. Any thread; the caller may hold a
 * device's lock.
 */
void machine_stop(struct machine *m, enum machine_end end);

/* board.c: connects the chipset to the partition, the loop and the console. */
extern const struct chipset_ops board_ops;
/* console_ops of the machine: ctx is the machine. */
extern const struct console_ops board_console_ops;

/* vp.c: create a vp of the partition, and with it what completes its accesses; free the latter. */
HRESULT vp_create(struct machine *m, uint32_t index);
void vp_destroy(struct machine *m, uint32_t index);
/* vp.c: start a thread for every vp; wait until all have ended. Returns 0 or a negative errno. */
int vp_start_all(struct machine *m);
void vp_join_all(struct machine *m);

/*
 * jobs.c: what is answered later (jobs.h). jobs_create() returns 0 or a negative errno; when jobs
 * are destroyed, nobody works on one any more.
 */
int jobs_create(struct machine *m);
void jobs_destroy(struct machine *m);

/*
 * disks.c: offer the guest its controllers and disks, on the VMBus; take them away and close the
 * disks, also those that were never offered. disks_create() returns 0 or a negative errno.
 */
int disks_create(struct machine *m);
void disks_destroy(struct machine *m);

/*
 * services.c: offer the guest the integration services; take them away. services_create() returns 0
 * or a negative errno, and has said what was wrong.
 */
int services_create(struct machine *m);
void services_destroy(struct machine *m);

/* registers.c: put the first vp at the kernel's entry. Returns what setting registers returned. */
HRESULT registers_enter(WHV_PARTITION_HANDLE partition, const struct boot_state *state);
/* registers.c: say in one line that a vp cannot go on, with its registers and the bytes at RIP. */
void registers_report(
	WHV_PARTITION_HANDLE partition, const char *machine, uint32_t vp, const char *what);

/* hypercall.c: complete a hypercall that the hypervisor left to us. */
HRESULT hypercall_complete(struct machine *m, uint32_t vp, const WHV_VP_EXIT_CONTEXT *context,
	const WHV_HYPERCALL_CONTEXT *call);

/* msr.c: complete an MSR access that the hypervisor left to us. */
HRESULT msr_access(struct machine *m, uint32_t vp, const WHV_VP_EXIT_CONTEXT *context,
	const WHV_X64_MSR_ACCESS_CONTEXT *access);

#endif
