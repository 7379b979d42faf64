/*
 * jstext.c - contract in consentd/jstext.h.
 *
 *   CODE --quote--> STRING --quote--> CODE          a line break in it: DOUBT
 *   CODE --`--> TEMPLATE --${--> CODE --}--> TEMPLATE --`--> CODE
 *   CODE --//--> LINE COMMENT --line end--> CODE      CODE --/ *--> BLOCK COMMENT --* /--> CODE
 *   CODE --/ where an operand is due--> REGEX --/--> CODE
 *   CODE --/ where it could be either--> DOUBT: all the rest is copied
 *
 * ECMAScript 12 "Lexical Grammar". Whether a slash divides depends on the token before it; where
 * that takes a parser ( ) } ++ -- and words that are sometimes keywords) we are in doubt.
 */
#include "consentd/jstext.h"

#include <stdint.h>
#include <string.h>

#include "consentd/b64.h"

enum before {                      /* what a slash would mean here */
              BEFORE_OPERATOR = 0, /* an operand is due: a regular expression */
              BEFORE_OPERAND,      /* a division */
              BEFORE_UNCLEAR,      /* depends on the grammar */
};

struct lexer {
    const char *p, *end;
    char *out; /* next byte to write; never ahead of what was read */
    enum before before;
    bool dot; /* behind a dot: the next word is a property, never a keyword */
    bool doubt;
    unsigned depth;                      /* templates we are inside of */
    unsigned braces[JSTEXT_NESTING_MAX]; /* open braces in the innermost ${ of each */
};

bool jstext_has_escapes(struct str text)
{
    return text.len > 0 && memchr(text.ptr, '\\', text.len) != NULL;
}

/* The character that \xHH, \uHHHH or \u{H} stands for, if it is printable ASCII; 0 if not. */
static char escaped_char(const char *p, size_t len, size_t *used_out)
{
    uint8_t byte;

    const char *digits = NULL;

    if (len >= 4 && p[1] == 'x')
        digits = p + 2;
    else if (len >= 6 && p[1] == 'u' && p[2] == '0' && p[3] == '0')
        digits = p + 4;
    else if (len >= 6 && p[1] == 'u' && p[2] == '{' && p[5] == '}')
        digits = p + 3;
    if (digits == NULL || !hex_decode(str_make(digits, 2), &byte, 1))
        return '\0';
    *used_out = p[1] == 'x' ? 4 : 6;
    return byte >= 0x20 && byte < 0x7f ? (char)byte : '\0';
}

/* p is at a backslash. Writes what it stands for, returns the bytes read. */
static size_t fold_escape(const char *p, const char *end, char **out)
{
    size_t len = (size_t)(end - p);
    size_t used = 0;
    char c = escaped_char(p, len, &used);

    if (c != '\0') {
        *(*out)++ = c;
        return used;
    }
    if (len >= 2 && (p[1] == '\n' || p[1] == '\r'))
        return 2; /* a string that goes on in the next line */
    if (len < 2 || (p[1] != '/' && p[1] != '\'' && p[1] != '"' && p[1] != '`'))
        *(*out)++ = '\\';
    if (len < 2)
        return 1;
    *(*out)++ = p[1];
    return 2;
}

static char *fold(const char *p, const char *end, char *out)
{
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash != NULL ? slash : end) - p);

        memmove(out, p, plain);
        out += plain;
        p += plain;
        if (p < end)
            p += fold_escape(p, end, &out);
    }
    return out;
}

size_t jstext_fold(struct str text, char *out)
{
    return text.len == 0 ? 0 : (size_t)(fold(text.ptr, text.ptr + text.len, out) - out);
}

static bool is_word(char c)
{
    return ascii_is_alnum(c) || c == '_' || c == '$';
}

/* Length of the line end at p, 0 if there is none: LF, CR, U+2028, U+2029. */
static size_t line_end(const char *p, const char *end)
{
    if (*p == '\n' || *p == '\r')
        return 1;
    return end - p >= 3 && memcmp(p, "\xe2\x80", 2) == 0 && (p[2] == '\xa8' || p[2] == '\xa9') ? 3
                                                                                               : 0;
}

static void skip_line_comment(struct lexer *x)
{
    while (x->p < x->end && line_end(x->p, x->end) == 0)
        x->p++;
    *x->out++ = ' ';
}

