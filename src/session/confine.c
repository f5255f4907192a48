/*
 * confine.c - see confine.h; close_range(2). libcrypto probes for system calls that it can do
 * without.
 */
#include "session/confine.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/privilege.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const int allowed[] = {
	/* The two sockets, and waiting for them. */
	SYS_read,
	SYS_write,
	SYS_recvfrom,
	SYS_recvmsg,
	SYS_sendto,
	SYS_sendmsg,
	SYS_shutdown,
	SYS_poll,
	SYS_close,
	/* Memory. */
	SYS_mmap,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_futex,
	/* Time, chance, the end. */
	SYS_clock_gettime,
	SYS_gettimeofday,
	SYS_getrandom,
	SYS_getpid,
	SYS_restart_syscall,
	SYS_rt_sigreturn,
	SYS_exit,
	SYS_exit_group,
};

static void close_others(int keep, int keep_too)
{
	int low = keep < keep_too ? keep : keep_too, high = keep < keep_too ? keep_too : keep;

	if (low > 3)
		close_range(3, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, ~0u, 0);
}

int relay_confine(int keep, int keep_too)
{
	const struct rlimit none = {0, 0};
	int err;

	close_others(keep, keep_too);
	err = privilege_drop();
	if (!err && (prctl(PR_SET_DUMPABLE, 0) || setrlimit(RLIMIT_FSIZE, &none) ||
			    setrlimit(RLIMIT_CORE, &none)))
		err = -errno;
	return err ? err : privilege_filter(allowed, COUNT(allowed), false);
}
