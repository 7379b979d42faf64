"""Erasure that keeps the proof: one subject's records go from every store, the log still verifies.

A real redis-server with an append-only file; the secrets (r) of the subject are read from Redis
before, and looked for afterwards in every file of Redis and of the journal.
"""
import base64
import json
import os
import shutil
import signal
import socket
import time

import pytest

from harness import Origin, Proxy, Redis, http_response, wait_for


def resp(path, *words):
    """One command to Redis, binary safe."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        f = s.makefile("rb")

        def read():
            line = f.readline().rstrip(b"\r\n")
            kind, rest = line[:1], line[1:]
            if kind == b"$":
                data = f.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
                return data
            if kind == b"*":
                return [read() for _ in range(int(rest))]
            return int(rest) if kind == b":" else rest

        return read()


class World:
    def __init__(self, folder, **ledger):
        (folder / "redis").mkdir()
        (folder / "proxy").mkdir(exist_ok=True)
        self.folder = folder
        self.killed = False
        self.redis = Redis(folder / "redis")
        self.origin = Origin()
        self.origin.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<html></html>")
        self.proxy = Proxy(folder / "proxy", self.origin, ledger={"redis": self.redis.url, **ledger})

    def choose(self, grants, cookie=None):
        deny = [c for c in ("analytics", "marketing") if c not in grants]
        headers = [("Content-Type", "application/json")] + ([("Cookie", cookie)] if cookie else [])
        answer = self.proxy.get("/.consent/choice", headers, "POST",
                                json.dumps({"grant": grants, "deny": deny}).encode())
        assert answer.status == 201, answer.body
        return answer.header("Set-Cookie").split(";")[0]

    def subject(self):
        """Somebody who chose three times; the newest cookie."""
        cookie = self.choose(["analytics", "marketing"])
        for grants in (["analytics"], ["analytics", "marketing"]):
            cookie = self.choose(grants, cookie)
        return cookie

    def shipped(self):
        wait_for(lambda: "lacks 0 records" in self.proxy.ctl("ledger", "status").stdout, 30)

    def notices(self):
        """Leaves of notice documents, which are nobody's."""
        path = self.proxy.folder / "state/notices/history.jsonl"
        return {json.loads(line)["leaf"] for line in path.open()} if path.exists() else set()

    def secrets(self):
        """leaf -> r of visitors' records, as Redis has them."""
        out = {}
        for key in resp(self.redis.socket, "KEYS", "*:rk:*"):
            flat = resp(self.redis.socket, "HGETALL", key)
            for field, r in zip(flat[::2], flat[1::2]):
                out[int(key.rsplit(b":", 1)[1]) * 100 + int(field)] = r
        return {leaf: r for leaf, r in out.items() if leaf not in self.notices()}

    def index(self):
        return sum(resp(self.redis.socket, "HLEN", k) for k in resp(self.redis.socket, "KEYS", "*:sx:*"))

    def entries(self):
        leaves = []
        for key in resp(self.redis.socket, "KEYS", "*:ev"):
            leaves += [int(i.split(b"-")[1]) for i, _ in resp(self.redis.socket, "XRANGE", key, "-", "+")]
        return sorted(set(leaves) - self.notices())

    def erase(self, cookie, *options):
        done = self.proxy.ctl("subject", "erase", cookie.split("=", 1)[1], "--yes", "--json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def redis_files(self):
        return b"".join(p.read_bytes() for p in (self.folder / "redis").rglob("*") if p.is_file())

    def journal_files(self):
        return b"".join(p.read_bytes() for p in (self.folder / "proxy").rglob("wal-*.log"))

    def verify(self):
        wait_for(lambda: self.proxy.ctl("audit", "verify").returncode != 2, 30)  # the first signature
        done = self.proxy.ctl("audit", "verify")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, *args):
        done = self.proxy.ctl("audit", "query", "--limit", "500", "-o", "jsonl", *args)
        assert done.returncode == 0, done.stderr
        return {row["leaf"]: row for row in map(json.loads, done.stdout.splitlines())
                if row["leaf"] not in self.notices()}

    def refused(self, cookie):
        """Another subject comes back; False while processes are on their way."""
        try:
            return subject_of(self.choose([], cookie)) != subject_of(cookie)
        except (OSError, AssertionError, ValueError):
            return False

    def stop(self):
        if self.killed:  # the log has the kills; terminate() looks for nothing in it
            self.proxy.terminate()
            self.proxy.process.wait(60)
        else:
            self.proxy.stop()
        self.origin.stop()
        self.redis.kill()


