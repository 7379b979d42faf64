"""A log that can't be continued ends, and another one begins under a number of its own, for all to see.

As in test_log.py, nothing here uses the project's code to verify.
"""
import base64
import hashlib
import json
import shutil
import struct

import pytest

from harness import Proxy, wait_for
from test_audit_api import verified
from test_failures import again, grant, metric, settled
from test_kill import Redis, records
from test_log import (LOG, backed_up, choose, entries_of, fetch, journal_of, leaf_hash, read_checkpoint, root_by_proof,
                      root_of, signed, signed_size, tile_path, vkey_of)

NEXT = 65 # ledger.node 1, once more


def lost(leaf):
    return hashlib.sha256(b"consentd.lost.v1\0" + struct.pack(">Q", leaf)).digest()


def cut_newest_batch(journal):
    """Takes the newest batch out of the journal, as if it had never been written."""
    wal = sorted(journal.glob("wal-1-*"))[-1]
    data = wal.read_bytes()
    last = data.rindex(b"CBT1")
    [first] = struct.unpack(">Q", data[last + 16:last + 24])
    wal.write_bytes(data[:last] + bytes(len(data) - last))
    return first


def remove_newest_entries(journal, size):
    (journal / f"tlog/tile/entries/{size // 256:03}.p/{size % 256}").unlink()


def check_new_log(proxy, folder, old, size, gone):
    """The log of today: of the next node, with everything that is known of the leaves before."""
    vkey, now = vkey_of(proxy), signed_size(proxy)
    assert vkey.split("+")[0] == old.split("+")[0][:-len("/1")] + f"/{NEXT}"
    note = fetch(proxy, "checkpoint").decode()
    assert read_checkpoint(note, vkey, folder)[0] == now >= size
    entries = entries_of(proxy, now)
    assert root_of([leaf_hash(e) for e in entries]) == read_checkpoint(note, vkey, folder)[1]
    assert [i for i, entry in enumerate(entries) if entry == lost(i)] == gone
    return entries


def check_proofs(proxy, folder, entries, places):
    for place in places:
        leaf = int(place.split(":")[1])
        out = proxy.ctl("audit", "prove", place, "--disclose")
        assert out.returncode == 0, out.stderr
        lines = out.stdout.split("\n")
        end = lines.index("")
        extra = base64.b64decode(lines[1][6:], validate=True)
        cmt = hashlib.sha256(b"consentd.event.v1\0" + extra).digest()
        size, root = read_checkpoint("\n".join(lines[end + 1:]), vkey_of(proxy), folder)
        path = [base64.b64decode(line, validate=True) for line in lines[3:end]]
        assert entries[leaf] == cmt and root_by_proof(leaf_hash(cmt), leaf, size, path) == root


