/*
 * child.c - how every child begins: what it may have, it has from the master.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "consentd/bundle.h"
#include "consentd/config.h"
#include "consentd/endpoint.h"
#include "consentd/file.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/names.h"
#include "consentd/origin_stats.h"
#include "consentd/sandbox.h"
#include "consentd/sinks.h"
#include "proc_priv.h"

_Static_assert(ACME_FOLDERS_MAX + 1 <= SANDBOX_PATHS_MAX, "the sandbox has room for them");

#define SPARE_DESCRIPTORS 4096 /* besides two per connection: origins, listeners, messages */

const char *proc_role_name(enum ipc_role role)
{
    static const char *const names[PROC_ROLES] = {"none", "worker", "ledger", "admin"};

    return names[role];
}

static bool read_config(struct child_env *env, struct fault *f)
{
    struct str text, path, dir;

    if (!bundle_get(env->bundle, STR(":config"), &text) ||
        !bundle_get(env->bundle, STR(":config.path"), &path) ||
        !bundle_get(env->bundle, STR(":config.dir"), &dir)) {
        fault_set(f, "the bundle holds no configuration");
        return false;
    }
    char *path_text = str_dup(path), *dir_text = str_dup(dir);
    env->config = config_parse(path_text, dir_text, text, f);
    free(path_text);
    free(dir_text);
    return env->config != NULL;
}

/*
 * A login shell's 1024 descriptors are not enough for the connections that are allowed. Root may
 * go over the hard limit, unless it is root in a container only.
 */
static void raise_descriptors(const struct config *c)
{
    rlim_t want = 2 * (rlim_t)c->limits.connections + SPARE_DESCRIPTORS;
    struct rlimit old, wanted = {want, want};

    if (getrlimit(RLIMIT_NOFILE, &old) != 0 || old.rlim_cur >= want)
        return;
    if (old.rlim_max >= want)
        wanted.rlim_max = old.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
        return;
    old.rlim_cur = old.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &old) != 0 || old.rlim_cur < c->limits.connections)
        log_warn("limits.descriptors", "connections=%u descriptors=%llu", c->limits.connections,
                 (unsigned long long)old.rlim_cur);
}

static bool begin(struct child_env *env, struct fault *f)
{
    struct privs privs;

    env->bundle = bundle_open(PROC_FD_BUNDLE, f);
    if (env->bundle == NULL || !read_config(env, f))
        return false;
    close(PROC_FD_BUNDLE);
    log_set_level(env->config->log_level);
    if (!metrics_attach(PROC_FD_METRICS, env->slot, PROC_SLOTS)) {
        fault_set_errno(f, "cannot map the counters");
        return false;
    }
    close(PROC_FD_METRICS);
    env->origins = origin_stats_map(PROC_FD_ORIGINS, env->config, &env->origins_rows);
    if (env->origins == NULL) {
        fault_set_errno(f, "cannot map what is known of the origins");
        return false;
    }
    close(PROC_FD_ORIGINS);
    /* a folder of logs may be root's alone; the workers of the next reload open it anew */
    if (env->role == IPC_ROLE_WORKER) {
        env->access_log_fd = logs_open_access(env->config);
        raise_descriptors(env->config);
    }
    return privs_find(env->config, &privs, f) && privs_drop(&privs, f);
}

void child_begin(struct child_env *env, enum ipc_role role, unsigned slot)
{
    char name[32];
    struct fault why = {0};

    *env = (struct child_env){.slot = slot, .role = role, .access_log_fd = -1};
    snprintf(name, sizeof(name), "%s/%u", proc_role_name(role), slot);
    log_open(name, LOG_LEVEL_INFO, STDERR_FILENO);
    /* the terminal and systemd signal the whole group; the master says what happens */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (!begin(env, &why)) {
        log_error("process.refused", "reason=\"%s\"", why.text);
        exit(1);
    }
    env->loop = loop_new();
    for (size_t i = 0; i < env->config->resolver.cnt; i++) {
        if (!names_server_add(loop_names(env->loop), env->config->resolver.items[i]))
            log_warn("resolver.refused", "server=%s", env->config->resolver.items[i]);
    }
}

/* Whether workers reach an origin by a unix socket; nothing else of theirs needs one. */
static bool has_local_origin(const struct config *c)
{
    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t k = 0; k < c->sites[i].origin_cnt; k++) {
            if (str_starts(str_c(c->sites[i].origins[k].url), STR("unix:")))
                return true;
        }
    }
    return false;
}

