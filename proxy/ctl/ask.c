/*
 * ask.c - one question to the admin process over its socket (proc/admin_role.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "ctl_priv.h"

#define WAIT_S 10 /* the admin answers within two seconds whatever happens */

static char *socket_path(const struct ctl_args *args, struct fault *f)
{
    struct config *c = config_load(args->config, f);
    char *path;

    if (c == NULL)
        return NULL;
    path = c->admin.socket != NULL ? mem_strdup(c->admin.socket)
                                   : file_resolve(c->state_dir, "admin.sock");
    config_free(c);
    return path;
}

static int dial(const char *path, struct fault *f)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const struct timeval wait = {.tv_sec = WAIT_S};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(to.sun_path)) {
        fault_set(f, "%s: too long for a socket", path);
    } else if (fd >= 0) {
        memcpy(to.sun_path, path, strlen(path) + 1);
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
            connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
            return fd;
        fault_set(f, "%s: %s (is consentd running, and may you use it?)", path, strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool exchange(int fd, const char *line, struct buf *out, struct fault *f)
{
    char text[1024];
    int len = snprintf(text, sizeof(text), "%s\n", line);
    ssize_t got = 0;

    if (len < 0 || (size_t)len >= sizeof(text) ||
        send(fd, text, (size_t)len, MSG_NOSIGNAL) != len) {
        fault_set(f, "the request could not be sent");
        return false;
    }
    do {
        uint8_t *room = buf_reserve(out, 65536);

        if (room == NULL) {
            fault_set(f, "the answer is too long");
            return false;
        }
        got = recv(fd, room, 65536, 0);
        if (got > 0)
            buf_commit(out, (size_t)got);
    } while (got > 0);
    if (got < 0)
        fault_set(f, "no answer: %s", strerror(errno));
    return got == 0;
}

bool ctl_ask(const struct ctl_args *args, const char *line, struct buf *out, struct fault *f)
{
    char *path = socket_path(args, f);
    int fd = path != NULL ? dial(path, f) : -1;
    bool ok = fd >= 0 && exchange(fd, line, out, f);

    if (fd >= 0)
        close(fd);
    free(path);
    if (!ok)
        return false;
    if (str_starts(buf_str(out), STR("ok\n"))) {
        buf_consume(out, 3);
        return true;
    }
    fault_set(f, "%.*s", STR_ARGS(str_slice(buf_str(out), 0, out->len > 0 ? out->len - 1 : 0)));
    return false;
}
