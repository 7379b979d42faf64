/*
 * rules_api.c - switching rule sets.
 *
 *   asked ─▶ new state made ─▶ oplog to the ledger ─▶ ack ─▶ file ─▶ workers ─▶ answered
 *
 * Nothing is in force before it is on record: without the ledger a change is refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/category.h"
#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/rules.h"
#include "consentd/ruleset.h"

static void answer_json(struct admin_client *c, unsigned status, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    admin_answer(c, status, "application/json", str_c(text));
    free(text);
    json_decref(value);
}

/* What the configuration says of a set; enforce when nothing. */
static const char *configured_mode(const struct config_site *site, const char *set)
{
    enum config_mode mode = CONFIG_MODE_ENFORCE;

    for (size_t i = 0; i < site->rule_set_cnt; i++) {
        if (strcmp(site->rule_sets[i].set, set) == 0)
            mode = site->rule_sets[i].mode;
    }
    return rule_mode_name(mode == CONFIG_MODE_OFF      ? RULE_OFF
                          : mode == CONFIG_MODE_REPORT ? RULE_REPORT
                                                       : RULE_ENFORCE);
}

/* {"id", "name", "categories", "modes": {SITE: mode in force}, "switched": bool} */
static json_t *set_json(const struct admin *a, const struct ruleset *set)
{
    const struct config *config = a->setup.config;
    char categories[CATEGORY_LIST_MAX];
    json_t *modes = json_object();
    bool switched = false;

    for (size_t i = 0; i < config->site_cnt; i++) {
        const struct config_site *site = &config->sites[i];
        enum rules_choice choice = rules_state_choice(a->state, set->id, site->name);
        const char *mode = choice == RULES_CHOICE_CONFIG ? configured_mode(site, set->id)
                                                         : rules_choice_name(choice);

        switched = switched || choice != RULES_CHOICE_CONFIG;
        json_object_set_new(modes, site->name, json_string(mode));
    }
    categories_list(rules_categories(a->setup.rules), set->categories, categories);
    return json_pack("{s:s, s:s, s:s, s:b, s:o}", "id", set->id, "name", set->name, "categories",
                     categories, "switched", switched, "modes", modes);
}

void rules_api_list(struct admin_client *c)
{
    const struct admin *a = c->admin;
    const struct rules *rules = a->setup.rules;
    json_t *sets = json_array();

    for (size_t i = 0; i < rules_set_cnt(rules); i++) {
        if (rules_set_site(rules, i) == RULES_OWN_SITE_NONE)
            json_array_append_new(sets, set_json(a, rules_set(rules, i)));
    }
    answer_json(c, 200,
                json_pack("{s:I, s:o}", "revision", (json_int_t)rules_state_revision(a->state),
                          "sets", sets));
}

void rules_api_history(struct admin_client *c)
{
    struct buf text;

    buf_init(&text, RULES_STATE_TEXT_MAX);
    if (rules_state_write(c->admin->state, &text))
        admin_answer(c, 200, "application/json", buf_str(&text));
    else
        admin_answer_error(c, 500, "the history is too large");
    buf_free(&text);
}

/* Where a person is, for the record. */
static const char *from_of(const struct admin_client *c, char out[64])
{
    (void)snprintf(out, 64, "uid:%lld", (long long)(int)c->peer.uid);
    return out;
}

/* "reason": why, for the record. A member that is misspelt would be one that is left out. */
static bool apply_set(struct rules_state *state, const struct admin *a, const json_t *request,
                      const struct rules_author *author, struct fault *f)
{
    static const char *const members[] = {"set", "mode", "site", "reason"};
    struct json_at root = json_at_root("request", STR(""), request);
    const char *set = json_string_value(json_object_get(request, "set"));
    const char *mode = json_string_value(json_object_get(request, "mode"));
    const char *site = json_string_value(json_object_get(request, "site"));
    struct str text = {NULL, 0};
    enum rules_choice choice;

    if (!json_at_only(&root, members, COUNT_OF(members), f) ||
        !json_at_key_str(&root, "site", JSON_MAY, &text, f))
        return false;
    if (set == NULL || mode == NULL || !rules_choice_parse(str_c(mode), &choice)) {
        fault_set(f, "expected \"set\" and \"mode\": enforce, report, off or config");
        return false;
    }
    if (rules_find(a->setup.rules, str_c(set)) < 0) {
        const char *near = rules_nearest(a->setup.rules, set);

        fault_set(f, "there is no rule set \"%s\"%s%s%s", set,
                  near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                  near != NULL ? "\"?" : "");
        return false;
    }
    if (site != NULL && rules_find_site(a->setup.rules, str_c(site)) < 0) {
        fault_set(f, "there is no site \"%s\"", site);
        return false;
    }
    return rules_state_set(state, set, site, choice, author, f);
}

static bool apply(struct rules_state *state, const struct admin_client *c, const json_t *request,
                  bool rollback, struct fault *f)
{
    static const char *const members[] = {"revision", "reason"};
    struct json_at root = json_at_root("request", STR(""), request);
    const json_t *revision = json_object_get(request, "revision");
    char from[64];
    struct rules_author author = {
        .at_ms = clock_wall_ms(), .who = c->peer.name, .from = from_of(c, from)};

    if (!rollback)
        return apply_set(state, c->admin, request, &author, f);
    if (!json_at_only(&root, members, COUNT_OF(members), f))
        return false;
    if (!json_is_integer(revision) || json_integer_value(revision) < 0) {
        fault_set(f, "expected \"revision\": a number");
        return false;
    }
    return rules_state_rollback(state, (uint64_t)json_integer_value(revision), &author, f);
}

