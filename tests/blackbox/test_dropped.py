"""Months that retention drops: where what is kept begins is a leaf of the log, and is held against Redis.

A clock that the test moves (faults.c) makes months pass: September and October of a year are over, it
is November, records are kept for ten days. A real redis-server.
"""
import calendar
import contextlib
import json
import subprocess
import time

import pytest

from harness import Origin, Proxy, Redis, wait_for
from test_failures import EIO, Faults, faults_fixture  # pylint: disable=unused-import  # a fixture
from test_log import choose, signed

EACH = 30  # choices of a month


def at(month, day=15):
    """Seconds from here to noon of a day in 2025."""
    return calendar.timegm((2025, month, day, 12, 0, 0)) - int(time.time())


class Months:
    """2025-09, 2025-10 and 2025-11 in one log. old: the journal has only the last of them."""

    def __init__(self, folder, faults, monkeypatch, old=True):
        self.folder, self.faults, self.monkeypatch, self.library = folder, Faults(folder), monkeypatch, faults
        self.redis, self.origin = Redis(folder), Origin()
        self.faults.set(clock=at(9))
        with self.moved():
            self.proxy = Proxy(folder, self.origin, ledger={"redis": self.redis.url, "name": "the-log",
                                                            "record_retention": "10d"})
        self.first = {}
        for month in (9, 10, 11):
            self.faults.set(clock=at(month), sync=(EIO, 1 if month > 9 else 0))  # a segment of its own
            leaves = choose(self.proxy, EACH, threads=1)
            self.first[month] = min(leaves)
            signed(self.proxy, max(leaves) + 1)
        self.shipped()
        if old:
            self.restart(self.without_old_segments)

    @contextlib.contextmanager
    def moved(self):
        """Programs that are started meanwhile have the test's clock."""
        with self.monkeypatch.context() as m:
            m.setenv("LD_PRELOAD", self.library)
            m.setenv("FAULTS", str(self.faults.path))
            yield

    def restart(self, meanwhile):
        self.proxy.process.terminate()
        self.proxy.process.wait(30)
        meanwhile()
        with self.moved():
            self.proxy.start()
        self.shipped()

    def without_old_segments(self):
        """As journal_retention takes them once Redis has what is in them."""
        segments = sorted((self.folder / "state/journal").glob("wal-*.log"))
        assert len(segments) >= 3
        for path in segments[:2]:
            path.unlink()

    def ctl(self, *args):
        with self.moved():
            return self.proxy.ctl(*args, timeout=60)

    def shipped(self):
        wait_for(lambda: "lacks 0 records" in self.proxy.ctl("ledger", "status").stdout, 30)

    def key(self, month, suffix):
        return f"{{c:the-log:1:2025{month:02}}}:{suffix}"

    def listed(self):
        return (self.folder / "state/erased.lst").read_text()

    def drop(self):
        done = self.ctl("ledger", "retention", "--drop", "--yes")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def settle(self):
        """Everything is shipped, and Redis has a checkpoint of it."""
        self.shipped()
        wait_for(lambda: self.verify().returncode == 0, 30)

    def verify(self):
        return self.ctl("audit", "verify", "--deep")

    def both(self, code, word):
        """What the shell gets, from the files and from the running consentd."""
        for out in (self.verify(), self.ctl("audit", "verify", "--running", "--deep")):
            assert out.returncode == code and word in out.stderr, (out.returncode, out.stdout, out.stderr)

    def records(self):
        out = self.ctl("audit", "query", "--kind", "operator", "--limit", "1000", "-o", "jsonl").stdout
        ops = [json.loads(line)["event"]["op"] for line in out.splitlines()]
        return [op for op in ops if op.get("act") in ("month_dropped", "drop_month")]

    def lose(self, month, cnt):
        """The oldest entries of a month go from Redis, with their secrets, index and counters."""
        lua = f"""local T = '{self.key(month, "")}'
            for _, e in ipairs(redis.call('XRANGE', T .. 'ev', '-', '+', 'COUNT', {cnt})) do
              local leaf = tonumber(string.match(e[1], '%-(%d+)$'))
              redis.call('XDEL', T .. 'ev', e[1])
              redis.call('HDEL', T .. 'rk:' .. math.floor(leaf / 100), leaf % 100)
              for _, k in ipairs(redis.call('KEYS', T .. 'sx:*')) do
                for _, f in ipairs(redis.call('HKEYS', k)) do
                  local place = string.sub(redis.call('HGET', k, f), 9)
                  if place == string.rep('\\0', 7) .. string.char(leaf) then redis.call('HDEL', k, f) end
                end
              end
            end
            for _, k in ipairs(redis.call('KEYS', T .. 'st:*')) do
              for _, f in ipairs(redis.call('HKEYS', k)) do
                if redis.call('HGET', k, f) == '{EACH}' then redis.call('HSET', k, f, {EACH - cnt}) end
              end
            end
            return 'done'"""
        assert self.redis.call("eval", lua.replace("\\\\", "\\"), "0") == "done"

    def stop(self):
        self.proxy.process.terminate()
        self.proxy.process.wait(30)
        self.redis.stop()
        self.origin.stop()


