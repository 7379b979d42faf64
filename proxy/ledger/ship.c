/*
 * ship.c - contract in consentd/ship.h.
 *
 *   DOWN ─up─▶ INFO ─▶ MARKS (hw of the journal's months) ─▶ OWN ─▶ LOAD ─▶ RUN
 *     ▲                  ▲                                                 │
 *     │ link lost        └──────────── owner gone, GAP ────────────────────┤
 *     └── other errors: BLOCKED, the link is reset and comes back later ◀──┘
 *
 * One command is in flight at a time, except for the marks (one GET per month), what is applied
 * (ship_run.c) and the beat, which asks for the owner once a second so that an emptied Redis is
 * noticed when nothing happens.
 */
#include "consentd/ship.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/note.h"
#include "consentd/record.h"
#include "consentd/timer.h"
#include "ship_priv.h"

#define BEAT_MS    1000
#define INFO_BEATS 30 /* the state of Redis' disk is asked for every so many beats */

#define CLOCK_OFF_MS 3600000 /* between our clock and Redis' */

/* Something Redis says stands in the way: note it, and try again over a new connection. */
void ship_stand_back(struct ship *s, const char *what, struct str text)
{
    char why[SHIP_ERROR_MAX];

    (void)snprintf(why, sizeof(why), "%s: %.*s", what, STR_ARGS(text));
    if (strcmp(why, s->error) != 0)
        log_error("ship.blocked", "why=\"%s\"", why);
    memcpy(s->error, why, sizeof(why));
    s->blocked = true;
    metric_set(METRIC_REDIS_BLOCKED, 1);
    metric_add(METRIC_REDIS_ERRORS, 1);
    rlink_reset(s->link, why);
}

bool ship_send(struct ship *s, const struct str *argv, size_t argc, rlink_fn fn)
{
    if (rlink_command(s->link, argv, argc, fn, s))
        return true;
    rlink_reset(s->link, "the command can't be sent");
    return false;
}

/* True when the answer can be used; errors and lost links are dealt with. */
static bool usable(struct ship *s, const struct resp *reply, const char *what)
{
    if (reply == NULL)
        return false; /* on_down follows */
    if (resp_type(reply) != RESP_ERROR)
        return true;
    ship_stand_back(s, what, resp_str(reply));
    return false;
}

/* --- INFO -------------------------------------------------------------------------- */

void ship_run_id_path(const struct ship *s, char *out, size_t room)
{
    (void)snprintf(out, room, "%s/redis-run-id", s->dir);
}

/* A Redis that was started anew may have a cut AOF: appending to it could lose it all. */
static void compare_run_id(struct ship *s, struct str run_id)
{
    char path[1024];
    struct buf old;

    buf_init(&old, 128);
    ship_run_id_path(s, path, sizeof(path));
    s->rewrite = !file_read(path, 128, &old, NULL) || !str_eq(buf_str(&old), run_id);
    buf_free(&old);
    (void)snprintf(s->run_id, sizeof(s->run_id), "%.*s", STR_ARGS(run_id));
}

/* Two clocks that are an hour apart: one of them dates evidence wrongly. */
static void compare_clock(struct ship *s, uint64_t theirs)
{
    uint64_t ours = clock_wall_ms();
    bool off = theirs != 0 && (theirs > ours ? theirs - ours : ours - theirs) > CLOCK_OFF_MS;

    if (off && !s->clock_off) {
        log_error("ledger.clock", "step=redis ours_ms=%" PRIu64 " theirs_ms=%" PRIu64, ours,
                  theirs);
        metric_add(METRIC_LEDGER_CLOCK, 1);
    }
    s->clock_off = off;
}

static void take_facts(struct ship *s, const struct ship_facts *facts)
{
    s->aof = facts->aof;
    s->persistent = facts->persistent;
    compare_clock(s, facts->time_ms);
}

static void ask_owner(struct ship *s, rlink_fn fn);
static void on_first_owner(void *arg, const struct resp *reply);

static void on_info(void *arg, const struct resp *reply)
{
    struct ship *s = arg;
    struct ship_facts facts;

    if (!usable(s, reply, "INFO"))
        return;
    ship_facts_read(resp_str(reply), &facts);
    if (facts.loading) {
        rlink_reset(s->link, "Redis is loading");
        return;
    }
    if (!facts.master) {
        ship_stand_back(s, "role", STR("not a master"));
        return;
    }
    take_facts(s, &facts);
    if (!facts.aof)
        log_warn("ship.redis", "aof=off hint=\"appendonly yes\"");
    if (!str_eq_c(facts.policy, "noeviction"))
        log_warn("ship.redis", "maxmemory_policy=%.*s hint=noeviction", STR_ARGS(facts.policy));
    compare_run_id(s, facts.run_id);
    ask_owner(s, on_first_owner);
}

