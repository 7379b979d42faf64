/*
 * ship_apply.c - the script that applies records to Redis, and its arguments.
 *
 * The counters of a record come from its J, so it is opened here once more; a record
 * whose month key is gone is shipped without counters.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bytes_priv.h"
#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/envelope.h"
#include "consentd/keks.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "ship_priv.h"

/*
 * Everything is checked before the first write, since a script is not rolled back; every
 * write is absolute, since a cut AOF may run the effects twice. A batch is applied whole or not at
 * all: when Redis has some of it, the answer is its mark and the caller goes on behind that. A
 * month without a mark takes it from its stream's last entry, so that a lost mark can't apply
 * anything twice.
 */
const char ship_script[] =
    "-- KEYS own hw ev gap st {sx}... {rk}...\n"
    "-- ARGV own base fresh gapfrom records buckets {id envelope tag ref}...\n"
    "--      {count {field r}...}... {counter delta}...\n"
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then\n"
    "  return redis.error_reply('OWN another writer or an empty database')\n"
    "end\n"
    "local hw = redis.call('GET', KEYS[2])\n"
    "if not hw then\n"
    "  local top = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)\n"
    "  hw = top[1] and string.match(top[1][1], '%-(%d+)$')\n"
    "  if hw then redis.call('SET', KEYS[2], hw) end\n"
    "end\n"
    "if not hw then\n"
    "  if ARGV[3] ~= '1' then return redis.error_reply('GAP the month is empty') end\n"
    "  hw = ARGV[2]\n"
    "end\n"
    "local base, n, m = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6])\n"
    "local lost = ARGV[4] ~= ''\n"
    "if tonumber(hw) > base then return {0, hw} end\n"
    "if tonumber(hw) < base and not lost then\n"
    "  return redis.error_reply('GAP expected ' .. (tonumber(hw) + 1))\n"
    "end\n"
    "if lost then redis.call('HSET', KEYS[4], ARGV[4], ARGV[2]) end\n"
    "local a = 7\n"
    "for i = 1, n do\n"
    "  if ARGV[a + 1] ~= '' then -- not erased\n"
    "    redis.call('XADD', KEYS[3], ARGV[a], 'e', ARGV[a + 1])\n"
    "  end\n"
    "  local ref = ARGV[a + 3]\n"
    "  if ref ~= '' then\n"
    "    local old = redis.call('HGET', KEYS[5 + i], ARGV[a + 2]) or ''\n"
    "    if string.sub(old, -16) ~= ref then\n"
    "      redis.call('HSET', KEYS[5 + i], ARGV[a + 2], old .. ref)\n"
    "    end\n"
    "  end\n"
    "  a = a + 4\n"
    "end\n"
    "for i = 1, m do\n"
    "  local c = 2 * tonumber(ARGV[a])\n"
    "  redis.call('HSET', KEYS[5 + n + i], unpack(ARGV, a + 1, a + c))\n"
    "  a = a + c + 1\n"
    "end\n"
    "local names = {}\n"
    "for i = a, #ARGV, 2 do names[#names + 1] = ARGV[i] end\n"
    "if #names > 0 then\n"
    "  local now, set = redis.call('HMGET', KEYS[5], unpack(names)), {}\n"
    "  for i = 1, #names do\n"
    "    set[2 * i - 1] = names[i]\n"
    "    set[2 * i] = string.format('%.0f', tonumber(now[i] or '0') + tonumber(ARGV[a + 2 * i - "
    "1]))\n"
    "  end\n"
    "  redis.call('HSET', KEYS[5], unpack(set))\n"
    "end\n"
    "local last = string.format('%.0f', base + n)\n"
    "redis.call('SET', KEYS[2], last)\n"
    "return {n, last}\n";

void ship_key(char out[SHIP_KEY_MAX], const struct apply_log *log, uint32_t month,
              const char *suffix)
{
    (void)snprintf(out, SHIP_KEY_MAX, "{c:%s:%u:%06u}:%s", log->site, log->node, month, suffix);
}

void ship_suffix_rk(char out[SHIP_SUFFIX_MAX], uint64_t leaf)
{
    (void)snprintf(out, SHIP_SUFFIX_MAX, "rk:%" PRIu64, leaf / 100);
}

void ship_suffix_sx(char out[SHIP_SUFFIX_MAX], const uint8_t sub_tag[16])
{
    (void)snprintf(out, SHIP_SUFFIX_MAX, "sx:%02x%x", sub_tag[0], sub_tag[1] >> 4);
}

