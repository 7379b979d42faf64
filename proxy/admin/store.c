/*
 * store.c - contract in store.h.
 *
 * Nothing is asked before the first attempt to reach Redis is over: a process that has just begun
 * would call it away.
 *
 *   asked ─▶ waiting (a list) ─▶ running (one) ─▶ Redis ──ok──▶ end
 *                                                   └──lost─▶ journal, in steps ─▶ end
 */
#include "store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "consentd/admin.h"
#include "consentd/erased.h"
#include "consentd/file.h"
#include "consentd/keks.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/redis.h"
#include "consentd/restarts.h"

/* What a file looked like when it was read. */
struct seen {
    struct timespec at;
    off_t size;
    ino_t inode;
};

struct store {
    struct loop *loop;
    struct rlink *link; /* NULL: no Redis configured */
    bool tried;         /* the first attempt to reach it is over: it is there, or away */
    struct store_wait *waits;
    struct keks *keks;
    struct erased *erased;
    struct log_restarts restarts;
    struct seen keks_seen, erased_seen, restarts_seen;
    char *keks_path, *erased_path, *restarts_path, *journal, *site; /* owned */
    uint8_t idx_key[32];
    struct query_log log;
    struct feed *first, **tail; /* waiting */
    struct feed *running;
    struct query *query;     /* of running; NULL: not in Redis */
    struct query_walk *walk; /* of running; NULL: not in the journal */
    struct deferred go;
};

/* --- files ------------------------------------------------------------------------------------ */

static bool has_changed(const char *path, struct seen *seen)
{
    struct seen now = {.size = -1};
    struct stat st;

    if (stat(path, &st) == 0)
        now = (struct seen){st.st_mtim, st.st_size, st.st_ino};
    if (now.at.tv_sec == seen->at.tv_sec && now.at.tv_nsec == seen->at.tv_nsec &&
        now.size == seen->size && now.inode == seen->inode)
        return false;
    *seen = now;
    return true;
}

/* What logs there have been: the last that could be read counts. */
static void refresh_restarts(struct store *s)
{
    struct log_restarts now;
    struct fault f = {{0}};

    if (!has_changed(s->restarts_path, &s->restarts_seen))
        return;
    if (restarts_read(s->journal, s->log.node, &now, &f))
        s->restarts = now;
    else
        log_error("audit.restarts", "reason=\"%s\"", f.text);
}

/*
 * Keys and erasures as they are on disk now. The ledger writes both; a list that can't be read is
 * tried again, and nothing is shown meanwhile that it might forbid.
 */
static bool refresh(struct store *s, struct fault *f)
{
    struct erased *list;

    refresh_restarts(s);
    if (has_changed(s->keks_path, &s->keks_seen) && !keks_reload(s->keks, f)) {
        s->keks_seen = (struct seen){.size = -2};
        return false;
    }
    if (!has_changed(s->erased_path, &s->erased_seen))
        return true;
    list = erased_open(s->erased_path, s->log.node, f);
    if (list == NULL) {
        s->erased_seen = (struct seen){.size = -2};
        return false;
    }
    erased_free(s->erased);
    s->erased = list;
    s->log.erased = list;
    return true;
}

/* --- turns ------------------------------------------------------------------------------------ */

static bool is_dialling(const struct store *s)
{
    return s->link != NULL && !s->tried;
}

static void next_turn(struct store *s)
{
    if (s->running == NULL && (s->first != NULL || s->waits != NULL) && !is_dialling(s))
        loop_defer(s->loop, &s->go);
}

/* Who waited for the first attempt asks now. */
static void end_waits(struct store *s)
{
    while (s->waits != NULL) {
        struct store_wait *w = s->waits;

        s->waits = w->next;
        w->waiting = false;
        w->fn(w->arg);
    }
}

/* The turn is over: the owner hears of it and may ask for another one. */
static void turn_end(struct store *s)
{
    struct feed *feed = s->running;

    query_walk_free(s->walk);
    s->walk = NULL;
    s->query = NULL;
    s->running = NULL;
    next_turn(s);
    feed->running = false;
    if (feed->end.cursor[0] != '\0') {
        memcpy(feed->cursor, feed->end.cursor, sizeof(feed->cursor));
        feed->spec.cursor = str_c(feed->cursor);
    }
    feed->on_end(feed->arg, &feed->end);
}

