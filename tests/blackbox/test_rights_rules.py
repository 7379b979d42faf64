"""What holds for every page of a visitor's rights: methods, other sites, forged cookies, limits, caches, languages,
and RFC 8058 to the letter.

Table-driven, with curl for what browsers and mail providers send.
"""
import base64
import hashlib
import hmac
import json
import re
import struct
import subprocess
import time
import urllib.parse

import pytest

from harness import ROOT
from test_rights import FORM, HTML, JSON, ONE_CLICK, World, link

LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "pa")
READ = {"me", "me/record", "me/proof/0", "policy", "policy/changes"}
BOTH = {"me/erase", "unsubscribe"}
WRITE = {"me/amend", "choice", "withdraw"}
OWN = ("me", "me/record", "me/proof/0", "me/erase")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("rights"), redis=False, limits={"rights_per_second": 0})
    yield w
    w.stop()


@pytest.fixture(scope="module")
def cookie(world):
    return world.visitor()


def curl(world, path, *options):
    """Status, fields (lower case) and body, as curl gets them."""
    done = subprocess.run(["curl", "-sS", "-i", "--max-time", "20", *options,
                           f"http://127.0.0.1:{world.proxy.port}/.consent/{path}", "-H", "Host: localhost"],
                          capture_output=True, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    return int(first.split()[1]), {f.split(":", 1)[0].lower(): f.split(":", 1)[1].strip() for f in fields}, body


def is_private(answer):
    assert answer.header("Cache-Control") == "no-store", answer.status
    assert answer.header("X-Content-Type-Options") == "nosniff", answer.status
    return answer


@pytest.mark.parametrize("path", sorted(READ | BOTH | WRITE))
def test_other_methods_get_405_with_those_that_there_are(world, cookie, path):
    where = link(world) if path == "unsubscribe" else path
    want = "GET, HEAD" if path in READ else "GET, HEAD, POST" if path in BOTH else "POST"
    wrong = ["PUT", "DELETE", "PATCH", "OPTIONS"] + (["POST"] if path in READ else []) + \
        (["GET", "HEAD"] if path in WRITE else [])
    for method in wrong:
        answer = world.proxy.get("/.consent/" + where, [("Cookie", cookie)], method, b"")
        assert (answer.status, answer.header("Allow")) == (405, want), method
        assert answer.header("Cache-Control") == "no-store", method


@pytest.mark.parametrize("path", sorted(READ | BOTH))
def test_head_is_get_without_its_body(world, cookie, path):
    where = link(world) if path == "unsubscribe" else path
    got, head = (world.proxy.get("/.consent/" + where, HTML + [("Cookie", cookie)], m) for m in ("GET", "HEAD"))
    for name in ("Content-Type", "Content-Length", "Cache-Control", "Content-Security-Policy", "Content-Disposition"):
        assert head.header(name) == got.header(name), name
    assert head.status == got.status and head.body == b""
    is_private(got)
    is_private(head)


@pytest.mark.parametrize("accept", [[], HTML])
def test_who_holds_no_cookie_is_refused_everywhere(world, cookie, accept):
    name, _, token = cookie.partition("=")
    flipped = token[:50] + ("A" if token[50] != "A" else "B") + token[51:]
    for presented in (None, f"{name}={flipped}", f"{name}={token[:-1]}", f"{name}=", f"{name}={token}; {name}={flipped}"):
        for path in OWN:
            if path == "me/erase" and not accept:
                continue  # a page alone
            assert is_private(world.get(path, presented, accept)).status == 403, (path, presented)
        for path, body in (("me/erase", b"confirm=yes"), ("me/amend", b"leaf=0&reason=other")):
            assert is_private(world.post(path, body, presented, FORM)).status == 403, (path, presented)
            assert is_private(world.post(path, {"confirm": True}, presented)).status == 403
    assert len(world.records(cookie)) == 3


def signed_token(world, **changes):
    """A token by LEDGER.md 1.1, made here with the deployment's own key."""
    ring = json.loads((world.proxy.folder / "keys.json").read_text())["keys"]
    [key] = [k for k in ring if k["use"] == "tok" and k["state"] == "active"]
    now = int(time.time())
    claims = {"version": 1, "kid": key["kid"], "flags": 2, "grants": 3, "epoch": world.policy["epoch"], "issued": now,
              "expires": now + 3600, "subject": b"\xa5" * 16, "node": 1, "leaf": 0, "reserved": 0, "site": "localhost",
              "secret": base64.urlsafe_b64decode(key["key"] + "==")} | changes
    payload = struct.pack(">BBBHIII16sB7sH", *(claims[k] for k in ("version", "kid", "flags", "grants", "epoch",
                          "issued", "expires", "subject", "node")), claims["leaf"].to_bytes(7, "big"),
                          claims["reserved"])
    site = claims["site"].encode()
    mac = hmac.new(claims["secret"], b"consentd.token.v1\0" + bytes([len(site)]) + site + payload, hashlib.sha256)
    return "consent=" + base64.urlsafe_b64encode(payload + mac.digest()).decode()


def test_a_cookie_opens_what_the_format_says_and_nothing_else(world):
    assert world.get("me", signed_token(world)).status == 200
    now = int(time.time())
    for changes in ({"expires": now - 1}, {"issued": now + 400}, {"issued": now - 10, "expires": now + 401 * 86400},
                    {"reserved": 1}, {"grants": 2}, {"version": 2}, {"kid": 77}, {"site": "www.example.com"},
                    {"secret": bytes(32)}, {"expires": now + 100, "issued": now + 200}):
        token = signed_token(world, **changes)
        for path in ("me", "me/record", "me/proof/0"):
            assert is_private(world.get(path, token)).status == 403, (changes, path)
        assert is_private(world.post("me/erase", {"confirm": True}, token)).status == 403, changes
    # of an older epoch it grants nothing, and is still its holder's key
    assert world.get("me", signed_token(world, epoch=0)).status == 200
    assert json.loads(world.get("me", signed_token(world, epoch=0)).body)["grants"]["analytics"] is False


@pytest.mark.parametrize("foreign", [
    [("Origin", "https://evil.example")], [("Origin", "null")], [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "same-site")], [("Sec-Fetch-Site", "none")],
    [("Origin", "http://localhost.evil.example")], [("Origin", "http://localhost:1")]])
