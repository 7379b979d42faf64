/*
 * admin_priv.h - what the admin's files share.
 *
 * A request is answered in one piece (admin_answer) or in chunks (admin_stream_*). What takes
 * longer than one turn of the loop is a job: its state hangs on the client and is dropped with it.
 */
#ifndef CONSENTD_ADMIN_PRIV_H
#define CONSENTD_ADMIN_PRIV_H

#include "access.h"
#include "consentd/admin.h"
#include "consentd/buf.h"
#include "consentd/conn.h"
#include "consentd/dpv.h"
#include "consentd/note.h"
#include "consentd/rules_state.h"
#include "consentd/timer.h"
#include "params.h"
#include "store.h"

struct admin_client;
struct notices;
struct verify_job;

/* What was asked; slices of the client's `in`. */
struct admin_request {
    struct str method, path, query, body;
    struct str param; /* the part of the path that the route's * stands for */
};

/* One route. Whoever asks needs the permission; what is recorded is on record before it is done. */
struct admin_route {
    const char *method, *path; /* one * in path stands for one part */
    enum admin_perm perm;
    bool recorded;
    void (*run)(struct admin_client *c);
};

/* A long answer. */
struct admin_job {
    void (*resume)(struct admin_client *c); /* the peer takes more; may be NULL */
    void (*drop)(struct admin_client *c);   /* frees c->state */
};

enum admin_asks { ASKS_NOTHING = 0, ASKS_LEDGER, ASKS_STATUS, ASKS_HEALTH };

/* One connection: one request, one answer, closed. */
struct admin_client {
    struct admin *admin; /* NULL: this place is free */
    struct conn *conn;   /* owned */
    struct admin_peer peer;
    struct buf in;
    struct admin_request rq;
    const struct admin_route *route;
    struct timer patience; /* until the request is complete, until it is on record, in a stream */
    bool asked;            /* the request is complete; more bytes are dropped */
    bool denied;           /* the answer is 403 as soon as that is on record */
    bool streaming;        /* the head of a chunked answer is out */
    uint64_t progress;     /* of conn_progress, when patience was set */
    uint64_t record_id;    /* waits for the ledger's word that it is on record; 0: it does not */
    const struct admin_job *job; /* NULL: none */
    void *state;                 /* of the job */
    enum admin_asks asks;        /* waits for the ledger's status, to answer this */
    bool public;                 /* came to admin.listen: health and metrics alone */
    bool asks_drop;              /* of a month, with erase_id */
    uint64_t erase_id;           /* waits for this receipt; 0: for none */
    uint64_t sign_id;            /* waits for this signature; 0: for none */
};

#define ADMIN_WORKERS_KEPT 1024 /* twice as many as there can be at a time */
#define ADMIN_DOCS_KEPT    16   /* notice documents read for rendering */

struct admin_doc {
    bool used;
    uint8_t doc[16];
    struct dpv_notice *notice; /* owned; NULL: the document is not here */
};

/* A change of the rules on its way. */
struct admin_change {
    struct admin_client *client; /* NULL: it hung up; the change goes on */
    struct rules_state *state;   /* owned; NULL: no change under way */
    struct buf text;             /* its text form */
    uint64_t request;            /* our number, for ledger and workers */
    bool sent;                   /* recorded and written; workers are confirming */
    unsigned confirmed, workers; /* so far */
};

struct admin {
    struct loop *loop;
    struct admin_setup setup;
    char *rules_path;                  /* owned */
    char *log_path;                    /* owned; folder of the Merkle log */
    struct listener *listener, *watch; /* watch: admin.listen, NULL without it */
    struct ipc *ledger;                /* borrowed */
    struct ipc_outcome outcome;        /* of the last reload or upgrade; number 0: there was none */
    char outcome_why[FAULT_TEXT_MAX];
    struct rules_state *state; /* owned; in force */
    struct store *store;       /* owned */
    struct admin_change change;
    struct timer deadline;        /* of the change */
    struct timer status_deadline; /* set while the ledger is asked */
    uint64_t next_request;
    uint64_t denials_from_ms;  /* the minute in which denials are counted */
    unsigned denials;          /* in it */
    struct verify_job *verify; /* owned; the last one, or NULL */
    struct admin_doc docs[ADMIN_DOCS_KEPT];
    unsigned next_doc;
    struct admin_client clients[ADMIN_CLIENTS_MAX];
    pid_t workers[ADMIN_WORKERS_KEPT]; /* a ring: the last ones */
    unsigned workers_next;
};

/* --- proofs_api.c --- */

#define ADMIN_LOG_KEYS 16 /* as many as are looked at */

/* The public keys of the log of today: their name changes when a log ends. Returns how many. */
unsigned admin_log_keys(const struct admin *a, struct note_key out[ADMIN_LOG_KEYS]);
/* The same under the name of a node's log. */
unsigned admin_node_keys(const struct admin *a, uint8_t node, struct note_key out[ADMIN_LOG_KEYS]);

/* --- admin.c: answers --- */

