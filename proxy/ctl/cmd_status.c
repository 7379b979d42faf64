/*
 * cmd_status.c - consentctl status | metrics: the running consentd as its admin sees it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/json.h"
#include "ctl_priv.h"

/* One row: a name for people and the counter behind it. */
struct row {
    const char *label, *counter;
};

static const struct row rows[] = {
    {"connections open", "client_connections"},
    {"requests in flight", "exchanges"},
    {"requests", "requests_total"},
    {"rejected", "requests_rejected_total"},
    {"origin failures", "origin_failures_total"},
    {"waiting for origins", "origin_waiting"},
    {"pages rewritten", "pages_rewritten_total"},
    {"elements removed", "elements_removed_total"},
    {"cookies kept back", "cookies_stripped_total"},
    {"would be removed", "reported_total"},
    {"banners", "banners_total"},
    {"choices granting", "choices_granted_total"},
    {"choices refusing", "choices_denied_total"},
    {"processes died", "processes_died_total"},
    {"reloads", "reloads_total"},
    {"upgrades", "upgrades_total"},
};

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void print_ledger(const json_t *ledger)
{
    const char *trouble = json_string_value(json_object_get(ledger, "error"));
    const json_t *journal = json_object_get(ledger, "journal");
    const json_t *redis = json_object_get(ledger, "redis");
    const char *state = json_string_value(json_object_get(redis, "state"));

    if (!json_is_object(ledger)) {
        puts("ledger               away: grants are refused until it is back");
        return;
    }
    printf("%-20s %lld, the journal's %lld bytes in %lld segments\n", "ledger records",
           number_of(ledger, "records"), number_of(journal, "bytes"),
           number_of(journal, "segments"));
    printf("%-20s %s, %lld records behind\n", "redis", state != NULL ? state : "unknown",
           number_of(redis, "lag_records"));
    if (trouble != NULL && trouble[0] != '\0')
        printf("%-20s %s\n", "last trouble", trouble);
}

/* Mean, in milliseconds. */
static double latency_of(const json_t *origin)
{
    long long answers = number_of(origin, "answers");

    return answers > 0 ? (double)number_of(origin, "latency_ms") / (double)answers : 0;
}

/* "up", or how the workers are divided. */
static void print_state(const json_t *origin, char *out, size_t len)
{
    long long up = number_of(origin, "workers_up"), probing = number_of(origin, "workers_probing");
    long long all = up + probing + number_of(origin, "workers_down");
    const char *state = json_string_value(json_object_get(origin, "state"));

    if (up > 0 && up < all)
        snprintf(out, len, "up in %lld of %lld workers", up, all);
    else
        snprintf(out, len, "%s", state != NULL ? state : "unknown");
}

static void print_origins(const json_t *origins)
{
    char state[64];
    size_t i;
    const json_t *origin;

    json_array_foreach (origins, i, origin) {
        const char *site = json_string_value(json_object_get(origin, "site"));
        const char *url = json_string_value(json_object_get(origin, "origin"));

        print_state(origin, state, sizeof(state));
        printf("%-20s %s %s: %s%s, %lld busy, %lld idle, %lld requests, %lld failed, %.1f ms\n",
               i == 0 ? "origins" : "", site != NULL ? site : "", url != NULL ? url : "", state,
               json_is_true(json_object_get(origin, "backup")) ? " (backup)" : "",
               number_of(origin, "busy"), number_of(origin, "idle"), number_of(origin, "requests"),
               number_of(origin, "failures"), latency_of(origin));
    }
}

static void print_age(long long ms)
{
    long long s = ms > 0 ? ms / 1000 : 0;

    if (s < 120)
        printf("%llds", s);
    else if (s < 7200)
        printf("%lldm", s / 60);
    else if (s < 172800)
        printf("%lldh", s / 3600);
    else
        printf("%lldd", s / 86400);
}

static void print_processes(const json_t *list)
{
    uint64_t now = clock_wall_ms();
    size_t i;
    json_t *p;

    printf("\n%-8s %8s %11s %12s %10s %10s  %s\n", "PROCESS", "PID", "GENERATION", "CONNECTIONS",
           "IN FLIGHT", "REQUESTS", "AGE");
    json_array_foreach (list, i, p) {
        bool worker = json_object_get(p, "requests") != NULL;

        printf("%-8s %8lld %11lld", json_string_value(json_object_get(p, "role")),
               number_of(p, "pid"), number_of(p, "generation"));
        if (worker)
            printf(" %12lld %10lld %10lld  ", number_of(p, "connections"),
                   number_of(p, "in_flight"), number_of(p, "requests"));
        else
            printf(" %12s %10s %10s  ", "-", "-", "-");
        print_age((long long)now - number_of(p, "since_ms"));
        puts(json_is_true(json_object_get(p, "draining")) ? ", draining" : "");
    }
}

static void print_last_change(const json_t *change)
{
    const char *what = json_string_value(json_object_get(change, "what"));
    const char *why = json_string_value(json_object_get(change, "reason"));

    if (what != NULL)
        printf("%-20s %s %s%s%s\n", "last change", what,
               json_is_true(json_object_get(change, "done")) ? "done" : "refused",
               why != NULL && why[0] != '\0' ? ": " : "", why != NULL ? why : "");
}

static void print_status(const json_t *root)
{
    const json_t *metrics = json_object_get(root, "metrics");

    printf("%-20s %s\n", "version", json_string_value(json_object_get(root, "version")));
    printf("%-20s %lld\n", "generation", number_of(root, "generation"));
    print_last_change(json_object_get(root, "last_change"));
    printf("%-20s %lld\n", "rules revision", number_of(root, "revision"));
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        printf("%-20s %lld\n", rows[i].label, number_of(metrics, rows[i].counter));
    print_origins(json_object_get(root, "origins"));
    print_ledger(json_object_get(root, "ledger"));
    print_processes(json_object_get(root, "processes"));
}

int cmd_status(struct ctl_args *args)
{
    bool json = false;
    const char *format = "table";
    const struct ctl_option options[] = {{"--json", NULL, &json}, {"-o", &format, NULL}};
    struct fault f = {{0}};
    struct buf out;
    json_t *root = NULL;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (strcmp(format, "json") == 0)
        json = true;
    else if (strcmp(format, "table") != 0) {
        (void)ctl_fail("-o: \"%s\" is no format; expected table or json", format);
        return CTL_USAGE;
    }
    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, "GET", "/api/v1/status", STR(""), &out, &f))
        root = json_load_text("answer", buf_str(&out), 0, &f);
    if (root != NULL && json) {
        (void)fwrite(out.data, 1, out.len, stdout);
    } else if (root != NULL) {
        print_status(root);
    }
    buf_free(&out);
    if (root == NULL)
        return ctl_fail("%s", f.text);
    json_decref(root);
    return CTL_OK;
}

int cmd_metrics(struct ctl_args *args)
{
    struct fault f = {{0}};
    struct buf out;
    bool ok;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    buf_init(&out, CTL_ANSWER_MAX);
    ok = ctl_ask(args, "GET", "/metrics", STR(""), &out, &f);
    if (ok)
        (void)fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    return ok ? CTL_OK : ctl_fail("%s", f.text);
}
