/*
 * crypto.c - contract in consentd/crypto.h.
 *
 * Algorithms are fetched once and contexts are kept: in OpenSSL 3 the fetch and the
 * context cost more than hashing a token. A process has one thread that comes here.
 */
#include "consentd/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "consentd/spare.h"

#define POOL_SIZE 4096u /* bytes drawn from the generator at a time */

struct crypto_hmac {
    EVP_MAC *mac;     /* owned */
    EVP_MAC_CTX *ctx; /* owned; keyed, re-initialised without the key for each use */
};

static uint8_t pool[POOL_SIZE];
static size_t pool_left;

/* A child that took the rest of its parent's pool would make the same secrets. */
static void forget_pool(void)
{
    pool_left = 0;
}

void crypto_random(void *out, size_t len)
{
    static bool guarded;
    uint8_t *o = out;

    if (!guarded)
        guarded = pthread_atfork(NULL, NULL, forget_pool) == 0;
    ASSERT(guarded);
    while (len > 0) {
        if (pool_left == 0) {
            ASSERT(RAND_bytes(pool, sizeof(pool)) == 1);
            pool_left = sizeof(pool);
        }
        size_t n = len < pool_left ? len : pool_left;
        uint8_t *from = pool + sizeof(pool) - pool_left;
        memcpy(o, from, n);
        OPENSSL_cleanse(from, n);
        o += n;
        len -= n;
        pool_left -= n;
    }
}

static const EVP_MD *sha256(void)
{
    static EVP_MD *md;

    if (md == NULL)
        md = EVP_MD_fetch(NULL, "SHA256", NULL);
    ASSERT(md != NULL);
    return md;
}

void crypto_sha256(const void *p, size_t len, uint8_t out[32])
{
    struct crypto_hash h;

    crypto_sha256_init(&h);
    crypto_sha256_update(&h, p, len);
    crypto_sha256_final(&h, out);
}

void crypto_sha1(const void *p, size_t len, uint8_t out[20])
{
    static EVP_MD *md;

    if (md == NULL)
        md = EVP_MD_fetch(NULL, "SHA1", NULL);
    ASSERT(md != NULL && EVP_Digest(p, len, out, NULL, md, NULL) == 1);
}

/* One finished context is kept for the next hash; several may be open at once. */
static EVP_MD_CTX *spare_hash;

void crypto_sha256_init(struct crypto_hash *h)
{
    EVP_MD_CTX *ctx = spare_hash != NULL ? spare_hash : EVP_MD_CTX_new();

    spare_hash = NULL;
    ASSERT(ctx != NULL && EVP_DigestInit_ex(ctx, sha256(), NULL) == 1);
    h->ctx = ctx;
}

void crypto_sha256_update(struct crypto_hash *h, const void *p, size_t len)
{
    if (len > 0)
        ASSERT(EVP_DigestUpdate(h->ctx, p, len) == 1);
}

void crypto_sha256_final(struct crypto_hash *h, uint8_t out[32])
{
    ASSERT(EVP_DigestFinal_ex(h->ctx, out, NULL) == 1);
    if (spare_hash == NULL)
        spare_hash = h->ctx;
    else
        EVP_MD_CTX_free(h->ctx);
    h->ctx = NULL;
}

struct crypto_hmac *crypto_hmac_new(const uint8_t *key, size_t key_len)
{
    struct crypto_hmac *h = mem_new(struct crypto_hmac);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    h->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    ASSERT(h->mac != NULL);
    h->ctx = EVP_MAC_CTX_new(h->mac);
    ASSERT(h->ctx != NULL && EVP_MAC_init(h->ctx, key, key_len, params) == 1);
    return h;
}

void crypto_hmac_once(const uint8_t key[32], const struct str *parts, size_t cnt, uint8_t out[32])
{
    static const uint8_t none[32];
    static struct crypto_hmac *h;

    if (h == NULL)
        h = crypto_hmac_new(none, sizeof(none));
    ASSERT(EVP_MAC_init(h->ctx, key, 32, NULL) == 1);
    crypto_hmac(h, parts, cnt, out);
    ASSERT(EVP_MAC_init(h->ctx, none, sizeof(none), NULL) == 1); /* the key does not stay */
}

void crypto_hmac_free(struct crypto_hmac *h)
{
    if (h == NULL)
        return;
    EVP_MAC_CTX_free(h->ctx); /* clears the key schedule */
    EVP_MAC_free(h->mac);
    free(h);
}

void crypto_hmac(struct crypto_hmac *h, const struct str *parts, size_t cnt, uint8_t out[32])
{
    size_t len = 0;

    /* no key and no parameters: restart with the key that is there */
    ASSERT(EVP_MAC_init(h->ctx, NULL, 0, NULL) == 1);
    for (size_t i = 0; i < cnt; i++) {
        if (parts[i].len > 0)
            ASSERT(EVP_MAC_update(h->ctx, (const uint8_t *)parts[i].ptr, parts[i].len) == 1);
    }
    ASSERT(EVP_MAC_final(h->ctx, out, &len, CRYPTO_SHA256_LEN) == 1 && len == CRYPTO_SHA256_LEN);
}

