"""What is recorded of loads, pulls and changes, and what stops where an environment demands it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import CONTENT, DEV, PROD, Built, reference, solo, team
from tests.e2e.audit_parts import (
    asking,
    audited,
    entries,
    granting,
    hashing,
    move,
    recording,
    without_logging,
)
from tests.faults import Fault, FaultyStore
from vault.actions import anchoring, applying, draft_files, drafting
from vault.audit.reading import LogReader
from vault.core import audit_record, envelope, layout, names
from vault.core import policy as policies
from vault.core.log_chain import Link
from vault.core.log_names import TRUST_LOG, Log, environment_log, origin
from vault.errors import AccessDenied, LogInconsistent, NotFound, Rollback, Unavailable, VaultError
from vault.memory import ClientMemory
from vault.settings import Settings
from vault.vault import Vault

ACCESS = "log/access/"


@pytest.fixture
def built() -> Built:
    made = solo()
    made.publish()
    made.promote("churn:1")
    return made


def test_a_load_leaves_an_attempt_and_an_outcome(built: Built, tmp_path: Path) -> None:
    vault = audited(built, tmp_path)
    vault.load_package("churn@prod")
    move(vault)
    attempt, outcome = entries(built)
    assert (attempt.action, attempt.decision, attempt.outcome) == ("load", "pending", None)
    assert (outcome.action, outcome.decision, outcome.outcome) == ("load", "allow", "done")
    assert outcome.of == attempt.record_id
    assert (outcome.actor, outcome.known, outcome.model, outcome.version) == (
        *("owner", "signature"),
        *("churn", "1"),
    )
    assert (outcome.environment, outcome.slot, outcome.seq) == ("prod", "main", 1)
    assert outcome.manifest == built.manifest("churn:1")[1]
    assert (outcome.subject, outcome.host) == ("churn@prod", "here")
    assert outcome.policy == built.policy_id


def test_a_pull_too(built: Built, tmp_path: Path) -> None:
    vault = audited(built, tmp_path / "audit")
    vault.pull("churn@prod", tmp_path / "out")
    move(vault)
    assert [(entry.action, entry.decision) for entry in entries(built)] == [
        ("pull", "pending"),
        ("pull", "allow"),
    ]


def test_a_denied_load_is_recorded_as_one(tmp_path: Path) -> None:
    built = team()
    built.publish(who="dora")
    vault = audited(built, tmp_path, "dora")
    with pytest.raises(AccessDenied):
        vault.load_package("churn@prod")
    move(vault)
    attempt, outcome = entries(built)
    assert (outcome.decision, outcome.code, outcome.outcome) == ("deny", "access-denied", None)
    assert (attempt.actor, outcome.actor) == ("dora", "dora")


def test_a_refusal_is_recorded_also_when_a_file_is_asked_for_later(built: Built, tmp_path: Path) -> None:
    vault = audited(built, tmp_path)
    package = vault.load_package("churn@prod")
    with pytest.raises(VaultError) as caught:
        _ = package.model
    move(vault)
    found = entries(built)
    assert [entry.decision for entry in found] == ["pending", "allow", "refuse"]
    assert found[2].code == caught.value.code
    assert found[2].of == found[0].record_id


def test_a_refused_change_is_recorded_and_one_that_is_made_is_in_its_environments_log(tmp_path: Path) -> None:
    built = solo()
    session = recording(built.session(), tmp_path)
    built.publish(session=session)
    built.promote("churn:1", session=session)
    with pytest.raises(NotFound):
        built.promote("churn:9", session=session)
    sealed, published = entries(built, "env/dev")
    assert (sealed.action, sealed.subject, published.subject) == ("publish", "sealing record", None)
    assert (published.action, published.decision, published.version) == ("publish", "allow", "1")
    assert published.evidence == built.manifest("churn:1")[1]
    (promoted,) = entries(built, "env/prod")
    name = layout.channel(PROD, names.MAIN, reference("churn:1").model) + layout.numbered(1)
    signed = envelope.parse(built.store.objects[name], kind="channel", subject=name)
    assert (promoted.action, promoted.evidence, promoted.seq) == ("promote", signed.digest, 1)
    assert session.audit is not None
    session.audit.integrate(session, wait=1)
    (refused,) = [entry for entry in entries(built) if entry.decision != "allow" or entry.outcome == "failed"]
    assert (refused.action, refused.code, refused.of) == ("promote", "not-found", None)


def test_who_may_not_write_a_log_keeps_a_record_of_their_own(tmp_path: Path) -> None:
    built = solo()
    built.amend(without_logging)
    session = recording(built.session(), tmp_path)
    built.publish(session=session)
    assert entries(built, "env/dev") == []
    assert session.audit is not None
    session.audit.integrate(session, wait=1)
    _, published = entries(built)
    assert (published.action, published.decision, published.outcome) == ("publish", "allow", "done")


# --- where records are demanded ---


def demanding(tmp_path: Path) -> Built:
    built = solo()
    built.publish()
    built.promote("churn:1")
    built.amend(asking(audit=True))
    return built


def test_a_record_in_a_folder_that_lasts_is_enough(tmp_path: Path) -> None:
    built = demanding(tmp_path)
    assert audited(built, tmp_path).load_package("churn@prod").reference == "churn:1"
    assert not [name for name in built.store.objects if name.startswith(ACCESS)]


@pytest.mark.parametrize("place", [None, "store", "stdout"])
def test_otherwise_the_record_is_in_the_store_before_a_key_is_used(
    tmp_path: Path, place: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = demanding(tmp_path)
    vault = audited(built, place)
    found = []
    from vault.actions import keyring

    unwrap = keyring.environment_key

    def watched(*args: object, **options: object) -> object:
        found.append([entry.decision for entry in entries(built)])
        return unwrap(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(keyring, "environment_key", watched)
    vault.load_package("churn@prod")
    assert found
    assert found[0] == ["pending"]
    assert [entry.decision for entry in entries(built)] == ["pending", "allow"]


def test_a_client_that_records_nothing_does_not_load(tmp_path: Path) -> None:
    built = demanding(tmp_path)
    with pytest.raises(AccessDenied) as caught:
        built.find("churn@prod")
    assert caught.value.code == "no-audit-record"


def test_a_store_that_takes_no_record_gives_no_model(tmp_path: Path) -> None:
    built = demanding(tmp_path)
    vault = audited(built, "store")
    vault._session.store = FaultyStore(
        built.store, lambda step: Fault.BEFORE if step.verb == "create" else None
    )
    with pytest.raises(Unavailable, match="demands an audit record") as caught:
        vault.load_package("churn@prod")
    assert caught.value.code == "no-audit-record"


def test_a_full_disk_gives_no_model_and_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = demanding(tmp_path)
    vault = audited(built, tmp_path)
    from vault.audit.intake_file import IntakeFile

    def full(*_: object, **__: object) -> None:
        raise Unavailable("The disk is full.", code="storage-full")

    monkeypatch.setattr(IntakeFile, "append", full)
    with pytest.raises(Unavailable, match="The disk is full"):
        vault.load_package("churn@prod")


def test_no_outcome_recorded_no_model_given_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = demanding(tmp_path)
    vault = audited(built, tmp_path)
    from vault.audit.intake_file import IntakeFile

    append, calls = IntakeFile.append, []

    def once(self: IntakeFile, *args: object, **options: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise Unavailable("The disk is full.", code="storage-full")
        append(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(IntakeFile, "append", once)
    with pytest.raises(Unavailable, match="Nothing was given out"):
        vault.load_package("churn@prod")


def test_where_nothing_is_demanded_a_failure_to_record_is_a_warning(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = audited(built, tmp_path)
    from vault.audit.intake_file import IntakeFile

    def full(*_: object, **__: object) -> None:
        raise Unavailable("The disk is full.", code="storage-full")

    monkeypatch.setattr(IntakeFile, "append", full)
    with pytest.warns(UserWarning, match="not recorded: The disk is full"):
        assert vault.load_package("churn@prod").reference == "churn:1"


# --- where the log is required ---


def test_a_promotion_counts_where_the_log_has_it(tmp_path: Path) -> None:
    built = solo()
    built.amend(asking(log="unwitnessed"))
    session = recording(built.session(), tmp_path)
    built.publish(session=session)
    built.promote("churn:1", session=session)
    assert built.read("churn@prod", session=recording(built.session(env="prod"), tmp_path))
    intent, promoted = entries(built, "env/prod")
    digest = built.manifest("churn:1")[1]
    assert (intent.decision, intent.evidence, intent.manifest) == ("pending", digest, digest)
    assert (promoted.decision, promoted.seq, promoted.manifest) == ("allow", 1, digest)
    assert promoted.of == intent.record_id


def test_a_record_that_no_log_has_is_as_none(tmp_path: Path) -> None:
    built = solo()
    built.publish()
    built.amend(asking(log="unwitnessed"))
    built.write_record(built.record("churn:1", 1))
    with pytest.raises(LogInconsistent, match="not in the log of prod") as caught:
        built.find("churn@prod")
    assert caught.value.code == "not-logged"


def test_who_may_not_log_cannot_promote_where_the_log_is_required(tmp_path: Path) -> None:
    built = solo()
    built.amend(asking(log="unwitnessed"))
    built.publish()
    built.amend(without_logging)
    with pytest.raises(AccessDenied) as caught:
        built.promote("churn:1", session=recording(built.session(), tmp_path))
    assert caught.value.code == "no-audit-record"
    assert not [name for name in built.store.objects if name.startswith("channels/")]


def test_what_is_personal_is_kept_as_a_keyed_hash(built: Built, tmp_path: Path) -> None:
    built.amend(hashing("prod", "host", "subject"))
    vault = audited(built, tmp_path)
    vault.load_package("churn@prod")
    move(vault)
    attempt, outcome = entries(built)
    assert (attempt.subject, attempt.host) == (None, None)
    key = audit_record.hash_key(built.environment_key("prod").encode())
    assert outcome.host == audit_record.hashed(key, "here")
    assert outcome.subject == audit_record.hashed(key, "churn@prod")


# --- over time ---


def ends(built: Built, log: Log) -> Link:
    return LogReader(built.store, log, built.policy).read().newest


def test_a_change_of_policy_is_in_the_trust_log(tmp_path: Path) -> None:
    built = solo()
    session = recording(built.session(), tmp_path)
    before = session.trust()
    draft = drafting.next_policy(session, before, replace(before.policy, created=session.now()))
    signed = draft_files.with_signature(draft, names.digest(session.identity.key_id), session.identity.sign)
    applying.apply(session, [signed])
    (applied,) = entries(built, "trust")
    assert (applied.action, applied.evidence, applied.seq) == ("policy", signed.digest, 2)


def test_who_loses_the_right_to_write_leaves_no_end_of_a_log_open(tmp_path: Path) -> None:
    built = team()
    built.amend(granting("data-scientist", "log", "dev"))
    built.amend(granting("owner", "log"))
    built.publish(who="dora", session=recording(built.session("dora"), tmp_path / "dora"))
    dev = environment_log(DEV)
    assert ends(built, dev).size == 2
    session = recording(built.session(), tmp_path / "owner")
    before = session.trust()
    gone = {name: member for name, member in before.policy.members.items() if name != "dora"}
    draft = drafting.next_policy(session, before, replace(before.policy, members=gone))
    signed = draft_files.with_signature(draft, names.digest(session.identity.key_id), session.identity.sign)
    applying.apply(session, [signed], accept_outage=True, lift_withdrawals=True)
    end = ends(built, dev)
    assert (end.size, end.writer, end.authorised) == (3, "owner", True)
    assert [entry.action for entry in entries(built, "env/dev")] == ["publish", "publish", "anchor"]


def test_a_retired_publishers_version_stays_and_nothing_later_of_theirs_counts(tmp_path: Path) -> None:
    built = team()
    built.amend(granting("data-scientist", "log", "dev"))
    first = built.publish(who="dora", session=recording(built.session("dora"), tmp_path))
    end = ends(built, environment_log(DEV))
    head = policies.LogHead(origin(built.vault, environment_log(DEV)), end.size, names.digest(end.root.hex()))
    backdated = built.fork()
    later = backdated.publish({"model.json": b"{}"}, who="dora")
    for vault in (built, backdated):
        vault.amend(retiring("dora", head))
    assert built.read(str(first)) == CONTENT
    with pytest.raises(VaultError) as caught:
        backdated.read(str(later))
    assert caught.value.code == "untrusted-signer"
    assert backdated.read(str(first)) == CONTENT


def retiring(who: str, head: policies.LogHead) -> Callable[[policies.Policy], policies.Policy]:
    def change(before: policies.Policy) -> policies.Policy:
        member = before.members[names.principal(who)]
        keys = tuple(replace(key, until=head) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    return change


def test_one_head_of_the_trust_log_retires_a_key_for_every_log_that_it_anchored(tmp_path: Path) -> None:
    built = team()
    built.amend(granting("data-scientist", "log", "dev"))
    built.amend(granting("owner", "log"))
    first = built.publish(who="dora", session=recording(built.session("dora"), tmp_path / "dora"))
    anchoring.anchor(recording(built.session(), tmp_path / "owner"), None)
    second = built.publish(
        {"model.json": b"{}"}, who="dora", session=recording(built.session("dora"), tmp_path / "dora")
    )
    end = ends(built, TRUST_LOG)
    head = policies.LogHead(origin(built.vault, TRUST_LOG), end.size, names.digest(end.root.hex()))
    built.amend(retiring("dora", head))
    assert built.read(str(first)) == CONTENT
    with pytest.raises(VaultError) as caught:
        built.read(str(second))
    assert caught.value.code == "untrusted-signer"


def test_somebody_who_leaves_in_peace_leaves_what_the_logs_have_of_them(tmp_path: Path) -> None:
    built = team()
    built.amend(granting("data-scientist", "log", "dev"))
    built.amend(granting("owner", "log"))
    first = built.publish(who="dora", session=recording(built.session("dora"), tmp_path / "dora"))
    vault = audited(built, tmp_path / "owner")
    done = vault.changes.retire(names.principal("dora"))
    assert done.applied is not None
    assert (done.applied.stopped, done.applied.lifted) == ((), ())
    assert built.read(str(first)) == CONTENT
    with pytest.raises(AccessDenied):
        built.publish(who="dora")
    with pytest.raises(ValueError, match="no key that counts"):
        vault.changes.retire(names.principal("dora"))
    with pytest.raises(NotFound, match="nobody is not in this vault"):
        vault.changes.retire(names.principal("nobody"))


def test_attested_heads_name_the_log_and_a_shorter_one_is_a_rollback(tmp_path: Path) -> None:
    built = solo()
    built.amend(asking(log="unwitnessed", fresh="warn"))
    built.amend(granting("owner", "attest", "prod"))
    session = recording(built.session(), tmp_path)
    built.publish(session=session)
    built.promote("churn:1", session=session)
    before = built.fork(forgetful=True)
    built.promote("churn:1", slot="b", session=session)
    Vault(session, Settings()).renew("prod")
    built.find("churn@prod", env="prod")
    for name in list(built.store.objects):
        if name.startswith("log/env/prod/"):
            del built.store.objects[name]
    built.store.objects |= {
        name: data for name, data in before.store.objects.items() if name.startswith("log/env/prod/")
    }
    fresh = built.session()
    fresh.memory = ClientMemory(built.vault, None)
    with pytest.raises((Rollback, LogInconsistent)):
        built.find("churn@prod", session=fresh)
