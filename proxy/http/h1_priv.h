/*
 * h1_priv.h - what the request and the response parser share (h1_parse.c).
 */
#ifndef CONSENTD_H1_PRIV_H
#define CONSENTD_H1_PRIV_H

#include "consentd/h1_parse.h"

/* A complete head while it is taken apart. text is the copy in the arena. */
struct h1_text {
    struct arena *arena;
    struct str text;    /* first line to the final CR LF */
    size_t fields;      /* where the field lines start */
    unsigned field_cnt; /* how many there are */
};

/* The first line's longest form besides the target: method, spaces, version, CR LF. */
enum { H1_LINE_EXTRA = H1_METHOD_MAX + 12 };

/*
 * Looks for the end of the head; checks line ends, limits and the request line on the way.
 * first_line_max 0: a response, whose first line has no limit of its own and no empty line before.
 */
enum h1_status h1_scan(struct h1_parser *parser, struct str in, const struct h1_limits *limits,
                       size_t first_line_max);

/* What is wrong with a request line, its CR LF included. */
enum h1_error h1_request_line(struct str line, size_t target_max);

/* Copies the head that h1_scan found into the arena. */
enum h1_error h1_text_take(const struct h1_parser *parser, struct arena *a, struct str in,
                           struct h1_text *out);

/* All field lines into headers, which gets room for some more. */
enum h1_error h1_fields(const struct h1_text *text, struct headers *headers);

/* What Content-Length and Transfer-Encoding say together. */
struct h1_lengths {
    bool chunked;
    bool has_length;
    uint64_t length;
};

/* same_twice_ok: several equal Content-Length fields count as one (responses). */
enum h1_error h1_lengths(const struct headers *h, unsigned version_minor, bool same_twice_ok,
                         struct h1_lengths *out);

/* Whether the peer wants to keep the connection; close wins. Counts the options, too. */
enum h1_error h1_keep_alive(const struct headers *h, unsigned version_minor, bool *keep_out);

/*
 * What a request is, from its method, target, version and fields: path, host, body, wishes.
 * For every version of HTTP: the same rules for what may be forwarded.
 */
enum h1_error h1_request_check(struct arena *a, struct h1_request *req);

/* Fields that frame a message of one connection: never copied from a list. */
bool h1_is_framing(enum header_id id);

/* No name holds white space or a control byte, no value a control byte. */
bool h1_fields_are_clean(const struct headers *h);

/* Connection: upgrade and exactly Upgrade: websocket. */
bool h1_wants_websocket(const struct headers *h);

#endif
