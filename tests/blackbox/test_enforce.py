"""What reaches the browser and the origin in each state of consent: cookies, codings, caches, types."""
import gzip
import json
import re
import subprocess
import threading
import xml.etree.ElementTree as xml
import zlib

import pytest

from harness import Cut, Origin, Proxy, Reader, http_response

TAG = b'<script async src="https://www.googletagmanager.com/gtag/js?id=G-TEST12345"></script>'
PIXEL = b'<img src="https://www.facebook.com/tr?id=1" alt="">'
PAGE = (b"<!DOCTYPE html><html><head><title>x</title>" + TAG + b"</head><body><p>text</p>" + PIXEL +
        b"<p>more</p></body></html>")
GONE = re.compile(rb"<!--consentd: removed ([\w-]+) \(([\w, -]+)\)-->")
HTML = ("Content-Type", "text/html; charset=utf-8")
BANNER = re.compile(rb'<div data-consent-banner="".*?</script></div>', re.S)


@pytest.fixture(scope="module")
def origin():
    server = Origin()
    server.routes["/"] = http_response(200, [HTML], PAGE)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(origin, tmp_path_factory):
    daemon = Proxy(tmp_path_factory.mktemp("enforce"), origin, site={"hosts": ["localhost", "www.shop.example.com"]})
    yield daemon
    daemon.stop()


def decide(proxy, *grants, gpc=False):
    """The Cookie field of a visitor who granted these."""
    headers = [("Content-Type", "application/json")] + ([("Sec-GPC", "1")] if gpc else [])
    answer = proxy.get("/.consent/choice", headers, "POST", json.dumps(
        {"grant": list(grants), "deny": [c for c in ("analytics", "marketing") if c not in grants]}).encode())
    assert answer.status in (200, 201), answer.body
    return answer.header("Set-Cookie").split(";")[0]


def plain(body):
    """Without the banner."""
    return BANNER.sub(b"", body, count=1)


def with_cookie(*parts):
    return [("Cookie", "; ".join(parts))]


# --- cookies ----------------------------------------------------------------------------------

def seen_cookies(proxy, origin, headers):
    proxy.get("/", headers)
    return origin.requests[-1].all("Cookie")


@pytest.mark.parametrize("sent, seen", [
    (["a=1; _ga=GA1.1; b=2"], ["a=1; b=2"]),
    (["_ga=GA1.1"], []),
    (["_ga=1; _gid=2; _fbp=3; _ga_ABCDEF1234=4; _gat_gtag_UA_1_1=5"], []),
    (["a=1;b=2;_ga=3;c=4"], ["a=1; b=2; c=4"]),
    (["a=1", "b=2; _fbp=x"], ["a=1; b=2"]),
    (["a=\"q; _ga=1\"; b=2"], ["a=\"q; b=2"]),
    (["a=1; hubspotutk=x; PHPSESSID=keep; _clck=y"], ["a=1; PHPSESSID=keep"]),
    (["consent=x; a=1; __Host-consent=y"], ["a=1"]),
    (["_GA=1; a=2"], ["_GA=1; a=2"]),  # names are case-sensitive: another cookie
    (["_ga; a=1"], ["a=1"]),
    (["a==_ga; b="], ["a==_ga; b="]),
])
def test_cookies_toward_the_origin(proxy, origin, sent, seen):
    assert seen_cookies(proxy, origin, [("Cookie", line) for line in sent]) == seen


def test_cookies_toward_the_origin_with_a_grant(proxy, origin):
    consent = decide(proxy, "analytics")
    assert seen_cookies(proxy, origin, with_cookie(consent, "_ga=1", "_fbp=2", "s=3")) == ["_ga=1; s=3"]
    assert origin.requests[-1].header("X-Consent") == "analytics=1, marketing=0"


def test_a_cookie_kept_back_counts_once(proxy):
    def counted():
        return json.loads(proxy.ctl("status", "--json").stdout)["metrics"]["cookies_stripped_total"]
    before = counted()
    proxy.get("/", [("Cookie", "_ga=1; a=2"), ("Cookie", "_fbp=3; b=4")])
    assert counted() == before + 2


def test_no_number_of_cookies_hides_one(proxy, origin):
    many = ["a=1"] * 9000
    assert seen_cookies(proxy, origin, [("Cookie", ";".join(many) + ";_ga=1")]) == ["; ".join(many)]


def test_a_forged_consent_header_is_replaced(proxy, origin):
    proxy.get("/", [("X-Consent", "analytics=1, marketing=1")])
    assert origin.requests[-1].all("X-Consent") == ["analytics=0, marketing=0"]


