/*
 * query_redis.c - a query over Redis (contract in consentd/query.h).
 *
 *   MARKS   GET hw of every month in range: which ones exist
 *   then per month, in the order wanted:
 *   ENTRIES a piece of the stream (or, for one subject, the entries its index names)
 *   SECRETS HMGET of the r of these entries; open, filter, hand out; the next piece
 *
 * At most QUERY_CHUNK entries are held. One record by its leaf: a binary search by time in the
 * month whose mark covers the leaf, since both halves of the stream's ids rise together.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes_priv.h"
#include "consentd/buf.h"
#include "consentd/clock.h"
#include "consentd/envelope.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "consentd/redis.h"
#include "query_priv.h"
#include "ship_priv.h"

#define MONTHS_MAX 122 /* ten years back, and the next month */
#define REFS_MAX   (4u << 20)
#define REFS_CHUNK 64
#define CHUNK_MAX  ((size_t)QUERY_CHUNK * (RECORD_OPLOG_MAX + 64))

struct entry {
    uint64_t ts_ms, leaf;
    size_t off, len; /* of the envelope in chunk */
    bool has_r;
    uint8_t r[32];
};

/* One HMGET: entries [first, first + cnt) share a bucket. */
struct group {
    struct query *q;
    unsigned first, cnt;
};

struct month_mark {
    struct query *q;
    uint32_t month;
    bool there;
    uint64_t hw;
};

struct query {
    struct rlink *link;
    struct loop *loop;
    struct deferred kick;
    struct query_ops ops;
    void *arg;
    struct query_log log;
    struct query_spec spec;
    char *site;  /* owned */
    char *texts; /* owned; what spec's slices point into */
    uint8_t idx_key[32];
    bool by_subject, by_leaf, cancelled, finished;
    bool busy; /* inside the callback of a reply: not to be freed */
    uint8_t tag[16];
    unsigned outstanding; /* commands without a reply yet */
    struct month_mark months[MONTHS_MAX];
    unsigned month_cnt, month_at;
    struct query_place place; /* last entry looked at */
    struct buf refs;          /* of the subject in this month */
    size_t ref_at, ref_left;
    bool refs_loaded;
    struct buf chunk;
    struct entry entries[QUERY_CHUNK];
    unsigned entry_cnt, expected;
    struct group groups[QUERY_CHUNK];
    uint64_t leaf, lo_ms, hi_ms, mid_ms; /* by_leaf */
    struct query_end end;
};

static void next_piece(struct query *q);
static void probe(struct query *q);

static void query_free(struct query *q)
{
    loop_undefer(q->loop, &q->kick);
    buf_free(&q->refs);
    buf_free(&q->chunk);
    free(q->site);
    free(q->texts);
    free(q);
}

/* The end: told at once; freed when the last reply is in. */
static void finish(struct query *q)
{
    if (q->finished)
        return;
    q->finished = true;
    for (unsigned i = 0; i < q->month_cnt; i++)
        if (q->months[i].there && (!q->end.has_hw || q->months[i].hw > q->end.hw)) {
            q->end.has_hw = true;
            q->end.hw = q->months[i].hw;
        }
    if (q->place.set && !q->by_leaf)
        query_cursor_write(&q->spec, q->log.node, &q->place, q->end.cursor);
    if (!q->cancelled)
        q->ops.on_end(q->arg, &q->end);
}

static void fail(struct query *q, const char *why)
{
    if (!q->finished)
        fault_set(&q->end.fault, "%s", why);
    q->end.ok = false;
    q->end.more = false;
    finish(q);
}

/* Counts the reply; true when it can be used. */
static bool take_reply(struct query *q, const struct resp *reply)
{
    q->outstanding--;
    q->busy = true;
    if (q->finished || q->cancelled)
        return false;
    if (reply == NULL) {
        fail(q, "Redis is not reachable");
        return false;
    }
    if (resp_type(reply) == RESP_ERROR) {
        char why[200];

        (void)snprintf(why, sizeof(why), "Redis: %.*s", STR_ARGS(resp_str(reply)));
        fail(q, why);
        return false;
    }
    return true;
}

