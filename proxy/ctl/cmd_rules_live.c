/*
 * cmd_rules_live.c - consentctl rules list | set | history | rollback: what the admin does.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "consentd/rules_state.h"
#include "ctl_priv.h"

/* Asks and prints the answer as it is. */
static int ask_and_print(const struct ctl_args *args, const char *line)
{
    struct fault f = {0};
    struct buf out;
    bool ok;

    buf_init(&out, CTL_ANSWER_MAX);
    ok = ctl_ask(args, line, &out, &f);
    if (ok && out.len > 0)
        fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    return ok ? CTL_OK : ctl_fail("%s", f.text);
}

int cmd_rules_list(struct ctl_args *args)
{
    bool json = false;
    const struct ctl_option options[] = {{"--json", NULL, &json}};

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    return ask_and_print(args, json ? "state" : "list");
}

int cmd_rules_set(struct ctl_args *args)
{
    const char *name = NULL, *mode = NULL, *site = NULL;
    const struct ctl_option options[] = {
        {"", &name, NULL}, {"", &mode, NULL}, {"--site", &site, NULL}};
    char line[512];

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (name == NULL || mode == NULL) {
        ctl_fail("rules set needs a rule set and a mode: enforce, report, off or config");
        return CTL_USAGE;
    }
    snprintf(line, sizeof(line), "set %s %s%s%s", name, mode, site != NULL ? " " : "",
             site != NULL ? site : "");
    return ask_and_print(args, line);
}

int cmd_rules_rollback(struct ctl_args *args)
{
    const char *revision = NULL;
    const struct ctl_option options[] = {{"", &revision, NULL}};
    char line[512];

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (revision == NULL) {
        ctl_fail("rules rollback needs the number of a revision; see rules history");
        return CTL_USAGE;
    }
    snprintf(line, sizeof(line), "rollback %s", revision);
    return ask_and_print(args, line);
}

static void print_revision(const struct rules_revision *r)
{
    time_t at = (time_t)(r->at_ms / 1000);
    struct tm utc = {0};
    char when[32] = "";

    gmtime_r(&at, &utc);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
    printf("%llu  %s  %s (%s)", (unsigned long long)r->revision, when, r->who, r->from);
    if (r->is_rollback)
        printf("  back to %llu", (unsigned long long)r->restores);
    for (size_t i = 0; i < r->change_cnt; i++)
        printf("  %s: %s -> %s", r->changes[i].key, rules_choice_name(r->changes[i].from),
               rules_choice_name(r->changes[i].to));
    putchar('\n');
}

int cmd_rules_history(struct ctl_args *args)
{
    bool json = false;
    const struct ctl_option options[] = {{"--json", NULL, &json}};
    struct rules_state *state = NULL;
    struct fault f = {0};
    struct buf out;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (json)
        return ask_and_print(args, "state");
    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, "state", &out, &f))
        state = rules_state_parse("state", buf_str(&out), &f);
    buf_free(&out);
    if (state == NULL)
        return ctl_fail("%s", f.text);
    for (size_t i = rules_state_history_cnt(state); i-- > 0;)
        print_revision(rules_state_history(state, i));
    rules_state_free(state);
    return CTL_OK;
}
