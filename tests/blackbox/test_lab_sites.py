"""The laboratory of whole sites: AMP, forms, payments, a shop, WordPress with its plugins, embeds, strict policies.

Beside the trackers every site has benign parts of others: what these show stands in window.fine, and
they are asked for in every state. Whatever else is asked for is a tracker, or nobody knows it.
"""
import time

import pytest

from chromium import chromium, errors, until
from harness import Origin, http_response
from lab import FB, GA, YT, choose, fresh, laboratory, load

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
AMP, DC, TB, GAC = "cdn.ampproject.org", "securepubads.g.doubleclick.net", "cdn.taboola.com", "www.google-analytics.com"
FBP = "www.facebook.com"
# what Chromium asks for itself
OWN_HOSTS = ("update.googleapis.com", "clients2.google.com", "clients2.googleusercontent.com", "accounts.google.com", "redirector.gvt1.com", "edgedl.me.gvt1.com",
             "optimizationguide-pa.googleapis.com", "content-autofill.googleapis.com", "safebrowsingohttpgateway.googleapis.com", "android.clients.google.com", "mtalk.google.com")

AMP_RUNTIME = """(function () {
  var known = [].slice.call(self.AMP || []);
  self.AMP = {push: function (extension) { ready(extension); }};
  function ready(extension) {
    if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', function () { extension(); });
    else extension();
  }
  known.forEach(ready);
  ready(function () {
    document.querySelectorAll('amp-img').forEach(function (element) {
      var image = document.createElement('img'); image.src = element.getAttribute('src'); image.onload = function () { fine.push('amp-img'); };
      element.appendChild(image); });
    document.querySelectorAll('amp-pixel').forEach(function (element) { ran.push('amp-pixel'); new Image().src = element.getAttribute('src'); });
  });
})();"""
AMP_PART = "(self.AMP = self.AMP || []).push(function () { document.querySelectorAll('%s').forEach(function (element) { %s }); });"
AMP_FRAME = """var frame = document.createElement('iframe'); frame.src = '%s'; frame.width = 300; frame.height = 200; element.appendChild(frame);"""
AMP_PARTS = {
    "amp-analytics": """var data = element.querySelector('script'), vendor = element.getAttribute('type') || 'own', config = JSON.parse(data.textContent);
        ran.push('amp-analytics:' + vendor);
        navigator.sendBeacon(config.requests ? config.requests.pageview : vendor === 'facebookpixel' ? 'https://www.facebook.com/tr?id=2' :
          'https://www.google-analytics.com/r/collect?tid=' + config.vars.account, '');""",
    "amp-ad": """ran.push('amp-ad:' + element.getAttribute('type'));
        if (element.getAttribute('type') === 'doubleclick') fetch('https://securepubads.g.doubleclick.net/gampad/ads?slot=1', {mode: 'no-cors'});
        else { """ + AMP_FRAME % "https://d-1.ampproject.net/1/frame.html?taboola" + " }",
    "amp-twitter": AMP_FRAME % "https://d-1.ampproject.net/1/frame.html?twitter",
    "amp-youtube": AMP_FRAME % "https://www.youtube.com/embed/amp?enablejsapi=1&amp=1",
}
AMP_HEAD = '<script async src="https://cdn.ampproject.org/v0.js"></script>' + "".join(
    f'<script async custom-element="{name}" src="https://cdn.ampproject.org/v0/{name}-0.1.js"></script>' for name in AMP_PARTS)
AMP_BODY = """<amp-img src="/own.png" width=1 height=1></amp-img>
<amp-consent id=c layout=nodisplay><script type="application/json">{"consentInstanceId": "c", "consentRequired": false}</script></amp-consent>
<amp-analytics type="googleanalytics"><script type="application/json">{"vars": {"account": "UA-1-1"}}</script></amp-analytics>
<amp-analytics><script type="application/json">{"requests": {"pageview": "https://www.google-analytics.com/r/collect?own=1"}}</script></amp-analytics>
<amp-analytics type=facebookpixel><script type="application/json">{"vars": {"pixelId": "2"}}</script></amp-analytics>
<amp-pixel src="https://www.facebook.com/tr?id=1&amp;ev=PageView" layout=nodisplay></amp-pixel>
<amp-ad type=doubleclick width=300 height=250 data-slot="/1/x"><div placeholder></div></amp-ad>
<amp-ad type=taboola width=300 height=250></amp-ad>
<amp-twitter data-tweetid=1 width=300 height=200></amp-twitter><amp-youtube data-videoid=x width=300 height=200></amp-youtube>"""

