"""The consent API: what a choice may look like, who may make it, and what the token is worth."""
import base64
import hmac
import html.parser
import json
import os
import re
import signal
import struct
import time

import pytest

from harness import Origin, Proxy, ROOT, Reader, http_response, wait_for

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def origin():
    server = Origin()
    server.routes["/"] = http_response(200, [("Content-Type", "text/html")], b"<html><body>hello</body></html>")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(origin, tmp_path_factory):
    daemon = Proxy(tmp_path_factory.mktemp("consent"), origin, tls=True)
    yield daemon
    daemon.stop()


def post(proxy, body, kind=JSON, headers=(), path="/.consent/choice", tls=False, host="localhost"):
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    body = body.encode() if isinstance(body, str) else body
    return proxy.get(path, [("Content-Type", kind), *headers], "POST", body, host, tls)


def choose(proxy, *grants, headers=(), **more):
    deny = [c for c in ("analytics", "marketing") if c not in grants]
    return post(proxy, {"grant": list(grants), "deny": deny, **more}, headers=headers)


def cookie_of(answer):
    return answer.header("Set-Cookie").split(";")[0]


def state(proxy, cookie=None, headers=()):
    headers = list(headers) + ([("Cookie", cookie)] if cookie else [])
    return json.loads(proxy.get("/.consent/state", headers).body)


def granted(proxy, cookie=None, headers=()):
    answer = state(proxy, cookie, headers)
    return sorted(name for name, yes in answer["grants"].items() if yes and name != "essential")


def read_policy():
    """conf/policy.json without its comments."""
    return json.loads(re.sub(r"(?m)^\s*//.*$", "", (ROOT / "conf/policy.json").read_text()))


# --- the choice -------------------------------------------------------------------------------

def test_state_before_a_choice(proxy):
    assert state(proxy)["decided"] is False
    assert granted(proxy) == []


@pytest.mark.parametrize("grants", [[], ["analytics"], ["marketing"], ["analytics", "marketing"]])
def test_a_choice_by_the_banner(proxy, grants):
    answer = choose(proxy, *grants, eid=base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("="))
    assert answer.status == 201
    receipt = json.loads(answer.body)
    assert receipt["recorded"] is True
    assert sorted(k for k, yes in receipt["grants"].items() if yes) == sorted(["essential", *grants])
    assert answer.header("Cache-Control") == "no-store"
    assert granted(proxy, cookie_of(answer)) == grants
    assert state(proxy, cookie_of(answer))["decided"] is True


def test_cookie_attributes(proxy):
    clear = choose(proxy).header("Set-Cookie")
    assert re.fullmatch(r"consent=[\w-]+; Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax", clear)
    secure = post(proxy, {"grant": [], "deny": []}, tls=True).header("Set-Cookie")
    assert re.fullmatch(r"__Host-consent=[\w-]+; Path=/; Max-Age=\d+; Secure; HttpOnly; SameSite=Lax", secure)
    assert 0 < int(re.search(r"Max-Age=(\d+)", clear)[1]) <= 180 * 86400


@pytest.mark.parametrize("data, grants, back", [
    ("action=accept-all", ["analytics", "marketing"], "/"),
    ("action=reject-all&analytics=on", [], "/"),
    ("action=save&analytics=on", ["analytics"], "/"),
    ("action=save", [], "/"),
    ("analytics=on&marketing=on&action=save&return=%2Fblog%3Fa%3D1", ["analytics", "marketing"], "/blog?a=1"),
    ("action=reject-all&return=//evil.example/", [], "/"),
    ("action=reject-all&return=/%5Cevil.example", [], "/"),
    ("action=reject-all&return=https://evil.example/", [], "/"),
    ("action=reject-all&return=/a%0d%0aX:1", [], "/"),
])
def test_a_choice_by_the_form(proxy, data, grants, back):
    answer = post(proxy, data, FORM, [("Origin", "http://localhost"), ("Sec-Fetch-Site", "same-origin")])
    assert (answer.status, answer.header("Location")) == (303, back)
    assert granted(proxy, cookie_of(answer)) == grants


def test_the_form_goes_back_to_its_page(proxy):
    answer = post(proxy, "action=reject-all", FORM, [("Referer", "http://localhost/blog/post?x=1")])
    assert answer.header("Location") == "/blog/post?x=1"
    answer = post(proxy, "action=reject-all", FORM, [("Referer", "https://elsewhere.example/blog")])
    assert answer.header("Location") == "/"


