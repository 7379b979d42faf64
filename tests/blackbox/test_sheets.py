"""Style sheets of the site, and the hints of pages: what they would fetch from trackers before consent."""
import base64
import gzip
import hashlib
import zlib

import pytest

from chromium import asked, chromium, errors, settled
from harness import Origin, Proxy, http_response
from test_enforce import decide, with_cookie

CSS = ("Content-Type", "text/css")
TRACKER = "https://www.facebook.com/tr?id="
SHEET = f"""@import "{TRACKER}1" screen; @import url({TRACKER}2);
h1 {{ background: url({TRACKER}3), u\\72l( '{TRACKER}4' ); color: red }}
h2 {{ background-image: image-set("{TRACKER}5" 1x, url(/own.png) 2x) }}
@font-face {{ font-family: x; src: url({TRACKER}6) format("woff2"), url("/own.woff") }}
body {{ font-family: x; cursor: url('{TRACKER}7'), auto; --mine: url({TRACKER}8) }}
p {{ background: var(--mine), url(/own.png) }} /* {TRACKER}9 */
""".encode()
CLEAN = b"@charset \"utf-8\"; body { color: green; background: url(own.png) } /* https://www.facebook.com/tr */\n" * 40


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()
    origin.stop()


@pytest.fixture(autouse=True)
def routes(proxy):
    proxy.origin.routes.clear()


def sheet(proxy, body, headers=(), path="/a.css", ask=(), status=200):
    proxy.origin.routes[path] = http_response(status, [*headers, *(() if any(n == "Content-Type" for n, _ in headers) else [CSS])], body)
    return proxy.get(path, [("Sec-Fetch-Dest", "style"), *ask])


def test_a_clean_sheet_is_the_origins(proxy):
    fields = [("Cache-Control", "public, max-age=60"), ("ETag", '"v1"'), ("Last-Modified", "Tue, 24 Nov 2026 10:00:00 GMT")]
    answer = sheet(proxy, CLEAN, fields)
    assert answer.body == CLEAN
    assert answer.header("Content-Length") == str(len(CLEAN))
    assert (answer.header("Cache-Control"), answer.header("Vary")) == ("public, max-age=60", None)
    assert answer.header("Last-Modified") == "Tue, 24 Nov 2026 10:00:00 GMT"
    packed = gzip.compress(CLEAN, mtime=1)
    answer = sheet(proxy, packed, [("Content-Encoding", "gzip")], ask=[("Accept-Encoding", "gzip")])
    assert (answer.body, answer.header("Content-Encoding")) == (packed, "gzip")
    large = CLEAN * 200  # more than what is held: it streams, and caches are told to ask
    answer = sheet(proxy, large, fields)
    assert (answer.body, answer.header("Vary")) == (large, "Cookie")
    assert sheet(proxy, b"").body == b""


@pytest.mark.parametrize("type_", ["text/css", "TEXT/CSS; charset=utf-8", "text/plain"])
def test_trackers_go(proxy, type_):
    answer = sheet(proxy, SHEET, [("Content-Type", type_), ("ETag", '"v1"'), ("Cache-Control", "public, max-age=60")])
    assert answer.body.count(b"facebook") == 1  # the comment
    assert answer.body.startswith(b"@import url() screen; @import url();")
    assert b"url(/own.png) 2x" in answer.body and b'url("/own.woff")' in answer.body and b"color: red" in answer.body
    assert answer.header("Cache-Control") == "private, max-age=60"
    assert {"cookie", "sec-gpc"} <= {v.strip().lower() for v in ",".join(answer.all("Vary")).split(",")}
    assert proxy.get("/a.css", [("Sec-Fetch-Dest", "empty")]).body == (answer.body if "css" in type_.lower() else SHEET)


def test_with_consent_it_is_the_origins(proxy):
    cookie = with_cookie(decide(proxy, "analytics", "marketing"))
    packed = gzip.compress(SHEET, mtime=1)
    answer = sheet(proxy, packed, [("Content-Encoding", "gzip")], ask=[("Accept-Encoding", "gzip"), *cookie])
    assert answer.body == packed and answer.header("Content-Length") == str(len(packed))
    assert "Cookie" in answer.all("Vary") and answer.header("Cache-Control") == "private"
    analytics = with_cookie(decide(proxy, "analytics"))
    assert b"facebook" not in sheet(proxy, SHEET, ask=analytics).body.replace(b"/* " + TRACKER.encode(), b"")


@pytest.mark.parametrize("coding, pack, unpack", [("gzip", gzip.compress, gzip.decompress),
                                                  ("deflate", zlib.compress, zlib.decompress)])
