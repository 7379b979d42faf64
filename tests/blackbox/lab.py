"""What the laboratories share: stub trackers, and a visitor's steps.

A lab is a browser with .daemon (the proxy), .base (the site's address) and .stubs (every other host). Its
pages keep window.ran (which tracker ran, in order) and load /own.js last.
"""
import time

from chromium import EveryHost, chromium, errors, until
from harness import Proxy

GA, HJ, FB, YT = "www.googletagmanager.com", "static.hotjar.com", "connect.facebook.net", "www.youtube.com"
ANALYTICS, MARKETING = {GA, HJ}, {FB, YT, "www.facebook.com"}
SUBDOMAINS = ("www", "shop", "a.b")
STUBS = {
    GA: """ran.push('ga'); document.cookie = '_ga=GA1.1.1.1; path=/'; addEventListener('pagehide', function () {
        document.cookie = '_ga=GA1.1.1.1; path=/'; });""",
    HJ: "ran.push('hj'); localStorage.setItem('_hjid', '1'); sessionStorage._hjid = 1;",
    FB: """ran.push('fb'); document.cookie = '_fbp=fb.1.1.1; path=/'; new Image().src = 'https://www.facebook.com/tr?id=1&ev=PageView';""",
}


def stub(host, path):
    if host in STUBS:
        return "text/javascript", STUBS[host].encode()
    return ("text/html", b"<p>frame</p>") if "embed" in path else ("image/gif", None)


STATE = """return {ran: window.ran, cookies: document.cookie.split('; ').map(function (c) { return c.split('=')[0]; })
    .filter(function (c) { return c && !/consent$/.test(c); }).sort(), local: Object.keys(localStorage), session: Object.keys(sessionStorage),
    own: document.documentElement.dataset.own, pictures: [].every.call(document.querySelectorAll('img[src="/own.png"]'),
    function (i) { return i.naturalWidth === 1; })};"""


def load(lab, name):
    lab.stubs.asked.clear()
    lab.get(f"{lab.base}/{name}")
    settle(lab)


def settle(lab):
    until(lambda: lab.execute_script("return document.readyState === 'complete' && document.documentElement.dataset.own === 'ran' && !!window.consent"))
    time.sleep(0.15)


def token(lab):
    """The consent cookie that the page's host gets."""
    return next((c["value"] for c in lab.get_cookies() if c["name"] in ("consent", "__Secure-consent")), None)


def choose(lab, action, analytics=False):
    """Through the banner's own controls, and until the page is settled again."""
    before = token(lab)
    lab.execute_script("""var root = document.querySelector('[data-consent-banner]');
        root.querySelectorAll('input[type=checkbox]').forEach(function (box) { box.checked = false; });
        var box = root.querySelector('input[name=analytics]'); if (box) box.checked = arguments[1];
        root.querySelector('[data-consent-action="' + arguments[0] + '"]').click();""", action, analytics)
    until(lambda: token(lab) != before)
    time.sleep(0.2)
    settle(lab)


def hits(lab, hosts):
    return sorted(host for host in hosts if lab.stubs.asked[host])


def nothing(lab, name):
    state = lab.execute_script(STATE)
    assert hits(lab, ANALYTICS | MARKETING) == [], name
    assert [run for run in state["ran"] if run != "own"] == [], name
    assert (state["cookies"], state["local"], state["session"]) == ([], [], []), name
    assert state["own"] == "ran" and state["pictures"], name
    assert errors(lab) == [], name


def fresh(lab):
    """A visitor who was never here."""
    lab.get(f"{lab.base}/own.png")
    lab.execute_cdp_cmd("Network.clearBrowserCookies", {})
    lab.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": lab.base, "storageTypes": "all"})


def laboratory(folder, origin, answer, domain=None):
    """A fixture's yield: a browser with consentd before the origin, and answer() for every other host.

    domain: the site is the hosts of SUBDOMAINS below it, over TLS, and a decision counts for all.
    """
    site = {"hosts": [f"{host}.{domain}" for host in SUBDOMAINS], "cookie_domain": domain} if domain else None
    daemon = Proxy(folder, origin, workers=1, site=site, tls=bool(domain))
    with EveryHost(folder, answer) as stubs, chromium(stubs, own=f"*.{domain}" if domain else None) as browser:
        browser.daemon, browser.stubs, browser.origin = daemon, stubs, origin
        browser.base = f"https://www.{domain}:{daemon.tls_port}" if domain else f"http://localhost:{daemon.port}"
        yield browser
    daemon.stop()
    origin.stop()
