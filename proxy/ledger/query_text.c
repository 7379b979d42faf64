/*
 * query_text.c - contract in consentd/query_text.h.
 */
#include "consentd/query_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "consentd/b64.h"
#include "consentd/category.h"
#include "consentd/clock.h"
#include "consentd/json.h"

static const char *const status_names[] = {
    [QUERY_ROW_TAMPERED] = "tampered",
    [QUERY_ROW_OK] = "ok",
    [QUERY_ROW_ERASED] = "erased",
    [QUERY_ROW_NO_KEY] = "no-key",
};

/* --- filters ---------------------------------------------------------------------------- */

#define YEAR_10000_MS UINT64_C(253402300800000) /* what no RFC 3339 time can say */

bool query_time_parse(struct str s, uint64_t *ms_out)
{
    struct tm tm = {0}, given;
    char text[64];
    const char *end;
    time_t t;

    if (s.len >= sizeof(text) || s.len == 0)
        return false;
    if (str_to_u64(s, YEAR_10000_MS - 1, ms_out))
        return true;
    (void)snprintf(text, sizeof(text), "%.*s", STR_ARGS(s));
    end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == NULL) {
        memset(&tm, 0, sizeof(tm));
        end = strptime(text, "%Y-%m-%d", &tm);
    }
    if (end == NULL || (*end != '\0' && strcmp(end, "Z") != 0))
        return false;
    given = tm;
    t = timegm(&tm); /* makes a day of the next month of one that there is not */
    *ms_out = (uint64_t)t * 1000;
    return t >= 0 && tm.tm_mday == given.tm_mday && tm.tm_sec == given.tm_sec &&
           *ms_out < YEAR_10000_MS;
}

bool query_subject_parse(struct str s, uint8_t subject_out[16])
{
    /* by its length: an id may itself begin so */
    if (s.len == 2 + B64_LEN(16) && str_starts(s, STR("s_")))
        s = str_slice(s, 2, s.len);
    return b64url_decode(s, subject_out, 16);
}

bool query_place_parse(struct str s, uint64_t *node_out, uint64_t *leaf_out)
{
    struct str node;

    return str_cut(&s, ':', &node) && s.ptr != NULL && str_to_u64(node, UINT8_MAX, node_out) &&
           str_to_u64(s, RECORD_LEAF_MAX, leaf_out);
}

static bool parse_bool(struct str s, enum query_bool *out)
{
    *out = str_eq_c(s, "yes") || str_eq_c(s, "1") || str_eq_c(s, "true") ? QUERY_YES : QUERY_NO;
    return *out == QUERY_YES || str_eq_c(s, "no") || str_eq_c(s, "0") || str_eq_c(s, "false");
}

/* Of at most `max` characters, letters, digits and those of `others`. */
static bool set_text(struct str *out, struct str v, size_t max, const char *others)
{
    for (size_t i = 0; i < v.len; i++)
        if (!ascii_is_alnum(v.ptr[i]) && (v.ptr[i] == '\0' || strchr(others, v.ptr[i]) == NULL))
            return false;
    *out = v;
    return v.len > 0 && v.len <= max;
}

static bool take_from(struct query_spec *q, struct str v)
{
    return query_time_parse(v, &q->from_ms);
}

static bool take_to(struct query_spec *q, struct str v)
{
    return query_time_parse(v, &q->to_ms) && q->to_ms > 0; /* 0: no end */
}

static bool take_act(struct query_spec *q, struct str v)
{
    return (q->act = consent_act_of(v)) != CONSENT_ACT_NONE;
}

static bool take_purpose(struct query_spec *q, struct str v)
{
    return set_text(&q->purpose, v, CATEGORY_ID_MAX, "-_.");
}

static bool take_granted(struct query_spec *q, struct str v)
{
    return parse_bool(v, &q->granted);
}

static bool take_sub(struct query_spec *q, struct str v)
{
    q->has_subject = true;
    return query_subject_parse(v, q->subject);
}

static bool take_epoch(struct query_spec *q, struct str v)
{
    uint64_t n = 0;

    q->has_epoch = str_to_u64(v, UINT32_MAX, &n);
    q->epoch = (uint32_t)n;
    return q->has_epoch;
}

static bool take_doc(struct query_spec *q, struct str v)
{
    return set_text(&q->doc, str_starts(v, STR("d_")) ? str_slice(v, 2, v.len) : v,
                    B64_LEN(RECORD_ID_LEN), "-_");
}

static bool take_lang(struct query_spec *q, struct str v)
{
    return set_text(&q->lang, v, 64, "-_");
}

static bool take_jur(struct query_spec *q, struct str v)
{
    return set_text(&q->jurisdiction, v, 64, "-_.");
}

static bool take_host(struct query_spec *q, struct str v)
{
    return set_text(&q->host, v, 255, "-_.:[]");
}

static bool take_gpc(struct query_spec *q, struct str v)
{
    return parse_bool(v, &q->gpc);
}

