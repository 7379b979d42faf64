/*
 * sandbox.c - contract in consentd/sandbox.h: both halves, and the one that files and ports are.
 * System calls are in sandbox_calls.c.
 */
#include "consentd/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "consentd/sanitized.h"
#include "sandbox_priv.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_RIGHTS                                                                               \
    (READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                 \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |  \
     LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE)
#define FILE_RIGHTS                                                                                \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

/* Names, users, certificate authorities, libraries that glibc loads late. Not /etc itself. */
static const char *const system_paths[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
};

/* What Linux 6.7 and 6.12 have added; the headers of Debian 12 do not know it. */
#define NET_BIND_TCP        (1ULL << 0)
#define NET_CONNECT_TCP     (1ULL << 1)
#define RULE_NET_PORT       2
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL        (1ULL << 1)

struct ruleset_attr {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

struct net_port_attr {
    uint64_t allowed_access, port;
};

/* Everything that this kernel can refuse. */
static uint64_t handled_rights(int version)
{
    uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

    if (version >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
    return rights;
}

static bool allow_path(int ruleset, const char *path, uint64_t rights)
{
    struct landlock_path_beneath_attr attr = {.allowed_access = rights};
    struct stat st;
    bool ok;

    attr.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (attr.parent_fd < 0)
        return errno == ENOENT || errno == EACCES; /* not there, or not for us anyway */
    if (fstat(attr.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        attr.allowed_access &= FILE_RIGHTS;
    ok = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) == 0;
    close(attr.parent_fd);
    return ok;
}

static bool allow_paths(int ruleset, const struct sandbox_rights *r, uint64_t handled)
{
    bool ok = true;

    for (size_t i = 0; i < COUNT_OF(system_paths); i++)
        ok = ok && allow_path(ruleset, system_paths[i], READ_RIGHTS);
    if (SANITIZED) /* the leak checker reads its own maps and threads */
        ok = ok && allow_path(ruleset, "/proc", READ_RIGHTS);
    for (size_t i = 0; i < SANDBOX_PATHS_MAX; i++) {
        if (r->read[i] != NULL)
            ok = ok && allow_path(ruleset, r->read[i], READ_RIGHTS);
        if (r->write[i] != NULL)
            ok = ok && allow_path(ruleset, r->write[i], WRITE_RIGHTS & handled);
    }
    return ok;
}

static bool allow_ports(int ruleset, const struct sandbox_rights *r)
{
    bool ok = true;

    for (size_t i = 0; i < r->port_cnt; i++) {
        const struct net_port_attr attr = {NET_CONNECT_TCP, r->ports[i]};

        ok = ok && syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &attr, 0) == 0;
    }
    return ok;
}

/* An older kernel wants the members that it does not know to be zero. */
static struct ruleset_attr handled(const struct sandbox_rights *r, int version)
{
    struct ruleset_attr attr = {.handled_access_fs = handled_rights(version)};

    if (version >= 4)
        attr.handled_access_net = NET_BIND_TCP | (r->any_port ? 0 : NET_CONNECT_TCP);
    if (version >= 6)
        attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    return attr;
}

static bool restrict_files(const struct sandbox_rights *r, struct sandbox_result *out)
{
    struct ruleset_attr attr;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    int ruleset;
    bool ok;

    if (version <= 0) {
        out->landlock_errno = version < 0 ? errno : 0;
        return true; /* ENOSYS: too old; EOPNOTSUPP: not switched on; EPERM: filtered around us */
    }
    attr = handled(r, (int)version);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0)
        return false;
    ok = allow_paths(ruleset, r, attr.handled_access_fs) &&
         ((attr.handled_access_net & NET_CONNECT_TCP) == 0 || allow_ports(ruleset, r)) &&
         syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    if (ok)
        out->landlock = (int)version;
    return ok;
}

bool sandbox_enter(const struct sandbox_rights *rights, struct sandbox_result *out, struct fault *f)
{
    *out = (struct sandbox_result){0};
    if (!restrict_files(rights, out)) {
        fault_set_errno(f, "Landlock");
        return false;
    }
    out->calls = sandbox_filter_calls(rights);
    if (!out->calls && errno != EINVAL && errno != ENOSYS) {
        fault_set_errno(f, "seccomp");
        return false;
    }
    return true;
}
