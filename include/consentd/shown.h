/*
 * shown.h - how often visitors were asked: what workers count and tell the ledger. layer: ledger
 *
 *   a page with the banner ─▶ worker: (notice, language, place) + 1 ─10 s─▶ ledger ─▶ T:st
 *
 * Without it nobody knows how many looked at the banner and went on. It is a number and nothing
 * else: no record, no cookie, nobody's address or subject. It is approximate and no evidence: what
 * a process had counted when it was killed is lost, robots that fetch pages count too, and a page
 * that a cache in front answers is not seen.
 *
 * In a day's counters (ship.h) these are the names: "imp", the sum; "imp:lang:" and the language;
 * "imp:doc:" and the notice in base64url; "imp:ui:" and the place.
 */
#ifndef CONSENTD_SHOWN_H
#define CONSENTD_SHOWN_H

#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/record.h"
#include "consentd/str.h"

#define SHOWN_LANG_MAX    36   /* bytes of a language tag, with the NUL (RFC 5646, 4.4.1) */
#define SHOWN_ENTRIES_MAX 512  /* different ones between two reports of a worker */
#define SHOWN_NAMES_MAX   2048 /* counters of a day; what would be more is in the sum alone */
#define SHOWN_NAME_MAX    64   /* bytes of a counter's name, with the NUL */

/* Where the question stood. */
enum shown_place {
    SHOWN_BANNER = 0,
    SHOWN_PREFERENCES, /* the page of its own */
    SHOWN_PLACE_CNT,
};

/* One of IPC_SHOWN's payload, which is 1 to SHOWN_ENTRIES_MAX of them. */
struct shown_entry {
    uint8_t doc[RECORD_ID_LEN]; /* the notice that stood behind it */
    uint32_t cnt;
    uint32_t place; /* enum shown_place */
    char lang[SHOWN_LANG_MAX];
};

/* "banner", "preferences". */
const char *shown_place_name(enum shown_place place);

/* The entries of a payload, copied. 0: it is none. */
MUST_USE size_t shown_decode(struct str in, struct shown_entry out[SHOWN_ENTRIES_MAX]);

/* The names that an entry is counted under. */
#define SHOWN_NAMES_EACH 4
void shown_names(const struct shown_entry *entry, char out[SHOWN_NAMES_EACH][SHOWN_NAME_MAX]);

#endif
