"""A container of Azure Blob Storage whose network, server or settings misbehave."""

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.creating_suite import get, put
from tests.conformance.remote_suite import BIG, RemoteSuite, counted
from tests.servers import azurite as servers
from tests.servers.azurite import ACCOUNT, KEY, Azurite, azurite  # noqa: F401
from tests.servers.http_proxy import Exchange, FaultyProxy, proxied
from vault.errors import Conflict, Unavailable
from vault.ports import Store
from vault.storage import azure_session
from vault.storage.opening import open_store


@pytest.fixture
def proxy(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:  # noqa: F811
    monkeypatch.setattr(azure_session, "FIRST_WAIT", 0.01)
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    with proxied(azurite.endpoint) as proxy:
        yield proxy


class TestAzure(RemoteSuite):
    @pytest.fixture
    def store(self, proxy: FaultyProxy, azurite: Azurite) -> Store:  # noqa: F811
        self.server, self.container = azurite, azurite.container()
        self.endpoint = f"http://{proxy.netloc}/{ACCOUNT}"
        return open_store(azurite.url(self.container, endpoint=self.endpoint))

    def creates(self, exchange: Exchange) -> str | None:
        return "create" if exchange.method == "PUT" and "comp=block&" not in exchange.path + "&" else None

    def reads(self, exchange: Exchange) -> str | None:
        return "read" if exchange.method == "GET" and "comp=" not in exchange.path else None

    def lists(self, exchange: Exchange) -> str | None:
        return "list" if "comp=list" in exchange.path else None

    def missing(self, store: Store) -> Store:
        return open_store(self.server.url("no-such-container", endpoint=self.endpoint))

    def test_another_blob_than_was_opened_is_refused(self, store: Store, proxy: FaultyProxy) -> None:
        put(store, "a", BIG)

        def other(exchange: Exchange) -> str | None:
            exchange.answer = [
                (name, '"0x1"' if name.lower() == "etag" else value) for name, value in exchange.answer
            ]
            return None

        with store.open("a") as source:
            proxy.after = counted(-1, self.reads, "answer", other)
            with pytest.raises(Unavailable, match="other bytes"):
                source.read_into(1 << 20, memoryview(bytearray(10)))

    @pytest.mark.parametrize("size", [20, len(BIG)])
    def test_bytes_that_were_changed_on_the_way_up_are_not_stored(
        self, store: Store, proxy: FaultyProxy, size: int
    ) -> None:
        def spoil(exchange: Exchange) -> str | None:
            if exchange.method == "PUT" and "comp=blocklist" not in exchange.path:
                exchange.body = b"?" * len(exchange.body)
            return None

        proxy.before = spoil
        with pytest.raises(Unavailable, match=r"(?i)md5"):
            put(store, "a", BIG[:size])
        proxy.before = lambda _: None
        assert list(store.list("")) == []

    @pytest.mark.parametrize("names", [("b", "a"), ("a", "a"), ("../x",)])
    def test_a_listing_out_of_order_is_refused(
        self, store: Store, proxy: FaultyProxy, names: tuple[str, ...]
    ) -> None:
        blobs = "".join(f"<Blob><Name>vault/{name}</Name><Properties/></Blob>" for name in names)
        root = f'EnumerationResults ContainerName="{self.container}"'
        page = f"<{root}><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
        page = page.replace("vault/../x", "elsewhere")

        def answer(exchange: Exchange) -> str | None:
            exchange.say(200, page.encode(), kind="application/xml")
            return None

        proxy.before = counted(-1, self.lists, "answer", answer)
        with pytest.raises(Unavailable, match=r"in order|not asked for"):
            list(store.list(""))

    def test_a_blob_in_the_archive_tier_is_seen_and_not_read(self, store: Store) -> None:
        put(store, "a", b"cold")
        blob = self.server.client().get_blob_client(self.container, "vault/a")
        blob.set_standard_blob_tier("Archive")
        assert store.stat("a").size == 4
        assert list(store.list("")) == ["a"]
        with pytest.raises(Unavailable) as caught:
            store.read("a", limit=4)
        assert (caught.value.code, caught.value.subject) == ("storage-archived", "a")
        assert "az storage blob set-tier" in caught.value.hint
        with pytest.raises(Unavailable) as caught, store.open("a"):
            pass
        assert caught.value.code == "storage-archived"
        with pytest.raises(Conflict):
            put(store, "a")
        blob.set_standard_blob_tier("Hot")
        assert get(store, "a") == b"cold"

    def test_a_blob_with_a_snapshot_is_not_deleted(self, store: Store) -> None:
        put(store, "a", b"1")
        self.server.client().get_blob_client(self.container, "vault/a").create_snapshot()
        with pytest.raises(Unavailable) as caught:
            store.delete("a")
        assert caught.value.code == "storage-denied"
        assert list(store.list("")) == ["a"]

    def test_a_blob_under_a_lease_is_not_deleted(self, store: Store) -> None:
        put(store, "a", b"1")
        self.server.client().get_blob_client(self.container, "vault/a").acquire_lease()
        with pytest.raises(Unavailable) as caught:
            store.delete("a")
        assert caught.value.code == "storage-denied"

    def test_blocks_that_nobody_committed_are_nothing_and_in_nobodys_way(self, store: Store) -> None:
        blob = self.server.client().get_blob_client(self.container, "vault/a")
        blob.stage_block("x" * 40, b"stale")
        assert list(store.list("")) == []
        put(store, "a", b"fresh")
        assert get(store, "a") == b"fresh"

    def test_an_account_with_a_hierarchical_namespace_is_refused(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        def hierarchical(exchange: Exchange) -> str | None:
            if "restype=account" in exchange.path:
                kept = [(k, v) for k, v in exchange.answer if k.lower() != "x-ms-is-hns-enabled"]
                exchange.answer = [*kept, ("x-ms-is-hns-enabled", "true")]
            return None

        proxy.after = hierarchical
        with pytest.raises(Unavailable, match="hierarchical namespace"):
            put(store, "a")
        proxy.after = lambda _: None
        assert list(store.list("")) == []


def at(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, container: str, **environment: str) -> Store:  # noqa: F811
    for name in azurite.environment:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"az://{ACCOUNT}/{container}/vault")


def test_a_loaders_signature_suffices_to_read_and_writing_with_it_fails_clearly(
    azurite: Azurite,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(secret: str) -> dict[str, str]:
        text = f"BlobEndpoint={azurite.endpoint};AccountName={ACCOUNT};{secret}"
        return {"AZURE_STORAGE_CONNECTION_STRING": text}

    container = azurite.container()
    admin = at(azurite, monkeypatch, container, **told(f"AccountKey={KEY}"))
    put(admin, "a/b", b"1")
    loader = at(azurite, monkeypatch, container, **told(f"SharedAccessSignature={azurite.signature('rl')}"))
    assert get(loader, "a/b") == b"1"
    assert list(loader.list("")) == ["a/b"]
    assert loader.stat("a/b").size == 1
    acts: tuple[Callable[[], object], ...] = (lambda: put(loader, "a/c"), lambda: loader.delete("a/b"))
    for act in acts:
        with pytest.raises(Unavailable) as caught:
            act()
        assert caught.value.code == "storage-denied"
        assert "sig=" not in str(caught.value)
    publisher = at(
        azurite, monkeypatch, container, **told(f"SharedAccessSignature={azurite.signature('rlcw')}")
    )
    put(publisher, "a/c", b"2")
    put(publisher, "a/d", BIG)
    with pytest.raises(Conflict):
        put(publisher, "a/c", b"3")
    with pytest.raises(Unavailable) as caught:
        publisher.delete("a/c")
    assert caught.value.code == "storage-denied"
    assert get(admin, "a/d") == BIG


def test_a_wrong_key_is_denied(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    container = azurite.container()
    monkeypatch.setenv("AZURE_STORAGE_KEY", "A" * 4 + KEY[4:])
    store = open_store(azurite.url(container))
    for act in (lambda: put(store, "a"), lambda: get(store, "a"), lambda: list(store.list(""))):
        with pytest.raises(Unavailable) as caught:
            act()
        assert caught.value.code == "storage-denied"
        assert "devstoreaccount1" in caught.value.hint


def test_a_server_that_is_killed_in_the_middle_of_an_upload(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_session, "FIRST_WAIT", 0.01)
    with servers.running(request.config.cache.mkdir("oracles")) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store = open_store(server.url(server.container()))

        def attempt() -> None:
            with store.create("a") as sink:
                sink.write(BIG)
                server.process.kill()
                server.process.wait()
                sink.write(BIG)

        with pytest.raises(Unavailable) as caught:
            attempt()
        assert (caught.value.code, caught.value.subject) == ("unavailable", "a")
