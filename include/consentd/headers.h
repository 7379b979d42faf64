/*
 * headers.h - the ordered list of fields of one message.
 *
 *      items: [ Host | Cookie | Accept | X-Foo(removed) | Cookie | ... ]   in the order received
 *      known: a bit per header_id that was ever added: a miss costs one bit test
 *
 * Names and values are slices and are never copied here: they must live as long as the
 * list (the parsers put them into the same arena). Removing marks a field and moves
 * nothing, so that pointers to items stay valid; only headers_add() may move the array.
 * Everything that walks the items itself must skip those with `removed` set.
 *
 * Known names have an id, found by a perfect hash (one probe, one comparison), so that
 * later stages compare numbers. HDR_OTHER is any other name.
 */
#ifndef CONSENTD_HEADERS_H
#define CONSENTD_HEADERS_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/header_names.h"
#include "consentd/str.h"

enum header_id {
    HDR_OTHER = 0, /* any name that is not in header_names.h */
#define HEADERS_ENUM(id, name) HDR_##id,
    HEADER_NAMES(HEADERS_ENUM)
#undef HEADERS_ENUM
        HDR_CNT /* number of ids, not an id; at most 128 */
};

struct header {
    struct str name;  /* as received: case is kept, comparisons fold it */
    struct str value; /* without the white space around it; may be empty */
    enum header_id id;
    bool removed; /* not part of the message any more */
};

struct headers {
    struct header *items; /* in an arena or the caller's array */
    unsigned cnt;         /* items in use, removed ones included */
    unsigned cap;
    uint64_t known[2]; /* bit per id; may be set for an id whose fields were all removed */
};

/* An empty list over the caller's array; items may be NULL with cap 0. */
void headers_init(struct headers *h, struct header *items, unsigned cap);

/* Id of a name in any case; HDR_OTHER when unknown. */
enum header_id header_id_of(struct str name);

/* Lower-case name of a known id (not of HDR_OTHER). */
struct str header_name(enum header_id id);

/* First field with this id (not HDR_OTHER), or NULL. */
struct header *headers_find(const struct headers *h, enum header_id id);

/* The next field with this id: start with *iter = 0, call until NULL. Skips removed ones. */
struct header *headers_next(const struct headers *h, enum header_id id, unsigned *iter);

/* First field with this name in any case, known or not, or NULL. */
struct header *headers_find_name(const struct headers *h, struct str name);

/* Value of the first field with this id; empty (ptr not NULL) when there is none. */
struct str headers_value(const struct headers *h, enum header_id id);

/* Marks every field with this id as removed; returns how many were. */
unsigned headers_remove(struct headers *h, enum header_id id);

/*
 * Appends a field. Borrows name and value. Grows the array in the arena (NULL: never
 * grows). False when the arena is over its limit: the list is unchanged. The value is
 * not checked: values made from input must come from a parser of this layer.
 */
MUST_USE bool headers_add(struct headers *h, struct arena *a, struct str name, struct str value);

/* The same for a known id, with its canonical lower-case name. */
MUST_USE bool headers_add_id(struct headers *h, struct arena *a, enum header_id id,
                             struct str value);

/* Exactly one field with this id and this value: the first is changed, others removed. */
MUST_USE bool headers_set(struct headers *h, struct arena *a, enum header_id id, struct str value);

/*
 * True when a comma list spread over all fields of this id has the element `token`,
 * in any case. Parameters of an element are ignored (";q=0" is the caller's matter).
 */
bool headers_has_token(const struct headers *h, enum header_id id, const char *token);

/* Takes the next element off a comma list, trimmed; skips empty ones. False at the end. */
bool header_list_next(struct str *rest, struct str *element_out);

/*
 * Removes what belongs to one connection only (RFC 9110 7.6.1): Connection and the fields
 * it names, Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization, TE, Trailer,
 * Upgrade, HTTP2-Settings, Transfer-Encoding. Fields that carry meaning or protection beyond
 * the hop survive being named: Host, Content-*, Cookie, Set-Cookie, Authorization, Via,
 * Forwarded, X-Forwarded-*, X-Real-IP, X-Consent, Sec-GPC, Cache-Control. Content-Length stays:
 * the writer never copies it but derives it from the framing.
 */
void headers_strip_hop_by_hop(struct headers *h);

#endif
