/*
 * Runs html5lib's tokenizer tests when their data is there (CONSENTD_SHARED, or ../shared
 * beside the source), and a small set of our own always. Each input is fed whole, byte by
 * byte and in parts of 2 to 7 bytes; full tokens are built here from the tokenizer's pieces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/buf.h"
#include "consentd/mem.h"
#include "consentd/tag.h"
#include "consentd/tokenizer.h"

#define FFFD "\xEF\xBF\xBD"

struct build {
    struct tokenizer tok;
    struct buf bytes; /* the whole stream so far */
    size_t text_from; /* where the current text began */
    enum tok_text kind;
    json_t *tokens;  /* owned */
    struct buf text; /* decoded text not yet a token */
    bool cdata_allowed;
};

static unsigned cases_run, cases_failed;

static json_t *string_of(struct str s)
{
    json_t *j = json_stringn(s.len > 0 ? s.ptr : "", s.len);

    return j != NULL ? j : json_string("(not UTF-8)");
}

static void flush_text(struct build *b)
{
    if (b->text.len > 0)
        json_array_append_new(b->tokens,
                              json_pack("[so]", "Character", string_of(buf_str(&b->text))));
    buf_clear(&b->text);
}

/* CR LF to LF; NUL replaced where the standard does (not in data, not in CDATA). */
static void append_plain(struct build *b, struct str s, bool replace_nul)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\r') {
            assert_true(buf_append_char(&b->text, '\n'));
            i += i + 1 < s.len && s.ptr[i + 1] == '\n';
        } else if (s.ptr[i] == '\0' && replace_nul) {
            assert_true(buf_append_c(&b->text, FFFD));
        } else {
            assert_true(buf_append_char(&b->text, s.ptr[i]));
        }
    }
}

static void add_text(struct build *b, size_t upto)
{
    struct str s = str_slice(buf_str(&b->bytes), b->text_from, upto - b->text_from);

    if (upto <= b->text_from)
        return;
    if (b->kind == TOK_DATA || b->kind == TOK_RCDATA) {
        struct buf out;

        buf_init(&out, 1 << 20);
        assert_true(tag_text_decode(s, &out));
        for (size_t i = 0; i < out.len; i++) {
            if (out.data[i] == '\0' && b->kind == TOK_RCDATA)
                assert_true(buf_append_c(&b->text, FFFD));
            else
                assert_true(buf_append_char(&b->text, (char)out.data[i]));
        }
        buf_free(&out);
    } else {
        append_plain(b, s, b->kind != TOK_CDATA);
    }
}

static json_t *plain_string(struct build *b, struct str s, bool lower)
{
    struct buf keep = b->text;
    json_t *j;

    buf_init(&b->text, 1 << 20);
    append_plain(b, s, true);
    for (size_t i = 0; lower && i < b->text.len; i++)
        b->text.data[i] = (uint8_t)ascii_lower((char)b->text.data[i]);
    j = string_of(buf_str(&b->text));
    buf_free(&b->text);
    b->text = keep;
    return j;
}

static void add_tag(struct build *b, struct str tag)
{
    const struct tokenizer *tok = &b->tok;
    uint32_t pos = (uint32_t)(tok->name_end - tok->start);
    struct str name = str_slice(tag, tok->is_end ? 2 : 1, pos - (tok->is_end ? 2 : 1));
    json_t *attrs = json_object();
    struct tag_attr a;
    struct buf value;

    buf_init(&value, 1 << 20);
    while (tag_next(tag, &pos, &a)) {
        json_t *key = plain_string(b, tag_attr_name(tag, &a), true);

        buf_clear(&value);
        assert_true(tag_attr_decode(tag, &a, &value));
        if (json_object_get(attrs, json_string_value(key)) == NULL)
            json_object_set_new(attrs, json_string_value(key), string_of(buf_str(&value)));
        json_decref(key);
    }
    buf_free(&value);
    flush_text(b);
    if (tok->is_end) {
        json_decref(attrs);
        json_array_append_new(b->tokens, json_pack("[so]", "EndTag", plain_string(b, name, true)));
    } else {
        json_t *t = json_pack("[soo]", "StartTag", plain_string(b, name, true), attrs);

        if (tok->self_closing)
            json_array_append_new(t, json_true());
        json_array_append_new(b->tokens, t);
    }
}

