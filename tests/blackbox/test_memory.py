"""The ceiling that the configuration's limits add up to, and a load that wants to break it."""
import gzip
import pathlib
import re
import socket
import subprocess
import threading
import time

import pytest

import h2
from harness import BUILD, LOOPBACK, Origin, Proxy, Reader, free_port, http_response, preload, wait_for

MIB = 1 << 20
SANITIZED = b"__asan_init" in (BUILD / "consentd").read_bytes() if (BUILD / "consentd").exists() else False
SMALL = {"connections": 300, "requests": 60, "header_size": "16KiB", "tag": "16KiB", "inline_script": "64KiB",
         "send_timeout": "60s"}
HTML = ("Content-Type", "text/html")


def said(proxy):
    return int(re.findall(r"event=memory.ceiling bytes=(\d+)", proxy.log())[-1])


def peak(pid):
    return int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def test_it_is_said_and_follows_the_limits(tmp_path):
    proxy = Proxy(tmp_path, limits=dict(SMALL))
    small = said(proxy)
    checked = subprocess.run([str(BUILD / "consentd"), "-t", "-c", str(tmp_path / "consentd.json")], capture_output=True,
                             text=True, check=True).stdout
    assert "memory: at most " in checked and "300 connections" in checked and "60 requests" in checked
    for key, value in (("connections", 600), ("requests", 120), ("tag", "1MiB"), ("header_size", "64KiB")):
        proxy.config["limits"][key] = value
        proxy.rewrite(proxy.config)
        before = said(proxy)
        assert proxy.hup() and said(proxy) > before
    proxy.config["workers"] = 2
    proxy.rewrite(proxy.config)
    before = said(proxy)
    assert proxy.hup() and said(proxy) == 2 * before
    assert small < before
    proxy.stop()


def test_more_requests_than_allowed(tmp_path):
    gate = threading.Event()

    def hold(conn, request):
        if request.path == "/hold":
            gate.wait(20)
        return http_response(200, [], b"ok\n")
    origin, port = Origin(hold), free_port()
    proxy = Proxy(tmp_path, origin, limits={"requests": 5}, listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}])
    proxy.port = port
    socks = [proxy.connect() for _ in range(5)]
    for sock in socks:
        sock.sendall(b"GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: len(origin.requests) == 5)
    refused = proxy.get("/more")
    assert refused.status == 503 and refused.header("retry-after")
    with h2.Client(proxy) as client:
        assert client.wait(client.get("/more")).reset == h2.REFUSED
    gate.set()
    for sock in socks:
        assert Reader(sock).response().status == 200
        sock.close()
    assert proxy.get("/more").status == 200
    proxy.stop()
    origin.stop()


def test_a_load_that_wants_all_of_it_stays_below(tmp_path):
    """Every connection with half a head, every request with a page, a bomb or a file that nobody reads."""
    page = b"<!doctype html><body>" + b"".join(
        b"<p class='%d'>%s</p><script>var a%d = '%s'</script>" % (i, b"x" * 500, i, b"y" * 20000) for i in range(200))
    bomb = gzip.compress(page * 40, 9)
    origin, port = Origin(), free_port()
    origin.routes.update({
        "/page": http_response(200, [HTML], page * 4),
        "/coded": http_response(200, [HTML, ("Content-Encoding", "gzip")], bomb),
        "/bomb": http_response(200, [HTML, ("Content-Encoding", "gzip")], gzip.compress(b"<b>" * (50 * MIB), 9)),
        "/tag": http_response(200, [HTML], b"<a title='" + b"t" * (30 * MIB)),
        "/file": http_response(200, [("Content-Type", "application/octet-stream")], b"f" * (30 * MIB)),
    })
    proxy = Proxy(tmp_path, origin, limits=dict(SMALL), listen=[{"address": f"{LOOPBACK}:{port}", "h2c": True}])
    proxy.port, worker = port, proxy.role("worker")
    start, paths = peak(worker), ["/page", "/coded", "/bomb", "/tag", "/file"]
    socks = []

    def connect():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((LOOPBACK, port))
        socks.append(sock)
        return sock
    for i in range(40):
        connect().sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br\r\nX: %s\r\n\r\n" %
                          (paths[i % 5].encode(), b"x" * 12000))
    hoarder = h2.Client(proxy, window=False, settings=[(4, 1 << 20)])
    for i in range(100):
        hoarder.get(paths[i % 5], [("accept-encoding", "gzip")])
    for _ in range(200):
        connect().sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 15000)
    uploads = h2.Client(proxy)
    for _ in range(100):
        stream = uploads.get("/up", method="POST", end=False)
        uploads.data(stream, b"u" * 1000, end=False)
    end = time.monotonic() + 6
    while time.monotonic() < end:
        hoarder.step(0.1)
        uploads.step(0.1)
    ceiling, got = said(proxy), peak(worker)
    print(f"start {start // MIB} MiB, peak {got // MIB} MiB, ceiling {ceiling // MIB} MiB")
    assert got < ceiling * (3 if SANITIZED else 1)
    for sock in socks:
        sock.close()
    hoarder.sock.close()
    uploads.sock.close()
    wait_for(lambda: proxy.get("/ok").status == 200)
    proxy.stop()
    origin.stop()


@pytest.mark.parametrize("kind", ["cleartext", "TLS", "HTTP/2"])
def test_no_allocation_after_warm_up(tmp_path, monkeypatch, kind):
    """What a small request takes was given back by the one before: the heap is not asked."""
    counts = tmp_path / "counts"
    counts.write_bytes(bytes(8))
    monkeypatch.setenv("LD_PRELOAD", preload(tmp_path / "counts.so", pathlib.Path(__file__).with_name("counts.c"), "-ldl"))
    monkeypatch.setenv("COUNTS", str(counts))
    origin = Origin(lambda conn, request: http_response(200, [("Content-Type", "image/png")], b"x" * 1024))
    proxy = Proxy(tmp_path, origin, tls=True)
    monkeypatch.delenv("LD_PRELOAD")

    def count():
        return int.from_bytes(counts.read_bytes(), "little")
    assert count() > 100  # it does count
    if kind == "HTTP/2":
        with h2.Client(proxy, tls=True) as client:
            def ask():
                assert client.wait(client.get("/x.png")).status == 200
            rounds(ask, count)
    else:
        with proxy.connect(tls=kind == "TLS") as sock:
            reader = Reader(sock)

            def ask():
                sock.sendall(b"GET /x.png HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert reader.response().status == 200
            rounds(ask, count)
    proxy.stop()
    origin.stop()


def rounds(ask, count):
    """Timers and the like may take a little now and then; a request takes nothing (arenas: sanitized ones are new)."""
    for _ in range(100):
        ask()
    before = count()
    for _ in range(300):
        ask()
    assert count() - before < 60 + (2 * 300 if SANITIZED else 0), (count() - before) / 300
