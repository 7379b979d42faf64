"""Transfers that crawl but never stop: they must not hold an origin's connection for ever."""
import socket
import struct
import threading
import time

import pytest

import h2
from harness import LOOPBACK, Cut, Proxy, Reader, chunked, free_port, http_response, wait_for

LIMITS = {"body_timeout": "1s", "send_timeout": "1s", "upload_rate": "4KiB", "download_rate": "4KiB"}


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    port = free_port()
    proxy = Proxy(tmp_path_factory.mktemp("pace"), origin, limits=LIMITS,
                  listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}])
    proxy.port = port
    yield proxy
    proxy.stop()


def trickle(send, seconds=8, size=1, pause=0.05):
    """Sends bytes until the peer has enough of it; how long that took."""
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        try:
            send(b"x" * size)
        except OSError:
            break
        time.sleep(pause)
    return time.monotonic() - start


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_that_crawls_is_cut(proxy, origin, framing):
    """Never silent for body_timeout, but slower than upload_rate; also behind a fast beginning."""
    raw, requests = len(origin.raw), len(origin.requests)
    with proxy.connect() as sock:
        field = b"Content-Length: 10000000" if framing == "length" else b"Transfer-Encoding: chunked"
        sock.sendall(b"POST /up HTTP/1.1\r\nHost: localhost\r\n" + field + b"\r\n\r\n")
        start = chunked(b"f" * 100000)[:-5] if framing == "chunked" else b"f" * 100000
        sock.sendall(start) # reaches the origin
        sock.setblocking(False)
        seen = []

        def send(data):
            sock.send(data if framing == "length" else chunked(data)[:-5])
            try:
                seen.append(sock.recv(65536))
            except BlockingIOError:
                return
            raise OSError
        assert 0.9 < trickle(send) < 6
        sock.setblocking(True)
        assert b"".join(seen)[:12] in (b"HTTP/1.1 408", b"")
    wait_for(lambda: len(origin.raw) > raw) # the origin saw it cut, never complete
    assert len(origin.requests) == requests


def test_an_upload_of_http_2_that_crawls_is_cut(proxy, origin):
    raw = len(origin.raw)
    with h2.Client(proxy) as client:
        stream = client.get("/up", method="POST", body=b"f" * 60000, end=False)

        def send(data):
            client.data(stream, data, end=False)
            client.step(0.001)
            if client.answers[stream].done:
                raise OSError
        assert 0.9 < trickle(send) < 6
        answer = client.answers[stream]
        assert answer.status in (408, None) and (answer.reset is not None or answer.ended)
        assert client.wait(client.get("/other")).status == 200 # the others live on
    wait_for(lambda: len(origin.raw) > raw)


def test_a_steady_upload_passes(proxy, origin):
    """Above the rate, for longer than any grace."""
    with proxy.connect() as sock:
        sock.sendall(b"POST /steady HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n")
        for _ in range(40):
            sock.sendall(b"s" * 1000)
            time.sleep(0.1)
        assert Reader(sock).response().status == 200
    assert len(origin.requests[-1].body) == 40000


def test_the_time_of_a_slow_origin_is_not_the_clients(proxy, origin):
    """An upload that waits for the origin is not late."""
    go = threading.Event()

    def early(conn, request):
        if request.path != "/wait":
            return False
        go.wait(4)
        return False
    origin.early = early
    try:
        with proxy.connect() as sock:
            sock.sendall(b"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12582912\r\n\r\n")
            timer = threading.Timer(3, go.set)
            timer.start()
            sock.settimeout(20)
            sock.sendall(b"w" * (12 << 20))
            assert Reader(sock).response().status == 200
    finally:
        origin.early = None


def test_a_reader_that_crawls_is_cut(proxy, origin):
    """It takes a byte now and then; the origin's connection is let go."""
    cut = []

    def fat(conn, _):
        try:
            conn.sendall(http_response(200, [("Content-Type", "text/plain")], b"f" * (64 << 20)))
        except OSError:
            cut.append(True)
            raise
    origin.routes["/fat"] = fat
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect((LOOPBACK, proxy.port))
        sock.sendall(b"GET /fat HTTP/1.1\r\nHost: localhost\r\n\r\n")

        def take(_):
            if cut or not sock.recv(60):
                raise OSError
        assert trickle(take, seconds=15) < 12
        assert cut


