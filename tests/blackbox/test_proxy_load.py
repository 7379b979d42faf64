"""Memory under load: slow readers, slow origins, many connections, many requests."""
import hashlib
import os
import pathlib
import re
import resource
import socket
import threading
import time

import pytest

from harness import BUILD, Origin, Proxy, Reader, holding, http_response, wait_for

TEXT = ("Content-Type", "text/plain")
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
MIB = 1 << 20
BIG = 100 * MIB
BLOCK = os.urandom(MIB)
SUM = hashlib.sha256(BLOCK * 100).hexdigest()
SANITIZED = b"__asan_init" in (BUILD / "consentd").read_bytes() if (BUILD / "consentd").exists() else False
GROWTH = (150 if SANITIZED else 8) * MIB  # a sanitizer keeps freed memory back


def status(pid, key):
    return int(re.search(rf"{key}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture(name="origin")
def origin_fixture():
    origin = Origin()
    yield origin
    origin.stop()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_download_by_a_slow_reader(tmp_path, origin, tls, framing):
    def big(conn, request):
        if framing == "length":
            conn.sendall(http_response(200, [TEXT, ("Content-Length", str(BIG))]))
        else:
            conn.sendall(http_response(200, [TEXT, ("Transfer-Encoding", "chunked")]))
        for _ in range(100):
            conn.sendall(BLOCK if framing == "length" else b"%x\r\n" % MIB + BLOCK + b"\r\n")
        if framing == "chunked":
            conn.sendall(b"0\r\n\r\n")
    origin.routes["/big"] = big
    proxy = Proxy(tmp_path, origin, tls=tls)
    assert proxy.get("/", tls=tls).status == 200
    worker = proxy.role("worker")
    before = status(worker, "VmRSS")
    with proxy.connect(tls) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.5)
        digest, reader = hashlib.sha256(), Reader(sock)
        _, headers = reader.head()
        assert any("content-length" == n.lower() for n, _ in headers) == (framing == "length")
        if framing == "length":
            got = 0
            while got < BIG:
                piece = reader.exactly(min(65536, BIG - got))
                reader.raw, got = b"", got + len(piece)
                digest.update(piece)
        else:
            while size := int(reader.until(b"\r\n"), 16):
                digest.update(reader.exactly(size))
                assert reader.exactly(2) == b"\r\n"
                reader.raw = b""
        assert digest.hexdigest() == SUM
    growth = status(worker, "VmHWM") - before
    print(f"RSS {before // 1024} kB, peak +{growth // 1024} kB")
    assert growth < GROWTH
    proxy.stop()


def test_page_for_a_slow_reader(tmp_path, origin):
    """A rewritten page streams too: 100 MiB of it, and without banner and companion nothing is added."""
    block = (b"<p class=\"text\">Some <b>text</b> &amp; more of it.</p>\n" * 30000)[:MIB - 1] + b"\n"

    def page(conn, request):
        conn.sendall(http_response(200, [("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")]))
        for _ in range(100):
            conn.sendall(b"%x\r\n" % MIB + block + b"\r\n")
        conn.sendall(b"0\r\n\r\n")
    origin.routes["/page"] = page
    proxy = Proxy(tmp_path, origin, site={"banner": False, "guard": False},
                  limits={"send_timeout": "60s"})
    assert proxy.get("/").status == 200
    worker = proxy.role("worker")
    before, got = status(worker, "VmRSS"), hashlib.sha256()
    with proxy.connect(timeout=60) as sock:
        sock.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
        time.sleep(0.5)
        reader = Reader(sock)
        assert reader.head()[0].endswith("200 X")
        while size := int(reader.until(b"\r\n"), 16):
            got.update(reader.exactly(size))
            assert reader.exactly(2) == b"\r\n"
            reader.raw = b""
    want = hashlib.sha256()
    for _ in range(100):
        want.update(block)
    assert got.hexdigest() == want.hexdigest()
    growth = status(worker, "VmHWM") - before
    print(f"RSS {before // 1024} kB, peak +{growth // 1024} kB")
    assert growth < GROWTH
    proxy.stop()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_upload_to_a_slow_origin(tmp_path, framing):
    seen = hashlib.sha256()

    def early(conn, request):
        if request.method != "POST":
            return False
        time.sleep(0.5)
        reader = request.reader
        if framing == "length":
            got = 0
            while got < BIG:
                piece = reader.exactly(min(65536, BIG - got))
                reader.raw, got = b"", got + len(piece)
                seen.update(piece)
        else:
            while size := int(reader.until(b"\r\n"), 16):
                seen.update(reader.exactly(size))
                reader.exactly(2)
                reader.raw = b""
            reader.exactly(2)
        conn.sendall(http_response(200, [TEXT], b"stored"))
        return True
    origin = Origin(early=early)
    proxy = Proxy(tmp_path, origin)
    assert proxy.get("/").status == 200
    worker = proxy.role("worker")
    before = status(worker, "VmRSS")
    with proxy.connect() as sock:
        field = b"Content-Length: %d" % BIG if framing == "length" else b"Transfer-Encoding: chunked"
        sock.sendall(b"POST /up HTTP/1.1\r\nHost: localhost\r\n" + field + b"\r\n\r\n")
        for _ in range(100):
            sock.sendall(BLOCK if framing == "length" else b"%x\r\n" % MIB + BLOCK + b"\r\n")
        if framing == "chunked":
            sock.sendall(b"0\r\n\r\n")
        assert Reader(sock).response().body == b"stored"
    assert seen.hexdigest() == SUM
    growth = status(worker, "VmHWM") - before
    print(f"RSS {before // 1024} kB, peak +{growth // 1024} kB")
    assert growth < GROWTH
    proxy.stop()
    origin.stop()


def test_many_connections(tmp_path, origin):
    """Two thousand kept connections: idle ones hold little memory; all that ask at once are answered."""
    count = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3)
    proxy = Proxy(tmp_path, origin, site={"origin_idle_timeout": "1s", "origin_queue": count})
    assert proxy.get("/").status == 200
    worker = proxy.role("worker")
    before, files = status(worker, "VmRSS"), descriptors(worker)
    socks = [proxy.connect(timeout=60) for _ in range(count)]
    for sock in socks:
        sock.sendall(GET)
        assert Reader(sock).response().body == b"ok\n"
    each = (status(worker, "VmRSS") - before) // count
    print(f"{count} connections, {each} bytes each")
    assert each < (40000 if SANITIZED else 4096)
    for sock in socks:
        sock.sendall(GET)
    for sock in socks:
        assert Reader(sock).response().body == b"ok\n"
    assert proxy.get("/").status == 200
    for sock in socks:
        sock.close()
    wait_for(lambda: descriptors(worker) <= files + 8, 20)
    proxy.stop()


