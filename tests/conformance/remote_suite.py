"""What stores behind a network promise when the network or the server does not behave.

An adapter's test is a subclass with the fixtures `proxy`, which stands before a real server, and `store`,
which goes through it, and with the three predicates that tell its requests apart.
"""

import threading
import time
import tracemalloc
from random import Random

import pytest

from tests.conformance.creating_suite import get, put
from tests.servers.http_proxy import Exchange, FaultyProxy, Plan, forward, proxied
from vault.core import limits
from vault.errors import Conflict, Malformed, NotFound, Unavailable
from vault.ports import CreatesTogether, Store
from vault.storage.probing import TellsTime

ATTEMPTS = 4
BIG = Random(9).randbytes(20 * limits.MIB + 5)
GARBAGE = (
    b"",
    b"\0",
    b"{",
    b"[]",
    b"null",
    b"<html>",
    b"<a/>",
    b'{"items":7}',
    b'{"items":[{"name":[]}]}',
    b"\xff" * 99,
)


def counted(times: int, fits: Plan, word: str, change: Plan = forward) -> Plan:
    """Plan `word`, and `change`, for the first `times` exchanges that fit; -1 is all of them."""
    left = [times]

    def plan(exchange: Exchange) -> str | None:
        if left[0] and fits(exchange):
            left[0] -= 1
            change(exchange)
            return word
        return None

    return plan


def refusing(status: int, body: bytes = b"") -> Plan:
    """Change an exchange to an answer with this status."""

    def change(exchange: Exchange) -> None:
        exchange.say(status, body)

    return change


