"""Proxies in front: whose word on the client's address is believed, and for what."""
import json
import subprocess

from harness import BUILD, LOOPBACK, Proxy, free_port, wait_for

CLIENT, NETWORK = "203.0.113.9", "203.0.113.0/24"


def start(folder, origin, trusted, **config):
    return Proxy(folder, origin, trusted_proxies=trusted, access_log="access.log", access_log_format="json", **config)


class Peers:
    """Asks, and says whom the access log names as the peer."""

    def __init__(self, proxy):
        self.proxy, self.count, self.path = proxy, 0, proxy.folder / "access.log"

    def of(self, *headers):
        assert self.proxy.get("/", headers).status == 200
        self.count += 1
        wait_for(lambda: self.path.read_text().count("\n") >= self.count)
        return json.loads(self.path.read_text().splitlines()[self.count - 1])["peer"]


def test_the_nearest_untrusted_address_is_the_client(tmp_path, origin):
    proxy = start(tmp_path, origin, ["127.0.0.0/8", "198.51.100.0/24", "2001:db8::/32"])
    peers = Peers(proxy)
    name = "X-Forwarded-For"
    assert peers.of((name, CLIENT)) == NETWORK
    assert origin.requests[-1].all(name) == [f"{CLIENT}, {LOOPBACK}"]
    assert peers.of((name, f"6.6.6.6, {CLIENT}")) == NETWORK  # what stands left of it is invented
    assert peers.of((name, f"6.6.6.6, {CLIENT}, 198.51.100.7, [2001:db8::7]:80")) == NETWORK
    assert peers.of((name, "6.6.6.6"), (name, CLIENT)) == NETWORK
    assert peers.of((name, f"{CLIENT}:4711")) == NETWORK
    assert peers.of((name, "2001:470:1::5")) == "2001:470:1::/48"
    assert peers.of((name, "198.51.100.8, 198.51.100.7")) == "198.51.100.0/24"  # all ours: the first
    assert peers.of((name, ", ".join(["6.6.6.6"] * 100 + [CLIENT]))) == NETWORK
    for opened in ('"', 'a"', '"\\', '"x"'):  # a quote hides nothing of what the proxy wrote behind it
        assert peers.of((name, f"{opened}, {CLIENT}")) == NETWORK, opened
    for nonsense in ("unknown", "", " , ,", "<script>", "a.example", "1.2.3.4.5", "unix", CLIENT + ", unknown"):
        assert peers.of((name, nonsense)) == "127.0.0.0/24", nonsense
    assert peers.of((name, "unknown, 198.51.100.7")) == "198.51.100.0/24"
    assert peers.of() == "127.0.0.0/24"
    assert peers.of(("Forwarded", f"for={CLIENT}")) == "127.0.0.0/24"  # not the field that was named
    proxy.stop()


def test_what_origins_believe_is_ours_to_say(tmp_path, origin):
    """X-Real-IP is the client's address for whoever reads it; Proxy is HTTP_PROXY to CGI (CVE-2016-5385)."""
    for trusted, who in (([], LOOPBACK), ([LOOPBACK], CLIENT)):
        folder = tmp_path / str(len(trusted))
        folder.mkdir()
        proxy = start(folder, origin, trusted)
        proxy.get("/", [("X-Real-IP", "6.6.6.6"), ("x-real-ip", "7.7.7.7"), ("Proxy", "http://evil/"),
                        ("X_Real_IP", "8.8.8.8"), ("X-Forwarded-For", f"6.6.6.6, {CLIENT}")])
        seen = origin.requests[-1]
        assert seen.all("X-Real-IP") == [who] and not seen.all("Proxy") and not seen.all("X_Real_IP")
        proxy.get("/")
        assert not origin.requests[-1].all("X-Real-IP")
        proxy.stop()


