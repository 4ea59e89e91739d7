"""Parts are collected whole, uploaded in parallel within bounds, and given back in order."""

import threading
import time
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.errors import Unavailable
from vault.storage.part_writer import PartWriter


class Remote:
    """Keeps what is uploaded; `most` is how many uploads ran at once."""

    def __init__(self, *, before: Callable[[int], None] = lambda _: None) -> None:
        self.parts: dict[int, bytes] = {}
        self.most = 0
        self.running = 0
        self._before = before
        self._lock = threading.Lock()

    def upload(self, index: int, data: memoryview) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self._before(index)
            self.parts[index] = bytes(data)
        finally:
            with self._lock:
                self.running -= 1
        return f"etag-{index}"

    @property
    def content(self) -> bytes:
        return b"".join(self.parts[index] for index in range(len(self.parts)))


def test_what_fits_one_part_is_handed_back_and_starts_no_thread() -> None:
    threads = threading.active_count()
    for size in (0, 1, 99, 100):
        remote = Remote()
        writer = PartWriter(remote.upload, part=100)
        data = Random(size).randbytes(size)
        writer.write(data[: size // 2])
        writer.write(data[size // 2 :])
        whole = writer.whole()
        assert whole is not None
        assert bytes(whole) == data
        assert writer.size == size
        assert not remote.parts
        writer.close()
    assert threading.active_count() == threads


@pytest.mark.parametrize("size", [101, 199, 200, 201, 1_000, 12_345])
def test_more_than_a_part_is_uploaded_in_whole_parts(size: int) -> None:
    remote = Remote()
    writer = PartWriter(remote.upload, part=100)
    data = Random(size).randbytes(size)
    writer.write(data)
    assert writer.whole() is None
    assert writer.finish() == [f"etag-{index}" for index in range(-(-size // 100))]
    assert remote.content == data
    assert [len(part) for _, part in sorted(remote.parts.items())][:-1] == [100] * (-(-size // 100) - 1)
    writer.close()


def test_an_empty_object_may_be_finished_as_one_empty_part() -> None:
    remote = Remote()
    writer = PartWriter(remote.upload, part=100)
    assert writer.finish() == ["etag-0"]
    assert remote.content == b""
    writer.close()


def test_the_caller_may_reuse_its_buffer() -> None:
    remote = Remote(before=lambda _: time.sleep(0.002))
    writer = PartWriter(remote.upload, part=100, parallel=2)
    buffer = bytearray(30)
    expected = b""
    for number in range(100):
        buffer[:] = bytes([number]) * 30
        expected += buffer
        writer.write(memoryview(buffer))
    writer.finish()
    writer.close()
    assert remote.content == expected


@pytest.mark.parametrize("parallel", [1, 3])
def test_uploads_run_in_parallel_and_memory_is_bounded(parallel: int) -> None:
    remote = Remote(before=lambda _: time.sleep(0.002))
    writer = PartWriter(remote.upload, part=100, parallel=parallel)
    for _ in range(400):
        writer.write(b"x" * 10)
        held = len(writer._buffer) + sum(map(len, (*writer._running.values(), *writer._free)))
        assert held <= 100 * (parallel + 1)
    writer.finish()
    writer.close()
    assert remote.most == parallel


def test_parts_double_where_their_number_is_limited() -> None:
    remote = Remote()
    writer = PartWriter(remote.upload, part=10, parallel=4, doubling=3)
    data = Random(0).randbytes(2_000)
    for start in range(0, 2_000, 7):
        writer.write(data[start : start + 7])
    writer.finish()
    writer.close()
    assert remote.content == data
    sizes = [len(part) for _, part in sorted(remote.parts.items())]
    assert sizes[:12] == [10, 10, 10, 20, 20, 20, 40, 40, 40, 80, 80, 80]


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_failed_part_fails_the_object_however_often_it_is_tried(at: int) -> None:
    def before(index: int) -> None:
        if index == at:
            raise Unavailable("The store is away.")

    remote = Remote(before=before)
    writer = PartWriter(remote.upload, part=100, parallel=2)

    def run() -> None:
        for _ in range(100):
            writer.write(b"x" * 10)
        writer.finish()

    with pytest.raises(Unavailable, match="away"):
        run()
    for again in (writer.whole, writer.finish):
        with pytest.raises(Unavailable, match="earlier part"):
            again()
    writer.close()


def test_an_interrupt_in_a_write_fails_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = PartWriter(Remote().upload, part=100)

    def interrupt(_: memoryview) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_take", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.write(b"x")
    monkeypatch.undo()
    with pytest.raises(Unavailable, match="earlier part"):
        writer.write(b"x")
    with pytest.raises(Unavailable, match="earlier part"):
        writer.whole()
    writer.close()


def test_after_closing_no_upload_runs_or_begins() -> None:
    remote = Remote(before=lambda _: time.sleep(0.02))
    writer = PartWriter(remote.upload, part=10, parallel=3)
    writer.write(b"x" * 39)
    writer.close()
    assert remote.running == 0
    stored = dict(remote.parts)
    time.sleep(0.05)
    assert remote.parts == stored
    with pytest.raises(ValueError, match="finished"):
        writer.write(b"x")


def test_nothing_is_taken_after_the_object_was_finished() -> None:
    for end in ("whole", "finish", "close"):
        writer = PartWriter(Remote().upload, part=10)
        writer.write(b"x")
        getattr(writer, end)()
        with pytest.raises(ValueError, match="finished"):
            writer.write(b"x")
        writer.close()


def test_a_system_without_threads_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = PartWriter(Remote().upload, part=10)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Unavailable, match="threads"):
        writer.write(b"x" * 11)
    monkeypatch.undo()
    writer.close()


def test_a_callers_mistake_is_told() -> None:
    for part, parallel, doubling in ((0, 1, 0), (1, 0, 0), (1, 1, -1)):
        with pytest.raises(ValueError, match="at least"):
            PartWriter(Remote().upload, part=part, parallel=parallel, doubling=doubling)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.binary(max_size=80), max_size=30), st.integers(1, 50), st.integers(1, 4), st.integers(0, 4)
)
def test_any_writes_are_joined(pieces: list[bytes], part: int, parallel: int, doubling: int) -> None:
    remote = Remote()
    writer = PartWriter(remote.upload, part=part, parallel=parallel, doubling=doubling)
    for piece in pieces:
        writer.write(piece)
    whole = writer.whole()
    if whole is None:
        writer.finish()
        assert len(remote.parts) > 1
    assert (remote.content if whole is None else bytes(whole)) == b"".join(pieces)
    writer.close()
