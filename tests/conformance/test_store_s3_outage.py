"""The server of S3 is killed in the middle: a clear error, nothing half-visible, and then it works."""

import time
from collections.abc import Iterator
from random import Random

import pytest

from tests.conformance.creating_suite import get, put
from tests.servers import seaweed as servers
from tests.servers.seaweed import SeaweedServer
from vault.core import limits
from vault.errors import Unavailable
from vault.ports import Source, Store
from vault.storage import s3_reading
from vault.storage.opening import open_store

LARGE = Random(0).randbytes(24 * limits.MIB)


@pytest.fixture(scope="module")
def mortal() -> Iterator[SeaweedServer]:
    """Run a server that may be killed; nobody waits before trying again."""
    import botocore.retries.standard

    with servers.running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0)
        patch.setattr(s3_reading, "_WAIT", 0)
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def store(mortal: SeaweedServer) -> Iterator[Store]:
    opened = open_store(mortal.url(mortal.new_bucket(), "v"))
    put(opened, "before", b"x")
    yield opened
    if mortal.process is None:
        mortal.start()


def test_a_server_killed_while_an_object_is_written_leaves_nothing(
    mortal: SeaweedServer, store: Store
) -> None:
    def write(kill: bool) -> None:
        with store.create("large") as sink:
            for number, start in enumerate(range(0, len(LARGE), limits.MIB)):
                if kill and number == 18:
                    mortal.stop()
                sink.write(LARGE[start : start + limits.MIB])

    with pytest.raises(Unavailable) as caught:
        write(kill=True)
    assert caught.value.code == "unavailable"
    mortal.start()
    assert list(store.list("")) == ["before"]
    write(kill=False)
    assert get(store, "large") == LARGE


def test_a_server_killed_while_an_object_is_read_says_so(mortal: SeaweedServer, store: Store) -> None:
    with store.create("large") as sink:
        sink.write(LARGE)
    buffer = memoryview(bytearray(limits.MIB))

    def read(source: Source, *starts: int) -> None:
        for start in starts:
            assert source.read_into(start, buffer) == limits.MIB
            assert buffer == LARGE[start : start + limits.MIB]

    with store.open("large") as source:
        read(source, 0)
        mortal.stop()
        with pytest.raises(Unavailable):
            read(source, *range(limits.MIB, len(LARGE), limits.MIB))
        mortal.start()
        end = time.monotonic() + 30
        while True:  # a server that has just begun to answer may not have found its volumes yet
            try:
                read(source, 20 * limits.MIB, limits.MIB)
            except Unavailable:
                assert time.monotonic() < end, "the retry succeeds once the server is back"
                time.sleep(0.1)
            else:
                break


def test_every_verb_tells_of_a_server_that_is_down(mortal: SeaweedServer, store: Store) -> None:
    mortal.stop()
    for verb in (
        lambda: put(store, "new"),
        lambda: store.read("before", limit=10),
        lambda: store.stat("before"),
        lambda: list(store.list("")),
        lambda: list(store.list_folders("")),
        lambda: store.delete("before"),
        lambda: store.open("before").__enter__(),
    ):
        with pytest.raises(Unavailable, match="EndpointConnectionError") as caught:
            verb()
        assert "network" in caught.value.hint
    mortal.start()
    assert list(store.list("")) == ["before"]


def test_a_bucket_that_is_not_there_is_told_of(mortal: SeaweedServer) -> None:
    store = open_store(mortal.url("no-such-bucket", "v"))
    with pytest.raises(Unavailable, match="NoSuchBucket") as caught:
        list(store.list(""))
    assert "Create the bucket" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "secret key does not belong"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "does not know that access key"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "AWS_PROFILE"),
        ({"AWS_PROFILE": "missing"}, "AWS_PROFILE"),
    ],
    ids=["secret", "key", "none", "profile"],
)
def test_wrong_credentials_are_denied_with_what_to_do(
    mortal: SeaweedServer,
    monkeypatch: pytest.MonkeyPatch,
    names: dict[str, str | None],
    hint: str,
) -> None:
    store = open_store(mortal.url(mortal.new_bucket(), "v"))
    for name, value in names.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    for verb in (lambda: list(store.list("")), lambda: put(store, "a"), lambda: store.read("a", limit=1)):
        with pytest.raises(Unavailable) as caught:
            verb()
        assert caught.value.code == "storage-denied"
    with pytest.raises(Unavailable) as caught:
        list(store.list(""))
    assert hint in caught.value.hint
