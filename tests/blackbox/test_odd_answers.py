"""Answers that are read otherwise than they look: what they name must not be fetched without consent.

Each way is tried twice in Chromium: without a decision no tracker may be asked, and with everything granted
one must be, or the way is none.
"""
import time

import pytest

from chromium import chromium, until
from harness import Origin, Proxy, http_response
from test_enforce import decide

HTML = ("Content-Type", "text/html; charset=utf-8")
CSS = ("Content-Type", "text/css")
JS = ("Content-Type", "text/javascript")
SVG = ("Content-Type", "image/svg+xml")
PIXEL = "https://www.facebook.com/tr?id=1&ev=PageView"
PAGE = b'<!DOCTYPE html><title>x</title><p>x</p><img src="%s" alt="">' % PIXEL.encode()
SHEET = b"p { background: url(%s) }" % PIXEL.encode()
SCRIPT = b"import 'https://connect.facebook.net/en_US/fbevents.js'"
XSL = (b'<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:output method="html"/>'
       b'<xsl:template match="/"><html><body><img src="https://www.facebook.com/tr?id=1"/></body></html>'
       b'</xsl:template></xsl:stylesheet>')
STYLED = (b'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="/part"?><r/>')
SPRITE = (b'<svg xmlns="http://www.w3.org/2000/svg"><g id="x"><image href="https://www.facebook.com/tr?id=1" '
          b'width="9" height="9"/></g></svg>')
LOAD = b"import('https://connect.facebook.net/en_US/fbevents.js')"
LINKED = b'<!DOCTYPE html><link rel="stylesheet" href="/part"><p>x</p>'
SCRIPTED = b'<!DOCTYPE html><script type="module" src="/part"></script>'
WORKED = b'<!DOCTYPE html><script>new Worker("/part")</script>'
DRAWN = b'<!DOCTYPE html><svg width="9" height="9"><use href="/part#x"/></svg>'
CALL = b"fetch('https://www.facebook.com/tr?id=1', {mode: 'no-cors'})"

RULES = ("Content-Type", "application/speculationrules+json")
LIST = b'{"prefetch": [{"urls": ["https:\\/\\/www.facebook.com/tr?id=1"], "eagerness": "immediate"}]}'
ANCHOR = b'<!DOCTYPE html><a class="fast" href="https://www.facebook.com/tr?id=1">x</a>'
ANY_LINK = b'{"prefetch": [{"where": {"selector_matches": ".fast"}, "eagerness": "immediate"}]}'

CONCEALED = b"<script>fetch('https://www.face' + 'book.com/tr?id=' + 1, {mode: 'no-cors'})</script>"

