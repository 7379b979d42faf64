"""A C2SP tlog-witness cosigns the log: tlog-witness and tlog-cosignature, by a witness of the tests' own.

It keeps what it has cosigned of each origin, verifies the log's signature and the consistency proof, and
says no in all the ways that the specification knows. What it says must never be felt by a visitor.
"""
import base64
import json
import subprocess
import threading
import time

import pytest

import merkle
from harness import BUILD, Origin, Proxy, certificate, http_response, wait_for
from test_failures import again, grant, metric
from test_log import choose, fetch, journal_of, signed, signed_size, tile_path, vkey_of
from test_restart import NEXT, empty, start_again


class Witness:
    """The service; .mode: how it answers, None: as it should."""

    def __init__(self, tls=None, name="witness.example/w1"):
        self.signer = merkle.Cosigner(name)
        self.logs, self.sizes, self.codes, self.lock = {}, {}, [], threading.Lock()
        self.mode, self.delay = None, 0
        self.origin = Origin(handler=self.answer, tls=tls)

    @property
    def url(self):
        return f"witness+{self.origin.url}/submit#{self.signer.vkey}"

    def trust(self, vkey):
        self.logs[vkey.split("+")[0]] = merkle.Verifier(vkey)

    def answer(self, _conn, request):
        assert (request.method, request.target) == ("POST", "/submit/add-checkpoint"), request.target
        with self.lock:  # one question after the other
            code, kind, body = self.judge(request.body.decode())
            self.codes.append(code)
        return http_response(code, [("Content-Type", kind), ("Connection", "close")], body.encode())

    def judge(self, text):
        """add-checkpoint, step by step as the specification has it."""
        head, _, note = text.partition("\n\n")
        old, *proof = head.split("\n")
        word, _, number = old.partition(" ")
        assert word == "old" and str(int(number)) == number and len(proof) <= 63
        proof = [base64.b64decode(line, validate=True) for line in proof]
        assert all(len(p) == 32 for p in proof)
        old, origin = int(number), note.split("\n")[0]
        if self.mode in (403, 404, 422, 500):
            return self.mode, "text/plain", "no\n"
        if origin not in self.logs:
            return 404, "text/plain", "who?\n"
        _, size, root = self.logs[origin].checkpoint(note)
        have, have_root = self.sizes.get(origin, (0, None))
        assert old <= size
        if old != have or self.mode == "always another size":
            return 409, "text/x.tlog.size", f"{have}\n"
        if old == 0:
            assert not proof
        elif not merkle.is_consistent(old, have_root, size, root, proof):
            return 422, "text/plain", "no proof\n"
        if self.mode == "silent":
            time.sleep(20)
        time.sleep(self.delay)
        self.sizes[origin] = (size, root)
        signer = merkle.Cosigner(self.signer.name) if self.mode == "another key" else self.signer
        body = note.partition("\n\n")[0] + "\n" + ("another text\n" if self.mode == "another text" else "")
        other = merkle.Cosigner("witness.example/w2")
        lines = other.cosign(body, int(time.time())) + signer.cosign(body, int(time.time()))
        return 200, "text/plain", "" if self.mode == "nothing" else lines


@pytest.fixture(name="witness")
def witness_fixture():
    made = Witness()
    yield made
    made.origin.stop()


def watched(folder, witness, **config):
    """A proxy whose key the witness knows."""
    proxy = Proxy(folder, ledger=dict({"checkpoint_sinks": [witness.url]}, **config))
    witness.trust(vkey_of(proxy))
    return proxy


def cosigned(proxy, witness, size):
    """The checkpoint that is served has this size and both signatures."""
    verifier = merkle.Verifier(witness.signer.vkey)
    signed(proxy, size)

    def is_there():
        note = fetch(proxy, "checkpoint").decode()
        return int(note.split("\n")[1]) >= size and verifier.has_signed(note) and note
    note = wait_for(is_there, 30)
    assert verifier.checkpoint(note) == merkle.Verifier(vkey_of(proxy)).checkpoint(note)
    assert note.count("\u2014 ") == 2
    return note


