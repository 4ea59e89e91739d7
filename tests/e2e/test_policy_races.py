"""Two drafts that follow the same policy or root, under different numbers, at the same instant: one wins."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.vault_mixing import check
from tests.builders import Built, solo
from tests.e2e.drafting_parts import SOLO, apply, draft, person, rotate, signed
from tests.faults import FaultyStore, Operation
from vault.actions import applying, drafting
from vault.actions.draft_files import Draft
from vault.core import layout
from vault.core.names import Principal
from vault.errors import Conflict

ANN, BEN = person("ann"), person("ben")


def text(name: str) -> str:
    return SOLO + f"  {name}: {{kind: person, roles: [owner]}}\n"


@pytest.fixture
def built() -> Built:
    made = solo(seed="races")
    made.promote(made.publish())
    for identity in (ANN, BEN):
        made.identities[identity.name] = identity
    return made


def two_policies(built: Built, folder: Path) -> tuple[Draft, Draft]:
    """Draft and sign policies 2 and 3, both after policy 1: something lay at 2 when the second was made."""
    found = []
    for number, (name, identity) in enumerate((("ann", ANN), ("ben", BEN))):
        place = folder / name
        place.mkdir()
        if number:
            built.write(layout.policy(2), b"a stranger's")
        found += signed(built, place, [draft(built, text(name), identity)], "owner")
    del built.store.objects[layout.policy(2)]
    assert [one.document.version for one in found] == [2, 3]
    return found[0], found[1]


def at(built: Built, moment: Callable[[Operation, str], bool], action: Callable[[], object]) -> FaultyStore:
    """Give a store in which something else is done once, at a moment of somebody's own work."""
    done: list[object] = []

    def hook(operation: Operation, when: str) -> None:
        if not done and moment(operation, when):
            done.append(operation)
            action()

    return FaultyStore(built.store, on_operation=hook)


def outcome(action: Callable[[], object]) -> str:
    try:
        action()
    except Conflict as error:
        return "told" if "mvault policy status" in error.hint else error.hint
    return "won"


MOMENTS = [(number, when) for number in (2, 3) for when in ("before", "after")]


@pytest.mark.parametrize(("number", "when"), MOMENTS)
@pytest.mark.parametrize("slower", ["lower", "higher"])
def test_of_two_numbers_after_one_policy_one_wins_at_every_moment_and_the_other_is_told(
    slower: str, number: int, when: str, built: Built, tmp_path: Path
) -> None:
    lower, higher = two_policies(built, tmp_path)
    mine, theirs = (lower, higher) if slower == "lower" else (higher, lower)
    answers: list[str] = []
    rival = built.session()

    def interrupt() -> None:
        answers.append(outcome(lambda: applying.apply(rival, [theirs])))

    store = at(
        built,
        lambda operation, moment: (
            (operation.verb, operation.name, moment) == ("commit", layout.policy(number), when)
        ),
        interrupt,
    )
    answers.append(outcome(lambda: applying.apply(built.session(store=store), [mine])))
    if len(answers) == 1:
        assert (slower, number) == ("lower", 3), "the lower one never touches the higher name"
        interrupt()
        answers.reverse()
    assert sorted(answers) == ["told", "won"]
    winner = theirs if answers[0] == "won" else mine
    assert built.policy_id.digest == winner.digest
    assert len(built.policy.members) == 2
    assert check(built, data=False).whole
    # and nothing that was signed for the race can be put in later
    loser = mine if winner is theirs else theirs
    before = built.policy_id
    for place in (layout.policy(2), layout.policy(3)):
        if place not in built.store.objects:
            built.write(place, applying.stored(loser, {}))
    assert built.policy_id == before


def test_the_loser_drafts_anew_and_both_changes_are_in_force(built: Built, tmp_path: Path) -> None:
    lower, higher = two_policies(built, tmp_path)
    apply(built, higher)
    with pytest.raises(Conflict):
        apply(built, lower)
    both = text("ann") + "  ben: {kind: person, roles: [owner]}\n"
    (tmp_path / "again").mkdir()
    (again,) = signed(built, tmp_path / "again", [draft(built, both, ANN)], "owner")
    apply(built, again)
    assert {"ann", "ben"} <= set(built.policy.members)


def test_a_kill_between_the_names_is_finished_by_applying_again(built: Built, tmp_path: Path) -> None:
    _, higher = two_policies(built, tmp_path)

    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    store = at(
        built,
        lambda operation, when: (operation.name, when) == (layout.policy(3), "before"),
        kill,
    )
    with pytest.raises(Killed):
        applying.apply(built.session(store=store), [higher])
    assert layout.policy(2) in built.store.objects
    assert built.policy.version == 1
    assert apply(built, higher).policy == 3


def test_of_two_numbers_after_one_root_one_wins_and_the_other_is_told(built: Built, tmp_path: Path) -> None:
    def root(name: str) -> Draft:
        drafts = drafting.root_draft(
            built.session(), {Principal("owner"): (), Principal(name): [built.identities[name].public]}
        )
        assert drafts[1] is None
        (tmp_path / name).mkdir()
        (made,) = signed(built, tmp_path / name, [drafts[0]], "owner")
        return made

    lower = root("ann")
    built.write(layout.root(2), b"a stranger's")
    higher = root("ben")
    del built.store.objects[layout.root(2)]
    answers: list[str] = []
    store = at(
        built,
        lambda operation, when: (operation.verb, operation.name, when) == ("commit", layout.root(3), "after"),
        lambda: answers.append(outcome(lambda: apply(built, lower))),
    )
    applying.apply(built.session(store=store), [higher])
    assert answers == ["told"]
    assert {key.name for key in built.trusted.root.keys} == {"owner", "ben"}


def test_a_root_that_voids_a_policy_applied_at_the_same_moment_tells_so(built: Built, tmp_path: Path) -> None:
    """Ann and ben's root: the owner alone signs a policy while it is being applied."""
    rotate(built, tmp_path, {"owner": [], "ann": [ANN], "ben": [BEN]}, 1, "owner")
    (tmp_path / "both").mkdir()
    (mine,) = signed(built, tmp_path / "both", [draft(built, SOLO)], "owner", "ann")
    apply(built, mine)  # policy that ann signed too, so that it counts without the owner
    (tmp_path / "root").mkdir()
    made, policy = drafting.root_draft(
        built.session(), {Principal("ann"): (), Principal("ben"): ()}, threshold=1
    )
    assert policy is None
    (ready,) = signed(built, tmp_path / "root", [made], "owner", "ann")
    (tmp_path / "policy").mkdir()
    (rival,) = signed(built, tmp_path / "policy", [draft(built, text("cy"), person("cy"))], "owner")
    store = at(
        built,
        lambda operation, when: (
            (operation.verb, operation.name, when)
            == ("commit", layout.root(ready.document.version), "before")
        ),
        lambda: apply(built, rival),
    )
    with pytest.raises(Conflict, match="applied at the same moment") as caught:
        applying.apply(built.session(store=store), [ready])
    assert "mvault policy draft" in caught.value.hint
    assert "cy" not in built.policy.members
