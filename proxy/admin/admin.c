/*
 * admin.c - connections and routes; contract in consentd/admin.h.
 *
 * The peers are local programs of people who may operate this machine: one request per
 * connection and a reader that knows only Content-Length are enough, and small.
 */
#include "consentd/admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_priv.h"
#include "consentd/ipc.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/listener.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/origin_stats.h"

#define ANSWER_MAX (16u << 20) /* bytes of one answer */

static void forget(struct admin_client *c)
{
    struct admin *a = c->admin;

    if (a->change.client == c)
        a->change.client = NULL;
    timer_clear(&c->patience);
    buf_free(&c->in);
    *c = (struct admin_client){0};
}

static const char *reason_of(unsigned status)
{
    return status < 300 ? "OK" : status < 500 ? "Refused" : "Unavailable";
}

void admin_answer(struct admin_client *c, unsigned status, const char *type, struct str body)
{
    char head[256];
    int len = snprintf(head, sizeof(head),
                       "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                       "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                       status, reason_of(status), type, body.len);

    conn_set_marks(c->conn, 1024, ANSWER_MAX, ANSWER_MAX + sizeof(head));
    if (conn_queue(c->conn, head, (size_t)len) && conn_write(c->conn, body.ptr, body.len))
        conn_close_flush(c->conn, 1000);
    else
        conn_close(c->conn);
    forget(c);
}

void admin_answer_error(struct admin_client *c, unsigned status, const char *fmt, ...)
{
    char text[FAULT_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    json_t *value = json_pack("{s:s}", "error", text);
    char *json = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    admin_answer(c, status, "application/json", str_c(json != NULL ? json : "{}"));
    free(json);
    json_decref(value);
}

static void answer_metrics(struct admin_client *c)
{
    struct buf text;

    buf_init(&text, ANSWER_MAX);
    if (metrics_print(&text) && origin_stats_print(c->admin->setup.origins, c->admin->setup.config,
                                                   c->admin->setup.origins_rows, &text))
        admin_answer(c, 200, "text/plain; version=0.0.4", buf_str(&text));
    else
        admin_answer_error(c, 500, "too many metrics");
    buf_free(&text);
}

/* ledger: JSON of its state; "null": it is away. */
static void answer_status(struct admin_client *c, struct str ledger)
{
    struct admin *a = c->admin;
    struct buf text;
    bool ok;

    if (!c->asks_whole && str_eq_c(ledger, "null")) {
        admin_answer_error(c, 503, "the ledger is away");
        return;
    }
    buf_init(&text, ANSWER_MAX);
    if (c->asks_whole)
        ok = buf_printf(&text,
                        "{\"version\":\"%s\",\"revision\":%llu,\"metrics\":", CONSENTD_VERSION,
                        (unsigned long long)rules_state_revision(a->state)) &&
             metrics_json(&text) && buf_append_c(&text, ",\"origins\":") &&
             origin_stats_json(a->setup.origins, a->setup.config, a->setup.origins_rows, &text) &&
             buf_append_c(&text, ",\"ledger\":") && buf_append_str(&text, ledger) &&
             buf_append_c(&text, "}\n");
    else
        ok = buf_append_str(&text, ledger);
    if (ok)
        admin_answer(c, 200, "application/json", buf_str(&text));
    else
        admin_answer_error(c, 500, "the status is too large");
    buf_free(&text);
}

/* The one answer is for all who wait for it. */
static void answer_statuses(struct admin *a, struct str ledger)
{
    timer_clear(&a->status_deadline);
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        if (a->clients[i].asks_status)
            answer_status(&a->clients[i], ledger);
    }
}

static void ask_ledger(struct admin_client *c, bool whole)
{
    struct admin *a = c->admin;
    uint64_t id = ++a->next_request;

    c->asks_status = true;
    c->asks_whole = whole;
    if (timer_is_set(&a->status_deadline))
        return; /* it has been asked */
    if (a->ledger == NULL || !ipc_send(a->ledger, IPC_LEDGER_STATUS, &id, sizeof(id), -1))
        answer_statuses(a, STR("null"));
    else
        timer_set(&a->status_deadline, ADMIN_STATUS_MS);
}

