"""`consentctl audit stats` against the events themselves, counted here a second time."""
import collections
import csv
import io
import json
import time

import pytest

from admin import get
from harness import Origin, Proxy, Redis, http_response, wait_for
from test_erasure import resp

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
    assert table.splitlines()[0].split()[:5] == ["day", "shown", "decisions", "decided", "withdrawn"]


def test_filters_narrow_it(proxy):
    assert [row["acts"] for row in lines(proxy, "stats", "--act", "withdraw")] == [{"withdraw": 1}]
    assert lines(proxy, "stats", "--lang", "xx") == []
    assert lines(proxy, "stats", "--to", "2020-01-01") == []


@pytest.mark.parametrize("args", [("--by", "moon"), ("--limit", "5"), ("--cursor", "abc"), ("--kind", "operator")])
def test_what_would_count_a_part_is_refused(proxy, args):
    assert proxy.ctl("audit", "stats", *args).returncode == 2


def test_only_stats_has_groups(proxy):
    assert proxy.ctl("audit", "query", "--by", "lang").returncode == 2


def exports(proxy):
    return sum("/export" in row["event"].get("route", "") for row in lines(proxy, "oplog", "--limit", "1000"))


@pytest.mark.parametrize("by", ["day", "lang", "notice", "method"])
def test_counters_and_a_full_reading_are_the_same(proxy, by):
    before = exports(proxy)
    counters = lines(proxy, "stats", "--by", by)
    assert exports(proxy) == before, "records were read"
    assert all("shown" in row and row.pop("shown") is not None for row in counters)
    assert [row for row in counters if row["acts"]] == lines(proxy, "stats", "--by", by, "--direct")
    if by != "day":
        name = {"notice": "doc", "method": "ui"}.get(by, by)
        answer = get(proxy, "/api/v1/stats?by=" + name)
        assert answer["incomplete"] == []
        mine = {row[name]: row for row in answer["rows"] if row.get("act")}
        for row in counters:
            one = mine[row[by].removeprefix("d_")]
            assert one["act"] == row["acts"] and one["decisions"] == row["decisions"]
            assert {p: (n["granted"], n["refused"]) for p, n in one.get("purposes", {}).items()} == \
                {p: (n["granted"], n["refused"]) for p, n in row["purposes"].items() if n["granted"] + n["refused"] > 0}


def test_the_rate_of_withdrawals(proxy):
    rows = list(csv.DictReader(io.StringIO(proxy.ctl("audit", "stats", "--by", "lang", "-o", "csv").stdout, newline="")))
    assert {(row["decisions"], row["withdrawals"], row["withdrawn_percent"]) for row in rows} == {("6", "1", "16.7")}
    assert get(proxy, "/api/v1/stats")["totals"]["withdrawal_permille"] == 167
    head, line = proxy.ctl("audit", "stats", "--by", "lang").stdout.splitlines()
    assert head.split()[4:6] == ["withdrawn", "rate"] and "16.7%" in line


# --- how often the question was shown ---------------------------------------------------------

class Shown:
    """A site with Redis, on which visits are made and counted a second time."""

    def __init__(self, folder):
        for name in ("redis", "proxy"):
            (folder / name).mkdir()
        self.redis, self.origin = Redis(folder / "redis"), Origin()
        self.origin.routes["/"] = http_response(200, [("Content-Type", "text/html")],
                                                b"<!doctype html><html><head></head><body>Hello</body></html>")
        self.proxy = Proxy(folder / "proxy", self.origin, ledger={"redis": self.redis.url}, workers=2)
        self.by = collections.Counter()

    def visit(self, lang="en", cnt=1, path="/", method="GET", counts=True, place="banner", **fields):
        for _ in range(cnt):
            headers = [("Accept-Language", lang)] + [(k.replace("_", "-"), v) for k, v in fields.items()]
            answer = self.proxy.get(path, headers, method)
            assert answer.status in (200, 304) and answer.header("Set-Cookie") is None
        if counts:
            self.by["lang", lang] += cnt
            self.by["ui", place] += cnt
            self.by["all", ""] += cnt
        return answer

    def stats(self, by="day"):
        try:
            return get(self.proxy, "/api/v1/stats?by=" + by)
        except AssertionError:
            return {"totals": {"imp": None}}

    def settled(self):
        wait_for(lambda: self.stats()["totals"]["imp"] == self.by["all", ""], 25)
        return self.stats()["totals"]

    def close(self):
        self.proxy.stop()
        self.origin.stop()
        self.redis.kill()


