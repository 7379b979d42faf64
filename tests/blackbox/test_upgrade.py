"""Another program file in place of the running one, under load: nothing fails, nothing is lost, and
what is no good is not taken."""
import base64
import collections
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import h2
from harness import BUILD, Origin, Proxy, free_port, http_response, preload, wait_for
from test_kill import records

ROUNDS = int(os.environ.get("UPGRADE_ROUNDS", "3"))  # reloads and upgrades each, one a second
CHOICE = json.dumps({"grant": ["analytics"], "deny": ["marketing"]}).encode()


class Upgradable(Proxy):
    """Runs from a file of its own, that a test may replace."""

    def __init__(self, folder, *args, **config):
        self.binary = folder / "bin/consentd"
        self.binary.parent.mkdir()
        shutil.copy(BUILD / "consentd", self.binary)
        super().__init__(folder, *args, **config)

    def replace(self, path=None, text=None):
        """As a package manager does it: a new file, renamed over the old one."""
        fresh = self.binary.with_suffix(".new")
        if text is None:
            shutil.copy(path or BUILD / "consentd", fresh)
        else:
            fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.rename(self.binary)

    def events(self, name):
        return [line for line in self.log().splitlines() if f"event={name}" in line]

    def upgrade(self):
        done = len(self.events("upgrade.done"))
        os.kill(self.pid, signal.SIGUSR2)
        wait_for(lambda: len(self.events("upgrade.done")) > done, 40)

    def refused(self):
        """USR2 that is refused; the reason."""
        before = len(self.events("upgrade.refused"))
        os.kill(self.pid, signal.SIGUSR2)
        wait_for(lambda: len(self.events("upgrade.refused")) > before, 60)
        return self.events("upgrade.refused")[-1].split("reason=", 1)[1]

    def file_of(self, pid):
        return os.stat(f"/proc/{pid}/exe").st_ino


def crowd(proxy):
    return proxy.workers() + [proxy.role("ledger"), proxy.role("admin")]


def test_the_new_file_serves_under_the_same_process(tmp_path):
    proxy = Upgradable(tmp_path, workers=2)
    assert proxy.get("/").status == 200
    before, pid, inode = crowd(proxy), proxy.pid, proxy.file_of(proxy.pid)
    proxy.replace()
    proxy.upgrade()
    assert proxy.process.poll() is None and proxy.pid == pid
    wait_for(lambda: not set(before) & set(crowd(proxy)) and len(proxy.workers()) == 2)
    fresh = os.stat(proxy.binary).st_ino
    assert fresh != inode and {proxy.file_of(p) for p in crowd(proxy) + [pid]} == {fresh}
    assert proxy.get("/").status == 200
    status = json.loads(proxy.ctl("status", "-o", "json").stdout)
    assert status["metrics"]["upgrades_total"] == 1 and status["metrics"]["requests_total"] >= 2
    held = os.listdir(f"/proc/{pid}/fd")
    for _ in range(2):
        proxy.upgrade()
    wait_for(lambda: len(crowd(proxy)) == 4 and len(proxy.workers()) == 2)
    wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= len(held))  # nothing is left open
    assert proxy.hup()
    proxy.stop()
    assert not (tmp_path / "admin.sock").exists()


def test_a_toggle_and_the_log_outlive_it(tmp_path):
    proxy = Upgradable(tmp_path)
    assert proxy.ctl("rules", "set", "hotjar", "off").returncode == 0
    proxy.upgrade()
    assert "off" in next(x for x in proxy.ctl("rules", "list").stdout.splitlines() if x.startswith("hotjar"))
    assert proxy.ctl("rules", "set", "hotjar", "enforce").returncode == 0
    proxy.upgrade()
    assert proxy.ctl("audit", "query", "--kind", "operator", "--journal", "-o", "jsonl").stdout.count("\n") == 2
    proxy.stop()


@pytest.mark.parametrize("what, says", [
    ("missing", "No such file"), ("text", "Exec format error"), ("script", "this one is broken"),
    ("config", 'unknown key; did you mean "workers"?'), ("crash", "crashed")])
def test_what_cannot_start_changes_nothing(tmp_path, what, says):
    proxy = Upgradable(tmp_path)
    before = crowd(proxy)
    if what == "missing":
        proxy.binary.unlink()
    elif what == "text":
        proxy.replace(text="no program\n")
        proxy.binary.write_bytes(b"\x7fELF no program")
    elif what == "script":
        proxy.replace(text="#!/bin/sh\necho 'this one is broken' >&2; exit 3\n")
    elif what == "crash":
        proxy.replace(text="#!/bin/sh\nkill -SEGV $$\n")
    else:
        proxy.rewrite(dict(proxy.config, wrokers=1))
    assert says in proxy.refused()
    assert crowd(proxy) == before and proxy.get("/").status == 200
    asked = proxy.ctl("upgrade")
    assert asked.returncode == 1 and says in asked.stderr
    proxy.rewrite(proxy.config)
    proxy.replace()
    assert proxy.ctl("upgrade").returncode == 0
    assert not set(before) & {proxy.role("ledger")}
    proxy.stop()


