"""HTTP/2 frame by frame (RFC 9113), as a client that may say anything."""
import socket
import ssl
import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
NO_ERROR, PROTOCOL_ERROR, REFUSED, CANCEL, CALM = 0, 1, 7, 8, 11


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Answer:
    """What came for one stream."""

    def __init__(self):
        self.heads, self.body, self.ended, self.reset = [], b"", False, None

    @property
    def done(self):
        return self.ended or self.reset is not None

    @property
    def status(self):
        final = [dict(h)[":status"] for h in self.heads if dict(h).get(":status", "1")[0] != "1"]
        return int(final[0]) if final else None

    def header(self, name):
        return next((v for h in self.heads for n, v in h if n == name), None)

    def all(self, name):
        return [v for h in self.heads for n, v in h if n == name]


class Client:
    def __init__(self, proxy, tls=False, settings=(), window=True, alpn=("h2", "http/1.1")):
        port = proxy.tls_port if tls else proxy.port
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context(cafile=str(proxy.ca))
            context.set_alpn_protocols(list(alpn))
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer, self.answers, self.next_id = b"", {}, 1
        self.goaway, self.closed, self.window = None, False, window
        self.block = None
        self.settings, self.pongs = {}, 0
        self.sock.sendall(PREFACE + frame(SETTINGS, payload=b"".join(
            struct.pack(">HI", k, v) for k, v in settings)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.closed = True

    def fields(self, fields):
        """The header block, without a check of anything."""
        return self.encoder.encode(fields, huffman=False)

    def request(self, fields, body=None, end=True):
        """Sends a head (and body) as it stands; the stream's number."""
        stream, self.next_id = self.next_id, self.next_id + 2
        self.answers[stream] = Answer()
        block = self.fields(fields)
        flags = END_STREAM if body is None and end else 0
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        for i, piece in enumerate(pieces):
            last = END_HEADERS if i == len(pieces) - 1 else 0
            self.send(frame(CONTINUATION if i else HEADERS, (0 if i else flags) | last, stream, piece))
        if body is not None:
            self.data(stream, body, end)
        return stream

    def data(self, stream, body, end=True):
        pieces = [body[i:i + 16384] for i in range(0, len(body), 16384)] or [b""]
        for i, piece in enumerate(pieces):
            self.send(frame(DATA, END_STREAM if end and i == len(pieces) - 1 else 0, stream, piece))

    def get(self, path="/", extra=(), method="GET", host="localhost", **more):
        return self.request([(":method", method), (":scheme", "http"), (":authority", host), (":path", path),
                             *extra], **more)

    def _head(self, stream, fragment):
        head = [(n if isinstance(n, str) else n.decode(), v if isinstance(v, str) else v.decode("latin-1"))
                for n, v in self.decoder.decode(fragment)]
        self.answers.setdefault(stream, Answer()).heads.append(head)

    def _take(self, kind, flags, stream, payload):
        answer = self.answers.setdefault(stream, Answer()) if stream else None
        if kind == HEADERS:
            self.block = payload
        elif kind == CONTINUATION:
            self.block += payload
        if kind in (HEADERS, CONTINUATION) and flags & END_HEADERS:
            self._head(stream, self.block)
        if kind == DATA:
            answer.body += payload
            if self.window and payload:
                more = struct.pack(">I", len(payload))
                self.send(frame(WINDOW, 0, 0, more) + frame(WINDOW, 0, stream, more))
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            answer.ended = True
        if kind == RST:
            answer.reset = struct.unpack(">I", payload)[0]
        if kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
        if kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[i:i + 6])
                self.settings[key] = value
            self.send(frame(SETTINGS, ACK))
        if kind == PING:
            if flags & ACK:
                self.pongs += 1
            else:
                self.send(frame(PING, ACK, 0, payload))

    def step(self, timeout=10):
        """Reads once and handles what is complete; False when nothing comes any more."""
        self.sock.settimeout(timeout)
        try:
            piece = self.sock.recv(1 << 20)
        except (ConnectionError, ssl.SSLError):
            piece = b""
        except TimeoutError:
            return False
        if not piece:
            self.closed = True
            return False
        self.buffer += piece
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                break
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
            self._take(kind, flags, stream, payload)
        return True

    def wait(self, *streams, timeout=10):
        """Until these streams are done; the first one's answer."""
        while not all(self.answers[s].done for s in streams) and self.step(timeout):
            pass
        return self.answers[streams[0]]

    def until_closed(self, timeout=10):
        while not self.closed and self.step(timeout):
            pass
        return self.closed
