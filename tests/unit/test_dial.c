/* test_dial.c - connecting, and what a peer does right after it, with real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/conn.h"
#include "consentd/endpoint.h"
#include "consentd/listener.h"
#include "consentd/loop.h"
#include "consentd/names.h"

struct side {
    struct conn *conn;
    struct buf got;
    unsigned opened, eofs, closed;
    enum conn_why why;
};

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    assert_true(buf_append(&((struct side *)owner)->got, data, len));
    return len;
}

static void on_open(void *owner)
{
    ((struct side *)owner)->opened++;
}

static void on_eof(void *owner)
{
    ((struct side *)owner)->eofs++;
}

static void on_closed(void *owner, enum conn_why why)
{
    struct side *side = owner;

    side->closed++;
    side->why = why;
    side->conn = NULL;
}

static const struct conn_ops ops = {on_data, on_open, on_eof, NULL, on_closed, NULL, false};

#define UNTIL(loop, cond)                                                                          \
    do {                                                                                           \
        for (unsigned turn = 0; turn < 20000 && !(cond); turn++) {                                 \
            loop_poll(loop);                                                                       \
            if (turn > 100)                                                                        \
                usleep(200);                                                                       \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

struct world {
    struct loop *loop;
    struct side side;
    int listen_fd, fd; /* the peer is plain blocking code of the test */
    uint16_t port;
};

static void world_start(struct world *w, const char *address)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    struct fault fault;

    memset(w, 0, sizeof(*w));
    w->fd = -1;
    w->loop = loop_new();
    buf_init(&w->side.got, 1 << 20);
    w->listen_fd = listener_bind(address, &fault);
    assert_true(w->listen_fd >= 0);
    assert_int_equal(getsockname(w->listen_fd, (struct sockaddr *)&in, &len), 0);
    w->port = ntohs(in.sin_port);
}

static void world_dial(struct world *w, const struct endpoint *ep)
{
    const struct conn_dial_opts opts = {.connect_timeout_ms = 2000};

    w->side.conn = conn_dial(w->loop, ep, &opts, &ops, &w->side);
    assert_int_equal(w->side.opened, 0);
    UNTIL(w->loop, w->side.opened == 1);
    w->fd = accept(w->listen_fd, NULL, NULL);
    assert_true(w->fd >= 0);
}

static void world_stop(struct world *w)
{
    if (w->side.conn != NULL)
        conn_close(w->side.conn);
    loop_poll(w->loop);
    if (w->fd >= 0)
        close(w->fd);
    close(w->listen_fd);
    buf_free(&w->side.got);
    loop_free(w->loop);
}

static void reset_peer(struct world *w)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(w->fd);
    w->fd = -1;
}

static void test_bytes_and_a_reset_in_one_turn(void **state)
{
    struct endpoint ep = {.host = "127.0.0.1"};
    struct world w;

    UNUSED(state);
    world_start(&w, "127.0.0.1:0");
    ep.port = w.port;
    world_dial(&w, &ep);
    loop_poll(w.loop);
    assert_int_equal(write(w.fd, "half", 4), 4);
    reset_peer(&w);
    UNTIL(w.loop, w.side.closed == 1);
    assert_int_equal(w.side.why, CONN_WHY_ERROR);
    assert_int_equal(w.side.got.len, 4);
    assert_int_equal(w.side.eofs, 0); /* a cut answer is not a complete one */
    world_stop(&w);
}

static void test_bytes_and_the_end_in_one_turn(void **state)
{
    struct endpoint ep = {.host = "127.0.0.1"};
    struct world w;

    UNUSED(state);
    world_start(&w, "127.0.0.1:0");
    ep.port = w.port;
    world_dial(&w, &ep);
    loop_poll(w.loop);
    assert_int_equal(write(w.fd, "full", 4), 4);
    close(w.fd);
    w.fd = -1;
    UNTIL(w.loop, w.side.eofs == 1);
    assert_int_equal(w.side.got.len, 4);
    assert_false(conn_is_reusable(w.side.conn));
    world_stop(&w);
}

