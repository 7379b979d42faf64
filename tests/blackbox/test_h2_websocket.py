"""Websockets over HTTP/2 (RFC 8441): frame by frame, and in Chromium."""
import base64
import hashlib
import os
import socket
import struct
import threading

import pytest

import h2
from harness import Origin, Proxy, http_response, wait_for

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(request):
    return base64.b64encode(hashlib.sha1(request.header("sec-websocket-key").encode() + GUID).digest())


def switch(conn, request, extra=b"", accept=None):
    conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 b"Sec-WebSocket-Accept: " + (accept or accept_of(request)) + b"\r\n" + extra + b"\r\n")


def echo(conn, request):
    """Says "hello", then everything back, then how much it was."""
    switch(conn, request, b"Set-Cookie: _ga=1\r\nSet-Cookie: sid=2\r\nSec-WebSocket-Protocol: chat\r\n")
    conn.sendall(b"hello")
    total = 0
    while data := conn.recv(65536):
        total += len(data)
        conn.sendall(data)
    conn.sendall(b"total %d" % total)
    conn.close()


class Slow:
    """Reads nothing until told to."""

    def __init__(self):
        self.go, self.total = threading.Event(), 0

    def __call__(self, conn, request):
        switch(conn, request)
        self.go.wait(20)
        while data := conn.recv(65536):
            self.total += len(data)
        conn.close()


def flood(conn, request):
    """Sends as long as somebody takes it."""
    switch(conn, request)
    flood.sent = 0
    conn.settimeout(1)
    try:
        while flood.sent < 64 << 20:
            flood.sent += conn.send(b"x" * 65536)
    except TimeoutError:
        pass
    except OSError:
        return
    flood.stuck = True
    conn.settimeout(20)
    try:
        conn.recv(1)
    except OSError:
        pass
    conn.close()


def vanish(conn, request):
    switch(conn, request)
    conn.sendall(b"bye")
    conn.shutdown(socket.SHUT_WR)
    got = b""
    while data := conn.recv(65536):
        got += data
    vanish.got = got
    conn.close()


def reset(conn, request):
    switch(conn, request)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


