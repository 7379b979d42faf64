/*
 * bundle.c - contract in consentd/bundle.h.
 *
 * Items are an array sorted by name. A bundle that was opened borrows names and data
 * from the mapping; one that is being filled owns copies. One struct serves both:
 * owned_bytes tells which.
 */
#include "consentd/bundle.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/mem.h"
#include "consentd/memfile.h"

#define MAGIC     "CNSNTBDL"
#define MAGIC_LEN 8u

struct item {
    struct str name;
    struct str data;
    char *owned_bytes; /* owned: name and data in one piece; NULL: in the mapping */
};

struct bundle {
    struct item *items; /* owned; sorted by name */
    size_t cnt, room;
    size_t bytes;   /* of all names and data */
    void *map;      /* owned; NULL unless opened */
    size_t map_len; /* bytes of map */
};

struct bundle *bundle_new(void)
{
    return mem_new(struct bundle);
}

/* The first item whose name is not before `name`. */
static size_t position(const struct bundle *b, struct str name)
{
    size_t low = 0, high = b->cnt;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (str_cmp(b->items[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_at(const struct bundle *b, size_t at, struct str name)
{
    return at < b->cnt && str_eq(b->items[at].name, name);
}

static void item_free(struct item *item)
{
    if (item->owned_bytes == NULL)
        return;
    crypto_wipe(item->owned_bytes, item->name.len + item->data.len);
    free(item->owned_bytes);
}

static void insert(struct bundle *b, size_t at, struct item item)
{
    if (b->cnt == b->room) {
        b->room = b->room > 0 ? b->room * 2 : 32;
        b->items = mem_realloc(b->items, b->room * sizeof(*b->items));
    }
    memmove(b->items + at + 1, b->items + at, (b->cnt - at) * sizeof(*b->items));
    b->items[at] = item;
    b->cnt++;
}

bool bundle_add(struct bundle *b, struct str name, struct str data)
{
    size_t at = position(b, name);
    bool replace = is_at(b, at, name);
    size_t less = replace ? name.len + b->items[at].data.len : 0;

    if (name.len > BUNDLE_MAX || data.len > BUNDLE_MAX ||
        b->bytes - less + name.len + data.len > BUNDLE_MAX)
        return false;
    if (!replace && b->cnt >= BUNDLE_ITEMS_MAX)
        return false;
    char *bytes = mem_alloc(name.len + data.len);
    if (name.len > 0)
        memcpy(bytes, name.ptr, name.len);
    if (data.len > 0)
        memcpy(bytes + name.len, data.ptr, data.len);
    struct item item = {
        .name = str_make(bytes, name.len),
        .data = str_make(bytes + name.len, data.len),
        .owned_bytes = bytes,
    };
    b->bytes += name.len + data.len - less;
    if (replace) {
        item_free(&b->items[at]);
        b->items[at] = item;
    } else {
        insert(b, at, item);
    }
    return true;
}

static bool write_items(int fd, const struct bundle *b)
{
    uint32_t cnt = (uint32_t)b->cnt;

    if (!file_write_all(fd, MAGIC, MAGIC_LEN) || !file_write_all(fd, &cnt, sizeof(cnt)))
        return false;
    for (size_t i = 0; i < b->cnt; i++) {
        const struct item *item = &b->items[i];
        uint32_t lens[2] = {(uint32_t)item->name.len, (uint32_t)item->data.len};
        if (!file_write_all(fd, lens, sizeof(lens)) ||
            !file_write_all(fd, item->name.ptr, item->name.len) ||
            !file_write_all(fd, item->data.ptr, item->data.len))
            return false;
    }
    return true;
}

int bundle_seal(struct bundle *b, struct fault *f)
{
    int fd = memfile_new("consentd-bundle");

    if (fd < 0) {
        fault_set_errno(f, "cannot create the bundle");
        return -1;
    }
    if (!write_items(fd, b) || !memfile_seal(fd)) {
        fault_set_errno(f, "cannot write the bundle");
        close(fd);
        return -1;
    }
    return fd;
}

/* Takes len bytes off the front; false when there are fewer. */
static bool take(struct str *rest, size_t len, struct str *out)
{
    if (rest->len < len)
        return false;
    *out = str_slice(*rest, 0, len);
    *rest = str_slice(*rest, len, rest->len);
    return true;
}

static bool take_u32(struct str *rest, uint32_t *out)
{
    struct str bytes;

    if (!take(rest, sizeof(*out), &bytes))
        return false;
    memcpy(out, bytes.ptr, sizeof(*out));
    return true;
}

static bool parse(struct bundle *b)
{
    struct str rest = str_make(b->map, b->map_len), magic;
    uint32_t cnt, name_len, data_len;

    if (!take(&rest, MAGIC_LEN, &magic) || !str_eq(magic, STR(MAGIC)) || !take_u32(&rest, &cnt) ||
        cnt > BUNDLE_ITEMS_MAX)
        return false;
    for (uint32_t i = 0; i < cnt; i++) {
        struct item item = {0};
        if (!take_u32(&rest, &name_len) || !take_u32(&rest, &data_len) ||
            !take(&rest, name_len, &item.name) || !take(&rest, data_len, &item.data))
            return false;
        if (b->cnt > 0 && str_cmp(b->items[b->cnt - 1].name, item.name) >= 0)
            return false; /* not in order: not written by us */
        insert(b, b->cnt, item);
        b->bytes += item.name.len + item.data.len;
    }
    return rest.len == 0;
}

struct bundle *bundle_open(int fd, struct fault *f)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !memfile_is_sealed(fd)) {
        fault_set(f, "the bundle is not a sealed memory file");
        return NULL;
    }
    struct bundle *b = bundle_new();
    b->map_len = (size_t)st.st_size;
    b->map = mmap(NULL, b->map_len, PROT_READ, MAP_SHARED, fd, 0);
    if (b->map == MAP_FAILED) {
        b->map = NULL;
        fault_set_errno(f, "cannot map the bundle");
    } else if (parse(b)) {
        return b;
    } else {
        fault_set(f, "the bundle is damaged");
    }
    bundle_free(b);
    return NULL;
}

bool bundle_get(const struct bundle *b, struct str name, struct str *data_out)
{
    size_t at = position(b, name);

    if (!is_at(b, at, name))
        return false;
    *data_out = b->items[at].data;
    return true;
}

bool bundle_each(const struct bundle *b, struct str prefix, bundle_each_fn fn, void *arg)
{
    for (size_t i = position(b, prefix); i < b->cnt && str_starts(b->items[i].name, prefix); i++) {
        if (!fn(arg, b->items[i].name, b->items[i].data))
            return false;
    }
    return true;
}

void bundle_free(struct bundle *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->cnt; i++)
        item_free(&b->items[i]);
    free(b->items);
    if (b->map != NULL)
        munmap(b->map, b->map_len);
    free(b);
}
