"""HTTP/2 frame by frame, in the order of RFC 9113 (and 7541): what a peer may say, and what ends it."""
import socket
import struct
import threading

import pytest

import h2
from harness import LOOPBACK, Origin, Proxy, free_port, http_response, wait_for

PROTOCOL, FLOW, CLOSED, SIZE, COMPRESSION = {1}, {3}, {5}, {6}, {9}
MAX = 16384


@pytest.fixture(name="origin", scope="module")
def origin_fixture():
    origin = Origin()
    origin.routes["/echo"] = lambda conn, request: http_response(200, [], request.body)
    origin.routes["/ten"] = http_response(200, [("Content-Type", "text/plain")], b"0123456789")
    yield origin
    origin.stop()


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    port = free_port()
    proxy = Proxy(tmp_path_factory.mktemp("frames"), origin, listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}],
                  limits={"send_timeout": "5s"})
    proxy.port = port
    yield proxy
    proxy.stop()


@pytest.fixture(name="client")
def client_fixture(proxy):
    with h2.Client(proxy) as client:
        while not client.settings:
            assert client.step()
        yield client


def u32(value):
    return struct.pack(">I", value)


def head(client, method="GET", path="/", extra=(), padded=None):
    return client.fields([(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path), *extra])


def get(client, stream=1, flags=5, path="/", **more):
    return h2.frame(h2.HEADERS, flags, stream, head(client, path=path, **more))


def post(client, stream=1, path="/echo"):
    """A head whose body is still to come."""
    return h2.frame(h2.HEADERS, h2.END_HEADERS, stream, head(client, "POST", path))


def over(client):
    """Reads until the connection ends; the code it ended with (None: without a word)."""
    client.until_closed()
    assert client.closed
    return client.goaway[1] if client.goaway else None


def alive(client, stream=101):
    """The connection is in step: a request is answered."""
    client.answers[stream] = h2.Answer()
    client.send(get(client, stream, path="/ten"))
    return client.wait(stream).body == b"0123456789"


def reset_of(client, stream=1):
    client.answers.setdefault(stream, h2.Answer())
    while client.answers[stream].reset is None and not client.closed and client.step():
        pass
    return client.answers[stream].reset


def settings(*pairs):
    return h2.frame(h2.SETTINGS, payload=b"".join(struct.pack(">HI", k, v) for k, v in pairs))


# --- what ends the connection: name -> (bytes, the codes that say why; an end without a word is one too) ---

