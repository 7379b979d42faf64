"""What the black-box tests share: an origin that does what a test says, the proxy, a client.

    origin = Origin(); origin.routes["/x"] = http_response(200, [("A", "b")], b"body")
    proxy = Proxy(tmp_path, origin, workers=1, limits={"keepalive_timeout": "200ms"})
    assert proxy.get("/x").body == b"body"
    proxy.stop()

The build is $CONSENTD_BUILD (default: build). Ports come from the kernel. Nothing here is
timed; waits have generous deadlines.
"""
import atexit
import base64
import json
import os
import pathlib
import pwd
import socket
import ssl
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("CONSENTD_BUILD", "build")  # an absolute path stays as it is
LOOPBACK = "127.0.0.1"


def free_port():
    with socket.socket() as s:
        s.bind((LOOPBACK, 0))
        return s.getsockname()[1]


def wait_for(fn, seconds=10):
    """Calls fn until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        result = fn()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {fn.__doc__ or fn}")
        time.sleep(0.02)


def http_response(status=200, headers=(), body=b"", reason="X"):
    """An answer as an origin writes it; with Content-Length unless the headers frame it."""
    names = {name.lower() for name, _ in headers}
    lines = [f"HTTP/1.1 {status} {reason}"] + [f"{name}: {value}" for name, value in headers]
    if not names & {"content-length", "transfer-encoding"} and status >= 200 and status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chunked(*pieces):
    """A chunked body of these pieces."""
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n\r\n"


def holding(body, path=None):
    """(gate, handler): the handler answers body; for path, or for all, once gate is set."""
    gate = threading.Event()

    def handler(conn, request):
        if path in (None, request.path):
            gate.wait(30)
        return http_response(200, [("Content-Type", "text/plain")], body)
    return gate, handler


def merge(base, extra):
    """A new dict: extra over base, dicts within merged likewise, everything else replaced."""
    out = dict(base)
    for key, value in extra.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def certificate(folder, name, hosts=("localhost",), issuer=None):
    """Writes name.pem and name.key: an authority, or with issuer=(pem, key) a leaf for hosts."""
    cert, key = pathlib.Path(folder) / f"{name}.pem", pathlib.Path(folder) / f"{name}.key"
    request, extra = pathlib.Path(folder) / f"{name}.csr", pathlib.Path(folder) / f"{name}.ext"
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
           "-subj", f"/CN={name}", "-keyout", str(key)]
    if issuer is None:
        subprocess.run(new + ["-x509", "-days", "2", "-out", str(cert)], check=True, capture_output=True)
        return cert, key
    names = ",".join(("IP:" if host[0].isdigit() else "DNS:") + host for host in hosts)
    extra.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    subprocess.run(new + ["-out", str(request)], check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", str(request), "-CA", str(issuer[0]), "-CAkey",
                    str(issuer[1]), "-CAcreateserial", "-days", "2", "-extfile", str(extra),
                    "-out", str(cert)], check=True, capture_output=True)
    return cert, key


class Fields:
    """Header lines in order: headers is a list of (name, value)."""

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def header(self, name, default=None):
        found = self.all(name)
        return found[0] if found else default


class Request(Fields):
    def __init__(self, method, target, headers, body, raw):
        self.method, self.target, self.headers, self.body, self.raw = method, target, headers, body, raw
        self.path = target.partition("?")[0]


class Response(Fields):
    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body


class Cut(Exception):
    """The peer closed or reset before a message was complete; .partial has what came."""

    def __init__(self, partial):
        super().__init__(f"cut after {partial[-200:]!r}")
        self.partial = partial


class Reader:
    """Messages from a socket. `raw` grows by every byte that was consumed."""

    def __init__(self, sock):
        self.sock, self.buffer, self.raw = sock, b"", b""

    def _more(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Cut(self.raw + self.buffer)
        self.buffer += data

    def until(self, mark):
        start = 0
        while (at := self.buffer.find(mark, start)) < 0:
            start = max(0, len(self.buffer) - len(mark))
            self._more()
        return self.exactly(at + len(mark))

    def exactly(self, count):
        while len(self.buffer) < count:
            self._more()
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        self.raw += out
        return out

    def rest(self):
        try:
            while True:
                self._more()
        except Cut:
            return self.exactly(len(self.buffer))

    def head(self):
        """First line and header list."""
        lines = self.until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        return lines[0], [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]

    def chunks(self):
        body = b""
        while True:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while self.until(b"\r\n") != b"\r\n":
                    pass
                return body
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"

    def body(self, headers, until_close):
        names = {n.lower(): v for n, v in headers}
        if names.get("transfer-encoding", "").lower() == "chunked":
            return self.chunks()
        if "content-length" in names:
            return self.exactly(int(names["content-length"]))
        return self.rest() if until_close else b""

    def request(self, before_body=None):
        """before_body(request) may answer early; its true result ends the reading."""
        self.raw = b""
        line, headers = self.head()
        method, target = line.split(" ")[:2]
        request = Request(method, target, headers, b"", self.raw)
        request.reader = self
        if before_body is not None and before_body(request):
            return request
        request.body = self.body(headers, False)
        request.raw = self.raw
        return request

    def response(self, method="GET"):
        line, headers = self.head()
        _, status, reason = (line + "  ").split(" ", 2)
        bodiless = method == "HEAD" or int(status) < 200 or int(status) in (204, 304)
        body = b"" if bodiless else self.body(headers, True)
        return Response(int(status), reason.strip(), headers, body)


class Origin:
    """A raw threaded origin. What it got is in .requests; what it says in .routes or handler.

    handler(conn, request) and the handlers of .routes get the socket and a Request; they return
    the bytes to send, or None when they wrote or closed by themselves. The connection stays
    open unless the answer says "Connection: close" or has no length. early(conn, request) runs
    before the body is read (request.reader has it); when it returns true the rest is thrown away.
    """

    def __init__(self, handler=None, tls=None, unix=None, early=None):
        self.handler, self.early, self.unix = handler, early, unix
        self.routes, self.requests, self.raw, self.opened = {}, [], [], 0
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.socket.bind(str(unix) if unix else (LOOPBACK, 0))
        if unix:
            os.chmod(unix, 0o777)
        self.socket.listen(1024)
        self.port = None if unix else self.socket.getsockname()[1]
        self.url = f"unix:{unix}" if unix else f"{'https' if tls else 'http'}://{LOOPBACK}:{self.port}"
        self.tls = None
        if tls is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self.connections = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self.socket.accept()
            except OSError:
                return
            self.opened += 1
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        try:
            if not self.unix:
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                conn = self.tls.wrap_socket(conn, server_side=True)
            self.connections.add(conn)
            reader = Reader(conn)
            while conn.fileno() >= 0 and self._one(conn, reader):
                pass
        except (OSError, Cut, ValueError) as error:
            if isinstance(error, Cut) and error.partial:
                self.raw.append(error.partial)  # an incomplete request
        finally:
            self.connections.discard(conn)
            conn.close()

    def _one(self, conn, reader):
        answered = []

        def before_body(request):
            if self.early is not None and self.early(conn, request):
                answered.append(request)
            return answered
        request = reader.request(before_body)
        self.requests.append(request)
        if answered:
            while conn.fileno() >= 0 and conn.recv(65536):
                pass  # the body is thrown away, and what looks like a request behind it
            return False
        what = self.routes.get(request.target, self.routes.get(request.path, self.handler))
        if what is None:
            what = http_response(200, [("Content-Type", "text/plain")], b"ok\n")
        out = what(conn, request) if callable(what) else what
        if out is None:
            return conn.fileno() >= 0
        conn.sendall(out)
        head = out.split(b"\r\n\r\n")[0].lower()
        framed = b"content-length" in head or b"transfer-encoding" in head or request.method == "HEAD"
        bodiless = out[9:10] == b"1" or out[9:12] in (b"204", b"304")
        return (framed or bodiless) and b"connection: close" not in head

    def stop(self):
        """Stops listening and cuts what is open."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for conn in list(self.connections):
            try:
                conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def origin_urls(origin):
    if isinstance(origin, (list, tuple)):
        return [url for one in origin for url in origin_urls(one)]
    if isinstance(origin, Origin):
        return [origin.url]
    return [f"http://{LOOPBACK}:{origin}" if isinstance(origin, int) else str(origin)]


