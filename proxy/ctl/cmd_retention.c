/*
 * cmd_retention.c - consentctl ledger retention: which months of records there are and which are
 * gone, when each may go, and the going, asked for once more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/erased.h"
#include "consentd/file.h"
#include "consentd/keks.h"
#include "consentd/record.h"
#include "ctl_priv.h"

static const char *day_of(uint64_t ms, char out[16])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || strftime(out, 16, "%Y-%m-%d", &tm) == 0)
        out[0] = '\0';
    return out;
}

/* Prints the months; true in due_out[i] for those that may go. Returns how many may. */
static unsigned list_months(const struct keks *keks, uint64_t retention_ms, bool *due_out)
{
    uint64_t now_ms = clock_wall_ms();
    unsigned due = 0;

    for (unsigned i = 0; i < keks_cnt(keks); i++) {
        uint32_t month = keks_month(keks, i);
        uint64_t end_ms = record_month_start(record_month_next(month));
        char end[16], goes[16];

        if (month > record_month(now_ms))
            continue; /* its key is made ahead */
        due_out[i] = retention_ms > 0 && end_ms + retention_ms <= now_ms;
        due += due_out[i] ? 1 : 0;
        printf("%06" PRIu32 "  %s %s  ", month, end_ms <= now_ms ? "ended" : "ends ",
               day_of(end_ms, end));
        if (retention_ms == 0)
            puts("is kept: ledger.record_retention is 0");
        else
            printf("may go %s%s\n", day_of(end_ms + retention_ms, goes), due_out[i] ? "  due" : "");
    }
    return due;
}

/* The months that are gone already, and what is left of the log's records. */
static void list_dropped(const struct erased *list)
{
    const struct erased_month *newest = erased_newest_month(list);
    char day[16];

    for (size_t i = 0; i < erased_month_cnt(list); i++) {
        const struct erased_month *m = erased_month_at(list, i);

        printf("%06" PRIu32 "  dropped %s", m->month, day_of(m->ts_ms, day));
        if (m->known && m->kept > 0)
            printf("  its last record was leaf %" PRIu64, m->kept - 1);
        puts("");
    }
    if (newest == NULL)
        return;
    if (newest->known)
        printf("the records of today begin at leaf %" PRIu64 "%s\n", newest->kept,
               newest->told ? ", as a record of the log says" : "");
    else
        puts("where the records of today begin is not known: "
             "its last record is asked of Redis when that is there and has not lost it");
}

static bool confirmed(unsigned due, bool yes)
{
    char line[16];

    if (yes)
        return true;
    fprintf(stderr,
            "The records of %u month(s) can't be read again afterwards, wherever a copy of them "
            "is. Drop? [yes/no] ",
            due);
    return fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "yes\n") == 0;
}

static int drop_one(const struct ctl_args *args, uint32_t month)
{
    char target[64];
    struct fault f = {{0}};
    struct buf out;
    bool ok;

    snprintf(target, sizeof(target), "/api/v1/ledger/months/%06" PRIu32, month);
    buf_init(&out, CTL_ANSWER_MAX);
    ok = ctl_ask(args, "DELETE", target, STR(""), &out, &f);
    buf_free(&out);
    if (!ok)
        return ctl_fail("%06" PRIu32 ": %s", month, f.text);
    printf("%06" PRIu32 "  dropped\n", month);
    return CTL_OK;
}

static int drop_due(const struct ctl_args *args, const struct keks *keks, const bool *due)
{
    int status = CTL_OK;

    for (unsigned i = 0; i < keks_cnt(keks) && status == CTL_OK; i++)
        if (due[i])
            status = drop_one(args, keks_month(keks, i));
    return status;
}

int cmd_ledger_retention(struct ctl_args *args)
{
    bool drop = false, yes = false;
    const struct ctl_option options[] = {{"--drop", NULL, &drop}, {"--yes", NULL, &yes}};
    static bool due[KEKS_MAX];
    struct fault f = {{0}};
    struct config *config;
    struct keks *keks = NULL;
    struct erased *list = NULL;
    int status = CTL_OK;
    unsigned cnt;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (yes && !drop) {
        (void)ctl_fail("--yes answers what --drop asks: it needs --drop");
        return CTL_USAGE;
    }
    config = config_load(args->config, &f);
    if (config != NULL) {
        char *path = file_resolve(config->state_dir, "keks.json");

        keks = keks_open(path, false, &f);
        free(path);
    }
    if (keks != NULL)
        list = ctl_erased(config, &f);
    if (list == NULL) {
        keks_free(keks);
        config_free(config);
        return ctl_fail("%s", f.text);
    }
    list_dropped(list);
    cnt = list_months(keks, config->ledger.record_retention_ms, due);
    if (drop && cnt == 0)
        puts("nothing is due");
    else if (drop)
        status = confirmed(cnt, yes) ? drop_due(args, keks, due) : ctl_fail("nothing was dropped");
    erased_free(list);
    keks_free(keks);
    config_free(config);
    return status;
}
