#!/usr/bin/python3
"""Hours' worth of requests through one consentd: does anything grow?

usage: tests/bench/soak.py BUILD [--requests N] [--workers N] [--samples N]
       tests/bench/soak.py BUILD --minutes N [--rate N] [--workers N] [--samples N]

With --minutes it is time that is measured and not requests: so many a second, as a site has them.
BUILD is a build folder made with -Dbuildtype=release. Needs nginx (the origin) and h2load
(nghttp2-client). A mix is repeated until so many requests were answered:

    h2load     a small file over HTTP/1.1, TLS 1.3 and HTTP/2, and a page with trackers, which is
               filtered, over each of the three
    beside it  visitors that leave in the middle: half a head, half a body, a reset while the
               answer is on its way, a handshake that stops, streams of HTTP/2 that are reset;
               choices that are recorded; a websocket that is tunnelled and cut

Before each part the memory (anonymous, of all processes of a role) and descriptors are taken, and
printed as a table. The last line compares the last sample with the one after warm-up (a tenth of
the requests or the time). No pass mark, but a request that fails ends it.
"""
import argparse
import base64
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import resource
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time

import proxy as bench

ROLES = ("worker", "ledger", "admin")
PARTS = [(protocol, path) for path in ("/1k.bin", "/page.html") for protocol in bench.PROTOCOLS]
CHOICE = json.dumps({"grant": ["analytics"], "deny": ["marketing"]}).encode()


# --- an origin for websockets -------------------------------------------------------------


