"""Clients and origins that misbehave at random, many at a time: nobody gets another's answer.

Every request carries a token, every answer repeats it. What a client or the origin does is drawn
from a seeded generator; the order of events is the machine's. What must hold whatever happens:
an answer that is complete and has status 200 is the right one, the worker lives, nothing leaks.
CHAOS_SEED and CHAOS_SECONDS make other and longer runs.
"""
import os
import random
import socket
import threading
import time

import pytest

from harness import Cut, Origin, Proxy, Reader, chunked, http_response, wait_for

TEXT = ("Content-Type", "text/plain")
HTML = ("Content-Type", "text/html")
RESET = b"\x01\0\0\0\0\0\0\0"
SECONDS = float(os.environ.get("CHAOS_SECONDS", "5"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))


def answer_body(token, size):
    return (token.encode() + b" ") * (size // (len(token) + 1) + 1)


class Chaos:
    """The origin's side: /TOKEN/HOW/SIZE."""

    def __init__(self, seed):
        self.random, self.mixed = random.Random(seed), []

    def __call__(self, conn, request):
        _, token, how, size = request.path.split("/")
        body = answer_body(token, int(size))
        if request.body != (token.encode() * 50 if request.method == "POST" else b""):
            self.mixed.append((request.target, request.body[:200]))
        kind = HTML if "html" in how else TEXT
        if how.startswith("chunked"):
            cut = self.random.randint(1, 20000)
            raw = http_response(200, [kind, ("Transfer-Encoding", "chunked")],
                                chunked(*[body[i:i + cut] for i in range(0, len(body), cut)]))
        elif how.startswith("close"):
            raw = b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\n\r\n" + body
        elif how == "hints":
            raw = b"HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n" + http_response(200, [kind], body)
        else:
            raw = http_response(200, [kind], body)
        if how == "stray":
            raw += http_response(200, [kind], b"EVIL")
        if how == "slow":
            conn.sendall(raw[:len(raw) // 2])
            time.sleep(0.03)
            raw = raw[len(raw) // 2:]
        if how in ("cut", "cutreset"):
            conn.sendall(raw[:self.random.randint(0, len(raw) - 1)])
            if how == "cutreset":
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            conn.close()
            return None
        if how == "closeafter":
            conn.sendall(raw)
            conn.close()
            return None
        if how == "garbage":
            conn.sendall(os.urandom(100))
            conn.close()
            return None
        return raw


HOWS = ["plain"] * 6 + ["chunked", "chunkedhtml", "html", "close", "hints", "stray", "slow", "cut", "cutreset",
                        "closeafter", "garbage"]


class Client(threading.Thread):
    def __init__(self, proxy, seed, tls):
        super().__init__(daemon=True)
        self.proxy, self.random, self.tls, self.name_ = proxy, random.Random(seed), tls, f"t{seed}"
        self.count = self.good = 0
        self.wrong = []

    def request(self):
        self.count += 1
        token = f"{self.name_}x{self.count}"
        how = self.random.choice(HOWS)
        size = self.random.choice([0, 10, 1000, 30000, 400000])
        method = self.random.choice(["GET", "GET", "HEAD", "POST"])
        raw = f"{method} /{token}/{how}/{size} HTTP/1.1\r\nHost: localhost\r\n".encode()
        body = token.encode() * 50
        if method != "POST":
            raw += b"\r\n"
        elif self.random.random() < 0.5:
            raw += b"Content-Length: %d\r\n\r\n" % len(body) + body
        else:
            cut = self.random.randint(1, 400)
            raw += b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*[body[i:i + cut] for i in range(0, len(body), cut)])
        return raw, method, answer_body(token, size)

    def send(self, sock, raw):
        while raw:
            size = self.random.choice([len(raw), len(raw), 1, 7, 300])
            sock.sendall(raw[:size])
            raw = raw[size:]
            if size < 10:
                time.sleep(0.001)

    def one_connection(self):
        plan = [self.request() for _ in range(self.random.randint(1, 6))]
        leave = self.random.random()
        with self.proxy.connect(self.tls, timeout=20) as sock:
            raw = b"".join(p[0] for p in plan)
            if leave < 0.1:
                raw = raw[:self.random.randint(0, len(raw))]
            self.send(sock, raw)
            if leave < 0.2:
                if leave < 0.15:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            if leave < 0.3 and not self.tls:
                sock.shutdown(socket.SHUT_WR)
            if leave < 0.4:
                sock.recv(self.random.randint(1, 50000))
                return
            reader = Reader(sock)
            for _, method, body in plan:
                answer = reader.response(method)
                while answer.status < 200:
                    answer = reader.response(method)
                if answer.status == 200 and method != "HEAD" and answer.body != body:
                    self.wrong.append((method, body[:20], answer.body[:200]))
                if answer.status not in (200, 502):
                    self.wrong.append((answer.status, answer.headers))
                self.good += answer.status == 200

    def run(self):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                self.one_connection()
            except (OSError, Cut):
                pass


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_chaos(tmp_path, tls):
    chaos = Chaos(SEED)
    origin = Origin(chaos)
    proxy = Proxy(tmp_path, origin, tls=True, access_log="access.log", site={
        "origin_connections": 6, "banner": False, "connect_timeout": "30s"})
    worker = proxy.role("worker")
    clients = [Client(proxy, seed, tls) for seed in range(SEED, SEED + 12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)
    assert [w for c in clients for w in c.wrong][:5] == []
    assert chaos.mixed == []
    print(f"{sum(c.good for c in clients)} of {sum(c.count for c in clients)} answered")
    assert sum(c.good for c in clients) > 200
    assert proxy.role("worker") == worker
    assert proxy.get("/last/plain/5").body == b"last last "
    wait_for(lambda: len(os.listdir(f"/proc/{worker}/fd")) < 60, 20)
    proxy.stop()
    origin.stop()
