"""Heads of access logs are anchored in a log that others hold, so that the loss of one is noticed."""

from dataclasses import replace

import pytest

from tests.builders import DEV, PROD, Built
from tests.log_vaults import PROD_LOG, TRUST_LOG, append, client, log_objects, logged, put_back
from vault.actions import anchoring, log_writers, reviewing_verifying
from vault.actions.anchoring import Anchored
from vault.actions.reviewing_replaying import BAD
from vault.audit.reading import LogReader
from vault.core import audit_record, log_names
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.core.names import Environment, Principal
from vault.errors import AccessDenied, LogInconsistent, NotFound

INSTANCES = ("0123456789abcdef", "fedcba9876543210")


def access(instance: str = INSTANCES[0], who: str = "server") -> Log:
    return log_names.access_log(Principal(who), instance)


def recorded(mode: str = "none") -> Built:
    """Build a vault in which two instances of a service have recorded loads."""
    built = logged(mode)
    for instance in INSTANCES:
        append(built, [f"{instance} {at}".encode() for at in range(10)], who="server", log=access(instance))
    return built


def anchored(built: Built, environment: Environment | None = None, who: str = "owner") -> Anchored:
    return anchoring.anchor(client(built, who), environment)


def told(built: Built, wanted: Log | None = None) -> dict[str, list[str]]:
    """Verify as a reviewer who has never seen this vault; give what does not hold, by log."""
    session = built.fork(forgetful=True).session(None)
    found = reviewing_verifying.verify(session, wanted)
    bad: dict[str, list[str]] = {}
    for entry in found.findings:
        if entry.level == BAD:
            bad.setdefault(entry.log, []).append(entry.message)
    assert (found.status == 3) == bool(bad)
    return bad


@pytest.mark.parametrize("environment", [None, PROD, DEV])
def test_heads_are_recorded_once(environment: Environment | None) -> None:
    built = recorded()
    first = anchored(built, environment)
    assert str(first.log) == ("trust" if environment is None else f"env/{environment}")
    assert [(str(entry.log), entry.head.size) for entry in first.added] == [
        (str(access(instance)), 10) for instance in INSTANCES
    ]
    again = anchored(built, environment)
    assert (again.added, again.unchanged, again.status) == ((), 2, 0)
    append(built, [b"more"], who="server", log=access())
    (added,) = anchored(built, environment).added
    assert (added.log, added.head.size) == (access(), 11)
    assert told(built) == {}


def test_the_loss_of_a_whole_log_is_noticed_by_who_never_saw_it() -> None:
    built = recorded()
    put_back(built, {}, access())
    assert told(built) == {}  # nobody can miss it
    built = recorded()
    anchored(built)
    put_back(built, {}, access())
    found = told(built)
    assert list(found) == [str(access())]
    assert "10 entries, and the store offers 0" in found[str(access())][0]
    assert list(told(built, access())) == [str(access())]


def test_an_old_copy_of_a_log_is_noticed() -> None:
    built = recorded()
    old = log_objects(built, access())
    append(built, [b"what is to be hidden"], who="server", log=access())
    anchored(built, PROD)
    put_back(built, old, access())
    assert list(told(built)) == [str(access())]
    put_back(built, {}, access(INSTANCES[1]))
    assert list(told(built, access())) == [str(access())]


def test_another_history_of_a_log_is_noticed_and_not_anchored() -> None:
    built = recorded()
    anchored(built)
    put_back(built, {}, access())
    built.memories.clear()
    append(built, [b"other %d" % at for at in range(20)], who="server", log=access())
    assert list(told(built)) == [str(access())]
    found = anchored(built)
    ((log, error),) = found.troubles
    assert (log, found.added, found.unchanged, found.status) == (access(), (), 1, 3)
    assert isinstance(error, LogInconsistent)


def test_a_log_that_is_gone_does_not_keep_the_others_from_being_anchored() -> None:
    built = recorded()
    anchored(built)
    put_back(built, {}, access())
    append(built, [b"more"], who="server", log=access(INSTANCES[1]))
    found = anchored(built, who="ann")
    assert [(str(entry.log), entry.head.size) for entry in found.added] == [(str(access(INSTANCES[1])), 11)]
    assert [log for log, _ in found.troubles] == [access()]


