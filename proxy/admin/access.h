/*
 * access.h - who is at the other end of the socket, and what that person may do.
 *
 * The kernel is asked (SO_PEERCRED, SO_PEERGROUPS), nobody is believed. Everything is denied that
 * no role of the peer names: a peer without a role may do nothing at all.
 *
 *   admin    root, the user that consentd runs as, the groups "consentd" and admin.group: all
 *   auditor  the group admin.audit_group: reads of the ledger, statistics, verification; no
 *            subject, no change
 */
#ifndef ADMIN_ACCESS_H
#define ADMIN_ACCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "consentd/admin.h"

/* The permissions, one of which every route needs. 0 is no permission: nobody has it. */
enum admin_perm {
    PERM_NONE = 0,
    PERM_HEALTH_READ,
    PERM_METRICS_READ,
    PERM_RULES_READ,
    PERM_RULES_WRITE,
    PERM_EVENTS_READ,
    PERM_EVENTS_EXPORT,
    PERM_PROOFS_READ,
    PERM_SUBJECTS_READ,
    PERM_SUBJECTS_EXPORT,
    PERM_SUBJECTS_ERASE,
    PERM_SUBJECTS_HOLD,
    PERM_STATS_READ,
    PERM_DOCS_READ,
    PERM_VERIFY_RUN,
    PERM_OPLOG_READ,
    PERM_MONTHS_DROP,
    PERM_DAEMON_RELOAD,
    PERM_POLICY_PUBLISH,
    PERM_CNT,
};

/* "events.read"; "none" for 0. */
const char *perm_name(enum admin_perm perm);

struct admin_peer {
    uid_t uid;
    pid_t pid;        /* when it connected; 0: not told */
    char name[64];    /* of the user, or "unknown" */
    const char *role; /* "admin", "auditor", "none" */
    uint32_t perms;   /* bit 1 << perm */
};

/* Fills *out for the peer of a connected unix socket; no rights when the kernel does not tell. */
void access_find(const struct admin_groups *groups, int fd, struct admin_peer *out);

bool access_may(const struct admin_peer *peer, enum admin_perm perm);

#endif