def test_records_and_entries_that_are_gone_end_a_log(tmp_path):
    proxy = Proxy(tmp_path)
    size = max(choose(proxy, 300)) + 1
    signed(proxy, size)
    size, old, note = signed_size(proxy), vkey_of(proxy), fetch(proxy, "checkpoint")
    entries = entries_of(proxy, size)
    proxy.stop()
    journal = journal_of(proxy)
    first = cut_newest_batch(journal)
    remove_newest_entries(journal, size)
    again(proxy)
    wait_for(lambda: "log.restarted" in proxy.log())
    assert f"node={NEXT} earlier=1 leaves={size} " in proxy.log()
    answer = grant(proxy)
    receipt = json.loads(answer.body)
    assert answer.status == 201 and receipt["node"] == NEXT and receipt["leaf"] >= size
    raw = base64.urlsafe_b64decode(answer.header("Set-Cookie").split("=", 1)[1].split(";")[0])
    assert raw[33] == NEXT and int.from_bytes(raw[34:41], "big") == receipt["leaf"]
    signed(proxy, receipt["leaf"] + 1)
    gone = list(range(first, size))
    now = check_new_log(proxy, tmp_path, old, size, gone)
    assert now[:first] == entries[:first], "what was known was not taken over"
    check_proofs(proxy, tmp_path, now, [f"1:{first // 2}", f"{NEXT}:{receipt['leaf']}"])
    # the one that ended stays as it was, for everybody
    assert proxy.get(LOG + "1/checkpoint").body == note
    assert proxy.get(LOG + "1/" + tile_path(0, 0)).status == 200
    assert proxy.get(LOG + "1/checkpoints").status == proxy.get(LOG + "7/checkpoint").status == 404
    # and everybody can see that it did
    assert metric(proxy, "log_restarts") == 1 and metric(proxy, "log_refused") == 0
    out = proxy.ctl("ledger", "status").stdout
    assert f"/consent/{NEXT}" in out and "earlier" in out and f"before leaf {size}" in out
    status = json.loads(proxy.ctl("status", "--json").stdout)
    assert status["ledger"]["node"] == NEXT and status["ledger"]["earlier_logs"] == 1
    out = proxy.ctl("audit", "verify")
    assert out.returncode == 1 and f"leaves {first} to {size - 1}" in out.stderr
    assert f"earlier     {old.split('+')[0]} ended " in out.stdout
    assert f"{first} of its {size} leaves are in the log of today" in out.stdout
    assert f"leaf {first}: signed in a log that ended" in out.stderr
    # the admin's verification names it too, and says the same of it
    found = verified(proxy)
    [past] = found["earlier"]
    assert found["origin"].endswith(f"/{NEXT}") and past["origin"] == old.split("+")[0] and past["node"] == 1
    assert (past["leaves"], past["carried"], past["next_leaf"]) == (size, first, size)
    assert found["result"] == past["result"] == "tampered"
    assert past["what"] == f"leaf {first}: signed in a log that ended, and not in the one of today"
    assert past["ended"] in out.stdout
    asked = proxy.ctl("audit", "verify", "--running")
    assert asked.returncode == 1 and f"{first} of its {size} leaves are in the log of today" in asked.stdout
    assert f"leaf {first}: signed in a log that ended" in asked.stderr
    # places have the number they were given under
    assert proxy.ctl("audit", "get", f"1:{first // 2}").returncode == 0
    assert proxy.ctl("audit", "prove", f"{NEXT}:{first // 2}").returncode == 1
    rows = [json.loads(line) for line in proxy.ctl("audit", "query", "-o", "jsonl", "--limit", "1000").stdout.splitlines()]
    assert {r["node"] for r in rows if r["leaf"] < size} == {1} and {r["node"] for r in rows if r["leaf"] >= size} == {NEXT}
    # once is enough
    proxy.stop()
    again(proxy)
    more = choose(proxy, 5)
    signed(proxy, max(more) + 1)
    assert "log.restarted" not in proxy.log() and metric(proxy, "log_restarts") == 1
    check_new_log(proxy, tmp_path, old, size, gone)
    proxy.stop()


@pytest.mark.parametrize("what", ["backup", "nothing"])
def test_a_journal_that_is_older_than_its_last_checkpoint(tmp_path, what):
    """No Redis: the copy beside the keys is all that knows. No number is given out twice."""
    proxy = Proxy(tmp_path)
    choose(proxy, 40)
    signed(proxy, 40)
    proxy.stop()
    journal, backup = backed_up(proxy, tmp_path)
    again(proxy)
    size = max(choose(proxy, 60)) + 1
    signed(proxy, size)
    size, old = signed_size(proxy), vkey_of(proxy)
    kept = int((backup / "tlog/checkpoint").read_text().splitlines()[1]) if what == "backup" else 0
    proxy.stop()
    shutil.rmtree(journal)
    if what == "backup":
        shutil.copytree(backup, journal)
    again(proxy)
    wait_for(lambda: "log.restarted" in proxy.log())
    assert f"{size} leaves were signed, and there are {kept}" in proxy.log()
    more = choose(proxy, 3)
    assert min(more) >= size, "a number was given out twice"
    signed(proxy, max(more) + 1)
    check_new_log(proxy, tmp_path, old, size, list(range(kept, size)))
    out = proxy.ctl("audit", "verify")
    assert out.returncode != 0 and f"/{NEXT} went on from leaf {size}" in out.stdout
    proxy.stop()


def start_again(proxy, log="log.restarted"):
    again(proxy)
    wait_for(lambda: log in proxy.log())