FORMS = """var hbspt = window.hbspt = window.hbspt || {};
hbspt.forms = hbspt.forms || {create: function (options) {
  fetch('https://forms.hsforms.com/embed/v3/form/' + options.portalId).then(function (answer) { return answer.text(); }).then(function () {
    document.querySelector(options.target).innerHTML = '<form><input name=email><button>Send</button></form>';
    fine.push('form:' + /hubspotutk/.test(document.cookie));
    return fetch('https://api.hsforms.com/submissions/v3/integration/submit', {method: 'POST', mode: 'no-cors', body: 'email=a'});
  }).then(function () { fine.push('sent'); });
}};"""
HUBSPOT = """<div id=form></div><script charset="utf-8" src="https://js.hsforms.net/forms/embed/v2.js"></script>
<script>hbspt.forms.create({region: 'na1', portalId: '1', formId: 'f', target: '#form'});</script>
<script>var _hsq = window._hsq = window._hsq || []; _hsq.push(['setPath', '/x']);</script>
<script id="hs-script-loader" async defer src="https://js.hs-scripts.com/1.js"></script>"""
HS_LOADER = """ran.push('hs'); var s = document.createElement('script'); s.src = 'https://js.hs-analytics.net/analytics/1/1.js'; document.head.appendChild(s);"""
HS_ANALYTICS = """ran.push('hs-analytics'); document.cookie = 'hubspotutk=1; path=/'; document.cookie = '__hstc=1; path=/'; new Image().src = 'https://track.hubspot.com/__ptq.gif?k=1';"""

PAYPAL = """window.paypal = {Buttons: function (options) { return {render: function (target) {
  var frame = document.createElement('iframe'); frame.src = 'https://www.paypal.com/smart/buttons?client=x';
  frame.onload = function () { fine.push('paypal buttons'); };
  document.querySelector(target).appendChild(frame);
  navigator.sendBeacon('https://www.paypal.com/xoplatform/logger/api/logger', 'x');
  fetch('https://c.paypal.com/v1/r/d/b/p1', {method: 'POST', mode: 'no-cors', body: 'x'}).then(function () { fine.push('paypal risk'); });
}}; }};"""
STRIPE = """document.cookie = '__stripe_mid=1; path=/'; document.cookie = '__stripe_sid=1; path=/';
window.Stripe = function () {
  var outer = document.createElement('iframe'); outer.src = 'https://m.stripe.network/inner.html'; outer.hidden = true; document.documentElement.appendChild(outer);
  fetch('https://r.stripe.com/b', {method: 'POST', mode: 'no-cors', body: 'x'}).then(function () { fine.push('stripe beacon'); });
  return {elements: function () { return {create: function () { return {mount: function (target) {
    var frame = document.createElement('iframe'); frame.src = 'https://js.stripe.com/v3/elements-inner-card.html';
    frame.onload = function () { fine.push('stripe card:' + /__stripe_mid/.test(document.cookie)); };
    document.querySelector(target).appendChild(frame); }}; }}; }};
};"""
CHECKOUT = """<div id=pp></div><div id=card></div><script src="https://www.paypal.com/sdk/js?client-id=x&amp;currency=EUR"></script><script src="https://js.stripe.com/v3/"></script>
<script>paypal.Buttons({}).render('#pp'); Stripe('pk_test_1').elements().create('card').mount('#card');</script>
<script>;(function(a,t,o,m,s){a[m]=a[m]||[];a[m].push({t:new Date().getTime(),event:'snippetRun'});var f=t.getElementsByTagName(o)[0],e=t.createElement(o);
e.async=!0;e.src='https://www.paypal.com/tagmanager/pptm.js?id='+s+'&t=xo&mrid=1';f.parentNode.insertBefore(e,f);})(window,document,'script','paypalDDL','shop');</script>"""

