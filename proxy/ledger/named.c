/*
 * named.c - contract in consentd/named.h.
 */
#include "consentd/named.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/erased.h"
#include "consentd/json.h"
#include "consentd/keks.h"
#include "consentd/mem.h"
#include "consentd/record.h"

/* Leaves, unsorted until they are compared. */
struct leaves {
    uint64_t *items; /* owned */
    size_t cnt, cap;
};

struct named {
    uint8_t node;
    struct leaves missing;  /* to be named */
    struct leaves named;    /* by erase records */
    uint32_t missing_month; /* the oldest one of a missing leaf: none of theirs is older */
    uint64_t first;         /* leaf that was there, or is known to be missing */
    uint32_t dropped_month; /* the newest one of which a record was read; 0: none */
    uint64_t kept_from;     /* as that record says */
    uint32_t ordered_month; /* the newest one that somebody dropped, by a record; 0: none */
};

struct named *named_new(uint8_t node)
{
    struct named *n = mem_new(struct named);

    n->node = node;
    n->first = UINT64_MAX;
    return n;
}

void named_free(struct named *n)
{
    if (n == NULL)
        return;
    free(n->missing.items);
    free(n->named.items);
    free(n);
}

static void add(struct leaves *list, uint64_t leaf)
{
    if (list->cnt == list->cap) {
        list->cap = list->cap == 0 ? 1024 : list->cap * 2;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
    }
    list->items[list->cnt++] = leaf;
}

void named_leaf(struct named *n, uint64_t leaf)
{
    if (leaf < n->first)
        n->first = leaf;
}

void named_missing(struct named *n, uint64_t leaf, uint32_t month)
{
    named_leaf(n, leaf);
    if (n->missing.cnt == 0 || month < n->missing_month)
        n->missing_month = month;
    add(&n->missing, leaf);
}

/* --- records ------------------------------------------------------------------------------ */

static void read_erase(struct named *n, const json_t *op)
{
    const json_t *leaves = json_object_get(op, "leaves");

    for (size_t i = 0; i < json_array_size(leaves); i++)
        add(&n->named, (uint64_t)json_integer_value(json_array_get(leaves, i)));
}

static void read_dropped(struct named *n, const json_t *op)
{
    const json_t *month = json_object_get(op, "month");
    const json_t *kept = json_object_get(op, "kept_from");

    if (json_integer_value(json_object_get(op, "node")) != n->node || !json_is_integer(month) ||
        !json_is_integer(kept) || json_integer_value(month) < n->dropped_month)
        return;
    n->dropped_month = (uint32_t)json_integer_value(month);
    n->kept_from = (uint64_t)json_integer_value(kept);
}

static void read_order(struct named *n, const json_t *op)
{
    json_int_t month = json_integer_value(json_object_get(op, "month"));

    if (month > n->ordered_month && month <= UINT32_MAX)
        n->ordered_month = (uint32_t)month;
}

void named_read(struct named *n, struct str json)
{
    json_t *root = json_load_text("record", json, 0, NULL);
    const json_t *op = json_object_get(root, "op");
    const char *act = json_string_value(json_object_get(op, "act"));

    if (act != NULL && strcmp(act, "erase") == 0)
        read_erase(n, op);
    else if (act != NULL && strcmp(act, "month_dropped") == 0)
        read_dropped(n, op);
    else if (act != NULL && strcmp(act, "drop_month") == 0)
        read_order(n, op);
    json_decref(root);
}

/* --- erasures ----------------------------------------------------------------------------- */

