"""The banner in real Chromium: languages, layers, keyboard, sizes, policies, frameworks, and its weight."""
import gzip
import json
import os
import re
import time

import pytest

from chromium import By, Keys, chromium, control, cookies, errors, until
from harness import ROOT, Origin, Proxy, chunked, http_response
from test_enforce import decide, with_cookie

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>t</title><link rel=icon href="data:,"><meta name="viewport" content="width=device-width">
<style>button { text-transform: uppercase; padding: 40px } form { background: red } .far { height: 1500px }</style></head><body><main><h1>t</h1><p class=far>x</p>
%s<p class=far>y</p><a href="#end" id=end>end</a></main><script src="/own.js"></script></body></html>"""
LINKS = "".join(f'<p><a href="#{i}">link {i}</a></p>' for i in range(40))
POLICIES = {
    "nonce": "script-src 'nonce-r4nd' 'strict-dynamic'; style-src 'nonce-r4nd'",
    "nonce-alone": "default-src 'none'; script-src 'nonce-r4nd'; style-src 'nonce-r4nd'",
    "self": "default-src 'self'",
    "none": "default-src 'none'; script-src 'none'; form-action 'none'",
    "elsewhere": "default-src https://cdn.example; script-src-elem https://cdn.example; style-src-elem https://cdn.example",
    "two": "default-src 'self', script-src https://cdn.example",
    "nonces": "script-src 'nonce-aaa' 'strict-dynamic', script-src 'nonce-bbb' 'strict-dynamic'",
    "inline": "default-src 'self'; style-src 'self' 'unsafe-inline'",
    "hashes": "script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'strict-dynamic'",
}


def i18n(language):
    return json.loads((ROOT / f"proxy/web/i18n/{language}.json").read_text())


def slow_page(conn, _):
    """A long page whose content comes a while after its head: the banner is painted alone."""
    head, rest = (PAGE % LINKS).replace("<body>", "<body style='padding:30px;min-height:50vh;max-width:600px;margin:0 auto'>").split("<main>")
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in (head + f"<!--{os.urandom(60000).hex()}-->", "<main>" + rest):  # so much that no coding keeps it back
        conn.sendall(chunked(piece.encode())[:-5])
        time.sleep(0.25)
    conn.sendall(b"0\r\n\r\n")


def torn_page(conn, _):
    """A page whose head is there a while before its body."""
    head, rest = (PAGE % LINKS).split("</head>")
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in (head + f"<!--{os.urandom(60000).hex()}-->", "</head>" + rest):
        conn.sendall(chunked(piece.encode())[:-5])
        time.sleep(0.25)
    conn.sendall(b"0\r\n\r\n")


LANGUAGES = sorted(path.stem for path in (ROOT / "proxy/web/i18n").glob("*.json"))


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8")]
    origin.routes["/"] = origin.routes["/other"] = http_response(200, html, (PAGE % LINKS).encode())
    origin.routes["/own-link"] = http_response(200, html, (PAGE % '<a href="#" data-consent-action="open">Cookies</a>').encode())
    origin.routes["/slow"] = slow_page
    origin.routes["/torn"] = torn_page
    origin.routes["/own.js"] = http_response(200, [("Content-Type", "text/javascript")], b"document.documentElement.dataset.own = 'ran';")
    for name, policy in POLICIES.items():
        origin.routes["/csp-" + name] = http_response(200, html + [("Content-Security-Policy", policy)], (PAGE % "").encode())
        origin.routes["/report-" + name] = http_response(200, html + [("Content-Security-Policy-Report-Only", policy)], (PAGE % "").encode())
        origin.routes["/meta-" + name] = http_response(200, html, (PAGE % "").replace(
            "<title>", f'<meta content="{policy}" http-equiv=Content-Security-Policy><title>').encode())
    first, second = POLICIES["nonces"].split(", ")
    origin.routes["/mixed-nonces"] = http_response(200, html + [("Content-Security-Policy", first)], (PAGE % "").replace(
        "<title>", f'<meta content="{second}" http-equiv=Content-Security-Policy><title>').encode())
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()
    origin.stop()


@pytest.fixture(scope="module")
def one_browser(trackers):
    with chromium(trackers) as driver:
        yield driver


@pytest.fixture
def browser(one_browser, proxy):
    one_browser.get(f"http://localhost:{proxy.port}/own.js")
    one_browser.delete_all_cookies()
    one_browser.execute_cdp_cmd("Network.enable", {})
    size(one_browser, 1100, 800)
    speak(one_browser, "en")
    one_browser.get_log("browser")
    yield one_browser
    one_browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def size(browser, width, height):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})


def speak(browser, language, **more):
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language, **more}})


def visit(browser, proxy, path="/"):
    browser.get(f"http://localhost:{proxy.port}{path}")
    until(lambda: browser.execute_script("return document.readyState === 'complete' && !!window.consent"))


def page_of(proxy, path="/", **headers):
    fields = [("Accept", "text/html"), ("Sec-Fetch-Dest", "document")] + [(k.replace("_", "-"), v) for k, v in headers.items()]
    return proxy.get(path, headers=fields)


def tab_to(browser, action, most=15):
    for _ in range(most):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.get_attribute("data-consent-action") == action:
            return
    raise AssertionError(f"{action} is not reached")


# --- languages ---

@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language(browser, proxy, language):
    texts = i18n(language)
    speak(browser, f"{language}-XX, en;q=0.1")
    visit(browser, proxy)
    root = browser.find_element(By.CSS_SELECTOR, "[data-consent-banner]")
    assert (root.get_attribute("lang"), root.get_attribute("dir")) == (language, texts["dir"])
    assert control(browser, "reject-all").text == texts["reject_all"]
    control(browser, "settings").click()
    assert control(browser, "save").text == texts["save"]
    accept, reject = (control(browser, name).rect["x"] for name in ("accept-all", "reject-all"))
    assert (accept < reject) == (texts["dir"] == "ltr")
    labels = [x.text for x in browser.find_elements(By.CSS_SELECTOR, ".cnsnt-panel label b")]
    assert labels == [texts["analytics_title"], texts["marketing_title"]]
    # what only the policy says is marked with its own language
    other = browser.find_elements(By.CSS_SELECTOR, ".cnsnt-panel li span[lang=en]")
    assert bool(other) == (language != "en")


def test_the_settings_drawn_for_one_are_not_shown_to_another(proxy):
    visitors = [("en", None), ("de", None)] + [(language, decide(proxy, *grant)) for language in ("en", "de") for grant in ([], ["analytics"], ["marketing"])]

    def settings(language, cookie):
        body = page_of(proxy, Accept_Language=language, **({"Cookie": cookie} if cookie else {})).body.decode()
        return re.search(r'<div class="cnsnt-panel".*?</div></div>', body, re.S)[0]
    drawn = [settings(*visitor) for visitor in visitors]
    assert [settings(*visitor) for visitor in reversed(visitors)] == drawn[::-1]
    for (language, cookie), panel in zip(visitors, drawn):
        assert i18n(language)["analytics_title"] in panel
    assert [panel.count("checked") for panel in drawn] == [0, 0, 0, 1, 1, 0, 1, 1]
    assert drawn[3] != drawn[4]


@pytest.mark.parametrize("accept,want", [("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr;q=0.3, es;q=0.7", "es"), ("xx, yy", "en"), ("", "en"),
                                         ("ar;q=0, hi", "hi"), ("EN-gb", "en"), ("de;q=nonsense, pa", "pa"), ("*", "en")])
def test_which_language(proxy, accept, want):
    assert f' lang="{want}" dir=' in page_of(proxy, Accept_Language=accept).body.decode().split("data-consent-banner")[1]


def test_the_languages_of_a_site(tmp_path):
    """The site's list and order count, the policy's own words win, and an unknown one is refused."""
    policy = json.loads("\n".join(line for line in (ROOT / "conf/policy.json").read_text().splitlines() if not line.startswith("//")))
    policy["languages"] = ["en", "de"]
    policy["texts"]["de"] = {"title": "Unsere Worte"}
    policy["categories"][1]["title"]["de"] = "Zählung"
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    daemon = Proxy(tmp_path, site={"policy": str(tmp_path / "policy.json"), "languages": ["fr", "de"]})
    daemon.own.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<p>x")
    assert 'lang="fr"' in page_of(daemon, Accept_Language="en").body.decode()
    german = page_of(daemon, Accept_Language="de-CH").body.decode()
    assert "Unsere Worte" in german and "Z&#228;hlung" in german and "Alle ablehnen" in german
    daemon.config["sites"][0]["languages"] = ["fr", "tlh"]
    daemon.rewrite(daemon.config)
    answer = daemon.ctl("config", "check")
    assert not daemon.hup() and "tlh" in daemon.log() and "built in are: ar de" in daemon.log(), answer
    daemon.stop()


# --- layers, keyboard, what is covered ---

def test_the_settings_are_a_dialog(browser, proxy):
    visit(browser, proxy)
    browser.execute_script("document.body.focus()")
    tab_to(browser, "settings")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.CSS_SELECTOR, "dialog[open]")
    assert dialog.accessible_name == i18n("en")["title"]
    assert browser.switch_to.active_element.tag_name == "h2"
    seen = []
    for _ in range(14):  # the focus stays inside, or is at the browser's own controls
        browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(browser.execute_script("var a = document.activeElement; return a === document.body || !!a.closest('dialog')"))
    assert all(seen)
    assert [box.is_selected() for box in browser.find_elements(By.CSS_SELECTOR, "dialog input")] == [False, False]
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: not browser.find_elements(By.CSS_SELECTOR, "dialog[open]"))
    # closing is no choice: the first layer is there again, and the focus where it was
    assert control(browser, "accept-all").is_displayed() and cookies(browser) == []
    assert browser.switch_to.active_element.get_attribute("data-consent-action") == "settings"
    control(browser, "settings").click()
    control(browser, "close").click()
    until(lambda: not browser.find_elements(By.CSS_SELECTOR, "dialog[open]"))
    control(browser, "settings").click()
    browser.find_element(By.CSS_SELECTOR, "input[name=analytics]").send_keys(Keys.SPACE)
    control(browser, "save").click()
    until(lambda: browser.execute_script("return window.consent.state.decided"))
    assert browser.execute_script("return window.consent.state.grants") == {"essential": True, "analytics": True, "marketing": False}
    until(lambda: control(browser, "open").is_displayed())
    browser.execute_script("window.consent.open()")
    assert [box.is_selected() for box in browser.find_elements(By.CSS_SELECTOR, "dialog input")] == [True, False]
    assert errors(browser) == []


@pytest.mark.parametrize("path", ["/", "/.consent/preferences"])
def test_enter_in_a_check_box_saves_and_grants_nothing_more(browser, proxy, path):
    if path == "/":
        visit(browser, proxy)
        control(browser, "settings").click()
    else:
        browser.get(f"http://localhost:{proxy.port}{path}")
    box = browser.find_element(By.CSS_SELECTOR, "input[name=marketing]")
    box.send_keys(Keys.SPACE)
    browser.find_element(By.CSS_SELECTOR, "input[name=analytics]").send_keys(Keys.ENTER)
    until(lambda: cookies(browser) == ["consent"])
    visit(browser, proxy)
    assert browser.execute_script("return window.consent.state.grants") == {"essential": True, "analytics": False, "marketing": True}


@pytest.mark.parametrize("width,height", [(1100, 800), (320, 640), (640, 360)])  # the last: 1280x720 at 200 %
def test_nothing_that_has_the_focus_is_covered(browser, proxy, width, height):
    size(browser, width, height)
    visit(browser, proxy)
    covered = """var a = document.activeElement.getBoundingClientRect(), b = document.querySelector('.cnsnt-card').getBoundingClientRect();
        return [a.bottom > b.top && a.top < b.bottom && a.right > b.left && a.left < b.right, a.top >= 0 && a.bottom <= innerHeight];"""
    browser.execute_script("document.querySelector('main a').focus()")
    for _ in range(41):
        assert browser.execute_script(covered) == [False, True], browser.switch_to.active_element.text
        browser.switch_to.active_element.send_keys(Keys.TAB)


@pytest.mark.parametrize("width", [1100, 320])
def test_targets_and_weight_of_the_buttons(browser, proxy, width):
    size(browser, width, 640)
    for language in LANGUAGES:
        speak(browser, language)
        visit(browser, proxy)
        accept, reject = control(browser, "accept-all"), control(browser, "reject-all")
        assert accept.size == reject.size and accept.size["height"] >= 44
        for name in ("color", "background-color", "font-size", "font-weight", "border-top-color", "text-transform"):
            assert accept.value_of_css_property(name) == reject.value_of_css_property(name)
        assert accept.value_of_css_property("text-transform") == "none"  # the page's own style stays outside
        card = browser.find_element(By.CSS_SELECTOR, ".cnsnt-card").rect
        assert card["x"] >= 0 and card["x"] + card["width"] <= width and card["height"] <= 640 * 0.6
        control(browser, "settings").click()
        small = browser.execute_script("""return [...document.querySelectorAll('.cnsnt button, .cnsnt input, .cnsnt summary, .cnsnt-more')].filter(function (e) {
            var r = e.getBoundingClientRect(); return r.width && (r.width < 24 || r.height < 24); }).map(function (e) { return e.outerHTML.slice(0, 80); })""")
        assert small == []
        assert browser.execute_script("var d = document.querySelector('dialog'); return d.scrollWidth <= d.clientWidth && document.documentElement.scrollWidth <= innerWidth")


def test_print_motion_and_forced_colours(browser, proxy):
    visit(browser, proxy)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not control(browser, "accept-all").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [
        {"name": "prefers-reduced-motion", "value": "reduce"}, {"name": "forced-colors", "value": "active"}]})
    control(browser, "settings").click()
    moving = browser.execute_script("""return [...document.querySelectorAll('.cnsnt *')].filter(function (e) {
        return [null, '::before'].some(function (p) { return parseFloat(getComputedStyle(e, p).transitionDuration) > 0; }); }).length""")
    assert moving == 0
    box = browser.find_element(By.CSS_SELECTOR, "dialog input")
    assert box.value_of_css_property("appearance") == "auto"


def test_a_link_of_the_site_is_enough(browser, proxy):
    visit(browser, proxy, "/own-link")
    control(browser, "reject-all").click()
    until(lambda: not control(browser, "reject-all").is_displayed())
    assert not browser.find_element(By.CSS_SELECTOR, ".cnsnt-open").is_displayed()
    browser.find_element(By.LINK_TEXT, "Cookies").click()
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "dialog[open]"))


# --- when it asks, and what it says then ---

def test_gpc_is_shown(browser, proxy):
    speak(browser, "en", **{"Sec-GPC": "1"})
    visit(browser, proxy)
    assert json.loads((ROOT / "conf/policy.json").read_text().split('"gpc": ')[1].split("\n")[0].rstrip(",")) in \
        browser.find_element(By.CSS_SELECTOR, ".cnsnt-card").text
    assert browser.execute_script("return window.consent.state.grants.marketing") is False
    # an explicit choice wins, and is recorded with the signal
    control(browser, "accept-all").click()
    until(lambda: browser.execute_script("return window.consent.state.grants.marketing"))
    visit(browser, proxy)
    assert browser.execute_script("return window.consent.state.grants.marketing") is True
    rows = [json.loads(line) for line in proxy.ctl("audit", "query", "--journal", "-o", "jsonl").stdout.splitlines()]
    assert any("gpc" in json.dumps(row) and "marketing" in json.dumps(row) for row in rows), rows


def test_asked_again_after_a_change(tmp_path, browser):
    text = (ROOT / "conf/policy.json").read_text()
    (tmp_path / "policy.json").write_text(text)
    daemon = Proxy(tmp_path, site={"policy": str(tmp_path / "policy.json")})
    daemon.own.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<!doctype html><p>x")
    visit(browser, daemon)
    assert i18n("en")["changed"] not in browser.find_element(By.CSS_SELECTOR, ".cnsnt-card").text
    control(browser, "reject-all").click()
    until(lambda: "consent" in cookies(browser))
    visit(browser, daemon)
    assert not control(browser, "reject-all").is_displayed()
    (tmp_path / "policy.json").write_text(text.replace('"epoch": 1', '"epoch": 2').replace("First version that", "Now a map: what"))
    assert daemon.hup()

    def asked():
        visit(browser, daemon)  # at first perhaps over a connection of the old workers
        return control(browser, "reject-all").is_displayed()
    until(asked)
    card = browser.find_element(By.CSS_SELECTOR, ".cnsnt-card").text
    assert i18n("en")["changed"] in card and "Now a map" in card
    daemon.stop()


# --- frameworks, the way back, pages made ahead ---

def test_a_framework_puts_in_another_body(browser, proxy):
    visit(browser, proxy)
    browser.execute_script("""var kept = document.body.cloneNode(true), body = document.createElement('body');
        body.innerHTML = '<main><h1>next</h1></main>'; document.documentElement.replaceChild(body, document.body); window.kept = kept;""")
    until(lambda: control(browser, "reject-all").is_displayed())
    browser.execute_script("document.documentElement.replaceChild(window.kept, document.body)")  # a copy of the page, banner and all
    until(lambda: len(browser.find_elements(By.CSS_SELECTOR, "[data-consent-banner]")) == 1)
    browser.execute_script("document.body.innerHTML = '<main><h1>third</h1></main>'")
    until(lambda: control(browser, "reject-all").is_displayed())
    control(browser, "reject-all").click()
    until(lambda: cookies(browser) == ["consent"])
    until(lambda: not control(browser, "reject-all").is_displayed())
    assert errors(browser) == []


def test_the_way_back_shows_what_was_chosen_since(browser, proxy):
    visit(browser, proxy)
    browser.execute_script("window.mark = 1; document.addEventListener('consent:change', function () { window.told = true; })")
    visit(browser, proxy, "/other")
    control(browser, "accept-all").click()
    until(lambda: cookies(browser) == ["consent"])
    browser.back()
    until(lambda: not control(browser, "accept-all").is_displayed())
    assert browser.execute_script("return window.consent.state.grants.marketing") is True
    if browser.execute_script("return window.mark"):  # the page itself came back, not a new copy
        assert browser.execute_script("return window.told")


def test_a_page_that_is_shown_after_the_choice(browser, proxy):
    visit(browser, proxy)
    browser.execute_script("""window.sent = fetch('/.consent/choice', {method: 'POST', headers: {'Content-Type': 'application/json'},
        body: '{"grant": [], "deny": ["analytics", "marketing"]}'}).then(function () { document.dispatchEvent(new Event('visibilitychange')); })""")
    until(lambda: not control(browser, "accept-all").is_displayed())
    assert browser.execute_script("return window.consent.state.decided") is True


def test_a_double_click_is_one_choice(browser, proxy):
    visit(browser, proxy)
    browser.execute_script("""var real = window.fetch; window.sent = 0; window.fetch = function (url, options) { sent += /choice$/.test(url); return real(url, options); };
        var button = document.querySelector('[data-consent-action=reject-all]'); button.click(); button.click();""")
    until(lambda: cookies(browser) == ["consent"])
    until(lambda: control(browser, "open").is_displayed())
    assert browser.execute_script("return sent") == 1
    control(browser, "open").click()
    control(browser, "reject-all").click()  # and the next one is another
    until(lambda: browser.execute_script("return sent") == 2)


def test_an_answer_from_before_the_choice(browser, proxy):
    """What the page asked for before the visitor chose is not believed after it."""
    visit(browser, proxy)
    browser.execute_script("""var real = window.fetch; window.fetch = function (url, options) {
        return real(url, options).then(function (answer) { return !/state$/.test(url) ? answer :
            new Promise(function (done) { window.release = function () { done(answer); }; }); }); };
        document.dispatchEvent(new Event('visibilitychange'));""")
    until(lambda: browser.execute_script("return !!window.release"))
    control(browser, "accept-all").click()
    until(lambda: browser.execute_script("return window.consent.state.grants.marketing"))
    browser.execute_script("release()")
    time.sleep(0.5)
    assert browser.execute_script("return window.consent.state.grants.marketing") is True
    assert not control(browser, "accept-all").is_displayed()


# --- the page's own policy ---

@pytest.mark.parametrize("name", ["csp-" + name for name in POLICIES] + ["meta-" + name for name in POLICIES if ", " not in POLICIES[name]] + ["mixed-nonces"])
def test_under_the_policy_of_the_page(browser, proxy, name):
    def complaints():
        return [e["message"] for e in browser.get_log("browser") if re.search(r"'http[^' ]*/\.consent/[a-z]", e["message"])]
    visit(browser, proxy, "/" + name)
    assert complaints() == []
    assert control(browser, "accept-all").size["height"] >= 44
    assert control(browser, "accept-all").value_of_css_property("cursor") == "pointer"
    control(browser, "settings").click()
    assert browser.find_elements(By.CSS_SELECTOR, "dialog[open]")
    control(browser, "accept-all").click()
    until(lambda: cookies(browser) == ["consent"])
    until(lambda: browser.execute_script("return window.consent && window.consent.state.grants.marketing"))
    assert complaints() == []


@pytest.mark.parametrize("name", list(POLICIES))
def test_a_policy_that_only_reports(browser, proxy, name):
    """Nothing of ours is reported, on any page, whatever the visitor does with it."""
    listen = """window.reports = []; document.addEventListener('securitypolicyviolation', function (event) {
        reports.push([event.effectiveDirective, event.blockedURI, event.sourceFile, event.sample].join(' ')); });"""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": listen})
    try:
        visit(browser, proxy, "/report-" + name)
        control(browser, "settings").click()
        control(browser, "save").click()
        until(lambda: cookies(browser) == ["consent"])
        until(lambda: control(browser, "open").is_displayed())
        control(browser, "open").click()
        control(browser, "accept-all").click()
        until(lambda: browser.execute_script("return window.consent && window.consent.state.grants.marketing"))
        visit(browser, proxy, "/report-" + name)
        own = browser.execute_script("return document.querySelector('style:not([class])') ? 1 : 0") + 1  # the page's own style and script
        reports = browser.execute_script("return reports")
        assert not [report for report in reports if "/.consent/" in report], reports
        assert len([report for report in reports if " inline " in report]) <= own, reports
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_what_a_policy_becomes(proxy):
    """Our folder comes in only where our files would be stopped; the rest stays as it was."""
    own = "http://localhost/.consent/"
    for name, want in {"nonce": POLICIES["nonce"], "self": POLICIES["self"], "inline": POLICIES["inline"]}.items():
        assert page_of(proxy, "/csp-" + name).header("Content-Security-Policy") == want
    assert page_of(proxy, "/csp-none").header("Content-Security-Policy") == f"default-src {own}; script-src {own}; form-action {own}"
    hosts = "".join(f"; img-src https://{'a' * 150}{i}.example" for i in range(150))  # memory for it grows with it alone
    proxy.origin.routes["/csp-long"] = http_response(200, [("Content-Type", "text/html"), ("Content-Security-Policy", "script-src 'none'" + hosts)], b"<p>long</p>")
    answer = page_of(proxy, "/csp-long")
    assert (answer.status, answer.header("Content-Security-Policy")) == (200, f"script-src {own}{hosts}")


def test_two_policies_with_a_nonce_each(proxy):
    """Ours carry the first one's nonce, and the other one gets their hashes: for files, as nothing else of ours passes both."""
    first, second = POLICIES["nonces"].split(", ")
    hashes = r"( 'sha256-[\w+/]{43}='){3}"
    answer = page_of(proxy, "/csp-nonces")
    assert re.fullmatch(re.escape(first + ", " + second) + hashes, answer.header("Content-Security-Policy"))
    answer = page_of(proxy, "/csp-nonces", **dict(with_cookie(decide(proxy, "analytics"))))
    ours = re.findall(rb"<script data-consent-[^>]*>", answer.body)
    assert len(ours) == 2 and all(b' nonce="aaa"' in tag and b' src="' in tag and b' integrity="sha256-' in tag for tag in ours)
    answer = page_of(proxy, "/mixed-nonces")
    assert answer.header("Content-Security-Policy") == first
    assert re.search(re.escape(f'<meta content="{second}') + hashes + '"', answer.body.decode().replace("&#39;", "'"))


