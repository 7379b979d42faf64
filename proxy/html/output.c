/*
 * output.c - what leaves the rewriter: slices of the window, cut at what goes.
 */
#include <string.h>

#include "rewriter_priv.h"

void out_send(struct rewriter *rw, struct str text)
{
    if (!rw->failed && text.len > 0 &&
        !rw->ops.on_output(rw->owner, (const uint8_t *)text.ptr, text.len))
        rw->failed = true;
}

void out_flush(struct rewriter *rw, size_t upto)
{
    if (upto > rw->sent) {
        out_send(rw, str_make(rw->win + rw->sent, upto - rw->sent));
        rw->sent = upto;
    }
}

/* Only bytes that cannot end a comment, whatever a rule set is called; the new length. */
static size_t add_label(char *text, size_t len, const char *label)
{
    for (size_t i = 0; label[i] != '\0' && i < LABEL_MAX; i++) {
        char c = label[i];
        bool good = ascii_is_alnum(c) || c == '_' || c == '.' || c == ' ' ||
                    (c == '-' && i > 0 && ascii_is_alnum(label[i - 1]));

        text[len++] = good ? c : '_';
    }
    return len;
}

void out_comment(struct rewriter *rw)
{
    static const char head[] = "<!--consentd: removed";
    char text[sizeof(head) + (size_t)LABEL_MAX * 2 + 8];
    size_t len = sizeof(head) - 1;

    memcpy(text, head, len);
    if (rw->note.set != NULL) {
        text[len++] = ' ';
        len = add_label(text, len, rw->note.set);
    }
    if (rw->note.category != NULL) {
        text[len++] = ' ';
        text[len++] = '(';
        len = add_label(text, len, rw->note.category);
        text[len++] = ')';
    }
    memcpy(text + len, "-->", 3);
    out_send(rw, str_make(text, len + 3));
}

void out_edited(struct rewriter *rw, size_t start)
{
    for (size_t i = 0; i < rw->cut_cnt; i++) {
        const struct cut *cut = &rw->cuts[i];

        out_flush(rw, start + cut->start);
        out_send(rw, str_slice(buf_str(&rw->patch), cut->with, cut->with_len));
        rw->sent = start + cut->end;
    }
}
