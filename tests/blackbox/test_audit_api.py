"""The audit API on the admin socket: who may ask what, that asking is on record, and what is answered.

Everything that is answered is judged by what this test knows itself: the choices it made, and the
formats as LEDGER.md and RFC 6962 have them.
"""
import base64
import grp
import json
import os
import pwd
import signal
import time

import pytest

from admin import ask, ask_as, get, refused
from harness import Origin, Proxy, http_response, wait_for
from test_ledger import Redis

CHOICES = [["analytics", "marketing"], ["analytics"], [], [], ["analytics", "marketing"], ["marketing"]]
AUDITORS = "games"  # a group that every machine has, and that may do nothing here by itself


def post(proxy, grants, cookie=None, lang="en"):
    deny = [c for c in ("analytics", "marketing") if c not in grants]
    headers = [("Content-Type", "application/json"), ("Accept-Language", lang)]
    headers += [("Cookie", cookie)] if cookie else []
    answer = proxy.get("/.consent/choice", headers, "POST", json.dumps({"grant": grants, "deny": deny}).encode())
    assert answer.status == 201, answer.body
    return answer.header("Set-Cookie").split(";")[0]


def token_of(cookie):
    return base64.urlsafe_b64decode(cookie.split("=", 1)[1])


def subject_of(cookie):
    return base64.urlsafe_b64encode(token_of(cookie)[17:33]).decode().rstrip("=")


def leaf_of(cookie):
    return int.from_bytes(token_of(cookie)[34:41], "big")


def shipped(proxy):
    wait_for(lambda: "lacks 0 records" in proxy.ctl("ledger", "status").stdout)


class World:
    """A daemon with Redis, some choices, and what is known of them."""

    def __init__(self, folder, **config):
        store = folder / "redis"
        for place in (store, folder / "proxy"):
            place.mkdir()
        for place in (folder, *folder.parents):  # other users must get as far as the socket
            if place.stat().st_uid == os.getuid() and str(place) not in ("/", "/tmp"):
                place.chmod(place.stat().st_mode | 0o011)
        self.redis, self.origin = Redis(store), Origin()
        self.origin.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<html></html>")
        self.proxy = Proxy(folder / "proxy", self.origin, ledger={"redis": self.redis.url},
                           admin={"audit_group": AUDITORS}, **config)
        self.cookies = [post(self.proxy, choice) for choice in CHOICES]
        self.cookies.append(post(self.proxy, [], self.cookies[0]))  # takes back what it gave
        shipped(self.proxy)

    def stop(self):
        self.proxy.stop()
        self.origin.stop()
        self.redis.process.send_signal(signal.SIGCONT)
        self.redis.kill()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("audit"))
    yield w
    w.stop()


@pytest.fixture
def proxy(world):
    return world.proxy


def events(proxy, query=""):
    return get(proxy, "/api/v1/events?" + query)


def consents(page):
    return [row["event"] for row in page["events"] if "act" in row.get("event", {})]


# --- who may ask ------------------------------------------------------------------------------

NOBODY = pwd.getpwnam("nobody")
AUDITOR = [grp.getgrnam(AUDITORS).gr_gid]
FOR_AUDITORS = {"health.read", "metrics.read", "rules.read", "events.read", "events.export", "proofs.read",
                "stats.read", "docs.read", "verify.run", "oplog.read"}


def concrete(path):
    """A path of the table with something in place of its star."""
    return path.replace("*", "1:0" if "events" in path else "A" * 22)


def as_nobody(proxy, route, groups=()):
    return ask_as(proxy, NOBODY.pw_uid, NOBODY.pw_gid, list(groups), concrete(route["path"]), route["method"])


def test_every_route_has_a_permission(proxy):
    table = get(proxy, "/api/v1/routes")
    assert table["role"] == "admin" and len(table["routes"]) >= 17
    for route in table["routes"]:
        assert route["permission"] not in ("", "none") and route["allowed"]


