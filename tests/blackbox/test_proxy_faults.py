"""Time-outs, origins that are down, slow or wrong, full pools, clients that leave, drain, access log."""
import json
import re
import socket
import threading
import time

import pytest

import h2
from harness import LOOPBACK, Cut, Origin, Proxy, Reader, free_port, holding, http_response, wait_for

TEXT = ("Content-Type", "text/plain")
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    proxy = Proxy(tmp_path_factory.mktemp("proxy"), origin, tls=True, access_log="access.log", site={
        "response_timeout": "1s", "connect_timeout": "1s", "origin_connections": 8,
        "hosts": ["localhost", "a"], "origin_idle_timeout": "300ms"}, limits={
        "request_header_timeout": "400ms", "body_timeout": "400ms", "keepalive_timeout": "600ms",
        "send_timeout": "700ms", "header_size": "8KiB", "target": "2KiB", "fields": 50})
    yield proxy
    proxy.stop()


def gone(sock, seconds=5):
    """All bytes until the proxy closes."""
    sock.settimeout(seconds)
    return Reader(sock).rest()


# --- the client's time-outs ---


@pytest.mark.parametrize("raw", [b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"GET / HTTP/1.1\r\nHost: loc"])
def test_slow_head(proxy, raw):
    with proxy.connect() as sock:
        sock.sendall(raw)
        out = gone(sock)
    assert out.startswith(b"HTTP/1.1 408 ") and b"connection: close" in out.lower()


def test_head_that_trickles(proxy):
    """The limit is for the whole head: a byte now and then does not help."""
    with proxy.connect() as sock:
        sock.settimeout(0.05)
        sock.sendall(b"GET / HTTP/1.1\r\n")
        start, out = time.monotonic(), b""
        while not out and time.monotonic() < start + 5:
            try:
                sock.sendall(b"X: y\r\n")
                out = sock.recv(4096)
            except TimeoutError:
                pass
        assert out.startswith(b"HTTP/1.1 408 ")


def test_silence_before_the_first_request(proxy):
    with proxy.connect() as sock:
        assert gone(sock) == b""


@pytest.mark.parametrize("fields", [b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"])
def test_slow_body(proxy, origin, fields):
    before = len(origin.requests)
    with proxy.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + fields)
        out = gone(sock)
    assert out.startswith(b"HTTP/1.1 408 ") and len(origin.requests) == before


def test_idle_connection_closes_silently(proxy):
    with proxy.connect() as sock:
        reader = Reader(sock)
        sock.sendall(GET)
        assert reader.response().status == 200
        assert gone(sock) == b""


def test_silent_tls_client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.tls_port), 5) as sock:
        assert gone(sock) == b""


