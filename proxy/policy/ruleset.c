/*
 * ruleset.c - contract in consentd/ruleset.h: from JSON to plain structs.
 *
 * One function per object of rules/schema.json. Everything is kept in the set's arena, whose
 * limit is far above what a file of RULESET_TEXT_MAX bytes can need: running out of it is our bug.
 */
#include "consentd/ruleset.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/crypto.h"
#include "consentd/json.h"
#include "consentd/match.h"
#include "consentd/mem.h"
#include "consentd/rules.h"
#include "consentd/url.h"

#define ARENA_MAX (64u << 20)

struct ruleset_memory {
    struct arena arena;
};

struct loader {
    struct ruleset *set;
    struct arena *arena; /* of the set */
    const struct categories *categories;
    bool own; /* a site's own rules: only id and category are required */
    struct fault *f;
};

static void *keep_items(struct loader *l, size_t cnt, size_t size)
{
    void *p = arena_calloc(l->arena, cnt, size);

    ASSERT(p != NULL);
    return p;
}

static const char *keep_text(struct loader *l, struct str s)
{
    const char *p = arena_copy(l->arena, s.ptr, s.len);

    ASSERT(p != NULL);
    return p;
}

static struct str keep_str(struct loader *l, struct str s)
{
    return str_make(keep_text(l, s), s.len);
}

/* A string of min to max bytes; absent: fine unless needed, *out is left alone then. */
static bool read_text(struct loader *l, const struct json_at *at, const char *key, bool needed,
                      size_t max, struct str *out)
{
    struct json_at child;
    struct str text = {0};

    if (!json_at_get(at, key, &child)) {
        if (needed)
            return json_at_fault(at, l->f, "\"%s\" is missing", key);
        return true;
    }
    if (!json_at_str(&child, &text, l->f))
        return false;
    if (text.len == 0 || text.len > max)
        return json_at_fault(&child, l->f, "must have 1 to %zu bytes, has %zu", max, text.len);
    if (memchr(text.ptr, '\0', text.len) != NULL)
        return json_at_fault(&child, l->f, "holds a NUL character");
    *out = keep_str(l, text);
    return true;
}

/* Goes over the array `key`; *cnt_out 0 when it is absent. */
static bool read_array(struct loader *l, const struct json_at *at, const char *key, size_t max,
                       struct json_at *list_out, size_t *cnt_out)
{
    *cnt_out = 0;
    if (!json_at_get(at, key, list_out))
        return true;
    if (!json_at_array(list_out, l->f))
        return false;
    *cnt_out = json_at_count(list_out);
    if (*cnt_out > max)
        return json_at_fault(list_out, l->f, "has %zu entries, at most %zu are allowed", *cnt_out,
                             max);
    return true;
}

static bool read_one_category(struct loader *l, const struct json_at *at, uint16_t *mask)
{
    struct str id = {0};
    struct fault why = {0};
    uint16_t bit = 0;

    if (!json_at_str(at, &id, l->f))
        return false;
    if (str_find_char(id, ',') >= 0 || str_eq_c(id, "none") || str_eq_c(id, "all"))
        return json_at_fault(at, l->f, "expected one category id");
    if (!categories_parse(l->categories, id, &bit, &why))
        return json_at_fault(at, l->f, "%s", why.text);
    *mask |= bit;
    return true;
}

/* "category": an id or an array of ids. Absent: *mask_io stays. */
static bool read_category(struct loader *l, const struct json_at *at, bool needed,
                          uint16_t *mask_io)
{
    struct json_at child;
    uint16_t mask = 0;

    if (!json_at_get(at, "category", &child)) {
        if (needed)
            return json_at_fault(at, l->f, "\"category\" is missing");
        return true;
    }
    if (!json_is_array(child.value)) {
        if (!read_one_category(l, &child, &mask))
            return false;
    } else {
        for (size_t i = 0; i < json_at_count(&child); i++) {
            struct json_at item = json_at_index(&child, i);

            if (!read_one_category(l, &item, &mask))
                return false;
        }
        if (mask == 0)
            return json_at_fault(&child, l->f, "is empty: name at least one category");
    }
    if ((mask & CATEGORY_ESSENTIAL) != 0 && mask != CATEGORY_ESSENTIAL)
        return json_at_fault(&child, l->f, "essential cannot be combined with others");
    *mask_io = mask;
    return true;
}

