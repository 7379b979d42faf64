"""The ledger's failure table, row by row, with real faults.

Real redis-servers that are stopped, killed, full, demoted or cut; a small tmpfs; writes, syncs and a
clock that fail as faults.c, put before libc, makes them. test_ledger.py and test_kill.py have the
rows of kills and stalls, test_erasure.py those of erasure and backups, test_log.py those of tiles.
"""
import base64
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import test_ledger
from harness import Origin, Proxy, Redis, free_port, preload, wait_for
from test_kill import records
from test_log import backed_up, choose, journal_of, signed

HERE = pathlib.Path(__file__).parent


def metric(proxy, name):
    out = proxy.ctl("metrics").stdout
    return int(next(line.split()[1] for line in out.splitlines() if line.startswith(f"consentd_{name} ")))


def end(*parts):
    """Proxies, and last the Redis that they ship to: each ends by itself."""
    for proxy in parts[:-1]:
        proxy.process.terminate()
        proxy.process.wait(30)
    parts[-1].stop()


def settled(proxy):
    return "lacks 0" in proxy.ctl("ledger", "status").stdout


def again(proxy):
    """Starts it once more, with a log of its own."""
    proxy.log_path.unlink()
    proxy.start()


def grant(proxy):
    body = json.dumps({"grant": ["analytics"], "deny": ["marketing"]}).encode()
    return proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST", body)


def withdraw(proxy, cookie=None):
    body = json.dumps({"grant": [], "deny": ["analytics", "marketing"]}).encode()
    headers = [("Content-Type", "application/json")] + ([("Cookie", cookie)] if cookie else [])
    return proxy.get("/.consent/choice", headers, "POST", body)


def cookie_of(answer):
    return answer.header("Set-Cookie").split(";")[0]


def grants_of(answer):
    return int.from_bytes(base64.urlsafe_b64decode(cookie_of(answer).split("=", 1)[1])[3:5], "big")


# --- Redis says no -----------------------------------------------------------------------------

def full(redis):
    redis.call("config", "set", "maxmemory", "1")
    return lambda: redis.call("config", "set", "maxmemory", "0")


def demoted(redis):
    redis.call("replicaof", "127.0.0.1", "1")
    redis.call("client", "kill", "type", "normal")
    return lambda: redis.call("replicaof", "no", "one")


def forbidden(redis):
    redis.call("acl", "setuser", "default", "-xadd")
    return lambda: redis.call("acl", "setuser", "default", "+xadd")


def wrong_type(redis):
    [mark] = redis.call("keys", "*:hw").split()
    month = mark[:-len(":hw")]
    redis.call("rename", month + ":ev", "aside")
    redis.call("set", month + ":ev", "no stream")
    return lambda: redis.call("rename", "aside", month + ":ev")


@pytest.mark.parametrize("fault, why", [(full, "OOM"), (demoted, "not a master"), (forbidden, "can't run this command"),
                                        (wrong_type, "WRONGTYPE")])
