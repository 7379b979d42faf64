/*
 * record.c - contract in consentd/record.h: names, months, writing J, commitment and seal.
 *
 * J is written key by key in sorted order, so nothing has to be sorted but the names of
 * the purposes. Reading it back is record_parse.c.
 */
#include "consentd/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bytes_priv.h"
#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/mem.h"
#include "record_priv.h"

static const char *const act_names[CONSENT_ACT_CNT] = {
    [CONSENT_ACT_NONE] = "",
    [CONSENT_ACCEPT_ALL] = "accept_all",
    [CONSENT_REJECT_ALL] = "reject_all",
    [CONSENT_CUSTOM] = "custom",
    [CONSENT_WITHDRAW] = "withdraw",
    [CONSENT_RENEW] = "renew",
    [CONSENT_GPC] = "gpc",
    [CONSENT_UNSUBSCRIBE] = "unsubscribe",
    [CONSENT_AMEND] = "amend",
    [CONSENT_EXPIRE] = "expire",
    [CONSENT_ERASE] = "erase",
};

static const char *const type_names[CONSENT_TYPE_CNT] = {
    [CONSENT_TYPE_NONE] = "",
    [CONSENT_EXPLICIT] = "explicit",
    [CONSENT_EXPRESSED] = "expressed",
};

static const char *const by_names[CONSENT_BY_CNT] = {
    [CONSENT_BY_NONE] = "",
    [CONSENT_BY_SUBJECT] = "subject",
    [CONSENT_BY_AGENT] = "agent",
    [CONSENT_BY_OPERATOR] = "operator",
};

/* --- names ------------------------------------------------------------------------- */

static unsigned name_index(const char *const *names, unsigned cnt, struct str name)
{
    for (unsigned i = 1; i < cnt; i++)
        if (str_eq_c(name, names[i]))
            return i;
    return 0;
}

static const char *name_at(const char *const *names, unsigned cnt, unsigned i)
{
    return i < cnt ? names[i] : "";
}

const char *consent_act_name(enum consent_act act)
{
    return name_at(act_names, COUNT_OF(act_names), (unsigned)act);
}

enum consent_act consent_act_of(struct str name)
{
    return (enum consent_act)name_index(act_names, COUNT_OF(act_names), name);
}

const char *consent_type_name(enum consent_type type)
{
    return name_at(type_names, COUNT_OF(type_names), (unsigned)type);
}

enum consent_type consent_type_of(struct str name)
{
    return (enum consent_type)name_index(type_names, COUNT_OF(type_names), name);
}

const char *consent_by_name(enum consent_by by)
{
    return name_at(by_names, COUNT_OF(by_names), (unsigned)by);
}

enum consent_by consent_by_of(struct str name)
{
    return (enum consent_by)name_index(by_names, COUNT_OF(by_names), name);
}

bool record_text_ok(struct str s, size_t max)
{
    if (s.len > max)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!ascii_is_alnum(s.ptr[i]) && (s.ptr[i] == '\0' || strchr("._-:", s.ptr[i]) == NULL))
            return false;
    return true;
}

bool record_name_ok(struct str s)
{
    if (s.len == 0 || s.len > RECORD_NAME_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (!(c >= 'a' && c <= 'z') && !ascii_is_digit(c) && c != '_' && c != '-')
            return false;
    }
    return true;
}

/* --- months ------------------------------------------------------------------------ */

uint32_t record_month(uint64_t ts_ms)
{
    time_t t = (time_t)(ts_ms / 1000);
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || tm.tm_year > 9999 - 1900)
        return 999912;
    return (uint32_t)((tm.tm_year + 1900) * 100 + tm.tm_mon + 1);
}

uint32_t record_month_next(uint32_t month)
{
    return month % 100 == 12 ? month + 89 : month + 1;
}

uint32_t record_month_prev(uint32_t month)
{
    return month % 100 == 1 ? month - 89 : month - 1;
}

bool record_month_ok(uint32_t month)
{
    return month >= 197001 && month <= 999912 && month % 100 >= 1 && month % 100 <= 12;
}

uint64_t record_month_start(uint32_t month)
{
    struct tm tm = {
        .tm_year = (int)(month / 100) - 1900, .tm_mon = (int)(month % 100) - 1, .tm_mday = 1};

    return (uint64_t)timegm(&tm) * 1000;
}

/* --- J ----------------------------------------------------------------------------- */

