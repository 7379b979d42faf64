/*
 * verify_redis.c - level 3: every stream entry of every month, in the order of its leaves.
 *
 * One command at a time: each is sent and waited for, so that the walk reads like a loop.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/envelope.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "verify_redis_priv.h"

#define CONNECT_WAIT_MS 5000
#define NOTES_CHUNK     1000 /* checkpoints at a time */

/* --- asking ----------------------------------------------------------------------------- */

static void on_up(void *owner)
{
    struct verify_redis *r = owner;

    r->up = true;
    timer_clear(&r->patience);
    loop_stop(r->loop);
}

static void on_down(void *owner, const char *why)
{
    struct verify_redis *r = owner;

    r->failed = true;
    (void)snprintf(r->why, sizeof(r->why), "%s", why);
    loop_stop(r->loop);
}

static void on_patience(void *arg)
{
    on_down(arg, "no answer");
}

static void on_reply(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;

    if (reply == NULL)
        return; /* on_down follows */
    if (resp_type(reply) == RESP_ERROR) {
        r->failed = true;
        (void)snprintf(r->why, sizeof(r->why), "%.*s", STR_ARGS(resp_str(reply)));
    } else {
        r->take(r, reply);
    }
    loop_stop(r->loop);
}

int verify_ask(struct verify_redis *r, const struct str *argv, size_t argc, rlink_fn take)
{
    r->take = take;
    r->status = VERIFY_OK;
    if (r->failed || !rlink_command(r->link, argv, argc, on_reply, r))
        return verify_say(r->v, VERIFY_INCOMPLETE, "Redis", r->why);
    (void)loop_run(r->loop);
    return r->failed ? verify_say(r->v, VERIFY_INCOMPLETE, "Redis", r->why) : r->status;
}

int verify_redis_open(struct verify *v, struct verify_redis **out)
{
    static const struct rlink_ops ops = {.on_up = on_up, .on_down = on_down};
    struct verify_redis *r = mem_new(struct verify_redis);
    struct fault f = {{0}};

    *out = r;
    r->v = v;
    r->loop = loop_new();
    r->whole = v->cfg->from_ms == 0 && v->cfg->to_ms == 0;
    r->log = (struct apply_log){.site = v->cfg->site, .node = v->cfg->node};
    r->counters = mem_calloc(VERIFY_COUNTERS, sizeof(*r->counters));
    crypto_random(r->hash_key, sizeof(r->hash_key));
    buf_init(&r->chunk, (size_t)VERIFY_CHUNK * ENVELOPE_MAX);
    timer_init(&r->patience, r->loop, on_patience, r);
    r->link = rlink_new(r->loop, v->cfg->redis, &ops, r, &f);
    if (r->link == NULL)
        return verify_say(v, VERIFY_USAGE, "Redis", f.text);
    timer_set(&r->patience, CONNECT_WAIT_MS);
    (void)loop_run(r->loop);
    return r->up ? VERIFY_OK : verify_say(v, VERIFY_INCOMPLETE, "Redis", r->why);
}

void verify_redis_close(struct verify_redis *r)
{
    if (r == NULL)
        return;
    timer_clear(&r->patience);
    rlink_free(r->link);
    loop_poll(r->loop);
    loop_free(r->loop);
    buf_free(&r->chunk);
    free(r->counters);
    free(r);
}

/* --- checkpoints ------------------------------------------------------------------------ */

static void on_notes(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;

    r->entry_cnt = 0;
    for (size_t i = 0; i < resp_cnt(reply) && r->status == VERIFY_OK; i++) {
        struct str id = resp_str(resp_at(resp_at(reply, i), 0));
        struct str size;

        r->entry_cnt++;
        (void)snprintf(r->from_id, sizeof(r->from_id), "(%.*s", STR_ARGS(id));
        r->status =
            verify_note(r->v, "Redis c:cp", resp_str(resp_at(resp_at(resp_at(reply, i), 1), 1)));
        if (r->status != VERIFY_OK)
            return;
        r->v->redis_size = r->v->trees[r->v->tree_cnt - 1].tree.size;
        if (!str_cut(&id, '-', &size) || !str_to_u64(size, UINT64_MAX, &r->hw) ||
            r->hw != r->v->redis_size)
            r->status = verify_say(r->v, VERIFY_TAMPERED, "Redis c:cp",
                                   "a checkpoint stands under another size than its own");
    }
}

