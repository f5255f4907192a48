/*
 * terminal.c - see terminal.h, and termios(3).
 *
 * The state is global because the terminal is, and because a handler of a fatal signal has nothing
 * else to go by.
 */
#include "base/terminal.h"

#include <signal.h>
#include <stddef.h>
#include <termios.h>
#include <unistd.h>

static struct termios cooked, raw;
static volatile sig_atomic_t taken;

/* Signals that end the process without its agreement. */
static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};

static bool in_foreground(void)
{
	return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

/* Runs with the default action restored: the signal, raised again, ends the process. */
static void give_back(int signal)
{
	terminal_restore();
	raise(signal);
}

bool terminal_raw(bool output)
{
	struct sigaction action = {.sa_handler = give_back, .sa_flags = SA_RESETHAND | SA_NODEFER};
	struct sigaction old;

	if (!isatty(STDIN_FILENO) || !in_foreground() || tcgetattr(STDIN_FILENO, &cooked) < 0)
		return false;
	raw = cooked;
	cfmakeraw(&raw);
	if (!output)
		raw.c_oflag |= OPOST;
	sigemptyset(&action.sa_mask);
	/* Whoever handles such a signal already (a sanitizer, the code cache) keeps it. */
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(fatal[i], &action, NULL);
	taken = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	return true;
}

void terminal_continued(void)
{
	if (!taken || !in_foreground())
		return;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

void terminal_restore(void)
{
	if (!taken)
		return;
	taken = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
}