GTM = """<script>(function(w,d,s,l,i){w[l]=w[l]||[];w[l].push({'gtm.start':new Date().getTime(),event:'gtm.js'});var f=d.getElementsByTagName(s)[0],
j=d.createElement(s),dl=l!='dataLayer'?'&l='+l:'';j.async=true;j.src='https://www.googletagmanager.com/gtm.js?id='+i+dl;f.parentNode.insertBefore(j,f);
})(window,document,'script','dataLayer','GTM-TEST');</script><noscript><iframe src="https://www.googletagmanager.com/ns.html?id=GTM-TEST" height=0 width=0></iframe></noscript>"""
CONTAINER = """ran.push('gtm'); window.google_tag_manager = {};
ran.push.apply(ran, dataLayer.filter(function (entry) { return entry.ecommerce; }).map(function (entry) { return entry.event; }));
['https://www.googletagmanager.com/gtag/js?id=G-TEST12345', 'https://connect.facebook.net/en_US/fbevents.js'].forEach(function (url) {
  var s = document.createElement('script'); s.async = false; s.src = url; document.head.appendChild(s); });"""
SHOP = """<script>window.dataLayer = window.dataLayer || []; dataLayer.push({event: 'view_item', ecommerce: {items: [{item_id: '1'}]}});</script>""" + GTM + """
<button id=buy>Buy</button><script>document.cookie = 'cart=1; path=/'; localStorage.setItem('cart', '[1]'); sessionStorage.setItem('step', '1');
document.querySelector('#buy').onclick = function () { dataLayer.push({event: 'add_to_cart'}); fine.push('bought'); }; document.querySelector('#buy').click();
fine.push('cart:' + /cart=1/.test(document.cookie) + localStorage.getItem('cart') + sessionStorage.getItem('step'));</script>"""

WORDPRESS = """<script type="speculationrules">{"prefetch": [{"source": "document", "where": {"and": [{"href_matches": "/*"}, {"not": {"href_matches": ["/wp-*.php", "/wp-admin/*"]}}]}, "eagerness": "conservative"}]}</script>
<link rel="dns-prefetch" href="//stats.wp.com"><link rel=stylesheet href="https://fonts.googleapis.com/css?family=Lato" media=all><link rel=stylesheet href="/wp-content/themes/x/style.css">
<script src="https://code.jquery.com/jquery-3.7.1.min.js" id="jquery-core-js"></script><script>jQuery(function () { fine.push('jquery'); });</script>
<script src="https://www.google.com/recaptcha/api.js?render=x" id="google-recaptcha-js"></script><script>grecaptcha.ready(function () { fine.push('recaptcha'); });</script>
<img src="https://secure.gravatar.com/avatar/0?s=96" alt="" id=gravatar>
<script src="/wp-content/plugins/woocommerce/assets/js/sourcebuster/sourcebuster.min.js" id="sourcebuster-js-js"></script>
<script id="wc-order-attribution-js">window.sbjs && sbjs.init && sbjs.init();</script>
<script src="/wp-content/plugins/contact-form-7/includes/js/index.js" id="contact-form-7-js"></script>
<script src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345" async data-cfasync="false" data-wpfc-render="false"></script>
<script data-cfasync="false">var mi_version = '9'; window.dataLayer = window.dataLayer || []; function __gtagTracker() { dataLayer.push(arguments); } __gtagTracker('js', new Date()); __gtagTracker('config', 'G-TEST12345');</script>
<script type="text/javascript" src="https://stats.wp.com/e-202648.js" id="jetpack-stats-js" data-wp-strategy="defer" defer></script>
<script id="jetpack-stats-js-after">_stq = window._stq || []; _stq.push(["view", {"blog": "1", "post": "1"}]); _stq.push(["clickTrackerInit", "1", "1"]);</script>
<figure class="wp-block-embed"><iframe title="Film" width=500 height=281 src="https://www.youtube.com/embed/wp?feature=oembed" allowfullscreen loading=lazy></iframe></figure>"""

EMBEDS = """<iframe src="https://www.youtube-nocookie.com/embed/a" width=400 height=225 title=a></iframe><iframe src="https://player.vimeo.com/video/1" width=400 height=225 title=b></iframe>
<iframe src="https://www.google.com/maps/embed?pb=1" width=400 height=225 title=c></iframe><iframe src="https://www.openstreetmap.org/export/embed.html?bbox=1" width=400 height=225 title=d onload="fine.push('map')"></iframe>
<iframe src="/frame" width=400 height=225 title=e onload="fine.push('own frame')"></iframe><video src="/own.mp4" poster="/own.png" width=10 height=10></video>"""