static bool read_pattern(struct loader *l, const struct json_at *at, struct str source,
                         enum match_anchor anchor, struct pattern **out)
{
    struct fault why = {0};
    struct json_at child;

    *out = pattern_new(source, anchor, RULES_MATCH_LIMIT, &why);
    if (*out != NULL)
        return true;
    if (!json_at_get(at, "regex", &child))
        child = *at;
    return json_at_fault(&child, l->f, "%s", why.text);
}

static bool lifetime_is_good(struct str s)
{
    static const char *const units[] = {"s", "m", "h", "d", "mo", "y"};
    struct str part;

    if (str_eq_c(s, "session") || str_eq_c(s, "persistent") || str_eq_c(s, "varies"))
        return true;
    while (str_cut(&s, '-', &part)) {
        size_t digits = 0;
        bool known = false;

        while (digits < part.len && ascii_is_digit(part.ptr[digits]))
            digits++;
        for (size_t i = 0; i < COUNT_OF(units); i++)
            known = known || str_eq_c(str_slice(part, digits, part.len), units[i]);
        if (digits == 0 || !known)
            return false;
    }
    return true;
}

static bool read_lifetime(struct loader *l, const struct json_at *at, const char **out)
{
    struct str text = {0};

    if (!read_text(l, at, "lifetime", false, 32, &text))
        return false;
    if (text.ptr == NULL)
        return true;
    if (!lifetime_is_good(text))
        return json_at_fault(at, l->f,
                             "lifetime \"%s\": write session, or a number with s, m, h, d, mo or y",
                             text.ptr);
    *out = text.ptr;
    return true;
}

static bool read_cookie(struct loader *l, const struct json_at *at, struct rule_cookie *out)
{
    static const char *const keys[] = {"name", "prefix", "regex", "lifetime", "category", "note"};
    struct str name = {0}, prefix = {0}, regex = {0};

    out->categories = l->set->categories;
    if (!json_at_only(at, keys, COUNT_OF(keys), l->f) ||
        !read_text(l, at, "name", false, 256, &name) ||
        !read_text(l, at, "prefix", false, 128, &prefix) ||
        !read_text(l, at, "regex", false, MATCH_PATTERN_MAX, &regex) ||
        !read_category(l, at, false, &out->categories) || !read_lifetime(l, at, &out->lifetime))
        return false;
    if ((name.ptr != NULL) + (prefix.ptr != NULL) + (regex.ptr != NULL) != 1)
        return json_at_fault(at, l->f, "needs exactly one of \"name\", \"prefix\" and \"regex\"");
    if (prefix.ptr != NULL && prefix.len < 2)
        return json_at_fault(at, l->f, "prefix \"%s\" is too short: at least 2 bytes", prefix.ptr);
    if (name.ptr != NULL)
        *out = (struct rule_cookie){RULE_EXACT, name, NULL, out->lifetime, out->categories};
    else if (prefix.ptr != NULL)
        *out = (struct rule_cookie){RULE_PREFIX, prefix, NULL, out->lifetime, out->categories};
    else {
        out->kind = RULE_REGEX;
        out->text = regex;
        return read_pattern(l, at, regex, MATCH_WHOLE, &out->pattern);
    }
    return true;
}

static bool read_cookies(struct loader *l, const struct json_at *at, const char *key,
                         const struct rule_cookie **out, size_t *cnt_out)
{
    struct json_at list;
    struct rule_cookie *items;
    size_t cnt;

    if (!read_array(l, at, key, RULESET_COOKIES_MAX, &list, &cnt))
        return false;
    items = keep_items(l, cnt, sizeof(*items));
    *out = items;
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        *cnt_out = i + 1; /* what is there gets freed, also when the next line fails */
        if (!json_at_object(&item, l->f) || !read_cookie(l, &item, &items[i]))
            return false;
    }
    return true;
}

