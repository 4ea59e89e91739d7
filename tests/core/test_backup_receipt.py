"""Receipts of backups: strict, in force by number and signer, about lists that are what was signed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import CHURN, NOW, Built
from vault.actions import backup_receipts
from vault.core import backup_receipt, envelope, layout, limits, names, strict_json
from vault.core.backup_receipt import BackupReceipt, Covered
from vault.core.in_force import Signed
from vault.core.names import Digest, Model, Principal, Slot, Version
from vault.core.policy import LogHead, Policy, PolicyId, Rule
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Malformed, Rollback

NIGHTLY = Slot("nightly")
LISTED = (
    Covered(CHURN, Version("1"), Digest("1" * 64), 4, 1_000),
    Covered(Model("nepse/NABIL"), Version("1.4.0"), Digest("2" * 64), 7, 0),
)


def keepers(before: Policy) -> Policy:
    """Add roles that may archive everything, delete everything, or some."""

    def rule(action: str, models: tuple[str, ...] | None = None) -> Rule:
        return Rule((action,), (builders.DEV,), None, None, models, own=False)

    roles = {
        Principal("keeper"): (rule("archive"),),
        Principal("deleter"): (rule("delete", ("*",)),),
        Principal("part"): (rule("archive", ("nepse/*",)),),
    }
    return replace(before, roles={**before.roles, **roles})


@pytest.fixture(scope="module")
def kept() -> Built:
    built = builders.team()
    built.amend(keepers)
    built.add("kim", "keeper")
    built.add("del", "deleter")
    built.add("pat", "part")
    built.add("nar", "keeper", models=("nepse/*",))
    built.add("wide", "keeper", models=("*",))
    return built


@pytest.fixture
def built(kept: Built) -> Built:
    return kept.fork()


def receipt(built: Built, listed: bytes | None = None, **change: Any) -> BackupReceipt:
    data = backup_receipt.encode_list(LISTED) if listed is None else listed
    found = BackupReceipt(
        vault=built.vault,
        policy=built.policy_id,
        name=NIGHTLY,
        number=1,
        destination="s3://copies/models",
        created=names.time_text(NOW),
        logs=(LogHead(f"mvault/v1/{built.vault}/trust", 3, Digest("3" * 64)),),
        objects=12,
        size=1_000,
        versions=2,
        list_digest=envelope.digest(data),
        list_size=len(data),
        read=False,
    )
    return replace(found, **change)


def signed(built: Built, found: BackupReceipt, *who: str) -> bytes:
    return built.sign(backup_receipt.KIND, backup_receipt.encode(found), *(who or ("kim",)))


def judge(built: Built, data: bytes, number: int = 1) -> Signed[BackupReceipt] | Skipped:
    return backup_receipt.judge(built.context, NIGHTLY, number, data)


def put(built: Built, found: BackupReceipt, *who: str) -> None:
    listed = backup_receipt.encode_list(LISTED)
    built.write(layout.backup(found.name) + layout.numbered(found.number), signed(built, found, *who))
    built.write(layout.backup_list(found.name, envelope.digest(listed)), listed)


# --- the documents ---


def test_what_is_written_is_read_back(built: Built) -> None:
    found = receipt(built)
    assert backup_receipt.parse(backup_receipt.encode(found), "it") == found
    listed = backup_receipt.encode_list(reversed(LISTED))
    assert backup_receipt.parse_list(listed, "it") == LISTED
    assert backup_receipt.by_place(LISTED)[CHURN, Version("1")] == LISTED[0]
    assert backup_receipt.parse_list(b"", "it") == ()


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown": lambda value: value.update(more=1),
    "missing": lambda value: value.pop("read"),
    "name": lambda value: value.update(name="Nightly"),
    "number": lambda value: value.update(number=0),
    "no destination": lambda value: value.update(destination=""),
    "destination with a control character": lambda value: value.update(destination="s3://a\x1b[2J"),
    "destination too long": lambda value: value.update(destination="a" * (limits.LOCATION_CHARS + 1)),
    "list too large": lambda value: value["versions"].update(size=limits.BACKUP_LIST_BYTES + 1),
    "list unknown": lambda value: value["versions"].update(more=1),
    "another vault's log": lambda value: value["logs"][0].update(origin=f"mvault/v1/{'0' * 64}/trust"),
    "a log twice": lambda value: value.update(logs=value["logs"] * 2),
    "too many logs": lambda value: value.update(logs=value["logs"] * (limits.ENVIRONMENTS + 2)),
}


@pytest.mark.parametrize("what", BREAKS)
def test_another_shape_is_malformed(built: Built, what: str) -> None:
    value: Any = strict_json.parse(backup_receipt.encode(receipt(built)))
    BREAKS[what](value)
    with pytest.raises(Malformed):
        backup_receipt.parse(strict_json.encode(value), "it")


@pytest.mark.parametrize(
    "data",
    [
        b"churn:1",
        b"\xff\n",
        b"\n",
        b"churn:1 " + b"1" * 64 + b" 1\n",
        b"churn:1 " + b"1" * 64 + b" 01 1\n",
        b"churn:1 " + b"1" * 64 + b" 1 -1\n",
        b"churn " + b"1" * 64 + b" 1 1\n",
        b"churn:1 " + b"1" * 63 + b" 1 1\n",
        b"a/b/../c:1 " + b"1" * 64 + b" 1 1\n",
        b"churn:1 " + b"1" * 64 + b" 1 1\n" + b"churn:1 " + b"1" * 64 + b" 1 1\n",
        b"d:1 " + b"1" * 64 + b" 1 1\n" + b"c:1 " + b"1" * 64 + b" 1 1\n",
    ],
)
def test_a_list_of_another_shape_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        backup_receipt.parse_list(data, "it")


def test_a_list_is_the_one_that_was_signed(built: Built) -> None:
    listed = backup_receipt.encode_list(LISTED)
    assert backup_receipt.versions_of(receipt(built), listed, "it") == LISTED
    for other in (listed[:-1] + b"1", listed + b"\n", b""):
        with pytest.raises(DigestMismatch):
            backup_receipt.versions_of(receipt(built), other, "it")
    with pytest.raises(Malformed):
        backup_receipt.versions_of(receipt(built, versions=3), listed, "it")


# --- which count ---


@pytest.mark.parametrize("who", ["kim", "del", "wide"])
def test_who_may_archive_or_delete_every_model_signs_receipts(built: Built, who: str) -> None:
    found = judge(built, signed(built, receipt(built), who))
    assert isinstance(found, Signed)
    assert found.signers == (who,)


@pytest.mark.parametrize("who", ["ann", "pat", "nar"])
def test_nobody_else_does(built: Built, who: str) -> None:
    found = judge(built, signed(built, receipt(built), who))
    assert isinstance(found, Skipped)
    assert found.code == "untrusted-signer"


def test_a_receipt_counts_only_in_its_own_place(built: Built) -> None:
    for other in (
        receipt(built, number=2),
        receipt(built, name=Slot("weekly")),
        receipt(built, vault=Digest("0" * 64), logs=()),
    ):
        found = judge(built, signed(built, other))
        assert isinstance(found, Skipped)
        assert found.code == "misplaced"
    garbage = judge(built, b"garbage")
    assert isinstance(garbage, Skipped)
    assert garbage.code == "malformed-json"


def test_a_receipt_under_a_policy_that_is_withheld_is_refused(built: Built) -> None:
    newer = PolicyId(0, built.policy_id.version + 1, Digest("9" * 64))
    with pytest.raises(Rollback):
        judge(built, signed(built, receipt(built, policy=newer)))


# --- what they cover ---


def covered(built: Built, destination: str | None = None) -> frozenset[str]:
    return backup_receipts.covered(built.session(), destination=destination)


def test_the_newest_receipt_that_counts_says_what_is_covered(built: Built) -> None:
    assert covered(built) == frozenset()
    put(built, receipt(built))
    assert covered(built) == {"1" * 64, "2" * 64}
    built.write(layout.backup(NIGHTLY) + layout.numbered(2), b"garbage")
    built.write(layout.backup(NIGHTLY) + layout.numbered(3), bytes(limits.BACKUP_RECEIPT_BYTES + 1))
    put(built, receipt(built, number=4), "ann")
    built.write("backups/Not A Name/000001.json", b"garbage")
    built.write("backups/stray", b"garbage")
    assert covered(built) == {"1" * 64, "2" * 64}
    none = receipt(built, b"", number=5, versions=0)
    put(built, none)
    built.write(layout.backup_list(NIGHTLY, none.list_digest), b"")
    assert covered(built) == frozenset()


def test_a_destination_is_meant_by_name_or_location(built: Built) -> None:
    put(built, receipt(built))
    assert covered(built, "nightly") == covered(built, "s3://copies/models") == covered(built)
    assert covered(built, "weekly") == frozenset()


def test_a_receipt_whose_list_is_gone_or_altered_covers_nothing(built: Built) -> None:
    put(built, receipt(built))
    name = layout.backup_list(NIGHTLY, receipt(built).list_digest)
    data = built.store.objects.pop(name)
    assert covered(built) == frozenset()
    built.write(name, data.replace(b"1" * 64, b"0" * 64))
    assert covered(built) == frozenset()
    assert backup_receipts.last(built.session(), NIGHTLY) is None