@pytest.fixture(name="world")
def world_fixture(tmp_path):
    world = World(tmp_path)
    yield world
    world.stop()


def subject_of(cookie):
    return base64.urlsafe_b64decode(cookie.split("=", 1)[1])[17:33]


def test_one_subject_goes_from_every_store_and_the_log_verifies(world):
    other = world.subject()
    one = world.subject()
    world.shipped()
    before = world.secrets()
    assert len(before) == 6
    mine = {leaf: before[leaf] for leaf in sorted(before)[3:]}
    assert all(r in world.redis_files() for r in mine.values()), "the append-only file has them"
    assert subject_of(world.choose([], other)) == subject_of(other)
    world.shipped()
    keep = set(world.entries()) - set(mine)

    receipt = world.erase(one)
    assert receipt["status"] == "accepted" and receipt["records"] == 3
    assert abs(receipt["complete_by"] - time.time() - 30 * 86400) < 600, "what the backups need"
    wait_for(lambda: "aof=rewritten" in world.proxy.log(), 60)
    assert not set(mine) & set(world.secrets())
    assert keep <= set(world.entries()) and not set(mine) & set(world.entries())
    assert world.index() == 1, "the other one's"
    wait_for(lambda: not any(r in world.redis_files() for r in mine.values()), 60)

    wait_for(lambda: subject_of(world.choose([], one)) != subject_of(one), 30)
    assert subject_of(world.choose([], other)) == subject_of(other)
    assert world.erase(one)["status"] == "known"

    wait_for(lambda: receipt["request"] in json.dumps(world.rows("--kind", "operator", "--journal")), 30)
    rows = world.rows("--journal")
    assert all(rows[leaf]["status"] == "erased" and "event" not in rows[leaf] for leaf in mine)
    assert all(rows[leaf]["status"] == "ok" for leaf in before if leaf not in mine)
    text = json.dumps(world.rows("--kind", "operator", "--journal"))
    assert receipt["request"] in text and base64.urlsafe_b64encode(subject_of(one)).decode()[:22] not in text
    assert "3 were erased on request" in world.verify()
    assert receipt["request"] in world.proxy.ctl("subject", "erasures").stdout


def test_the_journal_at_once_and_after_a_kill(world):
    other, one = world.subject(), world.subject()
    world.shipped()
    before = world.secrets()
    mine = {leaf: before[leaf] for leaf in sorted(before)[3:]}
    theirs = {leaf: r for leaf, r in before.items() if leaf not in mine}
    assert len(mine) == len(theirs) == 3
    assert all(r in world.journal_files() for r in mine.values())
    tags = {tag for key in resp(world.redis.socket, "KEYS", "*:sx:*") for tag in resp(world.redis.socket, "HKEYS", key)}
    assert [world.journal_files().count(tag) for tag in tags] == [3, 3]
    world.erase(one, "--now")
    wait_for(lambda: not any(r in world.journal_files() for r in mine.values()), 60)
    assert all(r in world.journal_files() for r in theirs.values())
    assert sorted(world.journal_files().count(tag) for tag in tags) == [0, 3], "what ties records to one person"
    assert "3 were erased on request" in world.verify()
    world.choose([], other)
    world.killed = True
    for pid in [world.proxy.role("ledger"), *world.proxy.workers()]:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: world.refused(one), 60)
    wait_for(lambda: "3 were erased on request" in world.proxy.ctl("audit", "verify").stdout, 30)
    rows = world.rows("--journal")
    assert all(rows[leaf]["status"] == "erased" for leaf in mine)