def test_coded(proxy, coding, pack, unpack):
    answer = sheet(proxy, pack(SHEET), [("Content-Encoding", coding)], ask=[("Accept-Encoding", coding)])
    assert answer.header("Content-Encoding") == coding
    assert unpack(answer.body) == sheet(proxy, SHEET).body
    assert sheet(proxy, pack(SHEET)[:-20], [("Content-Encoding", coding)], ask=[("Accept-Encoding", coding)]).status == 502
    assert sheet(proxy, pack(SHEET), [("Content-Encoding", "x-own")]).status == 502


def test_encodings(proxy):
    for bom, name in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        answer = sheet(proxy, bom + SHEET.decode().encode(name))
        assert answer.body.removeprefix(b"\xef\xbb\xbf") == sheet(proxy, SHEET).body
        assert answer.header("Content-Type") == "text/css; charset=utf-8"
        clean = bom + CLEAN.decode().encode(name)
        assert sheet(proxy, clean).body == clean
    assert b"facebook" not in sheet(proxy, b"\xef\xbb\xbf@import '" + TRACKER.encode() + b"';").body
    hidden = b"a { content: '\x83\\' } b { background: url(" + TRACKER.encode() + b") } c { content: '\x83\\' }"
    assert b"facebook" not in sheet(proxy, hidden, [("Content-Type", "text/css; charset=Shift_JIS")]).body
    assert b"facebook" not in sheet(proxy, b'@charset "shift_jis";' + hidden).body
    assert sheet(proxy, SHEET, [("Content-Type", "text/css; charset=iso-2022-jp")]).status == 502


def test_other_answers_are_left(proxy):
    for status in (404, 500):
        assert sheet(proxy, SHEET, status=status).body == SHEET
    proxy.origin.routes["/a.txt"] = http_response(200, [("Content-Type", "text/plain")], SHEET)
    assert proxy.get("/a.txt", [("Sec-Fetch-Dest", "empty")]).body == SHEET
    proxy.origin.routes["/h.css"] = http_response(200, [CSS, ("ETag", '"v1"')])
    assert proxy.get("/h.css", method="HEAD").header("ETag") is None  # GET's is another one


@pytest.mark.parametrize("type_, dest", [
    ("text/html", "style"), ("text/html", "script"), (None, "style"), (None, "script"), ("text/javascript", "style")])
def test_no_cache_keeps_what_was_read_as_something_else(proxy, type_, dest):
    """A cache between us and visitors would give it to those who ask for a page."""
    body = b"<html><head><script src='https://www.facebook.com/tr'></script></head></html>"
    fields = [("Cache-Control", "public, max-age=60"), ("ETag", '"v1"'), *([("Content-Type", type_)] if type_ else [])]
    proxy.origin.routes["/page"] = http_response(200, fields, body)
    answer = proxy.get("/page", [("Sec-Fetch-Dest", dest)])
    assert answer.body == body and "no-store" in answer.header("Cache-Control")
    assert "public" not in answer.header("Cache-Control")


def test_a_part_is_asked_for_whole(proxy):
    def ranged(_, request):
        if request.header("Range"):
            return http_response(206, [CSS, ("Content-Range", f"bytes 0-99/{len(SHEET)}")], SHEET[:100])
        return http_response(200, [CSS], SHEET)
    proxy.origin.routes["/r.css"] = ranged
    answer = proxy.get("/r.css", [("Sec-Fetch-Dest", "empty"), ("Range", "bytes=0-99")])
    assert answer.status == 200 and answer.body.count(b"facebook") == 1


def test_conditions(proxy):
    def conditional(body):
        def answer(_, request):
            if '"v1"' in request.header("If-None-Match", ""):
                return http_response(304, [("ETag", '"v1"')])
            return http_response(200, [CSS, ("ETag", '"v1"')], body)
        return answer
    style = [("Sec-Fetch-Dest", "style")]
    for name, body in (("/clean.css", CLEAN), ("/dirty.css", SHEET)):
        proxy.origin.routes[name] = conditional(body)
        tag = proxy.get(name, style).header("ETag")
        again = proxy.get(name, [*style, ("If-None-Match", tag), ("If-Modified-Since", "Tue, 24 Nov 2026 10:00:00 GMT")])
        assert (again.status, again.header("ETag")) == (304, tag)
        cookie = with_cookie(decide(proxy, "analytics", "marketing"))
        # a clean one is the same for everyone, another one is not
        assert proxy.get(name, [*style, *cookie, ("If-None-Match", tag)]).status == (304 if body is CLEAN else 200)
        # the origin's own tag says nothing of the rules by which it was read
        assert proxy.get(name, [*style, ("If-None-Match", '"v1"')]).status == 200
    tag = proxy.get("/clean.css", style).header("ETag")
    assert proxy.ctl("rules", "set", "hotjar", "off").returncode == 0
    assert proxy.get("/clean.css", [*style, ("If-None-Match", tag)]).status == 200
    assert proxy.ctl("rules", "set", "hotjar", "enforce").returncode == 0


