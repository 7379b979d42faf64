"""A real Chromium for tests, and one server behind every host that it asks; nothing leaves the machine.

    with EveryHost(folder, tracker) as server, chromium(server) as browser: browser.get(...)
"""
import collections
import contextlib
import http.server
import ssl
import tempfile
import threading
import time

import pytest

from harness import LOOPBACK, certificate, wait_for

pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402, F401: for those who import from here
from selenium.webdriver.common.keys import Keys  # noqa: E402, F401


class EveryHost(http.server.ThreadingHTTPServer):
    """Answers over TLS for every host, whoever asks; .asked counts by host.

    answer(host, path) gives the content type and the body as bytes; a body of None is a 204.
    """

    def __init__(self, folder, answer):
        asked = self.asked = collections.Counter()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host = self.headers["Host"].split(":")[0]
                asked[host] += 1
                kind, body = answer(host, self.path)
                self.send_response(204 if body is None else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *args):
                pass
        super().__init__((LOOPBACK, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(folder, "every-host"))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # the browser's own services give up on the certificate

    def __exit__(self, *args):
        self.shutdown()
        super().__exit__(*args)


def tracker(_, path):
    """Any tracker's script or frame, which does nothing."""
    return ("text/javascript", b"/* tracker */") if "js" in path else ("text/html", b"<p>frame</p>")


@contextlib.contextmanager
def chromium(server=None, script=True, own=None):
    """A browser with a profile of its own; all hosts but localhost, and those of the pattern own, are the server's."""
    options = Options()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--no-first-run", "--disable-sync", "--disable-component-update", "--disable-quic",
             "--ignore-certificate-errors", "--window-size=1100,800"]
    if server is not None:
        ours = f"MAP {own} {LOOPBACK}, " if own else ""
        flags.append(f"--host-resolver-rules={ours}MAP * {LOOPBACK}:{server.server_address[1]}, EXCLUDE localhost")
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    with tempfile.TemporaryDirectory(prefix="consentd-chromium-", ignore_cleanup_errors=True) as profile:
        for flag in flags + [f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            driver.set_page_load_timeout(40)
            yield driver
        finally:
            driver.quit()


def until(fn):
    """Waits for fn; an element of a page that is being left is no failure yet."""
    def patient():
        try:
            return fn()
        except WebDriverException:
            return False
    patient.__doc__ = fn.__doc__
    return wait_for(patient, 20)


def cookies(browser):
    return sorted(cookie["name"] for cookie in browser.get_cookies())


def errors(browser):
    """What the page's console complains about; a missing favicon is not ours."""
    return [entry["message"] for entry in browser.get_log("browser")
            if entry["level"] == "SEVERE" and "favicon" not in entry["message"]]


TRACKERS = ("www.googletagmanager.com", "static.hotjar.com", "connect.facebook.net", "www.facebook.com",
         "www.youtube.com")


def asked(server):
    """Which of the trackers of these tests were asked for something."""
    return sorted(host for host in TRACKERS if server.asked[host])


def settled(browser):
    """Time for what the page might still fetch: until its own script ran, and a moment more."""
    until(lambda: browser.find_element(By.TAG_NAME, "html").get_attribute("data-own") == "ran")
    time.sleep(0.5)


def control(browser, action):
    return browser.find_element(By.CSS_SELECTOR, f'[data-consent-action="{action}"]')
