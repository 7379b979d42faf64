"""The companion in real Chromium: what a page's own scripts fetch and store before consent."""
import gzip
import json
import re

import pytest

from chromium import asked, chromium, errors, settled, until
from harness import ROOT, Origin, Proxy, http_response
from test_enforce import decide

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
window.stored = [Object.keys(localStorage).join(), sessionStorage.length];
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
box.innerHTML = '<p style="background-image:url(&quot;' + T + '23&quot;)">x</p><p style=background-image:url(' + T + '24)>x</p>'
  + '<p style="background-image:image-set(&quot;/own.png&quot; 2x, &quot;' + T + '25&quot; 1x)">x</p>';
box.style.cssText = 'background-image:image-set("/own.png" 2x, "' + T + '26" 1x);list-style-image:image-set(url("' + T + '27") 1x)';
document.write('<scr'); document.write('ipt src="https://connect.facebook.net/en_US/fbevents.js"></scr'); document.write('ipt>');
var parsed = new DOMParser().parseFromString('<img src="' + T + '14">', 'text/html'); document.body.append(parsed.body.firstChild);
new FontFace('sly', 'url(' + T + '15)').load().catch(function () {});
if (window.fetchLater) fetchLater(T + 16, {activateAfter: 0});
var sheet = document.createElement('style'); sheet.textContent = 'p{}'; document.head.append(sheet);
sheet.sheet.cssRules[0].style.backgroundImage = 'url(' + T + '17)'; sheet.sheet.cssRules[0].style.cssText += ';list-style:url(' + T + '18)';
var inner = document.createElement('iframe'); inner.setAttribute('srcdoc', '<img src="' + T + '19">'); document.body.append(inner);
"""
WORKER = b"""/* a */ 'use strict';
self.onmessage = function () {
  var strict = (function () { return !this; })();
  fetch('https://www.facebook.com/tr?id=20', {mode: 'no-cors'}).catch(function () {});
  importScripts('https://connect.facebook.net/en_US/fbevents.js', '/part.js');
  postMessage([strict, self.part, String(fetch)]);
};"""
MODULE = b"import 'https://connect.facebook.net/m.js'; import('https://connect.facebook.net/n.js').catch(() => {}); onmessage = () => { new XMLHttpRequest().open('GET', 'https://static.hotjar.com/x'); fetch('https://www.facebook.com/tr?id=21'); postMessage('done'); };"
SERVICE = b"""onactivate = event => event.waitUntil(clients.claim());
onfetch = event => { if (/beat/.test(event.request.url)) event.respondWith(fetch('https://www.facebook.com/tr?id=22', {mode: 'no-cors'})
  .then(() => new Response('done'))); };"""


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
        b"window.seen = String(fetch(\"https://connect.\" + \"facebook.net/x\"));"
        b"document.documentElement.dataset.own = 'ran'</script>")
    javascript = [("Content-Type", "text/javascript")]
    origin.routes["/hashed"] = http_response(200, html + [("Content-Security-Policy", "script-src 'self'")], b"<!DOCTYPE html><title>t</title><p>x")
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
    with chromium(trackers) as driver:
        yield driver


def document(proxy, path, headers=()):
    return proxy.get(path, headers=[("Sec-Fetch-Dest", "document"), *headers])


def test_its_place_and_its_address(proxy):
    element = rb'<script data-consent-guard="" src="(/\.consent/guard\.js\?v=[0-9a-f]{44})"></script><link rel=expect href=#cnsnt blocking=render>'
    assert re.search(rb"<head>" + element + rb"<title>", document(proxy, "/").body)
    assert re.match(rb"\n<!-- > --><!doctype html>\n<HTML a='>'>" + element + b"<body>", document(proxy, "/bare").body)
    assert re.match(element + b"<div data-consent-banner", document(proxy, "/late").body)
    assert b"consent-guard" not in proxy.get("/", headers=[("Sec-Fetch-Dest", "empty")]).body
    path = re.search(element, document(proxy, "/").body).group(1).decode()
    answer = proxy.get(path)
    assert "immutable" in answer.header("Cache-Control")
    assert proxy.get("/.consent/guard.js?v=0").header("Cache-Control") == "no-store"
    for _ in range(2):  # made, and kept
        for coding in ("gzip", "br", "zstd"):
            coded = proxy.get(path, headers=[("Accept-Encoding", coding)])
            assert (coded.header("Content-Encoding"), coded.header("Vary")) == (coding, "Accept-Encoding")
            assert len(coded.body) < len(answer.body) / 2 and (coding != "gzip" or gzip.decompress(coded.body) == answer.body)
    assert proxy.get("/.consent/banner.js", headers=[("Accept-Encoding", "br")]).header("Content-Encoding") == "br"
    script, rules = answer.body.rsplit(b"({u:", 1)
    assert len(gzip.compress(script, 9)) <= 3072
    assert len(gzip.compress(answer.body, 9)) <= 9472
    assert b"_fbp" in rules and b"connect.facebook.net" in rules


def test_a_visitor_from_elsewhere_does_not_wait_for_it(proxy):
    """The script stands in the page; whoever may have the file already, or has another one by a decision, gets the address."""
    element = rb'<script data-consent-guard=""( nonce="abc123")?>(\(function.*\}\);\n)//# sourceURL=guard\.js\n</script>'
    file = proxy.get(re.search(rb'data-consent-guard="" src="([^"]*)"', document(proxy, "/").body)[1].decode()).body

    def arriving(path, where, *more):
        return document(proxy, path, [("Sec-Fetch-Site", where), *more]).body
    for path in ("/", "/nonce"):
        for where in ("none", "cross-site", "same-site"):
            found = re.search(element, arriving(path, where), re.S)
            assert found and found[2] == file and bool(found[1]) == (path == "/nonce")
            assert b"</script" not in found[2] and b"<!--" not in found[2] and found[2].isascii()
    assert not re.search(element, arriving("/", "same-origin"), re.S)
    assert not re.search(element, arriving("/", "none", ("Cookie", decide(proxy, "analytics"))), re.S)
    assert b'data-consent-guard="" src=' in arriving("/", "same-origin") and b'data-consent-guard="" src=' in arriving("/hashed", "none")


def test_nothing_escapes_before_consent(browser, proxy, trackers):
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/")
    settled(browser)
    assert asked(trackers) == []
    assert errors(browser) == []
    assert browser.execute_script("return [document.cookie, localStorage.length, window.called]") == ["", 0, 1]


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
        "return [stored, sessionStorage.length, window.opened || 0, localStorage.mine]") == [["mine", 0], 0, 0, "x"]
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


BOTH = b"""const work = port => fetch('https://www.facebook.com/tr?id=40', {mode: 'no-cors'}).catch(() => {}).then(() => {
  try { importScripts('https://connect.facebook.net/en_US/fbevents.js'); } catch { /* a module has none */ }
  port.postMessage('done');
});
if (self.document) document.documentElement.dataset.own = 'ran';
else if (self.postMessage) work(self);
else onconnect = event => work(event.ports[0]);"""


@pytest.mark.parametrize("fields", [[], [("ETag", '"1"')], [("Last-Modified", "Sat, 28 Nov 2026 08:00:00 GMT")]])
@pytest.mark.parametrize("age", [3600, 0])
def test_a_script_that_the_page_has_already(browser, proxy, trackers, age, fields):
    """Started as a worker it comes with the companion, whatever the browser kept of it; and the other way round."""
    path = f"/both-{age}-{len(fields) and fields[0][0]}.js"
    cached = [("Content-Type", "text/javascript"), ("Cache-Control", f"max-age={age}"), *fields]
    whole = http_response(200, cached, BOTH)

    def answer(conn, request):
        same = request.all("If-None-Match") or request.all("If-Modified-Since")
        return http_response(304, fields) if same else whole
    proxy.origin.routes[path] = answer if fields else whole
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/late")
    run = """var s = document.createElement('script'), done = arguments[1]; s.src = arguments[0]; s.onload = function () { done(true); }; document.head.append(s);"""
    assert browser.execute_async_script(run, path)
    for made in ("new Worker(path)", "new Worker(path, {type: 'module'})", "new SharedWorker(path).port"):
        got = browser.execute_async_script(f"""var path = arguments[0], done = arguments[1], w = {made};
            w.onmessage = function (e) {{ done(e.data); }}; w.onerror = function (e) {{ done(e.message || 'error'); }};""", path)
        assert got == "done", made
        assert browser.execute_async_script("fetch(arguments[0]).then(a => a.text()).then(arguments[1])", path) == BOTH.decode()
    assert asked(trackers) == []
    errors(browser)  # what was stopped


INNER = """%sonmessage = function () {
  fetch('https://www.facebook.com/tr?id=30', {mode: 'no-cors'}).catch(function () {});
  var post = function (inner) { (self.port || self).postMessage([inner, String(fetch), location.protocol, 'ü']); };
  if (!self.Worker) return post('in');  // a shared worker makes none
  var inner = new Worker(URL.createObjectURL(new Blob(["fetch('https://www.facebook.com/tr?id=31', {mode: 'no-cors'}); postMessage('in')"])));
  inner.onmessage = function (event) { post(event.data); };
};"""
MAKE = """var text = arguments[0], how = arguments[1], done = arguments[2], url, worker;
if (how === 'data') url = 'data:text/javascript,' + encodeURIComponent(text);
else if (how === 'base64') url = 'data:text/javascript;charset=utf-8;base64,' + btoa(unescape(encodeURIComponent(text)));
else url = URL.createObjectURL(new Blob([text], {type: 'text/javascript'}));
if (how === 'shared') {
  worker = new SharedWorker(url, 'x');
  if (new SharedWorker(url, 'x').port === worker.port) done('one port');
  worker.port.onmessage = function (event) { done(event.data); };
  worker.port.postMessage(1);
} else {
  worker = new Worker(url, how === 'module' ? {type: 'module'} : undefined);
  URL.revokeObjectURL(url);
  worker.onmessage = function (event) { done(event.data); };
  worker.postMessage(1);
}
worker.onerror = function (event) { done(event.message || 'error'); };"""
SHARED = "onconnect = function (event) { self.port = self.port || event.ports[0]; port.onmessage = self.onmessage; };"


@pytest.mark.parametrize("how", ["classic", "module", "data", "base64", "shared"])
def test_a_worker_made_in_the_page_gets_it_too(browser, proxy, trackers, how):
    trackers.asked.clear()
    browser.get(f"http://localhost:{proxy.port}/late")
    got = browser.execute_async_script(MAKE, INNER % "" + (SHARED if how == "shared" else ""), how)
    assert got == ["in", "function fetch() { [native code] }", "data:" if how in ("data", "base64") else "blob:", "ü"]
    assert asked(trackers) == []
    # other blobs are what they were
    assert browser.execute_async_script("""var done = arguments[0], url = URL.createObjectURL(new Blob(['plain']));
        fetch(url).then(function (r) { return r.text(); }).then(function (t) { URL.revokeObjectURL(url);
            fetch(url).then(function () { done('kept'); }, function () { done(t); }); });""") == "plain"
    errors(browser)


def test_the_cookie_store(browser, proxy):
    browser.delete_all_cookies()
    browser.get(f"http://localhost:{proxy.port}/late")
    assert browser.execute_async_script("""var done = arguments[0];
        Promise.all([cookieStore.set('_fbp', '1'), cookieStore.set({name: '_ga', value: '1'}), cookieStore.set('own', '1')])
            .then(function (all) { return cookieStore.getAll().then(function (list) {
                return cookieStore.delete('own').then(function () { done([all, list.map(function (c) { return c.name; })]); }); }); });""") == \
        [[None, None, None], ["own"]]


# What a page's own code could look at. The same text runs where everything is granted, without the companion.
BATTERY = r"""
function about(f) {
  var out = [typeof f, f.name, f.length, String(f), Function.prototype.toString.call(f), Object.prototype.toString.call(f),
    Reflect.ownKeys(f).map(String).join(), f instanceof Function, Object.getPrototypeOf(f) === Function.prototype || Object.getPrototypeOf(f).name,
    'prototype' in f, Object.isExtensible(f), Reflect.ownKeys(f).map(function (k) { var d = Object.getOwnPropertyDescriptor(f, k); return [d.writable, d.enumerable, d.configurable].join(''); }).join()];
  try { f.call(1); out.push('called'); } catch (e) { out.push(e.constructor.name, e.message, /guard|Reflect/.test(e.stack)); }
  try { new f(); out.push('made'); } catch (e) { out.push(e.constructor.name, e.message.replace(/^\S+ is/, 'it is'), /guard|Reflect/.test(e.stack)); }
  return out.join('|');
}
var out = {}, names = 'Function.prototype.toString fetch Worker SharedWorker WebSocket EventSource URL.createObjectURL URL.revokeObjectURL XMLHttpRequest.prototype.open Navigator.prototype.sendBeacon Element.prototype.setAttribute Element.prototype.insertAdjacentHTML Node.prototype.appendChild Node.prototype.insertBefore Element.prototype.append Document.prototype.write Storage.prototype.setItem Storage.prototype.getItem CSSStyleDeclaration.prototype.setProperty CSSStyleSheet.prototype.insertRule IDBFactory.prototype.open CookieStore.prototype.set Range.prototype.createContextualFragment DOMParser.prototype.parseFromString'.split(' ');
names.forEach(function (path) { var f = path.split('.').reduce(function (o, k) { return o[k]; }, window); out[path] = about(f); });
'HTMLImageElement.src HTMLScriptElement.src HTMLIFrameElement.srcdoc Element.innerHTML Node.textContent Attr.value Document.cookie HTMLElement.style window.localStorage HTMLIFrameElement.contentWindow CSSStyleDeclaration.cssText CSSStyleRule.style'.split(' ').forEach(function (path) {
  var parts = path.split('.'), owner = parts[0] === 'window' ? window : window[parts[0]].prototype, d = Object.getOwnPropertyDescriptor(owner, parts[1]);
  out[path] = [d.enumerable, d.configurable, d.get && about(d.get), d.set && about(d.set)].join('/');
});
'Worker WebSocket EventSource SharedWorker FontFace'.split(' ').forEach(function (name) {
  var C = window[name], d = Object.getOwnPropertyDescriptor(window, name);
  out[name + ' class'] = [d.enumerable, d.writable, C.prototype.constructor === C, C.CLOSED, class extends C {}.prototype instanceof C, Object.keys(C).join()].join();
});
class Own extends WebSocket { constructor(url) { super(url); this.mine = 1; } }
var own = new Own('ws://' + location.host + '/x');
out.subclass = [own instanceof Own, own instanceof WebSocket, own.constructor.name, own.mine, own.readyState, Object.keys(own).join()].join();
class Request2 extends XMLHttpRequest { open(method, url) { this.seen = url; return super.open(method, url); } }
var request = new Request2(); request.open('GET', '/own.png');
out.xhr = [request.seen, request.readyState, request instanceof XMLHttpRequest].join();
var style = document.createElement('p').style;
style.color = 'red'; style.setProperty('margin-top', '1px'); style['padding-left'] = '2px'; style.webkitTransition = 'none';
out.style = [style.cssText, style.length, style[0], style.color, 'color' in style, 'nonsense' in style, Object.keys(style).length, String(style), style instanceof CSSStyleDeclaration,
  style.parentRule, delete style.color, style.color, Object.getPrototypeOf(style) === CSSStyleDeclaration.prototype, JSON.stringify(style).length, style.item(0)].join();
