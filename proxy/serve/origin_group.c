/*
 * origin_group.c - who takes a request, the queue before that, and what becomes of an attempt.
 *
 *   origin_start -> a place at an origin -> kept connection -> sent -> head
 *        |      \                     \--> dial -> open ----^   |
 *        |       `-> queue (all full) -> a place is free       origin_lost
 *        `-> 503 (none is up)                                    |
 *                                                                v
 *   nothing was sent                           -> the next origin, until all were asked
 *   sent on a kept connection, no byte came,
 *   idempotent and without a body              -> once more, on a new connection: better to another
 *                                                 origin (this one may have died), else to this
 *   sent, no byte came, idempotent, no body    -> once more, to another origin
 *   anything else                              -> 502, 504, or a cut answer
 *
 * So a POST whose bytes went out is never sent a second time (RFC 9110 9.2.2), and nothing a
 * third time (RFC 9112 9.3.1).
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/bundle.h"
#include "consentd/config.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/names.h"
#include "consentd/tls_ctx.h"
#include "serve_priv.h"

static void wake_later(struct origin_group *g)
{
    if (g->waiting > 0)
        loop_defer(g->server->loop, &g->wake);
}

/* --- what the pool asks --- */

/* A connection whose last read may have left something is asked even when it is fresh. */
bool origin_conn_is_reusable(struct origin_conn *oc, bool probe)
{
    if (oc->conn == NULL)
        return false;
    return (!probe && conn_is_quiet(oc->conn)) || conn_is_reusable(oc->conn);
}

/* Its address is not one of the name's any more: the origin has moved. */
bool origin_conn_is_stale(struct origin_conn *oc)
{
    const struct name *name = oc->origin->name;

    if (name == NULL || oc->conn == NULL || name_version(name) == oc->name_version)
        return false;
    oc->name_version = name_version(name);
    return !name_has(name, conn_peer(oc->conn));
}

static void on_reap(void *arg)
{
    struct origin_conn *oc = arg;

    freelist_give(&oc->origin->group->server->data->free_origin_conns, oc);
}

void origin_conn_close(struct origin_conn *oc)
{
    if (oc->conn != NULL)
        conn_reset(oc->conn);
    oc->conn = NULL;
    oc->flow = NULL;
    oc->reap = (struct deferred){.fn = on_reap, .arg = oc};
    loop_defer(oc->origin->group->server->loop, &oc->reap);
}

/* --- verdicts --- */

void origin_changed(struct origin *o, enum balance_change change, const char *why, bool silent)
{
    uint64_t now = loop_now_ms(o->group->server->loop);
    enum balance_state state = balance_state_of(o->group->balance, o->index, now);

    origin_stats_set(&o->stats->state, (uint64_t)state + 1);
    if (change == BALANCE_SAME)
        return;
    if (change == BALANCE_WENT_DOWN) {
        origin_stats_add(&o->stats->outs, 1);
        log_warn("origin.down", "site=%s origin=%s why=\"%s\"", o->group->site->config->name,
                 o->config->url, why);
        if (silent)
            loop_defer(o->group->server->loop, &o->leave);
    } else {
        log_info("origin.up", "site=%s origin=%s", o->group->site->config->name, o->config->url);
    }
    wake_later(o->group);
}

static void judge(struct flow *f, bool answered, const char *why)
{
    struct origin *o = f->origin;
    uint64_t now = loop_now_ms(f->x.server->loop);

    if (answered && f->head_seen) {
        origin_stats_add(&o->stats->answers, 1);
        origin_stats_add(&o->stats->latency_ms, now - f->sent_ms);
    } else if (!answered) {
        origin_stats_add(&o->stats->failures, 1);
    }
    origin_changed(o, balance_judge(o->group->balance, &f->claim, answered, now), why,
                   !f->head_seen);
}

void origin_judge(struct flow *f, bool answered)
{
    judge(f, answered, "it answers with gateway errors");
}

void origin_release(struct flow *f, bool reusable)
{
    struct origin_conn *oc = f->oc;
    struct origin_group *g;

    if (oc == NULL)
        return;
    g = oc->origin->group;
    f->oc = NULL;
    timer_clear(&f->timer);
    oc->flow = NULL;
    if (reusable && !f->x.server->draining && !origin_conn_is_stale(oc)) {
        conn_resume_read(oc->conn);
        upstream_give(oc->origin->pool, oc, loop_now_ms(f->x.server->loop));
    } else {
        upstream_drop(oc->origin->pool, oc);
    }
    balance_give(g->balance, &f->claim);
    origin_stats_set(&oc->origin->stats->busy, upstream_out(oc->origin->pool));
    wake_later(g);
}

