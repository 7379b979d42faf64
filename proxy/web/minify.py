"""Shortens a script: comments and white space go, names of our own become short ones.

Ours, because a build must not need node. It knows the part of JavaScript that proxy/web is
written in and refuses what it cannot be sure of: statements end in semicolons, no template
literals, no shorthand properties, no destructuring, var only. Names are given scope by scope, so
that the same letters come again in each function, which is what gzip likes.
"""
import collections
import itertools
import re

TOKEN = re.compile(r"""(?P<space>\s+|/\*.*?\*/|//[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>\d[\w.]*)
    |(?P<name>[A-Za-z_$][\w$]*)
    |(?P<sign>=>|\.\.\.|===|!==|[-+*/%&|^=!<>]=|&&|\|\||\+\+|--|<<|>>|.)""", re.S | re.X)
REGEX = re.compile(r"/(?![*/])(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
KEYWORDS = set("""break case catch continue debugger default delete do else false finally for function if
    in instanceof new null return switch this throw true try typeof var void while with let const of""".split())
VALUES = {"this", "null", "true", "false"}
OPEN, CLOSE = "([{", ")]}"


def tokens(text):
    out, at = [], 0
    while at < len(text):
        kind, before = out[-1] if out else ("sign", ";")
        starts = before in KEYWORDS - VALUES or kind == "sign" and before not in CLOSE
        match = REGEX.match(text, at) if starts and text[at] == "/" else None
        kind = "regex" if match else None
        match = match or TOKEN.match(text, at)
        kind = kind or match.lastgroup
        if match[0] in ("`", "let", "const", "class"):
            raise SystemExit(f"minify: {match[0]} is not known here")
        if kind != "space":
            out.append((kind, match[0]))
        at = match.end()
    return out


def closing(code, i):
    """The place of the bracket that closes the one at i."""
    depth = 0
    for k in range(i, len(code)):
        if code[k][0] == "sign":
            depth += (code[k][1] in OPEN) - (code[k][1] in CLOSE)
        if depth == 0:
            return k
    raise SystemExit("minify: a bracket is not closed")


def opening(code, i):
    depth = 0
    for k in range(i, -1, -1):
        if code[k][0] == "sign":
            depth += (code[k][1] in CLOSE) - (code[k][1] in OPEN)
        if depth == 0:
            return k
    raise SystemExit("minify: a bracket is not opened")


def expression_end(code, i):
    depth = 0
    for k in range(i, len(code)):
        kind, text = code[k]
        if kind == "sign" and depth == 0 and (text in CLOSE or text in ",;"):
            return k
        if kind == "sign":
            depth += (text in OPEN) - (text in CLOSE)
    return len(code)


class Scope:
    def __init__(self, first, last):
        self.first, self.last, self.names, self.inner, self.outer = first, last, [], [], None
        self.uses, self.short = collections.Counter(), {}

    def add(self, name):
        if name not in self.names:
            self.names.append(name)


def scopes_of(code):
    """All functions with their parameters, the file itself last."""
    found = []
    for i, (kind, text) in enumerate(code):
        if kind == "name" and text == "function":
            first = i + 1 + (code[i + 1][0] == "name")
            body = closing(code, first) + 1
            scope = Scope(first, closing(code, body))
            parameters = range(first, body)
        elif (kind, text) == ("sign", "=>"):
            first = opening(code, i - 1) if code[i - 1][1] == ")" else i - 1
            last = closing(code, i + 1) if code[i + 1][1] == "{" else expression_end(code, i + 1) - 1
            scope = Scope(first, last)
            parameters = range(first, i)
        else:
            continue
        for k in parameters:
            if code[k][0] == "name":
                scope.add(code[k][1])
        found.append(scope)
    found.sort(key=lambda scope: scope.last - scope.first)
    found.append(Scope(-1, len(code)))
    for n, scope in enumerate(found):
        scope.outer = next((o for o in found[n + 1:] if o.first <= scope.first and scope.last <= o.last), None)
        if scope.outer:
            scope.outer.inner.append(scope)
    return found


def scope_at(scopes, i):
    return next(scope for scope in scopes if scope.first <= i <= scope.last)


def declare(code, scopes):
    """Variables, named functions and caught errors, each into the function around it."""
    for i, (kind, text) in enumerate(code):
        if kind != "name":
            continue
        if text == "var":
            depth, fresh = 0, True
            for k in range(i + 1, len(code)):
                word_kind, word = code[k]
                if depth == 0 and word in (";", "in", "of"):
                    break
                if fresh and word_kind == "name":
                    scope_at(scopes, i).add(word)
                if word_kind == "sign":
                    depth += (word in OPEN) - (word in CLOSE)
                fresh = depth == 0 and (word_kind, word) == ("sign", ",")
        elif text == "function" and code[i + 1][0] == "name":
            scope_at(scopes, i).add(code[i + 1][1])
        elif text == "catch" and code[i + 1][1] == "(":
            scope_at(scopes, i).add(code[i + 2][1])


def is_property(code, i):
    if code[i - 1] == ("sign", "."):
        return True
    return i + 1 < len(code) and code[i + 1] == ("sign", ":") and code[i - 1][1] in ("{", ",")


# The order of letters that packs guard.js best, as a random search found it: of what the file shares, of the functions in it.
SHARED, INNER = "rblcapinsheyzuqdfotjkgvmxw", "traecnloihfyguqpxbjwmdkvzs"


def short_names(taken, outermost):
    """What the whole file shares takes capitals: the others are left to the functions in it."""
    letters = SHARED.upper() + SHARED if outermost else INNER + INNER.upper()
    for size in itertools.count(1):
        for some in itertools.product(letters, repeat=size):
            name = "".join(some)
            if name not in taken and name not in KEYWORDS:
                yield name


def resolve(code, scopes):
    """place -> scope that declares the name there; counts uses in every scope it passes."""
    place = {}
    for i, (kind, text) in enumerate(code):
        if kind != "name" or text in KEYWORDS or is_property(code, i):
            continue
        scope = scope_at(scopes, i)
        passed = []
        while scope and text not in scope.names:
            passed.append(scope)
            scope = scope.outer
        owner = scope if scope and scope.outer else None  # what the file itself declares keeps its name
        for one in passed + ([owner] if owner else []):
            one.uses[(owner, text)] += 1
        place[i] = owner
    return place


def give(scope):
    """Short names, from the outside in: none that this scope or one inside it uses of another."""
    if scope.outer:
        taken = {text if owner is None else owner.short[text]
                 for owner, text in scope.uses if owner is not scope}
        own = sorted(scope.names, key=lambda name: -scope.uses[(scope, name)]) if not is_list(scope) else scope.names
        scope.short = dict(zip(own, short_names(taken, not scope.outer.outer)))
    for inner in scope.inner:
        give(inner)


def is_empty_statement(code, i):
    """The semicolon at i is all that a for, while or if does."""
    return code[i - 1][1] == ")" and code[opening(code, i - 1) - 1][1] in ("for", "while", "if")


def is_list(scope):
    """Few names: in the order of declaration, so that like functions get like letters."""
    return len(scope.names) < 12


def joined(code):
    """`var a; var b;` as `var a, b;`."""
    out, variables = [], [False]
    for kind, text in code:
        if kind == "sign" and text in OPEN:
            variables.append(False)
        elif kind == "sign" and text in CLOSE:
            variables.pop()
        elif text == "var":
            if variables[-1] and out[-1][1] == ";":
                out[-1] = ("sign", ",")
                continue
            variables[-1] = True
        elif variables[-1] and out[-1][1] == ";":
            variables[-1] = False
        out.append((kind, text))
    return out


def minify(text):
    code = joined(tokens(text))
    scopes = scopes_of(code)
    declare(code, scopes)
    place = resolve(code, scopes)
    give(scopes[-1])
    out = []
    for i, (kind, t) in enumerate(code):
        if place.get(i):
            t = place[i].short[t]
        t = {"true": "!0", "false": "!1"}.get(t, t) if kind == "name" else t
        if t == "}" and out and out[-1] == ";" and not is_empty_statement(code, i - 1):
            out.pop()
        glued = out and re.match(r"[\w$]", t) and re.search(r"[\w$]$", out[-1])
        signs = out and t[0] in "+-/" and out[-1][-1] == t[0]
        out.append((" " if glued or signs else "") + t)
    return "".join(out)
