/*
 * names.c - contract in names_priv.h.
 */
#include "names_priv.h"

#include <string.h>

enum html_attr attr_lookup(struct str name)
{
    uint32_t hash = 0;
    enum html_attr id;

    for (size_t i = 0; i < name.len; i++)
        hash = element_hash(hash, (uint8_t)name.ptr[i]);
    id = attr_slots[(uint32_t)(hash * attr_multiplier) >> attr_shift];
    if (id != ATTR_OTHER && str_eq_fold_c(name, attr_rows[id]))
        return id;
    return name.len > 2 && str_starts_fold(name, STR("on")) ? ATTR_HANDLER : ATTR_OTHER;
}
