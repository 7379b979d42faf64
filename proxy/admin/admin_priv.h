/*
 * admin_priv.h - what the admin's files share.
 */
#ifndef CONSENTD_ADMIN_PRIV_H
#define CONSENTD_ADMIN_PRIV_H

#include "consentd/admin.h"
#include "consentd/buf.h"
#include "consentd/conn.h"
#include "consentd/rules_state.h"
#include "consentd/timer.h"

/* One connection: one request, one answer, closed. */
struct admin_client {
    struct admin *admin; /* NULL: this place is free */
    struct conn *conn;   /* owned */
    struct buf in;
    struct timer patience; /* until the request is complete */
    bool asked;            /* it is; more bytes are dropped */
    bool asks_status;      /* waits for the ledger's */
    bool asks_whole;       /* for all, not for the ledger's alone */
    bool asks_drop;        /* of a month, with erase_id */
    uint64_t erase_id;     /* waits for this receipt; 0: for none */
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
    char *rules_path; /* owned */
    struct listener *listener;
    struct ipc *ledger;        /* borrowed */
    struct rules_state *state; /* owned; in force */
    struct admin_change change;
    struct timer deadline;        /* of the change */
    struct timer status_deadline; /* set while the ledger is asked */
    uint64_t next_request;
    struct admin_client clients[ADMIN_CLIENTS_MAX];
};

/* admin.c: sends the answer and lets the connection go. */
void admin_answer(struct admin_client *c, unsigned status, const char *type, struct str body);
void admin_answer_error(struct admin_client *c, unsigned status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* subject_api.c; action: enum ledger_erase_action */
void subject_api(struct admin_client *c, struct str subject, unsigned action, struct str query);
void month_api_drop(struct admin_client *c, struct str month);
void subject_api_receipt(struct admin *a, const void *data, size_t len);
void subject_api_lost(struct admin *a);

/* rules_api.c */
void rules_api_list(struct admin_client *c);
void rules_api_history(struct admin_client *c);
void rules_api_change(struct admin_client *c, struct str body, bool rollback);
void rules_api_acked(struct admin *a, uint64_t request, bool recorded);
void rules_api_done(struct admin *a, const struct ipc_rules_done *done);
void rules_api_expired(struct admin *a);

#endif
