#!/usr/bin/env python3
"""Print the tables of the named character references (HTML 13.5), from Python's own list.

usage: entity_tables.py table > proxy/html/entities_table.c
       entity_tables.py index > proxy/html/entities_index.c
"""
import html.entities
import sys

SLOTS = 4096
WIDTH = 100

TABLE_HEAD = '''/*
 * entities_table.c - the named character references of HTML 13.5. Printed by
 * tests/tools/entity_tables.py.
 *
 * Sorted by name; each entry is name, \\001 (also known without ";") or \\002 (only with ";"),
 * UTF-8 value, \\003.
 */
#include "entities_priv.h"

const char entity_table[] ='''

INDEX_HEAD = '''/*
 * entities_index.c - where in entity_table a name may be, by its hash. Printed by
 * tests/tools/entity_tables.py.
 *
 * An open table: a name is in the slot of its hash or in one of the next, before the first
 * empty one. 0: empty; else 1 + the offset of the entry.
 */
#include "entities_priv.h"

const uint16_t entity_slots[ENTITY_SLOTS] = {'''


def entries():
    """(name, bytes of the entry), sorted by name."""
    known = html.entities.html5
    for name in sorted({n.rstrip(";") for n in known}):
        value = known.get(name + ";") or known[name]
        mark = b"\1" if name in known else b"\2"
        yield name, name.encode() + mark + value.encode() + b"\3"


def slot_of(name):
    value = 0
    for byte in name.encode():
        value = (value * 31 + byte) & 0xFFFFFFFF
    return (value * 0x9E3779B1 & 0xFFFFFFFF) >> 20


def quoted(data):
    """As C writes it; an octal escape has three digits, so nothing can follow it wrongly."""
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in data)


def print_table():
    line = ""
    print(TABLE_HEAD)
    for _, data in entries():
        text = quoted(data)
        if len(line) + len(text) + 6 > WIDTH:
            print(f'    "{line}"')
            line = ""
        line += text
    print(f'    "{line}";')


def print_index():
    slots = [0] * SLOTS
    at = 0
    for name, data in entries():
        slot = slot_of(name)
        while slots[slot]:
            slot = (slot + 1) % SLOTS
        slots[slot] = at + 1
        at += len(data)
    assert at < 1 << 16
    print(INDEX_HEAD)
    for i in range(0, SLOTS, 13):
        print("    " + " ".join(f"{n},".ljust(6) for n in slots[i:i + 13]).rstrip())
    print("};")


print_table() if sys.argv[1:] == ["table"] else print_index()
