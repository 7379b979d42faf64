/*
 * Invariants of the rewriter on any bytes: cutting the input anywhere changes nothing;
 * a page that is kept whole is identical; a second pass over the output changes nothing
 * (unless the page was full of limits, which the first byte turns on). The mutator works on
 * pieces of markup: it puts one in, takes a stretch out, or moves it elsewhere.
 */
#include <stdlib.h>

#include "../unit/html_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const pieces[] = {
    "<img src=//evil/>",
    "<script src=//evil/></script>",
    "<script>evil()</script>",
    "<iframe src=//evil/></iframe>",
    "<iframe srcdoc=\"<img src=//evil/>\">",
    "<link rel=stylesheet href=//evil/>",
    "<style>a{b:url(//evil/)}</style>",
    "<p style=\"a:url(//evil/)\">",
    "<p onclick=\"evil()\" title='",
    "<a href=\"javascript:evil()\" ping=//evil/>",
    "<video poster=//evil/>",
    "<base href=//evil/>",
    "<svg>",
    "</svg>",
    "<svg><style>",
    "<svg><script>",
    "<svg><title>",
    "<foreignObject>",
    "<math>",
    "<mtext>",
    "<annotation-xml encoding=text/html>",
    "<font color=red>",
    "<![CDATA[",
    "]]>",
    "<noscript>",
    "</noscript>",
    "<p title=\"</noscript>",
    "<!-- </noscript> -->",
    "<select>",
    "</select>",
    "<frameset>",
    "<noframes>",
    "<template>",
    "</template>",
    "<title>",
    "</title>",
    "<textarea>",
    "<xmp>",
    "</xmp>",
    "<plaintext>",
    "<!--",
    "-->",
    "--!>",
    "<!doctype html>",
    "<body>",
    "</body>",
    "<head>",
    "</script>",
    "</style>",
    "<script><!--<script>",
    "<table>",
    "</p>",
    "</br>",
    "<amp-analytics type=evil>",
    "\"",
    "'",
    ">",
    "/>",
    "=",
    " ",
    "&#101;",
    "&amp;",
};

/* Opens a gap of len bytes at at, as far as max allows; the new size. */
static size_t open_gap(uint8_t *data, size_t size, size_t max, size_t at, size_t len)
{
    if (size + len > max)
        return size;
    memmove(data + at + len, data + at, size - at);
    return size + len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    size_t at = 2 + (size > 2 ? seed / 7 % (size - 1) : 0);
    const char *piece = pieces[seed / 3 % COUNT_OF(pieces)];
    size_t len = strlen(piece);

    if (size < 3 || seed % 8 == 0)
        return LLVMFuzzerMutate(data, size, max);
    at = at < size ? at : size;
    if (seed % 8 == 1) { /* out */
        len = len < size - at ? len : size - at;
        memmove(data + at, data + at + len, size - at - len);
        return size - len;
    }
    if (seed % 8 == 2) { /* again at the end */
        len = len < size - at ? len : size - at;
        if (size + len > max)
            return size;
        memmove(data + size, data + at, len);
        return size + len;
    }
    if (open_gap(data, size, max, at, len) == size)
        return size;
    memcpy(data + at, piece, len);
    return size + len;
}

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
