/*
 * master.c - the process that starts, watches and replaces the others. It touches no byte
 * from the network.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/bundle.h"
#include "consentd/ceiling.h"
#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "consentd/rules_state.h"
#include "upgrade_priv.h"

/* Keeps text as the state in force. False: it is none. */
static bool take_rules(struct master *m, struct str text, struct fault *f)
{
    struct rules_state *state = rules_state_parse("rules.json", text, f);

    if (state == NULL)
        return false;
    m->rules_revision = rules_state_revision(state);
    rules_state_free(state);
    free(m->rules_text);
    m->rules_text = str_dup(text);
    m->rules_len = text.len;
    return true;
}

/* The state that the last run left behind; none is fine, a damaged one is not. */
bool master_load_rules(struct master *m, const struct config *c, struct fault *f)
{
    char *path = file_resolve(c->state_dir, "rules.json");
    struct buf text;
    bool ok = true;

    buf_init(&text, RULES_STATE_TEXT_MAX);
    if (access(path, F_OK) == 0)
        ok = file_read(path, RULES_STATE_TEXT_MAX, &text, f) && take_rules(m, buf_str(&text), f);
    buf_free(&text);
    free(path);
    return ok;
}

/* A new state from the admin: kept for children to come, sent to those that are. */
static void on_rules(struct child *admin, const void *data, size_t len, int fd)
{
    struct master *m = admin->master;
    struct bundle *large = NULL;
    struct ipc_rules head;
    struct fault why = {0};
    struct str text;

    if (admin->role != IPC_ROLE_ADMIN || len < sizeof(head))
        return;
    memcpy(&head, data, sizeof(head));
    text = str_make((const char *)data + sizeof(head), len - sizeof(head));
    if (fd >= 0)
        large = bundle_open(fd, &why);
    if (large != NULL && !bundle_get(large, STR(":rules"), &text))
        text = str_make("", 0);
    if ((fd >= 0 && large == NULL) || !take_rules(m, text, &why)) {
        log_error("rules.refused", "reason=\"%s\"", why.text);
    } else {
        m->rules_request = head.request;
        m->rules_confirmed = 0;
        m->rules_asked = children_send_rules(m, head.request);
        log_info("rules.sent", "revision=%llu workers=%u", (unsigned long long)m->rules_revision,
                 m->rules_asked);
    }
    bundle_free(large);
}

/* Each confirmation goes on to the admin with the number so far. */
static void on_rules_done(struct child *c, const void *data, size_t len)
{
    struct master *m = c->master;
    struct ipc_rules_done done;

    if (c->role != IPC_ROLE_WORKER || len != sizeof(done))
        return;
    memcpy(&done, data, sizeof(done));
    if (done.request == 0 || done.request != m->rules_request)
        return; /* a new child that was given the state, or an older change */
    if (c->rules_done)
        return; /* it speaks for itself, once */
    c->rules_done = true;
    done.confirmed = ++m->rules_confirmed;
    done.workers = m->rules_asked;
    for (unsigned i = 0; i < PROC_SLOTS; i++) { /* also one that is on its way out */
        struct child *admin = &m->children[i];
        if (admin->pid != 0 && admin->role == IPC_ROLE_ADMIN && admin->ipc != NULL &&
            !ipc_send(admin->ipc, IPC_RULES_DONE, &done, sizeof(done), -1))
            log_warn("rules.unconfirmed", "revision=%llu", (unsigned long long)done.revision);
    }
}

static void on_ready(struct child *c)
{
    if (c->state != CHILD_STARTING)
        return;
    c->state = CHILD_READY;
    child_show(c);
    log_info("process.ready", "role=%s slot=%u", proc_role_name(c->role), c->slot);
    if (c->role == IPC_ROLE_WORKER)
        notify("READY=1\nSTATUS=Serving.");
    reload_progress(c->master);
}

void master_message(struct child *c, uint16_t type, const void *data, size_t len, int fd)
{
    if (type == IPC_READY)
        on_ready(c);
    else if (type == IPC_RULES)
        on_rules(c, data, len, fd);
    else if (type == IPC_RULES_DONE)
        on_rules_done(c, data, len);
    else if (type == IPC_RELOAD && c->role == IPC_ROLE_ADMIN)
        master_reload(c->master);
    else if (type == IPC_UPGRADE && c->role == IPC_ROLE_ADMIN)
        master_upgrade(c->master);
    else
        log_warn("ipc.unexpected", "role=%s type=%u", proc_role_name(c->role), type);
    if (fd >= 0)
        close(fd);
}

static void drain_role(struct master *m, enum ipc_role role)
{
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        if (m->children[i].pid != 0 && m->children[i].role == role)
            child_drain(&m->children[i]);
    }
}

/* Workers first, then the admin, then the ledger: whoever still writes has somebody to. */
void master_stop_step(struct master *m)
{
    static const enum ipc_role order[] = {IPC_ROLE_WORKER, IPC_ROLE_ADMIN, IPC_ROLE_LEDGER};

    for (size_t i = 0; i < COUNT_OF(order); i++) {
        if (children_count(m, order[i]) > 0) {
            drain_role(m, order[i]);
            return;
        }
    }
    loop_stop(m->loop);
}

/* The second time: nobody is waited for but the ledger, which only has to sync. */
static void stop_at_once(struct master *m)
{
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        if (m->children[i].pid != 0 && m->children[i].role != IPC_ROLE_LEDGER)
            kill(m->children[i].pid, SIGKILL);
    }
}

