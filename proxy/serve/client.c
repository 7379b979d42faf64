/*
 * client.c - what a request sees of its client, whatever protocol that speaks.
 */
#include "serve_priv.h"

static uint64_t grace_ms(const struct client *c)
{
    uint64_t silence = c->server->config->limits.body_timeout_ms;

    return silence < SERVER_RATE_GRACE_MS ? silence : SERVER_RATE_GRACE_MS;
}

static void pace_timer(struct client *c, uint64_t now)
{
    const struct config_limits *max = &c->server->config->limits;
    uint64_t ms = max->body_timeout_ms;

    if (max->upload_rate > 0 && c->late_ms - now < ms)
        ms = c->late_ms - now;
    timer_set(&c->timer, ms);
}

void client_pace_start(struct client *c)
{
    uint64_t now = loop_now_ms(c->server->loop);

    c->late_ms = now + grace_ms(c);
    pace_timer(c, now);
}

/* A bucket of time: bytes fill it, up to the grace, and the clock empties it. */
void client_pace(struct client *c, uint64_t bytes)
{
    uint64_t rate = c->server->config->limits.upload_rate;
    uint64_t now = loop_now_ms(c->server->loop);
    uint64_t earned = rate > 0 ? bytes * 1000 / rate : 0;

    c->late_ms = c->late_ms > now ? c->late_ms + earned : now + 1;
    if (c->late_ms > now + grace_ms(c))
        c->late_ms = now + grace_ms(c);
    pace_timer(c, now);
}

uint64_t client_least(const struct client *c)
{
    const struct config_limits *max = &c->server->config->limits;

    return max->download_rate * max->send_timeout_ms / 1000;
}

bool client_is_slow(const struct client *c, uint64_t taken, unsigned share)
{
    uint64_t least = client_least(c) / (share > 0 ? share : 1);

    return taken == c->progress || (taken - c->progress < least && taken - c->progress < c->owed);
}

void client_want_body(struct client *c)
{
    c->ops->want_body(c);
}

void client_hold_body(struct client *c)
{
    c->ops->hold_body(c);
}

void client_stall(struct client *c, bool on)
{
    c->ops->stall(c, on);
}

bool client_asked_for(struct client *c, const struct site *site)
{
    return c->ops->asked_for(c, site);
}

bool client_head(struct client *c, unsigned status, struct h1_response *resp,
                 struct h1_framing framing)
{
    return c->ops->head(c, status, resp, framing);
}

bool client_body(struct client *c, const uint8_t *data, size_t len)
{
    return c->ops->body(c, data, len);
}

bool client_is_choked(const struct client *c)
{
    return c->ops->is_choked(c);
}

void client_tunnel(struct client *c)
{
    c->ops->tunnel(c);
}

void client_shut(struct client *c)
{
    c->ops->shut(c);
}

void client_answered(struct client *c)
{
    c->ops->answered(c);
}

void client_close(struct client *c, bool cut)
{
    c->ops->close(c, cut);
}
