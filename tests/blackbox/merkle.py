"""RFC 6962 and RFC 9162 once more, for tests: trees out of served tiles, consistency proofs.

Nothing here uses the project's code. A tree is read as a client of C2SP tlog-tiles reads it: a hash of
level L is folded from the tile of level L // 8.
"""
import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def fold(hashes):
    """The root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def split(n):
    """The largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


class Tree:
    """A tree of size leaves; tile(level, number, width) gives the bytes of its tiles."""

    def __init__(self, size, tile):
        self.size, self.tile, self.seen = size, tile, {}

    def hashes(self, level, number):
        if (level, number) not in self.seen:
            width = min(256, (self.size >> 8 * level) - 256 * number)
            data = self.tile(level, number, width)
            assert len(data) == 32 * width
            self.seen[level, number] = [data[i:i + 32] for i in range(0, len(data), 32)]
        return self.seen[level, number]

    def complete(self, bits, start):
        """The root of the 2^bits leaves from start on."""
        level, count = bits // 8, 1 << bits % 8
        first = start >> 8 * level
        tile = self.hashes(level, first // 256)
        return fold(tile[first % 256:first % 256 + count])

    def root(self, start, n):
        """MTH of n leaves from start on (RFC 6962 2.1)."""
        if n & (n - 1) == 0:
            return self.complete(n.bit_length() - 1, start)
        k = split(n)
        return node_hash(self.root(start, k), self.root(start + k, n - k))

    def consistency(self, old):
        """PROOF(old, D[size]) (RFC 6962 2.1.2)."""
        return self._subproof(old, 0, self.size, True)

    def _subproof(self, m, start, n, known):
        if m == n:
            return [] if known else [self.root(start, n)]
        k = split(n)
        if m <= k:
            return self._subproof(m, start, k, known) + [self.root(start + k, n - k)]
        return self._subproof(m - k, start + k, n - k, False) + [self.root(start, k)]


def is_consistent(old, old_root, size, root, proof):
    """RFC 9162 2.1.4.2, step by step."""
    if old == size:
        return not proof and old_root == root
    if not 0 < old < size or not proof:
        return False
    if old & (old - 1) == 0:
        proof = [old_root] + proof
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr == old_root and sr == root and sn == 0


# --- notes ---------------------------------------------------------------------------------------

def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


class Verifier:
    """A vkey of C2SP signed-note: type 1 is Ed25519, type 4 its cosignatures with a time."""

    def __init__(self, vkey):
        self.name, text_id, key = vkey.split("+", 2)
        raw = base64.b64decode(key, validate=True)
        self.kind, self.public = raw[0], raw[1:]
        self.id = key_id(self.name, self.kind, self.public)
        assert len(raw) == 33 and self.id.hex() == text_id

    def signatures(self, note):
        """(body, what this key has put under it)."""
        body, _, rest = note.partition("\n\n")
        assert note.endswith("\n") and "\n\n" not in rest
        found = []
        for line in rest.splitlines():
            dash, name, text = line.split(" ")
            raw = base64.b64decode(text, validate=True)
            assert dash == "\u2014"
            if name == self.name and raw[:4] == self.id:
                found.append(raw[4:])
        return body + "\n", found

    def checkpoint(self, note):
        """(origin, size, root) of a note that this key has signed."""
        body, found = self.signatures(note)
        assert len(found) == 1, "not signed once by this key"
        public = Ed25519PublicKey.from_public_bytes(self.public)
        if self.kind == 4:
            time, signature = int.from_bytes(found[0][:8], "big"), found[0][8:]
            message = f"cosignature/v1\ntime {time}\n{body}"
            assert time > 0
        else:
            signature, message = found[0], body
        public.verify(signature, message.encode())
        origin, size, root = body.splitlines()
        assert str(int(size)) == size
        return origin, int(size), base64.b64decode(root, validate=True)

    def has_signed(self, note):
        try:
            self.checkpoint(note)
        except (AssertionError, InvalidSignature):
            return False
        return True


class Cosigner:
    """The private half of a witness."""

    def __init__(self, name):
        self.name, self.key = name, Ed25519PrivateKey.generate()
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = key_id(name, 4, public)
        self.vkey = f"{name}+{self.id.hex()}+{base64.b64encode(bytes([4]) + public).decode()}"

    def cosign(self, body, time):
        signature = self.key.sign(f"cosignature/v1\ntime {time}\n{body}".encode())
        raw = self.id + time.to_bytes(8, "big") + signature
        return f"\u2014 {self.name} {base64.b64encode(raw).decode()}\n"
