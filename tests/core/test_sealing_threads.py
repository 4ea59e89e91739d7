"""Threads that seal: a fault at any call ends all of them and reaches the caller; progress is in order."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.core.payload_parts import (
    FILE_KEY,
    MIB,
    NONCE,
    PAYLOAD,
    PLAIN,
    SEALED,
    BytesSink,
    BytesSource,
    Countdown,
    Fault,
    Stream,
    sealed,
)
from vault import sealing, sealing_threads
from vault.errors import Unavailable


def calls_under_test(before: Callable[[], None], threads: int) -> dict[str, Callable[[], object]]:
    def progress(done: int, total: int, what: str) -> None:
        before()

    keys: dict[str, Any] = {"file_key": FILE_KEY, "threads": threads, "progress": progress}
    sizes: dict[str, Any] = {"cipher_size": len(PAYLOAD), "plain_size": len(PLAIN)}
    plain, stream, payload = (
        BytesSource(PLAIN, before),
        Stream(PLAIN, before=before),
        BytesSource(PAYLOAD, before),
    )
    return {
        "seal": partial(sealing.seal, plain, BytesSink(before), nonce=NONCE, **keys),
        "stream": partial(sealing.seal, stream, BytesSink(before), nonce=NONCE, **keys),
        "unseal": partial(sealing.unseal, payload, BytesSink(before), **sizes, **keys),
        "bytes": partial(sealing.unseal_bytes, payload, **sizes, **keys),
        "scrub": partial(
            sealing.scrub,
            payload,
            cipher_size=len(PAYLOAD),
            root=SEALED.root,
            threads=threads,
            progress=progress,
        ),
    }


def outcome(call: Callable[[], object], seconds: float = 20) -> BaseException | None:
    """Run `call` where it can be given up on; return what it raised."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "a deadlock"
    assert not [other for other in threading.enumerate() if other.name.startswith("sealing-")]
    return raised[0]


@pytest.mark.parametrize("threads", [1, 2, 3, 6])
@pytest.mark.parametrize("name", ["seal", "stream", "unseal", "bytes", "scrub"])
def test_a_fault_at_any_call_stops_all_threads_and_is_what_the_caller_sees(name: str, threads: int) -> None:
    counted = Countdown()
    assert outcome(calls_under_test(counted, threads)[name]) is None
    assert counted.calls >= 2 * 6
    for call in range(1, counted.calls + 1):
        failing = Countdown(call)
        assert isinstance(outcome(calls_under_test(failing, threads)[name]), Fault)
        assert failing.calls <= call + 4 * threads


def test_a_fault_in_the_callers_own_thread_is_raised_even_if_it_is_no_ordinary_exception() -> None:
    def interrupted(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    failure = outcome(
        lambda: sealing.seal(
            BytesSource(PLAIN), BytesSink(), file_key=FILE_KEY, nonce=NONCE, threads=3, progress=interrupted
        )
    )
    assert isinstance(failure, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("raised", "seen"),
    [(RuntimeError("can't start new thread"), Unavailable), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_thread_that_does_not_start_ends_those_that_did(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, seen: type[BaseException]
) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            if self.name == "sealing-2":
                raise raised
            super().start()

    monkeypatch.setattr(sealing_threads, "Thread", NoThread)
    failure = outcome(
        lambda: sealing.seal(BytesSource(PLAIN), BytesSink(), file_key=FILE_KEY, nonce=NONCE, threads=4)
    )
    assert type(failure) is seen


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_progress_is_told_in_order_and_ends_at_the_whole(threads: int) -> None:
    told: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, what: str) -> None:
        told.append((done, total, what))

    steps = [*range(MIB, 5 * MIB + 1, MIB), len(PLAIN)]
    sealing.seal(
        BytesSource(PLAIN),
        BytesSink(),
        file_key=FILE_KEY,
        nonce=NONCE,
        threads=threads,
        progress=progress,
        what="model",
    )
    assert told == [(done, len(PLAIN), "model") for done in steps]
    told.clear()
    sealing.unseal_bytes(
        BytesSource(PAYLOAD),
        file_key=FILE_KEY,
        cipher_size=len(PAYLOAD),
        plain_size=len(PLAIN),
        threads=threads,
        progress=progress,
    )
    assert told == [(done, len(PLAIN), "") for done in steps]


def test_a_single_unit_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_threads, "Thread", None)
    payload, _ = sealed(PLAIN[:MIB], threads=8)
    plain, _ = sealing.unseal_bytes(
        BytesSource(payload), file_key=FILE_KEY, cipher_size=len(payload), plain_size=MIB, threads=8
    )
    assert plain == PLAIN[:MIB]