SCRIPT = f"""const text = "import and from here"; const own = import("/part.js");
import(/* webpackIgnore: true */ "{TRACKER}50").then(m => {{ window.empty = Object.keys(m).length; }});
import('{TRACKER.replace("/", chr(92) + "/")}51'); import(`{TRACKER}52`); window.ran = 1;
obj = {{import() {{}}}}; obj.import("{TRACKER}keep"); // a method of that name
""".encode()


def test_what_scripts_import(proxy):
    javascript = [("Content-Type", "text/javascript"), ("ETag", '"v1"'), ("Cache-Control", "public, max-age=60")]
    as_script = [("Sec-Fetch-Dest", "script")]
    proxy.origin.routes["/s.js"] = http_response(200, javascript, SCRIPT)
    answer = proxy.get("/s.js", as_script)
    assert answer.body.count(b"facebook") == 1 and answer.body.count(b'/.consent/empty.js') == 3
    assert b'import("/part.js")' in answer.body and answer.header("Cache-Control") == "private, max-age=60"
    packed = gzip.compress(SCRIPT)
    proxy.origin.routes["/z.js"] = http_response(200, [*javascript, ("Content-Encoding", "gzip")], packed)
    assert gzip.decompress(proxy.get("/z.js", [*as_script, ("Accept-Encoding", "gzip")]).body) == answer.body
    cookie = with_cookie(decide(proxy, "analytics", "marketing"))
    assert proxy.get("/z.js", [*as_script, *cookie, ("Accept-Encoding", "gzip")]).body == packed
    clean = b"import('/part.js'); // https://www.facebook.com/tr"
    proxy.origin.routes["/c.js"] = http_response(200, javascript, clean)
    answer = proxy.get("/c.js", as_script)
    assert (answer.body, answer.header("Cache-Control"), answer.header("Vary")) == (clean, "public, max-age=60", "Sec-Fetch-Dest")
    module = f'import "{TRACKER}1"; import {{ a }} from "{TRACKER}2"; export * from \'{TRACKER}3\'; import x from "/own.js";'.encode()
    proxy.origin.routes["/m.js"] = http_response(200, javascript, module)
    assert proxy.get("/m.js", as_script).body.count(b"empty.js") == 3
    large = b"/* facebook */ var a = 1; " * 40000 + SCRIPT
    proxy.origin.routes["/l.js"] = http_response(200, javascript, large)
    assert proxy.get("/l.js", as_script).body.count(b"www.facebook.com") == 1


# --- in Chromium ------------------------------------------------------------------------------