def test_client_that_does_not_read(proxy, origin):
    """It is cut after send_timeout, and the origin's connection with it."""
    cut = []

    def fat(conn, _):
        try:
            conn.sendall(http_response(200, [TEXT], b"f" * (64 << 20)))
        except OSError:
            cut.append(True)
            raise
    origin.routes["/fat"] = fat
    with proxy.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.sendall(b"GET /fat HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: cut)
        with pytest.raises((Cut, OSError)):
            Reader(sock).response()


def test_client_that_reads_slowly_is_served(proxy, origin):
    """Slower than our buffers fill, for longer than send_timeout, but never silent."""
    size = 4 << 20
    origin.routes["/slowread"] = http_response(200, [TEXT], b"s" * size)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", proxy.port))
        sock.sendall(b"GET /slowread HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got, start = 0, time.monotonic()
        while piece := sock.recv(65536 if time.monotonic() > start + 3 else 4096):
            got += len(piece)
            if time.monotonic() < start + 3:
                time.sleep(0.01)
    assert got > size


# --- the origin's ---


def test_origin_is_down(tmp_path):
    port = free_port()
    proxy = Proxy(tmp_path, port)
    answer = proxy.get("/")
    assert answer.status == 502 and b"try again" in answer.body
    assert proxy.get("/", method="POST", body=b"x").status == 502
    origin = Origin()
    late = socket.socket()
    late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    late.bind(("127.0.0.1", port))
    late.listen(5)
    origin.socket.close()
    origin.socket = late
    threading.Thread(target=origin._accept, daemon=True).start()
    wait_for(lambda: proxy.get("/").status == 200, 6)
    proxy.stop()
    origin.stop()


def test_one_origin_of_two_is_down(tmp_path):
    origin = Origin()
    proxy = Proxy(tmp_path, [free_port(), origin, free_port()])
    assert [proxy.get("/").status for _ in range(10)] == [200] * 10
    assert [proxy.get("/", method="POST", body=b"x").status for _ in range(5)] == [200] * 5
    assert origin.requests[-1].body == b"x"
    proxy.stop()
    origin.stop()


def test_connect_timeout(tmp_path):
    with socket.socket() as full:  # its backlog is full: SYNs are dropped
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filler = [socket.socket() for _ in range(4)]
        for sock in filler:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        proxy = Proxy(tmp_path, full.getsockname()[1], site={"connect_timeout": "300ms"})
        assert proxy.get("/").status == 504
        proxy.stop()
        for sock in filler:
            sock.close()


def test_response_timeout(proxy, origin):
    origin.routes["/never"] = lambda conn, request: time.sleep(3)
    answer = proxy.get("/never")
    assert answer.status == 504
    assert proxy.get("/never", method="POST", body=b"x" * 10).status == 504

    def half(conn, _):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhello")
        time.sleep(3)
    origin.routes["/half"] = half
    with pytest.raises((Cut, OSError)):
        proxy.get("/half")


def test_slow_but_steady_origin(proxy, origin):
    """Longer than response_timeout in all, never silent for so long."""
    def steady(conn, _):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.15)
            conn.sendall(b"x")
    origin.routes["/steady"] = steady
    assert proxy.get("/steady").body == b"x" * 10


def test_origin_silent_after_the_client_was_slow(proxy, origin):
    """The origin's time-out runs again once the client reads on."""
    def handler(conn, _):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99000000\r\n\r\n")
        conn.sendall(b"x" * 8000000)
        time.sleep(5)
    origin.routes["/pause"] = handler
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", proxy.port))
        sock.settimeout(4)
        sock.sendall(b"GET /pause HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.5)  # choked by now
        got = 0
        try:
            while piece := sock.recv(1 << 20):
                got += len(piece)
        except ConnectionError:
            pass
        assert got < 9000000  # and no TimeoutError: it was cut


def test_upload_to_an_origin_that_reads_slowly(tmp_path):
    """The wait is ours, not the client's: no 408 while the origin is busy reading."""
    def early(conn, request):
        time.sleep(1)
        return False
    origin = Origin(early=early)
    proxy = Proxy(tmp_path, origin, limits={"body_timeout": "300ms"})
    body = b"u" * (24 << 20)
    assert proxy.get("/up", method="POST", body=body).status == 200
    assert origin.requests[-1].body == body
    proxy.stop()
    origin.stop()


def test_full_pool_waits(tmp_path):
    """More requests than connections: the rest waits its turn, and gets it."""
    origin = Origin()
    proxy = Proxy(tmp_path, origin, site={"origin_connections": 8, "queue_timeout": "30s"})

    def slow(conn, request):
        time.sleep(0.1)
        return http_response(200, [TEXT], request.target.encode())
    for i in range(24):
        origin.routes[f"/wait{i}"] = slow
    results = {}

    def ask(i):
        results[i] = proxy.get(f"/wait{i}").body
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: f"/wait{i}".encode() for i in range(24)} and origin.opened <= 8
    proxy.stop()
    origin.stop()


def test_full_pool_for_too_long(tmp_path):
    gate, hold = holding(b"held")
    origin = Origin(hold)
    proxy = Proxy(tmp_path, origin, site={"origin_connections": 1, "queue_timeout": "300ms"})
    with proxy.connect() as first, proxy.connect(timeout=30) as leaver:
        first.sendall(GET)
        wait_for(lambda: origin.requests)
        leaver.sendall(GET)
        answer = proxy.get("/second")
        assert answer.status == 503 and int(answer.header("retry-after")) > 0
        gate.set()
        assert Reader(first).response().body == b"held"
    assert proxy.get("/third").body == b"held"
    proxy.stop()
    origin.stop()


@pytest.mark.parametrize("behind", [b"", GET], ids=["alone", "pipelined"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_client_that_leaves_while_waiting(tmp_path, how, behind):
    """Its slot and its place in the queue are free again."""
    gate, hold = holding(b"x", "/hold")
    origin = Origin(hold)
    proxy = Proxy(tmp_path, origin, site={"origin_connections": 1, "queue_timeout": "20s"})
    leavers = [proxy.connect() for _ in range(3)]
    for sock in leavers:  # one at the origin, two in the queue
        sock.sendall(b"GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n" + behind)
    wait_for(lambda: origin.requests)
    for sock in leavers:
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.close()
    assert proxy.get("/free").status == 200
    gate.set()
    proxy.stop()
    origin.stop()


def test_kept_connection_that_went_stale(tmp_path):
    """GET is sent again on a new connection; POST is not, and gets 502 or a fresh connection."""
    served = []

    def once(conn, request):
        served.append(request)
        conn.sendall(http_response(200, [TEXT], b"%d" % len(served)))
        if request.path == "/last":
            reader = Reader(conn)
            try:
                reader.request()  # read the next request, then hang up without an answer
            finally:
                conn.close()
    origin = Origin(once)
    proxy = Proxy(tmp_path, origin)
    assert proxy.get("/last").body == b"1"
    assert proxy.get("/again").status == 200
    assert proxy.get("/last").status == 200
    before = len(served)
    assert proxy.get("/post", method="POST", body=b"x").status == 502
    assert len(served) == before, "a POST was sent twice"
    assert proxy.get("/end").status == 200
    proxy.stop()
    origin.stop()


def test_idle_origin_connections_close(tmp_path):
    origin = Origin()
    proxy = Proxy(tmp_path, origin, site={"origin_idle_timeout": "200ms"})
    assert proxy.get("/").status == 200 and origin.connections
    wait_for(lambda: not origin.connections)
    assert proxy.get("/").status == 200 and origin.opened == 2
    proxy.stop()
    origin.stop()


# --- limits ---


@pytest.mark.parametrize("status, raw", [
    (414, b"GET /" + b"a" * 2100 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (414, b"GET /" + b"a" * 100000),
    (431, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 60 + b"\r\n"),
    (505, b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"),
    (501, b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n"),
    (405, b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (413, b"POST /.consent/choice HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n"),
])
def test_limits(proxy, status, raw):
    out = proxy.raw(raw)
    assert out.startswith(b"HTTP/1.1 %d " % status), out[:100]
    assert out.count(b"HTTP/1.1 ") == 1 and b"connection: close" in out.lower()


def test_a_body_has_a_limit_where_one_is_set(tmp_path, origin):
    """A length that says so reaches no origin, nor is 100 said to it; what turns out too long is never complete there."""
    port = free_port()
    proxy = Proxy(tmp_path, origin, limits={"body_size": "50000B"}, listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}])
    proxy.port, good, piece = port, b"x" * 50000, b"1388\r\n" + b"x" * 5000 + b"\r\n"
    chunked_head = b"POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert proxy.get("/up", method="POST", body=good).status == 200
    assert proxy.raw(chunked_head + piece * 10 + b"0\r\n\r\n", timeout=1).startswith(b"HTTP/1.1 200 ")
    origin.requests.clear()
    for raw in (b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50001\r\n\r\n",
                b"POST /up HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 50001\r\n\r\n",
                b"GET /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50001\r\n\r\n" + good + b"x" + GET,
                chunked_head + piece * 10 + b"1\r\nx\r\n0\r\n\r\n" + GET):
        out = proxy.raw(raw)
        assert re.findall(rb"HTTP/1.1 (\d+)", out) == [b"413"] and b"connection: close" in out.lower(), out
    with h2.Client(proxy) as client:
        for extra in ([("content-length", "50001")], []):
            assert client.wait(client.get("/up", extra, method="POST", body=good + b"x")).status == 413
        assert client.wait(client.get("/up", method="POST", body=good)).status == 200
    assert [len(r.body) for r in origin.requests] == [len(good)]
    proxy.stop()


def test_what_must_pass(proxy, origin):
    assert proxy.get("/" + "a" * 2000).status == 200
    assert proxy.get("/", [("X", "b" * 7000)]).status == 200
    assert proxy.get("/", [(f"X{i}", "y") for i in range(40)]).status == 200


def test_more_connections_than_allowed(tmp_path):
    origin = Origin()
    proxy = Proxy(tmp_path, origin, limits={"connections": 10})
    held = [proxy.connect() for _ in range(10)]
    for sock in held:
        sock.sendall(GET)
        assert Reader(sock).response().status == 200
    with pytest.raises((Cut, OSError)):
        with proxy.connect() as sock:
            sock.sendall(GET)
            Reader(sock).response()
    for sock in held:
        sock.close()
    wait_for(lambda: proxy.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200"))
    proxy.stop()
    origin.stop()


# --- drain ---


def test_drain_finishes_what_was_begun(tmp_path):
    """SIGTERM while answers are under way: idle connections close, the others finish."""
    size = 3 << 20

    def slow(conn, request):
        conn.sendall(http_response(200, [TEXT, ("Content-Length", str(size))]))
        for _ in range(6):
            time.sleep(0.1)
            conn.sendall(b"d" * (size // 6))
    origin = Origin()
    origin.routes["/slow"] = slow
    proxy = Proxy(tmp_path, origin, drain_timeout="10s")
    with proxy.connect() as idle, proxy.connect() as busy, proxy.connect() as begun:
        idle.sendall(GET)
        assert Reader(idle).response().status == 200
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        begun.sendall(GET[:20])
        wait_for(lambda: any(r.path == "/slow" for r in origin.requests))
        proxy.terminate()
        time.sleep(0.2)
        begun.sendall(GET[20:])
        answer = Reader(begun).response()
        assert answer.status == 200 and answer.header("connection") == "close"
        assert len(Reader(busy).response().body) == size
        assert gone(idle) == b""
    proxy.stop()
    origin.stop()


def test_drain_waits_for_bytes_that_are_still_leaving(tmp_path):
    """An answer that is complete for us but not yet read by a slow client is not cut."""
    size = 12 << 20
    origin = Origin()
    origin.routes["/big"] = http_response(200, [TEXT], b"b" * size)
    proxy = Proxy(tmp_path, origin, drain_timeout="20s")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", proxy.port))
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        sock.settimeout(10)
        got = 0
        while got < size - 200000:
            got += len(sock.recv(65536))
        proxy.terminate()
        time.sleep(1.5)
        while piece := sock.recv(4096):
            got += len(piece)
        assert got > size
    proxy.stop()
    origin.stop()


# --- the access log ---


LINE = re.compile(r'^(\S+) - - \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "(\S+) (\S+) (HTTP/1\.[01])" (\d{3}) '
                  r'(\d+) "-" "-" (\d+)ms (\S+) (\S+) \d+/\d+/\d+/\d+ (".*"|-)$')


def lines(path):
    return [LINE.match(x) or x for x in path.read_text().splitlines()]


def test_access_log(tmp_path):
    origin = Origin()
    origin.routes["/page"] = http_response(200, [TEXT], b"12345")
    proxy = Proxy(tmp_path, origin, access_log="access.log")
    proxy.get("/page?secret=1&mail=a@b", [("Cookie", "session=topsecret")])
    proxy.get("/evil\"quote", host="nowhere")
    proxy.raw(b"GARBAGE\x01\r\n\r\n")
    path = tmp_path / "access.log"
    wait_for(lambda: path.read_text().count("\n") == 3)
    first, second, third = lines(path)
    assert first.group(1) == "127.0.0.0/24" and first.group(3) == "GET" and first.group(4) == "/page"
    assert first.group(6, 7, 9, 10, 11) == ("200", "5", "s", "undecided", "-")
    assert second.group(6) == "421" and second.group(9) == "-" and '"' not in second.group(4)
    assert third.group(6) == "400" and third.group(3, 4) == ("-", "-")
    assert "secret" not in path.read_text() and "?" not in path.read_text()
    proxy.stop()
    origin.stop()


def test_access_log_names_the_consent(tmp_path):
    origin = Origin()

    def tunnel(conn, _):
        conn.sendall(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n12345")
        conn.close()
    origin.routes["/ws"] = tunnel
    proxy = Proxy(tmp_path, origin, access_log="access.log")
    for grant, deny in ((["analytics"], ["marketing"]), ([], ["analytics", "marketing"])):
        answer = proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST",
                           json.dumps({"grant": grant, "deny": deny}).encode())
        proxy.get("/", [("Cookie", answer.header("set-cookie").split(";")[0])])
    proxy.raw(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", shut=True)
    path = tmp_path / "access.log"
    wait_for(lambda: path.read_text().count("\n") == 5)
    rows = lines(path)
    assert [r.group(10) for r in rows if r.group(4) == "/"] == ["analytics", "none"]
    assert rows[4].group(4, 6, 7) == ("/ws", "101", "5")
    proxy.stop()
    origin.stop()


def test_access_log_is_reopened(tmp_path):
    proxy = Proxy(tmp_path, access_log="access.log")
    path = tmp_path / "access.log"
    proxy.get("/one")
    wait_for(lambda: "/one" in path.read_text())
    path.rename(tmp_path / "access.log.1")
    proxy.hup()
    proxy.get("/two")
    wait_for(lambda: path.exists() and "/two" in path.read_text())
    proxy.stop()
    assert "/two" not in (tmp_path / "access.log.1").read_text()
