"""What operators rely on: logs and their rotation, the sandbox of each role."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from harness import ROOT, Origin, Proxy, free_port, http_response, merge, preload, wait_for

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

        new_log = log
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


@pytest.mark.parametrize("local", [False, True], ids=["tcp", "unix"])
def test_a_worker_is_no_operator(tmp_path, origin, monkeypatch, local):
    """It is of the same user. Without an origin at a unix socket it has none itself; with one it is told apart."""
    there = Origin(unix=tmp_path / "origin.sock") if local else origin
    monkeypatch.setenv("OPERATORS", str(tmp_path / "admin.sock"))
    monkeypatch.setenv("LD_PRELOAD", preload(tmp_path / "traitor.so", pathlib.Path(__file__).with_name("traitor.c"),
                                             f"-I{ROOT}/include", "-ldl"))
    proxy = Proxy(tmp_path, there)
    monkeypatch.delenv("LD_PRELOAD")
    for _ in range(2):
        assert proxy.get("/").status == 200
        assert proxy.log().splitlines().count("traitor: " + ("no answer" if local else "no socket")) == 1
        assert ("event=admin.refused" in proxy.log()) == local
        assert proxy.ctl("rules", "list").returncode == 0  # who is one is served as before
    proxy.stop()
    if local:
        there.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="runs it as another user")
def test_no_process_can_be_looked_into(tmp_path, origin):
    """One user's processes may read each other's memory, the master's with all keys too: /proc denies it."""
    Proxy(tmp_path, origin).stop()
    with tempfile.TemporaryDirectory(prefix="consentd-user-") as folder:
        shutil.copytree(tmp_path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock", "state"))
        config = json.loads((tmp_path / "consentd.json").read_text())
        config.update(state_dir=f"{folder}/state", admin={"socket": f"{folder}/admin.sock"})
        (pathlib.Path(folder) / "consentd.json").write_text(json.dumps(config))
        subprocess.run(["chown", "-R", "nobody:", folder], check=True)
        log = pathlib.Path(folder) / "user.log"
        with open(log, "wb") as out:
            master = subprocess.Popen([str(Proxy.binary), "-c", f"{folder}/consentd.json"], stderr=out, user="nobody",
                                      group="nogroup", extra_groups=[])
        try:
            wait_for(lambda: log.read_text().count("event=process.ready") == 3, 30)
            pids = [master.pid] + [int(pid) for pid in re.findall(r"event=process.started .* pid=(\d+)", log.read_text())]
            assert [os.stat(f"/proc/{pid}/mem").st_uid for pid in pids] == [0] * 4  # else it would be nobody's
            master.send_signal(signal.SIGHUP)
            wait_for(lambda: "event=reload.done" in log.read_text(), 30)
            master.send_signal(signal.SIGUSR2)
            wait_for(lambda: "event=upgrade.done" in log.read_text(), 30)
            assert os.stat(f"/proc/{master.pid}/mem").st_uid == 0
        finally:
            master.terminate()
            assert master.wait(20) == 0


def test_the_sandbox_can_be_switched_off(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, sandbox=False)
    assert "event=sandbox.off" in proxy.log() and filter_mode(proxy.workers()[0]) == "0"
    proxy.stop()


# --- status, health, metrics -------------------------------------------------------------------


def watch(port, path, method="GET"):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        conn.request(method, path)
        answer = conn.getresponse()
        return answer.status, answer.read().decode()
    finally:
        conn.close()


def families(text):
    """The text format 0.0.4, checked as promtool does: family -> (type, {sample: value})."""
    assert text.endswith("\n")
    found, name = {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, doc = line[7:].split(" ", 1)
            assert re.fullmatch(r"consentd_[a-z][a-z0-9_]*", name) and doc and name not in found, line
            found[name] = [None, {}]
        elif line.startswith("# TYPE "):
            assert line.split()[2] == name and found[name][0] is None, line
            found[name][0] = line.split()[3]
        else:
            match = re.fullmatch(r'([a-z0-9_]+)(\{[a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*\})? ([0-9]+(?:\.[0-9]+)?)', line)
            assert match and match[1] == name, line
            assert line.rsplit(" ", 1)[0] not in found[name][1], line
            found[name][1][line.rsplit(" ", 1)[0]] = float(match[3])
    for name, (kind, samples) in found.items():
        assert kind in ("counter", "gauge") and samples, name
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(milliseconds|nanoseconds|ms|ns|kilobytes|percent|counter|gauge)(_|$)", name), name
    return found


def test_metrics_are_as_prometheus_wants_them(tmp_path, origin):
    port = free_port()
    proxy = Proxy(tmp_path, origin, workers=2, admin={"listen": f"127.0.0.1:{port}"})
    for _ in range(5):
        proxy.get("/page", [("Cookie", "_ga=1")])
    status, text = watch(port, "/metrics")
    found = families(text)
    assert status == 200 and found["consentd_requests_total"][1]["consentd_requests_total"] == 5
    assert found["consentd_cookies_stripped_total"][1]["consentd_cookies_stripped_total"] == 5
    assert found["consentd_processes"][1]['consentd_processes{role="worker"}'] == 2
    assert found["consentd_generation"][1]["consentd_generation"] == 1
    assert sum(found["consentd_site_origin_requests_total"][1].values()) == 5
    assert set(families(proxy.ctl("metrics").stdout)) == set(found)
    assert proxy.hup()
    wait_for(lambda: families(watch(port, "/metrics")[1])["consentd_generation"][1]["consentd_generation"] == 2)
    after = families(watch(port, "/metrics")[1])
    for name, (kind, samples) in found.items():  # a counter never falls, also over a reload
        for sample, value in samples.items():
            if kind == "counter" and "_site_origin_" not in name:
                assert after[name][1][sample] >= value, sample
    proxy.stop()


def test_the_watched_address_has_health_and_metrics_alone(tmp_path, origin):
    port = free_port()
    proxy = Proxy(tmp_path, origin, admin={"listen": f"127.0.0.1:{port}"})
    for path in ("/health", "/api/v1/health"):
        status, text = watch(port, path)
        assert status == 200 and json.loads(text)["status"] == "ok" and json.loads(text)["workers"] == 1
    for method, path in (("GET", "/api/v1/status"), ("GET", "/api/v1/rules"), ("POST", "/api/v1/rules"),
                         ("POST", "/api/v1/reload"), ("POST", "/api/v1/upgrade"), ("GET", "/api/v1/events"),
                         ("GET", "/api/v1/routes"), ("POST", "/health"), ("DELETE", "/metrics"), ("GET", "/")):
        assert watch(port, path, method)[0] == 404, (method, path)
    assert "admin.denied" not in proxy.log()
    kept = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]  # asks nothing, holds no place
    assert proxy.ctl("status").returncode == 0
    for sock in kept:
        sock.close()
    wait_for(lambda: watch_or_none(port) == 200)
    proxy.rewrite(merge(proxy.config, {"admin": {"listen": "0.0.0.0:1"}}))
    assert not proxy.hup() and '"listen_public": true' in proxy.log()
    proxy.rewrite(merge(proxy.config, {"admin": {"listen": f"0.0.0.0:{free_port()}", "listen_public": True}}))
    assert proxy.hup()
    wait_for(lambda: watch_or_none(port) is None)  # the old address is closed
    proxy.stop()


def watch_or_none(port):
    try:
        return watch(port, "/health")[0]
    except (OSError, http.client.HTTPException):
        return None


def test_health_says_what_is_wrong(tmp_path, origin):
    port = free_port()
    proxy = Proxy(tmp_path, origin, admin={"listen": f"127.0.0.1:{port}"},
                  ledger={"redis": f"unix:{tmp_path}/nobody.sock"})

    def problems():
        status, text = watch(port, "/health")
        return status, json.loads(text)["status"], " ".join(json.loads(text)["problems"])
    wait_for(lambda: problems() == (200, "degraded", "redis is down: records stay in the journal"))
    os.kill(proxy.role("ledger"), signal.SIGSTOP)
    status, state, said = problems()
    assert (status, state) == (200, "degraded") and "the ledger is away" in said
    os.kill(proxy.role("ledger"), signal.SIGCONT)
    wait_for(lambda: "away" not in problems()[2])
    proxy.stop()


def test_status_shows_each_process(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, workers=2, drain_timeout="10s")
    for _ in range(4):
        proxy.get("/page")
    kept = proxy.connect()
    kept.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
    kept.recv(65536)

    def status():
        return json.loads(proxy.ctl("status", "-o", "json").stdout)
    first = status()
    rows = first["processes"]
    assert {(r["role"], r["pid"]) for r in rows} == {("worker", p) for p in proxy.workers()} | {
        ("ledger", proxy.role("ledger")), ("admin", proxy.role("admin"))}
    assert sum(r.get("requests", 0) for r in rows) == 5 and sum(r.get("connections", 0) for r in rows) == 1
    assert first["last_change"] is None and first["generation"] == 1 and first["origins"] and first["ledger"]
    assert proxy.ctl("reload").stdout == "done: version 0.1.0, generation 2\n"
    after = status()
    assert after["last_change"] == {"number": 1, "what": "reload", "done": True, "reason": ""}
    assert {r["generation"] for r in after["processes"] if not r["draining"]} == {2}
    assert sum(r.get("requests", 0) for r in after["processes"] if r["generation"] == 2) == 0
    table = proxy.ctl("status").stdout
    assert "last change          reload done" in table and "PROCESS" in table and str(proxy.workers()[0]) in table
    kept.close()
    proxy.rewrite(merge(proxy.config, {"wrokers": 1}))
    proxy.ctl("reload")
    os.kill(proxy.pid, signal.SIGHUP)
    wait_for(lambda: "event=reload.refused" in proxy.log())
    proxy.rewrite(proxy.config)
    change = status()["last_change"]
    assert not change["done"] and 'did you mean "workers"?' in change["reason"]
    assert proxy.ctl("status", "-o", "xml").returncode == 2
    proxy.stop()
