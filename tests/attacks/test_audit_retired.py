"""What counts of somebody whose key is retired: what the right log had then, in its history of today.

Ann promoted to prod, wrote logs, and left in peace: her key is retired at a head
of the trust log. Then her key is stolen. Whoever has it signs a record that puts
churn:2 into prod, whose digest somebody had put into some log before she left.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.builders import PROD, Built
from tests.log_vaults import DEV_LOG, PROD_LOG, TRUST_LOG, append, client, log_objects, logged, put_back
from vault.actions import anchoring, log_retired, log_writers
from vault.audit import tiles
from vault.audit.reading import LogReader
from vault.core import audit_record, envelope, layout, log_names, names, records
from vault.core.audit_record import AuditRecord
from vault.core.log_names import Log
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import Key, LogHead, Policy

OTHER = {"model.json": b'{"weights":[6,6,6]}'}
SERVER = log_names.access_log(Principal("server"), "0123456789abcdef")
ANNS = log_names.access_log(Principal("ann"), "0123456789abcdef")


@pytest.fixture
def built() -> Built:
    made = logged("none")
    session = client(made)
    made.publish(session=session)
    made.promote("churn:1", session=session)
    made.publish(OTHER, session=session)
    append(made, [b"something"], log=TRUST_LOG)
    return made


def forged(built: Built) -> tuple[bytes, Digest]:
    """Sign a record with Ann's key: the bytes, and the digest by which a log knows it."""
    payload = records.encode_channel(built.record("churn:2", 2))
    return built.sign(records.CHANNEL, payload, "ann"), envelope.digest(payload)


def planted(built: Built, evidence: Digest, environment: Environment | None) -> bytes:
    record = AuditRecord(
        record_id=bytes(range(16)), time=built.time, action="promote", decision="allow", outcome="done",
        known="signature", actor=Principal("ann"), environment=environment, evidence=evidence,
    )  # fmt: skip
    return audit_record.encode(record)


def retired(until: LogHead) -> Callable[[Policy], Policy]:
    def change(before: Policy) -> Policy:
        ann = before.members[names.principal("ann")]
        keys = tuple(replace(key, until=until) for key in ann.keys)
        return replace(before, members={**before.members, ann.name: replace(ann, keys=keys)})

    return change


def head_of(built: Built, log: Log) -> LogHead:
    end = LogReader(built.store, log, built.policy).read().newest
    return LogHead(log_names.origin(built.vault, log), end.size, Digest(end.root.hex()))


def leave(built: Built, until: Log = TRUST_LOG) -> None:
    """Anchor what there is, and retire Ann's key; afterwards the forged record lies in the store."""
    data, _ = forged(built)
    anchoring.anchor(client(built), None if until == TRUST_LOG else until.environment)
    built.amend(retired(head_of(built, until)))
    built.write(layout.channel(PROD, names.MAIN, names.model("churn")) + layout.numbered(2), data)


def in_prod(built: Built) -> str:
    return str(built.fork(forgetful=True).find("churn@prod").manifest.version)


def test_what_the_log_of_its_environment_had_counts_still(built: Built) -> None:
    append(built, [planted(built, forged(built)[1], PROD)])
    leave(built)
    assert in_prod(built) == "2"


def test_what_her_own_access_log_had_counts_still(built: Built) -> None:
    append(built, [planted(built, forged(built)[1], PROD)], log=ANNS, who="ann")
    leave(built)
    assert in_prod(built) == "2"


@pytest.mark.parametrize("until", [TRUST_LOG, PROD_LOG], ids=str)
@pytest.mark.parametrize(
    ("log", "who", "environment"),
    [
        pytest.param(DEV_LOG, "owner", PROD, id="the log of another environment"),
        pytest.param(DEV_LOG, "owner", Environment("dev"), id="the same, as of that environment"),
        pytest.param(TRUST_LOG, "owner", PROD, id="the trust log"),
        pytest.param(SERVER, "server", PROD, id="somebody else's access log"),
        pytest.param(ANNS, "ann", Environment("dev"), id="her own, as of another environment"),
        pytest.param(PROD_LOG, "owner", Environment("dev"), id="the right one, as of another environment"),
    ],
)
def test_what_another_log_had_does_not(
    built: Built, log: Log, who: str, environment: Environment, until: Log
) -> None:
    append(built, [planted(built, forged(built)[1], environment)], log=log, who=who)
    leave(built, until)
    assert in_prod(built) == "1"


def test_what_was_never_logged_or_later_does_not(built: Built) -> None:
    leave(built)
    assert in_prod(built) == "1"
    append(built, [planted(built, forged(built)[1], PROD)])
    assert in_prod(built) == "1"