/* --- taking a place --- */

/* May be sent again when it is not known whether it was carried out (RFC 9110 9.2.2). */
static bool is_repeatable(const struct flow *f)
{
    enum http_method method = f->x.req.method_id;
    bool empty = f->x.req.body == H1_BODY_NONE ||
                 (f->x.req.body == H1_BODY_LENGTH && f->x.req.content_length == 0);

    return empty && (method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD ||
                     method == HTTP_METHOD_OPTIONS || method == HTTP_METHOD_PUT ||
                     method == HTTP_METHOD_DELETE);
}

static enum balance_answer take(struct flow *f)
{
    struct origin_group *g = f->x.site->origins;
    struct balance_ask ask = {.now_ms = loop_now_ms(g->server->loop),
                              .tried = f->tried,
                              .avoid = f->retried ? UINT64_C(1) << f->origin->index : 0,
                              .wanted = f->wanted,
                              .resendable = !f->resent && is_repeatable(f)};
    enum balance_answer answer = balance_take(g->balance, &ask, &f->claim);

    if (answer == BALANCE_TAKEN)
        f->origin = &g->origins[f->claim.member];
    return answer;
}

/* A place is held: a kept connection, or a new one. */
static void begin(struct flow *f)
{
    struct origin *o = f->origin;
    struct server *s = f->x.server;
    struct origin_conn *oc = NULL;
    struct conn_dial_opts dial = {f->x.site->config->connect_timeout_ms, o->tls, NULL};
    bool sure = !is_repeatable(f);
    enum upstream_slot slot = f->retried ? upstream_take_new(o->pool)
                                         : upstream_take(o->pool, loop_now_ms(s->loop), sure, &oc);

    ASSERT(slot != UPSTREAM_BUSY); /* the balancer counts the same places */
    origin_stats_add(&o->stats->requests, 1);
    origin_stats_set(&o->stats->busy, upstream_out(o->pool));
    if (slot == UPSTREAM_REUSE && oc != NULL) {
        oc->reused = true;
        oc->flow = f;
        f->oc = oc;
        metric_add(METRIC_ORIGIN_REUSED, 1);
        origin_send(f);
        return;
    }
    oc = freelist_take(&s->data->free_origin_conns, sizeof(*oc));
    oc->origin = o;
    oc->flow = f;
    f->oc = oc;
    metric_add(METRIC_ORIGIN_DIALS, 1);
    origin_stats_add(&o->stats->connects, 1);
    oc->conn = conn_dial(s->loop, &o->endpoint, &dial, &origin_conn_ops, oc);
}

/* --- the queue --- */

/* Neither tied to one origin nor failed by another; does not change while it waits. */
static bool takes_any(const struct flow *f)
{
    return f->wanted < 0 && f->tried == 0;
}

static void wait(struct flow *f)
{
    struct origin_group *g = f->x.site->origins;

    if (g->waiting >= g->site->config->origin_queue) {
        exchange_fail(&f->x, 503, "no free connection to an origin");
        return;
    }
    f->waiting = true;
    f->wait_prev = g->wait_last;
    f->wait_next = NULL;
    if (g->wait_last != NULL)
        g->wait_last->wait_next = f;
    else
        g->wait_first = f;
    g->wait_last = f;
    g->waiting++;
    g->waiting_for_any += takes_any(f);
    metric_up(METRIC_ORIGIN_WAITING);
    timer_set(&f->timer, g->site->config->queue_timeout_ms);
}

void origin_unwait(struct flow *f)
{
    struct origin_group *g;

    if (!f->waiting)
        return;
    g = f->x.site->origins;
    f->waiting = false;
    timer_clear(&f->timer);
    if (f->wait_prev != NULL)
        f->wait_prev->wait_next = f->wait_next;
    else
        g->wait_first = f->wait_next;
    if (f->wait_next != NULL)
        f->wait_next->wait_prev = f->wait_prev;
    else
        g->wait_last = f->wait_prev;
    g->waiting--;
    g->waiting_for_any -= takes_any(f);
    metric_down(METRIC_ORIGIN_WAITING);
}

