#!/usr/bin/env python3
"""Print proxy/http/headers_known.c: a perfect hash over the names of header_names.h.

The hash looks at the length and at four letters of a name, so that finding the id of a field
costs one probe and one comparison. The multipliers are searched here, once.

usage: header_hash.py [SOURCE_DIR] > proxy/http/headers_known.c
"""
import pathlib
import random
import re
import sys

SLOTS = 512

HEAD = '''/*
 * headers_known.c - field name to id by a perfect hash. Printed by tests/tools/header_hash.py.
 *
 * One probe and one comparison: no two known names share a slot.
 */
#include "consentd/headers.h"

#include "headers_priv.h"

static const struct str names[HDR_CNT] = {
#define NAME_ROW(id, name) [HDR_##id] = STR_INIT(name),
    HEADER_NAMES(NAME_ROW)
#undef NAME_ROW
};

'''

TAIL = '''
struct str header_name(enum header_id id)
{
    return names[id];
}

enum header_id header_id_of(struct str name)
{
    const uint8_t *p = (const uint8_t *)name.ptr;
    unsigned slot;
    enum header_id id;

    if (name.len < 2)
        return HDR_OTHER;
    /* 0x20 folds letters; what it does to other bytes is caught by the comparison */
    slot = (unsigned)name.len * %d + (p[0] | 0x20u) * %d + (p[name.len / 2] | 0x20u) * %d +
           (p[name.len * 3 / 4] | 0x20u) * %d + (p[name.len - 1] | 0x20u) * %d;
    id = (enum header_id)slots[slot %% COUNT_OF(slots)];
    return id != HDR_OTHER && str_eq_fold(name, names[id]) ? id : HDR_OTHER;
}
'''


def slot(name, mul):
    b = name.encode()
    return (len(b) * mul[0] + (b[0] | 32) * mul[1] + (b[len(b) // 2] | 32) * mul[2]
            + (b[len(b) * 3 // 4] | 32) * mul[3] + (b[-1] | 32) * mul[4]) % SLOTS


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    text = (root / "include/consentd/header_names.h").read_text()
    rows = re.findall(r'^    X\((\w+), "([^"]+)"\)', text, re.M)
    rng = random.Random(1)
    for _ in range(1000000):
        mul = [rng.randrange(1, 256) for _ in range(5)]
        if len({slot(n, mul) for _, n in rows}) == len(rows):
            break
    else:
        sys.exit("no perfect hash found: two names look the same to slot()")
    out = HEAD + "static const uint8_t slots[%d] = {\n" % SLOTS
    for at, ident in sorted((slot(n, mul), i) for i, n in rows):
        out += f"    [{at}] = HDR_{ident},\n"
    sys.stdout.write(out + "};\n" + TAIL % tuple(mul))


main()
