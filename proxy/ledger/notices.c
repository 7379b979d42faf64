/*
 * notices.c - contract in consentd/notices.h.
 *
 * The history is small (a line per published notice), so it is written anew as a whole: the file
 * is the old one or the new one, whatever crashes.
 */
#include "consentd/notices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/notice.h"

#define HISTORY   "history.jsonl"
#define HEX_LEN   64
#define TEXT_MAX  256 /* bytes of a site or a version */
#define FILE_MODE 0640

struct notices {
    char *folder;             /* owned */
    struct notice_use *items; /* owned, with their texts */
    size_t cnt;
};

static void use_free(struct notice_use *use)
{
    free((void *)(uintptr_t)use->site);
    free((void *)(uintptr_t)use->version);
}

static void push(struct notices *n, const struct notice_use *use)
{
    struct notice_use *item;

    n->items = mem_realloc(n->items, (n->cnt + 1) * sizeof(*n->items));
    item = &n->items[n->cnt++];
    *item = *use;
    item->site = mem_strdup(use->site);
    item->version = mem_strdup(use->version);
}

static bool read_number(const struct json_at *at, const char *key, int64_t max, int64_t *out,
                        struct fault *f)
{
    struct json_at child;

    if (!json_at_get(at, key, &child))
        return json_at_fault(at, f, "\"%s\" is missing", key);
    return json_at_int(&child, 0, max, out, f);
}

static bool read_line(struct notices *n, const struct json_at *at, struct fault *f)
{
    struct notice_use use = {.leaf = 0};
    struct str hash = {0}, site = {0}, version = {0};
    char texts[2][TEXT_MAX + 1];
    int64_t ts = 0, leaf = 0, epoch = 0, node = 0;
    struct json_at child;

    if (!json_at_object(at, f) || !json_at_key_str(at, "sha256", JSON_NEED, &hash, f) ||
        !json_at_key_str(at, "site", JSON_NEED, &site, f) ||
        !json_at_key_str(at, "version", JSON_NEED, &version, f) ||
        !read_number(at, "ts", INT64_MAX, &ts, f) ||
        !read_number(at, "leaf", INT64_MAX, &leaf, f) ||
        !read_number(at, "epoch", UINT32_MAX, &epoch, f) ||
        (json_at_get(at, "node", &child) && !json_at_int(&child, 1, UINT8_MAX, &node, f)))
        return false;
    if (!hex_decode(hash, use.hash, sizeof(use.hash)) || site.len > TEXT_MAX ||
        version.len > TEXT_MAX)
        return json_at_fault(at, f, "a hash, a site or a version that is none");
    memcpy(texts[0], site.ptr, site.len);
    memcpy(texts[1], version.ptr, version.len);
    texts[0][site.len] = texts[1][version.len] = '\0';
    use.site = texts[0];
    use.version = texts[1];
    use.ts_ms = (uint64_t)ts;
    use.leaf = (uint64_t)leaf;
    use.epoch = (uint32_t)epoch;
    use.node = (uint8_t)node;
    push(n, &use);
    return true;
}

static bool read_history(struct notices *n, const char *path, struct fault *f)
{
    struct buf text;
    struct str rest, line;
    bool ok;

    buf_init(&text, NOTICES_FILE_MAX);
    ok =
        (access(path, F_OK) != 0 && errno == ENOENT) || file_read(path, NOTICES_FILE_MAX, &text, f);
    rest = buf_str(&text);
    while (ok && str_cut(&rest, '\n', &line)) {
        json_t *root = line.len > 0 ? json_load_text(path, line, 0, f) : NULL;

        if (line.len == 0)
            continue;
        ok = root != NULL;
        if (ok) {
            struct json_at at = json_at_root(path, line, root);

            ok = read_line(n, &at, f);
        }
        json_decref(root);
    }
    buf_free(&text);
    return ok;
}

struct notices *notices_open(const char *folder, struct fault *f)
{
    struct notices *n = mem_new(struct notices);
    char *path = file_resolve(folder, HISTORY);
    bool ok;

    n->folder = mem_strdup(folder);
    ok = read_history(n, path, f);
    free(path);
    if (ok)
        return n;
    notices_free(n);
    return NULL;
}

void notices_free(struct notices *n)
{
    if (n == NULL)
        return;
    for (size_t i = 0; i < n->cnt; i++)
        use_free(&n->items[i]);
    free(n->items);
    free(n->folder);
    free(n);
}

size_t notices_cnt(const struct notices *n)
{
    return n->cnt;
}