def test_who_may_not_log_may_not_anchor() -> None:
    built = recorded()
    with pytest.raises(AccessDenied, match="may not write to the log trust"):
        anchored(built, who="server")


def test_a_log_that_nobody_anchored_and_nobody_saw_is_not_found() -> None:
    built = recorded()
    with pytest.raises(NotFound):
        told(built, access("0000000000000000"))


def test_the_record_says_where_the_log_was() -> None:
    built = recorded()
    anchored(built)
    heads = [entry.head for entry in anchored(recorded()).added]
    records: list[audit_record.AuditRecord] = []
    session = built.session(None)
    LogReader(session.store, TRUST_LOG, built.policy).read(
        lambda commit: records.extend(map(audit_record.parse, commit.entries))
    )
    record = next(entry for entry in records if entry.action == "anchor")
    assert record.subject == f"{access()} 10 {heads[0].root.hex()}"
    assert record.evidence == anchoring.evidence_of(built.vault, access(), heads[0])
    assert (record.decision, record.outcome, record.actor) == ("allow", "done", "owner")
    assert anchoring.told(record, built.vault) == anchoring.Anchor(access(), Head(0, 10, heads[0].root))


def test_a_record_that_contradicts_itself_anchors_nothing() -> None:
    built = recorded()
    head = Head(0, 10, bytes(32))
    good = audit_record.AuditRecord(
        record_id=bytes(16), time=built.time, action="anchor", decision="allow", outcome="done",
        known="signature", subject=anchoring.subject_of(access(), head),
        evidence=anchoring.evidence_of(built.vault, access(), head),
    )  # fmt: skip
    assert anchoring.told(good, built.vault) is not None
    for changed in (
        replace(good, action="load"),
        replace(good, decision="deny", code="access-denied", outcome=None),
        replace(good, evidence=None),
        replace(good, subject=None),
        replace(good, subject=anchoring.subject_of(access(), Head(0, 11, bytes(32)))),
        replace(good, subject=f"{access()} 10 {'zz' * 32}"),
        replace(good, subject=f"{access()} ten {'00' * 32}"),
        replace(good, subject=f"{access()} 10 {'00' * 31}"),
        replace(good, subject=f"env/prod 10 {'00' * 32}"),
        replace(good, subject=f"nonsense 10 {'00' * 32}"),
        replace(good, subject=f"{access()} 10"),
    ):
        assert anchoring.told(changed, built.vault) is None
    entries = [audit_record.encode(good), b'{"action":"anchor"', b"garbage"]
    assert [entry.head for entry in anchoring.anchors_in(entries, built.vault)] == [head]


def test_anchors_by_who_may_not_write_there_count_for_nothing() -> None:
    """A member without the right to log puts a false head into the log of prod: nobody is misled."""
    built = recorded()
    append(built, [b"before"], log=PROD_LOG)
    anchored(built)
    head = Head(0, 99, bytes(32))
    false = audit_record.AuditRecord(
        record_id=bytes(16), time=built.time, action="anchor", decision="allow", outcome="done",
        known="signature", subject=anchoring.subject_of(access(), head),
        evidence=anchoring.evidence_of(built.vault, access(), head),
    )  # fmt: skip
    allowed = built.fork()
    append(allowed, [audit_record.encode(false)], log=PROD_LOG, who="ann")
    assert list(told(allowed)) == [str(access())]  # one who may: told, and the record says who it was
    ann = built.policy.members[Principal("ann")]
    append(built, [audit_record.encode(false)], log=PROD_LOG, who="ann")
    built.amend(lambda before: replace(before, members={**before.members, ann.name: replace(ann, roles=())}))
    assert str(access()) not in told(built)


def test_what_was_anchored_by_somebody_else_is_checked_too() -> None:
    built = recorded()
    anchored(built, who="ann")
    session = client(built)
    put_back(built, {}, access())
    built.memories.pop("server")
    done = append(built, [b"other %d" % at for at in range(12)], who="server", log=access())
    log_writers.remember(session, access(), done.head)  # this client has only ever seen the other history
    ((log, error),) = anchoring.anchor(session, None).troubles
    assert (log, error.code) == (access(), "log-inconsistent")
