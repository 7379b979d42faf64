/*
 * jsdata.c - contract in consentd/jsdata.h.
 *
 * A scan over tokens with a stack of brackets, no parser. What could run something is a call, a
 * keyword, or an assignment that a setter of the browser's turns into a load:
 *
 *   f(…)  a.b(…)  (x)(…)  x`…`       calls: only x.push and its like, JSON.parse, functions there
 *   a.src = …   [a.src] = …          assignments: to a name that is no setter, or ["one string"]
 *   new, import, await, …            words that are not taken
 *
 * ECMAScript 12 "Lexical Grammar": no regular expression, no escape in a name and no "<!--" is
 * taken either, so that a quote begins a string wherever it is met.
 */
#include "consentd/jsdata.h"

#include <stdint.h>
#include <string.h>

enum before {                      /* the token before */
              BEFORE_OPERATOR = 0, /* or an opening bracket, or nothing */
              BEFORE_WORD,
              BEFORE_STRING,
              BEFORE_NUMBER,
              BEFORE_NAMED,    /* x["string"] */
              BEFORE_FUNCTION, /* the end of a function */
              BEFORE_VALUE,    /* the end of any other bracket */
};

enum bracket {
    BRACKET_GROUP = 0,  /* ( of an expression */
    BRACKET_FUNCTION,   /* ( of an expression that is one function so far */
    BRACKET_ARGUMENTS,  /* ( of a call */
    BRACKET_PARAMETERS, /* ( of a function */
    BRACKET_BODY,       /* { of a function */
    BRACKET_BRACE,      /* { of an object or a block */
    BRACKET_SQUARE,     /* [ */
    BRACKET_STRING,     /* [ with one string in it so far */
};

struct scan {
    const char *p, *end;
    enum before before;
    char last;        /* the character of an operator right before, else NUL */
    bool body_due;    /* a function's { */
    struct str word;  /* the last word */
    struct str owner; /* what stands before it: a word, with a dot between or with none */
    bool dotted;      /* with a dot */
    struct str string;
    unsigned depth;
    uint8_t bracket[JSDATA_NESTING_MAX];
};

static bool is_one_of(struct str word, const char *const *list, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        if (str_eq_c(word, list[i]))
            return true;
    }
    return false;
}

/* Methods that make text or lists of what they get, and call nothing. */
static bool is_method(struct str name)
{
    static const char *const names[] = {"push", "join", "concat", "split", "slice", "trim"};

    return is_one_of(name, names, COUNT_OF(names));
}

/* A property whose setter loads, goes there, keeps or runs something; or that is called here. */
static bool is_setter(struct str name)
{
    static const char *const names[] = {
        "location", "href",       "src",       "srcset",  "srcdoc", "action",
        "poster",   "background", "ping",      "cookie",  "data",   "cssText",
        "search",   "innerHTML",  "outerHTML", "content", "parse"};

    return is_one_of(name, names, COUNT_OF(names)) || is_method(name) ||
           str_find_char(name, '\\') >= 0;
}

static bool is_banned(struct str word)
{
    static const char *const words[] = {
        "import", "export", "new",          "class",          "await",     "async",
        "yield",  "throw",  "localStorage", "sessionStorage", "indexedDB", "cookieStore"};

    return is_one_of(word, words, COUNT_OF(words));
}

static bool is_operator(struct str word)
{
    static const char *const words[] = {"return", "typeof", "void", "in", "delete", "instanceof"};

    return is_one_of(word, words, COUNT_OF(words));
}

static bool is_word(char c)
{
    return ascii_is_alnum(c) || c == '_' || c == '$';
}

static char peek(const struct scan *s)
{
    return s->p < s->end ? *s->p : '\0';
}

static bool comes_next(const struct scan *s, char c)
{
    const char *p = s->p;

    while (p < s->end && ascii_is_space(*p))
        p++;
    return p < s->end && *p == c;
}

static bool is_inside(const struct scan *s, enum bracket bracket)
{
    return s->depth > 0 && s->bracket[s->depth - 1] == bracket;
}

static void turn(struct scan *s, enum bracket from, enum bracket to)
{
    if (is_inside(s, from))
        s->bracket[s->depth - 1] = (uint8_t)to;
}

/* More follows in the bracket than the one thing it began with. */
static void leave(struct scan *s)
{
    turn(s, BRACKET_FUNCTION, BRACKET_GROUP);
    turn(s, BRACKET_STRING, BRACKET_SQUARE);
}

/* --- strings, words, comments --- */

static bool scan_string(struct scan *s)
{
    char quote = *s->p++;
    const char *from = s->p;

    if (s->before != BEFORE_OPERATOR)
        return false; /* a template behind a value calls it */
    for (; s->p < s->end && *s->p != quote; s->p++) {
        if (quote == '`' ? *s->p == '$' : *s->p == '\n' || *s->p == '\r')
            return false;
        if (*s->p == '\\' && s->end - s->p > 1)
            s->p++;
    }
    if (s->p >= s->end)
        return false;
    s->string = str_make(from, (size_t)(s->p++ - from));
    if (s->last == '[')
        turn(s, BRACKET_SQUARE, BRACKET_STRING);
    s->before = BEFORE_STRING;
    s->word = STR("");
    return !(is_method(s->string) && comes_next(s, ':'));
}

