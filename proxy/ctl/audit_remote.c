/*
 * audit_remote.c - contract in audit_remote.h.
 */
#include "audit_remote.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/query_text.h"

#define WAIT_S   10
#define DAY_MS   UINT64_C(86400000)
#define DAYS_MAX 3990 /* of one question about showing */

bool audit_remote_is_there(const struct ctl_args *args)
{
    int fd = ctl_dial(args, WAIT_S, NULL);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

void audit_remote_print(FILE *out, enum audit_format format, enum record_kind kind,
                        const struct query_row *row, const json_t *value)
{
    struct buf text;

    if (format != AUDIT_JSONL) {
        audit_print_row(out, format, kind, row);
        return;
    }
    buf_init(&text, CTL_ANSWER_MAX); /* as it came: the row alone does not know its leaf's hash */
    if (json_canonical(value, &text) && buf_append_char(&text, '\n'))
        (void)fwrite(text.data, 1, text.len, out);
    buf_free(&text);
}

bool audit_remote_shown(const struct audit_remote *r, const char *by, uint64_t from_ms,
                        uint64_t to_ms, void (*on_shown)(void *arg, struct str name, uint64_t cnt),
                        struct fault *f)
{
    char target[160];
    const json_t *rows;
    json_t *root;

    if (to_ms == 0)
        to_ms = clock_wall_ms() + 1;
    if (from_ms + DAYS_MAX * DAY_MS < to_ms) /* longer than any ledger */
        from_ms = to_ms - DAYS_MAX * DAY_MS;
    (void)snprintf(target, sizeof(target), "/api/v1/stats?by=%s&from=%" PRIu64 "&to=%" PRIu64, by,
                   from_ms, to_ms);
    root = ctl_ask_json(r->args, "GET", target, f);
    rows = json_object_get(root, "rows");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *name = json_string_value(json_object_get(row, by));

        if (name != NULL)
            on_shown(r->arg, str_c(name),
                     (uint64_t)json_integer_value(json_object_get(row, "imp")));
    }
    json_decref(root);
    return root != NULL;
}

static bool take_row(struct audit_remote *r, const json_t *value, struct buf *text)
{
    struct query_row row;

    if (!query_row_of(value, text, &row)) {
        (void)ctl_fail("the admin answered with something that is no record");
        return false;
    }
    r->limit--;
    return r->on_row(r->arg, &row, value);
}

/* One page; false: no more of them, be it because of an error (*status). */
static bool ask_page(struct audit_remote *r, struct buf *text, int *status)
{
    struct fault f = {{0}};
    struct buf target;
    char limit[24];
    json_t *root = NULL;
    const json_t *list;
    bool ok;

    (void)snprintf(limit, sizeof(limit), "%u",
                   r->limit < QUERY_LIMIT_MAX ? (unsigned)r->limit : QUERY_LIMIT_MAX);
    buf_init(&target, 65536);
    ok = buf_append_c(&target, r->target) &&
         (r->one || (ctl_target_add(&target, "limit", str_c(limit)) &&
                     (r->next[0] == '\0' || ctl_target_add(&target, "cursor", str_c(r->next)))));
    fault_set(&f, "the question is too long");
    if (ok && buf_cstr(&target) != NULL)
        root = ctl_ask_json(r->args, "GET", buf_cstr(&target), &f);
    buf_free(&target);
    r->next[0] = '\0';
    if (root == NULL) {
        *status = ctl_fail("%s", f.text);
        return false;
    }
    list = json_object_get(root, "events");
    if (r->one)
        ok = take_row(r, root, text);
    for (size_t i = 0; ok && i < json_array_size(list); i++)
        ok = take_row(r, json_array_get(list, i), text);
    if (json_is_string(json_object_get(root, "cursor")))
        (void)snprintf(r->next, sizeof(r->next), "%s",
                       json_string_value(json_object_get(root, "cursor")));
    r->partial = r->partial || json_is_true(json_object_get(root, "partial"));
    json_decref(root);
    return ok && r->next[0] != '\0' && r->limit > 0;
}

int audit_remote_rows(struct audit_remote *r)
{
    int status = CTL_OK;
    struct buf text;

    buf_init(&text, CTL_ANSWER_MAX);
    (void)snprintf(r->next, sizeof(r->next), "%s", r->cursor != NULL ? r->cursor : "");
    while (ask_page(r, &text, &status) && !ferror(stdout))
        continue;
    buf_free(&text);
    if (r->partial)
        (void)fprintf(stderr, "Redis is away: this is what the journal holds\n");
    return status;
}
