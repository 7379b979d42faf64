"""A big export while it streams: constant memory, a right manifest, every line its commitment; and a signer
that does not answer.

LEDGER_EXPORT in the environment says how many records (1000000 by hand).
"""
import base64
import hashlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import merkle
from admin import Connection
from harness import BUILD, Proxy, Redis, wait_for
from test_audit_api import canonical, check_manifest, commitment, split_export
from test_failures import settled
from test_ledger import LOAD
from test_log import choose, entries_of, signed, signed_size, vkey_of

COUNT = int(os.environ.get("LEDGER_EXPORT", "20000"))
ROOM_MIB = 160 if "asan" in BUILD.name else 16  # the sanitizer keeps 64 MiB of what was freed, and its notes on it
SITE = "www.example.org"  # ledger_load.c's


def peak(pid):
    """VmHWM of a process, in KiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def keys_of_the_load(folder):
    keys = {"tok": os.urandom(32), "unsub": os.urandom(32), "idx": b"\x33" + bytes(31), "log": b"\x44" + bytes(31)}
    (folder / "keys.json").write_text(json.dumps({"keys": [
        {"kid": 1, "use": use, "state": "active", "not_before": 0, "key": base64.urlsafe_b64encode(key).decode().rstrip("=")}
        for use, key in keys.items()]}))
    (folder / "keys.json").chmod(0o600)


@pytest.fixture(name="filled", scope="module")
def filled_fixture(tmp_path_factory):
    """A proxy over COUNT records, all of them in Redis and signed."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "redis").mkdir()
    (folder / "state").mkdir()
    keys_of_the_load(folder)
    run = subprocess.run([str(LOAD), "run", str(folder / "state"), "-", str(COUNT), "256", str(64 << 20)], input="\n",
                         capture_output=True, text=True, check=False, timeout=600, env=dict(os.environ, LEDGER_LOG="1"))
    assert run.returncode == 0, run.stderr
    redis = Redis(folder / "redis")
    proxy = Proxy(folder, ledger={"redis": redis.url, "name": SITE, "segment_size": "64MiB"})
    signed(proxy, COUNT + 1)
    wait_for(lambda: settled(proxy), 500)
    yield proxy
    proxy.stop()
    redis.stop()


def test_a_big_export_streams(filled, tmp_path, record_property):
    """The process that streams needs no more for all of them than for a few."""
    admin = filled.role("admin")
    path = tmp_path / "export.jsonl"
    ask = Connection(filled.config["admin"]["socket"], timeout=500)
    ask.request("GET", "/api/v1/export?limit=10&to=1")  # warm
    ask.getresponse().read()
    ask.close()
    before, began = peak(admin), time.monotonic()
    conn = Connection(filled.config["admin"]["socket"], timeout=500)
    conn.request("GET", "/api/v1/export?disclose=1")
    answer = conn.getresponse()
    assert answer.status == 200
    with open(path, "wb") as f:
        while piece := answer.read(1 << 16):
            f.write(piece)
    conn.close()
    seconds, grown = time.monotonic() - began, peak(admin) - before
    record_property("seconds", round(seconds, 1))
    record_property("grown_kib", grown)
    print(f"{COUNT} records, {path.stat().st_size} bytes in {seconds:.1f} s; VmHWM {peak(admin)} KiB, {grown} KiB more")
    assert grown < ROOM_MIB * 1024, f"{grown} KiB more for {COUNT} records"
    size = signed_size(filled)
    entries = entries_of(filled, size)
    body, manifest, text, sig = split_export(path.read_bytes())
    check_manifest(body, manifest, text, sig, vkey_of(filled), tmp_path)
    leaves = []
    for line in body.splitlines():
        row = json.loads(line)
        cmt = commitment(base64.urlsafe_b64decode(row["r"] + "="), canonical(row["event"]))
        assert cmt == entries[row["leaf"]], row["leaf"]
        assert base64.urlsafe_b64encode(merkle.leaf_hash(cmt)).decode().rstrip("=") == row["leafhash"]
        leaves.append(row["leaf"])
    assert leaves == list(range(COUNT)) and manifest["count"] == COUNT
    assert (manifest["first"], manifest["last"]) == ("1:0", f"1:{COUNT - 1}")
    assert manifest["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_signer_that_does_not_answer(filled):
    """The export is cut without its manifest, visitors are served, and the log is signed later."""
    conn = Connection(filled.config["admin"]["socket"], timeout=60)
    conn.request("GET", "/api/v1/export")
    answer = conn.getresponse()  # on record, and begun; the socket's buffers hold the rest back
    ledger, size = filled.role("ledger"), signed_size(filled)
    os.kill(ledger, signal.SIGSTOP)
    try:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)) as cut:
            answer.read()
        if isinstance(cut.value, http.client.IncompleteRead):
            assert b'{"manifest":' not in cut.value.partial
        assert "the ledger does not sign" in filled.log()
        assert filled.get("/").status == 200
    finally:
        os.kill(ledger, signal.SIGCONT)
    conn.close()
    assert filled.role("ledger") == ledger
    signed(filled, max(choose(filled, 3)) + 1)
    assert signed_size(filled) > size
