/*
 * tlog_cosigned.c - DIR/checkpoint.cosigned: a checkpoint with what the witnesses put under it.
 *
 * The newest checkpoint is replaced every second; a witness that needs longer signs one that is
 * not the newest any more. Who asks for cosignatures reads this file: its tree is behind, and
 * continues nothing but the same log.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/file.h"
#include "tlog_priv.h"

#define SIG_MARK "\n\xE2\x80\x94 "

/* Signatures of a note besides the log's own. */
static unsigned count(struct str note)
{
    unsigned cnt = 0;

    for (ptrdiff_t at; (at = str_find(note, STR(SIG_MARK))) >= 0; cnt++)
        note = str_slice(note, (size_t)at + sizeof(SIG_MARK) - 1, note.len);
    return cnt > 0 ? cnt - 1 : 0;
}

void tlog_cosigned_load(struct tlog_cosigned *c, const char *dir, const struct note_key *keys,
                        unsigned key_cnt)
{
    char *path = file_resolve(dir, TLOG_COSIGNED);
    struct merkle_tree tree = {0};

    buf_init(&c->note, NOTE_CHECKPOINT_MAX);
    if (file_read(path, NOTE_CHECKPOINT_MAX, &c->note, NULL)) {
        for (unsigned i = 0; i < key_cnt && tree.size == 0; i++)
            if (!checkpoint_verify(&keys[i], buf_str(&c->note), &tree, NULL))
                tree.size = 0;
        c->written_size = tree.size;
        c->written_cnt = tree.size > 0 ? count(buf_str(&c->note)) : 0;
    }
    buf_clear(&c->note);
    free(path);
}

void tlog_cosigned_free(struct tlog_cosigned *c)
{
    buf_free(&c->note);
}

bool tlog_cosigned_write(struct tlog_cosigned *c, const char *dir, struct fault *f)
{
    char *path;
    bool ok;

    if (c->cnt == 0 || (c->size == c->written_size && c->cnt <= c->written_cnt))
        return true;
    path = file_resolve(dir, TLOG_COSIGNED);
    ok = file_write_atomic(path, c->note.data, c->note.len, 0644, f);
    if (ok) {
        c->written_size = c->size;
        c->written_cnt = c->cnt;
    }
    free(path);
    return ok;
}

bool tlog_cosigned_add(struct tlog_cosigned *c, const char *dir, const struct tlog_cosignature *by,
                       struct fault *f)
{
    if (by->size < c->size || by->size < c->written_size)
        return true;
    if (by->size != c->size) {
        buf_clear(&c->note);
        if (!buf_append_str(&c->note, by->note))
            return false;
        c->size = by->size;
    }
    if (!note_cosign(&c->note, by->witness, by->line)) {
        fault_set(f, "no room for another signature under the checkpoint");
        return false;
    }
    c->cnt = count(buf_str(&c->note));
    return c->cnt < c->written_cnt || tlog_cosigned_write(c, dir, f);
}
