/* test_ipc.c - messages and descriptors between two ends on one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consentd/ipc.h"
#include "consentd/loop.h"

#define MANY 2000

struct end {
    struct ipc *ipc;
    unsigned cnt, closed;
    uint16_t last_type;
    size_t last_len;
    uint32_t expected; /* number that the next message starts with */
    int fd;
};

static void on_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct end *end = owner;
    uint32_t number = 0;

    if (len >= sizeof(number))
        memcpy(&number, data, sizeof(number));
    assert_int_equal(number, end->expected++);
    end->cnt++;
    end->last_type = type;
    end->last_len = len;
    if (fd >= 0)
        end->fd = fd;
}

static void on_closed(void *owner)
{
    struct end *end = owner;

    end->closed++;
}

static const struct ipc_ops ops = {on_msg, on_closed};

static void pair(struct loop *loop, struct end *a, struct end *b)
{
    int fds[2];

    assert_true(ipc_pair(fds));
    *a = *b = (struct end){.fd = -1};
    a->ipc = ipc_new(loop, fds[0], &ops, a);
    b->ipc = ipc_new(loop, fds[1], &ops, b);
}

static void test_many_large_messages_arrive_whole_and_in_order(void **state)
{
    struct loop *loop = loop_new();
    static uint8_t data[60000];
    struct end a, b;

    UNUSED(state);
    pair(loop, &a, &b);
    for (uint32_t i = 0; i < 200; i++) {
        memcpy(data, &i, sizeof(i));
        assert_true(ipc_send(a.ipc, 7, data, sizeof(data), -1));
    }
    assert_true(ipc_queued(a.ipc) > 0); /* the kernel did not take it all */
    for (unsigned turn = 0; turn < 5000 && b.cnt < 200; turn++)
        loop_poll(loop);
    assert_int_equal(b.cnt, 200);
    assert_int_equal(b.last_type, 7);
    assert_int_equal(b.last_len, sizeof(data));
    assert_int_equal(ipc_queued(a.ipc), 0);
    ipc_free(a.ipc);
    ipc_free(b.ipc);
    loop_poll(loop);
    loop_free(loop);
}

static void test_a_descriptor_travels_along(void **state)
{
    struct loop *loop = loop_new();
    struct end a, b;
    int pipe_fds[2];
    char byte = 0;

    UNUSED(state);
    pair(loop, &a, &b);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_true(ipc_send(a.ipc, 1, NULL, 0, pipe_fds[1]));
    loop_poll(loop);
    assert_true(b.fd >= 0);
    assert_int_equal(write(b.fd, "x", 1), 1);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(pipe_fds[0]);
    close(b.fd);
    ipc_free(a.ipc);
    ipc_free(b.ipc);
    loop_poll(loop);
    loop_free(loop);
}

/* What somebody sends who does not keep to ipc.c: several descriptors at once. */
static void send_two(int over, int first, int second)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {.bytes = {0}};
    const int fds[2] = {first, second};
    uint16_t type = 1;
    struct iovec iov = {&type, sizeof(type)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));
    assert_int_equal(sendmsg(over, &msg, 0), sizeof(type));
}

/* A second one would stay open with nobody to close it, until none can be had. */
static void test_one_descriptor_and_no_more(void **state)
{
    struct loop *loop = loop_new();
    struct end a, b;
    int pipe_fds[2];
    char byte;

    UNUSED(state);
    pair(loop, &a, &b);
    assert_int_equal(pipe(pipe_fds), 0);
    send_two(ipc_fd(a.ipc), pipe_fds[1], pipe_fds[1]);
    close(pipe_fds[1]);
    for (unsigned i = 0; i < 10; i++)
        loop_poll(loop);
    assert_int_equal(b.cnt, 0);
    assert_int_equal(b.closed, 1);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0); /* nobody holds the other end */
    close(pipe_fds[0]);
    ipc_free(a.ipc);
    ipc_free(b.ipc);
    loop_poll(loop);
    loop_free(loop);
}

static void test_the_end_of_the_other_side_is_told_once(void **state)
{
    struct loop *loop = loop_new();
    struct end a, b;
    uint8_t data[4] = {0};

    UNUSED(state);
    pair(loop, &a, &b);
    ipc_free(a.ipc);
    for (unsigned i = 0; i < 10; i++)
        loop_poll(loop);
    assert_int_equal(b.closed, 1);
    assert_false(ipc_send(b.ipc, 1, data, sizeof(data), -1));
    ipc_free(b.ipc);
    loop_poll(loop);
    loop_free(loop);
}

static void test_limits(void **state)
{
    struct loop *loop = loop_new();
    static uint8_t data[IPC_MSG_MAX + 1];
    struct end a, b;
    bool ok = true;

    UNUSED(state);
    pair(loop, &a, &b);
    assert_false(ipc_send(a.ipc, 1, data, sizeof(data), -1));
    for (unsigned i = 0; i < MANY && ok; i++)
        ok = ipc_send(a.ipc, 1, data, IPC_MSG_MAX, -1);
    assert_false(ok); /* the queue is bounded */
    assert_true(ipc_queued(a.ipc) <= IPC_QUEUE_MAX);
    ipc_free(a.ipc);
    ipc_free(b.ipc);
    loop_poll(loop);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_large_messages_arrive_whole_and_in_order),
        cmocka_unit_test(test_a_descriptor_travels_along),
        cmocka_unit_test(test_one_descriptor_and_no_more),
        cmocka_unit_test(test_the_end_of_the_other_side_is_told_once),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