def state_of(proxy):
    """The folder of the month keys."""
    return proxy.folder / "state"


def empty(journal):
    shutil.rmtree(journal)
    journal.mkdir()


@pytest.mark.parametrize("what", ["empty", "whole"])
def test_another_node_begins_a_log(tmp_path, what):
    """What an earlier number signed says nothing about this one; it stays, and can go on later."""
    proxy = Proxy(tmp_path)
    signed(proxy, max(choose(proxy, 3)) + 1)
    size, journal = signed_size(proxy), journal_of(proxy)
    proxy.stop()
    if what == "empty":
        empty(journal)
    for node in (2, 2, 1) if what == "whole" else (2, 2):
        proxy.config["ledger"]["node"] = node
        proxy.rewrite(proxy.config)
        again(proxy)
        leaves = choose(proxy, 3)
        assert node == 2 or min(leaves) >= size, "a number was given out twice"
        signed(proxy, max(leaves) + 1)
        assert vkey_of(proxy).split("+")[0].endswith(f"/consent/{node}") and metric(proxy, "log_refused") == 0
        assert "log.refused" not in proxy.log() and "log.restarted" not in proxy.log()
        assert proxy.ctl("audit", "verify").returncode == 0
        proxy.stop()
    aside = {"empty": [], "whole": ["tlog-2"]}[what]
    assert [p.name for p in journal.glob("tlog-*")] == aside


def test_a_journal_that_is_lost_twice(tmp_path):
    """What the second loss takes along are the notes of the first one: they are beside the keys too."""
    proxy = Proxy(tmp_path)
    last = max(choose(proxy, 3)) + 1
    signed(proxy, last)
    proxy.stop()
    for node in (NEXT, NEXT + 64):
        empty(journal_of(proxy))
        start_again(proxy)
        more = choose(proxy, 3)
        assert min(more) >= last, "a number was given out twice"
        last = max(more) + 1
        signed(proxy, last)
        assert vkey_of(proxy).split("+")[0].endswith(f"/consent/{node}")
        proxy.stop()
    again(proxy)
    assert min(choose(proxy, 2)) >= last and "log.restarted" not in proxy.log()
    assert metric(proxy, "log_restarts") == 2
    proxy.stop()


def test_a_backup_from_before_the_first_restart(tmp_path):
    """It has neither the notes nor the later log: both are behind it."""
    proxy = Proxy(tmp_path)
    signed(proxy, max(choose(proxy, 3)) + 1)
    proxy.stop()
    journal, backup = backed_up(proxy, tmp_path)
    again(proxy)
    signed(proxy, max(choose(proxy, 3)) + 1)
    last = signed_size(proxy)
    proxy.stop()
    for node in (NEXT, NEXT + 64):
        shutil.rmtree(journal)
        shutil.copytree(backup, journal)
        start_again(proxy)
        more = choose(proxy, 3)
        assert min(more) >= last, "a number was given out twice"
        last = max(more) + 1
        signed(proxy, last)
        assert vkey_of(proxy).split("+")[0].endswith(f"/consent/{node}")
        assert (journal / "tlog-1/checkpoint").read_bytes() == (backup / "tlog/checkpoint").read_bytes()
        kept = int((backup / "tlog/checkpoint").read_text().splitlines()[1])
        assert lost(kept - 1) not in entries_of(proxy, last), "what the journal has was not taken over"
        proxy.stop()


