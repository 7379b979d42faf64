/*
 * token.h - the signed value of the consent cookie. layer: policy
 *
 *   off 0     1    2      3       5      9       13       17       33    34     41        43
 *       ver=1 kid  flags  grants  epoch  issued  expires  subject  node  leaf   reserved  mac
 *       1     1    1      2       4      4       4        16       1     7      2         32   = 75
 *
 * All integers big-endian; 75 bytes are exactly 100 characters of base64url, so there is one
 * encoding only. mac = HMAC-SHA256(key[kid], "consentd.token.v1" 0x00 len(site) site bytes[0..43)).
 *
 * Whatever is wrong with a token, it is the same as no token: nothing is granted. The status is
 * for counting. Pure: the time is an argument.
 */
#ifndef CONSENTD_TOKEN_H
#define CONSENTD_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/keyring.h"
#include "consentd/str.h"

enum {
    TOKEN_LEN = 100,        /* characters of a token */
    TOKEN_RAW_LEN = 75,     /* bytes behind them */
    TOKEN_SITE_MAX = 253,   /* bytes of a site id: its first host name */
    TOKEN_SKEW_S = 300,     /* how far a clock may be ahead of ours */
    TOKEN_CAP_S = 34560000, /* 400 days: no token lives longer (rfc6265bis) */
};

enum token_flag {
    TOKEN_GPC = 1 << 0,        /* Sec-GPC: 1 was seen */
    TOKEN_GESTURE = 1 << 1,    /* an explicit act of the visitor */
    TOKEN_WITHDRAWAL = 1 << 2, /* issued by a withdrawal */
    TOKEN_OPERATOR = 1 << 3,   /* issued by an operator or the API */
    TOKEN_FLAGS = 0x0f,        /* no other bit may be set */
};

struct token_claims {
    uint8_t kid, flags;
    uint16_t grants; /* category bits; bit 0 is always set */
    uint32_t epoch, issued_s, expires_s;
    uint8_t subject[16];
    uint8_t node;  /* evidence pointer: node and leaf of the record behind the grant */
    uint64_t leaf; /* 56 bits */
};

/* In the order of the checks. Only the last one grants anything. */
enum token_status {
    TOKEN_NONE = 0,  /* no value was given */
    TOKEN_LENGTH,    /* not 100 characters */
    TOKEN_ALPHABET,  /* a character that base64url does not have */
    TOKEN_VERSION,   /* not version 1 */
    TOKEN_KEY,       /* a key that is not known, or revoked, or not yet in use */
    TOKEN_MAC,       /* altered, or another site's */
    TOKEN_RESERVED,  /* reserved bits are set */
    TOKEN_ESSENTIAL, /* bit 0 of the grants is not set */
    TOKEN_FUTURE,    /* issued later than now + 300 s */
    TOKEN_EXPIRED,   /* its time is over */
    TOKEN_LIFETIME,  /* lives longer than the cap allows */
    TOKEN_EPOCH,     /* given under a policy that is no longer enough */
    TOKEN_OK,
};

/* What a site accepts. */
struct token_check {
    struct str site;    /* site id, at most TOKEN_SITE_MAX bytes */
    uint32_t now_s;     /* since 1970 */
    uint32_t min_epoch; /* the policy's epoch */
    uint32_t cap_s;     /* longest life; 0 or more than TOKEN_CAP_S: TOKEN_CAP_S */
};

/*
 * Verifies. *out is filled only for TOKEN_OK and cleared otherwise. Erased subjects are not
 * looked at here: the caller asks who keeps that list.
 */
MUST_USE enum token_status token_verify(const struct keyring *keyring, struct str value,
                                        const struct token_check *check, struct token_claims *out);

/*
 * Issues with the active tok key (claims->kid is ignored; bit 0 of the grants is added). False when
 * there is no such key, the site id is too long, or the claims are not representable.
 */
MUST_USE bool token_issue(const struct keyring *keyring, const struct token_claims *claims,
                          struct str site, char out[TOKEN_LEN + 1]);

/* "expired", "mac", …: for counters and logs. */
const char *token_strerror(enum token_status status);

#endif
