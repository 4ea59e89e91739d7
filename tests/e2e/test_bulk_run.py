"""`bulk.run`: what becomes of each item, when a run ends early, and what Ctrl-C leaves behind."""

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from vault.actions import bulk
from vault.actions.bulk_results import Batch, Done, Failed, Interrupted, Run, gather
from vault.errors import AccessDenied, Conflict, NotFound, NoUsableKey, Refused, Unavailable, VaultError

HUNDRED = range(100)


def failing_at(*places: int, error: Exception) -> Callable[[int], int]:
    def work(item: int) -> int:
        if item in places:
            raise error
        return item * item

    return work


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_every_item_is_done_once_and_told_of_once(threads: int) -> None:
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        return item * item

    found = {one.item: one.result for one in bulk.run(HUNDRED, work, threads=threads)}
    assert found == {item: item * item for item in HUNDRED}
    assert sorted(done) == list(HUNDRED)


def test_as_many_threads_as_asked_for_work_at_the_same_time() -> None:
    meeting = threading.Barrier(8, timeout=20)
    assert len(list(bulk.run(range(8), lambda item: meeting.wait(), threads=8))) == 8


@pytest.mark.parametrize(
    "error",
    [Refused("x"), NotFound("x"), Conflict("x"), AccessDenied("x"), ValueError("x"), TypeError("x")],
)
def test_one_that_fails_is_no_end_of_the_others(error: Exception) -> None:
    found = {one.item: one for one in bulk.run(HUNDRED, failing_at(7, error=error), threads=4)}
    assert len(found) == 100
    assert found[7].error is error
    assert found[7].result is None
    assert sum(one.error is None for one in found.values()) == 99


@pytest.mark.parametrize("error", [Unavailable("full", code="storage-full"), NoUsableKey("none")])
def test_where_there_is_no_room_or_no_key_nothing_more_is_begun(error: VaultError) -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        raise error

    found = list(bulk.run(HUNDRED, work, threads=2))
    assert len(found) == len(begun) < 10  # what was begun is told of too


def test_a_denial_ends_the_run_when_it_is_the_rule() -> None:
    found = list(bulk.run(HUNDRED, failing_at(*HUNDRED, error=AccessDenied("no")), threads=1))
    assert bulk.PATIENCE <= len(found) < 20


def test_a_denial_now_and_then_does_not_end_the_run() -> None:
    found = list(bulk.run(HUNDRED, failing_at(*range(0, 100, 3), error=AccessDenied("no")), threads=1))
    assert len(found) == 100


def test_a_defect_is_raised_and_not_taken_for_a_failure_of_a_model() -> None:
    with pytest.raises(RuntimeError, match="defect"):
        list(bulk.run(HUNDRED, failing_at(3, error=RuntimeError("a defect")), threads=4))


def test_few_items_are_taken_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield taken

    outcomes = bulk.run(items(), lambda item: item, threads=2)
    next(outcomes)
    assert taken < 10
    outcomes.close()  # type: ignore[attr-defined]


def test_progress_is_told_in_the_callers_thread_and_ends_at_the_total() -> None:
    told: list[tuple[int, int, str]] = []
    threads = set()

    def progress(done: int, total: int, what: str) -> None:
        told.append((done, total, what))
        threads.add(threading.current_thread())

    list(bulk.run(HUNDRED, lambda item: item, threads=8, progress=progress, total=100))
    assert told == [(done, 100, "models") for done in range(1, 101)]
    assert threads == {threading.current_thread()}


def interrupting(ended: list[int]) -> Callable[[int], Done[int]]:
    def work(item: int) -> Done[int]:
        if item == 4:
            signal.raise_signal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else (
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            )
        time.sleep(0.02)
        ended.append(item)
        return Done(str(item), str(item), "done", item)

    return work


def test_ctrl_c_ends_what_was_begun_begins_nothing_more_and_tells_both() -> None:
    ended: list[int] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(Interrupted) as caught:
            gather([*HUNDRED], interrupting(ended), Run(lambda item: (str(item), str(item)), threads=2))
    finally:
        signal.signal(signal.SIGINT, before)
    batch = caught.value.batch
    assert isinstance(caught.value, KeyboardInterrupt)
    assert sorted(int(one.model) for one in batch.done) == sorted(ended)
    assert 4 in ended
    assert len(ended) < 20
    assert len(batch.left) == 100 - len(ended)
    assert not batch.whole


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ((), 0),
        ((NotFound("x"),), 6),
        ((NotFound("x"), AccessDenied("x")), 4),
        ((Unavailable("x"), Conflict("x")), 9),
        ((AccessDenied("x"), Refused("x"), NotFound("x")), 3),
        ((ValueError("x"),), 2),
    ],
)
def test_the_status_is_that_of_the_worst_failure(errors: tuple[VaultError, ...], status: int) -> None:
    failed = tuple(Failed("m", "m", error) for error in errors)
    assert Batch((), failed).exit_status == status


def test_outcomes_are_gathered_in_the_order_in_which_they_were_asked_for() -> None:
    def work(item: int) -> Done[int]:
        time.sleep(0.001 * (item % 5))
        if item % 10 == 3:
            raise NotFound(f"no {item}")
        return Done(str(item), str(item), "done", item)

    found = gather([*HUNDRED], work, Run(lambda item: (str(item), str(item)), threads=8))
    assert [one.result for one in found.done] == [item for item in HUNDRED if item % 10 != 3]
    assert [one.asked for one in found.failed] == [str(item) for item in HUNDRED if item % 10 == 3]
    with pytest.raises(NotFound, match="no 3"):
        found.raise_if_failed()


def test_what_was_not_tried_is_named_with_the_reason() -> None:
    full = Unavailable("The disk is full.", code="storage-full")
    work: Callable[[int], Done[int]] = failing_at(0, error=full)  # type: ignore[assignment]
    found = gather([*HUNDRED], work, Run(lambda item: (str(item), str(item)), threads=1))
    assert found.stopped is full
    assert len(found.failed) + len(found.done) + len(found.left) == 100
    assert found.left
    assert found.exit_status == 7