@pytest.mark.parametrize("until", ["numbers", "folder", "tiles"])
def test_a_restart_that_is_cut_short_is_finished(tmp_path, until):
    """Stopped before the new log's first checkpoint: what the old one knew is still taken over."""
    proxy = Proxy(tmp_path)
    kept = max(choose(proxy, 3)) + 1
    signed(proxy, kept)
    proxy.stop()
    journal = journal_of(proxy)
    backup = tmp_path.with_name(tmp_path.name + "-backup")
    shutil.copytree(journal / "tlog", backup)
    again(proxy)
    size = max(choose(proxy, 3)) + 1
    signed(proxy, size)
    size, old = signed_size(proxy), vkey_of(proxy)
    proxy.stop()
    copy = (state_of(proxy) / "checkpoint").read_bytes()
    empty(journal)
    shutil.copytree(backup, journal / "tlog")
    start_again(proxy)
    signed(proxy, max(choose(proxy, 3)) + 1)
    gone = list(range(kept, size))
    entries = check_new_log(proxy, tmp_path, old, size, gone)
    proxy.stop()
    # as it was on disk before the first checkpoint
    (state_of(proxy) / "checkpoint").write_bytes(copy)
    if until == "tiles":
        (journal / "tlog/checkpoint").unlink()
        (journal / "tlog/checkpoints").unlink()
    else:
        shutil.rmtree(journal / "tlog")
    if until == "numbers": # noted, and neither the journal nor the folder is where it belongs
        for wal in journal.glob("wal-1-*"):
            wal.unlink()
        (journal / "tlog-1").rename(journal / "tlog")
    again(proxy)
    more = choose(proxy, 3)
    assert min(more) >= size
    signed(proxy, max(more) + 1)
    now = check_new_log(proxy, tmp_path, old, size, gone)
    assert now[:size] == entries[:size]
    if until != "numbers":
        assert now[:len(entries)] == entries
    assert "log.restarted" not in proxy.log() and metric(proxy, "log_refused") == 0
    assert (journal / "tlog-1/checkpoint").read_bytes() == (backup / "checkpoint").read_bytes()
    proxy.stop()


@pytest.mark.parametrize("what", ["file", "folder", "shorter log", "longer log"])
def test_something_has_the_name_of_an_earlier_log(tmp_path, what):
    """It is set aside and stays; a log of that number which goes on longer is the one that keeps the name."""
    proxy = Proxy(tmp_path)
    signed(proxy, max(choose(proxy, 3)) + 1)
    proxy.stop()
    journal, backup = backed_up(proxy, tmp_path)
    again(proxy)
    size = max(choose(proxy, 300)) + 1
    signed(proxy, size)
    size, old = signed_size(proxy), vkey_of(proxy)
    proxy.stop()
    if what == "longer log":
        longer = tmp_path.with_name(tmp_path.name + "-longer")
        shutil.copytree(journal / "tlog", longer)
        empty(journal)
        shutil.copytree(backup, journal, dirs_exist_ok=True)
        shutil.copytree(longer, journal / "tlog-1")
    else:
        first = cut_newest_batch(journal)
        remove_newest_entries(journal, size)
        if what == "shorter log":
            shutil.copytree(backup / "tlog", journal / "tlog-1")
        elif what == "folder":
            (journal / "tlog-1").mkdir()
        (journal / "tlog-1" / "x" if what == "folder" else journal / "tlog-1" if what == "file" else journal / "x").write_text("mine")
    start_again(proxy)
    more = choose(proxy, 3)
    assert min(more) >= size
    signed(proxy, max(more) + 1)
    check_new_log(proxy, tmp_path, old, size, [] if what == "longer log" else list(range(first, size)))
    assert "event=log.aside" in proxy.log() and metric(proxy, "log_refused") == 0
    assert int((journal / "tlog-1/checkpoint").read_text().splitlines()[1]) == size
    aside = journal / ("tlog.aside-1" if what == "longer log" else "tlog-1.aside-1")
    assert aside.exists() and (what != "file" or aside.read_text() == "mine")
    proxy.stop()
    again(proxy)
    assert "log.aside" not in proxy.log() and "log.restarted" not in proxy.log()
    proxy.stop()


def test_a_restart_that_is_cut_short_before_an_unreadable_checkpoint_is_moved(tmp_path):
    """The next number is noted, the folder still has its old name, and nobody can read whose it is."""
    proxy = Proxy(tmp_path)
    signed(proxy, max(choose(proxy, 30)) + 1)
    size, old = signed_size(proxy), vkey_of(proxy)
    proxy.stop()
    journal = journal_of(proxy)
    (journal / "tlog/checkpoint").write_bytes(b"rotten")
    for folder in (journal, state_of(proxy)):
        (folder / "restarts").write_text(f"1 {NEXT} {size} 1795470842000\n")
    again(proxy)
    more = choose(proxy, 3)
    assert min(more) >= size
    signed(proxy, max(more) + 1)
    check_new_log(proxy, tmp_path, old, size, [])
    assert metric(proxy, "log_refused") == 0 and (journal / "tlog-1/checkpoint").read_bytes() == b"rotten"
    proxy.stop()