def echo_origin():
    """Answers an Upgrade and echoes; returns its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve(conn):
        head = b""
        with conn:
            while b"\r\n\r\n" not in head:
                piece = conn.recv(65536)
                if not piece:
                    return
                head += piece
            key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
            if key is None:
                conn.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            while piece := conn.recv(65536):
                conn.sendall(piece)

    def accept_all():
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=quiet, args=(serve, conn), daemon=True).start()
    threading.Thread(target=accept_all, daemon=True).start()
    return listener.getsockname()[1]


def quiet(fn, *args):
    try:
        fn(*args)
    except OSError:
        pass


# --- visitors that do not behave ----------------------------------------------------------


class Rabble(threading.Thread):
    """One kind of odd visitor after the other until told to stop."""

    def __init__(self, proxy, pause):
        super().__init__(daemon=True)
        self.proxy, self.pause, self.over, self.cnt, self.choices = proxy, pause, threading.Event(), 0, 0
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def run(self):
        kinds = [self.half_a_head, self.half_a_body, self.reset_while_reading, self.half_a_handshake,
                 self.reset_streams, self.choose, self.websocket]
        while not self.over.is_set():
            quiet(random.choice(kinds))
            self.cnt += 1
            time.sleep(self.pause)

    def connect(self, secure=False):
        sock = socket.create_connection(("127.0.0.1", self.proxy.tls_port if secure else self.proxy.port), 5)
        return self.context.wrap_socket(sock, server_hostname="localhost") if secure else sock

    @staticmethod
    def reset(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def half_a_head(self):
        sock = self.connect(random.random() < 0.5)
        sock.sendall(b"GET /1k.bin HTTP/1.1\r\nHost: loc")
        sock.close()

    def half_a_body(self):
        sock = self.connect()
        sock.sendall(b"POST /1k.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5000)
        self.reset(sock)

    def reset_while_reading(self):
        sock = self.connect()
        sock.sendall(b"GET /page.html HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
        sock.recv(1000)
        self.reset(sock)

    def half_a_handshake(self):
        sock = socket.create_connection(("127.0.0.1", self.proxy.tls_port), 5)
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(40))
        sock.close()

    def reset_streams(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(socket.create_connection(("127.0.0.1", self.proxy.tls_port), 5)) as sock:
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            for stream in range(1, 11, 2):  # GET https://localhost/ by the static table, with a literal authority
                block = b"\x82\x87\x84\x01\x09localhost"
                sock.sendall(len(block).to_bytes(3, "big") + b"\1\5" + stream.to_bytes(4, "big") + block)
                sock.sendall(b"\0\0\4\3\0" + stream.to_bytes(4, "big") + b"\0\0\0\x08")
            sock.recv(1000)

    def choose(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=5)
        connection.request("POST", "/.consent/choice", CHOICE, {"Content-Type": "application/json", "Host": "localhost"})
        self.choices += connection.getresponse().status == 201
        connection.close()

    def websocket(self):
        sock = self.connect()
        sock.sendall(b"GET /ws HTTP/1.1\r\nHost: ws.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
        if b" 101 " in sock.recv(1000):
            sock.sendall(os.urandom(2000))
            sock.recv(2000)
        (self.reset if random.random() < 0.5 else socket.socket.close)(sock)


# --- the proxy ----------------------------------------------------------------------------


class Soaked(bench.Consentd):
    """As in the benchmark, with a second site for websockets and no limit for one address."""

    def __init__(self, folder, build, origin_port, tls, workers):
        self.workers = workers
        super().__init__(folder, build, origin_port, tls)
        path = folder / "consentd.json"
        self.stop()
        config = json.loads(path.read_text())
        config["workers"] = workers
        config["limits"] = {"connections_per_address": 100000, "choices_per_second": 0}
        config["sites"].append(dict(config["sites"][0], name="ws", hosts=["ws.localhost"],
                                    origins=[f"http://127.0.0.1:{echo_origin()}"]))
        path.write_text(json.dumps(config))
        self.process = bench.subprocess.Popen([f"{build}/consentd", "-c", str(path)])
        bench.wait_port(self.port)
        time.sleep(0.5)

    def of(self, role):
        return [pid for pid in bench.children(self.process.pid)
                if role.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]

    def sample(self):
        """Role -> (KiB of anonymous memory, descriptors)."""
        out = {}
        for role in ROLES:
            memory = files = 0
            for pid in self.of(role):
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                memory += int(re.search(r"Anonymous:\s+(\d+)", text)[1])
                files += len(os.listdir(f"/proc/{pid}/fd"))
            out[role] = (memory, files)
        return out


def row(done, seconds, sample, rabble):
    cells = "".join(f"{sample[role][0]:>10} {sample[role][1]:>5}" for role in ROLES)
    print(f"{done:>11} {seconds:>7.0f}{cells}{rabble.cnt:>9}{rabble.choices:>9}", flush=True)


CLIENTS = 32
PART_SECONDS = 10  # of one part at a fixed rate


def load(proxy, part, each, rate):
    """One part of the mix, `each` requests of all of it or PART_SECONDS at the rate; how many were answered."""
    protocol, path = PARTS[part % len(PARTS)]
    options = ["-c", CLIENTS, *(["-m", 8] if protocol == "HTTP/2" else [])]
    if rate:
        options += ["-n", rate * PART_SECONDS, f"--rps={rate / CLIENTS}"]
    else:
        options += ["-n", max(320, each // len(PARTS) // (4 if path == "/page.html" else 1))]
    return bench.h2load(proxy, protocol, path, *options)[0]


def soak(proxy, args):
    rabble = Rabble(proxy, 0.05 if args.minutes else 0.002)
    rabble.start()
    start, done, samples, part = time.monotonic(), 0, [], 0
    each = max(1000, args.requests // args.samples)
    total = args.minutes * 60 if args.minutes else args.requests

    def gone():
        return time.monotonic() - start if args.minutes else done
    print(f"{'requests':>11} {'seconds':>7}" + "".join(f"{role + ' KiB':>10} {'fds':>5}" for role in ROLES) +
          f"{'odd ones':>9}{'choices':>9}")
    while gone() < total:
        target = min(total / args.samples * (len(samples) + 1), total)
        while gone() < target:
            done += load(proxy, part, each, args.rate if args.minutes else 0)
            part += 1
        rabble.over.set()
        rabble.join(30)
        time.sleep(1)  # what was cut is put away
        samples.append((gone(), proxy.sample()))
        row(done, time.monotonic() - start, samples[-1][1], rabble)
        again = Rabble(proxy, rabble.pause)
        again.cnt, again.choices = rabble.cnt, rabble.choices
        rabble = again
        rabble.start()
    rabble.over.set()
    warm = next(s for g, s in samples if g >= total / 10)
    print("since warm-up: " + ", ".join(
        f"{role} {samples[-1][1][role][0] - warm[role][0]:+d} KiB {samples[-1][1][role][1] - warm[role][1]:+d} descriptors"
        for role in ROLES))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--requests", type=int, default=1000000)
    parser.add_argument("--minutes", type=float, default=0, help="as long as this, at a fixed rate")
    parser.add_argument("--rate", type=int, default=500, help="requests/s of --minutes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=20)
    args = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="consentd-soak-"))
    folder.chmod(0o755)
    started = []
    try:
        (folder / "site").mkdir()
        (folder / "site/1k.bin").write_bytes(b"x" * 1024)
        (folder / "site/page.html").write_text(bench.page())
        tls = bench.certificate(folder)
        started.append(bench.Nginx(folder, "origin", f"root {folder}/site;"))
        started.append(Soaked(folder, args.build, started[0].port, tls, args.workers))
        soak(started[1], args)
    finally:
        for process in reversed(started):
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
