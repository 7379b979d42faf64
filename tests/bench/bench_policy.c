/*
 * What one decision costs: cookie, address, inline script, token. Prints figures, sets no mark.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/arena.h"
#include "consentd/attr.h"
#include "consentd/clock.h"
#include "consentd/decide.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/token.h"

#define ROUNDS 200000u

struct dir {
    DIR *dir;
    char path[512], file[800];
    struct buf text;
};

static bool next_file(void *arg, struct str *name_out, struct str *text_out)
{
    struct dir *d = arg;
    const struct dirent *entry;

    do {
        entry = readdir(d->dir);
    } while (entry != NULL && !str_ends(str_c(entry->d_name), STR(".json")));
    if (entry == NULL)
        return false;
    snprintf(d->file, sizeof(d->file), "%s/%s", d->path, entry->d_name);
    buf_clear(&d->text);
    if (!file_read(d->file, RULESET_TEXT_MAX, &d->text, NULL))
        return false;
    *name_out = str_c(d->file);
    *text_out = buf_str(&d->text);
    return true;
}

static struct rules *load(void)
{
    const char *source = getenv("CONSENTD_SOURCE");
    struct categories categories;
    const struct rules_input input = {.categories = &categories};
    struct dir d = {0};
    struct fault f = {0};
    struct rules *rules;

    categories_init(&categories);
    snprintf(d.path, sizeof(d.path), "%s/rules/sets", source != NULL ? source : ".");
    buf_init(&d.text, RULESET_TEXT_MAX);
    d.dir = opendir(d.path);
    if (d.dir == NULL)
        return NULL;
    rules = rules_load(next_file, &d, &input, &f);
    if (rules == NULL)
        fprintf(stderr, "%s\n", f.text);
    closedir(d.dir);
    buf_free(&d.text);
    return rules;
}

static void print_ns(const char *what, uint64_t start, uint64_t cnt)
{
    printf("%-28s %8.1f ns\n", what, (double)(clock_mono_ns() - start) / (double)cnt);
}

static void bench_cookies(const struct decider *d)
{
    static const char *const names[] = {"_ga",
                                        "_ga_ABC123",
                                        "PHPSESSID",
                                        "theme",
                                        "hubspotutk",
                                        "_fbp",
                                        "cart_id",
                                        "csrftoken",
                                        "wordpress_logged_in_abcdef",
                                        "a_rather_long_cookie_name"};
    uint64_t start = clock_mono_ns();
    unsigned stripped = 0;

    for (unsigned i = 0; i < ROUNDS; i++)
        stripped += decide_cookie(d, str_c(names[i % COUNT_OF(names)])).action == VERDICT_STRIP;
    print_ns("cookie", start, ROUNDS);
    if (stripped == 0)
        puts("nothing was removed: the rules are not the shipped ones");
}

static void bench_urls(const struct decider *d)
{
    static const char *const texts[] = {
        "https://www.googletagmanager.com/gtag/js?id=G-ABC", "https://cdn.example.com/app.js",
        "https://connect.facebook.net/en_US/fbevents.js", "https://www.netstreem.com/img/logo.png"};
    struct url urls[COUNT_OF(texts)];
    struct arena arena;
    uint64_t start;
    unsigned stripped = 0;

    arena_init(&arena, NULL, 1u << 20);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (!url_parse(str_c(texts[i]), NULL, &arena, &urls[i]))
            return;
    }
    start = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++)
        stripped += decide_url(d, &urls[i % COUNT_OF(urls)]).action == VERDICT_STRIP;
    print_ns("address (parsed)", start, ROUNDS);
    start = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++)
        stripped +=
            decide_site_path(d, STR("/products/widgets?page=2&sort=name")).action == VERDICT_STRIP;
    print_ns("request to the site", start, ROUNDS);
    printf("%-28s %8u\n", "removed", stripped);
    arena_fini(&arena);
}

/* One script of 256 KiB; each time another one (its first bytes change), or always the same. */
static void bench_inline(const struct decider *d, const char *what, const char *line, bool repeats)
{
    size_t len = 256u * 1024, line_len = strlen(line);
    char *text = mem_alloc(len);
    uint64_t start;
    double seconds;

    for (size_t i = 0; i < len; i++)
        text[i] = line[i % line_len];
    start = clock_mono_ns();
    for (unsigned i = 0; i < 100; i++) {
        if (!repeats)
            text[0] = (char)('!' + i % 64);
        if (!repeats)
            text[1] = (char)('0' + i / 64);
        (void)decide_inline(d, str_make(text, len)).action;
    }
    seconds = (double)(clock_mono_ns() - start) / 1e9;
    printf("%-28s %8.0f MB/s\n", what, (double)len * 100 / seconds / 1e6);
    free(text);
}

static void bench_token(void)
{
    struct keyring *ring =
        keyring_parse("keys",
                      STR("{\"keys\":[{\"kid\":3,\"use\":\"tok\",\"state\":\"active\",\"key\":"
                          "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"}]}"),
                      NULL);
    const struct token_check check = {.site = STR("www.netstreem.com"), .now_s = 1795470842};
    struct token_claims claims = {
        .grants = 7, .epoch = 7, .issued_s = 1795470842, .expires_s = 1811022842};
    char text[TOKEN_LEN + 1];
    uint64_t start;
    unsigned ok = 0;

    if (!token_issue(ring, &claims, check.site, text))
        return;
    start = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++)
        ok += token_verify(ring, str_make(text, TOKEN_LEN), &check, &claims) == TOKEN_OK;
    print_ns("token, verified", start, ok);
    text[50] = text[50] == 'A' ? 'B' : 'A';
    start = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++)
        ok += token_verify(ring, str_make(text, TOKEN_LEN), &check, &claims) == TOKEN_MAC;
    print_ns("token, refused", start, ROUNDS);
    keyring_free(ring);
}

int main(void)
{
    uint64_t start = clock_mono_ns();
    struct rules *rules = load();
    struct decider d = {0};
    struct snapshot *snapshot;

    if (rules == NULL)
        return 1;
    printf("%-28s %8.1f ms\n", "loading all rules", (double)(clock_mono_ns() - start) / 1e6);
    start = clock_mono_ns();
    snapshot = snapshot_new(rules, 0, NULL, NULL, 0);
    print_ns("snapshot", start, 1);
    d.snapshot = snapshot;
    bench_cookies(&d);
    bench_urls(&d);
    bench_inline(&d, "inline, plain code",
                 "function f(a,b){if(a>b){return a-b}var c=document.getElementById('x');c.x=1}\n",
                 false);
    bench_inline(&d, "inline, JSON with escapes",
                 "{\"url\":\"https:\\/\\/www.example.com\\/a\",\"name\":\"caf\\u00e9\"},\n", false);
    bench_inline(&d, "inline, a tracker's",
                 "s=document.createElement('script');s.src='https://connect.facebook.net/x.js';\n",
                 false);
    bench_inline(&d, "inline, seen before",
                 "s=document.createElement('script');s.src='https://connect.facebook.net/x.js';\n",
                 true);
    bench_token();
    snapshot_give(snapshot);
    rules_give(rules);
    return 0;
}
