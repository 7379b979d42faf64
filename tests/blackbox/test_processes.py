"""The processes, with real signals: start, respawn, reload, refusal, drain, stop.

The binary is $CONSENTD_BUILD/consentd (or $CONSENTD_BIN). Load is keep-alive and
one-shot requests from threads; "no request fails" means: none at all.
"""
import base64
import http.client
import http.server
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

import harness

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("CONSENTD_BUILD", str(ROOT / "build"))
BINARY = os.environ.get("CONSENTD_BIN", BUILD + "/consentd")

pytestmark = pytest.mark.skipif(not os.path.exists(BINARY), reason=f"{BINARY} is not built")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.02)
    raise AssertionError(f"not in {seconds} s: {what.__doc__ or what}")


def socket_is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *args):
        pass


class Daemon:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        keys = [{"kid": 1, "use": use, "state": "active", "not_before": 0,
                 "key": base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")}
                for use in ("tok", "idx", "log", "unsub")]
        (folder / "keys.json").write_text(json.dumps({"keys": keys}))
        self.config = {
            "workers": 2, "user": pwd.getpwuid(os.geteuid()).pw_name, "keys": "keys.json", "state_dir": str(folder / "state"),
            "rules": str(ROOT / "rules"), "drain_timeout": "5s",
            "listen": [{"address": f"127.0.0.1:{self.port}"}],
            "ledger": {"segment_size": "1MiB"}, "admin": {"socket": str(folder / "admin.sock")},
            "sites": [{"name": "s", "hosts": ["localhost"],
                       "origins": [f"http://127.0.0.1:{self.origin.server_address[1]}"],
                       "policy": str(ROOT / "conf/policy.json")}]}
        self.write(self.config)
        self.log_path = folder / "log"
        self.process = subprocess.Popen([BINARY, "-c", str(folder / "consentd.json")],
                                        stderr=open(self.log_path, "wb"))
        wait_for(lambda: len(self.ready("worker")) >= 2 and self.ready("ledger"))

    def write(self, config):
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        (self.folder / "consentd.json").write_text(text)

    def events(self, name):
        lines = self.log_path.read_text(errors="replace").splitlines()
        rows = [dict(f.split("=", 1) for f in x.split() if "=" in f) for x in lines]
        return [r for r in rows if r.get("event") == name]

    def ready(self, role):
        return [r for r in self.events("process.ready") if r["role"] == role]

    def children(self, role):
        """Living children: pid by slot."""
        out = subprocess.run(["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="],
                             capture_output=True, text=True, check=False).stdout
        return {int(x.split()[0]) for x in out.splitlines() if f"--role {role}" in x}

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.origin.shutdown()


class Load(threading.Thread):
    """Requests until told to stop; remembers what went wrong."""

    def __init__(self, port, keep_alive):
        super().__init__(daemon=True)
        self.port, self.keep_alive, self.go = port, keep_alive, True
        self.cnt, self.errors = 0, []

    def run(self):
        c = None
        while self.go:
            try:
                if c is None:
                    c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                c.request("GET", "/", headers={"Host": "localhost"})
                r = c.getresponse()
                body = r.read()
                if r.status != 200 or not body:
                    self.errors.append(r.status)
                self.cnt += 1
                if not self.keep_alive or r.will_close:
                    c.close()
                    c = None
            except (OSError, http.client.HTTPException) as e:
                # a kept connection that ended before the request's first answer byte may be
                # tried again once: RFC 9110 9.2.2 and 9.3.1 of RFC 9112
                if self.keep_alive and c is not None and isinstance(
                        e, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)):
                    self.retried = getattr(self, "retried", 0) + 1
                else:
                    self.errors.append(repr(e))
                c = None


@pytest.fixture
def daemon(tmp_path):
    os.chmod(tmp_path, 0o755)
    d = Daemon(tmp_path)
    yield d
    d.stop()


def loads(d):
    running = [Load(d.port, keep_alive=i % 2 == 0) for i in range(4)]
    for x in running:
        x.start()
    return running


def finish(running):
    for x in running:
        x.go = False
    for x in running:
        x.join(15)
    return sum(x.cnt for x in running), [e for x in running for e in x.errors]


def test_a_killed_worker_is_replaced_and_the_others_serve(daemon):
    for _ in range(3):
        wait_for(lambda: len(daemon.children("worker")) == 2)
        before = daemon.children("worker")
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(daemon.children("worker") - {victim}) == 2)
    assert len(daemon.events("process.died")) == 3


def test_a_killed_ledger_is_replaced_and_no_request_fails(daemon):
    running = loads(daemon)
    for _ in range(3):
        wait_for(lambda: len(daemon.children("ledger")) == 1)
        (victim,) = daemon.children("ledger")
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: daemon.children("ledger") - {victim})
    wait_for(lambda: len(daemon.ready("ledger")) >= 2)
    cnt, errors = finish(running)
    assert cnt > 0 and errors == []


