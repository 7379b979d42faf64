/*
 * ask.c - one request to the admin process over its socket: HTTP/1.1, one per connection.
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
#include "consentd/json.h"
#include "consentd/mem.h"
#include "ctl_priv.h"

#define REQUEST_MAX 65536
#define WAIT_S      10 /* the admin answers within half of it whatever happens */

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

static int dial(const char *path, unsigned wait_s, struct fault *f)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const struct timeval wait = {.tv_sec = wait_s};
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

int ctl_dial(const struct ctl_args *args, unsigned wait_s, struct fault *f)
{
    char *path = socket_path(args, f);
    int fd = path != NULL ? dial(path, wait_s, f) : -1;

    free(path);
    return fd;
}

bool ctl_send_request(int fd, const char *method, const char *target, struct str body)
{
    struct buf text;
    bool ok;

    buf_init(&text, REQUEST_MAX);
    ok = buf_printf(&text,
                    "%s %s HTTP/1.1\r\nHost: admin\r\nContent-Type: application/json\r\n"
                    "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                    method, target, body.len) &&
         buf_append_str(&text, body) &&
         send(fd, text.data, text.len, MSG_NOSIGNAL) == (ssize_t)text.len;
    buf_free(&text);
    return ok;
}

static bool exchange(int fd, struct buf *out, struct fault *f)
{
    ssize_t got = 0;

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

/* {"error": "…"} as the reason. */
void ctl_fault_from(struct str status, struct str body, struct fault *f)
{
    json_t *root = json_load_text("answer", body, 0, NULL);
    const char *why = json_string_value(json_object_get(root, "error"));

    if (why != NULL)
        fault_set(f, "%s", why);
    else
        fault_set(f, "the admin answered %.*s", STR_ARGS(status));
    json_decref(root);
}

/* Leaves the body of a success in out. */
static bool take_body(struct buf *out, struct fault *f)
{
    struct str all = buf_str(out);
    ptrdiff_t end = str_find(all, STR("\r\n\r\n"));
    struct str status = str_slice(all, 9, 3);

    if (!str_starts(all, STR("HTTP/1.1 ")) || end < 0) {
        fault_set(f, "the admin hung up");
        return false;
    }
    if (!str_starts(status, STR("2"))) {
        ctl_fault_from(status, str_slice(all, (size_t)end + 4, all.len), f);
        return false;
    }
    buf_consume(out, (size_t)end + 4);
    return true;
}

bool ctl_ask(const struct ctl_args *args, const char *method, const char *target, struct str body,
             struct buf *out, struct fault *f)
{
    char *path = socket_path(args, f);
    int fd = path != NULL ? dial(path, WAIT_S, f) : -1;
    bool ok = fd >= 0 && ctl_send_request(fd, method, target, body);

    if (fd >= 0 && !ok)
        fault_set(f, "%s: the request could not be sent, or is longer than %d bytes", path,
                  REQUEST_MAX);
    ok = ok && exchange(fd, out, f) && take_body(out, f);
    if (fd >= 0)
        close(fd);
    free(path);
    return ok;
}

json_t *ctl_ask_json(const struct ctl_args *args, const char *method, const char *target,
                     struct fault *f)
{
    json_t *root = NULL;
    struct buf out;

    buf_init(&out, CTL_ANSWER_MAX);
    if (ctl_ask(args, method, target, str_c(""), &out, f))
        root = json_load_text("answer", buf_str(&out), 0, f);
    buf_free(&out);
    return root;
}

bool ctl_target_add(struct buf *target, const char *name, struct str value)
{
    bool ok = buf_append_char(target, memchr(target->data, '?', target->len) == NULL ? '?' : '&') &&
              buf_append_c(target, name) && buf_append_char(target, '=');

    for (size_t i = 0; ok && i < value.len; i++)
        ok = ascii_is_alnum(value.ptr[i]) || strchr("-_.~:", value.ptr[i]) != NULL
                 ? buf_append_char(target, value.ptr[i])
                 : buf_printf(target, "%%%02X", (unsigned)(uint8_t)value.ptr[i]);
    return ok;
}
