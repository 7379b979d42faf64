/*
 * ns and instructions for one request head, response head, URL, cookie field and chunk, beside a
 * scan that only looks at every byte once (a table lookup each). Best of 7 rounds.
 */
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "consentd/chars.h"
#include "consentd/chunked.h"
#include "consentd/cookie.h"
#include "consentd/h1_write.h"
#include "consentd/mem.h"
#include "consentd/url.h"

enum { ROUNDS = 7, TIMES = 20000 };

static volatile size_t sink;

static const struct h1_limits limits = {.head_max = 65536, .target_max = 8192, .fields_max = 100};

static const struct str request = STR_INIT(
    "GET /products/shoes?size=42&sort=price HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "Connection: keep-alive\r\n"
    "sec-ch-ua: \"Chromium\";v=\"120\", \"Not?A_Brand\";v=\"8\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    "\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-User: ?1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Referer: https://www.example.com/products\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: session=0123456789abcdef; _ga=GA1.1.123456789.1700000000; lang=en\r\n"
    "\r\n");

static const struct str response =
    STR_INIT("HTTP/1.1 200 OK\r\n"
             "Date: Mon, 24 Nov 2025 05:00:00 GMT\r\n"
             "Server: nginx\r\n"
             "Content-Type: text/html; charset=utf-8\r\n"
             "Content-Length: 30720\r\n"
             "Connection: keep-alive\r\n"
             "Vary: Accept-Encoding\r\n"
             "Cache-Control: max-age=60\r\n"
             "ETag: \"5f2a-61\"\r\n"
             "Set-Cookie: session=0123456789abcdef; Path=/; HttpOnly; Secure; SameSite=Lax\r\n"
             "\r\n");

static const struct str address =
    STR_INIT("https://www.googletagmanager.com/gtag/js?id=G-ABCDEF1234&l=dataLayer&cx=c");

static const struct str cookies =
    STR_INIT("session=0123456789abcdef; _ga=GA1.1.123456789.1700000000; "
             "_gid=GA1.1.987654321.1700000000; lang=en; theme=dark");

static const struct str chunk = STR_INIT("400\r\n");

struct bench {
    struct arena_pool *pool;
    struct arena arena;
    struct buf out;
    struct h1_request req;
    struct h1_response resp;
};

typedef void bench_fn(struct bench *b);

static void run_request(struct bench *b)
{
    struct h1_parser parser = {0};

    sink += h1_parse_request(&parser, &b->arena, request, &limits, &b->req) == H1_HEAD;
}

static void run_response(struct bench *b)
{
    struct h1_parser parser = {0};

    sink += h1_parse_response(&parser, &b->arena, response, &limits, false, &b->resp) == H1_HEAD;
}

static void run_request_write(struct bench *b)
{
    struct h1_parser parser = {0};

    if (h1_parse_request(&parser, &b->arena, request, &limits, &b->req) != H1_HEAD)
        return;
    headers_strip_hop_by_hop(&b->req.headers);
    buf_clear(&b->out);
    sink += h1_write_request_head(&b->out, b->req.method, b->req.path, &b->req.headers,
                                  &(struct h1_framing){0});
}

static void run_url(struct bench *b)
{
    struct url url;

    sink += url_parse(address, NULL, &b->arena, &url);
}

static void run_cookies(struct bench *b)
{
    struct str rest = cookies;
    struct cookie_pair pair;

    UNUSED(b);
    while (cookie_next(&rest, &pair))
        sink += pair.trust == COOKIE_PLAIN;
}

static void run_cookie_names(struct bench *b)
{
    struct str rest = cookies;
    struct cookie_pair pair;

    UNUSED(b);
    while (cookie_next(&rest, &pair)) {
        struct cookie_names it;
        struct str name;

        cookie_names_init(&it, &pair);
        while (cookie_names_next(&it, &name))
            sink += name.len;
    }
}

static void run_chunk(struct bench *b)
{
    struct chunked_decoder d = {0};
    struct str data;
    size_t used;

    UNUSED(b);
    sink += chunked_decode(&d, (const uint8_t *)chunk.ptr, chunk.len, &used, &data);
}

static size_t scan(struct str in)
{
    size_t sum = 0;

    for (size_t i = 0; i < in.len; i++)
        sum += chars_table[(uint8_t)in.ptr[i]];
    return sum;
}

static void scan_request(struct bench *b)
{
    UNUSED(b);
    sink += scan(request);
}

static void scan_response(struct bench *b)
{
    UNUSED(b);
    sink += scan(response);
}

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* A counter of user-space instructions, or -1 where the kernel gives none. */
static int counter_open(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof(attr),
                                   .config = PERF_COUNT_HW_INSTRUCTIONS,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};

    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t counter_read(int fd)
{
    uint64_t value = 0;

    if (fd < 0 || read(fd, &value, sizeof(value)) != (ssize_t)sizeof(value))
        return 0;
    return value;
}

static void measure(const char *name, bench_fn *fn, size_t bytes, struct bench *b, int counter)
{
    double best = 1e18;
    uint64_t instructions = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t first = counter_read(counter);
        double start = now_ns();

        for (unsigned i = 0; i < TIMES; i++) {
            fn(b);
            arena_fini(&b->arena);
        }
        double spent = (now_ns() - start) / TIMES;

        best = spent < best ? spent : best;
        instructions = (counter_read(counter) - first) / TIMES;
    }
    printf("%-28s %5zu bytes %8.1f ns %8.0f MB/s", name, bytes, best, (double)bytes * 1e3 / best);
    if (counter >= 0)
        printf(" %8llu instructions", (unsigned long long)instructions);
    printf("\n");
}

int main(void)
{
    struct bench b = {.pool = arena_pool_new(16384, 4)};
    int counter = counter_open();

    arena_init(&b.arena, b.pool, 1 << 20);
    buf_init(&b.out, 1 << 20);
    measure("request: scan of the bytes", scan_request, request.len, &b, counter);
    measure("request head", run_request, request.len, &b, counter);
    measure("request, stripped, written", run_request_write, request.len, &b, counter);
    measure("response: scan of the bytes", scan_response, response.len, &b, counter);
    measure("response head", run_response, response.len, &b, counter);
    measure("URL", run_url, address.len, &b, counter);
    measure("cookies, five pairs", run_cookies, cookies.len, &b, counter);
    measure("cookies, names readers see", run_cookie_names, cookies.len, &b, counter);
    measure("chunk head", run_chunk, chunk.len, &b, counter);
    buf_free(&b.out);
    arena_fini(&b.arena);
    arena_pool_free(b.pool);
    if (counter >= 0)
        close(counter);
    return 0;
}
