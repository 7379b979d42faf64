/*
 * stats_api.c - GET /api/v1/stats?from&to&by=day|purpose|lang|doc|ui[&suppress=1]
 *
 * Adds up the counters that Redis keeps per day (ship.h), so that the answer takes the same time
 * whatever the ledger's size. They are counted when records are applied and are not taken back by
 * an erasure; verification counts them again.
 *
 *   {"by":"day","from":"2026-11-01","to":"2026-11-30","suppressed":bool,
 *    "totals":{"imp":N,"act":{…},"decisions":N,"decision_permille":N,"withdrawals":N,"first":N,
 *              "change":N,"gpc":N,"operator":N,"purposes":{…}},
 *    "rows":[{"day":"2026-11-01","imp":N,"act":{…},"decisions":N,"decision_permille":N,
 *             "purposes":{"analytics":{"granted":N,"refused":N,"opt_in_permille":N,
 *             "effective_permille":N}}}, …]}
 *
 * A decision is an answer to the question as a whole; a withdrawal is none, and withdrawal_permille
 * is the withdrawals by the decisions of the same days. imp is how often the
 * question was shown (shown.h), decision_permille the decisions, and effective_permille the grants,
 * by that. By ui, the places where it was shown ("banner") are rows beside the methods of deciding.
 *
 * By lang, doc and ui, "incomplete" lists the days whose counters lack those groups (a ledger of an
 * earlier version counted them): they are in the acts, and not in the purposes, nor in the acts by
 * ui. Who wants them reads those days' records.
 *
 * suppress=1 leaves out every figure below FEW_BELOW (as null), and what another one could be told
 * from, within the rows and from the totals (few.h): for what is published. Who may not read
 * records gets nothing else.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/clock.h"
#include "consentd/few.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/query_text.h"
#include "consentd/record.h"
#include "consentd/redis.h"
#include "consentd/ship.h"
#include "stats_few.h"

#define DAY_MS       UINT64_C(86400000)
#define DAYS_MAX     4000 /* of one question */
#define DAYS_DEFAULT 30   /* without from */
#define AT_ONCE      16   /* days asked of Redis at a time */
#define ROWS_MAX     4096 /* groups; more are added up as "others" */

enum stats_by { BY_DAY = 0, BY_PURPOSE, BY_LANG, BY_DOC, BY_UI, BY_CNT };

static const char *const by_names[BY_CNT] = {"day", "purpose", "lang", "doc", "ui"};

struct stats;

/* One day that was asked for. */
struct stats_day {
    struct stats *stats;
    uint64_t day; /* since 1970 */
};

struct stats {
    struct admin_client *c; /* NULL: it hung up; freed when the last reply is in */
    enum stats_by by;
    bool suppress;
    uint64_t first, last, next; /* days */
    unsigned outstanding;
    bool failed;
    json_t *incomplete; /* days without counters of groups */
    json_t *rows;       /* group -> counters */
    json_t *totals;     /* counters */
    struct stats_day days[AT_ONCE];
    struct store_wait wait; /* for Redis, before the first day */
};

static void stats_free(struct stats *s)
{
    json_decref(s->incomplete);
    json_decref(s->rows);
    json_decref(s->totals);
    free(s);
}

static void drop(struct admin_client *c)
{
    struct stats *s = c->state;

    store_wait_cancel(s->c->admin->store, &s->wait);
    s->c = NULL;
    if (s->outstanding == 0)
        stats_free(s);
}

static const struct admin_job job = {.drop = drop};

/* --- adding up ------------------------------------------------------------------ */

static void add(json_t *counters, const char *name, uint64_t n)
{
    json_int_t old = json_integer_value(json_object_get(counters, name));

    json_object_set_new(counters, name, json_integer(old + (json_int_t)n));
}

/* The counters of a group, made if there is room. */
static json_t *group_of(const struct stats *s, struct str name)
{
    char text[256];
    json_t *group;

    (void)snprintf(text, sizeof(text), "%.*s", name.len < 255 ? (int)name.len : 255, name.ptr);
    group = json_object_get(s->rows, text);
    if (group == NULL && json_object_size(s->rows) >= ROWS_MAX) {
        (void)snprintf(text, sizeof(text), "others");
        group = json_object_get(s->rows, text);
    }
    if (group == NULL) {
        group = json_object();
        json_object_set_new(s->rows, text, group);
    }
    return group;
}

/* "lang:en:custom": the group "en" and its counter "act:custom". */
static void add_grouped(const struct stats *s, struct str rest, uint64_t n)
{
    ptrdiff_t colon = str_find_last_char(rest, ':');
    char name[64];

    if (colon < 0)
        return;
    (void)snprintf(name, sizeof(name), "act:%.*s",
                   (int)(rest.len - (size_t)colon - 1 < 40 ? rest.len - (size_t)colon - 1 : 40),
                   rest.ptr + colon + 1);
    add(group_of(s, str_slice(rest, 0, (size_t)colon)), name, n);
}