@pytest.mark.parametrize("seals, state, says", [
    (0, b"{}", "no sealed file in memory"), (0xe, b"{}", "no sealed file in memory"),
    (0xf, b'{"ipc": 1000000}', "speak another language"), (0xf, b"{", "the master's state"), (0xf, b"{}", "ipc is missing")])
def test_a_state_that_is_none_is_not_taken(tmp_path, seals, state, says):
    """What the old program hands to the new one can't change any more, and is of its kind."""
    proxy = Upgradable(tmp_path)
    fd = os.memfd_create("state", os.MFD_ALLOW_SEALING)
    os.write(fd, state)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    out = subprocess.run([str(proxy.binary), "-t", "-c", str(proxy.folder / "consentd.json")], pass_fds=[fd], check=False,
                         env=dict(os.environ, CONSENTD_HANDOVER=str(fd)), capture_output=True, text=True)
    os.close(fd)
    assert out.returncode != 0 and says in out.stderr, out.stderr
    proxy.stop()


@pytest.mark.parametrize("role", ["worker", "ledger", "admin"])
def test_a_new_version_whose_processes_die_is_taken_back(tmp_path, role):
    """It passes its own check, takes over, and one of its roles dies: the old file goes on."""
    proxy = Upgradable(tmp_path, workers=2)
    workers, inode = set(proxy.workers()), proxy.file_of(proxy.pid)
    real, preload = tmp_path / "bin/real", tmp_path / "die.so"
    shutil.copy(BUILD / "consentd", real)
    (tmp_path / "die.c").write_text(
        '#include <string.h>\n#include <unistd.h>\n'
        '__attribute__((constructor)) static void die(int c, char **v) {\n'
        '    char exe[4096] = ""; if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0) return;\n'
        f'    if (strcmp(exe, "{real}") == 0 && c > 2 && strcmp(v[1], "--role") == 0 &&\n'
        f'        strcmp(v[2], "{role}") == 0) _exit(9);\n}}\n')
    subprocess.run(["cc", "-shared", "-fPIC", "-o", preload, tmp_path / "die.c"], check=True)
    proxy.replace(text=f'#!/bin/sh\nexport LD_PRELOAD={preload} ASAN_OPTIONS=verify_asan_link_order=0\n'
                  f'exec {real} "$@"\n')
    assert "died" in proxy.refused()
    assert proxy.file_of(proxy.pid) == inode and workers <= set(proxy.workers())
    wait_for(lambda: len(proxy.workers()) == 2 and len(crowd(proxy)) == 4 and None not in crowd(proxy))
    wait_for(lambda: {proxy.file_of(p) for p in crowd(proxy)} == {inode})
    if role == "worker":  # after two looks at the certificates nothing was reloaded on its own
        time.sleep(6)
        assert not proxy.events("certificates.changed") + proxy.events("reload.started")
        change = json.loads(proxy.ctl("status", "-o", "json").stdout)["last_change"]
        assert change["what"] == "upgrade" and not change["done"]
    answer = proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST", CHOICE)
    assert answer.status == 201 and answer.header("set-cookie")
    proxy.replace()
    proxy.upgrade()
    assert proxy.get("/").status == 200
    assert proxy.terminate() is None and proxy.process.wait(30) == 0 and "Sanitizer" not in proxy.log()


@pytest.fixture(name="fragile")
def fragile_fixture(tmp_path, monkeypatch):
    """A proxy; .breaks names the role whose next processes die as they begin."""
    library, which = tmp_path / "fragile.so", tmp_path / "breaks"
    library.with_suffix(".c").write_text(
        '#include <fcntl.h>\n#include <string.h>\n#include <unistd.h>\n'
        '__attribute__((constructor)) static void die(int c, char **v) {\n'
        f'    char role[16] = ""; int fd = open("{which}", O_RDONLY);\n'
        '    if (fd < 0) return;\n'
        '    if (read(fd, role, sizeof(role) - 1) > 0 && c > 2 && strcmp(v[1], "--role") == 0 &&\n'
        '        strcmp(v[2], role) == 0) _exit(9);\n'
        '    close(fd);\n}\n')
    monkeypatch.setenv("LD_PRELOAD", preload(library, library.with_suffix(".c")))
    proxy = Proxy(tmp_path, workers=2, admin={"listen": f"127.0.0.1:{free_port()}"})
    monkeypatch.delenv("LD_PRELOAD")
    proxy.breaks = which
    yield proxy
    proxy.terminate()
    assert proxy.process.wait(30) == 0 and "Sanitizer" not in proxy.log()


