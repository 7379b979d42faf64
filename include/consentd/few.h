/*
 * few.h - small counts that are left out of a published table, and what they could be told from.
 * layer: base
 *
 * Who reads a row or a column with its sum can tell one figure that is missing from the others. So
 * where figures are left out of such a sum there are two at least, together FEW_BELOW or more; the
 * smallest of the others go until that is so. Zeros alone stay out without more: nobody is behind
 * them. Each sum is looked at by itself: not what several of them tell together, nor what the
 * difference of two tables, of other days or filters, does. Pure.
 */
#ifndef CONSENTD_FEW_H
#define CONSENTD_FEW_H

#include <stdbool.h>
#include <stdint.h>

#define FEW_BELOW 10

/* What a column has to do with the others of its row. */
enum few_kind {
    FEW_ALONE = 0, /* nothing */
    FEW_WHOLE,     /* the sum of the parts, and of each pair: before all of them, once */
    FEW_PART,
    FEW_PAIR /* this column and the next one; both are told, or none */
};

struct few_cell {
    uint64_t n;
    bool hidden;
};

/*
 * cells: row behind row. The rows of each column add up to a number that is known: `totals` says
 * that the last row is that number, to be left out too where it must; else it is known elsewhere.
 */
struct few_table {
    unsigned rows, cols;
    const enum few_kind *kinds; /* of the columns */
    struct few_cell *cells;
    bool totals;
};

/* Sets what is to be left out; cells that are hidden already stay so. */
void few_hide(struct few_table *t);

#endif
