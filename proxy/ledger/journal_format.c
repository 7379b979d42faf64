/*
 * journal_format.c - reading and writing segment headers, batches and records
 * (layout: journal_priv.h).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes_priv.h"
#include "consentd/crypto.h"
#include "consentd/mem.h"
#include "journal_priv.h"

bool journal_type_has_leaf(uint8_t type)
{
    return type == JOURNAL_EVENT || type == JOURNAL_DOC || type == JOURNAL_OPERATOR;
}

/* --- segments ---------------------------------------------------------------------- */

void segment_path(char out[PATH_ROOM], const char *dir, uint8_t node, uint64_t segno)
{
    (void)snprintf(out, PATH_ROOM, "%s/wal-%u-%016" PRIx64 ".log", dir, node, segno);
}

void segment_head_put(struct segment *seg, uint8_t out[SEGMENT_HEAD])
{
    memset(out, 0, SEGMENT_HEAD);
    memcpy(out, "CNSNTWAL", 8);
    be16_put(out + 8, 1);
    out[10] = seg->node;
    be64_put(out + 16, seg->segno);
    be64_put(out + 24, seg->first_leaf);
    be64_put(out + 32, seg->created_ms);
    memcpy(out + 40, seg->salt, 8);
    be32_put(out + 48, seg->prev_chain);
    seg->head_crc = crypto_crc32c(0, out, 60);
    be32_put(out + 60, seg->head_crc);
}

bool segment_head_get(const uint8_t in[SEGMENT_HEAD], struct segment *out)
{
    if (memcmp(in, "CNSNTWAL", 8) != 0 || be16_get(in + 8) != 1 ||
        be32_get(in + 60) != crypto_crc32c(0, in, 60))
        return false;
    out->node = in[10];
    out->segno = be64_get(in + 16);
    out->first_leaf = be64_get(in + 24);
    out->created_ms = be64_get(in + 32);
    memcpy(out->salt, in + 40, 8);
    out->prev_chain = be32_get(in + 48);
    out->head_crc = be32_get(in + 60);
    return true;
}

/* The number in "wal-<node>-<16 hex>.log"; false for any other name. */
static bool segment_name(const char *name, uint8_t node, uint64_t *segno_out)
{
    char prefix[16];
    int len = snprintf(prefix, sizeof(prefix), "wal-%u-", node);
    uint64_t segno = 0;

    if (strncmp(name, prefix, (size_t)len) != 0 || strlen(name) != (size_t)len + 20 ||
        strcmp(name + len + 16, ".log") != 0)
        return false;
    for (int i = len; i < len + 16; i++) {
        const char *hex = "0123456789abcdef";
        const char *digit = strchr(hex, name[i]);

        if (digit == NULL || *digit == '\0')
            return false;
        segno = segno << 4 | (uint64_t)(digit - hex);
    }
    *segno_out = segno;
    return true;
}

enum segment_found { SEGMENT_UNREAD = 0, SEGMENT_BROKEN, SEGMENT_GONE, SEGMENT_GOOD };

/* A file that can't be read says nothing of what is in it: that is a fault, and no bad header. */
static enum segment_found segment_load(const char *dir, uint8_t node, uint64_t segno,
                                       struct segment *out, struct fault *f)
{
    char path[PATH_ROOM];
    uint8_t head[SEGMENT_HEAD];
    ssize_t got;
    int fd;

    segment_path(path, dir, node, segno);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SEGMENT_GONE; /* removed by its age since the folder was read */
    got = fd >= 0 ? pread(fd, head, sizeof(head), 0) : -1;
    if (got < 0)
        fault_set_errno(f, "journal: %s", path);
    if (fd >= 0)
        close(fd);
    if (got < 0)
        return SEGMENT_UNREAD;
    return got == (ssize_t)sizeof(head) && segment_head_get(head, out) && out->segno == segno &&
                   out->node == node
               ? SEGMENT_GOOD
               : SEGMENT_BROKEN;
}

