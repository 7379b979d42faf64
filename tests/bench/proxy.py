#!/usr/bin/python3
"""consentd beside nginx and HAProxy, on one machine, in one run, interleaved.

usage: tests/bench/proxy.py BUILD [--seconds N] [--rounds N] [--connections N] [--rate N]
                                  [--idle N]

BUILD is a build folder made with -Dbuildtype=release. Needs h2load (nghttp2-client) and nginx;
HAProxy (haproxy), nginx's Lua module (libnginx-mod-http-lua) and strace take part where they are
installed, and the first lines say who is missing. Every proxy has one worker or thread and keeps
its connections to the origin, an nginx of its own. In this order, for HTTP/1.1, TLS 1.3 and HTTP/2:

    idle connections   memory of a worker that has just started, per connection that asked once:
                       anonymous pages, and bytes of the heap in use; beside the proxies a server
                       that is OpenSSL and nothing else (tls_floor.c), below which none can be
    CPU per request    user and system time of the proxy's worker, from /proc, per answer
    requests/s         as h2load saw them; on a busy machine only the ratio says something
    p50, p99           of the time to an answer at a fixed rate, the same for all
    handshakes         a full TLS 1.3 handshake and one request each: CPU and how many a second
    system calls       of consentd's worker per request (strace -c)

and then what a page with trackers costs (nginx and HAProxy pass it unfiltered), and what the parts
cost alone: the rewriter's MB/s and the token's ns. No pass mark.
"""
import argparse
import base64
import json
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LUA_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")
NDK_MODULE = pathlib.Path("/usr/lib/nginx/modules/ndk_http_module.so")
PAGE_SIZE = 30 * 1024
TICK = os.sysconf("SC_CLK_TCK")
PROTOCOLS = ("HTTP/1.1", "TLS 1.3", "HTTP/2")

TRACKERS = """<script async src="https://www.googletagmanager.com/gtag/js?id=G-BENCH0001"></script>
<script>window.dataLayer = window.dataLayer || []; function gtag(){dataLayer.push(arguments);}
gtag('js', new Date()); gtag('config', 'G-BENCH0001', {anonymize_ip: true});</script>
<script>!function(f,b,e,v,n,t,s){if(f.fbq)return;n=f.fbq=function(){n.queue.push(arguments)};
n.queue=[];t=b.createElement(e);t.src=v;s=b.getElementsByTagName(e)[0];s.parentNode.insertBefore(t,s)
}(window,document,'script','https://connect.facebook.net/en_US/fbevents.js');fbq('init','1');</script>
<noscript><img height="1" width="1" src="https://www.facebook.com/tr?id=1&ev=PageView"></noscript>
<script src="https://js.hs-scripts.com/1234567.js" async defer></script>
<link rel="preconnect" href="https://www.google-analytics.com">
"""

# What a careful operator writes with Lua: the whole page in memory, patterns over it.
LUA_FILTER = r"""
  header_filter_by_lua_block { ngx.header.content_length = nil }
  body_filter_by_lua_block {
    local ctx = ngx.ctx
    ctx.parts = ctx.parts or {}
    ctx.parts[#ctx.parts + 1] = ngx.arg[1]
    if not ngx.arg[2] then ngx.arg[1] = nil return end
    local page = table.concat(ctx.parts)
    local hosts = {"googletagmanager%.com", "google%-analytics%.com", "connect%.facebook%.net",
      "facebook%.com/tr", "hs%-scripts%.com", "clarity%.ms", "hotjar%.com", "doubleclick%.net",
      "linkedin%.com", "licdn%.com", "bat%.bing%.com", "tiktok%.com", "gtag%(", "fbq%("}
    local function judge(element)
      for _, host in ipairs(hosts) do if element:find(host) then return "" end end
      return element
    end
    page = page:gsub("<script.-</script>", judge)
    page = page:gsub("<noscript.-</noscript>", judge)
    page = page:gsub("<iframe.-</iframe>", judge)
    page = page:gsub("<img[^>]*>", judge)
    page = page:gsub("<link[^>]*>", judge)
    ngx.arg[1] = page
  }
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"nothing listens on port {port}")


def page():
    filler = "<p class=\"text\">Managed <b>IT</b>, security and cloud for <a href=\"/x?a=1&amp;b=2\">" \
             "teams of every size</a>, day and night.</p>\n"
    head = "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>Bench</title>\n" + TRACKERS
    body = "</head><body>\n<iframe src=\"https://www.youtube.com/embed/abc\"></iframe>\n"
    text = head + body
    while len(text) < PAGE_SIZE - 20:
        text += filler
    return text + "</body></html>\n"


def certificate(folder):
    """One for all: ECDSA P-256, as a site would have it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-days", "2", "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    (folder / "both.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    return cert, key


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Peer:
    """A proxy with a port in cleartext and one with TLS."""

    process = None

    def url(self, protocol, path):
        if protocol == "HTTP/1.1":
            return f"http://127.0.0.1:{self.port}{path}"
        return f"https://127.0.0.1:{self.tls_port}{path}"

    def worker(self):
        return children(self.process.pid)[0]

    def spawn(self, *args):
        self.process = subprocess.Popen([str(arg) for arg in args], stderr=subprocess.DEVNULL)
        wait_port(self.port)

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.worker()}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self):
        text = pathlib.Path(f"/proc/{self.worker()}/smaps_rollup").read_text()
        return 1024 * int(re.search(r"Anonymous:\s+(\d+)", text).group(1))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Nginx(Peer):
    """One nginx with one worker; `locations` is the inside of its server block."""

    def __init__(self, folder, name, locations, top="", http="", tls=None):
        self.port, self.tls_port, self.name = free_port(), free_port(), name
        folder = folder / name.replace(" ", "-")
        folder.mkdir()
        secure = "" if tls is None else f"""
  server {{ listen 127.0.0.1:{self.tls_port} ssl http2 reuseport; ssl_certificate {tls[0]};
    ssl_certificate_key {tls[1]}; ssl_protocols TLSv1.3; {locations} }}"""
        (folder / "conf").write_text(f"""
{top}
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on; types {{ text/html html; }}
  default_type application/octet-stream;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
  server {{ listen 127.0.0.1:{self.port} reuseport; {locations} }} {secure}
}}""")
        self.spawn("nginx", "-c", folder / "conf", "-p", folder)


