/*
 * consent_log.c - the Merkle log for everybody: /.well-known/consent-log/ (C2SP tlog-tiles).
 *
 *   GET checkpoint               the newest signed tree
 *   GET checkpoint.cosigned      the newest tree that witnesses have signed too
 *   GET tile/0/x001/234, …       hashes; full ones never change
 *   GET tile/entries/000, …      commitments: 32 bytes that say nothing about anybody
 *
 * Files of the ledger, read as they are. A name that is not exactly one of these is a 404
 * before any file is looked for.
 */
#include <stdio.h>
#include <stdlib.h>

#include "consentd/file.h"
#include "consentd/tlog.h"
#include "enforce_priv.h"

static enum enforce_step answer_file(struct exchange *x, struct str path, struct str body)
{
    bool checkpoint = str_starts(path, STR("checkpoint"));
    struct header items[8];
    struct headers h;

    headers_init(&h, items, COUNT_OF(items));
    if (!headers_add_id(&h, NULL, HDR_CONTENT_TYPE,
                        checkpoint ? STR("text/plain; charset=utf-8")
                                   : STR("application/octet-stream")) ||
        !headers_add_id(&h, NULL, HDR_CACHE_CONTROL,
                        checkpoint ? STR("no-cache")
                                   : STR("public, max-age=31536000, immutable")) ||
        !headers_add_id(&h, NULL, HDR_X_CONTENT_TYPE_OPTIONS, STR("nosniff")) ||
        !headers_add(&h, NULL, STR("Access-Control-Allow-Origin"), STR("*")))
        return ENFORCE_REFUSE;
    exchange_answer(x, 200, &h, body);
    return ENFORCE_ANSWERED;
}

/* The folder of the log that is asked for; "65/checkpoint": of one that ended (restarts.h). */
static char *log_folder(const struct exchange *x, struct str *path)
{
    struct str rest = *path, first = {NULL, 0};
    uint64_t node;
    char name[16] = "tlog";

    if (str_cut(&rest, '/', &first) && rest.len > 0 && str_to_u64(first, UINT8_MAX, &node)) {
        (void)snprintf(name, sizeof(name), "tlog-%u", (unsigned)node);
        *path = rest;
    }
    return file_resolve(x->server->config->ledger.journal, name);
}

enum enforce_step consent_log_request(struct exchange *x, struct str path)
{
    char *folder = log_folder(x, &path);
    char *name = arena_printf(&x->arena, "%.*s", STR_ARGS(path));
    enum enforce_step step = ENFORCE_ANSWERED;
    char *file = NULL;
    struct buf text;

    buf_init(&text, TLOG_BUNDLE_LEN);
    if (x->req.method_id != HTTP_METHOD_GET && x->req.method_id != HTTP_METHOD_HEAD) {
        exchange_fail(x, 405, "the log is read only");
    } else if (name != NULL && tlog_path_ok(path) &&
               file_read(file = file_resolve(folder, name), TLOG_BUNDLE_LEN, &text, NULL)) {
        step = answer_file(x, path, buf_str(&text));
    } else {
        exchange_fail(x, 404, "no such file of the log");
    }
    buf_free(&text);
    free(file);
    free(folder);
    return step;
}
