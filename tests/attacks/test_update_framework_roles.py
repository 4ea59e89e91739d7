"""The Update Framework's scenarios about roles below the root: thresholds, rotation, delegation.

A root delegates to the policy; the policy delegates to people by roles and patterns; their manifests,
approvals and channel records stand for delegated targets.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests import builders
from tests.attacks.test_freshness import renew
from tests.attacks.update_framework_parts import (
    NEW,
    OLD,
    attested,
    code_of,
    each,
    held_by,
    newcomer,
    number_of,
    released,
    remembered,
    scenario,
)
from tests.attacks.vault_mixing import check, outcome, resigned, revoked, skipped, without
from tests.builders import CONTENT, Built, team
from tests.e2e.drafting_parts import SOLO, draft
from tests.e2e.team_parts import as_, let_in
from vault import policyfile
from vault.core import envelope, layout, names, policy_check
from vault.core.envelope import Signature
from vault.core.names import Digest, Principal
from vault.core.policy import Policy
from vault.errors import VaultError

ROTATIONS = "key_rotations::test_non_root_rotations"
GRAPH = "delegation_graphs::test_graph_traversal"
SEARCH = "delegation_graphs::test_targetfile_search"


@dataclass(frozen=True)
class Signed:
    """Who holds the root, its threshold, who signed the policy below it, and whether that counts."""

    keys: tuple[int, ...]
    threshold: int
    sigs: tuple[int, ...]
    counts: bool = True


FIVE = (0, 1, 2, 3, 4)
ROTATED = (0, 1, 3, 4, 5)
CASES = {
    "1-of-1-key-rotation": Signed((2,), 1, (2,)),
    "1-of-1-key-rotation-unused-signatures": Signed((1,), 1, (3, 1, 4)),
    "1-of-1-key-rotation-fail-not-signed-with-new-key": Signed((2,), 1, (1, 3, 4), counts=False),
    "3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys": Signed(
        ROTATED, 3, (0, 2, 4), counts=False
    ),
    "2-of-5-one-key-signature-mising-threshold-not-reached": Signed(ROTATED, 3, (0, 4), counts=False),
    "3-of-5-sign-first-combo": Signed(FIVE, 3, (0, 2, 4)),
    "3-of-5-sign-second-combo": Signed(FIVE, 3, (0, 4, 1)),
    "3-of-5-sign-third-combo": Signed(FIVE, 3, (0, 1, 3)),
    "3-of-5-sign-fourth-combo": Signed(FIVE, 3, (1, 2, 3)),
    "3-of-5-sign-fifth-combo": Signed(FIVE, 3, (2, 3, 4)),
}


def second_policy(built: Built, *sigs: int) -> bytes:
    """Give the policy that follows policy 1 and changes nothing, signed by these people."""
    before = envelope.parse(built.store.objects[layout.policy(1)], kind="policy", subject="").digest

    def follow(doc: dict[str, object]) -> None:
        doc.update(version=2, prev=before)

    return resigned(built, layout.policy(1), "policy", follow, *(f"p{who}" for who in sigs))


@pytest.mark.parametrize("name", CASES)
@scenario(*each(ROTATIONS, CASES))
def test_non_root_rotations(name: str) -> None:
    """Only the holders of the root in force vote on a policy, and the threshold is theirs."""
    case = CASES[name]
    built = released(held_by(case.keys, case.threshold))
    data = second_policy(built, *case.sigs)
    built.write(layout.policy(2), data)
    assert built.policy.version == (2 if case.counts else 1)
    assert outcome(built, "churn@prod") == CONTENT
    assert skipped(check(built)) == (set() if case.counts else {"policy 2"})


def test_as_many_cases_run_as_the_suite_has() -> None:
    assert (len(CASES), sum(not case.counts for case in CASES.values())) == (10, 3)


# --- thresholds and signature lists ---


def with_signatures(built: Built, name: str, kind: str, change: Callable[..., tuple[Signature, ...]]) -> None:
    sealed = envelope.parse(built.store.objects[name], kind=kind, subject=name)
    built.write(name, envelope.serialise(replace(sealed, signatures=change(sealed.signatures))))


@scenario("keys::test_snapshot_does_not_meet_threshold", "keys::test_root_has_keys_but_not_snapshot")
def test_a_policy_of_two_of_three_when_three_are_asked_for() -> None:
    built = released(held_by((0, 1, 2), 3))
    assert outcome(built, "churn@prod") == CONTENT
    for signers, version in (((0, 1), 1), ((0, 1, 9), 1), ((0, 1, 2), 2)):
        built.write(layout.policy(2), second_policy(built, *signers))
        assert built.policy.version == version
    assert outcome(built, "churn@prod") == CONTENT


@scenario("keys::test_duplicate_keys", "keys::test_snapshot_threshold")
def test_one_persons_votes_are_one_however_they_are_repeated() -> None:
    """One approval stored twice, signed anew, and with its signature nine times over: one person."""
    built = team()
    built.publish(NEW, who="dora")
    built.approve("churn:1", "ann")
    built.now += 1
    built.approve("churn:1", "ann")
    approval = next(name for name in built.store.objects if "/approvals/prod/" in name)
    sealed = envelope.parse(built.store.objects[approval], kind="approval", subject="")
    data = envelope.serialise(replace(sealed, signatures=sealed.signatures * 9))
    built.write(approval.rpartition("/")[0] + f"/{envelope.digest(data)}.json", data)
    built.write_record(built.record("churn:1", 1), "rex")
    assert code_of(lambda: built.find("churn@prod", who="server", env="prod")) == "not-found"
    assert code_of(lambda: as_(built, "rex").promote("churn:1", env="prod")) == "approvals-missing"
    as_(built, "bob").approve("churn:1", env="prod")
    assert built.find("churn@prod", who="server", env="prod").manifest.version == "1"


@scenario("keys::test_duplicate_sig_keyids")
def test_duplicate_sig_keyids() -> None:
    """A repeated entry is refused by the update framework; here it is no second vote and no error.

    Nobody signs the list, so anybody who can write could spoil a document by one more entry.
    """
    for threshold, version in ((1, 2), (2, 1)):
        built = released(held_by((0, 1), threshold))
        data = second_policy(built, 0)
        built.write(layout.policy(2), data)
        with_signatures(built, layout.policy(2), "policy", lambda found: found * 2)
        assert built.policy.version == version


@scenario("keys::test_invalid_sig_in_valid_metadata")
@pytest.mark.parametrize("noise", ["a broken one", "an unknown key", "an empty one"])
def test_invalid_sig_in_valid_metadata(noise: str) -> None:
    """A vote more that does not hold changes nothing; an entry that is no 64 bytes is no envelope at all."""
    built = released(held_by((0, 1), 1))
    data = second_policy(built, 0)
    built.write(layout.policy(2), data)
    known = Digest(built.identities["p1"].key_id)
    extra = {
        "a broken one": Signature(known, bytes(64)),
        "an unknown key": Signature(Digest("ab" * 32), bytes(64)),
        "an empty one": Signature(known, b""),
    }[noise]
    for order in (lambda found: (*found, extra), lambda found: (extra, *found[:1])):
        with_signatures(built, layout.policy(2), "policy", order)
        assert built.policy.version == (1 if noise == "an empty one" else 2)
        assert outcome(built, "churn@prod") == CONTENT
        built.write(layout.policy(2), data)
        built.memories = {}


# --- what a role may do is judged by who delegates now ---


def without_role(who: str) -> Callable[[Policy], Policy]:
    name = Principal(who)
    return lambda before: replace(
        before, members={**before.members, name: replace(before.members[name], roles=())}
    )


@pytest.mark.parametrize("change", [without("cat"), revoked("cat"), without_role("cat")])
@pytest.mark.parametrize("session", ["open", "new"])
@scenario(
    "python-tuf/top_level::test_load_metadata_from_cache",
    "python-tuf/top_level::test_not_loading_targets_twice",
)
def test_a_cached_role_is_checked_against_its_current_delegator(
    change: Callable[[Policy], Policy], session: str
) -> None:
    """An approval does not count once its signer's right is gone, in a vault that is open already either."""
    built = team()
    built.publish(OLD, who="dora")
    built.publish(NEW, who="dora")
    let_in(built, "churn:1")
    for who in ("ann", "cat"):
        as_(built, who).approve("churn:2", env="prod")
    as_(built, "rex").promote("churn:2", env="prod")
    opened = built.session("server", env="prod")
    assert built.read("churn@prod", session=opened) == NEW
    built.amend(change)
    used = opened if session == "open" else built.session("server", env="prod")
    with pytest.raises(VaultError) as caught:
        built.read("churn@prod", session=used)
    assert caught.value.code == "rollback"
    assert outcome(newcomer(built), "churn@prod", who="server", env="prod") == OLD
    as_(built, "bob").approve("churn:2", env="prod")
    assert built.read("churn@prod", session=used) == NEW


