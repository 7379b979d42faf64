/*
 * siblings.c - the workers beside this one, so that connections are spread over them.
 *
 * All workers wait on the same sockets. Whoever has clearly more connections than another one
 * leaves a new one to it for a moment (listener.h). The numbers are read where the metrics are:
 * memory that all processes share, so asking costs no system call. Whoever finishes what it has
 * does not count; of which generation those are that serve is all the same.
 */
#include "consentd/ipc_msg.h"
#include "consentd/metrics.h"
#include "serve_priv.h"

#define SLACK       4  /* connections more than another one that are no reason */
#define SLACK_SHARE 16 /* and of those that it has: one in so many */
#define SERVES      1  /* metrics_owner.state */

void siblings_look(struct siblings *siblings)
{
    unsigned own = metrics_slot();
    struct metrics_owner other;

    siblings->cnt = 0;
    for (unsigned i = 0; i < metrics_slots() && siblings->cnt < SIBLINGS_MAX; i++) {
        if (i != own && metrics_owner(i, &other) && other.role == IPC_ROLE_WORKER &&
            other.state == SERVES)
            siblings->slots[siblings->cnt++] = (uint16_t)i;
    }
}

bool siblings_let_us(const struct siblings *siblings)
{
    uint64_t own = metric_of(metrics_slot(), METRIC_CLIENT_OPEN), least = own;

    for (unsigned i = 0; i < siblings->cnt; i++) {
        uint64_t other = metric_of(siblings->slots[i], METRIC_CLIENT_OPEN);

        least = other < least ? other : least;
    }
    return own <= least + SLACK + least / SLACK_SHARE;
}