static void none_is_up(struct flow *f)
{
    uint64_t wait_ms = balance_wait_ms(f->x.site->origins->balance, loop_now_ms(f->x.server->loop));

    f->retry_s = (unsigned)((wait_ms + 999) / 1000);
    exchange_fail(&f->x, 503, "no origin is up");
}

/* The first in the queue that has a place; false: none has. */
static bool serve_one(struct origin_group *g)
{
    for (struct flow *f = g->wait_first; f != NULL; f = f->wait_next) {
        enum balance_answer answer = take(f);

        if (answer == BALANCE_FULL && takes_any(f))
            return false; /* full for everybody behind it too, but for those of one origin */
        if (answer == BALANCE_FULL)
            continue;
        origin_unwait(f);
        if (answer == BALANCE_TAKEN)
            begin(f);
        else
            none_is_up(f);
        return true; /* the list may be another one */
    }
    return false;
}

static void on_wake(void *arg)
{
    while (serve_one(arg))
        ;
}

/* False: nobody is left to ask. */
static bool place(struct flow *f)
{
    /* nobody overtakes those who would go where he goes */
    bool last = f->x.site->origins->waiting_for_any > 0 && takes_any(f);
    enum balance_answer answer = last ? BALANCE_FULL : take(f);

    if (answer == BALANCE_TAKEN)
        begin(f);
    else if (answer == BALANCE_FULL)
        wait(f);
    return answer != BALANCE_NONE;
}

void origin_start(struct flow *f)
{
    if (!place(f))
        none_is_up(f);
}

/* No byte of an answer has come. */
static bool is_untouched(const struct flow *f)
{
    return !f->head_seen && f->oparser.scan == 0 && f->informational == 0;
}

void origin_lost(struct flow *f, enum conn_why why)
{
    bool sent = f->oc->ready;
    bool repeatable = is_untouched(f) && is_repeatable(f);
    bool stale = f->oc->reused && !f->retried && repeatable && why != CONN_WHY_TIMEOUT;
    bool again = stale || !sent || (repeatable && !f->resent);

    if (!stale) {
        judge(f, false, conn_strerror(why));
        f->tried |= UINT64_C(1) << f->origin->index;
    }
    origin_release(f, false);
    f->retried = f->retried || stale;
    f->resent = f->resent || (sent && again);
    if (sent && again)
        metric_add(METRIC_ORIGIN_RESENT, 1);
    if (again && place(f))
        return;
    log_warn("origin.failed", "site=%s origin=%s why=\"%s\"", f->x.site->config->name,
             f->origin->config->url, conn_strerror(why));
    flow_origin_failed(f, why == CONN_WHY_TIMEOUT ? 504 : 502, "origin failed");
}

bool origin_again(struct flow *f)
{
    if (!f->oc->reused || f->retried || f->head_seen || f->informational > 0 || !is_repeatable(f))
        return false;
    origin_release(f, false);
    f->retried = true;
    f->oparser = (struct h1_parser){0};
    metric_add(METRIC_ORIGIN_RESENT, 1);
    if (!place(f))
        flow_origin_failed(f, 502, "origin failed");
    return true;
}

/* Sent there without a byte of an answer so far; can be answered by another origin. */
static bool may_leave(const struct flow *f, const struct origin *o)
{
    return !f->done && f->oc != NULL && f->origin == o && is_untouched(f) &&
           (!f->oc->ready || (is_repeatable(f) && !f->resent));
}

/*
 * The origin went out because it is silent: those who wait for it need not wait for their
 * time-out. A flow that ends meanwhile stays in memory until the end of the turn.
 */
static void on_leave(void *arg)
{
    struct origin *o = arg;
    struct flow *next;

    for (struct flow *f = o->group->server->data->flows; f != NULL; f = next) {
        next = f->next;
        if (balance_any_up(o->group->balance) && may_leave(f, o))
            origin_lost(f, CONN_WHY_TIMEOUT);
    }
}

/* --- making and freeing --- */

static bool start(struct origin *o, struct fault *f)
{
    const struct config_site *site = o->group->site->config;
    const struct bundle *bundle = o->group->server->bundle;
    struct upstream_limits limits = {o->config->max_connections, o->config->max_connections,
                                     site->origin_idle_timeout_ms};
    struct str ca = STR("");

    o->pool = upstream_pool_new(&limits);
    if (o->stats->state == ORIGIN_DOWN)
        balance_begin_down(o->group->balance, o->index, loop_now_ms(o->group->server->loop));
    else
        origin_stats_set(&o->stats->state, ORIGIN_UP);
    if (!endpoint_parse(str_c(o->config->url), &o->endpoint, f))
        return false;
    if (site->origin_ca != NULL && bundle != NULL &&
        !bundle_get(bundle, str_c(site->origin_ca), &ca)) {
        fault_set(f, "%s is not in the bundle", site->origin_ca);
        return false;
    }
    return !o->endpoint.tls || (o->tls = tls_client_new(ca, f)) != NULL;
}

