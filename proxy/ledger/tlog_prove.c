/*
 * tlog_prove.c - a proof on paper for one leaf of a published log (contract in consentd/tlog.h).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "consentd/b64.h"
#include "consentd/mem.h"
#include "consentd/tlog.h"

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
    ok = tlog_checkpoint(log->path, log->keys, log->key_cnt, &checkpoint, &tree, f);
    if (ok && leaf >= tree.size) {
        fault_set(f, "leaf %" PRIu64 " is not signed: the newest checkpoint has %" PRIu64 " leaves",
                  leaf, tree.size);
        ok = false;
    }
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
