/*
 * children.c - seats and who sits in them.
 *
 *   seat (what the configuration wants) ──▶ child (a process) or a respawn timer
 *
 * A child of an old generation has no seat: it drains and is not replaced. Every child
 * re-executes the binary with its role's name: a fresh address space, and nothing of the
 * master's memory in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/bundle.h"
#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "upgrade_priv.h"

unsigned children_count(const struct master *m, enum ipc_role role)
{
    unsigned cnt = 0;

    for (unsigned i = 0; i < PROC_SLOTS; i++)
        cnt += m->children[i].pid != 0 && m->children[i].role == role;
    return cnt;
}

static void on_deadline(void *arg)
{
    struct child *c = arg;

    log_warn("process.killed", "role=%s slot=%u reason=\"did not finish in time\"",
             proc_role_name(c->role), c->slot);
    kill(c->pid, SIGKILL);
}

static void on_respawn(void *arg)
{
    struct seat *seat = arg;

    seats_fill(seat->master);
}

unsigned seats_workers(const struct config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned workers = c->workers > 0 ? c->workers : (unsigned)(cores > 0 ? cores : 1);

    return workers < SEATS_MAX - SEATS_OTHERS ? workers : SEATS_MAX - SEATS_OTHERS;
}

void seats_set(struct master *m)
{
    unsigned workers = seats_workers(m->material->config);
    unsigned cnt = 0;

    for (unsigned i = 0; i < m->seat_cnt; i++)
        timer_clear(&m->seats[i].respawn);
    m->seats[cnt++] = (struct seat){.role = IPC_ROLE_LEDGER};
    m->seats[cnt++] = (struct seat){.role = IPC_ROLE_ADMIN};
    while (cnt < workers + SEATS_OTHERS)
        m->seats[cnt++] = (struct seat){.role = IPC_ROLE_WORKER};
    m->seat_cnt = cnt;
    for (unsigned i = 0; i < cnt; i++) {
        m->seats[i].master = m;
        m->seats[i].backoff_ms = PROC_BACKOFF_MS;
        timer_init(&m->seats[i].respawn, m->loop, on_respawn, &m->seats[i]);
    }
}

/* In the new process: descriptors to their numbers, then the program again. */
NORETURN static void become(const struct seat *seat, unsigned slot, const int from[4])
{
    enum ipc_role role = seat->role;
    char number[16], row[16];
    int high[4];
    sigset_t none;

    for (int i = 0; i < 4; i++) /* above every target number first */
        high[i] = fcntl(from[i], F_DUPFD, 16);
    for (int i = 0; i < 4; i++) {
        if (high[i] < 0 || dup2(high[i], PROC_FD_MASTER + i) < 0)
            _exit(71);
    }
    if (close_range(PROC_FD_ORIGINS + 1, ~0u, 0) != 0)
        _exit(71);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    snprintf(number, sizeof(number), "%u", slot);
    snprintf(row, sizeof(row), "%u",
             role == IPC_ROLE_WORKER ? (unsigned)(seat - seat->master->seats) - SEATS_OTHERS : 0);
    execl("/proc/self/exe", "consentd", "--role", proc_role_name(role), "--slot", number, "--row",
          row, (char *)NULL);
    _exit(72);
}

static void on_child_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    master_message(owner, type, data, len, fd);
}

static void on_child_closed(void *owner)
{
    struct child *c = owner;

    ipc_free(c->ipc); /* SIGCHLD says the rest */
    c->ipc = NULL;
}

static const struct ipc_ops child_ops = {.on_msg = on_child_msg, .on_closed = on_child_closed};

void child_show(const struct child *c)
{
    struct metrics_owner owner = {
        .pid = (uint64_t)c->pid,
        .role = c->role,
        .generation = c->generation,
        .state = c->state,
        .since_ms = clock_wall_ms() - (clock_mono_ms() - c->started_ms),
        .requests_before = c->requests_before,
    };

    metrics_own(c->slot, &owner);
}

static struct child *free_child(struct master *m)
{
    for (unsigned i = 1; i < PROC_SLOTS; i++) { /* slot 0 is the master's own counters */
        if (m->children[i].pid == 0)
            return &m->children[i];
    }
    return NULL;
}

/* One end of a new pair to each of the two. */
static void join(struct child *a, struct child *b)
{
    struct ipc_peer to_a = {.role = b->role, .slot = b->slot};
    struct ipc_peer to_b = {.role = a->role, .slot = a->slot};
    int fds[2];

    if (a->ipc == NULL || b->ipc == NULL)
        return;
    if (!ipc_pair(fds)) {
        log_error("process.unjoined", "errno=%d", errno);
        return;
    }
    bool ok = ipc_send(a->ipc, IPC_PEER, &to_a, sizeof(to_a), fds[0]);
    ok = ipc_send(b->ipc, IPC_PEER, &to_b, sizeof(to_b), fds[1]) && ok;
    if (!ok)
        log_warn("process.unjoined", "slots=%u,%u", a->slot, b->slot);
}

