/* test_listener.c - addresses, the accept budget, pauses, and running out of descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/listener.h"
#include "consentd/loop.h"

#define MANY (LISTENER_BUDGET + 20)

struct world {
    struct loop *loop;
    struct listener *listener;
    int fds[2 * MANY];
    unsigned cnt;
    bool free_inside;
    struct sockaddr_in to;
};

static void on_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    struct world *w = owner;

    assert_int_equal(peer->sa_family, AF_INET);
    assert_int_equal(len, sizeof(struct sockaddr_in));
    w->fds[w->cnt++] = fd;
    if (w->free_inside) {
        listener_free(w->listener);
        w->listener = NULL;
    }
}

static void world_start(struct world *w)
{
    socklen_t len = sizeof(w->to);
    struct fault fault;
    int fd = listener_bind("127.0.0.1:0", &fault);

    memset(w, 0, sizeof(*w));
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&w->to, &len), 0);
    w->loop = loop_new();
    w->listener = listener_new(w->loop, fd, on_accept, w);
}

static int world_dial(struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&w->to, sizeof(w->to)), 0);
    return fd;
}

static void world_stop(struct world *w)
{
    listener_free(w->listener);
    for (unsigned i = 0; i < w->cnt; i++)
        close(w->fds[i]);
    loop_poll(w->loop);
    loop_free(w->loop);
}

static void turns(struct world *w, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        loop_poll(w->loop);
        usleep(1000);
    }
}

static void test_a_turn_accepts_no_more_than_the_budget(void **state)
{
    struct world w;
    int fds[MANY];

    UNUSED(state);
    world_start(&w);
    for (unsigned i = 0; i < MANY; i++)
        fds[i] = world_dial(&w);
    loop_poll(w.loop);
    assert_int_equal(w.cnt, LISTENER_BUDGET);
    loop_poll(w.loop);
    assert_int_equal(w.cnt, MANY);
    for (unsigned i = 0; i < MANY; i++)
        close(fds[i]);
    world_stop(&w);
}

static void test_what_it_hands_over_is_ready_for_use(void **state)
{
    struct world w;
    int on = 0;
    socklen_t len = sizeof(on);
    int fd;
    char byte;

    UNUSED(state);
    world_start(&w);
    fd = world_dial(&w);
    loop_poll(w.loop);
    assert_int_equal(w.cnt, 1);
    assert_int_equal(getsockopt(w.fds[0], IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_int_not_equal(on, 0);
    assert_int_equal(read(w.fds[0], &byte, 1), -1); /* does not block */
    close(fd);
    world_stop(&w);
}

static void test_paused_leaves_them_in_the_kernel(void **state)
{
    struct world w;
    int fd;

    UNUSED(state);
    world_start(&w);
    listener_pause(w.listener);
    fd = world_dial(&w);
    turns(&w, 5);
    assert_int_equal(w.cnt, 0);
    listener_resume(w.listener);
    loop_poll(w.loop);
    assert_int_equal(w.cnt, 1);
    close(fd);
    world_stop(&w);
}

static bool refuse_next; /* event_add() then fails once, as without memory */

/* Before libevent's own. */
int event_add(struct event *event, const struct timeval *after)
{
    int (*real)(struct event *, const struct timeval *) = NULL;

    if (refuse_next) {
        refuse_next = false;
        return -1;
    }
    *(void **)(&real) = dlsym(RTLD_NEXT, "event_add");
    assert_non_null(real);
    return real(event, after);
}

/* Others first, and the moment that they have can't be had. */
static bool never_and_refuse(void *arg)
{
    bool *used = arg;

    refuse_next = !*used;
    *used = true;
    return false;
}

static void test_a_moment_that_cannot_be_had_leaves_no_listener_deaf(void **state)
{
    bool used = false;
    struct world w;
    int fd;

    UNUSED(state);
    world_start(&w);
    listener_set_gate(w.listener, never_and_refuse, &used);
    fd = world_dial(&w);
    loop_poll(w.loop);
    assert_true(used && !refuse_next);
    assert_int_equal(w.cnt, 0);
    turns(&w, LISTENER_PAUSE_MS + 200);
    assert_int_equal(w.cnt, 1);
    close(fd);
    world_stop(&w);
}

