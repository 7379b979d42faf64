#!/usr/bin/env python3
"""Compare a page's DOM before and after the filter: only denied elements may be missing.

usage: check_html_dom.py FILTER PAGES_DIR     (FILTER: the built html_filter)

Both sides are parsed by html5lib. From the tree before, what the deny words hit is taken
away; from the tree after, our comments. What is left must be equal. Text is compared
joined, since a comment splits it.
"""
import pathlib
import subprocess
import sys

import html5lib

WORDS = ["google-analytics", "googletagmanager", "doubleclick", "facebook", "chartbeat",
         "scorecardresearch", "quantserve", "twitter"]
FETCHED = {"src", "href", "data", "srcset", "poster", "content", "action", "background"}
SCRIPT_TYPES = {"", "text/javascript", "application/javascript", "module", "importmap",
                "speculationrules", "application/x-javascript"}
FETCHING_RELS = {"stylesheet", "preload", "modulepreload", "prefetch", "dns-prefetch",
                 "preconnect", "icon", "manifest", "apple-touch-icon", "shortcut",
                 "apple-touch-icon-precomposed", "prerender", "mask-icon"}


def hit(text):
    return any(w in (text or "") for w in WORDS)


def is_denied(e):
    name = e.tag.split("}")[-1] if isinstance(e.tag, str) else ""
    get = e.attrib.get
    if name == "script" and (get("type") or "").strip().lower() in SCRIPT_TYPES:
        return hit(get("src")) if get("src") is not None else hit(e.text)
    if name in ("img", "iframe", "embed", "source", "track"):
        return hit(get("src")) or (name == "source" and hit(get("srcset")))
    if name == "link" and FETCHING_RELS & set((get("rel") or "").lower().split()):
        return hit(get("href"))
    if name == "base":
        return hit(get("href"))
    if name == "meta" and (get("http-equiv") or "").lower() in ("refresh", "set-cookie"):
        return hit(get("content"))
    return False


def flat(e, out, drop):
    """The tree as a list of strings, without what may differ."""
    if not isinstance(e.tag, str):
        if not (drop is False and (e.text or "").startswith("consentd: removed")):
            out.append("<!--%s-->" % e.text)
    elif drop and is_denied(e):
        pass
    else:
        attrs = [(k, v) for k, v in sorted(e.attrib.items())
                 if not k.lower().startswith("on") and k not in ("style",) and not
                 (k.split("}")[-1] in FETCHED | {"ping"} and hit(v))]
        out.append("<%s %s>" % (e.tag, attrs))
        text = e.text or ""
        if e.tag.endswith(("}style", "}noscript")):  # blanked in place; cleaned inside
            text = ""
        out.append(text)
        for child in e:
            flat(child, out, drop)
        out.append("</>")
    out.append(e.tail or "")


def tokens(data, drop, scripting):
    tree = html5lib.parse(data, treebuilder="etree", transport_encoding="utf-8",
                          scripting=scripting) if scripting is not None else html5lib.parse(data)
    out = []
    flat(tree, out, drop)
    joined = []
    for t in out:
        if not t.startswith("<"):
            t = " ".join(t.split())  # a removed element moves the white space around it
        is_text = not t.startswith("<")
        if is_text and joined and not joined[-1].startswith("<"):
            joined[-1] += t
        elif t:
            joined.append(t)
    return joined


def main():
    bad = 0
    pages = sorted(pathlib.Path(sys.argv[2]).glob("*.html"))
    for page in pages:
        data = page.read_bytes()
        same = subprocess.run([sys.argv[1]], input=data, capture_output=True, check=True).stdout
        if same != data:
            print(f"{page.name}: not identical with nothing denied")
            bad += 1
        after = subprocess.run([sys.argv[1], *WORDS], input=data, capture_output=True,
                               check=True).stdout
        want = tokens(data, True, True)
        got = tokens(after, False, True)
        if want != got:
            at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
            print(f"{page.name}: differs at {at}\n  want {want[at:at + 3]!r:.300}\n  got  {got[at:at + 3]!r:.300}")
            bad += 1
    print(f"{len(pages)} pages, {bad} differences")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
