/*
 * memfile.h - files in memory that nobody can change any more.
 *
 * Processes that must not trust each other hold the same one: write it, seal it, hand the
 * descriptor on. Whoever gets one looks for the seals before reading: without them another holder
 * could still change it, or cut it short under a mapping.
 */
#ifndef CONSENTD_MEMFILE_H
#define CONSENTD_MEMFILE_H

#include <stdbool.h>

#include "consentd/attr.h"

/* An empty one to write to, closed on exec; the name is for /proc alone. -1 with errno. */
MUST_USE int memfile_new(const char *name);

/* Nothing about it can change after this, the seals included. False with errno. */
MUST_USE bool memfile_seal(int fd);

/* True: it is one, and has all the seals. */
MUST_USE bool memfile_is_sealed(int fd);

#endif
