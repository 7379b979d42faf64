/* test_names.c - hosts(5), and names whose records change, by a resolver of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "consentd/file.h"
#include "consentd/loop.h"
#include "consentd/memfile.h"
#include "consentd/names.h"

#define UNTIL(loop, cond)                                                                          \
    do {                                                                                           \
        for (unsigned turn = 0; turn < 100000 && !(cond); turn++) {                                \
            serve();                                                                               \
            loop_poll(loop);                                                                       \
            usleep(200);                                                                           \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

static const char HOSTS[] = "# comment\n"
                            "127.0.0.1\tlocalhost  loop # here\n"
                            "  10.0.0.1 a.example\r\n"
                            "10.0.0.2 A.EXAMPLE b\n"
                            "fe80::1 a.example\n"
                            "junk a.example\n"
                            "10.0.0.3 # a.example\n"
                            "10.0.0.4 a.example.net";

static void test_hosts(void **state)
{
    union name_address out[16];
    char text[64];

    (void)state;
    assert_int_equal(names_of_hosts(str_c(HOSTS), STR("a.example"), out, 16), 3);
    assert_string_equal(inet_ntoa(out[0].in.sin_addr), "10.0.0.1");
    assert_string_equal(inet_ntoa(out[1].in.sin_addr), "10.0.0.2");
    assert_string_equal(inet_ntop(AF_INET6, &out[2].in6.sin6_addr, text, sizeof(text)), "fe80::1");
    assert_int_equal(names_of_hosts(str_c(HOSTS), STR("a.example"), out, 1), 1);
    assert_int_equal(names_of_hosts(str_c(HOSTS), STR("loop"), out, 16), 1);
    assert_int_equal(names_of_hosts(str_c(HOSTS), STR("a.example.net"), out, 16), 1);
    assert_int_equal(names_of_hosts(str_c(HOSTS), STR("example"), out, 16), 0);
    assert_int_equal(names_of_hosts(str_c(HOSTS), STR(""), out, 16), 0);
    assert_int_equal(names_of_hosts(STR(""), STR("a"), out, 16), 0);
}

/* --- a resolver: one socket, answers made of the globals --- */

static int server_fd = -1;
static const char *a_records[10]; /* what A says; NULL-terminated */
static unsigned ttl = 1, rcode, questions;
static bool silent;

static void reply(uint8_t *q, size_t len, const struct sockaddr *to, socklen_t to_len)
{
    uint8_t out[1024];
    size_t end = 12, at;
    unsigned cnt = 0;
    bool a;

    while (end < len && q[end] != 0)
        end += q[end] + 1u;
    a = q[end + 2] == 1;
    end += 5;
    memcpy(out, q, end);
    at = end;
    for (; a && rcode == 0 && a_records[cnt] != NULL; cnt++) {
        const uint8_t head[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, (uint8_t)ttl, 0, 4};

        memcpy(out + at, head, sizeof(head));
        inet_pton(AF_INET, a_records[cnt], out + at + sizeof(head));
        at += sizeof(head) + 4;
    }
    out[2] = 0x81;
    out[3] = (uint8_t)(0x80 | rcode);
    out[6] = 0;
    out[7] = (uint8_t)cnt;
    memset(out + 8, 0, 4);
    assert_int_equal(sendto(server_fd, out, at, 0, to, to_len), at);
}

static void serve(void)
{
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    uint8_t q[512];
    ssize_t n;

    while ((n = recvfrom(server_fd, q, sizeof(q), MSG_DONTWAIT, (struct sockaddr *)&from,
                         &from_len)) > 12) {
        questions++;
        if (!silent)
            reply(q, (size_t)n, (struct sockaddr *)&from, from_len);
        from_len = sizeof(from);
    }
}

