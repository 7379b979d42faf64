/*
 * ship_erase.c - takes erased records out of Redis, one command in flight at a time.
 *
 * For each erasure of the list: ask the index of every month for more records of the subject
 * (once in its life), then remove entries, secrets and the index's field, month by month. All of
 * it is absolute, so it is done again on every connect: a Redis that came back from a backup is
 * erased again. Months whose retention is over go the same way, all of their keys; before the first
 * of them goes, the owner notes up to which leaf they reach. Afterwards the append-only file is
 * rewritten, since it still has what was removed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes_priv.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "ship_priv.h"

#define CHUNK     100  /* records of one script call */
#define DROP_KEYS 1000 /* keys of one UNLINK */

static const char erase_script[] = "-- KEYS ev sx rk...\n"
                                   "-- ARGV tag {id field}...\n"
                                   "for i = 1, #KEYS - 2 do\n"
                                   "  redis.call('XDEL', KEYS[1], ARGV[i * 2])\n"
                                   "  redis.call('HDEL', KEYS[i + 2], ARGV[i * 2 + 1])\n"
                                   "end\n"
                                   "redis.call('HDEL', KEYS[2], ARGV[1])\n"
                                   "return #KEYS - 2\n";

struct eraser {
    struct rlink *link;
    const struct apply_log *log;
    struct erased *list;
    struct eraser_ops ops;
    void *owner;
    bool up, busy, rewrite, aof;
    bool again;        /* the list changed while a command was in flight: begin anew behind it */
    size_t at;         /* erasures before it are applied */
    size_t drop_at;    /* months before it are dropped */
    char cursor[24];   /* of the SCAN of that month; "": not begun */
    unsigned month_at; /* of the look-up: index in the month keys */
    unsigned ref_at, ref_to; /* of the removal: the chunk in flight */
    struct erased_ref *refs; /* owned; found by the look-up */
    size_t ref_cnt;
};

struct eraser *eraser_new(struct rlink *link, const struct apply_log *log, struct erased *list,
                          const struct eraser_ops *ops, void *owner)
{
    struct eraser *e = mem_new(struct eraser);

    e->link = link;
    e->log = log;
    e->list = list;
    e->ops = *ops;
    e->owner = owner;
    e->refs = mem_calloc(ERASED_REFS_MAX, sizeof(*e->refs));
    return e;
}

void eraser_free(struct eraser *e)
{
    if (e == NULL)
        return;
    free(e->refs);
    free(e);
}

static void start_over(struct eraser *e)
{
    e->month_at = e->ref_at = 0;
    e->ref_cnt = 0;
}

/* A reply that is no error; else the beat tries again. */
static bool usable(struct eraser *e, const struct resp *reply, const char *what)
{
    e->busy = false;
    if (reply == NULL)
        return false;
    if (resp_type(reply) != RESP_ERROR && e->again) { /* what it was about may not be next now */
        start_over(e);
        e->again = false;
        e->at = 0;
        eraser_run(e);
        return false;
    }
    if (resp_type(reply) != RESP_ERROR)
        return true;
    log_error("erase.redis", "command=%s error=\"%.*s\"", what, STR_ARGS(resp_str(reply)));
    start_over(e);
    return false;
}

static void sx_key(const struct eraser *e, uint32_t month, const uint8_t tag[16],
                   char out[SHIP_KEY_MAX])
{
    char suffix[SHIP_SUFFIX_MAX];

    ship_suffix_sx(suffix, tag);
    ship_key(out, e->log, month, suffix);
}

/* --- looking up ---------------------------------------------------------------------------- */

static void on_refs(void *arg, const struct resp *reply)
{
    struct eraser *e = arg;
    struct str packed = resp_str(reply);

    if (!usable(e, reply, "HGET"))
        return;
    for (size_t i = 0; i + 16 <= packed.len && e->ref_cnt < ERASED_REFS_MAX; i += 16) {
        const uint8_t *p = (const uint8_t *)packed.ptr + i;

        e->refs[e->ref_cnt++] = (struct erased_ref){be64_get(p), be64_get(p + 8)};
    }
    e->month_at++;
    eraser_run(e);
}

