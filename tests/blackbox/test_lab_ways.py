"""The laboratory of ways through a site: back and forth, pages made ahead, Turbo, a service worker, subdomains.

A visitor decides on one page and comes to another that was made before: nothing of a tracker runs there that is
denied by then, what is allowed runs once, and the banner is not asked again.
"""
import time

import pytest

from chromium import control, errors, until
from harness import Origin, http_response
from lab import ANALYTICS, FB, GA, HJ, MARKETING, choose, fresh, hits, laboratory, load, settle, stub

TAGS = """<script async src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"></script>"""
LATE = """<script>document.querySelector('#go').onclick = function () { var s = document.createElement('script');
s.src = 'https://connect.facebook.net/en_US/fbevents.js'; document.head.append(s); };</script>"""
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>%s</title><link rel="icon" href="data:,"><script>window.ran = window.ran || [];</script>%s
</head><body id=%s><h1>%s</h1><a href="/two">two</a><button id=go>go</button>%s<script src="/own.js"></script></body></html>"""
# as Turbo Drive does it: the answer is parsed, its body takes the place of the body, scripts are made again
TURBO = """window.visit = function (path) {
  return fetch(path, {headers: {Accept: 'text/html, application/xhtml+xml'}}).then(function (answer) { return answer.text(); }).then(function (text) {
    var next = new DOMParser().parseFromString(text, 'text/html'), body = document.adoptNode(next.body);
    next.head.querySelectorAll('script').forEach(function (script) {
      if ([].some.call(document.head.querySelectorAll('script'), function (old) { return old.outerHTML === script.outerHTML; })) return;
      document.head.append(made(script)); });
    body.querySelectorAll('script').forEach(function (script) { script.replaceWith(made(script)); });
    history.pushState({}, '', path);
    document.documentElement.replaceChild(body, document.body);
  });
};
function made(script) {
  var copy = document.createElement('script');
  [].forEach.call(script.attributes, function (attribute) { copy.setAttribute(attribute.name, attribute.value); });
  copy.textContent = script.textContent; copy.async = false;
  return copy;
}"""
SERVICE = """self.addEventListener('install', function (event) { self.skipWaiting(); });
self.addEventListener('activate', function (event) { event.waitUntil(clients.claim()); });
self.addEventListener('fetch', function (event) {
  if (new URL(event.request.url).host !== location.host) return event.respondWith(fetch(event.request));
  if (event.request.url.includes('/.consent/') || event.request.method !== 'GET') return;
  event.respondWith(fetch(event.request));
});
self.addEventListener('message', function (event) { fetch('https://www.facebook.com/tr?id=sw', {mode: 'no-cors'}).catch(function () {}).then(function () { event.source.postMessage('done'); }); });"""


# as Workbox does it: pages and files are kept when it is installed, and shown before the network is asked; it waits for its turn
KEEPER = """self.addEventListener('install', function (event) { event.waitUntil(caches.open('shell').then(function (cache) {
  return cache.addAll(['/kept', '/kept.css', '/frame', '/data']); })); });
