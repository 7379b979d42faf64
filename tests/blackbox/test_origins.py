"""Several origins of one site: shares, health, backups, queues, retries, names, cookies; with nginx too."""
import collections
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness import BUILD, LOOPBACK, Origin, Proxy, Reader, certificate, free_port, holding, http_response, wait_for

TEXT = ("Content-Type", "text/plain")
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def named(name):
    """An origin that answers with its name."""
    origin = Origin(lambda conn, request: http_response(200, [TEXT], name.encode()))
    origin.name = name
    return origin


def site(*origins, **keys):
    """Keys of the site; an origin is an Origin, a URL, or one of these with more keys."""
    entries = []
    for one in origins:
        one, more = one if isinstance(one, tuple) else (one, None)
        url = one.url if isinstance(one, Origin) else one
        entries.append({"url": url, **more} if more is not None else url)
    return dict(keys, origins=entries)


def share(proxy, count, path="/"):
    """How many of count requests each origin answered."""
    return collections.Counter(proxy.get(path).body.decode() for _ in range(count))


def status(proxy):
    """What consentctl status --json says of the origins, by URL."""
    out = proxy.ctl("status", "--json")
    assert out.returncode == 0, out.stderr
    return {one["origin"]: one for one in json.loads(out.stdout)["origins"]}


