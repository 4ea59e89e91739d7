"""Is the record whole? Every way to change, cut or fork a log, and what a reviewer is told of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import Built, solo
from tests.e2e.audit_parts import audited, granting, move, recording
from tests.faults import Fault, FaultyStore
from vault.actions.reviewing import Audit
from vault.actions.reviewing_replaying import BAD, NOTE, OK, UNKNOWN
from vault.actions.reviewing_verifying import NO, NOT_CHECKABLE, YES, Verification
from vault.audit import cosigning
from vault.audit.writing import LogWriter
from vault.core import audit_record, log_keys, log_names, merkle
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.core.names import Environment, Principal
from vault.settings import Settings
from vault.vault import Vault

PROD = log_names.environment_log(Environment("prod"))


def used(tmp_path: Path, promotions: int = 3) -> Built:
    """Build a vault whose logs have something: versions in prod, and a load by the owner."""
    built = solo()
    session = recording(built.session(), tmp_path)
    for number in range(1, promotions + 1):
        built.publish(session=session)
        built.promote(f"churn:{number}", session=session)
    vault = audited(built, tmp_path)
    vault.load_package("churn@prod")
    move(vault)
    return built


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return used(tmp_path)


def reviewer(built: Built, who: str | None = None, state: Path | None = None) -> Audit:
    """Review as somebody without any identity, who remembers what they saw; `who` is another's memory."""
    session = built.session(None)
    if who is not None:
        session.memory = built.memory(who)
    return Audit(session, Settings(state_dir=state))


def verified(built: Built, who: str | None = None) -> Verification:
    return reviewer(built, who).verify()


def told(found: Verification, check: str, *, level: str) -> list[str]:
    return [entry.message for entry in found.findings if (entry.check, entry.level) == (check, level)]


def writer(built: Built, log: Log, who: str = "owner", known: Head | None = None) -> LogWriter:
    """Write a log by hand, as one of its writers may."""
    identity, origin = built.identities[who], log_names.origin(built.vault, log)
    key = identity.derive(log_keys.info(log_keys.LOG, origin))
    claim = log_keys.Certificate(built.vault, origin, log_keys.LOG, key.public, built.time)
    return LogWriter(built.store, log, built.policy, key, log_keys.certify(claim, identity), known=known)


def record(built: Built, **facts: object) -> bytes:
    """Write the bytes of a record that says what it is told to."""
    said = {"action": "promote", "decision": audit_record.ALLOW, "outcome": audit_record.DONE, **facts}
    return audit_record.encode(
        audit_record.AuditRecord(
            record_id=built.draws(16),
            time=built.time,
            known=audit_record.SIGNATURE,
            **said,  # type: ignore[arg-type]
        )
    )


def commits(built: Built, log: Log = PROD) -> list[str]:
    return sorted(name for name in built.store.objects if name.startswith(log.commits))


# --- what holds ---


def test_a_record_that_this_machine_has_seen_before_is_whole(built: Built) -> None:
    found = verified(built, "owner")
    assert (found.whole, found.because, found.status) == (YES, "", 0)
    assert [str(entry.log) for entry in found.logs][:2] == ["env/dev", "env/prod"]
    prod = found.logs[1]
    assert {entry.check for entry in prod.findings if entry.level == OK} == {
        *("commits", "pins", "decisions", "tiles")
    }
    assert told(found, "commits", level=OK)[1] == "3 entries in 3 commits lead to the signed root."


def test_whoever_sees_a_log_for_the_first_time_cannot_tell_whether_its_end_is_there(built: Built) -> None:
    first = verified(built)
    assert (first.whole, first.status) == (NOT_CHECKABLE, 0)
    assert first.because.startswith("this machine sees env/dev, env/prod, access/owner/")
    second = verified(built)
    assert second.whole == YES, "what held was remembered"


def test_a_vault_in_which_nothing_was_recorded_says_so() -> None:
    found = verified(solo())
    assert (found.whole, found.because) == (NOT_CHECKABLE, "nothing has been recorded in this vault yet")


def test_what_cannot_be_seen_from_the_files_is_always_said(built: Built) -> None:
    text = " ".join(verified(built, "owner").limits)
    assert "never recorded" in text
    assert "deleted whole" in text
    assert "No witness has cosigned env/dev, env/prod" in text


def test_one_log_can_be_verified_alone(built: Built) -> None:
    found = reviewer(built, "owner").verify("env/prod")
    assert [str(entry.log) for entry in found.logs] == ["env/prod"]
    assert found.whole == YES


# --- what does not hold ---


def cut_end(built: Built) -> None:
    del built.store.objects[commits(built)[-1]]


def cut_middle(built: Built) -> None:
    del built.store.objects[commits(built)[1]]


