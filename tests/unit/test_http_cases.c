/*
 * Runs tests/cases/http: each *.case file holds lines of "EXPECTED | text".
 *
 *      # comment
 *      400 | GET / HTTP/1.1\nHost: a\r\n\r\n
 *      ok none keep a /x | GET http://a/x HTTP/1.1@\r\n
 *
 * EXPECTED is a status, "more", or the first words of "ok BODY keep|shut HOST PATH" with BODY
 * none, length, chunked or close. The text is a request head, in C escapes (\r \n \t \0 \\ \xHH
 * and \{text*N}: N times). "@" stands for CR LF, "Host: a" and CR LF; "$" for CR LF CR LF.
 * Files named response-* hold response heads (502 or ok). Every case is fed whole, and byte by
 * byte and with a stop at every place (long ones at some places); all must agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/chars.h"
#include "consentd/fault.h"
#include "consentd/file.h"
#include "consentd/h1_parse.h"
#include "feed.h"

static const struct h1_limits limits = {.head_max = 65536, .target_max = 16384, .fields_max = 200};

enum {
    RESULT_MAX = 256,
    LONG = 4096,     /* bytes of a text that is not stopped at every place */
    LONG_STEP = 1009 /* but at every so many */
};

struct run {
    struct h1_parser parser;
    struct arena arena;
    bool response;
    enum h1_status status;
    struct h1_request req;
    struct h1_response resp;
};

static bool on_feed(void *state, struct str in)
{
    struct run *run = state;

    if (run->response)
        run->status = h1_parse_response(&run->parser, &run->arena, in, &limits, false, &run->resp);
    else
        run->status = h1_parse_request(&run->parser, &run->arena, in, &limits, &run->req);
    return run->status != H1_MORE;
}

static void run_start(struct run *run, bool response)
{
    *run = (struct run){.response = response};
    arena_init(&run->arena, NULL, 256 * 1024);
}

/* "ok none keep a /", "400", "more" */
static void run_result(const struct run *run, char out[RESULT_MAX])
{
    static const char *const bodies[] = {"none", "length", "chunked", "close"};
    const struct h1_request *req = &run->req;

    if (run->status == H1_MORE)
        snprintf(out, RESULT_MAX, "more");
    else if (run->status != H1_HEAD)
        snprintf(out, RESULT_MAX, "%u", run->response ? 502 : h1_error_status(run->parser.error));
    else if (run->response)
        snprintf(out, RESULT_MAX, "ok %s %s", bodies[run->resp.body],
                 run->resp.keep_alive ? "keep" : "shut");
    else
        snprintf(out, RESULT_MAX, "ok %s %s %.*s %.*s", bodies[req->body],
                 req->keep_alive ? "keep" : "shut", STR_ARGS(req->host), STR_ARGS(req->path));
}

static void run_case(struct str text, bool response, char out[RESULT_MAX])
{
    struct run run;
    char other[RESULT_MAX];

    run_start(&run, response);
    feed_prefix(on_feed, &run, text, text.len);
    run_result(&run, out);
    arena_fini(&run.arena);
    if (text.len < LONG) {
        run_start(&run, response);
        feed_bytes(on_feed, &run, text);
        run_result(&run, other);
        arena_fini(&run.arena);
        assert_string_equal(out, other);
    }
    for (size_t at = 0; at < text.len; at += text.len < LONG ? 1 : LONG_STEP) {
        run_start(&run, response);
        feed_split(on_feed, &run, text, at);
        run_result(&run, other);
        arena_fini(&run.arena);
        assert_string_equal(out, other);
    }
}

static void unescape(struct str in, struct buf *out);

/* "text*N}": what follows the brace. */
static void add_repeated(struct buf *out, struct str *rest)
{
    ptrdiff_t end = str_find_char(*rest, '}');
    struct str unit = str_slice(*rest, 0, end < 0 ? 0 : (size_t)end);
    ptrdiff_t star = str_find_last_char(unit, '*');
    uint64_t times;

    assert_true(star > 0);
    assert_true(str_to_u64(str_slice(unit, (size_t)star + 1, unit.len), 100000, &times));
    *rest = str_slice(*rest, (size_t)end + 1, rest->len);
    for (uint64_t i = 0; i < times; i++)
        unescape(str_slice(unit, 0, (size_t)star), out);
}

static void add_escape(struct buf *out, struct str *rest)
{
    char c = rest->ptr[0];
    size_t used = 1;

    if (c == '{') {
        *rest = str_slice(*rest, 1, rest->len);
        add_repeated(out, rest);
        return;
    }
    if (c == 'x' && rest->len >= 3) {
        c = (char)(char_hex(rest->ptr[1]) << 4 | char_hex(rest->ptr[2]));
        used = 3;
    } else {
        c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c == '0' ? '\0' : c;
    }
    assert_true(buf_append_char(out, c));
    *rest = str_slice(*rest, used, rest->len);
}

static void unescape(struct str in, struct buf *out)
{
    while (in.len > 0) {
        char c = in.ptr[0];

        in = str_slice(in, 1, in.len);
        if (c == '\\' && in.len > 0)
            add_escape(out, &in);
        else if (c == '@')
            assert_true(buf_append_c(out, "\r\nHost: a\r\n"));
        else if (c == '$')
            assert_true(buf_append_c(out, "\r\n\r\n"));
        else
            assert_true(buf_append_char(out, c));
    }
}

/* want is all of got or its first words. */
static bool is_expected(struct str got, struct str want)
{
    return str_starts(got, want) && (got.len == want.len || got.ptr[want.len] == ' ');
}

static unsigned run_file(const char *path, bool response)
{
    struct buf text;
    struct fault fault = {{0}};
    struct str rest;
    struct str line;
    unsigned cnt = 0;
    unsigned bad = 0;

    buf_init(&text, 1 << 20);
    assert_true(file_read(path, 1 << 20, &text, &fault));
    rest = buf_str(&text);
    while (str_cut(&rest, '\n', &line)) {
        ptrdiff_t bar = str_find(line, STR(" | "));
        struct buf input;
        struct buf expected;
        char got[RESULT_MAX];

        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        assert_true(bar > 0);
        buf_init(&expected, RESULT_MAX);
        unescape(str_slice(line, 0, (size_t)bar), &expected);
        buf_init(&input, 1 << 20);
        unescape(str_slice(line, (size_t)bar + 3, line.len), &input);
        run_case(buf_str(&input), response, got);
        buf_free(&input);
        cnt++;
        if (!is_expected(str_c(got), buf_str(&expected))) {
            print_error("%s: got %s: %.*s\n", path, got, STR_ARGS(line));
            bad++;
        }
        buf_free(&expected);
    }
    buf_free(&text);
    assert_int_equal(bad, 0);
    return cnt;
}

static unsigned run_all(bool response)
{
    const char *source = getenv("CONSENTD_SOURCE");
    char path[1024];
    unsigned cnt = 0;
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/tests/cases/http", source != NULL ? source : ".");
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (strstr(entry->d_name, ".case") == NULL ||
            (strncmp(entry->d_name, "response-", 9) == 0) != response)
            continue;
        snprintf(path, sizeof(path), "%s/tests/cases/http/%s", source != NULL ? source : ".",
                 entry->d_name);
        cnt += run_file(path, response);
    }
    closedir(dir);
    return cnt;
}

static void test_requests(void **state)
{
    (void)state;
    assert_true(run_all(false) >= 250);
}

static void test_responses(void **state)
{
    (void)state;
    assert_true(run_all(true) >= 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
