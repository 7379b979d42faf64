/*
 * stream.c - a long answer of the admin: HTTP/1.1 in chunks, read as it comes.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "ctl_priv.h"

#define WAIT_S   120        /* a filter that lets little through sends nothing for long */
#define READ_LEN 65536      /* bytes of one read */
#define LINE_MAX 1024       /* bytes of a chunk's first line */
#define HEAD_MAX 8192       /* of the answer */
#define BODY_MAX (1u << 20) /* of an answer that refuses */

struct reader {
    int fd;
    struct buf in;
};

/* More bytes; false: the end, or nothing came in time. */
static bool more(struct reader *r)
{
    uint8_t *room = buf_reserve(&r->in, READ_LEN);
    ssize_t got = room != NULL ? recv(r->fd, room, READ_LEN, 0) : -1;

    if (got > 0)
        buf_commit(&r->in, (size_t)got);
    return got > 0;
}

/* The bytes up to `mark`, without it; they stay in the buffer until buf_consume. */
static bool until(struct reader *r, struct str mark, size_t max, struct str *out)
{
    ptrdiff_t at;

    while ((at = str_find(buf_str(&r->in), mark)) < 0)
        if (r->in.len > max || !more(r))
            return false;
    *out = str_slice(buf_str(&r->in), 0, (size_t)at);
    return true;
}

/* "1f4;cursor=\"…\"" */
static bool read_chunk_line(struct reader *r, size_t *len_out, char cursor[LINE_MAX])
{
    struct str line, size, extension;
    uint8_t bytes[8] = {0};
    char digits[17];

    cursor[0] = '\0';
    if (!until(r, STR("\r\n"), LINE_MAX, &line))
        return false;
    extension = line;
    (void)str_cut(&extension, ';', &size);
    if (size.len == 0 || size.len > 16)
        return false;
    (void)snprintf(digits, sizeof(digits), "%016d", 0);
    memcpy(digits + 16 - size.len, size.ptr, size.len);
    if (!hex_decode(str_make(digits, 16), bytes, sizeof(bytes)))
        return false;
    *len_out = 0;
    for (size_t i = 0; i < sizeof(bytes); i++)
        *len_out = *len_out << 8 | bytes[i];
    if (str_starts(extension, STR("cursor=\"")) && str_ends(extension, STR("\"")))
        (void)snprintf(cursor, LINE_MAX, "%.*s", (int)(extension.len - 9), extension.ptr + 8);
    buf_consume(&r->in, line.len + 2);
    return true;
}

/* Hands out len bytes and takes the line's end behind them. */
static enum ctl_stream_end read_chunk(struct reader *r, size_t len,
                                      const struct ctl_stream_ops *ops, void *arg)
{
    while (len > 0) {
        size_t piece = r->in.len < len ? r->in.len : len;

        if (piece == 0) {
            if (!more(r))
                return CTL_STREAM_CUT;
            continue;
        }
        if (!ops->on_data(arg, str_slice(buf_str(&r->in), 0, piece)))
            return CTL_STREAM_STOPPED;
        buf_consume(&r->in, piece);
        len -= piece;
    }
    while (r->in.len < 2)
        if (!more(r))
            return CTL_STREAM_CUT;
    if (memcmp(r->in.data, "\r\n", 2) != 0)
        return CTL_STREAM_CUT;
    buf_consume(&r->in, 2);
    return CTL_STREAM_DONE;
}

static enum ctl_stream_end read_chunks(struct reader *r, const struct ctl_stream_ops *ops,
                                       void *arg)
{
    enum ctl_stream_end end;
    char cursor[LINE_MAX];
    size_t len;

    while (read_chunk_line(r, &len, cursor)) {
        if (len == 0)
            return CTL_STREAM_DONE;
        end = read_chunk(r, len, ops, arg);
        if (end != CTL_STREAM_DONE)
            return end;
        if (!ops->on_chunk(arg, str_c(cursor)))
            return CTL_STREAM_STOPPED;
    }
    return CTL_STREAM_CUT;
}

/* The head; a status other than 200 and its reason. */
static enum ctl_stream_end read_head(struct reader *r, struct fault *f)
{
    struct str head, status;

    fault_set(f, "the admin hung up");
    if (!until(r, STR("\r\n\r\n"), HEAD_MAX, &head) || !str_starts(head, STR("HTTP/1.1 ")))
        return CTL_STREAM_CUT;
    status = str_slice(head, 9, 3);
    if (str_eq_c(status, "200")) {
        buf_consume(&r->in, head.len + 4);
        return CTL_STREAM_DONE;
    }
    while (r->in.len < BODY_MAX && more(r))
        continue;
    head = buf_str(&r->in);
    ctl_fault_from(str_slice(head, 9, 3),
                   str_slice(head, (size_t)str_find(head, STR("\r\n\r\n")) + 4, head.len), f);
    return CTL_STREAM_REFUSED;
}

enum ctl_stream_end ctl_stream(const struct ctl_args *args, const char *target,
                               const struct ctl_stream_ops *ops, void *arg, struct fault *f)
{
    struct reader r = {.fd = ctl_dial(args, WAIT_S, f)};
    enum ctl_stream_end end = CTL_STREAM_REFUSED;

    if (r.fd < 0)
        return end;
    buf_init(&r.in, BODY_MAX + READ_LEN);
    end = CTL_STREAM_CUT;
    fault_set(f, "the request could not be sent");
    if (ctl_send_request(r.fd, "GET", target, str_c("")))
        end = read_head(&r, f);
    if (end == CTL_STREAM_DONE) {
        fault_set(f, "the answer was cut off");
        end = read_chunks(&r, ops, arg);
    }
    buf_free(&r.in);
    close(r.fd);
    return end;
}
