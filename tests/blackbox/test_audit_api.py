"""The audit API on the admin socket: who may ask what, that asking is on record, and what is answered.

Everything that is answered is judged by what this test knows itself: the choices it made, and the
formats as record.h, C2SP and RFC 6962 have them.
"""
import base64
import csv
import datetime
import grp
import hashlib
import io
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import pytest

from admin import ask, ask_as, get, refused
from harness import ROOT, Origin, Proxy, Redis, http_response, wait_for
from test_log import entries_of, leaf_hash, read_checkpoint, root_by_proof

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
        self.hall = tempfile.mkdtemp(prefix="consentd-audit-")  # where other users get as far as the socket
        os.chmod(self.hall, 0o755)
        self.redis, self.origin = Redis(store), Origin()
        self.origin.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<html></html>")
        self.proxy = Proxy(folder / "proxy", self.origin, ledger={"redis": self.redis.url},
                           admin={"audit_group": AUDITORS, "socket": f"{self.hall}/admin.sock"}, **config)
        self.cookies = [post(self.proxy, choice) for choice in CHOICES]
        self.cookies.append(post(self.proxy, [], self.cookies[0]))  # takes back what it gave
        shipped(self.proxy)

    def stop(self):
        self.proxy.stop()
        self.origin.stop()
        self.redis.process.send_signal(signal.SIGCONT)
        self.redis.kill()
        shutil.rmtree(self.hall, ignore_errors=True)


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


def test_auditors_keep_no_operator_out(proxy):
    """As many connections as there are places, all of an auditor: operators get in, in time."""
    pid = os.fork()
    if pid == 0:
        os.setgroups([grp.getgrnam(AUDITORS).gr_gid])
        os.setgid(65534)
        os.setuid(65534)
        held = []
        for _ in range(200):
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(proxy.config["admin"]["socket"])
                sock.send(b"GET")
            except OSError:
                pass
            held.append(sock)
        time.sleep(60)
        os._exit(0)
    try:
        wait_for(lambda: "event=admin.full" in proxy.log())
        for _ in range(5):
            assert get(proxy, "/api/v1/routes")["role"] == "admin"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


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
    ("lang=%00", "escaped"), ("lang=%ff", "UTF-8"), ("from=2026-02-30", "2026-11-01"), ("from=2026-11-31T00:00:00Z", "2026-11-01"),
    ("to=18446744073709551615", "2026-11-01"), ("to=0", "2026-11-01"), ("kind=operator&act=gpc", "visitors' events"),
    ("doc=%21", "22 characters"), ("&".join(f"x{i}=1" for i in range(40)), "more than"),
])
def test_a_wrong_question_is_told_what_is_right(proxy, query, word):
    status, why = refused(proxy, "/api/v1/events?" + query)
    assert status == 400 and word in why


@pytest.mark.parametrize("target,method,word", [
    ("/api/v1/stats?suppress=2", "GET", "0 or 1"), ("/api/v1/stats?to=99999999999999999", "GET", "to: "),
    ("/api/v1/subjects/%s?now=true" % ("A" * 22), "DELETE", "now=1")])
def test_nothing_is_half_understood(proxy, target, method, word):
    """What is not known is refused: a slip must not be the weaker question."""
    status, why = refused(proxy, target, method)
    assert status == 400 and word in why


