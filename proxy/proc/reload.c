/*
 * reload.c - a new generation beside the old one.
 *
 *   SIGHUP ─▶ read and rehearse ─▶ bad: say why, change nothing
 *                │ good
 *                ▼
 *   new processes start ─▶ all READY ─▶ old workers drain ─▶ they exit when empty
 *                │ they die, or are not READY in time
 *                ▼
 *   the old configuration and its workers go on; the new processes drain
 *
 * The listening sockets are the master's and stay open, so that between the two
 * generations a connection waits in the kernel's queue and none is refused. The old
 * ledger leaves at once: the new one waits for its lock on the journal, and workers
 * of both generations send again over their new sockets what was not acknowledged.
 * While one change is under way others wait, and are then done as one.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/origin_stats.h"
#include "upgrade_priv.h"

#define SWAP_MS     30000 /* for the processes of a new generation to be ready */
#define SWAP_DEATHS 3     /* processes of it that may die before it is taken back */

/* Everybody gets up: the next seats_fill() seats new ones. Old workers serve until then. */
static void unseat(struct master *m)
{
    for (unsigned i = 0; i < m->seat_cnt; i++)
        m->seats[i].child = NULL;
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];

        if (c->pid == 0)
            continue;
        if (c->seat != NULL)
            c->seat_no = (int)(c->seat - m->seats);
        c->seat = NULL;
        if (c->role != IPC_ROLE_WORKER)
            child_drain(c);
    }
}

/* The sockets and logs of m->material once more, whatever another configuration changed of them. */
static bool reopen(struct master *m, struct fault *f)
{
    const struct config *c = m->material->config;
    struct listening *listens = NULL;

    watch_restore(m);
    if (!listens_open(m, c, &listens, f))
        return false;
    listens_set(m, listens, c->listen_cnt);
    sockets_drop_kept(m);
    return logs_open_program(c, f) && privs_find(c, &m->privs, f) &&
           admin_socket_open(m, c, &m->privs, f) && watch_open(m, c, f);
}

/* What may be refused comes first; the operators' socket, which is not kept, last. */
static bool prepare(struct master *m, const struct material *fresh, struct fault *f)
{
    const struct config *c = fresh->config;
    struct listening *listens = NULL;
    struct fault again = {0};
    struct privs privs;

    if (!privs_find(c, &privs, f) || !privs_make_dirs(c, &privs, f) ||
        !listens_open(m, c, &listens, f))
        return false;
    listens_set(m, listens, c->listen_cnt);
    if (watch_open(m, c, f) && logs_open_program(c, f) && admin_socket_open(m, c, &privs, f)) {
        m->privs = privs;
        return true;
    }
    if (m->material != NULL && !reopen(m, &again))
        log_error("reload.unclean", "reason=\"%s\"", again.text);
    return false;
}

static void next_generation(struct master *m)
{
    log_set_level(m->material->config->log_level);
    m->swap_deaths = 0;
    m->generation++;
    metric_set(METRIC_GENERATION, m->generation);
    timer_set(&m->swap_over, SWAP_MS);
}

bool reload_start(struct master *m, struct material *fresh, struct fault *f)
{
    if (!prepare(m, fresh, f))
        return false;
    if (m->material != NULL)
        origin_stats_inherit(fresh->origins, fresh->config, m->material->origins,
                             m->material->config);
    m->before = m->material;
    m->material = fresh;
    unseat(m);
    children_deadlines(m);
    certs_seen(m);
    m->swapping = true;
    next_generation(m);
    seats_set(m);
    seats_fill(m);
    return true;
}

/* --- the way back ------------------------------------------------------------------- */

static struct seat *seat_before(struct master *m, const struct child *c)
{
    struct seat *seat =
        c->seat_no >= 0 && c->seat_no < (int)m->seat_cnt ? &m->seats[c->seat_no] : NULL;

    return seat != NULL && seat->role == c->role && seat->child == NULL ? seat : NULL;
}

/* The old generation has its seats again; whoever was started since goes. */
static void reseat(struct master *m)
{
    seats_set(m);
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];
        struct seat *seat;

        c->seat = NULL;
        if (c->pid == 0 || c->state == CHILD_DRAINING)
            continue;
        seat = seat_before(m, c);
        if (seat != NULL) {
            c->seat = seat;
            seat->child = c;
        } else if (c->role != IPC_ROLE_WORKER && c->state == CHILD_STARTING) {
            kill(c->pid, SIGKILL); /* it may wait for a lock and read no message */
        } else {
            child_drain(c);
        }
    }
    children_deadlines(m);
}

bool reload_resume(struct master *m, struct fault *f)
{
    if (!reopen(m, f))
        return false;
    m->swapping = false;
    reseat(m);
    next_generation(m);
    seats_fill(m);
    return true;
}

/* Old workers never stopped serving: visitors see nothing of it. */
static void take_back(struct master *m, const char *why)
{
    struct fault lost = {0};

    log_error("reload.failed", "generation=%llu reason=\"%s\"", (unsigned long long)m->generation,
              why);
    material_free(m->material);
    m->material = m->before;
    m->before = NULL;
    certs_tried(m);
    if (!reload_resume(m, &lost)) {
        log_error("reload.stuck", "reason=\"%s\"", lost.text);
        master_stop(m); /* the service manager starts us anew */
        return;
    }
    metric_add(METRIC_RELOADS_REFUSED, 1);
    reload_outcome(m, IPC_CHANGE_RELOAD, why);
    notify("READY=1\nSTATUS=The new configuration failed; the old one is in force.");
}

