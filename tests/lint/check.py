#!/usr/bin/env python3
"""Fail when the tree leaves the house rules: layers, libraries, sizes, banned functions, comments.

A module is a public header include/consentd/NAME.h; its layer is the folder under proxy/
that holds NAME.c (or whose name a "layer:" line in the header gives, for headers without
a source). layers.txt says which layers each layer may include, libraries.txt which files
may include which library. There is no exception list.

usage: check.py [SOURCE_DIR] [--no-tools]     (default: this tree; --no-tools: skip clang-format and pmccabe)
"""
import fnmatch
import pathlib
import re
import shutil
import subprocess
import sys

C_LINES, H_LINES, COLUMNS = 800, 250, 100
FUNCTION_LINES, COMPLEXITY, PARAMETERS = 80, 20, 6
HEADER_COMMENT_SHARE = 0.40
BANNED = (r"\b(strcpy|strcat|sprintf|vsprintf|strtok|strtok_r|gets|strncpy|strncat|atoi|atol|atof"
          r"|alloca|setjmp|longjmp|system|popen|tmpnam|mktemp|rand|srand)\s*\(")
UNFINISHED = r"\b(TODO|FIXME|XXX|HACK)\b"
ALLOCATION = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|strdup|strndup)\s*\(")


def layer_table(path):
    table = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, _, others = line.partition(":")
            table[name.strip()] = {name.strip(), *others.split()}
    return table


def library_table(path):
    rows = []
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            prefix, _, files = line.partition(": ")
            rows.append((prefix.strip(), files.split()))
    return rows


def module_layers(root):
    """Header stem -> layer. A header without a source says "layer: NAME" in its head comment."""
    layers = {c.stem: c.parent.name for c in root.glob("proxy/*/*.c")}
    for h in root.glob("include/consentd/*.h"):
        said = re.search(r"\blayer: (\w+)", h.read_text()[:1200])
        if said:
            layers[h.stem] = said.group(1)
    return layers


def strip_comments(text):
    """Comments and string contents blanked, line structure kept."""
    def blank(m):
        s = m.group(0)
        if s[0] in "\"'":
            return s[0] + " " * (len(s) - 2) + s[0]
        return re.sub(r"[^\n]", " ", s)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', blank, text,
                  flags=re.S)


def comment_share(text):
    """Share of the non-blank lines that hold a comment."""
    lines = text.splitlines()
    code = strip_comments(text).splitlines()
    total = sum(1 for x in lines if x.strip())
    comments = sum(1 for x, c in zip(lines, code) if x.strip() and x.rstrip() != c.rstrip()
                   and ("/*" in x or "*/" in x or "//" in x or not c.strip()))
    return comments / total if total else 1.0


def check_includes(rel, layer, text, allowed, layers, libraries):
    for name in re.findall(r'#include "consentd/(\w+)\.h"', text):
        other = layers.get(name)
        if other is None:
            yield f"{rel}: consentd/{name}.h has no layer (no source and no 'layer: NAME' line)"
        elif other not in allowed[layer]:
            yield f"{rel}: layer {layer} may not include {name}.h (layer {other})"
    for header in re.findall(r"#include <([^>]+)>", text):
        for prefix, files in libraries:
            if header.startswith(prefix):
                if not any(fnmatch.fnmatch(str(rel), f) for f in files):
                    yield f"{rel}: <{header}> may be included only by {' '.join(files)}"
                break


def check_text(rel, text):
    limit = C_LINES if rel.suffix == ".c" else H_LINES
    lines = text.splitlines()
    if len(lines) > limit:
        yield f"{rel}: {len(lines)} lines, limit {limit}: split it by meaning"
    for no, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{rel}:{no}: {len(line)} columns, limit {COLUMNS}"
        if "\t" in line:
            yield f"{rel}:{no}: a tab"
        if re.search(UNFINISHED, line):
            yield f"{rel}:{no}: unfinished by its own word"
    code = strip_comments(text)
    for m in re.finditer(BANNED, code):
        yield f"{rel}:{code.count(chr(10), 0, m.start()) + 1}: {m.group(1)}() is banned"
    if str(rel) != "proxy/base/mem.c" and rel.parts[0] == "proxy":
        for m in ALLOCATION.finditer(code):
            line = code.count("\n", 0, m.start()) + 1
            if rel.name not in ("arena.c", "spare.c", "residue.c"):
                yield f"{rel}:{line}: {m.group(1)}() outside base: use mem_*, spare_*, buf or arena"


def check_header(rel, text):
    share = comment_share(text)
    if share < HEADER_COMMENT_SHARE:
        yield f"{rel}: {share:.0%} of its lines are comments, a public header needs 40%"
    if not text.lstrip().startswith("/*"):
        yield f"{rel}: a header starts with a comment that says what it is for"


def check_functions(root, sources):
    """pmccabe: modified complexity, complexity, statements, first line, lines, file(line): name."""
    out = subprocess.run(["pmccabe", *map(str, sources)], capture_output=True, text=True, check=False)
    for line in out.stdout.splitlines():
        parts = line.split("\t")
        complexity, lines = int(parts[0]), int(parts[4])
        where = parts[5].replace(str(root) + "/", "")
        if complexity > COMPLEXITY:
            yield f"{where}: complexity {complexity}, limit {COMPLEXITY}"
        if lines > FUNCTION_LINES:
            yield f"{where}: {lines} lines, limit {FUNCTION_LINES}"


def check_format(root, sources):
    out = subprocess.run(["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *map(str, sources)],
                         capture_output=True, text=True, check=False)
    for line in out.stderr.splitlines():
        if "error:" in line:
            yield line.replace(str(root) + "/", "").split(" [")[0] + " (run clang-format -i)"


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    if "--help" in sys.argv:
        print(__doc__.strip())
        return False
    root = pathlib.Path(args[0]).resolve() if args else pathlib.Path(__file__).resolve().parents[2]
    lint = root / "tests/lint"
    allowed = layer_table(lint / "layers.txt")
    libraries = library_table(lint / "libraries.txt")
    layers = module_layers(root)
    headers = sorted(root.glob("include/consentd/*.h"))
    product = sorted([*root.glob("proxy/*/*.[ch]"), *headers])
    tests = sorted([*root.glob("tests/**/*.[ch]")])
    errors = []
    for src in product:
        rel, text = src.relative_to(root), src.read_text()
        layer = layers.get(src.stem) if src.parent.name == "consentd" else src.parent.name
        if layer not in allowed:
            errors.append(f"{rel}: no layer for this file in layers.txt (say 'layer: NAME' in its head)")
            continue
        errors += check_includes(rel, layer, text, allowed, layers, libraries)
        errors += check_text(rel, text)
        if src in headers:
            errors += check_header(rel, text)
    for src in tests:
        errors += check_text(src.relative_to(root), src.read_text())
    if "--no-tools" not in sys.argv:
        for tool in ("pmccabe", "clang-format"):
            if not shutil.which(tool):
                errors.append(f"{tool} is not installed: apt-get install {tool}")
        if not errors or shutil.which("pmccabe"):
            errors += check_functions(root, [s for s in product if s.suffix == ".c"])
        if shutil.which("clang-format"):
            errors += check_format(root, product + tests)
    print("\n".join(errors) or f"lint: ok ({len(product)} product files, {len(tests)} test files)")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
