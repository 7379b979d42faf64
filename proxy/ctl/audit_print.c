/*
 * audit_print.c - contract in audit_print.h; the texts are query_text.h's.
 */
#include "audit_print.h"

#include <inttypes.h>
#include <string.h>

#include "audit_operator.h"
#include "consentd/b64.h"
#include "consentd/clock.h"
#include "consentd/query_text.h"

bool audit_format_parse(struct str s, enum audit_format *out)
{
    static const char *const names[] = {"table", "jsonl", "csv"};

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq_c(s, names[i])) {
            *out = (enum audit_format)i;
            return true;
        }
    return false;
}

/* What a row's text needs at most: an operator record and its frame, every quote doubled. */
#define ROW_MAX (4 * RECORD_OPLOG_MAX)

static void put(FILE *out, struct buf *text)
{
    if (text->len > 0)
        (void)fwrite(text->data, 1, text->len, out);
    buf_free(text);
}

void audit_print_cell(FILE *out, struct str s, bool last)
{
    struct buf text;

    buf_init(&text, ROW_MAX);
    (void)!query_csv_cell(s, last, &text);
    put(out, &text);
}

static void print_csv(FILE *out, const struct query_row *row)
{
    struct buf text;

    buf_init(&text, ROW_MAX);
    (void)!query_csv_row(row, &text);
    put(out, &text);
}

static void print_jsonl(FILE *out, const struct query_row *row)
{
    struct buf text;

    buf_init(&text, ROW_MAX);
    (void)!(query_row_json(row, false, &text) && buf_append_char(&text, '\n'));
    put(out, &text);
}

/* What is no visitor's: one line, with its name where the head is of events. */
static void print_other(FILE *out, bool own_head, const struct query_row *row)
{
    if (!own_head)
        (void)fprintf(out, "%-11s  ", row->kind == RECORD_NOTICE ? "notice" : "operator");
    if (row->kind == RECORD_NOTICE)
        audit_notice_print(out, row);
    else
        audit_operator_print(out, row);
    (void)fputc('\n', out);
}

static void print_table(FILE *out, enum record_kind kind, const struct query_row *row,
                        const char *when)
{
    const struct consent_event *ev = &row->view.event;
    char place[32], sub[32], grants[640], denies[640];

    (void)snprintf(place, sizeof(place), "%u:%" PRIu64, row->node, row->leaf);
    (void)fprintf(out, "%-24s  %-12s  ", when, place);
    if (row->status != QUERY_ROW_OK) {
        (void)fprintf(out, "%s\n", query_status_name(row->status));
        return;
    }
    if (row->kind != RECORD_EVENT) {
        print_other(out, kind == row->kind, row);
        return;
    }
    (void)query_names_join(row->view.grants, row->view.grant_cnt, grants, sizeof(grants));
    (void)query_names_join(row->view.denies, row->view.deny_cnt, denies, sizeof(denies));
    memcpy(sub, "s_", 2);
    b64url_encode(sub + 2, ev->subject, sizeof(ev->subject));
    (void)fprintf(out, "%-11s  %-22s %-22s  %-24s  %3u  %-5.*s  %.*s\n", consent_act_name(ev->act),
                  grants[0] != '\0' ? grants : "-", denies[0] != '\0' ? denies : "-", sub,
                  ev->epoch, STR_ARGS(ev->lang), STR_ARGS(ev->host));
}

void audit_print_head(FILE *out, enum audit_format format, enum record_kind kind)
{
    struct buf text;

    buf_init(&text, ROW_MAX);
    if (format == AUDIT_CSV)
        (void)!query_csv_head(&text);
    put(out, &text);
    if (format != AUDIT_TABLE)
        return;
    (void)fprintf(out, "%-24s  %-12s  ", "TIME", "RECORD");
    if (kind == RECORD_OPERATOR)
        (void)fputs(AUDIT_OPERATOR_HEAD "\n", out);
    else if (kind == RECORD_NOTICE)
        (void)fputs(AUDIT_NOTICE_HEAD "\n", out);
    else
        (void)fprintf(out, "%-11s  %-22s %-22s  %-24s  %3s  %-5s  %s\n", "ACT", "GRANTED", "DENIED",
                      "SUBJECT", "PE", "LANG", "HOST");
}

void audit_print_row(FILE *out, enum audit_format format, enum record_kind kind,
                     const struct query_row *row)
{
    char when[CLOCK_TEXT_MAX];

    (void)clock_format(row->ts_ms, when);
    switch (format) {
    case AUDIT_CSV:
        print_csv(out, row);
        break;
    case AUDIT_JSONL:
        print_jsonl(out, row);
        break;
    case AUDIT_TABLE:
        print_table(out, kind, row, when);
        break;
    }
}
