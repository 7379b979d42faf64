/*
 * balance.c - contract in consentd/balance.h.
 *
 * A pick walks the members once or twice; there are at most 64, and mostly two or three, so
 * there is no index to keep in step with their states. Weights are counted in thousandths,
 * which leaves room for the steps of a slow start.
 *
 * Smooth weighted round robin: every candidate gains its weight, the richest is picked and
 * pays what all have gained together.
 */
#include "consentd/balance.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"

#define SCALE      1000 /* of a weight */
#define RAMP_FLOOR 20   /* a slow start begins at 1/20 of the weight */

struct member {
    struct balance_member opts;
    unsigned busy;
    int64_t credit; /* of the round robin */
    bool down;
    bool probing;        /* one request is out to see whether it is back */
    uint64_t until_ms;   /* down and not checked: may be probed from then on */
    uint64_t ramp_ms;    /* when it came back; 0: its weight is whole */
    unsigned failures;   /* in a row */
    uint64_t first_ms;   /* of these */
    unsigned good, poor; /* checks in a row */
};

struct balance {
    struct balance_rules rules;
    unsigned cnt;
    struct member members[];
};

struct balance *balance_new(const struct balance_rules *rules, const struct balance_member *members,
                            unsigned cnt)
{
    struct balance *b;

    ASSERT(cnt >= 1 && cnt <= BALANCE_MEMBERS_MAX);
    b = mem_calloc(1, sizeof(*b) + cnt * sizeof(b->members[0]));
    b->rules = *rules;
    b->cnt = cnt;
    for (unsigned i = 0; i < cnt; i++) {
        ASSERT(members[i].weight <= BALANCE_WEIGHT_MAX && members[i].max >= 1);
        b->members[i].opts = members[i];
    }
    return b;
}

void balance_free(struct balance *b)
{
    free(b);
}

static bool was_tried(const struct balance_ask *ask, unsigned i)
{
    return (ask->tried >> i & 1) != 0;
}

static bool has_place(const struct member *m)
{
    return m->busy < m->opts.max;
}

static bool is_due(const struct balance *b, const struct member *m, uint64_t now_ms)
{
    return m->down && !b->rules.checked && m->until_ms <= now_ms;
}

static int64_t weight_of(const struct balance *b, const struct member *m, uint64_t now_ms)
{
    uint64_t whole = (uint64_t)m->opts.weight * SCALE, part;

    if (m->ramp_ms == 0 || now_ms - m->ramp_ms >= b->rules.slow_start_ms)
        return (int64_t)whole;
    part = whole * (now_ms - m->ramp_ms) / b->rules.slow_start_ms;
    return (int64_t)(part > whole / RAMP_FLOOR ? part : whole / RAMP_FLOOR);
}

static enum balance_answer take(struct balance *b, unsigned i, int kind,
                                struct balance_claim *claim_out)
{
    struct member *m = &b->members[i];

    m->busy++;
    if (kind == CLAIM_PROBE)
        m->probing = true;
    *claim_out = (struct balance_claim){.member = i, .kind = kind, .held = true};
    return BALANCE_TAKEN;
}

/* The richest of the candidates (bits), which pays for all. */
static unsigned round_robin(struct balance *b, uint64_t candidates, uint64_t now_ms)
{
    unsigned best = 0;
    int64_t total = 0;
    bool found = false;

    for (unsigned i = 0; i < b->cnt; i++) {
        struct member *m = &b->members[i];
        int64_t weight;

        if ((candidates >> i & 1) == 0)
            continue;
        weight = weight_of(b, m, now_ms);
        weight = weight > 0 ? weight : 1; /* the last resort asks those of weight 0 too */
        m->credit += weight;
        total += weight;
        if (!found || m->credit > b->members[best].credit)
            best = i;
        found = true;
    }
    b->members[best].credit -= total;
    return best;
}

