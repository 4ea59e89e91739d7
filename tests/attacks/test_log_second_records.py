"""A log has one record for each number of a channel: writers refuse a second one, whatever was removed."""

from pathlib import Path

import pytest

from tests.builders import PROD, Built
from tests.log_vaults import PROD_LOG, client, cosign, logged
from vault.actions import log_decisions, log_writers, reviewing_verifying
from vault.actions import logged as logging
from vault.core import layout, limits, names
from vault.core.audit_decision import Number
from vault.core.in_force import Channel
from vault.core.names import Digest
from vault.errors import LogInconsistent, Unavailable

OTHER = {"model.json": b'{"weights":[6,6,6]}'}
CHANNEL = layout.channel(PROD, names.MAIN, names.model("churn"))


def released(mode: str = "unwitnessed") -> Built:
    """Build a vault with churn:1 in prod, as record 1, and churn:2 in dev."""
    built = logged(mode)
    session = client(built)
    built.publish(session=session)
    assert built.promote("churn:1", session=session).seq == 1
    built.publish(OTHER, session=session)
    return built


def removed(built: Built) -> Built:
    """Let the storage lose record 1, its proof and every number that tells of it."""
    for name in list(built.store.objects):
        if name.startswith((CHANNEL, f"{PROD_LOG.folder}proof/")):
            del built.store.objects[name]
    return built


@pytest.mark.parametrize("mode", ["unwitnessed", "witnessed", "none"])
@pytest.mark.parametrize("who", ["owner", "ann"])
def test_the_number_of_a_record_that_was_removed_is_not_given_again(mode: str, who: str) -> None:
    """The client remembers nothing: it knows the number from the log alone."""
    built = removed(released(mode)).fork(forgetful=True)
    assert built.promote("churn:2", session=client(built, who)).seq == 2
    cosign(built)
    assert built.read("churn@prod", who="server", session=client(built, "server")) == OTHER
    assert log_holds(built)


def test_without_the_attack_numbers_follow_each_other() -> None:
    built = released()
    assert built.promote("churn:2", session=client(built)).seq == 2
    assert log_holds(built)


def test_a_writer_refuses_a_second_record_for_a_number() -> None:
    """Somebody may log, and has two records signed under one number: the second never enters the log."""
    built = released()
    session = client(built, "ann")
    size = log_size(built)
    with pytest.raises(LogInconsistent) as caught:
        log_record(session, 1, "ee" * 32)
    assert (caught.value.code, caught.value.subject) == ("log-inconsistent", "env/prod")
    assert log_size(built) == size
    log_record(session, 2, "ee" * 32)
    assert log_size(built) == size + 1


def test_the_same_record_may_be_logged_again() -> None:
    """An answer that was lost makes a writer repeat itself."""
    built = released()
    session = client(built, "ann")
    log_record(session, 5, "ee" * 32)
    log_record(session, 5, "ee" * 32)
    assert log_holds(built)


def test_what_others_log_in_the_same_moment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A colleague's record enters the log after the numbers were looked up, before ours is appended."""
    built = released()
    session = client(built, "ann")
    real = log_decisions._known

    def late(*arguments: object) -> dict[Number, Digest]:
        found = real(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(log_decisions, "_known", real)
        log_record(client(built, "owner"), 5, "aa" * 32)
        return found

    monkeypatch.setattr(log_decisions, "_known", late)
    with pytest.raises(LogInconsistent):
        log_record(session, 5, "ee" * 32)
    assert log_holds(built)


def test_a_new_machine_reads_a_long_log_from_the_head_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an older entry it cannot know; who has followed the log does."""
    monkeypatch.setattr(limits, "LOG_REREAD", 1)
    built = released()
    session = client(built, "ann")
    head = log_writers.verified_head(session, PROD_LOG, built.policy, None)
    log_writers.remember(session, PROD_LOG, head)
    assert log_decisions.taken(session, _where(), 0, required=True) == frozenset()
    log_record(client(built), 5, "aa" * 32)
    with pytest.raises(LogInconsistent):
        log_record(session, 5, "ee" * 32)


def test_an_index_saves_reading_the_log_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = released()
    session = client(built, "ann", state=tmp_path)
    assert log_decisions.taken(session, _where(), 0, required=True) == {1}
    monkeypatch.setattr(limits, "LOG_REREAD", 0)
    removed(built)
    again = client(built, "ann", state=tmp_path)
    assert log_decisions.taken(again, _where(), 0, required=True) == {1}


def test_a_damaged_index_is_made_again_from_the_log(tmp_path: Path) -> None:
    built = released()
    assert log_decisions.taken(client(built, "ann", state=tmp_path), _where(), 0, required=True) == {1}
    (found,) = tmp_path.rglob("index.sqlite")
    found.write_bytes(b"not a database, but as long as one might be".ljust(8_192, b"."))
    assert log_decisions.taken(client(built, "ann", state=tmp_path), _where(), 0, required=True) == {1}


def test_where_nothing_need_be_logged_a_log_that_cannot_be_read_stops_nobody() -> None:
    built = released("none")
    spoil(built)
    assert built.promote("churn:2", session=client(built)).seq == 2
    assert built.read("churn@prod", who="server", session=client(built, "server")) == OTHER


def test_where_a_log_is_demanded_one_that_does_not_hold_stops_the_promotion() -> None:
    built = released()
    spoil(built)
    before = dict(built.store.objects)
    with pytest.raises(LogInconsistent):
        built.promote("churn:2", session=client(built))
    assert not [name for name in built.store.objects if name.startswith(CHANNEL) and name not in before]


def spoil(built: Built) -> None:
    """Cut off the end of prod's log, which the client remembers."""
    newest = max(name for name in built.store.objects if name.startswith(PROD_LOG.commits))
    del built.store.objects[newest]


def log_record(session: object, seq: int, digest: str) -> None:
    """Log a record of churn in prod under a number, as whoever may log can."""
    logging.change(
        session,  # type: ignore[arg-type]
        "promote",
        PROD,
        Digest(digest),
        required=True,
        model=names.model("churn"),
        slot=names.MAIN,
        seq=seq,
    )


def _where() -> Channel:
    return Channel(PROD, names.MAIN, names.model("churn"))


def log_size(built: Built) -> int:
    """Give the number of entries of prod's log."""
    return log_writers.verified_head(built.session("ann"), PROD_LOG, built.policy, None).size


def log_holds(built: Built) -> bool:
    """Tell whether `audit verify` finds every log whole."""
    found = reviewing_verifying.verify(client(built.fork(forgetful=True)))
    return all(log.holds for log in found.logs)


def test_where_nobody_may_delete_an_old_proof_stays_and_the_entry_is_found_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bucket that denies every deletion: what is derived cannot be replaced, and nothing depends on it."""
    built = released("unwitnessed")
    name = logging.proof_name(PROD_LOG, Digest("ee" * 32))
    built.store.objects[name] = b"garbage that somebody put there"

    def denied(_: str) -> None:
        raise Unavailable("Deleting is denied.", code="storage-denied")

    session = client(built, "ann")
    monkeypatch.setattr(built.store, "delete", denied)
    log_record(session, 2, "ee" * 32)
    assert built.store.objects[name].startswith(b"garbage")
    assert log_holds(built)
