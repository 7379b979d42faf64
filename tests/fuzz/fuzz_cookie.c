/*
 * Any bytes as Cookie and Set-Cookie: what the filter leaves holds no denied name for any
 * reader, and filtering it again changes nothing.
 */
#include <stdint.h>

#include "consentd/cookie.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool is_denied(struct str name)
{
    return str_starts_fold(name, STR("_ga"));
}

static bool keep(void *arg, const struct cookie_pair *pair)
{
    struct cookie_names it;
    struct str name;

    UNUSED(arg);
    cookie_names_init(&it, pair);
    while (cookie_names_next(&it, &name)) {
        ASSERT(name.len <= COOKIE_NAME_MAX);
        if (is_denied(name))
            return false;
    }
    return true;
}

/* Any piece that a simple reader could take for a pair. */
static void check_clean(struct str value)
{
    struct str piece;

    while (str_cut(&value, ';', &piece)) {
        struct str part;

        while (str_cut(&piece, ',', &part))
            ASSERT(!is_denied(str_trim(part)));
    }
}

static void check_set_cookie(struct str field)
{
    struct cookie_pair pair;
    struct str rest = field;
    struct str name, value;

    if (set_cookie_name(field, &pair))
        ASSERT(pair.raw.len <= field.len && pair.name.len + pair.value.len <= pair.raw.len);
    while (set_cookie_attr_next(&rest, &name, &value))
        ASSERT(name.len + value.len <= field.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str in = str_make(data, len);
    struct arena arena;
    struct headers h;
    struct str left, again;

    arena_init(&arena, NULL, 1 << 22);
    headers_init(&h, NULL, 0);
    ASSERT(headers_add(&h, &arena, STR("cookie"), str_slice(in, 0, len / 2)));
    ASSERT(headers_add(&h, &arena, STR("cookie"), str_slice(in, len / 2, len)));
    ASSERT(cookie_filter(&h, &arena, keep, NULL));
    left = headers_value(&h, HDR_COOKIE);
    ASSERT(left.len <= len * 2 + 2);
    check_clean(left);
    ASSERT(cookie_filter(&h, &arena, keep, NULL));
    again = headers_value(&h, HDR_COOKIE);
    ASSERT(str_eq(left, again));
    check_set_cookie(in);
    arena_fini(&arena);
    return 0;
}
