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
#include "consentd/keks.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "ship_priv.h"

/*
 * Everything is checked before the first write, since a script is not rolled back; every
 * write is absolute, since a cut AOF may run the effects twice. A month without a mark
 * takes it from its stream's last entry, so that a lost mark can't apply anything twice.
 */
const char ship_script[] =
    "-- KEYS own hw ev gap {rk sx st}...\n"
    "-- ARGV own base fresh gapfrom {leaf id envelope r tag ref counters}...\n"
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then\n"
    "  return redis.error_reply('OWN another writer or an empty database')\n"
    "end\n"
    "local hw = redis.call('GET', KEYS[2])\n"
    "if not hw then\n"
    "  local top = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)\n"
    "  hw = top[1] and string.match(top[1][1], '%-(%d+)$')\n"
    "end\n"
    "if not hw then\n"
    "  if ARGV[3] ~= '1' then return redis.error_reply('GAP the month is empty') end\n"
    "  hw = ARGV[2]\n"
    "end\n"
    "hw = tonumber(hw)\n"
    "local base = tonumber(ARGV[2])\n"
    "local lost = ARGV[4] ~= ''\n"
    "if hw < base then\n"
    "  if not lost then return redis.error_reply('GAP expected ' .. (hw + 1)) end\n"
    "  hw = base\n"
    "end\n"
    "local n = (#ARGV - 4) / 7\n"
    "for i = 0, n - 1 do\n"
    "  if tonumber(ARGV[5 + i * 7]) ~= base + 1 + i then\n"
    "    return redis.error_reply('GAP inside the batch')\n"
    "  end\n"
    "end\n"
    "if lost then redis.call('HSET', KEYS[4], ARGV[4], ARGV[2]) end\n"
    "local applied, last = 0, nil\n"
    "for i = 0, n - 1 do\n"
    "  local a, k = 5 + i * 7, 5 + i * 3\n"
    "  local leaf = tonumber(ARGV[a])\n"
    "  if leaf > hw then\n"
    "    if ARGV[a + 2] ~= '' then -- not erased\n"
    "      redis.call('XADD', KEYS[3], ARGV[a + 1], 'e', ARGV[a + 2])\n"
    "      redis.call('HSET', KEYS[k], string.format('%d', leaf % 100), ARGV[a + 3])\n"
    "    end\n"
    "    if ARGV[a + 5] ~= '' then\n"
    "      local old = redis.call('HGET', KEYS[k + 1], ARGV[a + 4]) or ''\n"
    "      if string.sub(old, -16) ~= ARGV[a + 5] then\n"
    "        redis.call('HSET', KEYS[k + 1], ARGV[a + 4], old .. ARGV[a + 5])\n"
    "      end\n"
    "    end\n"
    "    for f in string.gmatch(ARGV[a + 6], '[^\\n]+') do\n"
    "      local c = tonumber(redis.call('HGET', KEYS[k + 2], f) or '0') + 1\n"
    "      redis.call('HSET', KEYS[k + 2], f, string.format('%d', c))\n"
    "    end\n"
    "    last = ARGV[a]\n"
    "    applied = applied + 1\n"
    "  end\n"
    "end\n"
    "if last then redis.call('SET', KEYS[2], last) end\n"
    "return {applied, redis.call('GET', KEYS[2])}\n";

void ship_key(char out[SHIP_KEY_MAX], const struct apply_log *log, uint32_t month,
              const char *suffix)
{
    (void)snprintf(out, SHIP_KEY_MAX, "{c:%s:%u:%06u}:%s", log->site, log->node, month, suffix);
}

/* --- arguments --------------------------------------------------------------------- */

static void add_bytes(struct apply *a, const void *p, size_t len)
{
    ASSERT(a->argc < SHIP_ARGC_MAX);
    a->args[a->argc].off = a->text.len;
    a->args[a->argc++].len = len;
    ASSERT(buf_append(&a->text, p, len));
}

static void add_text(struct apply *a, const char *text)
{
    add_bytes(a, text, strlen(text));
}

