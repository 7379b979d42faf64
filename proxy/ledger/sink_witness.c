/*
 * sink_witness.c - C2SP tlog-witness: POST of "old" and a size, the proof that the log only grew
 * since then, and the checkpoint; the answer is the witness's signature under it.
 *
 * What tree the witness has is not kept: the first question says 0, and a witness that has one
 * answers 409 with its size, from which the next one goes on. HTTP/1.0, so that no answer is
 * chunked; a connection per question.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/conn.h"
#include "consentd/merkle.h"
#include "sinks_priv.h"

#define REQUEST_MAX 16384

static void end(struct sink *s, bool ok, const char *why)
{
    if (s->conn != NULL)
        conn_close(s->conn);
    s->conn = NULL;
    sink_done(s, ok, why);
}

/* --- the question --------------------------------------------------------------------------- */

/* Another log has begun: the witness has seen nothing of it. */
static void look_at_origin(struct sink *s)
{
    struct str was = buf_str(&s->sent), is = buf_str(&s->note), a, b;

    if (!str_cut(&was, '\n', &a) || !str_cut(&is, '\n', &b) || !str_eq(a, b))
        s->old = 0;
    buf_clear(&s->sent);
}

static bool put_body(struct sink *s, struct buf *out)
{
    struct merkle_proof proof = {0};

    if (s->old > s->size ||
        (s->old > 0 && s->old < s->size &&
         (s->ops == NULL || !s->ops->prove(s->owner, s->old, s->size, &proof))) ||
        !buf_printf(out, "old %" PRIu64 "\n", s->old))
        return false;
    for (unsigned i = 0; i < proof.cnt; i++) {
        char text[B64_PADDED_LEN(MERKLE_HASH_LEN) + 1];

        b64_encode(text, proof.hash[i], MERKLE_HASH_LEN);
        if (!buf_printf(out, "%s\n", text))
            return false;
    }
    return buf_append_c(out, "\n") && buf_append_str(out, buf_str(&s->note));
}

static void on_open(void *owner)
{
    struct sink *s = owner;
    const struct endpoint *ep = &s->to.endpoint;
    bool v6 = strchr(ep->host, ':') != NULL;
    struct buf body, request;
    bool proven, ok = false;

    buf_init(&body, REQUEST_MAX);
    buf_init(&request, REQUEST_MAX);
    look_at_origin(s);
    s->sending = s->size;
    proven = put_body(s, &body);
    if (proven)
        ok = buf_append_str(&s->sent, buf_str(&s->note)) &&
             buf_printf(&request,
                        "POST %s HTTP/1.0\r\nHost: %s%s%s:%u\r\nContent-Type: text/plain; "
                        "charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                        s->to.path, v6 ? "[" : "", ep->host, v6 ? "]" : "", ep->port, body.len) &&
             buf_append_str(&request, buf_str(&body)) &&
             conn_write(s->conn, request.data, request.len);
    buf_free(&request);
    buf_free(&body);
    if (!proven)
        end(s, false, "no proof from the tree that the witness has");
    else if (!ok)
        end(s, false, "the connection takes nothing");
}

/* --- the answer ----------------------------------------------------------------------------- */

static void take_cosignature(struct sink *s, struct str body)
{
    struct fault f = {{0}};
    struct str line = note_cosignature(&s->to.witness, buf_str(&s->sent), body, &f);

    if (line.len == 0) {
        end(s, false, f.text);
        return;
    }
    s->old = s->sending;
    if (s->ops != NULL)
        s->ops->on_cosigned(s->owner, s->sending, buf_str(&s->sent), &s->to.witness, line);
    end(s, true, NULL);
}

/* Without the end of its line. */
static struct str strip(struct str text)
{
    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
        text.len--;
    return str_trim(text);
}

/* 409: it has another tree than we thought; asked again from there, once. */
static void take_size(struct sink *s, struct str body)
{
    char why[120];
    uint64_t size;

    if (!str_to_u64(strip(body), INT64_MAX, &size)) {
        end(s, false, "answered 409 without the size of its tree");
    } else if (s->told || size == s->old || size > s->size) {
        (void)snprintf(
            why, sizeof(why),
            "the witness has a tree of %" PRIu64 " leaves that this log does not continue", size);
        end(s, false, why);
    } else {
        s->old = size;
        s->told = true;
        conn_close(s->conn);
        sink_witness_send(s);
    }
}

static void judge(struct sink *s, struct str head, struct str body)
{
    static const struct {
        struct str status;
        const char *why;
    } reasons[] = {
        {STR("403"), "answered 403: the witness does not know this log's key"},
        {STR("404"), "answered 404: the witness does not know this log, or this address"},
        {STR("422"), "answered 422: the proof does not convince the witness"},
    };
    struct str status = str_slice(head, 9, 3);
    char why[80];

    if (!str_starts(head, STR("HTTP/1.")) || head.len < 12 || head.ptr[8] != ' ') {
        end(s, false, "an answer that is not HTTP/1");
        return;
    }
    if (str_eq_c(status, "200")) {
        take_cosignature(s, body);
        return;
    }
    if (str_eq_c(status, "409")) {
        take_size(s, body);
        return;
    }
    (void)snprintf(why, sizeof(why), "answered %.*s", STR_ARGS(status));
    for (size_t i = 0; i < COUNT_OF(reasons); i++)
        if (str_eq(status, reasons[i].status))
            (void)snprintf(why, sizeof(why), "%s", reasons[i].why);
    end(s, false, why);
}

/* The length that the head tells; UINT64_MAX: up to the end of the connection. */
static uint64_t body_length(struct str head)
{
    struct str line, name;
    uint64_t len;

    while (str_cut(&head, '\n', &line))
        if (str_cut(&line, ':', &name) && str_eq_fold(name, STR("content-length")) &&
            str_to_u64(strip(line), INT64_MAX, &len))
            return len;
    return UINT64_MAX;
}

static void look(struct sink *s, bool ended)
{
    struct str text = buf_str(&s->head);
    ptrdiff_t gap = str_find(text, STR("\r\n\r\n"));
    struct str head, body;
    uint64_t len;

    if (gap < 0) {
        if (ended)
            end(s, false, "closed without an answer");
        return;
    }
    head = str_slice(text, 0, (size_t)gap + 2);
    body = str_slice(text, (size_t)gap + 4, text.len);
    len = body_length(head);
    if (body.len >= len || (ended && len == UINT64_MAX))
        judge(s, head, str_slice(body, 0, len < body.len ? (size_t)len : body.len));
    else if (ended)
        end(s, false, "closed in the middle of an answer");
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct sink *s = owner;

    if (!buf_append(&s->head, data, len))
        end(s, false, "an answer that is too long");
    else
        look(s, false);
    return len;
}

static void on_eof(void *owner)
{
    look(owner, true);
}

static void on_closed(void *owner, enum conn_why why)
{
    struct sink *s = owner;

    s->conn = NULL;
    end(s, false, conn_strerror(why));
}

void sink_witness_send(struct sink *s)
{
    static const struct conn_ops ops = {
        .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_closed = on_closed};
    const struct conn_dial_opts opts = {.connect_timeout_ms = SINK_TIMEOUT_MS / 2, .tls = s->tls};

    buf_clear(&s->head);
    s->conn = conn_dial(s->loop, &s->to.endpoint, &opts, &ops, s);
}
