/*
 * suppressed.h - who wants no more mail from which list. layer: ledger
 *
 *   STATE_DIR/unsubscribed.lst   "<address tag, base64url> <list> <Unix ms>" per line, append only
 *   c:supp in Redis              hash: "<address tag>:<list>" -> Unix ms
 *
 * An address is its keyed tag (unsub.h): the file says of an address that one has, and of nobody
 * else. It is written after the event is on record, so the journal can tell it again.
 */
#ifndef CONSENTD_SUPPRESSED_H
#define CONSENTD_SUPPRESSED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define SUPPRESSED_NAME     "unsubscribed.lst" /* in state_dir */
#define SUPPRESSED_MAX      2000000            /* lines */
#define SUPPRESSED_FILE_MAX (256u << 20)       /* bytes */
#define SUPPRESSED_KEY_MAX  64                 /* bytes of "<tag>:<list>", with the NUL */

struct suppressed_entry {
    const char *key; /* "<tag>:<list>" */
    uint64_t ts_ms;
};

struct suppressed;

/* A missing file is an empty list; a last line that is cut is passed over. NULL and *f else. */
MUST_USE struct suppressed *suppressed_open(const char *path, struct fault *f);
void suppressed_free(struct suppressed *s); /* NULL is fine */

size_t suppressed_cnt(const struct suppressed *s);
const struct suppressed_entry *suppressed_at(const struct suppressed *s, size_t i);

/* When the address left the list; 0: it has not. */
uint64_t suppressed_since(const struct suppressed *s, const uint8_t tag[16], struct str list);

/*
 * Adds one; one that is there is fine. It counts at once and is durable with suppressed_save, so
 * that a batch costs one sync. False: there is no room, or no list by that name.
 */
MUST_USE bool suppressed_add(struct suppressed *s, const uint8_t tag[16], struct str list,
                             uint64_t ts_ms, struct fault *f);

/* Writes what the file still lacks. True: it lacks nothing. */
MUST_USE bool suppressed_save(struct suppressed *s, struct fault *f);

#endif
