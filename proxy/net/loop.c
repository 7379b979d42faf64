/*
 * loop.c - contract in consentd/loop.h.
 *
 * libevent runs one turn at a time (EVLOOP_ONCE), so that the end of a turn is ours: what was
 * deferred runs there, closed connections are freed there, and the clock is read anew for
 * the next one.
 */
#include "consentd/loop.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>

#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/mem.h"
#include "consentd/names.h"
#include "consentd/residue.h"
#include "loop_priv.h"

struct signal_watch {
    struct event *event; /* owned */
    void (*fn)(void *arg);
    void *arg;
    struct signal_watch *next;
};

struct loop {
    struct event *tidy;       /* owned; set while memory is to be cleared */
    struct event_base *base;  /* owned */
    struct names *names;      /* owned; NULL until somebody asks */
    struct event *tick;       /* owned; turns the wheel while timers are set */
    uint64_t *now_ms;         /* owned; 0: not read in this turn */
    uint8_t *scratch;         /* owned */
    struct deferred *running; /* borrowed list: what is left of the one that runs now */
    struct deferred *first;   /* borrowed list: for the next time */
    struct deferred **last;   /* where the next one goes */
    struct signal_watch *signals;
    struct timer_wheel wheel;
    struct buf spares[LOOP_SPARES]; /* owned */
    unsigned spare_cnt;
    bool ticking, stop;
    bool tidy_set, tidy_due;
};

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;

    (void)fd;
    (void)what;
    timer_wheel_turn(&loop->wheel, loop_now_ms(loop));
    if (loop->wheel.cnt == 0) {
        event_del(loop->tick);
        loop->ticking = false;
    }
}

/* --- what turns leave in memory (residue.h) --------------------------------------------------- */

static void on_tidy(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;

    (void)fd;
    (void)what;
    loop->tidy_set = false;
    loop->tidy_due = true;
}

/* At the end of a turn, on the stack where all of them begin. The turn of that alone is no work. */
static void tidy(struct loop *loop)
{
    const struct timeval later = {.tv_sec = LOOP_TIDY_S};

    if (loop->tidy_due) {
        loop->tidy_due = false;
        for (unsigned i = 0; i < loop->spare_cnt; i++)
            buf_wipe(&loop->spares[i]);
        crypto_wipe(loop->scratch, LOOP_SCRATCH_LEN);
        residue_spares();
        residue_stack();
    } else if (!loop->tidy_set) {
        loop->tidy_set = event_add(loop->tidy, &later) == 0;
    }
}

struct loop *loop_new(void)
{
    struct loop *loop = mem_new(struct loop);

    signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of the write, not our end */
    loop->base = event_base_new();
    ASSERT(loop->base != NULL);
    loop->tick = event_new(loop->base, -1, EV_PERSIST, on_tick, loop);
    ASSERT(loop->tick != NULL);
    loop->tidy = evtimer_new(loop->base, on_tidy, loop);
    ASSERT(loop->tidy != NULL);
    loop->now_ms = mem_new(uint64_t);
    loop->scratch = mem_alloc(LOOP_SCRATCH_LEN);
    loop->last = &loop->first;
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    while (loop->signals != NULL) {
        struct signal_watch *watch = loop->signals;

        loop->signals = watch->next;
        event_free(watch->event);
        free(watch);
    }
    names_free(loop->names);
    while (loop->spare_cnt > 0)
        buf_free(&loop->spares[--loop->spare_cnt]);
    event_free(loop->tick);
    event_free(loop->tidy);
    event_base_free(loop->base);
    free(loop->now_ms);
    free(loop->scratch);
    free(loop);
}

/* Runs what was queued up to now; what these queue is for the next time. */
static void run_deferred(struct loop *loop)
{
    loop->running = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    while (loop->running != NULL) {
        struct deferred *d = loop->running;

        loop->running = d->next;
        d->queued = false;
        d->fn(d->arg);
    }
}

static int turn(struct loop *loop, int flags)
{
    int rc;

    run_deferred(loop);
    if (loop->first != NULL)
        flags |= EVLOOP_NONBLOCK;
    *loop->now_ms = 0;
    rc = event_base_loop(loop->base, EVLOOP_ONCE | flags);
    run_deferred(loop);
    tidy(loop);
    return rc == 1 && loop->first != NULL ? 0 : rc;
}

int loop_run(struct loop *loop)
{
    int rc = 0;

    loop->stop = false;
    while (!loop->stop && rc == 0)
        rc = turn(loop, 0);
    return rc < 0 ? -1 : 0;
}

void loop_poll(struct loop *loop)
{
    turn(loop, EVLOOP_NONBLOCK);
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    if (*loop->now_ms == 0)
        *loop->now_ms = clock_mono_ms();
    return *loop->now_ms;
}

void loop_defer(struct loop *loop, struct deferred *d)
{
    if (d->queued)
        return;
    d->queued = true;
    d->next = NULL;
    *loop->last = d;
    loop->last = &d->next;
}

void loop_undefer(struct loop *loop, struct deferred *d)
{
    struct deferred **link = &loop->running;

    if (!d->queued)
        return;
    d->queued = false;
    while (*link != NULL && *link != d)
        link = &(*link)->next;
    if (*link == NULL) {
        link = &loop->first;
        while (*link != NULL && *link != d)
            link = &(*link)->next;
    }
    ASSERT(*link == d);
    *link = d->next;
    if (loop->last == &d->next)
        loop->last = link;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct signal_watch *watch = arg;

    (void)fd;
    (void)what;
    watch->fn(watch->arg);
}

bool loop_on_signal(struct loop *loop, int signo, void (*fn)(void *arg), void *arg)
{
    struct signal_watch *watch = mem_new(struct signal_watch);

    watch->fn = fn;
    watch->arg = arg;
    watch->event = evsignal_new(loop->base, signo, on_signal, watch);
    if (watch->event == NULL || event_add(watch->event, NULL) != 0) {
        if (watch->event != NULL)
            event_free(watch->event);
        free(watch);
        return false;
    }
    watch->next = loop->signals;
    loop->signals = watch;
    return true;
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

struct names *loop_names(struct loop *loop)
{
    if (loop->names == NULL)
        loop->names = names_new(loop);
    return loop->names;
}

uint8_t *loop_scratch(struct loop *loop)
{
    return loop->scratch;
}

struct timer_wheel *loop_wheel(struct loop *loop)
{
    return &loop->wheel;
}

void loop_wheel_wake(struct loop *loop)
{
    const struct timeval every = {.tv_usec = TIMER_TICK_MS * 1000};

    if (loop->ticking)
        return;
    ASSERT(event_add(loop->tick, &every) == 0);
    loop->ticking = true;
}

void loop_buf_take(struct loop *loop, struct buf *b)
{
    size_t max = b->max;

    if (loop->spare_cnt == 0 || b->cap > 0)
        return;
    *b = loop->spares[--loop->spare_cnt];
    b->max = max;
}

void loop_buf_give(struct loop *loop, struct buf *b)
{
    size_t max = b->max;

    if (b->cap == 0)
        return;
    buf_clear(b);
    if (loop->spare_cnt < LOOP_SPARES && b->cap <= LOOP_SPARE_MAX)
        loop->spares[loop->spare_cnt++] = *b;
    else
        buf_free(b);
    buf_init(b, max);
}
