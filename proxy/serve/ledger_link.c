/*
 * ledger_link.c - events that wait for the ledger's ack; contract in enforce_priv.h.
 *
 *   send -> WAITING --ack--> answer fn
 *              |---timeout--> answer fn(NULL); a narrowing stays and is sent until acked
 *              `---link down, up again--> sent again (the ledger knows the eid: no second record)
 *
 * A fixed table of slots: no allocation per event, and the limit is plain to see. A grant whose
 * visitor has gone or was told 503 is forgotten; if the ledger recorded it all the same, the
 * record stands without a cookie, which denies.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/ipc.h"
#include "consentd/ipc_msg.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/timer.h"
#include "enforce_priv.h"

#define SLOTS      4096 /* events in flight or kept, per worker */
#define ANSWER_MS  5000 /* how long a visitor waits for the ledger */
#define SWEEP_MS   500
#define RESEND_MS  2000 /* a kept event that was not answered is sent again */
#define ASKS_MAX   64   /* questions in flight, per worker */
#define INDEX_BITS 16   /* of a request id: the slot; the rest counts up */

struct waiting {
    uint64_t req_id;    /* 0: the slot is free */
    struct exchange *x; /* NULL: nobody waits any more */
    uint16_t type;      /* IPC_EVENT, IPC_ERASE or IPC_ASK: which of the functions is called */
    ledger_answer_fn fn;
    ledger_erase_fn erase_fn;
    ledger_tell_fn tell_fn;
    struct buf told; /* of IPC_ASK: the answer so far */
    uint64_t deadline_ms, resend_ms;
    unsigned flags;
    uint8_t *message; /* owned */
    size_t len;
};

struct ledger_link {
    struct server *server; /* borrowed */
    struct timer sweep;
    struct waiting slots[SLOTS];
    unsigned used, next, asks;
    size_t told; /* bytes of all answers so far */
    uint64_t counter;
};

static void slot_free(struct ledger_link *link, struct waiting *w)
{
    free(w->message);
    link->told -= w->told.len;
    buf_free(&w->told);
    link->asks -= w->type == IPC_ASK ? 1 : 0;
    memset(w, 0, sizeof(*w));
    link->used--;
}

static void slot_send(struct ledger_link *link, struct waiting *w)
{
    w->resend_ms = loop_now_ms(link->server->loop) + RESEND_MS;
    if (link->server->ledger != NULL &&
        !ipc_send(link->server->ledger, w->type, w->message, w->len, -1))
        log_warn("ledger.link_full", "waiting=%u", link->used);
}

/* The visitor has waited long enough; what only narrows is kept until it is recorded. */
static void slot_expire(struct ledger_link *link, struct waiting *w)
{
    struct waiting was = *w;
    struct exchange *x = w->x;

    w->x = NULL;
    if (!(w->flags & LEDGER_EVENT_NARROWS))
        slot_free(link, w);
    if (x == NULL)
        return;
    if (was.type == IPC_ERASE)
        was.erase_fn(x, NULL);
    else if (was.type == IPC_ASK)
        was.tell_fn(x, LEDGER_TELL_UNAVAILABLE, STR(""));
    else
        was.fn(x, NULL);
}

static void on_sweep(void *arg)
{
    struct ledger_link *link = arg;
    uint64_t now_ms = loop_now_ms(link->server->loop);

    for (unsigned i = 0; i < SLOTS && link->used > 0; i++) {
        struct waiting *w = &link->slots[i];

        if (w->req_id == 0)
            continue;
        if (now_ms >= w->deadline_ms && (w->x != NULL || w->type == IPC_ASK))
            slot_expire(link, w);
        else if (now_ms >= w->resend_ms && w->type != IPC_ASK)
            slot_send(link, w);
    }
    if (link->used > 0)
        timer_set(&link->sweep, SWEEP_MS);
}

struct ledger_link *ledger_link_new(struct server *s)
{
    struct ledger_link *link = mem_new(struct ledger_link);

    link->server = s;
    timer_init(&link->sweep, s->loop, on_sweep, link);
    return link;
}

void ledger_link_free(struct ledger_link *link)
{
    if (link == NULL)
        return;
    timer_clear(&link->sweep);
    for (unsigned i = 0; i < SLOTS; i++) {
        free(link->slots[i].message);
        buf_free(&link->slots[i].told);
    }
    free(link);
}

static struct waiting *slot_take(struct ledger_link *link)
{
    if (link->used == SLOTS)
        return NULL;
    while (link->slots[link->next % SLOTS].req_id != 0)
        link->next++;
    struct waiting *w = &link->slots[link->next % SLOTS];

    link->counter++;
    w->req_id = link->counter << INDEX_BITS | link->next % SLOTS;
    link->next++;
    link->used++;
    return w;
}

static void slot_start(struct ledger_link *link, struct waiting *w, struct exchange *x)
{
    w->x = x;
    w->deadline_ms = loop_now_ms(link->server->loop) + ANSWER_MS;
    slot_send(link, w);
    if (!timer_is_set(&link->sweep))
        timer_set(&link->sweep, SWEEP_MS);
}

