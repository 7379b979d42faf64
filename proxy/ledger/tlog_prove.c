/*
 * tlog_prove.c - proofs on paper for one leaf of a published log: made, and checked (contract in
 * consentd/tlog.h).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "consentd/tlog.h"
#include "tlog_priv.h"

bool tlog_prove(const struct tlog_public *log, uint64_t leaf, struct str extra, struct buf *out,
                struct fault *f)
{
    struct tlog_proof proof = {.index = leaf};
    struct tlog_dir dir = {.path = log->path};
    struct merkle_tree tree;
    struct buf checkpoint;
    char *text = mem_alloc(B64_PADDED_LEN(extra.len) + 1);
    bool ok;

    buf_init(&checkpoint, NOTE_CHECKPOINT_MAX);
    ok = tlog_checkpoint_with(log, leaf, &checkpoint, &tree, f);
    dir.size = ok ? tree.size : 0;
    if (extra.len > 0) {
        b64_encode(text, extra.ptr, extra.len);
        proof.extra = str_c(text);
    }
    proof.checkpoint = buf_str(&checkpoint);
    if (ok && (!merkle_prove(leaf, tree.size, tlog_fetch, &dir, &proof.path) ||
               !tlog_proof_print(&proof, out))) {
        fault_set(f, "%s: a tile is missing", log->path);
        ok = false;
    }
    free(text);
    buf_free(&checkpoint);
    return ok;
}

/* --- checking --------------------------------------------------------------------------------- */

/* r || J out of the extra line; the commitment to it. */
static bool disclosed(struct str text, struct buf *extra, struct str *json, uint8_t cmt[32],
                      struct fault *f)
{
    struct record_view view;

    if (!b64_decode(text, extra) || extra->len <= RECORD_HASH_LEN ||
        extra->len > RECORD_HASH_LEN + RECORD_OPLOG_MAX) {
        fault_set(f, "the proof's extra line is not r and a record in base64");
        return false;
    }
    *json = str_slice(buf_str(extra), RECORD_HASH_LEN, extra->len);
    if (record_read(*json, &view) == RECORD_UNKNOWN) {
        fault_set(f, "the disclosed record is not in its canonical form: it could be read in "
                     "more than one way");
        return false;
    }
    record_commit(extra->data, *json, cmt);
    return true;
}

/* The hash of the leaf that the proof is about. */
static bool leaf_of(const struct tlog_proof *proof, const uint8_t *commitment, struct buf *extra,
                    struct tlog_shown *out, uint8_t leaf[32], struct fault *f)
{
    uint8_t cmt[32];

    if (proof->extra.len == 0 && commitment == NULL) {
        fault_set(f, "the proof discloses no record: say which with --commitment");
        return false;
    }
    if (proof->extra.len == 0)
        memcpy(cmt, commitment, sizeof(cmt));
    else if (!disclosed(proof->extra, extra, &out->json, cmt, f))
        return false;
    if (commitment != NULL && memcmp(cmt, commitment, sizeof(cmt)) != 0) {
        fault_set(f, "the disclosed record is not the one of --commitment");
        return false;
    }
    record_leaf_hash(cmt, leaf);
    return true;
}

bool tlog_check(const struct note_key *key, struct str text, const uint8_t *commitment,
                struct buf *extra, struct tlog_shown *out, struct fault *f)
{
    struct tlog_proof proof;
    uint8_t leaf[32];

    *out = (struct tlog_shown){.index = 0};
    if (!tlog_proof_parse(text, &proof, f) ||
        !checkpoint_verify(key, proof.checkpoint, &out->tree, f) ||
        !leaf_of(&proof, commitment, extra, out, leaf, f))
        return false;
    out->index = proof.index;
    if (merkle_check(leaf, proof.index, out->tree.size, &proof.path, out->tree.root))
        return true;
    fault_set(f, "the record is not leaf %" PRIu64 " of the signed tree", proof.index);
    return false;
}
