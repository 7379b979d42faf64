/*
 * policy.c - contract in consentd/policy.h: reading conf/policy.json.
 *
 * Everything is kept in one arena, far larger than a text of POLICY_TEXT_MAX bytes can need.
 */
#include "consentd/policy.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/json.h"
#include "consentd/map.h"
#include "consentd/mem.h"

#define ARENA_MAX (64u << 20)
#define ITEMS_MAX 1000 /* of every list */

struct policy_memory {
    struct arena arena;
    struct buf document;
    struct map **texts; /* per language: key -> text; owned, the texts are in the arena */
};

struct reader {
    struct policy *p;
    struct arena *arena;
    struct fault *f;
};

static void *keep_items(struct reader *r, size_t cnt, size_t size)
{
    void *p = arena_calloc(r->arena, cnt, size);

    ASSERT(p != NULL);
    return p;
}

static const char *keep_text(struct reader *r, struct str s)
{
    const char *p = arena_copy(r->arena, s.ptr, s.len);

    ASSERT(p != NULL);
    return p;
}

static bool read_plain(struct reader *r, const struct json_at *at, const char *key,
                       enum json_need need, const char **out)
{
    struct str text = {0};

    if (!json_at_key_str(at, key, need, &text, r->f))
        return false;
    if (text.ptr == NULL)
        return true;
    if (text.len == 0 || memchr(text.ptr, '\0', text.len) != NULL)
        return json_at_fault(at, r->f, "%s: is empty or holds a NUL character", key);
    *out = keep_text(r, text);
    return true;
}

/* "2026-11-24": a day that there is. Dates are compared as texts. */
static bool is_day(struct str s)
{
    static const unsigned char lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t year, month, day;

    return s.len == 10 && s.ptr[4] == '-' && s.ptr[7] == '-' &&
           str_to_u64(str_slice(s, 0, 4), 9999, &year) &&
           str_to_u64(str_slice(s, 5, 2), 12, &month) && month > 0 &&
           str_to_u64(str_slice(s, 8, 2), lengths[month - 1], &day) && day > 0 &&
           (month != 2 || day < 29 || (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)));
}

static bool read_day(struct reader *r, const struct json_at *at, const char *key, const char **out)
{
    if (!read_plain(r, at, key, JSON_NEED, out))
        return false;
    return is_day(str_c(*out)) ||
           json_at_fault(at, r->f, "%s: \"%s\" is no day: expected one like \"2026-11-24\"", key,
                         *out);
}

static bool read_list(struct reader *r, const struct json_at *at, const char *key, bool needed,
                      struct json_at *list_out, size_t *cnt_out)
{
    *cnt_out = 0;
    if (!json_at_get(at, key, list_out))
        return needed ? json_at_fault(at, r->f, "\"%s\" is missing", key) : true;
    if (!json_at_array(list_out, r->f))
        return false;
    *cnt_out = json_at_count(list_out);
    if (*cnt_out > ITEMS_MAX || (needed && *cnt_out == 0))
        return json_at_fault(list_out, r->f, "has %zu entries, expected 1 to %d", *cnt_out,
                             ITEMS_MAX);
    return true;
}

/* { "en": "…" }: the first language is required, others fall back to it. */
static bool read_texts(struct reader *r, const struct json_at *at, struct policy_text *out)
{
    const char **items = keep_items(r, r->p->language_cnt, sizeof(*items));

    if (!json_at_object(at, r->f) || !json_at_only(at, r->p->languages, r->p->language_cnt, r->f))
        return false;
    for (size_t i = 0; i < r->p->language_cnt; i++) {
        items[i] = i > 0 ? items[0] : NULL;
        if (!read_plain(r, at, r->p->languages[i], i == 0 ? JSON_NEED : JSON_MAY, &items[i]))
            return false;
    }
    out->by_language = items;
    return true;
}

