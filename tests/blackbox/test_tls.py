"""TLS as a site needs it: stapled OCSP, two kinds of certificate, tickets that change, ACME."""
import datetime
import os
import pathlib
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from harness import LOOPBACK, Proxy, certificate, free_port, http_response, wait_for

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def openssl(*args, **more):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, input="", timeout=30,
                          check=False, **more)
    return done.stdout + done.stderr


class Site:
    """An authority, a certificate of it with its chain, and a proxy that staples what a file says."""

    def __init__(self, folder, origin, **tls):
        self.folder = pathlib.Path(folder)
        self.authority = certificate(folder, "authority")
        self.cert, self.key = certificate(folder, "server", ("localhost", LOOPBACK), self.authority)
        self.leaf = self.folder / "leaf.pem"
        self.leaf.write_bytes(self.cert.read_bytes())
        self.cert.write_bytes(self.cert.read_bytes() + self.authority[0].read_bytes())
        self.ocsp, port = self.folder / "server.ocsp", free_port()
        entry = {"cert": str(self.cert), "key": str(self.key), "ocsp": str(self.ocsp)}
        self.proxy = Proxy(folder, origin, listen=[{"address": f"{LOOPBACK}:{port}",
                                                    "tls": {"certificates": [entry], **tls}}])
        self.proxy.tls_port, self.proxy.ca = port, self.authority[0]

    def respond(self, leaf=None, authority=None, good=True, since=-60, until=86400):
        """A responder's answer about leaf, valid from since to until (seconds from now), into the file, at once."""
        authority = authority or self.authority
        issuer, about = (x509.load_pem_x509_certificate(pathlib.Path(p).read_bytes())
                         for p in (authority[0], leaf or self.leaf))
        key = serialization.load_pem_private_key(pathlib.Path(authority[1]).read_bytes(), None)
        now = datetime.datetime.utcnow()
        answer = ocsp.OCSPResponseBuilder().add_response(
            cert=about, issuer=issuer, algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus.GOOD if good else ocsp.OCSPCertStatus.REVOKED,
            this_update=now + datetime.timedelta(seconds=since),
            next_update=now + datetime.timedelta(seconds=until) if until is not None else None,
            revocation_time=None if good else now, revocation_reason=None)
        answer = answer.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(key, hashes.SHA256())
        new = self.folder / "ocsp.new"
        new.write_bytes(answer.public_bytes(serialization.Encoding.DER))
        new.replace(self.ocsp)

    def stapled(self):
        return openssl("s_client", "-connect", f"{LOOPBACK}:{self.proxy.tls_port}", "-servername", "localhost",
                       "-status", "-CAfile", self.authority[0])


def test_ocsp_is_stapled_while_it_is_good(tmp_path, origin):
    site = Site(tmp_path, origin)
    assert "OCSP response: no response sent" in site.stapled()
    assert "ocsp.missing" in site.proxy.log()
    site.respond()  # it comes later, and is taken by itself
    wait_for(lambda: "Cert Status: good" in site.stapled(), 20)
    assert "OCSP Response Status: successful" in site.stapled()

    def refused(reason):
        count = site.proxy.log().count(reason)

        def said():
            return site.proxy.log().count(reason) > count and "no response sent" in site.stapled()
        return said

    said = refused("does not say that the certificate is good")
    site.respond(good=False)
    wait_for(said, 20)
    said = refused("no OCSP response in DER")
    site.ocsp.write_bytes(b"half of a")
    wait_for(said, 20)
    said = refused("does not say until when")
    site.respond(until=None)
    wait_for(said, 20)
    foreign = certificate(tmp_path, "foreign")
    said = refused("issuer has not signed it")
    site.respond(authority=foreign)
    wait_for(said, 20)
    other, _ = certificate(tmp_path, "other", ("elsewhere.example",), site.authority)
    said = refused("about another certificate")
    site.respond(leaf=other)
    wait_for(said, 20)
    site.respond()
    wait_for(lambda: "Cert Status: good" in site.stapled(), 20)
    said = refused("it is too old, or of the future")
    site.respond(since=-86400 * 3, until=-86400)
    wait_for(said, 20)
    site.respond(until=12)  # ends while it is in use
    wait_for(lambda: "Cert Status: good" in site.stapled(), 20)
    wait_for(lambda: "no response sent" in site.stapled() and "ocsp.expired" in site.proxy.log(), 20)
    assert site.proxy.get("/", tls=True).status == 200  # all the while
    site.proxy.stop()