/* A world whose resolver nobody was told of. */
static struct loop *world_of(char server[64])
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct loop *loop = loop_new();
    socklen_t len = sizeof(in);

    server_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server_fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(getsockname(server_fd, (struct sockaddr *)&in, &len), 0);
    snprintf(server, 64, "127.0.0.1:%u", ntohs(in.sin_port));
    memset(a_records, 0, sizeof(a_records));
    rcode = questions = 0;
    silent = false;
    return loop;
}

static struct loop *world_start(void)
{
    char server[64];
    struct loop *loop = world_of(server);

    assert_true(names_server_add(loop_names(loop), server));
    return loop;
}

static void world_stop(struct loop *loop)
{
    loop_free(loop);
    close(server_fd);
}

static void on_known(void *arg)
{
    ++*(unsigned *)arg;
}

static bool has(const struct name *name, const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET};

    inet_pton(AF_INET, address, &in.sin_addr);
    return name_has(name, (struct sockaddr *)&in);
}

static void test_a_change_is_noticed(void **state)
{
    struct loop *loop = world_start();
    unsigned known = 0, asked;
    struct name_wait wait = {.fn = on_known, .arg = &known}, taken_back = wait;
    union name_address list[8];
    struct name *name;
    uint32_t version;

    (void)state;
    a_records[0] = "10.1.0.1";
    a_records[1] = "10.1.0.2";
    name = names_find(loop_names(loop), "origin.test");
    assert_false(name_wait(name, &wait));
    assert_false(name_wait(name, &taken_back));
    name_unwait(&taken_back);
    name_unwait(&taken_back);
    UNTIL(loop, known > 0);
    assert_int_equal(known, 1);
    assert_true(name_wait(name, &wait));
    assert_true(has(name, "10.1.0.1") && has(name, "10.1.0.2") && !has(name, "10.1.0.3"));
    assert_int_equal(name_addresses(name, list, 8), 2);
    assert_string_equal(inet_ntoa(list[0].in.sin_addr), "10.1.0.1");
    assert_int_equal(name_addresses(name, list, 8), 2); /* in turn */
    assert_string_equal(inet_ntoa(list[0].in.sin_addr), "10.1.0.2");
    assert_ptr_equal(names_find(loop_names(loop), "origin.test"), name);
    version = name_version(name);
    a_records[0] = "10.1.0.2"; /* another order is no change */
    a_records[1] = "10.1.0.1";
    asked = questions;
    UNTIL(loop, questions >= asked + 4);
    assert_int_equal(name_version(name), version);
    a_records[1] = "10.1.0.3";
    UNTIL(loop, name_version(name) != version);
    assert_true(has(name, "10.1.0.2") && has(name, "10.1.0.3") && !has(name, "10.1.0.1"));
    world_stop(loop);
}

/* A file as the master hands it in; seal false: as only somebody else would. */
static int handed_in(const char *text, bool seal)
{
    int fd = memfile_new("test");

    assert_true(fd >= 0 && file_write_all(fd, text, strlen(text)));
    assert_true(!seal || memfile_seal(fd));
    assert_int_equal(memfile_is_sealed(fd), seal);
    return fd;
}

static void test_hosts_that_another_can_change_are_refused(void **state)
{
    struct loop *loop = world_start();
    struct names *names = loop_names(loop);
    int open = handed_in("10.1.0.7 open.test\n", false);
    int sealed = handed_in("10.1.0.8 sealed.test\n", true);

    (void)state;
    silent = true;
    assert_int_equal(write(sealed, "x", 1), -1);
    (void)names_find(names, "localhost"); /* the real file is read once, and then is not newer */
    names_take_hosts(names, sealed);
    names_take_hosts(names, open);
    names_take_hosts(names, server_fd); /* nor what is no memory file */
    assert_false(has(names_find(names, "open.test"), "10.1.0.7"));
    assert_true(has(names_find(names, "sealed.test"), "10.1.0.8"));
    close(open);
    close(sealed);
    world_stop(loop);
}

