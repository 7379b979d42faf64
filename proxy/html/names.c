/*
 * names.c - contract in names_priv.h.
 */
#include "names_priv.h"

#include <string.h>

static const uint8_t attr_lens[ATTR_COUNT] = {
#define X(id, name) [ATTR_##id] = sizeof(name) - 1,
    HTML_ATTRS(X)
#undef X
};

enum html_attr attr_lookup(struct str name)
{
    const uint8_t *p = (const uint8_t *)name.ptr;
    enum html_attr id;

    if (name.len < 2) /* no known one is that short */
        return ATTR_OTHER;
    /* 0x20 folds letters; what it does to other bytes is caught by the comparison */
    id = attr_slots[((uint32_t)name.len * ATTR_BY_LEN + (p[0] | 0x20u) * ATTR_BY_FIRST +
                     (p[name.len * 3 / 4] | 0x20u) * ATTR_BY_INNER +
                     (p[name.len - 1] | 0x20u) * ATTR_BY_LAST) %
                    COUNT_OF(attr_slots)];
    if (id != ATTR_OTHER && attr_lens[id] == name.len &&
        (memcmp(name.ptr, attr_rows[id], name.len) == 0 || str_eq_fold_c(name, attr_rows[id])))
        return id;
    return name.len > 2 && (name.ptr[0] | 0x20) == 'o' && (name.ptr[1] | 0x20) == 'n' ? ATTR_HANDLER
                                                                                      : ATTR_OTHER;
}
