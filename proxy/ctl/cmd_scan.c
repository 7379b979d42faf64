/*
 * cmd_scan.c - consentctl scan: what a page requests, sets and stores in each state of consent.
 *
 * Through consentd the address is loaded as it is, or at --proxy. Directly means: the same host
 * name, but connected to the origin: that of --origin, or of the configuration. --direct-only
 * needs no consentd at all: the first inventory of a site.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "consentd/arena.h"
#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/mem.h"
#include "ctl_priv.h"
#include "scan_priv.h"

#define RESOLVE_MAX 4096

struct scan_args {
    const char *url, *out, *states, *origin, *proxy, *map, *rules, *program;
    bool direct_only, json, insecure;
};

struct scan_run {
    const struct scan_args *a;
    struct arena arena;
    struct url url;          /* of the page */
    const char *host;        /* NUL-terminated; the arena's */
    const char *direct;      /* the page's address at the origin, or NULL */
    const char *direct_peer; /* where that host is found */
    bool wanted[SCAN_STATE_CNT];
    struct rules *rules;
    struct snapshot *snapshot;
    json_t *report;
};

static bool read_states(struct scan_run *run, struct fault *f)
{
    struct str rest = str_c(run->a->states);
    struct str name;

    if (run->a->direct_only) {
        run->wanted[SCAN_DIRECT] = true;
        return true;
    }
    if (run->a->states == NULL) {
        for (unsigned i = 0; i < SCAN_STATE_CNT; i++)
            run->wanted[i] = i != SCAN_DIRECT || run->direct != NULL;
        return true;
    }
    while (str_cut(&rest, ',', &name)) {
        unsigned i = 0;

        while (i < SCAN_STATE_CNT && !str_eq_c(name, scan_state_name((enum scan_state)i)))
            i++;
        if (i == SCAN_STATE_CNT) {
            fault_set(f,
                      "--state: \"%.*s\" is none of direct, undecided, refused, analytics, all, "
                      "withdrawn, gpc",
                      STR_ARGS(name));
            return false;
        }
        run->wanted[i] = true;
    }
    if (run->wanted[SCAN_DIRECT] && run->direct == NULL) {
        fault_set(f, "--state direct: which origin? Give --origin, or -c with a configuration that "
                     "has this host");
        return false;
    }
    return true;
}

/* The origin's address as an URL, from the command line or the configuration; NULL: not known. */
static char *origin_of(const struct ctl_args *args, const struct scan_run *run)
{
    struct config *config;
    const struct config_site *site;
    char *found = NULL;

    if (run->a->origin != NULL)
        return mem_strdup(run->a->origin);
    config = config_load(args->config, NULL);
    site = config != NULL ? config_site_of(config, run->url.host) : NULL;
    if (site != NULL && site->origin_cnt > 0)
        found = mem_strdup(site->origins[0].url);
    config_free(config);
    return found;
}

/* The same page at the origin: its scheme, our host, found at the origin's address. */
static bool find_direct(const struct ctl_args *args, struct scan_run *run, struct fault *f)
{
    char *origin;
    struct url url;
    bool query = run->url.query.len > 0;

    if (run->a->direct_only) {
        run->direct = run->a->url;
        return true;
    }
    origin = origin_of(args, run);
    if (origin != NULL && url_parse(str_c(origin), NULL, &run->arena, &url) &&
        (url.scheme == URL_SCHEME_HTTP || url.scheme == URL_SCHEME_HTTPS)) {
        run->direct = arena_printf(
            &run->arena, "%s://%s%.*s%s%.*s", url.scheme == URL_SCHEME_HTTPS ? "https" : "http",
            run->host, STR_ARGS(run->url.path), query ? "?" : "", STR_ARGS(run->url.query));
        run->direct_peer = arena_printf(&run->arena, "%.*s:%u", STR_ARGS(url.host), url.port);
    } else if (run->a->origin != NULL) {
        fault_set(f, "--origin: \"%s\" is not an address like http://127.0.0.1:8081", origin);
        free(origin);
        return false;
    }
    free(origin);
    return true;
}