def rsa_certificate(folder, authority, names):
    cert, key = folder / "rsa.pem", folder / "rsa.key"
    extra = folder / "rsa.ext"
    extra.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rsa", "-keyout", key, "-out", folder / "rsa.csr")
    openssl("x509", "-req", "-in", folder / "rsa.csr", "-CA", authority[0], "-CAkey", authority[1],
            "-CAcreateserial", "-days", "2", "-extfile", extra, "-out", cert)
    return cert, key


def test_certificates_for_other_addresses_are_no_pair(tmp_path, origin):
    """Neither names a host: what they have in common is nothing."""
    authority = certificate(tmp_path, "authority")
    ec = certificate(tmp_path, "ec", ("127.0.0.1",), authority)
    rsa = rsa_certificate(tmp_path, authority, "IP:192.0.2.7")
    port = free_port()
    proxy = Proxy(tmp_path, origin, listen=[{"address": f"{LOOPBACK}:{port}", "tls": {
        "certificates": [{"cert": str(c), "key": str(k)} for c, k in (ec, rsa)]}}])
    only = openssl("s_client", "-connect", f"{LOOPBACK}:{port}", "-sigalgs", "RSA-PSS+SHA256")
    assert "handshake failure" in only, only  # it would be one for another address
    same = rsa_certificate(tmp_path, authority, "IP:127.0.0.1")
    proxy.config["listen"][0]["tls"]["certificates"][1] = {"cert": str(same[0]), "key": str(same[1])}
    proxy.rewrite(proxy.config)
    assert proxy.hup()
    wait_for(lambda: "Peer signature type: RSA-PSS" in openssl(
        "s_client", "-connect", f"{LOOPBACK}:{port}", "-sigalgs", "RSA-PSS+SHA256"))
    proxy.stop()


