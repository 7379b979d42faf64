/*
 * endpoint.c - contract in consentd/endpoint.h.
 */
#include "consentd/endpoint.h"

#include <arpa/inet.h>
#include <string.h>

static const struct {
    const char *scheme;
    uint16_t port;
    bool tls;
} schemes[] = {
    {"http://", 80, false},
    {"https://", 443, true},
    {"redis://", 6379, false},
    {"rediss://", 6379, true},
};

static bool parse_unix(struct str url, struct endpoint *out, struct fault *f)
{
    struct str path = str_slice(url, 5, url.len);

    if (path.len == 0 || path.ptr[0] != '/' || path.len >= sizeof(out->path)) {
        fault_set(f, "\"%.*s\": expected unix:/path of at most %zu bytes", STR_ARGS(url),
                  sizeof(out->path) - 1);
        return false;
    }
    out->is_unix = true;
    memcpy(out->path, path.ptr, path.len);
    return true;
}

static bool host_bytes_ok(struct str host, bool bracketed)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];

        if (!ascii_is_alnum(c) && c != '.' && c != '-' && c != '_' && !(bracketed && c == ':'))
            return false;
    }
    return host.len > 0;
}

/* host[:port] or [v6][:port] */
static bool parse_authority(struct str in, struct endpoint *out)
{
    bool bracketed = in.len > 0 && in.ptr[0] == '[';
    ptrdiff_t end = bracketed ? str_find_char(in, ']') : str_find_char(in, ':');
    struct str host, rest;
    uint64_t port;

    if (bracketed && end < 0)
        return false;
    if (bracketed) {
        host = str_slice(in, 1, (size_t)end - 1);
        rest = str_slice(in, (size_t)end + 1, in.len);
    } else {
        host = end < 0 ? in : str_slice(in, 0, (size_t)end);
        rest = end < 0 ? STR("") : str_slice(in, (size_t)end, in.len);
    }
    if (!host_bytes_ok(host, bracketed) || host.len >= sizeof(out->host))
        return false;
    memcpy(out->host, host.ptr, host.len);
    if (rest.len == 0)
        return true;
    if (rest.ptr[0] != ':' || !str_to_u64(str_slice(rest, 1, rest.len), 65535, &port) || port == 0)
        return false;
    out->port = (uint16_t)port;
    return true;
}

bool endpoint_parse_rest(struct str url, struct endpoint *out, struct str *user_info_out,
                         struct str *path_out, struct fault *f)
{
    memset(out, 0, sizeof(*out));
    *user_info_out = *path_out = STR("");
    if (str_starts(url, STR("unix:")))
        return parse_unix(url, out, f);
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        struct str scheme = str_c(schemes[i].scheme);
        struct str rest = str_slice(url, scheme.len, url.len);
        ptrdiff_t at;

        if (!str_starts_fold(url, scheme))
            continue;
        out->port = schemes[i].port;
        out->tls = schemes[i].tls;
        at = str_find_char(rest, '/');
        if (at >= 0) {
            *path_out = str_slice(rest, (size_t)at + 1, rest.len);
            rest = str_slice(rest, 0, (size_t)at);
        }
        at = str_find_last_char(rest, '@');
        if (at >= 0) {
            *user_info_out = str_slice(rest, 0, (size_t)at);
            rest = str_slice(rest, (size_t)at + 1, rest.len);
        }
        if (parse_authority(rest, out))
            return true;
        break;
    }
    fault_set(f, "not an address: expected http://HOST[:PORT], https://HOST[:PORT], "
                 "redis://HOST[:PORT], rediss://HOST[:PORT] or unix:/PATH");
    return false;
}

bool endpoint_parse(struct str url, struct endpoint *out, struct fault *f)
{
    struct str user_info, path;

    if (!endpoint_parse_rest(url, out, &user_info, &path, f))
        return false;
    if (user_info.len == 0 && path.len == 0)
        return true;
    fault_set(f, "\"%.*s\": expected no user and no path, only scheme, host and port",
              STR_ARGS(url));
    return false;
}

bool endpoint_is_name(const struct endpoint *ep)
{
    struct in6_addr address; /* the larger of the two */

    return !ep->is_unix && inet_pton(AF_INET, ep->host, &address) != 1 &&
           inet_pton(AF_INET6, ep->host, &address) != 1;
}
