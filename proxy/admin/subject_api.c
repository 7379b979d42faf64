/*
 * subject_api.c - erasure and legal hold of a subject: asked of the ledger, answered with its
 * receipt. A message lost on the way is asked again by the operator; the ledger knows it then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/b64.h"
#include "consentd/ipc.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/query_text.h"

/* action: enum ledger_erase_action */
static void ask(struct admin_client *c, unsigned action)
{
    struct admin *a = c->admin;
    struct ledger_erase_msg msg = {.req_id = ++a->next_request,
                                   .version = LEDGER_MSG_VERSION,
                                   .action = action,
                                   .by = CONSENT_BY_OPERATOR};

    if (!query_subject_parse(c->rq.param, msg.subject)) {
        admin_answer_error(c, 400, "a subject is 22 characters of base64url");
        return;
    }
    if (c->rq.query.len > 0 && !(action == LEDGER_ERASE && str_eq_c(c->rq.query, "now=1"))) {
        admin_answer_error(c, 400, "an erasure takes now=1, and nothing else");
        return;
    }
    msg.flags = c->rq.query.len > 0 ? LEDGER_ERASE_NOW : 0;
    (void)snprintf(msg.actor, sizeof(msg.actor), "%s", c->peer.name);
    c->erase_id = msg.req_id;
    if (a->ledger == NULL || !ipc_send(a->ledger, IPC_ERASE, &msg, sizeof(msg), -1))
        admin_answer_error(c, 503, "the ledger is away");
}

void subject_api_erase(struct admin_client *c)
{
    ask(c, LEDGER_ERASE);
}

void subject_api_hold(struct admin_client *c)
{
    ask(c, LEDGER_HOLD);
}

void subject_api_release(struct admin_client *c)
{
    ask(c, LEDGER_RELEASE);
}

void month_api_drop(struct admin_client *c)
{
    struct admin *a = c->admin;
    struct ledger_erase_msg msg = {.req_id = ++a->next_request,
                                   .version = LEDGER_MSG_VERSION,
                                   .action = LEDGER_DROP,
                                   .by = CONSENT_BY_OPERATOR};
    uint64_t number;

    if (!str_to_u64(c->rq.param, 999912, &number)) {
        admin_answer_error(c, 400, "a month is yyyymm");
        return;
    }
    msg.month = (uint32_t)number;
    (void)snprintf(msg.actor, sizeof(msg.actor), "%s", c->peer.name);
    c->erase_id = msg.req_id;
    c->asks_drop = true;
    if (a->ledger == NULL || !ipc_send(a->ledger, IPC_ERASE, &msg, sizeof(msg), -1))
        admin_answer_error(c, 503, "the ledger is away");
}

static struct admin_client *client_of(struct admin *a, uint64_t id)
{
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
        if (a->clients[i].admin != NULL && a->clients[i].erase_id == id)
            return &a->clients[i];
    return NULL;
}

void subject_api_receipt(struct admin *a, const void *data, size_t len)
{
    static const char *const words[] = {"", "accepted", "known", "held"};
    char request[B64_LEN(16) + 1];
    struct ledger_erase_ack ack;
    struct admin_client *c;
    json_t *value;
    char *text;

    if (!ledger_erase_ack_decode(str_make(data, len), &ack) || ack.req_id == 0 ||
        (c = client_of(a, ack.req_id)) == NULL)
        return;
    if (ack.status == LEDGER_ERASE_NOT_DUE) {
        admin_answer_error(c, 409, "that month's retention is not over, or it is not here");
        return;
    }
    if (ack.status == LEDGER_ERASE_EARLIER) {
        admin_answer_error(c, 409, "an earlier month is still here: it goes first");
        return;
    }
    if (c->asks_drop && ack.status == LEDGER_ERASE_HELD) {
        admin_answer_error(c, 409, "a legal hold is in force: nothing is dropped meanwhile");
        return;
    }
    if (ack.status == LEDGER_ERASE_UNAVAILABLE || ack.status >= COUNT_OF(words)) {
        admin_answer_error(c, 503, "the ledger could not note it: see its log");
        return;
    }
    b64url_encode(request, ack.request, 16);
    value = json_pack("{s:s, s:s, s:I, s:I, s:I}", "status", words[ack.status], "request",
                      ack.ts_ms != 0 ? request : "", "records", (json_int_t)ack.records, "ts",
                      (json_int_t)ack.ts_ms, "complete_by", (json_int_t)ack.complete_by_s);
    text = json_dumps(value, JSON_COMPACT);
    admin_answer(c, 200, "application/json", str_c(text));
    free(text);
    json_decref(value);
}

void subject_api_lost(struct admin *a)
{
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
        if (a->clients[i].admin != NULL && a->clients[i].erase_id != 0)
            admin_answer_error(&a->clients[i], 503, "the ledger went away: ask again");
}
