"""The Merkle log, judged by a verifier of its own: RFC 6962, C2SP tlog-tiles, -checkpoint, -proof.

Nothing here uses the project's code to verify: hashes are hashlib's, signatures openssl's.
"""
import base64
import hashlib
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import threading
import time

import pytest

from harness import Proxy, wait_for

LOG = "/.well-known/consent-log/"


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(leaves):
    """RFC 6962 2.1, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(root_of(leaves[:split]), root_of(leaves[split:]))


def root_by_proof(leaf, index, size, path):
    """RFC 9162 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf
    for p in path:
        assert sn > 0
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r


def read_checkpoint(note, vkey, folder):
    """(size, root) of a signed checkpoint; fails if the signature does not verify."""
    name, key_id, key = vkey.split("+", 2)
    raw = base64.b64decode(key, validate=True)
    assert raw[0] == 1 and len(raw) == 33
    assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() == key_id
    body, signatures = note.split("\n\n")
    body += "\n"
    origin, size, root = body.splitlines()
    assert origin == name
    [line] = [s for s in signatures.splitlines() if s.startswith(f"\u2014 {name} ")]
    signature = base64.b64decode(line.split(" ")[2], validate=True)
    assert signature[:4].hex() == key_id
    der = bytes.fromhex("302a300506032b6570032100") + raw[1:]
    (folder / "pub.der").write_bytes(der)
    (folder / "body").write_bytes(body.encode())
    (folder / "sig").write_bytes(signature[4:])
    subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", str(folder / "pub.der"),
                    "-rawin", "-in", str(folder / "body"), "-sigfile", str(folder / "sig")],
                   check=True, capture_output=True)
    return int(size), base64.b64decode(root, validate=True)


def tile_path(level, number, width=256):
    text = f"{number % 1000:03}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03}/{text}"
    return f"tile/{level}/{text}" + (f".p/{width}" if width < 256 else "")


def fetch(proxy, path):
    answer = proxy.get(LOG + path)
    assert answer.status == 200, path
    return answer.body


def entries_of(proxy, size):
    out = []
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        bundle = fetch(proxy, tile_path("entries", number, width))
        for i in range(width):
            (length,) = struct.unpack(">H", bundle[34 * i:34 * i + 2])
            assert length == 32
            out.append(bundle[34 * i + 2:34 * i + 34])
        assert len(bundle) == 34 * width
    return out


