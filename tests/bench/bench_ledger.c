/*
 * bench_ledger.c - what a decision costs: sealing, group commit, and reading a million back.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../unit/ledger_fixture.h"
#include "consentd/clock.h"
#include "consentd/journal.h"
#include "consentd/keks.h"
#include "consentd/ledger.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/query.h"

static const uint8_t idx_key[32] = {0x33};
static uint8_t kek[32];

/* J, r, commitment, seal and tag of one event; returns the sealed bytes. */
static size_t make_record(struct journal_record *rec, uint64_t leaf, uint64_t ts_ms,
                          uint8_t *sealed)
{
    static struct buf json;
    struct consent_event ev = fixture_event();
    struct record_place at = {.node = 1, .leaf = leaf, .month = record_month(ts_ms)};

    if (json.max == 0)
        buf_init(&json, 2048);
    buf_clear(&json);
    ev.ts_ms = ts_ms;
    memcpy(ev.subject, &leaf, sizeof(leaf));
    if (!record_canonical(&ev, fixture_names, &json))
        abort();
    memset(rec, 0, sizeof(*rec));
    rec->type = JOURNAL_EVENT;
    rec->node = 1;
    rec->month = at.month;
    rec->ts_ms = ts_ms;
    crypto_random(rec->r, 32);
    record_commit(rec->r, buf_str(&json), rec->cmt);
    record_sub_tag(idx_key, ev.subject, rec->sub_tag);
    if (!record_seal(&at, kek, rec->r, buf_str(&json), sealed))
        abort();
    rec->sealed = str_make(sealed, json.len + 16);
    return json.len + 16;
}

static void bench_seal(void)
{
    struct journal_record rec;
    uint8_t sealed[1024];
    uint64_t start = clock_mono_ns();
    const unsigned cnt = 50000;

    for (unsigned i = 0; i < cnt; i++)
        (void)make_record(&rec, i, 1795470842549, sealed);
    printf("seal: %" PRIu64 " ns per event (J, r, commitment, AES-256-GCM, tag)\n",
           (clock_mono_ns() - start) / cnt);
}

/* Appends `total` records, `batch` per fdatasync, and says how fast that was. */
static void fill(struct journal *j, uint64_t total, unsigned batch, uint64_t ts_ms, bool say)
{
    static uint8_t sealed[JOURNAL_BATCH_RECORDS][1024];
    static struct journal_record recs[JOURNAL_BATCH_RECORDS];
    uint64_t start = clock_mono_ns();
    uint64_t syncs = 0;

    for (uint64_t done = 0; done < total; done += batch, syncs++) {
        uint64_t leaf = journal_next_leaf(j);

        for (unsigned i = 0; i < batch; i++)
            (void)make_record(&recs[i], leaf + i, ts_ms + leaf + i, sealed[i]);
        if (!journal_append(j, recs, batch, ts_ms + leaf))
            abort();
    }
    start = clock_mono_ns() - start;
    if (say)
        printf("durable, %3u per fdatasync: %8" PRIu64 " records/s, %" PRIu64 " us per batch\n",
               batch, total * 1000000000 / start, start / syncs / 1000);
}

static bool count_row(void *arg, const struct query_row *row)
{
    *(uint64_t *)arg += row->status == QUERY_ROW_OK ? 1 : 0;
    return true;
}

static long rss_kib(void)
{
    struct rusage use;

    (void)getrusage(RUSAGE_SELF, &use);
    return use.ru_maxrss;
}

static void bench_query(const char *dir, const struct query_log *log, bool oldest_first)
{
    struct query_spec spec = {.limit = 1000, .oldest_first = oldest_first};
    char cursor[QUERY_CURSOR_LEN + 1] = "";
    uint64_t rows = 0;
    uint64_t pages = 0;
    uint64_t first = 0;
    long before = rss_kib();
    uint64_t start = clock_mono_ns();
    struct query_end end;

    do { /* every fiftieth page: each begins anew at its cursor */
        spec.cursor = str_c(cursor);
        query_journal(dir, log, &spec, count_row, &rows, &end);
        memcpy(cursor, end.cursor, sizeof(cursor));
        if (pages++ == 0)
            first = clock_mono_ns() - start;
    } while (end.more && pages < 50);
    start = clock_mono_ns() - start;
    printf("query, %s first: first page %" PRIu64 " ms, %" PRIu64 " us per row over %" PRIu64
           " pages; max rss %ld -> %ld KiB\n",
           oldest_first ? "oldest" : "newest", first / 1000000, start / rows / 1000, pages, before,
           rss_kib());
}

