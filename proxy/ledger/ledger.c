/*
 * ledger.c - contract in consentd/ledger.h: the engine's life, its queue and its clock.
 *
 * Messages queue until the end of the loop's turn, then one batch is committed; when more
 * is waiting than a batch holds, the rest follows in the next turn. A tick a second looks
 * after disk space, held narrowings and old segments.
 */
#include "consentd/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/redis.h"
#include "consentd/ship.h"
#include "consentd/shown.h"
#include "consentd/sinks.h"
#include "consentd/suppressed.h"
#include "ledger_priv.h"

#define TICK_MS          1000
#define CLOCK_BACK_MS    5000    /* the clock may step back this far without an alarm */
#define CLOCK_FORWARD_MS 3600000 /* and forward this far */
#define GATE_MS          3000    /* how long the start waits for Redis' word */
#define TRIM_MS          60000   /* old segments are looked for this often */

static void check_space(struct ledger *l);

static void run_commit(void *arg)
{
    struct ledger *l = arg;
    uint64_t before = journal_next_leaf(l->journal);
    unsigned segments = journal_segments(l->journal);

    if (!l->ready)
        return;
    if (ledger_commit_batch(l, clock_wall_ms()))
        loop_defer(l->loop, &l->commit);
    if (journal_segments(l->journal) != segments)
        check_space(l); /* a second is long for a small disk */
    metric_set(METRIC_LEDGER_SIZE, journal_next_leaf(l->journal));
    if (l->ship != NULL && journal_next_leaf(l->journal) != before)
        ship_kick(l->ship);
}

void ledger_ready(struct ledger *l)
{
    if (l->ready)
        return;
    l->ready = true;
    timer_clear(&l->gate);
    ledger_log_open(l);
    log_info("ledger.ready", "records=%llu", (unsigned long long)journal_next_leaf(l->journal));
    if (l->ops.on_ready != NULL)
        l->ops.on_ready(l->owner);
    ledger_notice_work(l);
    if (l->queue.cnt > 0)
        loop_defer(l->loop, &l->commit);
}

static void on_gate(void *arg)
{
    struct ledger *l = arg;

    if (l->ship != NULL &&
        (l->tail != JOURNAL_TAIL_CLEAN || l->signed_size > journal_next_leaf(l->journal)))
        log_warn("ledger.unchecked", "reason=\"no word from Redis about what the journal lacks\"");
    ledger_ready(l);
}

void ledger_missing(struct ledger *l, uint64_t from, uint64_t to, const char *why)
{
    log_error("journal.corrupt", "lost_from=%llu lost_to=%llu reason=\"%s\"",
              (unsigned long long)from, (unsigned long long)to, why);
    l->missing += to > from ? to - from : 0;
    metric_set(METRIC_LEDGER_MISSING, l->missing);
}

/*
 * Redis has records that the journal has not: they were durable here, and rotted or came from
 * before a backup. They are taken back, or at least their numbers are not given out again.
 */
static bool on_compared(void *owner, uint64_t leaf, bool ours)
{
    struct ledger *l = owner;
    uint64_t next = journal_next_leaf(l->journal);

    if (leaf <= next) {
        ledger_ready(l);
        return true;
    }
    if (ours && ledger_rebuild(l, leaf))
        return false; /* finish() goes on */
    ledger_ready(l);
    if (leaf - next >
        LEDGER_REBUILD_MAX) /* a mark that rotted, or somebody's: the shipper says so */
        log_error("ledger.mark", "redis=%llu journal=%llu reason=\"not believed\"",
                  (unsigned long long)leaf, (unsigned long long)next);
    else if (leaf > journal_next_leaf(l->journal)) /* the log may have known their entries */
        ledger_log_behind(l, leaf);
    return true;
}

/* --- the tick ---------------------------------------------------------------------- */

/* 0: enough; 1: less than a tenth is free; 2: too little for grants. */
static void check_space(struct ledger *l)
{
    static const char *const names[] = {"ok", "tight", "low"};
    uint64_t total = 0;
    uint64_t space = journal_space(l->journal, &total);
    unsigned state = space < 2 * l->segment_size ? 2 : space < total / 10 ? 1 : 0;

    if (state > l->space)
        log_error("ledger.space", "state=%s free=%llu", names[state], (unsigned long long)space);
    else if (state < l->space)
        log_info("ledger.space", "state=%s free=%llu", names[state], (unsigned long long)space);
    l->space = state;
    l->low_space = state == 2;
    metric_set(METRIC_LEDGER_SPACE, state);
}

