"""A load from a store that is far away waits for few round trips, and fetches only what it needs."""

import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import builders, log_vaults
from tests.builders import PROD, Built
from tests.faults import Fault, FaultyStore, never
from tests.trips import FarStore, Request, depth_of
from vault.actions import loading, pulling
from vault.actions.session import Session
from vault.core import limits, names
from vault.core.memory_format import Mark, Memory, channel_key
from vault.core.names import Digest
from vault.errors import Malformed, NotFound, Rollback, Unavailable
from vault.ports import Store
from vault.storage import ahead_pool
from vault.storage.ahead import AheadStore
from vault.storage.ahead_answers import FOLDERS, LIST, OPEN, READ, Ask
from vault.storage.cached import FolderCache
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

AWAY = 0.06  # seconds: much longer than what a load computes between two requests
COLD, WARM = 6, 2
REFERENCE = names.reference("churn@prod")
OTHERS = {"features.json": b'["age","income"]', "notes.json": b'{"a":1}', "artifacts/limits.json": b"[1]"}


@cache
def small_model() -> bytes:
    import numpy as np

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.ones((2, 1), "float32"), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def files() -> dict[str, bytes]:
    return {"model.onnx": small_model(), **OTHERS}


def alone() -> tuple[Built, str]:
    built = builders.solo(seed="trips")
    built.promote(built.publish(files()))
    return built, "owner"


def together() -> tuple[Built, str]:
    """Four versions, each approved by two and promoted; a challenger beside them; three policies."""
    built = builders.team(seed="trips")
    for number in range(4):
        ref = built.publish(files(), who="dora")
        for who in ("ann", "bob"):
            built.approve(ref, who, seq=number)
        built.promote(ref, who="rex")
    built.promote(ref, who="rex", slot="b")
    return built, "server"


def proven() -> tuple[Built, str]:
    built = log_vaults.logged("unwitnessed")
    session = log_vaults.client(built, "owner")
    built.promote(built.publish(files(), session=session), session=session)
    return built, "server"


def witnessed() -> tuple[Built, str]:
    """The witness came after the promotion, so that the proof that lies there does not suffice."""
    built = log_vaults.logged("witnessed", 1)
    session = log_vaults.client(built, "owner")
    built.promote(built.publish(files(), session=session), session=session)
    log_vaults.cosign(built, "wes")
    return built, "server"


SCENES: dict[str, Callable[[], tuple[Built, str]]] = {
    "alone": alone,
    "together": together,
    "proven": proven,
    "witnessed": witnessed,
}
scenes = pytest.mark.parametrize("scene", SCENES)


@cache
def scene_of(name: str) -> tuple[Built, str]:
    return SCENES[name]()


def client(name: str, store: Store, *, forgetful: bool = True) -> Session:
    built, who = scene_of(name)
    return built.fork(forgetful=forgetful).session(who, env="prod", store=store)


def load(session: Session) -> Any:
    return loading.load_model(session, REFERENCE, {})


def trips(run: Callable[[float], FarStore], most: int) -> FarStore:
    """Demand that a run waits for at most so many round trips, one after the other.

    On a machine with much else to do, requests of one moment may not overlap; from further away they do.
    """
    for away in (AWAY, 4 * AWAY, 10 * AWAY):
        far = run(away)
        assert far.requests
        if far.depth <= most:
            return far
    pytest.fail(f"{far.depth} round trips one after the other:\n{far.told()}")


@pytest.fixture(autouse=True, scope="module")
def _imported() -> None:
    built, who = scene_of("alone")
    assert load(built.session(who, env="prod")).predict([[1.0, 2.0]]).shape == (1,)


def test_the_depth_is_the_longest_row_of_requests_that_waited_for_one_another() -> None:
    def asked(*times: tuple[float, float]) -> int:
        return depth_of([Request("read", "x", *pair) for pair in times])

    assert asked() == 0
    assert asked((0, 1), (0, 1), (0.5, 1.5)) == 1
    assert asked((0, 1), (1, 2), (0.5, 1.5), (2, 3)) == 3
    assert asked((0, 10), (1, 2), (3, 4)) == 2


