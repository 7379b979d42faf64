/*
 * json.h - jansson with a place in every error.
 *
 * A document is read with json_load_text(); from there a `struct json_at` says where
 * in the document we are. Every getter that refuses a value writes
 *
 *   rules/sets/hubspot.json:12: cookies[0].name: expected a string, found an integer
 *
 * A json_at lives on the caller's stack and points to its parent: it must not outlive
 * the parent. Nothing is copied; json_t values are borrowed from the document.
 * The only header besides proxy/base that includes jansson.
 */
#ifndef CONSENTD_JSON_H
#define CONSENTD_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define JSON_TEXT_MAX (16u << 20) /* bytes of one document */
#define JSON_PATH_MAX 256         /* room for a path as text */

/* Flags of json_load_text. */
#define JSON_COMMENTS 0x1u /* line comments with two slashes are blanked before reading */

/*
 * Reads one document. Doubled keys and text behind the end are errors. NULL with
 * "name:line:column: reason" on failure. The caller owns the value (json_decref).
 */
MUST_USE json_t *json_load_text(const char *name, struct str text, unsigned flags, struct fault *f);

/* Where we are: a value, and how it was reached. Fields are read-only for others. */
struct json_at {
    const json_t *value;         /* borrowed; never NULL */
    const struct json_at *above; /* NULL at the root */
    const char *key;             /* member name, or NULL for an array element */
    size_t index;                /* array index when key is NULL */
    const char *name;            /* root only: the file's name for errors */
    struct str text;             /* root only: the text as written, for line numbers */
};

/* The root; text may be empty: errors then have no line. name and text are borrowed. */
struct json_at json_at_root(const char *name, struct str text, const json_t *root);

/* The member `key`; false when it is absent (or at is no object). */
bool json_at_get(const struct json_at *at, const char *key, struct json_at *child_out);

/* Element i of an array; i must be less than json_at_count(). */
struct json_at json_at_index(const struct json_at *at, size_t i);

/* Elements of an array, members of an object, 0 for anything else. */
size_t json_at_count(const struct json_at *at);

/* "sites[0].hosts[1]" into out; "" at the root. Cut with "..." if too long. Returns out. */
const char *json_at_path(const struct json_at *at, char out[JSON_PATH_MAX]);

/* The line of the value's key (or of the element), 0 when it is not known. */
unsigned json_at_line(const struct json_at *at);

/* Sets "name:line: path: <formatted>". Always returns false, for `return json_at_fault(…)`. */
bool json_at_fault(const struct json_at *at, struct fault *f, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The value as this type, or false and "expected a string, found an integer". */
MUST_USE bool json_at_str(const struct json_at *at, struct str *out, struct fault *f);
MUST_USE bool json_at_bool(const struct json_at *at, bool *out, struct fault *f);
MUST_USE bool json_at_array(const struct json_at *at, struct fault *f);
MUST_USE bool json_at_object(const struct json_at *at, struct fault *f);

/* An integer from min to max, both included. */
MUST_USE bool json_at_int(const struct json_at *at, int64_t min, int64_t max, int64_t *out,
                          struct fault *f);

/* Every member of the object is one of names[cnt]; else the nearest name is offered. */
MUST_USE bool json_at_only(const struct json_at *at, const char *const *names, size_t cnt,
                           struct fault *f);

/* Whether a member must be there. */
enum json_need {
    JSON_NEED = 0, /* absent: an error */
    JSON_MAY,      /* absent: true, *out stays as the caller set it */
};

/* Member and type in one step. */
MUST_USE bool json_at_key_str(const struct json_at *at, const char *key, enum json_need need,
                              struct str *out, struct fault *f);
MUST_USE bool json_at_key_bool(const struct json_at *at, const char *key, enum json_need need,
                               bool *out, struct fault *f);

/*
 * The canonical form that gets hashed (RFC 8785, for what we write): members sorted
 * by their bytes, no white space, integers only, shortest escapes. False for a real
 * number or when out is full.
 */
MUST_USE bool json_canonical(const json_t *value, struct buf *out);

/* One string with its quotes, escaped as json_canonical does it. */
MUST_USE bool json_quote(struct str s, struct buf *out);

#endif
