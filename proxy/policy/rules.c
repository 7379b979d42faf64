/*
 * rules.c - contract in consentd/rules.h: loading, life and lookup of sets.
 */
#include "consentd/rules.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/decide.h"
#include "consentd/mem.h"
#include "rules_priv.h"

static const char *const mode_names[] = {"enforce", "report", "off"};

const char *rule_mode_name(enum rule_mode mode)
{
    return mode_names[mode];
}

bool rule_mode_parse(struct str name, enum rule_mode *mode_out)
{
    for (unsigned i = 0; i < COUNT_OF(mode_names); i++) {
        if (str_eq_c(name, mode_names[i])) {
            *mode_out = (enum rule_mode)i;
            return true;
        }
    }
    return false;
}

static void scratch_free(struct rules_scratch *s)
{
    if (s == NULL)
        return;
    buf_free(&s->subject);
    buf_free(&s->text);
    free(s->inline_seen);
    free(s->site_seen);
    free(s);
}

static void rules_free(struct rules *rules)
{
    ruleset_list_free(rules->sets, rules->set_cnt);
    free(rules->set_site);
    for (size_t i = 0; i < rules->site_cnt; i++) {
        for (size_t k = 0; k < rules->sites[i].host_cnt; k++)
            free(rules->sites[i].hosts[k]);
        free(rules->sites[i].hosts);
        free(rules->sites[i].name);
    }
    free(rules->sites);
    index_fini(&rules->cookie_names);
    index_fini(&rules->cookie_prefixes);
    index_fini(&rules->amps);
    index_fini(&rules->hosts);
    free(rules->loose);
    free(rules->inlines);
    free(rules->site_urls);
    literals_free(rules->inline_texts);
    literals_free(rules->site_texts);
    scratch_free(rules->scratch);
    free(rules);
}

struct rules *rules_take(struct rules *rules)
{
    rules->refs++;
    return rules;
}

void rules_give(struct rules *rules)
{
    if (rules == NULL)
        return;
    ASSERT(rules->refs > 0);
    if (--rules->refs == 0)
        rules_free(rules);
}

static void copy_sites(struct rules *rules, const struct rules_input *input)
{
    rules->sites = mem_calloc(input->site_cnt, sizeof(*rules->sites));
    rules->site_cnt = input->site_cnt;
    for (size_t i = 0; i < input->site_cnt; i++) {
        const struct rules_site *from = &input->sites[i];
        struct rules_site_data *to = &rules->sites[i];

        to->name = mem_strdup(from->name);
        to->hosts = mem_calloc(from->host_cnt, sizeof(*to->hosts));
        to->host_cnt = from->host_cnt;
        for (size_t k = 0; k < from->host_cnt; k++)
            to->hosts[k] = mem_strdup(from->hosts[k]);
    }
}

static int set_order(const void *a, const void *b)
{
    const struct ruleset *const *x = a;
    const struct ruleset *const *y = b;

    return strcmp((*x)->id, (*y)->id);
}

static bool check_ids(const struct rules *rules, struct fault *f)
{
    for (size_t i = 1; i < rules->vendor_cnt; i++) {
        if (strcmp(rules->sets[i - 1]->id, rules->sets[i]->id) == 0) {
            fault_set(f, "%s: the id \"%s\" is also that of %s", rules->sets[i]->file,
                      rules->sets[i]->id, rules->sets[i - 1]->file);
            return false;
        }
    }
    return true;
}

/* Puts the sets of one site behind those that are there. */
static bool add_own(struct rules *rules, const struct rules_site *site, uint32_t number,
                    struct fault *f)
{
    struct ruleset **own;
    size_t cnt;

    if (site->own_json == NULL)
        return true;
    if (!ruleset_parse_own(site->own_name != NULL ? site->own_name : site->name,
                           str_c(site->own_json), &rules->categories, &own, &cnt, f))
        return false;
    if (rules->set_cnt + cnt > RULES_SETS_MAX) {
        fault_set(f, "more than %d rule sets", RULES_SETS_MAX);
        ruleset_list_free(own, cnt);
        return false;
    }
    rules->sets = mem_realloc(rules->sets, (rules->set_cnt + cnt + 1) * sizeof(*rules->sets));
    rules->set_site =
        mem_realloc(rules->set_site, (rules->set_cnt + cnt + 1) * sizeof(*rules->set_site));
    for (size_t i = 0; i < cnt; i++) {
        rules->set_site[rules->set_cnt] = number;
        rules->sets[rules->set_cnt++] = own[i];
    }
    free(own);
    return true;
}

static bool add_all_own(struct rules *rules, const struct rules_input *input, struct fault *f)
{
    for (size_t i = 0; i < input->site_cnt; i++) {
        if (!add_own(rules, &input->sites[i], (uint32_t)i, f))
            return false;
    }
    return true;
}

