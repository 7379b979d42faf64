/*
 * h1_write.c - contract in consentd/h1_write.h.
 */
#include "consentd/h1_write.h"

#include <string.h>

#include "consentd/buf.h"
#include "consentd/chars.h"
#include "h1_priv.h"

const struct str h1_continue = STR_INIT("HTTP/1.1 100 Continue\r\n\r\n");

enum {
    FRAMING_MAX = 128,  /* bytes of all framing fields and the final empty line */
    LINE_MAX_EXTRA = 32 /* version, status, spaces and CR LF of the first line */
};

bool h1_is_framing(enum header_id id)
{
    static const uint8_t ours[HDR_CNT] = {
        [HDR_CONTENT_LENGTH] = 1, [HDR_TRANSFER_ENCODING] = 1, [HDR_CONNECTION] = 1,
        [HDR_KEEP_ALIVE] = 1,     [HDR_PROXY_CONNECTION] = 1,  [HDR_UPGRADE] = 1,
    };

    return ours[id] != 0;
}

/* Written from struct h1_framing only; Host is put first. */
static bool is_ours(enum header_id id, bool request)
{
    return h1_is_framing(id) || (request && id == HDR_HOST);
}

static char *put(char *p, const void *data, size_t len)
{
    memcpy(p, data, len);
    return p + len;
}

static char *put_str(char *p, struct str s)
{
    return s.len > 0 ? put(p, s.ptr, s.len) : p;
}

#define PUT(p, lit) put(p, "" lit, sizeof(lit) - 1)

static char *put_u64(char *p, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return put(p, digits + at, sizeof(digits) - at);
}

