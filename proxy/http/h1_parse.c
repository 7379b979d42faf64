/*
 * h1_parse.c - what requests and responses have in common; contract in consentd/h1_parse.h.
 *
 * Two steps. h1_scan() hops from LF to LF and stops at the empty line: it is all that runs
 * while bytes trickle in, and it never looks at a byte twice. Then the head is copied once
 * and taken apart in one go, with the final CR LF as a sentinel behind every loop.
 */
#include "consentd/h1_parse.h"

#include <string.h>

#include "consentd/chars.h"
#include "h1_priv.h"
#include "headers_priv.h"

enum {
    FIELDS_SPARE = 12,     /* room for what the proxy adds, without moving the array */
    LENGTH_DIGITS_MAX = 19 /* of Content-Length: 2^63 - 1 has 19 */
};

/* A line ends at offset lf. H1_HEAD: it was the empty one. */
static enum h1_status scan_line(struct h1_parser *parser, struct str in, size_t lf,
                                const struct h1_limits *limits, bool is_request)
{
    size_t len = lf - parser->line;

    if (len == 0 || in.ptr[lf - 1] != '\r') {
        parser->error = H1_ERR_LINE_END; /* RFC 9112 2.2 allows a bare LF; we do not */
        return H1_BAD;
    }
    parser->line = parser->scan = lf + 1;
    if (len == 1 && parser->lines > 0) {
        parser->used = lf + 1;
        return H1_HEAD;
    }
    if (len == 1) { /* RFC 9112 2.2: an empty line left over by an old client's POST */
        parser->error = !is_request || parser->start != 0 ? H1_ERR_EMPTY_LINES : H1_ERR_NONE;
        parser->start = 2;
        return parser->error == H1_ERR_NONE ? H1_MORE : H1_BAD;
    }
    if (is_request && parser->lines == 0) /* what is no request is not waited for */
        parser->error = h1_request_line(str_slice(in, parser->start, lf + 1 - parser->start),
                                        limits->target_max);
    if (parser->lines++ > limits->fields_max)
        parser->error = H1_ERR_FIELD_CNT;
    return parser->error == H1_ERR_NONE ? H1_MORE : H1_BAD;
}

/* Limits at offset end, the last byte looked at. */
static enum h1_error scan_limits(const struct h1_parser *parser, size_t end,
                                 const struct h1_limits *limits, size_t first_line_max)
{
    if (first_line_max > 0 && parser->lines == 0 && end - parser->line > first_line_max)
        return H1_ERR_TARGET_SIZE;
    return end > limits->head_max ? H1_ERR_HEAD_SIZE : H1_ERR_NONE;
}

enum h1_status h1_scan(struct h1_parser *parser, struct str in, const struct h1_limits *limits,
                       size_t first_line_max)
{
    enum h1_status status = H1_MORE;

    if (parser->error != H1_ERR_NONE)
        return H1_BAD;
    while (status == H1_MORE && parser->scan < in.len) {
        const char *lf = memchr(in.ptr + parser->scan, '\n', in.len - parser->scan);
        size_t end = lf != NULL ? (size_t)(lf - in.ptr) + 1 : in.len;

        parser->error = scan_limits(parser, end, limits, first_line_max);
        if (parser->error != H1_ERR_NONE)
            return H1_BAD;
        parser->scan = end;
        if (lf == NULL)
            break;
        status = scan_line(parser, in, end - 1, limits, first_line_max > 0);
    }
    return status;
}

enum h1_error h1_text_take(const struct h1_parser *parser, struct arena *a, struct str in,
                           struct h1_text *out)
{
    const char *lf;

    out->arena = a;
    out->text.len = parser->used - parser->start;
    out->text.ptr = arena_copy(a, in.ptr + parser->start, out->text.len);
    if (out->text.ptr == NULL)
        return H1_ERR_HEAD_SIZE;
    lf = memchr(out->text.ptr, '\n', out->text.len);
    out->fields = (size_t)(lf - out->text.ptr) + 1;
    out->field_cnt = parser->lines - 1;
    return H1_ERR_NONE;
}

