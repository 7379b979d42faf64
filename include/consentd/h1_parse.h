/*
 * h1_parse.h - HTTP/1 request and response heads, parsed once and strictly (RFC 9112).
 * layer: http
 *
 * Pure: bytes in, a head or an error out. No I/O, no clock, no globals.
 *
 *      struct h1_parser parser = {0};                    one per message
 *      on each read: h1_parse_request(&parser, arena, everything since the message began, ...)
 *          H1_MORE  call again with the same bytes and more after them
 *          H1_HEAD  *out is complete, parser.used bytes belong to the head
 *          H1_BAD   parser.error says why; answer h1_error_status() and close
 *
 * The parser remembers how far it has looked, so that a head which arrives byte by byte
 * costs linear time. Limits and line ends are checked while reading, not when the head is
 * complete. A complete head is copied into the arena once and every slice of *out points
 * into that copy: the input may go away, *out lives as long as the arena.
 *
 * What is ambiguous is refused, never repaired: bare LF or CR, folded lines, white space
 * before the colon, any doubt about the body's length, about Host or about the target.
 */
#ifndef CONSENTD_H1_PARSE_H
#define CONSENTD_H1_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/headers.h"
#include "consentd/str.h"

enum h1_status {
    H1_BAD = 0, /* refused; parser.error is set; every later call says the same */
    H1_MORE,    /* the head is not complete yet */
    H1_HEAD,    /* complete */
};

/* One value per family of refusals. All end the connection. */
enum h1_error {
    H1_ERR_NONE = 0,
    /* line structure */
    H1_ERR_LINE_END,    /* bare LF, bare CR, or NUL anywhere in the head */
    H1_ERR_HEAD_SIZE,   /* head longer than head_max, or the arena is full: 431 */
    H1_ERR_FIELD_CNT,   /* more than fields_max fields, or H1_OPTIONS_MAX in Connection: 431 */
    H1_ERR_EMPTY_LINES, /* more than one empty line before the request line */
    /* request line */
    H1_ERR_REQUEST_LINE,  /* not "method SP target SP version" with single spaces */
    H1_ERR_METHOD,        /* empty or not a token */
    H1_ERR_METHOD_SIZE,   /* a token of more than H1_METHOD_MAX bytes: 501 */
    H1_ERR_METHOD_DENIED, /* CONNECT and TRACE: 405 */
    H1_ERR_TARGET,        /* neither origin-form, http(s) absolute-form nor OPTIONS with "*" */
    H1_ERR_TARGET_SIZE,   /* 414 */
    H1_ERR_VERSION,       /* not HTTP/1.digit, or HTTP/0.9 */
    H1_ERR_VERSION_MAJOR, /* a well-formed major version >= 2: 505 */
    H1_ERR_PROTOCOL,      /* HTTP/2's CONNECT for something other than a websocket: 501 */
    /* host */
    H1_ERR_HOST_MISSING,
    H1_ERR_HOST_TWICE, /* the same value twice counts */
    H1_ERR_HOST,       /* not uri-host [ ":" port ] */
    /* fields */
    H1_ERR_FIELD_NAME,  /* empty, not a token, white space before the colon, no colon */
    H1_ERR_FIELD_VALUE, /* a control byte other than HTAB */
    H1_ERR_FIELD_FOLD,  /* a line that starts with SP or HTAB */
    /* body framing */
    H1_ERR_LENGTH,         /* Content-Length is not 1*19 DIGIT below 2^63 */
    H1_ERR_LENGTH_TWICE,   /* several in a request; several that differ in a response */
    H1_ERR_CODING,         /* Transfer-Encoding is malformed or repeated */
    H1_ERR_CODING_UNKNOWN, /* a well-formed Transfer-Encoding other than "chunked": 501 */
    H1_ERR_CODING_OLD,     /* Transfer-Encoding in HTTP/1.0 */
    H1_ERR_FRAMING_BOTH,   /* Transfer-Encoding and Content-Length */
    H1_ERR_EXPECT,         /* an expectation other than 100-continue: 417 */
    /* responses */
    H1_ERR_STATUS_LINE, /* not "HTTP/1.[01] SP 3DIGIT [SP reason]", or a status below 100 */
    H1_ERR_CNT,         /* number of values, not an error */
};

enum {
    H1_METHOD_MAX = 32, /* bytes */
    H1_OPTIONS_MAX = 64 /* elements of Connection: each is looked for among all fields */
};