@pytest.mark.parametrize("field, passes", [
    ("_ga=GA1.1; Path=/; Max-Age=63072000", False),
    ("_fbp=fb.1; HttpOnly; Secure", False),
    (" _ga = x", False),
    ("_ga_ABC123=1", False),
    ("PHPSESSID=abc; path=/; HttpOnly", True),
    ("_gax=1", True),
    ("consent=forged; Path=/", False),
    ("__Host-consent=forged; Path=/; Secure", False),
    ("=_ga=1", False),  # nameless: sent back as "_ga=1"
    ("x=_ga", True),
])
def test_cookies_toward_the_browser(proxy, origin, field, passes):
    origin.routes["/set"] = http_response(200, [("Set-Cookie", field), ("Set-Cookie", "keep=1")], b"x")
    assert proxy.get("/set").all("Set-Cookie") == ([field] if passes else []) + ["keep=1"]


def test_set_cookie_follows_the_grants(proxy, origin):
    origin.routes["/set"] = http_response(200, [("Set-Cookie", "_ga=1"), ("Set-Cookie", "_fbp=1")], b"x")
    assert proxy.get("/set", with_cookie(decide(proxy, "analytics"))).all("Set-Cookie") == ["_ga=1"]
    assert proxy.get("/set", with_cookie(decide(proxy, "analytics", "marketing"))).all("Set-Cookie") == \
        ["_ga=1", "_fbp=1"]


def test_denied_cookies_are_deleted_on_documents(proxy, origin):
    answer = proxy.get("/", with_cookie("_ga=1", "a=2", "_fbp=3"), host="www.shop.example.com")
    deleted = answer.all("Set-Cookie")
    assert all("Max-Age=0" in field and "Path=/" in field for field in deleted)
    for name in ("_ga", "_fbp"):
        domains = {(re.search(r"Domain=([^;]+)", field) or [None, None])[1]
                   for field in deleted if field.startswith(name + "=;")}
        assert domains == {None, "www.shop.example.com", "shop.example.com", "example.com"}
    assert not any(field.startswith("a=") for field in deleted)
    origin.routes["/pic"] = http_response(200, [("Content-Type", "image/png")], b"\x89PNG")
    assert proxy.get("/pic", with_cookie("_ga=1")).all("Set-Cookie") == []


def test_many_denied_cookies_are_bounded(proxy):
    names = [f"_ga_A{i}" for i in range(300)]
    answer = proxy.get("/", with_cookie(*[f"{name}=1" for name in names]))
    assert answer.status == 200
    assert 0 < len(answer.all("Set-Cookie")) <= 200


# --- pages, codings, types ----------------------------------------------------------------------

def test_what_is_removed_says_so(proxy):
    body = plain(proxy.get("/").body)
    assert {m[0] for m in GONE.findall(body)} == {b"google-analytics", b"meta-pixel"}
    assert GONE.sub(b"", body) == PAGE.replace(TAG, b"").replace(PIXEL, b"")


def test_everything_granted_is_the_same_bytes(proxy):
    answer = proxy.get("/", with_cookie(decide(proxy, "analytics", "marketing")))
    assert plain(answer.body) == PAGE


def test_with_everything_granted_nothing_is_even_read(tmp_path, origin):
    """Markup so odd that a rewriter might touch it, and a coding that it could not decode."""
    proxy = Proxy(tmp_path, origin, site={"banner": False})
    cookie = with_cookie(decide(proxy, "analytics", "marketing"))
    odd = b"<svg><script><b>x</b></script><style></svg><select><script src=//hotjar.com/x.js>" + TAG + b"</select><frameset"
    origin.routes["/odd"] = http_response(200, [HTML, ("ETag", '"1"')], odd)
    answer = proxy.get("/odd", cookie)
    assert answer.body == odd
    assert answer.header("Content-Length") == str(len(odd))
    assert "Cookie" in answer.all("Vary")
    origin.routes["/coded"] = http_response(200, [HTML, ("Content-Encoding", "aes")], odd)
    assert proxy.get("/coded", cookie).body == odd
    assert proxy.get("/coded").status == 502
    proxy.stop()


def pack(coding, data):
    if coding == "gzip":
        return gzip.compress(data)
    if coding == "deflate":
        return zlib.compress(data)
    if coding == "raw-deflate":
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(data) + packer.flush()
    tool = {"br": ["brotli", "-c"], "zstd": ["zstd", "-qc"]}[coding]
    return subprocess.run(tool, input=data, capture_output=True, check=True).stdout