def test_checkpoints_are_cosigned(tmp_path, witness):
    proxy = watched(tmp_path, witness)
    for count in (1, 1, 20, 300, 1):
        cosigned(proxy, witness, max(choose(proxy, count)) + 1)
    assert set(witness.codes[1:]) == {200}, witness.codes  # the first may have come before the key was known
    assert len(witness.sizes) == 1
    vkey = vkey_of(proxy)
    proof = tmp_path / "e.tlog-proof"
    out = proxy.ctl("audit", "prove", "1:7", "--disclose")
    assert merkle.Verifier(witness.signer.vkey).has_signed(out.stdout[out.stdout.index("\n\n") + 2:])
    proof.write_text(out.stdout)
    assert proxy.ctl("audit", "verify-proof", str(proof), "--vkey", vkey).returncode == 0
    assert proxy.ctl("audit", "verify").returncode == 0
    proxy.stop()
    # started again: it asks where the witness is, and its signature is replaced, not repeated
    del witness.codes[:]
    again(proxy)
    size = max(choose(proxy, 5)) + 1
    cosigned(proxy, witness, size)
    assert witness.codes[0] == 409 and set(witness.codes[1:]) == {200}
    proxy.stop()
    del witness.codes[:]
    again(proxy)  # nothing new: old size and size are one
    wait_for(lambda: witness.codes == [409, 200])
    cosigned(proxy, witness, size)
    assert "sink.failed" not in proxy.log()
    proxy.stop()


@pytest.mark.parametrize("mode, says", [
    (403, "does not know this log's key"), (404, "does not know this log"), (422, "does not convince"), (500, "answered 500"),
    ("always another size", "that this log does not continue"), ("another key", "no cosignature of witness.example/w1"),
    ("another text", "the cosignature of witness.example/w1 is wrong"), ("nothing", "no cosignature"),
    ("silent", "no answer in time")])
def test_a_witness_that_says_no(tmp_path, witness, mode, says):
    """Visitors notice nothing, the checkpoint is served without it, the log says why; then it goes on."""
    proxy = watched(tmp_path, witness)
    cosigned(proxy, witness, max(choose(proxy, 3)) + 1)
    before = proxy.log().count(says)
    witness.mode = mode
    size = max(choose(proxy, 3)) + 1
    signed(proxy, size)
    assert grant(proxy).status == 201
    wait_for(lambda: proxy.log().count(says) > before, 30)
    wait_for(lambda: metric(proxy, "checkpoint_sink_lag_seconds") > 0)
    assert grant(proxy).status == 201
    assert not merkle.Verifier(witness.signer.vkey).has_signed(fetch(proxy, "checkpoint").decode())
    witness.mode = None
    cosigned(proxy, witness, size)
    wait_for(lambda: metric(proxy, "checkpoint_sink_lag_seconds") == 0)
    proxy.stop()


