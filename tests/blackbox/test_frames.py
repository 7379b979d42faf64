"""What stands in the place of a frame, in real Chromium: its size, load once, always load, without script."""
import pytest

from chromium import By, Keys, chromium, cookies, errors, until
from harness import Origin, Proxy, http_response

PAGE = b"""<!DOCTYPE html><html lang="en"><title>t</title><style>.wide{width:50%%;aspect-ratio:16/9;border:0}</style><body>
<p>Watch: <iframe id=a src="https://www.youtube.com/embed/abc?rel=0&amp;x=1" width="560" height="315" title="film" allowfullscreen></iframe> or
<iframe id=b class=wide src="https://player.vimeo.com/video/7" title="other"></iframe></p>
<iframe id=c src="https://www.youtube-nocookie.com/embed/hidden" width=1 height=1></iframe>
<iframe id=d src="https://youtu.be/hidden" style="display: none"></iframe>
<iframe id=e src="https://ad.doubleclick.net/x" width=300 height=250></iframe>
<iframe id=f src="/own" width=300 height=250></iframe>%s</body></html>"""
BOXES = """return ['a', 'b'].map(function (id) { var r = document.getElementById(id).getBoundingClientRect(); return [r.width, r.height, r.left, r.top + scrollY]; });"""


@pytest.fixture(scope="module")
def setting(folder, trackers):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8")]
    origin.routes["/"] = http_response(200, html, PAGE % b"")
    origin.routes["/own"] = http_response(200, html, b"<p>own</p>")
    origin.routes["/strict"] = http_response(200, html + [("Content-Security-Policy",
        "default-src 'none'; script-src 'nonce-r4nd'; style-src 'none'; form-action 'none'; frame-src https:")], PAGE % b"")
    daemon = Proxy(folder, origin, workers=1)
    yield daemon, trackers
    daemon.stop()
    origin.stop()


@pytest.fixture(params=[True, False], ids=["script", "no-script"])
def browser(request, setting):
    with chromium(setting[1], script=request.param) as driver:
        driver.script = request.param
        setting[1].asked.clear()
        yield driver


def visit(browser, setting, path="/"):
    browser.get(f"http://localhost:{setting[0].port}{path}")


def inside(browser, frame, selector):
    browser.switch_to.default_content()
    browser.switch_to.frame(browser.find_element(By.ID, frame))
    return browser.find_element(By.CSS_SELECTOR, selector)


def test_the_markup(setting):
    """Nothing is fetched by it; frames that nobody would see, or that are advertisements, are just gone."""
    page = setting[0].get("/", headers=[("Accept", "text/html"), ("Sec-Fetch-Dest", "document"), ("Accept-Language", "ar")]).body.decode()
    body = page.split("<body>")[1]
    assert body.count("data-consent-frame=") == 2
    assert body.count("<!--consentd: removed") == 3
    assert 'id=f src="/own"' in body
    assert " src=\"https://" not in body.replace("data-consent-url", "x")
    assert "dir=&quot;rtl&quot;" in body and "Google Ireland Limited" in body


def test_a_page_in_a_frame_grants_nothing(setting):
    """Another site may have put the page where a click on its own button lands on ours."""
    for dest, forms in (("document", 2), ("iframe", 0), ("frame", 0), ("embed", 0), ("object", 0)):
        page = setting[0].get("/", headers=[("Accept", "text/html"), ("Sec-Fetch-Dest", dest)]).body.decode()
        assert page.count("data-consent-url=") == page.count("Load once") == 2, dest
        assert page.count("value=&quot;allow&quot;") == forms, dest


def test_once_and_always(browser, setting):
    daemon, trackers = setting
    visit(browser, setting)
    until(lambda: "YouTube" in inside(browser, "a", "h1").text)
    browser.switch_to.default_content()
    sizes = browser.execute_script(BOXES) if browser.script else None
    assert trackers.asked["www.youtube.com"] == 0 and cookies(browser) == []
    inside(browser, "a", "a").send_keys(Keys.ENTER)
    until(lambda: trackers.asked["www.youtube.com"] == 1)
    assert cookies(browser) == []  # no decision was made
    inside(browser, "b", "button").send_keys(Keys.ENTER)
    until(lambda: trackers.asked["player.vimeo.com"] == 1)
    until(lambda: cookies(browser) == ["consent"])
    browser.switch_to.default_content()
    if browser.script:  # the page was not left: what was loaded once goes on
        assert trackers.asked["www.youtube.com"] == 1
        assert browser.execute_script(BOXES) == sizes
        assert browser.execute_script("return window.consent.state.grants") == {"essential": True, "analytics": False, "marketing": True}
        assert errors(browser) == []
    else:
        assert browser.current_url.endswith(f":{daemon.port}/")
        until(lambda: browser.find_element(By.ID, "a").get_attribute("src"))
    visit(browser, setting)
    until(lambda: browser.find_element(By.ID, "b").get_attribute("src") == "https://player.vimeo.com/video/7")


def test_under_a_strict_policy(browser, setting):
    """The page's policy stops nothing of ours, and everything else as before."""
    daemon, trackers = setting
    visit(browser, setting, "/strict")
    color = inside(browser, "a", "a").value_of_css_property("background-color")
    assert color in ("rgba(29, 53, 87, 1)", "rgba(207, 224, 247, 1)")
    inside(browser, "a", "button").send_keys(Keys.ENTER)
    until(lambda: cookies(browser) == ["consent"])
    until(lambda: trackers.asked["www.youtube.com"] == 1)
