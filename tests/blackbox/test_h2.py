"""HTTP/2 from visitors: what it must do, what it must refuse, and what a hostile client may not."""
import os
import struct
import subprocess
import threading
import time

import pytest

import h2
from harness import LOOPBACK, Origin, Proxy, certificate, free_port, http_response, wait_for


def slow_answer(conn, request):
    time.sleep(1)
    return http_response(200, [], b"late")


def tick(conn, request):
    """One event, then silence until the client goes."""
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n")
    conn.settimeout(10)
    try:
        while conn.recv(100):
            pass
    except OSError:
        pass
    tick.gone.set()


tick.gone = threading.Event()


def informed(conn, request):
    conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: "
                 b"<https://www.google-analytics.com/x.js>; rel=preload\r\n\r\n")
    return http_response(200, [], b"ok")


def cut_short(conn, request):
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    conn.close()


PAGE = b"""<!doctype html><title>t</title><body><p>kept</p>
<script async src="https://www.googletagmanager.com/gtag/js?id=G-1"></script></body>"""


@pytest.fixture(name="origin", scope="module")
def origin_fixture():
    origin = Origin()
    origin.routes.update({
        "/slow": slow_answer, "/events": tick, "/hints": informed,
        "/big": http_response(200, [], b"0123456789abcdef" * 262144),
        "/echo": lambda conn, request: http_response(200, [], request.body),
        "/page": http_response(200, [("Content-Type", "text/html"), ("Set-Cookie", "_ga=1"),
                                     ("Set-Cookie", "sid=2")], PAGE),
        "/none": b"HTTP/1.1 204 No Content\r\n\r\n",
        "/odd": http_response(200, [("Connection", "x-hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"),
                                    ("X-Kept", "1")], b"odd"),
        "/bad": cut_short,
    })
    yield origin
    origin.stop()


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    folder = tmp_path_factory.mktemp("h2")
    os.chmod(folder, 0o755)
    authority = certificate(folder, "authority")
    cert, key = certificate(folder, "server", ("localhost", LOOPBACK), authority)
    tls = {"certificates": [{"cert": str(cert), "key": str(key)}]}
    ports = [free_port() for _ in range(3)]
    proxy = Proxy(folder, origin, limits={"send_timeout": "1s", "request_header_timeout": "2s"}, listen=[
        {"address": f"{LOOPBACK}:{ports[0]}", "h2c": True},
        {"address": f"{LOOPBACK}:{ports[1]}", "tls": tls},
        {"address": f"{LOOPBACK}:{ports[2]}", "tls": tls, "http2": False}])
    proxy.port, proxy.tls_port, proxy.ca, proxy.old_port = ports[0], ports[1], authority[0], ports[2]
    yield proxy
    proxy.stop()


@pytest.fixture(name="client", params=["h2c", "tls"])
def client_fixture(request, proxy):
    with h2.Client(proxy, tls=request.param == "tls") as client:
        client.tls = request.param == "tls"
        yield client


def seen(origin, mark):
    return [r for r in origin.requests if mark in r.target]


def test_a_request_becomes_one_of_http_1(client, origin):
    del origin.requests[:]
    answer = client.wait(client.get("/one?x=1", [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"),
                                                 ("x-own", "v")]))
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert answer.header("content-length") == "3" and answer.header("date")
    [request] = seen(origin, "/one")
    assert request.all("Host") == ["localhost"] and request.header("Via") == "2.0 consentd"
    assert request.all("Cookie") == ["a=1; b=2"] and request.header("X-Own") == "v"
    assert request.header("TE") is None and request.header("Transfer-Encoding") is None
    assert request.header("X-Forwarded-Proto") == ("https" if client.tls else "http")


def test_what_belongs_to_a_connection_stays_behind(client):
    answer = client.wait(client.get("/odd"))
    assert answer.status == 200 and answer.header("x-kept") == "1"
    assert not any(answer.header(n) for n in ("connection", "x-hop", "keep-alive", "transfer-encoding"))


