/*
 * tls_ctx.h - what a TLS listener or a TLS client is made of. layer: net
 *
 * TLS 1.3 by default, 1.2 by configuration with forward-secret AEAD suites only; no
 * compression, no renegotiation, no early data. The certificate is chosen by SNI: exact name,
 * then wildcard, then the first one. Two of different kinds (ECDSA, RSA) with the same names
 * stand side by side: each client gets the one it can verify. Built from bytes: the files were
 * read by the master.
 */
#ifndef CONSENTD_TLS_CTX_H
#define CONSENTD_TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

struct tls_server;
struct tls_client;

#define TLS_TICKET_SECRET_LEN 32      /* the same bytes in all workers */
#define TLS_TICKET_PERIOD_MS  3600000 /* a new key each hour; a ticket lives for two more */
#define TLS_CERTS_MAX         64      /* certificates of one listener */

struct tls_cert {
    struct str chain_pem; /* leaf first */
    struct str key_pem;
    const char *name;    /* of the file, for errors */
    struct str ocsp_der; /* an answer of its issuer's responder; empty: none is stapled */
};

struct tls_server_opts {
    const struct tls_cert *certs; /* at least one; the first is the default */
    size_t cert_cnt;
    bool allow_1_2;
    const char *const *alpn; /* in the order of preference; NULL: "http/1.1" alone */
    size_t alpn_cnt;
    const uint8_t *ticket_secret; /* keys come from it by time; NULL: this process only */
    uint64_t ticket_period_ms;    /* 0: TLS_TICKET_PERIOD_MS */
};

/* NULL with the file and the reason: not PEM, key and certificate do not belong together. */
MUST_USE struct tls_server *tls_server_new(const struct tls_server_opts *opts, struct fault *f);
void tls_server_free(struct tls_server *tls); /* connections keep what they need; NULL is fine */

/* Verifies against ca_pem, or the system's store when it is empty. */
MUST_USE struct tls_client *tls_client_new(struct str ca_pem, struct fault *f);
void tls_client_free(struct tls_client *tls); /* NULL is fine */

#endif
