#!/usr/bin/python3
"""What a visitor's browser pays for the consent tool, ours and others', in one run, interleaved.

usage: tests/bench/browser.py BUILD [--peers DIR] [--rounds N] [--slow N] [--json]

BUILD is a build folder. DIR is a folder with node_modules, made outside of this tree with
`npm install vanilla-cookieconsent klaro tarteaucitronjs axe-core`; without it only the bare page and
ours are measured. Needs Chromium, chromedriver and python3-selenium. Every variant is the same page,
a first visit with an empty cache, before any decision, with a CPU that is N times slower (4):

    bare           the page without trackers and without any tool
    consentd       the page with its trackers, unchanged, through consentd
    vanilla, …     the page as each tool's documentation says to write it

and of each it prints, as medians over the rounds: bytes of the answers' bodies (gzip) beyond the bare
page, requests to the site, layout shift, tasks over 50 ms, largest contentful paint beyond the
bare page, requests to trackers, cookies and keys set, errors in the console, and axe-core's violations.
No pass mark.
"""
import argparse
import gzip
import http.server
import json
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = "<p>" + "Good shoes carry you far, and these were made to be mended. " * 12 + "</p>"
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Shop</title><link rel="icon" href="data:,"><style>body{font:16px/1.5 sans-serif;margin:0 auto;max-width:60rem;padding:1rem}
h1{font-size:3rem}</style><script>window.ran=[];</script>%s</head><body><main><h1>Shoes that last a good while longer than you would think</h1>""" + TEXT * 14 + \
    """</main>%s</body></html>"""
GTAG = """<script%s async %ssrc="https://www.googletagmanager.com/gtag/js?id=G-BENCH0001"></script>
<script%s>window.dataLayer=window.dataLayer||[];function gtag(){dataLayer.push(arguments)}gtag('js',new Date());gtag('config','G-BENCH0001');</script>"""
META = """<script%s>!function(f,b,e,v,n,t,s){if(f.fbq)return;n=f.fbq=function(){n.queue.push(arguments)};n.queue=[];t=b.createElement(e);
t.async=!0;t.src=v;s=b.getElementsByTagName(e)[0];s.parentNode.insertBefore(t,s)}(window,document,'script',
'https://connect.facebook.net/en_US/fbevents.js');fbq('init','1');fbq('track','PageView');</script>"""

VANILLA = """<link rel="stylesheet" href="/peers/vanilla-cookieconsent/dist/cookieconsent.css">"""
VANILLA_END = """<script src="/peers/vanilla-cookieconsent/dist/cookieconsent.umd.js"></script><script>CookieConsent.run({
categories:{necessary:{enabled:true,readOnly:true},analytics:{},marketing:{}},
language:{default:'en',translations:{en:{consentModal:{title:'Your privacy choices',description:'We use necessary cookies to run this site. With your permission also analytics and marketing cookies.',
acceptAllBtn:'Accept all',acceptNecessaryBtn:'Reject all',showPreferencesBtn:'Settings'},
preferencesModal:{title:'Settings',acceptAllBtn:'Accept all',acceptNecessaryBtn:'Reject all',savePreferencesBtn:'Save',closeIconLabel:'Close',
sections:[{title:'Necessary',description:'Runs the site.',linkedCategory:'necessary'},{title:'Analytics',description:'Counts visits.',linkedCategory:'analytics'},
{title:'Marketing',description:'Shows advertising.',linkedCategory:'marketing'}]}}}}});</script>"""
KLARO = """<script defer src="/klaro-config.js"></script><script defer src="/peers/klaro/dist/klaro.js"></script>"""
KLARO_CONFIG = """var klaroConfig={version:1,elementID:'klaro',lang:'en',translations:{en:{privacyPolicyUrl:'/privacy',purposes:{analytics:'Analytics',marketing:'Marketing'}}},
services:[{name:'ga',title:'Google Analytics',purposes:['analytics'],cookies:[/^_ga/]},{name:'meta',title:'Meta Pixel',purposes:['marketing'],cookies:['_fbp']}]};"""
TARTEAUCITRON = """<script src="/peers/tarteaucitronjs/tarteaucitron.min.js"></script><script>tarteaucitron.init({privacyUrl:'/privacy',bodyPosition:'bottom',
hashtag:'#tarteaucitron',cookieName:'tarteaucitron',orientation:'middle',showAlertSmall:false,cookieslist:false,showIcon:true,iconPosition:'BottomRight',
adblocker:false,DenyAllCta:true,AcceptAllCta:true,highPrivacy:true,handleBrowserDNTRequest:false,removeCredit:true,moreInfoLink:true,useExternalCss:false,
useExternalJs:false,mandatory:true});tarteaucitron.user.gtagUa='G-BENCH0001';(tarteaucitron.job=tarteaucitron.job||[]).push('gtag');
tarteaucitron.user.facebookpixelId='1';(tarteaucitron.job=tarteaucitron.job||[]).push('facebookpixel');</script>"""
OBSERVE = """window.measured = {shift: 0, tasks: [], lcp: 0};
new PerformanceObserver(list => list.getEntries().forEach(e => { if (!e.hadRecentInput) measured.shift += e.value; })).observe({type: 'layout-shift', buffered: true});
new PerformanceObserver(list => list.getEntries().forEach(e => measured.tasks.push(e.duration))).observe({type: 'longtask', buffered: true});
new PerformanceObserver(list => list.getEntries().forEach(e => { measured.lcp = e.startTime; })).observe({type: 'largest-contentful-paint', buffered: true});"""
GATHER = """var all = performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
  .filter(e => new URL(e.name).host === location.host);
