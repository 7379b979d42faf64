/*
 * verify_record.c - one record against the log, wherever it is stored; the walk of the journal.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/crypto.h"
#include "consentd/envelope.h"
#include "consentd/journal_read.h"
#include "consentd/mem.h"
#include "verify_priv.h"

/* --- J ---------------------------------------------------------------------------------- */

/* In the one form that is ever written, and of the time that the store says. */
static bool is_canonical(struct verify *v, const struct verify_record *rec,
                         struct verify_text *text)
{
    struct str json = str_make(text->json, text->len);

    text->kind = record_read(json, &text->view);
    if (text->kind == RECORD_UNKNOWN || text->view.event.ts_ms != rec->ts_ms)
        return false;
    if (text->kind == RECORD_OPERATOR)
        named_read(v->named, json);
    return true;
}

/* --- one record ------------------------------------------------------------------------- */

static bool month_was_dropped(const struct verify *v, uint32_t month)
{
    for (size_t i = 0; i < erased_month_cnt(v->cfg->erased); i++)
        if (erased_month(v->cfg->erased, i) == month)
            return true;
    return false;
}

static bool open_text(const struct verify_record *rec, const uint8_t *kek, struct verify_text *text)
{
    struct record_place at = {.node = rec->node, .leaf = rec->leaf, .month = rec->month};

    if (rec->is_envelope)
        return envelope_open(&at, kek, rec->r, rec->sealed, text->json, &text->len);
    if (rec->sealed.len < CRYPTO_GCM_TAG_LEN ||
        rec->sealed.len > sizeof(text->json) + CRYPTO_GCM_TAG_LEN)
        return false;
    text->len = rec->sealed.len - CRYPTO_GCM_TAG_LEN;
    return record_open(&at, kek, rec->r, rec->sealed, text->json);
}

static int fits_log(struct verify *v, uint64_t leaf, const uint8_t cmt[32], const char *why)
{
    struct fault f = {{0}};
    uint8_t entry[32];

    if (leaf >= v->dir.size)
        return VERIFY_OK; /* not signed yet */
    if (!verify_entry(v, leaf, entry, &f))
        return verify_say_leaf(v, VERIFY_INCOMPLETE, leaf, f.text);
    if (memcmp(cmt, entry, sizeof(entry)) != 0)
        return verify_say_leaf(v, VERIFY_TAMPERED, leaf, why);
    return VERIFY_OK;
}

int verify_record(struct verify *v, const struct verify_record *rec, struct verify_text *text)
{
    const uint8_t *kek = keks_get(v->cfg->keks, rec->month);

    if (erased_has(v->cfg->erased, rec->leaf)) {
        text->opened = VERIFY_ERASED;
        named_missing(v->named, rec->leaf, rec->month);
        return VERIFY_OK;
    }
    if (kek == NULL) {
        text->opened = VERIFY_KEYLESS;
        return month_was_dropped(v, rec->month)
                   ? VERIFY_OK
                   : verify_say_leaf(v, VERIFY_INCOMPLETE, rec->leaf,
                                     "its month's key is gone, and the month was not dropped");
    }
    text->opened = VERIFY_TEXT;
    if (rec->r == NULL)
        return verify_say_leaf(v, VERIFY_TAMPERED, rec->leaf,
                               "its secret is gone, and it was not erased");
    if (!open_text(rec, kek, text))
        return verify_say_leaf(v, VERIFY_TAMPERED, rec->leaf, "the record can't be opened");
    record_commit(rec->r, str_make(text->json, text->len), text->cmt);
    if (!is_canonical(v, rec, text))
        return verify_say_leaf(v, VERIFY_TAMPERED, rec->leaf,
                               "the record is not in its canonical form");
    return fits_log(v, rec->leaf, text->cmt, "the record does not fit its commitment");
}

/* --- the journal ------------------------------------------------------------------------ */

static int check_record(struct verify *v, const struct journal_record *in)
{
    const struct verify_record rec = {.node = (uint8_t)in->node,
                                      .leaf = in->leaf,
                                      .ts_ms = in->ts_ms,
                                      .month = in->month,
                                      .r = in->r,
                                      .sealed = in->sealed};
    struct verify_text text;
    int status = fits_log(v, in->leaf, in->cmt, "the journal's commitment is not the log's");

    v->out->records++;
    if (v->out->records % VERIFY_STEP == 0)
        verify_progress(v, "journal", in->leaf, v->dir.size);
    /* behind the range only erase records matter: they may name what is in it */
    if (status != VERIFY_OK || (!verify_wants(v, in->ts_ms) && in->type != JOURNAL_OPERATOR))
        return status;
    status = verify_record(v, &rec, &text);
    v->out->opened += text.opened == VERIFY_TEXT ? 1 : 0;
    v->out->keyless += text.opened == VERIFY_KEYLESS ? 1 : 0;
    v->out->erased += text.opened == VERIFY_ERASED ? 1 : 0;
    if (status == VERIFY_OK && text.opened == VERIFY_TEXT && memcmp(text.cmt, in->cmt, 32) != 0)
        status =
            verify_say_leaf(v, VERIFY_TAMPERED, in->leaf, "the record does not fit its commitment");
    return status;
}

static int walk_journal(struct verify *v, struct journal_reader *rd)
{
    struct journal_record rec;
    uint64_t next = 0, from, to;
    enum journal_step step;
    char what[80];
    int status = VERIFY_OK;

    while (status == VERIFY_OK &&
           (step = journal_reader_next(rd, UINT64_MAX, &rec)) != JOURNAL_STEP_END) {
        if (step == JOURNAL_STEP_ERROR)
            return verify_say(v, VERIFY_INCOMPLETE, "the journal", journal_reader_fault(rd));
        if (step == JOURNAL_STEP_GAP) {
            journal_reader_gap(rd, &from, &to);
            (void)snprintf(what, sizeof(what), "leaves %" PRIu64 " to %" PRIu64, from, to - 1);
            v->journal_gap = true;
            return verify_say(v, VERIFY_TAMPERED, what, "the journal can't be read there");
        }
        if (!journal_type_has_leaf(rec.type))
            continue;
        named_leaf(v->named, rec.leaf);
        next = rec.leaf + 1;
        status = check_record(v, &rec);
    }
    if (status == VERIFY_OK && next < v->dir.size) {
        (void)snprintf(what, sizeof(what), "leaves from %" PRIu64 " on", next);
        return verify_say(v, VERIFY_TAMPERED, what, "signed, and gone from the journal");
    }
    return status;
}

int verify_journal(struct verify *v)
{
    struct fault f = {{0}};
    struct journal_reader *rd = journal_reader_open(v->cfg->journal_dir, v->cfg->node, &f);
    int status;

    if (rd == NULL || !journal_reader_seek(rd, 0, &f))
        status = verify_say(v, VERIFY_INCOMPLETE, "the journal", f.text);
    else
        status = walk_journal(v, rd);
    journal_reader_close(rd);
    return status;
}