def test_respawning_backs_off(daemon):
    """Killed at once each time, the waits double from 100 ms."""
    def one():
        return len(daemon.children("ledger")) == 1
    deaths = []
    for _ in range(5):
        wait_for(one)
        victim = daemon.children("ledger").pop()
        os.kill(victim, signal.SIGKILL)
        died = time.monotonic()
        wait_for(lambda v=victim: v not in daemon.children("ledger"), 5)
        wait_for(one)
        deaths.append(time.monotonic() - died)
    assert deaths[-1] > 1.0 and deaths[-1] > 4 * deaths[0]


def test_reload_under_load_fails_no_request(daemon):
    running = loads(daemon)
    for turn in range(1, 6):
        old = daemon.children("worker")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: len(daemon.events("reload.done")) >= turn, 20)
        wait_for(lambda: not old & daemon.children("worker"), 20)
    cnt, errors = finish(running)
    assert cnt > 0 and errors == []
    assert len(daemon.children("worker")) == 2 and len(daemon.children("ledger")) == 1
    assert daemon.events("process.killed") == [] and daemon.events("process.died") == []


def test_a_bad_configuration_is_refused_with_the_reason(daemon):
    old = daemon.children("worker")
    running = loads(daemon)
    daemon.write(dict(daemon.config, worker=3))
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.events("reload.refused"))
    cnt, errors = finish(running)
    assert cnt > 0 and errors == []
    assert daemon.children("worker") == old
    assert 'unknown key; did you mean "workers"?' in daemon.log_path.read_text()


def test_reload_changes_workers_and_listeners(daemon):
    second = free_port()
    daemon.write(dict(daemon.config, workers=3, listen=[{"address": f"127.0.0.1:{second}"}]))
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: len(daemon.events("reload.done")) == 1)
    c = http.client.HTTPConnection("127.0.0.1", second, timeout=5)
    c.request("GET", "/", headers={"Host": "localhost"})
    assert c.getresponse().status == 200

    def closed():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", daemon.port)) != 0
    wait_for(closed)
    wait_for(lambda: len(daemon.children("worker")) == 3)


def test_a_burst_is_spread_over_the_workers(tmp_path):
    """They share one socket, and the fastest does not take it all."""
    proxy = harness.Proxy(tmp_path, workers=2)
    time.sleep(1.5)  # they know each other
    files = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in proxy.workers()}
    crowd = []
    for _ in range(200):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", proxy.port))
        crowd.append(sock)

    def shares():
        return sorted(len(os.listdir(f"/proc/{pid}/fd")) - cnt for pid, cnt in files.items())
    harness.wait_for(lambda: sum(shares()) >= 200)
    assert shares()[0] >= 40, shares()
    for sock in crowd:
        sock.close()
    proxy.stop()


def test_an_address_in_use_is_waited_for_at_the_start(daemon):
    daemon.process.kill()
    daemon.process.wait()
    wait_for(lambda: not socket_is_open(daemon.port))
    command = [BINARY, "-c", str(daemon.folder / "consentd.json")]
    with socket.create_server(("127.0.0.1", daemon.port)):
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode != 0
        assert f"listen[0]: 127.0.0.1:{daemon.port}: Address already in use" in refused.stderr
        with open(daemon.log_path, "wb") as log:
            daemon.process = subprocess.Popen(command, stderr=log)
        wait_for(lambda: daemon.events("listen.busy"))
    wait_for(lambda: len(daemon.ready("worker")) == 2)


def test_sigterm_finishes_and_exits_0(daemon):
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    order = [r["role"] for r in daemon.events("process.finished")]
    assert order == ["worker", "worker", "ledger"] or order[-1] == "ledger"
    assert daemon.events("process.killed") == []


def test_workers_leave_when_the_master_is_killed(daemon):
    pids = daemon.children("worker") | daemon.children("ledger")
    daemon.process.kill()
    daemon.process.wait()
    wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids))


def test_check_says_what_is_wrong(tmp_path):
    (tmp_path / "c.json").write_text('{\n  "wrokers": 1\n}\n')
    out = subprocess.run([BINARY, "-t", "-c", str(tmp_path / "c.json")], capture_output=True,
                         text=True, check=False)
    assert out.returncode == 1
    assert 'c.json:2: wrokers: unknown key; did you mean "workers"?' in out.stderr


def test_check_warns_of_keys_that_all_may_read(daemon):
    keys = daemon.folder / "keys.json"

    def check():
        return subprocess.run([BINARY, "-t", "-c", str(daemon.folder / "consentd.json")], capture_output=True,
                              text=True, check=True).stderr
    keys.chmod(0o644)
    assert f'event=secret.readable file="{keys}" mode=0644' in check()
    keys.chmod(0o640)
    assert "secret.readable" not in check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to drop")