def test_nobody_else_is_believed(tmp_path, origin):
    for number, trusted in enumerate(([], ["10.0.0.0/8", "unix"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        proxy = start(folder, origin, trusted)
        assert Peers(proxy).of(("X-Forwarded-For", CLIENT), ("X-Forwarded-Proto", "https"),
                               ("Forwarded", f"for={CLIENT};proto=https")) == "127.0.0.0/24"
        assert origin.requests[-1].all("X-Forwarded-Proto") == ["http"]
        assert origin.requests[-1].all("X-Forwarded-For") == [f"{CLIENT}, {LOOPBACK}"]
        proxy.stop()


def test_the_standard_field(tmp_path, origin):
    proxy = start(tmp_path, origin, [LOOPBACK], forwarded_field="forwarded")
    peers = Peers(proxy)
    assert peers.of(("Forwarded", f"for={CLIENT};proto=https;by=10.0.0.1"), ("X-Forwarded-For", "6.6.6.6")) == NETWORK
    seen = origin.requests[-1]
    assert seen.all("X-Forwarded-For") == [f"{CLIENT}, {LOOPBACK}"] and seen.all("X-Forwarded-Proto") == ["https"]
    assert not seen.all("Forwarded")
    assert peers.of(("Forwarded", f'for=6.6.6.6, For="{CLIENT}:80"')) == NETWORK
    assert peers.of(("Forwarded", f'for=6.6.6.6;x="a,for=7.7.7.7"; proto=http , For={CLIENT}')) == NETWORK
    assert peers.of(("Forwarded", 'for="[2001:470:1::5]:443"')) == "2001:470:1::/48"
    for opened in ('for="', 'for="\\', 'x="a;b', 'for="6.6.6.6, for="'):
        assert peers.of(("Forwarded", f"{opened}, for={CLIENT};proto=https")) == NETWORK, opened
        assert peers.of(("Forwarded", f'{opened}, for="[2001:470:1::5]:443"')) == "2001:470:1::/48", opened
    for nonsense in ("for=unknown", "for=_x", 'for="', "by=" + CLIENT, CLIENT, 'for="' + CLIENT):
        assert peers.of(("Forwarded", nonsense)) == "127.0.0.0/24", nonsense
    assert peers.of(("X-Forwarded-For", CLIENT)) == "127.0.0.0/24"
    assert origin.requests[-1].all("X-Forwarded-For") == [LOOPBACK]
    proxy.stop()


def test_limits_are_the_clients(tmp_path, origin):
    proxy = start(tmp_path, origin, [LOOPBACK],
                  limits={"requests_per_second": 1, "request_burst": 2, "connections_per_address": 1})
    def asks(client):
        return [proxy.get("/", [("X-Forwarded-For", client)]).status for _ in range(8)]
    assert asks("192.0.2.1").count(429) >= 4
    assert proxy.get("/", [("X-Forwarded-For", "192.0.2.2")]).status == 200
    with proxy.connect(), proxy.connect(), proxy.connect():  # the proxy's own connections are not counted
        assert proxy.get("/", [("X-Forwarded-For", "192.0.2.3")]).status == 200
    proxy.stop()


def test_the_scheme_is_the_visitors(tmp_path, origin):
    proxy = start(tmp_path, origin, [LOOPBACK])
    def choice(scheme):
        answer = proxy.get("/.consent/choice", [("Content-Type", "application/json"), ("X-Forwarded-Proto", scheme)],
                           "POST", json.dumps({"grant": ["analytics"], "deny": ["marketing"]}).encode())
        return answer.header("set-cookie")
    assert "Secure" in choice("https") and "Secure" not in choice("http")
    proxy.stop()


def test_a_network_that_is_none_is_refused(tmp_path, origin):
    proxy = start(tmp_path, origin, [LOOPBACK])
    proxy.rewrite(dict(proxy.config, trusted_proxies=["10.0.0.0/8", "10.0.0.1/8"]))
    out = subprocess.run([str(BUILD / "consentd"), "-t", "-c", str(tmp_path / "consentd.json")],
                         capture_output=True, text=True, check=False)
    assert out.returncode == 1 and 'trusted_proxies[1]: "10.0.0.1/8"' in out.stderr.replace(": [1]", "[1]")
    assert not proxy.hup()
    proxy.stop()


def test_a_redirect_to_https_ends_where_the_proxy_in_front_has_it(tmp_path, origin):
    """TLS ends there, and all that it forwards comes to the port in the clear."""
    proxy = start(tmp_path, origin, ["127.0.0.0/8"])
    port = free_port()
    proxy.config["listen"].append({"address": f"127.0.0.1:{port}", "redirect": "https"})
    proxy.rewrite(proxy.config)
    assert proxy.hup()
    proxy.port = port
    assert proxy.get("/").status == proxy.get("/", [("X-Forwarded-Proto", "http")]).status == 308
    assert proxy.get("/", [("X-Forwarded-Proto", "https")]).status == 200
    proxy.rewrite(dict(proxy.config, trusted_proxies=["192.0.2.1/32"]))
    assert proxy.hup()
    assert proxy.get("/", [("X-Forwarded-Proto", "https")]).status == 308  # of anybody else
    proxy.stop()