/* The TCP ports of all origins: what workers connect to. Heap. */
static uint16_t *ports_of(const struct config *c, size_t *cnt_out)
{
    uint16_t *ports;
    size_t all = 0;

    for (size_t i = 0; i < c->site_cnt; i++)
        all += c->sites[i].origin_cnt;
    ports = mem_calloc(all + 1, sizeof(*ports));
    *cnt_out = 0;
    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t k = 0; k < c->sites[i].origin_cnt; k++) {
            struct endpoint endpoint;
            struct fault why = {0};

            if (endpoint_parse(str_c(c->sites[i].origins[k].url), &endpoint, &why) &&
                !endpoint.is_unix)
                ports[(*cnt_out)++] = endpoint.port;
        }
    }
    return ports;
}

/* Workers read the public log; the ledger writes; the admin reads records and keeps rules.json. */
static void rights_of(const struct child_env *env, char *folders[SINKS_MAX],
                      struct sandbox_rights *out)
{
    const struct config *c = env->config;

    *out = (struct sandbox_rights){.role = env->role};
    out->local = env->role != IPC_ROLE_WORKER || has_local_origin(c);
    if (env->role != IPC_ROLE_LEDGER)
        out->read[0] = c->ledger.journal;
    if (env->role == IPC_ROLE_LEDGER)
        out->write[0] = c->ledger.journal;
    for (size_t i = 0; env->role == IPC_ROLE_LEDGER && i < c->ledger.checkpoint_sinks.cnt; i++) {
        const char *file = sink_file_of(c->ledger.checkpoint_sinks.items[i]);

        if (file != NULL)
            out->write[2 + i] = folders[i] = file_dir_of(file);
    }
    if (env->role != IPC_ROLE_WORKER)
        out->write[1] = c->state_dir;
    else
        (void)acme_folders(c, out->read + 1); /* [0] is taken */
}

bool child_sandbox(const struct child_env *env, struct fault *f)
{
    char *folders[SINKS_MAX] = {NULL};
    struct sandbox_rights rights;
    struct sandbox_result got;
    uint16_t *ports;
    bool ok;

    if (!env->config->sandbox) {
        log_info("sandbox.off", "reason=\"the configuration says so\"");
        return true;
    }
    rights_of(env, folders, &rights);
    rights.any_port = env->role != IPC_ROLE_WORKER;
    rights.ports = ports = ports_of(env->config, &rights.port_cnt);
    ok = sandbox_enter(&rights, &got, f);
    free(ports);
    for (size_t i = 0; i < COUNT_OF(folders); i++)
        free(folders[i]);
    if (!ok) {
        fault_prefix(f, "sandbox");
        return false;
    }
    if (got.calls && got.landlock > 0)
        log_info("sandbox.on", "calls=yes landlock=%d", got.landlock);
    else
        log_warn("sandbox.partial", "calls=%s landlock=%d reason=\"the kernel has no %s: %s\"",
                 got.calls ? "yes" : "no", got.landlock, got.calls ? "Landlock" : "seccomp filter",
                 strerror(got.landlock_errno));
    return true;
}

static bool take_log(const void *data, size_t len, int fd)
{
    struct ipc_log_open open;

    if (len != sizeof(open) || fd < 0)
        return true; /* nothing that anybody could use */
    memcpy(&open, data, sizeof(open));
    if (open.log != IPC_LOG_PROGRAM)
        return false;
    if (dup2(fd, STDERR_FILENO) < 0)
        log_error("logs.failed", "reason=\"%s\"", strerror(errno));
    return true;
}

static void take_names(struct child_env *env, const void *data, size_t len, int fd)
{
    struct ipc_names names;

    if (len != sizeof(names) || fd < 0)
        return;
    memcpy(&names, data, sizeof(names));
    if (names.file == IPC_NAMES_HOSTS)
        names_take_hosts(loop_names(env->loop), fd);
    else if (names.file == IPC_NAMES_RESOLV)
        names_take_resolv(loop_names(env->loop), fd);
}

bool child_take(struct child_env *env, uint16_t type, const void *data, size_t len, int fd)
{
    if (type == IPC_LOG_OPEN)
        return take_log(data, len, fd);
    if (type != IPC_NAMES)
        return false;
    take_names(env, data, len, fd);
    return true;
}

void child_end(struct child_env *env)
{
    loop_poll(env->loop); /* what was closed after the last turn is freed in one more */
    loop_free(env->loop);
    config_free(env->config);
    bundle_free(env->bundle);
}
