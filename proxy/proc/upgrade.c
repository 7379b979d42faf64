/*
 * upgrade.c - another program file in place of the running one; contract in upgrade_priv.h.
 *
 * The master executes the new file itself, so that service managers see the same process, its
 * children stay its children, and no listening socket is ever closed. What may fail is
 * tried before: the new file is run as `consentd -t` with the state in its hands. What fails
 * later, the new generation's processes, makes the new master execute the old file again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "upgrade_priv.h"

#define SELF "/proc/self/exe"

/* --- the program file ------------------------------------------------------------ */

static bool is_self(const char *path)
{
    struct stat self, other;

    return stat(SELF, &self) == 0 && stat(path, &other) == 0 && self.st_dev == other.st_dev &&
           self.st_ino == other.st_ino;
}

/*
 * The name that we were started by, where it has a slash: a link that is pointed elsewhere is an
 * upgrade too. Otherwise the file itself.
 */
static char *find_binary(const char *argv0)
{
    char text[PATH_MAX];
    ssize_t len;

    if (strchr(argv0, '/') != NULL && getcwd(text, sizeof(text)) != NULL) {
        char *path = file_resolve(text, argv0);
        if (is_self(path))
            return path;
        free(path);
    }
    len = readlink(SELF, text, sizeof(text) - 1);
    text[len > 0 ? len : 0] = '\0';
    return mem_strdup(text);
}

static void give_up_rehearsal(void *arg)
{
    struct master *m = arg;

    kill(m->upgrade->rehearsal, SIGKILL); /* the reaper says the rest */
}

static void flush_again(void *arg);

/* Its descriptors are somebody else's. */
static void let_go(struct material *m)
{
    m->origins = -1;
    for (unsigned role = 0; role < PROC_ROLES; role++)
        m->bundles[role] = -1;
}

void upgrade_init(struct master *m, const char *argv0)
{
    struct upgrade *u = m->upgrade = mem_new(struct upgrade);

    u->binary = find_binary(argv0);
    u->old_exe = u->rehearsal_out = -1;
    let_go(&u->old);
    timer_init(&u->patience, m->loop, give_up_rehearsal, m);
    timer_init(&u->flush, m->loop, flush_again, m);
}

/* What only the program before this one needed. */
static void let_old_go(struct upgrade *u)
{
    material_close(&u->old);
    if (u->old_exe >= 0)
        close(u->old_exe);
    u->old_exe = -1;
}

void upgrade_free(struct master *m)
{
    struct upgrade *u = m->upgrade;

    timer_clear(&u->patience);
    timer_clear(&u->flush);
    if (u->rehearsal != 0)
        kill(u->rehearsal, SIGKILL);
    if (u->rehearsal_out >= 0)
        close(u->rehearsal_out);
    let_old_go(u);
    free(u->binary);
    free(u);
}

bool upgrade_on_trial(const struct master *m)
{
    return m->upgrade->old_exe >= 0 && m->upgrade->from[0] != '\0';
}

int upgrade_inherited(void)
{
    const char *text = getenv(HANDOVER_ENV);
    uint64_t fd;

    if (text == NULL || !str_to_u64(str_c(text), INT_MAX, &fd))
        return -1;
    unsetenv(HANDOVER_ENV);
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return (int)fd;
}

bool upgrade_check(int fd, struct fault *f)
{
    json_t *state = handover_read(fd, f);

    json_decref(state);
    return state != NULL;
}

/* --- the old program: rehearse, then execute ------------------------------------- */

static void refuse(struct master *m, const char *why)
{
    log_error("upgrade.refused", "binary=%s reason=\"%s\"", m->upgrade->binary, why);
    metric_add(METRIC_UPGRADES_REFUSED, 1);
    reload_outcome(m, IPC_CHANGE_UPGRADE, why);
    notify("READY=1\nSTATUS=The upgrade was refused; the running version goes on.");
    reload_progress(m);
}

