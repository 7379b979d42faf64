"""consentctl with what people, scripts and full disks do to it: statuses, reasons, nothing half written."""
import json
import os
import pathlib
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from harness import BUILD, ROOT, Origin, Proxy, Redis, wait_for
from test_log import choose

RULES = str(ROOT / "rules")
PAGE = ("filter", "--rules", RULES, "--url", "https://x.example/")


@pytest.fixture(name="proxy", scope="module")
def proxy_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    redis, origin = Redis(folder), Origin()
    proxy = Proxy(folder, origin, ledger={"redis": redis.url})
    choose(proxy, 20)
    wait_for(lambda: "lacks 0 records" in proxy.ctl("ledger", "status").stdout, 30)
    wait_for(lambda: proxy.ctl("audit", "verify").returncode == 0, 30)
    proxy.redis = redis
    yield proxy
    proxy.stop()
    redis.stop()
    origin.stop()


def command(proxy, *args, **how):
    words = [a if isinstance(a, bytes) else str(a) for a in args]
    return subprocess.run([str(BUILD / "consentctl"), "-c", str(proxy.folder / "consentd.json"), *words],
                          check=False, timeout=60, stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE, **how})


@pytest.mark.parametrize("args, code, words", [
    (("audit", "query", "--act", "withdraw", "--act", "custom"), 2, "--act is given twice"),
    (("audit", "query", "--lang", ""), 2, "--lang needs a value"), (("policy", "check", ""), 2, "an argument is empty"),
    (("audit", "query", "--lang", b"\xff"), 2, '--lang "\\xff": expected a language'),
    (("audit", "query", "--lang", "\x1b[31m"), 2, '"\\x1b[31m"'), (("audit", "query", "--purpose", "a b"), 2, "a category"),
    (("audit", "query", "--doc", "!"), 2, "22 characters"), (("audit", "query", "--cursor", "x"), 2, "the page before"),
    (("audit", "query", "--cursor", "A" * 56), 1, "none of ours"),
    (("audit", "query", "--host", "x" * 300), 2, "a site's host"),
    (("audit", "query", "--journal", "--direct"), 2, "one of them"),
    (("audit", "query", "--kind", "notice", "--act", "withdraw"), 2, "visitors' events"),
    (("audit", "oplog", "--act", "withdraw"), 2, "visitors' events"),
    (("audit", "get", "1:1", "--from", "2026-01-01"), 2, "not expected"),
    (("audit", "export", "--granted", "yes"), 2, "needs a purpose"),
    (("audit", "export", "--from", "2026-11-02", "--to", "2026-11-01"), 2, "before"),
    (("audit", "export", "--from", "2096-01-01"), 1, "still to come"),
    (("audit", "export", "--format", "dpv", "--kind", "operator"), 2, "dpv"),
    (("audit", "export", "--vkey", "x", "--out", "x"), 2, "not a vkey"),
    (("audit", "verify", "--from", "2026-11-02", "--to", "2026-11-01"), 3, "before"),
    (("audit", "verify", "--running", "--from", "2026-11-02"), 3, "--deep"),
    (("audit", "verify", "--running", "--vkey", "x"), 3, "--vkey"),
    (("audit", "verify", "--offline", "/nowhere", "--vkey", "x"), 3, "/nowhere: No such"),
    (("audit", "verify-proof", "/nowhere", "--vkey", "x", "--commitment", "z"), 3, "64 hex digits"),
    (("subject", "export", "A" * 22, "--format", "xml"), 2, "json, dpv or csv"),
    (("subject", "show", "x"), 2, "22 characters"), (("rules", "set", "hotjar", "of"), 2, "enforce, report, off"),
    (("rules", "set", "hot\x1b[31mjar", "off"), 1, "hot\\x1b[31mjar"),
    (("rules", "set", "x" * 70000, "off"), 1, "longer than"), (("rules", "match", "--cookie", "_ga", "--consent", "x"), 2, "--consent"),
    (("unsubscribe", "check", "a@b.example", "x y"), 2, "32 characters"), (("unsubscribe", "export", "x y"), 2, "32 characters"),
    (("keys", "init", "/nowhere/keys.json"), 1, "/nowhere/keys.json: "), (("ledger", "retention", "--yes"), 2, "--drop"),
    (("scan", "https://x/", "--proxy", "x"), 2, "HOST:PORT"), (("scan", b"https://\xff/"), 2, "0xff"),
    (("scan", "https://x/", "--out", "/dev/null"), 2, "no folder"), ((*PAGE, "--consent", "x"), 2, "--consent")])