@pytest.fixture
def shown(tmp_path):
    one = Shown(tmp_path)
    yield one
    one.close()


def test_visits_are_counted_where_the_question_was_asked(shown):
    cookie = choose(shown.proxy, ["analytics"])
    shown.visit("en", 3)
    shown.visit("de", 12)
    shown.visit("de", 2, path="/.consent/preferences", place="preferences")
    tag = shown.visit("en", Sec_Fetch_Dest="document").header("ETag")
    if tag is not None:  # a page that the browser kept is looked at again
        assert shown.visit("en", If_None_Match=tag, Sec_Fetch_Dest="document").status == 304
    for fields in ({"Cookie": cookie}, {"Sec_Fetch_Dest": "iframe"}, {"X_Requested_With": "XMLHttpRequest"},
                   {"Sec_Purpose": "prefetch;prerender"}):
        shown.visit("fr", counts=False, **fields)
    shown.visit("fr", counts=False, method="HEAD")
    shown.visit("fr", counts=False, method="HEAD", path="/.consent/preferences")
    totals = shown.settled()
    assert totals["decisions"] == 1 and totals["decision_permille"] == round(1000 / totals["imp"])
    assert totals["purposes"]["analytics"]["effective_permille"] == totals["decision_permille"]
    langs = {row["lang"]: row for row in shown.stats("lang")["rows"]}
    assert {name: row["imp"] for name, row in langs.items()} == {"en": shown.by["lang", "en"], "de": 14}
    places = {row["ui"]: row for row in shown.stats("ui")["rows"]}
    assert places["banner"] == {"ui": "banner", "imp": shown.by["ui", "banner"]}
    assert places["preferences"]["imp"] == 2
    [doc] = shown.stats("doc")["rows"]
    assert doc["imp"] == totals["imp"] and doc["decisions"] == 1
    few = get(shown.proxy, "/api/v1/stats?by=lang&suppress=1")
    assert {row["lang"]: row["imp"] for row in few["rows"]} == {"en": None, "de": None}  # the total minus one is the other
    assert few["totals"]["imp"] == totals["imp"] and few["totals"]["decision_permille"] is None


def test_the_command_tells_them_beside_the_decisions(shown):
    choose(shown.proxy, ["analytics"])
    shown.visit("en", 3)
    shown.visit("de", 17)
    shown.settled()
    wait_for(lambda: "lacks 0 records" in shown.proxy.ctl("ledger", "status").stdout)
    rows = {row["lang"]: row for row in lines(shown.proxy, "stats", "--by", "lang")}
    assert {name: (row["shown"], row["decisions"]) for name, row in rows.items()} == {"en": (3, 1), "de": (17, 0)}
    [notice] = lines(shown.proxy, "stats", "--by", "notice")
    assert notice["shown"] == 20 and notice["decisions"] == 1
    table = shown.proxy.ctl("audit", "stats").stdout.splitlines()
    assert table[0].split()[:5] == ["day", "shown", "decisions", "decided", "withdrawn"]
    assert table[1].split()[1:4] == ["20", "1", "5.0%"]
    few = list(csv.DictReader(io.StringIO(shown.proxy.ctl("audit", "stats", "--suppress", "-o", "csv").stdout,
                                          newline="")))
    assert {(row["shown"], row["decisions"], row["granted"], row["decided_percent"]) for row in few} == \
        {("20", "", "", "")}
    # of parts of a day, or of some records, there is no number
    assert "shown" not in lines(shown.proxy, "stats", "--act", "custom")[0]
    assert "shown" not in lines(shown.proxy, "stats", "--from", "2026-01-01T12:00:00Z")[0]
    assert "shown" not in lines(shown.proxy, "stats", "--journal")[0]
    assert shown.proxy.ctl("audit", "verify", "--deep").returncode == 0


def test_they_outlive_a_restart_and_a_redis_that_was_away(shown):
    shown.visit("en", 4)
    shown.settled()
    shown.redis.kill()
    shown.visit("en", 5)
    time.sleep(11)  # told the ledger, which can't tell Redis
    shown.redis.start()
    shown.settled()
    shown.visit("de", 2)  # still in the memory of the workers when they are sent away
    assert shown.proxy.ctl("reload").returncode == 0
    shown.visit("de", 1)
    totals = shown.settled()
    assert totals["imp"] == 12 and {row["lang"]: row["imp"] for row in shown.stats("lang")["rows"]} == \
        {"en": 9, "de": 3}
    resp(shown.redis.socket, "FLUSHALL")  # what it lost comes back, and once
    shown.settled()
    shown.visit("de", 1)
    assert {row["lang"]: row["imp"] for row in (shown.settled(), shown.stats("lang"))[1]["rows"]} == {"en": 9, "de": 4}