/* Against the clock that can't be set: a step is told once, when it happens. */
static void check_clock(struct ledger *l)
{
    uint64_t wall = clock_wall_ms();
    uint64_t mono = clock_mono_ms();
    uint64_t expected = l->tick_wall_ms + (mono - l->tick_mono_ms);
    bool back = wall + CLOCK_BACK_MS < expected;

    if (l->tick_wall_ms != 0 && (back || wall > expected + CLOCK_FORWARD_MS)) {
        log_error("ledger.clock", "step=%s ms=%llu", back ? "back" : "forward",
                  (unsigned long long)(back ? expected - wall : wall - expected));
        metric_add(METRIC_LEDGER_CLOCK, 1);
    }
    l->tick_wall_ms = wall;
    l->tick_mono_ms = mono;
}

/* The records before were made under a clock that was ahead of this one. */
static void check_last_ts(const struct ledger *l)
{
    uint64_t wall = clock_wall_ms();
    uint64_t last = journal_last_ts(l->journal);

    if (last <= wall + CLOCK_BACK_MS)
        return;
    log_error("ledger.clock", "step=back ms=%llu since=\"the last record\"",
              (unsigned long long)(last - wall));
    metric_add(METRIC_LEDGER_CLOCK, 1);
}

static void trim_old(struct ledger *l, uint64_t now_ms)
{
    uint64_t wall = clock_wall_ms();
    unsigned cnt;

    if (l->ship == NULL || now_ms < l->trim_ms || wall < l->retention_ms)
        return;
    l->trim_ms = now_ms + TRIM_MS;
    if (!ship_is_persistent(l->ship))
        return;
    cnt = journal_trim(l->journal, ship_leaf(l->ship), wall - l->retention_ms);
    if (cnt > 0)
        log_info("ledger.trimmed", "segments=%u", cnt);
}

/* Who left a list while it could not be written: until it is. */
static void save_left(struct ledger *l)
{
    struct fault f = {{0}};

    if (l->left != NULL && !suppressed_save(l->left, &f))
        log_error("unsubscribe.unsaved", "reason=\"%s\"", f.text);
}

static void on_tick(void *arg)
{
    struct ledger *l = arg;

    check_space(l);
    check_clock(l);
    metric_set(METRIC_LEDGER_HELD, l->held.cnt);
    if (l->ship != NULL)
        metric_set(METRIC_REDIS_LAG_S, ship_lag_ms(l->ship, clock_wall_ms()) / 1000);
    sinks_tick(l->sinks);
    ledger_log_publish(l);
    trim_old(l, clock_mono_ms());
    ledger_erase_work(l);
    ledger_notice_work(l);
    save_left(l);
    if (l->held.cnt > 0)
        loop_defer(l->loop, &l->commit);
    timer_set(&l->tick, TICK_MS);
}

/* --- life -------------------------------------------------------------------------- */

static void on_looked(void *owner, struct erasure *x, const struct erased_ref *refs, size_t cnt)
{
    ledger_erase_looked(owner, x, refs, cnt);
}

static bool on_month(void *owner, uint32_t month, const uint64_t *hw)
{
    return ledger_erase_month(owner, month, hw);
}

static const struct ship_ops ship_ops = {
    .on_compared = on_compared, .on_looked = on_looked, .on_month = on_month};

static bool open_journal(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    const struct journal_config jc = {.dir = cfg->journal_dir,
                                      .node = cfg->node,
                                      .segment_size = cfg->segment_size,
                                      .lock_wait_ms = cfg->lock_wait_ms,
                                      .now_ms = clock_wall_ms()};
    struct journal_report report;

    l->journal = journal_open(&jc, &report, f);
    if (l->journal == NULL)
        return false;
    l->tail = report.tail;
    log_info("journal.opened", "segments=%u records=%llu tail=%s", report.segment_cnt,
             (unsigned long long)report.next_leaf,
             report.tail == JOURNAL_TAIL_CLEAN  ? "clean"
             : report.tail == JOURNAL_TAIL_TORN ? "torn"
                                                : "corrupt");
    if (report.tail == JOURNAL_TAIL_CORRUPT)
        ledger_missing(l, report.gap_from, report.gap_to, "bytes that check out behind them");
    return true;
}

/*
 * The journal's lock first: until a predecessor lets go of it, it writes all the other files too,
 * and what was read before that would be forgotten, or written over.
 */