def test_other_sites_can_ask_for_nothing(world, cookie, foreign):
    for path, body in (("me/erase", b"confirm=yes"), ("me/amend", b"leaf=0&reason=other"), ("withdraw", b""),
                       ("choice", b"action=reject-all")):
        answer = world.post(path, body, cookie, FORM + foreign)
        assert answer.status == 403 and answer.header("Cache-Control") == "no-store", path
        assert not answer.all("Set-Cookie"), path
    assert len(world.records(cookie)) == 3


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "", "application/jsonx"])
def test_what_a_form_of_another_site_may_send_is_no_json(world, cookie, kind):
    headers = [("Content-Type", kind)] if kind else []
    for path, body in (("me/erase", {"confirm": True}), ("me/amend", {"leaf": 0, "reason": "other"})):
        assert is_private(world.post(path, body, cookie, headers)).status == 415, path
    assert len(world.records(cookie)) == 3


def test_errors_are_pages_for_people_and_json_for_programs(world, cookie):
    for path, body in (("me/erase", b"confirm=no"), ("me/amend", b"leaf=x&reason=other"), ("me/amend", b"leaf=1"),
                       ("me/amend", b"leaf=9999&reason=other")):
        page = is_private(world.post(path, body, cookie, FORM))
        assert page.status in (400, 404) and page.header("Content-Type").startswith("text/html"), path
        assert b"<h1" in page.body and b"<script" not in page.body
        told = is_private(world.post(path, {}, cookie))
        assert told.status == 400 and json.loads(told.body)["error"]
    assert is_private(world.get("me/proof/x", cookie)).status == 404
    assert is_private(world.get("me/proof/999999", cookie)).status == 404
    assert is_private(world.get("me/record?format=xml", cookie)).status == 400
    assert world.post("me/erase", b"x" * 5000, cookie).header("Cache-Control") == "no-store"
    assert world.get("nothing/here", cookie).header("Cache-Control") == "no-store"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_pages_in_every_language_without_script(world, cookie, lang):
    words = json.loads((ROOT / f"proxy/web/i18n/{lang}.json").read_text())
    headers = HTML + [("Accept-Language", lang)]
    for path, key, who in (("me", "me_title", cookie), ("me", "me_none", None), ("me/erase", "me_erase_text", cookie),
                           (link(world), "unsub_title", None), (link(world)[:-3] + "AAA", "unsub_bad", None),
                           ("policy", None, None), ("policy/changes", None, None), ("preferences", "title", None)):
        page = world.get(path, who, headers)
        text = page.body.decode()
        assert page.header("Cache-Control") == "no-store" or path.startswith("policy"), path
        assert re.search(rf'<html lang="{lang}"' + (' dir="rtl"' if lang == "ar" else ""), text), path
        assert "<script" not in text and " style=" not in text and " on" + "click" not in text, path
        assert page.header("Content-Security-Policy") is None or "script-src" not in page.header("Content-Security-Policy")
        if key is not None:
            plain = words[key].split("{")[0].strip()
            assert plain in unescaped(text), (path, key)


def unescaped(text):
    import html
    return html.unescape(text)


