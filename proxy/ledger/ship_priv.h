/*
 * ship_priv.h - the shipper's script and how its arguments are made.
 */
#ifndef LEDGER_SHIP_PRIV_H
#define LEDGER_SHIP_PRIV_H

#include "consentd/buf.h"
#include "consentd/journal.h"
#include "consentd/notices.h"
#include "consentd/record.h"
#include "consentd/redis.h"
#include "consentd/ship.h"
#include "consentd/timer.h"

/* The Lua text; its contract is its head comment. */
extern const char ship_script[];

#define SHIP_KEYS_HEAD     5    /* own hw ev gap st */
#define SHIP_ARGS_HEAD     6    /* own base fresh gapfrom records buckets */
#define SHIP_ARGS_EACH     4    /* of a record: id envelope tag ref */
#define SHIP_BUCKETS_MAX   4    /* of secrets: a hundred leaves each */
#define SHIP_COUNTERS_MAX  1024 /* different counters of one call */
#define SHIP_COUNTERS_EACH 128  /* of one record: 15 purposes in four groups, and what else */
#define SHIP_SLOTS         2048 /* for finding a counter by its name; a power of two */
#define SHIP_ARGC_MAX                                                                              \
    (3 + SHIP_KEYS_HEAD + SHIP_ARGS_HEAD + SHIP_BUCKETS_MAX * 2 + 2 * SHIP_COUNTERS_MAX +          \
     SHIP_BATCH_RECORDS * (1 + SHIP_ARGS_EACH + 2))
#define SHIP_KEY_MAX     320  /* bytes of a key */
#define SHIP_COUNTER_MAX 8192 /* bytes of the names of one record's counters */

/* Bytes in apply.text. */
struct apply_span {
    size_t off, len;
};

/* A counter and by how much the call raises it. */
struct apply_counter {
    struct apply_span name;
    uint64_t delta;
};

/* One EVALSHA being put together; spans point into text until it is finished. */
struct apply {
    struct buf text; /* everything that had to be formatted or copied */
    struct apply_span sx[SHIP_BATCH_RECORDS];
    struct apply_span recs[SHIP_BATCH_RECORDS][SHIP_ARGS_EACH];
    struct apply_span secrets[SHIP_BATCH_RECORDS][2]; /* field, r */
    struct apply_counter counters[SHIP_COUNTERS_MAX];
    uint16_t slots[SHIP_SLOTS]; /* open addressing by the name's hash: 1 + counter; 0: free */
    uint8_t slot_key[16];       /* of that hash: nobody outside chooses names that collide */
    struct {
        uint64_t number; /* leaf / 100 */
        unsigned cnt;    /* secrets in it */
    } buckets[SHIP_BUCKETS_MAX];
    unsigned records, secret_cnt, bucket_cnt, counter_cnt;
    uint32_t month;
    uint64_t day;         /* since 1970: counters are by day */
    uint64_t first, last; /* leaves */
    size_t sealed_bytes;
    struct str *argv; /* while it is finished */
    size_t argc;
};

/* What is the same for every record of a log. */
struct apply_log {
    const char *site;
    uint8_t node;
    const struct keks *keks;
    const char *own;             /* value of the owner key */
    const struct erased *erased; /* NULL: none */
};

/*
 * The counters that an event is counted in, a name per line; by day in T:st. The shipper adds them,
 * verification counts them again.
 */
void ship_counters(const struct record_view *v, struct buf *out);
#define SHIP_COUNTER_OPERATOR "operator"

/* The key suffixes of a leaf's secret, a subject's bucket, a day's counters. */
#define SHIP_SUFFIX_MAX 40
void ship_suffix_rk(char out[SHIP_SUFFIX_MAX], uint64_t leaf);
void ship_suffix_sx(char out[SHIP_SUFFIX_MAX], const uint8_t sub_tag[16]);
void ship_suffix_st(char out[SHIP_SUFFIX_MAX], uint64_t ts_ms);

/* The key T:suffix of a month. */
void ship_key(char out[SHIP_KEY_MAX], const struct apply_log *log, uint32_t month,
              const char *suffix);

/* --- ship_info.c --- */
struct ship_facts {
    bool loading, master;
    bool aof, persistent; /* there is an append-only file; what Redis has is in it */
    struct str policy, run_id;
    uint64_t time_ms; /* Redis' clock; 0: not told */
};
void ship_facts_read(struct str info, struct ship_facts *out); /* texts are slices of info */

/* --- ship_erase.c --- */
typedef void (*eraser_looked_fn)(void *owner, struct erasure *x, const struct erased_ref *refs,
                                 size_t cnt);
struct eraser_ops {
    eraser_looked_fn on_looked;
    /* As in ship_ops. */
    bool (*on_month)(void *owner, uint32_t month, const uint64_t *hw);
};
struct eraser;
struct eraser *eraser_new(struct rlink *link, const struct apply_log *log, struct erased *list,
                          const struct eraser_ops *ops, void *owner);
void eraser_free(struct eraser *e);         /* NULL is fine */
void eraser_up(struct eraser *e, bool aof); /* Redis can be written: everything again */
void eraser_down(struct eraser *e);         /* the link is gone */
void eraser_kick(struct eraser *e);         /* the list changed */
void eraser_run(struct eraser *e);          /* goes on where it stopped; every second */

