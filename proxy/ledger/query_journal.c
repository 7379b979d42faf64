/*
 * query_journal.c - a query over journal segments (contract in consentd/query.h).
 *
 * The reader walks in the wanted direction from the cursor or the time range's edge; a
 * subject filter compares tags before anything is opened.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "consentd/journal_read.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "query_priv.h"

struct query_walk {
    const struct query_log *log;
    const struct query_spec *spec;
    struct journal_reader *rd; /* owned */
    struct query_end end;
    struct query_place last; /* looked at */
    uint8_t tag[16];
    bool by_tag;
};

static enum journal_step walk_next(struct query_walk *w, struct journal_record *rec)
{
    return w->spec->oldest_first ? journal_reader_next(w->rd, UINT64_MAX, rec)
                                 : journal_reader_prev(w->rd, rec);
}

/* Puts the reader where the first row may be. */
static bool walk_seek(const struct query_walk *w, const struct query_place *at, struct fault *f)
{
    const struct query_spec *s = w->spec;

    if (at->set) /* forwards: behind that leaf; backwards: before it */
        return journal_reader_seek(w->rd, s->oldest_first ? at->leaf + 1 : at->leaf, f);
    if (s->oldest_first)
        return journal_reader_seek_time(w->rd, s->from_ms, f);
    if (s->to_ms != 0)
        return journal_reader_seek_time(w->rd, s->to_ms, f);
    return journal_reader_seek(w->rd, UINT64_MAX, f);
}

/* True when no later record can be in the time range. */
static bool walk_is_past(const struct query_walk *w, uint64_t ts_ms)
{
    if (w->spec->oldest_first)
        return w->spec->to_ms != 0 && ts_ms >= w->spec->to_ms;
    return ts_ms < w->spec->from_ms;
}

static void note_gap(struct query_walk *w)
{
    journal_reader_gap(w->rd, &w->end.gap_from, &w->end.gap_to);
}

/* Takes one record; false: the page is full or the caller stops. */
static bool take_record(struct query_walk *w, const struct journal_record *rec, query_row_fn on_row,
                        void *arg)
{
    const struct query_sealed in = {.leaf = rec->leaf,
                                    .ts_ms = rec->ts_ms,
                                    .month = rec->month,
                                    .r = (rec->flags & JOURNAL_FLAG_ERASED) != 0 ? NULL : rec->r,
                                    .cmt = rec->cmt,
                                    .sealed = rec->sealed};
    uint8_t json[QUERY_JSON_MAX];
    struct query_row row;
    bool over = false;

    w->end.scanned++;
    w->last = (struct query_place){true, rec->month, rec->ts_ms, rec->leaf};
    if (!w->end.has_hw || rec->leaf > w->end.hw) {
        w->end.has_hw = true;
        w->end.hw = rec->leaf;
    }
    if (!w->by_tag || memcmp(w->tag, rec->sub_tag, sizeof(w->tag)) == 0) {
        query_open(w->log, &in, json, &row);
        if (query_matches(w->spec, &row)) {
            w->end.rows++;
            over = !on_row(arg, &row) || w->end.rows >= query_limit(w->spec);
        }
    }
    w->end.more = over || (w->spec->scan_max != 0 && w->end.scanned >= w->spec->scan_max);
    return !w->end.more;
}

bool query_walk_step(struct query_walk *w, unsigned records, query_row_fn on_row, void *arg,
                     struct query_end *end_out)
{
    struct journal_record rec;
    enum journal_step step;

    while (records > 0 && (step = walk_next(w, &rec)) != JOURNAL_STEP_END) {
        if (step == JOURNAL_STEP_ERROR) {
            fault_set(&w->end.fault, "%s", journal_reader_fault(w->rd));
            break;
        }
        if (step == JOURNAL_STEP_GAP) {
            note_gap(w);
            continue;
        }
        if (!journal_type_has_leaf(rec.type))
            continue;
        if (walk_is_past(w, rec.ts_ms) || !take_record(w, &rec, on_row, arg))
            break;
        records--;
    }
    if (records == 0)
        return false;
    w->end.ok = w->end.fault.text[0] == '\0';
    if (w->last.set)
        query_cursor_write(w->spec, w->log->node, &w->last, w->end.cursor);
    *end_out = w->end;
    return true;
}

struct query_walk *query_walk_new(const char *dir, const struct query_log *log,
                                  const struct query_spec *spec, struct fault *f)
{
    struct query_place at;
    struct query_walk *w;

    if (!query_check(spec, f) || !query_cursor_read(spec, log->node, &at, f))
        return NULL;
    w = mem_new(struct query_walk);
    w->log = log;
    w->spec = spec;
    w->last = at;
    if (spec->has_subject && log->idx_key != NULL) {
        w->by_tag = true;
        record_sub_tag(log->idx_key, spec->subject, w->tag);
    }
    w->rd = journal_reader_open(dir, log->node, f);
    if (w->rd != NULL && walk_seek(w, &at, f))
        return w;
    query_walk_free(w);
    return NULL;
}

void query_walk_free(struct query_walk *w)
{
    if (w == NULL)
        return;
    journal_reader_close(w->rd);
    free(w);
}

void query_journal(const char *dir, const struct query_log *log, const struct query_spec *spec,
                   query_row_fn on_row, void *arg, struct query_end *end_out)
{
    struct query_walk *w;

    memset(end_out, 0, sizeof(*end_out));
    w = query_walk_new(dir, log, spec, &end_out->fault);
    while (w != NULL && !query_walk_step(w, UINT_MAX, on_row, arg, end_out))
        continue;
    query_walk_free(w);
}

bool query_journal_get(const char *dir, const struct query_log *log, uint64_t leaf,
                       query_row_fn on_row, void *arg)
{
    const struct query_spec spec = {.oldest_first = true, .limit = 1};
    struct query_walk w = {.log = log, .spec = &spec};
    struct fault f;
    struct journal_record rec;
    enum journal_step step = JOURNAL_STEP_END;

    w.rd = journal_reader_open(dir, log->node, &f);
    if (w.rd != NULL && journal_reader_seek(w.rd, leaf, &f))
        do
            step = journal_reader_next(w.rd, leaf + 1, &rec);
        while (step == JOURNAL_STEP_GAP ||
               (step == JOURNAL_STEP_RECORD && !journal_type_has_leaf(rec.type)));
    if (step == JOURNAL_STEP_RECORD && rec.leaf == leaf)
        (void)take_record(&w, &rec, on_row, arg);
    journal_reader_close(w.rd);
    return w.end.rows > 0;
}
