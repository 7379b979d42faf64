"""What an erased person leaves in memory: nothing, in no process, a little later.

Reads all that the processes have mapped (as root), for the id of the subject as bytes and as text, the
part of the cookie that has it, the secrets (r) of the records and the event ids that only they had.
"""
import base64
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

from harness import BUILD, ROOT, wait_for
from test_erasure import World, subject_of

SANITIZED = b"__asan_init" in (BUILD / "consentd").read_bytes() if (BUILD / "consentd").exists() else False
IDLE_S = float(os.environ.get("RESIDUE_IDLE", "8"))  # longer than a process takes to tidy up

pytestmark = [pytest.mark.skipif(SANITIZED, reason="AddressSanitizer keeps what is freed"),
              pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the memory of others")]


def memory_of(pid):
    """(name of the mapping, bytes) of everything that can be written."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights, *rest = line.split(maxsplit=5)
            start, end = (int(x, 16) for x in where.split("-"))
            if "w" not in rights or "[vvar" in line:
                continue
            data = b""
            try:
                mem.seek(start)
                while len(data) < end - start:
                    piece = mem.read(end - start - len(data))
                    if not piece:
                        break
                    data += piece
            except OSError:
                pass
            yield (rest[3] if len(rest) > 3 else "anonymous") + f" {where}", data


def processes(proxy):
    """role -> pid of the master and its children."""
    out = {"master": proxy.pid}
    for pid in pathlib.Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split():
        name = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        out[f"{name} {pid}"] = int(pid)
    return out


def found(proxy, patterns):
    """Where which of the patterns is: process, mapping, offset."""
    out = []
    for role, pid in processes(proxy).items():
        for mapping, data in memory_of(pid):
            for what, pattern in patterns.items():
                out += [(role, what, mapping, hex(m.start())) for m in re.finditer(re.escape(pattern), data)]
    return out


def patterns_of(cookie, secrets, events):
    token, subject = cookie.split("=", 1)[1], subject_of(cookie)
    text = base64.urlsafe_b64encode(subject).rstrip(b"=")
    return {"id": subject, "id as text": text[:21], "id in the cookie": token[24:44].encode(),
            **{f"r of {leaf}": r for leaf, r in secrets.items()},
            **{f"r of {leaf} as text": base64.b64encode(r)[:40] for leaf, r in secrets.items()},
            **{f"event {eid}": eid.encode()[:21] for eid in events},
            **{f"event {eid} as bytes": base64.urlsafe_b64decode(eid + "==") for eid in events}}


def use_all(world, cookie):
    """Everything that handles a person's records: pages, rights, operators' questions."""
    headers = [("Cookie", cookie), ("Content-Type", "application/json")]
    subject = base64.urlsafe_b64encode(subject_of(cookie)).rstrip(b"=").decode()
    for path in ("/", "/.consent/me", "/.consent/me/record?format=json", "/.consent/me/record?format=dpv"):
        assert world.proxy.get(path, headers).status == 200, path
    leaf = max(world.secrets())
    assert world.proxy.get(f"/.consent/me/proof/{leaf}", headers).status == 200
    assert world.proxy.ctl("subject", "show", "s_" + subject).returncode == 0
    assert world.proxy.ctl("subject", "export", "s_" + subject).returncode == 0
    rows = world.rows("--sub", "s_" + subject)
    assert world.proxy.ctl("audit", "prove", f"1:{leaf}", "--disclose").returncode == 0
    assert world.proxy.ctl("audit", "export", "--format", "jsonl", "--out", str(world.folder / "out")).returncode == 0
    return {row["event"]["eid"].removeprefix("e_") for row in rows.values()}


def test_nothing_of_an_erased_person_stays_in_memory(tmp_path):
    world = World(tmp_path)
    cookie = world.subject()
    world.shipped()
    world.verify()  # the log has a checkpoint
    events, secrets = use_all(world, cookie), world.secrets()
    assert len(events) == 3 and len(secrets) >= 3
    patterns = patterns_of(cookie, secrets, events)
    assert found(world.proxy, patterns), "nothing is found where it must be: the search is wrong"
    answer = world.proxy.get("/.consent/me/erase", [("Cookie", cookie), ("Content-Type", "application/json")],
                             "POST", json.dumps({"confirm": True}).encode())
    assert answer.status == 202
    wait_for(lambda: "aof=rewritten" in world.proxy.log(), 60)
    assert world.refused(cookie)
    time.sleep(IDLE_S)
    left = found(world.proxy, patterns)
    world.stop()
    assert not left, "\n".join(map(str, left[:60]))


@pytest.mark.parametrize("library", sorted(pathlib.Path("/usr/lib").glob("*/libjemalloc.so.2")), ids=lambda path: path.name)
def test_another_allocator_gets_back_what_it_gave(library):
    """redis-server's own, put before libc's: what a library got from it before main() began, too."""
    for command in ([BUILD / "consentctl", "rules", "check", "--rules", ROOT / "rules"], [BUILD / "consentd", "--version"]):
        out = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ, LD_PRELOAD=str(library)))
        assert out.returncode == 0, (command, out.returncode, out.stderr)