@pytest.mark.parametrize("first", ["ec", "rsa"])
def test_two_kinds_of_certificate_side_by_side(tmp_path, origin, first):
    """Whichever is listed first, and whatever else is listed: each client gets one it can verify."""
    authority = certificate(tmp_path, "authority")
    ec = certificate(tmp_path, "ec", ("localhost", "www.localhost"), authority)
    other = certificate(tmp_path, "other", ("other.example",), authority)
    rsa = rsa_certificate(tmp_path, authority, "DNS:www.localhost,DNS:localhost")
    listed = [other, ec, rsa] if first == "ec" else [other, rsa, ec]
    port = free_port()
    proxy = Proxy(tmp_path, origin, listen=[{"address": f"{LOOPBACK}:{port}", "tls": {
        "certificates": [{"cert": str(c), "key": str(k)} for c, k in listed], "min_version": "1.2"}}])

    def key_of(name, *args):
        out = openssl("s_client", "-connect", f"{LOOPBACK}:{port}", "-servername", name, *args)
        return next((line for line in out.splitlines() if "Peer signature type" in line), out[-300:])

    for name in ("localhost", "www.localhost"):
        assert "ECDSA" in key_of(name)  # cheaper, and every browser takes it
        assert "RSA" in key_of(name, "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256")
        assert "ECDSA" in key_of(name, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        assert "RSA" in key_of(name, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert "ECDSA" in key_of("other.example")
    assert "handshake failure" in openssl("s_client", "-connect", f"{LOOPBACK}:{port}", "-servername",
                                          "other.example", "-sigalgs", "RSA-PSS+SHA256")
    proxy.stop()


def test_tickets_get_new_keys_in_all_workers(tmp_path, origin):
    """By the clock, without a reload: an old ticket opens for a while, and then no more."""
    proxy = Proxy(tmp_path, origin, tls=True, workers=2)
    proxy.config["listen"][1]["tls"]["ticket_rotation"] = "3s"
    proxy.rewrite(proxy.config)
    assert proxy.hup()
    visit = proxy.tls_session
    wait_for(lambda: visit(visit()[1])[0])
    ticket = visit()[1]
    names = {ticket.id}
    assert all(visit(ticket)[0] for _ in range(8))
    time.sleep(3.1)  # the next period: still taken, by either worker
    assert all(visit(ticket)[0] for _ in range(8))
    wait_for(lambda: not any(visit(ticket)[0] for _ in range(4)), 15)
    fresh = visit()[1]
    assert visit(fresh)[0] and fresh.id not in names
    proxy.stop()


def test_early_data_is_not_taken(tmp_path, origin):
    proxy = Proxy(tmp_path, origin, tls=True)
    session = tmp_path / "session.pem"
    where = ["s_client", "-connect", f"{LOOPBACK}:{proxy.tls_port}", "-servername", "localhost", "-tls1_3"]
    done = subprocess.run(["openssl", *where, "-sess_out", str(session), "-quiet"], input=REQUEST.replace(
        b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), capture_output=True, timeout=20, check=False)
    assert b"200" in done.stdout
    assert "Max Early Data: 0" in openssl("sess_id", "-in", session, "-text") or session.exists()
    proxy.stop()


# --- ACME ---


@pytest.fixture(name="acme", scope="module")
def acme_fixture(tmp_path_factory, origin):
    folder = tmp_path_factory.mktemp("acme")
    challenges = folder / "challenges"
    challenges.mkdir()
    (challenges / "To-ken_1").write_text("To-ken_1.thumbprint")
    (challenges / "large").write_text("x" * 5000)
    (challenges / "folder").mkdir()
    os.mkfifo(challenges / "pipe")
    (challenges / "with.dot").write_text("no")
    (folder / "secret").write_text("secret")
    ports = [free_port() for _ in range(3)]
    proxy = Proxy(folder, origin, listen=[
        {"address": f"{LOOPBACK}:{ports[0]}", "redirect": "https", "acme": str(challenges)},
        {"address": f"{LOOPBACK}:{ports[1]}", "redirect": "https", "acme": "origin"},
        {"address": f"{LOOPBACK}:{ports[2]}", "redirect": "https"}])
    proxy.ports = ports
    yield proxy
    proxy.stop()


def ask(proxy, which, path, **more):
    proxy.port = proxy.ports[which]
    return proxy.get(path, **more)


WELL_KNOWN = "/.well-known/acme-challenge/"


def test_challenges_are_served_where_all_else_is_redirected(acme):
    answer = ask(acme, 0, WELL_KNOWN + "To-ken_1")
    assert (answer.status, answer.body) == (200, b"To-ken_1.thumbprint")
    assert answer.header("cache-control") == "no-store" and not answer.all("set-cookie")
    assert ask(acme, 0, WELL_KNOWN + "To-ken_1", host="not-a-site-yet.example").status == 200
    assert ask(acme, 0, WELL_KNOWN + "To-ken_1", method="HEAD").header("content-length") == "19"
    assert ask(acme, 0, WELL_KNOWN + "To-ken_1", method="POST").status == 405
    assert ask(acme, 0, "/elsewhere").status == 308
    assert ask(acme, 2, WELL_KNOWN + "To-ken_1").status == 308


@pytest.mark.parametrize("name", [
    "", "none", "../secret", "..%2fsecret", "%2e%2e/secret", "./To-ken_1", "folder", "pipe", "with.dot", "large",
    "To-ken_1/", "To-ken_1?x", "To-ken_1%00", ".", "..", "a" * 200, "folder/../To-ken_1"])
def test_no_other_file_is(acme, name):
    answer = ask(acme, 0, WELL_KNOWN + name)
    assert answer.status == 404 and b"secret" not in answer.body


def test_or_they_go_to_the_origin(acme, origin):
    origin.routes[WELL_KNOWN + "abc"] = http_response(200, [("Content-Type", "text/plain")], b"abc.origin")
    assert ask(acme, 1, WELL_KNOWN + "abc").body == b"abc.origin"
    assert ask(acme, 1, "/").status == 308
    for other in ("..%2fabc", "../../account", "", "abc/def"):
        assert ask(acme, 1, WELL_KNOWN + other).status == 308
    assert ask(acme, 1, WELL_KNOWN + "abc", host="elsewhere.example").status == 421


def test_a_folder_that_is_none_is_refused(tmp_path, origin):
    proxy = Proxy(tmp_path, origin)
    for folder, why in (("challenges", "neither a folder's full path"), (str(tmp_path / "none"), "no such folder")):
        proxy.config["listen"][0]["acme"] = folder
        proxy.rewrite(proxy.config)
        assert not proxy.hup() and why in proxy.log()
    proxy.stop()
