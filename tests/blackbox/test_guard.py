"""The companion in real Chromium: what a page's own scripts fetch and store before consent."""
import gzip
import json
import re

import pytest

from harness import ROOT, Origin, Proxy, http_response
from test_browser import Trackers, asked, errors, settled, start_browser, until

pytest.importorskip("selenium")

BENIGN = """
window.log = [];
var bare = document.createElement('div');
bare.innerHTML = '<img data-src="https://www.facebook.com/tr?id=1" src="/own.png"><a href="https://www.facebook.com/tr?id=1">x</a>';
log.push(bare.querySelector('img').getAttribute('src'), bare.querySelector('a').getAttribute('href'));
document.cookie = 'basket=1'; localStorage.setItem('basket', '1');
log.push(/basket=1/.test(document.cookie), localStorage.getItem('basket'));
log.push(String(fetch), String(document.createElement('i').setAttribute), fetch.name, XMLHttpRequest.prototype.open.length);
log.push(new WebSocket('ws://' + location.host + '/x') instanceof WebSocket, WebSocket.prototype.constructor === WebSocket);
log.push(Function.prototype.toString.toString(), new Image() instanceof HTMLImageElement);
"""
TRACKING = """
var T = 'https://www.facebook.com/tr?id=', s = document.createElement('script');
s.src = 'https://www.googletagmanager.com/gtag/js?id=G-1'; document.head.appendChild(s);
var a = document.createElement('script'); a.setAttribute('src', 'https://connect.facebook.net/en_US/fbevents.js');
document.head.append(a);
new Image().src = T + 1;
var d = document.createElement('div'); d.innerHTML = '<img src="' + T + '2&amp;ev=x">'; document.body.append(d);
d.insertAdjacentHTML('beforeend', '<iframe src="https://www.youtube.com/embed/abc"></iframe>');
document.write('<img src="' + T + '3">');
var f = document.createElement('iframe'); f.src = 'https://www.youtube.com/embed/x'; document.body.append(f);
var img = new Image(); img.srcset = T + '4 1x, ' + T + '5 2x';
fetch(T + 6, {mode: 'no-cors'}); fetch(new Request(T + 7, {mode: 'no-cors'}));
var x = new XMLHttpRequest(); x.open('POST', T + 8); x.send('a');
navigator.sendBeacon(T + 9, 'a');
new EventSource('https://static.hotjar.com/e'); new WebSocket('wss://static.hotjar.com/w');
try { new Worker('https://static.hotjar.com/worker.js'); } catch (e) { /* what browsers do with consent */ }
var style = document.createElement('style'); style.textContent = 'body{background:url(' + T + '10)}'; document.head.append(style);
style.sheet.insertRule('h1{background:url("' + T + '11")}');
document.cookie = '_ga=GA1.1.1.1; path=/'; localStorage.setItem('_hjid', '1');
fbq('track', 'PageView'); hj('event', 'x'); gtag('event', 'click', {event_callback: function () { window.called = 1; }});
dataLayer.push({a: 1});
"""
PAGE = """<!DOCTYPE html><html lang="en"><head><title>t</title><script>%s</script></head>
<body><h1>x</h1><script>%s</script><script src="/own.js"></script></body></html>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guard")


@pytest.fixture(scope="module")
def trackers(folder):
    server = Trackers(folder)
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8")]
    origin.routes["/"] = http_response(200, html, PAGE.replace("<script>%s</script></head>", "</head>")
        .replace("<script>%s</script>", '<script src="/track.js"></script>').encode())
    origin.routes["/track.js"] = http_response(200, [("Content-Type", "text/javascript")], TRACKING.encode())
    origin.routes["/benign"] = http_response(200, html, PAGE.replace("<script>%s</script></head>", '<script src="/benign.js"></script></head>')
        .replace("<script>%s</script>", "").encode())
    origin.routes["/benign.js"] = http_response(200, [("Content-Type", "text/javascript")], BENIGN.encode())
    nonce = [("Content-Security-Policy", "script-src 'nonce-abc123' 'strict-dynamic'")]
    origin.routes["/nonce"] = http_response(
        200, html + nonce, b"<!DOCTYPE html><title>t</title><p>x<script nonce=abc123>"
        b"window.seen = String(fetch(\"https://connect.facebook.net/x\"));"
        b"document.documentElement.dataset.own = 'ran'</script>")
    for path in ("/own.js", "/own.png"):
        origin.routes[path] = http_response(200, [("Content-Type", "text/javascript")],
                                            b"document.documentElement.dataset.own = 'ran';")
    origin.routes["/bare"] = http_response(200, html, b"\n<!-- > --><!doctype html>\n<HTML a='>'><body>x")
    origin.routes["/late"] = http_response(200, html, b"<p>x")
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()
    origin.stop()


@pytest.fixture(scope="module")
def browser(trackers):
    driver, profile = start_browser(trackers)
    yield driver
    driver.quit()


def document(proxy, path, headers=()):
    return proxy.get(path, headers=[("Sec-Fetch-Dest", "document"), *headers])


def test_its_place_and_its_address(proxy):
    element = rb'<script data-consent-guard="" src="(/\.consent/guard\.js\?v=[0-9a-f]{44})"></script>'
    assert re.search(rb"<head>" + element + rb"<title>", document(proxy, "/").body)
    assert re.match(rb"\n<!-- > --><!doctype html>\n<HTML a='>'>" + element + b"<body>", document(proxy, "/bare").body)
    assert re.match(element + b"<div data-consent-banner", document(proxy, "/late").body)
    assert b"consent-guard" not in proxy.get("/", headers=[("Sec-Fetch-Dest", "empty")]).body
    path = re.search(element, document(proxy, "/").body).group(1).decode()
    answer = proxy.get(path)
    assert "immutable" in answer.header("Cache-Control")
    assert proxy.get("/.consent/guard.js?v=0").header("Cache-Control") == "no-store"
    script, rules = answer.body.rsplit(b"\n({u:", 1)
    assert len(gzip.compress(script, 9)) <= 4096
    assert len(gzip.compress(answer.body, 9)) <= 16384
    assert b"_fbp" in rules and b"connect.facebook.net" in rules


def test_nothing_escapes_before_consent(browser, proxy, trackers):
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/")
    settled(browser)
    assert asked(trackers) == []
    assert browser.execute_script("return [document.cookie, localStorage.length, window.called]") == ["", 0, 1]
    assert errors(browser) == []


def test_benign_code_notices_nothing(browser, proxy):
    browser.get(f"http://localhost:{proxy.port}/benign")
    settled(browser)
    assert browser.execute_script("return window.log") == [
        "/own.png", "https://www.facebook.com/tr?id=1", True, "1", "function fetch() { [native code] }",
        "function setAttribute() { [native code] }", "fetch", 2, True, True,
        "function toString() { [native code] }", True]
    errors(browser)  # its own socket finds no peer here


def test_the_nonce_of_a_strict_policy(browser, proxy, trackers):
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/nonce")
    settled(browser)
    assert browser.execute_script("return window.seen") == "[object Promise]"
    assert asked(trackers) == []
    assert errors(browser) == []


def test_left_over_from_before_is_cleared(browser, proxy):
    """A tag writes its cookie back while its page is left, after the refusal."""
    browser.get(f"http://localhost:{proxy.port}/benign")
    browser.add_cookie({"name": "_fbp", "value": "1"})
    assert "_fbp" in json.dumps(browser.get_cookies())
    browser.get(f"http://localhost:{proxy.port}/late")
    until(lambda: "_fbp" not in browser.execute_script("return document.cookie"))
    assert "basket" in browser.execute_script("return document.cookie")


def test_consent_on_the_page_lifts_it(browser, proxy, trackers):
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/")
    settled(browser)
    browser.find_element("css selector", '[data-consent-action="accept-all"]').click()
    until(lambda: trackers.asked["www.googletagmanager.com"] == 1)
    until(lambda: "_ga" in [cookie["name"] for cookie in browser.get_cookies()])
    assert "consent-guard" not in browser.page_source


def examples(kind, key):
    """(text, denied without consent) of every example of the rule sets."""
    essential = {path.stem for path in (ROOT / "rules/sets").glob("*.json")
                 if json.loads(path.read_text())["category"] == "essential"}
    for path in sorted((ROOT / "rules/tests").glob("*.json")):
        for item in json.loads(path.read_text()).get(kind, []):
            passes = item["verdict"] is None or item["verdict"] in essential or item.get("category") == "essential"
            if not item[key].startswith("/"):
                yield item[key], not passes


def passed_on(proxy, names):
    """The names among them that the proxy hands on to the origin."""
    del proxy.origin.requests[:]
    for at in range(0, len(names), 40):
        assert proxy.get("/late", headers=[("Cookie", "; ".join(f"{n}=1" for n in names[at:at + 40]))]).status == 200
    fields = [value for request in proxy.origin.requests for name, value in request.headers if name.lower() == "cookie"]
    return [pair.split("=")[0] for field in fields for pair in field.split("; ")]


def test_its_verdicts_are_those_of_the_proxy(browser, proxy):
    browser.get(f"http://localhost:{proxy.port}/late")
    browser.delete_all_cookies()
    browser.get(f"http://localhost:{proxy.port}/late")
    urls = dict(examples("urls", "url"))
    names = sorted({name for name, _ in examples("cookies", "name") if not name.startswith("__")})  # no TLS here
    got = browser.execute_script("""return arguments[0].map(function (url) {
        var track = document.createElement('track');
        track.setAttribute('src', url);
        return !track.hasAttribute('src');
    })""", list(urls))
    assert [url for url, no in zip(urls, got) if no != urls[url]] == []
    got = browser.execute_script("""return arguments[0].filter(function (name) {
        document.cookie = name + '=1';
        var kept = document.cookie.split('; ').indexOf(name + '=1') >= 0;
        document.cookie = name + '=; max-age=0';
        return kept;
    })""", names)
    assert sorted(got) == sorted(passed_on(proxy, names))
    assert sum(urls.values()) > 100 and len(names) - len(got) > 100
