"""A bucket of Google Cloud Storage whose network, server or settings misbehave."""

from collections.abc import Iterator

import pytest

from tests.conformance.creating_suite import get, put
from tests.conformance.remote_suite import BIG, RemoteSuite, counted, refusing
from tests.servers import fake_gcs as servers
from tests.servers.fake_gcs import FakeGcs, fake_gcs  # noqa: F401
from tests.servers.http_proxy import Exchange, FaultyProxy, proxied
from vault.errors import Unavailable
from vault.ports import Store
from vault.storage import gcs_session
from vault.storage.opening import open_store


@pytest.fixture
def proxy(fake_gcs: FakeGcs, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:  # noqa: F811
    monkeypatch.setattr(gcs_session, "FIRST_WAIT", 0.01)
    with proxied(fake_gcs.endpoint) as proxy:
        yield proxy


class TestGcs(RemoteSuite):
    @pytest.fixture
    def store(self, proxy: FaultyProxy, fake_gcs: FakeGcs) -> Store:  # noqa: F811
        self.netloc = proxy.netloc
        return open_store(f"gs://{fake_gcs.bucket()}/vault?endpoint=http://{proxy.netloc}")

    def creates(self, exchange: Exchange) -> str | None:
        return "create" if exchange.method == "POST" and "/upload/" in exchange.path else None

    def reads(self, exchange: Exchange) -> str | None:
        return "read" if "alt=media" in exchange.path else None

    def lists(self, exchange: Exchange) -> str | None:
        return "list" if exchange.path.partition("?")[0].endswith("/o") and exchange.method == "GET" else None

    def missing(self, store: Store) -> Store:
        return open_store(f"gs://no-such-bucket/vault?endpoint=http://{self.netloc}")

    def test_bytes_that_were_changed_on_the_way_down_are_noticed(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        put(store, "a", b"x" * 1000)

        def flip(exchange: Exchange) -> str | None:
            exchange.data = b"y" + exchange.data[1:]
            return None

        proxy.after = counted(1, self.reads, "answer", flip)
        assert store.read("a", limit=1000) == b"x" * 1000
        proxy.after = counted(-1, self.reads, "answer", flip)
        with pytest.raises(Unavailable, match="CRC32C"):
            store.read("a", limit=1000)

    def test_another_generation_than_was_opened_is_refused(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", BIG)

        def older(exchange: Exchange) -> str | None:
            exchange.answer = [
                (name, "12345" if name.lower() == "x-goog-generation" else value)
                for name, value in exchange.answer
            ]
            return None

        with store.open("a") as source:
            proxy.after = counted(-1, self.reads, "answer", older)
            with pytest.raises(Unavailable, match="another object"):
                source.read_into(1 << 20, memoryview(bytearray(10)))

    def test_an_upload_that_the_server_stored_otherwise_is_removed_again(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        def spoil(exchange: Exchange) -> str | None:
            if self.creates(exchange):
                exchange.body = exchange.body.replace(b"genuine bytes", b"altered bytes")
            return None

        proxy.before = spoil
        with pytest.raises(Unavailable, match=r"mismatch|other bytes"):
            put(store, "a", b"genuine bytes")
        assert list(store.list("")) == []

    def test_too_many_requests_are_waited_for(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.before = counted(3, self.creates, "answer", refusing(429))
        put(store, "a", b"1")
        assert get(store, "a") == b"1"

    @pytest.mark.parametrize(
        "page",
        [
            b'{"kind":"storage#objects","items":[{"name":"vault/b"},{"name":"vault/a"}]}',
            b'{"kind":"storage#objects","items":[{"name":"vault/a"},{"name":"vault/a"}]}',
            b'{"kind":"storage#objects","items":[{"name":"elsewhere/a"}]}',
            b'{"kind":"storage#objects","items":[{"name":"vault/a"}],"nextPageToken":"again"}',
            b'{"kind":"storage#objects","items":[],"nextPageToken":"again"}',
        ],
    )
    def test_a_listing_out_of_order_or_without_end_is_refused(
        self, store: Store, proxy: FaultyProxy, page: bytes
    ) -> None:
        def answer(exchange: Exchange) -> str | None:
            exchange.say(200, page, kind="application/json")
            return None

        proxy.before = counted(-1, self.lists, "answer", answer)
        with pytest.raises(Unavailable, match=r"in order|not asked for|without end"):
            list(store.list("a"))

    def test_a_bucket_that_google_says_is_missing_is_told_from_a_missing_object(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        said = b'{"error":{"code":404,"message":"The specified bucket does not exist."}}'

        def answer(exchange: Exchange) -> str | None:
            exchange.say(404, said, kind="application/json")
            return None

        proxy.before = counted(-1, lambda _: "every", "answer", answer)
        with pytest.raises(Unavailable, match="There is no bucket"):
            store.stat("a")
        with pytest.raises(Unavailable, match="There is no bucket"):
            store.read("a", limit=1)


def test_a_server_that_is_killed_in_the_middle_of_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_session, "FIRST_WAIT", 0.01)
    with servers.running() as server:
        store = open_store(server.url(server.bucket()))
        put(store, "before", b"1")

        def attempt() -> None:
            with store.create("a") as sink:
                sink.write(BIG)
                server.process.kill()
                server.process.wait()
                sink.write(BIG)

        with pytest.raises(Unavailable) as caught:
            attempt()
        assert (caught.value.code, caught.value.subject) == ("unavailable", "a")
        with pytest.raises(Unavailable):
            get(store, "before")