/* "gl:en:analytics:1": the group "en" and its counter "g:analytics:1". */
static void add_grouped_purpose(const struct stats *s, struct str rest, uint64_t n)
{
    ptrdiff_t last = str_find_last_char(rest, ':'), before;
    char name[64];

    before = last > 0 ? str_find_last_char(str_slice(rest, 0, (size_t)last), ':') : -1;
    if (before < 0)
        return;
    (void)snprintf(name, sizeof(name), "g:%.*s",
                   STR_ARGS(str_slice(rest, (size_t)before + 1, rest.len)));
    add(group_of(s, str_slice(rest, 0, (size_t)before)), name, n);
}

/* "lang:en", "doc:…", "ui:banner" of how often the question was shown. */
static void add_shown(const struct stats *s, struct str rest, uint64_t n)
{
    struct str kind;

    if (str_cut(&rest, ':', &kind) && str_eq_c(kind, by_names[s->by]))
        add(group_of(s, rest), "imp", n);
}

/* The groups of purposes and of acts: of days that have all of them. */
static void take_grouped(const struct stats *s, struct str name, uint64_t n)
{
    static const char *const kinds[BY_CNT] = {[BY_LANG] = "gl", [BY_DOC] = "gd", [BY_UI] = "gu"};
    struct str kind;

    if (!str_cut(&name, ':', &kind))
        return;
    if (kinds[s->by] != NULL && str_eq_c(kind, kinds[s->by]))
        add_grouped_purpose(s, name, n);
    else if (s->by == BY_UI && str_eq_c(kind, "au"))
        add_grouped(s, name, n);
}

static void take_counter(const struct stats *s, const char *day, struct str name, uint64_t n)
{
    struct str rest = name, kind;
    char text[256];

    (void)snprintf(text, sizeof(text), "%.*s", name.len < 255 ? (int)name.len : 255, name.ptr);
    if (!str_cut(&rest, ':', &kind))
        return;
    if (str_eq_c(kind, "imp") && rest.ptr != NULL) {
        add_shown(s, rest, n);
        return;
    }
    if (str_eq_c(kind, "act") || str_eq_c(kind, "g") || rest.ptr == NULL) {
        add(s->totals, text, n);
        if (s->by == BY_DAY)
            add(group_of(s, str_c(day)), text, n);
    }
    if (s->by == BY_PURPOSE && str_eq_c(kind, "g") && rest.len > 2)
        add(group_of(s, str_slice(rest, 0, rest.len - 2)), str_ends(rest, STR("1")) ? "1" : "0", n);
    if ((s->by == BY_LANG && str_eq_c(kind, "lang")) || (s->by == BY_DOC && str_eq_c(kind, "doc")))
        add_grouped(s, rest, n);
    if (s->by == BY_UI && str_eq_c(kind, "ui"))
        add(group_of(s, rest), "count", n);
}

/* --- answering ------------------------------------------------------------------ */

static uint64_t counter(const json_t *counters, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(counters, name));
}

static uint64_t decisions_of(const json_t *counters)
{
    return counter(counters, "act:accept_all") + counter(counters, "act:reject_all") +
           counter(counters, "act:custom") + counter(counters, "act:renew") +
           counter(counters, "act:gpc");
}

/* Marked as too few to be told, or as telling another one that is. */
static bool is_few(const json_t *counters, const char *name)
{
    char mark[320];

    (void)snprintf(mark, sizeof(mark), "?%s", name);
    return json_object_get(counters, mark) != NULL;
}

static json_t *figure(const json_t *counters, const char *name, uint64_t n)
{
    return is_few(counters, name) ? json_null() : json_integer((json_int_t)n);
}

static json_t *permille(uint64_t part, uint64_t all, bool few)
{
    return few || all == 0 ? json_null()
                           : json_integer((json_int_t)((part * 1000 + all / 2) / all));
}

struct purpose_figures {
    uint64_t granted, refused, imp;
    bool few, imp_few;
};

static json_t *purpose_json(const struct purpose_figures *p)
{
    json_t *out = json_object();

    json_object_set_new(out, "granted",
                        p->few ? json_null() : json_integer((json_int_t)p->granted));
    json_object_set_new(out, "refused",
                        p->few ? json_null() : json_integer((json_int_t)p->refused));
    json_object_set_new(out, "opt_in_permille",
                        permille(p->granted, p->granted + p->refused, p->few));
    json_object_set_new(out, "effective_permille",
                        permille(p->granted, p->imp, p->few || p->imp_few));
    return out;
}