Object.assign(style, {color: 'blue', width: '3px'}); style.own = 5; out.assigned = [style.color, style.width, style.own].join();
var p = document.createElement('p'); p.style = 'color: green'; out.forward = p.getAttribute('style') + p.style.cssText;
localStorage.clear(); localStorage.a = 1; localStorage.setItem('b', 2); localStorage['c'] = {};
out.storage = [Object.keys(localStorage).sort().join(), localStorage.length, localStorage.a, 'b' in localStorage, 'd' in localStorage, localStorage.d, JSON.stringify(localStorage, Object.keys(localStorage).sort()), delete localStorage.a, localStorage.length,
  String(localStorage), localStorage.hasOwnProperty('b'), localStorage instanceof Storage, [localStorage.key(0), localStorage.key(1)].sort().join(), Object.entries(localStorage).sort().join(';'), localStorage === window.localStorage].join();
localStorage.clear();
// what libraries ask before they trust a native: lodash, core-js, jQuery, React, Zone.js, Vue
var native = RegExp('^' + Function.prototype.toString.call(Object.prototype.hasOwnProperty).replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replace(/hasOwnProperty|(function).*?(?=\\\()| for .+?(?=\\\])/g, '$1.*?') + '$');
out.lodash = [fetch, Worker, document.createElement('i').setAttribute, XMLHttpRequest.prototype.open].map(function (f) { return native.test(Function.prototype.toString.call(f)); }).join();
out.corejs = String(Function.prototype.toString).indexOf('native code') > 0 && !('inspectSource' in Function);
var div = document.createElement('div'); div.innerHTML = '   <link/><table></table><a href="/a" style="top:1px">a</a><input type="checkbox"/>';
out.jquery = [div.firstChild.nodeType, div.getElementsByTagName('tbody').length, div.getElementsByTagName('link').length, div.getElementsByTagName('a')[0].getAttribute('href'), /top/.test(div.getElementsByTagName('a')[0].getAttribute('style')), div.cloneNode(true).innerHTML].join();
var input = document.createElement('input'); input.setAttribute('value', 'x'); var tracked = Object.getOwnPropertyDescriptor(input.constructor.prototype, 'value');
out.react = [typeof tracked.get, typeof tracked.set, input.hasOwnProperty('value'), input.value].join();
var seen = []; var open = XMLHttpRequest.prototype.open; XMLHttpRequest.prototype.open = function () { seen.push(arguments[1]); return open.apply(this, arguments); };
var patched = new XMLHttpRequest(); patched.open('GET', '/own.js'); XMLHttpRequest.prototype.open = open; out.zone = [seen.join(), patched.readyState, XMLHttpRequest.prototype.open === open].join();
var image = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, 'src'), noted = [];
Object.defineProperty(HTMLImageElement.prototype, 'src', {configurable: true, enumerable: true, get: image.get, set: function (v) { noted.push(v); image.set.call(this, v); }});
new Image().src = '/own.png'; Object.defineProperty(HTMLImageElement.prototype, 'src', image); out.patched = noted.join();
var box = document.createElement('div'), list = []; new MutationObserver(function () {}).observe(box, {attributes: true}); box.setAttribute('data-src', 'https://www.facebook.com/tr?id=1'); box.innerHTML = '<p data-href="https://www.facebook.com/">x</p>';
out.data = box.outerHTML;
var frame = document.createElement('iframe'); document.body.append(frame); out.frame = [String(frame.contentWindow.fetch), frame.contentWindow.Array === Array, frame.contentDocument.defaultView === frame.contentWindow, frame.contentWindow.frameElement === frame].join(); frame.remove();
try { document.body.appendChild({}); } catch (e) { out.error = [e.constructor.name, e.message, e.stack.split('\n').length].join(); }
try { document.createElement('p').setAttribute('<', 1); } catch (e) { out.dom = [e.constructor === DOMException, e.name, e.code, e.stack.split('\n').length].join(); }
document.cookie = 'own=1; path=/'; out.cookie = [/own=1/.test(document.cookie), document.cookie = 'own=; max-age=0', /own=1/.test(document.cookie)].join();
out.text = (function () { var s = document.createElement('style'); s.textContent = 'p{color:red}/*url(x)*/'; s.append('b{}'); return s.textContent + s.childNodes.length; })();
return out;"""


def test_a_battery_of_questions(browser, proxy):
    """Whatever a page's own code asks, the answers are those of a page without the companion."""
    browser.get(f"http://localhost:{proxy.port}/late")
    assert browser.execute_script("return !!document.querySelector('[data-consent-guard]')")
    with_it = browser.execute_script(BATTERY)
    browser.add_cookie({"name": "consent", "value": decide(proxy, "analytics", "marketing").split("=", 1)[1]})
    browser.get(f"http://localhost:{proxy.port}/late")
    assert not browser.execute_script("return !!document.querySelector('[data-consent-guard]')")
    without = browser.execute_script(BATTERY)
    browser.delete_all_cookies()
    errors(browser)
    assert len(without) > 50
    assert {key: with_it[key] for key in without if with_it[key] != without[key]} == \
        {key: without[key] for key in without if with_it[key] != without[key]}