static bool host_fault(struct loader *l, const struct json_at *at, struct str host)
{
    return json_at_fault(
        at, l->f,
        "host \"%.*s\": expected a host name like cdn.example.com, one whose first "
        "label has a *, or @site",
        STR_ARGS(host));
}

static bool read_host(struct loader *l, const struct json_at *at, struct rule_url *out)
{
    struct str host = {0}, canonical = {0};
    ptrdiff_t star, dot;

    if (!read_text(l, at, "host", true, 253, &host))
        return false;
    out->at_site = str_eq_c(host, "@site");
    if (out->at_site)
        return true;
    star = str_find_char(host, '*');
    dot = str_find_char(host, '.');
    if (star >= 0) {
        if (dot < star)
            return host_fault(l, at, host);
        out->label = str_slice(host, 0, (size_t)dot);
        host = str_slice(host, (size_t)dot + 1, host.len);
    }
    if (str_find_char(host, '.') <= 0 || str_find_char(host, '*') >= 0 ||
        !url_host_canonical(host, l->arena, &canonical) || !str_eq(canonical, host))
        return host_fault(l, at, host);
    out->host = canonical;
    return true;
}

static bool read_query(struct loader *l, const struct json_at *at, struct rule_url *out)
{
    struct json_at query;
    const char *name;
    json_t *value;
    json_t *object;

    if (!json_at_get(at, "query", &query))
        return true;
    if (!json_at_object(&query, l->f))
        return false;
    if (json_at_count(&query) == 0 || json_at_count(&query) > RULESET_QUERY_MAX)
        return json_at_fault(&query, l->f, "needs 1 to %d parameters", RULESET_QUERY_MAX);
    object = json_object_get(at->value, "query");
    json_object_foreach (object, name, value) {
        if (!json_is_string(value))
            return json_at_fault(&query, l->f, "%s: expected a string", name);
        out->query[out->query_cnt++] = (struct rule_query){
            keep_str(l, str_c(name)),
            keep_str(l, str_make(json_string_value(value), json_string_length(value)))};
    }
    return true;
}

static bool read_path(struct loader *l, const struct json_at *at, struct rule_url *out)
{
    struct str path = {0}, prefix = {0}, regex = {0};

    if (!read_text(l, at, "path", false, 1024, &path) ||
        !read_text(l, at, "path_prefix", false, 1024, &prefix) ||
        !read_text(l, at, "regex", false, MATCH_PATTERN_MAX, &regex))
        return false;
    if ((path.ptr != NULL) + (prefix.ptr != NULL) + (regex.ptr != NULL) > 1)
        return json_at_fault(at, l->f, "has more than one of \"path\", \"path_prefix\", \"regex\"");
    if ((path.ptr != NULL && path.ptr[0] != '/') || (prefix.ptr != NULL && prefix.ptr[0] != '/'))
        return json_at_fault(at, l->f, "a path begins with /");
    if (path.ptr != NULL) {
        out->kind = RULE_PATH_EXACT;
        out->path = path;
    } else if (prefix.ptr != NULL) {
        out->kind = RULE_PATH_PREFIX;
        out->path = prefix;
    } else if (regex.ptr != NULL) {
        out->kind = RULE_PATH_REGEX;
        out->path = regex;
        return read_pattern(l, at, regex, MATCH_SEARCH, &out->pattern);
    }
    return true;
}

/* A rule for the site's own pages must say which: else it would answer for the site. */
static bool check_site_rule(struct loader *l, const struct json_at *at, const struct rule_url *rule)
{
    if (!rule->at_site)
        return true;
    if (rule->kind == RULE_PATH_ANY ||
        (rule->kind != RULE_PATH_REGEX && str_eq_c(rule->path, "/") && rule->query_cnt == 0))
        return json_at_fault(at, l->f, "@site needs a path, a longer path_prefix or a regex");
    if (rule->kind == RULE_PATH_REGEX && pattern_literal(rule->pattern).len == 0)
        return json_at_fault(at, l->f,
                             "regex: nothing in it is fixed text; it would run for every request");
    return true;
}

