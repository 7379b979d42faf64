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

/* tls_tickets.c. secret: TLS_TICKET_SECRET_LEN bytes; period_ms 0: the default. */
struct tls_tickets;
struct tls_tickets *tls_tickets_new(const uint8_t *secret, uint64_t period_ms);
void tls_tickets_free(struct tls_tickets *t);
void tls_tickets_use(struct tls_tickets *t, SSL_CTX *ctx); /* borrowed by ctx */

/* tls_staple.c. NULL, and a line in the log: not one that may be sent. */
struct tls_staple;
struct tls_staple *tls_staple_new(struct str der, X509 *leaf, STACK_OF(X509) * chain,
                                  const char *name);
void tls_staple_free(struct tls_staple *s);
/* True: it is about the certificate of this handshake and goes out with it. */
bool tls_staple_put(struct tls_staple *s, SSL *ssl);

#endif