static void list_add(struct segment_list *list, const struct segment *seg)
{
    if (list->cnt == list->cap) {
        list->cap = list->cap == 0 ? 16 : list->cap * 2;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
    }
    list->items[list->cnt++] = *seg;
}

static int cmp_segments(const void *a, const void *b)
{
    const struct segment *x = a;
    const struct segment *y = b;

    return (x->segno > y->segno) - (x->segno < y->segno);
}

/* One file of the folder into the list. False and *f: it can't be read. */
static bool list_take(struct segment_list *list, const char *dir, uint8_t node, uint64_t segno,
                      struct fault *f)
{
    struct segment seg;

    switch (segment_load(dir, node, segno, &seg, f)) {
    case SEGMENT_UNREAD:
        return false;
    case SEGMENT_GOOD:
        list_add(list, &seg);
        break;
    case SEGMENT_BROKEN:
        if (list->broken++ == 0 || segno > list->broken_segno)
            list->broken_segno = segno;
        break;
    case SEGMENT_GONE:
        break;
    }
    return true;
}

bool segment_list_read(struct segment_list *list, const char *dir, uint8_t node, struct fault *f)
{
    struct segment_list fresh = {.cnt = 0};
    DIR *d = opendir(dir);
    const struct dirent *entry;
    uint64_t segno;
    bool ok = true;

    if (d == NULL) {
        fault_set_errno(f, "journal: %s", dir);
        return false;
    }
    while (ok && (entry = readdir(d)) != NULL && fresh.cnt < SEGMENTS_MAX)
        if (segment_name(entry->d_name, node, &segno))
            ok = list_take(&fresh, dir, node, segno, f);
    closedir(d);
    if (!ok) {
        segment_list_free(&fresh);
        return false;
    }
    if (fresh.cnt > 0)
        qsort(fresh.items, fresh.cnt, sizeof(*fresh.items), cmp_segments);
    segment_list_free(list);
    *list = fresh;
    return true;
}

void segment_list_free(struct segment_list *list)
{
    free(list->items);
    memset(list, 0, sizeof(*list));
}

/* --- a window on a file ------------------------------------------------------------ */

void window_init(struct window *w, int fd)
{
    w->fd = fd;
    w->base = 0;
    w->len = 0;
    if (w->data == NULL)
        w->data = mem_alloc(WINDOW_BYTES);
}

void window_free(struct window *w)
{
    free(w->data);
    w->data = NULL;
    w->len = w->kept = 0;
}

void window_wipe(struct window *w)
{
    if (w->kept > 0)
        crypto_wipe(w->data, w->kept);
    w->len = w->kept = 0;
}

void window_forget(struct window *w)
{
    w->len = 0;
}

const uint8_t *window_at(struct window *w, uint64_t off, size_t need)
{
    ASSERT(need <= WINDOW_BYTES);
    if (w->len == 0 || off < w->base || off + need > w->base + w->len) {
        bool backwards = w->len > 0 && off < w->base;
        ssize_t got;

        w->base = off;
        if (backwards) /* the wanted bytes at the end, what comes before them in front */
            w->base = off + need > WINDOW_BYTES ? off + need - WINDOW_BYTES : 0;
        got = pread(w->fd, w->data, WINDOW_BYTES, (off_t)w->base);
        w->len = got > 0 ? (size_t)got : 0;
        w->kept = w->len > w->kept ? w->len : w->kept;
        if (off + need > w->base + w->len)
            return NULL;
    }
    return w->data + (off - w->base);
}

/* --- batches and records ----------------------------------------------------------- */

static uint32_t batch_crc(const struct segment *seg, const uint8_t *head, size_t body_len)
{
    uint32_t crc = crypto_crc32c(0, seg->salt, sizeof(seg->salt));

    return crypto_crc32c(crc, head + 12, BATCH_HEAD - 12 + body_len);
}

enum batch_found batch_at(struct window *w, const struct segment *seg, uint64_t off,
                          struct batch *out)
{
    static const uint8_t zeros[BATCH_HEAD];
    const uint8_t *head = window_at(w, off, BATCH_HEAD);

