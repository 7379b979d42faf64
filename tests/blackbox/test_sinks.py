"""Checkpoints leave the host: a file, syslog in three ways, HTTP; and nothing waits for them.

The receivers are sockets of this test; what they got is put together again and verified.
"""
import os
import re
import socket
import stat
import subprocess
import threading
import time

import pytest

from harness import BUILD, LOOPBACK, Origin, Proxy, certificate, http_response, wait_for
from test_log import choose, read_checkpoint, signed, vkey_of


def metric(proxy, name):
    out = proxy.ctl("metrics").stdout
    return int(next(line.split()[1] for line in out.splitlines() if line.startswith(f"consentd_{name} ")))


def notes_of(text):
    """The checkpoints of a file: each ends with an empty line behind its signatures."""
    parts = text.split("\n\n")
    return [parts[i] + "\n\n" + parts[i + 1] + "\n" for i in range(0, len(parts) - 1, 2)]


HEAD = re.compile(r"<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ consentd \d+ checkpoint \[checkpoint@32473( .*)\] \d+ leaves in \S+$")


def note_of_syslog(message):
    """Takes an RFC 5424 message apart and puts the checkpoint together again."""
    match = HEAD.match(message)
    assert match, message
    params = re.findall(r' (\w+)="((?:[^"\\\]]|\\.)*)"', match.group(1))
    first = dict(params)
    signatures = [value for name, value in params if name == "signature"]
    return f"{first['origin']}\n{first['size']}\n{first['root']}\n\n" + "".join(s + "\n" for s in signatures)


def newest(notes, proxy, folder):
    return max(read_checkpoint(note, vkey_of(proxy), folder)[0] for note in list(notes)) if notes else 0


def test_file(tmp_path, origin):
    outside = tmp_path / "outside"
    outside.mkdir()
    path = outside / "checkpoints"
    proxy = Proxy(tmp_path, origin, ledger={"checkpoint_sinks": [f"file:{path}"]})
    for _ in range(3):
        size = max(choose(proxy, 5)) + 1
        signed(proxy, size)
        wait_for(lambda: path.exists() and newest(notes_of(path.read_text()), proxy, tmp_path) >= size)
    assert len(notes_of(path.read_text())) >= 3
    wait_for(lambda: metric(proxy, "checkpoint_sink_lag_seconds") == 0)
    # the folder is taken away: nothing else suffers, and it goes on when it is back
    os.rename(outside, tmp_path / "away")
    size = max(choose(proxy, 5)) + 1
    signed(proxy, size)
    wait_for(lambda: metric(proxy, "checkpoint_sink_failures_total") > 0)
    wait_for(lambda: metric(proxy, "checkpoint_sink_lag_seconds") > 0)
    os.rename(tmp_path / "away", outside)
    wait_for(lambda: newest(notes_of(path.read_text()), proxy, tmp_path) >= size, 30)
    proxy.process.terminate()
    proxy.process.wait(30)
    assert proxy.log().count("sink.failed") == 1


