"""consentctl scan against a site with stub trackers: the counts, the report and what it refuses."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from chromium import EveryHost
from harness import BUILD, ROOT, Origin, Proxy, http_response, wait_for
from test_lab import FB, GA, HOTJAR, META, TAG, stub

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Shop &lt;1&gt;</title><link rel="icon" href="data:,">
<script>window.ran = []; document.cookie = 'basket=1; path=/'; localStorage.setItem('theme', 'dark');</script>
%s%s%s<link rel="stylesheet" href="https://cdn.unknown.test/x.css"></head><body><h1>Shop</h1>
<iframe src="https://www.youtube.com/embed/x" title="v" width="200" height="100"></iframe><script src="/app.js"></script><script>consolee.log(1)</script></body></html>"""


@pytest.fixture(scope="module")
def stubs(folder):
    with EveryHost(folder, stub) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(folder):
    origin = Origin()
    origin.routes["/"] = http_response(200, [("Content-Type", "text/html; charset=utf-8"), ("Set-Cookie", "sid=1; Path=/; HttpOnly")],
                                       (PAGE % (TAG % " async", HOTJAR, META)).encode())
    origin.routes["/app.js"] = http_response(200, [("Content-Type", "text/javascript")], b"addEventListener('load', () => fetch('/api'));")
    daemon = Proxy(folder, origin, site={"hosts": ["shop.test"], "allow_cleartext_consent": True})
    yield daemon
    daemon.stop()
    origin.stop()


def scan(proxy, stubs, out, *more, port=None):
    return subprocess.run([str(BUILD / "consentctl"), "-c", str(proxy.folder / "consentd.json"), "scan", "http://shop.test/", "--out", str(out),
                           "--proxy", f"127.0.0.1:{port or proxy.port}", "--insecure", "--map", f"MAP * 127.0.0.1:{stubs.server_address[1]}",
                           "--rules", str(ROOT / "rules"), *more], capture_output=True, text=True, timeout=500, check=False)


