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

bool audit_remote_is_there(const struct ctl_args *args, struct fault *f)
{
    int fd = ctl_dial(args, WAIT_S, f);

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

/* The end of the last day that is listed as incomplete; 0: none is. */
static uint64_t incomplete_until(const json_t *days)
{
    uint64_t until = 0, day;

    for (size_t i = 0; i < json_array_size(days); i++) {
        const char *text = json_string_value(json_array_get(days, i));

        if (text != NULL && query_time_parse(str_c(text), &day) && day + DAY_MS > until)
            until = day + DAY_MS;
    }
    return until;
}

bool audit_remote_counters(struct audit_remote *r, const char *by, uint64_t from_ms, uint64_t to_ms,
                           void (*on_group)(void *arg, const json_t *row), struct fault *f)
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
    r->read_ms = incomplete_until(json_object_get(root, "incomplete"));
    for (size_t i = 0; i < json_array_size(rows); i++)
        on_group(r->arg, json_array_get(rows, i));
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
    if (r->limit > 0)
        r->limit--;
    return r->on_row(r->arg, &row, value);
}

/* A rare thing is looked for page after page: a line for who waits, and none with 0. */
static void show_progress(uint64_t scanned)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (scanned == 0)
        (void)fputs("\r\033[K", stderr);
    else
        (void)fprintf(stderr, "\r%" PRIu64 " records looked at", scanned);
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
    show_progress(r->scanned);
    if (ok && buf_cstr(&target) != NULL)
        root = ctl_ask_json(r->args, "GET", buf_cstr(&target), &f);
    show_progress(0);
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
    r->scanned += (uint64_t)json_integer_value(json_object_get(root, "scanned"));
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

/* --- all at once ------------------------------------------------------------------------- */

#define LINE_MAX_LEN (1u << 20) /* bytes of a line of an export */

struct all {
    struct audit_remote *r;
    struct buf line, text;
    bool ended, broken; /* the manifest was seen; a line was wrong, which was said */
};

/* The last line: whether the journal had to answer, and from which record on it can. */
static void take_manifest(struct audit_remote *r, const json_t *manifest)
{
    const json_t *partial = json_object_get(manifest, "partial");
    const char *place = json_string_value(json_object_get(partial, "journal"));
    uint64_t node;

    r->partial = partial != NULL;
    r->held_ms = (uint64_t)json_integer_value(json_object_get(partial, "ts"));
    if (place == NULL || !query_place_parse(str_c(place), &node, &r->held_leaf))
        r->held_leaf = UINT64_MAX;
}

static bool take_line(struct all *all, struct str line)
{
    json_t *value = json_load_text("line", line, 0, NULL);
    bool ok = value != NULL;

    if (json_object_get(value, "manifest") != NULL) {
        all->ended = true;
        take_manifest(all->r, json_object_get(value, "manifest"));
    } else if (ok) {
        ok = take_row(all->r, value, &all->text);
    } else {
        (void)ctl_fail("the admin answered with a line that is no JSON");
    }
    json_decref(value);
    all->broken = all->broken || !ok;
    return ok;
}

static bool on_data(void *arg, struct str data)
{
    struct all *all = arg;
    struct str line;

    while (str_find_char(data, '\n') >= 0) {
        (void)str_cut(&data, '\n', &line);
        if (all->line.len == 0) {
            if (!take_line(all, line))
                return false;
            continue;
        }
        if (!buf_append_str(&all->line, line) || !take_line(all, buf_str(&all->line)))
            return false;
        buf_clear(&all->line);
    }
    return buf_append_str(&all->line, data);
}

static bool on_chunk(void *arg, struct str cursor)
{
    UNUSED(arg);
    UNUSED(cursor);
    return true;
}

int audit_remote_all(struct audit_remote *r)
{
    static const struct ctl_stream_ops ops = {.on_data = on_data, .on_chunk = on_chunk};
    struct all all = {.r = r};
    struct fault f = {{0}};
    int status = CTL_OK;

    buf_init(&all.line, LINE_MAX_LEN);
    buf_init(&all.text, CTL_ANSWER_MAX);
    if (ctl_stream(r->args, r->target, &ops, &all, &f) != CTL_STREAM_DONE || !all.ended)
        status = all.broken ? CTL_FAILED
                            : ctl_fail("%s", f.text[0] != '\0' ? f.text : "the answer was cut");
    buf_free(&all.line);
    buf_free(&all.text);
    return status;
}
