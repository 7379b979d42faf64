/*
 * cmd_rules_live.c - consentctl rules list | set | history | rollback: what the admin does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consentd/json.h"
#include "consentd/rules_state.h"
#include "ctl_priv.h"

/* The answer as JSON; NULL after saying why there is none. */
static json_t *ask(const struct ctl_args *args, const char *method, const char *target,
                   struct str body)
{
    struct fault f = {0};
    struct buf out;
    json_t *root = NULL;

    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, method, target, body, &out, &f))
        root = json_load_text("answer", buf_str(&out), 0, &f);
    buf_free(&out);
    if (root == NULL)
        ctl_fail("%s", f.text);
    return root;
}

static int print_json(json_t *root)
{
    if (root == NULL)
        return CTL_FAILED;
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
    return CTL_OK;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

/* One mode when all sites agree, else each with its site behind the name. */
static void print_set(json_t *set)
{
    json_t *modes = json_object_get(set, "modes");
    const char *first = json_string_value(json_object_iter_value(json_object_iter(modes)));
    const char *star = json_is_true(json_object_get(set, "switched")) ? "*" : "";
    const char *site;
    bool same = true;
    json_t *mode;
    char text[32];

    json_object_foreach (modes, site, mode)
        same = same && strcmp(json_string_value(mode), first) == 0;
    snprintf(text, sizeof(text), "%s%s", same && first != NULL ? first : "by site", star);
    printf("%-28s %-9s %-20s %s", text_of(set, "id"), text, text_of(set, "categories"),
           text_of(set, "name"));
    json_object_foreach (modes, site, mode) {
        if (!same)
            printf(" [%s: %s]", site, json_string_value(mode));
    }
    putchar('\n');
}

int cmd_rules_list(struct ctl_args *args)
{
    bool json = false;
    const struct ctl_option options[] = {{"--json", NULL, &json}};
    json_t *root, *set;
    size_t i;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    root = ask(args, "GET", "/api/v1/rules", STR(""));
    if (json || root == NULL)
        return print_json(root);
    printf("%-28s %-9s %-20s %s\n", "SET", "MODE", "CATEGORIES", "NAME");
    json_array_foreach (json_object_get(root, "sets"), i, set)
        print_set(set);
    printf("revision %lld; * switched here, the others as configured\n",
           (long long)json_integer_value(json_object_get(root, "revision")));
    json_decref(root);
    return CTL_OK;
}

/* Sends a change and says what became of it. Takes over body. */
static int change(const struct ctl_args *args, const char *target, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_t *root = text != NULL ? ask(args, "POST", target, str_c(text)) : NULL;
    long long confirmed = json_integer_value(json_object_get(root, "confirmed"));
    long long workers = json_integer_value(json_object_get(root, "workers"));

    json_decref(body);
    free(text);
    if (root == NULL)
        return CTL_FAILED;
    printf("revision %lld, in force in %lld of %lld workers\n",
           (long long)json_integer_value(json_object_get(root, "revision")), confirmed, workers);
    json_decref(root);
    return confirmed == workers && workers > 0 ? CTL_OK : CTL_FAILED;
}

int cmd_rules_set(struct ctl_args *args)
{
    const char *name = NULL, *mode = NULL, *site = NULL;
    const struct ctl_option options[] = {
        {"", &name, NULL}, {"", &mode, NULL}, {"--site", &site, NULL}};
    enum rules_choice choice;
    json_t *body;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (name == NULL || mode == NULL) {
        ctl_fail("rules set needs a rule set and a mode: enforce, report, off or config");
        return CTL_USAGE;
    }
    if (!rules_choice_parse(str_c(mode), &choice)) {
        ctl_fail("mode \"%s\": expected enforce, report, off or config", mode);
        return CTL_USAGE;
    }
    body = json_pack("{s:s, s:s}", "set", name, "mode", mode);
    if (body == NULL || (site != NULL && json_object_set_new(body, "site", json_string(site)) != 0))
        return ctl_fail("the names are not UTF-8");
    return change(args, "/api/v1/rules", body);
}

int cmd_rules_rollback(struct ctl_args *args)
{
    const char *revision = NULL;
    const struct ctl_option options[] = {{"", &revision, NULL}};
    uint64_t number = 0;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (revision == NULL || !str_to_u64(str_c(revision), INT64_MAX, &number)) {
        ctl_fail("rules rollback needs the number of a revision; see rules history");
        return CTL_USAGE;
    }
    return change(args, "/api/v1/rules/rollback",
                  json_pack("{s:I}", "revision", (json_int_t)number));
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
        return print_json(ask(args, "GET", "/api/v1/rules/history", STR("")));
    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, "GET", "/api/v1/rules/history", STR(""), &out, &f))
        state = rules_state_parse("state", buf_str(&out), &f);
    buf_free(&out);
    if (state == NULL)
        return ctl_fail("%s", f.text);
    for (size_t i = rules_state_history_cnt(state); i-- > 0;)
        print_revision(rules_state_history(state, i));
    rules_state_free(state);
    return CTL_OK;
}
