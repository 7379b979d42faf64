/*
 * guard_rules.c - the rules that the companion brings along, from the exchange's own snapshot.
 *
 *   [mask, " key key ", path pattern, other pattern]      the last two only where there are any
 *
 * A key is a host, a name, or the start of one with "*". The lists are in order of precedence: the
 * first that one of a URL's or name's keys leads to, and whose patterns match, says. Nothing in
 * them needs to be compiled: they are searched as text, and a pattern is made when a key met.
 *
 * What can meet is a family: a host with all below it, a name with all that begin like it. Families
 * in which nothing is denied stay out. In one with a single mask the order means nothing: keys are
 * joined, and what a wider one says already is left out.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/match.h"
#include "consentd/mem.h"
#include "consentd/rules.h"
#include "consentd/ruleset.h"
#include "consentd/snapshot.h"
#include "enforce_priv.h"
#include "guard_priv.h"

#define MASK_ANY 0xffffu /* of rules that are not enforced: any grant, also that of essential */

struct entry {
    struct str key; /* the host; or what the name begins with */
    unsigned mask;  /* of the categories one must be granted */
    uint64_t rank;
    const struct rule_url *url;     /* one of these two */
    const struct rule_cookie *name; /* likewise */
    bool ordered;                   /* others of its family have another mask: the rank decides */
};

struct writer {
    const struct exchange *x;
    const struct rules *rules;
    struct buf *out;
    struct entry *entries; /* owned */
    size_t cnt, cap;
    bool ok;
};

static void put(struct writer *w, const char *text)
{
    w->ok = w->ok && buf_append_c(w->out, text);
}

/* Inside a JSON string; safe inside a script element too. */
static void put_bytes(struct writer *w, struct str text)
{
    for (size_t i = 0; i < text.len && w->ok; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c == '"' || c == '\\' || c == '<' || c < ' ')
            w->ok = buf_printf(w->out, "\\u%04x", c);
        else
            w->ok = buf_append_char(w->out, (char)c);
    }
}

/* --- as patterns of JavaScript --- */

/* text as it is, or with "*" for any run of `any`; quoted for a pattern. */
static void put_literal(struct writer *w, struct str text, const char *any)
{
    for (size_t i = 0; i < text.len; i++) {
        struct str c = str_slice(text, i, 1);

        if (any != NULL && c.ptr[0] == '*') {
            put(w, any);
            continue;
        }
        if (str_find_char(STR(".+*?^${}()|[]\\"), c.ptr[0]) >= 0)
            put(w, "\\\\");
        put_bytes(w, c);
    }
}

/* As URLSearchParams writes it (URL 5.2). */
static void put_parameter(struct writer *w, struct str text)
{
    for (size_t i = 0; i < text.len && w->ok; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c == '*')
            put(w, "[^&]*");
        else if (c == ' ')
            put(w, "\\\\+");
        else if (ascii_is_alnum((char)c) || c == '-' || c == '_')
            w->ok = buf_append_char(w->out, (char)c);
        else if (c == '.')
            put(w, "\\\\.");
        else
            w->ok = buf_printf(w->out, "%%%02X", c);
    }
}

/* Of path?query. */
static void put_path(struct writer *w, const struct rule_url *rule)
{
    if (rule->kind == RULE_PATH_REGEX) {
        put_bytes(w, rule->path);
    } else if (rule->kind != RULE_PATH_ANY) {
        put(w, "^");
        put_literal(w, rule->path, "[^/?]+");
        put(w, rule->kind == RULE_PATH_EXACT ? "(\\\\?|$)" : "");
    }
}

static bool is_any_host(const struct rule_url *rule)
{
    return !rule->exact_host && rule->label.len == 0;
}

