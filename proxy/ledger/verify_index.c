/*
 * verify_index.c - the subjects' index and the counters of Redis, computed again from the records.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bytes_priv.h"
#include "consentd/mem.h"
#include "verify_redis_priv.h"

#define DAY_MS 86400000u

/* --- the index -------------------------------------------------------------------------- */

static unsigned bucket_of(const uint8_t tag[16])
{
    return (unsigned)tag[0] << 4 | tag[1] >> 4;
}

/* Adds (or, sign -1, takes away) one reference of a subject. */
static void weigh(struct verify_redis *r, const uint8_t tag[16], const uint8_t ref[16], bool add)
{
    struct verify_bucket *b = &r->buckets[bucket_of(tag)];
    uint8_t text[32];

    memcpy(text, tag, 16);
    memcpy(text + 16, ref, 16);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t hash = str_hash(str_make(text, sizeof(text)), r->hash_key[i]);

        b->sum[i] += add ? hash : 0 - hash;
    }
}

static void on_bucket(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;

    for (size_t i = 0; i + 1 < resp_cnt(reply); i += 2) {
        struct str tag = resp_str(resp_at(reply, i));
        struct str refs = resp_str(resp_at(reply, i + 1));
        const uint8_t *bytes = (const uint8_t *)refs.ptr;

        if (tag.len != 16 || refs.len % 16 != 0 ||
            bucket_of((const uint8_t *)tag.ptr) != r->bucket_at) {
            r->buckets[r->bucket_at].sum[0] += 1; /* nothing of ours: it will not fit */
            continue;
        }
        for (size_t at = 0; at < refs.len; at += 16) {
            if (be64_get(bytes + at + 8) >= r->next)
                continue; /* came after the walk */
            weigh(r, (const uint8_t *)tag.ptr, bytes + at, false);
            r->v->out->subjects_checked++;
        }
    }
}

int verify_index(struct verify_redis *r)
{
    char key[SHIP_KEY_MAX], suffix[SHIP_SUFFIX_MAX];
    int status = VERIFY_OK;

    for (r->bucket_at = 0; r->bucket_at < VERIFY_BUCKETS && status == VERIFY_OK; r->bucket_at++) {
        const struct verify_bucket *b = &r->buckets[r->bucket_at];

        (void)snprintf(suffix, sizeof(suffix), "sx:%03x", r->bucket_at);
        ship_key(key, &r->log, r->month, suffix);
        status = verify_ask(r, (const struct str[]){STR("HGETALL"), str_c(key)}, 2, on_bucket);
        if (status == VERIFY_OK && (b->sum[0] != 0 || b->sum[1] != 0))
            status = verify_say(r->v, VERIFY_TAMPERED, key,
                                "the index does not name the records that there are");
    }
    return status;
}

/* --- counters --------------------------------------------------------------------------- */

static struct verify_counter *counter(struct verify_redis *r, struct str name)
{
    for (unsigned i = 0; i < r->counter_cnt; i++)
        if (str_eq_c(name, r->counters[i].name))
            return &r->counters[i];
    return NULL;
}

static void count_one(struct verify_redis *r, struct str name)
{
    struct verify_counter *c = counter(r, name);

    if (c == NULL && (r->counter_cnt == VERIFY_COUNTERS || name.len >= sizeof(c->name)))
        return; /* more than a day ever has: those are not compared */
    if (c == NULL) {
        c = &r->counters[r->counter_cnt++];
        (void)snprintf(c->name, sizeof(c->name), "%.*s", STR_ARGS(name));
        c->expected = 0;
    }
    c->expected++;
}

void verify_count(struct verify_redis *r, const struct verify_record *rec,
                  const struct verify_text *text)
{
    uint8_t tag[16], ref[16];
    struct buf names;
    struct str rest, name;

    if (text->kind == RECORD_NOTICE)
        return; /* nobody's act: counted nowhere */
    if (text->kind != RECORD_EVENT) {
        count_one(r, STR(SHIP_COUNTER_OPERATOR));
        return;
    }
    if (erased_of(r->v->cfg->erased, rec->leaf) == NULL) { /* a hold keeps records, not the index */
        record_sub_tag(r->v->cfg->idx_key, text->view.event.subject, tag);
        be64_put(ref, rec->ts_ms);
        be64_put(ref + 8, rec->leaf);
        weigh(r, tag, ref, true);
    }
    buf_init(&names, SHIP_COUNTER_MAX);
    ship_counters(&text->view, &names);
    rest = buf_str(&names);
    while (rest.len > 0 && str_cut(&rest, '\n', &name))
        count_one(r, name);
    buf_free(&names);
}

