/*
 * file.h - whole files: read with a size limit, write so that a crash leaves the
 * old or the new content and nothing between.
 *
 * For set-up and rare state only: these calls block. The journal has its own
 * write path (journal.h).
 */
#ifndef CONSENTD_FILE_H
#define CONSENTD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"

/*
 * Appends the file's bytes to out (initialised by the caller). False with the path
 * and the reason for: cannot open or read, not a regular file, more than max bytes.
 */
MUST_USE bool file_read(const char *path, size_t max, struct buf *out, struct fault *f);

/*
 * Writes path.tmp.<random>, fsync, rename over path, fsync of the folder. The
 * temporary file is removed on failure. mode is set exactly, whatever the umask.
 */
MUST_USE bool file_write_atomic(const char *path, const void *p, size_t len, mode_t mode,
                                struct fault *f);

/*
 * Removes what writers of this path left beside it when they were killed. Only for who alone writes
 * it: what another one is about to rename would go too.
 */
void file_remove_temps(const char *path);

/*
 * All len bytes to an open file, however many calls it takes; the _at form at an offset. False
 * with errno otherwise (ENOSPC where the system takes nothing and says no reason).
 */
MUST_USE bool file_write_all(int fd, const void *p, size_t len);
MUST_USE bool file_write_all_at(int fd, const void *p, size_t len, uint64_t off);

/* fsync of the folder that holds path, so that a rename or a new name is durable. */
MUST_USE bool file_sync_dir(const char *path, struct fault *f);

/* Makes path and the folders above it, mode for the last one. Existing is fine. */
MUST_USE bool file_make_dirs(const char *path, mode_t mode, struct fault *f);

/* path if absolute, else dir "/" path, without "./" in front. Heap; never NULL. */
MUST_USE char *file_resolve(const char *dir, const char *path);

/* The folder of path ("." if it names none). Heap; never NULL. */
MUST_USE char *file_dir_of(const char *path);

/* Called for each name in a folder, in byte order; false stops. */
typedef bool (*file_each_fn)(void *arg, const char *name);

/* Walks the regular files of a folder whose name ends in suffix ("" = all). */
MUST_USE bool file_each(const char *dir, const char *suffix, file_each_fn fn, void *arg,
                        struct fault *f);

#endif
