/*
 * rules_state.c - contract in consentd/rules_state.h: the modes, their history, set and rollback.
 * The text form is in rules_state_text.c.
 *
 * A revision holds what it changed, with the value before. The modes at an older revision are found
 * by undoing, newest first; nothing but the current modes is kept in full.
 */
#include "consentd/rules_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "rules_state_priv.h"

static const char *const choice_names[] = {"config", "enforce", "report", "off"};

const char *rules_choice_name(enum rules_choice c)
{
    return choice_names[c];
}

bool rules_choice_parse(struct str name, enum rules_choice *out)
{
    for (unsigned i = 0; i < COUNT_OF(choice_names); i++) {
        if (str_eq_c(name, choice_names[i])) {
            *out = (enum rules_choice)i;
            return true;
        }
    }
    return false;
}

struct rules_state *rules_state_new(void)
{
    return mem_new(struct rules_state);
}

static void drop_revisions(struct rules_state *s, size_t cnt)
{
    if (cnt == 0)
        return;
    for (size_t i = 0; i < cnt; i++)
        free(s->history[i].changes);
    memmove(s->history, s->history + cnt, (s->history_cnt - cnt) * sizeof(*s->history));
    s->history_cnt -= cnt;
}

void rules_state_free(struct rules_state *s)
{
    if (s == NULL)
        return;
    drop_revisions(s, s->history_cnt);
    free(s->history);
    free(s->modes);
    free(s);
}

uint64_t rules_state_revision(const struct rules_state *s)
{
    return s->revision;
}

static size_t find_mode(const struct state_mode *modes, size_t cnt, const char *key)
{
    size_t i = 0;

    while (i < cnt && strcmp(modes[i].key, key) != 0)
        i++;
    return i;
}

static enum rules_choice mode_get(const struct rules_state *s, const char *key)
{
    size_t i = find_mode(s->modes, s->mode_cnt, key);

    return i < s->mode_cnt ? s->modes[i].choice : RULES_CHOICE_CONFIG;
}

bool rules_state_put(struct rules_state *s, const char *key, enum rules_choice choice)
{
    size_t i = find_mode(s->modes, s->mode_cnt, key);

    if (choice == RULES_CHOICE_CONFIG) {
        if (i < s->mode_cnt)
            s->modes[i] = s->modes[--s->mode_cnt];
        return true;
    }
    if (i == s->mode_cnt) {
        if (s->mode_cnt == RULES_STATE_MODES_MAX)
            return false;
        if (s->mode_cnt % 64 == 0)
            s->modes = mem_realloc(s->modes, (s->mode_cnt + 64) * sizeof(*s->modes));
        s->mode_cnt++;
        snprintf(s->modes[i].key, sizeof(s->modes[i].key), "%s", key);
    }
    s->modes[i].choice = choice;
    return true;
}

struct rules_revision *rules_state_push(struct rules_state *s)
{
    if (s->history_cnt == RULES_STATE_HISTORY_MAX)
        drop_revisions(s, RULES_STATE_HISTORY_MAX / 10);
    if (s->history_cnt == s->history_cap) {
        s->history_cap += 64;
        s->history = mem_realloc(s->history, s->history_cap * sizeof(*s->history));
    }
    s->history[s->history_cnt] = (struct rules_revision){0};
    return &s->history[s->history_cnt++];
}

/* A new revision with its author; no changes yet. */
static struct rules_revision *revision_new(struct rules_state *s, const struct rules_author *author)
{
    struct rules_revision *r = rules_state_push(s);

    r->revision = ++s->revision;
    r->at_ms = author->at_ms;
    snprintf(r->who, sizeof(r->who), "%s", author->who != NULL ? author->who : "");
    snprintf(r->from, sizeof(r->from), "%s", author->from != NULL ? author->from : "");
    return r;
}

static void revision_add(struct rules_revision *r, const char *key, enum rules_choice from,
                         enum rules_choice to)
{
    struct rules_change *c;

    r->changes = mem_realloc(r->changes, (r->change_cnt + 1) * sizeof(*r->changes));
    c = &r->changes[r->change_cnt++];
    *c = (struct rules_change){.from = from, .to = to};
    snprintf(c->key, sizeof(c->key), "%s", key);
}

static bool name_is_good(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > RULES_STATE_KEY_MAX / 2 - 2)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!ascii_is_alnum(name[i]) && strchr("-_.", name[i]) == NULL)
            return false;
    }
    return true;
}