/* Sends the answer and lets the connection go. */
void admin_answer(struct admin_client *c, unsigned status, const char *type, struct str body);
void admin_answer_error(struct admin_client *c, unsigned status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* A job begins: it is dropped when the client goes, also by an answer. */
void admin_job_begin(struct admin_client *c, const struct admin_job *job, void *state);

/*
 * An answer in chunks. admin_stream_write: false: the client is gone (and was dropped). When it
 * returns true and admin_is_choked(), the job waits for its resume().
 */
MUST_USE bool admin_stream_begin(struct admin_client *c, const char *type, const char *fields);
MUST_USE bool admin_stream_write(struct admin_client *c, const char *extension, struct str data);
bool admin_is_choked(const struct admin_client *c);
void admin_stream_end(struct admin_client *c);
void admin_stream_cut(struct admin_client *c); /* so that it can't pass for a whole answer */

/* The parameters of the request; false after it was answered with 400. */
MUST_USE bool admin_params(struct admin_client *c, struct params *out);

/* --- routes.c --- */

/*
 * The route of a request and its param. NULL: there is none; *other_out tells whether there is one
 * for another method.
 */
const struct admin_route *route_find(struct str method, struct str path, struct str *param_out,
                                     bool *other_out);
bool route_is_public(const struct admin_route *route);
void route_list(struct admin_client *c); /* GET /api/v1/routes */

/* --- oplog.c --- */

/* Sends the record of the request to the ledger; the ack has c->record_id. False: it is away. */
MUST_USE bool oplog_send(struct admin_client *c, const char *result);

/* Whether one more denial is worth a record of its own. */
bool oplog_wants_denial(struct admin *a);

/* --- admin.c: routes that are short --- */
void admin_get_ledger(struct admin_client *c);
void admin_get_status(struct admin_client *c);
void admin_get_health(struct admin_client *c);
void admin_post_reload(struct admin_client *c);
void admin_post_upgrade(struct admin_client *c);
void admin_get_metrics(struct admin_client *c);

/* --- subject_api.c --- */
void subject_api_erase(struct admin_client *c);
void subject_api_hold(struct admin_client *c);
void subject_api_release(struct admin_client *c);
void month_api_drop(struct admin_client *c);
void subject_api_receipt(struct admin *a, const void *data, size_t len);
void subject_api_lost(struct admin *a);

/* --- policy_api.c --- */
void policy_api_list(struct admin_client *c);
void policy_api_publish(struct admin_client *c);

/* --- events_api.c --- */
void events_api_list(struct admin_client *c);
void events_api_one(struct admin_client *c);
void events_api_subject(struct admin_client *c);
void events_api_oplog(struct admin_client *c);

/* --- status_api.c --- */
/* Everything as one JSON object; ledger: its part. False: too large. */
#define STATUS_MAX (16u << 20)
MUST_USE bool status_print(const struct admin *a, struct str ledger, struct buf *out);

/* "ok", "degraded" or "failing", and why; *serving_out: visitors are served. */
MUST_USE bool health_print(const struct admin *a, struct str ledger, bool *serving_out,
                           struct buf *out);
/* Processes and version, in the text format. */
MUST_USE bool status_metrics(struct buf *out);

/* --- proofs_api.c --- */
void proofs_api_one(struct admin_client *c);
void proofs_api_checkpoint(struct admin_client *c);

/* Appends the proof of a leaf with these bytes as its extra. False: not signed yet, ... */
MUST_USE bool admin_prove(const struct admin *a, uint64_t leaf, struct str extra, struct buf *out,
                          struct fault *f);

/* --- export_api.c --- */
void export_api(struct admin_client *c);
void export_api_signed(struct admin *a, const void *data, size_t len);
void export_api_lost(struct admin *a);

/* --- stats_api.c, subject_export.c --- */
void stats_api(struct admin_client *c);
void subject_export(struct admin_client *c);

/* --- verify_api.c --- */
void verify_api_begin(struct admin_client *c);
void verify_api_state(struct admin_client *c);
void verify_api_free(struct admin *a);

/* --- docs_api.c --- */
void docs_api_list(struct admin_client *c);
void docs_api_one(struct admin_client *c);
void docs_api_diff(struct admin_client *c);

/* The notices that were ever in force; the caller frees. NULL with the reason. */
MUST_USE struct notices *docs_open(const struct admin *a, struct fault *f);

/* --- docs.c --- */

/* The notice that a record names, or NULL: it is not here. Valid until the next call. */
struct dpv_notice *docs_notice(struct admin *a, const uint8_t doc[16]);
void docs_free(struct admin *a);

/* --- rules_api.c --- */
void rules_api_list(struct admin_client *c);
void rules_api_history(struct admin_client *c);
void rules_api_set(struct admin_client *c);
void rules_api_rollback(struct admin_client *c);
void rules_api_acked(struct admin *a, uint64_t request, bool recorded);
void rules_api_done(struct admin *a, const struct ipc_rules_done *done);
void rules_api_expired(struct admin *a);

#endif
