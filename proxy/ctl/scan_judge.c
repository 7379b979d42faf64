/*
 * scan_judge.c - what the rules say of the requests, cookies and keys of a visit.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/match.h"
#include "scan_priv.h"

#define URL_ARENA_MAX (1u << 20)

static const char *const state_names[SCAN_STATE_CNT] = {
    [SCAN_DIRECT] = "direct",   [SCAN_UNDECIDED] = "undecided",
    [SCAN_REFUSED] = "refused", [SCAN_ANALYTICS] = "analytics",
    [SCAN_ALL] = "all",         [SCAN_WITHDRAWN] = "withdrawn",
    [SCAN_GPC] = "gpc",
};

const char *scan_state_name(enum scan_state state)
{
    return state_names[state];
}

bool scan_is_consent(const char *name)
{
    static const char *const names[] = {"consent", "__Host-consent", "__Secure-consent"};

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

uint16_t scan_grants(const struct rules *rules, enum scan_state state)
{
    switch (state) {
    case SCAN_ANALYTICS:
        return CATEGORY_ESSENTIAL | CATEGORY_ANALYTICS;
    case SCAN_ALL:
        return rules_categories(rules)->defined | CATEGORY_ESSENTIAL;
    case SCAN_DIRECT:
    case SCAN_UNDECIDED:
    case SCAN_REFUSED:
    case SCAN_WITHDRAWN:
    case SCAN_GPC:
    case SCAN_STATE_CNT:
        break;
    }
    return CATEGORY_ESSENTIAL;
}

/* The vendor's rule for a key of the browser's storage; the cookies' rules for what has none. */
static struct verdict decide_key(const struct scan *scan, struct str key)
{
    for (size_t i = 0; i < rules_set_cnt(scan->rules); i++) {
        const struct ruleset *set = rules_set(scan->rules, i);

        for (size_t k = 0; k < set->storage_cnt; k++) {
            const struct rule_cookie *rule = &set->storage[k];
            bool hit = rule->kind == RULE_EXACT    ? str_eq(key, rule->text)
                       : rule->kind == RULE_PREFIX ? str_starts(key, rule->text)
                                                   : pattern_match(rule->pattern, key) != MATCH_NO;

            if (hit)
                return (struct verdict){
                    .action =
                        rule->categories & scan->decider.grants ? VERDICT_PASS : VERDICT_STRIP,
                    .categories = rule->categories,
                    .set = set,
                    .rule = "storage",
                };
        }
    }
    return (struct verdict){.action = VERDICT_PASS, .rule = ""};
}

static void note(const struct scan *scan, json_t *entry, const struct verdict *v)
{
    char list[CATEGORY_LIST_MAX];

    json_object_set_new(entry, "set", json_string(v->set != NULL ? v->set->id : ""));
    json_object_set_new(entry, "category",
                        json_string(v->set == NULL ? ""
                                                   : categories_list(rules_categories(scan->rules),
                                                                     v->categories, list)));
    json_object_set_new(entry, "denied", json_boolean(v->action == VERDICT_STRIP));
}

/* Also writes the host into the entry; true when it is not the site's own. */
static bool judge_request(const struct scan *scan, json_t *entry)
{
    struct verdict v = {.action = VERDICT_PASS, .rule = ""};
    struct arena arena;
    struct url url;
    bool foreign = false;

    arena_init(&arena, NULL, URL_ARENA_MAX);
    if (url_parse(str_c(scan_text(entry, "url")), NULL, &arena, &url)) {
        v = decide_url(&scan->decider, &url);
        foreign = !str_eq(url.host, scan->host);
        json_object_set_new(entry, "host", json_stringn(url.host.ptr, url.host.len));
    }
    note(scan, entry, &v);
    arena_fini(&arena);
    return foreign;
}

static unsigned count_denied(const json_t *list)
{
    unsigned cnt = 0;

    for (size_t i = 0; i < json_array_size(list); i++)
        cnt += json_is_true(json_object_get(json_array_get(list, i), "denied"));
    return cnt;
}

