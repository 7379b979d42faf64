"""A visitor's way through the banner in real Chromium, with trackers that count who asks.

Every host but localhost is mapped to one TLS server here, so what the page would fetch from a
tracker is seen; nothing leaves the machine.
"""
import collections
import http.server
import pathlib
import shutil
import ssl
import threading
import time

import pytest

from harness import Origin, Proxy, certificate, free_port, http_response, wait_for

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402

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


class Trackers(http.server.ThreadingHTTPServer):
    """Answers for every host; .asked counts by host."""

    def __init__(self, folder):
        asked = self.asked = collections.Counter()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked[self.headers["Host"].split(":")[0]] += 1
                body = b"/* tracker */" if "js" in self.path else b"<p>frame</p>"
                self.send_response(200)
                self.send_header("Content-Type", "text/javascript" if "js" in self.path else "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(folder, "trackers"))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # the browser's own services give up on the certificate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def trackers(folder):
    server = Trackers(folder)
    yield server
    server.shutdown()


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


def start_browser(trackers, script=True):
    options = Options()
    profile = f"/tmp/consentd-chromium-{free_port()}"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--no-first-run", "--disable-sync", "--disable-component-update", "--disable-quic",
                 "--ignore-certificate-errors", "--window-size=1100,800", f"--user-data-dir={profile}",
                 f"--host-resolver-rules=MAP * 127.0.0.1:{trackers.server_address[1]}, EXCLUDE localhost"):
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not script:
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(40)
    return driver, profile


@pytest.fixture
def browser(trackers):
    driver, profile = start_browser(trackers)
    trackers.asked.clear()
    yield driver
    driver.quit()
    shutil.rmtree(pathlib.Path(profile), ignore_errors=True)


@pytest.fixture
def plain_browser(trackers):
    """No JavaScript on any page."""
    driver, profile = start_browser(trackers, script=False)
    trackers.asked.clear()
    yield driver
    driver.quit()
    shutil.rmtree(pathlib.Path(profile), ignore_errors=True)


KNOWN = ("www.googletagmanager.com", "static.hotjar.com", "connect.facebook.net", "www.facebook.com",
         "www.youtube.com")


def asked(trackers):
    return sorted(host for host in KNOWN if trackers.asked[host])


def visit(browser, proxy, path="/"):
    browser.get(f"http://localhost:{proxy.port}{path}")


def settled(browser):
    """Time for what the page might still fetch: until its own script ran, and a moment more."""
    until(lambda: browser.find_element(By.TAG_NAME, "html").get_attribute("data-own") == "ran")
    time.sleep(0.5)


def control(browser, action):
    return browser.find_element(By.CSS_SELECTOR, f'[data-consent-action="{action}"]')


def cookies(browser):
    return sorted(cookie["name"] for cookie in browser.get_cookies())


def errors(browser):
    """What the page's console complains about; a missing favicon is not ours."""
    return [entry["message"] for entry in browser.get_log("browser")
            if entry["level"] == "SEVERE" and "favicon" not in entry["message"]]


def banner_shown(browser):
    return browser.find_element(By.CSS_SELECTOR, "[data-consent-banner] form").is_displayed()


def until(fn):
    """Waits for fn; an element of a page that is being left is no failure yet."""
    def patient():
        try:
            return fn()
        except WebDriverException:
            return False
    patient.__doc__ = fn.__doc__
    return wait_for(patient, 20)


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
    until(lambda: asked(trackers) == sorted(KNOWN))
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
