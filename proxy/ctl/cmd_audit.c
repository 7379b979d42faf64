/*
 * cmd_audit.c - consentctl audit query | get | stats, consentctl ledger status.
 *
 * Asks the admin when it is there, so that who asks needs no right to any file and is on record;
 * else, or with --direct, reads Redis with a link of its own, or with --journal the journal's
 * segments: both without the daemon, so that they work while it is down. When Redis is away the
 * journal answers, which is said. Rows are printed as they come; memory does not grow with the
 * answer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_print.h"
#include "audit_remote.h"
#include "audit_stats.h"
#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/erased.h"
#include "consentd/file.h"
#include "consentd/journal_read.h"
#include "consentd/keks.h"
#include "consentd/keyring.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/query_text.h"
#include "consentd/record.h"
#include "consentd/redis.h"
#include "consentd/restarts.h"
#include "consentd/timer.h"
#include "ctl_priv.h"

#define CONNECT_WAIT_MS 5000
#define TARGET_MAX      65536 /* bytes of a question to the admin */
#define DAY_MS          UINT64_C(86400000)
#define PROGRESS_ROWS   16384 /* rows between two signs of life on a terminal */

struct audit {
    struct config *config;
    struct keks *keks;
    struct keyring *keys;
    struct query_log log;
    struct log_restarts restarts;
    struct erased *erased; /* owned */
    struct query_spec spec;
    enum audit_format format;
    const char *path;  /* of the question to the admin, below */
    struct buf target; /* the same question to it */
    bool direct;       /* --direct: the stores themselves, not the admin */
    bool journal;      /* --journal, or no Redis configured */
    bool away;         /* Redis did not answer: the journal is asked */
    bool headed;       /* the head was printed */
    bool one;          /* get */
    bool missing;      /* with one: it is not there */
    bool status_only;  /* ledger status: the newest record alone */
    bool counting;     /* stats */
    bool suppress;     /* with counting: small figures are left out */
    bool whole_days;   /* with counting: no filter but from and to, at midnight */
    bool decided;      /* with counting: counters have told how often the question was shown */
    bool held;         /* counted from the journal, whose first record is below */
    enum stats_by by;
    uint64_t leaf;               /* with one */
    uint64_t behind;             /* with status_only: the leaf behind Redis' newest */
    uint64_t held_leaf, held_ms; /* with held; leaf UINT64_MAX: it is empty */
    uint64_t left;               /* rows still wanted */
    uint64_t rows;
    const struct audit_remote *asked; /* for counters */
    struct audit_stats *stats;        /* owned; with counting */
    char cursor[QUERY_CURSOR_LEN + 1];
    struct loop *loop;
    struct rlink *link;
    struct timer patience;
    int status;
};

/* --- arguments -------------------------------------------------------------------------- */

/* The options that are filters by the same name (query_text.h). */
static const char *const filters[] = {"--from", "--to", /* first */
                                      "--act",  "--purpose", "--granted", "--sub",  "--pe",
                                      "--doc",  "--lang",    "--jur",     "--host", "--gpc",
                                      "--kind", "--order",   "--cursor"};

/* How many rows, in which form, by what: false, and said, when it makes no sense. */
static bool take_form(struct audit *a, const char *limit, const char *format, const char *by)
{
    if (limit != NULL && (!str_to_u64(str_c(limit), UINT64_MAX, &a->left) || a->left == 0))
        (void)ctl_fail("--limit \"%s\": expected a number of rows", limit);
    else if (format != NULL && !audit_format_parse(str_c(format), &a->format))
        (void)ctl_fail("-o \"%s\": expected table, jsonl or csv", format);
    else if (a->direct && a->journal)
        (void)ctl_fail("--direct asks Redis, --journal the journal: one of them");
    else if (by != NULL && !stats_by_parse(str_c(by), &a->by))
        (void)ctl_fail("--by \"%s\": expected day, lang, notice or method", by);
    else
        return true;
    return false;
}

