/*
 * verify_api.c - verification as a job: POST /api/v1/verify begins it, GET /api/v1/verify/ID tells
 * how far it is. One at a time, in steps between the turns of the loop; nobody is held up.
 *
 *   {"depth":"log"|"deep","from":…,"to":…}      all may be left out; from and to with "deep"
 *
 *   log    the checkpoint's signature; every entry hashed to the signed root, every tile of the
 *          lowest level against the entries
 *   deep   also every record of [from, to): opened, its commitment against its entry, and none
 *          missing that was not erased on request or dropped with its month, as records of the
 *          log name it (named.h)
 *
 * Logs that ended before the one of today (restarts.h) are named in "earlier" and verified too,
 * after it; the result is the worst of all.
 *
 * The last answer stays until the next job. `consentctl audit verify` looks at more (verify.h).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/erased.h"
#include "consentd/json.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/named.h"
#include "consentd/query_text.h"
#include "consentd/record.h"
#include "consentd/restarts.h"
#include "consentd/tlog.h"
#include "verify_earlier.h"

#define BUNDLES_A_STEP 4 /* of entries, between two turns of the loop */

struct verify_job {
    struct admin *admin;
    uint64_t id;
    enum verify_result result, today; /* of all logs; of the one that is signed today */
    char what[FAULT_TEXT_MAX];        /* the first thing that does not fit */
    bool deep;
    struct tlog_dir dir;
    struct merkle_tree tree;
    struct merkle_frontier frontier;
    struct buf entries; /* one bundle */
    uint64_t bundle;    /* its number; valid with entries.len > 0 */
    struct deferred go;
    struct feed feed;
    struct named *named; /* owned; what is missing, and what names it */
    bool any;            /* of the records */
    uint64_t first;      /* leaf that the records began with; UINT64_MAX: none */
    uint64_t next;       /* the leaf that must come */
    uint64_t records, opened, erased, keyless;
    char origin[NOTE_NAME_MAX + 1];
    struct verify_earlier earlier[RESTARTS_MAX]; /* newest first */
    unsigned earlier_cnt;
};

/* The log of today is through; those that ended are next. */
static void finish(struct verify_job *v, enum verify_result result, const char *what)
{
    v->today = result;
    (void)snprintf(v->what, sizeof(v->what), "%s", what);
    if (result == VERIFY_CHANGED)
        log_error("verify.tampered", "what=\"%s\"", v->what);
    buf_free(&v->entries);
    loop_defer(v->admin->loop, &v->go);
}

static void finish_leaf(struct verify_job *v, uint64_t leaf, const char *why)
{
    char what[160];

    (void)snprintf(what, sizeof(what), "leaf %" PRIu64 ": %s", leaf, why);
    finish(v, VERIFY_CHANGED, what);
}

/* --- the log ------------------------------------------------------------------ */

static bool load_entries(struct verify_job *v, uint64_t bundle, struct fault *f)
{
    if (v->entries.len > 0 && v->bundle == bundle)
        return true;
    buf_clear(&v->entries);
    v->bundle = bundle;
    return tlog_read(&v->dir, TLOG_ENTRIES, bundle, &v->entries, f);
}

/* The hashes of a bundle's entries onto the tree, and against the tile that has them. */
static bool check_bundle(struct verify_job *v, uint64_t bundle)
{
    struct fault f = {{0}};
    struct buf tile;
    bool ok;

    buf_init(&tile, TLOG_TILE_LEN);
    ok = load_entries(v, bundle, &f) && tlog_read(&v->dir, 0, bundle, &tile, &f);
    if (!ok)
        finish(v, VERIFY_LACKING, f.text);
    for (size_t i = 0; ok && i * TLOG_ENTRY_LEN < v->entries.len; i++) {
        const uint8_t *entry = v->entries.data + i * TLOG_ENTRY_LEN;
        uint8_t leaf[32];

        merkle_leaf(str_make(entry + 2, 32), leaf);
        merkle_append(&v->frontier, leaf);
        ok = entry[0] == 0 && entry[1] == 32 && memcmp(tile.data + i * 32, leaf, 32) == 0;
        if (!ok)
            finish_leaf(v, bundle * TLOG_TILE_WIDTH + i, "the tile does not fit its entry");
    }
    buf_free(&tile);
    return ok;
}

static void ask_records(struct verify_job *v);

