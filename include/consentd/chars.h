/*
 * chars.h - which bytes may stand where in HTTP. One table, one bit per class.
 *
 * Every parser of the layer asks this table and nothing else, so that two parsers
 * can never disagree about a byte. A class names a *place*, not a kind of letter.
 * Bytes 0x80-0xff are in no class except CHAR_VALUE (obs-text, RFC 9110 5.5).
 */
#ifndef CONSENTD_CHARS_H
#define CONSENTD_CHARS_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

enum char_class {
    CHAR_TOKEN = 1 << 0,  /* tchar: methods, field names (RFC 9110 5.6.2) */
    CHAR_VALUE = 1 << 1,  /* field value: HTAB, SP, VCHAR, obs-text (5.5) */
    CHAR_TARGET = 1 << 2, /* request target: VCHAR without '#'. Browsers send raw '|', '{' or '"' */
    CHAR_HOST = 1 << 3,   /* reg-name of Host: unreserved, sub-delims, '%' (RFC 3986 3.2.2) */
    CHAR_DIGIT = 1 << 4,  /* 0-9 */
    CHAR_HEX = 1 << 5,    /* 0-9 a-f A-F */
    CHAR_COOKIE = 1 << 6, /* cookie bytes that every known reader takes literally (cookie.h) */
    CHAR_UNRESERVED = 1 << 7, /* ALPHA DIGIT - . _ ~ (RFC 3986 2.3) */
};

extern const uint8_t chars_table[256];

/* True when c is in any of the classes. */
static inline bool char_is(char c, unsigned classes)
{
    return (chars_table[(uint8_t)c] & classes) != 0;
}

/* How many bytes at the start of s are in the classes; s.len when all are. */
size_t chars_span(struct str s, unsigned classes);

/*
 * True when a byte of s is below `least` (at most 0x80): ' ' finds controls, HTAB among them.
 * For text that is already believed to be clean, at eight bytes a step.
 */
bool chars_below(struct str s, unsigned char least);

/* True when s is not empty and every byte is in the classes. */
bool chars_all(struct str s, unsigned classes);

/* Value of a hexadecimal digit, or -1. */
int char_hex(char c);

#endif
