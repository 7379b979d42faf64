"""One request in is one request out, and one answer: what HTTP asks of an intermediary, byte for byte.

Each case is what goes over a connection, what must come back, and what the origin may have seen.
"""
import re
import socket
import threading
import time

import pytest

from harness import Origin, Proxy, http_response

H = b"Host: localhost\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def statuses(out):
    """The status codes of all final answers in what came back; bodies of the tests hold no such line."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", out)]


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    proxy = Proxy(tmp_path_factory.mktemp("exchange"), origin, limits={"body_timeout": "2s"},
                  site={"response_timeout": "2s", "banner": False, "guard": False})
    yield proxy
    proxy.stop()


@pytest.fixture(autouse=True)
def fresh(origin):
    origin.requests.clear()
    origin.routes.clear()
    origin.raw.clear()


def targets(origin):
    return [r.target for r in origin.requests]


# --- requests: (what is sent, answers, targets the origin saw) ---

REQUESTS = {
    # a body is a body for every method, and what follows it is the next request
    **{f"{m} with a length": (b"%s /a HTTP/1.1\r\n%sContent-Length: 3\r\n\r\nabc" % (m.encode(), H) + LAST,
                              [200, 200], ["/a", "/last"])
       for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "PROPFIND")},
    **{f"{m} in chunks": (b"%s /a HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" %
                          (m.encode(), H) + LAST, [200, 200], ["/a", "/last"])
       for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "PROPFIND")},
    "a body that looks like a request": (b"POST /a HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (H, len(NEXT)) + NEXT + LAST,
                                         [200, 200], ["/a", "/last"]),
    # after close nothing is executed
    **{f"pipelined behind {name}": (b"GET /a HTTP/1.1\r\n%s%s\r\n\r\n" % (H, field) + NEXT, [200], ["/a"])
       for name, field in {"close": b"Connection: close", "CLOSE": b"Connection: CLOSE",
                           "a list": b"Connection: x, close", "two fields": b"Connection: x\r\nConnection: close",
                           "tabs": b"Connection:\t close\t"}.items()},
    "pipelined behind 1.0": (b"GET /a HTTP/1.0\r\n%s\r\n" % H + NEXT, [200], ["/a"]),
    "1.0 with keep-alive": (b"GET /a HTTP/1.0\r\n%sConnection: keep-alive\r\n\r\n" % H + LAST, [200, 200], ["/a", "/last"]),
    "1.0 with both": (b"GET /a HTTP/1.0\r\n%sConnection: keep-alive, close\r\n\r\n" % H + NEXT, [200], ["/a"]),
    # nothing hidden behind bad framing
    **{f"hidden behind {name}": (b"POST /a HTTP/1.1\r\n%s%s\r\n\r\n0\r\n\r\n" % (H, fields) + NEXT, [code], [])
       for name, code, fields in [
           ("both", 400, b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
           ("both, the other way", 400, b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
           ("two lengths", 400, b"Content-Length: 5\r\nContent-Length: 6"),
           ("the same length twice", 400, b"Content-Length: 5\r\nContent-Length: 5"),
           ("a list of lengths", 400, b"Content-Length: 5, 5"),
           ("chunked twice", 400, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
           ("a list of codings", (400, 501), b"Transfer-Encoding: gzip, chunked"),
           ("chunked, then identity", (400, 501), b"Transfer-Encoding: chunked, identity"),
           ("identity", (400, 501), b"Transfer-Encoding: identity"),
           ("a quoted coding", (400, 501), b'Transfer-Encoding: "chunked"'),
           ("a parameter", (400, 501), b"Transfer-Encoding: chunked;a=b"),
           ("a vertical tab", (400, 501), b"Transfer-Encoding: \x0bchunked"),
           ("a space before the colon", 400, b"Transfer-Encoding : chunked"),
           ("a folded coding", 400, b"Transfer-Encoding:\r\n chunked"),
           ("a folded length", 400, b"Content-Length:\r\n 5"),
           ("x-chunked", (400, 501), b"Transfer-Encoding: xchunked"),
           ("a length with a sign", 400, b"Content-Length: +5"),
           ("a hexadecimal length", 400, b"Content-Length: 0x5"),
           ("a length with an underscore", 400, b"Content-Length: 0_5"),
           ("a huge length", 400, b"Content-Length: 18446744073709551621"),
           ("an empty length", 400, b"Content-Length: "),
           ("an empty coding", (400, 501), b"Transfer-Encoding: "),
           ("a bare LF", 400, b"X: y\nContent-Length: 5"),
           ("a bare CR", 400, b"X: y\rContent-Length: 5"),
           ("a NUL", 400, b"X: y\0"),
       ]},
    "chunks in 1.0": (b"POST /a HTTP/1.0\r\n%sTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % H + NEXT, [400], []),
    # targets and Host
    "absolute form wins over Host": (b"GET http://localhost/abs HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n",
                                     [200], ["/abs"]),
    "absolute form for another site": (b"GET http://elsewhere.example/ HTTP/1.1\r\n%sConnection: close\r\n\r\n" % H, [421], []),
    "absolute form without a path": (b"GET http://localhost HTTP/1.1\r\n%sConnection: close\r\n\r\n" % H, [200], ["/"]),
    "absolute form with a query only": (b"GET http://localhost?a=b HTTP/1.1\r\n%sConnection: close\r\n\r\n" % H, [200], ["/?a=b"]),
    "absolute form without Host": (b"GET http://localhost/ HTTP/1.1\r\n\r\n", [400], []),
    "absolute form with userinfo": (b"GET http://u@localhost/ HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "another scheme": (b"GET ftp://localhost/ HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "no slash": (b"GET a HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "authority form": (b"GET localhost:80 HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "a star for GET": (b"GET * HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "a star for OPTIONS": (b"OPTIONS * HTTP/1.1\r\n%sConnection: close\r\n\r\n" % H, [200], ["*"]),
    "a fragment": (b"GET /a#b HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "the path as it is": (b"GET /%2e%2E/./../a//b;c?d%00e=%zz HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n", [200],
                          ["/%2e%2E/./../a//b;c?d%00e=%zz"]),
    "two spaces": (b"GET  / HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "a tab": (b"GET\t/ HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "a space in the target": (b"GET /a b HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "HTTP/0.9": (b"GET /\r\n\r\n", [400], []),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n%s\r\n" % H, [505], []),
    "HTTP/1.10": (b"GET / HTTP/1.10\r\n%s\r\n" % H, [400], []),
    "a lower-case version": (b"GET / http/1.1\r\n%s\r\n" % H, [400], []),
    "Host twice": (b"GET / HTTP/1.1\r\n%s%s\r\n" % (H, H), [400], []),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", [400], []),
    "an empty Host": (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", [400], []),
    "a list of Hosts": (b"GET / HTTP/1.1\r\nHost: localhost, elsewhere\r\n\r\n", [400], []),
    "Host with a path": (b"GET / HTTP/1.1\r\nHost: localhost/a\r\n\r\n", [400], []),
    "Host with a bad port": (b"GET / HTTP/1.1\r\nHost: localhost:99999\r\n\r\n", [400], []),
    "Host with a port": (b"GET /p HTTP/1.1\r\nHost: LOCALHOST:8080\r\nConnection: close\r\n\r\n", [200], ["/p"]),
    "Host with a dot": (b"GET /p HTTP/1.1\r\nHost: localhost.\r\nConnection: close\r\n\r\n", [200], ["/p"]),
    "a field before Host": (b"GET / HTTP/1.1\r\n Host: elsewhere\r\n%s\r\n" % H, [400], []),
    "X-Forwarded-Host does not choose": (b"GET /p HTTP/1.1\r\n%sX-Forwarded-Host: elsewhere\r\nConnection: close\r\n\r\n" % H,
                                         [200], ["/p"]),
    # methods
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\n%s\r\n" % H + NEXT, [405], []),
    "TRACE": (b"TRACE / HTTP/1.1\r\n%s\r\n" % H + NEXT, [405], []),
    "an unknown method": (b"FROB /f HTTP/1.1\r\n%sConnection: close\r\n\r\n" % H, [200], ["/f"]),
    "a method with a bad byte": (b"G@T / HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "a very long method": (b"G" * 100 + b" / HTTP/1.1\r\n%s\r\n" % H, [501], []),
    # Max-Forwards
    "Max-Forwards 0": (b"OPTIONS / HTTP/1.1\r\n%sMax-Forwards: 0\r\nConnection: close\r\n\r\n" % H, [200], []),
    "Max-Forwards 0 for a star": (b"OPTIONS * HTTP/1.1\r\n%sMax-Forwards: 0\r\nConnection: close\r\n\r\n" % H, [200], []),
    "Max-Forwards 0 of GET means nothing": (b"GET /m HTTP/1.1\r\n%sMax-Forwards: 0\r\nConnection: close\r\n\r\n" % H, [200], ["/m"]),
    # Expect
    "another expectation": (b"POST /e HTTP/1.1\r\n%sExpect: 200-ok\r\nContent-Length: 0\r\n\r\n" % H + NEXT, [417], []),
    "100-continue of 1.0": (b"POST /e HTTP/1.0\r\n%sExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" % H, [200], ["/e"]),
    "100-continue without a body": (b"GET /e HTTP/1.1\r\n%sExpect: 100-continue\r\nConnection: close\r\n\r\n" % H, [200], ["/e"]),
    # upgrades
    "upgrade with a body": (b"GET /u HTTP/1.1\r\n%sConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n" %
                            (H, len(NEXT)) + NEXT + LAST, [200, 200], ["/u", "/last"]),
    "upgrade to h2c": (b"GET /u HTTP/1.1\r\n%sConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
                       b"\r\n" % H + LAST, [200, 200], ["/u", "/last"]),
    "upgrade that is refused": (b"GET /u HTTP/1.1\r\n%sConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" % H + LAST, [200, 200],
                                ["/u", "/last"]),
    "upgrade of a POST": (b"POST /u HTTP/1.1\r\n%sConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n" % H + LAST,
                          [200, 200], ["/u", "/last"]),
    # limits
    "a long target": (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n%s\r\n" % H, [414], []),
    "a long field": (b"GET / HTTP/1.1\r\n%sX: %s\r\n\r\n" % (H, b"x" * 70000), [431], []),
    "many fields": (b"GET / HTTP/1.1\r\n%s%s\r\n" % (H, b"X: y\r\n" * 300), [431], []),
    "an empty line first": (b"\r\nGET /a HTTP/1.1\r\n%sConnection: close\r\n\r\n" % H, [200], ["/a"]),
    "many empty lines first": (b"\r\n" * 20 + b"GET /a HTTP/1.1\r\n%s\r\n" % H, [400], []),
    "an empty line between": (b"POST /a HTTP/1.1\r\n%sContent-Length: 1\r\n\r\nx\r\n" % H + LAST, [200, 200], ["/a", "/last"]),
    "thirty in order": (b"".join(b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, H) for i in range(30)) + LAST, [200] * 31,
                        [f"/{i}" for i in range(30)] + ["/last"]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(proxy, origin, name):
    data, answers, wanted = REQUESTS[name]
    out = proxy.raw(data, timeout=3)
    got = statuses(out)
    assert len(got) == len(answers), (out[-300:], targets(origin))
    for one, want in zip(got, answers):
        assert one in (want if isinstance(want, tuple) else (want,)), out[-300:]
    assert targets(origin) == wanted


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_in_pieces(proxy, origin, name):
    """The same, however it is cut."""
    data, answers, wanted = REQUESTS[name]
    if len(data) > 3000:
        return
    with proxy.connect(timeout=3) as sock:
        out = b""
        try:
            for i in range(0, len(data), 7):
                sock.sendall(data[i:i + 7])
            while piece := sock.recv(65536):
                out += piece
        except (ConnectionError, TimeoutError):
            pass
    assert targets(origin) == wanted
    assert len(statuses(out)) in (len(answers), 0 if not wanted else -1), out[-300:]  # a reset may overtake a refusal


# --- fields toward the origin ---


def test_fields_of_the_request(proxy, origin):
    proxy.raw(b"GET /f HTTP/1.1\r\n" + H + b"Connection: close, x-mine, Host, Content-Length, Cookie, Authorization, Via, "
              b"X-Forwarded-For\r\nX-Mine: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nTE: trailers\r\nTrailer: x\r\n"
              b"Upgrade: x\r\nHTTP2-Settings: x\r\nCookie: sid=1\r\nAuthorization: b\r\nVia: 1.1 cdn\r\nForwarded: for=x\r\n"
              b"X-Forwarded-For: 203.0.113.9\r\nX-Consent: analytics=1\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n")
    got = origin.requests[0]
    for name in ("x-mine", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "http2-settings", "forwarded"):
        assert not got.all(name), name
    assert got.all("host") == ["localhost"] and got.all("cookie") == ["sid=1"] and got.all("authorization") == ["b"]
    assert got.all("via") in (["1.1 cdn", "1.1 consentd"], ["1.1 cdn, 1.1 consentd"])
    assert got.header("x-forwarded-for").split(", ")[-1] == "127.0.0.1" and len(got.all("x-forwarded-for")) == 1
    assert got.all("x-consent") == ["analytics=0, marketing=0"]
    order = [(n.lower(), v) for n, v in got.headers if n.lower() in ("a", "b")]
    assert order == [("a", "1"), ("b", "2"), ("a", "3")]


def test_max_forwards_is_counted_down(proxy, origin):
    proxy.raw(b"OPTIONS /m HTTP/1.1\r\n" + H + b"Max-Forwards: 7\r\nConnection: close\r\n\r\n")
    assert origin.requests[0].header("max-forwards") == "6"


def test_content_length_is_written_anew(proxy, origin):
    proxy.raw(b"POST /l HTTP/1.1\r\n" + H + b"Content-Length: 0003\r\nConnection: close\r\n\r\nabc")
    assert origin.requests[0].header("content-length") == "3" and origin.requests[0].body == b"abc"


def test_chunks_are_written_anew(proxy, origin):
    proxy.raw(b"POST /c HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
              b"0003;a=b;c=\"d\"\r\nabc\r\n0;x\r\nT: x\r\n\r\n")
    got = origin.requests[0]
    assert got.body == b"abc" and b"a=b" not in got.raw and b"T: x" not in got.raw and not got.all("content-length")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_expect_100(proxy, origin, version):
    """Exactly one 100, within a moment, before the body; none for 1.0."""
    with proxy.connect() as sock:
        sock.sendall(b"POST /e HTTP/%s\r\n%sExpect: 100-Continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n" % (version, H))
        sock.settimeout(1 if version == b"1.0" else 5)
        try:
            first = sock.recv(100)
        except TimeoutError:
            first = b""
        assert first == (b"HTTP/1.1 100 Continue\r\n\r\n" if version == b"1.1" else b"")
        sock.settimeout(5)
        sock.sendall(b"abc")
        out = b""
        while piece := sock.recv(65536):
            out += piece
        assert statuses(out) == [200] and b" 100 " not in out
        assert not origin.requests[0].all("expect")


def test_half_close_is_answered(proxy, origin):
    out = proxy.raw(b"GET /h HTTP/1.1\r\n" + H + b"\r\n", shut=True)
    assert statuses(out) == [200] and targets(origin) == ["/h"]


@pytest.mark.parametrize("data", [
    b"POST /cut HTTP/1.1\r\n" + H + b"Content-Length: 10\r\n\r\nabc",
    b"POST /cut HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"POST /cut HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    b"POST /cut HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n",
    b"POST /cut HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n30000\r\n" + b"a" * 100000,
], ids=range(5))
def test_a_request_that_is_cut_never_looks_complete(proxy, origin, data):
    proxy.raw(data, shut=True)
    time.sleep(0.2)
    assert not targets(origin)


# --- answers: (what the origin says, what the client gets: status, body, and whether it looks complete) ---

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
GOOD, BAD_GATEWAY, CUT = "good", "502", "cut"
ANSWERS = {
    "a length": (OK + b"Content-Length: 3\r\n\r\nabc", GOOD, b"abc"),
    "the same length twice": (OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", GOOD, b"abc"),
    "two lengths": (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", BAD_GATEWAY, None),
    "a list of lengths": (OK + b"Content-Length: 3, 3\r\n\r\nabc", BAD_GATEWAY, None),
    "a length with a sign": (OK + b"Content-Length: +3\r\n\r\nabc", BAD_GATEWAY, None),
    "both": (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BAD_GATEWAY, None),
    "another coding": (OK + b"Transfer-Encoding: gzip\r\n\r\nabc", BAD_GATEWAY, None),
    "a list of codings": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BAD_GATEWAY, None),
    "chunks in 1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BAD_GATEWAY, None),
    "1.0 until close": (b"HTTP/1.0 200 OK\r\n\r\nabc", GOOD, b"abc"),
    "until close": (OK + b"\r\nabc", GOOD, b"abc"),
    "garbage": (b"hello\r\n\r\n", BAD_GATEWAY, None),
    "HTTP/0.9": (b"<html>hello", BAD_GATEWAY, None),
    "HTTP/2": (b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "status 099": (b"HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", GOOD, b"abc"),
    "status 299": (b"HTTP/1.1 299 Odd\r\nContent-Length: 3\r\n\r\nabc", 299, b"abc"),
    "status 999": (b"HTTP/1.1 999 Odd\r\nContent-Length: 3\r\n\r\nabc", 999, b"abc"),
    "a bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", BAD_GATEWAY, None),
    "a NUL": (OK + b"X: a\0b\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "a bare CR": (OK + b"X: a\rSet-Cookie: b=c\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "a space before the colon": (OK + b"Content-Length : 3\r\n\r\nabc", BAD_GATEWAY, None),
    "a folded field": (OK + b"X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "no colon": (OK + b"X\r\nContent-Length: 3\r\n\r\nabc", BAD_GATEWAY, None),
    "a huge head": (OK + b"X: " + b"x" * 200000 + b"\r\n\r\n", BAD_GATEWAY, None),
    "many fields": (OK + b"X: y\r\n" * 1000 + b"\r\n", BAD_GATEWAY, None),
    "a cut head": (OK + b"Content-Len", BAD_GATEWAY, None),
    "nothing": (b"", BAD_GATEWAY, None),
    "a cut body": (OK + b"Content-Length: 10\r\n\r\nabc", CUT, None),
    "a cut chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\na\r\nabc", CUT, None),
    "no last chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", CUT, None),
    "no end of the trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", CUT, None),
    "a bad chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x3\r\nabc\r\n0\r\n\r\n", CUT, None),
    "a negative chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n-3\r\nabc\r\n0\r\n\r\n", CUT, None),
    "a huge chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nfffffffffffffffff\r\nabc", CUT, None),
    "no CRLF behind a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n", CUT, None),
    "a bad first chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\ng\r\nabc\r\n0\r\n\r\n", {"whole": BAD_GATEWAY, "bytewise": (BAD_GATEWAY, CUT)}, None),
    "an endless first chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc", {"whole": BAD_GATEWAY, "bytewise": (BAD_GATEWAY, CUT)}, None),
    "LF chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", (502, CUT), None),
    "bytes behind the answer": (OK + b"Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", GOOD, b"abc"),
    "bytes behind the chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil", GOOD, b"abc"),
    "204 with a body": (b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nevil", 204, b""),
    "204 in chunks": (b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", 204, b""),
    "304 with a body": (b"HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\nevil", 304, b""),
    "205 with a body": (b"HTTP/1.1 205 No\r\nContent-Length: 0\r\n\r\n", 205, b""),
    "a 101 that nobody asked for": (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nevil", BAD_GATEWAY, None),
    "a 100 first": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc", GOOD, b"abc"),
    "a 102 first": (b"HTTP/1.1 102 Processing\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc", GOOD, b"abc"),
    "ten 103": (b"HTTP/1.1 103 Early\r\nLink: </a>; rel=preload\r\n\r\n" * 10 + OK + b"Content-Length: 3\r\n\r\nabc", GOOD, b"abc"),
    "a thousand 103": (b"HTTP/1.1 103 Early\r\n\r\n" * 1000 + OK + b"Content-Length: 3\r\n\r\nabc", (502, CUT), None),
    "1xx and no more": (b"HTTP/1.1 103 Early\r\n\r\n", (502, CUT), None),
    "a 1xx with a length": (b"HTTP/1.1 103 Early\r\nContent-Length: 4\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc", (GOOD, 502), None),
    "an empty line first": (b"\r\n" + OK + b"Content-Length: 3\r\n\r\nabc", (GOOD, 502), None),
}


def parse(out):
    """(status, body or None when it is visibly cut) of the final answer."""
    while out.startswith(b"HTTP/1.1 1"):
        out = out[out.index(b"\r\n\r\n") + 4:]
    if not out:
        return None, None
    head, _, rest = out.partition(b"\r\n\r\n")
    status, low = int(head[9:12]), head.lower()
    length = re.search(rb"\ncontent-length: (\d+)", low)
    if status in (204, 304):
        return status, rest
    if b"\ntransfer-encoding: chunked" in low:
        body = b""
        while True:
            size, found, rest = rest.partition(b"\r\n")
            if not found:
                return status, None
            size = int(size, 16)
            if size == 0:
                return status, body if rest == b"\r\n" else None
            body, rest = body + rest[:size], rest[size:]
            if not rest.startswith(b"\r\n"):
                return status, None
            rest = rest[2:]
    if length:
        return status, rest if len(rest) == int(length[1]) else None
    return status, rest


def outcome(out, reset):
    status, body = parse(out)
    if status is None or body is None or reset:
        return CUT, body
    return (GOOD if status == 200 else status), body


def fetch(proxy, data):
    """What came, and whether a reset ended it."""
    with proxy.connect(timeout=6) as sock:
        sock.sendall(data)
        out = b""
        try:
            while piece := sock.recv(65536):
                out += piece
        except ConnectionError:
            return out, True
        except TimeoutError:
            return b"", False
        return out, False


@pytest.mark.parametrize("pace", ["whole", "bytewise"])
@pytest.mark.parametrize("name", ANSWERS)
def test_answers(proxy, origin, name, pace):
    raw, want, body = ANSWERS[name]
    want = want[pace] if isinstance(want, dict) else want
    if pace == "bytewise" and len(raw) > 1000:
        return

    def answer(conn, request):
        for piece in [raw] if pace == "whole" else [raw[i:i + 1] for i in range(len(raw))]:
            conn.sendall(piece)
        time.sleep(0.05)
        conn.shutdown(socket.SHUT_WR)
        time.sleep(0.05)
        conn.close()
    origin.routes["/a"] = answer
    out, reset = fetch(proxy, b"GET /a HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
    got, got_body = outcome(out, reset)
    wanted = {502 if w == BAD_GATEWAY else w for w in (want if isinstance(want, tuple) else (want,))}
    assert got in wanted, out[:300]
    assert b"evil" not in out
    if body is not None:
        assert got_body == body
    assert fetch(proxy, LAST)[0].startswith(b"HTTP/1.1 200"), "the next one is not touched"


@pytest.mark.parametrize("name", [n for n, a in ANSWERS.items() if a[1] in (GOOD, 204, 304)])
def test_answers_to_1_0(proxy, origin, name):
    """No chunks and no 1xx for an HTTP/1.0 client."""
    raw, _, body = ANSWERS[name]

    def answer(conn, request):
        conn.sendall(raw)
        time.sleep(0.05)
        conn.close()
    origin.routes["/a"] = answer
    out, _ = fetch(proxy, b"GET /a HTTP/1.0\r\n" + H + b"\r\n")
    assert b"transfer-encoding" not in out.lower() and len(statuses(out)) == 1
    assert out.partition(b"\r\n\r\n")[2] == body


HEADS = [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"", b"Content-Length: 0\r\n"]


@pytest.mark.parametrize("method,status,fields,stray", [
    (m, s, f, stray) for m, s in (("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404), ("HEAD", 304))
    for f in HEADS for stray in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")])
def test_answers_without_a_body_poison_nothing(proxy, origin, method, status, fields, stray):
    """The next request on the client's connection gets its own answer."""
    origin.routes["/b"] = lambda c, r: c.sendall(b"HTTP/1.1 %d X\r\n%s\r\n%s" % (status, fields, stray))
    out, _ = fetch(proxy, b"%s /b HTTP/1.1\r\n%s\r\n" % (method.encode(), H) + LAST)
    assert statuses(out) == [status, 200] and b"evil" not in out
    first = out.partition(b"\r\n\r\n")[0].lower()
    if status == 204:
        assert b"content-length" not in first and b"transfer-encoding" not in first
    assert out.endswith(b"ok\n")


