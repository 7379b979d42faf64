/*
 * Any bytes as an answer of an origin: the same verdict wherever they are cut; what is
 * accepted is written as one head, which is read back the same and ends exactly where it ends.
 */
#include <stdint.h>

#include "consentd/h1_write.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct h1_limits limits = {.head_max = 4096, .target_max = 0, .fields_max = 40};

static void round_trip(struct h1_response *resp, struct arena *a)
{
    const struct h1_framing framing = {.body = resp->body, .length = resp->content_length};
    const struct h1_limits wide = {8192, 0, 60};
    struct h1_parser parser = {0};
    struct h1_response again;
    struct buf out;
    unsigned at = 0;

    headers_strip_hop_by_hop(&resp->headers);
    buf_init(&out, 65536);
    ASSERT(h1_write_response_head(&out, resp->status, resp->reason, &resp->headers, &framing));
    ASSERT(h1_parse_response(&parser, a, buf_str(&out), &wide, false, &again) == H1_HEAD);
    ASSERT(parser.used == out.len && again.status == resp->status);
    if (resp->body != H1_BODY_NONE)
        ASSERT(again.body == resp->body && again.content_length == resp->content_length);
    for (unsigned i = 0; i < resp->headers.cnt; i++) {
        const struct header *item = &resp->headers.items[i];

        if (item->removed || item->id == HDR_CONTENT_LENGTH)
            continue;
        ASSERT(at < again.headers.cnt && str_eq(item->value, again.headers.items[at].value));
        at++;
    }
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str in = str_make(data, len);
    size_t cut = len > 0 ? data[len / 2] % len : 0;
    bool head = len > 0 && (data[len - 1] & 1) != 0;
    struct h1_parser whole = {0};
    struct h1_parser split = {0};
    struct h1_response resp, other;
    struct arena arena;
    enum h1_status status, again;

    arena_init(&arena, NULL, 1 << 20);
    status = h1_parse_response(&whole, &arena, in, &limits, head, &resp);
    again = h1_parse_response(&split, &arena, str_slice(in, 0, cut), &limits, head, &other);
    if (again == H1_MORE)
        again = h1_parse_response(&split, &arena, in, &limits, head, &other);
    ASSERT(again == status && split.error == whole.error && split.used == whole.used);
    if (status == H1_HEAD) {
        ASSERT(resp.body == other.body && resp.keep_alive == other.keep_alive);
        ASSERT(!head || resp.body == H1_BODY_NONE);
        round_trip(&resp, &arena);
    }
    arena_fini(&arena);
    return 0;
}
