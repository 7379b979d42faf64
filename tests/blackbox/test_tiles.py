"""The public log at the sizes where trees and tiles change their shape, read over HTTP as an auditor does.

One log grows from nothing past three levels of tiles. At each size everything that is served is held
against a tree made of the entries by merkle.py, every proof against the signed root, and every two
checkpoints against each other.
"""
import base64
import hashlib
import itertools
import json
import os
import struct
import subprocess

import merkle
from harness import Proxy, wait_for
from test_failures import EIO, FOREVER, Faults, faults_fixture  # pylint: disable=unused-import  # a fixture
from test_ledger import LOAD
from test_log import LOG, entries_of, fetch, root_by_proof, root_of, signed, signed_size, tile_path, vkey_of

SIZES = (1, 2, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537)
SITE = "www.example.org"  # ledger_load.c's


def grow(proxy, more):
    """So many records, by ledger_load on the folder of a proxy that is stopped."""
    run = subprocess.run([str(LOAD), "run", str(proxy.folder / "state"), "-", str(more), "256", str(1 << 24)],
                         input="\n", capture_output=True, text=True, check=False, timeout=300,
                         env=dict(os.environ, LEDGER_LOG="1"))
    assert run.returncode == 0 and f"done {more} events" in run.stdout, run.stderr


def start_empty(folder, faults, monkeypatch):
    """A proxy whose journal takes nothing: its log has no leaf yet."""
    keys = {"tok": os.urandom(32), "unsub": os.urandom(32), "idx": b"\x33" + bytes(31), "log": b"\x44" + bytes(31)}
    (folder / "keys.json").write_text(json.dumps({"keys": [
        {"kid": 1, "use": use, "state": "active", "not_before": 0, "key": base64.urlsafe_b64encode(key).decode().rstrip("=")}
        for use, key in keys.items()]}))
    (folder / "keys.json").chmod(0o600)
    disk = Faults(folder)
    disk.set(sync=(EIO, FOREVER))
    monkeypatch.setenv("LD_PRELOAD", faults)
    monkeypatch.setenv("FAULTS", str(disk.path))
    return Proxy(folder, ledger={"name": SITE, "segment_size": "16MiB"}), disk


def absent(proxy, *paths):
    for path in paths:
        assert proxy.get(LOG + path).status == 404, path


def check_empty(proxy):
    absent(proxy, "checkpoint", "tile/0/000", "tile/0/000.p/1", "tile/0/000.p/0", "tile/entries/000.p/1")
    out = proxy.ctl("audit", "prove", "1:0")
    assert out.returncode != 0 and out.stderr.startswith("consentctl: ")


def check_refused(proxy, size):
    """Another spelling of a name, a way out of the folder, more than was signed."""
    last, width = size // 256, size % 256
    absent(proxy, tile_path(0, last, width + 1) if width < 255 else tile_path(0, last + 1, 1),
           tile_path("entries", last + 1, 1), tile_path(0, last + 1), tile_path(2, 0), tile_path(3, 0, 1),
           "tile/0/0", "tile/0/00", "tile/00/000", "tile/8/000", "tile/64/000", "tile/-1/000", "tile/0/x000/000",
           "tile/0/1000", "tile/0/000/", "tile//0/000", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/01",
           "tile/0/000.p/256", "tile/0/000.p/257", "tile/0/000.p/1/", "tile/0/000.p/1.p/1", "tile/0/000.p/+1", "tile/0/",
           "tile/entries/", "tile/data/000", "TILE/0/000", "Checkpoint", "checkpoint/", "checkpoints", "checkpoint.tmp",
           "../../keks.json", "tile/../../keks.json", "tile/0/../../../keks.json", "..%2f..%2fkeks.json",
           "tile/0/%2e%2e/000", "tile%2f0%2f000", "tile/0/000%00", "tile/0/000.p%2f1", "1/../checkpoint",
           "1/checkpoint", "65/checkpoint", "256/checkpoint", "001/checkpoint")