/* Whether the filter is a part of the question to the admin; statistics have no order. */
static bool is_asked(const struct audit *a, const char *filter)
{
    return strcmp(filter, "--cursor") != 0 &&
           !(a->counting && (strcmp(filter, "--order") == 0 || strcmp(filter, "--kind") == 0));
}

/* The filters, as a question to the stores and as one to the admin. */
static bool take_filters(struct audit *a, const char *const values[COUNT_OF(filters)])
{
    bool ok = buf_append_c(&a->target, a->path);
    struct fault f = {{0}};

    a->whole_days = true;
    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        if (values[i] == NULL)
            continue;
        if (!query_spec_set(&a->spec, str_c(filters[i] + 2), str_c(values[i]), &f)) {
            (void)ctl_fail("--%s", f.text);
            return false;
        }
        if (is_asked(a, filters[i]))
            ok = ok && ctl_target_add(&a->target, filters[i] + 2, str_c(values[i]));
        a->whole_days = a->whole_days && i < 2;
    }
    a->whole_days = a->whole_days && a->spec.from_ms % DAY_MS == 0 && a->spec.to_ms % DAY_MS == 0;
    if (!ok)
        (void)ctl_fail("the filters are too long");
    return ok;
}

/* Reads the options; *place gets the word without a dash, if there may be one. */
static bool take_arguments(struct audit *a, const struct ctl_args *args, const char **place)
{
    const char *values[COUNT_OF(filters)] = {NULL}, *limit = NULL, *format = NULL, *by = NULL;
    struct ctl_option options[COUNT_OF(filters) + 7];
    size_t cnt = COUNT_OF(filters);

    for (size_t i = 0; i < cnt; i++)
        options[i] = (struct ctl_option){filters[i], &values[i], NULL};
    if (a->one)
        cnt = 0; /* it is named: nothing is filtered */
    options[cnt++] = (struct ctl_option){"--journal", NULL, &a->journal};
    options[cnt++] = (struct ctl_option){"--direct", NULL, &a->direct};
    options[cnt++] = (struct ctl_option){"-o", &format, NULL};
    if (!a->one)
        options[cnt++] = (struct ctl_option){"--limit", &limit, NULL};
    if (a->counting) {
        options[cnt++] = (struct ctl_option){"--by", &by, NULL};
        options[cnt++] = (struct ctl_option){"--suppress", NULL, &a->suppress};
    }
    if (place != NULL)
        options[cnt++] = (struct ctl_option){"", place, NULL};
    return ctl_options(args, options, cnt) && take_filters(a, values) &&
           take_form(a, limit, format, by);
}

/* --- opening ------------------------------------------------------------------------------ */

static bool read_keyring(struct audit *a, struct fault *f)
{
    struct buf text;

    buf_init(&text, KEYRING_TEXT_MAX);
    if (file_read(a->config->keys, KEYRING_TEXT_MAX, &text, f))
        a->keys = keyring_parse(a->config->keys, buf_str(&text), f);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    return a->keys != NULL;
}

static int audit_open(struct audit *a, const struct ctl_args *args)
{
    struct fault f = {{0}};
    const struct key *idx;
    char *path;

    log_set_level(LOG_LEVEL_ERROR); /* a person reads this; what goes wrong is said below */
    a->config = config_load(args->config, &f);
    if (a->config == NULL)
        return ctl_fail("%s", f.text);
    path = file_resolve(a->config->state_dir, "keks.json");
    a->keks = keks_open(path, false, &f);
    free(path);
    if (a->keks != NULL)
        a->erased = ctl_erased(a->config, &f);
    if (a->keks == NULL || a->erased == NULL || !read_keyring(a, &f) ||
        !restarts_read(a->config->ledger.journal, a->config->ledger.node, &a->restarts, &f))
        return ctl_fail("%s", f.text);
    idx = keyring_active(a->keys, KEY_IDX);
    a->log = (struct query_log){.site = a->config->ledger.name,
                                .node = (uint8_t)a->config->ledger.node,
                                .keks = a->keks,
                                .idx_key = idx != NULL ? idx->bytes : NULL,
                                .erased = a->erased,
                                .restarts = &a->restarts};
    if (a->config->ledger.redis == NULL)
        a->journal = true;
    return CTL_OK;
}

