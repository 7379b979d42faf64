"""The notice document: what visitors were told, named by its hash, on record, and published by hand.

A real redis-server; the policy of a site is changed, published, and looked at by visitors.
"""
import base64
import hashlib
import json
import os
import signal
import socket
import subprocess

import pytest

from harness import BUILD, ROOT, Origin, Proxy, Redis, http_response, wait_for
from test_erasure import resp

PAGE = b"<!doctype html><html><head><title>t</title></head><body><p>text</p></body></html>"


def bare_policy():
    """conf/policy.json without its comments, as a value."""
    lines = [line for line in (ROOT / "conf/policy.json").read_text().splitlines()
             if not line.lstrip().startswith("//")]
    return json.loads("\n".join(lines))


class World:
    """A proxy whose policy is a file of its own."""

    def __init__(self, folder, redis=True, **options):
        self.folder, self.policy = folder, bare_policy()
        self.file = folder / "policy.json"
        self.write(self.policy)
        self.redis = None
        if redis:
            (folder / "redis").mkdir()
            self.redis = Redis(folder / "redis")
        self.origin = Origin()
        self.origin.routes["/"] = http_response(200, [("Content-Type", "text/html")], PAGE)
        (folder / "proxy").mkdir()
        self.proxy = Proxy(folder / "proxy", self.origin, site={"policy": str(self.file)},
                           ledger={"redis": self.redis.url} if redis else {}, **options)

    def write(self, policy, path=None):
        (path or self.file).write_text(json.dumps(policy))

    def draft(self, **changes):
        """The policy in force with changes, in a file beside it."""
        path = self.folder / "draft.json"
        self.write({**self.policy, **changes}, path)
        return path

    def choose(self, grants, cookie=None):
        deny = [c for c in ("analytics", "marketing") if c not in grants]
        headers = [("Content-Type", "application/json")] + ([("Cookie", cookie)] if cookie else [])
        answer = self.proxy.get("/.consent/choice", headers, "POST",
                                json.dumps({"grant": grants, "deny": deny}).encode())
        assert answer.status in (200, 201), answer.body
        return answer.header("Set-Cookie").split(";")[0], json.loads(answer.body)

    def documents(self):
        """sha256 -> bytes, as the ledger keeps them."""
        wait_for(lambda: (self.proxy.folder / "state/notices/history.jsonl").exists())
        return {p.stem: p.read_bytes() for p in (self.proxy.folder / "state/notices").glob("*.json")}

    def history(self):
        wait_for(lambda: (self.proxy.folder / "state/notices/history.jsonl").exists())
        return [json.loads(line) for line in (self.proxy.folder / "state/notices/history.jsonl").open()]

    def rows(self, *args):
        where = () if self.redis else ("--journal",)
        done = self.proxy.ctl("audit", "query", "--limit", "500", "-o", "jsonl", *where, *args)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def stop(self):
        self.proxy.stop()
        if self.redis:
            self.redis.kill()
        self.origin.stop()


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.stop()


def name_of(document):
    return base64.urlsafe_b64encode(hashlib.sha256(document).digest()[:16]).decode().rstrip("=")


def test_a_record_names_a_document_that_is_kept(world):
    _, receipt = world.choose(["analytics"])
    (sha, document), = world.documents().items()
    assert hashlib.sha256(document).hexdigest() == sha
    assert receipt["doc"] == name_of(document)
    told = json.loads(document)
    assert told["form"] == "consentd.notice.v1"
    assert told["policy"] == world.policy
    assert told["texts"]["en"]["accept_all"] == "Accept all" and told["texts"]["de"]["reject_all"]
    assert "me_title" not in told["texts"]["en"], "pages that are no part of the banner"
    vendors = {v["id"]: v for v in told["vendors"]}
    assert vendors["hotjar"]["vendor"] and vendors["google-analytics"]["cookies"]
    assert document == json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_document_is_a_leaf_and_in_redis(world):
    world.choose(["analytics"])
    (sha, document), = world.documents().items()
    line, = world.history()
    assert line["sha256"] == sha and line["version"] == world.policy["version"] and line["epoch"] == 1
    wait_for(lambda: resp(world.redis.socket, "GET", f"c:doc:{sha}") == document)
    wait_for(lambda: [r for r in world.rows() if r["leaf"] == line["leaf"]])
    row, = [r for r in world.rows() if r["leaf"] == line["leaf"]]
    assert row["event"]["doc"]["sha256"] == sha and row["event"]["doc"]["size"] == len(document)
    done = wait_for(lambda: (d := world.proxy.ctl("audit", "verify")).returncode != 2 and d)
    assert done.returncode == 0, done.stdout + done.stderr