/* After a reply has been dealt with: frees a query that is over. */
static void settle(struct query *q)
{
    q->busy = false;
    if (q->outstanding == 0 && (q->finished || q->cancelled))
        query_free(q);
}

static bool ask(struct query *q, const struct str *argv, size_t argc, rlink_fn fn, void *arg)
{
    if (q->finished)
        return false;
    if (!rlink_command(q->link, argv, argc, fn, arg)) {
        fail(q, "Redis is not reachable, or too much is asked of it at once");
        return false;
    }
    q->outstanding++;
    return true;
}

static void month_key(const struct query *q, uint32_t month, const char *suffix,
                      char out[SHIP_KEY_MAX])
{
    const struct apply_log log = {.site = q->site, .node = q->log.node};

    ship_key(out, &log, month, suffix);
}

/* --- secrets and rows -------------------------------------------------------------- */

static bool is_past(const struct query *q, uint64_t ts_ms)
{
    if (q->spec.oldest_first)
        return q->spec.to_ms != 0 && ts_ms >= q->spec.to_ms;
    return ts_ms < q->spec.from_ms;
}

/* Hands out one entry; false: the page is over. */
static bool give_entry(struct query *q, const struct entry *e)
{
    const uint8_t *envelope = q->chunk.data + e->off;
    struct query_sealed in = {.leaf = e->leaf,
                              .ts_ms = e->ts_ms,
                              .r = e->has_r ? e->r : NULL,
                              .is_envelope = true,
                              .sealed = str_make(envelope, e->len)};
    uint8_t json[QUERY_JSON_MAX];
    struct query_row row;
    bool over = false;

    q->end.scanned++;
    in.month = envelope_month(in.sealed);
    q->place = (struct query_place){true, q->months[q->month_at].month, e->ts_ms, e->leaf};
    if (is_past(q, e->ts_ms)) {
        finish(q);
        return false;
    }
    query_open(&q->log, &in, json, &row);
    if (query_matches(&q->spec, &row)) {
        q->end.rows++;
        over = !q->ops.on_row(q->arg, &row) || q->end.rows >= query_limit(&q->spec);
    }
    if (!over && (q->spec.scan_max == 0 || q->end.scanned < q->spec.scan_max))
        return !q->cancelled;
    q->end.more = !q->by_leaf;
    finish(q);
    return false;
}

static void give_entries(struct query *q)
{
    for (unsigned i = 0; i < q->entry_cnt; i++)
        if (!give_entry(q, &q->entries[i]))
            return;
    if (q->by_leaf)
        finish(q);
    else
        next_piece(q);
}

static void on_secrets(void *arg, const struct resp *reply)
{
    struct group *g = arg;
    struct query *q = g->q;

    if (take_reply(q, reply)) {
        for (unsigned i = 0; i < g->cnt; i++) {
            struct str r = resp_str(resp_at(reply, i));
            struct entry *e = &q->entries[g->first + i];

            e->has_r = r.len == sizeof(e->r);
            if (e->has_r)
                memcpy(e->r, r.ptr, r.len);
        }
        if (--q->expected == 0)
            give_entries(q);
    }
    settle(q);
}

static void ask_group(struct query *q, struct group *g)
{
    struct str argv[QUERY_CHUNK + 2] = {STR("HMGET")};
    char fields[QUERY_CHUNK][3];
    char key[SHIP_KEY_MAX];
    char suffix[SHIP_SUFFIX_MAX];

    ship_suffix_rk(suffix, q->entries[g->first].leaf);
    month_key(q, q->months[q->month_at].month, suffix, key);
    argv[1] = str_c(key);
    for (unsigned i = 0; i < g->cnt; i++) {
        (void)snprintf(fields[i], sizeof(fields[i]), "%u",
                       (unsigned)(q->entries[g->first + i].leaf % 100));
        argv[i + 2] = str_c(fields[i]);
    }
    (void)ask(q, argv, g->cnt + 2, on_secrets, g);
}