@pytest.fixture(name="origin", scope="module")
def origin_fixture():
    origin = Origin()
    origin.routes.update({
        "/ws": echo, "/flood": flood, "/vanish": vanish, "/reset": reset,
        "/wrong": lambda c, r: switch(c, r, accept=b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "/page": http_response(200, [("Content-Type", "text/plain")], b"a page"),
        "/not-here": http_response(404, [("Content-Type", "text/plain")], b"none"),
        "/login": http_response(302, [("Location", "/elsewhere")]),
    })
    yield origin
    origin.stop()


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    proxy = Proxy(tmp_path_factory.mktemp("h2ws"), origin, tls=True, limits={"send_timeout": "2s"})
    yield proxy
    proxy.stop()


@pytest.fixture(name="client")
def client_fixture(proxy):
    with h2.Client(proxy, tls=True) as client:
        while 8 not in client.settings:
            assert client.step()
        yield client


def connect(client, path="/ws", extra=(), protocol="websocket", **more):
    return client.request([(":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"),
                           (":authority", "localhost"), (":path", path), ("sec-websocket-version", "13"), *extra],
                          end=False, **more)


def until(client, stream, body):
    while client.answers[stream].body != body:
        assert client.step(), client.answers[stream].body[-100:]


def test_the_setting_is_announced(client):
    assert client.settings[8] == 1


def test_a_tunnel(client, origin):
    stream = connect(client, extra=[("cookie", "_ga=GA1.1.2.3; sid=1"), ("origin", "https://localhost"),
                                    ("sec-websocket-protocol", "chat"), ("sec-websocket-key", "mine")])
    client.data(stream, b"early", end=False) # before the answer: kept, not lost
    until(client, stream, b"helloearly")
    answer = client.answers[stream]
    assert answer.status == 200 and answer.header("sec-websocket-protocol") == "chat"
    assert answer.all("set-cookie") == ["sid=2"] # the 101 is filtered like any answer
    for name in ("upgrade", "connection", "sec-websocket-accept", "content-length"):
        assert answer.header(name) is None
    request = [r for r in origin.requests if r.target == "/ws"][-1]
    assert request.method == "GET" and request.header("upgrade") == "websocket"
    assert request.header("connection") == "upgrade" and request.header("cookie") == "sid=1"
    assert request.header("host") == "localhost" and request.header("via") == "2.0 consentd"
    assert len(base64.b64decode(request.header("sec-websocket-key"))) == 16
    assert not request.all(":protocol") and len(request.all("sec-websocket-key")) == 1
    client.data(stream, b"", end=True)
    assert client.wait(stream).body == b"helloearlytotal 5" and answer.ended
    assert client.wait(client.get("/page")).body == b"a page" # the connection lives on


def test_large_messages_both_ways(client):
    stream, blob, sent = connect(client), os.urandom(60000), b"hello"
    until(client, stream, b"hello")
    for _ in range(40): # more than any window
        client.data(stream, blob, end=False)
        sent += blob
        while len(client.answers[stream].body) < len(sent):
            assert client.step()
    assert client.answers[stream].body == sent
    client.data(stream, b"", end=True)
    assert client.wait(stream).body == sent + b"total %d" % (40 * 60000)


def test_many_tunnels_beside_requests(client):
    tunnels = [connect(client) for _ in range(50)]
    for stream in tunnels:
        until(client, stream, b"hello")
    assert client.wait(client.get("/page")).status == 200
    for i, stream in enumerate(tunnels):
        client.data(stream, b"%d" % i, end=True)
    client.wait(*tunnels)
    assert all(client.answers[s].body == b"hello%dtotal %d" % (i, len(str(i))) for i, s in enumerate(tunnels))


def test_an_origin_that_does_not_read_holds_the_client_back(proxy, origin):
    """Without credit the client may send one window, and the proxy keeps little."""
    slow = origin.routes["/slow"] = Slow()
    with h2.Client(proxy, tls=True) as client:
        credits, take = [0], client._take

        def counting(kind, flags, stream, payload):
            if kind == h2.WINDOW and stream:
                credits[0] += struct.unpack(">I", payload)[0]
            take(kind, flags, stream, payload)
        client._take = counting
        stream, sent = connect(client, "/slow"), 0
        while not client.answers[stream].heads:
            assert client.step()
        while sent < 32 << 20:
            while credits[0] + 65535 - sent < 16384:
                if not client.step(1):
                    break
            if credits[0] + 65535 - sent < 16384:
                break
            client.data(stream, b"x" * 16384, end=False)
            sent += 16384
        assert sent < 24 << 20
        slow.go.set()
        client.data(stream, b"", end=True)
        assert client.wait(stream).ended
        assert slow.total == sent


def test_a_client_that_does_not_read_holds_the_origin_back(proxy):
    flood.stuck = False
    with h2.Client(proxy, tls=True, window=False) as client:
        stream = connect(client, "/flood")
        wait_for(lambda: flood.stuck or client.step(0.1) and False, 20)
        assert flood.sent < 16 << 20
        answer = client.wait(stream) # and is given up after send_timeout
        assert answer.reset is not None and not answer.ended


def test_the_origin_says_no_more(client):
    stream = connect(client, "/vanish")
    while not client.answers[stream].ended:
        assert client.step()
    assert client.answers[stream].body == b"bye" and client.answers[stream].reset is None
    client.data(stream, b"still here", end=True)
    wait_for(lambda: getattr(vanish, "got", None) == b"still here")


def test_a_reset_on_one_side_reaches_the_other(client, origin):
    answer = client.wait(connect(client, "/reset"))
    assert answer.reset not in (None, h2.NO_ERROR) and not answer.ended
    before = len(origin.connections)
    stream = connect(client)
    until(client, stream, b"hello")
    client.send(h2.frame(h2.RST, 0, stream, struct.pack(">I", h2.CANCEL)))
    wait_for(lambda: len(origin.connections) <= before)


@pytest.mark.parametrize("path,status", [("/page", 502), ("/wrong", 502), ("/not-here", 404), ("/login", 302),
                                         ("/.consent/preferences", 403)])
def test_no_answer_but_a_101_opens_it(client, path, status):
    """Any 2xx would be a tunnel to the client; a 101 to another key is none."""
    stream = connect(client, path)
    client.data(stream, b"never a request", end=False)
    assert client.wait(stream).status == status


@pytest.mark.parametrize("protocol,status", [("connect-udp", 501), ("webtransport", 501), ("h2c", 501)])
def test_other_protocols_are_refused(client, origin, protocol, status):
    before = len(origin.requests)
    assert client.wait(connect(client, protocol=protocol)).status == status
    assert len(origin.requests) == before


HEAD = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "localhost"),
        (":path", "/evil")]