self.addEventListener('activate', function (event) { event.waitUntil(clients.claim()); });
self.addEventListener('fetch', function (event) {
  if (event.request.url.includes('/.consent/') || event.request.method !== 'GET') return;
  event.respondWith(caches.match(event.request).then(function (kept) { return kept || fetch(event.request); }));
});
self.addEventListener('message', function (event) { self.seen = (self.seen || []).concat(event.data);
  fetch('https://www.facebook.com/tr?id=sw', {mode: 'no-cors'}).catch(function () {}).then(function () { event.source.postMessage(seen); }); });"""
WORKER = "fetch('https://www.facebook.com/tr?id=worker', {mode: 'no-cors'}).catch(function () {}).then(function () { postMessage('done'); });"
MESSAGE = """var done = arguments[0]; navigator.serviceWorker.addEventListener('message', function (event) { done(event.data); });
    navigator.serviceWorker.controller.postMessage('ours');"""
OF_A_TRACKER = """addEventListener('install', function () { skipWaiting(); }); addEventListener('activate', function (event) { event.waitUntil(clients.claim()); });
    addEventListener('message', function () { fetch('https://static.hotjar.com/c/hotjar-1.js', {mode: 'no-cors'}).catch(function () {}); });"""
INSTALL = """var done = arguments[1]; navigator.serviceWorker.addEventListener('controllerchange', function () { done(true); });
    navigator.serviceWorker.register(arguments[0]).catch(function (e) { done(String(e)); });"""


@pytest.fixture(scope="module")
def lab(folder):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8")]
    ahead = '<script type="speculationrules">{"prerender": [{"source": "list", "urls": ["/two"], "eagerness": "immediate"}]}</script>'
    turbo = f"<script>{TURBO}</script>"
    for name, head, body in (("one", TAGS, LATE), ("two", TAGS, LATE), ("ahead", ahead, ""), ("turbo", turbo, ""),
                             ("turbo-two", turbo, TAGS + '<iframe src="https://www.youtube.com/embed/t" width=300 height=200></iframe>'), ("worker", TAGS, "")):
        origin.routes["/" + name] = http_response(200, html, (PAGE % (name, head, name, name, body)).encode())
    origin.routes["/own.js"] = http_response(200, [("Content-Type", "text/javascript")], b"document.documentElement.dataset.own = 'ran';")
    origin.routes["/own.png"] = http_response(204, [])
    javascript = [("Content-Type", "text/javascript")]
    origin.routes["/kept"] = http_response(200, html, (PAGE % ("kept", TAGS + '<link rel=stylesheet href="/kept.css">', "kept", "kept", LATE + '<iframe src="/frame"></iframe>')).encode())
    origin.routes["/kept.css"] = http_response(200, [("Content-Type", "text/css")], b"h1{background:url(https://www.facebook.com/tr?id=css)}")
    origin.routes["/frame"] = http_response(200, html, (PAGE % ("frame", "", "frame", "frame", "")).encode())
    origin.routes["/part"] = http_response(200, html, b"<p>a part</p>")
    origin.routes["/data"] = http_response(200, html, b'{"a": "<p>"}')
    for name, text in (("keeper", KEEPER), ("tracker-service", KEEPER), ("work", WORKER), ("module", WORKER)):
        origin.routes[f"/{name}.js"] = http_response(200, javascript, text.encode())
    for path in ("/matomo.js", "/piwik.php"):
        origin.routes[path] = http_response(200, javascript, OF_A_TRACKER.encode())
    origin.routes["/service.js"] = http_response(200, [("Content-Type", "text/javascript")], SERVICE.encode())
    yield from laboratory(folder, origin, stub)


def ran(lab):
    return lab.execute_script("return window.ran")


@pytest.mark.parametrize("action,want", [("reject-all", []), ("accept-all", ["ga"])])
def test_back_to_a_page_from_before_the_decision(lab, action, want):
    fresh(lab)
    load(lab, "one")
    lab.execute_script("window.kept = true")
    load(lab, "two")
    choose(lab, action)
    lab.stubs.asked.clear()
    lab.back()
    until(lambda: lab.execute_script("return document.title") == "one")
    settle(lab)
    until(lambda: not control(lab, "accept-all").is_displayed())
    until(lambda: ran(lab) == want)
    time.sleep(0.3)
    assert ran(lab) == want
    assert hits(lab, MARKETING) == []
    lab.find_element("css selector", "#go").click()  # what the page does later obeys, too
    time.sleep(0.3)
    assert hits(lab, {FB}) == ([FB] if want else [])
    assert errors(lab) == []


def test_back_to_a_page_that_ran_everything(lab):
    """Accepted, left, withdrawn elsewhere: the page that comes back starts nothing more and has no cookie of a tracker."""
    fresh(lab)
    load(lab, "one")
    choose(lab, "accept-all")
    until(lambda: ran(lab) == ["ga"])
    load(lab, "two")
    choose(lab, "reject-all")
    lab.stubs.asked.clear()
    lab.back()
    until(lambda: lab.execute_script("return document.title") == "one")
    settle(lab)
    time.sleep(0.5)
    settle(lab)
    lab.find_element("css selector", "#go").click()
    time.sleep(0.3)
    assert hits(lab, ANALYTICS | MARKETING) == []
    assert [c["name"] for c in lab.get_cookies() if c["name"] != "consent"] == []
    assert lab.execute_script("return window.consent.state.grants.analytics") is False


def beside(lab):
    """What runs in the page of the other tab, which stays behind."""
    here = lab.current_window_handle
    lab.switch_to.window(next(handle for handle in lab.window_handles if handle != here))
    state = lab.execute_script("return [ran, consent.state.decided, document.querySelector('.cnsnt-card').hidden]")
    lab.switch_to.window(here)
    return state


def test_a_page_in_another_tab(lab):
    """It follows at once, unseen: what is allowed runs there, and what is taken back ends."""
    fresh(lab)
    load(lab, "one")
    first = lab.current_window_handle
    lab.switch_to.new_window("tab")
    try:
        load(lab, "two")
        assert beside(lab) == [[], False, False]
        choose(lab, "accept-all")
        until(lambda: beside(lab) == [["ga"], True, True])
        choose(lab, "reject-all")
        until(lambda: beside(lab) == [[], True, True])
        assert [c["name"] for c in lab.get_cookies() if c["name"] != "consent"] == []
        assert errors(lab) == []
    finally:
        lab.close()
        lab.switch_to.window(first)
    assert errors(lab) == []


@pytest.mark.parametrize("action,want", [("reject-all", []), ("accept-all", ["ga"])])
def test_a_page_that_was_prerendered_before_the_decision(lab, action, want):
    fresh(lab)
    lab.origin.requests.clear()
    load(lab, "ahead")
    until(lambda: any(request.path == "/two" for request in lab.origin.requests))  # made ahead
    time.sleep(0.3)
    assert hits(lab, ANALYTICS | MARKETING) == []
    choose(lab, action)
    lab.stubs.asked.clear()
    lab.find_element("link text", "two").click()
    until(lambda: lab.execute_script("return document.title") == "two")
    settle(lab)
    until(lambda: not control(lab, "accept-all").is_displayed())
    until(lambda: ran(lab) == want)
    time.sleep(0.3)
    assert (ran(lab), hits(lab, MARKETING)) == (want, [])
    assert errors(lab) == []


def turbo_visit(lab, path):
    lab.execute_async_script("var done = arguments[1]; visit(arguments[0]).then(function () { done(); });", path)
    time.sleep(0.4)


def test_turbo(lab):
    """The next body comes with its banner and its tags: one banner, and each tag as it is allowed by then."""
    fresh(lab)
    load(lab, "turbo")
    turbo_visit(lab, "/turbo-two")
    assert len(lab.find_elements("css selector", "[data-consent-banner]")) == 1
    assert control(lab, "reject-all").is_displayed() and hits(lab, ANALYTICS | MARKETING) == []
    control(lab, "reject-all").click()
    until(lambda: not control(lab, "reject-all").is_displayed())
    turbo_visit(lab, "/turbo")
    turbo_visit(lab, "/turbo-two")
    assert not control(lab, "reject-all").is_displayed() and hits(lab, ANALYTICS | MARKETING) == []
    assert len(lab.find_elements("css selector", "[data-consent-banner]")) == 1
    assert errors(lab) == []


def test_turbo_after_consent(lab):
    """Each visit runs the tags of its body once, as it would without us."""
    fresh(lab)
    load(lab, "turbo")
    choose(lab, "accept-all")
    for visits in (1, 2):
        turbo_visit(lab, "/turbo-two")
        until(lambda: ran(lab) == ["ga"] * visits)
        assert lab.stubs.asked["www.youtube.com"] == visits
        turbo_visit(lab, "/turbo")
    assert not control(lab, "accept-all").is_displayed()
    assert errors(lab) == []


def test_a_service_worker(lab):
    """It fetches for the page and for itself: what is denied goes neither way."""
    fresh(lab)
    load(lab, "worker")
    assert lab.execute_async_script(INSTALL, "/service.js") is True
    load(lab, "worker")
    assert hits(lab, ANALYTICS | MARKETING) == [] and ran(lab) == []
    assert lab.execute_async_script(MESSAGE) == "done"
    assert hits(lab, MARKETING) == []
    choose(lab, "reject-all")
    load(lab, "worker")
    assert lab.execute_async_script(MESSAGE) == "done"
    assert hits(lab, ANALYTICS | MARKETING) == []
    choose(lab, "accept-all")
    until(lambda: ran(lab) == ["ga"])
    assert lab.stubs.asked[GA] == 1
    load(lab, "worker")
    until(lambda: ran(lab) == ["ga"])
    assert lab.execute_async_script(MESSAGE) == "done" and hits(lab, {"www.facebook.com"})
    choose(lab, "reject-all")
    until(lambda: ran(lab) == [])
    lab.stubs.asked.clear()
    assert lab.execute_async_script(MESSAGE) == "done"
    assert hits(lab, ANALYTICS | MARKETING) == []
    assert lab.execute_async_script("""var done = arguments[0];
        navigator.serviceWorker.getRegistration().then(function (r) { return r.unregister(); }).then(done);""") is True


@pytest.mark.parametrize("path", ["/matomo.js", "/piwik.php"])
def test_a_service_worker_of_a_tracker(lab, path):
    """Behind the site's own name: an idle one stands in its place, also of one that runs when it is taken back."""
    call = "navigator.serviceWorker.controller.postMessage(1)"
    fresh(lab)
    load(lab, "worker")
    register = "var done = arguments[1]; navigator.serviceWorker.register(arguments[0]).then(function () { done(true); }, function (e) { done(String(e)); });"
    assert lab.execute_async_script(register, path) is True
    choose(lab, "accept-all")
    assert lab.execute_async_script(register, path) is True
    load(lab, "worker")
    lab.execute_script(call)
    until(lambda: lab.stubs.asked[HJ] == 1)
    choose(lab, "reject-all")
    load(lab, "worker")
    lab.execute_script(call)
    time.sleep(0.5)
    assert hits(lab, ANALYTICS | MARKETING) == [] and errors(lab) == []
    assert lab.execute_async_script("""var done = arguments[0];
        navigator.serviceWorker.getRegistration().then(function (r) { return r.unregister(); }).then(done);""") is True


