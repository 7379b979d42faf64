"""A visitor's way through the banner in real Chromium, with trackers that count who asks.

What the page would fetch from a tracker is seen by the server behind every host (chromium.py).
"""
import pytest

from chromium import TRACKERS, By, Keys, asked, chromium, control, cookies, errors, settled, until
from harness import Origin, Proxy, http_response

HEAD = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Shop</title>%s
<script async src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"></script>
<script>(function(h,o,t,j,a,r){h.hj=h.hj||function(){(h.hj.q=h.hj.q||[]).push(arguments)};
h._hjSettings={hjid:1,hjsv:6};a=o.getElementsByTagName('head')[0];r=o.createElement('script');
r.async=1;r.src=t+h._hjSettings.hjid+j+h._hjSettings.hjsv;a.appendChild(r);
})(window,document,'https://static.hotjar.com/c/hotjar-','.js?sv=');</script>
<link rel="preconnect" href="https://connect.facebook.net">
<script async src="https://connect.facebook.net/en_US/fbevents.js"></script>
</head><body><h1>Shop</h1><p>Text.</p>
<img src="https://www.facebook.com/tr?id=1&amp;ev=PageView" alt="">
<iframe src="https://www.youtube.com/embed/abc" title="video"></iframe>
<script src="/own.js"></script></body></html>"""
OWN = b"document.documentElement.dataset.own = 'ran';"


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    html = [("Content-Type", "text/html; charset=utf-8")]
    cookies = [("Set-Cookie", "sid=1; Path=/; HttpOnly"), ("Set-Cookie", "_ga=GA1.1.2.3; Path=/; HttpOnly"),
               ("Set-Cookie", "_fbp=fb.1.2.3; Path=/")]
    origin.routes["/"] = http_response(200, html + cookies, (HEAD % "").encode())
    origin.routes["/base"] = http_response(
        200, html, (HEAD % '<base href="https://elsewhere.example/x/">').encode())
    origin.routes["/csp"] = http_response(
        200, html + [("Content-Security-Policy", "default-src 'self'")], (HEAD % "").encode())
    origin.routes["/own.js"] = http_response(200, [("Content-Type", "text/javascript")], OWN)
    daemon = Proxy(folder, origin, workers=1)
    yield daemon
    daemon.stop()
    origin.stop()


@pytest.fixture
def browser(trackers):
    with chromium(trackers) as driver:
        trackers.asked.clear()
        yield driver


@pytest.fixture
def plain_browser(trackers):
    """No JavaScript on any page."""
    with chromium(trackers, script=False) as driver:
        trackers.asked.clear()
        yield driver


def visit(browser, proxy, path="/"):
    browser.get(f"http://localhost:{proxy.port}{path}")


def banner_shown(browser):
    return browser.find_element(By.CSS_SELECTOR, "[data-consent-banner] form").is_displayed()


def is_gone(browser):
    return not banner_shown(browser)


def test_nothing_before_a_decision(browser, proxy, trackers):
    visit(browser, proxy)
    settled(browser)
    assert asked(trackers) == []
    assert cookies(browser) == ["sid"]
    assert banner_shown(browser)
    accept, reject = control(browser, "accept-all"), control(browser, "reject-all")
    assert accept.size == reject.size
    assert accept.value_of_css_property("background-color") == reject.value_of_css_property("background-color")
    assert [box.is_selected() for box in browser.find_elements(By.CSS_SELECTOR, "[data-consent-banner] input")] == \
        [False, False]
    assert errors(browser) == []


def test_reject_then_change_the_mind(browser, proxy, trackers):
    visit(browser, proxy)
    control(browser, "reject-all").click()
    until(lambda: is_gone(browser))
    visit(browser, proxy)
    settled(browser)
    assert asked(trackers) == []
    assert not banner_shown(browser)
    assert cookies(browser) == ["consent", "sid"]
    # reachable again, and nothing ticked
    control(browser, "open").click()
    until(lambda: banner_shown(browser))
    browser.find_element(By.CSS_SELECTOR, "input[name=analytics]").click()
    control(browser, "save").click()
    until(lambda: asked(trackers) == ["static.hotjar.com", "www.googletagmanager.com"])
    settled(browser)
    assert "_ga" in cookies(browser)
    assert "_fbp" not in cookies(browser)
    assert asked(trackers) == ["static.hotjar.com", "www.googletagmanager.com"]
    assert errors(browser) == []


def test_accept_and_withdraw(browser, proxy, trackers):
    visit(browser, proxy)
    control(browser, "accept-all").click()
    until(lambda: asked(trackers) == sorted(TRACKERS))
    settled(browser)
    assert cookies(browser) == ["_fbp", "_ga", "consent", "sid"]
    assert browser.execute_script("return window.consent.state.grants.marketing") is True
    control(browser, "open").click()
    control(browser, "reject-all").click()
    until(lambda: cookies(browser) == ["consent", "sid"])
    until(lambda: not browser.find_elements(By.CSS_SELECTOR, "iframe[src]"))
    trackers.asked.clear()
    visit(browser, proxy)
    settled(browser)
    assert asked(trackers) == []
    assert errors(browser) == []


def test_by_keyboard_alone(browser, proxy):
    visit(browser, proxy)
    settled(browser)
    reached = []
    for _ in range(12):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        reached.append(element.get_attribute("data-consent-action") or element.tag_name)
        if reached[-1] == "reject-all":
            break
    assert "accept-all" in reached
    assert reached[-1] == "reject-all"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(lambda: is_gone(browser))
    assert "consent" in cookies(browser)


def test_without_javascript(plain_browser, proxy, trackers):
    browser = plain_browser
    visit(browser, proxy)
    assert banner_shown(browser)
    control(browser, "reject-all").click()
    until(lambda: "consent" in cookies(browser))
    assert browser.current_url.endswith(f":{proxy.port}/")
    assert not browser.find_element(By.CSS_SELECTOR, "[data-consent-banner] form").is_displayed()
    # the way back is a page of its own
    link = browser.find_element(By.CSS_SELECTOR, "a[href*='/.consent/preferences']")
    browser.get(link.get_attribute("href"))
    boxes = browser.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")
    assert [box.is_selected() for box in boxes] == [False] * len(boxes)
    before = browser.get_cookie("consent")["value"]
    browser.find_element(By.CSS_SELECTOR, "input[name=marketing]").click()
    browser.find_element(By.CSS_SELECTOR, "button[value=save]").click()
    until(lambda: browser.get_cookie("consent")["value"] != before)  # the box was ticked before the answer
    until(lambda: browser.find_element(By.CSS_SELECTOR, "input[name=marketing]").is_selected())
    visit(browser, proxy)
    until(lambda: "www.facebook.com" in asked(trackers))
    assert "_fbp" in cookies(browser)
    assert "_ga" not in cookies(browser)


@pytest.mark.parametrize("path", ["/base", "/csp"])
def test_odd_pages(browser, proxy, trackers, path):
    """A <base> elsewhere, and a policy that allows the page's own files only."""
    visit(browser, proxy, path)
    until(lambda: banner_shown(browser))
    assert control(browser, "reject-all").value_of_css_property("cursor") == "pointer"  # the style is there
    control(browser, "reject-all").click()
    until(lambda: is_gone(browser))
    assert "consent" in cookies(browser)
    assert asked(trackers) == []