static void add_number(struct apply *a, uint64_t n)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, n);
    add_text(a, text);
}

void apply_begin(struct apply *a)
{
    if (a->text.max == 0)
        buf_init(&a->text, 4u << 20);
    buf_clear(&a->text);
    a->argc = SHIP_KEYS_HEAD + SHIP_ARGS_HEAD + 3; /* the head is filled in last */
    a->records = 0;
    a->sealed_bytes = 0;
}

/* --- counters ---------------------------------------------------------------------- */

static bool count_names(struct buf *out, const struct str *names, unsigned cnt, int granted)
{
    for (unsigned i = 0; i < cnt; i++)
        if (!buf_printf(out, "g:%.*s:%d\n", STR_ARGS(names[i]), granted))
            return false;
    return true;
}

static void make_counters(const struct record_view *v, struct buf *out)
{
    const struct consent_event *ev = &v->event;
    char doc[B64_LEN(RECORD_ID_LEN) + 1];
    const char *act = consent_act_name(ev->act);

    b64url_encode(doc, ev->doc, RECORD_ID_LEN);
    if (!buf_printf(out, "act:%s\n", act) || !count_names(out, v->grants, v->grant_cnt, 1) ||
        !count_names(out, v->denies, v->deny_cnt, 0) ||
        !buf_printf(out, "doc:%s:%s\n%s\n", doc, act, ev->has_prev ? "change" : "first") ||
        (ev->gpc && !buf_append_c(out, "gpc\n")) ||
        (ev->lang.len > 0 && !buf_printf(out, "lang:%.*s:%s\n", STR_ARGS(ev->lang), act)) ||
        (ev->method.len > 0 && !buf_printf(out, "ui:%.*s\n", STR_ARGS(ev->method))))
        buf_clear(out); /* cannot happen within the limits of J; no counters rather than half */
}

static void add_counters(struct apply *a, const struct apply_log *log,
                         const struct journal_record *rec)
{
    const uint8_t *kek = keks_get(log->keks, rec->month);
    struct record_place at = {.node = log->node, .leaf = rec->leaf, .month = rec->month};
    uint8_t json[RECORD_OPLOG_MAX];
    struct record_view view;
    struct buf text;

    buf_init(&text, SHIP_COUNTER_MAX);
    if (rec->type == JOURNAL_OPERATOR)
        (void)!buf_append_c(&text, "operator\n");
    else if (rec->type == JOURNAL_EVENT && kek != NULL &&
             record_open(&at, kek, rec->r, rec->sealed, json) &&
             record_parse(str_make(json, rec->sealed.len - CRYPTO_GCM_TAG_LEN), &view) ==
                 RECORD_EVENT)
        make_counters(&view, &text);
    add_bytes(a, text.len > 0 ? (const void *)text.data : "", text.len);
    buf_free(&text);
}

/* --- records ----------------------------------------------------------------------- */

static bool is_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* KEYS and ARGV of a record are written together and put apart by apply_finish. */
static void add_keys(struct apply *a, const struct apply_log *log, const struct journal_record *rec)
{
    char key[SHIP_KEY_MAX];
    char suffix[40];
    time_t t = (time_t)(rec->ts_ms / 1000);
    struct tm tm = {0};

    (void)snprintf(suffix, sizeof(suffix), "rk:%" PRIu64, rec->leaf / 100);
    ship_key(key, log, rec->month, suffix);
    add_text(a, key);
    (void)snprintf(suffix, sizeof(suffix), "sx:%02x%x", rec->sub_tag[0], rec->sub_tag[1] >> 4);
    ship_key(key, log, rec->month, suffix);
    add_text(a, key);
    (void)gmtime_r(&t, &tm);
    (void)snprintf(suffix, sizeof(suffix), "st:%04d%02d%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                   tm.tm_mday);
    ship_key(key, log, rec->month, suffix);
    add_text(a, key);
}

static void add_args(struct apply *a, const struct apply_log *log, const struct journal_record *rec)
{
    char text[48];
    uint8_t ref[16];
    bool listed = erased_of(log->erased, rec->leaf) != NULL; /* under a hold: without its index */
    bool erased = erased_has(log->erased, rec->leaf) || (rec->flags & JOURNAL_FLAG_ERASED) != 0;
    uint8_t envelope[4 + RECORD_OPLOG_MAX + CRYPTO_GCM_TAG_LEN];

    add_number(a, rec->leaf);
    (void)snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, rec->ts_ms, rec->leaf);
    add_text(a, text);
    be32_put(envelope, rec->month);
    ASSERT(rec->sealed.len <= sizeof(envelope) - 4);
    memcpy(envelope + 4, rec->sealed.ptr, rec->sealed.len);
    add_bytes(a, envelope, erased ? 0 : 4 + rec->sealed.len);
    add_bytes(a, rec->r, 32);
    add_bytes(a, rec->sub_tag, 16);
    be64_put(ref, rec->ts_ms);
    be64_put(ref + 8, rec->leaf);
    add_bytes(a, ref, listed || erased || is_zero(rec->sub_tag, 16) ? 0 : 16);
    add_counters(a, log, rec);
}

