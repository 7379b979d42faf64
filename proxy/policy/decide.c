/*
 * decide.c - contract in consentd/decide.h.
 *
 * Every lookup hands its candidates to consider(), which keeps the best by rank:
 *
 *   31    30 29  28..25       24..17       16..1          0
 *   own   kind   parameters   host bytes   prefix bytes   essential
 *
 * For names the order is kind, essential, length; so there the last two fields change places (the
 * essential bit is at 24). Candidates of equal rank: the denied one stays.
 */
#include "consentd/decide.h"

#include <string.h>

#include "consentd/arena.h"
#include "consentd/jsdata.h"
#include "consentd/jsload.h"
#include "consentd/jstext.h"
#include "consentd/match.h"
#include "consentd/mem.h"
#include "inline_cache_priv.h"
#include "rules_priv.h"

#define RANK_OWN       (1u << 31)
#define RANK_KIND      29
#define RANK_QUERY     25
#define RANK_NAME_HOLY (1u << 24) /* essential, for names */
#define RANK_HOST      17
#define RANK_PREFIX    1
#define RANK_URL_HOLY  1u /* essential, for URLs */

#define LOADS_ARENA_MAX (1u << 20) /* memory for the addresses of one script */

/* What a script's addresses without a scheme are relative to. */
static const struct url script_base = {.scheme = URL_SCHEME_HTTPS,
                                       .port = 443,
                                       .flags = URL_NETWORK,
                                       .host = STR_INIT("_"),
                                       .path = STR_INIT("/")};

struct choice {
    const struct decider *d;
    const struct rules *rules;
    uint16_t granted;   /* with what is always granted */
    bool alias;         /* essential rules do not count */
    bool hosts;         /* only hosts are known: paths and parameters of rules do not count */
    bool limited;       /* a pattern gave up */
    bool found, passes; /* the best candidate; one of a set that is not enforced passes */
    uint32_t rank;
    struct verdict best;
    bool reported; /* a candidate of a set in report mode would be removed */
    uint32_t report_rank;
    struct verdict report;
};

static bool choice_start(struct choice *ch, const struct decider *d)
{
    memset(ch, 0, sizeof(*ch));
    ch->d = d;
    if (d->snapshot == NULL)
        return false;
    ch->rules = snapshot_rules(d->snapshot);
    ch->granted = d->grants | ch->rules->categories.required | CATEGORY_ESSENTIAL;
    return true;
}

static struct verdict verdict_of(enum verdict_action action, const char *why)
{
    return (struct verdict){.action = action, .rule = why};
}

/* What becomes of the thing when all candidates are known. */
static struct verdict choice_end(const struct choice *ch, enum verdict_action unknown,
                                 const char *why)
{
    struct verdict v = verdict_of(unknown, why);

    if (ch->found) {
        v = ch->best;
        v.action = ch->passes ? VERDICT_PASS : VERDICT_STRIP;
    }
    if (ch->reported && (!ch->found || (ch->passes && ch->report_rank >= ch->rank))) {
        v = ch->report;
        v.action = VERDICT_REPORT;
    }
    v.limited = ch->limited;
    return v;
}

struct candidate {
    struct rule_ref ref;
    uint16_t categories;
    uint32_t rank;
    const char *rule;
    enum match_result matched; /* YES or LIMIT */
};

/* A set in report mode would remove it. */
static void note_report(struct choice *ch, const struct candidate *c, uint32_t rank)
{
    if (ch->reported && rank <= ch->report_rank)
        return;
    ch->reported = true;
    ch->report_rank = rank;
    ch->report = (struct verdict){
        .categories = c->categories, .set = ch->rules->sets[c->ref.set], .rule = c->rule};
}

