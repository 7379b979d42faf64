"""`consentctl audit query` for people: a table whose columns fit their records, CSV with one set of columns, and
nothing of what somebody sent that would move the cursor or start a formula.
"""
import csv
import io
import json

import pytest

from admin import ask
from harness import wait_for
from test_notice import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("table"))
    w.cookie, _ = w.choose(["analytics"])
    w.choose([], w.cookie)
    assert w.proxy.ctl("rules", "set", "hotjar", "report").returncode == 0
    status, _, _ = ask(w.proxy, "/api/v1/events?act=%C2%9B31m&lang=%3DHYPERLINK(1)")
    assert status == 400
    wait_for(lambda: w.proxy.get("/.well-known/consent-log/checkpoint").status == 200)
    wait_for(lambda: "lacks 0 records" in w.proxy.ctl("ledger", "status").stdout)
    yield w
    w.stop()


def table(world, *args):
    done = world.proxy.ctl("audit", *args)
    assert done.returncode == 0, done.stderr
    assert all(char == "\n" or " " <= char and not "\x7f" <= char < "\xa0" for char in done.stdout)
    head, *lines = done.stdout.splitlines()
    return head, lines


def test_events_and_others_under_one_head(world):
    head, lines = table(world, "query", "--order", "oldest")
    assert head.split() == ["TIME", "RECORD", "ACT", "GRANTED", "DENIED", "SUBJECT", "PE", "LANG", "HOST"]
    acts = [line[head.index("ACT"):].split()[0] for line in lines]
    assert acts[:4] == ["notice", "custom", "withdraw", "operator"]
    assert not any("{" in line for line in lines)
    assert lines[3].split()[3:] == ["root", "uid:0", "-", "rules", "set=hotjar", "mode=report", "revision=1"] or \
        set(lines[3].split()[6:]) == {"rules", "set=hotjar", "mode=report", "revision=1"}


def test_operators_have_columns_of_their_own(world):
    for args in (("oplog",), ("query", "--kind", "operator")):
        head, lines = table(world, *args)
        assert head.split() == ["TIME", "RECORD", "WHO", "FROM", "RESULT", "WHAT"]
        newest = lines[0]
        assert newest[head.index("WHO"):].split()[:2] == ["root", "uid:0"]
        assert newest[head.index("RESULT"):].split()[:2] == ["allowed", "GET"]
        sent = [line for line in lines if "HYPERLINK" in line]
        assert len(sent) == 1 and "act=?31m" in sent[0]


def test_notices_have_columns_of_their_own(world):
    head, [line] = table(world, "query", "--kind", "notice")
    assert head.split() == ["TIME", "RECORD", "VERSION", "EPOCH", "SHA256", "SITE"]
    assert line.split()[2:] == [world.policy["version"], str(world.policy["epoch"]),
                                next(iter(world.documents()))[:16], "localhost"]


def rows(world, *args):
    done = world.proxy.ctl("audit", "query", "-o", "csv", "--order", "oldest", *args)
    assert done.returncode == 0
    return list(csv.DictReader(io.StringIO(done.stdout, newline="")))


def test_csv_says_what_each_line_is(world):
    found = rows(world)
    assert [row["act"] for row in found[:4]] == ["notice", "custom", "withdraw", "operator"]
    for row in found:
        other = row["act"] in ("notice", "operator")
        assert (row["by"] == "operator") == other and bool(row["operator"]) == other
        assert None not in row and row["status"] == "ok"
        if other:
            assert json.loads(row["operator"])["v"] == 1
    assert rows(world, "--kind", "event")[0].keys() == rows(world, "--kind", "operator")[0].keys() == found[0].keys()


def test_no_cell_starts_a_formula(world):
    for args in ((), ("--kind", "event"), ("--kind", "operator")):
        for row in rows(world, *args):
            assert not any(value[:1] in "=+-@\t\r" for value in row.values() if value)


