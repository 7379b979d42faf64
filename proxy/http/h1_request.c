/*
 * h1_request.c - the request head; contract in consentd/h1_parse.h.
 */
#include <arpa/inet.h>
#include <string.h>

#include "consentd/chars.h"
#include "consentd/h1_parse.h"
#include "h1_priv.h"

enum {
    HOST_MAX = 255,   /* bytes of a host name (RFC 1035) */
    ALIAS_MAX = 40,   /* longer than any known name */
    VERSION_LEN = 8,  /* "HTTP/1.1" */
    HOPS_MAX = 100000 /* Max-Forwards above this counts as none */
};

enum http_method http_method_of(struct str method)
{
    static const struct {
        struct str name;
        enum http_method id;
    } methods[] = {
        {STR_INIT("GET"), HTTP_METHOD_GET},       {STR_INIT("HEAD"), HTTP_METHOD_HEAD},
        {STR_INIT("POST"), HTTP_METHOD_POST},     {STR_INIT("PUT"), HTTP_METHOD_PUT},
        {STR_INIT("DELETE"), HTTP_METHOD_DELETE}, {STR_INIT("OPTIONS"), HTTP_METHOD_OPTIONS},
        {STR_INIT("PATCH"), HTTP_METHOD_PATCH},   {STR_INIT("CONNECT"), HTTP_METHOD_CONNECT},
        {STR_INIT("TRACE"), HTTP_METHOD_TRACE},
    };

    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        if (str_eq(method, methods[i].name))
            return methods[i].id;
    }
    return HTTP_METHOD_OTHER;
}

/* [IPv6] at the start of in; the length with brackets, or 0. */
static size_t ip6_len(struct str in)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    ptrdiff_t end = str_find_char(in, ']');

    if (end < 2 || (size_t)end > sizeof(text))
        return 0;
    memcpy(text, in.ptr + 1, (size_t)end - 1);
    text[end - 1] = '\0';
    return inet_pton(AF_INET6, text, &addr) == 1 ? (size_t)end + 1 : 0;
}

bool http_host_parse(struct str in, struct str *host_out, uint16_t *port_out)
{
    bool ip6 = in.len > 0 && in.ptr[0] == '[';
    /* Stricter than RFC 3986: sub-delims and escapes in a host are how lists and userinfo hide. */
    size_t len = ip6 ? ip6_len(in) : chars_span(in, CHAR_UNRESERVED);
    uint64_t port;

    *port_out = 0;
    *host_out = str_slice(in, 0, len);
    if (len == 0 || len > HOST_MAX || in.ptr[0] == '.' || str_find(*host_out, STR("..")) >= 0)
        return false;
    if (len == in.len)
        return true;
    if (in.ptr[len] != ':' || in.len - len > 6 ||
        !str_to_u64(str_slice(in, len + 1, in.len), UINT16_MAX, &port) || port == 0)
        return false;
    *port_out = (uint16_t)port;
    return true;
}

static enum h1_error parse_version(struct str version, struct h1_request *out)
{
    const char *p = version.ptr;

    if (str_find_char(version, ' ') >= 0)
        return H1_ERR_REQUEST_LINE;
    if (version.len != VERSION_LEN || memcmp(p, "HTTP/", 5) != 0 || !char_is(p[5], CHAR_DIGIT) ||
        p[6] != '.' || !char_is(p[7], CHAR_DIGIT) || p[5] == '0')
        return H1_ERR_VERSION;
    if (p[5] != '1')
        return H1_ERR_VERSION_MAJOR;
    out->version_minor = p[7] != '0'; /* RFC 9110 2.5: 1.x with x > 1 is read as 1.1 */
    return H1_ERR_NONE;
}

/* RFC 9112 3: method SP request-target SP HTTP-version CR LF, and no other white space. */
static enum h1_error parse_line(struct str line, size_t target_max, struct h1_request *out)
{
    struct str rest = str_slice(line, 0, line.len - 2);

