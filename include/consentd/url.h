/*
 * url.h - URLs as a browser reads them (WHATWG URL), reduced to what a comparison needs.
 *
 * Not a serialiser: a struct url says where a fetch would go, in one canonical spelling, so
 * that every way to write the same address compares equal:
 *
 *      " \thttps:\\WWW.Ex%61mple.com.:443/a/../b"   ->   https  www.example.com  443  /b
 *
 * Done: trimming of C0 and space, tab/CR/LF inside, `\` as `/`, any number of slashes after a
 * special scheme, scheme-relative and relative references, userinfo, default ports, percent-
 * decoding of hosts, IPv4 in all number forms, IPv6, dot segments (also %2e), and a small UTS 46
 * mapping of hosts (ASCII case, fullwidth forms, the ideographic full stops, characters that are
 * ignored); other non-ASCII labels become punycode. Beyond the standard, path and query have
 * escapes of unreserved characters undone (%6A is j): to a server they are the same.
 *
 * A host which this module cannot bring into a form it is sure of (letters whose mapping is
 * not in the small table, forbidden characters, bad numbers, bad UTF-8) still gives a url, with
 * URL_SUSPECT: a browser may know better, so the caller must treat it as a tracker.
 */
#ifndef CONSENTD_URL_H
#define CONSENTD_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/str.h"

enum {
    URL_MAX = 128 * 1024, /* bytes of a URL that is looked at; longer ones are URL_SUSPECT */
};

enum url_scheme {
    URL_SCHEME_NONE = 0, /* parse failed */
    URL_SCHEME_HTTP,     /* the special schemes: URL_NETWORK */
    URL_SCHEME_HTTPS,
    URL_SCHEME_WS,
    URL_SCHEME_WSS,
    URL_SCHEME_FTP,
    URL_SCHEME_FILE, /* special, but no network */
    URL_SCHEME_DATA, /* not a network fetch; content is in path, which is not canonicalised */
    URL_SCHEME_BLOB,
    URL_SCHEME_JAVASCRIPT,
    URL_SCHEME_ABOUT,
    URL_SCHEME_OTHER, /* mailto:, tel:, x-app: … */
};

enum url_flag {
    URL_SUSPECT = 1 << 0,  /* host or form is in doubt: treat as a tracker */
    URL_NETWORK = 1 << 1,  /* http, https, ws, wss, ftp: a fetch goes to host */
    URL_HOST_IP = 1 << 2,  /* host is an IPv4 address, or IPv6 in brackets */
    URL_USERINFO = 1 << 3, /* had user@ or user:password@ (left out) */
    URL_RELATIVE = 1 << 4, /* host was taken from the base */
};

struct url {
    enum url_scheme scheme;
    uint16_t port;  /* effective port: the default of the scheme when none is written; 0: none */
    unsigned flags; /* enum url_flag */
    struct str
        host; /* lower-case, ASCII/punycode or IP, no trailing dot; empty without a network */
    struct str path;  /* starts with '/' for special schemes; opaque text for others */
    struct str query; /* without '?'; the fragment is dropped */
};

/*
 * Parses in against base (NULL or a result of this function with a special scheme). All slices
 * live in the arena or are static.
 *
 * False: a browser would not fetch anything (a relative reference without a usable base, an invalid
 * port, an empty host); *out then has URL_SCHEME_NONE, and URL_SUSPECT if that is not
 * certain (too long, arena full).
 */
bool url_parse(struct str in, const struct url *base, struct arena *a, struct url *out);

/*
 * The canonical form of a host alone (from a rule file or a configuration): the same mapping.
 * False when it is not a host or in doubt. host_out lives in the arena.
 */
MUST_USE bool url_host_canonical(struct str in, struct arena *a, struct str *host_out);

/* True when host is domain itself or below it ("a.b.com" in "b.com"); both canonical. */
bool url_host_in(struct str host, struct str domain);

/*
 * Takes the next name=value off a query ("a=1&b"); no decoding. False at the end.
 */
bool url_query_next(struct str *rest, struct str *name_out, struct str *value_out);

#endif
