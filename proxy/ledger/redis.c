/*
 * redis.c - contract in consentd/redis.h.
 *
 *   DOWN ──timer──▶ DIALING ──on_open──▶ GREETING (AUTH, SETNAME) ──▶ UP
 *            └────▶ ASKING a sentinel who the master is, ─▶ DIALING it
 *     ▲────────── error, EOF, watchdog, rlink_reset ───────────────────┘
 *
 * Replies are matched to commands by order: a ring of what is in flight. A callback may
 * reset or free the link; both wait until the reader's loop has come out of it.
 */
#include "consentd/redis.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/conn.h"
#include "consentd/crypto.h"
#include "consentd/endpoint.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/timer.h"
#include "consentd/tls_ctx.h"
#include "redis_sentinel.h"

#define CONNECT_TIMEOUT_MS 3000
#define WATCH_EVERY_MS     250
#define WHY_MAX            160

enum link_state {
    LINK_DOWN = 0, /* waiting for the timer to dial again */
    LINK_ASKING,   /* dials a sentinel, or waits for its word */
    LINK_DIALING,
    LINK_GREETING, /* AUTH and the name are on their way */
    LINK_UP,
};

struct waiting {
    rlink_fn fn;
    void *arg;
    uint64_t sent_ms;
};

struct rlink {
    struct loop *loop;
    struct rlink_ops ops;
    void *owner;
    struct endpoint endpoint;
    struct sentinels *sentinels; /* owned; NULL: endpoint is the master */
    bool known;                  /* with sentinels: endpoint is what one of them said */
    struct tls_client *tls;      /* owned; NULL: plain */
    char *user, *password;       /* owned; "" if none */
    char *name;                  /* owned */
    enum link_state state;
    struct conn *conn;   /* owned; NULL while down */
    redisReader *reader; /* owned; NULL while down */
    bool used;           /* there may be replies left in the reader's memory */
    struct waiting ring[RLINK_WINDOW];
    unsigned head, cnt;
    struct timer dial, watch;
    uint64_t backoff_ms;
    bool busy;   /* inside a callback of ours */
    bool doomed; /* freed by a callback */
    bool failed; /* reset by a callback */
    char why[WHY_MAX];
};

/* --- replies ----------------------------------------------------------------------- */

static const redisReply *reply_of(const struct resp *v)
{
    return (const redisReply *)(const void *)v;
}

enum resp_type resp_type(const struct resp *v)
{
    const redisReply *r = reply_of(v);

    if (r == NULL)
        return RESP_NIL;
    switch (r->type) {
    case REDIS_REPLY_ERROR:
        return RESP_ERROR;
    case REDIS_REPLY_STATUS:
        return RESP_STATUS;
    case REDIS_REPLY_STRING:
        return RESP_STRING;
    case REDIS_REPLY_INTEGER:
        return RESP_INT;
    case REDIS_REPLY_ARRAY:
        return RESP_ARRAY;
    default:
        return RESP_NIL;
    }
}

int64_t resp_int(const struct resp *v)
{
    return resp_type(v) == RESP_INT ? reply_of(v)->integer : 0;
}

struct str resp_str(const struct resp *v)
{
    enum resp_type type = resp_type(v);

    if (type != RESP_STRING && type != RESP_STATUS && type != RESP_ERROR)
        return (struct str){NULL, 0};
    return str_make(reply_of(v)->str, (size_t)reply_of(v)->len);
}

size_t resp_cnt(const struct resp *v)
{
    return resp_type(v) == RESP_ARRAY ? reply_of(v)->elements : 0;
}

const struct resp *resp_at(const struct resp *v, size_t i)
{
    return i < resp_cnt(v) ? (const struct resp *)(const void *)reply_of(v)->element[i] : NULL;
}

/* --- up and down ------------------------------------------------------------------- */

static void release(struct rlink *l)
{
    tls_client_free(l->tls);
    if (l->password != NULL)
        crypto_wipe(l->password, strlen(l->password));
    free(l->password);
    free(l->user);
    free(l->sentinels);
    free(l->name);
    free(l);
}

static void drop_transport(struct rlink *l)
{
    if (l->conn != NULL)
        conn_close(l->conn);
    l->conn = NULL;
    if (l->reader != NULL)
        redisReaderFree(l->reader);
    l->reader = NULL;
    timer_clear(&l->watch);
}

