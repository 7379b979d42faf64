/*
 * Runs tests/cases/http: each *.case file holds lines of "EXPECTED | text".
 *
 *      # comment            EXPECTED: a status (400), "ok", or "ok body-kind" (none length chunked)
 *      400 | GET / HTTP/1.1\nHost: a\r\n\r\n
 *
 * The text is a request head, in C escapes (\r \n \t \0 \\ \xHH). "@" stands for
 * CR LF, "Host: a" and CR LF; "$" for CR LF CR LF. Files named response-* hold response heads
 * (502 or ok). Every case is fed whole, byte by byte and with a stop at every place; all must
 * agree.
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

struct run {
    struct h1_parser parser;
    struct arena arena;
    bool response;
    enum h1_status status;
    enum h1_body body;
};

static bool on_feed(void *state, struct str in)
{
    struct run *run = state;
    struct h1_request request = {0};
    struct h1_response response = {0};

    if (run->response)
        run->status = h1_parse_response(&run->parser, &run->arena, in, &limits, false, &response);
    else
        run->status = h1_parse_request(&run->parser, &run->arena, in, &limits, &request);
    run->body = run->response ? response.body : request.body;
    return run->status != H1_MORE;
}

static void run_start(struct run *run, bool response)
{
    *run = (struct run){.response = response};
    arena_init(&run->arena, NULL, 256 * 1024);
}

/* "ok none", "400", "more" */
static void run_result(const struct run *run, char out[32])
{
    static const char *const bodies[] = {"none", "length", "chunked", "close"};

    if (run->status == H1_HEAD)
        snprintf(out, 32, "ok %s", bodies[run->body]);
    else if (run->status == H1_MORE)
        snprintf(out, 32, "more");
    else
        snprintf(out, 32, "%u", run->response ? 502 : h1_error_status(run->parser.error));
}

static void run_case(struct str text, bool response, char out[32])
{
    struct run run;
    char other[32];

    run_start(&run, response);
    feed_prefix(on_feed, &run, text, text.len);
    run_result(&run, out);
    arena_fini(&run.arena);
    run_start(&run, response);
    feed_bytes(on_feed, &run, text);
    run_result(&run, other);
    arena_fini(&run.arena);
    assert_string_equal(out, other);
    for (size_t at = 0; at < text.len; at++) {
        run_start(&run, response);
        feed_split(on_feed, &run, text, at);
        run_result(&run, other);
        arena_fini(&run.arena);
        assert_string_equal(out, other);
    }
}

static void add_escape(struct buf *out, struct str *rest)
{
    char c = rest->ptr[0];
    size_t used = 1;

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
        char got[32];
        struct str want;

        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        assert_true(bar > 0);
        want = str_slice(line, 0, (size_t)bar);
        buf_init(&input, 1 << 20);
        unescape(str_slice(line, (size_t)bar + 3, line.len), &input);
        run_case(buf_str(&input), response, got);
        buf_free(&input);
        cnt++;
        if (str_starts(str_c(got), want))
            continue;
        print_error("%s: got %s: %.*s\n", path, got, STR_ARGS(line));
        bad++;
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
    assert_true(run_all(false) > 150);
}

static void test_responses(void **state)
{
    (void)state;
    assert_true(run_all(true) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