def test_silent_and_slow_connections_do_not_stop_others(tmp_path, origin):
    count = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    proxy = Proxy(tmp_path, origin, tls=True, limits={"request_header_timeout": "3s"})
    worker = proxy.role("worker")
    files = descriptors(worker)
    socks = [proxy.connect(timeout=60) for _ in range(count)]
    for i, sock in enumerate(socks):
        if i % 3 == 0:
            sock.sendall(GET[:20])
        elif i % 3 == 1:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nx")
    half = [socket.create_connection(("127.0.0.1", proxy.tls_port), 60) for _ in range(count // 2)]
    for sock in half:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    for tls in (False, True):
        assert proxy.get("/", tls=tls).body == b"ok\n"
    for sock in socks + half:
        sock.close()
    wait_for(lambda: descriptors(worker) <= files + 300, 30)
    assert proxy.get("/").body == b"ok\n"
    proxy.stop()


def test_stuck_requests_do_not_stop_others(tmp_path):
    """Three hundred requests wait at the origin, and a thousand uploads have begun; others go on."""
    gate, hold = holding(b"ok\n", "/stuck")
    origin = Origin(hold)
    proxy = Proxy(tmp_path, origin)
    socks = [proxy.connect(timeout=60) for _ in range(1300)]
    for i, sock in enumerate(socks):
        if i < 300:
            sock.sendall(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
        else:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx")
    wait_for(lambda: len(origin.requests) == 300, 20)
    for _ in range(10):
        assert proxy.get("/").body == b"ok\n"
    gate.set()
    for sock in socks[:300]:
        assert Reader(sock).response().status == 200
    for sock in socks:
        sock.close()
    proxy.stop()
    origin.stop()


def test_descriptor_limit_is_raised(tmp_path):
    """Started from a shell with the usual soft limit, a worker can still hold all it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        proxy = Proxy(tmp_path, limits={"connections": 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = pathlib.Path(f"/proc/{proxy.role('worker')}/limits").read_text()
    assert int(re.search(r"Max open files\s+(\d+)", limits)[1]) >= min(hard, 10000)
    assert "limits.descriptors" not in proxy.log()
    proxy.stop()


def test_many_requests(tmp_path, origin):
    """Kept and new connections, bodies, errors: nothing leaks."""
    proxy = Proxy(tmp_path, origin)
    worker = proxy.role("worker")

    def some(turns):
        for turn in range(turns):
            with proxy.connect() as sock:
                reader = Reader(sock)
                for _ in range(20):
                    sock.sendall(GET + b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
                    assert reader.response().status == 200 and reader.response().status == 200
                sock.sendall(b"BAD\r\n\r\n" if turn % 2 else b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                reader.rest()

    def all_at_once(turns):
        threads = [threading.Thread(target=some, args=(turns,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    all_at_once(5)
    before, files = status(worker, "VmRSS"), descriptors(worker)
    all_at_once(25)
    growth = status(worker, "VmRSS") - before
    print(f"RSS {before // 1024} kB, +{growth // 1024} kB")
    assert growth < (60 * MIB if SANITIZED else 2 * MIB)
    wait_for(lambda: descriptors(worker) <= files + 8, 20)
    proxy.stop()


def test_a_burst_gives_its_memory_back(tmp_path, origin):
    """Also where some of its connections stay: they lie between what the others have left."""
    proxy = Proxy(tmp_path, origin, limits={"connections_per_address": 10000, "request_header_timeout": "120s"})
    worker = proxy.role("worker")
    assert proxy.get("/").status == 200
    before = status(worker, "RssAnon")
    socks = [proxy.connect() for _ in range(1500)]
    for sock in socks:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 14000)
    wait_for(lambda: status(worker, "RssAnon") > before + 20 * MIB)
    full = status(worker, "RssAnon")
    for i, sock in enumerate(socks):
        if i % 30 != 0:
            sock.close()
    if SANITIZED:  # it keeps freed memory back
        wait_for(lambda: descriptors(worker) < 200)
    else:
        wait_for(lambda: status(worker, "RssAnon") < before + (full - before) // 2, 30)  # what is left of a page stays
    assert proxy.get("/").status == 200
    for sock in socks[::30]:
        sock.close()
    proxy.stop()
