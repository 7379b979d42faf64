/* test_tls.c - our TLS server against the openssl program: versions, SNI, ALPN, resumption. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/conn.h"
#include "consentd/file.h"
#include "consentd/listener.h"
#include "consentd/loop.h"
#include "consentd/tls_ctx.h"

#define OUTPUT_MAX 65536
#define CERTS      3
#define ARGS_MAX   40

/* The default, an exact name below the wildcard, and the wildcard. */
static const char *const names[CERTS] = {"default.test", "shop.site.test", "*.site.test"};

struct world {
    struct loop *loop;
    struct listener *listener;
    struct tls_server *tls;
    struct buf certs[CERTS], keys[CERTS];
    char dir[32];
    char address[32]; /* 127.0.0.1:PORT */
    bool hang_up;     /* after the greeting */
    unsigned opened, closed;
    char sni[64], alpn[16]; /* of the last connection that opened */
};

struct peer {
    struct world *world;
    struct conn *conn;
};

/* Runs openssl with the arguments, closing its input; returns its output through *out. */
static pid_t openssl_start(const char *const argv[], int *out_fd)
{
    int fds[2];
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        char *words[ARGS_MAX] = {NULL};

        for (unsigned i = 0; i < ARGS_MAX - 1 && argv[i] != NULL; i++)
            words[i] = strdup(argv[i]);

        dup2(null, 0);
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        close(fds[0]);
        close(fds[1]);
        execvp("openssl", words);
        _exit(127);
    }
    close(fds[1]);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    *out_fd = fds[0];
    return child;
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    UNUSED(owner);
    UNUSED(data);
    return len;
}

static void on_open(void *owner)
{
    struct peer *peer = owner;
    struct world *w = peer->world;

    w->opened++;
    snprintf(w->sni, sizeof(w->sni), "%.*s", STR_ARGS(conn_sni(peer->conn)));
    snprintf(w->alpn, sizeof(w->alpn), "%.*s", STR_ARGS(conn_alpn(peer->conn)));
    assert_true(conn_write(peer->conn, "hello", 5));
    if (w->hang_up) {
        conn_close_flush(peer->conn, 200);
        w->closed++;
        free(peer);
    }
}

static void on_closed(void *owner, enum conn_why why)
{
    struct peer *peer = owner;

    UNUSED(why);
    peer->world->closed++;
    free(peer);
}

static const struct conn_ops ops = {.on_data = on_data, .on_open = on_open, .on_closed = on_closed};

static void on_accept(void *owner, int fd, const struct sockaddr *sa, socklen_t len)
{
    struct world *w = owner;
    struct peer *peer = calloc(1, sizeof(*peer));

    UNUSED(sa);
    UNUSED(len);
    assert_non_null(peer);
    peer->world = w;
    peer->conn = conn_accept(w->loop, fd, w->tls, &ops, peer);
}