/* Those that ended, newest first; with the last one the job is done. */
static void go_earlier(struct verify_job *v)
{
    for (unsigned i = 0; i < v->earlier_cnt; i++) {
        struct verify_earlier *e = &v->earlier[i];

        if (e->result != VERIFY_RUNNING)
            continue;
        verify_earlier_step(e, &v->dir);
        loop_defer(v->admin->loop, &v->go);
        return;
    }
    v->result = v->today;
    for (unsigned i = 0; i < v->earlier_cnt; i++) {
        const struct verify_earlier *e = &v->earlier[i];

        if (v->what[0] == '\0' && e->result != VERIFY_FINE)
            (void)snprintf(v->what, sizeof(v->what), "%s: %s", e->origin, e->what);
        v->result = verify_worse(v->result, e->result);
    }
}

static void on_go(void *arg)
{
    struct verify_job *v = arg;
    uint8_t root[32];

    if (v->today != VERIFY_RUNNING) {
        go_earlier(v);
        return;
    }
    for (unsigned i = 0; i < BUNDLES_A_STEP && v->frontier.size < v->tree.size; i++)
        if (!check_bundle(v, v->frontier.size / TLOG_TILE_WIDTH))
            return;
    if (v->frontier.size < v->tree.size) {
        loop_defer(v->admin->loop, &v->go);
        return;
    }
    merkle_root(&v->frontier, root);
    if (memcmp(root, v->tree.root, sizeof(root)) != 0)
        finish(v, VERIFY_CHANGED, "the entries are not those that were signed");
    else if (v->deep)
        ask_records(v);
    else
        finish(v, VERIFY_FINE, "");
}

/* --- the records ------------------------------------------------------------------ */

/* The leaf that must be there next; `leaf` when nobody can say, at the beginning of a range. */
static uint64_t expected(const struct verify_job *v, const struct erased *list, uint64_t leaf)
{
    uint64_t kept;

    if (v->any)
        return v->next;
    return v->feed.spec.from_ms == 0 && erased_kept_from(list, &kept) ? kept : leaf;
}

/* Not there, and erased by the list; its erase record is not in an earlier month than this one. */
static void missed(struct verify_job *v, const struct erased *list, uint64_t leaf)
{
    const struct erasure *x = erased_of(list, leaf);
    uint32_t month = 0;

    for (unsigned i = 0; x != NULL && i < x->ref_cnt; i++)
        if (x->refs[i].leaf == leaf)
            month = record_month(x->refs[i].ts_ms);
    named_missing(v->named, leaf, month);
    v->erased++;
}

/* Every leaf up to this one was there, or erased on request. */
static bool check_gap(struct verify_job *v, uint64_t leaf)
{
    const struct erased *list = store_log(v->admin->store)->erased;
    uint64_t from = expected(v, list, leaf);

    if (!v->any)
        v->first = from < leaf ? from : leaf;
    for (uint64_t i = from; i < leaf; i++) {
        if (!erased_has(list, i)) {
            finish_leaf(v, i, "the record is missing, and was not erased on request");
            return false;
        }
        missed(v, list, i);
    }
    named_leaf(v->named, leaf);
    v->any = true;
    v->next = leaf + 1;
    return true;
}

static bool on_row(void *arg, const struct query_row *row)
{
    struct verify_job *v = arg;
    struct fault f = {{0}};

    if (!check_gap(v, row->leaf))
        return false;
    v->records++;
    switch (row->status) {
    case QUERY_ROW_TAMPERED:
        finish_leaf(v, row->leaf, "the record does not open, or is not what it was");
        return false;
    case QUERY_ROW_ERASED:
        if (erased_has(store_log(v->admin->store)->erased, row->leaf)) {
            missed(v, store_log(v->admin->store)->erased, row->leaf);
            return true;
        }
        finish_leaf(v, row->leaf, "its secret is gone, and it was not erased on request");
        return false;
    case QUERY_ROW_NO_KEY:
        v->keyless++;
        return true;
    case QUERY_ROW_OK:
        break;
    }
    v->opened++;
    if (row->kind == RECORD_OPERATOR)
        named_read(v->named, row->json);
    if (row->leaf >= v->tree.size)
        return true; /* newer than the checkpoint */
    if (!load_entries(v, row->leaf / TLOG_TILE_WIDTH, &f)) {
        finish(v, VERIFY_LACKING, f.text);
        return false;
    }
    if (memcmp(v->entries.data + row->leaf % TLOG_TILE_WIDTH * TLOG_ENTRY_LEN + 2, row->cmt, 32) ==
        0)
        return true;
    finish_leaf(v, row->leaf, "the record is not the one that was signed");
    return false;
}

