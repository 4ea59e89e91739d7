"""Archive records: their documents, who may sign them, which versions a rule chooses, rules for buckets."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import DEV, Built, solo
from vault.core import archives, layout, lifecycle_rules, names
from vault.core.archives import ArchiveRecord, Candidate
from vault.core.in_force import Signed
from vault.core.names import Digest, Model, Version
from vault.core.policy import PolicyId
from vault.core.trust import Skipped
from vault.errors import Malformed, Rollback

CHURN, ONE = Model("churn"), Version("1")
MANIFEST = Digest("b" * 64)
DAY = 86_400
NOW = names.timestamp("2026-11-23T05:00:00Z")


@pytest.fixture(scope="module")
def built() -> Built:
    made = solo(seed="archives")
    made.add("zoe", "loader")
    return made


def record(built: Built, **changes: Any) -> ArchiveRecord:
    made = ArchiveRecord(
        vault=built.vault,
        policy=built.policy_id,
        model=CHURN,
        version=ONE,
        manifest=MANIFEST,
        number=1,
        created=built.time,
        state=archives.ARCHIVED,
        kind=archives.STORE,
        where="/mnt/cold",
        files=(b"\1" * 16, b"\2" * 16),
        size=1_000,
    )
    return replace(made, **changes)


def judged(built: Built, value: ArchiveRecord, who: str = "owner", number: int = 1) -> Any:
    data = built.sign(archives.KIND, archives.encode(value), who)
    return archives.judge(built.context, CHURN, ONE, MANIFEST, number, data)


def test_a_record_is_read_as_it_was_written(built: Built) -> None:
    for value in (
        record(built),
        record(built, state=archives.RETURNED, files=(), size=0),
        record(built, kind=archives.CLASS, where="DEEP_ARCHIVE"),
    ):
        assert archives.parse(archives.encode(value), "it") == value


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "lost"},
        {"kind": "tape"},
        {"where": ""},
        {"where": "x" * 4_097},
        {"where": "/mnt/\x1b[31m"},
        {"kind": archives.CLASS},
        {"files": (b"\2" * 16, b"\1" * 16)},
        {"files": (b"\1" * 16, b"\1" * 16)},
        {"files": (b"\1",)},
        {"number": 0},
        {"created": "yesterday"},
        {"size": -1},
    ],
    ids=str,
)
def test_a_record_of_another_shape_is_malformed(built: Built, changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        archives.parse(archives.encode(record(built, **changes)), "it")


def test_a_record_with_an_unknown_field_is_malformed(built: Built) -> None:
    value = json.loads(archives.encode(record(built))) | {"more": 1}
    data = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    with pytest.raises(Malformed, match="unknown"):
        archives.parse(data, "it")


def test_who_may_archive_signs(built: Built) -> None:
    found = judged(built, record(built))
    assert isinstance(found, Signed)
    assert found.signers == ("owner",)
    assert found.record.place == "/mnt/cold"
    assert record(built, kind=archives.CLASS, where="GLACIER").place == "the class GLACIER"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": Model("other")}, "misplaced"),
        ({"version": Version("2")}, "misplaced"),
        ({"manifest": Digest("c" * 64)}, "misplaced"),
        ({"vault": Digest("d" * 64)}, "misplaced"),
        ({"number": 2}, "misplaced"),
    ],
    ids=str,
)
def test_a_record_of_something_else_is_skipped(built: Built, changes: dict[str, Any], code: str) -> None:
    found = judged(built, record(built, **changes))
    assert isinstance(found, Skipped)
    assert found.code == code


def test_a_record_by_somebody_else_and_garbage_are_skipped(built: Built) -> None:
    found = judged(built, record(built), "zoe")
    assert isinstance(found, Skipped)
    assert found.code == "untrusted-signer"
    garbage = archives.judge(built.context, CHURN, ONE, MANIFEST, 1, b"garbage")
    assert isinstance(garbage, Skipped)


def test_a_record_of_a_newer_policy_says_that_it_is_withheld(built: Built) -> None:
    newer = PolicyId(built.policy_id.era, built.policy_id.version + 1, Digest("e" * 64))
    with pytest.raises(Rollback) as caught:
        judged(built, record(built, policy=newer))
    assert caught.value.code == "withheld"


def test_a_record_covers_the_payloads_that_it_names_while_they_are_away(built: Built) -> None:
    assert archives.covers(record(built), b"\1" * 16)
    assert not archives.covers(record(built), b"\3" * 16)
    assert not archives.covers(record(built, state=archives.RETURNED), b"\1" * 16)


def test_archiving_in_any_environment_is_enough(built: Built) -> None:
    assert archives.may_archive(built.context, names.principal("owner"), CHURN)
    assert not archives.may_archive(built.context, names.principal("zoe"), CHURN)
    assert not archives.may_archive(built.context, names.principal("nobody"), CHURN)
    assert DEV in built.policy.environments


def test_archive_records_lie_with_their_version() -> None:
    assert layout.archives(Model("nepse/NABIL"), Version("3")) == "models/nepse/NABIL/@/3/archive/"


def test_what_a_class_takes_is_told_in_words() -> None:
    assert archives.expected("DEEP_ARCHIVE") == "up to 12 hours"
    assert archives.expected("DEEP_ARCHIVE", "Bulk") == "up to 48 hours"
    assert (
        archives.expected("DEEP_ARCHIVE", "Expedited") == archives.expected("TAPE") == "minutes to two days"
    )
    assert archives.class_of("GLACIER") == "GLACIER"
    with pytest.raises(ValueError, match="cold class"):
        archives.class_of("STANDARD")


# Which versions.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("36h", 36 * 3_600), ("90d", 90 * DAY), ("12w", 84 * DAY), ("6m", 180 * DAY), ("2y", 730 * DAY)],
)
def test_durations(text: str, seconds: int) -> None:
    assert archives.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "0d", "d", "-1d", "1.5d", "90 d", "999999d", "90d\n", "٣d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        archives.seconds(text)


def test_rules_choose_what_is_neither_young_nor_among_the_last() -> None:
    ages = {"4": 0, "3": 10, "2": 20, "1": 30}
    all_of_them = [Candidate(Version(name), names.time_text(NOW - days * DAY)) for name, days in ages.items()]

    def chosen(keep_last: int | None, older_than: int | None) -> str:
        found = archives.chosen(all_of_them, keep_last=keep_last, older_than=older_than, now=NOW)
        return "".join(entry.version for entry in found)

    assert chosen(None, None) == chosen(0, 0) == "4321"
    assert chosen(2, None) == "21"
    assert chosen(None, 20 * DAY) == "21"
    assert chosen(3, 20 * DAY) == "1"
    assert chosen(9, None) == chosen(None, 31 * DAY) == ""
    with pytest.raises(ValueError, match="negative"):
        chosen(-1, None)


# Rules for buckets.


@pytest.mark.parametrize("kind", lifecycle_rules.KINDS)
def test_rules_are_about_the_payloads_below_the_prefix(kind: str) -> None:
    for prefix, folder in (("", "models/"), ("old", "old/models/"), ("old/", "old/models/")):
        text = lifecycle_rules.rules(kind, prefix, days=30)
        assert text.endswith("}\n")
        assert json.loads(text)
        assert f'"{folder}"' in text
        assert "30" in text


def test_rules_of_each_kind_have_the_shape_that_its_tool_takes() -> None:
    s3 = json.loads(lifecycle_rules.rules("s3", "old", storage_class="GLACIER"))["Rules"]
    assert s3[0]["Transitions"] == [{"Days": 1, "StorageClass": "GLACIER"}]
    assert s3[1]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    gcs = json.loads(lifecycle_rules.rules("gcs", ""))["rule"]
    assert gcs[0]["action"] == {"type": "SetStorageClass", "storageClass": "ARCHIVE"}
    assert gcs[1]["condition"] == {"age": 7}
    azure = json.loads(lifecycle_rules.rules("azure", "container/old", days=0))["rules"][0]
    assert azure["definition"]["actions"]["baseBlob"]["tierToArchive"] == {
        "daysAfterModificationGreaterThan": 0
    }
    assert azure["definition"]["filters"]["prefixMatch"] == ["container/old/models/"]


@pytest.mark.parametrize(
    "wrong", [{"kind": "tape"}, {"days": -1}, {"days": 40_000}, {"storage_class": "WARM"}]
)
def test_rules_that_make_no_sense_are_not_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        lifecycle_rules.rules(**{"kind": "s3", "prefix": "old", **wrong})