static struct child *ledger_of(struct master *m)
{
    for (unsigned i = 0; i < m->seat_cnt; i++) {
        if (m->seats[i].role == IPC_ROLE_LEDGER)
            return m->seats[i].child;
    }
    return NULL;
}

static void join_ledger(struct master *m, struct child *fresh)
{
    if (fresh->role != IPC_ROLE_LEDGER) {
        struct child *ledger = ledger_of(m);
        if (ledger != NULL)
            join(fresh, ledger);
        return;
    }
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *other = &m->children[i];
        if (other->pid != 0 && other->role != IPC_ROLE_LEDGER)
            join(other, fresh);
    }
}

static void send_listens(struct child *c)
{
    const struct master *m = c->master;

    for (size_t i = 0; i < m->listen_cnt; i++) {
        struct ipc_listen head = {.index = (uint32_t)i};
        int fd = fcntl(m->listens[i].fd, F_DUPFD_CLOEXEC, 16);
        if (fd < 0 || !ipc_send(c->ipc, IPC_LISTEN, &head, sizeof(head), fd))
            log_error("listen.unsent", "slot=%u address=%s", c->slot, m->listens[i].address);
    }
}

bool rules_send(struct ipc *to, uint64_t revision, uint64_t request, struct str text)
{
    struct ipc_rules head = {.revision = revision, .request = request};
    size_t len = sizeof(head) + text.len;
    struct fault why = {0};

    if (len > IPC_MSG_MAX) {
        struct bundle *b = bundle_new();
        int fd = -1;
        if (bundle_add(b, STR(":rules"), text))
            fd = bundle_seal(b, &why);
        bundle_free(b);
        return fd >= 0 && ipc_send(to, IPC_RULES, &head, sizeof(head), fd);
    }
    uint8_t *message = mem_alloc(len);
    memcpy(message, &head, sizeof(head));
    memcpy(message + sizeof(head), text.ptr, text.len);
    bool ok = ipc_send(to, IPC_RULES, message, len, -1);
    free(message);
    return ok;
}

/* The state that is in force, to a worker. */
static bool send_rules(struct child *c, uint64_t request)
{
    const struct master *m = c->master;

    return rules_send(c->ipc, m->rules_revision, request, str_make(m->rules_text, m->rules_len));
}

unsigned children_send_rules(struct master *m, uint64_t request)
{
    unsigned sent = 0;

    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];
        c->rules_done = false;
        if (c->pid != 0 && c->role == IPC_ROLE_WORKER && c->ipc != NULL)
            sent += send_rules(c, request);
    }
    return sent;
}

/* That this worker is no operator; of an admin that can't be told, the ipc is dead anyway. */
static void name_worker(const struct child *admin, const struct child *worker)
{
    const struct ipc_worker name = {.pid = (uint32_t)worker->pid};

    if (worker->pid == 0 || worker->role != IPC_ROLE_WORKER || admin->pid == 0 ||
        admin->role != IPC_ROLE_ADMIN || admin->ipc == NULL)
        return;
    if (!ipc_send(admin->ipc, IPC_WORKER, &name, sizeof(name), -1))
        log_error("worker.unnamed", "slot=%u", worker->slot);
}

/* A new worker to every admin, a new admin of every worker. */
static void name_workers(const struct master *m, const struct child *fresh)
{
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        name_worker(&m->children[i], fresh);
        name_worker(fresh, &m->children[i]);
    }
}

static void greet(struct child *c)
{
    struct master *m = c->master;
    bool ok = true;

    name_workers(m, c); /* before the operators' socket */
    if (c->role == IPC_ROLE_WORKER) {
        if (m->rules_text != NULL)
            ok = send_rules(c, 0);
        send_listens(c);
    } else if (c->role == IPC_ROLE_ADMIN) {
        struct ipc_listen head = {0};
        int fd = fcntl(m->admin_fd, F_DUPFD_CLOEXEC, 16);
        ok = fd >= 0 && ipc_send(c->ipc, IPC_LISTEN, &head, sizeof(head), fd);
        if (ok && m->watch.address != NULL) {
            head.index = ADMIN_LISTEN_WATCH;
            fd = fcntl(m->watch.fd, F_DUPFD_CLOEXEC, 16);
            ok = fd >= 0 && ipc_send(c->ipc, IPC_LISTEN, &head, sizeof(head), fd);
        }
        outcome_send(m, c);
    }
    join_ledger(m, c);
    if (!ipc_send(c->ipc, IPC_START, NULL, 0, -1) || !ok)
        log_error("process.ungreeted", "role=%s slot=%u", proc_role_name(c->role), c->slot);
}