int verify_redis_notes(struct verify_redis *r)
{
    char key[SHIP_KEY_MAX];
    struct str argv[] = {STR("XRANGE"), {NULL, 0}, {NULL, 0}, STR("+"), STR("COUNT"), STR("1000")};
    int status;

    (void)snprintf(key, sizeof(key), "c:cp:%s:%u", r->log.site, r->v->cfg->log_node);
    (void)snprintf(r->from_id, sizeof(r->from_id), "-");
    argv[1] = str_c(key);
    do {
        char from[64];

        memcpy(from, r->from_id, sizeof(from));
        argv[2] = str_c(from);
        status = verify_ask(r, argv, COUNT_OF(argv), on_notes);
    } while (status == VERIFY_OK && r->entry_cnt == NOTES_CHUNK);
    return status;
}

/* --- secrets and records ---------------------------------------------------------------- */

static void on_secrets(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;

    for (unsigned i = 0; i < r->group_cnt; i++) {
        struct verify_entry *e = &r->entries[r->group_at + i];
        struct str secret = resp_str(resp_at(reply, i));

        e->has_r = secret.len == sizeof(e->r);
        if (e->has_r)
            memcpy(e->r, secret.ptr, sizeof(e->r));
    }
}

/* The secrets of the entries from group_at on that share a bucket. */
static int ask_secrets(struct verify_redis *r)
{
    struct str argv[VERIFY_CHUNK + 2] = {STR("HMGET")};
    char key[SHIP_KEY_MAX], suffix[SHIP_SUFFIX_MAX], fields[VERIFY_CHUNK][4];
    const struct verify_entry *first = &r->entries[r->group_at];

    ship_suffix_rk(suffix, first->leaf);
    ship_key(key, &r->log, r->month, suffix);
    argv[1] = str_c(key);
    for (r->group_cnt = 0; r->group_at + r->group_cnt < r->entry_cnt &&
                           first[r->group_cnt].leaf / 100 == first->leaf / 100;
         r->group_cnt++) {
        (void)snprintf(fields[r->group_cnt], sizeof(fields[0]), "%u",
                       (unsigned)(first[r->group_cnt].leaf % 100));
        argv[2 + r->group_cnt] = str_c(fields[r->group_cnt]);
    }
    return verify_ask(r, argv, r->group_cnt + 2, on_secrets);
}

static void on_bucket(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;

    r->secrets = resp_int(reply) > 0 ? (uint64_t)resp_int(reply) : 0;
}

/* The entries go on in this bucket; the one before has a secret for each entry, and no others. */
static int bucket_to(struct verify_redis *r, uint64_t bucket)
{
    char key[SHIP_KEY_MAX], suffix[SHIP_SUFFIX_MAX], what[60];
    int status;

    if (r->bucket_cnt == 0 || bucket == r->bucket || !r->whole) {
        r->bucket = bucket;
        return VERIFY_OK;
    }
    ship_suffix_rk(suffix, r->bucket * 100);
    ship_key(key, &r->log, r->month, suffix);
    status = verify_ask(r, (const struct str[]){STR("HLEN"), str_c(key)}, 2, on_bucket);
    if (status == VERIFY_OK && r->secrets > r->bucket_cnt) {
        (void)snprintf(what, sizeof(what), "leaves %" PRIu64 " to %" PRIu64, r->bucket * 100,
                       r->bucket * 100 + 99);
        return verify_say(r->v, VERIFY_TAMPERED, what,
                          "Redis keeps a secret of a record that it has not got");
    }
    r->bucket = bucket;
    r->bucket_cnt = 0;
    return status;
}

/* A leaf whose entry is not there: it must have been erased, its secret with it. */
static int check_missing(struct verify_redis *r, uint64_t leaf)
{
    const struct erasure *x = erased_of(r->v->cfg->erased, leaf);
    int status;

    if (!erased_has(r->v->cfg->erased, leaf))
        return verify_say_leaf(r->v, VERIFY_TAMPERED, leaf, "gone from Redis, and not erased");
    named_missing(r->v->named, leaf, r->month);
    for (unsigned i = 0; x != NULL && i < x->ref_cnt; i++)
        if (x->refs[i].leaf == leaf && x->refs[i].ts_ms / 86400000 == r->day)
            r->day_erased++;
    r->entries[0] = (struct verify_entry){.leaf = leaf};
    r->group_at = 0;
    r->entry_cnt = 1;
    status = ask_secrets(r);
    if (status == VERIFY_OK && r->entries[0].has_r)
        status = verify_say_leaf(r->v, VERIFY_INCOMPLETE, leaf,
                                 "erased, and its secret is still in Redis");
    return status;
}

