/*
 * names_watch.c - /etc/hosts and /etc/resolv.conf for processes that cannot open them any more.
 *
 * Landlock binds a rule to the file that was there when the sandbox was entered, and whoever edits
 * these two (editors, DHCP clients, container engines) puts another file in its place. The master
 * is in no sandbox: it looks, and sends what the new one says, as a sealed copy in
 * memory: all processes hold the same one, and none can change it for the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/memfile.h"
#include "consentd/names.h"
#include "master_priv.h"

static const char *const paths[] = {
    [IPC_NAMES_HOSTS] = "/etc/hosts",
    [IPC_NAMES_RESOLV] = "/etc/resolv.conf",
};

/* A number that changes when the file does; 0: it is not there. */
static uint64_t look(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return 0;
    return ((uint64_t)st.st_ino << 40 ^ (uint64_t)st.st_size << 32 ^
            (uint64_t)st.st_mtim.tv_sec << 30 ^ (uint64_t)st.st_mtim.tv_nsec) |
           1;
}

/* Its contents in memory, sealed; -1 with the reason. */
static int copy_of(const char *path, struct fault *f)
{
    struct buf text;
    int fd = -1;

    buf_init(&text, NAMES_HOSTS_MAX);
    if (file_read(path, NAMES_HOSTS_MAX, &text, f)) {
        fd = memfile_new("consentd-names");
        if (fd < 0 || !file_write_all(fd, text.data, text.len) || !memfile_seal(fd)) {
            fault_set_errno(f, "%s: cannot be copied", path);
            if (fd >= 0)
                close(fd);
            fd = -1;
        }
    }
    buf_free(&text);
    return fd;
}

static void send_all(struct master *m, enum ipc_names_file file, int fd)
{
    struct ipc_names head = {.file = file};

    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];
        int dup;

        if (c->pid == 0 || c->ipc == NULL)
            continue;
        dup = fcntl(fd, F_DUPFD_CLOEXEC, 16);
        if (dup < 0 || !ipc_send(c->ipc, IPC_NAMES, &head, sizeof(head), dup))
            log_error("names.unsent", "role=%s slot=%u", proc_role_name(c->role), c->slot);
    }
}

static void on_look(void *arg)
{
    struct master *m = arg;

    for (unsigned i = 0; i < COUNT_OF(paths) && !m->stopping; i++) {
        uint64_t now = look(paths[i]);
        struct fault why = {0};
        int fd;

        if (now == 0 || now == m->names_seen[i])
            continue;
        m->names_seen[i] = now;
        fd = copy_of(paths[i], &why);
        if (fd < 0) {
            log_warn("names.unread", "reason=\"%s\"", why.text);
            continue;
        }
        log_info("names.changed", "file=%s", paths[i]);
        send_all(m, (enum ipc_names_file)i, fd);
        close(fd);
    }
    timer_set(&m->names_timer, NAMES_HOSTS_MS);
}

void names_watch(struct master *m)
{
    for (unsigned i = 0; i < COUNT_OF(paths); i++)
        m->names_seen[i] = look(paths[i]);
    timer_init(&m->names_timer, m->loop, on_look, m);
    timer_set(&m->names_timer, NAMES_HOSTS_MS);
}
