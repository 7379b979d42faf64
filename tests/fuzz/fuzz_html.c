/*
 * Invariants of the rewriter on any bytes: cutting the input anywhere changes nothing;
 * a page that is kept whole is identical; a second pass over the output changes nothing
 * (unless the page was full of limits, which the first byte turns on).
 */
#include <stdlib.h>

#include "../unit/html_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct page page = {.deny = {STR_INIT("evil"), STR_INIT("T")}, .deny_cnt = 2};
    struct buf whole;
    struct str in;

    if (size < 3)
        return 0;
    if ((data[0] & 1) != 0)
        page.limits = (struct html_limits){.tag_max = 48, .inline_max = 96, .depth_max = 4};
    in = str_make(data + 2, size - 2);
    must(page_run(&page, in, 0, in.len));
    whole = page.out;
    page.out = (struct buf){0};
    must(page_run(&page, in, 0, 1) && str_eq(buf_str(&page.out), buf_str(&whole)));
    must(page_run(&page, in, data[1] % in.len, in.len) &&
         str_eq(buf_str(&page.out), buf_str(&whole)));
    if ((data[0] & 1) == 0) {
        struct page keep = {0};

        must(page_run(&page, buf_str(&whole), 0, whole.len + 1) &&
             str_eq(buf_str(&page.out), buf_str(&whole)));
        (void)page_run(&keep, in, 0, in.len);
        if (keep.counts.removed == 0 && keep.counts.attrs_removed == 0 &&
            keep.counts.partings == 0 && keep.counts.urls_blanked == 0)
            must(str_eq(buf_str(&keep.out), in));
        buf_free(&keep.out);
    }
    buf_free(&whole);
    buf_free(&page.out);
    return 0;
}
