/*
 * verify_earlier.h - a log that ended (restarts.h), verified in steps: by what is left of it, and
 * by the log of today, which took over its entries.
 *
 * Its entries lead to the root that it signed last, and are the same in the log of today: a leaf
 * that was signed and is another one there was lost.
 */
#ifndef ADMIN_VERIFY_EARLIER_H
#define ADMIN_VERIFY_EARLIER_H

#include "consentd/buf.h"
#include "consentd/json.h"
#include "consentd/merkle.h"
#include "consentd/note.h"
#include "consentd/tlog.h"

enum verify_result { VERIFY_RUNNING = 0, VERIFY_FINE, VERIFY_CHANGED, VERIFY_LACKING };

/* "running", "ok", "tampered", "incomplete". */
const char *verify_result_name(enum verify_result result);

/* The worse of two: something was changed, something is lacking, fine. */
enum verify_result verify_worse(enum verify_result a, enum verify_result b);

struct verify_earlier {
    uint8_t node;
    uint64_t ended_ms, next_leaf; /* when it ended, and the leaf that the next one went on from */
    enum verify_result result;
    char what[FAULT_TEXT_MAX]; /* unless it is fine */
    char origin[NOTE_NAME_MAX + 1];
    char *path; /* owned */
    struct tlog_dir dir;
    struct merkle_tree tree;
    struct merkle_frontier frontier;
    uint64_t next;                /* the leaf that is looked at next */
    uint64_t carried, first_lost; /* leaves that are the same today; UINT64_MAX: all are */
};

/* Takes over path. Keys: of its origin. What can't be believed is lacking at once. */
void verify_earlier_begin(struct verify_earlier *e, char *path, const struct note_key *keys,
                          unsigned key_cnt);

/* 256 leaves more, against the log of today. */
void verify_earlier_step(struct verify_earlier *e, const struct tlog_dir *today);

/* As the API has it. */
json_t *verify_earlier_json(const struct verify_earlier *e);

void verify_earlier_free(struct verify_earlier *e);

#endif
