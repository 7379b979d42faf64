#!/usr/bin/env python3
"""The demo origin: a small company site whose pages are full of real tracker snippets.

It stands behind consentd in conf/quickstart and plays the website that means well and was built
as most are: tags from many vendors, tracker cookies set by the server, early hints that let the
browser connect to trackers before the page has arrived. All ids in the snippets are made up.
Python's standard library is all it needs.

    origin.py [--log-cookies] HOST:PORT
"""

import argparse
import gzip
import hashlib
import html
import http.server
import mimetypes
import os
import secrets
import sys
import threading
from urllib.parse import parse_qs, urlsplit

HERE = os.path.dirname(os.path.abspath(__file__))
PAGES = {
    "/": "home.html",
    "/blog/video": "video.html",
    "/contact": "contact.html",
    "/shop": "shop.html",
}
FILES = {"/style.css": "style.css", "/app.js": "app.js", "/logo.svg": "logo.svg"}
BODY_MAX = 64 * 1024
SESSIONS_MAX = 1000

# What the server side of the site sets on every page for a visitor who does not have it yet.
# The first is the session; the others are trackers, one of them out of reach for scripts.
TRACKER_COOKIES = [
    ("_ga", "GA1.1.1234567890.1700000000; Path=/; Max-Age=63072000"),
    ("_fbp", "fb.1.1700000000000.1234567890; Path=/; Max-Age=7776000; SameSite=Lax"),
    ("hubspotutk", "0123456789abcdef0123456789abcdef; Path=/; Max-Age=15552000; HttpOnly"),
    ("__gads", "ID=0123456789abcdef:T=1700000000; Path=/; Max-Age=33696000"),
]

# Sent as 103 before the page and once more with it.
EARLY_LINKS = [
    "</style.css>; rel=preload; as=style",
    "<https://www.googletagmanager.com>; rel=preconnect",
    "<https://connect.facebook.net/en_US/fbevents.js>; rel=preload; as=script",
]


