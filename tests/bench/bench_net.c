/*
 * bench_net.c - echo ping-pong over loopback through conn.c, plain: requests per second of one
 * loop, and, when strace is there, the system calls per message of the serving process.
 *
 * usage: bench_net [SECONDS]      (bench_net --serve: internal)
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/conn.h"
#include "consentd/listener.h"
#include "consentd/loop.h"
#include "consentd/mem.h"

#define REQUEST_LEN 200
#define ANSWER_LEN  1024
#define CLIENTS     16
#define TRACED      2000 /* messages while strace counts */

struct peer {
    struct conn *conn;
};

static uint8_t answer[ANSWER_LEN];

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct peer *peer = owner;
    size_t taken = 0;

    UNUSED(data);
    for (; len - taken >= REQUEST_LEN; taken += REQUEST_LEN) {
        if (!conn_write(peer->conn, answer, sizeof(answer)))
            break;
    }
    return taken;
}

static void on_eof(void *owner)
{
    struct peer *peer = owner;

    conn_close(peer->conn);
    free(peer);
}

static void on_closed(void *owner, enum conn_why why)
{
    UNUSED(why);
    free(owner);
}

static const struct conn_ops ops = {.on_data = on_data, .on_eof = on_eof, .on_closed = on_closed};

static void on_accept(void *owner, int fd, const struct sockaddr *sa, socklen_t len)
{
    struct peer *peer = mem_new(struct peer);

    UNUSED(sa);
    UNUSED(len);
    peer->conn = conn_accept(owner, fd, NULL, &ops, peer);
}

/* The serving process: prints its port, serves until it is killed. */
static int serve(void)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    struct fault fault;
    int fd = listener_bind("127.0.0.1:0", &fault);
    struct loop *loop = loop_new();

    if (fd < 0 || getsockname(fd, (struct sockaddr *)&in, &len) != 0)
        return 1;
    listener_new(loop, fd, on_accept, loop);
    printf("%u\n", ntohs(in.sin_port));
    fflush(stdout);
    return loop_run(loop);
}

static int connect_to(unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof(in)) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void ping(int fd)
{
    static const uint8_t request[REQUEST_LEN];

    if (write(fd, request, sizeof(request)) != sizeof(request))
        exit(1);
}

static void pong(int fd)
{
    uint8_t in[ANSWER_LEN];

    if (recv(fd, in, sizeof(in), MSG_WAITALL) != sizeof(in))
        exit(1);
}

/* Starts the serving process, below strace if a file for its counts is given. */
static pid_t serve_start(const char *self, const char *counts, unsigned *port_out)
{
    char text[16] = "";
    int fds[2];
    pid_t child;
    ssize_t n;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    child = fork();
    if (child == 0) {
        dup2(fds[1], 1);
        if (counts != NULL)
            execlp("strace", "strace", "-c", "-I1", "-o", counts, self, "--serve", (char *)NULL);
        else
            execl(self, self, "--serve", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    n = read(fds[0], text, sizeof(text) - 1);
    close(fds[0]);
    *port_out = n > 0 ? (unsigned)strtoul(text, NULL, 10) : 0;
    return *port_out != 0 ? child : -1;
}

static uint64_t run(unsigned port, unsigned clients, uint64_t ms, uint64_t max)
{
    int fds[CLIENTS];
    uint64_t cnt = 0, end = clock_mono_ms() + ms;

    for (unsigned i = 0; i < clients; i++)
        fds[i] = connect_to(port);
    while (cnt < max && clock_mono_ms() < end) {
        for (unsigned i = 0; i < clients; i++)
            ping(fds[i]);
        for (unsigned i = 0; i < clients; i++)
            pong(fds[i]);
        cnt += clients;
    }
    for (unsigned i = 0; i < clients; i++)
        close(fds[i]);
    return cnt;
}

static void print_counts(const char *path, uint64_t cnt)
{
    char line[256];
    FILE *file = fopen(path, "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char name[64];
        unsigned calls;

        if (sscanf(line, " %*f %*f %*u %u %*u %63s", &calls, name) != 2 &&
            sscanf(line, " %*f %*f %*u %u %63s", &calls, name) != 2)
            continue;
        if (calls > cnt / 50)
            printf("  %-14s %.2f per message\n", name, (double)calls / (double)cnt);
    }
    if (file != NULL)
        fclose(file);
}

static void count_calls(const char *self)
{
    char path[] = "/tmp/bench_net.XXXXXX";
    int fd = mkstemp(path);
    unsigned port;
    pid_t child = fd < 0 ? -1 : serve_start(self, path, &port);

    if (child < 0) {
        printf("system calls: strace cannot be used here\n");
    } else {
        uint64_t cnt = run(port, 1, 60000, TRACED);

        kill(child, SIGINT); /* strace -I1 ends with it and writes its counts */
        waitpid(child, NULL, 0);
        printf("system calls, %d-byte request, %d-byte answer, one connection:\n", REQUEST_LEN,
               ANSWER_LEN);
        print_counts(path, cnt);
    }
    if (fd >= 0)
        close(fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    uint64_t ms = argc > 1 ? strtoull(argv[1], NULL, 10) * 1000 : 2000;
    unsigned port;
    pid_t child;

    if (argc > 1 && strcmp(argv[1], "--serve") == 0)
        return serve();
    child = serve_start("/proc/self/exe", NULL, &port);
    if (child < 0)
        return 1;
    for (unsigned clients = 1; clients <= CLIENTS; clients *= CLIENTS)
        printf("echo, %2u connections: %.0f messages/s\n", clients,
               (double)run(port, clients, ms, UINT64_MAX) * 1000.0 / (double)ms);
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
    fflush(stdout);
    count_calls(argv[0]);
    return 0;
}
