/*
 * proofs_api.c - the signed checkpoint, and proofs that a record is in the log it signs.
 *
 * GET /events/NODE:LEAF/proof answers with a tlog-proof (C2SP); ?disclose=1 puts r || J into its
 * "extra" line, so that the proof also says what the record is. A record that was erased can still
 * be proven to have been there, but not disclosed.
 */
#include <stdlib.h>

#include "admin_priv.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/query_text.h"
#include "consentd/record.h"
#include "consentd/restarts.h"
#include "consentd/tlog.h"

struct proof {
    struct admin_client *c;
    struct feed feed;
    struct buf extra; /* r || J */
    enum query_row_status status;
    bool there;
};

static void drop(struct admin_client *c)
{
    struct proof *p = c->state;

    feed_cancel(&p->feed);
    buf_free(&p->extra);
    free(p);
}

static const struct admin_job job = {.drop = drop};

unsigned admin_log_keys(const struct admin *a, struct note_key out[ADMIN_LOG_KEYS])
{
    return admin_node_keys(a, restarts_node(store_restarts(a->store)), out);
}

unsigned admin_node_keys(const struct admin *a, uint8_t node, struct note_key out[ADMIN_LOG_KEYS])
{
    struct buf origin;
    unsigned cnt = 0;

    buf_init(&origin, NOTE_NAME_MAX);
    if (note_origin(store_log(a->store)->site, node, &origin))
        for (; cnt < a->setup.log_key_cnt && cnt < ADMIN_LOG_KEYS; cnt++)
            if (!note_key_named(buf_str(&origin), a->setup.log_keys[cnt].public_key, &out[cnt]))
                break;
    buf_free(&origin);
    return cnt;
}

bool admin_prove(const struct admin *a, uint64_t leaf, struct str extra, struct buf *out,
                 struct fault *f)
{
    struct note_key keys[ADMIN_LOG_KEYS];
    const struct tlog_public log = {
        .path = a->log_path, .keys = keys, .key_cnt = admin_log_keys(a, keys)};

    return tlog_prove(&log, leaf, extra, out, f);
}

static void answer(struct admin_client *c, uint64_t leaf, struct str extra)
{
    struct fault f = {{0}};
    struct buf out;

    buf_init(&out, NOTE_PROOF_MAX);
    if (admin_prove(c->admin, leaf, extra, &out, &f))
        admin_answer(c, 200, "text/plain; charset=utf-8", buf_str(&out));
    else
        admin_answer_error(c, 404, "%s", f.text);
    buf_free(&out);
}

static bool on_row(void *arg, const struct query_row *row)
{
    struct proof *p = arg;

    p->there = true;
    p->status = row->status;
    if (row->status == QUERY_ROW_OK &&
        (!buf_append(&p->extra, row->r, 32) || !buf_append_str(&p->extra, row->json)))
        p->status = QUERY_ROW_TAMPERED;
    return false;
}

static void on_turn(void *arg, const struct feed_end *end)
{
    const struct proof *p = arg;

    if (!end->ok)
        admin_answer_error(p->c, 503, "%s", end->fault.text);
    else if (!p->there && end->partial)
        admin_answer_error(p->c, 503, "Redis is away, and the journal has not got record %.*s",
                           STR_ARGS(p->c->rq.param));
    else if (!p->there)
        admin_answer_error(p->c, 404, "there is no record %.*s to disclose",
                           STR_ARGS(p->c->rq.param));
    else if (p->status != QUERY_ROW_OK)
        admin_answer_error(p->c, 410, "record %.*s can't be disclosed: %s",
                           STR_ARGS(p->c->rq.param), query_status_name(p->status));
    else
        answer(p->c, p->feed.leaf, buf_str(&p->extra));
}

void proofs_api_one(struct admin_client *c)
{
    const struct log_restarts *restarts = store_restarts(c->admin->store);
    struct params params;
    struct proof *p;
    uint64_t node, leaf;
    bool disclose;

    if (!query_place_parse(c->rq.param, &node, &leaf) || node != restarts_node_of(restarts, leaf)) {
        admin_answer_error(c, 404, "a record is NODE:LEAF, for example %u:42; this is node %u",
                           restarts->first, restarts_node(restarts));
        return;
    }
    if (!admin_params(c, &params))
        return;
    disclose = str_eq_c(params_take(&params, "disclose"), "1");
    params_free(&params);
    if (!disclose) {
        answer(c, leaf, str_c(""));
        return;
    }
    p = mem_new(struct proof);
    p->c = c;
    buf_init(&p->extra, RECORD_OPLOG_MAX + 32);
    p->feed =
        (struct feed){.by_leaf = true, .leaf = leaf, .on_row = on_row, .on_end = on_turn, .arg = p};
    admin_job_begin(c, &job, p);
    feed_ask(c->admin->store, &p->feed);
}

void proofs_api_checkpoint(struct admin_client *c)
{
    const struct admin *a = c->admin;
    struct note_key keys[ADMIN_LOG_KEYS];
    unsigned key_cnt = admin_log_keys(a, keys);
    struct merkle_tree tree;
    struct fault f = {{0}};
    struct buf text;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    if (tlog_checkpoint(a->log_path, keys, key_cnt, &text, &tree, &f))
        admin_answer(c, 200, "text/plain; charset=utf-8", buf_str(&text));
    else
        admin_answer_error(c, 404, "%s", f.text);
    buf_free(&text);
}