static void on_status_deadline(void *arg)
{
    answer_statuses(arg, STR("null"));
}

static void reload(struct admin_client *c)
{
    struct admin *a = c->admin;

    admin_answer(c, 202, "application/json", STR("{}"));
    a->setup.on_reload(a->setup.owner);
}

/* /api/v1/subjects/SUBJECT[/hold][?now=1] */
static bool route_subject(struct admin_client *c, struct str method, struct str target)
{
    struct str prefix = STR("/api/v1/subjects/"), path, subject;

    if (!str_starts(target, prefix))
        return false;
    target = str_slice(target, prefix.len, target.len);
    if (!str_cut(&target, '?', &path) || !str_cut(&path, '/', &subject))
        return false;
    if (str_eq_c(method, "DELETE") && path.ptr == NULL)
        subject_api(c, subject, LEDGER_ERASE, target);
    else if (str_eq_c(method, "POST") && str_eq_c(path, "hold"))
        subject_api(c, subject, LEDGER_HOLD, target);
    else if (str_eq_c(method, "DELETE") && str_eq_c(path, "hold"))
        subject_api(c, subject, LEDGER_RELEASE, target);
    else
        return false;
    return true;
}

/* /api/v1/ledger/months/YYYYMM */
static bool route_month(struct admin_client *c, struct str method, struct str target)
{
    struct str prefix = STR("/api/v1/ledger/months/");

    if (!str_starts(target, prefix) || !str_eq_c(method, "DELETE"))
        return false;
    month_api_drop(c, str_slice(target, prefix.len, target.len));
    return true;
}

static void route(struct admin_client *c, struct str method, struct str target, struct str body)
{
    bool get = str_eq_c(method, "GET"), post = str_eq_c(method, "POST");

    if (get && str_eq_c(target, "/api/v1/rules"))
        rules_api_list(c);
    else if (get && str_eq_c(target, "/api/v1/rules/history"))
        rules_api_history(c);
    else if (post && str_eq_c(target, "/api/v1/rules"))
        rules_api_change(c, body, false);
    else if (post && str_eq_c(target, "/api/v1/rules/rollback"))
        rules_api_change(c, body, true);
    else if (get && str_eq_c(target, "/api/v1/ledger"))
        ask_ledger(c, false);
    else if (get && str_eq_c(target, "/api/v1/status"))
        ask_ledger(c, true);
    else if (post && str_eq_c(target, "/api/v1/reload"))
        reload(c);
    else if (get && str_eq_c(target, "/metrics"))
        answer_metrics(c);
    else if (!route_subject(c, method, target) && !route_month(c, method, target))
        admin_answer_error(c, 404, "there is nothing like that here");
}

/* Content-Length of a head; 0 without one. False: malformed. */
static bool body_length(struct str head, uint64_t *out)
{
    struct str line;

    *out = 0;
    while (str_cut(&head, '\n', &line)) {
        ptrdiff_t colon = str_find_char(line, ':');
        if (colon < 0 || !str_eq_fold_c(str_slice(line, 0, (size_t)colon), "content-length"))
            continue;
        struct str value = str_slice(line, (size_t)colon + 1, line.len);
        if (str_ends(value, STR("\r")))
            value.len--;
        return str_to_u64(str_trim(value), ADMIN_REQUEST_MAX, out);
    }
    return true;
}

static void try_request(struct admin_client *c)
{
    struct str text = buf_str(&c->in), line, method, target;
    ptrdiff_t end = str_find(text, STR("\r\n\r\n"));
    uint64_t body_len;

    if (end < 0)
        return;
    struct str head = str_slice(text, 0, (size_t)end);
    struct str body = str_slice(text, (size_t)end + 4, text.len);
    if (!body_length(head, &body_len)) {
        admin_answer_error(c, 400, "malformed Content-Length");
        return;
    }
    if (body.len < body_len)
        return;
    body.len = body_len;
    c->asked = true;
    timer_clear(&c->patience);
    str_cut(&head, '\r', &line);
    if (str_cut(&line, ' ', &method) && str_cut(&line, ' ', &target))
        route(c, method, target, body);
    else
        admin_answer_error(c, 400, "malformed request line");
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct admin_client *c = owner;

    if (c->asked)
        return len;
    if (buf_append(&c->in, data, len))
        try_request(c);
    else
        admin_answer_error(c, 413, "larger than %u bytes", ADMIN_REQUEST_MAX);
    return len;
}