@pytest.mark.parametrize("which", ["journal", "state"])
def test_a_list_of_logs_that_rotted(tmp_path, which):
    proxy = Proxy(tmp_path)
    signed(proxy, max(choose(proxy, 3)) + 1)
    proxy.stop()
    empty(journal_of(proxy))
    start_again(proxy)
    last = max(choose(proxy, 3)) + 1
    signed(proxy, last)
    proxy.stop()
    path = {"journal": journal_of(proxy), "state": state_of(proxy)}[which] / "restarts"
    good = path.read_text()
    path.write_text("1 sixty-five")
    again(proxy)
    assert min(choose(proxy, 3)) >= last and "event=log.list" in proxy.log() and "log.restarted" not in proxy.log()
    assert vkey_of(proxy).split("+")[0].endswith(f"/{NEXT}") and path.read_text() == good
    proxy.stop()


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_list_of_logs_whose_copies_are_both_bad(tmp_path, restarts):
    """Behind every number that anything here was signed under a new log begins, for all to see."""
    proxy = Proxy(tmp_path)
    last = max(choose(proxy, 3)) + 1
    signed(proxy, last)
    for _ in range(restarts):
        proxy.stop()
        empty(journal_of(proxy))
        start_again(proxy)
        last = max(choose(proxy, 3)) + 1
        signed(proxy, last)
    old = vkey_of(proxy).split("+")[0]
    proxy.stop()
    lists = [folder / "restarts" for folder in (journal_of(proxy), state_of(proxy))]
    for path in lists:
        path.write_text("1 sixty-five")
    again(proxy)
    node = 1 + 64 * (restarts + 1)
    said = [line for line in proxy.new_log().splitlines() if "event=log.restarted" in line]
    assert len(said) == 1 and f"node={node} " in said[0] and "both copies" in said[0]
    leaves = choose(proxy, 3)
    assert min(leaves) >= last, "a number was given out twice"
    signed(proxy, max(leaves) + 1)
    assert vkey_of(proxy).split("+")[0].endswith(f"/consent/{node}") and metric(proxy, "log_refused") == 0
    assert metric(proxy, "log_restarts") == restarts + 1
    assert (journal_of(proxy) / f"tlog-{node - 64}/checkpoint").read_text().startswith(old + "\n")
    assert [path.with_name("restarts.bad").read_text() for path in lists] == ["1 sixty-five"] * 2
    assert lists[0].read_text() == lists[1].read_text() and f"1 {node} " in lists[0].read_text()
    assert proxy.ctl("audit", "verify").returncode == 2 * restarts, "the first of three logs went with its journal"
    proxy.stop()
    again(proxy)
    assert vkey_of(proxy).split("+")[0].endswith(f"/consent/{node}") and "log.restarted" not in proxy.new_log()
    proxy.stop()


def test_bad_lists_and_nothing_else_that_tells(tmp_path):
    """Nothing is signed by chance; the log says what to do, and that works."""
    proxy = Proxy(tmp_path)
    signed(proxy, max(choose(proxy, 3)) + 1)
    proxy.stop()
    journal = journal_of(proxy)
    empty(journal)
    (state_of(proxy) / "checkpoint").unlink()
    lists = [folder / "restarts" for folder in (journal, state_of(proxy))]
    for path in lists:
        path.write_text("1 sixty-five")
    with pytest.raises((AssertionError, TimeoutError)):
        again(proxy)
    said = proxy.log()
    assert all(str(path) in said for path in lists) and "set another ledger.node" in said
    proxy.process.kill()
    proxy.process.wait()
    for path in lists:
        path.rename(path.with_name("bad"))
    proxy.config["ledger"]["node"] = 2
    proxy.rewrite(proxy.config)
    again(proxy)
    signed(proxy, max(choose(proxy, 3)) + 1)
    assert vkey_of(proxy).split("+")[0].endswith("/consent/2") and metric(proxy, "log_refused") == 0
    proxy.stop()


# --- a host that was put back whole: only what is outside of it knows -----------------------------

