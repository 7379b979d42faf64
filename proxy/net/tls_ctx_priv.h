/*
 * tls_ctx_priv.h - the contexts, for conn_tls.c.
 */
#ifndef CONSENTD_TLS_CTX_PRIV_H
#define CONSENTD_TLS_CTX_PRIV_H

#include <openssl/ssl.h>

#include "consentd/tls_ctx.h"

/* The context that a new connection starts with; SNI may move it to another one. */
SSL_CTX *tls_server_ctx(struct tls_server *tls);
SSL_CTX *tls_client_ctx(struct tls_client *tls);

#endif
