"""The laboratory of ways through a site: back and forth, pages made ahead, Turbo, a service worker, subdomains.

A visitor decides on one page and comes to another that was made before: nothing of a tracker runs there that is
denied by then, what is allowed runs once, and the banner is not asked again.
"""
import time

import pytest

from chromium import control, errors, until
from harness import Origin, http_response
from lab import ANALYTICS, FB, GA, MARKETING, choose, fresh, hits, laboratory, load, settle, stub

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
    assert lab.execute_async_script("""var done = arguments[0]; navigator.serviceWorker.addEventListener('controllerchange', function () { done(true); });
        navigator.serviceWorker.register('/service.js').catch(function (e) { done(String(e)); });""") is True
    load(lab, "worker")
    assert hits(lab, ANALYTICS | MARKETING) == [] and ran(lab) == []
    message = """var done = arguments[0]; navigator.serviceWorker.addEventListener('message', function (event) { done(event.data); });
        navigator.serviceWorker.controller.postMessage(1);"""
    assert lab.execute_async_script(message) == "done"
    assert hits(lab, MARKETING) == []
    choose(lab, "reject-all")
    load(lab, "worker")
    assert lab.execute_async_script(message) == "done"
    assert hits(lab, ANALYTICS | MARKETING) == []
    choose(lab, "accept-all")

    def loaded():
        """the browser has taken the worker of the new grants: it looks for one a second after a visit"""
        load(lab, "worker")
        time.sleep(1.5)
        return ran(lab) == ["ga"]
    until(loaded)
    assert lab.stubs.asked[GA] == 1
    choose(lab, "reject-all")

    def denied():
        """likewise: until then the worker is the one that was granted everything"""
        load(lab, "worker")
        time.sleep(1.5)
        lab.stubs.asked.clear()
        assert lab.execute_async_script(message) == "done"
        return hits(lab, ANALYTICS | MARKETING) == []
    until(denied)
    assert lab.execute_async_script("""var done = arguments[0];
        navigator.serviceWorker.getRegistration().then(function (r) { return r.unregister(); }).then(done);""") is True
