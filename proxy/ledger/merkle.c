/*
 * merkle.c - contract in consentd/merkle.h.
 */
#include "consentd/merkle.h"

#include <string.h>

#include "consentd/crypto.h"

void merkle_leaf(struct str entry, uint8_t out[32])
{
    struct crypto_hash h;

    crypto_sha256_init(&h);
    crypto_sha256_update(&h, "\0", 1);
    crypto_sha256_update(&h, entry.ptr, entry.len);
    crypto_sha256_final(&h, out);
}

void merkle_node(const uint8_t left[32], const uint8_t right[32], uint8_t out[32])
{
    uint8_t text[1 + 2 * MERKLE_HASH_LEN] = {1};

    memcpy(text + 1, left, MERKLE_HASH_LEN);
    memcpy(text + 1 + MERKLE_HASH_LEN, right, MERKLE_HASH_LEN);
    crypto_sha256(text, sizeof(text), out);
}

void merkle_append(struct merkle_frontier *f, const uint8_t leaf_hash[32])
{
    uint8_t hash[MERKLE_HASH_LEN];
    unsigned level = 0;

    memcpy(hash, leaf_hash, sizeof(hash));
    for (; (f->size >> level & 1) != 0; level++)
        merkle_node(f->hash[level], hash, hash);
    memcpy(f->hash[level], hash, sizeof(hash));
    f->size++;
}

void merkle_root(const struct merkle_frontier *f, uint8_t out[32])
{
    bool first = true;

    if (f->size == 0)
        crypto_sha256("", 0, out);
    for (unsigned level = 0; level < MERKLE_LEVELS; level++) {
        if ((f->size >> level & 1) == 0)
            continue;
        if (first)
            memcpy(out, f->hash[level], MERKLE_HASH_LEN);
        else
            merkle_node(f->hash[level], out, out);
        first = false;
    }
}

/* --- proofs ------------------------------------------------------------------------ */

struct prover {
    merkle_fetch_fn fetch;
    void *arg;
    struct merkle_proof *proof;
};

/* The largest power of two below n (n > 1), as its exponent. */
static unsigned split_level(uint64_t n)
{
    return 63u - (unsigned)__builtin_clzll(n - 1);
}

/* The root of leaves [start, start + n): start is a multiple of the power of two above n. */
static bool range_hash(const struct prover *p, uint64_t start, uint64_t n, uint8_t out[32])
{
    uint8_t left[MERKLE_HASH_LEN], right[MERKLE_HASH_LEN];
    unsigned level;

    if ((n & (n - 1)) == 0) {
        level = (unsigned)__builtin_ctzll(n);
        return p->fetch(p->arg, level, start >> level, out);
    }
    level = split_level(n);
    if (!p->fetch(p->arg, level, start >> level, left) ||
        !range_hash(p, start + (UINT64_C(1) << level), n - (UINT64_C(1) << level), right))
        return false;
    merkle_node(left, right, out);
    return true;
}

static bool add_range(const struct prover *p, uint64_t start, uint64_t n)
{
    return p->proof->cnt < MERKLE_PROOF_MAX &&
           range_hash(p, start, n, p->proof->hash[p->proof->cnt++]);
}

bool merkle_root_at(uint64_t size, merkle_fetch_fn fetch, void *arg, uint8_t out[32])
{
    const struct prover p = {fetch, arg, NULL};

    return size > 0 && range_hash(&p, 0, size, out);
}

/* PATH(m, D[n]) of RFC 6962 2.1.1. */
static bool add_path(const struct prover *p, uint64_t m, uint64_t start, uint64_t n)
{
    uint64_t half;

    if (n == 1)
        return true;
    half = UINT64_C(1) << split_level(n);
    if (m < half)
        return add_path(p, m, start, half) && add_range(p, start + half, n - half);
    return add_path(p, m - half, start + half, n - half) && add_range(p, start, half);
}

bool merkle_prove(uint64_t leaf, uint64_t size, merkle_fetch_fn fetch, void *arg,
                  struct merkle_proof *out)
{
    const struct prover p = {fetch, arg, out};

    out->cnt = 0;
    return leaf < size && add_path(&p, leaf, 0, size);
}

/* SUBPROOF(m, D[n], b) of RFC 6962 2.1.2; known: the verifier has this subtree's root. */
static bool add_subproof(const struct prover *p, uint64_t m, uint64_t start, uint64_t n, bool known)
{
    uint64_t half;

    if (m == n)
        return known || add_range(p, start, n);
    half = UINT64_C(1) << split_level(n);
    if (m <= half)
        return add_subproof(p, m, start, half, known) && add_range(p, start + half, n - half);
    return add_subproof(p, m - half, start + half, n - half, false) && add_range(p, start, half);
}

bool merkle_prove_consistency(uint64_t old, uint64_t size, merkle_fetch_fn fetch, void *arg,
                              struct merkle_proof *out)
{
    const struct prover p = {fetch, arg, out};

    out->cnt = 0;
    return old > 0 && old <= size && add_subproof(&p, old, 0, size, true);
}

/* --- verification ------------------------------------------------------------------ */

bool merkle_check(const uint8_t leaf_hash[32], uint64_t leaf, uint64_t size,
                  const struct merkle_proof *proof, const uint8_t root[32])
{
    uint64_t fn = leaf, sn = size - 1;
    uint8_t r[MERKLE_HASH_LEN];

    if (leaf >= size || proof->cnt > MERKLE_PROOF_MAX)
        return false;
    memcpy(r, leaf_hash, sizeof(r));
    for (unsigned i = 0; i < proof->cnt; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            merkle_node(proof->hash[i], r, r);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            merkle_node(r, proof->hash[i], r);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(r, root, sizeof(r)) == 0;
}

/* The two roots that a consistency proof leads to, begun with its first hash. */
static bool fold(uint64_t fn, uint64_t sn, const struct merkle_proof *proof, unsigned from,
                 uint8_t roots[2][32])
{
    for (unsigned i = from; i < proof->cnt; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            merkle_node(proof->hash[i], roots[0], roots[0]);
            merkle_node(proof->hash[i], roots[1], roots[1]);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            merkle_node(roots[1], proof->hash[i], roots[1]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0;
}

bool merkle_check_consistency(const struct merkle_tree *old, const struct merkle_tree *now,
                              const struct merkle_proof *proof)
{
    uint64_t fn = old->size - 1, sn = now->size - 1;
    uint8_t roots[2][MERKLE_HASH_LEN];
    bool power = (old->size & (old->size - 1)) == 0;

    if (old->size == 0 || old->size > now->size || proof->cnt > MERKLE_PROOF_MAX)
        return false;
    if (old->size == now->size)
        return proof->cnt == 0 && memcmp(old->root, now->root, sizeof(old->root)) == 0;
    if (!power && proof->cnt == 0)
        return false;
    while ((fn & 1) != 0) {
        fn >>= 1;
        sn >>= 1;
    }
    memcpy(roots[0], power ? old->root : proof->hash[0], sizeof(roots[0]));
    memcpy(roots[1], roots[0], sizeof(roots[1]));
    return fold(fn, sn, proof, power ? 0 : 1, roots) &&
           memcmp(roots[0], old->root, sizeof(old->root)) == 0 &&
           memcmp(roots[1], now->root, sizeof(now->root)) == 0;
}