static void ask_secrets(struct query *q)
{
    unsigned cnt = 0;

    for (unsigned i = 0; i < q->entry_cnt; i++) {
        if (cnt > 0 &&
            q->entries[i].leaf / 100 == q->entries[q->groups[cnt - 1].first].leaf / 100) {
            q->groups[cnt - 1].cnt++;
            continue;
        }
        q->groups[cnt++] = (struct group){.q = q, .first = i, .cnt = 1};
    }
    q->expected = cnt;
    for (unsigned i = 0; i < cnt && !q->finished; i++)
        ask_group(q, &q->groups[i]);
}

/* --- entries ----------------------------------------------------------------------- */

static bool parse_id(struct str id, uint64_t *ts_out, uint64_t *leaf_out)
{
    struct str ts;

    return str_cut(&id, '-', &ts) && str_to_u64(ts, UINT64_MAX, ts_out) &&
           str_to_u64(id, RECORD_LEAF_MAX, leaf_out);
}

/* Copies the entries of a stream reply behind those already there. */
static bool add_entries(struct query *q, const struct resp *reply)
{
    for (size_t i = 0; i < resp_cnt(reply) && q->entry_cnt < QUERY_CHUNK; i++) {
        const struct resp *item = resp_at(reply, i);
        struct entry *e = &q->entries[q->entry_cnt];
        struct str envelope = resp_str(resp_at(resp_at(item, 1), 1));

        memset(e, 0, sizeof(*e));
        if (!parse_id(resp_str(resp_at(item, 0)), &e->ts_ms, &e->leaf))
            continue; /* an id that consentd never writes */
        e->off = q->chunk.len;
        e->len = envelope.len;
        if (!buf_append_str(&q->chunk, envelope)) {
            fail(q, "an entry is larger than any record");
            return false;
        }
        q->entry_cnt++;
    }
    return true;
}

static void next_month(struct query *q)
{
    q->month_at++;
    q->refs_loaded = false;
    next_piece(q);
}

static void on_entries(void *arg, const struct resp *reply)
{
    struct query *q = arg;

    if (take_reply(q, reply) && add_entries(q, reply)) {
        if (q->entry_cnt == 0 && q->by_leaf)
            finish(q);
        else if (q->entry_cnt == 0)
            next_month(q);
        else
            ask_secrets(q);
    }
    settle(q);
}

/* The start of the range in the wanted direction, as a stream id. */
static void range_start(const struct query *q, char out[64])
{
    bool inside = q->place.set && q->place.month == q->months[q->month_at].month;

    if (inside)
        (void)snprintf(out, 64, "(%" PRIu64 "-%" PRIu64, q->place.ts_ms, q->place.leaf);
    else if (q->spec.oldest_first)
        (void)snprintf(out, 64, "%" PRIu64, q->spec.from_ms);
    else if (q->spec.to_ms != 0)
        (void)snprintf(out, 64, "(%" PRIu64 "-0", q->spec.to_ms);
    else
        (void)snprintf(out, 64, "+");
}

static void ask_stream(struct query *q)
{
    char key[SHIP_KEY_MAX];
    char start[64];
    char count[16];
    struct str argv[] = {q->spec.oldest_first ? STR("XRANGE") : STR("XREVRANGE"),
                         {NULL, 0},
                         {NULL, 0},
                         q->spec.oldest_first ? STR("+") : STR("-"),
                         STR("COUNT"),
                         {NULL, 0}};

    month_key(q, q->months[q->month_at].month, "ev", key);
    range_start(q, start);
    (void)snprintf(count, sizeof(count), "%d", QUERY_CHUNK);
    argv[1] = str_c(key);
    argv[2] = str_c(start);
    argv[5] = str_c(count);
    (void)ask(q, argv, COUNT_OF(argv), on_entries, q);
}

