"""What Google's and Microsoft's tags are told, in real Chromium: what they find in their queues when they start.

The stub tags do what the real ones do first: they take the queue that is there, in its order.
"""
import json
import re

import pytest

from chromium import EveryHost, chromium, errors, until
from harness import Origin, Proxy, http_response

TAKE = """(window.found = window.found || []).push([%s, JSON.stringify([].concat(window.dataLayer || []).map(function (a) {
    return a.length === undefined ? a : [].slice.call(a); }))]);"""
STUBS = {
    "www.googletagmanager.com": TAKE % "'google'",
    "www.clarity.ms": "(window.found = window.found || []).push(['clarity', JSON.stringify((clarity.q || []).map(function (a) { return [].slice.call(a); }))]);",
    "bat.bing.com": "(window.found = window.found || []).push(['uet', JSON.stringify(uetq)]);",
}
GTAG = """<script async src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"></script><script%s>window.dataLayer = window.dataLayer || [];
function gtag() { dataLayer.push(arguments); } gtag('js', 1); gtag('config', 'G-TEST12345');</script>"""
EARLY = "<script>window.dataLayer = [{page: 'early'}]; function gtag() { dataLayer.push(arguments); } gtag('config', 'G-TEST12345');</script>" + \
    '<script async src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"></script>'
GTM = """<script>(function(w,d,s,l,i){w[l]=w[l]||[];w[l].push({'gtm.start':1,event:'gtm.js'});var f=d.getElementsByTagName(s)[0],
j=d.createElement(s),dl=l!='dataLayer'?'&l='+l:'';j.async=true;j.src='https://www.googletagmanager.com/gtm.js?id='+i+dl;
f.parentNode.insertBefore(j,f);})(window,document,'script','dataLayer','GTM-TEST');</script>"""
CLARITY = """<script>(function(c,l,a,r,i,t,y){c[a]=c[a]||function(){(c[a].q=c[a].q||[]).push(arguments)};t=l.createElement(r);t.async=1;
t.src="https://www.clarity.ms/tag/"+i;y=l.getElementsByTagName(r)[0];y.parentNode.insertBefore(t,y);})(window,document,"clarity","script","abc");</script>"""
UET = """<script>(function(w,d,t,r,u){var f,n,i;w[u]=w[u]||[],f=function(){},n=d.createElement(t),n.src=r,n.async=1,
i=d.getElementsByTagName(t)[0],i.parentNode.insertBefore(n,i)})(window,document,"script","https://bat.bing.com/bat.js","uetq");</script>"""
PAGES = {"gtag": GTAG % "", "early": EARLY, "gtm": GTM, "clarity": CLARITY, "uet": UET, "none": "<script>window.own = Object.keys(window).length;</script>",
         "nonce": GTAG % " nonce=r4nd",
         "layer": GTM.replace("'dataLayer','GTM", "'ownLayer','GTM"), "inside": "<script>window.ownLayer = [{page: 'early'}]; var box = document.createElement('div'); box.append(document.createElement('script'));" +
         "box.firstChild.src = 'https://www.googletagmanager.com/gtag/js?id=G-TEST12345&l=ownLayer'; document.head.append(box);</script>"}
HEAD = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,">%s</head><body><p>x</body></html>'


def google(analytics, marketing):
    ad, stat = ("granted" if x else "denied" for x in (marketing, analytics))
    return {"ad_storage": ad, "ad_user_data": ad, "ad_personalization": ad, "analytics_storage": stat}


def first(analytics, marketing):
    return [["consent", "default", google(False, False)], ["set", "ads_data_redaction", True],
            ["set", {"allow_google_signals": False, "allow_ad_personalization_signals": False, "cookie_expires": 180 * 86400}],
            ["consent", "update", google(analytics, marketing)]]


def stub(host, path):
    layer = re.search(r"[?&]l=(\w+)", path)
    return "text/javascript", STUBS.get(host, "").replace("dataLayer", layer[1] if layer else "dataLayer").encode()


def serve(origin):
    for name, markup in PAGES.items():
        policy = [("Content-Security-Policy", "script-src 'nonce-r4nd' 'strict-dynamic'")] if name == "nonce" else []
        markup = markup.replace("<script async", "<script nonce=r4nd async") if policy else markup
        origin.routes["/" + name] = http_response(200, [("Content-Type", "text/html"), ("Cache-Control", "no-store")] + policy, (HEAD % markup).encode())


@pytest.fixture(scope="module")
def setting(folder):
    origin = Origin()
    serve(origin)
    daemon = Proxy(folder, origin, workers=1)
    with EveryHost(folder, stub) as stubs, chromium(stubs) as browser:
        yield browser, daemon
    daemon.stop()
    origin.stop()


def visit(setting, name):
    browser, daemon = setting
    browser.get(f"http://localhost:{daemon.port}/{name}")
    until(lambda: browser.execute_script("return document.readyState === 'complete' && !!window.consent"))


def decide(setting, *grant):
    browser, _ = setting
    browser.delete_all_cookies()
    visit(setting, "none")
    browser.execute_script("""window.sent = 0; fetch('/.consent/choice', {method: 'POST', headers: {'Content-Type': 'application/json'},
        body: JSON.stringify({grant: arguments[0], deny: ['analytics', 'marketing'].filter(x => arguments[0].indexOf(x) < 0)})}).then(() => { window.sent = 1; })""", list(grant))
    until(lambda: browser.execute_script("return window.sent"))


