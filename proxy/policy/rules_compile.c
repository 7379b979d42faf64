/*
 * rules_compile.c - contract in rules_priv.h: from sets to tables.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/map.h"
#include "consentd/match.h"
#include "consentd/mem.h"
#include "rules_priv.h"

struct builder {
    struct rules *rules;
    uint32_t match_limit;
    struct fault *f;
};

static struct rule_ref ref_to(size_t set, size_t item)
{
    return (struct rule_ref){.set = (uint32_t)set, .item = (uint32_t)item};
}

static void use_pattern(struct builder *b, struct pattern *pattern)
{
    if (pattern == NULL)
        return;
    pattern_set_limit(pattern, b->match_limit);
    b->rules->pattern_cnt++;
}

static void add_cookie(struct builder *b, size_t set, size_t item)
{
    struct rules *rules = b->rules;
    const struct rule_cookie *rule = &rules->sets[set]->cookies[item];
    struct str head;

    switch (rule->kind) {
    case RULE_EXACT:
        index_add(&rules->cookie_names, rule->text, ref_to(set, item), false);
        return;
    case RULE_PREFIX:
        index_add(&rules->cookie_prefixes, rule->text, ref_to(set, item), false);
        return;
    case RULE_REGEX:
        break;
    }
    use_pattern(b, rule->pattern);
    head = pattern_head(rule->pattern);
    if (head.len > 0) {
        index_add(&rules->cookie_prefixes, head, ref_to(set, item), false);
        return;
    }
    rules->loose = mem_realloc(rules->loose, (rules->loose_cnt + 1) * sizeof(*rules->loose));
    rules->loose[rules->loose_cnt++] = ref_to(set, item);
}

/* The text that a request must hold for this rule to match. */
static struct str site_text(const struct rule_url *rule)
{
    struct str text = rule->path;
    ptrdiff_t star = str_find_char(text, '*');

    if (rule->kind == RULE_PATH_REGEX)
        return pattern_literal(rule->pattern);
    return star >= 0 ? str_slice(text, 0, (size_t)star) : text;
}

static bool add_url(struct builder *b, size_t set, size_t item)
{
    struct rules *rules = b->rules;
    const struct rule_url *rule = &rules->sets[set]->urls[item];
    struct site_entry *entry;
    ptrdiff_t text;

    use_pattern(b, rule->pattern);
    if (!rule->at_site) {
        index_add(&rules->hosts, rule->host, ref_to(set, item), true);
        return true;
    }
    text = literals_add(rules->site_texts, site_text(rule));
    if (text < 0) {
        fault_set(b->f, "%s: urls[%zu]: too many @site rules", rules->sets[set]->file, item);
        return false;
    }
    rules->site_urls =
        mem_realloc(rules->site_urls, (rules->site_url_cnt + 1) * sizeof(*rules->site_urls));
    entry = &rules->site_urls[rules->site_url_cnt++];
    *entry = (struct site_entry){.ref = ref_to(set, item), .text = (uint16_t)text};
    return true;
}

static bool add_inline_text(struct builder *b, struct inline_entry *entry, struct str text)
{
    ptrdiff_t number = literals_add(b->rules->inline_texts, text);

    if (number < 0) {
        fault_set(b->f, "%s: inline[%u]: too many texts in all sets together",
                  b->rules->sets[entry->ref.set]->file, entry->ref.item);
        return false;
    }
    entry->texts[entry->text_cnt++] = (uint16_t)number;
    return true;
}

static bool add_inline(struct builder *b, size_t set, size_t item)
{
    struct rules *rules = b->rules;
    const struct rule_inline *rule = &rules->sets[set]->inlines[item];
    struct inline_entry *entry;

    use_pattern(b, rule->pattern);
    rules->inlines = mem_realloc(rules->inlines, (rules->inline_cnt + 1) * sizeof(*rules->inlines));
    entry = &rules->inlines[rules->inline_cnt++];
    *entry = (struct inline_entry){.ref = ref_to(set, item)};
    for (unsigned i = 0; i < rule->contains_cnt; i++) {
        if (!add_inline_text(b, entry, rule->contains[i]))
            return false;
    }
    if (rule->pattern != NULL && pattern_literal(rule->pattern).len >= 3)
        return add_inline_text(b, entry, pattern_literal(rule->pattern));
    return true;
}

static bool add_set(struct builder *b, size_t set)
{
    const struct ruleset *s = b->rules->sets[set];

    for (size_t i = 0; i < s->cookie_cnt; i++)
        add_cookie(b, set, i);
    for (size_t i = 0; i < s->url_cnt; i++) {
        if (!add_url(b, set, i))
            return false;
    }
    for (size_t i = 0; i < s->inline_cnt; i++) {
        if (!add_inline(b, set, i))
            return false;
    }
    for (size_t i = 0; i < s->amp_cnt; i++)
        index_add(&b->rules->amps, s->amps[i].text, ref_to(set, i), false);
    return true;
}

