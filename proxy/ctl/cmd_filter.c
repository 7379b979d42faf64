/*
 * cmd_filter.c - consentctl filter: the proxy's HTML engine on stdin and stdout.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/arena.h"
#include "consentd/html_engine.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "ctl_priv.h"

#define CHUNK_MAX  (1u << 20)
#define REPORT_MAX (64u << 20)

struct filter_run {
    const struct rules *rules;
    struct buf report; /* the array of what was removed, without its brackets */
    size_t entries;
    bool failed; /* stdout takes no more */
};

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    struct filter_run *run = owner;

    run->failed = fwrite(data, 1, len, stdout) != len;
    return !run->failed;
}

static void on_verdict(void *owner, const struct verdict *v, struct str thing)
{
    static const char *const actions[] = {"removed", "would be removed", "passed"};
    struct filter_run *run = owner;
    char list[CATEGORY_LIST_MAX];
    struct buf *b = &run->report;
    bool full;

    full = !buf_printf(b, "%s\n  {\"action\": \"%s\", \"set\": ", run->entries > 0 ? "," : "",
                       actions[v->action]) ||
           !json_quote(str_c(v->set != NULL ? v->set->id : ""), b) ||
           !buf_printf(b, ", \"category\": \"%s\", \"rule\": ",
                       categories_list(rules_categories(run->rules), v->categories, list)) ||
           !json_quote(str_c(v->rule), b) || !buf_append_c(b, ", \"thing\": ") ||
           !json_quote(thing, b) || !buf_append_char(b, '}');
    if (!full)
        run->entries++;
}

/* Feeds all of stdin; chunk bytes at a time. */
static bool feed(struct html_engine *engine, size_t chunk)
{
    uint8_t *room = mem_alloc(chunk);
    bool ok = true;
    size_t len;

    do {
        len = fread(room, 1, chunk, stdin);
        if (len > 0)
            ok = html_engine_push(engine, str_make(room, len));
    } while (ok && len > 0);
    free(room);
    return ok && html_engine_end(engine);
}

static void print_report(struct filter_run *run, const struct html_counts *c)
{
    fprintf(stderr, "{\"removed\": [%.*s\n],\n \"elements\": %llu, \"attributes\": %llu}\n",
            STR_ARGS(buf_str(&run->report)), (unsigned long long)c->removed,
            (unsigned long long)c->attrs_removed);
}

static int filter(struct filter_run *run, const struct html_engine_setup *setup, size_t chunk,
                  bool report)
{
    const struct html_engine_ops ops = {.on_output = on_output,
                                        .on_verdict = report ? on_verdict : NULL};
    struct html_engine *engine = html_engine_new(setup, &ops, run);
    bool ok;

    buf_init(&run->report, REPORT_MAX);
    ok = feed(engine, chunk) && fflush(stdout) == 0 && !run->failed;
    if (report)
        print_report(run, html_engine_counts(engine));
    html_engine_free(engine);
    buf_free(&run->report);
    return ok ? CTL_OK : ctl_fail("the page could not be rewritten to its end");
}

struct filter_args {
    const char *dir, *consent, *url, *chunk;
    bool no_banner, report;
};

static int filter_with(const struct filter_args *a, struct rules *rules, const struct url *page,
                       size_t chunk)
{
    struct html_engine_setup setup = {.page = *page};
    struct filter_run run = {.rules = rules};
    struct fault f = {0};
    struct snapshot *snapshot;
    int status;

    if (!categories_parse(rules_categories(rules), str_c(a->consent), &setup.decider.grants, &f)) {
        (void)ctl_fail("--consent: %s", f.text);
        return CTL_USAGE;
    }
    snapshot = snapshot_new(rules, 0, NULL, NULL, 0);
    setup.decider.snapshot = snapshot;
    status = filter(&run, &setup, chunk, a->report);
    snapshot_give(snapshot);
    return status;
}

static int filter_page(const struct ctl_args *args, const struct filter_args *a,
                       struct arena *arena, size_t chunk)
{
    const char *hosts[1] = {NULL};
    struct fault f = {0};
    struct rules *rules;
    struct url page;
    int status;

    if (!url_parse(str_c(a->url), NULL, arena, &page) || (page.flags & URL_NETWORK) == 0) {
        (void)ctl_fail("--url: \"%s\" is not a complete address", a->url);
        return CTL_USAGE;
    }
    hosts[0] = arena_copy(arena, page.host.ptr, page.host.len);
    rules = hosts[0] != NULL ? ctl_load_rules(args, a->dir, hosts, 1, &f) : NULL;
    if (rules == NULL)
        return ctl_fail("%s", f.text);
    status = filter_with(a, rules, &page, chunk);
    rules_give(rules);
    return status;
}

int cmd_filter(struct ctl_args *args)
{
    struct filter_args a = {.consent = "none"};
    const struct ctl_option options[] = {{"--rules", &a.dir, NULL},
                                         {"--consent", &a.consent, NULL},
                                         {"--url", &a.url, NULL},
                                         {"--chunk", &a.chunk, NULL},
                                         {"--no-banner", NULL, &a.no_banner},
                                         {"--report", NULL, &a.report}};
    struct arena arena;
    uint64_t chunk = 65536;
    int status;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (a.url == NULL) {
        ctl_fail("filter needs --url, the address of the page");
        return CTL_USAGE;
    }
    if (a.chunk != NULL && (!str_to_u64(str_c(a.chunk), CHUNK_MAX, &chunk) || chunk == 0)) {
        ctl_fail("--chunk: expected 1 to %u bytes", CHUNK_MAX);
        return CTL_USAGE;
    }
    arena_init(&arena, NULL, 1u << 20);
    status = filter_page(args, &a, &arena, (size_t)chunk);
    arena_fini(&arena);
    return status;
}
