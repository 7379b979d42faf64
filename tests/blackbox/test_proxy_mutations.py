"""Good messages with a few bytes wrong: whatever comes of one, the messages beside it are not touched.

The mutations are the same in every run; MUTATIONS=N in the environment makes N of them (a million
is a night's work), MUTATIONS_SEED others.
"""
import gzip
import os
import random
import re
import socket
import time

import pytest

from harness import Cut, Origin, Proxy, Reader, chunked, http_response

COUNT = int(os.environ.get("MUTATIONS", "1000"))
SEED = int(os.environ.get("MUTATIONS_SEED", "1"))
H = b"Host: localhost\r\n"
LAST = b"GET /last HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
REQUESTS = [
    b"GET /a HTTP/1.1\r\n" + H + b"X: y\r\n\r\n",
    b"POST /b HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello",
    b"POST /c HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello"),
    b"POST /d HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n",
    b"GET /e HTTP/1.1\r\n" + H + b"Connection: keep-alive, x\r\nCookie: a=1\r\nExpect: 100-continue\r\n\r\n",
    b"PUT /f HTTP/1.0\r\n" + H + b"Connection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
]
PAGE = b"<!doctype html><html><head><title>t</title></head><body><p>text</p></body></html>"
TYPE, CODED = ("Content-Type", "text/html"), ("Content-Encoding", "gzip")
CHUNKED = ("Transfer-Encoding", "chunked")
ANSWERS = [
    http_response(200, [("Content-Type", "text/plain")], b"plain text"),
    http_response(200, [("Content-Type", "text/plain"), CHUNKED], chunked(b"plain", b" text")),
    http_response(200, [TYPE, ("Set-Cookie", "a=b")], PAGE), http_response(200, [TYPE, CHUNKED], chunked(PAGE[:10], PAGE[10:])),
    http_response(200, [TYPE, CODED], gzip.compress(PAGE, mtime=0)),
    b"HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n" + http_response(200, [TYPE], PAGE),
    http_response(304, [("ETag", '"a"')]), http_response(204), b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE,
]
PIECES = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"5", b"-", b"\xff", b"\x0b", b'"', b"\r\n ", b"\r\n\r\n",
          b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Host: elsewhere\r\n",
          b"Content-Encoding: gzip\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"GET /hidden HTTP/1.1\r\n" + H + b"\r\n"]
STRICT = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21\x22\x24-\x7e]+ HTTP/1\.1\r\n"
                    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)+\r\n")


@pytest.fixture(name="origin", scope="module")
def origin_fixture():
    origin = Origin()
    origin.routes["/last"] = http_response(200, [("Content-Type", "text/plain")], b"the last")
    yield origin
    origin.stop()


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    proxy = Proxy(tmp_path_factory.mktemp("mutations"), origin, site={"banner": False, "guard": False, "response_timeout": "3s"})
    yield proxy
    proxy.stop()


def mutated(rng, data):
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(len(data) + 1), rng.random()
        piece = rng.choice(PIECES) if kind < 0.75 else b""
        data = data[:at] + piece + data[at + (rng.randint(1, 4) if kind >= 0.5 else 0):]
    return data


def final_answers(out):
    """[(status, body)] of what came, as far as it is complete."""
    class Bytes:
        rest = out

        def recv(self, _):
            piece, self.rest = self.rest, b""
            return piece
    reader, found = Reader(Bytes()), []
    try:
        while True:
            answer = reader.response()
            if answer.status >= 200:
                found.append((answer.status, answer.body))
    except Cut:
        return found


def test_requests(proxy, origin):
    """As many answers of the origin as requests it saw, each of these beyond doubt, and none behind a refusal."""
    rng = random.Random(SEED)
    for number in range(COUNT):
        data = mutated(rng, b"".join(rng.choice(REQUESTS) for _ in range(rng.randint(1, 3))))
        origin.requests.clear()
        out = proxy.raw(data, shut=True)
        codes = [int(c) for c in re.findall(rb"HTTP/1\.1 ([2-9]\d\d) ", out)]
        seen, what = list(origin.requests), (number, data, out[-300:])
        assert codes.count(200) == len(seen) or (not codes and b"\r\n\r\n" not in out), what
        assert all(code in (200, 421) for code in codes[:-1]), what
        for request in seen:
            assert STRICT.match(request.raw), (what, request.raw)
            assert len(request.all("host")) == 1, what
            assert len(request.all("content-length") + request.all("transfer-encoding")) <= 1, (what, request.raw)


def test_answers(proxy, origin):
    """The next request on the client's connection gets its own answer, or the connection is cut."""
    rng = random.Random(SEED)
    for number in range(COUNT):
        data = mutated(rng, rng.choice(ANSWERS))
        split = rng.choice([0, rng.randrange(len(data) + 1)])

        def handler(conn, _, data=data, split=split):
            conn.sendall(data[:split])
            if split:
                time.sleep(0.005)
            conn.sendall(data[split:])
            conn.shutdown(socket.SHUT_WR)
            time.sleep(0.003)
            conn.close()
        origin.routes["/x"] = handler
        answers = final_answers(proxy.raw(b"GET /x HTTP/1.1\r\n" + H + b"\r\n" + LAST))
        assert len(answers) <= 2, (number, data, split, answers)
        assert len(answers) < 2 or answers[1] == (200, b"the last"), (number, data, split, answers)
        assert len(answers) != 1 or answers[0][0] == 502, (number, data, split, answers)
    assert proxy.get("/last").body == b"the last"