void ship_ask_info(struct ship *s)
{
    const struct str argv[] = {STR("INFO")};

    s->step = STEP_INFO;
    if (s->eraser != NULL)
        eraser_down(s->eraser);
    if (s->keeper != NULL)
        keeper_down(s->keeper);
    shower_down(s->shower);
    s->caught_up = false;
    (void)ship_send(s, argv, COUNT_OF(argv), on_info);
}

/* --- the high-water marks ---------------------------------------------------------- */

/* Where Redis stops having everything, month by month; and the highest leaf it knows. */
static uint64_t first_lacking(const struct ship *s, uint64_t *behind_out)
{
    uint64_t next = journal_next_leaf(s->journal);
    uint64_t lacking = UINT64_MAX;

    *behind_out = 0;
    for (unsigned i = 0; i < s->mark_cnt; i++) {
        const struct mark *m = &s->marks[i];
        uint64_t from = journal_month_leaf(s->journal, m->month);
        uint64_t to = journal_month_leaf(s->journal, record_month_next(m->month));

        if (m->there && m->hw + 1 > *behind_out)
            *behind_out = m->hw + 1;
        if (lacking != UINT64_MAX || from >= to || keks_get(s->log.keks, m->month) == NULL)
            continue; /* a month that was dropped is not shipped again */
        if (!m->there)
            lacking = from;
        else if (m->hw + 1 < to)
            lacking = m->hw + 1;
    }
    return lacking < next ? lacking : next;
}

static void claim(struct ship *s);

static void compare(struct ship *s)
{
    uint64_t behind = 0;
    uint64_t leaf;

    (void)first_lacking(s, &behind);
    if (s->ops.on_compared != NULL && !s->ops.on_compared(s->owner, behind, s->ours))
        return;                       /* ship_again */
    leaf = first_lacking(s, &behind); /* the engine may have passed over leaves it had lost */
    if (behind > journal_next_leaf(s->journal)) {
        ship_stand_back(
            s, "compare",
            STR("Redis has records that this journal never had: another machine writes as "
                "the same node, or the journal was lost; give this one a new node number"));
        return;
    }
    s->leaf = leaf;
    s->month = 0;
    ship_from(s);
    /* a log that lost its oldest segments, in a Redis that never had or has lost them */
    s->batch_gap = UINT64_MAX;
    if (behind < leaf && leaf == journal_first_leaf(s->journal))
        s->batch_gap = behind;
    log_info("ship.compared", "redis=%" PRIu64 " journal=%" PRIu64, leaf,
             journal_next_leaf(s->journal));
    claim(s);
}

static void on_mark(void *arg, const struct resp *reply)
{
    struct mark *m = arg;
    struct ship *s = m->ship;

    if (s->step != STEP_MARKS || !usable(s, reply, "GET hw"))
        return;
    m->there = str_to_u64(resp_str(reply), RECORD_LEAF_MAX, &m->hw);
    if (++s->mark_answers == s->mark_cnt)
        compare(s);
}

/* The month of the journal's oldest record. */
static uint32_t oldest_month(struct ship *s)
{
    struct journal_record rec;
    enum journal_step step = JOURNAL_STEP_END;

    if (s->rd != NULL && journal_reader_seek(s->rd, 0, NULL))
        do
            step = journal_reader_next(s->rd, journal_next_leaf(s->journal), &rec);
        while (step == JOURNAL_STEP_GAP);
    return step == JOURNAL_STEP_RECORD ? rec.month : 999912;
}

static void ask_marks(struct ship *s)
{
    uint64_t last_ts = journal_last_ts(s->journal);
    uint64_t now = clock_wall_ms();
    uint32_t last = record_month(last_ts > now ? last_ts : now);
    uint32_t month = record_month_prev(record_month(now));
    uint32_t oldest = oldest_month(s);

    if (oldest < month)
        month = oldest;
    s->step = STEP_MARKS;
    s->mark_cnt = s->mark_answers = 0;
    for (; month <= last && s->mark_cnt < SHIP_MONTHS_MAX; month = record_month_next(month))
        s->marks[s->mark_cnt++] = (struct mark){.ship = s, .month = month};
    for (unsigned i = 0; i < s->mark_cnt; i++) {
        char key[SHIP_KEY_MAX];
        struct str argv[] = {STR("GET"), {NULL, 0}};

        ship_key(key, &s->log, s->marks[i].month, "hw");
        argv[1] = str_c(key);
        if (!rlink_command(s->link, argv, COUNT_OF(argv), on_mark, &s->marks[i])) {
            rlink_reset(s->link, "the command can't be sent");
            return;
        }
    }
}

