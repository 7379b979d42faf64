/*
 * sink_http.c - POST of a checkpoint; a connection per checkpoint, closed by the answer.
 *
 * Of the answer only its status matters, so its first line is all that is read.
 */
#include <stdio.h>
#include <string.h>

#include "consentd/conn.h"
#include "consentd/mem.h"
#include "sinks_priv.h"

static void end(struct sink *s, bool ok, const char *why)
{
    if (s->conn != NULL)
        conn_close(s->conn);
    s->conn = NULL;
    sink_done(s, ok, why);
}

static void on_open(void *owner)
{
    struct sink *s = owner;
    const struct endpoint *ep = &s->to.endpoint;
    bool v6 = strchr(ep->host, ':') != NULL;
    struct buf request;
    bool ok;

    buf_init(&request, 2 * NOTE_CHECKPOINT_MAX);
    ok = buf_printf(&request,
                    "POST %s HTTP/1.1\r\nHost: %s%s%s:%u\r\nContent-Type: text/plain; "
                    "charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                    s->to.path, v6 ? "[" : "", ep->host, v6 ? "]" : "", ep->port, s->note.len) &&
         buf_append_str(&request, buf_str(&s->note)) &&
         conn_write(s->conn, request.data, request.len);
    buf_free(&request);
    s->sending = s->size; /* what was written just now */
    if (!ok)
        end(s, false, "the connection takes nothing");
}

/* "HTTP/1.1 204 ..." in s->head. */
static void judge(struct sink *s)
{
    char why[80];
    struct str line = buf_str(&s->head);

    if (line.len < 12)
        return;
    if (!str_starts(line, STR("HTTP/1.")) || line.ptr[8] != ' ') {
        end(s, false, "an answer that is not HTTP/1");
        return;
    }
    (void)snprintf(why, sizeof(why), "answered %.*s", 3, line.ptr + 9);
    end(s, line.ptr[9] == '2', why);
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct sink *s = owner;

    if (s->head.len < 12 && !buf_append(&s->head, data, len < 12 ? len : 12))
        end(s, false, "no room for the answer");
    else
        judge(s);
    return len;
}

static void on_eof(void *owner)
{
    end(owner, false, "closed without an answer");
}

static void on_closed(void *owner, enum conn_why why)
{
    struct sink *s = owner;

    s->conn = NULL;
    sink_done(s, false, conn_strerror(why));
}

void sink_http_send(struct sink *s)
{
    static const struct conn_ops ops = {
        .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_closed = on_closed};
    const struct conn_dial_opts opts = {.connect_timeout_ms = SINK_TIMEOUT_MS / 2, .tls = s->tls};

    buf_clear(&s->head);
    s->conn = conn_dial(s->loop, &s->to.endpoint, &opts, &ops, s);
}
