/*
 * acme.c - http-01 challenges of certificate authorities (RFC 8555 8.3).
 *
 * The authority asks over cleartext for a file whose name and text the operator's client has just
 * written into listen[].acme. For any host: who asks knows the name already, and the first
 * certificate of a site comes before everything else of it. A name is one segment of base64url
 * letters, so that no other file can be meant.
 */
#include <string.h>

#include "consentd/file.h"
#include "serve_priv.h"

#define NAME_MAX_LEN 128  /* a token has at least 128 bits; authorities use 43 letters */
#define TEXT_MAX     4096 /* bytes of a file; a key authorization has about 90 */

static const struct str prefix = STR_INIT("/.well-known/acme-challenge/");

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_alnum(s.ptr[i]) && s.ptr[i] != '-' && s.ptr[i] != '_')
            return false;
    }
    return s.len > 0 && s.len <= NAME_MAX_LEN;
}

static void send_text(struct exchange *x, struct str text)
{
    struct header items[2];
    struct headers h;

    headers_init(&h, items, COUNT_OF(items));
    if (headers_add(&h, NULL, STR("Content-Type"), STR("application/octet-stream")) &&
        headers_add(&h, NULL, STR("Cache-Control"), STR("no-store")))
        (void)exchange_answer(x, 200, &h, text);
    else
        exchange_fail(x, 500, "memory limit");
}

bool acme_is_for_origin(const struct flow *f)
{
    const char *where = f->client->acceptor->config->acme;

    return where != NULL && strcmp(where, "origin") == 0 && str_starts(f->x.req.path, prefix) &&
           is_name(str_slice(f->x.req.path, prefix.len, f->x.req.path.len));
}

bool acme_answer(struct flow *f)
{
    struct exchange *x = &f->x;
    const char *dir = f->client->acceptor->config->acme;
    struct str name = str_slice(x->req.path, prefix.len, x->req.path.len);
    struct buf text;
    char *path;

    if (dir == NULL || dir[0] != '/' || !str_starts(x->req.path, prefix))
        return false;
    buf_init(&text, TEXT_MAX);
    path = arena_printf(&x->arena, "%s/%.*s", dir, STR_ARGS(name));
    if (x->req.method_id != HTTP_METHOD_GET && x->req.method_id != HTTP_METHOD_HEAD)
        exchange_fail(x, 405, "method of a challenge");
    else if (!is_name(name) || path == NULL || !file_read(path, TEXT_MAX, &text, NULL))
        exchange_fail(x, 404, "no such challenge");
    else
        send_text(x, buf_str(&text));
    buf_free(&text);
    return true;
}