void master_stop(struct master *m)
{
    if (m->stopping) {
        stop_at_once(m);
        return;
    }
    m->stopping = true;
    notify("STOPPING=1");
    log_info("master.stopping", "workers=%u", children_count(m, IPC_ROLE_WORKER));
    for (unsigned i = 0; i < m->seat_cnt; i++)
        timer_clear(&m->seats[i].respawn);
    master_stop_step(m);
}

static void on_stop(void *arg)
{
    master_stop(arg);
}

static void on_hup(void *arg)
{
    master_reload(arg);
}

static void on_usr1(void *arg)
{
    logs_reopen(arg);
}

static void on_usr2(void *arg)
{
    master_upgrade(arg);
}

static void on_child(void *arg)
{
    children_reap(arg);
}

static bool watch_signals(struct master *m, struct fault *f)
{
    sigset_t none;

    if (!loop_on_signal(m->loop, SIGTERM, on_stop, m) ||
        !loop_on_signal(m->loop, SIGINT, on_stop, m) ||
        !loop_on_signal(m->loop, SIGHUP, on_hup, m) ||
        !loop_on_signal(m->loop, SIGUSR1, on_usr1, m) ||
        !loop_on_signal(m->loop, SIGUSR2, on_usr2, m) ||
        !loop_on_signal(m->loop, SIGCHLD, on_child, m)) {
        fault_set(f, "cannot watch signals");
        return false;
    }
    sigemptyset(&none); /* the program before this one held them back */
    return sigprocmask(SIG_SETMASK, &none, NULL) == 0;
}

/* Everything anew. */
void master_say_ceiling(const struct master *m)
{
    const struct config *c = m->material->config;
    struct ceiling ceiling;
    char text[CEILING_TEXT_MAX];

    ceiling_of(c, seats_workers(c), &ceiling);
    log_info("memory.ceiling", "bytes=%llu text=\"%s\"", (unsigned long long)ceiling.all,
             ceiling_text(&ceiling, text));
}

static bool start(struct master *m, struct fault *f)
{
    m->material = material_load(m->config_path, f);
    if (m->material == NULL || !logs_open_program(m->material->config, f) ||
        !privs_find(m->material->config, &m->privs, f) ||
        !privs_make_dirs(m->material->config, &m->privs, f) ||
        !master_load_rules(m, m->material->config, f) ||
        !admin_socket_open(m, m->material->config, &m->privs, f) ||
        !watch_open(m, m->material->config, f) ||
        !listens_open(m, m->material->config, &m->listens, f))
        return false;
    m->listen_cnt = m->material->config->listen_cnt;
    sockets_drop_kept(m);
    m->metrics_fd = metrics_create(PROC_SLOTS);
    if (m->metrics_fd < 0 || !metrics_attach(m->metrics_fd, 0, PROC_SLOTS)) {
        fault_set_errno(f, "cannot make the counters");
        return false;
    }
    if (!watch_signals(m, f))
        return false;
    m->generation = 1;
    metric_set(METRIC_GENERATION, m->generation);
    log_set_level(m->material->config->log_level);
    master_say_ceiling(m);
    log_info("master.started", "version=%s pid=%d", CONSENTD_VERSION, (int)getpid());
    seats_set(m);
    seats_fill(m);
    return true;
}

/* Descriptors 0-6 must be taken, or one of ours could get a number that a child uses. */
static bool hold_low_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= PROC_FD_ORIGINS);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static void master_free(struct master *m)
{
    for (unsigned i = 0; i < m->seat_cnt; i++)
        timer_clear(&m->seats[i].respawn);
    timer_clear(&m->certs_timer);
    timer_clear(&m->names_timer);
    sockets_drop_kept(m);
    for (size_t i = 0; i < m->listen_cnt; i++) {
        close(m->listens[i].fd);
        free(m->listens[i].address);
    }
    free(m->listens);
    if (m->admin_socket != NULL) {
        close(m->admin_fd);
        unlink(m->admin_socket);
        free(m->admin_socket);
    }
    if (m->watch.address != NULL)
        close(m->watch.fd);
    free(m->watch.address);
    free(m->rules_text);
    timer_clear(&m->swap_over);
    upgrade_free(m);
    material_free(m->before);
    material_free(m->material);
    loop_free(m->loop);
    free(m);
}

/* After a program that handed itself over, or anew. */
static bool begin(struct master *m, int inherited, struct fault *f)
{
    if (!privs_hide(f))
        return false;
    if (inherited < 0)
        return hold_low_descriptors() && start(m, f);
    return watch_signals(m, f) && upgrade_take_over(m, inherited, f);
}

int master_main(const char *config_path, const char *argv0)
{
    struct master *m = mem_new(struct master);
    int inherited = upgrade_inherited();
    struct fault why = {0};

    log_open("master", LOG_LEVEL_INFO, STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    umask(0027);
    m->config_path = config_path;
    m->loop = loop_new();
    upgrade_init(m, argv0);
    reload_init(m);
    if (!begin(m, inherited, &why)) {
        log_error("start.refused", "reason=\"%s\"", why.text);
        master_free(m);
        return 1;
    }
    certs_watch(m);
    names_watch(m);
    children_reap(m); /* who died while nobody watched */
    int result = loop_run(m->loop);
    log_info("master.stopped", "");
    master_free(m);
    return result == 0 ? 0 : 1;
}
