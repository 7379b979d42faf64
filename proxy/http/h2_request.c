/*
 * h2_request.c - contract in h2_request_priv.h.
 */
#include "h2_request_priv.h"

#include <string.h>

#include "consentd/chars.h"
#include "h1_priv.h"

static enum h1_error set_method(struct h1_request *req, struct str value)
{
    if (value.len == 0 || chars_span(value, CHAR_TOKEN) != value.len)
        return H1_ERR_METHOD;
    if (value.len > H1_METHOD_MAX)
        return H1_ERR_METHOD_SIZE;
    req->method = value;
    req->method_id = http_method_of(value);
    return H1_ERR_NONE;
}

/* The origin-form or "*", nothing else: an absolute :path is how two hosts get into one request. */
static enum h1_error set_path(struct h1_request *req, struct str value, size_t target_max)
{
    if (value.len == 0 || chars_span(value, CHAR_TARGET) != value.len ||
        (value.ptr[0] != '/' && !str_eq_c(value, "*")))
        return H1_ERR_TARGET;
    if (value.len > target_max)
        return H1_ERR_TARGET_SIZE;
    req->target = value;
    return H1_ERR_NONE;
}

static enum h1_error take_field(struct h2_head *head, const struct h1_limits *limits,
                                struct str name, struct str value)
{
    if (str_eq_c(name, ":method"))
        return set_method(head->req, value);
    if (str_eq_c(name, ":path"))
        return set_path(head->req, value, limits->target_max);
    if (str_eq_c(name, ":scheme"))
        head->scheme = value;
    else if (str_eq_c(name, ":authority"))
        head->authority = value;
    else if (str_eq_c(name, ":protocol"))
        head->protocol = value;
    else if (name.len == 0 || chars_span(name, CHAR_TOKEN) != name.len)
        return H1_ERR_FIELD_NAME;
    else if (chars_span(value, CHAR_VALUE) != value.len)
        return H1_ERR_FIELD_VALUE;
    else if (!headers_add(&head->req->headers, head->arena, name, value))
        return H1_ERR_HEAD_SIZE;
    return H1_ERR_NONE;
}

void h2_head_field(struct h2_head *head, const struct h1_limits *limits, struct str name,
                   struct str value)
{
    struct str name_copy, value_copy;

    if (head->error != H1_ERR_NONE)
        return;
    head->size += name.len + value.len + H2_FIELD_OVERHEAD;
    head->fields++;
    if (head->fields > limits->fields_max)
        head->error = H1_ERR_FIELD_CNT;
    else if (head->size > limits->head_max || !arena_str(head->arena, name, &name_copy) ||
             !arena_str(head->arena, value, &value_copy))
        head->error = H1_ERR_HEAD_SIZE;
    else
        head->error = take_field(head, limits, name_copy, value_copy);
}

/* RFC 9113 8.2.3: the crumbs of Cookie are one field again. */
static bool join_cookies(struct h2_head *head)
{
    struct headers *h = &head->req->headers;
    const struct header *item;
    unsigned iter = 0, cnt = 0;
    size_t len = 0;
    char *text, *p;

    while ((item = headers_next(h, HDR_COOKIE, &iter)) != NULL) {
        len += item->value.len + 2;
        cnt++;
    }
    if (cnt < 2)
        return true;
    p = text = arena_alloc(head->arena, len);
    if (text == NULL)
        return false;
    iter = 0;
    while ((item = headers_next(h, HDR_COOKIE, &iter)) != NULL) {
        if (p != text) {
            *p++ = ';';
            *p++ = ' ';
        }
        if (item->value.len > 0)
            memcpy(p, item->value.ptr, item->value.len);
        p += item->value.len;
    }
    return headers_set(h, head->arena, HDR_COOKIE, str_make(text, (size_t)(p - text)));
}

/* :authority says what Host says, or stands for it (RFC 9113 8.3.1). */
static enum h1_error join_host(struct h2_head *head)
{
    struct headers *h = &head->req->headers;
    unsigned iter = 0;
    const struct header *host = headers_next(h, HDR_HOST, &iter);

    if (host != NULL && headers_next(h, HDR_HOST, &iter) != NULL)
        return H1_ERR_HOST_TWICE;
    if (head->authority.len == 0)
        return H1_ERR_NONE;
    if (host != NULL && !str_eq_fold(host->value, head->authority))
        return H1_ERR_HOST;
    return headers_set(h, head->arena, HDR_HOST, head->authority) ? H1_ERR_NONE : H1_ERR_HEAD_SIZE;
}

/*
 * RFC 8441 4: CONNECT with :protocol. What is behind sees the request that HTTP/1.1 has for it (a
 * GET with Upgrade), so that cookies and targets are judged by the same rules; its body is the
 * tunnel's.
 */
static enum h1_error set_tunnel(struct h2_head *head, bool end)
{
    struct h1_request *req = head->req;

    if (head->protocol.len == 0)
        return H1_ERR_METHOD_DENIED; /* a plain CONNECT has no :path either */
    if (!str_eq_fold_c(head->protocol, "websocket"))
        return H1_ERR_PROTOCOL;
    if (end || headers_find(&req->headers, HDR_CONTENT_LENGTH) != NULL)
        return H1_ERR_LENGTH;
    req->method = STR("GET");
    req->method_id = HTTP_METHOD_GET;
    headers_remove(&req->headers, HDR_EXPECT);
    return H1_ERR_NONE;
}

/* A length is announced by END_STREAM, by Content-Length, or not at all. */
static enum h1_error set_body(struct h1_request *req, bool end)
{
    if (end && req->body == H1_BODY_LENGTH && req->content_length > 0)
        return H1_ERR_LENGTH;
    if (!end && req->body == H1_BODY_NONE)
        req->body = H1_BODY_CHUNKED;
    return H1_ERR_NONE;
}

static bool is_web(struct str scheme)
{
    return str_eq_fold_c(scheme, "https") || str_eq_fold_c(scheme, "http");
}

enum h1_error h2_head_finish(struct h2_head *head, bool end)
{
    struct h1_request *req = head->req;
    enum h1_error error = head->error;
    bool tunnel = req->method_id == HTTP_METHOD_CONNECT;

    if (error == H1_ERR_NONE && req->method.len == 0)
        error = H1_ERR_METHOD;
    if (error == H1_ERR_NONE && tunnel)
        error = set_tunnel(head, end);
    if (error == H1_ERR_NONE && (req->target.len == 0 || !is_web(head->scheme)))
        error = H1_ERR_TARGET;
    if (error == H1_ERR_NONE)
        error = join_host(head);
    if (error == H1_ERR_NONE && !join_cookies(head))
        error = H1_ERR_HEAD_SIZE;
    req->version_major = 2;
    req->version_minor = 1;
    if (error == H1_ERR_NONE)
        error = h1_request_check(head->arena, req);
    if (error != H1_ERR_NONE)
        return error;
    req->keep_alive = true;
    req->upgrade_websocket = tunnel; /* RFC 9113 8.6: there is no Upgrade */
    return tunnel ? H1_ERR_NONE : set_body(req, end);
}
