/*
 * status_api.c - what runs: processes, the last change, counters, the ledger; as JSON.
 */
#include <stdio.h>
#include <stdlib.h>

#include "admin_priv.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/metrics.h"
#include "consentd/origin_stats.h"

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
                  "draining", o->draining != 0, "since_ms", (json_int_t)o->since_ms);

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
