/*
 * audit_stats.c - contract in audit_stats.h.
 *
 * Groups are kept sorted by name and found by bisection; the one found last is tried first, as
 * the ledger is read in the order of time. A decision is an answer to the question as a whole:
 * accept_all, reject_all, custom, renew, gpc. A withdrawal is none: it would be counted as a
 * refusal a second time, and the rate of opt-in would fall when people come back.
 */
#include "audit_stats.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/few.h"
#include "consentd/mem.h"

#define NAME_LEN 64 /* of a group, with the end */

/* Columns of what may be left out: shown, decisions, acts by number, purposes in pairs. */
enum { COL_SHOWN = 0, COL_DECIDED, COL_ACTS, COL_PURPOSES = COL_ACTS + CONSENT_ACT_CNT };
#define COLS (COL_PURPOSES + 2 * STATS_PURPOSES_MAX)

struct tally {
    uint64_t granted, refused;
};

struct group {
    char name[NAME_LEN];
    uint64_t acts[CONSENT_ACT_CNT];
    struct tally purposes[STATS_PURPOSES_MAX];
    uint64_t shown;
    bool few[COLS]; /* of the figures that are left out; by column */
};

struct audit_stats {
    enum stats_by by;
    struct group *groups[STATS_GROUPS_MAX]; /* owned; sorted by name */
    unsigned group_cnt;
    struct group *last;                          /* found last; one of groups */
    char purposes[STATS_PURPOSES_MAX][NAME_LEN]; /* index of struct group's purposes */
    unsigned purpose_cnt;
    unsigned order[STATS_PURPOSES_MAX]; /* in which they are printed */
    uint64_t closed, tampered;
    bool knows_shown, suppress;
};

static const char *const by_names[STATS_BY_CNT] = {"day", "lang", "notice", "method"};

static const enum consent_act decisions[] = {CONSENT_ACCEPT_ALL, CONSENT_REJECT_ALL, CONSENT_CUSTOM,
                                             CONSENT_RENEW, CONSENT_GPC};

bool stats_by_parse(struct str s, enum stats_by *out)
{
    for (size_t i = 0; i < COUNT_OF(by_names); i++)
        if (str_eq_c(s, by_names[i])) {
            *out = (enum stats_by)i;
            return true;
        }
    return false;
}

struct audit_stats *audit_stats_new(enum stats_by by)
{
    struct audit_stats *stats = mem_new(struct audit_stats);

    stats->by = by;
    return stats;
}

void audit_stats_free(struct audit_stats *stats)
{
    if (stats == NULL)
        return;
    for (unsigned i = 0; i < stats->group_cnt; i++)
        free(stats->groups[i]);
    free(stats);
}

/* --- counting ---------------------------------------------------------------------------- */

/* The group of this name, made if there is room; the last place is kept for STATS_OTHERS. */
static struct group *group_of(struct audit_stats *stats, const char *name)
{
    unsigned low = 0, high = stats->group_cnt;

    if (stats->last != NULL && strcmp(stats->last->name, name) == 0)
        return stats->last;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        int order = strcmp(stats->groups[mid]->name, name);

        if (order == 0)
            return stats->last = stats->groups[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (stats->group_cnt + 1 >= STATS_GROUPS_MAX && strcmp(name, STATS_OTHERS) != 0)
        return group_of(stats, STATS_OTHERS);
    memmove(&stats->groups[low + 1], &stats->groups[low],
            (stats->group_cnt - low) * sizeof(stats->groups[0]));
    stats->groups[low] = mem_new(struct group);
    (void)snprintf(stats->groups[low]->name, NAME_LEN, "%s", name);
    stats->group_cnt++;
    return stats->last = stats->groups[low];
}

/* Counters are not sealed, and named by whoever can write to Redis: as records name things. */
static struct str clean(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!ascii_is_alnum(name.ptr[i]) &&
            (name.ptr[i] == '\0' || strchr("._-:", name.ptr[i]) == NULL))
            return STR("?");
    return name.len <= NAME_LEN - 3 ? name : STR("?");
}