static void turn_fail(struct store *s, const struct fault *f)
{
    s->running->end.ok = false;
    s->running->end.more = false;
    s->running->end.fault = *f;
    turn_end(s);
}

/* A store's share of the turn. */
static void add_end(struct feed *feed, const struct query_end *end)
{
    feed->end.ok = end->ok;
    feed->end.more = end->more;
    feed->end.fault = end->fault;
    feed->end.rows += end->rows;
    feed->end.scanned += end->scanned;
    if (end->has_hw && (!feed->end.has_hw || end->hw > feed->end.hw)) {
        feed->end.has_hw = true;
        feed->end.hw = end->hw;
    }
    if (end->cursor[0] != '\0')
        memcpy(feed->end.cursor, end->cursor, sizeof(feed->end.cursor));
}

static bool on_row(void *arg, const struct query_row *row)
{
    struct feed *feed = arg;

    return feed->on_row(feed->arg, row) && feed->store->running == feed;
}

static void get_from_journal(struct store *s)
{
    struct feed *feed = s->running;

    feed->end.rows =
        query_journal_get(s->journal, &s->log, feed->leaf, on_row, feed) ? 1 : feed->end.rows;
    feed->end.ok = true;
    if (s->running == feed)
        turn_end(s);
}

/* What is left of the turn, in the journal; the steps are on_go's. */
static void go_on_in_journal(struct store *s)
{
    struct feed *feed = s->running;
    struct fault f = {{0}};

    feed->end.partial = s->link != NULL && !feed->end.ok; /* ok: Redis has not got the record */
    if (feed->by_leaf) {
        get_from_journal(s);
        return;
    }
    if (feed->end.cursor[0] != '\0')
        feed->turn.cursor = str_c(feed->end.cursor);
    feed->turn.limit -= (unsigned)feed->end.rows;
    s->walk = query_walk_new(s->journal, &s->log, &feed->turn, &f);
    if (s->walk == NULL)
        turn_fail(s, &f);
    else
        loop_defer(s->loop, &s->go);
}

static void on_query_end(void *arg, const struct query_end *end)
{
    struct feed *feed = arg;
    struct store *s = feed->store;

    s->query = NULL;
    add_end(feed, end);
    if (!end->ok || (feed->by_leaf && end->rows == 0))
        go_on_in_journal(s);
    else
        turn_end(s);
}

static void step(struct store *s)
{
    struct feed *feed = s->running;
    struct query_end end;
    bool over = query_walk_step(s->walk, STORE_WALK_STEP, on_row, feed, &end);

    if (s->running != feed)
        return; /* cancelled from inside */
    if (!over) {
        loop_defer(s->loop, &s->go);
        return;
    }
    add_end(feed, &end);
    if (end.gap_from != end.gap_to && feed->end.ok) {
        feed->end.ok = false;
        fault_set(&feed->end.fault, "records %llu to %llu of the journal can't be read",
                  (unsigned long long)end.gap_from, (unsigned long long)end.gap_to - 1);
    }
    turn_end(s);
}

static void start(struct store *s)
{
    static const struct query_ops ops = {.on_row = on_row, .on_end = on_query_end};
    struct feed *feed = s->first;
    struct fault f = {{0}};

    s->first = feed->next;
    if (s->first == NULL)
        s->tail = &s->first;
    feed->waiting = false;
    feed->running = true;
    s->running = feed;
    feed->end = (struct feed_end){.ok = false};
    feed->turn = feed->spec;
    feed->turn.scan_max = FEED_SCAN;
    if (feed->turn.limit == 0)
        feed->turn.limit = 100;
    if (!refresh(s, &f)) {
        turn_fail(s, &f);
        return;
    }
    if (s->link != NULL && rlink_is_up(s->link))
        s->query = feed->by_leaf ? query_redis_get(s->link, &s->log, feed->leaf, &ops, feed, &f)
                                 : query_redis(s->link, &s->log, &feed->turn, &ops, feed, &f);
    if (s->query == NULL)
        go_on_in_journal(s);
}