def test_bodies_up(client, origin):
    body = os.urandom(40000)
    with_length = client.get("/echo", [("content-length", str(len(body)))], method="POST", body=body)
    assert client.wait(with_length).body == body
    assert client.wait(client.get("/echo", method="POST", body=body)).body == body
    assert client.wait(client.get("/echo", method="POST", body=b"")).body == b""
    assert client.wait(client.get("/echo", [("content-length", "0")], method="POST", body=b"")).status == 200
    late = client.get("/echo", [("expect", "100-continue")], method="POST", end=False)
    while not client.answers[late].heads:
        assert client.step()
    assert dict(client.answers[late].heads[0])[":status"] == "100"
    client.data(late, b"now")
    assert client.wait(late).body == b"now"


def test_a_large_upload_gets_its_credit(client):
    """More than any window: what the origin takes is given back."""
    body, sent, credit = os.urandom(700000), 0, [65535, 65535]
    stream = client.get("/echo", method="POST", end=False)
    take = client._take

    def watch(kind, flags, number, payload):
        if kind == h2.WINDOW:
            credit[number == stream] += struct.unpack(">I", payload)[0]
        take(kind, flags, number, payload)

    client._take = watch
    while sent < len(body):
        room = min(credit[0], credit[1], 16384, len(body) - sent)
        if room == 0:
            assert client.step()
            continue
        client.send(h2.frame(h2.DATA, 0, stream, body[sent:sent + room]))
        sent, credit[0], credit[1] = sent + room, credit[0] - room, credit[1] - room
    client.data(stream, b"")
    assert client.wait(stream).body == body


def test_answers_without_a_body(client):
    head = client.wait(client.get("/one", method="HEAD"))
    assert (head.status, head.body, head.header("content-length")) == (200, b"", "3")
    assert client.wait(client.get("/none")).status == 204
    hints = client.wait(client.get("/hints"))
    assert [dict(h)[":status"] for h in hints.heads] == ["103", "200"]
    assert hints.all("link") == ["</a.css>; rel=preload"]
    assert client.wait(client.get("/", host="elsewhere.example")).status == 421


def test_many_at_once_and_a_slow_one_holds_nobody_up(client):
    slow = client.get("/slow")
    fast = [client.get(f"/fast{i}") for i in range(60)]
    client.wait(*fast)
    assert all(client.answers[s].status == 200 for s in fast) and not client.answers[slow].done
    assert client.wait(slow).body == b"late"


def test_large_answers(client):
    streams = [client.get("/big") for _ in range(3)]
    client.wait(*streams)
    assert all(client.answers[s].body == b"0123456789abcdef" * 262144 for s in streams)


def test_events_come_at_once_and_a_reset_reaches_the_origin(client):
    tick.gone.clear()
    stream = client.get("/events")
    while client.answers[stream].body != b"data: 1\n\n":
        assert client.step()
    client.send(h2.frame(h2.RST, 0, stream, struct.pack(">I", h2.CANCEL)))
    assert tick.gone.wait(10)
    assert client.wait(client.get("/one")).status == 200


def test_a_cut_answer_does_not_look_complete(client):
    answer = client.wait(client.get("/bad"))
    assert answer.status == 502 or (not answer.ended and answer.reset not in (None, h2.NO_ERROR))


def test_pages_are_filtered(client):
    answer = client.wait(client.get("/page", [("sec-fetch-dest", "document")]))
    assert b"googletagmanager" not in answer.body and b"kept" in answer.body and b"consentd" in answer.body
    assert answer.all("set-cookie") == ["sid=2"]


def test_an_early_answer_ends_the_upload(client):
    """RFC 9113 8.1: the answer first, the rest is read for a while, then NO_ERROR."""
    stream = client.get("/", host="elsewhere.example", method="POST", end=False)
    answer = client.wait(stream)
    assert answer.status == 421 and answer.ended and answer.reset is None
    while answer.reset is None and client.step():
        pass
    assert answer.reset == h2.NO_ERROR


