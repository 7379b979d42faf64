/*
 * cmd_doc.c - consentctl doc list | show | diff, subject show | export: by way of the admin.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "audit_remote.h"
#include "consentd/clock.h"
#include "consentd/file.h"
#include "consentd/json.h"
#include "ctl_priv.h"

#define TARGET_MAX 4096

/* A path with one part taken from the command line: only what an id may consist of. */
static bool make_target(char out[TARGET_MAX], const char *before, const char *part,
                        const char *after)
{
    for (const char *p = part; *p != '\0'; p++)
        if (!ascii_is_alnum(*p) && strchr("-_:", *p) == NULL)
            return false;
    return part[0] != '\0' && snprintf(out, TARGET_MAX, "%s%s%s", before, part, after) < TARGET_MAX;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

bool ctl_write_file(const char *file, struct str text, struct fault *f)
{
    struct stat there;

    if (stat(file, &there) == 0 && !S_ISREG(there.st_mode)) {
        fault_set(f, "%s: no regular file; without --out it goes to standard output", file);
        return false;
    }
    return file_write_atomic(file, text.ptr, text.len, 0600, f);
}

/* The body of an answer to standard output, or into a file that is whole or not there. */
static int fetch(const struct ctl_args *args, const char *target, const char *file)
{
    struct fault f = {{0}};
    struct buf body;
    int status = CTL_OK;

    buf_init(&body, CTL_ANSWER_MAX);
    if (!ctl_ask(args, "GET", target, str_c(""), &body, &f) ||
        (file != NULL && !ctl_write_file(file, buf_str(&body), &f)))
        status = ctl_fail("%s", f.text);
    else if (file == NULL && fwrite(body.data, 1, body.len, stdout) != body.len)
        status = CTL_FAILED;
    buf_free(&body);
    return status;
}

/* --- notices ------------------------------------------------------------------------------- */

int cmd_doc_list(struct ctl_args *args)
{
    struct fault f = {{0}};
    json_t *root;
    const json_t *docs;

    if (!ctl_options(args, NULL, 0))
        return CTL_USAGE;
    root = ctl_ask_json(args, "GET", "/api/v1/docs", &f);
    if (root == NULL)
        return ctl_fail("%s", f.text);
    docs = json_object_get(root, "docs");
    printf("%-24s  %-16s  %5s  %-24s  %s\n", "IN FORCE SINCE", "VERSION", "EPOCH", "SITE",
           "SHA-256");
    for (size_t i = 0; i < json_array_size(docs); i++) {
        const json_t *d = json_array_get(docs, i);
        char when[CLOCK_TEXT_MAX];

        (void)clock_format((uint64_t)json_integer_value(json_object_get(d, "ts")), when);
        printf("%-24s  %-16s  %5" PRId64 "  %-24s  %s\n", when, text_of(d, "version"),
               (int64_t)json_integer_value(json_object_get(d, "epoch")), text_of(d, "site"),
               text_of(d, "sha256"));
    }
    json_decref(root);
    return CTL_OK;
}

int cmd_doc_show(struct ctl_args *args)
{
    const char *id = NULL, *file = NULL;
    const struct ctl_option options[] = {{"--out", &file, NULL}, {"", &id, NULL}};
    char target[TARGET_MAX];

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (id == NULL || !make_target(target, "/api/v1/docs/", id, "")) {
        (void)ctl_fail("doc show ID: the SHA-256, the beginning of it, or d_… of a record");
        return CTL_USAGE;
    }
    return fetch(args, target, file);
}

static void print_change(const json_t *change)
{
    printf("%-8s %s%s\n", text_of(change, "kind"), text_of(change, "place"),
           json_is_true(json_object_get(change, "epoch")) ? "   (asks for a new epoch)" : "");
    if (json_is_string(json_object_get(change, "before")))
        printf("    - %s\n", text_of(change, "before"));
    if (json_is_string(json_object_get(change, "after")))
        printf("    + %s\n", text_of(change, "after"));
}

int cmd_doc_diff(struct ctl_args *args)
{
    const char *from = NULL, *to = NULL;
    const struct ctl_option options[] = {{"", &from, NULL}, {"", &to, NULL}};
    char target[TARGET_MAX], second[TARGET_MAX];
    struct fault f = {{0}};
    const json_t *changes;
    json_t *root;

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (from == NULL || to == NULL || !make_target(second, "/diff?to=", to, "") ||
        !make_target(target, "/api/v1/docs/", from, "") ||
        strlen(target) + strlen(second) >= sizeof(target)) {
        (void)ctl_fail("doc diff OLD NEW: two notices, by their SHA-256 or the beginning of it");
        return CTL_USAGE;
    }
    memcpy(target + strlen(target), second, strlen(second) + 1);
    root = ctl_ask_json(args, "GET", target, &f);
    if (root == NULL)
        return ctl_fail("%s", f.text);
    changes = json_object_get(root, "changes");
    for (size_t i = 0; i < json_array_size(changes); i++)
        print_change(json_array_get(changes, i));
    if (json_is_true(json_object_get(root, "cut")))
        puts("... and more");
    if (json_array_size(changes) == 0)
        puts("no difference");
    json_decref(root);
    return CTL_OK;
}

/* --- subjects ------------------------------------------------------------------------------- */

static bool on_row(void *arg, const struct query_row *row, const json_t *value)
{
    audit_remote_print(stdout, *(const enum audit_format *)arg, RECORD_EVENT, row, value);
    return !ferror(stdout);
}

int cmd_subject_show(struct ctl_args *args)
{
    const char *who = NULL, *format = NULL;
    const struct ctl_option options[] = {{"-o", &format, NULL}, {"", &who, NULL}};
    enum audit_format form = AUDIT_TABLE;
    char target[TARGET_MAX], subject[CTL_SUBJECT_LEN + 1];
    struct audit_remote r = {
        .args = args, .target = target, .limit = UINT64_MAX, .on_row = on_row, .arg = &form};
    struct fault f = {{0}};

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (format != NULL && !audit_format_parse(str_c(format), &form)) {
        (void)ctl_fail("-o \"%s\": expected table, jsonl or csv", format);
        return CTL_USAGE;
    }
    if (who == NULL || !ctl_subject_of(who, subject) ||
        !make_target(target, "/api/v1/subjects/", subject, "")) {
        (void)ctl_fail("subject show SUBJECT|COOKIE: 22 characters, or the value of the cookie");
        return CTL_USAGE;
    }
    if (!audit_remote_is_there(args, &f))
        return ctl_fail("%s", f.text);
    audit_print_head(stdout, form, RECORD_EVENT);
    return audit_remote_rows(&r);
}

int cmd_subject_export(struct ctl_args *args)
{
    const char *who = NULL, *format = "json", *file = NULL;
    const struct ctl_option options[] = {
        {"--format", &format, NULL}, {"--out", &file, NULL}, {"", &who, NULL}};
    char path[TARGET_MAX], target[TARGET_MAX], subject[CTL_SUBJECT_LEN + 1];

    if (!ctl_options(args, options, COUNT_OF(options)))
        return CTL_USAGE;
    if (who == NULL || !ctl_subject_of(who, subject) ||
        !make_target(path, "/api/v1/subjects/", subject, "/export?format=") ||
        !make_target(target, "", format, "") || strlen(path) + strlen(format) >= sizeof(target)) {
        (void)ctl_fail("subject export SUBJECT|COOKIE: 22 characters, or the value of the cookie");
        return CTL_USAGE;
    }
    if (strcmp(format, "json") != 0 && strcmp(format, "dpv") != 0 && strcmp(format, "csv") != 0) {
        (void)ctl_fail("--format \"%s\": expected json, dpv or csv", format);
        return CTL_USAGE;
    }
    (void)snprintf(target, sizeof(target), "%.2000s%.100s", path, format);
    return fetch(args, target, file);
}
