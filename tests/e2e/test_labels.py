"""Tagging and noting: who may, what two writers at once come to, and what a stranger can spoil."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import builders, log_vaults
from tests.attacks.vault_mixing import skipped
from tests.builders import Built
from vault.actions import checking, labelling, listing, reviewing_indexing
from vault.actions.check_report import Report
from vault.actions.reviewing_indexing import Indexed
from vault.core import envelope, labels, layout, limits, names
from vault.core.names import Principal, Reference, Version
from vault.core.policy import Policy, Rule
from vault.errors import AccessDenied, NotFound, NoUsableKey

ONE = names.reference("churn:1")
FOLDER = layout.labels(builders.CHURN, Version("1"))


def curators(before: Policy) -> Policy:
    """Let curators tag in prod, which is nothing that dev knows of."""
    rule = Rule(("tag",), (builders.PROD,), None, None, None, own=False)
    return replace(before, roles={**before.roles, Principal("curator"): (rule,)})


@pytest.fixture(scope="module")
def labelled() -> Built:
    built = builders.team()
    built.amend(curators)
    built.add("eve", "curator")
    built.add("mia", "curator")
    built.add("other", "curator", models=("nepse/*",))
    built.publish(who="dora")
    return built


@pytest.fixture
def built(labelled: Built) -> Built:
    return labelled.fork()


def check(built: Built) -> Report:
    return checking.check(built.session(), None, data=False)


def tags(built: Built, ref: Reference = ONE) -> set[str]:
    return set(labelling.look(built.session("dora"), ref).labels.tags)


def test_who_may_tag_in_any_environment_tags_notes_and_takes_back(built: Built) -> None:
    eve = built.session("eve")
    done = labelling.tag(eve, ONE, ["champion", "q3"])
    assert done.changed == ("champion", "q3")
    assert done.reference == ONE
    assert labelling.tag(eve, ONE, ["champion"]).changed == ()
    assert labelling.note(eve, ONE, "watch recall").labels.notes[0].text == "watch recall"
    assert tags(built) == {"champion", "q3"}
    gone = labelling.untag(built.session("mia"), ONE, ["q3", "never-there"])
    assert gone.changed == ("q3",)
    assert tags(built) == {"champion"}
    assert labelling.untag(eve, ONE, ["q3"]).changed == ()
    assert sum(name.startswith(FOLDER) for name in built.store.objects) == 3


@pytest.mark.parametrize("who", ["dora", "other", "stranger"])
def test_who_may_not_tag_the_model_writes_nothing(built: Built, who: str) -> None:
    built.identities["stranger"] = builders.new_identity("stranger")
    before = dict(built.store.objects)
    with pytest.raises(AccessDenied):
        labelling.tag(built.session(who), ONE, ["champion"])
    with pytest.raises(NoUsableKey):
        labelling.note(built.session(None), ONE, "x")
    assert built.store.objects == before


def test_a_label_is_of_one_version_and_its_own_manifest(built: Built) -> None:
    built.publish(who="dora")
    labelling.tag(built.session("eve"), ONE, ["champion"])
    two = names.reference("churn:2")
    for name in [name for name in built.store.objects if name.startswith(FOLDER)]:
        built.store.objects[name.replace("/@/1/", "/@/2/")] = built.store.objects[name]
    assert tags(built, two) == set()
    assert "misplaced" in {entry.code for entry in check(built).findings}
    with pytest.raises(NotFound):
        labelling.tag(built.session("eve"), names.reference("churn:3"), ["champion"])


def test_two_who_write_at_once_lose_nothing(built: Built) -> None:
    labelling.tag(built.session("eve"), ONE, ["old"])
    seen = dict(built.store.objects)
    labelling.untag(built.session("eve"), ONE, ["old"])
    labelling.tag(built.session("eve"), ONE, ["from-eve"])
    by_eve = dict(built.store.objects)
    built.store.objects.clear()
    built.store.objects.update(seen)  # mia sees nothing of that
    labelling.tag(built.session("mia"), ONE, ["from-mia", "from-eve"])
    labelling.note(built.session("mia"), ONE, "mine")
    built.store.objects.update(by_eve)
    assert tags(built) == {"from-eve", "from-mia"}
    assert [note.text for note in labelling.look(built.session(None), ONE).labels.notes] == ["mine"]


GARBAGE = [b"", b"{}", b"[" * 10_000, b"\xff" * 100, bytes(limits.LABEL_BYTES + 1)]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_among_labels_stops_nobody(built: Built, garbage: bytes) -> None:
    labelling.tag(built.session("eve"), ONE, ["champion"])
    fitting = f"{FOLDER}{envelope.digest(garbage)}.json"
    for name in (fitting, f"{FOLDER}{'0' * 64}.json", f"{FOLDER}readme", f"{FOLDER}{'1' * 64}.json/x"):
        built.store.objects[name] = garbage
    assert tags(built) == {"champion"}
    assert labelling.tag(built.session("mia"), ONE, ["more"]).changed == ("more",)
    assert tags(built) == {"champion", "more"}
    report = check(built)
    assert report.whole
    if len(garbage) <= limits.LABEL_BYTES:
        assert fitting in skipped(report)


def test_a_stranger_who_signs_or_copies_labels_changes_nothing(built: Built) -> None:
    labelling.tag(built.session("eve"), ONE, ["champion"])
    labelling.note(built.session("eve"), ONE, "once")
    built.identities["stranger"] = builders.new_identity("stranger")
    for name in [name for name in built.store.objects if name.startswith(FOLDER)]:
        sealed = envelope.parse(built.store.objects[name], kind=labels.KIND, subject=name)
        mixed = envelope.Envelope(
            sealed.payload_type,
            sealed.payload,
            (
                *sealed.signatures,
                *envelope.parse(
                    built.sign(labels.KIND, sealed.payload, "stranger"), kind=labels.KIND, subject=""
                ).signatures,
            ),
        )
        for data in (built.sign(labels.KIND, sealed.payload, "stranger"), envelope.serialise(mixed)):
            built.store.objects[f"{FOLDER}{envelope.digest(data)}.json"] = data
    found = labelling.look(built.session(None), ONE).labels
    assert found.tags == {"champion"}
    assert [note.text for note in found.notes] == ["once"]
    assert check(built).whole


def test_what_somebody_said_goes_with_their_key(built: Built) -> None:
    labelling.tag(built.session("eve"), ONE, ["champion"])

    def leave(before: Policy) -> Policy:
        return replace(before, members={n: m for n, m in before.members.items() if n != "eve"})

    built.amend(leave)
    assert tags(built) == set()


def test_a_deleted_label_is_a_word_less_and_stops_nothing(built: Built) -> None:
    labelling.tag(built.session("eve"), ONE, ["a"])
    labelling.tag(built.session("eve"), ONE, ["b"])
    first = next(name for name in built.store.objects if name.startswith(FOLDER))
    del built.store.objects[first]
    assert len(tags(built)) == 1
    assert labelling.tag(built.session("mia"), ONE, ["a", "b"]).changed


def test_there_are_so_many_labels_and_no_more(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LABELS", 3)
    eve = built.session("eve")
    for number in range(3):
        labelling.note(eve, ONE, f"note {number}")
    with pytest.raises(ValueError, match="3 tags and notes"):
        labelling.note(eve, ONE, "one too many")
    with pytest.raises(ValueError, match="From one to 64"):
        labelling.tag(eve, ONE, [])


def test_lists_and_histories_show_what_was_said(built: Built) -> None:
    built.publish(version="2", who="dora")
    labelling.tag(built.session("eve"), ONE, ["champion"])
    labelling.note(built.session("eve"), ONE, "watch recall")
    session = built.session("dora")
    found, _ = listing.releases(session, builders.CHURN, labelled=True)
    assert {release.version: release.tags for release in found} == {"1": ("champion",), "2": ()}
    assert all(release.tags == () for release in listing.releases(session, builders.CHURN)[0])
    events = [(e.action, e.detail, e.who) for e in listing.history(session, builders.CHURN) if e.detail]
    assert sorted(events) == [("note", "watch recall", ("eve",)), ("tag", "champion", ("eve",))]
    details = listing.show(session, ONE)
    assert details.labels.tags == {"champion"}
    assert [event.action for event in details.votes] == []


def test_a_pre_release_is_the_newest_of_a_model_that_has_nothing_else(built: Built) -> None:
    built.publish(model="soon", version="1.0.0-rc.1", who="dora")
    built.publish(model="both", version="1.0.0", who="dora")
    built.publish(model="both", version="1.1.0-rc.1", who="dora")
    rows = {row.model: row.newest for row in listing.overview(built.session("dora"))}
    assert (rows["soon"], rows["both"]) == ("1.0.0-rc.1", "1.0.0")
    assert built.find("both", who="dora").manifest.version == "1.0.0"


def test_a_label_is_logged(tmp_path: Path) -> None:
    built = builders.solo(
        policy=log_vaults.POLICY.format(require="{}").replace("withdraw]", "withdraw, tag]")
    )
    built.publish()
    session = log_vaults.client(built, state=tmp_path)
    done = labelling.tag(session, ONE, ["champion"])
    indexed = Indexed(session, reviewing_indexing.folder(session, tmp_path))
    indexed.refresh()
    rows = indexed.index.rows("SELECT action, evidence, manifest FROM records WHERE action = 'tag'")
    assert [(action, manifest) for action, _, manifest in rows] == [("tag", done.digest)]
    assert rows[0][1] in {
        envelope.parse(data, kind=labels.KIND, subject="").digest
        for name, data in built.store.objects.items()
        if name.startswith(FOLDER)
    }
    indexed.index.close()
