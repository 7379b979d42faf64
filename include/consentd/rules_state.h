/*
 * rules_state.h - which set is in which mode, and who changed it when. layer: policy
 *
 * Every change makes a new revision; any revision in the history can be restored, which is a
 * change (and a new revision) too. The text form is what the admin writes to
 * state_dir/rules.json and what travels to the workers:
 *
 *   { "revision": 3, "modes": { "hubspot": "report", "hubspot@netstreem": "off" },
 *     "history": [ { "revision": 3, "at_ms": 1795470842549, "who": "root", "from": "uid:0",
 *                    "changes": [ { "key": "hubspot", "from": "config", "to": "report" } ] } ] }
 *
 * A key is "SET" for all sites or "SET@SITE" for one; the latter wins. A set without a key is in
 * the mode that the site's configuration gives it ("rule_sets"), which is enforce by default.
 * The ids are not checked against rules here: a set may be away for a while and come back.
 *
 * Pure: no clock, no I/O.
 */
#ifndef CONSENTD_RULES_STATE_H
#define CONSENTD_RULES_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/rules.h"
#include "consentd/str.h"

#define RULES_STATE_TEXT_MAX    (8u << 20) /* bytes of the text form */
#define RULES_STATE_HISTORY_MAX 2000       /* revisions kept; older ones cannot be restored */
#define RULES_STATE_MODES_MAX   4096       /* sets and sites that differ from the configuration */
#define RULES_STATE_KEY_MAX     192        /* bytes of "SET@SITE" with NUL */
#define RULES_STATE_WHO_MAX     128        /* bytes of who and from with NUL; longer is cut */

/* A mode, or none: what the configuration says. */
enum rules_choice {
    RULES_CHOICE_CONFIG = 0,
    RULES_CHOICE_ENFORCE,
    RULES_CHOICE_REPORT,
    RULES_CHOICE_OFF,
};

const char *rules_choice_name(enum rules_choice c); /* "config", "enforce", … */
MUST_USE bool rules_choice_parse(struct str name, enum rules_choice *out);

struct rules_change {
    char key[RULES_STATE_KEY_MAX];
    enum rules_choice from, to;
};

/* Who did it: recorded with the revision and in the ledger. Strings are copied. */
struct rules_author {
    uint64_t at_ms; /* since 1970 */
    const char *who, *from;
};

struct rules_revision {
    uint64_t revision, at_ms;
    char who[RULES_STATE_WHO_MAX], from[RULES_STATE_WHO_MAX];
    bool is_rollback;             /* restores a revision: the next field */
    uint64_t restores;            /* which one */
    struct rules_change *changes; /* owned; change_cnt of them */
    size_t change_cnt;
};

struct rules_state;

/* Revision 0: everything as configured. */
MUST_USE struct rules_state *rules_state_new(void);
void rules_state_free(struct rules_state *s); /* NULL is fine */

/* Reads and writes the text form. Parsing the empty text gives revision 0. */
MUST_USE struct rules_state *rules_state_parse(const char *name, struct str text, struct fault *f);
MUST_USE bool rules_state_write(const struct rules_state *s, struct buf *out);

uint64_t rules_state_revision(const struct rules_state *s);

/*
 * Sets one set's mode for all sites (site NULL) or for one: a new revision. Setting what is there
 * already is a revision too: it is on record that somebody did. False with the reason for
 * names that are none and when a limit is hit; nothing is changed then.
 */
MUST_USE bool rules_state_set(struct rules_state *s, const char *set, const char *site,
                              enum rules_choice choice, const struct rules_author *author,
                              struct fault *f);

/* Restores the modes of a revision (0 to the current one): a new revision. */
MUST_USE bool rules_state_rollback(struct rules_state *s, uint64_t revision,
                                   const struct rules_author *author, struct fault *f);

/* The choice for a set on a site: the site's own, else the one for all, else CONFIG. */
enum rules_choice rules_state_choice(const struct rules_state *s, const char *set,
                                     const char *site);

/* History, oldest first. */
size_t rules_state_history_cnt(const struct rules_state *s);
const struct rules_revision *rules_state_history(const struct rules_state *s, size_t i);

#endif
