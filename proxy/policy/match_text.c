/*
 * match_text.c - contract in match_priv.h.
 *
 * Reads a pattern as a sequence of items: a fixed character, something that matches unknown text
 * (a class, a group, a dot) or nothing (an anchor). Runs of fixed characters are candidates; an
 * item that may be absent (? * {0) ends the run before it. At an alternative, an option setting or
 * an escape that is not in the short list below it gives up and takes nothing from that level.
 */
#include "match_priv.h"

#include <string.h>

#include "consentd/b64.h"

#define DEPTH_MAX 16

struct reader {
    struct str source;
    size_t at;
    char run[MATCH_LITERAL_MAX];
    size_t run_len;
    bool at_head; /* the run has begun at the start of the pattern */
    bool gave_up;
    struct pattern_text *out;
};

static char peek(const struct reader *r, size_t ahead)
{
    return r->at + ahead < r->source.len ? r->source.ptr[r->at + ahead] : '\0';
}

static void run_end(struct reader *r)
{
    if (r->run_len > r->out->literal_len) {
        memcpy(r->out->literal, r->run, r->run_len);
        r->out->literal_len = r->run_len;
    }
    if (r->at_head) {
        memcpy(r->out->head, r->run, r->run_len);
        r->out->head_len = r->run_len;
        r->at_head = false;
    }
    r->run_len = 0;
}

/* What stands behind an item. */
enum repeat { REPEAT_ONCE, REPEAT_MAYBE /* or not at all */, REPEAT_SOME /* at least once */ };

static enum repeat read_repeat(struct reader *r)
{
    enum repeat repeat = REPEAT_ONCE;
    char c = peek(r, 0);

    if (c == '?' || c == '*') {
        repeat = REPEAT_MAYBE;
        r->at++;
    } else if (c == '+') {
        repeat = REPEAT_SOME;
        r->at++;
    } else if (c == '{' && ascii_is_digit(peek(r, 1))) {
        repeat = peek(r, 1) == '0' ? REPEAT_MAYBE : REPEAT_SOME;
        while (r->at < r->source.len && peek(r, 0) != '}')
            r->at++;
        r->at++;
    }
    if (repeat != REPEAT_ONCE && (peek(r, 0) == '?' || peek(r, 0) == '+'))
        r->at++; /* lazy or possessive */
    return repeat;
}

static void put_char(struct reader *r, char c)
{
    enum repeat repeat = read_repeat(r);

    if (repeat == REPEAT_MAYBE) {
        run_end(r);
        return;
    }
    if (r->run_len == sizeof(r->run))
        run_end(r);
    r->run[r->run_len++] = c;
    if (repeat == REPEAT_SOME)
        run_end(r);
}

/* Something of unknown text: ends the run, whatever its repeat. */
static void put_unknown(struct reader *r)
{
    run_end(r);
    (void)read_repeat(r);
}

static void read_escape(struct reader *r)
{
    char c = peek(r, 1);

    if (c == 'x' && r->at + 4 <= r->source.len) {
        uint8_t byte;

        if (hex_decode(str_slice(r->source, r->at + 2, 2), &byte, 1)) {
            r->at += 4;
            put_char(r, (char)byte);
            return;
        }
    }
    r->at += 2;
    if (c != '\0' && !ascii_is_alnum(c))
        put_char(r, c);
    else if (c != '\0' && strchr("dDwWsSbBAzZnrtfhHvVR", c) != NULL)
        put_unknown(r);
    else
        r->gave_up = true;
}

static void skip_class(struct reader *r)
{
    r->at++; /* [ */
    if (peek(r, 0) == '^')
        r->at++;
    if (peek(r, 0) == ']')
        r->at++;
    while (r->at < r->source.len && peek(r, 0) != ']') {
        if (peek(r, 0) == '\\') {
            r->at++;
        } else if (peek(r, 0) == '[' && peek(r, 1) == ':') {
            r->at += 2;
            while (r->at < r->source.len && peek(r, 0) != ']')
                r->at++;
        }
        r->at++;
    }
    r->at++;
    put_unknown(r);
}

/* From behind "(" to behind its ")". *split_out: an alternative at its top level. */
static void skip_group(struct reader *r, bool *split_out)
{
    struct reader inner = *r; /* skip_class ends runs: on a copy that keeps nothing */
    struct pattern_text nothing = {0};
    unsigned depth = 1;

    *split_out = false;
    inner.out = &nothing;
    inner.run_len = 0;
    while (inner.at < inner.source.len && depth > 0) {
        char c = peek(&inner, 0);

        if (c == '[') {
            skip_class(&inner);
            continue;
        }
        if (c == '\\')
            inner.at++;
        else if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
        else if (c == '|' && depth == 1)
            *split_out = true;
        inner.at++;
    }
    r->at = inner.at;
}

static void read_sequence(struct reader *r, unsigned depth);

static void read_group(struct reader *r, unsigned depth)
{
    size_t start = r->at + 1;
    size_t end;
    bool plain = peek(r, 1) != '?';
    bool split;

    if (!plain && strchr(":=!<>|", peek(r, 2)) == NULL) {
        r->gave_up = true; /* an option: (?i) changes what characters mean */
        return;
    }
    if (!plain && peek(r, 2) == ':') {
        plain = true;
        start += 2;
    }
    run_end(r);
    r->at++;
    skip_group(r, &split);
    end = r->at;
    if (plain && !split && depth < DEPTH_MAX) {
        struct reader inner = {
            .source = str_slice(r->source, 0, end > 0 ? end - 1 : 0), .at = start, .out = r->out};

        if (peek(r, 0) != '?' && peek(r, 0) != '*' && peek(r, 0) != '{')
            read_sequence(&inner, depth + 1);
        r->gave_up = r->gave_up || inner.gave_up;
    }
    (void)read_repeat(r);
}

static void read_sequence(struct reader *r, unsigned depth)
{
    while (r->at < r->source.len && !r->gave_up) {
        char c = peek(r, 0);

        if (c == '\\') {
            read_escape(r);
        } else if (c == '[') {
            skip_class(r);
        } else if (c == '(') {
            read_group(r, depth);
        } else if (c == '.' || c == '$' || c == '^') {
            r->at++;
            if (c != '^' || !r->at_head || r->run_len > 0)
                put_unknown(r);
        } else if (c == '|') {
            r->gave_up = true;
        } else {
            r->at++;
            put_char(r, c);
        }
    }
    run_end(r);
}

void pattern_text_read(struct str source, struct pattern_text *out)
{
    struct reader r = {.source = source, .at_head = true, .out = out};

    memset(out, 0, sizeof(*out));
    if (str_find(source, STR("\\Q")) >= 0)
        return;
    read_sequence(&r, 0);
    if (r.gave_up)
        memset(out, 0, sizeof(*out));
}
