/*
 * ledger_ask.c - what a visitor asks of their own records: all of them, a proof of one, a notice.
 *
 *   asked ─▶ waiting (a ring) ─▶ Redis: what it has of the subject ─ok─▶ journal: what Redis lacks
 *                                  │ away                                     │
 *                                  └─▶ the whole journal, if it has it all ───┴─▶ told, in pieces
 *
 * One question at a time, a piece of the journal per turn of the loop, a connection to Redis of its
 * own: whatever a visitor asks, the records of others are not held up by it. What neither store can
 * tell completely is not told at all.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/json.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/notices.h"
#include "consentd/redis.h"
#include "consentd/ship.h"
#include "consentd/tlog.h"
#include "ledger_priv.h"
#include "query_priv.h"

#define JOBS_MAX 256   /* questions that wait */
#define STEP     4096  /* records of the journal looked at per turn */
#define PIECE    60000 /* bytes of one message */
#define TEXT_MAX (4u << 20)

struct job {
    uint64_t peer;
    struct ledger_ask_msg msg;
};

struct found {
    uint64_t leaf, ts_ms;
    enum query_row_status status;
    bool has_r;
    uint8_t r[32];
    size_t off, len; /* of J in texts */
};

struct asking {
    struct ledger *ledger;
    struct rlink *link; /* owned; NULL: no Redis configured */
    struct query *query;
    struct query_walk *walk;
    struct query_log log;
    struct query_spec spec;
    char cursor[QUERY_CURSOR_LEN + 1];
    struct job jobs[JOBS_MAX]; /* a ring; the one at head is being worked on */
    unsigned head, cnt;
    struct found *found; /* owned; LEDGER_ASK_RECORDS_MAX */
    unsigned found_cnt;
    bool more;
    uint64_t shipped; /* leaves below are Redis' to tell */
    struct buf texts;
    struct deferred step;
    char *log_path; /* owned */
};

/* --- telling -------------------------------------------------------------------------------- */

static void forget_found(struct asking *a)
{
    crypto_wipe(a->found, a->found_cnt * sizeof(a->found[0]));
    a->found_cnt = 0;
    a->more = false;
    buf_wipe(&a->texts);
}

static struct job_ring ring_of(struct asking *a)
{
    return (struct job_ring){.jobs = a->jobs,
                             .size = sizeof(a->jobs[0]),
                             .max = JOBS_MAX,
                             .head = a->head,
                             .cnt = a->cnt};
}

static void next_job(struct asking *a)
{
    uint64_t served = a->jobs[a->head].peer;
    struct job_ring ring;

    query_walk_free(a->walk);
    a->walk = NULL;
    a->query = NULL;
    forget_found(a);
    crypto_wipe(&a->spec, sizeof(a->spec));
    crypto_wipe(&a->jobs[a->head], sizeof(a->jobs[0]));
    a->head = (a->head + 1) % JOBS_MAX;
    a->cnt--;
    ring = ring_of(a);
    jobs_take_turns(&ring, served);
    if (a->cnt > 0)
        loop_defer(a->ledger->loop, &a->step);
}

static void tell(struct asking *a, const struct job *job, enum ledger_tell_status status,
                 struct str text)
{
    struct ledger *l = a->ledger;

    while (status == LEDGER_TELL_DONE && text.len > PIECE) {
        l->ops.on_tell(
            l->owner, job->peer,
            &(struct ledger_tell_head){.req_id = job->msg.req_id, .status = LEDGER_TELL_MORE},
            str_slice(text, 0, PIECE));
        text = str_slice(text, PIECE, text.len - PIECE);
    }
    l->ops.on_tell(l->owner, job->peer,
                   &(struct ledger_tell_head){.req_id = job->msg.req_id, .status = status}, text);
}

static void finish(struct asking *a, enum ledger_tell_status status, struct str text)
{
    struct job job = a->jobs[a->head];

    tell(a, &job, status, text);
    next_job(a);
}

/* --- what was found ------------------------------------------------------------------------- */

