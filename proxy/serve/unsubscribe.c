/*
 * unsubscribe.c - one click ends a mailing list (RFC 8058), for who has the link.
 *
 *   GET  unsubscribe?t=TOKEN    a page that asks; link scanners and previews change nothing
 *   POST unsubscribe?t=TOKEN    List-Unsubscribe=One-Click: does it
 *
 * The mail's header fields are
 *
 *   List-Unsubscribe: <https://HOST/.consent/unsubscribe?t=TOKEN>
 *   List-Unsubscribe-Post: List-Unsubscribe=One-Click
 *
 * The token is all that is needed: no cookie, no Origin, no redirect, since the mail provider posts
 * for its user. The event goes to the ledger as one that narrows: it takes effect whatever the
 * state of the disk, and is recorded as soon as it can be. A link used twice is one event.
 */
#include <string.h>

#include "consentd/arena.h"
#include "consentd/crypto.h"
#include "consentd/unsub.h"
#include "rights_priv.h"

#define ONE_CLICK    "List-Unsubscribe=One-Click"
#define BOUNDARY_MAX 70 /* bytes (RFC 2046 5.1.1) */

/* A link on its way. In the arena. */
struct leaving {
    uint8_t tag[UNSUB_TAG_LEN];
    char list[UNSUB_LIST_MAX + 1];
    struct str token;
    struct consent_event event;
};

static struct leaving *leaving_of(const struct exchange *x)
{
    return enforcement_of(x)->choice;
}

static void answer(struct exchange *x, unsigned status, const char *key, bool asks)
{
    const struct leaving *l = leaving_of(x);
    const struct page_value values[] = {{"{list}", l->list}, {NULL, NULL}};
    struct buf out;
    struct page p;

    buf_init(&out, RIGHTS_PAGE_MAX);
    plain_page_begin(&p, x, &out, "unsub_title");
    put(&p, "<p role=\"status\">");
    ui_with(&p, key, values);
    put(&p, "</p>");
    if (asks) {
        put(&p, "<form method=\"post\" action=\"");
        address(&p, "unsubscribe?t=");
        p.ok = p.ok && html_escape(p.out, l->token);
        put(&p, "\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">"
                "<div class=\"cnsnt-row\"><button type=\"submit\">");
        ui(&p, "unsub_title");
        put(&p, "</button></div></form>");
    }
    plain_page_end(&p);
    if (p.ok)
        rights_answer(x, status, "text/html; charset=utf-8", buf_str(&out), NULL);
    else
        exchange_fail(x, 500, "no memory for a page");
    buf_free(&out);
}

/* Recorded, or kept until it can be: both are the end of the mails. */
static void on_recorded(struct exchange *x, const struct ledger_ack *ack)
{
    if (ack != NULL && ack->status == LEDGER_REFUSED)
        exchange_fail(x, 500, "an event of ours that the ledger refuses");
    else
        answer(x, 200, "unsub_done", false);
}

/* The same link makes the same event, so that repetitions are known as such. */
static void event_fill(struct exchange *x)
{
    struct leaving *l = leaving_of(x);
    const struct policy *policy = x->site->policy;
    uint8_t hash[CRYPTO_SHA256_LEN];
    char *method = arena_printf(&x->arena, "mail.unsubscribe:%s", l->list);
    uint16_t deny = policy->categories.defined & CATEGORY_MARKETING;

    crypto_sha256(l->token.ptr, l->token.len, hash);
    l->event = (struct consent_event){
        .act = CONSENT_UNSUBSCRIBE,
        .type = CONSENT_EXPLICIT,
        .by = CONSENT_BY_SUBJECT,
        .deny = deny != 0 ? deny : policy_optional(policy),
        .epoch = policy->epoch,
        .expires_s = UINT32_MAX, /* it never ends */
        .host = str_c(x->site->config->hosts.items[0]),
        .lang = str_c(language_tag(x)),
        .method = str_c(method != NULL ? method : "mail.unsubscribe"),
    };
    memcpy(l->event.eid, hash, sizeof(l->event.eid));
    memcpy(l->event.subject, l->tag, sizeof(l->event.subject));
    memcpy(l->event.doc, policy->doc_hash, sizeof(l->event.doc));
}

