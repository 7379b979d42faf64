/*
 * chars.c - the table behind consentd/chars.h, and the two walks over it.
 */
#include "consentd/chars.h"

#include <string.h>

#define T   CHAR_TOKEN
#define V   CHAR_VALUE
#define G   CHAR_TARGET
#define H   CHAR_HOST
#define C   CHAR_COOKIE
#define U   CHAR_UNRESERVED
#define ALL (T | V | G | H | C)

#define DIGIT  (ALL | CHAR_DIGIT | CHAR_HEX | U)
#define HEXA   (ALL | CHAR_HEX | U)
#define ALPHA  (ALL | U)
#define HIGH16 V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V

const uint8_t chars_table[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = ALL,
    ['"'] = V | G,
    ['#'] = T | V | C,
    ['$'] = ALL,
    ['%'] = T | V | G | H,
    ['&'] = ALL,
    ['\''] = ALL,
    ['('] = V | G | H | C,
    [')'] = V | G | H | C,
    ['*'] = ALL,
    ['+'] = T | V | G | H,
    [','] = V | G | H,
    ['-'] = ALL | U,
    ['.'] = T | V | G | H | U,
    ['/'] = V | G | C,
    ['0'] = DIGIT,
    ['1'] = DIGIT,
    ['2'] = DIGIT,
    ['3'] = DIGIT,
    ['4'] = DIGIT,
    ['5'] = DIGIT,
    ['6'] = DIGIT,
    ['7'] = DIGIT,
    ['8'] = DIGIT,
    ['9'] = DIGIT,
    [':'] = V | G | C,
    [';'] = V | G | H,
    ['<'] = V | G | C,
    ['='] = V | G | H | C,
    ['>'] = V | G | C,
    ['?'] = V | G | C,
    ['@'] = V | G | C,
    ['A'] = HEXA,
    ['B'] = HEXA,
    ['C'] = HEXA,
    ['D'] = HEXA,
    ['E'] = HEXA,
    ['F'] = HEXA,
    ['G'] = ALPHA,
    ['H'] = ALPHA,
    ['I'] = ALPHA,
    ['J'] = ALPHA,
    ['K'] = ALPHA,
    ['L'] = ALPHA,
    ['M'] = ALPHA,
    ['N'] = ALPHA,
    ['O'] = ALPHA,
    ['P'] = ALPHA,
    ['Q'] = ALPHA,
    ['R'] = ALPHA,
    ['S'] = ALPHA,
    ['T'] = ALPHA,
    ['U'] = ALPHA,
    ['V'] = ALPHA,
    ['W'] = ALPHA,
    ['X'] = ALPHA,
    ['Y'] = ALPHA,
    ['Z'] = ALPHA,
    ['['] = V | G,
    ['\\'] = V | G,
    [']'] = V | G,
    ['^'] = T | V | G | C,
    ['_'] = ALL | U,
    ['`'] = T | V | G | C,
    ['a'] = HEXA,
    ['b'] = HEXA,
    ['c'] = HEXA,
    ['d'] = HEXA,
    ['e'] = HEXA,
    ['f'] = HEXA,
    ['g'] = ALPHA,
    ['h'] = ALPHA,
    ['i'] = ALPHA,
    ['j'] = ALPHA,
    ['k'] = ALPHA,
    ['l'] = ALPHA,
    ['m'] = ALPHA,
    ['n'] = ALPHA,
    ['o'] = ALPHA,
    ['p'] = ALPHA,
    ['q'] = ALPHA,
    ['r'] = ALPHA,
    ['s'] = ALPHA,
    ['t'] = ALPHA,
    ['u'] = ALPHA,
    ['v'] = ALPHA,
    ['w'] = ALPHA,
    ['x'] = ALPHA,
    ['y'] = ALPHA,
    ['z'] = ALPHA,
    ['{'] = V | G | C,
    ['|'] = T | V | G | C,
    ['}'] = V | G | C,
    ['~'] = ALL | U,
    [0x80] = HIGH16,
    HIGH16,
    HIGH16,
    HIGH16,
    HIGH16,
    HIGH16,
    HIGH16,
    HIGH16,
};

size_t chars_span(struct str s, unsigned classes)
{
    size_t i = 0;

    while (i < s.len && char_is(s.ptr[i], classes))
        i++;
    return i;
}

bool chars_below(struct str s, unsigned char least)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t found = 0;
    size_t i = 0;

    for (; i + 8 <= s.len; i += 8) { /* borrow into bit 7: exact for "is there any" */
        uint64_t word;

        memcpy(&word, s.ptr + i, 8);
        found |= (word - ones * least) & ~word & ones << 7;
    }
    for (; i < s.len; i++)
        found |= (unsigned char)s.ptr[i] < least;
    return found != 0;
}

bool chars_all(struct str s, unsigned classes)
{
    return s.len > 0 && chars_span(s, classes) == s.len;
}

int char_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}