bool ledger_link_send(struct ledger_link *link, struct exchange *x,
                      const struct consent_event *event, unsigned flags, ledger_answer_fn fn)
{
    const struct categories *categories = &x->site->policy->categories;
    uint8_t message[LEDGER_EVENT_MSG_MAX];
    struct ledger_event_msg msg = {.flags = flags, .event = *event};
    struct waiting *w = slot_take(link);

    if (w == NULL)
        return false;
    msg.req_id = w->req_id;
    for (unsigned bit = 0; bit < RECORD_PURPOSES; bit++) {
        if (categories->ids[bit][0] != '\0')
            msg.names[bit] = categories->ids[bit];
    }
    w->len = ledger_event_encode(&msg, message, sizeof(message));
    if (w->len == 0) {
        slot_free(link, w);
        return false;
    }
    w->message = mem_dup(message, w->len);
    w->type = IPC_EVENT;
    w->fn = fn;
    w->flags = flags;
    slot_start(link, w, x);
    return true;
}

bool ledger_link_erase(struct ledger_link *link, struct exchange *x, const uint8_t subject[16],
                       unsigned flags, ledger_erase_fn fn)
{
    struct ledger_erase_msg msg = {.version = LEDGER_MSG_VERSION,
                                   .action = LEDGER_ERASE,
                                   .flags = flags & LEDGER_ERASE_NOW,
                                   .by = CONSENT_BY_SUBJECT};
    struct waiting *w = slot_take(link);

    if (w == NULL)
        return false;
    msg.req_id = w->req_id;
    memcpy(msg.subject, subject, sizeof(msg.subject));
    w->len = sizeof(msg);
    w->message = mem_dup(&msg, sizeof(msg));
    w->type = IPC_ERASE;
    w->erase_fn = fn;
    slot_start(link, w, x);
    return true;
}

bool ledger_link_ask(struct ledger_link *link, struct exchange *x, const struct ledger_ask_msg *ask,
                     ledger_tell_fn fn)
{
    struct ledger_ask_msg msg = *ask;
    struct waiting *w = link->asks < ASKS_MAX ? slot_take(link) : NULL;

    if (w == NULL)
        return false;
    link->asks++;
    msg.req_id = w->req_id;
    msg.version = LEDGER_MSG_VERSION;
    w->len = sizeof(msg);
    w->message = mem_dup(&msg, sizeof(msg));
    w->type = IPC_ASK;
    w->tell_fn = fn;
    buf_init(&w->told, LEDGER_TOLD_MAX);
    slot_start(link, w, x);
    return true;
}

void ledger_link_forget(struct ledger_link *link, const struct exchange *x)
{
    for (unsigned i = 0; i < SLOTS && link->used > 0; i++) {
        if (link->slots[i].req_id != 0 && link->slots[i].x == x)
            link->slots[i].x = NULL; /* an answer that comes is for nobody */
    }
}

void ledger_link_up(struct ledger_link *link)
{
    for (unsigned i = 0; i < SLOTS && link->used > 0; i++) {
        struct waiting *w = &link->slots[i];

        if (w->req_id == 0)
            continue;
        link->told -= w->told.len;
        buf_clear(&w->told); /* the other one's answer was cut */
        slot_send(link, w);
    }
}

/* The slot of an answer; NULL: answered before, this one was sent twice. */
static struct waiting *slot_of(struct ledger_link *link, uint64_t req_id, uint16_t type)
{
    struct waiting *w = &link->slots[(req_id & ((1u << INDEX_BITS) - 1)) % SLOTS];

    return w->req_id == req_id && req_id != 0 && w->type == type ? w : NULL;
}

/* Many long answers at once: who comes last is told to ask again later. */
static bool told_append(struct ledger_link *link, struct waiting *w, struct str piece)
{
    if (piece.len > LEDGER_TOLD_ALL_MAX - link->told || !buf_append_str(&w->told, piece))
        return false;
    link->told += piece.len;
    return true;
}

void ledger_link_told(struct ledger_link *link, struct str message)
{
    struct ledger_tell_head head;
    struct waiting *w, was;

    if (message.len < sizeof(head))
        return;
    memcpy(&head, message.ptr, sizeof(head));
    w = slot_of(link, head.req_id, IPC_ASK);
    if (w == NULL)
        return;
    if (!told_append(link, w, str_slice(message, sizeof(head), message.len)))
        head.status = LEDGER_TELL_UNAVAILABLE;
    if (head.status == LEDGER_TELL_MORE)
        return;
    was = *w;
    link->told -= w->told.len;
    memset(&w->told, 0, sizeof(w->told));
    slot_free(link, w);
    if (was.x != NULL)
        was.tell_fn(was.x, (enum ledger_tell_status)head.status, buf_str(&was.told));
    buf_free(&was.told);
}

void ledger_link_erased(struct ledger_link *link, struct str message)
{
    struct ledger_erase_ack ack;
    struct waiting *w;
    struct exchange *x;
    ledger_erase_fn fn;

    if (!ledger_erase_ack_decode(message, &ack) ||
        (w = slot_of(link, ack.req_id, IPC_ERASE)) == NULL)
        return;
    x = w->x;
    fn = w->erase_fn;
    slot_free(link, w);
    if (x != NULL)
        fn(x, &ack);
}

void ledger_link_ack(struct ledger_link *link, struct str message)
{
    struct ledger_ack ack;
    struct waiting *w;
    struct exchange *x;
    ledger_answer_fn fn;

    if (!ledger_ack_decode(message, &ack) || (w = slot_of(link, ack.req_id, IPC_EVENT)) == NULL)
        return;
    x = w->x;
    fn = w->fn;
    if (ack.status == LEDGER_UNAVAILABLE && (w->flags & LEDGER_EVENT_NARROWS))
        w->x = NULL; /* not yet: the sweep sends it again */
    else
        slot_free(link, w);
    if (x != NULL)
        fn(x, &ack);
}