static bool read_text_key(struct reader *r, const struct json_at *at, const char *key, bool needed,
                          struct policy_text *out)
{
    struct json_at child;

    if (!json_at_get(at, key, &child))
        return needed ? json_at_fault(at, r->f, "\"%s\" is missing", key) : true;
    return read_texts(r, &child, out);
}

static bool read_languages(struct reader *r, const struct json_at *at)
{
    struct json_at list;
    const char **items;
    size_t cnt;

    if (!read_list(r, at, "languages", true, &list, &cnt))
        return false;
    if (cnt > POLICY_LANGUAGES_MAX)
        return json_at_fault(&list, r->f, "more than %d languages", POLICY_LANGUAGES_MAX);
    items = keep_items(r, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);
        struct str tag = {0};

        if (!json_at_str(&item, &tag, r->f))
            return false;
        if (tag.len < 2 || tag.len > 35 || str_find_char(tag, ' ') >= 0)
            return json_at_fault(&item, r->f, "expected a language tag like en or pt-BR");
        items[i] = keep_text(r, tag);
    }
    r->p->languages = items;
    r->p->language_cnt = cnt;
    return true;
}

/* "category" of a purpose or provider: one of the policy's own. */
static bool read_category_ref(struct reader *r, const struct json_at *at, uint16_t *out)
{
    struct json_at child;
    struct fault why = {0};
    struct str id = {0};

    if (!json_at_get(at, "category", &child))
        return true;
    if (!json_at_str(&child, &id, r->f))
        return false;
    if (!categories_parse(&r->p->categories, id, out, &why))
        return json_at_fault(&child, r->f, "%s", why.text);
    if ((*out & r->p->categories.defined) != *out)
        return json_at_fault(&child, r->f, "\"%.*s\" is not one of this policy's categories",
                             STR_ARGS(id));
    return true;
}

static bool read_bit(struct reader *r, const struct json_at *at, struct str id,
                     struct policy_category *out)
{
    uint16_t known = categories_bit(&r->p->categories, id);
    struct json_at child;
    struct fault why = {0};
    int64_t bit = 0;

    if (json_at_get(at, "bit", &child)) {
        if (!json_at_int(&child, 0, CATEGORY_MAX - 1, &bit, r->f))
            return false;
    } else if (known != 0) {
        bit = __builtin_ctz(known);
    } else {
        return json_at_fault(at, r->f,
                             "\"bit\" is missing: give a number from 4 to %d, and never "
                             "another one later",
                             CATEGORY_MAX - 1);
    }
    if (!categories_add(&r->p->categories, id, (unsigned)bit, &why))
        return json_at_fault(at, r->f, "%s", why.text);
    out->bit = (uint16_t)(1u << bit);
    return true;
}

static bool read_category(struct reader *r, const struct json_at *at, struct policy_category *out)
{
    static const char *const keys[] = {"id", "bit", "required", "title", "purpose", "legal_basis"};
    struct categories *c = &r->p->categories;
    struct json_at child;

    if (!json_at_object(at, r->f) || !json_at_only(at, keys, COUNT_OF(keys), r->f) ||
        !read_plain(r, at, "id", JSON_NEED, &out->id) || !read_bit(r, at, str_c(out->id), out) ||
        !json_at_key_bool(at, "required", JSON_MAY, &out->required, r->f) ||
        !read_text_key(r, at, "title", true, &out->title) ||
        !read_text_key(r, at, "purpose", true, &out->purpose) ||
        !read_text_key(r, at, "legal_basis", true, &out->legal_basis))
        return false;
    if (out->bit == CATEGORY_ESSENTIAL && json_at_get(at, "required", &child) && !out->required)
        return json_at_fault(at, r->f, "essential: is always \"required\": nobody is asked for it");
    if (out->bit == CATEGORY_ESSENTIAL)
        out->required = true;
    else if ((c->defined & out->bit) != 0)
        return json_at_fault(at, r->f, "category \"%s\" is there twice", out->id);
    c->defined |= out->bit;
    if (out->required)
        c->required |= out->bit;
    return true;
}

