/*
 * query.c - the parts of a query that know no store: filter, cursor, opening a row.
 *
 * cursor, 42 bytes: version(1) order(1) node(1) 0(1) month(4) ts(8) leaf(8) filter hash(18)
 */
#include "consentd/query.h"

#include <inttypes.h>
#include <string.h>

#include "bytes_priv.h"
#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/envelope.h"
#include "consentd/erased.h"
#include "consentd/mem.h"
#include "consentd/restarts.h"
#include "query_priv.h"

#define CURSOR_BYTES   42
#define CURSOR_VERSION 1
#define CURSOR_HASH    18

unsigned query_limit(const struct query_spec *spec)
{
    unsigned limit = spec->limit == 0 ? 100 : spec->limit;

    return limit < QUERY_LIMIT_MAX ? limit : QUERY_LIMIT_MAX;
}

/* --- cursor ------------------------------------------------------------------------ */

/* Binds a cursor to its question; order and limit are not part of it. */
static void filter_hash(const struct query_spec *s, uint8_t out[CURSOR_HASH])
{
    const struct str texts[] = {s->purpose, s->doc, s->lang, s->jurisdiction, s->host};
    uint8_t hash[32];
    struct buf text;
    bool ok;

    buf_init(&text, 8192);
    ok = buf_printf(&text, "%" PRIu64 " %" PRIu64 " %d %d %d %u %d %d %d ", s->from_ms, s->to_ms,
                    (int)s->act, (int)s->granted, s->has_epoch, s->has_epoch ? s->epoch : 0,
                    (int)s->gpc, (int)s->kind, s->has_subject) &&
         buf_append(&text, s->subject, s->has_subject ? sizeof(s->subject) : 0);
    for (size_t i = 0; ok && i < COUNT_OF(texts); i++)
        ok = buf_printf(&text, "%zu:%.*s", texts[i].len, STR_ARGS(texts[i]));
    ASSERT(ok); /* query_check limits the texts */
    crypto_sha256(text.data, text.len, hash);
    memcpy(out, hash, CURSOR_HASH);
    buf_free(&text);
}

bool query_cursor_read(const struct query_spec *spec, uint8_t node, struct query_place *out,
                       struct fault *f)
{
    uint8_t bytes[CURSOR_BYTES];
    uint8_t hash[CURSOR_HASH];

    memset(out, 0, sizeof(*out));
    if (spec->cursor.len == 0)
        return true;
    filter_hash(spec, hash);
    if (!b64url_decode(spec->cursor, bytes, sizeof(bytes)) || bytes[0] != CURSOR_VERSION) {
        fault_set(f, "the cursor is none of ours");
        return false;
    }
    if (bytes[1] != spec->oldest_first || bytes[2] != node ||
        memcmp(bytes + 24, hash, sizeof(hash)) != 0) {
        fault_set(f, "the cursor belongs to another question: repeat the same filters and order");
        return false;
    }
    out->set = true;
    out->month = be32_get(bytes + 4);
    out->ts_ms = be64_get(bytes + 8);
    out->leaf = be64_get(bytes + 16);
    if (!record_month_ok(out->month) || out->leaf > RECORD_LEAF_MAX) {
        fault_set(f, "the cursor is none of ours");
        return false;
    }
    return true;
}

void query_cursor_write(const struct query_spec *spec, uint8_t node, const struct query_place *at,
                        char out[QUERY_CURSOR_LEN + 1])
{
    uint8_t bytes[CURSOR_BYTES] = {CURSOR_VERSION, spec->oldest_first, node};

    be32_put(bytes + 4, at->month);
    be64_put(bytes + 8, at->ts_ms);
    be64_put(bytes + 16, at->leaf);
    filter_hash(spec, bytes + 24);
    b64url_encode(out, bytes, sizeof(bytes));
}

bool query_check_cursor(const struct query_spec *spec, uint8_t node, struct fault *f)
{
    struct query_place at;

    return query_cursor_read(spec, node, &at, f);
}