def check_tiles(proxy, size, entries):
    """Each tile and bundle, full and partial, of each level."""
    hashes = [merkle.leaf_hash(e) for e in entries]
    level = 0
    while hashes:
        for number in range((len(hashes) + 255) // 256):
            tile = hashes[256 * number:256 * number + 256]
            assert fetch(proxy, tile_path(level, number, len(tile))) == b"".join(tile), (size, level, number)
        hashes = [merkle.fold(hashes[i:i + 256]) for i in range(0, len(hashes) - 255, 256)]
        level += 1
    for level, count in enumerate((size, size >> 8, size >> 16)):  # and nothing beside them
        if count % 256:
            absent(proxy, tile_path(level, count // 256))
        else:
            absent(proxy, tile_path(level, count // 256, 1))


def check_proofs(proxy, vkey, size, root, entries):
    """Proofs at the edges of tiles and trees, by our Merkle code and by `consentctl audit verify-proof`."""
    proof = proxy.folder / "e.tlog-proof"
    edges = {0, 1, size // 3, size // 2, size - 2, size - 1, 254, 255, 256, 257, 511, 512, 65279, 65280, 65535, 65536}
    for leaf in sorted(e for e in edges if 0 <= e < size):
        out = proxy.ctl("audit", "prove", f"1:{leaf}", "--disclose")
        assert out.returncode == 0, out.stderr
        lines = out.stdout.split("\n")
        end = lines.index("")
        assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[2] == f"index {leaf}"
        extra = base64.b64decode(lines[1].removeprefix("extra "), validate=True)
        assert hashlib.sha256(b"consentd.event.v1\0" + extra).digest() == entries[leaf]
        path = [base64.b64decode(line, validate=True) for line in lines[3:end]]
        assert root_by_proof(merkle.leaf_hash(entries[leaf]), leaf, size, path) == root
        assert merkle.Verifier(vkey).checkpoint("\n".join(lines[end + 1:])) == (vkey.split("+")[0], size, root)
        proof.write_text(out.stdout)
        check = proxy.ctl("audit", "verify-proof", str(proof), "--vkey", vkey)
        assert check.returncode == 0 and f"leaf {leaf} of {size}" in check.stdout, check.stderr
        for other in (leaf - 1, leaf + 1, size, 2 ** 63):  # the same path somewhere else
            proof.write_text(out.stdout.replace(f"\nindex {leaf}\n", f"\nindex {other}\n"))
            assert proxy.ctl("audit", "verify-proof", str(proof), "--vkey", vkey).returncode != 0
    assert proxy.ctl("audit", "prove", f"1:{size}").returncode == 1


def check_size(proxy, size):
    """Everything at one size; its tree and root."""
    vkey = vkey_of(proxy)
    origin, got, root = merkle.Verifier(vkey).checkpoint(fetch(proxy, "checkpoint").decode())
    assert (origin, got) == (f"{SITE}/consent/1", size)
    entries = entries_of(proxy, size)
    for number in range((size + 255) // 256):
        bundle = fetch(proxy, tile_path("entries", number, min(256, size - 256 * number)))
        assert len(bundle) == 34 * min(256, size - 256 * number) and struct.unpack(">H", bundle[:2]) == (32,)
    assert root_of([merkle.leaf_hash(e) for e in entries]) == root
    check_tiles(proxy, size, entries)
    check_refused(proxy, size)
    check_proofs(proxy, vkey, size, root, entries)
    tree = merkle.Tree(size, lambda level, number, width: fetch(proxy, tile_path(level, number, width)))
    assert tree.root(0, size) == root
    return tree, root, entries


def check_consistency(seen):
    """Every two checkpoints, by proofs made of the later one's tiles; and a wrong one is none."""
    for (old, old_root), (tree, root) in itertools.combinations(seen, 2):
        proof = tree.consistency(old.size)
        assert merkle.is_consistent(old.size, old_root, tree.size, root, proof), (old.size, tree.size)
        assert not merkle.is_consistent(old.size, merkle.leaf_hash(old_root), tree.size, root, proof)
        assert tree.root(0, old.size) == old_root


def test_every_shape_of_the_tree(tmp_path, faults, monkeypatch):
    proxy, disk = start_empty(tmp_path, faults, monkeypatch)
    wait_for(lambda: "ledger.failed" in proxy.log())
    check_empty(proxy)
    disk.set()
    signed(proxy, 1)  # the notice
    seen, before = [], []
    for size in SIZES:
        if size > 1:
            proxy.terminate()
            proxy.process.wait(30)
            grow(proxy, size - len(before))
            proxy.start()
            signed(proxy, size)
        tree, root, entries = check_size(proxy, size)
        assert entries[:len(before)] == before
        before = entries
        seen.append((tree, root))
    check_consistency(seen)
    assert signed_size(proxy) == SIZES[-1]
    out = proxy.ctl("audit", "verify", timeout=120)
    assert out.returncode == 0, out.stderr
    proxy.stop()