/* Records name what was missing. */
static void finish_named(struct verify_job *v)
{
    const struct query_log *log = store_log(v->admin->store);
    const struct query_spec *spec = &v->feed.spec;
    const struct named_ask ask = {.list = log->erased,
                                  .keks = log->keks,
                                  .to_end = spec->to_ms == 0,
                                  .whole = spec->from_ms == 0 && spec->to_ms == 0,
                                  .first = v->first};
    char where[NAMED_WHAT_MAX], what[FAULT_TEXT_MAX];
    struct fault why = {{0}};
    enum verify_status status = named_judge(v->named, &ask, where, &why);

    (void)snprintf(what, sizeof(what), "%s: %.600s", where, why.text);
    if (status == VERIFY_OK)
        finish(v, VERIFY_FINE, "");
    else
        finish(v, status == VERIFY_INCOMPLETE ? VERIFY_LACKING : VERIFY_CHANGED, what);
}

/* Nothing follows: what was signed is all there, but for what was erased on request. */
static void finish_records(struct verify_job *v)
{
    const struct erased *list = store_log(v->admin->store)->erased;
    uint64_t leaf = v->feed.spec.to_ms == 0 ? expected(v, list, v->tree.size) : v->tree.size;
    char what[120];

    for (; leaf < v->tree.size && erased_has(list, leaf); leaf++)
        missed(v, list, leaf);
    if (leaf >= v->tree.size) {
        finish_named(v);
        return;
    }
    (void)snprintf(what, sizeof(what),
                   "leaves from %" PRIu64 " on: signed, and not there: not shipped yet, or removed",
                   leaf);
    finish(v, VERIFY_LACKING, what);
}

static void on_turn(void *arg, const struct feed_end *end)
{
    struct verify_job *v = arg;

    if (v->today != VERIFY_RUNNING)
        return;
    if (!end->ok || end->partial)
        finish(v, VERIFY_LACKING, end->ok ? "Redis is away" : end->fault.text);
    else if (end->more)
        feed_ask(v->admin->store, &v->feed);
    else
        finish_records(v);
}

static void ask_records(struct verify_job *v)
{
    v->feed.on_row = on_row;
    v->feed.on_end = on_turn;
    v->feed.arg = v;
    v->feed.spec.oldest_first = true;
    v->feed.spec.limit = QUERY_LIMIT_MAX;
    feed_ask(v->admin->store, &v->feed);
}

/* --- requests ------------------------------------------------------------------ */

static void answer(struct admin_client *c, unsigned status, const struct verify_job *v)
{
    json_t *earlier = json_array();
    json_t *root;
    char *text;

    for (unsigned i = 0; i < v->earlier_cnt; i++)
        json_array_append_new(earlier, verify_earlier_json(&v->earlier[i]));
    root = json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "id",
                     (json_int_t)v->id, "depth", v->deep ? "deep" : "log", "origin", v->origin,
                     "result", verify_result_name(v->result), "what", v->what, "leaves",
                     (json_int_t)v->tree.size, "hashed", (json_int_t)v->frontier.size, "records",
                     (json_int_t)v->records, "opened", (json_int_t)v->opened, "erased",
                     (json_int_t)v->erased, "keyless", (json_int_t)v->keyless, "earlier", earlier);
    text = json_dumps(root, JSON_COMPACT);
    admin_answer(c, status, "application/json", str_c(text));
    free(text);
    json_decref(root);
}

static bool take_time(const json_t *request, const char *key, uint64_t *out, struct fault *f)
{
    const json_t *value = json_object_get(request, key);

    if (value == NULL ||
        (json_is_string(value) && query_time_parse(str_c(json_string_value(value)), out)))
        return true;
    fault_set(f, "%s: expected a time such as \"2026-11-01\"", key);
    return false;
}

/* Whoever misspells "depth" must not believe that the records were looked at. */
static bool knows_keys(json_t *request, struct fault *f)
{
    const char *key;
    json_t *value;

    if (!json_is_object(request)) {
        fault_set(f, "expected an object: {\"depth\":…,\"from\":…,\"to\":…}");
        return false;
    }
    json_object_foreach (request, key, value) {
        if (strcmp(key, "depth") == 0 && json_is_string(value))
            continue;
        if (strcmp(key, "from") == 0 || strcmp(key, "to") == 0)
            continue;
        fault_set(f, "\"%.60s\": expected depth, \"log\" or \"deep\", from and to", key);
        return false;
    }
    return true;
}

