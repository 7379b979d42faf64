/*
 * ship.c - contract in consentd/ship.h.
 *
 *   DOWN ─up─▶ INFO ─▶ MARKS (hw of the journal's months) ─▶ OWN ─▶ LOAD ─▶ RUN
 *     ▲                  ▲                                                 │
 *     │ link lost        └──────────── owner gone, GAP ────────────────────┤
 *     └── other errors: BLOCKED, the link is reset and comes back later ◀──┘
 *
 * One command is in flight at a time, except for the marks (one GET per month) and the
 * beat, which asks for the owner once a second so that an emptied Redis is noticed when
 * nothing happens.
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
#define ERROR_MAX  200

#define CLOCK_OFF_MS 3600000 /* between our clock and Redis' */

enum ship_step {
    STEP_DOWN = 0, /* the link is down */
    STEP_INFO,     /* asked who it is */
    STEP_MARKS,    /* asked for the high-water marks */
    STEP_OWN,      /* took, or is taking, the log */
    STEP_LOAD,     /* loads the script */
    STEP_RUN,      /* applies, or waits for records */
};

/* A month of the journal and what Redis has of it. */
struct mark {
    struct ship *ship;
    uint32_t month;
    bool there;
    uint64_t hw;
};

struct ship {
    struct apply_log log; /* its texts are owned here */
    char *site, *dir;
    char own[SHIP_WRITER_LEN + 1 + 16 + 1]; /* machine ":" random: this process as the writer */
    struct journal *journal;
    struct ship_ops ops;
    void *owner;
    struct rlink *link;        /* owned */
    struct eraser *eraser;     /* owned; NULL: nothing is ever erased */
    struct keeper *keeper;     /* owned; NULL: no notice documents */
    struct journal_reader *rd; /* owned; NULL until the first read */
    struct timer beat;
    enum ship_step step;
    bool in_flight; /* an EVALSHA waits for its answer */
    bool claimed;   /* this process took the log before */
    bool ours;      /* the owner that Redis names is this machine */
    bool blocked;   /* since the last success something stood in the way */
    bool caught_up, persistent, aof, clock_off;
    bool seek;            /* the reader is not at `leaf` */
    bool rewrite;         /* Redis was restarted: rewrite its AOF once caught up */
    unsigned beats, gaps; /* gaps: GAP answers in a row */
    uint64_t leaf;        /* the next one to apply */
    uint64_t oldest_ts;   /* of the record at `leaf`, when it was read; else 0 */
    uint32_t month;       /* of the last record applied */
    uint64_t gap_from, gap_to, batch_gap;
    struct mark marks[SHIP_MONTHS_MAX];
    unsigned mark_cnt, mark_answers;
    struct buf note;    /* the newest checkpoint */
    uint64_t note_size; /* its leaves */
    bool note_due;      /* goes to Redis once that has them */
    char run_id[48], sha[48];
    char error[ERROR_MAX];
    struct apply apply;
    struct str argv[SHIP_ARGC_MAX];
};

static void ask_info(struct ship *s);
static void pump(struct ship *s);

/* Something Redis says stands in the way: note it, and try again over a new connection. */
static void stand_back(struct ship *s, const char *what, struct str text)
{
    char why[ERROR_MAX];

    (void)snprintf(why, sizeof(why), "%s: %.*s", what, STR_ARGS(text));
    if (strcmp(why, s->error) != 0)
        log_error("ship.blocked", "why=\"%s\"", why);
    memcpy(s->error, why, sizeof(why));
    s->blocked = true;
    metric_set(METRIC_REDIS_BLOCKED, 1);
    metric_add(METRIC_REDIS_ERRORS, 1);
    rlink_reset(s->link, why);
}

static bool send(struct ship *s, const struct str *argv, size_t argc, rlink_fn fn)
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
    stand_back(s, what, resp_str(reply));
    return false;
}

/* --- INFO -------------------------------------------------------------------------- */

