"""Exports and receipts as JSON-LD: every key and type is a term of a vocabulary that the context declares, what is typed
as an IRI is one, and the status of each purpose is what LEDGER's events say.

A reader of its own: what a JSON-LD processor would refuse or drop is an error here.
"""
import json
import re

import pytest

from harness import wait_for
from test_notice import World

# W3C DPV 2 (https://w3id.org/dpv), what records use of it
CLASSES = {"ConsentRecord", "ConsentReceipt", "DataSubject", "DataController", "LegalEntity", "Service", "ConsentNotice",
           "Process", "Purpose", "PersonalData", "ThirdParty", "StorageDuration", "StorageLocation",
           "DataSubjectRight", "UntilTimeDuration", "ConsentControl", "WithdrawConsent", "Consent", "Recipient", "Location", "Right"}
PROPERTIES = {"hasDataSubject", "isIndicatedAtTime", "isIndicatedBy", "hasIndicationMethod", "hasDuration", "hasService",
              "hasNotice", "hasDataController", "hasName", "hasAddress", "hasContact", "hasStorageCondition", "hasRight",
              "hasProcess", "hasConsentStatus", "hasLegalBasis", "hasPurpose", "hasPersonalData", "hasRecipient",
              "hasJurisdiction", "hasConsentControl", "hasRecordOfActivity", "hasScope"}
STATUS = {"ConsentGiven", "ConsentRefused", "ConsentWithdrawn", "ConsentExpired", "ConsentInvalidated",
          "ConsentRequested", "RenewedConsentGiven", "ConsentUnknown"}
INDIVIDUALS = STATUS | {"DataSubject", "ExplicitlyExpressedConsent", "ExpressedConsent", "ServiceUsageAnalytics",
                        "Marketing", "ServicePersonalisation", "Personalisation", "ServiceProvision", "DataController",
                        "UserInterfacePersonalisation", "Service"}
DCT = {"identifier", "conformsTo", "created", "language", "title", "alternative", "date", "hasVersion", "provenance",
       "isPartOf", "replaces", "description", "source", "publisher", "modified", "accrualPeriodicity"}
NAMESPACES = {"dpv": "https://w3id.org/dpv#", "dct": "http://purl.org/dc/terms/",
              "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
              "dpv-27560": "https://w3id.org/dpv/schema/dpv-27560#",
              "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "skos": "http://www.w3.org/2004/02/skos/core#",
              "xsd": "http://www.w3.org/2001/XMLSchema#"}
TERMS = {"dpv": CLASSES | PROPERTIES | INDIVIDUALS, "dct": DCT, "skos": {"broader"}, "rdf": {"value"}, "xsd": {"dateTime"},
         "eu-gdpr": {"A6-1-a", "A6-1-a-explicit-consent"}, "dpv-27560": {"record-eu-gdpr", "receipt-eu-gdpr"}}
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Document:
    """One JSON-LD document, its terms checked as it is walked."""

    def __init__(self, text):
        self.root = json.loads(text, object_pairs_hook=self.no_twins)
        context = self.root["@context"]
        self.prefixes = {k: v for k, v in context.items() if isinstance(v, str)}
        self.types = {k: v["@type"] for k, v in context.items() if isinstance(v, dict)}
        assert self.prefixes == NAMESPACES
        for key, kind in self.types.items():
            self.term(key)
            assert kind == "@id" or self.term(kind)
        self.node({k: v for k, v in self.root.items() if k != "@context"})

    @staticmethod
    def no_twins(pairs):
        assert len({k for k, _ in pairs}) == len(pairs)
        return dict(pairs)

    def term(self, text):
        prefix, _, name = text.partition(":")
        assert prefix in self.prefixes and name in TERMS[prefix], text
        return True

    def iri(self, text):
        if text.split(":")[0] in self.prefixes:
            return self.term(text)
        assert re.match(r"(https?://|urn:(uuid|sha256):|mailto:|tel:)\S+$", text), text
        return True

    def node(self, node):
        for key, value in node.items():
            values = value if isinstance(value, list) else [value]
            if key == "@context":  # a record in a receipt can stand alone
                assert value == self.root["@context"]
            elif key == "@type":
                assert all(self.term(v) for v in values)
            elif key == "@id":
                assert self.iri(value)
            elif key == "@value":
                assert DATE.fullmatch(value) if node["@type"] == "xsd:dateTime" else True
            else:
                assert self.term(key)
                for one in values:
                    self.value(key, one)

    def value(self, key, value):
        assert value not in (None, "", {}) and not isinstance(value, (bool, list)), key
        if isinstance(value, dict):
            self.node(value)
        elif self.types.get(key) == "@id":
            self.iri(value)
        elif self.types.get(key) == "xsd:dateTime":
            assert DATE.fullmatch(value), (key, value)
        elif key not in ("dpv:hasContact", "dct:identifier"):  # addresses for people, and names
            assert not re.match(r"(dpv|dct|eu-gdpr|https?|urn):", value), f"{key}: an IRI as a text: {value}"