static void hash_sets(struct rules *rules)
{
    struct crypto_hash h;

    crypto_sha256_init(&h);
    for (size_t i = 0; i < rules->set_cnt; i++)
        crypto_sha256_update(&h, rules->sets[i]->hash, sizeof(rules->sets[i]->hash));
    crypto_sha256_final(&h, rules->hash);
}

static void make_scratch(struct rules *rules)
{
    struct rules_scratch *s = mem_new(struct rules_scratch);

    buf_init(&s->subject, 2u * URL_MAX + 16);
    buf_init(&s->text, DECIDE_INLINE_MAX + 16);
    s->inline_seen = mem_calloc(literals_words(rules->inline_texts) + 1, sizeof(uint64_t));
    s->site_seen = mem_calloc(literals_words(rules->site_texts) + 1, sizeof(uint64_t));
    rules->scratch = s;
}

struct rules *rules_compile(struct ruleset **sets, size_t cnt, const struct rules_input *input,
                            struct fault *f)
{
    struct rules *rules = mem_new(struct rules);
    uint32_t limit = input->match_limit != 0 ? input->match_limit : RULES_MATCH_LIMIT;

    rules->refs = 1;
    rules->categories = *input->categories;
    rules->sets = sets != NULL ? sets : mem_calloc(1, sizeof(*sets));
    rules->set_cnt = rules->vendor_cnt = cnt;
    rules->set_site = mem_calloc(cnt + 1, sizeof(*rules->set_site));
    for (size_t i = 0; i < cnt; i++)
        rules->set_site[i] = RULES_OWN_SITE_NONE;
    if (cnt > 0)
        qsort(rules->sets, cnt, sizeof(*rules->sets), set_order);
    copy_sites(rules, input);
    if (cnt > RULES_SETS_MAX) {
        fault_set(f, "more than %d rule sets", RULES_SETS_MAX);
        rules_give(rules);
        return NULL;
    }
    if (!check_ids(rules, f) || !rules_agree(rules, f) || !add_all_own(rules, input, f) ||
        !rules_build(rules, limit, f)) {
        rules_give(rules);
        return NULL;
    }
    hash_sets(rules);
    make_scratch(rules);
    return rules;
}

struct rules *rules_load(rules_next_fn next, void *arg, const struct rules_input *input,
                         struct fault *f)
{
    struct ruleset **sets = NULL;
    size_t cnt = 0;
    struct str name, text;

    while (next(arg, &name, &text)) {
        char *file = str_dup(name);
        struct ruleset *set = ruleset_parse(file, text, input->categories, f);

        free(file);
        if (set == NULL) {
            ruleset_list_free(sets, cnt);
            return NULL;
        }
        sets = mem_realloc(sets, (cnt + 1) * sizeof(struct ruleset *));
        sets[cnt++] = set;
    }
    return rules_compile(sets, cnt, input, f);
}

size_t rules_set_cnt(const struct rules *rules)
{
    return rules->set_cnt;
}

const struct ruleset *rules_set(const struct rules *rules, size_t i)
{
    ASSERT(i < rules->set_cnt);
    return rules->sets[i];
}

ptrdiff_t rules_find(const struct rules *rules, struct str id)
{
    size_t low = 0, high = rules->vendor_cnt;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = str_cmp(str_c(rules->sets[mid]->id), id);

        if (order == 0)
            return (ptrdiff_t)mid;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

const char *rules_nearest(const struct rules *rules, const char *id)
{
    const char **ids = mem_calloc(rules->vendor_cnt + 1, sizeof(*ids));
    const char *near;

    for (size_t i = 0; i < rules->vendor_cnt; i++)
        ids[i] = rules->sets[i]->id;
    near = str_nearest(str_c(id), ids, rules->vendor_cnt);
    free(ids);
    return near;
}

uint32_t rules_set_site(const struct rules *rules, size_t i)
{
    return rules->set_site[i];
}

ptrdiff_t rules_find_site(const struct rules *rules, struct str name)
{
    for (size_t i = 0; i < rules->site_cnt; i++) {
        if (str_eq_c(name, rules->sites[i].name))
            return (ptrdiff_t)i;
    }
    return -1;
}

size_t rules_site_cnt(const struct rules *rules)
{
    return rules->site_cnt;
}

const char *rules_site_name(const struct rules *rules, size_t site)
{
    ASSERT(site < rules->site_cnt);
    return rules->sites[site].name;
}

const struct categories *rules_categories(const struct rules *rules)
{
    return &rules->categories;
}

void rules_stats(const struct rules *rules, struct rules_stats *out)
{
    memset(out, 0, sizeof(*out));
    out->sets = rules->set_cnt;
    for (size_t i = 0; i < rules->set_cnt; i++) {
        out->cookies += rules->sets[i]->cookie_cnt;
        out->urls += rules->sets[i]->url_cnt;
        out->inlines += rules->sets[i]->inline_cnt;
    }
    out->patterns = rules->pattern_cnt;
    out->automaton_bytes = literals_bytes(rules->inline_texts) + literals_bytes(rules->site_texts);
}