/* The delimiter of multipart/form-data (RFC 2046 5.1.1), with its line end; NULL: none. */
static const char *delimiter_of(struct exchange *x)
{
    struct str rest = headers_value(&x->req.headers, HDR_CONTENT_TYPE), param;

    while (str_cut(&rest, ';', &param)) {
        param = str_trim(param);
        if (!str_starts_fold(param, STR("boundary=")))
            continue;
        param = str_slice(param, 9, param.len);
        if (param.len > 1 && param.ptr[0] == '"' && param.ptr[param.len - 1] == '"')
            param = str_slice(param, 1, param.len - 2);
        return param.len > 0 && param.len <= BOUNDARY_MAX
                   ? arena_printf(&x->arena, "\r\n--%.*s", STR_ARGS(param))
                   : NULL;
    }
    return NULL;
}

/* The head of a part that is called List-Unsubscribe; "filename=" is another thing. */
static bool part_is_ours(struct str head)
{
    static const char *const names[] = {" name=\"List-Unsubscribe\"", ";name=\"List-Unsubscribe\"",
                                        " name=List-Unsubscribe"};

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_find(head, str_c(names[i])) >= 0)
            return true;
    return false;
}

static bool multipart_asks(struct exchange *x, struct str body)
{
    const char *delimiter = delimiter_of(x);
    struct str line = str_c(delimiter != NULL ? delimiter : "");
    ptrdiff_t at, end;

    if (delimiter == NULL || !str_starts(body, str_slice(line, 2, line.len)))
        return false;
    while ((at = str_find(body, STR("\r\n\r\n"))) >= 0) {
        struct str head = str_slice(body, 0, (size_t)at);

        body = str_slice(body, (size_t)at + 4, body.len);
        end = str_find(body, line);
        if (end < 0)
            return false;
        if (part_is_ours(head) && str_eq_c(str_slice(body, 0, (size_t)end), "One-Click"))
            return true;
        body = str_slice(body, (size_t)end + line.len, body.len);
    }
    return false;
}

static void on_post(struct exchange *x, struct str body)
{
    struct enforce_worker *worker = x->server->enforce;
    bool asked = rights_body_is(x, RIGHTS_FORM)
                     ? str_eq_c(form_get(x, body, "List-Unsubscribe"), "One-Click")
                     : multipart_asks(x, body);

    if (!asked) {
        rights_answer_error(x, 400, "expected the form " ONE_CLICK " (RFC 8058)");
        return;
    }
    event_fill(x);
    if (!ledger_link_send(worker->link, x, &leaving_of(x)->event, LEDGER_EVENT_NARROWS,
                          on_recorded)) {
        exchange_note(x, "too much waits for the ledger");
        rights_answer_error(x, 503, "please try again in a few seconds");
    }
}

enum enforce_step unsubscribe_request(struct exchange *x, struct str query)
{
    struct leaving *l = arena_calloc(&x->arena, 1, sizeof(*l));
    bool reads = x->req.method_id == HTTP_METHOD_GET || x->req.method_id == HTTP_METHOD_HEAD;

    if (l == NULL)
        return ENFORCE_REFUSE;
    enforcement_of(x)->choice = l;
    l->token = form_get(x, query, "t");
    if (!unsub_read(x->server->keyring, str_c(x->site->config->hosts.items[0]), l->token, l->tag,
                    l->list)) {
        if (rights_may_ask(x))
            answer(x, 404, "unsub_bad", false);
        return ENFORCE_ANSWERED;
    }
    if (reads) {
        answer(x, 200, "unsub_text", true);
        return ENFORCE_ANSWERED;
    }
    if (x->req.method_id != HTTP_METHOD_POST) {
        rights_answer_method(x, STR("GET, HEAD, POST"));
        return ENFORCE_ANSWERED;
    }
    if (!rights_body_is(x, RIGHTS_FORM) && !rights_body_is(x, "multipart/form-data")) {
        rights_answer_error(x, 415, "expected the form " ONE_CLICK " (RFC 8058)");
        return ENFORCE_ANSWERED;
    }
    return exchange_body_collect(x, CHOICE_BODY_MAX, on_post) ? ENFORCE_PENDING : ENFORCE_REFUSE;
}