static bool open_files(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    if (!open_journal(l, cfg, f))
        return false;
    file_remove_temps(cfg->keks_path); /* month keys in a copy would outlive their month */
    l->keks = keks_open(cfg->keks_path, true, f);
    if (l->keks == NULL || !keks_ensure(l->keks, clock_wall_ms(), f) || !ledger_index_check(l, f) ||
        !ledger_erase_open(l, cfg, f) || !ledger_notice_open(l, cfg, f))
        return false;
    if (cfg->suppressed_path != NULL &&
        (l->left = suppressed_open(cfg->suppressed_path, f)) == NULL)
        return false;
    ledger_remember(l, cfg->journal_dir, clock_wall_ms());
    return true;
}

/* What this machine is called in Redis: random, made once, kept beside the month keys. */
static bool writer_id(const char *keks_path, char out[SHIP_WRITER_LEN + 1], struct fault *f)
{
    char *folder = file_dir_of(keks_path);
    char *path = file_resolve(folder, "writer-id");
    uint8_t id[SHIP_WRITER_LEN / 2];
    struct buf text;
    bool ok = true;

    buf_init(&text, 64);
    if (file_read(path, 64, &text, NULL) &&
        hex_decode(str_slice(buf_str(&text), 0, SHIP_WRITER_LEN), id, sizeof(id))) {
        hex_encode(out, id, sizeof(id));
    } else {
        crypto_random(id, sizeof(id));
        hex_encode(out, id, sizeof(id));
        ok = file_write_atomic(path, out, SHIP_WRITER_LEN, 0600, f);
    }
    buf_free(&text);
    free(path);
    free(folder);
    return ok;
}

static bool open_sinks(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    if (cfg->sink_cnt > 0)
        l->sinks = sinks_new(l->loop, cfg->sinks, cfg->sink_cnt, cfg->sink_ca, f);
    ledger_log_serve(l);
    return cfg->sink_cnt == 0 || l->sinks != NULL;
}

static bool open_ship(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    const struct rlink_config redis = {.url = cfg->redis_url,
                                       .user = cfg->redis_user,
                                       .password = cfg->redis_password,
                                       .ca_pem = cfg->redis_ca,
                                       .name = "consentd"};
    char writer[SHIP_WRITER_LEN + 1];
    const struct ship_config sc = {.site = cfg->site,
                                   .writer = writer,
                                   .node = cfg->node,
                                   .journal_dir = cfg->journal_dir,
                                   .journal = l->journal,
                                   .keks = l->keks,
                                   .erased = ledger_erasures(l),
                                   .notices = ledger_notices(l),
                                   .left = l->left,
                                   .redis = &redis};

    if (!writer_id(cfg->keks_path, writer, f))
        return false;
    l->ship = ship_new(l->loop, &sc, &ship_ops, l, f);
    return l->ship != NULL;
}

static void queue_init(struct item_queue *q, unsigned max)
{
    q->max = max;
    q->items = mem_calloc(max, sizeof(*q->items));
}

struct ledger *ledger_new(struct loop *loop, const struct ledger_config *cfg,
                          const struct ledger_ops *ops, void *owner, struct fault *f)
{
    struct ledger *l = mem_new(struct ledger);

    l->loop = loop;
    l->ops = *ops;
    l->owner = owner;
    l->site = mem_strdup(cfg->site);
    l->dir = mem_strdup(cfg->journal_dir);
    l->state_dir = file_dir_of(cfg->keks_path);
    l->node = l->log_node = cfg->node;
    l->segment_size = cfg->segment_size;
    l->retention_ms = cfg->retention_ms;
    memcpy(l->idx_key, cfg->idx_key, sizeof(l->idx_key));
    crypto_random(l->choice_key, sizeof(l->choice_key));
    l->eids = eids_new(LEDGER_EIDS_MAX);
    queue_init(&l->held, LEDGER_HELD_MAX);
    buf_init(&l->text, RECORD_OPLOG_MAX);
    buf_init(&l->sealed, JOURNAL_BATCH_BYTES);
    ASSERT(buf_reserve(&l->sealed, JOURNAL_BATCH_BYTES) != NULL); /* records point into it */
    l->commit = (struct deferred){.fn = run_commit, .arg = l};
    timer_init(&l->tick, loop, on_tick, l);
    timer_init(&l->gate, loop, on_gate, l);
    if (!open_files(l, cfg, f) || !ledger_log_peek(l, cfg, f) || !open_sinks(l, cfg, f) ||
        (cfg->redis_url.len > 0 && !open_ship(l, cfg, f)) || !ledger_ask_open(l, cfg, f)) {
        ledger_free(l);
        return NULL;
    }
    check_space(l);
    check_clock(l);
    check_last_ts(l);
    timer_set(&l->tick, TICK_MS);
    timer_set(&l->gate, l->ship != NULL ? GATE_MS : 0);
    return l;
}

