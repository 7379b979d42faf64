/*
 * bundle.h - all the files of one generation in one sealed memory file.
 *
 *   "CNSNTBDL" | u32 count | count × { u32 name_len, u32 data_len, name, data }
 *
 * The master reads the configuration and everything it names, puts it into a bundle
 * per role and hands the descriptor down. A child never opens a configuration file:
 * what the master checked is what the child gets, and a key reaches only the role
 * that needs it. The seals (F_SEAL_WRITE and the rest) make it immutable for all.
 *
 * By convention a name is the file's absolute path; things that are no files have
 * a name with a colon in front (":config", ":rules").
 */
#ifndef CONSENTD_BUNDLE_H
#define CONSENTD_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define BUNDLE_MAX       (64u << 20) /* bytes of all names and data together */
#define BUNDLE_ITEMS_MAX 4096u       /* files in one bundle */

struct bundle;

/* Called for each item in the order of names; false stops. */
typedef bool (*bundle_each_fn)(void *arg, struct str name, struct str data);

/* An empty bundle to fill. Never NULL. */
struct bundle *bundle_new(void);

/* Copies both. False when a limit is hit. The same name again replaces the data. */
MUST_USE bool bundle_add(struct bundle *b, struct str name, struct str data);

/* Writes all into a new sealed memfd; -1 on failure. The bundle stays usable. */
MUST_USE int bundle_seal(struct bundle *b, struct fault *f);

/* Reads a sealed memfd (the fd stays the caller's); NULL if it is none of ours. */
MUST_USE struct bundle *bundle_open(int fd, struct fault *f);

/* The data; borrowed until bundle_free or a bundle_add of this name. False: not there. */
MUST_USE bool bundle_get(const struct bundle *b, struct str name, struct str *data_out);

/* All items whose name starts with prefix; false when fn stopped it. */
bool bundle_each(const struct bundle *b, struct str prefix, bundle_each_fn fn, void *arg);

/* Wipes and frees. NULL is fine. */
void bundle_free(struct bundle *b);

#endif
