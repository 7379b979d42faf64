/*
 * sink_syslog.c - RFC 5424 messages to a unix socket, over UDP, or octet-counted over TCP.
 *
 * The structured data has everything of the checkpoint, so that it can be put together again:
 *   origin "\n" size "\n" root "\n\n" the signature lines
 * Syslog confirms nothing: a datagram that was sent, a stream that took the bytes, is delivered.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/conn.h"
#include "consentd/mem.h"
#include "sinks_priv.h"

#define PRIORITY 109 /* facility 13, log audit; severity 5, notice */

static bool put_param(struct buf *out, const char *name, struct str value)
{
    bool ok = buf_printf(out, " %s=\"", name);

    for (size_t i = 0; ok && i < value.len; i++) { /* RFC 5424 6.3.3 */
        char c = value.ptr[i];

        if (c == '"' || c == '\\' || c == ']')
            ok = buf_append_c(out, "\\");
        ok = ok && buf_append(out, &c, 1);
    }
    return ok && buf_append_c(out, "\"");
}

static bool put_head(struct buf *out)
{
    uint64_t ms = clock_wall_ms();
    time_t t = (time_t)(ms / 1000);
    char host[256] = "-", when[32];
    struct tm tm;

    if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
        memcpy(host, "-", 2);
    (void)gmtime_r(&t, &tm);
    (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    return buf_printf(out, "<%d>1 %s.%03uZ %s consentd %d checkpoint", PRIORITY, when,
                      (unsigned)(ms % 1000), host, (int)getpid());
}

bool sink_syslog_message(struct str note, struct buf *out)
{
    struct str rest = note, origin, size, root, empty, line;
    bool ok = str_cut(&rest, '\n', &origin) && str_cut(&rest, '\n', &size) &&
              str_cut(&rest, '\n', &root) && str_cut(&rest, '\n', &empty) && put_head(out) &&
              buf_append_c(out, " [checkpoint@32473") && put_param(out, "origin", origin) &&
              put_param(out, "size", size) && put_param(out, "root", root);

    while (ok && rest.len > 0 && str_cut(&rest, '\n', &line))
        ok = put_param(out, "signature", line);
    return ok && buf_printf(out, "] %.*s leaves in %.*s", STR_ARGS(size), STR_ARGS(origin));
}

/* --- datagrams -------------------------------------------------------------------------- */

static bool open_datagrams(struct sink *s)
{
    struct sockaddr_un unix_addr = {.sun_family = AF_UNIX};
    const struct sockaddr *addr = (const struct sockaddr *)&s->to.addr;
    socklen_t len = s->to.addr_len;

    if (s->to.kind == SINK_SYSLOG_UNIX) {
        (void)snprintf(unix_addr.sun_path, sizeof(unix_addr.sun_path), "%.107s", s->to.path);
        addr = (const struct sockaddr *)&unix_addr;
        len = sizeof(unix_addr);
    }
    s->fd = socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return s->fd >= 0 && connect(s->fd, addr, len) == 0;
}

static void send_datagram(struct sink *s, const struct buf *message)
{
    char why[128];

    if ((s->fd < 0 && !open_datagrams(s)) ||
        send(s->fd, message->data, message->len, MSG_NOSIGNAL) != (ssize_t)message->len) {
        (void)snprintf(why, sizeof(why), "%s", strerrordesc_np(errno));
        if (s->fd >= 0)
            close(s->fd);
        s->fd = -1; /* whoever listened may have been started anew */
        sink_done(s, false, why);
        return;
    }
    sink_done(s, true, "");
}

/* --- a stream --------------------------------------------------------------------------- */

static void write_framed(struct sink *s)
{
    struct buf message, framed;
    bool ok;

    buf_init(&message, 2 * NOTE_CHECKPOINT_MAX);
    buf_init(&framed, 3 * NOTE_CHECKPOINT_MAX);
    ok = sink_syslog_message(buf_str(&s->note), &message) &&
         buf_printf(&framed, "%zu ", message.len) && buf_append_str(&framed, buf_str(&message)) &&
         conn_write(s->conn, framed.data, framed.len);
    s->sending = s->size; /* the newest one was written */
    if (!ok && s->conn != NULL) {
        conn_close(s->conn);
        s->conn = NULL;
    }
    sink_done(s, ok, "the connection takes no more");
    buf_free(&message);
    buf_free(&framed);
}

static void on_open(void *owner)
{
    struct sink *s = owner;

    if (s->sending != 0)
        write_framed(s);
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    UNUSED(owner);
    UNUSED(data);
    return len; /* syslog says nothing */
}

static void on_eof(void *owner)
{
    struct sink *s = owner;

    conn_close(s->conn);
    s->conn = NULL;
    sink_done(s, false, "the connection was closed");
}

static void on_closed(void *owner, enum conn_why why)
{
    struct sink *s = owner;

    s->conn = NULL;
    sink_done(s, false, conn_strerror(why));
}

static void send_stream(struct sink *s)
{
    static const struct conn_ops ops = {
        .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_closed = on_closed};
    const struct conn_dial_opts opts = {.connect_timeout_ms = SINK_TIMEOUT_MS / 2};

    if (s->conn != NULL)
        write_framed(s);
    else
        s->conn = conn_dial(s->loop, &s->to.endpoint, &opts, &ops, s);
}

void sink_syslog_send(struct sink *s)
{
    struct buf message;

    if (s->to.kind == SINK_SYSLOG_TCP) {
        send_stream(s);
        return;
    }
    buf_init(&message, 2 * NOTE_CHECKPOINT_MAX);
    if (sink_syslog_message(buf_str(&s->note), &message))
        send_datagram(s, &message);
    else
        sink_done(s, false, "the checkpoint is no checkpoint");
    buf_free(&message);
}