/* One field line at *at; moves *at to the next line. */
static enum h1_error parse_field(const struct str *text, size_t *at, struct headers *headers)
{
    const char *p = text->ptr + *at;
    const char *value;
    size_t name_len = 0;
    size_t len;

    while (char_is(p[name_len], CHAR_TOKEN))
        name_len++;
    if (p[name_len] != ':' || name_len == 0) {
        if (*p == ' ' || *p == '\t')
            return H1_ERR_FIELD_FOLD; /* RFC 9112 5.2 */
        return H1_ERR_FIELD_NAME;     /* 5.1: also white space before the colon */
    }
    value = p + name_len + 1;
    while (*value == ' ' || *value == '\t')
        value++;
    for (len = 0; char_is(value[len], CHAR_VALUE);)
        len++;
    if (value[len] != '\r' || value[len + 1] != '\n')
        return value[len] == '\r' || value[len] == '\0' ? H1_ERR_LINE_END : H1_ERR_FIELD_VALUE;
    *at = (size_t)(value + len + 2 - text->ptr);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    headers_push(headers, header_id_of(str_make(p, name_len)), str_make(p, name_len),
                 str_make(value, len));
    return H1_ERR_NONE;
}

enum h1_error h1_fields(const struct h1_text *text, struct headers *headers)
{
    unsigned cap = text->field_cnt + FIELDS_SPARE;
    struct header *items = arena_alloc(text->arena, cap * sizeof(*items));
    enum h1_error error = H1_ERR_NONE;
    size_t at = text->fields;

    if (items == NULL)
        return H1_ERR_HEAD_SIZE;
    headers_init(headers, items, cap);
    for (unsigned i = 0; i < text->field_cnt && error == H1_ERR_NONE; i++)
        error = parse_field(&text->text, &at, headers);
    return error;
}

/* RFC 9112 6.1, read so that nobody can read it otherwise: one field, "chunked", nothing else. */
static enum h1_error check_coding(const struct headers *h, unsigned version_minor)
{
    unsigned iter = 0;
    struct str value = headers_next(h, HDR_TRANSFER_ENCODING, &iter)->value;
    struct str element;

    if (headers_next(h, HDR_TRANSFER_ENCODING, &iter) != NULL)
        return H1_ERR_CODING;
    if (version_minor == 0)
        return H1_ERR_CODING_OLD;
    if (str_eq_fold_c(value, "chunked"))
        return H1_ERR_NONE;
    while (str_cut(&value, ',', &element)) {
        if (!chars_all(str_trim(element), CHAR_TOKEN))
            return H1_ERR_CODING;
    }
    return H1_ERR_CODING_UNKNOWN;
}

enum h1_error h1_lengths(const struct headers *h, unsigned version_minor, bool same_twice_ok,
                         struct h1_lengths *out)
{
    unsigned iter = 0;
    const struct header *item;

    *out = (struct h1_lengths){0};
    while ((item = headers_next(h, HDR_CONTENT_LENGTH, &iter)) != NULL) {
        uint64_t length;

        if (item->value.len > LENGTH_DIGITS_MAX || !str_to_u64(item->value, INT64_MAX, &length))
            return H1_ERR_LENGTH;
        if (out->has_length && (!same_twice_ok || length != out->length))
            return H1_ERR_LENGTH_TWICE;
        out->has_length = true;
        out->length = length;
    }
    if (headers_find(h, HDR_TRANSFER_ENCODING) == NULL)
        return H1_ERR_NONE;
    out->chunked = true;
    if (out->has_length)
        return H1_ERR_FRAMING_BOTH; /* RFC 9112 6.3: "ought to be handled as an error" */
    return check_coding(h, version_minor);
}

