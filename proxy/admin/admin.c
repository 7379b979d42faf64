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
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/json.h"
#include "consentd/ledger_msg.h"
#include "consentd/listener.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/origin_stats.h"

#define ANSWER_MAX  (16u << 20)  /* bytes of one answer, or of a stream not yet taken */
#define STREAM_HIGH (512u << 10) /* bytes of a stream that wait: no more is made */
#define STREAM_LOW  (128u << 10) /* more is made again */

static void forget(struct admin_client *c)
{
    struct admin *a = c->admin;
    const struct admin_job *job = c->job;

    c->job = NULL;
    if (job != NULL)
        job->drop(c);
    if (a->change.client == c)
        a->change.client = NULL;
    timer_clear(&c->patience);
    buf_free(&c->in);
    *c = (struct admin_client){0};
}

static size_t on_rest(void *owner, const uint8_t *data, size_t len)
{
    UNUSED(owner);
    UNUSED(data);
    return len;
}

static void on_gone(void *owner, enum conn_why why)
{
    UNUSED(why);
    forget(owner);
}

static void cut(struct admin_client *c)
{
    conn_close(c->conn);
    forget(c);
}

/* Answered: the place is kept until the peer has the answer, and asks for nothing any more. */
static void let_go(struct admin_client *c, uint64_t linger_ms)
{
    static const struct conn_ops ops = {.on_data = on_rest, .on_closed = on_gone};
    struct admin_client kept = {
        .admin = c->admin, .conn = c->conn, .peer = c->peer, .asked = true, .public = c->public};
    bool waits = conn_close_flush(c->conn, linger_ms);

    forget(c);
    if (!waits)
        return;
    *c = kept;
    conn_set_owner(c->conn, &ops, c);
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

    ASSERT(!c->streaming);
    conn_set_marks(c->conn, 1024, ANSWER_MAX, ANSWER_MAX + sizeof(head));
    if (conn_queue(c->conn, head, (size_t)len) && conn_write(c->conn, body.ptr, body.len))
        let_go(c, 1000);
    else
        cut(c);
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
    if (value == NULL) { /* what came is not UTF-8 */
        for (char *p = text; *p != '\0'; p++)
            *p = (uint8_t)*p < 0x80 ? *p : '?';
        value = json_pack("{s:s}", "error", text);
    }
    char *json = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    admin_answer(c, status, "application/json", str_c(json != NULL ? json : "{}"));
    free(json);
    json_decref(value);
}

/* --- chunks --- */

void admin_job_begin(struct admin_client *c, const struct admin_job *job, void *state)
{
    c->job = job;
    c->state = state;
}

