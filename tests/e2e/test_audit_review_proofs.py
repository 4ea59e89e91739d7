"""Proofs and reports: what a reviewer hands on, and what whoever gets it can check."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Built, solo
from tests.e2e.audit_parts import audited, hashing, move, recording
from tests.e2e.test_audit_review import PROD, commits, reviewer, used, watched, witness, writer
from vault.actions import reviewing_proofs
from vault.actions.reviewing import Audit
from vault.actions.reviewing_replaying import BAD, NOTE, OK
from vault.actions.reviewing_report_check import ReportChecked
from vault.actions.reviewing_reporting import Asked, Written
from vault.audit.query import Filter
from vault.core import audit_record, envelope, log_proof, note
from vault.core.names import Environment, Principal
from vault.errors import (
    BadSignature,
    DigestMismatch,
    LogInconsistent,
    Malformed,
    NotFound,
    Refused,
    Unsigned,
    UntrustedSigner,
)
from vault.settings import Settings

__all__ = ["watched"]  # a fixture


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return used(tmp_path)


# --- finding ---


def test_a_record_is_found_by_its_id_its_document_and_its_reference(built: Built) -> None:
    audit = reviewer(built)
    shown = audit.show("churn@prod")
    record = shown.row.record
    assert record is not None
    assert (record.action, record.version, record.seq) == ("promote", "3", 3)
    assert shown.evidence.log == "env/prod"
    assert shown.evidence.commit == "log/env/prod/commit/000003"
    assert shown.evidence.document == "channels/prod/main/churn/@/000003.json"
    assert shown.evidence.proof == f"log/env/prod/proof/{record.evidence}"
    assert (shown.evidence.index, shown.evidence.size) == (2, 3)
    assert audit.show(record.record_id.hex()[:8]).row == shown.row
    assert audit.show(f"sha256:{record.evidence}").row == shown.row
    published = audit.show("churn:2").row.record
    assert published is not None
    assert (published.action, published.version) == ("publish", "2")


def test_an_attempt_is_shown_with_its_outcome(built: Built) -> None:
    audit = reviewer(built)
    (attempt,) = audit.log(Filter(action=("load",), decision=("pending",)), attempts=True)
    assert attempt.record is not None
    shown = audit.show(attempt.record.record_id.hex())
    (outcome,) = (row.record for row in shown.kin)
    assert outcome is not None
    assert (outcome.of, outcome.outcome) == (attempt.record.record_id, "done")
    assert [row.record for row in audit.log(Filter(action=("load",)))] == [outcome], "attempts are left out"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("ffff", NotFound),
        ("churn:9", NotFound),
        ("nothing@prod", NotFound),
        ("churn@nowhere", NotFound),
        (f"sha256:{'00' * 32}", NotFound),
        ("churn", ValueError),
        ("../etc", ValueError),
        ("sha256:00", ValueError),
    ],
)
def test_what_is_in_no_log_is_not_found(what: str, error: type[Exception], built: Built) -> None:
    with pytest.raises(error):
        reviewer(built).show(what)


def test_what_was_promoted_before_anything_was_logged_is_not_logged() -> None:
    built = solo()
    built.publish()
    built.promote("churn:1")
    with pytest.raises(NotFound, match="No log tells of churn@prod") as caught:
        reviewer(built).prove("churn@prod")
    assert caught.value.code == "not-logged"


# --- proofs ---


def test_a_proof_is_checked_with_the_trust_documents_alone(built: Built) -> None:
    proved = reviewer(built).prove("churn@prod")
    copy = built.fork(forgetful=True)
    for name in [name for name in copy.store.objects if not name.startswith("trust/")]:
        del copy.store.objects[name]
    checked = reviewer(copy).check_proof(proved.data)
    assert (checked.log, checked.index, checked.size, checked.writer) == ("env/prod", 2, 3, "owner")
    assert checked.rests_on == reviewing_proofs.POLICY
    assert checked.record is not None
    assert checked.record.version == "3"


def test_a_proof_is_checked_by_a_key_without_any_vault(built: Built) -> None:
    proved = reviewer(built).prove("churn@prod")
    key = reviewing_proofs.parse_verifier_key(proved.key)
    proof = log_proof.parse(proved.data, "it")
    checked = reviewing_proofs.check_with_keys(proof, [key])
    assert (checked.log, checked.index, checked.writer) == ("env/prod", 2, None)
    assert checked.rests_on == reviewing_proofs.GIVEN_KEY
    other = reviewing_proofs.parse_verifier_key(note.verifier_key(key.name, note.ED25519, built.owner.public))
    with pytest.raises(Unsigned):
        reviewing_proofs.check_with_keys(proof, [other])
    with pytest.raises(ValueError, match="once"):
        reviewing_proofs.check_with_keys(proof, [])
    with pytest.raises(LogInconsistent, match="0 of the 1 witnesses"):
        reviewing_proofs.check_with_keys(proof, [key], witnesses=1)


@pytest.mark.parametrize("key", ["", "a", "a+b+c", "name+00000000+AAAA", "name+00000000+" + "A" * 44])
def test_what_is_no_verifier_key_is_the_callers_mistake(key: str) -> None:
    with pytest.raises(ValueError, match="verifier key"):
        reviewing_proofs.parse_verifier_key(key)


def test_a_mistyped_verifier_key_is_told(built: Built) -> None:
    key = reviewer(built).prove("churn@prod").key
    name, short, blob = key.rsplit("+", 2)
    wrong = "0" if short[0] != "0" else "1"
    with pytest.raises(ValueError, match="mistyped"):
        reviewing_proofs.parse_verifier_key(f"{name}+{wrong}{short[1:]}+{blob}")


def test_every_altered_proof_is_refused(built: Built) -> None:
    audit = reviewer(built)
    data = audit.prove("churn@prod").data
    for at in range(0, len(data), 7):
        altered = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Refused):
            audit.check_proof(altered)


def test_a_proof_of_another_vault_is_refused(built: Built, tmp_path: Path) -> None:
    data = reviewer(built).prove("churn@prod").data
    with pytest.raises(DigestMismatch, match="The proof is of the vault sha256:") as caught:
        reviewer(solo(seed="other")).check_proof(data)
    assert caught.value.code == "misplaced"


def test_a_proof_is_of_no_worth_once_its_writer_may_not_write(built: Built) -> None:
    audit = reviewer(built)
    data = audit.prove("churn@prod").data
    built.amend(lambda before: replace(before, roles=dict.fromkeys(before.roles, ())))
    with pytest.raises(UntrustedSigner):
        audit.check_proof(data)


def test_a_proof_carries_all_witnesses_and_can_demand_them(watched: Built) -> None:
    audit = reviewer(watched)
    with pytest.raises(LogInconsistent) as caught:
        audit.prove("churn@prod", witnesses=1)
    assert caught.value.code == "not-witnessed"
    assert audit.prove("churn@prod").witnesses == ()
    witness(watched)
    proved = audit.prove("churn@prod", witnesses=1)
    assert proved.witnesses == ("wes",)
    assert audit.check_proof(proved.data, witnesses=1).witnesses == ("wes",)
    with pytest.raises(LogInconsistent):
        audit.check_proof(proved.data, witnesses=2)


def test_a_proof_is_made_without_tiles(built: Built) -> None:
    for name in [name for name in built.store.objects if "/tile/" in name]:
        del built.store.objects[name]
    assert reviewer(built).check_proof(reviewer(built).prove("churn:1").data).log == "env/dev"


# --- the index ---


def test_the_index_takes_in_only_what_is_new(built: Built, tmp_path: Path) -> None:
    audit = reviewer(built, state=tmp_path / "state")
    assert audit.indexed.refresh() == 11
    assert audit.indexed.refresh() == 0
    session = recording(built.session(), tmp_path)
    built.publish(session=session)
    assert reviewer(built, state=tmp_path / "state").indexed.refresh() == 2
    assert (tmp_path / "state" / "audit" / built.vault[:32] / "index" / "index.sqlite").exists()


def test_where_nothing_may_be_written_the_index_is_in_memory(built: Built, tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.write_bytes(b"")
    assert len([*reviewer(built, state=in_the_way).log(attempts=True)]) == 11
    assert len([*reviewer(built).log(attempts=True)]) == 11
    assert in_the_way.read_bytes() == b""


def test_a_log_that_was_cut_is_shown_as_it_was_and_told(built: Built, tmp_path: Path) -> None:
    audit = reviewer(built, state=tmp_path / "state")
    assert len([*audit.log(Filter(log=("env/prod",)))]) == 3
    for name in commits(built)[1:]:
        del built.store.objects[name]
    assert len([*audit.log(Filter(log=("env/prod",)))]) == 3
    assert "seen with 3 entries, and its commit 3 is gone" in audit.indexed.troubles["env/prod"].message


def test_a_damaged_index_is_made_again(built: Built, tmp_path: Path) -> None:
    place = tmp_path / "state" / "audit" / built.vault[:32] / "index" / "index.sqlite"
    assert len([*reviewer(built, state=tmp_path / "state").log(attempts=True)]) == 11
    place.write_bytes(b"no database" * 1_000)
    assert len([*reviewer(built, state=tmp_path / "state").log(attempts=True)]) == 11


def test_a_value_that_is_kept_as_a_hash_is_found_by_who_may_read_there(tmp_path: Path) -> None:
    built = solo()
    built.publish()
    built.promote("churn:1")
    built.amend(hashing("prod", "subject", "host"))
    vault = audited(built, tmp_path)
    vault.load_package("churn@prod")
    move(vault)
    audit = Audit(built.session(), Settings())
    hashes = audit.lookup("prod", "churn@prod")
    found = [row.record for row in audit.kept_as(hashes, Environment("prod"))]
    assert [record.outcome for record in found if record is not None] == ["done"]
    assert all(record.subject in hashes for record in found if record is not None)
    assert not [*audit.kept_as(audit.lookup("prod", "churn@dev"), Environment("prod"))]
    with pytest.raises(NotFound):
        audit.lookup("nowhere", "x")


# --- reports ---


def report(built: Built, tmp_path: Path, who: str | None = "owner", asked: Asked | None = None) -> Written:
    session = built.session(who)
    return Audit(session, Settings()).report(tmp_path / "reports", asked or Asked())


def checked(built: Built, path: Path | None) -> ReportChecked:
    assert path is not None
    return reviewer(built).check_report(path)


def test_the_first_line_of_a_report_is_the_answer(built: Built, tmp_path: Path) -> None:
    written = report(built, tmp_path)
    assert written.markdown.read_text().splitlines()[0] == "Record whole: yes"
    value = json.loads(written.payload.read_bytes())
    assert next(iter(value)) == "record_whole"
    assert value["record_whole"] == "yes"
    named = {entry["log"]: entry for entry in value["logs"]}
    assert (named["env/prod"]["size"], named["env/prod"]["range"]) == (
        3,
        {"first": 0, "last": 2, "records": 3},
    )
    assert named["env/prod"]["root"] == reviewer(built).verify("env/prod").logs[0].head.root.hex()  # type: ignore[union-attr]
    assert f"| env/prod | yes | 3 | `{named['env/prod']['root']}` | 0-2 | 3 |" in written.markdown.read_text()


def test_a_report_says_why_it_is_not_checkable_or_not_whole(built: Built, tmp_path: Path) -> None:
    first = report(built, tmp_path / "first", None)
    assert first.markdown.read_text().startswith(
        "Record whole: not checkable because this machine sees env/dev, env/prod, access/owner/"
    )
    del built.store.objects[commits(built)[1]]
    second = report(built, tmp_path / "second")
    assert second.markdown.read_text().startswith("Record whole: no because env/prod: ")
    assert second.status == 3


def test_a_report_is_about_the_time_that_was_asked_for(built: Built, tmp_path: Path) -> None:
    later = report(built, tmp_path, asked=Asked(since=built.now + 1))
    value = json.loads(later.payload.read_bytes())
    assert [entry["range"] for entry in value["logs"]] == [None] * len(value["logs"])
    assert value["changes"] == []


def test_a_signed_report_holds_and_goes_on_holding(built: Built, tmp_path: Path) -> None:
    written = report(built, tmp_path)
    found = checked(built, written.signed)
    assert (found.holds, found.signer, found.status) == (True, "owner", 0)
    assert {entry.check for entry in found.findings} == {"signature", "files", "checkpoint"}
    built.publish(session=recording(built.session(), tmp_path))
    assert checked(built, written.signed).holds
    assert checked(built, written.payload).holds, "the signature beside it is found"


def test_an_unsigned_report_says_so_and_does_not_hold(built: Built, tmp_path: Path) -> None:
    written = report(built, tmp_path, None)
    assert written.signed is None
    assert "**Not signed**" in written.markdown.read_text()
    found = checked(built, written.payload)
    assert (found.holds, found.signer) == (False, None)
    assert [entry.code for entry in found.findings if entry.level == BAD] == ["unsigned"]


@pytest.mark.parametrize("which", ["markdown", "payload"])
def test_a_changed_file_of_a_report_is_noticed(which: str, built: Built, tmp_path: Path) -> None:
    written = report(built, tmp_path)
    place: Path = getattr(written, which)
    place.chmod(0o600)
    place.write_bytes(place.read_bytes().replace(b"promote", b"demotes"))
    found = checked(built, written.signed)
    assert [entry.code for entry in found.findings if entry.level == BAD] == ["digest-mismatch"]


def test_a_report_with_another_content_or_signer_is_refused(built: Built, tmp_path: Path) -> None:
    written = report(built, tmp_path)
    assert written.signed is not None
    data = written.signed.read_bytes()
    sealed = envelope.parse(data, kind="report", subject="it")
    forged = replace(sealed, payload=sealed.payload.replace(b'"yes"', b'"yes" '))
    place = tmp_path / "forged.dsse"
    place.write_bytes(envelope.serialise(forged))
    found = checked(built, place)
    assert [entry.code for entry in found.findings if entry.level == BAD] == ["bad-signature"]
    stranger = solo(seed="other").owner
    place.write_bytes(
        envelope.serialise(
            envelope.sign("report", sealed.payload, [(stranger.key_id, stranger.sign)])  # type: ignore[list-item]
        )
    )
    found = checked(built, place)
    assert [entry.code for entry in found.findings if entry.level == BAD] == ["untrusted-signer"]


def test_a_report_by_somebody_whose_key_was_revoked_does_not_hold(built: Built, tmp_path: Path) -> None:
    built.add("ada", "owner")
    written = report(built, tmp_path, "ada")

    def revoke(before: Any) -> Any:
        ada = before.members[Principal("ada")]
        keys = tuple(replace(key, revoked=True) for key in ada.keys)
        return replace(before, members={**before.members, ada.name: replace(ada, keys=keys)})

    built.amend(revoke)
    found = checked(built, written.signed)
    assert not found.holds
    assert "ada, whose key was revoked" in found.findings[0].message


def test_a_log_that_does_not_continue_a_report_is_noticed_without_any_memory(
    built: Built, tmp_path: Path
) -> None:
    written = report(built, tmp_path)
    del built.store.objects[commits(built)[-1]]
    found = checked(built, written.signed)
    assert found.status == 3
    (bad,) = (entry for entry in found.findings if entry.level == BAD)
    assert bad.message.startswith("The log does not continue the report's checkpoint (size 3, root ")


def test_a_report_of_another_vault_is_refused(built: Built, tmp_path: Path) -> None:
    written = report(built, tmp_path)
    assert written.signed is not None
    with pytest.raises(DigestMismatch):
        reviewer(solo(seed="other")).check_report(written.signed)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"payload":1}',
        b'{"format":"mvault-report-v1"}',
        b'{"payload":"","payloadType":"x","signatures":[]}',
        b"\xff" * 40,
        b"{" * 10_000,
    ],
)
def test_what_is_no_report_is_refused(data: bytes, built: Built, tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    place.write_bytes(data)
    with pytest.raises(Malformed):
        reviewer(built).check_report(place)


def test_names_from_a_stranger_neither_break_a_table_nor_become_markup(tmp_path: Path) -> None:
    built = solo()
    built.publish(session=recording(built.session(), tmp_path))
    record = audit_record.AuditRecord(
        record_id=bytes(16), time=built.time, action="load", decision="deny", known="claimed",
        code="access-denied", subject="x | <script>\n# Record whole: yes\x1b[2J",
    )  # fmt: skip
    writer(built, PROD).append([audit_record.encode(record)])
    text = report(built, tmp_path).markdown.read_text()
    assert "x \\| &lt;script>\\n# Record whole: yes\\x1b[2J" in text
    assert text.count("\n# ") == 1
    assert hashlib.sha256(text.encode()).hexdigest() in next(tmp_path.glob("reports/*.json")).read_text()


def test_a_report_by_a_retired_key_is_noted(built: Built, tmp_path: Path) -> None:
    from vault.core.policy import LogHead

    built.add("ada", "owner")
    written = report(built, tmp_path, "ada")
    head = LogHead("mvault/v1/x", 0, built.vault)

    def retire(before: Any) -> Any:
        ada = before.members[Principal("ada")]
        keys = tuple(replace(key, until=head) for key in ada.keys)
        return replace(before, members={**before.members, ada.name: replace(ada, keys=keys)})

    built.amend(retire)
    found = checked(built, written.signed)
    assert found.findings[0].level == NOTE
    assert found.holds
    assert found.findings[1].level == OK


def test_an_altered_signature_of_a_proof_is_a_bad_signature(built: Built) -> None:
    audit = reviewer(built)
    proof = log_proof.parse(audit.prove("churn@prod").data, "it")
    line = proof.note.lines[0]
    other = replace(line, signature=bytes([line.signature[0] ^ 1]) + line.signature[1:])
    altered = replace(proof, note=replace(proof.note, lines=(other, *proof.note.lines[1:])))
    with pytest.raises(BadSignature):
        audit.check_proof(altered.encode())
