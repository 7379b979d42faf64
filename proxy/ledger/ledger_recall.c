/*
 * ledger_recall.c - what this machine signed, as places outside of it remember it: a host that was
 * put back whole, with its journal and its last checkpoint, does not know what it has forgotten.
 *
 * The newest checkpoint of the log of today counts as the last one (ledger_restart_kept). One of a
 * later log says that its node number is taken: the list of logs is continued up to it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/sinks.h"
#include "earlier_priv.h"
#include "ledger_priv.h"

struct recalling {
    const struct ledger *l;
    struct merkle_tree newest[RESTARTS_MAX + 1]; /* by log; size 0: none */
};

/* From the name on: three lines, an empty one, lines of signatures. */
static struct str note_at(struct str text)
{
    ptrdiff_t body = str_find(text, STR("\n\n"));
    struct str rest;
    size_t end;

    if (body < 0)
        return STR("");
    end = (size_t)body + 2;
    for (;;) {
        ptrdiff_t line;

        rest = str_slice(text, end, text.len);
        line = str_find_char(rest, '\n');
        if (line < 0 || !str_starts(rest, STR("\xE2\x80\x94 ")))
            return str_slice(text, 0, end);
        end += (size_t)line + 1;
    }
}

/* The newest of one name; what a failed write has left between them is passed over. */
static void look_for(const struct ledger *l, const struct note_key *keys, struct str text,
                     struct merkle_tree *newest)
{
    char line[NOTE_NAME_MAX + 2];
    ptrdiff_t at;

    (void)snprintf(line, sizeof(line), "%s\n", keys[0].name);
    while ((at = str_find(text, str_c(line))) >= 0) {
        struct str note;
        struct merkle_tree tree;

        text = str_slice(text, (size_t)at, text.len);
        note = note_at(text);
        for (unsigned k = 0; k < l->log_key_cnt; k++)
            if (checkpoint_verify(&keys[k], note, &tree, NULL) && tree.size > newest->size)
                *newest = tree;
        text = str_slice(text, strlen(line), text.len);
    }
}

static void on_text(void *arg, const char *url, struct str text)
{
    struct recalling *r = arg;
    struct log_restarts all = {.first = r->l->restarts.first};
    struct note_key *keys = mem_calloc(r->l->log_key_cnt, sizeof(*keys));

    UNUSED(url);
    for (unsigned i = 0; i <= RESTARTS_MAX; i++) {
        unsigned node = i == 0 ? all.first : restarts_next(&all);

        if (node == 0)
            break;
        if (i > 0)
            all.items[all.cnt++].node = (uint8_t)node;
        if (earlier_keys(r->l, node, keys))
            look_for(r->l, keys, text, &r->newest[i]);
    }
    free(keys);
}

/* Numbers that were taken after what is here was saved; the leaves behind it were theirs. */
static bool take_up(struct ledger *l, unsigned log, struct fault *f)
{
    while (l->restarts.cnt < log) {
        if (!restarts_add(l->dir, &l->restarts, journal_next_leaf(l->journal), clock_wall_ms(), f))
            return false;
        log_error("log.recalled", "node=%u reason=\"a sink has checkpoints of this log\"",
                  restarts_node(&l->restarts));
    }
    return true;
}

bool ledger_recall(struct ledger *l, const struct ledger_config *cfg, struct fault *f)
{
    struct recalling r = {.l = l};
    unsigned log = RESTARTS_MAX;

    if (!l->log_wanted)
        return true;
    sinks_recall(cfg->sinks, cfg->sink_cnt, on_text, &r);
    while (log > l->restarts.cnt && r.newest[log].size == 0)
        log--;
    if (!take_up(l, log, f))
        return false;
    l->recalled = r.newest[log];
    return true;
}