static bool read_categories(struct reader *r, const struct json_at *at)
{
    struct json_at list;
    struct policy_category *items;
    size_t cnt;
    bool essential = false;

    if (!read_list(r, at, "categories", true, &list, &cnt))
        return false;
    items = keep_items(r, cnt, sizeof(*items));
    r->p->category = items;
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!read_category(r, &item, &items[i]))
            return false;
        essential = essential || items[i].bit == CATEGORY_ESSENTIAL;
    }
    r->p->category_cnt = cnt;
    return essential || json_at_fault(&list, r->f, "the category \"essential\" is missing");
}

static bool read_purposes(struct reader *r, const struct json_at *at)
{
    static const char *const keys[] = {"purpose", "legal_basis", "category"};
    struct json_at list;
    struct policy_purpose *items;
    size_t cnt;

    if (!read_list(r, at, "purposes", true, &list, &cnt))
        return false;
    items = keep_items(r, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!json_at_object(&item, r->f) || !json_at_only(&item, keys, COUNT_OF(keys), r->f) ||
            !read_text_key(r, &item, "purpose", true, &items[i].purpose) ||
            !read_text_key(r, &item, "legal_basis", true, &items[i].legal_basis) ||
            !read_category_ref(r, &item, &items[i].category))
            return false;
    }
    r->p->purposes = items;
    r->p->purpose_cnt = cnt;
    return true;
}

static bool read_sets(struct reader *r, const struct json_at *at, struct policy_provider *out)
{
    struct json_at list;
    const char **items;
    size_t cnt;

    if (!read_list(r, at, "sets", false, &list, &cnt))
        return false;
    items = keep_items(r, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);
        struct str id = {0};

        if (!json_at_str(&item, &id, r->f))
            return false;
        items[i] = keep_text(r, id);
    }
    out->sets = items;
    out->set_cnt = cnt;
    return true;
}

static bool read_providers(struct reader *r, const struct json_at *at)
{
    static const char *const keys[] = {"name", "role", "category", "sets", "privacy_policy"};
    struct json_at list;
    struct policy_provider *items;
    size_t cnt;

    if (!read_list(r, at, "providers", true, &list, &cnt))
        return false;
    items = keep_items(r, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!json_at_object(&item, r->f) || !json_at_only(&item, keys, COUNT_OF(keys), r->f) ||
            !read_plain(r, &item, "name", JSON_NEED, &items[i].name) ||
            !read_text_key(r, &item, "role", true, &items[i].role) ||
            !read_category_ref(r, &item, &items[i].category) || !read_sets(r, &item, &items[i]) ||
            !read_plain(r, &item, "privacy_policy", JSON_MAY, &items[i].privacy_policy))
            return false;
    }
    r->p->providers = items;
    r->p->provider_cnt = cnt;
    return true;
}

static bool read_rights(struct reader *r, const struct json_at *at)
{
    struct json_at list;
    struct policy_text *items;
    size_t cnt;

    if (!read_list(r, at, "rights", true, &list, &cnt))
        return false;
    items = keep_items(r, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!read_texts(r, &item, &items[i]))
            return false;
    }
    r->p->rights = items;
    r->p->right_cnt = cnt;
    return true;
}

static bool read_sections(struct reader *r, const struct json_at *at)
{
    static const char *const keys[] = {"heading", "text"};
    struct json_at list;
    struct policy_section *items;
    size_t cnt;

    if (!read_list(r, at, "sections", false, &list, &cnt))
        return false;
    items = keep_items(r, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!json_at_object(&item, r->f) || !json_at_only(&item, keys, COUNT_OF(keys), r->f) ||
            !read_text_key(r, &item, "heading", true, &items[i].heading) ||
            !read_text_key(r, &item, "text", true, &items[i].text))
            return false;
    }
    r->p->sections = items;
    r->p->section_cnt = cnt;
    return true;
}

