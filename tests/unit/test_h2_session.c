/*
 * HTTP/2 sessions without a network: a conversation cut at every byte, and what each stream is
 * told, in order. The client's side is nghttp2's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nghttp2/nghttp2.h>

#include "consentd/buf.h"
#include "consentd/h2_session.h"
#include "consentd/mem.h"

static const struct h1_limits limits = {.head_max = 8192, .target_max = 1024, .fields_max = 20};

/* What the session told, as text; streams are answered as soon as they are complete. */
struct world {
    struct h2_session *session;
    struct arena_pool *pool;
    struct buf story;
    bool echo; /* answer with what came */
};

struct asked {
    struct world *w;
    int32_t id;
    struct arena arena;
    struct h1_request req;
    struct buf body;
};

static void tell(struct world *w, const char *what, const struct asked *a, const char *more)
{
    assert_true(buf_printf(&w->story, "%s %d %s\n", what, (int)a->id, more));
}

static void *on_begin(void *owner, int32_t id, struct arena **arena_out,
                      struct h1_request **request_out)
{
    struct asked *a = mem_new(struct asked);

    a->w = owner;
    a->id = id;
    arena_init(&a->arena, a->w->pool, 64u * 1024);
    buf_init(&a->body, 1u << 20);
    *arena_out = &a->arena;
    *request_out = &a->req;
    tell(a->w, "begin", a, "");
    return a;
}

static void on_request(void *stream, enum h1_error error)
{
    struct asked *a = stream;
    char text[512];

    if (error != H1_ERR_NONE) {
        tell(a->w, "bad", a, h1_strerror(error));
        return;
    }
    snprintf(text, sizeof(text), "%.*s %.*s host=%.*s cookie=%.*s body=%d", STR_ARGS(a->req.method),
             STR_ARGS(a->req.path), STR_ARGS(a->req.host),
             STR_ARGS(headers_value(&a->req.headers, HDR_COOKIE)), (int)a->req.body);
    tell(a->w, "request", a, text);
}

static void on_body(void *stream, const uint8_t *data, size_t len)
{
    struct asked *a = stream;

    assert_true(buf_append(&a->body, data, len));
    h2_session_credit(a->w->session, a->id, len);
}

static void on_end(void *stream)
{
    struct asked *a = stream;
    struct headers none;
    struct h2_answer answer = {.status = 200, .headers = &none};

    headers_init(&none, NULL, 0);
    tell(a->w, "end", a, buf_cstr(&a->body));
    if (!a->w->echo)
        return;
    answer.has_length = true;
    answer.length = a->body.len;
    answer.end = a->body.len == 0;
    assert_true(h2_session_head(a->w->session, a->id, &answer));
    assert_true(a->body.len == 0 ||
                h2_session_body(a->w->session, a->id, a->body.data, a->body.len));
    h2_session_end(a->w->session, a->id);
}

static void on_closed(void *stream)
{
    struct asked *a = stream;

    tell(a->w, "closed", a, "");
    arena_fini(&a->arena);
    buf_free(&a->body);
    free(a);
}

static const struct h2_ops ops = {on_begin, on_request, on_body, on_end, on_closed};

static void world_init(struct world *w, bool echo)
{
    *w = (struct world){.echo = echo, .pool = arena_pool_new(4096, 4)};
    buf_init(&w->story, 1u << 20);
    w->session = h2_session_new(&limits, &ops, w);
}

static void world_fini(struct world *w)
{
    h2_session_free(w->session);
    arena_pool_free(w->pool);
    buf_free(&w->story);
}

/* --- the client's side --- */