/* Counters that records are counted in; others (banners shown) are no evidence. */
static bool is_counted(struct str name)
{
    static const char *const kinds[] = {
        "act:", "g:", "doc:", "lang:", "ui:", "gl:", "gu:", "gd:", "au:"};
    static const char *const names[] = {"gpc", "first", "change", SHIP_COUNTER_OPERATOR,
                                        SHIP_COUNTER_GROUPED};

    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_starts(name, str_c(kinds[i])))
            return true;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq_c(name, names[i]))
            return true;
    return false;
}

static int bad_counter(struct verify_redis *r, const char *name, uint64_t stored, uint64_t counted)
{
    char what[SHIP_KEY_MAX + VERIFY_COUNTER_LEN], key[SHIP_KEY_MAX], suffix[SHIP_SUFFIX_MAX];
    char why[80];

    ship_suffix_st(suffix, r->day * DAY_MS);
    ship_key(key, &r->log, r->month, suffix);
    (void)snprintf(what, sizeof(what), "%s %s", key, name);
    (void)snprintf(why, sizeof(why), "counted %" PRIu64 " in Redis, %" PRIu64 " from its records",
                   stored, counted);
    return verify_say(r->v, VERIFY_TAMPERED, what, why);
}

/* What is less than counted is wrong; what is more is weighed by the caller. */
static void on_day(void *arg, const struct resp *reply)
{
    struct verify_redis *r = arg;
    bool grouped = ship_stats_grouped(reply);

    ASSERT(r->counters != NULL);
    for (size_t i = 0; i + 1 < resp_cnt(reply) && r->status == VERIFY_OK; i += 2) {
        struct str name = resp_str(resp_at(reply, i));
        struct verify_counter *c = counter(r, name);
        uint64_t counted = c != NULL ? c->expected : 0;
        uint64_t stored = 0;
        char text[VERIFY_COUNTER_LEN];

        if (!is_counted(name) || (!grouped && ship_counter_is_grouped(name)))
            continue;
        (void)snprintf(text, sizeof(text), "%.*s", STR_ARGS(name));
        if (!str_to_u64(resp_str(resp_at(reply, i + 1)), UINT64_MAX, &stored) || stored < counted)
            r->status = bad_counter(r, text, stored, counted);
        else if (stored - counted > r->excess) {
            r->excess = stored - counted;
            memcpy(r->excess_name, text, sizeof(text));
        }
        if (c != NULL)
            c->expected = 0; /* compared */
        r->v->out->counters++;
    }
    for (unsigned i = 0; i < r->counter_cnt && r->status == VERIFY_OK; i++)
        if (r->counters[i].expected > 0 &&
            (grouped || !ship_counter_is_grouped(str_c(r->counters[i].name))))
            r->status = bad_counter(r, r->counters[i].name, 0, r->counters[i].expected);
}

/*
 * Records that were erased stay counted and can't be counted again, and some may have come since
 * the walk: so much more Redis may count.
 */
static int weigh_excess(struct verify_redis *r)
{
    uint64_t slack = r->day_erased;
    int status = verify_mark(r);

    if (status == VERIFY_OK && r->hw_after >= r->next)
        slack += r->hw_after - r->next + 1;
    if (status == VERIFY_OK && r->excess > slack)
        status = bad_counter(r, r->excess_name, r->excess, slack); /* above what is certain */
    return status;
}

int verify_day_end(struct verify_redis *r)
{
    char key[SHIP_KEY_MAX], suffix[SHIP_SUFFIX_MAX];
    int status = VERIFY_OK;

    r->excess = 0;
    if (r->day != 0 && r->whole) {
        ship_suffix_st(suffix, r->day * DAY_MS);
        ship_key(key, &r->log, r->month, suffix);
        status = verify_ask(r, (const struct str[]){STR("HGETALL"), str_c(key)}, 2, on_day);
        if (status == VERIFY_OK && r->excess > 0)
            status = weigh_excess(r);
    }
    r->counter_cnt = 0;
    r->day = r->day_erased = 0;
    return status;
}

int verify_day_to(struct verify_redis *r, uint64_t ts_ms)
{
    int status = r->day != 0 && r->day != ts_ms / DAY_MS ? verify_day_end(r) : VERIFY_OK;

    r->day = ts_ms / DAY_MS;
    return status;
}