# --- weight ---

def test_at_most_six_kilobytes(proxy):
    """HTML, style and script of the first view together, as gzip makes them, in every language."""
    script = proxy.get("/.consent/banner.js").body
    for language in LANGUAGES:
        page = page_of(proxy, "/own-link", Accept_Language=language, Sec_GPC="1").body
        banner = page[page.index(b"<div data-consent-banner"):page.index(b"</script></div>") + 15]
        banner += re.search(b"<link rel=expect[^>]*>", page)[0]
        assert len(gzip.compress(banner)) + len(gzip.compress(script)) <= 6 * 1024


def test_it_is_shown_whole(browser, proxy):
    """A slow parser stops for frames, also between the banner's elements: the page is shown from its end on, nothing of it half."""
    frames = """window.frames_seen = []; (function frame() { requestAnimationFrame(function () {
        frames_seen.push(!!document.querySelector('.cnsnt > script')); if (frames_seen.length < 3) frame(); }); })();"""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": frames})
    browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 8})
    try:
        for path in ("/", "/slow", "/torn") * 3:
            visit(browser, proxy, path)
            until(lambda: browser.execute_script("return frames_seen.length") == 3)
            assert browser.execute_script("return frames_seen") == [True] * 3, path
    finally:
        browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 1})
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("path", ["/", "/slow"])
def test_no_shift(browser, proxy, path):
    """Nothing moves when the banner comes, is used and goes, nor when the page's content brings a scroll bar."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # scroll bars that take room
    visit(browser, proxy, path)
    browser.execute_script("""window.shift = 0; new PerformanceObserver(function (list) { list.getEntries().forEach(function (e) { window.shift += e.value; }); })
        .observe({type: 'layout-shift', buffered: true});""")
    control(browser, "settings").click()
    control(browser, "reject-all").click()
    until(lambda: cookies(browser) == ["consent"])
    time.sleep(0.3)
    assert browser.execute_script("return window.shift") == 0
    names = browser.execute_script("return performance.getEntriesByType('resource').map(function (e) { return e.name; })")
    assert all(f"//localhost:{proxy.port}/" in name for name in names), names
