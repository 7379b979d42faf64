"""The README's first command, as a newcomer runs it: conf/quickstart --check, and its end."""
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_pair():
    """Two free ports in a row."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
                return port
            except OSError:
                continue


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # a short path: sockets live in it, and the user nobody must reach it
    path = pathlib.Path(f"/var/tmp/consentd-test-{os.getpid()}")
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def quickstart(folder, *args):
    return [str(ROOT / "conf/quickstart"), "--dir", str(folder), "--port", str(free_pair()), *args]


def left_behind(folder):
    found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout
    return [pid for pid in found.split() if int(pid) != os.getpid()]


def test_the_tour_keeps_every_promise(folder):
    done = subprocess.run(quickstart(folder, "--check"), capture_output=True, text=True,
                          timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " promises kept, 0 broken" in done.stdout
    assert left_behind(folder) == []


def test_a_second_run_and_a_broken_promise(folder):
    """With a rule set switched off for good the tour must see trackers, and fail."""
    config = folder / "etc/consentd.json"
    assert config.exists()
    # the configuration is written anew by each run, so the state is what is broken
    (folder / "state/rules.json").write_text(
        '{"revision":1,"modes":{"google-analytics":"off"},"history":[{"revision":1,"at_ms":0,'
        '"who":"test","from":"test","changes":[{"key":"google-analytics","from":"config","to":"off"}]}]}')
    done = subprocess.run(quickstart(folder, "--check", "--no-build"), capture_output=True,
                          text=True, timeout=500)
    assert done.returncode != 0, done.stdout
    assert "BROKEN" in done.stdout
    (folder / "state/rules.json").unlink()


def test_interrupt_stops_all_of_it(folder):
    # a shell's background jobs ignore SIGINT, and so would what they start
    process = subprocess.Popen(quickstart(folder, "--no-build"), stdout=subprocess.PIPE, text=True,
                               start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for line in process.stdout:
        if "Ctrl-C stops" in line:
            break
    assert left_behind(folder)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    end = time.monotonic() + 10
    while left_behind(folder) and time.monotonic() < end:
        time.sleep(0.1)
    assert left_behind(folder) == []