static void on_closed(void *owner, enum conn_why why)
{
    UNUSED(why);
    forget(owner);
}

/* Whoever asks for nothing keeps no place from others. */
static void on_impatient(void *arg)
{
    struct admin_client *c = arg;

    admin_answer_error(c, 408, "no request within %u s", ADMIN_REQUEST_MS / 1000);
}

static void on_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    static const struct conn_ops ops = {.on_data = on_data, .on_closed = on_closed};
    struct admin *a = owner;

    UNUSED(peer);
    UNUSED(len);
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        struct admin_client *c = &a->clients[i];
        if (c->admin != NULL)
            continue;
        c->admin = a;
        buf_init(&c->in, ADMIN_REQUEST_MAX);
        timer_init(&c->patience, a->loop, on_impatient, c);
        timer_set(&c->patience, ADMIN_REQUEST_MS);
        c->conn = conn_accept(a->loop, fd, NULL, &ops, c);
        return;
    }
    log_warn("admin.full", "");
    close(fd);
}

static void on_deadline(void *arg)
{
    rules_api_expired(arg);
}

struct admin *admin_new(struct loop *loop, const struct admin_setup *setup, struct fault *f)
{
    struct rules_state *state = rules_state_parse(setup->rules_path, setup->rules_text, f);

    if (state == NULL)
        return NULL;
    struct admin *a = mem_new(struct admin);
    a->loop = loop;
    a->setup = *setup;
    a->rules_path = mem_strdup(setup->rules_path);
    a->state = state;
    timer_init(&a->deadline, loop, on_deadline, a);
    timer_init(&a->status_deadline, loop, on_status_deadline, a);
    return a;
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        if (a->clients[i].admin == NULL)
            continue;
        conn_close(a->clients[i].conn);
        forget(&a->clients[i]);
    }
    timer_clear(&a->deadline);
    timer_clear(&a->status_deadline);
    listener_free(a->listener);
    rules_state_free(a->change.state);
    buf_free(&a->change.text);
    rules_state_free(a->state);
    free(a->rules_path);
    free(a);
}

void admin_listen(struct admin *a, int fd)
{
    listener_free(a->listener);
    a->listener = listener_new(a->loop, fd, on_accept, a);
}

void admin_set_ledger(struct admin *a, struct ipc *ledger)
{
    a->ledger = ledger;
    if (ledger == NULL) {
        answer_statuses(a, STR("null"));
        subject_api_lost(a);
    }
}

static void on_status(struct admin *a, const void *data, size_t len)
{
    struct ledger_status status;
    struct buf text;

    if (len != sizeof(status))
        return;
    memcpy(&status, data, sizeof(status));
    buf_init(&text, 64u * 1024);
    if (ledger_status_json(&status, &text))
        answer_statuses(a, buf_str(&text));
    else
        answer_statuses(a, STR("null"));
    buf_free(&text);
}

void admin_ledger_message(struct admin *a, uint16_t type, const void *data, size_t len)
{
    struct ledger_ack ack;

    if (type == IPC_LEDGER_STATUS)
        on_status(a, data, len);
    else if (type == IPC_ERASE_ACK)
        subject_api_receipt(a, data, len);
    else if (type == IPC_ACK && ledger_ack_decode(str_make(data, len), &ack))
        rules_api_acked(a, ack.req_id, ack.status == LEDGER_RECORDED);
    else
        log_warn("ipc.unexpected", "type=%u", type);
}

void admin_rules_done(struct admin *a, const struct ipc_rules_done *done)
{
    rules_api_done(a, done);
}