@pytest.fixture(name="anchored")
def anchored_fixture(tmp_path):
    """A proxy with a file sink, its state as a backup has it, and the sink's file."""
    outside = tmp_path / "outside" / "checkpoints"
    outside.parent.mkdir()
    proxy = Proxy(tmp_path, ledger={"checkpoint_sinks": [f"file:{outside}"]})
    signed(proxy, max(choose(proxy, 3)) + 1)
    proxy.stop()
    backup = tmp_path.with_name(tmp_path.name + "-backup")
    shutil.copytree(state_of(proxy), backup)
    again(proxy)
    yield proxy, backup, outside
    if proxy.process.poll() is None:
        proxy.stop()


def put_back(proxy, backup):
    shutil.rmtree(state_of(proxy))
    shutil.copytree(backup, state_of(proxy))


def taken(proxy, outside, size):
    """The sink has it."""
    signed(proxy, size)
    wait_for(lambda: outside.exists() and f"\n{signed_size(proxy)}\n" in outside.read_text())


def test_a_host_that_was_put_back_whole(anchored, tmp_path):
    """Journal, checkpoint and its copy are old and fit each other: the sink's file knows better. Twice."""
    proxy, backup, outside = anchored
    old, last = vkey_of(proxy), max(choose(proxy, 40)) + 1
    size = last
    for node in (NEXT, NEXT + 64):
        taken(proxy, outside, last)
        proxy.stop()
        with open(outside, "ab") as f:
            f.write(outside.read_bytes()[-70:])  # as a write that was cut short
        put_back(proxy, backup)
        kept = int((backup / "journal/tlog/checkpoint").read_text().splitlines()[1])
        start_again(proxy)
        assert f"leaves were signed, and there are {kept}" in proxy.log()
        assert vkey_of(proxy).split("+")[0].endswith(f"/consent/{node}")
        more = choose(proxy, 3)
        assert min(more) >= last, "a number was given out twice"
        last = max(more) + 1
        signed(proxy, last)
        if node == NEXT:
            check_new_log(proxy, tmp_path, old, size, list(range(kept, size)))
    assert "event=log.recalled" in proxy.log() and f"node={NEXT} " in proxy.log()
    proxy.stop()
    again(proxy)
    assert "log.restarted" not in proxy.log() and min(choose(proxy, 3)) >= last
    proxy.stop()


def test_a_host_that_went_on_differently(anchored):
    """More leaves than the sink knows of, and not the same ones: the tree that was signed is not in this one."""
    proxy, backup, outside = anchored
    taken(proxy, outside, max(choose(proxy, 40)) + 1)
    proxy.stop()
    put_back(proxy, backup)
    sinks = proxy.config["ledger"].pop("checkpoint_sinks")
    proxy.rewrite(proxy.config)
    again(proxy)
    more = max(choose(proxy, 600)) + 1
    signed(proxy, more)
    assert "log.restarted" not in proxy.log(), "nobody could know"
    proxy.stop()
    proxy.config["ledger"]["checkpoint_sinks"] = sinks
    proxy.rewrite(proxy.config)
    start_again(proxy)
    assert "are not those that were signed" in proxy.log()
    assert min(choose(proxy, 3)) >= more
    assert vkey_of(proxy).split("+")[0].endswith(f"/consent/{NEXT}")


def test_an_older_log_beside_a_whole_journal_is_taken_up(tmp_path):
    """Only the log's files came from a backup: the journal has it all, nothing ends."""
    proxy = Proxy(tmp_path)
    choose(proxy, 40)
    signed(proxy, 40)
    proxy.stop()
    journal = journal_of(proxy)
    backup = tmp_path.with_name(tmp_path.name + "-backup")
    shutil.copytree(journal / "tlog", backup)
    again(proxy)
    size = max(choose(proxy, 60)) + 1
    signed(proxy, size)
    proxy.stop()
    shutil.rmtree(journal / "tlog")
    shutil.copytree(backup, journal / "tlog")
    again(proxy)
    signed(proxy, size)
    assert "log.restarted" not in proxy.log() and proxy.ctl("audit", "verify").returncode == 0
    proxy.stop()