static void audit_close(struct audit *a)
{
    timer_clear(&a->patience);
    rlink_free(a->link);
    if (a->loop != NULL)
        loop_poll(a->loop); /* what was closed is freed at the end of a turn */
    loop_free(a->loop);
    keyring_free(a->keys);
    keks_free(a->keks);
    erased_free(a->erased);
    config_free(a->config);
    buf_free(&a->target);
}

/* A line that is written over itself, for a person who waits; never into a file. */
static void show_progress(const struct audit *a, bool last)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (last)
        (void)fputs("\r\033[K", stderr);
    else if (a->rows % PROGRESS_ROWS == 0)
        (void)fprintf(stderr, "\r%" PRIu64 " records read", a->rows);
}

/* The oldest record of the journal, or the newest. */
static bool edge_record(struct journal_reader *rd, bool newest, struct journal_record *rec)
{
    enum journal_step step;

    if (!journal_reader_seek(rd, newest ? UINT64_MAX : 0, NULL))
        return false;
    do
        step = newest ? journal_reader_prev(rd, rec) : journal_reader_next(rd, UINT64_MAX, rec);
    while (step == JOURNAL_STEP_GAP);
    return step == JOURNAL_STEP_RECORD;
}

/* --- rows ----------------------------------------------------------------------------------- */

/* Once, with the first row, or with an answer that has none: not when there is no answer. */
static void print_head(struct audit *a)
{
    if (!a->headed && !a->counting)
        audit_print_head(stdout, a->format, a->spec.kind);
    a->headed = true;
}

static bool on_row(void *arg, const struct query_row *row)
{
    struct audit *a = arg;
    char when[CLOCK_TEXT_MAX];

    if (a->status_only) {
        a->behind = row->leaf + 1;
        (void)printf("redis    newest  %u:%" PRIu64 "  %s\n", row->node, row->leaf,
                     clock_format(row->ts_ms, when));
    } else if (a->counting) {
        audit_stats_add(a->stats, row);
        show_progress(a, false);
    } else {
        print_head(a);
        audit_print_row(stdout, a->format, a->spec.kind, row);
    }
    a->rows++;
    a->left--;
    return a->left > 0 && !ferror(stdout);
}

/* True when another page is to be asked for. */
static bool page_done(struct audit *a, const struct query_end *end)
{
    if (!end->ok) {
        a->status = ctl_fail("%s", end->fault.text);
        return false;
    }
    if (end->gap_from != end->gap_to) {
        a->status = CTL_FAILED;
        (void)ctl_fail("records %" PRIu64 " to %" PRIu64 " can't be read", end->gap_from,
                       end->gap_to - 1);
    }
    memcpy(a->cursor, end->cursor, sizeof(a->cursor));
    a->spec.cursor = str_c(a->cursor);
    a->spec.limit = a->left < QUERY_LIMIT_MAX ? (unsigned)a->left : QUERY_LIMIT_MAX;
    if (end->more && a->left == 0 && !a->status_only)
        (void)fprintf(stderr, "more: --cursor %s\n", a->cursor);
    return end->more && a->left > 0 && !ferror(stdout);
}

static void from_journal(struct audit *a)
{
    struct query_end end;

    if (a->one) {
        if (!query_journal_get(a->config->ledger.journal, &a->log, a->leaf, on_row, a))
            a->missing = true;
        return;
    }
    do
        query_journal(a->config->ledger.journal, &a->log, &a->spec, on_row, a, &end);
    while (page_done(a, &end));
}

static void ask_page(struct audit *a);

