/*
 * restarts.c - contract in consentd/restarts.h.
 */
#include "consentd/restarts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes_priv.h"
#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "consentd/str.h"

#define FILE_MAX 65536

static bool take_number(struct str *line, uint64_t max, uint64_t *out)
{
    struct str word = {NULL, 0};

    return str_cut(line, ' ', &word) && str_to_u64(word, max, out);
}

/* One line; those of another configured number are passed over. */
static bool take_line(struct log_restarts *r, struct str line)
{
    uint64_t first, node, from, ts_ms;

    if (!take_number(&line, UINT8_MAX, &first) || !take_number(&line, UINT8_MAX, &node) ||
        !take_number(&line, RECORD_LEAF_MAX, &from) || !take_number(&line, INT64_MAX, &ts_ms))
        return false;
    if (first != r->first)
        return true;
    if (node != restarts_next(r) || (r->cnt > 0 && from < r->items[r->cnt - 1].from))
        return false;
    r->items[r->cnt++] = (struct log_restart){(uint8_t)node, from, ts_ms};
    return true;
}

static bool take_text(struct log_restarts *r, struct str text)
{
    struct str line;

    while (text.len > 0 && str_cut(&text, '\n', &line))
        if (line.len > 0 && !take_line(r, line))
            return false;
    return true;
}

/* The file's text; empty when there is none. */
static bool read_text(const char *path, struct buf *text, struct fault *f)
{
    return access(path, F_OK) != 0 || file_read(path, FILE_MAX, text, f);
}

bool restarts_read(const char *folder, unsigned node, struct log_restarts *out, struct fault *f)
{
    char *path = file_resolve(folder, "restarts");
    struct buf text;
    bool ok;

    *out = (struct log_restarts){.first = (uint8_t)node};
    buf_init(&text, FILE_MAX);
    ok = read_text(path, &text, f);
    if (ok && !take_text(out, buf_str(&text))) {
        fault_set(f, "%s: expected lines of FIRST NODE FROM TIME, as the ledger wrote them", path);
        ok = false;
    }
    buf_free(&text);
    free(path);
    return ok;
}

/* The lines of other configured numbers, as they are. */
static bool copy_others(const struct log_restarts *r, struct str text, struct buf *out)
{
    struct str line;
    bool ok = true;

    while (ok && text.len > 0 && str_cut(&text, '\n', &line)) {
        struct str rest = line;
        uint64_t first;

        if (take_number(&rest, UINT8_MAX, &first) && first != r->first)
            ok = buf_append_str(out, line) && buf_append_c(out, "\n");
    }
    return ok;
}

bool restarts_write(const char *folder, const struct log_restarts *r, struct fault *f)
{
    char *path = file_resolve(folder, "restarts");
    struct buf text, whole;
    bool ok;

    buf_init(&text, FILE_MAX);
    buf_init(&whole, FILE_MAX);
    ok = read_text(path, &text, f);
    if (ok && !copy_others(r, buf_str(&text), &whole))
        ok = false;
    for (unsigned i = 0; ok && i < r->cnt; i++)
        ok = buf_printf(&whole, "%u %u %" PRIu64 " %" PRIu64 "\n", r->first, r->items[i].node,
                        r->items[i].from, r->items[i].ts_ms);
    ok = ok && file_write_atomic(path, whole.data, whole.len, 0640, f);
    buf_free(&whole);
    buf_free(&text);
    free(path);
    return ok;
}

bool restarts_add(const char *folder, struct log_restarts *r, uint64_t from, uint64_t ts_ms,
                  struct fault *f)
{
    struct log_restart next = {restarts_next(r), from, ts_ms};

    if (next.node == 0) {
        fault_set(f, "no node numbers are left for another log");
        return false;
    }
    r->items[r->cnt++] = next;
    if (restarts_write(folder, r, f))
        return true;
    r->cnt--;
    return false;
}

uint8_t restarts_node(const struct log_restarts *r)
{
    return restarts_node_at(r, r->cnt);
}

uint8_t restarts_next(const struct log_restarts *r)
{
    return r->first < RESTARTS_STEP && r->cnt < RESTARTS_MAX
               ? (uint8_t)(r->first + (r->cnt + 1) * RESTARTS_STEP)
               : 0;
}

uint8_t restarts_node_at(const struct log_restarts *r, unsigned i)
{
    return i == 0 ? r->first : r->items[i - 1].node;
}

uint8_t restarts_node_of(const struct log_restarts *r, uint64_t leaf)
{
    unsigned i = r->cnt;

    while (i > 0 && leaf < r->items[i - 1].from)
        i--;
    return restarts_node_at(r, i);
}

char *restarts_folder(const char *journal_dir, const struct log_restarts *r, unsigned i)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "tlog-%u", restarts_node_at(r, i));
    return file_resolve(journal_dir, i == r->cnt ? "tlog" : name);
}

void restarts_lost(uint64_t leaf, uint8_t cmt_out[32])
{
    uint8_t text[sizeof(RESTARTS_LOST) + 8];

    memcpy(text, RESTARTS_LOST, sizeof(RESTARTS_LOST));
    be64_put(text + sizeof(RESTARTS_LOST), leaf);
    crypto_sha256(text, sizeof(text), cmt_out);
}
