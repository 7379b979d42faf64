"""Which drafts of a policy ask people again: a table of drafts, each against the policy in force, by `policy diff`
and by `policy publish`; and what is said of drafts with mistakes.
"""
import copy
import json

import pytest

from test_notice import World, changed, publish

KEPT = "Your choice here holds for 180 days; then we ask again."


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("drafts"), redis=False)
    w.history()
    yield w
    w.stop()


def edited(policy, path, value):
    """A copy with the value at the path, list.index.key…; "+": appended, None: taken out."""
    draft = copy.deepcopy(policy)
    *way, last = path.split(".")
    at = draft
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    if last == "+":
        at.append(value)
    elif value is None:
        del at[int(last) if isinstance(at, list) else last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return draft


NEW_CATEGORY = {"id": "preferences", "bit": 3, "required": False, "title": {"en": "Preferences"},
                "purpose": {"en": "Remembers what you like."}, "legal_basis": {"en": "Your consent."}}
DRAFTS = [
    # path, value, asks again, a word of the place
    ("categories.+", NEW_CATEGORY, True, "preferences"),
    ("providers.+", {"name": "Hotjar", "role": {"en": "Records visits."}, "category": "analytics"}, True, "Hotjar"),
    ("providers.5", None, False, "HubSpot"),
    ("purposes.+", {"purpose": {"en": "Sell profiles"}, "legal_basis": {"en": "Consent"}, "category": "marketing"},
     True, "Sell profiles"),
    ("purposes.3", None, False, "newsletters"),
    ("categories.1.purpose.en", "Google Analytics and similar services show us which pages you visit and build a profile.",
     True, "analytics"),
    ("categories.1.purpose.en", "Google Analytics (anonymised data) and similiar services show us wich pages are "
     "visited, so that we can improve the website.", False, "analytics"),
    ("categories.1.legal_basis.en", "Legitimate interest.", True, "legal_basis"),
    ("categories.1.legal_basis.en", "Your consent", False, "legal_basis"),  # a full stop is no basis
    ("categories.2.legal_basis.en", "Your consent.", True, "legal_basis"),  # no longer explicit
    ("categories.2.required", True, True, "marketing"),
    ("providers.4.role.en", "Counts visits and sells them.", True, "Google Analytics"),
    ("providers.4.category", "marketing", True, "Google Analytics"),
    ("providers.4.privacy_policy", "https://policies.google.com/privacy/2", False, "Google Analytics"),
    ("retention.en", KEPT.replace("180", "360"), True, "retention"),
    ("retention.en", KEPT.replace("180", "90"), False, "retention"),
    ("retention.en", KEPT.replace("180 days", "90 years"), True, "retention"),
    ("transfers.en", "Data may be transferred anywhere.", True, "transfers"),
    ("controller.name", "Somebody Else Ltd", True, "controller"),
    ("controller.email", "privacy@netstreem.com", False, "controller"),
    ("rights.+", {"en": "Complain to the authority."}, False, "rights"),
    ("sections.0.text.en", "Hello.", False, "section"),
    ("texts.en.accept_all", "Allow all", False, "banner"),
]


@pytest.mark.parametrize("path, value, again, place", DRAFTS, ids=[f"{i}-{d[0]}" for i, d in enumerate(DRAFTS)])
def test_a_draft_asks_again_or_not(world, path, value, again, place):
    base = edited(world.policy, "retention.en", KEPT) if path.startswith("retention") else world.policy
    old, new = world.folder / "old.json", world.folder / "new.json"
    world.write(base, old)
    world.write(changed(edited(base, path, value)), new)
    done = world.proxy.ctl("policy", "diff", str(old), str(new), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    mine = [c for c in said["changes"] if c["place"] != "version" and not c["place"].startswith("service ")]
    assert said["epoch"] == again, said
    assert len(mine) == 1 and place in mine[0]["place"] and mine[0]["epoch"] == again and mine[0]["why"], mine


@pytest.mark.parametrize("path, value, again, place", [DRAFTS[1], DRAFTS[8], DRAFTS[10]])
def test_publish_refuses_what_must_ask_again_and_does_not(world, path, value, again, place):
    before = world.file.read_text()
    done = publish(world, changed(edited(world.policy, path, value)), answer="no\n")
    assert done.returncode == 1 and world.file.read_text() == before
    assert ("epoch: set it to 2" in done.stderr) == again and ("Publish?" in done.stderr) != again
    assert place in done.stdout


BROKEN = [
    # path, value, words of the reason
    ("epoch", 0, ("epoch",)),
    ("epoch", "two", ("epoch", "integer")),
    ("version", "", ("version",)),
    ("effective", "tomorrow", ("effective", "2026-11-24")),
    ("effective", "2026-02-30", ("effective",)),
    ("changes.0.date", "24.11.2026", ("changes", "date")),
    ("categories.1.id", "Analytics!", ("categories", "id")),
    ("categories.1.bit", 0, ("categories", "bit")),
    ("categories.1.bit", 16, ("categories", "bit")),
    ("categories.0.required", False, ("essential",)),
    ("categories.1.title", {}, ("title", "en")),
    ("categories.1.purpose", None, ("purpose",)),
    ("providers.4.category", "moon", ("providers", "moon")),
    ("purposes.2.category", "moon", ("purposes", "moon")),
    ("languages", [], ("languages",)),
    ("languages", ["english please"], ("languages",)),
    ("controller", None, ("controller",)),
    ("surprise", 1, ("surprise",)),
    ("changes.0.summary", {}, ("summary",)),
]


@pytest.mark.parametrize("path, value, words", BROKEN, ids=[f"{i}-{b[0]}" for i, b in enumerate(BROKEN)])
def test_a_mistake_is_named(world, path, value, words):
    draft = world.folder / "draft.json"
    world.write(edited(world.policy, path, value), draft)
    for command in ("check", "publish"):
        done = world.proxy.ctl("policy", command, str(draft))
        assert done.returncode == 1 and done.stderr.startswith(f"consentctl: {draft}"), (done.stderr, done.stdout)
        assert all(word in done.stderr for word in words), done.stderr


def test_a_rule_set_that_is_not_there_is_named(world):
    draft = world.folder / "draft.json"
    world.write(edited(world.policy, "providers.4.sets", ["google-analytics", "no-such-set"]), draft)
    done = world.proxy.ctl("policy", "check", str(draft))
    assert done.returncode == 0 and "fine" in done.stdout
    assert 'providers[4]: there is no rule set "no-such-set"' in done.stderr and "google-analytics" not in done.stderr


@pytest.mark.parametrize("text, where", [
    ("{", ":1:"), ("", ""), ("[]", ""), ('{\n  "version": "1",\n  "version": "2"\n}', ":3:"),
    ('{\n  "version": 2026-11\n}', ":2:"), ('{"version": "\\ud800"}', ":1:")])
def test_what_is_no_json_is_named_by_its_line(world, text, where):
    draft = world.folder / "draft.json"
    draft.write_text(text)
    done = world.proxy.ctl("policy", "check", str(draft))
    assert done.returncode == 1 and done.stderr.startswith(f"consentctl: {draft}{where}"), done.stderr
    assert world.proxy.ctl("policy", "check", str(world.folder / "none.json")).returncode == 1
