/*
 * origin_check.c - health checks: a GET now and then on a connection of its own.
 *
 *   waiting --(interval, a tenth more or less)--> asking --> head, end, or time is over --> waiting
 *
 * Every worker asks by itself, in times of its own: origins are not asked in step.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/h1_parse.h"
#include "consentd/mem.h"
#include "serve_priv.h"

#define ANSWER_MAX 16384 /* bytes of the head of an answer */
#define FIRST_MS   1000  /* a new worker knows that soon who is down */

struct origin_check {
    struct origin *origin;
    const struct config_health *config;
    struct conn *conn; /* owned; NULL: waiting */
    struct buf in;
    struct timer timer; /* the next question, or the end of patience */
};

/* 0 to most, both possible. */
static uint64_t any_up_to(uint64_t most)
{
    uint32_t random;

    crypto_random(&random, sizeof(random));
    return random % (most + 1);
}

/* silent: nothing came back. */
static void finish(struct origin_check *check, bool good, const char *why, bool silent)
{
    struct origin *o = check->origin;
    uint64_t tenth = check->config->interval_ms / 10;

    if (check->conn != NULL)
        conn_close(check->conn);
    check->conn = NULL;
    buf_free(&check->in);
    buf_init(&check->in, ANSWER_MAX);
    origin_stats_add(&o->stats->checks, 1);
    if (!good)
        origin_stats_add(&o->stats->checks_failed, 1);
    timer_set(&check->timer, check->config->interval_ms - tenth + any_up_to(2 * tenth));
    origin_changed(
        o, balance_check(o->group->balance, o->index, good, loop_now_ms(o->group->server->loop)),
        why, silent);
}

static void judge(struct origin_check *check, unsigned status)
{
    const struct config_health *h = check->config;
    char why[64];

    snprintf(why, sizeof(why), "the check was answered %u", status);
    finish(check, status >= h->status_low && status <= h->status_high, why, false);
}

/* Reads a final head; 1xx in front of it are passed over. */
static void read_answer(struct origin_check *check)
{
    const struct config_limits *max = &check->origin->group->server->config->limits;
    const struct h1_limits limits = {ANSWER_MAX, max->target, max->fields};
    struct str rest = buf_str(&check->in);
    enum h1_status got = H1_HEAD;
    struct h1_response resp = {.status = 0};
    struct arena arena;

    arena_init(&arena, NULL, 4 * ANSWER_MAX);
    while (got == H1_HEAD && resp.status < 200) {
        struct h1_parser parser = {0};

        got = h1_parse_response(&parser, &arena, rest, &limits, false, &resp);
        rest = str_slice(rest, parser.used, rest.len);
    }
    if (got == H1_HEAD)
        judge(check, resp.status);
    else if (got == H1_BAD)
        finish(check, false, "the check's answer is malformed", false);
    arena_fini(&arena);
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct origin_check *check = owner;

    if (buf_append(&check->in, data, len < ANSWER_MAX ? len : ANSWER_MAX))
        read_answer(check);
    else
        finish(check, false, "the check's answer has a head that is too large", false);
    return len;
}

static void on_open(void *owner)
{
    struct origin_check *check = owner;
    struct buf out;
    bool ok;

    buf_init(&out, 4096);
    ok = buf_printf(&out,
                    "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: consentd-check\r\n"
                    "Accept: */*\r\nConnection: close\r\n\r\n",
                    check->config->path, check->config->host) &&
         conn_write(check->conn, out.data, out.len);
    buf_free(&out);
    if (!ok)
        finish(check, false, "the check could not be sent", false);
}

static void on_eof(void *owner)
{
    finish(owner, false, "the check got no answer", true);
}

static void on_closed(void *owner, enum conn_why why)
{
    struct origin_check *check = owner;

    check->conn = NULL;
    finish(check, false, conn_strerror(why), true);
}

static void ask(struct origin_check *check)
{
    static const struct conn_ops ops = {
        .on_data = on_data, .on_open = on_open, .on_eof = on_eof, .on_closed = on_closed};
    const struct origin *o = check->origin;
    /* the whole check has one patience, ours */
    const struct conn_dial_opts dial = {2 * check->config->timeout_ms, o->tls, NULL};

    timer_set(&check->timer, check->config->timeout_ms);
    check->conn = conn_dial(o->group->server->loop, &o->endpoint, &dial, &ops, check);
}

static void on_timer(void *arg)
{
    struct origin_check *check = arg;

    if (check->conn == NULL)
        ask(check);
    else
        finish(check, false, "the check took too long", true);
}

struct origin_check *origin_check_new(struct origin *o)
{
    struct origin_check *check = mem_new(struct origin_check);
    uint64_t first = o->group->site->config->health.interval_ms;

    check->origin = o;
    check->config = &o->group->site->config->health;
    buf_init(&check->in, ANSWER_MAX);
    timer_init(&check->timer, o->group->server->loop, on_timer, check);
    timer_set(&check->timer, any_up_to(first < FIRST_MS ? first : FIRST_MS));
    return check;
}

void origin_check_free(struct origin_check *check)
{
    if (check == NULL)
        return;
    timer_clear(&check->timer);
    if (check->conn != NULL)
        conn_close(check->conn);
    buf_free(&check->in);
    free(check);
}