static void skip_block_comment(struct lexer *x)
{
    const char *p = x->p + 2;

    while (p + 1 < x->end && (p[0] != '*' || p[1] != '/'))
        p++;
    if (p + 1 >= x->end) {
        x->doubt = true; /* never closed: a syntax error, or we are wrong */
        return;
    }
    x->p = p + 2;
    *x->out++ = ' ';
}

/* One character of a string, template or pattern, with its escape undone. */
static void copy_char(struct lexer *x)
{
    if (*x->p == '\\')
        x->p += fold_escape(x->p, x->end, &x->out);
    else
        *x->out++ = *x->p++;
}

static void copy_string(struct lexer *x)
{
    char quote = *x->p;

    *x->out++ = *x->p++;
    while (x->p < x->end && *x->p != quote) {
        if (*x->p == '\n' || *x->p == '\r') {
            x->doubt = true;
            return;
        }
        copy_char(x);
    }
    if (x->p < x->end)
        *x->out++ = *x->p++;
    x->before = BEFORE_OPERAND;
}

/* Within a template, up to its end or to the next ${. */
static void copy_template(struct lexer *x)
{
    while (x->p < x->end && *x->p != '`') {
        if (*x->p == '$' && x->end - x->p >= 2 && x->p[1] == '{') {
            *x->out++ = *x->p++;
            *x->out++ = *x->p++;
            if (x->depth == JSTEXT_NESTING_MAX)
                x->doubt = true;
            else
                x->braces[x->depth++] = 0;
            x->before = BEFORE_OPERATOR;
            return;
        }
        copy_char(x);
    }
    if (x->p < x->end)
        *x->out++ = *x->p++;
    x->before = BEFORE_OPERAND;
}

static void copy_regex(struct lexer *x)
{
    bool in_class = false;

    *x->out++ = *x->p++;
    while (x->p < x->end && (in_class || *x->p != '/')) {
        if (line_end(x->p, x->end) > 0) {
            x->doubt = true;
            return;
        }
        if (*x->p == '[')
            in_class = true;
        else if (*x->p == ']')
            in_class = false;
        copy_char(x);
    }
    if (x->p < x->end)
        *x->out++ = *x->p++;
    x->before = BEFORE_OPERAND;
}

static void copy_word(struct lexer *x)
{
    static const char *const before_regex[] = {"return", "typeof", "case",      "in",
                                               "delete", "void",   "throw",     "new",
                                               "else",   "do",     "instanceof"};
    static const char *const unclear[] = {"of", "yield", "await", "let", "async", "get", "set"};
    const char *start = x->p;
    struct str word;

    while (x->p < x->end && is_word(*x->p))
        *x->out++ = *x->p++;
    word = str_make(start, (size_t)(x->p - start));
    x->before = BEFORE_OPERAND;
    if (x->dot) {
        x->dot = false;
        return;
    }
    for (size_t i = 0; i < COUNT_OF(before_regex); i++) {
        if (str_eq_c(word, before_regex[i]))
            x->before = BEFORE_OPERATOR;
    }
    for (size_t i = 0; i < COUNT_OF(unclear); i++) {
        if (str_eq_c(word, unclear[i]))
            x->before = BEFORE_UNCLEAR;
    }
}

static void copy_slash(struct lexer *x)
{
    char next = x->end - x->p >= 2 ? x->p[1] : '\0';

    if (next == '/') {
        skip_line_comment(x);
    } else if (next == '*') {
        skip_block_comment(x);
    } else if (x->before == BEFORE_OPERATOR) {
        copy_regex(x);
    } else if (x->before == BEFORE_OPERAND) {
        *x->out++ = *x->p++;
        x->before = BEFORE_OPERATOR;
    } else {
        x->doubt = true;
    }
}

/* "<!--" comments out the rest of its line in scripts, but not in modules. */
static void check_html_comment(struct lexer *x)
{
    const char *p = x->p + 4;

    while (p < x->end && (*p == ' ' || *p == '\t'))
        p++;
    if (p < x->end && line_end(p, x->end) == 0)
        x->doubt = true; /* both readings differ only when something follows */
    else
        x->p = p;
}