static void look_up(struct eraser *e, struct erasure *x)
{
    struct str argv[] = {STR("HGET"), {NULL, 0}, str_make(x->tag, 16)};
    char key[SHIP_KEY_MAX];

    if (e->month_at >= keks_cnt(e->log->keks)) {
        size_t cnt = e->ref_cnt;

        start_over(e);
        e->ops.on_looked(e->owner, x, e->refs, cnt);
        if (x->looked)
            eraser_run(e);
        return;
    }
    sx_key(e, keks_month(e->log->keks, e->month_at), x->tag, key);
    argv[1] = str_c(key);
    e->busy = rlink_command(e->link, argv, COUNT_OF(argv), on_refs, e);
}

/* --- removing ------------------------------------------------------------------------------ */

static void on_removed(void *arg, const struct resp *reply)
{
    struct eraser *e = arg;

    if (!usable(e, reply, "EVAL"))
        return;
    e->ref_at = e->ref_to;
    eraser_run(e);
}

/* EVAL for refs [ref_at, ref_to), all of one month; a hold leaves all but the index. */
static bool send_removal(struct eraser *e, const struct erasure *x, uint32_t month)
{
    unsigned cnt = x->held ? 0 : e->ref_to - e->ref_at;
    struct str argv[3 + 2 + 1 + CHUNK * 3];
    size_t at[COUNT_OF(argv)], argc = 0;
    char key[SHIP_KEY_MAX];
    struct buf text;
    bool ok;

    buf_init(&text, sizeof(argv) * SHIP_KEY_MAX);
#define NEXT() (at[argc++] = text.len)
    NEXT(), ok = buf_append_c(&text, "EVAL");
    NEXT(), ok = ok && buf_append_c(&text, erase_script);
    NEXT(), ok = ok && buf_printf(&text, "%u", cnt + 2);
    ship_key(key, e->log, month, "ev");
    NEXT(), ok = ok && buf_append_c(&text, key);
    sx_key(e, month, x->tag, key);
    NEXT(), ok = ok && buf_append_c(&text, key);
    for (unsigned i = 0; i < cnt; i++) {
        char suffix[SHIP_SUFFIX_MAX];

        ship_suffix_rk(suffix, x->refs[e->ref_at + i].leaf);
        ship_key(key, e->log, month, suffix);
        NEXT(), ok = ok && buf_append_c(&text, key);
    }
    NEXT(), ok = ok && buf_append(&text, x->tag, 16);
    for (unsigned i = 0; i < cnt; i++) {
        const struct erased_ref *ref = &x->refs[e->ref_at + i];

        NEXT(), ok = ok && buf_printf(&text, "%" PRIu64 "-%" PRIu64, ref->ts_ms, ref->leaf);
        NEXT(), ok = ok && buf_printf(&text, "%u", (unsigned)(ref->leaf % 100));
    }
#undef NEXT
    for (size_t i = 0; i < argc; i++)
        argv[i] = str_make(text.data + at[i], (i + 1 < argc ? at[i + 1] : text.len) - at[i]);
    ok = ok && rlink_command(e->link, argv, argc, on_removed, e);
    buf_free(&text);
    return ok;
}

static void remove_next(struct eraser *e, struct erasure *x)
{
    uint32_t month;

    if (e->ref_at >= x->ref_cnt) {
        x->applied = true;
        start_over(e);
        eraser_run(e);
        return;
    }
    month = record_month(x->refs[e->ref_at].ts_ms);
    e->ref_to = e->ref_at + 1;
    while (e->ref_to < x->ref_cnt && e->ref_to - e->ref_at < CHUNK &&
           record_month(x->refs[e->ref_to].ts_ms) == month)
        e->ref_to++;
    e->rewrite = e->aof; /* before the reply: the command may be done and the reply not used */
    e->busy = send_removal(e, x, month);
}

/* --- the append-only file ------------------------------------------------------------------ */

static void on_rewritten(void *arg, const struct resp *reply)
{
    struct eraser *e = arg;

    e->busy = false;
    if (reply == NULL)
        return;
    if (resp_type(reply) ==
        RESP_ERROR) /* one that began before is under way: the beat asks again */
        return;
    e->rewrite = false;
    log_info("erase.redis", "aof=rewritten");
    if (e->again) {
        e->again = false;
        eraser_kick(e);
    }
}

/* --- months that are dropped --------------------------------------------------------------- */

static void next_month(struct eraser *e)
{
    e->cursor[0] = '\0';
    e->drop_at++;
    eraser_run(e);
}

static void on_marked(void *arg, const struct resp *reply)
{
    struct eraser *e = arg;

    if (!usable(e, reply, "UNLINK hw"))
        return;
    e->rewrite = e->aof;
    log_info("retention.redis", "month=%u", erased_month(e->list, e->drop_at));
    next_month(e);
}