@pytest.mark.parametrize("body, kind, status", [
    ("", JSON, 400), ("{", JSON, 400), ("[]", JSON, 400), ('{"grant": "all"}', JSON, (400, 409)),
    ('{"grant": ["analytics"], "deny": ["analytics"]}', JSON, 400),
    ('{"grant": ["telepathy"], "deny": []}', JSON, 409),
    ('{"grant": [], "deny": [], "doc": "AAAAAAAAAAAAAAAAAAAAAA"}', JSON, 409),
    ('{"grant": [], "deny": [], "eid": "short"}', JSON, 400),
    ('{"grant": [1], "deny": []}', JSON, (400, 409)),
    ("[" * 3000, JSON, 400),
    ('{"grant": []}', "text/plain", 415), ("grant=all", "", 415),
    ("action=burn", FORM, 400), ("x" * 5000, FORM, 413), ("{" + " " * 5000 + "}", JSON, 413),
])
def test_what_is_no_choice(proxy, body, kind, status):
    answer = post(proxy, body, kind)
    assert answer.status in (status if isinstance(status, tuple) else (status,))
    assert answer.header("Set-Cookie") is None


@pytest.mark.parametrize("headers, allowed", [
    ([], True),
    ([("Origin", "http://localhost")], True),
    ([("Origin", "http://localhost"), ("Sec-Fetch-Site", "same-origin")], True),
    ([("Origin", "https://evil.example")], False),
    ([("Origin", "null")], False),
    ([("Origin", "null"), ("Sec-Fetch-Site", "same-origin")], True),   # a form under no-referrer
    ([("Origin", "null"), ("Sec-Fetch-Site", "cross-site")], False),
    ([("Origin", "http://localhost.evil.example")], False),
    ([("Origin", "http://localhost:81")], False),
    ([("Sec-Fetch-Site", "cross-site")], False),
    ([("Sec-Fetch-Site", "same-site")], False),
    ([("Sec-Fetch-Site", "none")], False),
    ([("Origin", "http://localhost"), ("Sec-Fetch-Site", "cross-site")], False),
])
@pytest.mark.parametrize("path", ["/.consent/choice", "/.consent/withdraw"])
def test_only_the_site_itself_may_post(proxy, path, headers, allowed):
    answer = post(proxy, "{}" if path.endswith("withdraw") else '{"grant":["analytics"],"deny":[]}', JSON, headers, path)
    assert (answer.status < 300) == allowed
    if not allowed:
        assert answer.status == 403
        assert answer.header("Set-Cookie") is None


@pytest.mark.parametrize("method, path, status, allow", [
    ("GET", "/.consent/choice", 405, "POST"),
    ("PUT", "/.consent/choice", 405, "POST"),
    ("POST", "/.consent/state", 405, "GET, HEAD"),
    ("DELETE", "/.consent/preferences", 405, "GET, HEAD"),
    ("GET", "/.consent/nothing", 404, None),
    ("GET", "/.consent/", 404, None),
    ("HEAD", "/.consent/preferences", 200, None),
])
def test_methods(proxy, origin, method, path, status, allow):
    before = len(origin.requests)
    answer = proxy.get(path, method=method)
    assert (answer.status, answer.header("Allow")) == (status, allow)
    assert len(origin.requests) == before


def test_the_same_event_twice_is_one(proxy):
    eid = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    first, again = choose(proxy, "analytics", eid=eid), choose(proxy, "analytics", eid=eid)
    assert (first.status, again.status) == (201, 200)
    one, two = json.loads(first.body), json.loads(again.body)
    assert (one["node"], one["leaf"], one["ts"]) == (two["node"], two["leaf"], two["ts"])


def test_a_known_visitor_stays_one_subject(proxy):
    def subject_of(cookie):
        raw = cookie.partition("=")[2]
        return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))[-64:]  # compared below by the audit
    cookie = cookie_of(choose(proxy, "analytics"))
    answer = choose(proxy, headers=[("Cookie", cookie)])
    leaf = json.loads(answer.body)["leaf"]
    rows = [json.loads(line) for line in proxy.ctl(
        "audit", "query", "--journal", "--limit", "2", "-o", "jsonl").stdout.splitlines()]
    assert [row["leaf"] for row in rows] == [leaf, leaf - 1]
    assert rows[0]["event"]["sub"] == rows[1]["event"]["sub"]
    assert rows[0]["event"]["act"] == "withdraw"
    assert subject_of(cookie)


# --- the token ----------------------------------------------------------------------------------

