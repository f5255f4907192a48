/*
 * interruptions.h - for tests of what signals interrupt: between interruptions_begin() and _end()
 * the calling thread takes a signal every few dozen microseconds, whose handler does nothing. There
 * are enough for one to come in the midst of every system call of a loop that goes on while
 * interruptions_go_on().
 */
#ifndef PARTITA_TESTS_INTERRUPTIONS_H
#define PARTITA_TESTS_INTERRUPTIONS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#define INTERRUPTIONS	 3000
#define INTERRUPTIONS_NS 40000

static volatile sig_atomic_t interruptions;

static void interrupted(int signal)
{
	interruptions++;
}

static inline timer_t interruptions_begin(void)
{
	const struct sigaction action = {.sa_handler = interrupted};
	const struct itimerspec often = {
		{.tv_nsec = INTERRUPTIONS_NS}, {.tv_nsec = INTERRUPTIONS_NS}};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
	timer_t timer;

	interruptions = 0;
	sigaction(SIGALRM, &action, NULL);
	event._sigev_un._tid = gettid();
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
	return timer;
}

static inline bool interruptions_go_on(void)
{
	return interruptions < INTERRUPTIONS;
}

static inline void interruptions_end(timer_t timer)
{
	timer_delete(timer);
	signal(SIGALRM, SIG_DFL);
}

#endif