void ship_suffix_st(char out[SHIP_SUFFIX_MAX], uint64_t ts_ms)
{
    time_t t = (time_t)(ts_ms / 1000);
    struct tm tm = {0};

    (void)gmtime_r(&t, &tm);
    (void)snprintf(out, SHIP_SUFFIX_MAX, "st:%04d%02d%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                   tm.tm_mday);
}

/* --- counters ---------------------------------------------------------------------- */

/* A line: the texts one behind the other. There are dozens for a record: no formatting. */
static bool count_line(struct buf *out, const struct str *texts, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++)
        if (!buf_append_str(out, texts[i]))
            return false;
    return buf_append_char(out, '\n');
}

#define LINE(out, ...)                                                                             \
    count_line(out, (const struct str[]){__VA_ARGS__},                                             \
               sizeof((const struct str[]){__VA_ARGS__}) / sizeof(struct str))

/* "g:analytics:1", or of a group, "gl:en:analytics:1". */
static bool count_names(struct buf *out, struct str kind, struct str group,
                        const struct record_view *v)
{
    for (unsigned i = 0; i < v->grant_cnt; i++)
        if (!LINE(out, kind, group, v->grants[i], STR(":1")))
            return false;
    for (unsigned i = 0; i < v->deny_cnt; i++)
        if (!LINE(out, kind, group, v->denies[i], STR(":0")))
            return false;
    return true;
}

/* A withdrawal is no decision: it would be counted as a refusal a second time. */
static bool is_decision(enum consent_act act)
{
    return act == CONSENT_ACCEPT_ALL || act == CONSENT_REJECT_ALL || act == CONSENT_CUSTOM ||
           act == CONSENT_RENEW || act == CONSENT_GPC;
}

/* room: RECORD_JSON_MAX + 1 bytes; longer texts are in no J. */
static struct str with_colon(char *room, struct str text)
{
    text = str_slice(text, 0, text.len < RECORD_JSON_MAX ? text.len : RECORD_JSON_MAX);
    memmove(room, text.ptr, text.len);
    room[text.len] = ':';
    return str_make(room, text.len + 1);
}

/* What was decided in each language, under each notice, at each place. */
static bool count_groups(struct buf *out, const struct record_view *v, struct str doc)
{
    const struct consent_event *ev = &v->event;
    char room[2][RECORD_JSON_MAX + 1];
    struct str lang = with_colon(room[0], ev->lang), ui = with_colon(room[1], ev->method);

    return LINE(out, STR(SHIP_COUNTER_GROUPED)) &&
           LINE(out, STR("au:"), ui, str_c(consent_act_name(ev->act))) &&
           (!is_decision(ev->act) ||
            (count_names(out, STR("gl:"), lang, v) && count_names(out, STR("gu:"), ui, v) &&
             count_names(out, STR("gd:"), doc, v)));
}

void ship_counters(const struct record_view *v, struct buf *out)
{
    const struct consent_event *ev = &v->event;
    char text[RECORD_JSON_MAX + 1];
    const struct str act = str_c(consent_act_name(ev->act));
    struct str doc;

    b64url_encode(text, ev->doc, RECORD_ID_LEN);
    doc = with_colon(text, str_c(text));
    if (!LINE(out, STR("act:"), act) ||
        (is_decision(ev->act) && !count_names(out, STR("g:"), STR(""), v)) ||
        !LINE(out, STR("doc:"), doc, act) ||
        !LINE(out, ev->has_prev ? STR("change") : STR("first")) ||
        (ev->gpc && !LINE(out, STR("gpc"))) || !LINE(out, STR("lang:"), ev->lang, STR(":"), act) ||
        (ev->method.len > 0 && !LINE(out, STR("ui:"), ev->method)) || !count_groups(out, v, doc))
        buf_clear(out); /* cannot happen within the limits of J; no counters rather than half */
}

static struct str slice(const struct apply *a, struct apply_span at)
{
    return str_make(a->text.data + at.off, at.len);
}

static struct apply_span keep(struct apply *a, const void *p, size_t len)
{
    struct apply_span at = {a->text.len, len};

    ASSERT(buf_append(&a->text, p, len));
    return at;
}