bool apply_add(struct apply *a, const struct apply_log *log, const struct journal_record *rec)
{
    if (a->records == SHIP_BATCH_RECORDS || a->sealed_bytes > SHIP_BATCH_BYTES ||
        (a->records > 0 && (rec->month != a->month || rec->leaf != a->last + 1)))
        return false;
    if (a->records == 0) {
        a->month = rec->month;
        a->first = rec->leaf;
    }
    add_keys(a, log, rec);
    add_args(a, log, rec);
    a->last = rec->leaf;
    a->sealed_bytes += rec->sealed.len;
    a->records++;
    return true;
}

static struct str slice(const struct apply *a, size_t i)
{
    return str_make(a->text.data + a->args[i].off, a->args[i].len);
}

/* ARGV[2] is the leaf before the first one; before leaf 0 there is -1. */
static void add_base(struct apply *a, uint64_t leaf)
{
    if (leaf == 0)
        add_text(a, "-1");
    else
        add_number(a, leaf - 1);
}

size_t apply_finish(struct apply *a, const struct apply_log *log, const char *sha, bool fresh,
                    uint64_t gap_from, struct str argv[SHIP_ARGC_MAX])
{
    static const char *const suffixes[] = {"hw", "ev", "gap"};
    size_t each = SHIP_KEYS_EACH + SHIP_ARGS_EACH;
    size_t body = SHIP_KEYS_HEAD + SHIP_ARGS_HEAD + 3;
    size_t end = a->argc;
    size_t out = 0;
    char key[SHIP_KEY_MAX];

    a->argc = 0;
    add_text(a, "EVALSHA");
    add_text(a, sha);
    add_number(a, SHIP_KEYS_HEAD + (uint64_t)a->records * SHIP_KEYS_EACH);
    (void)snprintf(key, sizeof(key), "c:own:%s:%u", log->site, log->node);
    add_text(a, key);
    for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
        ship_key(key, log, a->month, suffixes[i]);
        add_text(a, key);
    }
    add_text(a, log->own);
    add_base(a, a->first);
    add_text(a, fresh ? "1" : "0");
    if (gap_from < a->first)
        add_number(a, gap_from);
    else
        add_text(a, "");
    a->argc = end;
    for (size_t i = 0; i < 3 + SHIP_KEYS_HEAD; i++)
        argv[out++] = slice(a, i);
    for (unsigned r = 0; r < a->records; r++)
        for (size_t i = 0; i < SHIP_KEYS_EACH; i++)
            argv[out++] = slice(a, body + r * each + i);
    for (size_t i = 0; i < SHIP_ARGS_HEAD; i++)
        argv[out++] = slice(a, 3 + SHIP_KEYS_HEAD + i);
    for (unsigned r = 0; r < a->records; r++)
        for (size_t i = 0; i < SHIP_ARGS_EACH; i++)
            argv[out++] = slice(a, body + r * each + SHIP_KEYS_EACH + i);
    return out;
}