def test_redis_refuses(tmp_path, fault, why):
    """Stops, backs off, raises the alarm; visitors notice nothing; all of it arrives afterwards."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    choose(proxy, 20)
    wait_for(lambda: settled(proxy))
    heal = fault(redis)
    choose(proxy, 20)
    wait_for(lambda: metric(proxy, "redis_blocked") == 1)
    assert why in proxy.log()
    time.sleep(1)
    blocked = proxy.log().count("ship.blocked")
    errors = metric(proxy, "redis_errors_total")
    choose(proxy, 50)
    time.sleep(2)
    assert metric(proxy, "redis_lag_records") >= 50 or not settled(proxy)
    assert proxy.log().count("ship.blocked") <= blocked + 1, "one line per trouble, not one per record"
    assert metric(proxy, "redis_errors_total") - errors < 30, "it does not back off"
    heal()
    wait_for(lambda: settled(proxy), 30)
    wait_for(lambda: metric(proxy, "redis_blocked") == 0)
    rows = records(proxy)
    assert rows == records(proxy, "--journal") and len(rows) >= 90
    end(proxy, redis)


# --- Redis loses what it had -------------------------------------------------------------------

@pytest.mark.parametrize("seed", [1, 2, 3])
def test_aof_cut_at_a_random_byte(tmp_path, seed):
    """Power loss cuts the append-only file, in the middle of a transaction too; then two restarts."""
    rnd = random.Random(seed)
    redis = Redis(tmp_path)
    load = test_ledger.Load(tmp_path, redis.url, 30000)
    def newest_aof():
        return sorted((tmp_path / "appendonlydir").glob("*.incr.aof"), key=lambda p: int(p.name.split(".")[2]))[-1]

    wait_for(lambda: newest_aof().stat().st_size > 0)
    time.sleep(0.3 + rnd.random() * 0.3)
    redis.kill()
    newest = newest_aof()
    size = newest.stat().st_size
    with open(newest, "r+b") as f:
        f.truncate(size - rnd.randrange(1, max(2, min(size, 200000))))
    redis.start()
    time.sleep(0.5)
    load.wait_done()
    test_ledger.wait_shipped(tmp_path, redis, 30000)
    # what was appended behind the cut must survive a clean restart
    wait_for(lambda: (tmp_path / "journal/redis-run-id").exists()
             and (tmp_path / "journal/redis-run-id").read_text() in redis.call("info", "server"))
    redis.call("shutdown", "nosave")
    redis.process.wait()
    redis.socket.unlink(missing_ok=True)
    redis.start()
    test_ledger.settle(load, redis)
    redis.kill()


class Server:
    """A redis-server on a port, as master or replica."""

    def __init__(self, folder, name, *options):
        self.port, self.folder = free_port(), folder / name
        self.folder.mkdir()
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--dir", str(self.folder), "--appendonly",
                                         "yes", "--save", "", *options], stdout=subprocess.DEVNULL)
        wait_for(lambda: self.call("ping") == "PONG")

    def call(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True,
                              check=False).stdout.strip()

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def test_failover_by_sentinels_to_a_replica_that_lacks_the_last_writes(tmp_path):
    """The replica is cut off, the master goes on and dies; the sentinels make the replica the master."""
    master = Server(tmp_path, "a")
    replica = Server(tmp_path, "b", "--replicaof", "127.0.0.1", str(master.port))
    wait_for(lambda: "master_link_status:up" in replica.call("info", "replication"))
    sentinels = []
    for i in range(2):
        port, folder = free_port(), tmp_path / f"sentinel{i}"
        folder.mkdir()
        conf = folder / "sentinel.conf"
        conf.write_text(f"port {port}\ndir {folder}\nsentinel monitor led 127.0.0.1 {master.port} 1\n"
                        "sentinel down-after-milliseconds led 1500\nsentinel failover-timeout led 5000\n")
        process = subprocess.Popen(["redis-server", str(conf), "--sentinel"], stdout=subprocess.DEVNULL)
        sentinels.append((port, process))
    wait_for(lambda: subprocess.run(["redis-cli", "-p", str(sentinels[0][0]), "sentinel", "replicas", "led"],
                                    capture_output=True, text=True, check=False).stdout.strip() != "", 20)
    # the first one is not there: the next is asked
    url = "redis+sentinel://" + ",".join([f"127.0.0.1:{free_port()}"] + [f"127.0.0.1:{p}" for p, _ in sentinels]) + "/led"
    proxy = Proxy(tmp_path, ledger={"redis": url})
    choose(proxy, 50)
    wait_for(lambda: settled(proxy), 20)
    wait_for(lambda: replica.call("dbsize") == master.call("dbsize"))
    replica.process.send_signal(signal.SIGSTOP)  # writes from here on never reach it
    choose(proxy, 50)
    wait_for(lambda: settled(proxy))
    master.process.kill()
    master.process.wait()
    replica.process.send_signal(signal.SIGCONT)
    choose(proxy, 20)
    wait_for(lambda: "role:master" in replica.call("info", "replication"), 40)
    wait_for(lambda: settled(proxy), 40)
    rows = records(proxy, "--journal")
    assert len(rows) >= 120
    proxy.config["ledger"]["redis"] = f"redis://127.0.0.1:{replica.port}"  # as an auditor would ask
    proxy.rewrite(proxy.config)
    assert records(proxy) == rows
    proxy.process.terminate()
    proxy.process.wait(30)
    for _, process in sentinels:
        process.kill()
        process.wait()
    replica.stop()


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1", "redis+sentinel:///led", "redis+sentinel://a,,b/led"])
def test_sentinel_url_that_makes_no_sense(tmp_path, url):
    folder = tmp_path / "l"
    folder.mkdir()
    out = subprocess.run([str(test_ledger.LOAD), "status", str(folder), url, "1"], capture_output=True, text=True,
                         check=False, timeout=20)
    assert out.returncode != 0 and "redis" in out.stderr


# --- disk --------------------------------------------------------------------------------------

@pytest.fixture(name="faults", scope="session")
def faults_fixture(tmp_path_factory):
    return preload(tmp_path_factory.mktemp("faults") / "faults.so", HERE / "faults.c", "-ldl")


class Faults:
    def __init__(self, folder):
        self.path = folder / "faults"
        self.values = [0, 0, 0, 0, 0]
        self.path.write_bytes(struct.pack("<iiiiq", *self.values))

    def set(self, sync=(0, 0), write=(0, 0), clock=0):
        with open(self.path, "r+b") as f:  # in place: it is mapped
            f.write(struct.pack("<iiiiq", *sync, *write, clock))


@pytest.fixture(name="broken")
def broken_fixture(tmp_path, faults, monkeypatch):
    """A proxy whose disk and clock fail on demand."""
    made = Faults(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", faults)
    monkeypatch.setenv("FAULTS", str(made.path))
    proxy = Proxy(tmp_path)
    monkeypatch.delenv("LD_PRELOAD")
    proxy.faults = made
    yield proxy
    proxy.process.terminate()
    proxy.process.wait(30)


EIO, ENOSPC, FOREVER = 5, 28, -1


def test_one_failed_sync_is_survived(broken):
    """A new segment, the batch written again: the visitor notices nothing."""
    leaves = choose(broken, 20)
    for _ in range(3):
        broken.faults.set(sync=(EIO, 1))
        leaves += choose(broken, 5)
    assert len(set(leaves)) == len(leaves)
    assert len(list(journal_of(broken).glob("wal-*"))) >= 4
    rows = records(broken, "--journal")
    assert {leaf for _, _, leaf in rows} >= set(leaves)
    assert [leaf for _, _, leaf in rows] == sorted({leaf for _, _, leaf in rows})


@pytest.mark.parametrize("kind, error", [("sync", EIO), ("sync", ENOSPC), ("write", ENOSPC), ("write", EIO)])
def test_disk_that_fails(broken, kind, error):
    """No record: no grant and no cookie. A withdrawal takes effect all the same, and is recorded first
    when there is space again."""
    given = grant(broken)
    assert given.status == 201
    before = len(records(broken, "--journal"))
    broken.faults.set(**{kind: (error, FOREVER)})
    for _ in range(3):
        answer = grant(broken)
        assert answer.status == 503 and answer.header("Set-Cookie") is None
        assert answer.header("Retry-After") is not None
    narrowed = withdraw(broken, cookie_of(given))
    assert narrowed.status in (200, 201, 202) and grants_of(narrowed) == 1
    wait_for(lambda: metric(broken, "unlogged_withdrawals") == 1)
    assert metric(broken, "ledger_failures_total") > 0 and "ledger.failed" in broken.log()
    broken.faults.set()
    wait_for(lambda: len(records(broken, "--journal")) == before + 1)
    wait_for(lambda: metric(broken, "unlogged_withdrawals") == 0)
    assert grant(broken).status == 201
    out = broken.ctl("audit", "query", "--kind", "event", "--journal", "--order", "oldest", "-o", "jsonl").stdout.splitlines()
    assert json.loads(out[before])["event"]["grant"] == []  # the withdrawal, before what came later
    wait_for(lambda: broken.ctl("audit", "verify").returncode == 0)


def test_small_disk(tmp_path):
    """A journal on 4 MiB: grants end before withdrawals do, nothing acknowledged is lost."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False,
                      capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        proxy = Proxy(tmp_path, ledger={"journal": str(disk / "journal"), "segment_size": "1MiB"})
        acked, answer = 0, grant(proxy)
        cookie = cookie_of(answer)
        assert answer.status == 201
        end = time.monotonic() + 100
        while answer.status == 201 and time.monotonic() < end:
            acked += 1
            answer = grant(proxy)
        assert answer.status == 503 and answer.header("Set-Cookie") is None
        wait_for(lambda: metric(proxy, "journal_space_low") == 2)
        assert "ledger.space state=low" in proxy.log().replace('event=', '').replace('"', '') or "state=low" in proxy.log()
        assert grants_of(withdraw(proxy, cookie)) == 1  # there is room for these
        rows = records(proxy, "--journal")
        assert len(rows) == acked + 1
        filler = disk / "filler"
        with open(filler, "wb") as f:  # now not a byte is free
            try:
                while True:
                    f.write(bytes(65536))
                    f.flush()
            except OSError:
                pass
        done = 0
        while metric(proxy, "unlogged_withdrawals") == 0 and done < 5000:
            assert grants_of(withdraw(proxy)) == 1
            done += 1
        assert metric(proxy, "unlogged_withdrawals") > 0
        filler.unlink()
        wait_for(lambda: metric(proxy, "unlogged_withdrawals") == 0)
        assert len(records(proxy, "--journal")) == acked + 1 + done
        wait_for(lambda: metric(proxy, "log_refused") == 0) # the log goes on with all of them
        signed(proxy, acked + 1 + done)
        proxy.process.terminate()
        proxy.process.wait(30)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# --- clock -------------------------------------------------------------------------------------