def test_what_was_called_is_handed_over(browser, proxy):
    """The calls that a stand-in took reach the real one, once and in order."""
    browser.get(f"http://localhost:{proxy.port}/benign")
    settled(browser)
    assert browser.execute_script("""
        fbq('init', 1); fbq('track', 'A'); ttq.track('B'); twttr.widgets.load.now('C'); dataLayer.push('first');
        window.got = [];
        document.dispatchEvent(new CustomEvent('consent:change', {detail: {decided: true, grants: {marketing: true, analytics: true}}}));
        var gone = typeof fbq;
        window.fbq = function () { got.push([].slice.call(arguments).join()); };
        window.ttq = {track: function (a) { got.push('ttq ' + a); }};
        var load = function () {}; load.now = function (a) { got.push((this === load) + ' ' + a); }; window.twttr = {widgets: {load: load}};
        return [gone, dataLayer.length];""") == ["undefined", 1]
    until(lambda: browser.execute_script("return got") == ["init,1", "track,A", "ttq B", "true C"])


def test_lists_are_taken_over_by_the_tag(browser, proxy):
    """Also one inside an object; what stands in them is no matter of the page's workers."""
    browser.get(f"http://localhost:{proxy.port}/benign")
    settled(browser)
    errors(browser)
    assert browser.execute_async_script("""var done = arguments[0], round = {};
        googletag.cmd.push(function () { return 'ad'; }); round.round = round; dataLayer.push(round);
        document.dispatchEvent(new CustomEvent('consent:change', {detail: {decided: true, grants: {marketing: true, analytics: true}}}));
        var tag = window.googletag = window.googletag || {};
        tag.cmd = tag.cmd || [];
        var worker = new Worker(URL.createObjectURL(new Blob(['postMessage("works")'])));
        worker.onmessage = function (e) { done([tag.cmd.length, tag.cmd[0](), dataLayer.length, dataLayer[0] === round, e.data]); };""") == \
        [1, "ad", 1, True, "works"]
    assert errors(browser) == []