static bool on_row(void *arg, const struct query_row *row)
{
    struct asking *a = arg;
    struct found *f = &a->found[a->found_cnt];

    for (unsigned i = 0; i < a->found_cnt; i++)
        if (a->found[i].leaf == row->leaf)
            return true; /* it was shipped while we looked */
    if (row->status == QUERY_ROW_ERASED || row->status == QUERY_ROW_NO_KEY ||
        (row->status == QUERY_ROW_OK && row->kind != RECORD_EVENT))
        return true; /* nobody can say whose it was */
    if (a->found_cnt == LEDGER_ASK_RECORDS_MAX) {
        a->more = true;
        return false;
    }
    *f = (struct found){.leaf = row->leaf, .ts_ms = row->ts_ms, .status = row->status};
    f->off = a->texts.len;
    f->len = row->status == QUERY_ROW_OK ? row->json.len : 0;
    if (row->status == QUERY_ROW_OK && row->r != NULL) {
        memcpy(f->r, row->r, sizeof(f->r));
        f->has_r = true;
    }
    if (!buf_append_str(&a->texts, str_slice(row->json, 0, f->len))) {
        a->more = true;
        return false;
    }
    a->found_cnt++;
    return true;
}

static int by_leaf(const void *x, const void *y)
{
    uint64_t a = ((const struct found *)x)->leaf, b = ((const struct found *)y)->leaf;

    return (a > b) - (a < b);
}

static struct str text_of(const struct asking *a, const struct found *f)
{
    return str_make(a->texts.data + f->off, f->len);
}

static bool put_vkey(const struct asking *a, struct buf *out)
{
    const struct ledger *l = a->ledger;
    struct buf key;
    bool ok;

    if (l->log_key_cnt == 0)
        return buf_append_c(out, "\"vkey\":\"\"}");
    buf_init(&key, NOTE_NAME_MAX + 256);
    ok = note_vkey_print(&l->log_keys[0], &key) && buf_append_c(out, "\"vkey\":") &&
         json_quote(buf_str(&key), out) && buf_append_c(out, "}");
    buf_free(&key);
    return ok;
}

static bool put_record(const struct asking *a, const struct found *f, struct buf *out)
{
    bool ok = buf_printf(out, "{\"leaf\":%" PRIu64 ",\"node\":%u,\"ts\":%" PRIu64, f->leaf,
                         restarts_node_of(&a->ledger->restarts, f->leaf), f->ts_ms);

    if (f->len > 0)
        ok = ok && buf_append_c(out, ",\"json\":") && json_quote(text_of(a, f), out);
    return ok && buf_append_c(out, "}");
}

static void tell_records(struct asking *a)
{
    struct buf out;
    bool ok;

    buf_init(&out, TEXT_MAX);
    ok = buf_printf(&out, "{\"more\":%s,\"records\":[", a->more ? "true" : "false");
    for (unsigned i = 0; i < a->found_cnt; i++)
        ok = ok && (i == 0 || buf_append_char(&out, ',')) && put_record(a, &a->found[i], &out);
    ok = ok && buf_append_c(&out, "],") && put_vkey(a, &out);
    finish(a, ok ? LEDGER_TELL_DONE : LEDGER_TELL_UNAVAILABLE, buf_str(&out));
    buf_free(&out);
}

/* --- proofs --------------------------------------------------------------------------------- */

/* With r || J as extra; false: not signed yet, or a file is missing. */
static bool prove(const struct asking *a, const struct found *f, struct buf *out)
{
    const struct tlog_public log = {
        .path = a->log_path, .keys = a->ledger->log_keys, .key_cnt = a->ledger->log_key_cnt};
    struct buf extra;
    bool ok;

    buf_init(&extra, sizeof(f->r) + RECORD_OPLOG_MAX);
    ok = buf_append(&extra, f->r, sizeof(f->r)) && buf_append_str(&extra, text_of(a, f)) &&
         tlog_prove(&log, f->leaf, buf_str(&extra), out, NULL);
    buf_free(&extra);
    return ok;
}