def times(proxy):
    out = proxy.ctl("audit", "query", "--kind", "event", "--journal", "--order", "oldest", "-o", "jsonl").stdout
    return [json.loads(line)["event"]["ts"] for line in out.splitlines()]


def test_clock_that_steps(broken):
    """Forward and back: an alarm for each, the records' times never go back."""
    choose(broken, 3)
    time.sleep(1.2)
    broken.faults.set(clock=2 * 3600)
    wait_for(lambda: metric(broken, "clock_steps_total") == 1)
    assert "step=forward" in broken.log()
    ahead = grant(broken)
    assert ahead.status == 201
    broken.faults.set(clock=0)
    wait_for(lambda: metric(broken, "clock_steps_total") == 2)
    assert "step=back" in broken.log()
    choose(broken, 3)
    seen = times(broken)
    assert seen == sorted(seen) and seen[-1] - seen[0] > 7000 * 1000


def test_clock_that_is_not_redis(tmp_path, faults, monkeypatch):
    redis = Redis(tmp_path)
    made = Faults(tmp_path)
    made.set(clock=-3 * 3600)
    monkeypatch.setenv("LD_PRELOAD", faults)
    monkeypatch.setenv("FAULTS", str(made.path))
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    monkeypatch.delenv("LD_PRELOAD")
    wait_for(lambda: "step=redis" in proxy.log())
    assert metric(proxy, "clock_steps_total") == 1
    choose(proxy, 5)
    wait_for(lambda: settled(proxy))
    end(proxy, redis)


