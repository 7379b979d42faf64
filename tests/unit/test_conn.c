/* test_conn.c - connections over loopback, plain and TLS, with real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/conn.h"
#include "consentd/endpoint.h"
#include "consentd/file.h"
#include "consentd/listener.h"
#include "consentd/loop.h"
#include "consentd/tls_ctx.h"

#define TURNS 20000
#define BIG   (8u * 1024 * 1024)

enum policy { TAKE_ALL = 0, TAKE_PAIRS, CLOSE_ON_DATA };

struct side {
    struct conn *conn;
    enum policy policy;
    struct buf got;
    unsigned opened, eofs, closed, writable;
    enum conn_why why;
};

struct net {
    struct loop *loop;
    struct listener *listener;
    struct tls_server *server_tls;
    struct tls_client *client_tls;
    struct side client, server;
    uint16_t port;
};

static unsigned asked; /* how often the kernel was asked for bytes */

/* In place of the C library's. */
ssize_t recv(int fd, void *out, size_t cap, int flags)
{
    asked++;
    return recvfrom(fd, out, cap, flags, NULL, NULL);
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct side *side = owner;
    size_t take = side->policy == TAKE_PAIRS ? len / 2 * 2 : len;

    if (side->policy == CLOSE_ON_DATA) {
        conn_close(side->conn);
        side->conn = NULL;
        return len;
    }
    assert_true(buf_append(&side->got, data, take));
    return take;
}

static void on_open(void *owner)
{
    ((struct side *)owner)->opened++;
}

static void on_eof(void *owner)
{
    ((struct side *)owner)->eofs++;
}

static void on_writable(void *owner)
{
    ((struct side *)owner)->writable++;
}

static void on_closed(void *owner, enum conn_why why)
{
    struct side *side = owner;

    side->closed++;
    side->why = why;
    side->conn = NULL;
}

static const struct conn_ops ops = {on_data, on_open, on_eof, on_writable, on_closed, NULL, false};

static void on_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    struct net *net = owner;

    UNUSED(peer);
    UNUSED(len);
    net->server.conn = conn_accept(net->loop, fd, net->server_tls, &ops, &net->server);
}

/* Reads a file of the temporary folder and removes it. */
static void take_file(const char *dir, const char *name, struct buf *out)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    buf_init(out, 65536);
    assert_true(file_read(path, 65536, out, NULL));
    unlink(path);
}

