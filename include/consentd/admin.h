/*
 * admin.h - the operators' interface: HTTP/1.1 with JSON on a unix socket. layer: admin
 *
 *   GET  /api/v1/status            revision, counters, and the ledger's state (null: away)
 *   GET  /api/v1/rules             the revision, and each set with its mode on each site
 *   GET  /api/v1/rules/history     who changed what when
 *   POST /api/v1/rules             {"set": …, "mode": enforce|report|off|config, "site": …}
 *   POST /api/v1/rules/rollback    {"revision": N}
 *   DELETE /api/v1/subjects/SUB[?now=1]    erases; the receipt
 *   POST, DELETE /api/v1/subjects/SUB/hold legal hold, its end
 *   DELETE /api/v1/ledger/months/YYYYMM    drops a month whose retention is over
 *   GET  /api/v1/ledger            the state of journal and Redis
 *   POST /api/v1/reload            what SIGHUP does
 *   POST /api/v1/upgrade           what SIGUSR2 does
 *   GET  /api/v1/policy            version, epoch and notice document of each site
 *   POST /api/v1/policy?site&version&epoch&sha256   record that a policy is being published
 *   GET  /metrics                  Prometheus; also at admin.listen
 *   GET  /health, /api/v1/health   what is wrong; 503: no worker serves; also at admin.listen
 *   GET  /api/v1/routes            every route with the permission that it needs, and who asks
 *   GET  /api/v1/events?FILTERS    a page of records (filters: query_text.h)
 *   GET  /api/v1/events/NODE:LEAF  one record
 *   GET  /api/v1/events/NODE:LEAF/proof[?disclose=1]   that it is in the log (C2SP tlog-proof)
 *   GET  /api/v1/export?FILTERS    all that the filters let through, streamed (export_api.c)
 *   GET  /api/v1/stats, /api/v1/docs[/ID[/diff]]       stats_api.c, docs_api.c
 *   GET  /api/v1/subjects/SUB/export                   subject_export.c
 *   POST /api/v1/verify, GET /api/v1/verify/ID         verify_api.c
 *   GET  /api/v1/checkpoint        the newest signed tree
 *   GET  /api/v1/oplog?FILTERS     records of operators alone
 *   GET  /api/v1/subjects/SUB      all records of a subject
 *
 * Who is at the other end is asked of the kernel; every route needs a permission, and nobody has
 * one that no role of theirs names. What is read from the ledger, and what is denied, is on record
 * in the ledger before it is answered.
 *
 * A change is: record in the ledger, acknowledged; then the file; then the workers. Each answer
 * says how many workers confirmed. One change at a time.
 */
#ifndef CONSENTD_ADMIN_H
#define CONSENTD_ADMIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/ipc_msg.h"
#include "consentd/str.h"

#define ADMIN_CLIENTS_MAX   64           /* connections at a time */
#define ADMIN_REQUEST_MAX   (64u * 1024) /* bytes of one request, head and body */
#define ADMIN_REQUEST_MS    5000u        /* to send it in */
#define ADMIN_CHANGE_MS     5000         /* a change not confirmed by then is answered as it is */
#define ADMIN_STATUS_MS     2000         /* a ledger silent for so long counts as away */
#define ADMIN_RECORD_MS     5000         /* a request not on record by then is refused */
#define ADMIN_STALL_MS      30000        /* a reader that takes nothing for so long is cut off */
#define ADMIN_STRANGERS_MAX 8            /* connections of peers that may do nothing */
#define ADMIN_PUBLIC_MAX    16           /* connections to admin.listen */
#define ADMIN_KEPT          16           /* of them that only operators get */

struct admin;
struct config;
struct note_key;
struct ipc;
struct loop;
struct origin_stats;
struct policy;
struct rules;

/* Groups whose members are more than nobody; (gid_t)-1: there is no such group. */
struct admin_groups {
    gid_t own, operators; /* everything: "consentd" and admin.group */
    gid_t auditors;       /* reading the ledger: admin.audit_group */
};

/* Where the records are and what opens them. Texts and keys are copied. */
struct admin_store_setup {
    const char *keks_path, *erased_path;
    const char *journal; /* folder */
    const char *site;    /* the log's name */
    uint8_t node;
    uint8_t idx_key[32];
    struct str redis_url; /* empty: the journal alone */
    struct str redis_user, redis_password, redis_ca;
};

/* What it is given. All borrowed; texts are copied. */
struct admin_setup {
    const char *rules_path; /* state_dir/rules.json: written here */
    struct rules *rules;    /* for names; must outlive the admin */
    struct str rules_text;  /* the state in force; empty: revision 0 */
    void (*on_rules)(void *owner, uint64_t revision, uint64_t request, struct str text);
    void (*on_change)(void *owner, enum ipc_change what); /* asked for */
    void (*on_idle)(void *owner);                         /* no change is under way any more */
    const struct config *config;        /* for the modes that it sets, and the origins' names */
    const struct origin_stats *origins; /* what the workers know of them */
    unsigned origins_rows;
    struct admin_groups groups;
    struct policy *const *policies; /* by site */
    const struct admin_store_setup *store;
    const struct note_key *log_keys; /* the public keys of the first log, the active one first */
    unsigned log_key_cnt;
    void *owner;
};

/* NULL and the reason when the state's text is damaged. */
MUST_USE struct admin *admin_new(struct loop *loop, const struct admin_setup *setup,
                                 struct fault *f);

/* Cuts all connections. NULL is fine. */
void admin_free(struct admin *a);

/* True while a change is on its way: whoever wants to end the process waits for on_idle. */
MUST_USE bool admin_is_busy(const struct admin *a);

/* Accepts on fd, which is now the admin's. */
void admin_listen(struct admin *a, int fd);

/*
 * A worker: of the operators' user, but it talks to visitors, so that it may have been taken over.
 * Nobody with its number gets in, also for a while after it has ended.
 */
void admin_worker(struct admin *a, pid_t pid);

/* The same, for health and metrics alone, of anybody who gets there. */
void admin_watch(struct admin *a, int fd);

/* The link to the ledger (borrowed); NULL: it is away, changes are refused meanwhile. */
void admin_set_ledger(struct admin *a, struct ipc *ledger);

/* A message that came over that link. */
void admin_ledger_message(struct admin *a, uint16_t type, const void *data, size_t len);

/* What became of the last reload or upgrade; why: "" when it is in force. */
void admin_set_outcome(struct admin *a, const struct ipc_outcome *outcome, struct str why);

/* A worker confirmed a revision. */
void admin_rules_done(struct admin *a, const struct ipc_rules_done *done);

#endif
