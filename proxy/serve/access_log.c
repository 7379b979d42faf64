/*
 * access_log.c - one line per request, gathered and written in one go.
 *
 *   203.0.113.0/24 - - [24/Nov/2026:03:52:35 +0000] "GET /path HTTP/1.1" 200 512 "-" "-" 3ms shop
 *   analytics,marketing 1/0/0/4 "why"
 *
 * Peer (truncated), time, method, path without its query, version, status, bytes of the body,
 * then what the combined format calls referrer and user agent, which are never written. After
 * these, milliseconds since the head was complete, site, consent ("undecided" or what is
 * granted), what was removed (cookies of the request, Set-Cookie fields, Link members, elements
 * of the page), note. "-" where there is nothing. The same as JSON has a name for each.
 * A path may hold what would end the quotes: it is escaped, as in a URL.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "consentd/category.h"
#include "consentd/clock.h"
#include "consentd/json.h"
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
    bool json;
    struct buf lines;
    int64_t time_s;      /* of time */
    char time[TIME_LEN]; /* as the format has it */
    bool failed;         /* said already */
};

struct access_log *access_log_new(int fd, enum config_log_format format)
{
    struct access_log *log;

    if (fd < 0)
        return NULL;
    log = mem_new(struct access_log);
    log->fd = fd;
    log->json = format == CONFIG_LOG_JSON;
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

void access_log_reopen(struct access_log *log, int fd)
{
    access_log_flush(log);
    log->fd = fd;
    log->failed = false;
}

static const char *time_text(struct access_log *log)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    size_t len;

    if (log->time_s == now || gmtime_r(&now, &tm) == NULL)
        return log->time;
    if (log->json)
        len = strftime(log->time, sizeof(log->time), "%Y-%m-%dT%H:%M:%SZ", &tm);
    else
        len = strftime(log->time, sizeof(log->time), "%d/%b/%Y:%H:%M:%S +0000", &tm);
    if (len > 0)
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

static bool version_write(struct buf *out, const struct h1_request *req)
{
    return req->version_major == 2 ? buf_append_c(out, "HTTP/2.0\"")
                                   : buf_printf(out, "HTTP/1.%u\"", req->version_minor);
}

static bool request_write(struct buf *out, const struct h1_request *req)
{
    if (req->method.len == 0)
        return buf_append_c(out, "\"- - HTTP/1.1\"");
    return buf_printf(out, "\"%.*s ", STR_ARGS(req->method)) && path_write(out, req->path) &&
           buf_append_c(out, " ") && version_write(out, req);
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

static uint64_t took_ms(const struct exchange *x)
{
    return x->start_ms == 0 ? 0 : loop_now_ms(x->server->loop) - x->start_ms;
}

static unsigned status_of(const struct flow *f)
{
    return f->status != 0 ? f->status : STATUS_LEFT;
}

static bool combined_write(struct access_log *log, const struct flow *f)
{
    const struct exchange *x = &f->x;
    struct buf *out = &log->lines;
    char peer[LOG_PEER_MAX];

    return buf_printf(out, "%s - - [%s] ", log_peer(x->peer, peer), time_text(log)) &&
           request_write(out, &x->req) &&
           buf_printf(out, " %u %llu \"-\" \"-\" %llums %s ", status_of(f),
                      (unsigned long long)x->sent, (unsigned long long)took_ms(x),
                      x->site != NULL ? x->site->config->name : "-") &&
           consent_write(out, x) &&
           buf_printf(out, " %u/%u/%u/%u", x->removed.cookies, x->removed.set_cookies,
                      x->removed.links, x->removed.elements) &&
           (x->note != NULL ? buf_printf(out, " \"%s\"\n", x->note) : buf_append_c(out, " -\n"));
}

/* No request could be read: its members are null. */
static bool request_json(struct buf *out, const struct h1_request *req)
{
    if (req->method.len == 0)
        return buf_append_c(out, "\"method\":null,\"path\":null,\"protocol\":null");
    return buf_printf(out, "\"method\":\"%.*s\",\"path\":\"", STR_ARGS(req->method)) &&
           path_write(out, req->path) && buf_append_c(out, "\",\"protocol\":\"") &&
           version_write(out, req);
}

static bool site_json(struct buf *out, const struct exchange *x)
{
    if (x->site == NULL)
        return buf_append_c(out, "\"site\":null,\"consent\":null");
    return buf_append_c(out, "\"site\":") && json_quote(str_c(x->site->config->name), out) &&
           buf_append_c(out, ",\"consent\":\"") && consent_write(out, x) && buf_append_c(out, "\"");
}

static bool json_line_write(struct access_log *log, const struct flow *f)
{
    const struct exchange *x = &f->x;
    struct buf *out = &log->lines;
    char peer[LOG_PEER_MAX];

    return buf_printf(out, "{\"time\":\"%s\",\"peer\":\"%s\",", time_text(log),
                      log_peer(x->peer, peer)) &&
           request_json(out, &x->req) &&
           buf_printf(out, ",\"status\":%u,\"bytes\":%llu,\"ms\":%llu,", status_of(f),
                      (unsigned long long)x->sent, (unsigned long long)took_ms(x)) &&
           site_json(out, x) &&
           buf_printf(out,
                      ",\"removed\":{\"cookies\":%u,\"set_cookies\":%u,\"links\":%u,"
                      "\"elements\":%u},\"note\":",
                      x->removed.cookies, x->removed.set_cookies, x->removed.links,
                      x->removed.elements) &&
           (x->note != NULL ? json_quote(str_c(x->note), out) : buf_append_c(out, "null")) &&
           buf_append_c(out, "}\n");
}

void access_log_write(struct access_log *log, const struct flow *f)
{
    size_t before = log->lines.len;

    if (f->status == 0 && f->x.req.method.len == 0)
        return; /* a connection that ended before it asked for anything */
    if (!(log->json ? json_line_write : combined_write)(log, f))
        log->lines.len = before; /* full: cannot be, as it is flushed in time */
    if (log->lines.len >= LINES_FULL)
        access_log_flush(log);
}
