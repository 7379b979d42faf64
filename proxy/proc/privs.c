/*
 * privs.c - from root to the user of the configuration, for good.
 *
 * Only the children change: the master keeps what it needs to read keys and to bind
 * ports at a reload, and touches no byte from the network.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "proc_priv.h"

static bool find_user(const char *name, struct privs *out, struct fault *f)
{
    const struct passwd *user = getpwnam(name != NULL ? name : "consentd");

    if (user == NULL && name == NULL)
        user = getpwnam("nobody");
    if (user == NULL) {
        fault_set(f, "user: there is no user \"%s\"", name != NULL ? name : "nobody");
        return false;
    }
    out->uid = user->pw_uid;
    out->gid = user->pw_gid;
    return true;
}

bool privs_find(const struct config *c, struct privs *out, struct fault *f)
{
    *out = (struct privs){.change = geteuid() == 0, .uid = geteuid(), .gid = getegid()};
    if (!out->change)
        return true;
    if (!find_user(c->user, out, f))
        return false;
    if (c->group == NULL)
        return true;
    const struct group *group = getgrnam(c->group);
    if (group == NULL) {
        fault_set(f, "group: there is no group \"%s\"", c->group);
        return false;
    }
    out->gid = group->gr_gid;
    return true;
}

/* Also those that a service manager gave the master for its ports (capabilities(7)). */
static bool drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
           syscall(SYS_capset, &head, none) == 0;
}

bool privs_drop(const struct privs *p, struct fault *f)
{
    if (p->change && (setgroups(0, NULL) != 0 || setresgid(p->gid, p->gid, p->gid) != 0 ||
                      setresuid(p->uid, p->uid, p->uid) != 0)) {
        fault_set_errno(f, "cannot change to uid %u, gid %u", (unsigned)p->uid, (unsigned)p->gid);
        return false;
    }
    if (p->change && p->uid != 0 && setuid(0) == 0) {
        fault_set(f, "root could be taken back");
        return false;
    }
    if (!drop_capabilities()) {
        fault_set_errno(f, "cannot drop capabilities");
        return false;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        fault_set_errno(f, "prctl");
        return false;
    }
    return privs_hide(f);
}

bool privs_hide(struct fault *f)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
        return true;
    fault_set_errno(f, "prctl");
    return false;
}

static bool make_dir(const char *path, const struct privs *p, struct fault *f)
{
    if (!file_make_dirs(path, 0750, f))
        return false;
    if (p->change && chown(path, p->uid, p->gid) != 0) {
        fault_set_errno(f, "%s: cannot give it to uid %u", path, (unsigned)p->uid);
        return false;
    }
    return true;
}

bool privs_make_dirs(const struct config *c, const struct privs *p, struct fault *f)
{
    return make_dir(c->state_dir, p, f) && make_dir(c->ledger.journal, p, f);
}
