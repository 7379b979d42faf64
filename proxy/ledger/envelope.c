/*
 * envelope.c - contract in consentd/envelope.h.
 *
 * Packed text: J's bytes, all below 0x80, but for
 *   0x80         16 bytes follow: an id, 22 characters of base64url
 *   0x81 + n     phrase n of the table
 * The longest phrase that fits is taken at each place. The table is part of the form and never
 * changes: a phrase more would pack the same record to another text under the same nonce.
 */
#include "consentd/envelope.h"

#include <string.h>

#include "bytes_priv.h"
#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "record_priv.h"

#define FORM_PACKED 0x02
#define PACK_ID     0x80
#define PACK_PHRASE 0x81
#define ID_CHARS    22
#define PHRASE(text)                                                                               \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const struct phrase {
    const char *text;
    size_t len;
} phrases[] = {
    PHRASE("{\"act\":\"accept_all\",\"by\":\"subject\",\"deny\":["),
    PHRASE("{\"act\":\"reject_all\",\"by\":\"subject\",\"deny\":["),
    PHRASE("{\"act\":\"custom\",\"by\":\"subject\",\"deny\":["),
    PHRASE("{\"act\":\"withdraw\",\"by\":\"subject\",\"deny\":["),
    PHRASE("{\"act\":\"gpc\",\"by\":\"agent\",\"deny\":["),
    PHRASE("{\"act\":\"renew\""),
    PHRASE("{\"act\":\"unsubscribe\""),
    PHRASE("{\"act\":\"amend\""),
    PHRASE("{\"act\":\"expire\""),
    PHRASE("{\"act\":\"erase\""),
    PHRASE("{\"act\":\""),
    PHRASE("\",\"by\":\""),
    PHRASE(",\"by\":\"subject\",\"deny\":["),
    PHRASE(",\"by\":\"operator\",\"deny\":["),
    PHRASE("\"analytics\""),
    PHRASE("\"marketing\""),
    PHRASE("\"preferences\""),
    PHRASE("\"analytics\",\"marketing\""),
    PHRASE("\"analytics\",\"marketing\",\"preferences\""),
    PHRASE("],\"doc\":\""),
    PHRASE("\",\"eid\":\""),
    PHRASE("\",\"exp\":"),
    PHRASE(",\"gpc\":false,\"grant\":["),
    PHRASE(",\"gpc\":true,\"grant\":["),
    PHRASE("],\"host\":\"www."),
    PHRASE("],\"host\":\""),
    PHRASE("\",\"jur\":\"EU\",\"lang\":\"en\",\"mth\":\"banner.accept_all\",\"pe\":"),
    PHRASE("\",\"jur\":\"EU\",\"lang\":\"en\",\"mth\":\"banner.reject_all\",\"pe\":"),
    PHRASE("\",\"jur\":\"EU\",\"lang\":\""),
    PHRASE("\",\"jur\":\""),
    PHRASE("\",\"lang\":\"en\",\"mth\":\""),
    PHRASE("\",\"lang\":\""),
    PHRASE("\",\"mth\":\"banner.accept_all\",\"pe\":"),
    PHRASE("\",\"mth\":\"banner.reject_all\",\"pe\":"),
    PHRASE("\",\"mth\":\"panel.save\",\"pe\":"),
    PHRASE("\",\"mth\":\"banner.save\",\"pe\":"),
    PHRASE("\",\"mth\":\"link.withdraw\",\"pe\":"),
    PHRASE("\",\"mth\":\"header.gpc\",\"pe\":"),
    PHRASE("\",\"mth\":\""),
    PHRASE("\",\"pe\":"),
    PHRASE(",\"prev\":\""),
    PHRASE("\",\"sub\":\""),
    PHRASE(",\"sub\":\""),
    PHRASE("\",\"ts\":"),
    PHRASE(",\"typ\":\"explicit\",\"v\":1}"),
    PHRASE(",\"typ\":\"expressed\",\"v\":1}"),
    PHRASE("{\"op\":{\""),
    PHRASE("},\"ts\":"),
    PHRASE(",\"v\":1}"),
};

/* --- packing ----------------------------------------------------------------------- */

/* Phrases begin with one of these; looking only there keeps packing quick. */
static bool may_begin(char c)
{
    return c == '"' || c == ',' || c == '{' || c == ']' || c == '}';
}

/* The longest phrase at the beginning of s, or -1. */
static int phrase_at(struct str s)
{
    int best = -1;

    if (!may_begin(s.ptr[0]))
        return -1;
    for (size_t i = 0; i < COUNT_OF(phrases); i++)
        if (phrases[i].len <= s.len && (best < 0 || phrases[i].len > phrases[best].len) &&
            s.ptr[2] == phrases[i].text[2] && memcmp(s.ptr, phrases[i].text, phrases[i].len) == 0)
            best = (int)i;
    return best;
}

