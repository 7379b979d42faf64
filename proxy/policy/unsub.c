/*
 * unsub.c - contract in consentd/unsub.h.
 */
#include "consentd/unsub.h"

#include <string.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"

#define VERSION   1
#define AT_KID    1
#define AT_TAG    2
#define AT_MAC    (AT_TAG + UNSUB_TAG_LEN)
#define AT_LIST   (AT_MAC + CRYPTO_SHA256_LEN)
#define BYTES_MAX (AT_LIST + UNSUB_LIST_MAX)
#define SITE_MAX  253

static const char address_label[] = "consentd.addr.v1"; /* with its NUL: that is the label */
static const char token_label[] = "consentd.unsub.v1";

bool unsub_address_ok(struct str address)
{
    ptrdiff_t at = str_find_char(address, '@');

    if (address.len > UNSUB_ADDRESS_MAX || at <= 0 || (size_t)at + 1 == address.len)
        return false;
    for (size_t i = 0; i < address.len; i++) {
        if ((unsigned char)address.ptr[i] <= ' ' || address.ptr[i] == 0x7f ||
            (address.ptr[i] == '@' && i != (size_t)at))
            return false;
    }
    return true;
}

bool unsub_list_ok(struct str list)
{
    if (list.len == 0 || list.len > UNSUB_LIST_MAX)
        return false;
    for (size_t i = 0; i < list.len; i++) {
        char c = list.ptr[i];

        if (!(c >= 'a' && c <= 'z') && !ascii_is_digit(c) && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

bool unsub_tag(const struct key *key, struct str address, uint8_t out[UNSUB_TAG_LEN])
{
    char small[UNSUB_ADDRESS_MAX];
    uint8_t mac[CRYPTO_SHA256_LEN];
    struct str parts[2] = {{address_label, sizeof(address_label)}, {small, 0}};

    address = str_trim(address);
    if (key == NULL || !unsub_address_ok(address))
        return false;
    for (size_t i = 0; i < address.len; i++)
        small[i] = ascii_lower(address.ptr[i]);
    parts[1].len = address.len;
    crypto_hmac(key->hmac, parts, COUNT_OF(parts), mac);
    memcpy(out, mac, UNSUB_TAG_LEN);
    return true;
}

/* raw: version, kid and tag are there; list behind AT_LIST. */
static void make_mac(const struct key *key, struct str site, const uint8_t *raw, size_t list_len,
                     uint8_t mac[CRYPTO_SHA256_LEN])
{
    const uint8_t len = (uint8_t)site.len;
    const struct str parts[] = {{token_label, sizeof(token_label)},
                                {(const char *)&len, 1},
                                site,
                                {(const char *)raw, AT_MAC},
                                {(const char *)raw + AT_LIST, list_len}};

    crypto_hmac(key->hmac, parts, COUNT_OF(parts), mac);
}

bool unsub_token(const struct keyring *ring, struct str site, struct str address, struct str list,
                 char out[UNSUB_TOKEN_MAX])
{
    const struct key *key = keyring_active(ring, KEY_UNSUB);
    uint8_t raw[BYTES_MAX] = {VERSION};

    out[0] = '\0';
    if (key == NULL || !unsub_list_ok(list) || site.len == 0 || site.len > SITE_MAX ||
        !unsub_tag(key, address, raw + AT_TAG))
        return false;
    raw[AT_KID] = key->kid;
    memcpy(raw + AT_LIST, list.ptr, list.len);
    make_mac(key, site, raw, list.len, raw + AT_MAC);
    (void)b64url_encode(out, raw, AT_LIST + list.len);
    return true;
}

bool unsub_read(const struct keyring *ring, struct str site, struct str token,
                uint8_t tag_out[UNSUB_TAG_LEN], char list_out[UNSUB_LIST_MAX + 1])
{
    size_t len = token.len / 4 * 3 + (token.len % 4 > 0 ? token.len % 4 - 1 : 0);
    uint8_t raw[BYTES_MAX], mac[CRYPTO_SHA256_LEN];
    const struct key *key;
    struct str list;

    if (len <= AT_LIST || len > BYTES_MAX || site.len == 0 || site.len > SITE_MAX ||
        !b64url_decode(token, raw, len) || raw[0] != VERSION)
        return false;
    list = str_make(raw + AT_LIST, len - AT_LIST);
    key = ring != NULL ? keyring_find(ring, KEY_UNSUB, raw[AT_KID]) : NULL;
    if (key == NULL || !unsub_list_ok(list))
        return false;
    make_mac(key, site, raw, list.len, mac);
    if (!crypto_equal(mac, raw + AT_MAC, sizeof(mac)))
        return false;
    memcpy(tag_out, raw + AT_TAG, UNSUB_TAG_LEN);
    memcpy(list_out, list.ptr, list.len);
    list_out[list.len] = '\0';
    return true;
}