#define NV(name, value)                                                                            \
    {                                                                                              \
        (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, sizeof(name) - 1,                 \
            sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE                                                \
    }

static ssize_t read_hello(nghttp2_session *ng, int32_t id, uint8_t *to, size_t len, uint32_t *flags,
                          nghttp2_data_source *source, void *arg)
{
    UNUSED(ng);
    UNUSED(id);
    UNUSED(source);
    UNUSED(arg);
    assert_true(len >= 5);
    memcpy(to, "hello", 5);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return 5;
}

/* The bytes of a client that asks three times. */
static void conversation(struct buf *out)
{
    const nghttp2_nv get[] = {NV(":method", "GET"),          NV(":scheme", "https"),
                              NV(":authority", "Www.Ex.am"), NV(":path", "/a?b=c"),
                              NV("cookie", "a=1"),           NV("cookie", "b=2")};
    const nghttp2_nv post[] = {NV(":method", "POST"), NV(":scheme", "https"),
                               NV(":authority", "ex.am"), NV(":path", "/p")};
    const nghttp2_nv bad[] = {NV(":method", "GET"), NV(":scheme", "https"),
                              NV(":authority", "u@ex.am"), NV(":path", "/")};
    nghttp2_data_provider hello = {.read_callback = read_hello};
    nghttp2_session_callbacks *calls;
    nghttp2_session *ng;
    const uint8_t *data;
    ssize_t n;

    assert_int_equal(nghttp2_session_callbacks_new(&calls), 0);
    assert_int_equal(nghttp2_session_client_new(&ng, calls, NULL), 0);
    nghttp2_session_callbacks_del(calls);
    assert_int_equal(nghttp2_submit_settings(ng, 0, NULL, 0), 0);
    assert_true(nghttp2_submit_request(ng, NULL, get, COUNT_OF(get), NULL, NULL) > 0);
    assert_true(nghttp2_submit_request(ng, NULL, post, COUNT_OF(post), &hello, NULL) > 0);
    assert_true(nghttp2_submit_request(ng, NULL, bad, COUNT_OF(bad), NULL, NULL) > 0);
    while ((n = nghttp2_session_mem_send(ng, &data)) > 0)
        assert_true(buf_append(out, data, (size_t)n));
    nghttp2_session_del(ng);
}

static void push_in_two(struct world *w, struct str all, size_t at)
{
    assert_true(h2_session_push(w->session, str_slice(all, 0, at), 1000));
    while (h2_session_pull(w->session).len > 0)
        ;
    assert_true(h2_session_push(w->session, str_slice(all, at, all.len), 1000));
    while (h2_session_pull(w->session).len > 0)
        ;
}

static void test_any_cut_tells_the_same(void **state)
{
    static const char *const parts[] = {
        "begin 1 \n",
        "request 1 GET /a?b=c host=www.ex.am cookie=a=1; b=2 body=0\n",
        "end 1 \n",
        "begin 3 \n",
        "request 3 POST /p host=ex.am cookie= body=2\n",
        "end 3 hello\n",
        "begin 5 \n",
        "closed 1 \n",
        "closed 3 \n",
        "bad 5 "};
    struct buf all;

    UNUSED(state);
    buf_init(&all, 1u << 20);
    conversation(&all);
    for (size_t at = 0; at <= all.len; at++) {
        struct world w;

        world_init(&w, true);
        push_in_two(&w, buf_str(&all), at);
        for (size_t i = 0; i < COUNT_OF(parts); i++)
            assert_true(str_find(buf_str(&w.story), str_c(parts[i])) >= 0);
        assert_false(h2_session_is_over(w.session));
        world_fini(&w);
    }
    for (size_t step = 1; step < 40; step++) {
        struct world w;

        world_init(&w, true);
        for (size_t at = 0; at < all.len; at += step)
            assert_true(h2_session_push(w.session, str_slice(buf_str(&all), at, step), 1000));
        while (h2_session_pull(w.session).len > 0)
            ;
        for (size_t i = 0; i < COUNT_OF(parts); i++)
            assert_true(str_find(buf_str(&w.story), str_c(parts[i])) >= 0);
        world_fini(&w);
    }
    buf_free(&all);
}

static bool push_pings(struct world *w, unsigned cnt, uint64_t now_ms)
{
    static const uint8_t ping[] = {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};

    for (unsigned i = 0; i < cnt; i++) {
        if (!h2_session_push(w->session, str_make(ping, sizeof(ping)), now_ms))
            return false;
        while (h2_session_pull(w->session).len > 0)
            ;
    }
    return true;
}

static void test_the_budget_is_spent_and_comes_back(void **state)
{
    struct buf all;
    struct world w;

    UNUSED(state);
    buf_init(&all, 1u << 20);
    conversation(&all);
    world_init(&w, true);
    push_in_two(&w, buf_str(&all), 30);
    assert_true(push_pings(&w, H2_BUDGET_MAX - 20, 1000));
    assert_true(push_pings(&w, H2_BUDGET_PER_S, 2000));
    assert_false(h2_session_was_flooded(w.session));
    assert_false(push_pings(&w, H2_BUDGET_PER_S + 20, 2000));
    assert_true(h2_session_was_flooded(w.session));
    assert_true(h2_session_pull(w.session).len > 0); /* GOAWAY */
    world_fini(&w);
    buf_free(&all);
}

/* One frame, as any client may write it. */
static void put_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t id, struct str payload)
{
    const uint8_t head[] = {(uint8_t)(payload.len >> 16),
                            (uint8_t)(payload.len >> 8),
                            (uint8_t)payload.len,
                            type,
                            flags,
                            (uint8_t)(id >> 24),
                            (uint8_t)(id >> 16),
                            (uint8_t)(id >> 8),
                            (uint8_t)id};

    assert_true(buf_append(out, head, sizeof(head)) && buf_append_str(out, payload));
}

