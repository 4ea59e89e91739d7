"""Parts are fetched ahead when reads follow each other, and a lone range is fetched as it is."""

import threading
import time
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.errors import Unavailable
from vault.sealing_threads import Crew
from vault.storage.part_reader import PartReader

PART = 1000


class Remote:
    """An object somewhere else; `asked` is every range that was fetched."""

    def __init__(self, size: int, *, before: Callable[[int, int], None] = lambda _, __: None) -> None:
        self.data = Random(size).randbytes(size)
        self.asked: list[tuple[int, int]] = []
        self.running = 0
        self.most = 0
        self._before = before
        self._lock = threading.Lock()

    def fetch(self, offset: int, buffer: memoryview) -> None:
        with self._lock:
            self.asked.append((offset, len(buffer)))
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self._before(offset, len(buffer))
            assert offset + len(buffer) <= len(self.data), "nothing beyond the end is asked for"
            buffer[:] = self.data[offset : offset + len(buffer)]
        finally:
            with self._lock:
                self.running -= 1

    def reader(self, *, ahead: int = 4) -> PartReader:
        return PartReader(self.fetch, len(self.data), part=PART, ahead=ahead)


def read(reader: PartReader, offset: int, length: int) -> bytes:
    buffer = bytearray(b"\xee" * length)
    found = reader.read_into(offset, memoryview(buffer))
    assert buffer[found:] == b"\xee" * (length - found)
    return bytes(buffer[:found])


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (5_000, 1), (9_990, 10), (3, PART)])
def test_a_lone_range_is_fetched_exactly(offset: int, length: int) -> None:
    remote = Remote(10_000)
    reader = remote.reader()
    assert read(reader, offset, length) == remote.data[offset : offset + length]
    assert remote.asked == [(offset, length)]
    reader.close()


def test_scattered_ranges_are_fetched_exactly_and_start_no_thread() -> None:
    remote = Remote(50_000)
    reader = remote.reader()
    places = [(number * 7_919 % 49_000, 100) for number in range(40)]
    threads = threading.active_count()
    for offset, length in places:
        assert read(reader, offset, length) == remote.data[offset : offset + length]
    assert remote.asked == places
    assert threading.active_count() == threads
    reader.close()


def test_nothing_is_fetched_for_nothing() -> None:
    remote = Remote(100)
    reader = remote.reader()
    assert [read(reader, 100, 5), read(reader, 10**12, 5), read(reader, 0, 0)] == [b"", b"", b""]
    assert read(reader, 95, 50) == remote.data[95:]
    assert remote.asked == [(95, 5)]


def test_reads_that_follow_each_other_are_fetched_in_parts_and_each_byte_once() -> None:
    remote = Remote(20_500)
    reader = remote.reader()
    got = b"".join(read(reader, offset, 100) for offset in range(0, 20_500, 100))
    assert got == remote.data
    assert remote.asked[0] == (0, 100)
    parts = sorted(remote.asked[1:])
    assert [offset for offset, _ in parts] == list(range(100, 20_500, PART))
    assert sum(length for _, length in remote.asked) == 20_500
    reader.close()


def test_parts_come_in_parallel_once_they_are_used_and_never_more_than_may() -> None:
    remote = Remote(60_000, before=lambda _, __: time.sleep(0.003))
    reader = remote.reader(ahead=3)
    for offset in range(0, 60_000, 250):
        assert read(reader, offset, 250) == remote.data[offset : offset + 250]
    assert 2 <= remote.most <= 3
    reader.close()


def test_memory_is_bounded_by_the_parts_ahead() -> None:
    remote = Remote(200_000, before=lambda _, __: time.sleep(0.001))
    reader = remote.reader(ahead=2)
    for offset in range(0, 200_000, 100):
        read(reader, offset, 100)
        assert len(reader._slots) + len(reader._free) <= 3
    reader.close()


@pytest.mark.parametrize("threads", [2, 4, 8])
def test_threads_that_share_a_sequence_slightly_out_of_order_still_get_parts(threads: int) -> None:
    """As those that open a payload do: each takes units in turn, and none runs far ahead."""
    remote = Remote(100_000, before=lambda _, __: time.sleep(0.0005))
    reader = remote.reader()
    crew = Crew(threads, None)
    turns = crew.turns()

    def work(index: int) -> None:
        random = Random(index)
        for unit in range(index, 1_000, threads):
            if random.random() < 0.05:
                time.sleep(0.001)
            assert read(reader, unit * 100, 100) == remote.data[unit * 100 : unit * 100 + 100]
            turns.enter(unit)
            turns.leave(unit)

    crew.run(work)
    assert len(remote.asked) < 150, "the thousand reads came out of parts"
    reader.close()