FATAL = {
    "4.2 DATA above the size": (lambda c: post(c) + h2.frame(h2.DATA, 0, 1, b"x" * (MAX + 1)), SIZE),
    "4.2 HEADERS above the size": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c, extra=[("x", "y" * 20000)])), SIZE),
    "4.3 a block that is none": (lambda c: h2.frame(h2.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION),
    "4.3 PRIORITY within a block": (lambda c: get(c, flags=1) + h2.frame(h2.PRIORITY, 0, 1, b"\0" * 5), PROTOCOL),
    "4.3 another stream within a block": (lambda c: get(c, flags=1) + get(c, 3), PROTOCOL),
    "5.1 DATA when idle": (lambda c: h2.frame(h2.DATA, 1, 1, b"x"), PROTOCOL | CLOSED),
    "5.1 RST_STREAM when idle": (lambda c: h2.frame(h2.RST, 0, 1, u32(8)), PROTOCOL),
    "5.1 WINDOW_UPDATE when idle": (lambda c: h2.frame(h2.WINDOW, 0, 1, u32(100)), PROTOCOL),
    "5.1 CONTINUATION when idle": (lambda c: h2.frame(h2.CONTINUATION, 4, 1, head(c)), PROTOCOL),
    "5.1 CONTINUATION when half closed": (lambda c: get(c) + h2.frame(h2.CONTINUATION, 4, 1, head(c)), PROTOCOL | CLOSED),
    "5.1.1 an even number": (lambda c: get(c, 2), PROTOCOL),
    "5.1.1 a smaller number": (lambda c: get(c, 5) + get(c, 3), PROTOCOL | CLOSED),
    "5.3 HEADERS that depends on itself": (lambda c: h2.frame(h2.HEADERS, 0x25, 1, u32(1) + b"\x10" + head(c)), PROTOCOL),
    "5.3 PRIORITY that depends on itself": (lambda c: h2.frame(h2.PRIORITY, 0, 5, u32(5) + b"\x10"), PROTOCOL),
    "5.5 an unknown frame within a block": (lambda c: get(c, flags=1) + h2.frame(0x77, 0, 0, b"x"), PROTOCOL),
    "6.1 DATA on 0": (lambda c: h2.frame(h2.DATA, 1, 0, b"x"), PROTOCOL),
    "6.1 padding longer than DATA": (lambda c: post(c) + h2.frame(h2.DATA, 8 | 1, 1, b"\xff" + b"x" * 5), PROTOCOL),
    "6.1 padding without a length": (lambda c: post(c) + h2.frame(h2.DATA, 8 | 1, 1, b""), PROTOCOL | SIZE),
    "6.2 HEADERS on 0": (lambda c: get(c, 0), PROTOCOL),
    "6.2 padding longer than HEADERS": (lambda c: h2.frame(h2.HEADERS, 8 | 5, 1, b"\xff" + head(c)), PROTOCOL | SIZE),
    "6.3 PRIORITY on 0": (lambda c: h2.frame(h2.PRIORITY, 0, 0, b"\0" * 5), PROTOCOL),
    "6.4 RST_STREAM on 0": (lambda c: h2.frame(h2.RST, 0, 0, u32(8)), PROTOCOL),
    "6.4 RST_STREAM of 3 bytes": (lambda c: post(c) + h2.frame(h2.RST, 0, 1, b"\0\0\0"), SIZE),
    "6.5 SETTINGS ACK with bytes": (lambda c: h2.frame(h2.SETTINGS, 1, 0, b"\0"), SIZE),
    "6.5 SETTINGS on a stream": (lambda c: h2.frame(h2.SETTINGS, 0, 1, struct.pack(">HI", 3, 100)), PROTOCOL),
    "6.5 SETTINGS of 5 bytes": (lambda c: h2.frame(h2.SETTINGS, 0, 0, b"\0" * 5), SIZE),
    "6.5.2 ENABLE_PUSH 2": (lambda c: settings((2, 2)), PROTOCOL),
    "6.5.2 INITIAL_WINDOW_SIZE above 2^31-1": (lambda c: settings((4, 1 << 31)), FLOW),
    "6.5.2 MAX_FRAME_SIZE 16383": (lambda c: settings((5, MAX - 1)), PROTOCOL),
    "6.5.2 MAX_FRAME_SIZE 2^24": (lambda c: settings((5, 1 << 24)), PROTOCOL),
    "6.6 PUSH_PROMISE": (lambda c: post(c) + h2.frame(h2.PUSH, 4, 1, u32(2) + head(c)), PROTOCOL),
    "6.7 PING on a stream": (lambda c: h2.frame(h2.PING, 0, 1, b"\0" * 8), PROTOCOL),
    "6.7 PING of 6 bytes": (lambda c: h2.frame(h2.PING, 0, 0, b"\0" * 6), SIZE),
    "6.8 GOAWAY on a stream": (lambda c: h2.frame(h2.GOAWAY, 0, 1, b"\0" * 8), PROTOCOL),
    "6.8 GOAWAY of 7 bytes": (lambda c: h2.frame(h2.GOAWAY, 0, 0, b"\0" * 7), SIZE),
    "6.9 WINDOW_UPDATE by 0": (lambda c: h2.frame(h2.WINDOW, 0, 0, u32(0)), PROTOCOL),
    "6.9 WINDOW_UPDATE of 3 bytes": (lambda c: h2.frame(h2.WINDOW, 0, 0, b"\0\0\0"), SIZE),
    "6.9.1 the window above 2^31-1": (lambda c: h2.frame(h2.WINDOW, 0, 0, u32((1 << 31) - 1)) * 2, FLOW),
    "6.10 CONTINUATION on 0": (lambda c: get(c, flags=1) + h2.frame(h2.CONTINUATION, 4, 0, head(c)), PROTOCOL),
    "6.10 CONTINUATION behind the end": (lambda c: post(c) + h2.frame(h2.CONTINUATION, 4, 1, head(c)), PROTOCOL),
    "6.10 CONTINUATION behind DATA": (lambda c: post(c) + h2.frame(h2.DATA, 0, 1, b"x") + h2.frame(h2.CONTINUATION, 4, 1, head(c)),
                                      PROTOCOL),
    "HPACK index 0": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\x80"), COMPRESSION),
    "HPACK index out of range": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\xff\x20"), COMPRESSION),
    "HPACK name out of range": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\x7f\x40\x01x"), COMPRESSION),
    "HPACK integer without end": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\xff" + b"\xff" * 12), COMPRESSION),
    "HPACK a string longer than the block": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\x00\x7f\x7fabc"), COMPRESSION),
    "HPACK Huffman padded by a byte": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\x00\x01a\x82\x1f\xff"), COMPRESSION),
    "HPACK Huffman padded with 0": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\x00\x01a\x81\x18"), COMPRESSION),
    "HPACK Huffman with the end in it": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\x00\x01a\x84\xff\xff\xff\xff"), COMPRESSION),
    "HPACK a table above the setting": (lambda c: h2.frame(h2.HEADERS, 5, 1, b"\x3f\xe1\xff\x03" + head(c)), COMPRESSION),
    "HPACK a size update behind a field": (lambda c: h2.frame(h2.HEADERS, 5, 1, head(c) + b"\x20"), COMPRESSION),
}


