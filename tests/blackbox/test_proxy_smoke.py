"""One request through every kind of path, with the shared harness itself under test."""
import pytest

from harness import Proxy, Reader, http_response


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    proxy = Proxy(tmp_path_factory.mktemp("proxy"), origin, tls=True)
    yield proxy
    proxy.stop()


@pytest.mark.parametrize("tls", [False, True])
def test_a_request_and_its_answer(proxy, origin, tls):
    origin.routes["/x"] = http_response(200, [("Content-Type", "text/plain"), ("A", "b")], b"body")
    answer = proxy.get("/x?q=1", [("X-Test", "yes")], tls=tls)
    assert (answer.status, answer.body, answer.header("a")) == (200, b"body", "b")
    seen = origin.requests[-1]
    assert (seen.method, seen.target, seen.header("x-test")) == ("GET", "/x?q=1", "yes")
    assert seen.header("host") == "localhost"
    assert seen.header("x-forwarded-proto") == ("https" if tls else "http")


def test_a_body_reaches_the_origin(proxy, origin):
    assert proxy.get("/form", method="POST", body=b"a=1&b=2").status == 200
    assert origin.requests[-1].body == b"a=1&b=2"


def test_keep_alive(proxy, origin):
    before = len(origin.requests)
    with proxy.connect() as sock:
        reader = Reader(sock)
        for _ in range(3):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert reader.response().body == b"ok\n"
    assert len(origin.requests) == before + 3


def test_roles_and_consentctl(proxy):
    assert proxy.workers() == [proxy.role("worker")]
    assert proxy.role("ledger") not in (None, proxy.pid)
    assert proxy.ctl("--version").returncode == 0


def test_reload(proxy):
    assert proxy.hup()
    proxy.rewrite(dict(proxy.config, wrong=1))
    assert not proxy.hup()
    proxy.rewrite(proxy.config)
    assert proxy.hup() and proxy.get("/").status == 200
