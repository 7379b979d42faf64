/*
 * json_line.c - JSON as text: comments, and where a value stands; contract in consentd/json.h.
 *
 * Walks text that jansson has accepted, so it may be trusting about the grammar, but
 * never about the end. Member names with escapes are not found: the line of the
 * object is given then.
 */
#include <stdlib.h>

#include "json_priv.h"

void json_blank_comments(char *text, size_t len)
{
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        if (quoted && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            quoted = !quoted;
        } else if (!quoted && text[i] == '/' && i + 1 < len && text[i + 1] == '/') {
            while (i < len && text[i] != '\n')
                text[i++] = ' ';
        }
    }
}

struct walk {
    const char *text;
    size_t len;
    size_t at;
};

static char peek(const struct walk *w)
{
    return w->at < w->len ? w->text[w->at] : '\0';
}

static void skip_gaps(struct walk *w)
{
    while (w->at < w->len && (ascii_is_space(peek(w)) || peek(w) == ',' || peek(w) == ':'))
        w->at++;
}

/* At a quote: steps behind the closing one; the text between. */
static struct str skip_string(struct walk *w)
{
    size_t from = ++w->at;

    while (w->at < w->len && peek(w) != '"')
        w->at += peek(w) == '\\' ? 2 : 1;
    if (w->at > w->len)
        w->at = w->len;
    struct str s = str_make(w->text + from, w->at - from);
    w->at++;
    return s;
}

static void skip_value(struct walk *w)
{
    unsigned depth = 0;

    skip_gaps(w);
    do {
        char c = peek(w);
        if (c == '"') {
            skip_string(w);
        } else if (c == '{' || c == '[') {
            depth++;
            w->at++;
        } else if (c == '}' || c == ']') {
            depth--;
            w->at++;
        } else {
            while (w->at < w->len &&
                   (ascii_is_alnum(peek(w)) || peek(w) == '-' || peek(w) == '+' || peek(w) == '.'))
                w->at++;
        }
        skip_gaps(w);
    } while (depth > 0 && w->at < w->len);
}

/* From before a container to before its wanted child; *mark is where an error points. */
static bool enter(struct walk *w, const struct json_at *child, size_t *mark)
{
    size_t index = 0;

    skip_gaps(w);
    w->at++; /* the bracket */
    for (;;) {
        skip_gaps(w);
        if (w->at >= w->len || peek(w) == '}' || peek(w) == ']')
            return false;
        *mark = w->at;
        if (child->key != NULL) {
            struct str key = skip_string(w);
            if (str_eq_c(key, child->key))
                return true;
        } else if (index++ == child->index) {
            return true;
        }
        skip_value(w);
    }
}

static bool go_to(struct walk *w, const struct json_at *at, size_t *mark)
{
    if (at->above == NULL) {
        skip_gaps(w);
        *mark = w->at;
        return true;
    }
    size_t here = *mark;
    if (!go_to(w, at->above, &here)) {
        *mark = here;
        return false;
    }
    *mark = here;
    if (enter(w, at, &here)) {
        *mark = here;
        return true;
    }
    return false; /* mark stays at the container */
}

unsigned json_at_line(const struct json_at *at)
{
    const struct json_at *root = at;
    size_t mark = 0;
    unsigned line = 1;

    while (root->above != NULL)
        root = root->above;
    if (root->text.len == 0)
        return 0;
    char *copy = str_dup(root->text);
    json_blank_comments(copy, root->text.len);
    struct walk w = {.text = copy, .len = root->text.len};
    go_to(&w, at, &mark);
    for (size_t i = 0; i < mark && i < w.len; i++)
        line += copy[i] == '\n';
    free(copy);
    return line;
}