/* GET https://a/ with a field of 2000 bytes, which the table keeps (RFC 7541 6.2.1). */
static void put_long_head(struct buf *out)
{
    assert_true(buf_append(out,
                           "\x82\x87\x84\x41\x01"
                           "a\x40\x01x\x7f\xd1\x0e",
                           12));
    for (unsigned i = 0; i < 2000; i++)
        assert_true(buf_append_char(out, 'y'));
}

/*
 * The same request from the table: eight bytes for each 2000 of the field. then: what follows it.
 * Returns how many were taken before the connection was ended.
 */
static unsigned flood(const char *then, size_t then_len, uint8_t type)
{
    static const struct h1_limits wide = {.head_max = 65536, .target_max = 1024, .fields_max = 40};
    struct world w = {.pool = arena_pool_new(4096, 4)};
    struct buf long_head, wire, short_head;
    unsigned cnt = 0;

    buf_init(&w.story, 16u << 20);
    buf_init(&long_head, 4096);
    buf_init(&short_head, 64);
    buf_init(&wire, 65536);
    w.session = h2_session_new(&wide, &ops, &w);
    put_long_head(&long_head);
    assert_true(buf_append(&short_head, "\x82\x87\x84\xbf", 4)); /* :authority is the older entry */
    for (unsigned i = 0; i < 30; i++)
        assert_true(buf_append_char(&short_head, '\xbe'));
    assert_true(buf_append_str(&wire, h2_preface));
    put_frame(&wire, NGHTTP2_SETTINGS, 0, 0, STR(""));
    while (cnt < 2000 && h2_session_push(w.session, buf_str(&wire), 1000)) {
        while (h2_session_pull(w.session).len > 0)
            ;
        buf_clear(&wire);
        put_frame(&wire, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM,
                  2 * cnt + 1, buf_str(cnt == 0 ? &long_head : &short_head));
        put_frame(&wire, type, 0, 2 * cnt + 1, str_make(then, then_len));
        cnt++;
    }
    assert_true(cnt < 3 || str_find(buf_str(&w.story), STR("request 3 GET / host=a")) >= 0);
    assert_true(cnt == 2000 || h2_session_was_flooded(w.session));
    world_fini(&w);
    buf_free(&long_head);
    buf_free(&short_head);
    buf_free(&wire);
    return cnt;
}

/* Heads cost a client what they are on the wire: what HPACK makes of them earns nothing. */
static void test_requests_taken_back_cost_whatever_they_said(void **state)
{
    UNUSED(state);
    assert_true(flood("\0\0\0\x08", 4, NGHTTP2_RST_STREAM) <= H2_BUDGET_MAX / H2_COST_RESET + 10);
}

/* CVE-2025-8671: a window of more than 2^31 - 1 makes the server reset the stream. */
static void test_requests_that_we_must_reset_cost_the_same(void **state)
{
    UNUSED(state);
    assert_true(flood("\x7f\xff\xff\xff", 4, NGHTTP2_WINDOW_UPDATE) <=
                H2_BUDGET_MAX / H2_COST_RESET + 10);
}

/* Nobody answers: what is open is closed with the session, and nothing is lost (ASan looks). */
static void test_an_end_in_the_middle(void **state)
{
    struct buf all;

    UNUSED(state);
    buf_init(&all, 1u << 20);
    conversation(&all);
    for (size_t at = 0; at <= all.len; at++) {
        struct world w;

        world_init(&w, false);
        assert_true(h2_session_push(w.session, str_slice(buf_str(&all), 0, at), 1));
        world_fini(&w);
    }
    buf_free(&all);
}

static void test_an_answer_with_a_control_byte_is_not_sent(void **state)
{
    struct world w;
    struct buf all;
    struct header item;
    struct headers h;
    struct h2_answer answer = {.status = 200, .headers = &h};

    UNUSED(state);
    buf_init(&all, 1u << 20);
    conversation(&all);
    world_init(&w, false);
    push_in_two(&w, buf_str(&all), 0);
    headers_init(&h, &item, 1);
    assert_true(headers_add(&h, NULL, STR("X-A"), STR("1\r\nx: 2")));
    assert_false(h2_session_head(w.session, 1, &answer));
    assert_false(h2_session_head(w.session, 99, &answer)); /* no such stream */
    assert_false(h2_session_body(w.session, 99, (const uint8_t *)"x", 1));
    world_fini(&w);
    buf_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut_tells_the_same),
        cmocka_unit_test(test_the_budget_is_spent_and_comes_back),
        cmocka_unit_test(test_requests_taken_back_cost_whatever_they_said),
        cmocka_unit_test(test_requests_that_we_must_reset_cost_the_same),
        cmocka_unit_test(test_an_end_in_the_middle),
        cmocka_unit_test(test_an_answer_with_a_control_byte_is_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