# --- two of one --------------------------------------------------------------------------------

def test_two_processes_on_one_journal(tmp_path):
    load = test_ledger.Load(tmp_path, "-", 100)
    load.wait_done()
    out = subprocess.run([str(test_ledger.LOAD), "status", str(tmp_path), "-", "1"], capture_output=True, text=True,
                         check=False, timeout=100)
    assert out.returncode != 0 and "another process writes here" in out.stderr
    load.finish()


def test_two_machines_with_one_node_number(tmp_path):
    """Whoever comes second writes nothing, whether its journal is shorter, as long, or longer."""
    redis = Redis(tmp_path)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first = Proxy(folders[0], ledger={"redis": redis.url})
    choose(first, 30)
    wait_for(lambda: settled(first))
    second = Proxy(folders[1], ledger={"redis": redis.url})
    wait_for(lambda: metric(second, "redis_blocked") == 1)
    choose(second, 60)
    choose(first, 30)
    wait_for(lambda: settled(first))
    assert metric(second, "redis_blocked") == 1 and "another machine" in second.log()
    assert records(first) == records(first, "--journal")
    end(second, first, redis)


def test_another_writer_takes_over(tmp_path):
    """From the moment on that Redis names another owner nothing of this one is applied, asked for or not."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    choose(proxy, 10)
    wait_for(lambda: settled(proxy))
    own, mark = (redis.call("keys", pattern).strip() for pattern in ("c:own:*", "*:hw"))
    applied, name = redis.call("get", mark), redis.call("get", own).strip()
    redis.call("set", own, ("1" if name[0] == "0" else "0") + name[1:])
    choose(proxy, 20)
    wait_for(lambda: metric(proxy, "redis_blocked") == 1)
    assert redis.call("get", mark) == applied
    assert len(records(proxy, "--journal")) >= 30
    end(proxy, redis)


def test_redis_goes_back_in_time_under_a_connection(tmp_path):
    """What it had and lost is applied again from the journal, before anything that comes after."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    choose(proxy, 10)
    wait_for(lambda: settled(proxy))
    each = "for _, k in ipairs(redis.call('KEYS', ARGV[1])) do redis.call(ARGV[2], k, ARGV[3] .. string.sub(k, ARGV[4])) end return 'done'"
    assert redis.call("eval", each, "0", "{c:*", "COPY", "kept", "1").strip() == "done"
    choose(proxy, 20)
    wait_for(lambda: settled(proxy))
    assert redis.call("eval", each, "0", "kept*", "RENAME", "", "5").strip() == "done"
    choose(proxy, 5)
    wait_for(lambda: settled(proxy) and len(records(proxy)) >= 35, 40)
    assert records(proxy) == records(proxy, "--journal")
    end(proxy, redis)