static int check_missing_to(struct verify_redis *r, uint64_t end)
{
    int status = VERIFY_OK;

    for (; r->next < end && status == VERIFY_OK; r->next++)
        status = check_missing(r, r->next);
    return status;
}

static int check_entry(struct verify_redis *r, const struct verify_entry *e)
{
    struct verify *v = r->v;
    const struct str envelope = str_make(r->chunk.data + e->off, e->len);
    const struct verify_record rec = {.node = v->cfg->node,
                                      .leaf = e->leaf,
                                      .ts_ms = e->ts_ms,
                                      .month = envelope_month(envelope),
                                      .r = e->has_r ? e->r : NULL,
                                      .sealed = envelope,
                                      .is_envelope = true};
    struct verify_text text;
    int status;

    named_leaf(v->named, e->leaf);
    if (rec.month != r->month || record_month(e->ts_ms) != r->month)
        return verify_say_leaf(v, VERIFY_TAMPERED, e->leaf,
                               "in Redis: it belongs to another month");
    if (erased_has(v->cfg->erased, e->leaf))
        return verify_say_leaf(v, VERIFY_INCOMPLETE, e->leaf, "erased, and still in Redis");
    status = verify_record(v, &rec, &text);
    if (status != VERIFY_OK)
        return status;
    v->out->entries_opened += text.opened == VERIFY_TEXT ? 1 : 0;
    if (text.opened == VERIFY_TEXT && r->whole)
        verify_count(r, &rec, &text);
    return VERIFY_OK;
}

/* --- the stream ------------------------------------------------------------------------- */

static void on_entries(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;

    r->entry_cnt = 0;
    buf_clear(&r->chunk);
    for (size_t i = 0; i < resp_cnt(reply) && r->entry_cnt < VERIFY_CHUNK; i++) {
        const struct resp *item = resp_at(reply, i);
        struct verify_entry *e = &r->entries[r->entry_cnt++];
        struct str id = resp_str(resp_at(item, 0));
        struct str envelope = resp_str(resp_at(resp_at(item, 1), 1));
        struct str ts;

        (void)snprintf(r->from_id, sizeof(r->from_id), "(%.*s", STR_ARGS(id));
        *e = (struct verify_entry){.off = r->chunk.len, .len = envelope.len};
        if (!str_cut(&id, '-', &ts) || !str_to_u64(ts, UINT64_MAX, &e->ts_ms) ||
            !str_to_u64(id, RECORD_LEAF_MAX, &e->leaf) || !buf_append_str(&r->chunk, envelope)) {
            r->status = verify_say(r->v, VERIFY_TAMPERED, r->from_id + 1,
                                   "an entry in Redis that consentd never writes");
            return;
        }
    }
}

static int ask_entries(struct verify_redis *r)
{
    char key[SHIP_KEY_MAX], from[64];
    struct str argv[] = {STR("XRANGE"), {NULL, 0}, {NULL, 0}, STR("+"), STR("COUNT"), STR("256")};

    memcpy(from, r->from_id, sizeof(from));
    ship_key(key, &r->log, r->month, "ev");
    argv[1] = str_c(key);
    argv[2] = str_c(from);
    return verify_ask(r, argv, COUNT_OF(argv), on_entries);
}

/* The leaf that the walk begins with: in a range nobody can say which that is. */
static uint64_t first_leaf(const struct verify_redis *r, uint64_t met)
{
    uint64_t kept;

    return r->whole && erased_kept_from(r->v->cfg->erased, &kept) && kept < met ? kept : met;
}

/* The entries that were read; *more_out: false when the range is over. */
static int check_chunk(struct verify_redis *r, bool *more_out)
{
    unsigned cnt = r->entry_cnt;
    int status = VERIFY_OK;

    for (r->group_at = 0; r->group_at < cnt && status == VERIFY_OK; r->group_at += r->group_cnt)
        status = ask_secrets(r);
    memcpy(r->checked, r->entries, sizeof(r->checked));
    for (unsigned i = 0; i < cnt && status == VERIFY_OK; i++) {
        const struct verify_entry *e = &r->checked[i];

        if (r->v->cfg->to_ms != 0 && e->ts_ms >= r->v->cfg->to_ms) {
            *more_out = false;
            return VERIFY_OK;
        }
        if (!r->begun)
            r->next = r->v->redis_first = first_leaf(r, e->leaf);
        r->begun = true;
        if (e->leaf < r->next)
            return verify_say_leaf(r->v, VERIFY_TAMPERED, e->leaf, "twice in Redis");
        status = verify_day_to(r, e->ts_ms);
        if (status == VERIFY_OK)
            status = check_missing_to(r, e->leaf);
        if (status == VERIFY_OK)
            status = check_entry(r, e);
        if (status == VERIFY_OK)
            status = bucket_to(r, e->leaf / 100);
        r->bucket_cnt++;
        r->next = e->leaf + 1;
        if (++r->v->out->entries % VERIFY_STEP == 0)
            verify_progress(r->v, "Redis", r->next, r->v->dir.size);
    }
    *more_out = cnt == VERIFY_CHUNK;
    return status;
}