static void consider(struct choice *ch, const struct candidate *c)
{
    const struct ruleset *set = ch->rules->sets[c->ref.set];
    uint32_t site = ch->rules->set_site[c->ref.set];
    enum rule_mode mode = snapshot_mode(ch->d->snapshot, c->ref.set);
    bool passes = (c->categories & ch->granted) != 0;
    bool essential = (c->categories & CATEGORY_ESSENTIAL) != 0;
    uint32_t rank = c->rank;

    if (site != RULES_OWN_SITE_NONE && site != snapshot_site(ch->d->snapshot))
        return;
    if (c->matched == MATCH_LIMIT)
        ch->limited = true;
    if (site != RULES_OWN_SITE_NONE && !ch->hosts)
        rank |= RANK_OWN;
    if (mode == RULE_REPORT && !passes)
        note_report(ch, c, rank);
    /* what a set that is off claims is let go, not left to a set that knows less about it */
    passes = passes || mode != RULE_ENFORCE;
    if (passes && (c->matched == MATCH_LIMIT || (ch->alias && (essential || mode != RULE_ENFORCE))))
        return; /* in doubt a rule may only remove */
    if (ch->found && (rank < ch->rank || (rank == ch->rank && (passes || !ch->passes))))
        return;
    ch->found = true;
    ch->passes = passes;
    ch->rank = rank;
    ch->best = (struct verdict){.categories = c->categories, .set = set, .rule = c->rule};
    if (mode != RULE_ENFORCE)
        ch->best = verdict_of(VERDICT_PASS, "its rule set is not enforced");
}

/* --- cookies ---------------------------------------------------------------- */

static void consider_cookie(struct choice *ch, struct rule_ref ref, struct str name)
{
    const struct rule_cookie *rule = &ch->rules->sets[ref.set]->cookies[ref.item];
    struct candidate c = {
        .ref = ref, .categories = rule->categories, .rule = rule->text.ptr, .matched = MATCH_YES};

    if (rule->kind == RULE_REGEX)
        c.matched = pattern_match(rule->pattern, name);
    if (c.matched == MATCH_NO)
        return;
    c.rank = (uint32_t)rule->kind << RANK_KIND;
    if ((rule->categories & CATEGORY_ESSENTIAL) != 0)
        c.rank |= RANK_NAME_HOLY;
    if (rule->kind == RULE_PREFIX)
        c.rank |= (uint32_t)rule->text.len << RANK_PREFIX;
    consider(ch, &c);
}

static void consider_cookies(struct choice *ch, const struct index *ix, struct str key,
                             uint64_t hash, struct str name)
{
    size_t cnt;
    const struct rule_ref *refs = index_find(ix, key, hash, &cnt);

    for (size_t i = 0; i < cnt; i++)
        consider_cookie(ch, refs[i], name);
}

static void find_cookies(struct choice *ch, struct str name)
{
    const struct rules *rules = ch->rules;
    uint64_t hash = INDEX_HASH_START;

    for (size_t i = 0; i < name.len; i++) {
        hash = index_hash(hash, name.ptr[i]);
        if (index_has_len(&rules->cookie_prefixes, i + 1))
            consider_cookies(ch, &rules->cookie_prefixes, str_slice(name, 0, i + 1), hash, name);
    }
    if (index_has_len(&rules->cookie_names, name.len))
        consider_cookies(ch, &rules->cookie_names, name, hash, name);
    for (size_t i = 0; i < rules->loose_cnt; i++)
        consider_cookie(ch, rules->loose[i], name);
}

struct verdict decide_cookie(const struct decider *d, struct str name)
{
    struct choice ch;

    if (!choice_start(&ch, d))
        return verdict_of(VERDICT_STRIP, "no rules");
    if (name.len > COOKIE_NAME_MAX)
        return verdict_of(VERDICT_STRIP, "name too long");
    find_cookies(&ch, name);
    return choice_end(&ch, d->unknown_cookies_deny ? VERDICT_STRIP : VERDICT_PASS,
                      "unknown cookie");
}

struct verdict decide_cookie_alias(const struct decider *d, struct str name)
{
    struct choice ch;

    if (!choice_start(&ch, d))
        return verdict_of(VERDICT_STRIP, "no rules");
    if (name.len > COOKIE_NAME_MAX)
        return verdict_of(VERDICT_STRIP, "name too long");
    ch.alias = true;
    find_cookies(&ch, name);
    return choice_end(&ch, VERDICT_PASS, "unknown cookie");
}

struct verdict decide_cookie_pair(const struct decider *d, const struct cookie_pair *pair)
{
    struct verdict v;
    struct cookie_names names;
    struct str name;