HINTS = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/a.css"><link rel="stylesheet" href="/inner.css">
<link rel="preload" as="image" imagesrcset="T10 1x"><link rel="prefetch" href="T11"><link rel="modulepreload" href="T12">
<script type="speculationrules">{"prefetch": [{"source": "list", "urls": ["T13"]}], "prerender": [{"source": "list", "urls": ["T14"]}]}</script>
<script type="importmap">{"imports": {"tracker": "T15"}}</script>
<script type="module">import("tracker").catch(() => {});</script>
</head><body style="list-style-image: url(T16)"><h1>x</h1><h2>y</h2><p>z</p>
<a id="a" ping="T17" href="/next">next</a>
<img srcset="T18 1x, T19 2x" src="/own.png" alt=""><picture><source srcset="T20"><img src="/own.png" alt=""></picture>
<iframe srcdoc="&lt;img src=&quot;T21&quot;&gt;&lt;style&gt;p{background:url(T22)}&lt;/style&gt;&lt;p&gt;x" title="t"></iframe>
<svg width="9" height="9"><script href="T23"></script><image href="T24" width="9" height="9"/><rect width="9" height="9" fill="url(T25)"/>
<style>rect { stroke: url(T26) } @import "T27";</style><foreignObject><img src="T28"></foreignObject></svg>
<object data="T29"></object><embed src="T30"><video poster="T31"></video><audio src="T32" preload="auto"></audio>
<input type="image" src="T33"><table background="T34"><tr><td>x</table>
<script src="/s.js"></script><script src="/own.js"></script></body></html>""".replace("T", TRACKER).replace(TRACKER + "itle", "Title")


@pytest.fixture(scope="module")
def browser(trackers):
    with chromium(trackers) as driver:
        yield driver


def test_chromium_asks_no_tracker(browser, proxy, trackers):
    javascript = [("Content-Type", "text/javascript")]
    html = [("Content-Type", "text/html; charset=utf-8")]
    proxy.origin.routes.update({
        "/": http_response(200, html, HINTS.encode()), "/next": http_response(200, html, HINTS.encode()),
        "/a.css": http_response(200, [CSS], SHEET),
        "/inner.css": http_response(200, [CSS], b"@import 'deep.css'; h1 { font-weight: 900 }"),
        "/deep.css": http_response(200, [CSS], b"h2 { background: url(" + TRACKER.encode() + b"40); color: rgb(1, 2, 3) }"),
        "/s.js": http_response(200, javascript, SCRIPT.replace(b"obj.import", b"// obj.import")),
        "/part.js": http_response(200, javascript, b"window.part = 1;"),
        "/own.js": http_response(200, javascript, b"document.documentElement.dataset.own = 'ran';"),
        "/own.png": http_response(200, [("Content-Type", "image/gif")], bytes.fromhex(
            "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")),
        "/own.woff": http_response(200, [("Content-Type", "font/woff")], b"")})
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/")
    settled(browser)
    browser.execute_script("document.querySelector('#a').click()")
    settled(browser)
    assert asked(trackers) == []
    assert browser.execute_script("return [window.ran, window.part, window.empty]") == [1, 1, 0]
    # and the rest of the rules is in force
    assert browser.execute_script("return [getComputedStyle(document.querySelector('h1')).color,"
                                  "getComputedStyle(document.querySelector('h1')).fontWeight,"
                                  "getComputedStyle(document.querySelector('body > h2')).color]") == \
        ["rgb(255, 0, 0)", "900", "rgb(1, 2, 3)"]
    assert [e for e in errors(browser) if "own.woff" not in e] == []
    browser.get(f"http://localhost:{proxy.port}/next")
    settled(browser)
    browser.find_element("css selector", '[data-consent-action="accept-all"]').click()
    settled(browser)
    browser.get(f"http://localhost:{proxy.port}/")
    settled(browser)
    assert trackers.asked["www.facebook.com"] >= 20  # the test would see them


@pytest.mark.parametrize("base, src, stays", [
    ("", "lib/a.js", False),
    ("/lib/", "a.js", False),
    ("data:,x", "a.js", False),
    ("https://cdn.example.net/lib/", "a.js", True),
    ("https://cdn.example.net/lib/", "http://localhost/a.js", False),
    ("/lib/><base href=https://cdn.example.net/", "a.js", True),
    ("", "http://localhost:8443/a.js", True),
    ("", "https://localhost/a.js", True),
])
def test_whose_digest_goes(proxy, base, src, stays):
    """Only that of a file which comes through here, whatever the page's base is."""
    base = base and f"<base href={base}>"
    proxy.origin.routes["/whose"] = http_response(200, [("Content-Type", "text/html")],
        f"<!DOCTYPE html><head>{base}<title>t</title><script src={src} integrity=sha256-x></script></head><body></body>".encode())
    answer = proxy.get("/whose", [("Sec-Fetch-Dest", "document")])
    assert (b"integrity=sha256-x" in answer.body) == stays


def test_files_with_a_digest_still_work(browser, proxy, trackers):
    """The page says what its files' bytes are, and the proxy changes them: the page must not lose them."""
    def digest(data):
        return "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()
    own = b"import('https://connect.facebook.net/en_US/fbevents.js').catch(() => {}); document.documentElement.dataset.own = 'ran';"
    style = SHEET + b"h1 { margin-top: 7px }"
    far = digest(b"other")
    page = (f'<!DOCTYPE html><html lang="en"><head><title>t</title><link rel="icon" href="data:,">'
            f'<link rel=preload as=style href=/a.css integrity="{digest(style)}">'
            f'<link integrity={digest(style)} rel=stylesheet href=/a.css>'
            f'<script src=/own.js integrity="{digest(own)}"></script>'
            f'<link rel=stylesheet href="https://cdn.example.net/x.css" integrity="{far}" crossorigin></head><body><h1>x</h1></body></html>')
    routes = proxy.origin.routes
    routes["/"] = http_response(200, [("Content-Type", "text/html")], page.encode())
    routes["/a.css"] = http_response(200, [CSS], style)
    routes["/own.js"] = http_response(200, [("Content-Type", "text/javascript")], own)
    routes["/own.png"] = routes["/own.woff"] = http_response(200, [("Content-Type", "image/png")], b"")
    text = proxy.get("/", [("Sec-Fetch-Dest", "document")]).body.decode()
    assert digest(style) not in text and digest(own) not in text and f'integrity="{far}"' in text  # what does not come through here keeps its own
    cookie = with_cookie(decide(proxy, "analytics", "marketing"))
    assert digest(style) in proxy.get("/", [("Sec-Fetch-Dest", "document"), *cookie]).body.decode()
    browser.delete_all_cookies()
    errors(browser)
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/")
    settled(browser)
    assert browser.execute_script("return getComputedStyle(document.querySelector('h1')).marginTop") == "7px"
    assert asked(trackers) == []
    assert [error for error in errors(browser) if "cdn.example.net" not in error] == []
