/*
 * file.c - contract in consentd/file.h.
 *
 * The order that makes a replacement safe: write the new bytes beside the old ones,
 * fsync them, rename over the old name, fsync the folder. Leaving out any step can
 * leave an empty or a vanished file after a power cut.
 */
#include "consentd/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/mem.h"

static bool read_all(int fd, size_t max, struct buf *out, const char *path, struct fault *f)
{
    size_t got = 0;

    for (;;) {
        uint8_t *room = buf_reserve(out, 16384);
        size_t want = 16384;
        if (room == NULL) { /* near the end of the buf: what is left */
            want = out->max - out->len;
            room = want > 0 ? buf_reserve(out, want) : NULL;
        }
        uint8_t probe;
        ssize_t n = read(fd, room != NULL ? room : &probe, room != NULL ? want : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fault_set_errno(f, "%s: cannot read", path);
            return false;
        }
        if (n == 0)
            return true;
        got += (size_t)n;
        if (got > max || room == NULL) {
            fault_set(f, "%s: larger than %zu bytes", path, max < out->max ? max : out->max);
            return false;
        }
        buf_commit(out, (size_t)n);
    }
}

bool file_read(const char *path, size_t max, struct buf *out, struct fault *f)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    bool ok = false;

    if (fd < 0) {
        fault_set_errno(f, "%s: cannot open", path);
        return false;
    }
    if (fstat(fd, &st) != 0)
        fault_set_errno(f, "%s: cannot stat", path);
    else if (!S_ISREG(st.st_mode))
        fault_set(f, "%s: not a regular file", path);
    else
        ok = read_all(fd, max, out, path, f);
    close(fd);
    return ok;
}

/* What a call of write(2) or pwrite(2) says: bytes taken, 0: once more, -1 and errno. */
static ssize_t taken(ssize_t n)
{
    if (n < 0 && errno == EINTR)
        return 0;
    if (n != 0)
        return n;
    errno = ENOSPC;
    return -1;
}

bool file_write_all(int fd, const void *p, size_t len)
{
    const uint8_t *next = p;

    while (len > 0) {
        ssize_t n = taken(write(fd, next, len));
        if (n < 0)
            return false;
        next += n;
        len -= (size_t)n;
    }
    return true;
}

bool file_write_all_at(int fd, const void *p, size_t len, uint64_t off)
{
    const uint8_t *next = p;

    while (len > 0) {
        ssize_t n = taken(pwrite(fd, next, len, (off_t)off));
        if (n < 0)
            return false;
        next += n;
        len -= (size_t)n;
        off += (uint64_t)n;
    }
    return true;
}

/* `path` is what messages call it. */
static bool write_new(const char *temp, const char *path, struct str text, mode_t mode,
                      struct fault *f)
{
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        fault_set_errno(f, "%s: cannot create", path);
        return false;
    }
    bool ok = file_write_all(fd, text.ptr, text.len) && fchmod(fd, mode) == 0 && fsync(fd) == 0;
    if (!ok)
        fault_set_errno(f, "%s: cannot write", path);
    if (close(fd) != 0 && ok) {
        fault_set_errno(f, "%s: cannot close", path);
        ok = false;
    }
    return ok;
}

bool file_write_atomic(const char *path, const void *p, size_t len, mode_t mode, struct fault *f)
{
    uint8_t salt[6];
    char salt_text[2 * sizeof(salt) + 1];
    char temp[PATH_MAX];

    crypto_random(salt, sizeof(salt));
    hex_encode(salt_text, salt, sizeof(salt));
    int n = snprintf(temp, sizeof(temp), "%s.tmp.%s", path, salt_text);
    if (n < 0 || (size_t)n >= sizeof(temp)) {
        fault_set(f, "%s: path too long", path);
        return false;
    }
    if (!write_new(temp, path, str_make(p, len), mode, f)) {
        unlink(temp); /* fails when it was never made; nothing to add to the fault */
        return false;
    }
    if (rename(temp, path) != 0) {
        fault_set_errno(f, "%s: cannot replace", path);
        unlink(temp);
        return false;
    }
    return file_sync_dir(path, f);
}

/* "NAME.tmp.<12 hex digits>" */
static bool is_temp_of(const char *name, const char *entry)
{
    size_t len = strlen(name);
    uint8_t salt[6];

    return strncmp(entry, name, len) == 0 && strncmp(entry + len, ".tmp.", 5) == 0 &&
           hex_decode(str_c(entry + len + 5), salt, sizeof(salt));
}

void file_remove_temps(const char *path)
{
    char *folder = file_dir_of(path);
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (is_temp_of(name, entry->d_name))
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    free(folder);
}

bool file_sync_dir(const char *path, struct fault *f)
{
    char *dir = file_dir_of(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok)
        fault_set_errno(f, "%s: cannot sync the folder", dir);
    if (fd >= 0)
        close(fd);
    free(dir);
    return ok;
}

bool file_make_dirs(const char *path, mode_t mode, struct fault *f)
{
    char *walk = mem_strdup(path);
    bool ok = true;

    for (char *p = walk + 1; ok && *walk != '\0' && *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        ok = mkdir(walk, 0755) == 0 || errno == EEXIST;
        *p = '/';
    }
    ok = ok && (mkdir(path, mode) == 0 || errno == EEXIST);
    if (!ok)
        fault_set_errno(f, "%s: cannot make the folder", path);
    free(walk);
    return ok;
}

char *file_resolve(const char *dir, const char *path)
{
    if (path[0] == '/')
        return mem_strdup(path);
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    size_t dir_len = strlen(dir), path_len = strlen(path);
    bool slash = dir_len > 0 && dir[dir_len - 1] != '/';
    char *whole = mem_alloc(dir_len + path_len + 2);

    memcpy(whole, dir, dir_len);
    if (slash)
        whole[dir_len++] = '/';
    memcpy(whole + dir_len, path, path_len + 1);
    return whole;
}

char *file_dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return mem_strdup(".");
    return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

static int byte_order(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_wanted(const char *dir, const char *name, const char *suffix)
{
    struct stat st;
    char *path;
    bool regular;

    if (name[0] == '.' || !str_ends(str_c(name), str_c(suffix)))
        return false;
    path = file_resolve(dir, name);
    regular = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    return regular;
}

bool file_each(const char *dir, const char *suffix, file_each_fn fn, void *arg, struct fault *f)
{
    struct dirent **names = NULL;
    int cnt = scandir(dir, &names, NULL, byte_order);
    bool go = true;

    if (cnt < 0) {
        fault_set_errno(f, "%s: cannot read the folder", dir);
        return false;
    }
    for (int i = 0; i < cnt; i++) {
        if (go && is_wanted(dir, names[i]->d_name, suffix))
            go = fn(arg, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return go;
}