class RemoteSuite:
    """The promises of a store behind a network."""

    scheme = ""

    @pytest.fixture
    def store(self) -> Store:
        """Give an empty store behind `proxy`."""
        raise NotImplementedError

    def creates(self, exchange: Exchange) -> str | None:
        """Tell, with any word, the request that makes an object visible."""
        raise NotImplementedError

    def reads(self, exchange: Exchange) -> str | None:
        """Tell, with any word, a request for an object's bytes."""
        raise NotImplementedError

    def lists(self, exchange: Exchange) -> str | None:
        """Tell, with any word, a request for a page of names."""
        raise NotImplementedError

    # Creating.

    @pytest.mark.parametrize("size", [5, len(BIG)])
    def test_a_lost_answer_to_a_create_is_not_mistaken_for_a_conflict(
        self, store: Store, proxy: FaultyProxy, size: int
    ) -> None:
        proxy.after = counted(1, self.creates, "drop")
        put(store, "a", BIG[:size])
        assert get(store, "a") == BIG[:size]
        with pytest.raises(Conflict):
            put(store, "a", BIG[:size])

    def test_when_every_answer_to_a_create_is_lost_the_store_is_asked_what_it_has(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        proxy.after = counted(-1, self.creates, "drop")
        put(store, "a", b"mine")
        proxy.after = forward
        assert get(store, "a") == b"mine"

    def test_a_lost_answer_to_a_create_that_lost_the_race_is_a_conflict(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        def race(exchange: Exchange) -> str | None:
            if self.creates(exchange) and b"slow" in exchange.body:
                proxy.before = forward
                put(store, "a", b"quick")
            return None

        proxy.before = race
        proxy.after = counted(
            1, lambda exchange: self.creates(exchange) if b"slow" in exchange.body else None, "drop"
        )
        with pytest.raises(Conflict):
            put(store, "a", b"slow")
        assert get(store, "a") == b"quick"

    def test_a_create_whose_fate_nobody_can_tell_is_unavailable(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        def lose(exchange: Exchange) -> str | None:
            if self.creates(exchange):
                proxy.before = counted(-1, lambda _: "every", "drop")
                return "drop"
            return None

        proxy.after = lose
        with pytest.raises(Unavailable) as caught:
            put(store, "a", b"mine")
        assert (caught.value.code, caught.value.subject) == ("unavailable", "a")
        proxy.before = proxy.after = forward
        assert get(store, "a") == b"mine", "it was stored, whole"

    @pytest.mark.parametrize("status", [500, 503])
    def test_a_server_that_is_overloaded_is_asked_again_but_not_for_ever(
        self, store: Store, proxy: FaultyProxy, status: int
    ) -> None:
        proxy.before = counted(2, self.creates, "answer", refusing(status))
        put(store, "a", b"1")
        assert get(store, "a") == b"1"
        proxy.before = counted(-1, self.creates, "answer", refusing(status))
        before = len(proxy.requests)
        with pytest.raises(Unavailable) as caught:
            put(store, "b", b"1")
        assert caught.value.code == "unavailable"
        assert caught.value.hint
        tried = [exchange for exchange in proxy.requests[before:] if self.creates(exchange)]
        assert len(tried) <= ATTEMPTS
        proxy.before = forward
        assert list(store.list("")) == ["a"]

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_create_says_so(self, store: Store, proxy: FaultyProxy, status: int) -> None:
        proxy.before = counted(-1, self.creates, "answer", refusing(status, b"no \x1b[31mway"))
        with pytest.raises(Unavailable) as caught:
            put(store, "a", b"1")
        assert (caught.value.code, caught.value.subject) == ("storage-denied", "a")
        assert str(caught.value).isprintable()

    def test_a_body_that_is_cut_on_the_way_up_stores_nothing(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.before = counted(-1, self.creates, "drop")
        with pytest.raises(Unavailable):
            put(store, "a", BIG)
        proxy.before = forward
        assert list(store.list("")) == []
        put(store, "a", BIG)
        assert get(store, "a") == BIG

    def test_after_a_failed_large_upload_a_small_object_takes_the_name(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        proxy.before = counted(-1, self.creates, "drop")
        with pytest.raises(Unavailable):
            put(store, "a", BIG)
        proxy.before = forward
        put(store, "a", b"small")
        assert get(store, "a") == b"small"

    def test_many_small_objects_are_created_together_and_taken_names_are_told(self, store: Store) -> None:
        assert isinstance(store, CreatesTogether)
        put(store, "m/7", b"first")
        objects = {f"m/{number}": b"%d" % number for number in range(30)}
        assert store.create_all(objects) == ["m/7"]
        assert {name: get(store, name) for name in store.list("")} == {**objects, "m/7": b"first"}
        assert store.create_all({}) == []
        with pytest.raises(ValueError, match=r"'\.\.' part"):
            store.create_all({"a": b"", "../b": b""})
        assert "a" not in list(store.list(""))

    def test_objects_created_together_are_whole_or_not_there(self, store: Store, proxy: FaultyProxy) -> None:
        assert isinstance(store, CreatesTogether)
        proxy.after = counted(-1, lambda e: self.creates(e) if b"13" in e.body else None, "drop")
        objects = {f"m/{number}": b"%d" % number for number in range(30)}
        assert store.create_all(objects) == [], "lost answers are looked into"
        for name in objects:
            store.delete(name)
        proxy.before = counted(-1, lambda e: self.creates(e) if b"13" in e.body else None, "drop")
        with pytest.raises(Unavailable):
            store.create_all(objects)
        assert all(get(store, name) == objects[name] for name in store.list(""))

    def test_the_server_tells_the_time(self, store: Store, proxy: FaultyProxy) -> None:
        assert isinstance(store, TellsTime)
        there = store.server_time()
        assert there is not None
        assert abs(there - time.time()) < 60
        for date in ("", "yesterday", "Mon, 99 Nov 2026 99:99:99 GMT"):

            def late(exchange: Exchange, date: str = date) -> None:
                exchange.answer = [(k, v) for k, v in exchange.answer if k.lower() != "date"]
                exchange.answer.append(("Date", date))

            proxy.after = counted(-1, lambda _: "every", "answer", late)
            assert store.server_time() is None

    # Reading.

    def test_a_truncated_body_is_fetched_again(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", BIG)
        proxy.after = counted(2, self.reads, "cut")
        assert get(store, "a") == BIG
        proxy.after = counted(2, self.reads, "cut")
        buffer = memoryview(bytearray(len(BIG)))
        with store.open("a") as source:
            assert source.read_into(0, buffer) == len(BIG)
        assert buffer == BIG

    def test_a_body_that_is_always_truncated_is_unavailable(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", b"x" * 1000)
        proxy.after = counted(-1, self.reads, "cut")
        with pytest.raises(Unavailable) as caught:
            store.read("a", limit=1000)
        assert (caught.value.code, caught.value.subject) == ("unavailable", "a")

    @pytest.mark.parametrize("size", [0, 5, 999, 1001, 40 * limits.MIB])
    def test_a_body_of_another_length_is_refused(self, store: Store, proxy: FaultyProxy, size: int) -> None:
        put(store, "a", b"x" * 1000)
        body = bytes(size)

        def change(exchange: Exchange) -> None:
            kept = [(name, value) for name, value in exchange.answer if name.lower() != "content-length"]
            exchange.answer = [*kept, ("Content-Length", str(size))]
            exchange.data = body

        proxy.after = counted(-1, self.reads, "answer", change)
        tracemalloc.start()
        try:
            with pytest.raises(Unavailable):
                store.read("a", limit=1000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 * limits.MIB

    def test_a_range_that_was_not_asked_for_is_refused(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", BIG)

        def shift(exchange: Exchange) -> None:
            exchange.answer = [
                (name, value.replace("bytes 1", "bytes 2") if name.lower() == "content-range" else value)
                for name, value in exchange.answer
            ]

        with store.open("a") as source:
            proxy.after = counted(-1, self.reads, "answer", shift)
            with pytest.raises(Unavailable):
                source.read_into(limits.MIB, memoryview(bytearray(10)))

    def test_a_large_object_is_refused_unread(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", BIG)
        with pytest.raises(Malformed) as caught:
            store.read("a", limit=limits.MIB)
        assert caught.value.code == "too-large"
        assert str(len(BIG)) in caught.value.message

    def test_an_object_that_is_deleted_while_it_is_read_is_unavailable(self, store: Store) -> None:
        put(store, "a", BIG)
        with store.open("a") as source:
            store.delete("a")
            with pytest.raises(Unavailable, match="deleted while it was read"):
                source.read_into(10 * limits.MIB, memoryview(bytearray(10)))

    def test_an_object_that_becomes_another_while_it_is_read_is_not_mixed(self, store: Store) -> None:
        put(store, "a", BIG)
        with store.open("a") as source:
            store.delete("a")
            put(store, "a", bytes(len(BIG)))
            with pytest.raises(Unavailable, match="deleted while it was read"):
                source.read_into(10 * limits.MIB, memoryview(bytearray(10)))

    def test_a_small_object_is_read_in_one_request(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", b"x" * 1000)
        before = len(proxy.requests)
        assert store.read("a", limit=limits.MIB) == b"x" * 1000
        with store.open("a") as source:
            assert source.read_into(10, memoryview(bytearray(2000))) == 990
        # Google's library may look at the bucket meanwhile, in a thread of its own.
        read = [exchange.path for exchange in proxy.requests[before:] if self.reads(exchange)]
        assert len(read) == 2

    def test_a_range_fetches_that_range_and_the_head_alone(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", BIG)
        proxy.requests.clear()
        with store.open("a") as source:
            source.read_into(10 * limits.MIB, memoryview(bytearray(1000)))
        assert sum(len(exchange.data) for exchange in proxy.requests) == 256 * limits.KIB + 1000

    # Listing, and what else is asked.

    @pytest.mark.parametrize("garbage", GARBAGE, ids=ascii)
    def test_garbage_in_place_of_an_answer_is_unavailable_and_nothing_else(
        self, store: Store, proxy: FaultyProxy, garbage: bytes
    ) -> None:
        put(store, "a", b"1")

        def spoil(exchange: Exchange) -> None:
            exchange.say(200, garbage, kind="application/json")

        def every(_: Exchange) -> str:
            return "every"

        proxy.before = counted(-1, every, "answer", spoil)
        for ask in (
            lambda: store.stat("a"),
            lambda: store.read("a", limit=5),
            lambda: store.open("a").__enter__(),
        ):
            with pytest.raises(Unavailable):
                ask()
        for names in (store.list(""), store.list_folders("")):
            with pytest.raises(Unavailable):
                list(names)

    def test_endless_answers_are_read_no_further_than_a_page_can_be(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        proxy.before = counted(-1, self.lists, "answer", refusing(200, b" " * (33 * limits.MIB)))
        with pytest.raises(Unavailable, match="more than was asked for"):
            list(store.list(""))

    def test_an_answer_that_leads_elsewhere_is_not_followed(self, store: Store, proxy: FaultyProxy) -> None:
        with proxied(f"http://{proxy.target}") as other:

            def lead(exchange: Exchange) -> None:
                exchange.say(302, Location=f"http://{other.netloc}{exchange.path}")

            proxy.before = counted(-1, lambda _: "every", "answer", lead)
            for ask in (lambda: store.stat("a"), lambda: list(store.list("")), lambda: put(store, "a")):
                with pytest.raises(Unavailable):
                    ask()
            assert other.requests == []

    def test_a_missing_bucket_is_unavailable_and_not_an_empty_store(self, store: Store) -> None:
        other = self.missing(store)
        for ask in (
            lambda: list(other.list("")),
            lambda: list(other.list_folders("")),
            lambda: put(other, "a"),
        ):
            with pytest.raises(Unavailable, match=r"[Tt]here is no (bucket|container)"):
                ask()

    def missing(self, store: Store) -> Store:
        """Give a store in a bucket that does not exist."""
        raise NotImplementedError

    def test_a_refused_delete_says_so(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", b"1")
        proxy.before = counted(-1, lambda e: "d" if e.method == "DELETE" else None, "answer", refusing(403))
        with pytest.raises(Unavailable) as caught:
            store.delete("a")
        assert caught.value.code == "storage-denied"
        assert get(store, "a") == b"1"

    def test_a_lost_answer_to_a_delete_does_no_harm(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", b"1")
        proxy.after = counted(1, lambda e: "d" if e.method == "DELETE" else None, "drop")
        store.delete("a")
        with pytest.raises(NotFound):
            store.stat("a")

    def test_every_printable_character_may_be_in_a_name(self, store: Store) -> None:
        rest = "".join(map(chr, range(33, 127))).replace("/", "").replace("\\", "")
        names = sorted([f"a/{rest}", "a/%2F", "a/%41", "a/A", "a/+", "a/?x=1&y#z", "a/;v=1"])
        for name in names:
            put(store, name, name.encode())
        assert list(store.list("a/")) == names
        assert list(store.list_folders("a/")) == [name[2:] for name in names]
        for name in names:
            assert get(store, name) == name.encode()
            assert store.stat(name).size == len(name)
            store.delete(name)
        assert list(store.list("")) == []

    def test_nobody_listening_is_unavailable_soon(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.close()
        began = time.monotonic()
        for ask in (lambda: store.stat("a"), lambda: put(store, "a"), lambda: list(store.list(""))):
            with pytest.raises(Unavailable) as caught:
                ask()
            assert caught.value.code == "unavailable"
        assert time.monotonic() - began < 30

    def test_threads_that_have_parts_on_their_way_end_with_the_upload(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        before = threading.active_count()
        proxy.before = counted(-1, lambda e: "up" if len(e.body) > limits.MIB else None, "drop")
        with pytest.raises(Unavailable):
            put(store, "a", BIG * 3)
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("part-", "gcs-"))]
        assert not left
        assert threading.active_count() <= before + 40