static bool take_kind(struct query_spec *q, struct str v)
{
    q->kind = str_eq_c(v, "event")    ? RECORD_EVENT
              : str_eq_c(v, "notice") ? RECORD_NOTICE
                                      : RECORD_OPERATOR;
    return q->kind != RECORD_OPERATOR || str_eq_c(v, "operator");
}

static bool take_order(struct query_spec *q, struct str v)
{
    q->oldest_first = str_eq_c(v, "oldest");
    return q->oldest_first || str_eq_c(v, "newest");
}

static bool take_limit(struct query_spec *q, struct str v)
{
    uint64_t n = 0;

    if (!str_to_u64(v, QUERY_LIMIT_MAX, &n) || n == 0)
        return false;
    q->limit = (unsigned)n;
    return true;
}

static bool take_cursor(struct query_spec *q, struct str v)
{
    return set_text(&q->cursor, v, QUERY_CURSOR_LEN, "-_") && v.len == QUERY_CURSOR_LEN;
}

static const struct {
    const char *name;
    bool (*take)(struct query_spec *q, struct str v);
    const char *right;
} filters[] = {
    {"from", take_from, "2026-11-01, 2026-11-01T12:00:00Z or milliseconds"},
    {"to", take_to, "2026-11-01, 2026-11-01T12:00:00Z or milliseconds"},
    {"act", take_act, "accept_all, reject_all, custom, withdraw, gpc, ..."},
    {"purpose", take_purpose, "a category such as marketing"},
    {"granted", take_granted, "yes or no"},
    {"sub", take_sub, "22 characters, as printed"},
    {"pe", take_epoch, "a number"},
    {"doc", take_doc, "a notice's id of 22 characters, or the beginning of it"},
    {"lang", take_lang, "a language such as en"},
    {"jur", take_jur, "a jurisdiction such as EU"},
    {"host", take_host, "a site's host"},
    {"gpc", take_gpc, "yes or no"},
    {"kind", take_kind, "event, notice or operator"},
    {"order", take_order, "newest or oldest"},
    {"limit", take_limit, "1 to 1000"},
    {"cursor", take_cursor, "the cursor of the page before"},
};

bool query_spec_set(struct query_spec *spec, struct str name, struct str value, struct fault *f)
{
    const char *names[COUNT_OF(filters)];
    char text[64];
    const char *near;

    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        names[i] = filters[i].name;
        if (!str_eq_c(name, filters[i].name))
            continue;
        if (filters[i].take(spec, value))
            return true;
        fault_set(f, "%s \"%.*s\": expected %s", names[i], value.len < 100 ? (int)value.len : 100,
                  value.len > 0 ? value.ptr : "", filters[i].right);
        return false;
    }
    (void)snprintf(text, sizeof(text), "%.*s", name.len < 60 ? (int)name.len : 60,
                   name.len > 0 ? name.ptr : "");
    near = str_nearest(name, names, COUNT_OF(names));
    fault_set(f, "there is no filter \"%s\"%s%s%s", text, near != NULL ? ", did you mean \"" : "",
              near != NULL ? near : "", near != NULL ? "\"?" : "");
    return false;
}

/* --- JSON lines -------------------------------------------------------------------------- */

const char *query_status_name(enum query_row_status status)
{
    return status_names[status];
}

bool query_status_parse(struct str s, enum query_row_status *out)
{
    for (size_t i = 0; i < COUNT_OF(status_names); i++)
        if (str_eq_c(s, status_names[i])) {
            *out = (enum query_row_status)i;
            return true;
        }
    return false;
}

bool query_row_json(const struct query_row *row, bool disclosed, struct buf *out)
{
    bool open = row->status == QUERY_ROW_OK;
    uint8_t leaf[32];
    char hash[B64_LEN(32) + 1], r[B64_LEN(32) + 1];

    if (!buf_append_char(out, '{') ||
        (open && !buf_printf(out, "\"event\":%.*s,", STR_ARGS(row->json))) ||
        !buf_printf(out, "\"leaf\":%" PRIu64 ",", row->leaf))
        return false;
    if (open) {
        record_leaf_hash(row->cmt, leaf);
        b64url_encode(hash, leaf, sizeof(leaf));
        if (!buf_printf(out, "\"leafhash\":\"%s\",", hash))
            return false;
    }
    if (!buf_printf(out, "\"node\":%u,", row->node))
        return false;
    if (open && disclosed) {
        b64url_encode(r, row->r, 32);
        if (!buf_printf(out, "\"r\":\"%s\",", r))
            return false;
    }
    return buf_printf(out, "\"status\":\"%s\",\"ts\":%" PRIu64 "}", status_names[row->status],
                      row->ts_ms);
}

