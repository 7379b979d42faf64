"""A client of the admin socket: HTTP/1.1 over a unix socket, as any user."""
import http.client
import json
import os
import socket
import subprocess
import sys


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(proxy, target, method="GET", body=None):
    """(status, headers, bytes) of one request as the user of this process."""
    conn = Connection(proxy.config["admin"]["socket"])
    conn.request(method, target, body=body)
    answer = conn.getresponse()
    data = answer.read()
    conn.close()
    return answer.status, answer.headers, data


def get(proxy, target):
    """The JSON of a 200."""
    status, _, data = ask(proxy, target)
    assert status == 200, (target, status, data)
    return json.loads(data)


def refused(proxy, target, method="GET", body=None):
    """(status, its reason)."""
    status, _, data = ask(proxy, target, method, body)
    assert status >= 400, (target, status, data)
    return status, json.loads(data)["error"]


CLIENT = """
import http.client, socket, sys
conn = http.client.HTTPConnection("localhost", timeout=60)
conn.sock = socket.socket(socket.AF_UNIX)
conn.sock.connect(sys.argv[1])
conn.request(sys.argv[2], sys.argv[3])
answer = conn.getresponse()
sys.stdout.buffer.write(b"%d\\n" % answer.status + answer.read())
"""


def ask_as(proxy, uid, gid, groups, target, method="GET"):
    """(status, bytes) of one request made by another user."""
    def become():
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
    out = subprocess.run([sys.executable if os.access(sys.executable, os.X_OK) else "/usr/bin/python3", "-c", CLIENT,
                          proxy.config["admin"]["socket"], method, target],
                         preexec_fn=become, capture_output=True, check=False, timeout=60, cwd="/")
    assert out.returncode == 0, out.stderr.decode()
    status, _, data = out.stdout.partition(b"\n")
    return int(status), data