class Program:
    """An origin that is a process of its own: it can be killed, stopped and started again."""

    CODE = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    def do_GET(self):
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class S(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True
S(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""

    def __init__(self, name):
        self.name, self.port = name, free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-c", self.CODE, str(self.port), self.name])
        wait_for(self._answers)

    def _answers(self):
        try:
            socket.create_connection((LOOPBACK, self.port), 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.go_on()
        self.kill()


class Load:
    """Visitors on kept connections, each asking again and again; counts who answered, and failures."""

    def __init__(self, proxy, visitors=8):
        self.proxy, self.stopping = proxy, False
        self.answers, self.failures = collections.Counter(), []
        self.threads = [threading.Thread(target=self._visit) for _ in range(visitors)]
        for thread in self.threads:
            thread.start()

    def _visit(self):
        sock = None
        while not self.stopping:
            try:
                if sock is None:
                    sock = self.proxy.connect(timeout=20)
                    reader = Reader(sock)
                sock.sendall(GET)
                answer = reader.response()
                if answer.status == 200:
                    self.answers[answer.body.decode()] += 1
                else:
                    self.failures.append(answer.status)
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append(repr(error))
                sock = None
        if sock is not None:
            sock.close()

    def more(self, name, count=30):
        """Waits until an origin has answered so many more."""
        want = self.answers[name] + count
        wait_for(lambda: self.answers[name] >= want, 30)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


# --- shares ---


def test_weights(tmp_path):
    a, b, c = named("a"), named("b"), named("c")
    proxy = Proxy(tmp_path, a, site=site((a, {"weight": 3}), b, (c, {"weight": 0})))
    assert share(proxy, 40) == {"a": 30, "b": 10}
    proxy.stop()
    for origin in (a, b, c):
        origin.stop()


def test_least_connections(tmp_path):
    """The slow one gets no more while it has more to do than the other."""
    gate, slow = holding(b"slow", "/slow")
    a, b = Origin(slow), named("quick")
    proxy = Proxy(tmp_path, a, site=site(a, b, balance="least_connections"))
    held = []
    while len(a.requests) < 1:  # ties go round: one of the first two meets it
        held.append(proxy.connect())
        held[-1].sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: len(a.requests) + len(b.requests) == len(held))
    assert share(proxy, 20) == {"quick": 20}
    gate.set()
    for sock in held:
        assert Reader(sock).response().status == 200
        sock.close()
    proxy.stop()
    a.stop()
    b.stop()


def test_backup(tmp_path):
    main, backup = Program("main"), named("backup")
    proxy = Proxy(tmp_path, site=site(main.url, (backup, {"backup": True}), health={"pause": "300ms"}))
    assert share(proxy, 10) == {"main": 10}
    main.kill()
    assert share(proxy, 10) == {"backup": 10}  # not one failed
    main.start()
    wait_for(lambda: share(proxy, 5) == {"main": 5})
    proxy.stop()
    main.stop()
    backup.stop()


# --- failures ---


@pytest.mark.parametrize("code", [502, 503, 504])
def test_gateway_errors_take_an_origin_out(tmp_path, code):
    """The visitor sees them as they are; the third in a row is the last."""
    bad = Origin(lambda conn, request: http_response(code, [TEXT], b"bad"))
    good = named("good")
    proxy = Proxy(tmp_path, site=site(bad, good, health={"failures": 3, "pause": "60s"}))
    answers = [proxy.get("/").status for _ in range(20)]
    assert answers.count(code) == 3 and answers[6:] == [200] * 14
    what = status(proxy)
    assert what[bad.url]["state"] == "down" and what[good.url]["state"] == "up"
    assert what[bad.url]["requests"] == what[bad.url]["failures"] == 3 and what[bad.url]["outs"] == 1
    assert what[good.url]["requests"] == what[good.url]["answers"] == 17
    assert "event=origin.down" in proxy.log() and bad.url in proxy.log()
    proxy.stop()
    bad.stop()
    good.stop()


def test_other_errors_do_not(tmp_path):
    a = Origin(lambda conn, request: http_response(500, [TEXT], b"a"))
    b = Origin(lambda conn, request: http_response(404, [TEXT], b"b"))
    proxy = Proxy(tmp_path, site=site(a, b))
    assert share(proxy, 20) == {"a": 10, "b": 10}
    proxy.stop()
    a.stop()
    b.stop()


def test_one_request_probes(tmp_path):
    """While the pause is over, one request at a time tries, and comes back elsewhere if it fails."""
    bad, good = Program("bad"), named("good")
    proxy = Proxy(tmp_path, site=site(bad.url, good, health={"failures": 1, "pause": "200ms"}))
    bad.kill()
    for _ in range(4):
        assert share(proxy, 10) == {"good": 10}
        time.sleep(0.25)
    assert status(proxy)[bad.url]["state"] in ("down", "probing")
    bad.start()
    wait_for(lambda: share(proxy, 10) == {"good": 5, "bad": 5})
    assert "event=origin.up" in proxy.log()
    proxy.stop()
    bad.stop()
    good.stop()


def test_all_down_is_tried_all_the_same(tmp_path):
    bad = Origin(lambda conn, request: http_response(503, [TEXT, ("Retry-After", "77")], b"own page"))
    proxy = Proxy(tmp_path, site=site(bad, health={"failures": 1, "pause": "60s"}))
    for _ in range(5):
        answer = proxy.get("/")
        assert (answer.status, answer.body, answer.header("retry-after")) == (503, b"own page", "77")
    bad.handler = None
    assert proxy.get("/").status == 200
    assert status(proxy)[bad.url]["state"] == "up"
    proxy.stop()
    bad.stop()


def test_all_down_is_refused(tmp_path):
    bad = Origin(lambda conn, request: http_response(503, [TEXT], b"own page"))
    proxy = Proxy(tmp_path, site=site(bad, all_down="refuse", health={"failures": 2, "pause": "30s"}))
    for _ in range(2):
        assert proxy.get("/").body == b"own page"
    for method in ("GET", "POST"):
        answer = proxy.get("/", method=method, body=b"x" if method == "POST" else b"")
        assert answer.status == 503 and b"own page" not in answer.body
        assert 1 <= int(answer.header("retry-after")) <= 30
    assert len(bad.requests) == 2
    proxy.stop()
    bad.stop()


# --- what is sent again, and what never ---


@pytest.mark.parametrize("method, body, again", [
    ("GET", b"", True), ("HEAD", b"", True), ("OPTIONS", b"", True), ("DELETE", b"", True), ("GET", b"x", False),
    ("PUT", b"x", False), ("POST", b"", False), ("POST", b"x", False), ("PATCH", b"x", False), ("BREW", b"", False)])
def test_no_answer(tmp_path, method, body, again):
    """An origin that reads the request and hangs up: carried out or not, nobody knows."""
    def mute(conn, request):
        conn.close()
    bad, good = Origin(mute), Origin()
    proxy = Proxy(tmp_path, site=site((bad, {"weight": 1000}), good, health={"failures": 0}))
    answer = proxy.get("/", method=method, body=body)
    assert len(bad.requests) == 1
    assert answer.status == (200 if again else 502) and len(good.requests) == (1 if again else 0)
    proxy.stop()
    bad.stop()
    good.stop()


def test_sent_twice_at_most(tmp_path):
    def mute(conn, request):
        conn.close()
    origins = [Origin(mute) for _ in range(4)]
    proxy = Proxy(tmp_path, site=site(*origins, health={"failures": 0}))
    assert proxy.get("/").status == 502
    assert sum(len(origin.requests) for origin in origins) == 2
    proxy.stop()
    for origin in origins:
        origin.stop()


def test_half_an_answer_is_not_asked_for_again(tmp_path):
    def half(conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-")
        conn.close()
    bad, good = Origin(half), Origin()
    proxy = Proxy(tmp_path, site=site((bad, {"weight": 1000}), good))
    assert proxy.get("/").status == 502 and not good.requests
    proxy.stop()
    bad.stop()
    good.stop()


def test_post_goes_to_the_next_when_nothing_was_sent(tmp_path):
    good = Origin()
    proxy = Proxy(tmp_path, site=site(*[f"http://{LOOPBACK}:{free_port()}" for _ in range(3)], good,
                                      health={"failures": 0}))
    for i in range(8):
        assert proxy.get("/", method="POST", body=b"%d" % i).status == 200
    assert [request.body for request in good.requests] == [b"%d" % i for i in range(8)]
    proxy.stop()
    good.stop()


def test_silent_origin(tmp_path):
    """It takes requests and says nothing: what can be repeated is answered by another."""
    gate = threading.Event()
    mute, good = Origin(lambda conn, request: gate.wait(20) and None), Origin()
    proxy = Proxy(tmp_path, site=site((mute, {"weight": 1000}), good, response_timeout="300ms",
                                      health={"failures": 0}))
    assert proxy.get("/").status == 200
    assert proxy.get("/", method="POST", body=b"x").status == 504
    assert len(good.requests) == 1 and len(mute.requests) == 2
    gate.set()
    proxy.stop()
    mute.stop()
    good.stop()


# --- the queue ---


def test_queue_has_a_limit(tmp_path):
    gate, hold = holding(b"held")
    origin = Origin(hold)
    proxy = Proxy(tmp_path, origin, site={"origin_connections": 2, "origin_queue": 3, "queue_timeout": "30s"})
    socks = [proxy.connect(timeout=30) for _ in range(5)]
    for sock in socks[:2]:
        sock.sendall(GET)
    wait_for(lambda: len(origin.requests) == 2)
    for sock in socks[2:]:
        sock.sendall(GET)
    time.sleep(0.2)
    answer = proxy.get("/")
    assert answer.status == 503 and int(answer.header("retry-after")) > 0
    gate.set()
    assert [Reader(sock).response().body for sock in socks] == [b"held"] * 5
    for sock in socks:
        sock.close()
    proxy.stop()
    origin.stop()


def test_the_queue_is_for_all_origins(tmp_path):
    """Who waits is served by whichever origin is free first."""
    gates = {"a": threading.Event(), "b": threading.Event()}

    def holder(name):
        def hold(conn, request):
            gates[name].wait(20)
            return http_response(200, [TEXT], name.encode())
        return Origin(hold)
    a, b = holder("a"), holder("b")
    proxy = Proxy(tmp_path, site=site((a, {"max_connections": 1}), (b, {"max_connections": 1}), queue_timeout="20s"))
    socks = [proxy.connect(timeout=30) for _ in range(6)]
    for sock in socks:
        sock.sendall(GET)
    wait_for(lambda: len(a.requests) + len(b.requests) == 2)
    gates["b"].set()
    wait_for(lambda: len(b.requests) == 5)
    gates["a"].set()
    bodies = [Reader(sock).response().body for sock in socks]
    assert sorted(bodies) == [b"a"] + [b"b"] * 5
    for sock in socks:
        sock.close()
    proxy.stop()
    a.stop()
    b.stop()


# --- under load ---


def test_killed_under_load(tmp_path):
    a, b, c = Program("a"), Program("b"), Program("c")
    proxy = Proxy(tmp_path, workers=2, site=site(a.url, b.url, c.url, health={"pause": "300ms"}))
    load = Load(proxy)
    for victim, others in ((a, (b, c)), (b, (a, c))):
        load.more(victim.name)
        victim.kill()
        for other in others:
            load.more(other.name)
        victim.start()
        load.more(victim.name)
    load.stop()
    assert not load.failures and set(load.answers) == {"a", "b", "c"}
    proxy.stop()
    for program in (a, b, c):
        program.stop()


def test_paused_under_load(tmp_path):
    """SIGSTOP: the kernel still takes connections and requests; nobody answers."""
    a, b = Program("a"), Program("b")
    proxy = Proxy(tmp_path, site=site(a.url, b.url, response_timeout="500ms", health={"pause": "1s"}))
    load = Load(proxy)
    load.more("a")
    a.pause()
    wait_for(lambda: status(proxy)[a.url]["state"] != "up", 20)
    load.more("b", 200)
    a.go_on()
    load.more("a")
    load.stop()
    assert not load.failures
    proxy.stop()
    a.stop()
    b.stop()


# --- status and metrics ---


def test_status_and_metrics(tmp_path):
    a, b = named("a"), named("b")
    proxy = Proxy(tmp_path, workers=2, site=site(a, (b, {"backup": True})))
    assert share(proxy, 10) == {"a": 10}
    text = proxy.ctl("status").stdout
    assert f"s {a.url}: up, 0 busy" in text and f"s {b.url}: up (backup), 0 busy" in text, text
    assert status(proxy)[a.url]["workers_up"] == 2
    metrics = proxy.ctl("metrics").stdout
    assert f'consentd_site_origin_requests_total{{site="s",origin="{a.url}"}} 10\n' in metrics
    assert f'consentd_site_origin_workers_up{{site="s",origin="{b.url}"}} 2\n' in metrics
    assert metrics.count("# TYPE consentd_site_origin_requests_total counter\n") == 1
    os.kill(proxy.workers()[0], signal.SIGKILL)  # the one that comes after it goes on with its figures
    wait_for(lambda: proxy.log().count("event=process.ready role=worker") == 3)
    wait_for(lambda: status(proxy)[a.url]["workers_up"] == 2)
    assert status(proxy)[a.url]["requests"] == 10
    proxy.hup()
    wait_for(lambda: status(proxy)[a.url]["requests"] == 0)  # a configuration of its own
    proxy.terminate()
    proxy.process.wait(30)
    a.stop()
    b.stop()


# --- health checks ---


class Checked(Origin):
    """Answers /health with .status; counts the checks."""

    def __init__(self, name, **more):
        self.status, self.checks, self.slow = 200, 0, 0
        super().__init__(lambda conn, request: http_response(200, [TEXT], name.encode()), **more)
        self.routes["/health"] = self._health

    def _health(self, conn, request):
        self.checks += 1
        time.sleep(self.slow)
        return http_response(self.status, [TEXT], b"x" * 100000)


CHECKS = {"path": "/health", "interval": "100ms", "timeout": "300ms", "status": "200-299", "rise": 2, "fall": 2}


@pytest.mark.parametrize("how", ["status", "slow", "malformed"])
def test_checks(tmp_path, how):
    a, b = Checked("a"), Checked("b")
    proxy = Proxy(tmp_path, workers=2, site=site(a, b, health=CHECKS))
    wait_for(lambda: a.checks > 4 and b.checks > 4)
    assert share(proxy, 10) == {"a": 5, "b": 5} or set(share(proxy, 10)) == {"a", "b"}
    if how == "status":
        a.status = 404
    elif how == "slow":
        a.slow = 1
    else:
        a.routes["/health"] = b"HTTP/1.1 2000 X\r\n\r\n"
    wait_for(lambda: status(proxy)[a.url]["workers_down"] == 2)
    assert share(proxy, 10) == {"b": 10}
    assert status(proxy)[a.url]["checks_failed"] >= 4
    assert f"event=origin.down site=s origin={a.url} why=\"the check" in proxy.log()
    a.status, a.slow = 200, 0
    a.routes["/health"] = a._health
    wait_for(lambda: status(proxy)[a.url]["workers_up"] == 2)
    assert set(share(proxy, 10)) == {"a", "b"}
    request = next(r for r in a.requests if r.path == "/health")
    assert request.header("host") == "localhost" and request.header("user-agent") == "consentd-check"
    proxy.stop()
    a.stop()
    b.stop()


def test_checks_that_were_written_wrongly_do_not_end_the_site(tmp_path):
    origin = Checked("a")
    origin.status = 404
    proxy = Proxy(tmp_path, site=site(origin, health=CHECKS))
    wait_for(lambda: status(proxy)[origin.url]["state"] == "down")
    assert share(proxy, 5) == {"a": 5}
    proxy.stop()
    origin.stop()


def test_paused_with_checks(tmp_path):
    """The checks see what no request would for a minute; nobody is sent there."""
    a, b = Program("a"), Program("b")
    proxy = Proxy(tmp_path, site=site(a.url, b.url, response_timeout="50s", health=dict(CHECKS, path="/")))
    load = Load(proxy)
    load.more("a")
    a.pause()
    wait_for(lambda: status(proxy)[a.url]["state"] == "down", 20)
    wait_for(lambda: status(proxy)[a.url]["busy"] == 0)  # who was there is answered by the other
    before = status(proxy)[a.url]["requests"]
    load.more("b", 100)
    assert status(proxy)[a.url]["requests"] == before
    a.go_on()
    load.more("a")
    load.stop()
    assert not load.failures
    proxy.stop()
    a.stop()
    b.stop()


def test_checks_over_tls_and_unix(tmp_path):
    authority, other = certificate(tmp_path, "authority"), certificate(tmp_path, "other")
    origins = [Checked("tls", tls=certificate(tmp_path, "good", (LOOPBACK,), authority)),
               Checked("wrong", tls=certificate(tmp_path, "bad", (LOOPBACK,), other)),
               Checked("unix", unix=tmp_path / "o.sock")]
    proxy = Proxy(tmp_path, site=site(*origins, origin_ca=str(authority[0]), health=CHECKS))
    wait_for(lambda: status(proxy)[origins[1].url]["state"] == "down")
    wait_for(lambda: origins[0].checks > 2 and origins[2].checks > 2)
    assert share(proxy, 10) == {"tls": 5, "unix": 5}
    assert not origins[1].requests
    proxy.stop()
    for origin in origins:
        origin.stop()


# --- https and unix: several, with names ---


def test_https_by_name(tmp_path):
    """Each origin's own name is sent (SNI) and verified, whatever the visitor asked for."""
    authority = certificate(tmp_path, "authority")
    good = Origin(tls=certificate(tmp_path, "good", ("localhost",), authority))
    wrong = Origin(tls=certificate(tmp_path, "wrong", ("elsewhere.example",), authority))
    seen = []
    good.tls.sni_callback = lambda sock, name, context: seen.append(name)
    urls = [f"https://localhost:{origin.port}" for origin in (good, wrong)]
    proxy = Proxy(tmp_path, site=site(*urls, origin_ca=str(authority[0]), health={"pause": "60s"}))
    assert [proxy.get("/").status for _ in range(12)] == [200] * 12
    assert set(seen) == {"localhost"} and not wrong.requests
    assert status(proxy)[urls[1]]["failures"] == 3 and status(proxy)[urls[1]]["state"] == "down"
    assert "TLS" in next(x for x in proxy.log().splitlines() if "event=origin.down" in x)
    proxy.stop()
    good.stop()
    wrong.stop()


def test_unix_sockets(tmp_path):
    """One is missing, one is a file; the others do the work, and the missing one comes back."""
    (tmp_path / "file.sock").write_text("x")
    a, b = (Origin(unix=tmp_path / f"{name}.sock") for name in "ab")
    late = f"unix:{tmp_path}/late.sock"
    proxy = Proxy(tmp_path, site=site(a, f"unix:{tmp_path}/file.sock", late, b, health={"pause": "200ms"}))
    assert [proxy.get("/", method="POST", body=b"x").status for _ in range(16)] == [200] * 16
    assert len(a.requests) == 8 or abs(len(a.requests) - len(b.requests)) <= 4
    c = Origin(unix=tmp_path / "late.sock")
    wait_for(lambda: proxy.get("/").status == 200 and c.requests)
    proxy.stop()
    for origin in (a, b, c):
        origin.stop()


# --- names ---


class Resolver:
    """A DNS server on loopback; .records: name -> list of addresses, None: NXDOMAIN, "silent", "broken"."""

    def __init__(self, ttl=1, **records):
        self.ttl, self.records, self.questions = ttl, records, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._bind()
        self.address = f"{LOOPBACK}:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _bind(self):
        self.socket.bind((LOOPBACK, 0))

    def _serve(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(512)
            except OSError:
                return
            answer = self._answer(question)
            if answer:
                self.socket.sendto(answer, peer)

    def _answer(self, question):
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        kind, name = int.from_bytes(question[at + 1:at + 3], "big"), ".".join(labels)
        what = self.records.get(name)
        self.questions.append((name, kind))
        if what == "silent":
            return None
        code = {"broken": 2, None: 3}.get(what if not isinstance(what, list) else "", 0)
        family = socket.AF_INET6 if kind == 28 else socket.AF_INET
        found = [socket.inet_pton(family, one) for one in (what if isinstance(what, list) else [])
                 if (":" in one) == (kind == 28)]
        head = question[:2] + bytes([0x81, 0x80 | code]) + b"\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
        rest = b"".join(b"\xc0\x0c\0" + bytes([kind]) + b"\0\1" + self.ttl.to_bytes(4, "big") + b"\0"
                        + bytes([len(one)]) + one for one in found)
        return head + question[12:at + 5] + rest

    def stop(self):
        self.socket.close()


def test_an_ipv6_name(tmp_path):
    """Only AAAA: and IPv4 first where there are both."""
    def listen(family, address, name, port=0):
        origin = named(name)
        other = socket.socket(family)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address, port))
        other.listen(64)
        origin.socket.close()
        origin.socket = other
        threading.Thread(target=origin._accept, daemon=True).start()
        return origin, other.getsockname()[1]
    v6, port = listen(socket.AF_INET6, "::1", "v6")
    v4, _ = listen(socket.AF_INET, LOOPBACK, "v4", port)
    v6.url, v4.url = f"http://six.test:{port}", f"http://both.test:{port}"
    dns = Resolver(**{"six.test": ["::1"], "both.test": ["::1", LOOPBACK]})
    proxy = Proxy(tmp_path, site=site(v6, v4), resolver=[dns.address])
    assert share(proxy, 8) == {"v6": 4, "v4": 4}
    proxy.stop()
    for one in (v4, v6, dns):
        one.stop()


def loopbacks(*names):
    """Origins on one port and addresses of 127.0.0.0/8, so that a name can move from one to the other."""
    port, out = free_port(), []
    for i, name in enumerate(names):
        origin = named(name)
        moved = socket.socket()
        moved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        moved.bind((f"127.0.1.{i + 1}", port))
        moved.listen(64)
        origin.socket.close()
        origin.socket, origin.address = moved, f"127.0.1.{i + 1}"
        threading.Thread(target=origin._accept, daemon=True).start()
        out.append(origin)
    return port, out


def test_a_name_moves(tmp_path):
    """Under load, with kept connections: within the TTL everybody is at the new address."""
    port, (old, new) = loopbacks("old", "new")
    dns = Resolver(**{"origin.test": [old.address]})
    proxy = Proxy(tmp_path, f"http://origin.test:{port}", resolver=[dns.address])
    load = Load(proxy, 4)
    load.more("old")
    dns.records["origin.test"] = [new.address]
    load.more("new")
    wait_for(lambda: not old.connections)
    before = load.answers["old"]
    load.more("new", 100)
    assert load.answers["old"] == before
    dns.records["origin.test"] = "broken"  # the last good answer stays
    asked = len(dns.questions)
    wait_for(lambda: len(dns.questions) > asked + 3, 30)
    load.more("new")
    dns.records["origin.test"] = "silent"
    load.more("new")
    load.stop()
    assert not load.failures
    assert "event=name.changed host=origin.test addresses=1" in proxy.log()
    proxy.stop()
    for one in (old, new, dns):
        one.stop()


def test_a_name_with_several_addresses(tmp_path):
    """They share the new connections, and one that refuses is passed over."""
    port, origins = loopbacks("a", "b", "c")
    dns = Resolver(ttl=60, **{"origin.test": [origin.address for origin in origins]})
    proxy = Proxy(tmp_path, f"http://origin.test:{port}", resolver=[dns.address],
                  site={"origin_idle_timeout": "10ms"})
    got = collections.Counter()
    for _ in range(9):
        got[proxy.get("/", [("Connection", "close")]).body.decode()] += 1
        for origin in origins:
            for conn in list(origin.connections):
                with contextlib.suppress(OSError):  # it was the first to leave
                    conn.shutdown(socket.SHUT_RDWR)
    assert set(got) == {"a", "b", "c"}
    origins[1].stop()
    for _ in range(6):
        assert proxy.get("/", method="POST", body=b"x").status == 200
    proxy.stop()
    for one in [*origins, dns]:
        one.stop()


def test_a_resolver_that_is_slow_stops_nobody(tmp_path):
    """A name that is not answered keeps its own visitors waiting, and no others."""
    origin = Origin()
    dns = Resolver(**{"slow.test": "silent", "gone.test": None})
    policy = os.path.join(os.path.dirname(__file__), "../../conf/policy.json")
    sites = [{"name": name, "hosts": [name], "policy": policy, "connect_timeout": "700ms", "origins": [url]}
             for name, url in (("good", origin.url), ("slow", "http://slow.test"), ("gone", "http://gone.test"))]
    proxy = Proxy(tmp_path, sites=sites, resolver=[dns.address])
    with proxy.connect() as sock:
        sock.sendall(GET.replace(b"localhost", b"slow"))
        assert all(proxy.get("/", host="good").status == 200 for _ in range(20))
        assert Reader(sock).response().status == 504
    assert proxy.get("/", host="gone").status == 502
    proxy.stop()
    origin.stop()
    dns.stop()


@pytest.mark.parametrize("server", ["dns.example", "127.0.0.1:x", ""])
def test_a_resolver_must_be_an_address(tmp_path, server):
    proxy = Proxy(tmp_path, free_port())
    proxy.rewrite(dict(proxy.config, resolver=[server]))
    assert not proxy.hup() and "resolver[0]" in proxy.log()
    proxy.stop()


# --- sticky ---


def test_sticky_cookie(tmp_path):
    """One origin per visitor; the cookie is the same for all visitors of one, and stays here."""
    origins = [named(name) for name in "abc"]
    proxy = Proxy(tmp_path, workers=2, tls=True, site=site(*origins, sticky_cookie="lb", unknown_cookies="deny"))
    cookies = {}
    for _ in range(12):
        answer = proxy.get("/")
        field, = answer.all("set-cookie")
        value, _, attributes = field.partition("; ")
        assert attributes == "Path=/; HttpOnly; SameSite=Lax" and value.startswith("lb=")
        assert cookies.setdefault(answer.body, value) == value
    assert len(cookies) == 3 == len(set(cookies.values()))
    assert not any(part in value for value in cookies.values() for part in ("127", str(origins[0].port)))
    assert proxy.get("/", tls=True).header("set-cookie").endswith("; Secure")
    for body, value in cookies.items():
        for _ in range(4):
            answer = proxy.get("/", [("Cookie", f"{value}; session=1")])
            assert answer.body == body and not answer.all("set-cookie")
    assert not any("lb=" in str(r.headers) for origin in origins for r in origin.requests)
    for forged in ("lb=", "lb=AAAAAAAAAAAAAAAA", "lb=../../x", "lb=" + "A" * 3000, "lb"):
        assert proxy.get("/", [("Cookie", forged)]).header("set-cookie").startswith("lb=")
    proxy.stop()
    for origin in origins:
        origin.stop()


def test_sticky_origin_leaves(tmp_path):
    a, b = Program("a"), Program("b")
    proxy = Proxy(tmp_path, site=site(a.url, b.url, sticky_cookie="lb", health={"pause": "200ms"}))
    seen = {}
    while len(seen) < 2:
        answer = proxy.get("/")
        seen[answer.body] = answer.header("set-cookie").split(";")[0]
    a.kill()
    answer = proxy.get("/", [("Cookie", seen[b"a"])])
    assert answer.body == b"b" and answer.header("set-cookie").startswith(seen[b"b"])
    a.start()
    assert proxy.get("/", [("Cookie", seen[b"b"])]).body == b"b"
    proxy.stop()
    a.stop()
    b.stop()


def test_sticky_origin_is_full_or_emptied(tmp_path):
    """Full: its visitors wait for it. Weight 0: they still come, others do not."""
    gate, hold = holding(b"a", "/hold")
    a, b = Origin(hold), named("b")
    proxy = Proxy(tmp_path, site=site((a, {"max_connections": 1}), b, sticky_cookie="lb"))
    answers = {answer.body: answer.header("set-cookie").split(";")[0] for answer in (proxy.get("/") for _ in range(4))}
    mine = ("Cookie", answers[b"a"])
    with proxy.connect() as first, proxy.connect() as second:
        first.sendall(b"GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: any(r.path == "/hold" for r in a.requests))
        second.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + answers[b"a"].encode() + b"\r\n\r\n")
        assert share(proxy, 5) == {"b": 5}
        gate.set()
        assert Reader(first).response().body == Reader(second).response().body == b"a"
    proxy.rewrite(dict(proxy.config, sites=[dict(proxy.config["sites"][0], origins=[
        {"url": a.url, "weight": 0}, b.url])]))
    assert proxy.hup()
    assert share(proxy, 6) == {"b": 6}
    assert [proxy.get("/", [mine]).body for _ in range(3)] == [b"a"] * 3
    proxy.stop()
    a.stop()
    b.stop()


def test_sticky_and_caches(tmp_path):
    """What is meant for shared caches gets no cookie; nor does a page of ours."""
    origin = Origin()
    proxy = Proxy(tmp_path, origin, site={"sticky_cookie": "lb"})
    for control, want in (("public, max-age=9", 0), ("max-age=9, S-MaxAge=5", 0), ("no-cache", 1), ("max-age=9", 1)):
        origin.routes["/x"] = http_response(200, [TEXT, ("Cache-Control", control)], b"x")
        answer = proxy.get("/x")
        assert len(answer.all("set-cookie")) == want, control
        assert ("private" in answer.all("cache-control")) == bool(want)  # "max-age" alone is for everybody
    for name in ("CDN-Cache-Control", "Surrogate-Control"):
        origin.routes["/x"] = http_response(200, [TEXT, (name, "max-age=9")], b"x")
        assert not proxy.get("/x").all("set-cookie")
    origin.routes["/x"] = http_response(200, [TEXT, ("Cache-Control", "Private, max-age=9")], b"x")
    assert proxy.get("/x").all("cache-control") == ["Private, max-age=9"]
    origin.routes["/x"] = http_response(304, [])
    assert not proxy.get("/x", [("If-None-Match", '"x"')]).all("set-cookie")
    assert not proxy.get("/.consent/state").all("set-cookie")
    proxy.rewrite(dict(proxy.config, sites=[dict(proxy.config["sites"][0], sticky_cookie="__Host-consent")]))
    assert not proxy.hup() and "sticky_cookie" in proxy.log()
    proxy.stop()
    origin.stop()


# --- nginx as the origin ---


def test_nginx_origins(tmp_path):
    """Two real servers, reloaded and stopped in order while visitors ask: nobody notices."""
    class Nginx:
        def __init__(self, name):
            self.folder, self.port = tmp_path / name, free_port()
            self.folder.mkdir(mode=0o755)
            self.url = f"http://{LOOPBACK}:{self.port}"
            (self.folder / "nginx.conf").write_text(
                f"daemon off; pid {self.folder}/pid; error_log {self.folder}/error.log; worker_processes 2;\n"
                "events { worker_connections 256; }\n"
                f"http {{ access_log off; keepalive_requests 7; client_body_temp_path {self.folder}/b;\n"
                + "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
                + f"server {{ listen {LOOPBACK}:{self.port}; location / {{ default_type text/plain; "
                f"return 200 {name}; }} }} }}\n")
            self.start()

        def start(self):
            self.process = subprocess.Popen(["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"),
                                             "-e", str(self.folder / "error.log")], stderr=subprocess.DEVNULL)
            wait_for(lambda: not socket.socket().connect_ex((LOOPBACK, self.port)))

        def stop(self):
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
    a, b = Nginx("a"), Nginx("b")
    proxy = Proxy(tmp_path, workers=2, site=site(a.url, b.url, balance="least_connections", health={
        "pause": "200ms", "path": "/", "interval": "100ms"}))
    load = Load(proxy, 6)
    for one in (a, b):
        load.more(one.folder.name)
        one.process.send_signal(signal.SIGHUP)
        load.more(one.folder.name)
        one.stop()
        load.more("b" if one is a else "a")
        one.start()
        wait_for(lambda: status(proxy)[one.url]["workers_up"] == 2)
        load.more(one.folder.name)
    load.stop()
    assert not load.failures
    proxy.stop()
    a.stop()
    b.stop()


def test_what_is_known_outlives_a_reload_and_a_death(tmp_path):
    """New workers send nobody where all the old ones have given up; a fresh URL starts without a past."""
    bad = Origin(lambda conn, request: http_response(503, [TEXT], b"bad"))
    good, third = named("good"), named("third")
    proxy = Proxy(tmp_path, workers=2, site=site(bad, good, health={"failures": 1, "pause": "60s"}))
    wait_for(lambda: proxy.get("/") and status(proxy)[bad.url]["workers_down"] == 2)
    before = len(bad.requests)
    proxy.rewrite(dict(proxy.config, sites=[dict(proxy.config["sites"][0], origins=[third.url, bad.url, good.url])]))
    assert proxy.hup()
    assert set(share(proxy, 20)) == {"good", "third"}
    what = status(proxy)
    assert [what[one.url]["state"] for one in (third, bad, good)] == ["up", "down", "up"]
    ready = proxy.log().count("event=process.ready role=worker")
    for pid in proxy.workers()[-2:]:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: proxy.log().count("event=process.ready role=worker") >= ready + 2)
    assert set(share(proxy, 20)) == {"good", "third"} and len(bad.requests) == before
    proxy.terminate()
    proxy.process.wait(30)
    for origin in (bad, good, third):
        origin.stop()


