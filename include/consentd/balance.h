/*
 * balance.h - which origin of a site takes the next request, and which are up. layer: serve
 *
 *            failures in a row, or `fall` checks            its time is over
 *      UP ------------------------------------> DOWN -----------------------> PROBING
 *       ^                                        ^                               |
 *       |                                        `----------- it failed ---------+
 *       `---------------- one request answered, or `rise` checks ----------------'
 *
 * Primaries that are up share the requests by weight; backups take them only when no primary is
 * up. Among the candidates the policy decides: smooth weighted round robin (a heavy origin is
 * interleaved with the light ones, never served in bursts), or the fewest connections per weight.
 * An origin of weight 0 gets only the visitors who hold its cookie: it is being emptied.
 *
 * An origin that is down and not checked comes back by one request that can be sent again if it
 * fails: no visitor pays for the probe. Where no such request comes for BALANCE_PATIENCE pauses,
 * any other will do. A checked one comes back by its checks alone. When it is back its weight
 * grows from a twentieth over slow_start_ms.
 *
 * When none is up, or all that are have failed this request, the others are tried in turn, because
 * a wrong verdict must not take the site down; with refuse_when_down the answer is BALANCE_NONE.
 *
 * Pure: no I/O, no clock, nothing allocated after balance_new(). Times are monotonic and in
 * milliseconds. What the balancer knows is this process's own experience.
 */
#ifndef CONSENTD_BALANCE_H
#define CONSENTD_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"

#define BALANCE_MEMBERS_MAX 64   /* origins of one site: the bits of balance_ask.tried */
#define BALANCE_WEIGHT_MAX  1000 /* of one origin */
#define BALANCE_PATIENCE    3    /* pauses more, then a request that cannot be repeated probes */

struct balance;

enum balance_policy { BALANCE_ROUND_ROBIN = 0, BALANCE_LEAST_CONNECTIONS };

struct balance_rules {
    enum balance_policy policy;
    bool refuse_when_down;  /* none is up: NONE, instead of trying them all the same */
    bool checked;           /* balance_check() is called for every member */
    unsigned failures;      /* in a row take a member out; 0: never */
    uint64_t window_ms;     /* they count together when they lie within this time */
    uint64_t pause_ms;      /* so long it is out, then probed */
    uint64_t slow_start_ms; /* its weight grows over this time when it is back; 0: at once */
    unsigned rise, fall;    /* checks in a row that bring a member back, or take it out */
};

struct balance_member {
    unsigned weight; /* 0 to BALANCE_WEIGHT_MAX; 0: only visitors who ask for it */
    bool backup;
    unsigned max; /* requests at a time; at least 1 */
};

/* The zero value is the bad one. */
enum balance_state { BALANCE_DOWN = 0, BALANCE_PROBING, BALANCE_UP };

/* What a report has changed; for the log. */
enum balance_change { BALANCE_SAME = 0, BALANCE_WENT_DOWN, BALANCE_CAME_UP };

/* One request's hold on a member, from balance_take() to balance_give(). */
struct balance_claim {
    unsigned member;
    enum { CLAIM_PLAIN = 0, CLAIM_PROBE, CLAIM_LAST_RESORT } kind; /* private */
    bool held;
};

/* Copies both. 1 <= cnt <= BALANCE_MEMBERS_MAX. Never NULL. */
struct balance *balance_new(const struct balance_rules *rules, const struct balance_member *members,
                            unsigned cnt);

/* NULL is fine. */
void balance_free(struct balance *b);

struct balance_ask {
    uint64_t now_ms;
    uint64_t tried;  /* bit i: member i has failed this request already */
    uint64_t avoid;  /* bit i: not member i, where another one of its kind is up and has a place */
    int wanted;      /* the member that the visitor's cookie names; -1: none */
    bool resendable; /* may be sent again elsewhere: it can be a probe */
};

enum balance_answer {
    BALANCE_NONE = 0, /* nobody is left to ask */
    BALANCE_FULL,     /* somebody is, but has no place now: wait for a balance_give() */
    BALANCE_TAKEN,    /* *claim_out holds a place */
};

MUST_USE enum balance_answer balance_take(struct balance *b, const struct balance_ask *ask,
                                          struct balance_claim *claim_out);

/*
 * How it went: answered (the final head came and does not say 502, 503 or 504) or not. May be
 * called again when an answer breaks off later. A request that ended for the visitor's reasons
 * is not judged.
 */
enum balance_change balance_judge(struct balance *b, const struct balance_claim *claim,
                                  bool answered, uint64_t now_ms);

/* The place is free again. A claim that is not held is left alone. */
void balance_give(struct balance *b, struct balance_claim *claim);

/* At the start: somebody else has found it down. It comes back as if it had gone down now. */
void balance_begin_down(struct balance *b, unsigned member, uint64_t now_ms);

/* The result of a health check of one member. */
enum balance_change balance_check(struct balance *b, unsigned member, bool good, uint64_t now_ms);

/* True when a member is up that takes requests. */
bool balance_any_up(const struct balance *b);

enum balance_state balance_state_of(const struct balance *b, unsigned member, uint64_t now_ms);

/* Requests that hold a place of this member. */
unsigned balance_busy(const struct balance *b, unsigned member);

/* After NONE: milliseconds until the next member is probed; 0: nobody knows. */
uint64_t balance_wait_ms(const struct balance *b, uint64_t now_ms);

#endif
