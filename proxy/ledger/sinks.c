/*
 * sinks.c - contract in consentd/sinks.h: who gets what when; the ways are in sink_*.c.
 */
#include "consentd/sinks.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/conn.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/tls_ctx.h"
#include "sinks_priv.h"

#define FORMS                                                                                      \
    "file:/PATH, syslog:/SOCKET, syslog://ADDRESS[:PORT], syslog+tcp://HOST[:PORT], "              \
    "http://HOST[:PORT]/PATH, https://HOST[:PORT]/PATH or witness+https://HOST[:PORT]/PREFIX#VKEY"

struct sinks {
    struct sink items[SINKS_MAX];
    size_t cnt;
    struct buf note; /* the newest checkpoint */
    uint64_t size;   /* its leaves */
    uint64_t round;  /* leaves of the one that witnesses are asked about; 0: none was yet */
    bool round_under_way;
    const struct sinks_ops *ops; /* NULL: nobody makes proofs */
    void *owner;
    struct tls_client *tls; /* owned; NULL: nobody needs it */
};

/* --- URLs ------------------------------------------------------------------------------- */

static bool parse_udp(struct str rest, struct sink_target *out)
{
    struct endpoint ep;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out->addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->addr;
    char url[SINK_URL_MAX + 16];
    struct str user, path;

    (void)snprintf(url, sizeof(url), "http://%.*s", STR_ARGS(rest));
    if (!endpoint_parse_rest(str_c(url), &ep, &user, &path, NULL) || path.len > 0)
        return false;
    if (ep.port == 80 && !str_ends(rest, STR(":80")))
        ep.port = 514;
    if (inet_pton(AF_INET, ep.host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(ep.port);
        out->addr_len = sizeof(*v4);
        return true;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(ep.port);
    out->addr_len = sizeof(*v6);
    return inet_pton(AF_INET6, ep.host, &v6->sin6_addr) == 1;
}

static bool parse_tcp(struct str rest, struct sink_target *out)
{
    char url[SINK_URL_MAX + 16];
    struct str user, path;

    (void)snprintf(url, sizeof(url), "http://%.*s", STR_ARGS(rest));
    if (!endpoint_parse_rest(str_c(url), &out->endpoint, &user, &path, NULL) || path.len > 0)
        return false;
    if (out->endpoint.port == 80 && !str_ends(rest, STR(":80")))
        out->endpoint.port = 601;
    return true;
}

static bool parse_http(struct str url, struct sink_target *out)
{
    struct str user, path;

    if (!endpoint_parse_rest(url, &out->endpoint, &user, &path, NULL) || user.len > 0)
        return false;
    for (size_t i = 0; i < path.len; i++)
        if (path.ptr[i] <= ' ' || path.ptr[i] > '~')
            return false;
    (void)snprintf(out->path, sizeof(out->path), "/%.*s", STR_ARGS(path));
    return true;
}

/* "#" ends the address: what stands behind it is the witness's vkey, of type 4. */
static bool parse_witness(struct str url, struct sink_target *out, struct fault *why)
{
    ptrdiff_t mark = str_find_char(url, '#');
    size_t len;

    if (mark < 0 ||
        !note_witness_parse(str_slice(url, (size_t)mark + 1, url.len), &out->witness, why) ||
        !parse_http(str_slice(url, 0, (size_t)mark), out))
        return false;
    len = strlen(out->path);
    if (len > 1 && out->path[len - 1] == '/')
        out->path[--len] = '\0';
    if (len == 1)
        len = 0;
    return (size_t)snprintf(out->path + len, sizeof(out->path) - len, "/add-checkpoint") <
           sizeof(out->path) - len;
}

static bool parse_path(struct str path, struct sink_target *out)
{
    (void)snprintf(out->path, sizeof(out->path), "%.*s", STR_ARGS(path));
    return path.len > 1 && path.ptr[0] == '/' &&
           (out->kind == SINK_FILE || path.len < ENDPOINT_PATH_MAX);
}

bool sink_parse(struct str url, struct sink_target *out, struct fault *f)
{
    static const struct {
        struct str scheme;
        enum sink_kind kind;
    } kinds[] = {
        {STR("file:"), SINK_FILE},           {STR("syslog://"), SINK_SYSLOG_UDP},
        {STR("syslog:"), SINK_SYSLOG_UNIX},  {STR("syslog+tcp://"), SINK_SYSLOG_TCP},
        {STR("http://"), SINK_HTTP},         {STR("https://"), SINK_HTTP},
        {STR("witness+http"), SINK_WITNESS},
    };
    struct fault why = {{0}}; /* of a vkey */
    size_t i = 0;
    struct str rest;
    bool ok = false;

    memset(out, 0, sizeof(*out));
    while (i < COUNT_OF(kinds) && !str_starts(url, kinds[i].scheme))
        i++;
    if (i < COUNT_OF(kinds) && url.len < SINK_URL_MAX) {
        rest = str_slice(url, kinds[i].scheme.len, url.len);
        out->kind = kinds[i].kind;
        if (out->kind == SINK_FILE || out->kind == SINK_SYSLOG_UNIX)
            ok = parse_path(rest, out);
        else if (out->kind == SINK_SYSLOG_UDP)
            ok = parse_udp(rest, out);
        else if (out->kind == SINK_WITNESS)
            ok = parse_witness(str_slice(url, sizeof("witness+") - 1, url.len), out, &why);
        else
            ok = out->kind == SINK_SYSLOG_TCP ? parse_tcp(rest, out) : parse_http(url, out);
    }
    if (!ok) { /* what stands before an "@" may be a password */
        ptrdiff_t at = str_find(url, STR("@"));

        fault_set(f, "\"%.*s%.*s\": %s",
                  at >= 0 && i < COUNT_OF(kinds) ? (int)kinds[i].scheme.len : 0, url.ptr,
                  STR_ARGS(at >= 0 ? str_slice(url, (size_t)at, url.len) : url),
                  why.text[0] != '\0' ? why.text : "expected " FORMS);
    }
    return ok;
}

bool sink_url_ok(struct str url, struct fault *f)
{
    struct sink_target target;

    return sink_parse(url, &target, f);
}

const char *sink_file_of(const char *url)
{
    return strncmp(url, "file:/", 6) == 0 ? url + 5 : NULL;
}

/* --- delivering ------------------------------------------------------------------------- */

static void send_now(struct sink *s)
{
    if (s->sending != 0 || s->size <= s->taken || clock_mono_ms() < s->retry_ms)
        return;
    s->sending = s->size;
    s->started_ms = clock_mono_ms();
    s->told = false;
    if (s->to.kind == SINK_FILE)
        sink_file_send(s);
    else if (s->to.kind == SINK_HTTP)
        sink_http_send(s);
    else if (s->to.kind == SINK_WITNESS)
        sink_witness_send(s);
    else
        sink_syslog_send(s);
}

void sink_done(struct sink *s, bool ok, const char *why)
{
    uint64_t size = s->sending;

    if (size == 0)
        return;
    s->sending = 0;
    if (!ok) {
        metric_add(METRIC_SINK_FAILED, 1);
        if (!s->troubled)
            log_error("sink.failed", "sink=\"%s\" reason=\"%s\"", s->url, why);
        s->troubled = true;
        s->retry_ms = clock_mono_ms() + s->backoff_ms;
        s->backoff_ms =
            s->backoff_ms * 2 < SINK_BACKOFF_MAX_MS ? s->backoff_ms * 2 : SINK_BACKOFF_MAX_MS;
        return;
    }
    if (s->troubled)
        log_info("sink.works", "sink=\"%s\" leaves=%" PRIu64, s->url, size);
    s->troubled = false;
    s->backoff_ms = SINK_BACKOFF_MS;
    s->taken = size;
    s->pushed_ms = s->newest == size ? 0 : s->started_ms; /* what is newer came since then */
    metric_add(METRIC_SINK_SENT, 1);
}

static bool take(struct sink *one, uint64_t size, struct str note)
{
    buf_clear(&one->note);
    if (!buf_append_str(&one->note, note))
        return false;
    one->size = size;
    return true;
}

/*
 * Witnesses are asked about one checkpoint at a time, all of them: however slow one is, there is
 * a checkpoint that all have signed. When all have answered, or failed, comes the newest.
 */
static void next_round(struct sinks *s)
{
    for (size_t i = 0; i < s->cnt; i++)
        if (s->items[i].to.kind == SINK_WITNESS && s->items[i].sending != 0)
            return;
    if (s->round_under_way && s->ops != NULL)
        s->ops->on_asked(s->owner, s->round);
    s->round_under_way = false;
    for (size_t i = 0; i < s->cnt; i++) {
        struct sink *one = &s->items[i];

        if (one->to.kind != SINK_WITNESS || s->size <= one->taken ||
            clock_mono_ms() < one->retry_ms || !take(one, s->size, buf_str(&s->note)))
            continue;
        s->round = s->size;
        s->round_under_way = true;
        send_now(one);
    }
}

void sinks_push(struct sinks *s, uint64_t size, struct str note)
{
    for (size_t i = 0; s != NULL && i < s->cnt; i++) {
        struct sink *one = &s->items[i];

        one->newest = size;
        if (one->pushed_ms == 0)
            one->pushed_ms = clock_mono_ms();
        if (one->to.kind != SINK_WITNESS && take(one, size, note))
            send_now(one);
    }
    if (s == NULL)
        return;
    buf_clear(&s->note);
    s->size = buf_append_str(&s->note, note) ? size : 0;
    next_round(s);
}

void sinks_tick(struct sinks *s)
{
    uint64_t now = clock_mono_ms();
    uint64_t lag = 0;

    for (size_t i = 0; s != NULL && i < s->cnt; i++) {
        struct sink *one = &s->items[i];

        if (one->to.kind == SINK_FILE)
            sink_file_poll(one);
        else if (one->sending != 0 && now - one->started_ms > SINK_TIMEOUT_MS) {
            if (one->conn != NULL)
                conn_close(one->conn);
            one->conn = NULL;
            sink_done(one, false, "no answer in time");
        }
        if (one->to.kind != SINK_WITNESS)
            send_now(one);
        if (one->pushed_ms != 0 && now - one->pushed_ms > lag)
            lag = now - one->pushed_ms;
    }
    if (s == NULL)
        return;
    next_round(s);
    metric_set(METRIC_SINK_LAG, lag / 1000);
}

/* --- life ------------------------------------------------------------------------------- */

struct sinks *sinks_new(struct loop *loop, const char *const *urls, size_t cnt, struct str ca_pem,
                        struct fault *f)
{
    struct sinks *s = mem_new(struct sinks);
    bool ok = cnt <= SINKS_MAX;

    buf_init(&s->note, NOTE_CHECKPOINT_MAX);
    if (!ok)
        fault_set(f, "more than %d sinks", SINKS_MAX);
    for (size_t i = 0; ok && i < cnt; i++) {
        struct sink *one = &s->items[s->cnt++];

        *one = (struct sink){.loop = loop, .fd = -1, .backoff_ms = SINK_BACKOFF_MS};
        buf_init(&one->note, NOTE_CHECKPOINT_MAX);
        buf_init(&one->head, 2 * NOTE_CHECKPOINT_MAX);
        buf_init(&one->sent, NOTE_CHECKPOINT_MAX);
        (void)snprintf(one->url, sizeof(one->url), "%s", urls[i]);
        ok = sink_parse(str_c(urls[i]), &one->to, f);
        if (ok && one->to.endpoint.tls && s->tls == NULL)
            ok = (s->tls = tls_client_new(ca_pem, f)) != NULL;
        one->tls = one->to.endpoint.tls ? s->tls : NULL;
    }
    if (ok)
        return s;
    fault_prefix(f, "checkpoint_sinks");
    sinks_free(s);
    return NULL;
}

void sinks_serve(struct sinks *s, const struct sinks_ops *ops, void *owner)
{
    if (s == NULL)
        return;
    s->ops = ops;
    s->owner = owner;
    for (size_t i = 0; i < s->cnt; i++) {
        s->items[i].ops = ops;
        s->items[i].owner = owner;
    }
}

void sinks_free(struct sinks *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->cnt; i++) {
        struct sink *one = &s->items[i];

        if (one->conn != NULL)
            conn_close(one->conn);
        if (one->fd >= 0)
            close(one->fd);
        sink_file_free(one->writer);
        buf_free(&one->note);
        buf_free(&one->head);
        buf_free(&one->sent);
    }
    tls_client_free(s->tls);
    buf_free(&s->note);
    free(s);
}
