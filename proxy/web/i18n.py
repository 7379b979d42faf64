#!/usr/bin/env python3
"""Writes web_i18n.c from the files of proxy/web/i18n: one table of interface texts per language.

usage: i18n.py OUT.c OUT.d DIR        (called by meson)

A language is one file, named by its tag: de.json, pt-BR.json. It has the keys of en.json, no more
and no fewer, and "dir". A new file is picked up by the next build: the dependency file names the
folder.
"""
import json
import pathlib
import re
import sys


def fail(file, why):
    sys.exit(f"{file}: {why}")


def read(file):
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", file.stem):
        fail(file, "the name is no language tag; expected one like de.json or pt-BR.json")
    try:
        texts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        fail(file, error)
    if texts.get("dir") not in ("ltr", "rtl"):
        fail(file, '"dir" must be "ltr" or "rtl"')
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            fail(file, f'"{key}" must be a text that is not empty')
    return texts


def compare(file, texts, english):
    for key in english:
        if key not in texts:
            fail(file, f'"{key}" is missing; in English it is: {english[key]}')
        for name in sorted(set(re.findall(r"\{\w+\}", english[key]))):
            if name not in texts[key]:
                fail(file, f'"{key}" must hold {name}')
    for key in texts:
        if key not in english:
            fail(file, f'"{key}" is not a key of en.json')


def literal(text):
    return '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}"
                         for b in text.encode()) + '"'


def main():
    out, deps, folder = (pathlib.Path(arg) for arg in sys.argv[1:4])
    files = sorted(folder.glob("*.json"))
    languages = {file: read(file) for file in files}
    english = languages.get(folder / "en.json") or fail(folder, "en.json is missing")
    for file, texts in languages.items():
        compare(file, texts, english)
    keys = sorted(key for key in english if key != "dir")
    lines = ["/* Made by proxy/web/i18n.py: do not edit. */", '#include "web_assets.h"', "",
             f"const size_t web_text_cnt = {len(keys)};", "const char *const web_text_keys[] = {"]
    lines += [f"    {literal(key)}," for key in keys] + ["};", ""]
    for i, (file, texts) in enumerate(languages.items()):
        lines += [f"static const char *const texts_{i}[] = {{"]
        lines += [f"    {literal(texts[key])}," for key in keys] + ["};", ""]
    lines += [f"const size_t web_language_cnt = {len(files)};", "const struct web_language web_languages[] = {"]
    for i, (file, texts) in enumerate(languages.items()):
        rtl = "true" if texts["dir"] == "rtl" else "false"
        lines.append(f'    {{"{file.stem}", {rtl}, texts_{i}}},')
    out.write_text("\n".join(lines + ["};"]) + "\n")
    deps.write_text(f"{out}: {folder} " + " ".join(map(str, files)) + "\n")


main()
