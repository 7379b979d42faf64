/*
 * tlog.h - the log as files: tiles, entries, the signed checkpoint (C2SP tlog-tiles). layer: ledger
 *
 *   DIR/checkpoint                   the newest signed tree
 *   DIR/checkpoint.cosigned          the newest one that all witnesses were asked about, with what
 *                                    they signed: behind the newest by as long as they need
 *   DIR/checkpoints[.old]            every one that was signed, oldest first (not served)
 *   DIR/rebuilding                   tiles that the checkpoint covers are being written again
 *   DIR/tile/<L>/<N>[.p/<W>]         256 (or W) hashes of level 8 * L
 *   DIR/tile/entries/<N>[.p/<W>]     the entries of tile 0/N: u16 length (32), commitment
 *
 * <N> in groups of three digits, all but the last with an x: 1234067 is x001/x234/067. Nothing in
 * here is personal data; all of it may be published. A full tile never changes. Partial ones
 * belong to the checkpoint that they were written for and go when the full one is there.
 *
 * The writer is the ledger's: it never signs a tree that does not continue the last signed one.
 * All tiles are synced before the checkpoint is written that covers them, so that what a checkpoint
 * says is always there; what lies behind the checkpoint is written again after a crash.
 */
#ifndef CONSENTD_TLOG_H
#define CONSENTD_TLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/merkle.h"
#include "consentd/note.h"

#define TLOG_TILE_WIDTH 256                                 /* hashes of a full tile */
#define TLOG_TILE_LEN   (TLOG_TILE_WIDTH * MERKLE_HASH_LEN) /* its bytes */
#define TLOG_ENTRY_LEN  34                                  /* bytes of an entry in a bundle */
#define TLOG_BUNDLE_LEN (TLOG_TILE_WIDTH * TLOG_ENTRY_LEN)
#define TLOG_ENTRIES    8 /* as a level in paths: the bundles of entries */
#define TLOG_PATH_MAX   128

/* "tile/0/x001/234.p/5" below DIR; width TLOG_TILE_WIDTH: full. Returns its length. */
size_t tlog_path(char out[TLOG_PATH_MAX], unsigned level, uint64_t index, unsigned width);

/* True for the names of the two checkpoints and for the paths that tlog_path makes: nothing else is
 * ever served. */
bool tlog_path_ok(struct str path);

/* --- reading --- */

struct tlog_dir {
    const char *path;
    uint64_t size; /* leaves of the checkpoint that is believed */
};

/* A merkle_fetch_fn; arg is a struct tlog_dir. */
bool tlog_fetch(void *arg, unsigned level, uint64_t index, uint8_t out[32]);

/* The file of a tile or bundle of a log of dir->size leaves, appended. False: missing, or its
 * length is wrong. */
MUST_USE bool tlog_read(const struct tlog_dir *dir, unsigned level, uint64_t index, struct buf *out,
                        struct fault *f);

/*
 * Leaf hashes of bundle `number`: how many there are, 0 where nothing can be read.
 * Of its entries, or of its tile where those are gone (*whole_out false; NULL is fine).
 */
unsigned tlog_leaf_hashes(const struct tlog_dir *dir, uint64_t number, uint8_t out[TLOG_TILE_LEN],
                          bool *whole_out);

/* Entry number `leaf`. */
MUST_USE bool tlog_entry(const struct tlog_dir *dir, uint64_t leaf, uint8_t cmt_out[32],
                         struct fault *f);

/* DIR/checkpoint, verified against any of the keys; its text is appended. */
MUST_USE bool tlog_checkpoint(const char *path, const struct note_key *keys, unsigned key_cnt,
                              struct buf *text_out, struct merkle_tree *out, struct fault *f);

#define TLOG_COSIGNED "checkpoint.cosigned"
#define TLOG_KEPT     "checkpoints"
#define TLOG_KEPT_MAX (16u << 20) /* bytes of one of its two files */

/* One checkpoint that was kept: `file` is its file's name; false ends the walk. */
typedef bool (*tlog_kept_fn)(void *arg, const char *file, struct str note);