def test_a_reason_is_told_of_what_is_not_utf8(proxy):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(proxy.config["admin"]["socket"])
        s.sendall(b"GET /api/v1/docs/\xff\xff\xff\xff HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = s.makefile("rb").read()
    assert b" 404 " in answer.split(b"\r\n")[0] and json.loads(answer.split(b"\r\n\r\n")[1])["error"] == 'notice "????": there is no such notice'


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


# --- proofs -----------------------------------------------------------------------------------

def vkey_of(proxy):
    return proxy.ctl("ledger", "vkey").stdout.strip()


def signed(proxy, leaf):
    wait_for(lambda: ask(proxy, "/api/v1/checkpoint")[0] == 200
             and int(ask(proxy, "/api/v1/checkpoint")[2].split(b"\n")[1]) > leaf)


def check_tlog_proof(text, vkey, folder):
    """(index, extra) of a C2SP tlog-proof; fails unless it proves its leaf."""
    lines = text.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    extra = b""
    at = 1
    if lines[at].startswith("extra "):
        extra = base64.b64decode(lines[at].split(" ", 1)[1], validate=True)
        at += 1
    index = int(lines[at].split(" ")[1])
    path = []
    at += 1
    while lines[at]:
        path.append(base64.b64decode(lines[at], validate=True))
        at += 1
    size, root = read_checkpoint("\n".join(lines[at + 1:]), vkey, folder)
    return index, extra, path, size, root


def commitment(r, event):
    return hashlib.sha256(b"consentd.event.v1\0" + r + event).digest()


def canonical(event):
    return json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_proof(world, tmp_path):
    proxy, leaf = world.proxy, leaf_of(world.cookies[1])
    signed(proxy, leaf)
    status, _, data = ask(proxy, f"/api/v1/events/1:{leaf}/proof?disclose=1")
    assert status == 200, data
    index, extra, path, size, root = check_tlog_proof(data.decode(), vkey_of(proxy), tmp_path)
    assert index == leaf
    event = json.loads(extra[32:])
    assert event["sub"] == subject_of(world.cookies[1]) and canonical(event) == extra[32:]
    entry = commitment(extra[:32], extra[32:])
    assert root_by_proof(leaf_hash(entry), index, size, path) == root
    status, _, data = ask(proxy, f"/api/v1/events/1:{leaf}/proof")
    index, extra, path, size, root = check_tlog_proof(data.decode(), vkey_of(proxy), tmp_path)
    assert extra == b"" and root_by_proof(leaf_hash(entry), index, size, path) == root
    assert refused(proxy, "/api/v1/events/1:99999999/proof")[0] == 404
    assert refused(proxy, "/api/v1/events/2:0/proof")[0] == 404


def test_checkpoint(world, tmp_path):
    signed(world.proxy, leaf_of(world.cookies[-1]))
    status, _, note = ask(world.proxy, "/api/v1/checkpoint")
    size, _ = read_checkpoint(note.decode(), vkey_of(world.proxy), tmp_path)
    assert status == 200 and size > leaf_of(world.cookies[-1])


# --- exports ----------------------------------------------------------------------------------

def check_manifest(body, manifest, text, sig, vkey, folder):
    """The manifest is signed with the log's key and is that of `body`."""
    assert hashlib.sha256(body).hexdigest() == manifest["sha256"]
    verify_ed25519(vkey, b"consentd.export.v1\0" + hashlib.sha256(text).digest(), sig, folder)
    if manifest["checkpoint"]:
        size, _ = read_checkpoint(manifest["checkpoint"], vkey, folder)
        return size
    return 0


def verify_ed25519(vkey, message, signature, folder):
    raw = base64.b64decode(vkey.split("+", 2)[2])
    (folder / "pub.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + raw[1:])
    (folder / "body").write_bytes(message)
    (folder / "sig").write_bytes(base64.b64decode(signature, validate=True))
    subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", str(folder / "pub.der"),
                    "-rawin", "-in", str(folder / "body"), "-sigfile", str(folder / "sig")],
                   check=True, capture_output=True)


def split_export(data):
    """(body, manifest, its text, sig) of JSON lines or CSV."""
    body, _, last = data.rstrip(b"\r\n").rpartition(b"\n")
    body += b"\n"
    if last.startswith(b'"#manifest"'):
        row = next(csv.reader([last.decode()]))
        assert len(row) == 19 and not any(row[2:])
        last = row[1].encode()
    line = json.loads(last)
    text = last[len(b'{"manifest":'):last.rindex(b',"sig":')]
    assert canonical(line["manifest"]) == text, "the manifest is not canonical"
    return body, line["manifest"], text, line["sig"]


def test_export_jsonl(world, tmp_path):
    proxy = world.proxy
    signed(proxy, leaf_of(world.cookies[-1]))
    status, headers, data = ask(proxy, "/api/v1/export?disclose=1")
    assert status == 200 and headers["Transfer-Encoding"] == "chunked" and headers["Cache-Control"] == "no-store"
    body, manifest, text, sig = split_export(data)
    size = check_manifest(body, manifest, text, sig, vkey_of(proxy), tmp_path)
    rows = [json.loads(line) for line in body.splitlines()]
    want = sorted(leaf_of(c) for c in world.cookies)
    assert [row["leaf"] for row in rows] == want
    assert manifest["count"] == len(want) and manifest["first"] == f"1:{want[0]}" and manifest["last"] == f"1:{want[-1]}"
    assert size > want[-1] and manifest["hw"] >= want[-1]
    entries = entries_of(proxy, size)
    for row in rows:  # each line hashes to its entry of the signed log
        r = base64.urlsafe_b64decode(row["r"] + "=")
        cmt = commitment(r, canonical(row["event"]))
        assert cmt == entries[row["leaf"]]
        assert base64.urlsafe_b64encode(leaf_hash(cmt)).decode().rstrip("=") == row["leafhash"]
    _, _, plain = ask(proxy, "/api/v1/export")
    assert b'"r"' not in plain