static unsigned purpose_of(struct audit_stats *stats, struct str name)
{
    for (unsigned i = 0; i < stats->purpose_cnt; i++)
        if (str_eq_c(name, stats->purposes[i]))
            return i;
    if (stats->purpose_cnt + 1 >= STATS_PURPOSES_MAX) /* the last place holds all others */
        name = STR(STATS_OTHERS);
    if (stats->purpose_cnt == STATS_PURPOSES_MAX)
        return STATS_PURPOSES_MAX - 1;
    (void)snprintf(stats->purposes[stats->purpose_cnt], NAME_LEN, "%.*s", STR_ARGS(name));
    return stats->purpose_cnt++;
}

static void group_name(enum stats_by by, const struct query_row *row, char out[NAME_LEN])
{
    const struct consent_event *ev = &row->view.event;
    char when[CLOCK_TEXT_MAX], doc[B64_LEN(RECORD_ID_LEN) + 1];

    switch (by) {
    case STATS_BY_LANG:
        (void)snprintf(out, NAME_LEN, "%.*s", STR_ARGS(ev->lang));
        break;
    case STATS_BY_NOTICE:
        b64url_encode(doc, ev->doc, sizeof(ev->doc));
        (void)snprintf(out, NAME_LEN, "d_%s", doc);
        break;
    case STATS_BY_METHOD:
        (void)snprintf(out, NAME_LEN, "%.*s", STR_ARGS(ev->method));
        break;
    case STATS_BY_DAY:
    case STATS_BY_CNT:
        (void)snprintf(out, NAME_LEN, "%.10s", clock_format(row->ts_ms, when));
        break;
    }
}

const char *stats_by_api_name(enum stats_by by)
{
    static const char *const names[STATS_BY_CNT] = {"day", "lang", "doc", "ui"};

    return names[by];
}

void audit_stats_asked(struct audit_stats *stats)
{
    stats->knows_shown = true;
}

static uint64_t number_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void add_counters(struct audit_stats *stats, struct group *g, const json_t *row)
{
    json_t *acts = json_object_get(row, "act"), *purposes = json_object_get(row, "purposes");
    const char *name;
    json_t *value;

    for (unsigned i = 1; i < CONSENT_ACT_CNT; i++)
        g->acts[i] += number_of(acts, consent_act_name((enum consent_act)i));
    json_object_foreach (purposes, name, value) {
        struct tally *t = &g->purposes[purpose_of(stats, clean(str_c(name)))];

        t->granted += number_of(value, "granted");
        t->refused += number_of(value, "refused");
    }
}

void audit_stats_counters(struct audit_stats *stats, const json_t *row, unsigned what)
{
    const char *name = json_string_value(json_object_get(row, stats_by_api_name(stats->by)));
    uint64_t shown = (what & STATS_SHOWN) != 0 ? number_of(row, "imp") : 0;
    bool decided = (what & STATS_DECIDED) != 0;
    char text[NAME_LEN];
    struct group *g;

    stats->knows_shown = true;
    if (name == NULL ||
        (shown == 0 && (!decided || json_object_size(json_object_get(row, "act")) == 0)))
        return; /* of no interest: operators' acts alone */
    (void)snprintf(text, sizeof(text), "%s%.*s", stats->by == STATS_BY_NOTICE ? "d_" : "",
                   STR_ARGS(clean(str_c(name))));
    g = group_of(stats, text);
    g->shown += shown;
    if (decided)
        add_counters(stats, g, row);
}

void audit_stats_suppress(struct audit_stats *stats)
{
    stats->suppress = true;
}

static bool is_decision(enum consent_act act)
{
    for (size_t i = 0; i < COUNT_OF(decisions); i++)
        if (decisions[i] == act)
            return true;
    return false;
}