static bool read_url(struct loader *l, const struct json_at *at, struct rule_url *out)
{
    static const char *const keys[] = {"host",  "exact_host", "path",     "path_prefix",
                                       "query", "regex",      "category", "note"};
    const char *shown;

    out->categories = l->set->categories;
    if (!json_at_only(at, keys, COUNT_OF(keys), l->f) || !read_host(l, at, out) ||
        !json_at_key_bool(at, "exact_host", JSON_MAY, &out->exact_host, l->f) ||
        !read_path(l, at, out) || !read_query(l, at, out) ||
        !read_category(l, at, false, &out->categories) || !check_site_rule(l, at, out))
        return false;
    shown = arena_printf(
        l->arena, "%.*s%s%.*s%s%.*s%s%s", STR_ARGS(out->label), out->label.len > 0 ? "." : "",
        STR_ARGS(out->at_site ? STR("@site") : out->host),
        out->kind == RULE_PATH_REGEX ? " ~ " : "", STR_ARGS(out->path),
        out->kind == RULE_PATH_PREFIX ? "*" : "", out->query_cnt > 0 ? " with query" : "");
    ASSERT(shown != NULL);
    out->shown = shown;
    return true;
}

static bool read_urls(struct loader *l, const struct json_at *at)
{
    struct json_at list;
    struct rule_url *items;
    size_t cnt;

    if (!read_array(l, at, "urls", RULESET_COOKIES_MAX, &list, &cnt))
        return false;
    items = keep_items(l, cnt, sizeof(*items));
    l->set->urls = items;
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        l->set->url_cnt = i + 1;
        if (!json_at_object(&item, l->f) || !read_url(l, &item, &items[i]))
            return false;
    }
    return true;
}

static bool read_contains(struct loader *l, const struct json_at *at, struct rule_inline *out)
{
    struct json_at list;
    size_t cnt;

    if (!read_array(l, at, "contains", RULESET_CONTAINS_MAX, &list, &cnt))
        return false;
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);
        struct str text = {0};

        if (!json_at_str(&item, &text, l->f))
            return false;
        if (text.len < 3 || text.len > 200)
            return json_at_fault(&item, l->f, "must have 3 to 200 bytes, has %zu", text.len);
        out->contains[out->contains_cnt++] = keep_str(l, text);
    }
    return true;
}

static bool read_inline(struct loader *l, const struct json_at *at, struct rule_inline *out)
{
    static const char *const keys[] = {"contains", "regex", "config", "category", "note"};

    out->categories = l->set->categories;
    if (!json_at_only(at, keys, COUNT_OF(keys), l->f) || !read_contains(l, at, out) ||
        !read_text(l, at, "regex", false, MATCH_PATTERN_MAX, &out->regex) ||
        !json_at_key_bool(at, "config", JSON_MAY, &out->config, l->f) ||
        !read_category(l, at, false, &out->categories))
        return false;
    if (out->contains_cnt == 0 && out->regex.len == 0)
        return json_at_fault(at, l->f, "needs \"contains\" or \"regex\"");
    if (out->regex.len == 0)
        return true;
    if (!read_pattern(l, at, out->regex, MATCH_SEARCH, &out->pattern))
        return false;
    if (out->contains_cnt == 0 && pattern_literal(out->pattern).len < 3)
        return json_at_fault(at, l->f,
                             "regex: no fixed text of 3 characters in it; add \"contains\" so that "
                             "it runs rarely");
    return true;
}

static bool read_inlines(struct loader *l, const struct json_at *at)
{
    struct json_at list;
    struct rule_inline *items;
    size_t cnt;

    if (!read_array(l, at, "inline", RULESET_INLINE_MAX, &list, &cnt))
        return false;
    items = keep_items(l, cnt, sizeof(*items));
    l->set->inlines = items;
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        l->set->inline_cnt = i + 1;
        if (!json_at_object(&item, l->f) || !read_inline(l, &item, &items[i]))
            return false;
    }
    return true;
}

