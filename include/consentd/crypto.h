/*
 * crypto.h - random bytes, hashes, MACs and sealing; the only user of OpenSSL's
 * EVP and RAND interfaces (TLS is net's).
 *
 * A failure of the library on valid arguments is a broken machine: the process
 * aborts. Only gcm_open can fail in normal life: somebody changed the bytes.
 * Not for use from several threads at once.
 */
#ifndef CONSENTD_CRYPTO_H
#define CONSENTD_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

#define CRYPTO_SHA256_LEN    32 /* bytes of a SHA-256 or HMAC-SHA256 */
#define CRYPTO_SHA1_LEN      20 /* bytes of a SHA-1 */
#define CRYPTO_KEY_LEN       32 /* bytes of an AES-256 key */
#define CRYPTO_GCM_NONCE_LEN 12 /* bytes of a GCM nonce */
#define CRYPTO_GCM_TAG_LEN   16 /* bytes that sealing adds */

/* From a pool filled 4 KiB at a time; bytes given out are cleared from the pool. */
void crypto_random(void *out, size_t len);

/* SHA-256 of one piece. */
void crypto_sha256(const void *p, size_t len, uint8_t out[32]);

/* SHA-1 of one piece: for the handshake of websockets (RFC 6455), where it proves no secret. */
void crypto_sha1(const void *p, size_t len, uint8_t out[20]);

/* SHA-256 in pieces. After init exactly one final, which frees what init took. */
struct crypto_hash {
    void *ctx; /* owned; the library's */
};
void crypto_sha256_init(struct crypto_hash *h);
void crypto_sha256_update(struct crypto_hash *h, const void *p, size_t len);
void crypto_sha256_final(struct crypto_hash *h, uint8_t out[32]);

/*
 * SHA-256 whose state can be put away and taken up again, by this machine, in another process: for
 * a long text that is sent in several requests. Plain data; copying it copies the state.
 */
struct crypto_sha256_part {
    uint64_t state[14]; /* the library's own form */
};
void crypto_sha256_part_init(struct crypto_sha256_part *p);
void crypto_sha256_part_update(struct crypto_sha256_part *p, const void *data, size_t len);
void crypto_sha256_part_final(const struct crypto_sha256_part *p, uint8_t out[32]);

/* A keyed HMAC-SHA256 context, made once per key and used for every token. */
struct crypto_hmac;
struct crypto_hmac *crypto_hmac_new(const uint8_t *key, size_t key_len);
void crypto_hmac_free(struct crypto_hmac *h); /* clears the key; NULL is fine */

/* The MAC over the parts one after the other, as if they were one text. */
void crypto_hmac(struct crypto_hmac *h, const struct str *parts, size_t cnt, uint8_t out[32]);

/* One MAC with a key that is not used again soon. */
void crypto_hmac_once(const uint8_t key[32], const struct str *parts, size_t cnt, uint8_t out[32]);

/* AES-256-GCM: out gets plain.len bytes and the tag (16) behind them. No overlap. */
MUST_USE bool crypto_gcm_seal(const uint8_t key[32], const uint8_t nonce[12], struct str aad,
                              struct str plain, uint8_t *out);

/* out gets sealed.len - 16 bytes. False, and out cleared, when anything was changed. */
MUST_USE bool crypto_gcm_open(const uint8_t key[32], const uint8_t nonce[12], struct str aad,
                              struct str sealed, uint8_t *out);

/* Ed25519 (RFC 8032), keys as their 32 raw bytes: the seed is the private key. */
void crypto_ed25519_public(const uint8_t seed[32], uint8_t public_out[32]);
void crypto_ed25519_sign(const uint8_t seed[32], struct str text, uint8_t signature_out[64]);
MUST_USE bool crypto_ed25519_verify(const uint8_t public_key[32], struct str text,
                                    const uint8_t signature[64]);

/*
 * OpenSSL's memory from spare.h: TLS records take none from the heap then. Before the library has
 * allocated anything; later it does nothing and returns false.
 */
MUST_USE bool crypto_use_spare(void);

/* Compares in a time that does not depend on the bytes. */
MUST_USE bool crypto_equal(const void *a, const void *b, size_t len);

/* Clears memory that held a secret; the compiler may not leave it out. */
void crypto_wipe(void *p, size_t len);

/* CRC-32C (Castagnoli) continued from crc; start with 0. Hardware when it is there. */
uint32_t crypto_crc32c(uint32_t crc, const void *p, size_t len);

/* The same from a table: what crypto_crc32c must agree with on every machine. */
uint32_t crypto_crc32c_table(uint32_t crc, const void *p, size_t len);

#endif