def test_redis_gets_its_documents_back(world):
    (sha, document), = world.documents().items()
    wait_for(lambda: resp(world.redis.socket, "GET", f"c:doc:{sha}") == document)
    resp(world.redis.socket, "FLUSHALL")
    wait_for(lambda: resp(world.redis.socket, "GET", f"c:doc:{sha}") == document)


def test_a_restart_makes_no_second_leaf(world):
    before = world.history()
    world.proxy.stop()
    world.proxy.start()
    assert world.history() == before


def test_another_node_gets_a_leaf_of_its_own(world):
    """ledger.node is changed: the notice is in force already, and first used in that log."""
    world.choose(["analytics"])
    first, = world.history()
    assert first["node"] == 1
    for node in (2, 1, 2):
        world.proxy.stop()
        world.proxy.config["ledger"]["node"] = node
        world.proxy.rewrite(world.proxy.config)
        world.proxy.start()
        world.choose([])
        wait_for(lambda node=node: world.history()[-1]["node"] == node)
        line = world.history()[-1]
        wait_for(lambda leaf=line["leaf"]: [r for r in world.rows() if r["leaf"] == leaf])
        row, = [r for r in world.rows() if r["leaf"] == line["leaf"]]
        assert row["node"] == node and row["event"]["doc"]["sha256"] == first["sha256"]
        assert len([r for r in world.rows() if isinstance(r["event"].get("doc"), dict)]) == 1
    assert [line["node"] for line in world.history()] == [1, 2, 1, 2]
    shown = world.proxy.ctl("policy", "show").stdout
    assert f"{first['node']}:{first['leaf']} " in shown and f"2:{line['leaf']} " in shown
    done = wait_for(lambda: (d := world.proxy.ctl("audit", "verify")).returncode != 2 and d)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_document_that_rotted_is_written_again(world):
    """Today's from the configuration, an earlier one from Redis; what has no good copy stays as it is."""
    world.choose(["analytics"])
    (old, document), = world.documents().items()
    wait_for(lambda: resp(world.redis.socket, "GET", f"c:doc:{old}") == document)
    assert publish(world, changed(world.policy, rights=world.policy["rights"][1:]), "--yes").returncode == 0
    wait_for(lambda: len(world.history()) == 2 and len(world.documents()) == 2)
    today = world.history()[-1]["sha256"]
    wait_for(lambda: resp(world.redis.socket, "EXISTS", f"c:doc:{today}") == 1)
    whole, folder = world.documents(), world.proxy.folder / "state/notices"
    world.proxy.stop()
    for sha in whole:
        (folder / f"{sha}.json").write_bytes(whole[sha].replace(b"consent", b"content"))
    world.proxy.start()
    wait_for(lambda: world.documents() == whole)
    said = [line for line in world.proxy.log().splitlines() if "event=notice.mended" in line]
    assert len(said) == 2 and [line for line in said if today in line and "the configuration" in line]
    assert [line for line in said if old in line and "from Redis" in line]
    world.proxy.stop()
    rotten = whole[old].replace(b"consent", b"content")
    (folder / f"{old}.json").write_bytes(rotten)
    resp(world.redis.socket, "SET", f"c:doc:{old}", rotten)
    world.proxy.start()
    wait_for(lambda: "nor its copy in Redis is whole" in world.proxy.log())
    assert world.documents() == {**whole, old: rotten} and len(world.history()) == 2


def test_without_redis(tmp_path):
    w = World(tmp_path, redis=False)
    _, receipt = w.choose([])
    (_, document), = w.documents().items()
    assert receipt["doc"] == name_of(document)
    assert [r for r in w.rows() if "doc" in r["event"] and isinstance(r["event"]["doc"], dict)]
    w.stop()


# --- publishing -----------------------------------------------------------------------------

def changed(policy, **changes):
    """The next version of a policy, with its summary for visitors."""
    version = changes.pop("version", "2026-12")
    entry = {"version": version, "date": "2026-12-01", "summary": {"en": "We count differently."}}
    return {**policy, "version": version, "changes": [entry] + policy["changes"], **changes}


def publish(world, policy, *options, answer=None):
    path = world.folder / "draft.json"
    world.write(policy, path)
    return subprocess.run([str(BUILD / "consentctl"), "-c", str(world.proxy.folder / "consentd.json"), "policy",
                           "publish", str(path), *options], input=answer, capture_output=True, text=True,
                          check=False, timeout=60)


def with_provider(policy):
    return policy["providers"] + [{"name": "Hotjar", "role": {"en": "Records visits."}, "category": "analytics"}]


