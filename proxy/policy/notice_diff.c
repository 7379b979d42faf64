/*
 * notice_diff.c - contract in consentd/notice.h: what changed, and whether people are asked again.
 *
 * Things are matched by their names: categories and rule sets by id, providers by name, purposes
 * by the text that is most alike. What is new or says more to a visitor who has agreed already
 * needs a new epoch; everything else is told to them and no more.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/notice.h"

#define MEMORY_MAX (32u << 20)
#define PLACE_MAX  512
#define WORDS_MAX  1000 /* of one text; a longer one says more */
#define WORD_MAX   40   /* bytes of a word that is compared by its letters */

/* When a text that differs needs a new epoch. */
enum weight {
    WEIGHT_NONE = 0, /* never */
    WEIGHT_MORE,     /* when it says more than before */
    WEIGHT_KEPT,     /* the same, but for figures: less of them is less */
    WEIGHT_WORDS,    /* when other words are in it, or words are gone */
    WEIGHT_ANY,      /* always */
};

struct pair {
    struct notice_diff *d;
    const json_t *before, *after;
};

/* --- words ---------------------------------------------------------------------------------- */

struct words {
    struct str items[WORDS_MAX];
    size_t cnt;
    bool more; /* than fit */
};

static bool is_word(char c)
{
    return ascii_is_alnum(c) || (unsigned char)c >= 0x80;
}

static void split(struct str text, struct words *out)
{
    size_t i = 0;

    out->cnt = 0;
    out->more = false;
    while (i < text.len) {
        size_t from;

        while (i < text.len && !is_word(text.ptr[i]))
            i++;
        from = i;
        while (i < text.len && is_word(text.ptr[i]))
            i++;
        if (i == from)
            break;
        if (out->cnt == WORDS_MAX) {
            out->more = true;
            break;
        }
        out->items[out->cnt++] = str_slice(text, from, i - from);
    }
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;

    return least < c ? least : c;
}

/* Letters to put in, take out, change, or swap with the next one (Levenshtein, Damerau). */
static size_t distance(struct str a, struct str b)
{
    size_t rows[3][WORD_MAX + 1];

    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = ascii_lower(a.ptr[i - 1]), y = ascii_lower(b.ptr[j - 1]);

            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x == y ? 0 : 1));
            if (i > 1 && j > 1 && x == ascii_lower(b.ptr[j - 2]) &&
                y == ascii_lower(a.ptr[i - 2]) && above2[j - 2] + 1 < row[j])
                row[j] = above2[j - 2] + 1;
        }
    }
    return rows[a.len % 3][b.len];
}

/* The same word, or one that a slip of the pen away. Numbers are never alike. */
static bool is_alike(struct str a, struct str b)
{
    size_t longer = a.len > b.len ? a.len : b.len;

    if (str_eq_fold(a, b))
        return true;
    if (ascii_is_digit(a.ptr[0]) || ascii_is_digit(b.ptr[0]) || longer > WORD_MAX || longer < 4)
        return false;
    return distance(a, b) <= (longer >= 8 ? 2u : 1u);
}

static bool has_alike(const struct words *words, struct str word)
{
    for (size_t i = 0; i < words->cnt; i++) {
        if (is_alike(words->items[i], word))
            return true;
    }
    return false;
}

static bool is_among(struct str word, const char *const *list, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        if (str_eq_fold_c(word, list[i]))
            return true;
    }
    return false;
}

/* Words that bind others and say nothing by themselves. */
static bool is_filler(struct str word)
{
    static const char *const list[] = {"a",  "an",  "the", "of", "to", "in",   "on",   "at",
                                       "is", "are", "and", "or", "as", "that", "this", "it"};

    return is_among(word, list, COUNT_OF(list));
}

/* Words that narrow a sentence: one that goes says more. */
static bool is_limit(struct str word)
{
    static const char *const list[] = {
        "not", "no",  "never", "only", "without", "except", "unless", "nicht", "kein",  "keine",
        "nie", "nur", "ohne",  "ne",   "pas",     "sans",   "jamais", "sin",   "nunca", "solo"};

    return is_among(word, list, COUNT_OF(list));
}