bool admin_stream_begin(struct admin_client *c, const char *type, const char *fields)
{
    char head[512];
    int len = snprintf(head, sizeof(head),
                       "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n%s"
                       "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                       type, fields);

    conn_set_marks(c->conn, STREAM_LOW, STREAM_HIGH, ANSWER_MAX);
    c->streaming = true;
    c->progress = conn_progress(c->conn);
    timer_set(&c->patience, ADMIN_STALL_MS);
    if (conn_queue(c->conn, head, (size_t)len))
        return true;
    admin_stream_cut(c);
    return false;
}

bool admin_stream_write(struct admin_client *c, const char *extension, struct str data)
{
    char head[512];
    int len = snprintf(head, sizeof(head), "%zx%s%s\r\n", data.len, extension[0] != '\0' ? ";" : "",
                       extension);

    if (data.len == 0) /* an empty chunk would be the end */
        return true;
    if (len > 0 && (size_t)len < sizeof(head) && conn_queue(c->conn, head, (size_t)len) &&
        conn_queue(c->conn, data.ptr, data.len) && conn_write(c->conn, "\r\n", 2))
        return true;
    admin_stream_cut(c);
    return false;
}

bool admin_is_choked(const struct admin_client *c)
{
    return conn_is_choked(c->conn);
}

void admin_stream_end(struct admin_client *c)
{
    if (conn_write(c->conn, "0\r\n\r\n", 5))
        let_go(c, ADMIN_STALL_MS);
    else
        cut(c);
}

void admin_stream_cut(struct admin_client *c)
{
    conn_reset(c->conn);
    forget(c);
}

bool admin_params(struct admin_client *c, struct params *out)
{
    struct fault f = {{0}};

    if (params_parse(c->rq.query, out, &f))
        return true;
    params_free(out);
    admin_answer_error(c, 400, "%s", f.text);
    return false;
}

/* --- short routes --- */

void admin_get_metrics(struct admin_client *c)
{
    struct buf text;

    buf_init(&text, ANSWER_MAX);
    if (metrics_print(&text) && status_metrics(&text) &&
        origin_stats_print(c->admin->setup.origins, c->admin->setup.config,
                           c->admin->setup.origins_rows, &text))
        admin_answer(c, 200, "text/plain; version=0.0.4", buf_str(&text));
    else
        admin_answer_error(c, 500, "too many metrics");
    buf_free(&text);
}

/* ledger: JSON of its state; "null": it is away. */
static void answer_status(struct admin_client *c, struct str ledger)
{
    const struct admin *a = c->admin;
    bool serving = true, ok = true;
    struct buf text;

    if (c->asks == ASKS_LEDGER && str_eq_c(ledger, "null")) {
        admin_answer_error(c, 503, "the ledger is away");
        return;
    }
    buf_init(&text, STATUS_MAX);
    if (c->asks == ASKS_STATUS)
        ok = status_print(a, ledger, &text);
    else if (c->asks == ASKS_HEALTH)
        ok = health_print(a, ledger, &serving, &text);
    else
        ok = buf_append_str(&text, ledger);
    if (ok)
        admin_answer(c, serving ? 200 : 503, "application/json", buf_str(&text));
    else
        admin_answer_error(c, 500, "the status is too large");
    buf_free(&text);
}

/* The one answer is for all who wait for it. */
static void answer_statuses(struct admin *a, struct str ledger)
{
    timer_clear(&a->status_deadline);
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        if (a->clients[i].asks != ASKS_NOTHING)
            answer_status(&a->clients[i], ledger);
    }
}