def test_an_early_answer_waits_for_the_rest(client):
    """Many clients, curl among them, take a reset that overtakes their body for a lost answer."""
    stream = client.get("/", host="elsewhere.example", method="POST", end=False)
    assert client.wait(stream).status == 421
    client.data(stream, b"x" * 40000)
    assert client.wait(client.get("/one")).status == 200
    assert client.answers[stream].reset is None


BASE = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/evil")]


def but(**changes):
    return [(n, changes.get(n[1:], v)) for n, v in BASE]


def without(name):
    return [(n, v) for n, v in BASE if n != name]


MALFORMED = {
    "upper case": BASE + [("X-Upper", "1")],
    "connection": BASE + [("connection", "close")],
    "keep-alive": BASE + [("keep-alive", "1")],
    "proxy-connection": BASE + [("proxy-connection", "close")],
    "transfer-encoding": BASE + [("transfer-encoding", "chunked")],
    "upgrade": BASE + [("upgrade", "websocket")],
    "te": BASE + [("te", "gzip")],
    "no method": without(":method"),
    "no path": without(":path"),
    "no scheme": without(":scheme"),
    "no host": without(":authority"),
    "method twice": BASE + [(":method", "GET")],
    "path twice": BASE[:3] + [(":path", "/evil"), (":path", "/evil2")],
    "pseudo behind": [("x-a", "1")] + BASE,
    "unknown pseudo": BASE + [(":foo", "1")],
    "status": BASE + [(":status", "200")],
    "protocol": BASE + [(":protocol", "websocket")],
    "empty path": but(path=""),
    "path without slash": but(path="evil"),
    "absolute path": but(path="http://elsewhere/evil"),
    "path with space": but(path="/evil x"),
    "path with fragment": but(path="/evil#x"),
    "path with CR LF": but(path="/evil HTTP/1.1\r\nX: y"),
    "path with DEL": but(path="/evil\x7f"),
    "star": but(path="*"),
    "method with space": but(method="GET /evil HTTP/1.1\r\nx: "),
    "empty method": but(method=""),
    "connect": but(method="CONNECT"),
    "trace": but(method="TRACE"),
    "scheme": but(scheme="ftp"),
    "authority with user": but(authority="u@localhost"),
    "authority with path": but(authority="localhost/evil"),
    "authority list": but(authority="localhost,elsewhere"),
    "empty authority": but(authority=""),
    "host differs": BASE + [("host", "elsewhere")],
    "host twice": BASE + [("host", "localhost"), ("host", "localhost")],
    "value with CR LF": BASE + [("x-a", "1\r\nx-b: 2")],
    "value with LF": BASE + [("x-a", "1\nx")],
    "value with CR": BASE + [("x-a", "1\rx")],
    "value with NUL": BASE + [("x-a", "1\0")],
    "value begins with space": BASE + [("x-a", " 1")],
    "value ends with space": BASE + [("x-a", "1 ")],
    "name with space": BASE + [("x a", "1")],
    "name with colon": BASE + [("x:a", "1")],
    "name with LF": BASE + [("x\na", "1")],
    "empty name": BASE + [("", "1")],
    "length without body": BASE + [("content-length", "5")],
    "length that is none": BASE + [("content-length", "+0")],
    "lengths that differ": BASE + [("content-length", "0"), ("content-length", "1")],
    "expectation": BASE + [("expect", "200-ok")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_never_reach_the_origin(name, proxy, origin):
    with h2.Client(proxy) as client:
        stream = client.request(MALFORMED[name])
        answer = client.wait(stream)
        assert answer.reset == h2.PROTOCOL_ERROR or 400 <= (answer.status or 0) < 600 or client.goaway
        if client.goaway is None: # the connection lives on, and in step
            assert client.wait(client.get("/after")).body == b"ok\n"
    assert not seen(origin, "evil")


@pytest.mark.parametrize("length,body", [("4", b"12345"), ("6", b"12345"), ("0", b"1")])
def test_a_body_that_is_not_as_long_as_announced(proxy, origin, length, body):
    with h2.Client(proxy) as client:
        answer = client.wait(client.get("/evil", [("content-length", length)], method="POST", body=body))
        assert answer.reset == h2.PROTOCOL_ERROR or answer.status in (400, 502)
    assert not [r for r in seen(origin, "evil") if r.body == body]


def test_what_is_too_large_is_said(proxy):
    with h2.Client(proxy) as client:
        assert client.wait(client.get("/" + "x" * 16400)).status == 414
        many = [("x-%d" % i, "1") for i in range(300)]
        assert client.wait(client.get("/", many)).status == 431
        assert client.wait(client.get("/after")).status == 200


def flood(client, data, times=200, each=200):
    """Sends until the connection is over, or all of it."""
    for _ in range(times):
        if client.closed:
            break
        client.send(data * each)
        client.sock.setblocking(False)
        try:
            client.step(0)
        except (BlockingIOError, ssl_want()):
            pass
        client.sock.settimeout(10)
    return client.until_closed()


def ssl_want():
    import ssl
    return ssl.SSLWantReadError


FLOODS = {
    "settings": h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)),
    "empty settings": h2.frame(h2.SETTINGS),
    "settings acks": h2.frame(h2.SETTINGS, h2.ACK),
    "ping": h2.frame(h2.PING, 0, 0, b"12345678"),
    "priority": h2.frame(h2.PRIORITY, 0, 1, struct.pack(">IB", 0, 1)),
    "window": h2.frame(h2.WINDOW, 0, 0, struct.pack(">I", 1)),
    "unknown": h2.frame(0x77, 0, 0, b""),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_of_frames_end_the_connection(name, proxy):
    before = proxy.get("/").status
    with h2.Client(proxy) as client:
        assert flood(client, FLOODS[name])
        if client.goaway: # an acknowledgement of nothing is an error by itself
            assert client.goaway[1] == h2.CALM or \
                (name == "settings acks" and client.goaway[1] == h2.PROTOCOL_ERROR)
    assert before == proxy.get("/").status == 200


def test_rapid_reset(proxy, origin):
    with h2.Client(proxy) as client:
        for _ in range(3000):
            stream = client.get("/rapid")
            client.send(h2.frame(h2.RST, 0, stream, struct.pack(">I", h2.CANCEL)))
            if client.closed:
                break
        assert client.until_closed()
    assert len(seen(origin, "/rapid")) < 1000
    assert proxy.get("/").status == 200
    wait_for(lambda: "consentd_http2_floods_total 0" not in proxy.ctl("metrics").stdout)


def test_empty_data(proxy):
    with h2.Client(proxy) as client:
        stream = client.get("/echo", method="POST", end=False)
        assert flood(client, h2.frame(h2.DATA, 0, stream))


def test_continuations_without_end(proxy):
    with h2.Client(proxy) as client:
        client.send(h2.frame(h2.HEADERS, 0, 1, client.fields(BASE)))
        assert flood(client, h2.frame(h2.CONTINUATION, 0, 1, b"\x00\x01x\x01y"), times=50, each=20)


def test_a_head_that_never_ends_is_not_waited_for(proxy):
    with h2.Client(proxy) as client:
        client.send(h2.frame(h2.HEADERS, 0, 1, client.fields(BASE)[:5]))
        start = time.monotonic()
        assert client.until_closed(20) and time.monotonic() - start < 15


def test_header_bomb(proxy):
    """A table entry of 4 KB, named 16,000 times in one block."""
    with h2.Client(proxy) as client:
        big = client.fields(BASE + [("x-bomb", "b" * 3900)])
        client.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, big + b"\xbe" * 16000))
        client.answers[1] = h2.Answer()
        answer = client.wait(1)
        assert answer.status == 431 or answer.reset is not None or client.goaway


