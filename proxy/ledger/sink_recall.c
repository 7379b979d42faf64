/*
 * sink_recall.c - what file sinks hold already, read by a thread: a mount from another machine may
 * stand still, and a start must not (contract in consentd/sinks.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/sinks.h"

/* Shared with the thread; the one that is left alone with it frees it. */
struct recall {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    char path[SINK_URL_MAX];
    char *text; /* owned; SINK_RECALL_LEN */
    size_t len;
    int error;       /* errno; ENOENT: nothing was written yet */
    bool done, left; /* left: nobody waits any more */
};

static void destroy(struct recall *r)
{
    (void)pthread_cond_destroy(&r->wake);
    (void)pthread_mutex_destroy(&r->lock);
    free(r->text);
    free(r);
}

/* Returns errno. Only of a plain file: what is read from a pipe is gone from it. */
static int read_end(const char *path, char *text, size_t *len)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st = {0};
    ssize_t got = 0;
    int error = 0;

    if (fd < 0)
        return errno;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        error = ENOENT;
    if (error == 0)
        got = pread(fd, text, SINK_RECALL_LEN,
                    st.st_size > SINK_RECALL_LEN ? st.st_size - SINK_RECALL_LEN : 0);
    if (got < 0)
        error = errno;
    (void)close(fd);
    *len = got > 0 ? (size_t)got : 0;
    return error;
}

static void *run(void *arg)
{
    struct recall *r = arg;
    size_t len = 0;
    int error = read_end(r->path, r->text, &len);
    bool left;

    (void)pthread_mutex_lock(&r->lock);
    r->len = len;
    r->error = error;
    r->done = true;
    left = r->left;
    (void)pthread_cond_signal(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
    if (left)
        destroy(r);
    return NULL;
}

/* Signals are the loop's business. */
static struct recall *start(const char *path)
{
    struct recall *r = mem_new(struct recall);
    pthread_condattr_t clock;
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int error;

    (void)snprintf(r->path, sizeof(r->path), "%s", path);
    r->text = mem_alloc(SINK_RECALL_LEN);
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->wake, &clock);
    (void)pthread_condattr_destroy(&clock);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attr, run, r);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return r;
    destroy(r);
    return NULL;
}

/* False: it stands still. */
static bool wait_for(struct recall *r, const struct timespec *until)
{
    bool done;

    (void)pthread_mutex_lock(&r->lock);
    while (!r->done && pthread_cond_timedwait(&r->wake, &r->lock, until) != ETIMEDOUT)
        ;
    done = r->done;
    r->left = !done;
    (void)pthread_mutex_unlock(&r->lock);
    return done;
}

void sinks_recall(const char *const *urls, size_t cnt, sinks_recall_fn fn, void *arg)
{
    struct recall *all[SINKS_MAX] = {NULL};
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SINK_RECALL_MS / 1000;
    for (size_t i = 0; i < cnt && i < SINKS_MAX; i++)
        if (sink_file_of(urls[i]) != NULL)
            all[i] = start(sink_file_of(urls[i]));
    for (size_t i = 0; i < SINKS_MAX; i++) {
        if (all[i] == NULL)
            continue;
        if (!wait_for(all[i], &until)) {
            log_warn("sink.unread", "sink=\"%s\" reason=\"no answer in time\"", urls[i]);
            continue;
        }
        if (all[i]->error != 0 && all[i]->error != ENOENT)
            log_warn("sink.unread", "sink=\"%s\" reason=\"%s\"", urls[i],
                     strerrordesc_np(all[i]->error));
        fn(arg, urls[i], str_make(all[i]->text, all[i]->len));
        destroy(all[i]);
    }
}
