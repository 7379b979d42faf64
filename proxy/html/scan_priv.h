/*
 * scan_priv.h - searching bytes, 16 at a time.
 *
 * Pages are short runs: 30 bytes of text, a tag, a value of 20 bytes. A call of memchr
 * costs more than such a run, so its first bytes are compared here, inline, with SSE2
 * (part of every x86-64); for longer ones memchr goes on, which libc has chosen for the
 * CPU it runs on (AVX2, AVX-512, NEON). Without SSE2 memchr does it all.
 */
#ifndef CONSENTD_HTML_SCAN_PRIV_H
#define CONSENTD_HTML_SCAN_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

#define SCAN_STEP 16

/* Bit k: w[k] is c. Reads SCAN_STEP bytes. */
static inline unsigned scan_mask(const uint8_t *w, uint8_t c)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)w);

    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8((char)c)));
}
#endif

/* Index of the first c in w[i, len), or len. */
static inline size_t scan_to(const uint8_t *w, size_t i, size_t len, uint8_t c)
{
    const uint8_t *hit;

#ifdef __SSE2__
    for (unsigned step = 0; step < 2; step++) {
        unsigned mask;

        if (i + SCAN_STEP > len)
            break;
        mask = scan_mask(w + i, c);
        if (mask != 0)
            return i + (unsigned)__builtin_ctz(mask);
        i += SCAN_STEP;
    }
#endif
    hit = i < len ? memchr(w + i, c, len - i) : NULL;
    return hit != NULL ? (size_t)(hit - w) : len;
}

/* Index of the first c in w[i, len) with a d behind it, or len. */
static inline size_t scan_pair(const uint8_t *w, size_t i, size_t len, uint8_t c, uint8_t d)
{
#ifdef __SSE2__
    for (; i + SCAN_STEP < len; i += SCAN_STEP) {
        unsigned mask = scan_mask(w + i, c) & scan_mask(w + i + 1, d);

        if (mask != 0)
            return i + (unsigned)__builtin_ctz(mask);
    }
#endif
    for (; i + 1 < len; i++) {
        if (w[i] == c && w[i + 1] == d)
            return i;
    }
    return len;
}

/* Index of the first byte of w[i, len) that is one of the n bytes of set, or len. */
static inline size_t scan_any(const uint8_t *w, size_t i, size_t len, const char *set, size_t n)
{
#ifdef __SSE2__
    for (; i + SCAN_STEP <= len; i += SCAN_STEP) {
        unsigned mask = 0;

        for (size_t k = 0; k < n; k++)
            mask |= scan_mask(w + i, (uint8_t)set[k]);
        if (mask != 0)
            return i + (unsigned)__builtin_ctz(mask);
    }
#endif
    for (; i < len; i++) {
        for (size_t k = 0; k < n; k++) {
            if (w[i] == (uint8_t)set[k])
                return i;
        }
    }
    return i;
}

/* What a value may have that decoding changes (HTML 13.2.5.36): a reference, CR, NUL. */
static inline bool scan_is_coded(uint8_t c)
{
    return c == '&' || c == '\r' || c == '\0';
}

/* As scan_to; *plain_out: none of the bytes passed over is_coded. */
static inline size_t scan_value(const uint8_t *w, size_t i, size_t len, uint8_t c, bool *plain_out)
{
    bool plain = true;

#ifdef __SSE2__
    for (; i + SCAN_STEP <= len; i += SCAN_STEP) {
        unsigned end = scan_mask(w + i, c);
        unsigned coded = scan_mask(w + i, '&') | scan_mask(w + i, '\r') | scan_mask(w + i, '\0');

        if (end != 0) {
            *plain_out = plain && (coded & (end ^ (end - 1))) == 0;
            return i + (unsigned)__builtin_ctz(end);
        }
        plain = plain && coded == 0;
    }
#endif
    for (; i < len && w[i] != c; i++)
        plain = plain && !scan_is_coded(w[i]);
    *plain_out = plain;
    return i;
}

/* What ends the name of a tag (HTML 13.2.5.8) or of an attribute (.33): white space / > =. */
enum { SCAN_TAG_NAME = 1, SCAN_ATTR_NAME = 2 };

static const uint8_t scan_ends[256] = {
    ['\t'] = SCAN_TAG_NAME | SCAN_ATTR_NAME, ['\n'] = SCAN_TAG_NAME | SCAN_ATTR_NAME,
    ['\f'] = SCAN_TAG_NAME | SCAN_ATTR_NAME, ['\r'] = SCAN_TAG_NAME | SCAN_ATTR_NAME,
    [' '] = SCAN_TAG_NAME | SCAN_ATTR_NAME,  ['/'] = SCAN_TAG_NAME | SCAN_ATTR_NAME,
    ['>'] = SCAN_TAG_NAME | SCAN_ATTR_NAME,  ['='] = SCAN_ATTR_NAME,
};

/* Index of the first byte of w[i, len) that ends a name of this kind, or len. */
static inline size_t scan_name(const uint8_t *w, size_t i, size_t len, unsigned kind)
{
#ifdef __SSE2__
    if (i + SCAN_STEP <= len) { /* white space: all below "!", the others are none */
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(w + i));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(' ')), bytes);
        unsigned mask =
            (unsigned)_mm_movemask_epi8(low) | scan_mask(w + i, '>') | scan_mask(w + i, '/');

        if (kind == SCAN_ATTR_NAME)
            mask |= scan_mask(w + i, '=');
        i += mask != 0 ? (unsigned)__builtin_ctz(mask) : SCAN_STEP;
    }
#endif
    while (i < len && (scan_ends[w[i]] & kind) == 0)
        i++;
    return i;
}

#endif
