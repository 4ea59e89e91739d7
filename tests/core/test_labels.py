"""Tags and notes: what a label says, who may sign one, and what all of them come to."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import CHURN, Built
from vault.core import envelope, labels, limits, names, records, strict_json
from vault.core.in_force import Signed
from vault.core.labels import Label, Labels
from vault.core.names import Digest, Principal, Version
from vault.core.policy import Policy, PolicyId, Rule
from vault.core.trust import Skipped
from vault.errors import Malformed, Rollback

ONE = Version("1")


def may_tag(before: Policy) -> Policy:
    """Let the role `curator` tag in prod, and nothing else."""
    rule = Rule(("tag",), (builders.PROD,), None, None, None, own=False)
    return replace(before, roles={**before.roles, Principal("curator"): (rule,)})


@pytest.fixture(scope="module")
def built() -> Built:
    made = builders.team()
    made.amend(may_tag)
    made.add("eve", "curator")
    made.add("mia", "curator", models=("other",))
    made.publish(who="dora")
    return made


def label(built: Built, **change: Any) -> Label:
    found, digest = built.manifest("churn:1")
    made = Label(built.vault, built.policy_id, found.model, found.version, digest, built.time, ("champion",))
    return replace(made, **change)


def judged(built: Built, made: Label, *who: str, kind: str = labels.KIND) -> Signed[Label] | Skipped:
    data = built.sign(kind, labels.encode(made), *(who or ("eve",)))
    return labels.judge(built.context, CHURN, ONE, built.manifest("churn:1")[1], data, "it")


def counting(built: Built, **change: Any) -> Signed[Label]:
    found = judged(built, label(built, **change))
    assert isinstance(found, Signed), found
    return found


# --- the document ---


def test_a_label_is_read_as_it_was_written(built: Built) -> None:
    given = Digest("a" * 64), Digest("b" * 64)
    for made in (
        label(built),
        label(built, tags=(), note="¡Olé! — अच्छा\nsecond line"),
        label(built, tags=(), untags={"a": given, "b": given[:1]}),
        label(built, tags=("a", "b"), untags={"c": given}, note="x"),
    ):
        payload = labels.encode(made)
        assert labels.parse(payload, "it") == made
        assert labels.encode(labels.parse(payload, "it")) == payload


def test_the_bytes_of_a_label_are_those_of_the_format() -> None:
    made = Label(
        Digest("a" * 64),
        PolicyId(1, 2, Digest("b" * 64)),
        CHURN,
        ONE,
        Digest("c" * 64),
        "2026-11-23T05:00:00Z",
        ("champion",),
        {"old": (Digest("d" * 64),)},
        "best so far",
    )
    assert labels.encode(made) == (
        b'{"created":"2026-11-23T05:00:00Z","manifest":"%s","model":"churn","note":"best so far",'
        b'"policy":{"digest":"%s","era":1,"version":2},"tags":["champion"],"untags":{"old":["%s"]},'
        b'"vault":"%s","version":"1"}'
    ) % (b"c" * 64, b"b" * 64, b"d" * 64, b"a" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"tags": [], "untags": {}, "note": None},
        {"tags": ["b", "a"]},
        {"tags": ["a", "a"]},
        {"tags": "a"},
        {"tags": [1]},
        {"tags": ["a b"]},
        {"tags": ["a" * 65]},
        {"tags": [f"t{number:02}" for number in range(limits.LABEL_TAGS + 1)]},
        {"untags": {"champion": ["a" * 64]}},
        {"untags": {"a": []}},
        {"untags": {"a": ["a" * 63]}},
        {"untags": {"a": ["b" * 64, "a" * 64]}},
        {"untags": {"a": "a" * 64}},
        {"untags": {"": ["a" * 64]}},
        {"untags": []},
        {"note": ""},
        {"note": " \n"},
        {"note": "x" * 4_097},
        {"note": 1},
        {"created": "yesterday"},
        {"manifest": "sha256:" + "a" * 64},
        {"environment": "prod"},
    ],
)
def test_a_label_of_another_shape_is_refused(built: Built, change: dict[str, Any]) -> None:
    value = {**json.loads(labels.encode(label(built))), **change}
    with pytest.raises(Malformed):
        labels.parse(strict_json.encode(value), "it")


@pytest.mark.parametrize("text", ["champion", "A", "2026-Q3", "team:quant", "v1.2+x", "a" * 64, "1"])
def test_tags_are_short_words(text: str) -> None:
    assert labels.tag(text) == text


@pytest.mark.parametrize(
    "text", ["", "-x", "x-", "a b", "a,b", "é", "a" * 65, "a/b", "a=b", "x\n", "\x1b[2J", "x" * 10_000]
)
def test_nothing_else_is_a_tag(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        labels.tag(text)
    assert caught.value.code == "malformed-name"
    assert len(caught.value.message) < 300


def test_half_a_character_is_no_note() -> None:
    with pytest.raises(Malformed):
        labels.note("\ud800")


# --- who may ---


def test_who_may_tag_the_model_somewhere_is_heard(built: Built) -> None:
    found = judged(built, label(built))
    assert isinstance(found, Signed)
    assert found.signers == ("eve",)


@pytest.mark.parametrize("who", ["dora", "ann", "mia"])
def test_who_may_not_tag_this_model_is_not(built: Built, who: str) -> None:
    found = judged(built, label(built), who)
    assert isinstance(found, Skipped)
    assert found.code == "untrusted-signer"


def test_a_stranger_is_not_heard_nor_stops_anybody(built: Built) -> None:
    made = built.fork()
    made.identities["stranger"] = builders.new_identity("stranger")
    newer = replace(built.policy_id, version=built.policy_id.version + 7)
    found = judged(made, label(built, policy=newer), "stranger")
    assert isinstance(found, Skipped)


@pytest.mark.parametrize(
    "change",
    [
        {"vault": Digest("f" * 64)},
        {"model": names.model("other")},
        {"version": Version("2")},
        {"manifest": Digest("f" * 64)},
    ],
)
def test_a_label_of_something_else_is_misplaced(built: Built, change: dict[str, Any]) -> None:
    found = judged(built, label(built, **change))
    assert isinstance(found, Skipped)
    assert found.code == "misplaced"


def test_another_kind_of_document_is_no_label(built: Built) -> None:
    found = judged(built, label(built), kind=records.ADOPTION)
    assert isinstance(found, Skipped)
    assert found.code == "wrong-payload-type"
    garbage = labels.judge(built.context, CHURN, ONE, Digest("a" * 64), b"{", "it")
    assert isinstance(garbage, Skipped)


def test_a_label_under_a_newer_policy_tells_that_it_is_withheld(built: Built) -> None:
    newer = replace(built.policy_id, version=built.policy_id.version + 1)
    with pytest.raises(Rollback):
        judged(built, label(built, policy=newer))


# --- what they come to ---


def test_tags_add_up_and_notes_follow_their_times(built: Built) -> None:
    later = names.time_text(built.now + 60)
    found = labels.come_to(
        [
            counting(built, tags=(), note="second", created=later),
            counting(built, tags=("a", "b")),
            counting(built, tags=("b", "c"), note="first"),
        ]
    )
    assert found.tags == {"a", "b", "c"}
    assert [entry.text for entry in found.notes] == ["first", "second"]
    assert found.notes[0].who == ("eve",)
    assert len(found.given["b"]) == 2
    assert labels.come_to([]) == Labels(frozenset(), (), {})


def test_what_is_taken_back_is_what_was_seen(built: Built) -> None:
    first = counting(built, tags=("a", "b"))
    meanwhile = counting(built, tags=("a",), note="at the same time")
    taken = counting(built, tags=(), untags={"a": (first.digest,), "b": (first.digest,)})
    assert labels.come_to([first, taken]).tags == frozenset()
    for order in ([first, meanwhile, taken], [taken, first, meanwhile], [meanwhile, taken, first]):
        found = labels.come_to(order)
        assert found.tags == {"a"}
        assert found.given == {"a": (meanwhile.digest,)}
    again = counting(built, tags=("b",), created=names.time_text(built.now + 1))
    assert labels.come_to([first, taken, again]).tags == {"b"}


def test_taking_back_what_nobody_gave_does_nothing(built: Built) -> None:
    first = counting(built)
    wrong = counting(built, tags=(), untags={"champion": (Digest("0" * 64),)})
    assert labels.come_to([first, wrong]).tags == {"champion"}


def test_a_copy_with_another_signature_counts_once(built: Built) -> None:
    made = label(built, tags=("a",), note="once")
    alone = judged(built, made)
    both = judged(built, made, "eve", "dora")
    assert isinstance(alone, Signed)
    assert isinstance(both, Signed)
    found = labels.come_to([alone, both])
    assert [entry.text for entry in found.notes] == ["once"]
    assert found.notes[0].who == ("eve",)
    assert found.given == {"a": (alone.digest,)}
    assert envelope.digest(labels.encode(made)) == alone.digest