/* Calls what waits with "no reply". The callbacks find the link down. */
static void fail_waiting(struct rlink *l)
{
    while (l->cnt > 0 && !l->doomed) {
        struct waiting w = l->ring[l->head];

        l->head = (l->head + 1) % RLINK_WINDOW;
        l->cnt--;
        w.fn(w.arg, NULL);
    }
}

/* A sentinel that does not answer: the next one is asked at once. False: all were. */
static bool next_sentinel(struct rlink *l)
{
    if (l->state != LINK_ASKING)
        return false;
    l->sentinels->at = (l->sentinels->at + 1) % l->sentinels->cnt;
    if (++l->sentinels->asked % l->sentinels->cnt == 0)
        return false;
    drop_transport(l);
    l->cnt = 0; /* the question; nobody else waits */
    l->failed = false;
    timer_set(&l->dial, 0);
    return true;
}

static void go_down(struct rlink *l, const char *why)
{
    bool was_up = l->state == LINK_UP;

    if (next_sentinel(l))
        return;

    (void)snprintf(l->why, sizeof(l->why), "%s", why);
    drop_transport(l);
    l->known = false;
    l->state = LINK_DOWN;
    l->failed = false;
    metric_set(METRIC_REDIS_UP, 0);
    metric_add(METRIC_REDIS_ERRORS, 1);
    if (was_up || l->backoff_ms == RLINK_BACKOFF_MS)
        log_warn("redis.down", "why=\"%s\"", l->why);
    timer_set(&l->dial, l->backoff_ms);
    l->backoff_ms *= 2;
    if (l->backoff_ms > RLINK_BACKOFF_MAX_MS)
        l->backoff_ms = RLINK_BACKOFF_MAX_MS;
    l->busy = true;
    fail_waiting(l);
    if (!l->doomed)
        l->ops.on_down(l->owner, l->why);
    l->busy = false;
    if (l->doomed)
        release(l);
}

/* --- commands ---------------------------------------------------------------------- */

/* Formats and sends in any state that has a connection. */
static bool send_command(struct rlink *l, const struct str *argv, size_t argc, rlink_fn fn,
                         void *arg)
{
    const char *ptrs[RLINK_ARGS_MAX];
    size_t lens[RLINK_ARGS_MAX];
    char *text = NULL;
    int len;
    bool ok;

    if (l->conn == NULL || l->cnt == RLINK_WINDOW || argc == 0 || argc > RLINK_ARGS_MAX)
        return false;
    for (size_t i = 0; i < argc; i++) {
        ptrs[i] = argv[i].ptr != NULL ? argv[i].ptr : "";
        lens[i] = argv[i].len;
    }
    len = redisFormatCommandArgv(&text, (int)argc, ptrs, lens);
    if (len < 0)
        return false;
    ok = conn_write(l->conn, text, (size_t)len);
    redisFreeCommand(text);
    if (!ok)
        return false;
    l->ring[(l->head + l->cnt++) % RLINK_WINDOW] =
        (struct waiting){.fn = fn, .arg = arg, .sent_ms = clock_mono_ms()};
    return true;
}

bool rlink_command(struct rlink *l, const struct str *argv, size_t argc, rlink_fn fn, void *arg)
{
    return l->state == LINK_UP && !l->failed &&
           send_command(l, argc == 0 ? NULL : argv, argc, fn, arg);
}

static void on_greeted(void *arg, const struct resp *reply)
{
    struct rlink *l = arg;

    if (reply == NULL)
        return;
    if (resp_type(reply) == RESP_ERROR) {
        char text[WHY_MAX];

        (void)snprintf(text, sizeof(text), "%.*s", STR_ARGS(resp_str(reply)));
        rlink_reset(l, text);
        return;
    }
    if (l->cnt > 0 || l->state != LINK_GREETING)
        return; /* the name's answer is still to come */
    l->state = LINK_UP;
    metric_set(METRIC_REDIS_UP, 1);
    log_info("redis.up", "name=%s", l->name);
    l->ops.on_up(l->owner);
}

/* A sentinel's word: the master is dialled in the next turn. */
static void on_master(void *arg, const struct resp *reply)
{
    struct rlink *l = arg;

    if (reply == NULL)
        return;
    l->known = sentinel_answer(l->sentinels, reply, &l->endpoint);
    if (!l->known) {
        rlink_reset(l, "the sentinel knows no such master");
        return;
    }
    l->sentinels->asked = 0;
    timer_set(&l->dial, 0);
}

