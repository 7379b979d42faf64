"""consentctl audit verify --deep: whatever is changed or taken away in Redis, log or journal is found.

Each test changes one stored thing of a good ledger and puts it back; what the shell gets and what is
named is the subject.
"""
import json
import pathlib
import re
import shutil
import struct
import time

import pytest

from harness import Origin, Proxy, Redis, wait_for
from test_log import choose, journal_of, signed, vkey_of

COUNT = 300


class Ledger:
    """A proxy with a Redis and COUNT choices, everything signed, shipped and stopped."""

    def __init__(self, folder):
        self.redis = Redis(folder)
        self.origin = Origin()
        self.proxy = Proxy(folder, self.origin, ledger={"redis": self.redis.url, "name": "the-log"})
        signed(self.proxy, max(choose(self.proxy, 50)) + 1)  # a checkpoint before the newest
        self.size = max(choose(self.proxy, COUNT - 50)) + 1
        signed(self.proxy, self.size)
        self.vkey = vkey_of(self.proxy)
        wait_for(lambda: self.redis.call("xrevrange", "c:cp:the-log:1", "+", "-", "COUNT", "1").startswith(f"{self.size}-0"))
        self.journal = journal_of(self.proxy)
        self.proxy.stop()
        [self.month] = self.redis.call("--raw", "keys", "{c:the-log:1:*}:hw").split()
        self.month = self.month[:-2]

    def verify(self, *args):
        return self.proxy.ctl("audit", "verify", *args, timeout=60)

    def lua(self, text, *keys):
        """Runs a piece of Lua with T as the prefix of the month's keys; its answer as text."""
        out = self.redis.call("--raw", "eval", f"local T = '{self.month}'\n" + text, str(len(keys)), *keys)
        assert "ERR" not in out, out
        return out.strip()

    def found(self, word, code=1):
        """The verification says so, and names what is wrong."""
        out = self.verify("--deep")
        assert out.returncode == code, (out.returncode, out.stdout, out.stderr)
        assert word in out.stderr, out.stderr

    def close(self):
        self.redis.stop()
        self.origin.stop()


@pytest.fixture(name="ledger", scope="module")
def ledger_fixture(tmp_path_factory):
    made = Ledger(tmp_path_factory.mktemp("verify"))
    out = made.verify("--deep")
    assert out.returncode == 0, out.stderr
    yield made
    out = made.verify("--deep")
    made.close()
    assert out.returncode == 0, out.stderr  # every test put back what it changed


def test_everything_fits(ledger):
    out = ledger.verify("--deep")
    assert out.returncode == 0, out.stderr
    assert f"{ledger.size} entries fit the log, {ledger.size} were opened" in out.stdout
    assert f"{ledger.size - 1} references of subjects" in out.stdout, "all but the notice's leaf"
    assert ledger.verify("--deep", "--from", "2020-01-01", "--to", "2100-01-01").returncode == 0
    assert ledger.verify("--deep", "--from", "2020-01-01", "--to", "2020-02-01").returncode == 0


def test_usage(ledger, tmp_path):
    assert ledger.verify("--deep", "--offline", str(tmp_path), "--vkey", ledger.vkey).returncode == 3
    assert ledger.verify("--from", "yesterday").returncode == 3
    assert ledger.verify("--depth").returncode == 3


# A copy of the stream with one entry changed (a stream's entries can't be changed in place).
REWRITE = """
local all = redis.call('XRANGE', T .. 'ev', '-', '+')
redis.call('RENAME', T .. 'ev', 'kept')
for _, e in ipairs(all) do
  local id, v = e[1], e[2][2]
  local leaf = tonumber(string.match(id, '%-(%d+)$'))
  CHANGE
  if v then redis.call('XADD', T .. 'ev', id, 'e', v) end
end
"""


@pytest.mark.parametrize("leaf", [0, 123, COUNT - 1])
@pytest.mark.parametrize("byte", [1, 4, 5, 40, -1])
def test_a_byte_of_a_stream_entry(ledger, leaf, byte):
    at = f"{byte} < 0 and #v or {byte} + 1"
    ledger.lua(REWRITE.replace("CHANGE", f"""if leaf == {leaf} then
        local at = {at}
        v = string.sub(v, 1, at - 1) .. string.char(bit.bxor(string.byte(v, at), 1)) .. string.sub(v, at + 1)
      end"""))
    ledger.found(f"leaf {leaf}")
    ledger.lua("redis.call('RENAME', 'kept', T .. 'ev')")


