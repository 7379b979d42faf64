/*
 * ledger_erase.c - erasures and legal holds, one request after the other.
 *
 *   asked ─▶ journal searched ─▶ list synced ─▶ cookie refused, receipt ─▶ Redis, journal
 *                                                        └─▶ erase record in the log
 *
 * The list (erased.h) is the promise: from its sync on everything else is done, and done again
 * after a crash, until it is done. The erase record names the request and the leaves, never the
 * subject. The search reads a piece of the journal per turn of the loop.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/journal_read.h"
#include "consentd/json.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/ship.h"
#include "ledger_priv.h"

#define JOBS_MAX     256  /* requests that wait */
#define SCAN_RECORDS 4096 /* of the journal, per turn */
#define NAMED_LEAVES 300  /* of one erase record: it stays below RECORD_OPLOG_MAX */

struct job {
    uint64_t peer;
    struct ledger_erase_msg msg;
    uint8_t tag[16], gone[16];
};

struct erasing {
    struct ledger *ledger;
    struct erased *list; /* owned */
    uint64_t backup_ms, record_ms;
    struct job jobs[JOBS_MAX]; /* a ring; the one at head is being worked on */
    unsigned head, cnt;
    struct journal_reader *rd; /* owned; of the search */
    uint64_t until;
    struct erased_ref *refs; /* owned; found so far; ERASED_REFS_MAX */
    unsigned ref_cnt;
    struct deferred step;
    uint64_t naming_id;     /* of the record that is on its way; 0: none. Its own number */
    uint64_t naming_last;   /* the newest number */
    struct erasure *naming; /* what it is about, or NULL: naming_month */
    unsigned naming_cnt;
    uint32_t naming_month;
};

/* --- answers ------------------------------------------------------------------------------- */

static void answer(struct erasing *e, const struct job *job, enum ledger_erase_status status,
                   const struct erasure *x)
{
    struct ledger_erase_ack ack = {.req_id = job->msg.req_id, .status = status};
    struct ledger *l = e->ledger;

    if (x != NULL) {
        uint64_t journal_ms = x->now ? 0 : l->retention_ms;
        uint64_t wait_ms = journal_ms > e->backup_ms ? journal_ms : e->backup_ms;

        ack.ts_ms = x->ts_ms;
        ack.complete_by_s = x->held ? 0 : (x->ts_ms + wait_ms + 999) / 1000;
        ack.records = x->ref_cnt;
        memcpy(ack.request, x->request, sizeof(ack.request));
    }
    if (l->ops.on_erased != NULL)
        l->ops.on_erased(l->owner, job->peer, &ack);
}

/* --- erase records ------------------------------------------------------------------------- */

static json_t *leaf_numbers(const struct erasure *x, unsigned from, unsigned to)
{
    json_t *leaves = json_array();

    for (unsigned i = from; i < to; i++)
        json_array_append_new(leaves, json_integer((json_int_t)x->refs[i].leaf));
    return leaves;
}

/* id: what its answer is known by; 0: nobody waits for it. */
static void send_record(struct ledger *l, uint64_t id, json_t *record)
{
    uint8_t message[LEDGER_OPLOG_MSG_MAX];
    char *text = json_dumps(record, JSON_COMPACT);
    size_t len = ledger_oplog_encode(id, str_c(text), message, sizeof(message));

    ASSERT(len > 0);
    ledger_oplog(l, LEDGER_SELF, str_make(message, len));
    free(text);
    json_decref(record);
}

/* Names the next leaves of an erasure in the log. */
static void name_leaves(struct erasing *e, struct erasure *x)
{
    char request[B64_LEN(16) + 1];
    json_t *record;

    b64url_encode(request, x->request, 16);
    e->naming_id = ++e->naming_last;
    e->naming = x;
    e->naming_cnt = x->ref_cnt - x->logged > NAMED_LEAVES ? x->logged + NAMED_LEAVES : x->ref_cnt;
    record = json_pack("{s:s, s:s, s:i, s:s, s:o}", "act", "erase", "by",
                       x->by_operator ? "operator" : "subject", "node", (int)e->ledger->node,
                       "request", request, "leaves", leaf_numbers(x, x->logged, e->naming_cnt));
    if (x->actor[0] != '\0')
        json_object_set_new(record, "actor", json_string(x->actor));
    send_record(e->ledger, e->naming_id, record);
}