/* One browser per way: the host is found elsewhere. */
static bool scan_way(struct scan_run *run, bool direct, struct fault *f)
{
    const char *peer = direct ? run->direct_peer : run->a->proxy;
    struct scan scan = {.rules = run->rules,
                        .decider = {.snapshot = run->snapshot},
                        .url = direct ? run->direct : run->a->url,
                        .host = run->url.host};
    char resolve[RESOLVE_MAX];
    struct chromium_setup setup = {.program = run->a->program, .insecure = run->a->insecure};
    struct chromium chromium = {0};
    bool ok;

    snprintf(resolve, sizeof(resolve), "%s%s%s%s%s%s", peer != NULL ? "MAP " : "",
             peer != NULL ? run->host : "", peer != NULL ? " " : "", peer != NULL ? peer : "",
             peer != NULL && run->a->map != NULL ? ", " : "",
             run->a->map != NULL ? run->a->map : "");
    setup.resolve = resolve[0] != '\0' ? resolve : NULL;
    ok = chromium_start(&setup, &chromium, f);
    if (ok)
        scan.cdp = cdp_new(chromium.to, chromium.from);
    if (ok && json_object_get(run->report, "browser") == NULL) {
        json_t *version = cdp_call(scan.cdp, "", "Browser.getVersion", NULL, f);

        ok = version != NULL;
        json_object_set_new(run->report, "browser", json_string(scan_text(version, "product")));
        json_decref(version);
    }
    for (unsigned i = 0; ok && i < SCAN_STATE_CNT; i++) {
        enum scan_state state = (enum scan_state)i;
        json_t *visit;

        if (!run->wanted[i] || direct != (state == SCAN_DIRECT))
            continue;
        fprintf(stderr, "consentctl: %s …\n", scan_state_name(state));
        scan.decider.grants = scan_grants(run->rules, state);
        visit = scan_visit(&scan, state, f);
        ok = visit != NULL;
        if (ok) {
            scan_judge(&scan, visit);
            json_array_append_new(json_object_get(run->report, "visits"), visit);
        }
    }
    if (ok)
        json_object_set_new(run->report, "unclassified",
                            scan_unclassified(&scan, json_object_get(run->report, "visits")));
    cdp_free(scan.cdp);
    chromium_stop(&chromium);
    return ok;
}

/* What makes a visit's figures doubtful. */
static void print_doubts(const json_t *visit)
{
    const char *state = scan_text(visit, "state");
    int64_t status = scan_number(visit, "status");

    if (status >= 400)
        printf("%s: the page was answered with status %lld\n", state, (long long)status);
    if (!json_is_true(json_object_get(visit, "complete")))
        printf("%s: not at rest after %d s; what came later is not counted\n", state,
               SCAN_LOAD_MS / 1000);
}

static void print_summary(const struct scan_run *run)
{
    const json_t *visits = json_object_get(run->report, "visits");
    const json_t *unknown = json_object_get(run->report, "unclassified");

    printf("%-10s %8s %8s %8s %8s %8s %8s %8s\n", "state", "requests", "foreign", "denied",
           "cookies", "denied", "storage", "denied");
    for (size_t i = 0; i < json_array_size(visits); i++) {
        const json_t *visit = json_array_get(visits, i);
        const json_t *c = json_object_get(visit, "counts");

        printf("%-10s %8lld %8lld %8lld %8lld %8lld %8lld %8lld\n", scan_text(visit, "state"),
               (long long)scan_number(c, "requests"), (long long)scan_number(c, "foreign"),
               (long long)scan_number(c, "denied_requests"), (long long)scan_number(c, "cookies"),
               (long long)scan_number(c, "denied_cookies"), (long long)scan_number(c, "storage"),
               (long long)scan_number(c, "denied_storage"));
    }
    for (size_t i = 0; i < json_array_size(visits); i++)
        print_doubts(json_array_get(visits, i));
    printf("unclassified: %zu hosts, %zu cookies, %zu keys; see %s/report.html\n",
           json_array_size(json_object_get(unknown, "hosts")),
           json_array_size(json_object_get(unknown, "cookies")),
           json_array_size(json_object_get(unknown, "storage")), run->a->out);
}

