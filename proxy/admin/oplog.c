/*
 * oplog.c - who asked for what, as an operator record of the ledger: in the same Merkle log as the
 * decisions, so that nobody can look without leaving a trace.
 *
 * A subject is never named: its keyed tag stands for it, so that the record says nothing more
 * once the subject's own records are erased.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/ipc.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/query_text.h"
#include "consentd/record.h"

#define DENIALS_MAX 60    /* records of denials in one minute; more are counted in the log only */
#define MINUTE_MS   60000 /* of them */
#define VALUE_MAX   255   /* bytes of one value that is kept */

/* A value as text that a record may hold: a subject as its tag, everything else cut. */
static json_t *value_json(const struct admin *a, struct str value, bool subject)
{
    uint8_t id[16], tag[16];
    char text[64];
    json_t *out;

    if (subject) {
        if (!query_subject_parse(value, id))
            return json_string("not a subject");
        record_sub_tag(store_log(a->store)->idx_key, id, tag);
        memcpy(text, "tag:", 4);
        hex_encode(text + 4, tag, sizeof(tag));
        return json_string(text);
    }
    out = json_stringn(value.ptr != NULL ? value.ptr : "",
                       value.len < VALUE_MAX ? value.len : VALUE_MAX);
    return out != NULL ? out : json_string("not UTF-8");
}

/* The parameters as an object; NULL: they are malformed, which the handler will say. */
static json_t *params_json(const struct admin_client *c)
{
    struct params p;
    json_t *out = NULL;

    if (params_parse(c->rq.query, &p, NULL) && p.cnt > 0) {
        out = json_object();
        for (size_t i = 0; i < p.cnt; i++) {
            char name[64];

            (void)snprintf(name, sizeof(name), "%.*s",
                           p.list[i].name.len < 60 ? (int)p.list[i].name.len : 60,
                           p.list[i].name.ptr);
            json_object_set_new(
                out, name, value_json(c->admin, p.list[i].value, str_eq_c(p.list[i].name, "sub")));
        }
    }
    params_free(&p);
    return out;
}

static json_t *record_json(const struct admin_client *c, const char *result)
{
    bool subject = str_starts(c->rq.path, STR("/api/v1/subjects/"));
    json_t *params = params_json(c);
    char from[32], route[128];
    json_t *out;

    (void)snprintf(from, sizeof(from), "uid:%lld", (long long)(int)c->peer.uid);
    (void)snprintf(route, sizeof(route), "%s %s", c->route->method, c->route->path);
    out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "op", "access", "who", c->peer.name,
                    "from", from, "role", c->peer.role, "permission", perm_name(c->route->perm),
                    "route", route, "result", result);
    if (out != NULL && c->rq.param.len > 0)
        json_object_set_new(out, "object", value_json(c->admin, c->rq.param, subject));
    if (out != NULL && params != NULL)
        json_object_set(out, "params", params);
    json_decref(params);
    return out;
}

bool oplog_send(struct admin_client *c, const char *result)
{
    struct admin *a = c->admin;
    json_t *record = record_json(c, result);
    char *text = record != NULL ? json_dumps(record, JSON_COMPACT) : NULL;
    uint8_t *message = mem_alloc(LEDGER_OPLOG_MSG_MAX);
    size_t len;

    c->record_id = ++a->next_request;
    len = text != NULL
              ? ledger_oplog_encode(c->record_id, str_c(text), message, LEDGER_OPLOG_MSG_MAX)
              : 0;
    if (len == 0 || a->ledger == NULL || !ipc_send(a->ledger, IPC_OPLOG, message, len, -1))
        c->record_id = 0;
    json_decref(record);
    free(text);
    free(message);
    return c->record_id != 0;
}

bool oplog_wants_denial(struct admin *a)
{
    uint64_t now = clock_mono_ms();

    if (now - a->denials_from_ms >= MINUTE_MS) {
        if (a->denials > DENIALS_MAX)
            log_warn("admin.denials", "unrecorded=%u", a->denials - DENIALS_MAX);
        a->denials_from_ms = now;
        a->denials = 0;
    }
    return ++a->denials <= DENIALS_MAX;
}