/* Runs openssl to its end while the loop turns; its exit status. */
static int openssl_run(struct world *w, const char *const argv[], struct buf *out)
{
    int fd, status = -1;
    pid_t child = openssl_start(argv, &fd);
    unsigned turn;

    for (turn = 0; turn < 50000; turn++) {
        char text[4096];
        ssize_t n = read(fd, text, sizeof(text));

        if (n > 0)
            assert_true(buf_append(out, text, (size_t)n));
        if (n == 0)
            break;
        if (w != NULL)
            loop_poll(w->loop);
        usleep(200);
    }
    if (turn == 50000)
        kill(child, SIGKILL);
    close(fd);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(turn < 50000);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool has(struct buf *b, const char *text)
{
    return str_find(buf_str(b), str_c(text)) >= 0;
}

static void certificate(struct world *w, unsigned i)
{
    char key[64], cert[64], subject[64], alt[80];
    const char *argv[] = {
        "openssl", "req",   "-x509", "-newkey", "ec",    "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes",  "-days", "2",     "-subj",   subject, "-addext",  alt,
        "-keyout", key,     "-out",  cert,      NULL};
    struct buf out;

    snprintf(key, sizeof(key), "%s/key%u", w->dir, i);
    snprintf(cert, sizeof(cert), "%s/cert%u", w->dir, i);
    snprintf(subject, sizeof(subject), "/CN=%s", names[i]);
    snprintf(alt, sizeof(alt), "subjectAltName=DNS:%s", names[i]);
    buf_init(&out, OUTPUT_MAX);
    assert_int_equal(openssl_run(NULL, argv, &out), 0);
    buf_free(&out);
    buf_init(&w->certs[i], OUTPUT_MAX);
    buf_init(&w->keys[i], OUTPUT_MAX);
    assert_true(file_read(cert, OUTPUT_MAX, &w->certs[i], NULL));
    assert_true(file_read(key, OUTPUT_MAX, &w->keys[i], NULL));
    unlink(cert);
    unlink(key);
}

static struct tls_server *server_of(struct world *w, bool allow_1_2, struct fault *f)
{
    static const uint8_t secret[TLS_TICKET_SECRET_LEN] = {1, 2, 3};
    struct tls_cert certs[CERTS];
    struct tls_server_opts opts = {
        .certs = certs, .cert_cnt = CERTS, .allow_1_2 = allow_1_2, .ticket_secret = secret};

    for (unsigned i = 0; i < CERTS; i++)
        certs[i] = (struct tls_cert){
            .chain_pem = buf_str(&w->certs[i]), .key_pem = buf_str(&w->keys[i]), .name = names[i]};
    return tls_server_new(&opts, f);
}

static int world_start(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    struct fault fault = {""};
    int fd = listener_bind("127.0.0.1:0", &fault);

    assert_non_null(w);
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    snprintf(w->address, sizeof(w->address), "127.0.0.1:%u", ntohs(in.sin_port));
    snprintf(w->dir, sizeof(w->dir), "/tmp/test_tls.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    for (unsigned i = 0; i < CERTS; i++)
        certificate(w, i);
    w->loop = loop_new();
    w->tls = server_of(w, false, &fault);
    assert_non_null(w->tls);
    w->listener = listener_new(w->loop, fd, on_accept, w);
    *state = w;
    return 0;
}

static int world_stop(void **state)
{
    struct world *w = *state;

    listener_free(w->listener);
    loop_poll(w->loop);
    tls_server_free(w->tls);
    loop_free(w->loop);
    for (unsigned i = 0; i < CERTS; i++) {
        buf_free(&w->certs[i]);
        buf_free(&w->keys[i]);
    }
    rmdir(w->dir);
    free(w);
    return 0;
}

/* s_client with up to six more arguments; waits until the server's side is gone too. */
static int s_client(struct world *w, struct buf *out, const char *const more[])
{
    const char *argv[ARGS_MAX] = {"openssl", "s_client", "-connect", w->address};
    unsigned cnt = 4;
    unsigned before = w->closed;
    int status;

    for (; *more != NULL && cnt < ARGS_MAX - 1; more++)
        argv[cnt++] = *more;
    buf_init(out, OUTPUT_MAX);
    status = openssl_run(w, argv, out);
    for (unsigned i = 0; i < 5000 && w->closed == before; i++) {
        loop_poll(w->loop);
        usleep(200);
    }
    assert_int_equal(w->closed, before + 1);
    return status;
}

#define S_CLIENT(w, out, ...) s_client(w, out, (const char *const[]){__VA_ARGS__, NULL})

static void test_1_3_alone_and_no_tickets_for_early_data(void **state)
{
    struct world *w = *state;
    struct buf out;

    assert_int_equal(S_CLIENT(w, &out, "-servername", "default.test"), 0);
    assert_true(has(&out, "TLSv1.3"));
    assert_false(has(&out, "Max Early Data: 1"));
    assert_true(has(&out, "Compression: NONE"));
    buf_free(&out);
    assert_int_not_equal(S_CLIENT(w, &out, "-tls1_2"), 0);
    buf_free(&out);
    assert_int_equal(w->opened, 1);
}

static void test_1_2_by_configuration_with_aead_only(void **state)
{
    struct world *w = *state;
    struct fault fault;
    struct buf out;

    tls_server_free(w->tls);
    w->tls = server_of(w, true, &fault);
    assert_non_null(w->tls);
    assert_int_equal(S_CLIENT(w, &out, "-tls1_2"), 0);
    assert_true(has(&out, "ECDHE-ECDSA"));
    assert_true(has(&out, "Secure Renegotiation IS supported"));
    buf_free(&out);
    assert_int_not_equal(S_CLIENT(w, &out, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"), 0);
    buf_free(&out);
    assert_int_not_equal(S_CLIENT(w, &out, "-tls1_1"), 0);
    buf_free(&out);
}

static void test_sni_exact_then_wildcard_then_default(void **state)
{
    static const char *const rows[][2] = {
        {"shop.site.test", "subject=CN = shop.site.test"}, {"SHOP.site.test", "shop.site.test"},
        {"www.site.test", "subject=CN = *.site.test"},     {"a.b.site.test", "CN = default.test"},
        {"elsewhere.test", "subject=CN = default.test"},
    };
    struct world *w = *state;
    struct buf out;

    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(S_CLIENT(w, &out, "-servername", rows[i][0]), 0);
        assert_true(has(&out, rows[i][1]));
        assert_string_equal(w->sni, rows[i][0]);
        buf_free(&out);
    }
    assert_int_equal(S_CLIENT(w, &out, "-noservername"), 0);
    assert_true(has(&out, "subject=CN = default.test"));
    assert_string_equal(w->sni, "");
    buf_free(&out);
}

static void test_alpn_offers_http_1_1_only(void **state)
{
    struct world *w = *state;
    struct buf out;

    assert_int_equal(S_CLIENT(w, &out, "-alpn", "h2,http/1.1"), 0);
    assert_true(has(&out, "ALPN protocol: http/1.1"));
    assert_string_equal(w->alpn, "http/1.1");
    buf_free(&out);
    assert_int_not_equal(S_CLIENT(w, &out, "-alpn", "h2"), 0); /* RFC 7301 3.2: an alert */
    buf_free(&out);
    assert_int_equal(S_CLIENT(w, &out, "-noservername"), 0); /* none offered: none chosen */
    assert_string_equal(w->alpn, "");
    buf_free(&out);
}

static void test_a_ticket_resumes_in_another_process_with_the_same_key(void **state)
{
    struct world *w = *state;
    char file[64];
    struct fault fault;
    struct buf out;

    snprintf(file, sizeof(file), "%s/session", w->dir);
    w->hang_up = true; /* -ign_eof: the client reads to the end, tickets and close_notify */
    assert_int_equal(S_CLIENT(w, &out, "-ign_eof", "-sess_out", file, "-servername", names[1]), 0);
    assert_true(has(&out, "New, TLSv1.3"));
    assert_true(has(&out, "hello"));
    buf_free(&out);
    tls_server_free(w->tls);
    w->tls = server_of(w, false, &fault); /* as another worker would */
    assert_int_equal(S_CLIENT(w, &out, "-ign_eof", "-sess_in", file, "-servername", names[1]), 0);
    assert_true(has(&out, "Reused, TLSv1.3"));
    buf_free(&out);
    unlink(file);
}

static void test_what_does_not_belong_together_is_refused(void **state)
{
    struct world *w = *state;
    struct fault fault = {""};
    struct tls_cert cert = {
        .chain_pem = buf_str(&w->certs[0]), .key_pem = buf_str(&w->keys[1]), .name = "a.pem"};
    struct tls_server_opts opts = {.certs = &cert, .cert_cnt = 1};

    assert_null(tls_server_new(&opts, &fault));
    assert_true(str_starts(str_c(fault.text), STR("a.pem: ")));
    cert.chain_pem = STR("not a certificate");
    assert_null(tls_server_new(&opts, &fault));
    opts.cert_cnt = 0;
    assert_null(tls_server_new(&opts, &fault));
    assert_null(tls_client_new(STR("no certificate here"), &fault));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_1_3_alone_and_no_tickets_for_early_data, world_start,
                                        world_stop),
        cmocka_unit_test_setup_teardown(test_1_2_by_configuration_with_aead_only, world_start,
                                        world_stop),
        cmocka_unit_test_setup_teardown(test_sni_exact_then_wildcard_then_default, world_start,
                                        world_stop),
        cmocka_unit_test_setup_teardown(test_alpn_offers_http_1_1_only, world_start, world_stop),
        cmocka_unit_test_setup_teardown(test_a_ticket_resumes_in_another_process_with_the_same_key,
                                        world_start, world_stop),
        cmocka_unit_test_setup_teardown(test_what_does_not_belong_together_is_refused, world_start,
                                        world_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
