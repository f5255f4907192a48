/*
 * confine.c - see confine.h; seccomp(2).
 *
 * What stays allowed and why is at each line of the list. A call that is not in it fails with
 * EPERM, which a library that merely probes survives.
 */
#include "worker/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/privilege.h"

/* Sanitizers need system calls of their own, also when the process ends. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

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

/*
 * The program: architecture, then clone's flags (threads only), then the list. clone3 hides its
 * flags in memory, where a filter cannot look, so it answers ENOSYS and glibc uses clone.
 */
static int filter_system_calls(void)
{
	struct sock_filter code[2 * COUNT(allowed) + 16];
	unsigned short n = 0;
	struct sock_fprog program = {.filter = code};

#define EMIT(...)     (code[n++] = (struct sock_filter)__VA_ARGS__)
#define LOAD(field)   EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field)))
#define RETURN(value) EMIT(BPF_STMT(BPF_RET | BPF_K, value))
	LOAD(arch);
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	RETURN(SECCOMP_RET_KILL_PROCESS);
	LOAD(nr);
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1));
	RETURN(SECCOMP_RET_ERRNO | ENOSYS);
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4));
	LOAD(args[0]);
	EMIT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1));
	RETURN(SECCOMP_RET_ALLOW);
	RETURN(SECCOMP_RET_ERRNO | EPERM);
	for (size_t i = 0; i < COUNT(allowed); i++) {
		EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1));
		RETURN(SECCOMP_RET_ALLOW);
	}
	RETURN(SECCOMP_RET_ERRNO | EPERM);
#undef EMIT
#undef LOAD
#undef RETURN
	program.len = n;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program)
		       ? -errno
		       : 0;
}

int confine(void)
{
	int err = privilege_drop();

	return err || SANITIZED ? err : filter_system_calls();
}