def flip_a_byte(built: Built) -> None:
    name = commits(built)[0]
    data = bytearray(built.store.objects[name])
    data[-200] ^= 1
    built.store.objects[name] = bytes(data)


def swap_commits(built: Built) -> None:
    first, second, _ = commits(built)
    objects = built.store.objects
    objects[first], objects[second] = objects[second], objects[first]


def delete_a_log(built: Built) -> None:
    for name in [name for name in built.store.objects if name.startswith(PROD.folder)]:
        del built.store.objects[name]


def rewrite_the_history(built: Built) -> None:
    """As a writer may who keeps the first commit and signs another second one."""
    for name in commits(built)[1:]:
        del built.store.objects[name]
    writer(built, PROD).append([record(built, evidence=merkle.EMPTY_ROOT.hex())])


@pytest.mark.parametrize(
    "attack", [cut_end, cut_middle, flip_a_byte, swap_commits, delete_a_log, rewrite_the_history]
)
def test_who_has_seen_the_log_notices_every_change(attack: Callable[[Built], None], built: Built) -> None:
    attack(built)
    found = verified(built, "owner")
    assert (found.whole, found.status) == (NO, 3)
    assert found.because.startswith("env/prod: ")


@pytest.mark.parametrize(
    ("attack", "whole"),
    [(cut_end, NOT_CHECKABLE), (cut_middle, NO), (flip_a_byte, NO), (swap_commits, NO)],
)
def test_who_has_not_seen_it_notices_what_the_log_itself_tells(
    attack: Callable[[Built], None], whole: str, built: Built
) -> None:
    attack(built)
    assert verified(built).whole == whole


def test_an_entry_rewritten_with_its_tile_and_leaf_is_refused(built: Built) -> None:
    """CVE-2026-56865: whoever believes the leaf in a tile believes the entry beside it."""
    name = commits(built)[0]
    data = built.store.objects[name]
    built.store.objects[name] = data.replace(b'"version":"1"', b'"version":"7"')
    assert built.store.objects[name] != data
    bundle, tile = PROD.bundle(0, 3), PROD.tile(0, 0, 3)
    entries = built.store.objects[bundle].replace(b'"version":"1"', b'"version":"7"')
    size = int.from_bytes(entries[:2], "big")
    leaf = merkle.leaf_hash(entries[2 : 2 + size])
    built.store.objects[bundle] = entries
    built.store.objects[tile] = leaf + built.store.objects[tile][32:]
    assert verified(built).whole == NO


def test_a_fork_is_named_with_whoever_signed_it(built: Built) -> None:
    fork = built.fork()
    for name in commits(fork)[1:]:
        del fork.store.objects[name]
    done = writer(fork, PROD).append([record(fork, evidence="ab" * 32)])
    forked = fork.store.objects[PROD.commit(done.number)]
    built.store.objects[PROD.commit(7)] = forked
    found = verified(built, "owner")
    assert found.whole == NO
    assert "fork: commit 7 of env/prod by owner tells another history" in found.because


def test_two_records_for_one_number_of_a_channel_are_a_lie_of_a_writer(built: Built) -> None:
    facts = {"environment": "prod", "slot": "main", "model": "churn", "seq": 3, "version": "3"}
    writer(built, PROD).append([record(built, evidence="ab" * 32, policy=built.policy_id, **facts)])
    found = verified(built, "owner")
    assert found.whole == NO
    assert "two different records with number 3 of churn@prod/main" in found.because


def test_an_access_log_that_was_anchored_is_missed(built: Built) -> None:
    audited(built, None).audit.anchor("prod")
    for name in [name for name in built.store.objects if name.startswith("log/access/")]:
        del built.store.objects[name]
    found = verified(built)
    assert found.whole == NO
    assert "access/owner/" in found.because


def test_two_anchors_that_contradict_each_other_are_noticed(built: Built) -> None:
    from vault.actions import anchoring

    (log,) = (entry.log for entry in verified(built, "owner").logs if entry.log.kind == log_names.ACCESS)
    wrong = Head(0, 1, bytes(32))
    subject = anchoring.subject_of(log, wrong)
    evidence = anchoring.evidence_of(built.vault, log, wrong)
    entry = record(built, action="anchor", subject=subject, evidence=evidence, environment="prod")
    writer(built, PROD).append([entry])
    found = verified(built, "owner")
    assert found.whole == NO
    assert found.because.startswith(f"{log}: ")


# --- what does no harm ---


def test_what_a_stranger_puts_there_does_no_harm_and_is_told(built: Built) -> None:
    built.write(PROD.commit(4), b"garbage")
    found = verified(built, "owner")
    assert (found.whole, found.status) == (YES, 0)
    assert told(found, "commits", level=NOTE)[0].startswith("Object 4 does not count and does no harm: ")


