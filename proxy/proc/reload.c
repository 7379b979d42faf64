/*
 * reload.c - a new generation beside the old one.
 *
 *   SIGHUP ─▶ read and rehearse ─▶ bad: say why, change nothing
 *                │ good
 *                ▼
 *   new workers start ─▶ all READY ─▶ old workers drain ─▶ they exit when empty
 *
 * The listening sockets are the master's and stay open, so that between the two
 * generations a connection waits in the kernel's queue and none is refused. The old
 * ledger leaves at once: the new one waits for its lock on the journal, and workers
 * of both generations send again over their new sockets what was not acknowledged.
 * While one change is under way others wait, and are then done as one.
 */
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

#define SWAP_MS 30000 /* for the processes of a new generation to be ready */

/* Everybody gets up: the next seats_fill() seats new ones. Old workers serve until then. */
static void unseat(struct master *m)
{
    for (unsigned i = 0; i < m->seat_cnt; i++)
        m->seats[i].child = NULL;
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        struct child *c = &m->children[i];

        if (c->pid == 0)
            continue;
        c->seat = NULL;
        if (c->role != IPC_ROLE_WORKER)
            child_drain(c);
    }
}

static bool prepare(struct master *m, const struct material *fresh, struct listening **listens,
                    struct fault *f)
{
    struct privs privs;

    if (!logs_open_program(fresh->config, f) || !privs_find(fresh->config, &privs, f) ||
        !privs_make_dirs(fresh->config, &privs, f) ||
        !admin_socket_open(m, fresh->config, &privs, f) || !watch_open(m, fresh->config, f) ||
        !listens_open(m, fresh->config, listens, f))
        return false;
    m->privs = privs;
    return true;
}

bool reload_start(struct master *m, struct material *fresh, struct fault *f)
{
    struct listening *listens = NULL;

    if (!prepare(m, fresh, &listens, f))
        return false;
    listens_set(m, listens, fresh->config->listen_cnt);
    if (m->material != NULL)
        origin_stats_inherit(fresh->origins, fresh->config, m->material->origins,
                             m->material->config);
    material_free(m->material);
    m->material = fresh;
    unseat(m);
    children_deadlines(m);
    certs_seen(m);
    log_set_level(fresh->config->log_level);
    m->swapping = true;
    m->swap_deaths = 0;
    m->generation++;
    metric_set(METRIC_GENERATION, m->generation);
    timer_set(&m->swap_over, SWAP_MS);
    seats_set(m);
    seats_fill(m);
    return true;
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
 * The last change is through: its workers serve, and its ledger records. One whose processes
 * die, or that had its time, is not waited for: the next one may be the cure.
 */
static bool is_settled(const struct master *m)
{
    if (!m->swapping && seats_ready(m, IPC_ROLE_LEDGER))
        return true;
    return !upgrade_on_trial(m) && (m->swap_deaths > 0 || !timer_is_set(&m->swap_over));
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

static void on_swap_over(void *arg)
{
    struct master *m = arg;

    if (upgrade_on_trial(m))
        upgrade_take_back(m, "its processes were not ready in time");
    next(m);
}

void reload_init(struct master *m)
{
    timer_init(&m->swap_over, m->loop, on_swap_over, m);
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

/* On trial, the ledger and the admin must serve as well before the old program is let go. */
static bool swap_ready(const struct master *m)
{
    return seats_ready(m, IPC_ROLE_WORKER) &&
           (!upgrade_on_trial(m) ||
            (seats_ready(m, IPC_ROLE_LEDGER) && seats_ready(m, IPC_ROLE_ADMIN)));
}

static void swap_done(struct master *m)
{
    unsigned old = 0;

    m->swapping = false;
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
    if (m->swapping && swap_ready(m))
        swap_done(m);
    else if (upgrade_on_trial(m) && m->swap_deaths >= UPGRADE_DEATHS)
        upgrade_take_back(m, "its processes died; the log says how");
    next(m);
}
