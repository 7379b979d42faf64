/*
 * merkle.h - RFC 6962 trees: appending, roots, proofs and their verification. layer: ledger
 *
 *   leaf = SHA-256(0x00 || entry)      node = SHA-256(0x01 || left || right)
 *
 * A tree only grows at its right side, so that its frontier, one hash per bit of its size, is
 * enough to append to it. Proofs are made from hashes of complete subtrees, which the caller
 * fetches from wherever they are stored; a subtree of level l has 2^l leaves, and number i of
 * its level begins at leaf i * 2^l.
 *
 * Pure: no I/O but the caller's fetch, no globals. Sizes are numbers of leaves, below 2^63.
 */
#ifndef CONSENTD_MERKLE_H
#define CONSENTD_MERKLE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

#define MERKLE_HASH_LEN  32
#define MERKLE_LEVELS    64
#define MERKLE_PROOF_MAX 64 /* hashes of one proof */

void merkle_leaf(struct str entry, uint8_t out[32]);
void merkle_node(const uint8_t left[32], const uint8_t right[32], uint8_t out[32]);

/* The right side of a tree. Zeroed: the empty tree. */
struct merkle_frontier {
    uint64_t size;
    uint8_t hash[MERKLE_LEVELS][MERKLE_HASH_LEN]; /* [k] counts when bit k of size is set */
};

/* One more leaf, given as its hash. */
void merkle_append(struct merkle_frontier *f, const uint8_t leaf_hash[32]);

/* RFC 6962 2.1; of the empty tree: SHA-256 of nothing. */
void merkle_root(const struct merkle_frontier *f, uint8_t out[32]);

/* The hash of a complete subtree; false: it cannot be had. */
typedef bool (*merkle_fetch_fn)(void *arg, unsigned level, uint64_t index, uint8_t out[32]);

struct merkle_proof {
    unsigned cnt;
    uint8_t hash[MERKLE_PROOF_MAX][MERKLE_HASH_LEN]; /* in the order of RFC 6962 2.1.1, 2.1.2 */
};

/* The root of the first `size` leaves, from complete subtrees. size > 0. */
MUST_USE bool merkle_root_at(uint64_t size, merkle_fetch_fn fetch, void *arg, uint8_t out[32]);

/* That leaf number `leaf` is in the tree of `size` leaves. False also when leaf >= size. */
MUST_USE bool merkle_prove(uint64_t leaf, uint64_t size, merkle_fetch_fn fetch, void *arg,
                           struct merkle_proof *out);

/* That the tree of `size` leaves begins with that of `old` leaves. 0 < old <= size. */
MUST_USE bool merkle_prove_consistency(uint64_t old, uint64_t size, merkle_fetch_fn fetch,
                                       void *arg, struct merkle_proof *out);

/* RFC 9162 2.1.3.2: true exactly for what merkle_prove makes. */
MUST_USE bool merkle_check(const uint8_t leaf_hash[32], uint64_t leaf, uint64_t size,
                           const struct merkle_proof *proof, const uint8_t root[32]);

/* A tree and its root. */
struct merkle_tree {
    uint64_t size;
    uint8_t root[32];
};

/* RFC 9162 2.1.4.2. Two trees of one size are consistent when their roots are equal. */
MUST_USE bool merkle_check_consistency(const struct merkle_tree *old, const struct merkle_tree *now,
                                       const struct merkle_proof *proof);

#endif