def private_etc(folder):
    """A program that runs consentd with an /etc of its own, which the test may change; that folder."""
    etc, program = folder / "etc", folder / "consentd-etc"
    etc.mkdir()
    for name in ("passwd", "group", "nsswitch.conf", "ssl", "ld.so.cache"):
        if os.path.isdir(f"/etc/{name}"):
            shutil.copytree(f"/etc/{name}", etc / name, symlinks=True, ignore=shutil.ignore_patterns("private"))
        elif os.path.exists(f"/etc/{name}"):
            shutil.copy(f"/etc/{name}", etc / name)
    program.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {etc} /etc && exec \"$@\"' - {BUILD}/consentd \"$@\"\n")
    program.chmod(0o755)
    return etc, program


def replaced(path, text):
    """As editors and DHCP clients do it: another file of that name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.rename(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("file", ["hosts", "resolv.conf"])
def test_a_replaced_file_of_names_is_followed(tmp_path, file):
    """The sandbox holds on to the file that was there: the new one counts all the same."""
    port, (old, new) = loopbacks("old", "new")
    etc, program = private_etc(tmp_path)
    first, second = [Resolver53(f"127.0.{2 + (file == 'hosts')}.{i + 1}", **{"origin.test": [one.address]}) for i, one in enumerate((old, new))]
    texts = {"hosts": [f"{one.address} origin.test\n" for one in (old, new)],
             "resolv.conf": [f"nameserver {one.where}\n" for one in (first, second)]}[file]
    replaced(etc / file, texts[0])
    class Private(Proxy):
        binary = program
    proxy = Private(tmp_path, f"http://origin.test:{port}")
    assert proxy.get("/").body == b"old"
    replaced(etc / file, texts[1])
    wait_for(lambda: proxy.get("/").body == b"new", 30)
    assert f"event=names.changed file=/etc/{file}" in proxy.log()
    proxy.stop()
    for one in (old, new, first, second):
        one.stop()


class Resolver53(Resolver):
    """At the port that resolv.conf means, of an address of 127.0.0.0/8."""

    def __init__(self, where, **records):
        self.where = where
        super().__init__(**records)

    def _bind(self):
        self.socket.bind((self.where, 53))