/* The data of a comment from its bytes: prefix and the end that closed it are cut. */
static void add_comment(struct build *b, struct str s, bool bogus, bool ended)
{
    static const char *const ends[] = {"--!>", "-->", "--!", "--", "-"};

    flush_text(b);
    if (bogus) {
        s = str_slice(s, s.len > 1 && s.ptr[1] != '?' ? 2 : 1, s.len);
        s.len -= ended ? 1 : 0;
    } else {
        s = str_slice(s, 4, s.len);
        for (size_t i = ended ? 0 : 2; i < (ended ? 2 : COUNT_OF(ends)); i++) {
            if (str_ends(s, str_c(ends[i]))) {
                s.len -= strlen(ends[i]);
                ended = false;
                break;
            }
        }
        if (ended) /* <!--> and <!---> */
            s.len = 0;
    }
    json_array_append_new(b->tokens, json_pack("[so]", "Comment", plain_string(b, s, false)));
}

static struct str skip_space(struct str s)
{
    while (s.len > 0 && strchr(" \t\n\f\r", s.ptr[0]) != NULL && s.ptr[0] != '\0')
        s = str_slice(s, 1, s.len);
    return s;
}

/* A quoted identifier; NULL when there is none. *bad: what follows makes it quirky. */
static json_t *doctype_id(struct build *b, struct str *s, bool *bad)
{
    ptrdiff_t end;
    json_t *id;

    *s = skip_space(*s);
    if (s->len == 0 || (s->ptr[0] != '"' && s->ptr[0] != '\'')) {
        *bad = true;
        return json_null();
    }
    end = str_find_char(str_slice(*s, 1, s->len), s->ptr[0]);
    *bad = end < 0;
    id = plain_string(b, str_slice(*s, 1, end < 0 ? s->len : (size_t)end), false);
    *s = str_slice(*s, end < 0 ? s->len : (size_t)end + 2, s->len);
    return id;
}

static void add_doctype(struct build *b, struct str s, bool ended)
{
    json_t *public = json_null(), *system = json_null(), *name = json_null();
    bool bad = !ended;
    bool wrong = true;
    size_t len = 0;

    flush_text(b);
    s = str_slice(s, 9, s.len - 9 - (ended ? 1 : 0));
    s = skip_space(s);
    while (len < s.len && (s.ptr[len] == '\0' || strchr(" \t\n\f\r", s.ptr[len]) == NULL))
        len++;
    if (len > 0)
        name = plain_string(b, str_slice(s, 0, len), true);
    else
        bad = true;
    s = skip_space(str_slice(s, len, s.len));
    if (str_starts_fold(s, STR("public"))) {
        s = str_slice(s, 6, s.len);
        public = doctype_id(b, &s, &wrong);
        bad = bad || wrong;
        s = skip_space(s);
        if (!wrong && s.len > 0)
            system = doctype_id(b, &s, &wrong);
        bad = bad || wrong;
    } else if (str_starts_fold(s, STR("system"))) {
        s = str_slice(s, 6, s.len);
        system = doctype_id(b, &s, &wrong);
        bad = bad || wrong;
    } else if (s.len > 0) {
        bad = true;
    }
    /* 13.2.5.67: what follows a complete system identifier is ignored, also at the end */
    if (!json_is_null(system) && !wrong && skip_space(s).len > 0)
        bad = false;
    json_array_append_new(b->tokens, json_pack("[soooo]", "DOCTYPE", name, public, system,
                                               bad ? json_false() : json_true()));
}

