/*
 * keyring.c - contract in consentd/keyring.h.
 */
#include "consentd/keyring.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/json.h"
#include "consentd/mem.h"

struct keyring {
    struct key *keys; /* owned */
    size_t cnt;
    const struct key *active[KEY_USES];
};

static const char *const use_names[] = {"none", "tok", "idx", "log", "unsub"};
static const char *const state_names[] = {"revoked", "verify", "active"};

const char *key_use_name(enum key_use use)
{
    return use < KEY_USES ? use_names[use] : "none";
}

const char *key_state_name(enum key_state state)
{
    return state_names[state];
}

static bool read_use(const struct json_at *at, enum key_use *out, struct fault *f)
{
    struct str name = {0};

    if (!json_at_key_str(at, "use", JSON_NEED, &name, f))
        return false;
    for (unsigned i = KEY_TOK; i < KEY_USES; i++) {
        if (str_eq_c(name, use_names[i])) {
            *out = (enum key_use)i;
            return true;
        }
    }
    return json_at_fault(at, f, "use: expected tok, idx, log or unsub");
}

static bool read_state(const struct json_at *at, enum key_state *out, struct fault *f)
{
    struct str name = {0};

    if (!json_at_key_str(at, "state", JSON_NEED, &name, f))
        return false;
    for (unsigned i = 0; i < COUNT_OF(state_names); i++) {
        if (str_eq_c(name, state_names[i])) {
            *out = (enum key_state)i;
            return true;
        }
    }
    return json_at_fault(at, f, "state: expected active, verify or revoked");
}

static bool read_key(const struct json_at *at, struct key *key, struct fault *f)
{
    static const char *const names[] = {"kid", "use", "state", "not_before", "key"};
    struct json_at child;
    struct str text = {0};
    int64_t kid = 0, not_before = 0;

    if (!json_at_object(at, f) || !json_at_only(at, names, COUNT_OF(names), f) ||
        !read_use(at, &key->use, f) || !read_state(at, &key->state, f))
        return false;
    if (!json_at_get(at, "kid", &child))
        return json_at_fault(at, f, "\"kid\" is missing");
    if (!json_at_int(&child, 0, 255, &kid, f))
        return false;
    if (json_at_get(at, "not_before", &child) && !json_at_int(&child, 0, INT64_MAX, &not_before, f))
        return false;
    if (!json_at_key_str(at, "key", JSON_NEED, &text, f))
        return false;
    if (!b64url_decode(text, key->bytes, sizeof(key->bytes)))
        return json_at_fault(at, f, "key: expected %d bytes as base64url without padding",
                             KEYRING_KEY_LEN);
    key->kid = (uint8_t)kid;
    key->not_before = (uint64_t)not_before;
    key->hmac = crypto_hmac_new(key->bytes, sizeof(key->bytes));
    return true;
}

/* What a key may not share with the ones before it. */
static bool check_key(const struct json_at *at, const struct keyring *ring, const struct key *key,
                      struct fault *f)
{
    for (size_t i = 0; i + 1 < ring->cnt; i++) {
        const struct key *other = &ring->keys[i];

        if (other->use == key->use && other->kid == key->kid)
            return json_at_fault(at, f, "kid %u is there twice for use %s", key->kid,
                                 key_use_name(key->use));
        if (crypto_equal(other->bytes, key->bytes, sizeof(key->bytes)))
            return json_at_fault(at, f, "the same key as keys[%zu]; no key is used twice", i);
        if (other->use == key->use && other->state == KEY_ACTIVE && key->state == KEY_ACTIVE)
            return json_at_fault(at, f, "a second active key for use %s; set the old one to verify",
                                 key_use_name(key->use));
    }
    return true;
}