bool notice_says_more(struct str before, struct str after)
{
    struct words *words = mem_calloc(2, sizeof(*words));
    bool more;

    split(before, &words[0]);
    split(after, &words[1]);
    more = words[0].more || words[1].more;
    for (size_t i = 0; i < words[1].cnt && !more; i++)
        more = !is_filler(words[1].items[i]) && !has_alike(&words[0], words[1].items[i]);
    for (size_t i = 0; i < words[0].cnt && !more; i++)
        more = is_limit(words[0].items[i]) && !has_alike(&words[1], words[0].items[i]);
    free(words);
    return more;
}

/* The same words but for figures, none of which is greater: "180 days", "90 days". */
static bool says_less(struct str before, struct str after)
{
    struct words *words = mem_calloc(2, sizeof(*words));
    bool less;

    split(before, &words[0]);
    split(after, &words[1]);
    less = words[0].cnt == words[1].cnt && !words[0].more;
    for (size_t i = 0; i < words[0].cnt && less; i++) {
        struct str a = words[0].items[i], b = words[1].items[i];
        uint64_t old, new;

        less = is_alike(a, b) ||
               (str_to_u64(a, UINT64_MAX, &old) && str_to_u64(b, UINT64_MAX, &new) && new <= old);
    }
    free(words);
    return less;
}

static bool needs_epoch(enum weight weight, const char *before, const char *after)
{
    struct str a = str_c(before), b = str_c(after);

    switch (weight) {
    case WEIGHT_NONE:
        break;
    case WEIGHT_MORE:
        return notice_says_more(a, b);
    case WEIGHT_KEPT:
        return notice_says_more(a, b) && !says_less(a, b);
    case WEIGHT_WORDS:
        return notice_says_more(a, b) || notice_says_more(b, a);
    case WEIGHT_ANY:
        return true;
    }
    return false;
}

/* --- the list ------------------------------------------------------------------------------- */

static const char *keep(struct notice_diff *d, const char *text)
{
    return text != NULL ? arena_copy(d->memory, text, strlen(text)) : NULL;
}

static void add(struct notice_diff *d, const struct notice_change *change)
{
    struct notice_change *item;

    d->epoch = d->epoch || change->epoch;
    if (d->cnt == NOTICE_CHANGES_MAX) {
        d->cut = true;
        return;
    }
    d->items = mem_realloc(d->items, (d->cnt + 1) * sizeof(*d->items));
    item = &d->items[d->cnt++];
    *item = *change;
    item->place = keep(d, change->place);
    item->before = keep(d, change->before);
    item->after = keep(d, change->after);
}

static const char *member(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

/* A text in the language of the policy that everybody gets who reads none of the others. */
static const char *first_text(const json_t *value)
{
    const json_t *text = json_object_iter_value(json_object_iter((json_t *)(uintptr_t)value));

    return json_is_string(value) ? json_string_value(value)
           : text != NULL        ? json_string_value(text)
                                 : "";
}

struct judged {
    enum weight weight;
    const char *place;
    const char *why; /* of a new epoch */
};

static void differ(struct notice_diff *d, const struct judged *j, const char *place,
                   const char *before, const char *after)
{
    bool epoch = needs_epoch(j->weight, before, after);

    add(d, &(struct notice_change){.kind = NOTICE_CHANGED,
                                   .epoch = epoch,
                                   .place = place,
                                   .before = before,
                                   .after = after,
                                   .why = epoch ? j->why
                                          : j->weight != WEIGHT_NONE
                                              ? "other words for the same: nothing is added"
                                              : "nobody agreed to anything else by it"});
}

/* One text, or one in several languages. */
static void compare(struct notice_diff *d, const struct judged *j, const json_t *before,
                    const json_t *after)
{
    char place[2 * PLACE_MAX];
    const char *language;
    json_t *value;

    if (json_is_string(before) && json_is_string(after)) {
        if (!json_equal(before, after))
            differ(d, j, j->place, json_string_value(before), json_string_value(after));
        return;
    }
    json_object_foreach ((json_t *)(uintptr_t)after, language, value) {
        const json_t *old = json_object_get(before, language);

        if (!json_is_string(old) || !json_is_string(value) || json_equal(old, value))
            continue; /* a language that is new is named once, by the list of languages */
        snprintf(place, sizeof(place), "%.*s (%.40s)", PLACE_MAX, j->place, language);
        differ(d, j, place, json_string_value(old), json_string_value(value));
    }
}

/* A member that one of them may not have. */
static void compare_key(struct pair *p, const char *key, struct judged j)
{
    const json_t *before = json_object_get(p->before, key);
    const json_t *after = json_object_get(p->after, key);

    if (before == NULL && after == NULL)
        return;
    if (before != NULL && after != NULL) {
        compare(p->d, &j, before, after);
        return;
    }
    add(p->d, &(struct notice_change){.kind = after != NULL ? NOTICE_ADDED : NOTICE_REMOVED,
                                      .epoch = after != NULL && j.weight != WEIGHT_NONE,
                                      .place = j.place,
                                      .before = before != NULL ? first_text(before) : NULL,
                                      .after = after != NULL ? first_text(after) : NULL,
                                      .why = after != NULL && j.weight != WEIGHT_NONE
                                                 ? j.why
                                                 : "nobody agreed to more by it"});
}

/* --- lists of named things ------------------------------------------------------------------- */

/* What a list is made of, and what a new member of it means. */
struct kind {
    const char *list, *name; /* "providers", "name": the member that names one */
    const char *word;        /* "provider" */
    const char *why;         /* a new one needs a new epoch */
    void (*inside)(struct pair *p, const char *who);
};

static const json_t *find(const json_t *list, const char *key, const char *name)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item) {
        if (strcmp(member(item, key), name) == 0)
            return item;
    }
    return NULL;
}

