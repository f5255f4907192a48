/*
 * timesync.c - see timesync.h.
 *
 * From version 4.0 on a message holds the host's time and the reference time of the same moment, so
 * that its way to the guest does not count. Older ones hold the host's time when they are sent.
 */
#include "vsp/timesync.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define UNIX_EPOCH 116444736000000000ull /* in units of 100 ns since 1601 */
#define READINGS   4u

static const struct ic_version versions[] = {{1, 0}, {3, 0}, {4, 0}};

struct timesync {
	struct ic *ic;
	struct timesync_config config;
	/* The serving thread's. */
	struct loop_timer *timer;
	uint64_t looked;	  /* when its period last passed, by the loop's clock */
	int clock;		  /* a descriptor that can be read when the host's clock was set */
	struct loop_watch *watch; /* of it */
	struct timesync_request request; /* the periodic ones */
	bool under_way;
	int64_t synced; /* host's time minus reference time when the guest last set its clock */
};

struct moment {
	uint64_t host, reference; /* 100 ns; the host's since 1970 */
};

static uint64_t host_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 10000000u + (uint64_t)t.tv_nsec / 100;
}

/* Both clocks at one moment: the closest of a few readings, in case we are interrupted in one. */
static struct moment now(const struct timesync *t)
{
	struct moment best = {0};
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < READINGS; i++) {
		uint64_t before = t->config.reference_time(t->config.ctx);
		uint64_t host = host_time();
		uint64_t after = t->config.reference_time(t->config.ctx);

		if (after - before < least) {
			least = after - before;
			best = (struct moment){host, before + least / 2};
		}
	}
	return best;
}

static int64_t apart(struct moment m)
{
	return (int64_t)(m.host - m.reference);
}

/* The time is taken when the message leaves. */
static void prepare(struct ic_request *ic)
{
	struct timesync_request *r = (struct timesync_request *)ic;
	struct moment m = now(r->timesync);
	uint8_t flags = r->sync ? IC_TIME_SYNC : IC_TIME_SAMPLE;

	if (r->sync)
		r->timesync->synced = apart(m);
	if (ic_at_least(r->timesync->ic, 4, 0)) {
		r->message.reference =
			(struct ic_timesync_reference){.parent_time = UNIX_EPOCH + m.host,
				.reference = m.reference,
				.flags = flags};
		ic->size = sizeof(r->message.reference);
	} else {
		r->message.plain =
			(struct ic_timesync){.parent_time = UNIX_EPOCH + m.host, .flags = flags};
		ic->size = sizeof(r->message.plain);
	}
}

int timesync_submit(struct timesync *t, struct timesync_request *r, bool sync)
{
	r->ic.message = &r->message;
	r->ic.size = 0; /* prepare() knows */
	r->ic.prepare = prepare;
	r->timesync = t;
	r->sync = sync;
	return ic_submit(t->ic, &r->ic);
}

static int answered(struct ic_request *r)
{
	struct timesync *t = ((struct timesync_request *)r)->timesync;

	t->under_way = false;
	return 0;
}

static void send(struct timesync *t, bool sync)
{
	t->request.ic = (struct ic_request){.done = answered};
	t->under_way = timesync_submit(t, &t->request, sync) == 0;
}

static bool drifted(const struct timesync *t)
{
	return llabs(apart(now(t)) - t->synced) > TIMESYNC_DRIFT_NS / 100;
}

static void on_period(void *ctx)
{
	struct timesync *t = ctx;
	uint64_t since = loop_now() - t->looked;

	t->looked += since;
	if (!t->under_way)
		send(t, since > TIMESYNC_PERIOD_NS + TIMESYNC_STOPPED_NS || drifted(t));
}

/* Also when the host has slept: its clock is set then. */
static void on_clock_set(void *ctx, uint32_t events)
{
	struct timesync *t = ctx;
	uint64_t expired;

	if (read(t->clock, &expired, sizeof(expired)) < 0 && errno == ECANCELED && !t->under_way &&
		drifted(t))
		send(t, true);
}

/* Without it everything is noticed when the period has passed. */
static void watch_clock(struct timesync *t)
{
	const struct itimerspec never = {.it_value.tv_sec = INT32_MAX};

	t->clock = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->clock >= 0 && !timerfd_settime(t->clock, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
				     &never, NULL))
		t->watch = loop_watch_create(ic_loop(t->ic), t->clock, EPOLLIN, on_clock_set, t);
}

static void ready(void *ctx)
{
	struct timesync *t = ctx;

	t->under_way = false;
	send(t, true);
	t->looked = loop_now();
	t->timer = loop_timer_create(ic_loop(t->ic), on_period, t);
	if (t->timer)
		loop_timer_arm(t->timer, t->looked + TIMESYNC_PERIOD_NS, TIMESYNC_PERIOD_NS);
	watch_clock(t);
}

static void gone(void *ctx)
{
	struct timesync *t = ctx;

	loop_timer_destroy(t->timer);
	loop_watch_destroy(t->watch);
	if (t->clock >= 0)
		close(t->clock);
	t->timer = NULL;
	t->watch = NULL;
}

int timesync_create(
	struct vmbus *bus, const struct timesync_config *config, struct timesync **timesync)
{
	struct timesync *t = calloc(1, sizeof(*t));
	struct ic_config ic = {.name = "timesync",
		.interface = IC_TIMESYNC_INTERFACE,
		.instance = IC_TIMESYNC_INSTANCE,
		.type = IC_TIMESYNC,
		.versions = versions,
		.n_versions = sizeof(versions) / sizeof(versions[0]),
		.ready = ready,
		.gone = gone,
		.ctx = t};
	int err;

	if (!t)
		return -ENOMEM;
	t->config = *config;
	err = ic_create(bus, &ic, &t->ic);
	if (err)
		timesync_destroy(t);
	else
		*timesync = t;
	return err;
}

void timesync_destroy(struct timesync *t)
{
	if (!t)
		return;
	ic_destroy(t->ic);
	free(t);
}

struct ic *timesync_ic(struct timesync *t)
{
	return t->ic;
}