def test_a_window_that_stays_shut_is_given_up(proxy):
    with h2.Client(proxy, settings=[(4, 0)], window=False) as client:
        answer = client.wait(client.get("/big"))
        assert answer.status == 200 and answer.reset is not None
        assert proxy.get("/").status == 200


def test_too_many_streams_are_refused(proxy):
    with h2.Client(proxy) as client:
        while 3 not in client.settings:
            assert client.step()
        assert client.settings[3] == 100
        streams = [client.get("/slow") for _ in range(130)]
        client.wait(*streams)
        answers = [client.answers[s] for s in streams]
        assert sum(a.reset == h2.REFUSED for a in answers) == 30 or client.goaway
        assert sum(a.status == 200 for a in answers) == 100 or client.goaway


@pytest.mark.parametrize("data", [
    h2.frame(h2.DATA, 0, 0, b"x"), h2.frame(h2.HEADERS, 4, 2, b"\x82"), h2.frame(h2.PUSH, 4, 1, b"\0\0\0\2\x82"),
    h2.frame(h2.SETTINGS, 0, 1), h2.frame(h2.SETTINGS, 0, 0, b"12345"), h2.frame(h2.PING, 0, 0, b"1"),
    h2.frame(h2.CONTINUATION, 4, 1, b"\x82"), h2.frame(h2.WINDOW, 0, 0, b"\0\0\0\0"),
    h2.frame(h2.DATA, 0, 0, b"x" * 20000), h2.frame(h2.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4])
def test_broken_frames_end_the_connection(proxy, data):
    with h2.Client(proxy) as client:
        client.send(data)
        assert client.until_closed()
        assert client.goaway is None or client.goaway[1] != 0
    assert proxy.get("/").status == 200


def test_half_a_preface(proxy):
    assert b"400" in proxy.raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").split(b"\r\n")[0] + b"400"
    with proxy.connect() as sock:
        for byte in h2.PREFACE + h2.frame(h2.SETTINGS):
            sock.sendall(bytes([byte]))
        assert sock.recv(9)[3] == h2.SETTINGS


def test_http_1_is_still_spoken(proxy):
    assert proxy.get("/one", tls=True).status == 200
    port, proxy.tls_port = proxy.tls_port, proxy.old_port
    try:
        with h2.Client(proxy, tls=True) as client:
            assert client.sock.selected_alpn_protocol() == "http/1.1"
    finally:
        proxy.tls_port = port


def test_other_clients(proxy, tmp_path):
    url = f"https://localhost:{proxy.tls_port}"
    curl = ["curl", "-sS", "--cacert", str(proxy.ca), "--http2", "-w", "%{http_version} %{http_code}"]
    out = subprocess.run(curl + [url + "/one"], capture_output=True, text=True, timeout=30, check=True)
    assert out.stdout == "ok\n2 200"
    (tmp_path / "up").write_bytes(os.urandom(300000))
    out = subprocess.run(curl + ["-o", str(tmp_path / "down"), "--data-binary", f"@{tmp_path}/up", url + "/echo"],
                         capture_output=True, text=True, timeout=30, check=True)
    assert out.stdout == "2 200" and (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    out = subprocess.run(["nghttp", "-nv", "--no-verify-peer", url + "/page"], capture_output=True, text=True,
                         timeout=30, check=True)
    assert ":status: 200" in out.stdout
    out = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "20", f"http://localhost:{proxy.port}/one"],
                         capture_output=True, text=True, timeout=60, check=True)
    assert "2000 succeeded, 0 failed, 0 errored" in out.stdout


def test_the_access_log_names_it(tmp_path, origin):
    port = free_port()
    proxy = Proxy(tmp_path, origin, access_log=str(tmp_path / "access.log"),
                  listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}])
    proxy.port = port
    with h2.Client(proxy) as client:
        assert client.wait(client.get("/logged")).status == 200
    wait_for(lambda: '"GET /logged HTTP/2.0" 200' in (tmp_path / "access.log").read_text())
    proxy.stop()


def test_a_drain_says_goodbye_and_loses_nothing(tmp_path, origin):
    port = free_port()
    proxy = Proxy(tmp_path, origin, drain_timeout="10s", listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}])
    proxy.port = port
    with h2.Client(proxy) as client:
        stream = client.get("/slow")
        while not seen(origin, "/slow"):
            client.step(1)
        proxy.terminate()
        assert client.wait(stream).body == b"late"
        assert client.until_closed() and client.goaway and client.goaway[1] == h2.NO_ERROR
    proxy.stop()