static void compare_list(struct pair *p, const struct kind *k)
{
    const json_t *before = json_object_get(p->before, k->list);
    const json_t *after = json_object_get(p->after, k->list);
    char who[PLACE_MAX];
    const json_t *item;
    size_t i;

    json_array_foreach (after, i, item) {
        const json_t *old = find(before, k->name, member(item, k->name));
        struct pair inner = {p->d, old, item};

        snprintf(who, sizeof(who), "%s \"%s\"", k->word, member(item, k->name));
        if (old != NULL)
            k->inside(&inner, who);
        else
            add(p->d, &(struct notice_change){
                          .kind = NOTICE_ADDED,
                          .epoch = true,
                          .place = who,
                          .after = first_text(json_object_get(
                              item, strcmp(k->list, "providers") == 0 ? "role" : "purpose")),
                          .why = k->why});
    }
    json_array_foreach (before, i, item) {
        if (find(after, k->name, member(item, k->name)) != NULL)
            continue;
        snprintf(who, sizeof(who), "%s \"%s\"", k->word, member(item, k->name));
        add(p->d, &(struct notice_change){
                      .kind = NOTICE_REMOVED, .place = who, .why = "less than people agreed to"});
    }
}

/* compare_key with a place made of who and what. */
static void inside(struct pair *p, const char *who, const char *key, enum weight weight,
                   const char *why)
{
    char place[2 * PLACE_MAX];

    snprintf(place, sizeof(place), "%.*s: %s", PLACE_MAX, who, key);
    compare_key(p, key, (struct judged){weight, place, why});
}

static void inside_category(struct pair *p, const char *who)
{
    bool was = json_is_true(json_object_get(p->before, "required"));
    bool is = json_is_true(json_object_get(p->after, "required"));

    inside(p, who, "title", WEIGHT_NONE, NULL);
    inside(p, who, "purpose", WEIGHT_MORE, "the purpose says more than people agreed to");
    inside(p, who, "legal_basis", WEIGHT_WORDS, "another legal basis");
    if (was != is)
        add(p->d, &(struct notice_change){.kind = NOTICE_CHANGED,
                                          .epoch = is,
                                          .place = who,
                                          .before = was ? "required" : "asked for",
                                          .after = is ? "required" : "asked for",
                                          .why = is ? "people can't refuse it any more"
                                                    : "people can refuse it now"});
}

static void inside_provider(struct pair *p, const char *who)
{
    inside(p, who, "role", WEIGHT_MORE, "the recipient does more than people agreed to");
    inside(p, who, "category", WEIGHT_ANY, "the recipient moved to another category");
    inside(p, who, "privacy_policy", WEIGHT_NONE, NULL);
}

static void inside_vendor(struct pair *p, const char *who)
{
    inside(p, who, "name", WEIGHT_NONE, NULL);
    inside(p, who, "vendor", WEIGHT_ANY, "another company receives the data");
    inside(p, who, "categories", WEIGHT_ANY, "the service belongs to another category");
    inside(p, who, "purpose", WEIGHT_MORE, "the service does more than people agreed to");
    inside(p, who, "privacy_policy", WEIGHT_NONE, NULL);
    if (!json_equal(json_object_get(p->before, "cookies"), json_object_get(p->after, "cookies")))
        add(p->d, &(struct notice_change){.kind = NOTICE_CHANGED,
                                          .place = who,
                                          .before = "its list of cookies as it was",
                                          .after = "another list of cookies",
                                          .why = "the same service for the same purpose"});
}