def test_export_csv(world, tmp_path):
    proxy = world.proxy
    _, headers, data = ask(proxy, "/api/v1/export?format=csv&purpose=marketing&granted=yes")
    assert headers["Content-Type"].startswith("text/csv")
    body, manifest, text, sig = split_export(data)
    check_manifest(body, manifest, text, sig, vkey_of(proxy), tmp_path)
    assert body.count(b"\r\n") == body.count(b"\n") == 4
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert [row["act"] for row in rows] == ["accept_all", "accept_all", "custom"]
    for row in rows:
        assert "marketing" in row["granted"].split() and row["subject"][:2] == "s_" and row["event"][:2] == "e_"
        datetime.datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%S.%fZ")


def test_export_of_operator_records_as_csv_holds_no_formula(world):
    _, _, data = ask(world.proxy, "/api/v1/export?format=csv&kind=operator")
    rows = list(csv.reader(io.StringIO(split_export(data)[0].decode(), newline="")))
    assert len(rows) > 3 and all(len(row) == 19 for row in rows)
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r") and cell]


# record.h: the field of J, and where it stands in a record of ISO/IEC TS 27560.
TERMS = {
    "sub": ("dpv:hasDataSubject", "dct:identifier"), "ts": ("dpv:isIndicatedAtTime",),
    "exp": ("dpv:hasDuration", "rdf:value", "@value"), "by": ("dpv:isIndicatedBy",), "mth": ("dpv:hasIndicationMethod",),
    "doc": ("dpv:hasNotice", "dct:identifier"), "lang": ("dct:language",), "host": ("dpv:hasService", "dct:identifier"),
    "jur": ("dpv:hasJurisdiction",),
}
STATES = {"accept_all": ("ConsentGiven", None), "reject_all": (None, "ConsentRefused"),
          "custom": ("ConsentGiven", "ConsentRefused"), "withdraw": ("ConsentGiven", "ConsentWithdrawn")}


def iso(ms):
    when = datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


def test_export_dpv(world, tmp_path):
    proxy = world.proxy
    body, manifest, text, sig = split_export(ask(proxy, "/api/v1/export?format=dpv")[2])
    check_manifest(body, manifest, text, sig, vkey_of(proxy), tmp_path)
    records = [json.loads(line) for line in body.splitlines()]
    rows = [json.loads(line) for line in split_export(ask(proxy, "/api/v1/export")[2])[0].splitlines()]
    policy = json.loads(re.sub(r"^\s*//.*$", "", (ROOT / "conf/policy.json").read_text(), flags=re.M))
    assert len(records) == len(rows) == len(world.cookies)
    for record, row in zip(records, rows):
        event = row["event"]
        assert record["@type"] == "dpv:ConsentRecord"
        assert record["dct:conformsTo"] == "dpv-27560:record-eu-gdpr"
        assert record["@context"]["dpv"] == "https://w3id.org/dpv#"
        eid = base64.urlsafe_b64decode(event["eid"] + "==")
        assert record["dct:identifier"] == str(uuid.UUID(bytes=eid)) and record["@id"] == f"urn:uuid:{uuid.UUID(bytes=eid)}"
        for key, path in TERMS.items():
            value = record
            for step in path:
                value = value.get(step) if value else None
            want = event.get(key)
            want = {"sub": f"s_{want}", "doc": f"d_{want}", "ts": iso(event["ts"]), "exp": iso(event["exp"] * 1000),
                    "by": {"subject": "dpv:DataSubject", "agent": "dpv:DataSubject"}.get(want)}.get(key, want)
            assert value == want, key
        processes = {p["dct:identifier"]: p for p in record["dpv:hasProcess"]}
        assert set(processes) == set(event["grant"]) | set(event["deny"])
        for given, purposes in enumerate((event["deny"], event["grant"])):
            for purpose in purposes:
                p = processes[purpose]
                state = STATES[event["act"]][0 if given else 1]
                assert p["dpv:hasConsentStatus"] == f"dpv:{state}"
                kind = {"explicit": "dpv:ExplicitlyExpressedConsent", "expressed": "dpv:ExpressedConsent"}[event["typ"]]
                assert p["dpv:hasLegalBasis"] == ["eu-gdpr:A6-1-a", kind]
                [category] = [c for c in policy["categories"] if c["id"] == purpose]
                assert p["dpv:hasPurpose"][0]["dct:description"] == category["purpose"]["en"]
                names = {x["dpv:hasName"] for x in p["dpv:hasRecipient"]}
                assert {x["name"] for x in policy["providers"] if x.get("category") == purpose} <= names
        assert record["dpv:hasDataController"]["dpv:hasName"] == policy["controller"]["name"]
        assert len(record["dpv:hasRight"]) == len(policy["rights"])


