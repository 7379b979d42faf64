/*
 * audit_remote.h - rows of the ledger by way of the admin's socket: for who may ask there and need
 * not read any file of the daemon.
 */
#ifndef CTL_AUDIT_REMOTE_H
#define CTL_AUDIT_REMOTE_H

#include "audit_print.h"
#include "ctl_priv.h"

/* A question: `target` with its filters, without limit and cursor. */
struct audit_remote {
    const struct ctl_args *args;
    const char *target;
    const char *cursor; /* to go on there; NULL: from the beginning */
    uint64_t limit;     /* rows wanted */
    bool one;           /* target names one record: its answer is the row itself */
    /* row: what query_row_of reads; value: the same as the answer has it. False: enough. */
    bool (*on_row)(void *arg, const struct query_row *row, const json_t *value);
    void *arg;
    char next[1024]; /* filled: the cursor behind the last row when there is more; "" else */
    bool partial;    /* filled: the journal answered, Redis is away */
    uint64_t held_leaf, held_ms; /* with partial, by audit_remote_all: the journal's first record */
    uint64_t scanned;            /* filled: records that were looked at */
    uint64_t read_ms; /* filled before on_group: days before this one are not counted in groups */
};

/* Whether the admin can be reached: its socket is there, and somebody listens. f may be NULL. */
MUST_USE bool audit_remote_is_there(const struct ctl_args *args, struct fault *f);

/* Page by page; CTL_OK, or what was said on stderr. */
int audit_remote_rows(struct audit_remote *r);

/* All of them in one answer: no page after page, and one record of it. limit is not looked at. */
int audit_remote_all(struct audit_remote *r);

/*
 * The counters that the ledger keeps, by groups, for the days from `from_ms` to `to_ms` (0: now);
 * on_group gets each row of the API. False: why not is in *f.
 */
MUST_USE bool audit_remote_counters(struct audit_remote *r, const char *by, uint64_t from_ms,
                                    uint64_t to_ms, void (*on_group)(void *arg, const json_t *row),
                                    struct fault *f);

/* A row as it is printed. */
void audit_remote_print(FILE *out, enum audit_format format, enum record_kind kind,
                        const struct query_row *row, const json_t *value);

#endif