def forked(built: Built) -> Built:
    """Build a private history of prod's log that has the forged record; its head gets anchored."""
    fork = built.fork(forgetful=True)
    put_back(fork, {})
    append(fork, [planted(fork, forged(fork)[1], PROD), b"more", b"and more"])
    head = LogReader(fork.store, PROD_LOG, fork.policy).read().head
    record = AuditRecord(
        record_id=bytes(16), time=built.time, action="anchor", decision="allow", outcome="done",
        known="signature", subject=anchoring.subject_of(PROD_LOG, head),
        evidence=anchoring.evidence_of(built.vault, PROD_LOG, head),
    )  # fmt: skip
    append(built, [audit_record.encode(record)], log=TRUST_LOG)
    leave(built)
    fork.store.objects = {**built.store.objects}
    return fork


def test_an_anchor_of_a_history_that_is_not_in_force_counts_for_nothing(built: Built) -> None:
    private = built.fork(forgetful=True)
    put_back(private, {})
    append(private, [planted(private, forged(private)[1], PROD), b"more", b"and more"])
    tiles.repair(LogReader(private.store, PROD_LOG, private.policy))
    forked(built)
    assert in_prod(built) == "1"
    # With the tiles of the other history, whoever can write to the store proves its head from them.
    shown = built.fork(forgetful=True)
    derived = {name: data for name, data in log_objects(private).items() if "/commit/" not in name}
    shown.store.objects.update(derived)
    assert in_prod(shown) == "1"
    # Commits by who may not write the log are not held fast by the anchor either.
    commits = {name: data for name, data in log_objects(private).items() if "/commit/" in name}
    built.amend(without_the_owners_log)
    put_back(built, {**derived, **commits})
    assert in_prod(built) == "1"


def without_the_owners_log(before: Policy) -> Policy:
    owner = names.principal("owner")
    rules = tuple(
        replace(rule, actions=tuple(action for action in rule.actions if action != "log"))
        for rule in before.roles[owner]
    )
    return replace(before, roles={**before.roles, owner: rules})


def test_a_bogus_anchor_does_not_hide_the_honest_one_before_it(built: Built) -> None:
    append(built, [planted(built, forged(built)[1], PROD)])
    anchoring.anchor(client(built), None)
    forked(built)
    assert in_prod(built) == "2"


def test_a_log_that_is_not_the_one_that_this_client_knows_proves_nothing(built: Built) -> None:
    digest = forged(built)[1]
    append(built, [planted(built, digest, PROD)])
    leave(built)
    reader = built.fork(forgetful=True)
    reader.forgetful = False
    reader.memories = {}
    session = client(reader)
    honest = LogReader(reader.store, PROD_LOG, reader.policy).read().head
    log_writers.remember(session, PROD_LOG, replace(honest, size=honest.size + 1, root=b"x" * 32))
    assert session.trust().proofs.had(digest, ann_key(reader), PROD) is False


def ann_key(built: Built) -> Key:
    return built.policy.members[names.principal("ann")].keys[0]


def test_what_did_not_hold_is_looked_at_again_after_a_while(built: Built) -> None:
    digest = forged(built)[1]
    append(built, [planted(built, digest, PROD)])
    leave(built)
    kept = log_objects(built)
    put_back(built, {})
    session = client(built)
    had = session.trust().proofs.had
    assert had(digest, ann_key(built), PROD) is False
    put_back(built, kept)
    built.now += 3_600
    assert had(digest, ann_key(built), PROD) is True


def test_an_end_that_nobody_sealed_counts_if_its_writer_left_in_peace(built: Built) -> None:
    append(built, [planted(built, forged(built)[1], PROD)], who="ann")
    leave(built)
    assert in_prod(built) == "2"


def test_the_logs_of_others_are_not_read_for_it(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(20):
        append(built, [b"load"], log=log_names.access_log(Principal("server"), f"{place:016x}"), who="server")
    leave(built)
    read: list[str] = []
    replay = log_retired.RetiredKeys._replay

    def watched(self: log_retired.RetiredKeys, log: Log, *args: object) -> object:
        read.append(str(log))
        return replay(self, log, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(log_retired.RetiredKeys, "_replay", watched)
    assert in_prod(built) == "1"
    assert sorted(set(read)) == ["env/prod", "trust"]


def test_a_head_of_another_vault_proves_nothing(built: Built) -> None:
    digest = forged(built)[1]
    append(built, [planted(built, digest, PROD)])
    leave(built)
    key = ann_key(built)
    assert key.until is not None
    had = client(built).trust().proofs.had
    assert had(digest, key, PROD) is True
    for origin in (key.until.origin.replace(built.vault, "0" * 64), "mvault/v1/nonsense"):
        other = replace(key, until=replace(key.until, origin=origin))
        assert had(digest, other, PROD) is False