/* --- purposes: they have no names ------------------------------------------------------------- */

static bool same_purpose(const json_t *a, const json_t *b)
{
    const json_t *x = json_object_get(a, "purpose"), *y = json_object_get(b, "purpose");

    return json_equal(x, y) || (!notice_says_more(str_c(first_text(x)), str_c(first_text(y))) &&
                                strcmp(member(a, "category"), member(b, "category")) == 0);
}

static const json_t *find_purpose(const json_t *list, const json_t *like, bool forward)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item) {
        if (json_equal(json_object_get(item, "purpose"), json_object_get(like, "purpose")))
            return item;
    }
    json_array_foreach (list, i, item) {
        if (forward ? same_purpose(item, like) : same_purpose(like, item))
            return item;
    }
    return NULL;
}

static void compare_purposes(struct pair *p)
{
    const json_t *before = json_object_get(p->before, "purposes");
    const json_t *after = json_object_get(p->after, "purposes");
    char who[PLACE_MAX];
    const json_t *item;
    size_t i;

    json_array_foreach (after, i, item) {
        const char *name = first_text(json_object_get(item, "purpose"));
        const json_t *old = find_purpose(before, item, true);
        struct pair inner = {p->d, old, item};

        snprintf(who, sizeof(who), "purpose \"%.200s\"", name);
        if (old == NULL) {
            add(p->d, &(struct notice_change){.kind = NOTICE_ADDED,
                                              .epoch = true,
                                              .place = who,
                                              .after = name,
                                              .why = "a purpose that people did not agree to"});
            continue;
        }
        inside(&inner, who, "purpose", WEIGHT_MORE, "the purpose says more");
        inside(&inner, who, "legal_basis", WEIGHT_WORDS, "another legal basis");
        inside(&inner, who, "category", WEIGHT_ANY, "the purpose moved to another category");
    }
    json_array_foreach (before, i, item) {
        if (find_purpose(after, item, false) != NULL)
            continue;
        snprintf(who, sizeof(who), "purpose \"%.200s\"",
                 first_text(json_object_get(item, "purpose")));
        add(p->d, &(struct notice_change){
                      .kind = NOTICE_REMOVED, .place = who, .why = "less than people agreed to"});
    }
}

/* --- the rest --------------------------------------------------------------------------------- */

/* Lists of texts in order: rights, sections. */
static void compare_texts(struct pair *p, const char *key)
{
    const json_t *before = json_object_get(p->before, key);
    const json_t *after = json_object_get(p->after, key);
    size_t cnt = json_array_size(before), now = json_array_size(after);
    char place[PLACE_MAX];

    for (size_t i = 0; i < (cnt > now ? cnt : now); i++) {
        const json_t *old = json_array_get(before, i), *new = json_array_get(after, i);
        const json_t *heading = json_object_get(new != NULL ? new : old, "heading");
        struct judged j = {WEIGHT_NONE, place, NULL};

        if (heading != NULL)
            snprintf(place, sizeof(place), "section \"%.200s\"", first_text(heading));
        else
            snprintf(place, sizeof(place), "%s %zu", key, i + 1);
        if (heading != NULL) {
            old = json_object_get(old, "text");
            new = json_object_get(new, "text");
        }
        if (old != NULL && new != NULL)
            compare(p->d, &j, old, new);
        else
            add(p->d, &(struct notice_change){.kind = new != NULL ? NOTICE_ADDED : NOTICE_REMOVED,
                                              .place = place,
                                              .before = old != NULL ? first_text(old) : NULL,
                                              .after = new != NULL ? first_text(new) : NULL,
                                              .why = "told to visitors, not agreed to"});
    }
}

static void compare_controller(struct pair *p)
{
    static const char *const plain[] = {"address", "email", "phone", "website"};
    struct pair inner = {p->d, json_object_get(p->before, "controller"),
                         json_object_get(p->after, "controller")};

    inside(&inner, "controller", "name", WEIGHT_ANY, "another controller");
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        inside(&inner, "controller", plain[i], WEIGHT_NONE, NULL);
}