static void add_piece(struct build *b, enum tok_event event, size_t end, bool ended)
{
    size_t start = (size_t)b->tok.start;
    struct str piece = str_slice(buf_str(&b->bytes), start, end - start);

    if (event == TOK_CDATA_END) {
        add_text(b, end - 3);
    } else {
        add_text(b, start);
        if (event == TOK_TAG && ended)
            add_tag(b, piece);
        else if (event == TOK_COMMENT || event == TOK_BOGUS)
            add_comment(b, piece, event == TOK_BOGUS, ended);
        else if (event == TOK_DOCTYPE)
            add_doctype(b, piece, ended);
    }
    b->text_from = end;
}

static void feed(struct build *b, struct str part)
{
    size_t i = b->bytes.len;

    assert_true(buf_append_str(&b->bytes, part));
    while (i < b->bytes.len) {
        i = tokenizer_run(&b->tok, b->bytes.data, i, b->bytes.len);
        if (b->tok.event == TOK_CDATA_OPEN) {
            tokenizer_cdata(&b->tok, b->cdata_allowed);
            if (b->cdata_allowed) {
                add_text(b, (size_t)b->tok.start);
                b->text_from = i;
            }
        } else if (b->tok.event != TOK_MORE) {
            add_piece(b, b->tok.event, i, true);
        }
        b->kind = b->tok.text;
    }
}

static void finish(struct build *b)
{
    enum tok_event last = tokenizer_end(&b->tok);

    if (last != TOK_MORE)
        add_piece(b, last, b->bytes.len, false);
    else
        add_text(b, b->bytes.len);
    flush_text(b);
}

static enum tok_text text_of(const char *state)
{
    static const char *const names[] = {"Data state",      "RCDATA state",
                                        "RAWTEXT state",   "Script data state",
                                        "PLAINTEXT state", "CDATA section state"};

    for (unsigned i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(names[i], state) == 0)
            return (enum tok_text)i;
    }
    fail_msg("unknown state %s", state);
    return TOK_DATA;
}

static json_t *tokenize(struct str in, const char *state, const char *last_tag, size_t step)
{
    struct build b = {.tokens = json_array()};

    buf_init(&b.bytes, 1 << 20);
    buf_init(&b.text, 1 << 20);
    tokenizer_init(&b.tok);
    tokenizer_set_text(&b.tok, text_of(state), str_c(last_tag != NULL ? last_tag : ""));
    b.kind = b.tok.text;
    while (in.len > 0) {
        size_t len = step < in.len ? step : in.len;

        feed(&b, str_slice(in, 0, len));
        in = str_slice(in, len, in.len);
    }
    finish(&b);
    buf_free(&b.bytes);
    buf_free(&b.text);
    return b.tokens;
}

static void check(struct str in, const char *state, const char *last_tag, const json_t *want)
{
    static const size_t steps[] = {1 << 20, 1, 2, 3, 4, 5, 6, 7};

    cases_run++;
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        json_t *got = tokenize(in, state, last_tag, steps[i]);
        bool same = json_equal(got, want) != 0;

        if (!same) {
            char *g = json_dumps(got, JSON_ENSURE_ASCII), *w = json_dumps(want, JSON_ENSURE_ASCII);

            cases_failed++;
            print_error("%s, step %zu: %.*s\n  want %s\n  got  %s\n", state, steps[i], STR_ARGS(in),
                        w, g);
            free(g);
            free(w);
        }
        json_decref(got);
        if (!same)
            return;
    }
}