static void count_one(struct apply *a, struct str name)
{
    size_t at = (size_t)str_hash(name, a->slot_key) % SHIP_SLOTS;

    for (; a->slots[at] != 0; at = (at + 1) % SHIP_SLOTS) {
        struct apply_counter *known = &a->counters[a->slots[at] - 1];

        if (str_eq(slice(a, known->name), name)) {
            known->delta++;
            return;
        }
    }
    ASSERT(a->counter_cnt < SHIP_COUNTERS_MAX); /* so half of the slots stay free */
    a->counters[a->counter_cnt++] = (struct apply_counter){keep(a, name.ptr, name.len), 1};
    a->slots[at] = (uint16_t)a->counter_cnt;
}

/* --- records ----------------------------------------------------------------------- */

static bool is_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* J of a record whose key is here; else 0 bytes. */
static size_t open_record(const struct apply_log *log, const struct journal_record *rec,
                          const uint8_t *kek, uint8_t json[RECORD_OPLOG_MAX])
{
    struct record_place at = {.node = log->node, .leaf = rec->leaf, .month = rec->month};

    return kek != NULL && record_open(&at, kek, rec->r, rec->sealed, json)
               ? rec->sealed.len - CRYPTO_GCM_TAG_LEN
               : 0;
}

static void add_counters(struct apply *a, const struct journal_record *rec, struct str json)
{
    struct record_view view;
    struct buf names;
    struct str rest, name;

    buf_init(&names, SHIP_COUNTER_MAX);
    if (rec->type == JOURNAL_OPERATOR)
        count_one(a, STR(SHIP_COUNTER_OPERATOR));
    else if (rec->type == JOURNAL_EVENT && json.len > 0 &&
             record_parse(json, &view) == RECORD_EVENT)
        ship_counters(&view, &names);
    rest = buf_str(&names);
    while (rest.len > 0 && str_cut(&rest, '\n', &name))
        count_one(a, name);
    buf_free(&names);
}

static struct apply_span keep_envelope(struct apply *a, const struct apply_log *log,
                                       const struct journal_record *rec, const uint8_t *kek,
                                       struct str json)
{
    struct record_place at = {.node = log->node, .leaf = rec->leaf, .month = rec->month};
    struct apply_span span = {a->text.len, 0};

    if (json.len > 0)
        ASSERT(envelope_seal(&at, kek, rec->r, json, &a->text));
    else
        ASSERT(envelope_wrap(rec->month, rec->sealed, &a->text));
    span.len = a->text.len - span.off;
    return span;
}

/* The secret, in the bucket of its leaf. */
static void add_secret(struct apply *a, const struct journal_record *rec)
{
    char field[8];
    int len = snprintf(field, sizeof(field), "%u", (unsigned)(rec->leaf % 100));

    if (a->bucket_cnt == 0 || a->buckets[a->bucket_cnt - 1].number != rec->leaf / 100) {
        ASSERT(a->bucket_cnt < SHIP_BUCKETS_MAX);
        a->buckets[a->bucket_cnt].number = rec->leaf / 100;
        a->buckets[a->bucket_cnt++].cnt = 0;
    }
    a->buckets[a->bucket_cnt - 1].cnt++;
    a->secrets[a->secret_cnt][0] = keep(a, field, (size_t)len);
    a->secrets[a->secret_cnt++][1] = keep(a, rec->r, 32);
}

static void add_record(struct apply *a, const struct apply_log *log,
                       const struct journal_record *rec)
{
    bool listed = erased_of(log->erased, rec->leaf) != NULL; /* under a hold: without its index */
    bool erased = erased_has(log->erased, rec->leaf) || (rec->flags & JOURNAL_FLAG_ERASED) != 0;
    const uint8_t *kek = keks_get(log->keks, rec->month);
    uint8_t bytes[RECORD_OPLOG_MAX], ref[16];
    struct str json = str_make(bytes, open_record(log, rec, kek, bytes));
    struct apply_span *args = a->recs[a->records];
    char text[SHIP_KEY_MAX], suffix[SHIP_SUFFIX_MAX];

    ship_suffix_sx(suffix, rec->sub_tag);
    ship_key(text, log, rec->month, suffix);
    a->sx[a->records] = keep(a, text, strlen(text));
    (void)snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, rec->ts_ms, rec->leaf);
    args[0] = keep(a, text, strlen(text));
    args[1] = erased ? (struct apply_span){0, 0} : keep_envelope(a, log, rec, kek, json);
    args[2] = keep(a, rec->sub_tag, 16);
    be64_put(ref, rec->ts_ms);
    be64_put(ref + 8, rec->leaf);
    args[3] = keep(a, ref, listed || erased || is_zero(rec->sub_tag, 16) ? 0 : 16);
    if (!erased)
        add_secret(a, rec);
    add_counters(a, rec, json);
}

