"""Requests and answers that two readers could read differently: refused, and nothing behind them runs.

The heads come from tests/cases/http, the same lines that the unit tests run: "@" stands for CR LF,
"Host: a" and CR LF, "$" for the end of the head, "\\{text*N}" for text N times.
"""
import re
import socket
import threading
import time

import pytest

from harness import ROOT, Cut, Origin, Proxy, Reader, chunked, holding, http_response, wait_for

CASES = ROOT / "tests/cases/http"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
TEXT = ("Content-Type", "text/plain")


def unescape(text):
    text = text.replace("@", "\\r\\nHost: a\\r\\n").replace("$", "\\r\\n\\r\\n").replace("\\0", "\\x00")
    text = re.sub(r"\\\{(.*?)\*(\d+)\}", lambda m: m[1] * int(m[2]), text)
    plain = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)",
                  lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "x" else plain.get(m[1], m[1]), text).encode("latin-1")


def cases(prefix_is_response):
    for path in sorted(CASES.glob("*.case")):
        if path.name.startswith("response-") != prefix_is_response:
            continue
        for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
            if line and not line.startswith("#"):
                want, text = line.split(" | ", 1)
                yield f"{path.stem}:{number}", want, unescape(text)


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    proxy = Proxy(tmp_path_factory.mktemp("proxy"), origin, site={"hosts": ["a", "localhost"]}, tls=True)
    yield proxy
    proxy.stop()


def refused(proxy, origin, raw, status, tls=False):
    """None, or what is wrong: exactly one answer with this status, closed, nothing forwarded."""
    before, broken = len(origin.requests), len(origin.raw)
    out = proxy.raw(raw, tls=tls)
    if not re.match(rb"HTTP/1.1 %s " % str(status).encode(), out):
        return f"answered {out[:60]!r}"
    if out.count(b"HTTP/1.1 ") != 1 or b"connection: close" not in out.lower():
        return f"not the end: {out!r}"
    if len(origin.requests) != before or len(origin.raw) != broken:
        return f"forwarded {[r.raw[:80] for r in origin.requests[before:]]}"
    return None


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_every_refused_head(proxy, origin, tls):
    wrong, count = [], 0
    for name, want, raw in cases(False):
        if not re.match("[45]", want):
            continue
        count += 1
        reason = refused(proxy, origin, raw + b"5\r\nhello\r\n0\r\n\r\n" + HIDDEN, want.split()[0], tls)
        if reason:
            wrong.append(f"{name}: {reason}")
    assert not wrong, "\n".join(wrong)
    assert count > 200