SPA = """<div id=app></div><script src="/app.js"></script>"""
APP = """var routes = {'/spa': '<h1>Home</h1>', '/spa/film': '<iframe src="https://www.youtube.com/embed/spa" width=300 height=200></iframe><img src="https://www.facebook.com/tr?id=spa" alt="">'};
function go(path, push) {
  if (push) history.pushState({}, '', path);
  document.querySelector('#app').innerHTML = routes[path];
  if (path === '/spa/film') { var s = document.createElement('script'); s.src = 'https://www.googletagmanager.com/gtag/js?id=G-TEST12345'; document.head.append(s); }
  window.dataLayer = window.dataLayer || []; dataLayer.push({event: 'page_view', path: path});
  fine.push(path);
}
addEventListener('popstate', function () { go(location.pathname); });
go('/spa'); go('/spa/film', true);"""

LOADER = """<script nonce=abc123 src="/loader.js"></script>"""
LOADER_JS = """fine.push('loader'); ['https://cdn.shop.example/ui.js', 'https://www.googletagmanager.com/gtag/js?id=G-TEST12345'].forEach(function (url) {
  var s = document.createElement('script'); s.src = url; s.async = false; document.head.append(s); });"""

ANALYTICS_OF_AMP = ["amp-analytics:googleanalytics", "amp-analytics:own"]
# name -> what stands in the head and in the body; in every state: what shows, which benign hosts are asked how often, cookies and keys; with analytics alone and
# with everything: what runs, in order, and which hosts are asked (window.ran says how often)
SITES = {
    "amp": {"head": AMP_HEAD, "body": AMP_BODY, "fine": ["amp-img"], "benign": {AMP: 5},
            "analytics": (ANALYTICS_OF_AMP, [GAC]),
            "all": (["amp-ad:doubleclick", "amp-ad:taboola", "amp-analytics:facebookpixel"] + ANALYTICS_OF_AMP + ["amp-pixel"],
                    [GAC, FBP, DC, TB, YT, "d-1.ampproject.net", "platform.twitter.com"]), "sorted": True},
    "hubspot": {"body": HUBSPOT, "fine": ["form:false", "sent"], "fine-all": ["form:true", "sent"], "benign": {"js.hsforms.net": 1, "forms.hsforms.com": 1, "api.hsforms.com": 1},
                "analytics": ([], []), "all": (["hs", "hs-analytics"], ["js.hs-scripts.com", "js.hs-analytics.net", "track.hubspot.com"])},
    "checkout": {"body": CHECKOUT, "fine": ["paypal buttons", "paypal risk", "stripe beacon", "stripe card:true"],
                 "benign": {"www.paypal.com": 3, "c.paypal.com": 1, "js.stripe.com": 2, "m.stripe.network": 1, "r.stripe.com": 1}, "cookies": ["__stripe_mid", "__stripe_sid"],
                 "analytics": ([], []), "all": (["pptm"], ["www.paypal.com"])},
    "shop": {"body": SHOP, "fine": ["bought", "cart:true[1]1"], "benign": {}, "cookies": ["cart"], "keys": ["cart", "step"],
             "analytics": (["gtm", "view_item", "ga"], [GA]), "all": (["gtm", "view_item", "ga", "fb"], [GA, FB, FBP])},
    "wordpress": {"body": WORDPRESS, "fine": ["cf7", "jquery", "recaptcha"],
                  "benign": {"fonts.googleapis.com": 1, "code.jquery.com": 1, "www.google.com": 1, "secure.gravatar.com": 1},
                  "analytics": (["ga", "jetpack", "sbjs"], [GA, "stats.wp.com"]), "all": (["ga", "jetpack", "sbjs"], [GA, "stats.wp.com", YT]), "sorted": True},
    "embeds": {"body": EMBEDS, "fine": ["map", "own frame"], "benign": {"www.openstreetmap.org": 1}, "analytics": ([], []),
               "all": ([], ["www.youtube-nocookie.com", "player.vimeo.com", "www.google.com"])},
    "spa": {"body": SPA, "fine": ["/spa", "/spa/film"], "benign": {}, "analytics": (["ga"], [GA]), "all": (["ga"], [GA, YT, FBP])},
    "dynamic": {"body": LOADER, "policy": "script-src 'nonce-abc123' 'strict-dynamic'; object-src 'none'; base-uri 'none'", "fine": ["loader", "ui"],
                "benign": {"cdn.shop.example": 1}, "analytics": (["ga"], [GA]), "all": (["ga"], [GA])},
    "hosts": {"body": LOADER, "policy": "default-src 'self'; script-src 'self' 'nonce-abc123' https://www.googletagmanager.com https://cdn.shop.example; style-src 'self'; img-src * data:",
              "fine": ["loader", "ui"], "benign": {"cdn.shop.example": 1}, "analytics": (["ga"], [GA]), "all": (["ga"], [GA])},
}
STUBS = {
    (AMP, "/v0.js"): AMP_RUNTIME, ("js.hsforms.net", "/forms/embed/v2.js"): FORMS, ("js.hs-scripts.com", "/1.js"): HS_LOADER,
    ("js.hs-analytics.net", "/analytics/1/1.js"): HS_ANALYTICS, ("www.paypal.com", "/sdk/js"): PAYPAL, ("js.stripe.com", "/v3/"): STRIPE,
    ("www.paypal.com", "/tagmanager/pptm.js"): "ran.push('pptm');",
    (GA, "/gtm.js"): CONTAINER, (GA, "/gtag/js"): "ran.push('ga'); document.cookie = '_ga=GA1.1.1.1; path=/';",
    (FB, "/en_US/fbevents.js"): "ran.push('fb'); document.cookie = '_fbp=fb.1.1.1; path=/'; new Image().src = 'https://www.facebook.com/tr?id=1';",
    ("code.jquery.com", "/jquery-3.7.1.min.js"): "window.jQuery = function (then) { addEventListener('DOMContentLoaded', then); };",
    ("www.google.com", "/recaptcha/api.js"): "window.grecaptcha = {ready: function (then) { addEventListener('load', then); }};",
    ("stats.wp.com", "/e-202648.js"): "ran.push('jetpack'); document.cookie = 'tk_lr=1; path=/';", ("cdn.shop.example", "/ui.js"): "fine.push('ui');",
    **{(AMP, f"/v0/{name}-0.1.js"): AMP_PART % (name, code) for name, code in AMP_PARTS.items()},
}
OWN = {"/own.js": "document.documentElement.dataset.own = 'ran';", "/app.js": APP, "/loader.js": LOADER_JS,
       "/wp-content/plugins/contact-form-7/includes/js/index.js": "fine.push('cf7');",
       "/wp-content/plugins/woocommerce/assets/js/sourcebuster/sourcebuster.min.js": "window.sbjs = {init: function () { ran.push('sbjs'); document.cookie = 'sbjs_first=1; path=/'; }};"}
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>%s</title><link rel="icon" href="data:,"><script nonce=abc123>window.ran = []; window.fine = [];</script>%s
</head><body><h1>x</h1>%s<img src="/own.png" alt=""><script src="/own.js" nonce=abc123></script></body></html>"""


def stub(host, path):
    path, _, query = path.partition("?")
    if (host, path) in STUBS:
        return "text/javascript", STUBS[host, path].encode()
    if path == "/1/frame.html":  # a frame of AMP's loads what its vendor wants
        source = "https://cdn.taboola.com/libtrc/loader.js" if "taboola" in query else "https://platform.twitter.com/widgets.js"
        return "text/html", f"<!doctype html><script src={source}></script>".encode()
    if "/css" in path:
        return "text/css", b""
    return ("image/gif", GIF) if path.startswith(("/tr", "/avatar", "/__ptq")) else ("text/javascript", b"") if path.endswith(".js") else ("text/html", b"<p>frame</p>")


@pytest.fixture(scope="module")
def lab(folder):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
    for name, site in SITES.items():
        policy = [("Content-Security-Policy", site["policy"])] if "policy" in site else []
        origin.routes["/" + name] = http_response(200, html + policy, (PAGE % (name, site.get("head", ""), site["body"])).encode())
    origin.routes["/spa/film"] = origin.routes["/spa"]
    for path, text in OWN.items():
        origin.routes[path] = http_response(200, [("Content-Type", "text/javascript")], text.encode())
    origin.routes["/own.png"] = http_response(200, [("Content-Type", "image/gif")], GIF)
    origin.routes["/own.mp4"] = http_response(204, [])
    origin.routes["/frame"] = http_response(200, html, b"<!doctype html><title>f</title><p>own")
    origin.routes["/wp-content/themes/x/style.css"] = http_response(200, [("Content-Type", "text/css")], b"p{color:#000}")
    yield from laboratory(folder, origin, stub)


def shown(lab, site, state):
    return site.get("fine-" + state, site["fine"])


def until_or_say(lab, name, state, complete, asked):
    try:
        until(complete)
    except AssertionError as failure:
        raise AssertionError((name, state, lab.execute_script("return [window.ran, window.fine]"), asked(), errors(lab))) from failure


def expect(lab, name, state):
    """In this state: benign parts show and are asked, what is allowed ran once and in order, nothing else was asked or stored."""
    site = SITES[name]
    runs, hosts = site[state] if state != "nothing" else ([], [])
    order = sorted if site.get("sorted") else list

    def asked():
        return {host: count for host, count in lab.stubs.asked.items() if count and host not in OWN_HOSTS}

    def complete():
        """everything that is allowed is there"""
        got = lab.execute_script("return [window.ran, window.fine]")
        return order(got[0]) == runs and sorted(got[1]) == sorted(shown(lab, site, state)) and set(asked()) >= set(hosts) | set(site["benign"])
    until_or_say(lab, name, state, complete, asked)
    time.sleep(0.25)
    assert complete(), (name, state)
    assert set(asked()) == set(hosts) | set(site["benign"]), (name, state)
    got = asked()
    assert {host: got[host] for host in site["benign"] if host not in hosts} == {host: count for host, count in site["benign"].items() if host not in hosts}, (name, state)
    complaints = errors(lab)
    assert complaints == [], (name, state)
    if state == "nothing":
        cookies = sorted(c["name"] for c in lab.get_cookies() if c["name"] != "consent")
        keys = sorted(lab.execute_script("return Object.keys(localStorage).concat(Object.keys(sessionStorage))"))
        assert (cookies, keys) == (site.get("cookies", []), site.get("keys", [])), (name, state)


@pytest.fixture
def gpc(lab):
    """A switch for the browser's signal."""
    lab.execute_cdp_cmd("Network.enable", {})
    yield lambda on: lab.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Sec-GPC": "1"} if on else {}})
    lab.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {}})


