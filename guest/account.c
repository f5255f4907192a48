/*
 * account.c - see account.h; getpwnam(3), setresuid(2), utmpx(5).
 */
#include "account.h"

#include <errno.h>
#include <paths.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <utmp.h>
#include <utmpx.h>

#define PATH_OF_USERS "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
#define PATH_OF_ROOT  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

bool account_find(struct account *a, const char *name)
{
	const struct passwd *p = getpwnam(name);

	if (!p)
		return false;
	*a = (struct account){
		.name = strdup(p->pw_name),
		.home = strdup(p->pw_dir),
		.shell = strdup(p->pw_shell[0] ? p->pw_shell : _PATH_BSHELL),
		.uid = p->pw_uid,
		.gid = p->pw_gid,
	};
	if (a->name && a->home && a->shell)
		return true;
	account_free(a);
	return false;
}

void account_free(struct account *a)
{
	free(a->name);
	free(a->home);
	free(a->shell);
	*a = (struct account){0};
}

int account_become(const struct account *a)
{
	uid_t real, effective, saved;

	if (geteuid() == 0 &&
		(setresgid(a->gid, a->gid, a->gid) || setresuid(a->uid, a->uid, a->uid)))
		return -errno;
	if (getresuid(&real, &effective, &saved) || real != a->uid || effective != a->uid ||
		saved != a->uid)
		return -EPERM;
	/* What was given up must be gone. */
	return a->uid && setuid(0) == 0 ? -EPERM : 0;
}

/* "NAME=value", in place of an earlier one of that name. */
static bool add(char **list, size_t *n, const char *name, const char *value)
{
	char *entry;
	size_t length = strlen(name);

	if (asprintf(&entry, "%s=%s", name, value) < 0)
		return false;
	for (size_t i = 0; i < *n; i++)
		if (strncmp(list[i], entry, length + 1) == 0) {
			list[i] = entry;
			return true;
		}
	list[(*n)++] = entry;
	return true;
}

char **account_environment(const struct account *a, const char *term, char **more)
{
	size_t n = 0, n_more = 0;
	char **list;
	bool ok;

	while (more && more[n_more])
		n_more++;
	list = calloc(n_more + 7, sizeof(*list));
	if (!list)
		return NULL;
	ok = add(list, &n, "HOME", a->home) && add(list, &n, "SHELL", a->shell) &&
	     add(list, &n, "USER", a->name) && add(list, &n, "LOGNAME", a->name) &&
	     add(list, &n, "PATH", a->uid ? PATH_OF_USERS : PATH_OF_ROOT);
	if (ok && term[0])
		ok = add(list, &n, "TERM", term);
	for (size_t i = 0; i < n_more && ok; i++) {
		char *value = strchr(more[i], '=');

		if (!value)
			continue;
		*value = 0;
		ok = add(list, &n, more[i], value + 1);
		*value = '=';
	}
	return ok ? list : NULL;
}

void account_record(const char *name, const char *tty, pid_t pid, bool came)
{
	struct utmpx entry = {.ut_type = came ? USER_PROCESS : DEAD_PROCESS, .ut_pid = pid};
	const char *line = strncmp(tty, "/dev/", 5) == 0 ? tty + 5 : tty;
	size_t length = strlen(line),
	       id = length > sizeof(entry.ut_id) ? sizeof(entry.ut_id) : length;
	struct timeval now;

	gettimeofday(&now, NULL);
	entry.ut_tv.tv_sec = (int32_t)now.tv_sec;
	entry.ut_tv.tv_usec = (int32_t)now.tv_usec;
	strncpy(entry.ut_line, line, sizeof(entry.ut_line) - 1);
	/* The end of the name tells terminals apart. */
	memcpy(entry.ut_id, line + length - id, id);
	if (came) {
		strncpy(entry.ut_user, name, sizeof(entry.ut_user) - 1);
		strcpy(entry.ut_host, "host");
	}
	setutxent();
	pututxline(&entry);
	endutxent();
	updwtmpx(_PATH_WTMP, &entry);
}