def test_a_restored_backup_is_erased_again(world):
    one = world.subject()
    world.shipped()
    mine = world.secrets()
    assert len(mine) == 3
    world.redis.kill()
    shutil.copytree(world.folder / "redis", world.folder / "backup", ignore=shutil.ignore_patterns("*.sock"))
    world.redis.start()
    world.shipped()
    world.erase(one)
    wait_for(lambda: not set(mine) & set(world.secrets()), 30)
    world.redis.kill()
    # its child that rewrites the append-only file may outlive it and take its own file away meanwhile
    wait_for(lambda: shutil.rmtree(world.folder / "redis", ignore_errors=True) or not (world.folder / "redis").exists(), 20)
    shutil.copytree(world.folder / "backup", world.folder / "redis")
    assert any(r in world.redis_files() for r in mine.values())
    world.redis.start()
    assert set(mine) <= set(world.secrets()) or world.index() == 0, "the backup has them"
    wait_for(lambda: not set(mine) & set(world.secrets()), 60)
    wait_for(lambda: not any(r in world.redis_files() for r in mine.values()), 60)
    world.verify()


def test_redis_away_and_emptied(world):
    one = world.subject()
    world.shipped()
    mine = world.secrets()
    world.redis.kill()
    assert world.erase(one)["status"] == "accepted"
    wait_for(lambda: subject_of(world.choose([], one)) != subject_of(one), 30)
    world.redis.start()
    wait_for(lambda: not set(mine) & set(world.secrets()) and world.index() > 0, 60)
    resp(world.redis.socket, "FLUSHALL")
    wait_for(lambda: world.entries() and not set(mine) & set(world.entries()), 60)
    world.shipped()
    assert not set(mine) & set(world.secrets()), "what is replayed has no secrets of the erased"
    world.verify()


def test_legal_hold(world):
    one = world.subject()
    world.shipped()
    mine = world.secrets()
    token = one.split("=", 1)[1]
    assert world.proxy.ctl("subject", "hold", token).returncode == 0
    receipt = world.erase(one)
    assert receipt["status"] == "held" and receipt["complete_by"] == 0
    wait_for(lambda: world.index() == 0, 30)
    assert set(mine) <= set(world.secrets()), "the records stay"
    wait_for(lambda: subject_of(world.choose([], one)) != subject_of(one), 30)
    rows = world.rows("--journal")
    assert all(rows[leaf]["status"] == "ok" for leaf in mine)
    assert world.proxy.ctl("subject", "release", token).returncode == 0
    wait_for(lambda: not set(mine) & set(world.secrets()), 30)
    rows = world.rows("--journal")
    assert all(rows[leaf]["status"] == "erased" for leaf in mine)
    world.verify()


def test_another_node_has_other_records(world):
    """ledger.node is changed: its leaves have the numbers of the erased ones, and are whole."""
    one = world.subject()
    world.shipped()
    assert world.erase(one)["records"] == 3
    wait_for(lambda: "aof=rewritten" in world.proxy.log(), 60)
    world.proxy.stop()
    world.proxy.config["ledger"]["node"] = 2
    world.proxy.rewrite(world.proxy.config)
    world.proxy.start()
    leaves = [int.from_bytes(base64.urlsafe_b64decode(c.split("=", 1)[1])[34:41], "big")
              for c in (world.choose(["analytics"]) for _ in range(6))]
    world.shipped()
    rows = world.rows()
    assert {1, 2, 3} <= set(leaves), "the numbers of the erased ones"
    assert all(rows[leaf]["status"] == "ok" for leaf in leaves if leaf not in world.notices())
    assert world.refused(one), "whoever was erased there stays so"
    wait_for(lambda: world.proxy.ctl("audit", "verify", "--deep").returncode != 2, 30)
    done = world.proxy.ctl("audit", "verify", "--deep")
    assert done.returncode == 0, done.stderr


