#!/usr/bin/python3
"""consentd beside nginx as a plain proxy, on one machine, in one run, interleaved.

usage: tests/bench/proxy.py BUILD [--seconds N] [--rounds N] [--connections N]

BUILD is a build folder made with -Dbuildtype=release. Needs wrk and nginx; nginx with its
Lua module (libnginx-mod-http-lua) takes part where it is installed. Every proxy has one worker
and keeps its connections to the origin, an nginx of its own. For each page it prints

    CPU per request    user and system time of the proxy's worker, from /proc, per answer
    requests/s         as wrk saw them; on a busy machine only the ratio says something

and then what the parts cost alone: the rewriter's MB/s and the token's ns. No pass mark.
"""
import argparse
import base64
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LUA_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")
NDK_MODULE = pathlib.Path("/usr/lib/nginx/modules/ndk_http_module.so")
PAGE_SIZE = 30 * 1024
TICK = os.sysconf("SC_CLK_TCK")

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


class Nginx:
    """One nginx with one worker; `locations` is the inside of its server block."""

    def __init__(self, folder, name, locations, top="", http=""):
        self.port, self.name = free_port(), name
        folder = folder / name.replace(" ", "-")
        folder.mkdir()
        (folder / "conf").write_text(f"""
{top}
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on; types {{ text/html html; }}
  default_type application/octet-stream;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
  server {{ listen 127.0.0.1:{self.port} reuseport; {locations} }}
}}""")
        self.process = subprocess.Popen(["nginx", "-c", str(folder / "conf"), "-p", str(folder)],
                                        stderr=subprocess.DEVNULL)
        wait_port(self.port)

    def worker(self):
        return children(self.process.pid)[0]


class Consentd:
    name = "consentd"

    def __init__(self, folder, build, origin_port):
        self.port = free_port()
        keys = [{"kid": 1, "use": use, "state": "active", "not_before": 0,
                 "key": base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")}
                for use in ("tok", "idx", "log", "unsub")]
        (folder / "keys.json").write_text(json.dumps({"keys": keys}))
        (folder / "keys.json").chmod(0o600)
        (folder / "consentd.json").write_text(json.dumps({
            "workers": 1, "user": pwd.getpwuid(os.geteuid()).pw_name, "keys": "keys.json",
            "state_dir": str(folder / "state"), "rules": str(ROOT / "rules"),
            "log": {"level": "warn"}, "listen": [{"address": f"127.0.0.1:{self.port}"}],
            "admin": {"socket": str(folder / "admin.sock")},
            "sites": [{"name": "bench", "hosts": ["127.0.0.1"], "policy": str(ROOT / "conf/policy.json"),
                       "origins": [f"http://127.0.0.1:{origin_port}"]}]}))
        self.process = subprocess.Popen([f"{build}/consentd", "-c", str(folder / "consentd.json")])
        wait_port(self.port)
        time.sleep(0.5)

    def worker(self):
        for pid in children(self.process.pid):
            if b"worker" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        sys.exit("consentd has no worker")


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(proxy, path, args):
    before = cpu(proxy.worker())
    out = subprocess.run(["wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds}s",
                          f"http://127.0.0.1:{proxy.port}{path}"],
                         capture_output=True, text=True, check=True).stdout
    spent = cpu(proxy.worker()) - before
    count = int(re.search(r"(\d+) requests in", out).group(1))
    if "Non-2xx" in out or "Socket errors" in out or count == 0:
        sys.exit(f"{proxy.name}{path}: {out}")
    return spent / count * 1e6, float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def compare(title, path, proxies, args):
    figures = {p.name: [] for p in proxies}
    for _ in range(args.rounds):
        for proxy in proxies:
            figures[proxy.name].append(measure(proxy, path, args))
    print(f"\n{title}")
    base = None
    for proxy in proxies:
        cost = statistics.median(f[0] for f in figures[proxy.name])
        rate = statistics.median(f[1] for f in figures[proxy.name])
        base = base or cost
        print(f"  {proxy.name:<22} {cost:8.1f} us CPU/request  x{cost / base:5.2f}   {rate:9.0f} requests/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    args = parser.parse_args()
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None and not os.path.exists(f"/usr/sbin/{tool}"):
            sys.exit(f"{tool} is not installed")
    os.environ["PATH"] += ":/usr/sbin"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="consentd-bench-"))
    folder.chmod(0o755)
    started = []
    try:
        (folder / "site").mkdir()
        (folder / "site/1k.bin").write_bytes(b"x" * 1024)
        (folder / "site/page.html").write_text(page())
        origin = Nginx(folder, "origin", f"root {folder}/site;")
        started.append(origin)
        upstream = f"upstream o {{ server 127.0.0.1:{origin.port}; keepalive 256; }}"
        forward = "proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection \"\"; " \
                  "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; " \
                  "proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Host $host;"
        plain = Nginx(folder, "nginx, plain proxy", f"location / {{ {forward} }}", http=upstream)
        started.append(plain)
        ours = Consentd(folder, args.build, origin.port)
        started.append(ours)
        proxies = [plain, ours]
        compare("1 KiB, passed through", "/1k.bin", proxies, args)
        if LUA_MODULE.exists():
            lua = Nginx(folder, "nginx with Lua", f"location / {{ {forward} {LUA_FILTER} }}",
                        top=f"load_module {NDK_MODULE}; load_module {LUA_MODULE};", http=upstream)
            started.append(lua)
            proxies.append(lua)
        compare("30 KiB page with trackers (nginx: unfiltered)", "/page.html", proxies, args)
    finally:
        for proxy in started:
            proxy.process.send_signal(signal.SIGTERM)
        for proxy in started:
            proxy.process.wait()
        shutil.rmtree(folder)
    print()
    sys.stdout.flush()
    for bench in ("bench_html", "bench_policy"):
        if os.path.exists(f"{args.build}/{bench}"):
            subprocess.run([f"{args.build}/{bench}"], check=False, cwd=ROOT)


if __name__ == "__main__":
    main()
