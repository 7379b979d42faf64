/*
 * events_api.c - questions about records: a page of events, one event, a subject, the operator log.
 *
 *   {"events": [JSON lines of query_text.h], "cursor": "…"|null, "more": bool, "hw": N|null,
 *    "partial": bool, "scanned": N}
 *
 * An answer never takes longer than EVENTS_MS: a page that has fewer rows than were asked for and a
 * cursor means that the rest of the ledger was not looked at yet. There is no total.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/query_text.h"
#include "consentd/restarts.h"

#define EVENTS_MS  2000        /* a page is answered after so long, full or not */
#define EVENTS_MAX (12u << 20) /* bytes of its text */

struct events {
    struct admin_client *c;
    struct feed feed;
    struct params params; /* what the spec's texts point into */
    struct buf out;
    unsigned limit, rows;
    uint8_t node; /* its records alone; 0: of all logs of this machine */
    uint64_t begun_ms, scanned;
    bool full; /* out has no room for another row */
    bool partial, has_hw;
    uint64_t hw;
};

static void drop(struct admin_client *c)
{
    struct events *e = c->state;

    feed_cancel(&e->feed);
    params_free(&e->params);
    buf_free(&e->out);
    free(e);
}

static const struct admin_job job = {.drop = drop};

static bool on_row(void *arg, const struct query_row *row)
{
    struct events *e = arg;
    size_t before = e->out.len;

    if (e->node != 0 && row->node != e->node)
        return true;
    if ((e->rows > 0 && !buf_append_char(&e->out, ',')) || !query_row_json(row, false, &e->out)) {
        e->out.len = before;
        e->full = true;
        return false;
    }
    e->rows++;
    return e->rows < e->limit;
}

static void answer(struct events *e, const struct feed_end *end)
{
    bool more = end->more && end->cursor[0] != '\0';
    char hw[24] = "null";

    if (e->has_hw)
        (void)snprintf(hw, sizeof(hw), "%" PRIu64, e->hw);
    if (buf_printf(&e->out,
                   "],\"cursor\":%s%s%s,\"more\":%s,\"hw\":%s,\"partial\":%s,\"scanned\":%" PRIu64
                   "}",
                   more ? "\"" : "", more ? end->cursor : "null", more ? "\"" : "",
                   more ? "true" : "false", hw, e->partial ? "true" : "false", e->scanned))
        admin_answer(e->c, 200, "application/json", buf_str(&e->out));
    else
        admin_answer_error(e->c, 500, "the page is too large: ask for fewer rows");
}

static void on_turn(void *arg, const struct feed_end *end)
{
    struct events *e = arg;

    e->scanned += end->scanned;
    e->partial = e->partial || end->partial;
    if (end->has_hw && (!e->has_hw || end->hw > e->hw)) {
        e->has_hw = true;
        e->hw = end->hw;
    }
    if (!end->ok) {
        admin_answer_error(e->c, 503, "%s", end->fault.text);
    } else if (e->full) { /* its row was looked at and not given: the cursor would skip it */
        admin_answer_error(e->c, 413, "the page is too large: ask for fewer rows");
    } else if (end->more && e->rows < e->limit && clock_mono_ms() - e->begun_ms < EVENTS_MS) {
        e->feed.spec.limit = e->limit - e->rows;
        feed_ask(e->c->admin->store, &e->feed);
    } else {
        answer(e, end);
    }
}

/* A job that hangs on the client; it is not asked yet. */
static struct events *begin(struct admin_client *c)
{
    struct events *e = mem_new(struct events);

    e->c = c;
    e->begun_ms = clock_mono_ms();
    e->feed.arg = e;
    e->feed.on_row = on_row;
    e->feed.on_end = on_turn;
    e->limit = 100;
    buf_init(&e->out, EVENTS_MAX);
    admin_job_begin(c, &job, e);
    return e;
}

/* A number of this machine: that of the log of today, or of one before. */
static bool take_node(const struct log_restarts *restarts, struct str text, uint8_t *out)
{
    uint64_t number;

    if (!str_to_u64(text, UINT8_MAX, &number))
        return false;
    for (unsigned i = 0; i <= restarts->cnt; i++)
        if (restarts_node_at(restarts, i) == number) {
            *out = (uint8_t)number;
            return true;
        }
    return false;
}

