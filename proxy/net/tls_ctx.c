/*
 * tls_ctx.c - contract in consentd/tls_ctx.h.
 *
 * One SSL_CTX per certificate (and its twin of another kind of key). The first is the one that
 * listens; its SNI callback moves a connection to the context of the certificate that names the
 * host. Which names a certificate is good for is OpenSSL's to say (X509_check_host): exact names
 * first, then wildcards.
 */
#include "consentd/tls_ctx.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"
#include "tls_ctx_priv.h"

#define ALPN_MAX 64 /* bytes of the protocol list in wire form */

struct tls_server {
    SSL_CTX **ctxs;              /* owned, one per certificate */
    X509 **leafs;                /* owned references, likewise */
    struct tls_staple **staples; /* owned, likewise; NULL: none */
    struct tls_tickets *tickets; /* owned; NULL: OpenSSL's own */
    size_t cnt;
    uint8_t alpn[ALPN_MAX];
    size_t alpn_len;
};

struct tls_client {
    SSL_CTX *ctx; /* owned */
};

static const char *ssl_reason(void)
{
    unsigned long code = ERR_get_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);

    ERR_clear_error();
    return reason != NULL ? reason : "unknown reason";
}

static BIO *pem_bio(struct str pem)
{
    return BIO_new_mem_buf(pem.ptr, (int)pem.len);
}