/* Of .host?parameters. */
static void put_other(struct writer *w, const struct rule_url *rule)
{
    if (is_any_host(rule) && rule->query_cnt == 0)
        return;
    put(w, "\",\"");
    if (!is_any_host(rule)) {
        put(w, rule->exact_host ? "^\\\\." : "\\\\.");
        put_literal(w, rule->label, "[^.]+");
        put(w, rule->label.len > 0 ? "\\\\." : "");
        put_literal(w, rule->host, NULL);
        put(w, "(?=\\\\?)"); /* the first parameter begins with it */
    }
    for (unsigned i = 0; i < rule->query_cnt; i++) {
        put(w, "(?=.*[?&]");
        put_parameter(w, rule->query[i].name);
        put(w, "=");
        put_parameter(w, rule->query[i].glob);
        put(w, "(&|$))");
    }
}

/* --- what meets what --- */

static bool is_denied(const struct writer *w, unsigned mask)
{
    return (mask & (w->x->grants | CATEGORY_ESSENTIAL)) == 0;
}

/* The key can stand among others: it holds nothing that means something there. */
static bool is_plain_name(struct str text)
{
    return str_find_char(text, ' ') < 0 && str_find_char(text, '*') < 0;
}

/* Nothing but its key counts. */
static bool is_simple(const struct entry *e)
{
    if (e->url == NULL)
        return e->name->kind != RULE_REGEX && is_plain_name(e->key);
    return e->url->kind == RULE_PATH_ANY && is_any_host(e->url) && e->url->query_cnt == 0;
}

/* It also says all that those of its family below it say. */
static bool is_wide(const struct entry *e)
{
    return is_simple(e) && (e->url != NULL || e->name->kind == RULE_PREFIX);
}

static bool is_below(const struct entry *e, const struct entry *root)
{
    size_t left = e->key.len - root->key.len;

    if (e->url == NULL)
        return str_starts(e->key, root->key);
    return str_ends(e->key, root->key) && (left == 0 || e->key.ptr[left - 1] == '.');
}

/* Hosts from their ends, a dot before all: every host is followed by those below it. */
static int host_order(struct str a, struct str b)
{
    while (a.len > 0 && b.len > 0) {
        unsigned char c = (unsigned char)a.ptr[--a.len];
        unsigned char d = (unsigned char)b.ptr[--b.len];

        if (c != d)
            return c == '.' || (d != '.' && c < d) ? -1 : 1;
    }
    return (a.len > 0) - (b.len > 0);
}

static int by_family(const void *a, const void *b)
{
    const struct entry *one = a;
    const struct entry *other = b;
    int order = one->url != NULL ? host_order(one->key, other->key) : str_cmp(one->key, other->key);

    return order != 0 ? order : is_wide(other) - is_wide(one);
}