def test_what_makes_no_sense_is_said(proxy, args, code, words):
    done = command(proxy, *args)
    text = done.stderr.decode()
    assert done.returncode == code and words in text, (done.returncode, text)
    assert done.stdout == b"" and b"\x1b" not in done.stderr


def test_the_reason_is_never_lost(proxy):
    """A configuration that is not there, for every group of commands."""
    for words in (("unsubscribe", "link", "a@b.example", "news"), ("unsubscribe", "filter", "news"), ("policy", "show"),
                  ("audit", "query"), ("ledger", "retention"), ("subject", "erasures"), ("status",)):
        done = subprocess.run([str(BUILD / "consentctl"), "-c", "/nowhere.json", *words], capture_output=True, check=False,
                              text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode == 1 and "/nowhere.json" in done.stderr, (words, done.stderr)
    done = subprocess.run([str(BUILD / "consentctl"), "-c"], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 2 and "-c needs a file" in done.stderr
    assert proxy.process.poll() is None


PRINTING = [("status",), ("metrics",), ("rules", "list"), ("rules", "match", "--cookie", "_ga"), ("config", "check"),
            ("config", "reference"), ("policy", "show"), ("keys", "list", "KEYS"), ("audit", "query"),
            ("audit", "query", "--journal"), ("audit", "query", "--direct", "-o", "csv"), ("audit", "oplog"), ("audit", "get", "1:3"),
            ("audit", "stats"), ("audit", "export"), ("audit", "prove", "1:3"), ("subject", "export", "A" * 22), ("doc", "list"),
            ("unsubscribe", "link", "a@b.example", "news"), ("ledger", "retention"), ("ledger", "vkey"), ("ledger", "status"),
            ("--help",), ("--version",), ("audit", "--help"), ("audit", "query", "--help")]


@pytest.mark.parametrize("how", ["full", "closed"])
def test_an_answer_that_was_not_written_is_none(proxy, how):
    for words in PRINTING:
        words = [str(proxy.folder / "keys.json") if w == "KEYS" else w for w in words]
        if how == "full":
            with open("/dev/full", "wb") as full:
                done = command(proxy, *words, stdout=full)
        else:
            done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", str(BUILD / "consentctl"), "-c",
                                   str(proxy.folder / "consentd.json"), *words], stderr=subprocess.PIPE, check=False, timeout=60)
        assert done.returncode == 1 and b"standard output: " in done.stderr, (words, done.returncode, done.stderr)


def test_a_verification_that_was_not_written_found_nothing(proxy):
    """1 would say that something was changed."""
    for how in ((), ("--deep",), ("--running",)):
        with open("/dev/full", "wb") as full:
            assert command(proxy, "audit", "verify", *how, stdout=full).returncode == 2


