"""HTTP/1.1 between a visitor and an origin: framing, order, fields, hosts, tunnels."""
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import time

import pytest

from harness import Origin, Proxy, Reader, certificate, chunked, free_port, http_response, wait_for

TEXT = ("Content-Type", "text/plain")


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    folder = tmp_path_factory.mktemp("proxy")
    redirect = free_port()
    other = Origin(lambda conn, request: http_response(200, [TEXT], b"other\n"))
    policy = os.path.join(os.path.dirname(__file__), "../../conf/policy.json")
    sites = [{"name": "s", "hosts": ["localhost", "127.0.0.1", "a.example"], "origins": [origin.url], "policy": policy},
             {"name": "other", "hosts": ["b.example"], "origins": [other.url], "policy": policy,
              "preserve_host": False}]
    proxy = Proxy(folder, sites=sites, tls=True)
    proxy.config["listen"].append({"address": f"127.0.0.1:{redirect}", "redirect": "https"})
    proxy.rewrite(proxy.config)
    assert proxy.hup()
    proxy.redirect_port, proxy.other = redirect, other
    yield proxy
    proxy.stop()
    other.stop()


@pytest.fixture(name="client", params=["plain", "tls"])
def client_fixture(proxy, request):
    """A kept connection: (socket, reader), once in the clear and once over TLS."""
    with proxy.connect(tls=request.param == "tls") as sock:
        yield sock, Reader(sock)


def head(method="GET", path="/", *fields, version="1.1", host="localhost"):
    return "\r\n".join([f"{method} {path} HTTP/{version}", f"Host: {host}", *fields, "", ""]).encode("latin-1")


def bodies():
    return [b"", b"x", b"hello world\r\n", os.urandom(70000), os.urandom(700001)]


# --- framing ---


@pytest.mark.parametrize("body", bodies(), ids=len)
def test_answer_with_length(client, origin, body):
    sock, reader = client
    origin.routes["/length"] = http_response(200, [TEXT], body)
    for _ in range(2):
        sock.sendall(head(path="/length"))
        answer = reader.response()
        assert answer.body == body and answer.all("content-length") == [str(len(body))]
        assert not answer.all("transfer-encoding")


@pytest.mark.parametrize("size", [1, 7, 4096, 100000])
def test_chunked_answer(client, origin, size):
    sock, reader = client
    body = os.urandom(200001 if size > 7 else 400)
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    raw = chunked(*pieces)
    raw = raw[:-5] + b"0;last=1\r\nX-Trailer: 1\r\nSet-Cookie: t=1\r\n\r\n"
    raw = raw.replace(b"\r\n", b";ext=\"v\"\r\n", 1)
    origin.routes["/chunked"] = http_response(200, [TEXT, ("Transfer-Encoding", "chunked"), ("Trailer", "X-Trailer")], raw)
    for _ in range(2):
        sock.sendall(head(path="/chunked"))
        answer = reader.response()
        assert answer.body == body and answer.all("transfer-encoding") == ["chunked"]
        assert b"X-Trailer" not in reader.raw and b"ext=" not in reader.raw


def test_answer_until_close(client, origin):
    sock, reader = client
    body = os.urandom(300000)
    origin.routes["/close"] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body
    for _ in range(2):
        sock.sendall(head(path="/close"))
        answer = reader.response()
        assert answer.body == body and answer.all("transfer-encoding") == ["chunked"]


@pytest.mark.parametrize("body", bodies(), ids=len)
def test_request_with_length(client, origin, body):
    sock, reader = client
    for method in ("POST", "PUT", "DELETE", "BREW"):
        sock.sendall(head(method, "/up", f"Content-Length: {len(body)}") + body)
        assert reader.response().status == 200
        assert origin.requests[-1].body == body and origin.requests[-1].method == method


@pytest.mark.parametrize("size", [1, 3, 65536])
def test_request_in_chunks(client, origin, size):
    sock, reader = client
    body = os.urandom(150000 if size > 3 else 500)
    raw = chunked(*[body[i:i + size] for i in range(0, len(body), size)])
    raw = raw[:-2] + b"Cookie: _ga=1\r\nX: y\r\n\r\n"
    for _ in range(2):
        sock.sendall(head("POST", "/up", "Transfer-Encoding: Chunked") + raw)
        assert reader.response().status == 200
        assert origin.requests[-1].body == body
        assert b"_ga" not in origin.requests[-1].raw
        assert origin.requests[-1].all("content-length") == []


