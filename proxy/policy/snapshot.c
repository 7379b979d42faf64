/*
 * snapshot.c - contract in consentd/snapshot.h.
 */
#include "consentd/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/mem.h"
#include "inline_cache_priv.h"
#include "rules_priv.h"

struct snapshot {
    unsigned refs;
    struct rules *rules; /* one reference */
    size_t site;
    uint64_t revision, fingerprint;
    struct inline_cache *inlines; /* owned; changes */
    uint8_t modes[];              /* enum rule_mode, one per set */
};

static enum rule_mode mode_of(const struct ruleset *set, const char *site,
                              const struct rules_state *state,
                              const struct snapshot_default *defaults, size_t cnt)
{
    enum rules_choice choice =
        state != NULL ? rules_state_choice(state, set->id, site) : RULES_CHOICE_CONFIG;

    if (choice == RULES_CHOICE_ENFORCE)
        return RULE_ENFORCE;
    if (choice == RULES_CHOICE_REPORT)
        return RULE_REPORT;
    if (choice == RULES_CHOICE_OFF)
        return RULE_OFF;
    for (size_t i = 0; i < cnt; i++) {
        if (strcmp(defaults[i].set, set->id) == 0)
            return defaults[i].mode;
    }
    return RULE_ENFORCE;
}

static uint64_t fingerprint_of(const struct snapshot *s)
{
    struct crypto_hash h;
    uint8_t digest[32];
    uint64_t value;

    crypto_sha256_init(&h);
    crypto_sha256_update(&h, s->rules->hash, sizeof(s->rules->hash));
    crypto_sha256_update(&h, s->modes, s->rules->set_cnt);
    crypto_sha256_final(&h, digest);
    memcpy(&value, digest, sizeof(value));
    return value;
}

struct snapshot *snapshot_new(struct rules *rules, size_t site, const struct rules_state *state,
                              const struct snapshot_default *defaults, size_t cnt)
{
    struct snapshot *s = mem_calloc(1, sizeof(*s) + rules->set_cnt);
    const char *name = site < rules->site_cnt ? rules->sites[site].name : "";

    s->refs = 1;
    s->rules = rules_take(rules);
    s->site = site;
    s->revision = state != NULL ? rules_state_revision(state) : 0;
    for (size_t i = 0; i < rules->set_cnt; i++)
        s->modes[i] = (uint8_t)mode_of(rules->sets[i], name, state, defaults, cnt);
    s->fingerprint = fingerprint_of(s);
    s->inlines = inline_cache_new();
    return s;
}

struct snapshot *snapshot_take(struct snapshot *snapshot)
{
    if (snapshot != NULL)
        snapshot->refs++;
    return snapshot;
}

void snapshot_give(struct snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    ASSERT(snapshot->refs > 0);
    if (--snapshot->refs > 0)
        return;
    rules_give(snapshot->rules);
    inline_cache_free(snapshot->inlines);
    free(snapshot);
}

const struct rules *snapshot_rules(const struct snapshot *snapshot)
{
    return snapshot->rules;
}

size_t snapshot_site(const struct snapshot *snapshot)
{
    return snapshot->site;
}

uint64_t snapshot_revision(const struct snapshot *snapshot)
{
    return snapshot->revision;
}

enum rule_mode snapshot_mode(const struct snapshot *snapshot, size_t i)
{
    return (enum rule_mode)snapshot->modes[i];
}

uint64_t snapshot_fingerprint(const struct snapshot *snapshot)
{
    return snapshot->fingerprint;
}

struct inline_cache *snapshot_inlines(const struct snapshot *snapshot)
{
    return snapshot->inlines;
}