static bool is_identifier(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!ascii_is_alpha(c) && c != '_' && c != '$' && (i == 0 || !ascii_is_digit(c)))
            return false;
    }
    return name.len > 0;
}

static bool read_global(struct loader *l, const struct json_at *at, struct rule_global *out)
{
    struct str whole = {0}, text, member = {NULL, 0};
    bool ok = true;

    if (!json_at_str(at, &whole, l->f))
        return false;
    text = whole;
    if (str_ends(text, STR("()")))
        out->stand = RULE_STAND_CALLED;
    else if (str_ends(text, STR("[]")))
        out->stand = RULE_STAND_LIST;
    text = str_slice(text, 0, text.len - (out->stand != RULE_STAND_NONE ? 2 : 0));
    if (out->stand == RULE_STAND_LIST && str_find_char(text, '.') >= 0) {
        member = text;
        (void)str_cut(&member, '.', &text);
        ok = is_identifier(member);
    }
    if (!ok || !is_identifier(text))
        return json_at_fault(at, l->f,
                             "\"%.*s\" is no name of a global: \"name\", \"name()\", \"name[]\" or "
                             "\"name.member[]\" of letters, digits, \"_\" and \"$\"",
                             STR_ARGS(whole));
    out->name = keep_str(l, text);
    out->member = keep_str(l, member);
    return true;
}

static bool read_globals(struct loader *l, const struct json_at *at)
{
    struct json_at list;
    struct rule_global *items;
    size_t cnt;

    if (!read_array(l, at, "globals", 64, &list, &cnt))
        return false;
    items = keep_items(l, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!read_global(l, &item, &items[i]))
            return false;
    }
    l->set->globals = items;
    l->set->global_cnt = cnt;
    return true;
}

/* The elements that rules can name: the rewriter asks about these (names_priv.h). */
static bool is_amp_element(struct str name)
{
    static const char *const elements[] = {"amp-ad",
                                           "amp-analytics",
                                           "amp-auto-ads",
                                           "amp-embed",
                                           "amp-sticky-ad",
                                           "amp-story-auto-ads",
                                           "amp-story-auto-analytics"};

    for (size_t i = 0; i < COUNT_OF(elements); i++) {
        if (str_eq_c(name, elements[i]))
            return true;
    }
    return false;
}

static bool read_amp(struct loader *l, const struct json_at *at, struct rule_amp *out)
{
    static const char *const keys[] = {"element", "type", "category", "note"};
    struct str element, type = {0};
    const char *text;

    out->categories = l->set->categories;
    if (!json_at_only(at, keys, COUNT_OF(keys), l->f) ||
        !read_text(l, at, "element", true, RULESET_TYPE_MAX - 1, &element) ||
        !read_text(l, at, "type", false, RULESET_TYPE_MAX - 1, &type) ||
        !read_category(l, at, false, &out->categories))
        return false;
    if (!is_amp_element(element))
        return json_at_fault(at, l->f,
                             "element: expected amp-ad, amp-analytics, amp-auto-ads, amp-embed, "
                             "amp-sticky-ad, amp-story-auto-ads or amp-story-auto-analytics");
    for (size_t i = 0; i < type.len; i++) {
        if (type.ptr[i] != ascii_lower(type.ptr[i]) || type.ptr[i] == ' ')
            return json_at_fault(at, l->f, "type: expected lower case and no space");
    }
    text = arena_printf(l->arena, "%.*s%s%.*s", STR_ARGS(element), type.len > 0 ? " " : "",
                        STR_ARGS(type));
    ASSERT(text != NULL);
    out->text = str_c(text);
    return true;
}