def test_a_new_sequence_elsewhere_is_followed_too() -> None:
    remote = Remote(100_000)
    reader = remote.reader()
    for start in (90_000, 0, 50_000):
        for offset in range(start, start + 10_000, 100):
            assert read(reader, offset, 100) == remote.data[offset : offset + 100]
    assert len(remote.asked) < 60
    reader.close()


def test_a_large_range_is_fetched_in_parallel_into_its_place() -> None:
    gate = threading.Barrier(3, timeout=10)
    remote = Remote(3_500, before=lambda offset, _: (gate.wait(), None)[1] if offset < 3_000 else None)
    reader = remote.reader(ahead=3)
    assert read(reader, 0, 3_500) == remote.data
    assert sorted(remote.asked) == [(0, PART), (1_000, PART), (2_000, PART), (3_000, 500)]
    reader.close()


def test_an_error_comes_out_of_the_read_that_needs_the_part_and_a_retry_may_succeed() -> None:
    failing = True

    def before(offset: int, length: int) -> None:
        if failing and offset <= 5_000 < offset + length:
            raise Unavailable("The store is away.")

    remote = Remote(20_000, before=before)
    reader = remote.reader()
    failed = []
    for offset in range(0, 20_000, 100):
        try:
            assert read(reader, offset, 100) == remote.data[offset : offset + 100]
        except Unavailable:
            failed.append(offset)
    assert 5_000 in failed
    assert all(5_000 - PART < offset < 5_000 + PART for offset in failed), "only the part that failed"
    failing = False
    for offset in failed:
        assert read(reader, offset, 100) == remote.data[offset : offset + 100]
    failing = True
    with pytest.raises(Unavailable):
        read(reader, 0, 20_000)
    reader.close()


def test_a_part_that_failed_before_it_was_needed_is_fetched_again() -> None:
    failing = True

    def before(offset: int, _: int) -> None:
        if failing and offset > 100:
            raise Unavailable("The store is away.")

    remote = Remote(20_000, before=before)
    reader = remote.reader()
    read(reader, 0, 100)
    read(reader, 100, 100)
    deadline = time.monotonic() + 10
    while not all(slot.future.done() for slot in reader._slots) and time.monotonic() < deadline:
        time.sleep(0.001)
    failing = False
    for offset in range(200, 20_000, 100):
        assert read(reader, offset, 100) == remote.data[offset : offset + 100]
    reader.close()


def test_after_an_error_in_a_large_range_nobody_writes_into_its_buffer() -> None:
    def before(offset: int, _: int) -> None:
        if offset == 0:
            raise Unavailable("The store is away.")
        time.sleep(0.05)

    remote = Remote(4_000, before=before)
    reader = remote.reader()
    buffer = bytearray(4_000)
    with pytest.raises(Unavailable):
        reader.read_into(0, memoryview(buffer))
    assert remote.running == 0
    reader.close()


def test_closing_ends_waiting_reads_and_refuses_new_ones() -> None:
    gate = threading.Event()
    remote = Remote(50_000, before=lambda offset, _: None if offset < 100 else (gate.wait(10), None)[1])
    reader = remote.reader(ahead=1)
    read(reader, 0, 100)
    outcomes: list[str] = []

    def run(offset: int) -> None:
        try:
            read(reader, offset, 100)
            outcomes.append("read")
        except ValueError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run, args=(offset,)) for offset in (100, 1_150)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while sum(slot.readers for slot in reader._slots) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    reader.close()
    gate.set()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["read", "read after the object was closed"]
    with pytest.raises(ValueError, match="closed"):
        read(reader, 0, 1)
    reader.close()


def test_a_callers_mistake_is_told() -> None:
    with pytest.raises(ValueError, match="offset"):
        Remote(10).reader().read_into(-1, memoryview(bytearray(1)))
    for size, part, ahead in ((-1, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="size"):
            PartReader(Remote(1).fetch, size, part=part, ahead=ahead)


def test_a_system_without_threads_still_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    remote = Remote(5_000)
    reader = remote.reader()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert b"".join(read(reader, offset, 100) for offset in range(0, 5_000, 100)) == remote.data
    assert read(reader, 0, 5_000) == remote.data
    reader.close()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 3_000), st.integers(1, 12)), max_size=12),
    st.integers(0, 10_000),
)
def test_any_reads_give_what_lies_there(runs: list[tuple[int, int, int]], size: int) -> None:
    remote = Remote(size)
    reader = remote.reader(ahead=2)
    for start, length, times in runs:
        for number in range(times):
            offset = start + number * length
            assert read(reader, offset, length) == remote.data[offset : offset + length]
    reader.close()
