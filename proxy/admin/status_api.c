/*
 * status_api.c - what runs: processes, the last change, counters, the ledger; as JSON.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/config.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/metrics.h"
#include "consentd/origin_stats.h"

#define SERVES   1 /* of struct metrics_owner */
#define DRAINING 2

static const char *role_name(uint64_t role)
{
    static const char *const names[] = {"master", "worker", "ledger", "admin"};

    return role < COUNT_OF(names) ? names[role] : "unknown";
}

static json_t *process_json(unsigned slot, const struct metrics_owner *o)
{
    json_t *p =
        json_pack("{s:s, s:I, s:i, s:I, s:b, s:I}", "role", role_name(o->role), "pid",
                  (json_int_t)o->pid, "slot", (int)slot, "generation", (json_int_t)o->generation,
                  "draining", o->state == DRAINING, "since_ms", (json_int_t)o->since_ms);

    if (p != NULL && o->role == IPC_ROLE_WORKER) {
        json_object_set_new(p, "connections",
                            json_integer((json_int_t)metric_of(slot, METRIC_CLIENT_OPEN)));
        json_object_set_new(p, "in_flight",
                            json_integer((json_int_t)metric_of(slot, METRIC_EXCHANGES_OPEN)));
        /* a slot's counters outlive its process: what those before this one did is taken off */
        json_object_set_new(
            p, "requests",
            json_integer((json_int_t)(metric_of(slot, METRIC_REQUESTS) - o->requests_before)));
    }
    return p;
}

static json_t *processes_json(void)
{
    json_t *list = json_array();
    struct metrics_owner owner;

    for (unsigned slot = 0; slot < metrics_slots(); slot++) {
        if (metrics_owner(slot, &owner))
            json_array_append_new(list, process_json(slot, &owner));
    }
    return list;
}

static json_t *last_change_json(const struct admin *a)
{
    const struct ipc_outcome *o = &a->outcome;

    if (o->number == 0)
        return json_null();
    return json_pack("{s:I, s:s, s:b, s:s}", "number", (json_int_t)o->number, "what",
                     o->what == IPC_CHANGE_UPGRADE ? "upgrade" : "reload", "done", o->done != 0,
                     "reason", a->outcome_why);
}

static bool append_json(struct buf *out, const char *key, json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    bool ok = text != NULL && buf_printf(out, "\"%s\":%s,\n", key, text);

    free(text);
    json_decref(value);
    return ok;
}

bool status_print(const struct admin *a, struct str ledger, struct buf *out)
{
    return buf_printf(out, "{\"version\":\"%s\",\n\"revision\":%llu,\n\"generation\":%llu,\n",
                      CONSENTD_VERSION, (unsigned long long)rules_state_revision(a->state),
                      (unsigned long long)metric_sum(METRIC_GENERATION)) &&
           append_json(out, "last_change", last_change_json(a)) &&
           append_json(out, "processes", processes_json()) && buf_append_c(out, "\"metrics\":") &&
           metrics_json(out) && buf_append_c(out, ",\n\"origins\":") &&
           origin_stats_json(a->setup.origins, a->setup.config, a->setup.origins_rows, out) &&
           buf_append_c(out, ",\n\"ledger\":") && buf_append_str(out, ledger) &&
           buf_append_c(out, "}\n");
}

static unsigned serving_cnt(enum ipc_role role)
{
    struct metrics_owner owner;
    unsigned cnt = 0;

    for (unsigned slot = 0; slot < metrics_slots(); slot++)
        cnt += metrics_owner(slot, &owner) && owner.role == role && owner.state == SERVES;
    return cnt;
}

static void problem(json_t *problems, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void problem(json_t *problems, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) > 0)
        json_array_append_new(problems, json_string(text));
    va_end(args);
}

static const char *member(const json_t *object, const char *outer, const char *inner)
{
    const char *text = json_string_value(json_object_get(json_object_get(object, outer), inner));

    return text != NULL ? text : "unknown";
}

static void ledger_problems(struct str text, json_t *problems)
{
    struct fault f = {{0}};
    json_t *ledger = str_eq_c(text, "null") ? NULL : json_load_text("ledger", text, 0, &f);
    const char *journal = member(ledger, "journal", "state");
    const char *redis = member(ledger, "redis", "state");

    if (ledger == NULL)
        problem(problems, "the ledger is away: grants are refused");
    else if (strcmp(journal, "ok") != 0)
        problem(problems, "the journal is %s: grants are refused", journal);
    if (ledger != NULL && (strcmp(redis, "down") == 0 || strcmp(redis, "blocked") == 0))
        problem(problems, "redis is %s: records stay in the journal", redis);
    if (metric_sum(METRIC_LOG_REFUSED) != 0)
        problem(problems, "the Merkle log is not signed any more; see the log");
    json_decref(ledger);
}

/* A site of which every origin is down. */
static void origin_problems(const struct admin *a, json_t *problems)
{
    const struct config *c = a->setup.config;
    struct fault f = {{0}};
    struct buf text;
    json_t *list = NULL, *origin;
    size_t at;

    buf_init(&text, STATUS_MAX);
    if (origin_stats_json(a->setup.origins, c, a->setup.origins_rows, &text))
        list = json_load_text("origins", buf_str(&text), 0, &f);
    for (size_t i = 0; i < c->site_cnt; i++) {
        unsigned down = 0, all = 0;

        json_array_foreach (list, at, origin) {
            const char *site = json_string_value(json_object_get(origin, "site"));
            const char *state = json_string_value(json_object_get(origin, "state"));

            if (site == NULL || state == NULL || strcmp(site, c->sites[i].name) != 0)
                continue;
            all++;
            down += strcmp(state, "down") == 0;
        }
        if (all > 0 && down == all)
            problem(problems, "site %s: every origin is down", c->sites[i].name);
    }
    json_decref(list);
    buf_free(&text);
}

bool health_print(const struct admin *a, struct str ledger, bool *serving_out, struct buf *out)
{
    json_t *problems = json_array();
    unsigned workers = serving_cnt(IPC_ROLE_WORKER);
    const char *state;
    char *text;

    *serving_out = workers > 0;
    if (workers == 0)
        problem(problems, "no worker serves");
    ledger_problems(ledger, problems);
    origin_problems(a, problems);
    state = workers == 0 ? "failing" : json_array_size(problems) > 0 ? "degraded" : "ok";
    json_t *root = json_pack("{s:s, s:s, s:i, s:o}", "status", state, "version", CONSENTD_VERSION,
                             "workers", (int)workers, "problems", problems);
    text = json_dumps(root, JSON_COMPACT);
    bool ok = text != NULL && buf_printf(out, "%s\n", text);
    free(text);
    json_decref(root);
    return ok;
}

bool status_metrics(struct buf *out)
{
    bool ok = buf_printf(out,
                         "# HELP consentd_build_info The program that answers\n"
                         "# TYPE consentd_build_info gauge\n"
                         "consentd_build_info{version=\"%s\"} 1\n"
                         "# HELP consentd_processes Processes that serve, by role\n"
                         "# TYPE consentd_processes gauge\n",
                         CONSENTD_VERSION);

    for (uint64_t role = IPC_ROLE_WORKER; role <= IPC_ROLE_ADMIN; role++)
        ok = ok && buf_printf(out, "consentd_processes{role=\"%s\"} %u\n", role_name(role),
                              serving_cnt((enum ipc_role)role));
    return ok;
}
