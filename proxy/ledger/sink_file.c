/*
 * sink_file.c - checkpoints appended to a file, by a thread: a mount from another machine may stand
 * still, and the ledger must not.
 *
 * The thread is detached and owns its writer together with the sink: whoever lets go last frees it.
 * One that hangs in the kernel goes with the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/mem.h"
#include "sinks_priv.h"

struct file_writer {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    char path[SINK_URL_MAX];
    char note[NOTE_CHECKPOINT_MAX + 1]; /* the empty line behind it included */
    size_t len;                         /* 0: nothing to do */
    bool done, ended;                   /* done: with error; ended: the sink let go */
    int error;
};

static void destroy(struct file_writer *w)
{
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

/* 0, or errno. A part that was written stays; the next line begins behind it. */
static int append(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    int error = 0;

    if (fd < 0)
        return errno;
    errno = ENOSPC; /* for a short write */
    if (write(fd, text, len) != (ssize_t)len || fdatasync(fd) != 0)
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    return error;
}

static void *run(void *arg)
{
    struct file_writer *w = arg;

    (void)pthread_mutex_lock(&w->lock);
    while (!w->ended) {
        char text[sizeof(w->note)];
        size_t len = w->len;

        if (len == 0 || w->done) {
            (void)pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        memcpy(text, w->note, len);
        (void)pthread_mutex_unlock(&w->lock);
        int error = append(w->path, text, len);
        (void)pthread_mutex_lock(&w->lock);
        w->error = error;
        w->done = true;
    }
    (void)pthread_mutex_unlock(&w->lock);
    destroy(w);
    return NULL;
}

/* Signals are the loop's business. */
static bool start(struct sink *s)
{
    struct file_writer *w = mem_new(struct file_writer);
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    bool ok;

    (void)snprintf(w->path, sizeof(w->path), "%s", s->to.path);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->wake, NULL);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    errno = pthread_create(&thread, &attr, run, w);
    ok = errno == 0;
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ok)
        s->writer = w;
    else
        destroy(w);
    return ok;
}

void sink_file_send(struct sink *s)
{
    struct file_writer *w;

    if (s->writer == NULL && !start(s)) {
        sink_done(s, false, "no thread to write it");
        return;
    }
    w = s->writer;
    (void)pthread_mutex_lock(&w->lock);
    memcpy(w->note, s->note.data, s->note.len);
    w->note[s->note.len] = '\n';
    w->len = s->note.len + 1;
    w->done = false;
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
}

void sink_file_poll(struct sink *s)
{
    struct file_writer *w = s->writer;
    bool done;
    int error;

    if (w == NULL || s->sending == 0)
        return;
    (void)pthread_mutex_lock(&w->lock);
    done = w->done;
    error = w->error;
    if (done)
        w->len = 0;
    (void)pthread_mutex_unlock(&w->lock);
    if (done)
        sink_done(s, error == 0, strerrordesc_np(error));
}

void sink_file_free(struct file_writer *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->ended = true;
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
}
