/*
 * notice.c - contract in consentd/notice.h: making the document.
 */
#include "consentd/notice.h"

#include "consentd/buf.h"
#include "consentd/json.h"
#include "consentd/rules.h"
#include "consentd/ruleset.h"

/* A cookie as the settings list it: a beginning of a name ends in "…", a pattern stays one. */
static json_t *cookie_json(const struct rule_cookie *cookie)
{
    json_t *out = json_object();
    struct buf name;

    buf_init(&name, 1024);
    if (buf_append_str(&name, cookie->text) &&
        (cookie->kind != RULE_PREFIX || buf_append_c(&name, "…")))
        json_object_set_new(out, "name", json_stringn((const char *)name.data, name.len));
    buf_free(&name);
    if (cookie->lifetime != NULL)
        json_object_set_new(out, "lifetime", json_string(cookie->lifetime));
    return out;
}

static json_t *vendor_json(const struct rules *rules, const struct ruleset *set)
{
    char categories[CATEGORY_LIST_MAX];
    json_t *cookies = json_array();
    json_t *out;

    categories_list(rules_categories(rules), set->categories, categories);
    for (size_t i = 0; i < set->cookie_cnt; i++)
        json_array_append_new(cookies, cookie_json(&set->cookies[i]));
    out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "id", set->id, "name", set->name, "vendor",
                    set->vendor, "categories", categories, "purpose", set->purpose, "cookies",
                    cookies);
    if (set->privacy_policy != NULL)
        json_object_set_new(out, "privacy_policy", json_string(set->privacy_policy));
    return out;
}

/* The vendors' sets and the site's own; rules.h gives them sorted. */
static json_t *vendors_json(const struct rules *rules, size_t site)
{
    json_t *out = json_array();

    for (size_t i = 0; i < rules_set_cnt(rules); i++) {
        uint32_t owner = rules_set_site(rules, i);

        if (owner == RULES_OWN_SITE_NONE || owner == site)
            json_array_append_new(out, vendor_json(rules, rules_set(rules, i)));
    }
    return out;
}

static json_t *texts_json(const struct notice_words *words)
{
    json_t *out = json_object();

    for (size_t i = 0; i < words->tag_cnt; i++) {
        json_t *texts = json_object();

        for (size_t k = 0; k < words->key_cnt; k++) {
            const char *text = words->text(words->arg, i, k);

            if (text != NULL)
                json_object_set_new(texts, words->keys[k], json_string(text));
        }
        json_object_set_new(out, words->tags[i], texts);
    }
    return out;
}

bool notice_build(struct policy *p, const struct rules *rules, size_t site,
                  const struct notice_words *words, struct fault *f)
{
    json_t *policy = json_load_text("policy", p->document, 0, f);
    json_t *root;
    struct buf text;
    bool ok;

    if (policy == NULL)
        return false;
    root = json_pack("{s:s, s:o}", "form", "consentd.notice.v1", "policy", policy);
    if (words != NULL)
        json_object_set_new(root, "texts", texts_json(words));
    if (rules != NULL)
        json_object_set_new(root, "vendors", vendors_json(rules, site));
    buf_init(&text, NOTICE_MAX);
    ok = json_canonical(root, &text) && policy_set_document(p, buf_str(&text));
    if (!ok)
        fault_set(f, "the notice document is larger than %u MiB", NOTICE_MAX >> 20);
    buf_free(&text);
    json_decref(root);
    return ok;
}