def unpack(coding, data):
    if coding is None:
        return data
    if coding == "gzip":
        return gzip.decompress(data)
    if coding == "deflate":
        return zlib.decompress(data)
    tool = {"br": ["brotli", "-dc"], "zstd": ["zstd", "-qdc"]}[coding]
    return subprocess.run(tool, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("stored", ["gzip", "deflate", "raw-deflate", "br", "zstd"])
@pytest.mark.parametrize("wanted", ["gzip", "deflate", "br", "zstd", "identity", None])
def test_codings(proxy, origin, stored, wanted):
    origin.routes["/coded"] = http_response(
        200, [HTML, ("Content-Encoding", stored.replace("raw-", ""))], pack(stored, PAGE * 50))
    answer = proxy.get("/coded", [("Accept-Encoding", wanted)] if wanted else [])
    assert answer.status == 200
    assert answer.header("Content-Encoding") == (wanted if wanted != "identity" else None)
    body = plain(unpack(answer.header("Content-Encoding"), answer.body))
    assert b"googletagmanager" not in body
    assert GONE.sub(b"", body) == (PAGE * 50).replace(TAG, b"").replace(PIXEL, b"")


def test_the_near_origin_is_asked_for_plain_text(proxy, origin):
    proxy.get("/", [("Accept-Encoding", "gzip, br"), ("Accept", "text/html")])
    assert origin.requests[-1].all("Accept-Encoding") == ["identity"]
    origin.routes["/x.js"] = http_response(200, [("Content-Type", "text/javascript")], b"1")
    proxy.get("/x.js", [("Accept-Encoding", "gzip, br"), ("Sec-Fetch-Dest", "script")])
    assert sorted(origin.requests[-1].header("Accept-Encoding").split(", ")) == ["br", "gzip"]


@pytest.mark.parametrize("headers, body", [
    ([("Content-Encoding", "compress")], PAGE),
    ([("Content-Encoding", "gzip, aes")], PAGE),
    ([("Content-Encoding", "gzip")], PAGE),
    ([("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")], gzip.compress(gzip.compress(PAGE))),
    ([("Content-Encoding", "identity"), ("Content-Encoding", "aes")], PAGE),
    ([("Content-Encoding", "gzip")], gzip.compress(PAGE)[:40]),
    ([("Content-Encoding", "br")], b"\xff" * 50),
    ([("Content-Type", "text/html; charset=iso-2022-jp")], PAGE),
])
def test_what_cannot_be_read_is_never_passed(proxy, origin, headers, body):
    if headers[0][0] != "Content-Type":
        headers = [HTML] + headers
    origin.routes["/odd"] = http_response(200, headers, body)
    answer = proxy.get("/odd")
    assert answer.status == 502
    assert b"googletagmanager" not in answer.body


def test_corrupt_behind_a_good_beginning_is_cut(proxy, origin):
    data = bytearray(gzip.compress(bytes(range(256)) * 2000 + PAGE * 2000, 1))
    data[len(data) // 2] ^= 0xff
    data[len(data) // 2 + 1] ^= 0xff
    origin.routes["/half"] = http_response(200, [HTML, ("Content-Encoding", "gzip")], bytes(data))
    try:
        answer = proxy.get("/half")
        assert answer.status == 502
    except Cut as cut:
        assert b"googletagmanager" not in cut.partial


def test_a_bomb_is_refused(proxy, origin):
    bomb = gzip.compress(b"a" * (1 << 28), 9)
    origin.routes["/bomb"] = http_response(200, [HTML, ("Content-Encoding", "gzip")], bomb)
    with pytest.raises((Cut, AssertionError)):
        answer = proxy.get("/bomb")
        assert answer.status != 502, "refused before the first byte is fine as well"
        assert len(answer.body) < (1 << 28)
        raise AssertionError("the bomb went through")


@pytest.mark.parametrize("headers, filtered", [
    ([("Content-Type", "text/html")], True),
    ([("Content-Type", "TEXT/HTML;Charset=UTF-8")], True),
    ([("Content-Type", "application/xhtml+xml")], True),
    ([("Content-Type", "text/plain"), ("Content-Type", "text/html")], True),
    ([("Content-Type", "text/plain, text/html")], True),
    ([], True),                                         # browsers sniff
    ([("Content-Type", "nonsense")], True),             # likewise
    ([("Content-Type", "text/html charset=utf-8")], True),   # a forgotten ';': browsers stop at the space
    ([("Content-Type", "text/html\tcharset=utf-8")], True),
    ([("Content-Type", "text/html(a comment)")], True),
    ([("Content-Type", "text/")], True),                # no type at all: sniffed
    ([("Content-Type", "/html")], True),
    ([("Content-Type", '"text/html"')], True),
    ([("Content-Type", "text/html, image/\xe9")], True),
    ([("X-Content-Type-Options", "nosniff")], False),   # and here they must not
    ([("Content-Type", "text/plain")], False),
    ([("Content-Type", "application/json")], False),
    ([("Content-Type", "image/png")], False),
    ([("Content-Type", "text/html"), ("Content-Disposition", "attachment; filename=x")], False),
])
def test_types(proxy, origin, headers, filtered):
    origin.routes["/typed"] = http_response(200, headers, PAGE)
    answer = proxy.get("/typed")
    if filtered:
        assert b"googletagmanager" not in answer.body
    else:
        assert answer.body == PAGE
        assert answer.header("Content-Length") == str(len(PAGE))


@pytest.mark.parametrize("dest, status", [("document", 502), ("iframe", 502), ("image", 200)])
def test_pages_that_replace_each_other_are_refused(proxy, origin, dest, status):
    """Firefox shows each part of such an answer as a page; a camera's pictures in <img> pass."""
    body = b"--b\r\nContent-Type: text/html\r\n\r\n" + PAGE + b"\r\n--b--\r\n"
    origin.routes["/parts"] = http_response(200, [("Content-Type", "Multipart/X-Mixed-Replace; boundary=b")], body)
    answer = proxy.get("/parts", [("Sec-Fetch-Dest", dest)])
    assert answer.status == status and (answer.body == body) == (status == 200)


@pytest.mark.parametrize("body", [b"\0\1\2" * 700, b"{\"a\": \"<script src='https://www.googletagmanager.com/gtag/js?id=G-1'>\"}",
                                  b"plain text <script>", b"%PDF-1.4 <html>", b" ", b"x"])
def test_untyped_bytes_that_are_no_page_pass(proxy, origin, body):
    origin.routes["/raw"] = http_response(200, [], body)
    assert proxy.get("/raw").body == body


def test_xhtml_stays_well_formed(proxy, origin):
    page = (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>'
            b'<body><p>a</p><img src="https://www.facebook.com/tr?id=1&amp;x=2" alt=""/></body></html>')
    origin.routes["/x"] = http_response(200, [("Content-Type", "application/xhtml+xml")], page)
    body = proxy.get("/x").body
    assert b"data-consent-banner" in body
    assert b"facebook" not in xml.tostring(xml.fromstring(body)).replace(b"meta-pixel", b"")
    assert b"Your privacy choices" in xml.tostring(xml.fromstring(body))


SVG = (b'<?xml version="1.0"?><s:svg xmlns:s="http://www.w3.org/2000/svg" xmlns:l="http://www.w3.org/1999/xlink">'
       b'<s:script l:href="https://www.googletagmanager.com/gtag/js?id=G-1"/><s:g/></s:svg>')


@pytest.mark.parametrize("kind", ["image/svg+xml", "text/xml", "application/xml; charset=utf-8", "application/x+xml", "text/xsl"])
def test_a_picture_that_is_a_document_is_filtered(proxy, origin, kind):
    origin.routes["/p.svg"] = http_response(200, [("Content-Type", kind)], SVG)
    shown = proxy.get("/p.svg", headers=[("Sec-Fetch-Dest", "document")]).body
    assert b"googletagmanager" not in shown and b"data-consent-banner" not in shown
    xml.fromstring(shown)
    assert proxy.get("/p.svg", headers=[("Sec-Fetch-Dest", "image")]).body == SVG


def test_an_encoding_of_an_xml_declaration_counts(proxy, origin):
    page = SVG.replace(b'"1.0"?', b'"1.0" encoding="ISO-2022-JP"?')
    origin.routes["/jp.svg"] = http_response(200, [("Content-Type", "image/svg+xml")], page)
    assert proxy.get("/jp.svg", headers=[("Sec-Fetch-Dest", "iframe")]).status == 502


@pytest.mark.parametrize("encoding, label", [("utf-16-le", "utf-16le"), ("utf-16-be", "utf-16be"),
                                             ("utf-16", ""), ("utf-16-le", "utf-16")])
def test_utf_16_is_filtered_as_utf_8(proxy, origin, encoding, label):
    page = PAGE.decode().replace("text", "t\u00e9xt \U0001f600")
    origin.routes["/wide"] = http_response(
        200, [("Content-Type", "text/html" + (f"; charset={label}" if label else ""))], page.encode(encoding))
    answer = proxy.get("/wide")
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    body = plain(answer.body)
    assert b"googletagmanager" not in body
    assert "t\u00e9xt \U0001f600" in body.decode()
    assert GONE.sub(b"", body).decode() == page.replace(TAG.decode(), "").replace(PIXEL.decode(), "")


def test_a_label_in_the_page_counts(proxy, origin):
    origin.routes["/jp"] = http_response(200, [("Content-Type", "text/html")],
                                         b"<html><head><meta charset=iso-2022-jp></head>" + PAGE)
    assert proxy.get("/jp").status == 502


def test_the_banner_is_right_in_any_encoding(proxy, origin):
    origin.routes["/old"] = http_response(200, [("Content-Type", "text/html; charset=windows-1251")],
                                          "<html><body><p>\u041f\u0440\u0438\u0432\u0435\u0442</p></body></html>".encode("cp1251"))
    body = proxy.get("/old", [("Accept-Language", "de")]).body
    assert "\u041f\u0440\u0438\u0432\u0435\u0442".encode("cp1251") in body
    assert all(byte < 128 for byte in BANNER.search(body).group(0))


@pytest.mark.parametrize("headers, shown", [
    ([], True),
    ([("Sec-Fetch-Dest", "document")], True),
    ([("Sec-Fetch-Dest", "iframe")], False),
    ([("Sec-Fetch-Dest", "empty")], False),
    ([("X-Requested-With", "XMLHttpRequest")], False),
])
def test_only_documents_get_the_banner(proxy, headers, shown):
    body = proxy.get("/", headers).body
    assert (b"data-consent-banner" in body) == shown
    assert b"googletagmanager" not in body


def test_head_has_the_page_s_fields_and_no_body(proxy, origin):
    answer = proxy.get("/", method="HEAD")
    assert answer.status == 200
    assert answer.body == b""
    assert answer.header("Content-Length") is None
    assert "Cookie" in ", ".join(answer.all("Vary"))


@pytest.mark.parametrize("kind, body", [
    ("text/html", PAGE), ("text/html", b"<p>nothing"), ("text/css", b"a{background:url(https://www.facebook.com/tr?id=1)}"),
    ("text/css", b"a{color:red}"), ("text/javascript", b"var a = 1"), ("image/svg+xml", b"<svg/>"), ("image/png", b"\x89PNG"),
    (None, PAGE), (None, b"\0\1"), ("application/json", b"{}")])
@pytest.mark.parametrize("grants", [(), ("analytics", "marketing")], ids=["none", "all"])
def test_head_says_nothing_that_get_does_not(proxy, origin, kind, body, grants):
    """RFC 9110 9.3.2: what only the body would tell may be left out, and must not be wrong."""
    answer = http_response(200, ([("Content-Type", kind)] if kind else []) + [
        ("ETag", '"v1"'), ("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT"), ("Accept-Ranges", "bytes"), ("Content-MD5", "x")], body)
    origin.routes["/h"] = lambda conn, request: answer if request.method == "GET" else answer[:-len(body)]
    cookie = with_cookie(decide(proxy, *grants)) if grants else []
    said = [{(n.lower(), v) for n, v in proxy.get("/h", cookie, method).headers if n != "Date"} for method in ("HEAD", "GET")]
    assert said[0] <= said[1] | {("content-length", str(len(body)))} and ("content-type", kind) in said[0] | {("content-type", None)}
    assert kind in ("image/png", "application/json") or grants or said[0] <= said[1]


def test_the_first_bytes_come_before_the_last(proxy, origin):
    """A page is streamed: what is decided goes out while the origin still writes."""
    gate = threading.Event()

    def slow(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n\r\n" + PAGE[:60])
        gate.wait(20)
        return PAGE[60:]
    origin.routes["/slow"] = slow
    with proxy.connect() as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reader = Reader(sock)
        reader.until(b"<title>")
        gate.set()
        assert b"</html>" in reader.rest()


@pytest.mark.parametrize("kind", ["image/svg+xml", "text/xml"])
def test_xml_meets_its_filtered_self_in_no_cache(proxy, origin, kind):
    """As a part of a page it is as the origin's, opened it is filtered: one name, two things."""
    origin.routes["/c.svg"] = http_response(200, [("Content-Type", kind), ("Cache-Control", "public, max-age=60"),
                                                  ("CDN-Cache-Control", "max-age=900")], SVG)
    for dest in ("image", "document", "empty", None):
        answer = proxy.get("/c.svg", headers=[("Sec-Fetch-Dest", dest)] if dest else [])
        assert answer.header("cache-control") == "private, max-age=60" and not answer.header("cdn-cache-control")
        vary = ", ".join(answer.all("vary")).lower()
        assert "sec-fetch-dest" in vary and "accept" in vary.replace("accept-encoding", "") and "cookie" in vary


# --- caches -----------------------------------------------------------------------------------

def test_caching_fields(proxy, origin):
    origin.routes["/c"] = http_response(
        200, [HTML, ("Cache-Control", "public, max-age=60, s-maxage=99"), ("ETag", '"v1"'),
              ("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT"), ("Accept-Ranges", "bytes")], PAGE)
    answer = proxy.get("/c")
    vary = ", ".join(answer.all("Vary")).lower()
    assert "cookie" in vary
    assert answer.header("Cache-Control") == "private, max-age=60"
    assert re.fullmatch(r'W/"v1~[0-9a-f]{16}"', answer.header("ETag"))
    assert answer.header("Last-Modified") is None
    assert answer.header("Accept-Ranges") is None
    origin.routes["/pic"] = http_response(200, [("Content-Type", "image/png"), ("ETag", '"p"'),
                                                ("Cache-Control", "public")], b"\x89PNG")
    picture = proxy.get("/pic")
    assert (picture.header("ETag"), picture.header("Cache-Control")) == ('"p"', "public")


@pytest.mark.parametrize("name", [
    "CDN-Cache-Control", "cloudflare-cdn-cache-control", "Surrogate-Control", "X-Accel-Expires", "Edge-Control"])
def test_no_cache_is_told_apart_to_keep_a_page(proxy, origin, name):
    """RFC 9213: such a field outweighs Cache-Control."""
    origin.routes["/t"] = http_response(200, [HTML, (name, "max-age=60"), ("ETag", '"v1"')], PAGE)
    assert proxy.get("/t").header(name) is None
    origin.routes["/t.png"] = http_response(200, [("Content-Type", "image/png"), (name, "max-age=60")], b"\x89PNG")
    assert proxy.get("/t.png").header(name) == "max-age=60"


def conditional(conn, request):
    """An origin that knows its own tag only."""
    tags = request.header("If-None-Match", "")
    if '"v1"' in tags:
        return http_response(304, [("ETag", '"v1"')])
    return http_response(200, [HTML, ("ETag", '"v1"')], PAGE)


def test_conditions_are_kept_apart_by_grants(proxy, origin):
    origin.routes["/e"] = conditional
    as_document = [("Accept", "text/html")]
    tag = proxy.get("/e", as_document).header("ETag")
    again = proxy.get("/e", as_document + [("If-None-Match", tag)])
    assert again.status == 304
    assert again.header("ETag") == tag
    for value in (f'"x", {tag}', tag.removeprefix("W/"), f'"a" , W/"b",{tag}'):
        assert proxy.get("/e", as_document + [("If-None-Match", value)]).status == 304
    # another visitor's page is another page
    cookie = with_cookie(decide(proxy, "analytics"))
    other = proxy.get("/e", as_document + cookie + [("If-None-Match", tag)])
    assert other.status == 200
    assert other.header("ETag") != tag
    assert b"googletagmanager" in other.body
    # the origin's own tag names no variant
    assert proxy.get("/e", as_document + [("If-None-Match", '"v1"')]).status == 200


def test_a_switch_of_rules_makes_stale_pages_new(proxy, origin):
    origin.routes["/e"] = conditional
    as_document = [("Accept", "text/html")]
    tag = proxy.get("/e", as_document).header("ETag")
    assert proxy.ctl("rules", "set", "google-analytics", "off").returncode == 0
    answer = proxy.get("/e", as_document + [("If-None-Match", tag)])
    assert proxy.ctl("rules", "set", "google-analytics", "enforce").returncode == 0
    assert answer.status == 200
    assert b"googletagmanager" in answer.body
    # enforce by hand or by default is the same page again
    assert proxy.get("/e", as_document + [("If-None-Match", tag)]).status == 304


def test_a_part_of_a_page_is_never_sent(proxy, origin):
    def ranged(conn, request):
        if request.header("Range"):
            return http_response(206, [HTML, ("Content-Range", f"bytes 60-99/{len(PAGE)}")], PAGE[60:100])
        return http_response(200, [HTML], PAGE)
    origin.routes["/r"] = ranged
    answer = proxy.get("/r", [("Range", "bytes=60-99")])
    assert answer.status == 200
    assert b"googletagmanager" not in answer.body
    origin.routes["/bin"] = lambda conn, request: http_response(
        206, [("Content-Type", "application/pdf"), ("Content-Range", "bytes 0-3/9")], b"%PDF")
    assert proxy.get("/bin", [("Range", "bytes=0-3")]).status == 206


# --- hints, endpoints, signals --------------------------------------------------------------------

def test_link_fields(proxy, origin):
    origin.routes["/l"] = http_response(200, [HTML, (
        "Link", '<https://connect.facebook.net>; rel=preconnect, </a.css>; rel=preload; as=style, '
                '<https://www.googletagmanager.com/gtag/js?id=G-1>; rel=preload; as=script'),
        ("Link", "<//static.hotjar.com>; rel=dns-prefetch"),
        ("Refresh", "5; url=https://www.facebook.com/tr?id=1")], PAGE)
    answer = proxy.get("/l")
    assert answer.all("Link") == ["</a.css>; rel=preload; as=style"]
    assert answer.header("Refresh") is None
    granted = proxy.get("/l", with_cookie(decide(proxy, "analytics", "marketing")))
    assert len(granted.all("Link")) == 2
    assert granted.header("Refresh") is not None


@pytest.mark.parametrize("field", [
    "0;https://www.facebook.com/tr?id=1",
    "0; https://www.facebook.com/tr?id=1&ev=PageView",
    "0, URL = 'https://www.facebook.com/tr?id=1'",
    " 0 https://www.facebook.com/tr",
])
def test_refresh_in_its_loose_forms(proxy, origin, field):
    origin.routes["/f"] = http_response(200, [HTML, ("Refresh", field)], PAGE)
    assert proxy.get("/f").header("Refresh") is None


def test_harmless_refresh_stays(proxy, origin):
    for field in ("300", "5; url=/next?a=b", "0;https://partner.example/x?u=1"):
        origin.routes["/f"] = http_response(200, [HTML, ("Refresh", field)], PAGE)
        assert proxy.get("/f").header("Refresh") == field


def test_a_link_hides_no_other(proxy, origin):
    origin.routes["/l"] = http_response(200, [HTML, (
        "Link", "</a.css>; rel=preload; title=a<b, <https://www.googletagmanager.com/gtag/js?id=G-1>; rel=preload; as=script")], PAGE)
    assert b"googletagmanager" not in proxy.get("/l").header("Link", "").encode()


@pytest.mark.parametrize("headers, passes", [
    ([("Sec-Fetch-Dest", "script")], False),
    ([("Sec-Fetch-Dest", "image")], False),
    ([("Sec-Fetch-Dest", "iframe")], False),
    ([("Accept", "image/avif,image/webp,*/*")], False),
    ([("Sec-Fetch-Dest", "document")], True),   # the visitor follows a link
    ([("Accept", "text/html,*/*")], True),
])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_of_a_page_s_parts_to_trackers(proxy, origin, headers, passes, status):
    target = "https://www.googletagmanager.com/gtag/js?id=G-TEST12345"
    origin.routes["/go"] = http_response(status, [("Location", target), ("Cache-Control", "public, max-age=60")])
    answer = proxy.get("/go", headers)
    assert answer.header("Location") == (target if passes else None)
    assert answer.status == (status if passes else 200 if ("Sec-Fetch-Dest", "script") in headers else 204)
    granted = proxy.get("/go", headers + with_cookie(decide(proxy, "analytics", "marketing")))
    assert (granted.status, granted.header("Location")) == (status, target)
    # a cache would give it to the parts of pages too
    assert [a.header("Cache-Control") for a in (answer, granted)] == ["no-store"] * 2
    origin.routes["/go"] = http_response(status, [("Location", "/app.js?a=1"), ("Cache-Control", "public, max-age=60")])
    answer = proxy.get("/go", headers)
    assert (answer.header("Location"), answer.header("Cache-Control")) == ("/app.js?a=1", "public, max-age=60")


def test_nothing_leads_around_the_proxy(proxy, origin):
    origin.routes["/a"] = http_response(200, [HTML, ("Alt-Svc", 'h2="backend.example:8443"; ma=86400')], PAGE)
    assert proxy.get("/a").header("Alt-Svc") is None


@pytest.mark.parametrize("name, value", [
    ("Reporting-Endpoints", 'a="https://static.hotjar.com/r", b="/own"'),
    ("Report-To", '{"group":"a","max_age":1,"endpoints":[{"url":"https:\\/\\/static.hotjar.com\\/r"}]}'),
    ("Speculation-Rules", '"https://static.hotjar.com/x.js"'),
])
def test_reports_to_trackers(proxy, origin, name, value):
    origin.routes["/rep"] = http_response(200, [HTML, (name, value)], PAGE)
    assert proxy.get("/rep").header(name) is None
    granted = proxy.get("/rep", with_cookie(decide(proxy, "analytics", "marketing")))
    assert granted.header(name) == value
    harmless = value.replace("static.hotjar.com", "www.shop.example.com")
    origin.routes["/rep"] = http_response(200, [HTML, (name, harmless)], PAGE)
    assert proxy.get("/rep").header(name) == harmless


@pytest.mark.parametrize("name", ["Content-Security-Policy", "Content-Security-Policy-Report-Only"])
def test_a_policy_reports_to_no_tracker(proxy, origin, name):
    """What it allows stays as it is: only the report would be a fetch."""
    rest = "script-src 'self' https://static.hotjar.com; img-src *"
    origin.routes["/csp"] = http_response(200, [HTML, (name, rest + "; report-uri https://static.hotjar.com/r")], PAGE)
    assert proxy.get("/csp").header(name) == rest
    two = rest + "; report-uri https://static.hotjar.com/r, default-src 'self'; connect-src *"
    origin.routes["/csp"] = http_response(200, [HTML, (name, two)], PAGE)
    assert proxy.get("/csp").header(name) == rest + ", default-src 'self'; connect-src *"
    origin.routes["/csp"] = http_response(200, [HTML, (name, rest + "; report-uri https://own.example/r")], PAGE)
    assert proxy.get("/csp").header(name) == rest + "; report-uri https://own.example/r"


def test_an_update_keeps_its_condition(proxy, origin):
    """Conditions of a page are rewritten for reading; a PUT that must not overwrite stays one."""
    proxy.get("/doc", [("Accept", "text/html"), ("If-None-Match", "*")], "PUT", b"x")
    assert origin.requests[-1].header("If-None-Match") == "*"


def test_early_hints(proxy, origin):
    def hinted(conn, request):
        conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: <https://connect.facebook.net>; rel=preconnect\r\n"
                     b"Link: </a.css>; rel=preload; as=style\r\n\r\n")
        return http_response(200, [HTML], PAGE)
    origin.routes["/h"] = hinted
    with proxy.connect() as sock:
        sock.sendall(b"GET /h HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reader = Reader(sock)
        early = reader.response()
        assert early.status == 103
        assert early.all("Link") == ["</a.css>; rel=preload; as=style"]


@pytest.mark.parametrize("path, status", [
    ("/g/collect?v=2&tid=G-ABC1234567", 204),
    ("/metrics/g/collect?v=2&tid=G-ABC1234567", 204),
    ("/x/../g/collect?tid=G-ABC1234567&v=2", 204),
    ("/a/gtag/js?id=G-ABC1234567", 200),
])
def test_trackers_behind_the_site_s_own_name(proxy, origin, path, status):
    before = len(origin.requests)
    answer = proxy.get(path, [("Sec-Fetch-Dest", "script" if status == 200 else "empty")])
    assert (answer.status, answer.body) == (status, b"")
    assert len(origin.requests) == before
    origin.routes[path.partition("?")[0]] = http_response(
        200, [("Content-Type", "text/javascript"), ("Cache-Control", "public, max-age=60")], b"tag()")
    granted = proxy.get(path, with_cookie(decide(proxy, "analytics")))
    assert granted.status == 200 and len(origin.requests) == before + 1
    # no cache gives it to those who have not granted it
    assert granted.header("Cache-Control") == "private, max-age=60" and "Cookie" in granted.all("Vary")


def test_ordinary_paths_are_not_taken_for_trackers(proxy, origin):
    for path in ("/g/collection?v=2", "/js/app.js?id=G-1", "/gallery/collect", "/collect?tid=1"):
        before = len(origin.requests)
        proxy.get(path)
        assert len(origin.requests) == before + 1


def test_gpc(proxy, origin):
    signal = ("Sec-GPC", "1")
    everything = decide(proxy, "analytics", "marketing")
    answer = proxy.get("/", with_cookie(everything) + [signal])
    assert origin.requests[-1].header("Sec-GPC") == "1"
    assert origin.requests[-1].header("X-Consent") == "analytics=1, marketing=0"
    assert b"facebook.com" not in answer.body
    assert b"googletagmanager" in answer.body
    # granted with the signal on: the visitor has spoken
    explicit = decide(proxy, "analytics", "marketing", gpc=True)
    assert b"facebook.com/tr" in proxy.get("/", with_cookie(explicit) + [signal]).body
    document = proxy.get("/.well-known/gpc.json")
    assert json.loads(document.body)["gpc"] is True
    assert document.header("Content-Type") == "application/json"


@pytest.mark.parametrize("config, cookie, seen", [
    ({"unknown_cookies": "deny"}, "mystery=1; PHPSESSID=2; _ga=3", ["PHPSESSID=2"]),
    ({"rule_sets": {"google-analytics": "off"}}, "_ga=1; _fbp=2", ["_ga=1"]),
    ({"rule_sets": {"google-analytics": "report"}}, "_ga=1; _fbp=2", ["_ga=1"]),
    ({"rules": [{"id": "own", "category": "essential", "cookies": [{"name": "_ga"}]}]}, "_ga=1; _fbp=2", ["_ga=1"]),
    ({"rules": [{"id": "own", "category": "marketing", "cookies": [{"prefix": "shop_"}]}]}, "shop_x=1; a=2", ["a=2"]),
])
def test_what_a_site_may_set(tmp_path, origin, config, cookie, seen):
    proxy = Proxy(tmp_path, origin, site=config)
    assert seen_cookies(proxy, origin, [("Cookie", cookie)]) == seen
    proxy.stop()


@pytest.mark.parametrize("setting", [{"guard": False}, {"signals": False}, {"banner": False}, {"max_age": "30d"}, {"prefix": "/.mine/"},
                                     {"languages": ["de"]}, {"unknown_cookies": "deny"}])
def test_a_setting_that_pages_show_makes_a_new_page(tmp_path, setting):
    """What a browser kept from before a reload is not said to be current after it; its files have other addresses."""
    origin = Origin()
    page = http_response(200, [("Content-Type", "text/html"), ("ETag", '"1"')], b"<!DOCTYPE html><head></head><body>x")
    origin.routes["/"] = lambda _, request: http_response(304) if request.header("If-None-Match") else page
    daemon = Proxy(tmp_path, origin)
    try:
        cookie = ("Cookie", decide(daemon, "analytics"))
        seen = [("Sec-Fetch-Dest", "document"), cookie]
        before = daemon.get("/", seen)
        condition = ("If-None-Match", before.header("ETag"))
        assert daemon.get("/", seen + [condition]).status == 304
        assert daemon.hup() and daemon.get("/", seen + [condition]).status == 304
        daemon.config["sites"][0].update(setting)
        daemon.rewrite(daemon.config)
        assert daemon.hup()
        after = daemon.get("/", seen + [condition])
        assert after.status == 200 and after.header("ETag") != before.header("ETag")
        address = re.compile(rb'src="([^"]*guard\.js[^"]*)"')
        old, new = (address.search(page.body) for page in (before, after))
        assert old and (new is None) == ("guard" in setting)
        assert new is None or new[1] != old[1]
    finally:
        daemon.stop()
        origin.stop()
