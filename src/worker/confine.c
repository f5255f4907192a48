/*
 * confine.c - see confine.h. What stays allowed and why is at each line of the list.
 */
#include "worker/confine.h"

#include <sys/syscall.h>

#include "base/privilege.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const int allowed[] = {
	/* Console, event descriptors, timers, the kernel's file (again, after a reset). */
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_lseek,
	SYS_close,
	SYS_fstat,
	SYS_newfstatat,
	SYS_sendto,
	SYS_recvfrom,
	SYS_recvmsg,
	SYS_accept4,
	SYS_shutdown,
	SYS_getsockopt,
	SYS_fcntl,
	SYS_poll,
	SYS_ppoll,
	SYS_epoll_wait,
	SYS_epoll_pwait,
	SYS_epoll_ctl,
	SYS_epoll_create1,
	SYS_eventfd2,
	SYS_timerfd_create,
	SYS_timerfd_settime,
	SYS_timerfd_gettime,
	/* Disks: files that are open already. */
	SYS_pwrite64,
	SYS_preadv,
	SYS_pwritev,
	SYS_preadv2,
	SYS_pwritev2,
	SYS_fsync,
	SYS_fdatasync,
	SYS_fallocate,
	SYS_ftruncate,
	SYS_flock,
	/* The terminal's modes, and KVM. */
	SYS_ioctl,
	/* Memory: the heap, guest memory, the code the software processor makes. */
	SYS_mmap,
	SYS_munmap,
	SYS_mprotect,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_membarrier,
	/* Threads of this process: the processors, started anew after a reset. */
	SYS_clone3,
	SYS_clone,
	SYS_set_robust_list,
	SYS_rseq,
	SYS_futex,
	SYS_exit,
	SYS_exit_group,
	SYS_gettid,
	SYS_getpid,
	SYS_tgkill,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_prctl,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_rt_sigtimedwait,
	SYS_sigaltstack,
	SYS_restart_syscall,
	SYS_getpgrp,
	/* Time and chance. */
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_getrandom,
};

int confine(void)
{
	int err = privilege_drop();

	return err ? err : privilege_filter(allowed, COUNT(allowed), true);
}
