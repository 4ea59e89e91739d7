"""What every store promises, as tests. An adapter's test is a subclass with a `store` fixture."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from random import Random
from typing import ClassVar

import pytest

from tests.conformance.creating_suite import CreatingSuite, get, put
from tests.faults import Fault, every_operation, with_a_fault_at_every_operation
from vault.core import limits
from vault.errors import Malformed, NotFound, Unavailable
from vault.ports import ListsSizes, Store

ODD_NAMES = (
    "README.txt",
    "a",
    "a-b",
    "a-b/c",
    "a.b",
    "a.b/c",
    "a0",
    "a0/x",
    "a@",
    "a_b",
    "b/c",
    "b/c-d",
    "b/c.json",
    "b/cc/d",
    "b/d/e/f/g/h",
    "b/sha256:00ff",
    "b-/c",
    "b~/c",
    "models/nepse/@/3/manifest.json",
    "models/nepse/@/10/manifest.json",
    "models/nepse/@/10/files/0f",
    "models/nepse/3/@/1/manifest.json",
    "models/nepse-x/@/1/manifest.json",
    "models/nepse.x/@/1/manifest.json",
    "models/Nepse/@/1/manifest.json",
    "z/...",
    "z/.hidden",
    "z/-",
    "z/@/@/@",
)
BAD_NAMES = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "./a",
    "a/.",
    "a/..",
    "a/../b",
    "../a",
    "a/./b",
    "é",
    "a\u2215b",
    "a b",
    "a\\b",
    "a\nb",
    "a\0b",
    "a\x7fb",
    "\ud800",
    "x" * 256,
    "x/" * 450 + "x",
    ".mvault-tmp",
    ".mvault-tmp/a",
)
PREFIXES = ("", "a", "a-", "a/", "b", "b/", "b/c", "b/d/e/", "models/", "models/nepse", "models/nepse/@/1",
            "z/.", "z/..", "nothing", "no/thing/", "a/b/c/d", "README.txt", "README.txt/")  # fmt: skip


class StoreSuite(CreatingSuite):
    """The promises of `vault.ports.Store`."""

    many_names: ClassVar[int] = 5_040  # fewer where an emulator takes time by their square

    # Reading.

    def test_a_missing_name_is_not_found(self, store: Store) -> None:
        put(store, "a/b/c")
        for name in ("x", "a/x", "a/b/c/x", "x/y/z", "a/b", "a"):
            with pytest.raises(NotFound) as caught:
                store.read(name, limit=1)
            assert (caught.value.code, caught.value.subject) == ("not-found", name)
            with pytest.raises(NotFound):
                store.stat(name)
            with pytest.raises(NotFound), store.open(name):
                pass

    def test_an_object_over_its_limit_is_refused_unread(self, store: Store) -> None:
        put(store, "a/b", b"12345")
        assert store.read("a/b", limit=5) == b"12345"
        for limit in (0, 4):
            with pytest.raises(Malformed) as caught:
                store.read("a/b", limit=limit)
            assert (caught.value.code, caught.value.subject) == ("too-large", "a/b")
        with pytest.raises(ValueError, match="limit"):
            store.read("a/b", limit=-1)

    @pytest.mark.parametrize(
        ("offset", "length", "found"),
        [(0, 0, 0), (0, 1, 1), (0, 1000, 1000), (0, 2000, 1000), (1, 998, 998), (500, 100, 100), (999, 1, 1),
         (999, 2, 1), (1000, 0, 0), (1000, 1, 0), (5000, 10, 0), (1 << 40, 10, 0)],
    )  # fmt: skip
    def test_a_range_is_what_lies_there(self, store: Store, offset: int, length: int, found: int) -> None:
        data = Random(0).randbytes(1000)
        put(store, "a", data)
        buffer = bytearray(b"\xee" * length)
        with store.open("a") as source:
            assert source.size == 1000
            assert source.read_into(offset, memoryview(buffer)) == found
        assert buffer[:found] == data[offset : offset + found]
        assert buffer[found:] == b"\xee" * (length - found), "nothing beyond the end is touched"

    def test_ranges_of_an_empty_object_are_empty(self, store: Store) -> None:
        put(store, "a")
        with store.open("a") as source:
            assert source.size == 0
            assert source.read_into(0, memoryview(bytearray(8))) == 0

    def test_a_negative_offset_is_the_callers_mistake(self, store: Store) -> None:
        put(store, "a", b"x")
        with store.open("a") as source, pytest.raises(ValueError, match="offset"):
            source.read_into(-1, memoryview(bytearray(1)))

    def test_threads_share_an_open_object(self, store: Store) -> None:
        data = Random(2).randbytes(3 * limits.MIB)
        put(store, "a", data)

        with store.open("a") as source:

            def run(seed: int) -> bool:
                random = Random(seed)
                for _ in range(50):
                    offset, length = random.randrange(len(data)), random.randrange(100_000)
                    buffer = bytearray(length)
                    found = source.read_into(offset, memoryview(buffer))
                    if buffer[:found] != data[offset : offset + length]:
                        return False
                return True

            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(run, range(8)))

    # Listing.

    def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        assert list(store.list("")) == []
        assert list(store.list("models/")) == []
        assert list(store.list_folders("")) == []
        assert list(store.list_folders("models/")) == []

    def test_names_come_in_code_point_order_by_any_prefix_and_from_any_place(self, store: Store) -> None:
        names = [name for name in ODD_NAMES if not any(other.startswith(name + "/") for other in ODD_NAMES)]
        self.fill(store, Random(3).sample(names, len(names)))
        for prefix in PREFIXES:
            expected = sorted(name for name in names if name.startswith(prefix))
            assert list(store.list(prefix)) == expected
            for after in (*names, "b/", "b0", "models/nepse/@", "~", "\U0001f600"):
                found = list(store.list(prefix, after=after))
                assert found == [name for name in expected if name > after], (prefix, after)

    def test_thousands_of_names_are_listed_whole_and_in_pages(self, store: Store) -> None:
        names = [f"many/{number % 7}/{number:05d}" for number in range(self.many_names)]
        self.fill(store, names)
        names.sort()
        assert list(store.list("many/")) == names
        assert list(store.list("many/3/")) == [name for name in names if name.startswith("many/3/")]
        assert list(store.list("", after=names[-40])) == names[-39:]
        pages: list[str] = []
        while page := list(islice(store.list("many/", after="".join(pages[-1:])), 999)):
            pages += page
        assert pages == names

    def test_sizes_come_with_the_names_where_a_store_lists_them(self, store: Store) -> None:
        if not isinstance(store, ListsSizes):
            pytest.skip("this store does not list sizes")
        names = [name for name in ODD_NAMES if not any(other.startswith(name + "/") for other in ODD_NAMES)]
        sizes = {name: number * 7 for number, name in enumerate(names)}
        assert list(store.list_sizes("")) == []
        for name, size in sizes.items():
            put(store, name, bytes(size))
        for prefix in PREFIXES:
            expected = [(name, sizes[name]) for name in sorted(sizes) if name.startswith(prefix)]
            assert list(store.list_sizes(prefix)) == expected, prefix
        with pytest.raises(ValueError, match="part"):
            list(store.list_sizes("a/../"))

    def test_sizes_of_thousands_of_names_are_listed_whole(self, store: Store) -> None:
        if not isinstance(store, ListsSizes):
            pytest.skip("this store does not list sizes")
        names = sorted(f"many/{number % 7}/{number:05d}" for number in range(self.many_names))
        self.fill(store, names)
        assert [name for name, _ in store.list_sizes("many/")] == names

    def test_folders_are_listed_once_each_and_marked(self, store: Store) -> None:
        names = [name for name in ODD_NAMES if not any(other.startswith(name + "/") for other in ODD_NAMES)]
        self.fill(store, names)
        for prefix in ("", "b/", "b/d/", "models/", "models/nepse/", "models/nepse/@/", "z/", "no/", "a0/x/"):
            below = [name[len(prefix) :] for name in names if name.startswith(prefix)]
            expected = sorted({part + slash for part, slash, _ in (name.partition("/") for name in below)})
            assert list(store.list_folders(prefix)) == expected, prefix
        for bad in ("b", "models/nepse"):
            with pytest.raises(ValueError, match="end in"):
                store.list_folders(bad)

    # Deleting.

    def test_a_deleted_name_is_gone_and_may_be_created_again(self, store: Store) -> None:
        put(store, "a/b/c", b"1")
        put(store, "a/d", b"2")
        store.delete("a/b/c")
        assert list(store.list("")) == ["a/d"]
        assert list(store.list_folders("a/")) == ["d"]
        with pytest.raises(NotFound):
            store.stat("a/b/c")
        put(store, "a/b/c", b"3")
        assert get(store, "a/b/c") == b"3"

    def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        put(store, "a/b")
        for name in ("x", "a/x", "x/y/z", "a/b/c", "a"):
            store.delete(name)
            store.delete(name)
        assert list(store.list("")) == ["a/b"]

    def test_an_open_object_that_is_deleted_is_read_or_fails_but_gives_nothing_else(
        self, store: Store
    ) -> None:
        put(store, "a", b"whole")
        buffer = bytearray(5)
        with store.open("a") as source:
            store.delete("a")
            try:
                assert source.read_into(0, memoryview(buffer)) == 5
                assert buffer == b"whole"
            except Unavailable:
                pass

    def test_creating_beside_a_deleter_never_fails(self, store: Store) -> None:
        """Deleting may tidy up empty folders, which another writer needs in that moment."""

        def run(writer: int) -> bool:
            for _ in range(60):
                put(store, f"a/b/c/{writer}", b"x")
                store.delete(f"a/b/c/{writer}")
            return True

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(run, range(4)))
        assert list(store.list("")) == []

    # Names, and failures.

    @pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name[:20]))
    def test_a_bad_name_is_the_callers_mistake_everywhere(self, store: Store, name: str) -> None:
        with pytest.raises(ValueError, match=r"\S"), store.create(name):
            pass
        with pytest.raises(ValueError, match=r"\S"), store.open(name):
            pass
        for verb in (store.stat, store.delete, lambda bad: store.read(bad, limit=1)):
            with pytest.raises(ValueError, match=r"\S"):
                verb(name)
        assert list(store.list("")) == []

    @pytest.mark.parametrize("prefix", ["/", "//", "a//", "../", "a/../b", "./", "é", "a b", "x" * 901])
    def test_a_bad_prefix_is_the_callers_mistake(self, store: Store, prefix: str) -> None:
        with pytest.raises(ValueError, match=r"\S"):
            store.list(prefix)
        with pytest.raises(ValueError, match=r"\S"):
            store.list_folders(prefix)

    def test_the_longest_names_work(self, store: Store) -> None:
        long = "/".join(["x" * 255, "y" * 255, "z" * 255, "w" * 132])
        deep = "d/" * 449 + "dd"
        assert len(long) == len(deep) == limits.STORE_NAME_CHARS
        for name in (long, deep):
            put(store, name, b"x")
            assert get(store, name) == b"x"
            assert store.stat(name).size == 1
        assert list(store.list("")) == [deep, long]
        assert list(store.list("d/" * 300)) == [deep]

    def test_with_a_fault_at_any_step_an_object_is_whole_or_not_there(self, store: Store) -> None:
        rounds = 0

        def build() -> Store:
            for name in list(store.list("")):
                store.delete(name)
            return store

        def action(faulty: Store) -> bytes:
            with faulty.create("a/b") as sink:
                sink.write(b"12")
                sink.write(b"34")
            return faulty.read("a/b", limit=4)

        for outcome in with_a_fault_at_every_operation(build, action):
            rounds += 1
            assert isinstance(outcome.error, Unavailable)
            stored = {name: get(store, name) for name in store.list("")}
            lost_answer = outcome.operation.verb == "commit" and outcome.fault is Fault.AFTER
            assert stored == ({"a/b": b"1234"} if lost_answer or outcome.operation.verb == "read" else {})
        assert rounds == len(Fault) * 5
        assert len(every_operation(build, action)) == 5