void apply_begin(struct apply *a)
{
    if (a->text.max == 0) {
        buf_init(&a->text, 8u << 20);
        crypto_random(a->slot_key, sizeof(a->slot_key));
    }
    buf_clear(&a->text);
    memset(a->slots, 0, sizeof(a->slots));
    a->records = a->secret_cnt = a->bucket_cnt = a->counter_cnt = 0;
    a->sealed_bytes = 0;
}

bool apply_add(struct apply *a, const struct apply_log *log, const struct journal_record *rec)
{
    uint64_t day = rec->ts_ms / 86400000;

    if (a->records == SHIP_BATCH_RECORDS || a->sealed_bytes > SHIP_BATCH_BYTES ||
        a->counter_cnt > SHIP_COUNTERS_MAX - SHIP_COUNTERS_EACH ||
        (a->records > 0 && (rec->month != a->month || day != a->day || rec->leaf != a->last + 1)))
        return false;
    if (a->records == 0) {
        a->month = rec->month;
        a->day = day;
        a->first = rec->leaf;
    }
    add_record(a, log, rec);
    a->last = rec->leaf;
    a->sealed_bytes += rec->sealed.len;
    a->records++;
    return true;
}

/* --- the command ------------------------------------------------------------------- */

static void put(struct apply *a, struct apply_span at)
{
    ASSERT(a->argc < SHIP_ARGC_MAX);
    a->argv[a->argc++] = slice(a, at);
}

/* Texts go behind what is there, within the room reserved: slices stay where they are. */
static void put_text(struct apply *a, const char *text)
{
    put(a, keep(a, text, strlen(text)));
}

static void put_number(struct apply *a, uint64_t n)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, n);
    put_text(a, text);
}

static void put_key(struct apply *a, const struct apply_log *log, const char *suffix)
{
    char key[SHIP_KEY_MAX];

    ship_key(key, log, a->month, suffix);
    put_text(a, key);
}

static void put_keys(struct apply *a, const struct apply_log *log)
{
    char text[SHIP_KEY_MAX];

    (void)snprintf(text, sizeof(text), "c:own:%s:%u", log->site, log->node);
    put_text(a, text);
    put_key(a, log, "hw");
    put_key(a, log, "ev");
    put_key(a, log, "gap");
    ship_suffix_st(text, a->day * 86400000);
    put_key(a, log, text);
    for (unsigned i = 0; i < a->records; i++)
        put(a, a->sx[i]);
    for (unsigned i = 0; i < a->bucket_cnt; i++) {
        ship_suffix_rk(text, a->buckets[i].number * 100);
        put_key(a, log, text);
    }
}

/* ARGV[2] is the leaf before the first one; before leaf 0 there is -1. */
static void put_base(struct apply *a, uint64_t leaf)
{
    if (leaf == 0)
        put_text(a, "-1");
    else
        put_number(a, leaf - 1);
}

static void put_values(struct apply *a)
{
    unsigned at = 0;

    for (unsigned i = 0; i < a->records; i++)
        for (size_t k = 0; k < SHIP_ARGS_EACH; k++)
            put(a, a->recs[i][k]);
    for (unsigned i = 0; i < a->bucket_cnt; i++) {
        put_number(a, a->buckets[i].cnt);
        for (unsigned end = at + a->buckets[i].cnt; at < end; at++) {
            put(a, a->secrets[at][0]);
            put(a, a->secrets[at][1]);
        }
    }
    for (unsigned i = 0; i < a->counter_cnt; i++) {
        put(a, a->counters[i].name);
        put_number(a, a->counters[i].delta);
    }
}

size_t apply_finish(struct apply *a, const struct apply_log *log, const char *sha, bool fresh,
                    uint64_t gap_from, struct str argv[SHIP_ARGC_MAX])
{
    a->argv = argv;
    a->argc = 0;
    ASSERT(buf_reserve(&a->text, 64u << 10) != NULL); /* what is put now moves nothing */
    put_text(a, "EVALSHA");
    put_text(a, sha);
    put_number(a, SHIP_KEYS_HEAD + (uint64_t)a->records + a->bucket_cnt);
    put_keys(a, log);
    put_text(a, log->own);
    put_base(a, a->first);
    put_text(a, fresh ? "1" : "0");
    if (gap_from < a->first)
        put_number(a, gap_from);
    else
        put_text(a, "");
    put_number(a, a->records);
    put_number(a, a->bucket_cnt);
    put_values(a);
    return a->argc;
}