static void tell_proof(struct asking *a)
{
    const struct job *job = &a->jobs[a->head];
    const struct found *f = NULL;
    struct buf proof, out;
    bool ok;

    for (unsigned i = 0; i < a->found_cnt; i++)
        if (a->found[i].leaf == job->msg.leaf)
            f = &a->found[i];
    if (f == NULL || !f->has_r) {
        finish(a, LEDGER_TELL_UNKNOWN, STR(""));
        return;
    }
    buf_init(&proof, NOTE_PROOF_MAX);
    buf_init(&out, 2 * NOTE_PROOF_MAX);
    ok = a->ledger->log_key_cnt > 0 && prove(a, f, &proof) && buf_append_c(&out, "{\"proof\":") &&
         json_quote(buf_str(&proof), &out) && buf_append_char(&out, ',') && put_vkey(a, &out);
    finish(a, ok ? LEDGER_TELL_DONE : LEDGER_TELL_UNAVAILABLE, buf_str(&out));
    buf_free(&out);
    buf_free(&proof);
}

static void searched(struct asking *a)
{
    if (a->found_cnt > 1)
        qsort(a->found, a->found_cnt, sizeof(*a->found), by_leaf);
    if (a->jobs[a->head].msg.what == LEDGER_ASK_PROOF)
        tell_proof(a);
    else
        tell_records(a);
}

/* --- searching ------------------------------------------------------------------------------ */

/* Walks the journal from this leaf on. */
static void walk_from(struct asking *a, uint64_t leaf)
{
    struct fault f = {{0}};

    a->spec.oldest_first = true;
    a->spec.cursor = STR("");
    if (leaf > 0) {
        struct query_place at = {.set = true, .month = 197001, .leaf = leaf - 1};

        query_cursor_write(&a->spec, a->ledger->node, &at, a->cursor);
        a->spec.cursor = str_c(a->cursor);
    }
    a->walk = query_walk_new(a->ledger->dir, &a->log, &a->spec, &f);
    if (a->walk == NULL) {
        log_error("ask.journal", "reason=\"%s\"", f.text);
        finish(a, LEDGER_TELL_UNAVAILABLE, STR(""));
    } else {
        loop_defer(a->ledger->loop, &a->step);
    }
}

/* Without Redis the journal tells all, if it was never trimmed. */
static void walk_all(struct asking *a)
{
    if (journal_first_leaf(a->ledger->journal) == 0 || a->ledger->ship == NULL)
        walk_from(a, 0);
    else
        finish(a, LEDGER_TELL_UNAVAILABLE, STR(""));
}

static void on_query_end(void *arg, const struct query_end *end)
{
    struct asking *a = arg;

    a->query = NULL;
    if (!end->ok) {
        forget_found(a);
        walk_all(a);
        return;
    }
    a->more = a->more || end->more;
    walk_from(a, a->shipped);
}

static void begin_search(struct asking *a)
{
    static const struct query_ops ops = {.on_row = on_row, .on_end = on_query_end};
    const struct ledger *l = a->ledger;
    struct fault f = {{0}};

    a->log = (struct query_log){.site = l->site,
                                .node = l->node,
                                .keks = l->keks,
                                .idx_key = l->idx_key,
                                .erased = ledger_erased(l)};
    a->spec = (struct query_spec){
        .has_subject = true,
        .kind = RECORD_EVENT,
        .limit = QUERY_LIMIT_MAX,
        .from_ms = keks_cnt(l->keks) > 0 ? record_month_start(keks_month(l->keks, 0)) : 0};
    memcpy(a->spec.subject, a->jobs[a->head].msg.subject, sizeof(a->spec.subject));
    a->shipped = l->ship != NULL ? ship_leaf(l->ship) : 0;
    if (a->link != NULL && ship_state(l->ship) != LEDGER_SHIP_BLOCKED)
        a->query = query_redis(a->link, &a->log, &a->spec, &ops, a, &f);
    if (a->query == NULL)
        walk_all(a);
}

