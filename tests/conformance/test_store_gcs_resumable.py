"""Large objects in resumable sessions, as with Google itself: a lost connection costs one part."""

from collections.abc import Iterator
from random import Random

import pytest

from tests.conformance.creating_suite import CreatingSuite, put
from tests.servers.fake_gcs import FakeGcs, fake_gcs  # noqa: F401
from tests.servers.gcs_sessions import STEP, Sessions
from tests.servers.http_proxy import Exchange, FaultyProxy, proxied
from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.ports import Store
from vault.storage import gcs_session
from vault.storage.opening import open_store
from vault.storage.probing import probe

LARGE = 20 * limits.MIB + 17
DATA = Random(5).randbytes(LARGE)


@pytest.fixture
def proxy(fake_gcs: FakeGcs, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:  # noqa: F811
    monkeypatch.setattr(gcs_session, "FIRST_WAIT", 0.01)
    with proxied(fake_gcs.endpoint) as proxy:
        yield proxy


@pytest.fixture
def sessions(proxy: FaultyProxy) -> Sessions:
    proxy.before = sessions = Sessions(proxy)
    return sessions


@pytest.fixture
def store(sessions: Sessions, proxy: FaultyProxy, fake_gcs: FakeGcs) -> Store:  # noqa: F811
    return open_store(f"gs://{fake_gcs.bucket()}/vault?endpoint=http://{proxy.netloc}&upload=resumable")


class TestResumableUploads(CreatingSuite):
    in_memory = True  # of the proxy, which runs here

    @pytest.fixture
    def store(self, sessions: Sessions, proxy: FaultyProxy, fake_gcs: FakeGcs) -> Store:  # noqa: F811
        return open_store(f"gs://{fake_gcs.bucket()}/vault?endpoint=http://{proxy.netloc}&upload=resumable")


@pytest.mark.parametrize("size", [8 * limits.MIB + 1, 16 * limits.MIB, 16 * limits.MIB + STEP, LARGE])
def test_an_object_of_any_size_arrives_whole(store: Store, sessions: Sessions, size: int) -> None:
    put(store, "a", DATA[:size])
    assert store.read("a", limit=size) == DATA[:size]
    assert len(sessions.sessions) == 1


def test_of_two_large_uploads_at_once_the_first_to_end_wins(store: Store) -> None:
    def race() -> None:
        with store.create("a") as slow:
            slow.write(DATA)
            put(store, "a", DATA[: 9 * limits.MIB])

    with pytest.raises(Conflict):
        race()
    assert store.stat("a").size == 9 * limits.MIB


def test_a_server_that_keeps_no_condition_in_sessions_is_found_out(
    store: Store, proxy: FaultyProxy, sessions: Sessions
) -> None:
    assert probe(store, large=True).faults == ()

    def careless(exchange: Exchange) -> str | None:
        if "uploadType=resumable" in exchange.path:
            exchange.path = exchange.path.replace("ifGenerationMatch=0", "x=0")
        return sessions(exchange)

    proxy.before = careless
    assert probe(store, large=True).creates_large is False


@pytest.mark.parametrize("lost", range(1, 5))
def test_whatever_answer_is_lost_the_upload_goes_on_and_the_object_is_whole(
    store: Store, proxy: FaultyProxy, sessions: Sessions, lost: int
) -> None:
    """The four requests: begin, two whole parts, and the last, which ends the upload."""
    count = 0

    def lose(exchange: Exchange) -> str | None:
        nonlocal count
        word = sessions(exchange)
        if word == "answer":
            count += 1
            if count == lost:
                return "drop"
        return word

    proxy.before = lose
    put(store, "a", DATA)
    assert store.read("a", limit=LARGE) == DATA
    assert sessions.asked == (1 if lost in {2, 3} else 0)
    assert count == 5
    assert list(store.list("")) == ["a"]


def test_a_service_that_keeps_only_a_part_of_a_part_gets_the_rest_again(
    store: Store, sessions: Sessions
) -> None:
    sessions.partly = [STEP, 3 * STEP, 0, STEP]
    put(store, "a", DATA)
    assert store.read("a", limit=LARGE) == DATA


def test_a_service_that_takes_nothing_is_not_asked_for_ever(store: Store, sessions: Sessions) -> None:
    sessions.partly = [0] * 100
    with pytest.raises(Unavailable, match="does not take its parts"):
        put(store, "a", DATA)
    assert 4 <= 100 - len(sessions.partly) <= 8
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    "told", ["bytes=0-9999999999999", "bytes=5-9", "bytes=0-x", "bytes=0--1", "0", "bytes=0-1"]
)
def test_a_service_that_tells_nonsense_about_what_it_has_is_not_believed(
    store: Store, proxy: FaultyProxy, sessions: Sessions, told: str
) -> None:
    def lie(exchange: Exchange) -> str | None:
        word = sessions(exchange)
        if exchange.status == 308 and len(sessions.sessions) and exchange.method == "PUT" and second():
            exchange.say(308, Range=told)
        return word

    parts = iter(range(100))

    def second() -> bool:
        return next(parts) >= 1

    proxy.before = lie
    with pytest.raises(Unavailable, match=r"bytes that it had|which bytes it has|its parts"):
        put(store, "a", DATA)
    assert list(store.list("")) == []


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_is_forgotten_ends_the_upload_with_nothing_stored(
    store: Store, proxy: FaultyProxy, sessions: Sessions, status: int
) -> None:
    def forget(exchange: Exchange) -> str | None:
        if exchange.method == "PUT" and len(next(iter(sessions.sessions.values())).data) > 9 * limits.MIB:
            exchange.say(status)
            return "answer"
        return sessions(exchange)

    proxy.before = forget
    with pytest.raises(Unavailable):
        put(store, "a", DATA)
    assert list(store.list("")) == []


def test_an_upload_that_is_given_up_is_cancelled(store: Store, sessions: Sessions) -> None:
    def attempt() -> None:
        with store.create("a") as sink:
            sink.write(DATA)
            raise KeyError

    with pytest.raises(KeyError):
        attempt()
    assert sessions.cancelled == 1
    assert list(store.list("")) == []


def test_a_session_elsewhere_gets_nothing(store: Store, proxy: FaultyProxy, sessions: Sessions) -> None:
    with proxied(f"http://{proxy.target}") as other:

        def elsewhere(exchange: Exchange) -> str | None:
            if exchange.method == "POST" and "uploadType=resumable" in exchange.path:
                exchange.say(200, Location=f"http://{other.netloc}/upload?upload_id=1")
                return "answer"
            return sessions(exchange)

        proxy.before = elsewhere
        with pytest.raises(Unavailable, match="elsewhere"):
            put(store, "a", DATA)
        assert other.requests == []


def test_bytes_that_the_service_stored_otherwise_are_removed_again(
    store: Store, proxy: FaultyProxy, sessions: Sessions
) -> None:
    def corrupt(exchange: Exchange) -> str | None:
        if exchange.method == "PUT" and "/20971537" in exchange.header("Content-Range"):
            exchange.body = b"?" * len(exchange.body)
        return sessions(exchange)

    proxy.before = corrupt
    with pytest.raises(Unavailable, match="other bytes"):
        put(store, "a", DATA)
    assert list(store.list("")) == []