/* --- one subject ------------------------------------------------------------------- */

static void on_ref_entry(void *arg, const struct resp *reply)
{
    struct query *q = arg;

    if (take_reply(q, reply) && add_entries(q, reply) && --q->expected == 0) {
        if (q->entry_cnt == 0)
            next_piece(q);
        else
            ask_secrets(q);
    }
    settle(q);
}

/* The reference behind the last one taken, in the wanted direction. */
static const uint8_t *take_ref(struct query *q)
{
    size_t cnt = q->refs.len / 16;
    size_t i = q->spec.oldest_first ? cnt - q->ref_left : q->ref_left - 1;

    q->ref_left--;
    return q->refs.data + i * 16;
}

static bool ref_is_wanted(const struct query *q, uint64_t leaf)
{
    if (!q->place.set)
        return true;
    return q->spec.oldest_first ? leaf > q->place.leaf : leaf < q->place.leaf;
}

static void ask_refs(struct query *q)
{
    uint64_t ids[REFS_CHUNK][2];
    unsigned cnt = 0;
    char key[SHIP_KEY_MAX];

    while (q->ref_left > 0 && cnt < REFS_CHUNK) {
        const uint8_t *ref = take_ref(q);

        ids[cnt][0] = be64_get(ref);
        ids[cnt][1] = be64_get(ref + 8);
        cnt += ref_is_wanted(q, ids[cnt][1]) ? 1 : 0;
    }
    if (cnt == 0) {
        next_month(q);
        return;
    }
    q->expected = cnt;
    month_key(q, q->months[q->month_at].month, "ev", key);
    for (unsigned i = 0; i < cnt && !q->finished; i++) {
        char id[48];
        struct str argv[] = {STR("XRANGE"), str_c(key), {NULL, 0}, {NULL, 0}};

        (void)snprintf(id, sizeof(id), "%" PRIu64 "-%" PRIu64, ids[i][0], ids[i][1]);
        argv[2] = argv[3] = str_c(id);
        (void)ask(q, argv, COUNT_OF(argv), on_ref_entry, q);
    }
}

static void on_refs(void *arg, const struct resp *reply)
{
    struct query *q = arg;

    if (take_reply(q, reply)) {
        buf_clear(&q->refs);
        q->refs_loaded = true;
        if (buf_append_str(&q->refs, resp_str(reply))) {
            q->ref_left = q->refs.len / 16;
            ask_refs(q);
        } else {
            fail(q, "the subject has too many records in one month");
        }
    }
    settle(q);
}

static void ask_index(struct query *q)
{
    char key[SHIP_KEY_MAX];
    char suffix[SHIP_SUFFIX_MAX];
    struct str argv[] = {STR("HGET"), {NULL, 0}, str_make(q->tag, sizeof(q->tag))};

    ship_suffix_sx(suffix, q->tag);
    month_key(q, q->months[q->month_at].month, suffix, key);
    argv[1] = str_c(key);
    (void)ask(q, argv, COUNT_OF(argv), on_refs, q);
}

/* --- months ------------------------------------------------------------------------ */

/* The next piece of work; the end when no month is left. */
static void next_piece(struct query *q)
{
    q->entry_cnt = 0;
    buf_clear(&q->chunk);
    while (q->month_at < q->month_cnt && !q->months[q->month_at].there) {
        q->month_at++;
        q->refs_loaded = false;
    }
    if (q->month_at == q->month_cnt) {
        q->end.ok = true;
        finish(q);
    } else if (!q->by_subject) {
        ask_stream(q);
    } else if (q->refs_loaded) {
        ask_refs(q);
    } else {
        ask_index(q);
    }
}