class Redis:
    """A private redis-server on a unix socket, with an append-only file. options: its own."""

    def __init__(self, folder, *options):
        self.folder, self.options, self.process = pathlib.Path(folder), options, None
        self.socket = self.folder / "redis.sock"
        self.url = f"unix:{self.socket}"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder),
             "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", *self.options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.call("ping") == "PONG")

    def call(self, *words):
        return subprocess.run(["redis-cli", "-s", str(self.socket), *words], capture_output=True,
                              text=True, check=False, timeout=10).stdout.strip()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def stop(self):
        self.process.terminate()
        self.process.wait()


RUNNING = set()


@atexit.register
def kill_the_rest():
    """What a failed test left behind; the children go with their master."""
    for process in RUNNING:
        if process.poll() is None:
            process.kill()
            process.wait()


def preload(out, source, *options):
    """LD_PRELOAD for a library made of a C file; libasan before it where the build has one."""
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", str(out), str(source), *options],
                   check=True)
    linked = subprocess.run(["ldd", str(BUILD / "consentd")], capture_output=True, text=True, check=True).stdout
    asan = [word for word in linked.split() if word.startswith("/") and "libasan" in word]
    return " ".join(asan + [str(out)])


class Proxy:
    """consentd in the foreground, its files under folder.

    origin: an Origin, a port, a URL or a list of these. site: merged into the one default site;
    sites: replaces it. tls=True: a second listener with TLS at .tls_port, for localhost; .ca is
    its authority. Everything else is merged into the configuration. Without an origin or sites
    there is an Origin of its own, .origin.
    """

    def __init__(self, folder, origin=None, sites=None, site=None, tls=False, **config):
        self.folder, self.port, self.tls_port, self.ca = pathlib.Path(folder), free_port(), None, None
        os.chmod(folder, 0o755)
        self.own = Origin() if origin is None and sites is None else None
        self.origin = origin if self.own is None else self.own
        self._keys()
        listen = [{"address": f"{LOOPBACK}:{self.port}"}]
        if tls:
            listen.append(self._tls())
        if sites is None:
            sites = [merge({"name": "s", "hosts": ["localhost"], "origins": origin_urls(self.origin),
                            "policy": str(ROOT / "conf/policy.json")}, site or {})]
        self.config = merge({
            "workers": 1, "user": pwd.getpwuid(os.geteuid()).pw_name, "keys": "keys.json",
            "state_dir": str(self.folder / "state"), "rules": str(ROOT / "rules"), "drain_timeout": "3s",
            "listen": listen, "ledger": {"segment_size": "1MiB"}, "limits": {"choices_per_second": 0},
            "admin": {"socket": str(self.folder / "admin.sock")}, "sites": sites}, config)
        self.rewrite(self.config)
        self.log_path, self.process, self.context = self.folder / "consentd.log", None, None
        self.start()

    def _keys(self):
        path = self.folder / "keys.json"
        if path.exists():
            return
        path.write_text(json.dumps({"keys": [
            {"kid": 1, "use": use, "state": "active", "not_before": 0,
             "key": base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")}
            for use in ("tok", "idx", "log", "unsub")]}))
        path.chmod(0o600)

    def _tls(self):
        self.tls_port = free_port()
        authority = certificate(self.folder, "authority")
        cert, key = certificate(self.folder, "server", ("localhost", LOOPBACK), authority)
        self.ca = authority[0]
        return {"address": f"{LOOPBACK}:{self.tls_port}",
                "tls": {"certificates": [{"cert": str(cert), "key": str(key)}]}}

    binary = BUILD / "consentd"

    def start(self):
        """Starts it and waits until every role is ready."""
        options = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:exitcode=99:"
                       "quarantine_size_mb=64",
                       UBSAN_OPTIONS="print_stacktrace=1")
        self.log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(self.binary), "-c", str(self.folder / "consentd.json")],
                                            stderr=log, stdout=log, env=options)
        RUNNING.add(self.process)
        self.stopping = False
        want = self.config["workers"] if isinstance(self.config["workers"], int) else 1
        wait_for(lambda: self._is_ready(want), 30)

    def _is_ready(self, workers):
        assert self.process.poll() is None, self.log()[-3000:]
        lines = self.new_log().splitlines()
        ready = [line for line in lines if "event=process.ready" in line]
        return len([x for x in ready if "role=worker" in x]) >= workers and any("role=ledger" in x for x in ready)

    def new_log(self):
        """What this start has logged so far."""
        return self.log_path.read_bytes()[self.log_from:].decode(errors="replace")

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def _children(self, role):
        found = subprocess.run(["ps", "--ppid", str(self.pid), "-o", "pid=,args="], capture_output=True,
                               text=True, check=False).stdout
        return sorted(int(x.split()[0]) for x in found.splitlines() if f"--role {role}" in x)

    def workers(self):
        return self._children("worker")

    def role(self, name):
        """The one living process of a role (worker, ledger, admin), or None."""
        return next(iter(self._children(name)), None)

    def ctl(self, *args, timeout=30):
        return subprocess.run([str(BUILD / "consentctl"), "-c", str(self.folder / "consentd.json"), *map(str, args)],
                              capture_output=True, text=True, check=False, timeout=timeout)

    def connect(self, tls=False, timeout=10, host="localhost"):
        sock = socket.create_connection((LOOPBACK, self.tls_port if tls else self.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not tls:
            return sock
        context = ssl.create_default_context(cafile=str(self.ca))
        return context.wrap_socket(sock, server_hostname=host)

    def tls_session(self, session=None):
        """One request over TLS in a session or a new one: (whether it was resumed, the session)."""
        if self.context is None:
            self.context = ssl.create_default_context(cafile=str(self.ca))
        with socket.create_connection((LOOPBACK, self.tls_port), 10) as raw:
            with self.context.wrap_socket(raw, server_hostname="localhost", session=session) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert Reader(sock).response().status == 200
                return sock.session_reused, sock.session

    def raw(self, data, timeout=5, shut=False, tls=False):
        """Sends data; all bytes until the proxy closes, resets or says nothing for timeout."""
        with self.connect(tls, timeout) as sock:
            out = b""
            try:
                sock.sendall(data)
                if shut:
                    sock.shutdown(socket.SHUT_WR)
                while piece := sock.recv(65536):
                    out += piece
            except (ConnectionError, TimeoutError, ssl.SSLError):
                pass
            return out

    def get(self, path="/", headers=(), method="GET", body=b"", host="localhost", tls=False):
        """One request on a connection of its own, which is closed after it."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        with self.connect(tls) as sock:
            sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
            reader = Reader(sock)
            response = reader.response(method)
            while response.status < 200:
                response = reader.response(method)
            return response

    def rewrite(self, config):
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        (self.folder / "consentd.json").write_text(text)

    def hup(self):
        """Reloads and waits until it is done, refused or taken back; True when it was done."""
        def count(event):
            return self.log().count("event=reload." + event)
        done, refused = count("done"), count("refused") + count("failed")
        self.process.send_signal(1)
        wait_for(lambda: count("done") > done or count("refused") + count("failed") > refused, 40)
        return count("done") > done

    def terminate(self):
        """SIGTERM, once: a second one would cut what is still being served."""
        if not self.stopping and self.process.poll() is None:
            self.process.terminate()
        self.stopping = True

    def stop(self, code=0):
        """SIGTERM; it must exit with code, and its log must hold no sanitizer's report."""
        self.terminate()
        try:
            result = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.own is not None:
                self.own.stop()
        log = self.log()
        for word in ("AddressSanitizer", "runtime error", "LeakSanitizer", "event=process.died", "ASSERT"):
            assert word not in log, log[max(0, log.index(word) - 200):][:4000]
        assert result == code, log[-3000:]
