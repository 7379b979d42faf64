/*
 * tls_tickets.c - what session tickets are sealed with (RFC 5077, RFC 8446 4.6.1).
 *
 *      secret of the generation ── HMAC(what, number of the period) ──▶ name, AES key, MAC key
 *
 * All workers hold the same secret and derive the same keys from it, by the wall clock, so that
 * nobody has to tell them when a period begins. The newest key seals; the two before it still
 * open. A key that is stolen opens what was sealed in its period; what TLS 1.3 sent under a
 * session stays closed even then, because every resumption makes new keys (psk_dhe_ke).
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/crypto.h"
#include "consentd/mem.h"
#include "tls_ctx_priv.h"

enum { KEYS = 3, NAME_LEN = 16, IV_LEN = 16 };

struct ticket_key {
    uint8_t name[NAME_LEN]; /* travels in clear: which key it is */
    uint8_t aes[CRYPTO_KEY_LEN], mac[CRYPTO_KEY_LEN];
};

struct tls_tickets {
    struct crypto_hmac *secret; /* owned */
    uint64_t period_ms;
    uint64_t period;              /* whose keys are below */
    struct ticket_key keys[KEYS]; /* newest first */
};

static void derive(struct tls_tickets *t, const char *what, uint64_t period, uint8_t out[32])
{
    const struct str parts[] = {str_c(what), str_make(&period, sizeof(period))};

    crypto_hmac(t->secret, parts, COUNT_OF(parts), out);
}

static void keys_of_now(struct tls_tickets *t)
{
    uint64_t now = clock_wall_ms() / t->period_ms;

    if (now == t->period)
        return;
    t->period = now;
    for (unsigned i = 0; i < KEYS; i++) {
        struct ticket_key *key = &t->keys[i];
        uint8_t name[32];

        derive(t, "name", now - i, name);
        memcpy(key->name, name, sizeof(key->name));
        derive(t, "aes", now - i, key->aes);
        derive(t, "mac", now - i, key->mac);
    }
}

static bool use_key(struct ticket_key *key, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, bool seal)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, params) == 1 &&
           EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, seal) == 1;
}

/* OpenSSL's rule: 1 goes on, 2 goes on and renews the ticket, 0 is a full handshake. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    struct tls_tickets *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    keys_of_now(t);
    if (seal) {
        memcpy(name, t->keys[0].name, NAME_LEN);
        crypto_random(iv, IV_LEN);
        return use_key(&t->keys[0], iv, cipher, mac, true) ? 1 : -1;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        if (memcmp(name, t->keys[i].name, NAME_LEN) == 0)
            return !use_key(&t->keys[i], iv, cipher, mac, false) ? -1 : i == 0 ? 1 : 2;
    }
    return 0;
}

struct tls_tickets *tls_tickets_new(const uint8_t *secret, uint64_t period_ms)
{
    struct tls_tickets *t = mem_new(struct tls_tickets);

    t->secret = crypto_hmac_new(secret, TLS_TICKET_SECRET_LEN);
    t->period_ms = period_ms > 0 ? period_ms : TLS_TICKET_PERIOD_MS;
    return t;
}

void tls_tickets_free(struct tls_tickets *t)
{
    if (t == NULL)
        return;
    crypto_hmac_free(t->secret);
    crypto_wipe(t, sizeof(*t));
    free(t);
}

void tls_tickets_use(struct tls_tickets *t, SSL_CTX *ctx)
{
    uint64_t life_s = (KEYS - 1) * t->period_ms / 1000;

    SSL_CTX_set_app_data(ctx, t);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_timeout(ctx, (long)(life_s > 0 ? life_s : 1));
}