static int finish(struct scan_run *run, struct fault *f)
{
    unsigned escaped = scan_escaped(run->report);

    if (!scan_write(run->a->out, run->report, f))
        return ctl_fail("%s", f->text);
    if (run->a->json)
        json_dumpf(run->report, stdout, JSON_INDENT(1));
    else
        print_summary(run);
    if (escaped > 0)
        return ctl_fail("%u things passed through consentd that were denied in their state",
                        escaped);
    return CTL_OK;
}

/* What would only be found out when the pages were loaded. */
static bool check_args(const struct scan_run *run, struct fault *f)
{
    const struct scan_args *a = run->a;
    struct str proxy = str_c(a->proxy);
    ptrdiff_t colon = str_find_last_char(proxy, ':'); /* [::1]:443 has others */
    struct stat there;
    uint64_t number;

    for (const char *p = a->url; *p != '\0'; p++)
        if ((uint8_t)*p <= ' ' || (uint8_t)*p >= 0x7f) {
            fault_set(f, "the page's address has a byte that must be escaped: 0x%02x", (uint8_t)*p);
            return false;
        }
    if (a->proxy != NULL &&
        (colon <= 0 ||
         !str_to_u64(str_slice(proxy, (size_t)colon + 1, proxy.len), UINT16_MAX, &number) ||
         number == 0)) {
        fault_set(f, "--proxy: \"%s\" is not HOST:PORT", a->proxy);
        return false;
    }
    if (stat(a->out, &there) == 0 && !S_ISDIR(there.st_mode)) {
        fault_set(f, "--out: %s is no folder", a->out);
        return false;
    }
    return true;
}

static int run_scan(const struct ctl_args *args, struct scan_run *run, struct fault *f)
{
    bool proxied = false;
    char time[CLOCK_TEXT_MAX];

    if (!check_args(run, f) || !find_direct(args, run, f) || !read_states(run, f)) {
        ctl_fail("%s", f->text);
        return CTL_USAGE;
    }
    run->rules = ctl_load_rules(args, run->a->rules, &run->host, 1, f);
    if (run->rules == NULL)
        return ctl_fail("%s", f->text);
    run->snapshot = snapshot_new(run->rules, 0, NULL, NULL, 0);
    for (unsigned i = SCAN_DIRECT + 1; i < SCAN_STATE_CNT; i++)
        proxied = proxied || run->wanted[i];
    run->report = json_pack("{s:s,s:s,s:b,s:[]}", "url", run->a->url, "time",
                            clock_format(clock_wall_ms(), time), "proxied", proxied, "visits");
    if ((run->wanted[SCAN_DIRECT] && !scan_way(run, true, f)) ||
        (proxied && !scan_way(run, false, f)))
        return ctl_fail("%s", f->text);
    return finish(run, f);
}

int cmd_scan(struct ctl_args *args)
{
    struct scan_args a = {.out = "scan"};
    const struct ctl_option options[] = {{"", &a.url, NULL},
                                         {"--out", &a.out, NULL},
                                         {"--state", &a.states, NULL},
                                         {"--origin", &a.origin, NULL},
                                         {"--proxy", &a.proxy, NULL},
                                         {"--map", &a.map, NULL},
                                         {"--rules", &a.rules, NULL},
                                         {"--chromium", &a.program, NULL},
                                         {"--json", NULL, &a.json},
                                         {"--direct-only", NULL, &a.direct_only},
                                         {"--insecure", NULL, &a.insecure}};
    struct scan_run run = {.a = &a};
    struct fault f = {0};
    int status = CTL_USAGE;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    arena_init(&run.arena, NULL, 1u << 20);
    if (a.url == NULL || !url_parse(str_c(a.url), NULL, &run.arena, &run.url) ||
        (run.url.scheme != URL_SCHEME_HTTP && run.url.scheme != URL_SCHEME_HTTPS))
        ctl_fail("scan needs the page's address, as https://www.example.com/");
    else if ((run.host = arena_copy(&run.arena, run.url.host.ptr, run.url.host.len)) != NULL)
        status = run_scan(args, &run, &f);
    json_decref(run.report);
    snapshot_give(run.snapshot);
    rules_give(run.rules);
    arena_fini(&run.arena);
    return status;
}
