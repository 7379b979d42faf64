/*
 * access_log.c - one line per request, gathered and written in one go.
 *
 *   203.0.113.0/24 - - [24/Nov/2026:03:52:35 +0000] "GET /path HTTP/1.1" 200 512 3ms shop
 *   analytics,marketing "why"
 *
 * Peer (truncated), time, method, path without its query, version, status, bytes of the body,
 * milliseconds since the head was complete, site, consent ("undecided" or what is granted), note.
 * "-" where there is nothing. A path may hold what would end the quotes: it is escaped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "consentd/category.h"
#include "consentd/clock.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/policy.h"
#include "serve_priv.h"

#define LINES_MAX   65536 /* bytes gathered; more are written at once */
#define LINES_FULL  16384 /* written when so many are gathered, else with the tick */
#define PATH_SHOWN  1024  /* bytes of a path that are written */
#define TIME_LEN    32
#define STATUS_LEFT 499 /* the client left before there was an answer */

struct access_log {
    int fd; /* borrowed */
    struct buf lines;
    int64_t time_s; /* of time */
    char time[TIME_LEN];
    bool failed; /* said already */
};

struct access_log *access_log_new(int fd)
{
    struct access_log *log;

    if (fd < 0)
        return NULL;
    log = mem_new(struct access_log);
    log->fd = fd;
    buf_init(&log->lines, LINES_MAX);
    return log;
}

void access_log_free(struct access_log *log)
{
    if (log == NULL)
        return;
    access_log_flush(log);
    buf_free(&log->lines);
    free(log);
}

/* Whole lines with one write(2) each time: workers that share a file do not mix them. */
void access_log_flush(struct access_log *log)
{
    if (log->lines.len == 0)
        return;
    if (write(log->fd, log->lines.data, log->lines.len) != (ssize_t)log->lines.len &&
        !log->failed) {
        log->failed = true;
        log_error("access_log.failed", "reason=\"%s\"", strerror(errno));
    }
    buf_clear(&log->lines);
}

static const char *time_text(struct access_log *log)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;

    if (log->time_s != now && gmtime_r(&now, &tm) != NULL &&
        strftime(log->time, sizeof(log->time), "%d/%b/%Y:%H:%M:%S +0000", &tm) > 0)
        log->time_s = now;
    return log->time;
}

/* Up to the query; bytes that would end the field as %XX. */
static bool path_write(struct buf *out, struct str path)
{
    bool ok = true;

    for (size_t i = 0; ok && i < path.len && i < PATH_SHOWN && path.ptr[i] != '?'; i++) {
        char c = path.ptr[i];

        if (c == '"' || c == '\\')
            ok = buf_printf(out, "%%%02X", (unsigned)(unsigned char)c);
        else
            ok = buf_append_char(out, c);
    }
    return ok;
}

static bool request_write(struct buf *out, const struct h1_request *req)
{
    if (req->method.len == 0)
        return buf_append_c(out, "\"- - HTTP/1.1\"");
    return buf_printf(out, "\"%.*s ", STR_ARGS(req->method)) && path_write(out, req->path) &&
           (req->version_major == 2 ? buf_append_c(out, " HTTP/2.0\"")
                                    : buf_printf(out, " HTTP/1.%u\"", req->version_minor));
}

static bool consent_write(struct buf *out, const struct exchange *x)
{
    char list[CATEGORY_LIST_MAX];
    uint16_t chosen;

    if (x->site == NULL)
        return buf_append_c(out, "-");
    if (!x->decided || x->site->policy == NULL)
        return buf_append_c(out, "undecided");
    chosen = x->grants & (uint16_t)~x->site->policy->categories.required;
    return buf_append_c(out, categories_list(&x->site->policy->categories, chosen, list));
}

static bool line_write(struct access_log *log, const struct flow *f)
{
    const struct exchange *x = &f->x;
    struct buf *out = &log->lines;
    char peer[LOG_PEER_MAX];
    uint64_t took = x->start_ms == 0 ? 0 : loop_now_ms(x->server->loop) - x->start_ms;

    return buf_printf(out, "%s - - [%s] ", log_peer(x->peer, peer), time_text(log)) &&
           request_write(out, &x->req) &&
           buf_printf(out, " %u %llu %llums %s ", f->status != 0 ? f->status : STATUS_LEFT,
                      (unsigned long long)x->sent, (unsigned long long)took,
                      x->site != NULL ? x->site->config->name : "-") &&
           consent_write(out, x) &&
           (x->note != NULL ? buf_printf(out, " \"%s\"\n", x->note) : buf_append_c(out, " -\n"));
}

void access_log_write(struct access_log *log, const struct flow *f)
{
    size_t before = log->lines.len;

    if (f->status == 0 && f->x.req.method.len == 0)
        return; /* a connection that ended before it asked for anything */
    if (!line_write(log, f))
        log->lines.len = before; /* full: cannot be, as it is flushed in time */
    if (log->lines.len >= LINES_FULL)
        access_log_flush(log);
}
