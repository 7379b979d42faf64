/*
 * h1_response.c - the response head; contract in consentd/h1_parse.h.
 */
#include <string.h>

#include "consentd/chars.h"
#include "consentd/h1_parse.h"
#include "h1_priv.h"

#define VERSION "HTTP/1." /* and 0 or 1 */

enum { VERSION_LEN = sizeof(VERSION) - 1, STATUS_END = 12 /* bytes of "HTTP/1.1 200" */ };

/* RFC 9112 4. The space behind the code may be missing when there is no reason: many do that. */
static enum h1_error parse_line(const struct h1_text *text, struct h1_response *out)
{
    struct str line = str_slice(text->text, 0, text->fields - 2);
    const char *p = line.ptr;
    uint64_t status;

    if (line.len < STATUS_END || memcmp(p, VERSION, VERSION_LEN) != 0 ||
        (p[7] != '0' && p[7] != '1') || p[8] != ' ' ||
        !str_to_u64(str_slice(line, 9, 3), 999, &status) || status < 100)
        return H1_ERR_STATUS_LINE;
    out->version_minor = p[7] == '1';
    out->status = (unsigned)status;
    if (line.len == STATUS_END)
        return H1_ERR_NONE;
    out->reason = str_slice(line, STATUS_END + 1, line.len);
    if (p[STATUS_END] != ' ' || chars_span(out->reason, CHAR_VALUE) != out->reason.len)
        return H1_ERR_STATUS_LINE;
    return H1_ERR_NONE;
}

/* RFC 9112 6.3, rules 1 to 8. */
static void set_body(struct h1_response *out, const struct h1_lengths *lengths, bool head_request)
{
    bool interim = out->status < 200 || out->status == 204;

    out->content_length = lengths->length;
    out->has_length = lengths->has_length;
    if (interim || out->status == 304 || head_request)
        out->body = H1_BODY_NONE;
    else if (lengths->chunked)
        out->body = H1_BODY_CHUNKED;
    else if (lengths->has_length)
        out->body = H1_BODY_LENGTH;
    else
        out->body = H1_BODY_CLOSE;
    if (out->body == H1_BODY_CLOSE)
        out->keep_alive = false;
    /* An origin that announces a body here may send it: its bytes must not start an answer. */
    if (interim && (lengths->chunked || lengths->length > 0))
        out->keep_alive = false;
}

static enum h1_error parse_head(const struct h1_text *text, bool head_request,
                                struct h1_response *out)
{
    struct h1_lengths lengths;
    enum h1_error error = parse_line(text, out);

    if (error == H1_ERR_NONE)
        error = h1_fields(text, &out->headers);
    if (error == H1_ERR_NONE)
        error = h1_lengths(&out->headers, out->version_minor, true, &lengths);
    if (error == H1_ERR_NONE)
        error = h1_keep_alive(&out->headers, out->version_minor, &out->keep_alive);
    if (error != H1_ERR_NONE)
        return error;
    out->upgrade_websocket = out->status == 101 && h1_wants_websocket(&out->headers);
    set_body(out, &lengths, head_request);
    return H1_ERR_NONE;
}

enum h1_status h1_parse_response(struct h1_parser *parser, struct arena *a, struct str in,
                                 const struct h1_limits *limits, bool head_request,
                                 struct h1_response *out)
{
    struct h1_text text;
    struct h1_response response = {0};
    enum h1_status status;

    /* What cannot become an answer is not waited for. */
    if (parser->lines == 0 &&
        memcmp(in.ptr, VERSION, in.len < VERSION_LEN ? in.len : VERSION_LEN) != 0)
        parser->error = H1_ERR_STATUS_LINE;
    status = h1_scan(parser, in, limits, 0);
    if (status != H1_HEAD)
        return status;
    parser->error = h1_text_take(parser, a, in, &text);
    if (parser->error == H1_ERR_NONE)
        parser->error = parse_head(&text, head_request, &response);
    if (parser->error != H1_ERR_NONE)
        return H1_BAD;
    *out = response;
    return H1_HEAD;
}