static char *put_field(char *p, const struct header *item)
{
    p = put(p, item->name.ptr, item->name.len);
    *p++ = ':';
    *p++ = ' ';
    p = put_str(p, item->value);
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

static char *put_fields(char *p, const struct headers *h, bool request)
{
    for (unsigned i = 0; i < h->cnt; i++) {
        const struct header *item = &h->items[i];

        if (!item->removed && !is_ours(item->id, request))
            p = put_field(p, item);
    }
    return p;
}

static char *put_framing(char *p, const struct h1_framing *framing)
{
    if (framing->body == H1_BODY_LENGTH) {
        p = PUT(p, "Content-Length: ");
        p = put_u64(p, framing->length);
        p = PUT(p, "\r\n");
    } else if (framing->body == H1_BODY_CHUNKED) {
        p = PUT(p, "Transfer-Encoding: chunked\r\n");
    }
    switch (framing->persist) {
    case H1_PERSIST_CLOSE:
        p = PUT(p, "Connection: close\r\n");
        break;
    case H1_PERSIST_KEEP_ALIVE:
        p = PUT(p, "Connection: keep-alive\r\n");
        break;
    case H1_PERSIST_UPGRADE:
        p = PUT(p, "Connection: upgrade\r\nUpgrade: websocket\r\n");
        break;
    case H1_PERSIST_DEFAULT:
        break;
    }
    return PUT(p, "\r\n");
}

/* An upper bound for the fields and the framing: removed ones are counted too. */
static size_t fields_size(const struct headers *h)
{
    size_t size = FRAMING_MAX;

    for (unsigned i = 0; i < h->cnt; i++)
        size += h->items[i].name.len + h->items[i].value.len + 4;
    return size;
}

/* Nothing in s could end a line early. HTAB is allowed, but rare. */
static bool value_is_clean(struct str s)
{
    return !chars_below(s, ' ') || chars_span(s, CHAR_VALUE) == s.len;
}

bool h1_fields_are_clean(const struct headers *h)
{
    for (unsigned i = 0; i < h->cnt; i++) {
        const struct header *item = &h->items[i];

        if (!item->removed && (item->name.len == 0 || chars_below(item->name, ' ' + 1) ||
                               !value_is_clean(item->value)))
            return false;
    }
    return true;
}

bool h1_write_request_head(struct buf *out, struct str method, struct str target,
                           const struct headers *h, const struct h1_framing *framing)
{
    size_t size = method.len + target.len + LINE_MAX_EXTRA + fields_size(h);
    const struct header *host = headers_find(h, HDR_HOST);
    char *start;
    char *p;

    if (method.len == 0 || target.len == 0 || chars_below(method, ' ' + 1) ||
        chars_below(target, ' ' + 1) || !h1_fields_are_clean(h))
        return false;
    p = start = (char *)buf_reserve(out, size);
    if (p == NULL)
        return false;
    p = put_str(p, method);
    *p++ = ' ';
    p = put_str(p, target);
    p = PUT(p, " HTTP/1.1\r\n");
    if (host != NULL)
        p = put_field(p, host);
    p = put_framing(put_fields(p, h, true), framing);
    buf_commit(out, (size_t)(p - start));
    return true;
}

bool h1_write_response_head(struct buf *out, unsigned status, struct str reason,
                            const struct headers *h, const struct h1_framing *framing)
{
    struct h1_framing framed = *framing;
    size_t size;
    char *start;
    char *p;

    if (reason.len == 0)
        reason = http_reason(status);
    if (status < 200 || status == 204) /* RFC 9110 8.6, RFC 9112 6.1 */
        framed.body = H1_BODY_NONE;
    if (!value_is_clean(reason) || !h1_fields_are_clean(h))
        return false;
    size = reason.len + LINE_MAX_EXTRA + fields_size(h);
    p = start = (char *)buf_reserve(out, size);
    if (p == NULL)
        return false;
    p = PUT(p, "HTTP/1.1 ");
    p = put_u64(p, status);
    *p++ = ' ';
    p = put_str(p, reason);
    p = PUT(p, "\r\n");
    p = put_framing(put_fields(p, h, false), &framed);
    buf_commit(out, (size_t)(p - start));
    return true;
}

struct str http_reason(unsigned status)
{
    static const struct {
        unsigned status;
        struct str text;
    } reasons[] = {
        {100, STR_INIT("Continue")},
        {101, STR_INIT("Switching Protocols")},
        {103, STR_INIT("Early Hints")},
        {200, STR_INIT("OK")},
        {201, STR_INIT("Created")},
        {202, STR_INIT("Accepted")},
        {204, STR_INIT("No Content")},
        {206, STR_INIT("Partial Content")},
        {301, STR_INIT("Moved Permanently")},
        {302, STR_INIT("Found")},
        {303, STR_INIT("See Other")},
        {304, STR_INIT("Not Modified")},
        {307, STR_INIT("Temporary Redirect")},
        {308, STR_INIT("Permanent Redirect")},
        {400, STR_INIT("Bad Request")},
        {401, STR_INIT("Unauthorized")},
        {403, STR_INIT("Forbidden")},
        {404, STR_INIT("Not Found")},
        {405, STR_INIT("Method Not Allowed")},
        {408, STR_INIT("Request Timeout")},
        {409, STR_INIT("Conflict")},
        {410, STR_INIT("Gone")},
        {412, STR_INIT("Precondition Failed")},
        {413, STR_INIT("Content Too Large")},
        {414, STR_INIT("URI Too Long")},
        {415, STR_INIT("Unsupported Media Type")},
        {416, STR_INIT("Range Not Satisfiable")},
        {417, STR_INIT("Expectation Failed")},
        {421, STR_INIT("Misdirected Request")},
        {422, STR_INIT("Unprocessable Content")},
        {425, STR_INIT("Too Early")},
        {426, STR_INIT("Upgrade Required")},
        {428, STR_INIT("Precondition Required")},
        {429, STR_INIT("Too Many Requests")},
        {431, STR_INIT("Request Header Fields Too Large")},
        {451, STR_INIT("Unavailable For Legal Reasons")},
        {500, STR_INIT("Internal Server Error")},
        {501, STR_INIT("Not Implemented")},
        {502, STR_INIT("Bad Gateway")},
        {503, STR_INIT("Service Unavailable")},
        {504, STR_INIT("Gateway Timeout")},
        {505, STR_INIT("HTTP Version Not Supported")},
    };

    for (size_t i = 0; i < COUNT_OF(reasons); i++) {
        if (reasons[i].status == status)
            return reasons[i].text;
    }
    return STR("Unknown");
}