def test_a_window_that_opens_by_one_byte_is_given_up(proxy, origin):
    origin.routes["/large"] = http_response(200, [], b"l" * (1 << 20))
    with h2.Client(proxy, settings=[(4, 0)], window=False) as client: # INITIAL_WINDOW_SIZE
        stream = client.get("/large")

        def open_a_bit(_):
            client.send(h2.frame(h2.WINDOW, 0, stream, struct.pack(">I", 1)))
            client.step(0.001)
            if client.closed or client.answers[stream].done:
                raise OSError
        assert trickle(open_a_bit) < 6
        assert client.answers[stream].reset is not None and not client.answers[stream].ended
        assert 0 < len(client.answers[stream].body) < 1000


# --- trailers ---


BAD_TRAILERS = [b"X: a\0b\r\n", b"X : y\r\n", b" X: y\r\n", b"X: y\n", b"X\r\n", b": y\r\n", b"X: a\rb\r\n", b"X: y\r\n z\r\n",
                b"X: " + b"t" * 17000 + b"\r\n", b"X: t\r\n" * 4000]


@pytest.mark.parametrize("trailer", BAD_TRAILERS, ids=range(len(BAD_TRAILERS)))
def test_malformed_trailers_abort_the_request(proxy, origin, trailer):
    before = len(origin.requests)
    out = proxy.raw(b"POST /t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" +
                    trailer + b"\r\nGET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert out.count(b"HTTP/1.1 ") == 1 and out.startswith(b"HTTP/1.1 400")
    assert len(origin.requests) == before


@pytest.mark.parametrize("trailer", BAD_TRAILERS, ids=range(len(BAD_TRAILERS)))
def test_malformed_trailers_of_an_origin_cut_the_answer(proxy, origin, trailer):
    origin.routes["/bt"] = http_response(200, [("Transfer-Encoding", "chunked")], b"1\r\na\r\n0\r\n" + trailer + b"\r\n")
    with proxy.connect() as sock:
        sock.sendall(b"GET /bt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises((Cut, AssertionError)):
            answer = Reader(sock).response()
            assert answer.status == 200


def test_trailers_are_dropped_both_ways(proxy, origin):
    origin.routes["/tt"] = http_response(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-T")],
                                         b"1\r\na\r\n0\r\nX-T: 1\r\nSet-Cookie: _ga=1\r\n\r\n")
    out = proxy.raw(b"POST /tt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                    b"Trailer: Cookie\r\n\r\n1\r\na\r\n0\r\nCookie: _ga=1; sid=2\r\nX-Mine: 1\r\n\r\n")
    assert out.endswith(b"1\r\na\r\n0\r\n\r\n") and b"X-T" not in out and b"_ga" not in out
    got = origin.requests[-1]
    assert got.body == b"a" and b"_ga" not in got.raw and b"X-Mine" not in got.raw and not got.all("trailer")


def test_trailers_of_http_2_are_dropped(proxy, origin):
    with h2.Client(proxy) as client:
        stream = client.get("/tt", method="POST", body=b"abc", end=False)
        client.send(h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, stream,
                             client.fields([("cookie", "_ga=1"), ("x-mine", "1")])))
        answer = client.wait(stream)
        assert answer.status == 200 and answer.body == b"a" and len(answer.heads) == 1
    got = origin.requests[-1]
    assert got.body == b"abc" and b"_ga" not in got.raw and b"mine" not in got.raw


H2_TRAILERS = {
    "pseudo": ([(":path", "/evil")], True), "upper case": ([("X-Up", "1")], True), "NUL": ([("x", "a\0b")], True),
    "connection": ([("connection", "close")], True), "not the end": ([("x", "1")], False),
    "CR LF": ([("x", "a\r\nb: c")], True), "too large": ([("x", "t" * 9000)] * 2, True),
    "a bomb": ([("x-bomb", "b" * 3000)] * 3000, True),
}


@pytest.mark.parametrize("name", H2_TRAILERS)
def test_malformed_trailers_of_http_2(proxy, origin, name):
    fields, end = H2_TRAILERS[name]
    before = len(origin.requests)
    with h2.Client(proxy) as client:
        stream = client.get("/ht", method="POST", body=b"abc", end=False)
        block = client.fields(fields)
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        for i, piece in enumerate(pieces):
            client.send(h2.frame(h2.CONTINUATION if i else h2.HEADERS,
                                 (h2.END_STREAM if end and not i else 0) |
                                 (h2.END_HEADERS if i == len(pieces) - 1 else 0), stream, piece))
        answer = client.wait(stream)
        assert answer.reset not in (None, h2.NO_ERROR) or client.goaway or client.closed
    assert len(origin.requests) == before