/* 22 characters between quotes that are exactly how 16 bytes are written. */
static bool id_at(struct str s, uint8_t out[16])
{
    return s.len > ID_CHARS && s.ptr[ID_CHARS] == '"' &&
           b64url_decode(str_slice(s, 0, ID_CHARS), out, 16);
}

size_t envelope_pack(struct str json, uint8_t *out)
{
    size_t len = 0, i = 0;
    bool quoted = false; /* the byte before is a quote: an id may begin */

    while (i < json.len) {
        struct str rest = str_slice(json, i, json.len);
        int phrase;

        if ((uint8_t)rest.ptr[0] >= PACK_ID)
            return 0;
        if (quoted && id_at(rest, out + len + 1)) {
            out[len] = PACK_ID;
            len += 17;
            i += ID_CHARS;
            quoted = false;
        } else if ((phrase = phrase_at(rest)) >= 0) {
            out[len++] = (uint8_t)(PACK_PHRASE + phrase);
            i += phrases[phrase].len;
            quoted = json.ptr[i - 1] == '"';
        } else {
            out[len++] = (uint8_t)rest.ptr[0];
            i++;
            quoted = rest.ptr[0] == '"';
        }
    }
    return len;
}

bool envelope_unpack(struct str packed, uint8_t *out, size_t room, size_t *len_out)
{
    char id[ID_CHARS + 1];
    size_t len = 0, i = 0;

    while (i < packed.len) {
        uint8_t c = (uint8_t)packed.ptr[i++];
        struct str piece = str_make(packed.ptr + i - 1, 1);

        if (c == PACK_ID) {
            if (packed.len - i < 16)
                return false;
            b64url_encode(id, (const uint8_t *)packed.ptr + i, 16);
            piece = str_make(id, ID_CHARS);
            i += 16;
        } else if (c > PACK_ID) {
            if ((size_t)(c - PACK_PHRASE) >= COUNT_OF(phrases))
                return false;
            piece = str_make(phrases[c - PACK_PHRASE].text, phrases[c - PACK_PHRASE].len);
        }
        if (piece.len > room - len)
            return false;
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
    }
    *len_out = len;
    return true;
}

/* --- envelopes --------------------------------------------------------------------- */

uint32_t envelope_month(struct str envelope)
{
    size_t at = envelope.len > 0 && envelope.ptr[0] == FORM_PACKED ? 1 : 0;
    const uint8_t *bytes = (const uint8_t *)envelope.ptr;

    return envelope.len >= at + 4 + CRYPTO_GCM_TAG_LEN ? be32_get(bytes + at) : 0;
}

bool envelope_wrap(uint32_t month, struct str sealed, struct buf *out)
{
    uint8_t head[4];

    be32_put(head, month);
    return buf_append(out, head, sizeof(head)) && buf_append(out, sealed.ptr, sealed.len);
}

bool envelope_seal(const struct record_place *at, const uint8_t kek[32], const uint8_t r[32],
                   struct str json, struct buf *out)
{
    uint8_t packed[RECORD_OPLOG_MAX + 1], sealed[RECORD_OPLOG_MAX + CRYPTO_GCM_TAG_LEN];
    uint8_t form = FORM_PACKED;
    size_t len = json.len <= RECORD_OPLOG_MAX ? envelope_pack(json, packed) : 0;

    if (json.len > RECORD_OPLOG_MAX)
        return false;
    if (len == 0)
        return record_seal(at, kek, r, json, sealed) &&
               envelope_wrap(at->month, str_make(sealed, json.len + CRYPTO_GCM_TAG_LEN), out);
    return record_seal_as(at, RECORD_FORM_PACKED, kek, r, str_make(packed, len), sealed) &&
           buf_append(out, &form, 1) &&
           envelope_wrap(at->month, str_make(sealed, len + CRYPTO_GCM_TAG_LEN), out);
}

bool envelope_open(const struct record_place *at, const uint8_t kek[32], const uint8_t r[32],
                   struct str envelope, uint8_t *json, size_t *len_out)
{
    bool is_packed = envelope.len > 0 && envelope.ptr[0] == FORM_PACKED;
    struct str sealed = str_slice(envelope, is_packed ? 5 : 4, envelope.len);
    uint8_t packed[RECORD_OPLOG_MAX];

    if (envelope_month(envelope) != at->month)
        return false;
    *len_out = sealed.len - CRYPTO_GCM_TAG_LEN;
    if (!is_packed)
        return record_open(at, kek, r, sealed, json);
    return record_open_as(at, RECORD_FORM_PACKED, kek, r, sealed, packed) &&
           envelope_unpack(str_make(packed, *len_out), json, RECORD_OPLOG_MAX, len_out);
}
