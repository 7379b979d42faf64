/*
 * Any bytes as a URL: the result is in its canonical form, which parses to itself; a small
 * arena gives the same or doubt.
 */
#include <stdint.h>

#include "consentd/mem.h"
#include "consentd/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_canonical(const struct url *url)
{
    ASSERT(url->path.len > 0 && url->path.ptr[0] == '/');
    for (size_t i = 0; i < url->host.len; i++) {
        char c = url->host.ptr[i];

        if ((url->flags & URL_SUSPECT) == 0)
            ASSERT(c > ' ' && c < 0x7f && c != '%' && c != '\\' && c != '/' && c == ascii_lower(c));
    }
}

/* Written out and parsed again it is the same address. */
static void check_again(const struct url *url, struct arena *a)
{
    struct url again;
    const char *text = arena_printf(a, "%s://%.*s:%u%.*s?%.*s", "http", STR_ARGS(url->host),
                                    url->port, STR_ARGS(url->path), STR_ARGS(url->query));

    ASSERT(text != NULL && url_parse(str_c(text), NULL, a, &again));
    ASSERT(str_eq(url->host, again.host) && url->port == again.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str in = str_make(data, len);
    struct arena arena, small;
    struct url base, url, other;
    bool ok;

    arena_init(&arena, NULL, 1 << 22);
    arena_init(&small, NULL, len * 3);
    ASSERT(url_parse(STR("https://example.com/a/b?q"), NULL, &arena, &base));
    ok = url_parse(in, &base, &arena, &url);
    ASSERT(ok == (url.scheme != URL_SCHEME_NONE));
    if (ok && (url.flags & URL_NETWORK) != 0) {
        check_canonical(&url);
        if ((url.flags & URL_SUSPECT) == 0)
            check_again(&url, &arena);
    }
    if (!url_parse(in, &base, &small, &other))
        ASSERT(!ok || (other.flags & URL_SUSPECT) != 0);
    else if ((other.flags & URL_SUSPECT) == 0)
        ASSERT(ok && str_eq(url.host, other.host));
    arena_fini(&small);
    arena_fini(&arena);
    return 0;
}
