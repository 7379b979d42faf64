/*
 * worker.c - one event loop that serves visitors.
 *
 *   master: LISTEN* PEER START ... RULES ... DRAIN        ledger: ACK
 *   to master: READY, RULES_DONE                          to ledger: EVENT
 *
 * The end of the control link means that the master is gone: finish, then exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "consentd/buf.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/server.h"
#include "consentd/timer.h"

struct worker {
    struct loop *loop;
    struct generation *generation;
    struct server *server;
    struct ipc *master, *ledger;
    struct timer drain;
    bool draining;
};

static void on_drained(void *arg)
{
    struct worker *w = arg;

    log_info("worker.drained", "");
    loop_stop(w->loop);
}

static void on_drain_timeout(void *arg)
{
    struct worker *w = arg;

    log_warn("worker.drain_timeout", "clients=%u", server_clients(w->server));
    loop_stop(w->loop);
}

static void drain(struct worker *w)
{
    if (w->draining)
        return;
    w->draining = true;
    timer_set(&w->drain, w->generation->config->drain_timeout_ms);
    server_drain(w->server, on_drained, w);
}

/* --- the ledger --- */

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

static void ledger_attach(struct worker *w, int fd)
{
    static const struct ipc_ops ops = {on_ledger_msg, on_ledger_closed};

    if (fd < 0)
        return;
    if (w->ledger != NULL)
        on_ledger_closed(w);
    w->ledger = ipc_new(w->loop, fd, &ops, w);
    server_set_ledger(w->server, w->ledger);
}

/* --- rules --- */

static void snapshots_set(struct worker *w, const struct rules_state *state)
{
    for (unsigned i = 0; i < w->generation->config->site_cnt; i++)
        server_set_snapshot(w->server, i, generation_snapshot(w->generation, i, state));
}

/* The state's text comes in a memory file: it may be larger than a message. */
static bool text_read(int fd, struct buf *out)
{
    struct stat st;
    uint8_t *to;

    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= 0 || st.st_size > RULES_STATE_TEXT_MAX)
        return false;
    to = buf_reserve(out, (size_t)st.st_size);
    if (to == NULL || pread(fd, to, (size_t)st.st_size, 0) != st.st_size)
        return false;
    buf_commit(out, (size_t)st.st_size);
    return true;
}

static void rules_apply(struct worker *w, const struct ipc_rules *msg, int fd)
{
    struct ipc_rules_done done = {.revision = msg->revision, .request = msg->request, .workers = 1};
    struct rules_state *state = NULL;
    struct fault fault = {"unreadable"};
    struct buf text;

    buf_init(&text, RULES_STATE_TEXT_MAX);
    if (text_read(fd, &text))
        state = rules_state_parse("rules.json", buf_str(&text), &fault);
    buf_free(&text);
    if (state == NULL) {
        log_error("rules.refused", "reason=\"%s\"", fault.text);
    } else {
        snapshots_set(w, state);
        done.confirmed = 1;
        log_info("rules.swapped", "revision=%llu", (unsigned long long)msg->revision);
    }
    rules_state_free(state);
    if (!ipc_send(w->master, IPC_RULES_DONE, &done, sizeof(done), -1))
        log_warn("master.link_full", "");
}

/* --- the master --- */

static void listen_on(struct worker *w, const void *data, size_t len, int fd)
{
    struct ipc_listen msg;
    struct fault fault = {""};

    if (len != sizeof(msg) || fd < 0)
        return;
    memcpy(&msg, data, sizeof(msg));
    if (!server_listen(w->server, msg.index, fd, &fault))
        log_error("listen.failed", "index=%u reason=\"%s\"", msg.index, fault.text);
}

static void on_master_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct worker *w = owner;
    struct ipc_rules rules;

    switch (type) {
    case IPC_LISTEN:
        listen_on(w, data, len, fd);
        return; /* the server owns fd */
    case IPC_PEER:
        ledger_attach(w, fd);
        return; /* the link owns fd */
    case IPC_START:
        if (!ipc_send(w->master, IPC_READY, NULL, 0, -1))
            log_error("master.link_full", "");
        break;
    case IPC_RULES:
        if (len != sizeof(rules))
            break;
        memcpy(&rules, data, sizeof(rules));
        rules_apply(w, &rules, fd);
        break;
    case IPC_DRAIN:
        drain(w);
        break;
    default:
        break;
    }
    if (fd >= 0)
        close(fd);
}

static void on_master_closed(void *owner)
{
    struct worker *w = owner;

    log_warn("master.gone", "");
    drain(w);
}

static int access_log_open(const struct config *config)
{
    int fd;

    if (config->access_log == NULL)
        return -1;
    if (strcmp(config->access_log, "stderr") == 0)
        return STDERR_FILENO;
    fd = open(config->access_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        log_error("access_log.failed", "errno=%d", errno);
    return fd;
}

int worker_main(unsigned slot)
{
    static const struct ipc_ops ops = {on_master_msg, on_master_closed};
    struct worker w = {.generation = child_begin("worker", slot)};
    struct fault fault = {""};

    if (w.generation == NULL)
        return 1;
    w.loop = loop_new();
    timer_init(&w.drain, w.loop, on_drain_timeout, &w);
    struct server_opts opts = {.loop = w.loop,
                               .config = w.generation->config,
                               .bundle = w.generation->bundle,
                               .keyring = w.generation->keyring,
                               .policies = w.generation->policies,
                               .access_log_fd = access_log_open(w.generation->config)};

    w.server = server_new(&opts, &fault);
    if (w.server == NULL) {
        log_error("worker.failed", "reason=\"%s\"", fault.text);
        return 1;
    }
    snapshots_set(&w, NULL);
    w.master = ipc_new(w.loop, CHILD_FD_CONTROL, &ops, &w);
    loop_run(w.loop);
    timer_clear(&w.drain);
    ipc_free(w.ledger);
    ipc_free(w.master);
    server_free(w.server);
    loop_poll(w.loop);
    generation_free(w.generation);
    loop_free(w.loop);
    return 0;
}