void ledger_free(struct ledger *l)
{
    if (l == NULL)
        return;
    timer_clear(&l->tick);
    timer_clear(&l->gate);
    loop_undefer(l->loop, &l->commit);
    if (l->journal != NULL && l->ready) /* before that, a number may be another record's */
        while (l->queue.cnt > 0 && ledger_commit_batch(l, clock_wall_ms()))
            ;
    ledger_log_publish(l);
    save_left(l);
    sinks_free(l->sinks);
    tlog_free(l->log);
    ledger_rebuild_close(l);
    ship_free(l->ship);
    ledger_ask_close(l);
    ledger_erase_close(l);
    ledger_notice_close(l);
    suppressed_free(l->left);
    journal_close(l->journal);
    keks_free(l->keks);
    eids_free(l->eids);
    fair_free(&l->queue);
    item_queue_free(&l->held);
    buf_free(&l->sealed);
    buf_free(&l->text);
    crypto_wipe(l->idx_key, sizeof(l->idx_key));
    crypto_wipe(l->log_seed, sizeof(l->log_seed));
    free(l->log_keys);
    free(l->site);
    free(l->dir);
    free(l->state_dir);
    free(l);
}

/* --- messages ---------------------------------------------------------------------- */

/* No room: the one answer that is given at once. */
static void answer_full(struct ledger *l, struct item *item)
{
    struct ledger_ack ack = {.status = LEDGER_UNAVAILABLE, .node = l->log_node};

    if (item->len >= sizeof(ack.req_id)) /* both kinds of message begin with it */
        memcpy(&ack.req_id, item->payload, sizeof(ack.req_id));
    free(item->payload);
    l->unavailable++;
    if (item->peer == LEDGER_SELF && item->notice)
        ledger_notice_logged(l, &ack);
    else if (item->peer == LEDGER_SELF)
        ledger_erase_named(l, &ack);
    else
        l->ops.on_ack(l->owner, item->peer, &ack);
}

static void enqueue(struct ledger *l, struct item item, struct str payload)
{
    ASSERT(item.peer != 0);
    item.len = payload.len;
    item.payload = mem_dup(payload.len > 0 ? payload.ptr : "", payload.len > 0 ? payload.len : 1);
    if (!fair_push(&l->queue, &item)) {
        answer_full(l, &item);
        return;
    }
    if (l->ready)
        loop_defer(l->loop, &l->commit);
}

void ledger_event(struct ledger *l, uint64_t peer, struct str payload)
{
    enqueue(l, (struct item){.peer = peer}, str_slice(payload, 0, LEDGER_EVENT_MSG_MAX + 1));
}

void ledger_shown(struct ledger *l, struct str payload)
{
    struct shown_entry entries[SHOWN_ENTRIES_MAX];
    size_t cnt = shown_decode(payload, entries);

    if (cnt > 0 && l->ship != NULL) /* without Redis there are no counters */
        ship_shown(l->ship, entries, cnt, clock_wall_ms());
}

void ledger_oplog(struct ledger *l, uint64_t peer, struct str payload)
{
    enqueue(l, (struct item){.peer = peer, .operator_record = true},
            str_slice(payload, 0, LEDGER_OPLOG_MSG_MAX + 1));
}

void ledger_enqueue_notice(struct ledger *l, struct str doc)
{
    enqueue(l, (struct item){.peer = LEDGER_SELF, .operator_record = true, .notice = true}, doc);
}

void ledger_status_get(const struct ledger *l, struct ledger_status *out)
{
    memset(out, 0, sizeof(*out));
    out->next_leaf = journal_next_leaf(l->journal);
    out->first_leaf = journal_first_leaf(l->journal);
    out->bytes = journal_bytes(l->journal);
    out->segments = journal_segments(l->journal);
    out->recorded = l->recorded;
    out->duplicates = l->duplicates;
    out->refused = l->refused;
    out->unavailable = l->unavailable;
    out->held = l->held.cnt;
    out->node = l->log_node;
    out->log_restarts = (uint8_t)l->restarts.cnt;
    out->failed = journal_failed(l->journal) ? 1 : l->low_space ? 2 : 0;
    out->ship = LEDGER_SHIP_OFF;
    (void)snprintf(out->site, sizeof(out->site), "%s", l->site);
    if (l->ship == NULL)
        return;
    out->ship = ship_state(l->ship);
    out->shipped_leaf = ship_leaf(l->ship);
    out->lag_ms = ship_lag_ms(l->ship, clock_wall_ms());
    ship_gap(l->ship, &out->gap_from, &out->gap_to);
    (void)snprintf(out->error, sizeof(out->error), "%s", ship_error(l->ship));
}