static void test_an_early_answer_survives_a_failed_write(void **state)
{
    static const uint8_t upload[65536];
    struct endpoint ep = {.host = "127.0.0.1"};
    struct world w;
    bool ok = true;

    UNUSED(state);
    world_start(&w, "127.0.0.1:0");
    ep.port = w.port;
    world_dial(&w, &ep);
    conn_pause_read(w.side.conn);
    loop_poll(w.loop);
    assert_int_equal(write(w.fd, "413", 3), 3);
    reset_peer(&w);
    conn_resume_read(w.side.conn);
    for (unsigned i = 0; i < 10 && ok; i++)
        ok = conn_write(w.side.conn, upload, sizeof(upload));
    assert_false(ok);
    UNTIL(w.loop, w.side.closed == 1);
    assert_int_equal(w.side.got.len, 3);
    world_stop(&w);
}

static void test_a_name_of_etc_hosts(void **state)
{
    struct endpoint ep = {.host = "localhost"};
    struct world w;

    UNUSED(state);
    world_start(&w, "127.0.0.1:0");
    ep.port = w.port; /* ::1, if tried first, refuses; then the next address */
    world_dial(&w, &ep);
    assert_int_equal(conn_peer(w.side.conn)->sa_family, AF_INET);
    world_stop(&w);
}

static void test_a_unix_socket(void **state)
{
    struct endpoint ep = {.is_unix = true};
    char address[ENDPOINT_PATH_MAX + 8];
    struct world w;

    UNUSED(state);
    snprintf(ep.path, sizeof(ep.path), "/tmp/test_dial.%d", (int)getpid());
    snprintf(address, sizeof(address), "unix:%s", ep.path);
    world_start(&w, address);
    world_dial(&w, &ep);
    assert_int_equal(conn_peer(w.side.conn)->sa_family, AF_UNIX);
    assert_int_equal(write(w.fd, "hello", 5), 5);
    UNTIL(w.loop, w.side.got.len == 5);
    world_stop(&w);
    unlink(ep.path);
}

static unsigned open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned cnt = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        cnt++;
    closedir(dir);
    return cnt;
}

static void test_closing_at_once_leaks_nothing(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "192.0.2.1"};
    const struct conn_dial_opts opts = {.connect_timeout_ms = 1000};
    struct loop *loop = loop_new();
    struct side side = {.conn = NULL};
    unsigned before, after;

    UNUSED(state);
    (void)names_find(loop_names(loop), "localhost");
    before = open_fds();
    for (unsigned i = 0; i < 30; i++) {
        struct endpoint ep = {.port = 1};

        snprintf(ep.host, sizeof(ep.host), "%s", hosts[i % COUNT_OF(hosts)]);
        conn_close(conn_dial(loop, &ep, &opts, &ops, &side));
    }
    loop_poll(loop);
    after = open_fds();
    assert_int_equal(before, after);
    assert_int_equal(side.closed, 0);
    loop_free(loop);
}

static void test_the_timeout_holds(void **state)
{
    const struct conn_dial_opts opts = {.connect_timeout_ms = 300};
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    struct endpoint ep = {.host = "127.0.0.1"};
    struct loop *loop = loop_new();
    struct side side = {.conn = NULL};
    struct conn *fill[8];
    struct side fills[COUNT_OF(fill)];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    UNUSED(state);
    memset(&in, 0, sizeof(in));
    memset(fills, 0, sizeof(fills));
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, 0), 0); /* nobody accepts: the kernel's queue is soon full */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    ep.port = ntohs(in.sin_port);
    for (unsigned i = 0; i < COUNT_OF(fill); i++)
        fill[i] = fills[i].conn = conn_dial(loop, &ep, &opts, &ops, &fills[i]);
    side.conn = conn_dial(loop, &ep, &opts, &ops, &side);
    UNTIL(loop, side.closed == 1);
    assert_int_equal(side.why, CONN_WHY_TIMEOUT);
    for (unsigned i = 0; i < COUNT_OF(fill); i++) {
        if (fills[i].conn != NULL)
            conn_close(fills[i].conn);
    }
    loop_poll(loop);
    close(fd);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_and_a_reset_in_one_turn),
        cmocka_unit_test(test_bytes_and_the_end_in_one_turn),
        cmocka_unit_test(test_an_early_answer_survives_a_failed_write),
        cmocka_unit_test(test_a_name_of_etc_hosts),
        cmocka_unit_test(test_a_unix_socket),
        cmocka_unit_test(test_closing_at_once_leaks_nothing),
        cmocka_unit_test(test_the_timeout_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