static struct balance *make_balance(const struct config_site *site)
{
    const struct config_health *h = &site->health;
    const struct balance_rules rules = {
        .policy = site->balance == CONFIG_LEAST_CONNECTIONS ? BALANCE_LEAST_CONNECTIONS
                                                            : BALANCE_ROUND_ROBIN,
        .refuse_when_down = site->all_down == CONFIG_ALL_DOWN_REFUSE,
        .checked = h->path != NULL,
        .failures = h->failures,
        .window_ms = h->window_ms,
        .pause_ms = h->pause_ms,
        .slow_start_ms = h->slow_start_ms,
        .rise = h->rise,
        .fall = h->fall,
    };
    struct balance_member members[BALANCE_MEMBERS_MAX];

    for (size_t i = 0; i < site->origin_cnt; i++)
        members[i] = (struct balance_member){.weight = site->origins[i].weight,
                                             .backup = site->origins[i].backup,
                                             .max = site->origins[i].max_connections};
    return balance_new(&rules, members, (unsigned)site->origin_cnt);
}

struct origin_group *origin_group_new(struct server *s, struct site *site,
                                      struct origin_stats *stats, struct fault *f)
{
    struct origin_group *g = mem_new(struct origin_group);
    size_t cnt = site->config->origin_cnt;

    g->server = s;
    g->site = site;
    g->wake = (struct deferred){.fn = on_wake, .arg = g};
    g->balance = make_balance(site->config);
    g->sticky = sticky_new(site->config, s->keyring);
    g->origins = mem_calloc(cnt, sizeof(*g->origins));
    if (stats == NULL)
        stats = g->own_stats = mem_calloc(cnt, sizeof(*g->own_stats));
    for (size_t i = 0; i < cnt; i++) {
        struct origin *o = &g->origins[g->cnt++];

        o->group = g;
        o->index = (unsigned)i;
        o->config = &site->config->origins[i];
        o->stats = &stats[i];
        o->leave = (struct deferred){.fn = on_leave, .arg = o};
        if (!start(o, f)) {
            origin_group_free(g);
            return NULL;
        }
        if (site->config->health.path != NULL)
            o->check = origin_check_new(o);
    }
    return g;
}

/* A name is looked up before the first visitor needs it, and followed from then on. */
static void follow_name(struct origin *o)
{
    if (o->name == NULL && endpoint_is_name(&o->endpoint))
        o->name = names_find(loop_names(o->group->server->loop), o->endpoint.host);
    if (o->name == NULL || o->name_version == name_version(o->name))
        return;
    o->name_version = name_version(o->name);
    upstream_purge(o->pool);
}

void origin_group_tick(struct origin_group *g, uint64_t now_ms)
{
    for (unsigned i = 0; i < g->cnt; i++) {
        struct origin *o = &g->origins[i];

        upstream_sweep(o->pool, now_ms);
        follow_name(o);
        origin_stats_set(&o->stats->idle, upstream_idle(o->pool));
        origin_changed(o, BALANCE_SAME, NULL,
                       false); /* a pause that is over shows without a request */
    }
}

void origin_group_stop(struct origin_group *g)
{
    for (unsigned i = 0; g != NULL && i < g->cnt; i++) {
        origin_check_free(g->origins[i].check);
        g->origins[i].check = NULL;
        upstream_sweep(g->origins[i].pool, UINT64_MAX);
    }
}

void origin_group_free(struct origin_group *g)
{
    if (g == NULL)
        return;
    origin_group_stop(g);
    loop_undefer(g->server->loop, &g->wake);
    for (unsigned i = 0; i < g->cnt; i++) {
        loop_undefer(g->server->loop, &g->origins[i].leave);
        upstream_pool_free(g->origins[i].pool);
        tls_client_free(g->origins[i].tls);
    }
    balance_free(g->balance);
    sticky_free(g->sticky);
    free(g->origins);
    free(g->own_stats);
    free(g);
}