/* By leaf: the month whose mark is the lowest one that covers it. */
static void find_month(struct query *q)
{
    unsigned best = q->month_cnt;

    for (unsigned i = 0; i < q->month_cnt; i++)
        if (q->months[i].there && q->months[i].hw >= q->leaf &&
            (best == q->month_cnt || q->months[i].month < q->months[best].month))
            best = i;
    q->end.ok = true;
    if (best == q->month_cnt) {
        finish(q);
        return;
    }
    q->month_at = best;
    q->lo_ms = record_month_start(q->months[best].month);
    q->hi_ms = record_month_start(record_month_next(q->months[best].month));
    probe(q);
}

static void on_probe(void *arg, const struct resp *reply)
{
    struct query *q = arg;
    uint64_t ts = 0;
    uint64_t leaf = 0;

    if (take_reply(q, reply)) {
        if (parse_id(resp_str(resp_at(resp_at(reply, 0), 0)), &ts, &leaf) && leaf <= q->leaf)
            q->lo_ms = ts;
        else
            q->hi_ms = q->mid_ms - 1;
        probe(q);
    }
    settle(q);
}

/* lo: the entry is not older; hi: it is not younger. */
static void probe(struct query *q)
{
    char key[SHIP_KEY_MAX];
    char id[48];
    struct str argv[] = {STR("XRANGE"), {NULL, 0}, {NULL, 0}, STR("+"), STR("COUNT"), STR("1")};

    month_key(q, q->months[q->month_at].month, "ev", key);
    argv[1] = str_c(key);
    q->mid_ms = q->lo_ms + (q->hi_ms - q->lo_ms + 1) / 2;
    if (q->lo_ms >= q->hi_ms)
        (void)snprintf(id, sizeof(id), "%" PRIu64 "-%" PRIu64, q->lo_ms, q->leaf);
    else
        (void)snprintf(id, sizeof(id), "%" PRIu64, q->mid_ms);
    argv[2] = str_c(id);
    if (q->lo_ms >= q->hi_ms) {
        argv[3] = argv[2];
        (void)ask(q, argv, COUNT_OF(argv), on_entries, q);
    } else {
        (void)ask(q, argv, COUNT_OF(argv), on_probe, q);
    }
}

static void on_mark(void *arg, const struct resp *reply)
{
    struct month_mark *m = arg;
    struct query *q = m->q;

    if (take_reply(q, reply)) {
        m->there = str_to_u64(resp_str(reply), RECORD_LEAF_MAX, &m->hw);
        if (--q->expected == 0) {
            q->end.ok = true;
            if (q->by_leaf)
                find_month(q);
            else
                next_piece(q);
        }
    }
    settle(q);
}

static void on_kick(void *arg)
{
    struct query *q = arg;

    q->expected = q->month_cnt;
    for (unsigned i = 0; i < q->month_cnt && !q->finished; i++) {
        char key[SHIP_KEY_MAX];
        struct str argv[] = {STR("GET"), {NULL, 0}};

        month_key(q, q->months[i].month, "hw", key);
        argv[1] = str_c(key);
        (void)ask(q, argv, COUNT_OF(argv), on_mark, &q->months[i]);
    }
    if (q->month_cnt == 0) {
        q->end.ok = true;
        finish(q);
    }
    settle(q);
}