def test_cached_heads_are_judged_anew_when_the_policy_changes() -> None:
    built = attested()
    renew(built)
    session = built.session()
    assert built.read("churn@prod", session=session) == OLD
    built.amend(revoked("renewer"))
    with pytest.raises(VaultError) as caught:
        built.read("churn@prod", session=session)
    assert caught.value.code == "heads-expired"
    renew(built, "second")
    assert built.read("churn@prod", session=session) == OLD
    assert number_of(remembered(built, "heads")) == 2


# --- delegation ---

TREE = """
roles:
  top: {allow: [{actions: [publish, load], env: [dev]}]}
  a: {allow: [{actions: [publish, load], env: [dev], models: ["docs/*"]}]}
  b: {allow: [{actions: [publish, load], env: [dev], models: ["releases/*"]}]}
environments:
  dev: {formats: [json]}
  prod: {formats: [json]}
principals:
  owner: {roles: [top]}
"""


def tree() -> Built:
    """Build a vault in which models are delegated by role and narrowed by person."""
    built = builders.solo(seed="tree", policy=TREE)
    for who, role, models in (
        ("ada", ("a",), None),
        ("bea", ("b",), None),
        ("cleo", ("b",), ("releases/x/*",)),
        ("dan", ("b",), ("releases/y/*", "docs/*")),
        ("eve", ("a", "b"), ("releases/z",)),
    ):
        built.add(who, *role, models=models)
    return built