@pytest.mark.parametrize("leaf", [0, 123, COUNT - 1])
def test_a_stream_entry_that_is_gone(ledger, leaf):
    ledger.lua(REWRITE.replace("CHANGE", f"if leaf == {leaf} then v = nil end"))
    ledger.found(f"leaf {leaf}: gone from Redis, and not erased")
    ledger.lua("redis.call('RENAME', 'kept', T .. 'ev')")


def test_two_entries_that_changed_places(ledger):
    ledger.lua(REWRITE.replace("CHANGE", "if leaf == 7 then v = all[9][2][2] elseif leaf == 8 then v = all[8][2][2] end"))
    ledger.found("leaf 7")
    ledger.lua("redis.call('RENAME', 'kept', T .. 'ev')")


def test_the_newest_records_gone_from_redis(ledger):
    """Everything of them, with the marks set back: the checkpoint that Redis has tells."""
    ledger.lua(REWRITE.replace("CHANGE", f"if leaf >= {ledger.size - 20} then v = nil end"))
    ledger.lua(f"redis.call('SET', T .. 'hw', '{ledger.size - 21}')")
    assert ledger.verify("--deep").returncode == 1
    ledger.lua("redis.call('RENAME', 'kept', T .. 'ev')")
    ledger.lua(f"redis.call('SET', T .. 'hw', '{ledger.size - 1}')")


def test_the_mark(ledger):
    ledger.lua("redis.call('SET', T .. 'hw', '100')")
    ledger.found("behind the mark")
    ledger.lua("redis.call('SET', T .. 'hw', '1000000')")
    ledger.found(f"leaf {ledger.size}: gone from Redis")
    ledger.lua(f"redis.call('SET', T .. 'hw', '{ledger.size - 1}')")


def test_a_secret(ledger):
    old = ledger.redis.call("--no-raw", "hget", ledger.month + "rk:1", "23").strip()
    ledger.lua("""local r = redis.call('HGET', T .. 'rk:1', '23')
        redis.call('HSET', 'kept', 'r', r)
        redis.call('HSET', T .. 'rk:1', '23', string.char(bit.bxor(string.byte(r), 1)) .. string.sub(r, 2))""")
    ledger.found("leaf 123: the record can't be opened")
    ledger.lua("redis.call('HDEL', T .. 'rk:1', '23')")
    ledger.found("leaf 123: its secret is gone, and it was not erased")
    ledger.lua("redis.call('HSET', T .. 'rk:1', '23', redis.call('HGET', 'kept', 'r')) redis.call('DEL', 'kept')")
    assert ledger.redis.call("--no-raw", "hget", ledger.month + "rk:1", "23").strip() == old


