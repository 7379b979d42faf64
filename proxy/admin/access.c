/*
 * access.c - contract in access.h.
 */
#include "access.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GROUPS_MAX 256 /* of one peer that are looked at */

#define BIT(perm) (UINT32_C(1) << PERM_##perm)

static const uint32_t auditor_perms =
    BIT(HEALTH_READ) | BIT(METRICS_READ) | BIT(RULES_READ) | BIT(EVENTS_READ) | BIT(EVENTS_EXPORT) |
    BIT(PROOFS_READ) | BIT(STATS_READ) | BIT(DOCS_READ) | BIT(VERIFY_RUN) | BIT(OPLOG_READ);

static const uint32_t all_perms = (UINT32_C(1) << PERM_CNT) - 2; /* all but PERM_NONE */

const char *perm_name(enum admin_perm perm)
{
    static const char *const names[PERM_CNT] = {
        [PERM_NONE] = "none",
        [PERM_HEALTH_READ] = "health.read",
        [PERM_METRICS_READ] = "metrics.read",
        [PERM_RULES_READ] = "rules.read",
        [PERM_RULES_WRITE] = "rules.write",
        [PERM_EVENTS_READ] = "events.read",
        [PERM_EVENTS_EXPORT] = "events.export",
        [PERM_PROOFS_READ] = "proofs.read",
        [PERM_SUBJECTS_READ] = "subjects.read",
        [PERM_SUBJECTS_EXPORT] = "subjects.export",
        [PERM_SUBJECTS_ERASE] = "subjects.erase",
        [PERM_SUBJECTS_HOLD] = "subjects.hold",
        [PERM_STATS_READ] = "stats.read",
        [PERM_DOCS_READ] = "docs.read",
        [PERM_VERIFY_RUN] = "verify.run",
        [PERM_OPLOG_READ] = "oplog.read",
        [PERM_MONTHS_DROP] = "months.drop",
        [PERM_DAEMON_RELOAD] = "daemon.reload",
        [PERM_POLICY_PUBLISH] = "policy.publish",
    };

    return perm < PERM_CNT ? names[perm] : names[PERM_NONE];
}

/* Whether the peer is in the group, by its own group or by another that it has. */
static bool is_member(gid_t group, gid_t own, const gid_t *others, size_t cnt)
{
    if (group == (gid_t)-1)
        return false;
    for (size_t i = 0; i < cnt; i++)
        if (others[i] == group)
            return true;
    return own == group;
}

void access_find(const struct admin_groups *groups, int fd, struct admin_peer *out)
{
    struct ucred peer = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    gid_t others[GROUPS_MAX];
    socklen_t len = sizeof(peer), others_len = sizeof(others);
    const struct passwd *user;
    size_t cnt;

    *out = (struct admin_peer){.uid = (uid_t)-1, .name = "unknown", .role = "none"};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.uid == (uid_t)-1)
        return;
    cnt = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, others, &others_len) == 0
              ? others_len / sizeof(others[0])
              : 0; /* more than we look at, or not told: only its own group counts */
    out->uid = peer.uid;
    out->pid = peer.pid;
    user = getpwuid(peer.uid);
    if (user != NULL)
        (void)snprintf(out->name, sizeof(out->name), "%s", user->pw_name);
    if (peer.uid == 0 || peer.uid == geteuid() ||
        is_member(groups->operators, peer.gid, others, cnt) ||
        is_member(groups->own, peer.gid, others, cnt)) {
        out->role = "admin";
        out->perms = all_perms;
    } else if (is_member(groups->auditors, peer.gid, others, cnt)) {
        out->role = "auditor";
        out->perms = auditor_perms;
    }
}

bool access_may(const struct admin_peer *peer, enum admin_perm perm)
{
    return perm > PERM_NONE && perm < PERM_CNT && (peer->perms & (UINT32_C(1) << perm)) != 0;
}
