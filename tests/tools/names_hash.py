#!/usr/bin/env python3
"""Print proxy/html/names_table.c: perfect hashes over the names of names_priv.h (elements) and
attr_names_priv.h beside it.

The multipliers stand in these headers. While they still keep all names apart they stay;
otherwise new ones are searched and named on standard error.

usage: names_hash.py [SOURCE_DIR] > proxy/html/names_table.c
"""
import pathlib
import random
import re
import sys

ELEMENT_SLOTS = 1024
ATTR_SLOTS = 128

HEAD = '''/*
 * names_table.c - perfect hash tables of the names in names_priv.h and attr_names_priv.h.
 * Printed by tests/tools/names_hash.py.
 *
 * No two known names share a slot, so one comparison with the row found decides.
 */
#include "names_priv.h"

const struct html_element_info element_rows[ELEM_COUNT] = {[ELEM_OTHER] = {"", 0, 0},
#define X(id, name, flags) [ELEM_##id] = {name, ELEM_F_##flags, sizeof(name) - 1},
                                                           HTML_ELEMENTS(X)
#undef X
};

const char *const attr_rows[ATTR_COUNT] = {
    [ATTR_OTHER] = "",
#define X(id, name) [ATTR_##id] = name,
    HTML_ATTRS(X)
#undef X
        [ATTR_HANDLER] = "on",
};
'''


def element_slot(name, mul):
    value = 0
    for byte in name.encode():
        value = (value * 31 + (byte | 32)) & 0xFFFFFFFF
    return (value * mul[0] & 0xFFFFFFFF) * ELEMENT_SLOTS >> 32


def attr_slot(name, mul):
    b = name.encode()
    return (len(b) * mul[0] + (b[0] | 32) * mul[1] + (b[len(b) * 3 // 4] | 32) * mul[2]
            + (b[-1] | 32) * mul[3]) % ATTR_SLOTS


def multipliers(names, slot, found, largest, what):
    """The ones in the header if they are good, else new ones."""
    def is_perfect(mul):
        return len({slot(n, mul) for n in names}) == len(names)

    if is_perfect(found):
        return found
    rng = random.Random(1)
    for _ in range(2000000):
        mul = [rng.randrange(1, largest) | 1 for _ in found]
        if is_perfect(mul):
            print(f"{what} must be {', '.join(map(hex, mul))}", file=sys.stderr)
            return mul
    sys.exit(f"{what}: no perfect hash found, the table is too small")


def slots(kind, size, rows):
    out = f"\nconst uint8_t {kind.lower()}_slots[{size}] = {{\n"
    prefix = "ELEM" if kind == "ELEMENT" else "ATTR"
    for at, ident in sorted(rows):
        out += f"    [{at}] = {prefix}_{ident},\n"
    return out + "};\n"


def pairs(name, comment, chosen):
    masks = [0] * 32
    for text in chosen:
        masks[ord(text[0]) & 31] |= 1 << (ord(text[1]) & 31)
    out = f"\n/* {comment} */\nconst uint32_t {name}[32] = {{\n"
    for first, mask in enumerate(masks):
        if mask:
            out += f"    ['{chr(first | 96)}' & 31] = {mask:#x},\n"
    return out + "};\n"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    text = "".join((root / "proxy/html" / name).read_text()
                   for name in ("names_priv.h", "attr_names_priv.h"))
    elements = re.findall(r'^    X\((\w+), "([^"]+)", ([^)]+)\)', text, re.M)
    attrs = re.findall(r'^    X\((\w+), "([^"]+)"\)', text, re.M)
    define = dict(re.findall(r"^#define (\w+)\s+(\w+)u?$", text, re.M))
    groups = {k: set(re.findall(r"ELEM_F_(\w+)", v))
              for k, v in re.findall(r"^#define (ELEM_F_\w+)\s+(.+)$", text, re.M)}

    def number(key):
        return int(define[key].rstrip("u"), 0)

    mul = multipliers([n for _, n, _ in elements], element_slot, [number("ELEMENT_MULTIPLIER")],
                      1 << 32, "ELEMENT_MULTIPLIER")
    out = HEAD + slots("ELEMENT", ELEMENT_SLOTS, [(element_slot(n, mul), i)
                                                  for i, n, _ in elements])
    found = [number(f"ATTR_BY_{part}") for part in ("LEN", "FIRST", "INNER", "LAST")]
    mul = multipliers([n for _, n in attrs], attr_slot, found, 128,
                      "ATTR_BY_LEN, _FIRST, _INNER, _LAST")
    out += slots("ATTR", ATTR_SLOTS, [(attr_slot(n, mul), i) for i, n in attrs])
    for name, group, what in (("element_starts", "ELEM_F_STARTS", "start"),
                              ("element_ends", "ELEM_F_ENDS", "end")):
        chosen = [n for _, n, flags in elements
                  if set(re.findall(r"[A-Z]+", flags.replace("ELEM_F_", ""))) & groups[group]]
        if any(len(n) < 3 for n in chosen):
            sys.exit(f"{group}: a name of less than three letters; skim.c passes over those")
        out += pairs(name, f"Bit k of [c]: some {what} tag of interest begins with the letter c "
                     "and the k-th.", chosen)
    sys.stdout.write(out)


main()