void scan_judge(const struct scan *scan, json_t *visit)
{
    static const char *const lists[] = {"requests", "cookies", "storage"};
    static const char *const denied[] = {"denied_requests", "denied_cookies", "denied_storage"};
    json_t *counts = json_object();
    unsigned foreign = 0;

    for (size_t n = 0; n < COUNT_OF(lists); n++) {
        json_t *list = json_object_get(visit, lists[n]);

        for (size_t i = 0; i < json_array_size(list); i++) {
            json_t *entry = json_array_get(list, i);
            struct verdict v = {.action = VERDICT_PASS, .rule = ""};

            if (n == 0) {
                foreign += judge_request(scan, entry);
                continue;
            }
            if (n == 2)
                v = decide_key(scan, str_c(scan_text(entry, "key")));
            else if (!scan_is_consent(scan_text(entry, "name")))
                v = decide_cookie(&scan->decider, str_c(scan_text(entry, "name")));
            note(scan, entry, &v);
        }
        json_object_set_new(counts, lists[n], json_integer((json_int_t)json_array_size(list)));
        json_object_set_new(counts, denied[n], json_integer(count_denied(list)));
    }
    json_object_set_new(counts, "foreign", json_integer(foreign));
    json_object_set_new(
        counts, "errors",
        json_integer((json_int_t)json_array_size(json_object_get(visit, "errors"))));
    json_object_set_new(visit, "counts", counts);
}

unsigned scan_escaped(const json_t *report)
{
    static const char *const keys[] = {"denied_requests", "denied_cookies", "denied_storage"};
    const json_t *visits = json_object_get(report, "visits");
    unsigned cnt = 0;

    for (size_t i = 0; i < json_array_size(visits); i++) {
        const json_t *visit = json_array_get(visits, i);

        for (size_t k = 0; k < COUNT_OF(keys); k++) {
            if (strcmp(scan_text(visit, "state"), scan_state_name(SCAN_DIRECT)) != 0)
                cnt += (unsigned)scan_number(json_object_get(visit, "counts"), keys[k]);
        }
    }
    return cnt;
}

/* Adds the entry under its name, with the states in which it was seen. */
static void collect(json_t *found, const char *name, const char *about, const json_t *entry,
                    const char *state)
{
    json_t *item = json_object_get(found, name);

    if (name[0] == '\0' || scan_text(entry, "set")[0] != '\0')
        return;
    if (item == NULL && json_object_size(found) < SCAN_LIST_MAX) {
        item = json_pack("{s:s,s:s,s:[]}", "name", name, "about", about, "states");
        json_object_set_new(found, name, item);
    }
    if (item != NULL) {
        json_t *states = json_object_get(item, "states");
        const char *last = json_string_value(json_array_get(states, json_array_size(states) - 1));

        if (last == NULL || strcmp(last, state) != 0)
            json_array_append_new(states, json_string(state));
    }
}

static json_t *values_of(json_t *object)
{
    json_t *list = json_array();
    const char *key;
    json_t *value;

    json_object_foreach (object, key, value)
        json_array_append(list, value);
    json_decref(object);
    return list;
}

json_t *scan_unclassified(const struct scan *scan, const json_t *visits)
{
    json_t *hosts = json_object(), *cookies = json_object(), *storage = json_object();
    char *own = str_dup(scan->host);

    for (size_t i = 0; i < json_array_size(visits); i++) {
        const json_t *visit = json_array_get(visits, i);
        const char *state = scan_text(visit, "state");
        const json_t *list = json_object_get(visit, "requests");

        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *entry = json_array_get(list, k);

            if (strcmp(scan_text(entry, "host"), own) != 0)
                collect(hosts, scan_text(entry, "host"), scan_text(entry, "initiator"), entry,
                        state);
        }
        list = json_object_get(visit, "cookies");
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *entry = json_array_get(list, k);

            if (!scan_is_consent(scan_text(entry, "name")))
                collect(cookies, scan_text(entry, "name"), scan_text(entry, "domain"), entry,
                        state);
        }
        list = json_object_get(visit, "storage");
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *entry = json_array_get(list, k);

            collect(storage, scan_text(entry, "key"), scan_text(entry, "store"), entry, state);
        }
    }
    free(own);
    return json_pack("{s:o,s:o,s:o}", "hosts", values_of(hosts), "cookies", values_of(cookies),
                     "storage", values_of(storage));
}
