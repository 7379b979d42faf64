/*
 * assets.c - our own scripts and styles, coded for clients; contract in assets_priv.h.
 *
 * A few slots per worker, the oldest is given up: there are as many as scripts times grants in
 * use, and browsers keep what they got for ever.
 */
#include <stdlib.h>
#include <string.h>

#include "assets_priv.h"
#include "consentd/buf.h"
#include "consentd/mem.h"
#include "enforce_priv.h"

#define ASSET_SLOTS 32
#define ASSET_MAX   (1u << 20)
#define CODED_FROM  512 /* bytes; less is not worth a coding */

struct asset {
    const struct site *site;
    char key[ASSET_KEY_MAX]; /* "": the slot is free */
    enum coding coding;
    struct buf body;
};

struct assets {
    struct asset slots[ASSET_SLOTS];
    unsigned next; /* the one to be given up */
};

struct assets *assets_new(void)
{
    struct assets *assets = mem_new(struct assets);

    for (unsigned i = 0; i < ASSET_SLOTS; i++)
        buf_init(&assets->slots[i].body, ASSET_MAX);
    return assets;
}

void assets_free(struct assets *assets)
{
    for (unsigned i = 0; assets != NULL && i < ASSET_SLOTS; i++)
        buf_free(&assets->slots[i].body);
    free(assets);
}

bool asset_find(const struct assets *assets, const struct asset_name *name, struct str *out)
{
    for (unsigned i = 0; i < ASSET_SLOTS; i++) {
        const struct asset *a = &assets->slots[i];

        if (a->site == name->site && a->coding == name->coding && strcmp(a->key, name->key) == 0) {
            *out = buf_str(&a->body);
            return true;
        }
    }
    return false;
}

static bool on_coded(void *arg, const uint8_t *data, size_t len)
{
    return buf_append(arg, data, len);
}

static bool encode(enum coding coding, struct str plain, struct buf *out)
{
    struct encoder *encoder;
    bool ok;

    if (coding == CODING_IDENTITY)
        return buf_append_str(out, plain);
    encoder = encoder_new(coding);
    ok = encoder != NULL && encoder_push(encoder, plain, ENCODER_END, on_coded, out) == CODING_OK;
    encoder_free(encoder);
    return ok;
}

bool asset_keep(struct assets *assets, const struct asset_name *name, struct str plain,
                struct str *out)
{
    struct asset *a = &assets->slots[assets->next];

    if (strlen(name->key) >= sizeof(a->key))
        return false;
    a->key[0] = '\0';
    buf_clear(&a->body);
    if (!encode(name->coding, plain, &a->body))
        return false;
    assets->next = (assets->next + 1) % ASSET_SLOTS;
    a->site = name->site;
    a->coding = name->coding;
    memcpy(a->key, name->key, strlen(name->key) + 1);
    *out = buf_str(&a->body);
    return true;
}

enum coding asset_coding(const struct exchange *x, size_t len)
{
    struct str accepted = headers_value(&x->req.headers, HDR_ACCEPT_ENCODING);

    return len >= CODED_FROM ? coding_negotiate(accepted) : CODING_IDENTITY;
}
