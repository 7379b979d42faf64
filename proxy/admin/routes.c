/*
 * routes.c - every route with the permission that it needs. What is not in this table is not there.
 */
#include <stdlib.h>

#include "admin_priv.h"
#include "consentd/json.h"

static const struct admin_route routes[] = {
    {"GET", "/metrics", PERM_METRICS_READ, false, admin_get_metrics},
    {"GET", "/health", PERM_HEALTH_READ, false, admin_get_health},
    {"GET", "/api/v1/health", PERM_HEALTH_READ, false, admin_get_health},
    {"GET", "/api/v1/routes", PERM_HEALTH_READ, false, route_list},
    {"GET", "/api/v1/status", PERM_HEALTH_READ, false, admin_get_status},
    {"GET", "/api/v1/ledger", PERM_HEALTH_READ, false, admin_get_ledger},
    {"POST", "/api/v1/reload", PERM_DAEMON_RELOAD, true, admin_post_reload},
    {"POST", "/api/v1/upgrade", PERM_DAEMON_RELOAD, true, admin_post_upgrade},
    {"GET", "/api/v1/policy", PERM_DOCS_READ, false, policy_api_list},
    {"POST", "/api/v1/policy", PERM_POLICY_PUBLISH, true, policy_api_publish},
    /* a change of the rules makes its own record, with the revision */
    {"GET", "/api/v1/rules", PERM_RULES_READ, false, rules_api_list},
    {"POST", "/api/v1/rules", PERM_RULES_WRITE, false, rules_api_set},
    {"GET", "/api/v1/rules/history", PERM_RULES_READ, false, rules_api_history},
    {"POST", "/api/v1/rules/rollback", PERM_RULES_WRITE, false, rules_api_rollback},
    {"GET", "/api/v1/events", PERM_EVENTS_READ, true, events_api_list},
    {"GET", "/api/v1/events/*", PERM_EVENTS_READ, true, events_api_one},
    {"GET", "/api/v1/events/*/proof", PERM_PROOFS_READ, true, proofs_api_one},
    {"GET", "/api/v1/export", PERM_EVENTS_EXPORT, true, export_api},
    {"GET", "/api/v1/checkpoint", PERM_HEALTH_READ, false, proofs_api_checkpoint},
    {"GET", "/api/v1/oplog", PERM_OPLOG_READ, true, events_api_oplog},
    {"GET", "/api/v1/subjects/*", PERM_SUBJECTS_READ, true, events_api_subject},
    {"GET", "/api/v1/subjects/*/export", PERM_SUBJECTS_EXPORT, true, subject_export},
    {"GET", "/api/v1/stats", PERM_STATS_READ, false, stats_api},
    {"GET", "/api/v1/docs", PERM_DOCS_READ, false, docs_api_list},
    {"GET", "/api/v1/docs/*", PERM_DOCS_READ, false, docs_api_one},
    {"GET", "/api/v1/docs/*/diff", PERM_DOCS_READ, false, docs_api_diff},
    {"POST", "/api/v1/verify", PERM_VERIFY_RUN, true, verify_api_begin},
    {"GET", "/api/v1/verify/*", PERM_VERIFY_RUN, false, verify_api_state},
    /* the ledger records erasures, holds and drops itself */
    {"DELETE", "/api/v1/subjects/*", PERM_SUBJECTS_ERASE, false, subject_api_erase},
    {"POST", "/api/v1/subjects/*/hold", PERM_SUBJECTS_HOLD, false, subject_api_hold},
    {"DELETE", "/api/v1/subjects/*/hold", PERM_SUBJECTS_HOLD, false, subject_api_release},
    {"DELETE", "/api/v1/ledger/months/*", PERM_MONTHS_DROP, false, month_api_drop},
};

/* What anybody may ask who gets to admin.listen. */
bool route_is_public(const struct admin_route *route)
{
    return route->run == admin_get_metrics || route->run == admin_get_health;
}

/* Part by part; * takes any part that is not empty. */
static bool path_matches(const char *pattern, struct str path, struct str *param_out)
{
    struct str want = str_c(pattern), part, rest = path, got;

    while (str_cut(&want, '/', &part)) {
        if (!str_cut(&rest, '/', &got))
            return false;
        if (str_eq_c(part, "*") && got.len > 0)
            *param_out = got;
        else if (!str_eq(part, got))
            return false;
    }
    return rest.ptr == NULL;
}

const struct admin_route *route_find(struct str method, struct str path, struct str *param_out,
                                     bool *other_out)
{
    *other_out = false;
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        *param_out = str_c("");
        if (!path_matches(routes[i].path, path, param_out))
            continue;
        if (str_eq_c(method, routes[i].method))
            return &routes[i];
        *other_out = true;
    }
    return NULL;
}

void route_list(struct admin_client *c)
{
    json_t *list = json_array();
    char *text;

    for (size_t i = 0; i < COUNT_OF(routes); i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:b, s:b}", "method", routes[i].method, "path",
                            routes[i].path, "permission", perm_name(routes[i].perm), "recorded",
                            routes[i].recorded, "allowed", access_may(&c->peer, routes[i].perm)));
    list = json_pack("{s:s, s:s, s:o}", "user", c->peer.name, "role", c->peer.role, "routes", list);
    text = json_dumps(list, JSON_COMPACT);
    admin_answer(c, 200, "application/json", str_c(text));
    free(text);
    json_decref(list);
}