/* Those of the candidates with the fewest connections per weight. */
static uint64_t least_busy(const struct balance *b, uint64_t candidates, uint64_t now_ms)
{
    uint64_t best_busy = 0, best_weight = 0, result = 0;

    for (unsigned i = 0; i < b->cnt; i++) {
        const struct member *m = &b->members[i];
        uint64_t weight = (uint64_t)weight_of(b, m, now_ms);
        uint64_t mine, others;

        if ((candidates >> i & 1) == 0)
            continue;
        mine = m->busy * best_weight; /* busy / weight, compared crosswise */
        others = best_busy * weight;
        if (result == 0 || mine < others) {
            best_busy = m->busy;
            best_weight = weight;
            result = 0;
        }
        if (result == 0 || mine == others)
            result |= UINT64_C(1) << i;
    }
    return result;
}

static unsigned choose(struct balance *b, uint64_t candidates, uint64_t now_ms)
{
    if (b->rules.policy == BALANCE_LEAST_CONNECTIONS)
        candidates = least_busy(b, candidates, now_ms);
    return round_robin(b, candidates, now_ms);
}

/* Of the primaries or the backups: those up and not tried, and those of them with a place. */
static uint64_t those_up(const struct balance *b, bool backup, const struct balance_ask *ask,
                         uint64_t *free_out)
{
    uint64_t up = 0;

    *free_out = 0;
    for (unsigned i = 0; i < b->cnt; i++) {
        const struct member *m = &b->members[i];

        if (m->opts.backup != backup || m->down || m->opts.weight == 0 || was_tried(ask, i))
            continue;
        up |= UINT64_C(1) << i;
        if (has_place(m))
            *free_out |= UINT64_C(1) << i;
    }
    return up;
}

bool balance_any_up(const struct balance *b)
{
    for (unsigned i = 0; i < b->cnt; i++) {
        if (!b->members[i].down && b->members[i].opts.weight > 0)
            return true;
    }
    return false;
}

/* A member whose time out is over and that nobody probes yet; -1: none. */
static int due_for_probe(const struct balance *b, bool backup, const struct balance_ask *ask)
{
    uint64_t patience = ask->resendable ? 0 : BALANCE_PATIENCE * b->rules.pause_ms;
    uint64_t then_ms = ask->now_ms > patience ? ask->now_ms - patience : 0;

    for (unsigned i = 0; i < b->cnt; i++) {
        const struct member *m = &b->members[i];

        if (m->opts.backup == backup && is_due(b, m, then_ms) && !m->probing &&
            m->opts.weight > 0 && !was_tried(ask, i) && has_place(m))
            return (int)i;
    }
    return -1;
}

/* Nobody who is up has not failed this request: the others, primaries first, in turn. */
static enum balance_answer last_resort(struct balance *b, const struct balance_ask *ask,
                                       struct balance_claim *claim_out)
{
    bool any = false;

    for (int backup = 0; backup <= 1; backup++) {
        uint64_t candidates = 0;

        for (unsigned i = 0; i < b->cnt; i++) {
            const struct member *m = &b->members[i];

            if (m->opts.backup != (backup == 1) || was_tried(ask, i))
                continue;
            any = true;
            if (has_place(m))
                candidates |= UINT64_C(1) << i;
        }
        if (candidates != 0)
            return take(b, round_robin(b, candidates, ask->now_ms), CLAIM_LAST_RESORT, claim_out);
    }
    return any ? BALANCE_FULL : BALANCE_NONE;
}

/* The cookie's member, while it is up. */
static bool wanted_is_up(const struct balance *b, const struct balance_ask *ask)
{
    return ask->wanted >= 0 && (unsigned)ask->wanted < b->cnt && !b->members[ask->wanted].down &&
           !was_tried(ask, (unsigned)ask->wanted);
}