/* "\uXXXX" written twice escaped in the data files ("doubleEscaped"). */
static json_t *unescape(const json_t *text)
{
    struct buf quoted;
    json_t *out;

    if (json_is_array(text)) {
        json_t *list = json_array();
        size_t i;
        json_t *item;

        json_array_foreach ((json_t *)(uintptr_t)text, i, item)
            json_array_append_new(list, unescape(item));
        return list;
    }
    if (!json_is_string(text))
        return json_deep_copy(text);
    buf_init(&quoted, 1 << 20);
    assert_true(buf_append_char(&quoted, '"') && buf_append_c(&quoted, json_string_value(text)) &&
                buf_append_char(&quoted, '"'));
    out = json_loadb((const char *)quoted.data, quoted.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    buf_free(&quoted);
    return out; /* NULL: a lone surrogate, which no UTF-8 stream can hold */
}

static void run_json_test(const json_t *test)
{
    json_t *input = json_incref(json_object_get(test, "input"));
    json_t *want = json_incref(json_object_get(test, "output"));
    const json_t *states = json_object_get(test, "initialStates");
    const char *last = json_string_value(json_object_get(test, "lastStartTag"));
    size_t cnt = states != NULL ? json_array_size(states) : 1;

    if (json_is_true(json_object_get(test, "doubleEscaped"))) {
        json_decref(input);
        json_decref(want);
        input = unescape(json_object_get(test, "input"));
        want = unescape(json_object_get(test, "output"));
    }
    for (size_t i = 0; i < cnt && input != NULL && want != NULL; i++) {
        const char *state =
            states != NULL ? json_string_value(json_array_get(states, i)) : "Data state";

        check(str_make(json_string_value(input), json_string_length(input)), state, last, want);
    }
    json_decref(input);
    json_decref(want);
}

static void run_file(const char *path)
{
    json_t *root = json_load_file(path, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, NULL);
    json_t *tests = root != NULL ? json_object_get(root, "tests") : NULL;
    size_t i;
    json_t *test;

    if (tests == NULL)
        print_message("%s: not readable as JSON here, skipped\n", path);
    json_array_foreach (tests, i, test)
        run_json_test(test);
    json_decref(root);
}

static void test_html5lib_suite_passes(void **state)
{
    const char *shared = getenv("CONSENTD_SHARED"), *source = getenv("CONSENTD_SOURCE");
    char pattern[1024];
    glob_t found;

    (void)state;
    if (shared != NULL)
        snprintf(pattern, sizeof(pattern), "%s/corpus/html5lib-tokenizer/*.test", shared);
    else
        snprintf(pattern, sizeof(pattern), "%s/../shared/corpus/html5lib-tokenizer/*.test",
                 source != NULL ? source : ".");
    if (glob(pattern, 0, NULL, &found) != 0) {
        print_message("html5lib's data is not here: %s\n", pattern);
        skip();
        return;
    }
    cases_run = cases_failed = 0;
    for (size_t i = 0; i < found.gl_pathc; i++)
        run_file(found.gl_pathv[i]);
    globfree(&found);
    print_message("html5lib: %u of %u passed\n", cases_run - cases_failed, cases_run);
    assert_int_equal(cases_failed, 0);
    assert_true(cases_run > 5000);
}

static void test_own_set_passes(void **state)
{
    static const struct {
        const char *state, *last, *in, *want;
    } own[] = {
        {"Data state", NULL, "a<b c=\"d&amp;e\" c=f g>h",
         "[[\"Character\",\"a\"],[\"StartTag\",\"b\",{\"c\":\"d&e\",\"g\":\"\"}],[\"Character\","
         "\"h\"]]"},
        {"Data state", NULL, "<!--a--!>b</>c", "[[\"Comment\",\"a\"],[\"Character\",\"bc\"]]"},
        {"Data state", NULL, "&notit;&notin;&#x80;",
         "[[\"Character\",\"\\u00acit;\\u2209\\u20ac\"]]"},
        {"Data state", NULL, "<a b='&notit;&not=' />",
         "[[\"StartTag\",\"a\",{\"b\":\"&notit;&not=\"},true]]"},
        {"RCDATA state", "title", "a</titl></title/>b",
         "[[\"Character\",\"a</titl>\"],[\"EndTag\",\"title\"],[\"Character\",\"b\"]]"},
        {"Script data state", "script", "<!--<script></script>--></script>",
         "[[\"Character\",\"<!--<script></script>-->\"],[\"EndTag\",\"script\"]]"},
    };

    (void)state;
    cases_run = cases_failed = 0;
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        json_t *want = json_loads(own[i].want, 0, NULL);

        check(str_c(own[i].in), own[i].state, own[i].last, want);
        json_decref(want);
    }
    assert_int_equal(cases_failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_own_set_passes),
                                       cmocka_unit_test(test_html5lib_suite_passes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
