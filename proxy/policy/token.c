/*
 * token.c - contract in consentd/token.h.
 *
 * The checks run in the order of token.h. Everything after the MAC looks at bytes that we wrote
 * ourselves; the checks are there because keys can be shared and clocks can jump.
 */
#include "consentd/token.h"

#include <string.h>

#include "consentd/b64.h"
#include "consentd/category.h"
#include "consentd/crypto.h"

enum {
    AT_VERSION = 0,
    AT_KID = 1,
    AT_FLAGS = 2,
    AT_GRANTS = 3,
    AT_EPOCH = 5,
    AT_ISSUED = 9,
    AT_EXPIRES = 13,
    AT_SUBJECT = 17,
    AT_NODE = 33,
    AT_LEAF = 34,
    AT_RESERVED = 41,
    AT_MAC = 43,
};

#define VERSION  1
#define LEAF_MAX ((UINT64_C(1) << 56) - 1)

static const char label[] = "consentd.token.v1"; /* with its NUL */

static uint64_t get_be(const uint8_t *p, unsigned len)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < len; i++)
        v = v << 8 | p[i];
    return v;
}

static void put_be(uint8_t *p, unsigned len, uint64_t v)
{
    for (unsigned i = len; i-- > 0; v >>= 8)
        p[i] = (uint8_t)v;
}

static void make_mac(const struct key *key, struct str site, const uint8_t *payload,
                     uint8_t out[CRYPTO_SHA256_LEN])
{
    uint8_t site_len = (uint8_t)site.len;
    const struct str parts[] = {str_make(label, sizeof(label)), str_make(&site_len, 1), site,
                                str_make(payload, AT_MAC)};

    crypto_hmac(key->hmac, parts, COUNT_OF(parts), out);
}

static enum token_status check_claims(const uint8_t *raw, const struct token_check *check,
                                      struct token_claims *c)
{
    uint32_t cap = check->cap_s == 0 || check->cap_s > TOKEN_CAP_S ? TOKEN_CAP_S : check->cap_s;

    c->kid = raw[AT_KID];
    c->flags = raw[AT_FLAGS];
    c->grants = (uint16_t)get_be(raw + AT_GRANTS, 2);
    c->epoch = (uint32_t)get_be(raw + AT_EPOCH, 4);
    c->issued_s = (uint32_t)get_be(raw + AT_ISSUED, 4);
    c->expires_s = (uint32_t)get_be(raw + AT_EXPIRES, 4);
    memcpy(c->subject, raw + AT_SUBJECT, sizeof(c->subject));
    c->node = raw[AT_NODE];
    c->leaf = get_be(raw + AT_LEAF, 7);
    if (get_be(raw + AT_RESERVED, 2) != 0 || (c->flags & ~TOKEN_FLAGS) != 0)
        return TOKEN_RESERVED;
    if ((c->grants & CATEGORY_ESSENTIAL) == 0)
        return TOKEN_ESSENTIAL;
    if (c->issued_s > (uint64_t)check->now_s + TOKEN_SKEW_S)
        return TOKEN_FUTURE;
    if (c->expires_s <= check->now_s)
        return TOKEN_EXPIRED;
    if (c->expires_s <= c->issued_s || c->expires_s - c->issued_s > cap)
        return TOKEN_LIFETIME;
    return c->epoch < check->min_epoch ? TOKEN_EPOCH : TOKEN_OK;
}

static bool key_is_early(const struct key *key, uint64_t now_s)
{
    return key->not_before > now_s + TOKEN_SKEW_S;
}

static bool alphabet_is_strict(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (!ascii_is_alnum(c) && c != '-' && c != '_')
            return false;
    }
    return true;
}