static bool chain_load(SSL_CTX *ctx, const struct tls_cert *cert, struct fault *f)
{
    BIO *bio = pem_bio(cert->chain_pem);
    X509 *x509 = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    bool ok = x509 != NULL && SSL_CTX_use_certificate(ctx, x509) == 1;

    X509_free(x509);
    while (ok && (x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        ok = SSL_CTX_add0_chain_cert(ctx, x509) == 1;
    BIO_free(bio);
    if (!ok)
        fault_set(f, "%s: not a certificate chain in PEM, leaf first: %s", cert->name,
                  ssl_reason());
    ERR_clear_error(); /* the end of the file is an error to the PEM reader */
    return ok;
}

static bool key_load(SSL_CTX *ctx, const struct tls_cert *cert, struct fault *f)
{
    BIO *bio = pem_bio(cert->key_pem);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    bool ok =
        key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;

    EVP_PKEY_free(key);
    BIO_free(bio);
    if (!ok)
        fault_set(f, "%s: the private key is not PEM or does not belong to the certificate: %s",
                  cert->name, ssl_reason());
    return ok;
}

/* RFC 7301: the first of ours that the client offers; none in common: no protocol is chosen. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    const struct tls_server *tls = arg;
    unsigned char *chosen;

    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_len, tls->alpn, (unsigned)tls->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *ctx_for(const struct tls_server *tls, const char *name, unsigned flags)
{
    for (size_t i = 0; i < tls->cnt; i++) {
        if (X509_check_host(tls->leafs[i], name, 0, flags, NULL) == 1)
            return tls->ctxs[i];
    }
    return NULL;
}

static int on_sni(SSL *ssl, int *alert, void *arg)
{
    const struct tls_server *tls = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_CTX *ctx;

    (void)alert;
    if (name == NULL || tls->cnt < 2)
        return SSL_TLSEXT_ERR_OK;
    ctx = ctx_for(tls, name, X509_CHECK_FLAG_NO_WILDCARDS);
    if (ctx == NULL)
        ctx = ctx_for(tls, name, 0);
    if (ctx != NULL)
        SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

static int on_status(SSL *ssl, void *arg)
{
    const struct tls_server *tls = arg;

    for (size_t i = 0; i < tls->cnt; i++) {
        if (tls_staple_put(tls->staples[i], ssl))
            return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static void ctx_common(SSL_CTX *ctx)
{
    int groups[] = {NID_X25519, NID_X9_62_prime256v1, NID_secp384r1};

    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_max_early_data(ctx, 0);
    /* No finite fields: a handshake with one costs us a hundred times what it costs the client. */
    SSL_CTX_set1_groups(ctx, groups, COUNT_OF(groups));
    /* Browsers' own order: handshakes cost a tenth less than with 256 bits first. */
    SSL_CTX_set_ciphersuites(
        ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    /* Only for TLS 1.2, where it is allowed: forward secrecy and AEAD. */
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
}

static SSL_CTX *server_ctx(struct tls_server *tls, const struct tls_server_opts *opts,
                           const struct tls_cert *cert, struct fault *f)
{
    static const unsigned char context[] = "consentd";
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    ASSERT(ctx != NULL);
    ctx_common(ctx);
    SSL_CTX_set_min_proto_version(ctx, opts->allow_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_session_id_context(ctx, context, sizeof(context) - 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets: no state here */
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, tls);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_sni);
    SSL_CTX_set_tlsext_servername_arg(ctx, tls);
    SSL_CTX_set_tlsext_status_cb(ctx, on_status);
    SSL_CTX_set_tlsext_status_arg(ctx, tls);
    if (tls->tickets != NULL)
        tls_tickets_use(tls->tickets, ctx);
    if (!chain_load(ctx, cert, f) || !key_load(ctx, cert, f)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static bool alpn_encode(struct tls_server *tls, const struct tls_server_opts *opts, struct fault *f)
{
    static const char *const only[] = {"http/1.1"};
    const char *const *names = opts->alpn != NULL ? opts->alpn : only;
    size_t cnt = opts->alpn != NULL ? opts->alpn_cnt : 1;

    for (size_t i = 0; i < cnt; i++) {
        size_t len = strlen(names[i]);

        if (len == 0 || len > 255 || tls->alpn_len + len + 1 > sizeof(tls->alpn)) {
            fault_set(f, "ALPN: \"%s\" does not fit", names[i]);
            return false;
        }
        tls->alpn[tls->alpn_len++] = (uint8_t)len;
        memcpy(tls->alpn + tls->alpn_len, names[i], len);
        tls->alpn_len += len;
    }
    return true;
}

static struct tls_staple *staple_of(SSL_CTX *ctx, const struct tls_cert *cert)
{
    STACK_OF(X509) *chain = NULL;
    struct tls_staple *staple;

    if (cert->ocsp_der.len == 0)
        return NULL;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    staple = tls_staple_new(cert->ocsp_der, SSL_CTX_get0_certificate(ctx), chain, cert->name);
    ERR_clear_error();
    return staple;
}

static bool is_good_for(X509 *x509, int type, const ASN1_STRING *name)
{
    const unsigned char *data = ASN1_STRING_get0_data(name);
    size_t len = (size_t)ASN1_STRING_length(name);

    if (type == GEN_DNS)
        return X509_check_host(x509, (const char *)data, len, 0, NULL) == 1;
    return X509_check_ip(x509, data, len, 0) == 1;
}

/* Every host name and address of a is one of b's, and there are some. */
static bool covers(X509 *b, X509 *a)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(a, NID_subject_alt_name, NULL, NULL);
    bool all = true;
    unsigned cnt = 0;

    for (int i = 0; all && i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        ASN1_STRING *name = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);

        if (type != GEN_DNS && type != GEN_IPADD)
            continue; /* no client looks for a server by it */
        all = is_good_for(b, type, name);
        cnt++;
    }
    GENERAL_NAMES_free(names);
    return all && cnt > 0;
}

static int kind_of(X509 *x509)
{
    return EVP_PKEY_get_base_id(X509_get0_pubkey(x509));
}

/* Puts the first certificate of another kind for the same names beside this one. */
static bool add_twin(struct tls_server *tls, const struct tls_server_opts *opts, size_t i,
                     struct fault *f)
{
    X509 *own = tls->leafs[i];

    for (size_t k = 0; k < tls->cnt; k++) {
        X509 *other = tls->leafs[k];

        if (k != i && kind_of(own) != kind_of(other) && covers(own, other) && covers(other, own))
            return chain_load(tls->ctxs[i], &opts->certs[k], f) &&
                   key_load(tls->ctxs[i], &opts->certs[k], f);
    }
    return true;
}

static bool add_cert(struct tls_server *tls, const struct tls_server_opts *opts, size_t i,
                     struct fault *f)
{
    SSL_CTX *ctx = server_ctx(tls, opts, &opts->certs[i], f);

    if (ctx == NULL)
        return false;
    tls->ctxs[i] = ctx;
    tls->leafs[i] = SSL_CTX_get0_certificate(ctx);
    X509_up_ref(tls->leafs[i]);
    tls->staples[i] = staple_of(ctx, &opts->certs[i]);
    tls->cnt++;
    return true;
}

struct tls_server *tls_server_new(const struct tls_server_opts *opts, struct fault *f)
{
    struct tls_server *tls = mem_new(struct tls_server);

    if (opts->cert_cnt == 0 || opts->cert_cnt > TLS_CERTS_MAX) {
        fault_set(f, "a TLS listener needs 1 to %d certificates, it has %zu", TLS_CERTS_MAX,
                  opts->cert_cnt);
        free(tls);
        return NULL;
    }
    tls->ctxs = mem_calloc(opts->cert_cnt, sizeof(*tls->ctxs));
    tls->leafs = mem_calloc(opts->cert_cnt, sizeof(*tls->leafs));
    tls->staples = mem_calloc(opts->cert_cnt, sizeof(*tls->staples));
    if (opts->ticket_secret != NULL)
        tls->tickets = tls_tickets_new(opts->ticket_secret, opts->ticket_period_ms);
    if (!alpn_encode(tls, opts, f)) {
        tls_server_free(tls);
        return NULL;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < opts->cert_cnt; i++)
        ok = add_cert(tls, opts, i, f);
    for (size_t i = 0; ok && i < opts->cert_cnt; i++)
        ok = add_twin(tls, opts, i, f);
    if (ok)
        return tls;
    tls_server_free(tls);
    return NULL;
}

void tls_server_free(struct tls_server *tls)
{
    if (tls == NULL)
        return;
    for (size_t i = 0; i < tls->cnt; i++) {
        SSL_CTX_free(tls->ctxs[i]);
        X509_free(tls->leafs[i]);
        tls_staple_free(tls->staples[i]);
    }
    tls_tickets_free(tls->tickets);
    free(tls->ctxs);
    free(tls->leafs);
    free(tls->staples);
    free(tls);
}

static bool ca_load(SSL_CTX *ctx, struct str pem, struct fault *f)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *bio = pem_bio(pem);
    X509 *x509;
    unsigned cnt = 0;

    while (bio != NULL && (x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        cnt += X509_STORE_add_cert(store, x509) == 1;
        X509_free(x509);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (cnt == 0)
        fault_set(f, "the CA file holds no certificate in PEM");
    return cnt > 0;
}

struct tls_client *tls_client_new(struct str ca_pem, struct fault *f)
{
    struct tls_client *tls = mem_new(struct tls_client);

    tls->ctx = SSL_CTX_new(TLS_client_method());
    ASSERT(tls->ctx != NULL);
    ctx_common(tls->ctx);
    SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    if (ca_pem.len == 0 ? SSL_CTX_set_default_verify_paths(tls->ctx) == 1
                        : ca_load(tls->ctx, ca_pem, f))
        return tls;
    if (ca_pem.len == 0)
        fault_set(f, "the system's certificate store cannot be used: %s", ssl_reason());
    tls_client_free(tls);
    return NULL;
}

void tls_client_free(struct tls_client *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    free(tls);
}

SSL_CTX *tls_server_ctx(struct tls_server *tls)
{
    return tls->ctxs[0];
}

SSL_CTX *tls_client_ctx(struct tls_client *tls)
{
    return tls->ctx;
}