def test_a_stranger_gets_nothing(proxy):
    for route in get(proxy, "/api/v1/routes")["routes"]:
        status, data = as_nobody(proxy, route)
        assert status == 403 and route["permission"] in json.loads(data)["error"], route


def test_an_auditor_gets_the_auditors_rights_and_no_others(proxy):
    routes = get(proxy, "/api/v1/routes")["routes"]
    assert {r["permission"] for r in routes} >= {"events.read", "subjects.read", "subjects.erase", "rules.write"}
    for route in routes:
        status, data = as_nobody(proxy, route, AUDITOR)
        if route["permission"] in FOR_AUDITORS:
            assert status != 403, route
        else:
            assert status == 403 and route["permission"] in json.loads(data)["error"], route


def test_the_own_group_counts_as_well(proxy):
    status, _ = ask_as(proxy, NOBODY.pw_uid, AUDITOR[0], [], "/api/v1/ledger")
    assert status == 200


def test_what_is_not_in_the_table_is_not_there(proxy):
    assert refused(proxy, "/api/v1/eventss")[0] == 404
    assert refused(proxy, "/api/v1/events/1:0/")[0] == 404
    assert refused(proxy, "/api/v1/events", "DELETE")[0] == 405


def operators(proxy):
    return [row["event"]["op"] for row in get(proxy, "/api/v1/oplog?limit=1000")["events"]]


def test_asking_and_being_denied_are_on_record(world):
    proxy = world.proxy
    subject = subject_of(world.cookies[0])
    get(proxy, f"/api/v1/subjects/{subject}")
    events(proxy, f"sub={subject}&limit=3")
    as_nobody(proxy, {"method": "GET", "path": f"/api/v1/subjects/{subject}"})
    shipped(proxy)
    log = operators(proxy)
    text = json.dumps(log)
    assert subject not in text, "the record of an access names the subject"
    tags = {op["object"] for op in log if op.get("route") == "GET /api/v1/subjects/*" and op["object"][:4] == "tag:"}
    mine = [op for op in log if op.get("params", {}).get("limit") == "3"]
    assert len(mine) == 1 and mine[0]["params"]["sub"] in tags and mine[0]["result"] == "allowed"
    assert mine[0]["who"] == pwd.getpwuid(os.getuid()).pw_name and mine[0]["from"] == f"uid:{os.getuid()}"
    assert mine[0]["permission"] == "events.read" and mine[0]["role"] == "admin"
    denied = [op for op in log if op["result"] == "denied" and op["who"] == "nobody"]
    assert any(op["object"] in tags and op["permission"] == "subjects.read" for op in denied)


def test_without_the_ledger_nothing_is_shown(tmp_path):
    w = World(tmp_path)
    try:
        ledger = w.proxy.role("ledger")
        os.kill(ledger, signal.SIGSTOP)
        status, why = refused(w.proxy, "/api/v1/events")
        assert status == 503 and "record" in why
        status, _ = as_nobody(w.proxy, {"method": "GET", "path": "/api/v1/events"})
        assert status == 403
        os.kill(ledger, signal.SIGCONT)
        wait_for(lambda: ask(w.proxy, "/api/v1/events")[0] == 200)
    finally:
        w.stop()


# --- events -----------------------------------------------------------------------------------