bool query_check(const struct query_spec *spec, struct fault *f)
{
    const struct str texts[] = {spec->purpose, spec->doc, spec->lang, spec->jurisdiction,
                                spec->host};

    if (spec->to_ms != 0 && spec->to_ms <= spec->from_ms) {
        fault_set(f, "the time range is empty: \"from\" must be before \"to\"");
        return false;
    }
    if ((spec->kind == RECORD_NOTICE || spec->kind == RECORD_OPERATOR) &&
        (spec->act != CONSENT_ACT_NONE || spec->purpose.len > 0 || spec->has_subject ||
         spec->has_epoch || spec->doc.len > 0 || spec->lang.len > 0 || spec->jurisdiction.len > 0 ||
         spec->host.len > 0 || spec->gpc != QUERY_ANY)) {
        fault_set(f,
                  "only \"from\" and \"to\" fit the kind \"%s\": the other filters ask for "
                  "visitors' events",
                  spec->kind == RECORD_NOTICE ? "notice" : "operator");
        return false;
    }
    if (spec->granted != QUERY_ANY && spec->purpose.len == 0) {
        fault_set(f, "\"granted\" needs a purpose");
        return false;
    }
    if (spec->limit > QUERY_LIMIT_MAX) {
        fault_set(f, "a page has at most %d rows", QUERY_LIMIT_MAX);
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (texts[i].len > 255) {
            fault_set(f, "a filter is longer than 255 bytes");
            return false;
        }
    return true;
}

/* --- rows -------------------------------------------------------------------------- */

void query_open(const struct query_log *log, const struct query_sealed *in, uint8_t *json,
                struct query_row *row_out)
{
    const struct record_place at = {.node = log->node, .leaf = in->leaf, .month = in->month};
    const uint8_t *kek = keks_get(log->keks, in->month);
    size_t len = 0;

    memset(row_out, 0, sizeof(*row_out));
    row_out->node = log->restarts != NULL ? restarts_node_of(log->restarts, in->leaf) : log->node;
    row_out->leaf = in->leaf;
    row_out->ts_ms = in->ts_ms;
    row_out->r = in->r;
    if (in->r == NULL || erased_has(log->erased, in->leaf)) {
        row_out->status = QUERY_ROW_ERASED;
        row_out->r = NULL;
        return;
    }
    if (kek == NULL) {
        row_out->status = QUERY_ROW_NO_KEY;
        return;
    }
    if (in->is_envelope ? !envelope_open(&at, kek, in->r, in->sealed, json, &len)
                        : !record_open(&at, kek, in->r, in->sealed, json))
        return;
    row_out->json = str_make(json, in->is_envelope ? len : in->sealed.len - CRYPTO_GCM_TAG_LEN);
    record_commit(in->r, row_out->json, row_out->cmt);
    row_out->kind = record_parse(row_out->json, &row_out->view);
    if (row_out->kind != RECORD_UNKNOWN && row_out->view.event.ts_ms == in->ts_ms &&
        (in->cmt == NULL || crypto_equal(in->cmt, row_out->cmt, 32)))
        row_out->status = QUERY_ROW_OK;
}

static bool has_name(const struct str *names, unsigned cnt, struct str name)
{
    for (unsigned i = 0; i < cnt; i++)
        if (str_eq(names[i], name))
            return true;
    return false;
}

static bool purpose_matches(const struct query_spec *s, const struct record_view *v)
{
    bool given = has_name(v->grants, v->grant_cnt, s->purpose);
    bool refused = has_name(v->denies, v->deny_cnt, s->purpose);

    if (s->purpose.len == 0)
        return true;
    switch (s->granted) {
    case QUERY_YES:
        return given;
    case QUERY_NO:
        return refused;
    case QUERY_ANY:
        break;
    }
    return given || refused;
}

static bool text_matches(struct str want, struct str have)
{
    return want.len == 0 || str_eq_fold(want, have);
}

static bool doc_matches(struct str want, const uint8_t doc[RECORD_ID_LEN])
{
    char text[B64_LEN(RECORD_ID_LEN) + 1];

    if (want.len == 0)
        return true;
    b64url_encode(text, doc, RECORD_ID_LEN);
    return str_starts(str_c(text), want);
}

/* Filters that only an event can meet. */
static bool asks_for_event(const struct query_spec *s)
{
    return s->act != CONSENT_ACT_NONE || s->purpose.len > 0 || s->has_subject || s->has_epoch ||
           s->doc.len > 0 || s->lang.len > 0 || s->jurisdiction.len > 0 || s->host.len > 0 ||
           s->gpc != QUERY_ANY;
}

static bool event_matches(const struct query_spec *s, const struct record_view *v)
{
    const struct consent_event *ev = &v->event;

    return (s->act == CONSENT_ACT_NONE || s->act == ev->act) && purpose_matches(s, v) &&
           (!s->has_subject || memcmp(s->subject, ev->subject, sizeof(s->subject)) == 0) &&
           (!s->has_epoch || s->epoch == ev->epoch) && doc_matches(s->doc, ev->doc) &&
           text_matches(s->lang, ev->lang) && text_matches(s->jurisdiction, ev->jurisdiction) &&
           text_matches(s->host, ev->host) &&
           (s->gpc == QUERY_ANY || (s->gpc == QUERY_YES) == ev->gpc);
}

bool query_matches(const struct query_spec *spec, const struct query_row *row)
{
    if (row->ts_ms < spec->from_ms || (spec->to_ms != 0 && row->ts_ms >= spec->to_ms))
        return false;
    if (row->status != QUERY_ROW_OK)
        return true; /* what can't be opened is never hidden */
    if (spec->kind != RECORD_UNKNOWN && spec->kind != row->kind)
        return false;
    if (row->kind != RECORD_EVENT)
        return !asks_for_event(spec);
    return event_matches(spec, &row->view);
}