@contextlib.contextmanager
def kept_alive(proxy):
    """A connection that has served one request; what is yielded asks once more on it."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)

    def ask():
        connection.request("GET", "/", headers={"Host": "localhost"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    assert ask() == 200
    yield ask
    connection.close()


def took(proxy):
    """The answer to a choice that was recorded, or None."""
    answer = proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST", CHOICE)
    return answer if answer.status == 201 else None


@pytest.mark.parametrize("role", ["worker", "ledger", "admin"])
def test_a_configuration_whose_processes_die_is_taken_back(fragile, role):
    """It passes the check, and then processes die of it: the one before goes on, whole."""
    workers, before = set(fragile.workers()), json.loads(json.dumps(fragile.config))
    after = json.loads(json.dumps(fragile.config))
    after["workers"] = 3
    after["listen"] = [{"address": f"127.0.0.1:{free_port()}"}]
    after["admin"]["listen"] = f"127.0.0.1:{free_port()}"
    fragile.rewrite(after)
    fragile.breaks.write_text(role)
    with kept_alive(fragile) as again:
        assert not fragile.hup()
        assert again() == 200
    fragile.breaks.unlink()
    assert "event=reload.failed" in fragile.log() and "died" in fragile.log()
    assert set(fragile.workers()) >= workers  # they never left
    wait_for(lambda: set(fragile.workers()) == workers and None not in crowd(fragile) and len(crowd(fragile)) == 4)
    assert fragile.get("/").status == 200  # at the address before
    health = http.client.HTTPConnection(before["admin"]["listen"], timeout=10)
    health.request("GET", "/health")
    assert health.getresponse().status in (200, 503)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", after["listen"][0]["address"].rsplit(":", 1)[1]), 2)
    status = wait_for(lambda: json.loads(fragile.ctl("status", "-o", "json").stdout or "null"))
    assert status["last_change"]["done"] is False and "died" in status["last_change"]["reason"]
    answer = wait_for(lambda: took(fragile))
    assert answer.header("set-cookie")
    held = len(os.listdir(f"/proc/{fragile.pid}/fd"))
    asked = fragile.ctl("reload")  # whole once more, the same file is good
    assert asked.returncode == 0, asked.stderr
    fragile.port = int(after["listen"][0]["address"].rsplit(":", 1)[1])
    assert fragile.get("/").status == 200
    wait_for(lambda: len(os.listdir(f"/proc/{fragile.pid}/fd")) <= held + 2)


@pytest.mark.parametrize("change", [signal.SIGHUP, signal.SIGUSR2])
def test_a_stop_during_a_change_is_a_stop(tmp_path, change):
    """The new ledger opens after workers were told to go: nothing is taken back, all finish."""
    asked, gate = threading.Event(), threading.Event()

    def handler(_conn, _request):
        asked.set()
        gate.wait(30)
        return http_response(200, [("Content-Type", "text/plain")], b"late")
    proxy = Upgradable(tmp_path, Origin(handler), workers=3, drain_timeout="20s")
    answers = []
    visitor = threading.Thread(target=lambda: answers.append(proxy.get("/").body))
    visitor.start()
    assert asked.wait(10)
    old = proxy.role("ledger")
    os.kill(old, signal.SIGSTOP)  # it keeps its lock, for which the new one waits
    os.kill(proxy.pid, change)
    wait_for(lambda: sum("role=worker" in line for line in proxy.events("process.ready")) == 6, 30)
    proxy.terminate()
    wait_for(lambda: sum("role=worker" in line for line in proxy.events("process.finished")) == 5, 15)
    os.kill(old, signal.SIGCONT)
    wait_for(lambda: sum("role=ledger" in line for line in proxy.events("process.ready")) == 2, 15)
    time.sleep(0.5)  # time to do the wrong thing
    gate.set()
    visitor.join(20)
    assert answers == [b"late"]
    assert proxy.process.wait(20) == 0
    proxy.origin.stop()
    assert not proxy.events("reload.failed") + proxy.events("upgrade.failed") + proxy.events("process.died")
    assert "Sanitizer" not in proxy.log()


# --- under load --------------------------------------------------------------------------------


class Load(threading.Thread):
    """Requests one after the other until told to stop; nothing that goes wrong is forgiven."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy, self.go, self.cnt, self.connections, self.errors = proxy, True, 0, 0, []

    def run(self):
        while self.go:
            try:
                self.one()
                self.cnt += 1
            except Exception as error:  # whatever it is: a request failed
                self.errors.append(repr(error))
                self.drop()

    def drop(self):
        pass