@scenes
def test_a_load_by_somebody_who_knows_nothing_yet_takes_at_most_six_round_trips(scene: str) -> None:
    def run(away: float) -> FarStore:
        far = FarStore(scene_of(scene)[0].store, away)
        assert load(client(scene, AheadStore(far))).predict([[1.0, 2.0]]).shape == (1,)
        return far

    trips(run, COLD)


@scenes
def test_asked_one_after_the_other_it_would_take_many(scene: str) -> None:
    far = FarStore(scene_of(scene)[0].store, 0.001)
    load(client(scene, far))
    assert far.depth > 15


@scenes
def test_a_restart_with_a_cache_takes_at_most_two_and_fetches_no_model(scene: str, tmp_path: Path) -> None:
    built, _ = scene_of(scene)

    def run(away: float) -> FarStore:
        far = FarStore(built.store, away)
        kept = FolderCache(tmp_path / "cache", built.vault, far.location)
        load(client(scene, AheadStore(far, kept)))
        kept.settle()
        return far

    assert [name for name in run(0.001).names() if "/files/" in name]
    far = trips(run, WARM)
    assert not [name for name in far.names() if "/files/" in name or "manifest" in name]
    assert len(far.names("read")) <= 10, far.told()


@scenes
def test_the_second_load_of_a_service_takes_at_most_two(scene: str) -> None:
    def run(away: float) -> FarStore:
        far = FarStore(scene_of(scene)[0].store, away)
        session = client(scene, AheadStore(far))
        load(session)
        far.forget()
        load(session)
        return far

    trips(run, WARM)


def test_a_new_promotion_is_seen_by_the_next_load_with_and_without_a_cache(tmp_path: Path) -> None:
    for kept in (None, tmp_path / "cache"):
        built, who = (part if isinstance(part, str) else part.fork() for part in scene_of("alone"))
        assert isinstance(built, Built)
        far = FarStore(built.store, 0.001)
        store = AheadStore(far, None if kept is None else FolderCache(kept, built.vault, far.location))
        session = built.session(str(who), env="prod", store=store)
        assert loading.load_package(session, REFERENCE, {}).reference == "churn:1"
        built.promote(built.publish(files()))
        assert loading.load_package(session, REFERENCE, {}).reference == "churn:2"


@pytest.mark.parametrize("asked", ["churn", "churn:1", "churn@dev"])
def test_other_references_are_loaded_as_before(asked: str) -> None:
    built, who = scene_of("alone")
    far = FarStore(built.store, 0.001)
    session = built.fork(forgetful=True).session(who, env="dev", store=AheadStore(far))
    reference = names.reference(asked)
    assert loading.load_package(session, reference, {}).reference == "churn:1"
    assert loading.load_model(session, reference, {}).predict([[1.0, 2.0]]).shape == (1,)


def test_a_digest_is_loaded_as_before() -> None:
    built, who = scene_of("alone")
    found = built.manifest("churn:1")[1]
    session = built.fork(forgetful=True).session(who, env="prod", store=AheadStore(FarStore(built.store)))
    assert loading.load_package(session, names.reference(f"churn@sha256:{found}"), {}).reference == "churn:1"


def test_one_file_of_a_package_is_fetched_without_the_others() -> None:
    built, who = scene_of("alone")
    far = FarStore(built.store, 0.001)
    package = loading.load_package(
        built.fork(forgetful=True).session(who, env="prod", store=AheadStore(far)), REFERENCE, {}
    )
    assert len(payloads(far)) == 1, "metadata.json alone"
    assert package.read("features.json") == OTHERS["features.json"]
    assert len(payloads(far)) == 2
    far.forget()
    assert package.artifacts["limits"] == [1]
    assert len(payloads(far)) == 2, "features.json has the role of an artifact too"


