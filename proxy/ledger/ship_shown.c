/*
 * ship_shown.c - keeps in Redis how often the question was shown: T:st, names "imp…" (shown.h).
 *
 *   report ─▶ day (new: what Redis has of it is asked for, once) ─▶ sums ─▶ HSET of what changed
 *
 * The sums are ours: Redis is told the new value, never an addition, so that a call whose answer
 * was lost is sent again and nothing counts twice, and a Redis that lost its newest writes gets
 * them back. One command is in flight. While Redis is away the days wait here, DAYS_MAX of them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/shown.h"
#include "ship_priv.h"

#define DAY_MS   UINT64_C(86400000)
#define DAYS_MAX 8
#define AT_ONCE  100 /* counters of one call */

/* KEYS own st; ARGV own {name value}… A log that another process writes is left alone. */
static const char set_script[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
                                 "redis.call('HSET', KEYS[2], unpack(ARGV, 2))\n"
                                 "return 1\n";

struct sum {
    char name[SHOWN_NAME_MAX];
    uint64_t value, sent; /* sent: the value on its way, 0: none */
    bool changed;
};

struct shown_day {
    uint64_t day; /* since 1970 */
    bool whole;   /* what Redis had is in it */
    unsigned cnt;
    struct sum *sums; /* owned; SHOWN_NAMES_MAX */
};

struct shower {
    struct rlink *link;
    const struct apply_log *log;
    bool up, busy;
    uint64_t asked;                  /* the day in flight */
    struct shown_day days[DAYS_MAX]; /* oldest first */
    unsigned day_cnt;
};

struct shower *shower_new(struct rlink *link, const struct apply_log *log)
{
    struct shower *w = mem_new(struct shower);

    w->link = link;
    w->log = log;
    return w;
}

void shower_free(struct shower *w)
{
    if (w == NULL)
        return;
    for (unsigned i = 0; i < w->day_cnt; i++)
        free(w->days[i].sums);
    free(w);
}

/* --- adding up --------------------------------------------------------------------- */

/* The day, made when there is none; NULL: it was let go, or is about to be. */
static struct shown_day *day_of(struct shower *w, uint64_t day)
{
    for (unsigned i = 0; i < w->day_cnt; i++)
        if (w->days[i].day == day)
            return &w->days[i];
    if (w->day_cnt > 0 && w->days[w->day_cnt - 1].day > day)
        return NULL; /* the clock went back: an old day would be begun anew */
    if (w->day_cnt == DAYS_MAX) {
        free(w->days[0].sums);
        memmove(&w->days[0], &w->days[1], (DAYS_MAX - 1) * sizeof(w->days[0]));
        w->day_cnt--;
    }
    w->days[w->day_cnt] = (struct shown_day){
        .day = day, .sums = mem_calloc(SHOWN_NAMES_MAX, sizeof(*w->days[0].sums))};
    return &w->days[w->day_cnt++];
}

static struct sum *sum_of(struct shown_day *d, struct str name)
{
    struct sum *sum;

    for (unsigned i = 0; i < d->cnt; i++)
        if (str_eq_c(name, d->sums[i].name))
            return &d->sums[i];
    if (d->cnt == SHOWN_NAMES_MAX || name.len >= SHOWN_NAME_MAX)
        return NULL;
    sum = &d->sums[d->cnt++];
    (void)snprintf(sum->name, sizeof(sum->name), "%.*s", STR_ARGS(name));
    return sum;
}

void shower_add(struct shower *w, const struct shown_entry *entries, size_t cnt, uint64_t wall_ms)
{
    struct shown_day *d = day_of(w, wall_ms / DAY_MS);
    char names[SHOWN_NAMES_EACH][SHOWN_NAME_MAX];

    for (size_t i = 0; d != NULL && i < cnt; i++) {
        shown_names(&entries[i], names);
        for (size_t k = 0; k < SHOWN_NAMES_EACH; k++) {
            struct sum *sum = sum_of(d, str_c(names[k]));

            if (sum != NULL) {
                sum->value += entries[i].cnt;
                sum->changed = true;
            }
        }
    }
    shower_run(w);
}

/* --- Redis ------------------------------------------------------------------------- */

/* The day in flight, when the reply can be used. After an error the next connect tries again. */
static struct shown_day *answered(struct shower *w, const struct resp *reply)
{
    w->busy = false;
    if (reply == NULL)
        return NULL;
    if (resp_type(reply) == RESP_ERROR) {
        log_error("shown.redis", "error=\"%.*s\"", STR_ARGS(resp_str(reply)));
        w->up = false;
        return NULL;
    }
    for (unsigned i = 0; i < w->day_cnt; i++)
        if (w->days[i].day == w->asked)
            return &w->days[i];
    return NULL;
}

static void on_day(void *arg, const struct resp *reply)
{
    struct shower *w = arg;
    struct shown_day *d = answered(w, reply);
    uint64_t n;

    for (size_t i = 0; d != NULL && !d->whole && i + 1 < resp_cnt(reply); i += 2) {
        struct str name = resp_str(resp_at(reply, i));
        struct sum *sum;

        if ((str_eq_c(name, "imp") || str_starts(name, STR("imp:"))) &&
            str_to_u64(resp_str(resp_at(reply, i + 1)), INT64_MAX, &n) &&
            (sum = sum_of(d, name)) != NULL)
            sum->value += n;
    }
    if (d != NULL)
        d->whole = true;
    shower_run(w);
}

static void on_set(void *arg, const struct resp *reply)
{
    struct shower *w = arg;
    struct shown_day *d = answered(w, reply);

    if (d != NULL && resp_int(reply) != 1)
        w->up = false; /* another writer: the shipper finds out, and connects again */
    for (unsigned i = 0; d != NULL && w->up && i < d->cnt; i++) {
        struct sum *sum = &d->sums[i];

        if (sum->sent != 0 && sum->sent == sum->value)
            sum->changed = false;
        sum->sent = 0;
    }
    shower_run(w);
}

static bool is_changed(const struct shown_day *d)
{
    for (unsigned i = 0; i < d->cnt; i++)
        if (d->sums[i].changed)
            return true;
    return false;
}

static void set(struct shower *w, struct shown_day *d, struct str st)
{
    struct str argv[6 + 2 * AT_ONCE] = {STR("EVAL"), str_c(set_script), STR("2")};
    char own[SHIP_KEY_MAX], values[AT_ONCE][24];
    size_t argc = 6;

    (void)snprintf(own, sizeof(own), "c:own:%s:%u", w->log->site, w->log->node);
    argv[3] = str_c(own);
    argv[4] = st;
    argv[5] = str_c(w->log->own);
    for (unsigned i = 0, n = 0; i < d->cnt; i++) {
        struct sum *sum = &d->sums[i];

        sum->sent = sum->changed && n < AT_ONCE ? sum->value : 0;
        if (sum->sent == 0)
            continue;
        (void)snprintf(values[n], sizeof(values[n]), "%" PRIu64, sum->value);
        argv[argc++] = str_c(sum->name);
        argv[argc++] = str_c(values[n++]);
    }
    w->busy = rlink_command(w->link, argv, argc, on_set, w);
}

void shower_run(struct shower *w)
{
    char st[SHIP_STATS_KEY_MAX];

    for (unsigned i = 0; i < w->day_cnt && w->up && !w->busy; i++) {
        struct shown_day *d = &w->days[i];
        struct str argv[] = {STR("HGETALL"), str_make(st, ship_stats_key(w->log->site, w->log->node,
                                                                         d->day * DAY_MS, st))};

        if (!is_changed(d))
            continue;
        w->asked = d->day;
        if (d->whole)
            set(w, d, argv[1]);
        else
            w->busy = rlink_command(w->link, argv, COUNT_OF(argv), on_day, w);
        return; /* not sent: the next report or beat tries again */
    }
}

void shower_up(struct shower *w)
{
    w->up = true;
    for (unsigned i = 0; i < w->day_cnt; i++)
        for (unsigned k = 0; w->days[i].whole && k < w->days[i].cnt; k++)
            w->days[i].sums[k].changed = true; /* it may be another Redis, or have lost some */
    shower_run(w);
}

void shower_down(struct shower *w)
{
    w->up = false; /* a call in flight is still answered, be it with NULL */
}
