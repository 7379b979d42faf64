/*
 * match_glob.c - the globs of consentd/match.h.
 *
 * Two pointers and one remembered star. That is enough also with a stop byte: a star can't leave
 * its segment, so once the stop byte behind it has matched, no other length of it is possible.
 */
#include "consentd/match.h"

struct star {
    size_t glob_at; /* behind the star; SIZE_MAX: no star yet */
    size_t text_at; /* how far the star reaches */
};

/* Lets the star take one byte more. False when it may not. */
static bool star_grow(struct star *star, struct str text, char stop)
{
    if (star->glob_at == SIZE_MAX || star->text_at >= text.len)
        return false;
    if (stop != '\0' && text.ptr[star->text_at] == stop)
        return false;
    star->text_at++;
    return true;
}

static bool match(struct str glob, struct str text, char stop, bool prefix)
{
    struct star star = {.glob_at = SIZE_MAX};
    size_t g = 0, t = 0;

    for (;;) {
        if (g < glob.len && glob.ptr[g] == '*') {
            star = (struct star){.glob_at = ++g, .text_at = t};
            if (stop != '\0' && !star_grow(&star, text, stop))
                return false; /* it stands for at least one byte */
            t = star.text_at;
            continue;
        }
        if (g == glob.len && (prefix || t == text.len))
            return true;
        if (g < glob.len && t < text.len && glob.ptr[g] == text.ptr[t]) {
            g++;
            t++;
            continue;
        }
        if (!star_grow(&star, text, stop))
            return false;
        g = star.glob_at;
        t = star.text_at;
    }
}

bool glob_match(struct str glob, struct str text, char stop)
{
    return match(glob, text, stop, false);
}

bool glob_match_prefix(struct str glob, struct str text, char stop)
{
    return match(glob, text, stop, true);
}