static void on_end(void *arg, const struct query_end *end)
{
    struct audit *a = arg;

    if (a->one && end->ok && a->rows == 0)
        a->missing = true;
    if (page_done(a, end))
        ask_page(a);
    else
        loop_stop(a->loop);
}

static void ask_page(struct audit *a)
{
    static const struct query_ops ops = {.on_row = on_row, .on_end = on_end};
    struct fault f = {{0}};
    const struct query *q = a->one ? query_redis_get(a->link, &a->log, a->leaf, &ops, a, &f)
                                   : query_redis(a->link, &a->log, &a->spec, &ops, a, &f);

    if (q == NULL) {
        a->status = ctl_fail("%s", f.text);
        loop_stop(a->loop);
    }
}

static void on_up(void *owner)
{
    struct audit *a = owner;

    timer_clear(&a->patience);
    ask_page(a);
}

static void on_down(void *owner, const char *why)
{
    struct audit *a = owner;

    a->away = !a->direct && !a->status_only && a->rows == 0;
    if (!a->away)
        a->status = ctl_fail("Redis: %s%s", why,
                             a->status_only ? "" : " (the journal can be asked with --journal)");
    loop_stop(a->loop);
}

static void on_patience(void *arg)
{
    on_down(arg, "no answer");
}

/* Password and certificates as the daemon reads them. */
static bool read_text(const char *path, struct buf *out, struct fault *f)
{
    return path == NULL || file_read(path, 1u << 20, out, f);
}

static void from_redis(struct audit *a)
{
    static const struct rlink_ops ops = {.on_up = on_up, .on_down = on_down};
    struct rlink_config cfg = {.url = str_c(a->config->ledger.redis), .name = "consentctl"};
    struct buf password, ca;
    struct fault f = {{0}};

    buf_init(&password, 1u << 20);
    buf_init(&ca, 1u << 20);
    a->loop = loop_new();
    if (read_text(a->config->ledger.redis_password_file, &password, &f) &&
        read_text(a->config->ledger.redis_ca, &ca, &f)) {
        struct str line;
        struct str rest = buf_str(&password);

        if (str_cut(&rest, '\n', &line))
            cfg.password = str_trim(line);
        if (cfg.password.len > 0)
            cfg.user = STR("consentd"); /* as the daemon: conf/redis-ledger.conf */
        cfg.ca_pem = buf_str(&ca);
        a->link = rlink_new(a->loop, &cfg, &ops, a, &f);
    }
    if (password.data != NULL)
        crypto_wipe(password.data, password.len);
    buf_free(&password);
    buf_free(&ca);
    if (a->link == NULL) {
        a->status = ctl_fail("%s", f.text);
        return;
    }
    timer_init(&a->patience, a->loop, on_patience, a);
    timer_set(&a->patience, CONNECT_WAIT_MS);
    (void)loop_run(a->loop);
}

/* --- by way of the admin -------------------------------------------------------------------- */

static bool on_remote_row(void *arg, const struct query_row *row, const json_t *value)
{
    struct audit *a = arg;

    if (a->counting) {
        audit_stats_add(a->stats, row);
        show_progress(a, false);
    } else {
        print_head(a);
        audit_remote_print(stdout, a->format, a->spec.kind, row, value);
    }
    a->rows++;
    return !ferror(stdout);
}

/* r->read_ms is known by then. */
static void on_group(void *arg, const json_t *row)
{
    const struct audit *a = arg;
    unsigned all = a->asked->read_ms == 0 ? STATS_SHOWN | STATS_DECIDED : STATS_SHOWN;

    audit_stats_counters(a->stats, row, a->decided ? STATS_DECIDED : all);
}

static bool ask_counters(struct audit_remote *r, struct audit *a, uint64_t from_ms)
{
    struct fault f = {{0}};

    a->asked = r;
    if (audit_remote_counters(r, stats_by_api_name(a->by), from_ms, a->spec.to_ms, on_group, &f))
        return true;
    (void)fprintf(stderr, "how often the banner was shown is not known: %s\n", f.text);
    return false;
}