static bool scan_word(struct scan *s)
{
    const char *from = s->p;

    leave(s);
    while (s->p < s->end && is_word(*s->p))
        s->p++;
    s->dotted = s->last == '.';
    s->owner = s->dotted || s->before == BEFORE_WORD ? s->word : STR("");
    s->word = str_make(from, (size_t)(s->p - from));
    s->before = BEFORE_WORD;
    if (ascii_is_digit(*from)) {
        s->before = BEFORE_NUMBER;
        s->word = STR("");
        return true;
    }
    if (s->dotted)
        return !str_eq(s->word, STR("style"));
    if (s->last == '(' && str_eq(s->word, STR("function")))
        turn(s, BRACKET_GROUP, BRACKET_FUNCTION);
    if (is_operator(s->word) && !comes_next(s, ':'))
        s->before = BEFORE_OPERATOR;
    return !is_method(s->word) && (!is_banned(s->word) || comes_next(s, ':'));
}

/* At a slash: a comment, or nothing that is taken. */
static bool scan_comment(struct scan *s)
{
    bool line = s->end - s->p > 1 && s->p[1] == '/';

    if (!line && !(s->end - s->p > 1 && s->p[1] == '*'))
        return false;
    for (s->p += 2; s->p < s->end; s->p++) {
        if (line && (*s->p == '\n' || *s->p == '\r'))
            return true;
        if (line && (unsigned char)*s->p == 0xe2)
            return false; /* the first byte of two more line ends */
        if (!line && *s->p == '*' && s->end - s->p > 1 && s->p[1] == '/') {
            s->p += 2;
            return true;
        }
    }
    return line;
}

/* --- brackets and operators --- */

static bool is_call(const struct scan *s)
{
    return s->dotted &&
           (is_method(s->word) || (str_eq(s->word, STR("parse")) && str_eq(s->owner, STR("JSON"))));
}

static bool is_function(const struct scan *s)
{
    return !s->dotted && ((str_eq(s->word, STR("function")) && s->owner.len == 0) ||
                          str_eq(s->owner, STR("function")));
}

static bool open_bracket(struct scan *s, char c)
{
    enum bracket bracket = c == '[' ? BRACKET_SQUARE : s->body_due ? BRACKET_BODY : BRACKET_BRACE;

    if (c == '(') {
        if (s->before == BEFORE_OPERATOR && s->last != '.') /* a?.(), 1.() */
            bracket = BRACKET_GROUP;
        else if (s->before == BEFORE_FUNCTION || (s->before == BEFORE_WORD && is_call(s)))
            bracket = BRACKET_ARGUMENTS;
        else if (s->before == BEFORE_WORD && is_function(s))
            bracket = BRACKET_PARAMETERS;
        else
            return false;
    }
    if (s->depth == JSDATA_NESTING_MAX)
        return false;
    s->bracket[s->depth++] = (uint8_t)bracket;
    s->body_due = false;
    s->before = BEFORE_OPERATOR;
    return true;
}

static bool close_bracket(struct scan *s, char c)
{
    enum before before = s->before;
    enum bracket bracket;

    if (s->depth == 0)
        return false;
    bracket = (enum bracket)s->bracket[--s->depth];
    s->before = BEFORE_VALUE;
    s->word = STR("");
    switch (bracket) {
    case BRACKET_FUNCTION:
        s->before = before == BEFORE_FUNCTION ? BEFORE_FUNCTION : BEFORE_VALUE;
        return c == ')';
    case BRACKET_PARAMETERS:
        s->body_due = true;
        return c == ')';
    case BRACKET_GROUP:
    case BRACKET_ARGUMENTS:
        return c == ')';
    case BRACKET_BODY:
        s->before = BEFORE_FUNCTION;
        return c == '}';
    case BRACKET_BRACE:
        return c == '}';
    case BRACKET_STRING:
        s->before = BEFORE_NAMED;
        return c == ']';
    case BRACKET_SQUARE:
    default:
        return c == ']';
    }
}

static bool may_assign(const struct scan *s)
{
    if (s->before == BEFORE_NAMED)
        return !is_setter(s->string);
    if (s->before != BEFORE_WORD)
        return false;
    return s->dotted ? !is_setter(s->word)
                     : !str_eq(s->word, STR("location")) && !str_eq(s->word, STR("JSON"));
}

static bool scan_operator(struct scan *s, char c)
{
    bool compares = c == '!' || c == '<' || c == '>' || (c == '=' && peek(s) == '=');

    if (memchr(".,;:?+-*%&|^~!<>=", c, 17) == NULL || (c == '-' && peek(s) == '-') ||
        (c == '<' && peek(s) == '!') || (c == '=' && peek(s) == '>'))
        return false;
    if (c == '=' && !compares && !may_assign(s))
        return false;
    while (compares && peek(s) == '=')
        s->p++;
    leave(s);
    s->before = BEFORE_OPERATOR;
    return true;
}

static bool scan_punctuation(struct scan *s)
{
    char c = *s->p++;
    bool ok = c == '(' || c == '[' || c == '{'   ? open_bracket(s, c)
              : c == ')' || c == ']' || c == '}' ? close_bracket(s, c)
                                                 : scan_operator(s, c);

    s->last = c;
    return ok;
}

static bool step(struct scan *s)
{
    char c = *s->p;
    bool ok;

    if (ascii_is_space(c)) {
        s->p++;
        return true;
    }
    if (c == '/')
        return scan_comment(s);
    if (s->body_due && c != '{')
        return false;
    if (c != '"' && c != '\'' && c != '`' && !is_word(c))
        return scan_punctuation(s);
    ok = is_word(c) ? scan_word(s) : scan_string(s);
    s->last = '\0';
    return ok;
}

bool jsdata_is_all(struct str text)
{
    struct scan s = {.p = text.ptr, .end = text.ptr + text.len};

    while (s.p < s.end) {
        if (!step(&s))
            return false;
    }
    return s.depth == 0 && !s.body_due;
}