# --- rot ---------------------------------------------------------------------------------------

def test_last_batch_rots_and_redis_has_it(tmp_path):
    """It looks torn, and is not: it comes back from Redis, and everything verifies."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    size = max(choose(proxy, 100)) + 1
    signed(proxy, size)
    wait_for(lambda: settled(proxy))
    rows = records(proxy, "--journal")
    proxy.stop()
    test_ledger.flip_last_batch(journal_of(proxy))
    again(proxy)
    wait_for(lambda: "journal.rebuilt" in proxy.log())
    assert records(proxy, "--journal") == rows
    more = choose(proxy, 10)
    assert min(more) >= size
    signed(proxy, max(more) + 1)
    wait_for(lambda: proxy.ctl("audit", "verify", "--deep").returncode == 0)
    assert metric(proxy, "log_refused") == 0
    end(proxy, redis)


@pytest.mark.parametrize("owned", [True, False])
def test_a_mark_in_redis_that_nobody_believes(tmp_path, owned):
    """One rotten number in Redis ends no log and uses no leaf numbers up; put right, all goes on."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    size = max(choose(proxy, 20)) + 1
    signed(proxy, size)
    wait_for(lambda: settled(proxy))
    proxy.stop()
    [mark] = redis.call("keys", "*:hw").split()
    [own] = redis.call("keys", "c:own:*").split()
    right = redis.call("get", mark)
    redis.call("set", mark, "72057594037927000")
    if not owned:
        redis.call("del", own)
    again(proxy)
    wait_for(lambda: "ledger.mark" in proxy.log())
    more = choose(proxy, 10)
    assert size <= min(more) and max(more) < size + 20, "numbers go on where they were"
    signed(proxy, max(more) + 1)
    assert metric(proxy, "log_refused") == 0 and "log.restarted" not in proxy.log()
    wait_for(lambda: metric(proxy, "redis_blocked") == 1)
    redis.call("set", mark, right)
    wait_for(lambda: settled(proxy), 60)
    assert records(proxy) == records(proxy, "--journal")
    assert proxy.ctl("audit", "verify", "--deep").returncode == 0
    end(proxy, redis)


def test_last_batch_rots_and_only_the_checkpoint_knows(tmp_path):
    proxy = Proxy(tmp_path)
    size = max(choose(proxy, 100)) + 1
    signed(proxy, size)
    proxy.stop()
    test_ledger.flip_last_batch(journal_of(proxy))
    again(proxy)
    wait_for(lambda: "they were signed" in proxy.log())
    more = choose(proxy, 10)
    assert min(more) >= size, "a number was given out twice"
    assert metric(proxy, "journal_missing_records") > 0 and metric(proxy, "log_refused") == 0
    signed(proxy, max(more) + 1)
    assert proxy.ctl("audit", "verify").returncode == 1
    proxy.stop()
    again(proxy) # the gap is known from the log's own entries, which go on
    more = choose(proxy, 10)
    signed(proxy, max(more) + 1)
    assert metric(proxy, "log_refused") == 0 and "log.restarted" not in proxy.log()
    proxy.process.terminate()
    proxy.process.wait(30)


