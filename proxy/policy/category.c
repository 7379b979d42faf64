/*
 * category.c - contract in consentd/category.h.
 */
#include "consentd/category.h"

#include <stdio.h>
#include <string.h>

static const char *const fixed_ids[] = {"essential", "analytics", "marketing", "preferences"};
#define FIXED_CNT 4u

void categories_init(struct categories *c)
{
    memset(c, 0, sizeof(*c));
    for (unsigned bit = 0; bit < FIXED_CNT; bit++) {
        snprintf(c->ids[bit], sizeof(c->ids[bit]), "%s", fixed_ids[bit]);
        c->named |= (uint16_t)(1u << bit);
    }
    c->defined = CATEGORY_ESSENTIAL;
    c->required = CATEGORY_ESSENTIAL;
}

bool categories_add(struct categories *c, struct str id, unsigned bit, struct fault *f)
{
    if (!str_is_id(id, CATEGORY_ID_MAX - 1)) {
        fault_set(f, "\"%.*s\" is not a category id: use a-z, 0-9 and -, at most %d characters",
                  STR_ARGS(str_slice(id, 0, 64)), CATEGORY_ID_MAX - 1);
        return false;
    }
    if (bit >= CATEGORY_MAX) {
        fault_set(f, "bit %u: categories have bits 0 to %d", bit, CATEGORY_MAX - 1);
        return false;
    }
    for (unsigned i = 0; i < CATEGORY_MAX; i++) {
        bool same_id = (c->named >> i & 1) != 0 && str_eq_c(id, c->ids[i]);

        if (same_id && i != bit) {
            fault_set(f, "category \"%s\" has bit %u, not %u", c->ids[i], i, bit);
            return false;
        }
        if (i == bit && (c->named >> i & 1) != 0 && !same_id) {
            fault_set(f, "bit %u belongs to category \"%s\", not \"%.*s\"", bit, c->ids[i],
                      STR_ARGS(id));
            return false;
        }
    }
    memset(c->ids[bit], 0, sizeof(c->ids[bit]));
    memcpy(c->ids[bit], id.ptr, id.len);
    c->named |= (uint16_t)(1u << bit);
    return true;
}

bool categories_merge(struct categories *c, const struct categories *other, struct fault *f)
{
    for (unsigned bit = 0; bit < CATEGORY_MAX; bit++) {
        if ((other->named >> bit & 1) != 0 && !categories_add(c, str_c(other->ids[bit]), bit, f))
            return false;
    }
    c->defined |= other->defined;
    c->required |= other->required;
    return true;
}

uint16_t categories_bit(const struct categories *c, struct str id)
{
    for (unsigned bit = 0; bit < CATEGORY_MAX; bit++) {
        if ((c->named >> bit & 1) != 0 && str_eq_c(id, c->ids[bit]))
            return (uint16_t)(1u << bit);
    }
    return 0;
}

const char *categories_name(const struct categories *c, uint16_t mask)
{
    for (unsigned bit = 0; bit < CATEGORY_MAX; bit++) {
        if ((mask & c->named) >> bit & 1)
            return c->ids[bit];
    }
    return "unknown";
}

const char *categories_list(const struct categories *c, uint16_t mask, char out[CATEGORY_LIST_MAX])
{
    size_t len = 0;

    out[0] = '\0';
    for (unsigned bit = 0; bit < CATEGORY_MAX; bit++) {
        if (((mask & c->named) >> bit & 1) == 0 || len >= CATEGORY_LIST_MAX)
            continue;
        len += (size_t)snprintf(out + len, CATEGORY_LIST_MAX - len, "%s%s", len > 0 ? "," : "",
                                c->ids[bit]);
    }
    if (len == 0)
        snprintf(out, CATEGORY_LIST_MAX, "none");
    return out;
}

static void fault_unknown(const struct categories *c, struct str id, struct fault *f)
{
    const char *names[CATEGORY_MAX];
    size_t cnt = 0;
    const char *near;

    for (unsigned bit = 0; bit < CATEGORY_MAX; bit++) {
        if ((c->named >> bit & 1) != 0)
            names[cnt++] = c->ids[bit];
    }
    near = str_nearest(id, names, cnt);
    fault_set(f, "unknown category \"%.*s\"%s%s%s", STR_ARGS(str_slice(id, 0, 64)),
              near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
              near != NULL ? "\"?" : "");
}

bool categories_parse(const struct categories *c, struct str list, uint16_t *mask_out,
                      struct fault *f)
{
    struct str part;

    *mask_out = 0;
    if (str_eq_c(str_trim(list), "none"))
        return true;
    if (str_eq_c(str_trim(list), "all")) {
        *mask_out = c->defined;
        return true;
    }
    while (str_cut(&list, ',', &part)) {
        uint16_t bit = categories_bit(c, str_trim(part));

        if (bit == 0) {
            fault_unknown(c, str_trim(part), f);
            *mask_out = 0;
            return false;
        }
        *mask_out |= bit;
    }
    return true;
}
