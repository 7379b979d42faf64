/*
 * tls_floor.c - what OpenSSL alone takes for a TLS 1.3 connection that asked once and is silent: a
 * server with nothing else in it, and every option that makes the library's share smaller.
 *
 * usage: tls_floor PORT CERT KEY      serves 127.0.0.1:PORT until it is killed
 *
 * One handshake after the other, then one read and one answer of 1 KiB: for proxy.py, which opens
 * connections and looks at this process' memory as at those of the proxies beside it. Built by it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY = 1024, REQUEST_MAX = 4096 };

static SSL_CTX *context(const char *cert, const char *key)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (ctx == NULL || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256");
    return SSL_CTX_set1_groups_list(ctx, "X25519") == 1 ? ctx : NULL;
}

static int listen_on(const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((unsigned short)strtoul(port, NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, SOMAXCONN) != 0)
        return -1;
    return fd;
}

/* The connection is left open, and the object with it. */
static void serve(SSL_CTX *ctx, int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n";
    char answer[sizeof(head) - 1 + BODY];
    char request[REQUEST_MAX];
    SSL *ssl = SSL_new(ctx);

    memcpy(answer, head, sizeof(head) - 1);
    memset(answer + sizeof(head) - 1, 'x', BODY);
    if (ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1 &&
        SSL_read(ssl, request, sizeof(request)) > 0 &&
        SSL_write(ssl, answer, sizeof(answer)) == (int)sizeof(answer))
        return;
    SSL_free(ssl);
    close(fd);
}

int main(int argc, char **argv)
{
    SSL_CTX *ctx = argc == 4 ? context(argv[2], argv[3]) : NULL;
    int listener = ctx != NULL ? listen_on(argv[1]) : -1;

    if (listener < 0) {
        fputs("usage: tls_floor PORT CERT KEY\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0)
            serve(ctx, fd);
    }
}