def test_too_many_questions_say_when_to_come_back(tmp_path):
    w = World(tmp_path, redis=False, limits={"rights_per_second": 1, "rights_burst": 3})
    try:
        mine, _ = w.choose(["analytics"])
        answers = [w.get("me", mine) for _ in range(12)]
        refused = [a for a in answers if a.status == 429]
        assert len(refused) >= 12 - 2 * 4  # two workers, each with its own count
        for answer in refused:
            assert 1 <= int(is_private(answer).header("Retry-After")) <= 3
        page = next(a for a in (w.get("me", mine, HTML + [("Accept-Language", "de")]) for _ in range(12))
                    if a.status == 429)
        assert page.header("Content-Type").startswith("text/html") and '<html lang="de"' in page.body.decode()
        forged = [w.get("unsubscribe?t=" + "A" * 60, None, HTML).status for _ in range(12)]
        assert 429 in forged
        path = link(w)
        assert w.post(path, ONE_CLICK, None, FORM).status == 200, "who has the link is never held up"
        assert w.post("withdraw", b"", mine, FORM).status in (201, 303)
    finally:
        w.stop()


def test_too_many_choices_say_when_to_come_back(tmp_path):
    w = World(tmp_path, redis=False, limits={"choices_per_second": 1, "choices_burst": 3})
    german = FORM + [("Accept-Language", "de")]
    try:
        foreign = [w.post("choice", b"action=reject-all", None, FORM + [("Origin", "https://evil.example")]).status
                   for _ in range(12)]
        assert set(foreign) == {403}, "another site's do not count"
        answers = [w.post("choice", b"action=reject-all", None, german) for _ in range(16)]
        made = [a for a in answers if a.status == 303]
        refused = [a for a in answers if a.status == 429]
        assert len(made) + len(refused) == 16 and len(made) >= 3 and len(refused) >= 4
        for answer in refused:
            assert 1 <= int(is_private(answer).header("Retry-After")) <= 3 and not answer.all("Set-Cookie")
            assert '<html lang="de"' in answer.body.decode()
        told = next(a for a in (w.post("withdraw", {}) for _ in range(16)) if a.status == 429)
        assert json.loads(told.body)["error"]
        assert w.get("me", None, HTML).status == 403, "what one asks has its own budget"
    finally:
        w.stop()


# --- RFC 8058 -------------------------------------------------------------------------------------

def unsubscribed(world, address):
    return world.proxy.ctl("unsubscribe", "check", address, "news").returncode == 1


def test_what_mail_providers_send(world):
    urlencoded, multipart, both = (f"{n}@example.com" for n in "abc")
    status, fields, _ = curl(world, link(world, urlencoded), "-d", "List-Unsubscribe=One-Click")
    assert status == 200 and fields["cache-control"] == "no-store" and "set-cookie" not in fields
    status, fields, _ = curl(world, link(world, multipart), "-F", "List-Unsubscribe=One-Click")
    assert status == 200 and "location" not in fields
    for _ in range(2):  # a provider that tries again
        assert curl(world, link(world, both), "-d", "List-Unsubscribe=One-Click", "-H", "Origin: null", "-H",
                    "Sec-Fetch-Site: cross-site", "-H", "Cookie: consent=" + "A" * 100)[0] == 200
    assert all(unsubscribed(world, who) for who in (urlencoded, multipart, both))
    rows = [row["event"] for row in world.rows("--act", "unsubscribe") if "event" in row]
    assert len(rows) == 3 and len({row["sub"] for row in rows}) == 3


@pytest.mark.parametrize("options", [
    ["-d", ""], ["-d", "List-Unsubscribe=one-click"], ["-d", "List-Unsubscribe=One-Click2"],
    ["-d", "x=One-Click"], ["-F", "x=One-Click"], ["-F", "List-Unsubscribe=No", "-F", "x=One-Click"],
    ["-F", "List-Unsubscribe=One-Click2"], ["-H", "Content-Type: text/plain", "-d", "List-Unsubscribe=One-Click"],
    ["-H", "Content-Type: multipart/form-data", "-d", "One-Click"],
    ["-H", "Content-Type: multipart/form-data; boundary=x", "-d", "--x\r\nList-Unsubscribe\r\nOne-Click\r\n--x--"]])
def test_what_is_not_the_one_click_changes_nothing(world, options):
    status, fields, _ = curl(world, link(world, "stays@example.com"), *options)
    assert status in (400, 415) and fields["cache-control"] == "no-store"
    assert not unsubscribed(world, "stays@example.com")


def test_only_post_unsubscribes(world):
    path = link(world, "reader@example.com")
    for options in (["-G"], ["-I"], ["-X", "PUT", "-d", "List-Unsubscribe=One-Click"],
                    ["-G", "-d", "List-Unsubscribe=One-Click"]):
        curl(world, path, *options)
    query = urllib.parse.quote("List-Unsubscribe=One-Click")
    curl(world, path + "&List-Unsubscribe=One-Click", "-d", "")
    curl(world, path + "&" + query)
    assert not unsubscribed(world, "reader@example.com")