struct h1_limits {
    size_t head_max;     /* bytes of the whole head, final empty line included */
    size_t target_max;   /* bytes of the request target */
    unsigned fields_max; /* field lines */
};

/* State of one message being read. Zero it before each message. */
struct h1_parser {
    size_t used;         /* H1_HEAD: bytes of the head, the empty line included */
    enum h1_error error; /* H1_BAD: why */
    /* private: */
    size_t scan;  /* everything before this offset has been looked at */
    size_t line;  /* where the current line starts */
    size_t start; /* 2 when an empty line came first */
    unsigned lines;
};

enum http_method {
    HTTP_METHOD_OTHER = 0, /* any other token: forwarded as it is, never retried */
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_CONNECT, /* always refused */
    HTTP_METHOD_TRACE,   /* always refused */
};

/* How the end of the body is found (RFC 9112 6.3). */
enum h1_body {
    H1_BODY_NONE = 0, /* no byte follows the head */
    H1_BODY_LENGTH,   /* content_length bytes; may be 0 */
    H1_BODY_CHUNKED,
    H1_BODY_CLOSE, /* until the origin closes; responses only */
};

struct h1_request {
    struct str method; /* as received; methods are case-sensitive */
    enum http_method method_id;
    struct str target;    /* as received */
    struct str path;      /* what to forward: "/path?query" byte for byte, or "*" */
    struct str authority; /* effective host[:port]: absolute-form wins over Host; as received */
    struct str host;      /* authority lower-cased, without port and trailing dot; [v6] kept */
    uint16_t port;        /* of authority; 0: none given */
    bool absolute_form;   /* the target carried the authority; scheme_https is then valid */
    bool scheme_https;
    unsigned version_major; /* 1, or 2 (see h2_session.h; version_minor is then 1) */
    unsigned version_minor; /* 0 or 1 (1.2 to 1.9 count as 1.1) */
    /*
     * In order. Host appears exactly once (never in 1.0 without one) and holds `authority`.
     * Content-Length and Transfer-Encoding are still there; the writer ignores both.
     * A name that a CGI-like origin would read as another known one (X_Consent,
     * Content.Length) is marked as removed.
     */
    struct headers headers;
    enum h1_body body; /* NONE, LENGTH or CHUNKED, whatever the method */
    uint64_t content_length;
    bool keep_alive;
    bool expect_continue; /* HTTP/1.1 and "Expect: 100-continue" */
    /*
     * GET, 1.1, no body, Connection: upgrade, Upgrade: websocket; or version_major 2 and CONNECT
     * with :protocol websocket (RFC 8441), which is then a GET here.
     */
    bool upgrade_websocket;
    int32_t max_forwards; /* of OPTIONS; -1: none */
};

struct h1_response {
    unsigned status;        /* 100 to 999 */
    unsigned version_minor; /* 0 or 1 */
    struct str reason;      /* may be empty */
    struct headers headers;
    enum h1_body body; /* NONE for 1xx, 204, 304 and answers to HEAD, whatever the fields say */
    uint64_t content_length; /* of the field, also when body is NONE; see has_length */
    bool has_length;         /* Content-Length was there (once, or the same several times) */
    bool keep_alive;         /* false also when a body was announced that must not be there */
    bool upgrade_websocket;  /* 101 with Connection: upgrade and Upgrade: websocket */
};

/* in: every byte since the message began. *out is written only with H1_HEAD. */
MUST_USE enum h1_status h1_parse_request(struct h1_parser *parser, struct arena *a, struct str in,
                                         const struct h1_limits *limits, struct h1_request *out);

/* head_request: this answers a HEAD. target_max is not used. 1xx answers are heads as well. */
MUST_USE enum h1_status h1_parse_response(struct h1_parser *parser, struct arena *a, struct str in,
                                          const struct h1_limits *limits, bool head_request,
                                          struct h1_response *out);

/* Status to answer a refused request with. (A refused response is always a 502.) */
unsigned h1_error_status(enum h1_error error);

/* One short phrase for the log; holds nothing of the message. */
const char *h1_strerror(enum h1_error error);

/* Id of a method; case-sensitive. */
enum http_method http_method_of(struct str method);

/*
 * Checks uri-host [":" port] (RFC 9110 7.2): reg-name, IPv4 or [IPv6]; no userinfo, list,
 * space or empty host. host_out is a slice of in, case kept; *port_out 0 when there is none.
 */
MUST_USE bool http_host_parse(struct str in, struct str *host_out, uint16_t *port_out);

#endif
