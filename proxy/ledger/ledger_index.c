/*
 * ledger_index.c - the key that the subjects' tags are made with is always the same one.
 *
 * With another one a subject's older records have tags that nobody looks for: an erasure would be
 * promised and leave them, a visitor be told that there is nothing, a hold would hold nothing.
 * So the marks of the keys that records here were tagged with stand beside the month keys, one a
 * line, and where one of them is another key's, erasures, holds and questions are unavailable.
 * Decisions are recorded all the same; with the first one the key's own mark is added, so that
 * putting the former key back afterwards promises nothing either.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/log.h"
#include "ledger_priv.h"

#define MARK_NAME "index-key"
#define FILE_MAX  4096
#define MARK_LEN  8 /* bytes: tells keys apart, and says nothing of them */

static const char label[] = "consentd.idx-mark.v1"; /* with its NUL */

static void mark_of(const struct ledger *l, char out[2 * MARK_LEN + 1])
{
    const struct str parts[] = {str_make(label, sizeof(label))};
    uint8_t mac[CRYPTO_SHA256_LEN];

    crypto_hmac_once(l->idx_key, parts, COUNT_OF(parts), mac);
    hex_encode(out, mac, MARK_LEN);
}

/* Of the marks in the file: is this one there, is another one? */
static void look_for(struct str text, const char *mark, bool *own_out, bool *other_out)
{
    struct str line;

    *own_out = *other_out = false;
    while (text.len > 0 && str_cut(&text, '\n', &line)) {
        line = str_trim(line);
        if (line.len > 0)
            *(str_eq_c(line, mark) ? own_out : other_out) = true;
    }
}

bool ledger_index_check(struct ledger *l, struct fault *f)
{
    char *path = file_resolve(l->state_dir, MARK_NAME);
    char mark[2 * MARK_LEN + 1];
    struct buf known;
    bool ok = true, own;

    buf_init(&known, FILE_MAX);
    mark_of(l, mark);
    if (journal_next_leaf(l->journal) == 0 || !file_read(path, FILE_MAX, &known, NULL))
        ok = file_write_atomic(path, mark, 2 * MARK_LEN, 0600, f);
    else
        look_for(buf_str(&known), mark, &own, &l->other_index);
    if (l->other_index)
        log_error("ledger.index",
                  "reason=\"records here are indexed with another key \\\"idx\\\": erasures, "
                  "holds and visitors' questions are unavailable\" cure=\"put that key back before "
                  "anything is recorded with this one; or remove %s when nobody can ask for older "
                  "records\"",
                  path);
    buf_free(&known);
    free(path);
    return ok;
}

void ledger_index_used(struct ledger *l)
{
    char *path, mark[2 * MARK_LEN + 1];
    struct fault f = {{0}};
    struct buf known;
    bool own, other;

    if (!l->other_index || l->index_noted)
        return;
    path = file_resolve(l->state_dir, MARK_NAME);
    buf_init(&known, FILE_MAX);
    mark_of(l, mark);
    l->index_noted = file_read(path, FILE_MAX, &known, &f);
    look_for(buf_str(&known), mark, &own, &other);
    if (l->index_noted && !own)
        l->index_noted = buf_append_char(&known, '\n') && buf_append_c(&known, mark) &&
                         file_write_atomic(path, known.data, known.len, 0600, &f);
    if (!l->index_noted)
        log_error("ledger.index", "error=\"%s\"", f.text);
    buf_free(&known);
    free(path);
}
