/*
 * scan_chromium.c - the browser's process: started with two pipes and a profile of its own.
 *
 * The profile is a new folder under TMPDIR; it goes, with the whole process group, at the end. A
 * signal to end is that, too: it takes its course when they are gone. A second one does at once.
 * The sandbox is switched off only for root, for whom Chromium does not start with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/mem.h"
#include "scan_priv.h"

#define ARGS_MAX     32
#define STOP_MS      3000 /* Browser.close has been asked for: so long it may take */
#define NFTW_FILES   16
#define CHILD_IN     3 /* where Chromium reads commands, and writes answers to the next */
#define PROGRAM_MAX  512
#define RESOLVE_FLAG "--host-resolver-rules="
#define PROFILE_FLAG "--user-data-dir="

static volatile sig_atomic_t stopped_by; /* the signal, 0: none */

static void on_signal(int signo)
{
    stopped_by = signo;
}

static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, before;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < COUNT_OF(signals); i++) {
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(signals[i], &action, NULL);
    }
}

bool chromium_is_stopped(void)
{
    return stopped_by != 0;
}

/* The first program of these names that can be run; false: none. */
static bool find_program(char out[PROGRAM_MAX])
{
    static const char *const names[] = {"chromium", "chromium-browser", "google-chrome-stable",
                                        "google-chrome", "chrome"};
    const char *path = getenv("PATH");

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct str rest = str_c(path != NULL ? path : "/usr/bin:/bin");
        struct str dir;

        while (str_cut(&rest, ':', &dir)) {
            int len = snprintf(out, PROGRAM_MAX, "%.*s/%s", STR_ARGS(dir), names[i]);

            if (dir.len > 0 && len > 0 && len < PROGRAM_MAX && access(out, X_OK) == 0)
                return true;
        }
    }
    return false;
}

/* In the child: no allocation, no return. */
NORETURN static void become(const char *const *argv, int in, int out)
{
    /* Out of the way of the numbers that they get. */
    int in_high = fcntl(in, F_DUPFD, CHILD_IN + 2);
    int out_high = fcntl(out, F_DUPFD, CHILD_IN + 2);
    int null = open("/dev/null", O_RDWR);

    (void)setpgid(0, 0);
    if (in_high < 0 || out_high < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 ||
        dup2(in_high, CHILD_IN) < 0 || dup2(out_high, CHILD_IN + 1) < 0)
        _exit(126);
    close(in_high);
    close(out_high);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static bool launch(const char *const *argv, struct chromium *out, struct fault *f)
{
    int commands[2], answers[2];
    pid_t pid;

    if (pipe2(commands, O_CLOEXEC) != 0) {
        fault_set(f, "pipe: %s", strerror(errno));
        return false;
    }
    if (pipe2(answers, O_CLOEXEC) != 0) {
        fault_set(f, "pipe: %s", strerror(errno));
        close(commands[0]);
        close(commands[1]);
        return false;
    }
    pid = fork();
    if (pid == 0)
        become(argv, commands[0], answers[1]);
    close(commands[0]);
    close(answers[1]);
    out->to = commands[1];
    out->from = answers[0];
    if (pid < 0) {
        fault_set(f, "fork: %s", strerror(errno));
        return false;
    }
    (void)setpgid(pid, pid); /* the child does the same: whoever is first */
    out->pid = pid;
    return true;
}

bool chromium_start(const struct chromium_setup *setup, struct chromium *out, struct fault *f)
{
    static const char *const flags[] = {"--headless=new",
                                        "--remote-debugging-pipe",
                                        "--no-first-run",
                                        "--disable-sync",
                                        "--disable-gpu",
                                        "--disable-background-networking",
                                        "--disable-extensions",
                                        "--disable-component-update",
                                        "--disable-default-apps",
                                        "--mute-audio",
                                        "--no-default-browser-check",
                                        "--window-size=1280,800",
                                        "--disable-quic",
                                        "--disable-dev-shm-usage"};
    const char *argv[ARGS_MAX + 1] = {NULL};
    const char *tmp = getenv("TMPDIR");
    char program[PROGRAM_MAX];
    struct buf resolve, profile;
    size_t cnt = 0;
    bool ok;

    *out = (struct chromium){.to = -1, .from = -1};
    signal(SIGPIPE, SIG_IGN); /* a browser that died is an error of write() */
    watch_signals();
    if (setup->program == NULL && !find_program(program)) {
        fault_set(f, "no Chromium found: install the package chromium, or name the program with "
                     "--chromium");
        return false;
    }
    argv[cnt++] = setup->program != NULL ? setup->program : program;
    if (access(argv[0], X_OK) != 0) {
        fault_set(f, "--chromium: %s: %s", argv[0], strerror(errno));
        return false;
    }
    snprintf(out->profile, sizeof(out->profile), "%s/consentctl-scan-XXXXXX",
             tmp != NULL && tmp[0] == '/' && strlen(tmp) < 90 ? tmp : "/tmp");
    if (mkdtemp(out->profile) == NULL) {
        fault_set(f, "%s: %s", out->profile, strerror(errno));
        out->profile[0] = '\0';
        return false;
    }
    buf_init(&resolve, 4096);
    buf_init(&profile, 4096);
    ok = buf_printf(&profile, PROFILE_FLAG "%s", out->profile) &&
         buf_printf(&resolve, RESOLVE_FLAG "%s", setup->resolve != NULL ? setup->resolve : "");
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        argv[cnt++] = flags[i];
    if (geteuid() == 0)
        argv[cnt++] = "--no-sandbox";
    if (setup->insecure)
        argv[cnt++] = "--ignore-certificate-errors";
    if (setup->resolve != NULL)
        argv[cnt++] = buf_cstr(&resolve);
    argv[cnt++] = buf_cstr(&profile);
    if (!ok)
        fault_set(f, "--map: too long");
    ok = ok && launch(argv, out, f);
    buf_free(&resolve);
    buf_free(&profile);
    return ok;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    UNUSED(st);
    UNUSED(type);
    UNUSED(walk);
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

void chromium_stop(struct chromium *c)
{
    uint64_t deadline = clock_mono_ms() + STOP_MS;

    if (c->pid > 0) {
        close(c->to); /* without its pipes Chromium ends by itself */
        close(c->from);
        while (waitpid(c->pid, NULL, WNOHANG) == 0 && clock_mono_ms() < deadline)
            usleep(20000);
        (void)kill(-c->pid, SIGKILL);
        (void)waitpid(c->pid, NULL, 0);
    }
    if (c->profile[0] != '\0') /* a process that is just ending may still write there: again */
        for (int i = 0; i < 20 && nftw(c->profile, remove_one, NFTW_FILES, FTW_DEPTH | FTW_PHYS);
             i++)
            usleep(100000);
    if (stopped_by != 0) {
        signal(stopped_by, SIG_DFL);
        (void)raise(stopped_by);
    }
    *c = (struct chromium){.to = -1, .from = -1};
}
