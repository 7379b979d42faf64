/*
 * html_engine.c - contract in consentd/html_engine.h.
 *
 * URLs are resolved against the page's own address and, where the page has <base>, against
 * each base that some reading of it sees: one denied answer is enough.
 */
#include "consentd/html_engine.h"

#include <stdlib.h>
#include <string.h>

#include "consent_cookie.h"
#include "consentd/arena.h"
#include "consentd/buf.h"
#include "consentd/category.h"
#include "consentd/cookie.h"
#include "consentd/json_strings.h"
#include "consentd/mem.h"
#include "consentd/rules.h"
#include "consentd/ruleset.h"
#include "consentd/snapshot.h"
#include "speculation.h"

#define URL_ARENA_MAX (1u << 20) /* memory to resolve one URL */
#define INSTEAD_MAX   (1u << 20) /* bytes that stand in for one frame or import map */
#define ADDRESS_MAX   (1u << 16) /* bytes of one address in a script of JSON */

struct html_engine {
    struct decider decider;
    struct url page;      /* the document's own address */
    struct rewriter *rw;  /* owned */
    struct arena scratch; /* emptied after each URL */
    struct buf instead;   /* what stands in the place of the frame at hand */
    struct html_engine_ops ops;
    void *owner;
};

static struct html_note note_of(const struct html_engine *engine, const struct verdict *verdict)
{
    const struct categories *categories =
        engine->decider.snapshot == NULL
            ? NULL
            : rules_categories(snapshot_rules(engine->decider.snapshot));

    return (struct html_note){
        .set = verdict->set == NULL ? NULL : verdict->set->id,
        .category = categories == NULL ? NULL : categories_name(categories, verdict->categories),
    };
}

static enum html_action apply(struct html_engine *engine, const struct verdict *verdict,
                              struct str thing, struct html_note *note_out)
{
    if (verdict->action != VERDICT_PASS && engine->ops.on_verdict != NULL)
        engine->ops.on_verdict(engine->owner, verdict, thing);
    if (verdict->action != VERDICT_STRIP)
        return HTML_KEEP;
    *note_out = note_of(engine, verdict);
    return HTML_DROP;
}

/*
 * Against one base; a value that no browser would fetch passes unless that is in doubt. For a
 * connection only the host matters, and for a base, which also moves what stands before it.
 */
static struct verdict judge(struct html_engine *engine, struct str value, enum html_use use,
                            const struct url *base)
{
    struct url url;

    if (url_parse(value, base, &engine->scratch, &url))
        return use == HTML_USE_CONNECT || use == HTML_USE_BASE ? decide_host(&engine->decider, &url)
                                                               : decide_url(&engine->decider, &url);
    return (struct verdict){
        .action = url.flags & URL_SUSPECT ? VERDICT_STRIP : VERDICT_PASS,
        .rule = "unreadable URL",
    };
}

/* The stricter of two verdicts. */
static struct verdict worse(struct verdict a, struct verdict b)
{
    return b.action < a.action ? b : a;
}

static struct verdict judge_bases(struct html_engine *engine, const struct html_ref *ref)
{
    const struct str bases[] = {ref->base, ref->base_alt};
    struct verdict verdict = judge(engine, ref->value, ref->use, &engine->page);

    /* An absolute URL is the same under every base: these then agree. */
    for (size_t i = 0; i < COUNT_OF(bases) && verdict.action != VERDICT_STRIP; i++) {
        struct url base;

        if (bases[i].len > 0 && url_parse(bases[i], &engine->page, &engine->scratch, &base))
            verdict = worse(verdict, judge(engine, ref->value, ref->use, &base));
    }
    return verdict;
}

/* What the owner puts in the place of a frame that goes; empty: nothing. */
static struct str frame_instead(struct html_engine *engine, const struct verdict *verdict,
                                const struct html_ref *ref)
{
    buf_clear(&engine->instead);
    if (engine->ops.on_frame == NULL || verdict->set == NULL || ref->tag.len == 0 ||
        !engine->ops.on_frame(engine->owner, verdict->set, ref, &engine->instead))
        return STR("");
    return buf_str(&engine->instead);
}

/* Nothing is taken out of anything. */
static bool all_granted(const struct decider *decider)
{
    const struct snapshot *snapshot = decider->snapshot;

    return snapshot != NULL && (rules_categories(snapshot_rules(snapshot))->defined &
                                ~(decider->grants | CATEGORY_ESSENTIAL)) == 0;
}

