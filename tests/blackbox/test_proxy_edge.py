"""Who the client is behind a balancer, and what one address may have."""
import socket
import ssl
import time

import pytest

from harness import Cut, LOOPBACK, Proxy, Reader, certificate, free_port, wait_for

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(address="192.0.2.7"):
    return f"PROXY TCP4 {address} 198.51.100.1 56324 443\r\n".encode()


def v2(address="192.0.2.7", tlv=b""):
    block = socket.inet_aton(address) + b"\xc6\x33\x64\x01\xdc\x04\x01\xbb"
    return SIGNATURE + b"\x21\x11" + (len(block) + len(tlv)).to_bytes(2, "big") + block + tlv


@pytest.fixture(scope="module")
def balanced(origin, tmp_path_factory):
    """Two listeners that expect a PROXY header, the second with TLS behind it."""
    folder = tmp_path_factory.mktemp("balanced")
    cert, key = certificate(folder, "own")
    ports = [free_port(), free_port()]
    proxy = Proxy(folder, origin, listen=[
        {"address": f"{LOOPBACK}:{ports[0]}", "proxy_protocol": True},
        {"address": f"{LOOPBACK}:{ports[1]}", "proxy_protocol": True,
         "tls": {"certificates": [{"cert": str(cert), "key": str(key)}]}}])
    proxy.port, proxy.tls_port = ports
    yield proxy
    proxy.stop()


def ask(sock, origin):
    sock.sendall(REQUEST)
    assert Reader(sock).response().status == 200
    return origin.requests[-1].header("X-Forwarded-For")


@pytest.mark.parametrize("header, client", [
    (v1(), "192.0.2.7"), (v2(), "192.0.2.7"), (v2(tlv=b"\x04\0\x03abc"), "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "2001:db8::7"),
    (b"PROXY UNKNOWN\r\n", LOOPBACK), (SIGNATURE + b"\x20\0\0\0", LOOPBACK),
])
def test_the_header_names_the_client(balanced, origin, header, client):
    with balanced.connect() as sock:
        sock.sendall(header)
        assert ask(sock, origin) == client
        assert ask(sock, origin) == client  # once per connection, not per request
    with balanced.connect() as sock:  # in one packet with the request
        sock.sendall(header + REQUEST)
        assert Reader(sock).response().status == 200
    with balanced.connect() as sock:  # and byte by byte
        for i in range(len(header)):
            sock.sendall(header[i:i + 1])
            time.sleep(0.001)
        assert ask(sock, origin) == client


def test_tls_begins_behind_the_header(balanced, origin):
    context = ssl._create_unverified_context()
    with socket.create_connection((LOOPBACK, balanced.tls_port), 10) as raw:
        raw.sendall(v2("203.0.113.9"))
        with context.wrap_socket(raw, server_hostname="localhost") as sock:
            assert ask(sock, origin) == "203.0.113.9"


@pytest.mark.parametrize("data", [REQUEST, b"PROXY TCP4 999.0.0.1 1.1.1.1 1 2\r\n" + REQUEST, SIGNATURE + b"\x31\x11\0\0",
                                  b"PROXY UNKNOWN" + b"x" * 200, b"\x16\x03\x01\x02\0"])
def test_without_a_header_nothing_is_answered(balanced, origin, data):
    before = len(origin.requests)
    assert balanced.raw(data) == b""
    assert len(origin.requests) == before


def test_a_header_where_none_is_expected_is_no_request(tmp_path, origin):
    proxy = Proxy(tmp_path, origin)
    assert proxy.raw(v1() + REQUEST).startswith(b"HTTP/1.1 400")
    proxy.stop()


def test_waiting_balancers_do_not_hold_a_stop(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, listen=[{"address": f"{LOOPBACK}:{(port := free_port())}", "proxy_protocol": True}])
    proxy.port = port
    with proxy.connect():
        time.sleep(0.3)
        proxy.stop()


def test_connections_of_one_address(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, limits={"connections_per_address": 3})
    kept = [proxy.connect() for _ in range(3)]
    for sock in kept:
        sock.sendall(REQUEST)
        assert Reader(sock).response().status == 200
    with proxy.connect() as fourth, pytest.raises((Cut, OSError)):
        fourth.sendall(REQUEST)
        Reader(fourth).response()
    kept.pop().close()

    def served():
        try:
            return proxy.get("/").status == 200
        except (Cut, OSError):
            return False
    wait_for(served)
    for sock in kept:
        sock.close()
    proxy.stop()


def test_requests_of_one_address(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, limits={"requests_per_second": 1, "request_burst": 5},
                  listen=[{"address": f"{LOOPBACK}:{(port := free_port())}", "proxy_protocol": True}])
    proxy.port = port

    def statuses(address, count):
        with proxy.connect() as sock:
            sock.sendall(v1(address))
            reader, out = Reader(sock), []
            for _ in range(count):
                sock.sendall(REQUEST)
                answer = reader.response()
                out.append(answer.status)
                if answer.status == 429:
                    assert int(answer.header("Retry-After")) >= 1
                    assert b"Too many requests" in answer.body
            return out
    before = len(origin.requests)
    assert statuses("192.0.2.1", 8) == [200] * 5 + [429] * 3
    assert len(origin.requests) == before + 5
    assert statuses("192.0.2.2", 2) == [200] * 2  # somebody else
    wait_for(lambda: statuses("192.0.2.1", 1) == [200], 5)  # and later again
    proxy.stop()


def test_sessions_resume_in_any_worker(tmp_path, origin):
    """One ticket key for all workers; a reload makes a new one, and nobody is refused for it."""
    proxy = Proxy(tmp_path, origin, tls=True, workers=2)
    visit = proxy.tls_session
    ticket = visit()[1]
    assert all(visit(ticket)[0] for _ in range(24))
    proxy.hup()
    wait_for(lambda: not visit(ticket)[0])
    proxy.stop()


def test_hsts(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, tls=True)
    assert proxy.get("/", tls=True).header("Strict-Transport-Security") is None
    proxy.config["listen"][1]["tls"]["hsts"] = "365d"
    proxy.rewrite(proxy.config)
    proxy.hup()
    wait_for(lambda: proxy.get("/", tls=True).header("Strict-Transport-Security") == "max-age=31536000")
    assert proxy.get("/.consent/state", tls=True).header("Strict-Transport-Security") == "max-age=31536000"
    assert proxy.get("/").header("Strict-Transport-Security") is None
    proxy.stop()


def test_renewed_certificates_are_taken_by_themselves(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, tls=True)
    authority = (tmp_path / "authority.pem", tmp_path / "authority.key")

    def served():
        with proxy.connect(tls=True) as sock:
            return sock.getpeercert()["serialNumber"]

    first = served()
    (tmp_path / "new").mkdir()
    cert, key = certificate(tmp_path / "new", "server", ("localhost", LOOPBACK), authority)
    (tmp_path / "server.key").write_bytes(b"half of a key")  # refused, and nothing is lost
    wait_for(lambda: "certificates.changed" in proxy.log() and "reload.refused" in proxy.log(), 20)
    assert served() == first
    cert.replace(tmp_path / "server.pem")
    key.replace(tmp_path / "server.key")
    wait_for(lambda: served() != first, 20)
    assert proxy.get("/", tls=True).status == 200
    proxy.stop()