def test_every_accepted_head(proxy):
    """The answer, then the next request on the same connection when it is to be kept."""
    wrong, count = [], 0
    for name, want, raw in cases(False):
        if not want.startswith("ok none"):
            continue
        count += 1
        out = proxy.raw(raw + b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = 1 if "shut" in want else 2 if "keep" in want or b"HTTP/1.0" not in raw else out.count(b"HTTP/1.1 ")
        if not re.match(rb"HTTP/1.1 (200|421) ", out) or out.count(b"HTTP/1.1 ") != answers:
            wrong.append(f"{name}: {out[:80]!r}")
    assert not wrong, "\n".join(wrong)
    assert count > 20


CHUNKS = [
    b"g\r\n", b"\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5_0\r\n", b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\n", b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"10000000000000000\r\n", b"ffffffffffffffff\r\nhello",
    b"FFFFFFFFFFFFFFFFF\r\n", b"8000000000000000\r\n", b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    b"5;\x00\r\nhello\r\n0\r\n\r\n", b"5;a\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"5;" + b"a" * 9000 + b"\r\nhello\r\n0\r\n\r\n", b"5\t;a\r\nhello\r\n0\r\n\r\n", b"5,5\r\nhello\r\n0\r\n\r\n",
    b"\xd9\xa5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX y\r\n\r\n", b"5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", b"5\r\nhello\r\n0\r\n: y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: y\n\r\n", b"5\r\nhello\r\n0\r\nX: y\rZ: q\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: " + b"a" * 17000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("body", CHUNKS, ids=range(len(CHUNKS)))
def test_malformed_chunks(proxy, origin, body):
    before = len(origin.requests)
    out = proxy.raw(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body + HIDDEN)
    assert re.match(rb"HTTP/1.1 400 ", out) and out.count(b"HTTP/1.1 ") == 1, out
    assert proxy.get("/after").status == 200
    assert [r.target for r in origin.requests[before:]] == ["/after"]


def upload(proxy, path, pieces, pause=0.0):
    """The answer to chunks sent one by one: (bytes, whether it ended in order)."""
    out = b""
    with proxy.connect() as sock:
        sock.sendall(b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % path)
        try:
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(pause)
            while data := sock.recv(65536):
                out += data
        except ConnectionError:
            return out, False
    return out, True


@pytest.mark.parametrize("begun", [False, True], ids=["no answer", "half an answer"])
def test_a_malformed_chunk_behind_what_was_forwarded(proxy, origin, begun):
    """What nginx and HAProxy do: a 400, where no answer has begun; else one that looks cut."""
    at_origin, cut = threading.Event(), threading.Event()

    def early(conn, request):
        if request.path != "/late":
            return False
        at_origin.set()
        if begun:
            conn.sendall(b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        try:
            while conn.recv(65536):
                pass
        except ConnectionError:
            cut.set()  # never the end of a request that is not whole
        return True

    def pieces():
        yield b"10000\r\n" + b"a" * 65536 + b"\r\n"
        assert at_origin.wait(10)
        yield b"5\r\nhello\r\n"
        yield b"zz\r\n" + HIDDEN
    origin.early = early
    try:
        out, orderly = upload(proxy, b"/late", pieces(), 0.3)
    finally:
        origin.early = None
    assert cut.wait(10)
    assert out.count(b"HTTP/1.1 ") == 1 and out.startswith(b"HTTP/1.1 200 " if begun else b"HTTP/1.1 400 ")
    assert not out.endswith(b"0\r\n\r\n") if begun else orderly


def test_extensions_without_end(proxy, origin):
    before = len(origin.requests)
    out = proxy.raw(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
                    (b"1;" + b"a" * 8000 + b"\r\nx\r\n") * 200)
    assert b"HTTP/1.1 400 " in out and len(origin.requests) == before


CLASSICS = {
    "CL.TE": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE.CL": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + HIDDEN,
    "TE.TE": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", ["CL.TE", "TE.CL", "TE.TE"])
def test_classics(proxy, origin, name):
    assert refused(proxy, origin, CLASSICS[name] + HIDDEN, 400) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "BREW"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_every_method_has_its_body(proxy, origin, method, framing):
    """CL.0 and TE.0: what looks like a request inside a body stays a body."""
    before = len(origin.requests)
    fields = b"Content-Length: %d" % len(HIDDEN) if framing == "length" else b"Transfer-Encoding: chunked"
    body = HIDDEN if framing == "length" else b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
    with proxy.connect() as sock:
        reader = Reader(sock)
        sock.sendall(method.encode() + b" /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n" + body)
        assert reader.response(method).status == 200
        sock.sendall(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.response().status == 200
    assert [(r.method, r.target, r.body) for r in origin.requests[before:]] == [
        (method, "/x", HIDDEN), ("GET", "/y", b"")]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_whose_end_is_answered_here_is_no_request(tmp_path, framing):
    """No place at the origin: that is found when the body is whole, and the connection is kept."""
    gate, handler = holding(b"x", "/hold")
    origin = Origin(handler)
    proxy = Proxy(tmp_path, origin, site={"hosts": ["a"], "origins": [{"url": origin.url, "max_connections": 1}],
                                  "origin_queue": 1})
    held = [proxy.connect() for _ in range(2)]
    for sock, path in zip(held, (b"/hold", b"/waits")):
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        wait_for(lambda: len(origin.requests) == 1)
    wait_for(lambda: b"consentd_origin_waiting 1" in proxy.ctl("metrics").stdout.encode())
    with proxy.connect() as sock:
        reader = Reader(sock)
        head, body = b"Content-Length: %d" % len(HIDDEN), HIDDEN
        if framing == "chunked":
            head, body = b"Transfer-Encoding: chunked", chunked(HIDDEN[:5], HIDDEN[5:])
        sock.sendall(b"POST /up HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s" % (head, body))
        assert reader.response().status == 503
        gate.set()
        assert [Reader(x).response().status for x in held] == [200, 200]
        sock.sendall(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.response().status == 200
        time.sleep(0.3)
    assert [r.path for r in origin.requests] == ["/hold", "/waits", "/next"]
    for sock in held:
        sock.close()
    proxy.stop()
    origin.stop()


def test_names_that_an_origin_could_misread(proxy, origin):
    """X_Y and X-Y are one name to CGI: look-alikes of known fields do not pass."""
    proxy.get("/", [("Content_Length", "5"), ("X_Forwarded_For", "6.6.6.6"), ("Transfer.Encoding", "chunked"),
                    ("Cookie_", "x"), ("X_Consent", "marketing")])
    names = {n.lower() for n, _ in origin.requests[-1].headers}
    assert not names & {"content_length", "x_forwarded_for", "transfer.encoding", "x_consent"}


def test_http_2_preface(proxy, origin):
    before = len(origin.requests)
    out = proxy.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert out.startswith(b"HTTP/1.1 ") and len(origin.requests) == before


# --- origins ---


def test_every_malformed_answer(proxy, origin):
    wrong, count = [], 0
    for name, want, raw in cases(True):
        count += 1

        def handler(conn, _):
            conn.sendall(raw + (b"hello" if not want.startswith("ok chunked") else b"5\r\nhello\r\n0\r\n\r\n"))
            conn.shutdown(socket.SHUT_RDWR)
            conn.close()
        origin.routes["/case"] = handler
        out = proxy.raw(b"GET /case HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        is_bad = out.startswith(b"HTTP/1.1 502 ")
        if is_bad == want.startswith("ok") and not re.match(rb"HTTP/1.. 1", raw):
            wrong.append(f"{name}: {out[:80]!r}")
        if not out.endswith(b"ok\n"):
            wrong.append(f"{name}: next: {out[-80:]!r}")
    assert not wrong, "\n".join(wrong)
    assert count > 40


EVIL = http_response(200, [TEXT], b"EVIL")


@pytest.mark.parametrize("pause", [0, 0.02])
@pytest.mark.parametrize("body", [http_response(200, [TEXT], b"body"), b"HTTP/1.1 304 X\r\n\r\n", b"HTTP/1.1 204 X\r\n\r\n",
                                  b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"],
                         ids=["length", "304", "204", "chunked"])
def test_bytes_behind_an_answer(proxy, origin, body, pause):
    """They are never the start of the next answer."""
    said = threading.Event()

    def handler(conn, _):
        conn.sendall(body if pause else body + EVIL)
        if pause:
            time.sleep(pause)
            conn.sendall(EVIL)
        said.set()
    origin.routes["/stray"] = handler
    for _ in range(5):
        said.clear()
        with proxy.connect() as sock:
            reader = Reader(sock)
            sock.sendall(b"GET /stray HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"EVIL" not in reader.response().body
            assert said.wait(10)
            sock.sendall(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert reader.response().body == b"ok\n"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("stray", [b";", b"\r\n\r\n", b"garbage\r\n\r\n", b"HTTP/1.1 2\r\n\r\n", b"0\r\n\r\n"], ids=range(5))
def test_bytes_behind_an_answer_under_the_next_request(proxy, origin, method, stray):
    """They come when the connection is in use again: what can be repeated is asked elsewhere, once."""
    def handler(conn, _):
        conn.sendall(b"HTTP/1.1 204 X\r\n\r\n")
        conn.settimeout(5)
        if b"/next" in conn.recv(65536):
            taken.append(conn)
            conn.sendall(stray)
        conn.close()
    taken = []
    origin.routes["/stray"], before = handler, len(origin.requests)
    with proxy.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET /stray HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.response().status == 204
        sock.sendall(method.encode() + b" /next HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        answer = reader.response()
    if taken:  # the connection was used again
        assert answer.status == (200 if method == "GET" else 502)
    assert [r.target for r in origin.requests[before:]] == ["/stray"] + ["/next"] * (method == "GET" or not taken)
    assert method == "POST" or (taken and answer.body == b"ok\n")


def test_large_bytes_behind_an_answer(proxy, origin):
    """More than one read: the end of the answer and the stray bytes come in different ones."""
    body = b"b" * (65536 * 3)
    raw = http_response(200, [TEXT], body)
    for extra in range(0, 65536, 8192):
        answer = raw[:-len(body)] + b"b" * (65536 - len(raw) + len(body) + extra)
        answer = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % (len(answer) - raw.index(b"\r\n\r\n") - 4), answer)
        origin.routes["/big"] = lambda conn, _: conn.sendall(answer + EVIL * 5000)
        with proxy.connect() as sock:
            reader = Reader(sock)
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"EVIL" not in reader.response().body
            assert reader.response().body == b"ok\n"


def test_answer_to_head_with_a_body(proxy, origin):
    origin.routes["/headbody"] = http_response(200, [TEXT, ("Content-Length", str(len(EVIL)))], EVIL)
    with proxy.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"HEAD /headbody HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.response("HEAD").status == 200
        sock.sendall(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.response().body == b"ok\n"


def test_idle_origin_that_speaks_unasked(tmp_path):
    def handler(conn, request):
        conn.sendall(http_response(200, [TEXT], request.target.encode()))
        if request.target == "/first":
            time.sleep(0.05)
            conn.sendall(EVIL)
    origin = Origin(handler)
    proxy = Proxy(tmp_path, origin)
    assert proxy.get("/first").body == b"/first"
    time.sleep(0.3)
    assert proxy.get("/second").body == b"/second"
    assert origin.opened == 2
    proxy.stop()
    origin.stop()


CUTS = [b"", b"HTTP", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\n\r\n"]


@pytest.mark.parametrize("raw", CUTS, ids=range(len(CUTS)))
@pytest.mark.parametrize("how", ["close", "reset"])
def test_origin_that_leaves_before_its_head_is_complete(proxy, origin, raw, how):
    def handler(conn, _):
        conn.sendall(raw)
        if how == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        conn.close()
    origin.routes["/cut"] = handler
    for method in (b"GET", b"POST"):
        with proxy.connect() as sock:
            reader = Reader(sock)
            sock.sendall(method + b" /cut HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = reader.response()
            if answer.status == 103:
                answer = reader.response()
            assert answer.status == 502
            sock.sendall(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert reader.response().body == b"ok\n"


TRUNCATED = [b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\nhello",
             b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
             b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
             b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\ng\r\n",
             b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
             b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"]


@pytest.mark.parametrize("raw", TRUNCATED, ids=range(len(TRUNCATED)))
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_cut_answer_looks_cut(proxy, origin, raw, tls):
    def handler(conn, _):
        conn.sendall(raw)
        time.sleep(0.05)  # the head is on its way by now
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        conn.close()
    origin.routes["/short"] = handler
    with proxy.connect(tls) as sock:
        sock.sendall(b"GET /short HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            assert Reader(sock).response().status == 502  # nothing had been sent yet
        except (Cut, OSError):
            pass
    assert proxy.get("/next").body == b"ok\n"


ENDLESS = {
    "status line": (b"HTTP/1.1 200 ", b"x" * 8192),
    "one field": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 8192),
    "fields": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "field lines without end": (b"HTTP/1.1 200 OK\r\n", b"\r"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_heads(proxy, origin, kind):
    first, more = ENDLESS[kind]

    def handler(conn, _):
        conn.sendall(first)
        for _ in range(2000):
            conn.sendall(more)
        conn.close()
    origin.routes["/endless"] = handler
    assert proxy.get("/endless").status == 502
    assert proxy.get("/next").body == b"ok\n"


def test_nothing_hidden_ever_ran(proxy, origin):
    """Last in this file: no test above let its hidden request through."""
    assert proxy.get("/last").status == 200
    assert "/hidden" not in {r.target for r in origin.requests}
    wait_for(lambda: proxy.get("/").status == 200)