MALFORMED = {
    "ended": (HEAD, True),
    "with a length": (HEAD + [("content-length", "5")], False),
    "no path": ([f for f in HEAD if f[0] != ":path"], False),
    "no scheme": ([f for f in HEAD if f[0] != ":scheme"], False),
    "no authority": ([f for f in HEAD if f[0] != ":authority"], False),
    "a GET": ([(n, "GET" if n == ":method" else v) for n, v in HEAD], False),
    "a POST": ([(n, "POST" if n == ":method" else v) for n, v in HEAD], False),
    "an empty one": ([(n, "" if n == ":protocol" else v) for n, v in HEAD], False),
    "twice": (HEAD[:2] + HEAD[1:], False),
    "behind": (HEAD[:1] + HEAD[2:] + [("x", "1"), HEAD[1]], False),
    "an upgrade of HTTP/1": (HEAD + [("upgrade", "websocket")], False),
    "a connection field": (HEAD + [("connection", "upgrade")], False),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_ones(client, origin, name):
    fields, end = MALFORMED[name]
    answer = client.wait(client.request(fields, end=end))
    assert answer.reset == h2.PROTOCOL_ERROR or answer.status in (400, 405)
    assert not [r for r in origin.requests if "evil" in r.target]
    assert client.wait(client.get("/page")).status == 200


def test_an_unknown_host_is_misdirected(client):
    fields = [(n, "elsewhere.example" if n == ":authority" else v) for n, v in HEAD]
    assert client.wait(client.request(fields, end=False)).status == 421


# --- a browser ---


def speak(conn, request):
    """A server of websockets that is not ours, and says every message back."""
    wsproto = pytest.importorskip("wsproto")
    from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Request
    peer = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    peer.receive_data(request.raw)
    while data := b"" if peer.state is wsproto.ConnectionState.CLOSED else True:
        for event in peer.events():
            if isinstance(event, Request):
                conn.sendall(peer.send(AcceptConnection()))
            elif isinstance(event, Message):
                conn.sendall(peer.send(Message(event.data, message_finished=event.message_finished)))
            elif isinstance(event, Ping):
                conn.sendall(peer.send(event.response()))
            elif isinstance(event, CloseConnection):
                conn.sendall(peer.send(event.response()))
                conn.close()
                return
        if not (data := conn.recv(65536)):
            return
        peer.receive_data(data)


SCRIPT = """
const done = arguments[0], ws = new WebSocket('wss://' + location.host + '/speak');
const big = 'x'.repeat(300000), got = [];
ws.onopen = () => { ws.send('one'); ws.send(big); };
ws.onmessage = (e) => { got.push(e.data.length); if (got.length === 2) ws.close(1000, 'thanks'); };
ws.onclose = (e) => done([got, e.code, e.wasClean]);
setTimeout(() => done('late'), 20000);"""


def test_chromium_uses_it(proxy, origin):
    from chromium import chromium  # skips where there is no selenium
    origin.routes["/speak"] = speak
    with chromium() as driver:
        driver.set_script_timeout(40)
        driver.get(f"https://localhost:{proxy.tls_port}/page")
        assert driver.execute_async_script(SCRIPT) == [[3, 300000], 1000, True]
    assert [r.header("via") for r in origin.requests if r.target == "/speak"] == ["2.0 consentd"]