def choose(proxy, count=1, threads=8):
    """This many choices; every one must be recorded. The leaves that were named."""
    leaves, lock = [], threading.Lock()

    def work():
        while True:
            with lock:
                if len(leaves) >= count:
                    return
            body = json.dumps({"grant": ["analytics"], "deny": ["marketing"]}).encode()
            answer = proxy.get("/.consent/choice", [("Content-Type", "application/json")], "POST", body)
            if answer.status == 201:
                token = answer.header("Set-Cookie").split("=", 1)[1].split(";")[0]
                raw = base64.urlsafe_b64decode(token)
                with lock:
                    leaves.append(int.from_bytes(raw[34:41], "big"))

    workers = [threading.Thread(target=work) for _ in range(min(threads, count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(leaves)


def signed_size(proxy):
    answer = proxy.get(LOG + "checkpoint")
    return int(answer.body.decode().splitlines()[1]) if answer.status == 200 else 0


def signed(proxy, size):
    wait_for(lambda: signed_size(proxy) >= size, 10)


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory, origin):
    folder = tmp_path_factory.mktemp("log")
    os.chmod(folder, 0o755)
    proxy = Proxy(folder, origin)
    leaves = choose(proxy, 600)
    assert len(set(leaves)) == len(leaves)
    signed(proxy, max(leaves) + 1)
    yield proxy
    proxy.stop()


def journal_of(proxy):
    [tlog] = pathlib.Path(proxy.folder).glob("**/tlog")
    return tlog.parent


def backed_up(proxy, tmp_path):
    """The journal's folder and a copy of it beside the test's."""
    backup = tmp_path.with_name(tmp_path.name + "-backup")
    shutil.copytree(journal_of(proxy), backup)
    return journal_of(proxy), backup


def vkey_of(proxy):
    return proxy.ctl("ledger", "vkey").stdout.strip()


def test_the_tree_is_what_was_signed(proxy, tmp_path):
    note = fetch(proxy, "checkpoint").decode()
    size, root = read_checkpoint(note, vkey_of(proxy), tmp_path)
    leaves = [leaf_hash(e) for e in entries_of(proxy, size)]
    assert size >= 600 and root_of(leaves) == root
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        assert fetch(proxy, tile_path(0, number, width)) == b"".join(leaves[number * 256:number * 256 + width])
    full = [root_of(leaves[n * 256:n * 256 + 256]) for n in range(size // 256)]
    assert fetch(proxy, tile_path(1, 0, size // 256)) == b"".join(full)


def test_how_it_is_served(proxy, origin):
    del origin.requests[:]
    tile = proxy.get(LOG + "tile/0/000")
    assert "immutable" in tile.header("Cache-Control") and len(tile.body) == 8192
    assert proxy.get(LOG + "checkpoint").header("Cache-Control") == "no-cache"
    for path in ("", "tile/0/999", "tile/0/../checkpoint", "..%2fkeks.json", "tile/0/000.tmp", "x", "tile/0/0",
                 "../../../keks.json"):
        assert proxy.get(LOG + path).status == 404
    assert proxy.get(LOG + "checkpoint", method="POST").status == 405
    assert not origin.requests


def test_the_files_name_nobody(proxy):
    data = b"".join(p.read_bytes() for p in (journal_of(proxy) / "tlog/tile").rglob("*") if p.is_file())
    for word in (b"analytics", b"localhost", b"grant", b"subject"):
        assert word not in data


@pytest.mark.parametrize("leaf", [0, 1, 255, 256, 511, 599])
def test_proofs(proxy, tmp_path, leaf):
    out = proxy.ctl("audit", "prove", f"1:{leaf}", "--disclose")
    assert out.returncode == 0, out.stderr
    lines = out.stdout.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[1].startswith("extra ") and lines[2] == f"index {leaf}"
    end = lines.index("")
    extra = base64.b64decode(lines[1][6:], validate=True)
    event = json.loads(extra[32:])
    assert event["v"] == 1
    cmt = hashlib.sha256(b"consentd.event.v1\0" + extra).digest()
    note = "\n".join(lines[end + 1:])
    size, root = read_checkpoint(note, vkey_of(proxy), tmp_path)
    path = [base64.b64decode(line, validate=True) for line in lines[3:end]]
    assert root_by_proof(leaf_hash(cmt), leaf, size, path) == root
    # ours says so, too, and only of this
    proof = tmp_path / "e.tlog-proof"
    proof.write_text(out.stdout)
    check = proxy.ctl("audit", "verify-proof", str(proof), "--vkey", vkey_of(proxy))
    assert check.returncode == 0 and f"leaf {leaf} of {size}" in check.stdout and event.get("eid", "doc") in check.stdout
    for i in range(0, len(out.stdout), 29):
        text = out.stdout[:i] + chr(ord(out.stdout[i]) ^ 1 if ord(out.stdout[i]) < 128 else 65) + out.stdout[i + 1:]
        proof.write_text(text)
        assert proxy.ctl("audit", "verify-proof", str(proof), "--vkey", vkey_of(proxy)).returncode != 0, text


def test_a_proof_that_discloses_nothing(proxy, tmp_path):
    size = signed_size(proxy)
    cmt = entries_of(proxy, size)[7].hex()
    out = proxy.ctl("audit", "prove", "1:7")
    assert "extra" not in out.stdout
    proof = tmp_path / "p"
    proof.write_text(out.stdout)
    args = ("audit", "verify-proof", str(proof), "--vkey", vkey_of(proxy))
    assert proxy.ctl(*args).returncode == 1
    assert proxy.ctl(*args, "--commitment", cmt).returncode == 0
    assert proxy.ctl(*args, "--commitment", cmt[:-1] + ("0" if cmt[-1] != "0" else "1")).returncode == 1
    assert proxy.ctl("audit", "prove", "1:999999").returncode == 1
    assert proxy.ctl("audit", "prove", "7").returncode == 2
    assert proxy.ctl("audit", "verify-proof", str(proof)).returncode == 3


def test_verification(proxy, tmp_path):
    out = proxy.ctl("audit", "verify")
    assert out.returncode == 0, out.stderr
    assert "every entry leads to the signed root" in out.stdout and "records fit the log" in out.stdout
    shutil.copytree(journal_of(proxy) / "tlog", tmp_path / "copy")
    out = proxy.ctl("audit", "verify", "--offline", str(tmp_path / "copy"), "--vkey", vkey_of(proxy))
    assert out.returncode == 0, out.stderr
    assert proxy.ctl("audit", "verify", "--offline", str(tmp_path)).returncode == 3
    assert proxy.ctl("audit", "verify", "--offline", str(tmp_path), "--vkey", vkey_of(proxy)).returncode == 2
    # another log's key
    other = "www.netstreem.com/consent/1+c182798a+AddZeTu8E6KBmoJ8dq22+6ikmu4Af0ny0JktmbglrSxI"
    assert proxy.ctl("audit", "verify", "--vkey", other).returncode == 1


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1]))


def test_what_was_changed_is_found(tmp_path, origin):
    """One byte of anything stored, and records taken away: each is found, and named."""
    proxy = Proxy(tmp_path, origin)
    signed(proxy, max(choose(proxy, 300)) + 1)
    journal = journal_of(proxy)
    vkey = vkey_of(proxy)
    proxy.stop()
    files = [p for p in journal.rglob("*") if p.is_file() and p.name != "lock"]
    good = tmp_path / "good"
    shutil.copytree(journal, good)
    size = int((journal / "tlog/checkpoint").read_text().splitlines()[1])

    def used(path):  # bytes of the file that mean something
        return len(path.read_bytes().rstrip(b"\0")) if path.name.startswith("wal-") else path.stat().st_size

    def current(path):  # partial tiles of older checkpoints prove nothing any more
        return ".p" not in str(path) or path.name in (str(size % 256), str(size // 256))

    def restore():
        shutil.rmtree(journal)
        shutil.copytree(good, journal)

    assert proxy.ctl("audit", "verify").returncode == 0
    for path in files:
        if not current(path):
            continue
        length = used(path)
        spots = {length // 3, length // 2, length - 2} | ({70, 100} if path.name.startswith("wal-") else {0})
        for at in sorted(spots):
            flip(path, at)
            out = proxy.ctl("audit", "verify")
            assert out.returncode in (1, 2), (path, at, out.stdout)
            assert out.stderr.startswith("consentctl: "), out.stderr
            flip(path, at)
    assert proxy.ctl("audit", "verify").returncode == 0
    for path in files: # a file that is gone
        if current(path):
            path.unlink()
            assert proxy.ctl("audit", "verify").returncode in (1, 2), path
            restore()
    (journal / "tlog/tile/0/000").unlink() # a lost tile is written again at the next start
    proxy.start()
    wait_for(lambda: "log.rebuilt" in proxy.log())
    proxy.stop()
    assert proxy.ctl("audit", "verify").returncode == 0
    restore()
    [wal] = journal.glob("wal-*") # the newest records
    data = wal.read_bytes()
    last = data.rindex(b"CBT1")
    wal.write_bytes(data[:last] + bytes(len(data) - last))
    out = proxy.ctl("audit", "verify")
    assert out.returncode == 1 and "signed, and gone from the journal" in out.stderr
    # a ledger that starts on it says so, gives no number out again, and signs the same past
    proxy.start()
    wait_for(lambda: "journal.corrupt" in proxy.log())
    assert "they were signed" in proxy.log()
    leaves = choose(proxy, 3)
    assert min(leaves) >= size
    signed(proxy, max(leaves) + 1)
    assert vkey_of(proxy) == vkey and "consentd_log_refused 0" in proxy.ctl("metrics").stdout
    assert int(next(line.split()[1] for line in proxy.ctl("metrics").stdout.splitlines()
                    if line.startswith("consentd_journal_missing_records "))) > 0
    out = proxy.ctl("audit", "verify")
    assert out.returncode == 1 and "the journal can't be read there" in out.stderr
    proxy.stop()


def test_kills_leave_one_history(tmp_path, origin):
    """kill -9 of the ledger under load: all that was acknowledged is there, every checkpoint a prefix."""
    proxy = Proxy(tmp_path, origin)
    seen, leaves = [], []
    load = threading.Thread(target=lambda: leaves.extend(choose(proxy, 1500)))
    load.start()
    for _ in range(4):
        time.sleep(0.7)
        os.kill(proxy.role("ledger"), signal.SIGKILL)
        answer = proxy.get(LOG + "checkpoint")
        if answer.status == 200:
            seen.append(answer.body.decode())
    load.join()
    signed(proxy, max(leaves) + 1)
    size, root = read_checkpoint(fetch(proxy, "checkpoint").decode(), vkey_of(proxy), tmp_path)
    hashes = [leaf_hash(e) for e in entries_of(proxy, size)]
    assert root_of(hashes) == root and len(set(leaves)) == len(leaves)
    for note in seen:
        old_size, old_root = read_checkpoint(note, vkey_of(proxy), tmp_path)
        assert root_of(hashes[:old_size]) == old_root
    assert proxy.ctl("audit", "verify").returncode == 0
    proxy.terminate()
    proxy.process.wait(30)
    assert "log.refused" not in proxy.log()