static bool never(void *arg)
{
    unsigned *asked = arg;

    (*asked)++;
    return false;
}

static void test_a_gate_leaves_them_to_others_for_a_moment(void **state)
{
    struct world w;
    unsigned asked = 0;
    int fds[3 * LISTENER_OWED];

    UNUSED(state);
    world_start(&w);
    listener_set_gate(w.listener, never, &asked);
    for (unsigned i = 0; i < COUNT_OF(fds); i++)
        fds[i] = world_dial(&w);
    loop_poll(w.loop);
    assert_int_equal(w.cnt, 0); /* others first */
    assert_int_equal(asked, 1);
    loop_poll(w.loop);
    loop_poll(w.loop);
    assert_int_equal(asked, 1); /* it does not spin */
    turns(&w, 100);             /* nobody came: by LISTENER_OWED until all are served */
    assert_int_equal(w.cnt, COUNT_OF(fds));
    assert_in_range(asked, 3, 4);
    for (unsigned i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    world_stop(&w);
}

static void test_freed_inside_on_accept(void **state)
{
    struct world w;
    int fds[2];

    UNUSED(state);
    world_start(&w);
    w.free_inside = true;
    fds[0] = world_dial(&w);
    fds[1] = world_dial(&w);
    loop_poll(w.loop);
    assert_int_equal(w.cnt, 1);
    close(fds[0]);
    close(fds[1]);
    world_stop(&w);
}

static void test_out_of_descriptors_waits_and_goes_on(void **state)
{
    struct rlimit old, none;
    struct world w;
    int fd;

    UNUSED(state);
    world_start(&w);
    loop_poll(w.loop);
    fd = world_dial(&w);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)fd + 1; /* the next descriptor is one too many */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    turns(&w, 20);
    assert_int_equal(w.cnt, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    loop_poll(w.loop);
    assert_int_equal(w.cnt, 0); /* it pauses: no spinning on a full table */
    turns(&w, LISTENER_PAUSE_MS + 200);
    assert_int_equal(w.cnt, 1);
    close(fd);
    world_stop(&w);
}

static void test_addresses(void **state)
{
    static const char *const bad[] = {
        "",      "80",       "127.0.0.1",   "127.0.0.1:", ":80", "host:80", "127.0.0.1:http",
        "unix:", "[::1]:x1", "1.2.3.4.5:80"};
    struct fault fault;
    char address[64];
    struct stat st;
    int fd, again;

    UNUSED(state);
    for (unsigned i = 0; i < COUNT_OF(bad); i++) {
        fault.text[0] = '\0';
        assert_int_equal(listener_bind(bad[i], &fault), -1);
        assert_true(fault.text[0] != '\0');
    }
    snprintf(address, sizeof(address), "unix:/tmp/test_listener.%d", (int)getpid());
    fd = listener_bind(address, &fault);
    assert_true(fd >= 0);
    again = listener_bind(address, &fault); /* a predecessor's socket file is no obstacle */
    assert_true(again >= 0);
    assert_int_equal(stat(address + 5, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    close(fd);
    close(again);
    unlink(address + 5);
    fd = listener_bind("[::1]:0", &fault);
    if (fd >= 0) /* a machine without IPv6 has no ::1 */
        close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_turn_accepts_no_more_than_the_budget),
        cmocka_unit_test(test_what_it_hands_over_is_ready_for_use),
        cmocka_unit_test(test_paused_leaves_them_in_the_kernel),
        cmocka_unit_test(test_a_gate_leaves_them_to_others_for_a_moment),
        cmocka_unit_test(test_a_moment_that_cannot_be_had_leaves_no_listener_deaf),
        cmocka_unit_test(test_freed_inside_on_accept),
        cmocka_unit_test(test_out_of_descriptors_waits_and_goes_on),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
