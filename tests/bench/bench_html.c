/*
 * MB/s of the rewriter on a folder of pages (argument, or $CONSENTD_SHARED/corpus/html),
 * beside memchr for '<' and a skeleton tag scanner (quotes, comments, raw texts; no decoding,
 * no decisions) in the same run. Best of 5; with the most memory that one page's rewriter took
 * between two chunks of 16 KiB, and instructions per byte where the kernel counts them. The
 * owner's answers: all kept; what mentions one of five words goes, each searched in each script
 * by memmem; every absolute URL goes. Scripts (*.js) of the folder go through the search for
 * imports. A second argument chooses the rows whose names contain it.
 */
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <glob.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../unit/html_page.h"
#include "consentd/file.h"
#include "consentd/imports.h"

#define ROUNDS 5
#define CHUNK  ((size_t)16 << 10)

struct sample {
    struct buf pages[128];
    size_t cnt, bytes;
};

static volatile size_t sink;
static const char *only = ""; /* what a row's name must contain */
static bool weighing;         /* look at the heap after each push */
static size_t heaviest;

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A counter of this process's instructions, -1 without one. */
static int open_counter(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof(attr),
                                   .config = PERF_COUNT_HW_INSTRUCTIONS,
                                   .exclude_kernel = 1};

    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t read_counter(int fd)
{
    uint64_t n = 0;

    return fd >= 0 && read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static enum html_action on_absolute_ref(void *owner, const struct html_ref *ref,
                                        struct html_note *note)
{
    UNUSED(owner);
    UNUSED(note);
    return str_find(str_slice(ref->value, 0, 8), STR("//")) >= 0 ? HTML_DROP : HTML_KEEP;
}

static enum html_action on_any_inline(void *owner, const struct html_inline *code,
                                      struct html_note *note)
{
    UNUSED(owner);
    UNUSED(code);
    UNUSED(note);
    return HTML_KEEP;
}

static size_t count_memchr(struct str s)
{
    size_t n = 0;
    const char *p = s.ptr, *end = s.ptr + s.len;

    while (p < end && (p = memchr(p, '<', (size_t)(end - p))) != NULL) {
        n++;
        p++;
    }
    return n;
}

static const char *skip_to(const char *p, const char *end, const char *what)
{
    const char *hit = memmem(p, (size_t)(end - p), what, strlen(what));

    return hit != NULL ? hit + strlen(what) : end;
}

static size_t count_skeleton(struct str s)
{
    size_t n = 0;
    const char *p = s.ptr, *end = s.ptr + s.len;

    while (p < end && (p = memchr(p, '<', (size_t)(end - p))) != NULL) {
        const char *name = ++p;

        if (end - p > 3 && memcmp(p, "!--", 3) == 0) {
            p = skip_to(p, end, "-->");
            continue;
        }
        while (p < end && *p != '>') {
            if (*p == '"' || *p == '\'') {
                const char *q = memchr(p + 1, *p, (size_t)(end - p - 1));

                p = q != NULL ? q : end - 1;
            }
            p++;
        }
        n++;
        if (end - name > 6 && strncasecmp(name, "script", 6) == 0)
            p = skip_to(p, end, "</script");
        else if (end - name > 5 && strncasecmp(name, "style", 5) == 0)
            p = skip_to(p, end, "</style");
    }
    return n;
}

static bool on_sink(void *owner, const uint8_t *data, size_t len)
{
    UNUSED(owner);
    UNUSED(data);
    sink += len;
    return true;
}

static size_t run_rewriter(struct page *page, struct str s)
{
    const bool words = page->deny_cnt != 1;
    const struct html_ops ops = {.on_ref = words ? on_page_ref : on_absolute_ref,
                                 .on_inline = words ? on_page_inline : on_any_inline,
                                 .on_output = on_sink};
    size_t before = heap_bytes();
    struct rewriter *rw = rewriter_new(NULL, &ops, page);
    bool ok = true;

    for (size_t at = 0; at < s.len && ok; at += CHUNK) {
        struct str part = str_slice(s, at, CHUNK);

        ok = rewriter_push(rw, (const uint8_t *)part.ptr, part.len);
        if (weighing && heap_bytes() - before > heaviest)
            heaviest = heap_bytes() - before;
    }
    ok = ok && rewriter_end(rw);
    page->counts.removed += rewriter_counts(rw)->removed;
    rewriter_free(rw);
    return ok;
}

static size_t run_imports(struct str s)
{
    struct page page = {.deny = {STR_INIT("evil")}, .deny_cnt = 1};
    const struct html_ops ops = {.on_ref = on_page_ref, .on_output = on_sink};
    struct imports *imports = imports_new(&ops, STR("data:,"), &page);
    bool ok = true;

    for (size_t at = 0; at < s.len && ok; at += CHUNK)
        ok = imports_push(imports, str_slice(s, at, CHUNK));
    ok = ok && imports_end(imports);
    imports_free(imports);
    return ok;
}

static void run_set(const struct sample *set, size_t (*fn)(struct str), struct page *page)
{
    for (size_t i = 0; i < set->cnt; i++)
        sink += page != NULL ? run_rewriter(page, buf_str(&set->pages[i]))
                             : fn(buf_str(&set->pages[i]));
}

static void bench(const char *name, const struct sample *set, size_t (*fn)(struct str),
                  struct page *page)
{
    int fd;
    uint64_t before;
    double best = 1e9;

    if (strstr(name, only) == NULL)
        return;
    fd = open_counter();
    for (unsigned round = 0; round < ROUNDS; round++) {
        double start = now_s();

        for (unsigned again = 0; again < 4; again++)
            run_set(set, fn, page);
        double spent = (now_s() - start) / 4;
        best = spent < best ? spent : best;
    }
    before = read_counter(fd);
    run_set(set, fn, page);
    printf("%-32s %8.0f MB/s", name, (double)set->bytes / best / 1e6);
    if (page != NULL) {
        weighing = true;
        heaviest = 0;
        run_set(set, fn, page);
        weighing = false;
        printf(" %8zu KiB", heaviest / 1024);
    }
    if (before > 0)
        printf(" %8.2f instructions/byte",
               (double)(read_counter(fd) - before) / (double)set->bytes);
    printf("\n");
    if (fd >= 0)
        close(fd);
}

/* The same over and over: a page, or with fn what that reads. */
static void bench_made(const char *name, const char *unit, size_t bytes, size_t (*fn)(struct str))
{
    struct sample set = {.cnt = 1, .bytes = bytes};
    struct page page = {.deny = {STR_INIT("evil")}, .deny_cnt = 1};
    size_t len = strlen(unit);

    if (strstr(name, only) == NULL)
        return;
    buf_init(&set.pages[0], bytes + 64);
    while (set.pages[0].len + len <= bytes && buf_append(&set.pages[0], unit, len))
        ;
    bench(name, &set, fn, fn == NULL ? &page : NULL);
    buf_free(&set.pages[0]);
}

/* One inline script of this size, as no page should have. */
static void bench_script(const char *name, size_t bytes)
{
    struct sample set = {.cnt = 1, .bytes = bytes};
    struct page page = {.deny = {STR_INIT("evil")}, .deny_cnt = 1};
    bool ok;

    if (strstr(name, only) == NULL)
        return;
    buf_init(&set.pages[0], bytes + 64);
    ok = buf_append_c(&set.pages[0], "<script>");
    while (ok && set.pages[0].len < bytes)
        ok = buf_append_c(&set.pages[0], "if(a>b&&c<d)e=f=>g;");
    bench(name, &set, NULL, &page);
    buf_free(&set.pages[0]);
}

/* The files of a folder that end so. */
static void set_read(struct sample *set, const char *folder, const char *ending)
{
    char pattern[1024];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/*%s", folder, ending);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc && set->cnt < COUNT_OF(set->pages); i++) {
        buf_init(&set->pages[set->cnt], (size_t)16 << 20);
        if (file_read(found.gl_pathv[i], (size_t)16 << 20, &set->pages[set->cnt], NULL))
            set->bytes += set->pages[set->cnt++].len;
    }
    globfree(&found);
}

static void set_free(struct sample *set)
{
    for (size_t i = 0; i < set->cnt; i++)
        buf_free(&set->pages[i]);
}

static void bench_pages(const struct sample *set)
{
    struct page keep = {0};
    struct page deny = {.deny = {STR_INIT("google-analytics"), STR_INIT("googletagmanager"),
                                 STR_INIT("doubleclick"), STR_INIT("facebook"),
                                 STR_INIT("chartbeat")},
                        .deny_cnt = 5};
    struct page absolute = {.deny_cnt = 1};

    if (set->cnt == 0)
        return;
    printf("%zu pages, %zu bytes\n", set->cnt, set->bytes);
    bench("memchr '<'", set, count_memchr, NULL);
    bench("skeleton tag scanner", set, count_skeleton, NULL);
    bench("rewriter, all kept", set, NULL, &keep);
    bench("rewriter, five words denied", set, NULL, &deny);
    bench("rewriter, absolute URLs denied", set, NULL, &absolute);
}

int main(int argc, char **argv)
{
    const char *shared = getenv("CONSENTD_SHARED");
    struct sample pages = {0}, scripts = {0};
    char folder[1000];

    only = argc > 2 ? argv[2] : "";
    snprintf(folder, sizeof(folder), argc > 1 ? "%s" : "%s/corpus/html",
             argc > 1         ? argv[1]
             : shared != NULL ? shared
                              : "../shared");
    set_read(&pages, folder, ".html");
    bench_pages(&pages);
    set_free(&pages);
    set_read(&scripts, folder, ".js");
    if (scripts.cnt > 0) {
        printf("%zu scripts, %zu bytes\n", scripts.cnt, scripts.bytes);
        bench("imports", &scripts, run_imports, NULL);
    }
    set_free(&scripts);
    bench_made("made: all '<'", "<", 4000000, NULL);
    bench_made("made: one endless attribute", "<a title=\"x y", 4000000, NULL);
    bench_made("made: deep nesting", "<div><svg><g>", 4000000, NULL);
    bench_made("made: img after img", "<img src=a>", 4000000, NULL);
    bench_made("made: references", "<img src=\"&ne&nf;&not&amp\">", 4000000, NULL);
    bench_made("made: dashes", "<!-- - -- --- ->-->", 4000000, NULL);
    bench_made("made: candidates", "<img srcset=\"a,b 1x,c d,e\">", 4000000, NULL);
    bench_made("made: style", "<p style=\"a:url(b)\">", 4000000, NULL);
    bench_made("made: noscript", "<noscript><p title=x>x</p>", 4000000, NULL);
    bench_made("made: escaped script", "<script><!-- <a- -- <script>", 4000000, NULL);
    bench_made("made: trackers", "<img src=//evil/>", 4000000, NULL);
    bench_made("made: scripts", "<script>var a = '<b>';</script>", 4000000, NULL);
    bench_script("made: 10 MB inline script", 10000000);
    bench_made("made: words of imports", "if(i)f(i,from);import(i);", 4000000, run_imports);
    bench_made("made: imports without end", "import/*", 4000000, run_imports);
    bench_made("made: imports", "import a from \"./a.js\";", 4000000, run_imports);
    bench_made("made: imports of trackers", "import(\"//evil/\");", 4000000, run_imports);
    return 0;
}
