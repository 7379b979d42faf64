"""What operators rely on: logs and their rotation, the sandbox of each role."""
import json
import os
import signal

import pytest

from harness import Origin, Proxy, http_response, wait_for

PAGE = (b'<!doctype html><title>x</title><script src="https://www.google-analytics.com/analytics.js"></script>'
        b'<script src="https://connect.facebook.net/en_US/fbevents.js"></script><p>text')


@pytest.fixture
def origin():
    made = Origin()
    made.routes["/page"] = http_response(200, [
        ("Content-Type", "text/html"), ("Set-Cookie", "_ga=1"), ("Set-Cookie", "s=1"),
        ("Link", "<https://www.google-analytics.com/x.js>; rel=preload; as=script, </a.css>; rel=preload")], PAGE)
    yield made
    made.stop()


def lines_of(path, count):
    wait_for(lambda: path.exists() and path.read_text().count("\n") >= count)
    return path.read_text().splitlines()


def test_json_log(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, access_log="access.log", access_log_format="json")
    proxy.get("/page?mail=a@b", [("Cookie", "_ga=1; _gid=2; session=topsecret"), ("User-Agent", "agent/1")])
    proxy.get("/evil\"quo\\te", host="nowhere")
    proxy.raw(b"GARBAGE\x01\r\n\r\n")
    answer = proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST",
                       json.dumps({"grant": ["analytics"], "deny": ["marketing"]}).encode())
    proxy.get("/page", [("Cookie", answer.header("set-cookie").split(";")[0] + "; _ga=1")])
    rows = [json.loads(line) for line in lines_of(tmp_path / "access.log", 5)]
    page, evil, bad, _, granted = rows
    assert page["peer"] == "127.0.0.0/24" and page["method"] == "GET" and page["path"] == "/page"
    assert page["status"] == 200 and page["bytes"] > 0 and page["protocol"] == "HTTP/1.1" and page["ms"] >= 0
    assert page["site"] == "s" and page["consent"] == "undecided" and page["note"] is None
    assert page["removed"]["cookies"] == 2 and page["removed"]["set_cookies"] == 1
    assert page["removed"]["links"] == 1 and page["removed"]["elements"] >= 2
    assert evil["status"] == 421 and evil["site"] is None and evil["consent"] is None and evil["note"]
    assert bad["status"] == 400 and bad["method"] is None and bad["path"] is None
    assert granted["consent"] == "analytics" and granted["removed"]["cookies"] == 0
    assert granted["removed"]["set_cookies"] == 0 and granted["removed"]["elements"] == 1
    text = (tmp_path / "access.log").read_text()
    assert "secret" not in text and "mail" not in text and "agent" not in text
    proxy.stop()


def test_combined_log_counts_what_was_removed(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, access_log="access.log")
    proxy.get("/page", [("Cookie", "_ga=1; _gid=2")])
    proxy.get("/plain")
    page, plain = lines_of(tmp_path / "access.log", 2)
    removed = page.split(" ")[-2].split("/")
    assert removed[:3] == ["2", "1", "1"] and int(removed[3]) >= 2
    assert plain.split(" ")[-2] == "0/0/0/0"
    proxy.stop()


def test_usr1_opens_every_log_again(tmp_path, origin):
    """Moved files get no line after it; no process is replaced, no connection cut."""
    log, access = tmp_path / "program.log", tmp_path / "access.log"
    config = {"access_log": "access.log", "log": {"file": "program.log"}, "workers": 2}
    proxy = None

    class Quiet(Proxy):
        def log(self):
            return log.read_text() if log.exists() else ""
    proxy = Quiet(tmp_path, origin, **config)
    before = proxy.workers() + [proxy.role("ledger"), proxy.role("admin")]
    with proxy.connect() as kept:
        kept.sendall(b"GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
        os.rename(access, tmp_path / "access.1")  # the gathered line goes to the moved file
        os.rename(log, tmp_path / "program.1")
        os.kill(proxy.pid, signal.SIGUSR1)
        wait_for(lambda: "event=logs.reopened" in proxy.log())
        for pid in before:  # every process writes to the new file
            wait_for(lambda p=pid: os.stat(f"/proc/{p}/fd/2").st_ino == os.stat(log).st_ino)
        wait_for(lambda: any(os.stat(f"/proc/{before[0]}/fd/{fd}").st_ino == os.stat(access).st_ino
                             for fd in os.listdir(f"/proc/{before[0]}/fd")))
        kept.sendall(b"GET /two HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
    wait_for(lambda: "/two" in access.read_text())
    assert "/one" in (tmp_path / "access.1").read_text() and "/two" not in (tmp_path / "access.1").read_text()
    assert proxy.workers() + [proxy.role("ledger"), proxy.role("admin")] == before
    assert proxy.hup()
    proxy.stop()


def test_usr1_with_a_log_that_cannot_be_opened(tmp_path, origin):
    folder = tmp_path / "logs"
    folder.mkdir()
    proxy = Proxy(tmp_path, origin, access_log="logs/access.log")
    proxy.get("/one")
    lines_of(folder / "access.log", 1)
    os.rename(folder, tmp_path / "old")
    os.kill(proxy.pid, signal.SIGUSR1)
    wait_for(lambda: "event=access_log.failed" in proxy.log())
    proxy.get("/two")  # goes on with the file it has
    wait_for(lambda: "/two" in (tmp_path / "old/access.log").read_text())
    proxy.stop()


def filter_mode(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(line.split()[1] for line in status if line.startswith("Seccomp:"))


def test_every_role_is_in_a_sandbox(tmp_path, origin):
    """System calls are filtered in all roles, and all of them still do what they are for."""
    proxy = Proxy(tmp_path, origin)
    pids = proxy.workers() + [proxy.role("ledger"), proxy.role("admin")]
    wait_for(lambda: proxy.log().count("event=sandbox.") == 3)
    assert [filter_mode(pid) for pid in pids] == ["2"] * 3 and filter_mode(proxy.pid) == "0"
    answer = proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST",
                       json.dumps({"grant": ["analytics"], "deny": ["marketing"]}).encode())
    assert answer.header("set-cookie")
    assert proxy.ctl("rules", "set", "hotjar", "report").returncode == 0
    assert proxy.ctl("audit", "query", "--journal").returncode == 0
    assert proxy.get("/.well-known/consent-log/checkpoint").status in (200, 404)
    assert proxy.hup() and proxy.get("/page").status == 200
    assert "errno=1" not in proxy.log() and "not permitted" not in proxy.log()
    proxy.stop()


def test_the_sandbox_can_be_switched_off(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, sandbox=False)
    assert "event=sandbox.off" in proxy.log() and filter_mode(proxy.workers()[0]) == "0"
    proxy.stop()
