#!/usr/bin/env python3
"""Writes web_assets.c from files of proxy/web: one byte string and one hash each.

usage: embed.py OUT.c FILE...        (called by meson)
"""
import hashlib
import pathlib
import re
import sys

from minify import minify



def shorten_css(text):
    """Comments and white space that means nothing go; there are no strings with either in them."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ?([{};,>]) ?", r"\1", text)
    text = re.sub(r"([{;][-a-z]+): ", r"\1:", text)
    return text.replace(";}", "}").strip() + "\n"


def literal(data):
    lines = [data[i:i + 70] for i in range(0, len(data), 70)]
    return "\n".join('    "' + "".join(escape(b) for b in line) + '"' for line in lines)


def escape(byte):
    if byte in b'"\\?':
        return "\\" + chr(byte)
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def main():
    out, files = pathlib.Path(sys.argv[1]), [pathlib.Path(f) for f in sys.argv[2:]]
    text = ["/* Made by proxy/web/embed.py: do not edit. */", '#include "web_assets.h"', ""]
    for file in files:
        text_of = shorten_css if file.suffix == ".css" else minify
        data = text_of(file.read_text()).encode()
        name = "web_" + re.sub(r"\W", "_", file.name)
        text.append(f"const struct str {name} = STR_INIT(\n{literal(data)});")
        text.append(f'const char {name}_hash[] = "{hashlib.sha256(data).hexdigest()[:12]}";')
    out.write_text("\n".join(text) + "\n")


main()
