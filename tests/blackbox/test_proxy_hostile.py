"""A hostile crowd, and one visitor who wants a page: he gets it, whatever the crowd does."""
import gzip
import os
import pathlib
import re
import resource
import socket
import subprocess
import threading
import time

import pytest

import h2
from harness import BUILD, LOOPBACK, Origin, Proxy, Reader, free_port, http_response, wait_for

MIB = 1 << 20
HTML = ("Content-Type", "text/html")
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SANITIZED = b"__asan_init" in (BUILD / "consentd").read_bytes() if (BUILD / "consentd").exists() else False
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid, key="VmRSS"):
    return int(re.search(rf"{key}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def trickle(data, pause=0.0):
    def handler(conn, request):
        for i in range(len(data)):
            conn.sendall(data[i:i + 1])
            if pause:
                time.sleep(pause)
    return handler


PAGE = b"<!doctype html><title>t</title><body><p>kept</p><script src='https://www.google-analytics.com/a.js'></script></body>"


@pytest.fixture(name="origin", scope="module")
def origin_fixture():
    origin = Origin()
    origin.routes.update({
        "/bytewise": trickle(http_response(200, [HTML], PAGE)),
        "/drip": trickle(http_response(200, [HTML], PAGE * 50), 0.05),
        "/gzip-bytewise": trickle(http_response(200, [HTML, ("Content-Encoding", "gzip")], gzip.compress(PAGE))),
        "/fat": http_response(200, [("Content-Type", "text/plain")], b"f" * (8 * MIB)),
    })
    yield origin
    origin.stop()


class Innocent:
    """A visitor who comes again and again; .slowest is what he had to wait for one page."""

    def __init__(self, proxy, tls=False):
        self.proxy, self.tls, self.slowest, self.count, self.failed = proxy, tls, 0.0, 0, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._visit, daemon=True)

    def _visit(self):
        while not self.over.is_set():
            start = time.monotonic()
            try:
                if self.proxy.get("/", tls=self.tls).status != 200:
                    self.failed.append("status")
            except Exception as error:  # pylint: disable=broad-except
                self.failed.append(repr(error))
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.count += 1
            time.sleep(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)
        print(f"innocent: {self.count} visits, slowest {self.slowest * 1000:.0f} ms, failed {self.failed[:3]}")


def test_an_innocent_visitor_among_a_crowd(tmp_path, origin):
    """Silence, slow heads, slow bodies, handshakes that stop, readers that do not read, origins that drip."""
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3
    proxy = Proxy(tmp_path, origin, tls=True, workers=2, limits={"request_header_timeout": "30s"})
    crowd = []

    def some(count, what, tls=False):
        for _ in range(min(count, room // 6)):
            sock = socket.create_connection((LOOPBACK, proxy.tls_port if tls else proxy.port), 30)
            if what:
                sock.sendall(what)
            crowd.append(sock)
    with Innocent(proxy) as plain, Innocent(proxy, tls=True) as secret:
        some(5000, b"")
        some(2000, b"GET / HTTP/1.1\r\nHost: local")
        some(1000, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx")
        some(1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", tls=True)
        some(100, GET.replace(b"/ ", b"/fat "))
        some(100, GET.replace(b"/ ", b"/drip "))
        time.sleep(3)
    print(f"crowd of {len(crowd)}")
    assert not plain.failed and not secret.failed and plain.count > 3 and secret.count > 3
    for sock in crowd:
        sock.close()
    assert proxy.get("/").status == 200
    proxy.stop()


def test_a_flood_of_connections(tmp_path, origin):
    """Opened and shut as fast as one can."""
    proxy = Proxy(tmp_path, origin, workers=1)
    worker = proxy.role("worker")
    files = len(os.listdir(f"/proc/{worker}/fd"))
    with Innocent(proxy) as visitor:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for sock in [socket.create_connection((LOOPBACK, proxy.port), 10) for _ in range(100)]:
                sock.close()
    assert not visitor.failed
    wait_for(lambda: len(os.listdir(f"/proc/{worker}/fd")) <= files + 4)
    proxy.stop()


def test_without_descriptors_it_waits_and_does_not_spin(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, workers=1, limits={"keepalive_timeout": "60s", "request_header_timeout": "60s"})
    worker = proxy.role("worker")
    kept = proxy.connect()
    kept.sendall(GET)
    assert Reader(kept).response().status == 200
    used = len(os.listdir(f"/proc/{worker}/fd"))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 50, used + 50))
    crowd = [proxy.connect() for _ in range(200)]
    wait_for(lambda: "listener.paused" in proxy.log())
    before = cpu_seconds(worker)
    time.sleep(3)
    spent = cpu_seconds(worker) - before
    print(f"CPU while exhausted: {spent / 3 * 100:.1f} %")
    assert spent < 1
    kept.sendall(GET)  # who is in is served, over the origin's connection that is there
    assert Reader(kept).response().status == 200
    for sock in crowd:
        sock.close()
    kept.close()
    wait_for(lambda: proxy.get("/").status == 200)
    assert proxy.log().count("listener.paused") < 200
    proxy.stop()


def coded(name, plain):
    """By the program of that name."""
    if name == "gzip":
        return gzip.compress(plain, 9)
    args = {"zstd": ["zstd", "-q", "-9", "-c"], "br": ["brotli", "-q", "5", "-w", "22", "-c"]}[name]
    return subprocess.run(args, input=plain, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br"])
@pytest.mark.parametrize("kind", ["text/html", "text/css"])
def test_bombs(tmp_path, origin, coding, kind):
    """Far more text than the coded bytes can honestly hold: cut, in little memory, and nobody else waits."""
    bomb = coded(coding, (b"<b>" if kind == "text/html" else b"a{}") * (64 * MIB))
    origin.routes["/bomb"] = http_response(200, [("Content-Type", kind), ("Content-Encoding", coding)], bomb)
    proxy = Proxy(tmp_path, origin)
    worker = proxy.role("worker")
    assert proxy.get("/").status == 200
    before = memory(worker)
    with Innocent(proxy) as visitor:
        for accept in ("identity", "gzip", coding):
            out = proxy.raw(b"GET /bomb HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nSec-Fetch-Dest: document\r\n"
                            b"Accept-Encoding: %s\r\n\r\n" % accept.encode(), timeout=20)
            whole = out.startswith(b"HTTP/1.1 200") and out.endswith(b"0\r\n\r\n")
            assert not whole or kind == "text/css" and bomb in out  # untouched, it is the browser's to judge
    growth = memory(worker, "VmHWM") - before
    print(f"{coding} {kind}: {len(bomb)} bytes, growth {growth // MIB} MiB")
    assert not visitor.failed and growth < (200 if SANITIZED else 32) * MIB
    proxy.stop()


@pytest.mark.parametrize("path", ["/bytewise", "/gzip-bytewise"])
def test_an_origin_that_says_one_byte_at_a_time(tmp_path, origin, path):
    proxy = Proxy(tmp_path, origin)
    answer = proxy.get(path, [("Accept-Encoding", "identity"), ("Sec-Fetch-Dest", "document")])
    assert answer.status == 200 and b"kept" in answer.body and b"google-analytics.com/a.js" not in answer.body
    proxy.stop()


def test_limits_of_one_address_hold_for_http_2_too(tmp_path, origin):
    """The 429 of each request comes on its own stream, and the connection lives on."""
    port = free_port()
    proxy = Proxy(tmp_path, origin, limits={"requests_per_second": 1, "request_burst": 5},
                  listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}])
    proxy.port = port
    with h2.Client(proxy) as client:
        streams = [client.get("/") for _ in range(20)]
        client.wait(*streams)
        got = [client.answers[s].status for s in streams]
        assert got.count(200) in (5, 6) and got.count(429) == 20 - got.count(200)
        refused = next(client.answers[s] for s in streams if client.answers[s].status == 429)
        assert int(refused.header("retry-after")) >= 1
        wait_for(lambda: client.wait(client.get("/")).status == 200)
    proxy.stop()
