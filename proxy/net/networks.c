/*
 * networks.c - contract in consentd/networks.h.
 *
 * Every address is 16 bytes, IPv4 as ::ffff:a.b.c.d, so that one comparison does for both.
 */
#include "consentd/networks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"

#define ADDRESS_LEN 16
#define V4_OFFSET   12 /* of the four bytes within the sixteen */

struct network {
    uint8_t address[ADDRESS_LEN];
    unsigned bits; /* of the sixteen bytes that count */
};

struct networks {
    struct network *items; /* owned */
    size_t cnt;
    bool local; /* "unix" is listed */
};

static const uint8_t mapped[V4_OFFSET] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* An address alone into its sixteen bytes; *v4_out: it was an IPv4 address. */
static bool parse_bytes(struct str text, uint8_t out[ADDRESS_LEN], bool *v4_out)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *v4_out = inet_pton(AF_INET, copy, out + V4_OFFSET) == 1;
    if (*v4_out)
        memcpy(out, mapped, sizeof(mapped));
    return *v4_out || inet_pton(AF_INET6, copy, out) == 1;
}

/* No bit behind the prefix is set. */
static bool is_network(const struct network *n)
{
    for (unsigned bit = n->bits; bit < ADDRESS_LEN * 8; bit++) {
        if ((n->address[bit / 8] & 0x80u >> bit % 8) != 0)
            return false;
    }
    return true;
}

static bool parse_network(struct str text, struct network *out)
{
    struct str rest = text, address;
    uint64_t bits;
    bool v4;

    (void)str_cut(&rest, '/', &address);
    if (!parse_bytes(address, out->address, &v4))
        return false;
    out->bits = ADDRESS_LEN * 8;
    if (address.len == text.len)
        return true;
    rest = str_slice(text, address.len + 1, text.len);
    if (!str_to_u64(rest, v4 ? 32 : 128, &bits))
        return false;
    out->bits = (unsigned)bits + (v4 ? V4_OFFSET * 8 : 0);
    return is_network(out);
}

struct networks *networks_new(const char *const *texts, size_t cnt, struct fault *f)
{
    struct networks *n = mem_new(struct networks);

    n->items = mem_calloc(cnt + 1, sizeof(*n->items));
    for (size_t i = 0; i < cnt; i++) {
        if (strcmp(texts[i], "unix") == 0) {
            n->local = true;
        } else if (!parse_network(str_c(texts[i]), &n->items[n->cnt++])) {
            fault_set(f,
                      "[%zu]: \"%s\" is no network: expected ADDRESS, ADDRESS/BITS with no bit set "
                      "behind them, or \"unix\"",
                      i, texts[i]);
            networks_free(n);
            return NULL;
        }
    }
    return n;
}

void networks_free(struct networks *n)
{
    if (n == NULL)
        return;
    free(n->items);
    free(n);
}

static bool is_in(const struct network *n, const uint8_t address[ADDRESS_LEN])
{
    unsigned whole = n->bits / 8, rest = n->bits % 8;

    if (memcmp(n->address, address, whole) != 0)
        return false;
    return rest == 0 || ((n->address[whole] ^ address[whole]) & (0xff00u >> rest & 0xff)) == 0;
}

bool networks_has(const struct networks *n, const struct sockaddr *address)
{
    uint8_t bytes[ADDRESS_LEN];
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (n == NULL || (n->cnt == 0 && !n->local))
        return false;
    if (address->sa_family == AF_UNIX)
        return n->local;
    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof(in));
        memcpy(bytes, mapped, sizeof(mapped));
        memcpy(bytes + V4_OFFSET, &in.sin_addr, sizeof(in.sin_addr));
    } else if (address->sa_family == AF_INET6) {
        memcpy(&in6, address, sizeof(in6));
        memcpy(bytes, &in6.sin6_addr, sizeof(bytes));
    } else {
        return false;
    }
    for (size_t i = 0; i < n->cnt; i++) {
        if (is_in(&n->items[i], bytes))
            return true;
    }
    return false;
}

/* ":80", or nothing. */
static bool is_port(struct str text)
{
    unsigned value = 0;

    if (text.len == 0)
        return true;
    if (text.ptr[0] != ':' || text.len < 2 || text.len > 6)
        return false;
    for (size_t i = 1; i < text.len; i++) {
        if (!ascii_is_digit(text.ptr[i]))
            return false;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    return value <= 65535;
}

/* What stands before a port, and whether what follows is one (or nothing). */
static bool cut_port(struct str text, struct str *address_out)
{
    ptrdiff_t end = str_find_char(text, ':');

    if (text.len > 0 && text.ptr[0] == '[') {
        end = str_find_char(text, ']');
        if (end < 0)
            return false;
        *address_out = str_make(text.ptr + 1, (size_t)end - 1);
        return str_find_char(*address_out, ':') >= 0 &&
               is_port(str_make(text.ptr + end + 1, text.len - (size_t)end - 1));
    }
    *address_out = text;
    if (end < 0 || memchr(text.ptr + end + 1, ':', text.len - (size_t)end - 1) != NULL)
        return true; /* no port, or the many colons of IPv6 without brackets */
    *address_out = str_make(text.ptr, (size_t)end);
    return is_port(str_make(text.ptr + end, text.len - (size_t)end));
}

bool address_parse(struct str text, struct sockaddr_storage *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    uint8_t bytes[ADDRESS_LEN];
    struct str address;
    bool v4;

    if (!cut_port(text, &address) || !parse_bytes(address, bytes, &v4))
        return false;
    memset(out, 0, sizeof(*out));
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        memcpy(&in.sin_addr, bytes + V4_OFFSET, sizeof(in.sin_addr));
        memcpy(out, &in, sizeof(in));
    } else {
        memcpy(&in6.sin6_addr, bytes, sizeof(bytes));
        memcpy(out, &in6, sizeof(in6));
    }
    return true;
}