def statuses(record):
    return {p["dct:identifier"]: p["dpv:hasConsentStatus"][4:] for p in record["dpv:hasProcess"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("dpv"), redis=False)
    w.cookie = None
    for grants in (["analytics", "marketing"], ["analytics"], [], ["marketing"], []):
        w.cookie, _ = w.choose(grants, w.cookie)
    w.choose([])
    answer = w.proxy.get("/.consent/choice", [("Content-Type", "application/json"), ("Sec-GPC", "1")], "POST",
                         b'{"grant":["analytics"],"deny":["marketing"]}')
    assert answer.status == 201
    yield w
    w.stop()


def test_every_line_of_an_export_is_json_ld(world):
    done = wait_for(lambda: (d := world.proxy.ctl("audit", "export", "--format", "dpv")).returncode == 0 and d)
    *lines, manifest = done.stdout.splitlines()
    assert json.loads(manifest)["manifest"]["count"] == len(lines) == 7
    records = [Document(line).root for line in lines]
    # one record at a time: what was in force before is in the subject's own export
    assert [statuses(r) for r in records] == [
        {"analytics": "ConsentGiven", "marketing": "ConsentGiven"},
        {"analytics": "ConsentGiven", "marketing": "ConsentRefused"},
        {"analytics": "ConsentWithdrawn", "marketing": "ConsentWithdrawn"},
        {"analytics": "ConsentRefused", "marketing": "ConsentGiven"},
        {"analytics": "ConsentWithdrawn", "marketing": "ConsentWithdrawn"},
        {"analytics": "ConsentRefused", "marketing": "ConsentRefused"},
        {"analytics": "ConsentGiven", "marketing": "ConsentRefused"}]
    for record in records:
        assert record["@type"] == "dpv:ConsentRecord" and record["dct:conformsTo"] == "dpv-27560:record-eu-gdpr"
        uuid = record["dct:identifier"]
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid) and record["@id"] == "urn:uuid:" + uuid
        assert record["dpv:hasDataController"]["dpv:hasName"] == world.policy["controller"]["name"]
        assert len(record["dpv:hasRight"]) == len(world.policy["rights"])
        [until] = [record["dpv:hasDuration"]["rdf:value"]["@value"]]
        assert until > record["dpv:isIndicatedAtTime"]
    assert len({r["dct:identifier"] for r in records}) == 7
    assert len({r["dpv:hasDataSubject"]["dct:identifier"] for r in records}) == 3


def test_a_visitors_receipt_is_json_ld(world):
    answer = world.proxy.get("/.consent/me/record?format=dpv", [("Cookie", world.cookie)])
    receipt = Document(answer.body.decode()).root
    assert receipt["@type"] == "dpv:ConsentReceipt" and receipt["dct:conformsTo"] == "dpv-27560:receipt-eu-gdpr"
    assert [statuses(r)["marketing"] for r in receipt["dpv:hasRecordOfActivity"]] == \
        ["ConsentGiven", "ConsentWithdrawn", "ConsentRefused", "ConsentGiven", "ConsentWithdrawn"]


def test_a_subjects_export_knows_what_was_in_force_before(world):
    done = world.proxy.ctl("subject", "export", world.cookie, "--format", "dpv")
    assert done.returncode == 0, done.stderr
    receipt = Document(done.stdout).root
    assert [statuses(r) for r in receipt["dpv:hasRecordOfActivity"]][1:3] == [
        {"analytics": "ConsentGiven", "marketing": "ConsentWithdrawn"},
        {"analytics": "ConsentWithdrawn", "marketing": "ConsentRefused"}]


def test_what_was_erased_says_so_and_nothing_else(world):
    cookie, _ = world.choose(["analytics"])
    answer = world.proxy.get("/.consent/me/erase", [("Cookie", cookie), ("Content-Type", "application/json")], "POST",
                             b'{"confirm":true}')
    assert answer.status == 202

    def closed():
        lines = world.proxy.ctl("audit", "export", "--format", "dpv").stdout.splitlines()[:-1]
        return [line for line in lines if "ConsentUnknown" in line]
    record = Document(wait_for(closed)[0]).root
    assert "dpv:hasDataSubject" not in record and "dpv:hasProcess" not in record