/* In the child: `consentd -t`, its errors into the memory file. */
NORETURN static void rehearse(const struct master *m, int state, int out)
{
    char number[16];
    sigset_t none;

    int in = fcntl(state, F_DUPFD, 16);
    if (in < 0 || dup2(out, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(in, PROC_FD_MASTER) < 0 || close_range(PROC_FD_MASTER + 1, ~0u, 0) != 0)
        _exit(71);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)snprintf(number, sizeof(number), "%d", PROC_FD_MASTER);
    setenv(HANDOVER_ENV, number, 1);
    execl(m->upgrade->binary, m->upgrade->binary, "-t", "-c", m->config_path, (char *)NULL);
    dprintf(STDERR_FILENO, "%s: %s", m->upgrade->binary, strerror(errno));
    _exit(72);
}

void master_upgrade(struct master *m)
{
    struct upgrade *u = m->upgrade;
    struct fault why = {0};
    int state;

    if (m->stopping || reload_must_wait(m, IPC_CHANGE_UPGRADE))
        return;
    notify("RELOADING=1");
    log_info("upgrade.rehearsing", "binary=%s version=%s", u->binary, CONSENTD_VERSION);
    state = handover_write(m, NULL, &why);
    u->rehearsal_out = memfd_create("consentd-rehearsal", MFD_CLOEXEC);
    if (state >= 0 && u->rehearsal_out >= 0) {
        u->rehearsal = fork();
        if (u->rehearsal == 0)
            rehearse(m, state, u->rehearsal_out);
    }
    if (state >= 0)
        close(state);
    if (u->rehearsal > 0) {
        timer_set(&u->patience, UPGRADE_REHEARSE_MS);
        return;
    }
    u->rehearsal = 0;
    if (u->rehearsal_out >= 0)
        close(u->rehearsal_out);
    u->rehearsal_out = -1;
    refuse(m, why.text[0] != '\0' ? why.text : "no process can be started");
}

/* What the rehearsal said, on one line without the program's name. */
static void rehearsal_words(int fd, char *out, size_t cap)
{
    static const char own[] = "consentd: ";
    ssize_t got = pread(fd, out, cap - 1, 0);
    size_t len = got > 0 ? (size_t)got : 0;

    while (len > 0 && out[len - 1] == '\n')
        len--;
    out[len] = '\0';
    if (strncmp(out, own, sizeof(own) - 1) == 0)
        memmove(out, out + sizeof(own) - 1, len + 1 - (sizeof(own) - 1));
    for (char *p = out; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ')
            *p = ' ';
    }
}

static bool all_sent(const struct master *m)
{
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        const struct child *c = &m->children[i];

        if (c->pid != 0 && c->ipc != NULL && ipc_queued(c->ipc) > 0)
            return false;
    }
    return true;
}

/* Executes the file behind fd, or the one at path; returns when that failed. */
static void execute(struct master *m, int state, const char *path, int fd)
{
    const char *const words[] = {m->upgrade->binary, "-c", m->config_path, NULL};
    char *argv[COUNT_OF(words)];
    char number[16];
    sigset_t all, before;
    int error;

    memcpy(argv, words, sizeof(argv)); /* execv() has no const and changes nothing */
    (void)snprintf(number, sizeof(number), "%d", state);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* one that comes in between stays pending */
    setenv(HANDOVER_ENV, number, 1);
    (void)fcntl(state, F_SETFD, 0);
    handover_keep(m, true);
    if (path == NULL)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* it does not need itself */
    if (path != NULL)
        execv(path, argv);
    else
        fexecve(fd, argv, environ);
    error = errno;
    handover_keep(m, false);
    (void)fcntl(state, F_SETFD, FD_CLOEXEC);
    unsetenv(HANDOVER_ENV);
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
}

