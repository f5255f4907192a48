/*
 * privilege.c - see privilege.h.
 */
#include "base/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534
#define CALLS  256u /* more than a filter of ours lists */

/* Sanitizers need system calls of their own, also when the process ends. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int leave_root(void)
{
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return -errno;
	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL && errno != EPERM)
		return -errno;
	if (setresuid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL && errno != EPERM)
		return -errno;
	return 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

int privilege_drop(void)
{
	int err = geteuid() == 0 ? leave_root() : 0;

	if (!err)
		err = drop_capabilities();
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = -errno;
	return err;
}

/*
 * The program: architecture, then clone's flags (threads only), then the list. clone3 hides its
 * flags in memory, where a filter cannot look, so it answers ENOSYS and glibc uses clone.
 */
int privilege_filter(const int *calls, unsigned count, bool threads)
{
	struct sock_filter code[2 * CALLS + 16];
	unsigned short n = 0;
	struct sock_fprog program = {.filter = code};

	if (count > CALLS)
		return -E2BIG;
	if (SANITIZED)
		return 0;
#define EMIT(...)     (code[n++] = (struct sock_filter)__VA_ARGS__)
#define LOAD(field)   EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field)))
#define RETURN(value) EMIT(BPF_STMT(BPF_RET | BPF_K, value))
	LOAD(arch);
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	RETURN(SECCOMP_RET_KILL_PROCESS);
	LOAD(nr);
	if (threads) {
		EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1));
		RETURN(SECCOMP_RET_ERRNO | ENOSYS);
		EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4));
		LOAD(args[0]);
		EMIT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1));
		RETURN(SECCOMP_RET_ALLOW);
		RETURN(SECCOMP_RET_ERRNO | EPERM);
	}
	for (unsigned i = 0; i < count; i++) {
		EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1));
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