def again(lab, name, state):
    load(lab, name)
    expect(lab, name, state)


@pytest.mark.parametrize("name", list(SITES))
def test_site(lab, gpc, name):
    fresh(lab)
    again(lab, name, "nothing")
    choose(lab, "reject-all")
    again(lab, name, "nothing")
    choose(lab, "save", analytics=True)
    again(lab, name, "analytics")
    choose(lab, "accept-all")
    again(lab, name, "all")
    gpc(True)  # the choice was made before the signal
    again(lab, name, "analytics")
    gpc(False)
    choose(lab, "reject-all")
    again(lab, name, "nothing")
    fresh(lab)
    gpc(True)
    again(lab, name, "nothing")


@pytest.mark.parametrize("name", list(SITES))
def test_site_on_the_same_page(lab, name):
    """The choice is made where the visitor stands: what it allows comes once, whether the page is loaded again or not."""
    fresh(lab)
    load(lab, name)
    lab.stubs.asked.clear()
    choose(lab, "accept-all")
    until(lambda: lab.execute_script("return window.ran.length") >= len(SITES[name]["all"][0]))
    time.sleep(0.3)
    ran = lab.execute_script("return window.ran")
    assert sorted(ran) == sorted(SITES[name]["all"][0]), name
    until(lambda: all(lab.stubs.asked[host] for host in SITES[name]["all"][1]))
    assert errors(lab) == [], name