static void copy_punctuation(struct lexer *x)
{
    char c = *x->p;
    char next = x->end - x->p >= 2 ? x->p[1] : '\0';

    *x->out++ = *x->p++;
    x->dot = c == '.';
    if (c == ')' || c == '}')
        x->before = BEFORE_UNCLEAR;
    else if (c == ']')
        x->before = BEFORE_OPERAND;
    else
        x->before = BEFORE_OPERATOR;
    if ((c == '+' || c == '-') && next == c) {
        *x->out++ = *x->p++;
        x->before = BEFORE_UNCLEAR;
    }
    if (c == '-' && next == '-' && x->p < x->end && *x->p == '>')
        x->doubt = true; /* "-->" at the start of a line is a comment in scripts */
    if (x->depth == 0)
        return;
    if (c == '{')
        x->braces[x->depth - 1]++;
    else if (c == '}' && x->braces[x->depth - 1] > 0)
        x->braces[x->depth - 1]--;
    else if (c == '}') {
        x->depth--;
        copy_template(x);
    }
}

static void step(struct lexer *x)
{
    char c = *x->p;

    if (c == '/') {
        copy_slash(x);
    } else if (c == '"' || c == '\'') {
        copy_string(x);
    } else if (c == '`') {
        *x->out++ = *x->p++;
        copy_template(x);
    } else if (ascii_is_space(c)) {
        *x->out++ = *x->p++;
    } else if (is_word(c)) {
        copy_word(x);
    } else if (c == '\\' || c == '#' || c == '\0' || (unsigned char)c >= 0x80) {
        x->doubt = true; /* escapes in names, private names, #! lines, other spaces: rare */
    } else if (c == '<' && x->end - x->p >= 4 && memcmp(x->p, "<!--", 4) == 0) {
        check_html_comment(x);
    } else {
        copy_punctuation(x);
    }
}

size_t jstext_strip(struct str text, char *out)
{
    struct lexer x = {.p = text.ptr, .end = text.ptr + text.len, .out = out};

    if (text.len == 0)
        return 0;
    while (x.p < x.end && !x.doubt)
        step(&x);
    return (size_t)(fold(x.p, x.end, x.out) - out);
}

static bool has_any(struct str text, const char *const *signs, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        if (str_find(text, str_c(signs[i])) >= 0)
            return true;
    }
    return false;
}

bool jstext_can_load(struct str text)
{
    static const char *const signs[] = {
        "createElement", "document.write", "import",      "fetch(",        "XMLHttpRequest",
        "sendBeacon",    "Image(",         "eval(",       "Function(",     "innerHTML",
        "outerHTML",     "insertAdjacent", ".src",        "WebSocket",     "EventSource",
        "getScript",     "loadScript",     "appendChild", "insertBefore",  "document.cookie",
        "localStorage",  "sessionStorage", "indexedDB",   "atob(",         "setAttribute",
        "Worker(",       "replaceWith",    ".append(",    "importScripts", "srcdoc",
        "('http",        "(\"http",        "(`http",      "('//",          "(\"//",
        "(`//"};

    return has_any(text, signs, COUNT_OF(signs));
}

bool jstext_is_idle(struct str text)
{
    static const char *const signs[] = {
        "['http",    "[\"http",   "['//",    "[\"//",    ":'http",  ":\"http",  ":'//",
        ":\"//",     "open(",     ".get(",   ".ajax(",   ".load(",  "location", "href",
        "url(",      "action",    "$(",      "jQuery",   ".html(",  "__html",   "HTML(",
        "DOMParser", "Fragment(", ".write(", ".before(", ".after(", ".prepend("};

    return !jstext_can_load(text) && !has_any(text, signs, COUNT_OF(signs));
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'' || c == '`';
}

/*
 * The word that reaches to text[at] has a space before it that is not its string's first byte.
 * The value of an attribute, <img src=https://…, is no word of a sentence.
 */
static bool is_in_sentence(struct str text, size_t at)
{
    while (at > 0 && !ascii_is_space(text.ptr[at - 1]) && !is_quote(text.ptr[at - 1])) {
        if (text.ptr[--at] == '=')
            return false;
    }
    if (at == 0 || is_quote(text.ptr[at - 1]))
        return false;
    while (at > 0 && ascii_is_space(text.ptr[at - 1]))
        at--;
    return at > 0 && !is_quote(text.ptr[at - 1]) && text.ptr[at - 1] != '=' &&
           text.ptr[at - 1] != ',';
}

bool jstext_only_mentions(struct str text, struct str needle)
{
    bool found = false;

    for (size_t from = 0; needle.len > 0 && from < text.len;) {
        ptrdiff_t at = str_find(str_slice(text, from, text.len), needle);

        if (at < 0)
            break;
        if (!is_in_sentence(text, from + (size_t)at))
            return false;
        found = true;
        from += (size_t)at + needle.len;
    }
    return found;
}