def test_devices_and_folders_are_not_replaced(proxy, tmp_path):
    device = tmp_path / "device"
    os.mkfifo(device)
    for words in (("subject", "export", "A" * 22), ("audit", "export"), ("doc", "show", "0000")):
        for path in (device, tmp_path):
            done = command(proxy, *words, "--out", path)
            assert done.returncode == 1, words
        assert stat.S_ISFIFO(device.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["device"]


def test_a_part_of_somebody_else_is_not_written_to(proxy, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    part = tmp_path / "f.part"
    part.write_text("theirs")
    os.chown(part, 65534, 65534)
    done = command(proxy, "audit", "export", "--out", tmp_path / "f")
    assert done.returncode == 1 and b"f.part: is not a file of yours alone" in done.stderr
    assert part.read_text() == "theirs"
    part.unlink()
    (tmp_path / "elsewhere").write_text("kept")
    os.link(tmp_path / "elsewhere", part)
    assert command(proxy, "audit", "export", "--out", tmp_path / "f").returncode == 1
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_what_nobody_may_read_is_not_nothing(proxy):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.makedirs(folder + "/state/notices", 0o700)
        path = pathlib.Path(folder) / "consentd.json"
        path.write_text(json.dumps({**proxy.config, "state_dir": folder + "/state"}))
        path.chmod(0o644)
        os.chmod(folder + "/state", 0o700)
        done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", str(BUILD / "consentctl"),
                               "-c", str(path), "policy", "show"], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1 and "Permission denied" in done.stderr, done


def test_an_export_on_a_full_disk_and_one_that_is_interrupted(proxy, tmp_path):
    """The part and the note stay when there is something to go on from, and nothing where there is not."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)], check=True)
    try:
        (disk / "filler").write_bytes(b"x" * 8192)
        done = command(proxy, "audit", "export", "--out", disk / "f", "--disclose")
        assert done.returncode == 1 and b"f.part: No space left" in done.stderr, done.stderr
        assert not (disk / "f").exists()
        done = command(proxy, "subject", "export", "A" * 22, "--out", disk / "s")
        (disk / "filler").unlink()
        left = [p.name for p in disk.iterdir() if not p.name.startswith("f.")]
        assert left == (["s"] if done.returncode == 0 else []), left
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        assert command(proxy, "audit", "export", "--out", disk / "f", "--disclose").returncode == 0
        assert "manifest" in json.loads((disk / "f").read_text().splitlines()[-1])
        assert sorted(p.name for p in disk.iterdir() if p.name[0] == "f") == ["f"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    with subprocess.Popen([str(BUILD / "consentctl"), "-c", str(proxy.folder / "consentd.json"), "audit", "export", "--out",
                           str(tmp_path / "i")], stderr=subprocess.DEVNULL) as run:
        time.sleep(0.02)
        run.send_signal(signal.SIGINT)
    if (tmp_path / "i").exists():
        assert "manifest" in json.loads((tmp_path / "i").read_text().splitlines()[-1]), "whole, or not there"
    assert command(proxy, "audit", "export", "--out", tmp_path / "i").returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] == "i") == ["i"]


def test_what_redis_names_does_not_steer_a_terminal(proxy):
    """Counters are not sealed: whoever can write to Redis can name one."""
    [key] = proxy.redis.call("keys", "*:st:*").splitlines()
    evil = '\x1b]0;x\x07"},{"a'
    for field in (f"gl:{evil}:analytics:1", f"lang:{evil}:custom", f"gl:en:{evil}:1", f"g:{evil}:1"):
        assert proxy.redis.call("hset", key, field, "3") == "1"
    for by in ("day", "lang"):
        for form in ("table", "jsonl", "csv"):
            done = command(proxy, "audit", "stats", "--by", by, "-o", form)
            assert done.returncode == 0 and b"\x1b" not in done.stdout and b"?" in done.stdout, done.stdout
            if form == "jsonl":
                assert all("a" not in json.loads(line) for line in done.stdout.splitlines())
    for field in (f"gl:{evil}:analytics:1", f"lang:{evil}:custom", f"gl:en:{evil}:1", f"g:{evil}:1"):
        assert proxy.redis.call("hdel", key, field) == "1"


def test_a_note_that_somebody_forged(proxy, tmp_path):
    """The server's cursors are its own; whoever has another one is told how to begin again."""
    resume, part = tmp_path / "f.resume", tmp_path / "f.part"
    for cursor in ("A" * 400, "x", "\x1b[31m", "../../etc/passwd"):
        resume.write_text(f"7\n{cursor}\n/api/v1/export?format=jsonl\n")
        part.write_text("7 bytes")
        done = command(proxy, "audit", "export", "--out", tmp_path / "f")
        assert done.returncode == 1 and b"remove " + str(resume).encode() in done.stderr, done.stderr
        assert b"\x1b" not in done.stderr and part.read_text() == "7 bytes" and not (tmp_path / "f").exists()
    resume.unlink()
    assert command(proxy, "audit", "export", "--out", tmp_path / "f").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["f"]