def test_redis_has_records_that_are_not_in_one_piece(tmp_path):
    """What Redis has of this node and the journal has not is passed over; shipping goes on behind it."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    choose(proxy, 40)
    signed(proxy, 40)
    wait_for(lambda: settled(proxy))
    proxy.stop()
    journal, backup = backed_up(proxy, tmp_path)
    again(proxy)
    size = max(choose(proxy, 100)) + 1
    signed(proxy, size)
    wait_for(lambda: settled(proxy))
    proxy.stop()
    shutil.rmtree(journal)
    shutil.copytree(backup, journal)
    [stream] = [k for k in redis.call("keys", "*:ev").split() if k]
    entry = redis.call("eval", "return redis.call('xrange', KEYS[1], '-', '+')[60][1]", "1", stream).strip()
    redis.call("xdel", stream, entry)
    again(proxy)
    wait_for(lambda: "log.restarted" in proxy.log())
    more = choose(proxy, 5)
    assert min(more) >= size
    signed(proxy, max(more) + 1)
    wait_for(lambda: settled(proxy))
    # shipping goes on, and what Redis has stays there: all but the notice and the one that was removed
    assert len(records(proxy)) == size - 2 + len(more)
    assert proxy.ctl("audit", "verify", "--deep").returncode == 1
    proxy.process.terminate()
    proxy.process.wait(30)
    redis.stop()


def test_another_first_host_begins_no_other_log(tmp_path):
    """Without "ledger.name" the log that there is says its own: nothing else of the configuration can change it."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    size = max(choose(proxy, 3)) + 1
    signed(proxy, size)
    vkey = vkey_of(proxy)
    proxy.stop()
    proxy.config["sites"][0]["hosts"].insert(0, "shop.example")
    proxy.rewrite(proxy.config)
    again(proxy)
    assert vkey_of(proxy) == vkey and max(choose(proxy, 3)) >= size
    signed(proxy, size + 1)
    wait_for(lambda: settled(proxy))
    assert proxy.ctl("audit", "verify", "--deep").returncode == 0
    proxy.stop()
    shutil.rmtree(journal_of(proxy))  # the copy in state_dir has the name too
    again(proxy)
    signed(proxy, max(choose(proxy, 3)) + 1)
    assert vkey_of(proxy).split("/")[0] == vkey.split("/")[0]
    proxy.stop()
    redis.stop()


def test_no_host_in_what_is_stored(tmp_path):
    """Without "ledger.name": nothing on disk or in Redis says whose it is; a log that has a host's name keeps it."""
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url, "name": "localhost"})
    signed(proxy, max(choose(proxy, 3)) + 1)
    proxy.stop()
    del proxy.config["ledger"]["name"]
    proxy.rewrite(proxy.config)
    again(proxy)
    signed(proxy, max(choose(proxy, 3)) + 1)
    assert vkey_of(proxy).startswith("localhost/consent/1+") and "log.refused" not in proxy.log()
    proxy.stop()
    shutil.rmtree(journal_of(proxy)) # the name is not lost with it: Redis' keys are made from it
    again(proxy)
    signed(proxy, max(choose(proxy, 3)) + 1)
    assert vkey_of(proxy).startswith("localhost/consent/") and "log.refused" not in proxy.log()
    proxy.stop()
    shutil.rmtree(journal_of(proxy))
    for left in list((tmp_path).rglob("checkpoint")):
        left.unlink()
    redis.call("flushall")
    again(proxy)
    signed(proxy, max(choose(proxy, 3)) + 1)
    wait_for(lambda: settled(proxy))
    assert vkey_of(proxy).startswith("log-")
    redis.call("save")
    redis.call("bgrewriteaof")
    wait_for(lambda: "aof_rewrite_in_progress:0" in redis.call("info", "persistence"))
    proxy.stop()
    redis.stop()
    stored = [p for p in tmp_path.rglob("*") if p.is_file() and (p.suffix in (".rdb", ".aof") or p.name.startswith("wal-"))]
    assert {p.suffix for p in stored} >= {".rdb", ".aof", ".log"}
    for path in stored:
        for word in (b"localhost", b'"sub"', b'"act"'):
            assert word not in path.read_bytes(), (path, word)
