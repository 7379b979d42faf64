/*
 * Invariants of the style sheet filter on any bytes: cutting the input anywhere changes nothing;
 * and a sheet without a tracker is identical.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/sheet_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* A sheet in a data: URL goes when it cannot be read. */
static bool names_data(struct str in)
{
    for (size_t i = 0; i < in.len; i++) {
        if (ascii_lower(in.ptr[i]) == 'd' || in.ptr[i] == '\\')
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sheet_run whole = {0};
    struct sheet_run cut = {0};
    struct str in;

    if (size < 3)
        return 0;
    whole.pairs = cut.pairs = (enum css_pairs)(data[0] % 3);
    in = str_make(data + 2, size - 2);
    must(sheet_run(&whole, in, 0, in.len));
    must(sheet_run(&cut, in, 0, 1) && str_eq(buf_str(&cut.out), buf_str(&whole.out)));
    must(str_eq(buf_str(&cut.seen), buf_str(&whole.seen)));
    must(sheet_run(&cut, in, 1 + data[1] % in.len, in.len) &&
         str_eq(buf_str(&cut.out), buf_str(&whole.out)));
    if (str_find(buf_str(&whole.seen), STR("evil")) < 0 && !names_data(in))
        must(in.len > SHEET_URL_MAX || str_eq(buf_str(&whole.out), in));
    sheet_run_fini(&whole);
    sheet_run_fini(&cut);
    return 0;
}
