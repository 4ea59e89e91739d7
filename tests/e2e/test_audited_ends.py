"""How loads and pulls end in the records: as stale, and not at all where the end cannot be recorded."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import Built, solo
from tests.e2e.audit_parts import asking, audited, entries, granting, move
from vault.audit.intake_file import IntakeFile
from vault.core import audit_record, names
from vault.core.audit_record import AuditRecord
from vault.core.heads import DAY
from vault.errors import AccessDenied, Expired, Malformed, Unavailable


@pytest.fixture
def built() -> Built:
    made = solo()
    made.publish()
    made.promote("churn:1")
    return made


def attested(built: Built) -> None:
    built.amend(granting("owner", "attest", "prod"))
    built.amend(asking(fresh="stale"))
    audited(built, None).renew("prod")


def loads(built: Built) -> list[AuditRecord]:
    return [entry for entry in entries(built) if entry.action == "load"]


def test_a_load_of_what_was_seen_before_heads_lapsed_is_recorded_as_stale(
    built: Built, tmp_path: Path
) -> None:
    attested(built)
    vault = audited(built, tmp_path, env="prod")
    vault.load_package("churn@prod")
    built.now += 30 * DAY
    vault.load_package("churn@prod")
    move(vault)
    assert [(entry.decision, entry.code, entry.outcome) for entry in loads(built)] == [
        *(("pending", None, None), ("allow", None, "done")),
        *(("pending", None, None), ("allow", "stale", "done")),
    ]


def test_a_load_that_lapsed_heads_refuse_is_recorded_as_that(built: Built, tmp_path: Path) -> None:
    attested(built)
    built.memories.clear()  # who renews has seen the channel; this client has not
    built.now += 30 * DAY
    vault = audited(built, tmp_path, env="prod")
    with pytest.raises(Expired):
        vault.load_package("churn@prod")
    move(vault)
    assert [(entry.decision, entry.code) for entry in loads(built)] == [
        *(("pending", None), ("refuse", "heads-expired")),
    ]


def test_stale_is_the_only_remark_on_what_was_done() -> None:
    record = AuditRecord(
        record_id=bytes(16), time="2026-11-23T05:00:00Z", action="load", known="signature",
        decision="allow", outcome="done", code="stale",
    )  # fmt: skip
    assert audit_record.parse(audit_record.encode(record)) == record
    for wrong in (
        replace(record, code="barred"),
        replace(record, decision="pending"),
        replace(record, decision="pending", outcome=None),
        replace(record, decision="deny"),
    ):
        with pytest.raises(ValueError, match="contradict"):
            audit_record.encode(wrong)
        with pytest.raises(Malformed):
            audit_record.parse(audit_record._spelled(wrong))


@pytest.mark.parametrize("zipped", [False, True])
def test_what_was_pulled_is_taken_back_where_its_end_cannot_be_recorded(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, zipped: bool
) -> None:
    built.amend(asking(audit=True))
    vault = audited(built, tmp_path / "audit", env="prod")
    append, calls = IntakeFile.append, []

    def once(self: IntakeFile, *args: object, **options: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise Unavailable("The disk is full.", code="storage-full")
        append(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(IntakeFile, "append", once)
    place = tmp_path / "out" / ("model.zip" if zipped else "")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("of somebody else")
    with pytest.raises(Unavailable, match="Nothing was given out"):
        vault.pull("churn@prod", place, zip=zipped)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mine"]
    monkeypatch.undo()
    assert vault.pull("churn@prod", place, zip=zipped) == place


def test_a_name_that_a_key_service_gives_itself_need_not_be_one(built: Built, tmp_path: Path) -> None:
    from tests.builders import new_identity

    built.identities["stranger"] = new_identity("stranger", built.kind)
    vault = audited(built, tmp_path, "stranger")
    held = built.identities["stranger"]

    class Service:
        name = names.Principal("arn:aws:kms:somewhere/Key of ours")

        def __getattr__(self, name: str) -> object:
            return getattr(held, name)

    vault._session.unlock = Service  # type: ignore[assignment]
    with pytest.raises(AccessDenied, match="not in the vault's policy"):
        vault.load_package("churn@prod")
    assert vault._session.audit is not None
    assert vault._session.audit.intake(vault._session).waiting().entries == 2
