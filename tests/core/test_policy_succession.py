"""Which of several signed policies is in force: each follows the one before it, and a race has one winner."""

from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import Built
from vault.actions import checking
from vault.core import envelope, policy, policy_document, policy_succession
from vault.core.names import Digest

GONE = Digest("e" * 64)  # a policy that other people signed: it does not verify under the root in force


@pytest.fixture(scope="module")
def built() -> Built:
    return builders.solo()


class Chain:
    """Policies that follow each other, each by its number."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.objects: dict[int, bytes] = {}
        self.digests: dict[int, Digest] = {}

    def add(self, number: int, after: int | Digest | None, **change: Any) -> "Chain":
        """Write policy `number`, which follows that of number `after`."""
        prev = self.digests[after] if isinstance(after, int) else after
        document = replace(self.built.policy, version=number, prev=prev, **change)
        data = self.built.sign(policy.KIND, policy_document.encode(document), "owner")
        self.objects[number] = data
        self.digests[number] = envelope.parse(data, kind=policy.KIND, subject="it").digest
        return self

    def in_force(self) -> tuple[int, list[str]]:
        """Give the number in force, and what was skipped."""
        found, found_id, skipped = policy_succession.in_force(
            self.built.trusted, self.objects, self.objects.__getitem__
        )
        assert found_id.digest == self.digests[found.version]
        return found.version, [entry.name for entry in skipped]


def test_the_end_of_the_chain_is_in_force(built: Built) -> None:
    assert Chain(built).add(1, None).add(2, 1).add(5, 2).in_force() == (5, [])


def test_of_two_that_follow_the_same_one_the_lower_number_is_in_force(built: Built) -> None:
    chain = Chain(built).add(1, None).add(2, 1).add(3, 1)
    assert chain.in_force() == (2, ["policy 3"])
    assert chain.add(4, 2).in_force() == (4, ["policy 3"])


def test_what_follows_a_loser_is_lost_with_it(built: Built) -> None:
    chain = Chain(built).add(1, None).add(2, 1).add(3, 1).add(4, 3).add(5, 4)
    assert chain.in_force() == (2, ["policy 3", "policy 4", "policy 5"])
    assert chain.add(6, 2).in_force() == (6, ["policy 3", "policy 4", "policy 5"])


def test_a_draft_of_long_ago_cannot_be_put_on_top(built: Built) -> None:
    chain = Chain(built).add(1, None).add(2, 1).add(3, 2).add(4, 3)
    for after in (1, 2, None):
        assert chain.add(9, after).in_force() == (4, ["policy 9"])


def test_one_whose_predecessor_other_people_signed_counts(built: Built) -> None:
    assert Chain(built).add(4, GONE).in_force() == (4, [])
    chain = Chain(built).add(1, None).add(4, GONE).add(5, 4)
    assert chain.in_force() == (5, [])
    assert chain.add(6, GONE).in_force() == (5, ["policy 6"]), "but only one of them"
    assert chain.add(7, 1).in_force() == (5, ["policy 6", "policy 7"])


def test_a_new_era_begins_where_it_says(built: Built) -> None:
    chain = Chain(built).add(1, None).add(2, 1).add(3, 2)
    chain.add(4, 1, era=1, continues={})
    assert chain.in_force() == (4, [])
    assert chain.add(5, 1, era=1, continues={}).in_force() == (4, ["policy 5"]), "and once"
    assert chain.add(6, 3).in_force() == (4, ["policy 5"]), "what the old era goes on with comes before it"
    assert chain.add(7, 4, era=1, continues={}).in_force() == (7, ["policy 5"])


def test_what_its_place_cannot_be_read_of_is_parsed_and_the_same_one_wins(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(built).add(1, None).add(2, 1).add(3, 1)
    monkeypatch.setattr(policy_succession, "_place", lambda _: None)
    assert chain.in_force() == (2, ["policy 3"])


@pytest.mark.parametrize("payload", [b"{}", b'{"a":1,"era":x,"vault":1}', b"\xff"])
def test_what_is_signed_and_no_policy_is_skipped(built: Built, payload: bytes) -> None:
    chain = Chain(built).add(1, None)
    chain.objects[2] = built.sign(policy.KIND, payload, "owner")
    chain.objects[3] = chain.objects[1]
    assert chain.in_force() == (1, ["policy 3", "policy 2"])


def test_a_check_tells_what_is_signed_and_malformed_though_it_matters_to_nobody(built: Built) -> None:
    vault = built.fork()
    objects = Chain(built).add(2, Digest(vault.session().trust().policy_id.digest)).objects
    whole = envelope.parse(objects[2], kind=policy.KIND, subject="it").payload
    broken = whole.replace(b'"kind":"person"', b'"kind":"alien"')
    vault.write("trust/policy/000002.json", built.sign(policy.KIND, broken, "owner"))
    after = Chain(built).add(3, envelope.digest(broken)).objects[3]
    vault.write("trust/policy/000003.json", after)
    session = vault.session()
    assert session.trust().policy.version == 3
    assert session.trust().skipped == (), "it was not parsed"
    assert [(entry.name, entry.code) for entry in session.trust_skipped()] == [
        ("policy 2", "malformed-document")
    ]
    told = checking.check(session, None, data=False).findings
    assert ("policy 2", "malformed-document") in [(entry.subject, entry.code) for entry in told]
