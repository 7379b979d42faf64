"""The laboratory of a site with several hosts below one domain: one decision counts for all of them.

Real tags set their cookies on the widest domain that the browser takes, so that what one host's page
set is another's, too; what they keep in storage is each host's own.
"""
import pytest

from chromium import control, errors, until
from harness import Origin, http_response
from lab import ANALYTICS, FB, GA, HJ, MARKETING, SUBDOMAINS, choose, fresh, hits, laboratory, load, nothing

DOMAIN = "site.example"
STUBS = {
    GA: f"""ran.push('ga'); document.cookie = '_ga=GA1.1.1.1; path=/; domain={DOMAIN}'; document.cookie = '_ga_OWN12345=1; path=/'; addEventListener('pagehide', function () {{
        document.cookie = '_ga=GA1.1.1.1; path=/; domain={DOMAIN}'; }});""",
    HJ: "ran.push('hj'); localStorage.setItem('_hjid', '1'); sessionStorage._hjid = 1;",
    FB: f"ran.push('fb'); document.cookie = '_fbp=fb.1.1.1; path=/; domain=.{DOMAIN}'; new Image().src = 'https://www.facebook.com/tr?id=1&ev=PageView';",
}
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,"><script>window.ran = [];</script></head>
<body><h1>x</h1><script src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"></script><script src="https://static.hotjar.com/c/hotjar-1.js?sv=6"></script>
<script src="https://connect.facebook.net/en_US/fbevents.js"></script><script src="/own.js"></script></body></html>"""


def stub(host, _):
    return ("text/javascript", STUBS[host].encode()) if host in STUBS else ("image/gif", None)


@pytest.fixture(scope="module")
def lab(folder):
    origin = Origin()
    origin.routes["/"] = http_response(200, [("Content-Type", "text/html")], PAGE.encode())
    origin.routes["/own.js"] = http_response(200, [("Content-Type", "text/javascript")], b"document.documentElement.dataset.own = 'ran';")
    origin.routes["/own.png"] = http_response(204, [])
    yield from laboratory(folder, origin, stub, DOMAIN)


@pytest.fixture(autouse=True)
def visitor(lab):
    for host in SUBDOMAINS:
        go(lab, host)
        fresh(lab)


def go(lab, host):
    lab.base = f"https://{host}.{DOMAIN}:{lab.daemon.tls_port}"


def stored(lab):
    """The names of all cookies but ours, with their domains; whatever host the page has."""
    return sorted((c["name"], c["domain"]) for c in lab.execute_cdp_cmd("Network.getAllCookies", {})["cookies"] if "consent" not in c["name"])


def test_one_decision_for_all(lab):
    for host in SUBDOMAINS:
        go(lab, host)
        load(lab, "")
        nothing(lab, host)
        assert control(lab, "accept-all").is_displayed()
    choose(lab, "reject-all")
    for host in SUBDOMAINS:
        go(lab, host)
        load(lab, "")
        nothing(lab, host)
        assert not control(lab, "accept-all").is_displayed()
    assert [c["domain"] for c in lab.get_cookies() if c["name"] == "__Secure-consent"] == [f".{DOMAIN}"]
    choose(lab, "accept-all")
    for host in SUBDOMAINS:
        go(lab, host)
        load(lab, "")
        until(lambda: lab.execute_script("return ran") == ["ga", "hj", "fb"])
        assert hits(lab, ANALYTICS | MARKETING) and errors(lab) == []


@pytest.mark.parametrize("where", SUBDOMAINS)
def test_a_refusal_deletes_for_all(lab, where):
    """Whichever host it is made on: what stood on the domain is gone at once, what is a host's own when its page is opened."""
    load(lab, "")
    choose(lab, "accept-all")
    for host in SUBDOMAINS:
        go(lab, host)
        load(lab, "")
    assert ("_ga", f".{DOMAIN}") in stored(lab) and ("_fbp", f".{DOMAIN}") in stored(lab) and len(stored(lab)) == 2 + len(SUBDOMAINS)
    go(lab, where)
    load(lab, "")
    choose(lab, "reject-all")
    until(lambda: stored(lab) == sorted(("_ga_OWN12345", f"{host}.{DOMAIN}") for host in SUBDOMAINS if host != where))
    for host in SUBDOMAINS:
        go(lab, host)
        load(lab, "")
        until(lambda: lab.execute_script("return localStorage.length + sessionStorage.length") == 0)
        nothing(lab, host)
    assert stored(lab) == []


def test_one_category_less(lab):
    """Marketing alone is taken back on one host: the other's pages run the rest, once and in order."""
    load(lab, "")
    choose(lab, "accept-all")
    go(lab, "shop")
    load(lab, "")
    choose(lab, "save", analytics=True)
    go(lab, "www")
    load(lab, "")
    until(lambda: lab.execute_script("return ran") == ["ga", "hj"])
    assert hits(lab, MARKETING) == [] and [name for name, _ in stored(lab)].count("_fbp") == 0
    assert ("_ga", f".{DOMAIN}") in stored(lab) and errors(lab) == []


def test_a_page_of_another_host_follows_when_it_is_shown(lab):
    load(lab, "")
    choose(lab, "accept-all")
    first = lab.current_window_handle
    lab.switch_to.new_window("tab")
    go(lab, "shop")
    load(lab, "")
    choose(lab, "reject-all")
    lab.close()
    lab.switch_to.window(first)
    until(lambda: lab.execute_script("return [ran, consent.state.grants.analytics]") == [[], False])
    until(lambda: stored(lab) == [])
    assert errors(lab) == []