enum balance_answer balance_take(struct balance *b, const struct balance_ask *ask,
                                 struct balance_claim *claim_out)
{
    *claim_out = (struct balance_claim){.held = false};
    if (wanted_is_up(b, ask)) {
        if (!has_place(&b->members[ask->wanted]))
            return BALANCE_FULL;
        return take(b, (unsigned)ask->wanted, CLAIM_PLAIN, claim_out);
    }
    for (int backup = 0; backup <= 1; backup++) {
        int probe = due_for_probe(b, backup == 1, ask);
        uint64_t free_ones;

        if (probe >= 0)
            return take(b, (unsigned)probe, CLAIM_PROBE, claim_out);
        if (those_up(b, backup == 1, ask, &free_ones) == 0)
            continue;
        if (free_ones == 0)
            return BALANCE_FULL;
        if ((free_ones & ~ask->avoid) != 0)
            free_ones &= ~ask->avoid;
        return take(b, choose(b, free_ones, ask->now_ms), CLAIM_PLAIN, claim_out);
    }
    return b->rules.refuse_when_down ? BALANCE_NONE : last_resort(b, ask, claim_out);
}

static enum balance_change go_down(struct balance *b, struct member *m, uint64_t now_ms)
{
    bool was_up = !m->down;

    m->down = true;
    m->good = 0;
    m->failures = 0;
    m->until_ms = now_ms + b->rules.pause_ms;
    return was_up ? BALANCE_WENT_DOWN : BALANCE_SAME;
}

static enum balance_change come_up(struct balance *b, struct member *m, uint64_t now_ms)
{
    m->down = false;
    m->failures = m->poor = 0;
    m->credit = 0;
    m->ramp_ms = b->rules.slow_start_ms > 0 ? now_ms : 0;
    return BALANCE_CAME_UP;
}

enum balance_change balance_judge(struct balance *b, const struct balance_claim *claim,
                                  bool answered, uint64_t now_ms)
{
    struct member *m = &b->members[claim->member];

    if (m->down) {
        if (claim->kind == CLAIM_PLAIN || b->rules.checked)
            return BALANCE_SAME; /* sent before it went out: no news */
        return answered ? come_up(b, m, now_ms) : go_down(b, m, now_ms);
    }
    if (answered) {
        m->failures = 0;
        return BALANCE_SAME;
    }
    if (m->failures == 0 || now_ms - m->first_ms > b->rules.window_ms) {
        m->failures = 0;
        m->first_ms = now_ms;
    }
    if (++m->failures < b->rules.failures || b->rules.failures == 0)
        return BALANCE_SAME;
    return go_down(b, m, now_ms);
}

void balance_begin_down(struct balance *b, unsigned member, uint64_t now_ms)
{
    (void)go_down(b, &b->members[member], now_ms);
}

void balance_give(struct balance *b, struct balance_claim *claim)
{
    struct member *m = &b->members[claim->member];

    if (!claim->held)
        return;
    claim->held = false;
    ASSERT(m->busy > 0);
    m->busy--;
    if (claim->kind == CLAIM_PROBE)
        m->probing = false;
}

enum balance_change balance_check(struct balance *b, unsigned member, bool good, uint64_t now_ms)
{
    struct member *m = &b->members[member];

    if (good) {
        m->poor = 0;
        if (!m->down || ++m->good < b->rules.rise)
            return BALANCE_SAME;
        return come_up(b, m, now_ms);
    }
    m->good = 0;
    if (m->down || ++m->poor < b->rules.fall)
        return BALANCE_SAME;
    return go_down(b, m, now_ms);
}

enum balance_state balance_state_of(const struct balance *b, unsigned member, uint64_t now_ms)
{
    const struct member *m = &b->members[member];

    if (!m->down)
        return BALANCE_UP;
    return m->probing || m->good > 0 || is_due(b, m, now_ms) ? BALANCE_PROBING : BALANCE_DOWN;
}

unsigned balance_busy(const struct balance *b, unsigned member)
{
    return b->members[member].busy;
}

uint64_t balance_wait_ms(const struct balance *b, uint64_t now_ms)
{
    uint64_t wait = 0;

    for (unsigned i = 0; i < b->cnt && !b->rules.checked; i++) {
        const struct member *m = &b->members[i];
        uint64_t left = m->until_ms > now_ms ? m->until_ms - now_ms : 0;

        if (m->down && left > 0 && (wait == 0 || left < wait))
            wait = left;
    }
    return wait;
}
