/*
 * html_filter WORD...: the page on stdin through the rewriter, to stdout; every URL or
 * script that contains one of the words is dropped. For check_html_dom.py.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/html_page.h"

int main(int argc, char **argv)
{
    struct page page = {0};
    struct buf in;
    int c;
    bool ok = true;

    for (int i = 1; i < argc && page.deny_cnt < COUNT_OF(page.deny); i++)
        page.deny[page.deny_cnt++] = str_c(argv[i]);
    buf_init(&in, (size_t)64 << 20);
    while ((c = getchar()) != EOF && ok)
        ok = buf_append_char(&in, (char)c);
    ok = ok && page_run(&page, buf_str(&in), 0, 1000);
    if (ok)
        ok = fwrite(page.out.data, 1, page.out.len, stdout) == page.out.len;
    fprintf(stderr, "removed=%llu attrs=%llu blanked=%llu partings=%llu\n",
            (unsigned long long)page.counts.removed, (unsigned long long)page.counts.attrs_removed,
            (unsigned long long)page.counts.urls_blanked, (unsigned long long)page.counts.partings);
    buf_free(&in);
    buf_free(&page.out);
    return ok ? 0 : 1;
}
