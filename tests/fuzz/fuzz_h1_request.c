/*
 * Any bytes as a request: the same verdict wherever they are cut; what is accepted is written as
 * one head, which is read back as the same request and ends exactly where it ends.
 */
#include <stdint.h>

#include "consentd/h1_write.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct h1_limits limits = {.head_max = 4096, .target_max = 1024, .fields_max = 40};

/* In two steps: the first `cut` bytes, then all. */
static enum h1_status parse(struct h1_parser *parser, struct arena *a, struct str in, size_t cut,
                            struct h1_request *out)
{
    enum h1_status status = h1_parse_request(parser, a, str_slice(in, 0, cut), &limits, out);

    return status == H1_MORE ? h1_parse_request(parser, a, in, &limits, out) : status;
}

/* The next field that the writer copies as it is. */
static const struct header *next_field(const struct headers *h, unsigned *at)
{
    while (*at < h->cnt) {
        const struct header *item = &h->items[(*at)++];

        if (!item->removed && item->id != HDR_CONTENT_LENGTH && item->id != HDR_HOST &&
            item->id != HDR_TRANSFER_ENCODING)
            return item;
    }
    return NULL;
}

static void check_fields(const struct headers *a, const struct headers *b)
{
    unsigned at = 0;
    unsigned bt = 0;
    const struct header *item;

    ASSERT(str_eq(headers_value(a, HDR_HOST), headers_value(b, HDR_HOST)));
    while ((item = next_field(a, &at)) != NULL) {
        const struct header *other = next_field(b, &bt);

        ASSERT(other != NULL && str_eq(item->name, other->name));
        ASSERT(str_eq(item->value, other->value));
    }
    ASSERT(next_field(b, &bt) == NULL);
}

static void check_same(const struct h1_request *a, const struct h1_request *b)
{
    ASSERT(str_eq(a->method, b->method) && str_eq(a->path, b->path));
    ASSERT(str_eq(a->host, b->host) && a->port == b->port);
    ASSERT(a->body == b->body && a->content_length == b->content_length);
    check_fields(&a->headers, &b->headers);
}

/* Writes the request as it would go to the origin, and reads it back. */
static void round_trip(struct h1_request *req, struct arena *a)
{
    const struct h1_framing framing = {.body = req->body, .length = req->content_length};
    struct h1_parser parser = {0};
    const struct h1_limits wide = {8192, 2048, 60};
    struct h1_request again;
    struct buf out;

    headers_strip_hop_by_hop(&req->headers);
    buf_init(&out, 65536);
    if (req->host.len == 0) /* HTTP/1.0 without Host: what is written is 1.1 and needs one */
        ASSERT(headers_set(&req->headers, a, HDR_HOST, STR("h")));
    ASSERT(h1_write_request_head(&out, req->method, req->path, &req->headers, &framing));
    ASSERT(h1_parse_request(&parser, a, buf_str(&out), &wide, &again) == H1_HEAD);
    ASSERT(parser.used == out.len);
    if (req->host.len > 0)
        check_same(req, &again);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str in = str_make(data, len);
    struct h1_parser whole = {0};
    struct h1_parser split = {0};
    struct h1_request req, other;
    struct arena arena;
    enum h1_status status;

    arena_init(&arena, NULL, 1 << 20);
    status = h1_parse_request(&whole, &arena, in, &limits, &req);
    ASSERT(status != H1_HEAD || (whole.used <= len && whole.used <= limits.head_max));
    ASSERT(parse(&split, &arena, in, len > 0 ? data[len / 2] % len : 0, &other) == status);
    ASSERT(split.error == whole.error && split.used == whole.used);
    if (status == H1_HEAD) {
        check_same(&req, &other);
        round_trip(&req, &arena);
    }
    arena_fini(&arena);
    return 0;
}