static void on_go(void *arg)
{
    struct store *s = arg;

    end_waits(s);
    if (s->walk != NULL)
        step(s);
    else if (s->running == NULL && s->first != NULL)
        start(s);
}

void feed_ask(struct store *s, struct feed *feed)
{
    ASSERT(!feed->waiting && !feed->running);
    feed->store = s;
    feed->waiting = true;
    feed->next = NULL;
    *s->tail = feed;
    s->tail = &feed->next;
    next_turn(s);
}

void feed_cancel(struct feed *feed)
{
    struct store *s = feed->store;
    struct feed **at;

    if (feed->waiting) {
        for (at = &s->first; *at != feed; at = &(*at)->next)
            continue;
        *at = feed->next;
        if (*at == NULL)
            s->tail = at;
        feed->waiting = false;
    }
    if (!feed->running)
        return;
    feed->running = false;
    s->running = NULL;
    query_cancel(s->query);
    s->query = NULL;
    query_walk_free(s->walk);
    s->walk = NULL;
    next_turn(s);
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_up(void *owner)
{
    struct store *s = owner;

    log_info("audit.redis.up", "");
    rlink_settled(s->link);
    s->tried = true;
    next_turn(s);
}

static void on_down(void *owner, const char *why)
{
    struct store *s = owner;

    log_warn("audit.redis.down", "reason=\"%s\"", why);
    s->tried = true;
    next_turn(s);
}

struct store *store_new(struct loop *loop, const struct admin_store_setup *setup, struct fault *f)
{
    static const struct rlink_ops ops = {.on_up = on_up, .on_down = on_down};
    struct rlink_config redis = {.url = setup->redis_url,
                                 .user = setup->redis_user,
                                 .password = setup->redis_password,
                                 .ca_pem = setup->redis_ca,
                                 .name = "consentd-admin"};
    struct store *s = mem_new(struct store);

    s->loop = loop;
    s->tail = &s->first;
    s->go = (struct deferred){.fn = on_go, .arg = s};
    s->keks_path = mem_strdup(setup->keks_path);
    s->erased_path = mem_strdup(setup->erased_path);
    s->journal = mem_strdup(setup->journal);
    s->site = mem_strdup(setup->site);
    memcpy(s->idx_key, setup->idx_key, sizeof(s->idx_key));
    s->keks = keks_open(s->keks_path, true, f);
    s->keks_seen.size = s->erased_seen.size = s->restarts_seen.size = -2; /* read when asked */
    s->log = (struct query_log){.site = s->site,
                                .node = setup->node,
                                .keks = s->keks,
                                .idx_key = s->idx_key,
                                .restarts = &s->restarts};
    s->restarts.first = setup->node;
    s->restarts_path = file_resolve(s->journal, "restarts");
    if (s->keks != NULL && redis.url.len > 0)
        s->link = rlink_new(loop, &redis, &ops, s, f);
    if (s->keks != NULL && (redis.url.len == 0 || s->link != NULL))
        return s;
    store_free(s);
    return NULL;
}

void store_free(struct store *s)
{
    if (s == NULL)
        return;
    if (s->link != NULL)
        rlink_reset(s->link, "closing"); /* what was cancelled hears of it and is freed */
    rlink_free(s->link);
    loop_undefer(s->loop, &s->go);
    keks_free(s->keks);
    erased_free(s->erased);
    free(s->keks_path);
    free(s->erased_path);
    free(s->restarts_path);
    free(s->journal);
    free(s->site);
    free(s);
}

void store_wait(struct store *s, struct store_wait *w)
{
    w->waiting = true;
    w->next = s->waits;
    s->waits = w;
    next_turn(s);
}

void store_wait_cancel(struct store *s, struct store_wait *w)
{
    struct store_wait **at = &s->waits;

    while (*at != NULL && *at != w)
        at = &(*at)->next;
    if (*at != NULL)
        *at = w->next;
    w->waiting = false;
}

struct rlink *store_link(const struct store *s)
{
    return s->link;
}

const struct query_log *store_log(const struct store *s)
{
    return &s->log;
}

const struct log_restarts *store_restarts(struct store *s)
{
    refresh_restarts(s);
    return &s->restarts;
}

const char *store_journal(const struct store *s)
{
    return s->journal;
}
