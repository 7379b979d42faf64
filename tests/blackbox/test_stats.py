"""`consentctl audit stats` against the events themselves, counted here a second time."""
import collections
import csv
import io
import json

import pytest

from harness import Origin, Proxy, Redis, http_response, wait_for

DECISIONS = {"accept_all", "reject_all", "custom", "renew", "gpc"}
CHOICES = [["analytics", "marketing"], ["analytics"], [], [], ["analytics", "marketing"], ["marketing"]]


def post(proxy, body, cookie=None):
    headers = [("Content-Type", "application/json")] + ([("Cookie", cookie)] if cookie else [])
    answer = proxy.get("/.consent/choice", headers, "POST", json.dumps(body).encode())
    assert answer.status == 201, answer.body
    return answer.header("Set-Cookie").split(";")[0]


def choose(proxy, grants, cookie=None):
    deny = [c for c in ("analytics", "marketing") if c not in grants]
    return post(proxy, {"grant": grants, "deny": deny}, cookie)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats")
    store = folder / "redis"
    for place in (store, folder / "proxy"):
        place.mkdir()
    redis, origin = Redis(store), Origin()
    origin.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<html></html>")
    daemon = Proxy(folder / "proxy", origin, ledger={"redis": redis.url})
    cookies = [choose(daemon, choice) for choice in CHOICES]
    choose(daemon, [], cookies[0])  # takes back what it gave
    wait_for(lambda: "lacks 0 records" in daemon.ctl("ledger", "status").stdout)
    yield daemon
    daemon.stop()
    origin.stop()
    redis.kill()


def lines(proxy, *args):
    done = proxy.ctl("audit", *args, "-o", "jsonl")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def counted(events, key):
    """The same statistics, from the rows of audit query."""
    out = {}
    for ev in events:
        group = out.setdefault(key(ev), {"acts": collections.Counter(), "g": collections.Counter()})
        group["acts"][ev["act"]] += 1
        if ev["act"] in DECISIONS:
            group["g"].update([(p, "granted") for p in ev["grant"]] + [(p, "refused") for p in ev["deny"]])
    return out


@pytest.mark.parametrize("store", [[], ["--journal"]])
@pytest.mark.parametrize("by, key", [
    ("lang", lambda ev: ev["lang"]), ("notice", lambda ev: "d_" + ev["doc"]), ("method", lambda ev: ev["mth"])])
def test_the_counts_are_the_events(proxy, store, by, key):
    events = [row["event"] for row in lines(proxy, "query", "--kind", "event", *store)]
    assert len(events) == len(CHOICES) + 1 and "withdraw" in {ev["act"] for ev in events}
    want, got = counted(events, key), lines(proxy, "stats", "--by", by, *store)
    assert [row[by] for row in got] == sorted(want)
    for row in got:
        one = want[row[by]]
        assert row["acts"] == dict(one["acts"])
        assert row["decisions"] == sum(n for act, n in one["acts"].items() if act in DECISIONS)
        for purpose, n in row["purposes"].items():
            assert (n["granted"], n["refused"]) == (one["g"][purpose, "granted"], one["g"][purpose, "refused"])


def test_a_day_as_csv_and_as_a_table(proxy):
    done = proxy.ctl("audit", "stats", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert {row["purpose"] for row in rows} == {"analytics", "marketing"}
    for purpose in ("analytics", "marketing"):  # three of six granted each; the withdrawal is no decision
        mine = [row for row in rows if row["purpose"] == purpose]
        assert sum(int(row["granted"]) for row in mine) == sum(int(row["refused"]) for row in mine) == 3
        assert sum(int(row["withdrawals"]) for row in mine) == 1
        assert len(mine) > 1 or mine[0]["opt_in_percent"] == "50.0"
    table = proxy.ctl("audit", "stats").stdout
    assert table.splitlines()[0].split()[:3] == ["day", "decisions", "withdrawn"]


def test_filters_narrow_it(proxy):
    assert [row["acts"] for row in lines(proxy, "stats", "--act", "withdraw")] == [{"withdraw": 1}]
    assert lines(proxy, "stats", "--lang", "xx") == []
    assert lines(proxy, "stats", "--to", "2020-01-01") == []


@pytest.mark.parametrize("args", [("--by", "moon"), ("--limit", "5"), ("--cursor", "abc"), ("--kind", "operator")])
def test_what_would_count_a_part_is_refused(proxy, args):
    assert proxy.ctl("audit", "stats", *args).returncode == 2


def test_only_stats_has_groups(proxy):
    assert proxy.ctl("audit", "query", "--by", "lang").returncode == 2
