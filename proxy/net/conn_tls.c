/*
 * conn_tls.c - bytes through SSL, for conn.c (conn_priv.h). Driven directly: no BIO pairs, no
 * copies besides the library's own. The BIO is ours, because only it sees whether a read of the
 * socket got less than it had room for: then the socket is empty and no call is spent on asking.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conn_priv.h"
#include "consentd/mem.h"
#include "tls_ctx_priv.h"

#define RECORD_MAX 16384 /* plain bytes of one record */

struct conn_tls {
    SSL *ssl; /* owned */
    int fd;   /* borrowed */
    bool wants_write;
    bool established;
    bool drained; /* the last read took all that the socket had */
};

/* --- the socket as the library sees it --- */

static int bio_result(BIO *bio, ssize_t n, int flag)
{
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(bio, flag | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int bio_read(BIO *bio, char *out, int cap)
{
    struct conn_tls *tls = BIO_get_data(bio);
    ssize_t n = recv(tls->fd, out, (size_t)cap, 0);

    tls->drained = n < cap;
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return bio_result(bio, n, BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *data, int len)
{
    const struct conn_tls *tls = BIO_get_data(bio);

    return bio_result(bio, send(tls->fd, data, (size_t)len, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    UNUSED(number);
    UNUSED(pointer);
    if (what == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return what == BIO_CTRL_FLUSH; /* nothing is held back */
}

/* One for the life of the process. */
static const BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;

    if (method != NULL)
        return method;
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "consentd socket");
    ASSERT(method != NULL && BIO_meth_set_read(method, bio_read) == 1 &&
           BIO_meth_set_write(method, bio_write) == 1 && BIO_meth_set_ctrl(method, bio_ctrl) == 1);
    return method;
}

static bool bio_attach(struct conn_tls *tls)
{
    BIO *bio = BIO_new(bio_method());

    if (bio == NULL)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio); /* takes it */
    return true;
}

/* --- life --- */

static struct conn_tls *tls_start(SSL_CTX *ctx, int fd)
{
    struct conn_tls *tls = mem_new(struct conn_tls);

    tls->fd = fd;
    tls->ssl = SSL_new(ctx);
    if (tls->ssl == NULL || !bio_attach(tls)) {
        conn_tls_free(tls);
        ERR_clear_error();
        return NULL;
    }
    return tls;
}

struct conn_tls *conn_tls_server(struct tls_server *ctx, int fd)
{
    struct conn_tls *tls = tls_start(tls_server_ctx(ctx), fd);

    if (tls != NULL)
        SSL_set_accept_state(tls->ssl);
    return tls;
}

static bool is_address(const char *name)
{
    uint8_t bytes[16];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

struct conn_tls *conn_tls_client(struct tls_client *ctx, int fd, const char *name)
{
    struct conn_tls *tls = tls_start(tls_client_ctx(ctx), fd);
    char *copy;
    bool ok;

    if (tls == NULL)
        return NULL;
    SSL_set_connect_state(tls->ssl);
    copy = mem_strdup(name); /* the macro below casts const away */
    if (is_address(name))    /* RFC 6066 3: no address in SNI */
        ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), name) == 1;
    else
        ok = SSL_set_tlsext_host_name(tls->ssl, copy) == 1 && SSL_set1_host(tls->ssl, name) == 1;
    free(copy);
    if (ok)
        return tls;
    conn_tls_free(tls);
    ERR_clear_error();
    return NULL;
}

void conn_tls_free(struct conn_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    free(tls);
}

/* --- bytes --- */

/* What an SSL call that returned rc <= 0 means; empties the library's error queue. */
static enum conn_io verdict(struct conn_tls *tls, int rc)
{
    int error = SSL_get_error(tls->ssl, rc);

    tls->wants_write = error == SSL_ERROR_WANT_WRITE;
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return CONN_IO_AGAIN;
    return error == SSL_ERROR_ZERO_RETURN ? CONN_IO_EOF : CONN_IO_ERROR;
}

enum conn_io conn_tls_handshake(struct conn_tls *tls)
{
    int rc = SSL_do_handshake(tls->ssl);

    if (rc != 1)
        return verdict(tls, rc);
    tls->established = true;
    return CONN_IO_OK;
}

enum conn_io conn_tls_read(struct conn_tls *tls, uint8_t *out, size_t cap, size_t *len_out)
{
    int rc = SSL_read_ex(tls->ssl, out, cap, len_out);

    return rc == 1 ? CONN_IO_OK : verdict(tls, rc);
}

enum conn_io conn_tls_write(struct conn_tls *tls, const uint8_t *data, size_t len, size_t *len_out)
{
    int rc = SSL_write_ex(tls->ssl, data, len < RECORD_MAX ? len : RECORD_MAX, len_out);

    return rc == 1 ? CONN_IO_OK : verdict(tls, rc);
}

bool conn_tls_wants_write(const struct conn_tls *tls)
{
    return tls->wants_write;
}

/* close_notify, once; the peer's answer is not waited for. */
void conn_tls_shutdown(struct conn_tls *tls)
{
    if (tls->established)
        SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

bool conn_tls_is_drained(const struct conn_tls *tls)
{
    return tls->drained && SSL_has_pending(tls->ssl) == 0;
}

bool conn_tls_has_pending(const struct conn_tls *tls)
{
    return SSL_has_pending(tls->ssl) == 1;
}

struct str conn_tls_sni(const struct conn_tls *tls)
{
    const char *name = SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);

    return name == NULL ? STR("") : str_c(name);
}

struct str conn_tls_alpn(const struct conn_tls *tls)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(tls->ssl, &name, &len);
    return len == 0 ? STR("") : str_make(name, len);
}
