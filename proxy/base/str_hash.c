/*
 * str_hash.c - SipHash-1-3 and the nearest-name search of consentd/str.h.
 *
 * SipHash (Aumasson and Bernstein, 2012) with one round per word and three at the
 * end: what a table needs against chosen keys, at about a nanosecond per word.
 */
#include <string.h>

#include "consentd/str.h"

/* Longer names are not worth a guess; also the size of the distance row. */
#define NEAREST_LEN_MAX 64

struct sip {
    uint64_t a, b, c, d;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(struct sip *s)
{
    s->a += s->b;
    s->b = rotate(s->b, 13) ^ s->a;
    s->a = rotate(s->a, 32);
    s->c += s->d;
    s->d = rotate(s->d, 16) ^ s->c;
    s->a += s->d;
    s->d = rotate(s->d, 21) ^ s->a;
    s->c += s->b;
    s->b = rotate(s->b, 17) ^ s->c;
    s->c = rotate(s->c, 32);
}

/* Little-endian on every machine we run on is not assumed: bytes are put together. */
static uint64_t load_le(const uint8_t *p, size_t len)
{
    uint64_t word = 0;

    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)p[i] << (8 * i);
    return word;
}

uint64_t str_hash(struct str s, const uint8_t key[16])
{
    uint64_t k0 = load_le(key, 8);
    uint64_t k1 = load_le(key + 8, 8);
    struct sip sip = {
        .a = k0 ^ 0x736f6d6570736575ULL,
        .b = k1 ^ 0x646f72616e646f6dULL,
        .c = k0 ^ 0x6c7967656e657261ULL,
        .d = k1 ^ 0x7465646279746573ULL,
    };
    const uint8_t *p = (const uint8_t *)s.ptr;
    size_t left = s.len;

    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word = load_le(p, 8);
        sip.d ^= word;
        sip_round(&sip);
        sip.a ^= word;
    }
    uint64_t last = (uint64_t)(s.len & 0xff) << 56 | load_le(p, left);
    sip.d ^= last;
    sip_round(&sip);
    sip.a ^= last;
    sip.c ^= 0xff;
    sip_round(&sip);
    sip_round(&sip);
    sip_round(&sip);
    return sip.a ^ sip.b ^ sip.c ^ sip.d;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Levenshtein's distance with one row: insert, remove, replace cost 1 each. */
static size_t distance(struct str a, struct str b)
{
    size_t row[NEAREST_LEN_MAX + 1];

    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 0; i < a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b.len; j++) {
            size_t replace = diagonal + (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[j]));
            diagonal = row[j + 1];
            row[j + 1] = least(replace, row[j] + 1, diagonal + 1);
        }
    }
    return row[b.len];
}

const char *str_nearest(struct str s, const char *const *names, size_t cnt)
{
    size_t best = s.len / 3 > 0 ? s.len / 3 + 1 : 2; /* one more than what is accepted */
    const char *found = NULL;

    if (s.len > NEAREST_LEN_MAX)
        return NULL;
    for (size_t i = 0; i < cnt; i++) {
        struct str name = str_c(names[i]);
        if (name.len > NEAREST_LEN_MAX)
            continue;
        size_t d = distance(s, name);
        if (d < best) {
            best = d;
            found = names[i];
        }
    }
    return found;
}
