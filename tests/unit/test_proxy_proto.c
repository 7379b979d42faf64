/* test_proxy_proto.c - PROXY protocol headers, at every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/proxy_proto.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2(bytes) str_make(SIGNATURE bytes, sizeof(SIGNATURE bytes) - 1)
#define FOUR      "\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb" /* 192.0.2.1:56324 */

/* OK with used bytes and the client as text, and nothing but MORE before the last byte of it. */
static void assert_read(struct str in, size_t used, const char *client, unsigned port)
{
    struct proxy_proto out;
    char text[INET6_ADDRSTRLEN] = "none";

    for (size_t len = 0; len < used; len++) {
        char *copy = test_malloc(len + 1);

        memcpy(copy, in.ptr, len);
        assert_int_equal(proxy_proto_read(str_make(copy, len), &out), PROXY_PROTO_MORE);
        test_free(copy);
    }
    assert_int_equal(proxy_proto_read(in, &out), PROXY_PROTO_OK);
    assert_int_equal(out.used, used);
    if (out.client.ss_family == AF_INET) {
        struct sockaddr_in sa;

        memcpy(&sa, &out.client, sizeof(sa));
        inet_ntop(AF_INET, &sa.sin_addr, text, sizeof(text));
        assert_int_equal(ntohs(sa.sin_port), port);
        assert_int_equal(out.client_len, sizeof(sa));
    } else if (out.client.ss_family == AF_INET6) {
        struct sockaddr_in6 sa;

        memcpy(&sa, &out.client, sizeof(sa));
        inet_ntop(AF_INET6, &sa.sin6_addr, text, sizeof(text));
        assert_int_equal(ntohs(sa.sin6_port), port);
    } else {
        assert_int_equal(out.client_len, 0);
    }
    assert_string_equal(text, client);
}

static void assert_bad(struct str in)
{
    struct proxy_proto out;

    assert_int_equal(proxy_proto_read(in, &out), PROXY_PROTO_BAD);
}

static void test_version_1(void **state)
{
    static const char tcp4[] = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET / HTTP/1.1";
    static const char tcp6[] = "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";

    (void)state;
    assert_read(str_c(tcp4), 45, "192.0.2.1", 56324);
    assert_read(str_c(tcp6), sizeof(tcp6) - 1, "2001:db8::1", 1);
    assert_read(STR("PROXY UNKNOWN\r\n"), 15, "none", 0);
    assert_read(STR("PROXY UNKNOWN any thing\r\n"), 25, "none", 0);
}

static void test_version_1_refused(void **state)
{
    static const char *const lines[] = {
        "GET / HTTP/1.1\r\n",
        "PROXX",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY \r\n",
    };
    char endless[PROXY_PROTO_V1_MAX + 1] = "PROXY UNKNOWN ";

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_bad(str_c(lines[i]));
    memset(endless + 14, 'x', PROXY_PROTO_V1_MAX - 14);
    assert_bad(str_make(endless, PROXY_PROTO_V1_MAX));
}

static void test_version_2(void **state)
{
    (void)state;
    assert_read(V2("\x21\x11\0\x0c" FOUR "GET /"), 28, "192.0.2.1", 56324);
    assert_read(V2("\x20\0\0\0"), 16, "none", 0);
    assert_read(V2("\x20\x11\0\x0c" FOUR), 28, "none", 0); /* LOCAL: not looked at */
    assert_read(V2("\x21\0\0\x03\x04\0\0"), 19, "none", 0);
    assert_read(V2("\x21\x12\0\x0c" FOUR), 28, "none", 0); /* a datagram's */
    assert_read(V2("\x21\x21\0\x24"
                   "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                   "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x50\x01\xbb"),
                52, "2001:db8::1", 80);
}

static void test_version_2_refused(void **state)
{
    (void)state;
    assert_bad(V2("\x11\x11\0\x0c" FOUR));                  /* version */
    assert_bad(V2("\x22\x11\0\x0c" FOUR));                  /* command */
    assert_bad(V2("\x21\x41\0\x0c" FOUR));                  /* family */
    assert_bad(V2("\x21\x13\0\x0c" FOUR));                  /* transport */
    assert_bad(V2("\x21\x11\0\x0b" FOUR));                  /* the block does not fit */
    assert_bad(V2("\x21\x11\x7f\xff" FOUR));                /* longer than anybody's */
    assert_bad(V2("\x21\x11\0\x0e" FOUR "\x04\0"));         /* half a TLV */
    assert_bad(V2("\x21\x11\0\x0f" FOUR "\x04\0\x01"));     /* a TLV that does not fit */
    assert_bad(V2("\x21\x11\0\x11" FOUR "\x03\0\x02\0\0")); /* a checksum of two bytes */
}

static void test_checksum(void **state)
{
    char head[] = SIGNATURE "\x21\x11\0\x13" FOUR "\x03\0\x04\0\0\0\0";
    size_t len = sizeof(head) - 1;
    uint32_t crc = crypto_crc32c(0, head, len);

    (void)state;
    assert_bad(str_make(head, len));
    for (unsigned i = 0; i < 4; i++)
        head[len - 4 + i] = (char)(crc >> (24 - 8 * i));
    assert_read(str_make(head, len), len, "192.0.2.1", 56324);
    head[17] ^= 1;
    assert_bad(str_make(head, len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1), cmocka_unit_test(test_version_1_refused),
        cmocka_unit_test(test_version_2), cmocka_unit_test(test_version_2_refused),
        cmocka_unit_test(test_checksum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
