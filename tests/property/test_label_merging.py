"""Labels that several people write at once merge to the same, in any order, and none of them is lost."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import envelope, labels, names
from vault.core.in_force import Signed
from vault.core.labels import Label
from vault.core.names import Digest, Principal
from vault.core.policy import PolicyId

ZERO = Digest("0" * 64)
TAGS = st.sets(st.sampled_from("abc"), min_size=1)


@dataclass
class Copy:
    """What one person sees of a version's labels, and what they wrote, slowly accounted for."""

    seen: dict[Digest, Signed[Label]] = field(default_factory=dict)
    given: set[tuple[str, Digest]] = field(default_factory=set)
    taken: set[tuple[str, Digest]] = field(default_factory=set)
    noted: int = 0


def word(
    number: int, tags: set[str], untags: dict[str, tuple[Digest, ...]], note: str | None
) -> Signed[Label]:
    made = Label(
        ZERO,
        PolicyId(0, 1, ZERO),
        names.model("churn"),
        names.version("1"),
        ZERO,
        names.time_text(1_795_410_000 + number),
        tuple(sorted(tags)),
        untags or None,
        note,
    )
    payload = labels.encode(made)
    return Signed(labels.parse(payload, "it"), envelope.digest(payload), (Principal("eve"),))


ACTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["tag", "untag", "note", "merge"]), TAGS), max_size=30
)


@settings(deadline=None, max_examples=200)
@given(ACTS, st.randoms(use_true_random=False))
def test_copies_that_meet_come_to_what_everybody_gave_and_nobody_took_back(
    acts: list[tuple[int, str, set[str]]], random: Random
) -> None:
    copies = [Copy(), Copy(), Copy()]
    for number, (who, act, tags) in enumerate(acts):
        mine = copies[who]
        now = labels.come_to(mine.seen.values())
        if act == "merge":
            for other in copies:
                mine.seen |= other.seen
            continue
        if act == "untag":
            taken = {name: now.given[name] for name in tags & now.tags}
            made = word(number, set(), taken, None) if taken else None
            mine.taken |= {(name, digest) for name, digests in taken.items() for digest in digests}
        elif act == "note":
            made = word(number, set(), {}, f"note {number}")
            mine.noted += 1
        else:
            made = word(number, tags, {}, None)
            mine.given |= {(name, made.digest) for name in tags}
        if made is not None:
            mine.seen[made.digest] = made
    everything = [entry for copy in copies for entry in copy.seen.values()]
    random.shuffle(everything)
    found = labels.come_to(everything)
    left = set().union(*(copy.given for copy in copies)) - set().union(*(copy.taken for copy in copies))
    assert found.tags == {name for name, _ in left}
    assert {(name, digest) for name, digests in found.given.items() for digest in digests} == left
    assert len(found.notes) == sum(copy.noted for copy in copies)
    assert [note.created for note in found.notes] == sorted(note.created for note in found.notes)
    random.shuffle(everything)
    assert labels.come_to(everything) == found
