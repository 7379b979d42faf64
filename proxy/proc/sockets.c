/*
 * sockets.c - what the master listens on: the visitors' sockets, the operators' socket, and the
 * address of health and metrics. Those that stay the same over a reload are never closed.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/listener.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "master_priv.h"

#define BIND_TRIES   30 /* at the start */
#define BIND_WAIT_MS 100

static int find_socket(const struct master *m, const char *address)
{
    for (size_t i = 0; i < m->listen_cnt + m->listen_kept; i++) {
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

/*
 * listener_bind(). At the start the children of a master that died may still hold the address for
 * a moment: it is tried again for BIND_TRIES * BIND_WAIT_MS.
 */
static int bind_address(const struct master *m, const char *address, struct fault *f)
{
    const struct timespec wait = {.tv_nsec = BIND_WAIT_MS * 1000000L};
    unsigned tries = m->generation == 0 ? BIND_TRIES : 1;
    struct fault why = {0};
    int fd;

    while ((fd = listener_bind(address, &why)) < 0 && errno == EADDRINUSE && tries > 1) {
        if (tries-- == BIND_TRIES)
            log_warn("listen.busy", "address=%s text=\"in use; waiting up to %d ms\"", address,
                     BIND_TRIES * BIND_WAIT_MS);
        nanosleep(&wait, NULL);
    }
    if (fd < 0)
        *f = why;
    return fd;
}

bool listens_open(struct master *m, const struct config *c, struct listening **out, struct fault *f)
{
    struct listening *list = mem_calloc(c->listen_cnt, sizeof(*list));

    for (size_t i = 0; i < c->listen_cnt; i++) {
        const char *address = c->listens[i].address;
        list[i].address = mem_strdup(address);
        list[i].fd = find_socket(m, address);
        if (list[i].fd < 0)
            list[i].fd = bind_address(m, address, f);
        if (list[i].fd < 0) {
            fault_prefix(f, "listen[%zu]", i);
            close_others(list, i + 1, m->listens, m->listen_cnt + m->listen_kept);
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

void listens_set(struct master *m, struct listening *listens, size_t cnt)
{
    size_t old = m->listen_cnt + m->listen_kept, all = cnt;
    struct listening *list = mem_calloc(cnt + old, sizeof(*list));

    memcpy(list, listens, cnt * sizeof(*list));
    for (size_t i = 0; i < old; i++) {
        if (is_among(list, cnt, m->listens[i].fd))
            free(m->listens[i].address);
        else
            list[all++] = m->listens[i];
    }
    free(listens);
    free(m->listens);
    m->listens = list;
    m->listen_cnt = cnt;
    m->listen_kept = all - cnt;
}

static void watch_close(struct listening *watch)
{
    if (watch->address != NULL)
        close(watch->fd);
    free(watch->address);
    *watch = (struct listening){NULL, -1};
}

void sockets_drop_kept(struct master *m)
{
    for (size_t i = m->listen_cnt; i < m->listen_cnt + m->listen_kept; i++) {
        close(m->listens[i].fd);
        free(m->listens[i].address);
    }
    m->listen_kept = 0;
    watch_close(&m->watch_before);
    m->watch_moved = false;
}

void watch_restore(struct master *m)
{
    if (!m->watch_moved)
        return;
    watch_close(&m->watch);
    m->watch = m->watch_before;
    m->watch_before = (struct listening){NULL, -1};
    m->watch_moved = false;
}

bool watch_open(struct master *m, const struct config *c, struct fault *f)
{
    const char *address = c->admin.listen;
    int fd = -1;

    if (address == NULL ? m->watch.address == NULL
                        : m->watch.address != NULL && strcmp(address, m->watch.address) == 0)
        return true;
    if (address != NULL) {
        fd = bind_address(m, address, f);
        if (fd < 0) {
            fault_prefix(f, "admin.listen");
            return false;
        }
    }
    watch_close(&m->watch_before);
    m->watch_before = m->watch;
    m->watch_moved = true;
    m->watch = (struct listening){address != NULL ? mem_strdup(address) : NULL, fd};
    return true;
}
