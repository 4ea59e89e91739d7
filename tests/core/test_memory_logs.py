"""What a client remembers of logs only grows in length, is bounded, and is read back."""

import pytest

from vault.core import limits, memory_format, memory_journal
from vault.core.memory_format import Mark, Memory
from vault.errors import Refused, Rollback

VAULT = "ab" * 32


def knowing(**logs: Mark) -> Memory:
    return Memory(VAULT, logs={f"env/{name}": mark for name, mark in logs.items()})


def mark(number: int, size: int, root: str = "c") -> Mark:
    return Mark(number, size, root * 64)


@pytest.mark.parametrize(
    ("known", "seen", "kept"),
    [
        (mark(0, 50), mark(7, 30, "d"), mark(0, 50)),  # a proof told of more than who read the log before
        (mark(7, 30), mark(0, 50, "d"), mark(0, 50, "d")),
        (mark(0, 50), mark(9, 50), mark(9, 50)),
        (mark(9, 50), mark(0, 50), mark(9, 50)),
        (mark(9, 50), mark(8, 51, "d"), mark(8, 51, "d")),
    ],
)
def test_the_longer_of_two_stays_whatever_the_numbers_of_their_commits(
    known: Mark, seen: Mark, kept: Mark
) -> None:
    before = knowing(prod=known)
    after = memory_format.merge(before, knowing(prod=seen))
    assert after.logs == {"env/prod": kept}
    _, stored = memory_journal.whole(before)
    added = memory_journal.line(stored, knowing(prod=seen), after)
    if kept == known:
        assert after is before
    else:
        assert added is not None
        text = memory_journal.whole(before)[0] + added[0]
        assert memory_journal.parse(text, VAULT, "it").memory.logs == after.logs


@pytest.mark.parametrize("number", [0, 7, 8])
def test_two_trees_of_one_size_are_two_histories(number: int) -> None:
    with pytest.raises(Rollback):
        memory_format.merge(knowing(prod=mark(7, 30)), knowing(prod=mark(number, 30, "d")))


def test_a_line_that_shortens_a_log_is_damage() -> None:
    data, stored = memory_journal.whole(knowing(prod=mark(7, 30)))
    added = memory_journal.line(stored, knowing(prod=mark(9, 20)), knowing(prod=mark(9, 20)))
    assert added is not None
    with pytest.raises(Refused, match="goes back"):
        memory_journal.parse(data + added[0], VAULT, "it")


def test_however_many_access_logs_there_are_memory_can_be_read_back() -> None:
    many = {f"access/server/{place:016x}": mark(1, place + 1) for place in range(limits.PRINCIPALS + 1)}
    seen = Memory(VAULT, logs={"env/prod": mark(1, 1), "trust": mark(1, 1), **many})
    before = Memory(VAULT)
    after = memory_format.merge(before, seen)
    assert {"env/prod", "trust", f"access/server/{limits.PRINCIPALS:016x}"} <= after.logs.keys()
    assert memory_format.parse(memory_format.encode(after), VAULT, "it").logs == after.logs
    full = Memory(VAULT, logs={**after.logs, **dict(list(many.items())[: limits.PRINCIPALS // 2])})
    again = memory_format.merge(after, full)
    assert len(again.logs) <= limits.PRINCIPALS // 2
    _, stored = memory_journal.whole(after)
    if not after.logs.keys() <= again.logs.keys():
        assert memory_journal.line(stored, full, again) is None
