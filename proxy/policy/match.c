/*
 * match.c - contract in consentd/match.h: compiling, probing and running patterns.
 *
 * PCRE2's JIT checks the match limit too, only more coarsely than the interpreter; probing is
 * done with the interpreter and without start optimisations, because those hide what a pattern
 * does on a text that has its last character: (a+)+b is quick on "aaaa" only until a b comes.
 */
#include "consentd/match.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "match_priv.h"

enum {
    PROBE_LEN = 256,      /* quadratic patterns stay below the probe's limit, cubic ones do not */
    PROBE_LIMIT = 200000, /* steps */
    PROBE_CHARS = 24,     /* characters of the pattern that are tried as a run */
    NEST_MAX = 50,        /* parentheses */
};

struct pattern {
    pcre2_code *code;             /* owned */
    pcre2_match_context *context; /* owned; the limits */
    pcre2_match_data *data;       /* owned; scratch */
    bool jit;
    struct pattern_text text; /* what could be read off the source */
};

void pattern_free(struct pattern *p)
{
    if (p == NULL)
        return;
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    pcre2_code_free(p->code);
    free(p);
}

static pcre2_code *compile(struct str source, uint32_t options, struct fault *f)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *code;

    ASSERT(context != NULL);
    pcre2_set_parens_nest_limit(context, NEST_MAX);
    code = pcre2_compile((PCRE2_SPTR)source.ptr, source.len,
                         options | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP,
                         &error, &offset, context);
    pcre2_compile_context_free(context);
    if (code == NULL) {
        PCRE2_UCHAR why[160] = "";

        pcre2_get_error_message(error, why, sizeof(why));
        fault_set(f, "not a valid pattern: %s at character %zu", (const char *)why, (size_t)offset);
    }
    return code;
}

static pcre2_match_context *limits_new(uint32_t limit)
{
    pcre2_match_context *context = pcre2_match_context_create(NULL);

    ASSERT(context != NULL);
    pcre2_set_match_limit(context, limit);
    pcre2_set_depth_limit(context, MATCH_DEPTH_MAX);
    pcre2_set_heap_limit(context, MATCH_HEAP_KIB);
    return context;
}

static enum match_result result_of(int rc)
{
    if (rc >= 0)
        return MATCH_YES;
    return rc == PCRE2_ERROR_NOMATCH ? MATCH_NO : MATCH_LIMIT;
}

struct prober {
    const pcre2_code *code;
    pcre2_match_context *context;
    pcre2_match_data *data;
};

static bool probe_text(const struct prober *prober, const char *text, size_t len)
{
    return result_of(pcre2_match(prober->code, (PCRE2_SPTR)text, len, 0, 0, prober->data,
                                 prober->context)) != MATCH_LIMIT;
}

/* `unit` over and over, with an end that few patterns accept. */
static bool probe_run(const struct prober *prober, struct str unit)
{
    char text[PROBE_LEN];

    if (unit.len == 0)
        return true;
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = unit.ptr[i % unit.len];
    text[sizeof(text) - 1] = '\x01';
    return probe_text(prober, text, sizeof(text));
}

static bool probe_all(const struct prober *prober, struct str source, struct str literal)
{
    static const char *const units[] = {"a",     "A",   "0",    " ",    "_",
                                        "aA0_-", "a b", "a=b&", "'x',", "/a"};
    unsigned tried = 0;

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (!probe_run(prober, str_c(units[i])))
            return false;
    }
    for (size_t i = 0; i < source.len && tried < PROBE_CHARS; i++) {
        struct str unit = str_slice(source, i, 1);

        if (memchr(source.ptr, source.ptr[i], i) != NULL)
            continue;
        tried++;
        if (!probe_run(prober, unit))
            return false;
    }
    return probe_run(prober, literal) && probe_run(prober, source);
}

/* Whether the pattern stays within the limit on every probe text. */
static bool pattern_is_tame(struct str source, uint32_t options, struct str literal)
{
    struct prober prober = {.code = compile(source, options | PCRE2_NO_START_OPTIMIZE, NULL)};
    bool ok;

    if (prober.code == NULL)
        return false;
    prober.context = limits_new(PROBE_LIMIT);
    prober.data = pcre2_match_data_create(1, NULL);
    ASSERT(prober.data != NULL);
    ok = probe_all(&prober, source, literal);
    pcre2_match_data_free(prober.data);
    pcre2_match_context_free(prober.context);
    pcre2_code_free((pcre2_code *)(uintptr_t)prober.code);
    return ok;
}

static bool source_is_allowed(struct str source, struct fault *f)
{
    if (source.len == 0 || source.len > MATCH_PATTERN_MAX) {
        fault_set(f, "a pattern has 1 to %d bytes, this one has %zu", MATCH_PATTERN_MAX,
                  source.len);
        return false;
    }
    if (str_find(source, STR("(*")) >= 0 || str_find(source, STR("(?C")) >= 0) {
        fault_set(f, "verbs (*…) and callouts (?C) are not allowed; write a literal (* as \\(\\*");
        return false;
    }
    return true;
}

struct pattern *pattern_new(struct str source, enum match_anchor anchor, uint32_t limit,
                            struct fault *f)
{
    uint32_t options = anchor == MATCH_WHOLE ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : 0;
    struct pattern *p;
    pcre2_code *code;

    if (!source_is_allowed(source, f))
        return NULL;
    code = compile(source, options, f);
    if (code == NULL)
        return NULL;
    p = mem_new(struct pattern);
    p->code = code;
    pattern_text_read(source, &p->text);
    if (!pattern_is_tame(source, options, pattern_literal(p))) {
        fault_set(f, "runs away: more than %d steps on %d characters; avoid repeats within repeats",
                  PROBE_LIMIT, PROBE_LEN);
        pattern_free(p);
        return NULL;
    }
    p->jit = pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0;
    p->context = limits_new(limit);
    p->data = pcre2_match_data_create(1, NULL);
    ASSERT(p->data != NULL);
    return p;
}

void pattern_set_limit(struct pattern *p, uint32_t limit)
{
    pcre2_set_match_limit(p->context, limit);
}

enum match_result pattern_match(const struct pattern *p, struct str text)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)(text.ptr != NULL ? text.ptr : "");

    if (p->jit)
        return result_of(pcre2_jit_match(p->code, subject, text.len, 0, 0, p->data, p->context));
    return result_of(pcre2_match(p->code, subject, text.len, 0, 0, p->data, p->context));
}

struct str pattern_literal(const struct pattern *p)
{
    return str_make(p->text.literal, p->text.literal_len);
}

struct str pattern_head(const struct pattern *p)
{
    return str_make(p->text.head, p->text.head_len);
}
