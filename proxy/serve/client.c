/*
 * client.c - what a request sees of its client, whatever protocol that speaks.
 */
#include "serve_priv.h"

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