/*
 * Whole days: the counters know everything, but for days that an earlier version counted: of those
 * they tell how often the question was shown, and the records the rest. True: nothing is left to
 * be counted.
 */
static bool take_counters(struct audit_remote *r, struct audit *a)
{
    uint64_t until, to = a->spec.to_ms != 0 ? a->spec.to_ms : clock_wall_ms();

    if (!a->whole_days || !ask_counters(r, a, a->spec.from_ms))
        return false;
    audit_stats_asked(a->stats);
    until = r->read_ms;
    a->decided = true;
    if (until == 0)
        return true;
    if (until >= to || !ask_counters(r, a, until))
        return false; /* all records tell the same */
    buf_clear(&a->target);
    ASSERT(
        buf_printf(&a->target, "%s&from=%" PRIu64 "&to=%" PRIu64, a->path, a->spec.from_ms, until));
    r->target = buf_cstr(&a->target);
    return false;
}

static int from_admin(const struct ctl_args *args, struct audit *a)
{
    char cursor[QUERY_CURSOR_LEN + 1];
    struct audit_remote r = {.args = args,
                             .target = buf_cstr(&a->target),
                             .cursor = cursor,
                             .limit = a->left,
                             .one = a->one,
                             .on_row = on_remote_row,
                             .arg = a};
    int status = CTL_OK;

    (void)snprintf(cursor, sizeof(cursor), "%.*s", STR_ARGS(a->spec.cursor));
    if (!a->counting) {
        status = audit_remote_rows(&r);
        if (status == CTL_OK)
            print_head(a);
        if (status == CTL_OK && r.next[0] != '\0')
            (void)fprintf(stderr, "more: --cursor %s\n", r.next);
    } else if (!take_counters(&r, a)) {
        status = audit_remote_all(&r);
        a->away = a->held = r.partial;
        a->held_leaf = r.held_leaf;
        a->held_ms = r.held_ms;
    }
    buf_free(&a->target);
    return status;
}

/* Where the journal begins, for who reads figures that were counted from it. */
static void find_span(struct audit *a)
{
    struct journal_reader *rd = journal_reader_open(a->config->ledger.journal, a->log.node, NULL);
    struct journal_record rec;
    bool any = rd != NULL && edge_record(rd, false, &rec);

    a->held = true;
    a->held_leaf = any ? rec.leaf : UINT64_MAX;
    a->held_ms = any ? rec.ts_ms : 0;
    journal_reader_close(rd);
}

/* From the stores, without the daemon. */
static void from_stores(struct audit *a)
{
    if (!a->journal)
        from_redis(a);
    if (a->away && !a->counting)
        (void)fprintf(stderr, "Redis is away: this is what the journal holds\n");
    if (a->journal || a->away)
        from_journal(a);
    if (a->counting && a->config->ledger.redis != NULL && (a->journal || a->away))
        find_span(a);
    if (a->one && a->rows == 0 && a->missing)
        a->status = ctl_fail("there is no record %" PRIu64, a->leaf);
    else if (a->status == CTL_OK)
        print_head(a);
}

static int audit_run(const struct ctl_args *args, struct audit *a)
{
    struct fault f = {{0}};

    if (!query_check(&a->spec, &f)) {
        (void)ctl_fail("%s", f.text);
        buf_free(&a->target);
        return CTL_USAGE;
    }
    if (!a->journal && !a->direct && audit_remote_is_there(args, NULL))
        return from_admin(args, a);
    a->status = audit_open(a, args);
    if (a->status == CTL_OK)
        from_stores(a);
    audit_close(a);
    return a->status;
}

int cmd_audit_query(struct ctl_args *args)
{
    struct audit a = {.left = 100, .path = "/api/v1/events", .target = {.max = TARGET_MAX}};

    if (!take_arguments(&a, args, NULL)) {
        buf_free(&a.target);
        return CTL_USAGE;
    }
    a.spec.limit = a.left < QUERY_LIMIT_MAX ? (unsigned)a.left : QUERY_LIMIT_MAX;
    return audit_run(args, &a);
}