static bool read_amps(struct loader *l, const struct json_at *at)
{
    struct json_at list;
    struct rule_amp *items;
    size_t cnt;

    if (!read_array(l, at, "amp", RULESET_AMP_MAX, &list, &cnt))
        return false;
    items = keep_items(l, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!json_at_object(&item, l->f) || !read_amp(l, &item, &items[i]))
            return false;
    }
    l->set->amps = items;
    l->set->amp_cnt = cnt;
    return true;
}

static bool read_sources(struct loader *l, const struct json_at *at)
{
    struct json_at list;
    size_t cnt;

    if (!read_array(l, at, "sources", 256, &list, &cnt))
        return false;
    if (cnt == 0 && !l->own)
        return json_at_fault(at, l->f, "\"sources\" is missing: say where the facts were seen");
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);
        struct str text = {0};

        if (!json_at_str(&item, &text, l->f))
            return false;
    }
    return true;
}

/* "…/hubspot.json" must have the id hubspot: what people toggle is what they find. */
static bool check_id(struct loader *l, const struct json_at *at, struct str id, const char *file)
{
    struct str stem = str_c(file);
    ptrdiff_t slash = str_find_last_char(stem, '/');

    if (!str_is_id(id, RULESET_ID_MAX - 1))
        return json_at_fault(at, l->f, "id \"%.*s\": use a-z, 0-9 and -, at most %d characters",
                             STR_ARGS(id), RULESET_ID_MAX - 1);
    if (l->own)
        return true;
    if (slash >= 0)
        stem = str_slice(stem, (size_t)slash + 1, stem.len);
    if (str_ends(stem, STR(".json")))
        stem.len -= 5;
    if (!str_eq(stem, id))
        return json_at_fault(at, l->f, "id is \"%.*s\" but the file is named %.*s.json",
                             STR_ARGS(id), STR_ARGS(stem));
    return true;
}

/* What the vendor's frames are: those leave a placeholder. */
static bool read_embed(struct loader *l, const struct json_at *at)
{
    static const char *const kinds[] = {"video", "audio", "map", "form", "post", "other"};
    struct str kind = {0};

    if (!read_text(l, at, "embed", false, 16, &kind))
        return false;
    for (size_t i = 0; kind.ptr != NULL && i < COUNT_OF(kinds); i++) {
        if (str_eq_c(kind, kinds[i]))
            l->set->embed = kinds[i];
    }
    return kind.ptr == NULL || l->set->embed != NULL ||
           json_at_fault(at, l->f, "embed: expected video, audio, map, form, post or other");
}

static bool read_head(struct loader *l, const struct json_at *at)
{
    struct ruleset *set = l->set;
    struct str id = {0}, name = {0}, vendor = {0}, purpose = {0}, link = {0}, note = {0};

    if (!read_text(l, at, "id", true, 256, &id) || !check_id(l, at, id, set->file) ||
        !read_text(l, at, "name", !l->own, 256, &name) ||
        !read_text(l, at, "vendor", !l->own, 256, &vendor) ||
        !read_category(l, at, true, &set->categories) ||
        !read_text(l, at, "purpose", !l->own, 2048, &purpose) ||
        !read_text(l, at, "privacy_policy", false, 2048, &link) ||
        !read_text(l, at, "note", false, 8192, &note) || !read_embed(l, at))
        return false;
    if (link.ptr != NULL && !str_starts(link, STR("https://")))
        return json_at_fault(at, l->f, "privacy_policy: expected a URL that begins with https://");
    set->id = id.ptr;
    set->name = name.ptr != NULL ? name.ptr : id.ptr;
    set->vendor = vendor.ptr != NULL ? vendor.ptr : "";
    set->purpose = purpose.ptr != NULL ? purpose.ptr : "";
    set->privacy_policy = link.ptr;
    return true;
}