def payloads(far: FarStore) -> set[str]:
    return {name for name in far.names() if "/files/" in name}


def test_pull_fetches_many_small_files_at_once(tmp_path: Path) -> None:
    built = builders.solo(seed="many")
    many = {f"part-{number:03}.json": b"[%d]" % number for number in range(60)}
    built.promote(built.publish({"model.onnx": small_model(), **many}))
    far = FarStore(built.store, AWAY)
    session = built.fork(forgetful=True).session("owner", env="prod", store=AheadStore(far))
    place = pulling.pull(session, REFERENCE, tmp_path / "out", zipped=False)
    assert {path.name: path.read_bytes() for path in place.glob("part-*")} == many
    assert far.most_at_once >= 16
    assert far.depth < 25, far.told()


def test_a_large_payload_is_fetched_in_parallel_parts(tmp_path: Path) -> None:
    built, payload = with_a_large_file(64 * limits.MIB)
    far = FarStore(built.store, 0.05)
    session = built.fork(forgetful=True).session("owner", env="prod", store=AheadStore(far))
    began = time.monotonic()
    pulling.pull(session, REFERENCE, tmp_path / "out", zipped=False)
    elapsed = time.monotonic() - began
    parts = [name for name in far.names("read_into", "open") if name == payload]
    assert len(parts) <= 16, "1 MiB units are fetched in larger parts"
    assert far.most_at_once >= 4
    assert far.depth < 5 + len(parts), "parts of one payload overlap"
    assert elapsed < 64 * 0.05 + 5
    assert (tmp_path / "out" / "weights.json").stat().st_size == 64 * limits.MIB


def test_a_large_payload_goes_into_the_cache_in_the_same_pass_and_in_flat_memory(tmp_path: Path) -> None:
    built, payload = with_a_large_file(96 * limits.MIB)
    asked = []
    for place in ("one", "two"):
        far = FarStore(built.store, 0.001)
        kept = FolderCache(tmp_path / "cache", built.vault, far.location)
        session = built.fork(forgetful=True).session("owner", env="prod", store=AheadStore(far, kept))
        tracemalloc.start()
        try:
            pulling.pull(session, REFERENCE, tmp_path / place, zipped=False)
            assert tracemalloc.get_traced_memory()[1] < 64 * limits.MIB
        finally:
            tracemalloc.stop()
        kept.settle()
        asked.append(sum(name == payload for name in far.names()))
    assert 0 < asked[0] <= 24
    assert asked[1] == 0, "the second pull read it from the cache"
    assert (tmp_path / "one" / "weights.json").read_bytes() == (
        tmp_path / "two" / "weights.json"
    ).read_bytes()


def with_a_large_file(size: int) -> tuple[Built, str]:
    built = builders.solo(seed="large")
    built.promote(built.publish({"weights.json": b'{"a":"' + b"a" * (size - 8) + b'"}'}))
    return built, next(name for name, data in built.store.objects.items() if len(data) > size)


# --- what is asked ahead changes nothing ---