def test_every_state(proxy, stubs, folder):
    out = folder / "report"
    done = scan(proxy, stubs, out)
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads((out / "report.json").read_text())
    visits = {visit["state"]: visit for visit in report["visits"]}
    assert list(visits) == ["direct", "undecided", "refused", "analytics", "all", "withdrawn", "gpc"]

    def hosts(state):
        return {request["host"] for request in visits[state]["requests"]}

    def names(state, key="cookies", name="name"):
        return {cookie[name] for cookie in visits[state][key]}
    assert {GA, FB, "static.hotjar.com", "www.youtube.com", "www.facebook.com"} <= hosts("direct")
    assert {"_ga", "_fbp", "basket", "sid"} <= names("direct") and "_hjid" in names("direct", "storage", "key")
    for state in ("undecided", "refused", "withdrawn", "gpc"):
        assert hosts(state) == {"shop.test", "cdn.unknown.test"}, state
        assert names(state) - {"consent"} == {"basket", "sid"} and names(state, "storage", "key") == {"theme"}
        assert [visits[state]["counts"][k] for k in ("denied_requests", "denied_cookies", "denied_storage")] == [0, 0, 0]
    assert {GA, "static.hotjar.com"} <= hosts("analytics") and not hosts("analytics") & {FB, "www.facebook.com", "www.youtube.com"}
    assert "_ga" in names("analytics") and "_fbp" not in names("analytics")
    assert {GA, FB, "static.hotjar.com", "www.youtube.com", "www.facebook.com"} <= hosts("all")
    pixel = next(r for r in visits["direct"]["requests"] if r["host"] == "www.facebook.com")
    assert (pixel["type"], pixel["set"], pixel["category"], pixel["denied"]) == ("Image", "meta-pixel", "marketing", True)
    api = next(r for r in visits["gpc"]["requests"] if r["url"].endswith("/api"))
    assert (api["type"], api["initiator"]) == ("Fetch", "http://shop.test/app.js")
    cookies = {cookie["name"]: cookie for cookie in visits["direct"]["cookies"]}
    assert (cookies["sid"]["set_by"], cookies["_ga"]["set_by"], cookies["_ga"]["set"]) == ("answer", "script", "google-analytics")
    assert any("consolee" in error for error in visits["direct"]["errors"])
    unknown = report["unclassified"]
    assert [item["name"] for item in unknown["hosts"]] == ["cdn.unknown.test"]
    assert {item["name"] for item in unknown["cookies"]} == {"basket", "sid"}
    assert [(item["name"], item["about"], len(item["states"])) for item in unknown["storage"]] == [("theme", "localStorage", 7)]
    page = (out / "report.html").read_text()
    assert "<html lang=en>" in page and "cdn.unknown.test" in page and page.count("data:image/jpeg;base64,") == 7 and "<script" not in page
    for state in visits:
        assert (out / f"{state}.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert not list(pathlib.Path(os.environ.get("TMPDIR", "/tmp")).glob("consentctl-scan-*"))


def test_an_escape_is_a_failure(proxy, stubs, folder):
    assert proxy.ctl("rules", "set", "hotjar", "off").returncode == 0
    try:
        done = scan(proxy, stubs, folder / "escape", "--state", "undecided", "--json")
    finally:
        assert proxy.ctl("rules", "set", "hotjar", "enforce").returncode == 0
    assert done.returncode == 1 and "denied in their state" in done.stderr
    visit = json.loads(done.stdout)["visits"][0]
    assert {r["host"] for r in visit["requests"] if r["denied"]} == {"static.hotjar.com"}


def test_without_consentd(proxy, stubs, folder):
    """A newcomer's first inventory; a page without our banner cannot be decided on."""
    plain = subprocess.run([str(BUILD / "consentctl"), "scan", "http://shop.test/", "--direct-only", "--out", str(folder / "first"), "--insecure",
                            "--map", f"MAP shop.test 127.0.0.1:{proxy.origin.port}, MAP * 127.0.0.1:{stubs.server_address[1]}",
                            "--rules", str(ROOT / "rules")], capture_output=True, text=True, timeout=200, check=False)
    assert plain.returncode == 0, plain.stderr
    report = json.loads((folder / "first/report.json").read_text())
    assert [visit["state"] for visit in report["visits"]] == ["direct"] and report["visits"][0]["counts"]["denied_requests"] >= 4
    done = scan(proxy, stubs, folder / "none", "--state", "refused", port=proxy.origin.port)
    assert done.returncode == 1 and "no banner" in done.stderr


@pytest.mark.parametrize("words, why", [
    (["nonsense"], "scan needs the page's address"), ([], "scan needs the page's address"),
    (["http://shop.test/", "--state", "some"], "is none of direct, undecided"),
    (["http://shop.test/", "--state", "direct"], "which origin?"),
    (["http://shop.test/", "--origin", "ftp:x"], "is not an address like"),
    (["http://shop.test/", "--chromium", "/nonexistent"], "/nonexistent: No such file"),
])
def test_what_is_wrong_is_said(words, why, tmp_path):
    done = subprocess.run([str(BUILD / "consentctl"), "scan", *words, "--rules", str(ROOT / "rules"), "--out", str(tmp_path / "x")],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and why in done.stderr
    assert not (tmp_path / "x").exists()


def test_no_chromium_is_said_plainly(tmp_path):
    done = subprocess.run([str(BUILD / "consentctl"), "scan", "http://shop.test/", "--direct-only", "--rules", str(ROOT / "rules"),
                           "--out", str(tmp_path / "x")], capture_output=True, text=True, timeout=60, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and "no Chromium found: install the package chromium" in done.stderr


def test_a_browser_that_fails_leaves_nothing(tmp_path):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    done = subprocess.run([str(BUILD / "consentctl"), "scan", "http://shop.test/", "--direct-only", "--rules", str(ROOT / "rules"),
                           "--out", str(tmp_path / "x"), "--chromium", str(program)], capture_output=True, text=True, timeout=60, check=False,
                          env=dict(os.environ, TMPDIR=str(tmp_path)))
    assert done.returncode == 1 and "ended unexpectedly" in done.stderr
    assert not list(tmp_path.glob("consentctl-scan-*"))
    assert shutil.which("chromium")


@pytest.fixture
def odd():
    """A site that answers late, with an error, or without an end."""
    origin = Origin()
    html = [("Content-Type", "text/html")]

    def endless(conn, _):
        conn.sendall(http_response(200, html + [("Transfer-Encoding", "chunked")]))
        try:
            while True:
                conn.sendall(b"8\r\n<p>x</p>\r\n")
                time.sleep(0.3)
        except OSError:
            return None
    origin.routes["/endless"] = endless
    origin.routes["/late"] = lambda conn, request: time.sleep(25)
    origin.routes["/none"] = http_response(404, html, b"none")
    yield f"http://localhost:{origin.port}"
    origin.stop()


def inventory(address, folder, *more, **settings):
    return subprocess.Popen([str(BUILD / "consentctl"), "scan", address, "--direct-only", "--out", str(folder / "out"), "--rules", str(ROOT / "rules"), *more],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, TMPDIR=str(folder)), **settings)


@pytest.mark.parametrize("path, code, why", [
    ("/none", 0, "direct: the page was answered with status 404"),
    ("/endless", 0, "direct: not at rest after 30 s"),
    ("/late", 1, "/late has not answered in 20 s"),
])
def test_a_page_that_is_not_as_it_should_be(odd, tmp_path, path, code, why):
    done = inventory(odd + path, tmp_path)
    out, err = done.communicate(timeout=120)
    assert done.returncode == code and why in out + err


def test_a_certificate_of_its_own(stubs, tmp_path):
    address = "https://own.test/"
    done = inventory(address, tmp_path, "--map", f"MAP * 127.0.0.1:{stubs.server_address[1]}")
    _, err = done.communicate(timeout=120)
    assert done.returncode == 1 and "net::ERR_CERT_AUTHORITY_INVALID; with --insecure" in err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing(odd, tmp_path, how):
    done = inventory(odd + "/endless", tmp_path, preexec_fn=lambda: signal.signal(how, signal.SIG_DFL))
    profile = wait_for(lambda: list(tmp_path.glob("consentctl-scan-*/Default")), 30)[0].parent
    done.send_signal(how)
    assert done.wait(30) == -how
    assert not profile.exists() and not (tmp_path / "out").exists()
    running = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(profile) not in running
