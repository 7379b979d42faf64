/*
 * tlog_priv.h - what the writer and the reader of the log share. layer: ledger
 */
#ifndef CONSENTD_TLOG_PRIV_H
#define CONSENTD_TLOG_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"
#include "consentd/tlog.h"

/* The root over cnt hashes, one behind the other; cnt is a power of two up to 256. */
void tlog_fold(const uint8_t *hashes, unsigned cnt, uint8_t out[32]);

/* The cosigned checkpoint if it has this leaf, else the newest one, which must. */
MUST_USE bool tlog_checkpoint_with(const struct tlog_public *log, uint64_t leaf,
                                   struct buf *text_out, struct merkle_tree *out, struct fault *f);

/* Adds a signed checkpoint to those that are kept, durably. What a crash left unfinished goes. */
MUST_USE bool tlog_keep(const char *dir, struct str note, struct fault *f);

/* --- tlog_files.c --- */
#define TLOG_FILES_MAX 128 /* files that wait for a sync of their own */

/* Files that have their names and are not durable yet. */
struct tlog_files {
    int fds[TLOG_FILES_MAX];
    unsigned cnt;
    bool many; /* there were more: the file system is synced as a whole */
};

/* Old or new content at every moment of a running system; durable after tlog_files_settle. */
MUST_USE bool tlog_files_write(struct tlog_files *files, const char *path, struct str bytes,
                               struct fault *f);

/* Makes all of them durable; blocks. False: some may be lost with the next power failure. */
MUST_USE bool tlog_files_settle(struct tlog_files *files, const char *dir, struct fault *f);

void tlog_files_close(struct tlog_files *files); /* without a sync */

/* --- tlog_cosigned.c --- */

/* DIR/checkpoint.cosigned: as it was written last, and as it becomes. */
struct tlog_cosigned {
    struct buf note; /* of the round; empty: nobody has signed yet */
    uint64_t size;
    unsigned cnt; /* cosignatures */
    uint64_t written_size;
    unsigned written_cnt;
};

/* What is there, if one of the keys has signed it. */
void tlog_cosigned_load(struct tlog_cosigned *c, const char *dir, const struct note_key *keys,
                        unsigned key_cnt);
void tlog_cosigned_free(struct tlog_cosigned *c);

MUST_USE bool tlog_cosigned_add(struct tlog_cosigned *c, const char *dir,
                                const struct tlog_cosignature *by, struct fault *f);

/* Writes it, unless it is there as it is. */
MUST_USE bool tlog_cosigned_write(struct tlog_cosigned *c, const char *dir, struct fault *f);

/* Removes the partial tiles of a tile that is full. */
void tlog_drop_partial(const char *path);

#endif
