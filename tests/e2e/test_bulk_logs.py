"""What threads append to a log together: each gets its own answer, and nobody suffers for another."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import MAIN, PROD, solo
from tests.e2e.audit_parts import granting, recording
from vault.actions import auditing, logged
from vault.actions.session import Session
from vault.actions.together import Answer, Together
from vault.core import audit_record, limits
from vault.core.audit_record import AuditRecord
from vault.core.log_names import environment_log
from vault.core.names import Digest, Model
from vault.errors import Conflict, LogInconsistent, Unavailable, VaultError

LOG = environment_log(PROD)


# --- doing things together ---


def held(
    do: Callable[[Sequence[int]], Sequence[Answer[int]]], items: Sequence[int]
) -> tuple[list[list[int]], dict[int, Any]]:
    """Ask for all items while the first is being done; give what was done together, and each answer."""
    together: Together[int, int] = Together()
    begun, go_on = threading.Event(), threading.Event()
    groups: list[list[int]] = []
    answers: dict[int, Any] = {}

    def slow(asked: Sequence[int]) -> Sequence[Answer[int]]:
        groups.append([*asked])
        if len(groups) == 1:
            begun.set()
            assert go_on.wait(20)
        return do(asked)

    def ask(item: int) -> None:
        try:
            answers[item] = together.ask(item, slow)
        except VaultError as error:
            answers[item] = error

    threads = [threading.Thread(target=ask, args=(item,)) for item in items]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(together._group.items) < len(items) - 1:
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(20)
    return groups, answers


def test_what_comes_meanwhile_is_done_together_and_each_gets_its_own_answer() -> None:
    groups, answers = held(lambda asked: [item * 10 for item in asked], range(8))
    assert groups[0] == [0]
    assert sorted(groups[1]) == [1, 2, 3, 4, 5, 6, 7]
    assert answers == {item: item * 10 for item in range(8)}


def test_one_may_be_refused_without_the_others() -> None:
    _, answers = held(lambda asked: [Conflict("taken") if item == 3 else item for item in asked], range(6))
    assert isinstance(answers.pop(3), Conflict)
    assert answers == {item: item for item in range(6) if item != 3}


def test_a_failure_of_all_is_everybodys_and_each_gets_a_copy() -> None:
    def fail(asked: Sequence[int]) -> Sequence[Answer[int]]:
        raise Unavailable("The store is full.", code="storage-full", subject="s", hint="h")

    _, answers = held(fail, range(4))
    assert {(str(error), error.code, error.subject) for error in answers.values()} == {
        ("The store is full. h", "storage-full", "s")
    }
    assert len({id(error) for error in answers.values()}) == 4


def test_a_defect_is_raised_where_it_happened_and_leaves_nobody_waiting() -> None:
    together: Together[int, int] = Together()

    def broken(asked: Sequence[int]) -> Sequence[Answer[int]]:
        raise RuntimeError("a defect")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="defect"):
            together.ask(1, broken)
    assert together.ask(1, lambda asked: [*asked]) == 1


# --- a log ---


def writer() -> Session:
    built = solo(seed="bulk logs")
    built.amend(granting("owner", "log"))
    return recording(built.session(), None)


def record(session: Session, seq: int, evidence: str, *, model: str = "churn") -> AuditRecord:
    begun = auditing.begun(
        session, "promote", None, PROD, model=Model(model), slot=MAIN, seq=seq, manifest=Digest("0" * 64)
    )
    return replace(
        begun, decision=audit_record.ALLOW, outcome=audit_record.DONE, evidence=Digest(evidence * 64)
    )


def appended(session: Session, *asked: tuple[AuditRecord, ...]) -> list[Any]:
    return [
        answer if isinstance(answer, VaultError) else (answer[0].number, answer[1])
        for answer in logged._append_all(session, LOG, asked)
    ]


def test_records_of_several_go_into_one_commit_each_with_its_proof() -> None:
    session = writer()
    one = (record(session, 1, "a"), record(session, 1, "b", model="other"))
    two = (record(session, 2, "c"),)
    assert appended(session, one, two) == [(1, 0), (1, 2)]
    done, first = logged._append_all(session, LOG, [(record(session, 3, "d"),)])[0]  # type: ignore[misc]
    assert done.proof(first).index == 3


def test_who_lost_a_number_is_refused_and_the_others_are_logged() -> None:
    session = writer()
    assert appended(session, (record(session, 1, "a"),)) == [(1, 0)]
    answers = appended(
        session, (record(session, 2, "b"),), (record(session, 1, "c"),), (record(session, 3, "d"),)
    )
    assert isinstance(answers[1], LogInconsistent)
    assert [answers[0], answers[2]] == [(2, 0), (3, 0)]


def test_two_in_one_group_never_share_a_number() -> None:
    session = writer()
    answers = appended(session, (record(session, 1, "a"),), (record(session, 1, "b"),))
    assert answers[0] == (1, 0)
    assert isinstance(answers[1], LogInconsistent)
    assert appended(session, (record(session, 1, "a"),)) == [(2, 0)]  # the same one may be told of again


def test_what_one_commit_cannot_hold_goes_into_several() -> None:
    session = writer()
    long = "x" * limits.AUDIT_SUBJECT_CHARS
    many = [(replace(record(session, seq, "a"), seq=None, subject=long),) for seq in range(1, 1_500)]
    numbers = {number for number, _ in appended(session, *many)}
    assert len(numbers) > 1
