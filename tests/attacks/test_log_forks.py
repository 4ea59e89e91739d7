"""A writer keeps two histories of a log: who remembers refuses the other, and so do witnesses."""

from pathlib import Path

import pytest

from tests.builders import CONTENT, Built
from tests.log_vaults import PROD_LOG, client, cosign, log_objects, logged, put_back
from vault.actions import log_writers, reviewing_verifying, witnessing
from vault.actions.witnessing import COSIGNED, REFUSED
from vault.audit.reading import LogReader
from vault.errors import LogInconsistent, Refused, Rollback

OTHER = {"model.json": b'{"weights":[6,6,6]}'}


def honest(mode: str) -> Built:
    """Build a vault where churn:1 and risk:1 are in prod, logged, and churn:2 is not."""
    built = logged(mode)
    session = client(built)
    for model in ("churn", "risk"):
        built.publish(model=model, session=session)
        built.promote(f"{model}:1", session=session)
    built.publish(OTHER, session=session)
    if mode == "witnessed":
        cosign(built)
    return built


def privately(built: Built) -> Built:
    """Let ann, who may promote and log, put churn:2 into prod in a history of her own.

    It begins as the true one does, up to where risk:1 was logged, and is shown to whom she is after.
    """
    fork = built.fork(forgetful=True)
    commits = sorted(name for name in log_objects(fork) if "/commit/" in name)
    risk = [name for name in fork.store.objects if name.startswith("channels/prod/main/risk/")]
    kept = {name: fork.store.objects[name] for name in (*commits[:2], *_proofs(fork))}
    put_back(fork, kept)
    for name in risk:
        del fork.store.objects[name]
    fork.promote("churn:2", who="ann", session=client(fork, "ann"))
    fork.forgetful = False
    fork.memories = {}
    return fork


def _proofs(built: Built) -> list[str]:
    return [name for name in log_objects(built) if "/proof/" in name]


def loads(built: Built, ref: str, expected: dict[str, bytes]) -> None:
    assert built.read(ref, who="server", session=client(built, "server")) == expected


def test_a_client_that_remembers_refuses_the_other_history() -> None:
    built = honest("unwitnessed")
    fork = privately(built)
    loads(built, "risk@prod", CONTENT)  # its proof is of the log with risk:1 in it
    fork.memories["server"] = built.memories["server"]
    with pytest.raises(Refused) as caught:
        loads(fork, "churn@prod", OTHER)
    assert caught.value.code in {"rollback", "log-inconsistent"}
    assert "churn" not in {key.rsplit("/")[-1] for key in built.memory("server").load().channels}
    loads(built, "churn@prod", CONTENT)  # and goes on with the true one


def test_a_client_that_remembers_goes_on_with_a_log_that_grew() -> None:
    built = honest("unwitnessed")
    loads(built, "churn@prod", CONTENT)
    built.promote("churn:2", session=client(built))
    loads(built, "churn@prod", OTHER)
    loads(built, "risk@prod", CONTENT)
    known = built.memory("server").load().logs[str(PROD_LOG)]
    assert known.number == len(_entries(built))


def _entries(built: Built) -> list[bytes]:
    session = built.session(None)
    found: list[bytes] = []
    LogReader(session.store, PROD_LOG, built.policy).read(lambda commit: found.extend(commit.entries))
    return found


def test_a_client_without_memory_cannot_tell_where_there_are_no_witnesses() -> None:
    """What `log: unwitnessed` is worth against writers: it is advisory, and docs/threat-model.md says so."""
    loads(privately(honest("unwitnessed")), "churn@prod", OTHER)


def test_a_client_without_memory_refuses_the_other_history_where_witnesses_are_required() -> None:
    built = honest("witnessed")
    loads(built.fork(forgetful=True), "churn@prod", CONTENT)
    fork = privately(built)
    with pytest.raises(Refused):
        loads(fork, "churn@prod", OTHER)
    # Cosignatures of the true log do not help the other one.
    cosigned = {name: data for name, data in log_objects(built).items() if "/cosigned/" in name}
    fork.store.objects.update(cosigned)
    with pytest.raises(Refused):
        loads(fork, "churn@prod", OTHER)


def test_a_witness_that_saw_one_history_does_not_cosign_the_other(tmp_path: Path) -> None:
    built = honest("witnessed")
    fork = privately(built)
    told = witnessing.witness(built.session("wes"), tmp_path, PROD_LOG, begin=True)
    assert [entry.result for entry in told.logs] == [COSIGNED]
    for begin in (False, True):
        told = witnessing.witness(fork.session("wes"), tmp_path, PROD_LOG, begin=begin)
        assert [entry.result for entry in told.logs] == [REFUSED]
    with pytest.raises(Refused):
        loads(fork, "churn@prod", OTHER)


def test_a_writer_does_not_append_to_the_other_history() -> None:
    built = honest("unwitnessed")
    fork = privately(built)
    fork.memories["owner"] = built.memories["owner"]
    before = log_objects(fork)
    with pytest.raises((LogInconsistent, Rollback)):
        log_writers.writer(fork.session(), PROD_LOG).append([b"more"])
    assert log_objects(fork) == before


def test_verifying_tells_who_remembers_that_the_history_is_another() -> None:
    built = honest("unwitnessed")
    fork = privately(built)
    session = built.session("server")
    assert reviewing_verifying.verify(session).status == 0
    other = fork.session("server")
    other.memory = session.memory
    found = reviewing_verifying.verify(other)
    assert (found.status, found.whole) == (3, "no")


def test_the_other_history_beside_the_true_one_is_told_as_a_fork_and_counts_for_nothing() -> None:
    built = honest("unwitnessed")
    fork = privately(built)
    commits = sorted(name for name in log_objects(fork) if "/commit/" in name)
    built.store.objects[PROD_LOG.commit(99)] = fork.store.objects[commits[-1]]
    loads(built.fork(forgetful=True), "churn@prod", CONTENT)
    found = reviewing_verifying.verify(built.session(None))
    assert (found.status, found.whole) == (3, "no")
    assert "fork: commit 99" in found.because
    assert "by ann" in found.because