static void ask_sentinel(struct rlink *l)
{
    struct str words[SENTINEL_WORDS];

    sentinel_question(l->sentinels, words);
    if (!send_command(l, words, COUNT_OF(words), on_master, l))
        go_down(l, "the connection takes no commands");
}

static void on_open(void *owner)
{
    struct rlink *l = owner;
    struct str auth[3] = {STR("AUTH")};
    const struct str name[] = {STR("CLIENT"), STR("SETNAME"), str_c(l->name)};
    size_t argc = 1;
    bool ok = true;

    if (l->state == LINK_ASKING) {
        ask_sentinel(l);
        return;
    }
    l->state = LINK_GREETING;
    if (l->user[0] != '\0')
        auth[argc++] = str_c(l->user);
    if (l->password[0] != '\0') {
        auth[argc++] = str_c(l->password);
        ok = send_command(l, auth, argc, on_greeted, l);
    }
    ok = ok && send_command(l, name, COUNT_OF(name), on_greeted, l);
    if (!ok)
        go_down(l, "the connection takes no commands");
}

static void deliver(struct rlink *l, void *reply)
{
    struct waiting w = l->ring[l->head];

    l->head = (l->head + 1) % RLINK_WINDOW;
    l->cnt--;
    l->busy = true;
    w.fn(w.arg, (const struct resp *)reply);
    l->busy = false;
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct rlink *l = owner;
    void *reply = NULL;
    const char *wrong = NULL;

    l->used = true;
    if (redisReaderFeed(l->reader, (const char *)data, len) != REDIS_OK)
        wrong = "a reply that is no Redis protocol";
    while (wrong == NULL && !l->failed && !l->doomed) {
        if (redisReaderGetReply(l->reader, &reply) != REDIS_OK)
            wrong = "a reply that is no Redis protocol";
        else if (reply == NULL)
            break;
        else if (l->cnt == 0)
            wrong = "a reply that nobody asked for";
        else
            deliver(l, reply);
        if (reply != NULL)
            freeReplyObject(reply);
        reply = NULL;
    }
    if (l->doomed) {
        drop_transport(l);
        release(l);
    } else if (wrong != NULL) {
        go_down(l, wrong);
    } else if (l->failed) {
        char why[WHY_MAX];

        memcpy(why, l->why, sizeof(why));
        go_down(l, why);
    }
    return len;
}

/* hiredis keeps what it has read in its buffer: a new one when nothing is awaited. */
static void renew_reader(struct rlink *l)
{
    redisReader *fresh;

    if (!l->used || l->cnt > 0 || l->reader == NULL || l->reader->pos != l->reader->len ||
        l->state != LINK_UP || (fresh = redisReaderCreate()) == NULL)
        return;
    redisReaderFree(l->reader);
    l->reader = fresh;
    l->used = false;
}

static void on_eof(void *owner)
{
    go_down(owner, "Redis closed the connection");
}

static const char *const why_texts[] = {
    [CONN_WHY_ERROR] = "the connection broke",
    [CONN_WHY_EOF] = "Redis closed the connection",
    [CONN_WHY_CONNECT] = "Redis can't be reached",
    [CONN_WHY_RESOLVE] = "Redis' name has no address",
    [CONN_WHY_TIMEOUT] = "Redis did not answer the connection in time",
    [CONN_WHY_TLS] = "TLS: the handshake failed or the certificate was refused",
};

static void on_closed(void *owner, enum conn_why why)
{
    struct rlink *l = owner;

    l->conn = NULL; /* it is gone by itself */
    go_down(l, why_texts[why]);
}

static const struct conn_ops conn_callbacks = {
    .on_data = on_data,
    .on_open = on_open,
    .on_eof = on_eof,
    .on_closed = on_closed,
};

static void on_dial_timer(void *arg)
{
    struct rlink *l = arg;
    const struct conn_dial_opts opts = {.connect_timeout_ms = CONNECT_TIMEOUT_MS, .tls = l->tls};
    bool ask = l->sentinels != NULL && !l->known;

    drop_transport(l); /* to the sentinel */
    l->state = ask ? LINK_ASKING : LINK_DIALING;
    l->reader = redisReaderCreate();
    ASSERT(l->reader != NULL);
    l->conn = conn_dial(l->loop, ask ? &l->sentinels->hosts[l->sentinels->at] : &l->endpoint, &opts,
                        &conn_callbacks, l);
    conn_set_marks(l->conn, RLINK_QUEUE_MAX / 4, RLINK_QUEUE_MAX / 2, RLINK_QUEUE_MAX);
    timer_set(&l->watch, WATCH_EVERY_MS);
}