def test_entries_by_somebody_who_may_not_write_do_not_count(built: Built) -> None:
    built.amend(granting("eves", "log"))
    built.add("eve", "eves")
    writer(built, PROD, "eve").append([record(built, evidence="ab" * 32)])
    built.amend(lambda before: replace(before, roles={**before.roles, Principal("eves"): ()}))
    found = verified(built, "owner")
    assert found.whole == YES
    assert "After them 1 entry by eve, who may not write this log, do not count." in told(
        found, "commits", level=NOTE
    )


def test_wrong_tiles_are_told_and_leave_the_record_whole_until_they_are_repaired(built: Built) -> None:
    built.store.objects[PROD.tile(0, 0, 3)] = bytes(96)
    found = verified(built, "owner")
    assert (found.whole, found.status) == (YES, 3)
    (text,) = told(found, "tiles", level=BAD)
    assert text.endswith("differ from the commits, which count. Write them again: mvault audit repair")
    repaired = Audit(built.session(), Settings()).repair()
    assert repaired.written == {"env/prod": 1}
    assert verified(built, "owner").status == 0


def test_missing_tiles_are_only_noted(built: Built) -> None:
    for name in [name for name in built.store.objects if "/tile/" in name]:
        del built.store.objects[name]
    found = verified(built, "owner")
    assert (found.whole, found.status) == (YES, 0)
    assert len(told(found, "tiles", level=NOTE)) == len(found.logs)


def test_a_store_that_fails_makes_it_unknown(built: Built) -> None:
    built.memory("owner")
    audit = reviewer(built, "owner")
    audit.session.store = FaultyStore(
        built.store,
        lambda step: Fault.BEFORE if step.verb == "read" and "log/env/prod/commit" in step.name else None,
    )
    found = audit.verify()
    assert (found.whole, found.status) == (NOT_CHECKABLE, 7)
    assert "env/prod cannot be read" in found.because
    assert told(found, "commits", level=UNKNOWN)


# --- witnesses ---


def witness(built: Built, source: Built | None = None) -> None:
    """Let wes cosign what `source` has, into this vault."""
    origin = log_names.origin(built.vault, PROD)
    identity = built.identities["wes"]
    key = identity.derive(log_keys.info(log_keys.WITNESS, origin))
    claim = log_keys.Certificate(built.vault, origin, log_keys.WITNESS, key.public, built.time)
    where = source or built
    cosigning.cosign(
        where.store,
        PROD,
        built.policy,
        key,
        log_keys.certify(claim, identity),
        known=None,
        clock=lambda: built.now,
        remember=lambda head: None,
    )
    for name, data in where.store.objects.items():
        if "/cosigned/" in name:
            built.store.objects[name] = data


@pytest.fixture
def watched(built: Built) -> Built:
    built.amend(granting("witnesses", "witness"))
    built.add("wes", "witnesses")
    return built


def test_it_is_told_how_far_witnesses_have_cosigned(watched: Built, tmp_path: Path) -> None:
    witness(watched)
    session = recording(watched.session(), tmp_path)
    watched.publish(session=session)
    watched.promote("churn:4", session=session)
    found = verified(watched, "owner")
    assert told(found, "witnesses", level=OK) == [
        "wes cosigned it at size 3, and nobody yet the 1 after that."
    ]
    assert "env/prod" not in found.limits[-1]


def test_a_log_that_a_witness_saw_longer_was_cut(watched: Built) -> None:
    witness(watched)
    cut_end(watched)
    found = verified(watched)
    assert found.whole == NO
    assert "wes cosigned it at size 3, and the store offers 2: its end is cut" in found.because


def test_a_witness_who_saw_another_history_shows_that_two_are_about(watched: Built) -> None:
    fork = watched.fork()
    rewrite_the_history(fork)
    writer(fork, PROD).append([record(fork, evidence="cd" * 32)])
    witness(watched, fork)
    found = verified(watched, "owner")
    assert found.whole == NO
    assert "wes cosigned another history of it at size 3, so two are about" in found.because


def test_attested_heads_tell_how_long_a_log_was_to_who_never_saw_it(built: Built, tmp_path: Path) -> None:
    built.amend(granting("owner", "attest", "prod"))
    Vault(recording(built.session(), tmp_path), Settings()).renew("prod")
    (text,) = (text for text in told(verified(built), "pins", level=OK) if "attested" in text)
    assert text.startswith("It continues the 3 entries known from heads 1 of prod, attested ")
    for _ in range(2):  # that heads were attested is the last
        cut_end(built)
    found = verified(built.fork(forgetful=True))
    assert found.whole == NO
    assert "env/prod was seen with 3 entries, and the store offers 2" in found.because
