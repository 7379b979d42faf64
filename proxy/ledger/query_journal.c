/*
 * query_journal.c - a query over journal segments (contract in consentd/query.h).
 *
 * The reader walks in the wanted direction from the cursor or the time range's edge; a
 * subject filter compares tags before anything is opened.
 */
#include <stdio.h>
#include <string.h>

#include "consentd/journal_read.h"
#include "consentd/record.h"
#include "query_priv.h"

struct walk {
    const struct query_log *log;
    const struct query_spec *spec;
    struct journal_reader *rd;
    struct query_end *end;
    uint8_t tag[16];
    bool by_tag;
};

static enum journal_step walk_next(struct walk *w, struct journal_record *rec)
{
    return w->spec->oldest_first ? journal_reader_next(w->rd, UINT64_MAX, rec)
                                 : journal_reader_prev(w->rd, rec);
}

/* Puts the reader where the first row may be. */
static bool walk_seek(struct walk *w, const struct query_place *at)
{
    const struct query_spec *s = w->spec;
    struct fault *f = &w->end->fault;

    if (at->set) /* forwards: behind that leaf; backwards: before it */
        return journal_reader_seek(w->rd, s->oldest_first ? at->leaf + 1 : at->leaf, f);
    if (s->oldest_first)
        return journal_reader_seek_time(w->rd, s->from_ms, f);
    if (s->to_ms != 0)
        return journal_reader_seek_time(w->rd, s->to_ms, f);
    return journal_reader_seek(w->rd, UINT64_MAX, f);
}

/* True when no later record can be in the time range. */
static bool walk_is_past(const struct walk *w, uint64_t ts_ms)
{
    if (w->spec->oldest_first)
        return w->spec->to_ms != 0 && ts_ms >= w->spec->to_ms;
    return ts_ms < w->spec->from_ms;
}

static void note_gap(struct walk *w)
{
    journal_reader_gap(w->rd, &w->end->gap_from, &w->end->gap_to);
}

/* Takes one record; false: the page is full or the caller stops. */
static bool take_record(struct walk *w, const struct journal_record *rec, query_row_fn on_row,
                        void *arg)
{
    const struct query_sealed in = {.leaf = rec->leaf,
                                    .ts_ms = rec->ts_ms,
                                    .month = rec->month,
                                    .r = (rec->flags & JOURNAL_FLAG_ERASED) != 0 ? NULL : rec->r,
                                    .cmt = rec->cmt,
                                    .sealed = rec->sealed};
    const struct query_place at = {true, rec->month, rec->ts_ms, rec->leaf};
    uint8_t json[QUERY_JSON_MAX];
    struct query_row row;

    w->end->scanned++;
    if (w->by_tag && memcmp(w->tag, rec->sub_tag, sizeof(w->tag)) != 0)
        return true;
    query_open(w->log, &in, json, &row);
    if (!query_matches(w->spec, &row))
        return true;
    w->end->rows++;
    if (on_row(arg, &row) && w->end->rows < query_limit(w->spec))
        return true;
    w->end->more = true;
    query_cursor_write(w->spec, w->log->node, &at, w->end->cursor);
    return false;
}

static void walk_all(struct walk *w, query_row_fn on_row, void *arg)
{
    struct journal_record rec;
    enum journal_step step;

    while ((step = walk_next(w, &rec)) != JOURNAL_STEP_END) {
        if (step == JOURNAL_STEP_ERROR) {
            fault_set(&w->end->fault, "%s", journal_reader_fault(w->rd));
            return;
        }
        if (step == JOURNAL_STEP_GAP) {
            note_gap(w);
            continue;
        }
        if (!journal_type_has_leaf(rec.type))
            continue;
        if (walk_is_past(w, rec.ts_ms) || !take_record(w, &rec, on_row, arg))
            break;
    }
    w->end->ok = true;
}

void query_journal(const char *dir, const struct query_log *log, const struct query_spec *spec,
                   query_row_fn on_row, void *arg, struct query_end *end_out)
{
    struct walk w = {.log = log, .spec = spec, .end = end_out};
    struct query_place at;

    memset(end_out, 0, sizeof(*end_out));
    if (!query_check(spec, &end_out->fault) ||
        !query_cursor_read(spec, log->node, &at, &end_out->fault))
        return;
    if (spec->has_subject && log->idx_key != NULL) {
        w.by_tag = true;
        record_sub_tag(log->idx_key, spec->subject, w.tag);
    }
    w.rd = journal_reader_open(dir, log->node, &end_out->fault);
    if (w.rd != NULL && walk_seek(&w, &at))
        walk_all(&w, on_row, arg);
    journal_reader_close(w.rd);
}

bool query_journal_get(const char *dir, const struct query_log *log, uint64_t leaf,
                       query_row_fn on_row, void *arg)
{
    const struct query_spec spec = {.oldest_first = true, .limit = 1};
    struct query_end end = {.ok = false};
    struct walk w = {.log = log, .spec = &spec, .end = &end};
    struct journal_record rec;
    enum journal_step step = JOURNAL_STEP_END;

    w.rd = journal_reader_open(dir, log->node, &end.fault);
    if (w.rd != NULL && journal_reader_seek(w.rd, leaf, &end.fault))
        do
            step = journal_reader_next(w.rd, leaf + 1, &rec);
        while (step == JOURNAL_STEP_GAP ||
               (step == JOURNAL_STEP_RECORD && !journal_type_has_leaf(rec.type)));
    if (step == JOURNAL_STEP_RECORD && rec.leaf == leaf)
        (void)take_record(&w, &rec, on_row, arg);
    journal_reader_close(w.rd);
    return end.rows > 0;
}