def test_journal_from_an_old_backup(tmp_path):
    """Redis went on meanwhile: the records between come back from it, no number is used twice."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    choose(proxy, 40)
    signed(proxy, 40)
    proxy.stop()
    journal, backup = backed_up(proxy, tmp_path)
    again(proxy)
    size = max(choose(proxy, 300)) + 1
    signed(proxy, size)
    wait_for(lambda: settled(proxy))
    rows = records(proxy)
    proxy.stop()
    shutil.rmtree(journal)
    shutil.copytree(backup, journal)
    again(proxy)
    wait_for(lambda: "journal.rebuilt" in proxy.log())
    assert records(proxy, "--journal") == rows
    more = choose(proxy, 10)
    assert min(more) >= size
    signed(proxy, max(more) + 1)
    # every checkpoint that Redis kept, those the backup never saw too, is one of this history
    wait_for(lambda: proxy.ctl("audit", "verify", "--deep").returncode == 0)
    end(proxy, redis)


class SlowReads(threading.Thread):
    """A way to a Redis on which every read of records takes a second."""

    def __init__(self, path, redis):
        super().__init__(daemon=True)
        self.redis, self.listener = redis, socket.socket(socket.AF_UNIX)
        self.url = f"unix:{path}"
        self.listener.bind(str(path))
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            here, _ = self.listener.accept()
            there = socket.socket(socket.AF_UNIX)
            there.connect(str(self.redis.socket))
            for pair in ((here, there, b"HMGET"), (there, here, None)):
                threading.Thread(target=self.carry, args=pair, daemon=True).start()

    @staticmethod
    def carry(source, sink, slow):
        try:
            while data := source.recv(65536):
                if slow and slow in data:
                    time.sleep(1)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()


def test_a_slow_redis_gives_back_what_it_has(tmp_path):
    """Longer than the start waits for Redis' first word: nothing new gets a number meanwhile."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": SlowReads(tmp_path / "slow.sock", redis).url})
    size = max(choose(proxy, 1200)) + 1
    signed(proxy, size)
    wait_for(lambda: settled(proxy))
    proxy.stop()
    shutil.rmtree(journal_of(proxy))
    again(proxy)
    wait_for(lambda: "journal.rebuilt" in proxy.log(), 60)
    assert f"to={size} " in next(line for line in proxy.log().splitlines() if "journal.rebuilt" in line)
    assert min(choose(proxy, 10)) >= size
    assert len(records(proxy, "--journal")) >= size + 10
    assert metric(proxy, "log_refused") == 0 and metric(proxy, "journal_missing_records") == 0
    end(proxy, redis)


def test_journal_lost_altogether(tmp_path):
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    size = max(choose(proxy, 600)) + 1
    signed(proxy, size)
    wait_for(lambda: settled(proxy))
    rows = records(proxy)
    proxy.stop()
    shutil.rmtree(journal_of(proxy))
    again(proxy)
    wait_for(lambda: "journal.rebuilt" in proxy.log())
    assert records(proxy, "--journal") == rows
    signed(proxy, size)
    wait_for(lambda: proxy.ctl("audit", "verify", "--deep").returncode == 0)
    end(proxy, redis)


# --- keys --------------------------------------------------------------------------------------

def rotate(proxy, old_state):
    path = proxy.folder / "keys.json"
    ring = json.loads(path.read_text())
    for key in ring["keys"]:
        if key["use"] == "tok" and key["state"] == "active":
            key["state"] = old_state
    ring["keys"].append({"kid": max(k["kid"] for k in ring["keys"] if k["use"] == "tok") + 1, "use": "tok",
                         "state": "active", "not_before": 0,
                         "key": base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")})
    path.write_text(json.dumps(ring))
    proxy.process.send_signal(signal.SIGHUP)


def test_key_rotated_and_revoked(tmp_path):
    """A rotated key's cookies go on; a revoked one's are none: the banner asks again."""
    origin = Origin()
    proxy = Proxy(tmp_path, origin)
    cookie = cookie_of(grant(proxy))

    def allowed():
        proxy.get("/", [("Cookie", cookie)])
        return "analytics=1" in (origin.requests[-1].header("X-Consent") or "")

    assert allowed()
    reloads = proxy.log().count("event=process.ready")
    rotate(proxy, "verify")
    wait_for(lambda: proxy.log().count("event=process.ready") > reloads, 20)
    time.sleep(1)
    assert allowed()
    new = cookie_of(grant(proxy))
    assert base64.urlsafe_b64decode(new.split("=", 1)[1])[1] != base64.urlsafe_b64decode(cookie.split("=", 1)[1])[1]
    path = proxy.folder / "keys.json"
    ring = json.loads(path.read_text())
    for key in ring["keys"]:
        if key["state"] == "verify":
            key["state"] = "revoked"
    path.write_text(json.dumps(ring))
    proxy.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not allowed(), 20)
    proxy.stop()