    if (pair->trust == COOKIE_DROP)
        return verdict_of(VERDICT_STRIP, "malformed cookie");
    v = decide_cookie(d, pair->name);
    if (v.action == VERDICT_STRIP || pair->trust == COOKIE_PLAIN)
        return v;
    cookie_names_init(&names, pair);
    while (cookie_names_next(&names, &name)) {
        struct verdict other;

        if (str_eq(name, pair->name))
            continue;
        other = decide_cookie_alias(d, name);
        if (other.action == VERDICT_STRIP)
            return other;
        if (other.action == VERDICT_REPORT && v.action == VERDICT_PASS)
            v = other;
    }
    return v;
}

/* --- elements of AMP ---------------------------------------------------------- */

static void consider_amps(struct choice *ch, struct str text, enum rule_kind kind)
{
    uint64_t hash = INDEX_HASH_START;
    const struct rule_ref *refs;
    size_t cnt;

    for (size_t i = 0; i < text.len; i++)
        hash = index_hash(hash, text.ptr[i]);
    refs = index_find(&ch->rules->amps, text, hash, &cnt);
    for (size_t i = 0; i < cnt; i++) {
        const struct rule_amp *rule = &ch->rules->sets[refs[i].set]->amps[refs[i].item];
        struct candidate c = {.ref = refs[i],
                              .categories = rule->categories,
                              .rank = (uint32_t)kind << RANK_KIND,
                              .rule = rule->text.ptr,
                              .matched = MATCH_YES};

        consider(ch, &c);
    }
}

struct verdict decide_amp(const struct decider *d, struct str element_and_type)
{
    char text[2 * RULESET_TYPE_MAX + 1]; /* no rule is longer */
    ptrdiff_t space = str_find_char(element_and_type, ' ');
    size_t len = element_and_type.len;
    struct choice ch;

    if (!choice_start(&ch, d))
        return verdict_of(VERDICT_STRIP, "no rules");
    if (len <= sizeof(text)) {
        for (size_t i = 0; i < len; i++)
            text[i] = ascii_lower(element_and_type.ptr[i]);
        consider_amps(&ch, str_make(text, len), RULE_EXACT);
    }
    if (space >= 0)
        consider_amps(&ch, str_slice(element_and_type, 0, (size_t)space), RULE_PREFIX);
    return choice_end(&ch, VERDICT_PASS, "unknown element");
}

/* --- URLs --------------------------------------------------------------------- */

struct target {
    struct str host, path, query;
    struct str subject; /* path?query; ptr NULL until a pattern needs it */
};

static bool query_has(struct str query, const struct rule_query *want)
{
    struct str name, value;

    while (url_query_next(&query, &name, &value)) {
        if (str_eq(name, want->name) && glob_match(want->glob, value, '\0'))
            return true;
    }
    return false;
}

/* path?query in scratch memory; the empty text when it is too long. */
static struct str target_subject(struct choice *ch, struct target *t)
{
    struct buf *b = &ch->rules->scratch->subject;

    if (t->subject.ptr != NULL)
        return t->subject;
    buf_clear(b);
    if (!buf_append_str(b, t->path) ||
        (t->query.len > 0 && (!buf_append_char(b, '?') || !buf_append_str(b, t->query))))
        buf_clear(b);
    t->subject = buf_str(b);
    return t->subject;
}

static enum match_result match_path(struct choice *ch, const struct rule_url *rule,
                                    struct target *t)
{
    switch (rule->kind) {
    case RULE_PATH_ANY:
        return MATCH_YES;
    case RULE_PATH_PREFIX:
        return glob_match_prefix(rule->path, t->path, '/') ? MATCH_YES : MATCH_NO;
    case RULE_PATH_EXACT:
        return glob_match(rule->path, t->path, '/') ? MATCH_YES : MATCH_NO;
    case RULE_PATH_REGEX:
        break;
    }
    return pattern_match(rule->pattern, target_subject(ch, t));
}

static uint32_t url_rank(const struct rule_url *rule)
{
    uint32_t rank = (uint32_t)rule->kind << RANK_KIND | rule->query_cnt << RANK_QUERY;
    size_t host = rule->at_site ? 255 : rule->host.len + rule->label.len;

    rank |= (uint32_t)(host < 255 ? host : 255) << RANK_HOST;
    if (rule->kind == RULE_PATH_PREFIX)
        rank |= (uint32_t)rule->path.len << RANK_PREFIX;
    return rank | ((rule->categories & CATEGORY_ESSENTIAL) != 0 ? RANK_URL_HOLY : 0);
}

