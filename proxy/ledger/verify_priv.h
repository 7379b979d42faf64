/*
 * verify_priv.h - what the parts of a verification share.
 *
 * Every part returns VERIFY_OK or, having named it, what is wrong.
 */
#ifndef LEDGER_VERIFY_PRIV_H
#define LEDGER_VERIFY_PRIV_H

#include "consentd/buf.h"
#include "consentd/erased.h"
#include "consentd/keks.h"
#include "consentd/named.h"
#include "consentd/record.h"
#include "consentd/tlog.h"
#include "consentd/verify.h"

#define VERIFY_CHECKPOINTS_MAX 4000000 /* kept ones that are read */
#define VERIFY_STEP            4096    /* records between two reports of progress */

/* A checkpoint that was stored, and where. */
struct verify_tree {
    struct merkle_tree tree;
    const char *where;
};

struct verify {
    const struct verify_config *cfg;
    struct verify_report *out;
    struct tlog_dir dir;
    struct verify_tree *trees; /* owned */
    size_t tree_cnt, tree_cap;
    uint64_t redis_size;  /* leaves of the newest checkpoint in Redis */
    uint64_t kept_size;   /* of the newest one here */
    uint64_t before_size; /* of the one before: it has had the time to get there */
    struct buf bundle;    /* of entries, the last one that was read */
    uint64_t bundle_number;
    uint64_t redis_first; /* leaf that the walk of Redis began with; UINT64_MAX: none */
    struct named *named;  /* owned; what is missing, and what names it */
    bool journal_gap;     /* a range of the journal can't be read: named in out */
};

/* A record as one of the stores has it. */
struct verify_record {
    uint8_t node;
    uint64_t leaf, ts_ms;
    uint32_t month;
    const uint8_t *r;
    struct str sealed;
    bool is_envelope; /* sealed is what Redis keeps */
};

enum verify_opened { VERIFY_TEXT = 0, VERIFY_ERASED, VERIFY_KEYLESS };

/* Names what is wrong and returns status. */
int verify_say(struct verify *v, enum verify_status status, const char *what, const char *why);
int verify_say_leaf(struct verify *v, enum verify_status status, uint64_t leaf, const char *why);

void verify_progress(const struct verify *v, const char *what, uint64_t done, uint64_t all);
bool verify_wants(const struct verify *v, uint64_t ts_ms); /* in [from, to) */

/* Entry number `leaf` of the signed log; leaves are asked for in order. */
bool verify_entry(struct verify *v, uint64_t leaf, uint8_t cmt[32], struct fault *f);

/* verify_log.c */
int verify_note(struct verify *v, const char *where, struct str note);
int verify_checkpoints(struct verify *v);
int verify_log(struct verify *v);
int verify_carried(struct verify *v); /* into the log that took over */

/* verify_record.c */
struct verify_text {
    enum verify_opened opened;
    enum record_kind kind;
    size_t len; /* of J */
    uint8_t json[RECORD_OPLOG_MAX];
    struct record_view view;
    uint8_t cmt[32];
};

/* Opens, compares with the log's entry, reads J strictly, notes what erase records name. */
int verify_record(struct verify *v, const struct verify_record *rec, struct verify_text *text);
int verify_journal(struct verify *v);

/* verify_redis.c */
struct verify_redis;
int verify_redis_open(struct verify *v, struct verify_redis **out);
void verify_redis_close(struct verify_redis *r);
int verify_redis_notes(struct verify_redis *r); /* its checkpoints */
int verify_redis(struct verify_redis *r);

#endif