static bool has_too_many_options(const struct headers *h)
{
    unsigned iter = 0;
    unsigned cnt = 0;
    const struct header *item;

    while ((item = headers_next(h, HDR_CONNECTION, &iter)) != NULL) {
        struct str rest = item->value;
        struct str option;

        while (header_list_next(&rest, &option))
            cnt++;
    }
    return cnt > H1_OPTIONS_MAX;
}

enum h1_error h1_keep_alive(const struct headers *h, unsigned version_minor, bool *keep_out)
{
    *keep_out = version_minor > 0;
    if (!headers_may_have(h, HDR_CONNECTION))
        return H1_ERR_NONE;
    if (has_too_many_options(h))
        return H1_ERR_FIELD_CNT;
    if (headers_has_token(h, HDR_CONNECTION, "close"))
        *keep_out = false;
    else if (headers_has_token(h, HDR_CONNECTION, "keep-alive"))
        *keep_out = true;
    return H1_ERR_NONE;
}

bool h1_wants_websocket(const struct headers *h)
{
    unsigned iter = 0;
    const struct header *upgrade = headers_next(h, HDR_UPGRADE, &iter);

    return upgrade != NULL && str_eq_fold_c(upgrade->value, "websocket") &&
           headers_next(h, HDR_UPGRADE, &iter) == NULL &&
           headers_has_token(h, HDR_CONNECTION, "upgrade");
}

static const struct {
    unsigned status;
    const char *text;
} errors[H1_ERR_CNT] = {
    [H1_ERR_NONE] = {400, "no error"},
    [H1_ERR_LINE_END] = {400, "bare LF, CR or NUL in the head"},
    [H1_ERR_HEAD_SIZE] = {431, "head too large"},
    [H1_ERR_FIELD_CNT] = {431, "too many fields"},
    [H1_ERR_EMPTY_LINES] = {400, "empty lines before the first line"},
    [H1_ERR_REQUEST_LINE] = {400, "malformed request line"},
    [H1_ERR_METHOD] = {400, "method is not a token"},
    [H1_ERR_METHOD_SIZE] = {501, "method too long"},
    [H1_ERR_METHOD_DENIED] = {405, "method not allowed"},
    [H1_ERR_TARGET] = {400, "malformed target"},
    [H1_ERR_TARGET_SIZE] = {414, "target too long"},
    [H1_ERR_VERSION] = {400, "malformed or missing version"},
    [H1_ERR_VERSION_MAJOR] = {505, "version not supported"},
    [H1_ERR_PROTOCOL] = {501, "protocol not supported"},
    [H1_ERR_HOST_MISSING] = {400, "no Host"},
    [H1_ERR_HOST_TWICE] = {400, "more than one Host"},
    [H1_ERR_HOST] = {400, "malformed Host or authority"},
    [H1_ERR_FIELD_NAME] = {400, "malformed field name"},
    [H1_ERR_FIELD_VALUE] = {400, "control byte in a field value"},
    [H1_ERR_FIELD_FOLD] = {400, "folded field line"},
    [H1_ERR_LENGTH] = {400, "malformed Content-Length"},
    [H1_ERR_LENGTH_TWICE] = {400, "more than one Content-Length"},
    [H1_ERR_CODING] = {400, "malformed Transfer-Encoding"},
    [H1_ERR_CODING_UNKNOWN] = {501, "transfer coding not supported"},
    [H1_ERR_CODING_OLD] = {400, "Transfer-Encoding in HTTP/1.0"},
    [H1_ERR_FRAMING_BOTH] = {400, "Transfer-Encoding and Content-Length"},
    [H1_ERR_EXPECT] = {417, "unknown expectation"},
    [H1_ERR_STATUS_LINE] = {502, "malformed status line"},
};

unsigned h1_error_status(enum h1_error error)
{
    return errors[error].status;
}

const char *h1_strerror(enum h1_error error)
{
    return errors[error].text;
}