/* Names in the log where the records begin that a drop has left. */
static void name_month(struct erasing *e, const struct erased_month *m)
{
    e->naming_id = ++e->naming_last;
    e->naming = NULL;
    e->naming_month = m->month;
    send_record(e->ledger, e->naming_id,
                json_pack("{s:s, s:i, s:i, s:I}", "act", "month_dropped", "month", (int)m->month,
                          "node", (int)e->ledger->node, "kept_from", (json_int_t)m->kept));
}

void ledger_erase_named(struct ledger *l, const struct ledger_ack *ack)
{
    struct erasing *e = l->erasing;
    struct fault f = {{0}};
    bool noted;

    if (e == NULL || ack->req_id == 0 || ack->req_id != e->naming_id)
        return; /* the record of a hold */
    e->naming_id = 0;
    if (ack->status != LEDGER_RECORDED)
        return; /* the tick tries again */
    noted = e->naming != NULL ? erased_note_logged(e->list, e->naming, e->naming_cnt, &f)
                              : erased_note_told(e->list, e->naming_month, &f);
    if (!noted)
        log_error("erase.list", "reason=\"%s\"", f.text);
    ledger_erase_work(l);
}

/* --- what is still to do ------------------------------------------------------------------- */

static int cmp_leaf(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void shred(struct erasing *e, struct erasure *x)
{
    struct ledger *l = e->ledger;
    uint64_t *leaves = mem_calloc(x->ref_cnt + 1, sizeof(*leaves));
    struct fault f = {{0}};

    for (unsigned i = 0; i < x->ref_cnt; i++)
        leaves[i] = x->refs[i].leaf;
    qsort(leaves, x->ref_cnt, sizeof(*leaves), cmp_leaf);
    if (!journal_roll(l->journal, clock_wall_ms()) ||
        !journal_shred(l->journal, leaves, x->ref_cnt, &f) || !erased_note_shredded(e->list, x, &f))
        log_error("erase.journal", "reason=\"%s\"", f.text); /* the tick tries again */
    else
        log_info("erase.journal", "records=%u", x->ref_cnt);
    free(leaves);
}

/* The keys of months that are to be gone, also when a crash came between. */
static void drop_keys(struct erasing *e)
{
    for (size_t i = 0; i < erased_month_cnt(e->list); i++) {
        uint32_t month = erased_month(e->list, i);
        struct fault f = {{0}};

        if (keks_get(e->ledger->keks, month) == NULL)
            continue;
        if (keks_drop(e->ledger->keks, month, &f))
            log_info("retention.dropped", "month=%u", month);
        else
            log_error("retention.keks", "reason=\"%s\"", f.text); /* the tick tries again */
    }
}

void ledger_erase_work(struct ledger *l)
{
    struct erasing *e = l->erasing;

    if (e == NULL || !l->ready)
        return;
    drop_keys(e);
    for (size_t i = 0; i < erased_month_cnt(e->list) && e->naming_id == 0; i++) {
        const struct erased_month *m = erased_month_at(e->list, i);

        if (m->known && !m->told)
            name_month(e, m);
    }
    for (size_t i = 0; i < erased_cnt(e->list); i++) {
        struct erasure *x = erased_at(e->list, i);
        bool asked = x->looked || l->ship == NULL || ship_state(l->ship) == LEDGER_SHIP_DOWN;

        if (x->foreign)
            continue;
        if (e->naming_id == 0 && asked && (!x->named || x->logged < x->ref_cnt))
            name_leaves(e, x);
        if (x->now && !x->held && !x->shredded)
            shred(e, x);
    }
}

void ledger_erase_looked(struct ledger *l, struct erasure *x, const struct erased_ref *refs,
                         size_t cnt)
{
    struct fault f = {{0}};

    if (!erased_more(l->erasing->list, x, refs, cnt, &f) ||
        !erased_note_looked(l->erasing->list, x, &f))
        log_error("erase.list", "reason=\"%s\"", f.text);
    ledger_erase_work(l);
}

/* --- one request --------------------------------------------------------------------------- */

static struct job_ring ring_of(struct erasing *e)
{
    return (struct job_ring){.jobs = e->jobs,
                             .size = sizeof(e->jobs[0]),
                             .max = JOBS_MAX,
                             .head = e->head,
                             .cnt = e->cnt};
}

static void next_job(struct erasing *e)
{
    uint64_t served = e->jobs[e->head].peer;
    struct job_ring ring;

    journal_reader_close(e->rd);
    e->rd = NULL;
    e->ref_cnt = 0;
    crypto_wipe(&e->jobs[e->head], sizeof(e->jobs[0])); /* whose request it was */
    e->head = (e->head + 1) % JOBS_MAX;
    e->cnt--;
    ring = ring_of(e);
    jobs_take_turns(&ring, served);
    if (e->cnt > 0)
        loop_defer(e->ledger->loop, &e->step);
}

/* The search is over: the promise, the cookie, the receipt. */
static void promise(struct erasing *e, const struct job *job)
{
    struct ledger *l = e->ledger;
    struct erasure x = {.ts_ms = clock_wall_ms(),
                        .now = (job->msg.flags & LEDGER_ERASE_NOW) != 0 || l->ship == NULL,
                        .by_operator = job->msg.by == CONSENT_BY_OPERATOR,
                        .refs = e->refs,
                        .ref_cnt = e->ref_cnt};
    struct erasure *made = NULL;
    struct fault f = {{0}};

    crypto_random(x.request, sizeof(x.request));
    memcpy(x.tag, job->tag, 16);
    memcpy(x.gone, job->gone, 16);
    memcpy(x.actor, job->msg.actor, sizeof(x.actor));
    if (!erased_add(e->list, &x, &made, &f)) {
        log_error("erase.list", "reason=\"%s\"", f.text);
        answer(e, job, LEDGER_ERASE_UNAVAILABLE, NULL);
        return;
    }
    eids_forget(l->eids, job->msg.subject);
    if (l->ops.on_gone != NULL)
        l->ops.on_gone(l->owner, made->gone);
    answer(e, job, made->held ? LEDGER_ERASE_HELD : LEDGER_ERASE_ACCEPTED, made);
    log_info("erase.accepted", "records=%u held=%d", made->ref_cnt, made->held);
    if (l->ship != NULL)
        ship_erase(l->ship);
    ledger_erase_work(l);
}

static void hold(struct erasing *e, const struct job *job)
{
    bool on = job->msg.action == LEDGER_HOLD;
    struct ledger *l = e->ledger;
    struct fault f = {{0}};

    if (!erased_hold(e->list, job->tag, on, clock_wall_ms(), &f)) {
        log_error("erase.list", "reason=\"%s\"", f.text);
        answer(e, job, LEDGER_ERASE_UNAVAILABLE, NULL);
        return;
    }
    send_record(l, 0,
                json_pack("{s:s, s:s}", "act", on ? "legal_hold" : "legal_hold_end", "actor",
                          job->msg.actor));
    answer(e, job, LEDGER_ERASE_ACCEPTED, erased_by_tag(e->list, job->tag));
    if (l->ship != NULL)
        ship_erase(l->ship);
    ledger_erase_work(l);
}

static bool month_is_due(const struct erasing *e, uint32_t month, uint64_t now_ms)
{
    return e->record_ms > 0 && record_month_ok(month) && month < record_month(now_ms) &&
           keks_get(e->ledger->keks, month) != NULL &&
           record_month_start(record_month_next(month)) + e->record_ms <= now_ms;
}

/* A month goes before those behind it, so that what is kept is one piece: the end of the log. */
static bool earlier_is_here(const struct erasing *e, uint32_t month)
{
    return keks_cnt(e->ledger->keks) > 0 && keks_month(e->ledger->keks, 0) < month;
}

/*
 * The first leaf behind a month. The journal knows when it has a leaf from before, or the first one
 * of all; else what it begins with came later, and all from before had been shipped.
 */
static bool month_end(const struct ledger *l, uint32_t month, const uint64_t *hw,
                      uint64_t *leaf_out)
{
    uint64_t first = journal_first_leaf(l->journal);
    uint64_t next = journal_month_leaf(l->journal, record_month_next(month));

    *leaf_out = first == 0 || first < next ? next : hw != NULL ? *hw + 1 : 0;
    return first == 0 || first < next || hw != NULL;
}

bool ledger_erase_month(struct ledger *l, uint32_t month, const uint64_t *hw)
{
    struct erasing *e = l->erasing;
    struct fault f = {{0}};
    uint64_t kept;

    if (month_end(l, month, hw, &kept) && !erased_note_kept(e->list, month, kept, &f)) {
        log_error("erase.list", "reason=\"%s\"", f.text);
        return false;
    }
    ledger_erase_work(l);
    return true;
}

/* The list first, then the key, then Redis. One key seals a month: a hold keeps all of it. */
static void drop(struct erasing *e, const struct job *job)
{
    uint64_t now_ms = clock_wall_ms();
    struct ledger *l = e->ledger;
    struct fault f = {{0}};
    uint64_t kept;

    if (!month_is_due(e, job->msg.month, now_ms)) {
        answer(e, job, LEDGER_ERASE_NOT_DUE, NULL);
    } else if (earlier_is_here(e, job->msg.month)) {
        answer(e, job, LEDGER_ERASE_EARLIER, NULL);
    } else if (erased_any_hold(e->list)) {
        answer(e, job, LEDGER_ERASE_HELD, NULL);
    } else if (!erased_drop(e->list, job->msg.month, now_ms,
                            month_end(l, job->msg.month, NULL, &kept) ? &kept : NULL, &f)) {
        log_error("erase.list", "reason=\"%s\"", f.text);
        answer(e, job, LEDGER_ERASE_UNAVAILABLE, NULL);
    } else {
        send_record(l, 0,
                    json_pack("{s:s, s:s, s:i}", "act", "drop_month", "actor", job->msg.actor,
                              "month", (int)job->msg.month));
        answer(e, job, LEDGER_ERASE_ACCEPTED, NULL);
        ledger_erase_work(l);
        if (l->ship != NULL)
            ship_erase(l->ship);
    }
}

enum searched { SEARCH_FAILED = 0, SEARCH_GOES_ON, SEARCH_OVER };

/* What can't be read may be the subject's: then nothing is promised. */
static enum searched search_failed(const char *why)
{
    log_error("erase.journal", "reason=\"%s\"", why);
    return SEARCH_FAILED;
}

/* Reads on. */
static enum searched search(struct erasing *e, const struct job *job)
{
    struct journal_record rec;

    for (unsigned i = 0; i < SCAN_RECORDS; i++) {
        enum journal_step step = journal_reader_next(e->rd, e->until, &rec);

        if (step == JOURNAL_STEP_ERROR)
            return search_failed(journal_reader_fault(e->rd));
        if (step == JOURNAL_STEP_END)
            return SEARCH_OVER;
        if (step != JOURNAL_STEP_RECORD || rec.type != JOURNAL_EVENT ||
            memcmp(rec.sub_tag, job->tag, 16) != 0)
            continue;
        if (e->ref_cnt == ERASED_REFS_MAX)
            return search_failed("more records of one subject than an erasure can name");
        e->refs[e->ref_cnt++] = (struct erased_ref){rec.ts_ms, rec.leaf};
    }
    return SEARCH_GOES_ON;
}

static bool begin_search(struct erasing *e)
{
    struct fault f = {{0}};

    e->until = journal_next_leaf(e->ledger->journal);
    e->rd = journal_reader_open(e->ledger->dir, e->ledger->node, &f);
    if (e->rd == NULL)
        log_error("erase.journal", "reason=\"%s\"", f.text);
    return e->rd != NULL;
}

/* One that is known may still be given haste. */
static void repeat(struct erasing *e, const struct job *job, struct erasure *known)
{
    struct fault f = {{0}};

    if ((job->msg.flags & LEDGER_ERASE_NOW) != 0 && !erased_note_now(e->list, known, &f)) {
        log_error("erase.list", "reason=\"%s\"", f.text);
        answer(e, job, LEDGER_ERASE_UNAVAILABLE, NULL);
        return;
    }
    answer(e, job, known->held ? LEDGER_ERASE_HELD : LEDGER_ERASE_KNOWN, known);
    ledger_erase_work(e->ledger);
}

/* False: the search goes on in the next turn. */
static bool erase(struct erasing *e, const struct job *job)
{
    enum searched found = e->rd != NULL || begin_search(e) ? search(e, job) : SEARCH_FAILED;

    if (found == SEARCH_GOES_ON)
        return false;
    if (found == SEARCH_OVER)
        promise(e, job);
    else
        answer(e, job, LEDGER_ERASE_UNAVAILABLE, NULL);
    return true;
}

static void on_step(void *arg)
{
    struct erasing *e = arg;
    struct job *job = &e->jobs[e->head];
    struct erasure *known = erased_by_tag(e->list, job->tag);

    if (job->msg.action == LEDGER_DROP) {
        drop(e, job);
    } else if (job->msg.action != LEDGER_ERASE) {
        hold(e, job);
    } else if (known != NULL) {
        repeat(e, job, known);
    } else if (!erase(e, job)) {
        loop_defer(e->ledger->loop, &e->step);
        return;
    }
    next_job(e);
}

void ledger_erase(struct ledger *l, uint64_t peer, struct str payload)
{
    struct erasing *e = l->erasing;
    struct job job = {.peer = peer};
    struct job_ring ring;
    bool known;

    if (payload.len == sizeof(job.msg))
        memcpy(&job.msg, payload.ptr, sizeof(job.msg));
    job.msg.actor[sizeof(job.msg.actor) - 1] = '\0';
    known = e != NULL && job.msg.version == LEDGER_MSG_VERSION && job.msg.action >= LEDGER_ERASE &&
            job.msg.action <= LEDGER_DROP;
    if (known)
        ring = ring_of(e);
    if (!known || !jobs_have_room(&ring, peer) ||
        (l->other_index && job.msg.action != LEDGER_DROP)) {
        struct ledger_erase_ack ack = {.req_id = job.msg.req_id,
                                       .status =
                                           known ? LEDGER_ERASE_UNAVAILABLE : LEDGER_ERASE_REFUSED};
        if (l->ops.on_erased != NULL)
            l->ops.on_erased(l->owner, peer, &ack);
        return;
    }
    record_sub_tag(l->idx_key, job.msg.subject, job.tag);
    erased_gone(job.msg.subject, job.gone);
    e->jobs[(e->head + e->cnt++) % JOBS_MAX] = job;
    loop_defer(l->loop, &e->step);
}

/* From the moment of the request nothing more is recorded under the subject. */
bool ledger_is_gone(const struct ledger *l, const uint8_t subject[16])
{
    const struct erasing *e = l->erasing;
    uint8_t gone[16];

    if (e == NULL || (e->cnt == 0 && erased_cnt(e->list) == 0))
        return false;
    erased_gone(subject, gone);
    for (unsigned i = 0; i < e->cnt; i++) {
        const struct job *job = &e->jobs[(e->head + i) % JOBS_MAX];

        if (job->msg.action == LEDGER_ERASE && memcmp(job->gone, gone, 16) == 0)
            return true;
    }
    return erased_is_gone(e->list, gone);
}

const struct erased *ledger_erased(const struct ledger *l)
{
    return l->erasing != NULL ? l->erasing->list : NULL;
}

struct erased *ledger_erasures(struct ledger *l)
{
    return l->erasing != NULL ? l->erasing->list : NULL;
}

bool ledger_erase_open(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    struct erasing *e;

    if (cfg->erased_path == NULL)
        return true;
    e = mem_new(struct erasing);
    e->ledger = l;
    e->backup_ms = cfg->backup_retention_ms;
    e->record_ms = cfg->record_retention_ms;
    e->step = (struct deferred){.fn = on_step, .arg = e};
    e->refs = mem_calloc(ERASED_REFS_MAX, sizeof(*e->refs));
    e->list = erased_open(cfg->erased_path, cfg->node, f);
    l->erasing = e;
    return e->list != NULL;
}

void ledger_erase_close(struct ledger *l)
{
    struct erasing *e = l->erasing;

    if (e == NULL)
        return;
    loop_undefer(l->loop, &e->step);
    journal_reader_close(e->rd);
    erased_free(e->list);
    free(e->refs);
    free(e);
    l->erasing = NULL;
}
