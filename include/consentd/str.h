/*
 * str.h - slices of text: a pointer and a length, no ownership, no NUL.
 *
 * A `struct str` borrows: it is valid as long as the memory behind it is. ptr may
 * be NULL when len is 0; the empty slice is equal to every other empty slice.
 * Case folding is ASCII only and independent of the locale, as HTTP and HTML want.
 */
#ifndef CONSENTD_STR_H
#define CONSENTD_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"

struct str {
    const char *ptr; /* borrowed; not NUL-terminated */
    size_t len;      /* bytes */
};

/* A slice of a string literal; STR_INIT is the same for static initialisers. */
#define STR(lit) ((struct str){"" lit, sizeof(lit) - 1})
#define STR_INIT(lit)                                                                              \
    {                                                                                              \
        "" lit, sizeof(lit) - 1                                                                    \
    }

/* For printf: "%.*s", STR_ARGS(s). Never for a visitor's data in a log line. */
#define STR_ARGS(s) (int)(s).len, ((s).ptr != NULL ? (s).ptr : "")

/* A slice of a C string; NULL gives the empty slice. */
struct str str_c(const char *cstr);

/* A slice of any bytes. */
struct str str_make(const void *p, size_t len);

/* Byte for byte; the _fold forms ignore ASCII case; the _c forms take a C string. */
bool str_eq(struct str a, struct str b);
bool str_eq_c(struct str a, const char *c);
bool str_eq_fold(struct str a, struct str b);
bool str_eq_fold_c(struct str a, const char *c);

/* Order of memcmp, a shorter prefix first: for qsort and bsearch. */
int str_cmp(struct str a, struct str b);

/* Prefix and suffix tests; the empty prefix always matches. */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_starts_fold(struct str s, struct str prefix);
bool str_ends_fold(struct str s, struct str suffix);

/* Without SP and HTAB at both ends (RFC 9110 OWS). */
struct str str_trim(struct str s);

/* len bytes from `from`; both are clamped to what is there. */
struct str str_slice(struct str s, size_t from, size_t len);

/*
 * Takes the part before the next sep from *rest. "a,,b" gives "a", "", "b"; the last
 * part ends at the end of the text. False when rest is exhausted: its ptr is NULL then,
 * so that an empty text gives one empty part and stops.
 */
bool str_cut(struct str *rest, char sep, struct str *head_out);

/* Offset of the first occurrence, -1 if there is none. The empty needle is at 0. */
ptrdiff_t str_find(struct str s, struct str needle);
ptrdiff_t str_find_char(struct str s, char c);
ptrdiff_t str_find_last_char(struct str s, char c);

/* 1*DIGIT and nothing else, value <= max; no sign, no space, no overflow. */
MUST_USE bool str_to_u64(struct str s, uint64_t max, uint64_t *out);

/* An id as people write it: a-z, 0-9 and "-", not first; 1 to max bytes. */
MUST_USE bool str_is_id(struct str s, size_t max);

/* A heap copy with NUL (mem_strndup). */
MUST_USE char *str_dup(struct str s);

/* ASCII classes. Space is SP HTAB LF CR FF VT. */
char ascii_lower(char c);
bool ascii_is_alpha(char c);
bool ascii_is_digit(char c);
bool ascii_is_alnum(char c);
bool ascii_is_space(char c);

/*
 * SipHash-1-3 with a secret key: for tables whose keys a peer can choose.
 * The result differs between processes when the key does.
 */
uint64_t str_hash(struct str s, const uint8_t key[16]);

/*
 * The name in names[cnt] that a person probably meant by s (edit distance at most
 * a third of its length, at least 1), or NULL. For "did you mean" in errors.
 */
const char *str_nearest(struct str s, const char *const *names, size_t cnt);

#endif
