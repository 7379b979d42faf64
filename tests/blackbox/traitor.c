/*
 * traitor.c - put before libc (LD_PRELOAD) by test_toggle.py: a worker that was taken over. The one
 * of the first row says of every change of rules three times that it is in force; the others say
 * nothing of it.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consentd/ipc_msg.h"

enum { HONEST = 0, TRAITOR, SILENT };

static int part = HONEST;

/* The arguments of a worker: … "--row" and its number, the last one. */
__attribute__((constructor)) static void choose(void)
{
    char words[512] = "";
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t len = read(fd, words, sizeof(words) - 1);

    close(fd);
    if (len > 2 && memmem(words, (size_t)len, "--role\0worker", 13) != NULL)
        part = words[len - 2] == '0' ? TRAITOR : SILENT;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    static ssize_t (*real)(int, const struct msghdr *, int);
    uint16_t type = 0;

    if (real == NULL)
        real = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    if (part != HONEST && msg->msg_iovlen == 1 && msg->msg_control == NULL &&
        msg->msg_iov[0].iov_len == sizeof(type) + sizeof(struct ipc_rules_done))
        memcpy(&type, msg->msg_iov[0].iov_base, sizeof(type));
    if (type != IPC_RULES_DONE)
        return real(fd, msg, flags);
    for (int i = 0; i < 2 && part == TRAITOR; i++)
        real(fd, msg, flags);
    return part == TRAITOR ? real(fd, msg, flags) : (ssize_t)msg->msg_iov[0].iov_len;
}