/* A path on google.com says nothing of what apis.google.com is for; www is the same site. */
static bool is_its_host(const struct rule_url *rule, struct str host)
{
    if (str_starts(host, STR("www.")) && host.len == rule->host.len + 4)
        return true;
    return rule->kind == RULE_PATH_ANY || rule->label.len > 0 || host.len == rule->host.len;
}

static void consider_url(struct choice *ch, struct rule_ref ref, struct target *t)
{
    const struct rule_url *rule = &ch->rules->sets[ref.set]->urls[ref.item];
    struct candidate c = {.ref = ref, .categories = rule->categories, .rule = rule->shown};

    if (ch->hosts) {
        if (!is_its_host(rule, t->host))
            return;
        c.matched = MATCH_YES;
        c.rank = (rule->categories & ch->granted) != 0 ||
                 snapshot_mode(ch->d->snapshot, ref.set) != RULE_ENFORCE;
        consider(ch, &c);
        return;
    }
    for (unsigned i = 0; i < rule->query_cnt; i++) {
        if (!query_has(t->query, &rule->query[i]))
            return;
    }
    c.matched = match_path(ch, rule, t);
    c.rank = url_rank(rule);
    if (c.matched != MATCH_NO)
        consider(ch, &c);
}

/* Whether the rule's host is meant, given that host ends with its suffix at `at`. */
static bool host_fits(const struct rule_url *rule, struct str host, size_t at)
{
    struct str left = str_slice(host, 0, at > 0 ? at - 1 : 0);
    ptrdiff_t dot = str_find_last_char(left, '.');

    if (rule->label.len == 0)
        return at == 0 || !rule->exact_host;
    if (at == 0 || (rule->exact_host && dot >= 0))
        return false;
    return glob_match(rule->label, str_slice(left, (size_t)(dot + 1), left.len), '.');
}

static void find_hosts(struct choice *ch, struct target *t)
{
    const struct index *ix = &ch->rules->hosts;
    uint64_t hash = INDEX_HASH_START;

    for (size_t i = t->host.len; i-- > 0;) {
        size_t cnt = 0;
        const struct rule_ref *refs = NULL;
        struct str suffix = str_slice(t->host, i, t->host.len);

        hash = index_hash(hash, t->host.ptr[i]);
        if ((i == 0 || t->host.ptr[i - 1] == '.') && index_has_len(ix, suffix.len))
            refs = index_find(ix, suffix, hash, &cnt);
        for (size_t k = 0; k < cnt; k++) {
            if (host_fits(&ch->rules->sets[refs[k].set]->urls[refs[k].item], t->host, i))
                consider_url(ch, refs[k], t);
        }
    }
}

static void find_site_rules(struct choice *ch, struct target *t)
{
    const struct rules *rules = ch->rules;
    uint64_t *seen = rules->scratch->site_seen;
    size_t words = literals_words(rules->site_texts);

    if (words == 0)
        return;
    memset(seen, 0, words * sizeof(*seen));
    if (!literals_scan(rules->site_texts, target_subject(ch, t), seen))
        return;
    for (size_t i = 0; i < rules->site_url_cnt; i++) {
        if (literals_seen(seen, rules->site_urls[i].text))
            consider_url(ch, rules->site_urls[i].ref, t);
    }
}

bool decide_host_is_own(const struct decider *d, struct str host)
{
    const struct rules *rules = d->snapshot == NULL ? NULL : snapshot_rules(d->snapshot);
    const struct rules_site_data *site;
    size_t number = rules == NULL ? 0 : snapshot_site(d->snapshot);

    if (rules == NULL || number >= rules->site_cnt)
        return false;
    site = &rules->sites[number];
    for (size_t i = 0; i < site->host_cnt; i++) {
        if (str_eq_c(host, site->hosts[i]))
            return true;
    }
    return false;
}

struct verdict decide_url(const struct decider *d, const struct url *url)
{
    struct choice ch;
    struct target t = {.host = url->host, .path = url->path, .query = url->query};

