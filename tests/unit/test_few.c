/*
 * What is left out of a published table cannot be told from its sums.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consentd/few.h"

#define ROWS 6
#define COLS 8

static const enum few_kind kinds[COLS] = {FEW_ALONE, FEW_WHOLE, FEW_PART, FEW_PART,
                                          FEW_PART,  FEW_PAIR,  FEW_PAIR, FEW_ALONE};

/* Among these cells none that is hidden follows from the sum, if the sum is known. */
static void assert_safe(const struct few_cell *const *cells, unsigned cnt, bool known)
{
    uint64_t sum = 0;
    unsigned hidden = 0;

    for (unsigned i = 0; i < cnt; i++)
        if (cells[i]->hidden) {
            sum += cells[i]->n;
            hidden += cells[i]->n > 0;
        }
    if (known && sum > 0) {
        assert_true(hidden >= 2);
        assert_true(sum >= FEW_BELOW);
    }
}

static void check(const struct few_table *t)
{
    unsigned data = t->totals ? t->rows - 1 : t->rows;
    const struct few_cell *cells[ROWS + COLS];

    for (size_t i = 0; i < (size_t)t->rows * t->cols; i++)
        assert_true(t->cells[i].hidden || t->cells[i].n >= FEW_BELOW);
    for (size_t col = 0; col < t->cols; col++) {
        for (unsigned row = 0; row < data; row++)
            cells[row] = &t->cells[row * t->cols + col];
        assert_safe(cells, data, !t->totals || !t->cells[data * t->cols + col].hidden);
    }
    for (size_t row = 0; row < t->rows; row++) {
        const struct few_cell *c = &t->cells[row * t->cols];

        for (unsigned i = 0; i < 3; i++)
            cells[i] = &c[2 + i];
        assert_safe(cells, 3, !c[1].hidden);
        assert_int_equal(c[5].hidden, c[6].hidden);
        if (c[1].hidden) /* what adds up to it is hidden too */
            for (unsigned i = 2; i < 7; i++)
                assert_true(c[i].hidden);
    }
}

/* Below `end`; the same numbers in every run. */
static unsigned pick(unsigned end)
{
    static uint64_t state = 7;

    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(state >> 33) % end;
}

/* Decisions of a row in three acts, and as granted and refused; the last row: the sums. */
static void fill(struct few_cell cells[ROWS][COLS], unsigned rows, unsigned max)
{
    memset(cells, 0, sizeof(struct few_cell) * ROWS * COLS);
    for (unsigned row = 0; row + 1 < rows; row++) {
        struct few_cell *c = cells[row];

        for (unsigned i = 2; i < 5; i++)
            c[i].n = pick(3) == 0 ? pick(12) : pick(max);
        c[1].n = c[2].n + c[3].n + c[4].n;
        c[5].n = c[1].n > 0 ? pick((unsigned)c[1].n + 1) : 0;
        c[6].n = c[1].n - c[5].n;
        c[0].n = pick(max);
        c[7].n = pick(max);
        for (unsigned i = 0; i < COLS; i++)
            cells[rows - 1][i].n += c[i].n;
    }
}

static void test_no_sum_tells(void **state)
{
    struct few_cell cells[ROWS][COLS];

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct few_table t = {.rows = 2 + pick(ROWS - 1),
                              .cols = COLS,
                              .kinds = kinds,
                              .cells = cells[0],
                              .totals = true};

        fill(cells, t.rows, 1 + pick(300));
        few_hide(&t);
        check(&t);
        t.totals = false;
        t.rows--;
        for (size_t k = 0; k < (size_t)t.rows * COLS; k++)
            t.cells[k].hidden = false;
        few_hide(&t);
        for (size_t row = 0; row < t.rows; row++)
            for (size_t col = 0; col < COLS; col++)
                assert_true(cells[row][col].hidden || cells[row][col].n >= FEW_BELOW);
    }
}

/* One small figure: the next smallest of its column goes, and no more than that. */
static void test_no_more_than_it_takes(void **state)
{
    enum few_kind alone[2] = {FEW_ALONE, FEW_ALONE};
    struct few_cell cells[4][2] = {{{3, false}, {0, false}},
                                   {{40, false}, {50, false}},
                                   {{20, false}, {60, false}},
                                   {{63, false}, {110, false}}};
    struct few_table t = {4, 2, alone, cells[0], true};

    (void)state;
    few_hide(&t);
    assert_true(cells[0][0].hidden && cells[2][0].hidden);
    assert_false(cells[1][0].hidden || cells[3][0].hidden);
    assert_true(cells[0][1].hidden); /* a zero hides no other */
    assert_false(cells[1][1].hidden || cells[2][1].hidden || cells[3][1].hidden);
    /* nothing else in the column: the sum goes */
    cells[0][0] = (struct few_cell){12, true};
    t = (struct few_table){2, 1, alone, (struct few_cell[2]){{12, true}, {12, false}}, true};
    few_hide(&t);
    assert_true(t.cells[1].hidden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_sum_tells),
        cmocka_unit_test(test_no_more_than_it_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
