/*
 * policy_language.c - which language a visitor reads (RFC 9110 12.5.4).
 */
#include "consentd/policy.h"

#define RANGES_MAX 32 /* ranges of one Accept-Language field that are looked at */

/* Thousandths of a qvalue; 1000 when there is none, 0 when it is malformed. */
static unsigned quality_of(struct str params)
{
    struct str part;

    while (str_cut(&params, ';', &part)) {
        unsigned value, unit = 100;

        part = str_trim(part);
        if (!str_starts_fold(part, STR("q=")))
            continue;
        part = str_slice(part, 2, part.len);
        if (part.len == 0 || part.len > 5 || part.ptr[0] < '0' || part.ptr[0] > '1')
            return 0;
        value = (unsigned)(part.ptr[0] - '0') * 1000;
        for (size_t i = 2; i < part.len && ascii_is_digit(part.ptr[i]); i++, unit /= 10)
            value += (unsigned)(part.ptr[i] - '0') * unit;
        return value > 1000 ? 1000 : value;
    }
    return 1000;
}

/* The tag that the range is, or is the beginning of up to a "-". */
static int find(const char *const *tags, size_t cnt, struct str range, bool beginning)
{
    for (size_t i = 0; i < cnt; i++) {
        struct str tag = str_c(tags[i]);

        if (beginning && tag.len > range.len && tag.ptr[range.len] == '-')
            tag.len = range.len;
        if (str_eq_fold(range, tag))
            return (int)i;
    }
    return -1;
}

/* RFC 4647 3.4: the range, then the range without its last subtag, and so on. */
static int lookup(const char *const *tags, size_t cnt, struct str range)
{
    struct str whole = range;

    while (range.len > 0) {
        int found = find(tags, cnt, range, false);
        ptrdiff_t dash = str_find_last_char(range, '-');

        if (found >= 0)
            return found;
        range.len = dash > 0 ? (size_t)dash : 0;
    }
    return whole.len > 0 ? find(tags, cnt, whole, true) : -1;
}

unsigned language_choose(const char *const *tags, size_t cnt, struct str accept_language)
{
    unsigned best = 0, best_quality = 0;
    struct str item;

    for (unsigned n = 0; n < RANGES_MAX && str_cut(&accept_language, ',', &item); n++) {
        ptrdiff_t semicolon = str_find_char(item, ';');
        struct str params = {0};
        unsigned quality;
        int found;

        if (semicolon >= 0)
            params = str_slice(item, (size_t)semicolon + 1, item.len);
        quality = quality_of(params);
        if (semicolon >= 0)
            item.len = (size_t)semicolon;
        found = lookup(tags, cnt, str_trim(item));
        if (found >= 0 && quality > best_quality) {
            best = (unsigned)found;
            best_quality = quality;
        }
    }
    return best;
}

unsigned policy_language(const struct policy *p, struct str accept_language)
{
    return language_choose(p->languages, p->language_cnt, accept_language);
}