static void tell_notice(struct asking *a, const struct job *job)
{
    const struct notices *store = ledger_notices(a->ledger);
    const struct notice_use *use =
        store != NULL ? notices_find(store, job->msg.doc, sizeof(job->msg.doc)) : NULL;
    struct buf text;

    buf_init(&text, TEXT_MAX);
    if (use == NULL)
        finish(a, LEDGER_TELL_UNKNOWN, STR(""));
    else if (notices_read(store, use->hash, &text, NULL))
        finish(a, LEDGER_TELL_DONE, buf_str(&text));
    else
        finish(a, LEDGER_TELL_UNAVAILABLE, STR(""));
    buf_free(&text);
}

static void on_step(void *arg)
{
    struct asking *a = arg;
    const struct job *job = &a->jobs[a->head];
    struct query_end end;

    if (a->walk != NULL) {
        if (!query_walk_step(a->walk, STEP, on_row, a, &end)) {
            loop_defer(a->ledger->loop, &a->step);
            return;
        }
        a->more = a->more || end.more;
        if (!end.ok || end.gap_from != end.gap_to)
            finish(a, LEDGER_TELL_UNAVAILABLE, STR(""));
        else
            searched(a);
    } else if (job->msg.what == LEDGER_ASK_NOTICE) {
        tell_notice(a, job);
    } else if (a->query == NULL) {
        begin_search(a);
    }
}

void ledger_ask(struct ledger *l, uint64_t peer, struct str payload)
{
    struct asking *a = l->asking;
    struct job_ring ring = ring_of(a);
    struct job job = {.peer = peer};

    if (payload.len != sizeof(job.msg))
        return;
    memcpy(&job.msg, payload.ptr, sizeof(job.msg));
    if (job.msg.version != LEDGER_MSG_VERSION || job.msg.what == LEDGER_ASK_NOTHING ||
        job.msg.what > LEDGER_ASK_NOTICE || !jobs_have_room(&ring, peer) || !l->ready ||
        (job.msg.what != LEDGER_ASK_NOTICE &&
         (l->other_index || ledger_is_gone(l, job.msg.subject)))) {
        tell(a, &job, LEDGER_TELL_UNAVAILABLE, STR(""));
        return;
    }
    a->jobs[(a->head + a->cnt++) % JOBS_MAX] = job;
    if (a->cnt == 1)
        loop_defer(l->loop, &a->step);
}

/* --- life ----------------------------------------------------------------------------------- */

static void on_link(void *owner)
{
    UNUSED(owner);
}

static void on_link_down(void *owner, const char *why)
{
    UNUSED(owner);
    UNUSED(why);
}

bool ledger_ask_open(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    static const struct rlink_ops ops = {.on_up = on_link, .on_down = on_link_down};
    const struct rlink_config redis = {.url = cfg->redis_url,
                                       .user = cfg->redis_user,
                                       .password = cfg->redis_password,
                                       .ca_pem = cfg->redis_ca,
                                       .name = "consentd-rights"};
    struct asking *a = mem_new(struct asking);

    l->asking = a;
    a->ledger = l;
    a->step = (struct deferred){.fn = on_step, .arg = a};
    a->found = mem_calloc(LEDGER_ASK_RECORDS_MAX, sizeof(*a->found));
    buf_init(&a->texts, TEXT_MAX / 2);
    a->log_path = file_resolve(cfg->journal_dir, "tlog");
    if (cfg->redis_url.len > 0)
        a->link = rlink_new(l->loop, &redis, &ops, a, f);
    return cfg->redis_url.len == 0 || a->link != NULL;
}

void ledger_ask_close(struct ledger *l)
{
    struct asking *a = l->asking;

    if (a == NULL)
        return;
    loop_undefer(l->loop, &a->step);
    query_cancel(a->query);
    query_walk_free(a->walk);
    if (a->link != NULL && rlink_in_flight(a->link) > 0)
        rlink_reset(a->link, "closing"); /* what was cancelled hears of it and is freed */
    rlink_free(a->link);
    buf_free(&a->texts);
    free(a->found);
    free(a->log_path);
    free(a);
    l->asking = NULL;
}