static void on_hw(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;

    r->there = resp_type(reply) != RESP_NIL;
    if (r->there && !str_to_u64(resp_str(reply), RECORD_LEAF_MAX, &r->hw_after))
        r->status = verify_say(r->v, VERIFY_TAMPERED, "Redis T:hw", "it is no number");
}

static void on_gap(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;
    char what[80];

    if (resp_cnt(reply) < 2)
        return;
    (void)snprintf(what, sizeof(what), "leaves %.*s to %.*s", STR_ARGS(resp_str(resp_at(reply, 0))),
                   STR_ARGS(resp_str(resp_at(reply, 1))));
    r->status = verify_say(r->v, VERIFY_TAMPERED, what, "lost, as Redis notes in T:gap");
}

static int ask_key(struct verify_redis *r, const char *command, const char *suffix, rlink_fn take)
{
    char key[SHIP_KEY_MAX];

    ship_key(key, &r->log, r->month, suffix);
    return verify_ask(r, (const struct str[]){str_c(command), str_c(key)}, 2, take);
}

int verify_mark(struct verify_redis *r)
{
    return ask_key(r, "GET", "hw", on_hw);
}

/* Records may come while we look: the mark from before says what must be there, the one behind
 * what may. */
static int check_end(struct verify_redis *r)
{
    int status = VERIFY_OK;

    if (r->v->cfg->to_ms == 0 && r->begun)
        status = check_missing_to(r, r->hw + 1);
    if (status == VERIFY_OK)
        status = verify_mark(r);
    if (status == VERIFY_OK && r->begun && (!r->there || r->next > r->hw_after + 1))
        return verify_say_leaf(r->v, VERIFY_TAMPERED, r->next - 1, "in Redis behind the mark T:hw");
    return status == VERIFY_OK ? verify_day_end(r) : status;
}

static int check_month(struct verify_redis *r, uint32_t month)
{
    bool more = true;
    int status;

    r->month = month;
    status = verify_mark(r);
    if (status != VERIFY_OK || !r->there)
        return status;
    r->hw = r->hw_after;
    status = ask_key(r, "HGETALL", "gap", on_gap);
    (void)snprintf(r->from_id, sizeof(r->from_id), "%" PRIu64, r->v->cfg->from_ms);
    memset(r->buckets, 0, sizeof(r->buckets));
    r->bucket_cnt = 0;
    while (status == VERIFY_OK && more) {
        status = ask_entries(r);
        if (status == VERIFY_OK)
            status = check_chunk(r, &more);
    }
    if (status == VERIFY_OK)
        status = check_end(r);
    if (status == VERIFY_OK && r->whole)
        status = verify_index(r);
    return status;
}

int verify_redis(struct verify_redis *r)
{
    const struct verify_config *cfg = r->v->cfg;
    char what[60];
    int status = VERIFY_OK;

    for (unsigned i = 0; i < keks_cnt(cfg->keks) && status == VERIFY_OK; i++)
        status = check_month(r, keks_month(cfg->keks, i));
    if (status != VERIFY_OK || cfg->to_ms != 0)
        return status;
    (void)snprintf(what, sizeof(what), "leaves from %" PRIu64 " on", r->next);
    if (r->next < r->v->redis_size)
        return verify_say(r->v, VERIFY_TAMPERED, what,
                          "Redis has a checkpoint of them, and they are gone");
    if (r->next >= r->v->kept_size && r->v->redis_size < r->v->before_size)
        return verify_say(r->v, VERIFY_TAMPERED, "Redis c:cp",
                          "the checkpoints of what Redis has are gone from there");
    if (r->next < r->v->dir.size)
        return verify_say(r->v, VERIFY_INCOMPLETE, what,
                          "signed, and not in Redis: not shipped yet, or removed");
    return VERIFY_OK;
}