/* --- owner and script -------------------------------------------------------------- */

static void on_loaded(void *arg, const struct resp *reply)
{
    struct ship *s = arg;

    if (!usable(s, reply, "SCRIPT LOAD"))
        return;
    (void)snprintf(s->sha, sizeof(s->sha), "%.*s", STR_ARGS(resp_str(reply)));
    s->step = STEP_RUN;
    s->note_due = s->note.len > 0; /* Redis may be another one than before */
    if (s->eraser != NULL)
        eraser_up(s->eraser, s->aof);
    if (s->keeper != NULL)
        keeper_up(s->keeper);
    shower_up(s->shower);
    ship_pump(s);
}

void ship_load_script(struct ship *s)
{
    const struct str argv[] = {STR("SCRIPT"), STR("LOAD"), str_c(ship_script)};

    s->step = STEP_LOAD;
    (void)ship_send(s, argv, COUNT_OF(argv), on_loaded);
}

static void own_key(const struct ship *s, char out[SHIP_KEY_MAX])
{
    (void)snprintf(out, SHIP_KEY_MAX, "c:own:%s:%u", s->site, s->log.node);
}

static void on_owned(void *arg, const struct resp *reply)
{
    struct ship *s = arg;

    if (!usable(s, reply, "SET own"))
        return;
    s->claimed = true;
    ship_load_script(s);
}

/* The machine that wrote last, or none; a value without a machine is of an older ledger. */
static bool take_owner(struct ship *s, struct str owner)
{
    bool named = owner.len > SHIP_WRITER_LEN && owner.ptr[SHIP_WRITER_LEN] == ':';

    s->ours = named && memcmp(owner.ptr, s->own, SHIP_WRITER_LEN) == 0;
    if ((named && !s->ours) || (s->claimed && owner.len > 0 && !str_eq_c(owner, s->own))) {
        ship_stand_back(
            s, "owner",
            STR("another machine or process writes this log; only one may have a node "
                "number: give this one another, or delete the key c:own: of a machine that "
                "is gone for good"));
        return false;
    }
    return true;
}

static void on_owner(void *arg, const struct resp *reply)
{
    struct ship *s = arg;
    char key[SHIP_KEY_MAX];
    struct str argv[] = {STR("SET"), {NULL, 0}, str_c(s->own)};

    if (!usable(s, reply, "GET own") || !take_owner(s, resp_str(reply)))
        return;
    own_key(s, key);
    argv[1] = str_c(key);
    (void)ship_send(s, argv, COUNT_OF(argv), on_owned);
}

/* Before anything is compared: whose records these are. */
static void on_first_owner(void *arg, const struct resp *reply)
{
    struct ship *s = arg;

    if (usable(s, reply, "GET own") && take_owner(s, resp_str(reply)))
        ask_marks(s);
}

static void ask_owner(struct ship *s, rlink_fn fn)
{
    char key[SHIP_KEY_MAX];
    struct str argv[] = {STR("GET"), {NULL, 0}};

    own_key(s, key);
    argv[1] = str_c(key);
    (void)ship_send(s, argv, COUNT_OF(argv), fn);
}

static void claim(struct ship *s)
{
    s->step = STEP_OWN;
    ask_owner(s, on_owner);
}

void ship_again(struct ship *s)
{
    if (s->step == STEP_MARKS)
        ship_ask_info(s);
}

struct rlink *ship_link(const struct ship *s)
{
    return s->link;
}

void ship_kick(struct ship *s)
{
    ship_pump(s);
}

/* --- the beat ---------------------------------------------------------------------- */

static void on_beat_owner(void *arg, const struct resp *reply)
{
    struct ship *s = arg;

    if (!usable(s, reply, "GET own") || s->step != STEP_RUN || s->call_cnt > 0)
        return;
    if (!str_eq_c(resp_str(reply), s->own)) {
        log_warn("ship.restart", "why=\"the owner is %s\"",
                 resp_type(reply) == RESP_NIL ? "gone" : "another");
        ship_ask_info(s);
    }
}

static void on_beat_info(void *arg, const struct resp *reply)
{
    struct ship *s = arg;
    struct ship_facts facts;

    if (!usable(s, reply, "INFO"))
        return;
    ship_facts_read(resp_str(reply), &facts);
    take_facts(s, &facts);
}

static void on_beat(void *arg)
{
    struct ship *s = arg;
    const struct str argv[] = {STR("INFO")};

    timer_set(&s->beat, BEAT_MS);
    if (s->step != STEP_RUN)
        return;
    if (s->call_cnt == 0)
        ask_owner(s, on_beat_owner);
    if (s->step == STEP_RUN && ++s->beats % INFO_BEATS == 0)
        (void)ship_send(s, argv, COUNT_OF(argv), on_beat_info);
    if (s->eraser != NULL)
        eraser_run(s->eraser);
    shower_run(s->shower);
    ship_pump(s);
    if (s->caught_up)
        journal_reader_rest(s->rd);
}