/* A context for AES-256-GCM with key and nonce set, direction as asked; kept for reuse. */
static EVP_CIPHER_CTX *gcm_start(const uint8_t key[32], const uint8_t nonce[12], bool seal)
{
    static EVP_CIPHER *cipher;
    static EVP_CIPHER_CTX *ctx;

    if (cipher == NULL) {
        cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
        ctx = EVP_CIPHER_CTX_new();
        ASSERT(cipher != NULL && ctx != NULL);
    }
    ASSERT(EVP_CipherInit_ex2(ctx, cipher, key, nonce, seal ? 1 : 0, NULL) == 1);
    return ctx;
}

/* Feeds text through the cipher in steps that fit its int lengths; out NULL: as AAD. */
static void gcm_update(EVP_CIPHER_CTX *ctx, struct str in, uint8_t *out)
{
    size_t at = 0;

    while (at < in.len) {
        size_t step = in.len - at < (1u << 30) ? in.len - at : (1u << 30);
        int len;
        ASSERT(EVP_CipherUpdate(ctx, out != NULL ? out + at : NULL, &len,
                                (const uint8_t *)in.ptr + at, (int)step) == 1);
        at += step;
    }
}

/* Takes the key out of the context that is kept. */
static void gcm_forget(EVP_CIPHER_CTX *ctx)
{
    ASSERT(EVP_CIPHER_CTX_reset(ctx) == 1);
}

bool crypto_gcm_seal(const uint8_t key[32], const uint8_t nonce[12], struct str aad,
                     struct str plain, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = gcm_start(key, nonce, true);
    uint8_t none[CRYPTO_GCM_TAG_LEN];
    int len;

    gcm_update(ctx, aad, NULL);
    gcm_update(ctx, plain, out);
    bool ok =
        EVP_CipherFinal_ex(ctx, none, &len) == 1 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_GCM_TAG_LEN, out + plain.len) == 1;
    gcm_forget(ctx);
    return ok;
}

bool crypto_gcm_open(const uint8_t key[32], const uint8_t nonce[12], struct str aad,
                     struct str sealed, uint8_t *out)
{
    uint8_t tag[CRYPTO_GCM_TAG_LEN], none[CRYPTO_GCM_TAG_LEN];
    int len;

    if (sealed.len < sizeof(tag))
        return false;
    struct str text = str_slice(sealed, 0, sealed.len - sizeof(tag));
    memcpy(tag, sealed.ptr + text.len, sizeof(tag));
    EVP_CIPHER_CTX *ctx = gcm_start(key, nonce, false);
    gcm_update(ctx, aad, NULL);
    gcm_update(ctx, text, out);
    bool ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) == 1 &&
              EVP_CipherFinal_ex(ctx, none, &len) == 1;
    if (!ok && text.len > 0)
        crypto_wipe(out, text.len); /* nobody may use what was not proven */
    gcm_forget(ctx);
    return ok;
}

static EVP_PKEY *ed25519_private(const uint8_t seed[32])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);

    ASSERT(key != NULL);
    return key;
}

void crypto_ed25519_public(const uint8_t seed[32], uint8_t public_out[32])
{
    EVP_PKEY *key = ed25519_private(seed);
    size_t len = 32;

    ASSERT(EVP_PKEY_get_raw_public_key(key, public_out, &len) == 1 && len == 32);
    EVP_PKEY_free(key);
}

void crypto_ed25519_sign(const uint8_t seed[32], struct str text, uint8_t signature_out[64])
{
    EVP_PKEY *key = ed25519_private(seed);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = 64;

    ASSERT(ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
           EVP_DigestSign(ctx, signature_out, &len, (const uint8_t *)text.ptr, text.len) == 1 &&
           len == 64);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
}

bool crypto_ed25519_verify(const uint8_t public_key[32], struct str text,
                           const uint8_t signature[64])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok;

    ASSERT(ctx != NULL);
    ok = key != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
         EVP_DigestVerify(ctx, signature, 64, (const uint8_t *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void crypto_wipe(void *p, size_t len)
{
    if (p != NULL)
        OPENSSL_cleanse(p, len);
}

/* --- the library's memory --- */

static void *library_alloc(size_t len, const char *file, int line)
{
    UNUSED(file);
    UNUSED(line);
    return spare_alloc(len);
}

static void *library_realloc(void *p, size_t len, const char *file, int line)
{
    UNUSED(file);
    UNUSED(line);
    if (len > 0)
        return spare_realloc(p, len);
    spare_free(p);
    return NULL;
}

static void library_free(void *p, const char *file, int line)
{
    UNUSED(file);
    UNUSED(line);
    spare_free(p);
}

bool crypto_use_spare(void)
{
    return CRYPTO_set_mem_functions(library_alloc, library_realloc, library_free) == 1;
}
