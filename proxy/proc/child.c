/*
 * child.c - the first steps of every role; contract in child.h.
 */
#include "child.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "consentd/log.h"
#include "consentd/metrics.h"

#define NAME_MAX_LEN 32

struct generation *child_begin(const char *role, unsigned slot)
{
    char name[NAME_MAX_LEN];
    struct fault fault = {""};
    struct bundle *bundle;
    struct generation *g;

    snprintf(name, sizeof(name), "%s/%u", role, slot);
    log_open(name, LOG_LEVEL_INFO, STDERR_FILENO);
    if (!metrics_attach(CHILD_FD_METRICS, slot, CHILD_SLOTS))
        log_warn("metrics.private", "errno=%d", errno);
    bundle = bundle_open(CHILD_FD_BUNDLE, &fault);
    g = bundle == NULL ? NULL : generation_load(bundle, &fault);
    if (g == NULL) {
        log_error("child.failed", "reason=\"%s\"", fault.text);
        return NULL;
    }
    log_set_level(g->config->log_level);
    if (!privileges_drop(g->config, &fault)) {
        log_error("child.failed", "reason=\"%s\"", fault.text);
        generation_free(g);
        return NULL;
    }
    return g;
}

static const struct passwd *user_find(const char *configured)
{
    const struct passwd *pw;

    if (configured != NULL)
        return getpwnam(configured);
    pw = getpwnam("consentd");
    return pw != NULL ? pw : getpwnam("nobody");
}

bool privileges_drop(const struct config *config, struct fault *f)
{
    const struct passwd *pw;
    const struct group *gr = NULL;
    gid_t gid;

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (getuid() != 0)
        return true;
    pw = user_find(config->user);
    if (config->group != NULL)
        gr = getgrnam(config->group);
    if (pw == NULL || (config->group != NULL && gr == NULL)) {
        fault_set(f, "user or group: no such account on this machine");
        return false;
    }
    gid = gr != NULL ? gr->gr_gid : pw->pw_gid;
    if (setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 &&
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) == 0 && (pw->pw_uid == 0 || setuid(0) != 0))
        return true;
    fault_set_errno(f, "cannot become user %s", pw->pw_name);
    return false;
}
