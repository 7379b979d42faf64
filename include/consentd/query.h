/*
 * query.h - questions of auditors: filters, opaque cursors, rows; constant memory.
 *
 * The same question runs against Redis (asynchronous, for the admin process) and
 * against journal segments (synchronous, for consentctl --journal). Rows come one at a
 * time, newest or oldest first; a page ends after `limit` rows with a cursor that
 * continues behind the last row looked at. There is no total: counting would read all.
 *
 * A cursor is base64url(version, order, node, month, ts, leaf, hash of the filter): it works
 * only with the filter that made it, and a forged one can only start somewhere else.
 */
#ifndef CONSENTD_QUERY_H
#define CONSENTD_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/record.h"
#include "consentd/str.h"

#define QUERY_LIMIT_MAX  1000 /* rows of one page */
#define QUERY_CURSOR_LEN 56   /* characters of a cursor */
#define QUERY_CHUNK      256  /* stream entries fetched at a time */

struct erased;
struct keks;
struct log_restarts;
struct loop;
struct query;
struct rlink;

enum query_bool { QUERY_ANY = 0, QUERY_YES, QUERY_NO };

/* What is asked; a cleared struct asks for the newest 100 of everything. Texts are borrowed. */
struct query_spec {
    uint64_t from_ms, to_ms; /* [from, to); to_ms 0: no end */
    enum consent_act act;    /* CONSENT_ACT_NONE: any */
    struct str purpose;      /* with `granted`: that purpose was given / refused / either */
    enum query_bool granted;
    bool has_subject;
    uint8_t subject[16];
    bool has_epoch;
    uint32_t epoch;
    struct str doc; /* 22 characters of base64url, or a beginning of them */
    struct str lang, jurisdiction, host;
    enum query_bool gpc;
    enum record_kind kind; /* RECORD_UNKNOWN: any; the filters above imply RECORD_EVENT */
    bool oldest_first;
    unsigned limit;    /* 0: 100 */
    unsigned scan_max; /* a page also ends after so many records were looked at; 0: it does not */
    struct str cursor; /* empty: from the beginning */
};

enum query_row_status {
    QUERY_ROW_TAMPERED = 0, /* the seal or the commitment does not hold */
    QUERY_ROW_OK,
    QUERY_ROW_ERASED, /* r is gone: erased; only place and time are known */
    QUERY_ROW_NO_KEY, /* the month's key is not here (destroyed, or not this machine's) */
};

/* One row; everything is borrowed until the callback returns. */
struct query_row {
    uint8_t node;
    uint64_t leaf, ts_ms;
    enum query_row_status status;
    enum record_kind kind;   /* with QUERY_ROW_OK */
    struct str json;         /* J */
    struct record_view view; /* J taken apart */
    uint8_t cmt[32];         /* computed from r and J; with QUERY_ROW_OK */
    const uint8_t *r;        /* 32 bytes; NULL: erased */
};

/* A row that can't be opened matches every filter but time: hiding it would hide tampering. */
struct query_end {
    bool ok;                           /* false: see fault */
    bool more;                         /* the limit was reached; cursor continues */
    char cursor[QUERY_CURSOR_LEN + 1]; /* behind the last record looked at; "": there is none */
    bool has_hw;
    uint64_t hw; /* with has_hw: the newest leaf that the store has */
    uint64_t rows, scanned;
    uint64_t gap_from, gap_to; /* journal: leaves that could not be read; equal: none */
    struct fault fault;
};

/* Who asks: which log, which keys. Borrowed. node is the configuration's. */
struct query_log {
    const char *site;
    uint8_t node;
    const struct keks *keks;
    const uint8_t *idx_key;              /* 32 bytes; NULL: filters by subject read everything */
    const struct erased *erased;         /* NULL: what is erased shows by its lack of r alone */
    const struct log_restarts *restarts; /* whose numbers rows have; NULL: node's */
};

typedef bool (*query_row_fn)(void *arg, const struct query_row *row); /* false: stop here */
typedef void (*query_end_fn)(void *arg, const struct query_end *end);

/* False and *f when the question makes no sense. The cursor is checked by the store. */
MUST_USE bool query_check(const struct query_spec *spec, struct fault *f);

/* The same for its cursor, which must be one of this question to this node. */
MUST_USE bool query_check_cursor(const struct query_spec *spec, uint8_t node, struct fault *f);

/* From the segments in dir. end_out is always filled. */
void query_journal(const char *dir, const struct query_log *log, const struct query_spec *spec,
                   query_row_fn on_row, void *arg, struct query_end *end_out);

/*
 * The same piece by piece, for a process that must not be held up: a walk is one page, each step
 * looks at no more than `records` of them. NULL and *f as for query_redis.
 */
struct query_walk;
MUST_USE struct query_walk *query_walk_new(const char *dir, const struct query_log *log,
                                           const struct query_spec *spec, struct fault *f);
/* True when the page is over: *end_out is filled then. log and spec must still be there. */
MUST_USE bool query_walk_step(struct query_walk *w, unsigned records, query_row_fn on_row,
                              void *arg, struct query_end *end_out);
void query_walk_free(struct query_walk *w); /* NULL is fine */

/* One record from the segments; false when it is not there. */
MUST_USE bool query_journal_get(const char *dir, const struct query_log *log, uint64_t leaf,
                                query_row_fn on_row, void *arg);

struct query_ops {
    query_row_fn on_row;
    query_end_fn on_end; /* once, last; not after query_cancel. Frees the query. */
};

/*
 * From Redis; log and spec are copied with their texts, keks stays borrowed. The end
 * may come from inside this call's turn of the loop, never from inside the call. NULL:
 * the link is down or the question is wrong (*f).
 */
MUST_USE struct query *query_redis(struct rlink *link, const struct query_log *log,
                                   const struct query_spec *spec, const struct query_ops *ops,
                                   void *arg, struct fault *f);

/* One record by its leaf; on_end tells ok with rows 0 when it is not there. */
MUST_USE struct query *query_redis_get(struct rlink *link, const struct query_log *log,
                                       uint64_t leaf, const struct query_ops *ops, void *arg,
                                       struct fault *f);

void query_cancel(struct query *q); /* NULL is fine */

#endif