@pytest.fixture
def kept(lab):
    """A visitor whose browser has a service worker that keeps pages."""
    fresh(lab)
    load(lab, "worker")
    assert lab.execute_async_script(INSTALL, "/keeper.js") is True
    yield lab
    lab.execute_async_script("""var done = arguments[0]; navigator.serviceWorker.getRegistrations().then(function (all) {
        return Promise.all(all.map(function (r) { return r.unregister(); })); }).then(done);""")


def test_a_service_worker_that_keeps_pages(kept):
    """What it kept is shown with the companion and the banner, and follows each decision, as the worker itself does."""
    load(kept, "kept")
    assert kept.execute_script("return !!document.querySelector('[data-consent-guard]')")
    assert control(kept, "reject-all").is_displayed() and ran(kept) == []
    kept.find_element("css selector", "#go").click()
    assert kept.execute_async_script(MESSAGE) == ["ours"]
    assert hits(kept, ANALYTICS | MARKETING) == []
    choose(kept, "reject-all")
    load(kept, "kept")
    until(lambda: not control(kept, "reject-all").is_displayed())  # although it was made before the decision
    choose(kept, "accept-all")
    until(lambda: ran(kept) == ["ga"])
    load(kept, "kept")
    until(lambda: ran(kept) == ["ga"] and hits(kept, {"www.facebook.com"}))
    assert kept.execute_async_script(MESSAGE) == ["ours"]
    choose(kept, "reject-all")
    until(lambda: ran(kept) == [])
    load(kept, "kept")
    kept.find_element("css selector", "#go").click()
    assert kept.execute_async_script(MESSAGE) == ["ours"]
    time.sleep(0.3)
    assert hits(kept, ANALYTICS | MARKETING) == [] and ran(kept) == []
    assert kept.execute_async_script("caches.open('shell').then(function (c) { return c.keys(); }).then(function (k) { return k.length; }).then(arguments[0])") == 4
    assert kept.execute_async_script("fetch('/data').then(function (a) { return a.json(); }).then(arguments[0])") == {"a": "<p>"}
    assert errors(kept) == []


