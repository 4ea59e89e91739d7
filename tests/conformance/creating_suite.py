"""What every store promises about creating objects: whole or not at all, and never twice."""

import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import ClassVar

import pytest

from tests.conformance import worker
from vault.core import limits
from vault.errors import Conflict, NotFound
from vault.ports import Store

WRITERS = 16


class Interrupt(BaseException):
    """Stands for whatever ends a block without being an `Exception`."""


def put(store: Store, name: str, data: bytes = b"") -> None:
    """Create an object in one write."""
    with store.create(name) as sink:
        sink.write(data)


def get(store: Store, name: str) -> bytes:
    """Read an object of any size that the suite writes."""
    return store.read(name, limit=128 * limits.MIB)


class CreatingSuite:
    """The promises of `Store.create`."""

    in_memory: ClassVar[bool] = False  # objects live on this process's heap
    large_units: ClassVar[int] = 64  # of 1 MiB, that it has
    little: ClassVar[int] = 4 * limits.MIB  # what a large object may take, whatever its size; parts are held

    @pytest.fixture
    def store(self) -> Store | Iterator[Store]:
        """Give an empty store."""
        raise NotImplementedError

    def fill(self, store: Store, names: list[str]) -> None:
        """Create many small objects; an adapter may do it in a faster way."""
        for name in names:
            put(store, name, name.encode())

    @pytest.mark.parametrize("size", [0, 1, 1023, limits.AGE_CHUNK, limits.UNIT_CIPHER + 16])
    def test_what_was_created_is_read_back(self, store: Store, size: int) -> None:
        data = Random(size).randbytes(size)
        put(store, "models/churn/@/1/files/ab", data)
        assert store.read("models/churn/@/1/files/ab", limit=size) == data
        assert store.stat("models/churn/@/1/files/ab").size == size

    def test_an_object_may_be_created_without_a_write(self, store: Store) -> None:
        with store.create("empty"):
            pass
        assert store.read("empty", limit=0) == b""

    def test_writes_of_any_buffer_are_joined_in_order(self, store: Store) -> None:
        with store.create("a/b", size=8) as sink:
            sink.write(b"ab")
            sink.write(bytearray(b"cd"))
            sink.write(b"")
            sink.write(memoryview(b"xefx")[1:3])
            sink.write(memoryview(bytearray(b"gh")))
        assert get(store, "a/b") == b"abcdefgh"

    def test_a_size_that_was_announced_wrongly_does_no_harm(self, store: Store) -> None:
        for name, size in (("more", 1), ("less", 1 << 40), ("none", 0)):
            with store.create(name, size=size) as sink:
                sink.write(b"four")
            assert get(store, name) == b"four"

    def test_the_writer_may_reuse_its_buffer(self, store: Store) -> None:
        buffer = bytearray(b"one ")
        with store.create("a") as sink:
            sink.write(buffer)
            buffer[:] = b"two "
            sink.write(buffer)
        assert get(store, "a") == b"one two "

    def test_nothing_is_visible_before_the_block_ends(self, store: Store) -> None:
        put(store, "a/before")
        with store.create("a/b/c") as sink:
            sink.write(b"x" * limits.MIB)
            assert list(store.list("")) == ["a/before"]
            assert "b/" not in list(store.list_folders("a/"))
            with pytest.raises(NotFound):
                store.stat("a/b/c")
            with pytest.raises(NotFound):
                store.read("a/b/c", limit=limits.MIB)
        assert list(store.list("")) == ["a/b/c", "a/before"]

    @pytest.mark.parametrize("error", [KeyError("no"), OSError(5, "of the caller's"), Interrupt()], ids=repr)
    def test_an_exception_in_the_block_discards_and_comes_through(
        self, store: Store, error: BaseException
    ) -> None:

        def attempt() -> None:
            with store.create("a/b") as sink:
                sink.write(b"x" * limits.MIB)
                raise error

        with pytest.raises(type(error)) as caught:
            attempt()
        assert caught.value is error
        assert list(store.list("")) == []
        assert list(store.list_folders("")) == []
        put(store, "a/b", b"again")
        assert get(store, "a/b") == b"again"

    def test_a_sink_takes_nothing_after_its_block(self, store: Store) -> None:
        with store.create("a") as sink:
            sink.write(b"x")
        with pytest.raises(ValueError, match="after"):
            sink.write(b"y")
        assert get(store, "a") == b"x"

    def test_a_name_is_never_written_twice(self, store: Store) -> None:
        put(store, "a/b", b"first")
        entered = []
        with pytest.raises(Conflict) as caught, store.create("a/b") as sink:
            entered.append(sink)
        assert (caught.value.code, caught.value.subject) == ("conflict", "a/b")
        assert not entered, "a name that is known to be taken is refused before anything is written"
        assert get(store, "a/b") == b"first"

    def test_identical_content_is_a_conflict_too(self, store: Store) -> None:
        put(store, "a", b"same")
        with pytest.raises(Conflict):
            put(store, "a", b"same")

    def test_of_two_writers_at_once_the_first_to_commit_wins(self, store: Store) -> None:

        def race() -> None:
            with store.create("a/b") as slow:
                slow.write(b"slow")
                put(store, "a/b", b"quick")

        with pytest.raises(Conflict) as caught:
            race()
        assert caught.value.code == "conflict"
        assert get(store, "a/b") == b"quick"
        assert list(store.list("")) == ["a/b"]

    def test_racing_threads_have_one_winner_for_each_name(self, store: Store) -> None:
        names = [f"channels/prod/main/m/@/{number:06d}.json" for number in range(1, 6)]
        barrier = threading.Barrier(WRITERS)

        def run(writer: int) -> dict[str, str]:
            barrier.wait()
            return worker.race(store, str(writer), names)

        with ThreadPoolExecutor(WRITERS) as pool:
            results = list(pool.map(run, range(WRITERS)))
        check_race(store, names, {str(writer): result for writer, result in enumerate(results)})

    def test_a_reader_never_sees_a_part(self, store: Store) -> None:
        names = [f"a/{number}" for number in range(10)]
        seen: dict[str, bytes] = {}
        deadline = time.monotonic() + 60

        def poll() -> None:
            while len(seen) < len(names) and time.monotonic() < deadline:
                for name in names:
                    try:
                        seen.setdefault(name, get(store, name))
                    except NotFound:
                        time.sleep(0)

        with ThreadPoolExecutor(1) as pool:
            polling = pool.submit(poll)
            for name in names:
                worker.put(store, name, "w")
            polling.result()
        assert seen == {name: worker.content(name, "w") for name in names}

    def test_a_large_object_takes_little_memory(self, store: Store) -> None:
        if self.in_memory:
            pytest.skip("this store keeps objects in memory")
        piece = Random(1).randbytes(limits.MIB)
        buffer = memoryview(bytearray(limits.MIB))
        tracemalloc.start()
        try:
            with store.create("large", size=self.large_units * limits.MIB) as sink:
                for _ in range(self.large_units):
                    sink.write(piece)
            with store.open("large") as source:
                for unit in range(self.large_units):
                    assert source.read_into(unit * limits.MIB, buffer) == limits.MIB
                    assert buffer == piece
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < self.little
        assert store.stat("large").size == self.large_units * limits.MIB


def check_race(store: Store, names: list[str], results: dict[str, dict[str, str]]) -> None:
    """Check that each name has one winner, whose content it is, and that the others were told `conflict`."""
    for name in names:
        winners = [writer for writer, result in results.items() if result[name] == "won"]
        assert len(winners) == 1, (name, winners)
        assert get(store, name) == worker.content(name, winners[0])
        losers = {result[name] for writer, result in results.items() if writer not in winners}
        assert losers == {"conflict"}
    assert list(store.list("")) == sorted(names)
