/*
 * headers.c - contract in consentd/headers.h. The perfect hash is in headers_known.c.
 */
#include "consentd/headers.h"

#include <string.h>

#include "headers_priv.h"

#define FIRST_CAP 16 /* items of an array that grows from nothing */

void headers_init(struct headers *h, struct header *items, unsigned cap)
{
    *h = (struct headers){.items = items, .cap = cap};
}

struct header *headers_next(const struct headers *h, enum header_id id, unsigned *iter)
{
    if (!headers_may_have(h, id))
        return NULL;
    while (*iter < h->cnt) {
        struct header *item = &h->items[(*iter)++];

        if (item->id == id && !item->removed)
            return item;
    }
    return NULL;
}

struct header *headers_find(const struct headers *h, enum header_id id)
{
    unsigned iter = 0;

    return headers_next(h, id, &iter);
}

struct header *headers_find_name(const struct headers *h, struct str name)
{
    enum header_id id = header_id_of(name);

    if (id != HDR_OTHER)
        return headers_find(h, id);
    for (unsigned i = 0; i < h->cnt; i++) {
        struct header *item = &h->items[i];

        if (item->id == HDR_OTHER && !item->removed && str_eq_fold(item->name, name))
            return item;
    }
    return NULL;
}

struct str headers_value(const struct headers *h, enum header_id id)
{
    const struct header *item = headers_find(h, id);

    return item != NULL ? item->value : STR("");
}

unsigned headers_remove(struct headers *h, enum header_id id)
{
    unsigned iter = 0;
    unsigned cnt = 0;
    struct header *item;

    while ((item = headers_next(h, id, &iter)) != NULL) {
        item->removed = true;
        cnt++;
    }
    return cnt;
}

static bool headers_grow(struct headers *h, struct arena *a)
{
    unsigned cap = h->cap > 0 ? h->cap * 2 : FIRST_CAP;
    struct header *items;

    if (h->cnt < h->cap)
        return true;
    items = a == NULL ? NULL : arena_alloc(a, cap * sizeof(*items));
    if (items == NULL)
        return false;
    if (h->cnt > 0)
        memcpy(items, h->items, h->cnt * sizeof(*items));
    h->items = items;
    h->cap = cap;
    return true;
}

bool headers_add(struct headers *h, struct arena *a, struct str name, struct str value)
{
    if (!headers_grow(h, a))
        return false;
    headers_push(h, header_id_of(name), name, value);
    return true;
}

bool headers_add_id(struct headers *h, struct arena *a, enum header_id id, struct str value)
{
    if (!headers_grow(h, a))
        return false;
    headers_push(h, id, header_name(id), value);
    return true;
}

bool headers_set(struct headers *h, struct arena *a, enum header_id id, struct str value)
{
    unsigned iter = 0;
    struct header *first = headers_next(h, id, &iter);
    struct header *item;

    if (first == NULL)
        return headers_add_id(h, a, id, value);
    first->value = value;
    while ((item = headers_next(h, id, &iter)) != NULL)
        item->removed = true;
    return true;
}

bool header_list_next(struct str *rest, struct str *element_out)
{
    struct str element;

    while (str_cut(rest, ',', &element)) {
        element = str_trim(element);
        if (element.len == 0)
            continue;
        *element_out = element;
        return true;
    }
    return false;
}

bool headers_has_token(const struct headers *h, enum header_id id, const char *token)
{
    unsigned iter = 0;
    const struct header *item;

    while ((item = headers_next(h, id, &iter)) != NULL) {
        struct str rest = item->value;
        struct str element;

        while (header_list_next(&rest, &element)) {
            ptrdiff_t end = str_find_char(element, ';');

            if (end >= 0)
                element = str_trim(str_slice(element, 0, (size_t)end));
            if (str_eq_fold_c(element, token))
                return true;
        }
    }
    return false;
}

/* Carries meaning or protection beyond the hop: Connection cannot take it away. */
static bool survives_being_named(enum header_id id, struct str name)
{
    static const enum header_id kept[] = {
        HDR_HOST,
        HDR_COOKIE,
        HDR_SET_COOKIE,
        HDR_AUTHORIZATION,
        HDR_VIA,
        HDR_FORWARDED,
        HDR_X_REAL_IP,
        HDR_X_CONSENT,
        HDR_SEC_GPC,
        HDR_CACHE_CONTROL,
        HDR_X_FORWARDED_FOR,
        HDR_X_FORWARDED_HOST,
        HDR_X_FORWARDED_PORT,
        HDR_X_FORWARDED_PROTO,
    };

    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        if (id == kept[i])
            return true;
    }
    return str_starts_fold(name, STR("content-")) || str_starts_fold(name, STR("x-forwarded-"));
}

static void remove_named(struct headers *h, struct str name)
{
    for (unsigned i = 0; i < h->cnt; i++) {
        struct header *item = &h->items[i];

        if (str_eq_fold(item->name, name) && !survives_being_named(item->id, item->name))
            item->removed = true;
    }
}

void headers_strip_hop_by_hop(struct headers *h)
{
    static const enum header_id hop[] = {
        HDR_CONNECTION,
        HDR_KEEP_ALIVE,
        HDR_PROXY_CONNECTION,
        HDR_PROXY_AUTHENTICATE,
        HDR_TE,
        HDR_PROXY_AUTHORIZATION,
        HDR_TRAILER,
        HDR_UPGRADE,
        HDR_HTTP2_SETTINGS,
        HDR_TRANSFER_ENCODING,
    };
    unsigned iter = 0;
    const struct header *item;

    while ((item = headers_next(h, HDR_CONNECTION, &iter)) != NULL) {
        struct str rest = item->value;
        struct str name;

        while (header_list_next(&rest, &name)) {
            if (!str_eq_fold_c(name, "connection"))
                remove_named(h, name);
        }
    }
    for (size_t i = 0; i < COUNT_OF(hop); i++)
        headers_remove(h, hop[i]);
}