void audit_stats_add(struct audit_stats *stats, const struct query_row *row)
{
    char name[NAME_LEN];
    struct group *g;

    if (row->status != QUERY_ROW_OK) {
        if (row->status == QUERY_ROW_TAMPERED)
            stats->tampered++;
        else
            stats->closed++;
        return;
    }
    if (row->kind != RECORD_EVENT)
        return;
    group_name(stats->by, row, name);
    g = group_of(stats, name);
    g->acts[row->view.event.act]++;
    if (!is_decision(row->view.event.act))
        return;
    for (unsigned i = 0; i < row->view.grant_cnt; i++)
        g->purposes[purpose_of(stats, row->view.grants[i])].granted++;
    for (unsigned i = 0; i < row->view.deny_cnt; i++)
        g->purposes[purpose_of(stats, row->view.denies[i])].refused++;
}

uint64_t audit_stats_closed(const struct audit_stats *stats)
{
    return stats->closed;
}

uint64_t audit_stats_tampered(const struct audit_stats *stats)
{
    return stats->tampered;
}

/* --- printing ------------------------------------------------------------------------------ */

static uint64_t decided(const struct group *g)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < COUNT_OF(decisions); i++)
        sum += g->acts[decisions[i]];
    return sum;
}

/* All figures of a group, as few.h wants them. */
static void fill(const struct group *g, struct few_cell *row)
{
    row[COL_SHOWN].n = g->shown;
    row[COL_DECIDED].n = decided(g);
    for (unsigned i = 0; i < CONSENT_ACT_CNT; i++)
        row[COL_ACTS + i].n = g->acts[i];
    for (size_t i = 0; i < STATS_PURPOSES_MAX; i++) {
        row[COL_PURPOSES + 2 * i].n = g->purposes[i].granted;
        row[COL_PURPOSES + 2 * i + 1].n = g->purposes[i].refused;
    }
}

/* Marks in all groups what must not be told. */
static void find_few(struct audit_stats *stats)
{
    enum few_kind kinds[COLS] = {[COL_SHOWN] = FEW_ALONE, [COL_DECIDED] = FEW_WHOLE};
    struct few_table t = {.rows = stats->group_cnt, .cols = COLS, .kinds = kinds};
    size_t size = (size_t)t.rows * COLS * sizeof(struct few_cell);

    if (!stats->suppress || t.rows == 0)
        return;
    for (size_t i = 0; i < COUNT_OF(decisions); i++)
        kinds[COL_ACTS + decisions[i]] = FEW_PART;
    for (unsigned i = COL_PURPOSES; i < COLS; i++)
        kinds[i] = FEW_PAIR;
    t.cells = mem_alloc(size);
    memset(t.cells, 0, size);
    for (unsigned i = 0; i < t.rows; i++)
        fill(stats->groups[i], t.cells + (size_t)i * COLS);
    few_hide(&t);
    for (unsigned i = 0; i < t.rows; i++)
        for (size_t k = 0; k < COLS; k++)
            stats->groups[i]->few[k] = t.cells[(size_t)i * COLS + k].hidden;
    free(t.cells);
}

#define FIGURE_LEN 24

