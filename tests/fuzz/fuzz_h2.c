/*
 * A client of HTTP/2 that says anything, behind a valid preface. Whatever comes: what the
 * session hands on is a request that HTTP/1 would accept, callbacks come in order, and the
 * same bytes in other pieces tell the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/chars.h"
#include "consentd/h2_session.h"
#include "consentd/mem.h"

static const struct h1_limits limits = {.head_max = 4096, .target_max = 512, .fields_max = 20};

struct world {
    struct h2_session *session;
    struct arena_pool *pool;
    uint64_t told; /* a sum over all that was told */
    unsigned open;
};

struct asked {
    struct world *w;
    int32_t id;
    struct arena arena;
    struct h1_request req;
    uint64_t body; /* a sum over its bytes: told when it is complete */
    bool answered, requested, ended;
};

static void tell(struct asked *a, uint64_t what)
{
    a->w->told = a->w->told * 31 + what * 1000003 + (uint64_t)a->id;
}

static void *on_begin(void *owner, int32_t id, struct arena **arena_out,
                      struct h1_request **request_out)
{
    struct asked *a = mem_new(struct asked);

    a->w = owner;
    a->id = id;
    a->w->open++;
    arena_init(&a->arena, a->w->pool, 16u * 1024);
    *arena_out = &a->arena;
    *request_out = &a->req;
    return a;
}

static void answer(struct asked *a)
{
    struct headers none;
    struct h2_answer head = {.status = 200, .headers = &none};

    headers_init(&none, NULL, 0);
    a->answered = true;
    if (h2_session_head(a->w->session, a->id, &head) &&
        h2_session_body(a->w->session, a->id, (const uint8_t *)"answer", 6))
        h2_session_end(a->w->session, a->id);
}

static void on_request(void *stream, enum h1_error error)
{
    struct asked *a = stream;

    ASSERT(!a->requested);
    a->requested = true;
    tell(a, (uint64_t)error);
    if (error == H1_ERR_NONE) {
        ASSERT(a->req.path.len > 0 && chars_span(a->req.path, CHAR_TARGET) == a->req.path.len);
        ASSERT(chars_span(a->req.method, CHAR_TOKEN) == a->req.method.len);
        ASSERT(a->req.host.len > 0 && chars_span(a->req.host, CHAR_HOST) == a->req.host.len);
        ASSERT(headers_find(&a->req.headers, HDR_TRANSFER_ENCODING) == NULL);
        for (unsigned i = 0; i < a->req.headers.cnt; i++)
            ASSERT(chars_span(a->req.headers.items[i].value, CHAR_VALUE) ==
                   a->req.headers.items[i].value.len);
        tell(a, a->req.headers.cnt);
    }
    if (error != H1_ERR_NONE || a->id % 4 == 1)
        answer(a);
}

static void on_body(void *stream, const uint8_t *data, size_t len)
{
    struct asked *a = stream;

    ASSERT(a->requested && !a->ended);
    for (size_t i = 0; i < len; i++)
        a->body = a->body * 31 + data[i] + 1;
    h2_session_credit(a->w->session, a->id, len);
}

static void on_end(void *stream)
{
    struct asked *a = stream;

    ASSERT(a->requested && !a->ended);
    a->ended = true;
    tell(a, a->body);
    if (!a->answered)
        answer(a);
}

static void on_closed(void *stream)
{
    struct asked *a = stream;

    a->w->open--;
    arena_fini(&a->arena);
    free(a);
}

static uint64_t run(struct str in, size_t step)
{
    static const struct h2_ops ops = {on_begin, on_request, on_body, on_end, on_closed};
    struct world w = {.pool = arena_pool_new(4096, 4)};
    bool ok;

    w.session = h2_session_new(&limits, &ops, &w);
    ok = h2_session_push(w.session, h2_preface, 1);
    for (size_t at = 0; at < in.len && ok; at += step)
        ok = h2_session_push(w.session, str_slice(in, at, step), 1);
    while (h2_session_pull(w.session).len > 0)
        ;
    h2_session_free(w.session);
    ASSERT(w.open == 0);
    arena_pool_free(w.pool);
    return w.told;
}

/* nghttp2 counts CONTINUATION by how often it looks for one: in small pieces, more often. */
static unsigned count_continuations(struct str in)
{
    unsigned cnt = 0;

    while (in.len >= 9) {
        const uint8_t *head = (const uint8_t *)in.ptr;
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];

        cnt += head[3] == 9;
        in = str_slice(in, len + 9, in.len);
    }
    return cnt;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_make(data, size);
    uint64_t whole = run(in, size + 1);

    if (count_continuations(in) < 7) {
        ASSERT(run(in, 1) == whole);
        ASSERT(run(in, 7) == whole);
    }
    return 0;
}