bool rules_build(struct rules *rules, uint32_t match_limit, struct fault *f)
{
    struct builder b = {.rules = rules, .match_limit = match_limit, .f = f};

    rules->inline_texts = literals_new();
    rules->site_texts = literals_new();
    for (size_t i = 0; i < rules->set_cnt; i++) {
        if (!add_set(&b, i))
            return false;
    }
    index_build(&rules->cookie_names);
    index_build(&rules->cookie_prefixes);
    index_build(&rules->amps);
    index_build(&rules->hosts);
    if (!literals_build(rules->inline_texts) || !literals_build(rules->site_texts)) {
        fault_set(f, "the texts of all sets together are too long");
        return false;
    }
    return true;
}

/* --- two sets claiming the same thing --------------------------------------- */

struct claims {
    const struct rules *rules;
    struct map *seen; /* key -> the set that has it */
    struct buf key;
    struct fault *f;
};

/* Notes the claim in c->key. False when it is taken. */
static bool claim(struct claims *c, const struct ruleset *set, const char *list, size_t item,
                  struct str shown)
{
    const struct ruleset *other;

    if (map_put(c->seen, buf_str(&c->key), (void *)(uintptr_t)set))
        return true;
    other = map_get(c->seen, buf_str(&c->key));
    if (other == set)
        fault_set(c->f, "%s: %s[%zu]: \"%.*s\" is in this set twice", set->file, list, item,
                  STR_ARGS(shown));
    else
        fault_set(c->f, "%s: %s[%zu]: \"%.*s\" is also claimed by %s; only one set can decide",
                  set->file, list, item, STR_ARGS(shown), other->file);
    return false;
}

/* Appends one part of the key; the length keeps parts apart. */
static void key_add(struct claims *c, struct str part)
{
    bool ok = buf_printf(&c->key, "%zu:", part.len) && buf_append_str(&c->key, part);

    ASSERT(ok); /* every part is bounded by ruleset.c */
}

static void key_start(struct claims *c, const char *what, unsigned kind)
{
    bool ok;

    buf_clear(&c->key);
    ok = buf_printf(&c->key, "%s %u ", what, kind);
    ASSERT(ok);
}

static bool claim_url(struct claims *c, const struct ruleset *set, size_t item)
{
    const struct rule_url *rule = &set->urls[item];

    key_start(c, rule->at_site ? "site" : "url", rule->kind * 2u + rule->exact_host);
    key_add(c, rule->label);
    key_add(c, rule->host);
    key_add(c, rule->path);
    for (unsigned i = 0; i < rule->query_cnt; i++) {
        key_add(c, rule->query[i].name);
        key_add(c, rule->query[i].glob);
    }
    return claim(c, set, "urls", item, str_c(rule->shown));
}

static bool claim_inline(struct claims *c, const struct ruleset *set, size_t item)
{
    const struct rule_inline *rule = &set->inlines[item];

    key_start(c, "inline", 0);
    for (unsigned i = 0; i < rule->contains_cnt; i++)
        key_add(c, rule->contains[i]);
    key_add(c, rule->regex);
    return claim(c, set, "inline", item, rule->contains_cnt > 0 ? rule->contains[0] : rule->regex);
}

static bool claim_set(struct claims *c, const struct ruleset *set)
{
    for (size_t i = 0; i < set->cookie_cnt; i++) {
        key_start(c, "cookie", set->cookies[i].kind);
        key_add(c, set->cookies[i].text);
        if (!claim(c, set, "cookies", i, set->cookies[i].text))
            return false;
    }
    for (size_t i = 0; i < set->url_cnt; i++) {
        if (!claim_url(c, set, i))
            return false;
    }
    for (size_t i = 0; i < set->inline_cnt; i++) {
        if (!claim_inline(c, set, i))
            return false;
    }
    for (size_t i = 0; i < set->amp_cnt; i++) {
        key_start(c, "amp", 0);
        key_add(c, set->amps[i].text);
        if (!claim(c, set, "amp", i, set->amps[i].text))
            return false;
    }
    return true;
}

bool rules_agree(const struct rules *rules, struct fault *f)
{
    struct claims c = {.rules = rules, .seen = map_new(), .f = f};
    bool ok = true;

    buf_init(&c.key, 64u * 1024);
    for (size_t i = 0; i < rules->vendor_cnt && ok; i++)
        ok = claim_set(&c, rules->sets[i]);
    buf_free(&c.key);
    map_free(c.seen, NULL);
    return ok;
}