def test_every_split(proxy, origin):
    """Head and chunked body cut in two at every place."""
    origin.routes["/split"] = http_response(200, [TEXT], b"split")
    raw = head("POST", "/split", "Transfer-Encoding: chunked", "X: y") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n"
    with proxy.connect() as sock:
        reader = Reader(sock)
        for at in range(1, len(raw)):
            sock.sendall(raw[:at])
            time.sleep(0.002)
            sock.sendall(raw[at:])
            assert reader.response().body == b"split"
            assert origin.requests[-1].body == b"abcde"


def test_byte_by_byte(proxy, origin):
    raw = head("POST", "/bytes", "Content-Length: 5") + b"hello"
    with proxy.connect() as sock:
        for byte in raw:
            sock.sendall(bytes([byte]))
            time.sleep(0.0005)
        assert Reader(sock).response().status == 200
    assert origin.requests[-1].body == b"hello"


def test_split_answers(client, origin):
    """The origin's answer in two pieces, cut at every place."""
    sock, reader = client
    answers = [http_response(200, [TEXT], b"abc"),
               b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nT: u\r\n\r\n"]
    for raw in answers:
        for at in range(1, len(raw)):
            def handler(conn, _):
                conn.sendall(raw[:at])
                time.sleep(0.001)
                conn.sendall(raw[at:])
            origin.routes["/pieces"] = handler
            sock.sendall(head(path="/pieces"))
            assert reader.response().body == b"abc"


def test_bodiless_answers(client, origin):
    sock, reader = client
    origin.routes["/204"] = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"
    origin.routes["/304"] = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"a\"\r\n\r\n"
    origin.routes["/head"] = lambda conn, request: http_response(
        200, [TEXT, ("Content-Length", "12345")], b"" if request.method == "HEAD" else b"x" * 12345)
    origin.routes["/headchunked"] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(2):
        sock.sendall(head(path="/204"))
        answer = reader.response()
        assert answer.status == 204 and not answer.all("content-length") and not answer.all("transfer-encoding")
        sock.sendall(head(path="/304"))
        assert reader.response().status == 304
        sock.sendall(head("HEAD", "/head"))
        answer = reader.response("HEAD")
        assert answer.status == 200 and answer.header("content-length") == "12345"
        sock.sendall(head("HEAD", "/headchunked"))
        assert reader.response("HEAD").status == 200
    sock.sendall(head(path="/head"))
    assert len(reader.response().body) == 12345


def test_http_1_0(proxy, origin):
    origin.routes["/close"] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil close"
    origin.routes["/ten"] = http_response(200, [TEXT], b"ten")
    origin.routes["/hints"] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http_response(200, [TEXT], b"final")
    raw = proxy.raw(head(path="/close", version="1.0"))
    assert raw.endswith(b"\r\n\r\nuntil close") and b"chunked" not in raw.lower()
    raw = proxy.raw(head(path="/ten", version="1.0"))
    assert raw.endswith(b"\r\n\r\nten")
    raw = proxy.raw(head(path="/hints", version="1.0"))
    assert raw.startswith(b"HTTP/1.1 200") and b"103" not in raw
    with proxy.connect() as sock:
        reader = Reader(sock)
        for _ in range(3):
            sock.sendall(head("GET", "/ten", "Connection: keep-alive", version="1.0"))
            answer = reader.response()
            assert answer.body == b"ten" and answer.header("connection") == "keep-alive"
        sock.sendall(head("GET", "/close", "Connection: keep-alive", version="1.0"))
        assert reader.response().body == b"until close"
        assert sock.recv(1) == b""


@pytest.mark.parametrize("field", ["close", "Close", "keep-alive, close", "x,CLOSE ,y"])
def test_close_is_honoured(proxy, origin, field):
    before = len(origin.requests)
    raw = proxy.raw(head("GET", "/a", f"Connection: {field}") + head(path="/b"))
    assert raw.count(b"HTTP/1.1 200") == 1 and b"connection: close" in raw.lower()
    assert [r.target for r in origin.requests[before:]] == ["/a"]


# --- order ---


def test_pipelining(client, origin):
    """Ten requests in one write, bodies mixed in; answers in order though the first is slow."""
    sock, reader = client
    before = len(origin.requests)

    def handler(conn, request):
        time.sleep(0.05 if request.path.endswith("0") else 0)
        return http_response(200, [TEXT], request.target.encode() + b":" + request.body)
    raw, want = b"", []
    for i in range(10):
        path, body = f"/pipe{i}", b"%d" % i * (i * 1000)
        origin.routes[path] = handler
        if i % 3 == 0:
            raw += head("GET", path)
            body = b""
        elif i % 3 == 1:
            raw += head("POST", path, f"Content-Length: {len(body)}") + body
        else:
            raw += head("POST", path, "Transfer-Encoding: chunked") + chunked(body)
        want.append(path.encode() + b":" + body)
    sock.sendall(raw)
    assert [reader.response().body for _ in range(10)] == want
    assert len(origin.requests) == before + 10


def test_pipelining_with_our_own_answers(client, origin):
    sock, reader = client
    sock.sendall(b"".join(head(path="/.well-known/gpc.json") + head(path="/n") for _ in range(30)))
    for _ in range(30):
        assert json.loads(reader.response().body)["gpc"] is True
        assert reader.response().body == b"ok\n"


def test_pipelined_without_reading(proxy, origin):
    """A client that asks much and reads nothing does not fill our memory; all answers come."""
    count, size = 120, 100000
    origin.routes["/fat"] = http_response(200, [TEXT], b"f" * size)
    with proxy.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.sendall(head(path="/fat") * count)
        sock.shutdown(socket.SHUT_WR)
        time.sleep(0.3)
        seen = len([r for r in origin.requests if r.path == "/fat"])
        assert seen < count / 2
        reader = Reader(sock)
        for _ in range(count):
            assert len(reader.response().body) == size
        assert sock.recv(1) == b""


def test_half_close_gets_its_answer(proxy, origin):
    def slow(conn, request):
        time.sleep(0.3)
        return http_response(200, [TEXT], b"slow")
    origin.routes["/slow"] = slow
    raw = proxy.raw(head(path="/slow") + head(path="/n"), shut=True)
    assert raw.count(b"HTTP/1.1 200") == 2 and raw.endswith(b"ok\n")
    raw = proxy.raw(head(path="/slow"), shut=True)
    assert raw.endswith(b"slow")


def test_incomplete_requests_never_look_complete(proxy, origin):
    before = len(origin.requests)
    proxy.raw(b"GET /cut HTTP/1.1\r\nHost: localhost\r\n", shut=True)
    proxy.raw(head("POST", "/cut", "Content-Length: 10") + b"12345", shut=True)
    proxy.raw(head("POST", "/cut", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", shut=True)
    proxy.raw(head("POST", "/cut", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n0\r\n", shut=True)
    proxy.raw(head("POST", "/cut", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n0\r\nX: y\r\n", shut=True)
    assert proxy.get("/after").status == 200
    assert [r.target for r in origin.requests[before:]] == ["/after"]


# --- 1xx and uploads ---


def test_expect_continue(client, origin):
    sock, reader = client
    for framing, body in (("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", chunked(b"hello"))):
        sock.sendall(head("POST", "/up", framing, "Expect: 100-continue"))
        assert reader.response().status == 100
        sock.sendall(body)
        answer = reader.response()
        assert answer.status == 200 and origin.requests[-1].body == b"hello"
        assert origin.requests[-1].all("expect") == []
    sock.sendall(head("POST", "/up", "Content-Length: 0", "Expect: 100-continue"))
    assert reader.response().status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_early_answer(tmp_path, framing):
    """Whatever the client still sends never becomes a request."""
    def early(conn, request):
        if request.path == "/refuse":
            conn.sendall(http_response(413, [TEXT], b"too much"))
            return True
        return False
    origin = Origin(early=early)
    proxy = Proxy(tmp_path, origin)
    hidden = head(path="/hidden")
    body = (b"x" * 100000 + hidden) * 150
    fields = [f"Content-Length: {len(body)}"] if framing == "length" else ["Transfer-Encoding: chunked"]
    raw = body if framing == "length" else chunked(*[body[i:i + 10000] for i in range(0, len(body), 10000)])
    for _ in range(5):
        with proxy.connect() as sock:
            sock.sendall(head("POST", "/refuse", *fields))
            sent = 0
            try:
                while sent < len(raw):
                    sent += sock.send(raw[sent:sent + 50000])
            except OSError:
                pass
            answer = Reader(sock).response()
            assert (answer.status, answer.body, answer.header("connection")) == (413, b"too much", "close")
    assert proxy.get("/after").status == 200
    assert {r.target for r in origin.requests} == {"/refuse", "/after"}
    proxy.stop()
    origin.stop()


def test_early_answer_and_close(tmp_path):
    """The origin refuses an upload and hangs up without reading it: its answer arrives."""
    def early(conn, request):
        conn.sendall(http_response(403, [TEXT, ("Connection", "close")], b"no"))
        conn.close()
        return True
    origin = Origin(early=early)
    proxy = Proxy(tmp_path, origin)
    for _ in range(10):
        with proxy.connect() as sock:
            try:
                sock.sendall(head("POST", "/x", "Content-Length: 3000000") + b"x" * 3000000)
            except OSError:
                pass
            answer = Reader(sock).response()
            assert answer.status in (403, 502)
    proxy.stop()
    origin.stop()


def test_informational_answers(client, origin):
    sock, reader = client
    hints = (b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: _ga=1\r\n"
             b"Connection: x\r\nX: y\r\n\r\n")
    origin.routes["/hints"] = b"HTTP/1.1 100 Continue\r\n\r\n" + hints * 2 + http_response(200, [TEXT], b"final")
    for _ in range(2):
        sock.sendall(head(path="/hints"))
        for _ in range(2):
            answer = reader.response()
            assert answer.status == 103 and answer.header("link") == "</style.css>; rel=preload"
            assert not answer.all("set-cookie") and not answer.all("x") and not answer.all("connection")
        assert reader.response().body == b"final"


def test_endless_informational_answers(proxy, origin):
    origin.routes["/endless"] = b"HTTP/1.1 102 Processing\r\n\r\n" * 1000 + http_response(200, [TEXT], b"final")
    raw = proxy.raw(head("GET", "/endless", "Connection: close"))
    assert raw.count(b"HTTP/1.1 102") <= 20 and b"HTTP/1.1 502" in raw


# --- tunnels ---


UPGRADE = ["Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
           "Sec-WebSocket-Version: 13"]


def tunnel(conn, request):
    assert request.header("upgrade").lower() == "websocket" and request.header("connection").lower() == "upgrade"
    conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie: _ga=1\r\n\r\nfirst")
    total = 0
    while data := conn.recv(65536):
        total += len(data)
        conn.sendall(data)
    conn.sendall(b"total %d" % total)  # after the client's FIN: half-close reaches us
    conn.close()


@pytest.mark.parametrize("tls", [False, True])
def test_websocket(proxy, origin, tls):
    origin.routes["/ws"] = tunnel
    with proxy.connect(tls) as sock:
        sock.sendall(head("GET", "/ws", *UPGRADE) + b"early")
        reader = Reader(sock)
        answer = reader.response()
        assert answer.status == 101 and answer.header("upgrade").lower() == "websocket"
        assert answer.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert not answer.all("set-cookie") and not answer.all("content-length")
        assert reader.exactly(10) == b"firstearly"
        blob = os.urandom(50000)
        for _ in range(10):
            sock.sendall(blob)
            assert reader.exactly(len(blob)) == blob
        if tls:
            return
        sock.shutdown(socket.SHUT_WR)
        assert reader.rest() == b"total 500005"


def test_websocket_half_close_by_the_origin(proxy, origin):
    got = []

    def talker(conn, request):
        conn.sendall(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye")
        conn.shutdown(socket.SHUT_WR)
        while data := conn.recv(65536):
            got.append(data)
        conn.close()
    origin.routes["/ws2"] = talker
    with proxy.connect() as sock:
        sock.sendall(head("GET", "/ws2", *UPGRADE))
        reader = Reader(sock)
        assert reader.response().status == 101
        assert reader.rest() == b"bye"
        sock.sendall(b"still here")
        sock.shutdown(socket.SHUT_WR)
        wait_for(lambda: b"".join(got) == b"still here")


def test_websocket_refused_and_unasked(client, origin):
    sock, reader = client
    origin.routes["/ws3"] = http_response(200, [TEXT], b"no socket here")
    sock.sendall(head("GET", "/ws3", *UPGRADE))
    assert reader.response().body == b"no socket here"
    sock.sendall(head(path="/n"))
    assert reader.response().body == b"ok\n"
    origin.routes["/ws4"] = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + http_response(200, [], b"x")
    sock.sendall(head(path="/ws4"))
    assert reader.response().status == 502
    sock.sendall(head("GET", "/n", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA"))
    assert reader.response().body == b"ok\n"
    assert not origin.requests[-1].all("upgrade") and not origin.requests[-1].all("http2-settings")


# --- fields ---


def test_forwarding_fields(proxy, origin):
    for tls in (False, True):
        proxy.get("/f", [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "gopher"),
                         ("X-Forwarded-Host", "evil"), ("X-Forwarded-Port", "1"), ("Forwarded", "for=x"),
                         ("Via", "1.0 fred")], tls=tls)
        seen = origin.requests[-1]
        assert seen.all("x-forwarded-for") == ["1.2.3.4, 127.0.0.1"]
        assert seen.all("x-forwarded-proto") == ["https" if tls else "http"]
        assert seen.all("x-forwarded-host") == ["localhost"] and seen.all("host") == ["localhost"]
        assert not seen.all("forwarded") and not seen.all("x-forwarded-port")
        assert seen.all("via") == ["1.0 fred", "1.1 consentd"]
    proxy.raw(head(path="/f", version="1.0"))
    assert origin.requests[-1].all("via") == ["1.0 consentd"]
    proxy.get("/f", [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", ""), ("x-forwarded-for", "2.2.2.2, 3.3.3.3")])
    assert origin.requests[-1].all("x-forwarded-for") == ["1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1"]


def test_hop_by_hop_fields(client, origin):
    sock, reader = client
    origin.routes["/hop"] = http_response(200, [
        TEXT, ("Connection", "X-Hop, keep-alive"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "x"),
        ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Stay", "1"), ("Upgrade", "h2c")], b"hop")
    sock.sendall(head("GET", "/hop", "Connection: X-Mine, Cookie, Host", "X-Mine: 1", "Keep-Alive: 1", "TE: trailers",
                      "Trailer: X", "Proxy-Connection: keep-alive", "Cookie: session=1", "X-Stay: 1"))
    answer = reader.response()
    seen = origin.requests[-1]
    for name in ("connection", "x-mine", "keep-alive", "te", "trailer", "proxy-connection"):
        assert not seen.all(name), name
    assert seen.header("cookie") == "session=1" and seen.header("x-stay") == "1" and seen.header("host") == "localhost"
    for name in ("connection", "x-hop", "keep-alive", "proxy-connection", "upgrade"):
        assert not answer.all(name), name
    assert answer.all("set-cookie") == ["a=1", "b=2"] and answer.header("x-stay") == "1"
    assert answer.header("date")


def test_max_forwards(client, origin):
    sock, reader = client
    before = len(origin.requests)
    sock.sendall(head("OPTIONS", "*", "Max-Forwards: 0"))
    answer = reader.response()
    assert answer.status in (200, 204) and "GET" in answer.header("allow")
    assert len(origin.requests) == before
    sock.sendall(head("OPTIONS", "/x", "Max-Forwards: 5"))
    assert reader.response().status == 200
    assert origin.requests[-1].all("max-forwards") == ["4"]
    sock.sendall(head("GET", "/x", "Max-Forwards: 0"))
    assert reader.response().status == 200 and origin.requests[-1].all("max-forwards") == ["0"]
    sock.sendall(head("TRACE", "/x", "Max-Forwards: 0"))
    answer = reader.response()
    assert answer.status == 405 and "GET" in answer.header("allow")


def test_ranges_pass(client, origin):
    sock, reader = client

    def part(conn, request):
        assert request.header("range") == "bytes=2-4"
        return http_response(206, [("Content-Type", "image/png"), ("Content-Range", "bytes 2-4/9")], b"cde")
    origin.routes["/part"] = part
    sock.sendall(head("GET", "/part", "Range: bytes=2-4"))
    answer = reader.response()
    assert (answer.status, answer.body, answer.header("content-range")) == (206, b"cde", "bytes 2-4/9")


def test_targets(client, origin):
    sock, reader = client
    for target, want in (("/a%2fb//../c?x=%00", None), ("http://localhost/abs?q", "/abs?q"), ("http://localhost", "/"),
                         ("HTTP://LOCALHOST:8080?x", "/?x")):
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
        assert reader.response().status == 200
        assert origin.requests[-1].target == (want or target)
    assert origin.requests[-1].header("host") == "LOCALHOST:8080"
    sock.sendall(head("OPTIONS", "*"))
    assert reader.response().status == 200 and origin.requests[-1].target == "*"


# --- hosts ---


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "localhost:8080", "localhost.", "localhost.:1", "a.example"])
def test_known_hosts(proxy, origin, host):
    assert proxy.get("/h", host=host).body == b"ok\n"
    assert origin.requests[-1].header("host") == host


def test_other_site(proxy):
    assert proxy.get("/h", host="b.example").body == b"other\n"
    assert proxy.other.requests[-1].header("host") == f"127.0.0.1:{proxy.other.port}"
    assert proxy.other.requests[-1].header("x-forwarded-host") == "b.example"


@pytest.mark.parametrize("host", ["example.com", "localhost.example", "xlocalhost", "[::1]", "127.0.0.2"])
def test_unknown_hosts(proxy, origin, host):
    before = len(origin.requests)
    answer = proxy.get("/h", host=host)
    assert answer.status == 421 and host.encode() not in answer.body and len(origin.requests) == before


def test_sni_and_host_must_be_of_one_site(proxy, origin):
    with proxy.connect(tls=True) as sock:
        reader = Reader(sock)
        sock.sendall(head(path="/h", host="a.example"))  # another host of the same site
        assert reader.response().status == 200
        sock.sendall(head(path="/h", host="b.example"))
        assert reader.response().status == 421
        sock.sendall(head(path="/h", host="localhost"))
        assert reader.response().status == 200
    plain = socket.create_connection(("127.0.0.1", proxy.tls_port), 5)
    context = ssl.create_default_context(cafile=str(proxy.ca))
    context.check_hostname = False
    with context.wrap_socket(plain) as sock:  # no SNI: Host decides
        sock.sendall(head(path="/h", host="b.example"))
        assert Reader(sock).response().status == 200


def test_address_as_sni_counts_as_none(proxy):
    """RFC 6066 3 allows no addresses there; some clients send them."""
    asked = subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{proxy.tls_port}",
                            "-servername", "127.0.0.9"], input=head("GET", "/h", "Connection: close"),
                           capture_output=True, check=False, timeout=10)
    assert asked.stdout.startswith(b"HTTP/1.1 200 ")


def test_no_host_in_http_1_0(tmp_path):
    """With one site there is no doubt which one is meant."""
    proxy = Proxy(tmp_path)
    out = proxy.raw(b"GET /health HTTP/1.0\r\n\r\n")
    assert out.startswith(b"HTTP/1.1 200 ") and out.endswith(b"ok\n")
    seen = proxy.origin.requests[-1]
    assert seen.header("host") == "localhost" and seen.header("x-forwarded-host") == "localhost"
    proxy.stop()


def test_no_host_and_several_sites(proxy):
    assert proxy.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")


def test_tls_1_2_is_refused(proxy):
    context = ssl.create_default_context(cafile=str(proxy.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    plain = socket.create_connection(("127.0.0.1", proxy.tls_port), 5)
    with pytest.raises(OSError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_plain_http_on_the_tls_port(proxy, origin):
    before = len(origin.requests)
    with socket.create_connection(("127.0.0.1", proxy.tls_port), 5) as sock:
        sock.sendall(head(path="/x"))
        try:
            assert b"200" not in Reader(sock).rest()
        except OSError:
            pass
    assert len(origin.requests) == before


def redirect(proxy, raw):
    with socket.create_connection(("127.0.0.1", proxy.redirect_port), 5) as sock:
        sock.sendall(raw)
        return Reader(sock).response()


def test_redirect_listener(proxy, origin):
    before = len(origin.requests)
    answer = redirect(proxy, head(path="/a?b=c", host="LOCALHOST:8080"))
    assert answer.status == 308 and answer.header("location") == "https://localhost/a?b=c"
    answer = redirect(proxy, head("POST", "/a", "Content-Length: 3") + b"abc")
    assert answer.status == 308 and answer.header("location") == "https://localhost/a"
    assert redirect(proxy, head("OPTIONS", "*")).header("location") == "https://localhost/"
    assert redirect(proxy, head(path="/a", host="evil.example")).status == 421
    assert len(origin.requests) == before


# --- other origins ---


def test_https_origin(tmp_path):
    authority, wrong = certificate(tmp_path, "origins"), certificate(tmp_path, "wrong")
    good = Origin(tls=certificate(tmp_path, "good", ("127.0.0.1", "localhost"), authority))
    other_name = Origin(tls=certificate(tmp_path, "othername", ("example.com",), authority))
    other_ca = Origin(tls=certificate(tmp_path, "otherca", ("127.0.0.1",), wrong))
    policy = os.path.join(os.path.dirname(__file__), "../../conf/policy.json")
    sites = [{"name": name, "hosts": [name], "origins": [origin.url], "origin_ca": str(authority[0]), "policy": policy}
             for name, origin in (("good", good), ("name", other_name), ("ca", other_ca))]
    sites.append({"name": "system", "hosts": ["system"], "origins": [good.url], "policy": policy})
    proxy = Proxy(tmp_path, sites=sites)
    body = os.urandom(300000)
    good.routes["/big"] = http_response(200, [TEXT], body)
    for _ in range(3):
        assert proxy.get("/big", host="good").body == body
        assert proxy.get("/up", host="good", method="POST", body=body).status == 200
        assert good.requests[-1].body == body
    assert proxy.get("/", host="name").status == 502
    assert proxy.get("/", host="ca").status == 502
    assert proxy.get("/", host="system").status == 502
    assert not other_name.requests and not other_ca.requests
    assert good.opened <= 3  # kept, plus the one that the site "system" refused
    proxy.stop()
    for origin in (good, other_name, other_ca):
        origin.stop()


@pytest.mark.parametrize("preserve", [True, False])
def test_origin_by_name(tmp_path, preserve):
    """A name of /etc/hosts, which may have an address that nobody listens on."""
    origin = Origin()
    proxy = Proxy(tmp_path, f"http://localhost:{origin.port}", site={"preserve_host": preserve})
    for _ in range(3):
        assert proxy.get("/x", host="localhost:99").body == b"ok\n"
    assert origin.requests[-1].header("host") == ("localhost:99" if preserve else f"localhost:{origin.port}")
    proxy.stop()
    origin.stop()


def test_origin_with_an_unknown_name(tmp_path):
    proxy = Proxy(tmp_path, "http://no-such-name.invalid:80", site={"connect_timeout": "500ms"})
    assert proxy.get("/x").status in (502, 504)
    proxy.stop()


@pytest.mark.parametrize("preserve", [True, False])
def test_unix_origin(tmp_path, preserve):
    origin = Origin(unix=tmp_path / "origin.sock")
    proxy = Proxy(tmp_path, origin, site={"preserve_host": preserve})
    assert proxy.get("/x").body == b"ok\n"
    assert origin.requests[-1].header("host") == "localhost"
    proxy.stop()
    origin.stop()


def test_unix_listener(tmp_path, origin):
    path = tmp_path / "http.sock"
    proxy = Proxy(tmp_path, origin)
    proxy.rewrite(dict(proxy.config, listen=proxy.config["listen"] + [{"address": f"unix:{path}"}]))
    assert proxy.hup()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        reader = Reader(sock)
        for _ in range(2):
            sock.sendall(head(path="/unix"))
            assert reader.response().body == b"ok\n"
    assert origin.requests[-1].header("x-forwarded-for") == "unknown"
    proxy.stop()


def test_ipv6_listener(tmp_path, origin):
    port = free_port()
    proxy = Proxy(tmp_path, origin)
    proxy.rewrite(dict(proxy.config, listen=proxy.config["listen"] + [{"address": f"[::1]:{port}"}]))
    assert proxy.hup()
    with socket.create_connection(("::1", port), 5) as sock:
        sock.sendall(head(path="/six"))
        assert Reader(sock).response().body == b"ok\n"
    assert origin.requests[-1].header("x-forwarded-for") == "::1"
    proxy.stop()


def test_hash_of_a_large_body_over_tls(proxy, origin):
    body = os.urandom(1 << 20) * 8
    origin.routes["/large"] = http_response(200, [TEXT], body)
    answer = proxy.get("/large", tls=True)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
    assert proxy.get("/up", method="POST", body=body, tls=True).status == 200
    assert hashlib.sha256(origin.requests[-1].body).digest() == hashlib.sha256(body).digest()


def test_error_pages(proxy):
    answer = proxy.get("/x", host="nowhere.example")
    page = answer.body.decode()
    assert answer.header("content-type") == "text/html; charset=utf-8" and answer.header("cache-control") == "no-store"
    assert page.startswith("<!doctype html>") and "<h1>" in page and "<script" not in page
    assert re.search(r"<p>.{20,}</p>", page)
    raw = proxy.raw(head("HEAD", "/x", "Connection: close", host="nowhere.example"))
    assert raw.endswith(b"\r\n\r\n") and b"Content-Length: " in raw  # the page's length, no page