def test_a_subject_by_its_cookie_as_browsers_show_it(world):
    for text in (world.cookie, world.cookie.split("=")[1]):
        done = world.proxy.ctl("subject", "show", text)
        assert done.returncode == 0 and "withdraw" in done.stdout, done.stderr


@pytest.mark.parametrize("args, words", [
    (("audit", "oplog", "--kind", "event"), "no --kind"), (("audit", "query", "--act", "dance"), "--act"),
    (("audit", "query", "--from", "yesterday"), "2026-11-01"), (("audit", "query", "--limit", "0"), "--limit"),
    (("audit", "query", "-o", "xml"), "table, jsonl or csv"), (("audit", "query", "--sub", "x"), "--sub"),
    (("audit", "query", "--colour", "red"), "--colour"),
    (("audit", "get"), "NODE:LEAF"), (("audit", "get", "1"), "NODE:LEAF"),
    (("audit", "prove", "x"), "NODE:LEAF"), (("audit", "stats", "--by", "moon"), "day, lang"),
    (("audit", "export", "--format", "xml"), "jsonl, csv"), (("subject", "show"), "SUBJECT"),
    (("subject", "show", "x"), "SUBJECT"), (("doc", "show"), "SHA-256"), (("doc", "diff", "a"), "SHA-256"),
    (("audit",), "audit"), (("ledger", "nothing"), "ledger")])
def test_wrong_arguments_say_what_would_be_right(world, args, words):
    done = world.proxy.ctl(*args)
    assert done.returncode == 2 and words in done.stderr + done.stdout, (done.returncode, done.stderr, done.stdout)


@pytest.mark.parametrize("args, code, words", [
    (("audit", "get", "1:99999"), 1, "no record"), (("audit", "get", "9:1"), 1, "node"),
    (("audit", "prove", "1:99999"), 1, "not signed"), (("audit", "prove", "9:1"), 1, "node"),
    (("audit", "get", "1:99999", "--direct"), 1, "no record"), (("audit", "get", "1:99999", "--journal"), 1, "no record"),
    (("policy", "show", "ffffffff"), 1, "no document"),
    (("subject", "show", "A" * 21 + "Q"), 0, ""), (("doc", "show", "ffffffff"), 1, ""),
    (("doc", "diff", "ffffffff", "eeeeeeee"), 1, "")])
def test_what_is_not_there(world, args, code, words):
    done = world.proxy.ctl(*args)
    assert done.returncode == code and words in done.stderr, (done.returncode, done.stderr, done.stdout)
    assert code == 0 or done.stdout == ""


def test_a_notice_by_the_first_digits_of_its_hash(world):
    sha = next(iter(world.documents()))
    for command in ("doc", "policy"):
        shown = world.proxy.ctl(command, "show", sha[:4])
        assert shown.returncode == 0 and world.policy["version"] in shown.stdout, shown.stderr
        assert world.proxy.ctl(command, "diff", sha[:4], sha[:8]).returncode == 0
        refused = world.proxy.ctl(command, "show", sha[:3])
        assert refused.returncode == 1 and "at least 4 digits" in refused.stderr


def test_days_of_operators_alone_are_no_statistics(world):
    for form, lines in (("jsonl", 0), ("csv", 1), ("table", 1)):
        done = world.proxy.ctl("audit", "stats", "-o", form, "--from", "2020-01-01", "--to", "2020-02-01")
        assert done.returncode == 0 and len(done.stdout.splitlines()) == lines


@pytest.mark.parametrize("command", [
    "audit query", "audit get", "audit stats", "audit export", "audit oplog", "audit verify", "audit prove",
    "audit verify-proof", "subject show", "subject export", "subject erase", "subject hold", "doc list", "doc show",
    "doc diff", "ledger status", "ledger retention", "ledger vkey", "policy publish", "policy check", "policy show",
    "policy diff", "unsubscribe link", "unsubscribe check", "unsubscribe filter", "unsubscribe export"])
def test_every_command_explains_itself(world, command):
    done = world.proxy.ctl(*command.split(), "--help")
    assert done.returncode == 0 and command in done.stdout and not done.stderr, (done.stdout, done.stderr)