return {shift: measured.shift, longest: Math.max(0, ...measured.tasks), tasks: measured.tasks.length, lcp: measured.lcp,
  bytes: all.reduce((n, e) => n + e.encodedBodySize, 0), requests: all.length,
  files: all.map(e => [new URL(e.name).pathname, e.encodedBodySize]),
  stored: document.cookie.split('; ').filter(Boolean).length + localStorage.length + sessionStorage.length};"""


def tagged(kind):
    """The trackers as the page has them, or marked as a tool wants them."""
    if kind == "vanilla":
        mark = ' type="text/plain" data-category="%s"'
        return GTAG % (mark % "analytics", "", mark % "analytics") + META % (mark % "marketing")
    if kind == "klaro":
        mark = ' type="text/plain" data-type="application/javascript" data-name="%s"'
        return GTAG.replace(" %ssrc=", " %sdata-src=") % (mark % "ga", "", mark % "ga") + META % (mark % "meta")
    return GTAG % ("", "", "") + META % ""


def pages(peers):
    out = {"bare": PAGE % ("", ""), "consentd": PAGE % (tagged(""), "")}
    if peers:
        out["vanilla"] = PAGE % (VANILLA + tagged("vanilla"), VANILLA_END)
        out["klaro"] = PAGE % (KLARO + tagged("klaro"), "")
        out["tarteaucitron"] = PAGE % (TARTEAUCITRON, "")
    return out


class Site(http.server.ThreadingHTTPServer):
    """One page, and the files of the peers, gzip for who takes it."""

    def __init__(self, page, peers):
        kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def body(self):
                path = self.path.split("?")[0]
                if path == "/":
                    return page.encode(), "text/html; charset=utf-8"
                if path == "/klaro-config.js":
                    return KLARO_CONFIG.encode(), "text/javascript"
                file = peers / "node_modules" / path.removeprefix("/peers/") if peers else None
                if path.startswith("/peers/") and ".." not in path and file.is_file():
                    return file.read_bytes(), kinds.get(file.suffix, "application/octet-stream")
                return None, None

            def do_GET(self):
                body, kind = self.body()
                self.send_response(200 if body is not None else 404)
                body = body or b""
                if "gzip" in self.headers.get("Accept-Encoding", "") and body:
                    body = gzip.compress(body, 6)
                    self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # the browser's spare connections


def visit(browser, stubs, url, options, axe):
    origin = url.rstrip("/")
    browser.get("about:blank")
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    browser.delete_all_cookies()
    browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": options.slow})
    browser.get_log("browser")
    stubs.asked.clear()
    browser.get(url)
    time.sleep(1.5)
    got = browser.execute_script(GATHER)
    browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 1})
    got["trackers"] = sum(stubs.asked.values())
    got["errors"] = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    if axe:
        browser.execute_script(axe)
        got["axe"] = browser.execute_async_script(
            "var done = arguments[0]; axe.run(document).then(r => done(r.violations.map(v => v.id)));")
    return got


def measure(browser, stubs, urls, options, axe):
    rows = {name: [] for name in urls}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Encoding": "gzip"}})
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": OBSERVE})
    for url in urls.values():
        browser.get(url)  # warm: what the operating system and the proxies do once
    for number in range(options.rounds):
        for name, url in urls.items():
            rows[name].append(visit(browser, stubs, url, options, axe if number == 0 else None))
    return rows


def middle(rows, key):
    return statistics.median(row[key] for row in rows)


def table(rows):
    bare = rows["bare"]
    print(f"{'':14}{'bytes':>9}{'requests':>9}{'shift':>8}{'longest':>9}{'> 50 ms':>8}{'LCP':>9}{'trackers':>9}{'stored':>7}{'errors':>7}  axe-core")
    for name, all_of in rows.items():
        axe = all_of[0].get("axe")
        print(f"{name:14}{middle(all_of, 'bytes') - middle(bare, 'bytes'):9.0f}{middle(all_of, 'requests'):9.0f}{middle(all_of, 'shift'):8.3f}"
              f"{middle(all_of, 'longest'):6.0f} ms{middle(all_of, 'tasks'):8.0f}{middle(all_of, 'lcp') - middle(bare, 'lcp'):+6.0f} ms"
              f"{max(row['trackers'] for row in all_of):9}{max(row['stored'] for row in all_of):7}{max(len(row['errors']) for row in all_of):7}  "
              f"{'-' if axe is None else ', '.join(axe) or '0'}")
    print(f"\nbytes: beyond the bare page ({middle(bare, 'bytes'):.0f}), of which")
    for name, all_of in rows.items():
        if name != "bare":
            page = dict(bare[0]["files"]).get("/", 0)
            parts = [f"{path} {size - page if path == '/' else size}" for path, size in all_of[0]["files"]]
            print(f"  {name}: {', '.join(parts)}")
    print(f"LCP of the bare page: {middle(bare, 'lcp'):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--peers", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slow", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["CONSENTD_BUILD"] = str(options.build.resolve())
    sys.path.insert(0, str(ROOT / "tests/blackbox"))
    from harness import Proxy  # noqa: E402: it reads CONSENTD_BUILD
    from chromium import EveryHost, chromium  # noqa: E402
    from lab import stub  # noqa: E402

    with tempfile.TemporaryDirectory() as folder:
        stubs = EveryHost(pathlib.Path(folder), stub)
        sites = {name: Site(page, options.peers) for name, page in pages(options.peers).items()}
        proxy = Proxy(folder, sites["consentd"].server_address[1])
        urls = {name: f"http://localhost:{proxy.port if name == 'consentd' else site.server_address[1]}/" for name, site in sites.items()}
        script = options.peers / "node_modules/axe-core/axe.min.js" if options.peers else None
        axe = script.read_text() if script and script.exists() else None
        with chromium(stubs) as browser:
            browser.set_script_timeout(60)
            rows = measure(browser, stubs, urls, options, axe)
        proxy.stop()
    print(json.dumps(rows, indent=1)) if options.json else table(rows)


main()
