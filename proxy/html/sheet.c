/*
 * sheet.c - contract in consentd/sheet.h.
 *
 *   held | new bytes                   window: what is scanned; done: handed on up to here
 *   ─────┴───────────┬──────────────
 *        done        scan.pos ... an unfinished token stays held
 *
 * A held token is scanned again when it has doubled, so that small pushes stay linear.
 */
#include "consentd/sheet.h"

#include <stdlib.h>

#include "consentd/mem.h"
#include "rewriter_priv.h"

#define HELD_MAX    (20 * SHEET_URL_MAX) /* an unfinished URL, all of it escapes, twice */
#define RESCAN_FROM 4096                 /* bytes from which on a token must double first */

struct sheet {
    struct html_ops ops;
    void *owner;
    struct css_scan scan;
    struct buf held; /* the beginning of the window, when a token is unfinished */
    struct buf url;  /* the URL that is looked at */
    size_t wait;     /* scan again when this much is held */
    bool swallow;    /* inside a long URL that goes */
    uint64_t removed;
};

struct sheet *sheet_new(const struct html_ops *ops, enum css_pairs pairs, void *owner)
{
    struct sheet *sheet = mem_new(struct sheet);

    sheet->ops = *ops;
    sheet->owner = owner;
    sheet->scan = (struct css_scan){.pairs = pairs, .more = true};
    buf_init(&sheet->held, HELD_MAX);
    buf_init(&sheet->url, SHEET_URL_MAX);
    return sheet;
}

static enum html_action judge(struct sheet *sheet, struct str url, bool import, unsigned nest);

/* A sheet in a data: URL of an @import: not rewritten, so all of it must be fit to stay. */
static enum html_action judge_inner(struct sheet *sheet, struct str rest, unsigned nest)
{
    struct css_scan scan = {0};
    struct buf text, url;
    struct css_url at;
    bool full = false, xml;
    enum html_action action = HTML_KEEP;

    if (nest >= SHEET_NEST_MAX)
        return HTML_DROP;
    buf_init(&text, SHEET_URL_MAX);
    buf_init(&url, SHEET_URL_MAX);
    if (!value_data_body(rest, &text, &xml))
        action = HTML_DROP;
    scan.text = buf_str(&text);
    while (action == HTML_KEEP && css_next(&scan, &at, &url, &full))
        action = judge(sheet, buf_str(&url), at.import, nest + 1);
    buf_free(&text);
    buf_free(&url);
    return full ? HTML_DROP : action;
}

static enum html_action judge(struct sheet *sheet, struct str url, bool import, unsigned nest)
{
    struct html_ref ref = {.element = "",
                           .attr = "",
                           .value = url,
                           .use = import ? HTML_USE_STYLESHEET : HTML_USE_CSS};
    struct html_note note = {0};
    struct str rest;

    if (value_has_scheme(url, "data:", &rest))
        return import ? judge_inner(sheet, rest, nest) : HTML_KEEP;
    if (url.len == 0 || (url.ptr[0] == '#' && !import))
        return HTML_KEEP;
    return sheet->ops.on_ref(sheet->owner, &ref, &note);
}

/* A URL longer than what is held: its beginning must be enough. */
static enum html_action judge_long(const struct sheet *sheet, const struct css_url *url)
{
    struct str rest;

    return !url->import && value_has_scheme(buf_str(&sheet->url), "data:", &rest) ? HTML_KEEP
                                                                                  : HTML_DROP;
}

static bool hand_on(struct sheet *sheet, struct str bytes)
{
    return bytes.len == 0 ||
           sheet->ops.on_output(sheet->owner, (const uint8_t *)bytes.ptr, bytes.len);
}

/* The window as far as its tokens are finished; *done_out: up to there it was handed on. */
static bool scan_window(struct sheet *sheet, size_t *done_out)
{
    struct css_scan *scan = &sheet->scan;
    struct css_url url;
    size_t done = 0;
    bool full = false;

    for (;;) {
        bool over = css_finish(scan);
        enum html_action action;

        if (sheet->swallow)
            done = scan->pos;
        if (!over)
            break;
        sheet->swallow = false;
        if (css_next(scan, &url, &sheet->url, &full))
            action = judge(sheet, buf_str(&sheet->url), url.import, 0);
        else if (full)
            action = judge_long(sheet, &url);
        else
            break;
        if (action != HTML_KEEP) {
            if (!hand_on(sheet, str_slice(scan->text, done, url.start - done)) ||
                !hand_on(sheet, str_c(css_nothing(&url))))
                return false;
            done = url.end;
            sheet->removed++;
            sheet->swallow = full;
        }
        if (full)
            css_pass(scan, &url);
    }
    *done_out = scan->pos > done ? scan->pos : done;
    return hand_on(sheet, str_slice(scan->text, done, *done_out - done));
}

bool sheet_push(struct sheet *sheet, struct str in)
{
    struct str window = in;
    size_t done;

    if (sheet->held.len > 0 || sheet->wait > 0) {
        if (!buf_append_str(&sheet->held, in))
            return false;
        window = buf_str(&sheet->held);
        if (window.len < sheet->wait && sheet->scan.more)
            return true;
    }
    sheet->scan.text = window;
    sheet->scan.pos = 0;
    if (!scan_window(sheet, &done))
        return false;
    sheet->wait = window.len - done >= RESCAN_FROM ? 2 * (window.len - done) : 0;
    if (sheet->held.len > 0)
        buf_consume(&sheet->held, done);
    else if (!buf_append_str(&sheet->held, str_slice(window, done, window.len)))
        return false;
    return true;
}

bool sheet_end(struct sheet *sheet)
{
    sheet->scan.more = false;
    return sheet_push(sheet, STR(""));
}

uint64_t sheet_removed(const struct sheet *sheet)
{
    return sheet->removed;
}

size_t sheet_held(const struct sheet *sheet)
{
    return sheet->held.len;
}

void sheet_free(struct sheet *sheet)
{
    if (sheet == NULL)
        return;
    buf_free(&sheet->held);
    buf_free(&sheet->url);
    free(sheet);
}