    out->method = str_slice(rest, 0, chars_span(rest, CHAR_TOKEN));
    rest = str_slice(rest, out->method.len, rest.len);
    if (out->method.len == 0 || (rest.len > 0 && rest.ptr[0] != ' '))
        return H1_ERR_METHOD;
    if (out->method.len > H1_METHOD_MAX)
        return H1_ERR_METHOD_SIZE;
    rest = str_slice(rest, 1, rest.len);
    out->target = str_slice(rest, 0, chars_span(rest, CHAR_TARGET));
    if (out->target.len == 0)
        return H1_ERR_REQUEST_LINE;
    if (out->target.len > target_max)
        return H1_ERR_TARGET_SIZE;
    rest = str_slice(rest, out->target.len, rest.len);
    if (rest.len == 0)
        return H1_ERR_VERSION; /* HTTP/0.9 */
    if (rest.ptr[0] != ' ')
        return H1_ERR_TARGET;
    out->method_id = http_method_of(out->method);
    return parse_version(str_slice(rest, 1, rest.len), out);
}

enum h1_error h1_request_line(struct str line, size_t target_max)
{
    struct h1_request ignored = {0};

    return parse_line(line, target_max, &ignored);
}

/* "http://authority/path?query": the path, made complete when it is not. */
static enum h1_error parse_absolute(struct arena *a, struct str rest, struct h1_request *out)
{
    size_t len = 0;
    char *path;

    while (len < rest.len && rest.ptr[len] != '/' && rest.ptr[len] != '?')
        len++;
    out->absolute_form = true;
    out->authority = str_slice(rest, 0, len);
    out->path = str_slice(rest, len, rest.len);
    if (out->path.len == 0) /* RFC 9112 3.2.4 for OPTIONS */
        out->path = out->method_id == HTTP_METHOD_OPTIONS ? STR("*") : STR("/");
    if (out->path.ptr[0] != '?')
        return H1_ERR_NONE;
    path = arena_alloc(a, out->path.len + 1);
    if (path == NULL)
        return H1_ERR_HEAD_SIZE;
    path[0] = '/';
    memcpy(path + 1, out->path.ptr, out->path.len);
    out->path = str_make(path, out->path.len + 1);
    return H1_ERR_NONE;
}

static enum h1_error parse_target(struct arena *a, struct h1_request *out)
{
    struct str target = out->target;

    if (out->method_id == HTTP_METHOD_CONNECT || out->method_id == HTTP_METHOD_TRACE)
        return H1_ERR_METHOD_DENIED;
    out->path = target;
    if (target.ptr[0] == '/')
        return H1_ERR_NONE;
    if (str_eq_c(target, "*"))
        return out->method_id == HTTP_METHOD_OPTIONS ? H1_ERR_NONE : H1_ERR_TARGET;
    if (str_starts_fold(target, STR("http://")))
        return parse_absolute(a, str_slice(target, 7, target.len), out);
    if (!str_starts_fold(target, STR("https://")))
        return H1_ERR_TARGET;
    out->scheme_https = true;
    return parse_absolute(a, str_slice(target, 8, target.len), out);
}

/* out->host: lower case, without the dot that ends a fully qualified name. */
static enum h1_error set_host(struct arena *a, struct h1_request *out)
{
    struct str host;
    char *copy;

    if (!http_host_parse(out->authority, &host, &out->port))
        return H1_ERR_HOST;
    if (host.ptr[host.len - 1] == '.')
        host.len--;
    copy = arena_alloc(a, host.len);
    if (copy == NULL)
        return H1_ERR_HEAD_SIZE;
    for (size_t i = 0; i < host.len; i++)
        copy[i] = ascii_lower(host.ptr[i]);
    out->host = str_make(copy, host.len);
    return H1_ERR_NONE;
}

/* RFC 9112 3.2: one valid Host; an absolute target replaces it. */
static enum h1_error check_host(struct arena *a, struct h1_request *out)
{
    unsigned iter = 0;
    struct header *field = headers_next(&out->headers, HDR_HOST, &iter);
    struct str ignored;

    if (field == NULL && out->version_minor > 0)
        return H1_ERR_HOST_MISSING;
    if (field != NULL && headers_next(&out->headers, HDR_HOST, &iter) != NULL)
        return H1_ERR_HOST_TWICE;
    if (field != NULL && !http_host_parse(field->value, &ignored, &out->port))
        return H1_ERR_HOST;
    if (!out->absolute_form && field == NULL)
        return H1_ERR_NONE;
    if (!out->absolute_form)
        out->authority = field->value;
    else if (!headers_set(&out->headers, a, HDR_HOST, out->authority))
        return H1_ERR_HEAD_SIZE;
    return set_host(a, out);
}