static bool spawn(struct master *m, struct seat *seat)
{
    struct child *c = free_child(m);
    int fds[2];

    if (c == NULL || !ipc_pair(fds))
        return false;
    unsigned slot = (unsigned)(c - m->children);
    pid_t pid = fork();
    if (pid == 0) {
        const int from[4] = {fds[1], m->material->bundles[seat->role], m->metrics_fd,
                             m->material->origins};
        become(seat, slot, from);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return false;
    }
    *c = (struct child){.master = m, .seat = seat, .role = seat->role, .slot = slot, .pid = pid};
    c->started_ms = loop_now_ms(m->loop);
    c->generation = m->generation;
    c->seat_no = -1;
    c->requests_before = metric_of(slot, METRIC_REQUESTS);
    c->ipc = ipc_new(m->loop, fds[0], &child_ops, c);
    timer_init(&c->deadline, m->loop, on_deadline, c);
    child_show(c);
    seat->child = c;
    metric_add(METRIC_PROC_STARTED, 1);
    log_info("process.started", "role=%s slot=%u pid=%d", proc_role_name(c->role), slot, (int)pid);
    greet(c);
    return true;
}

void seats_fill(struct master *m)
{
    if (m->stopping)
        return;
    for (unsigned i = 0; i < m->seat_cnt; i++) {
        struct seat *seat = &m->seats[i];
        if (seat->child != NULL || timer_is_set(&seat->respawn))
            continue;
        if (!spawn(m, seat)) {
            log_error("process.unstarted", "role=%s errno=%d", proc_role_name(seat->role), errno);
            timer_set(&seat->respawn, PROC_BACKOFF_MAX_MS);
        }
    }
}

static uint64_t drain_limit(const struct master *m)
{
    return m->material->config->drain_timeout_ms + PROC_GRACE_MS;
}

void child_drain(struct child *c)
{
    if (c->state == CHILD_DRAINING)
        return;
    c->state = CHILD_DRAINING;
    c->drain_ms = loop_now_ms(c->master->loop);
    timer_set(&c->deadline, drain_limit(c->master));
    child_show(c);
    if (c->ipc == NULL || !ipc_send(c->ipc, IPC_DRAIN, NULL, 0, -1))
        kill(c->pid, SIGKILL);
}

bool child_adopt(struct master *m, const struct child *as, int fd)
{
    struct child *c = &m->children[as->slot];

    if (c->pid != 0)
        return false;
    *c = *as;
    c->master = m;
    c->seat = NULL;
    c->ipc = fd >= 0 ? ipc_new(m->loop, fd, &child_ops, c) : NULL;
    timer_init(&c->deadline, m->loop, on_deadline, c);
    child_show(c);
    return true;
}

void children_deadlines(struct master *m)
{
    uint64_t now = loop_now_ms(m->loop);

    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];
        uint64_t until = c->drain_ms + drain_limit(m);

        if (c->pid != 0 && c->state == CHILD_DRAINING && !timer_is_set(&c->deadline))
            timer_set(&c->deadline, until > now ? until - now : 1);
    }
}

bool seats_ready(const struct master *m, enum ipc_role role)
{
    for (unsigned i = 0; i < m->seat_cnt; i++) {
        const struct seat *seat = &m->seats[i];

        if (seat->role == role && (seat->child == NULL || seat->child->state != CHILD_READY))
            return false;
    }
    return true;
}

/* A seat's child died unasked: wait, then another. */
static void schedule(struct seat *seat, uint64_t lived_ms)
{
    if (lived_ms >= PROC_HEALTHY_MS)
        seat->backoff_ms = PROC_BACKOFF_MS;
    timer_set(&seat->respawn, seat->backoff_ms);
    seat->backoff_ms *= 2;
    if (seat->backoff_ms > PROC_BACKOFF_MAX_MS)
        seat->backoff_ms = PROC_BACKOFF_MAX_MS;
}

static void gone(struct master *m, struct child *c, int status)
{
    struct seat *seat = c->seat;
    bool asked = c->state == CHILD_DRAINING;
    uint64_t lived_ms = loop_now_ms(m->loop) - c->started_ms;

    if (asked)
        log_info("process.finished", "role=%s slot=%u", proc_role_name(c->role), c->slot);
    else
        log_error("process.died", "role=%s slot=%u pid=%d %s=%d lived_ms=%llu",
                  proc_role_name(c->role), c->slot, (int)c->pid,
                  WIFSIGNALED(status) ? "signal" : "status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                  (unsigned long long)lived_ms);
    if (!asked)
        metric_add(METRIC_PROC_DIED, 1);
    timer_clear(&c->deadline);
    ipc_free(c->ipc);
    metrics_release(c->slot);
    c->ipc = NULL;
    c->pid = 0;
    if (seat != NULL) {
        seat->child = NULL;
        m->swap_deaths += !asked;
        if (!m->stopping)
            schedule(seat, lived_ms);
    }
}

void children_reap(struct master *m)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (upgrade_reaped(m, pid, status))
            continue;
        for (unsigned i = 0; i < PROC_SLOTS; i++) {
            if (m->children[i].pid == pid) {
                gone(m, &m->children[i], status);
                break;
            }
        }
    }
    if (m->stopping)
        master_stop_step(m);
    else
        reload_progress(m);
}
