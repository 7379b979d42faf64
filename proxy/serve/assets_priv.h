/*
 * assets_priv.h - our own scripts and styles, coded once for many clients, and parts of our markup.
 *
 * A worker keeps a bounded number of bodies, each under what names its content and in one coding;
 * the oldest is given up.
 */
#ifndef CONSENTD_ASSETS_PRIV_H
#define CONSENTD_ASSETS_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "consentd/attr.h"
#include "consentd/coding.h"
#include "consentd/exchange.h"
#include "consentd/str.h"

#define ASSET_KEY_MAX 80 /* bytes of a key with its NUL */

struct asset_name {
    const struct site *site; /* NULL: the same on all sites */
    const char *key;         /* names the content: a hash, or the guard's key */
    enum coding coding;
};

struct assets;
struct assets *assets_new(void);
void assets_free(struct assets *assets); /* NULL is fine */

/* The coding for a body of this length: what the client takes, or none where it is not worth it. */
enum coding asset_coding(const struct exchange *x, size_t len);

/* The body as it was kept; borrowed until the next asset_keep. */
MUST_USE bool asset_find(const struct assets *assets, const struct asset_name *name,
                         struct str *out);

/* Codes and keeps it. False: it cannot be coded, or is too large: answer plain. */
MUST_USE bool asset_keep(struct assets *assets, const struct asset_name *name, struct str plain,
                         struct str *out);

#endif