static bool read_changes(struct reader *r, const struct json_at *at)
{
    static const char *const keys[] = {"version", "date", "summary"};
    struct json_at list;
    struct policy_change *items;
    size_t cnt;

    if (!read_list(r, at, "changes", true, &list, &cnt))
        return false;
    items = keep_items(r, cnt, sizeof(*items));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);

        if (!json_at_object(&item, r->f) || !json_at_only(&item, keys, COUNT_OF(keys), r->f) ||
            !read_plain(r, &item, "version", JSON_NEED, &items[i].version) ||
            !read_day(r, &item, "date", &items[i].date) ||
            !read_text_key(r, &item, "summary", true, &items[i].summary))
            return false;
    }
    r->p->changes = items;
    r->p->change_cnt = cnt;
    return true;
}

static bool read_ui_language(struct reader *r, const struct json_at *at, struct map *map)
{
    const char *key;
    json_t *value;
    json_t *object = (json_t *)(uintptr_t)at->value; /* the iterator wants it so; only read */

    if (!json_at_object(at, r->f))
        return false;
    json_object_foreach (object, key, value) {
        const char *text;

        if (!json_is_string(value))
            return json_at_fault(at, r->f, "%s: expected a string", key);
        text = keep_text(r, str_make(json_string_value(value), json_string_length(value)));
        (void)map_set(map, str_c(key), (void *)(uintptr_t)text);
    }
    return true;
}

static bool read_ui(struct reader *r, const struct json_at *at)
{
    struct json_at texts;

    r->p->memory->texts = keep_items(r, r->p->language_cnt, sizeof(struct map *));
    for (size_t i = 0; i < r->p->language_cnt; i++)
        r->p->memory->texts[i] = map_new();
    if (!json_at_get(at, "texts", &texts))
        return true;
    if (!json_at_object(&texts, r->f) ||
        !json_at_only(&texts, r->p->languages, r->p->language_cnt, r->f))
        return false;
    for (size_t i = 0; i < r->p->language_cnt; i++) {
        struct json_at child;

        if (json_at_get(&texts, r->p->languages[i], &child) &&
            !read_ui_language(r, &child, r->p->memory->texts[i]))
            return false;
    }
    return true;
}

static bool read_controller(struct reader *r, const struct json_at *at)
{
    static const char *const keys[] = {"name", "address", "email", "phone", "website"};
    struct policy *p = r->p;
    struct json_at c;

    if (!json_at_get(at, "controller", &c))
        return json_at_fault(at, r->f, "\"controller\" is missing");
    return json_at_object(&c, r->f) && json_at_only(&c, keys, COUNT_OF(keys), r->f) &&
           read_plain(r, &c, "name", JSON_NEED, &p->controller.name) &&
           read_plain(r, &c, "address", JSON_NEED, &p->controller.address) &&
           read_plain(r, &c, "email", JSON_NEED, &p->controller.email) &&
           read_plain(r, &c, "phone", JSON_MAY, &p->controller.phone) &&
           read_plain(r, &c, "website", JSON_MAY, &p->controller.website);
}

static bool read_head(struct reader *r, const struct json_at *at)
{
    struct json_at child;
    int64_t epoch = 0;

    if (!json_at_get(at, "epoch", &child))
        return json_at_fault(at, r->f, "\"epoch\" is missing");
    if (!json_at_int(&child, 1, UINT32_MAX, &epoch, r->f))
        return false;
    r->p->epoch = (uint32_t)epoch;
    return read_plain(r, at, "version", JSON_NEED, &r->p->version) &&
           read_day(r, at, "effective", &r->p->effective) && read_languages(r, at) &&
           read_text_key(r, at, "title", true, &r->p->title) && read_controller(r, at);
}

