"""Reports of drills: strict, and never better than what they list."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vault.core import drill_report, strict_json
from vault.core.drill_report import DrillReport, Failure, Opened
from vault.core.names import Digest, Environment
from vault.core.policy import LogHead, PolicyId
from vault.errors import Malformed

PASSED = DrillReport(
    vault=Digest("1" * 64),
    policy=PolicyId(0, 3, Digest("2" * 64)),
    backup="s3://copies/models",
    began="2026-11-23T05:00:00Z",
    ended="2026-11-23T05:10:00Z",
    software="mvault 0.1",
    objects=33,
    size=18_000,
    versions=3,
    channels=1,
    sample=5,
    logs=(LogHead("mvault/v1/x/trust", 2, Digest("3" * 64)),),
    opened=Opened((Environment("dev"), Environment("prod")), 1, 311, 1, 100),
    failed=0,
    failures=(),
)
FAILED = replace(PASSED, opened=None, failed=1, failures=(Failure("churn:1", "gone", "not-found"),))


@pytest.mark.parametrize("report", [PASSED, FAILED])
def test_what_is_written_is_read_back(report: DrillReport) -> None:
    assert drill_report.parse(drill_report.encode(report), "it") == report
    assert report.outcome == ("failed" if report.failed else "passed")


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown": lambda value: value.update(more=1),
    "missing": lambda value: value.pop("opened"),
    "better than it lists": lambda value: value.update(outcome="passed"),
    "fewer failures than it says": lambda value: value.update(failures=[]),
    "sample": lambda value: value.update(sample=101),
    "outcome": lambda value: value.update(outcome="perhaps"),
    "place": lambda value: value.update(backup="\x1b[2J"),
    "environment": lambda value: value.update(opened={"environments": ["Dev"]}),
}


@pytest.mark.parametrize("what", BREAKS)
def test_another_shape_is_malformed(what: str) -> None:
    value: Any = strict_json.parse(drill_report.encode(FAILED))
    BREAKS[what](value)
    with pytest.raises(Malformed):
        drill_report.parse(strict_json.encode(value), "it")


def test_many_failures_are_counted_and_the_first_listed() -> None:
    found = [("", "x" * 2_000, "not-found")] * 300
    report = replace(FAILED, failed=len(found), failures=drill_report.failures(found))
    assert len(report.failures) == drill_report.FAILURES
    assert report.failures[0] == Failure("-", "x" * 1_000, "not-found")
    assert drill_report.parse(drill_report.encode(report), "it") == report
