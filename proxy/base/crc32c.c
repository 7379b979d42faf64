/*
 * crc32c.c - CRC-32C for the journal; contract in consentd/crypto.h.
 *
 * The Castagnoli polynomial, reflected: 0x82F63B78 (RFC 3720 appendix B.4 has its test
 * values). x86 has an instruction for it; the table is for machines without.
 */
#include <string.h>

#include "consentd/crypto.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#define POLYNOMIAL 0x82f63b78u

uint32_t crypto_crc32c_table(uint32_t crc, const void *p, size_t len)
{
    static uint32_t table[256];
    const uint8_t *bytes = p;

    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t v = i;
            for (unsigned bit = 0; bit < 8; bit++)
                v = (v & 1) != 0 ? v >> 1 ^ POLYNOMIAL : v >> 1;
            table[i] = v;
        }
    }
    crc = ~crc;
    for (size_t i = 0; i < len; i++)
        crc = table[(crc ^ bytes[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *p,
                                                               size_t len)
{
    const uint8_t *bytes = p;
    uint64_t wide = ~crc;

    for (; len >= 8; len -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof(word));
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len > 0; len--)
        crc = _mm_crc32_u8(crc, *bytes++);
    return ~crc;
}

uint32_t crypto_crc32c(uint32_t crc, const void *p, size_t len)
{
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, p, len);
    return crypto_crc32c_table(crc, p, len);
}
#else
uint32_t crypto_crc32c(uint32_t crc, const void *p, size_t len)
{
    return crypto_crc32c_table(crc, p, len);
}
#endif