@pytest.mark.parametrize("name", FATAL)
def test_what_ends_the_connection(client, origin, name):
    make, codes = FATAL[name]
    before = len(origin.requests)
    client.send(make(client))
    assert over(client) in codes | {None}
    if "HPACK" in name or name[:3] in ("4.2", "4.3"):
        assert len(origin.requests) == before


def test_more_data_than_the_connections_window(tmp_path):
    """Bodies that wait for an origin take no credit: who sends on all the same is cut."""
    gate, port = threading.Event(), free_port()

    def hold(conn, request):
        gate.wait(20)
        return http_response(200, [], b"")
    origin = Origin(hold)
    proxy = Proxy(tmp_path, origin, listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}],
                  site={"origin_connections": 1, "origin_queue": 100})
    proxy.port = port
    with h2.Client(proxy) as client:
        client.get("/")
        wait_for(lambda: origin.requests)
        client.send(b"".join(post(client, s) + h2.frame(h2.DATA, 0, s, b"x" * MAX) * 3 for s in range(3, 62, 2)))
        assert over(client) in FLOW | {11, None}
    gate.set()
    proxy.stop()
    origin.stop()


# --- what ends a stream, and nothing else ---

STREAM = {
    "5.1 DATA when half closed": (lambda c: get(c) + h2.frame(h2.DATA, 1, 1, b"x"), CLOSED),
    "5.1 HEADERS when half closed": (lambda c: get(c) + get(c), CLOSED | PROTOCOL),
    "6.3 PRIORITY of 4 bytes": (lambda c: post(c) + h2.frame(h2.PRIORITY, 0, 1, b"\0" * 4), SIZE),
    "6.9 WINDOW_UPDATE by 0": (lambda c: post(c) + h2.frame(h2.WINDOW, 0, 1, u32(0)), PROTOCOL),
    "6.9.1 the window above 2^31-1": (lambda c: post(c) + h2.frame(h2.WINDOW, 0, 1, u32((1 << 31) - 1)), FLOW),
    "8.1 HEADERS again without the end": (lambda c: post(c) + post(c), PROTOCOL),
}


@pytest.mark.parametrize("name", STREAM)
def test_what_ends_a_stream(client, name):
    """Or the connection, which is stricter and allowed (5.4.2)."""
    make, codes = STREAM[name]
    client.send(make(client))
    code = reset_of(client)
    if client.goaway or client.closed:
        assert over(client) in codes | {None}
    elif code is not None:
        assert code in codes | {0}
        assert alive(client)
    else:
        assert client.answers[1].ended and "half closed" in name  # it was answered before


# --- what is fine ---