@pytest.mark.parametrize("query,word", [("format=xml", "jsonl, csv or dpv"), ("limit=3", "whole"),
                                        ("cursor=AAAA", "begin again"), ("acts=x", "did you mean"),
                                        ("disclose=yes", "0 or 1"), ("partial=2", "0 or 1"), ("format=dpv&kind=notice", "dpv")])
def test_export_refuses(proxy, query, word):
    status, why = refused(proxy, "/api/v1/export?" + query)
    assert status == 400 and word in why


def chunks_of(proxy, target):
    """[(cursor or None, bytes)] of a chunked answer, read by hand."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(proxy.config["admin"]["socket"])
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while piece := s.recv(65536):
            data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head + rest
    out = []
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size, _, extension = line.decode().partition(";")
        length = int(size, 16)
        if length:
            out.append((extension.split('"')[1] if extension else None, rest[:length]))
        assert rest[length:length + 2] == b"\r\n"
        rest = rest[length + 2:]
    return out


def test_an_export_goes_on_where_it_was_cut(world, tmp_path):
    proxy = world.proxy
    query = "/api/v1/export?format=csv"
    chunks = chunks_of(proxy, query)
    assert [cursor is not None for cursor, _ in chunks] == [True, False]
    cursor, first = chunks[0]
    rest = chunks_of(proxy, query + "&cursor=" + cursor)
    whole = first + b"".join(data for _, data in rest)
    body, manifest, text, sig = split_export(whole)
    check_manifest(body, manifest, text, sig, vkey_of(proxy), tmp_path)
    assert manifest["count"] == len(world.cookies)
    forged = base64.urlsafe_b64encode(bytes(240)).decode().rstrip("=")
    assert refused(proxy, query + "&cursor=" + forged)[0] == 400
    changed = ("B" if cursor[50] == "A" else "A").join((cursor[:50], cursor[51:]))
    assert refused(proxy, query + "&cursor=" + changed)[0] == 400
    assert refused(proxy, query + "&lang=en&cursor=" + cursor)[0] == 400  # another question


def test_no_export_without_redis(tmp_path):
    w = World(tmp_path)
    try:
        w.redis.kill()
        time.sleep(0.2)
        status, why = refused(w.proxy, "/api/v1/export")
        assert status == 503 and "Redis" in why
    finally:
        w.stop()


def test_the_operator_log_has_pages(proxy):
    for _ in range(3):
        events(proxy, "limit=1")
    shipped(proxy)
    page = get(proxy, "/api/v1/oplog?limit=2")
    more = get(proxy, "/api/v1/oplog?limit=2&cursor=" + page["cursor"])
    leaves = [row["leaf"] for row in page["events"] + more["events"]]
    assert len(leaves) == 4 and leaves == sorted(leaves, reverse=True)
    assert refused(proxy, "/api/v1/oplog?kind=event")[0] == 400


def test_a_subject_has_pages(world):
    subject = subject_of(world.cookies[0])
    page = get(world.proxy, f"/api/v1/subjects/{subject}?limit=1")
    more = get(world.proxy, f"/api/v1/subjects/{subject}?limit=1&cursor=" + page["cursor"])
    assert [r["event"]["act"] for r in page["events"] + more["events"]] == ["withdraw", "accept_all"]
    assert refused(world.proxy, f"/api/v1/subjects/{subject}?sub={'A' * 22}")[0] == 400


# --- the command line -------------------------------------------------------------------------

def ctl(proxy, *args, code=0):
    done = proxy.ctl(*args)
    assert done.returncode == code, (args, done.stdout, done.stderr)
    return done.stdout


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_query_by_way_of_the_admin_and_directly_is_the_same(world):
    proxy = world.proxy
    for query in (["--kind", "event"], ["--act", "withdraw"], ["--kind", "event", "--order", "oldest", "--limit", "3"]):
        for form in ("table", "jsonl", "csv"):
            remote = ctl(proxy, "audit", "query", *query, "-o", form)
            assert remote == ctl(proxy, "audit", "query", *query, "-o", form, "--direct") and remote
            assert remote == ctl(proxy, "audit", "query", *query, "-o", form, "--journal")
    shipped(proxy)
    assert any(op.get("route") == "GET /api/v1/events" for op in operators(proxy))
    place = f"1:{leaf_of(world.cookies[0])}"
    assert ctl(proxy, "audit", "get", place, "-o", "jsonl") == ctl(proxy, "audit", "get", place, "-o", "jsonl",
                                                                   "--direct")
    assert "no record" in proxy.ctl("audit", "get", "1:99999999").stderr
    for by in ("day", "lang", "notice", "method"):
        there, direct = (lines(ctl(proxy, "audit", "stats", "--by", by, "-o", "jsonl", *way)) for way in ([], ["--direct"]))
        assert all(row.pop("shown") == 0 for row in there) and there == direct  # how often is for the daemon to tell


def test_pages_of_the_command_line(world):
    done = world.proxy.ctl("audit", "query", "--kind", "event", "--limit", "3", "-o", "jsonl")
    cursor = done.stderr.split("--cursor ")[1].strip()
    rest = lines(ctl(world.proxy, "audit", "query", "--kind", "event", "-o", "jsonl", "--cursor", cursor))
    assert len(lines(done.stdout)) == 3 and len(rest) == len(world.cookies) - 3


def test_operator_log_of_the_command_line(world):
    rows = lines(ctl(world.proxy, "audit", "oplog", "-o", "jsonl"))
    assert rows and all("op" in row["event"] for row in rows)
    assert world.proxy.ctl("audit", "oplog", "--kind", "event").returncode == 2


def test_export_of_the_command_line(world, tmp_path):
    proxy, out = world.proxy, tmp_path / "events.jsonl"
    signed(proxy, leaf_of(world.cookies[-1]))
    vkey = vkey_of(proxy)
    done = proxy.ctl("audit", "export", "--out", out, "--disclose", "--vkey", vkey)
    assert done.returncode == 0 and "signed by the log's key" in done.stderr, done.stderr
    body, manifest, text, sig = split_export(out.read_bytes())
    check_manifest(body, manifest, text, sig, vkey, tmp_path)
    assert manifest["count"] == len(world.cookies)
    assert not (tmp_path / "events.jsonl.part").exists() and not (tmp_path / "events.jsonl.resume").exists()
    assert proxy.ctl("audit", "export", "--out", tmp_path / "x", "--vkey", vkey[:-4] + "AAA=").returncode == 2, "mistyped"
    name, key = vkey.split("+")[0], b"\x01" + os.urandom(32)
    other = "+".join((name, hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8], base64.b64encode(key).decode()))
    done = proxy.ctl("audit", "export", "--out", tmp_path / "x", "--vkey", other)
    assert done.returncode == 1 and "not signed by that key" in done.stderr and not (tmp_path / "x").exists()
    for form in ("csv", "dpv"):
        assert split_export(ctl(proxy, "audit", "export", "--format", form).encode())[1]["format"] == form
        assert proxy.ctl("audit", "export", "--format", form, "--out", tmp_path / form, "--vkey", vkey).returncode == 0
    assert "jsonl, csv or dpv" in proxy.ctl("audit", "export", "--format", "xml").stderr
    assert proxy.ctl("audit", "export", "--limit", "3").returncode == 2


def test_a_second_run_goes_on(world, tmp_path):
    """What is left of a run that was killed behind its first chunk."""
    proxy, out = world.proxy, tmp_path / "events.csv"
    [(cursor, first), _] = chunks_of(proxy, "/api/v1/export?format=csv")
    (tmp_path / "events.csv.part").write_bytes(first + b"torn")
    (tmp_path / "events.csv.resume").write_text(f"{len(first)}\n{cursor}\n/api/v1/export?format=csv\n")
    done = proxy.ctl("audit", "export", "--format", "csv", "--out", out, "--vkey", vkey_of(proxy))
    assert done.returncode == 0 and "goes on" in done.stderr, done.stderr
    body, manifest, text, sig = split_export(out.read_bytes())
    check_manifest(body, manifest, text, sig, vkey_of(proxy), tmp_path)
    assert body == first and manifest["count"] == len(world.cookies)


def test_without_the_daemon_the_stores_are_asked(tmp_path):
    w = World(tmp_path)
    try:
        before = ctl(w.proxy, "audit", "query", "--kind", "event", "-o", "jsonl")
        w.proxy.stop()
        assert ctl(w.proxy, "audit", "query", "--kind", "event", "-o", "jsonl") == before
        assert "socket" in w.proxy.ctl("audit", "export").stderr or "running" in w.proxy.ctl("audit", "export").stderr
    finally:
        w.origin.stop()
        w.redis.kill()


def test_an_admin_that_has_just_begun_knows_redis(tmp_path):
    """Until the first attempt to connect is over, Redis is neither there nor away: who asks waits for that."""
    w = World(tmp_path)
    try:
        for command in (["export"], ["stats"], ["stats", "--by", "lang"]):
            old = w.proxy.role("admin")
            os.kill(old, signal.SIGKILL)
            wait_for(lambda o=old: w.proxy.role("admin") not in (None, o))
            said = []

            def answered(c=command, all_said=said):
                all_said.append(w.proxy.ctl("audit", *c))
                return all_said[-1].returncode == 0
            wait_for(answered)
            assert not any("away" in done.stderr for done in said), [done.stderr for done in said]
    finally:
        w.proxy.terminate()  # stop() allows no process that died
        w.proxy.process.wait(30)
        w.origin.stop()
        w.redis.kill()


# --- statistics, and a person's data ------------------------------------------------------------

def test_statistics(world):
    proxy = world.proxy
    stats = get(proxy, "/api/v1/stats?by=purpose")
    rows = {row["purpose"]: row for row in stats["rows"]}
    want = {p: sum(p in choice for choice in CHOICES) for p in ("analytics", "marketing")}
    for purpose, granted in want.items():
        assert rows[purpose]["granted"] == granted and rows[purpose]["refused"] == len(CHOICES) - granted
        assert rows[purpose]["opt_in_permille"] == (granted * 1000 + len(CHOICES) // 2) // len(CHOICES)
    assert stats["totals"]["decisions"] == len(CHOICES) and stats["totals"]["withdrawals"] == 1
    assert stats["totals"]["change"] == 1 and stats["totals"]["first"] == len(CHOICES)
    days = get(proxy, "/api/v1/stats?by=day")["rows"]
    assert sum(row["decisions"] for row in days) == len(CHOICES)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", row["day"]) for row in days)
    [lang] = get(proxy, "/api/v1/stats?by=lang")["rows"]
    assert lang["lang"] == "en" and lang["act"]["withdraw"] == 1 and lang["decisions"] == len(CHOICES)
    [doc] = get(proxy, "/api/v1/stats?by=doc")["rows"]
    assert doc["decisions"] == len(CHOICES)
    assert sum(row["count"] for row in get(proxy, "/api/v1/stats?by=ui")["rows"]) >= len(CHOICES)
    assert get(proxy, "/api/v1/stats?from=2020-01-01&to=2020-02-01")["totals"]["decisions"] == 0
    few = get(proxy, "/api/v1/stats?by=purpose&suppress=1")
    assert few["suppressed"] and all(row[k] is None for row in few["rows"]
                                     for k in ("granted", "refused", "opt_in_permille"))
    assert few["totals"]["decisions"] is None
    for query, word in (("by=moon", "day, purpose"), ("from=x", "2026-11-01"), ("from=2010-01-01", "4000 days"),
                        ("colour=red", "from, to, by")):
        status, why = refused(proxy, "/api/v1/stats?" + query)
        assert status == 400 and word in why


def test_a_subjects_export(world, tmp_path):
    proxy, subject = world.proxy, subject_of(world.cookies[0])
    signed(proxy, leaf_of(world.cookies[-1]))
    data = get(proxy, f"/api/v1/subjects/{subject}/export")
    assert data["subject"] == "s_" + subject and data["vkeys"] == [vkey_of(proxy)]
    assert [row["event"]["act"] for row in data["records"]] == ["accept_all", "withdraw"]
    for row in data["records"]:
        index, extra, path, size, root = check_tlog_proof(row["proof"], data["vkeys"][0], tmp_path)
        assert index == row["leaf"] and extra[32:] == canonical(row["event"])
        assert extra[:32] == base64.urlsafe_b64decode(row["r"] + "=")
        assert root_by_proof(leaf_hash(commitment(extra[:32], extra[32:])), index, size, path) == root
    receipt = get(proxy, f"/api/v1/subjects/{subject}/export?format=dpv")
    assert receipt["@type"] == "dpv:ConsentReceipt" and receipt["dct:conformsTo"] == "dpv-27560:receipt-eu-gdpr"
    first, second = receipt["dpv:hasRecordOfActivity"]
    assert {p["dpv:hasConsentStatus"] for p in first["dpv:hasProcess"]} == {"dpv:ConsentGiven"}
    assert {p["dpv:hasConsentStatus"] for p in second["dpv:hasProcess"]} == {"dpv:ConsentWithdrawn"}
    _, _, text = ask(proxy, f"/api/v1/subjects/{subject}/export?format=csv")
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert [row["act"] for row in rows] == ["accept_all", "withdraw"]
    assert refused(proxy, f"/api/v1/subjects/{subject}/export?format=pdf")[0] == 400


def test_a_subject_of_the_command_line(world, tmp_path):
    proxy, subject = world.proxy, subject_of(world.cookies[0])
    rows = lines(ctl(proxy, "subject", "show", subject, "-o", "jsonl"))
    assert [row["event"]["act"] for row in rows] == ["withdraw", "accept_all"]
    token = world.cookies[0].split("=", 1)[1]
    assert ctl(proxy, "subject", "show", token) == ctl(proxy, "subject", "show", "s_" + subject)
    assert proxy.ctl("subject", "export", subject, "--out", tmp_path / "x").returncode == 0
    assert json.loads((tmp_path / "x").read_text())["subject"] == "s_" + subject
    assert json.loads(ctl(proxy, "subject", "export", subject, "--format", "dpv"))["@type"] == "dpv:ConsentReceipt"
    assert proxy.ctl("subject", "show", "../x").returncode == 2


# --- notices ----------------------------------------------------------------------------------

def test_notices(world):
    proxy = world.proxy
    docs = get(proxy, "/api/v1/docs")["docs"]
    assert docs and docs[-1]["epoch"] == 1
    sha = docs[-1]["sha256"]
    _, _, document = ask(proxy, f"/api/v1/docs/{sha}")
    assert hashlib.sha256(document).hexdigest() == sha and b"analytics" in document
    named = get(proxy, f"/api/v1/events/1:{leaf_of(world.cookies[0])}")["event"]["doc"]
    assert ask(proxy, f"/api/v1/docs/d_{named}")[2] == ask(proxy, f"/api/v1/docs/{sha[:10]}")[2] == document
    assert get(proxy, f"/api/v1/docs/{sha}/diff?to={sha[:4]}") == {"from": sha, "to": sha, "epoch": False,
                                                                  "cut": False, "changes": []}
    for path, code in (("00000000", 404), (sha[:3], 404), (f"{sha}/diff", 400), (f"{sha}/diff?to=00000000", 404)):
        assert refused(proxy, "/api/v1/docs/" + path)[0] == code
    assert sha in ctl(proxy, "doc", "list") and ctl(proxy, "doc", "show", sha[:12]).encode() == document
    assert "no difference" in ctl(proxy, "doc", "diff", sha, sha)
    assert proxy.ctl("doc", "show").returncode == 2 and proxy.ctl("doc", "show", "../x").returncode == 2


# --- verification -----------------------------------------------------------------------------

def verified(proxy, **question):
    status, _, data = ask(proxy, "/api/v1/verify", "POST", json.dumps(question).encode())
    assert status == 200, data
    number = json.loads(data)["id"]
    wait_for(lambda: get(proxy, f"/api/v1/verify/{number}")["result"] != "running", 30)
    return get(proxy, f"/api/v1/verify/{number}")


def test_verification_as_a_job(world):
    proxy = world.proxy
    signed(proxy, leaf_of(world.cookies[-1]))
    log = verified(proxy)
    assert log["result"] == "ok" and log["hashed"] == log["leaves"] > leaf_of(world.cookies[-1])
    shipped(proxy)
    deep = verified(proxy, depth="deep")
    assert deep["result"] == "ok" and deep["opened"] == deep["records"] >= len(world.cookies)
    assert deep["id"] == log["id"] + 1 and refused(proxy, f"/api/v1/verify/{log['id']}")[0] == 404
    assert refused(proxy, "/api/v1/verify", "POST", b'{"depth":"moon"}')[0] == 400
    for body in (b'{', b'[]', b'"deep"', b'{"deph":"deep"}', b'{"depth":1}', b'{"depth":"deep","depth":"log"}',
                 b'{"depth":"deep","to":"2026-02-30"}'):
        assert refused(proxy, "/api/v1/verify", "POST", body)[0] == 400, body
    asked = proxy.ctl("audit", "verify", "--running", "--deep", "--from", "2026-01-01")
    assert asked.returncode == 0 and not asked.stderr, asked.stderr
    assert "leaves of" in asked.stdout and "records     " in asked.stdout
    assert proxy.ctl("audit", "verify", "--running", "--offline", "x", "--vkey", "y").returncode == 3
    assert proxy.ctl("audit", "verify", "--running", "--from", "moon").returncode == 3


def test_verification_finds_what_was_changed(tmp_path):
    w = World(tmp_path)
    try:
        signed(w.proxy, leaf_of(w.cookies[-1]))
        [stream] = [k for k in w.redis.call("keys", "*:ev").splitlines() if k]
        leaf = leaf_of(w.cookies[1])
        victim = f"{get(w.proxy, f'/api/v1/events/1:{leaf}')['ts']}-{leaf}"
        assert w.redis.call("xdel", stream, victim) == "1"
        found = verified(w.proxy, depth="deep")
        assert found["result"] == "tampered" and f"leaf {leaf_of(w.cookies[1])}" in found["what"]
        first = f"{get(w.proxy, '/api/v1/events/1:0')['ts']}-0"
        assert w.redis.call("xdel", stream, first) == "1"
        found = verified(w.proxy, depth="deep")
        assert found["result"] == "tampered" and "leaf 0:" in found["what"]
        tile = tmp_path / "proxy" / "state"
        tiles = [p for p in tile.rglob("tile/0/000.p/*")] or [p for p in tmp_path.rglob("tile/0/000.p/*")]
        for path in tiles:
            data = bytearray(path.read_bytes())
            data[5] ^= 1
            path.write_bytes(data)
        found = verified(w.proxy)
        assert found["result"] == "tampered" and "leaf 0" in found["what"]
    finally:
        w.stop()


def test_verification_does_not_pass_over_the_newest(tmp_path):
    """Signed, and not in Redis (another one writes there): that can't be told to be whole."""
    w = World(tmp_path)
    try:
        [own] = [k for k in w.redis.call("keys", "c:own:*").splitlines() if k]
        w.redis.call("set", own, "f" * 32 + ":0123456789abcdef")
        wait_for(lambda: "ship.blocked" in w.proxy.log(), 30)
        signed(w.proxy, leaf_of(post(w.proxy, ["analytics"])))
        found = verified(w.proxy, depth="deep")
        assert found["result"] == "incomplete" and "not there: not shipped yet, or removed" in found["what"]
        assert verified(w.proxy, depth="deep", to="2026-01-01")["result"] == "ok"
    finally:
        w.stop()


def test_an_export_says_what_it_was_asked_for_and_what_it_is_without(tmp_path):
    redis = Redis(tmp_path)
    proxy = Proxy(tmp_path, ledger={"redis": redis.url})
    for _ in range(3):
        post(proxy, ["analytics"])
    shipped(proxy)
    _, manifest, _, _ = split_export(ask(proxy, "/api/v1/export?lang=en&act=custom")[2])
    assert manifest["filters"] == {"act": "custom", "lang": "en"} and manifest["behind"] <= 1
    redis.call("config", "set", "maxmemory", "1") # it is read, and takes nothing more
    for _ in range(4):
        post(proxy, ["analytics"])
    body, manifest, _, _ = split_export(ask(proxy, "/api/v1/export")[2])
    assert manifest["filters"] == {} and manifest["behind"] >= 4
    assert len(body.splitlines()) == manifest["count"]
    redis.call("config", "set", "maxmemory", "0")
    redis.kill()
    wait_for(lambda: ask(proxy, "/api/v1/events/1:99999")[0] == 503)
    assert ask(proxy, "/api/v1/events/1:99999/proof?disclose=1")[0] == 503, "nobody can tell that it does not exist"
    proxy.process.terminate()
    proxy.process.wait(30)
