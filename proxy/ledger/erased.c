/*
 * erased.c - contract in consentd/erased.h.
 *
 * Erasures are few: a list in the order of the file, and one sorted array of all their leaves
 * for the question that is asked for every record.
 */
#include "consentd/erased.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/buf.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/record.h"
#include "consentd/str.h"

#define LINE_MAX_BYTES (4u << 20) /* of one line: all refs of a subject */

struct leaf_owner {
    uint64_t leaf;
    size_t at; /* in items */
};

struct erased {
    char *path;             /* owned */
    uint8_t node;           /* whose leaves count */
    int fd;                 /* -1: nothing was written yet */
    uint64_t size;          /* bytes of the lines that count */
    uint64_t last_at;       /* where the last erasure's line is; only that one can be torn */
    unsigned last_refs;     /* records that belong to it */
    struct erasure **items; /* owned, each */
    size_t cnt, cap;
    struct leaf_owner *leaves; /* owned; sorted */
    size_t leaf_cnt;
    uint8_t (*gones)[16]; /* owned; sorted, cnt of them */
    bool unsorted;        /* leaves has to be made again */
    uint8_t (*holds)[16]; /* owned */
    size_t hold_cnt;
    struct erased_month months[ERASED_MONTHS];
    size_t month_cnt;
};

void erased_gone(const uint8_t subject[16], uint8_t out[16])
{
    static const char label[] = "consentd.gone.v1"; /* with its NUL */
    uint8_t text[sizeof(label) + 16];
    uint8_t hash[32];

    memcpy(text, label, sizeof(label));
    memcpy(text + sizeof(label), subject, 16);
    crypto_sha256(text, sizeof(text), hash);
    memcpy(out, hash, 16);
}

/* --- the list in memory -------------------------------------------------------------------- */

size_t erased_cnt(const struct erased *e)
{
    return e->cnt;
}

struct erasure *erased_at(const struct erased *e, size_t i)
{
    return e->items[i];
}

struct erasure *erased_by_tag(const struct erased *e, const uint8_t tag[16])
{
    for (size_t i = 0; i < e->cnt; i++)
        if (!e->items[i]->foreign && memcmp(e->items[i]->tag, tag, 16) == 0)
            return e->items[i];
    return NULL;
}