static void go(struct master *m)
{
    struct upgrade *u = m->upgrade;
    struct fault why = {0};
    int state = -1;

    if (m->stopping)
        return;
    if (!all_sent(m)) {
        if (++u->flush_tries <= UPGRADE_FLUSH_TRIES)
            timer_set(&u->flush, UPGRADE_FLUSH_MS);
        else
            refuse(m, "a process does not read its messages");
        return;
    }
    if (reload_must_wait(m, IPC_CHANGE_UPGRADE))
        return; /* a reload came first: then all of it once more */
    u->old_exe = open(SELF, O_RDONLY | O_CLOEXEC);
    if (u->old_exe >= 0)
        state = handover_write(m, NULL, &why);
    if (state >= 0) {
        log_info("upgrade.executing", "binary=%s", u->binary);
        execute(m, state, u->binary, -1);
        close(state);
    }
    if (why.text[0] == '\0')
        fault_set_errno(&why, "%s", u->binary);
    let_old_go(u);
    refuse(m, why.text);
}

static void flush_again(void *arg)
{
    go(arg);
}

bool upgrade_reaped(struct master *m, pid_t pid, int status)
{
    struct upgrade *u = m->upgrade;
    char words[FAULT_TEXT_MAX] = "";

    if (u->rehearsal == 0 || pid != u->rehearsal)
        return false;
    bool late = !timer_is_set(&u->patience);
    timer_clear(&u->patience);
    rehearsal_words(u->rehearsal_out, words, sizeof(words));
    close(u->rehearsal_out);
    u->rehearsal_out = -1;
    u->rehearsal = 0;
    u->flush_tries = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        go(m);
    else if (late)
        refuse(m, "the new program did not check its configuration in time");
    else if (WIFSIGNALED(status) || words[0] == '\0')
        refuse(m, "the new program crashed on checking its configuration");
    else
        refuse(m, words);
    return true;
}

/* --- the new program ------------------------------------------------------------- */

/* This program is the one before again. */
static bool resume(struct master *m, const char *failed, struct fault *f)
{
    struct upgrade *u = m->upgrade;

    m->material = material_adopt(&u->old, f);
    let_go(&u->old);
    u->from[0] = '\0';
    if (m->material == NULL || !master_load_rules(m, m->material->config, f) ||
        !reload_resume(m, f))
        return false;
    refuse(m, failed);
    return true;
}

/* This program is the new one: a generation of its own beside the old one. */
static bool begin(struct master *m, struct fault *f)
{
    struct material *fresh = material_load(m->config_path, f);

    if (fresh == NULL)
        return false;
    if (master_load_rules(m, fresh->config, f) && reload_start(m, fresh, f)) {
        log_info("upgrade.started", "version=%s from=%s", CONSENTD_VERSION, m->upgrade->from);
        return true;
    }
    material_free(fresh);
    return false;
}

bool upgrade_take_over(struct master *m, int fd, struct fault *f)
{
    json_t *state = handover_read(fd, f);
    char failed[FAULT_TEXT_MAX] = "";
    bool ok;

    close(fd);
    ok = state != NULL && handover_adopt(m, state, f);
    if (ok && json_is_string(json_object_get(state, "failed")))
        (void)snprintf(failed, sizeof(failed), "%s",
                       json_string_value(json_object_get(state, "failed")));
    json_decref(state);
    if (!ok)
        return false;
    if (failed[0] != '\0')
        return resume(m, failed, f);
    if (begin(m, f))
        return true;
    upgrade_take_back(m, f->text);
    return false;
}

void upgrade_take_back(struct master *m, const char *why)
{
    struct upgrade *u = m->upgrade;
    struct fault f = {0};
    int state;

    log_error("upgrade.failed", "version=%s reason=\"%s\"", CONSENTD_VERSION, why);
    state = handover_write(m, why, &f);
    if (state >= 0) {
        execute(m, state, NULL, u->old_exe);
        fault_set_errno(&f, "the program before this one cannot be executed");
        close(state);
    }
    log_error("upgrade.stuck", "reason=\"%s\"", f.text);
}

void upgrade_done(struct master *m)
{
    let_old_go(m->upgrade);
    metric_add(METRIC_UPGRADES, 1);
    log_info("upgrade.done", "version=%s from=%s", CONSENTD_VERSION, m->upgrade->from);
    m->upgrade->from[0] = '\0';
    reload_outcome(m, IPC_CHANGE_UPGRADE, NULL);
}