def test_a_witness_slower_than_the_checkpoints(tmp_path, witness):
    """The newest is replaced before it is cosigned; `checkpoint.cosigned` has what all witnesses have signed."""
    slow = Witness(name="witness.example/slow")
    slow.delay = 2.5
    proxy = Proxy(tmp_path, ledger={"checkpoint_sinks": [witness.url, slow.url]})
    vkey = vkey_of(proxy)
    witness.trust(vkey)
    slow.trust(vkey)
    log, signers = merkle.Verifier(vkey), [merkle.Verifier(w.signer.vkey) for w in (witness, slow)]
    seen, newest = [], []
    signed(proxy, max(choose(proxy, 5)) + 1)
    until = time.monotonic() + 14
    while time.monotonic() < until:
        choose(proxy, 40)
        newest.append(fetch(proxy, "checkpoint").decode())
        answer = proxy.get("/.well-known/consent-log/checkpoint.cosigned")
        if answer.status == 200 and answer.body.decode() not in seen:
            assert answer.header("Cache-Control") == "no-cache" and answer.header("Content-Type").startswith("text/plain")
            seen.append(answer.body.decode())
        time.sleep(0.2)
    assert not any(signers[1].has_signed(note) for note in newest)
    both = [note for note in seen if all(s.has_signed(note) for s in signers)]
    assert len(both) >= 3 and seen[seen.index(both[0]):] == both, seen
    sizes = [log.checkpoint(note)[1] for note in both]
    assert sizes == sorted(set(sizes)) and "sink.failed" not in proxy.log()[proxy.log().find("sink.works"):]
    # each is the beginning of the newest log
    size = signed_size(proxy)
    tree = merkle.Tree(size, lambda level, number, width: fetch(proxy, tile_path(level, number, width)))
    _, _, root = log.checkpoint(fetch(proxy, "checkpoint").decode())
    for note in both:
        _, old, old_root = log.checkpoint(note)
        assert old < size and merkle.is_consistent(old, old_root, size, root, tree.consistency(old))
    # a proof comes with the cosigned tree where that has the leaf, else with the newest
    out = proxy.ctl("audit", "prove", f"1:{sizes[0] - 1}", "--disclose").stdout
    note = out[out.index("\n\n") + 2:]
    assert all(s.has_signed(note) for s in signers)
    (tmp_path / "e").write_text(out)
    assert proxy.ctl("audit", "verify-proof", str(tmp_path / "e"), "--vkey", vkey).returncode == 0
    assert proxy.ctl("audit", "prove", f"1:{size - 1}").returncode == 0
    assert proxy.ctl("audit", "verify").returncode == 0
    # one that is away for good keeps nobody else's from being shown
    slow.origin.stop()
    last = max(choose(proxy, 3))

    def shown():
        text = fetch(proxy, "checkpoint.cosigned").decode()
        return log.checkpoint(text)[1] > last and signers[0].has_signed(text)
    wait_for(shown, 30)
    proxy.stop()


def test_the_next_log_begins_with_the_witness_anew(tmp_path, witness):
    """And a witness that has a longer tree of a log than there is signs nothing."""
    proxy = watched(tmp_path, witness)
    size = max(choose(proxy, 5)) + 1
    cosigned(proxy, witness, size)
    name = vkey_of(proxy).split("+")[0]
    proxy.stop()
    empty(journal_of(proxy))
    start_again(proxy)
    assert vkey_of(proxy).split("+")[0].endswith(f"/{NEXT}")
    signed(proxy, max(choose(proxy, 3)) + 1)
    wait_for(lambda: "answered 404" in proxy.log())
    witness.trust(vkey_of(proxy))
    cosigned(proxy, witness, signed_size(proxy))
    assert witness.sizes[name][0] >= size and len(witness.sizes) == 2
    name = vkey_of(proxy).split("+")[0]
    witness.sizes[name] = (10 ** 6, bytes(32))
    choose(proxy, 3)
    wait_for(lambda: "a tree of 1000000 leaves that this log does not continue" in proxy.log(), 20)
    proxy.stop()


def test_over_tls(tmp_path):
    authority = certificate(tmp_path, "witness-authority")
    witness = Witness(tls=certificate(tmp_path, "witness", ("127.0.0.1",), authority))
    proxy = watched(tmp_path, witness, checkpoint_ca=str(authority[0]))
    cosigned(proxy, witness, max(choose(proxy, 5)) + 1)
    proxy.stop()
    witness.origin.stop()


def test_a_key_that_makes_no_sense(tmp_path, witness):
    proxy = Proxy(tmp_path)
    log_key = vkey_of(proxy)
    proxy.stop()
    good = witness.url
    for url, says in ((good.split("#")[0], "expected "), (good[:-3], "not a vkey"), (good.replace("/w1+", "/w2+"), "mistyped"),
                      (good.split("#")[0] + "#" + log_key, "type 1"), (good.replace("witness+http:", "witness+ftp:"), "expected ")):
        proxy.config["ledger"]["checkpoint_sinks"] = [url]
        proxy.rewrite(json.loads(json.dumps(proxy.config)))
        refused = subprocess.run([str(BUILD / "consentd"), "-t", "-c", str(tmp_path / "consentd.json")],
                                 capture_output=True, text=True, check=False)
        assert refused.returncode != 0 and "checkpoint_sinks" in refused.stderr and says in refused.stderr, refused.stderr