/*
 * CGI-like origins turn every byte of a name that is no letter or digit into '_', so that
 * X_Consent is X-Consent to them. Such a look-alike of a known name is dropped.
 */
static void drop_aliases(struct headers *h)
{
    for (unsigned i = 0; i < h->cnt; i++) {
        struct str name = h->items[i].name;
        char alias[ALIAS_MAX];

        if (h->items[i].id != HDR_OTHER || name.len > sizeof(alias))
            continue;
        for (size_t k = 0; k < name.len; k++)
            alias[k] = ascii_is_alnum(name.ptr[k]) ? name.ptr[k] : '-';
        if (header_id_of(str_make(alias, name.len)) != HDR_OTHER)
            h->items[i].removed = true;
    }
}

/* RFC 9110 10.1.1: a list, in one field or several; HTTP/1.0 clients cannot mean it. */
static enum h1_error check_expect(struct h1_request *out)
{
    unsigned iter = 0;
    const struct header *item;

    if (out->version_minor == 0)
        return H1_ERR_NONE;
    while ((item = headers_next(&out->headers, HDR_EXPECT, &iter)) != NULL) {
        struct str rest = item->value;
        struct str one;

        while (header_list_next(&rest, &one)) {
            if (!str_eq_fold_c(one, "100-continue"))
                return H1_ERR_EXPECT;
            out->expect_continue = true;
        }
    }
    return H1_ERR_NONE;
}

static enum h1_error check_framing(struct h1_request *out)
{
    struct h1_lengths lengths;
    enum h1_error error = h1_lengths(&out->headers, out->version_minor, false, &lengths);
    uint64_t hops;

    if (error != H1_ERR_NONE)
        return error;
    if (lengths.chunked)
        out->body = H1_BODY_CHUNKED;
    else if (lengths.has_length)
        out->body = H1_BODY_LENGTH;
    out->content_length = lengths.length;
    out->upgrade_websocket = out->method_id == HTTP_METHOD_GET && out->version_minor > 0 &&
                             !lengths.chunked && lengths.length == 0 &&
                             h1_wants_websocket(&out->headers);
    out->max_forwards = -1;
    if (out->method_id == HTTP_METHOD_OPTIONS &&
        str_to_u64(headers_value(&out->headers, HDR_MAX_FORWARDS), HOPS_MAX, &hops))
        out->max_forwards = (int32_t)hops;
    error = h1_keep_alive(&out->headers, out->version_minor, &out->keep_alive);
    return error == H1_ERR_NONE ? check_expect(out) : error;
}

enum h1_error h1_request_check(struct arena *a, struct h1_request *req)
{
    enum h1_error error = parse_target(a, req);

    if (error == H1_ERR_NONE)
        error = check_host(a, req);
    if (error != H1_ERR_NONE)
        return error;
    drop_aliases(&req->headers);
    return check_framing(req);
}

static enum h1_error parse_head(const struct h1_text *text, const struct h1_limits *limits,
                                struct h1_request *out)
{
    enum h1_error error =
        parse_line(str_slice(text->text, 0, text->fields), limits->target_max, out);

    out->version_major = 1;
    if (error == H1_ERR_NONE)
        error = h1_fields(text, &out->headers);
    return error == H1_ERR_NONE ? h1_request_check(text->arena, out) : error;
}

enum h1_status h1_parse_request(struct h1_parser *parser, struct arena *a, struct str in,
                                const struct h1_limits *limits, struct h1_request *out)
{
    struct h1_text text;
    struct h1_request request = {0};
    enum h1_status status;

    /* What cannot become a method (a TLS record) is not waited for. */
    if (parser->scan == 0 && in.len > 0 && !char_is(in.ptr[0], CHAR_TOKEN) && in.ptr[0] != '\r' &&
        in.ptr[0] != '\n')
        parser->error = H1_ERR_METHOD;
    status = h1_scan(parser, in, limits, limits->target_max + H1_LINE_EXTRA);
    if (status != H1_HEAD)
        return status;
    parser->error = h1_text_take(parser, a, in, &text);
    if (parser->error == H1_ERR_NONE)
        parser->error = parse_head(&text, limits, &request);
    if (parser->error != H1_ERR_NONE)
        return H1_BAD;
    *out = request;
    return H1_HEAD;
}