/* Walks what was kept, oldest first. False: a file can't be read, or holds something else. */
MUST_USE bool tlog_kept(const char *dir, tlog_kept_fn fn, void *arg, struct fault *f);

/*
 * Appends the proof (note.h) that a leaf is in the tree of the newest cosigned checkpoint that has
 * it, else of the newest one. extra: bytes for the verifier, r || J where the record is disclosed.
 * False with the reason: not signed yet, a tile is missing.
 */
struct tlog_public {
    const char *path;            /* DIR */
    const struct note_key *keys; /* whose checkpoints are believed */
    unsigned key_cnt;
};
MUST_USE bool tlog_prove(const struct tlog_public *log, uint64_t leaf, struct str extra,
                         struct buf *out, struct fault *f);

/*
 * Whether a proof on paper holds, with nothing but the log's public key. It is about the record
 * that it discloses (in its canonical form, else it could be read in more than one way), or about
 * `commitment`, 32 bytes; about both when there are both. False with the reason.
 */
struct tlog_shown {
    uint64_t index;
    struct merkle_tree tree; /* of the checkpoint */
    struct str json;         /* J, a slice of extra; empty: none is disclosed */
};
MUST_USE bool tlog_check(const struct note_key *key, struct str proof, const uint8_t *commitment,
                         struct buf *extra, struct tlog_shown *out, struct fault *f);

/* --- writing --- */

struct tlog;

struct tlog_config {
    const char *path;            /* DIR; made if missing */
    const struct note_key *keys; /* the first signs; the others' checkpoints are believed */
    unsigned key_cnt;
    const uint8_t *seed;        /* 32 bytes, of the first; copied */
    bool rebuild;               /* tiles are missing: begin at leaf 0 and write all of them again */
    struct merkle_tree kept[2]; /* signed too, and known from elsewhere; size 0: none */
};

/*
 * Takes up a log where its last checkpoint and tiles end, at most 255 leaves before the
 * checkpoint: the caller adds from tlog_size() on. NULL with the reason: a checkpoint that
 * can't be believed, a tile that is missing.
 */
MUST_USE struct tlog *tlog_open(const struct tlog_config *cfg, struct fault *f);
void tlog_free(struct tlog *t); /* NULL is fine */

/* Adds the entries that are known here, below `until` and up to the checkpoint: the journal has not
 * got them. */
MUST_USE bool tlog_add_known(struct tlog *t, uint64_t until, struct fault *f);

/*
 * Leaf number `leaf`, which must be the next one. False with the reason: it is not, a file can't
 * be written, or the tree contradicts the last checkpoint. The log is then never signed again.
 */
MUST_USE bool tlog_add(struct tlog *t, uint64_t leaf, const uint8_t cmt[32], struct fault *f);

bool tlog_is_broken(const struct tlog *t);  /* signs nothing more: to be opened again */
uint64_t tlog_size(const struct tlog *t);   /* leaves */
uint64_t tlog_signed(const struct tlog *t); /* leaves of the last checkpoint */

/* The newest checkpoint as it was signed; empty: none. Valid until the next tlog_publish. */
struct str tlog_note(const struct tlog *t);

/* What a witness has put under a checkpoint of this log. */
struct tlog_cosignature {
    uint64_t size;
    struct str note; /* the checkpoint that it was shown */
    const struct note_key *witness;
    struct str line; /* verified */
};

/*
 * Puts it under the newest checkpoint, if that is the one, and under the cosigned one, which is
 * written as soon as it has as many as the one before. False: a file can't be written.
 */
MUST_USE bool tlog_cosign(struct tlog *t, const struct tlog_cosignature *by, struct fault *f);

/* The checkpoint of `size` leaves gets no more: it is written with those that it has. */
MUST_USE bool tlog_cosigned(struct tlog *t, uint64_t size, struct fault *f);

/*
 * Signs what was added since; nothing to do is fine. Blocks for a sync. False with the reason: a
 * file can't be written, or made durable; in the latter case this log signs nothing more and has to
 * be opened again, which writes the tiles behind the last checkpoint anew.
 */
MUST_USE bool tlog_publish(struct tlog *t, struct fault *f);

#endif