static bool read_ring(const struct json_at *at, struct keyring *ring, struct fault *f)
{
    static const char *const names[] = {"keys"};
    struct json_at list;
    size_t cnt;

    if (!json_at_object(at, f) || !json_at_only(at, names, COUNT_OF(names), f))
        return false;
    if (!json_at_get(at, "keys", &list))
        return json_at_fault(at, f, "\"keys\" is missing");
    if (!json_at_array(&list, f))
        return false;
    cnt = json_at_count(&list);
    if (cnt > KEYRING_MAX)
        return json_at_fault(&list, f, "more than %d keys", KEYRING_MAX);
    ring->keys = mem_calloc(cnt, sizeof(*ring->keys));
    for (size_t i = 0; i < cnt; i++) {
        struct json_at item = json_at_index(&list, i);
        struct key *key = &ring->keys[ring->cnt++];

        if (!read_key(&item, key, f) || !check_key(&item, ring, key, f))
            return false;
        if (key->state == KEY_ACTIVE)
            ring->active[key->use] = key;
    }
    return true;
}

struct keyring *keyring_parse(const char *name, struct str text, struct fault *f)
{
    json_t *root = json_load_text(name, text, JSON_COMMENTS, f);
    struct keyring *ring;
    struct json_at at;
    bool ok;

    if (root == NULL)
        return NULL;
    ring = mem_new(struct keyring);
    at = json_at_root(name, text, root);
    ok = read_ring(&at, ring, f);
    json_decref(root);
    if (ok)
        return ring;
    keyring_free(ring);
    return NULL;
}

void keyring_free(struct keyring *ring)
{
    if (ring == NULL)
        return;
    for (size_t i = 0; i < ring->cnt; i++) {
        crypto_hmac_free(ring->keys[i].hmac);
        crypto_wipe(&ring->keys[i], sizeof(ring->keys[i]));
    }
    free(ring->keys);
    free(ring);
}

const struct key *keyring_active(const struct keyring *ring, enum key_use use)
{
    return use < KEY_USES ? ring->active[use] : NULL;
}

const struct key *keyring_find(const struct keyring *ring, enum key_use use, uint8_t kid)
{
    for (size_t i = 0; i < ring->cnt; i++) {
        const struct key *key = &ring->keys[i];

        if (key->use == use && key->kid == kid && key->state != KEY_REVOKED)
            return key;
    }
    return NULL;
}

size_t keyring_cnt(const struct keyring *ring)
{
    return ring->cnt;
}

const struct key *keyring_at(const struct keyring *ring, size_t i)
{
    ASSERT(i < ring->cnt);
    return &ring->keys[i];
}

static bool write_key(struct buf *out, const struct key *key, bool first)
{
    char text[B64_LEN(KEYRING_KEY_LEN) + 1];
    bool ok;

    (void)b64url_encode(text, key->bytes, sizeof(key->bytes));
    ok = buf_printf(out,
                    "%s\n  {\"kid\": %u, \"use\": \"%s\", \"state\": \"%s\", \"not_before\": %llu, "
                    "\"key\": \"%s\"}",
                    first ? "" : ",", key->kid, key_use_name(key->use), key_state_name(key->state),
                    (unsigned long long)key->not_before, text);
    crypto_wipe(text, sizeof(text));
    return ok;
}

bool keyring_generate(struct buf *out)
{
    bool ok = buf_append_c(out, "{\"keys\": [");

    for (unsigned use = KEY_TOK; use < KEY_USES && ok; use++) {
        struct key key = {.kid = 1, .use = (enum key_use)use, .state = KEY_ACTIVE};

        crypto_random(key.bytes, sizeof(key.bytes));
        ok = write_key(out, &key, use == KEY_TOK);
        crypto_wipe(&key, sizeof(key));
    }
    return ok && buf_append_c(out, "\n]}\n");
}

bool keyring_export(const struct keyring *ring, unsigned use_mask, struct buf *out)
{
    bool ok = buf_append_c(out, "{\"keys\": [");
    bool first = true;

    for (size_t i = 0; i < ring->cnt && ok; i++) {
        if ((use_mask >> ring->keys[i].use & 1) == 0)
            continue;
        ok = write_key(out, &ring->keys[i], first);
        first = false;
    }
    return ok && buf_append_c(out, "\n]}\n");
}
