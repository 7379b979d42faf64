/*
 * speculation.c - contract in speculation.h; HTML 7.6.1, speculation rules.
 *
 *   {"prefetch": [{"where": {"and": [{"href_matches": "/shop"}, {"not": {…}}]}}]}    stays here
 *   {"prefetch": [{"where": {"selector_matches": ".fast"}}]}                           may not
 */
#include "speculation.h"

#include <string.h>

#include "consentd/json.h"

#define NEST_MAX 16 /* conditions inside conditions */

/* A pattern that is read against the page's address and names no other host. */
static bool is_path(const char *pattern)
{
    return pattern != NULL && strchr("/?#.", pattern[0]) != NULL && pattern[0] != '\0' &&
           pattern[1] != '/' && pattern[1] != '\\';
}

/* A pattern in parts: those that it does not have are the page's own. */
static bool is_own_pattern(const json_t *pattern)
{
    static const char *const others[] = {"protocol", "hostname", "port",
                                         "username", "password", "baseURL"};

    if (!json_is_object(pattern))
        return is_path(json_string_value(pattern));
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        if (json_object_get(pattern, others[i]) != NULL)
            return false;
    }
    return json_object_size(pattern) > 0;
}

static bool are_own_patterns(const json_t *patterns)
{
    const json_t *one;
    size_t i;

    if (!json_is_array(patterns))
        return is_own_pattern(patterns);
    json_array_foreach (patterns, i, one) {
        if (!is_own_pattern(one))
            return false;
    }
    return true;
}

/* Only own links meet the condition. */
static bool wants_own(const json_t *where, unsigned depth)
{
    const json_t *all = json_object_get(where, "and");
    const json_t *any = json_object_get(where, "or");
    const json_t *one;
    size_t i;

    if (depth == NEST_MAX)
        return false;
    if (json_object_get(where, "href_matches") != NULL)
        return are_own_patterns(json_object_get(where, "href_matches"));
    json_array_foreach (all, i, one) {
        if (wants_own(one, depth + 1))
            return true;
    }
    json_array_foreach (any, i, one) {
        if (!wants_own(one, depth + 1))
            return false;
    }
    return json_is_array(any);
}

static bool rule_stays_here(const json_t *rule)
{
    const char *source = json_string_value(json_object_get(rule, "source"));

    if (json_object_get(rule, "where") == NULL && (source == NULL || strcmp(source, "list") == 0))
        return true;
    return wants_own(json_object_get(rule, "where"), 0);
}

static bool all_stay_here(json_t *root)
{
    const json_t *rules, *rule;
    const char *action;
    size_t i;

    json_object_foreach (root, action, rules) {
        json_array_foreach (rules, i, rule) {
            if (!rule_stays_here(rule))
                return false;
        }
    }
    return true;
}

bool speculation_stays_here(struct str json)
{
    json_t *root;
    bool ok;

    if (str_find(json, STR("where")) < 0 && str_find(json, STR("document")) < 0 &&
        str_find(json, STR("\\u")) < 0)
        return true;
    root = json_load_text("speculation rules", json, 0, NULL);
    ok = root != NULL && all_stay_here(root);
    json_decref(root);
    return ok;
}
