/*
 * traitor.c - put before libc (LD_PRELOAD) by tests: workers that were taken over. The one of the
 * first row says of every change of rules three times that it is in force; the others say nothing
 * of it. With a path in $OPERATORS the first connection of a visitor makes a worker ask there for
 * the list of rules; what it is told goes to the log.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

static void ask(const char *path)
{
    static const char request[] = "GET /api/v1/rules HTTP/1.1\r\nHost: x\r\n\r\n";
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char answer[16] = "";

    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    if (fd < 0)
        dprintf(STDERR_FILENO, "traitor: no socket\n");
    else if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
        dprintf(STDERR_FILENO, "traitor: no connection\n");
    else if (write(fd, request, sizeof(request) - 1) < 0 ||
             read(fd, answer, sizeof(answer) - 1) <= 0)
        dprintf(STDERR_FILENO, "traitor: no answer\n");
    else
        dprintf(STDERR_FILENO, "traitor: %s\n", answer);
    close(fd);
}

int accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
    static int (*real)(int, struct sockaddr *, socklen_t *, int);
    const char *path = getenv("OPERATORS");

    if (real == NULL)
        real = (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
    if (part != HONEST && path != NULL) {
        ask(path);
        unsetenv("OPERATORS");
    }
    return real(fd, peer, len, flags);
}
