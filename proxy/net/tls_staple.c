/*
 * tls_staple.c - OCSP answers that go out with a certificate (RFC 6066 8, RFC 6960).
 *
 * Somebody else fetches them, into a file beside the certificate. One is sent only when a browser
 * would believe it: signed by the certificate's own issuer or on its behalf, about this
 * certificate, "good", and not older than it says itself. Anything else is worse than none.
 */
#include <openssl/ocsp.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/clock.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "tls_ctx_priv.h"

#define SKEW_S 300 /* clocks may differ so much */

struct tls_staple {
    X509 *leaf;   /* owned reference: whose answer it is */
    uint8_t *der; /* owned */
    size_t len;
    uint64_t until_ms; /* nextUpdate */
    bool told;         /* that it is over */
};

static X509 *issuer_of(X509 *leaf, STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        if (X509_check_issued(sk_X509_value(chain, i), leaf) == X509_V_OK)
            return sk_X509_value(chain, i);
    }
    return NULL;
}

/* Signed by the issuer, or by one that the issuer has named for it. */
static bool is_signed(OCSP_BASICRESP *basic, X509 *issuer)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *certs = sk_X509_new_null();
    bool ok = store != NULL && certs != NULL && X509_STORE_add_cert(store, issuer) == 1 &&
              X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
              sk_X509_push(certs, issuer) > 0 && OCSP_basic_verify(basic, certs, store, 0) == 1;

    sk_X509_free(certs);
    X509_STORE_free(store);
    return ok;
}

static uint64_t ms_of(const ASN1_GENERALIZEDTIME *time)
{
    int days = 0, seconds = 0;

    if (ASN1_TIME_diff(&days, &seconds, NULL, time) != 1 || days < 0 || seconds < 0)
        return 0;
    return clock_wall_ms() + ((uint64_t)days * 86400 + (uint64_t)seconds) * 1000;
}

/* What the answer says of the certificate; NULL: that it is good, until *until_out. */
static const char *read_status(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer, uint64_t *until_out)
{
    const EVP_MD *digests[] = {EVP_sha1(), EVP_sha256()};
    ASN1_GENERALIZEDTIME *revoked, *from, *until;
    int status = -1, reason;
    bool found = false;

    for (size_t i = 0; i < COUNT_OF(digests) && !found; i++) {
        OCSP_CERTID *id = OCSP_cert_to_id(digests[i], leaf, issuer);

        found = OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &from, &until) == 1;
        OCSP_CERTID_free(id);
    }
    if (!found)
        return "it is about another certificate";
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return "it does not say that the certificate is good";
    if (until == NULL)
        return "it does not say until when";
    if (OCSP_check_validity(from, until, SKEW_S, -1) != 1)
        return "it is too old, or of the future";
    *until_out = ms_of(until);
    return NULL;
}

static const char *judge(struct str der, X509 *leaf, STACK_OF(X509) * chain, uint64_t *until_out)
{
    const uint8_t *p = (const uint8_t *)der.ptr;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &p, (long)der.len);
    OCSP_BASICRESP *basic = response != NULL ? OCSP_response_get1_basic(response) : NULL;
    X509 *issuer = issuer_of(leaf, chain);
    const char *why;

    if (response == NULL)
        why = "it is no OCSP response in DER";
    else if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL || basic == NULL)
        why = "the responder refused to answer";
    else if (issuer == NULL)
        why = "the issuer is not in the certificate's chain";
    else if (!is_signed(basic, issuer))
        why = "the certificate's issuer has not signed it";
    else
        why = read_status(basic, leaf, issuer, until_out);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return why;
}

struct tls_staple *tls_staple_new(struct str der, X509 *leaf, STACK_OF(X509) * chain,
                                  const char *name)
{
    uint64_t until_ms = 0;
    const char *why = judge(der, leaf, chain, &until_ms);
    struct tls_staple *s;

    if (why != NULL) {
        log_warn("ocsp.refused", "certificate=\"%s\" reason=\"%s\"", name, why);
        return NULL;
    }
    s = mem_new(struct tls_staple);
    s->leaf = leaf;
    X509_up_ref(leaf);
    s->der = mem_alloc(der.len);
    memcpy(s->der, der.ptr, der.len);
    s->len = der.len;
    s->until_ms = until_ms;
    return s;
}

void tls_staple_free(struct tls_staple *s)
{
    if (s == NULL)
        return;
    X509_free(s->leaf);
    free(s->der);
    free(s);
}

bool tls_staple_put(struct tls_staple *s, SSL *ssl)
{
    X509 *leaf = SSL_get_certificate(ssl);
    uint8_t *copy;

    if (s == NULL || leaf == NULL || X509_cmp(leaf, s->leaf) != 0)
        return false;
    if (clock_wall_ms() >= s->until_ms) {
        if (!s->told)
            log_warn("ocsp.expired", "reason=\"its file was not renewed\"");
        s->told = true;
        return false;
    }
    copy = OPENSSL_memdup(s->der, s->len); /* SSL frees it */
    return copy != NULL && SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)s->len) == 1;
}
