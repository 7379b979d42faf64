/*
 * proxy_proto.c - contract in consentd/proxy_proto.h. Section numbers are the specification's.
 */
#include "consentd/proxy_proto.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "consentd/crypto.h"

#define V2_HEAD    16 /* signature, command, family, length */
#define V2_INET    12 /* bytes of the address block, by family */
#define V2_INET6   36
#define V2_UNIX    216
#define TLV_HEAD   3 /* type and length */
#define TLV_CRC32C 0x03

static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

/* --- version 1: a line of words (2.1) --- */

/* One word up to a single space, or to the end for the last one. */
static bool next_word(struct str *rest, struct str *out)
{
    ptrdiff_t space = str_find_char(*rest, ' ');
    size_t len = space < 0 ? rest->len : (size_t)space;

    *out = str_slice(*rest, 0, len);
    *rest = str_slice(*rest, space < 0 ? len : len + 1, rest->len);
    return out->len > 0;
}

static bool read_port(struct str word, uint16_t *out)
{
    uint64_t number;

    if (word.len > 1 && word.ptr[0] == '0') /* no leading zeroes (2.1) */
        return false;
    if (!str_to_u64(word, UINT16_MAX, &number))
        return false;
    *out = (uint16_t)number;
    return true;
}

static bool read_address(struct str word, int family, void *out)
{
    char text[INET6_ADDRSTRLEN];

    if (word.len >= sizeof(text))
        return false;
    memcpy(text, word.ptr, word.len);
    text[word.len] = '\0';
    return inet_pton(family, text, out) == 1;
}

static void set_inet(struct proxy_proto *out, const void *address, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    memcpy(&in.sin_addr, address, sizeof(in.sin_addr));
    memcpy(&out->client, &in, sizeof(in));
    out->client_len = sizeof(in);
}

static void set_inet6(struct proxy_proto *out, const void *address, uint16_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    memcpy(&in6.sin6_addr, address, sizeof(in6.sin6_addr));
    memcpy(&out->client, &in6, sizeof(in6));
    out->client_len = sizeof(in6);
}

/* "TCP4 src dst sport dport": all four must be right, though only the source is used. */
static bool read_addresses(struct str line, int family, struct proxy_proto *out)
{
    uint8_t from[16], to[16];
    uint16_t from_port, to_port;
    struct str word;

    if (!next_word(&line, &word) || !read_address(word, family, from) || !next_word(&line, &word) ||
        !read_address(word, family, to) || !next_word(&line, &word) ||
        !read_port(word, &from_port) || !next_word(&line, &word) || !read_port(word, &to_port) ||
        line.len > 0)
        return false;
    if (family == AF_INET)
        set_inet(out, from, from_port);
    else
        set_inet6(out, from, from_port);
    return true;
}

static enum proxy_proto_status read_v1(struct str in, struct proxy_proto *out)
{
    ptrdiff_t end = str_find(str_slice(in, 0, PROXY_PROTO_V1_MAX), STR("\r\n"));
    struct str line, word;

    if (end < 0)
        return in.len < PROXY_PROTO_V1_MAX ? PROXY_PROTO_MORE : PROXY_PROTO_BAD;
    line = str_slice(in, 0, (size_t)end);
    out->used = (size_t)end + 2;
    if (line.ptr[line.len - 1] == ' ')
        return PROXY_PROTO_BAD;
    line = str_slice(line, STR("PROXY ").len, line.len);
    if (!next_word(&line, &word))
        return PROXY_PROTO_BAD;
    if (str_eq_c(word, "UNKNOWN")) /* the rest is to be ignored (2.1) */
        return PROXY_PROTO_OK;
    if (str_eq_c(word, "TCP4"))
        return read_addresses(line, AF_INET, out) ? PROXY_PROTO_OK : PROXY_PROTO_BAD;
    if (str_eq_c(word, "TCP6"))
        return read_addresses(line, AF_INET6, out) ? PROXY_PROTO_OK : PROXY_PROTO_BAD;
    return PROXY_PROTO_BAD;
}

/* --- version 2: binary (2.2) --- */

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* The checksum over the whole header with its own four bytes as zero (2.2.4). */
static bool checksum_is_right(const uint8_t *head, size_t len, size_t at)
{
    static const uint8_t zero[4];
    uint32_t crc = crypto_crc32c(0, head, at);
    uint32_t want = (uint32_t)be16(head + at) << 16 | be16(head + at + 2);

    crc = crypto_crc32c(crc, zero, sizeof(zero));
    return crypto_crc32c(crc, head + at + 4, len - at - 4) == want;
}

static bool tlvs_are_right(const uint8_t *head, size_t at, size_t len)
{
    while (at < len) {
        size_t size;

        if (len - at < TLV_HEAD)
            return false;
        size = be16(head + at + 1);
        if (size > len - at - TLV_HEAD)
            return false;
        if (head[at] == TLV_CRC32C && (size != 4 || !checksum_is_right(head, len, at + TLV_HEAD)))
            return false;
        at += TLV_HEAD + size;
    }
    return true;
}

static enum proxy_proto_status read_v2(struct str in, struct proxy_proto *out)
{
    const uint8_t *head = (const uint8_t *)in.ptr;
    const uint8_t *block = head + V2_HEAD;
    static const size_t sizes[] = {0, V2_INET, V2_INET6, V2_UNIX};
    size_t len;
    uint8_t command, family;

    if (in.len < V2_HEAD)
        return PROXY_PROTO_MORE;
    command = head[12];
    family = head[13] >> 4;
    len = V2_HEAD + (size_t)be16(head + 14);
    if ((command >> 4) != 2 || (command & 15) > 1 || family > 3 || (head[13] & 15) > 2 ||
        len > PROXY_PROTO_MAX)
        return PROXY_PROTO_BAD;
    if (in.len < len)
        return PROXY_PROTO_MORE;
    out->used = len;
    if ((command & 15) == 0) /* LOCAL: the balancer itself; what follows is skipped */
        return PROXY_PROTO_OK;
    if (len - V2_HEAD < sizes[family] || !tlvs_are_right(head, V2_HEAD + sizes[family], len))
        return PROXY_PROTO_BAD;
    if (family == 1 && (head[13] & 15) == 1)
        set_inet(out, block, be16(block + 8));
    else if (family == 2 && (head[13] & 15) == 1)
        set_inet6(out, block, be16(block + 32));
    return PROXY_PROTO_OK;
}

/* --- */

static bool begins_like(struct str in, struct str wanted)
{
    size_t len = in.len < wanted.len ? in.len : wanted.len;

    return memcmp(in.ptr, wanted.ptr, len) == 0;
}

enum proxy_proto_status proxy_proto_read(struct str in, struct proxy_proto *out)
{
    struct str v1 = STR("PROXY ");
    struct str v2 = str_make(v2_signature, sizeof(v2_signature));
    struct proxy_proto found = {.client = {.ss_family = AF_UNSPEC}};
    enum proxy_proto_status status = PROXY_PROTO_BAD;

    if (in.len == 0)
        return PROXY_PROTO_MORE;
    if (begins_like(in, v1))
        status = in.len < v1.len ? PROXY_PROTO_MORE : read_v1(in, &found);
    else if (begins_like(in, v2))
        status = in.len < v2.len ? PROXY_PROTO_MORE : read_v2(in, &found);
    if (status == PROXY_PROTO_OK)
        *out = found;
    return status;
}