int cmd_audit_get(struct ctl_args *args)
{
    struct audit a = {
        .left = 1, .one = true, .path = "/api/v1/events", .target = {.max = TARGET_MAX}};
    const char *place = NULL;
    uint64_t node = 0;

    if (!take_arguments(&a, args, &place)) {
        buf_free(&a.target);
        return CTL_USAGE;
    }
    buf_clear(&a.target);
    if (!query_place_parse(str_c(place), &node, &a.leaf) ||
        !buf_printf(&a.target, "/api/v1/events/%" PRIu64 ":%" PRIu64, node, a.leaf)) {
        (void)ctl_fail("audit get NODE:LEAF, for example 1:42");
        buf_free(&a.target);
        return CTL_USAGE;
    }
    a.left = 1;
    a.spec = (struct query_spec){.oldest_first = true, .limit = 1};
    return audit_run(args, &a);
}

int cmd_audit_oplog(struct ctl_args *args)
{
    struct audit a = {.left = 100,
                      .spec = {.kind = RECORD_OPERATOR},
                      .path = "/api/v1/oplog",
                      .target = {.max = TARGET_MAX}};

    if (!take_arguments(&a, args, NULL)) {
        buf_free(&a.target);
        return CTL_USAGE;
    }
    if (a.spec.kind != RECORD_OPERATOR) {
        (void)ctl_fail("audit oplog shows operators' records alone: no --kind, see audit query");
        buf_free(&a.target);
        return CTL_USAGE;
    }
    a.spec.limit = a.left < QUERY_LIMIT_MAX ? (unsigned)a.left : QUERY_LIMIT_MAX;
    return audit_run(args, &a);
}

/* --- statistics ---------------------------------------------------------------------------- */

/*
 * Counted from the journal, though Redis is the store: from where on it has records. True: all that
 * were asked for.
 */
static bool print_span(const struct audit *a)
{
    bool any = a->held_leaf != UINT64_MAX;
    bool whole = a->held_leaf == 0 || (any && a->spec.from_ms >= a->held_ms);
    char when[CLOCK_TEXT_MAX] = "";

    if (any)
        (void)clock_format(a->held_ms, when);
    if (a->away && a->format == AUDIT_JSONL)
        (void)printf("{\"store\":\"journal\",\"from\":%s%s%s,\"complete\":%s}\n", any ? "\"" : "",
                     any ? when : "null", any ? "\"" : "", whole ? "true" : "false");
    (void)fprintf(stderr, "%scounted from the journal, ", a->away ? "Redis is away: " : "");
    if (!any)
        (void)fputs("which is empty\n", stderr);
    else if (whole)
        (void)fputs("which has all of it\n", stderr);
    else
        (void)fprintf(stderr, "which begins at %s: earlier records are missing\n", when);
    return whole;
}

static int print_stats(struct audit *a)
{
    bool whole;

    show_progress(a, true);
    audit_stats_print(stdout, a->format, a->stats);
    whole = !a->held || print_span(a);
    if (audit_stats_closed(a->stats) > 0)
        (void)fprintf(stderr, "%" PRIu64 " erased or without a key: not counted\n",
                      audit_stats_closed(a->stats));
    if (audit_stats_tampered(a->stats) > 0)
        return ctl_fail("%" PRIu64 " records were changed: not counted, see audit verify",
                        audit_stats_tampered(a->stats));
    /* a part that nobody asked for must not pass for the whole in a script */
    return a->away && !whole ? CTL_FAILED : CTL_OK;
}

/*
 * Figures are left out of one table by itself. Months that are over, each once and without other
 * filters, have nothing in common: no table tells what another one leaves out.
 */