# The page, then what it fetches as /part: status, fields, body.
WAYS = {
    "a download whose semicolon was forgotten":
        [(200, [HTML, ("Content-Disposition", 'attachment filename="report.html"')], PAGE)],
    "a download that is no token": [(200, [HTML, ("Content-Disposition", "attachment/x")], PAGE)],
    "a sheet that was created": [(200, [HTML], LINKED), (201, [CSS], SHEET)],
    "a sheet of many": [(200, [HTML], LINKED), (207, [CSS], SHEET)],
    "a sheet with choices": [(200, [HTML], LINKED), (300, [CSS], SHEET)],
    "a sheet that moved nowhere": [(200, [HTML], LINKED), (302, [CSS], SHEET)],
    "a script that was created": [(200, [HTML], SCRIPTED), (201, [JS], SCRIPT)],
    "a part of a script":
        [(200, [HTML], SCRIPTED), (206, [JS, ("Content-Range", f"bytes 0-{len(SCRIPT) - 1}/{len(SCRIPT)}")], SCRIPT)],
    "a coding that is none": [(200, [HTML], SCRIPTED), (200, [JS, ("Content-Encoding", "utf-8")], SCRIPT)],
    "a worker that was created": [(200, [HTML], WORKED), (201, [JS], CALL)],
    "pictures of a Link field":
        [(200, [HTML, ("Link", f'</x>; rel=preload; as=image; imagesrcset="{PIXEL} 1x"')], b"<p>x")],
    "a policy that reports":
        [(200, [HTML, ("Content-Security-Policy", "img-src 'none'; report-uri https:www.facebook.com/tr?id=1")],
          b'<p>x<img src="/own.png">')],
    "another policy that reports":
        [(200, [HTML, ("Content-Security-Policy", f"img-src 'none', report-uri {PIXEL}; img-src 'none'")],
          b'<p>x<img src="/own.png">')],
    "quotes in a Refresh field": [(200, [HTML, ("Refresh", "0; url='https://x'@www.facebook.com/tr?id=1'")], b"<p>x")],
    "quotes in a meta refresh":
        [(200, [HTML], b'<meta http-equiv="refresh" content="0; url=\'https://x\'@www.facebook.com/tr?id=1\'">')],
    "an XSLT sheet": [(200, [("Content-Type", "text/xml")], STYLED), (200, [("Content-Type", "text/xsl")], XSL)],
    "an XSLT sheet of another type":
        [(200, [("Content-Type", "text/xml")], STYLED), (200, [("Content-Type", "application/octet-stream")], XSL)],
    "a script in another encoding": [(200, [HTML], b'<!DOCTYPE html><script src="/part"></script>'),
                                     (200, [("Content-Type", "text/javascript; charset=utf-16le")],
                                      LOAD.decode().encode("utf-16le"))],
    "a script that the page calls so": [(200, [HTML], b'<!DOCTYPE html><script charset="utf-16le" src="/part"></script>'),
                                        (200, [JS], LOAD.decode().encode("utf-16le"))],
    "a sheet that the page calls so":
        [(200, [HTML], b'<!DOCTYPE html><link rel="stylesheet" charset="utf-16le" href="/part"><p>x</p>'),
         (200, [CSS], SHEET.decode().encode("utf-16le"))],
    "rules of a file": [(200, [HTML, ("Speculation-Rules", '"/part"')], b"<!DOCTYPE html><p>x"), (200, [RULES], LIST)],
    "rules of a file, for links": [(200, [HTML, ("Speculation-Rules", '"/part"')], ANCHOR), (200, [RULES], ANY_LINK)],
    "rules of the page, for links":
        [(200, [HTML], ANCHOR + b'<script type="speculationrules">' + ANY_LINK + b"</script>")],
    "an XSLT sheet inside the page": [(200, [("Content-Type", "text/xml")], STYLED.replace(
        b"/part", b"data:text/xsl," + XSL.replace(b"<", b"%3C").replace(b">", b"%3E").replace(b'"', b"'")))],
    "a page that must not be transformed": [(200, [HTML, ("Cache-Control", "no-cache, no-transform")],
                                             b"<!DOCTYPE html><title>x</title><p>x</p>" + CONCEALED)],
    "a drawing's elements": [(200, [HTML], DRAWN), (200, [SVG], SPRITE)],
    "a drawing's elements, to be saved":
        [(200, [HTML], DRAWN), (200, [SVG, ("Content-Disposition", "attachment")], SPRITE)],
}


@pytest.fixture(scope="module")
def proxy(folder, origin):
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def browser(trackers):
    with chromium(trackers) as driver:
        yield driver


def visit(browser, proxy, origin, trackers, way):
    """Opens the page of the way under an address of its own, so that no cache knows it."""
    origin.routes.clear()
    origin.routes["/blank"] = http_response(200, [HTML], b"<p id=blank>")
    for path, (status, fields, body) in zip(("/page", "/part"), way):
        origin.routes[path] = http_response(status, fields, body)
    browser.get(f"http://localhost:{proxy.port}/blank")
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/page?{time.monotonic_ns()}")


def asked(trackers):
    return sorted(host for host in trackers.asked if "facebook" in host)


@pytest.mark.parametrize("name", WAYS)
def test_no_tracker_is_asked_before_a_decision(browser, proxy, origin, trackers, name):
    browser.get(f"http://localhost:{proxy.port}/.consent/preferences")
    browser.delete_all_cookies()
    visit(browser, proxy, origin, trackers, WAYS[name])
    time.sleep(0.7)
    assert asked(trackers) == []


@pytest.mark.parametrize("name", WAYS)
def test_each_is_a_way(browser, proxy, origin, trackers, name):
    name_, value = decide(proxy, "analytics", "marketing").split("=", 1)
    browser.get(f"http://localhost:{proxy.port}/.consent/preferences")
    browser.add_cookie({"name": name_, "value": value})
    visit(browser, proxy, origin, trackers, WAYS[name])
    until(lambda: asked(trackers) != [])


# --- what browsers keep -----------------------------------------------------------------------