    if (!choice_start(&ch, d))
        return verdict_of(VERDICT_STRIP, "no rules");
    if ((url->flags & URL_SUSPECT) != 0 && (ch.rules->categories.defined & ~ch.granted) != 0)
        return verdict_of(VERDICT_STRIP, "address in doubt");
    if ((url->flags & URL_NETWORK) == 0)
        return verdict_of(VERDICT_PASS, "no network address");
    find_hosts(&ch, &t);
    if (decide_host_is_own(d, t.host))
        find_site_rules(&ch, &t);
    return choice_end(&ch, VERDICT_PASS, "unknown address");
}

/* What passes outranks what does not: the connection may be for that. */
struct verdict decide_host(const struct decider *d, const struct url *url)
{
    struct verdict v = decide_url(d, url);
    struct target t = {.host = url->host};
    struct choice ch;

    if (v.action != VERDICT_PASS || v.set != NULL || (url->flags & URL_NETWORK) == 0 ||
        !choice_start(&ch, d))
        return v;
    ch.hosts = true;
    find_hosts(&ch, &t);
    return choice_end(&ch, VERDICT_PASS, "unknown address");
}

struct verdict decide_site_path(const struct decider *d, struct str path_and_query)
{
    struct choice ch;
    ptrdiff_t mark = str_find_char(path_and_query, '?');
    struct target t = {.path = path_and_query, .subject = path_and_query};

    if (!choice_start(&ch, d))
        return verdict_of(VERDICT_PASS, "no rules");
    if (mark >= 0) {
        t.path = str_slice(path_and_query, 0, (size_t)mark);
        t.query = str_slice(path_and_query, (size_t)mark + 1, path_and_query.len);
    }
    find_site_rules(&ch, &t);
    return choice_end(&ch, VERDICT_PASS, "unknown path");
}

/* --- inline scripts ------------------------------------------------------------- */

struct script {
    struct str text; /* without escapes and comments */
    bool known;      /* what follows is valid */
    bool can_load, idle;
};

static bool entry_seen(const struct inline_entry *entry, const uint64_t *seen)
{
    for (unsigned i = 0; i < entry->text_cnt; i++) {
        if (!literals_seen(seen, entry->texts[i]))
            return false;
    }
    return true;
}

/* What the entry looks for is an address, and the script only talks of it. */
static bool only_mentions(const struct rule_inline *rule, const struct script *s)
{
    for (unsigned i = 0; i < rule->contains_cnt; i++) {
        if (str_find_char(rule->contains[i], '/') >= 0 &&
            (s->idle || jstext_only_mentions(s->text, rule->contains[i])))
            return true;
    }
    return false;
}

static void consider_inline(struct choice *ch, const struct inline_entry *entry, struct script *s)
{
    const struct rule_inline *rule = &ch->rules->sets[entry->ref.set]->inlines[entry->ref.item];
    struct candidate c = {.ref = entry->ref,
                          .categories = rule->categories,
                          .rule = rule->contains_cnt > 0 ? rule->contains[0].ptr : rule->regex.ptr,
                          .matched = MATCH_YES};

    if (!s->known) {
        s->can_load = jstext_can_load(s->text);
        s->idle = !s->can_load && jstext_is_idle(s->text);
        s->known = true;
    }
    if ((rule->config && !s->can_load) || only_mentions(rule, s))
        return;
    if (rule->pattern != NULL)
        c.matched = pattern_match(rule->pattern, s->text);
    if (c.matched != MATCH_NO)
        consider(ch, &c);
}

static bool scan_inline(const struct rules *rules, struct str text)
{
    uint64_t *seen = rules->scratch->inline_seen;

    memset(seen, 0, literals_words(rules->inline_texts) * sizeof(*seen));
    return literals_scan(rules->inline_texts, text, seen);
}

static bool any_entry_seen(const struct rules *rules)
{
    for (size_t i = 0; i < rules->inline_cnt; i++) {
        if (entry_seen(&rules->inlines[i], rules->scratch->inline_seen))
            return true;
    }
    return false;
}

/*
 * A first scan of the text as it is (escapes undone if there are any) finds nothing in most
 * scripts. Only what is left is lexed, and scanned again without its comments.
 */
