/*
 * html_filter WORD...: the page on stdin through the rewriter, to stdout; every URL or
 * script that contains one of the words is dropped. For check_html_dom.py.
 *
 * html_filter --many WORD...: many pages, for html_diff.mjs. Each is two 32-bit numbers in
 * the machine's order (bytes of the page, bytes of one push; 0: nothing is denied) and the
 * page; the answer is one such number (bytes, 0xffffffff: failed) and the output.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/html_page.h"

static bool answer(struct page *page, uint32_t len, uint32_t step)
{
    unsigned words = page->deny_cnt;
    uint8_t *in = malloc(len + 1);
    uint32_t size;
    bool ok = in != NULL && fread(in, 1, len, stdin) == len;

    if (step == 0)
        page->deny_cnt = 0;
    ok = ok && page_run(page, str_make(in, len), 0, step == 0 ? len + 1 : step);
    page->deny_cnt = words;
    size = ok ? (uint32_t)page->out.len : UINT32_MAX;
    free(in);
    return fwrite(&size, sizeof(size), 1, stdout) == 1 &&
           (!ok || fwrite(page->out.data, 1, page->out.len, stdout) == page->out.len) &&
           fflush(stdout) == 0;
}

static int run_many(struct page *page)
{
    uint32_t head[2];

    while (fread(head, sizeof(head), 1, stdin) == 1) {
        if (!answer(page, head[0], head[1]))
            return 1;
    }
    buf_free(&page->out);
    return 0;
}

int main(int argc, char **argv)
{
    struct page page = {0};
    bool many = argc > 1 && strcmp(argv[1], "--many") == 0;
    struct buf in;
    int c;
    bool ok = true;

    for (int i = many ? 2 : 1; i < argc && page.deny_cnt < COUNT_OF(page.deny); i++)
        page.deny[page.deny_cnt++] = str_c(argv[i]);
    if (many)
        return run_many(&page);
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