def found(setting, tag):
    browser, _ = setting
    until(lambda: browser.execute_script("return window.found"))
    return [json.loads(queue) for name, queue in browser.execute_script("return window.found") if name == tag]


@pytest.mark.parametrize("grants", [("analytics",), ("marketing",), ("analytics", "marketing")])
@pytest.mark.parametrize("name", ["gtag", "early", "gtm", "nonce", "layer", "inside"])
def test_google(setting, name, grants):
    """Default and update are the first that the first tag finds, whatever the page put there before."""
    if name not in ("gtm", "layer") and "analytics" not in grants:
        return
    decide(setting, *grants)
    visit(setting, name)
    queue = found(setting, "google")
    assert len(queue) == 1
    assert queue[0][:4] == first("analytics" in grants, "marketing" in grants)
    rest = {"early": [{"page": "early"}, ["config", "G-TEST12345"]], "gtm": [{"gtm.start": 1, "event": "gtm.js"}], "layer": [{"gtm.start": 1, "event": "gtm.js"}], "inside": [{"page": "early"}]}
    assert queue[0][4:4 + len(rest.get(name, []))] == rest.get(name, [])
    assert errors(setting[0]) == []


def test_google_without_a_reload(setting):
    """Consent on the page: the tag starts where it stood, and still finds the consent first."""
    browser, _ = setting
    browser.delete_all_cookies()
    visit(setting, "gtag")
    assert browser.execute_script("return [window.found, document.querySelectorAll('[data-consent-signals]').length]") == [None, 0]
    browser.execute_script("window.mark = 1; document.querySelector('[data-consent-action=accept-all]').click()")
    queue = found(setting, "google")
    assert len(queue) == 1
    assert queue[0][:4] == first(True, True)
    assert queue[0][4:] == [["js", 1], ["config", "G-TEST12345"]]
    assert browser.execute_script("return window.mark") == 1
    assert errors(browser) == []


def test_a_page_that_waits_for_consent_itself(setting):
    """Its own listener starts the tag: it finds the consent first, too; and once."""
    browser, _ = setting
    browser.delete_all_cookies()
    visit(setting, "none")
    browser.execute_script("""document.addEventListener('consent:change', function () { var s = document.createElement('script');
        s.src = 'https://www.googletagmanager.com/gtag/js?id=G-TEST12345'; document.head.appendChild(s); });
        document.querySelector('[data-consent-action=accept-all]').click()""")
    assert found(setting, "google") == [first(True, True)]
    assert errors(browser) == []


def test_an_update_on_the_page(setting):
    """Taken back, or more is granted, while a tag runs; one that comes later finds it."""
    browser, _ = setting
    decide(setting, "analytics")
    visit(setting, "gtag")
    found(setting, "google")
    for grants in ((False, False), (True, True)):
        update = ["consent", "update", google(*grants)]
        browser.execute_script("""document.dispatchEvent(new CustomEvent('consent:change', {detail: {decided: true,
            grants: {essential: true, analytics: arguments[0], marketing: arguments[1]}}}))""", *grants)
        assert browser.execute_script("return [].slice.call(dataLayer[dataLayer.length - 1])") == update
    browser.execute_script("var s = document.createElement('script'); s.src = 'https://www.googletagmanager.com/gtm.js?id=GTM-LATE&l=late'; document.head.append(s);")
    until(lambda: browser.execute_script("return window.late && late.length") == 4)
    assert browser.execute_script("return [].slice.call(late[3])") == update


def test_microsoft(setting):
    browser, _ = setting
    decide(setting, "analytics")
    visit(setting, "clarity")
    assert found(setting, "clarity") == [[["consentv2", {"ad_Storage": "denied", "analytics_Storage": "granted"}]]]
    decide(setting, "marketing")
    visit(setting, "uet")
    assert found(setting, "uet") == [["consent", "default", {"ad_storage": "denied"}, "consent", "update", {"ad_storage": "granted"}]]
    assert errors(browser) == []


def test_nothing_without_consent(setting):
    """Undecided or refused the page gets no word of ours, and the queues are not ours either."""
    browser, daemon = setting
    for grants in (None, ()):
        browser.delete_all_cookies()
        if grants is not None:
            decide(setting)
        visit(setting, "gtag")
        assert browser.execute_script("return document.querySelectorAll('[data-consent-signals]').length") == 0
        assert browser.execute_script("return dataLayer.filter(a => a[0] === 'consent').length") == 0


def test_switched_off(tmp_path):
    daemon = Proxy(tmp_path, site={"signals": False})
    serve(daemon.own)
    answer = daemon.get("/.consent/choice", method="POST", headers=[("Content-Type", "application/json")], body=b'{"grant":["analytics"],"deny":[]}')
    cookie = ("Cookie", answer.header("Set-Cookie").split(";")[0])
    assert b"data-consent-signals" not in daemon.get("/gtag", headers=[cookie, ("Sec-Fetch-Dest", "document")]).body
    assert daemon.get("/.consent/signals.js", headers=[cookie]).body == b""
    daemon.stop()
