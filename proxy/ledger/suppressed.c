/*
 * suppressed.c - contract in consentd/suppressed.h.
 */
#include "consentd/suppressed.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/file.h"
#include "consentd/map.h"
#include "consentd/mem.h"
#include "consentd/unsub.h"

struct suppressed {
    char *path;                      /* owned */
    struct suppressed_entry **items; /* owned, with their keys; in the order of the file */
    size_t cnt, cap;
    size_t saved;       /* the first ones are in the file, the others are still to be written */
    struct map *by_key; /* key -> entry */
    uint64_t size;      /* bytes of whole lines */
};

static bool key_of(const uint8_t tag[16], struct str list, char out[SUPPRESSED_KEY_MAX])
{
    if (!unsub_list_ok(list))
        return false;
    b64url_encode(out, tag, 16);
    snprintf(out + B64_LEN(16), SUPPRESSED_KEY_MAX - B64_LEN(16), ":%.*s", STR_ARGS(list));
    return true;
}

static void push(struct suppressed *s, const char *key, uint64_t ts_ms)
{
    struct suppressed_entry *entry;

    if (map_get(s->by_key, str_c(key)) != NULL)
        return;
    entry = mem_new(struct suppressed_entry);
    entry->key = mem_strdup(key);
    entry->ts_ms = ts_ms;
    if (s->cnt == s->cap) {
        s->cap = s->cap == 0 ? 256 : s->cap * 2;
        s->items = mem_realloc(s->items, s->cap * sizeof(struct suppressed_entry *));
    }
    s->items[s->cnt++] = entry;
    (void)map_set(s->by_key, str_c(key), entry);
}

static bool read_line(struct suppressed *s, struct str line)
{
    char key[SUPPRESSED_KEY_MAX];
    struct str tag, list;
    uint8_t bytes[16];
    uint64_t ts_ms;

    if (!str_cut(&line, ' ', &tag) || !str_cut(&line, ' ', &list) ||
        !b64url_decode(tag, bytes, sizeof(bytes)) || !str_to_u64(line, UINT64_MAX, &ts_ms) ||
        !key_of(bytes, list, key) || s->cnt == SUPPRESSED_MAX)
        return false;
    push(s, key, ts_ms);
    return true;
}

static bool read_file(struct suppressed *s, struct fault *f)
{
    struct buf text;
    struct str rest, line;
    unsigned number = 0;
    bool ok;

    buf_init(&text, SUPPRESSED_FILE_MAX);
    ok = access(s->path, F_OK) != 0 || file_read(s->path, SUPPRESSED_FILE_MAX, &text, f);
    rest = buf_str(&text);
    while (ok && str_find_char(rest, '\n') >= 0 && str_cut(&rest, '\n', &line)) {
        number++;
        s->size += line.len + 1;
        ok = read_line(s, line);
        if (!ok)
            fault_set(f, "%s:%u: expected \"TAG LIST TIME\"", s->path, number);
    }
    s->saved = s->cnt;
    buf_free(&text);
    return ok;
}

struct suppressed *suppressed_open(const char *path, struct fault *f)
{
    struct suppressed *s = mem_new(struct suppressed);

    s->path = mem_strdup(path);
    s->by_key = map_new();
    if (read_file(s, f))
        return s;
    suppressed_free(s);
    return NULL;
}

void suppressed_free(struct suppressed *s)
{
    if (s == NULL)
        return;
    map_free(s->by_key, NULL);
    for (size_t i = 0; i < s->cnt; i++) {
        free((void *)(uintptr_t)s->items[i]->key);
        free(s->items[i]);
    }
    free(s->items);
    free(s->path);
    free(s);
}

size_t suppressed_cnt(const struct suppressed *s)
{
    return s->cnt;
}

const struct suppressed_entry *suppressed_at(const struct suppressed *s, size_t i)
{
    return s->items[i];
}

uint64_t suppressed_since(const struct suppressed *s, const uint8_t tag[16], struct str list)
{
    char key[SUPPRESSED_KEY_MAX];
    const struct suppressed_entry *entry;

    if (!key_of(tag, list, key))
        return 0;
    entry = map_get(s->by_key, str_c(key));
    return entry != NULL ? entry->ts_ms : 0;
}

/* The lines that the file lacks. */
static bool print_unsaved(const struct suppressed *s, struct buf *out)
{
    for (size_t i = s->saved; i < s->cnt; i++) {
        const struct suppressed_entry *entry = s->items[i];

        if (!buf_printf(out, "%.*s %s %" PRIu64 "\n", B64_LEN(16), entry->key,
                        entry->key + B64_LEN(16) + 1, entry->ts_ms))
            return false;
    }
    return true;
}

bool suppressed_save(struct suppressed *s, struct fault *f)
{
    struct buf text;
    bool ok;
    int fd;

    if (s->saved == s->cnt)
        return true;
    buf_init(&text, SUPPRESSED_FILE_MAX);
    fd = open(s->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    /* behind the last whole line: a cut one of a crash is written over */
    ok = fd >= 0 && print_unsaved(s, &text) && ftruncate(fd, (off_t)s->size) == 0 &&
         pwrite(fd, text.data, text.len, (off_t)s->size) == (ssize_t)text.len &&
         fdatasync(fd) == 0 && (s->size > 0 || file_sync_dir(s->path, f));
    if (!ok)
        fault_set_errno(f, "%s: cannot be written", s->path);
    if (fd >= 0)
        close(fd);
    if (ok) {
        s->size += text.len;
        s->saved = s->cnt;
    }
    buf_free(&text);
    return ok;
}

bool suppressed_add(struct suppressed *s, const uint8_t tag[16], struct str list, uint64_t ts_ms,
                    struct fault *f)
{
    char key[SUPPRESSED_KEY_MAX];

    if (!key_of(tag, list, key)) {
        fault_set(f, "%s: no list by that name", s->path);
        return false;
    }
    if (map_get(s->by_key, str_c(key)) == NULL) {
        if (s->cnt == SUPPRESSED_MAX) {
            fault_set(f, "%s: has %u lines, the most there may be", s->path, SUPPRESSED_MAX);
            return false;
        }
        push(s, key, ts_ms);
    }
    return true;
}