def test_started_as_root_nobody_else_is(tmp_path):
    """Workers, ledger and admin: another user, no groups, no capability, and no way back."""
    folder = pathlib.Path("/var/tmp") / f"consentd-root-{os.getpid()}"  # where nobody may look
    folder.mkdir(mode=0o755)
    try:
        proxy = harness.Proxy(folder, workers=1, user="nobody", admin={"socket": str(folder / "run/admin.sock")})
        user = pwd.getpwnam("nobody")
        for role in ("worker", "ledger", "admin"):
            status = pathlib.Path(f"/proc/{proxy.role(role)}/status").read_text()
            fields = dict(line.split(":", 1) for line in status.splitlines())
            assert fields["Uid"].split() == [str(user.pw_uid)] * 4
            assert fields["Gid"].split() == [str(user.pw_gid)] * 4
            assert fields["Groups"].split() in ([], [str(user.pw_gid)])
            assert [fields[f"Cap{x}"].strip().strip("0") for x in ("Eff", "Prm", "Inh", "Amb")] == [""] * 4
            assert fields["NoNewPrivs"].strip() == "1"
        assert proxy.get("/").status == 200
        assert proxy.ctl("rules", "set", "hotjar", "off").returncode == 0  # root may
        assert (folder / "state/rules.json").stat().st_uid == user.pw_uid
        assert (folder / "run/admin.sock").stat().st_mode & 0o777 == 0o600
        refused = subprocess.run(["setpriv", "--reuid", "daemon", "--clear-groups", "--regid", "daemon",
                                  harness.BUILD / "consentctl", "-c", folder / "consentd.json", "rules", "set",
                                  "hotjar", "enforce"], capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr
        proxy.stop()
    finally:
        shutil.rmtree(folder)


def acme_listeners(cnt):
    """Listeners with a folder of challenges each."""
    folder = pathlib.Path(tempfile.mkdtemp())
    out = []
    for i in range(cnt):
        (folder / str(i)).mkdir()
        out.append({"address": f"127.0.0.1:{20000 + i}", "acme": str(folder / str(i))})
    return out


@pytest.mark.parametrize("change, says", [
    (lambda c: c["sites"][0].update(origins=["ftp://x"]), 'sites[0].origins[0]: "ftp://x" is no origin'),
    (lambda c: c["sites"][0].update(rule_sets={"hotjarr": "off"}), 'did you mean "hotjar"?'),
    (lambda c: c["sites"][0].update(rules=[{"id": "x", "category": "marketingg", "cookies": [{"name": "a"}]}]),
     'sites[0].rules:1: [0].category: unknown category "marketingg"; did you mean "marketing"?'),
    (lambda c: c["sites"][0].update(rules=[{"id": "x", "category": "marketing", "cookies": [{"regex": "("}]}]),
     "[0].cookies[0].regex: not a valid pattern"),
    (lambda c: c["listen"][0].update(address="localhost"), "listen[0].address: \"localhost\": expected ADDRESS:PORT"),
    (lambda c: c["listen"].append(dict(c["listen"][0])), "is listen[0]'s already"),
    (lambda c: c["listen"].extend(acme_listeners(16)), 'listen: "acme" names 16 folders, 15 are possible'),
    (lambda c: c["ledger"].update(redis="localhost:6379"), "ledger.redis: expected redis://HOST"),
    (lambda c: c["admin"].update(group="no-such-group"), 'admin.group: there is no group "no-such-group"'),
    (lambda c: c.update(user="no-such-user"), 'user: there is no user "no-such-user"'),
    (lambda c: c.update(keys="none.json"), "consentd.json: keys: {folder}/none.json: cannot open: No such file"),
    (lambda c: c.update(rules="/none"), "consentd.json: rules: /none/sets: cannot read the folder: No such file"),
    (lambda c: c["sites"][0].update(policy="none.json"), "consentd.json: sites[0].policy: {folder}/none.json: cannot open"),
    (lambda c: c["listen"][0].update(tls={"certificates": [{"cert": "none.pem", "key": "none.key"}]}),
     "consentd.json: listen[0].tls.certificates[0]: {folder}/none.pem: cannot open"),
    (lambda c: c.update(trusted_proxies=["10.0.0.1/8"]), 'consentd.json: trusted_proxies: [0]: "10.0.0.1/8" is no network'),
    (lambda c: c.update(state_dirr="x"), 'state_dirr: unknown key; did you mean "state_dir"?'),
])
def test_check_names_file_key_and_cure(daemon, change, says):
    """And a running consentd refuses the same on SIGHUP, and goes on."""
    config = json.loads(json.dumps(daemon.config))
    change(config)
    daemon.write(config)
    path = str(daemon.folder / "consentd.json")
    done = subprocess.run([BINARY, "-t", "-c", path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert says.replace("{folder}", str(daemon.folder)) in done.stderr
    assert "consentd.json" in done.stderr or "none.json" in done.stderr
