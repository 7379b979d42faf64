"""The Debian package in a clean root: installed, upgraded under load, removed, purged.

A minimal Debian 12 (debootstrap) with nothing in it but what the package depends on; consentd runs
inside. Needs root, debootstrap and a Debian mirror ($DEBIAN_MIRROR). The package is made of
$CONSENTD_DEB_BUILD (default: build), which has to be set up with --prefix=/usr.
"""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import threading

import pytest

from harness import LOOPBACK, ROOT, Origin, free_port, wait_for

BUILD = ROOT / os.environ.get("CONSENTD_DEB_BUILD", "build")
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYS, CONFIG, STATE = "etc/consentd/keys.json", "etc/consentd/consentd.json", "var/lib/consentd"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap and chroot need root")


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, (args, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout + done.stderr


def package(folder, version):
    return pathlib.Path(run(ROOT / "conf/package-deb", BUILD, "-o", folder, "-V", version).split()[-1])


class Root:
    """A Debian of its own."""

    def __init__(self, folder, include):
        self.path = folder / "root"
        run("debootstrap", "--variant=minbase", "--include=" + ",".join(include), "bookworm", self.path, MIRROR)
        run("mount", "-t", "proc", "proc", self.path / "proc")
        (self.path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (self.path / "usr/sbin/policy-rc.d").chmod(0o755)

    def __call__(self, *args):
        return run("chroot", self.path, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                   "DEBIAN_FRONTEND=noninteractive", *args)

    def install(self, deb):
        shutil.copy(deb, self.path / "tmp")
        return self("dpkg", "-i", f"/tmp/{deb.name}")

    def stat(self, path):
        found = (self.path / path).stat()
        users = {line.split(":")[2]: line.split(":")[0]
                 for line in (self.path / "etc/passwd").read_text().splitlines()}
        groups = {line.split(":")[2]: line.split(":")[0]
                  for line in (self.path / "etc/group").read_text().splitlines()}
        return users[str(found.st_uid)], groups[str(found.st_gid)], oct(found.st_mode & 0o7777)[2:]

    def has(self, path):
        return (self.path / path).exists()

    def close(self):
        subprocess.run(["umount", "-l", self.path / "proc"], check=False)


@pytest.fixture
def debian(tmp_path):
    os.chmod(tmp_path, 0o755)
    debs = [package(tmp_path, version) for version in ("0.1.0", "0.2.0")]
    depends = run("dpkg-deb", "-f", debs[0], "Depends")
    # what the program needs and nothing else; "a | b": the first
    include = [one.split("|")[0].split("(")[0].strip() for one in depends.split(",")]
    root = Root(tmp_path, [name for name in include if name not in ("debconf", "passwd", "libc6")])
    yield root, debs
    root.close()


@contextlib.contextmanager
def running(root, port):
    """consentd as an init system would start it, inside."""
    log = root.path / "var/log/consentd.log"
    with open(log, "ab") as out:
        process = subprocess.Popen(["chroot", root.path, "/usr/sbin/consentd"], stdout=out, stderr=out)
    try:
        wait_for(lambda: process.poll() is not None or get(port) == (200, b"ok\n"), 30)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0


def ask(port, method="GET", path="/", body=None, headers=None):
    conn = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
    try:
        conn.request(method, path, body, {"Host": "localhost", **(headers or {})})
        answer = conn.getresponse()
        return answer.status, answer.read()
    finally:
        conn.close()


def get(port):
    try:
        return ask(port)
    except OSError:
        return None


def choose(port):
    body = json.dumps({"grant": ["analytics"], "deny": ["marketing"], "mth": "panel.save"})
    status, text = ask(port, "POST", "/.consent/choice", body,
                       {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"})
    assert status == 201 and json.loads(text)["recorded"]


def records(root):
    return root("consentctl", "audit", "query", "--kind", "event", "--journal", "-o", "jsonl").count('"eid"')


def configure(root, origin, port):
    (root.path / CONFIG).write_text(json.dumps({
        "listen": [{"address": f"{LOOPBACK}:{port}"}], "workers": 2, "keys": "/" + KEYS,
        "admin": {"socket": "/run/consentd/admin.sock"},
        "sites": [{"name": "s", "hosts": ["localhost"], "origins": [origin.url],
                   "policy": "/etc/consentd/policy.json"}]}))


def check_installed(root):
    assert root.stat(KEYS) == ("root", "consentd", "640")
    assert root.stat(STATE) == ("consentd", "consentd", "750")
    assert root.stat(STATE + "/journal") == ("consentd", "consentd", "750")
    assert root.stat("etc/consentd/tls") == ("root", "consentd", "750")
    assert root.stat("usr/sbin/consentd") == ("root", "root", "755")


def test_install_upgrade_remove_purge(debian):
    root, (old, new) = debian
    origin, port = Origin(), free_port()

    said = root.install(old)  # the example configuration names certificates that are not there
    assert "installed and not started" in said and "consentd -t" in said
    check_installed(root)
    for page in ("man8/consentd.8.gz", "man1/consentctl.1.gz", "man5/consentd.json.5.gz"):
        assert root.has("usr/share/man/" + page)
    assert "consentd-audit" in (root.path / "etc/group").read_text()
    assert root("dpkg", "--verify", "consentd") == "" and root("consentd", "--version") == "consentd 0.1.0\n"
    keys = (root.path / KEYS).read_bytes()
    assert keys and b'"tok"' in keys

    configure(root, origin, port)
    assert "good" in root("consentd", "-t")
    with running(root, port) as process:
        choose(port)
        stop, failed, cnt = threading.Event(), [], [0]

        def load():
            while not stop.is_set():
                cnt[0] += 1
                answer = get(port)
                if answer != (200, b"ok\n"):
                    failed.append(answer)
        thread = threading.Thread(target=load)
        thread.start()
        before = os.stat(f"/proc/{process.pid}/exe").st_ino
        said = root.install(new)  # the running version goes on as the new one
        stop.set()
        thread.join()
        assert "consentd: done: version" in said and failed == [] and cnt[0] > 10
        assert os.stat(f"/proc/{process.pid}/exe").st_ino != before and process.poll() is None
        choose(port)
        assert root("consentctl", "status").startswith("version")
    assert "0.2.0" in root("dpkg-query", "-W", "consentd")
    assert (root.path / KEYS).read_bytes() == keys and LOOPBACK in (root.path / CONFIG).read_text()
    check_installed(root)
    assert records(root) == 2

    root("dpkg", "-r", "consentd")  # the programs go, what is the operator's stays
    assert not root.has("usr/sbin/consentd") and not root.has("usr/share/consentd")
    assert root.has(CONFIG) and (root.path / KEYS).read_bytes() == keys and root.has(STATE + "/journal")
    root.install(new)
    assert (root.path / KEYS).read_bytes() == keys and records(root) == 2
    with running(root, port):
        choose(port)

    said = root("dpkg", "-P", "consentd")  # the record of consent has to be kept
    assert "the record of consent stays in /var/lib/consentd" in said
    assert not root.has(CONFIG) and not root.has("etc/consentd/policy.json") and not root.has("etc/consentd/tls")
    assert root.stat(KEYS) == ("root", "root", "600") and root.stat(STATE)[:2] == ("root", "root")
    root.install(new)
    check_installed(root)
    assert (root.path / KEYS).read_bytes() == keys
    configure(root, origin, port)
    assert records(root) == 3
    with running(root, port):
        choose(port)

    root("sh", "-c", "echo consentd consentd/purge_records boolean true | debconf-set-selections")
    root("dpkg", "-P", "consentd")  # unless the operator says so
    assert not root.has(STATE) and not root.has("etc/consentd")
    root.install(old)
    check_installed(root)
    assert (root.path / KEYS).read_bytes() != keys
    origin.stop()