@pytest.mark.parametrize("arrives", [True, False])
def test_no_trace_in_errors(browser, proxy, arrives):
    browser.get(f"http://localhost:{proxy.port}/benign")
    if not arrives:
        browser.execute_script("document.documentElement.dataset.old = 1; location.href = '/benign?again'")
        until(lambda: browser.execute_script("return !document.documentElement.dataset.old && document.readyState === 'complete'"))
    assert browser.execute_script("return !!document.querySelector('[data-consent-guard]').src") != arrives
    stacks = browser.execute_script("""return [() => document.body.appendChild(1), () => fetch.call(1), () => document.createElement('p').setAttribute('<', 1),
        () => new WebSocket('no:'), () => localStorage.setItem()].map(f => { try { f(); return ''; } catch (e) { return [e.constructor.name, String(e.stack)]; } })""")
    assert [name for name, _ in (stack for stack in stacks if stack)][:1] == ["TypeError"]
    errors(browser)  # those are what was asked for
    assert not [stack for stack in stacks if "guard.js" in str(stack) or "Reflect" in str(stack)]
    assert browser.execute_script("""return [localStorage instanceof Storage, document.body.style instanceof CSSStyleDeclaration,
        document.body.style === document.body.style, localStorage === window.localStorage, Object.keys(fetch).length,
        localStorage.getItem === Storage.prototype.getItem, new Image() instanceof Image, Object.prototype.toString.call(localStorage)]""") == \
        [True, True, True, True, 0, True, True, "[object Storage]"]