class HAProxy(Peer):
    """One thread; its process is the worker."""

    name = "HAProxy"

    def __init__(self, folder, origin_port):
        self.port, self.tls_port = free_port(), free_port()
        (folder / "haproxy.conf").write_text(f"""
global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend f
  bind 127.0.0.1:{self.port}
  bind 127.0.0.1:{self.tls_port} ssl crt {folder}/both.pem alpn h2,http/1.1
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  default_backend b
backend b
  server o 127.0.0.1:{origin_port}
""")
        self.spawn("haproxy", "-db", "-f", folder / "haproxy.conf")

    def worker(self):
        return self.process.pid


class Floor(Peer):
    """OpenSSL alone; its process is the worker, and it speaks TLS only."""

    name = "OpenSSL alone"

    def __init__(self, program, tls):
        self.port = self.tls_port = free_port()
        self.spawn(program, self.port, *tls)

    def worker(self):
        return self.process.pid


class Consentd(Peer):
    name = "consentd"

    def __init__(self, folder, build, origin_port, tls):
        self.port, self.tls_port = free_port(), free_port()
        keys = [{"kid": 1, "use": use, "state": "active", "not_before": 0,
                 "key": base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")}
                for use in ("tok", "idx", "log", "unsub")]
        (folder / "keys.json").write_text(json.dumps({"keys": keys}))
        (folder / "keys.json").chmod(0o600)
        (folder / "consentd.json").write_text(json.dumps({
            "workers": 1, "user": pwd.getpwuid(os.geteuid()).pw_name, "keys": "keys.json",
            "state_dir": str(folder / "state"), "rules": str(ROOT / "rules"), "drain_timeout": "1s",
            "log": {"level": "warn"}, "admin": {"socket": str(folder / "admin.sock")},
            "listen": [{"address": f"127.0.0.1:{self.port}"},
                       {"address": f"127.0.0.1:{self.tls_port}",
                        "tls": {"certificates": [{"cert": str(tls[0]), "key": str(tls[1])}]}}],
            "sites": [{"name": "bench", "hosts": ["127.0.0.1", "localhost"],
                       "policy": str(ROOT / "conf/policy.json"),
                       "origins": [f"http://127.0.0.1:{origin_port}"]}]}))
        self.process = subprocess.Popen([f"{build}/consentd", "-c", str(folder / "consentd.json")])
        wait_port(self.port)
        time.sleep(0.5)

    def worker(self):
        for pid in children(self.process.pid):
            if b"worker" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        sys.exit("consentd has no worker")


# --- measuring ----------------------------------------------------------------------------


def h2load(proxy, protocol, path, *options):
    """Runs h2load; (answers, answers a second). Anything but success ends the run."""
    kind = ["--npn-list=h2"] if protocol == "HTTP/2" else ["--h1"]
    out = subprocess.run(["h2load", "-t1", *kind, *map(str, options), proxy.url(protocol, path)],
                         capture_output=True, text=True, check=True).stdout
    done = re.search(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    good = re.search(r"status codes: (\d+) 2xx", out)
    if done is None or done[3] != "0" or done[4] != "0" or good is None or int(good[1]) == 0 or \
            re.search(r" 0 3xx, 0 4xx, 0 5xx", out) is None:
        sys.exit(f"{proxy.name} {protocol}{path}: {out}")
    return int(good[1]), float(re.search(r"([\d.]+) req/s", out).group(1))


def load(proxy, protocol, path, args):
    """CPU per request in us, requests a second."""
    before = proxy.cpu()
    streams = ["-m", 8] if protocol == "HTTP/2" else []
    count, rate = h2load(proxy, protocol, path, "-c", args.connections, "-D", args.seconds, *streams)
    return (proxy.cpu() - before) / count * 1e6, rate


def latency(proxy, protocol, path, args):
    """p50 and p99 in us at args.rate, over args.connections connections."""
    log = pathlib.Path(tempfile.mkstemp(prefix="h2load-")[1])
    log.unlink()
    per_client = max(1, args.rate // args.connections)
    h2load(proxy, protocol, path, "-c", args.connections, "-D", args.seconds, f"--rps={per_client}",
           f"--log-file={log}")
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    log.unlink()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def handshakes(proxy, args):
    """A connection, a handshake, a request, each: CPU in us, how many a second."""
    before, start = proxy.cpu(), time.monotonic()
    cnt = 0
    while time.monotonic() - start < args.seconds:
        cnt += h2load(proxy, "TLS 1.3", "/1k.bin", "-c", 200, "-n", 200)[0]
    return (proxy.cpu() - before) / cnt * 1e6, cnt / (time.monotonic() - start)


def compiled(folder, source, name, *options):
    """A C file beside this one, built into folder; None without a compiler or OpenSSL's headers."""
    out = folder / name
    done = subprocess.run(["cc", "-O2", "-std=c17", "-D_GNU_SOURCE", "-o", str(out), str(HERE / source), *options],
                          capture_output=True, check=False)
    return out if done.returncode == 0 else None


class Heap:
    """Bytes of the heap in use by whoever is started within (heap.c)."""

    def __init__(self, folder):
        self.library = compiled(folder, "heap.c", "heap.so", "-shared", "-fPIC")
        self.file = folder / "heap"

    def __enter__(self):
        self.file.write_bytes(bytes(8))
        if self.library is not None:
            os.environ.update(LD_PRELOAD=str(self.library), HEAP=str(self.file))
        return self

    def __exit__(self, *_):
        os.environ.pop("LD_PRELOAD", None)
        os.environ.pop("HEAP", None)

    def bytes(self):
        return int.from_bytes(self.file.read_bytes(), "little", signed=True)


def idle(proxy, protocol, heap, args):
    """What each connection takes that asked once and is silent: bytes of the worker's memory, of the heap."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    held = []

    def connect():
        sock = socket.create_connection(("127.0.0.1", proxy.port if protocol == "HTTP/1.1" else proxy.tls_port))
        if protocol != "HTTP/1.1":
            sock = context.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(b"GET /1k.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = b""
        while len(got) < 1024:
            got += sock.recv(65536)
        held.append(sock)
    for _ in range(20):
        connect()  # what the first ones need, all have
    time.sleep(0.5)
    before = proxy.memory(), heap.bytes()
    for _ in range(args.idle):
        connect()
    time.sleep(1.5)
    after = proxy.memory(), heap.bytes()
    for sock in held:
        sock.close()
    return [(now - then) / args.idle for now, then in zip(after, before)]


def compare_idle(folder, makers, args):
    """Each in a process of its own that has done nothing before: no heap has room left from anything else."""
    heap = Heap(folder)
    for protocol in PROTOCOLS[:2]:
        print(f"\n{args.idle} idle connections, {protocol}", flush=True)
        for number, make in enumerate(makers):
            with heap:
                proxy = make(f"{make.__name__}, idle, {number} {protocol[:3]}")
            try:
                if protocol == "HTTP/1.1" and isinstance(proxy, Floor):
                    continue
                memory, used = idle(proxy, protocol, heap, args)
            finally:
                proxy.stop()
            print(f"  {proxy.name.split(',')[0]:<22} {memory:8.0f} bytes each" +
                  (f"   {used:8.0f} of the heap" if heap.library is not None else ""), flush=True)


def system_calls(proxy, protocol, args):
    """Calls of the worker per request, by name."""
    out = pathlib.Path(tempfile.mkstemp(prefix="strace-")[1])
    tracer = subprocess.Popen(["strace", "-c", "-f", "-p", str(proxy.worker()), "-o", str(out)],
                              stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    count, _ = h2load(proxy, protocol, "/1k.bin", "-c", args.connections, "-D", args.seconds)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    rows = [line.split() for line in out.read_text().splitlines()]
    out.unlink()
    calls = {r[-1]: int(r[3]) / count for r in rows if len(r) >= 5 and r[3].isdigit()}
    return {name: n for name, n in calls.items() if n >= 0.01}


# --- the tables --------------------------------------------------------------------------


def interleaved(proxies, args, fn):
    """fn(proxy) of each in turn, args.rounds times; by name, the medians of what it returned."""
    figures = {p.name: [] for p in proxies}
    for _ in range(args.rounds):
        for proxy in proxies:
            figures[proxy.name].append(fn(proxy))
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in figures.items()}


def compare(title, protocol, path, proxies, args):
    print(f"\n{title}, {protocol}", flush=True)
    base = None
    for name, (cost, rate) in interleaved(proxies, args, lambda p: load(p, protocol, path, args)).items():
        base = base or cost
        print(f"  {name:<22} {cost:8.1f} us CPU/request  x{cost / base:5.2f}   {rate:9.0f} requests/s", flush=True)


def run(proxies, args):
    for protocol in PROTOCOLS:
        compare("1 KiB, passed through", protocol, "/1k.bin", proxies, args)
    for protocol in PROTOCOLS:
        print(f"\n1 KiB at {args.rate} requests/s, {protocol}", flush=True)
        found = interleaved(proxies, args, lambda p, proto=protocol: latency(p, proto, "/1k.bin", args))
        for name, (p50, p99) in found.items():
            print(f"  {name:<22} p50 {p50:6.0f} us   p99 {p99:6.0f} us", flush=True)
    print("\na TLS 1.3 handshake (ECDSA P-256) and one request", flush=True)
    for name, (cost, rate) in interleaved(proxies, args, lambda p: handshakes(p, args)).items():
        print(f"  {name:<22} {cost:8.1f} us CPU/handshake         {rate:9.0f} handshakes/s", flush=True)


def missing():
    for tool, package in (("h2load", "nghttp2-client"), ("nginx", "nginx-light")):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed (apt-get install {package})")
    for tool, package, loss in (("haproxy", "haproxy", "HAProxy"), ("strace", "strace", "the system calls")):
        if shutil.which(tool) is None:
            print(f"without {loss}: apt-get install {package}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=int, default=2000, help="requests/s of the fixed rate")
    parser.add_argument("--idle", type=int, default=1000, help="idle connections")
    return parser.parse_args()


def main():
    args = arguments()
    os.environ["PATH"] += ":/usr/sbin"
    missing()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="consentd-bench-"))
    folder.chmod(0o755)
    started = []
    try:
        (folder / "site").mkdir()
        (folder / "site/1k.bin").write_bytes(b"x" * 1024)
        (folder / "site/page.html").write_text(page())
        tls = certificate(folder)
        origin = Nginx(folder, "origin", f"root {folder}/site;")
        started.append(origin)
        upstream = f"upstream o {{ server 127.0.0.1:{origin.port}; keepalive 256; }}"
        forward = "proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection \"\"; " \
                  "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; " \
                  "proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Host $host;"
        floor = compiled(folder, "tls_floor.c", "tls_floor", "-lssl", "-lcrypto")

        def nginx(name="nginx, plain proxy"):
            return Nginx(folder, name, f"location / {{ {forward} }}", http=upstream, tls=tls)

        def consentd(name="consentd"):
            (folder / name).mkdir()
            return Consentd(folder / name, args.build, origin.port, tls)
        makers = [nginx, consentd]
        if shutil.which("haproxy"):
            makers.insert(1, lambda _=None: HAProxy(folder, origin.port))
        idle_makers = makers + ([lambda _: Floor(floor, tls)] if floor is not None else [])
        compare_idle(folder, idle_makers, args)
        proxies = []
        for make in makers:
            proxies.append(make())
            started.append(proxies[-1])
        ours = proxies[-1]
        run(proxies, args)
        if shutil.which("strace"):
            for protocol in PROTOCOLS[:2]:
                calls = system_calls(ours, protocol, args)
                total = calls.pop("total")
                print(f"\n{total:.2f} system calls per request, {protocol}: " +
                      ", ".join(f"{name} {n:.2f}" for name, n in sorted(calls.items(), key=lambda x: -x[1])))
        if LUA_MODULE.exists():
            proxies.append(Nginx(folder, "nginx with Lua", f"location / {{ {forward} {LUA_FILTER} }}",
                                 top=f"load_module {NDK_MODULE}; load_module {LUA_MODULE};", http=upstream))
            started.append(proxies[-1])
        compare("30 KiB page with trackers (nginx, HAProxy: unfiltered)", "HTTP/1.1", "/page.html", proxies, args)
    finally:
        for proxy in reversed(started):
            proxy.stop()
        shutil.rmtree(folder)
    print()
    sys.stdout.flush()
    for bench in ("bench_html", "bench_policy"):
        if os.path.exists(f"{args.build}/{bench}"):
            subprocess.run([f"{args.build}/{bench}"], check=False, cwd=ROOT)


if __name__ == "__main__":
    main()