static void make_key(char out[RULES_STATE_KEY_MAX], const char *set, const char *site)
{
    snprintf(out, RULES_STATE_KEY_MAX, "%s%s%s", set, site != NULL ? "@" : "",
             site != NULL ? site : "");
}

bool rules_state_set(struct rules_state *s, const char *set, const char *site,
                     enum rules_choice choice, const struct rules_author *author, struct fault *f)
{
    char key[RULES_STATE_KEY_MAX];
    enum rules_choice from;

    if (!name_is_good(set) || (site != NULL && !name_is_good(site))) {
        fault_set(f, "names of sets and sites have letters, digits and . _ -");
        return false;
    }
    make_key(key, set, site);
    from = mode_get(s, key);
    if (!rules_state_put(s, key, choice)) {
        fault_set(f, "more than %d modes differ from the configuration", RULES_STATE_MODES_MAX);
        return false;
    }
    revision_add(revision_new(s, author), key, from, choice);
    return true;
}

/* Undoes the revisions after `target` on a copy of the modes. */
static struct rules_state *modes_at(const struct rules_state *s, uint64_t target)
{
    struct rules_state *old = rules_state_new();

    for (size_t i = 0; i < s->mode_cnt; i++) {
        if (!rules_state_put(old, s->modes[i].key, s->modes[i].choice))
            break;
    }
    for (size_t i = s->history_cnt; i-- > 0 && s->history[i].revision > target;) {
        const struct rules_revision *r = &s->history[i];

        for (size_t k = r->change_cnt; k-- > 0;) {
            if (!rules_state_put(old, r->changes[k].key, r->changes[k].from))
                break; /* impossible: it was within the limit then */
        }
    }
    return old;
}

/* What was there once fits again: removals come first. */
static void put_back(struct rules_state *s, const char *key, enum rules_choice choice)
{
    bool ok = rules_state_put(s, key, choice);

    ASSERT(ok);
}

/* Makes s have the modes of `old`, noting every change in r. */
static void apply_modes(struct rules_state *s, const struct rules_state *old,
                        struct rules_revision *r)
{
    for (size_t i = s->mode_cnt; i-- > 0;) {
        struct state_mode now = s->modes[i];

        if (mode_get(old, now.key) == RULES_CHOICE_CONFIG) {
            revision_add(r, now.key, now.choice, RULES_CHOICE_CONFIG);
            put_back(s, now.key, RULES_CHOICE_CONFIG);
        }
    }
    for (size_t i = 0; i < old->mode_cnt; i++) {
        enum rules_choice now = mode_get(s, old->modes[i].key);

        if (now == old->modes[i].choice)
            continue;
        revision_add(r, old->modes[i].key, now, old->modes[i].choice);
        put_back(s, old->modes[i].key, old->modes[i].choice);
    }
}

bool rules_state_rollback(struct rules_state *s, uint64_t revision,
                          const struct rules_author *author, struct fault *f)
{
    uint64_t oldest = s->history_cnt > 0 ? s->history[0].revision - 1 : s->revision;
    struct rules_state *old;
    struct rules_revision *r;

    if (revision > s->revision || revision < oldest) {
        fault_set(f, "revision %llu is not in the history: it goes from %llu to %llu",
                  (unsigned long long)revision, (unsigned long long)oldest,
                  (unsigned long long)s->revision);
        return false;
    }
    old = modes_at(s, revision);
    r = revision_new(s, author);
    r->restores = revision;
    r->is_rollback = true;
    apply_modes(s, old, r);
    rules_state_free(old);
    return true;
}

enum rules_choice rules_state_choice(const struct rules_state *s, const char *set, const char *site)
{
    char key[RULES_STATE_KEY_MAX];
    enum rules_choice choice = RULES_CHOICE_CONFIG;

    if (s->mode_cnt == 0)
        return choice;
    if (site != NULL) {
        make_key(key, set, site);
        choice = mode_get(s, key);
    }
    return choice != RULES_CHOICE_CONFIG ? choice : mode_get(s, set);
}

size_t rules_state_history_cnt(const struct rules_state *s)
{
    return s->history_cnt;
}

const struct rules_revision *rules_state_history(const struct rules_state *s, size_t i)
{
    ASSERT(i < s->history_cnt);
    return &s->history[i];
}