@pytest.fixture(name="make")
def make_fixture(tmp_path, faults, monkeypatch):
    made = []

    def make(**options):
        made.append(Months(tmp_path, faults, monkeypatch, **options))
        return made[-1]

    yield make
    for months in made:
        months.stop()


@pytest.mark.parametrize("old", [True, False])
def test_the_oldest_kept_records_gone_after_a_drop(make, old):
    months = make(old=old)
    months.settle()
    shown = months.drop()
    assert "202509  dropped" in shown and "202510  dropped" in shown
    wait_for(lambda: months.listed().count("told ") == 2, 30)
    wait_for(lambda: months.redis.call("exists", months.key(10, "hw")) == "0", 30)
    months.settle()
    first = months.first[11]
    assert f"kept 202509 1 {months.first[10]}" in months.listed()
    assert f"kept 202510 1 {first}" in months.listed()
    assert {"act": "month_dropped", "month": 202510, "node": 1, "kept_from": first} in months.records()
    assert f"the records of today begin at leaf {first}" in months.ctl("ledger", "retention").stdout
    months.both(0, "")
    months.lose(11, 3)
    months.both(1, f"leaf {first}: ")
    # whoever takes it out of the list, too, is told by the record of the log
    path = months.folder / "state/erased.lst"
    good = path.read_text()
    path.write_text("".join(x for x in good.splitlines(True) if not x.startswith("kept 202510")))
    months.both(1, f"leaf {first}: ")
    path.write_text(good.replace(f"kept 202510 1 {first}", f"kept 202510 1 {first + 3}"))
    months.both(1, "month 202510: ")


def test_a_month_goes_before_those_behind_it(make):
    months = make()
    out = subprocess.run(["curl", "-s", "--unix-socket", months.folder / "admin.sock", "-X", "DELETE",
                          "http://x/api/v1/ledger/months/202510"], capture_output=True, text=True, check=True).stdout
    assert "an earlier month is still here" in out, out
    assert "202510" in months.drop(), "both, in their order"


def test_a_drop_while_redis_is_away(make):
    months = make()
    months.redis.kill()
    months.drop()
    assert "kept" not in months.listed(), "nobody can say where what is kept begins"
    assert "its last record is asked of Redis" in months.ctl("ledger", "retention").stdout
    months.redis.start()
    wait_for(lambda: months.listed().count("told ") == 2, 60)
    assert [op["month"] for op in months.records() if op["act"] == "drop_month"] == [202510, 202509]
    months.settle()
    months.lose(11, 2)
    months.both(1, f"leaf {months.first[11]}: ")


def test_a_drop_that_was_cut_is_told_later(make):
    """Killed when the list had the line, and before the log had the record."""
    months = make()
    months.drop()
    wait_for(lambda: months.listed().count("told ") == 2, 30)
    path = months.folder / "state/erased.lst"

    def cut():
        path.write_text("".join(x for x in path.read_text().splitlines(True) if not x.startswith("told 202510")))

    months.restart(cut)
    wait_for(lambda: months.listed().count("told ") == 2, 30)
    assert len([op for op in months.records() if op["act"] == "month_dropped"]) == 3
    months.settle()


def test_a_month_that_only_the_list_dropped(make):
    """Whoever takes a month away and writes it into the list has no record of it."""
    months = make()
    path = months.folder / "state/erased.lst"
    months.drop()
    wait_for(lambda: months.listed().count("told ") == 2, 30)
    months.settle()
    months.proxy.process.terminate()
    months.proxy.process.wait(30)
    path.write_text(months.listed() + f"drop 202511 1\nkept 202511 1 {months.first[11] + 9}\ntold 202511 1\n")
    out = months.verify()
    assert out.returncode == 1 and "no record of the log says so" in out.stderr, out.stderr
    months.proxy.start()


def without_keys(months):
    for month in (9, 10):
        for key in months.redis.call("keys", f"*2025{month:02}*").splitlines():
            months.redis.call("unlink", key)


def test_a_drop_of_what_redis_had_lost_says_nothing_about_leaves(make):
    """Nobody can find out where what is kept begins; who dropped the month is on record."""
    months = make()
    without_keys(months)
    months.drop()
    wait_for(lambda: len(months.records()) == 2, 30)
    months.settle()
    assert "202510  dropped" in months.ctl("ledger", "retention").stdout
    assert "kept" not in months.listed()
    months.both(0, "")


def test_a_drop_that_nobody_asked_for_proves_nothing(make):
    """A line of the list alone: the months may have been taken away by whoever wrote it."""
    months = make()

    def taken_away():
        without_keys(months)
        (months.folder / "state/erased.lst").write_text("drop 202509 1\ndrop 202510 1\n")

    months.restart(taken_away)
    wait_for(lambda: months.verify().returncode == 2, 30)
    months.both(2, "month 202510: listed as dropped, and no record of the log says so")