void ship_erase(struct ship *s)
{
    if (s->eraser != NULL)
        eraser_kick(s->eraser);
}

void ship_keep(struct ship *s)
{
    if (s->keeper != NULL)
        keeper_run(s->keeper);
}

void ship_shown(struct ship *s, const struct shown_entry *entries, size_t cnt, uint64_t wall_ms)
{
    shower_add(s->shower, entries, cnt, wall_ms);
}

/* --- life -------------------------------------------------------------------------- */

static void on_up(void *owner)
{
    ship_ask_info(owner);
}

static void on_down(void *owner, const char *why)
{
    struct ship *s = owner;

    s->step = STEP_DOWN;
    if (s->eraser != NULL)
        eraser_down(s->eraser);
    if (s->keeper != NULL)
        keeper_down(s->keeper);
    shower_down(s->shower);
    s->caught_up = false;
    ship_calls_lost(s);
    if (!s->blocked)
        (void)snprintf(s->error, sizeof(s->error), "%s", why);
}

static const struct rlink_ops link_ops = {.on_up = on_up, .on_down = on_down};

struct ship *ship_new(struct loop *loop, const struct ship_config *cfg, const struct ship_ops *ops,
                      void *owner, struct fault *f)
{
    struct ship *s = mem_new(struct ship);
    uint8_t id[8];

    s->site = mem_strdup(cfg->site);
    s->dir = mem_strdup(cfg->journal_dir);
    crypto_random(id, sizeof(id));
    (void)snprintf(s->own, sizeof(s->own), "%s:", cfg->writer);
    hex_encode(s->own + SHIP_WRITER_LEN + 1, id, sizeof(id));
    s->log = (struct apply_log){.site = s->site,
                                .node = cfg->node,
                                .keks = cfg->keks,
                                .own = s->own,
                                .erased = cfg->erased};
    buf_init(&s->note, NOTE_CHECKPOINT_MAX);
    s->journal = cfg->journal;
    s->ops = *ops;
    s->owner = owner;
    s->leaf = journal_first_leaf(cfg->journal);
    ship_from(s);
    s->rd = journal_reader_open(s->dir, cfg->node, f);
    timer_init(&s->beat, loop, on_beat, s);
    if (s->rd == NULL || (s->link = rlink_new(loop, cfg->redis, &link_ops, s, f)) == NULL) {
        ship_free(s);
        return NULL;
    }
    s->shower = shower_new(s->link, &s->log);
    if (cfg->erased != NULL)
        s->eraser = eraser_new(
            s->link, &s->log, cfg->erased,
            &(struct eraser_ops){.on_looked = ops->on_looked, .on_month = ops->on_month}, owner);
    if (cfg->notices != NULL)
        s->keeper = keeper_new(s->link, cfg->notices, cfg->left);
    timer_set(&s->beat, BEAT_MS);
    return s;
}

void ship_free(struct ship *s)
{
    if (s == NULL)
        return;
    timer_clear(&s->beat);
    rlink_free(s->link);
    eraser_free(s->eraser);
    keeper_free(s->keeper);
    shower_free(s->shower);
    journal_reader_close(s->rd);
    buf_free(&s->apply.text);
    buf_free(&s->note);
    free(s->site);
    free(s->dir);
    free(s);
}

uint64_t ship_leaf(const struct ship *s)
{
    return s->leaf;
}

uint64_t ship_lag_ms(const struct ship *s, uint64_t wall_ms)
{
    if (s->leaf >= journal_next_leaf(s->journal) || s->oldest_ts == 0)
        return 0;
    return wall_ms > s->oldest_ts ? wall_ms - s->oldest_ts : 0;
}

enum ledger_ship_state ship_state(const struct ship *s)
{
    if (s->blocked)
        return LEDGER_SHIP_BLOCKED;
    if (s->step == STEP_DOWN)
        return LEDGER_SHIP_DOWN;
    return s->step == STEP_RUN && s->caught_up ? LEDGER_SHIP_LIVE : LEDGER_SHIP_REPLAY;
}

const char *ship_error(const struct ship *s)
{
    return s->error;
}

void ship_gap(const struct ship *s, uint64_t *from_out, uint64_t *to_out)
{
    *from_out = s->gap_from;
    *to_out = s->gap_to;
}

bool ship_is_persistent(const struct ship *s)
{
    return s->persistent && s->step == STEP_RUN;
}