/* Strings longer than any limit are refused before; buf says no when J gets too long. */
static bool put_text(struct buf *out, const char *key, struct str value)
{
    return value.len == 0 || buf_printf(out, "\"%s\":\"%.*s\",", key, STR_ARGS(value));
}

static bool put_id(struct buf *out, const char *key, const uint8_t id[RECORD_ID_LEN])
{
    char text[B64_LEN(RECORD_ID_LEN) + 1];

    b64url_encode(text, id, RECORD_ID_LEN);
    return buf_printf(out, "\"%s\":\"%s\",", key, text);
}

static int cmp_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the bits, sorted; bit 0 (essential) is no purpose one can choose. */
static bool put_purposes(struct buf *out, const char *key, uint16_t bits,
                         const char *const names[RECORD_PURPOSES])
{
    const char *set[RECORD_PURPOSES];
    size_t cnt = 0;

    for (unsigned i = 1; i < RECORD_PURPOSES; i++) {
        if ((bits >> i & 1) == 0)
            continue;
        if (!record_name_ok(str_c(names[i])))
            return false;
        set[cnt++] = names[i];
    }
    if (cnt > 0)
        qsort(set, cnt, sizeof(set[0]), cmp_names);
    if (!buf_printf(out, "\"%s\":[", key))
        return false;
    for (size_t i = 0; i < cnt; i++)
        if ((i > 0 && strcmp(set[i], set[i - 1]) == 0) ||
            !buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", set[i]))
            return false;
    return buf_append_c(out, "],");
}

static bool event_is_valid(const struct consent_event *ev)
{
    return consent_act_name(ev->act)[0] != '\0' && consent_type_name(ev->type)[0] != '\0' &&
           consent_by_name(ev->by)[0] != '\0' && (ev->grant & ev->deny & 0xfffe) == 0 &&
           record_text_ok(ev->lang, RECORD_LANG_MAX) &&
           record_text_ok(ev->jurisdiction, RECORD_JUR_MAX) &&
           record_text_ok(ev->host, RECORD_HOST_MAX) && ev->host.len > 0 &&
           record_text_ok(ev->method, RECORD_METHOD_MAX) && ev->prev_leaf <= RECORD_LEAF_MAX;
}

static bool put_event(const struct consent_event *ev, const char *const names[RECORD_PURPOSES],
                      struct buf *out)
{
    bool ok = buf_printf(out, "{\"act\":\"%s\",\"by\":\"%s\",", consent_act_name(ev->act),
                         consent_by_name(ev->by)) &&
              put_purposes(out, "deny", ev->deny, names) && put_id(out, "doc", ev->doc) &&
              put_id(out, "eid", ev->eid) &&
              buf_printf(out, "\"exp\":%" PRIu32 ",\"gpc\":%s,", ev->expires_s,
                         ev->gpc ? "true" : "false") &&
              put_purposes(out, "grant", ev->grant, names) && put_text(out, "host", ev->host) &&
              put_text(out, "jur", ev->jurisdiction) && put_text(out, "lang", ev->lang) &&
              put_text(out, "mth", ev->method) && buf_printf(out, "\"pe\":%" PRIu32 ",", ev->epoch);

    if (ok && ev->has_prev)
        ok = buf_printf(out, "\"prev\":\"%u:%" PRIu64 "\",", ev->prev_node, ev->prev_leaf);
    return ok && put_id(out, "sub", ev->subject) &&
           buf_printf(out, "\"ts\":%" PRIu64 ",\"typ\":\"%s\",\"v\":1}", ev->ts_ms,
                      consent_type_name(ev->type));
}

bool record_canonical(const struct consent_event *ev, const char *const names[RECORD_PURPOSES],
                      struct buf *out)
{
    size_t start = out->len;

    if (event_is_valid(ev) && put_event(ev, names, out) && out->len - start <= RECORD_JSON_MAX)
        return true;
    out->len = start; /* what was begun is taken back */
    return false;
}

static bool put_wrapped(const char *key, struct str object, uint64_t ts_ms, struct buf *out)
{
    size_t start = out->len;

    if (object.len >= 2 && object.ptr[0] == '{' && buf_printf(out, "{\"%s\":", key) &&
        buf_append_str(out, object) && buf_printf(out, ",\"ts\":%" PRIu64 ",\"v\":1}", ts_ms) &&
        out->len - start <= RECORD_OPLOG_MAX)
        return true;
    out->len = start;
    return false;
}

bool record_operator(struct str op, uint64_t ts_ms, struct buf *out)
{
    return put_wrapped("op", op, ts_ms, out);
}

bool record_notice(struct str doc, uint64_t ts_ms, struct buf *out)
{
    return put_wrapped("doc", doc, ts_ms, out);
}

/* --- commitment and seal ----------------------------------------------------------- */

static const char event_label[] = "consentd.event.v1"; /* with its NUL: that is the label */
static const char dek_label[] = "consentd.dek.v1";
static const char sub_label[] = "consentd.sub.v1";

void record_commit(const uint8_t r[32], struct str json, uint8_t cmt_out[32])
{
    uint8_t text[sizeof(event_label) + 32 + RECORD_OPLOG_MAX];

    ASSERT(json.len <= RECORD_OPLOG_MAX);
    memcpy(text, event_label, sizeof(event_label));
    memcpy(text + sizeof(event_label), r, 32);
    memcpy(text + sizeof(event_label) + 32, json.ptr, json.len);
    crypto_sha256(text, sizeof(event_label) + 32 + json.len, cmt_out);
}

void record_leaf_hash(const uint8_t cmt[32], uint8_t leaf_out[32])
{
    uint8_t text[33] = {0x00};

    memcpy(text + 1, cmt, 32);
    crypto_sha256(text, sizeof(text), leaf_out);
}

static void mac_once(const uint8_t key[32], struct str label, struct str text, uint8_t out[32])
{
    const struct str parts[] = {label, text};

    crypto_hmac_once(key, parts, COUNT_OF(parts), out);
}

void record_dek(const uint8_t kek[32], const uint8_t r[32], uint8_t dek_out[32])
{
    mac_once(kek, str_make(dek_label, sizeof(dek_label)), str_make(r, 32), dek_out);
}

void record_sub_tag(const uint8_t idx_key[32], const uint8_t subject[16], uint8_t tag_out[16])
{
    uint8_t mac[32];

    mac_once(idx_key, str_make(sub_label, sizeof(sub_label)), str_make(subject, 16), mac);
    memcpy(tag_out, mac, 16);
}

static void make_aad(const struct record_place *at, enum record_form form, uint8_t aad[16])
{
    memcpy(aad, form == RECORD_FORM_PACKED ? "CE2" : "CE1", 3);
    aad[3] = at->node;
    be64_put(aad + 4, at->leaf);
    be32_put(aad + 12, at->month);
}

/* Every record has a DEK of its own, so a fixed nonce per form is used once per key. */
static const uint8_t nonces[][CRYPTO_GCM_NONCE_LEN] = {
    [RECORD_FORM_JSON] = {0},
    [RECORD_FORM_PACKED] = {[CRYPTO_GCM_NONCE_LEN - 1] = 1},
};

bool record_seal_as(const struct record_place *at, enum record_form form, const uint8_t kek[32],
                    const uint8_t r[32], struct str text, uint8_t *out)
{
    uint8_t dek[32];
    uint8_t aad[16];
    bool ok;

    record_dek(kek, r, dek);
    make_aad(at, form, aad);
    ok = crypto_gcm_seal(dek, nonces[form], str_make(aad, sizeof(aad)), text, out);
    crypto_wipe(dek, sizeof(dek));
    return ok;
}

bool record_open_as(const struct record_place *at, enum record_form form, const uint8_t kek[32],
                    const uint8_t r[32], struct str sealed, uint8_t *out)
{
    uint8_t dek[32];
    uint8_t aad[16];
    bool ok;

    if (sealed.len < CRYPTO_GCM_TAG_LEN || sealed.len > RECORD_OPLOG_MAX + CRYPTO_GCM_TAG_LEN)
        return false;
    record_dek(kek, r, dek);
    make_aad(at, form, aad);
    ok = crypto_gcm_open(dek, nonces[form], str_make(aad, sizeof(aad)), sealed, out);
    crypto_wipe(dek, sizeof(dek));
    return ok;
}

bool record_seal(const struct record_place *at, const uint8_t kek[32], const uint8_t r[32],
                 struct str json, uint8_t *out)
{
    return record_seal_as(at, RECORD_FORM_JSON, kek, r, json, out);
}

bool record_open(const struct record_place *at, const uint8_t kek[32], const uint8_t r[32],
                 struct str sealed, uint8_t *out)
{
    return record_open_as(at, RECORD_FORM_JSON, kek, r, sealed, out);
}