static void ask_ledger(struct admin_client *c, enum admin_asks what)
{
    struct admin *a = c->admin;
    uint64_t id = ++a->next_request;

    c->asks = what;
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

void admin_get_ledger(struct admin_client *c)
{
    ask_ledger(c, ASKS_LEDGER);
}

void admin_get_status(struct admin_client *c)
{
    ask_ledger(c, ASKS_STATUS);
}

void admin_get_health(struct admin_client *c)
{
    ask_ledger(c, ASKS_HEALTH);
}

/* The answer is the number of the last change: the outcome of this one has a higher one. */
static void change(struct admin_client *c, enum ipc_change what)
{
    struct admin *a = c->admin;
    char body[64];

    (void)snprintf(body, sizeof(body), "{\"after\":%llu}\n", (unsigned long long)a->outcome.number);
    admin_answer(c, 200, "application/json", str_c(body));
    a->setup.on_change(a->setup.owner, what);
}

void admin_post_reload(struct admin_client *c)
{
    change(c, IPC_CHANGE_RELOAD);
}

void admin_post_upgrade(struct admin_client *c)
{
    change(c, IPC_CHANGE_UPGRADE);
}

/* --- requests --- */

static void answer_denied(struct admin_client *c)
{
    admin_answer_error(c, 403, "this needs the permission \"%s\", which user \"%s\" has not",
                       perm_name(c->route->perm), c->peer.name);
}

static void deny(struct admin_client *c)
{
    log_warn("admin.denied", "user=\"%s\" permission=%s", c->peer.name, perm_name(c->route->perm));
    if (!oplog_wants_denial(c->admin) || !oplog_send(c, "denied")) {
        answer_denied(c);
        return;
    }
    c->denied = true;
    timer_set(&c->patience, ADMIN_RECORD_MS);
}

static void dispatch(struct admin_client *c)
{
    bool other;

    c->route = route_find(c->rq.method, c->rq.path, &c->rq.param, &other);
    if (c->public && (c->route == NULL || !route_is_public(c->route)))
        admin_answer_error(c, 404, "here are GET /health and GET /metrics alone");
    else if (c->route == NULL && other)
        admin_answer_error(c, 405, "not with this method");
    else if (c->route == NULL)
        admin_answer_error(c, 404, "there is nothing like that here");
    else if (!c->public && !access_may(&c->peer, c->route->perm))
        deny(c);
    else if (!c->route->recorded)
        c->route->run(c);
    else if (oplog_send(c, "allowed"))
        timer_set(&c->patience, ADMIN_RECORD_MS);
    else
        admin_answer_error(c, 503, "the ledger is away: what is asked must be on record first");
}

/* The ledger's word on a record of ours. */
static bool on_recorded(struct admin *a, const struct ledger_ack *ack)
{
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        struct admin_client *c = &a->clients[i];

        if (c->admin == NULL || c->record_id == 0 || c->record_id != ack->req_id)
            continue;
        c->record_id = 0;
        timer_clear(&c->patience);
        if (c->denied)
            answer_denied(c);
        else if (ack->status == LEDGER_RECORDED)
            c->route->run(c);
        else
            admin_answer_error(c, 503, "the ledger could not record the request");
        return true;
    }
    return false;
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
    struct str text = buf_str(&c->in), line, target;
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
    if (!str_cut(&line, ' ', &c->rq.method) || !str_cut(&line, ' ', &target) ||
        !str_cut(&target, '?', &c->rq.path)) {
        admin_answer_error(c, 400, "malformed request line");
        return;
    }
    c->rq.query = target;
    c->rq.body = body;
    dispatch(c);
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

/* A reader that has taken nothing since the last look keeps no place from others. */
static void look_at_stream(struct admin_client *c)
{
    uint64_t progress = conn_progress(c->conn);

    if (conn_queued(c->conn) > 0 && progress == c->progress) {
        log_warn("admin.stalled", "user=\"%s\"", c->peer.name);
        admin_stream_cut(c);
        return;
    }
    c->progress = progress;
    timer_set(&c->patience, ADMIN_STALL_MS);
}

/* Whoever asks for nothing keeps no place from others; nor does a record that does not come. */
static void on_impatient(void *arg)
{
    struct admin_client *c = arg;

    if (c->streaming)
        look_at_stream(c);
    else if (c->denied)
        answer_denied(c);
    else if (c->record_id != 0)
        admin_answer_error(c, 503, "the ledger does not answer: the request is not on record");
    else
        admin_answer_error(c, 408, "no request within %u s", ADMIN_REQUEST_MS / 1000);
}

static void on_writable(void *owner)
{
    struct admin_client *c = owner;

    if (c->job != NULL && c->job->resume != NULL)
        c->job->resume(c);
}

/* Who may change how the daemon runs: must get in whoever else is there. */
static bool is_operator(const struct admin_peer *peer)
{
    return access_may(peer, PERM_DAEMON_RELOAD);
}

/* Of who came by admin.listen (NULL), who has no right and who is no operator: a part each. */
static bool has_place(const struct admin *a, const struct admin_peer *who)
{
    unsigned strangers = 0, others = 0, public = 0;

    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        const struct admin_client *c = &a->clients[i];
        bool other = c->admin != NULL && (c->public || !is_operator(&c->peer));

        others += other;
        public += other && c->public;
        strangers += other && !c->public && c->peer.perms == 0;
    }
    if (who != NULL && is_operator(who))
        return true;
    if (others >= ADMIN_CLIENTS_MAX - ADMIN_KEPT)
        return false;
    return who == NULL ? public < ADMIN_PUBLIC_MAX
                       : who->perms != 0 || strangers < ADMIN_STRANGERS_MAX;
}

static struct admin_client *free_place(struct admin *a)
{
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        if (a->clients[i].admin == NULL)
            return &a->clients[i];
    }
    return NULL;
}

static void start_client(struct admin *a, struct admin_client *c, int fd)
{
    static const struct conn_ops ops = {
        .on_data = on_data, .on_closed = on_closed, .on_writable = on_writable};

    c->admin = a;
    buf_init(&c->in, ADMIN_REQUEST_MAX);
    timer_init(&c->patience, a->loop, on_impatient, c);
    timer_set(&c->patience, ADMIN_REQUEST_MS);
    c->conn = conn_accept(a->loop, fd, NULL, &ops, c);
}

void admin_worker(struct admin *a, pid_t pid)
{
    a->workers[a->workers_next++ % COUNT_OF(a->workers)] = pid;
}