FINE = {
    "4.1 an unknown frame": lambda c: h2.frame(0x77, 0xff, 0, b"x" * 100) + h2.frame(0x78, 0, 9, b"y"),
    "4.1 unknown flags": lambda c: h2.frame(h2.PING, 0x16, 0, b"12345678"),
    "4.1 the reserved bit": lambda c: h2.frame(h2.PING, 0, 0, b"12345678").replace(b"\x06\0\0\0\0\0", b"\x06\0\x80\0\0\0"),
    "5.1 PRIORITY when idle": lambda c: h2.frame(h2.PRIORITY, 0, 9, u32(0) + b"\x10"),
    "5.3 PRIORITY that depends on another": lambda c: h2.frame(h2.PRIORITY, 0, 9, u32(0x80000007) + b"\x10") + h2.frame(h2.PING, 0, 0, b"\0" * 8),
    "RFC 9218: PRIORITY_UPDATE": lambda c: h2.frame(0x10, 0, 0, u32(1) + b"u=1, i"),
    "RFC 7838, 8336: ALTSVC, ORIGIN": lambda c: h2.frame(10, 0, 0, b"\0\0h3=\":1\"") + h2.frame(12, 0, 0, b"\0\x01a"),
    "6.8 GOAWAY with words": lambda c: post(c) + h2.frame(h2.GOAWAY, 0, 0, u32(0) + u32(0) + b"bye"),
    "5.1 frames behind a reset": lambda c: post(c) + h2.frame(h2.RST, 0, 1, u32(8)) + h2.frame(h2.WINDOW, 0, 1, u32(9)),
    "6.5 an unknown setting": lambda c: settings((0x99, 7)),
    "6.5 no setting": lambda c: settings(),
    "6.5.2 MAX_FRAME_SIZE 2^24-1": lambda c: settings((5, (1 << 24) - 1)),
    "6.5.2 HEADER_TABLE_SIZE 0": lambda c: settings((1, 0)),
    "6.7 an answer to no question": lambda c: h2.frame(h2.PING, 1, 0, b"\0" * 8),
    "7 an unknown code": lambda c: post(c) + h2.frame(h2.RST, 0, 1, u32(0xfffffff0)),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_fine(client, name):
    client.send(FINE[name](client))
    assert alive(client)


def test_the_preface(proxy):
    for first in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n"):
        out = proxy.raw(first + h2.frame(h2.SETTINGS), timeout=3)
        assert b"200" not in out[:20]


def test_a_preface_without_settings(proxy):
    with socket.create_connection((LOOPBACK, proxy.port), 10) as sock:
        sock.sendall(h2.PREFACE + h2.frame(h2.PING, 0, 0, b"\0" * 8))
        out = b""
        try:
            while piece := sock.recv(65536):
                out += piece
        except ConnectionError:
            pass
        assert b"\x07" in out  # GOAWAY


def test_padding_and_continuations_are_understood(client, origin):
    block = head(client, "POST", "/echo", extra=[("x-long", "y" * 100)])
    client.answers[1] = h2.Answer()
    client.send(h2.frame(h2.HEADERS, 8 | 32, 1, b"\x07" + u32(0) + b"\x0f" + block[:10] + b"\0" * 7))
    for i in range(10, len(block), 10):
        client.send(h2.frame(h2.CONTINUATION, 4 if i + 10 >= len(block) else 0, 1, block[i:i + 10]))
    client.send(h2.frame(h2.DATA, 8, 1, b"\x05abc" + b"\0" * 5) + h2.frame(h2.DATA, 8 | 1, 1, b"\x00de"))
    assert client.wait(1).body == b"abcde"
    assert origin.requests[-1].header("x-long") == "y" * 100


def test_a_ping_is_answered_with_what_it_said(client):
    client.send(h2.frame(h2.PING, 0, 0, b"question"))
    while client.pongs == 0:
        assert client.step()


@pytest.mark.parametrize("window", [0, 1, 3])
def test_a_small_window_is_kept(proxy, window):
    """No byte more than the window says; each update lets that much through."""
    with h2.Client(proxy, settings=[(4, window)], window=False) as client:
        stream = client.get("/ten")
        while not client.answers[stream].heads:
            assert client.step()
        client.send(h2.frame(h2.PING, 0, 0, b"12345678"))
        while client.pongs == 0:
            assert client.step()
        assert len(client.answers[stream].body) <= window
        got = window
        while got < 10:
            client.send(h2.frame(h2.WINDOW, 0, stream, u32(1)))
            got += 1
            while len(client.answers[stream].body) < got:
                assert client.step()
            assert len(client.answers[stream].body) == got
        assert client.wait(stream).body == b"0123456789"


def test_the_initial_window_changes_while_a_stream_runs(proxy):
    """Also below what was sent: the window is then negative (6.9.2)."""
    with h2.Client(proxy, settings=[(4, 3)], window=False) as client:
        stream = client.get("/ten")
        while len(client.answers[stream].body) < 3:
            assert client.step()
        client.send(settings((4, 2)))  # now -1
        client.send(h2.frame(h2.WINDOW, 0, stream, u32(1)) + h2.frame(h2.PING, 0, 0, b"12345678"))  # now 0
        while client.pongs == 0:
            assert client.step()
        assert client.answers[stream].body == b"012"
        client.send(settings((4, 6)))
        while len(client.answers[stream].body) < 7:
            assert client.step()
        assert client.answers[stream].body == b"0123456"
        client.send(h2.frame(h2.WINDOW, 0, stream, u32(100)))
        assert client.wait(stream).body == b"0123456789"


def test_the_table_of_fields_may_be_small(proxy):
    """The proxy's own encoder obeys HEADER_TABLE_SIZE."""
    for size in (0, 64, 1 << 20):
        with h2.Client(proxy, settings=[(1, size)]) as client:
            client.decoder.max_allowed_table_size = max(size, 4096)
            for _ in range(5):
                assert client.wait(client.get("/ten")).status == 200


@pytest.mark.parametrize("more", [0, 0x7fffffff], ids=["nothing", "too much"])
def test_server_made_resets_count(proxy, more):
    """CVE-2025-8671, MadeYouReset: streams that the client makes the server reset."""
    with h2.Client(proxy) as client:
        for i in range(2000):
            stream = 2 * i + 1
            client.send(get(client, stream) + h2.frame(h2.WINDOW, 0, stream, u32(more)))
            if client.closed:
                break
            if i % 50 == 0:
                client.step(0.01)
        client.until_closed(3)
        assert client.closed
    assert proxy.get("/ten").status == 200
