"""Proofs that lie with a log are derived: whatever becomes of them, what was logged loads, and only that."""

import threading
from dataclasses import replace

import pytest

from tests.builders import CONTENT, Built
from tests.log_vaults import PROD_LOG, append, client, cosign, log_objects, logged
from vault.core import log_proof
from vault.errors import LogInconsistent, Refused, VaultError
from vault.ports import Store
from vault.storage.memory import MemoryStore

OTHER = {"model.json": b'{"weights":[6,6,6]}'}
PROOF = f"{PROD_LOG.folder}proof/"


def promoted(mode: str = "unwitnessed") -> Built:
    """Build a vault where churn:1, risk:1 and then churn:2 came into prod, each logged."""
    built = logged(mode)
    session = client(built)
    for model, content in (("churn", CONTENT), ("risk", CONTENT), ("churn", OTHER)):
        built.promote(built.publish(content, model=model, session=session), session=session)
    if mode == "witnessed":
        cosign(built)
    return built


def loaded(built: Built, ref: str = "churn@prod", store: Store | None = None) -> dict[str, bytes]:
    return built.read(ref, who="server", session=client(built, "server", store=store))


def proofs(built: Built) -> list[str]:
    """Name the proofs that lie there, oldest entry first."""
    found = [name for name in log_objects(built) if name.startswith(PROOF)]
    return sorted(found, key=lambda name: log_proof.parse(built.store.objects[name], name).index)


@pytest.mark.parametrize("mode", ["unwitnessed", "witnessed"])
@pytest.mark.parametrize("tiles", [True, False])
def test_without_any_proof_or_tile_the_log_itself_tells(mode: str, *, tiles: bool) -> None:
    built = promoted(mode)
    for name in log_objects(built):
        if name.startswith(PROOF) or (not tiles and ("/tile/" in name or "/checkpoint" in name)):
            del built.store.objects[name]
    assert loaded(built) == OTHER
    assert loaded(built, "risk@prod") == CONTENT


def test_what_lies_in_the_place_of_a_proof_decides_nothing() -> None:
    built = promoted()
    intended, genuine = proofs(built)[-2:]
    proof = log_proof.parse(built.store.objects[genuine], genuine)
    older = log_proof.parse(built.store.objects[proofs(built)[0]], "older")
    for data in (
        b"garbage",
        b"",
        bytes(1 << 22),
        built.store.objects[intended],
        replace(proof, index=proof.index - 1).encode(),
        replace(proof, index=10**15).encode(),
        replace(proof, hashes=(*proof.hashes[::-1], bytes(32))).encode(),
        replace(proof, note=older.note).encode(),
        replace(proof, note=replace(proof.note, lines=proof.note.lines[:1])).encode(),
        replace(proof, entry=proof.entry.replace(b'"done"', b'"gone"')).encode(),
    ):
        built.store.objects[genuine] = data
        assert loaded(built.fork()) == OTHER


def test_a_record_that_the_log_does_not_have_is_not_found_in_it() -> None:
    built = logged("unwitnessed")
    session = client(built)
    built.promote(built.publish(session=session), session=session)
    built.publish(OTHER, session=session)
    built.write_record(built.record("churn:2", 2))
    assert loaded(built.fork()) == CONTENT
    for name in proofs(built):
        del built.store.objects[name]
    assert loaded(built.fork()) == CONTENT
    for name in [name for name in built.store.objects if name.endswith("/000001.json") and "/churn/" in name]:
        del built.store.objects[name]
    with pytest.raises(LogInconsistent, match="does not count"):
        loaded(built.fork(forgetful=True))


class Counting(MemoryStore):
    """A store that notes what is read of it."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.names: list[str] = []

    def read(self, name: str, *, limit: int) -> bytes:
        self.names.append(name)
        return super().read(name, limit=limit)

    def commits(self) -> int:
        found = sum("/commit/" in name for name in self.names)
        self.names.clear()
        return found


def test_a_load_reads_no_commit_where_proofs_and_tiles_are_there() -> None:
    built = promoted()
    for place in range(40):
        append(built, [b"%d" % place] * 20)
    store = Counting(built.store.objects)
    loaded(built, store=store)
    assert store.commits() == 0
    known = built.memory("server").load().logs[str(PROD_LOG)]
    session = client(built)
    built.promote("churn:1", session=session)
    loaded(built, store=store)
    assert store.commits() == 0
    grown = built.memory("server").load().logs[str(PROD_LOG)]
    assert grown.number > known.number
    loaded(built, "risk@prod", store=store)  # its proof is older than what is remembered
    assert store.commits() == 0
    assert built.memory("server").load().logs[str(PROD_LOG)] == grown


def test_a_record_that_is_not_there_is_searched_for_once() -> None:
    built = promoted()
    session = client(built)
    built.publish({"model.json": b"{}"}, session=session)
    built.write_record(built.record("churn:3", 9))
    store = Counting(built.store.objects)
    session = client(built, "server", store=store)
    assert built.read("churn@prod", who="server", session=session) == OTHER
    assert store.commits() > 1
    for _ in range(3):
        assert built.read("churn@prod", who="server", session=session) == OTHER
    assert store.commits() == 0


def test_many_threads_at_once() -> None:
    built = promoted("witnessed")
    session = client(built, "server")
    found: list[object] = []

    def load(ref: str) -> None:
        try:
            found.append(built.read(ref, who="server", session=session))
        except VaultError as error:  # pragma: no cover
            found.append(error)

    threads = [threading.Thread(target=load, args=(ref,)) for ref in ("churn@prod", "risk@prod") * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found.count(OTHER), found.count(CONTENT), len(found)] == [8, 8, 16]


def test_folders_of_strangers_do_not_hide_what_witnesses_said() -> None:
    built = promoted("witnessed")
    size = max(int(name.split("/")[-2]) for name in log_objects(built) if "/cosigned/" in name)
    append(built, [b"%d" % place for place in range(200)])
    for place in range(size + 1, size + 200):
        built.store.objects[PROD_LOG.cosigned(place) + "wes-" + "0" * 32] = b"garbage"
    assert loaded(built) == OTHER


@pytest.mark.parametrize("cut", [1, 3])
def test_a_log_that_was_cut_short_is_refused_and_no_older_record_tried(cut: int) -> None:
    built = promoted()
    loaded(built)
    append(built, [b"more"])
    client_memory = built.memory("server")
    head = built.memory("owner").load().logs[str(PROD_LOG)]
    client_memory.advance(replace(client_memory.load(), logs={str(PROD_LOG): head}))
    for name in sorted(name for name in log_objects(built) if "/commit/" in name)[-cut:]:
        del built.store.objects[name]
    for name in list(log_objects(built)):
        if "/tile/" in name or name.startswith(PROOF):
            del built.store.objects[name]
    with pytest.raises(Refused) as caught:
        loaded(built)
    assert caught.value.code == "log-inconsistent"