/* Redis may stand still with its socket open: nobody else would notice. */
static void on_watch_timer(void *arg)
{
    struct rlink *l = arg;

    if (l->cnt > 0 && clock_mono_ms() - l->ring[l->head].sent_ms > RLINK_WATCHDOG_MS) {
        go_down(l, "no reply in time");
        return;
    }
    renew_reader(l);
    timer_set(&l->watch, WATCH_EVERY_MS);
}

/* --- life -------------------------------------------------------------------------- */

bool rlink_url_ok(struct str url, struct fault *f)
{
    struct sentinels sentinels;
    struct endpoint endpoint;
    struct str user, path;

    if (sentinel_is_url(url))
        return sentinel_parse(url, &sentinels, &user, f);
    if ((str_starts(url, STR("redis://")) || str_starts(url, STR("rediss://")) ||
         str_starts(url, STR("unix:"))) &&
        endpoint_parse_rest(url, &endpoint, &user, &path, f))
        return true;
    fault_set(f, "expected redis://HOST[:PORT], rediss://HOST[:PORT], unix:/PATH or "
                 "redis+sentinel://HOST[:PORT],HOST[:PORT]/NAME");
    return false;
}

/* The URL may name the user ("redis://consentd@host"); a password there is taken as well. */
static bool parse_url(struct rlink *l, const struct rlink_config *cfg, struct fault *f)
{
    struct str who = {NULL, 0};
    struct str path = {NULL, 0};
    struct str user = cfg->user;
    struct str password = cfg->password;
    struct str name;

    if (sentinel_is_url(cfg->url)) {
        l->sentinels = mem_new(struct sentinels);
        if (!sentinel_parse(cfg->url, l->sentinels, &who, f))
            return false;
        l->endpoint.tls = l->sentinels->tls;
    } else if (!endpoint_parse_rest(cfg->url, &l->endpoint, &who, &path, f)) {
        return false;
    }
    if (path.len > 0) {
        fault_set(f, "\"%.*s\": the ledger uses database 0 only", STR_ARGS(path));
        return false;
    }
    if (str_cut(&who, ':', &name)) {
        user = user.len > 0 ? user : name;
        password = password.len > 0 ? password : who;
    }
    l->user = str_dup(user);
    l->password = str_dup(password);
    return true;
}

struct rlink *rlink_new(struct loop *loop, const struct rlink_config *cfg,
                        const struct rlink_ops *ops, void *owner, struct fault *f)
{
    struct rlink *l = mem_new(struct rlink);

    l->loop = loop;
    l->ops = *ops;
    l->owner = owner;
    l->name = mem_strdup(cfg->name);
    l->backoff_ms = RLINK_BACKOFF_MS;
    timer_init(&l->dial, loop, on_dial_timer, l);
    timer_init(&l->watch, loop, on_watch_timer, l);
    if (!parse_url(l, cfg, f) ||
        (l->endpoint.tls && (l->tls = tls_client_new(cfg->ca_pem, f)) == NULL)) {
        fault_prefix(f, "redis");
        release(l);
        return NULL;
    }
    timer_set(&l->dial, 0);
    return l;
}

struct loop *rlink_loop(const struct rlink *l)
{
    return l->loop;
}

void rlink_free(struct rlink *l)
{
    if (l == NULL)
        return;
    timer_clear(&l->dial);
    if (l->busy) {
        l->doomed = true;
        return;
    }
    drop_transport(l);
    release(l);
}

bool rlink_is_up(const struct rlink *l)
{
    return l->state == LINK_UP;
}

unsigned rlink_in_flight(const struct rlink *l)
{
    return l->cnt;
}

void rlink_reset(struct rlink *l, const char *why)
{
    if (l->state == LINK_DOWN)
        return;
    if (!l->busy) {
        go_down(l, why);
        return;
    }
    (void)snprintf(l->why, sizeof(l->why), "%s", why);
    l->failed = true;
}

void rlink_settled(struct rlink *l)
{
    l->backoff_ms = RLINK_BACKOFF_MS;
}