static bool may_be_published(const struct audit *a)
{
    uint32_t month = record_month(a->spec.from_ms);

    return a->whole_days && a->spec.from_ms == record_month_start(month) &&
           a->spec.to_ms == record_month_start(record_month_next(month)) &&
           a->spec.to_ms <= clock_wall_ms();
}

int cmd_audit_stats(struct ctl_args *args)
{
    struct audit a = {.left = UINT64_MAX,
                      .counting = true,
                      .spec = {.kind = RECORD_EVENT},
                      .path = "/api/v1/export?format=jsonl&kind=event&partial=1",
                      .target = {.max = TARGET_MAX}};
    int status;

    if (!take_arguments(&a, args, NULL)) {
        buf_free(&a.target);
        return CTL_USAGE;
    }
    if (a.left != UINT64_MAX || a.spec.cursor.len > 0 || a.spec.kind != RECORD_EVENT) {
        (void)ctl_fail(
            "audit stats counts all events of its filters: no --limit, --cursor, --kind");
        buf_free(&a.target);
        return CTL_USAGE;
    }
    a.spec.limit = QUERY_LIMIT_MAX;
    a.stats = audit_stats_new(a.by);
    if (a.suppress)
        audit_stats_suppress(a.stats);
    if (a.suppress && !may_be_published(&a))
        (void)fprintf(stderr, "beside a table of other days or filters this one may tell what is "
                              "left out: publish months that are over, see consentctl(1)\n");
    status = audit_run(args, &a);
    if (status == CTL_OK) /* a part would look like the whole */
        status = print_stats(&a);
    audit_stats_free(a.stats);
    return status;
}

/* --- status ---------------------------------------------------------------------------------- */

static void print_edge(const struct audit *a, const char *what, const struct journal_record *rec)
{
    char when[CLOCK_TEXT_MAX];

    (void)printf("%s  %u:%" PRIu64 "  %s\n", what, restarts_node_of(&a->restarts, rec->leaf),
                 rec->leaf, clock_format(rec->ts_ms, when));
}

/* The log of today, and those that ended. */
static void print_logs(const struct audit *a)
{
    char when[CLOCK_TEXT_MAX];

    (void)printf("log      %s/consent/%u\n", a->log.site, restarts_node(&a->restarts));
    for (unsigned i = a->restarts.cnt; i > 0; i--)
        (void)printf("earlier  %s/consent/%u  ended %s before leaf %" PRIu64 "\n", a->log.site,
                     restarts_node_at(&a->restarts, i - 1),
                     clock_format(a->restarts.items[i - 1].ts_ms, when),
                     a->restarts.items[i - 1].from);
}

int cmd_ledger_status(struct ctl_args *args)
{
    struct audit a = {.left = 1, .status_only = true, .spec = {.limit = 1}};
    struct journal_reader *rd;
    struct journal_record rec = {0};
    struct fault f = {{0}};
    bool any;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    a.status = audit_open(&a, args);
    if (a.status != CTL_OK) {
        audit_close(&a);
        return a.status;
    }
    rd = journal_reader_open(a.config->ledger.journal, a.log.node, &f);
    if (rd == NULL) {
        audit_close(&a);
        return ctl_fail("%s", f.text);
    }
    print_logs(&a);
    any = edge_record(rd, false, &rec);
    if (any)
        print_edge(&a, "journal  oldest", &rec);
    if (any && edge_record(rd, true, &rec))
        print_edge(&a, "journal  newest", &rec);
    journal_reader_close(rd);
    if (!any)
        (void)puts("journal  empty");
    if (a.config->ledger.redis == NULL)
        (void)puts("redis    not configured: the journal is the store");
    else
        from_redis(&a);
    if (a.config->ledger.redis != NULL && a.status == CTL_OK && any)
        (void)printf("redis    lacks %" PRIu64 " records\n",
                     rec.leaf + 1 > a.behind ? rec.leaf + 1 - a.behind : 0);
    audit_close(&a);
    return a.status;
}
