"""A visitor's rights, for who holds the cookie: access, download, proof, objection, erasure, and
leaving a mailing list with one click.

A real redis-server, and the same without one; the pages in Chromium without JavaScript.
"""
import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import time

import pytest

from harness import BUILD, wait_for
from test_erasure import resp
from test_notice import World as NoticeWorld
from test_notice import changed, publish

HTML = [("Accept", "text/html,application/xhtml+xml")]
FORM = [("Content-Type", "application/x-www-form-urlencoded")] + HTML
JSON = [("Content-Type", "application/json")]


class World(NoticeWorld):
    def visitor(self):
        """Somebody who chose three times; the newest cookie."""
        cookie, _ = self.choose(["analytics", "marketing"])
        for grants in (["analytics"], []):
            cookie, _ = self.choose(grants, cookie)
        return cookie

    def get(self, path, cookie=None, headers=()):
        return self.proxy.get("/.consent/" + path, list(headers) + ([("Cookie", cookie)] if cookie else []))

    def post(self, path, body, cookie=None, headers=JSON):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.proxy.get("/.consent/" + path, list(headers) + ([("Cookie", cookie)] if cookie else []), "POST",
                              body)

    def records(self, cookie):
        answer = self.get("me", cookie)
        assert answer.status == 200, (answer.status, answer.body)
        return json.loads(answer.body)["records"]

    def signed(self):
        """Leaves of the log's newest checkpoint."""
        answer = self.proxy.get("/.well-known/consent-log/checkpoint")
        return int(answer.body.split(b"\n")[1]) if answer.status == 200 else 0

    def vkey(self):
        return self.proxy.ctl("ledger", "vkey").stdout.split()[0]


@pytest.fixture(params=["redis", "alone"])
def world(tmp_path, request):
    w = World(tmp_path, redis=request.param == "redis")
    yield w
    w.stop()


@pytest.fixture
def redis_world(tmp_path):
    w = World(tmp_path)
    yield w
    w.stop()


def test_access(world):
    cookie = world.visitor()
    other, _ = world.choose(["marketing"])
    answer = world.get("me", cookie)
    me = json.loads(answer.body)
    assert answer.status == 200 and answer.header("Cache-Control") == "no-store"
    assert me["grants"] == {"essential": True, "analytics": False, "marketing": False}
    assert [r["event"]["act"] for r in me["records"]] == ["accept_all", "custom", "withdraw"]
    assert {r["event"]["sub"] for r in me["records"]} == {me["subject"]}
    assert me["more"] is False and me["expires"] > me["issued"]
    assert len(world.records(other)) == 1


def test_the_page(world):
    cookie = world.visitor()
    page = world.get("me", cookie, HTML + [("Accept-Language", "de")])
    text = page.body.decode()
    assert page.status == 200 and page.header("Content-Type") == "text/html; charset=utf-8"
    assert page.header("Cache-Control") == "no-store"
    assert "frame-ancestors 'none'" in page.header("Content-Security-Policy")
    assert '<html lang="de"' in text and "Ihre Einwilligungen" in text and "Widerrufen" in text
    assert text.count("/me/proof/") == 3 and "<script" not in text
    assert world.vkey().replace("+", "+") in text.replace("&#43;", "+")


def test_nobody(world):
    for path in ("me", "me/record", "me/proof/0"):
        assert world.get(path).status == 403
    assert world.post("me/erase", {"confirm": True}).status == 403
    assert world.post("me/amend", {"leaf": 0, "reason": "other"}).status == 403
    page = world.get("me", None, HTML)
    assert page.status == 403 and b"random number" in page.body
    forged = "consent=" + "A" * 100
    assert world.get("me", forged).status == 403


def test_downloads(world):
    cookie = world.visitor()
    ours = world.get("me/record?format=json", cookie)
    assert ours.header("Content-Disposition") == 'attachment; filename="consent-record.json"'
    assert len(json.loads(ours.body)["records"]) == 3
    dpv = world.get("me/record?format=dpv", cookie)
    assert dpv.status == 200 and dpv.header("Content-Type") == "application/ld+json"
    receipt = json.loads(dpv.body)
    text = json.dumps(receipt)
    assert "dpv-27560:receipt-eu-gdpr" in text and world.policy["controller"]["name"] in text
    assert text.count("dpv:ConsentWithdrawn") >= 1 and text.count("dct:identifier") >= 3
    cookie, _ = world.choose(["analytics"], cookie)
    kantara = json.loads(world.get("me/record?format=kantara", cookie).body)
    assert kantara["version"] == "KI-CR-v1.1.0"
    assert kantara["services"][0]["purposes"][0]["purposeCategory"] == ["analytics"]
    assert "Google Analytics" in kantara["services"][0]["purposes"][0]["thirdPartyName"]
    assert world.get("me/record?format=xml", cookie).status == 400