/* Whoever is told to stop stops, in whichever program and configuration it is. */
static void give_up(struct master *m, const char *why)
{
    if (m->stopping)
        return;
    if (upgrade_on_trial(m))
        upgrade_take_back(m, why);
    else if (m->before != NULL)
        take_back(m, why);
}

void master_reload(struct master *m)
{
    struct fault why = {0};

    if (m->stopping || reload_must_wait(m, IPC_CHANGE_RELOAD))
        return;
    notify("RELOADING=1");
    certs_tried(m);
    struct material *fresh = material_load(m->config_path, &why);
    if (fresh == NULL || !reload_start(m, fresh, &why)) {
        log_error("reload.refused", "reason=\"%s\"", why.text);
        metric_add(METRIC_RELOADS_REFUSED, 1);
        material_free(fresh);
        reload_outcome(m, IPC_CHANGE_RELOAD, why.text);
        notify("READY=1\nSTATUS=The new configuration was refused; the old one is in force.");
        return;
    }
    master_say_ceiling(m);
    log_info("reload.started", "generation=%llu sites=%zu", (unsigned long long)m->generation,
             fresh->config->site_cnt);
}

/* --- one change at a time ----------------------------------------------------------- */

/*
 * The last change is through or taken back, and the ledger records. A ledger that dies, or that
 * had its time, is not waited for: the next change may be the cure.
 */
static bool is_settled(const struct master *m)
{
    return !m->swapping &&
           (seats_ready(m, IPC_ROLE_LEDGER) || m->swap_deaths > 0 || !timer_is_set(&m->swap_over));
}

bool reload_must_wait(struct master *m, enum ipc_change what)
{
    bool wait = m->upgrade->rehearsal != 0 || !is_settled(m);

    if (wait)
        m->again[what] = true;
    return wait;
}

/* Many that were asked for meanwhile are one; an upgrade reads the configuration too. */
static void next(struct master *m)
{
    bool upgrade = m->again[IPC_CHANGE_UPGRADE];

    if (m->stopping || m->upgrade->rehearsal != 0 || !is_settled(m) ||
        (!upgrade && !m->again[IPC_CHANGE_RELOAD]))
        return;
    m->again[IPC_CHANGE_UPGRADE] = m->again[IPC_CHANGE_RELOAD] = false;
    if (upgrade)
        master_upgrade(m);
    else
        master_reload(m);
}

/* To every admin: the one that was asked may be on its way out. */
void reload_outcome(struct master *m, enum ipc_change what, const char *why)
{
    m->outcome.number++;
    m->outcome.what = what;
    m->outcome.done = why == NULL;
    (void)snprintf(m->outcome_why, sizeof(m->outcome_why), "%s", why != NULL ? why : "");
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        if (m->children[i].pid != 0 && m->children[i].role == IPC_ROLE_ADMIN)
            outcome_send(m, &m->children[i]);
    }
}

void outcome_send(const struct master *m, const struct child *admin)
{
    uint8_t message[sizeof(m->outcome) + sizeof(m->outcome_why)];
    size_t len = strlen(m->outcome_why);

    if (m->outcome.number == 0 || admin->ipc == NULL)
        return;
    memcpy(message, &m->outcome, sizeof(m->outcome));
    memcpy(message + sizeof(m->outcome), m->outcome_why, len);
    if (!ipc_send(admin->ipc, IPC_OUTCOME, message, sizeof(m->outcome) + len, -1))
        log_warn("outcome.unsent", "slot=%u", admin->slot);
}

/* The ledger has its lock, and the admin answers: what is let go is not needed any more. */
static bool swap_ready(const struct master *m)
{
    return seats_ready(m, IPC_ROLE_WORKER) && seats_ready(m, IPC_ROLE_LEDGER) &&
           seats_ready(m, IPC_ROLE_ADMIN);
}

static void swap_done(struct master *m)
{
    unsigned old = 0;

    m->swapping = false;
    material_free(m->before);
    m->before = NULL;
    sockets_drop_kept(m);
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];
        if (c->pid == 0 || c->seat != NULL)
            continue;
        child_drain(c);
        old++;
    }
    if (upgrade_on_trial(m)) {
        upgrade_done(m);
    } else {
        metric_add(METRIC_RELOADS, 1);
        reload_outcome(m, IPC_CHANGE_RELOAD, NULL);
    }
    log_info("reload.done", "generation=%llu draining=%u", (unsigned long long)m->generation, old);
    notify("READY=1\nSTATUS=Serving.");
}

void reload_progress(struct master *m)
{
    if (m->stopping)
        return;
    if (m->swapping && swap_ready(m))
        swap_done(m);
    else if (m->swapping && m->swap_deaths >= SWAP_DEATHS)
        give_up(m, "its processes died; the log says how");
    next(m);
}

/* A ledger that reads a long journal, and the old one's workers serve: it is not the new files. */
static void on_swap_over(void *arg)
{
    struct master *m = arg;

    if (m->stopping)
        return;
    if (m->swapping && !upgrade_on_trial(m) && m->swap_deaths == 0 &&
        seats_ready(m, IPC_ROLE_WORKER))
        swap_done(m);
    else if (m->swapping)
        give_up(m, "its processes were not ready in time");
    next(m);
}

void reload_init(struct master *m)
{
    timer_init(&m->swap_over, m->loop, on_swap_over, m);
}