/* --- ship_keep.c --- */
struct keeper;
struct keeper *keeper_new(struct rlink *link, const struct notices *notices,
                          const struct suppressed *left);
void keeper_free(struct keeper *k); /* NULL is fine */
void keeper_up(struct keeper *k);   /* Redis can be written: everything again */
void keeper_down(struct keeper *k); /* the link is gone */
void keeper_run(struct keeper *k);  /* goes on where it stopped */

/* Tells that a document was not what its hash says, and was written again. */
void notice_mended(const uint8_t hash[32], const char *source);

/* --- ship_shown.c --- */
struct shower;
struct shown_entry;
struct shower *shower_new(struct rlink *link, const struct apply_log *log);
void shower_free(struct shower *w); /* NULL is fine */
void shower_up(struct shower *w);   /* Redis can be written: everything again */
void shower_down(struct shower *w); /* the link is gone */
void shower_run(struct shower *w);  /* goes on where it stopped */
void shower_add(struct shower *w, const struct shown_entry *entries, size_t cnt, uint64_t wall_ms);

/* --- the shipper ------------------------------------------------------------------- */

#define SHIP_WINDOW    2 /* calls in flight: Redis works on one while the next is on its way */
#define SHIP_ERROR_MAX 200

enum ship_step {
    STEP_DOWN = 0, /* the link is down */
    STEP_INFO,     /* asked who it is */
    STEP_MARKS,    /* asked for the high-water marks */
    STEP_OWN,      /* took, or is taking, the log */
    STEP_LOAD,     /* loads the script */
    STEP_RUN,      /* applies, or waits for records */
};

/* A month of the journal and what Redis has of it. */
struct mark {
    struct ship *ship;
    uint32_t month;
    bool there;
    uint64_t hw;
};

/* A call that waits for its answer. */
struct ship_call {
    uint64_t last, gap; /* its last leaf; batch_gap before it */
    uint64_t first_ts;  /* of its first record */
    uint32_t month;
    unsigned round;
};

struct ship {
    struct apply_log log; /* its texts are owned here */
    char *site, *dir;
    char own[SHIP_WRITER_LEN + 1 + 16 + 1]; /* machine ":" random: this process as the writer */
    struct journal *journal;
    struct ship_ops ops;
    void *owner;
    struct rlink *link;        /* owned */
    struct eraser *eraser;     /* owned; NULL: nothing is ever erased */
    struct keeper *keeper;     /* owned; NULL: no notice documents */
    struct shower *shower;     /* owned */
    struct journal_reader *rd; /* owned; NULL until the first read */
    struct timer beat;
    enum ship_step step;
    bool claimed; /* this process took the log before */
    bool ours;    /* the owner that Redis names is this machine */
    bool blocked; /* since the last success something stood in the way */
    bool caught_up, persistent, aof, clock_off;
    bool seek;            /* the reader is not at `next` */
    bool rewrite;         /* Redis was restarted: rewrite its AOF once caught up */
    unsigned beats, gaps; /* gaps: GAP answers in a row */
    uint64_t leaf;        /* the next one to apply */
    uint64_t next;        /* the next one to send */
    uint64_t oldest_ts;   /* of the record at `leaf`, when it was read; else 0 */
    uint64_t first_ts;    /* of the call being put together */
    uint32_t month;       /* of the last record applied; 0: see the marks */
    uint32_t next_month;  /* of the last record sent */
    uint64_t gap_from, gap_to, batch_gap;
    struct mark marks[SHIP_MONTHS_MAX];
    unsigned mark_cnt, mark_answers;
    struct buf note;    /* the newest checkpoint */
    uint64_t note_size; /* its leaves */
    uint8_t note_node;  /* whose log it is */
    bool note_due;      /* goes to Redis once that has them */
    char run_id[48], sha[48];
    char error[SHIP_ERROR_MAX];
    struct ship_call calls[SHIP_WINDOW]; /* oldest first */
    unsigned call_cnt, round;            /* answers to calls of an earlier round count no more */
    struct apply apply;
    struct str argv[SHIP_ARGC_MAX];
};

/* --- ship.c, for ship_run.c --- */
void ship_ask_info(struct ship *s); /* begins anew: compares, claims, goes on */
void ship_load_script(struct ship *s);
bool ship_send(struct ship *s, const struct str *argv, size_t argc, rlink_fn fn);
/* Something Redis says stands in the way: noted, and tried again over a new connection. */
void ship_stand_back(struct ship *s, const char *what, struct str text);
void ship_run_id_path(const struct ship *s, char *out, size_t room);

/* --- ship_run.c --- */
void ship_pump(struct ship *s);       /* sends what there is, as far as the window allows */
void ship_from(struct ship *s);       /* the next call begins at s->leaf */
void ship_calls_lost(struct ship *s); /* the link is gone, and the answers with it */

/* Starts over. */
void apply_begin(struct apply *a);

/* Adds a record; false when it belongs to another call (month, day, limits). Copies. */
bool apply_add(struct apply *a, const struct apply_log *log, const struct journal_record *rec);

/*
 * Puts the head in front and returns the arguments: EVALSHA sha …; `fresh`: the month
 * has no high-water mark yet; gap_from: first of the lost leaves right before a->first,
 * or a->first when none is lost.
 */
size_t apply_finish(struct apply *a, const struct apply_log *log, const char *sha, bool fresh,
                    uint64_t gap_from, struct str argv[SHIP_ARGC_MAX]);

#endif