/* The file comes through here, as the page did; a base without a host is none to browsers. */
static bool is_own_under(struct html_engine *engine, struct str value, struct str base_text)
{
    const struct url *page = &engine->page;
    struct url base, url;

    if (base_text.len == 0 || !url_parse(base_text, page, &engine->scratch, &base) ||
        base.host.len == 0)
        base = *page;
    return url_parse(value, &base, &engine->scratch, &url) && url.scheme == page->scheme &&
           url.port == page->port &&
           (str_eq(url.host, page->host) || decide_host_is_own(&engine->decider, url.host));
}

/* Under each base that counts in some reading: what may be another's keeps its digest. */
static bool is_own_file(struct html_engine *engine, const struct html_ref *ref)
{
    bool own = is_own_under(engine, ref->value, ref->base) &&
               is_own_under(engine, ref->value, ref->base_alt.len > 0 ? ref->base_alt : ref->base);

    arena_fini(&engine->scratch);
    arena_init(&engine->scratch, NULL, URL_ARENA_MAX);
    return own;
}

/* The type is the name of a vendor: no longer one has a rule, and the element's counts then. */
static struct verdict judge_amp(const struct html_engine *engine, const struct html_ref *ref)
{
    char text[2 * RULESET_TYPE_MAX];
    size_t len = strlen(ref->element);
    struct str type = ref->value;

    ASSERT(len < RULESET_TYPE_MAX);
    memcpy(text, ref->element, len);
    if (type.len > 0 && type.len < RULESET_TYPE_MAX) {
        text[len++] = ' ';
        memcpy(text + len, type.ptr, type.len);
        len += type.len;
    }
    return decide_amp(&engine->decider, str_make(text, len));
}

/* The page runs this script for its digest alone. */
static bool digest_stays(const struct html_engine *engine, const struct html_ref *ref)
{
    return engine->ops.on_digest != NULL && ref->element != NULL &&
           str_eq_c(str_c(ref->element), "script") && engine->ops.on_digest(engine->owner);
}

static enum html_action on_ref(void *owner, const struct html_ref *ref, struct html_note *note_out)
{
    struct html_engine *engine = owner;
    struct verdict verdict;

    if (ref->use == HTML_USE_INTEGRITY)
        return !all_granted(&engine->decider) && is_own_file(engine, ref) &&
                       !digest_stays(engine, ref)
                   ? HTML_DROP
                   : HTML_KEEP;
    if (ref->use == HTML_USE_COOKIE) {
        struct cookie_pair pair;

        if (!set_cookie_name(ref->value, &pair))
            return HTML_KEEP;
        if (pair.trust == COOKIE_DROP || consent_cookie_is(pair.name))
            return HTML_DROP;
        verdict = decide_cookie_pair(&engine->decider, &pair);
        return apply(engine, &verdict, pair.name, note_out);
    }
    if (ref->use == HTML_USE_AMP) {
        verdict = judge_amp(engine, ref);
        return apply(engine, &verdict, ref->value, note_out);
    }
    verdict = judge_bases(engine, ref);
    arena_fini(&engine->scratch);
    arena_init(&engine->scratch, NULL, URL_ARENA_MAX);
    if (apply(engine, &verdict, ref->value, note_out) == HTML_KEEP)
        return HTML_KEEP;
    if (ref->use == HTML_USE_FRAME)
        note_out->instead = frame_instead(engine, &verdict, ref);
    return HTML_DROP;
}

/* Where in a script of JSON its strings stand. */
struct json_place {
    unsigned depth;      /* brackets that are open */
    bool in_integrity;   /* in the member of that name of the whole */
    struct buf *address; /* there: the name of the member whose value comes */
};

/* Past what stands between two strings. */
static void place_move(struct json_place *place, struct str between)
{
    for (size_t i = 0; i < between.len; i++) {
        char c = between.ptr[i];

        if (c == '{' || c == '[')
            place->depth++;
        else if ((c == '}' || c == ']') && place->depth > 0)
            place->depth--;
    }
}

/* The name of a member: whose digest follows? */
static void place_name(struct json_place *place, struct str name)
{
    buf_clear(place->address);
    if (place->depth == 1)
        place->in_integrity = str_eq_c(name, "integrity");
    if (place->depth == 2 && place->in_integrity && !buf_append_str(place->address, name))
        buf_clear(place->address);
}

/* What stands in the place of one string; NULL: it stays. */
static const char *instead_of(struct html_engine *engine, const struct html_inline *code,
                              const struct json_string *string, const struct json_place *place,
                              struct html_note *note_out)
{
    struct html_ref ref = {.value = string->value,
                           .base = code->base,
                           .base_alt = code->base_alt,
                           .use = HTML_USE_SCRIPT};

    if (place->depth == 2 && place->address->len > 0) {
        ref.value = buf_str(place->address);
        ref.use = HTML_USE_INTEGRITY;
        return on_ref(engine, &ref, note_out) == HTML_KEEP ? NULL : "\"\"";
    }
    return !string->too_long && on_ref(engine, &ref, note_out) == HTML_KEEP
               ? NULL
               : "\"data:text/javascript,\"";
}

