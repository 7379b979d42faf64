"""The laboratory: page types with stub trackers that behave like real ones, in every state of consent.

A stub tracker writes its cookie and storage, notes in window.ran that it ran, sends a hit and takes
the calls that its snippet queued. What is fetched is counted by the server behind every host; what
is set is read from the browser. Before consent nothing; after consent each exactly once, in order.
"""
import base64
import hashlib
import json
import time

import pytest

from chromium import chromium, errors, until
from harness import Origin, http_response
from lab import ANALYTICS, FB, GA, HJ, MARKETING, STUBS, YT, choose, fresh, hits, laboratory, load, nothing, stub


def digest(text):
    """A source of a policy that lets this text run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HOTJAR = """<script>(function(h,o,t,j,a,r){h.hj=h.hj||function(){(h.hj.q=h.hj.q||[]).push(arguments)};h._hjSettings={hjid:1,hjsv:6};
a=o.getElementsByTagName('head')[0];r=o.createElement('script');r.async=1;r.src=t+h._hjSettings.hjid+j+h._hjSettings.hjsv;a.appendChild(r);
})(window,document,'https://static.hotjar.com/c/hotjar-','.js?sv=');</script>"""
META = """<script>!function(f,b,e,v,n,t,s){if(f.fbq)return;n=f.fbq=function(){n.callMethod?n.callMethod.apply(n,arguments):n.queue.push(arguments)};
if(!f._fbq)f._fbq=n;n.push=n;n.loaded=!0;n.version='2.0';n.queue=[];t=b.createElement(e);t.async=!0;t.src=v;s=b.getElementsByTagName(e)[0];
s.parentNode.insertBefore(t,s)}(window,document,'script','https://connect.facebook.net/en_US/fbevents.js');fbq('init','1');fbq('track','PageView');</script>
<noscript><img height="1" width="1" src="https://www.facebook.com/tr?id=1&ev=PageView&noscript=1"/></noscript>"""
TAG = '<script src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"%s></script>'
INJECT = """<script src="/inject.js"></script>"""

# name -> (what stands in the page, what runs with analytics alone, what runs with everything)
PAGES = {
    "bare": ("", [], []),
    "sync": (TAG % "", ["ga"], ["ga"]),
    "async": (TAG % " async", ["ga"], ["ga"]),
    "defer": (TAG % " defer" + '<script defer src="https://connect.facebook.net/en_US/fbevents.js"></script>', ["ga"], ["ga", "fb"]),
    "order": (TAG % "" + "<script>ran.push('own')</script>" + '<script src="https://connect.facebook.net/en_US/fbevents.js"></script>',
              ["ga", "own"], ["ga", "own", "fb"]),
    "hotjar": (HOTJAR, ["hj"], ["hj"]),
    "meta": (META, [], ["fb"]),
    "gtag": ("<script>window.dataLayer=window.dataLayer||[];function gtag(){dataLayer.push(arguments)}gtag('js',new Date());gtag('config','G-TEST12345');</script>"
             + TAG % " async", ["ga"], ["ga"]),
    "injected": (INJECT, ["ga"], ["ga", "fb"]),
    "written": ("""<script src="/write.js"></script>""", ["ga"], ["ga"]),
    "frame": ('<iframe src="https://www.youtube.com/embed/x" width=300 height=200></iframe>', [], []),
    "pixel": ('<img src="https://www.facebook.com/tr?id=1&amp;ev=PageView" alt="">', [], []),
    "calls": ("""<script>addEventListener('load', function () { fbq('track', 'Late'); hj('event', 'late'); ttq.track('x'); });</script>"""
              + META + HOTJAR + "<script>window.ttq = window.ttq || {track: function () {}};</script>", ["hj"], ["fb", "hj"]),
    "state": ("""<script>(self.__f=self.__f||[]).push([1,"[\\"script\\",{\\"src\\":\\"https://www.googletagmanager.com/gtag/js?id=G-TEST12345\\"}]"])</script>
        <script src="/hydrate.js"></script>""", ["own", "ga"], ["own", "ga"]),
    "module": ('<script type=module src="/module.js"></script>' + TAG % " defer", ["ga"], ["ga"]),
}
# pages whose own policy is in the way: (the field, the meta element), each with the markup of another page
NONCE = "script-src 'nonce-abc123' 'strict-dynamic'"
TRUSTED = "require-trusted-types-for 'script'; trusted-types own"
POLICIES = {
    "strict": (NONCE, ""),
    "strict-meta": ("", NONCE + "; style-src 'self'"),
    "none-meta": ("", "default-src 'none'; script-src 'nonce-abc123' https://www.googletagmanager.com; img-src 'self' data:; style-src 'none'; form-action 'none'"),
    "two": ("script-src 'self' 'nonce-abc123' https://www.googletagmanager.com; style-src 'self'", "script-src https: 'nonce-other' 'nonce-abc123'; connect-src https:"),
    "trusted": (TRUSTED, ""),
    "trusted-meta": ("", TRUSTED),
    "trusted-types-none": ("", "require-trusted-types-for 'script'; trusted-types 'none'"),
}
for name in POLICIES:
    PAGES[name] = (TAG % " nonce=abc123" + "<script nonce=abc123>ran.push('own')</script>", ["ga", "own"], ["ga", "own"])
# pages that say by hashes alone what may run and what it looks like
OWN_JS = "document.documentElement.dataset.own = 'ran';"
HASHED = "script-src " + " ".join(map(digest, ("window.ran = [];", "ran.push('own')", OWN_JS, STUBS[GA]))) + "; style-src " + digest("h1{color:#123}")
for name, policy in {"hashes": (HASHED, ""), "hashes-meta": ("", HASHED), "hashes-none": ("default-src 'none'; img-src 'self' data:; " + HASHED, "")}.items():
    POLICIES[name] = policy
    integrity = f" integrity={digest(STUBS[GA])[1:-1]} crossorigin=anonymous"
    PAGES[name] = ("<style>h1{color:#123}</style>" + TAG % integrity + "<script>ran.push('own')</script>", ["ga", "own"], ["ga", "own"])
for name in ("trusted", "trusted-meta"):
    PAGES[name] = ('<script src="/trusted.js"></script>', ["own", "ga"], ["own", "ga"])
ANY_ORDER = {"calls", "injected"}
# what a page of trusted types does: every sink gets an object, also for what a tracker would be
TRUSTING = """var own = trustedTypes.createPolicy('own', {createHTML: text => text, createScriptURL: text => text});
var box = document.createElement('div'); box.innerHTML = own.createHTML('<b>own</b><img src="https://www.facebook.com/tr?id=1">');
document.write(own.createHTML('<i>written</i>'));
var worker = new Worker(own.createScriptURL(URL.createObjectURL(new Blob(['postMessage(1)']))));
worker.onmessage = () => {
  ran.push('own');
  var script = document.createElement('script');
  script.src = own.createScriptURL('https://www.googletagmanager.com/gtag/js?id=G-TEST12345');
  document.head.append(script);
};
if (box.firstChild.textContent !== 'own' || !document.querySelector('i')) ran.push('broken');"""
# what trusted types refuse stays refused, whatever stands beside it or comes after it
REFUSING = """var own = trustedTypes.createPolicy('own', {createHTML: text => text}), box = document.createElement('div'), thrown = [];
[() => document.write(own.createHTML('<i>'), '<b id=e1>untrusted</b>'),
 () => document.write('<b id=e2 title=untrusted '),
 () => document.write(own.createHTML('<b id=half ')),
 () => document.write('id=e3 '),
 () => document.write(own.createHTML('title=whole>x</b>')),
 () => document.write(own.createHTML('<b id=last '), own.createHTML('title=trusted>x</b>')),
 () => { box.innerHTML = {constructor: {name: 'TrustedHTML'}, toString: () => '<b>x</b><img src="https://www.facebook.com/tr?id=1">'}; }
].forEach((call, i) => { try { call(); } catch (e) { thrown.push([i, e.name]); } });
window.result = [thrown, box.childNodes.length, [].map.call(document.querySelectorAll('b[id]'), b => [b.id, b.title])];"""
HEAD = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">%s<title>%s</title><link rel="icon" href="data:,"><script nonce=abc123>window.ran = [];</script>
</head><body><h1>x</h1>%s<img src="/own.png" alt=""><script src="/own.js" nonce=abc123 integrity=%s></script></body></html>"""


@pytest.fixture(scope="module")
def lab(folder):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
    for name, (markup, _, _) in PAGES.items():
        field, meta = POLICIES.get(name, ("", ""))
        policy = [("Content-Security-Policy", field)] if field else []
        meta = f'<meta http-equiv="Content-Security-Policy" content="{meta}">' if meta else ""
        origin.routes["/" + name] = http_response(200, html + policy, (HEAD % (meta, name, markup, digest(OWN_JS)[1:-1])).encode())
    origin.routes["/refused"] = http_response(200, html + [("Content-Security-Policy", TRUSTED)],
        (HEAD % ("", "refused", '<script src="/refusing.js"></script>', digest(OWN_JS)[1:-1])).encode())
    javascript = [("Content-Type", "text/javascript")]
    scripts = {"/own.js": OWN_JS, "/module.js": "export default 1;",
               "/hydrate.js": """JSON.parse(__f[0][1]).forEach(function (part) {
                   if (part.src) document.head.append(Object.assign(document.createElement('script'), part)); else ran.push('own'); });""",
               "/trusted.js": TRUSTING, "/refusing.js": REFUSING,
               "/inject.js": """['https://www.googletagmanager.com/gtag/js?id=G-TEST12345', 'https://connect.facebook.net/en_US/fbevents.js']
                   .forEach(function (url) { var s = document.createElement('script'); s.async = false; s.src = url; document.head.appendChild(s); });""",
               "/write.js": """document.write('<scr' + 'ipt src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"></scr' + 'ipt>');"""}
    for path, text in scripts.items():
        origin.routes[path] = http_response(200, javascript, text.encode())
    origin.routes["/own.png"] = http_response(200, [("Content-Type", "image/gif")],
        bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"))
    yield from laboratory(folder, origin, stub)


def exactly(lab, name, want):
    def done():
        """everything that is allowed ran"""
        ran = lab.execute_script("return window.ran")
        return sorted(ran) == sorted(want) if name in ANY_ORDER else ran == want
    until(done)
    time.sleep(0.1)
    assert done(), name
    assert errors(lab) == [], name


@pytest.mark.parametrize("name", list(PAGES))
def test_page(lab, name):
    _, analytics, everything = PAGES[name]
    fresh(lab)
    load(lab, name)
    nothing(lab, name + " before a decision")
    choose(lab, "reject-all")
    load(lab, name)
    nothing(lab, name + " refused")
    choose(lab, "save", analytics=True)
    exactly(lab, name, analytics)
    assert hits(lab, MARKETING) == []
    choose(lab, "accept-all")
    load(lab, name)
    exactly(lab, name, everything)
    for host in ("www.youtube.com", "www.facebook.com"):
        if name in ("frame", "pixel") and host == {"frame": YT, "pixel": "www.facebook.com"}[name]:
            until(lambda: lab.stubs.asked[host] == 1)
    choose(lab, "reject-all")
    load(lab, name)
    nothing(lab, name + " withdrawn")


def test_what_trusted_types_refuse(lab):
    """The companion lets through what the browser lets through without it."""
    results = []
    for port in (lab.origin.port, lab.daemon.port):
        lab.get(f"http://localhost:{port}/refused")
        until(lambda: lab.execute_script("return !!window.result"))
        results.append(lab.execute_script("return result"))
    errors(lab)  # the refusals
    assert results[0] == [[[i, "TypeError"] for i in (0, 1, 3, 6)], 0, [["half", "whole"], ["last", "trusted"]]]
    assert results[1] == results[0]


@pytest.fixture
def gpc(lab):
    """A switch for the browser's signal."""
    lab.execute_cdp_cmd("Network.enable", {})
    yield lambda on: lab.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Sec-GPC": "1"} if on else {}})
    lab.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {}})


@pytest.mark.parametrize("name", list(PAGES))
def test_page_with_gpc(lab, gpc, name):
    """Marketing is off, also where it was allowed before the signal; an explicit choice with it wins."""
    _, analytics, everything = PAGES[name]
    fresh(lab)
    load(lab, name)
    choose(lab, "accept-all")
    gpc(True)
    load(lab, name)
    exactly(lab, name, analytics)
    assert hits(lab, MARKETING) == []
    fresh(lab)
    load(lab, name)
    nothing(lab, name + " with GPC before a decision")
    choose(lab, "accept-all")
    load(lab, name)
    exactly(lab, name, everything)


@pytest.fixture(scope="module")
def plain(lab):
    """The same laboratory for a browser without script."""
    with chromium(lab.stubs, script=False) as browser:
        yield browser


# what a page shows without script once everything is allowed
SEEN = {"meta": ["www.facebook.com"], "calls": ["www.facebook.com"], "pixel": ["www.facebook.com"], "frame": [YT]}


@pytest.mark.parametrize("name", list(PAGES))
def test_page_without_script(lab, plain, name):
    """By the form alone: nothing before, what needs no script once after it, nothing when it is taken back."""
    def visit():
        lab.stubs.asked.clear()
        plain.get(f"http://localhost:{lab.daemon.port}/{name}")
        time.sleep(0.2)
        return hits(lab, ANALYTICS | MARKETING), sorted(c["name"] for c in plain.get_cookies() if c["name"] != "consent")

    def decide(action, page):
        before = (plain.get_cookie("consent") or {}).get("value")
        plain.get(f"http://localhost:{lab.daemon.port}{page}")
        plain.find_element("css selector", f"button[value={action}]").click()
        until(lambda: (plain.get_cookie("consent") or {}).get("value") != before)
    plain.get(f"http://localhost:{lab.daemon.port}/own.png")
    plain.delete_all_cookies()
    assert visit() == ([], [])
    decide("accept-all", "/" + name)
    _, stored = visit()
    until(lambda: set(hits(lab, ANALYTICS | MARKETING)) - {GA, HJ, FB} == set(SEEN.get(name, [])))
    assert stored == []
    decide("reject-all", "/.consent/preferences")
    assert visit() == ([], [])


def test_what_a_tag_writes_back_when_its_page_is_left(lab):
    """The tag sets _ga in pagehide, after the refusal was answered: the next answer and the next page's start delete it."""
    fresh(lab)
    load(lab, "sync")
    choose(lab, "accept-all")
    load(lab, "sync")
    assert lab.get_cookie("_ga")
    choose(lab, "reject-all")
    lab.execute_script("document.cookie = '_ga=GA1.1.1.1; path=/'")  # whatever the companion of the old page thinks of it
    lab.add_cookie({"name": "_ga", "value": "GA1.1.1.1"})
    lab.origin.requests.clear()
    load(lab, "sync")
    nothing(lab, "sync after pagehide")
    sent = [value for request in lab.origin.requests for value in request.all("Cookie")]
    assert not any("_ga" in value for value in sent)


def test_without_script_and_with_gpc(lab):
    """What the bytes say, in both cases."""
    for name in PAGES:
        page = lab.daemon.get("/" + name, headers=[("Sec-Fetch-Dest", "document"), ("Sec-GPC", "1")]).body.decode()
        markup = page.split("<body", 1)[1]
        for host in ANALYTICS | MARKETING:
            assert f'src="https://{host}' not in markup and f"src='https://{host}" not in markup, (name, host)
    assert json.loads(lab.daemon.get("/.consent/state", headers=[("Sec-GPC", "1")]).body)["grants"]["marketing"] is False