FOR_LONG = ("Cache-Control", "max-age=600")
KEPT = {  # the page, and what of it is kept
    "a sheet": (LINKED, CSS, SHEET),
    "a script": (SCRIPTED, JS, SCRIPT),
    "a worker": (WORKED, JS, CONCEALED[8:-9]),
    "a frame": (b'<!DOCTYPE html><iframe src="/part"></iframe>', HTML, PAGE),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_withdrawal_reaches_what_the_browser_keeps(browser, proxy, origin, trackers, name):
    """The cookie alone does not tell: parts of pages are also kept in memory, whatever they vary by."""
    page, kind, body = KEPT[name]
    path = f"/part{time.monotonic_ns()}"
    way = [(200, [HTML], page.replace(b"/part", path.encode()))]

    def part(_conn, request):
        if request.header("If-None-Match"):
            return http_response(304, [("ETag", '"v1"')], b"")
        return http_response(200, [kind, FOR_LONG, ("ETag", '"v1"')], body)

    def go(*grants):
        browser.get(f"http://localhost:{proxy.port}/.consent/preferences")
        browser.delete_all_cookies()
        cookie, value = decide(proxy, *grants).split("=", 1)
        browser.add_cookie({"name": cookie, "value": value})
        visit(browser, proxy, origin, trackers, way)
    visit(browser, proxy, origin, trackers, way)
    origin.handler = lambda conn, request: part(conn, request) if request.path == path else http_response(404, [], b"")
    go("analytics", "marketing")
    until(lambda: asked(trackers) != [])
    go()
    time.sleep(0.7)
    assert asked(trackers) == []


@pytest.mark.parametrize("first", [
    b"<script>fetch('/part').then(answer => answer.text()).then(() => { document.title = 'kept'; })</script>",
    b"<link rel='prefetch' href='/part' onload=\"document.title = 'kept'\">",
])
def test_a_page_that_a_script_fetched_is_not_the_one_that_is_shown(browser, proxy, origin, trackers, first):
    """What a script fetches has neither banner nor companion; the browser would show it from its cache."""
    browser.get(f"http://localhost:{proxy.port}/.consent/preferences")
    browser.delete_all_cookies()
    path = f"/part{time.monotonic_ns()}"
    origin.handler = lambda conn, request: http_response(
        200, [HTML, FOR_LONG, ("ETag", '"v1"')], b"<!DOCTYPE html><title>x</title><p>x</p>" + CONCEALED)
    visit(browser, proxy, origin, trackers, [(200, [HTML], b"<!DOCTYPE html><title>x</title>" +
                                              first.replace(b"/part", path.encode()))])
    until(lambda: browser.title == "kept")
    browser.execute_script(f"location.href = '{path}'")
    until(lambda: browser.find_elements("css selector", "[data-consent-banner]"))
    time.sleep(0.5)
    assert asked(trackers) == []
    origin.handler = None


def test_a_page_for_who_also_takes_sheets_is_a_page(proxy, origin):
    """Text browsers name every type that they know; browsers without Sec-Fetch-Dest ask so for sheets."""
    origin.routes["/page"] = http_response(200, [HTML], PAGE)
    for accept in ("text/html, text/plain, text/css", "application/xhtml+xml, text/css;q=0.1"):
        assert b"facebook" not in proxy.get("/page", [("Accept", accept)]).body.replace(b"meta-pixel", b"")


def test_a_base_moves_nothing_to_a_tracker(proxy, origin):
    """Also what stands before it: whether that is fetched sooner is the browser's pace."""
    origin.routes["/base"] = http_response(200, [HTML], b'<p><img src="tr?id=1"><base href="https://www.facebook.com/">')
    assert b"<base" not in proxy.get("/base").body
    all_of_it = [("Cookie", decide(proxy, "analytics", "marketing"))]
    assert b'<base href="https://www.facebook.com/">' in proxy.get("/base", all_of_it).body


def test_another_site_cannot_show_the_choices_in_a_frame(proxy):
    """Under whose cover a click of the visitor would decide."""
    policy = proxy.get("/.consent/preferences").header("Content-Security-Policy")
    assert "frame-ancestors 'self'" in policy and "default-src 'none'" in policy


# --- the same without a browser ------------------------------------------------------------------

def test_what_nobody_reads_may_be_coded_as_it_likes(proxy, origin):
    """With everything granted the client's own codings are asked for: a dictionary's, say."""
    consent = [("Cookie", decide(proxy, "analytics", "marketing")), ("Accept-Encoding", "gzip, dcb"),
               ("Available-Dictionary", ":x:")]
    for path, kind, dest in (("/d.css", CSS, "style"), ("/d.js", JS, "script")):
        origin.routes[path] = http_response(200, [kind, ("Content-Encoding", "dcb")], b"\xffDCB...")
        answer = proxy.get(path, consent + [("Sec-Fetch-Dest", dest)])
        assert (answer.status, answer.body) == (200, b"\xffDCB...")
        assert "cookie" in ", ".join(answer.all("Vary")).lower()
        assert proxy.get(path, [("Sec-Fetch-Dest", dest), ("Accept-Encoding", "gzip, dcb")]).status == 502


def test_a_drawing_is_told_apart_by_what_it_is_for(proxy, origin):
    """An <img> shows it as it is, <use> takes its elements; a client that says nothing may do either."""
    origin.routes["/s.svg"] = http_response(200, [SVG, ("ETag", '"v1"')], SPRITE)
    image = [("Sec-Fetch-Dest", "image")]
    shown = proxy.get("/s.svg", image + [("Sec-Fetch-Mode", "no-cors")])
    assert shown.body == SPRITE and "sec-fetch-mode" in ", ".join(shown.all("Vary")).lower()
    for headers in (image + [("Sec-Fetch-Mode", "same-origin")], []):
        assert b"facebook" not in proxy.get("/s.svg", headers).body
    proxy.get("/s.svg", image + [("Sec-Fetch-Mode", "same-origin"), ("If-None-Match", '"v1"')])
    assert origin.requests[-1].all("If-None-Match") == []  # or the browser would draw with what it has


@pytest.mark.parametrize("name, value", [
    ("Reporting-Endpoints", 'a="https://static.hotjar.com"'),
    ("Reporting-Endpoints", 'a="https:static.hotjar.com/x"'),
    ("Report-To", '{"group":"a","max_age":1,"endpoints":[{"url":"https:\\u002f\\u002fstatic.hotjar.com"}]}'),
    ("Report-To", '{"group":"a","max_age":1,"endpoints":[{"url":"https:\\\\\\\\static.hotjar.com"}]}'),
])
def test_odd_spellings_of_an_address(proxy, origin, name, value):
    origin.routes["/odd"] = http_response(200, [HTML, (name, value)], b"<p>x")
    assert proxy.get("/odd").header(name) is None
    harmless = value.replace("hotjar", "example")
    origin.routes["/odd"] = http_response(200, [HTML, (name, harmless)], b"<p>x")
    assert proxy.get("/odd").header(name) == harmless


OWN_LINKS = [
    b'{"prefetch": [{"source": "document", "where": {"and": [{"href_matches": "\\/*"}, {"not": {"href_matches": '
    b'["/wp-*.php", "/*\\\\?(.+)"]}}, {"not": {"selector_matches": "a[rel~=nofollow]"}}]}, "eagerness": "moderate"}]}',
    b'{"prefetch": [{"where": {"or": [{"href_matches": "/a"}, {"href_matches": {"pathname": "/b"}}]}}], "tag": "x"}',
    b'{"prerender": [{"urls": ["/next", "https://other.example/where"]}]}',
    b"no rules",
]
ANY_LINKS = [
    b'{"prefetch": [{"source": "document"}]}',
    b'{"prefetch": [{"where": {}}]}',
    b'{"prefetch": [{"where": {"and": []}}]}',
    b'{"prefetch": [{"where": {"href_matches": "//*/*"}}]}',
    b'{"prefetch": [{"where": {"href_matches": "https://*/*"}}]}',
    b'{"prefetch": [{"where": {"href_matches": ["/a", {"hostname": "*"}]}}]}',
    b'{"prefetch": [{"where": {"or": [{"href_matches": "/a"}, {"not": {"href_matches": "/b"}}]}}]}',
    b'{"prefetch": [{"wh\\u0065re": {"not": {"href_matches": "/b"}}}]}',
    b'{"prefetch": [{"where": {"href_matches": "/a"}}], "prerender": [{"where": {"selector_matches": "a"}}]}',
]


@pytest.mark.parametrize("rules, stay", [(r, True) for r in OWN_LINKS] + [(r, False) for r in ANY_LINKS])
def test_rules_for_links_stay_where_only_own_links_are_meant(proxy, origin, rules, stay):
    origin.routes["/rules"] = http_response(200, [RULES], rules)
    origin.routes["/ruled"] = http_response(200, [HTML], b'<script type="speculationrules">' + rules + b"</script>")
    assert proxy.get("/rules").body == (rules if stay else b"{}")
    assert (rules in proxy.get("/ruled").body) == stay
    all_of_it = [("Cookie", decide(proxy, "analytics", "marketing"))]
    assert proxy.get("/rules", all_of_it).body == rules and rules in proxy.get("/ruled", all_of_it).body


def test_rules_of_a_file_keep_what_is_not_denied(proxy, origin):
    origin.routes["/rules"] = http_response(200, [RULES, ("Cache-Control", "max-age=60")], LIST.replace(
        b"[{", b'[{"urls": ["/own"]}, {'))
    answer = proxy.get("/rules")
    assert b'{"urls": ["/own"]}' in answer.body and b"facebook" not in answer.body
    assert answer.header("Cache-Control").startswith("private")


def test_links_with_own_pictures_stay(proxy, origin):
    link = '</a.png>; rel=preload; as=image; imagesrcset="/a.png 1x, https://img.example/b.png 2x"; imagesizes="50vw"'
    origin.routes["/own"] = http_response(200, [HTML, ("Link", link)], b"<p>x")
    assert proxy.get("/own").header("Link") == link
