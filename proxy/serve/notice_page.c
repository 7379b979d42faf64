/*
 * notice_page.c - the policy for everybody, what changed in it, and the note that it did.
 *
 *   GET policy                   the policy as a page; with ?format=json the notice document
 *   GET policy/changes?since=    a version, a date, or the notice that a record names
 *
 * A new epoch asks everybody again (banner.c). A new version without one is told once to those who
 * have decided: their token is older than the version (the ledger knows since when that is in
 * force), and a second cookie, set with the note itself, says that they were told. Who has not
 * decided gets no cookie and no note: the banner shows them the notice as it is.
 */
#include <string.h>

#include "consent_cookie.h"
#include "consentd/arena.h"
#include "consentd/b64.h"
#include "consentd/cookie.h"
#include "consentd/notice.h"
#include "rights_priv.h"

/* --- the policy ------------------------------------------------------------------------------ */

static void change_list(struct page *p, size_t cnt)
{
    put(p, "<ul>");
    for (size_t i = 0; i < cnt; i++) {
        const struct policy_change *change = &p->policy->changes[i];

        put(p, "<li><b>");
        text(p, change->version);
        put(p, "</b> (");
        text(p, change->date);
        put(p, "): ");
        prose(p, &change->summary);
        put(p, "</li>");
    }
    put(p, "</ul>");
}

static bool policy_render(struct exchange *x, struct buf *out)
{
    struct page p;

    plain_page_begin(&p, x, out, "me_policy");
    put(&p, "<p><b>");
    prose(&p, &p.policy->title);
    put(&p, "</b><br><small>");
    text(&p, p.policy->version);
    put(&p, " &#183; ");
    text(&p, p.policy->effective);
    put(&p, "</small></p>");
    for (size_t i = 0; i < p.policy->section_cnt; i++) {
        put(&p, "<h2>");
        prose(&p, &p.policy->sections[i].heading);
        put(&p, "</h2><p>");
        prose(&p, &p.policy->sections[i].text);
        put(&p, "</p>");
    }
    put(&p, "<h2>");
    ui(&p, "notice_changes");
    put(&p, "</h2>");
    change_list(&p, p.policy->change_cnt);
    plain_page_end(&p);
    return p.ok;
}

static void answer_page(struct exchange *x, bool made, struct buf *out)
{
    if (made)
        rights_answer(x, 200, "text/html; charset=utf-8", buf_str(out), NULL);
    else
        exchange_fail(x, 500, "no memory for a page");
    buf_free(out);
}

enum enforce_step policy_page_get(struct exchange *x, struct str query)
{
    struct buf out;

    if (!wants_page(x) || str_eq_c(form_get(x, query, "format"), "json")) {
        rights_answer(x, 200, "application/json", x->site->policy->document, NULL);
        return ENFORCE_ANSWERED;
    }
    buf_init(&out, RIGHTS_PAGE_MAX);
    answer_page(x, policy_render(x, &out), &out);
    return ENFORCE_ANSWERED;
}

/* --- changes --------------------------------------------------------------------------------- */

/* How many of the newest entries came after this version or date; -1: there is no such version. */
static ptrdiff_t changes_since(const struct policy *policy, struct str since)
{
    bool date = since.len == 10 && since.ptr[4] == '-' && since.ptr[7] == '-';

    for (size_t i = 0; i < policy->change_cnt && since.len > 0; i++) {
        if (str_eq_c(since, policy->changes[i].version) ||
            (date && str_cmp(str_c(policy->changes[i].date), since) <= 0))
            return (ptrdiff_t)i;
    }
    return since.len == 0 || date ? (ptrdiff_t)policy->change_cnt : -1;
}

static void diff_list(struct page *p, const struct notice_diff *diff)
{
    static const char *const signs[] = {"&#177;", "+", "&#8722;"};

    put(p, "<ul lang=\"en\" dir=\"auto\">");
    for (size_t i = 0; i < diff->cnt; i++) {
        const struct notice_change *c = &diff->items[i];

        put(p, "<li>");
        put(p, signs[c->kind]);
        put(p, " <b>");
        text(p, c->place);
        put(p, "</b>");
        if (c->before != NULL) {
            put(p, "<br><del>");
            text(p, c->before);
            put(p, "</del>");
        }
        if (c->after != NULL) {
            put(p, "<br><ins>");
            text(p, c->after);
            put(p, "</ins>");
        }
        put(p, "</li>");
    }
    put(p, "</ul>");
}

static bool changes_render(struct exchange *x, size_t cnt, const struct notice_diff *diff,
                           struct buf *out)
{
    struct page p;

    plain_page_begin(&p, x, out, "notice_changes");
    if (cnt > 0)
        change_list(&p, cnt);
    if (diff != NULL && diff->cnt > 0)
        diff_list(&p, diff);
    else if (cnt == 0) {
        put(&p, "<p>");
        ui(&p, "notice_same");
        put(&p, "</p>");
    }
    plain_page_end(&p);
    return p.ok;
}

