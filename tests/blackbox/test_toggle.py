"""Rule sets switched live, under load: no request fails, every worker obeys within a second."""
import json
import os
import pathlib
import signal
import socket
import threading
import time

import pytest

from harness import ROOT, Origin, Proxy, Reader, http_response, preload, wait_for

PAGE = (b"<!DOCTYPE html><html><head><title>x</title>"
        b"<script src=\"https://static.hotjar.com/c/hotjar-1.js?sv=6\"></script>"
        b"<script async src=\"https://www.googletagmanager.com/gtag/js?id=G-TEST12345\"></script>"
        b"</head><body><p>text</p></body></html>")
HTML = [("Content-Type", "text/html; charset=utf-8")]


@pytest.fixture
def origin():
    server = Origin()
    server.routes["/"] = http_response(200, HTML, PAGE)
    server.routes["/session"] = http_response(
        200, HTML + [("Set-Cookie", "_hjSessionUser_1=a; Path=/"), ("Set-Cookie", "sid=b; Path=/")], PAGE)
    yield server
    server.stop()


@pytest.fixture
def proxy(tmp_path, origin):
    daemon = Proxy(tmp_path, origin, workers=2)
    yield daemon
    if daemon.process.poll() is None:
        daemon.stop()


def shows_hotjar(proxy):
    return b"static.hotjar.com" in proxy.get("/").body


def all_show(proxy, want):
    """Sixteen fresh connections: with two workers all of them went to one once in 32768 times."""
    return all(shows_hotjar(proxy) == want for _ in range(16))


class Load(threading.Thread):
    """Requests without a pause; keep-alive or one connection each."""

    def __init__(self, proxy, keep):
        super().__init__(daemon=True)
        self.proxy, self.keep, self.stopping, self.count, self.failures = proxy, keep, False, 0, []

    def once(self, sock, reader):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = reader.response()
        # whatever is switched meanwhile, a page is judged by one revision, and analytics stay out
        if answer.status != 200 or b"googletagmanager.com" in answer.body or b"</html>" not in answer.body:
            self.failures.append((answer.status, answer.body[:300]))
        self.count += 1

    def run(self):
        while not self.stopping:
            try:
                with self.proxy.connect() as sock:
                    reader = Reader(sock)
                    for _ in range(50 if self.keep else 1):
                        self.once(sock, reader)
            except Exception as error:  # whatever it is, it is a failed request
                self.failures.append(repr(error))


def test_toggles_under_load(proxy):
    loads = [Load(proxy, keep) for keep in (True, True, False, False)]
    for load in loads:
        load.start()
    for _ in range(5):
        for mode, want in (("off", True), ("enforce", False)):
            done = proxy.ctl("rules", "set", "hotjar", mode)
            assert done.returncode == 0, done.stderr
            assert "in force in 2 of 2 workers" in done.stdout
            start = time.monotonic()
            wait_for(lambda: all_show(proxy, want), 1)
            assert time.monotonic() - start < 1
    for load in loads:
        load.stopping = True
    for load in loads:
        load.join(20)
    assert [failure for load in loads for failure in load.failures] == []
    assert sum(load.count for load in loads) > 100


def test_a_request_in_flight_keeps_its_rules(proxy, origin):
    gate = threading.Event()

    def slow(conn, request):
        head, _, body = http_response(200, HTML, PAGE).partition(b"\r\n\r\n")
        conn.sendall(head + b"\r\n\r\n" + body[:40])
        gate.wait(20)
        return body[40:]
    origin.routes["/slow"] = slow
    with proxy.connect() as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reader = Reader(sock)
        reader.until(b"\r\n\r\n")  # the answer has begun under the old revision
        assert proxy.ctl("rules", "set", "hotjar", "off").returncode == 0
        wait_for(lambda: all_show(proxy, True), 5)
        gate.set()
        assert b"static.hotjar.com" not in reader.rest()


def test_report_changes_no_byte_and_counts(proxy):
    for name in ("hotjar", "google-analytics"):
        assert proxy.ctl("rules", "set", name, "report").returncode == 0
    answer = proxy.get("/session")
    banner = answer.body.index(b"<div data-consent-banner")
    end = answer.body.index(b"</script></div>") + len(b"</script></div>")
    assert answer.body[:banner] + answer.body[end:] == PAGE
    assert "_hjSessionUser_1=a; Path=/" in answer.all("Set-Cookie")
    status = json.loads(proxy.ctl("status", "--json").stdout)
    assert status["metrics"]["reported_total"] >= 3
    assert status["metrics"]["elements_removed_total"] == 0


