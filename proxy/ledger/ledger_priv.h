/*
 * ledger_priv.h - the engine's state, shared by its life cycle (ledger.c) and its commits
 * (ledger_commit.c).
 */
#ifndef LEDGER_LEDGER_PRIV_H
#define LEDGER_LEDGER_PRIV_H

#include "consentd/buf.h"
#include "consentd/erased.h"
#include "consentd/journal.h"
#include "consentd/ledger.h"
#include "consentd/loop.h"
#include "consentd/restarts.h"
#include "consentd/timer.h"
#include "consentd/tlog.h"
#include "eids_priv.h"

struct asking;
struct suppressed;
struct noticing;

#define LEDGER_SELF UINT64_MAX /* as a peer: the ledger's own records */
#define TURN_ITEMS  1024       /* messages looked at per commit: records and repetitions */

/* A message waiting for its commit. */
struct item {
    uint64_t peer;
    bool operator_record;
    bool notice; /* a notice document of our own; operator_record is set too */
    size_t len;
    uint8_t *payload; /* owned */
};

/* A bounded queue, oldest first. */
struct item_queue {
    struct item *items; /* owned; max entries, a ring */
    unsigned max, head, cnt;
};

/* What waits for a commit; who sends a lot waits for itself. Zeroed: empty. */
struct lane;
struct fair_queue {
    struct lane *first; /* owned; whose turn it is, then the others */
    unsigned cnt, lanes;
};

/* Requests that are worked on one at a time. Each begins with its peer, a uint64_t. */
struct job_ring {
    void *jobs;  /* borrowed; max of them */
    size_t size; /* of one */
    unsigned max, head, cnt;
};

/* An answer of the batch being built. */
struct answer {
    uint64_t peer;
    struct ledger_ack ack;
    int record;      /* index in the batch; -1: none */
    bool repetition; /* of an event in this same batch: takes its values after the sync */
    bool narrows;
    bool leaves;      /* an unsubscription: noted in the list after the sync */
    struct item item; /* kept until the sync: a narrowing may have to be held */
    uint8_t eid[16];
    uint64_t choice;
};

struct ledger {
    struct loop *loop;
    struct ledger_ops ops;
    void *owner;
    char *site;                   /* owned */
    char *dir;                    /* owned; of the journal */
    char *state_dir;              /* owned; of the month keys */
    struct erasing *erasing;      /* owned; NULL: no erasures */
    struct suppressed *left;      /* owned; NULL: no list is kept of who left mailing lists */
    struct asking *asking;        /* owned */
    struct noticing *noticing;    /* owned; NULL: notice documents are not kept */
    uint8_t node;                 /* of the configuration: segments, seals, keys in Redis */
    uint8_t log_node;             /* of the log of today: origin, cookies, answers */
    struct log_restarts restarts; /* the logs before */
    uint8_t idx_key[32];
    bool other_index; /* the records here have tags of another key: nobody's are all found */
    bool index_noted; /* with other_index: so it is on disk that there are two keys' */
    uint64_t segment_size, retention_ms;
    struct journal *journal;   /* owned */
    struct tlog *log;          /* owned; NULL: not signed */
    struct sinks *sinks;       /* owned; NULL: nobody outside gets checkpoints */
    struct note_key *log_keys; /* owned; the first signs */
    unsigned log_key_cnt;
    bool log_wanted;         /* there is a key to sign with */
    bool log_again;          /* a file of it could not be written: tried every second */
    uint64_t log_rebuild_ms; /* monotonic: all its tiles are not written again before */
    uint8_t log_seed[32];
    struct keks *keks;       /* owned */
    struct ship *ship;       /* owned; NULL: the journal alone */
    struct eids *eids;       /* owned */
    struct rebuild *rebuild; /* owned; NULL: nothing is missing, or not yet looked for */
    uint8_t choice_key[16];
    struct fair_queue queue;
    struct item_queue held;
    struct deferred commit;      /* at the end of the turn */
    struct timer tick, gate;     /* every second; the wait for Redis at the start */
    bool ready;                  /* commits run */
    uint64_t signed_size;        /* leaves of the newest checkpoint found at the start; 0: none */
    struct merkle_tree kept;     /* of the newest outside the journal; size 0: none */
    struct merkle_tree recalled; /* of the newest in a file sink; size 0: none */
    enum journal_tail tail;      /* what recovery found */
    unsigned space;              /* 0: enough; 1: tight; 2: too little for grants */
    bool low_space;              /* the last of these */
    uint64_t missing;            /* leaves that were durable and are not in the journal */
    uint64_t tick_wall_ms, tick_mono_ms;
    uint64_t retry_ms, trim_ms; /* monotonic: not before */
    uint64_t recorded, duplicates, refused, unavailable;
    /* the batch being built */
    struct journal_record recs[JOURNAL_BATCH_RECORDS];
    struct answer answers[TURN_ITEMS];
    unsigned rec_cnt, answer_cnt;
    struct buf sealed; /* the sealed bytes of recs; reserved once, never moves */
    struct buf text;   /* one J */
};

