/*
 * ledger_queue.c - whose turn it is: every process that speaks to the ledger gets a fair share.
 *
 *   peer 7   o o o o o o o o   ─┐
 *   peer 9   o                  ├─▶ one of each in turn ─▶ the batch
 *   itself   o o               ─┘
 *
 * Each has a lane of its own with a maximum. A worker that was taken over fills its own lane and is
 * refused; what others send waits for a batch at most. Lanes are there while something is in them.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/log.h"
#include "consentd/mem.h"
#include "ledger_priv.h"

#define JOB_BYTES 512 /* of a waiting job, at most */

struct queued {
    struct queued *next;
    struct item item;
};

struct lane {
    struct lane *next;
    struct queued *first, **last;
    uint64_t peer;
    unsigned cnt;
    bool told; /* that it is full */
};

static struct lane *lane_of(const struct fair_queue *q, uint64_t peer)
{
    struct lane *lane = q->first;

    while (lane != NULL && lane->peer != peer)
        lane = lane->next;
    return lane;
}

static void lane_append(struct fair_queue *q, struct lane *lane)
{
    struct lane **link = &q->first;

    while (*link != NULL)
        link = &(*link)->next;
    lane->next = NULL;
    *link = lane;
}

static struct lane *lane_new(struct fair_queue *q, uint64_t peer)
{
    struct lane *lane = mem_new(struct lane);

    lane->peer = peer;
    lane->last = &lane->first;
    lane_append(q, lane);
    q->lanes++;
    return lane;
}

/* When all together have too much, those who have more than their share. */
static bool is_full(const struct fair_queue *q, const struct lane *lane)
{
    return lane->cnt >= LEDGER_LANE_MAX ||
           (q->cnt >= LEDGER_QUEUE_MAX && lane->cnt >= LEDGER_QUEUE_MAX / q->lanes);
}

bool fair_push(struct fair_queue *q, const struct item *item)
{
    struct lane *lane = lane_of(q, item->peer);
    struct queued *queued;

    if (lane == NULL)
        lane = lane_new(q, item->peer);
    if (is_full(q, lane)) {
        if (!lane->told)
            log_warn("ledger.full", "peer=%llu waiting=%u all=%u", (unsigned long long)item->peer,
                     lane->cnt, q->cnt);
        lane->told = true;
        return false;
    }
    queued = mem_new(struct queued);
    queued->item = *item;
    *lane->last = queued;
    lane->last = &queued->next;
    lane->cnt++;
    q->cnt++;
    return true;
}

bool fair_pop(struct fair_queue *q, struct item *out)
{
    struct lane *lane = q->first;
    struct queued *queued;

    if (lane == NULL)
        return false;
    queued = lane->first;
    *out = queued->item;
    lane->first = queued->next;
    q->first = lane->next;
    q->cnt--;
    free(queued);
    if (--lane->cnt > 0) {
        lane_append(q, lane);
    } else {
        free(lane);
        q->lanes--;
    }
    return true;
}

void fair_free(struct fair_queue *q)
{
    struct item item;

    while (fair_pop(q, &item))
        free(item.payload);
}

/* --- jobs that are worked on one at a time ---------------------------------------------------- */

static uint8_t *job_at(const struct job_ring *r, unsigned i)
{
    return (uint8_t *)r->jobs + (size_t)((r->head + i) % r->max) * r->size;
}

static uint64_t peer_at(const struct job_ring *r, unsigned i)
{
    uint64_t peer;

    memcpy(&peer, job_at(r, i), sizeof(peer));
    return peer;
}

bool jobs_have_room(const struct job_ring *r, uint64_t peer)
{
    unsigned of_peer = 0;

    for (unsigned i = 0; i < r->cnt; i++)
        of_peer += peer_at(r, i) == peer ? 1 : 0;
    return r->cnt < r->max && of_peer < r->max / LEDGER_JOBS_SHARE;
}

void jobs_take_turns(const struct job_ring *r, uint64_t served)
{
    uint8_t job[JOB_BYTES];
    unsigned at = 0;

    ASSERT(r->size <= sizeof(job));
    while (at < r->cnt && peer_at(r, at) == served)
        at++;
    if (at == 0 || at == r->cnt)
        return;
    memcpy(job, job_at(r, at), r->size);
    for (unsigned i = at; i > 0; i--) /* what one peer sent stays in its order */
        memcpy(job_at(r, i), job_at(r, i - 1), r->size);
    memcpy(job_at(r, 0), job, r->size);
}