static int by_number(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Where the order means nothing: like beside like. */
static int by_likeness(const struct entry *a, const struct entry *b)
{
    int order = is_simple(a) - is_simple(b);

    if (order == 0)
        order = by_number(a->mask, b->mask);
    if (order == 0 && a->url != NULL && !is_simple(a))
        order = by_number(a->url->kind, b->url->kind);
    if (order == 0 && a->url != NULL && !is_simple(a))
        order = str_cmp(a->url->path, b->url->path);
    return order;
}

static int by_precedence(const void *a, const void *b)
{
    const struct entry *one = a;
    const struct entry *other = b;
    int order = other->ordered - one->ordered;

    if (order == 0 && one->ordered)
        order = by_number(other->rank, one->rank);
    if (order == 0)
        order = by_likeness(one, other);
    if (order != 0)
        return order;
    return one->url != NULL ? host_order(one->key, other->key) : str_cmp(one->key, other->key);
}

/* --- the entries --- */

static void entry_add(struct writer *w, const struct entry *entry)
{
    if (w->cnt == w->cap) {
        w->cap = w->cap == 0 ? 512 : 2 * w->cap;
        w->entries = mem_realloc(w->entries, w->cap * sizeof(*entry));
    }
    w->entries[w->cnt++] = *entry;
}

static unsigned mask_of(const struct writer *w, size_t set, uint16_t categories)
{
    return snapshot_mode(w->x->snapshot, set) == RULE_ENFORCE ? categories : MASK_ANY;
}

/* The precedence of match.c as one number: own rules, kind, conditions, length, essential. */
static uint64_t url_rank(const struct writer *w, size_t set, const struct rule_url *rule)
{
    uint64_t own = rules_set_site(w->rules, set) != RULES_OWN_SITE_NONE;
    uint64_t rank = own * 10000000000u + (uint64_t)rule->kind * 2000000000u;

    rank += rule->query_cnt * 100000000u + (rule->host.len + rule->label.len) * 100000u;
    if (rule->kind == RULE_PATH_PREFIX)
        rank += rule->path.len * 2;
    return rank + ((rule->categories & CATEGORY_ESSENTIAL) != 0);
}

static void add_urls(struct writer *w, size_t i, const struct ruleset *set)
{
    for (size_t k = 0; k < set->url_cnt; k++) {
        const struct rule_url *rule = &set->urls[k];
        struct entry entry = {.key = rule->host,
                              .mask = mask_of(w, i, rule->categories),
                              .rank = url_rank(w, i, rule),
                              .url = rule};

        if (!rule->at_site)
            entry_add(w, &entry);
    }
}

static void add_names(struct writer *w, size_t i, const struct rule_cookie *rules, size_t cnt)
{
    for (size_t k = 0; k < cnt; k++) {
        const struct rule_cookie *rule = &rules[k];
        bool essential = (rule->categories & CATEGORY_ESSENTIAL) != 0;
        struct entry entry = {.key = rule->kind == RULE_REGEX ? pattern_head(rule->pattern)
                                                              : rule->text,
                              .mask = mask_of(w, i, rule->categories),
                              .rank = rule->kind * 1000000u + essential * 100000u,
                              .name = rule};

        if (rule->kind == RULE_PREFIX)
            entry.rank += rule->text.len;
        entry_add(w, &entry);
    }
}

static void add_cookies(struct writer *w, size_t i, const struct ruleset *set)
{
    add_names(w, i, set->cookies, set->cookie_cnt);
}

static void add_storage(struct writer *w, size_t i, const struct ruleset *set)
{
    add_names(w, i, set->storage, set->storage_cnt);
}

/* A wider one before it says the same. */
static bool is_said(const struct entry *family, const struct entry *e)
{
    for (const struct entry *other = family; other < e; other++) {
        if (is_wide(other) && is_below(e, other))
            return true;
    }
    return false;
}

/* Keeps what can deny, and what outranks that; all: also what passes. */
static void entries_choose(struct writer *w, bool all)
{
    size_t kept = 0;
    size_t end;

    for (size_t i = 0; i < w->cnt; i = end) {
        struct entry *family = &w->entries[i];
        bool denied = false;
        bool mixed = false;

        for (end = i; end < w->cnt && is_below(&w->entries[end], family); end++) {
            denied = denied || is_denied(w, w->entries[end].mask);
            mixed = mixed || w->entries[end].mask != family->mask;
        }
        for (size_t k = i; k < end && (denied || all); k++) {
            w->entries[k].ordered = mixed;
            if (mixed || !is_said(family, &w->entries[k]))
                w->entries[kept++] = w->entries[k];
        }
    }
    w->cnt = kept;
}

/* Both stand in one item of the list. */
static bool is_alike(const struct entry *a, const struct entry *b)
{
    if (a->mask != b->mask)
        return false;
    if (is_simple(a) || is_simple(b) || a->url == NULL)
        return is_simple(a) && is_simple(b);
    return a->url->kind == b->url->kind && str_eq(a->url->path, b->url->path) &&
           is_any_host(a->url) && is_any_host(b->url) && a->url->query_cnt + b->url->query_cnt == 0;
}

static void put_key(struct writer *w, const struct entry *e)
{
    if (e->url != NULL || is_simple(e))
        put_bytes(w, e->key);
    put(w, e->url == NULL && (!is_simple(e) || e->name->kind == RULE_PREFIX) ? "* " : " ");
}

static void put_patterns(struct writer *w, const struct entry *e)
{
    put(w, ",\"");
    if (e->url != NULL) {
        put_path(w, e->url);
        put_other(w, e->url);
    } else if (e->name->kind == RULE_REGEX) {
        put(w, "^(?:");
        put_bytes(w, e->name->text);
        put(w, ")$");
    } else {
        put(w, "^");
        put_literal(w, e->name->text, NULL);
        put(w, e->name->kind == RULE_EXACT ? "$" : "");
    }
    put(w, "\"");
}

static void entries_put(struct writer *w)
{
    size_t end;

    for (size_t i = 0; i < w->cnt; i = end) {
        const struct entry *first = &w->entries[i];

        w->ok = w->ok && buf_printf(w->out, "[%u,\" ", first->mask);
        for (end = i; end < w->cnt && (end == i || is_alike(first, &w->entries[end])); end++)
            put_key(w, &w->entries[end]);
        put(w, "\"");
        if (!is_simple(first))
            put_patterns(w, first);
        put(w, "],");
    }
}

/* Set number i counts on this site. */
static bool set_is_ours(const struct writer *w, size_t i)
{
    uint32_t site = rules_set_site(w->rules, i);

    return site == RULES_OWN_SITE_NONE || site == snapshot_site(w->x->snapshot);
}

/* One member: a list of what every set that counts here adds. */
static void put_list(struct writer *w, const char *name, bool all,
                     void (*add)(struct writer *w, size_t i, const struct ruleset *set))
{
    put(w, name);
    w->cnt = 0;
    for (size_t i = 0; i < rules_set_cnt(w->rules); i++) {
        if (set_is_ours(w, i))
            add(w, i, rules_set(w->rules, i));
    }
    if (w->cnt > 0)
        qsort(w->entries, w->cnt, sizeof(*w->entries), by_family);
    entries_choose(w, all);
    if (w->cnt > 0)
        qsort(w->entries, w->cnt, sizeof(*w->entries), by_precedence);
    entries_put(w);
    put(w, "],");
}

static void put_stand(struct writer *w, const struct rule_global *g, unsigned mask)
{
    if (g->stand == RULE_STAND_NONE)
        return;
    w->ok = w->ok && buf_printf(w->out, "[\"%.*s\",%u", STR_ARGS(g->name), mask);
    if (g->stand == RULE_STAND_LIST && g->member.len > 0)
        w->ok = w->ok && buf_printf(w->out, ",{%.*s:[]}", STR_ARGS(g->member));
    else if (g->stand == RULE_STAND_LIST)
        put(w, ",[]");
    put(w, "],");
}

static void put_set_globals(struct writer *w, size_t i, const struct ruleset *set)
{
    unsigned mask = mask_of(w, i, set->categories);

    for (size_t k = 0; is_denied(w, mask) && k < set->global_cnt; k++)
        put_stand(w, &set->globals[k], mask);
}

bool guard_rules_render(const struct exchange *x, struct buf *out)
{
    struct writer w = {.x = x, .rules = snapshot_rules(x->snapshot), .out = out, .ok = true};

    put_list(&w, "u:[", false, add_urls);
    put_list(&w, "c:[", enforcement_of(x)->decider.unknown_cookies_deny, add_cookies);
    put_list(&w, "s:[", false, add_storage);
    put(&w, "g:[");
    for (size_t i = 0; i < rules_set_cnt(w.rules); i++) {
        if (set_is_ours(&w, i))
            put_set_globals(&w, i, rules_set(w.rules, i));
    }
    put(&w, "],");
    free(w.entries);
    return w.ok;
}