/* Of "g:NAME:1" and "g:NAME:0" in counters. */
static json_t *purpose_of(const json_t *counters, const char *purpose, const json_t *shown)
{
    char yes[300], no[300];

    (void)snprintf(yes, sizeof(yes), "g:%s:1", purpose);
    (void)snprintf(no, sizeof(no), "g:%s:0", purpose);
    return purpose_json(&(struct purpose_figures){
        .granted = counter(counters, yes),
        .refused = counter(counters, no),
        .imp = counter(shown, "imp"),
        .few = is_few(counters, yes),
        .imp_few = is_few(shown, "imp"),
    });
}

/* Shown, acts, decisions and purposes of a set of counters, into out. */
static void put_counters(json_t *counters, json_t *out)
{
    uint64_t imp = counter(counters, "imp"), decisions = decisions_of(counters);
    uint64_t withdrawn = counter(counters, "act:withdraw");
    bool few = is_few(counters, "decisions");
    json_t *acts = json_object(), *purposes = json_object();
    const char *name;
    json_t *value;

    json_object_foreach (counters, name, value) {
        char key[256];

        if (strncmp(name, "act:", 4) == 0)
            json_object_set_new(acts, name + 4,
                                figure(counters, name, (uint64_t)json_integer_value(value)));
        if (strncmp(name, "g:", 2) != 0 || strlen(name) < 5)
            continue;
        (void)snprintf(key, sizeof(key), "%.*s", (int)(strlen(name) - 4), name + 2);
        json_object_set_new(purposes, key, purpose_of(counters, key, counters));
    }
    json_object_set_new(out, "imp", figure(counters, "imp", imp));
    json_object_set_new(out, "decisions", figure(counters, "decisions", decisions));
    json_object_set_new(out, "decision_permille",
                        permille(decisions, imp, few || is_few(counters, "imp")));
    json_object_set_new(out, "withdrawals", figure(counters, "act:withdraw", withdrawn));
    json_object_set_new(out, "withdrawal_permille",
                        permille(withdrawn, decisions, few || is_few(counters, "act:withdraw")));
    json_object_set_new(out, "act", acts);
    if (json_object_size(purposes) > 0)
        json_object_set_new(out, "purposes", purposes);
    else
        json_decref(purposes);
}

static json_t *row_json(const struct stats *s, const char *name, json_t *counters)
{
    json_t *row = json_object();
    uint64_t count = counter(counters, "count");

    json_object_set_new(row, by_names[s->by], json_string(name));
    if (s->by == BY_PURPOSE)
        json_object_update_new(row, purpose_of(s->totals, name, s->totals));
    else if (s->by == BY_UI && count == 0)
        json_object_set_new(row, "imp", figure(counters, "imp", counter(counters, "imp")));
    else
        put_counters(counters, row);
    if (s->by == BY_UI && count > 0)
        json_object_set_new(row, "count", figure(counters, "count", count));
    return row;
}

/* First choices and changes add up to the acts: one alone would tell the other. */
static void put_plain(const struct stats *s, json_t *out)
{
    static const char *const plain[] = {"first", "change", "gpc", "operator"};
    uint64_t n[COUNT_OF(plain)];
    bool few;

    for (size_t i = 0; i < COUNT_OF(plain); i++)
        n[i] = counter(s->totals, plain[i]);
    few = s->suppress && ((n[0] > 0 && n[0] < FEW_BELOW) || (n[1] > 0 && n[1] < FEW_BELOW));
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        json_object_set_new(out, plain[i],
                            (few && i < 2) || (s->suppress && n[i] < FEW_BELOW)
                                ? json_null()
                                : json_integer((json_int_t)n[i]));
}

static void put_day(json_t *out, const char *key, uint64_t day)
{
    char text[CLOCK_TEXT_MAX];

    (void)clock_format(day * DAY_MS, text);
    json_object_set_new(out, key, json_stringn(text, 10));
}

static void answer(struct stats *s)
{
    json_t *root = json_object(), *rows = json_array(), *totals = json_object();
    struct admin_client *c = s->c;
    const char *name;
    json_t *counters;
    char *text;

    if (s->suppress)
        stats_few(s->by == BY_PURPOSE ? NULL : s->rows, s->totals);
    json_object_foreach (s->rows, name, counters)
        json_array_append_new(rows, row_json(s, name, counters));
    put_counters(s->totals, totals);
    put_plain(s, totals);
    json_object_set_new(root, "by", json_string(by_names[s->by]));
    put_day(root, "from", s->first);
    put_day(root, "to", s->last);
    json_object_set_new(root, "suppressed", json_boolean(s->suppress));
    json_object_set_new(root, "totals", totals);
    json_object_set_new(root, "rows", rows);
    if (s->by == BY_LANG || s->by == BY_DOC || s->by == BY_UI)
        json_object_set(root, "incomplete", s->incomplete);
    text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    admin_answer(c, 200, "application/json", str_c(text));
    free(text);
}