/* The parameters into the spec; false after the client was answered. */
static bool take_filters(struct events *e)
{
    struct query_spec *spec = &e->feed.spec;
    const struct query_log *log = store_log(e->c->admin->store);
    const struct log_restarts *restarts = store_restarts(e->c->admin->store);
    struct str node = params_take(&e->params, "node");
    struct fault f = {{0}};
    bool ok = true;

    if (node.ptr != NULL && !take_node(restarts, node, &e->node)) {
        admin_answer_error(e->c, 400, "this is node %u: each node answers for its own log",
                           restarts_node(restarts));
        return false;
    }
    for (size_t i = 0; ok && i < e->params.cnt; i++)
        ok = query_spec_set(spec, e->params.list[i].name, e->params.list[i].value, &f);
    if (ok && query_check(spec, &f) && query_check_cursor(spec, log->node, &f)) {
        if (spec->limit != 0)
            e->limit = spec->limit;
        spec->limit = e->limit;
        return true;
    }
    admin_answer_error(e->c, 400, "%s", f.text);
    return false;
}

static void list(struct admin_client *c, enum record_kind kind)
{
    struct params params;
    struct events *e;

    if (!admin_params(c, &params))
        return;
    e = begin(c);
    e->params = params;
    e->feed.spec.kind = kind;
    if (!take_filters(e))
        return;
    if (kind != RECORD_UNKNOWN && e->feed.spec.kind != kind)
        admin_answer_error(c, 400, "the operator log holds records of operators: no other kind");
    else if (buf_append_c(&e->out, "{\"events\":["))
        feed_ask(c->admin->store, &e->feed);
    else
        admin_answer_error(c, 500, "no memory");
}

void events_api_list(struct admin_client *c)
{
    list(c, RECORD_UNKNOWN);
}

void events_api_oplog(struct admin_client *c)
{
    list(c, RECORD_OPERATOR);
}

/* --- one event ---------------------------------------------------------------------------- */

static void on_one(void *arg, const struct feed_end *end)
{
    struct events *e = arg;

    if (!end->ok)
        admin_answer_error(e->c, 503, "%s", end->fault.text);
    else if (e->rows == 0 && end->partial)
        admin_answer_error(e->c, 503, "Redis is away, and the journal has no such record");
    else if (e->rows == 0)
        admin_answer_error(e->c, 404, "there is no record %.*s", STR_ARGS(e->c->rq.param));
    else
        admin_answer(e->c, 200, "application/json", buf_str(&e->out));
}

void events_api_one(struct admin_client *c)
{
    const struct log_restarts *restarts = store_restarts(c->admin->store);
    uint64_t node, leaf;
    struct events *e;

    if (!query_place_parse(c->rq.param, &node, &leaf)) {
        admin_answer_error(c, 400, "a record is NODE:LEAF, for example 1:42");
        return;
    }
    if (node != restarts_node_of(restarts, leaf)) {
        admin_answer_error(c, 404, "this is node %u: each node answers for its own log",
                           restarts_node(restarts));
        return;
    }
    e = begin(c);
    e->limit = 1;
    e->feed.by_leaf = true;
    e->feed.leaf = leaf;
    e->feed.on_end = on_one;
    feed_ask(c->admin->store, &e->feed);
}

/* --- a subject ------------------------------------------------------------------------------ */

void events_api_subject(struct admin_client *c)
{
    uint8_t subject[16];
    char name[B64_LEN(16) + 1];
    struct params params;
    struct events *e;

    if (!query_subject_parse(c->rq.param, subject)) {
        admin_answer_error(c, 400, "a subject is 22 characters of base64url");
        return;
    }
    if (!admin_params(c, &params))
        return;
    e = begin(c);
    e->params = params;
    e->feed.spec.has_subject = true;
    memcpy(e->feed.spec.subject, subject, sizeof(subject));
    b64url_encode(name, subject, sizeof(subject));
    if (!take_filters(e))
        return;
    if (memcmp(e->feed.spec.subject, subject, sizeof(subject)) != 0)
        admin_answer_error(c, 400, "the subject is in the path: no sub");
    else if (buf_printf(&e->out, "{\"subject\":\"s_%s\",\"events\":[", name))
        feed_ask(c->admin->store, &e->feed);
    else
        admin_answer_error(c, 500, "no memory");
}