def test_what_an_origin_says_before_it_is_asked(tmp_path):
    """An idle connection with bytes on it is never used again."""
    def handler(conn, request):
        conn.sendall(http_response(200, [], b"one"))
        time.sleep(0.1)
        try:
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        except OSError:
            pass
    origin = Origin(handler)
    proxy = Proxy(tmp_path, origin)
    for _ in range(3):
        assert proxy.get("/").body == b"one"
        time.sleep(0.3)
    proxy.stop()
    origin.stop()


def test_fields_of_the_answer(proxy, origin):
    origin.routes["/f"] = (OK + b"Connection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n"
                           b"Trailer: x\r\nUpgrade: h2c\r\nTE: x\r\nA: 1\r\nSet-Cookie: a=1\r\nA: 2\r\nSet-Cookie: b=2, c=3\r\n"
                           b"Content-Length: 0003\r\n\r\nabc")
    out, _ = fetch(proxy, b"GET /f HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
    low = out.lower()
    for name in (b"x-hop", b"keep-alive", b"proxy-connection", b"trailer", b"upgrade", b"\nte:"):
        assert name not in low, name
    assert b"\ncontent-length: 3\r\n" in low and b"\ndate: " in low
    assert [m for m in re.findall(rb"\r\n(A: \d|Set-Cookie: [^\r]*)", out)] == [b"A: 1", b"Set-Cookie: a=1", b"A: 2", b"Set-Cookie: b=2, c=3"]


def test_an_early_answer_ends_the_connection(proxy, origin):
    """The rest of the upload must not become a request."""
    def early(conn, request):
        if request.path != "/early":
            return False
        conn.sendall(http_response(413, [("Connection", "close")], b"no"))
        return True
    origin.early = early
    try:
        out, _ = fetch(proxy, b"POST /early HTTP/1.1\r\n" + H + b"Content-Length: 200000\r\n\r\n" + b"x" * 20000)
        assert statuses(out) == [413]
        assert b"\nconnection: close" in out.lower()
    finally:
        origin.early = None


def test_event_streams_are_not_held(proxy, origin):
    go = threading.Event()

    def events(conn, request):
        conn.sendall(OK + b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        go.wait(5)
        conn.sendall(b"data: 2\n\n")
        conn.close()
    origin.routes["/events"] = events
    with proxy.connect() as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\n" + H + b"\r\n")
        out = b""
        while b"data: 1\n\n" not in out:
            out += sock.recv(65536)
        go.set()
        while b"data: 2\n\n" not in out:
            out += sock.recv(65536)
