/*
 * redis_sentinel.c - contract in redis_sentinel.h.
 */
#include "redis_sentinel.h"

#include <stdio.h>
#include <string.h>

#define PLAIN_SCHEME "redis+sentinel://"
#define TLS_SCHEME   "rediss+sentinel://"
#define DEFAULT_PORT 26379

bool sentinel_is_url(struct str url)
{
    return str_starts(url, STR(PLAIN_SCHEME)) || str_starts(url, STR(TLS_SCHEME));
}

static bool add_host(struct sentinels *s, struct str host, struct fault *f)
{
    char url[ENDPOINT_HOST_MAX + 32];
    bool has_port = str_find(host, STR(":")) >= 0 && host.ptr[host.len - 1] != ']';

    if (s->cnt == SENTINELS_MAX) {
        fault_set(f, "more than %d sentinels", SENTINELS_MAX);
        return false;
    }
    if (host.len == 0 || host.len > ENDPOINT_HOST_MAX) {
        fault_set(f, "an empty or overlong host among the sentinels");
        return false;
    }
    if (has_port)
        (void)snprintf(url, sizeof(url), "redis%s://%.*s", s->tls ? "s" : "", STR_ARGS(host));
    else
        (void)snprintf(url, sizeof(url), "redis%s://%.*s:%d", s->tls ? "s" : "", STR_ARGS(host),
                       DEFAULT_PORT);
    return endpoint_parse(str_c(url), &s->hosts[s->cnt++], f);
}

bool sentinel_parse(struct str url, struct sentinels *out, struct str *user_info_out,
                    struct fault *f)
{
    size_t scheme =
        str_starts(url, STR(TLS_SCHEME)) ? sizeof(TLS_SCHEME) - 1 : sizeof(PLAIN_SCHEME) - 1;
    struct str rest = str_slice(url, scheme, url.len);
    ptrdiff_t at = str_find(rest, STR("@"));
    ptrdiff_t slash;
    struct str hosts, name, host;

    memset(out, 0, sizeof(*out));
    out->tls = str_starts(url, STR(TLS_SCHEME));
    *user_info_out = str_slice(rest, 0, at < 0 ? 0 : (size_t)at);
    rest = str_slice(rest, at < 0 ? 0 : (size_t)at + 1, rest.len);
    slash = str_find(rest, STR("/"));
    name = str_slice(rest, slash < 0 ? rest.len : (size_t)slash + 1, rest.len);
    if (name.len == 0 || name.len > SENTINEL_NAME_MAX || str_find(name, STR("/")) >= 0) {
        fault_set(f, "expected redis+sentinel://host:port,host:port/name, the name being the one "
                     "that the sentinels monitor the master under");
        return false;
    }
    (void)snprintf(out->name, sizeof(out->name), "%.*s", STR_ARGS(name));
    hosts = str_slice(rest, 0, (size_t)slash);
    do {
        ptrdiff_t comma = str_find(hosts, STR(","));

        host = str_slice(hosts, 0, comma < 0 ? hosts.len : (size_t)comma);
        hosts = str_slice(hosts, comma < 0 ? hosts.len : (size_t)comma + 1, hosts.len);
        if (!add_host(out, host, f))
            return false;
    } while (hosts.len > 0);
    return true;
}

void sentinel_question(const struct sentinels *s, struct str out[SENTINEL_WORDS])
{
    out[0] = STR("SENTINEL");
    out[1] = STR("GET-MASTER-ADDR-BY-NAME");
    out[2] = str_c(s->name);
}

bool sentinel_answer(const struct sentinels *s, const struct resp *reply, struct endpoint *out)
{
    struct str host = resp_str(resp_at(reply, 0));
    struct str port = resp_str(resp_at(reply, 1));
    char url[ENDPOINT_HOST_MAX + 48];
    bool is_v6 = str_find(host, STR(":")) >= 0;

    if (host.len == 0 || host.len >= ENDPOINT_HOST_MAX || port.len == 0 || port.len > 5)
        return false;
    (void)snprintf(url, sizeof(url), "redis%s://%s%.*s%s:%.*s", s->tls ? "s" : "", is_v6 ? "[" : "",
                   STR_ARGS(host), is_v6 ? "]" : "", STR_ARGS(port));
    return endpoint_parse(str_c(url), out, NULL);
}