/* --- asking ------------------------------------------------------------------ */

static void ask_days(struct stats *s);

static void on_settled(void *arg)
{
    ask_days(arg);
}

static void on_day(void *arg, const struct resp *reply)
{
    const struct stats_day *d = arg;
    struct stats *s = d->stats;
    bool grouped = ship_stats_grouped(reply);
    char day[CLOCK_TEXT_MAX];
    uint64_t n;

    s->outstanding--;
    s->failed = s->failed || reply == NULL || resp_type(reply) == RESP_ERROR;
    (void)clock_format(d->day * DAY_MS, day);
    day[10] = '\0';
    if (!grouped)
        json_array_append_new(s->incomplete, json_string(day));
    for (size_t i = 0; i + 1 < resp_cnt(reply); i += 2) {
        struct str name = resp_str(resp_at(reply, i));

        if (!str_to_u64(resp_str(resp_at(reply, i + 1)), UINT64_MAX, &n))
            continue;
        take_counter(s, day, name, n);
        if (grouped)
            take_grouped(s, name, n);
    }
    if (s->outstanding > 0)
        return;
    if (s->c == NULL)
        stats_free(s);
    else if (s->failed)
        admin_answer_error(s->c, 503, "Redis, which counts, is away");
    else if (s->next > s->last)
        answer(s);
    else
        ask_days(s);
}

/* The next days. Nothing is outstanding; the job is over when this could not ask. */
static void ask_days(struct stats *s)
{
    const struct query_log *log = store_log(s->c->admin->store);
    struct rlink *link = store_link(s->c->admin->store);
    char key[SHIP_STATS_KEY_MAX];

    for (unsigned i = 0; i < AT_ONCE && s->next <= s->last; i++, s->next++) {
        const struct str argv[] = {
            STR("HGETALL"),
            str_make(key, ship_stats_key(log->site, log->node, s->next * DAY_MS, key))};

        s->days[i] = (struct stats_day){s, s->next};
        if (link == NULL || !rlink_command(link, argv, COUNT_OF(argv), on_day, &s->days[i])) {
            s->failed = true;
            break;
        }
        s->outstanding++;
    }
    if (s->outstanding == 0)
        admin_answer_error(s->c, 503, "Redis, which counts, is away");
}

static bool take_range(struct stats *s, struct params *p, struct fault *f)
{
    uint64_t now = clock_wall_ms(), from, to = now + 1;
    struct str text = params_take(p, "to");

    if (text.ptr != NULL && (!query_time_parse(text, &to) || to == 0)) {
        fault_set(f, "to: expected 2026-11-01, 2026-11-01T12:00:00Z or milliseconds");
        return false;
    }
    from = to > DAYS_DEFAULT * DAY_MS ? to - DAYS_DEFAULT * DAY_MS : 0;
    text = params_take(p, "from");
    if (text.ptr != NULL && !query_time_parse(text, &from)) {
        fault_set(f, "from: expected 2026-11-01, 2026-11-01T12:00:00Z or milliseconds");
        return false;
    }
    s->first = s->next = from / DAY_MS;
    s->last = (to - 1) / DAY_MS;
    if (from < to && s->last - s->first < DAYS_MAX)
        return true;
    fault_set(f, "the range is empty, or has more than %d days", DAYS_MAX);
    return false;
}

static bool take_question(struct stats *s, struct params *p, struct fault *f)
{
    struct str by = params_take(p, "by");

    if (!params_flag(p, "suppress", &s->suppress, f))
        return false;
    s->suppress = s->suppress || !access_may(&s->c->peer, PERM_EVENTS_READ);
    for (size_t i = 0; i < BY_CNT; i++)
        if (str_eq_c(by, by_names[i]))
            s->by = (enum stats_by)i;
    if (by.ptr != NULL && !str_eq_c(by, by_names[s->by])) {
        fault_set(f, "by: expected day, purpose, lang, doc or ui");
        return false;
    }
    if (!take_range(s, p, f))
        return false;
    if (p->cnt == 0)
        return true;
    fault_set(f, "statistics take from, to, by and suppress");
    return false;
}

void stats_api(struct admin_client *c)
{
    struct fault f = {{0}};
    struct params params;
    struct stats *s;
    bool ok;

    if (!admin_params(c, &params))
        return;
    s = mem_new(struct stats);
    s->c = c;
    s->incomplete = json_array();
    s->rows = json_object();
    s->totals = json_object();
    s->wait = (struct store_wait){.fn = on_settled, .arg = s};
    admin_job_begin(c, &job, s);
    ok = take_question(s, &params, &f);
    params_free(&params);
    if (!ok)
        admin_answer_error(c, 400, "%s", f.text);
    else
        store_wait(c->admin->store, &s->wait);
}