static int cmp_gone(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

bool erased_is_gone(const struct erased *e, const uint8_t gone[16])
{
    return e->cnt > 0 && bsearch(gone, e->gones, e->cnt, 16, cmp_gone) != NULL;
}

static int cmp_leaf(const void *a, const void *b)
{
    const struct leaf_owner *x = a;
    const struct leaf_owner *y = b;

    return (x->leaf > y->leaf) - (x->leaf < y->leaf);
}

static void sort_leaves(struct erased *e)
{
    size_t cnt = 0;

    e->unsorted = false;
    for (size_t i = 0; i < e->cnt; i++)
        cnt += e->items[i]->ref_cnt;
    e->leaves = mem_realloc(e->leaves, (cnt + 1) * sizeof(*e->leaves));
    e->leaf_cnt = 0;
    for (size_t i = 0; i < e->cnt; i++)
        for (unsigned k = 0; !e->items[i]->foreign && k < e->items[i]->ref_cnt; k++)
            e->leaves[e->leaf_cnt++] = (struct leaf_owner){e->items[i]->refs[k].leaf, i};
    qsort(e->leaves, e->leaf_cnt, sizeof(*e->leaves), cmp_leaf);
    e->gones = mem_realloc(e->gones, (e->cnt + 1) * sizeof(*e->gones));
    for (size_t i = 0; i < e->cnt; i++)
        memcpy(e->gones[i], e->items[i]->gone, 16);
    qsort(e->gones, e->cnt, sizeof(*e->gones), cmp_gone);
}

const struct erasure *erased_of(const struct erased *e, uint64_t leaf)
{
    const struct leaf_owner want = {.leaf = leaf};
    const struct leaf_owner *found;

    if (e == NULL || e->leaf_cnt == 0)
        return NULL;
    found = bsearch(&want, e->leaves, e->leaf_cnt, sizeof(want), cmp_leaf);
    return found != NULL ? e->items[found->at] : NULL;
}

bool erased_has(const struct erased *e, uint64_t leaf)
{
    const struct erasure *x = erased_of(e, leaf);

    return x != NULL && !x->held;
}

static struct erasure *by_request(const struct erased *e, const uint8_t request[16])
{
    for (size_t i = e->cnt; i > 0; i--)
        if (memcmp(e->items[i - 1]->request, request, 16) == 0)
            return e->items[i - 1];
    return NULL;
}

static struct erasure *put_item(struct erased *e, const struct erasure *in)
{
    struct erasure *x = mem_dup(in, sizeof(*in));

    x->refs = NULL;
    x->ref_cnt = x->ref_cap = x->logged = 0;
    if (e->cnt == e->cap) {
        e->cap = e->cap == 0 ? 16 : e->cap * 2;
        e->items = mem_realloc(e->items, e->cap * sizeof(struct erasure *));
    }
    e->items[e->cnt++] = x;
    return x;
}

static bool knows(const struct erasure *x, uint64_t leaf)
{
    for (unsigned i = 0; i < x->ref_cnt; i++)
        if (x->refs[i].leaf == leaf)
            return true;
    return false;
}

static void put_ref(struct erased *e, struct erasure *x, struct erased_ref ref)
{
    if (x->ref_cnt == ERASED_REFS_MAX || knows(x, ref.leaf))
        return;
    if (x->ref_cnt == x->ref_cap) {
        x->ref_cap = x->ref_cap == 0 ? 4 : x->ref_cap * 2;
        x->refs = mem_realloc(x->refs, x->ref_cap * sizeof(*x->refs));
    }
    x->refs[x->ref_cnt++] = ref;
    e->unsorted = true;
}

bool erased_any_hold(const struct erased *e)
{
    return e->hold_cnt > 0;
}

size_t erased_month_cnt(const struct erased *e)
{
    return e->month_cnt;
}

uint32_t erased_month(const struct erased *e, size_t i)
{
    return e->months[i].month;
}

const struct erased_month *erased_month_at(const struct erased *e, size_t i)
{
    return &e->months[i];
}

static struct erased_month *month_of(struct erased *e, uint32_t month)
{
    for (size_t i = 0; i < e->month_cnt; i++)
        if (e->months[i].month == month)
            return &e->months[i];
    return NULL;
}

const struct erased_month *erased_newest_month(const struct erased *e)
{
    const struct erased_month *newest = NULL;

    for (size_t i = 0; i < e->month_cnt; i++)
        if (newest == NULL || e->months[i].month > newest->month)
            newest = &e->months[i];
    return newest;
}

bool erased_kept_from(const struct erased *e, uint64_t *leaf_out)
{
    const struct erased_month *newest = erased_newest_month(e);

    *leaf_out = newest != NULL ? newest->kept : 0;
    return newest == NULL || newest->known;
}

bool erased_is_held(const struct erased *e, const uint8_t tag[16])
{
    for (size_t i = 0; i < e->hold_cnt; i++)
        if (memcmp(e->holds[i], tag, 16) == 0)
            return true;
    return false;
}

static void put_hold(struct erased *e, const uint8_t tag[16], bool on)
{
    size_t i = 0;

    while (i < e->hold_cnt && memcmp(e->holds[i], tag, 16) != 0)
        i++;
    if (on && i == e->hold_cnt && e->hold_cnt < ERASED_HOLDS)
        memcpy(e->holds[e->hold_cnt++], tag, 16);
    else if (!on && i < e->hold_cnt)
        memcpy(e->holds[i], e->holds[--e->hold_cnt], 16);
    for (i = 0; i < e->cnt && !on; i++)
        if (e->items[i]->held && memcmp(e->items[i]->tag, tag, 16) == 0)
            e->items[i]->held = e->items[i]->applied = false;
}

/* --- reading the file ---------------------------------------------------------------------- */

static bool cut_id(struct str *rest, uint8_t out[16])
{
    struct str word;

    return str_cut(rest, ' ', &word) && hex_decode(word, out, 16);
}

static bool cut_number(struct str *rest, uint64_t *out)
{
    struct str word;

    return str_cut(rest, ' ', &word) && str_to_u64(word, UINT64_MAX, out);
}

static bool read_erase(struct erased *e, struct str rest)
{
    struct erasure x = {.now = false};
    uint64_t flags, refs = 0, node = 0;

    if (!cut_id(&rest, x.request) || !cut_id(&rest, x.tag) || !cut_id(&rest, x.gone) ||
        !cut_number(&rest, &x.ts_ms) || !cut_number(&rest, &flags) || flags > 3 ||
        (rest.len > 0 && (!cut_number(&rest, &refs) || refs > ERASED_REFS_MAX)) ||
        (rest.len > 0 && (!cut_number(&rest, &node) || node > UINT8_MAX)) || e->cnt == ERASED_MAX)
        return false;
    e->last_at = e->size;
    e->last_refs = (unsigned)refs;
    x.now = (flags & 1) != 0;
    x.by_operator = (flags & 2) != 0;
    x.node = (uint8_t)node;
    x.foreign = node != 0 && node != e->node;
    x.held = erased_is_held(e, x.tag);
    (void)put_item(e, &x);
    return true;
}

static bool read_leaves(struct erased *e, struct erasure *x, struct str rest)
{
    struct str word;

    while (str_cut(&rest, ',', &word)) {
        struct erased_ref ref;
        struct str ts;

        if (!str_cut(&word, ':', &ts) || !str_to_u64(ts, UINT64_MAX, &ref.ts_ms) ||
            !str_to_u64(word, RECORD_LEAF_MAX, &ref.leaf))
            return false;
        put_ref(e, x, ref);
    }
    return true;
}

static bool read_progress(struct erased *e, struct str what, struct str rest)
{
    uint8_t request[16];
    struct erasure *x = cut_id(&rest, request) ? by_request(e, request) : NULL;
    uint64_t cnt = 0;

    if (x == NULL)
        return false;
    if (str_eq_c(what, "leaves"))
        return read_leaves(e, x, rest);
    if (str_eq_c(what, "logged")) {
        if (!cut_number(&rest, &cnt) || cnt > x->ref_cnt)
            return false;
        x->logged = (unsigned)cnt;
        x->named = true;
        return true;
    }
    if (str_eq_c(what, "looked"))
        x->looked = true;
    else if (str_eq_c(what, "now"))
        x->now = true;
    else if (str_eq_c(what, "shredded"))
        x->shredded = true;
    else
        return false;
    return true;
}

static bool read_drop(struct erased *e, struct str rest)
{
    uint64_t month, ts_ms;

    if (!cut_number(&rest, &month) || month > UINT32_MAX || !record_month_ok((uint32_t)month) ||
        !cut_number(&rest, &ts_ms) || e->month_cnt == ERASED_MONTHS)
        return false;
    e->months[e->month_cnt++] = (struct erased_month){.month = (uint32_t)month, .ts_ms = ts_ms};
    return true;
}

/* What another node wrote is read and not meant. */
static bool read_month(struct erased *e, struct str what, struct str rest)
{
    bool kept = str_eq_c(what, "kept");
    uint64_t month, node, leaf = 0;
    struct erased_month *m;

    if (!cut_number(&rest, &month) || !cut_number(&rest, &node) || node > UINT8_MAX ||
        (kept && (!cut_number(&rest, &leaf) || leaf > RECORD_LEAF_MAX)) || rest.len > 0)
        return false;
    m = month <= UINT32_MAX ? month_of(e, (uint32_t)month) : NULL;
    if (m == NULL)
        return false;
    if (node != e->node)
        return true;
    if (kept)
        m->kept = leaf;
    m->known = m->known || kept;
    m->told = m->told || !kept;
    return true;
}

static bool read_line(struct erased *e, struct str line)
{
    struct str what;
    uint8_t tag[16];

    if (!str_cut(&line, ' ', &what))
        return false;
    if (str_eq_c(what, "erase"))
        return read_erase(e, line);
    if (str_eq_c(what, "drop"))
        return read_drop(e, line);
    if (str_eq_c(what, "kept") || str_eq_c(what, "told"))
        return read_month(e, what, line);
    if (str_eq_c(what, "hold") || str_eq_c(what, "release")) {
        if (!cut_id(&line, tag))
            return false;
        put_hold(e, tag, str_eq_c(what, "hold"));
        return true;
    }
    return read_progress(e, what, line);
}

/* Without all of its records: nobody was told that it is known. */
static void drop_torn(struct erased *e)
{
    struct erasure *last = e->cnt > 0 ? e->items[e->cnt - 1] : NULL;

    if (last == NULL || last->ref_cnt >= e->last_refs)
        return;
    free(last->refs);
    free(last);
    e->cnt--;
    e->size = e->last_at;
}

static bool read_file(struct erased *e, struct fault *f)
{
    struct buf text;
    struct str rest, line;
    unsigned number = 0;
    bool ok = true;

    if (access(e->path, F_OK) != 0 && errno == ENOENT)
        return true;
    buf_init(&text, ERASED_FILE_MAX);
    ok = file_read(e->path, ERASED_FILE_MAX, &text, f);
    rest = buf_str(&text);
    while (ok && str_find_char(rest, '\n') >= 0 && str_cut(&rest, '\n', &line)) {
        number++;
        if (!read_line(e, line)) {
            fault_set(f, "%s: line %u makes no sense", e->path, number);
            ok = false;
        }
        e->size += line.len + 1;
    }
    drop_torn(e);
    buf_free(&text);
    return ok;
}

struct erased *erased_open(const char *path, uint8_t node, struct fault *f)
{
    struct erased *e = mem_new(struct erased);

    e->node = node;
    e->path = mem_strdup(path);
    e->fd = -1;
    e->holds = mem_calloc(ERASED_HOLDS, sizeof(*e->holds));
    if (!read_file(e, f)) {
        erased_free(e);
        return NULL;
    }
    sort_leaves(e);
    return e;
}

void erased_free(struct erased *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->cnt; i++) {
        free(e->items[i]->refs);
        free(e->items[i]);
    }
    if (e->fd >= 0)
        close(e->fd);
    free(e->items);
    free(e->leaves);
    free(e->gones);
    free(e->holds);
    free(e->path);
    free(e);
}

