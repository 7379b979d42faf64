/*
 * proc_priv.h - what the files of the process layer share.
 *
 *   material.c  one configuration and everything it names, as one bundle per role
 *   live.c      policies, rules and keys read from a bundle
 *   logs.c      log files, and opening them again
 *   child.c     how every child begins; worker.c, ledger_role.c, admin_role.c the roles
 *
 * What is the master's alone is in master_priv.h.
 */
#ifndef CONSENTD_PROC_PRIV_H
#define CONSENTD_PROC_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/ipc_msg.h"
#include "consentd/rules.h"
#include "consentd/snapshot.h"
#include "consentd/str.h"

struct bundle;
struct config;
struct ipc;
struct keyring;
struct loop;
struct origin_stats;
struct policy;

/* Descriptors that a child finds open when it starts. */
#define PROC_FD_MASTER  3
#define PROC_FD_BUNDLE  4
#define PROC_FD_METRICS 5
#define PROC_FD_ORIGINS 6 /* what the workers know of the origins (origin_stats.h) */

#define PROC_SLOTS          512 /* processes at a time, old generations included */
#define PROC_BACKOFF_MS     100 /* first wait before a dead child is started again */
#define PROC_BACKOFF_MAX_MS 10000
#define PROC_HEALTHY_MS     60000 /* lived so long: the next death starts the back-off anew */
#define PROC_GRACE_MS       5000  /* past the drain timeout a child is killed */
#define PROC_ROLES          4     /* of enum ipc_role */

const char *proc_role_name(enum ipc_role role);

/* --- material.c: what one generation is made of --------------------------------- */

struct material {
    struct config *config;   /* owned */
    int bundles[PROC_ROLES]; /* owned descriptors, by role; -1: none */
    int origins;             /* owned descriptor; -1: none */
    uint64_t certs;          /* certs_look() before they were read; 0: not known */
};

/* Reads the configuration and all it names, and checks it as the children will. */
MUST_USE struct material *material_load(const char *path, struct fault *f);

/*
 * cert_watch.c: a number that changes when a file of certificates, keys or OCSP answers does; one
 * that JSON can hold.
 */
uint64_t certs_look(const struct config *c);

/* What another program made: its descriptors, which are this one's then. NULL with the reason. */
MUST_USE struct material *material_adopt(const struct material *left, struct fault *f);

/* Closes the descriptors; none are left. */
void material_close(struct material *m);

/* NULL is fine. */
void material_free(struct material *m);

/* --- live.c: what a bundle holds, ready for use ---------------------------------- */

struct live {
    struct policy **policies; /* owned; one per site */
    struct rules *rules;      /* one reference */
    struct keyring *keyring;  /* owned */
};

/* config_text is the bundle's; false with the reason. Free with live_fini also then. */
MUST_USE bool live_init(struct live *l, const struct config *c, const struct bundle *b,
                        struct fault *f);
void live_fini(struct live *l);

/* One site's rules at the state given (NULL: as configured). The caller has the reference. */
MUST_USE struct snapshot *live_snapshot(const struct live *l, const struct config *c, size_t site,
                                        const struct rules_state *state);

/* --- check.c: what the configuration names -------------------------------------------- */

#define ACME_FOLDERS_MAX 15 /* different ones; a worker's sandbox has room for no more */

/* The folders of challenges, each once, at most ACME_FOLDERS_MAX; how many there are in all. */
size_t acme_folders(const struct config *c, const char *out[ACME_FOLDERS_MAX]);

/* False with file, key, what is wrong and what would be right. */
MUST_USE bool material_check(const char *path, const struct config *c, const struct live *live,
                             struct fault *f);

/* --- privs.c ----------------------------------------------------------------------- */

struct privs {
    bool change; /* we are root: take these ids */
    uid_t uid;
    gid_t gid;
};

/* Looks user and group of the configuration up. */
MUST_USE bool privs_find(const struct config *c, struct privs *out, struct fault *f);

/* For good: groups, ids, no new privileges, no core files with keys in them. */
MUST_USE bool privs_drop(const struct privs *p, struct fault *f);

/*
 * Nobody of the same user looks into this process: no ptrace, no /proc/PID/mem, no core file. All
 * roles are one user's where the master is not root's, and the master has every key.
 */
MUST_USE bool privs_hide(struct fault *f);

/* Makes state_dir and the journal's folder, owned by the ids. */
MUST_USE bool privs_make_dirs(const struct config *c, const struct privs *p, struct fault *f);

/* --- child.c: the beginning of every role -------------------------------------------- */

struct child_env {
    struct loop *loop;
    struct bundle *bundle;
    struct config *config;
    enum ipc_role role;
    unsigned slot;
    int access_log_fd;            /* a worker's; -1: off */
    struct origin_stats *origins; /* all rows */
    unsigned origins_rows;
};

/* Opens the log, the bundle and the metrics, drops privileges. Exits with 1 on failure. */
void child_begin(struct child_env *env, enum ipc_role role, unsigned slot);
void child_end(struct child_env *env);

/* For good, when start-up is over: what the role does not need (sandbox.h). */
MUST_USE bool child_sandbox(const struct child_env *env, struct fault *f);

/* A message that is for every role alike: files of logs and names. True: it was. Leaves fd open. */
MUST_USE bool child_take(struct child_env *env, uint16_t type, const void *data, size_t len,
                         int fd);

/* --- logs.c: the files that lines go to ------------------------------------------------- */

/* The access log's file; -1: off, stderr's descriptor as it is, or it cannot be opened (said). */
MUST_USE int logs_open_access(const struct config *c);

/* Standard error becomes log.file, when there is one; its owner the ids. */
MUST_USE bool logs_open_program(const struct config *c, struct fault *f);

/* --- roles: return the exit status ------------------------------------------------------ */

int worker_main(unsigned slot, unsigned row); /* row: of the origins' figures */
int ledger_main(unsigned slot);
int admin_main(unsigned slot);
int master_main(const char *config_path, const char *argv0);

/* children.c: how many workers it asks for. */
unsigned seats_workers(const struct config *c);

/* children.c: the state as an IPC_RULES message, or in a bundle when it does not fit one. */
MUST_USE bool rules_send(struct ipc *to, uint64_t revision, uint64_t request, struct str text);

/* reload.c */
const char *admin_audit_group(const struct config *c); /* there may be no such group */

/* notify.c: systemd's sd_notify protocol; does nothing without NOTIFY_SOCKET. */
void notify(const char *state);

#endif
