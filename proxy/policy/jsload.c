/*
 * jsload.c - contract in consentd/jsload.h.
 *
 * "//" is rare in code without comments, and a search for it is fast: so it is found first, and
 * what stands before it is looked at backwards.
 */
#include "consentd/jsload.h"

#include <string.h>

#define IMPORT_BACK 512 /* bytes of names between "import" and "from" that are looked over */

static bool is_word(char c)
{
    return ascii_is_alnum(c) || c == '_' || c == '$';
}

static size_t skip_space_back(struct str text, size_t at)
{
    while (at > 0 && ascii_is_space(text.ptr[at - 1]))
        at--;
    return at;
}

/* The word that ends at text[at]. */
static struct str word_before(struct str text, size_t at)
{
    size_t from = at;

    while (from > 0 && is_word(text.ptr[from - 1]))
        from--;
    return str_slice(text, from, at - from);
}

/* The opening quote of the string whose text has its "//" at slashes, or -1: none right before. */
static ptrdiff_t find_quote(struct str text, size_t slashes)
{
    static const char *const schemes[] = {"http:", "https:", "ws:", "wss:"};
    size_t at = slashes;

    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t len = strlen(schemes[i]);

        if (slashes >= len && str_eq_fold_c(str_slice(text, slashes - len, len), schemes[i]))
            at = slashes - len;
    }
    at = skip_space_back(text, at);
    if (at == 0 || (text.ptr[at - 1] != '"' && text.ptr[at - 1] != '\'' && text.ptr[at - 1] != '`'))
        return -1;
    return (ptrdiff_t)at - 1;
}

/* x.src = "…" */
static bool is_source(struct str text, size_t equals)
{
    size_t at = skip_space_back(text, equals);
    struct str word = word_before(text, at);

    at = skip_space_back(text, at - word.len);
    return str_eq(word, STR("src")) && at > 0 && text.ptr[at - 1] == '.';
}

/* fetch("…") */
static bool is_call(struct str text, size_t paren)
{
    static const char *const names[] = {"fetch",         "sendBeacon", "import",
                                        "importScripts", "Worker",     "SharedWorker",
                                        "EventSource",   "WebSocket",  "getScript"};
    struct str word = word_before(text, skip_space_back(text, paren));

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (str_eq_c(word, names[i]))
            return true;
    }
    return false;
}

static bool is_method(struct str word)
{
    static const char *const methods[] = {"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        if (str_eq_fold_c(word, methods[i]))
            return true;
    }
    return false;
}

/* The word in quotes that ends at text[end], its closing quote right before; none: empty. */
static struct str quoted_before(struct str text, size_t end)
{
    struct str word;

    if (end < 2 || (text.ptr[end - 1] != '"' && text.ptr[end - 1] != '\''))
        return (struct str){0};
    word = word_before(text, end - 1);
    if (word.len + 2 > end || text.ptr[end - word.len - 2] != text.ptr[end - 1])
        return (struct str){0};
    return word;
}

/* x.open("GET", "…") */
static bool is_second(struct str text, size_t comma)
{
    size_t at = skip_space_back(text, comma);
    struct str first = quoted_before(text, at);
    struct str name;

    if (first.len == 0)
        return false;
    at = skip_space_back(text, at - first.len - 2);
    if (at == 0 || text.ptr[at - 1] != '(')
        return false;
    at = skip_space_back(text, at - 1);
    name = word_before(text, at);
    at = skip_space_back(text, at - name.len);
    return str_eq(name, STR("open")) && at > 0 && text.ptr[at - 1] == '.' && is_method(first);
}

/* What may stand before a statement. */
static bool begins_statement(struct str text, size_t at)
{
    size_t before = skip_space_back(text, at);

    return before == 0 || text.ptr[before - 1] == ';' || text.ptr[before - 1] == '}' ||
           memchr(text.ptr + before, '\n', at - before) != NULL;
}

/* import "…", import x from "…", export * from "…" */
static bool is_static_import(struct str text, size_t end)
{
    struct str word = word_before(text, end);
    size_t from = end - word.len;
    size_t low = from > IMPORT_BACK ? from - IMPORT_BACK : 0;

    if (str_eq(word, STR("import")))
        return begins_statement(text, from);
    if (!str_eq(word, STR("from")))
        return false;
    for (size_t at = from; at > low; at--) {
        char c = text.ptr[at - 1];

        if (c == ';' || c == '"' || c == '\'' || c == '`' || c == '(')
            return false;
        word = str_slice(text, at - 1, 6);
        if ((str_eq(word, STR("import")) || str_eq(word, STR("export"))) &&
            begins_statement(text, at - 1))
            return true;
    }
    return false;
}

static bool is_load(struct str text, size_t quote)
{
    size_t at = skip_space_back(text, quote);
    char c = at > 0 ? text.ptr[at - 1] : '\0';

    if (c == '=')
        return is_source(text, at - 1);
    if (c == '(')
        return is_call(text, at - 1);
    if (c == ',')
        return is_second(text, at - 1);
    return is_word(c) && is_static_import(text, at);
}

static struct str address_at(struct str text, size_t quote)
{
    struct str rest = str_slice(text, quote + 1, JSLOAD_ADDRESS_MAX);
    ptrdiff_t end = str_find_char(rest, text.ptr[quote]);
    ptrdiff_t hole = text.ptr[quote] == '`' ? str_find(rest, STR("${")) : -1;

    if (end < 0 || (hole >= 0 && hole < end))
        end = hole;
    return end < 0 ? rest : str_slice(rest, 0, (size_t)end);
}

bool jsload_next(struct str text, size_t *pos, struct str *address_out)
{
    while (*pos < text.len) {
        ptrdiff_t found = str_find(str_slice(text, *pos, text.len), STR("//"));
        size_t slashes = *pos + (found < 0 ? 0 : (size_t)found);
        ptrdiff_t quote;

        if (found < 0)
            break;
        *pos = slashes + 2;
        quote = find_quote(text, slashes);
        if (quote < 0 || !is_load(text, (size_t)quote))
            continue;
        *address_out = address_at(text, (size_t)quote);
        return true;
    }
    *pos = text.len;
    return false;
}