def test_a_denied_session_is_one_that_fails(browser, proxy):
    browser.get(f"http://localhost:{proxy.port}/late")
    got = browser.execute_async_script("""var done = arguments[0], t = new WebTransport('https://static.hotjar.com/t'), out = [t instanceof WebTransport, t.constructor === WebTransport];
        Promise.all([t.ready, t.closed].map(function (p) { return p.then(function () { return 'open'; }, function (e) { return e.constructor.name; }); }))
            .then(function (ends) { done(out.concat(ends)); });""")
    assert got == [True, True, "WebTransportError", "WebTransportError"]
    assert not [e for e in errors(browser) if "ERR_" not in e and "WebTransport" not in e]


def test_an_event_of_the_storage_takes_it(browser, proxy):
    """As pages tell themselves of what they store."""
    browser.get(f"http://localhost:{proxy.port}/late")
    assert browser.execute_script("""var seen = []; addEventListener('storage', function (e) { seen.push(e.key, e.storageArea === localStorage || e.storageArea); });
        class Options { get storageArea() { return sessionStorage; } get key() { return 'c'; } }
        dispatchEvent(new StorageEvent('storage', {key: 'a', newValue: '1', storageArea: localStorage}));
        dispatchEvent(new StorageEvent('storage', {key: 'b'}));
        var own = new StorageEvent('storage', new Options());
        var old = document.createEvent('StorageEvent'); old.initStorageEvent('storage', false, false, 'd', null, '1', '', localStorage); dispatchEvent(old);
        return seen.concat(own.storageArea === sessionStorage, own.key, new StorageEvent('x').type);""") == ["a", True, "b", None, "d", True, True, "c", "x"]


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
    settled(browser)
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


def test_a_parameter_may_be_the_first_or_a_later_one(browser, tmp_path):
    origin = Origin()
    origin.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<p>x")
    own = {"id": "own", "category": "marketing", "urls": [
        {"host": "one.example", "exact_host": True, "query": {"id": "G-*"}},
        {"host": "t-*.two.example", "query": {"id": "G-*"}}]}
    daemon = Proxy(tmp_path, origin, workers=1, site={"rules": [own]})
    try:
        browser.get(f"http://localhost:{daemon.port}/")
        denied = browser.execute_script("""return arguments[0].map(function (url) {
            var track = document.createElement('track');
            track.setAttribute('src', url);
            return !track.hasAttribute('src');
        })""", ["https://one.example/t.js?id=G-1", "https://one.example/t.js?l=1&id=G-1",
                "https://t-1.two.example/t.js?id=G-1", "https://t-1.two.example/t.js?l=1&id=G-1",
                "https://one.example/t.js?id=H-1", "https://one.example/t.js", "https://a.one.example/t.js?id=G-1"])
    finally:
        daemon.stop()
        origin.stop()
    assert denied == [True] * 4 + [False] * 3