bool query_row_of(const json_t *value, struct buf *json_out, struct query_row *row_out)
{
    const json_t *event = json_object_get(value, "event");
    const char *status = json_string_value(json_object_get(value, "status"));

    memset(row_out, 0, sizeof(*row_out));
    buf_clear(json_out);
    if (!query_status_parse(str_c(status), &row_out->status))
        return false;
    row_out->node = (uint8_t)json_integer_value(json_object_get(value, "node"));
    row_out->leaf = (uint64_t)json_integer_value(json_object_get(value, "leaf"));
    row_out->ts_ms = (uint64_t)json_integer_value(json_object_get(value, "ts"));
    if (row_out->status != QUERY_ROW_OK)
        return true;
    if (event == NULL || !json_canonical(event, json_out))
        return false;
    row_out->json = buf_str(json_out);
    row_out->kind = record_parse(row_out->json, &row_out->view);
    return row_out->kind != RECORD_UNKNOWN;
}

/* --- CSV ----------------------------------------------------------------------------------- */

const char *query_names_join(const struct str *names, unsigned cnt, char *out, size_t room)
{
    size_t len = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < cnt && len < room; i++)
        len +=
            (size_t)snprintf(out + len, room - len, "%s%.*s", i > 0 ? " " : "", STR_ARGS(names[i]));
    return out;
}

static struct str id_text(char prefix, const uint8_t id[RECORD_ID_LEN], char out[32])
{
    out[0] = prefix;
    out[1] = '_';
    b64url_encode(out + 2, id, RECORD_ID_LEN);
    return str_c(out);
}

bool query_csv_cell(struct str s, bool last, struct buf *out)
{
    bool ok = buf_append_char(out, '"');

    if (s.len > 0 && s.ptr[0] != '\0' && strchr("=+-@\t\r", s.ptr[0]) != NULL)
        ok = ok && buf_append_char(out, '\'');
    for (size_t i = 0; ok && i < s.len; i++)
        ok = (s.ptr[i] != '"' || buf_append_char(out, '"')) && buf_append_char(out, s.ptr[i]);
    return ok && buf_append_c(out, last ? "\"\r\n" : "\",");
}

bool query_csv_head(struct buf *out)
{
    return buf_append_c(out, "time,record,status,act,granted,denied,subject,event,by,type,method,"
                             "notice,epoch,lang,jurisdiction,host,gpc,expires,operator\r\n");
}

/* The cells that only a readable event has; the others of `cells` stay as they are. */
static void event_cells(const struct query_row *row, struct str cells[QUERY_CSV_COLUMNS],
                        char room[6][640])
{
    const struct consent_event *ev = &row->view.event;

    cells[3] = str_c(consent_act_name(ev->act));
    cells[4] = str_c(query_names_join(row->view.grants, row->view.grant_cnt, room[0], 640));
    cells[5] = str_c(query_names_join(row->view.denies, row->view.deny_cnt, room[1], 640));
    cells[6] = id_text('s', ev->subject, room[2]);
    cells[7] = id_text('e', ev->eid, room[3]);
    cells[8] = str_c(consent_by_name(ev->by));
    cells[9] = str_c(consent_type_name(ev->type));
    cells[10] = ev->method;
    cells[11] = id_text('d', ev->doc, room[4]);
    (void)snprintf(room[4] + 32, 16, "%u", ev->epoch);
    cells[12] = str_c(room[4] + 32);
    cells[13] = ev->lang;
    cells[14] = ev->jurisdiction;
    cells[15] = ev->host;
    cells[16] = str_c(ev->gpc ? "1" : "0");
    cells[17] = str_c(clock_format((uint64_t)ev->expires_s * 1000, room[5]));
}

/* A record that is nobody's consent: what it is stands where acts do, J in the last column. */
static void other_cells(const struct query_row *row, struct str cells[QUERY_CSV_COLUMNS])
{
    cells[3] = str_c(row->kind == RECORD_NOTICE ? "notice" : "operator");
    cells[8] = str_c("operator");
    cells[18] = row->json;
}

bool query_csv_row(const struct query_row *row, struct buf *out)
{
    char when[CLOCK_TEXT_MAX], place[32], room[6][640];
    struct str cells[QUERY_CSV_COLUMNS] = {{NULL, 0}};
    size_t before = out->len;
    bool ok = true;

    (void)snprintf(place, sizeof(place), "%u:%" PRIu64, row->node, row->leaf);
    cells[0] = str_c(clock_format(row->ts_ms, when));
    cells[1] = str_c(place);
    cells[2] = str_c(status_names[row->status]);
    if (row->status == QUERY_ROW_OK && row->kind == RECORD_EVENT)
        event_cells(row, cells, room);
    else if (row->status == QUERY_ROW_OK)
        other_cells(row, cells);
    for (size_t i = 0; ok && i < QUERY_CSV_COLUMNS; i++)
        ok = query_csv_cell(cells[i], i + 1 == QUERY_CSV_COLUMNS, out);
    if (!ok)
        out->len = before;
    return ok;
}