const struct notice_use *notices_at(const struct notices *n, size_t i)
{
    return &n->items[i];
}

const struct notice_use *notices_latest(const struct notices *n, const char *site)
{
    for (size_t i = n->cnt; i > 0; i--) {
        if (strcmp(n->items[i - 1].site, site) == 0)
            return &n->items[i - 1];
    }
    return NULL;
}

const struct notice_use *notices_find(const struct notices *n, const uint8_t *hash, size_t len)
{
    for (size_t i = 0; i < n->cnt; i++) {
        if (memcmp(n->items[i].hash, hash, len) == 0)
            return &n->items[i];
    }
    return NULL;
}

const struct notice_use *notices_find_leaf(const struct notices *n, const uint8_t hash[32],
                                           uint8_t node)
{
    for (size_t i = 0; i < n->cnt; i++) {
        if (n->items[i].node == node && memcmp(n->items[i].hash, hash, 32) == 0)
            return &n->items[i];
    }
    return NULL;
}

uint64_t notices_since(const struct notices *n, const char *site)
{
    const struct notice_use *now = notices_latest(n, site);
    uint64_t since = 0;

    for (size_t i = n->cnt; i > 0; i--) {
        const struct notice_use *use = &n->items[i - 1];

        if (strcmp(use->site, site) != 0)
            continue;
        if (strcmp(use->version, now->version) != 0)
            return since;
        since = use->ts_ms;
    }
    return 0;
}

static char *document_path(const struct notices *n, const uint8_t hash[32])
{
    char name[HEX_LEN + sizeof(".json")];

    hex_encode(name, hash, 32);
    memcpy(name + HEX_LEN, ".json", sizeof(".json"));
    return file_resolve(n->folder, name);
}

bool notices_read(const struct notices *n, const uint8_t hash[32], struct buf *out, struct fault *f)
{
    char *path = document_path(n, hash);
    size_t from = out->len;
    uint8_t found[32];
    bool ok = file_read(path, NOTICE_MAX, out, f);

    if (ok) {
        crypto_sha256(out->data + from, out->len - from, found);
        ok = memcmp(found, hash, sizeof(found)) == 0;
        if (!ok)
            fault_set(f, "%s: was changed, its hash is another", path);
    }
    free(path);
    return ok;
}

bool notices_put(const struct notices *n, const uint8_t hash[32], struct str document,
                 bool *mended_out, struct fault *f)
{
    char *path = document_path(n, hash);
    bool there = access(path, F_OK) == 0;
    struct buf known;
    bool ok;

    buf_init(&known, NOTICE_MAX);
    *mended_out = false;
    ok = there && notices_read(n, hash, &known, NULL);
    if (!ok) {
        ok = file_make_dirs(n->folder, 0750, f) &&
             file_write_atomic(path, document.ptr, document.len, FILE_MODE, f);
        *mended_out = ok && there;
    }
    buf_free(&known);
    free(path);
    return ok;
}

static bool print_line(const struct notice_use *use, struct buf *out)
{
    char hash[HEX_LEN + 1];

    hex_encode(hash, use->hash, 32);
    return buf_printf(out, "{\"epoch\":%" PRIu32 ",\"leaf\":%" PRIu64 ",", use->epoch, use->leaf) &&
           (use->node == 0 || buf_printf(out, "\"node\":%u,", use->node)) &&
           buf_printf(out, "\"sha256\":\"%s\",\"site\":", hash) &&
           json_quote(str_c(use->site), out) &&
           buf_printf(out, ",\"ts\":%" PRIu64 ",\"version\":", use->ts_ms) &&
           json_quote(str_c(use->version), out) && buf_append_c(out, "}\n");
}

bool notices_note(struct notices *n, const struct notice_use *use, struct fault *f)
{
    char *path = file_resolve(n->folder, HISTORY);
    struct buf text;
    bool ok = n->cnt < NOTICES_MAX;

    buf_init(&text, NOTICES_FILE_MAX);
    for (size_t i = 0; i < n->cnt; i++)
        ok = ok && print_line(&n->items[i], &text);
    if (!ok || !print_line(use, &text)) {
        ok = false;
        fault_set(f, "%s: has more than %u lines", path, NOTICES_MAX);
    }
    ok = ok && file_make_dirs(n->folder, 0750, f) &&
         file_write_atomic(path, text.data, text.len, FILE_MODE, f);
    if (ok)
        push(n, use);
    buf_free(&text);
    free(path);
    return ok;
}