static void change_end(struct admin *a)
{
    rules_state_free(a->change.state);
    buf_free(&a->change.text);
    a->change = (struct admin_change){0};
    timer_clear(&a->deadline);
    a->setup.on_idle(a->setup.owner);
}

/* The record: the request as it came, who, and which revision it makes. 0, or what to answer. */
static unsigned send_oplog(struct admin *a, const struct admin_client *c, const json_t *request)
{
    uint8_t *message = mem_alloc(LEDGER_OPLOG_MSG_MAX);
    char from[64];
    json_t *record = json_pack(
        "{s:s, s:s, s:s, s:I, s:O}", "op", "rules", "who", c->peer.name, "from", from_of(c, from),
        "revision", (json_int_t)rules_state_revision(a->change.state), "request", request);
    char *text = record != NULL ? json_dumps(record, JSON_COMPACT) : NULL;
    size_t len = text != NULL ? ledger_oplog_encode(a->change.request, str_c(text), message,
                                                    LEDGER_OPLOG_MSG_MAX)
                              : 0;
    bool ok = len > 0 && a->ledger != NULL && ipc_send(a->ledger, IPC_OPLOG, message, len, -1);
    json_decref(record);
    free(text);
    free(message);
    return ok ? 0 : len == 0 ? 413 : 503;
}

/* A copy to change: by way of its text, so that a failed change leaves no trace. */
static struct rules_state *copy_state(const struct rules_state *state, struct fault *f)
{
    struct rules_state *copy = NULL;
    struct buf text;

    buf_init(&text, RULES_STATE_TEXT_MAX);
    if (rules_state_write(state, &text))
        copy = rules_state_parse("rules.json", buf_str(&text), f);
    buf_free(&text);
    return copy;
}

static void change(struct admin_client *c, bool rollback)
{
    struct admin *a = c->admin;
    struct fault why = {.text = "the state is too large"};
    unsigned refused;

    if (a->change.state != NULL) {
        admin_answer_error(c, 409, "another change is under way");
        return;
    }
    json_t *request = json_load_text("request", c->rq.body, 0, &why);
    struct rules_state *state = request != NULL ? copy_state(a->state, &why) : NULL;
    a->change.state = state;
    a->change.request = ++a->next_request;
    buf_init(&a->change.text, RULES_STATE_TEXT_MAX);
    if (state == NULL || !apply(state, c, request, rollback, &why) ||
        !rules_state_write(state, &a->change.text)) {
        change_end(a);
        admin_answer_error(c, 400, "%s", why.text);
    } else if ((refused = send_oplog(a, c, request)) != 0) {
        change_end(a);
        admin_answer_error(c, refused, "%s",
                           refused == 413 ? "the request is too long to be put on record"
                                          : "the ledger is away: a change must be on record first");
    } else {
        a->change.client = c;
        timer_set(&a->deadline, ADMIN_CHANGE_MS);
    }
    json_decref(request);
}

void rules_api_set(struct admin_client *c)
{
    change(c, false);
}

void rules_api_rollback(struct admin_client *c)
{
    change(c, true);
}

void rules_api_acked(struct admin *a, uint64_t request, bool recorded)
{
    struct admin_change *change = &a->change;
    struct fault why = {.text = "the ledger could not record it"};

    if (change->state == NULL || change->request != request || change->sent)
        return;
    if (!recorded ||
        !file_write_atomic(a->rules_path, change->text.data, change->text.len, 0640, &why)) {
        log_error("rules.refused", "reason=\"%s\"", why.text);
        if (change->client != NULL)
            admin_answer_error(change->client, 503, "%s", why.text);
        change_end(a);
        return;
    }
    rules_state_free(a->state);
    a->state = copy_state(change->state, &why);
    ASSERT(a->state != NULL); /* its own text was just written and read */
    change->sent = true;
    log_info("rules.changed", "revision=%llu", (unsigned long long)rules_state_revision(a->state));
    a->setup.on_rules(a->setup.owner, rules_state_revision(a->state), request,
                      buf_str(&change->text));
}

static void answer_change(struct admin *a)
{
    if (a->change.client != NULL)
        answer_json(a->change.client, 200,
                    json_pack("{s:I, s:i, s:i}", "revision",
                              (json_int_t)rules_state_revision(a->state), "confirmed",
                              (int)a->change.confirmed, "workers", (int)a->change.workers));
    change_end(a);
}

void rules_api_done(struct admin *a, const struct ipc_rules_done *done)
{
    if (!a->change.sent || done->request != a->change.request)
        return;
    a->change.confirmed = done->confirmed;
    a->change.workers = done->workers;
    if (done->confirmed >= done->workers)
        answer_change(a);
}

void rules_api_expired(struct admin *a)
{
    if (a->change.state == NULL)
        return;
    if (a->change.sent) {
        answer_change(a);
        return;
    }
    if (a->change.client != NULL)
        admin_answer_error(a->change.client, 503, "the ledger did not answer in time");
    change_end(a);
}

bool admin_is_busy(const struct admin *a)
{
    return a->change.state != NULL;
}
