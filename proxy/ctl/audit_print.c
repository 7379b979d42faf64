/*
 * audit_print.c - contract in audit_print.h.
 *
 * CSV: RFC 4180. Ids have a prefix (s_, e_, d_), because base64url may begin with '-', and
 * any cell that a spreadsheet would take for a formula gets an apostrophe in front.
 */
#include "audit_print.h"

#include <inttypes.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/clock.h"

static const char *const status_names[] = {
    [QUERY_ROW_TAMPERED] = "tampered",
    [QUERY_ROW_OK] = "ok",
    [QUERY_ROW_ERASED] = "erased",
    [QUERY_ROW_NO_KEY] = "no-key",
};

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

static void join(const struct str *names, unsigned cnt, char *out, size_t room)
{
    size_t len = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < cnt && len < room; i++)
        len +=
            (size_t)snprintf(out + len, room - len, "%s%.*s", i > 0 ? " " : "", STR_ARGS(names[i]));
}

static void id_text(char prefix, const uint8_t id[RECORD_ID_LEN], char out[32])
{
    out[0] = prefix;
    out[1] = '_';
    b64url_encode(out + 2, id, RECORD_ID_LEN);
}

void audit_print_cell(FILE *out, struct str s, bool last)
{
    (void)fputc('"', out);
    if (s.len > 0 && strchr("=+-@\t\r", s.ptr[0]) != NULL)
        (void)fputc('\'', out);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"')
            (void)fputc('"', out);
        (void)fputc(s.ptr[i], out);
    }
    (void)fputs(last ? "\"\r\n" : "\",", out);
}

static void print_csv(FILE *out, const struct query_row *row, const char *when)
{
    const struct consent_event *ev = &row->view.event;
    bool event = row->status == QUERY_ROW_OK && row->kind == RECORD_EVENT;
    char place[32], eid[32] = "", sub[32] = "", doc[32] = "", exp[CLOCK_TEXT_MAX] = "";
    char grants[640], denies[640], epoch[16] = "";

    (void)snprintf(place, sizeof(place), "%u:%" PRIu64, row->node, row->leaf);
    join(row->view.grants, event ? row->view.grant_cnt : 0, grants, sizeof(grants));
    join(row->view.denies, event ? row->view.deny_cnt : 0, denies, sizeof(denies));
    if (event) {
        id_text('e', ev->eid, eid);
        id_text('s', ev->subject, sub);
        id_text('d', ev->doc, doc);
        (void)clock_format((uint64_t)ev->expires_s * 1000, exp);
        (void)snprintf(epoch, sizeof(epoch), "%u", ev->epoch);
    }
    const struct str cells[] = {str_c(when),
                                str_c(place),
                                str_c(status_names[row->status]),
                                str_c(event ? consent_act_name(ev->act) : ""),
                                str_c(grants),
                                str_c(denies),
                                str_c(sub),
                                str_c(eid),
                                str_c(event ? consent_by_name(ev->by) : ""),
                                str_c(event ? consent_type_name(ev->type) : ""),
                                ev->method,
                                str_c(doc),
                                str_c(epoch),
                                ev->lang,
                                ev->jurisdiction,
                                ev->host,
                                str_c(!event    ? ""
                                      : ev->gpc ? "1"
                                                : "0"),
                                str_c(exp),
                                row->kind == RECORD_OPERATOR ? row->json : str_c("")};

    for (size_t i = 0; i < COUNT_OF(cells); i++)
        audit_print_cell(out, cells[i], i + 1 == COUNT_OF(cells));
}

static void print_jsonl(FILE *out, const struct query_row *row)
{
    uint8_t leaf[32];
    char hash[B64_LEN(32) + 1];

    record_leaf_hash(row->cmt, leaf);
    b64url_encode(hash, leaf, sizeof(leaf));
    (void)fputc('{', out);
    if (row->status == QUERY_ROW_OK)
        (void)fprintf(out, "\"event\":%.*s,", STR_ARGS(row->json));
    (void)fprintf(out, "\"leaf\":%" PRIu64 ",", row->leaf);
    if (row->status == QUERY_ROW_OK)
        (void)fprintf(out, "\"leafhash\":\"%s\",", hash);
    (void)fprintf(out, "\"node\":%u,\"status\":\"%s\",\"ts\":%" PRIu64 "}\n", row->node,
                  status_names[row->status], row->ts_ms);
}

static void print_table(FILE *out, const struct query_row *row, const char *when)
{
    const struct consent_event *ev = &row->view.event;
    char place[32], sub[32], grants[640], denies[640];

    (void)snprintf(place, sizeof(place), "%u:%" PRIu64, row->node, row->leaf);
    (void)fprintf(out, "%-24s  %-12s  ", when, place);
    if (row->status != QUERY_ROW_OK) {
        (void)fprintf(out, "%s\n", status_names[row->status]);
        return;
    }
    if (row->kind == RECORD_OPERATOR) {
        (void)fprintf(out, "operator     %.*s\n", STR_ARGS(row->json));
        return;
    }
    join(row->view.grants, row->view.grant_cnt, grants, sizeof(grants));
    join(row->view.denies, row->view.deny_cnt, denies, sizeof(denies));
    id_text('s', ev->subject, sub);
    (void)fprintf(out, "%-11s  %-22s %-22s  %-24s  %3u  %-5.*s  %.*s\n", consent_act_name(ev->act),
                  grants[0] != '\0' ? grants : "-", denies[0] != '\0' ? denies : "-", sub,
                  ev->epoch, STR_ARGS(ev->lang), STR_ARGS(ev->host));
}

void audit_print_head(FILE *out, enum audit_format format)
{
    if (format == AUDIT_CSV)
        (void)fputs("time,record,status,act,granted,denied,subject,event,by,type,method,notice,"
                    "epoch,lang,jurisdiction,host,gpc,expires,operator\r\n",
                    out);
    if (format == AUDIT_TABLE)
        (void)fprintf(out, "%-24s  %-12s  %-11s  %-22s %-22s  %-24s  %3s  %-5s  %s\n", "TIME",
                      "RECORD", "ACT", "GRANTED", "DENIED", "SUBJECT", "PE", "LANG", "HOST");
}

void audit_print_row(FILE *out, enum audit_format format, const struct query_row *row)
{
    char when[CLOCK_TEXT_MAX];

    (void)clock_format(row->ts_ms, when);
    switch (format) {
    case AUDIT_CSV:
        print_csv(out, row, when);
        break;
    case AUDIT_JSONL:
        print_jsonl(out, row);
        break;
    case AUDIT_TABLE:
        print_table(out, row, when);
        break;
    }
}