static void on_unlinked(void *arg, const struct resp *reply)
{
    if (usable(arg, reply, "UNLINK"))
        eraser_run(arg);
}

/* A piece of the SCAN, but for the mark: it goes last, since it says that some are left. */
static void on_scanned(void *arg, const struct resp *reply)
{
    struct eraser *e = arg;
    struct str argv[1 + DROP_KEYS] = {STR("UNLINK")};
    const struct resp *keys = resp_at(reply, 1);
    size_t argc = 1;

    if (!usable(e, reply, "SCAN"))
        return;
    (void)snprintf(e->cursor, sizeof(e->cursor), "%.*s", STR_ARGS(resp_str(resp_at(reply, 0))));
    for (size_t i = 0; i < resp_cnt(keys) && argc < COUNT_OF(argv); i++) {
        struct str key = resp_str(resp_at(keys, i));

        if (!str_ends(key, STR(":hw")))
            argv[argc++] = key;
    }
    if (argc > 1)
        e->busy = rlink_command(e->link, argv, argc, on_unlinked, e);
    else
        eraser_run(e);
}

static void scan_month(struct eraser *e, const char *cursor)
{
    struct str argv[] = {STR("SCAN"), str_c(cursor), STR("MATCH"),
                         {NULL, 0},   STR("COUNT"),  STR("256")};
    char key[SHIP_KEY_MAX], pattern[2 * SHIP_KEY_MAX];
    size_t len = 0;

    ship_key(key, e->log, erased_month(e->list, e->drop_at), "");
    for (const char *p = key; *p != '\0'; p++) {
        if (strchr("*?[]\\", *p) != NULL)
            pattern[len++] = '\\';
        pattern[len++] = *p;
    }
    pattern[len++] = '*';
    argv[3] = str_make(pattern, len);
    e->busy = rlink_command(e->link, argv, COUNT_OF(argv), on_scanned, e);
}

static void on_hw(void *arg, const struct resp *reply)
{
    struct eraser *e = arg;
    uint64_t hw = 0;
    bool there;

    if (!usable(e, reply, "GET hw"))
        return;
    there = str_to_u64(resp_str(reply), RECORD_LEAF_MAX, &hw);
    if (!e->ops.on_month(e->owner, erased_month(e->list, e->drop_at), there ? &hw : NULL))
        return; /* the beat tries again */
    if (resp_type(reply) == RESP_NIL)
        next_month(e);
    else
        scan_month(e, "0");
}

static void drop_month(struct eraser *e)
{
    bool ends = strcmp(e->cursor, "0") == 0;
    struct str argv[] = {ends ? STR("UNLINK") : STR("GET"), {NULL, 0}};
    char key[SHIP_KEY_MAX];

    if (e->cursor[0] != '\0' && !ends) {
        scan_month(e, e->cursor);
        return;
    }
    ship_key(key, e->log, erased_month(e->list, e->drop_at), "hw");
    argv[1] = str_c(key);
    e->busy = rlink_command(e->link, argv, COUNT_OF(argv), ends ? on_marked : on_hw, e);
}

void eraser_run(struct eraser *e)
{
    const struct str argv[] = {STR("BGREWRITEAOF")};

    if (!e->up || e->busy)
        return;
    while (e->at < erased_cnt(e->list) &&
           (erased_at(e->list, e->at)->applied || erased_at(e->list, e->at)->foreign))
        e->at++;
    if (e->at < erased_cnt(e->list)) {
        struct erasure *x = erased_at(e->list, e->at);

        if (x->looked)
            remove_next(e, x);
        else
            look_up(e, x);
    } else if (e->drop_at < erased_month_cnt(e->list)) {
        drop_month(e);
    } else if (e->rewrite) {
        e->busy = rlink_command(e->link, argv, COUNT_OF(argv), on_rewritten, e);
    }
}

void eraser_kick(struct eraser *e)
{
    if (e->busy) {
        e->again = true;
        return;
    }
    start_over(e);
    e->at = 0;
    eraser_run(e);
}

void eraser_up(struct eraser *e, bool aof)
{
    for (size_t i = 0; i < erased_cnt(e->list); i++)
        erased_at(e->list, i)->applied = false;
    e->up = true;
    e->again = false;
    e->aof = aof;
    e->busy = false;
    e->drop_at = 0;
    e->cursor[0] = '\0';
    eraser_kick(e);
}

void eraser_down(struct eraser *e)
{
    e->up = e->busy = false;
}