static bool read_policy(struct reader *r, const struct json_at *at)
{
    static const char *const keys[] = {"version",    "epoch",     "effective",  "title",
                                       "controller", "languages", "categories", "purposes",
                                       "providers",  "transfers", "retention",  "rights",
                                       "sections",   "changes",   "texts"};
    struct policy *p = r->p;

    return json_at_object(at, r->f) && json_at_only(at, keys, COUNT_OF(keys), r->f) &&
           read_head(r, at) && read_categories(r, at) && read_purposes(r, at) &&
           read_providers(r, at) && read_text_key(r, at, "transfers", true, &p->transfers) &&
           read_text_key(r, at, "retention", true, &p->retention) && read_rights(r, at) &&
           read_sections(r, at) && read_changes(r, at) && read_ui(r, at);
}

static bool make_document(struct reader *r, const char *name, const json_t *root)
{
    struct buf *b = &r->p->memory->document;

    buf_init(b, 4u * POLICY_TEXT_MAX);
    if (!json_canonical(root, b)) {
        fault_set(r->f, "%s: has a number that is no integer, or is too long", name);
        return false;
    }
    r->p->document = buf_str(b);
    crypto_sha256(b->data, b->len, r->p->doc_hash);
    return true;
}

struct policy *policy_parse(const char *name, struct str text, struct fault *f)
{
    struct policy *p;
    struct reader r = {.f = f};
    struct json_at at;
    json_t *root;
    bool ok;

    if (text.len > POLICY_TEXT_MAX) {
        fault_set(f, "%s: %zu bytes, at most %u are allowed", name, text.len, POLICY_TEXT_MAX);
        return NULL;
    }
    root = json_load_text(name, text, JSON_COMMENTS, f);
    if (root == NULL)
        return NULL;
    p = mem_new(struct policy);
    p->memory = mem_new(struct policy_memory);
    arena_init(&p->memory->arena, NULL, ARENA_MAX);
    categories_init(&p->categories);
    r.p = p;
    r.arena = &p->memory->arena;
    at = json_at_root(name, text, root);
    ok = read_policy(&r, &at) && make_document(&r, name, root);
    json_decref(root);
    if (ok)
        return p;
    policy_free(p);
    return NULL;
}

bool policy_set_document(struct policy *p, struct str text)
{
    struct buf *b = &p->memory->document;
    struct buf fresh;

    buf_init(&fresh, 4u * POLICY_TEXT_MAX);
    if (!buf_append_str(&fresh, text)) {
        buf_free(&fresh);
        return false;
    }
    buf_free(b);
    *b = fresh;
    p->document = buf_str(b);
    crypto_sha256(b->data, b->len, p->doc_hash);
    return true;
}

void policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; p->memory->texts != NULL && i < p->language_cnt; i++)
        map_free(p->memory->texts[i], NULL);
    buf_free(&p->memory->document);
    arena_fini(&p->memory->arena);
    free(p->memory);
    free(p);
}

const char *policy_text(const struct policy_text *text, unsigned language)
{
    return text->by_language != NULL ? text->by_language[language] : "";
}

const char *policy_text_given(const struct policy_text *text, unsigned language)
{
    if (text->by_language == NULL)
        return NULL;
    /* read_texts() lets a language without a text of its own point to the first one's */
    return language > 0 && text->by_language[language] == text->by_language[0]
               ? NULL
               : text->by_language[language];
}

const char *policy_ui_given(const struct policy *p, unsigned language, const char *key)
{
    return language < p->language_cnt ? map_get(p->memory->texts[language], str_c(key)) : NULL;
}

const char *policy_ui_text(const struct policy *p, unsigned language, const char *key)
{
    const char *text = policy_ui_given(p, language, key);

    return text != NULL ? text : policy_ui_given(p, 0, key);
}

const struct policy_category *policy_category_of(const struct policy *p, uint16_t bit)
{
    for (size_t i = 0; i < p->category_cnt; i++) {
        if (p->category[i].bit == bit)
            return &p->category[i];
    }
    return NULL;
}