def test_a_typo_needs_no_epoch(world):
    world.history()
    rights = [{"en": "Access or corect your data."}] + world.policy["rights"][1:]
    done = publish(world, changed(world.policy, rights=rights), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none of which asks people again" in done.stdout and "rights 1" in done.stdout
    assert "Access or corect" in done.stdout and "in force: version 2026-12, epoch 1" in done.stdout
    assert json.loads(world.file.read_text())["version"] == "2026-12"
    wait_for(lambda: [h["version"] for h in world.history()] == ["2026-11", "2026-12"])
    assert len(world.documents()) == 2
    rows = world.rows("--kind", "operator")
    published = [r for r in rows if r["event"]["op"].get("route") == "POST /api/v1/policy"]
    assert published[0]["event"]["op"]["params"]["version"] == "2026-12"
    again = publish(world, json.loads(world.file.read_text()), "--yes")
    assert again.returncode == 0 and "in force already" in again.stdout


def test_a_new_provider_needs_an_epoch(world):
    world.history()
    policy = changed(world.policy, providers=with_provider(world.policy))
    refused = publish(world, policy, "--yes")
    assert refused.returncode == 1
    assert "asks again: a recipient" in refused.stdout and "set it to 2" in refused.stderr
    assert json.loads(world.file.read_text())["version"] == "2026-11"
    done = publish(world, {**policy, "epoch": 2}, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everybody is asked again" in done.stdout
    back = publish(world, changed(world.policy, version="2027"), "--yes")
    assert back.returncode == 1 and "never goes back" in back.stderr


def test_nothing_is_published_unasked(world):
    world.history()
    before = world.file.read_text()
    policy = changed(world.policy, retention={"en": "Your choice here holds for 90 days."})
    assert publish(world, policy, "--same-epoch", answer="no\n").returncode == 1
    assert publish(world, policy, "--same-epoch", answer="").returncode == 1
    nameless = {**policy, "changes": world.policy["changes"]}
    assert "changes: add an entry" in publish(world, nameless, "--yes", "--same-epoch").stderr
    same = {**policy, "version": "2026-11"}
    assert "version:" in publish(world, same, "--yes", "--same-epoch").stderr
    broken = {**policy, "categories": []}
    assert "categories" in publish(world, broken, "--yes").stderr
    assert world.file.read_text() == before and len(world.history()) == 1
    assert publish(world, policy, "--same-epoch", answer="yes\n").returncode == 0
    wait_for(lambda: len(world.history()) == 2)


def test_what_was_shown_is_what_is_published(world):
    """Between the question and the yes somebody else writes the file: that was agreed to by nobody."""
    world.history()
    before, path = world.file.read_text(), world.folder / "draft.json"
    world.write(changed(world.policy), path)
    command = [str(BUILD / "consentctl"), "-c", str(world.proxy.folder / "consentd.json"), "policy", "publish", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        asked = b""
        while not asked.endswith(b"[yes/no] "):
            more = run.stderr.read(1)
            assert more, asked
            asked += more
        world.write(changed(world.policy, providers=with_provider(world.policy)), path)
        _, errors = run.communicate(b"yes\n", timeout=60)
    assert run.returncode == 1 and b"was changed meanwhile" in errors, errors
    assert world.file.read_text() == before and len(world.history()) == 1
    rows = world.rows("--kind", "operator")
    assert not [r for r in rows if r["event"]["op"].get("route") == "POST /api/v1/policy"]


def test_without_the_ledger_nothing_is_published(world):
    world.history()
    before = world.file.read_text()
    os.kill(world.proxy.role("ledger"), signal.SIGSTOP)
    try:
        done = publish(world, changed(world.policy), "--yes")
    finally:
        os.kill(world.proxy.role("ledger"), signal.SIGCONT)
    assert done.returncode == 1 and world.file.read_text() == before


def test_a_refused_reload_is_said_with_its_reason(world):
    world.history()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = world.proxy.config
        world.proxy.rewrite({**config, "listen": config["listen"] + [{"address": address}]})
        done = publish(world, changed(world.policy), "--yes")
    assert done.returncode == 1 and "in force:" not in done.stdout
    assert "written, but not in force: the reload was refused" in done.stderr and address in done.stderr
    assert len(world.history()) == 1


def test_show_and_diff(world):
    first = world.history()[0]["sha256"]
    assert publish(world, changed(world.policy), "--yes").returncode == 0
    wait_for(lambda: len(world.history()) == 2)
    second = world.history()[1]["sha256"]
    shown = world.proxy.ctl("policy", "show").stdout
    assert first in shown and second in shown
    assert json.loads(world.proxy.ctl("policy", "show", second[:12]).stdout)["policy"]["version"] == "2026-12"
    diff = json.loads(world.proxy.ctl("policy", "diff", first, second, "--json").stdout)
    assert diff["epoch"] is False and {"version"} <= {c["place"] for c in diff["changes"]}
    assert world.proxy.ctl("policy", "diff", world.draft()).stdout.count("version")
    check = world.proxy.ctl("policy", "check")
    assert check.returncode == 0 and second in check.stdout
    assert world.proxy.ctl("policy", "show", "ffffffffffff").returncode == 1