/*
 * An import map or speculation rules: each string that is not a member's name is an address.
 * What is denied in a map becomes an empty module, so that the site's own modules go on; the
 * digests of own files are emptied, as those of elements are.
 */
static enum html_action judge_addresses(struct html_engine *engine, const struct html_inline *code,
                                        struct html_note *note_out)
{
    enum html_action action = HTML_KEEP;
    struct json_string string;
    struct buf scratch, address;
    struct json_place place = {.address = &address};
    size_t pos = 0, from = 0, behind = 0;
    bool ok = true;

    buf_init(&scratch, ADDRESS_MAX);
    buf_init(&address, ADDRESS_MAX);
    buf_clear(&engine->instead);
    for (; json_strings_next(code->text, &pos, &scratch, &string); behind = string.end) {
        const char *instead = NULL;

        place_move(&place, str_slice(code->text, behind, string.start - behind));
        if (string.is_key)
            place_name(&place, string.value);
        else
            instead = instead_of(engine, code, &string, &place, note_out);
        if (instead == NULL)
            continue;
        action = HTML_DROP;
        ok = ok && buf_append(&engine->instead, code->text.ptr + from, string.start - from) &&
             buf_append_c(&engine->instead, instead);
        from = string.end;
    }
    ok = ok && buf_append(&engine->instead, code->text.ptr + from, code->text.len - from);
    if (ok && action == HTML_DROP)
        note_out->instead = buf_str(&engine->instead);
    buf_free(&scratch);
    buf_free(&address);
    return action;
}

static enum html_action on_inline(void *owner, const struct html_inline *code,
                                  struct html_note *note_out)
{
    struct html_engine *engine = owner;
    struct verdict verdict;

    if (code->type == HTML_SCRIPT_SPECULATION && !all_granted(&engine->decider) &&
        !speculation_stays_here(code->text))
        return HTML_DROP;
    if (code->type == HTML_SCRIPT_IMPORTMAP || code->type == HTML_SCRIPT_SPECULATION)
        return judge_addresses(engine, code, note_out);
    verdict = decide_inline(&engine->decider, code->text);
    return apply(engine, &verdict, STR(""), note_out);
}

static bool on_body_start(void *owner, struct buf *out)
{
    struct html_engine *engine = owner;

    return engine->ops.on_body_start != NULL && engine->ops.on_body_start(engine->owner, out);
}

static bool on_policy(void *owner, struct str policy, struct buf *out)
{
    struct html_engine *engine = owner;

    return engine->ops.on_policy != NULL && engine->ops.on_policy(engine->owner, policy, out);
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    struct html_engine *engine = owner;

    return engine->ops.on_output(engine->owner, data, len);
}

struct html_engine *html_engine_new(const struct html_engine_setup *setup,
                                    const struct html_engine_ops *ops, void *owner)
{
    static const struct html_ops rewriter_ops = {on_ref, on_inline, on_body_start, on_output,
                                                 on_policy};
    struct html_engine *engine = mem_new(struct html_engine);

    engine->decider = setup->decider;
    engine->page = setup->page;
    engine->ops = *ops;
    engine->owner = owner;
    arena_init(&engine->scratch, NULL, URL_ARENA_MAX);
    buf_init(&engine->instead, INSTEAD_MAX);
    engine->rw = rewriter_new(&setup->limits, &rewriter_ops, engine);
    return engine;
}

bool html_engine_rules(struct html_engine *engine, struct str text, struct buf *out)
{
    const struct html_inline code = {.text = text, .type = HTML_SCRIPT_SPECULATION};
    struct html_note note = {0};

    if (on_inline(engine, &code, &note) == HTML_KEEP)
        return buf_append_str(out, text);
    return buf_append_str(out, note.instead.len > 0 ? note.instead : STR("{}"));
}

enum html_action html_engine_ref(struct html_engine *engine, const struct html_ref *ref,
                                 struct html_note *note_out)
{
    return on_ref(engine, ref, note_out);
}

bool html_engine_push(struct html_engine *engine, struct str in)
{
    return rewriter_push(engine->rw, (const uint8_t *)in.ptr, in.len);
}

bool html_engine_end(struct html_engine *engine)
{
    return rewriter_end(engine->rw);
}

const struct html_counts *html_engine_counts(const struct html_engine *engine)
{
    return rewriter_counts(engine->rw);
}

void html_engine_free(struct html_engine *engine)
{
    if (engine == NULL)
        return;
    rewriter_free(engine->rw);
    arena_fini(&engine->scratch);
    buf_free(&engine->instead);
    free(engine);
}