bool item_push(struct item_queue *q, const struct item *item); /* false: full */
bool item_pop(struct item_queue *q, struct item *out);         /* false: empty */
void item_queue_free(struct item_queue *q);

/* ledger_queue.c */
bool fair_push(struct fair_queue *q, const struct item *item); /* false: the peer has its share */
bool fair_pop(struct fair_queue *q, struct item *out);         /* false: empty */
void fair_free(struct fair_queue *q);
bool jobs_have_room(const struct job_ring *r, uint64_t peer);
/* Puts a job of another peer first, if there is one. */
void jobs_take_turns(const struct job_ring *r, uint64_t served);

/* Commits one batch of what is held and queued; true when more is waiting. */
bool ledger_commit_batch(struct ledger *l, uint64_t wall_ms);

/* Records [from, to) were durable and can't be read any more: the alarm. */
void ledger_missing(struct ledger *l, uint64_t from, uint64_t to, const char *why);

/* Remembers the eids of the last minutes of the journal. */
void ledger_remember(struct ledger *l, const char *dir, uint64_t wall_ms);

/* ledger_erase.c */
bool ledger_erase_open(struct ledger *l, const struct ledger_config *cfg, struct fault *f);
void ledger_erase_close(struct ledger *l);
/* The answer to a record of its own. */
void ledger_erase_named(struct ledger *l, const struct ledger_ack *ack);
void ledger_erase_work(struct ledger *l); /* what is not done yet; every second */
bool ledger_erase_month(struct ledger *l, uint32_t month, const uint64_t *hw); /* ship_ops */
void ledger_erase_looked(struct ledger *l, struct erasure *x, const struct erased_ref *refs,
                         size_t cnt);
struct erased *ledger_erasures(struct ledger *l); /* the list, for the shipper */
bool ledger_is_gone(const struct ledger *l, const uint8_t subject[16]);

/* ledger_index.c: whether this is the key that the subjects' tags were always made with. */
MUST_USE bool ledger_index_check(struct ledger *l, struct fault *f);
/* Before something is recorded: with another key than earlier records, that is noted for good. */
void ledger_index_used(struct ledger *l);

/* ledger_ask.c */
bool ledger_ask_open(struct ledger *l, const struct ledger_config *cfg, struct fault *f);
void ledger_ask_close(struct ledger *l);

/* ledger_notice.c */
bool ledger_notice_open(struct ledger *l, const struct ledger_config *cfg, struct fault *f);
void ledger_notice_close(struct ledger *l);
void ledger_notice_work(struct ledger *l); /* what is not recorded yet; every second */
void ledger_notice_logged(struct ledger *l, const struct ledger_ack *ack);
/* A leaf of the journal that is a notice's: it gets no second one. */
void ledger_notice_seen(struct ledger *l, struct str json, uint64_t leaf, uint64_t ts_ms);
void ledger_enqueue_notice(struct ledger *l, struct str doc); /* ledger.c: becomes a leaf */
/* Everything that can be had back is there: messages are committed from now on. */
void ledger_ready(struct ledger *l);

/*
 * ledger_rebuild.c: takes leaves up to `to` from Redis; ends with ledger_ready. False: not now, or
 * too many.
 */
#define LEDGER_REBUILD_MAX 10000000 /* leaves; what Redis says to have beyond is not believed */
bool ledger_rebuild(struct ledger *l, uint64_t to);
void ledger_rebuild_close(struct ledger *l);

/* --- ledger_restart.c --- */
/* Ends the log and begins the next one, behind `size` leaves at least. False: not possible. */
MUST_USE bool ledger_restart(struct ledger *l, uint64_t size, const struct fault *why);
MUST_USE bool ledger_restart_names(struct ledger *l); /* keys and numbers of the log of today */
MUST_USE bool ledger_restart_read(struct ledger *l, struct fault *f); /* the logs before */
void ledger_restart_finish(const struct ledger *l);                   /* a folder's move */
MUST_USE bool ledger_restart_skip(struct ledger *l, struct fault *f); /* taken numbers */
/* ledger_recall.c: what file sinks know of today's log and of later ones. */
MUST_USE bool ledger_recall(struct ledger *l, const struct ledger_config *cfg, struct fault *f);
/* A copy of the newest checkpoint outside the journal's folder. */
void ledger_restart_keep(const struct ledger *l, struct str note);
MUST_USE bool ledger_restart_kept(const struct ledger *l, struct merkle_tree *out);

/* ledger_log.c: the Merkle log; what goes wrong with it is logged and ends its signing. */
MUST_USE bool ledger_log_peek(struct ledger *l, const struct ledger_config *cfg,
                              struct fault *f);                    /* what was signed */
void ledger_log_open(struct ledger *l);                            /* once ready */
MUST_USE bool ledger_log_begin(struct ledger *l, struct fault *f); /* a log with no checkpoint */
void ledger_log_behind(struct ledger *l, uint64_t size); /* another history goes on to `size` */
void ledger_log_batch(struct ledger *l);                 /* the batch that was synced just now */
void ledger_log_publish(struct ledger *l);
void ledger_log_serve(struct ledger *l); /* proofs for witnesses, and what they sign */

#endif
