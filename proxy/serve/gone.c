/*
 * gone.c - the subjects that were erased, as the ledger tells them; contract in enforce_priv.h.
 *
 * A sorted array of hashes: it is asked for every cookie and grows a few times a day.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/erased.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "enforce_priv.h"

#define GONE_LEN 16

struct gone_set {
    uint8_t (*items)[GONE_LEN]; /* owned; sorted */
    size_t cnt;                 /* at most ERASED_MAX */
};

struct gone_set *gone_new(void)
{
    return mem_new(struct gone_set);
}

void gone_free(struct gone_set *g)
{
    if (g == NULL)
        return;
    free(g->items);
    free(g);
}

static int cmp_gone(const void *a, const void *b)
{
    return memcmp(a, b, GONE_LEN);
}

static void drop_doubles(struct gone_set *g)
{
    size_t kept = 0;

    for (size_t i = 0; i < g->cnt; i++)
        if (kept == 0 || memcmp(g->items[kept - 1], g->items[i], GONE_LEN) != 0)
            memmove(g->items[kept++], g->items[i], GONE_LEN);
    g->cnt = kept;
}

void gone_add(struct gone_set *g, struct str in)
{
    size_t cnt = in.len / GONE_LEN;

    if (in.len % GONE_LEN != 0 || cnt == 0)
        return;
    g->items = mem_realloc(g->items, (g->cnt + cnt) * sizeof(*g->items));
    memcpy(g->items[g->cnt], in.ptr, in.len);
    g->cnt += cnt;
    qsort(g->items, g->cnt, sizeof(*g->items), cmp_gone);
    drop_doubles(g);
    if (g->cnt > ERASED_MAX) {
        log_error("gone.full", "subjects=%zu", g->cnt); /* the ledger holds no more than that */
        g->cnt = ERASED_MAX;
    }
}

bool gone_has(const struct gone_set *g, const uint8_t subject[16])
{
    uint8_t gone[GONE_LEN];

    if (g->cnt == 0)
        return false;
    erased_gone(subject, gone);
    return bsearch(gone, g->items, g->cnt, sizeof(*g->items), cmp_gone) != NULL;
}