/* One subject among all records: every record's tag is compared, one is opened. */
static void bench_subject(const char *dir, const struct query_log *log, uint64_t n)
{
    struct query_spec spec = {.has_subject = true};
    struct consent_event ev = fixture_event();
    uint64_t rows = 0;
    uint64_t start = clock_mono_ns();
    struct query_end end;

    memcpy(ev.subject, &n, sizeof(n));
    memcpy(spec.subject, ev.subject, 16);
    query_journal(dir, log, &spec, count_row, &rows, &end);
    printf("query, one subject in %" PRIu64 " records: %" PRIu64 " ms, %" PRIu64
           " rows; max rss %ld KiB\n",
           end.scanned, (clock_mono_ns() - start) / 1000000, rows, rss_kib());
}

static void on_ready(void *owner)
{
    loop_stop(owner);
}

/* The whole engine, from nothing in memory to the first commit it would make. */
static void bench_start(const char *dir, const char *keks, const char *what)
{
    static const uint8_t seed[32] = {0x44};
    static const struct ledger_ops ops = {.on_ready = on_ready};
    struct loop *loop = loop_new();
    struct note_key key;
    struct ledger_config cfg = {.journal_dir = dir,
                                .keks_path = keks,
                                .site = "www.example.org",
                                .node = 1,
                                .segment_size = 64u << 20,
                                .idx_key = idx_key,
                                .log_seed = seed,
                                .log_keys = &key,
                                .log_key_cnt = 1};
    uint64_t start = clock_mono_ns();
    struct ledger_status status;
    struct fault f = {{0}};
    struct ledger *l;

    if (!note_key_of(STR("www.example.org/consent/1"), seed, &key) ||
        (l = ledger_new(loop, &cfg, &ops, loop, &f)) == NULL)
        abort();
    (void)loop_run(loop);
    start = clock_mono_ns() - start;
    ledger_status_get(l, &status);
    printf("start, %s: %" PRIu64 " records, journal of %" PRIu64 " MiB: ready in %" PRIu64
           " ms; max rss %ld KiB\n",
           what, status.next_leaf, status.bytes >> 20, start / 1000000, rss_kib());
    start = clock_mono_ns();
    ledger_free(l); /* signs what the log took up */
    printf("stop: %" PRIu64 " ms\n", (clock_mono_ns() - start) / 1000000);
    loop_poll(loop);
    loop_free(loop);
}

int main(int argc, char **argv)
{
    uint64_t total = 1000000;
    uint64_t now = clock_wall_ms();
    char dir[64], path[128];
    struct journal_config cfg = {.node = 1, .segment_size = 64u << 20, .now_ms = now};
    struct journal_report report;
    struct fault f = {{0}};
    struct query_log log = {.site = "www.example.org", .node = 1, .idx_key = idx_key};
    struct journal *j;
    struct keks *keks;

    if (argc > 1 && !str_to_u64(str_c(argv[1]), 100000000, &total))
        return 2;
    fixture_dir(dir);
    (void)snprintf(path, sizeof(path), "%s/keks.json", dir);
    keks = keks_open(path, true, &f);
    if (keks == NULL || !keks_ensure(keks, now, &f))
        abort();
    memcpy(kek, keks_get(keks, record_month(now)), 32);
    log.keks = keks;
    cfg.dir = dir;
    j = journal_open(&cfg, &report, &f);
    if (j == NULL)
        abort();
    bench_seal();
    fill(j, 500, 1, now - total - 100000, true);
    fill(j, 6400, 16, now - total - 100000, true);
    fill(j, 51200, 256, now - total - 100000, true);
    fill(j, total - total % 256, 256, now - total - 100000, false);
    journal_close(j);
    now = clock_mono_ms();
    j = journal_open(&cfg, &report, &f);
    printf("open: %" PRIu64 " records in %u segments, %" PRIu64 " ms\n", report.next_leaf,
           report.segment_cnt, clock_mono_ms() - now);
    journal_close(j);
    bench_query(dir, &log, false);
    bench_query(dir, &log, true);
    bench_subject(dir, &log, total / 2);
    bench_start(dir, path, "the log has none of it");
    bench_start(dir, path, "the log has it all");
    keks_free(keks);
    fixture_remove(dir);
    return 0;
}
