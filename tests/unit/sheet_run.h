/*
 * sheet_run.h - a style sheet through the filter, cut as one likes; URLs with "evil" go.
 */
#ifndef CONSENTD_TEST_SHEET_RUN_H
#define CONSENTD_TEST_SHEET_RUN_H

#include <stdbool.h>
#include <stdlib.h>

#include "consentd/buf.h"
#include "consentd/sheet.h"

#define SHEET_RUN_MAX (8u << 20)

struct sheet_run {
    enum css_pairs pairs;
    struct buf out;
    struct buf seen; /* every URL that was shown, one a line; "@" before those of an @import */
    size_t held_max;
};

static enum html_action sheet_run_ref(void *owner, const struct html_ref *ref,
                                      struct html_note *note_out)
{
    struct sheet_run *run = owner;
    bool import = ref->use == HTML_USE_STYLESHEET;

    (void)note_out;
    if ((import && !buf_append_c(&run->seen, "@")) || !buf_append_str(&run->seen, ref->value) ||
        !buf_append_c(&run->seen, "\n"))
        abort();
    return str_find(ref->value, STR("evil")) >= 0 ? HTML_DROP : HTML_KEEP;
}

static bool sheet_run_output(void *owner, const uint8_t *data, size_t len)
{
    struct sheet_run *run = owner;

    return buf_append(&run->out, data, len);
}

/* In pieces of step bytes, the first one of first bytes (0: like the others). */
static inline bool sheet_run(struct sheet_run *run, struct str in, size_t first, size_t step)
{
    const struct html_ops ops = {.on_ref = sheet_run_ref, .on_output = sheet_run_output};
    struct sheet *sheet = sheet_new(&ops, run->pairs, run);
    size_t at = 0;
    bool ok = true;

    buf_free(&run->out);
    buf_free(&run->seen);
    buf_init(&run->out, SHEET_RUN_MAX);
    buf_init(&run->seen, SHEET_RUN_MAX);
    run->held_max = 0;
    while (ok && at < in.len) {
        size_t len = at == 0 && first > 0 ? first : step;
        struct str piece = str_slice(in, at, len);
        char *copy = malloc(piece.len); /* exact, so that a sanitizer sees an overread */

        if (copy == NULL)
            abort();
        memcpy(copy, piece.ptr, piece.len);
        ok = sheet_push(sheet, str_make(copy, piece.len));
        free(copy);
        at += piece.len;
        if (sheet_held(sheet) > run->held_max)
            run->held_max = sheet_held(sheet);
    }
    ok = ok && sheet_end(sheet);
    sheet_free(sheet);
    return ok;
}

static inline void sheet_run_fini(struct sheet_run *run)
{
    buf_free(&run->out);
    buf_free(&run->seen);
}

#endif
