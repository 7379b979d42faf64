/*
 * reload.c - a new generation beside the old one.
 *
 *   SIGHUP ─▶ read and rehearse ─▶ bad: say why, change nothing
 *                │ good
 *                ▼
 *   new workers start ─▶ all READY ─▶ old workers drain ─▶ they exit when empty
 *
 * The listening sockets are the master's and stay open, so that between the two
 * generations a connection waits in the kernel's queue and none is refused. The old
 * ledger leaves at once: the new one waits for its lock on the journal, and workers
 * of both generations send again over their new sockets what was not acknowledged.
 */
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/listener.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "proc_priv.h"

static int find_socket(const struct master *m, const char *address)
{
    for (size_t i = 0; i < m->listen_cnt; i++) {
        if (strcmp(m->listens[i].address, address) == 0)
            return m->listens[i].fd;
    }
    return -1;
}

static bool is_among(const struct listening *list, size_t cnt, int fd)
{
    for (size_t i = 0; i < cnt; i++) {
        if (list[i].fd == fd)
            return true;
    }
    return false;
}

/* Closes what `list` has and `keep` has not. */
static void close_others(struct listening *list, size_t cnt, const struct listening *keep,
                         size_t keep_cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        if (list[i].fd >= 0 && !is_among(keep, keep_cnt, list[i].fd))
            close(list[i].fd);
        free(list[i].address);
    }
    free(list);
}

bool listens_open(struct master *m, const struct config *c, struct listening **out, struct fault *f)
{
    struct listening *list = mem_calloc(c->listen_cnt, sizeof(*list));

    for (size_t i = 0; i < c->listen_cnt; i++) {
        const char *address = c->listens[i].address;
        list[i].address = mem_strdup(address);
        list[i].fd = find_socket(m, address);
        if (list[i].fd < 0)
            list[i].fd = listener_bind(address, f);
        if (list[i].fd < 0) {
            fault_prefix(f, "listen[%zu]", i);
            close_others(list, i + 1, m->listens, m->listen_cnt);
            return false;
        }
    }
    *out = list;
    return true;
}

/*
 * Who may connect: root, the run user, and the group of the configuration. A file has one group:
 * where there are auditors as well everybody may connect, and the admin, who asks the kernel who it
 * is, gives nothing to others.
 */
static bool socket_for(const char *path, const struct privs *p, const struct group *group,
                       bool auditors, struct fault *f)
{
    gid_t gid = group != NULL ? group->gr_gid : p->gid;

    if (chmod(path, auditors        ? 0666
                    : group != NULL ? 0660
                                    : 0600) == 0 &&
        ((!p->change && group == NULL) || chown(path, p->change ? p->uid : (uid_t)-1, gid) == 0))
        return true;
    fault_set_errno(f, "%s: cannot set who may connect", path);
    return false;
}

const char *admin_audit_group(const struct config *c)
{
    return c->admin.audit_group != NULL ? c->admin.audit_group : "consentd-audit";
}

/* The operators' socket. Bound here, where the folder may be root's. */
bool admin_socket_open(struct master *m, const struct config *c, const struct privs *p,
                       struct fault *f)
{
    bool auditors = getgrnam(admin_audit_group(c)) != NULL;
    const struct group *group = c->admin.group != NULL ? getgrnam(c->admin.group) : NULL;
    char *path = c->admin.socket != NULL ? mem_strdup(c->admin.socket)
                                         : file_resolve(c->state_dir, "admin.sock");
    char address[256];
    char *folder;
    mode_t mask;
    int fd;

    if (c->admin.group != NULL && group == NULL) {
        fault_set(f, "admin.group: there is no group \"%s\"", c->admin.group);
        free(path);
        return false;
    }
    if (c->admin.audit_group != NULL && !auditors) {
        fault_set(f, "admin.audit_group: there is no group \"%s\"", c->admin.audit_group);
        free(path);
        return false;
    }
    if (m->admin_socket != NULL && strcmp(m->admin_socket, path) == 0) {
        free(path);
        return socket_for(m->admin_socket, p, group, auditors, f);
    }
    snprintf(address, sizeof(address), "unix:%s", path);
    folder = file_dir_of(path);
    mask = umask(0022); /* the group must get as far as the socket */
    fd = file_make_dirs(folder, 0755, f) ? listener_bind(address, f) : -1;
    umask(mask);
    free(folder);
    if (fd < 0 || !socket_for(path, p, group, auditors, f)) {
        if (fd >= 0)
            close(fd);
        free(path);
        return false;
    }
    if (m->admin_socket != NULL) {
        close(m->admin_fd);
        unlink(m->admin_socket);
    }
    free(m->admin_socket);
    m->admin_fd = fd;
    m->admin_socket = path;
    return true;
}

/* Everybody who sits somewhere gets up: the next seats_fill() seats new ones. */
static void unseat(struct master *m)
{
    for (unsigned i = 0; i < m->seat_cnt; i++) {
        struct child *c = m->seats[i].child;
        if (c == NULL)
            continue;
        c->seat = NULL;
        m->seats[i].child = NULL;
        if (c->role != IPC_ROLE_WORKER)
            child_drain(c);
    }
}

static bool prepare(struct master *m, struct material *fresh, struct listening **listens,
                    struct fault *f)
{
    struct privs privs;

    if (!logs_open_program(fresh->config, f) || !privs_find(fresh->config, &privs, f) ||
        !privs_make_dirs(fresh->config, &privs, f) ||
        !admin_socket_open(m, fresh->config, &privs, f) ||
        !listens_open(m, fresh->config, listens, f))
        return false;
    m->privs = privs;
    return true;
}

void master_reload(struct master *m)
{
    struct fault why = {0};
    struct listening *listens = NULL;

    if (m->stopping)
        return;
    notify("RELOADING=1");
    certs_seen(m);
    struct material *fresh = material_load(m->config_path, &why);
    if (fresh == NULL || !prepare(m, fresh, &listens, &why)) {
        log_error("reload.refused", "reason=\"%s\"", why.text);
        metric_add(METRIC_RELOADS_REFUSED, 1);
        material_free(fresh);
        notify("READY=1\nSTATUS=The new configuration was refused; the old one is in force.");
        return;
    }
    close_others(m->listens, m->listen_cnt, listens, fresh->config->listen_cnt);
    m->listens = listens;
    m->listen_cnt = fresh->config->listen_cnt;
    unseat(m);
    material_free(m->material);
    m->material = fresh;
    certs_seen(m);
    log_set_level(fresh->config->log_level);
    m->swapping = true;
    seats_set(m);
    seats_fill(m);
    log_info("reload.started", "sites=%zu", fresh->config->site_cnt);
}

static bool all_ready(const struct master *m)
{
    for (unsigned i = 0; i < m->seat_cnt; i++) {
        const struct seat *seat = &m->seats[i];
        if (seat->role == IPC_ROLE_WORKER &&
            (seat->child == NULL || seat->child->state != CHILD_READY))
            return false;
    }
    return true;
}

void reload_progress(struct master *m)
{
    unsigned old = 0;

    if (!m->swapping || !all_ready(m))
        return;
    m->swapping = false;
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];
        if (c->pid == 0 || c->seat != NULL)
            continue;
        child_drain(c);
        old++;
    }
    metric_add(METRIC_RELOADS, 1);
    log_info("reload.done", "draining=%u", old);
    notify("READY=1\nSTATUS=Serving.");
}
