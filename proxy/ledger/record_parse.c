/*
 * record_parse.c - reads J back, strictly (contract in consentd/record.h).
 *
 * J has one form only, so the reader walks it with literals in their sorted order and
 * needs no general JSON parser: no allocation, and about 0.3 us per event. Anything
 * record_canonical would not have written is refused.
 */
#include <inttypes.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/json.h"
#include "consentd/record.h"
#include "record_priv.h"

/* What is still to be read; `bad` sticks. */
struct scan {
    struct str rest;
    bool bad;
};

static bool scan_is(struct scan *s, const char *literal)
{
    struct str lit = str_c(literal);

    if (s->bad || !str_starts(s->rest, lit))
        return false;
    s->rest = str_slice(s->rest, lit.len, s->rest.len);
    return true;
}

static void scan_need(struct scan *s, const char *literal)
{
    if (!scan_is(s, literal))
        s->bad = true;
}

/* A text up to the closing quote, which is taken too. No escapes: none is ever written. */
static struct str scan_text(struct scan *s)
{
    ptrdiff_t end = s->bad ? -1 : str_find_char(s->rest, '"');
    struct str text = {NULL, 0};

    if (end < 0) {
        s->bad = true;
        return text;
    }
    text = str_slice(s->rest, 0, (size_t)end);
    s->rest = str_slice(s->rest, (size_t)end + 1, s->rest.len);
    return text;
}

/* Digits in their shortest form. */
static uint64_t scan_number(struct scan *s, uint64_t max)
{
    uint64_t value = 0;
    size_t len = 0;
    struct str digits;

    while (len < s->rest.len && ascii_is_digit(s->rest.ptr[len]))
        len++;
    digits = str_slice(s->rest, 0, len);
    if (s->bad || !str_to_u64(digits, max, &value) || (len > 1 && digits.ptr[0] == '0')) {
        s->bad = true;
        return 0;
    }
    s->rest = str_slice(s->rest, len, s->rest.len);
    return value;
}

static void scan_id(struct scan *s, const char *key, uint8_t id_out[RECORD_ID_LEN])
{
    scan_need(s, key);
    if (!b64url_decode(scan_text(s), id_out, RECORD_ID_LEN))
        s->bad = true;
}

static void scan_optional(struct scan *s, const char *key, size_t max, struct str *out)
{
    if (!scan_is(s, key))
        return;
    *out = scan_text(s);
    if (out->len == 0 || !record_text_ok(*out, max))
        s->bad = true;
}

/* ["a","b"] with sorted, different names. */
static unsigned scan_names(struct scan *s, const char *key, struct str names[RECORD_PURPOSES])
{
    unsigned cnt = 0;

    scan_need(s, key);
    if (scan_is(s, "]"))
        return 0;
    do {
        if (cnt == RECORD_PURPOSES) {
            s->bad = true;
            return 0;
        }
        scan_need(s, "\"");
        names[cnt] = scan_text(s);
        if (!record_name_ok(names[cnt]) || (cnt > 0 && str_cmp(names[cnt - 1], names[cnt]) >= 0))
            s->bad = true;
        cnt++;
    } while (scan_is(s, ","));
    scan_need(s, "]");
    return cnt;
}

static void scan_prev(struct scan *s, struct consent_event *ev)
{
    if (!scan_is(s, ",\"prev\":\""))
        return;
    ev->has_prev = true;
    ev->prev_node = (uint8_t)scan_number(s, UINT8_MAX);
    scan_need(s, ":");
    ev->prev_leaf = scan_number(s, RECORD_LEAF_MAX);
    scan_need(s, "\"");
}

