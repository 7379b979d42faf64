/*
 * docs_api.c - the notice documents: which there were, the exact texts of each, what changed.
 *
 *   GET /api/v1/docs             {"docs":[{"sha256","site","version","epoch","ts","leaf"}, …]}, as
 *                                they came into force
 *   GET /api/v1/docs/ID          the document, byte for byte as it was hashed
 *   GET /api/v1/docs/ID/diff?to=ID2   {"from","to","epoch":bool,"cut":bool,"changes":[{"kind",
 *                                "place","before","after","epoch","why"}, …]}
 *
 * ID: the SHA-256 in hex or at least 4 digits of it, or d_… as records have it.
 */
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/json.h"
#include "consentd/notice.h"
#include "consentd/notices.h"

#define HEX_MIN 4 /* digits of an id */

struct notices *docs_open(const struct admin *a, struct fault *f)
{
    char *folder = file_resolve(a->setup.config->state_dir, NOTICES_FOLDER);
    struct notices *list = notices_open(folder, f);

    free(folder);
    return list;
}

/* The use that an id names; NULL with the reason: none, or several documents begin like that. */
static const struct notice_use *find(const struct notices *list, struct str id, const char **why)
{
    const struct notice_use *found = NULL;
    uint8_t doc[16];
    char hex[65];

    *why = "there is no such notice";
    if (str_starts(id, STR("d_")))
        return b64url_decode(str_slice(id, 2, id.len), doc, sizeof(doc))
                   ? notices_find(list, doc, sizeof(doc))
                   : NULL;
    if (id.len < HEX_MIN)
        *why = "give at least 4 digits of its SHA-256";
    if (id.len < HEX_MIN || id.len > 64)
        return NULL;
    for (size_t i = 0; i < notices_cnt(list); i++) {
        const struct notice_use *use = notices_at(list, i);

        hex_encode(hex, use->hash, sizeof(use->hash));
        if (!str_starts(str_c(hex), id))
            continue;
        if (found != NULL && memcmp(found->hash, use->hash, sizeof(use->hash)) != 0) {
            *why = "more than one notice begins so: give more digits";
            return NULL;
        }
        found = found != NULL ? found : use;
    }
    return found;
}

static void answer_json(struct admin_client *c, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    json_decref(value);
    admin_answer(c, 200, "application/json", str_c(text));
    free(text);
}

void docs_api_list(struct admin_client *c)
{
    struct fault f = {{0}};
    struct notices *list = docs_open(c->admin, &f);
    json_t *docs = json_array();

    for (size_t i = 0; list != NULL && i < notices_cnt(list); i++) {
        const struct notice_use *use = notices_at(list, i);
        char hex[65];

        hex_encode(hex, use->hash, sizeof(use->hash));
        json_array_append_new(docs, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:i}", "sha256", hex,
                                              "site", use->site, "version", use->version, "epoch",
                                              (json_int_t)use->epoch, "ts", (json_int_t)use->ts_ms,
                                              "leaf", (json_int_t)use->leaf, "node", use->node));
    }
    if (list != NULL) {
        answer_json(c, json_pack("{s:o}", "docs", docs));
    } else {
        json_decref(docs);
        admin_answer_error(c, 503, "%s", f.text);
    }
    notices_free(list);
}

/* The document of an id, and its hash in hex; false after the client was answered. */
static bool load(struct admin_client *c, const struct notices *list, struct str id, struct buf *out,
                 char hex[65])
{
    const char *why;
    const struct notice_use *use = find(list, id, &why);
    struct fault f = {{0}};

    if (use == NULL) {
        admin_answer_error(c, 404, "notice \"%.*s\": %s", id.len < 70 ? (int)id.len : 70,
                           id.len > 0 ? id.ptr : "", why);
        return false;
    }
    hex_encode(hex, use->hash, sizeof(use->hash));
    if (notices_read(list, use->hash, out, &f))
        return true;
    admin_answer_error(c, 500, "%s", f.text);
    return false;
}

void docs_api_one(struct admin_client *c)
{
    struct fault f = {{0}};
    struct notices *list = docs_open(c->admin, &f);
    struct buf document;
    char hex[65];

    buf_init(&document, NOTICE_MAX);
    if (list == NULL)
        admin_answer_error(c, 503, "%s", f.text);
    else if (load(c, list, c->rq.param, &document, hex))
        admin_answer(c, 200, "application/json", buf_str(&document));
    buf_free(&document);
    notices_free(list);
}

static json_t *diff_json(const struct notice_diff *d, const char *from, const char *to)
{
    static const char *const kinds[] = {"changed", "added", "removed"};
    json_t *changes = json_array();

    for (size_t i = 0; i < d->cnt; i++) {
        const struct notice_change *ch = &d->items[i];

        json_array_append_new(changes,
                              json_pack("{s:s, s:s, s:s?, s:s?, s:b, s:s?}", "kind",
                                        kinds[ch->kind], "place", ch->place, "before", ch->before,
                                        "after", ch->after, "epoch", ch->epoch, "why", ch->why));
    }
    return json_pack("{s:s, s:s, s:b, s:b, s:o}", "from", from, "to", to, "epoch", d->epoch, "cut",
                     d->cut, "changes", changes);
}

static void answer_diff(struct admin_client *c, const struct notices *list, struct str other)
{
    struct buf before, after;
    struct fault f = {{0}};
    char from[65], to[65];

    buf_init(&before, NOTICE_MAX);
    buf_init(&after, NOTICE_MAX);
    if (load(c, list, c->rq.param, &before, from) && load(c, list, other, &after, to)) {
        struct notice_diff *d = notice_diff(buf_str(&before), buf_str(&after), &f);

        if (d != NULL)
            answer_json(c, diff_json(d, from, to));
        else
            admin_answer_error(c, 500, "%s", f.text);
        notice_diff_free(d);
    }
    buf_free(&before);
    buf_free(&after);
}

void docs_api_diff(struct admin_client *c)
{
    struct fault f = {{0}};
    struct notices *list;
    struct params params;
    struct str other;

    if (!admin_params(c, &params))
        return;
    other = params_take(&params, "to");
    list = docs_open(c->admin, &f);
    if (other.ptr == NULL || params.cnt > 0)
        admin_answer_error(c, 400, "a diff needs the other notice, and nothing else: ?to=ID");
    else if (list == NULL)
        admin_answer_error(c, 503, "%s", f.text);
    else
        answer_diff(c, list, other);
    notices_free(list);
    params_free(&params);
}
