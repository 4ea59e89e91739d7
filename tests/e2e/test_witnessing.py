"""A witness cosigns what continues all that it cosigned before, remembers first, and refuses loudly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builders import Built
from tests.log_vaults import DEV_LOG, PROD_LOG, append, log_objects, logged, put_back
from tests.logs import numbered
from vault.actions import log_writers, witnessing
from vault.actions.witnessing import COSIGNED, EMPTY, REFUSED, UNAVAILABLE, UNCHANGED, LogWitnessed, Witnessed
from vault.audit import cosigning
from vault.core import log_names
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.errors import AccessDenied, LogInconsistent, Refused, Unavailable
from vault.ports import Store
from vault.storage.memory import MemorySink, MemoryStore


def run(
    built: Built,
    state: Path,
    who: str = "wes",
    *,
    log: Log | None = PROD_LOG,
    begin: bool = False,
    store: Store | None = None,
) -> Witnessed:
    return witnessing.witness(built.session(who, store=store), state, log, begin=begin)


def one(built: Built, state: Path, who: str = "wes", **options: object) -> LogWitnessed:
    (found,) = run(built, state, who, **options).logs  # type: ignore[arg-type]
    return found


def begun(state: Path, mode: str = "witnessed") -> Built:
    """Build a vault whose witness wes has cosigned 300 entries."""
    built = logged(mode)
    append(built, numbered(0, 300))
    assert one(built, state, begin=True).result == COSIGNED
    return built


def cosigned(built: Built, log: Log = PROD_LOG) -> dict[int, set[str]]:
    """Give who has cosigned which size."""
    found: dict[int, set[str]] = {}
    for size in cosigning.sizes(built.store, log):
        for signed in cosigning.collect(built.store, log, built.policy, size):
            found.setdefault(size, set()).update(cosigning.witnesses_of(signed, built.policy, log))
    return found


def rewritten(built: Built, at: int, others: list[bytes]) -> None:
    """Let the store offer another history that the writer has signed: other entries from `at` on."""
    rebuilt = built.fork(forgetful=True)
    put_back(rebuilt, {})
    append(rebuilt, numbered(0, at))
    append(rebuilt, others)
    put_back(built, log_objects(rebuilt))


# --- what a witness does ---


def test_a_witness_cosigns_what_continues_what_it_has_seen(tmp_path: Path) -> None:
    built = begun(tmp_path)
    append(built, numbered(300, 10))
    found = one(built, tmp_path)
    assert (found.result, found.size, found.since, found.error) == (COSIGNED, 310, 300, None)
    assert found.root == append(built, numbered(310, 1)).growth.before.root.hex()
    assert cosigned(built) == {300: {"wes"}, 310: {"wes"}}


def test_a_witness_has_nothing_to_add_to_what_it_cosigned(tmp_path: Path) -> None:
    built = begun(tmp_path)
    before = log_objects(built)
    assert one(built, tmp_path).result == UNCHANGED
    assert log_objects(built) == before


def test_an_empty_log_is_left_alone(tmp_path: Path) -> None:
    built = logged("witnessed")
    assert one(built, tmp_path, begin=True).result == EMPTY
    assert cosigned(built) == {}


def test_a_witness_looks_at_every_log_that_it_may(tmp_path: Path) -> None:
    built = logged("witnessed")
    for log in (PROD_LOG, DEV_LOG, log_names.TRUST_LOG):
        append(built, numbered(0, 3), log=log)
    told = run(built, tmp_path, log=None, begin=True)
    assert [(str(entry.log), entry.result) for entry in told.logs] == [
        ("env/dev", COSIGNED),
        ("env/prod", COSIGNED),
        ("trust", COSIGNED),
    ]
    told = run(built, tmp_path / "other", "wendy", log=None, begin=True)
    assert [str(entry.log) for entry in told.logs] == ["env/dev"]


def test_two_witnesses_do_not_know_of_each_other(tmp_path: Path) -> None:
    built = begun(tmp_path / "wes")
    assert one(built, tmp_path / "wim", "wim", begin=True).result == COSIGNED
    assert cosigned(built) == {300: {"wes", "wim"}}


@pytest.mark.parametrize(("who", "log"), [("ann", PROD_LOG), ("ann", None), ("wendy", PROD_LOG)])
def test_who_may_not_witness_is_told(who: str, log: Log | None, tmp_path: Path) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 3))
    with pytest.raises(AccessDenied) as caught:
        run(built, tmp_path, who, log=log, begin=True)
    assert "may not witness" in caught.value.message
    assert cosigned(built) == {}


def test_a_witness_that_writes_too_is_told_that_it_does_not_count(tmp_path: Path) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 3))
    found = one(built, tmp_path, "both", begin=True)
    assert any("its cosignatures of what it writes do not count" in note for note in found.notes)
    append(built, numbered(3, 3), who="both")
    found = one(built, tmp_path, "both")
    assert found.notes == ("both wrote this checkpoint itself: the cosignature does not count.",)


def test_a_witness_that_acts_for_the_writer_is_told_that_it_does_not_count(tmp_path: Path) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 3), who="owner")
    found = one(built, tmp_path, "ci-witness", begin=True)  # a service of owner's
    assert any("owner wrote this checkpoint, for whom ci-witness acts too" in note for note in found.notes)
    append(built, numbered(3, 3), who="ann")
    assert one(built, tmp_path, "ci-witness").notes == ()


# --- what it refuses ---


def test_a_log_that_was_cut_off_is_refused_and_kept(tmp_path: Path) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 200))
    old = log_objects(built)
    append(built, numbered(200, 100))
    one(built, tmp_path, begin=True)
    put_back(built, old)
    told = run(built, tmp_path)
    (found,) = told.logs
    assert (found.result, told.status) == (REFUSED, 3)
    assert isinstance(found.error, LogInconsistent)
    assert "300 entries, and the store offers 200" in found.error.message
    assert cosigned(built) == {}
    assert found.kept is not None
    assert (found.kept / "commit-000001").read_bytes() == old[PROD_LOG.commit(1)]
    assert "remembered: 300 entries" in (found.kept / "reason.txt").read_text()
    # The last that was signed lies beside it, by which anybody can tell that there was more.
    assert b"\n300\n" in (found.kept.parent / "cosigned").read_bytes()
    assert one(built, tmp_path).kept == found.kept  # once


def test_a_log_that_its_writer_rewrote_is_refused_and_kept(tmp_path: Path) -> None:
    built = begun(tmp_path)
    rewritten(built, 200, numbered(5_000, 300))
    told = run(built, tmp_path)
    (found,) = told.logs
    assert (found.result, told.status) == (REFUSED, 3)
    assert cosigned(built) == {}
    assert found.kept is not None
    kept = {path.name: path.read_bytes() for path in found.kept.glob("commit-*")}
    assert kept == {
        "commit-000001": built.store.objects[PROD_LOG.commit(1)],
        "commit-000002": built.store.objects[PROD_LOG.commit(2)],
    }


def test_a_log_that_is_gone_is_refused(tmp_path: Path) -> None:
    built = begun(tmp_path)
    put_back(built, {})
    told = run(built, tmp_path, log=None)
    assert [(str(entry.log), entry.result) for entry in told.logs] == [("env/prod", REFUSED)]


def test_a_fork_beside_the_log_is_told_and_the_log_in_force_cosigned(tmp_path: Path) -> None:
    built = begun(tmp_path)
    other = built.fork(forgetful=True)
    append(built, numbered(300, 10))
    append(other, numbered(7_000, 20), who="ann")
    built.store.objects[PROD_LOG.commit(3)] = other.store.objects[PROD_LOG.commit(2)]
    told = run(built, tmp_path)
    (found,) = told.logs
    assert (found.result, found.size, told.status) == (COSIGNED, 310, 3)
    assert found.error is not None
    assert "has signed another history too (commit 3)" in found.error.message
    assert found.kept is not None
    assert (found.kept / "commit-000003").exists()


def test_a_log_that_is_refused_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 3), log=DEV_LOG)
    append(built, numbered(0, 3))
    run(built, tmp_path, log=None, begin=True)
    put_back(built, {}, DEV_LOG)
    append(built, numbered(3, 3))
    told = run(built, tmp_path, log=None)
    assert [(str(entry.log), entry.result) for entry in told.logs] == [
        ("env/dev", REFUSED),
        ("env/prod", COSIGNED),
    ]
    assert told.status == 3


def test_an_older_policy_is_refused(tmp_path: Path) -> None:
    built = begun(tmp_path)
    old = dict(built.store.objects)
    built.add("eve")
    append(built, numbered(300, 3))
    assert one(built, tmp_path).result == COSIGNED
    newest = max(name for name in built.store.objects if name.startswith("trust/policy/"))
    assert newest not in old
    del built.store.objects[newest]
    with pytest.raises(Refused) as caught:
        run(built.fork(forgetful=True), tmp_path)
    assert caught.value.code == "rollback"


# --- what it remembers ---


def test_without_memory_it_begins_only_when_told(tmp_path: Path) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 3))
    told = run(built, tmp_path)
    (found,) = told.logs
    assert (found.result, told.status) == (REFUSED, 3)
    assert found.error is not None
    assert "remembers no log here, so it would begin anew with env/prod" in found.error.message
    assert "--begin" in found.error.hint
    assert cosigned(built) == {}
    found = one(built, tmp_path, begin=True)
    assert found.notes == ("wes begins with env/prod here: it vouches for nothing that came before.",)
    assert found.since is None


def test_a_log_that_is_new_is_cosigned_by_a_witness_that_remembers_others(tmp_path: Path) -> None:
    built = begun(tmp_path)
    append(built, numbered(0, 3), log=DEV_LOG)
    found = one(built, tmp_path, log=DEV_LOG)
    assert (found.result, found.since) == (COSIGNED, None)
    assert found.notes == ("wes begins with env/dev here: it vouches for nothing that came before.",)


def test_a_witness_that_lost_its_memory_is_held_to_what_it_cosigned(tmp_path: Path) -> None:
    built = begun(tmp_path / "lost")
    lost = one(built, tmp_path / "new")
    assert lost.result == REFUSED
    assert lost.error is not None
    assert "wes has cosigned env/prod before, up to 300 entries" in lost.error.message
    kept = {name: data for name, data in log_objects(built).items() if "/cosigned/" in name}
    rewritten(built, 200, numbered(5_000, 300))
    built.store.objects.update(kept)
    for begin in (False, True):
        found = one(built, tmp_path / "new", begin=begin)
        assert found.result == REFUSED
    assert isinstance(found.error, LogInconsistent)


def test_a_read_only_memory_lets_no_cosignature_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 3))
    monkeypatch.setattr("vault.memory.ClientMemory.durable", property(lambda _: False))
    found = one(built, tmp_path, begin=True)
    assert (found.result, found.error and found.error.code) == (UNAVAILABLE, "storage-denied")
    assert cosigned(built) == {}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    built = logged("witnessed")
    append(built, numbered(0, 3))
    (tmp_path / "witness").write_text("a file")
    with pytest.raises(Unavailable) as caught:
        run(built, tmp_path, begin=True)
    assert caught.value.code == "storage-denied"
    with pytest.raises(Unavailable, match="MVAULT_STATE_DIR"):
        witnessing.witness(built.session("wes"), None)
    assert cosigned(built) == {}


def test_a_damaged_memory_is_refused(tmp_path: Path) -> None:
    built = begun(tmp_path)
    (path,) = (tmp_path / "witness" / "memory").glob("*.json")
    path.write_text("{")
    with pytest.raises(Refused) as caught:
        run(built, tmp_path, begin=True)
    assert caught.value.code == "memory-damaged"


class _Dying(MemoryStore):
    """A store at which a witness is killed just before its cosignature is there."""

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[MemorySink]:
        if "/cosigned/" in name:
            raise KeyboardInterrupt
        with super().create(name, size=size) as sink:
            yield sink


def test_killed_before_its_cosignature_is_stored_it_makes_up_for_it(tmp_path: Path) -> None:
    built = begun(tmp_path)
    append(built, numbered(300, 10))
    with pytest.raises(KeyboardInterrupt):
        run(built, tmp_path, store=_Dying(built.store.objects))
    assert cosigned(built) == {300: {"wes"}}
    found = one(built, tmp_path)  # what it remembers is 310, which nobody has seen it sign
    assert (found.result, found.size, found.since) == (COSIGNED, 310, 310)
    assert cosigned(built) == {300: {"wes"}, 310: {"wes"}}
    assert one(built, tmp_path).result == UNCHANGED


def test_killed_before_its_cosignature_is_stored_it_signs_no_other_history(tmp_path: Path) -> None:
    built = begun(tmp_path)
    other = built.fork()
    append(built, numbered(300, 10))
    with pytest.raises(KeyboardInterrupt):
        run(built, tmp_path, store=_Dying(built.store.objects))
    append(other, numbered(7_000, 10), who="ann")
    assert one(other, tmp_path).result == REFUSED
    assert cosigned(other) == {300: {"wes"}}


def test_runs_at_once_never_sign_two_histories(tmp_path: Path) -> None:
    """Two runs of one witness, each of which the store shows another history."""
    built = begun(tmp_path)
    shown = [built.fork(), built.fork()]
    append(shown[0], numbered(300, 10), who="owner")
    append(shown[1], numbered(7_000, 25), who="ann")
    told: list[LogWitnessed] = []
    ready = threading.Barrier(2)

    def work(view: Built) -> None:
        ready.wait()
        told.append(one(view, tmp_path))

    threads = [threading.Thread(target=work, args=(view,)) for view in shown]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.result for entry in told) == [COSIGNED, REFUSED]
    assert sorted(max(cosigned(view)) for view in shown) in ([300, 310], [300, 325])


def test_what_other_verbs_remember_binds_a_witness_too(tmp_path: Path) -> None:
    built = begun(tmp_path)
    other = built.fork()
    done = append(other, numbered(7_000, 10), who="ann")
    session = built.session("wes")
    log_writers.remember(session, PROD_LOG, Head(2, done.head.size, done.head.root))
    append(built, numbered(300, 10))
    found = one(built, tmp_path)
    assert found.result == REFUSED
    assert isinstance(found.error, LogInconsistent)
