/*
 * rules_state_priv.h - the state's inside, for its text form. layer: policy
 *
 * The functions here keep no history of their own: they are what the public ones and the reader of
 * the text form are made of.
 */
#ifndef CONSENTD_RULES_STATE_PRIV_H
#define CONSENTD_RULES_STATE_PRIV_H

#include "consentd/rules_state.h"

struct state_mode {
    char key[RULES_STATE_KEY_MAX]; /* "SET" or "SET@SITE" */
    enum rules_choice choice;      /* never CONFIG: such entries are removed */
};

struct rules_state {
    uint64_t revision;
    struct state_mode *modes; /* owned; no order */
    size_t mode_cnt;
    struct rules_revision *history; /* owned; oldest first */
    size_t history_cnt, history_cap;
};

/* Sets or (with CONFIG) removes an entry; false when there are too many. */
MUST_USE bool rules_state_put(struct rules_state *s, const char *key, enum rules_choice choice);

/* An empty revision at the end of the history; the oldest ones go when it is full. */
struct rules_revision *rules_state_push(struct rules_state *s);

#endif
