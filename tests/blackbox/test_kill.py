"""Choices posted through the real proxy while its processes and Redis are killed.

Every choice answered with success must be in the ledger exactly once, in the journal and in
Redis, under the leaf that the answer named. Visitors do what the banner does: after a failure they
post the same choice, with the same eid, again. CONSENTD_KILLS sets how often each role is
killed (CI: 4; the full measure: 20).
"""
import base64
import collections
import http.client
import json
import os
import signal
import threading
import time

import pytest

from harness import Proxy, Redis, wait_for

KILLS = int(os.environ.get("CONSENTD_KILLS", "4"))
VISITORS = 6


class Visitor(threading.Thread):
    """Makes one new choice after another until told to stop."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.stopping, self.acked, self.refused, self.errors = port, False, {}, 0, 0
        self.wrong = []

    def post(self, eid):
        conn = http.client.HTTPConnection("localhost", self.port, timeout=10)
        try:
            conn.request("POST", "/.consent/choice",
                         json.dumps({"grant": ["analytics"], "deny": ["marketing"], "eid": eid,
                                     "mth": "panel.save"}),
                         {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin",
                          "Host": f"localhost:{self.port}"})
            answer = conn.getresponse()
            return answer.status, answer.read(), answer.getheader("Set-Cookie")
        finally:
            conn.close()

    def run(self):
        while not self.stopping:
            eid = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    status, body, cookie = self.post(eid)
                except (OSError, http.client.HTTPException):
                    self.errors += 1
                    time.sleep(0.05)
                    continue
                if status in (200, 201):
                    receipt = json.loads(body)
                    if not receipt["recorded"] or cookie is None or "consent=" not in cookie:
                        self.wrong.append((status, body, cookie))
                    self.acked[eid] = (receipt["node"], receipt["leaf"])
                    break
                if status != 503 or cookie is not None:
                    self.wrong.append((status, body, cookie))
                    break
                self.refused += 1
                time.sleep(0.05)
            else:
                self.wrong.append(("no success in 60 s", eid))


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.stop()


def records(proxy, *args):
    """Every consent event of a store: [(eid, node, leaf)], oldest first, and unreadable ones fail."""
    out, cursor = [], []
    while True:
        done = proxy.ctl("audit", "query", "--kind", "event", "--order", "oldest", "-o", "jsonl",
                         "--limit", "1000", *args, *cursor, timeout=60)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert all(row["status"] == "ok" for row in rows)
        out += [(row["event"]["eid"], row["node"], row["leaf"]) for row in rows]
        more = [line.split()[2] for line in done.stderr.splitlines() if line.startswith("more:")]
        if not more:
            return out
        cursor = ["--cursor", more[0]]


def check_exactly_once(acked, rows):
    seen = collections.Counter(eid for eid, _, _ in rows)
    places = {eid: (node, leaf) for eid, node, leaf in rows}
    missing = [eid for eid in acked if eid not in seen]
    assert missing == [], f"{len(missing)} of {len(acked)} acknowledged choices are missing"
    assert [eid for eid, count in seen.items() if count != 1] == []
    assert [eid for eid, place in acked.items() if places[eid] != place] == []
    assert [leaf for _, _, leaf in rows] == sorted(leaf for _, _, leaf in rows)


class Load:
    def __init__(self, proxy):
        self.proxy = proxy
        self.visitors = [Visitor(proxy.port) for _ in range(VISITORS)]
        for visitor in self.visitors:
            visitor.start()

    def count(self):
        return sum(len(v.acked) for v in self.visitors)

    def progress(self, more=5, seconds=40):
        """Waits until that many further choices were answered with success."""
        before = self.count()
        wait_for(lambda: self.count() >= before + more, seconds)

    def finish(self):
        for visitor in self.visitors:
            visitor.stopping = True
        for visitor in self.visitors:
            visitor.join(70)
        assert [w for v in self.visitors for w in v.wrong] == []
        acked = {eid: place for v in self.visitors for eid, place in v.acked.items()}
        print(f"{len(acked)} choices acknowledged, {sum(v.refused for v in self.visitors)} answered "
              f"503, {sum(v.errors for v in self.visitors)} connections cut")
        return acked

    def settle(self, redis=True):
        """Ends the load and compares what was promised with what both stores have."""
        acked = self.finish()
        check_exactly_once(acked, records(self.proxy, "--journal"))
        if redis:
            wait_for(lambda: "lacks 0" in self.proxy.ctl("ledger", "status").stdout, 30)
            check_exactly_once(acked, records(self.proxy))


def stop_after_kills(proxy):
    """SIGTERM; the log may name the deaths that the test caused, but nothing a sanitizer found."""
    proxy.process.terminate()
    assert proxy.process.wait(30) == 0
    for word in ("AddressSanitizer", "runtime error", "LeakSanitizer", "ASSERT"):
        assert word not in proxy.log()


def kill_role(proxy, role):
    pid = wait_for(lambda: proxy.role(role), 30)
    os.kill(pid, signal.SIGKILL)
    # the next one is there, and has had its chance to do something, before the next kill
    wait_for(lambda: proxy.role(role) not in (None, pid), 40)


@pytest.mark.parametrize("role", ["worker", "ledger", "admin"])
def test_a_role_is_killed_again_and_again(tmp_path, redis, role):
    proxy = Proxy(tmp_path, workers=2, ledger={"redis": redis.url})
    load = Load(proxy)
    load.progress()
    for _ in range(KILLS):
        kill_role(proxy, role)
        load.progress()
    load.settle()
    stop_after_kills(proxy)


def test_the_master_is_killed_again_and_again(tmp_path, redis):
    proxy = Proxy(tmp_path, workers=2, ledger={"redis": redis.url})
    load = Load(proxy)
    load.progress()
    for _ in range(KILLS):
        proxy.process.kill()
        proxy.process.wait()
        # whoever is left drains; the new master binds beside them
        proxy.log_path.unlink()
        proxy.start()
        load.progress()
    load.settle()
    stop_after_kills(proxy)


def test_redis_is_killed_stalled_and_emptied(tmp_path, redis):
    proxy = Proxy(tmp_path, workers=2, ledger={"redis": redis.url})
    load = Load(proxy)
    load.progress()
    for _ in range(KILLS):
        redis.kill()
        load.progress()
        redis.start()
        load.progress()
        redis.process.send_signal(signal.SIGSTOP)
        load.progress()
        redis.process.send_signal(signal.SIGCONT)
        redis.call("flushall")
        load.progress()
    load.settle()
    proxy.stop()


def test_without_redis_the_journal_is_enough(tmp_path):
    proxy = Proxy(tmp_path, workers=2)
    load = Load(proxy)
    load.progress()
    kill_role(proxy, "ledger")
    load.progress()
    load.settle(redis=False)
    stop_after_kills(proxy)


def test_a_stalled_ledger_gives_no_grant_and_stops_nobody(tmp_path):
    """Law 2 and law 5: no cookie that grants before the record; pages and refusals go on."""
    proxy = Proxy(tmp_path, workers=1)
    os.kill(proxy.role("ledger"), signal.SIGSTOP)
    visitor = Visitor(proxy.port)
    status, _, cookie = visitor.post(base64.urlsafe_b64encode(b"g" * 16).decode().rstrip("="))
    assert (status, cookie) == (503, None)
    assert proxy.get("/").status == 200
    body = json.dumps({"grant": [], "deny": ["analytics", "marketing"]}).encode()
    refusal = proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST", body,
                        f"localhost:{proxy.port}")
    assert refusal.status in (200, 201)
    assert "consent=" in refusal.header("Set-Cookie")
    os.kill(proxy.role("ledger"), signal.SIGCONT)
    # the refusal is recorded as soon as the ledger is back
    wait_for(lambda: len(records(proxy, "--journal")) >= 1)
    proxy.stop()