class Sessions:
    """Session id -> {"csrf": …, "user": …}. The oldest go when there are too many."""

    def __init__(self):
        self._lock = threading.Lock()
        self._by_id = {}

    def get(self, session_id):
        with self._lock:
            return self._by_id.get(session_id)

    def make(self):
        session_id = secrets.token_hex(16)
        with self._lock:
            while len(self._by_id) >= SESSIONS_MAX:
                self._by_id.pop(next(iter(self._by_id)))
            self._by_id[session_id] = {"csrf": secrets.token_hex(16), "user": None}
            return session_id, self._by_id[session_id]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "netstreem-demo"
    sys_version = ""
    timeout = 60

    def do_GET(self):
        self._handle()

    def do_HEAD(self):
        self._handle()

    def do_POST(self):
        self._handle()

    def _handle(self):
        self.new_cookies = []
        self.session = None
        self.cookies = self._read_cookies()
        body = self._read_body()
        if body is None:
            return
        path = urlsplit(self.path).path
        self._log_visit()
        if path in FILES:
            self._send_file(FILES[path])
        elif path == "/g/collect":  # Google Analytics, proxied through the site itself
            self._send(204, b"", "text/plain")
        elif path in PAGES:
            self._early_hints()
            self._send_page(PAGES[path])
        elif path == "/login":
            self._login(body)
        elif path == "/logout" and self.command == "POST":
            self._logout(body)
        elif path == "/contact/send" and self.command == "POST":
            self._redirect("/contact?sent=1")
        else:
            self._send_page("missing.html", status=404)

    # --- request ---

    def _read_cookies(self):
        jar = {}
        for pair in (self.headers.get("Cookie") or "").split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals:
                jar.setdefault(name, value)
        return jar

    def _read_body(self):
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if length < 0 or length > BODY_MAX or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self._send(413, b"too long\n", "text/plain")
            return None
        return self.rfile.read(length)

    def _log_visit(self):
        if self.server.log_cookies:
            names = ", ".join(self.cookies) or "none"
            consent = self.headers.get("X-Consent") or "-"
            where = f"{self.command} {urlsplit(self.path).path}"
            print(f"origin: {where} cookies: {names} x-consent: {consent}", flush=True)

    def _session(self):
        """The visitor's session, made when there is none."""
        if self.session is None:
            self.session = self.server.sessions.get(self.cookies.get("PHPSESSID", ""))
        if self.session is None:
            session_id, self.session = self.server.sessions.make()
            self.new_cookies.append(f"PHPSESSID={session_id}; Path=/; HttpOnly; SameSite=Lax")
        return self.session

    # --- pages ---

    def _login(self, body):
        session = self._session()
        if self.command != "POST":
            self._send_page("account.html" if session["user"] else "login.html")
            return
        form = parse_qs(body.decode("utf-8", "replace"))
        name = form.get("name", [""])[0].strip()[:40]
        if not self._csrf_holds(form, session):
            note = "The form was too old. Please try again."
            self._send_page("login.html", status=403, note=note)
        elif not name:
            self._send_page("login.html", status=400, note="Please give a name.")
        else:
            session["user"] = name
            self._redirect("/login")

    @staticmethod
    def _csrf_holds(form, session):
        given = form.get("csrf", [""])[0]
        return secrets.compare_digest(given.encode(), session["csrf"].encode())

    def _logout(self, body):
        session = self._session()
        if self._csrf_holds(parse_qs(body.decode("utf-8", "replace")), session):
            session["user"] = None
        self._redirect("/login")

    def _early_hints(self):
        if self.request_version < "HTTP/1.1":
            return
        self.send_response_only(103, "Early Hints")
        for link in EARLY_LINKS:
            self.send_header("Link", link)
        self.end_headers()

    def _send_page(self, name, status=200, note=""):
        session = self._session()
        for cookie, value in TRACKER_COOKIES:
            if cookie not in self.cookies:
                self.new_cookies.append(f"{cookie}={value}")
        if not note and "sent=1" in self.path:
            note = "Thank you, this demo has thrown your message away."
        text = self.server.page(name)
        fields = {"csrf": session["csrf"], "user": session["user"] or "", "note": note}
        for key, value in fields.items():
            text = text.replace("{{" + key + "}}", html.escape(value))
        extra = [("Cache-Control", "private, no-cache")]
        if status == 200:
            extra += [("Link", link) for link in EARLY_LINKS]
        self._send(status, text.encode(), "text/html; charset=utf-8", extra)

    def _send_file(self, name):
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        with open(os.path.join(HERE, "pages", name), "rb") as file:
            self._send(200, file.read(), kind, [("Cache-Control", "max-age=60")])

    def _redirect(self, where):
        self._send(303, b"", "text/plain", [("Location", where)])

    # --- answer ---

    def _send(self, status, body, kind, extra=()):
        coded = status == 200 and len(body) > 256 and self._wants_gzip()
        etag = '"%s%s"' % (hashlib.sha256(body).hexdigest()[:16], "-gz" if coded else "")
        if status == 200 and etag in (self.headers.get("If-None-Match") or ""):
            status, body, coded = 304, b"", False
        if coded:
            body = gzip.compress(body, 6, mtime=0)
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        if coded:
            self.send_header("Content-Encoding", "gzip")
        if status in (200, 304):
            self.send_header("ETag", etag)
            self.send_header("Vary", "Accept-Encoding")
        for name, value in extra:
            self.send_header(name, value)
        for cookie in self.new_cookies:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def _wants_gzip(self):
        for part in (self.headers.get("Accept-Encoding") or "").split(","):
            name, _, weight = part.strip().partition(";")
            if name.strip().lower() == "gzip":
                return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False

    def log_message(self, *args):
        """Quiet: --log-cookies says what there is to see."""


class Origin(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address, log_cookies):
        super().__init__(address, Handler)
        self.log_cookies = log_cookies
        self.sessions = Sessions()
        self._pages = {}

    def page(self, name):
        """The page in its frame (pages/frame.html), read once."""
        if name not in self._pages:
            texts = []
            for part in ("frame.html", name):
                with open(os.path.join(HERE, "pages", part), encoding="utf-8") as file:
                    texts.append(file.read())
            head, _, main = texts[1].partition("<!-- body -->\n")
            self._pages[name] = texts[0].replace("{{head}}", head).replace("{{main}}", main)
        return self._pages[name]

    def handle_error(self, request, client_address):
        kind = sys.exc_info()[0]
        if not issubclass(kind, (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description="The demo origin of consentd.")
    parser.add_argument("address", help="HOST:PORT to listen on")
    parser.add_argument(
        "--log-cookies", action="store_true", help="print the names of the cookies that arrive"
    )
    args = parser.parse_args()
    host, _, port = args.address.rpartition(":")
    origin = Origin((host.strip("[]") or "127.0.0.1", int(port)), args.log_cookies)
    try:
        origin.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