def test_frames_and_workers_that_a_service_worker_fetches(kept):
    """They come without their destination: no banner in a frame, and a worker has the companion all the same."""
    load(kept, "kept")
    kept.switch_to.frame(0)
    until(lambda: kept.execute_script("return document.readyState === 'complete' && !document.querySelector('[data-consent-banner]')"))
    kept.switch_to.default_content()
    kept.stubs.asked.clear()
    for made in ("new Worker('/work.js')", "new Worker('/module.js', {type: 'module'})"):
        assert kept.execute_async_script(f"var w = {made}, done = arguments[0]; w.onmessage = function (e) {{ done(e.data); }}; w.onerror = done;") == "done"
    sheet = "var l = document.createElement('link'); l.rel = 'stylesheet'; l.href = '/kept.css?1'; l.onload = arguments[0]; document.head.append(l);"
    kept.execute_async_script(sheet)
    time.sleep(0.3)
    assert hits(kept, MARKETING) == [] and errors(kept) == []


def test_what_a_service_worker_fetches(lab):
    """A whole document may be shown later; a part of one, data and what a page's own script fetches are not."""
    def body(path, referrer, **more):
        fields = [("Sec-Fetch-Dest", "empty"), ("Sec-Fetch-Mode", "cors"), ("Referer", f"http://localhost:{lab.daemon.port}{referrer}")]
        return lab.daemon.get(path, headers=fields + list(more.items())).body
    page = body("/kept", "/keeper.js?v=1")
    assert b"data-consent-guard" in page and b"data-consent-banner" in page
    assert body("/kept", "/one").count(b"data-consent-") == 0
    assert body("/part", "/keeper.js") == b"<p>a part</p>" and body("/data", "/keeper.js") == b'{"a": "<p>"}'