def test_it_survives_a_restart_and_is_on_record(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, workers=2)
    assert proxy.ctl("rules", "set", "hotjar", "off").returncode == 0
    proxy.process.kill()  # the hardest restart
    proxy.process.wait()
    proxy.log_path.unlink()
    proxy.start()
    assert shows_hotjar(proxy)
    listed = proxy.ctl("rules", "list").stdout
    assert [line.split()[1] for line in listed.splitlines() if line.startswith("hotjar ")] == ["off*"]
    history = proxy.ctl("rules", "history").stdout
    assert "hotjar: config -> off" in history
    assert "uid:" in history
    rows = proxy.ctl("audit", "query", "--journal", "--kind", "operator", "-o", "jsonl").stdout
    record = json.loads(rows.splitlines()[0])["event"]["op"]
    assert record["request"] == {"set": "hotjar", "mode": "off"}
    assert record["revision"] == 1
    assert record["who"]
    assert proxy.ctl("rules", "rollback", 0).returncode == 0
    assert not shows_hotjar(proxy)
    proxy.stop()


def test_a_worker_speaks_for_itself_alone(tmp_path, origin, monkeypatch):
    """One that was taken over can't say that a change is in force in the others."""
    monkeypatch.setenv("LD_PRELOAD", preload(tmp_path / "traitor.so", pathlib.Path(__file__).with_name("traitor.c"),
                                             f"-I{ROOT}/include", "-ldl"))
    proxy = Proxy(tmp_path, origin, workers=2)
    monkeypatch.delenv("LD_PRELOAD")
    done = proxy.ctl("rules", "set", "hotjar", "off")
    assert done.returncode != 0 and "in force in 1 of 2 workers" in done.stdout, done
    proxy.stop()


def test_what_is_refused(proxy):
    def refused(*args):
        done = proxy.ctl("rules", *args)
        assert done.returncode != 0
        return done.stderr
    assert 'no rule set "hotjra"' in refused("set", "hotjra", "off")
    assert "hotjar" in refused("set", "hotjra", "off")  # and what was meant
    assert "enforce, report, off" in refused("set", "hotjar", "on")
    assert 'no site "x"' in refused("set", "hotjar", "off", "--site", "x")
    assert "99" in refused("rollback", "99")
    assert json.loads(proxy.ctl("rules", "list", "--json").stdout)["revision"] == 0
    assert not shows_hotjar(proxy)


def test_nothing_is_in_force_that_is_not_on_record(proxy):
    """The ledger stands still: the change is refused, and nothing has changed."""
    ledger = proxy.role("ledger")
    os.kill(ledger, signal.SIGSTOP)
    done = proxy.ctl("rules", "set", "hotjar", "off")
    os.kill(ledger, signal.SIGCONT)
    assert done.returncode != 0
    assert "ledger" in done.stderr
    assert not shows_hotjar(proxy)
    assert proxy.ctl("rules", "set", "hotjar", "off").returncode == 0
    assert shows_hotjar(proxy)


def ask_admin(proxy, data, timeout=10):
    """Raw bytes to the admin socket; all that comes back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(json.loads((proxy.folder / "consentd.json").read_text())["admin"]["socket"])
        sock.sendall(data)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_who_asks_for_nothing_locks_nobody_out(proxy):
    path = json.loads((proxy.folder / "consentd.json").read_text())["admin"]["socket"]
    idle = []
    for _ in range(80):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        idle.append(sock)
    wait_for(lambda: proxy.ctl("rules", "list").returncode == 0, 20)
    for sock in idle:
        sock.close()


def test_a_request_that_cannot_be_recorded_says_why(proxy):
    body = json.dumps({"set": "hotjar", "mode": "off", "reason": "x" * 20000}).encode()
    answer = ask_admin(proxy, b"POST /api/v1/rules HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"too long" in answer
    assert not shows_hotjar(proxy)


@pytest.mark.parametrize("path,request_, word", [
    ("", {"set": "hotjar", "mode": "off", "sit": "s"}, "unknown key"), ("", {"set": "hotjar", "mode": "off", "site": 1}, "a string"),
    ("", {"set": "hotjar", "mode": "off", "site": None}, "a string"), ("", ["hotjar", "off"], "object"),
    ("/rollback", {"revision": 0, "site": "s"}, "unknown key")])
def test_a_request_that_is_half_understood_changes_nothing(proxy, path, request_, word):
    """A site that is misspelt would be all sites."""
    body = json.dumps(request_).encode()
    answer = ask_admin(proxy, b"POST /api/v1/rules%s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body)
    assert b" 400 " in answer.split(b"\r\n")[0] and word.encode() in answer, answer
    assert not shows_hotjar(proxy)


def test_many_may_ask_for_the_status_at_once(proxy):
    ledger = proxy.role("ledger")
    os.kill(ledger, signal.SIGSTOP)  # all questions are open before the first answer
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        ask_admin(proxy, b"GET /api/v1/status HTTP/1.1\r\n\r\n"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    os.kill(ledger, signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 8
