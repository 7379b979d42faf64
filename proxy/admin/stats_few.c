/*
 * stats_few.c - which figures of statistics are too small to be told, or would tell one that is
 * (few.h): marks them in the counters, as "?NAME".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/few.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "stats_few.h"

#define COLS_MAX 160
#define NAME_LEN 256

struct columns {
    char names[COLS_MAX][NAME_LEN];
    enum few_kind kinds[COLS_MAX];
    unsigned cnt;
};

static bool is_decision(enum consent_act act)
{
    return act == CONSENT_ACCEPT_ALL || act == CONSENT_REJECT_ALL || act == CONSENT_CUSTOM ||
           act == CONSENT_RENEW || act == CONSENT_GPC;
}

static void add(struct columns *c, enum few_kind kind, const char *before, struct str name,
                const char *behind)
{
    (void)snprintf(c->names[c->cnt], NAME_LEN, "%s%.*s%s", before, STR_ARGS(name), behind);
    c->kinds[c->cnt++] = kind;
}

/* Its pair is there: refused and granted name the same purpose. */
static bool has(const struct columns *c, struct str purpose)
{
    for (unsigned i = 0; i < c->cnt; i++) {
        struct str name = str_c(c->names[i]);

        if (c->kinds[i] == FEW_PAIR && name.len == purpose.len + 4 &&
            str_eq(str_slice(name, 2, name.len - 4), purpose))
            return true;
    }
    return false;
}

static void columns_of(const json_t *totals, struct columns *c)
{
    const char *name;
    json_t *value;

    add(c, FEW_ALONE, "", STR("imp"), "");
    add(c, FEW_ALONE, "", STR("count"), "");
    add(c, FEW_WHOLE, "", STR("decisions"), "");
    for (unsigned i = 1; i < CONSENT_ACT_CNT; i++)
        add(c, is_decision((enum consent_act)i) ? FEW_PART : FEW_ALONE,
            "act:", str_c(consent_act_name((enum consent_act)i)), "");
    json_object_foreach ((json_t *)(uintptr_t)totals, name, value) {
        struct str purpose = str_c(name);

        if (!str_starts(purpose, STR("g:")) || purpose.len < 5 || c->cnt + 2 > COLS_MAX)
            continue;
        purpose = str_slice(purpose, 2, purpose.len - 4);
        if (has(c, purpose))
            continue;
        add(c, FEW_PAIR, "g:", purpose, ":1");
        add(c, FEW_PAIR, "g:", purpose, ":0");
    }
}

static void fill(const struct columns *c, const json_t *counters, struct few_cell *row)
{
    uint64_t decisions = 0;

    for (unsigned i = 0; i < c->cnt; i++) {
        row[i].n = (uint64_t)json_integer_value(json_object_get(counters, c->names[i]));
        if (c->kinds[i] == FEW_PART)
            decisions += row[i].n;
    }
    row[2].n = decisions;
}

static void mark(const struct columns *c, const struct few_cell *row, json_t *counters)
{
    char name[NAME_LEN + 1];

    for (unsigned i = 0; i < c->cnt; i++) {
        (void)snprintf(name, sizeof(name), "?%s", c->names[i]);
        if (row[i].hidden)
            json_object_set_new(counters, name, json_true());
    }
}

void stats_few(json_t *rows, json_t *totals)
{
    struct columns *c = mem_new(struct columns);
    struct few_table t = {.rows = (unsigned)json_object_size(rows) + 1, .totals = true};
    struct few_cell *last;
    const char *name;
    json_t *counters;
    unsigned at = 0;

    columns_of(totals, c);
    t.cols = c->cnt;
    t.kinds = c->kinds;
    t.cells = mem_alloc((size_t)t.rows * t.cols * sizeof(*t.cells));
    memset(t.cells, 0, (size_t)t.rows * t.cols * sizeof(*t.cells));
    last = t.cells + (size_t)(t.rows - 1) * t.cols;
    fill(c, totals, last);
    json_object_foreach (rows, name, counters) {
        struct few_cell *row = t.cells + (size_t)at++ * t.cols;

        fill(c, counters, row);
        last[1].n += row[1].n; /* count: the sum is known from the acts */
    }
    few_hide(&t);
    at = 0;
    json_object_foreach (rows, name, counters)
        mark(c, t.cells + (size_t)at++ * t.cols, counters);
    mark(c, last, totals);
    free(t.cells);
    free(c);
}
