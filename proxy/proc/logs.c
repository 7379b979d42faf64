/*
 * logs.c - the files that lines go to, and opening them again after they were moved.
 *
 * Only the master opens a file a second time: its folder may be root's alone, and the children
 * see no files. They get the descriptor in a message.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "master_priv.h"

#define LOG_MODE 0640

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, LOG_MODE);
}

int logs_open_access(const struct config *c)
{
    int fd;

    if (c->access_log == NULL)
        return -1;
    if (strcmp(c->access_log, "stderr") == 0)
        return STDERR_FILENO;
    fd = open_file(c->access_log);
    if (fd < 0)
        log_error("access_log.failed", "reason=\"%s\"", strerror(errno));
    return fd;
}

bool logs_open_program(const struct config *c, struct fault *f)
{
    int fd;

    if (c->log_file == NULL)
        return true;
    fd = open_file(c->log_file);
    if (fd >= 0 && dup2(fd, STDERR_FILENO) >= 0) {
        close(fd);
        return true;
    }
    fault_set_errno(f, "log.file: %s", c->log_file);
    if (fd >= 0)
        close(fd);
    return false;
}

/* Old generations write on until they are done: they get it too. */
static void send_all(struct master *m, enum ipc_log log, int fd)
{
    struct ipc_log_open message = {.log = log};

    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];
        int copy;

        if (c->pid == 0 || c->ipc == NULL || (log == IPC_LOG_ACCESS && c->role != IPC_ROLE_WORKER))
            continue;
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 16);
        if (copy < 0 || !ipc_send(c->ipc, IPC_LOG_OPEN, &message, sizeof(message), copy))
            log_error("logs.unsent", "role=%s slot=%u", proc_role_name(c->role), c->slot);
    }
}

void logs_reopen(struct master *m)
{
    const struct config *c = m->material->config;
    struct fault why = {0};
    int fd;

    if (!logs_open_program(c, &why))
        log_error("logs.failed", "reason=\"%s\"", why.text);
    else if (c->log_file != NULL)
        send_all(m, IPC_LOG_PROGRAM, STDERR_FILENO);
    fd = logs_open_access(c);
    if (fd >= 0 && fd != STDERR_FILENO) {
        send_all(m, IPC_LOG_ACCESS, fd);
        close(fd);
    }
    log_info("logs.reopened", "");
}
