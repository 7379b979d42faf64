/*
 * worker.c - a worker: a server of the data plane, its sockets from the master, its link
 * to the ledger. Reads nothing from the disk.
 *
 * When the master goes away the worker stops accepting, finishes what it has and exits:
 * nobody would start it again or hand it a new configuration.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/bundle.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/metrics.h"
#include "consentd/origin_stats.h"
#include "consentd/rules_state.h"
#include "consentd/server.h"
#include "consentd/timer.h"
#include "proc_priv.h"

struct worker {
    struct child_env env;
    struct live live;
    struct server *server;
    struct ipc *master;
    struct ipc *ledger; /* NULL while it is away */
    struct timer deadline;
    struct origin_stats *origins; /* our row; NULL: nobody reads along */
    bool draining;
};

static void on_drained(void *arg)
{
    struct worker *w = arg;

    loop_stop(w->env.loop);
}

static void drain(struct worker *w)
{
    if (w->draining)
        return;
    w->draining = true;
    log_info("worker.draining", "clients=%u", server_clients(w->server));
    timer_set(&w->deadline, w->env.config->drain_timeout_ms + 1);
    server_drain(w->server, on_drained, w);
}

static void on_deadline(void *arg)
{
    struct worker *w = arg;

    log_warn("worker.cut", "clients=%u reason=\"drain_timeout is over\"",
             server_clients(w->server));
    loop_stop(w->env.loop);
}

static void on_ledger_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct worker *w = owner;

    if (fd >= 0)
        close(fd);
    server_ledger_message(w->server, type, data, len);
}

static void on_ledger_closed(void *owner)
{
    struct worker *w = owner;

    server_set_ledger(w->server, NULL);
    ipc_free(w->ledger);
    w->ledger = NULL;
}

static void set_ledger(struct worker *w, int fd)
{
    static const struct ipc_ops ops = {.on_msg = on_ledger_msg, .on_closed = on_ledger_closed};

    if (w->ledger != NULL)
        on_ledger_closed(w);
    w->ledger = ipc_new(w->env.loop, fd, &ops, w);
    server_set_ledger(w->server, w->ledger);
}

static void set_snapshots(struct worker *w, const struct rules_state *state)
{
    for (size_t i = 0; i < w->env.config->site_cnt; i++)
        server_set_snapshot(w->server, (unsigned)i,
                            live_snapshot(&w->live, w->env.config, i, state));
    metric_set(METRIC_RULES_REVISION, state != NULL ? rules_state_revision(state) : 0);
}

/* The state is behind the head, or in a bundle when it is larger than a message. */
static void on_rules(struct worker *w, const void *data, size_t len, int fd)
{
    struct bundle *large = NULL;
    struct ipc_rules head;
    struct fault why = {0};

    if (len < sizeof(head))
        return;
    memcpy(&head, data, sizeof(head));
    struct str text = str_make((const char *)data + sizeof(head), len - sizeof(head));
    if (fd >= 0) {
        large = bundle_open(fd, &why);
        if (large == NULL || !bundle_get(large, STR(":rules"), &text))
            log_error("rules.refused", "reason=\"%s\"", why.text);
    }
    struct rules_state *state = rules_state_parse("rules.json", text, &why);
    if (state == NULL) {
        log_error("rules.refused", "revision=%llu reason=\"%s\"", (unsigned long long)head.revision,
                  why.text);
    } else {
        struct ipc_rules_done done = {head.revision, head.request, 1, 1};
        set_snapshots(w, state);
        if (!ipc_send(w->master, IPC_RULES_DONE, &done, sizeof(done), -1))
            log_warn("rules.unconfirmed", "revision=%llu", (unsigned long long)head.revision);
    }
    rules_state_free(state);
    bundle_free(large);
}

static void on_listen(struct worker *w, const void *data, size_t len, int fd)
{
    struct ipc_listen head;
    struct fault why = {0};

    if (len != sizeof(head) || fd < 0)
        return;
    memcpy(&head, data, sizeof(head));
    int own = dup(fd);
    if (own < 0 || fcntl(own, F_SETFD, FD_CLOEXEC) != 0 ||
        !server_listen(w->server, head.index, own, &why))
        log_error("listen.failed", "index=%u reason=\"%s\"", head.index, why.text);
}

static void on_start(struct worker *w)
{
    if (!ipc_send(w->master, IPC_READY, NULL, 0, -1))
        loop_stop(w->env.loop);
}

static void on_access_log(struct worker *w, int fd)
{
    int old = w->env.access_log_fd;

    fd = fcntl(fd, F_DUPFD_CLOEXEC, 16);
    if (fd < 0) {
        log_error("access_log.failed", "errno=%d", errno);
        return;
    }
    server_set_access_log(w->server, fd);
    w->env.access_log_fd = fd;
    if (old > STDERR_FILENO)
        close(old);
}

static void on_master_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct worker *w = owner;

    if (type == IPC_PEER && fd >= 0) {
        set_ledger(w, fd);
        return;
    }
    if (type == IPC_LISTEN)
        on_listen(w, data, len, fd);
    else if (type == IPC_RULES)
        on_rules(w, data, len, fd);
    else if (type == IPC_START)
        on_start(w);
    else if (type == IPC_DRAIN)
        drain(w);
    else if (!child_take(&w->env, type, data, len, fd) && type == IPC_LOG_OPEN)
        on_access_log(w, fd);
    else if (type != IPC_LOG_OPEN && type != IPC_NAMES)
        log_warn("ipc.unexpected", "type=%u", type);
    if (fd >= 0)
        close(fd);
}

static void on_master_closed(void *owner)
{
    struct worker *w = owner;

    ipc_free(w->master);
    w->master = NULL;
    drain(w);
}

static struct server *make_server(struct worker *w, struct fault *f)
{
    if (!live_init(&w->live, w->env.config, w->env.bundle, f))
        return NULL;
    struct server_opts opts = {
        .loop = w->env.loop,
        .config = w->env.config,
        .bundle = w->env.bundle,
        .keyring = w->live.keyring,
        .policies = w->live.policies,
        .access_log_fd = w->env.access_log_fd,
        .origins = w->origins,
    };
    return server_new(&opts, f);
}

static int serve(struct worker *w)
{
    static const struct ipc_ops ops = {.on_msg = on_master_msg, .on_closed = on_master_closed};

    timer_init(&w->deadline, w->env.loop, on_deadline, w);
    set_snapshots(w, NULL);
    w->master = ipc_new(w->env.loop, PROC_FD_MASTER, &ops, w);
    int result = loop_run(w->env.loop);
    timer_clear(&w->deadline);
    server_set_ledger(w->server, NULL);
    ipc_free(w->ledger);
    ipc_free(w->master);
    return result;
}

int worker_main(unsigned slot, unsigned row)
{
    struct worker w = {0};
    struct fault why = {0};
    int result = -1;

    bool spare = crypto_use_spare(); /* before OpenSSL is used */

    child_begin(&w.env, IPC_ROLE_WORKER, slot);
    if (!spare)
        log_warn("memory.spare", "reason=\"OpenSSL keeps to the heap\"");
    if (row < w.env.origins_rows)
        w.origins = origin_stats_row(w.env.origins, w.env.config, row);
    w.server = make_server(&w, &why);
    if (w.server != NULL && child_sandbox(&w.env, &why))
        result = serve(&w);
    else
        log_error("process.refused", "reason=\"%s\"", why.text);
    server_free(w.server);
    live_fini(&w.live);
    child_end(&w.env);
    return result == 0 ? 0 : 1;
}