def test_an_id_that_begins_like_its_prefix(world):
    subject = "s_" + "A" * 20
    for name in (subject, "s_" + subject):
        done = world.proxy.ctl("subject", "hold", name)
        assert done.returncode == 0, done.stderr
        done = world.proxy.ctl("subject", "release", name)
        assert done.returncode == 0, done.stderr
    for name in (subject[2:], subject + "A", "s_s_" + subject):
        assert world.proxy.ctl("subject", "hold", name).returncode == 2


def months(world):
    return {key["month"] for key in json.loads((world.folder / "proxy/state/keks.json").read_text())["keks"]}


def plant(world, month):
    """A month of long ago in Redis, as a backup may bring it back; returns who lists its keys."""
    prefix = resp(world.redis.socket, "KEYS", "*:hw")[0].decode().rsplit(":", 2)[0]
    old = f"{prefix}:{month}}}"
    resp(world.redis.socket, "XADD", old + ":ev", "1767225600000-0", "e", "x")
    for n in range(700):
        resp(world.redis.socket, "HSET", f"{old}:rk:{n}", "0", "r")
    resp(world.redis.socket, "SET", old + ":hw", "0")
    return lambda: resp(world.redis.socket, "KEYS", f"*:{month}}}:*")


def test_a_month_is_dropped_whole_when_it_is_due(tmp_path):
    state = tmp_path / "proxy/state"
    (tmp_path / "proxy").mkdir()
    state.mkdir()
    (state / "keks.json").write_text('{"keks":[{"key":"%s","month":202601}]}' % ("A" * 43))
    world = World(tmp_path, record_retention="30d")
    try:
        one = world.subject()
        world.shipped()
        current = resp(world.redis.socket, "KEYS", "*:hw")[0].split(b":")[-2][:6].decode()
        planted = plant(world, 202601)
        shown = world.proxy.ctl("ledger", "retention").stdout
        assert "202601  ended 2026-02-01  may go 2026-03-03  due" in shown
        assert f"{current}  ends" in shown and shown.count("due") == 1
        assert world.proxy.ctl("ledger", "retention", "--drop").returncode == 1, "nobody said yes"
        token = one.split("=", 1)[1]
        assert world.proxy.ctl("subject", "hold", token).returncode == 0
        held = world.proxy.ctl("ledger", "retention", "--drop", "--yes")
        assert held.returncode == 1 and "legal hold" in held.stderr
        assert 202601 in months(world) and len(planted()) == 702
        assert world.proxy.ctl("subject", "release", token).returncode == 0
        dropped = world.proxy.ctl("ledger", "retention", "--drop", "--yes")
        assert dropped.returncode == 0, dropped.stderr
        wait_for(lambda: not planted() and 202601 not in months(world), 60)
        assert int(current) in months(world) and len(world.secrets()) >= 3, "the month in use stays"
        wait_for(lambda: "drop_month" in json.dumps(world.rows("--kind", "operator", "--journal")), 30)
        assert "nothing is due" in world.proxy.ctl("ledger", "retention", "--drop", "--yes").stdout
        planted = plant(world, 202601)
        world.redis.kill()
        world.redis.start()
        wait_for(lambda: not planted(), 60)
        world.choose([], one)
        world.shipped()
        world.verify()
    finally:
        world.stop()


def test_what_is_asked_wrongly_erases_nothing(world):
    done = world.proxy.ctl("subject", "erasures")
    assert (done.returncode, done.stdout) == (0, "") and "nothing was erased" in done.stderr
    one = world.subject()
    world.shipped()
    assert world.proxy.ctl("subject", "erase", "short").returncode == 2
    assert world.proxy.ctl("subject", "erase", one.split("=", 1)[1]).returncode == 1, "nobody said yes"
    assert len(world.secrets()) == 3