/* The months in range, in the order wanted; a cursor begins at its own. */
static void list_months(struct query *q)
{
    const struct query_spec *s = &q->spec;
    uint32_t now = record_month(clock_wall_ms());
    uint32_t last = record_month_next(now);
    uint32_t first = now - 1000; /* ten years */

    if (s->to_ms != 0 && record_month(s->to_ms - 1) < last)
        last = record_month(s->to_ms - 1);
    if (s->from_ms != 0 && record_month(s->from_ms) > first)
        first = record_month(s->from_ms);
    if (q->place.set && s->oldest_first && q->place.month > first)
        first = q->place.month;
    if (q->place.set && !s->oldest_first && q->place.month < last)
        last = q->place.month;
    for (uint32_t m = first; m <= last && q->month_cnt < MONTHS_MAX; m = record_month_next(m))
        q->months[q->month_cnt++] = (struct month_mark){.q = q, .month = m};
    if (s->oldest_first)
        return;
    for (unsigned i = 0; i < q->month_cnt / 2; i++) {
        struct month_mark swap = q->months[i];

        q->months[i] = q->months[q->month_cnt - 1 - i];
        q->months[q->month_cnt - 1 - i] = swap;
    }
}

/* --- life -------------------------------------------------------------------------- */

/* spec's texts are copied into one block. */
static void copy_spec(struct query *q, const struct query_spec *spec)
{
    struct str *slices[] = {&q->spec.purpose,      &q->spec.doc,  &q->spec.lang,
                            &q->spec.jurisdiction, &q->spec.host, &q->spec.cursor};
    size_t len = 1;
    char *p;

    q->spec = *spec;
    for (size_t i = 0; i < COUNT_OF(slices); i++)
        len += slices[i]->len;
    p = q->texts = mem_alloc(len);
    for (size_t i = 0; i < COUNT_OF(slices); i++) {
        if (slices[i]->len > 0)
            memcpy(p, slices[i]->ptr, slices[i]->len);
        slices[i]->ptr = p;
        p += slices[i]->len;
    }
}

static struct query *query_begin(struct rlink *link, const struct query_log *log,
                                 const struct query_ops *ops, void *arg)
{
    struct query *q = mem_new(struct query);

    q->link = link;
    q->loop = rlink_loop(link);
    q->ops = *ops;
    q->arg = arg;
    q->log = *log;
    q->site = mem_strdup(log->site);
    q->log.site = q->site;
    q->kick = (struct deferred){.fn = on_kick, .arg = q};
    if (log->idx_key != NULL) {
        memcpy(q->idx_key, log->idx_key, sizeof(q->idx_key));
        q->log.idx_key = q->idx_key;
    }
    buf_init(&q->refs, REFS_MAX);
    buf_init(&q->chunk, CHUNK_MAX);
    return q;
}

struct query *query_redis(struct rlink *link, const struct query_log *log,
                          const struct query_spec *spec, const struct query_ops *ops, void *arg,
                          struct fault *f)
{
    struct query_place place;
    struct query *q;

    if (!query_check(spec, f) || !query_cursor_read(spec, log->node, &place, f))
        return NULL;
    if (!rlink_is_up(link)) {
        fault_set(f, "Redis is not reachable");
        return NULL;
    }
    q = query_begin(link, log, ops, arg);
    copy_spec(q, spec);
    q->place = place;
    if (spec->has_subject && log->idx_key != NULL) {
        q->by_subject = true;
        record_sub_tag(q->idx_key, spec->subject, q->tag);
    }
    list_months(q);
    loop_defer(q->loop, &q->kick);
    return q;
}

struct query *query_redis_get(struct rlink *link, const struct query_log *log, uint64_t leaf,
                              const struct query_ops *ops, void *arg, struct fault *f)
{
    struct query *q;

    if (!rlink_is_up(link)) {
        fault_set(f, "Redis is not reachable");
        return NULL;
    }
    q = query_begin(link, log, ops, arg);
    q->by_leaf = true;
    q->leaf = leaf;
    q->spec.oldest_first = true;
    q->spec.limit = 1;
    list_months(q);
    loop_defer(q->loop, &q->kick);
    return q;
}

void query_cancel(struct query *q)
{
    if (q == NULL || q->cancelled)
        return;
    q->cancelled = true;
    loop_undefer(q->loop, &q->kick);
    if (q->outstanding == 0 && !q->finished && !q->busy)
        query_free(q);
}