/* The first name is asked of the servers that were handed in before it, not of the system's. */
static void test_servers_before_the_first_name(void **state)
{
    char server[64], text[96];
    struct loop *loop = world_of(server);
    struct name *name;
    int fd;

    (void)state;
    snprintf(text, sizeof(text), "nameserver %s\n", server);
    fd = handed_in(text, true);
    names_take_resolv(loop_names(loop), fd);
    close(fd);
    a_records[0] = "10.1.0.1";
    name = names_find(loop_names(loop), "origin.test");
    UNTIL(loop, has(name, "10.1.0.1"));
    world_stop(loop);
}

static void test_a_broken_resolver_changes_nothing(void **state)
{
    struct loop *loop = world_start();
    struct name *name;
    unsigned asked;

    (void)state;
    a_records[0] = "10.1.0.1";
    name = names_find(loop_names(loop), "origin.test");
    UNTIL(loop, has(name, "10.1.0.1"));
    rcode = 2; /* SERVFAIL */
    asked = questions;
    UNTIL(loop, questions >= asked + 3);
    assert_true(has(name, "10.1.0.1"));
    rcode = 0;
    a_records[0] = "10.1.0.9";
    UNTIL(loop, has(name, "10.1.0.9"));
    world_stop(loop);
}

static void test_no_such_name(void **state)
{
    struct loop *loop = world_start();
    unsigned known = 0;
    struct name_wait wait = {.fn = on_known, .arg = &known};
    union name_address list[8];
    struct name *name;

    (void)state;
    rcode = 3; /* NXDOMAIN */
    name = names_find(loop_names(loop), "nobody.test");
    assert_false(name_wait(name, &wait));
    UNTIL(loop, known == 1);
    assert_int_equal(name_addresses(name, list, 8), 0);
    rcode = 0;
    a_records[0] = "10.1.0.1";
    UNTIL(loop, has(name, "10.1.0.1")); /* it is asked for again */
    world_stop(loop);
}

static void test_more_addresses_than_are_kept(void **state)
{
    static const char *const many[] = {"10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5",
                                       "10.1.0.6", "10.1.0.7", "10.1.0.8", "10.1.0.9"};
    struct loop *loop = world_start();
    union name_address list[16];
    struct name *name;

    (void)state;
    memcpy(a_records, many, sizeof(many));
    name = names_find(loop_names(loop), "origin.test");
    UNTIL(loop, has(name, "10.1.0.8"));
    assert_int_equal(name_addresses(name, list, 16), NAMES_ADDRESSES_MAX);
    assert_int_equal(name_addresses(name, list, 3), 3);
    world_stop(loop);
}

static void test_a_loop_that_ends_while_it_asks(void **state)
{
    struct loop *loop = world_start();
    unsigned known = 0;
    struct name_wait wait = {.fn = on_known, .arg = &known};

    (void)state;
    silent = true;
    assert_false(name_wait(names_find(loop_names(loop), "origin.test"), &wait));
    UNTIL(loop, questions >= 1);
    world_stop(loop);
    assert_int_equal(known, 0);
}

static void test_servers(void **state)
{
    (void)state;
    assert_true(names_server_check("192.0.2.1"));
    assert_true(names_server_check("192.0.2.1:5353"));
    assert_true(names_server_check("[::1]:53"));
    assert_true(names_server_check("::1"));
    assert_false(names_server_check("dns.example"));
    assert_false(names_server_check("192.0.2.1:"));
    assert_false(names_server_check("192.0.2.1:99999"));
    assert_false(names_server_check(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_a_change_is_noticed),
        cmocka_unit_test(test_hosts_that_another_can_change_are_refused),
        cmocka_unit_test(test_servers_before_the_first_name),
        cmocka_unit_test(test_a_broken_resolver_changes_nothing),
        cmocka_unit_test(test_no_such_name),
        cmocka_unit_test(test_more_addresses_than_are_kept),
        cmocka_unit_test(test_a_loop_that_ends_while_it_asks),
        cmocka_unit_test(test_servers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