/* A certificate for "localhost", made by the openssl program. */
static void certificate(struct buf *cert, struct buf *key)
{
    char dir[] = "/tmp/test_conn.XXXXXX";
    int status = 0;
    pid_t child;

    assert_non_null(mkdtemp(dir));
    child = fork();
    if (child == 0) {
        if (chdir(dir) == 0 && freopen("/dev/null", "w", stderr) != NULL)
            execlp("openssl", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                   "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem",
                   "-out", "cert.pem", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    take_file(dir, "cert.pem", cert);
    take_file(dir, "key.pem", key);
    rmdir(dir);
}

static void net_start(struct net *net, bool tls, const char *sni)
{
    struct fault fault = {""};
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    struct endpoint ep = {.host = "127.0.0.1"};
    struct conn_dial_opts dial = {.sni = sni};
    int fd = listener_bind("127.0.0.1:0", &fault);

    memset(net, 0, sizeof(*net));
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    net->port = ep.port = ntohs(in.sin_port);
    net->loop = loop_new();
    buf_init(&net->client.got, 2 * BIG);
    buf_init(&net->server.got, 2 * BIG);
    if (tls) {
        struct buf cert, key;

        certificate(&cert, &key);
        struct tls_cert pem = {
            .chain_pem = buf_str(&cert), .key_pem = buf_str(&key), .name = "test"};
        struct tls_server_opts opts = {.certs = &pem, .cert_cnt = 1};

        net->server_tls = tls_server_new(&opts, &fault);
        net->client_tls = tls_client_new(buf_str(&cert), &fault);
        assert_non_null(net->server_tls);
        assert_non_null(net->client_tls);
        dial.tls = net->client_tls;
        buf_free(&cert);
        buf_free(&key);
    }
    net->listener = listener_new(net->loop, fd, on_accept, net);
    net->client.conn = conn_dial(net->loop, &ep, &dial, &ops, &net->client);
}

static void net_stop(struct net *net)
{
    if (net->client.conn != NULL)
        conn_close(net->client.conn);
    if (net->server.conn != NULL)
        conn_close(net->server.conn);
    loop_poll(net->loop);
    listener_free(net->listener);
    tls_server_free(net->server_tls);
    tls_client_free(net->client_tls);
    buf_free(&net->client.got);
    buf_free(&net->server.got);
    loop_free(net->loop);
}

#define UNTIL(net, cond)                                                                           \
    do {                                                                                           \
        for (unsigned turn = 0; turn < TURNS && !(cond); turn++) {                                 \
            loop_poll((net)->loop);                                                                \
            if (turn > 100)                                                                        \
                usleep(200);                                                                       \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

static void exchange_both_ways(bool tls)
{
    struct net net;

    net_start(&net, tls, tls ? "localhost" : NULL);
    UNTIL(&net, net.client.opened == 1 && net.server.opened == 1);
    assert_true(conn_write(net.client.conn, "ping", 4));
    UNTIL(&net, net.server.got.len == 4);
    assert_true(conn_queue(net.server.conn, "po", 2));
    assert_true(conn_write(net.server.conn, "ng", 2));
    UNTIL(&net, net.client.got.len == 4);
    assert_memory_equal(net.client.got.data, "pong", 4);
    assert_true(conn_is_reusable(net.client.conn));
    conn_shut_write(net.client.conn);
    UNTIL(&net, net.server.eofs == 1);
    assert_true(conn_write(net.server.conn, "late", 4)); /* half-closed: the answer still comes */
    UNTIL(&net, net.client.got.len == 8);
    conn_shut_write(net.server.conn);
    UNTIL(&net, net.client.closed == 1 && net.server.closed == 1);
    assert_int_equal(net.client.why, CONN_WHY_EOF);
    net_stop(&net);
}

static void test_plain_both_ways_and_half_close(void **state)
{
    UNUSED(state);
    exchange_both_ways(false);
}

static void test_tls_both_ways_and_half_close(void **state)
{
    UNUSED(state);
    exchange_both_ways(true);
}

static void big_with_back_pressure(bool tls)
{
    struct net net;
    uint8_t *data = malloc(BIG);

    assert_non_null(data);
    for (size_t i = 0; i < BIG; i++)
        data[i] = (uint8_t)(i * 31 + (i >> 13));
    net_start(&net, tls, tls ? "localhost" : NULL);
    UNTIL(&net, net.client.opened == 1 && net.server.opened == 1);
    conn_pause_read(net.server.conn);
    assert_true(conn_write(net.client.conn, data, BIG));
    for (unsigned i = 0; i < 50; i++)
        loop_poll(net.loop);
    assert_int_equal(net.server.got.len, 0);
    assert_true(conn_is_choked(net.client.conn));
    conn_resume_read(net.server.conn);
    UNTIL(&net, net.server.got.len == BIG);
    assert_memory_equal(net.server.got.data, data, BIG);
    assert_int_equal(net.client.writable, 1);
    assert_int_equal(conn_queued(net.client.conn), 0);
    free(data);
    net_stop(&net);
}

static void test_plain_big_with_back_pressure(void **state)
{
    UNUSED(state);
    big_with_back_pressure(false);
}

static void test_tls_big_with_back_pressure(void **state)
{
    UNUSED(state);
    big_with_back_pressure(true);
}

/* A read with room left over empties the socket; only a look for a reset, later, asks again. */
static void message_costs_one_read(bool tls)
{
    enum { MESSAGES = 50 };
    struct net net;

    net_start(&net, tls, tls ? "localhost" : NULL);
    UNTIL(&net, net.client.opened == 1 && net.server.opened == 1);
    conn_pause_read(net.client.conn);
    for (unsigned i = 0; i < 100; i++)
        loop_poll(net.loop);
    asked = 0;
    for (unsigned i = 1; i <= MESSAGES; i++) {
        assert_true(conn_write(net.client.conn, "ping", 4));
        UNTIL(&net, net.server.got.len == 4 * i);
        for (unsigned turn = 0; turn < 3; turn++)
            loop_poll(net.loop);
    }
    assert_in_range(asked, MESSAGES, MESSAGES + MESSAGES / 2);
    net_stop(&net);
}

static void test_a_message_costs_one_read(void **state)
{
    UNUSED(state);
    message_costs_one_read(false);
}

static void test_tls_a_message_costs_one_read(void **state)
{
    UNUSED(state);
    message_costs_one_read(true);
}

/* Records that fill a buffer of the library or of ours to the byte; and those in pieces. */
static void test_tls_messages_of_any_size_arrive_at_once(void **state)
{
    static const size_t sizes[] = {1,     16362, 16383, 16384, 16385,  32768,
                                   49152, 65535, 65536, 65537, 131072, 200000};
    struct net net;
    uint8_t *data = calloc(1, BIG);
    int small = 4096;
    size_t want = 0;

    UNUSED(state);
    assert_non_null(data);
    net_start(&net, true, "localhost");
    UNTIL(&net, net.client.opened == 1 && net.server.opened == 1);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            assert_true(conn_write(net.client.conn, data, sizes[i]));
            want += sizes[i];
            UNTIL(&net, net.server.got.len == want);
        }
        assert_int_equal(
            setsockopt(conn_fd(net.client.conn), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    }
    assert_true(conn_write(net.client.conn, data, 65536)); /* and an end right behind */
    conn_shut_write(net.client.conn);
    UNTIL(&net, net.server.eofs == 1);
    assert_int_equal(net.server.got.len, want + 65536);
    free(data);
    net_stop(&net);
}

static void test_what_is_not_taken_is_shown_again(void **state)
{
    struct net net;

    UNUSED(state);
    net_start(&net, false, NULL);
    UNTIL(&net, net.server.opened == 1 && net.client.opened == 1);
    net.server.policy = TAKE_PAIRS;
    for (const char *p = "abcdefg"; *p != '\0'; p++) {
        assert_true(conn_write(net.client.conn, p, 1));
        loop_poll(net.loop);
    }
    UNTIL(&net, net.server.got.len == 6);
    assert_memory_equal(net.server.got.data, "abcdef", 6);
    assert_false(conn_is_reusable(net.server.conn)); /* 'g' is unread */
    net_stop(&net);
}

static void test_close_inside_on_data(void **state)
{
    struct net net;

    UNUSED(state);
    net_start(&net, false, NULL);
    UNTIL(&net, net.server.opened == 1 && net.client.opened == 1);
    net.server.policy = CLOSE_ON_DATA;
    assert_true(conn_write(net.client.conn, "x", 1));
    UNTIL(&net, net.server.conn == NULL);
    UNTIL(&net, net.client.eofs == 1 || net.client.closed == 1);
    assert_int_equal(net.server.closed, 0); /* who closes is not told */
    net_stop(&net);
}

static void test_close_flush_delivers_everything(void **state)
{
    struct net net;
    uint8_t *data = calloc(1, BIG);

    UNUSED(state);
    assert_non_null(data);
    net_start(&net, false, NULL);
    UNTIL(&net, net.server.opened == 1 && net.client.opened == 1);
    assert_true(conn_write(net.server.conn, data, BIG));
    conn_close_flush(net.server.conn, 500);
    net.server.conn = NULL;
    UNTIL(&net, net.client.got.len == BIG && net.client.eofs == 1);
    assert_int_equal(net.client.closed, 0);
    free(data);
    net_stop(&net);
}

static void test_close_flush_after_the_peer_has_finished(void **state)
{
    struct net net;
    uint8_t *data = calloc(1, BIG);

    UNUSED(state);
    assert_non_null(data);
    net_start(&net, false, NULL);
    UNTIL(&net, net.server.opened == 1 && net.client.opened == 1);
    conn_shut_write(net.client.conn);
    UNTIL(&net, net.server.eofs == 1);
    conn_pause_read(net.client.conn);
    assert_true(conn_write(net.server.conn, data, BIG));
    assert_true(conn_queued(net.server.conn) > 0);
    assert_true(conn_close_flush(net.server.conn, 500));
    conn_set_owner(net.server.conn, &ops, &net.server); /* to be told of the end */
    for (int i = 0; i < 10; i++)
        loop_poll(net.loop);
    assert_int_equal(net.server.closed, 0);
    conn_resume_read(net.client.conn);
    UNTIL(&net, net.client.got.len == BIG);
    UNTIL(&net, net.server.closed == 1);
    net.server.conn = NULL;
    free(data);
    net_stop(&net);
}

/*
 * A peer that takes what has come every so many turns; in each half of a second it is to take
 * `least` bytes. Whether it was waited for.
 */
static bool is_waited_for(unsigned every, uint64_t least)
{
    const int small = 16384;
    struct net net;
    uint8_t *data = calloc(1, BIG);
    bool waited;

    assert_non_null(data);
    net_start(&net, false, NULL);
    UNTIL(&net, net.server.opened == 1 && net.client.opened == 1);
    setsockopt(conn_fd(net.client.conn), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    setsockopt(conn_fd(net.server.conn), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    conn_pause_read(net.client.conn);
    assert_true(conn_write(net.server.conn, data, BIG));
    conn_set_pace(net.server.conn, 500, least);
    assert_true(conn_close_flush(net.server.conn, 500));
    conn_set_owner(net.server.conn, &ops, &net.server);
    for (unsigned turn = 0; turn < 5000 && net.server.closed == 0; turn++) {
        while (turn % every == 0 &&
               recvfrom(conn_fd(net.client.conn), data, BIG, MSG_DONTWAIT, NULL, NULL) > 0)
            ;
        loop_poll(net.loop);
        usleep(200);
    }
    waited = net.server.closed == 0;
    assert_true(waited || net.server.why == CONN_WHY_TIMEOUT);
    free(data);
    net_stop(&net);
    return waited;
}

static void test_close_flush_waits_for_the_slow_not_for_ever(void **state)
{
    UNUSED(state);
    assert_true(is_waited_for(500, 1));
    assert_false(is_waited_for(500, BIG));
    assert_false(is_waited_for(5001, 1));
}

static void test_a_reset_is_told_behind_a_pause(void **state)
{
    struct conn_ops eager = ops;
    struct net net;

    UNUSED(state);
    eager.eager = true;
    net_start(&net, false, NULL);
    UNTIL(&net, net.server.opened == 1 && net.client.opened == 1);
    conn_set_owner(net.server.conn, &eager, &net.server);
    conn_pause_read(net.server.conn);
    assert_true(conn_write(net.client.conn, "x", 1));
    UNTIL(&net, !conn_is_quiet(net.server.conn));
    conn_reset(net.client.conn);
    net.client.conn = NULL;
    UNTIL(&net, net.server.closed == 1);
    assert_int_equal(net.server.why, CONN_WHY_ERROR);
    net_stop(&net);
}

static void test_reset_is_an_error_for_the_peer(void **state)
{
    struct net net;

    UNUSED(state);
    net_start(&net, false, NULL);
    UNTIL(&net, net.server.opened == 1 && net.client.opened == 1);
    conn_reset(net.server.conn);
    net.server.conn = NULL;
    UNTIL(&net, net.client.closed == 1);
    assert_int_equal(net.client.why, CONN_WHY_ERROR);
    net_stop(&net);
}

static void test_a_certificate_for_another_name_is_refused(void **state)
{
    struct net net;

    UNUSED(state);
    net_start(&net, true, "www.example.com");
    UNTIL(&net, net.client.closed == 1);
    assert_int_equal(net.client.why, CONN_WHY_TLS);
    assert_int_equal(net.client.opened, 0);
    net_stop(&net);
}

static void test_plain_text_on_a_tls_port_is_closed(void **state)
{
    struct net net;
    struct endpoint ep = {.host = "127.0.0.1"};
    struct conn_dial_opts dial = {.connect_timeout_ms = 1000};
    struct side plain = {.conn = NULL};

    UNUSED(state);
    net_start(&net, true, "localhost");
    UNTIL(&net, net.client.opened == 1 && net.server.opened == 1);
    ep.port = net.port;
    buf_init(&plain.got, BIG);
    conn_close(net.client.conn);
    conn_close(net.server.conn);
    net.client.conn = net.server.conn = NULL;
    plain.conn = conn_dial(net.loop, &ep, &dial, &ops, &plain);
    UNTIL(&net, plain.opened == 1);
    assert_true(conn_write(plain.conn, "GET / HTTP/1.1\r\n\r\n", 18));
    UNTIL(&net, plain.eofs + plain.closed > 0);
    if (plain.conn != NULL)
        conn_close(plain.conn);
    buf_free(&plain.got);
    net_stop(&net);
}

static void test_nobody_listens_and_no_such_name(void **state)
{
    struct loop *loop = loop_new();
    struct endpoint ep = {.host = "127.0.0.1", .port = 1};
    struct endpoint un = {.is_unix = true, .path = "/nonexistent/socket"};
    struct conn_dial_opts dial = {.connect_timeout_ms = 1000};
    struct side side = {.conn = NULL};
    struct net net = {.loop = loop};

    UNUSED(state);
    side.conn = conn_dial(loop, &ep, &dial, &ops, &side);
    assert_int_equal(side.closed, 0); /* never from inside the call */
    UNTIL(&net, side.closed == 1);
    assert_int_equal(side.why, CONN_WHY_CONNECT);
    side.conn = conn_dial(loop, &un, &dial, &ops, &side);
    UNTIL(&net, side.closed == 2);
    assert_int_equal(side.why, CONN_WHY_CONNECT);
    loop_poll(loop);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_both_ways_and_half_close),
        cmocka_unit_test(test_tls_both_ways_and_half_close),
        cmocka_unit_test(test_plain_big_with_back_pressure),
        cmocka_unit_test(test_tls_big_with_back_pressure),
        cmocka_unit_test(test_a_message_costs_one_read),
        cmocka_unit_test(test_tls_a_message_costs_one_read),
        cmocka_unit_test(test_tls_messages_of_any_size_arrive_at_once),
        cmocka_unit_test(test_what_is_not_taken_is_shown_again),
        cmocka_unit_test(test_close_inside_on_data),
        cmocka_unit_test(test_close_flush_delivers_everything),
        cmocka_unit_test(test_close_flush_after_the_peer_has_finished),
        cmocka_unit_test(test_close_flush_waits_for_the_slow_not_for_ever),
        cmocka_unit_test(test_a_reset_is_told_behind_a_pause),
        cmocka_unit_test(test_reset_is_an_error_for_the_peer),
        cmocka_unit_test(test_a_certificate_for_another_name_is_refused),
        cmocka_unit_test(test_plain_text_on_a_tls_port_is_closed),
        cmocka_unit_test(test_nobody_listens_and_no_such_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