static int by_leaf(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool has(const struct leaves *list, uint64_t leaf)
{
    return list->cnt > 0 &&
           bsearch(&leaf, list->items, list->cnt, sizeof(*list->items), by_leaf) != NULL;
}

/*
 * An erase record is behind the records that it names, so whoever read from one of these on to the
 * end has met it, wherever the reading began. Its own month may be dropped by now: not an older
 * one than theirs.
 */
static bool may_be_unnamed(const struct named *n, const struct named_ask *ask)
{
    if (!ask->to_end && n->first > 0)
        return true;
    for (size_t i = 0; i < erased_month_cnt(ask->list); i++) {
        uint32_t month = erased_month(ask->list, i);

        if (month >= n->missing_month && keks_get(ask->keks, month) == NULL)
            return true;
    }
    return false;
}

static enum verify_status say_leaf(enum verify_status status, uint64_t leaf,
                                   char what[NAMED_WHAT_MAX])
{
    (void)snprintf(what, NAMED_WHAT_MAX, "leaf %" PRIu64, leaf);
    return status;
}

static enum verify_status judge_erasures(struct named *n, const struct named_ask *ask,
                                         char what[NAMED_WHAT_MAX], struct fault *f)
{
    if (n->missing.cnt == 0 || may_be_unnamed(n, ask))
        return VERIFY_OK;
    if (n->named.cnt > 0)
        qsort(n->named.items, n->named.cnt, sizeof(*n->named.items), by_leaf);
    for (size_t i = 0; i < n->missing.cnt; i++) {
        uint64_t leaf = n->missing.items[i];
        const struct erasure *x = erased_of(ask->list, leaf);

        if (has(&n->named, leaf))
            continue;
        if (x != NULL && (!x->named || x->logged < x->ref_cnt)) {
            fault_set(f, "its erase record is still to be written");
            return say_leaf(VERIFY_INCOMPLETE, leaf, what);
        }
        fault_set(f, "listed as erased, and no erase record names it");
        return say_leaf(VERIFY_TAMPERED, leaf, what);
    }
    return VERIFY_OK;
}

/* --- months that were dropped ---------------------------------------------------------------- */

/* A record says where what is kept begins: nothing from there on may be missing. */
static enum verify_status judge_first(const struct named *n, const struct named_ask *ask,
                                      char what[NAMED_WHAT_MAX], struct fault *f)
{
    for (uint64_t leaf = n->kept_from; leaf < ask->first; leaf++)
        if (!erased_has(ask->list, leaf)) {
            fault_set(f, "gone, and not erased: the record of the month that was dropped says "
                         "that what is kept begins there or before");
            return say_leaf(VERIFY_TAMPERED, leaf, what);
        }
    if (ask->first >= n->kept_from)
        return VERIFY_OK;
    fault_set(f, "there, and of the month that was dropped, whose last leaf was %" PRIu64,
              n->kept_from - 1);
    return say_leaf(VERIFY_TAMPERED, ask->first, what);
}

/*
 * The newest one decides. It was dropped after its end, so its records are in a month that is kept,
 * and whoever read all of these has met them. Where what is kept begins may never have been found
 * out: what had gone from Redis before anybody looked, the list does not know either. Then the
 * record of who dropped the month is all there is.
 */
static enum verify_status judge_months(const struct named *n, const struct named_ask *ask,
                                       char what[NAMED_WHAT_MAX], struct fault *f)
{
    const struct erased_month *newest = erased_newest_month(ask->list);
    bool recorded = newest != NULL && n->dropped_month == newest->month;

    if (!ask->whole || ask->first == UINT64_MAX || newest == NULL)
        return VERIFY_OK;
    (void)snprintf(what, NAMED_WHAT_MAX, "month %06" PRIu32, newest->month);
    if (!newest->known && !recorded) {
        fault_set(f, "listed as dropped, and no record of the log says so");
        return n->ordered_month == newest->month ? VERIFY_OK : VERIFY_INCOMPLETE;
    }
    if (!recorded && !newest->told) {
        fault_set(f, "dropped, and the record of its last leaf is still to be written");
        return VERIFY_INCOMPLETE;
    }
    if (!recorded) {
        fault_set(f, "listed as dropped, and no record of the log says so");
        return VERIFY_TAMPERED;
    }
    if (newest->known && newest->kept != n->kept_from) {
        fault_set(f,
                  "by the list of what went the records begin at leaf %" PRIu64
                  ", by the log at leaf %" PRIu64,
                  newest->kept, n->kept_from);
        return VERIFY_TAMPERED;
    }
    return judge_first(n, ask, what, f);
}

enum verify_status named_judge(struct named *n, const struct named_ask *ask,
                               char what[NAMED_WHAT_MAX], struct fault *f)
{
    enum verify_status status = judge_months(n, ask, what, f);

    return status == VERIFY_OK ? judge_erasures(n, ask, what, f) : status;
}