static bool read_set(struct loader *l, const struct json_at *at)
{
    static const char *const keys[] = {"id",      "name",           "vendor", "category", "purpose",
                                       "cookies", "urls",           "inline", "storage",  "globals",
                                       "sources", "privacy_policy", "note",   "embed",    "amp"};
    struct ruleset *set = l->set;

    return json_at_object(at, l->f) && json_at_only(at, keys, COUNT_OF(keys), l->f) &&
           read_head(l, at) && read_cookies(l, at, "cookies", &set->cookies, &set->cookie_cnt) &&
           read_urls(l, at) && read_inlines(l, at) &&
           read_cookies(l, at, "storage", &set->storage, &set->storage_cnt) &&
           read_globals(l, at) && read_amps(l, at) && read_sources(l, at);
}

/* One set from a place in a document; text is what its hash covers. */
static struct ruleset *set_from(const struct json_at *at, const char *name, struct str text,
                                const struct categories *c, bool own, struct fault *f)
{
    struct ruleset *set = mem_new(struct ruleset);
    struct loader l = {.set = set, .categories = c, .own = own, .f = f};

    set->memory = mem_new(struct ruleset_memory);
    arena_init(&set->memory->arena, NULL, ARENA_MAX);
    l.arena = &set->memory->arena;
    set->file = keep_text(&l, str_c(name));
    crypto_sha256(text.ptr, text.len, set->hash);
    if (!read_set(&l, at)) {
        ruleset_free(set);
        return NULL;
    }
    return set;
}

static json_t *load_text(const char *name, struct str text, struct fault *f)
{
    if (text.len > RULESET_TEXT_MAX) {
        fault_set(f, "%s: %zu bytes, at most %u are allowed", name, text.len, RULESET_TEXT_MAX);
        return NULL;
    }
    return json_load_text(name, text, JSON_COMMENTS, f);
}

struct ruleset *ruleset_parse(const char *name, struct str text, const struct categories *c,
                              struct fault *f)
{
    json_t *root = load_text(name, text, f);
    struct ruleset *set;
    struct json_at at;

    if (root == NULL)
        return NULL;
    at = json_at_root(name, text, root);
    set = set_from(&at, name, text, c, false, f);
    json_decref(root);
    return set;
}

/* Reads sets until one is wrong; how many were right. */
static size_t read_own(const struct json_at *at, const char *name, struct str text,
                       const struct categories *c, struct ruleset **sets, struct fault *f)
{
    size_t cnt = 0;

    while (cnt < json_at_count(at)) {
        struct json_at item = json_at_index(at, cnt);

        sets[cnt] = set_from(&item, name, text, c, true, f);
        if (sets[cnt] == NULL)
            break;
        cnt++;
    }
    return cnt;
}

bool ruleset_parse_own(const char *name, struct str text, const struct categories *c,
                       struct ruleset ***sets_out, size_t *cnt_out, struct fault *f)
{
    json_t *root = load_text(name, text, f);
    struct json_at at;
    bool ok = false;

    *sets_out = NULL;
    *cnt_out = 0;
    if (root == NULL)
        return false;
    at = json_at_root(name, text, root);
    if (json_at_array(&at, f)) {
        *sets_out = mem_calloc(json_at_count(&at) + 1, sizeof(**sets_out));
        *cnt_out = read_own(&at, name, text, c, *sets_out, f);
        ok = *cnt_out == json_at_count(&at);
    }
    json_decref(root);
    if (!ok) {
        ruleset_list_free(*sets_out, *cnt_out);
        *sets_out = NULL;
        *cnt_out = 0;
    }
    return ok;
}

void ruleset_free(struct ruleset *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->cookie_cnt; i++)
        pattern_free(set->cookies[i].pattern);
    for (size_t i = 0; i < set->storage_cnt; i++)
        pattern_free(set->storage[i].pattern);
    for (size_t i = 0; i < set->url_cnt; i++)
        pattern_free(set->urls[i].pattern);
    for (size_t i = 0; i < set->inline_cnt; i++)
        pattern_free(set->inlines[i].pattern);
    arena_fini(&set->memory->arena);
    free(set->memory);
    free(set);
}

void ruleset_list_free(struct ruleset **sets, size_t cnt)
{
    if (sets == NULL)
        return;
    for (size_t i = 0; i < cnt; i++)
        ruleset_free(sets[i]);
    free(sets);
}