@pytest.fixture(scope="module")
def plain(lab):
    """A browser without script."""
    with chromium(lab.stubs, script=False) as browser:
        yield browser


@pytest.mark.parametrize("name", list(SITES))
def test_site_without_script(lab, plain, name):
    """What needs no script: nothing of a tracker before consent and after a refusal."""
    allowed = set(SITES[name]["all"][1]) | set(SITES[name]["benign"])
    plain.get(f"http://localhost:{lab.daemon.port}/own.png")
    plain.delete_all_cookies()
    for choice in (None, "reject-all", "accept-all", "reject-all"):
        if choice:
            before = (plain.get_cookie("consent") or {}).get("value")
            plain.get(f"http://localhost:{lab.daemon.port}/.consent/preferences")
            plain.find_element("css selector", f"button[value={choice}]").click()
            until(lambda: (plain.get_cookie("consent") or {}).get("value") != before)
        lab.stubs.asked.clear()
        plain.get(f"http://localhost:{lab.daemon.port}/{name}")
        time.sleep(0.3)
        asked = {host for host, count in lab.stubs.asked.items() if count and host not in OWN_HOSTS}
        assert asked <= (allowed if choice == "accept-all" else set(SITES[name]["benign"])), (name, choice)
        assert sorted(c["name"] for c in plain.get_cookies() if c["name"] != "consent") == [], (name, choice)