@pytest.mark.parametrize(
    ("who", "model", "allowed"),
    [
        ("owner", "targetfile", True),
        ("ada", "docs/readme", True),
        ("ada", "releases/x/x_v1", False),
        ("bea", "releases/x/x_v1", True),
        ("cleo", "releases/x/x_v1", True),
        ("cleo", "releases/y/y_v1", False),
        ("dan", "releases/y/y_v1", True),
        ("dan", "docs/readme", False),  # his own list has it, his role's rule has not
        ("dan", "releases/z/z_v1", False),  # his role has it, his own list has not
        ("eve", "releases/z", True),
        ("eve", "docs/readme", False),
        ("eve", "releases/z/z_v1", False),
    ],
)
@scenario(
    *each(
        SEARCH,
        [
            "no delegations",
            "targetpath matches wildcard",
            "targetpath with separators x",
            "targetpath with separators y",
            "targetpath is not delegated by all roles in the chain",
        ],
    ),
    *each(
        GRAPH,
        [
            "two-level-ignores-all-branches-not-matching-paths",
            "three-level-ignores-all-branches-not-matching-paths",
            "two-roles-delegating-to-a-third",
            "two-roles-delegating-to-a-third-different-paths",
        ],
    ),
    "python-tuf::test_arbitrary_package_attack",
)
def test_a_model_must_be_delegated_at_every_level(who: str, model: str, allowed: bool) -> None:
    """Role and person must both cover a model; several roles add up, in no order."""
    built = tree()
    if allowed:
        assert outcome(built, str(built.publish(NEW, model=model, who=who))) == NEW
        return
    assert code_of(lambda: built.publish(NEW, model=model, who=who)) == "access-denied"
    built.publish(NEW, model=model)
    place = layout.manifest(names.model(model), names.version("1"))

    def claim(doc: dict[str, object]) -> None:
        doc.update(publishers=[built.identities[who].key_id])

    built.write(place, resigned(built, place, "manifest", claim, who))
    assert outcome(newcomer(built), f"{model}:1") == "untrusted-signer"


@scenario(*each(GRAPH, ["cyclic-graph"]))
@pytest.mark.parametrize("owners", [("left",), ("right",), ("robot",)])
def test_cyclic_graph(owners: tuple[str, ...], tmp_path: Path) -> None:
    """Services are owned by people and by nobody else, so what stands for whom never goes in a circle."""
    text = SOLO + (
        f"  left: {{kind: service, owners: [{owners[0]}], roles: [loader]}}\n"
        "  right: {kind: service, owners: [left], roles: [loader]}\n"
        "  robot: {kind: service, owners: [right], roles: [loader]}\n"
    )
    found = policy_check.check(policyfile.view(policyfile.parse(text, "p.yaml")), now=builders.NOW)
    assert "owner-no-person" in {entry.code for entry in found}
    built = released(builders.solo(seed="cycle"))
    people = [builders.new_identity(name) for name in ("left", "right", "robot")]
    with pytest.raises((VaultError, ValueError)):
        draft(built, text, *people)
    assert outcome(built, "churn@prod") == CONTENT