static void run_id_path(const struct ship *s, char *out, size_t room)
{
    (void)snprintf(out, room, "%s/redis-run-id", s->dir);
}

/* A Redis that was started anew may have a cut AOF: appending to it could lose it all. */
static void compare_run_id(struct ship *s, struct str run_id)
{
    char path[1024];
    struct buf old;

    buf_init(&old, 128);
    run_id_path(s, path, sizeof(path));
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
        stand_back(s, "role", STR("not a master"));
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

static void ask_info(struct ship *s)
{
    const struct str argv[] = {STR("INFO")};

    s->step = STEP_INFO;
    if (s->eraser != NULL)
        eraser_down(s->eraser);
    if (s->keeper != NULL)
        keeper_down(s->keeper);
    s->caught_up = false;
    (void)send(s, argv, COUNT_OF(argv), on_info);
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
        stand_back(s, "compare",
                   STR("Redis has records that this journal never had: another machine writes as "
                       "the same node, or the journal was lost; give this one a new node number"));
        return;
    }
    s->leaf = leaf;
    s->month = 0;
    s->seek = true;
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

static bool month_is_there(const struct ship *s, uint32_t month)
{
    for (unsigned i = 0; i < s->mark_cnt; i++)
        if (s->marks[i].month == month)
            return s->marks[i].there;
    return false;
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
    pump(s);
}

static void load_script(struct ship *s)
{
    const struct str argv[] = {STR("SCRIPT"), STR("LOAD"), str_c(ship_script)};

    s->step = STEP_LOAD;
    (void)send(s, argv, COUNT_OF(argv), on_loaded);
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
    load_script(s);
}

/* The machine that wrote last, or none; a value without a machine is of an older ledger. */
static bool take_owner(struct ship *s, struct str owner)
{
    bool named = owner.len > SHIP_WRITER_LEN && owner.ptr[SHIP_WRITER_LEN] == ':';

    s->ours = named && memcmp(owner.ptr, s->own, SHIP_WRITER_LEN) == 0;
    if ((named && !s->ours) || (s->claimed && owner.len > 0 && !str_eq_c(owner, s->own))) {
        stand_back(s, "owner",
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
    (void)send(s, argv, COUNT_OF(argv), on_owned);
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
    (void)send(s, argv, COUNT_OF(argv), fn);
}

static void claim(struct ship *s)
{
    s->step = STEP_OWN;
    ask_owner(s, on_owner);
}

/* --- applying ---------------------------------------------------------------------- */

static void on_rewritten(void *arg, const struct resp *reply)
{
    struct ship *s = arg;
    char path[1024];
    struct fault f;

    if (reply == NULL)
        return;
    if (resp_type(reply) == RESP_ERROR) { /* "already in progress" is as good */
        log_warn("ship.rewrite", "answer=\"%.*s\"", STR_ARGS(resp_str(reply)));
        if (str_find(resp_str(reply), STR("in progress")) < 0)
            return;
    }
    s->rewrite = false;
    run_id_path(s, path, sizeof(path));
    if (!file_write_atomic(path, s->run_id, strlen(s->run_id), 0600, &f))
        log_warn("ship.rewrite", "error=\"%s\"", f.text);
}

static void caught_up(struct ship *s)
{
    const struct str argv[] = {STR("BGREWRITEAOF")};

    s->oldest_ts = 0;
    if (s->caught_up)
        return;
    s->caught_up = true;
    s->blocked = false;
    metric_set(METRIC_REDIS_BLOCKED, 0);
    s->error[0] = '\0';
    rlink_settled(s->link);
    log_info("ship.live", "records=%" PRIu64, s->leaf);
    if (s->ops.on_caught_up != NULL)
        s->ops.on_caught_up(s->owner);
    if (s->rewrite)
        (void)send(s, argv, COUNT_OF(argv), on_rewritten);
}

static void on_applied(void *arg, const struct resp *reply)
{
    struct ship *s = arg;
    struct str error = resp_type(reply) == RESP_ERROR ? resp_str(reply) : (struct str){NULL, 0};
    uint64_t hw = 0;

    s->in_flight = false;
    if (reply == NULL)
        return;
    if (str_find(error, STR("NOSCRIPT")) >= 0) {
        s->seek = true;
        load_script(s);
    } else if (str_find(error, STR("OWN ")) >= 0 ||
               (str_find(error, STR("GAP ")) >= 0 && ++s->gaps < 3)) {
        log_warn("ship.restart", "why=\"%.*s\"", STR_ARGS(error));
        ask_info(s);
    } else if (error.len > 0) {
        stand_back(s, "apply", error);
    } else if (!str_to_u64(resp_str(resp_at(reply, 1)), RECORD_LEAF_MAX, &hw)) {
        stand_back(s, "apply", STR("an answer without a mark"));
    } else {
        metric_add(METRIC_REDIS_APPLIED, (uint64_t)resp_int(resp_at(reply, 0)));
        s->gaps = 0;
        s->month = s->apply.month;
        s->batch_gap = UINT64_MAX;
        s->leaf = hw + 1;
        if (s->leaf != s->apply.last + 1) /* it has more than we thought: go on behind it */
            s->seek = true;
        if (s->leaf > journal_next_leaf(s->journal))
            ask_info(s);
        else
            pump(s);
    }
}

/* Notes leaves that are lost in the journal and in Redis. */
static void note_gap(struct ship *s, uint64_t from, uint64_t to)
{
    log_error("ship.gap", "lost_from=%" PRIu64 " lost_to=%" PRIu64, from, to);
    s->gap_from = from;
    s->gap_to = to;
}

static bool collect_seek(struct ship *s)
{
    struct fault f;

    if (!s->seek)
        return true;
    if (!journal_reader_seek(s->rd, s->leaf, &f)) {
        log_error("ship.journal", "error=\"%s\"", f.text);
        return false;
    }
    s->seek = false;
    return true;
}

/*
 * Collects the next batch from the journal; false when there is nothing to send. The
 * reader stays where the batch ends; whatever spoils that sets `seek`.
 */
static bool collect(struct ship *s)
{
    uint64_t end = journal_next_leaf(s->journal);
    uint64_t until = s->leaf + SHIP_BATCH_RECORDS;
    enum journal_step step = JOURNAL_STEP_RECORD;
    struct journal_record rec;

    apply_begin(&s->apply);
    if (!collect_seek(s))
        return false;
    while (step == JOURNAL_STEP_RECORD || step == JOURNAL_STEP_GAP) {
        step = journal_reader_next(s->rd, until < end ? until : end, &rec);
        if (step == JOURNAL_STEP_GAP) { /* the next record's leaf tells how far */
            uint64_t from;

            journal_reader_gap(s->rd, &from, &until);
            until += SHIP_BATCH_RECORDS;
            continue;
        }
        if (step != JOURNAL_STEP_RECORD || !journal_type_has_leaf(rec.type))
            continue;
        if (s->apply.records == 0)
            s->oldest_ts = rec.ts_ms;
        if (!apply_add(&s->apply, &s->log, &rec)) {
            s->seek = true; /* it was taken from the reader and goes with the next batch */
            break;
        }
    }
    return s->apply.records > 0;
}

static void on_noted(void *arg, const struct resp *reply)
{
    struct ship *s = arg;

    /* "equal or smaller": it is there from before */
    if (resp_type(reply) == RESP_ERROR && str_find(resp_str(reply), STR("equal or smaller")) < 0)
        log_warn("ship.checkpoint", "error=\"%.*s\"", STR_ARGS(resp_str(reply)));
    if (reply == NULL)
        s->note_due = true;
}

/* A checkpoint in Redis says that Redis has its leaves: who finds fewer knows they were removed. */
static void send_note(struct ship *s)
{
    char key[SHIP_KEY_MAX], id[32];
    struct str argv[] = {STR("XADD"),           {NULL, 0}, STR("MAXLEN"), STR("~"),
                         STR(SHIP_CHECKPOINTS), {NULL, 0}, STR("n"),      buf_str(&s->note)};

    if (!s->note_due || s->leaf < s->note_size)
        return;
    (void)snprintf(key, sizeof(key), "c:cp:%s:%u", s->site, s->log.node);
    (void)snprintf(id, sizeof(id), "%" PRIu64 "-0", s->note_size);
    argv[1] = str_c(key);
    argv[5] = str_c(id);
    s->note_due = !rlink_command(s->link, argv, COUNT_OF(argv), on_noted, s);
}

void ship_checkpoint(struct ship *s, uint64_t size, struct str note)
{
    buf_clear(&s->note);
    s->note_due = buf_append_str(&s->note, note);
    s->note_size = size;
    if (s->step == STEP_RUN)
        send_note(s);
}

/* Sends the next batch when none is in flight. */
static void pump(struct ship *s)
{
    uint64_t gap;
    bool fresh;
    size_t argc;

    if (s->step != STEP_RUN || s->in_flight)
        return;
    metric_set(METRIC_REDIS_LAG, journal_next_leaf(s->journal) - s->leaf);
    send_note(s);
    if (s->leaf >= journal_next_leaf(s->journal)) {
        caught_up(s);
        return;
    }
    if (!collect(s))
        return;
    gap = s->batch_gap < s->leaf ? s->batch_gap : s->leaf;
    if (gap < s->apply.first && (s->gap_to != s->apply.first || s->gap_from != gap))
        note_gap(s, gap, s->apply.first);
    fresh = s->month == 0 ? !month_is_there(s, s->apply.month) : s->month != s->apply.month;
    argc = apply_finish(&s->apply, &s->log, s->sha, fresh, gap, s->argv);
    s->in_flight = send(s, s->argv, argc, on_applied);
    if (!s->in_flight)
        s->seek = true;
}

void ship_again(struct ship *s)
{
    if (s->step == STEP_MARKS)
        ask_info(s);
}

struct rlink *ship_link(const struct ship *s)
{
    return s->link;
}

void ship_kick(struct ship *s)
{
    pump(s);
}

/* --- the beat ---------------------------------------------------------------------- */

static void on_beat_owner(void *arg, const struct resp *reply)
{
    struct ship *s = arg;

    if (!usable(s, reply, "GET own") || s->step != STEP_RUN || s->in_flight)
        return;
    if (!str_eq_c(resp_str(reply), s->own)) {
        log_warn("ship.restart", "why=\"the owner is %s\"",
                 resp_type(reply) == RESP_NIL ? "gone" : "another");
        ask_info(s);
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
    if (!s->in_flight)
        ask_owner(s, on_beat_owner);
    if (s->step == STEP_RUN && ++s->beats % INFO_BEATS == 0)
        (void)send(s, argv, COUNT_OF(argv), on_beat_info);
    if (s->eraser != NULL)
        eraser_run(s->eraser);
    pump(s);
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

/* --- life -------------------------------------------------------------------------- */

static void on_up(void *owner)
{
    ask_info(owner);
}

static void on_down(void *owner, const char *why)
{
    struct ship *s = owner;

    s->step = STEP_DOWN;
    if (s->eraser != NULL)
        eraser_down(s->eraser);
    if (s->keeper != NULL)
        keeper_down(s->keeper);
    s->in_flight = s->caught_up = false;
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
    s->seek = true;
    s->rd = journal_reader_open(s->dir, cfg->node, f);
    timer_init(&s->beat, loop, on_beat, s);
    if (s->rd == NULL || (s->link = rlink_new(loop, cfg->redis, &link_ops, s, f)) == NULL) {
        ship_free(s);
        return NULL;
    }
    if (cfg->erased != NULL)
        s->eraser = eraser_new(s->link, &s->log, cfg->erased, ops->on_looked, owner);
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