class Http1(Load):
    def __init__(self, proxy, tls=False, keep=True):
        super().__init__(proxy)
        self.tls, self.keep, self.conn = tls, keep, None

    def drop(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = None

    def request(self, method="GET", path="/", body=None, headers=None):
        if self.conn is None:
            self.connections += 1
            context = ssl.create_default_context(cafile=str(self.proxy.ca)) if self.tls else None
            kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
            port = self.proxy.tls_port if self.tls else self.proxy.port
            self.conn = kind("localhost", port, timeout=30, **({"context": context} if self.tls else {}))
        self.conn.request(method, path, body, {"Host": "localhost", **(headers or {})})
        answer = self.conn.getresponse()
        text = answer.read()
        if not self.keep or answer.will_close:
            self.drop()
        return answer, text

    def one(self):
        answer, text = self.request()
        assert answer.status == 200 and text == b"ok\n", (answer.status, text)


class Chooser(Http1):
    """Posts one new choice after the other; acked: where the ledger says it recorded each."""

    def __init__(self, proxy):
        super().__init__(proxy)
        self.acked = {}

    def one(self):
        eid = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        answer, text = self.request("POST", "/.consent/choice", json.dumps(
            {"grant": ["analytics"], "deny": ["marketing"], "eid": eid, "mth": "panel.save"}),
            {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"})
        assert answer.status in (200, 201), (answer.status, text)
        receipt = json.loads(text)
        assert receipt["recorded"] and "consent=" in answer.getheader("Set-Cookie"), text
        self.acked[eid] = (receipt["node"], receipt["leaf"])


class Http2(Load):
    """Eight streams at a time; a stream that GOAWAY leaves out is asked for again (RFC 9113 6.8)."""

    def __init__(self, proxy):
        super().__init__(proxy)
        self.client = None

    def drop(self):
        if self.client is not None:
            self.client.sock.close()
        self.client = None

    def one(self):
        if self.client is None:
            self.client = h2.Client(self.proxy, tls=True)
            self.connections += 1
        client = self.client
        streams = [client.get("/") for _ in range(8)]
        client.wait(*streams)
        for stream in streams:
            answer = client.answers.pop(stream)
            if client.goaway and stream > client.goaway[0]:
                assert not answer.heads
                continue
            assert answer.status == 200 and answer.body == b"ok\n", (answer.status, answer.reset, client.goaway)
        if client.goaway or client.closed:
            self.drop()


def test_reloads_and_upgrades_every_second_fail_nothing(tmp_path):
    """Each second one of each; keep-alive, one-shot, TLS, HTTP/2, choices: every one is answered well."""
    proxy = Upgradable(tmp_path, workers=2, tls=True, drain_timeout="10s")
    loads = [Http1(proxy), Http1(proxy, keep=False), Http1(proxy, tls=True), Http1(proxy, tls=True, keep=False),
             Http2(proxy), Chooser(proxy), Chooser(proxy)]
    for load in loads:
        load.start()
    for turn in range(ROUNDS):
        if turn % 2:
            proxy.replace()
        os.kill(proxy.pid, signal.SIGHUP)
        time.sleep(0.5)
        os.kill(proxy.pid, signal.SIGUSR2)
        time.sleep(0.5)
    wait_for(lambda: proxy.events("upgrade.done"), 60)
    upgrades = len(proxy.events("upgrade.done"))
    proxy.upgrade()  # the last one is through: what was asked for before is too
    for load in loads:
        load.go = False
    for load in loads:
        load.join(60)
    print({type(load).__name__: load.cnt for load in loads}, upgrades, len(proxy.events("reload.done")))
    assert [load.errors for load in loads] == [[]] * len(loads)
    assert all(load.cnt > 0 for load in loads)
    assert proxy.events("upgrade.refused") == [] and proxy.events("reload.refused") == []
    acked = {eid: where for load in loads if isinstance(load, Chooser) for eid, where in load.acked.items()}
    found = collections.Counter(eid for eid, _, _ in records(proxy, "--journal"))
    places = {eid: (node, leaf) for eid, node, leaf in records(proxy, "--journal")}
    assert set(found.values()) <= {1} and all(places[eid] == where for eid, where in acked.items())
    wait_for(lambda: len(proxy.workers()) == 2, 30)  # the old ones have left
    proxy.stop()