static bool is_worker(const struct admin *a, pid_t pid)
{
    for (size_t i = 0; i < COUNT_OF(a->workers) && pid > 0; i++) {
        if (a->workers[i] == pid)
            return true;
    }
    return false;
}

static void on_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    struct admin *a = owner;
    struct admin_client *c = free_place(a);
    struct admin_peer who;

    UNUSED(peer);
    UNUSED(len);
    access_find(&a->setup.groups, fd, &who);
    if (is_worker(a, who.pid)) {
        log_error("admin.refused", "pid=%d reason=\"it is a worker\"", (int)who.pid);
        close(fd);
        return;
    }
    if (c == NULL || !has_place(a, &who)) {
        log_warn("admin.full", "");
        close(fd);
        return;
    }
    c->peer = who;
    start_client(a, c, fd);
}

static void on_watch_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    struct admin *a = owner;
    struct admin_client *c = free_place(a);

    UNUSED(peer);
    UNUSED(len);
    if (c == NULL || !has_place(a, NULL)) {
        log_warn("admin.full", "");
        close(fd);
        return;
    }
    c->public = true;
    start_client(a, c, fd);
}

static void on_deadline(void *arg)
{
    rules_api_expired(arg);
}

struct admin *admin_new(struct loop *loop, const struct admin_setup *setup, struct fault *f)
{
    struct rules_state *state = rules_state_parse(setup->rules_path, setup->rules_text, f);
    struct store *store = state != NULL ? store_new(loop, setup->store, f) : NULL;

    if (store == NULL) {
        rules_state_free(state);
        return NULL;
    }
    struct admin *a = mem_new(struct admin);
    a->loop = loop;
    a->setup = *setup;
    a->setup.store = NULL; /* it is the caller's, for this call only */
    a->rules_path = mem_strdup(setup->rules_path);
    a->state = state;
    a->store = store;
    a->log_path = file_resolve(setup->store->journal, "tlog");
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
    listener_free(a->watch);
    rules_state_free(a->change.state);
    buf_free(&a->change.text);
    rules_state_free(a->state);
    verify_api_free(a);
    store_free(a->store);
    docs_free(a);
    free(a->log_path);
    free(a->rules_path);
    free(a);
}

void admin_listen(struct admin *a, int fd)
{
    listener_free(a->listener);
    a->listener = listener_new(a->loop, fd, on_accept, a);
}

/* The ledger went away: what waited for its word is not done. */
static void unrecorded(struct admin *a)
{
    for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        struct admin_client *c = &a->clients[i];

        if (c->admin != NULL && c->record_id != 0 && c->denied)
            answer_denied(c);
        else if (c->admin != NULL && c->record_id != 0)
            admin_answer_error(c, 503, "the ledger went away: ask again");
    }
}

void admin_watch(struct admin *a, int fd)
{
    listener_free(a->watch);
    a->watch = listener_new(a->loop, fd, on_watch_accept, a);
}

void admin_set_ledger(struct admin *a, struct ipc *ledger)
{
    a->ledger = ledger;
    if (ledger == NULL) {
        answer_statuses(a, STR("null"));
        unrecorded(a);
        subject_api_lost(a);
        export_api_lost(a);
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

static void on_ack(struct admin *a, const struct ledger_ack *ack)
{
    if (!on_recorded(a, ack))
        rules_api_acked(a, ack->req_id, ack->status == LEDGER_RECORDED);
}

void admin_ledger_message(struct admin *a, uint16_t type, const void *data, size_t len)
{
    struct ledger_ack ack;

    if (type == IPC_LEDGER_STATUS)
        on_status(a, data, len);
    else if (type == IPC_SIGNED)
        export_api_signed(a, data, len);
    else if (type == IPC_ERASE_ACK)
        subject_api_receipt(a, data, len);
    else if (type == IPC_ACK && ledger_ack_decode(str_make(data, len), &ack))
        on_ack(a, &ack);
    else
        log_warn("ipc.unexpected", "type=%u", type);
}

void admin_set_outcome(struct admin *a, const struct ipc_outcome *outcome, struct str why)
{
    a->outcome = *outcome;
    (void)snprintf(a->outcome_why, sizeof(a->outcome_why), "%.*s", STR_ARGS(why));
}

void admin_rules_done(struct admin *a, const struct ipc_rules_done *done)
{
    rules_api_done(a, done);
}