static void scan_event(struct scan *s, struct record_view *view)
{
    struct consent_event *ev = &view->event;

    ev->act = consent_act_of(scan_text(s));
    scan_need(s, ",\"by\":\"");
    ev->by = consent_by_of(scan_text(s));
    view->deny_cnt = scan_names(s, ",\"deny\":[", view->denies);
    scan_id(s, ",\"doc\":\"", ev->doc);
    scan_id(s, ",\"eid\":\"", ev->eid);
    scan_need(s, ",\"exp\":");
    ev->expires_s = (uint32_t)scan_number(s, UINT32_MAX);
    ev->gpc = scan_is(s, ",\"gpc\":true");
    if (!ev->gpc)
        scan_need(s, ",\"gpc\":false");
    view->grant_cnt = scan_names(s, ",\"grant\":[", view->grants);
    scan_optional(s, ",\"host\":\"", RECORD_HOST_MAX, &ev->host);
    scan_optional(s, ",\"jur\":\"", RECORD_JUR_MAX, &ev->jurisdiction);
    scan_optional(s, ",\"lang\":\"", RECORD_LANG_MAX, &ev->lang);
    scan_optional(s, ",\"mth\":\"", RECORD_METHOD_MAX, &ev->method);
    scan_need(s, ",\"pe\":");
    ev->epoch = (uint32_t)scan_number(s, UINT32_MAX);
    scan_prev(s, ev);
    scan_id(s, ",\"sub\":\"", ev->subject);
    scan_need(s, ",\"ts\":");
    ev->ts_ms = scan_number(s, UINT64_MAX);
    scan_need(s, ",\"typ\":\"");
    ev->type = consent_type_of(scan_text(s));
    scan_need(s, ",\"v\":1}");
    if (ev->act == CONSENT_ACT_NONE || ev->by == CONSENT_BY_NONE || ev->type == CONSENT_TYPE_NONE ||
        ev->host.len == 0)
        s->bad = true;
}

/* {"op":{…},"ts":N,"v":1}: the wrapper is what counts, not the object in it. */
static bool scan_wrapped(struct str json, struct record_view *view)
{
    struct scan s = {.rest = json};
    size_t tail;

    /* from the end: the "}" of the wrapper, then the one that closes the operator's object */
    for (tail = json.len - 1; tail > 0 && json.ptr[tail - 1] != '}'; tail--)
        ;
    s.rest = str_slice(json, tail, json.len);
    scan_need(&s, ",\"ts\":");
    view->event.ts_ms = scan_number(&s, UINT64_MAX);
    scan_need(&s, ",\"v\":1}");
    return !s.bad && s.rest.len == 0;
}

enum record_kind record_parse(struct str json, struct record_view *view_out)
{
    struct scan s = {.rest = json};

    memset(view_out, 0, sizeof(*view_out));
    if (str_starts(json, STR("{\"op\":{")))
        return scan_wrapped(json, view_out) ? RECORD_OPERATOR : RECORD_UNKNOWN;
    if (str_starts(json, STR("{\"doc\":{")))
        return scan_wrapped(json, view_out) ? RECORD_NOTICE : RECORD_UNKNOWN;
    if (json.len > RECORD_JSON_MAX || !scan_is(&s, "{\"act\":\""))
        return RECORD_UNKNOWN;
    scan_event(&s, view_out);
    return !s.bad && s.rest.len == 0 ? RECORD_EVENT : RECORD_UNKNOWN;
}

/* The object in the wrapper, written once more. */
static bool wrapped_is_canonical(enum record_kind kind, struct str json, uint64_t ts_ms)
{
    json_t *root = json_load_text("record", json, 0, NULL);
    bool notice = kind == RECORD_NOTICE;
    const json_t *inner = json_object_get(root, notice ? "doc" : "op");
    struct buf canonical, again;
    bool ok;

    buf_init(&canonical, RECORD_OPLOG_MAX);
    buf_init(&again, RECORD_OPLOG_MAX);
    ok = inner != NULL && json_canonical(inner, &canonical) &&
         (notice ? record_notice(buf_str(&canonical), ts_ms, &again)
                 : record_operator(buf_str(&canonical), ts_ms, &again)) &&
         str_eq(buf_str(&again), json);
    json_decref(root);
    buf_free(&canonical);
    buf_free(&again);
    return ok;
}

enum record_kind record_read(struct str json, struct record_view *view_out)
{
    enum record_kind kind = record_parse(json, view_out);

    return kind == RECORD_EVENT || kind == RECORD_UNKNOWN ||
                   wrapped_is_canonical(kind, json, view_out->event.ts_ms)
               ? kind
               : RECORD_UNKNOWN;
}
