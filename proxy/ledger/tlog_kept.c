/*
 * tlog_kept.c - the checkpoints that were signed, kept so that whoever verifies can hold each of
 * them against the log; contract in consentd/tlog.h.
 *
 * Two files: one grows, the other is what it was before; an empty line ends each checkpoint. With
 * one a second at most that is days of a busy site and years of a quiet one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/tlog.h"
#include "tlog_priv.h"

#define TLOG_KEPT_OLD TLOG_KEPT ".old"

/* Where the last whole checkpoint ends: a crash may have left a piece behind it. */
static off_t whole_end(int fd, off_t size)
{
    char tail[NOTE_CHECKPOINT_MAX + 2];
    off_t from = size > (off_t)sizeof(tail) ? size - (off_t)sizeof(tail) : 0;
    ssize_t got = pread(fd, tail, sizeof(tail), from);

    for (ssize_t i = got; i >= 3; i--) /* the empty line behind the signatures, not before them */
        if (tail[i - 1] == '\n' && tail[i - 2] == '\n' && (i == got || tail[i] != '\xe2'))
            return from + i;
    return 0;
}

static bool append(int fd, struct str note)
{
    struct stat st;
    off_t end;

    if (fstat(fd, &st) != 0)
        return false;
    end = st.st_size == 0 ? 0 : whole_end(fd, st.st_size);
    if (end != st.st_size && ftruncate(fd, end) != 0)
        return false;
    return pwrite(fd, note.ptr, note.len, end) == (ssize_t)note.len &&
           pwrite(fd, "\n", 1, end + (off_t)note.len) == 1 && fdatasync(fd) == 0;
}

bool tlog_keep(const char *dir, struct str note, struct fault *f)
{
    char *path = file_resolve(dir, TLOG_KEPT);
    char *old = file_resolve(dir, TLOG_KEPT_OLD);
    struct stat st;
    bool there = stat(path, &st) == 0;
    int fd;
    bool ok;

    if (there && st.st_size + (off_t)note.len > (off_t)TLOG_KEPT_MAX)
        there = rename(path, old) != 0; /* failing that, the file grows: nothing is lost */
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ok = fd >= 0 && append(fd, note) && (there || file_sync_dir(path, f));
    if (!ok)
        fault_set_errno(f, "%s: cannot write", path);
    if (fd >= 0)
        close(fd);
    free(path);
    free(old);
    return ok;
}

/* --- reading ---------------------------------------------------------------------------- */

/* Cuts the next checkpoint, up to the empty line behind its signatures; false: none whole. */
static bool cut(struct str *rest, struct str *note)
{
    ptrdiff_t body = str_find(*rest, STR("\n\n"));
    ptrdiff_t end =
        body < 0 ? -1 : str_find(str_slice(*rest, (size_t)body + 2, rest->len), STR("\n\n"));

    if (end < 0)
        return false;
    *note = str_slice(*rest, 0, (size_t)(body + 2 + end + 1));
    *rest = str_slice(*rest, note->len + 1, rest->len);
    return true;
}

static bool walk_file(const char *dir, const char *name, tlog_kept_fn fn, void *arg, bool *more,
                      struct fault *f)
{
    char *path = file_resolve(dir, name);
    struct buf text;
    struct str rest, note;
    bool ok = true;

    buf_init(&text, 2 * TLOG_KEPT_MAX);
    if (access(path, F_OK) == 0 || errno != ENOENT)
        ok = file_read(path, 2 * TLOG_KEPT_MAX, &text, f);
    rest = buf_str(&text);
    while (ok && *more && cut(&rest, &note))
        *more = fn(arg, name, note);
    if (ok && *more && rest.len > NOTE_CHECKPOINT_MAX) { /* less is what a crash leaves */
        fault_set(f, "%s: %zu bytes at its end are no checkpoint", path, rest.len);
        ok = false;
    }
    buf_free(&text);
    free(path);
    return ok;
}

bool tlog_kept(const char *dir, tlog_kept_fn fn, void *arg, struct fault *f)
{
    bool more = true;

    return walk_file(dir, TLOG_KEPT_OLD, fn, arg, &more, f) &&
           (!more || walk_file(dir, TLOG_KEPT, fn, arg, &more, f));
}

/* --- partial tiles ---------------------------------------------------------------------- */

void tlog_drop_partial(const char *path)
{
    size_t room = strlen(path) + sizeof(".p");
    char *name = mem_alloc(room);
    const struct dirent *entry;
    DIR *dir;

    (void)snprintf(name, room, "%s.p", path);
    dir = opendir(name);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL) {
        closedir(dir);
        (void)rmdir(name); /* what is left is only too much */
    }
    free(name);
}
