/*
 * crypto_part.c - SHA-256 in parts (contract in consentd/crypto.h).
 *
 * EVP keeps its state to itself; the older interface, which OpenSSL deprecates but keeps, has it in
 * a plain struct.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/mem.h"

_Static_assert(sizeof(SHA256_CTX) == sizeof(struct crypto_sha256_part), "the state has its room");

static void take(const struct crypto_sha256_part *p, SHA256_CTX *ctx)
{
    memcpy(ctx, p->state, sizeof(*ctx));
    if (ctx->num >= SHA256_CBLOCK || ctx->md_len != SHA256_DIGEST_LENGTH) /* no state of ours */
        ASSERT(SHA256_Init(ctx) == 1);
}

void crypto_sha256_part_init(struct crypto_sha256_part *p)
{
    SHA256_CTX ctx;

    ASSERT(SHA256_Init(&ctx) == 1);
    memcpy(p->state, &ctx, sizeof(ctx));
}

void crypto_sha256_part_update(struct crypto_sha256_part *p, const void *data, size_t len)
{
    SHA256_CTX ctx;

    take(p, &ctx);
    ASSERT(SHA256_Update(&ctx, data, len) == 1);
    memcpy(p->state, &ctx, sizeof(ctx));
}

void crypto_sha256_part_final(const struct crypto_sha256_part *p, uint8_t out[32])
{
    SHA256_CTX ctx;

    take(p, &ctx);
    ASSERT(SHA256_Final(out, &ctx) == 1);
}
