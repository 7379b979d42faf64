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


SLY = """
var T = 'https://www.facebook.com/tr?id=';
localStorage._hjid = 1; sessionStorage['_hjid'] = 1; localStorage.mine = 'x';
var request = indexedDB.open('_hjid'); request.onsuccess = function () { window.opened = 1; };
var frame = document.createElement('iframe'); document.body.appendChild(frame);
var borrowed = frame.contentWindow.fetch; borrowed(T + 1, {mode: 'no-cors'});
new frame.contentWindow.Image().src = T + 2;
window[window.length - 1].navigator.sendBeacon(T + 3, 'a');
var box = document.createElement('div'); document.body.append(box);
box.style.cssText = 'background:url(' + T + '4)'; box.style.backgroundImage = 'url("' + T + '5")';
box.style.setProperty('list-style-image', 'url(' + T + '6)'); box.setAttribute('style', 'background:url(' + T + '7)');
var style = document.createElement('style'); style.appendChild(document.createTextNode('h1{background:url(' + T + '8)}'));
style.append('@import "' + T + '9";'); document.head.append(style);
box.innerHTML = '<style>h1{background:url(' + T + '10)}</style><p style="background:url(' + T + '11)">x</p>';
var attr = document.createAttribute('src'); attr.value = T + 12;
var img = new Image(); img.setAttributeNode(attr);
var other = new Image(); other.setAttribute('src', '/own.png'); other.attributes.src.value = T + 13;
document.write('<scr'); document.write('ipt src="https://connect.facebook.net/en_US/fbevents.js"></scr'); document.write('ipt>');
var parsed = new DOMParser().parseFromString('<img src="' + T + '14">', 'text/html'); document.body.append(parsed.body.firstChild);
"""
WORKER = b"""/* a */ 'use strict';
self.onmessage = function () {
  var strict = (function () { return !this; })();
  fetch('https://www.facebook.com/tr?id=20', {mode: 'no-cors'}).catch(function () {});
  importScripts('https://connect.facebook.net/en_US/fbevents.js', '/part.js');
  postMessage([strict, self.part, String(fetch)]);
};"""
MODULE = b"onmessage = () => { new XMLHttpRequest().open('GET', 'https://static.hotjar.com/x'); fetch('https://www.facebook.com/tr?id=21'); postMessage('done'); };"
SERVICE = b"""onactivate = event => event.waitUntil(clients.claim());
onfetch = event => { if (/beat/.test(event.request.url)) event.respondWith(fetch('https://www.facebook.com/tr?id=22', {mode: 'no-cors'})
  .then(() => new Response('done'))); };"""


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
    javascript = [("Content-Type", "text/javascript")]
    origin.routes["/sly"] = origin.routes["/"].replace(b"/track.js", b"/slyer.js").replace(b"Content-Length", b"X-Length") \
        .replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    origin.routes["/slyer.js"] = http_response(200, javascript, SLY.encode())
    origin.routes["/worker.js"] = http_response(200, javascript, WORKER)
    origin.routes["/zipped.js"] = http_response(200, javascript + [("Content-Encoding", "gzip")], gzip.compress(WORKER))
    origin.routes["/part.js"] = http_response(200, javascript, b"self.part = 'part';")
    origin.routes["/module.js"] = http_response(200, javascript, MODULE)
    origin.routes["/service.js"] = http_response(200, javascript, SERVICE)
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
    script, rules = answer.body.rsplit(b"({u:", 1)
    assert len(gzip.compress(script, 9)) <= 3072
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


def test_the_sly_ways_do_not_escape(browser, proxy, trackers):
    browser.get(f"http://localhost:{proxy.port}/late")
    browser.execute_script("localStorage.clear()")
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/sly")
    settled(browser)
    assert asked(trackers) == []
    assert browser.execute_script(
        "return [Object.keys(localStorage), sessionStorage.length, window.opened || 0, localStorage.mine]") == [["mine"], 0, 0, "x"]
    assert browser.execute_async_script("indexedDB.databases().then(arguments[0])") == []
    browser.execute_script("localStorage.clear()")
    assert errors(browser) == []