def test_days_that_an_earlier_version_counted(shown):
    """Their counters have no groups: what was shown comes from them, the rest from the records."""
    for grants in (["analytics"], [], ["analytics", "marketing"]):
        choose(shown.proxy, grants)
    shown.visit("en", 4)
    shown.settled()
    wait_for(lambda: "lacks 0 records" in shown.proxy.ctl("ledger", "status").stdout)
    want = {by: lines(shown.proxy, "stats", "--by", by) for by in ("lang", "notice", "method")}
    [key] = shown.redis.call("keys", "*:st:*").split()
    names = shown.redis.call("hkeys", key).split()
    groups = [n for n in names if n.startswith(("gl:", "gu:", "gd:", "au:")) or n == "grouped"]
    assert len(groups) >= 10
    for lost in (groups, ["grouped"]):  # all of the day, or a part: the day on which the new version came
        shown.redis.call("hdel", key, *lost)
        [day] = get(shown.proxy, "/api/v1/stats?by=lang")["incomplete"]
        assert day == time.strftime("%Y-%m-%d", time.gmtime())
        for by, rows in want.items():
            assert lines(shown.proxy, "stats", "--by", by) == rows
        done = shown.proxy.ctl("audit", "verify", "--deep")
        assert done.returncode == 0, done.stderr
        choose(shown.proxy, [])
        wait_for(lambda: "lacks 0 records" in shown.proxy.ctl("ledger", "status").stdout)
        want = {by: lines(shown.proxy, "stats", "--by", by) for by in want}
        assert sum(row["decisions"] for row in want["lang"]) == sum(row["decisions"] for row in want["method"]) >= 4
    shown.redis.call("hset", key, "grouped", "5")  # counters that are said to be whole, and are not
    assert shown.proxy.ctl("audit", "verify", "--deep").returncode == 1


def test_what_is_left_out_follows_from_nothing(shown):
    """Three languages, one of them small: neither rows and totals, nor the command's table, tell its figures."""
    for lang, grants, cnt in (("en", ["analytics"], 20), ("en", [], 14), ("de", ["analytics"], 12), ("de", [], 11),
                              ("fr", ["analytics"], 4), ("fr", [], 3)):
        for _ in range(cnt):
            deny = [c for c in ("analytics", "marketing") if c not in grants]
            answer = shown.proxy.get("/.consent/choice", [("Content-Type", "application/json"), ("Accept-Language", lang)],
                                     "POST", json.dumps({"grant": grants, "deny": deny}).encode())
            assert answer.status == 201, answer.body
    wait_for(lambda: "lacks 0 records" in shown.proxy.ctl("ledger", "status").stdout)
    full = {row["lang"]: row for row in get(shown.proxy, "/api/v1/stats?by=lang")["rows"]}
    assert full["fr"]["decisions"] == 7 and full["en"]["decisions"] == 34
    few = get(shown.proxy, "/api/v1/stats?by=lang&suppress=1")
    rows, totals = {row["lang"]: row for row in few["rows"]}, few["totals"]
    assert rows["fr"]["decisions"] is None and totals["decisions"] == 64
    column = [row["decisions"] for row in rows.values()]
    assert column.count(None) >= 2 and rows["en"]["decisions"] == 34  # de goes too, as the smallest of the others
    for pick in (lambda row: row["act"]["custom"], lambda row: row["act"]["reject_all"],
                 lambda row: row["purposes"]["analytics"]["granted"], lambda row: row["purposes"]["analytics"]["refused"]):
        total = pick(totals)
        cells = [pick(row) for row in rows.values()]
        left = [n for n in cells if n is None]
        assert pick(rows["fr"]) is None
        assert total is None or len(left) >= 2 and total - sum(n or 0 for n in cells) >= 10
    for row in (*rows.values(), totals):
        if row["decisions"] is None:  # nothing that adds up to it, and no rate of it
            assert all(n is None for n in row["act"].values()) and row["decision_permille"] is None
            assert all(n is None for p in row["purposes"].values() for n in p.values())
    done = shown.proxy.ctl("audit", "stats", "--by", "lang", "--suppress", "-o", "jsonl")
    told = {row["lang"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {lang: row["decisions"] for lang, row in told.items()} == {"de": None, "en": 34, "fr": None}
