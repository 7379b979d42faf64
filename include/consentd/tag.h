/*
 * tag.h - the attributes of one complete tag (layer: html).
 *
 *   <img  src = "a&amp;b"  alt>
 *         ^start     ^value ^end          [start, end) is what goes when it is removed
 *
 * Works on the bytes that the tokenizer reported as TOK_TAG; nothing is copied and
 * nothing decoded. The rules are those of HTML 13.2.5.32-40, so the names, values and
 * their order are what a browser makes of the same bytes.
 */
#ifndef CONSENTD_TAG_H
#define CONSENTD_TAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/str.h"

/* One attribute; offsets count from the '<' of the tag. */
struct tag_attr {
    uint32_t start;     /* first byte of the name */
    uint32_t name_len;  /* bytes of the name, as written */
    uint32_t value;     /* first byte of the value without quotes */
    uint32_t value_len; /* 0 when there is none */
    uint32_t end;       /* behind the value and its closing quote */
    uint8_t id;         /* private to the engine: which name this is, 0: none it knows */
    char quote;         /* '"', '\'' or 0 */
    bool is_duplicate;  /* an earlier attribute has the same name and wins */
    bool is_plain;      /* nothing in the value is to be decoded: no reference, CR or NUL */
};

/* Where a tag ends. */
struct tag_end {
    uint32_t at;       /* offset of its '>'; 0: it is not there */
    bool self_closing; /* "/>" */
};

/*
 * Steps to the attribute behind offset *pos (begin with the offset behind the tag's name).
 * False at the end. Does not set is_duplicate. tag is the whole tag with '<' and '>'.
 */
bool tag_next(struct str tag, uint32_t *pos, struct tag_attr *out);

/*
 * All attributes into out[max]; the count, or max + 1 when there are more. The tag may go on
 * with what follows it: *end_out (may be NULL) says where it ends.
 */
size_t tag_parse(struct str tag, uint32_t name_end, struct tag_attr *out, size_t max,
                 struct tag_end *end_out);

/* Slices of the tag. */
struct str tag_attr_name(struct str tag, const struct tag_attr *a);
struct str tag_attr_value(struct str tag, const struct tag_attr *a); /* not decoded */

/* Appends the value with character references decoded. False: out is full. */
MUST_USE bool tag_attr_decode(struct str tag, const struct tag_attr *a, struct buf *out);

/* Appends text (not an attribute value) with references decoded, as RCDATA and data are. */
MUST_USE bool tag_text_decode(struct str text, struct buf *out);

#endif