@pytest.mark.parametrize("path", ["/worker.js", "/zipped.js"])
def test_a_worker_gets_the_companion(browser, proxy, trackers, path):
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/late")
    got = browser.execute_async_script("""var w = new Worker(arguments[0]), done = arguments[1];
        w.onmessage = function (e) { done(e.data); }; w.onerror = function (e) { done(e.message); }; w.postMessage(1);""", path)
    assert got == [True, "part", "function fetch() { [native code] }"]
    assert asked(trackers) == []
    answer = proxy.get(path, headers=[("Sec-Fetch-Dest", "worker"), ("Accept-Encoding", "gzip")])
    assert len(answer.body) > len(WORKER) + 1000 and answer.header("ETag") is None
    assert proxy.get("/worker.js", headers=[("Sec-Fetch-Dest", "script")]).body == WORKER


def test_modules_and_service_workers_too(browser, proxy, trackers):
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/late")
    assert browser.execute_async_script("""var w = new Worker('/module.js', {type: 'module'}), done = arguments[0];
        w.onmessage = function (e) { done(e.data); }; w.onerror = function () { done('error'); }; w.postMessage(1);""") == "done"
    assert browser.execute_async_script("""var done = arguments[0];
        navigator.serviceWorker.addEventListener('controllerchange', function () {
            fetch('/beat').then(function (r) { return r.text(); }).then(done); });
        navigator.serviceWorker.register('/service.js').catch(function (e) { done(String(e)); });""") == "done"
    assert browser.execute_async_script("""var done = arguments[0];
        navigator.serviceWorker.getRegistration().then(function (r) { return r.unregister(); }).then(done);""") is True
    assert asked(trackers) == []
    errors(browser)


def test_what_was_called_is_handed_over(browser, proxy):
    """The calls that a stand-in took reach the real one, once and in order."""
    browser.get(f"http://localhost:{proxy.port}/benign")
    settled(browser)
    assert browser.execute_script("""
        fbq('init', 1); fbq('track', 'A'); ttq.track('B'); dataLayer.push('first');
        window.got = [];
        document.dispatchEvent(new CustomEvent('consent:change', {detail: {decided: true, grants: {marketing: true, analytics: true}}}));
        var gone = typeof fbq;
        window.fbq = function () { got.push([].slice.call(arguments).join()); };
        window.ttq = {track: function (a) { got.push('ttq ' + a); }};
        return [gone, dataLayer.length];""") == ["undefined", 1]
    until(lambda: browser.execute_script("return got") == ["init,1", "track,A", "ttq B"])


def test_no_trace_in_errors(browser, proxy):
    browser.get(f"http://localhost:{proxy.port}/benign")
    stacks = browser.execute_script("""return [() => document.body.appendChild(1), () => fetch.call(1), () => document.createElement('p').setAttribute('<', 1),
        () => new WebSocket('no:'), () => localStorage.setItem()].map(f => { try { f(); return ''; } catch (e) { return [e.constructor.name, String(e.stack)]; } })""")
    assert [name for name, _ in (stack for stack in stacks if stack)][:1] == ["TypeError"]
    errors(browser)  # those are what was asked for
    assert not [stack for stack in stacks if "guard.js" in str(stack) or "Reflect" in str(stack)]
    assert browser.execute_script("""return [localStorage instanceof Storage, document.body.style instanceof CSSStyleDeclaration,
        document.body.style === document.body.style, localStorage === window.localStorage, Object.keys(fetch).length,
        localStorage.getItem === Storage.prototype.getItem, new Image() instanceof Image, Object.prototype.toString.call(localStorage)]""") == \
        [True, True, True, True, 0, True, True, "[object Storage]"]


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
