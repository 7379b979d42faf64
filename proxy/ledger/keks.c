/*
 * keks.c - contract in consentd/keks.h.
 *
 * A sorted array of (month, key), a dozen entries a year. The file is written through a
 * temporary name and synced before a new key is used.
 */
#include "consentd/keks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/json.h"
#include "consentd/mem.h"
#include "consentd/record.h"

#define KEKS_FILE_MAX (256u << 10) /* bytes of the file */

struct kek {
    uint32_t month;
    uint8_t key[32];
};

struct keks {
    char *path;       /* owned */
    struct kek *keks; /* owned; KEKS_MAX entries, sorted by month */
    unsigned cnt;
};

static int cmp_month(const void *a, const void *b)
{
    const struct kek *x = a;
    const struct kek *y = b;

    return (x->month > y->month) - (x->month < y->month);
}

static bool read_one(const struct json_at *at, struct kek *out, struct fault *f)
{
    struct json_at month_at;
    struct str key;
    int64_t month = 0;

    if (!json_at_key_str(at, "key", JSON_NEED, &key, f))
        return false;
    if (!json_at_get(at, "month", &month_at))
        return json_at_fault(at, f, "a key needs its \"month\" (yyyymm)");
    if (!json_at_int(&month_at, 197001, 999912, &month, f))
        return false;
    if (!record_month_ok((uint32_t)month))
        return json_at_fault(&month_at, f, "%lld is not a month (yyyymm)", (long long)month);
    out->month = (uint32_t)month;
    if (!b64url_decode(key, out->key, sizeof(out->key)))
        return json_at_fault(at, f, "\"key\" must be 43 characters of base64url (32 bytes)");
    return true;
}

static bool read_all(struct keks *keks, const struct json_at *root, struct fault *f)
{
    struct json_at list;

    if (!json_at_get(root, "keks", &list))
        return json_at_fault(root, f, "the list \"keks\" is missing");
    if (!json_at_array(&list, f))
        return false;
    if (json_at_count(&list) > KEKS_MAX)
        return json_at_fault(&list, f, "more than %d keys", KEKS_MAX);
    keks->cnt = 0;
    for (size_t i = 0; i < json_at_count(&list); i++) {
        struct json_at at = json_at_index(&list, i);

        if (!read_one(&at, &keks->keks[keks->cnt], f))
            return false;
        keks->cnt++;
    }
    qsort(keks->keks, keks->cnt, sizeof(keks->keks[0]), cmp_month);
    for (unsigned i = 1; i < keks->cnt; i++)
        if (keks->keks[i].month == keks->keks[i - 1].month)
            return json_at_fault(&list, f, "two keys for month %u", keks->keks[i].month);
    return true;
}

bool keks_reload(struct keks *keks, struct fault *f)
{
    struct buf text;
    json_t *doc = NULL;
    bool ok = false;

    buf_init(&text, KEKS_FILE_MAX);
    if (file_read(keks->path, KEKS_FILE_MAX, &text, f))
        doc = json_load_text(keks->path, buf_str(&text), 0, f);
    if (doc != NULL) {
        struct json_at root = json_at_root(keks->path, buf_str(&text), doc);

        ok = read_all(keks, &root, f);
    }
    json_decref(doc);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    return ok;
}

struct keks *keks_open(const char *path, bool create, struct fault *f)
{
    struct keks *keks = mem_new(struct keks);

    keks->path = mem_strdup(path);
    keks->keks = mem_calloc(KEKS_MAX, sizeof(*keks->keks));
    if (create && access(path, F_OK) != 0 && errno == ENOENT)
        return keks;
    if (!keks_reload(keks, f)) {
        keks_free(keks);
        return NULL;
    }
    return keks;
}

void keks_free(struct keks *keks)
{
    if (keks == NULL)
        return;
    crypto_wipe(keks->keks, KEKS_MAX * sizeof(*keks->keks));
    free(keks->keks);
    free(keks->path);
    free(keks);
}

static bool write_all(const struct keks *keks, struct fault *f)
{
    struct buf text;
    bool ok;

    buf_init(&text, KEKS_FILE_MAX);
    ok = buf_append_c(&text, "{\"keks\":[");
    for (unsigned i = 0; ok && i < keks->cnt; i++) {
        char key[B64_LEN(32) + 1];

        b64url_encode(key, keks->keks[i].key, 32);
        ok = buf_printf(&text, "%s\n{\"key\":\"%s\",\"month\":%u}", i > 0 ? "," : "", key,
                        keks->keks[i].month);
        crypto_wipe(key, sizeof(key));
    }
    ok = ok && buf_append_c(&text, "]}\n") &&
         file_write_atomic(keks->path, text.data, text.len, 0600, f);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    return ok;
}

bool keks_ensure(struct keks *keks, uint64_t now_ms, struct fault *f)
{
    const uint32_t months[] = {record_month(now_ms), record_month_next(record_month(now_ms))};
    unsigned before = keks->cnt;
    struct kek *saved;

    if (keks_get(keks, months[0]) != NULL && keks_get(keks, months[1]) != NULL)
        return true;
    if (keks->cnt + 2 > KEKS_MAX) {
        fault_set(f, "%s: more than %d keys", keks->path, KEKS_MAX);
        return false;
    }
    saved = mem_dup(keks->keks, keks->cnt > 0 ? keks->cnt * sizeof(*saved) : 1);
    for (size_t i = 0; i < COUNT_OF(months); i++) {
        if (keks_get(keks, months[i]) != NULL)
            continue;
        keks->keks[keks->cnt].month = months[i];
        crypto_random(keks->keks[keks->cnt++].key, 32);
        qsort(keks->keks, keks->cnt, sizeof(keks->keks[0]), cmp_month);
    }
    if (!write_all(keks, f)) { /* a key that is not on disk must not seal anything */
        memcpy(keks->keks, saved, before * sizeof(*saved));
        keks->cnt = before;
    }
    crypto_wipe(saved, before * sizeof(*saved));
    free(saved);
    return keks_get(keks, months[0]) != NULL && keks_get(keks, months[1]) != NULL;
}

const uint8_t *keks_get(const struct keks *keks, uint32_t month)
{
    const struct kek want = {.month = month};
    const struct kek *found =
        keks->cnt > 0 ? bsearch(&want, keks->keks, keks->cnt, sizeof(want), cmp_month) : NULL;

    return found != NULL ? found->key : NULL;
}

unsigned keks_cnt(const struct keks *keks)
{
    return keks->cnt;
}

uint32_t keks_month(const struct keks *keks, unsigned i)
{
    return i < keks->cnt ? keks->keks[i].month : 0;
}

bool keks_drop(struct keks *keks, uint32_t month, struct fault *f)
{
    struct kek gone;
    unsigned at = 0;

    while (at < keks->cnt && keks->keks[at].month != month)
        at++;
    if (at == keks->cnt)
        return true;
    gone = keks->keks[at];
    keks->cnt--;
    memmove(&keks->keks[at], &keks->keks[at + 1], (keks->cnt - at) * sizeof(gone));
    if (!write_all(keks, f)) { /* the file still has it, so it still counts */
        memmove(&keks->keks[at + 1], &keks->keks[at], (keks->cnt - at) * sizeof(gone));
        keks->keks[at] = gone;
        keks->cnt++;
        crypto_wipe(&gone, sizeof(gone));
        return false;
    }
    crypto_wipe(&gone, sizeof(gone));
    crypto_wipe(&keks->keks[keks->cnt], sizeof(gone));
    return true;
}
