/*
 * endpoint.h - where a connection goes, from a URL of the configuration. layer: net
 *
 *   http://host[:80]   https://host[:443]   unix:/path
 *   redis://host[:6379]   rediss://host[:6379]        hosts: name, IPv4 or [IPv6]
 *
 * Pure: no look-up happens here. A path, query or user-info is refused, except by
 * endpoint_parse_rest(), which hands them to the caller.
 */
#ifndef CONSENTD_ENDPOINT_H
#define CONSENTD_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define ENDPOINT_HOST_MAX 256 /* bytes of a host name with its NUL */
#define ENDPOINT_PATH_MAX 108 /* bytes of a socket path with its NUL (sun_path) */

struct endpoint {
    bool is_unix;                 /* path is the socket; host is empty */
    bool tls;                     /* the scheme asks for TLS */
    uint16_t port;                /* 1-65535 for TCP */
    char host[ENDPOINT_HOST_MAX]; /* without brackets */
    char path[ENDPOINT_PATH_MAX];
};

/* False with what is wrong and what would be right; *out is then not to be used. */
MUST_USE bool endpoint_parse(struct str url, struct endpoint *out, struct fault *f);

/*
 * The same, but accepts "user:password@" in front of the host and "/database" behind it:
 * *user_info_out and *path_out get them as written, without '@' and '/'; empty when absent.
 */
MUST_USE bool endpoint_parse_rest(struct str url, struct endpoint *out, struct str *user_info_out,
                                  struct str *path_out, struct fault *f);

/* True when the host is a name, which has to be looked up. */
bool endpoint_is_name(const struct endpoint *ep);

#endif
