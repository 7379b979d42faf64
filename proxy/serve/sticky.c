/*
 * sticky.c - the cookie that keeps a visitor at one origin (sticky_cookie).
 *
 *   lb=PGkh0aYrnhq0aLPc; Path=/; HttpOnly; SameSite=Lax[; Secure]
 *
 * The value is a MAC over the site and the origin's URL: the same for every visitor of an origin,
 * so that it tells nobody from another, and nothing about the URL. It lives as long as the
 * browser's session. Without it a visitor's session at the origin breaks, so it is essential
 * (load balancing: WP 194, 3.5) and set before a decision; it is off unless configured, and never
 * reaches the origin.
 *
 * Every token key that may verify makes a name for each origin, so that a rotation sends nobody
 * elsewhere; the active key's is the one given out.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/config.h"
#include "consentd/cookie.h"
#include "consentd/keyring.h"
#include "consentd/mem.h"
#include "enforce_priv.h"
#include "serve_priv.h"

#define ID_BYTES 12 /* of the MAC */
#define ID_LEN   16 /* of its text */

struct sticky_id {
    char text[ID_LEN];
};

struct sticky {
    struct str name;       /* borrowed from the configuration */
    struct sticky_id *ids; /* owned; key after key, in each the origins in order */
    unsigned key_cnt, origin_cnt;
    unsigned given; /* the key whose ids are given out */
};

static void make_id(const struct key *key, const struct config_site *site, const char *url,
                    struct sticky_id *out)
{
    const struct str parts[] = {STR("consentd sticky 1\n"), str_c(site->hosts.items[0]), STR("\n"),
                                str_c(url)};
    uint8_t mac[CRYPTO_SHA256_LEN];
    char text[ID_LEN + 4];

    crypto_hmac(key->hmac, parts, COUNT_OF(parts), mac);
    ASSERT(b64url_encode(text, mac, ID_BYTES) == ID_LEN);
    memcpy(out->text, text, ID_LEN);
}

struct sticky *sticky_new(const struct config_site *site, const struct keyring *ring)
{
    const struct key *active = ring != NULL ? keyring_active(ring, KEY_TOK) : NULL;
    struct sticky *sticky;

    if (site->sticky_cookie == NULL || active == NULL)
        return NULL;
    sticky = mem_new(struct sticky);
    sticky->name = str_c(site->sticky_cookie);
    sticky->origin_cnt = (unsigned)site->origin_cnt;
    sticky->ids = mem_calloc(keyring_cnt(ring) * site->origin_cnt, sizeof(*sticky->ids));
    for (size_t k = 0; k < keyring_cnt(ring); k++) {
        const struct key *key = keyring_at(ring, k);

        if (key->use != KEY_TOK || key->state == KEY_REVOKED)
            continue;
        for (unsigned i = 0; i < sticky->origin_cnt; i++)
            make_id(key, site, site->origins[i].url,
                    &sticky->ids[sticky->key_cnt * sticky->origin_cnt + i]);
        if (key == active)
            sticky->given = sticky->key_cnt;
        sticky->key_cnt++;
    }
    return sticky;
}

void sticky_free(struct sticky *sticky)
{
    if (sticky == NULL)
        return;
    free(sticky->ids);
    free(sticky);
}

/* The origin with this id, or -1. */
static int origin_of(const struct sticky *sticky, struct str id)
{
    if (id.len != ID_LEN)
        return -1;
    for (unsigned i = 0; i < sticky->key_cnt * sticky->origin_cnt; i++) {
        if (crypto_equal(sticky->ids[i].text, id.ptr, ID_LEN))
            return (int)(i % sticky->origin_cnt);
    }
    return -1;
}

int sticky_read(const struct sticky *sticky, const struct headers *h)
{
    const struct header *field;
    struct cookie_pair pair;
    unsigned iter = 0;
    int found = -1;

    if (sticky == NULL)
        return -1;
    while (found < 0 && (field = headers_next(h, HDR_COOKIE, &iter)) != NULL) {
        struct str rest = field->value;

        while (found < 0 && cookie_next(&rest, &pair)) {
            if (str_eq(pair.name, sticky->name))
                found = origin_of(sticky, pair.value);
        }
    }
    return found;
}

/*
 * What says itself that it is for shared caches must not carry a cookie into one: then the next
 * answer brings it. Fields for one kind of cache say so just by being there (RFC 9213).
 */
static bool is_shared(const struct headers *h)
{
    const struct header *field;
    struct str rest, directive;
    unsigned iter = 0;

    for (unsigned i = 0; i < h->cnt; i++) {
        if (!h->items[i].removed && cache_is_targeted(h->items[i].name))
            return true;
    }
    while ((field = headers_next(h, HDR_CACHE_CONTROL, &iter)) != NULL) {
        rest = field->value;
        while (header_list_next(&rest, &directive)) {
            if (str_eq_fold_c(directive, "public") || str_starts_fold(directive, STR("s-maxage")))
                return true;
        }
    }
    return false;
}

/* "max-age" alone invites shared caches as well (RFC 9111 3). */
static bool keep_private(struct flow *f)
{
    struct headers *h = &f->x.resp.headers;

    return headers_has_token(h, HDR_CACHE_CONTROL, "private") ||
           headers_has_token(h, HDR_CACHE_CONTROL, "no-store") ||
           headers_add_id(h, &f->x.arena, HDR_CACHE_CONTROL, STR("private"));
}

bool sticky_set(const struct sticky *sticky, struct flow *f)
{
    struct headers *h = &f->x.resp.headers;
    const struct sticky_id *id;
    char *value;

    if (sticky == NULL || (int)f->origin->index == f->wanted || f->x.resp.status == 304 ||
        is_shared(h))
        return true;
    id = &sticky->ids[sticky->given * sticky->origin_cnt + f->origin->index];
    value = arena_printf(&f->x.arena, "%.*s=%.*s; Path=/; HttpOnly; SameSite=Lax%s",
                         STR_ARGS(sticky->name), ID_LEN, id->text, f->x.secure ? "; Secure" : "");
    return value != NULL && headers_add(h, &f->x.arena, STR("Set-Cookie"), str_c(value)) &&
           keep_private(f);
}