def test_every_changed_bit_is_undecided(proxy):
    """On one connection: each single bit of the decoded token, and each character of its text."""
    name, _, value = cookie_of(choose(proxy, "analytics", "marketing")).partition("=")
    raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    forged = set()
    for i in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[i // 8] ^= 1 << i % 8
        forged.add(base64.urlsafe_b64encode(changed).decode().rstrip("="))
    for i in range(len(value)):
        forged.add(value[:i] + ("A" if value[i] != "A" else "B") + value[i + 1:])
        forged.add(value[:i] + value[i + 1:])
    forged |= {value + "A", value + "=", "A" + value, value.lower(), value * 2, ""}
    forged.discard(value)
    with proxy.connect() as sock:
        reader = Reader(sock)
        for text in [value, *sorted(forged), value]:
            sock.sendall(f"GET /.consent/state HTTP/1.1\r\nHost: localhost\r\nCookie: {name}={text}\r\n\r\n".encode())
            answer = json.loads(reader.response().body)
            assert answer["decided"] is (text == value), text
            assert answer["grants"]["marketing"] is (text == value)


def signed_again(proxy, cookie, issued, expires):
    """The same token with other times, by the site's own key."""
    name, text = cookie.split("=", 1)
    raw = bytearray(base64.urlsafe_b64decode(text))
    ring = json.loads((proxy.folder / "keys.json").read_text())["keys"]
    [key] = [k["key"] for k in ring if k["use"] == "tok" and k["kid"] == raw[1]]
    key = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))

    def mac():
        return hmac.digest(key, b"consentd.token.v1\0" + bytes([len(b"localhost")]) + b"localhost" + raw[:43], "sha256")

    assert mac() == raw[43:], "LEDGER 1.1 is not how the site signs"
    struct.pack_into(">II", raw, 9, issued, expires)
    raw[43:] = mac()
    return f"{name}={base64.urlsafe_b64encode(raw).decode()}"


def test_a_token_of_the_future_is_undecided(proxy):
    """Signed by the site, and yet nothing: five minutes for clocks that differ, and no more."""
    cookie = cookie_of(choose(proxy, "analytics", "marketing"))
    now = int(time.time())
    for ahead, counts in ((0, True), (200, True), (400, False), (86400, False), (10 * 365 * 86400, False)):
        other = signed_again(proxy, cookie, now + ahead, now + ahead + 86400)
        assert ("marketing" in granted(proxy, other)) == counts, ahead
    assert "marketing" not in granted(proxy, signed_again(proxy, cookie, now - 86400, now - 1)), "expired"
    assert "marketing" not in granted(proxy, signed_again(proxy, cookie, now, now + 401 * 86400)), "longer than any may be"


def test_two_consent_cookies_that_differ_count_for_nothing(proxy):
    yes, no = cookie_of(choose(proxy, "analytics")), cookie_of(choose(proxy))
    assert state(proxy, f"{yes}; {no}")["decided"] is False
    assert state(proxy, f"{yes}; {yes}")["decided"] is True


def test_a_token_is_of_one_site_and_one_key(tmp_path_factory, proxy, origin):
    cookie = cookie_of(choose(proxy, "analytics"))
    elsewhere = Proxy(tmp_path_factory.mktemp("other"), origin)
    assert state(elsewhere, cookie)["decided"] is False  # other keys
    elsewhere.stop()
    site = {"name": "s", "origins": [origin.url], "policy": str(ROOT / "conf/policy.json")}
    folder = tmp_path_factory.mktemp("two")
    two = Proxy(folder, sites=[{**site, "hosts": ["localhost"]}, {**site, "name": "t", "hosts": ["shop.example"]}])
    token = cookie_of(choose(two, "analytics"))
    assert state(two, token)["decided"] is True
    answer = two.get("/.consent/state", [("Cookie", token)], host="shop.example")
    assert json.loads(answer.body)["decided"] is False
    two.stop()


def test_a_new_epoch_asks_again(tmp_path, origin):
    policy = read_policy()
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy))
    proxy = Proxy(tmp_path, origin, site={"policy": str(path)})
    cookie = cookie_of(choose(proxy, "analytics"))
    assert state(proxy, cookie)["decided"] is True
    policy["epoch"] += 1
    path.write_text(json.dumps(policy))
    assert proxy.hup()
    assert wait_for(lambda: state(proxy, cookie)["decided"] is False)
    proxy.stop()


def test_gpc_refuses_marketing_until_it_is_granted(proxy):
    signal_on = [("Sec-GPC", "1")]
    everything = cookie_of(choose(proxy, "analytics", "marketing"))
    assert granted(proxy, everything, signal_on) == ["analytics"]
    explicit = cookie_of(choose(proxy, "analytics", "marketing", headers=signal_on))
    assert granted(proxy, explicit, signal_on) == ["analytics", "marketing"]


