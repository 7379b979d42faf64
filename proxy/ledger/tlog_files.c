/*
 * tlog_files.c - files of the log that get their names at once and are made durable together.
 *
 * A sync per tile costs more than everything else that the log does. Nobody relies on a tile
 * before a checkpoint covers it, so it is enough that all of them are durable before the
 * checkpoint is written: a few are synced one by one, many by one sync of the file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/file.h"
#include "consentd/mem.h"
#include "tlog_priv.h"

static int create(const char *path, struct fault *f)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 && errno == ENOENT) {
        char *folder = file_dir_of(path);

        if (file_make_dirs(folder, 0755, f))
            fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        free(folder);
    }
    return fd;
}

bool tlog_files_write(struct tlog_files *files, const char *path, struct str bytes, struct fault *f)
{
    size_t room = strlen(path) + sizeof(".tmp");
    char *temporary = mem_alloc(room);
    int fd;
    bool ok;

    (void)snprintf(temporary, room, "%s.tmp", path);
    fd = create(temporary, f);
    ok = fd >= 0 && file_write_all(fd, bytes.ptr, bytes.len) && rename(temporary, path) == 0;
    if (!ok)
        fault_set_errno(f, "%s: cannot write", path);
    if (ok && files->cnt < TLOG_FILES_MAX) {
        /* the disk begins now; what it can't do is told by the sync */
        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        files->fds[files->cnt++] = fd;
    } else if (fd >= 0) {
        (void)close(fd); /* the sync of the file system reports what is lost */
        files->many = files->many || ok;
    }
    free(temporary);
    return ok;
}

static bool sync_all(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && syncfs(fd) == 0;

    if (fd >= 0)
        (void)close(fd);
    return ok;
}

bool tlog_files_settle(struct tlog_files *files, const char *dir, struct fault *f)
{
    bool ok = !files->many || sync_all(dir);

    for (unsigned i = 0; i < files->cnt; i++) {
        ok = (files->many || fdatasync(files->fds[i]) == 0) && ok;
        (void)close(files->fds[i]);
    }
    files->cnt = 0;
    files->many = false;
    if (!ok)
        fault_set_errno(f, "%s: the tiles can't be made durable", dir);
    return ok;
}

void tlog_files_close(struct tlog_files *files)
{
    for (unsigned i = 0; i < files->cnt; i++)
        (void)close(files->fds[i]);
    files->cnt = 0;
}