static bool script_prepare(const struct rules *rules, struct str text, struct script *out)
{
    struct buf *b = &rules->scratch->text;
    uint8_t *room = NULL;
    struct str folded = text;

    buf_clear(b);
    if (jstext_has_escapes(text)) {
        room = buf_reserve(b, text.len);
        if (room == NULL)
            return false;
        folded = str_make(room, jstext_fold(text, (char *)room));
    }
    out->text = (struct str){0};
    if (!scan_inline(rules, folded) || !any_entry_seen(rules))
        return true;
    if (room == NULL)
        room = buf_reserve(b, text.len);
    if (room == NULL)
        return false;
    out->text = str_make(room, jstext_strip(text, (char *)room));
    (void)scan_inline(rules, out->text);
    return true;
}

static struct verdict judge_inline(struct choice *ch, struct str text)
{
    struct script s = {0};
    struct rules_scratch *scratch = ch->rules->scratch;

    if (!script_prepare(ch->rules, text, &s))
        return verdict_of(VERDICT_STRIP, "script too long");
    for (size_t i = 0; s.text.len > 0 && i < ch->rules->inline_cnt; i++) {
        if (entry_seen(&ch->rules->inlines[i], scratch->inline_seen))
            consider_inline(ch, &ch->rules->inlines[i], &s);
    }
    if (scratch->text.cap > RULES_SCRATCH_KEEP)
        buf_free(&scratch->text);
    return choice_end(ch, VERDICT_PASS, "unknown script");
}

/* Escapes undone, and comments gone if anything is loaded: what jsload reads. */
static struct str prepare_loads(struct buf *room, struct str text)
{
    struct str plain = text, address;
    uint8_t *out = NULL;
    size_t pos = 0;

    buf_clear(room);
    if (jstext_has_escapes(text)) {
        out = buf_reserve(room, text.len);
        if (out == NULL)
            return (struct str){0};
        plain = str_make(out, jstext_fold(text, (char *)out));
    }
    if (!jsload_next(plain, &pos, &address))
        return (struct str){0};
    out = buf_reserve(room, text.len);
    if (out == NULL)
        return (struct str){0};
    return str_make(out, jstext_strip(text, (char *)out));
}

/* A script that no signature knows, but which plainly loads from an address that is denied. */
static struct verdict judge_loads(const struct decider *d, const struct rules *rules,
                                  struct str text)
{
    struct verdict worst = verdict_of(VERDICT_PASS, "unknown script");
    struct buf *room = &rules->scratch->text;
    struct str plain = prepare_loads(room, text), address;
    struct arena arena;
    size_t pos = 0;

    arena_init(&arena, NULL, LOADS_ARENA_MAX);
    while (worst.action != VERDICT_STRIP && jsload_next(plain, &pos, &address)) {
        struct url url;
        struct verdict v;

        if (!url_parse(address, &script_base, &arena, &url))
            continue;
        v = decide_url(d, &url);
        if (v.action < worst.action)
            worst = v;
    }
    arena_fini(&arena);
    if (room->cap > RULES_SCRATCH_KEEP)
        buf_free(room);
    return worst;
}

static struct verdict judge_script(struct choice *ch, const struct decider *d, struct str text)
{
    struct verdict v = judge_inline(ch, text);
    struct verdict loads;

    if (v.set == NULL && v.action != VERDICT_STRIP) {
        loads = judge_loads(d, ch->rules, text);
        v = loads.action < v.action ? loads : v;
    }
    return v.set != NULL && jsdata_is_all(text) ? verdict_of(VERDICT_PASS, "data alone") : v;
}

struct verdict decide_inline(const struct decider *d, struct str text)
{
    struct choice ch;
    struct inline_cache *known;
    struct inline_key key;
    struct verdict v;

    if (!choice_start(&ch, d))
        return verdict_of(VERDICT_STRIP, "no rules");
    if (text.len == 0)
        return verdict_of(VERDICT_PASS, "empty script");
    if (text.len > DECIDE_INLINE_MAX)
        return verdict_of(VERDICT_STRIP, "script too long");
    if (text.len < INLINE_CACHE_MIN)
        return judge_script(&ch, d, text);
    known = snapshot_inlines(d->snapshot);
    key = inline_cache_key(known, text, d->grants);
    if (!inline_cache_find(known, &key, &v)) {
        v = judge_script(&ch, d, text);
        inline_cache_put(known, &key, &v);
    }
    return v;
}
