/*
 * generation.h - one configuration and everything it names, loaded and checked.
 *
 *   files --generation_pack--> bundle (per role, sealed) --generation_load--> struct generation
 *
 * The master packs; the children load. `consentd -t` does both, so what it accepts is what
 * starts. A role's bundle holds only the keys that the role may see.
 */
#ifndef CONSENTD_GENERATION_H
#define CONSENTD_GENERATION_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/bundle.h"
#include "consentd/config.h"
#include "consentd/fault.h"
#include "consentd/ipc_msg.h"
#include "consentd/keyring.h"
#include "consentd/policy.h"
#include "consentd/rules.h"
#include "consentd/rules_state.h"
#include "consentd/snapshot.h"

#define BUNDLE_CONFIG ":config"      /* the configuration's text */
#define BUNDLE_PATH   ":config-path" /* and where it was read from */
#define BUNDLE_KEYS   ":keys"        /* the role's part of keys.json */
#define BUNDLE_STATE  ":rules-state" /* state_dir/rules.json; absent: revision 0 */
#define BUNDLE_REDIS  ":redis-password"

struct generation {
    struct bundle *bundle; /* owned, as all below */
    struct config *config;
    struct keyring *keyring;
    struct policy **policies; /* one per site */
    struct rules *rules;
    struct rules_state *state;
};

/* Reads the configuration file and what it names; NULL with the reason. */
MUST_USE struct bundle *generation_pack(const char *config_path, enum ipc_role role,
                                        struct fault *f);

/* Takes over the bundle, also on failure. NULL with the reason. */
MUST_USE struct generation *generation_load(struct bundle *bundle, struct fault *f);
void generation_free(struct generation *g); /* NULL is fine */

/* The rules of one site under a state (NULL: the generation's own). Never NULL. */
MUST_USE struct snapshot *generation_snapshot(const struct generation *g, size_t site,
                                              const struct rules_state *state);

#endif