static bool take_request(struct verify_job *v, struct str body, struct fault *f)
{
    json_t *request = body.len > 0 ? json_load_text("request", body, 0, f) : json_object();
    const char *depth = json_string_value(json_object_get(request, "depth"));
    bool ok = request != NULL && knows_keys(request, f) &&
              take_time(request, "from", &v->feed.spec.from_ms, f) &&
              take_time(request, "to", &v->feed.spec.to_ms, f) && query_check(&v->feed.spec, f);

    v->deep = depth != NULL && strcmp(depth, "deep") == 0;
    if (ok && depth != NULL && !v->deep && strcmp(depth, "log") != 0) {
        fault_set(f, "depth: expected \"log\" or \"deep\"");
        ok = false;
    }
    json_decref(request);
    return ok;
}

/* The logs that ended on this machine. */
static void begin_earlier(struct verify_job *v)
{
    const struct admin *a = v->admin;
    const struct log_restarts *restarts = store_restarts(a->store);
    struct note_key keys[ADMIN_LOG_KEYS];

    for (unsigned i = restarts->cnt; i > 0; i--) {
        struct verify_earlier *e = &v->earlier[v->earlier_cnt++];

        *e = (struct verify_earlier){.node = restarts_node_at(restarts, i - 1),
                                     .ended_ms = restarts->items[i - 1].ts_ms,
                                     .next_leaf = restarts->items[i - 1].from};
        verify_earlier_begin(e, restarts_folder(store_journal(a->store), restarts, i - 1), keys,
                             admin_node_keys(a, e->node, keys));
    }
}

void verify_api_begin(struct admin_client *c)
{
    struct admin *a = c->admin;
    struct verify_job *v;
    struct note_key keys[ADMIN_LOG_KEYS];
    unsigned key_cnt = admin_log_keys(a, keys);
    struct fault f = {{0}};
    struct buf note;

    if (a->verify != NULL && a->verify->result == VERIFY_RUNNING) {
        admin_answer_error(c, 409, "verification %" PRIu64 " is under way", a->verify->id);
        return;
    }
    v = mem_new(struct verify_job);
    v->admin = a;
    v->id = a->verify != NULL ? a->verify->id + 1 : 1;
    v->dir.path = a->log_path;
    v->go = (struct deferred){.fn = on_go, .arg = v};
    v->first = UINT64_MAX;
    if (!take_request(v, c->rq.body, &f)) {
        free(v);
        admin_answer_error(c, 400, "%s", f.text);
        return;
    }
    verify_api_free(a);
    a->verify = v;
    v->named = named_new(store_log(a->store)->node);
    begin_earlier(v);
    if (key_cnt > 0)
        (void)snprintf(v->origin, sizeof(v->origin), "%s", keys[0].name);
    buf_init(&v->entries, TLOG_BUNDLE_LEN);
    buf_init(&note, NOTE_CHECKPOINT_MAX);
    if (tlog_checkpoint(a->log_path, keys, key_cnt, &note, &v->tree, &f)) {
        v->dir.size = v->tree.size;
        loop_defer(a->loop, &v->go);
    } else {
        finish(v, VERIFY_LACKING, f.text);
    }
    buf_free(&note);
    answer(c, 200, v);
}

void verify_api_state(struct admin_client *c)
{
    const struct verify_job *v = c->admin->verify;
    uint64_t id;

    if (v == NULL || !str_to_u64(c->rq.param, UINT64_MAX, &id) || id != v->id)
        admin_answer_error(c, 404, "there is no such verification: only the last one is kept");
    else
        answer(c, 200, v);
}

void verify_api_free(struct admin *a)
{
    struct verify_job *v = a->verify;

    a->verify = NULL;
    if (v == NULL)
        return;
    loop_undefer(a->loop, &v->go);
    if (v->feed.store != NULL)
        feed_cancel(&v->feed);
    for (unsigned i = 0; i < v->earlier_cnt; i++)
        verify_earlier_free(&v->earlier[i]);
    buf_free(&v->entries);
    named_free(v->named);
    free(v);
}