class Spoiled:
    """A store that gives other answers to the threads that ask ahead."""

    round_trip = True

    def __init__(self, inner: Store, spoil: Callable[[str, str], None]) -> None:
        self.inner = inner
        self._spoil = spoil
        self.location = inner.location
        self.open, self.create, self.delete, self.stat = inner.open, inner.create, inner.delete, inner.stat

    def _ask(self, verb: str, name: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._spoil(verb, name)

    def read(self, name: str, *, limit: int) -> bytes:
        self._ask("read", name)
        return self.inner.read(name, limit=limit)

    def list(self, prefix: str, *, after: str = "") -> Any:
        self._ask("list", prefix)
        return self.inner.list(prefix, after=after)

    def list_folders(self, prefix: str) -> Any:
        self._ask("list_folders", prefix)
        return self.inner.list_folders(prefix)


@pytest.mark.parametrize(
    "error", [Malformed("Too large.", code="too-large"), NotFound("Gone."), ValueError("a fault of ours")]
)
def test_what_goes_wrong_ahead_does_not_stop_a_load(error: Exception) -> None:
    def spoil(verb: str, name: str) -> None:
        raise error

    built, _ = scene_of("together")
    assert load(client("together", AheadStore(Spoiled(built.store, spoil)))).predict([[1.0, 2.0]]).shape


def test_a_store_that_is_away_is_told_as_such() -> None:
    def spoil(verb: str, name: str) -> None:
        raise Unavailable("The network is down.")

    built, _ = scene_of("alone")
    with pytest.raises(Unavailable, match="network"):
        load(client("alone", AheadStore(Spoiled(built.store, spoil))))


def test_an_error_about_what_nobody_asks_for_is_not_told() -> None:
    def spoil(verb: str, name: str) -> None:
        if name.startswith("trust/heads/"):
            raise Unavailable("The network is down.")

    built, _ = scene_of("alone")
    assert load(client("alone", AheadStore(Spoiled(built.store, spoil)))).predict([[1.0, 2.0]]).shape


class Plugged(FaultyStore):
    """A store that is far away and can be pulled out."""

    round_trip = True


@pytest.mark.parametrize("last", range(0, 32, 4))
def test_the_plug_is_pulled_at_any_request(last: int, tmp_path: Path) -> None:
    built, _ = scene_of("together")
    store = Plugged(built.store, lambda operation: Fault.BEFORE if operation.index >= last else None)
    kept = FolderCache(tmp_path / "cache", built.vault, store.location)
    try:
        found = load(client("together", AheadStore(store, kept)))
    except Unavailable:
        found = None
    assert found is None or (last > 20 and found.predict([[1.0, 2.0]]).shape == (1,))
    store.plan = never
    assert load(client("together", AheadStore(store, kept))).predict([[1.0, 2.0]]).shape == (1,)


def test_another_process_that_is_ahead_meanwhile_is_no_rollback() -> None:
    """It promotes, and remembers that, after our listing was fetched and before we look at our memory."""
    built = scene_of("alone")[0].fork()
    listed, promoted = threading.Event(), threading.Event()

    class Overtaken(FarStore):
        def list_folders(self, prefix: str) -> Any:
            found = [*super().list_folders(prefix)]
            if prefix == "channels/prod/main/churn/@/":
                listed.set()
            if prefix == "trust/root/":
                assert promoted.wait(10)
            return iter(found)

    def promote() -> None:
        assert listed.wait(10)
        built.promote(built.publish(files()))
        promoted.set()

    # Whose acts are recorded looks at the policy, to tell who they are, before at its memory.
    session = log_vaults.client(built, "owner", env="prod", store=AheadStore(Overtaken(built.store)))
    other = threading.Thread(target=promote)
    other.start()
    package = loading.load_package(session, REFERENCE, {})
    other.join()
    assert package.reference == "churn:2"


def test_a_store_that_was_put_back_is_refused_all_the_same() -> None:
    built, who = scene_of("alone")
    session = client("alone", AheadStore(FarStore(built.store)))
    seen = Mark(1, 7, Digest("ab" * 32))
    session.memory.advance(
        Memory(built.vault, channels={channel_key(PROD, names.MAIN, REFERENCE.model): seen})
    )
    with pytest.raises(Rollback):
        load(session)
    assert who == "owner"


def test_within_a_look_a_store_is_asked_once_and_outside_of_one_each_time() -> None:
    inner = MemoryStore({"a/b": b"1", "a/c/d": b"2"})
    far = FarStore(inner)
    store = AheadStore(far)
    for _ in range(2):
        assert store.read("a/b", limit=1) == b"1"
    assert len(far.requests) == 2
    far.forget()
    with store.look("x"):
        for _ in range(2):
            assert store.read("a/b", limit=1) == b"1"
            assert [*store.list("a/")] == ["a/b", "a/c/d"]
            assert [*store.list("a/", after="a/b")] == ["a/c/d"]
            assert [*store.list_folders("a/")] == ["b", "c/"]
            with pytest.raises(Malformed, match="more than"):
                store.read("a/b", limit=0)
        assert len(far.requests) == 4
        inner.objects["a/b"] = b"3"
        assert store.read("a/b", limit=1) == b"1"
        with store.create("a/e") as sink:
            sink.write(b"4")
        assert [*store.list_folders("a/")] == ["b", "c/", "e"]
        store.delete("a/b")
        with pytest.raises(NotFound):
            store.read("a/b", limit=1)


def test_what_is_expected_is_there_when_it_is_asked_for() -> None:
    far = FarStore(MemoryStore({"a/b": b"1", "a/c": b"2"}), 0.02)
    store = AheadStore(far)

    def follow(listed: list[str]) -> list[Ask]:
        return [Ask(READ, f"a/{name}") for name in listed]

    with store.look("x") as look:
        look.expect([Ask(FOLDERS, "a/", then=follow), Ask(OPEN, "a/c", 1), Ask(LIST, "a/", after="a/b")])
        assert store.read("a/b", limit=1) == b"1" or far.told()
        assert store.read("a/c", limit=1) == b"2"
        with store.open("a/c") as source:
            assert (source.size, source.read_into(0, memoryview(bytearray(2)))) == (1, 1)
        assert [*store.list("a/", after="a/b")] == ["a/c"]
    assert sorted(far.names("read")) == ["a/b", "a/c", "a/c"]


def test_nothing_is_begun_for_a_folder_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", None)
    store = AheadStore(LocalStore(tmp_path))
    with store.look("x") as look:
        look.expect([Ask(READ, "a/b")] * 10)
        with pytest.raises(NotFound):
            store.read("a/b", limit=1)


def test_a_look_that_expects_more_than_it_may_hold_asks_for_the_rest_itself() -> None:
    size = 4 * limits.MIB
    objects = {f"files/{number:02}": b"%02d" % number + bytes(size - 2) for number in range(24)}
    store = AheadStore(FarStore(MemoryStore(objects), 0.001))
    with store.look("x") as look:
        look.expect([Ask(OPEN, name, size) for name in objects])
        for name, data in objects.items():
            buffer = bytearray(2)
            with store.open(name) as source:
                assert source.read_into(0, memoryview(buffer)) == 2
            assert bytes(buffer) == data[:2]


def test_many_threads_of_a_service_load_at_once() -> None:
    built, who = scene_of("together")
    session = built.fork(forgetful=True).session(
        who, env="prod", store=AheadStore(FarStore(built.store, 0.005))
    )
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(load(session))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_process_that_may_start_few_threads_asks_the_rest_itself(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Semaphore(threads)
    monkeypatch.setattr(ahead_pool, "_free", free)
    far = FarStore(scene_of("together")[0].store, 0.002)
    assert load(client("together", AheadStore(far))).predict([[1.0, 2.0]]).shape == (1,)
    assert far.most_at_once <= threads + 1
    deadline = time.monotonic() + 5
    for _ in range(threads):
        assert free.acquire(timeout=deadline - time.monotonic()), "what was taken was given back"


def test_a_system_that_lets_no_thread_start_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    far = FarStore(scene_of("alone")[0].store)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        package = loading.load_package(client("alone", AheadStore(far)), REFERENCE, {})
    assert package.reference == "churn:1"
    assert far.most_at_once == 1


def test_a_look_leaves_no_thread_behind() -> None:
    built, _ = scene_of("alone")
    load(client("alone", AheadStore(FarStore(built.store, 0.01))))
    deadline = time.monotonic() + 5
    while any(thread.name == "store-ahead" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