/* "12.3" percent by whole numbers, so that every machine prints the same; "" of nothing. */
static const char *percent(uint64_t part, uint64_t all, bool few, char out[FIGURE_LEN])
{
    uint64_t tenths = all > 0 ? (part * 1000 + all / 2) / all : 0;

    out[0] = '\0';
    if (all > 0 && !few)
        (void)snprintf(out, FIGURE_LEN, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
    return out;
}

static bool purpose_is_few(const struct group *g, unsigned k)
{
    return g->few[COL_PURPOSES + 2 * (size_t)k];
}

static const char *opt_in(const struct group *g, unsigned k, char out[FIGURE_LEN])
{
    const struct tally *t = &g->purposes[k];

    return percent(t->granted, t->granted + t->refused, purpose_is_few(g, k), out);
}

/* Decisions by the number of times the question was shown. */
static const char *decided_rate(const struct group *g, char out[FIGURE_LEN])
{
    return percent(decided(g), g->shown, g->few[COL_DECIDED] || g->few[COL_SHOWN], out);
}

/* A number, or what stands for one that is too small. */
static const char *figure(uint64_t n, bool few, const char *instead, char out[FIGURE_LEN])
{
    if (few)
        (void)snprintf(out, FIGURE_LEN, "%s", instead);
    else
        (void)snprintf(out, FIGURE_LEN, "%" PRIu64, n);
    return out;
}

/* Withdrawals by the decisions of the same time and group. */
static const char *withdrawn_rate(const struct group *g, char out[FIGURE_LEN])
{
    return percent(g->acts[CONSENT_WITHDRAW], decided(g),
                   g->few[COL_ACTS + CONSENT_WITHDRAW] || g->few[COL_DECIDED], out);
}

static void print_jsonl(FILE *out, const struct audit_stats *stats, const struct group *g)
{
    char n[FIGURE_LEN], m[FIGURE_LEN];
    const char *comma = "";

    (void)fprintf(out, "{\"%s\":\"%s\"", by_names[stats->by], g->name);
    if (stats->knows_shown)
        (void)fprintf(out, ",\"shown\":%s", figure(g->shown, g->few[COL_SHOWN], "null", n));
    (void)fprintf(out, ",\"decisions\":%s,\"acts\":{",
                  figure(decided(g), g->few[COL_DECIDED], "null", n));
    for (unsigned i = 1; i < CONSENT_ACT_CNT; i++)
        if (g->acts[i] > 0) {
            (void)fprintf(out, "%s\"%s\":%s", comma, consent_act_name((enum consent_act)i),
                          figure(g->acts[i], g->few[COL_ACTS + i], "null", n));
            comma = ",";
        }
    (void)fputs("},\"purposes\":{", out);
    comma = "";
    for (unsigned i = 0; i < stats->purpose_cnt; i++) {
        unsigned k = stats->order[i];
        const struct tally *t = &g->purposes[k];
        bool few = purpose_is_few(g, k);

        (void)fprintf(out, "%s\"%s\":{\"granted\":%s,\"refused\":%s}", comma, stats->purposes[k],
                      figure(t->granted, few, "null", n), figure(t->refused, few, "null", m));
        comma = ",";
    }
    (void)fputs("}}\n", out);
}

/* Of the figures that every line of a group begins and ends with. */
struct csv_cells {
    char decided[FIGURE_LEN], withdrawn[FIGURE_LEN], shown[FIGURE_LEN];
    char rate[FIGURE_LEN], back[FIGURE_LEN];
};

/* One line per group and purpose, what a spreadsheet's pivot table reads. */
static void print_csv(FILE *out, const struct audit_stats *stats, const struct group *g)
{
    char n[2][FIGURE_LEN], share[FIGURE_LEN] = "";
    struct csv_cells c;

    (void)figure(decided(g), g->few[COL_DECIDED], "", c.decided);
    (void)figure(g->acts[CONSENT_WITHDRAW], g->few[COL_ACTS + CONSENT_WITHDRAW], "", c.withdrawn);
    (void)figure(g->shown, !stats->knows_shown || g->few[COL_SHOWN], "", c.shown);
    (void)decided_rate(g, c.rate);
    (void)withdrawn_rate(g, c.back);
    for (unsigned i = 0; i < stats->purpose_cnt || i == 0; i++) {
        bool any = i < stats->purpose_cnt; /* else it was shown, and nobody decided */
        unsigned k = any ? stats->order[i] : 0;
        bool few = !any || purpose_is_few(g, k);

        audit_print_cell(out, str_c(g->name), false);
        audit_print_cell(out, any ? str_c(stats->purposes[k]) : STR(""), false);
        (void)fprintf(out, "%s,%s,%s,%s,%s,%s,%s,%s\r\n", c.decided, c.withdrawn,
                      figure(g->purposes[k].granted, few, "", n[0]),
                      figure(g->purposes[k].refused, few, "", n[1]), any ? opt_in(g, k, share) : "",
                      c.shown, c.rate, c.back);
    }
}

/* What is small says so; what goes with it is just not told. */
static const char *left_out(uint64_t n)
{
    return n < FEW_BELOW ? "<10" : "-";
}

/* A share in a table's column. */
static void print_share(FILE *out, int width, const char *share)
{
    (void)fprintf(out, "  %*s%s", width, share[0] != '\0' ? share : "-",
                  share[0] != '\0' ? "%" : " ");
}

static void print_table(FILE *out, const struct audit_stats *stats, const struct group *g)
{
    uint64_t withdrawn = g->acts[CONSENT_WITHDRAW];
    char n[FIGURE_LEN], share[FIGURE_LEN];

    (void)fprintf(out, "%-24s", g->name[0] != '\0' ? g->name : "-");
    if (stats->knows_shown)
        (void)fprintf(out, "  %9s", figure(g->shown, g->few[COL_SHOWN], left_out(g->shown), n));
    (void)fprintf(out, "  %9s", figure(decided(g), g->few[COL_DECIDED], left_out(decided(g)), n));
    if (stats->knows_shown)
        print_share(out, 7, decided_rate(g, share));
    (void)fprintf(out, "  %9s",
                  figure(withdrawn, g->few[COL_ACTS + CONSENT_WITHDRAW], left_out(withdrawn), n));
    print_share(out, 6, withdrawn_rate(g, share));
    for (unsigned i = 0; i < stats->purpose_cnt; i++)
        print_share(out, 14, opt_in(g, stats->order[i], share));
    (void)fputc('\n', out);
}

static void print_head(FILE *out, enum audit_format format, const struct audit_stats *stats)
{
    if (format == AUDIT_CSV)
        (void)fprintf(out,
                      "%s,purpose,decisions,withdrawals,granted,refused,opt_in_percent,shown,"
                      "decided_percent,withdrawn_percent\r\n",
                      by_names[stats->by]);
    if (format != AUDIT_TABLE)
        return;
    (void)fprintf(out, "%-24s", by_names[stats->by]);
    if (stats->knows_shown)
        (void)fprintf(out, "  %9s", "shown");
    (void)fprintf(out, "  %9s", "decisions");
    if (stats->knows_shown)
        (void)fprintf(out, "  %8s", "decided");
    (void)fprintf(out, "  %9s  %7s", "withdrawn", "rate");
    for (unsigned i = 0; i < stats->purpose_cnt; i++)
        (void)fprintf(out, "  %15s", stats->purposes[stats->order[i]]);
    (void)fputc('\n', out);
}

/* Purposes in the order of their names, whichever record came first. */
static void sort_purposes(struct audit_stats *stats)
{
    for (unsigned i = 0; i < stats->purpose_cnt; i++) {
        unsigned at = i;

        for (; at > 0 && strcmp(stats->purposes[stats->order[at - 1]], stats->purposes[i]) > 0;
             at--)
            stats->order[at] = stats->order[at - 1];
        stats->order[at] = i;
    }
}

void audit_stats_print(FILE *out, enum audit_format format, struct audit_stats *stats)
{
    sort_purposes(stats);
    find_few(stats);
    print_head(out, format, stats);
    for (unsigned i = 0; i < stats->group_cnt; i++)
        switch (format) {
        case AUDIT_CSV:
            print_csv(out, stats, stats->groups[i]);
            break;
        case AUDIT_JSONL:
            print_jsonl(out, stats, stats->groups[i]);
            break;
        case AUDIT_TABLE:
            print_table(out, stats, stats->groups[i]);
            break;
        }
}