static void compare_languages(struct pair *p)
{
    const json_t *lists[2] = {json_object_get(p->before, "languages"),
                              json_object_get(p->after, "languages")};
    const json_t *item, *other;
    char place[PLACE_MAX];
    size_t i, k;

    for (unsigned way = 0; way < 2; way++) {
        json_array_foreach (lists[1 - way], i, item) {
            bool both = false;

            json_array_foreach (lists[way], k, other)
                both = both || json_equal(item, other);
            if (both)
                continue;
            snprintf(place, sizeof(place), "language %s", json_string_value(item));
            add(p->d, &(struct notice_change){.kind = way == 0 ? NOTICE_ADDED : NOTICE_REMOVED,
                                              .place = place,
                                              .why = "a translation"});
        }
    }
}

/* The words of banner and settings, by language and key. */
static void compare_words(struct pair *p, const char *key)
{
    const json_t *before = json_object_get(p->before, key);
    const json_t *after = json_object_get(p->after, key);
    const char *language, *word;
    json_t *words, *text;
    char place[PLACE_MAX];

    json_object_foreach ((json_t *)(uintptr_t)after, language, words) {
        json_object_foreach (words, word, text) {
            const json_t *old = json_object_get(json_object_get(before, language), word);

            if (json_object_get(before, language) == NULL || json_equal(old, text))
                continue;
            snprintf(place, sizeof(place), "banner: %s (%s)", word, language);
            add(p->d,
                &(struct notice_change){.kind = old != NULL ? NOTICE_CHANGED : NOTICE_ADDED,
                                        .place = place,
                                        .before = old != NULL ? json_string_value(old) : NULL,
                                        .after = json_string_value(text),
                                        .why = "the words of the banner; what is asked is the "
                                               "same"});
        }
    }
}

static void compare_policies(struct pair *p)
{
    static const struct kind categories = {"categories", "id", "category",
                                           "a category that people were not asked about",
                                           inside_category};
    static const struct kind providers = {"providers", "name", "provider",
                                          "a recipient that people did not agree to",
                                          inside_provider};

    compare_key(p, "version", (struct judged){WEIGHT_NONE, "version", NULL});
    compare_key(p, "effective", (struct judged){WEIGHT_NONE, "effective", NULL});
    compare_key(p, "title", (struct judged){WEIGHT_NONE, "title", NULL});
    compare_controller(p);
    compare_languages(p);
    compare_list(p, &categories);
    compare_purposes(p);
    compare_list(p, &providers);
    compare_key(p, "transfers",
                (struct judged){WEIGHT_MORE, "transfers", "data may go to other places"});
    compare_key(p, "retention",
                (struct judged){WEIGHT_KEPT, "retention", "data may be kept in another way"});
    compare_texts(p, "rights");
    compare_texts(p, "sections");
}

/* The policy in a document, which may be one itself. NULL: none of ours. */
static const json_t *policy_of(const json_t *root)
{
    const json_t *policy = json_object_get(root, "policy");

    policy = policy != NULL ? policy : root;
    return json_is_object(policy) && json_object_get(policy, "categories") != NULL ? policy : NULL;
}

struct notice_diff *notice_diff(struct str before, struct str after, struct fault *f)
{
    static const struct kind vendors = {"vendors", "id", "service",
                                        "a service that people did not agree to", inside_vendor};
    json_t *old = json_load_text("the old notice", before, 0, f);
    json_t *new = old != NULL ? json_load_text("the new notice", after, 0, f) : NULL;
    struct notice_diff *d = NULL;

    if (new != NULL && (policy_of(old) == NULL || policy_of(new) == NULL)) {
        fault_set(f, "%s: no notice document", policy_of(old) == NULL ? "the old" : "the new");
    } else if (new != NULL) {
        struct pair whole = {NULL, old, new}, policies = {NULL, policy_of(old), policy_of(new)};

        d = mem_new(struct notice_diff);
        d->memory = mem_new(struct arena);
        arena_init(d->memory, NULL, MEMORY_MAX);
        whole.d = policies.d = d;
        compare_policies(&policies);
        if (json_object_get(old, "vendors") != NULL && json_object_get(new, "vendors") != NULL)
            compare_list(&whole, &vendors);
        if (json_object_get(old, "texts") != NULL && json_object_get(old, "policy") != NULL)
            compare_words(&whole, "texts");
        else
            compare_words(&policies, "texts");
    }
    json_decref(old);
    json_decref(new);
    return d;
}

void notice_diff_free(struct notice_diff *d)
{
    if (d == NULL)
        return;
    arena_fini(d->memory);
    free(d->memory);
    free(d->items);
    free(d);
}
