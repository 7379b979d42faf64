/*
 * memfile.c - contract in consentd/memfile.h.
 */
#include "consentd/memfile.h"

#include <fcntl.h>
#include <sys/mman.h>

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int memfile_new(const char *name)
{
    return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

bool memfile_seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, ALL_SEALS) == 0;
}

bool memfile_is_sealed(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & ALL_SEALS) == ALL_SEALS;
}
