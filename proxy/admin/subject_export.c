/*
 * subject_export.c - GET /api/v1/subjects/SUB/export?format=json|dpv|csv: what a person is owed who
 * asks for their data, in one piece.
 *
 *   json  {"subject":"s_…","records":[a JSON line with r, and "proof": a tlog-proof of the
 *          disclosed record, or null while it is not signed yet], "vkeys":["…"]}
 *   dpv   a consent receipt of ISO/IEC TS 27560 (dpv.h)
 *   csv   query_text.h
 */
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/query_text.h"
#include "consentd/restarts.h"

#define ANSWER_MAX (12u << 20) /* bytes of it */

enum form { FORM_JSON = 0, FORM_DPV, FORM_CSV, FORM_CNT };

static const char *const form_names[FORM_CNT] = {"json", "dpv", "csv"};
static const char *const form_types[FORM_CNT] = {"application/json", "application/ld+json",
                                                 "text/csv; charset=utf-8; header=present"};

struct subject {
    struct admin_client *c;
    struct feed feed;
    enum form form;
    struct buf out, before; /* before: J of the record before, for its view */
    struct record_view prev;
    bool has_prev, full;
    unsigned rows;
    char origin[NOTE_NAME_MAX + 1];
};

static void drop(struct admin_client *c)
{
    struct subject *s = c->state;

    feed_cancel(&s->feed);
    buf_free(&s->out);
    buf_free(&s->before);
    free(s);
}

static const struct admin_job job = {.drop = drop};

/* ,"proof":"…"} in the place of the object's end. */
static bool put_proof(struct subject *s, const struct query_row *row)
{
    struct buf extra, proof;
    bool ok;

    buf_init(&extra, RECORD_OPLOG_MAX + 32);
    buf_init(&proof, NOTE_PROOF_MAX);
    s->out.len--;
    ok = row->status != QUERY_ROW_OK ||
         (buf_append(&extra, row->r, 32) && buf_append_str(&extra, row->json));
    ok = ok && buf_append_c(&s->out, ",\"proof\":");
    if (ok && admin_prove(s->c->admin, row->leaf, buf_str(&extra), &proof, NULL))
        ok = json_quote(buf_str(&proof), &s->out);
    else
        ok = ok && buf_append_c(&s->out, "null");
    buf_free(&extra);
    buf_free(&proof);
    return ok && buf_append_char(&s->out, '}');
}

static bool put_dpv(struct subject *s, const struct query_row *row)
{
    struct dpv_event ev = {.origin = str_c(s->origin),
                           .leaf = row->leaf,
                           .view = &row->view,
                           .prev = s->has_prev ? &s->prev : NULL};

    if (row->status != QUERY_ROW_OK)
        return dpv_record_closed(&ev, &s->out);
    if (!dpv_record(&ev, docs_notice(s->c->admin, row->view.event.doc), &s->out))
        return false;
    buf_clear(&s->before);
    s->has_prev = buf_append_str(&s->before, row->json) &&
                  record_parse(buf_str(&s->before), &s->prev) == RECORD_EVENT;
    return true;
}

static bool put_row(struct subject *s, const struct query_row *row)
{
    switch (s->form) {
    case FORM_CSV:
        return query_csv_row(row, &s->out);
    case FORM_DPV:
        return (s->rows == 0 || dpv_receipt_next(&s->out)) && put_dpv(s, row);
    case FORM_JSON:
    case FORM_CNT:
        break;
    }
    return (s->rows == 0 || buf_append_char(&s->out, ',')) && query_row_json(row, true, &s->out) &&
           put_proof(s, row);
}

static bool on_row(void *arg, const struct query_row *row)
{
    struct subject *s = arg;

    s->full = !put_row(s, row);
    s->rows++;
    return !s->full;
}

static bool put_begin(struct subject *s)
{
    char name[B64_LEN(16) + 1];
    uint8_t id[16];

    switch (s->form) {
    case FORM_CSV:
        return query_csv_head(&s->out);
    case FORM_DPV:
        crypto_random(id, sizeof(id));
        return dpv_receipt_begin(id, clock_wall_ms(), NULL, &s->out);
    case FORM_JSON:
    case FORM_CNT:
        break;
    }
    b64url_encode(name, s->feed.spec.subject, 16);
    return buf_printf(&s->out, "{\"subject\":\"s_%s\",\"records\":[", name);
}

static bool put_end(struct subject *s)
{
    struct note_key keys[ADMIN_LOG_KEYS];
    unsigned key_cnt = admin_log_keys(s->c->admin, keys);
    bool ok = true;
    struct buf key;

    if (s->form != FORM_JSON)
        return s->form == FORM_CSV || dpv_receipt_end(&s->out);
    buf_init(&key, 1024);
    ok = buf_append_c(&s->out, "],\"vkeys\":[");
    for (unsigned i = 0; ok && i < key_cnt; i++) {
        buf_clear(&key);
        ok = (i == 0 || buf_append_char(&s->out, ',')) && note_vkey_print(&keys[i], &key) &&
             json_quote(buf_str(&key), &s->out);
    }
    buf_free(&key);
    return ok && buf_append_c(&s->out, "]}\n");
}

static void on_turn(void *arg, const struct feed_end *end)
{
    struct subject *s = arg;

    if (!end->ok)
        admin_answer_error(s->c, 503, "%s", end->fault.text);
    else if (end->partial)
        admin_answer_error(s->c, 503, "Redis is away: the journal alone would not be whole");
    else if (s->full)
        admin_answer_error(s->c, 413, "the subject has more records than one answer holds");
    else if (end->more)
        feed_ask(s->c->admin->store, &s->feed);
    else if (put_end(s))
        admin_answer(s->c, 200, form_types[s->form], buf_str(&s->out));
    else
        admin_answer_error(s->c, 500, "no memory");
}

static bool take_form(struct subject *s)
{
    struct params params;
    struct str format;
    bool ok;

    if (!admin_params(s->c, &params))
        return false;
    format = params_take(&params, "format");
    for (size_t i = 0; i < FORM_CNT; i++)
        if (str_eq_c(format, form_names[i]))
            s->form = (enum form)i;
    ok = (format.ptr == NULL || str_eq_c(format, form_names[s->form])) && params.cnt == 0;
    params_free(&params);
    if (!ok)
        admin_answer_error(s->c, 400, "expected format=json, dpv or csv, and nothing else");
    return ok;
}

void subject_export(struct admin_client *c)
{
    const struct query_log *log = store_log(c->admin->store);
    struct subject *s = mem_new(struct subject);

    s->c = c;
    s->feed.arg = s;
    s->feed.on_row = on_row;
    s->feed.on_end = on_turn;
    s->feed.spec = (struct query_spec){
        .has_subject = true, .oldest_first = true, .limit = 100, .kind = RECORD_EVENT};
    buf_init(&s->out, ANSWER_MAX);
    buf_init(&s->before, RECORD_JSON_MAX);
    (void)snprintf(s->origin, sizeof(s->origin), "%.240s/consent/%u", log->site,
                   restarts_node(store_restarts(c->admin->store)));
    admin_job_begin(c, &job, s);
    if (!take_form(s))
        return;
    if (!query_subject_parse(c->rq.param, s->feed.spec.subject))
        admin_answer_error(c, 400, "a subject is 22 characters of base64url");
    else if (put_begin(s))
        feed_ask(c->admin->store, &s->feed);
    else
        admin_answer_error(c, 500, "no memory");
}