@pytest.mark.parametrize("path, body, kind, grants", [
    ("choice", "action=allow&analytics=on", FORM, ["analytics"]),
    ("withdraw", {"purposes": ["analytics"]}, JSON, []),
])
def test_what_gpc_refuses_comes_back_with_no_other_choice(proxy, path, body, kind, grants):
    signal_on = [("Sec-GPC", "1")]
    before = cookie_of(choose(proxy, "marketing"))
    assert granted(proxy, before, signal_on) == []
    answer = post(proxy, body, kind, [*signal_on, ("Cookie", before)], f"/.consent/{path}")
    assert granted(proxy, cookie_of(answer), signal_on) == grants


# --- when the ledger does not answer -------------------------------------------------------------

def test_without_the_ledger(tmp_path, origin):
    """No grant without a record; refusals and withdrawals at once, also inside a mixed choice."""
    proxy = Proxy(tmp_path, origin)
    analytics = cookie_of(choose(proxy, "analytics"))
    marketing = cookie_of(choose(proxy, "marketing"))
    os.kill(proxy.role("ledger"), signal.SIGSTOP)
    answer = choose(proxy, "analytics")
    assert (answer.status, answer.header("Set-Cookie")) == (503, None)
    assert answer.header("Retry-After")
    # GPC refuses what was granted without it, so this is a new grant
    answer = choose(proxy, "marketing", headers=[("Cookie", marketing), ("Sec-GPC", "1")])
    assert (answer.status, answer.header("Set-Cookie")) == (503, None)
    by_form = post(proxy, "action=accept-all", FORM)
    assert (by_form.status, by_form.header("Set-Cookie")) == (503, None)
    assert by_form.header("Content-Type").startswith("text/html")
    refusal = choose(proxy)
    assert refusal.status == 200
    assert json.loads(refusal.body)["recorded"] is False
    assert state(proxy, cookie_of(refusal))["decided"] is True
    withdrawal = post(proxy, "", JSON, [("Cookie", analytics)], "/.consent/withdraw")
    assert withdrawal.status == 200
    assert granted(proxy, cookie_of(withdrawal)) == []
    swap = choose(proxy, "marketing", headers=[("Cookie", analytics), ("Cookie", "_ga=1")])
    assert swap.status == 503
    assert granted(proxy, cookie_of(swap)) == []
    assert any(field.startswith("_ga=;") for field in swap.all("Set-Cookie"))
    os.kill(proxy.role("ledger"), signal.SIGCONT)
    # what was kept is recorded now: refusal, withdrawal, and what the swap took back

    def kept():
        rows = proxy.ctl("audit", "query", "--journal", "-o", "jsonl").stdout.splitlines()
        acts = [json.loads(row)["event"].get("act") for row in rows]
        return acts.count("reject_all") >= 1 and acts.count("withdraw") >= 2
    wait_for(kept, 15)
    assert choose(proxy, "analytics").status == 201
    proxy.stop()


# --- the page -------------------------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.boxes, self.scripts, self.text, self.links = {}, 0, "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "input" and attrs.get("type") == "checkbox":
            self.boxes[attrs["name"]] = "checked" in attrs
        self.scripts += tag == "script"

    def handle_data(self, data):
        self.text += data


def test_the_preferences_page(proxy):
    answer = proxy.get("/.consent/preferences")
    page = Page(answer.body.decode())
    assert page.boxes == {"analytics": False, "marketing": False}
    policy = read_policy()
    for provider in ("Amazon Web Services", "Azure", "HubSpot", "Stripe", "PayPal", "Google Analytics"):
        assert provider in page.text
    for words in ("_ga (2\xa0years)", "PHPSESSID", "Legal basis"):
        assert words in page.text
    for path in (ROOT / "rules/sets").glob("*.json"):  # every rule set of a category of this policy
        rule = json.loads(path.read_text())
        categories = rule["category"] if isinstance(rule["category"], list) else [rule["category"]]
        known = {c["id"] for c in policy["categories"]}
        if known & set(categories):
            assert rule["name"] in page.text, rule["id"]
    cookie = cookie_of(choose(proxy, "analytics"))
    page = Page(proxy.get("/.consent/preferences", [("Cookie", cookie)]).body.decode())
    assert page.boxes == {"analytics": True, "marketing": False}


def test_assets_are_kept_for_ever_by_name(proxy):
    body = proxy.get("/").body.decode()
    for path in re.findall(r'"http://localhost(/\.consent/banner\.(?:css|js)\?v=\w+)"', body):
        answer = proxy.get(path)
        assert answer.status == 200
        assert "immutable" in answer.header("Cache-Control")
        assert answer.header("X-Content-Type-Options") == "nosniff"
