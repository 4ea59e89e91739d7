"""Whatever happens to a request to S3 or its answer: success, or a clear error, and nothing half-visible."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from tests.conformance.creating_suite import get, put
from tests.servers.http_proxy import Exchange, FaultyProxy, forward, proxied
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from vault.core import limits
from vault.errors import Conflict, NotFound, Unavailable, VaultError
from vault.ports import Store
from vault.storage import s3_reading
from vault.storage.opening import open_store

LARGE = Random(0).randbytes(20 * limits.MIB)
LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name><IsTruncated>{more}</IsTruncated>'
    "<NextContinuationToken>{token}</NextContinuationToken>{names}</ListBucketResult>"
)


@pytest.fixture
def proxy(seaweed: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:  # noqa: F811
    """Stand between the store and its server; nobody waits before trying again."""
    import botocore.retries.standard

    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0)
    monkeypatch.setattr(s3_reading, "_WAIT", 0)
    with proxied(seaweed.endpoint) as running:
        yield running


@pytest.fixture
def bucket(seaweed: SeaweedServer) -> str:  # noqa: F811
    return seaweed.new_bucket()


@pytest.fixture
def direct(seaweed: SeaweedServer, bucket: str) -> Store:  # noqa: F811
    """Give the store without the proxy."""
    return open_store(seaweed.url(bucket, "v"))


@pytest.fixture
def store(seaweed: SeaweedServer, bucket: str, proxy: FaultyProxy) -> Store:  # noqa: F811
    """Give the store behind the proxy."""
    return open_store(seaweed.url(bucket, "v", endpoint=f"http://{proxy.netloc}"))


def is_put(exchange: Exchange) -> bool:
    return exchange.method == "PUT" and "?" not in exchange.path


def is_part(exchange: Exchange) -> bool:
    return exchange.method == "PUT" and "partNumber=" in exchange.path


def is_completion(exchange: Exchange) -> bool:
    return exchange.method == "POST" and "uploadId=" in exchange.path


def is_read(exchange: Exchange) -> bool:
    return exchange.method == "GET" and "list-type" not in exchange.path


def is_listing(exchange: Exchange) -> bool:
    return "list-type" in exchange.path


def is_deletion(exchange: Exchange) -> bool:
    return exchange.method == "DELETE" and "uploadId" not in exchange.path


def times(
    count: int,
    word: str,
    when: Callable[[Exchange], bool],
    act: Callable[[Exchange], object] = lambda _: None,
) -> Callable[[Exchange], str | None]:
    """Plan `word` for the first `count` exchanges that fit `when`."""
    left = [count]

    def plan(exchange: Exchange) -> str | None:
        if not when(exchange) or not left[0]:
            return None
        left[0] -= 1
        act(exchange)
        return word

    return plan


def create_large(store: Store, name: str = "large") -> None:
    with store.create(name) as sink:
        for start in range(0, len(LARGE), limits.MIB):
            sink.write(LARGE[start : start + limits.MIB])


# Lost answers.


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_a_lost_answer_to_a_put_is_not_mistaken_for_a_conflict(
    store: Store, direct: Store, proxy: FaultyProxy, lost: int
) -> None:
    proxy.after = times(lost, "drop", is_put)
    put(store, "a/b", b"ours")
    assert get(direct, "a/b") == b"ours"
    assert sum(map(is_put, proxy.requests)) == min(lost + 1, 4)


@pytest.mark.parametrize("lost", [1, 4])
def test_a_lost_answer_to_a_completion_is_not_mistaken_for_a_conflict(
    store: Store, direct: Store, proxy: FaultyProxy, lost: int
) -> None:
    create_large(store, "earlier")  # finds out that the store honours conditions
    proxy.after = times(lost, "drop", is_completion)
    create_large(store)
    assert get(direct, "large") == LARGE


def test_a_put_that_something_else_answered_is_not_taken_for_stored(
    store: Store, direct: Store, proxy: FaultyProxy
) -> None:
    proxy.before = times(1, "answer", is_put, lambda exchange: exchange.say(200))
    with pytest.raises(Unavailable), store.create("a", size=4) as sink:
        sink.write(b"ours")
    assert list(direct.list("")) == []


def test_a_put_that_was_lost_itself_is_repeated(store: Store, direct: Store, proxy: FaultyProxy) -> None:
    proxy.before = times(2, "drop", is_put)
    put(store, "a", b"ours")
    assert get(direct, "a") == b"ours"


@pytest.mark.parametrize("word", ["drop", "answer"])
def test_whoever_came_first_while_an_answer_was_lost_is_told_of(
    store: Store, direct: Store, proxy: FaultyProxy, word: str
) -> None:
    def overtake(exchange: Exchange) -> None:
        put(direct, "a", b"theirs")
        exchange.say(500)

    proxy.before = times(1, word, is_put, overtake)
    with pytest.raises(Conflict):
        put(store, "a", b"ours")
    assert get(direct, "a") == b"theirs"


def test_whoever_came_first_to_a_completion_is_told_of(
    store: Store, direct: Store, proxy: FaultyProxy
) -> None:
    proxy.before = times(1, "drop", is_completion, lambda _: put(direct, "large", b"theirs"))
    with pytest.raises(Conflict):
        create_large(store)
    assert get(direct, "large") == b"theirs"


def test_what_nobody_can_find_out_is_told_as_such(store: Store, direct: Store, proxy: FaultyProxy) -> None:
    """The PUT arrived, its answer and every later one is lost: the object may be there, and whole."""
    proxy.after = lambda exchange: "drop" if is_put(exchange) or exchange.method == "HEAD" else None
    with pytest.raises(Unavailable), store.create("a", size=4) as sink:
        sink.write(b"ours")
    assert get(direct, "a") == b"ours"


def test_a_lost_answer_to_a_deletion_is_no_error(store: Store, direct: Store, proxy: FaultyProxy) -> None:
    put(direct, "a", b"x")
    proxy.after = times(2, "drop", is_deletion)
    store.delete("a")
    with pytest.raises(NotFound):
        direct.stat("a")


def test_a_repeated_conflict_with_a_forbidden_look_is_no_conflict(store: Store, proxy: FaultyProxy) -> None:
    """Whoever may create but not look cannot tell its own object from another."""
    proxy.after = times(1, "drop", is_put)
    proxy.before = times(9, "answer", lambda exchange: exchange.method == "HEAD", lambda e: e.say(403))
    with pytest.raises(Unavailable) as caught:
        put(store, "a", b"ours")
    assert caught.value.code == "storage-denied"
    assert "cannot be found out" in caught.value.message


# A store that is busy, down, or sends nonsense.


def slow_down(exchange: Exchange) -> None:
    body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    exchange.say(503, body.encode(), kind="application/xml")


def use_everything(store: Store) -> None:
    put(store, "a/b", b"small")
    create_large(store)
    assert get(store, "a/b") == b"small"
    assert store.stat("a/b").size == 5
    assert list(store.list("")) == ["a/b", "large"]
    assert list(store.list_folders("")) == ["a/", "large"]
    buffer = memoryview(bytearray(limits.MIB))
    with store.open("large") as source:
        for start in range(0, len(LARGE), limits.MIB):
            assert source.read_into(start, buffer) == limits.MIB
            assert buffer == LARGE[start : start + limits.MIB]
    store.delete("a/b")
    store.delete("large")
    assert list(store.list("")) == []


def test_a_store_that_is_busy_now_and_then_is_asked_again(store: Store, proxy: FaultyProxy) -> None:
    turn = [0]

    def plan(exchange: Exchange) -> str | None:
        turn[0] += 1
        if turn[0] % 3:
            return None
        slow_down(exchange)
        return "answer"

    proxy.before = plan
    use_everything(store)


def test_connections_that_break_now_and_then_are_made_again(store: Store, proxy: FaultyProxy) -> None:
    turn = [0]

    def plan(exchange: Exchange) -> str | None:
        turn[0] += 1
        return "drop" if turn[0] % 4 == 0 and not is_completion(exchange) else None

    proxy.before = plan
    use_everything(store)


VERBS: dict[str, Callable[[Store], object]] = {
    "create": lambda store: put(store, "new", b"x"),
    "large": create_large,
    "read": lambda store: store.read("there", limit=10),
    "stat": lambda store: store.stat("there"),
    "list": lambda store: list(store.list("")),
    "folders": lambda store: list(store.list_folders("")),
    "delete": lambda store: store.delete("there"),
    "open": lambda store: store.open("there").__enter__(),
}


@pytest.mark.parametrize(
    "fault",
    [
        "garbage",
        "dropped",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("busy", "nothing", "teapot", "long")),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_that_lasts_is_unavailable_and_changes_nothing(
    store: Store, direct: Store, proxy: FaultyProxy, verb: str, fault: str
) -> None:
    put(direct, "there", b"x")

    def plan(exchange: Exchange) -> str | None:
        if fault == "busy":
            slow_down(exchange)
        elif fault == "garbage":
            exchange.say(200, b"<<<\xff\xfe>&not xml", kind="application/xml", ETag="\x7f\xff")
        elif fault == "teapot":
            exchange.say(418, b"\xff" * 100)
        elif fault == "nothing":
            exchange.status, exchange.answer, exchange.data = 200, [("Content-Length", "0")], b""
        elif fault == "long":
            exchange.say(500, b"x" * (9 * limits.MIB), kind="application/xml")
        return "drop" if fault == "dropped" else "answer"

    proxy.before = plan
    if (fault, verb) == ("nothing", "delete"):
        store.delete("there")  # the answer to a deletion is its status alone
    elif (fault, verb) in {
        ("nothing", "create"),
        ("nothing", "large"),
        ("garbage", "create"),
        ("garbage", "large"),
    }:
        with pytest.raises(Conflict):  # as it says, the name is there
            VERBS[verb](store)
    elif (fault, verb) in {("nothing", "stat"), ("nothing", "open"), ("nothing", "read"), ("garbage", "stat"),
                           ("garbage", "open")}:  # fmt: skip
        VERBS[verb](store)  # other bytes, which those who read them verify
    else:
        with pytest.raises(VaultError) as caught:
            VERBS[verb](store)
        assert type(caught.value) is Unavailable or (fault == "garbage" and caught.value.code == "too-large")
        assert caught.value.hint
    proxy.before = forward
    assert list(direct.list("")) == ["there"]
    VERBS[verb](store)


@pytest.mark.parametrize("when", [is_part, is_completion, lambda e: e.path.endswith("?uploads")])
def test_a_large_object_that_fails_leaves_nothing_and_can_be_tried_again(
    store: Store,
    direct: Store,
    proxy: FaultyProxy,
    seaweed: SeaweedServer,  # noqa: F811
    bucket: str,
    when: Callable[[Exchange], bool],
) -> None:
    proxy.before = times(100, "answer", when, slow_down)
    with pytest.raises(Unavailable):
        create_large(store)
    assert list(direct.list("")) == []
    assert not seaweed.client().list_multipart_uploads(Bucket=bucket).get("Uploads")
    proxy.before = forward
    create_large(store)
    assert get(direct, "large") == LARGE


# Answers that are not what was asked for.


def read_large(store: Store) -> bytes:
    result = bytearray()
    buffer = memoryview(bytearray(limits.MIB))
    with store.open("large") as source:
        for start in range(0, source.size, limits.MIB):
            got = source.read_into(start, buffer)
            result += buffer[:got]
    return bytes(result)


@pytest.mark.parametrize("count", [3, 100])
def test_answers_that_are_cut_are_asked_for_again(
    store: Store, direct: Store, proxy: FaultyProxy, count: int
) -> None:
    create_large(direct)
    put(direct, "small", b"12345678")
    proxy.after = times(count, "cut", is_read)
    if count == 3:
        assert read_large(store) == LARGE
        proxy.after = times(count, "cut", is_read)
        assert get(store, "small") == b"12345678"
    else:  # each attempt brings a half of what is left: parts of 8 MiB do not get done in four
        with pytest.raises(Unavailable, match="ended early"):
            read_large(store)
        with pytest.raises(Unavailable):
            get(store, "small")


def longer(exchange: Exchange) -> None:
    exchange.data += b"more"
    exchange.answer = [
        (name, str(len(exchange.data)) if name == "Content-Length" else value)
        for name, value in exchange.answer
    ]


def elsewhere(exchange: Exchange) -> None:
    exchange.answer = [
        (name, value.replace("bytes ", "bytes 1") if name == "Content-Range" else value)
        for name, value in exchange.answer
    ]


def flipped(exchange: Exchange) -> None:
    exchange.data = bytes([exchange.data[0] ^ 1]) + exchange.data[1:]


@pytest.mark.parametrize("change", [longer, elsewhere])
def test_a_range_that_is_not_the_one_asked_for_is_not_taken(
    store: Store, direct: Store, proxy: FaultyProxy, change: Callable[[Exchange], None]
) -> None:
    create_large(direct)

    def plan(exchange: Exchange) -> None:
        if is_read(exchange):
            change(exchange)

    proxy.after = plan
    with pytest.raises(Unavailable, match="cannot be used"):
        read_large(store)


def test_a_small_object_of_other_bytes_than_its_checksum_is_not_given(
    store: Store, direct: Store, proxy: FaultyProxy
) -> None:
    put(direct, "a", b"12345678")
    proxy.after = lambda exchange: flipped(exchange) if is_read(exchange) else None
    with pytest.raises(Unavailable, match="hecksum"):
        store.read("a", limit=100)


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    store: Store,
    direct: Store,
    seaweed: SeaweedServer,  # noqa: F811
    bucket: str,
) -> None:
    create_large(direct)
    buffer = memoryview(bytearray(limits.MIB))
    with store.open("large") as source:
        seaweed.client().put_object(Bucket=bucket, Key="v/large", Body=b"x" * len(LARGE))
        with pytest.raises(Unavailable, match="replaced"):
            source.read_into(8 * limits.MIB, buffer)


def entries(*names: str) -> str:
    return "".join(f"<Contents><Key>v/{name}</Key></Contents>" for name in names)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (
            LISTING.format(more="false", token="", names="<Contents><Key>w/a</Key></Contents>"),
            "not asked for",
        ),
        (LISTING.format(more="false", token="", names=entries("b", "a")), "out of order"),
        (LISTING.format(more="true", token="t", names=entries("a")), "come to an end"),
        (LISTING.format(more="true", token="", names=entries("a")), "come to an end"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]>' + LISTING.format(more="false", token="", names="&a;"), "XML"),
        (LISTING.format(more="false", token="", names=entries("a"))[:-9], "500"),
        (LISTING.format(more="false", token="", names="x" * (9 * limits.MIB)), "bytes"),
    ],
    ids=["elsewhere", "disorder", "circle", "no-token", "entities", "cut", "huge"],
)
def test_a_listing_that_lies_is_not_believed(
    store: Store, proxy: FaultyProxy, answer: str, match: str
) -> None:
    def plan(exchange: Exchange) -> str | None:
        exchange.say(200, answer.encode(), kind="application/xml")
        return "answer"

    proxy.before = plan
    with pytest.raises(Unavailable, match=match):
        list(store.list(""))


def test_a_listing_in_order_is_streamed_page_by_page(store: Store, proxy: FaultyProxy) -> None:
    """As Amazon S3 lists; what is no name of the vault's, and what comes before, is passed over."""
    pages = [entries("!x y", "a", "a-b"), entries(), entries("a/b", ".mvault-tmp/x", "b//c")]
    pages[2] = entries("a/b", "b//c", "c")

    def plan(exchange: Exchange) -> str | None:
        number = len([seen for seen in proxy.requests if is_listing(seen)]) - 1
        more = "true" if number < 2 else "false"
        answer = LISTING.format(more=more, token=f"t{number}", names=pages[number])
        exchange.say(200, answer.encode(), kind="application/xml")
        return "answer"

    proxy.before = plan
    names = store.list("", after="a")
    assert next(names) == "a-b"
    assert len(proxy.requests) == 1
    assert "start-after=v%2Fa&" in proxy.requests[0].path
    assert list(names) == ["a/b", "c"]
    assert "continuation-token=t1" in proxy.requests[2].path