static json_t *changes_json(const struct exchange *x, size_t cnt, const struct notice_diff *diff)
{
    static const char *const kinds[] = {"changed", "added", "removed"};
    const struct policy *policy = x->site->policy;
    char doc[B64_LEN(16) + 1];
    json_t *list = json_array(), *differences = json_array();

    b64url_encode(doc, policy->doc_hash, 16);
    for (size_t i = 0; i < cnt; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s}", "version", policy->changes[i].version,
                                        "date", policy->changes[i].date, "summary",
                                        policy_text(&policy->changes[i].summary, 0)));
    for (size_t i = 0; diff != NULL && i < diff->cnt; i++)
        json_array_append_new(
            differences,
            json_pack("{s:s, s:b, s:s, s:s*, s:s*}", "kind", kinds[diff->items[i].kind],
                      "asks_again", diff->items[i].epoch, "place", diff->items[i].place, "before",
                      diff->items[i].before, "after", diff->items[i].after));
    return json_pack("{s:s, s:I, s:s, s:s, s:o, s:o}", "version", policy->version, "epoch",
                     (json_int_t)policy->epoch, "effective", policy->effective, "notice", doc,
                     "changes", list, "differences", differences);
}

static void answer_changes(struct exchange *x, size_t cnt, const struct notice_diff *diff)
{
    struct buf out;
    json_t *root;
    char *json;

    if (rights_of(x)->html) {
        buf_init(&out, RIGHTS_PAGE_MAX);
        answer_page(x, changes_render(x, cnt, diff, &out), &out);
        return;
    }
    root = changes_json(x, cnt, diff);
    json = json_dumps(root, JSON_COMPACT);
    rights_answer(x, 200, "application/json", str_c(json != NULL ? json : "{}"), NULL);
    free(json);
    json_decref(root);
}

static void on_old(struct exchange *x, enum ledger_tell_status status, struct str text)
{
    const struct policy *policy = x->site->policy;
    struct notice_diff *diff = NULL;
    json_t *root;
    const char *version;
    ptrdiff_t cnt;

    if (status == LEDGER_TELL_UNKNOWN) {
        rights_answer_error(x, 404, "there was no such notice here");
        return;
    }
    if (status == LEDGER_TELL_DONE)
        diff = notice_diff(text, policy->document, NULL);
    if (diff == NULL) {
        rights_answer_error(x, 503, "older notices can't be read at the moment: ask again later");
        return;
    }
    root = json_load_text("notice", text, 0, NULL);
    version = json_string_value(json_object_get(json_object_get(root, "policy"), "version"));
    cnt = changes_since(policy, str_c(version != NULL ? version : ""));
    answer_changes(x, cnt > 0 ? (size_t)cnt : 0, diff);
    json_decref(root);
    notice_diff_free(diff);
}

enum enforce_step policy_changes_get(struct exchange *x, struct str query)
{
    struct enforce_worker *worker = x->server->enforce;
    const struct policy *policy = x->site->policy;
    struct str since = form_get(x, query, "since");
    ptrdiff_t cnt = changes_since(policy, since);
    struct rights *r = rights_of(x);

    if (str_eq_c(form_get(x, query, "format"), "json"))
        r->html = false;
    if (cnt >= 0) {
        answer_changes(x, (size_t)cnt, NULL);
        return ENFORCE_ANSWERED;
    }
    r->ask.what = LEDGER_ASK_NOTICE;
    if (!b64url_decode(since, r->ask.doc, sizeof(r->ask.doc))) {
        rights_answer_error(x, 404, "since: expected a version, a date or the notice of a record");
        return ENFORCE_ANSWERED;
    }
    if (memcmp(r->ask.doc, policy->doc_hash, sizeof(r->ask.doc)) == 0) {
        answer_changes(x, 0, NULL);
        return ENFORCE_ANSWERED;
    }
    if (!ledger_link_ask(worker->link, x, &r->ask, on_old))
        on_old(x, LEDGER_TELL_UNAVAILABLE, STR(""));
    return ENFORCE_PENDING;
}

/* --- the note: the second cookie says since when the version is that was told ---------------- */

static struct str seen_name(const struct exchange *x)
{
    if (!x->secure)
        return consent_seen_clear;
    return x->site->config->cookie_domain != NULL ? consent_seen_domain : consent_seen_host;
}

bool notice_is_new(const struct exchange *x)
{
    const struct enforcement *e = enforcement_of(x);
    uint64_t seen;
    unsigned iter = 0;
    struct header *field;

    if (!e->decided || x->site->policy->change_cnt == 0 || x->site->notice_since_s == 0 ||
        e->claims.issued_s >= x->site->notice_since_s)
        return false;
    while ((field = headers_next(&x->req.headers, HDR_COOKIE, &iter)) != NULL) {
        struct str rest = field->value;
        struct cookie_pair pair;

        while (cookie_next(&rest, &pair)) {
            if (str_eq(pair.name, seen_name(x)) && str_to_u64(pair.value, UINT32_MAX, &seen) &&
                seen >= x->site->notice_since_s)
                return false;
        }
    }
    return true;
}

bool notice_note_seen(struct exchange *x, struct headers *h)
{
    const struct enforcement *e = enforcement_of(x);
    const char *domain = x->site->config->cookie_domain;
    uint32_t now_s = (uint32_t)(x->wall_ms / 1000);
    struct str name = seen_name(x);
    char *field;

    field = arena_printf(&x->arena, "%.*s=%u; Path=/; Max-Age=%u%s; HttpOnly; SameSite=Lax%s%s",
                         STR_ARGS(name), x->site->notice_since_s, e->claims.expires_s - now_s,
                         x->secure ? "; Secure" : "", domain != NULL ? "; Domain=" : "",
                         domain != NULL ? domain : "");
    return field != NULL && headers_add_id(h, &x->arena, HDR_SET_COOKIE, str_c(field));
}
