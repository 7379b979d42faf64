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
    uint32_t hash = 0;
    enum html_attr id;
    size_t same = 0;

    for (size_t i = 0; i < name.len; i++)
        hash = element_hash(hash, (uint8_t)name.ptr[i]);
    id = attr_slots[(uint32_t)(hash * ATTR_MULTIPLIER) >> ATTR_SHIFT];
    if (id != ATTR_OTHER && attr_lens[id] == name.len) {
        while (same < name.len && ascii_lower(name.ptr[same]) == attr_rows[id][same])
            same++;
        if (same == name.len)
            return id;
    }
    return name.len > 2 && (name.ptr[0] | 0x20) == 'o' && (name.ptr[1] | 0x20) == 'n' ? ATTR_HANDLER
                                                                                      : ATTR_OTHER;
}
