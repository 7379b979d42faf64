"""Redis is away: what each command of an auditor answers then, with the daemon and without it.

The log has three months, and the journal the last one of them (test_dropped.py).
"""
import json

import pytest

from harness import wait_for
from test_dropped import make_fixture  # pylint: disable=unused-import  # a fixture
from test_failures import faults_fixture  # pylint: disable=unused-import  # a fixture


@pytest.fixture(name="months")
def months_fixture(make):
    months = make()
    months.redis.kill()
    wait_for(lambda: '"partial":true' in months.ctl("audit", "query", "--limit", "1").stdout
             or "Redis is away" in months.ctl("audit", "query", "--limit", "1").stderr, 30)
    return months


def without_daemon(months):
    months.proxy.process.terminate()
    months.proxy.process.wait(30)


def check_stats(months, *how):
    """All that is there is told, with the span; a script learns that it is not the whole."""
    out = months.ctl("audit", "stats", "-o", "jsonl", *how)
    days = [json.loads(line) for line in out.stdout.splitlines()]
    if not how:
        last = days.pop()
        assert last["store"] == "journal" and last["from"].startswith("2025-11-15T12:") and last["complete"] is False
    assert [day["day"] for day in days] == ["2025-11-15"] and days[0]["decisions"] == 30, out.stdout
    assert "counted from the journal, which begins at 2025-11-15T12:" in out.stderr
    assert out.returncode == (0 if how else 1), "with --journal that is what was asked for"
    out = months.ctl("audit", "stats", *how)
    assert "2025-11-15" in out.stdout and out.returncode == (0 if how else 1)
    rows = months.ctl("audit", "query", "--kind", "event", "--journal", "--order", "oldest", "-o", "jsonl").stdout.splitlines()
    whole = months.ctl("audit", "stats", "--from", json.loads(rows[4])["event"]["ts"], "-o", "jsonl", *how)
    assert whole.returncode == 0 and "which has all of it" in whole.stderr
    assert how or json.loads(whole.stdout.splitlines()[-1])["complete"] is True


def test_statistics(months):
    check_stats(months)
    out = months.ctl("audit", "stats")
    assert "Redis is away: counted" in out.stderr and "how often the banner was shown is not known" in out.stderr
    check_stats(months, "--journal")
    warned = [months.ctl("audit", "stats", "--suppress", *more).stderr.count("may tell what is left out") for more in (
        ["--from", "2025-10-01", "--to", "2025-11-01"], ["--from", "2025-10-01", "--to", "2025-10-31"], [],
        ["--from", "2025-11-01", "--to", "2025-12-01"], ["--from", "2025-10-01", "--to", "2025-11-01", "--lang", "en"])]
    assert warned == [0, 1, 1, 1, 1], "one month that is over, and nothing else"
    without_daemon(months)
    check_stats(months)
    out = months.ctl("audit", "stats", "--direct")
    assert out.returncode == 1 and "--journal" in out.stderr and out.stdout == ""
    months.proxy.start()


def test_records(months):
    first = months.first[11]
    for _ in range(2):
        out = months.ctl("audit", "query", "--kind", "event", "--limit", "1000", "-o", "jsonl")
        assert out.returncode == 0 and "Redis is away: this is what the journal holds" in out.stderr
        assert len(out.stdout.splitlines()) == 30
        assert months.ctl("audit", "get", f"1:{first}").returncode == 0
        gone = months.ctl("audit", "get", "1:3")
        assert gone.returncode == 1 and gone.stdout == "" and "consentctl: " in gone.stderr
        assert months.ctl("audit", "oplog").returncode == 0
        deep = months.ctl("audit", "verify", "--deep")
        assert deep.returncode == 2 and "Redis" in deep.stderr
        assert months.ctl("audit", "prove", f"1:{first}", "--disclose").returncode == 0
        status = months.ctl("ledger", "status")
        assert status.returncode == 1 and "journal  newest" in status.stdout and "Redis: " in status.stderr
        if months.proxy.process.poll() is None:
            without_daemon(months)
    months.proxy.start()


def test_export(months, tmp_path):
    out = months.ctl("audit", "export", "--out", tmp_path / "f.jsonl")
    assert out.returncode == 1 and "--partial" in out.stderr
    assert not list(tmp_path.glob("f.jsonl*")), "nothing half written"
    vkey = months.ctl("ledger", "vkey").stdout.strip()
    out = months.ctl("audit", "export", "--partial", "--out", tmp_path / "f.jsonl", "--vkey", vkey)
    assert out.returncode == 0 and "Redis is away" in out.stderr, out.stderr
    *rows, last = (tmp_path / "f.jsonl").read_text().splitlines()
    manifest = json.loads(last)["manifest"]
    assert len(rows) == manifest["count"] == 30
    assert manifest["partial"]["journal"] == f"1:{months.first[11]}" and manifest["partial"]["ts"] > 0
