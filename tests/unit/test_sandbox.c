/* test_sandbox.c - each role in a process of its own tries what it may and may not do. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/sandbox.h"

static char folder[] = "/tmp/test_sandbox.XXXXXX";
static char allowed[64], other[64];
static uint16_t ports[2]; /* somebody listens at both; workers may connect to the first */

static bool is_refused(long result, int code)
{
    return result < 0 && errno == code;
}

/* Exit statuses of the child: what went wrong first. */
enum outcome {
    FINE = 0,
    NOT_ENTERED,
    NO_FILTER,
    EXEC_PASSED,
    SOCKET_PASSED,
    SOCKET_REFUSED,
    FORK_PASSED,
    LOCAL_WRONG,
    SIGNAL_PASSED,
    OWN_SIGNAL_REFUSED,
    LIMIT_PASSED,
    OWNER_PASSED,
    IOCTL_PASSED,
    FLAGS_REFUSED,
    PORT_WRONG,
    LISTEN_PASSED,
    RENAME_WRONG,
    READ_REFUSED,
    READ_PASSED,
    WRITE_REFUSED,
    WRITE_PASSED,
};

/* What one user may do to its own processes, and an operator's terminal. */
static enum outcome try_others(void)
{
    const struct rlimit none = {0, 0};
    struct rlimit own;
    int fd = socket(AF_INET, SOCK_STREAM, 0), owner = getppid();

    if (!is_refused(syscall(SYS_tgkill, getppid(), getppid(), 0), EPERM))
        return SIGNAL_PASSED;
    if (syscall(SYS_tgkill, getpid(), gettid(), 0) != 0)
        return OWN_SIGNAL_REFUSED;
    if (!is_refused(prlimit(getppid(), RLIMIT_CORE, &none, NULL), EPERM) ||
        getrlimit(RLIMIT_NOFILE, &own) != 0)
        return LIMIT_PASSED;
    if (!is_refused(fcntl(fd, F_SETOWN, getppid()), EPERM) ||
        !is_refused(fcntl(fd, F_SETSIG, SIGKILL), EPERM) ||
        !is_refused(ioctl(fd, FIOSETOWN, &owner), EPERM))
        return OWNER_PASSED;
    if (!is_refused(ioctl(STDERR_FILENO, TIOCSTI, "x"), EPERM))
        return IOCTL_PASSED;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        return FLAGS_REFUSED;
    close(fd);
    return FINE;
}

/* The operators' socket asks who it is, and the worker is of the same user. */
static bool reaches_local(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static enum outcome try_calls(enum ipc_role role, bool local)
{
    char *const none[] = {NULL};
    int fd;

    if (!is_refused(execve("/bin/true", none, none), EPERM))
        return EXEC_PASSED;
    if (!is_refused(socket(AF_NETLINK, SOCK_RAW, 0), EAFNOSUPPORT))
        return SOCKET_PASSED;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return SOCKET_REFUSED;
    close(fd);
    if (is_refused(rename("/nowhere/a", "/nowhere/b"), EPERM) != (role == IPC_ROLE_WORKER))
        return RENAME_WRONG;
    if (reaches_local() != local)
        return LOCAL_WRONG;
    if (!is_refused(unshare(CLONE_FILES), EPERM))
        return FORK_PASSED;
    free(malloc(4u << 20)); /* more than the heap has: mmap */
    return try_others();
}

/* Connecting and listening, where the kernel can refuse it (version 4 of Landlock). */
static enum outcome try_ports(enum ipc_role role)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    for (int i = 0; i < 2; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool may = role != IPC_ROLE_WORKER || i == 0;

        to.sin_port = htons(ports[i]);
        if ((connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0) != may)
            return PORT_WRONG;
        close(fd);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_port = 0;
    if (!is_refused(bind(fd, (const struct sockaddr *)&to, sizeof(to)), EACCES))
        return LISTEN_PASSED;
    close(fd);
    return FINE;
}

static enum outcome try_files(enum ipc_role role)
{
    char path[96];
    int fd;

    fd = open(other, O_RDONLY);
    if (fd >= 0 || errno != EACCES)
        return READ_PASSED;
    fd = open("/etc/resolv.conf", O_RDONLY);
    if (fd < 0 && errno != ENOENT)
        return READ_REFUSED;
    snprintf(path, sizeof(path), "%s/new", allowed);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (role == IPC_ROLE_WORKER)
        return fd < 0 && errno == EACCES ? FINE : WRITE_PASSED;
    if (fd < 0 || write(fd, "x", 1) != 1 || ftruncate(fd, 0) != 0 || unlink(path) != 0)
        return WRITE_REFUSED;
    snprintf(path, sizeof(path), "%s/new", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? FINE : WRITE_PASSED;
}

static enum outcome in_sandbox(enum ipc_role role, bool local)
{
    struct sandbox_rights rights = {.role = role, .local = local};

    rights.any_port = role != IPC_ROLE_WORKER;
    rights.ports = &ports[0];
    rights.port_cnt = 1;
    struct sandbox_result result;
    struct fault f = {0};
    enum outcome outcome;

    if (role == IPC_ROLE_WORKER)
        rights.read[0] = allowed;
    else
        rights.write[0] = allowed;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !sandbox_enter(&rights, &result, &f)) {
        fprintf(stderr, "%s\n", f.text);
        return NOT_ENTERED;
    }
    if (!result.calls)
        return NO_FILTER;
    outcome = try_calls(role, local);
    if (outcome == FINE && result.landlock >= 4)
        outcome = try_ports(role);
    if (outcome != FINE || result.landlock == 0)
        return outcome;
    return try_files(role);
}

static void try_role(enum ipc_role role, bool local)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(in_sandbox(role, local));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), FINE);
}

static void test_worker(void **state)
{
    UNUSED(state);
    try_role(IPC_ROLE_WORKER, false);
    try_role(IPC_ROLE_WORKER, true); /* has an origin of that kind */
}

static void test_ledger(void **state)
{
    UNUSED(state);
    try_role(IPC_ROLE_LEDGER, true);
}

static void test_admin(void **state)
{
    UNUSED(state);
    try_role(IPC_ROLE_ADMIN, true);
}

static bool listen_at(uint16_t *port_out)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&in, len) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&in, &len) != 0)
        return false;
    *port_out = ntohs(in.sin_port);
    return true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_admin),
    };
    int fd, result;

    if (mkdtemp(folder) == NULL || !listen_at(&ports[0]) || !listen_at(&ports[1]))
        return 1;
    snprintf(allowed, sizeof(allowed), "%s/allowed", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (mkdir(allowed, 0700) != 0 || fd < 0)
        return 1;
    close(fd);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(other);
    rmdir(allowed);
    rmdir(folder);
    return result;
}
