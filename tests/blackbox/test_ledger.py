"""The ledger under faults: every acknowledged event is there exactly once, in journal and Redis.

Drives tests/tools/ledger_load.c, which speaks to the ledger process as workers do, against
a private redis-server on a unix socket.
"""
import base64
import collections
import hashlib
import os
import random
import re
import signal
import struct
import subprocess
import time

import pytest
import test_log
from harness import BUILD, LOOPBACK, Redis, certificate, free_port

LOAD = BUILD / "ledger_load"


@pytest.fixture(name="redis")
def redis_fixture(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.kill()


class Load:
    """A run of the load; its acknowledgements are read while faults happen."""

    def __init__(self, folder, url, count, window=64, segment=1 << 20):
        self.folder, self.url, self.count = folder, url, count
        self.out = open(folder / "load.out", "wb")
        self.process = subprocess.Popen([str(LOAD), "run", str(folder), url, str(count), str(window),
                                         str(segment)], stdin=subprocess.PIPE, stdout=self.out,
                                        stderr=open(folder / "load.err", "ab"))

    def lines(self, word):
        return [line.split()[1:] for line in (self.folder / "load.out").read_text().splitlines()
                if line.startswith(word + " ") and len(line.split()) >= 2]

    def kill_ledger(self):
        pids = self.lines("pid")
        if pids:
            try:
                os.kill(int(pids[-1][0]), signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait_done(self, seconds=90):
        until = time.time() + seconds
        while time.time() < until and not self.lines("done"):
            assert self.process.poll() is None, (self.folder / "load.err").read_text()[-2000:]
            time.sleep(0.05)
        assert self.lines("done"), "not every event was acknowledged in time"

    def finish(self):
        self.process.communicate(b"\n", timeout=30)
        self.out.close()
        return {eid: int(leaf) for eid, leaf in self.lines("ack")}


def dump(mode, *args):
    out = subprocess.run([str(LOAD), mode, *map(str, args)], capture_output=True, text=True,
                         check=False, timeout=240)
    assert out.returncode == 0, out.stderr
    rows = [line.split() for line in out.stdout.splitlines()]
    assert all(status == "1" for _, _, status in rows), "a record can't be opened"
    return [(eid, int(leaf)) for eid, leaf, _ in rows]


def wait_shipped(folder, redis, leaves, seconds=60):
    until = time.time() + seconds
    mark = None
    while time.time() < until:
        keys = [k for k in redis.call("keys", "*:hw").splitlines() if k]
        mark = max((int(redis.call("get", k) or -1) for k in keys), default=-1)
        if mark + 1 == leaves:
            return
        time.sleep(0.1)
    raise AssertionError(f"Redis has {mark} of {leaves}: "
                         + (folder / "load.err").read_text()[-2000:])


def check_exactly_once(acked, rows):
    seen = collections.Counter(eid for eid, _ in rows)
    assert [leaf for _, leaf in rows] == list(range(len(rows))), "leaves are not contiguous"
    assert all(seen[eid] == 1 for eid in acked), "an acknowledged event is missing or doubled"
    assert max(seen.values()) == 1
    places = dict(rows)
    assert all(places[eid] == leaf for eid, leaf in acked.items()), "an ack named another leaf"


def settle(load, redis):
    """Ends the load and compares what was acknowledged with both stores."""
    load.wait_done()
    leaves = len(dump("dump", load.folder))
    wait_shipped(load.folder, redis, leaves)
    acked = load.finish()
    assert len(acked) == load.count
    check_exactly_once(acked, dump("dump", load.folder))
    check_exactly_once(acked, dump("dump-redis", load.folder, redis.url))
    stream = [k for k in redis.call("keys", "*:ev").splitlines() if k]
    assert sum(int(redis.call("xlen", k)) for k in stream) == leaves
    counted = 0
    for key in redis.call("keys", "*:st:*").splitlines():
        counted += int(redis.call("hget", key, "first") or 0)
    assert counted == leaves, "the counters do not agree with the stream"


def test_journal_alone(tmp_path):
    load = Load(tmp_path, "-", 20000, window=256)
    load.wait_done()
    acked = load.finish()
    check_exactly_once(acked, dump("dump", tmp_path))


def test_with_redis(tmp_path, redis):
    settle(Load(tmp_path, redis.url, 20000, window=256), redis)


def test_what_redis_keeps_is_small_and_says_nothing(tmp_path, redis):
    """At most 400 bytes of memory a record, indexes included; nothing readable on any disk."""
    before = int(dict(line.split(":") for line in redis.call("info", "memory").split() if ":" in line)["used_memory"])
    load = Load(tmp_path, redis.url, 20000, window=256)
    load.wait_done()
    wait_shipped(tmp_path, redis, 20000)
    after = int(dict(line.split(":") for line in redis.call("info", "memory").split() if ":" in line)["used_memory"])
    assert (after - before) / 20000 <= 400
    acked = load.finish()
    redis.call("bgrewriteaof")
    redis.call("save")
    while not all(f"aof_rewrite_{x}:0" in redis.call("info", "persistence") for x in ("in_progress", "scheduled")):
        time.sleep(0.05) # it replaces its files
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix in (".log", ".rdb", ".aof")]
    assert {p.suffix for p in files} == {".log", ".rdb", ".aof"}
    eid = next(iter(acked))
    subject = base64.urlsafe_b64encode(struct.pack("<Q7xB", 1, 1)).decode().rstrip("=")
    for path in files:
        data = path.read_bytes()
        for word in ('"act"', '"sub"', '"grant"', "accept_all\",", eid, subject):
            assert word.encode() not in data, (path, word)
        assert struct.pack("<Q7xB", 1, 1) not in data, path


def test_ledger_killed_under_load(tmp_path, redis):
    load = Load(tmp_path, redis.url, 60000)
    for seed in range(20):
        time.sleep(0.1 + random.Random(seed).random() * 0.2)
        load.kill_ledger()
    settle(load, redis)


def test_redis_killed_under_load(tmp_path, redis):
    load = Load(tmp_path, redis.url, 60000)
    for _ in range(5):
        time.sleep(0.4)
        redis.kill()
        time.sleep(0.2)
        redis.start()
    settle(load, redis)


def frontier_roots(entries, sizes):
    """Roots of the trees of these sizes over the entries (RFC 9162 2.1), in one pass."""
    stack, roots, at = [], {}, 0
    for entry in entries:
        node, at = hashlib.sha256(b"\0" + entry).digest(), at + 1
        number = at
        while number % 2 == 0: # a full pair: one node of the level above
            node, number = hashlib.sha256(b"\1" + stack.pop() + node).digest(), number // 2
        stack.append(node)
        if at in sizes:
            root = stack[-1]
            for left in reversed(stack[:-1]):
                root = hashlib.sha256(b"\1" + left + root).digest()
            roots[at] = root
    return roots


def check_checkpoints(folder, vkey, leaves):
    """Each checkpoint that was ever signed is one of the log that there is now."""
    log = folder / "journal" / "tlog"
    notes = [n + "\n" for n in re.split(r"\n\n(?!— )", (log / "checkpoints").read_text()) if n.strip()]
    sizes = {}
    for note in notes:
        size, root = test_log.read_checkpoint(note, vkey, folder)
        assert sizes.setdefault(size, root) == root, "two trees of one size were signed"
    ordered = sorted(sizes)
    assert ordered and ordered[-1] == leaves, "the newest checkpoint is not of everything"
    entries = []
    for number in range((leaves + 255) // 256):
        width = min(256, leaves - 256 * number)
        bundle = (log / test_log.tile_path("entries", number, width)).read_bytes()
        assert len(bundle) == 34 * width
        entries += [bundle[i + 2:i + 34] for i in range(0, len(bundle), 34)]
    assert frontier_roots(entries, sizes) == sizes
    return len(notes)


def test_both_killed_at_a_given_rate(tmp_path, redis, monkeypatch, record_property):
    """5,000 choices a second while ledger and Redis are killed in turn. LEDGER_STORM: seconds."""
    rate, seconds = int(os.environ.get("LEDGER_STORM_RATE", 5000)), int(os.environ.get("LEDGER_STORM", 8))
    monkeypatch.setenv("LEDGER_RATE", str(rate))
    monkeypatch.setenv("LEDGER_LOG", "1")
    # choices for the last round of kills, too: a ledger that is killed behind the last one stays dead
    load = Load(tmp_path, redis.url, rate * (seconds + 5), window=8192, segment=64 << 20)
    chance, until, kills = random.Random(5), time.time() + seconds, [0, 0]
    while time.time() < until:
        time.sleep(0.5 + chance.random())
        load.kill_ledger()
        kills[0] += 1
        time.sleep(0.5 + chance.random())
        redis.kill()
        time.sleep(0.2 * chance.random())
        redis.start()
        kills[1] += 1
    load.wait_done(seconds + 120)
    settle(load, redis)
    leaves = len(dump("dump", tmp_path))
    took = int(load.lines("done")[0][3])
    signed = check_checkpoints(tmp_path, load.lines("vkey")[0][0], leaves)
    for name, value in (("acknowledged", load.count), ("leaves", leaves), ("ms", took),
                        ("kills_ledger", kills[0]), ("kills_redis", kills[1]), ("checkpoints", signed)):
        record_property(name, value)
    print(f"{load.count} choices acknowledged in {took / 1000:.1f} s, {leaves} leaves, ledger killed "
          f"{kills[0]} times, Redis {kills[1]} times, {signed} checkpoints of one history")


def test_redis_stalled_under_load(tmp_path, redis):
    load = Load(tmp_path, redis.url, 40000)
    time.sleep(0.3)
    redis.process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    redis.process.send_signal(signal.SIGCONT)
    settle(load, redis)


def test_redis_emptied_under_load(tmp_path, redis):
    load = Load(tmp_path, redis.url, 60000)
    for _ in range(3):
        time.sleep(0.5)
        redis.call("flushall")
    settle(load, redis)


def test_redis_emptied_when_idle(tmp_path, redis):
    load = Load(tmp_path, redis.url, 2000)
    load.wait_done()
    wait_shipped(tmp_path, redis, 2000)
    redis.call("flushall")
    settle(load, redis)


def test_redis_lost_its_mark(tmp_path, redis):
    load = Load(tmp_path, redis.url, 20000)
    time.sleep(0.4)
    for key in redis.call("keys", "*:hw").splitlines():
        redis.call("del", key)
    settle(load, redis)


def test_redis_away_from_the_start(tmp_path, redis):
    redis.kill()
    load = Load(tmp_path, redis.url, 5000)
    load.wait_done()
    redis.start()
    settle(load, redis)


def flip_last_batch(folder):
    """One bit of the last synced batch: to the journal alone it looks like a torn write."""
    path = sorted(folder.glob("wal-1-*.log"))[-1]
    data = bytearray(path.read_bytes())
    data[data.rindex(b"CBT1") + 200] ^= 4
    path.write_bytes(data)


def test_rotten_last_batch_is_not_taken_for_torn(tmp_path, redis):
    load = Load(tmp_path, redis.url, 500, window=8)
    load.wait_done()
    wait_shipped(tmp_path, redis, 500)
    acked = load.finish()
    flip_last_batch(tmp_path / "journal")
    out = subprocess.run([str(LOAD), "status", str(tmp_path), redis.url, "2"], capture_output=True,
                         text=True, check=True, timeout=20)
    assert '"records":500' in out.stdout and '"state":"live"' in out.stdout
    assert "event=journal.rebuilt" in out.stderr
    check_exactly_once(acked, dump("dump-redis", tmp_path, redis.url))


def test_a_journal_that_is_gone_comes_back_from_redis(tmp_path, redis):
    load = Load(tmp_path, redis.url, 500)
    load.wait_done()
    wait_shipped(tmp_path, redis, 500)
    acked = load.finish()
    for path in (tmp_path / "journal").iterdir():
        path.unlink()
    out = subprocess.run([str(LOAD), "status", str(tmp_path), redis.url, "3"], capture_output=True,
                         text=True, check=True, timeout=20)
    assert '"records":500' in out.stdout and '"state":"live"' in out.stdout
    assert "event=journal.rebuilt" in out.stderr
    check_exactly_once(acked, dump("dump", tmp_path))
    check_exactly_once(acked, dump("dump-redis", tmp_path, redis.url))


def test_segments_gone_and_redis_emptied_is_a_gap(tmp_path, redis):
    load = Load(tmp_path, redis.url, 3000, segment=65536)
    load.wait_done()
    wait_shipped(tmp_path, redis, 3000)
    load.finish()
    sorted((tmp_path / "journal").glob("wal-1-*.log"))[0].unlink()
    redis.call("flushall")
    out = subprocess.run([str(LOAD), "status", str(tmp_path), redis.url, "2"], capture_output=True,
                         text=True, check=True, timeout=20)
    assert "ship.gap" in out.stderr and '"gap_from":0' in out.stdout
    rows = dump("dump-redis", tmp_path, redis.url)
    assert rows[-1][1] == 2999 and [leaf for _, leaf in rows] == list(range(rows[0][1], 3000))
    gaps = [redis.call("hgetall", k).split() for k in redis.call("keys", "*:gap").split()]
    assert gaps == [["0", str(rows[0][1] - 1)]]


def test_one_event_by_leaf_and_by_subject(tmp_path, redis):
    load = Load(tmp_path, redis.url, 3000)
    load.wait_done()
    wait_shipped(tmp_path, redis, 3000)
    acked = load.finish()
    places = {leaf: eid for eid, leaf in acked.items()}
    for leaf in (0, 1, 99, 100, 1234, 2999):
        assert dump("get", tmp_path, redis.url, leaf) == [(places[leaf], leaf)]
    assert dump("get", tmp_path, redis.url, 3000) == []
    assert len(dump("dump-redis", tmp_path, redis.url, 1234)) == 1


@pytest.fixture(name="tls_redis")
def tls_redis_fixture(tmp_path):
    authority = certificate(tmp_path, "authority")
    cert, key = certificate(tmp_path, "localhost", ("localhost", LOOPBACK), authority)
    port = free_port()
    server = Redis(tmp_path, "--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file",
                   str(key), "--tls-ca-cert-file", str(authority[0]), "--tls-auth-clients", "no")
    yield server, f"rediss://localhost:{port}", authority
    server.kill()


def test_tls_and_password(tmp_path, tls_redis, monkeypatch):
    server, url, authority = tls_redis
    server.call("acl", "setuser", "consentd", "on", ">secret", "resetchannels", "~c:*", "~{c:*", "-@all",
                "+ping", "+info", "+time", "+get", "+set", "+xadd", "+xrange", "+xrevrange", "+xlen",
                "+hget", "+hset", "+hmget", "+evalsha", "+eval", "+script|load", "+bgrewriteaof",
                "+client|setname")
    monkeypatch.setenv("LEDGER_CA", str(authority[0]))
    monkeypatch.setenv("LEDGER_USER", "consentd")
    monkeypatch.setenv("LEDGER_PASSWORD", "secret")
    load = Load(tmp_path, url, 3000)
    load.wait_done()
    wait_shipped(tmp_path, server, 3000)
    acked = load.finish()
    check_exactly_once(acked, dump("dump-redis", tmp_path, url))
    monkeypatch.setenv("LEDGER_PASSWORD", "wrong")
    out = subprocess.run([str(LOAD), "status", str(tmp_path), url, "1"], capture_output=True, text=True,
                         check=True, timeout=20)
    assert "WRONGPASS" in out.stdout


def test_tls_certificate_is_checked(tmp_path, tls_redis, monkeypatch):
    _, url, _ = tls_redis
    other = certificate(tmp_path, "other")
    monkeypatch.setenv("LEDGER_CA", str(other[0]))
    out = subprocess.run([str(LOAD), "status", str(tmp_path), url, "1"], capture_output=True, text=True,
                         check=True, timeout=20)
    assert '"state":"down"' in out.stdout and "certificate" in out.stdout
