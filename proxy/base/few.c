/*
 * few.c - contract in consentd/few.h.
 *
 * Each rule hides more and none shows anything, so going over all of them until nothing changes
 * comes to an end.
 */
#include "consentd/few.h"

#include <stddef.h>

static struct few_cell *cell(const struct few_table *t, unsigned row, unsigned col)
{
    return &t->cells[(size_t)row * t->cols + col];
}

/* What is known of the hidden ones of a sum, and the smallest that is not hidden. */
struct sum {
    uint64_t hidden;
    unsigned cnt; /* hidden, without zeros */
    struct few_cell *least;
};

static void look(struct sum *s, struct few_cell *c)
{
    if (c->hidden) {
        s->hidden += c->n;
        s->cnt += c->n > 0;
    } else if (s->least == NULL || c->n < s->least->n) {
        s->least = c;
    }
}

static bool can_be_told(const struct sum *s)
{
    return s->hidden > 0 && (s->cnt < 2 || s->hidden < FEW_BELOW);
}

static bool hide(struct few_cell *c)
{
    bool was = c->hidden;

    c->hidden = true;
    return !was;
}

/* The smallest of the others goes; where there is none, the sum itself. True: something changed. */
static bool protect(const struct sum *s, struct few_cell *whole)
{
    if (!can_be_told(s) || (whole != NULL && whole->hidden))
        return false;
    if (s->least != NULL)
        return hide(s->least);
    return whole != NULL && hide(whole);
}

static bool column(const struct few_table *t, unsigned col)
{
    unsigned rows = t->totals ? t->rows - 1 : t->rows;
    struct sum s = {0};

    for (unsigned row = 0; row < rows; row++)
        look(&s, cell(t, row, col));
    return protect(&s, t->totals ? cell(t, t->rows - 1, col) : NULL);
}

static bool pairs(const struct few_table *t, unsigned row)
{
    bool changed = false;

    for (unsigned col = 0; col + 1 < t->cols; col++) {
        struct few_cell *one = cell(t, row, col), *other = one + 1;

        if (t->kinds[col] != FEW_PAIR)
            continue;
        if (one->hidden || other->hidden) {
            changed |= hide(one);
            changed |= hide(other);
        }
        col++;
    }
    return changed;
}

/* One that makes a pair with the next goes with it. */
static bool hide_with(struct few_cell *c, enum few_kind kind)
{
    bool changed = hide(c);

    return (kind == FEW_PAIR && hide(c + 1)) || changed;
}

/* A sum that is hidden takes along what adds up to it. */
static bool whole_and_parts(const struct few_table *t, unsigned row)
{
    struct few_cell *whole = NULL;
    struct sum s = {0};
    bool hidden = false, changed = false;

    for (unsigned col = 0; col < t->cols; col++) {
        struct few_cell *c = cell(t, row, col);

        if (t->kinds[col] == FEW_WHOLE) {
            whole = c;
            hidden = c->hidden;
        } else if (t->kinds[col] != FEW_ALONE && hidden)
            changed |= hide_with(c, t->kinds[col]);
        else if (t->kinds[col] == FEW_PART)
            look(&s, c);
        if (t->kinds[col] == FEW_PAIR)
            col++;
    }
    return protect(&s, whole) || changed;
}

void few_hide(struct few_table *t)
{
    bool changed = true;

    for (size_t i = 0; i < (size_t)t->rows * t->cols; i++)
        t->cells[i].hidden = t->cells[i].hidden || t->cells[i].n < FEW_BELOW;
    while (changed) {
        changed = false;
        for (unsigned row = 0; row < t->rows; row++) {
            changed |= pairs(t, row);
            changed |= whole_and_parts(t, row);
        }
        for (unsigned col = 0; col < t->cols; col++)
            changed |= column(t, col);
    }
}
