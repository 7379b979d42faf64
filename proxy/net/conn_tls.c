/*
 * conn_tls.c - bytes through SSL, for conn.c (conn_priv.h). Driven directly: no BIO pairs, no
 * copies besides the library's own.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "conn_priv.h"
#include "consentd/mem.h"
#include "tls_ctx_priv.h"

#define RECORD_MAX 16384 /* plain bytes of one record */
#define SHORT_READ 8192  /* bytes from the socket that cannot have filled the library's buffer */

struct conn_tls {
    SSL *ssl; /* owned */
    bool wants_write;
    bool established;
    bool drained; /* the last read took all that the socket had */
};

static struct conn_tls *tls_start(SSL_CTX *ctx, int fd)
{
    struct conn_tls *tls = mem_new(struct conn_tls);

    tls->ssl = SSL_new(ctx);
    if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1) {
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
    BIO *from = SSL_get_rbio(tls->ssl);
    uint64_t before = BIO_number_read(from);
    int rc = SSL_read_ex(tls->ssl, out, cap, len_out);

    /* the library asks for a record's worth: it got less, and nothing of it is left */
    tls->drained = BIO_number_read(from) - before < SHORT_READ && SSL_has_pending(tls->ssl) == 0;
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
    return tls->drained;
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