def test_file_that_stands_still(tmp_path, origin):
    """A FIFO nobody reads stands for a dead mount: the ledger goes on as if nothing were."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)
    proxy = Proxy(tmp_path, origin, ledger={"checkpoint_sinks": [f"file:{fifo}"]})
    for _ in range(3):
        signed(proxy, max(choose(proxy, 20)) + 1)
    wait_for(lambda: metric(proxy, "checkpoint_sink_lag_seconds") >= 2)
    assert proxy.ctl("audit", "verify").returncode == 0
    proxy.process.terminate()
    assert proxy.process.wait(30) == 0  # the thread that hangs keeps nobody


def test_syslog_by_unix_socket_and_udp(tmp_path, origin):
    path = tmp_path / "log.sock"
    unix, udp = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((LOOPBACK, 0))
    for sock in (unix, udp):
        sock.settimeout(15)
    url = f"syslog://{LOOPBACK}:{udp.getsockname()[1]}"
    proxy = Proxy(tmp_path, origin, ledger={"checkpoint_sinks": [f"syslog:{path}", url]})
    size = max(choose(proxy, 5)) + 1
    signed(proxy, size)
    seen = 0
    while seen < size:
        seen = newest([note_of_syslog(udp.recv(65536).decode())], proxy, tmp_path)
    # nobody listens on the unix socket yet: tried again
    wait_for(lambda: metric(proxy, "checkpoint_sink_failures_total") > 0)
    unix.bind(str(path))
    seen = 0
    while seen < size:
        seen = newest([note_of_syslog(unix.recv(65536).decode())], proxy, tmp_path)
    proxy.process.terminate()
    proxy.process.wait(30)


class Collector:
    """Takes octet-counted messages; .stop() cuts the connections."""

    def __init__(self, port=0):
        self.messages, self.conns = [], []
        self.socket = socket.create_server((LOOPBACK, port))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self.socket.accept()
            except OSError:
                return
            self.conns.append(conn)
            threading.Thread(target=self._read, args=(conn,), daemon=True).start()

    def _read(self, conn):
        with conn.makefile("rb") as f:
            while True:
                digits = b""
                while (c := f.read(1)) not in (b" ", b""):
                    digits += c
                if not digits:
                    return
                self.messages.append(f.read(int(digits)).decode())

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would keep the port
        self.socket.close()
        for conn in self.conns:
            conn.shutdown(socket.SHUT_RDWR)


def test_syslog_by_tcp(tmp_path, origin):
    first = Collector()
    proxy = Proxy(tmp_path, origin, ledger={"checkpoint_sinks": [f"syslog+tcp://{LOOPBACK}:{first.port}"]})
    for _ in range(2):
        size = max(choose(proxy, 5)) + 1
        signed(proxy, size)
        wait_for(lambda: newest([note_of_syslog(m) for m in first.messages], proxy, tmp_path) >= size)
    first.stop()
    time.sleep(1)
    second = Collector(first.port)
    size = max(choose(proxy, 5)) + 1
    signed(proxy, size)
    wait_for(lambda: newest([note_of_syslog(m) for m in second.messages], proxy, tmp_path) >= size, 30)
    proxy.process.terminate()
    proxy.process.wait(30)


@pytest.mark.parametrize("tls", [False, True])
def test_http(tmp_path, origin, tls):
    got, status = [], [500]

    def take(_conn, request):
        assert request.method == "POST"
        if status[0] == 200:
            got.append(request.body.decode())
        return http_response(status[0], [("Connection", "close")])

    config = {}
    material = None
    if tls:
        authority = certificate(tmp_path, "sink-authority")
        material = certificate(tmp_path, "sink", ("localhost", LOOPBACK), authority)
        config["checkpoint_ca"] = str(authority[0])
    receiver = Origin(handler=take, tls=material)
    config["checkpoint_sinks"] = [receiver.url.replace(LOOPBACK, "localhost") + "/take?from=here"]
    proxy = Proxy(tmp_path, origin, ledger=config)
    size = max(choose(proxy, 5)) + 1
    signed(proxy, size)
    wait_for(lambda: metric(proxy, "checkpoint_sink_failures_total") > 0)
    assert 'answered 500' in proxy.log()
    status[0] = 200
    wait_for(lambda: got and newest(got, proxy, tmp_path) >= size, 30)
    assert receiver.requests[-1].target == "/take?from=here"
    size = max(choose(proxy, 5)) + 1
    signed(proxy, size)
    wait_for(lambda: newest(got, proxy, tmp_path) >= size, 30)
    proxy.process.terminate()
    proxy.process.wait(30)
    receiver.stop()


def test_http_that_never_answers(tmp_path, origin):
    with socket.create_server((LOOPBACK, 0)) as silent:
        url = f"http://{LOOPBACK}:{silent.getsockname()[1]}/"
        proxy = Proxy(tmp_path, origin, ledger={"checkpoint_sinks": [url]})
        signed(proxy, max(choose(proxy, 5)) + 1)
        wait_for(lambda: "no answer in time" in proxy.log(), 30)
        signed(proxy, max(choose(proxy, 5)) + 1)
        proxy.process.terminate()
        assert proxy.process.wait(30) == 0


@pytest.mark.parametrize("url", ["file:relative", "syslog://host.example", "ftp://x/y", "https://", "syslog+tcp://a/b",
                                 "https://auditor:se-cret@host.example/x"])
def test_url_that_makes_no_sense(tmp_path, origin, url):
    proxy = Proxy(tmp_path, origin)
    proxy.stop()
    proxy.config["ledger"]["checkpoint_sinks"] = [url]
    proxy.rewrite(proxy.config)
    refused = subprocess.run([str(BUILD / "consentd"), "-t", "-c", str(tmp_path / "consentd.json")],
                             capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "checkpoint_sinks" in refused.stderr + refused.stdout
    assert "se-cret" not in refused.stderr + refused.stdout, "a password in a message"
