/*
 * snapshot.h - the rules in force on one site at one revision. layer: policy
 *
 * A snapshot is the compiled rules plus one mode per set: making a new one after a toggle
 * costs a few bytes per set and compiles nothing. An exchange holds a reference while it runs, so
 * a toggle never touches a request in flight.
 *
 * Reference counted, for one thread (one worker); verdicts on inline scripts are kept in it.
 */
#ifndef CONSENTD_SNAPSHOT_H
#define CONSENTD_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/rules.h"
#include "consentd/rules_state.h"

struct snapshot;

/* What one site's configuration says about one set ("rule_sets"). */
struct snapshot_default {
    const char *set;
    enum rule_mode mode;
};

/*
 * For site number `site` of the rules. Takes its own reference to rules. state may be NULL
 * (revision 0). defaults are borrowed for the call. Never NULL.
 */
MUST_USE struct snapshot *snapshot_new(struct rules *rules, size_t site,
                                       const struct rules_state *state,
                                       const struct snapshot_default *defaults, size_t cnt);

/* One more reference; returns it. NULL gives NULL. */
struct snapshot *snapshot_take(struct snapshot *snapshot);

/* One less; the last one frees. NULL is fine. */
void snapshot_give(struct snapshot *snapshot);

/* What it is made of. */
const struct rules *snapshot_rules(const struct snapshot *snapshot);
size_t snapshot_site(const struct snapshot *snapshot);
uint64_t snapshot_revision(const struct snapshot *snapshot);

/* The mode of set number i. */
enum rule_mode snapshot_mode(const struct snapshot *snapshot, size_t i);

/*
 * Eight bytes that differ when anything that decides differs: the sets' contents or their modes.
 * For ETags and caches; the same in all workers.
 */
uint64_t snapshot_fingerprint(const struct snapshot *snapshot);

#endif
