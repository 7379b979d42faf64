/*
 * b64.h - base64url and base64 (RFC 4648 sections 5 and 4), and hex.
 *
 * Decoding is strict: one text for one value. No white space, no padding in
 * base64url, correct padding in base64, unused trailing bits must be zero.
 */
#ifndef CONSENTD_B64_H
#define CONSENTD_B64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

/* Characters (without NUL) for len bytes, base64url without padding. */
#define B64_LEN(len) (((len)*4 + 2) / 3)

/* Characters (without NUL) for len bytes, base64 with padding. */
#define B64_PADDED_LEN(len) (((len) + 2) / 3 * 4)

/* out has room for B64_LEN(len) + 1; a NUL is added. Returns the characters written. */
size_t b64url_encode(char *out, const void *in, size_t len);

/* True when `in` is the one encoding of exactly out_len bytes; out is undefined else. */
MUST_USE bool b64url_decode(struct str in, void *out, size_t out_len);

/* As b64url_decode, for any length: appends to out. */
MUST_USE bool b64url_decode_buf(struct str in, struct buf *out);

/* Standard alphabet with padding; out has room for B64_PADDED_LEN(len) + 1. */
size_t b64_encode(char *out, const void *in, size_t len);

/* Appends the bytes to out; false for any other text or when out is full. */
MUST_USE bool b64_decode(struct str in, struct buf *out);

/* Lower-case hex with NUL: out has room for 2 * len + 1. Returns 2 * len. */
size_t hex_encode(char *out, const void *in, size_t len);

/* Both cases; true only for exactly 2 * out_len digits. */
MUST_USE bool hex_decode(struct str in, void *out, size_t out_len);

#endif