def test_filters(world):
    proxy = world.proxy
    assert len(consents(events(proxy, "act=accept_all"))) == 2
    assert len(consents(events(proxy, "act=withdraw"))) == 1
    assert len(consents(events(proxy, "kind=event&limit=1000"))) == len(world.cookies)
    assert len(consents(events(proxy, "purpose=marketing&granted=yes"))) == 3
    assert len(consents(events(proxy, "purpose=marketing&granted=no"))) == 4
    assert len(consents(events(proxy, f"sub={subject_of(world.cookies[0])}"))) == 2
    assert len(consents(events(proxy, "host=LOCALHOST&lang=en&gpc=no&pe=1"))) == len(world.cookies)
    assert not consents(events(proxy, "lang=xx"))
    assert not consents(events(proxy, "to=2020-01-01"))
    assert len(consents(events(proxy, "from=2020-01-01T00%3A00%3A00Z&kind=event"))) == len(world.cookies)
    assert len(consents(events(proxy, "node=1&kind=event"))) == len(world.cookies)


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages(world, order):
    leaves, cursor = [], ""
    while True:
        page = events(world.proxy, f"kind=event&limit=2&order={order}" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["events"]) <= 2 and not page["partial"]
        leaves += [row["leaf"] for row in page["events"]]
        cursor = page["cursor"]
        if not page["more"]:
            assert cursor is None
            break
    want = sorted(leaf_of(c) for c in world.cookies)
    assert leaves == (want if order == "oldest" else want[::-1])
    assert events(world.proxy)["hw"] >= want[-1]


@pytest.mark.parametrize("query,word", [
    ("limit=0", "1 to 1000"), ("limit=1001", "1 to 1000"), ("act=nothing", "accept_all"), ("acts=x", "did you mean"),
    ("from=yesterday", "2026-11-01"), ("from=2&to=1", "empty"), ("sub=short", "22 characters"), ("node=9", "node 1"),
    ("granted=yes", "needs a purpose"), ("cursor=AAAA", "cursor"), ("a=%zz", "escaped"), ("act=gpc&act=gpc", "twice"),
    ("lang=%00", "escaped"), ("&".join(f"x{i}=1" for i in range(40)), "more than"),
])
def test_a_wrong_question_is_told_what_is_right(proxy, query, word):
    status, why = refused(proxy, "/api/v1/events?" + query)
    assert status == 400 and word in why


def test_a_cursor_belongs_to_its_question(proxy):
    cursor = events(proxy, "kind=event&limit=1")["cursor"]
    status, why = refused(proxy, f"/api/v1/events?limit=1&cursor={cursor}")
    assert status == 400 and "another question" in why


def test_one_event(world):
    place = f"1:{leaf_of(world.cookies[2])}"
    row = get(world.proxy, f"/api/v1/events/{place}")
    assert row["status"] == "ok" and row["event"]["act"] == "reject_all"
    assert row["event"]["sub"] == subject_of(world.cookies[2])
    assert refused(world.proxy, "/api/v1/events/1:99999999")[0] == 404
    assert refused(world.proxy, "/api/v1/events/2:1")[0] == 404
    assert refused(world.proxy, "/api/v1/events/one")[0] == 400


def test_a_subject(world):
    subject = subject_of(world.cookies[0])
    for name in (subject, "s_" + subject):
        answer = get(world.proxy, f"/api/v1/subjects/{name}")
        assert answer["subject"] == "s_" + subject
        assert [row["event"]["act"] for row in answer["events"]] == ["withdraw", "accept_all"]
    unknown = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    assert get(world.proxy, f"/api/v1/subjects/{unknown}")["events"] == []


# --- Redis away -------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_without_redis_the_journal_answers(tmp_path, how):
    w = World(tmp_path)
    try:
        before = events(w.proxy, "kind=event&limit=1000")
        if how == "killed":
            w.redis.kill()
        else:
            w.redis.process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        after = events(w.proxy, "kind=event&limit=1000")
        assert after["partial"] and not before["partial"]
        assert after["events"] == before["events"]
        row = get(w.proxy, f"/api/v1/events/1:{leaf_of(w.cookies[0])}")
        assert row["event"]["act"] == "accept_all"
        # a cursor of the one store is good in the other
        if how == "stopped":
            cursor = events(w.proxy, "kind=event&limit=3")["cursor"]
            w.redis.process.send_signal(signal.SIGCONT)
            wait_for(lambda: not events(w.proxy, "limit=1")["partial"])
            rest = events(w.proxy, f"kind=event&limit=1000&cursor={cursor}")
            assert [r["leaf"] for r in rest["events"]] == [r["leaf"] for r in before["events"]][3:]
    finally:
        w.stop()