enum token_status token_verify(const struct keyring *keyring, struct str value,
                               const struct token_check *check, struct token_claims *out)
{
    uint8_t raw[TOKEN_RAW_LEN], mac[CRYPTO_SHA256_LEN];
    const struct key *key;
    enum token_status status;

    memset(out, 0, sizeof(*out));
    if (value.len == 0)
        return TOKEN_NONE;
    if (value.len != TOKEN_LEN)
        return TOKEN_LENGTH;
    if (!alphabet_is_strict(value) || !b64url_decode(value, raw, sizeof(raw)))
        return TOKEN_ALPHABET;
    if (raw[AT_VERSION] != VERSION)
        return TOKEN_VERSION;
    key = keyring != NULL ? keyring_find(keyring, KEY_TOK, raw[AT_KID]) : NULL;
    if (key == NULL || key_is_early(key, check->now_s))
        return TOKEN_KEY;
    if (check->site.len == 0 || check->site.len > TOKEN_SITE_MAX)
        return TOKEN_MAC;
    make_mac(key, check->site, raw, mac);
    if (!crypto_equal(mac, raw + AT_MAC, sizeof(mac)))
        return TOKEN_MAC;
    status = check_claims(raw, check, out);
    if (status != TOKEN_OK)
        memset(out, 0, sizeof(*out));
    return status;
}

/*
 * What signs now: the active key, or before its time has come (a rotation written ahead) the
 * newest of those that verify. What an early key signed would be nobody's decision.
 */
static const struct key *signing_key(const struct keyring *keyring, uint64_t now_s)
{
    const struct key *best = keyring != NULL ? keyring_active(keyring, KEY_TOK) : NULL;

    if (best == NULL || !key_is_early(best, now_s))
        return best;
    best = NULL;
    for (size_t i = 0; i < keyring_cnt(keyring); i++) {
        const struct key *key = keyring_at(keyring, i);

        if (key->use == KEY_TOK && key->state == KEY_VERIFY && !key_is_early(key, now_s) &&
            (best == NULL || key->not_before >= best->not_before))
            best = key;
    }
    return best;
}

bool token_issue(const struct keyring *keyring, const struct token_claims *claims, struct str site,
                 char out[TOKEN_LEN + 1])
{
    const struct key *key = signing_key(keyring, claims->issued_s);
    uint8_t raw[TOKEN_RAW_LEN] = {0};

    out[0] = '\0';
    if (key == NULL || site.len == 0 || site.len > TOKEN_SITE_MAX || claims->leaf > LEAF_MAX ||
        (claims->flags & ~TOKEN_FLAGS) != 0 || claims->expires_s <= claims->issued_s ||
        claims->expires_s - claims->issued_s > TOKEN_CAP_S)
        return false;
    raw[AT_VERSION] = VERSION;
    raw[AT_KID] = key->kid;
    raw[AT_FLAGS] = claims->flags;
    put_be(raw + AT_GRANTS, 2, claims->grants | CATEGORY_ESSENTIAL);
    put_be(raw + AT_EPOCH, 4, claims->epoch);
    put_be(raw + AT_ISSUED, 4, claims->issued_s);
    put_be(raw + AT_EXPIRES, 4, claims->expires_s);
    memcpy(raw + AT_SUBJECT, claims->subject, sizeof(claims->subject));
    raw[AT_NODE] = claims->node;
    put_be(raw + AT_LEAF, 7, claims->leaf);
    make_mac(key, site, raw, raw + AT_MAC);
    (void)b64url_encode(out, raw, sizeof(raw));
    return true;
}

const char *token_strerror(enum token_status status)
{
    static const char *const names[] = {
        [TOKEN_NONE] = "none",
        [TOKEN_LENGTH] = "length",
        [TOKEN_ALPHABET] = "alphabet",
        [TOKEN_VERSION] = "version",
        [TOKEN_KEY] = "key",
        [TOKEN_MAC] = "mac",
        [TOKEN_RESERVED] = "reserved",
        [TOKEN_ESSENTIAL] = "essential",
        [TOKEN_FUTURE] = "future",
        [TOKEN_EXPIRED] = "expired",
        [TOKEN_LIFETIME] = "lifetime",
        [TOKEN_EPOCH] = "epoch",
        [TOKEN_OK] = "ok",
    };

    return names[status];
}
