/*
 * timer.c - contract in consentd/timer.h. The wheel is pure; the glue to the loop is at the end.
 */
#include "consentd/timer.h"

#include "consentd/mem.h"
#include "loop_priv.h"

/* The first tick at which when_ms has passed. */
static uint64_t tick_of(uint64_t when_ms)
{
    return (when_ms + TIMER_TICK_MS - 1) / TIMER_TICK_MS;
}

static void list_push(struct timer **head, struct timer *t)
{
    t->next = *head;
    t->link = head;
    if (*head != NULL)
        (*head)->link = &t->next;
    *head = t;
}

static void list_take(struct timer *t)
{
    ASSERT(t->link != NULL); /* only what is in a list is taken */
    *t->link = t->next;
    if (t->next != NULL)
        t->next->link = t->link;
    t->next = NULL;
    t->link = NULL;
}

void timer_wheel_put(struct timer_wheel *wheel, struct timer *t)
{
    uint64_t tick = tick_of(t->when_ms);
    uint64_t soonest = wheel->turned_ms / TIMER_TICK_MS + 1;

    list_push(&wheel->slots[(tick > soonest ? tick : soonest) % TIMER_SLOTS], t);
    wheel->cnt++;
}

void timer_wheel_take(struct timer_wheel *wheel, struct timer *t)
{
    list_take(t);
    t->when_ms = 0;
    wheel->cnt--;
}

/* Moves what is due from one slot to a list of its own, which callbacks may still change. */
static void slot_collect(struct timer **slot, uint64_t now_ms, struct timer **due)
{
    struct timer *t = *slot;

    while (t != NULL) {
        struct timer *next = t->next;

        if (t->when_ms <= now_ms) {
            list_take(t);
            list_push(due, t);
        }
        t = next;
    }
}

void timer_wheel_turn(struct timer_wheel *wheel, uint64_t now_ms)
{
    uint64_t from = wheel->turned_ms / TIMER_TICK_MS + 1;
    uint64_t to = now_ms / TIMER_TICK_MS;
    struct timer *due = NULL;

    if (to < from)
        return;
    if (to - from >= TIMER_SLOTS)
        from = to - TIMER_SLOTS + 1; /* a long sleep: every slot once is enough */
    for (uint64_t tick = from; tick <= to; tick++)
        slot_collect(&wheel->slots[tick % TIMER_SLOTS], now_ms, &due);
    wheel->turned_ms = now_ms;
    while (due != NULL) {
        struct timer *t = due;

        timer_wheel_take(wheel, t);
        t->fn(t->arg);
    }
}

void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *arg), void *arg)
{
    *t = (struct timer){.loop = loop, .fn = fn, .arg = arg};
}

void timer_set(struct timer *t, uint64_t ms)
{
    struct timer_wheel *wheel = loop_wheel(t->loop);
    uint64_t now_ms = loop_now_ms(t->loop);

    timer_clear(t);
    if (wheel->cnt == 0)
        wheel->turned_ms = now_ms; /* it stood still */
    t->when_ms = now_ms + ms;
    timer_wheel_put(wheel, t);
    loop_wheel_wake(t->loop);
}

void timer_clear(struct timer *t)
{
    if (t->when_ms != 0)
        timer_wheel_take(loop_wheel(t->loop), t);
}

bool timer_is_set(const struct timer *t)
{
    return t->when_ms != 0;
}