    if (head == NULL || memcmp(head, zeros, sizeof(zeros)) == 0)
        return BATCH_NONE;
    out->body_len = be32_get(head + 4);
    if (memcmp(head, "CBT1", 4) != 0 || out->body_len > JOURNAL_BATCH_BYTES)
        return BATCH_BAD;
    out->size = (BATCH_HEAD + out->body_len + 7u) & ~(size_t)7;
    head = window_at(w, off, BATCH_HEAD + out->body_len);
    if (head == NULL || be32_get(head + 8) != batch_crc(seg, head, out->body_len))
        return BATCH_BAD;
    out->head = head;
    out->count = be32_get(head + 12);
    out->first_leaf = be64_get(head + 16);
    out->commit_ms = be64_get(head + 24);
    return BATCH_OK;
}

bool batch_search(struct window *w, const struct segment *seg, uint64_t off, uint64_t leaf,
                  uint64_t *off_out)
{
    const uint8_t *p;

    off = (off + 7) & ~UINT64_C(7);
    for (off += 8; (p = window_at(w, off, 8)) != NULL; off += 8) {
        struct batch b;

        if (memcmp(p, "CBT1", 4) == 0 && batch_at(w, seg, off, &b) == BATCH_OK &&
            b.first_leaf > leaf) {
            *off_out = off;
            return true;
        }
    }
    return false;
}

bool batch_record(const struct batch *b, size_t at, struct journal_record *out, size_t *next_out)
{
    const uint8_t *p = b->head + BATCH_HEAD + at;
    size_t room = b->body_len - at;
    size_t len;

    if (at > b->body_len || room < JOURNAL_RECORD_HEAD)
        return false;
    len = be32_get(p);
    if (len > room - 4 || len < JOURNAL_RECORD_HEAD - 4)
        return false;
    out->type = p[4];
    out->flags = p[5];
    out->node = be16_get(p + 6);
    out->month = be32_get(p + 8);
    out->ts_ms = be64_get(p + 12);
    memcpy(out->sub_tag, p + 20, 16);
    memcpy(out->r, p + 36, 32);
    memcpy(out->cmt, p + 68, 32);
    out->sealed = str_make(p + 100, len - 96);
    *next_out = at + 4 + len;
    return true;
}

size_t record_put(uint8_t *out, const struct journal_record *rec)
{
    be32_put(out, (uint32_t)(96 + rec->sealed.len));
    out[4] = rec->type;
    out[5] = rec->flags;
    be16_put(out + 6, rec->node);
    be32_put(out + 8, rec->month);
    be64_put(out + 12, rec->ts_ms);
    memcpy(out + 20, rec->sub_tag, 16);
    memcpy(out + 36, rec->r, 32);
    memcpy(out + 68, rec->cmt, 32);
    if (rec->sealed.len > 0)
        memcpy(out + 100, rec->sealed.ptr, rec->sealed.len);
    return 100 + rec->sealed.len;
}

size_t batch_finish(uint8_t *buf, const struct segment *seg, const struct batch *b)
{
    size_t size = (BATCH_HEAD + b->body_len + 7u) & ~(size_t)7;

    memcpy(buf, "CBT1", 4);
    be32_put(buf + 4, b->body_len);
    be32_put(buf + 12, b->count);
    be64_put(buf + 16, b->first_leaf);
    be64_put(buf + 24, b->commit_ms);
    be32_put(buf + 8, batch_crc(seg, buf, b->body_len));
    memset(buf + BATCH_HEAD + b->body_len, 0, size - BATCH_HEAD - b->body_len);
    return size;
}

uint64_t batch_end_leaf(const struct batch *b)
{
    struct journal_record rec;
    uint64_t leaf = b->first_leaf;
    size_t at = 0;

    for (uint32_t i = 0; i < b->count && batch_record(b, at, &rec, &at); i++)
        leaf += journal_type_has_leaf(rec.type) ? 1 : 0;
    return leaf;
}