/* --- writing ------------------------------------------------------------------------------- */

/* What a crash has torn is cut off first: the next line is not part of it. */
static bool open_for_writing(struct erased *e, struct fault *f)
{
    if (e->fd >= 0)
        return true;
    e->fd = open(e->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (e->fd >= 0 && ftruncate(e->fd, (off_t)e->size) == 0 && file_sync_dir(e->path, f))
        return true;
    fault_set_errno(f, "%s", e->path);
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
    return false;
}

/* One write and one sync; after a failure the file is cut back to what it was. */
static bool append(struct erased *e, struct str text, struct fault *f)
{
    if (!open_for_writing(e, f))
        return false;
    if (e->size + text.len <= ERASED_FILE_MAX &&
        write(e->fd, text.ptr, text.len) == (ssize_t)text.len && fdatasync(e->fd) == 0) {
        e->size += text.len;
        return true;
    }
    fault_set_errno(f, "%s", e->path);
    if (ftruncate(e->fd, (off_t)e->size) != 0)
        fault_set_errno(f, "%s: can't be cut back", e->path);
    close(e->fd);
    e->fd = -1;
    return false;
}

static bool put_hex(struct buf *out, const uint8_t id[16])
{
    char text[33];

    hex_encode(text, id, 16);
    return buf_printf(out, " %s", text);
}

static bool print_leaves(struct buf *out, const uint8_t request[16], const struct erased_ref *refs,
                         size_t cnt)
{
    bool ok = cnt == 0 || (buf_append_c(out, "leaves") && put_hex(out, request));

    for (size_t i = 0; ok && i < cnt; i++)
        ok = buf_printf(out, "%c%" PRIu64 ":%" PRIu64, i > 0 ? ',' : ' ', refs[i].ts_ms,
                        refs[i].leaf);
    return ok && (cnt == 0 || buf_append_c(out, "\n"));
}

bool erased_add(struct erased *e, const struct erasure *in, struct erasure **out, struct fault *f)
{
    struct buf text;
    bool ok;

    if (e->cnt == ERASED_MAX) {
        fault_set(f, "%s: %d erasures are the most there can be", e->path, ERASED_MAX);
        return false;
    }
    buf_init(&text, LINE_MAX_BYTES);
    ok = buf_append_c(&text, "erase") && put_hex(&text, in->request) && put_hex(&text, in->tag) &&
         put_hex(&text, in->gone) &&
         buf_printf(&text, " %" PRIu64 " %d %u %u\n", in->ts_ms,
                    (in->now ? 1 : 0) | (in->by_operator ? 2 : 0), in->ref_cnt, e->node) &&
         print_leaves(&text, in->request, in->refs, in->ref_cnt) && append(e, buf_str(&text), f);
    buf_free(&text);
    if (!ok)
        return false;
    *out = put_item(e, in);
    (*out)->held = erased_is_held(e, in->tag);
    (*out)->node = e->node;
    (*out)->foreign = false;
    for (unsigned i = 0; i < in->ref_cnt; i++)
        put_ref(e, *out, in->refs[i]);
    sort_leaves(e);
    return true;
}

bool erased_more(struct erased *e, struct erasure *x, const struct erased_ref *refs, size_t cnt,
                 struct fault *f)
{
    struct erased_ref *fresh = mem_calloc(cnt + 1, sizeof(*fresh));
    size_t fresh_cnt = 0;
    struct buf text;
    bool ok;

    for (size_t i = 0; i < cnt; i++)
        if (!knows(x, refs[i].leaf) && x->ref_cnt + fresh_cnt < ERASED_REFS_MAX)
            fresh[fresh_cnt++] = refs[i];
    buf_init(&text, LINE_MAX_BYTES);
    ok = print_leaves(&text, x->request, fresh, fresh_cnt) &&
         (fresh_cnt == 0 || append(e, buf_str(&text), f));
    for (size_t i = 0; ok && i < fresh_cnt; i++)
        put_ref(e, x, fresh[i]);
    if (e->unsorted)
        sort_leaves(e);
    buf_free(&text);
    free(fresh);
    return ok;
}

static bool note(struct erased *e, const char *what, const struct erasure *x, unsigned cnt,
                 struct fault *f)
{
    struct buf text;
    bool ok;

    buf_init(&text, 256);
    ok = buf_append_c(&text, what) && put_hex(&text, x->request) &&
         buf_printf(&text, " %u\n", cnt) && append(e, buf_str(&text), f);
    buf_free(&text);
    return ok;
}

bool erased_note_now(struct erased *e, struct erasure *x, struct fault *f)
{
    x->now = x->now || note(e, "now", x, x->ref_cnt, f);
    return x->now;
}

bool erased_note_looked(struct erased *e, struct erasure *x, struct fault *f)
{
    x->looked = x->looked || note(e, "looked", x, x->ref_cnt, f);
    return x->looked;
}

bool erased_note_logged(struct erased *e, struct erasure *x, unsigned cnt, struct fault *f)
{
    if (!note(e, "logged", x, cnt, f))
        return false;
    x->logged = cnt;
    x->named = true;
    return true;
}

bool erased_note_shredded(struct erased *e, struct erasure *x, struct fault *f)
{
    x->shredded = x->shredded || note(e, "shredded", x, x->ref_cnt, f);
    return x->shredded;
}

bool erased_hold(struct erased *e, const uint8_t tag[16], bool on, uint64_t ts_ms, struct fault *f)
{
    struct buf text;
    bool ok;

    if (erased_is_held(e, tag) == on)
        return true;
    if (on && e->hold_cnt == ERASED_HOLDS) {
        fault_set(f, "%d legal holds are the most there can be", ERASED_HOLDS);
        return false;
    }
    buf_init(&text, 256);
    ok = buf_append_c(&text, on ? "hold" : "release") && put_hex(&text, tag) &&
         buf_printf(&text, " %" PRIu64 "\n", ts_ms) && append(e, buf_str(&text), f);
    buf_free(&text);
    if (ok)
        put_hold(e, tag, on);
    return ok;
}

/* A line about a month of this node; leaf NULL: none in it. */
static bool note_month(struct erased *e, const char *what, uint32_t month, const uint64_t *leaf,
                       struct fault *f)
{
    struct buf text;
    bool ok;

    buf_init(&text, 256);
    ok = buf_printf(&text, "%s %" PRIu32 " %u", what, month, e->node) &&
         (leaf == NULL || buf_printf(&text, " %" PRIu64, *leaf)) && buf_append_c(&text, "\n") &&
         append(e, buf_str(&text), f);
    buf_free(&text);
    return ok;
}

bool erased_drop(struct erased *e, uint32_t month, uint64_t ts_ms, const uint64_t *kept,
                 struct fault *f)
{
    struct buf text;
    bool ok;

    if (month_of(e, month) != NULL)
        return true;
    if (e->month_cnt == ERASED_MONTHS) {
        fault_set(f, "%d months are the most that can be dropped", ERASED_MONTHS);
        return false;
    }
    buf_init(&text, 256);
    ok = buf_printf(&text, "drop %" PRIu32 " %" PRIu64 "\n", month, ts_ms) &&
         (kept == NULL ||
          buf_printf(&text, "kept %" PRIu32 " %u %" PRIu64 "\n", month, e->node, *kept)) &&
         append(e, buf_str(&text), f);
    buf_free(&text);
    if (ok)
        e->months[e->month_cnt++] = (struct erased_month){.month = month,
                                                          .ts_ms = ts_ms,
                                                          .known = kept != NULL,
                                                          .kept = kept != NULL ? *kept : 0};
    return ok;
}

bool erased_note_kept(struct erased *e, uint32_t month, uint64_t kept, struct fault *f)
{
    struct erased_month *m = month_of(e, month);

    if (m == NULL || m->known)
        return m != NULL;
    m->known = note_month(e, "kept", month, &kept, f);
    m->kept = kept;
    return m->known;
}

bool erased_note_told(struct erased *e, uint32_t month, struct fault *f)
{
    struct erased_month *m = month_of(e, month);

    if (m != NULL && !m->told)
        m->told = note_month(e, "told", month, NULL, f);
    return m != NULL && m->told;
}
