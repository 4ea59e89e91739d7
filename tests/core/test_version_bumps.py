"""What the next version is: above everything known, and by the conventions of each kind."""

from itertools import islice

import pytest

from vault.cli import publishing
from vault.core import names, version_bumps
from vault.core.names import Version

NOW = 1_795_410_000  # 2026-11-23T05:00:00Z


def after(known: str, bump: str | None = None, count: int = 1, now: int = NOW) -> list[str]:
    found = version_bumps.candidates([names.version(text) for text in known.split()], bump, now)
    return [str(version) for version in islice(found, count)]


@pytest.mark.parametrize(
    ("known", "bump", "expected"),
    [
        ("", None, "1 2 3"),
        ("1 2", None, "3 4"),
        ("9 10", None, "11"),
        ("", "major", "1.0.0 2.0.0"),
        ("", "minor", "0.1.0 0.2.0"),
        ("", "patch", "0.0.1 0.0.2"),
        ("", "prerelease", "0.0.1-rc.1 0.0.1-rc.2"),
        ("1.4.2 1.3.9", "major", "2.0.0 3.0.0"),
        ("1.4.2", "minor", "1.5.0 1.6.0"),
        ("1.4.9", "patch", "1.4.10 1.4.11"),
        ("1.4.2", "prerelease", "1.4.3-rc.1 1.4.3-rc.2"),
        ("2.0.0-rc.3 1.9.0", "major", "2.0.0 3.0.0"),
        ("2.1.0-rc.1", "major", "3.0.0"),
        ("2.1.0-rc.1", "minor", "2.1.0 2.2.0"),
        ("2.1.1-rc.1", "minor", "2.2.0"),
        ("2.1.1-rc.1", "patch", "2.1.1 2.1.2"),
        ("2.1.1-rc.9", "prerelease", "2.1.1-rc.10"),
        ("2.1.1-9", "prerelease", "2.1.1-10"),
        ("2.1.1-alpha", "prerelease", "2.1.1-alpha.1 2.1.1-alpha.2"),
        ("2.1.1-alpha.1.beta", "prerelease", "2.1.1-alpha.1.beta.1"),
        ("2.1.1-rc1", "prerelease", "2.1.1-rc1.1"),
        ("7 1.0.0", "patch", "1.0.1"),
        ("", "timestamp", "20261123T050000Z 20261123T050001Z"),
        ("7 1.0.0", "timestamp", "20261123T050000Z"),
        ("20261123T050000Z", "timestamp", "20261123T050001Z"),
        ("20270101T000000Z", "timestamp", "20270101T000001Z"),
        ("20200101T000000Z", "timestamp", "20261123T050000Z"),
    ],
)
def test_the_next_version_is_the_conventional_one(known: str, bump: str | None, expected: str) -> None:
    assert after(known, bump, len(expected.split())) == expected.split()


@pytest.mark.parametrize(
    ("known", "bump", "told"),
    [
        ("1.0.0", None, "semantic versions"),
        ("20261123T050000Z 3", None, "timestamps"),
        ("3", "minor", "plain integers"),
        ("1.0.0 20261123T050000Z", "patch", "timestamps"),
        ("", "huge", "one of major, minor, patch, prerelease, timestamp"),
    ],
)
def test_versions_of_another_kind_do_not_go_on_so(known: str, bump: str | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        after(known, bump)


@pytest.mark.parametrize(
    ("known", "bump"),
    [
        ("999999999999999", None),
        ("999999999.0.0", "major"),
        ("0.0.999999999", "patch"),
        ("1.0.0-" + "a" * 31, "prerelease"),
        ("1.0.0-" + "9" * 32, "prerelease"),
        ("99991231T235959Z", "timestamp"),
    ],
)
def test_there_is_nothing_after_the_last_version(known: str, bump: str | None) -> None:
    with pytest.raises(ValueError, match="no version after"):
        after(known, bump)


def test_what_is_known_twice_or_out_of_order_changes_nothing() -> None:
    assert after("1.2.0 1.10.0 1.9.0 1.10.0", "minor") == ["1.11.0"]


def test_the_command_offers_the_bumps_that_there_are() -> None:
    assert publishing.BUMPS == version_bumps.BUMPS


def test_a_candidate_is_parsed_as_a_version() -> None:
    assert version_bumps.LABEL == "rc"
    assert names.version_order(Version(after("1.0.0", "prerelease")[0])).released is False