def test_a_rotten_range_of_the_journal(ledger):
    """Its leaves are named, and whether they are lost: Redis has them, or it has not."""
    wal = sorted(ledger.journal.glob("wal-1-*"))[0]
    data = wal.read_bytes()
    batches = [m.start() for m in re.finditer(b"CBT1", data)]
    at = batches[len(batches) // 2]
    first, count = struct.unpack(">Q", data[at + 16:at + 24])[0], struct.unpack(">I", data[at + 12:at + 16])[0]
    wal.write_bytes(data[:at + 40] + bytes([data[at + 40] ^ 1]) + data[at + 41:])
    where = f"leaves {first} to {first + count - 1}: the journal can't be read there"
    out = ledger.verify()
    assert out.returncode == 1 and where in out.stderr, out.stderr
    ledger.found(where + "; Redis has every record, so that nothing is lost")
    ledger.lua("redis.call('RENAME', T .. 'rk:1', 'kept')")
    ledger.found(where + ", and Redis is not whole either")
    ledger.lua("redis.call('RENAME', 'kept', T .. 'rk:1')")
    wal.write_bytes(data)


def test_a_secret_without_its_record(ledger):
    ledger.lua("redis.call('HSET', T .. 'rk:1', 'x', string.rep('r', 32))")
    ledger.found("leaves 100 to 199: Redis keeps a secret of a record that it has not got")
    ledger.lua("redis.call('HDEL', T .. 'rk:1', 'x')")


@pytest.mark.parametrize("change", [
    "v = string.char(bit.bxor(string.byte(v), 1)) .. string.sub(v, 2)",  # a time
    "v = string.sub(v, 1, 15) .. string.char(bit.bxor(string.byte(v, 16), 1)) .. string.sub(v, 17)",  # a leaf
    "v = v .. v",  # one twice
    "v = nil",
])
def test_the_index_of_subjects(ledger, change):
    key = ledger.lua("""local k = redis.call('KEYS', T .. 'sx:*') table.sort(k)
        redis.call('COPY', k[2], 'kept')
        local f = redis.call('HKEYS', k[2])[1]
        local v = redis.call('HGET', k[2], f)
        %s
        if v then redis.call('HSET', k[2], f, v) else redis.call('HDEL', k[2], f) end
        return k[2]""" % change)
    ledger.found(key)
    ledger.lua("redis.call('DEL', KEYS[1]) redis.call('RENAME', 'kept', KEYS[1])", key)


@pytest.mark.parametrize("name, step", [("act:custom", 1), ("act:custom", -1), ("first", 5), ("g:analytics:1", -COUNT),
                                        ("act:withdraw", 1)])
def test_a_counter(ledger, name, step):
    key = ledger.lua(f"""local k = redis.call('KEYS', T .. 'st:*')[1]
        redis.call('COPY', k, 'kept')
        redis.call('HINCRBY', k, '{name}', '{step}')
        return k""")
    ledger.found(f"{key} {name}")
    ledger.lua("redis.call('DEL', KEYS[1]) redis.call('RENAME', 'kept', KEYS[1])", key)


def test_a_gap_is_not_passed_over(ledger):
    ledger.lua("redis.call('HSET', T .. 'gap', '5', '9')")
    ledger.found("leaves 5 to 9")
    ledger.lua("redis.call('DEL', T .. 'gap')")


def test_the_checkpoints_gone_from_redis(ledger):
    ledger.lua("redis.call('RENAME', 'c:cp:the-log:1', 'kept')")
    ledger.found("Redis c:cp: the checkpoints of what Redis has are gone from there")
    ledger.lua("redis.call('RENAME', 'kept', 'c:cp:the-log:1')")


def test_a_checkpoint_in_redis(ledger):
    ledger.lua("""local all = redis.call('XRANGE', 'c:cp:the-log:1', '-', '+')
        redis.call('RENAME', 'c:cp:the-log:1', 'kept')
        for i, e in ipairs(all) do
          local v = e[2][2]
          if i == #all then
            local at = 40 + string.find(string.sub(v, 41), '[A-Za-z0-9]')
            v = string.sub(v, 1, at - 1) .. string.char(bit.bxor(string.byte(v, at), 2)) .. string.sub(v, at + 1)
          end
          redis.call('XADD', 'c:cp:the-log:1', e[1], 'n', v)
        end""")
    ledger.found("Redis c:cp")
    ledger.lua("redis.call('RENAME', 'kept', 'c:cp:the-log:1')")


def test_kept_checkpoints(ledger):
    """Each byte matters; one that is cut off, and one of another past, are found."""
    path = ledger.journal / "tlog/checkpoints"
    good = path.read_bytes()
    for at in (3, len(good) // 2, len(good) - 5):
        bad = bytearray(good)
        bad[at] ^= 1
        path.write_bytes(bad)
        out = ledger.verify()
        assert out.returncode == 1 and "checkpoints" in out.stderr, (at, out.stderr)
    path.write_bytes(good)
    # the checkpoint is set back to an older one: the newest that was kept is the one that counts
    first = good[:good.index(b"\n\n", good.index(b"\n\n") + 2) + 1]
    newest = (ledger.journal / "tlog/checkpoint").read_bytes()
    assert first != newest
    (ledger.journal / "tlog/checkpoint").write_bytes(first)
    out = ledger.verify()
    assert out.returncode == 0 and f"the newest of {ledger.size} leaves" in out.stdout
    # all that were kept are gone as well: Redis still has one
    path.unlink()
    assert ledger.verify().returncode == 2
    path.write_bytes(first + b"\n")
    out = ledger.verify("--deep")
    assert out.returncode == 0 and f"the newest of {ledger.size} leaves" in out.stdout
    path.write_bytes(good)
    (ledger.journal / "tlog/checkpoint").write_bytes(newest)


def test_newest_tiles_gone(ledger, tmp_path):
    tlog = ledger.journal / "tlog"
    kept = tmp_path / "kept"
    shutil.copytree(tlog, kept)
    width = ledger.size % 256
    for part in (f"tile/entries/001.p/{width}", f"tile/0/001.p/{width}", "tile/entries/000", "tile/0/000"):
        (tlog / part).unlink()
        out = ledger.verify()
        assert out.returncode == 2 and part.split("/")[1] in out.stderr, out.stderr
        shutil.copy(kept / part, tlog / part)
    out = ledger.verify("--offline", str(kept), "--vkey", ledger.vkey)
    assert out.returncode == 0 and "journal" not in out.stdout, out.stderr


def test_a_torn_kept_checkpoint_is_no_alarm_and_goes(ledger):
    """What a crash leaves behind: the next start takes it away."""
    path = ledger.journal / "tlog/checkpoints"
    good = path.read_bytes()
    path.write_bytes(good + good[:90])
    assert ledger.verify().returncode == 0
    path.write_bytes(good)


def test_erased_records_must_be_named(tmp_path):
    """Erased on request: verified. Taken away with only a line in the list: found."""
    ledger = Ledger(tmp_path)
    proxy = ledger.proxy
    proxy.start()
    row = proxy.ctl("audit", "query", "--kind", "event", "--limit", "1", "-o", "jsonl")
    subject = json.loads(row.stdout.splitlines()[0])["event"]["sub"]
    leaf = json.loads(row.stdout.splitlines()[0])["leaf"]
    done = proxy.ctl("subject", "erase", "--yes", "s_" + subject)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: ledger.redis.call("hget", ledger.month + f"rk:{leaf // 100}", str(leaf % 100)).strip() == "")
    size = ledger.size + 1
    signed(proxy, size)
    time.sleep(3)
    out = ledger.verify("--deep")
    assert out.returncode == 0, out.stderr
    assert "1 were erased on request" in out.stdout
    proxy.stop()
    victim = 17
    stamp = ledger.lua(f"""local e = redis.call('XRANGE', T .. 'ev', '-', '+')[{victim + 1}]
        redis.call('XDEL', T .. 'ev', e[1]) redis.call('HDEL', T .. 'rk:0', '{victim}')
        for _, k in ipairs(redis.call('KEYS', T .. 'sx:*')) do
          for _, f in ipairs(redis.call('HKEYS', k)) do
            local place = string.sub(redis.call('HGET', k, f), 9)
            if place == string.rep(string.char(0), 7) .. string.char({victim}) then redis.call('HDEL', k, f) end
          end
        end
        return e[1]""").split("-")[0]
    listed = pathlib.Path(proxy.config["state_dir"]) / "erased.lst"
    line = next(x for x in listed.read_text().splitlines() if x.startswith("erase "))
    words = line.split()
    fake = "0" * len(words[1])
    tag = "1" * len(words[2])
    gone = "2" * len(words[3])
    with open(listed, "a") as f:
        f.write(" ".join(["erase", fake, tag, gone] + words[4:]) + "\n")
        f.write(f"leaves {fake} {stamp}:{victim}\nlooked {fake}\nlogged {fake} 1\n")
    out = ledger.verify("--deep")
    assert out.returncode == 1 and f"leaf {victim}: listed as erased, and no erase record names it" in out.stderr, out.stderr
    proxy.start()
    out = ledger.verify("--deep", "--running")
    assert out.returncode == 1 and f"leaf {victim}: listed as erased, and no erase record names it" in out.stderr, out.stderr
    proxy.stop()
    ledger.close()


def test_live(tmp_path):
    """Verification beside a running ledger finds nothing that is not there."""
    redis = Redis(tmp_path)
    origin = Origin()
    proxy = Proxy(tmp_path, origin, ledger={"redis": redis.url})
    end = time.monotonic() + 6
    while time.monotonic() < end:
        choose(proxy, 40)
        out = proxy.ctl("audit", "verify", "--deep", timeout=60)
        assert out.returncode == 0 or "not shipped yet" in out.stderr or "nothing was signed" in out.stderr, out.stderr
    proxy.stop()
    redis.stop()