def test_a_download_after_another_notice(redis_world):
    world = redis_world
    cookie = world.visitor()
    rights = [{"en": "Ask us for everything."}] + world.policy["rights"][1:]
    assert publish(world, changed(world.policy, rights=rights), "--yes").returncode == 0
    cookie, _ = world.choose(["analytics"], cookie)
    text = world.get("me/record?format=dpv", cookie).body.decode()
    assert "Ask us for everything." in text and world.policy["rights"][0]["en"] in text
    docs = {r["event"]["doc"] for r in world.records(cookie)}
    assert len(docs) == 2
    old = world.records(cookie)[0]["event"]["doc"]
    diff = json.loads(world.get(f"policy/changes?since={old}").body)
    assert "rights 1 (en)" in {d["place"] for d in diff["differences"]}
    assert [c["version"] for c in diff["changes"]] == ["2026-12"]
    page = world.get(f"policy/changes?since={old}", None, HTML)
    assert b"<ins>Ask us for everything.</ins>" in page.body


def test_a_proof_for_anybody(world, tmp_path):
    cookie = world.visitor()
    leaf = world.records(cookie)[1]["leaf"]
    wait_for(lambda: world.signed() > leaf)
    answer = world.get(f"me/proof/{leaf}", cookie)
    assert answer.header("Content-Disposition").endswith('.tlog-proof"')
    proof = tmp_path / "mine.tlog-proof"
    proof.write_bytes(answer.body)
    key = answer.header("Consent-Log-Key")
    assert key == world.vkey()
    done = subprocess.run([str(BUILD / "consentctl"), "audit", "verify-proof", str(proof), "--vkey", key],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and '"act":"custom"' in done.stdout
    both = json.loads(world.get(f"me/proof/{leaf}?format=json", cookie).body)
    assert both["vkey"] == key and both["proof"].startswith("c2sp.org/tlog-proof@v1\n")
    other, _ = world.choose([])
    assert world.get(f"me/proof/{leaf}", other).status == 404  # of somebody else
    assert world.get("me/proof/nothing", cookie).status == 404
    assert world.get("me/proof/99999", cookie).status == 404


def test_an_objection_is_added(world):
    cookie = world.visitor()
    leaf = world.records(cookie)[0]["leaf"]
    answer = world.post("me/amend", {"leaf": leaf, "reason": "not_me"}, cookie)
    assert answer.status == 201 and json.loads(answer.body)["amends"] == leaf
    last = wait_for(lambda: len(r := world.records(cookie)) == 4 and r[-1])
    assert last["event"]["act"] == "amend" and last["event"]["prev"] == f"1:{leaf}"
    assert last["event"]["mth"] == "amend.not_me"
    form = world.post("me/amend", f"leaf={leaf}&reason=other".encode(), cookie, FORM)
    assert form.status == 303 and form.header("Location") == "/.consent/me"
    other, _ = world.choose([])
    assert world.post("me/amend", {"leaf": leaf, "reason": "other"}, other).status == 404
    for wrong in ({"leaf": leaf, "reason": "because"}, {"leaf": "x", "reason": "other"}, {"leaf": -1, "reason": "other"},
                  {}, [1]):
        assert world.post("me/amend", wrong, cookie).status == 400
    assert world.get("me/amend", cookie).status == 405


def test_erasure(world):
    cookie = world.visitor()
    page = world.get("me/erase", cookie, HTML)
    assert page.status == 200 and b'name="confirm" value="yes"' in page.body
    assert len(world.records(cookie)) == 3, "looking at the page erases nothing"
    assert world.post("me/erase", {"confirm": False}, cookie).status == 400
    done = world.post("me/erase", {"confirm": True}, cookie)
    receipt = json.loads(done.body)
    assert done.status == 202 and receipt["request"] and receipt["complete_by"] >= receipt["ts"] // 1000
    assert "Max-Age=0" in done.header("Set-Cookie") and done.header("Set-Cookie").startswith("consent=;")
    wait_for(lambda: world.get("me", cookie).status == 403)
    assert receipt["request"] in world.proxy.ctl("subject", "erasures").stdout


def test_erasure_by_form(world):
    cookie = world.visitor()
    done = world.post("me/erase", b"confirm=yes", cookie, FORM)
    assert done.status == 202 and done.header("Content-Type") == "text/html; charset=utf-8"
    assert b"are being erased" in done.body and "Max-Age=0" in done.header("Set-Cookie")


def test_other_sites_and_large_bodies(world):
    cookie = world.visitor()
    for headers in ([("Origin", "https://evil.example")], [("Sec-Fetch-Site", "cross-site")]):
        for path in ("me/erase", "me/amend"):
            assert world.post(path, {"confirm": True}, cookie, JSON + headers).status == 403
    assert world.post("me/erase", b"x" * 5000, cookie).status == 413
    assert len(world.records(cookie)) == 3


def test_too_many_questions(world):
    cookie = world.visitor()
    statuses = [world.get("me", cookie).status for _ in range(60)]
    assert statuses[0] == 200 and 429 in statuses
    refused = world.get("me", cookie)
    assert refused.status == 429 and refused.header("Retry-After")


def test_the_records_of_an_older_epoch(redis_world):
    world = redis_world
    cookie = world.visitor()
    assert publish(world, {**changed(world.policy), "epoch": 2}, "--yes").returncode == 0
    me = json.loads(world.get("me", cookie).body)
    assert me["decided"] is False and len(me["records"]) == 3
    newer, _ = world.choose(["analytics"], cookie)
    assert len(world.records(newer)) == 4, "the history goes on"


def test_redis_away_and_back(redis_world):
    world = redis_world
    cookie = world.visitor()
    wait_for(lambda: "lacks 0 records" in world.proxy.ctl("ledger", "status").stdout)
    world.redis.kill()
    assert len(world.records(cookie)) == 3, "a journal that was never trimmed has them all"
    cookie, _ = world.choose(["analytics"], cookie)
    assert len(world.records(cookie)) == 4
    world.redis.start()
    wait_for(lambda: len(world.records(cookie)) == 4)


def test_the_ledger_away(redis_world):
    world = redis_world
    cookie = world.visitor()
    pid = world.proxy.role("ledger")
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = world.get("me", cookie)
        page = world.get("me", cookie, HTML)
        erase = world.post("me/erase", {"confirm": True}, cookie)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (answer.status, page.status, erase.status) == (503, 503, 503)
    assert answer.header("Retry-After") and page.header("Retry-After")
    assert b"cannot be read at the moment" in page.body and b"In force now" in page.body


def test_a_stop_while_redis_is_asked(redis_world):
    world = redis_world
    cookie = world.visitor()
    wait_for(lambda: "lacks 0 records" in world.proxy.ctl("ledger", "status").stdout)
    ledger = world.proxy.role("ledger")
    os.kill(ledger, signal.SIGSTOP)
    os.kill(world.redis.process.pid, signal.SIGSTOP)
    try:
        answer = world.get("me", cookie)
        os.kill(ledger, signal.SIGCONT)  # it asks Redis, which does not answer
        world.proxy.stop()               # the sanitizer looks for what it left
    finally:
        os.kill(world.redis.process.pid, signal.SIGCONT)
    assert answer.status == 503


# --- the policy ------------------------------------------------------------------------------

def test_the_policy_for_everybody(world):
    page = world.get("policy", None, HTML)
    assert page.status == 200 and b"1. Introduction" in page.body
    document = world.get("policy")
    assert json.loads(document.body)["policy"] == world.policy
    assert hashlib.sha256(document.body).hexdigest() in world.documents()
    changes = json.loads(world.get("policy/changes").body)
    assert changes["version"] == "2026-11" and len(changes["changes"]) == 1
    assert json.loads(world.get("policy/changes?since=2026-11").body)["changes"] == []
    assert len(json.loads(world.get("policy/changes?since=2026-01-01").body)["changes"]) == 1
    assert world.get("policy/changes?since=never").status == 404
    unknown = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    assert world.get(f"policy/changes?since={unknown}").status == 404


NEWS = 'class="cnsnt-card cnsnt-news"'


def test_a_new_version_is_told_once(redis_world):
    world = redis_world
    cookie, _ = world.choose(["analytics"])
    view = [("Sec-Fetch-Dest", "document")] + HTML

    def look(cookies):
        return world.proxy.get("/", view + [("Cookie", cookies)])
    assert NEWS not in look(cookie).body.decode()
    assert publish(world, changed(world.policy), "--yes").returncode == 0
    first = wait_for(lambda: (a := look(cookie)) and NEWS in a.body.decode() and a)
    assert "We count differently." in first.body.decode() and first.header("Cache-Control") == "no-store"
    seen = [c for c in first.all("Set-Cookie") if c.startswith("consent-seen=")]
    assert len(seen) == 1 and "HttpOnly" in seen[0]
    again = look(f"{cookie}; {seen[0].split(';')[0]}")
    assert NEWS not in again.body.decode() and not again.all("Set-Cookie")
    stranger = world.proxy.get("/", view)
    assert NEWS not in stranger.body.decode() and not stranger.all("Set-Cookie"), "no cookie before a decision"
    since = int(seen[0].split(";")[0].split("=")[1])
    wait_for(lambda: time.time() >= since)  # cookies know whole seconds: who chose before this one may be told
    newcomer, _ = world.choose(["analytics"])
    assert NEWS not in look(newcomer).body.decode()
    upstream = world.origin.requests[-1]
    assert "consent-seen" not in (upstream.header("Cookie") or "")


def test_a_new_epoch_asks_again_with_its_summary(redis_world):
    world = redis_world
    cookie, _ = world.choose(["analytics"])
    view = [("Sec-Fetch-Dest", "document")] + HTML + [("Cookie", cookie)]
    assert publish(world, {**changed(world.policy), "epoch": 2}, "--yes").returncode == 0
    page = wait_for(lambda: (a := world.proxy.get("/", view).body.decode()) and "We count differently." in a and a)
    assert NEWS not in page and '&quot;decided&quot;:false' in page


# --- mailing lists -----------------------------------------------------------------------------

def link(world, address="Someone@Example.com", name="news"):
    done = world.proxy.ctl("unsubscribe", "link", address, name)
    assert done.returncode == 0, done.stderr
    found = re.search(r"<https://localhost/\.consent/(unsubscribe\?t=[\w-]+)>", done.stdout)
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in done.stdout
    return found.group(1)


ONE_CLICK = b"List-Unsubscribe=One-Click"


def test_unsubscribe(world):
    path = link(world)
    assert "example" not in path.lower()
    for _ in range(3):
        page = world.get(path, None, HTML)
        assert page.status == 200 and b"news" in page.body and b"One-Click" in page.body
        assert page.header("Cache-Control") == "no-store" and not page.all("Set-Cookie")
    assert world.proxy.ctl("unsubscribe", "check", "someone@example.com", "news").returncode == 0
    done = world.post(path, ONE_CLICK, None, FORM + [("Origin", "https://mail.example")])
    assert done.status == 200 and not done.all("Set-Cookie") and not done.header("Location")
    check = wait_for(lambda: (c := world.proxy.ctl("unsubscribe", "check", " SOMEONE@example.com ", "news"))
                     .returncode == 1 and c)
    assert check.stdout.startswith("unsubscribed 20")
    assert world.proxy.ctl("unsubscribe", "check", "someone@example.com", "offers").returncode == 0
    assert world.proxy.ctl("unsubscribe", "check", "other@example.com", "news").returncode == 0
    rows = [r["event"] for r in wait_for(lambda: world.rows("--act", "unsubscribe"))]
    assert len(rows) == 1 and rows[0]["mth"] == "mail.unsubscribe:news" and rows[0]["deny"] == ["marketing"]
    assert world.post(path, ONE_CLICK, None, FORM).status == 200
    assert len(world.rows("--act", "unsubscribe")) == 1, "the same link is the same event"
    if world.redis:
        supp = wait_for(lambda: resp(world.redis.socket, "HGETALL", "c:supp"))
        assert supp[0].endswith(b":news")
        resp(world.redis.socket, "FLUSHALL")
        wait_for(lambda: resp(world.redis.socket, "HGETALL", "c:supp") == supp)


def test_what_is_no_click(world):
    path = link(world)
    assert world.post(path, b"", None, FORM).status == 400
    assert world.post(path, b"List-Unsubscribe=No", None, FORM).status == 400
    boundary = [("Content-Type", "multipart/form-data; boundary=x")]
    multipart = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
    forged = path[:-2] + ("A" if path[-2] != "A" else "B") + path[-1]
    assert world.get(forged, None, HTML).status == 404
    assert world.post(forged, ONE_CLICK, None, FORM).status == 404
    assert world.get("unsubscribe", None, HTML).status == 404
    assert world.proxy.ctl("unsubscribe", "check", "someone@example.com", "news").returncode == 0
    assert world.post(path, multipart, None, boundary).status == 200
    wait_for(lambda: world.proxy.ctl("unsubscribe", "check", "someone@example.com", "news").returncode == 1)


def test_lists_for_programs(world):
    assert world.post(link(world, "a@example.com"), ONE_CLICK, None, FORM).status == 200
    wait_for(lambda: world.proxy.ctl("unsubscribe", "check", "a@example.com", "news").returncode == 1)
    done = subprocess.run([str(BUILD / "consentctl"), "-c", str(world.proxy.folder / "consentd.json"), "unsubscribe",
                           "filter", "news"], input="a@example.com\nb@example.com\nnobody\n\n", capture_output=True,
                          text=True, check=False)
    assert done.stdout == "b@example.com\n" and "nobody" in done.stderr
    lines = [json.loads(x) for x in world.proxy.ctl("unsubscribe", "export").stdout.splitlines()]
    assert len(lines) == 1 and lines[0]["list"] == "news" and "example" not in json.dumps(lines)
    assert world.proxy.ctl("unsubscribe", "link", "no address", "news").returncode == 2
    assert world.proxy.ctl("unsubscribe", "link", "a@example.com", "Upper Case").returncode == 2


def test_an_unsubscription_outlives_a_kill(redis_world):
    world = redis_world
    path = link(world)
    assert world.post(path, ONE_CLICK, None, FORM).status == 200
    wait_for(lambda: world.proxy.ctl("unsubscribe", "check", "someone@example.com", "news").returncode == 1)
    stored = world.proxy.folder / "state/unsubscribed.lst"
    world.proxy.stop()
    stored.write_bytes(stored.read_bytes()[:-5])  # the crash cut the line
    world.proxy.start()
    wait_for(lambda: world.proxy.ctl("unsubscribe", "check", "someone@example.com", "news").returncode == 1)
    wait_for(lambda: world.proxy.log().count("event=process.ready role=worker") == 2)


# --- Chromium ------------------------------------------------------------------------------------

def test_the_way_without_javascript(tmp_path):
    from chromium import By, chromium, until  # skips where there is no selenium
    w = World(tmp_path)
    with chromium(script=False) as browser:

        def text(selector):
            return browser.find_element(By.CSS_SELECTOR, selector).text
        site = f"http://localhost:{w.proxy.port}"
        browser.get(site + "/.consent/preferences")
        browser.find_element(By.CSS_SELECTOR, "[value=accept-all]").click()
        until(browser.get_cookies)
        browser.get(site + "/.consent/me")
        assert "Everything allowed" in browser.find_element(By.TAG_NAME, "table").text
        browser.find_element(By.CSS_SELECTOR, "form[action$='me/amend'] button").click()
        until(lambda: "Objection" in text("table"))
        browser.find_element(By.CSS_SELECTOR, "a[href$='me/erase']").click()
        browser.find_element(By.CSS_SELECTOR, "form[action$='me/erase'] button").click()
        assert "are being erased" in until(lambda: text("[role=status]"))
        assert browser.get_cookies() == []
        browser.get(site + "/.consent/me")
        assert "nothing to show" in browser.find_element(By.TAG_NAME, "main").text
        browser.get(site + "/.consent/" + link(w))
        browser.find_element(By.CSS_SELECTOR, "form button").click()
        assert "no more mail" in until(lambda: text("[role=status]"))
        wait_for(lambda: w.proxy.ctl("unsubscribe", "check", "someone@example.com", "news").returncode == 1)
    w.stop()
